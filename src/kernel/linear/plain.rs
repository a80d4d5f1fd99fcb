//! Tiles in plain Rust: what every other kernel is tested against, and what runs where none applies.

use super::{Job, Tile, WIDTH};

/// `tile = rows · panel`.
pub(super) fn tile(job: &Job<f32, f32>, tile: &mut Tile<f32>) {
    for (row, sums) in job.rows.chunks(job.stride).zip(&mut tile[..job.count]) {
        *sums = [0.0; WIDTH];
        for (x, weights) in row.iter().zip(job.panel.as_chunks::<WIDTH>().0) {
            for (sum, w) in sums.iter_mut().zip(weights) {
                *sum += x * w;
            }
        }
    }
}

/// `tile = Σ (row - 128) · panel` in whole numbers; four consecutive values of a column lie together.
pub(super) fn tile_int8(job: &super::int8::Job, tile: &mut Tile<i32>) {
    let job = &job.shape;
    for (row, sums) in job.rows.chunks(job.stride).zip(&mut tile[..job.count]) {
        *sums = [0; WIDTH];
        for (x, weights) in row.as_chunks::<4>().0.iter().zip(job.panel.as_chunks::<{ 4 * WIDTH }>().0) {
            for (sum, w) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                *sum += x.iter().zip(w).map(|(&x, &w)| (i32::from(x) - 128) * i32::from(w)).sum::<i32>();
            }
        }
    }
}

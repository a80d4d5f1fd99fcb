//! Tiles for AArch64, whose NEON every such processor has.
#![cfg(target_arch = "aarch64")]
#![allow(unsafe_code)]

use super::int8;
use super::{HEIGHT, Job, Tile, WIDTH};
use std::arch::aarch64::*;

/// `tile = rows · panel`, one row of eight registers at a time, four rows side by side where there are four.
#[target_feature(enable = "neon")]
pub(super) fn tile_neon(job: &Job<f32, f32>, tile: &mut Tile<f32>) {
    for first in (0..job.count).step_by(4) {
        for quarter in (0..WIDTH).step_by(16) {
            match job.count - first {
                1 => rows_neon::<1>(job, first, quarter, tile),
                2 => rows_neon::<2>(job, first, quarter, tile),
                3 => rows_neon::<3>(job, first, quarter, tile),
                _ => rows_neon::<4>(job, first, quarter, tile),
            }
        }
    }
}

/// `R` rows from `first`, 16 columns from `column`.
#[target_feature(enable = "neon")]
fn rows_neon<const R: usize>(job: &Job<f32, f32>, first: usize, column: usize, tile: &mut Tile<f32>) {
    let mut sums = [[vdupq_n_f32(0.0); 4]; R];
    for (k, weights) in job.panel.as_chunks::<WIDTH>().0.iter().enumerate() {
        let weights = &weights[column..column + 16];
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = job.rows[(first + r) * job.stride + k];
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `weights` has 16 values and `4 * part + 4 <= 16`.
                *sum = vfmaq_n_f32(*sum, unsafe { vld1q_f32(weights.as_ptr().add(4 * part)) }, x);
            }
        }
    }
    for (row, sums) in tile[first..HEIGHT].iter_mut().zip(&sums) {
        let row = &mut row[column..column + 16];
        for (part, &sum) in sums.iter().enumerate() {
            // SAFETY: `row` has 16 values and `4 * part + 4 <= 16`.
            unsafe { vst1q_f32(row.as_mut_ptr().add(4 * part), sum) };
        }
    }
}

/// Exact sums of byte products, one row and 16 columns at a time: products of two signed bytes fit 16 bits, and pairs of them are
/// added into 32.
#[target_feature(enable = "neon")]
pub(super) fn tile_int8_neon(job: &int8::Job, tile: &mut Tile<i32>) {
    let job = &job.shape;
    let offset = vdup_n_s8(-128);
    for (row, out) in job.rows.chunks(job.stride).zip(&mut tile[..job.count]) {
        for (column, out) in (0..WIDTH).step_by(16).zip(out.as_chunks_mut::<16>().0) {
            // Two columns a register, two partial sums each.
            let mut sums = [vdupq_n_s32(0); 8];
            for (x, weights) in row.as_chunks::<4>().0.iter().zip(job.panel.as_chunks::<{ 4 * WIDTH }>().0) {
                // Flipping the highest bit takes 128 off.
                let x = veor_s8(vreinterpret_s8_u32(vdup_n_u32(u32::from_ne_bytes(*x))), offset);
                let weights = &weights[4 * column..4 * column + 64];
                for (part, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `weights` has 64 bytes and `8 * part + 8 <= 64`.
                    let w = unsafe { vld1_s8(weights.as_ptr().add(8 * part)) };
                    *sum = vpadalq_s16(*sum, vmull_s8(x, w));
                }
            }
            for part in 0..4 {
                let four = vpaddq_s32(sums[2 * part], sums[2 * part + 1]);
                // SAFETY: `out` has 16 values and `4 * part + 4 <= 16`.
                unsafe { vst1q_s32(out.as_mut_ptr().add(4 * part), four) };
            }
        }
    }
}

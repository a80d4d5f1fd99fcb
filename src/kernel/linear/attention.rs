//! Attention within one text: every token's row becomes a mean of all, weighted by how well they match.
//!
//! ```text
//! C = softmax(Q Kᵀ / √d) V         for each head; Q, K, V, C are [n, d]
//! ```
//!
//! Queries, keys and values of all heads lie side by side in rows `[Q | K | V]` of `3 h` values, `h = heads · d`. A head's
//! keys and values are brought into panels once; then 12 rows at a time are matched, weighted and summed while they stay
//! in the first cache. The weights' sum is divided out of the result, which is narrower than the weights.
//!
//! ```
//! use parallax::kernel::linear::attention::{Scratch, attend};
//! // One head of one value, two tokens: scores q k of the first are 0 and 0, so its weights are equal.
//! let qkv = [0.0, 1.0, 10.0, /* */ 0.0, 2.0, 20.0];
//! let mut context = [0.0; 2];
//! attend(&qkv, 1, 1, &mut context, &mut Scratch::default());
//! assert_eq!(context, [15.0, 15.0]);
//! ```
//!
//! Cost: `4 n² h` floating-point operations and `n² · heads` exponentials; memory for two panels and 12 rows of scores.
//!
//! Source: A. Vaswani and others, Attention Is All You Need, 2017.
#![allow(unsafe_code)]

use super::super::matmul::rowwise::exp_rows;
use super::{HEIGHT, Job, Kernel, WIDTH, chosen};

/// Memory that one text after the other uses.
#[derive(Default)]
pub struct Scratch {
    /// `[n / 32, d, 32]`: a panel for 32 keys.
    keys: Vec<f32>,
    /// `[d / 32, n, 32]`: a panel for 32 components of the values.
    values: Vec<f32>,
    /// `[12, n]`.
    scores: Vec<f32>,
}

/// `context` `[n, heads · d]` from `qkv` `[n, 3 · heads · d]`. Panics for other lengths, or a `heads` or `d` of 0: a bug of
/// the caller.
pub fn attend(qkv: &[f32], heads: usize, d: usize, context: &mut [f32], scratch: &mut Scratch) {
    attend_by(chosen(), qkv, heads, d, context, scratch);
}

fn attend_by(kernel: Kernel, qkv: &[f32], heads: usize, d: usize, context: &mut [f32], scratch: &mut Scratch) {
    let h = heads * d;
    assert!(h > 0 && context.len().is_multiple_of(h) && qkv.len() == 3 * context.len(), "shapes of attention");
    let n = context.len() / h;
    let Scratch { keys, values, scores } = scratch;
    // Columns beyond the last key or component are never read back: what lies there does not matter.
    keys.resize(n.div_ceil(WIDTH) * WIDTH * d, 0.0);
    values.resize(d.div_ceil(WIDTH) * WIDTH * n, 0.0);
    scores.resize(HEIGHT * n, 0.0);
    let scale = 1.0 / (d as f32).sqrt();
    let mut tile = [[0.0; WIDTH]; HEIGHT];
    let mut sums = [0.0; HEIGHT];
    for head in (0..h).step_by(d) {
        for (i, row) in qkv.chunks_exact(3 * h).enumerate() {
            let panel = &mut keys[i / WIDTH * WIDTH * d + i % WIDTH..];
            for (slot, &key) in panel.iter_mut().step_by(WIDTH).zip(&row[h + head..][..d]) {
                *slot = key;
            }
            for (part, row) in row[2 * h + head..][..d].chunks(WIDTH).enumerate() {
                values[(part * n + i) * WIDTH..][..row.len()].copy_from_slice(row);
            }
        }
        let blocks = qkv.chunks(HEIGHT * 3 * h).zip(context.chunks_mut(HEIGHT * h));
        for (queries, context) in blocks {
            let count = context.len() / h;
            let scores = &mut scores[..count * n];
            for (column, panel) in (0..n).step_by(WIDTH).zip(keys.chunks_exact(WIDTH * d)) {
                let job = Job::new((&queries[head..], 3 * h, count), panel, d);
                // SAFETY: `available` lists a kernel only after its instructions were detected.
                unsafe { (kernel.tile)(&job, &mut tile) };
                let width = WIDTH.min(n - column);
                for (scores, row) in scores.chunks_exact_mut(n).zip(&tile) {
                    scores[column..column + width].copy_from_slice(&row[..width]);
                }
            }
            exp_rows(scores, n, scale, &mut sums);
            for (column, panel) in (0..d).step_by(WIDTH).zip(values.chunks_exact(WIDTH * n)) {
                let job = Job::new((scores, n, count), panel, n);
                // SAFETY: as above.
                unsafe { (kernel.tile)(&job, &mut tile) };
                for ((context, row), sum) in context.chunks_exact_mut(h).zip(&tile).zip(&sums) {
                    let inverse = 1.0 / sum;
                    let context = &mut context[head + column..head + d.min(column + WIDTH)];
                    context.iter_mut().zip(row).for_each(|(to, x)| *to = x * inverse);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        available,
        tests::{MOST, noise},
    };
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
        #[test]
        fn every_kernel_gives_the_definition(n in 1..MOST[2], heads in 1usize..4, d in 1..MOST[2] / 2, other in 1..MOST[1]) {
            let h = heads * d;
            let qkv: Vec<f32> = noise(n * 3 * h, 1).iter().map(|x| 4.0 * x).collect();
            for kernel in available() {
                let mut scratch = Scratch::default();
                // What another text left behind must not show.
                attend_by(kernel, &vec![7.0; other * 3 * h], heads, d, &mut vec![0.0; other * h], &mut scratch);
                let mut context = vec![f32::NAN; n * h];
                attend_by(kernel, &qkv, heads, d, &mut context, &mut scratch);
                for i in 0..n {
                    for head in 0..heads {
                        let part = |row: usize, which: usize| &qkv[row * 3 * h + which * h + head * d..][..d];
                        let dot = |j| part(i, 0).iter().zip(part(j, 1)).map(|(q, k)| f64::from(q * k)).sum::<f64>();
                        let weights: Vec<f64> = (0..n).map(|j| (dot(j) / (d as f64).sqrt()).exp()).collect();
                        for c in 0..d {
                            let sum: f64 = (0..n).map(|j| weights[j] * f64::from(part(j, 2)[c])).sum();
                            let want = sum / weights.iter().sum::<f64>();
                            let have = f64::from(context[i * h + head * d + c]);
                            // Values are at most 2; scores of at most 40 terms round to some 1e-6 of their size.
                            prop_assert!((have - want).abs() < 3e-5, "{}: {have} not {want}", kernel.name);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        let mut context = [0.0; 2];
        attend(&[0.0, f32::NAN, 1.0, 0.0, 1.0, 1.0], 1, 1, &mut context, &mut Scratch::default());
        assert!(context.iter().all(|x| x.is_nan()));
    }
}

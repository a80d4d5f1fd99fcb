//! Least squares with a prior, for a sparse matrix and many right-hand sides, by conjugate gradients.
//!
//! With a sparse `X [m, n]`, targets `Y [m, d]` and a prior `P [n, d]` it finds the `E [n, d]` that minimises
//!
//! ```text
//! |X E - Y|² + λ |E - P|²,     that is     (XᵀX + λ I) E = XᵀY + λ P
//! ```
//!
//! Each of the `d` columns is a system of its own with the same matrix; all take their steps side by side, started at
//! `P` and preconditioned by the matrix's diagonal. Every sum is taken in a fixed order, so the result does not
//! depend on the number of threads.
//!
//! Cost: a step is two products with `X`: `4 · entries · d` multiplications and additions. Source: M. R. Hestenes,
//! E. Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.

use crate::error::Result;
use crate::progress::Progress;
use rayon::prelude::*;

/// A sparse matrix, by rows and by columns.
pub(super) struct Sparse {
    rows: Lists,
    columns: Lists,
}

/// Lists of (index, value), one after the other.
struct Lists {
    starts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Lists {
    fn get(&self, i: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[i]..self.starts[i + 1]]
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// `out_i = Σ value · from_index` over list `i`, for rows of `d`.
    fn gather(&self, from: &[f32], d: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.len() * d];
        out.par_chunks_mut(d).enumerate().for_each(|(i, out)| {
            for (index, value) in self.get(i) {
                let row = &from[*index as usize * d..(*index as usize + 1) * d];
                out.iter_mut().zip(row).for_each(|(out, x)| *out += value * x);
            }
        });
        out
    }
}

impl Sparse {
    /// The matrix of these rows; column indices lie below `columns`.
    pub(super) fn new(rows: &[Vec<(u32, f32)>], columns: usize) -> Self {
        let mut by_row = Lists { starts: vec![0], entries: Vec::new() };
        let mut lengths = vec![0usize; columns];
        for row in rows {
            by_row.entries.extend_from_slice(row);
            by_row.starts.push(by_row.entries.len());
            row.iter().for_each(|(column, _)| lengths[*column as usize] += 1);
        }
        let mut starts = vec![0];
        lengths.iter().for_each(|length| starts.push(starts[starts.len() - 1] + length));
        let mut free = starts.clone();
        let mut entries = vec![(0, 0.0); by_row.entries.len()];
        for (i, row) in rows.iter().enumerate() {
            for (column, value) in row {
                let at = &mut free[*column as usize];
                entries[*at] = (i as u32, *value);
                *at += 1;
            }
        }
        Sparse { rows: by_row, columns: Lists { starts, entries } }
    }

    /// `X E`, rows `[m, d]`.
    pub(super) fn times(&self, rows: &[f32], d: usize) -> Vec<f32> {
        self.rows.gather(rows, d)
    }
}

/// Takes `steps` steps from the prior towards the minimum.
pub(super) fn solve(
    x: &Sparse,
    y: &[f32],
    prior: &[f32],
    d: usize,
    lambda: f32,
    steps: usize,
    progress: &dyn Progress,
) -> Result<Vec<f32>> {
    let matrix = |p: &[f32]| {
        let mut product = x.columns.gather(&x.rows.gather(p, d), d);
        add(&mut product, p, |_| lambda, d);
        product
    };
    let inverse: Vec<f32> = (0..x.columns.len())
        .map(|column| 1.0 / (lambda + x.columns.get(column).iter().map(|(_, value)| value * value).sum::<f32>()))
        .collect();
    let scaled = |r: &[f32]| {
        let mut z = r.to_vec();
        z.par_chunks_mut(d).zip(&inverse).for_each(|(row, factor)| row.iter_mut().for_each(|x| *x *= factor));
        z
    };
    // Residual at the prior: XᵀY + λP - (XᵀX + λ)P = Xᵀ(Y - XP).
    let mut missing = x.times(prior, d);
    missing.par_iter_mut().zip(y).for_each(|(found, wanted)| *found = wanted - *found);
    let mut residual = x.columns.gather(&missing, d);
    let mut e = prior.to_vec();
    let mut z = scaled(&residual);
    let mut direction = z.clone();
    let mut energy = dots(&residual, &z, d);
    for _ in 0..steps {
        progress.checkpoint()?;
        let ahead = matrix(&direction);
        let alpha = ratios(&energy, &dots(&direction, &ahead, d));
        add(&mut e, &direction, |column| alpha[column], d);
        add(&mut residual, &ahead, |column| -alpha[column], d);
        z = scaled(&residual);
        let next = dots(&residual, &z, d);
        let beta = ratios(&next, &energy);
        direction.par_chunks_mut(d).zip(z.par_chunks(d)).for_each(|(direction, z)| {
            direction
                .iter_mut()
                .zip(z)
                .zip(&beta)
                .for_each(|((direction, z), beta)| *direction = z + beta * *direction);
        });
        energy = next;
    }
    Ok(e)
}

/// `to += factor(column) · from`.
fn add(to: &mut [f32], from: &[f32], factor: impl Fn(usize) -> f32 + Sync, d: usize) {
    to.par_chunks_mut(d).zip(from.par_chunks(d)).for_each(|(to, from)| {
        to.iter_mut().zip(from).enumerate().for_each(|(column, (to, from))| *to += factor(column) * from);
    });
}

/// Inner products column by column; blocks of rows are summed in parallel, then in order.
fn dots(a: &[f32], b: &[f32], d: usize) -> Vec<f64> {
    const BLOCK: usize = 1024;
    let blocks: Vec<Vec<f64>> = a
        .par_chunks(BLOCK * d)
        .zip(b.par_chunks(BLOCK * d))
        .map(|(a, b)| {
            let mut sums = vec![0.0; d];
            for (a, b) in a.chunks(d).zip(b.chunks(d)) {
                sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += f64::from(*a) * f64::from(*b));
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; d];
    blocks.iter().for_each(|block| sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x));
    sums
}

/// Quotients; 0 for a column that has arrived.
fn ratios(a: &[f64], b: &[f64]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| if *b > 0.0 { (a / b) as f32 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use proptest::prelude::*;

    #[test]
    fn one_unknown_worked_by_hand() {
        // (2·2 + 1·1 + 3) e = 2·4 + 1·1 + 3·5: e = 24 / 8.
        let x = Sparse::new(&[vec![(0, 2.0)], vec![(0, 1.0)]], 1);
        let e = solve(&x, &[4.0, 1.0], &[5.0], 1, 3.0, 2, &Silent).unwrap();
        assert!((e[0] - 3.0).abs() < 1e-5, "{e:?}");
    }

    proptest! {
        #[test]
        fn the_gradient_vanishes(
            values in prop::collection::vec(-2.0f32..2.0, 24),
            y in prop::collection::vec(-2.0f32..2.0, 12),
        ) {
            // Six rows over four columns, two right-hand sides.
            let rows: Vec<Vec<(u32, f32)>> =
                values.chunks(4).map(|row| row.iter().enumerate().map(|(i, x)| (i as u32, *x)).collect()).collect();
            let x = Sparse::new(&rows, 4);
            let prior = [0.5; 8];
            let e = solve(&x, &y, &prior, 2, 0.5, 40, &Silent).unwrap();
            let mut gradient = x.times(&e, 2);
            gradient.iter_mut().zip(&y).for_each(|(found, wanted)| *found -= wanted);
            let mut gradient = x.columns.gather(&gradient, 2);
            gradient.iter_mut().zip(e.iter().zip(&prior)).for_each(|(g, (e, p))| *g += 0.5 * (e - p));
            prop_assert!(gradient.iter().all(|g| g.abs() < 1e-3), "{gradient:?}");
        }
    }
}

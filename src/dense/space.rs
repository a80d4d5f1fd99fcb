//! The geometry a graph is built in, and the rows that are its nodes.
//!
//! In: mapped rows. Out: the similarity of any two of them, and which rows repeat an earlier one.
//!
//! A graph of near neighbours wants a metric, and inner products of rows of different lengths are none: a long row
//! would be everybody's neighbour. So each row `x` is lifted by one coordinate onto the sphere of the longest row's
//! radius `R`, where nearest and greatest inner product are the same:
//!
//! ```text
//! similarity(x, y) = x·y + lift(x) · lift(y),   lift(x) = √(R² − |x|²)
//! ```
//!
//! A query's own lift is taken as 0, so searching needs plain inner products only. For unit rows every lift is 0 (up
//! to rounding) and this is the cosine.
//!
//! Cost: 4 bytes a row; one pass over the rows for lengths and one for hashes.
//!
//! Source: Y. Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean Transformation for
//! Inner-Product Spaces, 2014.

use super::rows::Rows;
use super::walk::NONE;
use crate::kernel::dot::{dot, dots_at};
use rayon::prelude::*;

/// Rows with the similarity graphs are built by.
pub(super) struct Space<'a> {
    values: &'a [f32],
    dimension: usize,
    /// `[n]`, or empty where all rows are of one length (or zero).
    lift: Vec<f32>,
    /// `R²`: the similarity of a row to itself.
    radius2: f32,
}

impl<'a> Space<'a> {
    /// Measures the rows' lengths.
    pub(super) fn new(rows: &'a Rows) -> Self {
        let (values, dimension) = (rows.values(), rows.dimension());
        let squares: Vec<f32> = values.par_chunks_exact(dimension).map(|row| dot(row, row)).collect();
        let radius2 = squares.iter().copied().fold(0.0, f32::max);
        // Unit rows differ from 1 by rounding, about 1e-6; what is lifted less than that is not worth an addition.
        let flat = squares.iter().all(|square| *square == 0.0 || *square >= radius2 * (1.0 - 1e-4));
        let lift =
            if flat { Vec::new() } else { squares.iter().map(|square| (radius2 - square).max(0.0).sqrt()).collect() };
        Space { values, dimension, lift, radius2 }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// `R²`, the greatest similarity there is (up to rounding).
    pub(super) fn radius2(&self) -> f32 {
        self.radius2
    }

    fn row(&self, row: u32) -> &'a [f32] {
        &self.values[row as usize * self.dimension..][..self.dimension]
    }

    /// The similarity of two rows; the same bits in either order.
    #[inline]
    pub(super) fn similarity(&self, a: u32, b: u32) -> f32 {
        let product = dot(self.row(a), self.row(b));
        match (self.lift.get(a as usize), self.lift.get(b as usize)) {
            (Some(x), Some(y)) => product + x * y,
            _ => product,
        }
    }

    /// The similarities of a row to others, into `out`: the same bits [`Space::similarity`] gives.
    pub(super) fn similarities(&self, row: u32, others: &[u32], out: &mut Vec<f32>) {
        dots_at(self.row(row), self.values, others, out);
        if let Some(lift) = self.lift.get(row as usize) {
            for (score, other) in out.iter_mut().zip(others) {
                *score += lift * self.lift[*other as usize];
            }
        }
    }

    /// For each row the next one with the same values ([`NONE`] at the last), and the rows that repeat no earlier one.
    pub(super) fn duplicates(&self) -> (Vec<u32>, Vec<u32>) {
        let hashes = self.values.par_chunks_exact(self.dimension).map(hash);
        let mut keyed: Vec<(u64, u32)> = hashes.zip(0..self.len() as u32).collect();
        keyed.par_sort_unstable();
        let mut next = vec![NONE; self.len()];
        let mut nodes = Vec::with_capacity(self.len());
        for group in keyed.chunk_by(|a, b| a.0 == b.0) {
            // First and last row of each chain; rows of one hash are nearly always equal, so there is one chain.
            let mut chains: Vec<(u32, u32)> = Vec::new();
            for (_, row) in group {
                match chains.iter_mut().find(|(first, _)| self.row(*first) == self.row(*row)) {
                    Some((_, last)) => {
                        next[*last as usize] = *row;
                        *last = *row;
                    }
                    None => {
                        chains.push((*row, *row));
                        nodes.push(*row);
                    }
                }
            }
        }
        nodes.sort_unstable();
        (next, nodes)
    }
}

/// A hash of a row's values; equal rows (-0.0 being 0.0) have equal hashes.
fn hash(row: &[f32]) -> u64 {
    row.iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, value| {
        ((hash ^ u64::from((value + 0.0).to_bits())).wrapping_mul(0xff51_afd7_ed55_8ccd)).rotate_left(29)
    })
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::mapped;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equal_rows_form_one_rising_chain(values in prop::collection::vec(-1i8..2, 0..120)) {
            let values: Vec<f32> = values[..values.len() / 2 * 2].iter().map(|v| f32::from(*v)).collect();
            let (_folder, rows) = mapped(2, &values);
            let (next, nodes) = Space::new(&rows).duplicates();
            let mut met = vec![0; rows.len()];
            for node in &nodes {
                prop_assert!((0..*node as usize).all(|earlier| rows.row(earlier) != rows.row(*node as usize)));
                let mut row = *node;
                while row != NONE {
                    met[row as usize] += 1;
                    prop_assert_eq!(rows.row(row as usize), rows.row(*node as usize));
                    prop_assert!(next[row as usize] > row);
                    row = next[row as usize];
                }
            }
            prop_assert!(met.iter().all(|times| *times == 1));
        }

        /// Lifted rows lie on one sphere: every row is as similar to itself as the longest is, and to none more.
        #[test]
        fn a_row_is_nearest_to_itself(values in prop::collection::vec(-9f32..9.0, 3..90)) {
            let (_folder, rows) = mapped(3, &values[..values.len() / 3 * 3]);
            let space = Space::new(&rows);
            let all: Vec<u32> = (0..rows.len() as u32).collect();
            let mut scores = Vec::new();
            for row in 0..rows.len() as u32 {
                space.similarities(row, &all, &mut scores);
                // Rounding of squares up to 243 and of the root.
                prop_assert!((scores[row as usize] - space.radius2()).abs() < 1e-4 * space.radius2().max(1e-6));
                for other in &all {
                    let score = scores[*other as usize];
                    prop_assert_eq!(score.to_bits(), space.similarity(*other, row).to_bits());
                    prop_assert!(score <= space.radius2() * 1.0001);
                }
            }
        }
    }

    #[test]
    fn minus_zero_is_zero_and_unit_rows_are_not_lifted() {
        let (_folder, rows) = mapped(2, &[0.0, 1.0, -0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        let space = Space::new(&rows);
        assert_eq!(space.duplicates(), (vec![1, NONE, NONE, NONE], vec![0, 2, 3]));
        assert!(space.lift.is_empty());
    }
}

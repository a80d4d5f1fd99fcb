//! A query beside rows, ready to be compared with any of them however they are stored.
//!
//! In: rows and a query `[d]`, or one of the rows in its place. Out: inner products in f32, higher is nearer. A pair of
//! rows has the same bits in either order, and a row the same whichever door it is asked through.
//!
//! Rows in eight bits are compared with the query in eight bits ([`int8`]); f16 rows with the query as it is.

use super::rows::{Rows, Values};
use crate::kernel::dot::{self, half, int8};
use std::borrow::Cow;
use std::ops::Range;

/// A query beside rows.
pub(super) enum Scorer<'a> {
    F32 { query: &'a [f32], rows: &'a [f32] },
    F16 { query: Cow<'a, [f32]>, rows: &'a [u16] },
    Int8 { query: Cow<'a, [i8]>, scale: f32, rows: int8::RowSlice<'a> },
}

impl<'a> Scorer<'a> {
    /// A query of the rows' dimension beside them.
    pub(super) fn new(rows: &'a Rows, query: &'a [f32]) -> Self {
        match rows.values() {
            Values::F32(rows) => Scorer::F32 { query, rows },
            Values::F16(rows) => Scorer::F16 { query: Cow::Borrowed(query), rows },
            Values::Int8(rows) => {
                let mut whole = vec![0; query.len()];
                let scale = int8::quantise(query, &mut whole);
                Scorer::Int8 { query: Cow::Owned(whole), scale, rows }
            }
        }
    }

    /// One of the rows `[n, d]` beside all of them.
    pub(super) fn of_row(values: Values<'a>, d: usize, row: u32) -> Self {
        let place = row as usize * d..(row as usize + 1) * d;
        match values {
            Values::F32(rows) => Scorer::F32 { query: &rows[place], rows },
            Values::F16(rows) => {
                Scorer::F16 { query: rows[place].iter().map(|bits| half::widen(*bits)).collect(), rows }
            }
            Values::Int8(rows) => {
                let scale = rows.scales[row as usize];
                Scorer::Int8 { query: Cow::Borrowed(&rows.values[place]), scale, rows }
            }
        }
    }

    /// The inner product with one row.
    #[inline]
    pub(super) fn one(&self, row: u32) -> f32 {
        let place = |d: usize| row as usize * d..(row as usize + 1) * d;
        match self {
            Scorer::F32 { query, rows } => dot::dot(query, &rows[place(query.len())]),
            Scorer::F16 { query, rows } => half::dot(query, &rows[place(query.len())]),
            Scorer::Int8 { query, scale, rows } => int8::dot_at(int8::Row { values: query, scale: *scale }, *rows, row),
        }
    }

    /// The inner products with the rows of these numbers, in their order, into `out` (emptied first).
    pub(super) fn at(&self, numbers: &[u32], out: &mut Vec<f32>) {
        match self {
            Scorer::F32 { query, rows } => dot::dots_at(query, rows, numbers, out),
            Scorer::F16 { query, rows } => half::dots_at(query, rows, numbers, out),
            Scorer::Int8 { query, scale, rows } => {
                int8::dots_at(int8::Row { values: query, scale: *scale }, *rows, numbers, out)
            }
        }
    }

    /// The inner products with consecutive rows, into `out`, which is as long.
    pub(super) fn range(&self, range: Range<usize>, out: &mut [f32]) {
        if let Scorer::F32 { query, rows } = self {
            return dot::dots(query, &rows[range.start * query.len()..range.end * query.len()], out);
        }
        let mut numbers = [0; 256];
        let mut scores = Vec::with_capacity(numbers.len());
        for (part, out) in out.chunks_mut(numbers.len()).enumerate() {
            let first = (range.start + part * numbers.len()) as u32;
            let numbers = &mut numbers[..out.len()];
            numbers.iter_mut().zip(first..).for_each(|(number, row)| *number = row);
            self.at(numbers, &mut scores);
            out.copy_from_slice(&scores);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::ValueKind;
    use super::super::narrow::narrow;
    use super::super::rows::tests::{clustered, mapped};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn every_door_gives_the_same_bits_and_nearly_the_true_product() {
        let d = 70;
        let (folder, exact) = mapped(d, &clustered(300, d, 10, 0.5, 3));
        let query = clustered(1, d, 10, 0.5, 9);
        for (kind, tolerance) in [(ValueKind::F32, 1e-6), (ValueKind::F16, 1e-3), (ValueKind::Int8, 0.03)] {
            let path = folder.path().join(kind.name());
            let narrowed = (kind != ValueKind::F32).then(|| {
                narrow(&exact, kind, &path, &Silent).unwrap();
                Rows::open(&path).unwrap()
            });
            let rows = narrowed.as_ref().unwrap_or(&exact);
            let scorer = Scorer::new(rows, &query);
            let (mut at, mut range) = (Vec::new(), vec![0.0; 280]);
            scorer.at(&(20..300).collect::<Vec<u32>>(), &mut at);
            scorer.range(20..300, &mut range);
            for row in 20..300 {
                let one = scorer.one(row);
                assert_eq!([at[row as usize - 20], range[row as usize - 20]], [one; 2], "{kind:?}");
                assert!((one - dot::dot(&query, &exact.row(row as usize))).abs() <= tolerance, "{kind:?} {row}");
                let pair = Scorer::of_row(rows.values(), d, row).one(7);
                assert_eq!(pair.to_bits(), Scorer::of_row(rows.values(), d, 7).one(row).to_bits(), "{kind:?}");
            }
        }
    }
}

//! The rows of an index: those that scores come from, and, where there are, smaller ones that are looked at first.
//!
//! In: the files of an index folder. Out: for a search, rows to compare by and how many of the best to score again.
//!
//! | vectors | `rows.bin` | `int8.bin` | compared by | scored from |
//! |---|---|---|---|---|
//! | f32 | f32 | – | f32 | f32 |
//! | f16 | f16 | – | f16 | f16 |
//! | int8 | f32 | int8 | int8 | f32, half as many more as asked for |
//!
//! int8 keeps the f32 rows: they cost disk, and memory only where they are touched, which is a few rows a question. Of the
//! ten nearest to a question of SQuAD dev int8 alone loses .0110 among 104,404 passages (256 dimensions of a static
//! encoder) and .0048 among 20,958 (384 of MiniLM), of the hundred nearest .0082 and .0043; with the best 15 or 150 scored
//! again nothing at all. f16 loses .0001 to .0002 without any, and is stored alone.

use super::kind::ValueKind;
use super::rows::{ROWS_FILE, Rows};
use super::scorer::Scorer;
use crate::error::{Error, Result};
use std::path::Path;

/// The file of int8 rows in an index folder, where there is one.
pub const INT8_FILE: &str = "int8.bin";

/// The rows of an index.
pub struct Store {
    rows: Rows,
    small: Option<Rows>,
}

impl Store {
    /// Opens a folder's [`ROWS_FILE`] and, where it has one, its [`INT8_FILE`], after checking that they fit each other.
    pub fn open(folder: &Path) -> Result<Self> {
        let rows = Rows::open(&folder.join(ROWS_FILE))?;
        let path = folder.join(INT8_FILE);
        let small = if path.exists() { Some(Rows::open(&path)?) } else { None };
        if let Some(small) = &small {
            let found = (small.kind().name(), small.len(), small.dimension());
            let wanted = (ValueKind::Int8.name(), rows.len(), rows.dimension());
            if found != wanted {
                let message = format!(
                    "the file holds {} {} rows × {}, the rows are {} × {}",
                    found.1, found.0, found.2, wanted.1, wanted.2
                );
                return Err(Error::damaged(&path, message).hint("build the index anew with `--force`"));
            }
        }
        Ok(Store { rows, small })
    }

    /// Rows without smaller ones beside them.
    pub(super) fn of(rows: Rows) -> Self {
        Store { rows, small: None }
    }

    /// How vectors are stored: the kind of what is looked at first.
    pub fn kind(&self) -> ValueKind {
        self.compared().kind()
    }

    /// The rows that scores come from.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The smaller rows, where there are.
    pub(super) fn small(&self) -> Option<&Rows> {
        self.small.as_ref()
    }

    /// The rows that a walk compares by.
    pub(super) fn compared(&self) -> &Rows {
        self.small.as_ref().unwrap_or(&self.rows)
    }

    /// How many rows, best as compared, have to be scored so that the best `k` are among them.
    pub(super) fn candidates(&self, k: usize) -> usize {
        if self.small.is_some() { k.saturating_add((k / 2).max(10)) } else { k }
    }

    /// Scores rows once more, from the greater rows, where they were compared by smaller ones.
    pub(super) fn rescore(&self, query: &[f32], rows: &[u32], scores: &mut Vec<f32>) {
        if self.small.is_some() {
            Scorer::new(&self.rows, query).at(rows, scores);
        }
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> u64 {
        self.rows.bytes() + self.small.as_ref().map_or(0, Rows::bytes)
    }

    /// Reads every byte of the files and compares checksums.
    pub fn verify(&self) -> Result<()> {
        self.rows.verify()?;
        self.small.as_ref().map_or(Ok(()), Rows::verify)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::narrow::narrow;
    use super::super::rows::tests::mapped;
    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;

    /// These rows in a folder of its own, which lives as long as the first value.
    pub(crate) fn stored(dimension: usize, values: &[f32]) -> (tempfile::TempDir, Store) {
        let (folder, rows) = mapped(dimension, values);
        (folder, Store::of(rows))
    }

    /// The same with int8 rows beside them.
    pub(crate) fn stored_int8(dimension: usize, values: &[f32]) -> (tempfile::TempDir, Store) {
        let (folder, rows) = mapped(dimension, values);
        narrow(&rows, ValueKind::Int8, &folder.path().join(INT8_FILE), &Silent).unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn a_store_says_what_it_is_and_scores_from_the_greater_rows() {
        let values = [0.6, 0.8, 1.0, 0.001];
        let (_folder, plain) = stored(2, &values);
        let (_other, int8) = stored_int8(2, &values);
        assert_eq!((plain.kind(), plain.candidates(10)), (ValueKind::F32, 10));
        assert_eq!((int8.kind(), int8.candidates(10)), (ValueKind::Int8, 20));
        assert_eq!((plain.bytes(), int8.bytes()), (16, 16 + 4 + 8 + 8));
        let mut scores = vec![7.0];
        plain.rescore(&[0.0, 1.0], &[1], &mut scores);
        assert_eq!(scores, [7.0]);
        int8.rescore(&[0.0, 1.0], &[1], &mut scores);
        assert_eq!(scores, [0.001]);
        int8.verify().unwrap();
    }

    #[test]
    fn small_rows_of_other_rows_are_refused() {
        let (folder, rows) = mapped(2, &[1.0, 0.0, 0.0, 1.0]);
        for (d, values, kind) in
            [(2, &[1.0, 0.0][..], ValueKind::Int8), (1, &[1.0, 0.0], ValueKind::Int8), (2, &[1.0; 4], ValueKind::F16)]
        {
            let (_folder, others) = mapped(d, values);
            narrow(&others, kind, &folder.path().join(INT8_FILE), &Silent).unwrap();
            assert_eq!(Store::open(folder.path()).err().map(|e| e.kind()), Some(ErrorKind::Damaged));
        }
        narrow(&rows, ValueKind::Int8, &folder.path().join(INT8_FILE), &Silent).unwrap();
        assert!(Store::open(folder.path()).is_ok());
    }
}

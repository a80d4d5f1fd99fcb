//! Vectors on disk: one row a passage, appended once, then read in place through a memory map.
//!
//! In: [`Embeddings`] in passage order, so that row `i` belongs to `Ordinal(i)`. Out: row slices of the mapped file.
//!
//! A [sealed file](crate::storage) with magic `PLXROWS`, version 1; its four numbers are rows `n`, dimension `d`, kind of
//! value and rows that are all zero. The payload is little-endian:
//!
//! ```text
//! kind 0 (f32)    n × d f32
//! kind 1 (f16)    n × d f16
//! kind 2 (int8)   n × d i8, zeros to a multiple of 4; n f32, each row's scale; two f32: the greatest distance between a
//!                 row and what is stored of it, and the greatest length of a row
//! ```
//!
//! [`RowsWriter`] writes the first kind, [`narrow`](super::narrow) makes the others of it.
//!
//! A row is refused when its squared length is not a finite f32. That one rule keeps out NaN and infinities, and it
//! keeps every later score finite: by Cauchy and Schwarz no partial sum of `a·b` exceeds `|a| |b|`. The other kinds are
//! held to the same rule.
//!
//! ```
//! use parallax::dense::rows::{Rows, RowsWriter};
//! use parallax::{encoder::contract::Embeddings, progress::Silent};
//! # fn main() -> parallax::Result<()> {
//! # let folder = tempfile::tempdir().map_err(|e| parallax::Error::bug(e.to_string()))?;
//! let path = folder.path().join("rows.bin");
//! let mut writer = RowsWriter::create(&path, 2)?;
//! writer.append(&Embeddings::new(2, vec![0.6, 0.8, /* */ 0.0, 0.0]))?;
//! writer.finish()?;
//! let rows = Rows::open(&path)?;
//! assert_eq!((rows.len(), &rows.row(0)[..], rows.zero_rows()), (2, &[0.6, 0.8][..], 1));
//! # Ok(())
//! # }
//! ```
//!
//! Cost: 4, 2 or 1 byte a component; opening reads the header only.

use super::kind::ValueKind;
use crate::encoder::contract::Embeddings;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::dot::int8::{self, RowSlice};
use crate::kernel::dot::{dot, half};
use crate::storage::{Sealed, SealedWriter};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

pub(super) const MAGIC: &[u8; 8] = b"PLXROWS\0";
pub(super) const VERSION: u32 = 1;

/// The rows' file in an index folder.
pub const ROWS_FILE: &str = "rows.bin";

/// Rows a file may hold: an ordinal has to leave one bit for the graph's search.
pub const MAX_ROWS: usize = (1 << 31) - 1;

/// Writes f32 rows front to back.
pub struct RowsWriter {
    path: PathBuf,
    file: SealedWriter,
    dimension: usize,
    rows: usize,
    zero_rows: usize,
}

impl RowsWriter {
    /// Creates (or empties) the file for rows of `dimension` values.
    pub fn create(path: &Path, dimension: usize) -> Result<Self> {
        if dimension == 0 {
            return Err(Error::usage("rows need at least one dimension").in_file(path));
        }
        let file = SealedWriter::create(path, MAGIC, VERSION)?;
        Ok(RowsWriter { path: path.to_path_buf(), file, dimension, rows: 0, zero_rows: 0 })
    }

    /// Appends rows after those already written. Refuses another dimension, and a row (named by its 0-based number
    /// in the file) whose squared length is not finite; nothing of a refused call is written.
    pub fn append(&mut self, rows: &Embeddings) -> Result<()> {
        if rows.dimension() != self.dimension {
            let (found, wanted) = (rows.dimension(), self.dimension);
            let message = format!("rows of {found} dimensions cannot join rows of {wanted}");
            return Err(Error::new(ErrorKind::Mismatch, message).in_file(&self.path));
        }
        if self.rows + rows.len() > MAX_ROWS {
            return Err(Error::new(ErrorKind::Limit, format!("more than {MAX_ROWS} rows")).in_file(&self.path));
        }
        let mut zero_rows = 0;
        for i in 0..rows.len() {
            let row = rows.row(i);
            check_finite(row).map_err(|why| Error::bad_input(format!("row {} {why}", self.rows + i)))?;
            zero_rows += usize::from(is_zero(row));
        }
        if cfg!(target_endian = "little") {
            self.file.write(bytemuck::cast_slice(rows.values()))?;
        } else {
            rows.values().iter().try_for_each(|value| self.file.write(&value.to_le_bytes()))?;
        }
        self.rows += rows.len();
        self.zero_rows += zero_rows;
        Ok(())
    }

    /// Rows written so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row is written yet.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Writes the header, syncs the file to disk and says how many rows it has.
    pub fn finish(self) -> Result<usize> {
        let kind = ValueKind::F32.code();
        self.file.finish([self.rows as u64, self.dimension as u64, kind, self.zero_rows as u64])?;
        Ok(self.rows)
    }
}

/// Says why a vector cannot be scored, where it cannot: its squared length is not a finite f32.
pub(crate) fn check_finite(row: &[f32]) -> std::result::Result<(), String> {
    if dot(row, row).is_finite() {
        return Ok(());
    }
    Err(match row.iter().position(|value| !value.is_finite()) {
        Some(place) => format!("holds {} at component {place}", row[place]),
        None => "is so long that its squared length overflows".into(),
    })
}

/// Whether every component is zero.
pub(crate) fn is_zero(row: &[f32]) -> bool {
    row.iter().all(|value| *value == 0.0)
}

/// A finished file of rows, mapped.
pub struct Rows {
    file: Sealed,
    kind: ValueKind,
    rows: usize,
    dimension: usize,
    zero_rows: usize,
}

/// All values of a file, `[n, d]`, as they are stored.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    F32(&'a [f32]),
    /// The bits of f16.
    F16(&'a [u16]),
    Int8(RowSlice<'a>),
}

impl Rows {
    /// Maps a file of rows after checking its header against its length.
    pub fn open(path: &Path) -> Result<Self> {
        if cfg!(target_endian = "big") {
            return Err(Error::new(ErrorKind::Limit, "indexes are read on little-endian processors only"));
        }
        let file = Sealed::open(path, MAGIC, VERSION)?;
        let [rows, dimension, code, zero_rows] = file.fields();
        let Some(kind) = ValueKind::from_code(code) else {
            let message = format!("values of kind {code}; this program reads kinds 0 (f32), 1 (f16) and 2 (int8)");
            return Err(Error::damaged(path, message));
        };
        let bytes = file.payload().len() as u64;
        let fits = dimension > 0 && rows <= MAX_ROWS as u64 && payload_bytes(kind, rows, dimension) == Some(bytes);
        if !fits || zero_rows > rows || (kind == ValueKind::Int8 && dimension > int8::MAX_DIMENSION as u64) {
            let name = kind.name();
            let message =
                format!("the header speaks of {rows} {name} rows × {dimension}, the payload has {bytes} bytes");
            return Err(Error::damaged(path, message));
        }
        // All three are at most the number of values in memory, or at most MAX_ROWS.
        let dimension = usize::try_from(dimension).map_err(|_| Error::damaged(path, "a dimension beyond memory"))?;
        Ok(Rows { file, kind, rows: rows as usize, dimension, zero_rows: zero_rows as usize })
    }

    /// How components are stored.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Number of rows `n`.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Components a row `d`.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Rows whose components are all zero: texts the encoder knew no token of.
    pub fn zero_rows(&self) -> usize {
        self.zero_rows
    }

    /// Bytes of the payload.
    pub fn bytes(&self) -> u64 {
        self.file.payload().len() as u64
    }

    /// Row `i`, of length `d`. Panics when `i` is not below [`Rows::len`]: a bug of the caller.
    pub fn row(&self, i: usize) -> Cow<'_, [f32]> {
        let place = i * self.dimension..(i + 1) * self.dimension;
        match self.values() {
            Values::F32(values) => Cow::Borrowed(&values[place]),
            Values::F16(values) => values[place].iter().map(|bits| half::widen(*bits)).collect(),
            Values::Int8(rows) => rows.values[place].iter().map(|whole| rows.scales[i] * f32::from(*whole)).collect(),
        }
    }

    /// All values as they are stored.
    pub(super) fn values(&self) -> Values<'_> {
        // Opening saw that the payload is whole values, and a map is aligned to more than they ask for.
        match self.kind {
            ValueKind::F32 => Values::F32(self.file.values().unwrap_or_default()),
            ValueKind::F16 => Values::F16(self.file.values().unwrap_or_default()),
            ValueKind::Int8 => {
                let (values, rest) = self.file.payload().split_at(self.rows * self.dimension);
                let scales = &self.int8_numbers(rest.len())[..self.rows];
                Values::Int8(RowSlice { values: bytemuck::cast_slice(values), scales })
            }
        }
    }

    /// Of int8 rows the greatest distance between a row and what is stored of it, and the greatest length of a row.
    pub(super) fn int8_bounds(&self) -> Option<(f32, f32)> {
        let rest = self.file.payload().len().checked_sub(self.rows * self.dimension)?;
        match (self.kind, self.int8_numbers(rest)) {
            (ValueKind::Int8, [.., distance, length]) => Some((*distance, *length)),
            _ => None,
        }
    }

    /// The f32 behind the whole numbers, of which and of the zeros after them this many bytes are left.
    fn int8_numbers(&self, rest: usize) -> &[f32] {
        let payload = self.file.payload();
        bytemuck::try_cast_slice(&payload[payload.len() - rest / 4 * 4..]).unwrap_or_default()
    }

    /// Reads every byte: compares the checksum, and looks for rows that could not be scored.
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        for i in 0..self.rows {
            check_finite(&self.row(i)).map_err(|why| Error::damaged(self.file.path(), format!("row {i} {why}")))?;
        }
        Ok(())
    }
}

/// Bytes of a payload; `None` where they are beyond counting.
fn payload_bytes(kind: ValueKind, rows: u64, dimension: u64) -> Option<u64> {
    let values = rows.checked_mul(dimension)?;
    match kind {
        ValueKind::F32 => values.checked_mul(4),
        ValueKind::F16 => values.checked_mul(2),
        ValueKind::Int8 => values.checked_next_multiple_of(4)?.checked_add(4 * rows + 8),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of these rows in a folder of its own, which lives as long as the first value.
    pub(crate) fn mapped(dimension: usize, values: &[f32]) -> (tempfile::TempDir, Rows) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.bin");
        let mut writer = RowsWriter::create(&path, dimension).unwrap();
        writer.append(&Embeddings::new(dimension, values.to_vec())).unwrap();
        writer.finish().unwrap();
        let rows = Rows::open(&path).unwrap();
        (folder, rows)
    }

    /// Rows around `clusters` centres, each row its centre plus `spread` times as long a random vector, of unit
    /// length: `[n, d]`, the same each time.
    pub(crate) fn clustered(n: usize, d: usize, clusters: usize, spread: f32, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut uniform = || {
            state = crate::random::scramble(state);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        // The sum of four uniform numbers is near enough to a normal one.
        let mut vector = || (0..d).map(|_| (0..4).map(|_| uniform()).sum::<f32>() - 2.0).collect::<Vec<f32>>();
        let centres: Vec<Vec<f32>> = (0..clusters).map(|_| vector()).collect();
        let row = |i: usize| {
            let centre = &centres[i * 31 % clusters];
            let row: Vec<f32> = centre.iter().zip(vector()).map(|(c, e)| c + spread * e).collect();
            let length = dot(&row, &row).sqrt();
            row.into_iter().map(move |value| value / length)
        };
        (0..n).flat_map(row).collect()
    }

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_read_back_bit_for_bit(dimension in 1usize..9, values in prop::collection::vec(-1e18f32..1e18, 0..80)) {
            let n = values.len() / dimension;
            let values = &values[..n * dimension];
            let (_folder, rows) = mapped(dimension, values);
            prop_assert_eq!((rows.len(), rows.dimension()), (n, dimension));
            for (i, row) in values.chunks(dimension).enumerate() {
                prop_assert_eq!(&rows.row(i)[..], row);
            }
            rows.verify().unwrap();
        }
    }

    #[test]
    fn batches_join_and_zero_rows_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.bin");
        let mut writer = RowsWriter::create(&path, 2).unwrap();
        writer.append(&Embeddings::new(2, vec![1.0, 2.0, -0.0, 0.0])).unwrap();
        writer.append(&Embeddings::new(2, vec![])).unwrap();
        writer.append(&Embeddings::new(2, vec![0.0, 0.0])).unwrap();
        assert_eq!(writer.finish().unwrap(), 3);
        let rows = Rows::open(&path).unwrap();
        assert_eq!((rows.len(), rows.zero_rows(), rows.bytes()), (3, 2, 24));
    }

    #[test]
    fn a_row_that_cannot_be_scored_is_named() {
        for (bad, why) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (1e30, "overflows")] {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = RowsWriter::create(&folder.path().join("rows.bin"), 2).unwrap();
            writer.append(&Embeddings::new(2, vec![1.0, 0.0])).unwrap();
            let error = writer.append(&Embeddings::new(2, vec![1.0, 0.0, 0.5, bad])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadInput);
            assert!(error.message().starts_with("row 2 ") && error.message().contains(why), "{error}");
        }
    }

    #[test]
    fn another_dimension_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = RowsWriter::create(&folder.path().join("rows.bin"), 2).unwrap();
        let error = writer.append(&Embeddings::new(3, vec![0.0; 3])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
    }

    #[test]
    fn a_header_that_does_not_fit_its_payload_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.bin");
        let opened = |fields: [u64; 4]| {
            let mut writer = SealedWriter::create(&path, MAGIC, VERSION).unwrap();
            writer.write(&[0; 20]).unwrap();
            writer.finish(fields).unwrap();
            Rows::open(&path)
        };
        // Five f32, ten f16; two int8 rows of one component are two bytes, two of filling, and four f32.
        for fields in [[1, 5, 0, 0], [5, 1, 0, 5], [2, 5, 1, 0], [2, 1, 2, 0]] {
            opened(fields).unwrap();
        }
        for fields in [
            [2, 2, 0, 0],
            [1, 0, 0, 0],
            [0, 5, 0, 0],
            [1, 5, 0, 2],
            [1 << 63, 5, 0, 0],
            [1, 5, 1, 0],
            [1, 1, 2, 0],
            [2, 5, 2, 0],
            [1 << 31, 1 << 33, 2, 0],
            [u64::MAX, 1, 2, 0],
        ] {
            assert_eq!(opened(fields).err().map(|e| e.kind()), Some(ErrorKind::Damaged), "{fields:?}");
        }
        let unknown = opened([1, 5, 3, 0]).err().unwrap();
        assert!(unknown.kind() == ErrorKind::Damaged && unknown.message().contains("kind 3"), "{unknown}");
    }
}

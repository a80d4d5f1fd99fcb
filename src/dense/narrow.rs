//! Rows in fewer bits, made of f32 rows.
//!
//! In: f32 rows. Out: a file of the same rows as f16 or int8 ([`rows`](super::rows) says how it is laid out).
//!
//! ```
//! use parallax::dense::{ValueKind, narrow::narrow, rows::{Rows, RowsWriter}};
//! use parallax::{encoder::contract::Embeddings, progress::Silent};
//! # fn main() -> parallax::Result<()> {
//! # let folder = tempfile::tempdir().map_err(|e| parallax::Error::bug(e.to_string()))?;
//! # let (path, small) = (folder.path().join("rows.bin"), folder.path().join("int8.bin"));
//! let mut writer = RowsWriter::create(&path, 2)?;
//! writer.append(&Embeddings::new(2, vec![0.6, 0.8]))?;
//! writer.finish()?;
//! narrow(&Rows::open(&path)?, ValueKind::Int8, &small, &Silent)?;
//! // The scale is 0.8 / 127; 0.6 is 95.25 of it, and becomes 95.
//! let row = Rows::open(&small)?.row(0).into_owned();
//! assert!((row[0] - 95.0 * 0.8 / 127.0).abs() < 1e-6 && (row[1] - 0.8).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```
//!
//! Cost: one pass over the rows, on all threads of the rayon pool it is called in.

use super::kind::ValueKind;
use super::rows::{MAGIC, Rows, VERSION, check_finite, is_zero};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::dot::{half, int8};
use crate::progress::{Progress, Stage};
use crate::storage::SealedWriter;
use rayon::prelude::*;
use std::path::Path;

/// Rows between two looks at the progress.
const STEP: usize = 4096;

/// Writes the rows of a file once more as another kind. Refuses a row that the kind cannot hold.
pub fn narrow(rows: &Rows, kind: ValueKind, path: &Path, progress: &dyn Progress) -> Result<()> {
    let d = rows.dimension();
    if kind == ValueKind::Int8 && d > int8::MAX_DIMENSION {
        let message = format!("int8 vectors have at most {} dimensions, not {d}", int8::MAX_DIMENSION);
        return Err(Error::new(ErrorKind::Limit, message).hint("build with `--vectors f16`"));
    }
    progress.begin(Stage::Narrowing, Some(rows.len() as u64));
    let mut file = SealedWriter::create(path, MAGIC, VERSION)?;
    let (mut zero_rows, mut scales) = (0, Vec::new());
    let (mut distance, mut length) = (0f64, 0f64);
    for start in (0..rows.len()).step_by(STEP) {
        progress.checkpoint()?;
        let range = start..rows.len().min(start + STEP);
        let made: Result<Vec<Narrowed>> = range
            .clone()
            .into_par_iter()
            .map(|i| {
                let narrowed = Narrowed::of(&rows.row(i), kind);
                narrowed.map_err(|why| Error::bad_input(format!("row {i} {why}")).hint("build with `--vectors f32`"))
            })
            .collect();
        for row in made? {
            file.write(&row.bytes)?;
            zero_rows += usize::from(row.zero);
            scales.push(row.scale);
            distance = distance.max(row.distance);
            length = length.max(row.length);
        }
        progress.advance(Stage::Narrowing, range.len() as u64);
    }
    if kind == ValueKind::Int8 {
        let values = rows.len() * d;
        file.write(&vec![0; values.next_multiple_of(4) - values])?;
        scales.iter().try_for_each(|scale| file.write(&scale.to_le_bytes()))?;
        file.write(&rounded_up(distance).to_le_bytes())?;
        file.write(&rounded_up(length).to_le_bytes())?;
    }
    file.finish([rows.len() as u64, d as u64, kind.code(), zero_rows as u64])?;
    progress.finish(Stage::Narrowing);
    Ok(())
}

/// The f32 above a value.
fn rounded_up(value: f64) -> f32 {
    (value as f32).next_up()
}

/// One row in another kind.
struct Narrowed {
    bytes: Vec<u8>,
    zero: bool,
    scale: f32,
    /// Between the row and what is stored of it.
    distance: f64,
    /// Of the row.
    length: f64,
}

impl Narrowed {
    /// Says why a kind cannot hold a row, where it cannot.
    fn of(row: &[f32], kind: ValueKind) -> std::result::Result<Self, String> {
        let mut scale = 1.0;
        let (bytes, stored): (Vec<u8>, Vec<f32>) = match kind {
            ValueKind::F32 => (row.iter().flat_map(|value| value.to_le_bytes()).collect(), row.to_vec()),
            ValueKind::F16 => {
                if let Some(place) = row.iter().position(|value| value.abs() > half::MAX) {
                    return Err(format!("holds {} at component {place}, f16 ends at {}", row[place], half::MAX));
                }
                let bits: Vec<u16> = row.iter().map(|value| half::narrow(*value)).collect();
                let stored = bits.iter().map(|bits| half::widen(*bits)).collect();
                (bits.iter().flat_map(|bits| bits.to_le_bytes()).collect(), stored)
            }
            ValueKind::Int8 => {
                let mut whole = vec![0; row.len()];
                scale = int8::quantise(row, &mut whole);
                let stored = whole.iter().map(|whole| scale * f32::from(*whole)).collect();
                (bytemuck::cast_slice(&whole).to_vec(), stored)
            }
        };
        check_finite(&stored)?;
        let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
        let distance = squares(&mut row.iter().zip(&stored).map(|(a, b)| f64::from(*a) - f64::from(*b))).sqrt();
        let length = squares(&mut row.iter().map(|value| f64::from(*value))).sqrt();
        Ok(Narrowed { bytes, zero: is_zero(&stored), scale, distance, length })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::mapped;
    use super::*;
    use crate::progress::Silent;
    use proptest::prelude::*;

    fn narrowed(d: usize, values: &[f32], kind: ValueKind) -> Result<Rows> {
        let (folder, rows) = mapped(d, values);
        let path = folder.path().join("narrow.bin");
        narrow(&rows, kind, &path, &Silent)?;
        Rows::open(&path)
    }

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_read_back_within_their_step(d in 1usize..9, values in prop::collection::vec(-1e4f32..1e4, 0..80)) {
            let values = &values[..values.len() / d * d];
            for kind in [ValueKind::F32, ValueKind::F16, ValueKind::Int8] {
                let rows = narrowed(d, values, kind).unwrap();
                prop_assert_eq!((rows.kind(), rows.len(), rows.dimension()), (kind, values.len() / d, d));
                rows.verify().unwrap();
                let (mut distance, mut longest) = (0f32, 0f32);
                for (i, row) in values.chunks(d).enumerate() {
                    let greatest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
                    let stored = rows.row(i);
                    for (value, stored) in row.iter().zip(stored.iter()) {
                        let step = match kind {
                            ValueKind::F32 => 0.0,
                            ValueKind::F16 => value.abs() / 2048.0 + 3e-8,
                            ValueKind::Int8 => 0.5001 * greatest / 127.0,
                        };
                        prop_assert!((value - stored).abs() <= step, "{kind:?}: {value} is stored as {stored}");
                    }
                    let between: f32 = row.iter().zip(stored.iter()).map(|(a, b)| (a - b) * (a - b)).sum();
                    distance = distance.max(between.sqrt());
                    longest = longest.max(row.iter().map(|value| value * value).sum::<f32>().sqrt());
                }
                if kind == ValueKind::Int8 {
                    let (most, length) = rows.int8_bounds().unwrap();
                    prop_assert!(most >= distance * 0.999_999 && most <= distance * 1.00001 + 1e-9);
                    prop_assert!(length >= longest * 0.999_999 && length <= longest * 1.00001 + 1e-9);
                }
            }
        }
    }

    #[test]
    fn rows_too_great_are_refused_and_tiny_ones_become_zero() {
        let error = narrowed(2, &[1.0, 0.0, 0.0, -70_000.0], ValueKind::F16).err().unwrap();
        assert!(error.kind() == ErrorKind::BadInput && error.message().starts_with("row 1 holds -70000"), "{error}");
        assert!(narrowed(2, &[1e18, 1e18], ValueKind::Int8).is_ok());
        let tiny = [1e-38, 0.0, 0.0, 0.0, 1.0, 1e-38];
        for (kind, zeros) in [(ValueKind::F16, 2), (ValueKind::Int8, 2)] {
            assert_eq!(narrowed(2, &tiny, kind).unwrap().zero_rows(), zeros);
        }
        let wide = narrowed(int8::MAX_DIMENSION + 1, &[], ValueKind::Int8).err().unwrap();
        assert_eq!(wide.kind(), ErrorKind::Limit);
    }

    #[test]
    fn a_damaged_file_is_refused_or_found() {
        let (folder, rows) = mapped(3, &[0.5, -0.25, 1.0, 0.0, 0.0, 0.0, -1.0, 2.0, 0.125]);
        for kind in [ValueKind::F16, ValueKind::Int8] {
            let path = folder.path().join(kind.name());
            narrow(&rows, kind, &path, &Silent).unwrap();
            let good = std::fs::read(&path).unwrap();
            for at in 0..good.len() {
                let mut bytes = good.clone();
                bytes[at] ^= 0x40;
                std::fs::write(&path, &bytes).unwrap();
                let found = Rows::open(&path).and_then(|rows| rows.verify());
                assert_eq!(found.err().map(|e| e.kind()), Some(ErrorKind::Damaged), "{kind:?} byte {at}");
                std::fs::write(&path, &good[..at]).unwrap();
                assert!(Rows::open(&path).is_err(), "{kind:?} cut to {at}");
            }
        }
    }
}

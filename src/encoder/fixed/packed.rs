//! The compact form of a static model: its vocabulary and one int8 row with one f32 scale an entry.
//!
//! Row `t` is `scale_t * q_t`, the components of `q_t` being whole numbers from -127 to 127; rounding moves a
//! component by at most half a scale, 1/254 of the row's largest. The file is little-endian:
//!
//! ```text
//! offset  bytes  what
//!      0      8  magic "PLXFIXED"
//!      8      4  format version, 1
//!     12      4  CRC-32 of the payload
//!     16      8  payload length in bytes
//!     24     32  entries n, dimension d, 0, 0
//!     56      4  zero
//!     60      4  CRC-32 of bytes 0..60
//!     64     4n  scales, f32
//!   …         nd rows, int8
//!   …            vocabulary: the n entries in UTF-8, each followed by a line feed
//! ```
//!
//! Source: scalar quantisation with a scale a row is the usual one (symmetric, round to nearest).

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"PLXFIXED";
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// A static model: a WordPiece vocabulary (`[UNK]` among it, continuations with `##`, uncased) and int8 rows `[n, d]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticModel {
    vocabulary: Vec<String>,
    dimension: usize,
    scales: Vec<f32>,
    rows: Vec<i8>,
}

impl StaticModel {
    /// Rounds rows `[n, d]`, weights folded in, to int8; refuses values that are not finite and shapes that disagree.
    pub fn quantized(vocabulary: Vec<String>, dimension: usize, values: &[f32]) -> Result<Self> {
        if dimension == 0 || values.len() != vocabulary.len() * dimension {
            let (n, found) = (vocabulary.len(), values.len());
            return Err(Error::bad_input(format!("{found} values are not {n} rows of {dimension}")));
        }
        let mut model = StaticModel { vocabulary, dimension, scales: Vec::new(), rows: Vec::new() };
        for row in values.chunks(dimension) {
            let largest = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            if row.iter().any(|x| !x.is_finite()) {
                return Err(Error::bad_input("a row holds a value that is not finite"));
            }
            let scale = largest / 127.0;
            let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            model.scales.push(scale);
            model.rows.extend(row.iter().map(|x| (x * factor).round().clamp(-127.0, 127.0) as i8));
        }
        model.check()?;
        Ok(model)
    }

    /// Entries, in the order of their ids.
    pub fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    /// Components a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// One scale an entry.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Rows `[n, d]`, to be multiplied by the scales.
    pub fn rows(&self) -> &[i8] {
        &self.rows
    }

    /// Rows `[n, d]` as numbers.
    pub fn values(&self) -> Vec<f32> {
        let rows = self.rows.chunks(self.dimension).zip(&self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |x| scale * f32::from(*x))).collect()
    }

    /// The file's bytes; equal models give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        self.scales.iter().for_each(|scale| bytes.extend_from_slice(&scale.to_le_bytes()));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.rows));
        self.vocabulary.iter().for_each(|word| bytes.extend_from_slice(format!("{word}\n").as_bytes()));
        let crc = crc32fast::hash(&bytes[HEADER..]);
        let length = (bytes.len() - HEADER) as u64;
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        bytes[24..32].copy_from_slice(&(self.vocabulary.len() as u64).to_le_bytes());
        bytes[32..40].copy_from_slice(&(self.dimension as u64).to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a file's bytes; anything but what [`StaticModel::to_bytes`] wrote is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refuse = |message: String| Error::damaged("static model", message).hint("make it anew with `distill`");
        let Some((header, payload)) = bytes.split_at_checked(HEADER).filter(|(header, _)| &header[..8] == MAGIC) else {
            return Err(refuse("not a `PLXFIXED` file".into()));
        };
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        if crc32fast::hash(&header[..60]) != u32_at(60) {
            return Err(refuse("the header does not match its checksum".into()));
        }
        if u32_at(8) != VERSION {
            return Err(refuse(format!("format version {}, this program reads version {VERSION}", u32_at(8))));
        }
        if u64_at(16) != payload.len() as u64 || crc32fast::hash(payload) != u32_at(12) {
            return Err(refuse("the payload does not match its length and checksum".into()));
        }
        let sizes = || {
            let n = usize::try_from(u64_at(24)).ok()?;
            let dimension = usize::try_from(u64_at(32)).ok().filter(|d| *d > 0)?;
            let (scales, rest) = payload.split_at_checked(n.checked_mul(4)?)?;
            let (rows, words) = rest.split_at_checked(n.checked_mul(dimension)?)?;
            Some((dimension, scales, rows, std::str::from_utf8(words).ok()?))
        };
        let (dimension, scales, rows, words) =
            sizes().ok_or_else(|| refuse("its sizes contradict each other".into()))?;
        let model = StaticModel {
            vocabulary: words.split_terminator('\n').map(String::from).collect(),
            dimension,
            scales: scales.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            rows: bytemuck::cast_slice(rows).to_vec(),
        };
        if model.vocabulary.len() != model.scales.len() || model.scales.iter().any(|scale| !scale.is_finite()) {
            return Err(refuse("vocabulary, scales and rows do not belong together".into()));
        }
        Ok(model)
    }

    /// Entries the file could not hold: empty or with a line feed.
    fn check(&self) -> Result<()> {
        match self.vocabulary.iter().find(|word| word.is_empty() || word.contains('\n')) {
            Some(word) => Err(Error::bad_input(format!("{word:?} cannot be a vocabulary entry"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model() -> StaticModel {
        StaticModel::quantized(vec!["[UNK]".into(), "é".into()], 2, &[0.0, 0.0, 0.5, -2.0]).unwrap()
    }

    #[test]
    fn bytes_read_back_and_every_flipped_bit_is_refused() {
        let bytes = model().to_bytes();
        assert_eq!(StaticModel::from_bytes(&bytes).unwrap(), model());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(StaticModel::from_bytes(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(StaticModel::from_bytes(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn sizes_that_contradict_each_other_are_refused_even_with_good_checksums() {
        for (at, value) in [(24, 3u64), (24, u64::MAX), (32, 0), (32, 1 << 60)] {
            let mut bytes = model().to_bytes();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let crc = crc32fast::hash(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
            assert!(StaticModel::from_bytes(&bytes).is_err(), "{value} at {at}");
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        assert!(StaticModel::quantized(vec!["a".into()], 2, &[1.0]).is_err());
        assert!(StaticModel::quantized(vec!["a\nb".into()], 1, &[1.0]).is_err());
        assert!(StaticModel::quantized(vec!["a".into()], 1, &[f32::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn rounding_moves_a_component_by_half_a_scale_at_most(row in prop::collection::vec(-1e3f32..1e3, 1..20)) {
            let model = StaticModel::quantized(vec!["a".into()], row.len(), &row).unwrap();
            for (found, expected) in model.values().iter().zip(&row) {
                prop_assert!((found - expected).abs() <= 0.501 * model.scales()[0]);
            }
        }
    }
}

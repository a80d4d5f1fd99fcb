//! Weights of a model folder: a safetensors file in, checked f32 tensors by name out.
//!
//! Nothing the file says is believed before it is compared with the file's length; a tensor is copied only when its
//! shape is the one asked for, and only when all its values are finite. What the file holds beyond what was asked for
//! has to be a known head of another task, else the description and the weights are not of one model.
//!
//! Cost: one map of the file, one sha256 over it, one copy of each tensor taken.

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Mapped, sha256};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Larger files are refused: no encoder that a CPU serves comes near it.
const LARGEST: u64 = 16 << 30;

/// Parts of other tasks that published encoders carry along and sentence vectors do not use.
const HEADS: [&str; 12] = [
    "pooler.",
    "cls.",
    "lm_head.",
    "classifier.",
    "head.",
    "decoder.",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "qa_outputs.",
    "pre_classifier.",
    "predictions.",
];

/// The tensors of one file, taken by name.
pub(crate) struct Weights {
    path: PathBuf,
    file: Mapped,
    metadata: Metadata,
    /// Where the values begin in the file.
    start: usize,
    /// What stands before the names of the encoder's tensors, `bert.` say; often nothing.
    prefix: String,
    taken: HashSet<String>,
}

impl Weights {
    /// Opens and checks a file; `probe` is a tensor every model of the family has, by which the prefix of all names
    /// is found among `prefixes`.
    pub(crate) fn open(path: &Path, probe: &str, prefixes: &[&str]) -> Result<Self> {
        let length = std::fs::metadata(path).map_err(|e| Error::io(path, "inspect", e))?.len();
        if length > LARGEST {
            let message = format!("{length} bytes of weights are more than the {LARGEST} that are read");
            return Err(Error::new(ErrorKind::Limit, message).in_file(path));
        }
        let file = Mapped::open(path)?;
        let (header, metadata) = SafeTensors::read_metadata(file.bytes())
            .map_err(|e| Error::bad_input("not a whole safetensors file").in_file(path).because(e))?;
        let prefix = prefixes.iter().find(|prefix| metadata.info(&format!("{prefix}{probe}")).is_some());
        let Some(prefix) = prefix.map(|prefix| prefix.to_string()) else {
            return Err(Error::bad_input(format!("tensor `{probe}` is missing")).in_file(path));
        };
        // The format: eight bytes of header length, the header, the values.
        Ok(Weights { path: path.to_path_buf(), file, metadata, start: 8 + header, prefix, taken: HashSet::new() })
    }

    /// sha256 of the whole file, lower-case hex.
    pub(crate) fn fingerprint(&self) -> String {
        sha256(&[self.file.bytes()])
    }

    /// What stands before the names of the encoder's tensors, often nothing.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the file has a tensor of that name (without the prefix).
    pub(crate) fn has(&self, name: &str) -> bool {
        self.metadata.info(&format!("{}{name}", self.prefix)).is_some()
    }

    /// A tensor's values, row-major, in f32. Refuses another shape and values that are not finite.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let refuse = |message: String| Err(Error::bad_input(message).in_file(&self.path));
        let full = format!("{}{name}", self.prefix);
        let Some(info) = self.metadata.info(&full) else {
            return refuse(format!("tensor `{full}` is missing"));
        };
        if info.shape != shape {
            return refuse(format!("tensor `{full}` has shape {:?}, the config asks for {shape:?}", info.shape));
        }
        // `read_metadata` proved that the offsets lie in the file and that their distance fits shape and type.
        let bytes = &self.file.bytes()[self.start + info.data_offsets.0..self.start + info.data_offsets.1];
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f32_of_half(u16::from_le_bytes(b))).collect(),
            Dtype::BF16 => {
                bytes.as_chunks().0.iter().map(|&b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)).collect()
            }
            other => return refuse(format!("tensor `{full}` has type {other:?}, not F32, F16 or BF16")),
        };
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return refuse(format!("tensor `{full}` holds {} at value {at}", values[at]));
        }
        self.taken.insert(full);
        Ok(values)
    }

    /// Refuses a file with tensors that were not taken and belong to no known head: its config describes another model.
    pub(crate) fn finish(self, family: &str) -> Result<()> {
        for name in self.metadata.offset_keys() {
            let inner = name.strip_prefix(&self.prefix).unwrap_or(&name);
            let head = HEADS.iter().any(|head| inner.starts_with(head) || name.starts_with(head));
            // Old files store the numbers 0, 1, 2 … of the positions.
            if !self.taken.contains(&name) && !head && !name.ends_with("position_ids") {
                let message = format!("tensor `{name}` is no part of the {family} encoder that the config describes");
                return Err(Error::bad_input(message).in_file(&self.path));
            }
        }
        Ok(())
    }
}

/// IEEE 754 half precision, widened exactly.
fn f32_of_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(half >> 10) & 31, u32::from(half & 0x3ff));
    match exponent {
        // Subnormal: fraction times 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Writes a safetensors file of f32 tensors: tests make damaged folders with it.
#[cfg(test)]
pub(crate) fn write_f32(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, safetensors::tensor::TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[(&str, &[usize], &[f32])]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_f32(&path, tensors);
        (folder, path)
    }

    #[test]
    fn tensors_are_found_behind_their_prefix() {
        let (_folder, path) = file(&[("bert.a", &[2, 1], &[1.5, -2.0]), ("cls.x", &[1], &[0.0])]);
        let mut weights = Weights::open(&path, "a", &["", "bert."]).unwrap();
        assert_eq!(weights.take("a", &[2, 1]).unwrap(), [1.5, -2.0]);
        weights.finish("bert").unwrap();
    }

    #[test]
    fn what_does_not_fit_the_config_is_named() {
        let (_folder, path) = file(&[("a", &[2], &[1.0, f32::NAN]), ("layer.7", &[1], &[0.0])]);
        let refusal = |deed: &dyn Fn(Weights) -> Result<()>| {
            deed(Weights::open(&path, "a", &[""]).unwrap()).unwrap_err().message().to_owned()
        };
        assert_eq!(refusal(&|mut w| w.take("b", &[1]).map(drop)), "tensor `b` is missing");
        assert!(refusal(&|mut w| w.take("a", &[1, 2]).map(drop)).contains("shape [2], the config asks for [1, 2]"));
        assert_eq!(refusal(&|mut w| w.take("a", &[2]).map(drop)), "tensor `a` holds NaN at value 1");
        assert!(refusal(&|w| w.finish("bert")).contains("`a` is no part"));
        assert_eq!(Weights::open(&path, "z", &[""]).err().unwrap().message(), "tensor `z` is missing");
    }

    #[test]
    fn damaged_files_are_refused() {
        let (_folder, path) = file(&[("a", &[2], &[1.0, 2.0])]);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Weights::open(&path, "a", &[""]).is_err(), "{length} bytes were taken for a model");
        }
        let mut long = whole.clone();
        long[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
        std::fs::write(&path, long).unwrap();
        assert!(Weights::open(&path, "a", &[""]).is_err());
    }

    #[test]
    fn half_precision_widens_exactly() {
        for (half, want) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0)]
        {
            assert_eq!(f32_of_half(half), want);
        }
        assert!(f32_of_half(0x7e00).is_nan() && f32_of_half(0xfc00) == f32::NEG_INFINITY);
    }
}

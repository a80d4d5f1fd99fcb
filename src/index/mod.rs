//! One folder that holds both sides of a collection, and the manifest that describes them.
//!
//! ```text
//! indexes/<name>/
//!   CURRENT            the generation that answers and its manifest's sha256, replaced by rename
//!   .lock              held by the one writer
//!   gen-3/             immutable once published
//!     manifest.json    written last
//!     sparse/…         tantivy parts, lengths, norms, ids
//!     dense/rows.bin   [n, d] vectors, f32 or f16
//!     dense/int8.bin   the same in eight bits, from 20,000 passages on or with `--vectors int8`
//!     dense/graph.bin  the neighbour graph
//! ```
//!
//! [`build()`] writes a new generation beside the old one and only then lets `CURRENT` name it: killed anywhere, the
//! old index stands. [`Index::open`] checks every length and header before anything is searched, and [`Index::check`] reads
//! every byte. One passage is one [`Ordinal`](crate::Ordinal) on both sides.

pub mod build;
pub mod calibrate;
pub mod dedup;
pub mod fusion_file;
pub mod manifest;
mod sides;
pub mod signals;

pub use build::{BuildOptions, BuildReport, EncoderChoice, build};
pub use fusion_file::{FusionFile, GivenFusion};
pub use manifest::Manifest;

use crate::dense::DenseIndex;
use crate::encoder::contract::{Encoder, Precision};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Progress, Stage};
use crate::sparse::SparseIndex;
use crate::storage;
use manifest::EncoderRecord;
use std::path::{Path, PathBuf};

/// An open index: both sides of one generation.
pub struct Index {
    folder: PathBuf,
    generation: PathBuf,
    manifest: Manifest,
    /// sha256 of `manifest.json`, as `CURRENT` gives it.
    seal: String,
    sparse: SparseIndex,
    dense: Option<DenseIndex>,
}

impl Index {
    /// Opens the generation that `CURRENT` names.
    ///
    /// Checks the manifest, every file's length, the headers and structures both sides walk, and that both sides hold
    /// the same passages. Cost: milliseconds; vectors and postings stay on disk until they are asked for.
    pub fn open(folder: &Path) -> Result<Self> {
        match Self::open_current(folder) {
            // A writer may have published and cleaned up between our look at CURRENT and the files it named.
            Err(error) if error.kind() == ErrorKind::NotFound => Self::open_current(folder),
            other => other,
        }
    }

    fn open_current(folder: &Path) -> Result<Self> {
        let Current { generation, seal } = current(folder)?;
        let generation = folder.join(generation);
        let manifest = Manifest::read(&generation.join("manifest.json"))?;
        for (name, entry) in &manifest.files {
            let path = generation.join(name);
            let length = fs_err::metadata(&path).map_err(|e| Error::io(&path, "inspect", e))?.len();
            if length != entry.length {
                let message = format!("the file has {length} bytes, the manifest says {}", entry.length);
                return Err(Error::damaged(&path, message).hint("build the index anew with `--force`"));
            }
        }
        let sparse = SparseIndex::open(&generation.join("sparse"))?;
        let dense = match manifest.dense {
            Some(_) => Some(DenseIndex::open(&generation.join("dense"))?),
            None => None,
        };
        let index = Index { folder: folder.to_path_buf(), generation, manifest, seal, sparse, dense };
        index.agree()?;
        Ok(index)
    }

    /// Refuses sides that do not hold the same passages, or rows that are not the encoder's.
    fn agree(&self) -> Result<()> {
        let expected = self.manifest.collection.passages as usize;
        let refuse = |what: &str, found: usize, expected: usize| {
            let message = format!("the {what}: {found}, the manifest says {expected}");
            Err(Error::damaged(self.generation.join("manifest.json"), message)
                .hint("build the index anew with `--force`"))
        };
        if self.sparse.len() != expected {
            return refuse("sparse side's passages", self.sparse.len(), expected);
        }
        if let (Some(dense), Some(record)) = (&self.dense, &self.manifest.dense) {
            if dense.len() != expected {
                return refuse("dense side's rows", dense.len(), expected);
            }
            if dense.dimension() != record.passage_encoder.dimension {
                return refuse("rows' dimension", dense.dimension(), record.passage_encoder.dimension);
            }
            if dense.vectors().name() != record.vectors.kind {
                let (found, wanted) = (dense.vectors().name(), &record.vectors.kind);
                let message = format!("the vectors are {found}, the manifest says {wanted}");
                return Err(Error::damaged(self.generation.join("manifest.json"), message)
                    .hint("build the index anew with `--force`"));
            }
        }
        Ok(())
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The sparse side.
    pub fn sparse(&self) -> &SparseIndex {
        &self.sparse
    }

    /// The dense side, where the index has one.
    pub fn dense(&self) -> Option<&DenseIndex> {
        self.dense.as_ref()
    }

    /// The index folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the generation that is open.
    pub fn generation(&self) -> &Path {
        &self.generation
    }

    /// Passages indexed.
    pub fn len(&self) -> usize {
        self.sparse.len()
    }

    /// Whether no passage is indexed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of one side's files (`sparse` or `dense`).
    pub fn bytes(&self, side: &str) -> u64 {
        let of_side = |name: &&String| name.split('/').next() == Some(side);
        self.manifest.files.iter().filter(|(name, _)| of_side(name)).map(|(_, entry)| entry.length).sum()
    }

    /// Opens the encoder that turns questions into rows this index can be searched with; refuses any other. It computes
    /// in the precision the passages were encoded in, unless another is given.
    pub fn open_question_encoder(&self, precision: Option<Precision>) -> Result<Box<dyn Encoder>> {
        let Some(record) = &self.manifest.dense else {
            return Err(Error::usage(format!("index `{}` has no dense side", self.folder.display()))
                .hint("search with `--mode sparse`, or build it anew with an encoder"));
        };
        open_recorded(record.question_encoder.as_ref().unwrap_or(&record.passage_encoder), precision)
    }

    /// Opens the encoder that made this index's rows; refuses any other.
    pub fn open_passage_encoder(&self) -> Result<Box<dyn Encoder>> {
        match &self.manifest.dense {
            Some(record) => open_recorded(&record.passage_encoder, None),
            None => Err(Error::usage(format!("index `{}` has no dense side", self.folder.display()))),
        }
    }

    /// Reads every byte of the generation and compares it with the manifest; gives the number of files.
    pub fn check(&self, progress: &dyn Progress) -> Result<usize> {
        let total = self.manifest.files.values().map(|entry| entry.length).sum();
        progress.begin(Stage::Verifying, Some(total));
        let path = self.generation.join("manifest.json");
        if storage::record(&path, progress)?.sha256 != self.seal {
            return Err(Error::damaged(&path, "the manifest's sha256 is not the one `CURRENT` gives")
                .hint("build the index anew with `--force`"));
        }
        for (name, entry) in &self.manifest.files {
            let path = self.generation.join(name);
            let found = storage::record(&path, progress)?;
            if found.sha256 != entry.sha256 {
                let message = format!("the file's sha256 is {}, the manifest says {}", found.sha256, entry.sha256);
                return Err(Error::damaged(&path, message).hint("build the index anew with `--force`"));
            }
        }
        progress.finish(Stage::Verifying);
        Ok(self.manifest.files.len())
    }
}

/// Opens a recorded encoder, in the recorded precision unless another is given, and compares fingerprints.
fn open_recorded(record: &EncoderRecord, precision: Option<Precision>) -> Result<Box<dyn Encoder>> {
    let recorded = || {
        Precision::from_name(&record.precision).ok_or_else(|| {
            let message = format!("encoder `{}` was used in a precision `{}`", record.name, record.precision);
            Error::new(ErrorKind::Mismatch, message)
                .hint("a newer version wrote this index; build it anew with `--force`")
        })
    };
    let precision = precision.map_or_else(recorded, Ok)?;
    let encoder = crate::encoder::open_named(&record.location, &record.name, precision)?;
    let found = &encoder.card().fingerprint;
    if *found != record.fingerprint {
        let message = format!(
            "encoder `{}` is not the one the index was built with: its fingerprint is {found}, the manifest says {}",
            record.name, record.fingerprint
        );
        return Err(Error::new(ErrorKind::Mismatch, message)
            .hint("build the index anew with `--force`, or put the former model back")
            .hint("the sparse side still answers: `--mode sparse`"));
    }
    Ok(encoder)
}

/// What `CURRENT` says: `gen-N`, a space, the sha256 of its manifest.
struct Current {
    generation: String,
    seal: String,
}

/// Reads `CURRENT`.
fn current(folder: &Path) -> Result<Current> {
    let path = folder.join("CURRENT");
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("`{}` is not an index: it has no file `CURRENT`", folder.display());
            return Err(Error::new(ErrorKind::NotFound, message)
                .hint("make one with `parallax build-index SOURCE --name NAME`"));
        }
        Err(e) => return Err(Error::io(&path, "read", e)),
    };
    match text.trim_end_matches('\n').split_once(' ') {
        Some((generation, seal)) if generation_number(generation).is_some() => {
            Ok(Current { generation: generation.to_string(), seal: seal.to_string() })
        }
        _ => Err(Error::damaged(&path, "it names no generation").hint("build the index anew with `--force`")),
    }
}

/// The number of a generation folder's name, `gen-N`.
fn generation_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("gen-")?;
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

//! Every choice an index was built with: `manifest.json`, written last, so that a folder without it is no index.
//!
//! These are wire types: their field names are a promise to other programs. A reader of format `n` refuses a manifest
//! of another format and says how to build anew.

use crate::encoder::contract::{EncoderCard, Precision, Similarity};
use crate::error::{Error, Result};
use crate::fusion::Fusion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The format this program writes and reads.
pub const FORMAT: u32 = 1;

/// What an index is made of and how it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format number of the whole folder.
    pub format: u32,
    /// Program and version that built it.
    pub program: String,
    /// The command that built it, as typed, where it was typed.
    pub command: Option<String>,
    /// What was read.
    pub collection: CollectionRecord,
    /// The sparse side.
    pub sparse: SparseRecord,
    /// The dense side; absent when built with `--encoder none`.
    pub dense: Option<DenseRecord>,
    /// How both sides are joined unless a query says otherwise.
    pub fusion: FusionRecord,
    /// Wall time of the build in seconds, where it was asked for: the only field that differs between equal builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_seconds: Option<f64>,
    /// Every other file of the generation by relative path.
    pub files: BTreeMap<String, FileEntry>,
}

/// What the sources held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionRecord {
    /// Sources as given.
    pub sources: Vec<String>,
    /// Passages indexed (chunks, where passages were cut): ordinals are `0..passages`.
    pub passages: u32,
    /// Passages read, before cutting and after merging.
    pub documents: u64,
    /// Identical paragraphs that were merged while reading.
    pub merged: u64,
    /// Duplicates left out by `--dedup`.
    pub duplicates: u64,
    /// Passages without any text.
    pub empty: u64,
    /// Bad records left out by `--on-bad-line skip`.
    pub skipped: u64,
    /// The first of them, as `file:line: reason`.
    pub skipped_records: Vec<String>,
    /// `none`, `tokens:N,stride:M` or `sentences:N`.
    pub chunking: String,
    /// `none`, `exact` or `near`.
    pub dedup: String,
}

/// The sparse side's choices and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseRecord {
    /// Name of the analysis chain.
    pub analyzer: String,
    /// Distinct terms: the dimension of sparse vectors.
    pub terms: u64,
    /// Non-zero entries of all sparse vectors.
    pub postings: u64,
    /// Tokens indexed.
    pub tokens: u64,
}

/// The dense side's choices and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenseRecord {
    /// Encodes passages.
    pub passage_encoder: EncoderRecord,
    /// Encodes questions, where it is another one.
    pub question_encoder: Option<EncoderRecord>,
    /// Passages without a known token: their rows are zero and score 0.
    pub zero_rows: u64,
    /// How its vectors are stored; an index of before they could be anything else says nothing, and has f32.
    #[serde(default)]
    pub vectors: VectorsRecord,
    /// The neighbour graph.
    pub graph: GraphRecord,
}

/// How vectors are stored, and what that was measured to lose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorsRecord {
    /// `f32`, `f16` or `int8` (with f32 beside it, from which the best are scored).
    pub kind: String,
    /// Share of the exact ten nearest that are not found though every row is looked at, on the graph's sample.
    pub recall_lost_at_10: f64,
}

impl Default for VectorsRecord {
    fn default() -> Self {
        VectorsRecord { kind: "f32".into(), recall_lost_at_10: 0.0 }
    }
}

/// An encoder, so that another one is never taken for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderRecord {
    /// As the user named it: `builtin`, a folder, `owner/name`.
    pub name: String,
    /// Where it was opened from: `builtin` or an absolute path.
    pub location: String,
    /// Family: `static`, `bert`, …
    pub family: String,
    /// sha256 over weights, tokenizer and settings.
    pub fingerprint: String,
    /// `f32` or `int8`: what it computed in; `f32` where a manifest does not say.
    #[serde(default = "f32_name")]
    pub precision: String,
    /// sha256 of the tokenizer.
    pub tokenizer: String,
    /// Components a row.
    pub dimension: usize,
    /// `dot` or `cosine`.
    pub similarity: String,
    /// `cls`, `mean` or `max`.
    pub pooling: String,
    /// Put before each query.
    pub query_prompt: String,
    /// Put before each passage.
    pub passage_prompt: String,
    /// Tokens after which a text is cut.
    pub max_tokens: Option<usize>,
}

impl EncoderRecord {
    /// Records an opened encoder.
    pub fn of(card: &EncoderCard, location: &str) -> Self {
        EncoderRecord {
            name: card.name.clone(),
            location: location.to_string(),
            family: card.family.clone(),
            fingerprint: card.fingerprint.clone(),
            precision: card.precision.name().to_string(),
            tokenizer: card.tokenizer.clone(),
            dimension: card.dimension,
            similarity: card.similarity.name().to_string(),
            pooling: card.pooling.clone(),
            query_prompt: card.query_prompt.clone(),
            passage_prompt: card.passage_prompt.clone(),
            max_tokens: card.max_tokens,
        }
    }

    /// The similarity rows are compared by.
    pub fn similarity(&self) -> Similarity {
        Similarity::from_name(&self.similarity).unwrap_or(Similarity::Dot)
    }
}

/// What encoders computed in before manifests said so.
fn f32_name() -> String {
    Precision::F32.name().to_string()
}

/// The neighbour graph and what it proved of itself when it was built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphRecord {
    /// `parallax` or `hnsw-rs`.
    pub builder: String,
    /// Neighbours a node keeps on upper layers (twice as many on the lowest).
    pub m: usize,
    /// Breadth of the search while building.
    pub ef_construction: usize,
    /// Seed of the layer draw.
    pub seed: u64,
    /// Breadth of the search that reaches the floor; the number of rows where none does, and every row is scored.
    pub ef: usize,
    /// Share of the exact ten nearest that the graph finds, on a sample.
    pub ann_recall_at_10: f64,
    /// Queries in that sample.
    pub sample: usize,
    /// Nodes that had to be linked again to be reachable.
    pub repaired: usize,
}

/// The default fusion and the evidence for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FusionRecord {
    /// The method with its numbers.
    #[serde(flatten)]
    pub fusion: Fusion,
    /// Where the numbers come from, in one sentence.
    pub found_by: String,
    /// Pseudo-queries they rest on; 0 when given by the user.
    pub queries: usize,
    /// Mean reciprocal rank of sparse alone, dense alone and the fusion on those pseudo-queries; a weight per query is
    /// measured on those it was not fitted on.
    pub reciprocal_ranks: Option<[f64; 3]>,
    /// 95 % interval of the fusion's gain in reciprocal rank over sparse alone.
    pub gain_interval: Option<[f64; 2]>,
    /// 95 % interval of one weight for all: the whole choice, made again on resampled questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_interval: Option<[f64; 2]>,
}

impl FusionRecord {
    /// The record of a fusion that the user gave.
    pub fn given(fusion: Fusion) -> Self {
        FusionRecord {
            fusion,
            found_by: "given with `--fusion`".into(),
            queries: 0,
            reciprocal_ranks: None,
            gain_interval: None,
            weight_interval: None,
        }
    }
}

/// A file's length and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Bytes.
    pub length: u64,
    /// sha256, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks a generation's manifest.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs_err::read(path).map_err(|e| Error::io(path, "read", e))?;
        let rebuild = "build the index anew with `parallax build-index … --force`";
        let damaged = |e: serde_json::Error| {
            Error::damaged(path, "the manifest is not what this program writes").because(e).hint(rebuild)
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format != FORMAT {
            let message = format!("the index has format {format}, this program reads format {FORMAT}");
            return Err(Error::damaged(path, message).hint(rebuild));
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// The manifest as the bytes of `manifest.json`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::bug("the manifest could not be written as JSON").because(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

//! What a dual encoder learns from: a query, passages that answer it, and passages that only look as if they did.
//!
//! Mining gives [`TrainingExample`]s and training takes them, through files, which [`read::examples`] reads and
//! [`ExampleWriter`] writes. The own layout is a contract: one JSON object a line; keys that have nothing to say are
//! left out, and new keys may come:
//!
//! ```json
//! {"query_id": "q1", "query": "who first measured the speed of light", "answers": ["Ole Rømer"],
//!  "positives": [{"id": "p7", "title": "Speed of light", "text": "Rømer first measured it in 1676."}],
//!  "negatives": [{"id": "p9", "title": "Light", "text": "Its speed is a constant.",
//!                 "source": "sparse", "rank": 2, "sparse": {"rank": 2, "score": 11.25}, "dense": {"score": 0.41},
//!                 "teacher": 0.125, "verdict": "negative", "reason": "…"}]}
//! ```
//!
//! (one line in the file). Negatives stand hardest first and may be none. `rank` counts from 1 over all that `source`
//! offered; `sparse` and `dense` are the rank and raw score on each side, the rank left out beyond the depth that was
//! searched; `teacher` is a scoring encoder's own value of the pair. Positives may have the same keys. Numbers read
//! back as the same 64-bit floats.
//!
//! The layouts of other tools carry less:
//!
//! | layout | file | cannot hold |
//! |---|---|---|
//! | parallax | JSON lines | – |
//! | DPR | a JSON list, one example a line; negatives in `hard_negative_ctxs` | provenance, but for one score |
//! | Tevatron | JSON lines | provenance |
//! | FlagEmbedding | JSON lines; ids in `query_id`, `pos_id`, `neg_id`, which its loader passes over | titles, answers, provenance but for teacher scores |
//! | triplets | JSON lines, a row for each pair of a positive and a negative | ids, titles, answers, provenance, examples without negatives |
//! | n-tuples | JSON lines, a row for each positive | the same, examples with fewer than n negatives, negatives beyond n |
//!
//! DPR's `score` is 1000 and its `title_score` 1 for positives, as in the published files; negatives have the raw score
//! of the side that offered them, or 0. Titles without a place stand before their texts. sentence-transformers reads
//! columns by their order and wants every row complete, so no key is added there, and what cannot fill a row is left
//! out. Whatever is lost is counted in [`WrittenExamples::losses`].
//!
//! Sources: the READMEs and loaders of DPR (Karpukhin et al., 2020), Tevatron (Gao et al., 2022) and FlagEmbedding
//! (Xiao et al., "C-Pack", 2023); the dataset documentation of sentence-transformers (Reimers & Gurevych, 2019).
//!
//! [`read::examples`]: super::read::examples()
//! [`ExampleWriter`]: super::write::ExampleWriter
//! [`WrittenExamples::losses`]: super::write::WrittenExamples::losses

use super::{PassageId, Query};
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A layout of files of training examples; [`read::examples`](super::read::examples()) knows them by their keys and
/// [`ExampleWriter`](super::write::ExampleWriter) writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExampleFormat {
    /// The own one: JSON lines with ids and where each negative came from.
    Parallax,
    /// DPR's training files: a JSON list of objects with `positive_ctxs` and `hard_negative_ctxs`.
    Dpr,
    /// Tevatron's JSON lines with `positive_passages` and `negative_passages`.
    Tevatron,
    /// FlagEmbedding's JSON lines with `pos` and `neg`.
    FlagEmbedding,
    /// sentence-transformers' rows of `anchor`, `positive`, `negative`.
    Triplets,
    /// sentence-transformers' rows of `anchor`, `positive`, `negative_1`, …, `negative_n`.
    NTuples,
}

impl ExampleFormat {
    /// All of them, the own one first.
    pub const ALL: [ExampleFormat; 6] = [
        ExampleFormat::Parallax,
        ExampleFormat::Dpr,
        ExampleFormat::Tevatron,
        ExampleFormat::FlagEmbedding,
        ExampleFormat::Triplets,
        ExampleFormat::NTuples,
    ];

    /// The name options use.
    pub fn name(self) -> &'static str {
        match self {
            ExampleFormat::Parallax => "parallax",
            ExampleFormat::Dpr => "dpr",
            ExampleFormat::Tevatron => "tevatron",
            ExampleFormat::FlagEmbedding => "flagembedding",
            ExampleFormat::Triplets => "triplets",
            ExampleFormat::NTuples => "n-tuples",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        ExampleFormat::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl fmt::Display for ExampleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ExampleFormat {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        ExampleFormat::from_name(name).ok_or_else(|| {
            let names = ExampleFormat::ALL.map(ExampleFormat::name).join(", ");
            Error::usage(format!("`{name}` is no format of examples")).hint(format!("one of {names}"))
        })
    }
}

/// One query with its positives and hard negatives. Text is NFC.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingExample {
    /// The query, with its answers where they are known.
    pub query: Query,
    /// Passages that answer it; at least one.
    pub positives: Vec<ExamplePassage>,
    /// Hard negatives, hardest first; may be empty, training then has in-batch negatives only.
    pub negatives: Vec<ExamplePassage>,
}

/// A passage of an example, with its words: examples stand alone, without the index they were mined from.
#[derive(Clone, Debug, PartialEq)]
pub struct ExamplePassage {
    /// Its id; formats that carry none get `sha256:` and the first 16 hex digits of title, line feed and text.
    pub id: PassageId,
    /// Title of its article; empty where there is none.
    pub title: String,
    /// Its words.
    pub text: String,
    /// Where it came from; `None` for most positives, and for examples of other tools (but for FlagEmbedding's scores,
    /// which are teachers').
    pub provenance: Option<Provenance>,
}

/// Why a passage stands among the negatives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// What offered it: `sparse`, `dense`, `hybrid`, `sparse-only`, `dense-only`, `random`.
    pub source: String,
    /// 1-based rank among all that source offered, before filters.
    pub rank: Option<usize>,
    /// Rank from 1 and raw score on the sparse side.
    pub sparse: Option<SideScore>,
    /// Rank from 1 and raw score on the dense side.
    pub dense: Option<SideScore>,
    /// An encoder's or teacher's own score of the pair, where one was asked.
    pub teacher: Option<f64>,
    /// What the filters said: `negative`, or `ambiguous` and `positive` where a re-score relabelled it.
    pub verdict: String,
    /// Why, in a few words; empty for plain negatives.
    pub reason: String,
}

/// A passage's place on one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SideScore {
    /// 1-based rank; `None` beyond the depth that was searched.
    pub rank: Option<usize>,
    /// Raw score, higher is better.
    pub score: f64,
}

impl ExamplePassage {
    /// Title and text as one string, joined by a space, as both sides index it.
    pub fn full_text(&self) -> String {
        match (self.title.is_empty(), self.text.is_empty()) {
            (true, _) => self.text.clone(),
            (_, true) => self.title.clone(),
            _ => format!("{} {}", self.title, self.text),
        }
    }
}

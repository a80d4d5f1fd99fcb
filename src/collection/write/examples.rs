//! Training examples, written for our own training and for other tools'.
//!
//! The own layout is a contract. One JSON object a line; keys that have nothing to say are left out, new keys may come:
//!
//! ```json
//! {"query_id": "q1", "query": "who first measured the speed of light", "answers": ["Ole Rømer"],
//!  "positives": [{"id": "p7", "title": "Speed of light", "text": "Rømer first measured it in 1676."}],
//!  "negatives": [{"id": "p9", "title": "Light", "text": "Its speed is a constant.",
//!                 "source": "sparse", "rank": 2, "sparse": {"rank": 2, "score": 11.25}, "dense": {"score": 0.41},
//!                 "teacher": 0.125, "verdict": "negative", "reason": "…"}]}
//! ```
//!
//! (one line in the file). `rank` counts from 1 over all that `source` offered; `sparse` and `dense` are the raw rank
//! and score on each side, the rank left out beyond the depth that was searched; `teacher` is a scoring encoder's own
//! value of the pair. Numbers read back as the same 64-bit floats.
//!
//! | layout | file | cannot hold |
//! |---|---|---|
//! | parallax | JSON lines | – |
//! | DPR | a JSON list, one example a line; negatives in `hard_negative_ctxs` | provenance (but for one score) |
//! | Tevatron | JSON lines | provenance |
//! | FlagEmbedding | JSON lines; ids in `query_id`, `pos_id`, `neg_id`, which its loader passes over | titles, answers, provenance (but for teacher scores) |
//! | triplets | JSON lines, a row for each pair of a positive and a negative | ids, titles, answers, provenance, examples without negatives |
//! | n-tuples | JSON lines, a row for each positive | the same, and examples with fewer than n negatives, negatives beyond n |
//!
//! DPR's `score` is 1000 and its `title_score` 1 for positives, as in the published files; negatives have the score of
//! the side that offered them, or 0. Titles without a place stand before their texts. sentence-transformers reads
//! columns by their order and wants every row complete, so there no key is added, and what cannot fill a row is left
//! out. Whatever is lost is counted in [`WrittenExamples::losses`].
//!
//! ```
//! use parallax::collection::examples::{ExamplePassage, TrainingExample};
//! use parallax::collection::read::{self, ReadOptions, Source};
//! use parallax::collection::write::{ExampleFormat, ExampleWriter};
//! # fn main() -> parallax::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("parallax-doc-examples-{}", std::process::id()));
//! # parallax::storage::create_folder(&folder)?;
//! let passage = |id: &str, text: &str| ExamplePassage {
//!     id: id.into(), title: String::new(), text: text.into(), provenance: None,
//! };
//! let example = TrainingExample {
//!     query: parallax::Query::new("q1", "capital of Korea"),
//!     positives: vec![passage("a", "Seoul is the capital.")],
//!     negatives: vec![passage("b", "Busan lies at the sea.")],
//! };
//! let path = folder.join("examples.json.gz");
//! let mut writer = ExampleWriter::create(&path, ExampleFormat::Dpr, 1)?;
//! writer.write(&example)?;
//! assert_eq!(writer.finish()?.negatives, 1);
//! let summary = read::examples(&Source::new(&path), &ReadOptions::default(), &mut |read| {
//!     assert_eq!(read, example);
//!     Ok(())
//! })?;
//! assert_eq!(summary.format, ExampleFormat::Dpr);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Cost: one pass, nothing held. Equal examples give equal bytes, packed or not.
//!
//! Sources: the README and loader of DPR (Karpukhin et al., 2020), Tevatron (Gao et al., 2022) and FlagEmbedding
//! (Xiao et al., "C-Pack", 2023); the dataset documentation of sentence-transformers (Reimers and Gurevych, 2019).

use super::losses::Losses;
use super::output::Output;
use crate::collection::examples::{ExampleFormat, ExamplePassage, SideScore, TrainingExample};
use crate::error::{Error, Result};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::path::Path;

/// What was written and what the layout could not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenExamples {
    /// Examples in the file.
    pub examples: u64,
    /// Its records: JSON objects.
    pub rows: u64,
    /// Negatives of these examples that are in the file.
    pub negatives: u64,
    /// What the examples held and the file does not, one sentence each; examples left out among them.
    pub losses: Vec<String>,
}

/// Writes examples one after the other; the file appears under its name when it is finished.
pub struct ExampleWriter {
    out: Output,
    format: ExampleFormat,
    width: usize,
    written: WrittenExamples,
    losses: Losses,
}

impl ExampleWriter {
    /// Begins a file, packed where its name ends in `.gz`. `negatives_per_example` is the n of [`ExampleFormat::NTuples`];
    /// the other layouts take as many as an example has.
    pub fn create(path: &Path, format: ExampleFormat, negatives_per_example: usize) -> Result<Self> {
        let out = Output::create(path)?;
        let (written, losses) = (WrittenExamples::default(), Losses::default());
        Ok(ExampleWriter { out, format, width: negatives_per_example, written, losses })
    }

    /// Appends an example. Fails where it has no positive, or a score that is not finite.
    pub fn write(&mut self, example: &TrainingExample) -> Result<()> {
        check(example)?;
        let TrainingExample { query, positives, negatives } = example;
        let all = || positives.iter().chain(negatives);
        let have = negatives.len();
        match self.format {
            ExampleFormat::Parallax => self.row(&Own {
                query_id: query.id.as_str(),
                query: &query.text,
                answers: &query.answers,
                positives: own(positives),
                negatives: own(negatives),
            })?,
            ExampleFormat::Dpr => self.row(&Dpr {
                query_id: query.id.as_str(),
                question: &query.text,
                answers: &query.answers,
                positive_ctxs: positives.iter().map(|passage| dpr(passage, 1000.0, 1)).collect(),
                negative_ctxs: [],
                hard_negative_ctxs: negatives.iter().map(|passage| dpr(passage, offered(passage), 0)).collect(),
            })?,
            ExampleFormat::Tevatron => self.row(&Tevatron {
                query_id: query.id.as_str(),
                query: &query.text,
                answers: &query.answers,
                positive_passages: tevatron(positives),
                negative_passages: tevatron(negatives),
            })?,
            ExampleFormat::FlagEmbedding => {
                let scored = all().all(|passage| teacher(passage).is_some());
                let scores = |of: &[ExamplePassage]| scored.then(|| of.iter().filter_map(teacher).collect());
                self.row(&Flag {
                    query: &query.text,
                    pos: texts(positives),
                    neg: texts(negatives),
                    pos_scores: scores(positives),
                    neg_scores: scores(negatives),
                    query_id: query.id.as_str(),
                    pos_id: ids(positives),
                    neg_id: ids(negatives),
                })?;
                let lost = if scored { 0 } else { all().filter_map(teacher).count() };
                self.losses.add("teacher scores: not every passage of their example has one", lost as u64);
                let alone = "examples without negatives, which FlagEmbedding trains on in groups of 1 only";
                self.losses.add(alone, u64::from(have == 0));
            }
            ExampleFormat::Triplets if have == 0 => {
                self.losses.add("examples without negatives, left out", 1);
                return Ok(());
            }
            ExampleFormat::Triplets => {
                for positive in positives {
                    for negative in negatives {
                        self.row(&Tuple { query: &query.text, positive, negatives: Negatives::One(negative) })?;
                    }
                }
            }
            ExampleFormat::NTuples if have < self.width => {
                self.losses.add(format!("examples with {have} negatives of {}, left out", self.width), 1);
                return Ok(());
            }
            ExampleFormat::NTuples => {
                let (first, beyond) = negatives.split_at(self.width);
                for positive in positives {
                    self.row(&Tuple { query: &query.text, positive, negatives: Negatives::Many(first) })?;
                }
                self.losses.add(format!("negatives beyond {}", self.width), beyond.len() as u64);
            }
        }
        self.count(example);
        Ok(())
    }

    fn row(&mut self, row: &impl Serialize) -> Result<()> {
        if self.format == ExampleFormat::Dpr {
            self.out.text(if self.written.rows == 0 { "[\n" } else { ",\n" })?;
            self.out.value(row)?;
        } else {
            self.out.json(row)?;
        }
        self.written.rows += 1;
        Ok(())
    }

    fn count(&mut self, example: &TrainingExample) {
        use ExampleFormat::*;
        let TrainingExample { query, positives, negatives } = example;
        let negatives = match self.format {
            NTuples => &negatives[..self.width],
            _ => &negatives[..],
        };
        self.written.examples += 1;
        self.written.negatives += negatives.len() as u64;
        let all = || positives.iter().chain(negatives);
        let mut lost = |what: &str, count: usize| self.losses.add(format!("{what}: the format has none"), count as u64);
        if matches!(self.format, Triplets | NTuples) {
            lost("ids of queries and passages", 1 + all().count());
        }
        if matches!(self.format, FlagEmbedding | Triplets | NTuples) {
            lost("answers", query.answers.len());
            let titled = all().filter(|passage| !passage.title.is_empty()).count();
            self.losses.add("titles, written before their texts", titled as u64);
        }
        if self.format != Parallax {
            let traced =
                |passage: &&ExamplePassage| passage.provenance.as_ref().is_some_and(|trace| !trace.source.is_empty());
            let count = all().filter(traced).count() as u64;
            self.losses.add("traces of where passages came from: the format has none", count);
        }
    }

    /// Makes the file durable and gives it its name.
    pub fn finish(mut self) -> Result<WrittenExamples> {
        if self.format == ExampleFormat::Dpr {
            self.out.text(if self.written.rows == 0 { "[\n]\n" } else { "\n]\n" })?;
        }
        self.out.finish()?;
        Ok(WrittenExamples { losses: self.losses.sentences(), ..self.written })
    }
}

fn check(example: &TrainingExample) -> Result<()> {
    if example.positives.is_empty() {
        return Err(Error::bad_input(format!("the example of query `{:.80}` has no positive", example.query.id)));
    }
    for passage in example.positives.iter().chain(&example.negatives) {
        let Some(trace) = &passage.provenance else { continue };
        let sides = [trace.sparse, trace.dense].into_iter().flatten().map(|side| side.score);
        if !sides.chain(trace.teacher).all(f64::is_finite) {
            let message = format!("a score of passage `{:.80}` is not finite", passage.id);
            return Err(Error::bad_input(message));
        }
    }
    Ok(())
}

fn teacher(passage: &ExamplePassage) -> Option<f64> {
    passage.provenance.as_ref()?.teacher
}

/// The raw score of the side that offered a passage; 0 where nothing is known.
fn offered(passage: &ExamplePassage) -> f64 {
    let Some(trace) = &passage.provenance else { return 0.0 };
    let (first, second) =
        if trace.source.starts_with("dense") { (trace.dense, trace.sparse) } else { (trace.sparse, trace.dense) };
    first.or(second).map_or(0.0, |side| side.score)
}

fn texts(passages: &[ExamplePassage]) -> Vec<String> {
    passages.iter().map(ExamplePassage::full_text).collect()
}

fn ids(passages: &[ExamplePassage]) -> Vec<&str> {
    passages.iter().map(|passage| passage.id.as_str()).collect()
}

fn own(passages: &[ExamplePassage]) -> Vec<OwnPassage<'_>> {
    let side = |side: SideScore| OwnSide { rank: side.rank, score: side.score };
    let trace = |passage: &ExamplePassage| {
        passage.provenance.as_ref().map(|trace| Trace {
            source: trace.source.clone(),
            rank: trace.rank,
            sparse: trace.sparse.map(side),
            dense: trace.dense.map(side),
            teacher: trace.teacher,
            verdict: trace.verdict.clone(),
            reason: trace.reason.clone(),
        })
    };
    passages
        .iter()
        .map(|passage| OwnPassage {
            id: passage.id.as_str(),
            title: &passage.title,
            text: &passage.text,
            trace: trace(passage),
        })
        .collect()
}

fn dpr(passage: &ExamplePassage, score: f64, title_score: u8) -> DprPassage<'_> {
    DprPassage { title: &passage.title, text: &passage.text, score, title_score, passage_id: passage.id.as_str() }
}

fn tevatron(passages: &[ExamplePassage]) -> Vec<TevatronPassage<'_>> {
    let fields = passages.iter().map(|ExamplePassage { id, title, text, .. }| (id.as_str(), title, text));
    fields.map(|(docid, title, text)| TevatronPassage { docid, title, text }).collect()
}

#[derive(Serialize)]
struct Own<'a> {
    query_id: &'a str,
    query: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    answers: &'a [String],
    positives: Vec<OwnPassage<'a>>,
    negatives: Vec<OwnPassage<'a>>,
}

#[derive(Serialize)]
struct OwnPassage<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    text: &'a str,
    #[serde(flatten)]
    trace: Option<Trace>,
}

/// Where a passage came from; `source` is always there, so that an empty trace reads back as one.
#[derive(Serialize)]
struct Trace {
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse: Option<OwnSide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dense: Option<OwnSide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    verdict: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

#[derive(Serialize)]
struct OwnSide {
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    score: f64,
}

#[derive(Serialize)]
struct Dpr<'a> {
    query_id: &'a str,
    question: &'a str,
    answers: &'a [String],
    positive_ctxs: Vec<DprPassage<'a>>,
    negative_ctxs: [(); 0],
    hard_negative_ctxs: Vec<DprPassage<'a>>,
}

#[derive(Serialize)]
struct DprPassage<'a> {
    title: &'a str,
    text: &'a str,
    score: f64,
    title_score: u8,
    passage_id: &'a str,
}

#[derive(Serialize)]
struct Tevatron<'a> {
    query_id: &'a str,
    query: &'a str,
    answers: &'a [String],
    positive_passages: Vec<TevatronPassage<'a>>,
    negative_passages: Vec<TevatronPassage<'a>>,
}

#[derive(Serialize)]
struct TevatronPassage<'a> {
    docid: &'a str,
    title: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct Flag<'a> {
    query: &'a str,
    pos: Vec<String>,
    neg: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pos_scores: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    neg_scores: Option<Vec<f64>>,
    query_id: &'a str,
    pos_id: Vec<&'a str>,
    neg_id: Vec<&'a str>,
}

/// A row of sentence-transformers; its keys stand in the order that gives them their meaning.
struct Tuple<'a> {
    query: &'a str,
    positive: &'a ExamplePassage,
    negatives: Negatives<'a>,
}

enum Negatives<'a> {
    One(&'a ExamplePassage),
    Many(&'a [ExamplePassage]),
}

impl Serialize for Tuple<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(None)?;
        row.serialize_entry("anchor", self.query)?;
        row.serialize_entry("positive", &self.positive.full_text())?;
        match self.negatives {
            Negatives::One(negative) => row.serialize_entry("negative", &negative.full_text())?,
            Negatives::Many(negatives) => {
                for (i, negative) in negatives.iter().enumerate() {
                    row.serialize_entry(&format!("negative_{}", i + 1), &negative.full_text())?;
                }
            }
        }
        row.end()
    }
}

#[cfg(test)]
mod tests;

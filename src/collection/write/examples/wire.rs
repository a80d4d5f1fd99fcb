//! Examples as each tool's JSON has them.

use crate::collection::examples::{ExamplePassage, SideScore};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

pub(super) fn teacher(passage: &ExamplePassage) -> Option<f64> {
    passage.provenance.as_ref()?.teacher
}

/// The raw score of the side that offered a passage; 0 where nothing is known.
pub(super) fn offered(passage: &ExamplePassage) -> f64 {
    let Some(trace) = &passage.provenance else { return 0.0 };
    let (first, second) =
        if trace.source.starts_with("dense") { (trace.dense, trace.sparse) } else { (trace.sparse, trace.dense) };
    first.or(second).map_or(0.0, |side| side.score)
}

pub(super) fn texts(passages: &[ExamplePassage]) -> Vec<String> {
    passages.iter().map(ExamplePassage::full_text).collect()
}

pub(super) fn ids(passages: &[ExamplePassage]) -> Vec<&str> {
    passages.iter().map(|passage| passage.id.as_str()).collect()
}

pub(super) fn own(passages: &[ExamplePassage]) -> Vec<OwnPassage<'_>> {
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

pub(super) fn dpr(passage: &ExamplePassage, score: f64, title_score: u8) -> DprPassage<'_> {
    DprPassage { title: &passage.title, text: &passage.text, score, title_score, passage_id: passage.id.as_str() }
}

pub(super) fn tevatron(passages: &[ExamplePassage]) -> Vec<TevatronPassage<'_>> {
    let fields = passages.iter().map(|ExamplePassage { id, title, text, .. }| (id.as_str(), title, text));
    fields.map(|(docid, title, text)| TevatronPassage { docid, title, text }).collect()
}

#[derive(Serialize)]
pub(super) struct Own<'a> {
    pub(super) query_id: &'a str,
    pub(super) query: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) answers: &'a [String],
    pub(super) positives: Vec<OwnPassage<'a>>,
    pub(super) negatives: Vec<OwnPassage<'a>>,
}

#[derive(Serialize)]
pub(super) struct OwnPassage<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) title: &'a str,
    pub(super) text: &'a str,
    #[serde(flatten)]
    pub(super) trace: Option<Trace>,
}

/// Where a passage came from; `source` is always there, so that an empty trace reads back as one.
#[derive(Serialize)]
pub(super) struct Trace {
    pub(super) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sparse: Option<OwnSide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dense: Option<OwnSide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) teacher: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) verdict: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
}

#[derive(Serialize)]
pub(super) struct OwnSide {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rank: Option<usize>,
    pub(super) score: f64,
}

#[derive(Serialize)]
pub(super) struct Dpr<'a> {
    pub(super) query_id: &'a str,
    pub(super) question: &'a str,
    pub(super) answers: &'a [String],
    pub(super) positive_ctxs: Vec<DprPassage<'a>>,
    pub(super) negative_ctxs: [(); 0],
    pub(super) hard_negative_ctxs: Vec<DprPassage<'a>>,
}

#[derive(Serialize)]
pub(super) struct DprPassage<'a> {
    pub(super) title: &'a str,
    pub(super) text: &'a str,
    pub(super) score: f64,
    pub(super) title_score: u8,
    pub(super) passage_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct Tevatron<'a> {
    pub(super) query_id: &'a str,
    pub(super) query: &'a str,
    pub(super) answers: &'a [String],
    pub(super) positive_passages: Vec<TevatronPassage<'a>>,
    pub(super) negative_passages: Vec<TevatronPassage<'a>>,
}

#[derive(Serialize)]
pub(super) struct TevatronPassage<'a> {
    pub(super) docid: &'a str,
    pub(super) title: &'a str,
    pub(super) text: &'a str,
}

#[derive(Serialize)]
pub(super) struct Flag<'a> {
    pub(super) query: &'a str,
    pub(super) pos: Vec<String>,
    pub(super) neg: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pos_scores: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) neg_scores: Option<Vec<f64>>,
    pub(super) query_id: &'a str,
    pub(super) pos_id: Vec<&'a str>,
    pub(super) neg_id: Vec<&'a str>,
}

/// A row of sentence-transformers; its keys stand in the order that gives them their meaning.
pub(super) struct Tuple<'a> {
    pub(super) query: &'a str,
    pub(super) positive: &'a ExamplePassage,
    pub(super) negatives: Negatives<'a>,
}

pub(super) enum Negatives<'a> {
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

//! A diagnosis as JSON lines, one a missed query: the contract other programs read.
//!
//! ```json
//! {"query": "q1", "text": "who …", "answers": ["…"], "gold": ["d7"], "gold_text": "…", "k": 20,
//!  "systems": [
//!    {"system": "bm25", "missed": true, "rank": 31, "cause": "length",
//!     "causes": [{"cause": "length", "evidence": "at 7 with b = 0; the passage has 412 terms, the mean is 118"}],
//!     "top": [{"rank": 1, "id": "d9", "title": "…", "text": "…", "score": 12.5, "gold": false, "holds_answer": false}]},
//!    {"system": "dense", "missed": false, "rank": 2, "cause": null, "causes": [], "top": […]}
//!  ]}
//! ```
//!
//! A query is here if some system missed it: no gold passage among its first `k`. `rank` is the best one's, looked for deeper
//! than `k`; null where it is not there either. `cause` is the main one of `causes`. `holds_answer` is null where no answer is
//! known, `gold_text` where the index holds no gold passage. Texts are cut to 300 characters. Fields are added, never
//! changed in meaning.

use super::model::{Diagnosis, Miss, Reason, Shown};
use crate::error::{Error, Result};
use serde::Serialize;

#[derive(Serialize)]
struct Line<'a> {
    query: &'a str,
    text: &'a str,
    answers: &'a [String],
    gold: Vec<&'a str>,
    gold_text: Option<&'a str>,
    k: usize,
    systems: Vec<WireVerdict<'a>>,
}

#[derive(Serialize)]
struct WireVerdict<'a> {
    system: &'a str,
    missed: bool,
    rank: Option<usize>,
    cause: Option<&'static str>,
    causes: Vec<WireReason<'a>>,
    top: Vec<WireShown<'a>>,
}

#[derive(Serialize)]
struct WireReason<'a> {
    cause: &'static str,
    evidence: &'a str,
}

#[derive(Serialize)]
struct WireShown<'a> {
    rank: usize,
    id: &'a str,
    title: &'a str,
    text: &'a str,
    score: f64,
    gold: bool,
    holds_answer: Option<bool>,
}

/// The misses as JSON lines, in the data set's order.
pub fn jsonl(diagnosis: &Diagnosis) -> Result<String> {
    let mut text = String::new();
    for miss in &diagnosis.misses {
        let line = serde_json::to_string(&line(diagnosis, miss));
        text += &line.map_err(|e| Error::bug("a miss is no JSON").because(e))?;
        text.push('\n');
    }
    Ok(text)
}

fn line<'a>(diagnosis: &'a Diagnosis, miss: &'a Miss) -> Line<'a> {
    let systems = diagnosis.systems.iter().zip(&miss.verdicts).map(|(system, verdict)| WireVerdict {
        system: &system.name,
        missed: verdict.missed,
        rank: verdict.rank,
        cause: verdict.reasons.first().map(|reason| reason.cause.name()),
        causes: verdict.reasons.iter().map(reason).collect(),
        top: (1..).zip(&verdict.top).map(shown).collect(),
    });
    Line {
        query: miss.query.as_str(),
        text: &miss.text,
        answers: &miss.answers,
        gold: miss.gold.iter().map(|id| id.as_str()).collect(),
        gold_text: miss.gold_text.as_deref(),
        k: diagnosis.k,
        systems: systems.collect(),
    }
}

fn reason(reason: &Reason) -> WireReason<'_> {
    WireReason { cause: reason.cause.name(), evidence: &reason.evidence }
}

fn shown((rank, shown): (usize, &Shown)) -> WireShown<'_> {
    WireShown {
        rank,
        id: shown.id.as_str(),
        title: &shown.title,
        text: &shown.text,
        score: shown.score,
        gold: shown.gold,
        holds_answer: shown.holds_answer,
    }
}

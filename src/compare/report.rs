//! A comparison as JSON: the contract other programs read.
//!
//! ```json
//! {
//!   "format": 1, "command": "parallax compare …", "index": "indexes/scifact", "data": "…/scifact", "split": "test",
//!   "queries": 300, "judged": 300, "with_answers": 0, "missing_gold": 0,
//!   "averaging": "all judged queries, absent ones count 0 (trec_eval -c)",
//!   "ann_recall": {"k": 10, "mean": 0.998, "queries": 300, "graph_in_use": false},
//!   "fusion": "convex(min-max, dense weight 0.40)",
//!   "systems": [
//!     {"name": "bm25", "seconds": 0.1,
//!      "measures": {"nDCG@10": {"mean": 0.68, "n": 300}},
//!      "per_query": {"1": {"nDCG@10": 0.5}}}
//!   ]
//! }
//! ```
//!
//! Where a baseline was named there is `"baseline": "bm25"`, and each other system has `"differences": {"nDCG@10":
//! {"mean": 0.012, "interval": [0.005, 0.0196], "p_randomization": 0.0008, "p_t": 0.0006, "n": 300}}`: system minus
//! baseline, paired over queries, with the 95 % bootstrap interval and two-sided p values ([`crate::eval::significance`]).
//!
//! Fields are added, never changed in meaning, while `format` stays 1. Means are not rounded. A query that has no
//! value (no known answer) is absent from `per_query` of that measure and from `n`.

use super::{Comparison, SystemResult};
use crate::error::{Error, Result};
use crate::eval::significance::Paired;
use serde::Serialize;
use std::collections::BTreeMap;

/// Where a report's numbers come from.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// The command as typed.
    pub command: String,
    /// The index folder.
    pub index: String,
    /// The data set.
    pub data: String,
    /// The split of its judgments, where it has splits.
    pub split: Option<String>,
    /// The default fusion of the index.
    pub fusion: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    format: u32,
    command: &'a str,
    index: &'a str,
    data: &'a str,
    split: Option<&'a str>,
    queries: usize,
    judged: usize,
    with_answers: usize,
    missing_gold: usize,
    averaging: &'a str,
    ann_recall: Option<WireAnn>,
    fusion: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a str>,
    systems: Vec<WireSystem<'a>>,
}

#[derive(Serialize)]
struct WireAnn {
    k: usize,
    mean: f64,
    queries: usize,
    graph_in_use: bool,
}

#[derive(Serialize)]
struct WireSystem<'a> {
    name: &'a str,
    seconds: Option<f64>,
    measures: BTreeMap<String, WireMean>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    differences: BTreeMap<String, WireDifference>,
    per_query: BTreeMap<&'a str, BTreeMap<String, f64>>,
}

#[derive(Serialize)]
struct WireDifference {
    mean: f64,
    interval: [f64; 2],
    p_randomization: f64,
    p_t: f64,
    n: usize,
}

#[derive(Serialize)]
struct WireMean {
    mean: f64,
    n: usize,
}

/// The comparison as pretty JSON with a final newline.
pub fn json(comparison: &Comparison, provenance: &Provenance) -> Result<String> {
    let wire = Wire {
        format: 1,
        command: &provenance.command,
        index: &provenance.index,
        data: &provenance.data,
        split: provenance.split.as_deref(),
        queries: comparison.queries,
        judged: comparison.judged,
        with_answers: comparison.with_answers,
        missing_gold: comparison.missing_gold,
        averaging: "all judged queries, absent ones count 0 (trec_eval -c)",
        ann_recall: comparison.ann_recall.map(|ann| WireAnn {
            k: ann.k,
            mean: ann.mean,
            queries: ann.queries,
            graph_in_use: ann.graph_in_use,
        }),
        fusion: &provenance.fusion,
        baseline: comparison.baseline.as_deref(),
        systems: comparison.systems.iter().map(wire_system).collect(),
    };
    let text = serde_json::to_string_pretty(&wire).map_err(|e| Error::bug("a report is no JSON").because(e))?;
    Ok(text + "\n")
}

fn wire_system(result: &SystemResult) -> WireSystem<'_> {
    let evaluation = &result.evaluation;
    let mut measures = BTreeMap::new();
    let mut per_query: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
    for (m, measure) in evaluation.measures.iter().enumerate() {
        measures.insert(measure.to_string(), WireMean { mean: evaluation.mean(m), n: evaluation.count(m) });
        for (query, value) in evaluation.queries.iter().zip(&evaluation.values[m]) {
            if let Some(value) = value {
                per_query.entry(query.as_str()).or_default().insert(measure.to_string(), *value);
            }
        }
    }
    let named = evaluation.measures.iter().zip(&result.differences);
    let differences =
        named.filter_map(|(measure, paired)| Some((measure.to_string(), difference(&(*paired)?)))).collect();
    let seconds = result.elapsed.map(|elapsed| elapsed.as_secs_f64());
    WireSystem { name: &result.name, seconds, measures, differences, per_query }
}

fn difference(paired: &Paired) -> WireDifference {
    WireDifference {
        mean: paired.mean_difference,
        interval: [paired.interval.0, paired.interval.1],
        p_randomization: paired.p_randomization,
        p_t: paired.p_t,
        n: paired.n,
    }
}

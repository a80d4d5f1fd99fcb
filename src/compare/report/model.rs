//! What a report is: everything that was measured, how, and what it rests on. The JSON contract other programs read.
//!
//! In flow nothing: these are wire types, filled by [`super::assemble`] and by whoever adds a section, and read by every
//! renderer, which sees nothing else. So a stored report can be rendered again, and held against a later one.
//!
//! ```json
//! {
//!   "format": 1, "command": "parallax compare …", "index": "indexes/scifact", "data": "…/scifact", "split": "test",
//!   "queries": 300, "judged": 300, "with_answers": 0, "missing_gold": 0,
//!   "averaging": "all judged queries, absent ones count 0 (trec_eval -c)",
//!   "ann_recall": {"k": 10, "mean": 0.998, "queries": 300, "graph_in_use": false},
//!   "fusion": "convex(min-max, dense weight 0.40)", "baseline": "bm25", "measures": ["nDCG@10"],
//!   "systems": [
//!     {"name": "hybrid", "seconds": 0.1,
//!      "measures": {"nDCG@10": {"mean": 0.68, "n": 300}},
//!      "differences": {"nDCG@10": {"mean": 0.012, "interval": [0.005, 0.0196], "p_randomization": 0.0008, "p_t": 0.0006, "n": 300}},
//!      "curve": [{"k": 1, "recall": 0.5}], "margins": {"1": 0.2},
//!      "per_query": {"1": {"nDCG@10": 0.5}}}
//!   ]
//! }
//! ```
//!
//! Fields are added, never changed in meaning, while `format` stays 1; what an older program did not write is absent.
//! Means are not rounded. A query that has no value (no known answer) is absent from `per_query` of that measure and
//! from `n`. Differences are system minus baseline, paired over queries, with the 95 % bootstrap interval and two-sided
//! p values ([`crate::eval::significance`]).
//!
//! ```
//! use parallax::compare::report::model::Report;
//! let old = r#"{"format": 1, "command": "parallax compare i", "index": "i", "data": "d", "split": null, "queries": 2,
//!   "judged": 2, "with_answers": 0, "missing_gold": 0, "averaging": "all", "ann_recall": null, "fusion": "rrf",
//!   "systems": [{"name": "bm25", "seconds": 0.1, "measures": {"R@5": {"mean": 0.5, "n": 2}},
//!                "per_query": {"a": {"R@5": 1.0}, "b": {"R@5": 0.0}}}]}"#;
//! let report: Report = serde_json::from_str(old).unwrap();
//! assert_eq!(report.columns(), ["R@5"]);
//! assert_eq!(report.systems[0].value("a", "R@5"), Some(1.0));
//! ```

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this program writes and reads.
pub const FORMAT: u32 = 1;

/// A comparison of systems over the same judged queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The command as typed.
    pub command: String,
    /// The index folder.
    pub index: String,
    /// The data set.
    pub data: String,
    /// The split of its judgments, where it has splits.
    pub split: Option<String>,
    /// Queries of the data set.
    pub queries: usize,
    /// Queries with at least one judgment: the averaging set.
    pub judged: usize,
    /// Queries with known answers among them.
    pub with_answers: usize,
    /// Judged-relevant passages that the index does not hold: no system can find these.
    pub missing_gold: usize,
    /// Over what means go.
    pub averaging: String,
    /// How well the graph reproduces exact search.
    pub ann_recall: Option<AnnRecall>,
    /// The index's default fusion.
    pub fusion: String,
    /// The baseline's name, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Program and version that measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// What the numbers rest on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<RestsOn>,
    /// Measures in the order of their columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<String>,
    /// One entry a system, in the order asked for.
    pub systems: Vec<SystemReport>,
    /// What the questions are, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub questions: BTreeMap<String, String>,
    /// Whether passages with the query's own id were dropped from every ranking (BEIR's rule).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_query_id: bool,
    /// What all systems share of the costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
    /// Where the gold passage was found and no answer in it, or the reverse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_gap: Vec<AnswerGap>,
    /// Means over groups of queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slicing>,
    /// Why queries were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causes: Option<Causes>,
    /// The worst misses, with both lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub misses: Vec<Miss>,
    /// How the fusion was chosen, where it was tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// This report beside an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// The manifests and choices behind every number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RestsOn {
    /// SHA-256 of the index generation's `manifest.json`, which holds a checksum of every file of it.
    pub manifest: String,
    /// The generation's folder name.
    pub generation: String,
    /// The command that built the index, where it was typed.
    pub built_by: Option<String>,
    /// Passages indexed.
    pub passages: usize,
    /// The sparse side's analysis chain.
    pub analyzer: String,
    /// The passage encoder's name; `None` without a dense side.
    pub encoder: Option<String>,
    /// Its fingerprint: a hash of its weights and settings.
    pub encoder_fingerprint: Option<String>,
    /// How the index's fusion was found.
    pub fusion_found_by: String,
    /// SHA-256 of the judgments, as lines `query TAB passage TAB grade` sorted by ids.
    pub judgments: String,
    /// Of the resampling behind intervals and tests.
    pub seed: u64,
    /// Ranks that each side offered to fusion.
    pub depth: usize,
}

/// Share of the exact nearest `k` that the graph finds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnnRecall {
    /// Cut-off.
    pub k: usize,
    /// Mean share over the queries.
    pub mean: f64,
    /// Queries measured.
    pub queries: usize,
    /// Whether searches used the graph.
    pub graph_in_use: bool,
}

/// One system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemReport {
    /// As it was asked for.
    pub name: String,
    /// Wall time of all queries, all cores; `None` for run files.
    pub seconds: Option<f64>,
    /// Means by measure.
    pub measures: BTreeMap<String, Mean>,
    /// System minus baseline, by measure; empty for the baseline and without one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub differences: BTreeMap<String, Difference>,
    /// What could be shown between it and the reference, by measure; empty for the reference itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detectable: BTreeMap<String, Detectable>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Judged queries that its run has no ranking for: they count 0.
    #[serde(default, skip_serializing_if = "none")]
    pub absent: usize,
    /// Queries of its run that nobody judged: they do not count.
    #[serde(default, skip_serializing_if = "none")]
    pub ignored: usize,
    /// Recall at rising depths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// Score of the best relevant passage minus that of the best other one, per query; absent where one of them was not
    /// retrieved. Above 0 the gold passage leads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub margins: BTreeMap<String, f64>,
    /// Values: query → measure → value.
    pub per_query: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// Not rounded.
    pub mean: f64,
    /// Queries averaged.
    pub n: usize,
    /// 95 % bootstrap interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

/// A paired difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean difference.
    pub mean: f64,
    /// 95 % bootstrap interval.
    pub interval: [f64; 2],
    /// Two-sided p of the randomisation test.
    pub p_randomization: f64,
    /// Two-sided p of the paired t-test.
    pub p_t: f64,
    /// Queries compared.
    pub n: usize,
    /// `p_randomization` after Holm's correction over the systems compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_holm: Option<f64>,
}

/// What so many queries can show of the difference between a system and the reference, which is the baseline or else the
/// first system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detectable {
    /// Queries that have a value in both.
    pub n: usize,
    /// The smallest true difference that they show with power .8 at two-sided p < .05; 0 where no query differs.
    pub effect: f64,
    /// Queries that could show a difference of .01; `None` where no query differs.
    pub for_one_point: Option<usize>,
}

/// What a system costs; times are of the machine that measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of the sides it scores with.
    pub index_bytes: u64,
    /// Questions timed one at a time.
    pub queries: usize,
    /// Median time of one question on one thread, milliseconds.
    pub p50_ms: f64,
    /// The time that one question in a hundred exceeds.
    pub p99_ms: f64,
    /// Questions a second, one after the other on one thread.
    pub qps_one: f64,
    /// Questions a second, all together on all threads.
    pub qps_all: f64,
}

/// What all systems share of the costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Bytes of the sparse side; passages' texts and ids are among them.
    pub sparse_bytes: u64,
    /// Bytes of the dense side; `None` where the index has none.
    pub dense_bytes: Option<u64>,
    /// Seconds the build took, where the manifest says so.
    pub build_seconds: Option<f64>,
    /// Threads that "all" means.
    pub threads: usize,
    /// The most memory the process held at once, bytes.
    pub peak_memory_bytes: Option<u64>,
}

/// Mean recall of the first `k`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Cut-off.
    pub k: usize,
    /// Mean share of the relevant passages found.
    pub recall: f64,
}

/// How many of something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// Of what.
    pub name: String,
    /// How many.
    pub n: usize,
}

/// Gold passage against answer, for one system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerGap {
    /// The system.
    pub system: String,
    /// Ranks looked at.
    pub k: usize,
    /// How answers are matched.
    pub matching: String,
    /// Queries with a relevant passage and a known answer.
    pub n: usize,
    /// What was found, each query once: `both`, `answer only: in a twin of gold`, `neither`, ….
    pub counts: Vec<Count>,
}

/// Groups of queries by one property.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slicing {
    /// The property: `question length`, `script`, ….
    pub by: String,
    /// The groups, in their natural order.
    pub groups: Vec<Slice>,
    /// Judged queries that have no place in any of them.
    #[serde(default, skip_serializing_if = "none")]
    pub left_out: usize,
}

/// One group of queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// `1 to 5 words`, `Korean`, ….
    pub name: String,
    /// Queries in it.
    pub n: usize,
    /// System → measure → mean over the group.
    pub means: BTreeMap<String, BTreeMap<String, f64>>,
}

/// Why queries were missed, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Causes {
    /// A query is missed when no relevant passage is among the first so many.
    pub k: usize,
    /// Queries with a relevant passage.
    pub n: usize,
    /// One entry a system.
    pub systems: Vec<CausesOfSystem>,
    /// What was not tried, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// One system's causes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CausesOfSystem {
    /// The system.
    pub system: String,
    /// Queries it missed.
    pub missed: usize,
    /// Causes with how often each holds.
    pub causes: Vec<CauseCount>,
}

/// How often a cause holds. Several may hold for one query: only `main` sums to the queries missed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CauseCount {
    /// `length`, `morphology`, `unexplained`, ….
    pub cause: String,
    /// In a few words.
    pub meaning: String,
    /// Misses it is the main cause of.
    pub main: usize,
    /// Misses it holds for.
    pub all: usize,
}

/// A missed query with what each system put first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Miss {
    /// Query id.
    pub query: String,
    /// The question.
    pub text: String,
    /// The system that is furthest behind the best one here.
    pub behind: String,
    /// Ids of relevant passages.
    pub gold: Vec<String>,
    /// The beginning of the first of them that the index holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_text: Option<String>,
    /// Known answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// One list a system.
    pub lists: Vec<MissList>,
}

/// What one system answered to a query that some system missed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MissList {
    /// The system.
    pub system: String,
    /// Whether this one missed it.
    pub missed: bool,
    /// Rank of the best relevant passage, from 1, where it was found at any depth looked at.
    pub rank: Option<usize>,
    /// Why it was missed, the main cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<MissReason>,
    /// Its first passages.
    pub hits: Vec<MissHit>,
}

/// A cause that holds for one query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MissReason {
    /// `length`, `morphology`, ….
    pub cause: String,
    /// The figures that show it, in a sentence.
    pub evidence: String,
}

/// A passage of such a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MissHit {
    /// Passage id.
    pub id: String,
    /// Its title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The beginning of its text.
    pub text: String,
    /// The system's score.
    pub score: f64,
    /// Whether it is judged relevant.
    pub relevant: bool,
    /// Whether it holds a known answer; `None` where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_answer: Option<bool>,
}

/// How a fusion was chosen, and what it is worth on questions that did not choose it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The fusion chosen on all questions.
    pub fusion: String,
    /// What it was held against.
    pub against: String,
    /// The measure it was chosen by.
    pub measure: String,
    /// Judged questions.
    pub queries: usize,
    /// Folds of the outer cross-validation.
    pub folds: usize,
    /// On the held-out folds, chosen minus `against`.
    pub held_out: Difference,
    /// `gain`, `no gain proven`, ….
    pub verdict: String,
    /// Fusions tried, best first, with their mean; of what is fitted, on folds that it was not fitted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
}

/// A fusion that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// As it is written.
    pub fusion: String,
    /// Mean of the measure.
    pub mean: f64,
}

/// This report beside an earlier one, over the queries that both asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// The earlier report's file.
    pub file: String,
    /// Its command.
    pub command: String,
    /// Its index manifest, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Queries in both.
    pub both: usize,
    /// Queries of this report alone.
    pub only_now: usize,
    /// Queries of the earlier one alone.
    pub only_then: usize,
    /// What a reader has to know: another query set, other judgments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Systems and measures that both have.
    pub rows: Vec<AgainstRow>,
}

/// One system and measure, then and now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgainstRow {
    /// The system.
    pub system: String,
    /// The measure.
    pub measure: String,
    /// The earlier mean over the queries in both.
    pub then: f64,
    /// This one's.
    pub now: f64,
    /// Now minus then, paired over queries.
    pub difference: Difference,
}

fn none(n: &usize) -> bool {
    *n == 0
}

impl Report {
    /// Measures in the order of their columns; of a report that does not say, in the order of their names.
    pub fn columns(&self) -> Vec<&str> {
        let named = || self.systems.first().map(|system| system.measures.keys().map(String::as_str).collect());
        match self.measures.is_empty() {
            true => named().unwrap_or_default(),
            false => self.measures.iter().map(String::as_str).collect(),
        }
    }

    /// A system by name.
    pub fn system(&self, name: &str) -> Option<&SystemReport> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// The system that others are drawn against: the baseline, or else the first.
    pub fn reference(&self) -> Option<&SystemReport> {
        self.baseline.as_deref().and_then(|name| self.system(name)).or(self.systems.first())
    }

    /// The measure that decides: nDCG@10 where it was measured, or else the first.
    pub fn decisive(&self) -> Option<&str> {
        let columns = self.columns();
        columns.iter().find(|name| **name == "nDCG@10").or(columns.first()).copied()
    }
}

impl SystemReport {
    /// A query's value of a measure.
    pub fn value(&self, query: &str, measure: &str) -> Option<f64> {
        self.per_query.get(query)?.get(measure).copied()
    }

    /// The mean of a measure, where some query has it.
    pub fn mean(&self, measure: &str) -> Option<&Mean> {
        self.measures.get(measure).filter(|mean| mean.n > 0)
    }
}

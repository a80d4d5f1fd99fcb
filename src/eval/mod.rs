//! What is measured: the field's measures over judged rankings, equal to `trec_eval -c` per query.
//!
//! In flow [`Qrels`], a [`Run`] and [`Measure`]s; out an [`Evaluation`] with one value a query and measure. Averages go
//! over **all** judged queries (those absent from the run count 0), the rule of `trec_eval -c` and ir_measures.
//! Equal scores are ordered by passage id descending, trec_eval's rule. A grade of at least 1 is relevant; unjudged
//! and grades ≤ 0 are not.
//!
//! With `R` relevant passages judged for a query, `rel_i ∈ {0, 1}` and gain `g_i = max(grade, 0)` of rank `i` (from 1):
//!
//! | measure | formula (dimensionless, 0 to 1) |
//! |---|---|
//! | `R@k` | Σ_{i≤k} rel_i / R |
//! | `P@k` | Σ_{i≤k} rel_i / k |
//! | `Success@k` | 1 if some rel_i = 1, i ≤ k |
//! | `RR@k` | 1 / (rank of the first relevant), 0 beyond k |
//! | `AP@k` | (1/R) Σ_{i≤k} rel_i · P@i |
//! | `nDCG@k` | Σ_{i≤k} g_i / log₂(i+1), divided by its value for the ideal order of all judged passages |
//! | `Judged@k` | share of the first k that are judged |
//! | `answer-recall@k` | 1 if some passage of the first k holds an answer (DPR's top-k accuracy), by one of three [matchings](Matching) |
//! | `answer-P@k` | share of the first k that hold an answer |
//!
//! trec_eval's spellings (`ndcg_cut.10`, `recall_100`, `recip_rank`, `map_cut.100`, `P.5`) name the same measures.
//!
//! ```
//! use parallax::{evaluate, Measure, PassageId, Qrels, Ranking, Run};
//! let mut qrels = Qrels::new();
//! qrels.insert("q".into(), "a".into(), 1);
//! let mut run = Run::new("mine");
//! run.insert("q".into(), Ranking::new(vec![(PassageId::from("b"), 2.0), (PassageId::from("a"), 1.0)]));
//! let evaluation = evaluate(&qrels, &run, &["RR@10".parse::<Measure>()?, "nDCG@10".parse()?]);
//! assert_eq!(evaluation.mean(0), 0.5);
//! assert!((evaluation.mean(1) - 1.0 / 3f64.log2()).abs() < 1e-12);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Sources: Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002 (nDCG); NIST trec_eval;
//! Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering", 2020 (answer recall).

pub mod answers;
mod measure;
pub mod significance;

pub use measure::Measure;

use crate::collection::qrels::Qrels;
use crate::collection::run::{Run, trec_order};
use crate::collection::{PassageId, QueryId};
use answers::Matching;
use std::collections::BTreeMap;

/// One value a measure and query.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What was measured.
    pub measures: Vec<Measure>,
    /// The averaging set, by id.
    pub queries: Vec<QueryId>,
    /// `[measures.len()][queries.len()]`; `None` where a query has nothing to measure (no known answer).
    pub values: Vec<Vec<Option<f64>>>,
}

impl Evaluation {
    /// Mean of measure `m` over the queries that have it; 0 when none has.
    pub fn mean(&self, m: usize) -> f64 {
        let (sum, n) = self.values[m].iter().flatten().fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
        if n == 0 { 0.0 } else { sum / n as f64 }
    }

    /// Queries measure `m` was averaged over.
    pub fn count(&self, m: usize) -> usize {
        self.values[m].iter().flatten().count()
    }
}

/// For each query, whether each ranked passage (best first, in trec order) holds one of its answers.
pub type AnswerFlags = BTreeMap<QueryId, Vec<bool>>;

/// Measures a run against judgments. Answer measures have no values here; see [`evaluate_with_answers`].
pub fn evaluate(qrels: &Qrels, run: &Run, measures: &[Measure]) -> Evaluation {
    evaluate_with_answers(qrels, run, measures, &|_| None)
}

/// As [`evaluate`], with the answer flags of each [`Matching`] handed in; queries missing there have no answers.
pub fn evaluate_with_answers<'a>(
    qrels: &Qrels,
    run: &Run,
    measures: &[Measure],
    flags: &dyn Fn(Matching) -> Option<&'a AnswerFlags>,
) -> Evaluation {
    let judged = qrels.iter().filter(|(_, judgments)| !judgments.is_empty());
    let queries: Vec<QueryId> = judged.map(|(query, _)| query.clone()).collect();
    let mut values = vec![Vec::with_capacity(queries.len()); measures.len()];
    for query in &queries {
        let ranked = Ranked::new(qrels, run, query);
        for (column, measure) in values.iter_mut().zip(measures) {
            column.push(match measure.matching() {
                None => Some(ranked.judged(*measure)),
                Some(matching) => flags(matching).and_then(|flags| flags.get(query)).map(|flags| held(*measure, flags)),
            });
        }
    }
    Evaluation { measures: measures.to_vec(), queries, values }
}

fn held(measure: Measure, flags: &[bool]) -> f64 {
    match measure {
        Measure::AnswerRecall(_, k) => f64::from(flags.iter().take(k).any(|held| *held)),
        Measure::AnswerPrecision(_, k) => flags.iter().take(k).filter(|held| **held).count() as f64 / k as f64,
        _ => 0.0,
    }
}

impl Measure {
    /// The measure of one ranking whose passages have these grades (`None` is unjudged), best first; `ideal` are the
    /// positive grades of all judged passages, highest first. Measures of answers have no such value: 0.
    ///
    /// ```
    /// use parallax::Measure;
    /// let value = Measure::ReciprocalRank(Some(10)).of_grades(vec![None, Some(0), Some(1)], vec![1]);
    /// assert_eq!(value, 1.0 / 3.0);
    /// ```
    pub fn of_grades(self, grades: Vec<Option<i32>>, ideal: Vec<i32>) -> f64 {
        Ranked { grades, ideal }.judged(self)
    }
}

/// One query's ranking seen through its judgments.
struct Ranked {
    /// Grade of each rank; `None` is unjudged.
    grades: Vec<Option<i32>>,
    /// Positive grades of all judged passages, highest first.
    ideal: Vec<i32>,
}

impl Ranked {
    fn new(qrels: &Qrels, run: &Run, query: &QueryId) -> Self {
        let empty = BTreeMap::new();
        let judgments: &BTreeMap<PassageId, i32> = qrels.get(query).unwrap_or(&empty);
        let grades = run.get(query).map_or(Vec::new(), |ranking| {
            trec_order(ranking).into_iter().map(|(passage, _)| judgments.get(passage).copied()).collect()
        });
        let mut ideal: Vec<i32> = judgments.values().copied().filter(|grade| *grade > 0).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        Ranked { grades, ideal }
    }

    fn relevant(&self) -> impl Iterator<Item = bool> {
        self.grades.iter().map(|grade| grade.is_some_and(|grade| grade > 0))
    }

    fn hits(&self, k: usize) -> usize {
        self.relevant().take(k).filter(|relevant| *relevant).count()
    }

    fn judged(&self, measure: Measure) -> f64 {
        let relevant = self.ideal.len() as f64;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let upto = |k: Option<usize>| k.unwrap_or(usize::MAX);
        match measure {
            Measure::Recall(k) => share(self.hits(k) as f64, relevant),
            Measure::Precision(k) => self.hits(k) as f64 / k as f64,
            Measure::Success(k) => f64::from(self.hits(k) > 0),
            Measure::Judged(k) => {
                let looked = k.min(self.grades.len());
                share(self.grades[..looked].iter().flatten().count() as f64, looked as f64)
            }
            Measure::ReciprocalRank(k) => {
                let first = self.relevant().take(upto(k)).position(|relevant| relevant);
                first.map_or(0.0, |i| 1.0 / (i + 1) as f64)
            }
            Measure::AveragePrecision(k) => {
                let mut found = 0.0;
                let mut sum = 0.0;
                for (i, relevant) in self.relevant().take(upto(k)).enumerate() {
                    if relevant {
                        found += 1.0;
                        sum += found / (i + 1) as f64;
                    }
                }
                share(sum, relevant)
            }
            Measure::Ndcg(k) => {
                let discounted = |gains: &mut dyn Iterator<Item = i32>| -> f64 {
                    let ranks = gains.take(upto(k)).enumerate();
                    ranks.map(|(i, gain)| f64::from(gain.max(0)) / ((i + 2) as f64).log2()).sum()
                };
                let gained = discounted(&mut self.grades.iter().map(|grade| grade.unwrap_or(0)));
                share(gained, discounted(&mut self.ideal.iter().copied()))
            }
            Measure::AnswerRecall(..) | Measure::AnswerPrecision(..) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::run::Ranking;

    /// The golden fixture; values from pytrec-eval-terrier 0.5.11 and ir-measures 0.4.3.
    fn golden() -> (Qrels, Run) {
        let mut qrels = Qrels::new();
        for (query, judgments) in [
            ("q1", &[("a", 1), ("b", 0), ("c", 0)][..]),
            ("q2", &[("d1", 3), ("d2", 2), ("d3", 1), ("d4", 0)]),
            ("q3", &[("x", 1), ("y", 1)]),
            ("q4", &[("z", 0)]),
            ("q5", &[("n", -1), ("p", 2)]),
            ("q6", &[("가", 1), ("나", 0)]),
        ] {
            for (passage, grade) in judgments {
                qrels.insert(query.into(), (*passage).into(), *grade);
            }
        }
        let mut run = Run::new("golden");
        for (query, scored) in [
            ("q1", &[("a", 1.0), ("b", 1.0), ("c", 0.5)][..]),
            ("q2", &[("d3", 9.0), ("d1", 8.0), ("u", 7.5), ("d2", 7.0), ("d4", 6.0)]),
            ("q4", &[("z", 1.0), ("w", 0.5)]),
            ("q5", &[("n", 5.0), ("p", 4.0), ("m", 4.0)]),
            ("q6", &[("나", 1.0), ("가", 1.0)]),
            ("q9", &[("k", 1.0)]),
        ] {
            let scored = scored.iter().map(|(passage, score)| (PassageId::from(*passage), *score)).collect();
            run.insert(query.into(), Ranking::new(scored));
        }
        (qrels, run)
    }

    fn check(measure: &str, per_query: [f64; 6], mean: f64) {
        let (qrels, run) = golden();
        let evaluation = evaluate(&qrels, &run, &[measure.parse().unwrap()]);
        let values: Vec<f64> = evaluation.values[0].iter().map(|value| value.unwrap()).collect();
        for (value, expected) in values.iter().zip(per_query) {
            assert!((value - expected).abs() < 1e-6, "{measure}: {values:?}");
        }
        assert!((evaluation.mean(0) - mean).abs() < 1e-6, "{measure}: {}", evaluation.mean(0));
    }

    #[test]
    fn equals_trec_eval_with_ties_gaps_and_negative_grades() {
        check("nDCG@10", [0.630930, 0.788377, 0.0, 0.0, 0.630930, 0.630930], 0.446861);
        check("nDCG@3", [0.630930, 0.607492, 0.0, 0.0, 0.630930, 0.630930], 0.416713);
        check("nDCG@1", [0.0, 1.0 / 3.0, 0.0, 0.0, 0.0, 0.0], 0.055556);
        check("AP", [0.5, 0.916667, 0.0, 0.0, 0.5, 0.5], 0.402778);
        check("RR", [0.5, 1.0, 0.0, 0.0, 0.5, 0.5], 0.416667);
        check("R@3", [1.0, 2.0 / 3.0, 0.0, 0.0, 1.0, 1.0], 0.611111);
        check("R@10", [1.0, 1.0, 0.0, 0.0, 1.0, 1.0], 0.666667);
        check("P@5", [0.2, 0.6, 0.0, 0.0, 0.2, 0.2], 0.2);
        check("Success@1", [0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 1.0 / 6.0);
        check("Judged@3", [1.0, 2.0 / 3.0, 0.0, 0.5, 2.0 / 3.0, 1.0], (1.0 + 2.0 / 3.0 + 0.5 + 2.0 / 3.0 + 1.0) / 6.0);
    }

    #[test]
    fn recall_never_falls_with_k() {
        let (qrels, run) = golden();
        let measures: Vec<Measure> = (1..8).map(Measure::Recall).collect();
        let evaluation = evaluate(&qrels, &run, &measures);
        for pair in evaluation.values.windows(2) {
            assert!(pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b));
        }
    }
}

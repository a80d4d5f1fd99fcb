//! A comparison and its provenance → a [`Report`].
//!
//! In flow what was measured ([`Comparison`]), on which questions ([`QuerySet`]) and what it rests on ([`Provenance`]);
//! out flows the [`Report`] that every renderer reads. Two things are computed here from the runs, since they are for
//! looking at and not for deciding: recall at [`DEPTHS`], and for each query how far the best relevant passage's score
//! leads the best other one's.
//!
//! Cost: one more evaluation of each run at eight depths.

use super::model::{
    self, AnnRecall, AnswerGap, Cost, Costs, Count, CurvePoint, Detectable, Difference, Mean, Report, RestsOn, Slice,
    Slicing, SystemReport, Tried, Tuning,
};
use crate::collection::qrels::Qrels;
use crate::collection::run::Run;
use crate::collection::{PassageId, QueryId, QuerySet};
use crate::compare::certainty::SEED;
use crate::compare::{self, Comparison, SystemResult, tune};
use crate::error::{Error, Result};
use crate::eval::significance::Paired;
use crate::eval::{Measure, evaluate};
use crate::search::Searcher;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Depths of the recall curve.
pub const DEPTHS: [usize; 8] = [1, 2, 3, 5, 10, 20, 50, 100];

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
    /// The manifests behind the numbers.
    pub rests_on: RestsOn,
}

impl Provenance {
    /// Of a comparison over a searcher's index; `data` names the data set as it was given.
    pub fn of(
        searcher: &Searcher,
        set: &QuerySet,
        command: &str,
        (data, split): (&str, Option<&str>),
        depth: usize,
    ) -> Result<Self> {
        let index = searcher.index();
        let manifest = index.manifest();
        let path = index.generation().join("manifest.json");
        let bytes = fs_err::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let encoder = manifest.dense.as_ref().map(|dense| &dense.passage_encoder);
        let rests_on = RestsOn {
            manifest: hex(&Sha256::digest(&bytes)),
            generation: index.generation().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            built_by: manifest.command.clone(),
            passages: index.len(),
            analyzer: manifest.sparse.analyzer.clone(),
            encoder: encoder.map(|encoder| encoder.name.clone()),
            encoder_fingerprint: encoder.map(|encoder| encoder.fingerprint.clone()),
            fusion_found_by: manifest.fusion.found_by.clone(),
            judgments: judgments(&set.qrels),
            seed: SEED,
            depth,
        };
        Ok(Provenance {
            command: command.to_string(),
            index: index.folder().display().to_string(),
            data: data.to_string(),
            split: split.map(str::to_string),
            fusion: manifest.fusion.fusion.to_string(),
            rests_on,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of the judgments as sorted lines: two reports with the same one were judged by the same.
fn judgments(qrels: &Qrels) -> String {
    let mut hash = Sha256::new();
    for (query, passages) in qrels.iter() {
        for (passage, grade) in passages {
            hash.update(format!("{query}\t{passage}\t{grade}\n"));
        }
    }
    hex(&hash.finalize())
}

impl Report {
    /// Everything that was measured, with what it rests on.
    pub fn of(comparison: &Comparison, set: &QuerySet, provenance: &Provenance) -> Self {
        let first = comparison.systems.first().map(|system| &system.evaluation);
        let questions = set.queries.iter().filter(|query| set.qrels.get(&query.id).is_some());
        Report {
            format: model::FORMAT,
            command: provenance.command.clone(),
            index: provenance.index.clone(),
            data: provenance.data.clone(),
            split: provenance.split.clone(),
            queries: comparison.queries,
            judged: comparison.judged,
            with_answers: comparison.with_answers,
            missing_gold: comparison.missing_gold,
            averaging: "all judged queries, absent ones count 0 (trec_eval -c)".into(),
            ann_recall: comparison.ann_recall.map(|ann| AnnRecall {
                k: ann.k,
                mean: ann.mean,
                queries: ann.queries,
                graph_in_use: ann.graph_in_use,
            }),
            fusion: provenance.fusion.clone(),
            baseline: comparison.baseline.clone(),
            program: concat!("parallax ", env!("CARGO_PKG_VERSION")).into(),
            rests_on: Some(provenance.rests_on.clone()),
            measures: first.map(|e| e.measures.iter().map(Measure::to_string).collect()).unwrap_or_default(),
            systems: comparison.systems.iter().map(|system| of_system(system, &set.qrels)).collect(),
            drop_query_id: comparison.drop_query_id,
            costs: comparison.costs.as_ref().map(shared),
            answer_gap: comparison.systems.iter().filter_map(|system| Some(gap(&system.name, &system.gap?))).collect(),
            slices: comparison.slices.iter().map(|slicing| sliced(slicing, &comparison.systems)).collect(),
            questions: questions.map(|query| (query.id.to_string(), query.text.clone())).collect(),
            ..Report::default()
        }
    }
}

fn of_system(result: &SystemResult, qrels: &Qrels) -> SystemReport {
    let evaluation = &result.evaluation;
    let mut report = SystemReport {
        name: result.name.clone(),
        seconds: result.elapsed.map(|elapsed| elapsed.as_secs_f64()),
        cost: result.cost.as_ref().map(cost),
        absent: result.absent,
        ignored: result.ignored,
        curve: curve(qrels, &result.run),
        margins: margins(qrels, &result.run),
        ..SystemReport::default()
    };
    for (m, measure) in evaluation.measures.iter().enumerate() {
        let name = measure.to_string();
        let interval = result.intervals.get(m).copied().flatten().map(|(low, high)| [low, high]);
        report.measures.insert(name.clone(), Mean { mean: evaluation.mean(m), n: evaluation.count(m), interval });
        if let Some(paired) = result.differences.get(m).copied().flatten() {
            let p_holm = result.p_holm.get(m).copied().flatten();
            report.differences.insert(name.clone(), Difference { p_holm, ..Difference::from(&paired) });
        }
        if let Some(shown) = result.detectable.get(m).copied().flatten() {
            let compare::Detectable { n, effect, for_one_point, .. } = shown;
            report.detectable.insert(name.clone(), Detectable { n, effect, for_one_point });
        }
        for (query, value) in evaluation.queries.iter().zip(&evaluation.values[m]) {
            if let Some(value) = value {
                report.per_query.entry(query.to_string()).or_default().insert(name.clone(), *value);
            }
        }
    }
    report
}

fn cost(cost: &compare::Cost) -> Cost {
    Cost {
        index_bytes: cost.index_bytes,
        queries: cost.queries,
        p50_ms: cost.p50.as_secs_f64() * 1e3,
        p99_ms: cost.p99.as_secs_f64() * 1e3,
        qps_one: cost.per_second_one,
        qps_all: cost.per_second_all,
    }
}

fn shared(costs: &compare::Costs) -> Costs {
    Costs {
        sparse_bytes: costs.sparse_bytes,
        dense_bytes: costs.dense_bytes,
        build_seconds: costs.build_seconds,
        threads: costs.threads,
        peak_memory_bytes: costs.peak_memory,
    }
}

fn gap(system: &str, gap: &compare::AnswerGap) -> AnswerGap {
    let counts = [
        ("both", gap.both),
        ("both, answer split over chunks", gap.split),
        ("answer only: in a twin of gold", gap.twin),
        ("answer only: in another passage", gap.elsewhere),
        ("gold only: answer by characters", gap.by_characters),
        ("gold only: no answer in it", gap.unwritten),
        ("neither", gap.neither),
    ];
    AnswerGap {
        system: system.to_string(),
        k: gap.k,
        matching: "whole words, Korean particles forgiven".into(),
        n: gap.n,
        counts: counts.map(|(name, n)| Count { name: name.into(), n }).into(),
    }
}

fn sliced(slicing: &compare::Slicing, systems: &[SystemResult]) -> Slicing {
    let of_system = |(system, means): (&SystemResult, &Vec<Option<f64>>)| {
        let named = system.evaluation.measures.iter().zip(means);
        (system.name.clone(), named.filter_map(|(measure, mean)| Some((measure.to_string(), (*mean)?))).collect())
    };
    let group = |slice: &compare::Slice| Slice {
        name: slice.name.clone(),
        n: slice.n,
        means: systems.iter().zip(&slice.means).map(of_system).collect(),
    };
    Slicing {
        by: slicing.by.name().to_string(),
        groups: slicing.slices.iter().map(group).collect(),
        left_out: slicing.left_out,
    }
}

impl Tuning {
    /// What a tuning found, for a report.
    pub fn of(tuning: &tune::Tuning, options: &tune::TuneOptions) -> Self {
        let fixed = tuning.fixed.iter().map(|(fusion, mean)| (fusion, *mean));
        let tried = fixed.chain(tuning.families.iter().map(|(fusion, mean, _)| (fusion, *mean)));
        let mut tried: Vec<Tried> = tried.map(|(fusion, mean)| Tried { fusion: fusion.clone(), mean }).collect();
        tried.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        Tuning {
            fusion: tuning.found.to_string(),
            against: options.present.to_string(),
            measure: options.measure.to_string(),
            queries: tuning.queries,
            folds: tune::FOLDS,
            held_out: Difference::from(&tuning.against_present),
            verdict: if tuning.is_proven() { "gain" } else { "no gain proven" }.to_string(),
            tried,
        }
    }
}

impl From<&Paired> for Difference {
    fn from(paired: &Paired) -> Self {
        Difference {
            mean: paired.mean_difference,
            interval: [paired.interval.0, paired.interval.1],
            p_randomization: paired.p_randomization,
            p_t: paired.p_t,
            n: paired.n,
            ..Difference::default()
        }
    }
}

fn curve(qrels: &Qrels, run: &Run) -> Vec<CurvePoint> {
    let found = evaluate(qrels, run, &DEPTHS.map(Measure::Recall));
    DEPTHS.iter().enumerate().map(|(m, k)| CurvePoint { k: *k, recall: found.mean(m) }).collect()
}

/// Best relevant minus best other score, where the ranking has both.
fn margins(qrels: &Qrels, run: &Run) -> BTreeMap<String, f64> {
    let margin = |(query, judgments): (&QueryId, &BTreeMap<PassageId, i32>)| {
        let relevant = |id: &PassageId| judgments.get(id).is_some_and(|grade| *grade > 0);
        let best = |wanted: bool| run.get(query)?.iter().find(|(id, _)| relevant(id) == wanted).map(|(_, score)| score);
        Some((query.to_string(), best(true)? - best(false)?))
    };
    qrels.iter().filter_map(margin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ranking;

    fn judged() -> (Qrels, Run) {
        let (mut qrels, mut run) = (Qrels::new(), Run::new("r"));
        for (query, gold) in [("led", "a"), ("behind", "c"), ("absent", "z"), ("alone", "a"), ("unasked", "a")] {
            qrels.insert(query.into(), gold.into(), 1);
        }
        let list =
            |scored: &[(&str, f64)]| Ranking::new(scored.iter().map(|(id, s)| (PassageId::from(*id), *s)).collect());
        run.insert("led".into(), list(&[("a", 3.0), ("b", 2.5)]));
        run.insert("behind".into(), list(&[("a", 3.0), ("b", 2.5), ("c", 1.0)]));
        run.insert("absent".into(), list(&[("a", 3.0)]));
        run.insert("alone".into(), list(&[("a", 3.0)]));
        (qrels, run)
    }

    #[test]
    fn a_margin_is_gold_minus_the_best_other() {
        let (qrels, run) = judged();
        let expected = [("behind".to_string(), -2.0), ("led".to_string(), 0.5)];
        assert_eq!(margins(&qrels, &run), expected.into());
    }

    #[test]
    fn the_curve_is_recall_at_its_depths() {
        let (qrels, run) = judged();
        let found: Vec<(usize, f64)> = curve(&qrels, &run).iter().map(|point| (point.k, point.recall)).collect();
        // Of five: two are first; a third is at rank 3.
        assert_eq!(found[..3], [(1, 0.4), (2, 0.4), (3, 0.6)]);
        assert!(found[7] == (100, 0.6) && found.len() == DEPTHS.len());
    }

    #[test]
    fn judgments_have_one_digest_in_any_order() {
        let digest = |pairs: &[(&str, &str, i32)]| {
            let mut qrels = Qrels::new();
            for (query, passage, grade) in pairs {
                qrels.insert((*query).into(), (*passage).into(), *grade);
            }
            judgments(&qrels)
        };
        let (one, two) = (("q", "a", 1), ("r", "b", 2));
        assert_eq!(digest(&[one, two]), digest(&[two, one]));
        assert_ne!(digest(&[one, two]), digest(&[one, ("r", "b", 1)]));
        // Of `printf 'q\ta\t1\n' | sha256sum`.
        assert_eq!(digest(&[one]), "2c4192d3f0a0159dad0325c8ed6cd905b8989883aa1a81f2bf5617e5ba7e94d0");
    }
}

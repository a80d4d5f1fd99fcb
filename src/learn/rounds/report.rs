//! What each round was worth, and which one is kept: figures per question, paired gains, verdicts.

use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::eval::significance::{Paired, paired};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Systems each round is judged with.
pub(super) const SYSTEMS: &str = "bm25,dense,hybrid";
/// Measures of each round.
pub const MEASURES: [&str; 5] = ["R@1", "R@5", "R@20", "RR@10", "nDCG@10"];
/// Measures whose values per question are kept, for the pairs.
pub(super) const PAIRED: [&str; 2] = ["RR@10", "nDCG@10"];
/// The system and the measure that rounds are chosen by, on the choosing half of the held-out questions.
pub(super) const CHOSEN_BY: (&str, &str) = ("dense", "RR@10");

/// One system of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemFigures {
    /// `bm25`, `dense` or `hybrid`.
    pub name: String,
    /// Means over the judging questions, by measure.
    pub means: BTreeMap<String, f64>,
    /// Values of `RR@10` and `nDCG@10`, one a question in the order of [`RoundReport::queries`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Vec<f64>>,
}

/// A paired difference between two systems, rounds or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// The system of this round.
    pub system: String,
    /// By what it is measured.
    pub measure: String,
    /// What it is compared with: `round 0` (the same system there), `bm25` (of the same round).
    pub against: String,
    /// The difference, this round minus the other, question by question.
    #[serde(flatten)]
    pub test: Paired,
}

/// What was mined for a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mined {
    /// Where negatives came from.
    pub source: String,
    /// Examples.
    pub examples: u64,
    /// Negatives in them.
    pub negatives: u64,
}

/// How a round was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// Steps made.
    pub steps: usize,
    /// Step of the weights that were kept; 0 where no step was better than the start.
    pub kept: usize,
    /// Mean loss of the first steps.
    pub loss_first: f64,
    /// Moving mean of the loss at the end.
    pub loss_last: f64,
}

/// What the choosing half of the held-out questions makes of a round: the dense side's reciprocal rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Mean of RR@10.
    pub mean: f64,
    /// The choosing questions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// RR@10 of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
    /// The difference to the best round before; `None` for round 0. A proven gain makes this round the best.
    pub gain: Option<Gain>,
}

/// A round: what was made and what it was worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// 0 is the model as it comes.
    pub round: usize,
    /// The encoder's fingerprint.
    pub model: String,
    /// What was mined; `None` for round 0.
    pub mined: Option<Mined>,
    /// How it was trained; `None` for round 0.
    pub trained: Option<Fitted>,
    /// Passages searched.
    pub passages: usize,
    /// Relevant passages of the judging questions that the index does not hold.
    pub missing_gold: usize,
    /// The index's default fusion.
    pub fusion: String,
    /// By what it is kept or not.
    pub choice: Choice,
    /// The judging questions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// `bm25`, `dense`, `hybrid` on the judging questions.
    pub systems: Vec<SystemFigures>,
    /// Paired differences over the judging questions; of round 0 that of hybrid to BM25 alone.
    pub gains: Vec<Gain>,
}

/// Why a loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All rounds were made.
    AllRounds,
    /// This round was not proven better than the best one before.
    NoGain(usize),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::AllRounds => f.write_str("all rounds were made"),
            Stopped::NoGain(round) => write!(f, "round {round} was no proven gain"),
        }
    }
}

/// A whole loop.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopReport {
    /// Rounds made, round 0 first.
    pub rounds: Vec<RoundReport>,
    /// The round whose model is kept.
    pub kept: usize,
    /// Why it ended.
    pub stopped: Stopped,
    /// Questions that were learnt from, that chose, and that judged.
    pub questions: Counts,
}

/// Questions by their use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Learnt from.
    pub train: usize,
    /// What the held-out ones are of: `dev.json`, `scifact, split dev`, `a tenth of train.json`.
    pub held_out: String,
    /// Held out; they choose checkpoints, fusion weights and rounds.
    pub choosing: usize,
    /// Held out; they chose nothing and judge rounds.
    pub judging: usize,
    /// Left out of training since a held-out question is the same.
    pub dropped: usize,
}

impl LoopReport {
    /// The report of the round that is kept.
    pub fn best(&self) -> Option<&RoundReport> {
        self.rounds.get(self.kept)
    }

    /// A proven loss against the model as it came, dense or hybrid, over the judging questions: of the kept model, or of
    /// the last round's.
    pub fn regression(&self) -> Option<(usize, &Gain)> {
        let rounds = self.best().into_iter().chain(self.rounds.last());
        let mut gains = rounds.flat_map(|round| round.gains.iter().map(|gain| (round.round, gain)));
        gains.find(|(_, gain)| gain.against == "round 0" && gain.test.is_loss())
    }

    /// The verdict over the judging questions, in a few words.
    pub fn verdict(&self) -> String {
        let (system, measure) = CHOSEN_BY;
        match self.best().and_then(|round| round.gain(system, "round 0")) {
            None => "no round was proven better than the model as it came".to_string(),
            Some(gain) => format!("{system} {measure} against the model as it came: {}", gain.test.verdict()),
        }
    }
}

/// A system's values of a measure, by name, one a question.
fn column(comparison: &Comparison, system: usize, measure: &str) -> Result<Vec<f64>> {
    let evaluation = comparison.systems.get(system).map(|system| &system.evaluation);
    let place = evaluation.and_then(|e| e.measures.iter().position(|other| other.to_string() == measure));
    match (evaluation, place) {
        (Some(evaluation), Some(m)) => Ok(evaluation.values[m].iter().map(|value| value.unwrap_or_default()).collect()),
        _ => Err(Error::bug(format!("`{measure}` was not measured"))),
    }
}

fn asked(comparison: &Comparison) -> Vec<String> {
    let evaluation = comparison.systems.first().map(|system| &system.evaluation);
    evaluation.map(|evaluation| evaluation.queries.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

impl RoundReport {
    /// Takes the figures out of two comparisons: of the choosing questions ([`CHOSEN_BY`] alone) and of the judging ones;
    /// pairs and means of training come later.
    pub(super) fn of(round: usize, choosing: &Comparison, judging: &Comparison) -> Result<Self> {
        let mut systems = Vec::new();
        for (i, system) in judging.systems.iter().enumerate() {
            let of = &system.evaluation;
            let values = PAIRED.iter().map(|name| Ok((name.to_string(), column(judging, i, name)?)));
            systems.push(SystemFigures {
                name: system.name.clone(),
                means: of.measures.iter().enumerate().map(|(m, name)| (name.to_string(), of.mean(m))).collect(),
                values: values.collect::<Result<_>>()?,
            });
        }
        let values = column(choosing, 0, CHOSEN_BY.1)?;
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let choice = Choice { mean, queries: asked(choosing), values, gain: None };
        let (queries, missing_gold) = (asked(judging), judging.missing_gold);
        let (model, fusion) = (String::new(), String::new());
        let (mined, trained, gains, passages) = (None, None, Vec::new(), 0);
        Ok(RoundReport {
            round,
            model,
            mined,
            trained,
            passages,
            missing_gold,
            fusion,
            choice,
            queries,
            systems,
            gains,
        })
    }

    /// A system's figures.
    pub fn system(&self, name: &str) -> Option<&SystemFigures> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// The gain of a system against `round N` or `bm25`, over the judging questions.
    pub fn gain(&self, system: &str, against: &str) -> Option<&Gain> {
        self.gains.iter().find(|gain| gain.system == system && gain.against == against)
    }

    /// A system's mean of a measure.
    pub fn mean(&self, system: &str, measure: &str) -> Option<f64> {
        self.system(system)?.means.get(measure).copied()
    }

    /// Without what is there once a question.
    pub(super) fn summary(&self) -> Self {
        let mut summary = self.clone();
        (summary.queries, summary.choice.queries, summary.choice.values) = (Vec::new(), Vec::new(), Vec::new());
        summary.systems.iter_mut().for_each(|system| system.values.clear());
        summary
    }

    /// The questions, and a system's values of a measure.
    fn column(&self, system: &str, measure: &str) -> Result<(&[String], &[f64])> {
        let values = self.system(system).and_then(|system| system.values.get(measure));
        let missing = || Error::bug(format!("round {} has no {measure} of {system} per question", self.round));
        Ok((&self.queries, values.ok_or_else(missing)?))
    }

    /// Pairs this round with earlier ones, question by question. The choosing questions pair it with the best before; the
    /// judging ones pair dense with the rounds before, the best and the first, hybrid with this round's BM25 and with
    /// the first round.
    pub(super) fn pair(&mut self, earlier: &[RoundReport], best: usize, seed: u64) -> Result<()> {
        let (dense, measure) = CHOSEN_BY;
        let mut gains = Vec::new();
        let mut met = Vec::new();
        for round in self.round.checked_sub(1).into_iter().flat_map(|before| [before, 0, best]) {
            if let Some(other) = earlier.get(round).filter(|_| !met.contains(&round)) {
                let columns = (self.column(dense, measure)?, other.column(dense, measure)?);
                gains.push(gain((dense, measure), format!("round {round}"), columns, seed)?);
                met.push(round);
            }
        }
        let hybrid = ("hybrid", "nDCG@10");
        let own = self.column(hybrid.0, hybrid.1)?;
        gains.push(gain(hybrid, "bm25".into(), (own, self.column("bm25", hybrid.1)?), seed)?);
        if let Some(first) = earlier.first() {
            gains.push(gain(hybrid, "round 0".into(), (own, first.column(hybrid.0, hybrid.1)?), seed)?);
        }
        if let Some(Choice { queries, values, .. }) = earlier.get(best).map(|best| &best.choice) {
            let columns = ((&*self.choice.queries, &*self.choice.values), (&**queries, &**values));
            self.choice.gain = Some(gain(CHOSEN_BY, format!("round {best}"), columns, seed)?);
        }
        self.gains = gains;
        Ok(())
    }
}

/// Questions and one value of each.
type Column<'a> = (&'a [String], &'a [f64]);

fn gain(
    (system, measure): (&str, &str),
    against: String,
    (own, other): (Column<'_>, Column<'_>),
    seed: u64,
) -> Result<Gain> {
    if own.0 != other.0 {
        return Err(Error::bug(format!("{system} and {against} were asked other questions")));
    }
    Ok(Gain { system: system.into(), measure: measure.into(), against, test: paired(own.1, other.1, seed) })
}

/// The round that is kept after these, and why no further one is made, where none is: a round becomes the best when its
/// dense RR@10 over the choosing questions is proven higher than the best one's before, and one that is not ends the
/// loop unless `all` are wanted.
pub(super) fn decide(rounds: &[RoundReport], all: bool) -> (usize, Option<Stopped>) {
    let mut best = 0;
    for report in rounds.iter().skip(1) {
        if report.choice.gain.as_ref().is_some_and(|gain| gain.test.is_gain()) {
            best = report.round;
        } else if !all {
            return (best, Some(Stopped::NoGain(report.round)));
        }
    }
    (best, None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A round in which the dense side has these reciprocal ranks, on both halves.
    pub(crate) fn round(number: usize, dense: &[f64]) -> RoundReport {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let system = |name: &str, values: &[f64]| SystemFigures {
            name: name.to_string(),
            means: MEASURES.iter().map(|m| (m.to_string(), mean(values))).collect(),
            values: PAIRED.iter().map(|measure| (measure.to_string(), values.to_vec())).collect(),
        };
        let flat = vec![0.5; dense.len()];
        let names = |half: &str| (0..dense.len()).map(|i| format!("{half}{i}")).collect::<Vec<_>>();
        RoundReport {
            round: number,
            model: format!("model {number}"),
            mined: (number > 0).then(|| Mined { source: "sparse".into(), examples: 9, negatives: 8 }),
            trained: (number > 0).then_some(Fitted { steps: 7, kept: 6, loss_first: 2.5, loss_last: 1.25 }),
            passages: 30,
            missing_gold: 0,
            fusion: "convex".into(),
            choice: Choice { mean: mean(dense), queries: names("c"), values: dense.to_vec(), gain: None },
            queries: names("q"),
            systems: vec![system("bm25", &flat), system("dense", dense), system("hybrid", &flat)],
            gains: Vec::new(),
        }
    }

    pub(crate) fn rounds(dense: &[Vec<f64>], all: bool) -> Vec<RoundReport> {
        let mut rounds: Vec<RoundReport> = Vec::new();
        for (number, dense) in dense.iter().enumerate() {
            let mut report = round(number, dense);
            report.pair(&rounds, decide(&rounds, all).0, 1).unwrap();
            rounds.push(report);
        }
        rounds
    }

    pub(crate) fn level(mean: f64) -> Vec<f64> {
        (0..40).map(|i| mean + if i % 2 == 0 { 0.01 } else { -0.01 }).collect()
    }

    #[test]
    fn a_loop_stops_at_the_first_round_without_a_proven_gain() {
        assert_eq!(decide(&rounds(&[level(0.2)], false), false), (0, None));
        assert_eq!(decide(&rounds(&[level(0.2), level(0.3)], false), false), (1, None));
        let noise: Vec<f64> = (0..40).map(|i| 0.3 + if i % 4 < 2 { 0.2 } else { -0.2 }).collect();
        let made = rounds(&[level(0.2), level(0.3), noise], false);
        assert_eq!(decide(&made, false), (1, Some(Stopped::NoGain(2))), "equal on the mean is no gain");
        assert_eq!(decide(&rounds(&[level(0.2), level(0.1)], false), false), (0, Some(Stopped::NoGain(1))));
    }

    #[test]
    fn all_rounds_are_made_where_wanted_and_the_best_is_kept() {
        let made = rounds(&[level(0.2), level(0.4), level(0.3), level(0.5)], true);
        assert_eq!(decide(&made[..3], true), (1, None));
        assert_eq!(decide(&made, true), (3, None));
        // The last round is compared with the one before, the first and the best.
        let against: Vec<&str> = made[3].gains.iter().map(|gain| gain.against.as_str()).collect();
        assert_eq!(against, ["round 2", "round 0", "round 1", "bm25", "round 0"]);
    }

    #[test]
    fn a_handful_of_questions_keeps_no_round() {
        let made = rounds(&[vec![0.2; 19], vec![0.9; 19]], false);
        assert_eq!(decide(&made, false), (0, Some(Stopped::NoGain(1))));
        assert_eq!(decide(&rounds(&[vec![0.2; 20], vec![0.9; 20]], false), false), (1, None));
    }

    #[test]
    fn rounds_are_chosen_by_one_half_and_judged_by_the_other() {
        let mut made = rounds(&[level(0.2), level(0.3)], false);
        // The judging half sees no gain, or a loss: that does not choose.
        made[1].gains.iter_mut().for_each(|gain| gain.test.interval = (-0.2, -0.1));
        assert_eq!(decide(&made, false), (1, None));
        let report = LoopReport { rounds: made, kept: 1, stopped: Stopped::AllRounds, questions: Counts::default() };
        assert_eq!(report.verdict(), "dense RR@10 against the model as it came: loss");
    }

    #[test]
    fn a_gate_closes_on_a_proven_loss_of_the_kept_model_or_the_last() {
        let made = rounds(&[level(0.2), level(0.3), level(0.25)], false);
        let lose = |rounds: &mut [RoundReport], round: usize, system: &str, against: &str| {
            let found = rounds[round].gains.iter_mut().find(|gain| gain.system == system && gain.against == against);
            let test = &mut found.unwrap().test;
            (test.interval, test.p_randomization) = ((-0.2, -0.1), 0.001);
        };
        let report = |rounds: Vec<RoundReport>, kept| LoopReport {
            rounds,
            kept,
            stopped: Stopped::NoGain(2),
            questions: Counts::default(),
        };
        let whole = report(made.clone(), 1);
        assert_eq!(whole.regression(), None);
        assert_eq!(whole.verdict(), "dense RR@10 against the model as it came: gain");
        for (round, system) in [(1, "hybrid"), (2, "dense"), (2, "hybrid")] {
            let mut lost = made.clone();
            lose(&mut lost, round, system, "round 0");
            let report = report(lost, 1);
            let found = report.regression().map(|(round, gain)| (round, gain.system.as_str()));
            assert_eq!(found, Some((round, system)));
        }
        let mut lost = made.clone();
        lose(&mut lost, 1, "hybrid", "bm25");
        lose(&mut lost, 2, "dense", "round 1");
        assert_eq!(report(lost, 1).regression(), None, "only the model as it came counts");
        let mut lost = made;
        lose(&mut lost, 2, "dense", "round 0");
        let none = report(lost, 0);
        assert!(none.regression().is_some(), "although nothing is kept of it");
        assert_eq!(none.verdict(), "no round was proven better than the model as it came");
    }
}

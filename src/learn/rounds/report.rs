//! What each round was worth, and which one is kept: figures per question, paired gains, verdicts.

use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::eval::significance::paired;

/// Systems each round is asked with.
pub(super) const SYSTEMS: &str = "bm25,dense,hybrid";
/// Measures of each round.
pub const MEASURES: [&str; 5] = ["R@1", "R@5", "R@20", "RR@10", "nDCG@10"];
/// Measures whose values per question are kept, for the pairs.
pub(super) const PAIRED: [&str; 2] = ["RR@10", "nDCG@10"];

/// One system of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemFigures {
    /// `bm25`, `dense` or `hybrid`.
    pub name: String,
    /// Means over the judging questions, by measure.
    pub means: Vec<(String, f64)>,
    /// Values of `RR@10` and `nDCG@10`, one a question in the order of [`RoundReport::queries`].
    pub values: Vec<(String, Vec<f64>)>,
}

/// A paired difference between two systems, rounds or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Gain {
    /// The system of this round.
    pub system: String,
    /// By what it is measured.
    pub measure: String,
    /// What it is compared with: `round 0` (the same system there), `bm25` (of the same round).
    pub against: String,
    /// Mean difference.
    pub mean: f64,
    /// Its 95 % interval, by the paired bootstrap.
    pub interval: (f64, f64),
    /// Two-sided p of the randomisation test.
    pub p: f64,
}

impl Gain {
    /// Whether the interval lies above 0.
    pub fn is_gain(&self) -> bool {
        self.interval.0 > 0.0
    }

    /// Whether the interval lies below 0.
    pub fn is_regression(&self) -> bool {
        self.interval.1 < 0.0
    }

    /// `gain`, `regression`, or neither.
    pub fn name(&self) -> &'static str {
        match (self.is_gain(), self.is_regression()) {
            (true, _) => "gain",
            (_, true) => "regression",
            _ => "no proven difference",
        }
    }
}

/// What was mined for a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Mined {
    /// Where negatives came from.
    pub source: String,
    /// Examples.
    pub examples: u64,
    /// Negatives in them.
    pub negatives: u64,
}

/// How a round was trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Steps made.
    pub steps: usize,
    /// Step of the weights that were kept; 0 where no step was better than the start.
    pub kept: usize,
    /// Mean loss of the first steps and moving mean at the end.
    pub loss: (f64, f64),
}

/// A round: what was made and what it was worth.
#[derive(Clone, Debug, PartialEq)]
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
    /// The judging questions.
    pub queries: Vec<String>,
    /// `bm25`, `dense`, `hybrid`.
    pub systems: Vec<SystemFigures>,
    /// Paired differences; of round 0 that of hybrid to BM25 alone.
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
            Stopped::NoGain(round) => write!(f, "no gain proven in round {round}"),
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
    /// Questions that were learnt from, that chose checkpoints, and that judged.
    pub questions: Counts,
}

/// Questions by their use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Learnt from.
    pub train: usize,
    /// Held out; they choose checkpoints.
    pub choosing: usize,
    /// Held out; they judge rounds.
    pub judging: usize,
    /// Left out of training since a held-out question has the same words.
    pub dropped: usize,
}

impl LoopReport {
    /// The report of the round that is kept.
    pub fn best(&self) -> Option<&RoundReport> {
        self.rounds.get(self.kept)
    }

    /// A proven loss of the kept model against the model as it came, dense or hybrid.
    pub fn regression(&self) -> Option<&Gain> {
        let against_start = |gain: &&Gain| gain.against == "round 0" && gain.is_regression();
        self.best().and_then(|round| round.gains.iter().find(against_start))
    }

    /// The verdict in a few words.
    pub fn verdict(&self) -> String {
        let dense = self.best().and_then(|round| round.gain("dense", "round 0"));
        match dense {
            None => "no round is proven better than the model as it came".to_string(),
            Some(gain) => format!("{} over the model as it came", gain.name()),
        }
    }
}

impl RoundReport {
    /// Measures a comparison of the judging questions; pairs and means of training come later.
    pub(super) fn of(round: usize, comparison: &Comparison) -> Result<Self> {
        let mut queries = Vec::new();
        let mut systems = Vec::new();
        for system in &comparison.systems {
            let evaluation = &system.evaluation;
            queries = evaluation.queries.iter().map(ToString::to_string).collect();
            let names: Vec<String> = evaluation.measures.iter().map(ToString::to_string).collect();
            let column = |name: &&str| {
                let m = names.iter().position(|other| other == name);
                let m = m.ok_or_else(|| Error::bug(format!("`{name}` was not measured")))?;
                let values = evaluation.values[m].iter().map(|value| value.unwrap_or_default()).collect();
                Ok((name.to_string(), values))
            };
            systems.push(SystemFigures {
                name: system.name.clone(),
                means: names.iter().enumerate().map(|(m, name)| (name.clone(), evaluation.mean(m))).collect(),
                values: PAIRED.iter().map(column).collect::<Result<_>>()?,
            });
        }
        let (model, fusion) = (String::new(), String::new());
        let missing_gold = comparison.missing_gold;
        let (mined, trained, gains) = (None, None, Vec::new());
        Ok(RoundReport { round, model, mined, trained, passages: 0, missing_gold, fusion, queries, systems, gains })
    }

    /// A system's figures.
    pub fn system(&self, name: &str) -> Option<&SystemFigures> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// The gain of a system against `round N` or `bm25`.
    pub fn gain(&self, system: &str, against: &str) -> Option<&Gain> {
        self.gains.iter().find(|gain| gain.system == system && gain.against == against)
    }

    /// A system's mean of a measure.
    pub fn mean(&self, system: &str, measure: &str) -> Option<f64> {
        self.system(system)?.means.iter().find(|(name, _)| name == measure).map(|(_, mean)| *mean)
    }

    fn values(&self, system: &str, measure: &str) -> Result<&[f64]> {
        let found = self.system(system).and_then(|system| system.values.iter().find(|(name, _)| name == measure));
        found
            .map(|(_, values)| values.as_slice())
            .ok_or_else(|| Error::bug(format!("round {} has no {measure} of {system} per question", self.round)))
    }

    /// Pairs this round with earlier ones, question by question: dense with the rounds before, the best and the first;
    /// hybrid with this round's BM25 and with the first round.
    pub(super) fn pair(&mut self, earlier: &[RoundReport], best: usize, seed: u64) -> Result<()> {
        let mut others: Vec<usize> = self.round.checked_sub(1).into_iter().collect();
        if self.round > 0 {
            others.extend([0, best]);
        }
        let mut gains = Vec::new();
        let mut met = Vec::new();
        for round in others {
            if let Some(other) = earlier.get(round).filter(|_| !met.contains(&round)) {
                gains.push(self.gain_over("dense", "RR@10", other, "dense", format!("round {round}"), seed)?);
                met.push(round);
            }
        }
        gains.push(self.gain_over("hybrid", "nDCG@10", self, "bm25", "bm25".to_string(), seed)?);
        if let Some(first) = earlier.first() {
            gains.push(self.gain_over("hybrid", "nDCG@10", first, "hybrid", "round 0".to_string(), seed)?);
        }
        self.gains = gains;
        Ok(())
    }

    fn gain_over(
        &self,
        system: &str,
        measure: &str,
        other: &RoundReport,
        their: &str,
        against: String,
        seed: u64,
    ) -> Result<Gain> {
        if other.queries != self.queries {
            return Err(Error::bug(format!("round {} was judged by other questions", other.round)));
        }
        let test = paired(self.values(system, measure)?, other.values(their, measure)?, seed);
        Ok(Gain {
            system: system.to_string(),
            measure: measure.to_string(),
            against,
            mean: test.mean_difference,
            interval: test.interval,
            p: test.p_randomization,
        })
    }
}

/// The round that is kept after these, and why no further one is made, where none is: a round becomes the best when its
/// dense RR@10 is proven higher than the best one's before, and one that is not ends the loop unless `all` are wanted.
pub(super) fn decide(rounds: &[RoundReport], all: bool) -> (usize, Option<Stopped>) {
    let mut best = 0;
    for report in rounds.iter().skip(1) {
        let proven = report.gain("dense", &format!("round {best}")).is_some_and(Gain::is_gain);
        if proven {
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

    /// A round in which the dense side has these reciprocal ranks.
    pub(crate) fn round(number: usize, dense: &[f64]) -> RoundReport {
        let system = |name: &str, values: &[f64]| SystemFigures {
            name: name.to_string(),
            means: MEASURES.iter().map(|m| (m.to_string(), values.iter().sum::<f64>() / values.len() as f64)).collect(),
            values: PAIRED.iter().map(|measure| (measure.to_string(), values.to_vec())).collect(),
        };
        let flat = vec![0.5; dense.len()];
        RoundReport {
            round: number,
            model: format!("model {number}"),
            mined: (number > 0).then(|| Mined { source: "sparse".into(), examples: 9, negatives: 8 }),
            trained: (number > 0).then_some(Fitted { steps: 7, kept: 6, loss: (2.5, 1.25) }),
            passages: 30,
            missing_gold: 0,
            fusion: "convex".into(),
            queries: (0..dense.len()).map(|i| format!("q{i}")).collect(),
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

    fn level(mean: f64) -> Vec<f64> {
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
    fn a_gate_closes_on_a_proven_loss_of_the_kept_model_only() {
        let mut made = rounds(&[level(0.2), level(0.3), level(0.1)], false);
        made[1].gains.iter_mut().filter(|gain| gain.system == "hybrid").for_each(|gain| gain.interval = (-0.2, -0.1));
        let mut report =
            LoopReport { rounds: made, kept: 1, stopped: Stopped::NoGain(2), questions: Counts::default() };
        let lost = report.regression().map(|gain| (gain.system.as_str(), gain.against.as_str()));
        assert_eq!(lost, Some(("hybrid", "round 0")), "the loss to BM25 does not count");
        assert_eq!(report.verdict(), "gain over the model as it came");
        report.kept = 0;
        assert_eq!(report.regression(), None);
        assert_eq!(report.verdict(), "no round is proven better than the model as it came");
    }
}

//! How much the dense side should count for one query: a small logistic model over plain numbers.
//!
//! In flow [`Signals`] of the question and its [`Candidate`]s; [`features`] makes eleven numbers of them, and a
//! [`Predictor`] a weight:
//!
//! ```text
//! w = 1 / (1 + e^−z),   z = a + Σ c_j · clamp((x_j − m_j) / s_j, −3, 3)
//! ```
//!
//! with the intercept `a`, and for feature `x_j` its coefficient `c_j`, and its mean `m_j` and standard deviation `s_j` over
//! the questions it was trained on. `1 / (1 + e^−a)` is an average question's weight, and `c_j` says what one standard
//! deviation more of a feature does. The clamp keeps an odd question from being weighed by extrapolation.
//!
//! [`Predictor::fit`] maximises what is wanted itself: the mean over the questions of their measure `U_q(w_q)`, tabulated
//! on a grid of weights and smoothed over ±.1, less `penalty · Σ c_j²`. It starts from the best weight for all, by gradient
//! ascent (Adam), so what it has learned is what it adds to a fixed weight.
//!
//! ```
//! use parallax::fusion::predict::{COUNT, Predictor};
//! use parallax::fusion::Normalizer;
//! // The questions with a large first feature are answered by the dense side, the others by the sparse one.
//! let row = |i: usize| { let mut row = [0.0; COUNT]; row[0] = (i % 2) as f64; row };
//! let utility = |i: usize| (0..=20).map(|step| if (step > 10) == (i % 2 == 1) { 1.0 } else { 0.0 }).collect();
//! let (rows, utilities): (Vec<_>, Vec<Vec<f64>>) = (0..40).map(|i| (row(i), utility(i))).unzip();
//! let predictor = Predictor::fit(&rows, &utilities, 0.5, 0.001, Normalizer::MinMax);
//! assert!(predictor.weight(&row(0)) < 0.4 && predictor.weight(&row(1)) > 0.6);
//! assert_eq!(predictor.reasons(&row(1))[0].feature, "length");
//! ```
//!
//! Cost: a look at the heads of both lists a query; training, a few hundred passes over the questions. Source: the features
//! are post-retrieval and pre-retrieval predictors of query difficulty (D. Carmel and E. Yom-Tov, "Estimating the Query
//! Difficulty for Information Retrieval", 2010); D. Kingma and J. Ba, "Adam", 2015.

use super::method::Candidate;
use super::normalize::{Equal, Normalizer, Side};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What can be said of a question before its lists are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signals {
    /// Words of the question.
    pub words: usize,
    /// Terms of the sparse side that it has, as often as they occur, those the collection lacks among them.
    pub terms: usize,
    /// Sum of the inverse document frequencies of the terms that the collection has.
    pub idf_mass: f64,
    /// Tokens that the question encoder cuts it into.
    pub pieces: usize,
    /// Share of these that the encoder knows.
    pub known: f64,
}

/// What a coefficient's square costs, divided by the number of questions it is fitted on. Of .1 to 30, this lost least where
/// 300 queries say little (SciFact) and little where they say much (the bundled collection).
pub const PENALTY: f64 = 10.0;

/// How many features there are.
pub const COUNT: usize = 11;

/// The features' names, in their order, with what each of them is.
pub const FEATURES: [(&str, &str); COUNT] = [
    ("length", "ln(1 + words)"),
    ("rarity", "idf mass over terms"),
    ("known tokens", "share of the encoder's tokens that it knows"),
    ("pieces a word", "ln of the encoder's tokens over words"),
    ("sparse gap", "how far the best BM25 score is ahead, over itself"),
    ("dense gap", "how far the best dense score is ahead, over the list's range"),
    ("sparse cover", "the best BM25 score over the idf mass"),
    ("dense score", "the best dense score"),
    ("overlap", "passages that both top tens share, over ten"),
    ("sparse support", "what the sparse side thinks of the dense side's best, 0 to 1"),
    ("dense support", "what the dense side thinks of the sparse side's best, 0 to 1"),
];

/// The features of a question and its candidates, in the order of [`FEATURES`].
pub fn features(signals: &Signals, candidates: &[Candidate]) -> [f64; COUNT] {
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let (words, terms, pieces) = (signals.words as f64, signals.terms as f64, signals.pieces as f64);
    let list = |rank: &dyn Fn(&Candidate) -> Option<usize>| {
        let mut list: Vec<(usize, &Candidate)> = candidates.iter().filter_map(|c| Some((rank(c)?, c))).collect();
        list.sort_unstable_by_key(|(rank, _)| *rank);
        list.into_iter().map(|(_, candidate)| candidate).collect::<Vec<_>>()
    };
    let (sparse, dense) = (list(&|c| c.sparse_rank), list(&|c| c.dense_rank));
    let at = |list: &[&Candidate], place: usize, score: &dyn Fn(&Candidate) -> f64| list.get(place).map(|c| score(c));
    let best_sparse = at(&sparse, 0, &|c| c.sparse).unwrap_or(0.0);
    let second_sparse = at(&sparse, 1, &|c| c.sparse).unwrap_or(0.0);
    let best_dense = at(&dense, 0, &|c| c.dense).unwrap_or(0.0);
    let second_dense = at(&dense, 1, &|c| c.dense).unwrap_or(best_dense);
    let last_dense = dense.last().map_or(0.0, |candidate| candidate.dense);
    let top = |list: &[&Candidate]| list.iter().take(10).map(|candidate| candidate.ordinal).collect::<Vec<_>>();
    let (top_sparse, top_dense) = (top(&sparse), top(&dense));
    let shared = top_sparse.iter().filter(|ordinal| top_dense.contains(ordinal)).count();
    let support = |of: Option<&&Candidate>, side: Side| {
        let score = |candidate: &Candidate| if side == Side::Sparse { candidate.sparse } else { candidate.dense };
        let all: Vec<f64> = candidates.iter().map(score).collect();
        of.map_or(0.0, |best| Normalizer::MinMax.scale(&all, side, Equal::To(1.0)).of(score(best)))
    };
    [
        words.ln_1p(),
        share(signals.idf_mass, terms),
        signals.known,
        if words > 0.0 && pieces > 0.0 { (pieces / words).ln() } else { 0.0 },
        share(best_sparse - second_sparse, best_sparse),
        share(best_dense - second_dense, best_dense - last_dense),
        share(best_sparse, signals.idf_mass),
        best_dense,
        shared as f64 / 10.0,
        support(dense.first(), Side::Sparse),
        support(sparse.first(), Side::Dense),
    ]
}

/// What one feature does to the weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// What one standard deviation more adds to the weight's logit.
    pub coefficient: f32,
    /// The feature's mean over the training questions.
    pub mean: f32,
    /// Its standard deviation over them; 0 where it never varied.
    pub spread: f32,
}

impl Effect {
    /// What a value of the feature adds to the weight's logit.
    fn of(&self, value: f64) -> f64 {
        f64::from(self.coefficient) * standard(value, f64::from(self.mean), f64::from(self.spread))
    }
}

/// Standard deviations from the mean, at most three; 0 where nothing varies.
fn standard(value: f64, mean: f64, spread: f64) -> f64 {
    if spread > 0.0 { ((value - mean) / spread).clamp(-3.0, 3.0) } else { 0.0 }
}

/// A question's dense weight from its features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Predictor {
    /// How raw scores are made comparable before they are weighed.
    pub normalizer: Normalizer,
    /// The logit of an average question's weight.
    pub intercept: f32,
    /// What each feature does, in the order of [`FEATURES`].
    pub effects: [Effect; COUNT],
}

/// In JSON features have their names, so that a file is read as it was meant.
#[derive(Serialize, Deserialize)]
struct Wire {
    normalizer: Normalizer,
    intercept: f32,
    features: BTreeMap<String, Effect>,
}

impl From<Predictor> for Wire {
    fn from(predictor: Predictor) -> Wire {
        let named = FEATURES.iter().zip(predictor.effects).map(|((name, _), effect)| (name.to_string(), effect));
        Wire { normalizer: predictor.normalizer, intercept: predictor.intercept, features: named.collect() }
    }
}

impl TryFrom<Wire> for Predictor {
    type Error = Error;

    fn try_from(mut wire: Wire) -> Result<Predictor> {
        let mut effects = [Effect::default(); COUNT];
        for (effect, (name, _)) in effects.iter_mut().zip(FEATURES) {
            *effect = wire
                .features
                .remove(name)
                .ok_or_else(|| Error::bad_input(format!("a per-query weight lacks the feature `{name}`")))?;
        }
        match wire.features.into_keys().next() {
            Some(name) => Err(Error::bad_input(format!("a per-query weight has a feature `{name}` nobody computes"))),
            None => Ok(Predictor { normalizer: wire.normalizer, intercept: wire.intercept, effects }),
        }
    }
}

/// Why a weight is what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reason {
    /// The feature's name.
    pub feature: &'static str,
    /// Its value for this question.
    pub value: f64,
    /// What it is on average.
    pub usual: f64,
    /// What it adds to the weight's logit: above 0 towards the dense side.
    pub effect: f64,
}

impl Predictor {
    /// The dense weight of a question, 0 to 1.
    pub fn weight(&self, features: &[f64; COUNT]) -> f64 {
        let moved: f64 = self.effects.iter().zip(features).map(|(effect, value)| effect.of(*value)).sum();
        logistic(f64::from(self.intercept) + moved)
    }

    /// The dense weight of a question with average features.
    pub fn average_weight(&self) -> f64 {
        logistic(f64::from(self.intercept))
    }

    /// What each feature did, the one that moved the weight most first.
    pub fn reasons(&self, features: &[f64; COUNT]) -> Vec<Reason> {
        let named = FEATURES.iter().zip(&self.effects).zip(features);
        let reason = |(((feature, _), effect), value): ((&(&'static str, _), &Effect), &f64)| Reason {
            feature,
            value: *value,
            usual: f64::from(effect.mean),
            effect: effect.of(*value),
        };
        let mut reasons: Vec<Reason> = named.map(reason).collect();
        reasons.sort_by(|a, b| b.effect.abs().total_cmp(&a.effect.abs()));
        reasons
    }

    /// Refuses numbers that are none.
    pub fn check(&self) -> Result<()> {
        let numbers = self.effects.iter().flat_map(|effect| [effect.coefficient, effect.mean, effect.spread]);
        if numbers.chain([self.intercept]).all(f32::is_finite) && self.effects.iter().all(|effect| effect.spread >= 0.0)
        {
            return Ok(());
        }
        Err(Error::usage("a per-query weight has a coefficient, mean or spread that is no number"))
    }

    /// Learns from questions: `rows[q]` are a question's features, `utilities[q]` its measure at the weights 0, 1/g, …, 1.
    ///
    /// `start` is the weight it begins with, best for all; `penalty` what a coefficient's square costs in units of the
    /// measure's mean. Without questions it stays at `start`.
    pub fn fit(
        rows: &[[f64; COUNT]],
        utilities: &[Vec<f64>],
        start: f64,
        penalty: f64,
        normalizer: Normalizer,
    ) -> Predictor {
        const STEPS: i32 = 300;
        const RATE: f64 = 0.05;
        let n = rows.len() as f64;
        let scales: Vec<(f64, f64)> = (0..COUNT).map(|j| moments(rows.iter().map(|row| row[j]))).collect();
        let standardised: Vec<[f64; COUNT]> =
            rows.iter().map(|row| std::array::from_fn(|j| standard(row[j], scales[j].0, scales[j].1))).collect();
        let smooth: Vec<Vec<f64>> = utilities.iter().map(|utility| smoothed(utility)).collect();
        let mut parameters = [0.0; COUNT + 1];
        parameters[COUNT] = logit(start);
        let (mut first, mut second) = ([0.0; COUNT + 1], [0.0; COUNT + 1]);
        for step in 1..=if rows.is_empty() { 0 } else { STEPS } {
            let mut gradient = [0.0; COUNT + 1];
            for (row, utility) in standardised.iter().zip(&smooth) {
                let z = parameters[COUNT] + row.iter().zip(&parameters).map(|(x, c)| x * c).sum::<f64>();
                let weight = logistic(z);
                let push = slope(utility, weight) * weight * (1.0 - weight) / n;
                row.iter().zip(&mut gradient).for_each(|(x, gradient)| *gradient += push * x);
                gradient[COUNT] += push;
            }
            let rate = RATE * (1.0 - f64::from(step) / f64::from(STEPS + 1));
            for j in 0..=COUNT {
                let gradient = gradient[j] - if j < COUNT { 2.0 * penalty * parameters[j] } else { 0.0 };
                first[j] = 0.9 * first[j] + 0.1 * gradient;
                second[j] = 0.999 * second[j] + 0.001 * gradient * gradient;
                let (m, v) = (first[j] / (1.0 - 0.9f64.powi(step)), second[j] / (1.0 - 0.999f64.powi(step)));
                parameters[j] += rate * m / (v.sqrt() + 1e-8);
            }
        }
        let effects = std::array::from_fn(|j| Effect {
            coefficient: parameters[j] as f32,
            mean: scales[j].0 as f32,
            spread: scales[j].1 as f32,
        });
        Predictor { normalizer, intercept: parameters[COUNT] as f32, effects }
    }
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// The logit of a weight; the ends, which have none, count as .02 and .98.
fn logit(weight: f64) -> f64 {
    let weight = weight.clamp(0.02, 0.98);
    (weight / (1.0 - weight)).ln()
}

/// Mean and standard deviation (of the population).
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    let spread = (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    // What differs by roundings only does not vary.
    (mean, if spread > 1e-9 * (1.0 + mean.abs()) { spread } else { 0.0 })
}

/// A table over the weights, averaged over ±.1 with a triangle's weights: a rank jumps where its average has a slope.
fn smoothed(utility: &[f64]) -> Vec<f64> {
    let reach = (utility.len().saturating_sub(1) as f64 / 10.0).round() as usize + 1;
    let around = |i: usize| {
        let (from, to) = (i.saturating_sub(reach), (i + reach).min(utility.len() - 1));
        let weighed = (from..=to).map(|j| ((reach + 1 - i.abs_diff(j)) as f64, utility[j]));
        let (sum, total) = weighed.fold((0.0, 0.0), |(sum, total), (w, u)| (sum + w * u, total + w));
        sum / total
    };
    (0..utility.len()).map(around).collect()
}

/// The slope of a table over the weights 0 to 1, linear between its entries.
fn slope(utility: &[f64], weight: f64) -> f64 {
    let steps = utility.len().saturating_sub(1);
    if steps == 0 {
        return 0.0;
    }
    let at = ((weight * steps as f64) as usize).min(steps - 1);
    (utility[at + 1] - utility[at]) * steps as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::Ordinal;
    use crate::random::Random;

    #[test]
    fn features_by_hand() {
        let candidate = |ordinal, sparse, dense, sparse_rank, dense_rank| Candidate {
            ordinal: Ordinal(ordinal),
            sparse,
            dense,
            sparse_rank,
            dense_rank,
        };
        let candidates = [
            candidate(0, 8.0, 0.3, Some(1), None),
            candidate(1, 6.0, 0.9, Some(2), Some(1)),
            candidate(2, 0.0, 0.8, None, Some(2)),
            candidate(3, 2.0, 0.5, Some(3), Some(3)),
        ];
        let signals = Signals { words: 4, terms: 3, idf_mass: 12.0, pieces: 8, known: 0.75 };
        let found = features(&signals, &candidates);
        let expected = [5f64.ln(), 4.0, 0.75, 2f64.ln(), 0.25, 0.25, 8.0 / 12.0, 0.9, 0.2, 0.75, 0.0];
        for ((found, expected), (name, _)) in found.iter().zip(expected).zip(FEATURES) {
            assert!((found - expected).abs() < 1e-12, "{name}: {found}, by hand {expected}");
        }
        assert!(features(&Signals::default(), &[]).iter().all(|feature| *feature == 0.0));
    }

    /// Two populations: a feature says, with some noise, on which side the measure is high.
    fn planted(n: usize, seed: u64) -> (Vec<[f64; COUNT]>, Vec<Vec<f64>>) {
        let mut random = Random::new(seed);
        let question = |_| {
            let dense = random.below(2) == 1;
            let mut row: [f64; COUNT] = std::array::from_fn(|_| random.normal());
            row[4] = if dense { 1.0 } else { -1.0 } + 0.5 * random.normal();
            let best = if dense { 0.8 } else { 0.15 };
            let utility = (0..=20).map(|step| 1.0 - (f64::from(step) / 20.0 - best).abs() + 0.1 * random.normal());
            (row, utility.collect())
        };
        (0..n).map(question).unzip()
    }

    fn mean_utility(utilities: &[Vec<f64>], weight: impl Fn(usize) -> f64) -> f64 {
        let at = |(q, utility): (usize, &Vec<f64>)| utility[(weight(q) * 20.0).round() as usize];
        utilities.iter().enumerate().map(at).sum::<f64>() / utilities.len() as f64
    }

    #[test]
    fn two_populations_are_told_apart_on_questions_it_has_not_seen() {
        let (rows, utilities) = planted(300, 1);
        let predictor = Predictor::fit(&rows, &utilities, 0.5, 0.001, Normalizer::MinMax);
        let (rows, utilities) = planted(300, 2);
        let fixed = (0..=20).map(|step| mean_utility(&utilities, |_| f64::from(step) / 20.0)).fold(0.0, f64::max);
        let found = mean_utility(&utilities, |q| predictor.weight(&rows[q]));
        assert!(found > fixed + 0.15, "{found} against {fixed}");
        assert_eq!(predictor.reasons(&rows[0])[0].feature, FEATURES[4].0);
        assert!(predictor.effects[4].coefficient > 0.5);
    }

    #[test]
    fn what_never_varies_has_no_effect_and_no_question_leaves_the_start() {
        let (mut rows, utilities) = planted(50, 3);
        rows.iter_mut().for_each(|row| row[2] = 0.1);
        let predictor = Predictor::fit(&rows, &utilities, 0.5, 0.001, Normalizer::MinMax);
        assert_eq!(predictor.effects[2].spread, 0.0);
        let mut other = rows[0];
        other[2] = 0.9;
        assert_eq!(predictor.weight(&other), predictor.weight(&rows[0]));
        let none = Predictor::fit(&[], &[], 0.3, 0.001, Normalizer::MinMax);
        assert!((none.average_weight() - 0.3).abs() < 1e-6 && none.check().is_ok());
    }

    #[test]
    fn a_file_names_its_features_and_foreign_ones_are_refused() {
        let (rows, utilities) = planted(50, 4);
        let predictor = Predictor::fit(&rows, &utilities, 0.5, 0.001, Normalizer::MinMax);
        let json = serde_json::to_value(predictor).unwrap();
        assert_eq!(serde_json::from_value::<Predictor>(json.clone()).unwrap(), predictor);
        let mut foreign = json.clone();
        foreign["features"]["moon phase"] = foreign["features"]["length"].clone();
        assert!(serde_json::from_value::<Predictor>(foreign).unwrap_err().to_string().contains("moon phase"));
        let mut poor = json;
        poor["features"].as_object_mut().unwrap().remove("overlap");
        assert!(serde_json::from_value::<Predictor>(poor).unwrap_err().to_string().contains("overlap"));
        let mut broken = predictor;
        broken.effects[0].mean = f32::NAN;
        assert!(broken.check().is_err());
    }
}

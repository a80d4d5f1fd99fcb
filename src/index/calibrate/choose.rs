//! The choice of a fusion from questions whose candidates are scored on both sides.
//!
//! In: [`Contest`]s. Out: the record of a fusion, with its evidence. First one weight for all: the *smallest* that falls
//! behind the best by no more than half a standard error of their paired difference in reciprocal rank, for the mean is flat
//! around its best weight, and what looks best there is partly luck; 0 where the dense side is useless. Around it then a
//! weight per query ([`Predictor`]), where there are questions enough; what it gains is told from questions that it was not
//! fitted on. A question's language, length and rarity say which side to trust more than any average does.
//!
//! How far chance may have moved the one weight is its interval: the questions drawn again with replacement, and all of the
//! choice made again.
//!
//! Cost: a fused list for each question and weight.

use super::super::manifest::FusionRecord;
use super::NORMALIZER;
use crate::eval::significance::paired;
use crate::fusion::predict::{COUNT, PENALTY, Predictor};
use crate::fusion::{Candidate, Fusion, fuse};
use crate::random::Random;
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

/// Fewer questions than this prove nothing; the collection is too small or too bare to ask itself.
pub(super) const ENOUGH: usize = 20;

/// Questions that teach a weight per query, at least: some twenty for each of its eleven features.
const ENOUGH_PER_QUERY: usize = 200;

/// Parts the questions are cut into, so that a weight per query is judged by those it was not fitted on.
const FOLDS: u32 = 5;

/// A question's candidates, both sides scored; the first `right` of them are right.
#[derive(Clone)]
pub(super) struct Contest {
    /// Equal for questions about the same passage: they are fitted or judged together.
    pub(super) group: u32,
    /// Candidates that are right, first in the list.
    pub(super) right: usize,
    /// All candidates.
    pub(super) candidates: Vec<Candidate>,
    /// What a weight per query is told from.
    pub(super) features: [f64; COUNT],
}

/// Reciprocal rank of the best right candidate under a dense weight.
fn reciprocal_rank(contest: &Contest, weight: f64) -> f64 {
    let ranking = fuse(&contest.candidates, &Fusion::Convex { weight, normalizer: NORMALIZER });
    let right = &contest.candidates[..contest.right];
    let place = ranking.iter().position(|(ordinal, _)| right.iter().any(|right| right.ordinal == *ordinal));
    place.map_or(0.0, |i| 1.0 / (i + 1) as f64)
}

/// Where the fit of a weight per query begins when one weight for all would be 0.
const EVEN: f64 = 0.5;

/// Weights tried, 0 to 1.
const GRID: usize = 20;

/// The fusion to take, and what speaks for it; `what` names the questions.
pub(super) fn choose(contests: &[Contest], what: &str, seed: u64) -> FusionRecord {
    let n = contests.len();
    if n < ENOUGH {
        return FusionRecord {
            fusion: Fusion::Convex { weight: 0.0, normalizer: NORMALIZER },
            found_by: format!("only {n} {what} could be drawn, too few to prove a gain of the dense side"),
            queries: n,
            reciprocal_ranks: None,
            gain_interval: None,
            weight_interval: None,
        };
    }
    let columns: Vec<Vec<f64>> = (0..=GRID)
        .map(|step| contests.par_iter().map(|contest| reciprocal_rank(contest, step as f64 / GRID as f64)).collect())
        .collect();
    let all: Vec<usize> = (0..n).collect();
    let taken = pick(&columns, &all);
    let weight = taken as f64 / GRID as f64;
    let mut fusion = Fusion::Convex { weight, normalizer: NORMALIZER };
    let mut fused = columns[taken].clone();
    let mut found_by = match taken {
        0 => format!("the sparse side alone is within half a standard error of the best on {n} {what}"),
        _ => format!("the smallest weight within half a standard error of the best on {n} {what}"),
    };
    if n >= ENOUGH_PER_QUERY {
        let start = if taken > 0 { weight } else { EVEN };
        let unseen = on_unseen(contests, &columns, start);
        // Where one weight for all would be 0, the dense side may still be right about some questions, if it shows.
        if taken > 0 || !within_error(&unseen, &columns[0], &all) {
            fusion = Fusion::PerQuery(predictor(contests, &columns, &all, start));
            found_by = format!("a weight per query, fitted on {n} {what}");
            fused = unseen;
        }
    }
    let gain = paired(&fused, &columns[0], seed);
    FusionRecord {
        fusion,
        found_by,
        queries: n,
        reciprocal_ranks: Some([mean(&columns[0]), mean(&columns[GRID]), mean(&fused)]),
        gain_interval: Some(gain.interval.into()),
        weight_interval: Some(weight_interval(&columns, seed)),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A weight per query, fitted on some of the questions.
fn predictor(contests: &[Contest], columns: &[Vec<f64>], sample: &[usize], start: f64) -> Predictor {
    let rows: Vec<_> = sample.iter().map(|i| contests[*i].features).collect();
    let utilities: Vec<Vec<f64>> = sample.iter().map(|i| columns.iter().map(|column| column[*i]).collect()).collect();
    Predictor::fit(&rows, &utilities, start, PENALTY / sample.len().max(1) as f64, NORMALIZER)
}

/// Each question's reciprocal rank under a weight per query that was fitted without it and others about its passage.
fn on_unseen(contests: &[Contest], columns: &[Vec<f64>], start: f64) -> Vec<f64> {
    let fold = |contest: &Contest| Random::new(u64::from(contest.group)).next_u64() as u32 % FOLDS;
    let fitted: Vec<Predictor> = (0..FOLDS)
        .into_par_iter()
        .map(|left_out| {
            let others: Vec<usize> = (0..contests.len()).filter(|i| fold(&contests[*i]) != left_out).collect();
            predictor(contests, columns, &others, start)
        })
        .collect();
    contests
        .par_iter()
        .map(|contest| reciprocal_rank(contest, fitted[fold(contest) as usize].weight(&contest.features)))
        .collect()
}

/// The smallest step whose values over a sample of the questions are within half a standard error of the best one's.
fn pick(columns: &[Vec<f64>], sample: &[usize]) -> usize {
    let sum = |step: usize| sample.iter().map(|i| columns[step][*i]).sum::<f64>();
    let sums: Vec<f64> = (0..columns.len()).map(sum).collect();
    let best = (0..columns.len()).fold(0, |best, step| if sums[step] > sums[best] { step } else { best });
    (0..=best).find(|step| within_error(&columns[best], &columns[*step], sample)).unwrap_or(best)
}

/// 95 % percentile bootstrap of the weight: the questions are drawn with replacement, and all of the choice made again.
fn weight_interval(columns: &[Vec<f64>], seed: u64) -> [f64; 2] {
    let n = columns[0].len();
    let again = |resample: usize| {
        let mut random = Random::of(seed, &format!("weight {resample}"));
        let sample: Vec<usize> = (0..n).map(|_| random.below(n)).collect();
        pick(columns, &sample)
    };
    let mut steps: Vec<usize> = (0..RESAMPLES).into_par_iter().map(again).collect();
    steps.sort_unstable();
    let at = |share: f64| steps[((RESAMPLES - 1) as f64 * share).round() as usize] as f64 / GRID as f64;
    [at(0.025), at(0.975)]
}

/// Resamples of the weight's interval.
const RESAMPLES: usize = 400;

/// Whether `other` falls behind `best` by at most half a standard error of their paired difference. A whole one, the
/// usual rule, gave away half the gain on SciFact (300 questions) and saved nothing elsewhere.
fn within_error(best: &[f64], other: &[f64], sample: &[usize]) -> bool {
    let gaps: Vec<f64> = sample.iter().map(|i| best[*i] - other[*i]).collect();
    let n = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / n;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1.0);
    mean <= 0.5 * (variance / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::{candidate, without_dense};
    use super::*;
    use crate::collection::Ordinal;

    /// Contests in which the right passage has the given places on both sides among ten rivals.
    fn contests(places: &[(f64, f64)]) -> Vec<Contest> {
        let contest = |(sparse, dense): &(f64, f64)| {
            let mut candidates = vec![candidate(Ordinal(99), *sparse, *dense)];
            let rival = |i: u32| candidate(Ordinal(i), 1.0 + f64::from(i), 0.1 * f64::from((i * 7 + 3) % 10));
            candidates.extend((0..10).map(rival));
            Contest { group: 0, right: 1, candidates, features: [0.0; COUNT] }
        };
        places.iter().map(contest).collect()
    }

    #[test]
    fn a_useless_dense_side_gets_nothing() {
        let record = choose(&contests(&[(10.5, 0.0); 40]), "pseudo-queries", 1);
        assert_eq!(record.fusion, Fusion::Convex { weight: 0.0, normalizer: NORMALIZER });
    }

    #[test]
    fn a_dense_side_that_knows_better_gets_weight() {
        let record = choose(&contests(&[(4.5, 0.95); 40]), "pseudo-queries", 1);
        let Fusion::Convex { weight, .. } = record.fusion else { panic!("{record:?}") };
        assert!(weight > 0.3, "{record:?}");
        // All questions are alike, so no resample chooses otherwise.
        assert_eq!(record.weight_interval, Some([weight, weight]));
        assert!(record.gain_interval.unwrap()[0] > 0.0);
    }

    #[test]
    fn the_weight_s_interval_holds_the_weight_and_widens_with_doubt() {
        // Two kinds of questions, one for each side: which weight is best hangs on how many of each are drawn.
        let mixed = |n: usize| {
            let places: Vec<(f64, f64)> = (0..n).map(|i| if i % 3 == 0 { (10.5, 0.0) } else { (4.5, 0.95) }).collect();
            let record = choose(&contests(&places), "pseudo-queries", 1);
            let Fusion::Convex { weight, .. } = record.fusion else { panic!("{record:?}") };
            let [low, high] = record.weight_interval.unwrap();
            assert!(low <= weight && weight <= high, "{record:?}");
            high - low
        };
        assert!(mixed(24) >= mixed(180), "{} {}", mixed(24), mixed(180));
    }

    #[test]
    fn too_few_pseudo_queries_prove_nothing() {
        assert_eq!(choose(&contests(&[(0.0, 1.0); 5]), "pseudo-queries", 1).queries, 5);
        assert_eq!(choose(&[], "pseudo-queries", 1).fusion, without_dense().fusion);
    }

    #[test]
    fn the_best_placed_of_several_right_passages_counts() {
        let mut contest = contests(&[(9.5, 0.0)]).remove(0);
        let one = reciprocal_rank(&contest, 0.0);
        assert_eq!(one, 0.5, "one rival has a higher sparse score");
        contest.candidates.insert(1, candidate(Ordinal(98), 20.0, 0.0));
        contest.right = 2;
        assert_eq!(reciprocal_rank(&contest, 0.0), 1.0);
    }

    #[test]
    fn a_weight_per_query_is_taken_and_judged_by_questions_it_was_not_fitted_on() {
        // One half is answered by the dense side, the other by the sparse one, and one feature says which.
        let of_both = |told: bool| {
            let places: Vec<(f64, f64)> =
                (0..400).map(|i| if i % 2 == 0 { (10.5, 0.0) } else { (4.5, 0.95) }).collect();
            let mut contests = contests(&places);
            for (i, contest) in contests.iter_mut().enumerate() {
                contest.group = i as u32;
                contest.features[4] = if told { (i % 2) as f64 } else { ((i / 2) % 2) as f64 };
            }
            choose(&contests, "pseudo-queries", 1)
        };
        let record = of_both(true);
        let Fusion::PerQuery(predictor) = record.fusion else { panic!("{record:?}") };
        let with = |value: f64| {
            let mut features = [0.0; COUNT];
            features[4] = value;
            predictor.weight(&features)
        };
        assert!(with(1.0) > with(0.0) + 0.3, "{} {}", with(1.0), with(0.0));
        // A feature that says nothing teaches nothing that would hold elsewhere: what is reported does not flatter it.
        assert!(record.reciprocal_ranks.unwrap()[2] > of_both(false).reciprocal_ranks.unwrap()[2] + 0.05);
    }
}

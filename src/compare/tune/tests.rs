//! Planted contests: what is there is found, what is not is not claimed.

use super::*;
use crate::collection::Ordinal;
use crate::fusion::Candidate;
use crate::fusion::predict::COUNT;
use crate::progress::Silent;

/// Candidates of a contest.
const RIVALS: usize = 12;

/// Contests in which the right passage's two scores stand out by so much, in standard deviations of the rivals'; the
/// first feature is 1 where `kind` says so.
fn planted(n: usize, seed: u64, stands_out: impl Fn(bool) -> (f64, f64)) -> Vec<Contest> {
    let mut random = Random::new(seed);
    let contest = |q: usize| {
        let kind = random.below(2) == 1;
        let right = random.below(RIVALS);
        let (sparse, dense) = stands_out(kind);
        let scores: Vec<(f64, f64)> = (0..RIVALS)
            .map(|i| {
                let out = if i == right { (sparse, dense) } else { (0.0, 0.0) };
                (10.0 + 2.0 * (random.normal() + out.0), 0.3 + 0.1 * (random.normal() + out.1))
            })
            .collect();
        let rank = |at: usize, score: &dyn Fn(&(f64, f64)) -> f64| {
            1 + scores.iter().filter(|other| score(other) > score(&scores[at])).count()
        };
        let candidate = |i: usize| Candidate {
            ordinal: Ordinal(i as u32),
            sparse: scores[i].0,
            dense: scores[i].1,
            sparse_rank: Some(rank(i, &|s| s.0)),
            dense_rank: Some(rank(i, &|s| s.1)),
        };
        let mut features: [f64; COUNT] = std::array::from_fn(|_| random.normal());
        features[0] = f64::from(u8::from(kind)) + 0.2 * random.normal();
        Contest {
            group: q,
            features,
            candidates: (0..RIVALS).map(candidate).collect(),
            documents: (0..RIVALS as u32).collect(),
            grades: (0..RIVALS).map(|i| (i == right).then_some(1)).collect(),
            ideal: vec![1],
        }
    };
    (0..n).map(contest).collect()
}

fn options(present: f64) -> TuneOptions {
    let present = Fusion::Convex { weight: present, normalizer: Normalizer::MinMax };
    TuneOptions { measure: "nDCG@10".parse().unwrap(), present, seed: 1 }
}

#[test]
fn a_planted_weight_is_found_and_its_gain_proven() {
    // The dense side knows much better; the present fusion does not trust it.
    let contests = planted(300, 1, |_| (0.5, 2.0));
    let tuning = tune(&contests, &options(0.0), &Silent).unwrap();
    assert!(tuning.is_proven() && tuning.against_present.mean_difference > 0.1, "{tuning:?}");
    let Fusion::Convex { weight, .. } = tuning.families[0].2 else { panic!("{tuning:?}") };
    assert!((0.6..1.0).contains(&weight), "{weight}");
    assert_eq!(tuning.better_side.0, "dense alone");
    assert_eq!((tuning.queries, tuning.groups, tuning.chosen.len()), (300, 300, FOLDS));
    assert_eq!(tuning, tune(&contests, &options(0.0), &Silent).unwrap(), "the same twice");
}

#[test]
fn two_populations_need_a_weight_per_query() {
    let contests = planted(400, 2, |dense| if dense { (-0.5, 2.5) } else { (2.5, -0.5) });
    let tuning = tune(&contests, &options(0.5), &Silent).unwrap();
    assert!(tuning.is_proven(), "{tuning:?}");
    assert!(matches!(tuning.found, Fusion::PerQuery(_)) && tuning.chosen.iter().all(|name| name == "per-query weight"));
    let reached: Vec<f64> = tuning.families.iter().map(|(_, mean, _)| *mean).collect();
    let per_query = reached[reached.len() - 1];
    assert!(reached[..reached.len() - 1].iter().all(|fixed| per_query > fixed + 0.05), "{reached:?}");
    assert!(tuning.predictor.effects[0].coefficient > 0.5, "{:?}", tuning.predictor);
    assert!(tuning.per_query.iter().all(|paired| paired.is_gain()));
}

#[test]
fn on_shuffled_labels_no_gain_is_proven_at_least_95_times_in_100() {
    let mut proven = 0;
    for seed in 0..100 {
        // Both sides know something, so that fusions differ; then each query gets another one's right passage.
        let mut contests = planted(60, 1000 + seed, |_| (1.0, 1.0));
        let mut labels: Vec<_> = contests.iter().map(|contest| contest.grades.clone()).collect();
        Random::new(seed).shuffle(&mut labels);
        contests.iter_mut().zip(labels).for_each(|(contest, grades)| contest.grades = grades);
        let tuning = tune(&contests, &TuneOptions { seed, ..options(0.3) }, &Silent).unwrap();
        proven += usize::from(tuning.is_proven());
    }
    assert!(proven <= 5, "{proven} of 100");
}

#[test]
fn groups_are_never_split_and_too_few_are_refused() {
    let mut contests = planted(60, 3, |_| (1.0, 1.0));
    contests.iter_mut().enumerate().for_each(|(q, contest)| contest.group = q / 5);
    let (options, all) = (options(0.3), (0..60).collect::<Vec<_>>());
    let site = Site::new(&contests, &options, &Silent).unwrap();
    let folds = site.folds(&all, FOLDS, "outer");
    assert!(folds.iter().all(|fold| (10..=15).contains(&fold.len())), "{folds:?}");
    for group in 0..12 {
        let holding = folds.iter().filter(|fold| fold.iter().any(|q| contests[*q].group == group));
        assert_eq!(holding.count(), 1);
    }
    contests.iter_mut().for_each(|contest| contest.group %= 9);
    let error = tune(&contests, &options, &Silent).unwrap_err().to_string();
    assert!(error.contains("60 judged queries in 9 groups"), "{error}");
    let answers = TuneOptions { measure: "answer-recall@20".parse().unwrap(), ..options };
    assert!(tune(&contests, &answers, &Silent).unwrap_err().to_string().contains("asks for answers"));
}

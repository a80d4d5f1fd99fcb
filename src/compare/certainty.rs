//! How sure each figure of a comparison is: intervals, paired tests, their correction, and what could not have been seen.

use super::SystemResult;
use crate::eval::Evaluation;
use crate::eval::significance::{ENOUGH, Paired, detectable, deviation, holm, mean_interval, paired, queries_for};

/// Of the resampling behind the intervals: the same runs give the same intervals.
pub(super) const SEED: u64 = 1;
/// One point of a measure.
pub const POINT: f64 = 0.01;

/// Where a system stands against the baseline on one measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Proven better.
    Better,
    /// Proven worse.
    Worse,
    /// Not proven to differ, which is no proof that it does not.
    Open,
}

/// What the queries can show of the difference between two systems on one measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detectable {
    /// Queries that have a value in both.
    pub n: usize,
    /// Standard deviation of their differences.
    pub deviation: f64,
    /// The smallest true difference that so many queries show with power .8 at two-sided p < .05; 0 where no query
    /// differs.
    pub effect: f64,
    /// Queries that could show a difference of one [`POINT`]; `None` where no query differs.
    pub for_one_point: Option<usize>,
}

impl SystemResult {
    /// Where it stands against the baseline on measure `m`: better or worse only over at least [`ENOUGH`] queries with a
    /// p < .05 of the randomisation test, corrected for as many systems as were compared (Holm).
    pub fn standing(&self, m: usize) -> Standing {
        let test = self.differences.get(m).copied().flatten();
        match (test, self.p_holm.get(m).copied().flatten()) {
            (Some(test), Some(p)) if test.n >= ENOUGH && p < 0.05 && test.mean_difference != 0.0 => {
                if test.mean_difference > 0.0 { Standing::Better } else { Standing::Worse }
            }
            _ => Standing::Open,
        }
    }
}

/// The 95 % interval of each measure's mean; `None` where no query has a value.
pub(super) fn intervals(evaluation: &Evaluation) -> Vec<Option<(f64, f64)>> {
    let of = |values: &Vec<Option<f64>>| {
        let values: Vec<f64> = values.iter().copied().flatten().collect();
        (!values.is_empty()).then(|| mean_interval(&values))
    };
    evaluation.values.iter().map(of).collect()
}

/// Values of queries that have one in both, a measure at a time.
fn in_both<'a>(
    system: &'a Evaluation,
    reference: &'a Evaluation,
) -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> + use<'a> {
    system.values.iter().zip(&reference.values).map(|(values, theirs)| {
        values.iter().zip(theirs).filter_map(|(value, their)| Some(((*value)?, (*their)?))).unzip()
    })
}

/// The paired difference on each measure, over the queries that have a value in both.
pub(super) fn differences(system: &Evaluation, baseline: &Evaluation) -> Vec<Option<Paired>> {
    in_both(system, baseline).map(|(a, b)| (!a.is_empty()).then(|| paired(&a, &b, SEED))).collect()
}

/// What the queries can show on each measure; `None` with fewer than two.
pub(super) fn shown(system: &Evaluation, reference: &Evaluation) -> Vec<Option<Detectable>> {
    let of = |(a, b): (Vec<f64>, Vec<f64>)| {
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        let (n, deviation) = (differences.len(), deviation(&differences));
        let for_one_point = queries_for(deviation, POINT).filter(|_| deviation > 0.0);
        (n >= 2).then(|| Detectable { n, deviation, effect: detectable(deviation, n), for_one_point })
    };
    in_both(system, reference).map(of).collect()
}

/// Corrects the systems' tests, measure by measure: the family is all systems that have one.
pub(super) fn correct(systems: &mut [SystemResult]) {
    let measures = systems.iter().map(|system| system.differences.len()).max().unwrap_or(0);
    for system in systems.iter_mut() {
        system.p_holm = vec![None; system.differences.len()];
    }
    for m in 0..measures {
        let family: Vec<(usize, f64)> = systems
            .iter()
            .enumerate()
            .filter_map(|(i, system)| Some((i, system.differences.get(m).copied().flatten()?.p_randomization)))
            .collect();
        let corrected = holm(&family.iter().map(|(_, p)| *p).collect::<Vec<_>>());
        for ((i, _), p) in family.iter().zip(corrected) {
            systems[*i].p_holm[m] = Some(p);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::QueryId;
    use crate::collection::run::Run;
    use crate::eval::Measure;

    fn system(name: &str, values: &[f64]) -> SystemResult {
        let evaluation = Evaluation {
            measures: vec![Measure::Recall(1)],
            queries: (0..values.len()).map(|i| QueryId::from(format!("q{i:03}"))).collect(),
            values: vec![values.iter().copied().map(Some).collect()],
        };
        SystemResult::of(name.to_string(), Run::new(name), evaluation)
    }

    /// 40 queries; the first `better` are found where the baseline finds none, the last `worse` the other way round.
    fn pair(better: usize, worse: usize) -> (Vec<f64>, Vec<f64>) {
        let a = (0..40).map(|i| f64::from(i < better)).collect();
        let b = (0..40).map(|i| f64::from(i >= 40 - worse)).collect();
        (a, b)
    }

    #[test]
    fn what_one_test_proves_many_may_not() {
        // 7 against 0: of 2⁷ sign patterns two are as far, p = .0156.
        let (values, base) = pair(7, 0);
        let against = |name: &str, values: &[f64]| {
            let mut one = system(name, values);
            one.differences = differences(&one.evaluation, &system("base", &base).evaluation);
            one
        };
        let standing = |others: usize| {
            let mut systems = vec![system("base", &base), against("good", &values)];
            systems.extend((0..others).map(|i| against(&format!("same{i}"), &base)));
            correct(&mut systems);
            assert_eq!(systems[0].standing(0), Standing::Open, "the baseline itself");
            assert_eq!(systems.get(2).map_or(Standing::Open, |same| same.standing(0)), Standing::Open);
            (systems[1].standing(0), systems[1].p_holm[0].unwrap())
        };
        assert_eq!(standing(0), (Standing::Better, 0.015625));
        assert_eq!(standing(2), (Standing::Better, 3.0 * 0.015625));
        assert_eq!(standing(3), (Standing::Open, 4.0 * 0.015625));
    }

    #[test]
    fn the_mark_has_a_direction_and_needs_enough_queries() {
        let standing = |a: &[f64], b: &[f64]| {
            let mut systems = vec![system("a", a)];
            systems[0].differences = differences(&systems[0].evaluation, &system("b", b).evaluation);
            correct(&mut systems);
            systems[0].standing(0)
        };
        let (a, b) = pair(1, 12);
        assert_eq!((standing(&a, &b), standing(&b, &a)), (Standing::Worse, Standing::Better));
        assert_eq!(standing(&[1.0; 19], &[0.0; 19]), Standing::Open);
    }

    #[test]
    fn what_can_be_shown_follows_from_the_differences_alone() {
        let (a, b) = pair(8, 4);
        let found = shown(&system("a", &a).evaluation, &system("b", &b).evaluation)[0].unwrap();
        // Twelve differences of ±1 among 40, mean .1: s² = (12 − 40 · .01) / 39.
        let deviation = (11.6f64 / 39.0).sqrt();
        assert!((found.deviation - deviation).abs() < 1e-12 && found.n == 40, "{found:?}");
        // t_{.975,39} + t_{.8,39} = 2.0227 + .8512.
        assert!((found.effect - 2.8739 * deviation / 40f64.sqrt()).abs() < 1e-4, "{found:?}");
        assert_eq!(found.for_one_point.map(|n| n / 1000), Some(23));
        let same = shown(&system("a", &a).evaluation, &system("a", &a).evaluation)[0].unwrap();
        assert_eq!((same.effect, same.for_one_point), (0.0, None));
        assert_eq!(shown(&system("a", &[1.0]).evaluation, &system("b", &[0.0]).evaluation), [None]);
    }
}

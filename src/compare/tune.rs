//! Fusion chosen with evidence: method, weight and per-query weight by nested cross-validation on judged queries.
//!
//! In flow [`Contest`]s, one a judged query: its candidates with both sides' scores, their grades, its features; out flows a
//! [`Tuning`]. Several **families** compete: the index's present fusion, convex combinations under three normalisers (21
//! weights each), reciprocal rank fusion (9 constants), and the per-query weight ([`predict`]), which
//! begins with the best of the convex ones.
//!
//! ```text
//! outer folds:  ▓▓▓▓ ░ held out        the family is chosen and fitted on ▓ alone, and measured on ░
//!   inner folds: ▓▓▓ ▒                 each family is fitted on ▓ and measured on ▒; the best mean wins
//! ```
//!
//! Every query is held out once, so the mean over all of them says what the whole procedure, choice included, reaches on
//! queries it has not seen; its paired difference to the present fusion has an interval. Where that proves no gain
//! ([`Paired::is_gain`]), the present fusion is kept: "no gain proven" is an answer. Queries that share a gold passage are
//! one **group**, and a group is never on both sides of a fold: five questions about one paragraph would else tell each
//! other's answer.
//!
//! Cost: one search a query; then, a query, some 75 sorts of its candidates, and 26 fits of the logistic model.
//! Source: S. Varma and R. Simon, "Bias in error estimation when using cross-validation for model selection", 2006.

mod contest;

pub use contest::{Contest, contests};

use crate::error::{Error, Result};
use crate::eval::Measure;
use crate::eval::significance::{Paired, paired};
use crate::fusion::normalize::Side;
use crate::fusion::{Fusion, Normalizer, Predictor, predict};
use crate::progress::{Progress, Stage};
use crate::random::Random;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// How to tune.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// What is maximised: a measure against judgments.
    pub measure: Measure,
    /// The index's own fusion, which stays where nothing better is proven.
    pub present: Fusion,
    /// Of the folds and of the resampling.
    pub seed: u64,
}

/// Outer folds: a fifth of the queries is held out at a time.
pub const FOLDS: usize = 5;

/// Inner folds, which choose the family.
const INNER: usize = 4;

/// Weights a convex family tries, 0 to 1.
const GRID: usize = 20;

/// Constants that reciprocal rank fusion tries.
const CONSTANTS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 100.0, 200.0];

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Judged queries.
    pub queries: usize,
    /// Groups of queries that share a gold passage.
    pub groups: usize,
    /// What needs no fitting, with its mean: both sides alone, RRF, equal weights, the present fusion.
    pub fixed: Vec<(String, f64)>,
    /// Each family with its mean on folds it was not fitted on, and what it is when fitted on all queries.
    pub families: Vec<(String, f64, Fusion)>,
    /// The family chosen in each outer fold.
    pub chosen: Vec<String>,
    /// Mean of the whole procedure on held-out folds.
    pub tuned: f64,
    /// The procedure less the present fusion, paired over held-out queries.
    pub against_present: Paired,
    /// The better side's name, and the procedure less it.
    pub better_side: (String, Paired),
    /// The per-query weight less the better side, and less RRF and equal weights, on folds it was not fitted on.
    pub per_query: [Paired; 3],
    /// The per-query weight, fitted on all queries.
    pub predictor: Predictor,
    /// What the procedure gives on all queries.
    pub found: Fusion,
}

impl Tuning {
    /// Whether the gain against the present fusion is proven.
    pub fn is_proven(&self) -> bool {
        self.against_present.is_gain()
    }
}

/// Chooses and fits a fusion on judged queries. Fails where fewer than two groups of queries could be told apart, or the
/// measure asks for answers.
pub fn tune(contests: &[Contest], options: &TuneOptions, progress: &dyn Progress) -> Result<Tuning> {
    if options.measure.matching().is_some() {
        let message = format!("fusion is tuned against judgments, and `{}` asks for answers", options.measure);
        return Err(Error::usage(message).hint("name a measure such as `nDCG@10` or `R@20` first"));
    }
    let mut groups: Vec<usize> = contests.iter().map(|contest| contest.group).collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() < 2 * FOLDS {
        let message = format!(
            "{} judged queries in {} groups that share no gold passage are too few for {FOLDS} folds",
            contests.len(),
            groups.len()
        );
        return Err(Error::bad_input(message).hint(format!("at least {} groups are needed", 2 * FOLDS)));
    }
    let site = Site::new(contests, options, progress)?;
    let all: Vec<usize> = (0..contests.len()).collect();
    let folds = site.folds(&all, FOLDS, "outer");
    let mut held_out = vec![0.0; contests.len()];
    let mut by_family = vec![vec![0.0; contests.len()]; site.families.len()];
    let mut chosen = Vec::new();
    for fold in &folds {
        progress.checkpoint()?;
        let training = without(&all, fold);
        let best = site.choose(&training);
        chosen.push(site.families[best].name.clone());
        for (f, values) in by_family.iter_mut().enumerate() {
            let fitted = site.fit(f, &training);
            fold.iter().for_each(|q| values[*q] = site.value(&fitted, *q));
        }
        fold.iter().for_each(|q| held_out[*q] = by_family[best][*q]);
    }
    let found = site.fit(site.choose(&all), &all).fusion();
    let column = |fusion: &Fusion| site.column(fusion);
    let sides = [("sparse alone", site.side(Side::Sparse)), ("dense alone", site.side(Side::Dense))];
    let better = if mean(&sides[1].1) > mean(&sides[0].1) { &sides[1] } else { &sides[0] };
    let even = Fusion::Convex { weight: 0.5, normalizer: Normalizer::MinMax };
    let (rrf, even_values, present) = (column(&Fusion::RRF), column(&even), column(&options.present));
    let mut fixed: Vec<(String, f64)> = sides.iter().map(|(name, values)| (name.to_string(), mean(values))).collect();
    let own = format!("the index's own, {}", options.present);
    for (name, values) in
        [(Fusion::RRF.to_string(), &rrf), ("equal weights, min-max".into(), &even_values), (own, &present)]
    {
        fixed.push((name, mean(values)));
    }
    let compared = |ours: &[f64], theirs: &[f64]| paired(ours, theirs, options.seed);
    let per_query = &by_family[site.families.len() - 1];
    let families = site.families.iter().enumerate().skip(1);
    Ok(Tuning {
        queries: contests.len(),
        groups: groups.len(),
        fixed,
        families: families
            .map(|(f, family)| (family.name.clone(), mean(&by_family[f]), site.fit(f, &all).fusion()))
            .collect(),
        chosen,
        tuned: mean(&held_out),
        against_present: compared(&held_out, &present),
        better_side: (better.0.to_string(), compared(&held_out, &better.1)),
        per_query: [&better.1, &rrf, &even_values].map(|theirs| compared(per_query, theirs)),
        predictor: site.predictor(&all),
        found,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The sorted numbers of `all` that are not in `out`.
fn without(all: &[usize], out: &[usize]) -> Vec<usize> {
    let out: std::collections::HashSet<&usize> = out.iter().collect();
    all.iter().filter(|q| !out.contains(q)).copied().collect()
}

/// Fusions of which one is taken by its mean, or a model fitted.
struct Family {
    name: String,
    /// `None` for the per-query weight.
    members: Option<Vec<Member>>,
}

/// A fusion and its value for every query.
struct Member {
    fusion: Fusion,
    values: Vec<f64>,
}

/// A family fitted on some queries.
enum Fitted<'a> {
    Fixed(&'a Member),
    PerQuery(Predictor),
}

impl Fitted<'_> {
    fn fusion(&self) -> Fusion {
        match self {
            Fitted::Fixed(member) => member.fusion,
            Fitted::PerQuery(predictor) => Fusion::PerQuery(*predictor),
        }
    }
}

/// Everything that is tuned on, measured once.
struct Site<'a> {
    contests: &'a [Contest],
    options: &'a TuneOptions,
    families: Vec<Family>,
}

/// Normalisers of the convex families, which follow the index's own fusion.
const NORMALIZERS: [Normalizer; 3] = [Normalizer::MinMax, Normalizer::TheoreticalMinMax, Normalizer::ZScore];

impl<'a> Site<'a> {
    fn new(contests: &'a [Contest], options: &'a TuneOptions, progress: &dyn Progress) -> Result<Self> {
        let convex = |normalizer: Normalizer| {
            let at = move |step: usize| Fusion::Convex { weight: step as f64 / GRID as f64, normalizer };
            (format!("convex, {normalizer}"), (0..=GRID).map(at).collect::<Vec<_>>())
        };
        let mut families = vec![("the index's own".to_string(), vec![options.present])];
        families.extend(NORMALIZERS.map(convex));
        families.push(("rrf".into(), CONSTANTS.map(|k| Fusion::Rrf { k }).to_vec()));
        let mut site = Site { contests, options, families: Vec::new() };
        let total: usize = families.iter().map(|(_, fusions)| fusions.len()).sum();
        progress.begin(Stage::Calibrating, Some(total as u64));
        for (name, fusions) in families {
            let mut members = Vec::with_capacity(fusions.len());
            for fusion in fusions {
                progress.checkpoint()?;
                members.push(Member { fusion, values: site.column(&fusion) });
                progress.advance(Stage::Calibrating, 1);
            }
            site.families.push(Family { name, members: Some(members) });
        }
        progress.finish(Stage::Calibrating);
        site.families.push(Family { name: "per-query weight".into(), members: None });
        Ok(site)
    }

    /// Every query's measure under a fusion.
    fn column(&self, fusion: &Fusion) -> Vec<f64> {
        self.contests.par_iter().map(|contest| contest.value(fusion, self.options.measure)).collect()
    }

    /// Every query's measure of one side's list alone.
    fn side(&self, side: Side) -> Vec<f64> {
        self.contests.par_iter().map(|contest| contest.value_of_list(side, self.options.measure)).collect()
    }

    /// Cuts queries into folds of whole groups, as equal as the groups allow.
    fn folds(&self, queries: &[usize], count: usize, name: &str) -> Vec<Vec<usize>> {
        let mut groups: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
        queries.iter().for_each(|q| groups.entry(self.contests[*q].group).or_default().push(*q));
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        Random::of(self.options.seed, name).shuffle(&mut groups);
        // The largest groups first, each into the emptiest fold.
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut folds = vec![Vec::new(); count];
        for group in groups {
            let emptiest = (0..count).min_by_key(|fold| folds[*fold].len()).unwrap_or(0);
            folds[emptiest].extend(group);
        }
        folds
    }

    /// The family with the best mean over inner folds; of equal ones the first, which is the simpler.
    fn choose(&self, queries: &[usize]) -> usize {
        let folds = self.folds(queries, INNER, "inner");
        let mut sums = vec![0.0; self.families.len()];
        for fold in &folds {
            let training = without(queries, fold);
            for (f, sum) in sums.iter_mut().enumerate() {
                let fitted = self.fit(f, &training);
                *sum += fold.iter().map(|q| self.value(&fitted, *q)).sum::<f64>();
            }
        }
        (0..sums.len()).fold(0, |best, f| if sums[f] > sums[best] + 1e-9 { f } else { best })
    }

    /// A family's best member on some queries, or its model fitted on them.
    fn fit(&self, family: usize, queries: &[usize]) -> Fitted<'_> {
        match &self.families[family].members {
            Some(members) => Fitted::Fixed(best(members, queries)),
            None => Fitted::PerQuery(self.predictor(queries)),
        }
    }

    /// The per-query weight, begun with the best convex combination and under its normaliser.
    fn predictor(&self, queries: &[usize]) -> Predictor {
        let convex = self.families[1..=NORMALIZERS.len()].iter().filter_map(|family| family.members.as_deref());
        let sum = |member: &Member| queries.iter().map(|q| member.values[*q]).sum::<f64>();
        let begun = convex.map(|members| (members, best(members, queries)));
        let (members, start) = begun
            .reduce(|one, other| if sum(other.1) > sum(one.1) + 1e-9 { other } else { one })
            .map_or((&[][..], self.options.present), |(members, best)| (members, best.fusion));
        let (weight, normalizer) = match start {
            Fusion::Convex { weight, normalizer } => (weight, normalizer),
            _ => (0.5, Normalizer::MinMax),
        };
        let rows: Vec<_> = queries.iter().map(|q| self.contests[*q].features).collect();
        let utilities: Vec<Vec<f64>> =
            queries.iter().map(|q| members.iter().map(|member| member.values[*q]).collect()).collect();
        Predictor::fit(&rows, &utilities, weight, predict::PENALTY / queries.len().max(1) as f64, normalizer)
    }

    fn value(&self, fitted: &Fitted<'_>, query: usize) -> f64 {
        match fitted {
            Fitted::Fixed(member) => member.values[query],
            Fitted::PerQuery(_) => self.contests[query].value(&fitted.fusion(), self.options.measure),
        }
    }
}

/// The member with the best mean over some queries; of equal ones the first.
fn best<'m>(members: &'m [Member], queries: &[usize]) -> &'m Member {
    let sum = |member: &Member| queries.iter().map(|q| member.values[*q]).sum::<f64>();
    let sums: Vec<f64> = members.iter().map(sum).collect();
    &members[(0..members.len()).fold(0, |best, m| if sums[m] > sums[best] + 1e-9 { m } else { best })]
}

#[cfg(test)]
mod tests;

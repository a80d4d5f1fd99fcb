//! Where negatives come from, alone or mixed, and how many of a query's negatives each source gives.

use crate::error::{Error, Result};
use crate::random::Random;
use std::fmt;
use std::str::FromStr;

/// What offers candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The best passages by shared words.
    Sparse,
    /// The best passages by vectors.
    Dense,
    /// Both, fused.
    Hybrid,
    /// Among the sparse side's best and not among the dense side's: words that mislead.
    SparseOnly,
    /// Among the dense side's best and not among the sparse side's: meanings that mislead.
    DenseOnly,
    /// Any passage, all alike.
    Random,
}

impl Source {
    const ALL: [Source; 6] =
        [Source::Sparse, Source::Dense, Source::Hybrid, Source::SparseOnly, Source::DenseOnly, Source::Random];

    /// The name commands and files use.
    pub fn name(self) -> &'static str {
        match self {
            Source::Sparse => "sparse",
            Source::Dense => "dense",
            Source::Hybrid => "hybrid",
            Source::SparseOnly => "sparse-only",
            Source::DenseOnly => "dense-only",
            Source::Random => "random",
        }
    }

    /// Whether the dense side has to be searched.
    pub fn needs_dense(self) -> bool {
        !matches!(self, Source::Sparse | Source::Random)
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Source::ALL.into_iter().find(|source| source.name() == text).ok_or_else(|| {
            Error::usage(format!("`{text}` is no source of negatives"))
                .hint("one of sparse, dense, hybrid, sparse-only, dense-only, random, or `mix:sparse=.7,random=.3`")
        })
    }
}

/// Sources with their shares of the negatives; shares add up to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(Vec<(Source, f64)>);

impl Mix {
    /// One source alone.
    pub fn of(source: Source) -> Self {
        Mix(vec![(source, 1.0)])
    }

    /// Several sources by weight; refuses none, a repeated one, and weights that are not above 0.
    pub fn weighted(parts: Vec<(Source, f64)>) -> Result<Self> {
        let sum: f64 = parts.iter().map(|(_, weight)| weight).sum();
        let repeated = |i: usize| parts[..i].iter().any(|(source, _)| *source == parts[i].0);
        if parts.is_empty() || !sum.is_finite() || parts.iter().any(|(_, weight)| *weight <= 0.0) {
            return Err(Error::usage("every source of a mix needs a share above 0")
                .hint("write shares such as `mix:sparse=.7,random=.3`"));
        }
        if let Some(i) = (0..parts.len()).find(|i| repeated(*i)) {
            return Err(Error::usage(format!("the mix names `{}` twice", parts[i].0.name())));
        }
        Ok(Mix(parts.into_iter().map(|(source, weight)| (source, weight / sum)).collect()))
    }

    /// The sources in the order they were named, with shares that add up to 1.
    pub fn parts(&self) -> &[(Source, f64)] {
        &self.0
    }

    /// Whether any source has to search the dense side.
    pub fn needs_dense(&self) -> bool {
        self.0.iter().any(|(source, _)| source.needs_dense())
    }

    /// How many of `n` negatives each source gives a query.
    ///
    /// Whole parts of `n · share` are given out first; each of the few that remain is drawn with the fractional parts as
    /// odds. So every query comes as near to the shares as whole numbers allow, and over many queries the shares hold
    /// also where `n` is 1 (rounding to the largest remainder would then never ask the smaller source).
    pub(super) fn quotas(&self, n: usize, random: &mut Random) -> Vec<usize> {
        let exact: Vec<f64> = self.0.iter().map(|(_, share)| share * n as f64).collect();
        // A hair is added so that .1 · 10 counts as a whole.
        let mut quotas: Vec<usize> = exact.iter().map(|exact| (exact + 1e-9).floor() as usize).collect();
        let mut odds: Vec<f64> = exact.iter().zip(&quotas).map(|(x, whole)| (x - *whole as f64).max(0.0)).collect();
        for _ in quotas.iter().sum::<usize>()..n {
            let mut left = random.unit() * odds.iter().sum::<f64>();
            let last = odds.iter().rposition(|odds| *odds > 0.0).unwrap_or(0);
            let drawn = odds.iter().position(|odds| {
                left -= odds;
                left < 0.0
            });
            let drawn = drawn.unwrap_or(last);
            quotas[drawn] += 1;
            odds[drawn] = 0.0;
        }
        quotas
    }
}

impl FromStr for Mix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(list) = text.strip_prefix("mix:") else { return text.parse().map(Mix::of) };
        let part = |part: &str| {
            let (name, share) = part.split_once('=').unwrap_or((part, "1"));
            let share = share.trim().parse().map_err(|_| {
                Error::usage(format!("`{share}` is no share of a mix")).hint("write `mix:sparse=.7,random=.3`")
            })?;
            Ok((name.trim().parse()?, share))
        };
        Mix::weighted(list.split(',').map(part).collect::<Result<_>>()?)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [(source, _)] => f.write_str(source.name()),
            parts => {
                let parts: Vec<String> =
                    parts.iter().map(|(source, share)| format!("{}={share:.2}", source.name())).collect();
                write!(f, "mix:{}", parts.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mixes_are_read_and_refused() {
        let mix: Mix = "mix:sparse=7, random=3".parse().unwrap();
        assert_eq!(mix.parts(), [(Source::Sparse, 0.7), (Source::Random, 0.3)]);
        assert_eq!(mix.to_string().parse::<Mix>().unwrap(), mix);
        assert!(!mix.needs_dense() && "dense-only".parse::<Mix>().unwrap().needs_dense());
        for wrong in ["", "bm25", "mix:", "mix:sparse=0", "mix:sparse=x", "mix:sparse=.5,sparse=.5", "mix:sparse=inf"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_hold_over_many_queries_even_for_one_negative() {
        let mix: Mix = "mix:sparse=.7,dense=.2,random=.1".parse().unwrap();
        let mut sums = [0.0; 3];
        for query in 0..20_000 {
            let quotas = mix.quotas(1, &mut Random::of(3, &format!("q{query}")));
            (0..3).for_each(|i| sums[i] += quotas[i] as f64 / 20_000.0);
        }
        // Four standard errors of a share are at most 4 √(.25 / 20,000) = .014.
        for (sum, share) in sums.iter().zip([0.7, 0.2, 0.1]) {
            assert!((sum - share).abs() < 0.014, "{sums:?}");
        }
        assert_eq!(mix.quotas(10, &mut Random::new(1)), [7, 2, 1]);
    }

    proptest! {
        #[test]
        fn quotas_add_up_and_stay_within_one(a in 0.01f64..1.0, b in 0.01f64..1.0, n in 0usize..40, seed: u64) {
            let mix = Mix::weighted(vec![(Source::Sparse, a), (Source::Dense, b), (Source::Random, 0.5)]).unwrap();
            let quotas = mix.quotas(n, &mut Random::new(seed));
            prop_assert_eq!(quotas.iter().sum::<usize>(), n);
            for (quota, (_, share)) in quotas.iter().zip(mix.parts()) {
                prop_assert!((*quota as f64 - share * n as f64).abs() < 1.0 + 1e-6);
            }
        }
    }
}

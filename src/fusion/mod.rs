//! One ranking out of two: sparse and dense scores of the same candidates, joined per query.
//!
//! In flow [`Candidate`]s, each **scored on both sides** (complete scoring: a passage only one side retrieved is scored
//! by the other too, so no rule for missing passages is needed); out flows one [`Ranking`]. Two methods:
//!
//! - **Convex combination** `(1 − w) · s′ + w · d′`, with `s′`, `d′` the sides' scores normalised over this query's
//!   candidates ([`normalize`]) and `w ∈ [0, 1]` the dense weight. It keeps how *much* better a passage is.
//! - **Reciprocal rank fusion** `Σ 1 / (k + rank)`, ranks from 1 among the candidates, `k` = 60 by default. It needs no
//!   weight, but trusts both sides alike: a weak side drags the result down.
//!
//! ```
//! use parallax::fusion::{fuse, Candidate, Fusion, Normalizer};
//! use parallax::Ordinal;
//! let candidate = |ordinal, sparse, dense| Candidate { ordinal: Ordinal(ordinal), sparse, dense };
//! // Sparse prefers 0 (min-max 1, 0, .5), dense prefers 2 (0, .5, 1); at w = .5 their sums are .5, .25, .75.
//! let candidates = [candidate(0, 6.0, 0.2), candidate(1, 2.0, 0.4), candidate(2, 4.0, 0.6)];
//! let fusion = Fusion::Convex { weight: 0.5, normalizer: Normalizer::MinMax };
//! let fused: Vec<(u32, f64)> = fuse(&candidates, &fusion).iter().map(|(o, s)| (o.0, (s * 100.0).round() / 100.0)).collect();
//! assert_eq!(fused, [(2, 0.75), (0, 0.5), (1, 0.25)]);
//! ```
//!
//! Cost: linear for the convex combination, a sort for reciprocal ranks. Sources: Cormack, Clarke & Büttcher,
//! "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods", 2009; Bruch, Gai & Ingber,
//! "An Analysis of Fusion Functions for Hybrid Retrieval", 2023.

pub mod normalize;

pub use normalize::Normalizer;

use crate::collection::Ordinal;
use crate::collection::run::Ranking;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A passage with its raw score on each side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which passage.
    pub ordinal: Ordinal,
    /// BM25 or TF-IDF score; 0 where it shares no term with the query.
    pub sparse: f64,
    /// Inner product or cosine.
    pub dense: f64,
}

/// How two sides become one ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Fusion {
    /// Weighted sum of normalised scores.
    Convex {
        /// The dense side's share, 0 (sparse alone decides) to 1 (dense alone decides).
        weight: f64,
        /// How raw scores are made comparable.
        normalizer: Normalizer,
    },
    /// Reciprocal rank fusion.
    Rrf {
        /// Added to each rank; larger flattens the difference between top ranks.
        k: f64,
    },
}

impl Fusion {
    /// Reciprocal rank fusion as its paper proposes it.
    pub const RRF: Fusion = Fusion::Rrf { k: 60.0 };

    /// Refuses weights outside 0 to 1 and constants that are not positive.
    pub fn check(&self) -> Result<()> {
        match *self {
            Fusion::Convex { weight, .. } if !(0.0..=1.0).contains(&weight) => {
                Err(Error::usage(format!("the fusion weight is {weight}, not between 0 and 1")))
            }
            Fusion::Rrf { k } if !(k.is_finite() && k > 0.0) => {
                Err(Error::usage(format!("the constant of reciprocal rank fusion is {k}, not above 0")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fusion::Convex { weight, normalizer } => write!(f, "convex({normalizer}, dense weight {weight:.2})"),
            Fusion::Rrf { k } => write!(f, "rrf(k={k})"),
        }
    }
}

/// Joins both sides' scores into one ranking of all candidates; equal scores go to the smaller ordinal.
pub fn fuse(candidates: &[Candidate], fusion: &Fusion) -> Ranking<Ordinal> {
    let sparse: Vec<f64> = candidates.iter().map(|candidate| candidate.sparse).collect();
    let dense: Vec<f64> = candidates.iter().map(|candidate| candidate.dense).collect();
    let joined: Vec<f64> = match *fusion {
        Fusion::Convex { weight, normalizer } => {
            let sparse = normalizer.apply(&sparse, 0.0);
            let dense = normalizer.apply(&dense, -1.0);
            // The last term only orders equal sums: by the dense side rather than by place in the collection.
            sparse.iter().zip(&dense).map(|(s, d)| (1.0 - weight) * s + weight * d + 1e-12 * d).collect()
        }
        Fusion::Rrf { k } => {
            let mut joined = vec![0.0; candidates.len()];
            // A sparse score of 0 means no shared term: such a passage has no rank on that side.
            let ranked = candidates.iter().map(|c| (c.ordinal, c.sparse)).filter(|(_, score)| *score != 0.0);
            add_reciprocal_ranks(&mut joined, candidates, Ranking::new(ranked.collect()), k);
            let ranked = candidates.iter().map(|c| (c.ordinal, c.dense));
            add_reciprocal_ranks(&mut joined, candidates, Ranking::new(ranked.collect()), k);
            joined
        }
    };
    Ranking::new(candidates.iter().zip(joined).map(|(candidate, score)| (candidate.ordinal, score)).collect())
}

fn add_reciprocal_ranks(joined: &mut [f64], candidates: &[Candidate], ranking: Ranking<Ordinal>, k: f64) {
    let place: std::collections::HashMap<Ordinal, usize> =
        candidates.iter().enumerate().map(|(i, candidate)| (candidate.ordinal, i)).collect();
    for (i, (ordinal, _)) in ranking.iter().enumerate() {
        if let Some(at) = place.get(ordinal) {
            joined[*at] += 1.0 / (k + (i + 1) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(ranking: &Ranking<Ordinal>) -> Vec<u32> {
        ranking.iter().map(|(ordinal, _)| ordinal.0).collect()
    }

    #[test]
    fn reciprocal_ranks_by_hand() {
        let candidates = [
            Candidate { ordinal: Ordinal(4), sparse: 9.0, dense: 0.1 },
            Candidate { ordinal: Ordinal(5), sparse: 3.0, dense: 0.9 },
            Candidate { ordinal: Ordinal(6), sparse: 0.0, dense: 0.5 },
        ];
        let fused = fuse(&candidates, &Fusion::RRF);
        let expected = [(5, 1.0 / 62.0 + 1.0 / 61.0), (4, 1.0 / 61.0 + 1.0 / 63.0), (6, 1.0 / 62.0)];
        for ((ordinal, score), (o, s)) in fused.iter().zip(expected) {
            assert_eq!(ordinal.0, o);
            assert!((score - s).abs() < 1e-12);
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        prop::collection::vec((0f64..30.0, -1f64..1.0), 0..40).prop_map(|scores| {
            let numbered = scores.into_iter().enumerate();
            numbered.map(|(i, (sparse, dense))| Candidate { ordinal: Ordinal(i as u32), sparse, dense }).collect()
        })
    }

    proptest! {
        #[test]
        fn the_extreme_weights_are_the_sides_alone(candidates in candidates()) {
            for normalizer in [Normalizer::MinMax, Normalizer::TheoreticalMinMax] {
                for (weight, side) in [(0.0, 0), (1.0, 1)] {
                    let alone = candidates.iter().map(|c| (c.ordinal, if side == 0 { c.sparse } else { c.dense })).collect();
                    let fused = fuse(&candidates, &Fusion::Convex { weight, normalizer });
                    prop_assert_eq!(order(&fused), order(&Ranking::new(alone)));
                }
            }
        }

        #[test]
        fn a_passage_better_on_both_sides_is_never_behind(candidates in candidates(), weight in 0f64..1.0) {
            for fusion in [Fusion::Convex { weight, normalizer: Normalizer::MinMax }, Fusion::RRF] {
                let fused = order(&fuse(&candidates, &fusion));
                let place = |o: Ordinal| fused.iter().position(|x| *x == o.0);
                for a in &candidates {
                    for b in &candidates {
                        if a.sparse > b.sparse && a.dense > b.dense {
                            prop_assert!(place(a.ordinal) < place(b.ordinal));
                        }
                    }
                }
            }
        }
    }
}

//! One ranking out of two: sparse and dense scores of the same candidates, joined per query.
//!
//! In flow [`Candidate`]s, each **scored on both sides** (complete scoring: a passage only one side retrieved is scored
//! by the other too, so no rule for missing passages is needed); out flows one [`Ranking`]. Our own methods:
//!
//! - **Convex combination** `(1 − w) · s′ + w · d′`, with `s′`, `d′` the sides' scores normalised over this query's
//!   candidates ([`normalize`]) and `w ∈ [0, 1]` the dense weight. It keeps how *much* better a passage is.
//! - **Reciprocal rank fusion** `Σ 1 / (k + rank)`, ranks from 1 among the candidates, `k` = 60 by default. It needs no
//!   weight, but trusts both sides alike: a weak side drags the result down.
//! - **Per-query weight**: a convex combination whose `w` a small logistic model gives for each query ([`predict`]).
//!
//! What other engines do ([`presets`]) differs in rank base, constant, normaliser, and above all in what a passage gets
//! that one list does not hold. All of it is a [`Recipe`], and one function runs them all.
//!
//! ```
//! use parallax::fusion::{fuse, Candidate, Fusion, Normalizer};
//! use parallax::Ordinal;
//! let candidate = |ordinal, sparse, dense, sparse_rank, dense_rank| Candidate {
//!     ordinal: Ordinal(ordinal), sparse, dense, sparse_rank: Some(sparse_rank), dense_rank: Some(dense_rank)
//! };
//! // Sparse prefers 0 (min-max 1, 0, .5), dense prefers 2 (0, .5, 1); at w = .5 their sums are .5, .25, .75.
//! let candidates = [candidate(0, 6.0, 0.2, 1, 3), candidate(1, 2.0, 0.4, 3, 2), candidate(2, 4.0, 0.6, 2, 1)];
//! let order = |fusion: &Fusion| -> Vec<(u32, f64)> {
//!     fuse(&candidates, fusion).iter().map(|(o, s)| (o.0, (s * 100.0).round() / 100.0)).collect()
//! };
//! assert_eq!(order(&Fusion::Convex { weight: 0.5, normalizer: Normalizer::MinMax }), [(2, 0.75), (0, 0.5), (1, 0.25)]);
//! // Qdrant counts 1 / (2 + i) from i = 0: ½ + ⅓, ½ + ¼, ⅓ + ¼.
//! assert_eq!(order(&Fusion::preset("qdrant-rrf").unwrap()), [(2, 0.83), (0, 0.75), (1, 0.58)]);
//! ```
//!
//! Cost: linear in the candidates, and a sort. Sources: Cormack, Clarke & Büttcher, "Reciprocal Rank Fusion outperforms
//! Condorcet and individual rank learning methods", 2009; Bruch, Gai & Ingber, "An Analysis of Fusion Functions for Hybrid
//! Retrieval", 2023.

pub mod method;
pub mod normalize;
pub mod predict;
pub mod presets;

pub use method::{Candidate, Join, Missing, Recipe, Score};
pub use normalize::{Equal, Normalizer};
pub use predict::{Predictor, Signals};

use crate::collection::Ordinal;
use crate::collection::run::Ranking;
use crate::error::{Error, Result};
use normalize::Side;
use presets::PresetName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How two sides become one ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Fusion {
    /// Weighted sum of normalised scores, every candidate scored on both sides.
    Convex {
        /// The dense side's share, 0 (sparse alone decides) to 1 (dense alone decides).
        weight: f64,
        /// How raw scores are made comparable.
        normalizer: Normalizer,
    },
    /// Reciprocal rank fusion, every candidate ranked on both sides.
    Rrf {
        /// Added to each rank; larger flattens the difference between top ranks.
        k: f64,
    },
    /// A convex combination whose dense share is another one for every query.
    PerQuery(Predictor),
    /// What another engine does.
    Preset {
        /// The engine's, and the method's where it has several.
        name: PresetName,
    },
    /// Everything said.
    Recipe(Recipe),
}

impl Fusion {
    /// Reciprocal rank fusion as its paper proposes it.
    pub const RRF: Fusion = Fusion::Rrf { k: 60.0 };

    /// The fusion of a name: an engine's preset; `None` for other names.
    ///
    /// ```
    /// use parallax::fusion::Fusion;
    /// assert_eq!(Fusion::preset("weaviate").unwrap().to_string(), "weaviate");
    /// assert!(Fusion::preset("none of them").is_none());
    /// ```
    pub fn preset(name: &str) -> Option<Fusion> {
        name.parse().ok().map(|name| Fusion::Preset { name })
    }

    /// The parts it is made of. A per-query weight is taken as it is for an average query; the searcher puts the query's
    /// own in its place ([`Fusion::with_weight`]).
    pub fn recipe(&self) -> Recipe {
        let complete = |weights, score| Recipe {
            weights,
            score,
            missing: Missing::Complete,
            join: Join::Sum,
            positive_only: false,
        };
        let convex = |weight: f64, normalizer| {
            complete([1.0 - weight, weight], Score::Value { normalizer, equal: normalizer.level(), floor: None })
        };
        match *self {
            Fusion::Convex { weight, normalizer } => convex(weight, normalizer),
            Fusion::Rrf { k } => complete([1.0, 1.0], Score::Rank { k, base: 1 }),
            Fusion::PerQuery(predictor) => convex(predictor.average_weight(), predictor.normalizer),
            Fusion::Preset { name } => name.recipe(),
            Fusion::Recipe(recipe) => recipe,
        }
    }

    /// The convex combination that a per-query weight comes to; any other fusion as it is.
    pub fn with_weight(&self, weight: f64) -> Fusion {
        match self {
            Fusion::PerQuery(predictor) => Fusion::Convex { weight, normalizer: predictor.normalizer },
            other => *other,
        }
    }

    /// Refuses weights, constants and rank bases that make no sense.
    pub fn check(&self) -> Result<()> {
        match self {
            Fusion::Convex { weight, .. } if !(0.0..=1.0).contains(weight) => {
                Err(Error::usage(format!("the fusion weight is {weight}, not between 0 and 1")))
            }
            Fusion::PerQuery(predictor) => predictor.check(),
            Fusion::Convex { .. } | Fusion::Preset { .. } => Ok(()),
            Fusion::Rrf { k } if !(k.is_finite() && *k > 0.0) => {
                Err(Error::usage(format!("the constant of reciprocal rank fusion is {k}, not above 0")))
            }
            Fusion::Rrf { .. } | Fusion::Recipe(_) => self.recipe().check(),
        }
    }
}

impl fmt::Display for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fusion::Convex { weight, normalizer } => write!(f, "convex({normalizer}, dense weight {weight:.2})"),
            Fusion::Rrf { k } => write!(f, "rrf(k={k})"),
            Fusion::PerQuery(predictor) => write!(
                f,
                "per-query({}, dense weight {:.2} on average)",
                predictor.normalizer,
                predictor.average_weight()
            ),
            Fusion::Preset { name } => f.write_str(name.as_str()),
            Fusion::Recipe(recipe) => write!(f, "{recipe}"),
        }
    }
}

/// Joins both sides' scores into one ranking of the candidates; equal scores go to the smaller ordinal.
pub fn fuse(candidates: &[Candidate], fusion: &Fusion) -> Ranking<Ordinal> {
    let recipe = fusion.recipe();
    let [sparse, dense] = [Side::Sparse, Side::Dense].map(|side| on_side(candidates, side, &recipe));
    let joined = candidates.iter().zip(sparse.iter().zip(&dense)).filter_map(|(candidate, (s, d))| {
        let [sparse, dense] = recipe.weights;
        let score = match (s, d, recipe.join) {
            (None, None, _) => return None,
            (Some(s), Some(d), Join::Sum) => sparse * s + dense * d,
            (Some(s), Some(d), Join::Max) => f64::max(sparse * s, dense * d),
            // Where nothing is missing, no sparse number is a passage that shares no term and has no rank.
            (None, Some(_), _) | (Some(_), None, _) if recipe.missing == Missing::Dropped => return None,
            (None, Some(d), _) => dense * d,
            (Some(s), None, _) => sparse * s,
        };
        // Equal sums of complete values are ordered by the dense side rather than by place in the collection.
        let complete = recipe.missing == Missing::Complete && matches!(recipe.score, Score::Value { .. });
        let nudge = if complete { 1e-12 * d.unwrap_or(0.0) } else { 0.0 };
        Some((candidate.ordinal, score + nudge))
    });
    Ranking::new(joined.collect())
}

/// What each candidate gets on a side, before weights; `None` where it has no number there.
fn on_side(candidates: &[Candidate], side: Side, recipe: &Recipe) -> Vec<Option<f64>> {
    let complete = recipe.missing == Missing::Complete;
    let raw = |candidate: &Candidate| match side {
        Side::Sparse => candidate.sparse,
        Side::Dense => candidate.dense,
    };
    let offered = |candidate: &Candidate| match side {
        _ if complete => true,
        _ if recipe.positive_only && raw(candidate) <= 0.0 => false,
        Side::Sparse => candidate.sparse_rank.is_some(),
        Side::Dense => candidate.dense_rank.is_some(),
    };
    match recipe.score {
        Score::Rank { k, base } => {
            // A sparse score of 0 means no shared term: such a passage has no rank on that side.
            let ranked = |candidate: &Candidate| offered(candidate) && !(side == Side::Sparse && raw(candidate) == 0.0);
            let mut order: Vec<usize> = (0..candidates.len()).filter(|i| ranked(&candidates[*i])).collect();
            let key = |i: usize| (raw(&candidates[i]), candidates[i].ordinal);
            order.sort_unstable_by(|a, b| {
                let (a, b) = (key(*a), key(*b));
                b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
            });
            let of = |i: usize| 1.0 / (k + i as f64 + f64::from(base));
            let missing = (recipe.missing == Missing::ListMinimum && !order.is_empty()).then(|| of(order.len() - 1));
            let mut numbers = vec![missing; candidates.len()];
            order.iter().enumerate().for_each(|(i, at)| numbers[*at] = Some(of(i)));
            numbers
        }
        Score::Value { normalizer, equal, floor } => {
            let list: Vec<f64> = candidates.iter().filter(|candidate| offered(candidate)).map(raw).collect();
            let scale = normalizer.scale(&list, side, equal);
            let number = |score: f64| {
                let normalised = scale.of(score);
                floor.filter(|_| normalised <= 0.0).unwrap_or(normalised)
            };
            let missing = match recipe.missing {
                Missing::ListMinimum if list.is_empty() => None,
                Missing::ListMinimum => Some(number(list.iter().copied().fold(f64::INFINITY, f64::min))),
                Missing::TheoreticalMinimum if !list.is_empty() => Some(number(side.least())),
                _ => None,
            };
            candidates.iter().map(|c| if offered(c) { Some(number(raw(c))) } else { missing }).collect()
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

    /// Candidates that both sides offered, with their ranks.
    fn offered(scores: &[(f64, f64)]) -> Vec<Candidate> {
        let ranks = |score: &dyn Fn(usize) -> f64| {
            let ranking = Ranking::new((0..scores.len()).map(|i| (i, score(i))).collect());
            let mut ranks = vec![None; scores.len()];
            ranking.iter().enumerate().for_each(|(place, (i, _))| ranks[*i] = Some(place + 1));
            ranks
        };
        let (sparse, dense) = (ranks(&|i| scores[i].0), ranks(&|i| scores[i].1));
        let candidate = |i: usize| Candidate {
            ordinal: Ordinal(i as u32),
            sparse: scores[i].0,
            dense: scores[i].1,
            sparse_rank: sparse[i].filter(|_| scores[i].0 > 0.0),
            dense_rank: dense[i],
        };
        (0..scores.len()).map(candidate).collect()
    }

    #[test]
    fn reciprocal_ranks_by_hand() {
        let fused = fuse(&offered(&[(9.0, 0.1), (3.0, 0.9), (0.0, 0.5)]), &Fusion::RRF);
        let expected = [(1, 1.0 / 62.0 + 1.0 / 61.0), (0, 1.0 / 61.0 + 1.0 / 63.0), (2, 1.0 / 62.0)];
        for ((ordinal, score), (o, s)) in fused.iter().zip(expected) {
            assert_eq!(ordinal.0, o);
            assert!((score - s).abs() < 1e-12);
        }
    }

    #[test]
    fn the_missing_rule_decides_between_a_strong_hit_and_a_weak_pair() {
        // Sparse list 0: 8, 1: 4, 2: 2; dense list 1: .4, 2: .2. What does 0 get on the dense side (its cosine is −.5)?
        let mut candidates = offered(&[(8.0, -0.5), (4.0, 0.4), (2.0, 0.2)]);
        candidates[0].dense_rank = None;
        let score = |missing: Missing, score: Score| {
            let recipe = Recipe { weights: [0.5, 0.5], score, missing, join: Join::Sum, positive_only: false };
            let fused = fuse(&candidates, &Fusion::Recipe(recipe));
            fused.iter().map(|(o, s)| (o.0, (s * 1000.0).round() / 1000.0)).collect::<Vec<_>>()
        };
        let theory = Score::Value { normalizer: Normalizer::TheoreticalMinMax, equal: Equal::To(1.0), floor: None };
        // Sparse 1, ½, ¼ of 8; dense from −1 to .4: 1, .857; −.5 would be .357.
        assert_eq!(score(Missing::Zero, theory), [(1, 0.75), (2, 0.554), (0, 0.5)]);
        assert_eq!(score(Missing::ListMinimum, theory), [(0, 0.929), (1, 0.75), (2, 0.554)]);
        assert_eq!(score(Missing::TheoreticalMinimum, theory), [(1, 0.75), (2, 0.554), (0, 0.5)]);
        assert_eq!(score(Missing::Complete, theory), [(1, 0.75), (0, 0.679), (2, 0.554)]);
        assert_eq!(score(Missing::Dropped, theory), [(1, 0.75), (2, 0.554)]);
        let ranks = Score::Rank { k: 0.0, base: 1 };
        assert_eq!(score(Missing::Zero, ranks), [(1, 0.75), (0, 0.5), (2, 0.417)]);
        assert_eq!(score(Missing::ListMinimum, ranks), [(0, 0.75), (1, 0.75), (2, 0.417)]);
        assert_eq!(score(Missing::Complete, ranks), [(1, 0.75), (0, 0.667), (2, 0.417)]);
    }

    #[test]
    fn fusions_are_stored_as_they_always_were_and_refused_when_senseless() {
        let old = r#"{"method":"convex","weight":0.4,"normalizer":"min-max"}"#;
        let convex = Fusion::Convex { weight: 0.4, normalizer: Normalizer::MinMax };
        assert_eq!(serde_json::from_str::<Fusion>(old).unwrap(), convex);
        assert_eq!(serde_json::to_string(&convex).unwrap(), old);
        assert_eq!(serde_json::from_str::<Fusion>(r#"{"method":"rrf","k":60}"#).unwrap(), Fusion::RRF);
        let preset = r#"{"method":"preset","name":"qdrant-dbsf"}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Fusion>(preset).unwrap()).unwrap(), preset);
        let recipe =
            r#"{"method":"recipe","weights":[1,2],"score":{"by":"rank","k":5,"base":0},"missing":"zero","join":"sum"}"#;
        let Ok(Fusion::Recipe(recipe)) = serde_json::from_str(recipe) else { panic!("{recipe}") };
        assert_eq!((recipe.weights, recipe.positive_only), ([1.0, 2.0], false));
        let with = |change: &dyn Fn(&mut Recipe)| {
            let mut recipe = recipe;
            change(&mut recipe);
            Fusion::Recipe(recipe).check()
        };
        assert!(with(&|_| ()).is_ok());
        assert!(with(&|r| r.weights = [0.0, 0.0]).is_err() && with(&|r| r.weights = [-1.0, 1.0]).is_err());
        assert!(with(&|r| r.weights = [f64::NAN, 1.0]).is_err());
        assert!(with(&|r| r.score = Score::Rank { k: 1.0, base: 2 }).is_err());
        assert!(with(&|r| r.score = Score::Rank { k: 0.0, base: 0 }).is_err(), "1/0");
        assert!(Fusion::Rrf { k: 0.0 }.check().is_err() && Fusion::Rrf { k: f64::NAN }.check().is_err());
        assert!(serde_json::from_str::<Fusion>(r#"{"method":"preset","name":"solr"}"#).is_err());
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        prop::collection::vec((0f64..30.0, -1f64..1.0), 0..40).prop_map(|scores| offered(&scores))
    }

    proptest! {
        #[test]
        fn the_extreme_weights_are_the_sides_alone(candidates in candidates()) {
            for normalizer in [Normalizer::MinMax, Normalizer::TheoreticalMinMax, Normalizer::ZScore] {
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

        #[test]
        fn one_list_alone_keeps_its_order_under_every_preset(scores in prop::collection::vec(1u32..1000, 1..30)) {
            // Only the dense side offers anything; its scores are positive and differ.
            let mut scores = scores;
            scores.sort_unstable();
            scores.dedup();
            let scores: Vec<(f64, f64)> = scores.iter().map(|score| (0.0, f64::from(*score) / 1000.0)).collect();
            let candidates = offered(&scores);
            let expected: Vec<u32> = (0..scores.len() as u32).rev().collect();
            // A floor makes the tail of a list equal, a z-score at the mean jumps, and Chroma ranks what both lists hold.
            for preset in presets::ALL.iter().filter(|p| !["opensearch-zscore", "chroma"].contains(&p.name)) {
                let fused = order(&fuse(&candidates, &Fusion::Recipe(preset.recipe)));
                let equal_allowed = matches!(preset.recipe.score, Score::Value { normalizer: Normalizer::MinMax, .. });
                let compared = if equal_allowed { expected.len().saturating_sub(2) } else { expected.len() };
                prop_assert_eq!(&fused[..compared], &expected[..compared], "{}", preset.name);
            }
        }
    }
}

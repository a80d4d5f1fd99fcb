//! What other engines do, as recipes: one line of a table each.
//!
//! An engine joins two lists by its own rank base, constant, weights, normaliser and rule for passages that a list does
//! not hold; most of these are not written down where a user would look. A preset gives an engine's **order** from the
//! same two lists, so that what a change of engine would do to recall can be measured before it is made. Its scores are the
//! engine's too, but for these: Chroma's have the opposite sign, arithmetic is f64 where engines use f32, and exactly
//! equal sums are ordered by ordinal.
//!
//! | preset | formula of a list, summed over both unless said | missing |
//! |---|---|---|
//! | `weaviate` | relative score, the default: w · min-max, dense weight .75 | 0 |
//! | `weaviate-ranked` | w / (60 + i), i from 0, dense weight .75 | 0 |
//! | `qdrant-rrf` | 1 / (2 + i), i from 0 | 0 |
//! | `qdrant-dbsf` | three-sigma of a sample; a single hit and equal scores .5 | 0 |
//! | `opensearch-minmax` | mean of min-max, where 0 becomes .001 | 0 |
//! | `opensearch-l2` | mean of x / √Σx² | 0 |
//! | `opensearch-zscore` | mean of z-scores of a sample, ≤ 0 becomes .001, exactly the mean becomes the raw maximum | 0 |
//! | `opensearch-rrf` | 1 / (60 + r), r from 1 | 0 |
//! | `elasticsearch-rrf` | 1 / (60 + r), r from 1 | 0 |
//! | `elasticsearch-linear` | raw scores, the default | 0 |
//! | `lancedb-rs` | 1 / (60 + i), i from 0 | 0 |
//! | `lancedb-py` | 1 / (60 + r), r from 1 | 0 |
//! | `haystack-rrf` | 30.5 / (61 + i), i from 0: the best conceivable is 1 | 0 |
//! | `haystack-dbsf` | three-sigma of the population, the larger of both; equal scores 0 | – |
//! | `pyserini-hybrid` | .1 · sparse + dense, raw | the list's minimum |
//! | `pyserini-hybrid-normalized` | .1 · sparse + dense, both centred | the list's minimum |
//! | `pyserini-interpolation` | .5 · sparse + .5 · dense, raw | 0 |
//! | `pyserini-normalize` | min-max, equal scores 1 | 0 |
//! | `vespa` | 1 / (60 + r), r from 1, both features of every hit | none is missing |
//! | `chroma` | 1 / (60 + i), i from 0 | dropped |
//! | `milvus-rrf` | 1 / (60 + r), r from 1 | 0 |
//! | `milvus-weighted` | ½ · (2 arctan(x) / π) of BM25, ½ · (1 + x) / 2 of a cosine | 0 |
//! | `ranx` | ½ · min-max, equal scores 0 | 0 |
//! | `txtai` | ½ / r, r from 1, hits that score 0 or less left out | 0 |
//! | `azure`, `mongodb` | 1 / (60 + r), r from 1 | 0 |
//!
//! Weights are the engine's defaults; where it has none (Milvus, ranx) both sides count alike. Azure does not publish its
//! constant; 60 is what its users recover. Known and not here: Weaviate orders sums within 1e-7 by a secondary score.
//!
//! Sources: the engines' own code and documents as of 2026 (weaviate, qdrant, opensearch-project/neural-search,
//! elasticsearch, lancedb, haystack, pyserini, vespa, chroma, milvus, ranx, txtai, MongoDB's and Azure's documents).

use super::method::{Join, Missing, Recipe, Score};
use super::normalize::{Equal, Normalizer};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// An engine's fusion by name.
#[derive(Debug, PartialEq)]
pub struct Preset {
    /// As commands spell it.
    pub name: &'static str,
    /// What it does.
    pub recipe: Recipe,
}

/// The name of a preset that exists; in JSON a string.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PresetName(&'static Preset);

impl PresetName {
    /// What the engine does.
    pub fn recipe(self) -> Recipe {
        self.0.recipe
    }

    /// As commands spell it.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }
}

impl FromStr for PresetName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = ALL.iter().find(|preset| preset.name == name).map(PresetName);
        known.ok_or_else(|| {
            Error::usage(format!("`{name}` is no fusion of an engine")).hint(format!("those known are {}", names()))
        })
    }
}

impl TryFrom<String> for PresetName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<PresetName> for String {
    fn from(name: PresetName) -> String {
        name.as_str().to_string()
    }
}

/// Every preset, in the order of the table above.
pub const ALL: &[Preset] = &[
    preset("weaviate", [0.25, 0.75], value(Normalizer::MinMax, 1.0)),
    preset("weaviate-ranked", [0.25, 0.75], rank(60.0, 0)),
    preset("qdrant-rrf", EVEN, rank(2.0, 0)),
    preset("qdrant-dbsf", EVEN, value(Normalizer::ThreeSigmaSample, 0.5)),
    preset("opensearch-minmax", HALF, floored(Normalizer::MinMax, Equal::To(1.0))),
    preset("opensearch-l2", HALF, value(Normalizer::L2, 0.0)),
    preset("opensearch-zscore", HALF, floored(Normalizer::ZScoreSample, Equal::RawMaximum)),
    preset("opensearch-rrf", EVEN, rank(60.0, 1)),
    preset("elasticsearch-rrf", EVEN, rank(60.0, 1)),
    preset("elasticsearch-linear", EVEN, value(Normalizer::None, 0.0)),
    preset("lancedb-rs", EVEN, rank(60.0, 0)),
    preset("lancedb-py", EVEN, rank(60.0, 1)),
    preset("haystack-rrf", [30.5, 30.5], rank(61.0, 0)),
    joined(Join::Max, preset("haystack-dbsf", EVEN, value(Normalizer::ThreeSigma, 0.0))),
    without(Missing::ListMinimum, preset("pyserini-hybrid", [0.1, 1.0], value(Normalizer::None, 0.0))),
    without(Missing::ListMinimum, preset("pyserini-hybrid-normalized", [0.1, 1.0], value(Normalizer::Centred, 0.0))),
    preset("pyserini-interpolation", HALF, value(Normalizer::None, 0.0)),
    preset("pyserini-normalize", EVEN, value(Normalizer::MinMax, 1.0)),
    without(Missing::Complete, preset("vespa", EVEN, rank(60.0, 1))),
    without(Missing::Dropped, preset("chroma", EVEN, rank(60.0, 0))),
    preset("milvus-rrf", EVEN, rank(60.0, 1)),
    preset("milvus-weighted", HALF, value(Normalizer::Arctan, 0.0)),
    preset("ranx", HALF, value(Normalizer::MinMax, 0.0)),
    positive(preset("txtai", HALF, rank(0.0, 1))),
    preset("azure", EVEN, rank(60.0, 1)),
    preset("mongodb", EVEN, rank(60.0, 1)),
];

const EVEN: [f64; 2] = [1.0, 1.0];
const HALF: [f64; 2] = [0.5, 0.5];

const fn preset(name: &'static str, weights: [f64; 2], score: Score) -> Preset {
    let recipe = Recipe { weights, score, missing: Missing::Zero, join: Join::Sum, positive_only: false };
    Preset { name, recipe }
}

const fn rank(k: f64, base: u8) -> Score {
    Score::Rank { k, base }
}

const fn value(normalizer: Normalizer, equal: f64) -> Score {
    Score::Value { normalizer, equal: Equal::To(equal), floor: None }
}

/// OpenSearch lifts a normalised score of 0 (and a z-score below) to .001.
const fn floored(normalizer: Normalizer, equal: Equal) -> Score {
    Score::Value { normalizer, equal, floor: Some(0.001) }
}

const fn without(missing: Missing, preset: Preset) -> Preset {
    Preset { recipe: Recipe { missing, ..preset.recipe }, ..preset }
}

const fn joined(join: Join, preset: Preset) -> Preset {
    Preset { recipe: Recipe { join, ..preset.recipe }, ..preset }
}

const fn positive(preset: Preset) -> Preset {
    Preset { recipe: Recipe { positive_only: true, ..preset.recipe }, ..preset }
}

/// The presets' names, comma-separated: what a hint lists.
pub fn names() -> String {
    let names: Vec<&str> = ALL.iter().map(|preset| preset.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{Candidate, Fusion, fuse};
    use super::*;
    use crate::collection::Ordinal;

    /// Two lists of (ordinal, score) as an engine holds them; what only one list holds has another score on the other
    /// side, which no preset but a complete one may look at.
    fn lists(sparse: &[(u32, f64)], dense: &[(u32, f64)]) -> Vec<Candidate> {
        let mut ordinals: Vec<u32> = sparse.iter().chain(dense).map(|(ordinal, _)| *ordinal).collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        let place = |list: &[(u32, f64)], ordinal: u32| {
            list.iter().position(|(o, _)| *o == ordinal).map(|i| (i + 1, list[i].1))
        };
        let candidate = |ordinal: u32| {
            let (s, d) = (place(sparse, ordinal), place(dense, ordinal));
            Candidate {
                ordinal: Ordinal(ordinal),
                sparse: s.map_or(0.0, |(_, score)| score),
                dense: d.map_or(0.05, |(_, score)| score),
                sparse_rank: s.map(|(rank, _)| rank),
                dense_rank: d.map(|(rank, _)| rank),
            }
        };
        ordinals.into_iter().map(candidate).collect()
    }

    #[track_caller]
    fn check(name: &str, sparse: &[(u32, f64)], dense: &[(u32, f64)], expected: &[(u32, f64)]) {
        let fused = fuse(&lists(sparse, dense), &Fusion::preset(name).unwrap());
        let found: Vec<(u32, f64)> = fused.iter().map(|(ordinal, score)| (ordinal.0, score)).collect();
        let same = found.len() == expected.len()
            && found.iter().zip(expected).all(|(f, e)| f.0 == e.0 && (f.1 - e.1).abs() < 1e-6);
        assert!(same, "{name}: {found:?}, by hand {expected:?}");
    }

    /// BM25 finds 1, 2, 3; the dense side finds 3, 4, 1.
    const SPARSE: &[(u32, f64)] = &[(1, 9.0), (2, 6.0), (3, 3.0)];
    const DENSE: &[(u32, f64)] = &[(3, 0.9), (4, 0.8), (1, 0.6)];

    #[test]
    fn ranks_by_hand() {
        // Counted from 1 with k 60: 1 has ranks 1 and 3, 3 has 3 and 1, 2 and 4 have 2 once.
        let both = 1.0 / 61.0 + 1.0 / 63.0;
        let sixty = [(1, both), (3, both), (2, 1.0 / 62.0), (4, 1.0 / 62.0)];
        for name in ["elasticsearch-rrf", "opensearch-rrf", "lancedb-py", "milvus-rrf", "azure", "mongodb"] {
            check(name, SPARSE, DENSE, &sixty);
        }
        // From 0 every rank counts one less.
        let both = 1.0 / 60.0 + 1.0 / 62.0;
        check("lancedb-rs", SPARSE, DENSE, &[(1, both), (3, both), (2, 1.0 / 61.0), (4, 1.0 / 61.0)]);
        check("chroma", SPARSE, DENSE, &[(1, both), (3, both)]);
        let both = 30.5 / 61.0 + 30.5 / 63.0;
        check("haystack-rrf", SPARSE, DENSE, &[(1, both), (3, both), (2, 30.5 / 62.0), (4, 30.5 / 62.0)]);
        // k 2 from 0: 1/2 + 1/4, and 1/3.
        check("qdrant-rrf", SPARSE, DENSE, &[(1, 0.75), (3, 0.75), (2, 1.0 / 3.0), (4, 1.0 / 3.0)]);
        // No k: ½ + ⅙ and ¼.
        check("txtai", SPARSE, DENSE, &[(1, 2.0 / 3.0), (3, 2.0 / 3.0), (2, 0.25), (4, 0.25)]);
        let weighted =
            [(3, 0.25 / 62.0 + 0.75 / 60.0), (1, 0.25 / 60.0 + 0.75 / 62.0), (4, 0.75 / 61.0), (2, 0.25 / 61.0)];
        check("weaviate-ranked", SPARSE, DENSE, &weighted);
    }

    #[test]
    fn values_by_hand() {
        // Min-max: sparse 1, ½, 0; dense 1, ⅔, 0.
        check("weaviate", SPARSE, DENSE, &[(3, 0.75), (4, 0.5), (1, 0.25), (2, 0.125)]);
        check("pyserini-normalize", SPARSE, DENSE, &[(1, 1.0), (3, 1.0), (4, 2.0 / 3.0), (2, 0.5)]);
        check("ranx", SPARSE, DENSE, &[(1, 0.5), (3, 0.5), (4, 1.0 / 3.0), (2, 0.25)]);
        // A 0 becomes .001, and both are halved.
        check("opensearch-minmax", SPARSE, DENSE, &[(1, 0.5005), (3, 0.5005), (4, 1.0 / 3.0), (2, 0.25)]);
        // √(81 + 36 + 9) = √126; √(.81 + .64 + .36) = √1.81.
        let (s, d) = (126f64.sqrt(), 1.81f64.sqrt());
        let l2 = [(1, 4.5 / s + 0.3 / d), (3, 1.5 / s + 0.45 / d), (4, 0.4 / d), (2, 3.0 / s)];
        check("opensearch-l2", SPARSE, DENSE, &l2);
        // Sparse: mean 6, sample sd 3, so z 1, at the mean (the raw maximum, 9), −1 (.001). Dense: mean .766667, sample sd
        // √(.046667 / 2) = .152753: z .872872, .218218, −1.09109 (.001).
        let z = [(2, 4.5), (1, 0.5005), (3, 0.436936), (4, 0.109109)];
        check("opensearch-zscore", SPARSE, DENSE, &z);
        // (z + 3) / 6: sparse 4/6, 3/6, 2/6; dense .645479, .536370, .318152.
        let dbsf = [(1, 0.984818), (3, 0.978812), (4, 0.536370), (2, 0.5)];
        check("qdrant-dbsf", SPARSE, DENSE, &dbsf);
        // Population sd: sparse √6, z ±1.224745; dense √(.046667 / 3) = .124722, z 1.069045, .267261, −1.336306. The larger.
        let largest = [(1, 0.704124), (3, 0.678174), (4, 0.544544), (2, 0.5)];
        check("haystack-dbsf", SPARSE, DENSE, &largest);
        check("elasticsearch-linear", SPARSE, DENSE, &[(1, 9.6), (2, 6.0), (3, 3.9), (4, 0.8)]);
        check("pyserini-interpolation", SPARSE, DENSE, &[(1, 4.8), (2, 3.0), (3, 1.95), (4, 0.4)]);
        // The least of a list stands for what it lacks: 2 has dense .6, 4 has sparse 3.
        check("pyserini-hybrid", SPARSE, DENSE, &[(1, 1.5), (2, 1.2), (3, 1.2), (4, 1.1)]);
        // Centred: sparse .5, 0, −.5; dense .5, 1/6, −.5.
        let centred = [(3, 0.45), (4, 1.0 / 6.0 - 0.05), (1, -0.45), (2, -0.5)];
        check("pyserini-hybrid-normalized", SPARSE, DENSE, &centred);
        let atan = |x: f64| x.atan() / std::f64::consts::PI;
        let squashed = [(1, atan(9.0) + 0.4), (3, atan(3.0) + 0.475), (4, 0.45), (2, atan(6.0))];
        let mut squashed = squashed.to_vec();
        squashed.sort_by(|a, b| b.1.total_cmp(&a.1));
        check("milvus-weighted", SPARSE, DENSE, &squashed);
    }

    #[test]
    fn vespa_ranks_every_hit_on_both_sides() {
        // 2 is fourth on the dense side (.05); 4 shares no term and has no sparse rank.
        let both = 1.0 / 61.0 + 1.0 / 63.0;
        check("vespa", SPARSE, DENSE, &[(1, both), (3, both), (2, 1.0 / 62.0 + 1.0 / 64.0), (4, 1.0 / 62.0)]);
    }

    #[test]
    fn a_single_hit_says_what_the_engine_makes_of_it() {
        let one = &[(7, 4.0)];
        for (name, alone) in [
            ("weaviate", 0.25),
            ("qdrant-dbsf", 0.5),
            ("opensearch-minmax", 0.5),
            ("opensearch-l2", 0.5),
            ("opensearch-zscore", 2.0),
            ("haystack-dbsf", 0.0),
            ("pyserini-normalize", 1.0),
            ("ranx", 0.0),
            ("txtai", 0.5),
            ("qdrant-rrf", 0.5),
            // Centred would be 0/0: the middle, 0; the empty list's minimum counts as 0.
            ("pyserini-hybrid-normalized", 0.0),
            ("pyserini-hybrid", 0.4),
        ] {
            check(name, one, &[], &[(7, alone)]);
        }
        check("chroma", one, &[], &[]);
        check("chroma", one, &[(7, 0.5)], &[(7, 1.0 / 30.0)]);
    }

    #[test]
    fn equal_scores_say_what_the_engine_makes_of_them() {
        let equal = &[(1, 2.0), (2, 2.0)];
        for (name, each) in [
            ("weaviate", 0.25),
            ("qdrant-dbsf", 0.5),
            ("opensearch-minmax", 0.5),
            ("opensearch-zscore", 1.0),
            ("haystack-dbsf", 0.0),
            ("pyserini-normalize", 1.0),
            ("ranx", 0.0),
        ] {
            check(name, equal, &[], &[(1, each), (2, each)]);
        }
    }

    #[test]
    fn an_empty_side_leaves_the_other_in_its_order_and_nothing_is_nothing() {
        for preset in ALL.iter().filter(|preset| preset.recipe.missing != Missing::Dropped) {
            check(preset.name, &[], &[], &[]);
            // None of the scores is at their mean, which OpenSearch's z-score would put first.
            let fused = fuse(&lists(&[], &[(5, 0.9), (6, 0.7), (4, 0.2)]), &Fusion::Recipe(preset.recipe));
            let order: Vec<u32> = fused.iter().map(|(ordinal, _)| ordinal.0).collect();
            assert_eq!(order, [5, 6, 4], "{}", preset.name);
        }
    }

    #[test]
    fn negative_scores_are_what_the_engine_makes_of_them() {
        // The dense side finds 1 at −.1 and 2 at −.3.
        let dense = &[(1, -0.1), (2, -0.3)];
        check("txtai", &[], dense, &[]);
        check("weaviate", &[], dense, &[(1, 0.75), (2, 0.0)]);
        check("elasticsearch-linear", &[(2, 1.0)], dense, &[(2, 0.7), (1, -0.1)]);
        check("milvus-weighted", &[], dense, &[(1, 0.225), (2, 0.175)]);
        // √(.01 + .09) = .316228.
        check("opensearch-l2", &[], dense, &[(1, -0.158114), (2, -0.474342)]);
    }

    #[test]
    fn names_are_unique_and_recipes_pass_their_check() {
        let mut names: Vec<&str> = ALL.iter().map(|preset| preset.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for preset in ALL {
            Fusion::Recipe(preset.recipe).check().unwrap();
            for fusion in [Fusion::Recipe(preset.recipe), Fusion::preset(preset.name).unwrap()] {
                let json = serde_json::to_string(&fusion).unwrap();
                assert_eq!(serde_json::from_str::<Fusion>(&json).unwrap(), fusion, "{json}");
            }
            assert_eq!(Fusion::preset(preset.name).unwrap().to_string(), preset.name);
        }
        assert!(super::names().starts_with("weaviate, weaviate-ranked, "));
    }
}

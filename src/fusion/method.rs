//! The words of fusion: a candidate, and the parts every method is made of.
//!
//! Whatever a fusion is called, [`fuse`](super::fuse) runs one [`Recipe`]: how a side's list becomes numbers, what a
//! passage gets that a side did not offer, and how two numbers become one. Nothing is left to be guessed.

use super::normalize::{Equal, Normalizer};
use crate::collection::Ordinal;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A passage with its raw score and its rank on each side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which passage.
    pub ordinal: Ordinal,
    /// BM25 or TF-IDF score; 0 where it shares no term with the query.
    pub sparse: f64,
    /// Inner product or cosine.
    pub dense: f64,
    /// 1-based rank among what the sparse side offered; `None` when only the other side offered it.
    pub sparse_rank: Option<usize>,
    /// Likewise on the dense side.
    pub dense_rank: Option<usize>,
}

/// Every choice of a fusion, said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What the sparse and the dense side's numbers are multiplied by.
    pub weights: [f64; 2],
    /// How a side's list becomes numbers.
    pub score: Score,
    /// What a passage gets on a side that did not offer it.
    pub missing: Missing,
    /// How two numbers become one.
    pub join: Join,
    /// Whether a list loses what scores 0 or less before anything else.
    #[serde(default)]
    pub positive_only: bool,
}

/// How a side's list becomes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Score {
    /// `1 / (k + i + base)` for the hit at place `i` = 0, 1, …
    Rank {
        /// Added to each rank.
        k: f64,
        /// What the first hit counts as, 0 or 1.
        base: u8,
    },
    /// The normalised score.
    Value {
        /// How raw scores are made comparable.
        normalizer: Normalizer,
        /// What a list of equal scores becomes, and under a z-score what lies at the mean.
        equal: Equal,
        /// What a normalised score of 0 or less becomes, where it does not stay.
        #[serde(default)]
        floor: Option<f64>,
    },
}

/// What a passage gets on a side that did not offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Nothing is missing: every candidate is scored on both sides, and lists are made of all of them. Ours.
    Complete,
    /// 0 after normalisation.
    Zero,
    /// What the last of the list gets.
    ListMinimum,
    /// What the least possible score would get (BM25 0, cosine −1); no rank at all.
    TheoreticalMinimum,
    /// It is no candidate: only passages of both lists are ranked.
    Dropped,
}

/// How two numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// Their sum.
    Sum,
    /// The larger one.
    Max,
}

impl Recipe {
    /// Refuses weights, constants and rank bases that make no sense.
    pub fn check(&self) -> Result<()> {
        let fine = |x: f64| x.is_finite() && x >= 0.0;
        if !self.weights.iter().all(|weight| fine(*weight)) || self.weights == [0.0, 0.0] {
            let [sparse, dense] = self.weights;
            let message =
                format!("the fusion weights are {sparse} and {dense}, not numbers of at least 0, one above 0");
            return Err(Error::usage(message));
        }
        match self.score {
            Score::Rank { k, base } if !(k.is_finite() && k + f64::from(base) > 0.0) => {
                Err(Error::usage(format!("the first rank of a fusion would be {k} + {base}, which is not above 0")))
            }
            Score::Rank { base, .. } if base > 1 => {
                Err(Error::usage(format!("ranks are counted from {base}, not from 0 or 1")))
            }
            Score::Value { equal, floor, .. }
                if !(floor.is_none_or(fine)
                    && (equal == Equal::RawMaximum || matches!(equal, Equal::To(x) if fine(x)))) =>
            {
                Err(Error::usage("what equal scores become and the floor of a fusion are numbers of at least 0"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [sparse, dense] = self.weights;
        write!(f, "recipe({sparse} sparse, {dense} dense, ")?;
        match self.score {
            Score::Rank { k, base } => write!(f, "1/({k} + rank from {base})")?,
            Score::Value { normalizer, .. } => write!(f, "{normalizer}")?,
        }
        let missing = match self.missing {
            Missing::Complete => "complete",
            Missing::Zero => "missing 0",
            Missing::ListMinimum => "missing list minimum",
            Missing::TheoreticalMinimum => "missing theoretical minimum",
            Missing::Dropped => "missing dropped",
        };
        write!(f, ", {missing}, {})", if self.join == Join::Sum { "sum" } else { "max" })
    }
}

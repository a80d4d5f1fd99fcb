//! Raw scores of one query's candidates brought to a common scale.
//!
//! | normaliser | formula | equal scores |
//! |---|---|---|
//! | min-max | (x − min) / (max − min), min and max over the candidates | 1 each |
//! | theoretical min-max | (x − m) / (max − m), m the least score the side can give (BM25 0, cosine −1) | 1 each |
//!
//! Both keep order and are dimensionless; min-max is in [0, 1] always, the theoretical form where no score is below m.
//! A passage list with equal positive scores says "all alike", which is 1, not an arbitrary 0; equal zero scores of the
//! sparse side say "nothing matched" and stay 0.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How one side's scores are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalizer {
    /// Between the lowest and the highest score of the candidates.
    MinMax,
    /// Between the lowest score possible and the highest of the candidates.
    TheoreticalMinMax,
}

impl Normalizer {
    /// Normalises scores; `least` is the lowest score the side can give.
    ///
    /// ```
    /// use parallax::fusion::Normalizer;
    /// assert_eq!(Normalizer::MinMax.apply(&[2.0, 4.0, 3.0], 0.0), [0.0, 1.0, 0.5]);
    /// assert_eq!(Normalizer::TheoreticalMinMax.apply(&[2.0, 4.0, 3.0], 0.0), [0.5, 1.0, 0.75]);
    /// ```
    pub fn apply(self, scores: &[f64], least: f64) -> Vec<f64> {
        let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let low = match self {
            Normalizer::MinMax => lowest,
            Normalizer::TheoreticalMinMax => least.min(lowest),
        };
        let spread = highest - low;
        let level = if highest == 0.0 && least == 0.0 { 0.0 } else { 1.0 };
        scores.iter().map(|score| if spread > 0.0 { (score - low) / spread } else { level }).collect()
    }
}

impl fmt::Display for Normalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Normalizer::MinMax => "min-max",
            Normalizer::TheoreticalMinMax => "theoretical min-max",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_one_and_no_match_is_zero() {
        for normalizer in [Normalizer::MinMax, Normalizer::TheoreticalMinMax] {
            assert_eq!(normalizer.apply(&[0.0, 0.0], 0.0), [0.0, 0.0]);
            assert!(normalizer.apply(&[], 0.0).is_empty());
        }
        assert_eq!(Normalizer::MinMax.apply(&[3.0, 3.0], 0.0), [1.0, 1.0]);
        assert_eq!(Normalizer::TheoreticalMinMax.apply(&[3.0], 0.0), [1.0]);
        assert_eq!(Normalizer::TheoreticalMinMax.apply(&[0.0, 1.0], -1.0), [0.5, 1.0]);
    }
}

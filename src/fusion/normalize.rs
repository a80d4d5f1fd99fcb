//! Raw scores of one query's candidates brought to a common scale.
//!
//! A side's list comes in; out goes a [`Scale`], which any raw score of that side can be put on. With `min`, `max`, the
//! mean `m` and the standard deviation `sd` of the list:
//!
//! | normaliser | formula | range |
//! |---|---|---|
//! | min-max | (x − min) / (max − min) | 0 to 1 |
//! | theoretical min-max | (x − l) / (max − l), l the least score the side can give (BM25 0, cosine −1) | 0 to 1 where no score is below l |
//! | z-score | (x − m) / sd, sd of the population (÷ n) or of a sample (÷ n − 1) | about −3 to 3 |
//! | three-sigma | (x − (m − 3 sd)) / 6 sd (distribution-based score fusion), either sd | about 0 to 1, not clamped |
//! | l2 | x / √Σx² | 0 to 1 where no score is negative |
//! | centred | (x − (min + max) / 2) / (max − min) | −½ to ½ |
//! | arctan | 2 arctan(x) / π on the sparse side, (1 + x) / 2 of a cosine on the dense one | 0 to 1 |
//! | none | x | any |
//!
//! All keep a list's order and are dimensionless. Where all scores are equal, most formulas are 0/0; what such a list
//! becomes is the method's to say ([`Equal`]). Ours says 1, "all alike", but a sparse side of zeros says "nothing matched"
//! and stays 0.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;

/// How one side's scores are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalizer {
    /// Between the lowest and the highest score of the list.
    MinMax,
    /// Between the lowest score possible and the highest of the list.
    TheoreticalMinMax,
    /// Standard deviations from the mean, those of the population.
    ZScore,
    /// Standard deviations from the mean, those of a sample.
    ZScoreSample,
    /// Between three standard deviations around the mean, those of the population.
    ThreeSigma,
    /// Between three standard deviations around the mean, those of a sample.
    ThreeSigmaSample,
    /// A share of the list's Euclidean length.
    L2,
    /// Between −½ and ½.
    Centred,
    /// Squashed one by one.
    Arctan,
    /// As they come.
    None,
}

/// What scores become that a normaliser cannot tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Equal {
    /// This number.
    To(f64),
    /// The list's highest raw score.
    RawMaximum,
}

/// Which side a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words: no score is below 0.
    Sparse,
    /// Meaning: a cosine is at least −1.
    Dense,
}

impl Side {
    /// The lowest score the side can give.
    pub fn least(self) -> f64 {
        match self {
            Side::Sparse => 0.0,
            Side::Dense => -1.0,
        }
    }
}

/// A list's scale: `(x − from) / spread`, with what stands for 0/0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    spread: f64,
    /// What equal scores become, and what lies at the mean of a z-score.
    level: f64,
    /// Whether a score at `from` is at the level too.
    level_at_from: bool,
    squash: Option<Side>,
}

impl Scale {
    /// A raw score on this scale.
    pub fn of(&self, score: f64) -> f64 {
        match self.squash {
            Some(Side::Sparse) => 2.0 * score.atan() / PI,
            Some(Side::Dense) => (1.0 + score) / 2.0,
            None if self.spread > 0.0 && !(self.level_at_from && score == self.from) => {
                (score - self.from) / self.spread
            }
            None => self.level,
        }
    }
}

impl Normalizer {
    /// What equal scores become in our own fusions: the top where a scale has one, else its middle.
    pub fn level(self) -> Equal {
        Equal::To(match self {
            Normalizer::ZScore | Normalizer::ZScoreSample | Normalizer::Centred => 0.0,
            Normalizer::ThreeSigma | Normalizer::ThreeSigmaSample => 0.5,
            _ => 1.0,
        })
    }

    /// The scale of a list; `equal` says what equal scores become.
    ///
    /// ```
    /// use parallax::fusion::{Equal, Normalizer, normalize::Side};
    /// let on = |normalizer: Normalizer| {
    ///     let scale = normalizer.scale(&[2.0, 4.0, 3.0], Side::Sparse, Equal::To(1.0));
    ///     [2.0, 4.0, 3.0].map(|score| scale.of(score))
    /// };
    /// assert_eq!(on(Normalizer::MinMax), [0.0, 1.0, 0.5]);
    /// assert_eq!(on(Normalizer::TheoreticalMinMax), [0.5, 1.0, 0.75]);
    /// assert_eq!(on(Normalizer::ThreeSigmaSample), [1.0 / 3.0, 2.0 / 3.0, 0.5]); // mean 3, sd 1: 0 to 6
    /// ```
    pub fn scale(self, list: &[f64], side: Side, equal: Equal) -> Scale {
        let n = list.len() as f64;
        let lowest = list.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = list.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = || list.iter().sum::<f64>() / n;
        let deviation = |freedom: f64| {
            let mean = mean();
            let squares = list.iter().map(|score| (score - mean).powi(2)).sum::<f64>();
            // Equal scores have no spread, whatever their sum rounds to.
            if highest > lowest && freedom > 0.0 { (squares / freedom).sqrt() } else { 0.0 }
        };
        let level = match equal {
            Equal::To(_) if highest == 0.0 && side == Side::Sparse => 0.0,
            Equal::To(level) => level,
            Equal::RawMaximum => highest,
        };
        let within = |from: f64, spread: f64| Scale { from, spread, level, level_at_from: false, squash: None };
        let three_sigma = |sd: f64| within(mean() - 3.0 * sd, 6.0 * sd);
        let z = |sd: f64| Scale { level_at_from: true, ..within(mean(), sd) };
        match self {
            Normalizer::MinMax => within(lowest, highest - lowest),
            Normalizer::TheoreticalMinMax => {
                let from = side.least().min(lowest);
                within(from, highest - from)
            }
            Normalizer::ZScore => z(deviation(n)),
            Normalizer::ZScoreSample => z(deviation(n - 1.0)),
            Normalizer::ThreeSigma => three_sigma(deviation(n)),
            Normalizer::ThreeSigmaSample => three_sigma(deviation(n - 1.0)),
            Normalizer::L2 => within(0.0, list.iter().map(|score| score * score).sum::<f64>().sqrt()),
            Normalizer::Centred => within((lowest + highest) / 2.0, highest - lowest),
            Normalizer::Arctan => Scale { squash: Some(side), ..within(0.0, 1.0) },
            Normalizer::None => within(0.0, 1.0),
        }
    }
}

impl fmt::Display for Normalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Normalizer::MinMax => "min-max",
            Normalizer::TheoreticalMinMax => "theoretical min-max",
            Normalizer::ZScore => "z-score",
            Normalizer::ZScoreSample => "z-score of a sample",
            Normalizer::ThreeSigma => "three-sigma",
            Normalizer::ThreeSigmaSample => "three-sigma of a sample",
            Normalizer::L2 => "l2",
            Normalizer::Centred => "centred",
            Normalizer::Arctan => "arctan",
            Normalizer::None => "raw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Normalizer; 10] = [
        Normalizer::MinMax,
        Normalizer::TheoreticalMinMax,
        Normalizer::ZScore,
        Normalizer::ZScoreSample,
        Normalizer::ThreeSigma,
        Normalizer::ThreeSigmaSample,
        Normalizer::L2,
        Normalizer::Centred,
        Normalizer::Arctan,
        Normalizer::None,
    ];

    fn check(normalizer: Normalizer, list: &[f64], side: Side, expected: &[f64]) {
        let scale = normalizer.scale(list, side, normalizer.level());
        for (score, expected) in list.iter().zip(expected) {
            assert!(
                (scale.of(*score) - expected).abs() < 1e-12,
                "{normalizer} {list:?}: {} {expected}",
                scale.of(*score)
            );
        }
    }

    #[test]
    fn equal_scores_are_one_and_no_match_is_zero() {
        for normalizer in [Normalizer::MinMax, Normalizer::TheoreticalMinMax] {
            check(normalizer, &[0.0, 0.0], Side::Sparse, &[0.0, 0.0]);
            check(normalizer, &[3.0], Side::Sparse, &[1.0]);
        }
        check(Normalizer::MinMax, &[3.0, 3.0], Side::Sparse, &[1.0, 1.0]);
        check(Normalizer::MinMax, &[0.0, 0.0], Side::Dense, &[1.0, 1.0]);
        check(Normalizer::TheoreticalMinMax, &[0.0, 1.0], Side::Dense, &[0.5, 1.0]);
        // A tenth is no sum of binary fractions: its mean may differ from it by a rounding.
        check(Normalizer::ZScore, &[0.1; 3], Side::Dense, &[0.0; 3]);
    }

    #[test]
    fn formulas_by_hand() {
        // Mean 2, squares 1 + 1: population sd 1, sample sd √2.
        check(Normalizer::ZScore, &[1.0, 3.0], Side::Sparse, &[-1.0, 1.0]);
        check(Normalizer::ZScoreSample, &[1.0, 3.0], Side::Sparse, &[-0.5f64.sqrt(), 0.5f64.sqrt()]);
        check(Normalizer::ThreeSigma, &[1.0, 3.0], Side::Sparse, &[1.0 / 3.0, 2.0 / 3.0]);
        check(Normalizer::L2, &[3.0, -4.0], Side::Dense, &[0.6, -0.8]);
        check(Normalizer::Centred, &[1.0, 3.0], Side::Sparse, &[-0.5, 0.5]);
        check(Normalizer::Arctan, &[1.0], Side::Sparse, &[0.5]);
        check(Normalizer::Arctan, &[0.5], Side::Dense, &[0.75]);
        check(Normalizer::None, &[7.0], Side::Sparse, &[7.0]);
        let at_mean = Normalizer::ZScoreSample.scale(&[1.0, 2.0, 3.0], Side::Sparse, Equal::RawMaximum);
        assert_eq!([1.0, 2.0, 3.0].map(|score| at_mean.of(score)), [-1.0, 3.0, 1.0]);
    }

    proptest! {
        #[test]
        fn every_scale_keeps_the_order(list in prop::collection::vec(0f64..50.0, 1..20)) {
            for normalizer in ALL {
                let scale = normalizer.scale(&list, Side::Sparse, normalizer.level());
                for (a, b) in list.iter().zip(&list[1..]) {
                    let kept = (scale.of(*a) - scale.of(*b)) * (a - b) >= 0.0;
                    prop_assert!(kept, "{} {:?}", normalizer, list);
                }
            }
        }
    }
}

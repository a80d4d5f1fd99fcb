//! Which survivors are taken: the best, any, or any with odds that rise with the score.

use super::options::Sampling;
use crate::random::Random;

/// Places of `n` survivors (fewer where there are fewer), ascending; `scores` are the survivors' own, best first.
///
/// `Softmax` takes without putting back, by adding a Gumbel draw to each log-odds and keeping the greatest sums
/// (Kool, van Hoof & Welling, "Stochastic beams and where to find them", 2019).
pub(super) fn pick(scores: &[f64], n: usize, sampling: Sampling, random: &mut Random) -> Vec<usize> {
    let n = n.min(scores.len());
    let mut taken: Vec<usize> = match sampling {
        Sampling::Top => (0..n).collect(),
        Sampling::Random => {
            let mut places: Vec<usize> = (0..scores.len()).collect();
            for i in 0..n {
                let j = i + random.below(places.len() - i);
                places.swap(i, j);
            }
            places.truncate(n);
            places
        }
        Sampling::Softmax => {
            let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
            let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / scores.len().max(1) as f64;
            let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
            let gumbel = |random: &mut Random| -(-(1.0 - random.unit()).ln()).ln();
            let mut keys: Vec<(f64, usize)> =
                scores.iter().enumerate().map(|(i, score)| ((score - mean) / deviation + gumbel(random), i)).collect();
            keys.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            keys.into_iter().take(n).map(|(_, i)| i).collect()
        }
    };
    taken.sort_unstable();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_is_there_once(scores in prop::collection::vec(-9f64..9.0, 0..40), n in 0usize..50, seed: u64) {
            for sampling in [Sampling::Top, Sampling::Random, Sampling::Softmax] {
                let taken = pick(&scores, n, sampling, &mut Random::new(seed));
                prop_assert_eq!(taken.len(), n.min(scores.len()));
                prop_assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(taken.iter().all(|place| *place < scores.len()));
                prop_assert_eq!(&taken, &pick(&scores, n, sampling, &mut Random::new(seed)));
            }
        }
    }

    #[test]
    fn odds_are_those_of_the_softmax() {
        // Mean 0 and standard deviation 1: the odds of the first are e / (e + 1/e) = .881.
        let mut random = Random::new(9);
        let firsts = (0..10_000).filter(|_| pick(&[1.0, -1.0], 1, Sampling::Softmax, &mut random) == [0]).count();
        // Four standard errors: 4 √(.881 · .119 / 10,000) = .013.
        assert!((firsts as f64 / 10_000.0 - 0.881).abs() < 0.013, "{firsts}");
        let firsts = (0..10_000).filter(|_| pick(&[1.0, -1.0], 1, Sampling::Random, &mut random) == [0]).count();
        assert!((firsts as f64 / 10_000.0 - 0.5).abs() < 0.02, "{firsts}");
    }
}

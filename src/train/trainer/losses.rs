//! Losses of the first and of the latest steps, from which a report's two figures come.
//!
//! Of `n` steps the means are over `min(20, n / 2)` steps at either end, so that no step is in both: had they one in
//! common, a short training would seem to stand still. A single step has one figure, twice.

use serde::{Deserialize, Serialize};

/// Steps a mean is over, at most.
const WINDOW: usize = 20;

/// Kept as bits, which JSON gives back whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::train) struct Losses {
    first: Vec<u64>,
    latest: Vec<u64>,
}

impl Losses {
    pub(super) fn push(&mut self, loss: f64) {
        if self.first.len() < WINDOW {
            self.first.push(loss.to_bits());
        }
        if self.latest.len() == WINDOW {
            self.latest.remove(0);
        }
        self.latest.push(loss.to_bits());
    }

    /// Mean of the latest.
    pub(super) fn now(&self) -> f64 {
        mean(&self.latest)
    }

    /// Means of the first and of the last of `steps` steps.
    pub(super) fn ends(&self, steps: usize) -> (f64, f64) {
        let n = (steps / 2).clamp(1, WINDOW);
        (mean(&self.first[..n.min(self.first.len())]), mean(&self.latest[self.latest.len().saturating_sub(n)..]))
    }
}

fn mean(losses: &[u64]) -> f64 {
    losses.iter().map(|bits| f64::from_bits(*bits)).sum::<f64>() / losses.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_have_no_step_in_common() {
        let ends = |n: usize| {
            let mut losses = Losses::default();
            (1..=n).for_each(|step| losses.push(step as f64));
            losses.ends(n)
        };
        assert_eq!(ends(1), (1.0, 1.0));
        assert_eq!(ends(2), (1.0, 2.0));
        // The middle one of seven is in neither: 1, 2, 3 and 5, 6, 7.
        assert_eq!(ends(7), (2.0, 6.0));
        assert_eq!(ends(20), (5.5, 15.5));
        assert_eq!(ends(100), (10.5, 90.5));
    }

    #[test]
    fn json_gives_back_every_bit() {
        let mut losses = Losses::default();
        [1.0 / 3.0, 0.1 + 0.2, f64::MIN_POSITIVE].into_iter().for_each(|loss| losses.push(loss));
        let json = serde_json::to_string(&losses).unwrap();
        assert_eq!(serde_json::from_str::<Losses>(&json).unwrap(), losses);
    }
}

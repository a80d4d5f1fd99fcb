//! Dropout whose masks follow from a text's seed and a place in the network, and so can be drawn again.
//!
//! A value is kept with probability `1 - p` and then divided by it, so that its expectation stays; `p` is rounded to a
//! 65,536th. Masks are never stored: the way back draws them anew. The bits are those of
//! [`Random`], four values of 16 bits a number.
//!
//! ```text
//! y_i = x_i / (1 - p)  where  bits_i ≥ 65536 p,  else 0
//! ```
//!
//! Cost: about a nanosecond a value, forward and backward each; a seventh of MiniLM's step.
//!
//! Source: N. Srivastava and others, Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.

use crate::random::{Random, mix};
use crate::train::tower::Dropout;

/// Of 65,536 draws, those that drop a value.
const DRAWS: f32 = 65_536.0;

/// The masks of one forward pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masks {
    dropout: Dropout,
    threshold: u64,
}

impl Masks {
    /// Masks that drop a share `rate` in `[0, 1)`; `None` where nothing would be dropped.
    pub(crate) fn new(dropout: Option<Dropout>, rate: f32) -> Option<Self> {
        let threshold = (rate * DRAWS).round() as u64;
        dropout.filter(|_| threshold > 0).map(|dropout| Masks { dropout, threshold })
    }

    /// What draws for all texts of the call may start from.
    pub(crate) fn seed(&self) -> u64 {
        self.dropout.text_seed(0)
    }

    /// The share of values that is dropped, and what the others are multiplied by.
    pub(crate) fn rate(&self) -> (f64, f64) {
        let share = self.threshold as f64 / f64::from(DRAWS);
        (share, 1.0 / (1.0 - share))
    }

    /// The mask at a place of the network for a text of the call (0 is its first).
    pub(crate) fn at(&self, text: usize, place: usize) -> Mask {
        let key = mix(self.dropout.text_seed(text) ^ mix(place as u64 + 1));
        Mask { key, threshold: self.threshold }
    }
}

/// Which values of one block are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    key: u64,
    threshold: u64,
}

impl Mask {
    /// The mask of part `part` of a block: one of several heads.
    pub(crate) fn part(&self, part: usize) -> Mask {
        Mask { key: mix(self.key ^ mix(part as u64 + 1)), ..*self }
    }

    /// Drops values of `x`, scales the others.
    pub(crate) fn apply(&self, x: &mut [f32]) {
        let scale = DRAWS / (DRAWS - self.threshold as f32);
        let mut random = Random::new(self.key);
        for four in x.chunks_mut(4) {
            let bits = random.next_u64();
            for (i, x) in four.iter_mut().enumerate() {
                let kept = (bits >> (16 * i)) & 0xffff >= self.threshold;
                *x = if kept { *x * scale } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_dropped_and_the_mean_are_as_asked() {
        let masks = Masks::new(Some(Dropout { seed: 3, first_text: 0 }), 0.1).unwrap();
        let mut x = vec![1.0f32; 100_000];
        masks.at(0, 0).apply(&mut x);
        let dropped = x.iter().filter(|x| **x == 0.0).count() as f64 / 1e5;
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / 1e5;
        // Four standard errors of a share of .1: 4 √(.09 / 100,000) = .0038; the mean has those of .9 over .9.
        assert!((dropped - 0.1).abs() < 0.0038 && (mean - 1.0).abs() < 0.0043, "{dropped} {mean}");
        assert!(Masks::new(None, 0.1).is_none());
        assert!(Masks::new(Some(Dropout { seed: 3, first_text: 0 }), 0.0).is_none());
    }

    #[test]
    fn a_mask_is_that_of_its_text_and_place_alone() {
        let drawn = |seed, first_text, text, place| {
            let mut x = vec![1.0f32; 64];
            Masks::new(Some(Dropout { seed, first_text }), 0.5).unwrap().at(text, place).apply(&mut x);
            x
        };
        assert_eq!(drawn(1, 0, 5, 2), drawn(1, 3, 2, 2));
        for other in [drawn(2, 0, 5, 2), drawn(1, 0, 4, 2), drawn(1, 0, 5, 3)] {
            assert_ne!(drawn(1, 0, 5, 2), other);
        }
    }
}

//! Near duplicates by MinHash: texts that share most of their word shingles.
//!
//! A text comes in and becomes the set of its *shingles*: runs of three consecutive words (Hangul and other unspaced words
//! count by their own text, lower-cased). The share two sets have in common, `J = |A ∩ B| / |A ∪ B|` (Jaccard), is
//! estimated by the share of [`HASHES`] independent hash functions whose minimum over both sets is equal; its standard
//! error is at most `½ / √128 ≈ .044`.
//!
//! Candidates are found without comparing all pairs (locality-sensitive hashing). Two signatures that agree in at least
//! `a = ⌈128 t⌉` minima differ in `128 − a` at most; cut into `128 − a + 1` bands, one band has to be equal. So of the pairs
//! whose estimate is at least `t` none is missed. For `t = .8` these are 26 bands of four or five minima.
//!
//! ```
//! use parallax::text::shingles::NearDuplicates;
//! let text = |ending: &str| format!("the quick brown fox jumps over the lazy dog and runs far away into the deep green forest of {ending}");
//! let mut seen = NearDuplicates::default();
//! assert_eq!(seen.insert_or_match(&text("pines")), None);
//! assert_eq!(seen.insert_or_match("another text about the moon and the tides"), None);
//! assert_eq!(seen.insert_or_match(&text("firs")), Some(0));
//! ```
//!
//! Cost: linear in the text for a signature; 512 bytes and 26 table entries a kept text. Sources: A. Broder, "On the
//! resemblance and containment of documents", 1997; P. Indyk and R. Motwani, "Approximate nearest neighbors", 1998.

use super::words;
use crate::random::{GOLDEN, mix};
use std::collections::HashMap;

/// Hash functions a signature.
pub const HASHES: usize = 128;
/// Words a shingle.
const SHINGLE: usize = 3;
/// Estimated Jaccard similarity from which two texts are near duplicates.
pub const THRESHOLD: f64 = 0.8;

/// The minima of a text's shingles under [`HASHES`] functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(Box<[u32; HASHES]>);

impl Signature {
    /// A text's signature; `None` for a text without a word.
    pub fn of(text: &str) -> Option<Self> {
        let lowered = text.to_lowercase();
        let words: Vec<u64> =
            words::spans(&lowered).into_iter().map(|(a, b)| hash(&lowered.as_bytes()[a..b])).collect();
        if words.is_empty() {
            return None;
        }
        let shingles = words.windows(SHINGLE.min(words.len()));
        Some(Signature::of_hashes(
            shingles.map(|shingle| shingle.iter().fold(0, |joined: u64, word| mix(joined.rotate_left(17) ^ word))),
        ))
    }

    /// The signature of a set of words, in any order and each once: for texts too short for shingles. `None` of none.
    pub fn of_words<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<Self> {
        let mut words = words.into_iter().map(|word| hash(word.as_bytes())).peekable();
        words.peek()?;
        Some(Signature::of_hashes(words))
    }

    fn of_hashes(hashes: impl Iterator<Item = u64>) -> Self {
        let mut minima = [u32::MAX; HASHES];
        for hash in hashes {
            for (i, minimum) in minima.iter_mut().enumerate() {
                // One strong hash, mixed with each function's own constant.
                let value = (mix(hash ^ (i as u64 + 1).wrapping_mul(GOLDEN)) >> 32) as u32;
                *minimum = value.min(*minimum);
            }
        }
        Signature(Box::new(minima))
    }

    /// One key a band; signatures whose estimated similarity is at least `threshold` share one of them. A band's number is
    /// part of its key, so that one table holds all bands.
    pub fn bands(&self, threshold: f64) -> impl Iterator<Item = u64> {
        let agree = ((threshold * HASHES as f64).ceil() as usize).clamp(1, HASHES);
        let count = HASHES + 1 - agree;
        (0..count).map(move |band| {
            let minima = &self.0[band * HASHES / count..(band + 1) * HASHES / count];
            minima.iter().fold(mix(band as u64 + 1), |key, minimum| mix(key ^ u64::from(*minimum)))
        })
    }

    /// Estimated Jaccard similarity of the two texts' shingles, 0 to 1.
    pub fn similarity(&self, other: &Signature) -> f64 {
        self.0.iter().zip(other.0.iter()).filter(|(a, b)| a == b).count() as f64 / HASHES as f64
    }
}

/// Texts seen so far; recognises one that is nearly an earlier one.
#[derive(Default)]
pub struct NearDuplicates {
    kept: Vec<Signature>,
    bands: HashMap<u64, Vec<u32>>,
}

impl NearDuplicates {
    /// The number of the earliest kept text that this one nearly equals; `None` keeps the text under the next number.
    /// A text without a word equals nothing and is not kept.
    pub fn insert_or_match(&mut self, text: &str) -> Option<u32> {
        let signature = Signature::of(text)?;
        let keys: Vec<u64> = signature.bands(THRESHOLD).collect();
        let met = keys.iter().filter_map(|key| self.bands.get(key)).flatten();
        let twin = met.filter(|kept| self.kept[**kept as usize].similarity(&signature) >= THRESHOLD).min().copied();
        if twin.is_none() {
            let number = self.kept.len() as u32;
            for key in keys {
                self.bands.entry(key).or_default().push(number);
            }
            self.kept.push(signature);
        }
        twin
    }
}

/// FNV-1a over the bytes, then mixed; the same on every machine.
fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` words from a seed.
    fn text(seed: u64, n: u64) -> Vec<String> {
        (0..n).map(|i| format!("w{}", mix(seed ^ (i << 8)) % 5000)).collect()
    }

    #[test]
    fn the_estimate_is_near_the_true_share() {
        let words = text(1, 200);
        for changed in [5, 20, 60] {
            let mut other = words.clone();
            other[200 - changed..].clone_from_slice(&text(2, 200)[200 - changed..]);
            // The last `changed` words differ: 198 - changed shingles are shared of 198 each.
            let shared = 198.0 - changed as f64;
            let truth = shared / (2.0 * 198.0 - shared);
            let (a, b) = (Signature::of(&words.join(" ")).unwrap(), Signature::of(&other.join(" ")).unwrap());
            assert!((a.similarity(&b) - truth).abs() < 0.15, "{changed}: {} {truth}", a.similarity(&b));
        }
    }

    #[test]
    fn case_and_punctuation_do_not_hide_a_twin_and_strangers_stay() {
        let mut seen = NearDuplicates::default();
        for seed in 0..50 {
            assert_eq!(seen.insert_or_match(&text(seed + 10, 60).join(" ")), None);
        }
        assert_eq!(seen.insert_or_match(&text(17, 60).join(", ").to_uppercase()), Some(7));
        assert_eq!(seen.insert_or_match(""), None);
        assert_eq!(seen.insert_or_match("..."), None);
    }

    #[test]
    fn sets_of_words_have_no_order() {
        let of = |text: &str| Signature::of_words(text.split_whitespace());
        assert_eq!(of("who built the tower"), of("the tower who built built"));
        assert_eq!(of(" "), None);
        // Four words of five are shared.
        let share = of("a b c d e").unwrap().similarity(&of("a b c d").unwrap());
        assert!((share - 0.8).abs() < 0.15, "{share}");
    }

    #[test]
    fn short_texts_have_one_shingle() {
        let mut seen = NearDuplicates::default();
        assert_eq!(seen.insert_or_match("해"), None);
        assert_eq!(seen.insert_or_match("해!"), Some(0));
        assert_eq!(seen.insert_or_match("달"), None);
    }
}

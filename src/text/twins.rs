//! Texts that say the same: equal words, and near duplicates.
//!
//! A text comes in and becomes a [`Print`]: a hash of its words and its MinHash signature ([`super::shingles`]). Out go the
//! known texts it is a twin of ([`Twins`]), or the groups in which many texts are twins of each other ([`groups`]).
//!
//! Nothing is compared with everything: only texts that share a [band](Signature::bands) are, and of those whose estimated
//! similarity reaches the threshold none is missed.
//!
//! ```
//! use parallax::text::twins::{Likeness, Print, Twins};
//! let known = ["The Moon orbits the Earth once in a month.", "A star."].map(Print::of);
//! let twins = Twins::new(known.to_vec(), 0.8);
//! assert_eq!(twins.of(&Print::of("the moon orbits the Earth, once in a month")), [(0, Likeness::Exact)]);
//! assert_eq!(twins.of(&Print::of("The Sun is a star.")), []);
//! ```
//!
//! Cost: some 20 µs a text of 100 words for its print, 512 bytes and a table entry a band to keep it. Sources: those of
//! [`super::shingles`].

use super::shingles::{Signature, THRESHOLD};
use super::words;
use rayon::prelude::*;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a text is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// Equal for texts of the same words, whatever their case, punctuation and space; `None` without a word.
    pub words: Option<u64>,
    /// MinHash of the text; `None` without a word.
    pub signature: Option<Signature>,
}

impl Print {
    /// A text's print.
    pub fn of(text: &str) -> Self {
        Print { words: word_hash(text), signature: Signature::of(text) }
    }

    /// How a text is like another one, if it is: signatures count from an estimated similarity of `threshold` on.
    pub fn likeness(&self, other: &Print, threshold: f64) -> Option<Likeness> {
        if self.words.is_some() && self.words == other.words {
            return Some(Likeness::Exact);
        }
        let (own, other) = (self.signature.as_ref()?, other.signature.as_ref()?);
        (own.similarity(other) >= threshold).then_some(Likeness::Near)
    }
}

/// How two texts are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Likeness {
    /// The same words in the same order.
    Exact,
    /// Nearly the same.
    Near,
}

/// A hash of a text's words, lower-cased; `None` where it has none.
pub fn word_hash(text: &str) -> Option<u64> {
    let lowered = text.to_lowercase();
    let spans = words::spans(&lowered);
    // SipHash with fixed keys: equal in every run of the program.
    let mut hasher = DefaultHasher::new();
    spans.iter().for_each(|(start, end)| lowered[*start..*end].hash(&mut hasher));
    (!spans.is_empty()).then(|| hasher.finish())
}

/// Known texts, ready to recognise their twins; by default none.
#[derive(Clone, Debug, Default)]
pub struct Twins {
    threshold: f64,
    prints: Vec<Print>,
    /// `(hash of the words, number)`, ascending.
    words: Vec<(u64, u32)>,
    /// `(key of a band, number)`, ascending.
    bands: Vec<(u64, u32)>,
}

impl Twins {
    /// Keeps some texts' prints under their numbers, from 0; `threshold` is the estimated similarity from which on texts
    /// are twins, 0 to 1.
    pub fn new(prints: Vec<Print>, threshold: f64) -> Self {
        let numbered = || prints.par_iter().zip(0u32..prints.len() as u32);
        let mut words: Vec<(u64, u32)> = numbered().filter_map(|(print, i)| Some((print.words?, i))).collect();
        words.par_sort_unstable();
        let keys = |(print, i): (&Print, u32)| {
            let signature = print.signature.as_ref();
            let keys = signature.map(|signature| signature.bands(threshold).map(|key| (key, i)).collect::<Vec<_>>());
            keys.unwrap_or_default()
        };
        let mut bands: Vec<(u64, u32)> = numbered().flat_map_iter(keys).collect();
        bands.par_sort_unstable();
        Twins { threshold, prints, words, bands }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }

    /// The kept texts a text is a twin of, by number.
    pub fn of(&self, print: &Print) -> Vec<(u32, Likeness)> {
        let mut met: Vec<u32> = self.met(print).collect();
        met.sort_unstable();
        met.dedup();
        let like = |number: u32| Some((number, self.prints[number as usize].likeness(print, self.threshold)?));
        met.into_iter().filter_map(like).collect()
    }

    /// Whether a text is a twin of any kept one.
    pub fn any(&self, print: &Print) -> bool {
        self.met(print).any(|number| self.prints[number as usize].likeness(print, self.threshold).is_some())
    }

    /// Numbers of the texts that may be twins, some of them repeatedly.
    fn met<'a>(&'a self, print: &'a Print) -> impl Iterator<Item = u32> + 'a {
        let same = print.words.into_iter().flat_map(|words| under(&self.words, words));
        let near = print.signature.iter().flat_map(|signature| signature.bands(self.threshold));
        same.chain(near.flat_map(|key| under(&self.bands, key)))
    }
}

/// The numbers under a key.
fn under(table: &[(u64, u32)], key: u64) -> impl Iterator<Item = u32> + '_ {
    let from = table.partition_point(|(other, _)| *other < key);
    table[from..].iter().take_while(move |(other, _)| *other == key).map(|(_, number)| *number)
}

/// The group of each text: the number of its first text. Texts without a word are alone.
///
/// Two texts whose signatures agree in [`THRESHOLD`] are in one group, and groups that share a text are one group. Bands are
/// gone through one after the other, which needs no table of all of them; in a band only a text's neighbour and the first
/// of its bucket are compared: chains close through the union.
pub fn groups(signatures: &[Option<Signature>]) -> Vec<u32> {
    let count = signatures.iter().flatten().next().map_or(0, |signature| signature.bands(THRESHOLD).count());
    let pairs = (0..count).into_par_iter().flat_map_iter(|band| {
        let keys = signatures
            .iter()
            .zip(0u32..)
            .filter_map(|(signature, i)| Some((signature.as_ref()?.bands(THRESHOLD).nth(band)?, i)));
        let mut keys: Vec<(u64, u32)> = keys.collect();
        keys.sort_unstable();
        let buckets = keys.chunk_by(|a, b| a.0 == b.0).filter(|bucket| bucket.len() > 1);
        let pairs = buckets.flat_map(|bucket| {
            let pairs = bucket.windows(2).flat_map(|pair| [(pair[0].1, pair[1].1), (bucket[0].1, pair[1].1)]);
            pairs.collect::<Vec<_>>()
        });
        let twins = pairs.filter(|(a, b)| match (&signatures[*a as usize], &signatures[*b as usize]) {
            (Some(a), Some(b)) => a.similarity(b) >= THRESHOLD,
            _ => false,
        });
        twins.collect::<Vec<_>>()
    });
    let mut group: Vec<u32> = (0..signatures.len() as u32).collect();
    for (a, b) in pairs.collect::<Vec<_>>() {
        let (a, b) = (root(&mut group, a), root(&mut group, b));
        group[a.max(b) as usize] = a.min(b);
    }
    for i in 0..signatures.len() as u32 {
        group[i as usize] = root(&mut group, i);
    }
    group
}

/// The first text of a group, paths halved on the way (R. Tarjan, J. van Leeuwen, 1984).
pub(crate) fn root(group: &mut [u32], mut i: u32) -> u32 {
    while group[i as usize] != i {
        let above = group[i as usize];
        group[i as usize] = group[above as usize];
        i = group[i as usize];
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// `n` texts of 100 words each.
    fn texts(seed: u64, n: usize) -> Vec<Vec<String>> {
        let mut random = Random::new(seed);
        (0..n).map(|_| (0..100).map(|_| format!("w{}", random.below(5000))).collect()).collect()
    }

    /// A text with some of its words replaced, from a place on.
    fn changed(text: &[String], at: usize, by: &[String]) -> Vec<String> {
        let mut twin = text.to_vec();
        twin[at..at + by.len()].clone_from_slice(by);
        twin
    }

    #[test]
    fn twins_and_chains_of_twins_are_one_group_and_strangers_are_alone() {
        let mut texts = texts(1, 60);
        let other = self::texts(2, 1).remove(0);
        // 60 is a twin of 7, 61 one of 60 (further from 7), 62 equals 3.
        texts.push(changed(&texts[7], 0, &other[..4]));
        texts.push(changed(&texts[60], 96, &other[4..8]));
        texts.push(texts[3].clone());
        texts.push(Vec::new());
        texts.push(Vec::new());
        let signatures: Vec<_> = texts.iter().map(|text| Signature::of(&text.join(" "))).collect();
        let group = groups(&signatures);
        assert_eq!((group[60], group[61], group[62]), (7, 7, 3));
        assert!((0..60).all(|i| group[i] == i as u32));
        assert_eq!((group[63], group[64]), (63, 64));
    }

    #[test]
    fn bands_miss_no_twin_that_comparing_all_finds() {
        let mut texts = texts(3, 40);
        let other = self::texts(4, 1).remove(0);
        for (from, many) in [(0, 2), (1, 6), (2, 10), (3, 16), (4, 24), (5, 30), (6, 36)] {
            texts.push(changed(&texts[from], 90 - many, &other[..many]));
        }
        let prints: Vec<Print> = texts.iter().map(|text| Print::of(&text.join(" "))).collect();
        for threshold in [0.5, 0.8, 0.95, 1.0] {
            let twins = Twins::new(prints.clone(), threshold);
            let mut near = 0;
            for print in &prints {
                let all = prints.iter().zip(0u32..);
                let all: Vec<_> = all.filter_map(|(p, i)| Some((i, p.likeness(print, threshold)?))).collect();
                near += all.iter().filter(|(_, likeness)| *likeness == Likeness::Near).count();
                assert_eq!(twins.of(print), all);
                assert!(twins.any(print));
            }
            assert_eq!(near > 0, threshold < 0.9, "{threshold}: {near}");
        }
    }

    #[test]
    fn words_alone_decide_whether_two_texts_are_the_same() {
        let same = |a: &str, b: &str| word_hash(a) == word_hash(b);
        assert!(same("The Fox, jumping!", "the fox jumping"));
        assert!(!same("the fox jumping", "the jumping fox"));
        assert!(!same("ab c", "a bc"));
        assert_eq!(word_hash(" … "), None);
        assert_eq!(Twins::new(vec![Print::of("…")], 0.8).of(&Print::of("…")), []);
    }
}

//! Groups of passages that say the same: equal texts and near duplicates.
//!
//! Two texts whose MinHash signatures agree enough ([`crate::text::shingles`]) are in one group, and groups that share
//! a text are one group. Candidates meet in a band as there, but band after band over all texts at once, which needs
//! 512 bytes a text instead of the 2.5 kB of a growing table, and runs on all threads. In a band only a text's
//! neighbour and the first of its bucket are compared: chains close through the union.
//!
//! Cost: some 20 µs a passage of 100 words for its signature, then 32 sorts.

use crate::error::Result;
use crate::progress::Progress;
use crate::text::shingles::{Signature, THRESHOLD};
use rayon::prelude::*;

/// Texts between two looks at whether to stop.
const BLOCK: usize = 1 << 14;

/// The group of each of `n` texts: the number of its first text. Texts without a word are alone.
pub(super) fn groups(n: usize, text: impl Fn(usize) -> String + Sync, progress: &dyn Progress) -> Result<Vec<u32>> {
    let mut signatures: Vec<Option<Signature>> = Vec::with_capacity(n);
    while signatures.len() < n {
        progress.checkpoint()?;
        let from = signatures.len();
        signatures.par_extend((from..n.min(from + BLOCK)).into_par_iter().map(|i| Signature::of(&text(i))));
    }
    let bands = signatures.iter().flatten().next().map_or(0, |signature| signature.bands().count());
    let pairs = (0..bands).into_par_iter().flat_map_iter(|band| {
        let keys = signatures
            .iter()
            .zip(0u32..)
            .filter_map(|(signature, i)| Some((signature.as_ref()?.bands().nth(band)?, i)));
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
    let mut group: Vec<u32> = (0..n as u32).collect();
    for (a, b) in pairs.collect::<Vec<_>>() {
        let (a, b) = (root(&mut group, a), root(&mut group, b));
        group[a.max(b) as usize] = a.min(b);
    }
    for i in 0..n as u32 {
        group[i as usize] = root(&mut group, i);
    }
    Ok(group)
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
    use crate::progress::Silent;
    use crate::random::Random;

    #[test]
    fn twins_and_chains_of_twins_are_one_group_and_strangers_are_alone() {
        let mut random = Random::new(1);
        let mut words = |n: usize| (0..n).map(|_| format!("w{}", random.below(5000))).collect::<Vec<_>>();
        let mut texts: Vec<Vec<String>> = (0..60).map(|_| words(100)).collect();
        // 60 is a twin of 7, 61 one of 60 (further from 7), 62 equals 3.
        for from in [7, 60] {
            let mut twin = texts[from].clone();
            let at = if from == 7 { 0 } else { 96 };
            twin[at..at + 4].clone_from_slice(&words(4));
            texts.push(twin);
        }
        texts.push(texts[3].clone());
        texts.push(Vec::new());
        texts.push(Vec::new());
        let group = groups(texts.len(), |i| texts[i].join(" "), &Silent).unwrap();
        assert_eq!((group[60], group[61], group[62]), (7, 7, 3));
        assert!((0..60).all(|i| group[i] == i as u32));
        assert_eq!((group[63], group[64]), (63, 64));
    }
}

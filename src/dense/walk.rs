//! Walking a neighbour graph: the one best-first search that builders, repair and queries share.
//!
//! In: a graph as flat tables ([`View`]), a function that scores nodes, nodes to start from. Out: a beam, the best
//! `ef` nodes met, best first.
//!
//! The beam is one sorted array. Each turn opens the best node not opened yet: its unseen neighbours are scored
//! together and sorted in, and the worst beyond `ef` fall off. When every node of the beam is open, no neighbour of any
//! of them can improve it, and the walk ends. On an upper level `ef = 1` makes this the greedy descent.
//!
//! An entry is one `u64`: the score, mapped so that greater scores are smaller integers, then the node, then a bit that
//! says "opened". Sorting integers therefore sorts by score and then by ordinal, the order of every ranking.
//!
//! Cost: `O(ef · degree)` scores, measured at 5–15 · `ef`; one byte a node for what was seen, cleared every 255 walks.
//!
//! Source: Y. Malkov, D. Yashunin, Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs, 2016 (algorithm 2); the sorted array is that of C. Fu et al., Fast Approximate Nearest
//! Neighbor Search with the Navigating Spreading-out Graph, 2019.

use crate::kernel::dot::prefetch;
use std::sync::{Mutex, PoisonError};

/// In a list of neighbours: no more of them. In the table of duplicates: no further one.
pub(super) const NONE: u32 = u32::MAX;

/// A graph's tables, wherever they lie. Every number in them is checked before a walk.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// Neighbours a node may have on an upper level; twice as many on level 0.
    pub m: usize,
    /// Where walks start; [`NONE`] in a graph without nodes.
    pub entry: u32,
    /// Level 0: `2m` neighbours a node, [`NONE`] after the last.
    pub base: &'a [u32],
    /// Upper levels: `m` neighbours a list, the lists of a node together, level 1 first.
    pub upper: &'a [u32],
    /// `n + 1` numbers: node `v` has the upper lists `first[v]..first[v + 1]`.
    pub first: &'a [u32],
    /// The next row with the very same values, or [`NONE`]. Only the first of such rows is a node of the graph.
    pub next: &'a [u32],
}

impl<'a> View<'a> {
    /// Rows the graph is over, duplicates included.
    pub(super) fn len(&self) -> usize {
        self.next.len()
    }

    /// The highest level a node is on.
    pub(super) fn level(&self, node: u32) -> usize {
        (self.first[node as usize + 1] - self.first[node as usize]) as usize
    }

    /// A node's neighbours on a level it is on.
    pub(super) fn neighbours(&self, node: u32, level: usize) -> impl Iterator<Item = u32> + use<'a> {
        self.list(node, level).iter().copied().take_while(|neighbour| *neighbour != NONE)
    }

    /// A node's list on a level it is on, with the room after its last neighbour.
    fn list(&self, node: u32, level: usize) -> &'a [u32] {
        match level {
            0 => &self.base[node as usize * 2 * self.m..][..2 * self.m],
            _ => &self.upper[(self.first[node as usize] as usize + level - 1) * self.m..][..self.m],
        }
    }

    /// Goes down from the entry point to just above `level`, greedily, and gives the node reached, with its score.
    pub(super) fn descend(
        &self,
        level: usize,
        scratch: &mut Scratch,
        score: &mut impl FnMut(&[u32], &mut Vec<f32>),
    ) -> Option<(u32, f32)> {
        if self.entry == NONE {
            return None;
        }
        score(&[self.entry], &mut scratch.scores);
        let mut best = (self.entry, scratch.scores.first().copied()?);
        for level in (level + 1..=self.level(self.entry)).rev() {
            self.explore(level, &[best], 1, scratch, score);
            best = scratch.found().next().unwrap_or(best);
        }
        Some(best)
    }

    /// Walks one level from scored nodes; the beam is then in `scratch`.
    pub(super) fn explore(
        &self,
        level: usize,
        starts: &[(u32, f32)],
        ef: usize,
        scratch: &mut Scratch,
        score: &mut impl FnMut(&[u32], &mut Vec<f32>),
    ) {
        scratch.begin(self.len());
        let Scratch { seen, epoch, beam, fresh, scores } = scratch;
        for (node, score) in starts {
            seen[*node as usize] = *epoch;
            beam.push(pack(*node, *score));
        }
        beam.sort_unstable();
        beam.truncate(ef);
        let mut at = 0;
        while let Some(entry) = beam.get_mut(at) {
            if *entry & OPENED != 0 {
                at += 1;
                continue;
            }
            *entry |= OPENED;
            let list = self.list(node_of(*entry), level);
            fresh.resize(list.len(), NONE);
            let mut unseen = 0;
            for neighbour in list.iter().take_while(|neighbour| **neighbour != NONE) {
                // Written in any case and counted where it is new: whether it is cannot be foretold, and a branch that
                // is foretold wrongly costs more.
                let seen = &mut seen[*neighbour as usize];
                fresh[unseen] = *neighbour;
                unseen += usize::from(*seen != *epoch);
                *seen = *epoch;
            }
            let fresh = &fresh[..unseen];
            // Unless one of these is better, the next to be opened is known: its list may come while they are scored
            // (measured: a tenth of the search).
            if let Some(next) = beam[at..].iter().find(|entry| **entry & OPENED == 0) {
                prefetch(self.list(node_of(*next), level));
            }
            score(fresh, scores);
            for (node, score) in fresh.iter().zip(scores.iter()) {
                let entry = pack(*node, *score);
                if beam.len() >= ef {
                    if beam.last().is_some_and(|worst| entry > *worst) {
                        continue;
                    }
                    beam.pop();
                }
                let place = beam.partition_point(|other| *other < entry);
                beam.insert(place, entry);
                at = at.min(place);
            }
        }
    }
}

const OPENED: u64 = 1;

/// A beam entry, not opened. Scores that are not finite come last; nodes are below 2³¹.
fn pack(node: u32, score: f32) -> u64 {
    // Adding zero makes -0.0 the 0.0 it is equal to.
    let bits = if score.is_finite() { score + 0.0 } else { f32::NEG_INFINITY }.to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!rising) << 32 | u64::from(node) << 1
}

fn node_of(entry: u64) -> u32 {
    entry as u32 >> 1
}

fn score_of(entry: u64) -> f32 {
    let rising = !((entry >> 32) as u32);
    f32::from_bits(if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising })
}

/// What a walk writes to, kept between walks.
#[derive(Default)]
pub(super) struct Scratch {
    seen: Vec<u8>,
    epoch: u8,
    beam: Vec<u64>,
    fresh: Vec<u32>,
    scores: Vec<f32>,
}

impl Scratch {
    /// Nothing seen, nothing found.
    fn begin(&mut self, n: usize) {
        self.beam.clear();
        if self.seen.len() != n || self.epoch == u8::MAX {
            self.seen.clear();
            self.seen.resize(n, 0);
            self.epoch = 0;
        }
        self.epoch += 1;
    }

    /// The last walk's beam: nodes with scores, best first.
    pub(super) fn found(&self) -> impl Iterator<Item = (u32, f32)> {
        self.beam.iter().map(|entry| (node_of(*entry), score_of(*entry)))
    }
}

/// Scratches waiting for the next walk, so that threads need not make new ones.
#[derive(Default)]
pub(super) struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    /// Lends a scratch to a function.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        // A scratch is sound whatever a panicking thread left in the list.
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = taken.unwrap_or_default();
        let result = work(&mut scratch);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_sort_as_rankings_do(
            a in (0u32..1 << 31, prop::num::f32::ANY), b in (0u32..1 << 31, prop::num::f32::NORMAL | prop::num::f32::ZERO)
        ) {
            let finite = |score: f32| if score.is_finite() { score + 0.0 } else { f32::NEG_INFINITY };
            let order = finite(b.1).total_cmp(&finite(a.1)).then(a.0.cmp(&b.0));
            prop_assert_eq!(pack(a.0, a.1).cmp(&pack(b.0, b.1)), order);
            prop_assert_eq!(node_of(pack(a.0, a.1)), a.0);
            prop_assert_eq!(score_of(pack(a.0, a.1) | OPENED).to_bits(), finite(a.1).to_bits());
        }
    }

    /// A ring of ten nodes, each linked with its two neighbours; node `v` scores `-|v - 7|`.
    fn ring(ef: usize, start: u32, scratch: &mut Scratch) -> Vec<(u32, f32)> {
        let base: Vec<u32> = (0..10).flat_map(|v| [(v + 1) % 10, (v + 9) % 10]).collect();
        let (first, next) = ([0; 11], [NONE; 10]);
        let view = View { m: 1, entry: 0, base: &base, upper: &[], first: &first, next: &next };
        let score = |node: u32| -(node as f32 - 7.0).abs();
        let mut scores = |nodes: &[u32], out: &mut Vec<f32>| {
            out.clear();
            out.extend(nodes.iter().map(|node| score(*node)));
        };
        view.explore(0, &[(start, score(start))], ef, scratch, &mut scores);
        scratch.found().collect()
    }

    #[test]
    fn a_walk_finds_the_best_in_order() {
        let mut scratch = Scratch::default();
        assert_eq!(ring(3, 2, &mut scratch), [(7, 0.0), (6, -1.0), (8, -1.0)]);
        assert_eq!(ring(1, 9, &mut scratch), [(7, 0.0)]);
        assert_eq!(ring(100, 0, &mut scratch).len(), 10);
    }

    #[test]
    fn walks_do_not_see_what_earlier_ones_saw() {
        let mut scratch = Scratch::default();
        for _ in 0..600 {
            assert_eq!(ring(10, 0, &mut scratch).len(), 10);
        }
    }
}

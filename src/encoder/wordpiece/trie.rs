//! Longest match of a vocabulary in one walk.
//!
//! Entries go in as `(bytes, id)`; the longest entry a byte string begins with comes out. The edges of a byte trie
//! `(node, byte) → node` stand in one open-addressed table that is never more than half full, so a walk costs one
//! probe a byte and building costs one insertion a byte of new prefix.

use crate::random::GOLDEN;

/// No entry ends at this node.
const NONE: u32 = u32::MAX;

/// A byte trie over a vocabulary.
pub(super) struct Trie {
    /// `(node << 8 | byte) << 32 | child`; 0 is an empty slot, as no child is the root.
    slots: Vec<u64>,
    /// `64 - log2(slots)`, for multiplicative hashing.
    shift: u32,
    /// The id of the entry that ends at a node.
    ids: Vec<u32>,
}

impl Trie {
    /// Node ids have 24 bits.
    pub(super) const MAX_BYTES: usize = (1 << 24) - 2;

    /// Builds the trie; `None` when the entries have more than [`Trie::MAX_BYTES`] bytes together.
    pub(super) fn new<'a>(entries: impl Iterator<Item = (&'a [u8], u32)> + Clone) -> Option<Self> {
        let bytes: usize = entries.clone().map(|(entry, _)| entry.len()).sum();
        if bytes > Self::MAX_BYTES {
            return None;
        }
        // Shared prefixes make nodes about a third of the bytes: start there, double when half full.
        let size = (bytes / 2).next_power_of_two().max(16);
        let mut trie = Trie { slots: vec![0; size], shift: 64 - size.trailing_zeros(), ids: vec![NONE] };
        for (entry, id) in entries {
            let mut node = 0;
            for &byte in entry {
                node = match trie.child(node, byte) {
                    Some(child) => child,
                    None => trie.add(node, byte),
                };
            }
            trie.ids[node as usize] = id;
        }
        Some(trie)
    }

    /// The node reached from the root by all of `bytes`.
    pub(super) fn descend(&self, bytes: &[u8]) -> Option<u32> {
        bytes.iter().try_fold(0, |node, &byte| self.child(node, byte))
    }

    /// Length and id of the longest entry that continues `node` and that `bytes` begins with; never of length 0.
    #[inline]
    pub(super) fn longest(&self, mut node: u32, bytes: &[u8]) -> Option<(usize, u32)> {
        let mut best = None;
        for (i, &byte) in bytes.iter().enumerate() {
            match self.child(node, byte) {
                Some(child) => node = child,
                None => break,
            }
            let id = self.ids[node as usize];
            if id != NONE {
                best = Some((i + 1, id));
            }
        }
        best
    }

    #[inline]
    fn slot(&self, key: u32) -> usize {
        (u64::from(key).wrapping_mul(GOLDEN) >> self.shift) as usize
    }

    #[inline]
    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let key = node << 8 | u32::from(byte);
        let mut at = self.slot(key);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == key {
                return Some(slot as u32);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn add(&mut self, node: u32, byte: u8) -> u32 {
        if 2 * self.ids.len() >= self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![0; 2 * old.len()];
            self.shift -= 1;
            old.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.place(slot));
        }
        let child = self.ids.len() as u32;
        self.ids.push(NONE);
        self.place(u64::from(node << 8 | u32::from(byte)) << 32 | u64::from(child));
        child
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.slot((slot >> 32) as u32);
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_longest_entry_wins(entries in prop::collection::btree_set("[abc]{1,5}", 0..40), text in "[abcd]{0,8}") {
            let entries: Vec<String> = entries.into_iter().collect();
            let trie = Trie::new(entries.iter().enumerate().map(|(id, e)| (e.as_bytes(), id as u32))).unwrap();
            let expected = (1..=text.len())
                .rev()
                .find_map(|n| Some((n, entries.iter().position(|e| *e == text[..n])? as u32)));
            prop_assert_eq!(trie.longest(0, text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_walk_can_start_below_a_prefix() {
        let trie = Trie::new([(&b"##ing"[..], 7), (b"in", 8)].into_iter()).unwrap();
        let below = trie.descend(b"##").unwrap();
        assert_eq!(trie.longest(below, b"ings"), Some((3, 7)));
        assert_eq!(trie.longest(0, b"ings"), Some((2, 8)));
        assert_eq!(trie.descend(b"#x"), None);
    }
}

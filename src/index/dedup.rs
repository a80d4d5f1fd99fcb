//! Duplicates left out of an index while its passages stream by.
//!
//! A passage comes in; whether an earlier one says the same goes out. Exact duplicates are remembered as 128-bit
//! hashes of title and text, near ones as MinHash signatures ([`shingles`](crate::text::shingles)).

use crate::collection::Passage;
use crate::storage;
use crate::text::shingles::NearDuplicates;
use std::collections::HashSet;

/// Which duplicates are left out of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dedup {
    /// None.
    #[default]
    None,
    /// Passages whose title and text equal an earlier passage's.
    Exact,
    /// Those, and passages whose word shingles are nearly an earlier passage's (MinHash).
    Near,
}

impl Dedup {
    /// The name commands and manifests use.
    pub fn name(self) -> &'static str {
        match self {
            Dedup::None => "none",
            Dedup::Exact => "exact",
            Dedup::Near => "near",
        }
    }
}

/// Recognises duplicates of passages that passed before.
pub(super) struct DedupFilter {
    kind: Dedup,
    seen: HashSet<[u8; 32]>,
    near: NearDuplicates,
    pub(super) found: u64,
}

impl DedupFilter {
    pub(super) fn new(kind: Dedup) -> Self {
        DedupFilter { kind, seen: HashSet::new(), near: NearDuplicates::default(), found: 0 }
    }

    pub(super) fn is_duplicate(&mut self, passage: &Passage) -> bool {
        let duplicate = match self.kind {
            Dedup::None => return false,
            Dedup::Exact => self.is_exact(passage),
            Dedup::Near => self.is_exact(passage) || self.near.insert_or_match(&passage.full_text()).is_some(),
        };
        self.found += u64::from(duplicate);
        duplicate
    }

    fn is_exact(&mut self, passage: &Passage) -> bool {
        let digest = storage::sha256(&[passage.title.as_bytes(), b"\0", passage.text.as_bytes()]);
        // 32 hexadecimal digits are 128 bits.
        let mut key = [0; 32];
        key.copy_from_slice(&digest.as_bytes()[..32]);
        !self.seen.insert(key)
    }
}

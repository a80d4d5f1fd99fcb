//! Ids met so far, as 96-bit hashes: enough to name both places of a duplicate, little enough for millions.
//!
//! Of each id only the first 96 bits of its sha256 and a running line number are kept, 16 bytes: among 10⁸ ids the
//! chance that any two collide is below 10⁻¹³ (n²/2 ÷ 2⁹⁶).

use super::source::Parsed;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

/// Longest id accepted, in bytes.
const MAX_ID: usize = 32 << 10;

/// The first 96 bits of the sha256 of some parts, each ended by a zero byte.
pub(super) fn digest(parts: &[&str]) -> [u32; 3] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    let hash = hasher.finalize();
    std::array::from_fn(|i| u32::from_le_bytes([hash[4 * i], hash[4 * i + 1], hash[4 * i + 2], hash[4 * i + 3]]))
}

/// What is wrong with an id, if anything.
pub(super) fn check_id(id: &str) -> Parsed<()> {
    if id.is_empty() {
        Err("the id is empty".into())
    } else if id.len() > MAX_ID {
        Err(format!("the id has {} bytes, at most {MAX_ID} are accepted", id.len()))
    } else if let Some(c) = id.chars().find(|c| c.is_control()) {
        Err(format!("the id {id:.60?} holds the control character U+{:04X}", c as u32))
    } else {
        Ok(())
    }
}

/// Which ids were met, and where.
#[derive(Default)]
pub(super) struct Seen {
    /// Hash → line, counted on over all files; `u32::MAX` where it is beyond counting.
    ids: HashMap<[u32; 3], u32>,
    /// Files with the lines that stood before them.
    files: Vec<(PathBuf, u64)>,
    /// The greatest running line so far.
    last: u64,
}

impl Seen {
    /// Lines are those of this file from now on.
    pub(super) fn file(&mut self, path: &Path) {
        self.files.push((path.to_path_buf(), self.last));
    }

    /// Notes an id after checking it; the error says what is wrong with it or where it was met before.
    pub(super) fn insert(&mut self, id: &str, line: u64) -> Parsed<()> {
        check_id(id)?;
        let running = self.files.last().map_or(0, |(_, before)| *before).saturating_add(line);
        self.last = self.last.max(running);
        let free = match self.ids.entry(digest(&[id])) {
            Entry::Vacant(free) => free,
            Entry::Occupied(taken) => {
                let first = *taken.get();
                return Err(format!("the id `{id:.80}` is already that of {}", self.place(first)));
            }
        };
        free.insert(u32::try_from(running).unwrap_or(u32::MAX));
        Ok(())
    }

    fn place(&self, running: u32) -> String {
        let known = running != u32::MAX;
        match self.files.iter().rev().find(|(_, before)| *before < u64::from(running)) {
            Some((path, before)) if known => format!("{}:{}", path.display(), u64::from(running) - before),
            _ => "an earlier record".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_names_its_first_place_in_any_file() {
        let mut seen = Seen::default();
        seen.file(Path::new("a"));
        seen.insert("x", 1).unwrap();
        seen.insert("y", 70).unwrap();
        seen.file(Path::new("b"));
        seen.insert("z", 1).unwrap();
        let again = |seen: &mut Seen, id: &str| seen.insert(id, 9).unwrap_err();
        assert_eq!(again(&mut seen, "x"), "the id `x` is already that of a:1");
        assert_eq!(again(&mut seen, "y"), "the id `y` is already that of a:70");
        assert_eq!(again(&mut seen, "z"), "the id `z` is already that of b:1");
        seen.insert("w", u64::MAX).unwrap();
        assert_eq!(again(&mut seen, "w"), "the id `w` is already that of an earlier record");
    }

    #[test]
    fn ids_are_bytes_and_clean() {
        let mut seen = Seen::default();
        seen.file(Path::new("a"));
        seen.insert("한", 1).unwrap();
        seen.insert("\u{1112}\u{1161}\u{11ab}", 2).unwrap();
        seen.insert("../\"'/ \u{202e}", 3).unwrap();
        for (id, what) in [("", "empty"), ("a\tb", "U+0009"), ("a\nb", "U+000A"), ("\0", "U+0000")] {
            assert!(seen.insert(id, 4).unwrap_err().contains(what));
        }
        assert!(check_id(&"x".repeat(MAX_ID)).is_ok());
        assert!(check_id(&"x".repeat(MAX_ID + 1)).is_err());
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}

//! What this room's tests share: small collections, built and opened.

use super::{Analyzer, Language, SparseIndex, finish, write_part};
use crate::collection::Passage;
use proptest::prelude::*;
use std::path::Path;
use tempfile::TempDir;

/// Passages over a dozen words, so that terms repeat and scores tie; some have titles, some no words at all.
pub(crate) fn passages(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Passage>> {
    let word = prop::sample::select(vec![
        "red",
        "blue",
        "green",
        "stone",
        "river",
        "cloud",
        "대한민국",
        "한국",
        "rare",
        "moss",
    ]);
    let words = |most| prop::collection::vec(word.clone(), 0..most).prop_map(|words| words.join(" "));
    prop::collection::vec((words(3), words(12)), sizes).prop_map(|texts| {
        let passage = |(i, (title, text))| Passage::new(format!("p{i}"), title, text);
        texts.into_iter().enumerate().map(passage).collect()
    })
}

/// Passages whose most frequent term fills several blocks of postings.
pub(crate) fn many(count: usize) -> Vec<Passage> {
    let passage = |i: usize| {
        let text = format!("common {} word{} word{}", "stone ".repeat(i % 4), i % 7, i % 31);
        Passage::new(format!("p{i}"), if i.is_multiple_of(5) { "Stone" } else { "" }, text)
    };
    (0..count).map(passage).collect()
}

/// Writes passages as parts that begin at 0 and at the given cuts.
pub(crate) fn write(folder: &Path, passages: &[Passage], cuts: &[usize]) -> super::SparseSummary {
    let analyzer = Analyzer::for_language(Language::English);
    let mut starts: Vec<usize> = [0].into_iter().chain(cuts.iter().map(|cut| cut % (passages.len() + 1))).collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).copied().chain([passages.len()]);
    let parts = starts.iter().zip(ends).enumerate();
    let parts =
        parts.map(|(n, (from, to))| write_part(folder, n, *from as u32, &passages[*from..to], &analyzer).unwrap());
    finish(folder, &analyzer, &parts.collect::<Vec<_>>()).unwrap()
}

/// An index over passages, cut into parts; the folder lives as long as the handle.
pub(crate) fn index(passages: &[Passage], cuts: &[usize]) -> (TempDir, SparseIndex) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), passages, cuts);
    let index = SparseIndex::open(folder.path()).unwrap();
    (folder, index)
}

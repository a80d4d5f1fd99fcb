//! Exact search and complete scoring: term at a time into a dense accumulator.
//!
//! A query's text comes in; a ranking of the best `k` passages, or the scores of given passages, go out. Each term's
//! postings are read once and what they add is summed into one f32 a passage of a few parts; then the accumulator is
//! scanned for the best `k`, by the greatest score of each block. Terms are added in the order of their first occurrence
//! in the query, so every route gives the same sum bit for bit, and no score depends on how the collection was cut into
//! parts.
//!
//! Cost: `O(Σ df)` additions and one pass over 4 bytes a passage; plus, a term and part, one look-up in a dictionary,
//! which is why few large parts search faster than many small ones. MaxScore (leaving the frequent terms out and
//! scoring survivors in full) was tried and taken out: over 104,000 to 1,044,000 passages, English and Korean, with
//! natural questions, its bounds let it skip lists in one part search of a hundred and every median was a tenth to a
//! fifth slower. Source: J. Zobel and A. Moffat, *Inverted Files for Text Search Engines*, 2006 (section 5); H. Turtle
//! and J. Flood, *Query Evaluation: Strategies and Optimizations*, 1995 (MaxScore).

use super::guard::{damaged, guard};
use super::index::SparseIndex;
use super::part::{Part, unreadable};
use super::query::{Places, QueryTerm, with_model};
use super::weighting::{Bm25, Bm25Title, Cosine, Model, Weighting, bm25_norm};
use crate::collection::Ordinal;
use crate::collection::run::{Ranking, TopK};
use crate::error::{Error, Result};
use crate::kernel::scores::{BLOCK, block_maxima};
use std::cell::Cell;
use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption::WithFreqs;

/// Passages whose scores are added up before the best are looked for: as many as the nearer caches hold (1 MB), so that
/// several parts are looked through at once. Tests have several windows.
const WINDOW: usize = if cfg!(test) { 32 } else { 262_144 };

thread_local! {
    /// The accumulator, all zero between queries.
    static SCORES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl SparseIndex {
    /// The best `k` passages for a text, best first, equal scores by ordinal. Only passages that score above 0 are
    /// ranked: those that share a term of some weight. The text is words, never a query language.
    pub fn search(&self, text: &str, weighting: &Weighting, k: usize) -> Result<Ranking<Ordinal>> {
        self.search_some(text, weighting, k, |_| true)
    }

    /// As [`SparseIndex::search`], with those of the text's terms alone that `counts` says yes to; they weigh what they
    /// weigh in the whole text.
    pub fn search_some(
        &self,
        text: &str,
        weighting: &Weighting,
        k: usize,
        counts: impl Fn(&str) -> bool,
    ) -> Result<Ranking<Ordinal>> {
        weighting.check()?;
        if k == 0 {
            return Ok(Ranking::default());
        }
        guard(&self.folder, || {
            let mut terms = self.query_terms(text, weighting)?;
            terms.retain(|term| counts(&term.text));
            let weighed: Vec<Weighed> = terms.iter().map(Weighed::alone).collect();
            self.best(&weighed, weighting, &self.shares(weighting), k)
        })
    }

    /// The best `k` passages, by terms in the order in which they are added up.
    pub(super) fn best(
        &self,
        terms: &[Weighed<'_>],
        weighting: &Weighting,
        shares: &[f32],
        k: usize,
    ) -> Result<Ranking<Ordinal>> {
        let mut best = TopK::new(k);
        let mut cursor = None;
        // Left behind dirty on an error or a panic, the buffer is dropped and not put back.
        let mut scores = SCORES.take();
        for window in self.windows() {
            let base = window[0].1.base as usize;
            let passages = window.iter().map(|(_, part)| part.passages).sum::<usize>();
            if scores.len() < passages {
                scores.resize(passages, 0.0);
            }
            for (number, part) in &window {
                let own = &mut scores[part.base as usize - base..][..part.passages];
                with_model!(self, part, weighting, shares, |model| {
                    for term in terms {
                        match term.lists.get(*number) {
                            Some(list) => add_list(list, term.weight, own),
                            None => accumulate(part, &term.places[*number], term.weight, &model, &mut cursor, own)?,
                        }
                    }
                });
            }
            offer(base as u32, &scores[..passages], k, &mut best);
            scores[..passages].fill(0.0);
        }
        SCORES.set(scores);
        Ok(best.into_ranking())
    }

    /// The parts with their numbers, in groups of at most [`WINDOW`] passages, or of one part.
    fn windows(&self) -> Vec<Vec<(usize, &Part)>> {
        let mut windows: Vec<Vec<(usize, &Part)>> = Vec::new();
        let mut room = 0;
        for (number, part) in self.parts.iter().enumerate() {
            match windows.last_mut() {
                Some(window) if part.passages <= room => window.push((number, part)),
                _ => {
                    windows.push(vec![(number, part)]);
                    room = WINDOW;
                }
            }
            room = room.saturating_sub(part.passages);
        }
        windows
    }

    /// The score of each of some passages, which must be ascending; 0 where no term is shared. Equal to what
    /// [`SparseIndex::search`] gives, bit for bit.
    pub fn score(&self, text: &str, weighting: &Weighting, passages: &[Ordinal]) -> Result<Vec<f32>> {
        weighting.check()?;
        if !passages.is_sorted() {
            return Err(Error::bug("passages to be scored must be in ascending order"));
        }
        let Some(last) = passages.last() else { return Ok(Vec::new()) };
        self.locate(*last)?;
        guard(&self.folder, || {
            let terms = self.query_terms(text, weighting)?;
            let mut scores = vec![0.0; passages.len()];
            for (number, part) in self.parts.iter().enumerate() {
                let end = part.base as usize + part.passages;
                let own = passages.partition_point(|p| p.0 < part.base)..passages.partition_point(|p| p.index() < end);
                if !own.is_empty() {
                    let (wanted, scores) = (&passages[own.clone()], &mut scores[own]);
                    with_model!(self, part, weighting, &[], |model| score_part(
                        part, number, &terms, &model, wanted, scores
                    )?);
                }
            }
            Ok(scores)
        })
    }
}

/// A term as it is added up.
pub(super) struct Weighed<'a> {
    pub(super) weight: f32,
    /// Where its postings stand in each part.
    pub(super) places: &'a [Places],
    /// Its postings in each part, where they were read before.
    pub(super) lists: &'a [List],
}

impl<'a> Weighed<'a> {
    /// A term of one text.
    fn alone(term: &'a QueryTerm) -> Self {
        Weighed { weight: term.weight, places: &term.places, lists: &[] }
    }
}

/// A term's postings in a part: places there, each with what a term of weight 1 adds.
pub(super) type List = Box<[(u32, f32)]>;

fn add_list(list: &[(u32, f32)], weight: f32, scores: &mut [f32]) {
    for (doc, share) in list {
        if let Some(score) = scores.get_mut(*doc as usize) {
            *score += weight * share;
        }
    }
}

/// Adds one term's postings in a part to its passages' scores.
fn accumulate(
    part: &Part,
    place: &Places,
    weight: f32,
    model: &impl Model,
    cursor: &mut Option<BlockSegmentPostings>,
    scores: &mut [f32],
) -> Result<()> {
    let Some(postings) = move_to(part, place, cursor)? else { return Ok(()) };
    let mut title = TitleCursor::open(part, place)?;
    while postings.block_len() > 0 {
        let added = match &mut title {
            // Apart, so that the common case has nothing else in its loop.
            None => add_block(postings, |doc, tf| model.add(doc as usize, tf, 0, weight), scores),
            Some(title) => {
                let add = |doc, tf| model.add(doc as usize, tf, title.tf(doc), weight);
                add_block(postings, add, scores)
            }
        };
        if !added {
            return Err(damaged(&part.folder, "a posting names a passage that is not there"));
        }
        postings.advance();
    }
    Ok(())
}

/// Adds what `add` says of each posting of a block; `false` where one names a passage that is not there.
#[inline(always)]
fn add_block(postings: &BlockSegmentPostings, mut add: impl FnMut(u32, u32) -> f32, scores: &mut [f32]) -> bool {
    for (doc, tf) in postings.docs().iter().zip(postings.freqs()) {
        let Some(score) = scores.get_mut(*doc as usize) else { return false };
        *score += add(*doc, *tf);
    }
    true
}

/// Moves a cursor to a term's postings in a part, opening it for the first; `None` where the term does not occur. A new
/// cursor a term would be moved about, more than a kilobyte each time.
fn move_to<'c>(
    part: &Part,
    place: &Places,
    cursor: &'c mut Option<BlockSegmentPostings>,
) -> Result<Option<&'c mut BlockSegmentPostings>> {
    let Some(info) = &place.0 else { return Ok(None) };
    match cursor {
        Some(open) => {
            let moved = part.all.reset_block_postings_from_terminfo(info, open);
            moved.map_err(|e| unreadable(&part.folder, e.into()))?;
        }
        None => *cursor = open_postings(part, place)?,
    }
    Ok(cursor.as_mut())
}

/// The postings of a term in a part; `None` where it does not occur.
pub(crate) fn open_postings(part: &Part, place: &Places) -> Result<Option<BlockSegmentPostings>> {
    let open = |info| part.all.read_block_postings_from_terminfo(info, WithFreqs);
    place.0.as_ref().map(open).transpose().map_err(|e| unreadable(&part.folder, e.into()))
}

/// Offers scores above 0 and above the worst kept one; a later equal score never displaces an earlier one.
///
/// The greatest score of each block is taken first: the `k`-th greatest of them is reached by `k` passages, so it says
/// what is not worth offering before anything is kept.
fn offer(base: u32, scores: &[f32], k: usize, best: &mut TopK<Ordinal>) {
    let mut maxima = Vec::new();
    block_maxima(scores, &mut maxima);
    let mut threshold = best.threshold().max(0.0);
    if best.threshold() == f32::NEG_INFINITY && maxima.len() >= k {
        let mut sorted = maxima.clone();
        let (_, reached, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        threshold = reached.next_down().max(0.0);
    }
    for ((number, block), most) in scores.chunks(BLOCK).enumerate().zip(maxima) {
        if most <= threshold {
            continue;
        }
        // Written down and counted without a branch, which the processor could not foresee.
        let (mut hits, mut count) = ([0u8; BLOCK], 0);
        for (place, score) in block.iter().enumerate() {
            hits[count] = place as u8;
            count += usize::from(*score > threshold);
        }
        for hit in &hits[..count] {
            let ordinal = base + (number * BLOCK) as u32 + u32::from(*hit);
            best.offer(Ordinal(ordinal), block[usize::from(*hit)]);
        }
        threshold = threshold.max(best.threshold());
    }
    best.settle();
}

/// Scores given passages of one part, ascending, by skipping through each term's postings.
fn score_part(
    part: &Part,
    number: usize,
    terms: &[QueryTerm],
    model: &impl Model,
    wanted: &[Ordinal],
    scores: &mut [f32],
) -> Result<()> {
    for term in terms {
        let place = &term.places[number];
        let Some(mut postings) = open_postings(part, place)? else { continue };
        let mut title = TitleCursor::open(part, place)?;
        for (ordinal, score) in wanted.iter().zip(scores.iter_mut()) {
            let doc = ordinal.0 - part.base;
            let at = postings.seek(doc);
            if postings.docs().get(at) == Some(&doc) {
                let title_tf = title.as_mut().map_or(0, |title| title.tf(doc));
                *score += model.add(doc as usize, postings.freq(at), title_tf, term.weight);
            }
        }
    }
    Ok(())
}

/// Reads a term's frequencies in titles along its postings in the whole passages.
pub(crate) struct TitleCursor {
    postings: BlockSegmentPostings,
    at: usize,
}

impl TitleCursor {
    pub(crate) fn open(part: &Part, place: &Places) -> Result<Option<Self>> {
        let open = |info| part.title.read_block_postings_from_terminfo(info, WithFreqs);
        let postings = place.1.as_ref().map(open).transpose().map_err(|e| unreadable(&part.folder, e.into()))?;
        Ok(postings.map(|postings| TitleCursor { postings, at: 0 }))
    }

    /// The frequency in the title of `doc`; documents must be asked for in ascending order.
    pub(crate) fn tf(&mut self, doc: u32) -> u32 {
        loop {
            let docs = self.postings.docs();
            while docs.get(self.at).is_some_and(|found| *found < doc) {
                self.at += 1;
            }
            match docs.get(self.at) {
                Some(found) => return if *found == doc { self.postings.freq(self.at) } else { 0 },
                None if docs.is_empty() => return 0,
                None => {
                    self.postings.advance();
                    self.at = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{index, many, passages};
    use super::*;
    use crate::collection::Passage;
    use crate::error::ErrorKind;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn weightings() -> impl Strategy<Value = Weighting> {
        let number = |values: &'static [f32]| prop::sample::select(values);
        let bm25 = (number(&[0.0, 0.9, 1.2, 3.0]), number(&[0.0, 0.4, 0.75, 1.0]), number(&[1.0, 0.0, 0.5, 3.0]));
        prop_oneof![
            4 => bm25.prop_map(|(k1, b, title_weight)| Weighting::Bm25 { k1, b, title_weight }),
            1 => Just(Weighting::TfIdf),
        ]
    }

    /// The formulas written out in f64 over the terms of every passage.
    fn brute_force(index: &SparseIndex, passages: &[Passage], text: &str, weighting: Weighting) -> Vec<f64> {
        let terms = |text: &str| index.analyzer().terms(text);
        let titles: Vec<_> = passages.iter().map(|p| terms(&p.title)).collect();
        let all: Vec<_> = passages.iter().map(|p| terms(&p.full_text())).collect();
        let n = passages.len() as f64;
        let count = |terms: &[String], term: &str| terms.iter().filter(|t| *t == term).count() as f64;
        let df = |term: &str| all.iter().filter(|t| t.iter().any(|t| t == term)).count() as f64;
        let query = terms(text);
        match weighting {
            Weighting::Bm25 { k1, b, title_weight } => {
                let (k1, b, extra) = (f64::from(k1), f64::from(b), f64::from(title_weight) - 1.0);
                let length = |i: usize| all[i].len() as f64 + extra * titles[i].len() as f64;
                let mean = (0..passages.len()).map(length).sum::<f64>() / n;
                let score = |i: usize| {
                    let add = |term: &String| {
                        let tf = count(&all[i], term) + extra * count(&titles[i], term);
                        let idf = (1.0 + (n - df(term) + 0.5) / (df(term) + 0.5)).ln();
                        let ratio = if mean > 0.0 { length(i) / mean } else { 0.0 };
                        if tf > 0.0 { idf * tf / (tf + k1 * (1.0 - b + b * ratio)) } else { 0.0 }
                    };
                    query.iter().map(add).sum()
                };
                (0..passages.len()).map(score).collect()
            }
            Weighting::TfIdf => {
                let vector = |terms: &[String]| -> HashMap<String, f64> {
                    let weight = |t: &String| (1.0 + count(terms, t).ln()) * (n / df(t)).ln();
                    terms.iter().filter(|t| df(t) > 0.0).map(|t| (t.clone(), weight(t))).collect()
                };
                let norm = |v: &HashMap<String, f64>| v.values().map(|x| x * x).sum::<f64>().sqrt();
                let query = vector(&query);
                let cosine = |terms: &Vec<String>| {
                    let passage = vector(terms);
                    let dot: f64 = query.iter().map(|(t, x)| x * passage.get(t).unwrap_or(&0.0)).sum();
                    let norms = norm(&query) * norm(&passage);
                    if norms > 0.0 { dot / norms } else { 0.0 }
                };
                all.iter().map(cosine).collect()
            }
        }
    }

    #[track_caller]
    fn check(index: &SparseIndex, passages: &[Passage], text: &str, weighting: Weighting, k: usize) {
        let everyone: Vec<Ordinal> = (0..passages.len() as u32).map(Ordinal).collect();
        let scores = index.score(text, &weighting, &everyone).unwrap();
        for (score, expected) in scores.iter().zip(brute_force(index, passages, text, weighting)) {
            // f32 sums of a few terms against f64.
            assert!(
                (f64::from(*score) - expected).abs() < 1e-5 * expected.max(1.0),
                "{text} {weighting}: {score} {expected}"
            );
        }
        let scored = everyone.iter().zip(&scores).filter(|(_, score)| **score > 0.0);
        let exact = Ranking::new(scored.map(|(o, score)| (*o, f64::from(*score))).collect()).truncated(k);
        assert_eq!(index.search(text, &weighting, k).unwrap(), exact, "{text} {weighting}");
        for ordinal in everyone.iter().take(5) {
            let sum: f32 = index.explain(text, &weighting, *ordinal).unwrap().iter().fold(0.0, |sum, t| sum + t.score);
            assert_eq!(sum.to_bits(), scores[ordinal.index()].to_bits());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn search_equals_brute_force(
            passages in passages(1..60),
            cuts in prop::collection::vec(0usize..60, 0..3),
            text in "((red|blue|green|stone|river|대한민국|rare|unseen|the) ){0,6}",
            weighting in weightings(),
            k in 0usize..20,
        ) {
            let (_folder, index) = index(&passages, &cuts);
            check(&index, &passages, &text, weighting, k);
        }

        #[test]
        fn scores_do_not_depend_on_the_parts(passages in passages(1..40), cut in 0usize..40, weighting in weightings()) {
            let (_a, whole) = index(&passages, &[]);
            let (_b, cut) = index(&passages, &[cut, cut / 2]);
            for text in ["red stone river red", "대한민국 한국", "moss cloud blue"] {
                prop_assert_eq!(whole.search(text, &weighting, 100).unwrap(), cut.search(text, &weighting, 100).unwrap());
            }
        }
    }

    #[test]
    fn postings_of_several_blocks_are_searched_and_skipped_through() {
        let passages = many(700);
        let (_folder, index) = index(&passages, &[300]);
        for weighting in ["bm25", "bm25(title=2.5)", "tfidf"] {
            for text in ["stone word3", "common stone word30 word30", "common"] {
                check(&index, &passages, text, weighting.parse().unwrap(), 25);
            }
        }
        // Scattered candidates: the skips jump over whole blocks.
        let few: Vec<Ordinal> = [3, 130, 131, 290, 299, 300, 301, 650, 699].map(Ordinal).to_vec();
        let all: Vec<Ordinal> = (0..700).map(Ordinal).collect();
        let weighting = "bm25(title=2)".parse().unwrap();
        let complete = index.score("stone common word3", &weighting, &all).unwrap();
        let scored = index.score("stone common word3", &weighting, &few).unwrap();
        let expected: Vec<f32> = few.iter().map(|o| complete[o.index()]).collect();
        assert_eq!(scored, expected);
    }

    #[test]
    fn queries_without_words_find_nothing() {
        let (_folder, index) = index(&many(3), &[]);
        for text in ["", "   ", "((((", "the of", "unseen"] {
            assert!(index.search(text, &Weighting::default(), 10).unwrap().is_empty(), "{text}");
        }
        assert!(index.search("stone", &Weighting::default(), 0).unwrap().is_empty());
        assert_eq!(index.search("stone", &Weighting::default(), usize::MAX).unwrap().len(), 3);
    }

    #[test]
    fn some_terms_weigh_what_they_weigh_among_all() {
        let (_folder, index) = index(&many(40), &[17]);
        for weighting in ["bm25", "bm25(title=2)", "tfidf"] {
            let weighting = weighting.parse().unwrap();
            let found = index.search_some("common stone word3", &weighting, 50, |term| term == "word3").unwrap();
            assert!(found.len() > 5);
            for (ordinal, score) in found.iter() {
                let terms = index.explain("common stone word3", &weighting, *ordinal).unwrap();
                let own = terms.iter().find(|term| term.term == "word3").unwrap();
                assert_eq!(f64::from(own.score).to_bits(), score.to_bits());
            }
        }
    }

    #[test]
    fn wrong_calls_are_refused() {
        let (_folder, index) = index(&many(3), &[]);
        let weighting = Weighting::Bm25 { k1: -1.0, b: 0.0, title_weight: 1.0 };
        assert_eq!(index.search("x", &weighting, 1).unwrap_err().kind(), ErrorKind::Usage);
        let unsorted = index.score("x", &Weighting::TfIdf, &[Ordinal(1), Ordinal(0)]);
        assert_eq!(unsorted.unwrap_err().kind(), ErrorKind::Bug);
        assert_eq!(index.score("x", &Weighting::TfIdf, &[Ordinal(3)]).unwrap_err().kind(), ErrorKind::Bug);
    }

    #[test]
    fn decomposed_queries_find_the_same() {
        let (_folder, index) = index(&[Passage::new("a", "", "대한민국의 수도"), Passage::new("b", "", "other")], &[]);
        let composed = index.search("대한민국", &Weighting::default(), 5).unwrap();
        let decomposed: String = unicode_normalization::UnicodeNormalization::nfd("대한민국").collect();
        assert_eq!(composed.len(), 1);
        assert_eq!(index.search(&decomposed, &Weighting::default(), 5).unwrap(), composed);
    }
}

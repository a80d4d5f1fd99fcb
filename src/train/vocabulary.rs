//! A WordPiece vocabulary learnt from texts: frequent words whole, and pieces that spell the others.
//!
//! Texts stream in; entries with their counts come out. Words are those of BERT's uncased tokenisation. A static
//! encoder gives every entry one row whatever stands beside it, so a whole word is worth more than its pieces: most
//! entries are words, most frequent first (equally frequent ones in byte order). The rest are `##` continuations: the
//! words left out are cut with the vocabulary so far, and wherever a cut shows, each longer continuation from there
//! gains the characters it would add, times the word's count. The pieces that gain most join, in a few rounds, for
//! each changes the cuts. A piece that nearly always stands in one that is a letter longer does not join.
//!
//! Korean writes particles on to nouns (`서울은`, `서울에`): there a whole word is the stem without its particle, so that
//! one entry serves all its forms, and particles come in as continuations. (BERT's uncased tokenisation decomposes
//! Hangul into jamo, so a piece may end within a syllable: `하` serves `한` and `했` too.)
//!
//! [`learn`] starts from nothing; [`extend`] keeps a vocabulary and its ids, and appends what it lacks for other texts:
//! another language, say.
//!
//! ```
//! use parallax::train::vocabulary::learn;
//! let texts = ["walk walk walk talk talk", "talking talking talking", "walking walking"];
//! let vocabulary = learn(24, &mut |take| Ok(texts.iter().for_each(|text| take(text))))?;
//! let entries: Vec<&str> = vocabulary.entries().iter().map(String::as_str).collect();
//! // `[UNK]`, eight letters alone and as continuations, room for three words, and pieces for the fourth.
//! assert_eq!(entries[17..21], ["talking", "walk", "talk", "##ing"]);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: one pass over the texts and a table of their distinct words; then a few cuts of each distinct word.
//!
//! Sources: greedy cutting is WordPiece (Schuster and Nakajima, 2012); the rule for pieces is ours.

use crate::encoder::wordpiece::{BasicTokenizer, Normalization, WordPiece};
use crate::error::{Error, Result};
use crate::text::{self, particles};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use unicode_normalization::UnicodeNormalization;

/// Hands each text to the function it is given; called once a pass.
pub type Feed<'a> = dyn FnMut(&mut dyn FnMut(&str)) -> Result<()> + 'a;

/// The share of entries that are not continuations; between 70 and 96 of 100 the outcome was the same within noise.
const WHOLE: f64 = 0.85;
/// Characters rarer than this share of all are left unknown: writing the texts do not teach.
const RARE_CHARACTER: f64 = 1e-5;
/// Rounds in which pieces are chosen.
const ROUNDS: usize = 3;
/// Above this share of a piece's count in one longer by a letter, the piece is not chosen.
const CLOSED: f64 = 0.6;
/// Longer words are names of nothing: left to the pieces, and not asked for any.
const LONGEST_WORD: usize = 30;
/// Distinct words held at a time; the rarest are forgotten above.
const MOST_WORDS: usize = 4_000_000;

/// Entries of a WordPiece vocabulary with what was seen of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    entries: Vec<String>,
    counts: Vec<u64>,
    texts: u64,
}

impl Vocabulary {
    /// `[UNK]`, then characters, words and `##` continuations, in the order of their ids.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// How often each entry occurs in the texts as WordPiece cuts them.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Texts it was learnt from.
    pub fn texts(&self) -> u64 {
        self.texts
    }
}

/// Learns a vocabulary of at most `size` entries. The same texts in the same order give the same vocabulary.
///
/// Fails when there are no words, when `size` leaves no room for words beside the characters, or when the feed does.
pub fn learn(size: usize, feed: &mut Feed<'_>) -> Result<Vocabulary> {
    extend(&["[UNK]".to_string()], size.saturating_sub(1), feed)
}

/// Appends at most `more` entries to a vocabulary, whose ids stay as they are: what it lacks to spell these texts.
///
/// Fails as [`learn`] does. The counts are those of these texts alone.
pub fn extend(base: &[String], more: usize, feed: &mut Feed<'_>) -> Result<Vocabulary> {
    let (words, texts) = count(feed)?;
    let mut entries = base.to_vec();
    let mut known: HashSet<String> = base.iter().cloned().collect();
    let size = base.len() + more;
    let characters = characters(&words);
    let lacking = characters.iter().map(char::to_string).chain(characters.iter().map(|c| format!("##{c}")));
    entries.extend(lacking.filter(|entry| known.insert(entry.clone())));
    if entries.len() >= size {
        let message = format!("{size} entries leave no room for words beside {} characters", characters.len());
        return Err(Error::usage(message).hint("ask for a larger vocabulary"));
    }
    let whole = entries.len().max(base.len() + (more as f64 * WHOLE) as usize);
    let room = whole - entries.len();
    let stems = stems(&words);
    let longer = stems.iter().filter(|(word, _)| word.chars().nth(1).is_some());
    entries.extend(longer.map(|(word, _)| word.clone()).filter(|word| known.insert(word.clone())).take(room));
    known.extend(entries.iter().cloned());
    // A word seen once teaches little about how words are made.
    let left_out: Vec<(&str, u64)> = words
        .iter()
        .filter(|(word, n)| *n > 1 && word.chars().count() < LONGEST_WORD && !known.contains(word))
        .map(|(word, n)| (word.as_str(), *n))
        .collect();
    for round in 0..ROUNDS {
        let most = (size - entries.len()) / (ROUNDS - round);
        let gained = pieces(&entries, &left_out, most)?;
        entries.extend(gained.into_iter().filter(|piece| known.insert(piece.clone())));
    }
    let counts = occurrences(&entries, &words)?;
    Ok(Vocabulary { entries, counts, texts })
}

/// Words without their Korean particles, counted together, most frequent first; other words as they are.
fn stems(words: &[(String, u64)]) -> Vec<(String, u64)> {
    let mut table = HashMap::<String, u64>::new();
    for (word, n) in words {
        *table.entry(stem(word)).or_default() += n;
    }
    let mut stems: Vec<(String, u64)> = table.into_iter().collect();
    stems.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    stems
}

/// Whether a character is a Hangul syllable's first consonant.
fn is_leading(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{1112}')
}

/// A word in jamo without its particle, in jamo; any other word itself.
fn stem(word: &str) -> String {
    if !word.starts_with(is_leading) {
        return word.to_string();
    }
    let syllables = text::nfc(word);
    particles::strip(&syllables).nfd().collect()
}

/// Distinct words with their counts, most frequent first, and the number of texts.
fn count(feed: &mut Feed<'_>) -> Result<(Vec<(String, u64)>, u64)> {
    let basic = BasicTokenizer::new(Normalization::default());
    let (mut table, mut texts) = (HashMap::<Box<[u8]>, u64>::new(), 0);
    feed(&mut |text| {
        texts += 1;
        basic.words(text, |word| match table.get_mut(word) {
            Some(n) => *n += 1,
            None => {
                table.insert(word.into(), 1);
            }
        });
        let mut rarest = 1;
        while table.len() > MOST_WORDS {
            table.retain(|_, n| *n > rarest);
            rarest += 1;
        }
    })?;
    let utf8 = |word: Box<[u8]>| String::from_utf8(word.into_vec()).map_err(|_| Error::bug("a word is not UTF-8"));
    let mut words = table.into_iter().map(|(word, n)| Ok((utf8(word)?, n))).collect::<Result<Vec<_>>>()?;
    if words.is_empty() {
        return Err(Error::bad_input("the texts hold no words to learn a vocabulary from"));
    }
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok((words, texts))
}

/// The characters worth an entry, most frequent first.
fn characters(words: &[(String, u64)]) -> Vec<char> {
    let mut table = HashMap::<char, u64>::new();
    for (word, n) in words {
        word.chars().for_each(|c| *table.entry(c).or_default() += n);
    }
    let least = RARE_CHARACTER * table.values().sum::<u64>() as f64;
    let mut characters: Vec<(char, u64)> = table.into_iter().filter(|(_, n)| *n as f64 >= least).collect();
    characters.sort_unstable_by_key(|(c, n)| (Reverse(*n), *c));
    characters.into_iter().map(|(c, _)| c).collect()
}

/// What a continuation would be worth.
#[derive(Default, Clone, Copy)]
struct Worth {
    /// Characters it would save from being cut off, times counts.
    gain: u64,
    /// How often it stands where a cut shows.
    seen: u64,
    /// The same for the most frequent one that is a letter longer.
    longer: u64,
}

/// At most `most` new continuations, those that gain most first.
fn pieces(entries: &[String], words: &[(&str, u64)], most: usize) -> Result<Vec<String>> {
    let wordpiece = WordPiece::from_vocabulary(entries, Normalization::default())?;
    let mut worths = HashMap::<&str, Worth>::new();
    let mut cuts = Vec::new();
    for (word, n) in words {
        wordpiece.cut(word.as_bytes(), &mut cuts);
        if cuts.len() == 1 {
            continue;
        }
        for pair in cuts.windows(2) {
            let (start, end) = (pair[0].1, pair[1].1);
            for (added, (at, c)) in word[end..].char_indices().enumerate() {
                // A piece that ends in the first consonant of a syllable spells no sound.
                if is_leading(c) {
                    continue;
                }
                let worth = worths.entry(&word[start..end + at + c.len_utf8()]).or_default();
                worth.gain += n * (added as u64 + 1);
                worth.seen += n;
            }
        }
    }
    let seen: Vec<(&str, u64)> = worths.iter().map(|(piece, worth)| (*piece, worth.seen)).collect();
    for (piece, n) in seen {
        let shorter = piece.char_indices().next_back().map_or("", |(last, _)| &piece[..last]);
        if let Some(worth) = worths.get_mut(shorter) {
            worth.longer = worth.longer.max(n);
        }
    }
    let mut best: Vec<(&str, Worth)> =
        worths.into_iter().filter(|(_, worth)| worth.longer as f64 <= CLOSED * worth.seen as f64).collect();
    best.sort_unstable_by(|a, b| b.1.gain.cmp(&a.1.gain).then_with(|| a.0.cmp(b.0)));
    Ok(best.into_iter().take(most).map(|(piece, _)| format!("##{piece}")).collect())
}

/// How often each entry occurs.
fn occurrences(entries: &[String], words: &[(String, u64)]) -> Result<Vec<u64>> {
    let wordpiece = WordPiece::from_vocabulary(entries, Normalization::default())?;
    let (mut counts, mut cuts) = (vec![0; entries.len()], Vec::new());
    for (word, n) in words {
        wordpiece.cut(word.as_bytes(), &mut cuts);
        cuts.iter().for_each(|(id, _)| counts[*id as usize] += n);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vocabulary(size: usize, texts: &[&str]) -> Result<Vocabulary> {
        learn(size, &mut |take| {
            texts.iter().for_each(|text| take(text));
            Ok(())
        })
    }

    fn contains(vocabulary: &Vocabulary, entry: &str) -> bool {
        vocabulary.entries().iter().any(|found| found == entry)
    }

    #[test]
    fn frequent_words_are_whole_and_shared_endings_are_pieces() {
        let stems = ["jump", "walk", "talk", "play", "call", "look"];
        let common = "jump walk talk play call look ".repeat(5);
        let rare: String =
            stems.iter().flat_map(|stem| [format!("{stem}ing {stem}ing "), format!("{stem}ed {stem}ed ")]).collect();
        let letters = 17;
        let words = stems.len();
        let size = ((1 + 2 * letters + words) as f64 / WHOLE).ceil() as usize;
        let learnt = vocabulary(size, &[&common, &rare]).unwrap();
        assert!(learnt.entries().len() <= size);
        for entry in ["jump", "look", "##ing", "##ed"] {
            assert!(contains(&learnt, entry), "{entry} in {:?}", learnt.entries());
        }
        // Always within `##ing`: of no use of its own.
        assert!(!contains(&learnt, "##in"));
        assert!(!contains(&learnt, "jumping"));
        assert_eq!(learnt.texts(), 2);
    }

    #[test]
    fn rare_characters_stay_unknown() {
        let text = "abc ".repeat(200_000) + "한";
        let learnt = vocabulary(10, &[&text]).unwrap();
        assert_eq!(learnt.entries(), ["[UNK]", "a", "b", "c", "##a", "##b", "##c", "abc"]);
        assert_eq!(learnt.counts(), [1, 0, 0, 0, 0, 0, 0, 200_000]);
    }

    #[test]
    fn impossible_wishes_are_refused() {
        assert_eq!(vocabulary(100, &["", " \n"]).err().map(|e| e.kind()), Some(crate::ErrorKind::BadInput));
        assert_eq!(vocabulary(5, &["some words"]).err().map(|e| e.kind()), Some(crate::ErrorKind::Usage));
        let failing = learn(100, &mut |_| Err(Error::bad_input("no such file")));
        assert!(failing.is_err());
    }

    #[test]
    fn an_extension_keeps_ids_and_knows_korean_stems() {
        let base = vocabulary(40, &["north and south ".repeat(9).as_str()]).unwrap();
        let texts = ["서울은 크다 서울에 간다 서울의 north 부산은 작다 부산에 간다 부산의 바다 ".repeat(3)];
        let more = extend(base.entries(), 45, &mut |take| {
            texts.iter().for_each(|text| take(text));
            Ok(())
        })
        .unwrap();
        assert_eq!(more.entries()[..base.entries().len()], *base.entries());
        let jamo = |word: &str| word.nfd().collect::<String>();
        assert!(contains(&more, &jamo("서울")) && contains(&more, &jamo("부산")), "{:?}", more.entries());
        assert!(!contains(&more, &jamo("서울은")) && !contains(&more, &jamo("부산의")));
        let mut distinct: Vec<&String> = more.entries().iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), more.entries().len());
    }

    proptest! {
        #[test]
        fn every_word_of_the_texts_can_be_spelt(
            texts in prop::collection::vec("[a-e ]{0,30}", 1..20),
            size in 20usize..60,
        ) {
            prop_assume!(texts.iter().any(|text| !text.trim().is_empty()));
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let learnt = vocabulary(size, &texts).unwrap();
            prop_assert!(learnt.entries().len() <= size);
            prop_assert_eq!(learnt.counts()[0], 0);
            let wordpiece = WordPiece::from_vocabulary(learnt.entries(), Normalization::default()).unwrap();
            let mut ids = Vec::new();
            texts.iter().for_each(|text| wordpiece.encode(text, &mut ids));
            // Counts are those of the texts as WordPiece cuts them.
            let mut counts = vec![0; learnt.entries().len()];
            ids.iter().for_each(|id| counts[*id as usize] += 1);
            prop_assert_eq!(counts, learnt.counts());
            prop_assert_eq!(vocabulary(size, &texts).unwrap(), learnt);
        }
    }
}

//! From text to terms: one chain by script run, the same for passages and queries.
//!
//! Text comes in, terms go out in the order of the text:
//!
//! | run | terms |
//! |---|---|
//! | letters and digits | the word, lower-cased; the possessive `'s` and stop words dropped; Snowball stem of the index's [`Language`] |
//! | Hangul | the run's stem (its [particle](crate::text::particles) taken off): its syllable bigrams, the first one twice, or its one syllable; after a number also the number with the first syllable (`2차`) |
//! | Han, Kana and other unspaced scripts | character bigrams, a run of one character as it is |
//!
//! The rules for Hangul were chosen on KorQuAD dev (961 passages) and looked at again with 30,000 Wikipedia passages
//! beside them (the first 2,000 of the same questions), nDCG@10, BM25 with defaults: bigrams of whole runs .9480 /
//! .9340; of stems .9513 / .9356; with numbers joined .9551 / .9378; and with the first bigram twice, since Korean words
//! carry their meaning in front, .9588 / .9473. Whole stems as terms beside the bigrams of whole runs won less (.9561 /
//! .9447) for a quarter more terms.
//!
//! Text is put in NFC first. A term longer than 255 bytes is cut there (and counted), as no engine keeps longer ones.
//!
//! ```
//! use parallax::sparse::{Analyzer, Language};
//! let analyzer = Analyzer::for_language(Language::English);
//! assert_eq!(analyzer.terms("The cat's whiskers"), ["cat", "whisker"]);
//! assert_eq!(analyzer.terms("제2차 한국어는"), ["제", "2", "차", "2차", "한국", "국어", "한국"]);
//! assert_eq!(Analyzer::from_name(&analyzer.name()).unwrap(), analyzer);
//! ```
//!
//! Cost: one pass; stems come from a per-thread cache. Sources: M. Porter, *Snowball*, 2001; J. H. Lee and J. S. Ahn,
//! *Using n-Grams for Korean Text Retrieval*, 1996 (bigrams against morphology).

use super::language::Language;
use super::stems::Stems;
use crate::error::{Error, ErrorKind, Result};
use crate::text::{nfc, particles, scripts};
use scripts::Script;

/// Bytes a term may have.
const LONGEST: usize = 255;
/// Names the rules of this file in manifests; another set of rules takes another name.
const CHAIN: &str = "runs-1";

/// A named analysis chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analyzer {
    language: Language,
}

impl Analyzer {
    /// The chain whose alphabetic words are analysed in a language.
    pub fn for_language(language: Language) -> Self {
        Analyzer { language }
    }

    /// The language of its alphabetic words.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The chain's name, as manifests keep it: rules, then language.
    pub fn name(&self) -> String {
        format!("{CHAIN}/{}", self.language.name())
    }

    /// The chain of that name; an error for rules this program does not have.
    pub fn from_name(name: &str) -> Result<Self> {
        let language = name.split_once('/').filter(|(chain, _)| *chain == CHAIN);
        let language = language.and_then(|(_, language)| Language::from_name(language));
        language.map(Analyzer::for_language).ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("`{name}` is no analysis chain of this program"))
                .hint("build the index anew with `--force`")
        })
    }

    /// The terms of a text, in order, repeats kept.
    pub fn terms(&self, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        self.for_each_term(text, |term| terms.push(term.to_string()));
        terms
    }

    /// Calls `sink` with each term of a text, in order; gives back how many terms were cut to 255 bytes.
    pub fn for_each_term(&self, text: &str, mut sink: impl FnMut(&str)) -> u64 {
        let text = nfc(text);
        Stems::with(self.language, |stems| self.walk(&text, stems, &mut sink))
    }

    fn walk(&self, text: &str, stems: &mut Stems, sink: &mut impl FnMut(&str)) -> u64 {
        let mut cut = 0;
        let mut lower = String::new();
        let mut word_end = None;
        let possessive = self.language.snowball() == Language::English.snowball();
        for run in scripts::runs(text) {
            match run.script {
                Script::Word => {
                    let after_word = word_end.replace(run.start + run.text.len());
                    if possessive
                        && matches!(run.text, "s" | "S")
                        && after_word.is_some_and(|end| matches!(&text[end..run.start], "'" | "’"))
                    {
                        continue;
                    }
                    lower.clear();
                    if run.text.is_ascii() {
                        lower.push_str(run.text);
                        lower.make_ascii_lowercase();
                    } else {
                        lower.push_str(&run.text.to_lowercase());
                    }
                    if lower.len() > LONGEST {
                        lower.truncate(lower.floor_char_boundary(LONGEST));
                        cut += 1;
                    }
                    stems.term(&lower, sink);
                }
                Script::Hangul => {
                    let stem = particles::strip(run.text);
                    bigrams(stem, sink);
                    let mut ends = stem.char_indices().map(|(at, c)| at + c.len_utf8());
                    let (first, second) = (ends.next(), ends.next());
                    if let Some(second) = second {
                        sink(&stem[..second]);
                    }
                    let numbered = word_end.take() == Some(run.start) && lower.ends_with(|c: char| c.is_ascii_digit());
                    if let Some(first) = first.filter(|first| numbered && lower.len() + first <= LONGEST) {
                        lower.push_str(&stem[..first]);
                        sink(&lower);
                    }
                }
                Script::Unspaced => {
                    word_end = None;
                    bigrams(run.text, sink);
                }
            }
        }
        cut
    }
}

/// Overlapping pairs of characters; a single character as it is.
fn bigrams(run: &str, sink: &mut impl FnMut(&str)) {
    let mut starts = run.char_indices().map(|(at, _)| at);
    let (mut first, second) = (starts.next().unwrap_or(0), starts.next());
    let Some(mut second) = second else { return sink(run) };
    for third in starts {
        sink(&run[first..third]);
        (first, second) = (second, third);
    }
    sink(&run[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(Analyzer::for_language(Language::English).terms(text), expected, "{text}");
    }

    #[test]
    fn words_follow_the_language() {
        check("The Densities of Bones", &["densiti", "bone"]);
        check("Einstein's and einstein’s, it's, s's", &["einstein", "einstein", "s"]);
        check("Don't", &["don", "t"]);
        check("CAFÉ 3D 1969", &["café", "3d", "1969"]);
        check("title:x AND (y OR *) \\", &["titl", "x", "y"]);
        check(" ... ", &[]);
        assert_eq!(Analyzer::for_language(Language::Plain).terms("The cat's"), ["the", "cat", "s"]);
    }

    #[test]
    fn hangul_and_unspaced_scripts_give_bigrams() {
        check("대한민국의 차", &["대한", "한민", "민국", "대한", "차"]);
        check("물은 물에서", &["물", "물"]);
        check("1990년대에 TV를", &["1990", "년대", "년대", "1990년", "tv", "를"]);
        check("東京タワー", &["東京", "京タ", "タワ", "ワー"]);
    }

    #[test]
    fn decomposed_text_gives_the_same_terms() {
        let analyzer = Analyzer::for_language(Language::English);
        assert_eq!(
            analyzer.terms("\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8} cafe\u{301}"),
            analyzer.terms("한국 café")
        );
    }

    #[test]
    fn long_terms_are_cut_and_counted() {
        let analyzer = Analyzer::for_language(Language::Plain);
        let mut terms = Vec::new();
        assert_eq!(
            analyzer.for_each_term(&format!("{} é{}", "x".repeat(256), "é".repeat(127)), |t| terms.push(t.len())),
            2
        );
        assert_eq!(terms, [255, 254]);
        assert_eq!(analyzer.for_each_term(&"x".repeat(255), |_| {}), 0);
    }

    #[test]
    fn unknown_chains_are_refused() {
        for name in ["", "runs-1", "runs-1/xx", "runs-0/en", "en"] {
            assert!(Analyzer::from_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_short_nonempty_terms(text in "\\PC{0,60}") {
            for language in [Language::English, Language::Plain, Language::Turkish] {
                for term in Analyzer::for_language(language).terms(&text) {
                    prop_assert!(!term.is_empty() && term.len() <= 260, "{term}");
                }
            }
        }

        /// Passages are analysed by title and text apart: no term may depend on what stands behind a space.
        #[test]
        fn a_space_separates(a in "\\PC{0,20}", b in "\\PC{0,20}") {
            let analyzer = Analyzer::for_language(Language::English);
            let (a, b) = (nfc(&a).into_owned(), nfc(&b).into_owned());
            let mut apart = analyzer.terms(&a);
            apart.extend(analyzer.terms(&b));
            prop_assert_eq!(analyzer.terms(&format!("{a} {b}")), apart);
        }
    }
}

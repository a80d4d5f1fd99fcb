//! Words to terms: stop words dropped, the rest stemmed, each distinct word once per thread.
//!
//! A lower-case word comes in; `None` (a stop word) or its stem goes out. Running text repeats its words, so the
//! foreign filters run for a word's first sight only and a hash look-up serves the rest.

use super::language::Language;
use std::cell::RefCell;
use std::collections::HashMap;
use tantivy::tokenizer::{RawTokenizer, Stemmer, TextAnalyzer};

/// Bytes of words kept before the cache starts anew; English Wikipedia's 100k passages need about 5 MB.
const CACHE_BYTES: usize = 32 << 20;

thread_local! {
    static KEPT: RefCell<Option<Stems>> = const { RefCell::new(None) };
}

/// One language's filters and what they said about the words seen so far.
pub(crate) struct Stems {
    language: Language,
    /// Stop words, then the stemmer; `None` leaves every word as it is.
    chain: Option<TextAnalyzer>,
    seen: HashMap<Box<str>, Option<Box<str>>>,
    bytes: usize,
}

impl Stems {
    /// Lends this thread's cache for a language to `work`.
    pub(crate) fn with<R>(language: Language, work: impl FnOnce(&mut Stems) -> R) -> R {
        // Taken out, not borrowed: a sink inside `work` may analyse another text.
        let kept = KEPT.take().filter(|stems| stems.language == language);
        let mut stems = kept.unwrap_or_else(|| Stems::new(language));
        let result = work(&mut stems);
        KEPT.replace(Some(stems));
        result
    }

    fn new(language: Language) -> Self {
        let chain = language.snowball().map(|snowball| {
            let mut chain = TextAnalyzer::builder(RawTokenizer::default()).dynamic();
            if let Some(stop_words) = language.stop_words() {
                chain = chain.filter_dynamic(stop_words);
            }
            chain.filter_dynamic(Stemmer::new(snowball)).build()
        });
        Stems { language, chain, seen: HashMap::new(), bytes: 0 }
    }

    /// Gives the term of a lower-case word to `sink`; a stop word gives none.
    #[inline]
    pub(crate) fn term(&mut self, word: &str, sink: &mut impl FnMut(&str)) {
        let Some(chain) = &mut self.chain else { return sink(word) };
        match self.seen.get(word) {
            Some(Some(term)) => sink(term),
            Some(None) => {}
            None => {
                let mut stream = chain.token_stream(word);
                let term = stream.advance().then(|| stream.token().text.as_str()).filter(|term| !term.is_empty());
                if let Some(term) = term {
                    sink(term);
                }
                self.bytes += 2 * word.len() + 64;
                let term = term.map(Box::from);
                drop(stream);
                if self.bytes > CACHE_BYTES {
                    self.seen.clear();
                    self.bytes = 0;
                }
                self.seen.insert(word.into(), term);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(language: Language, word: &str, expected: Option<&str>) {
        // Twice: first sight and cached answer must agree.
        for _ in 0..2 {
            let mut found = None;
            Stems::with(language, |stems| stems.term(word, &mut |term| found = Some(term.to_string())));
            assert_eq!(found.as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn words_are_stemmed_and_stop_words_dropped() {
        check(Language::English, "density", Some("densiti"));
        check(Language::English, "the", None);
        check(Language::German, "häuser", Some("haus"));
        check(Language::Plain, "the", Some("the"));
        check(Language::English, "densities", Some("densiti"));
    }

    #[test]
    fn a_sink_may_analyse_another_text() {
        let mut inner = None;
        Stems::with(Language::English, |stems| {
            stems.term("cats", &mut |_| {
                Stems::with(Language::German, |s| s.term("häuser", &mut |t| inner = Some(t.to_string())))
            });
        });
        assert_eq!(inner.as_deref(), Some("haus"));
    }
}

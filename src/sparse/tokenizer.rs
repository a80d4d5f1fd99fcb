//! Our analysis chain as the engine's tokenizer, counting what it hands over.
//!
//! A text comes in from the engine's writer, its terms go back one by one; the counts stay with us, which is where the
//! exact lengths come from. A text is analysed once, into a buffer that is used again.

use super::analyzer::Analyzer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Terms seen by the tokenizers of one field.
#[derive(Clone, Default)]
pub(crate) struct TermCounts {
    /// Terms since the count was last taken.
    pub(crate) terms: Arc<AtomicU64>,
    /// Terms cut to 255 bytes.
    pub(crate) truncated: Arc<AtomicU64>,
}

/// Our chain as the engine's tokenizer: analyses a text at once, then hands its terms over one by one.
#[derive(Clone)]
pub(crate) struct ChainTokenizer {
    analyzer: Analyzer,
    counts: TermCounts,
    terms: String,
    ends: Vec<usize>,
}

impl ChainTokenizer {
    /// A tokenizer that adds what it sees to `counts`.
    pub(crate) fn new(analyzer: Analyzer, counts: TermCounts) -> Self {
        ChainTokenizer { analyzer, counts, terms: String::new(), ends: Vec::new() }
    }
}

impl Tokenizer for ChainTokenizer {
    type TokenStream<'a> = ChainStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> ChainStream<'a> {
        let (terms, ends) = (&mut self.terms, &mut self.ends);
        terms.clear();
        ends.clear();
        let truncated = self.analyzer.for_each_term(text, |term| {
            terms.push_str(term);
            ends.push(terms.len());
        });
        self.counts.terms.fetch_add(ends.len() as u64, Ordering::Relaxed);
        self.counts.truncated.fetch_add(truncated, Ordering::Relaxed);
        ChainStream { terms, ends, next: 0, token: Token::default() }
    }
}

/// The terms of one text.
pub(crate) struct ChainStream<'a> {
    terms: &'a str,
    ends: &'a [usize],
    next: usize,
    token: Token,
}

impl TokenStream for ChainStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(end) = self.ends.get(self.next) else { return false };
        let start = self.next.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.token.text.clear();
        self.token.text.push_str(&self.terms[start..*end]);
        self.token.position = self.next;
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::super::Language;
    use super::*;

    #[test]
    fn the_engine_gets_the_chains_terms_and_we_the_counts() {
        let analyzer = Analyzer::for_language(Language::English);
        let counts = TermCounts::default();
        let mut tokenizer = ChainTokenizer::new(analyzer, counts.clone());
        for text in ["The red stones", "", "blue"] {
            let mut terms = Vec::new();
            tokenizer.token_stream(text).process(&mut |token| terms.push(token.text.clone()));
            assert_eq!(terms, analyzer.terms(text));
        }
        assert_eq!(counts.terms.load(Ordering::Relaxed), 3);
    }
}

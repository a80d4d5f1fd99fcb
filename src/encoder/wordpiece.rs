//! WordPiece for BERT vocabularies: the tokenizers crate's ids, an order of magnitude faster.
//!
//! Text goes in, token ids (or their byte ranges in the text) come out. Each word of the [`BasicTokenizer`] is cut
//! greedily: the longest vocabulary entry it begins with, then the longest `##` entry the rest begins with, until
//! nothing is left; a word that cannot be cut so, or is longer than 100 characters, is one unknown token. Special
//! tokens spelled out in the text (`[SEP]`) are recognised before anything else, as the tokenizers crate does.
//!
//! ```
//! use parallax::encoder::wordpiece::{Normalization, WordPiece};
//! let vocabulary = ["[UNK]", "embed", "##ding", "##s"].map(String::from);
//! let wordpiece = WordPiece::from_vocabulary(&vocabulary, Normalization::default())?;
//! let mut ids = Vec::new();
//! wordpiece.encode("Embeddings 42", &mut ids);
//! assert_eq!(ids, [1, 2, 3, 0]);
//! assert_eq!(wordpiece.spans("Embeddings 42"), [(0, 5), (5, 9), (9, 10), (11, 13)]);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: a table look-up a character and a trie step a byte, about 0.1 µs a word; the trie takes about 16 bytes a
//! node. Sources: M. Schuster, K. Nakajima, "Japanese and Korean voice search", 2012; Devlin et al., "BERT", 2019.

mod basic;
mod trie;

pub use basic::{BasicTokenizer, Normalization};

use crate::error::{Error, Result};
use serde_json::Value;
use trie::Trie;

/// Ids of the tokens with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specials {
    /// For words the vocabulary cannot spell.
    pub unk: u32,
    /// Put before a text, where the tokenizer puts one.
    pub cls: Option<u32>,
    /// Put after a text, where the tokenizer puts one.
    pub sep: Option<u32>,
    /// Fills short texts up; `[PAD]` of the vocabulary.
    pub pad: Option<u32>,
}

/// A BERT tokenizer: basic tokenisation, then greedy longest match.
pub struct WordPiece {
    basic: BasicTokenizer,
    trie: Trie,
    /// The trie's node below the continuation prefix; `None` when no entry has it.
    continuation: Option<u32>,
    max_chars: usize,
    specials: Specials,
    /// Tokens recognised in the raw text, longest first.
    spelled: Vec<(String, u32)>,
    ids: usize,
}

impl WordPiece {
    /// Reads a `tokenizer.json`; `None` when it asks for anything this type does not do.
    pub fn from_tokenizer_json(json: &Value) -> Result<Option<WordPiece>> {
        Ok(settings(json).and_then(|settings| {
            let model = json.get("model")?;
            let vocabulary = model.get("vocab")?.as_object()?;
            let id = |token: &str| u32::try_from(vocabulary.get(token)?.as_u64()?).ok().filter(|id| *id < u32::MAX);
            let entries: Option<Vec<(&str, u32)>> =
                vocabulary.keys().map(|key| Some((key.as_str(), id(key)?))).collect();
            let unk = id(model.get("unk_token")?.as_str()?)?;
            let (cls, sep) = around(json.get("post_processor")?, &id)?;
            let mut spelled = Vec::new();
            for token in json.get("added_tokens")?.as_array()? {
                let plain = ["single_word", "lstrip", "rstrip", "normalized"].iter().all(|flag| token[flag] == false);
                let content = token["content"].as_str().filter(|content| !content.is_empty())?;
                if !plain || id(content)? != u32::try_from(token["id"].as_u64()?).ok()? {
                    return None;
                }
                spelled.push((content.to_string(), id(content)?));
            }
            let specials = Specials { unk, cls, sep, pad: id("[PAD]") };
            let prefix = model.get("continuing_subword_prefix")?.as_str()?;
            let max_chars = usize::try_from(model.get("max_input_chars_per_word")?.as_u64()?).ok()?;
            WordPiece::build(&entries?, settings, prefix, max_chars, specials, spelled)
        }))
    }

    /// A tokenizer whose ids are places in the vocabulary, which must hold `[UNK]` and no entry twice; continuations
    /// begin with `##`, and special tokens spelled out in texts mean nothing.
    pub fn from_vocabulary(vocabulary: &[String], settings: Normalization) -> Result<WordPiece> {
        let entries: Vec<(&str, u32)> = vocabulary.iter().map(String::as_str).zip(0..).collect();
        let id = |token: &str| vocabulary.iter().position(|entry| entry == token).map(|id| id as u32);
        let unk = id("[UNK]").ok_or_else(|| Error::bad_input("the vocabulary has no `[UNK]`"))?;
        let distinct: std::collections::HashSet<&str> = vocabulary.iter().map(String::as_str).collect();
        if distinct.len() < vocabulary.len() {
            return Err(Error::bad_input("the vocabulary holds an entry twice"));
        }
        let specials = Specials { unk, cls: id("[CLS]"), sep: id("[SEP]"), pad: id("[PAD]") };
        WordPiece::build(&entries, settings, "##", 100, specials, Vec::new())
            .ok_or_else(|| Error::bad_input(format!("the vocabulary is larger than {} bytes", Trie::MAX_BYTES)))
    }

    fn build(
        entries: &[(&str, u32)],
        settings: Normalization,
        prefix: &str,
        max_chars: usize,
        specials: Specials,
        mut spelled: Vec<(String, u32)>,
    ) -> Option<WordPiece> {
        let trie = Trie::new(entries.iter().map(|(entry, id)| (entry.as_bytes(), *id)))?;
        let continuation = trie.descend(prefix.as_bytes());
        spelled.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
        let ids = entries.iter().map(|(_, id)| *id as usize + 1).max().unwrap_or(0);
        Some(WordPiece { basic: BasicTokenizer::new(settings), trie, continuation, max_chars, specials, spelled, ids })
    }

    /// Ids of the special tokens.
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// One more than the greatest id: the rows an embedding table needs.
    pub fn size(&self) -> usize {
        self.ids
    }

    /// The splitting into words that comes first.
    pub fn basic(&self) -> &BasicTokenizer {
        &self.basic
    }

    /// Appends the ids of the text's tokens, none added around them, nothing cut.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) {
        self.walk::<false>(text, |id, _| out.push(id));
    }

    /// Byte ranges in the text of the tokens [`WordPiece::encode`] gives, one each.
    pub fn spans(&self, text: &str) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        self.walk::<true>(text, |_, span| spans.push(span));
        spans
    }

    fn walk<const SPANS: bool>(&self, text: &str, mut emit: impl FnMut(u32, (usize, usize))) {
        let mut pieces = Vec::new();
        let mut words = |from: usize, to: usize, emit: &mut dyn FnMut(u32, (usize, usize))| {
            self.basic.split::<SPANS>(&text[from..to], from, &mut |word, origins| {
                self.cut(word, &mut pieces);
                let mut start = 0;
                for &(id, end) in &pieces {
                    emit(id, if SPANS { (origins[start].0, origins[end - 1].1) } else { (0, 0) });
                    start = end;
                }
            });
        };
        let mut from = 0;
        while let Some((at, token)) = self.next_spelled(text, from) {
            words(from, at, &mut emit);
            from = at + token.0.len();
            emit(token.1, (at, from));
        }
        words(from, text.len(), &mut emit);
    }

    /// The next special token spelled out in the text: leftmost, then longest.
    fn next_spelled(&self, text: &str, from: usize) -> Option<(usize, &(String, u32))> {
        if self.spelled.is_empty() {
            return None;
        }
        // Nearly all vocabularies have only tokens in brackets, and a search for one byte is fast.
        let bracketed = self.spelled.iter().all(|(content, _)| content.starts_with('['));
        let mut at = from;
        while at < text.len() {
            if bracketed {
                at += text[at..].find('[')?;
            }
            if let Some(token) = self.spelled.iter().find(|(content, _)| text[at..].starts_with(content)) {
                return Some((at, token));
            }
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        None
    }

    /// Cuts a normalised word into `(id, end in bytes)` pieces.
    #[inline]
    pub(crate) fn cut(&self, word: &[u8], pieces: &mut Vec<(u32, usize)>) {
        pieces.clear();
        let unknown = (self.specials.unk, word.len());
        // Bytes bound characters from above, so most words need no counting.
        if word.len() > self.max_chars && word.iter().filter(|byte| **byte & 0xc0 != 0x80).count() > self.max_chars {
            return pieces.push(unknown);
        }
        let mut start = 0;
        let mut node = Some(0);
        while start < word.len() {
            match node.and_then(|node| self.trie.longest(node, &word[start..])) {
                Some((length, id)) => {
                    start += length;
                    pieces.push((id, start));
                }
                None => {
                    pieces.clear();
                    return pieces.push(unknown);
                }
            }
            node = self.continuation;
        }
    }
}

/// The normaliser's switches when normaliser, pre-tokenizer and model are BERT's.
fn settings(json: &Value) -> Option<Normalization> {
    let normalizer = json.get("normalizer")?;
    let of_type = |part: &Value, name: &str| part.get("type").and_then(Value::as_str) == Some(name);
    let bert = of_type(normalizer, "BertNormalizer")
        && of_type(json.get("pre_tokenizer")?, "BertPreTokenizer")
        && of_type(json.get("model")?, "WordPiece");
    if !bert {
        return None;
    }
    let switch = |name: &str| normalizer.get(name)?.as_bool();
    let lowercase = switch("lowercase")?;
    let strip_accents = match normalizer.get("strip_accents")? {
        Value::Null => lowercase,
        value => value.as_bool()?,
    };
    let (clean_text, handle_chinese_chars) = (switch("clean_text")?, switch("handle_chinese_chars")?);
    Some(Normalization { clean_text, handle_chinese_chars, strip_accents, lowercase })
}

/// The ids put before and after a single text; `None` for a form this type does not know.
#[allow(clippy::type_complexity)]
fn around(post: &Value, id: &dyn Fn(&str) -> Option<u32>) -> Option<(Option<u32>, Option<u32>)> {
    if post.is_null() {
        return Some((None, None));
    }
    match post.get("type")?.as_str()? {
        "BertProcessing" => {
            let known = |name: &str| id(post[name][0].as_str()?).filter(|id| post[name][1] == *id);
            Some((Some(known("cls")?), Some(known("sep")?)))
        }
        "TemplateProcessing" => {
            let special = |part: &Value| {
                let name = part["SpecialToken"]["id"].as_str()?;
                let ids = post["special_tokens"][name]["ids"].as_array()?;
                match ids.as_slice() {
                    [only] => u32::try_from(only.as_u64()?).ok(),
                    _ => None,
                }
            };
            let text = |part: &Value| part["Sequence"]["id"] == "A";
            match post.get("single")?.as_array()?.as_slice() {
                [only] if text(only) => Some((None, None)),
                [cls, middle, sep] if text(middle) => Some((Some(special(cls)?), Some(special(sep)?))),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

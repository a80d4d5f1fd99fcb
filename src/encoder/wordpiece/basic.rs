//! BERT's basic tokenisation: a text's words, cleaned, unaccented, lower-cased.
//!
//! Text goes in; words come out as UTF-8 bytes, punctuation marks and Chinese characters as words of their own. What
//! a character becomes (nothing, a break, a mark, letters) depends on that character alone, so each is looked up in
//! a table. The table is filled by the tokenizers crate's own normaliser and pre-tokenizer, 256 characters at a time
//! when one of them is first met: both then know the same Unicode. The one rule that looks at neighbours, canonical
//! reordering of combining marks that survive the removal of accents (a handful of characters in music and old
//! scripts), sends a text through that normaliser as a whole.
//!
//! ```
//! use parallax::encoder::wordpiece::{BasicTokenizer, Normalization};
//! let basic = BasicTokenizer::new(Normalization::default());
//! let mut words = Vec::new();
//! basic.words("Crème brûlée, 2nd\u{a0}ed.", |word| words.push(String::from_utf8_lossy(word).into_owned()));
//! assert_eq!(words, ["creme", "brulee", ",", "2nd", "ed", "."]);
//! ```
//!
//! Cost: a table look-up a character. Source: J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, "BERT", 2019, whose
//! released `BasicTokenizer` the tokenizers crate follows.

use std::sync::OnceLock;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, normalizer::Range,
};
use unicode_normalization::char::canonical_combining_class;

/// The switches of BERT's normaliser; the default is that of the uncased models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalization {
    /// Control characters are dropped, and every space is the same.
    pub clean_text: bool,
    /// Chinese characters are words of their own.
    pub handle_chinese_chars: bool,
    /// Combining accents are dropped after decomposition.
    pub strip_accents: bool,
    /// Letters are lower-cased.
    pub lowercase: bool,
}

impl Default for Normalization {
    fn default() -> Self {
        Normalization { clean_text: true, handle_chinese_chars: true, strip_accents: true, lowercase: true }
    }
}

/// What one normalised character does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Piece {
    /// Ends a word.
    Break,
    /// Belongs to a word.
    Letter(char),
    /// Is a word.
    Mark(char),
}

const PAGE: usize = 256;

/// What 256 neighbouring characters become.
struct Page {
    pieces: Vec<Piece>,
    /// Character `i` becomes `pieces[starts[i]..starts[i + 1]]`.
    starts: Vec<u16>,
    /// The characters as they stand, for text that is normalised already.
    plain: Vec<Piece>,
    /// A combining mark survives: order among neighbours matters.
    reorders: Vec<bool>,
}

/// The bit of punctuation marks, and two codes no mark has: NUL and DEL are not punctuation.
const MARK: u8 = 0x80;
const DROP: u8 = MARK;
const BREAK: u8 = MARK | 0x7f;

/// Splits texts into normalised words.
pub struct BasicTokenizer {
    settings: Normalization,
    normalizer: BertNormalizer,
    pages: Vec<OnceLock<Box<Page>>>,
    ascii: [u8; 128],
}

/// A word under construction, and where its bytes came from.
struct Word<const SPANS: bool> {
    bytes: Vec<u8>,
    /// Byte range in the text of the character behind each byte; empty unless spans are asked for.
    origins: Vec<(usize, usize)>,
}

impl<const SPANS: bool> Word<SPANS> {
    #[inline]
    fn end(&mut self, emit: &mut impl FnMut(&[u8], &[(usize, usize)])) {
        if !self.bytes.is_empty() {
            emit(&self.bytes, &self.origins);
            self.bytes.clear();
            self.origins.clear();
        }
    }

    #[inline]
    fn push(&mut self, c: char, origin: (usize, usize)) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if SPANS {
            self.origins.resize(self.bytes.len().max(from), origin);
        }
    }

    fn take(&mut self, piece: Piece, origin: (usize, usize), emit: &mut impl FnMut(&[u8], &[(usize, usize)])) {
        match piece {
            Piece::Break => self.end(emit),
            Piece::Letter(c) => self.push(c, origin),
            Piece::Mark(c) => {
                self.end(emit);
                self.push(c, origin);
                self.end(emit);
            }
        }
    }
}

impl BasicTokenizer {
    /// A tokenizer with these switches.
    pub fn new(settings: Normalization) -> Self {
        let Normalization { clean_text, handle_chinese_chars, strip_accents, lowercase } = settings;
        let normalizer = BertNormalizer::new(clean_text, handle_chinese_chars, Some(strip_accents), lowercase);
        let pages = (0..0x11_0000 / PAGE).map(|_| OnceLock::new()).collect();
        let mut basic = BasicTokenizer { settings, normalizer, pages, ascii: [DROP; 128] };
        for byte in 0..128u8 {
            basic.ascii[usize::from(byte)] = match basic.pieces(char::from(byte)) {
                [Piece::Break] => BREAK,
                [Piece::Letter(c)] => *c as u8,
                [Piece::Mark(c)] => *c as u8 | MARK,
                _ => DROP,
            };
        }
        basic
    }

    /// The switches it was made with.
    pub fn settings(&self) -> Normalization {
        self.settings
    }

    /// Calls `emit` with each word's UTF-8 bytes, in order.
    pub fn words(&self, text: &str, mut emit: impl FnMut(&[u8])) {
        self.split::<false>(text, 0, &mut |word, _| emit(word));
    }

    /// Calls `emit` with each word's bytes and, with `SPANS`, the byte range of the text behind each of them, moved
    /// by `offset`.
    pub(super) fn split<const SPANS: bool>(
        &self,
        text: &str,
        offset: usize,
        emit: &mut impl FnMut(&[u8], &[(usize, usize)]),
    ) {
        let mut word = Word::<SPANS> { bytes: Vec::with_capacity(64), origins: Vec::new() };
        if self.settings.strip_accents && !text.is_ascii() && text.chars().any(|c| self.reorders(c)) {
            self.split_whole(text, offset, &mut word, emit);
        } else {
            let bytes = text.as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                let byte = bytes[at];
                if byte < 128 {
                    let origin = (offset + at, offset + at + 1);
                    match self.ascii[usize::from(byte)] {
                        DROP => {}
                        BREAK => word.end(emit),
                        letter if letter < MARK => {
                            word.bytes.push(letter);
                            if SPANS {
                                word.origins.push(origin);
                            }
                        }
                        mark => word.take(Piece::Mark(char::from(mark & !MARK)), origin, emit),
                    }
                    at += 1;
                } else {
                    let Some(c) = text[at..].chars().next() else { break };
                    let end = at + c.len_utf8();
                    for piece in self.pieces(c) {
                        word.take(*piece, (offset + at, offset + end), emit);
                    }
                    at = end;
                }
            }
        }
        word.end(emit);
    }

    /// The same through the tokenizers crate's normaliser, for text whose combining marks may change places.
    fn split_whole<const SPANS: bool>(
        &self,
        text: &str,
        offset: usize,
        word: &mut Word<SPANS>,
        emit: &mut impl FnMut(&[u8], &[(usize, usize)]),
    ) {
        let mut normalized = NormalizedString::from(text);
        if self.normalizer.normalize(&mut normalized).is_err() {
            return;
        }
        for (at, c) in normalized.get().char_indices() {
            let origin = match SPANS {
                true => normalized.convert_offsets(Range::Normalized(at..at + c.len_utf8())).unwrap_or_default(),
                false => 0..0,
            };
            let piece = self.page(c).plain[c as usize % PAGE];
            word.take(piece, (offset + origin.start, offset + origin.end), emit);
        }
    }

    #[inline]
    fn pieces(&self, c: char) -> &[Piece] {
        let (page, i) = (self.page(c), c as usize % PAGE);
        &page.pieces[usize::from(page.starts[i])..usize::from(page.starts[i + 1])]
    }

    fn reorders(&self, c: char) -> bool {
        c >= '\u{80}' && self.page(c).reorders[c as usize % PAGE]
    }

    #[inline]
    fn page(&self, c: char) -> &Page {
        let page = c as usize / PAGE;
        self.pages[page].get_or_init(|| Box::new(self.fill(page)))
    }

    fn fill(&self, page: usize) -> Page {
        let mut filled = Page { pieces: Vec::new(), starts: vec![0], plain: Vec::new(), reorders: Vec::new() };
        for code in page * PAGE..(page + 1) * PAGE {
            // Surrogates are no characters; no text leads here.
            let c = char::from_u32(code as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut normalized = NormalizedString::from(c.to_string());
            if self.normalizer.normalize(&mut normalized).is_ok() {
                filled.pieces.extend(normalized.get().chars().map(classify));
            }
            filled.starts.push(filled.pieces.len() as u16);
            filled.plain.push(classify(c));
            filled.reorders.push(normalized.get().chars().any(|c| canonical_combining_class(c) != 0));
        }
        filled
    }
}

/// What BERT's pre-tokenizer does at a normalised character, seen by putting the character between two letters.
fn classify(c: char) -> Piece {
    if c.is_whitespace() {
        return Piece::Break;
    }
    let mut between = PreTokenizedString::from(format!("a{c}a"));
    let split = BertPreTokenizer.pre_tokenize(&mut between).is_ok();
    if split && between.get_splits(OffsetReferential::Normalized, OffsetType::Byte).len() > 1 {
        Piece::Mark(c)
    } else {
        Piece::Letter(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(settings: Normalization, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        BasicTokenizer::new(settings).words(text, |word| words.push(String::from_utf8(word.to_vec()).unwrap()));
        words
    }

    #[test]
    fn words_by_script() {
        let uncased = Normalization::default();
        assert_eq!(words(uncased, "Hello\tWORLD!"), ["hello", "world", "!"]);
        assert_eq!(words(uncased, "東京2024"), ["東", "京", "2024"]);
        // Decomposition turns syllables into jamo and never puts them together again.
        assert_eq!(words(uncased, "한"), ["\u{1112}\u{1161}\u{11ab}"]);
        assert_eq!(words(uncased, "a\u{200b}b\0c\u{fffd}d"), ["abcd"]);
        assert_eq!(words(uncased, "naïve—İ"), ["naive", "—", "i"]);
        assert_eq!(words(uncased, ""), Vec::<String>::new());
        let cased = Normalization { strip_accents: false, lowercase: false, ..uncased };
        assert_eq!(words(cased, "Naïve 한"), ["Naïve", "한"]);
    }
}

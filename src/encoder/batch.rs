//! Batching: texts become tokens, tokens packed chunks of about equal work, and rows come back in the texts' order.
//!
//! Texts are cut into tokens in parallel, cut to length with their special tokens kept, and sorted by length; a chunk
//! takes as many as fit 512 tokens. Chunks hold no padding where the model packs rows, and hardly any where it
//! has to pad, because neighbours are equally long. Each chunk is one task of the rayon pool.
//!
//! ```text
//! lengths 3 9 2 8, chunks of 12 tokens:   sorted 9 8 3 2   →   chunks [9] [8 3] [2]
//! ```
//!
//! Cost: tokenizing, and a sort of `n` lengths; the work of chunks does not depend on the number of threads, so
//! neither do the rows.

use super::config::read_bounded;
use super::wordpiece::WordPiece;
use crate::error::{Error, Result};
use crate::storage::sha256;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};

/// Tokens a chunk: of 128, 512 and 2,048, 512 was the fastest (128 by a fifth slower, its products being small), and
/// several threads share 32 passages evenly.
pub(super) const CHUNK: usize = 512;

/// Tokenizer files above this are refused; the largest published ones (250,000 pieces) have 17 MB.
const LARGEST: u64 = 128 << 20;

/// What cuts a text into token ids, special tokens left out.
enum Pieces {
    HuggingFace(Box<tokenizers::Tokenizer>),
    /// Ours, for BERT vocabularies: the same ids, many times faster.
    WordPiece(Box<WordPiece>),
}

/// A model's tokenizer with the special tokens it puts around a text.
pub(crate) struct Tokenizer {
    pieces: Pieces,
    path: PathBuf,
    before: Vec<u32>,
    after: Vec<u32>,
    unknown: Option<u32>,
    /// sha256 of the file, lower-case hex.
    pub(super) fingerprint: String,
    /// The largest id any token has.
    pub(crate) largest_id: u32,
}

impl Tokenizer {
    /// Reads a `tokenizer.json` and tries it, so that a file that cannot serve is refused here and not at its first
    /// text; `lowercase` puts lower-casing before whatever else it does.
    pub(crate) fn load(path: &Path, lowercase: bool) -> Result<Self> {
        let refuse = |message: &str| Error::bad_input(message).in_file(path);
        let bytes = read_bounded(path, LARGEST)?;
        let parse = || tokenizers::Tokenizer::from_bytes(&bytes);
        let mut inner = guarded(path, parse)?.map_err(|e| refuse("not a tokenizer that can be read").because(e))?;
        // Cutting and padding are ours, whatever the file asks for.
        inner.with_truncation(None).map_err(|e| refuse("its truncation cannot be switched off").because(e))?;
        inner.with_padding(None);
        if lowercase {
            let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
            steps.extend(inner.get_normalizer().cloned());
            inner
                .with_normalizer(Some(Sequence::new(steps)))
                .map_err(|e| refuse("cannot be made to lower-case").because(e))?;
        }
        let (before, after) = frame(path, &inner)?;
        // The frame's ids stand apart from the vocabulary in the file and may lie outside it.
        let ids = inner.get_vocab(true).into_values().chain(before.iter().chain(&after).copied());
        let largest_id = ids.max().ok_or_else(|| refuse("has no token"))?;
        let fast = match serde_json::from_slice(&bytes) {
            Ok(json) if !lowercase => WordPiece::from_tokenizer_json(&json)?,
            _ => None,
        };
        let tokenizer = Tokenizer {
            before,
            after,
            unknown: ["[UNK]", "<unk>"].iter().find_map(|name| inner.token_to_id(name)),
            fingerprint: sha256(&[&bytes]),
            largest_id,
            path: path.to_path_buf(),
            pieces: match fast {
                Some(fast) => Pieces::WordPiece(Box::new(fast)),
                None => Pieces::HuggingFace(Box::new(inner)),
            },
        };
        // A letter no vocabulary has shows whether unknown words are provided for.
        tokenizer.ids("\u{13000}").map_err(|e| e.hint("the tokenizer has no token for unknown words"))?;
        Ok(tokenizer)
    }

    /// Token ids of a text, special tokens left out.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        match &self.pieces {
            Pieces::HuggingFace(inner) => {
                let encoding = guarded(&self.path, || inner.encode_fast(text, false))?;
                Ok(encoding.map_err(|e| failed(&self.path, e))?.get_ids().to_vec())
            }
            Pieces::WordPiece(inner) => {
                let mut ids = Vec::new();
                inner.encode(text, &mut ids);
                Ok(ids)
            }
        }
    }

    /// Special tokens around a text.
    pub(crate) fn special_tokens(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// At most `most` ids with the special tokens among them; none for a text without a known token.
    pub(crate) fn tokens(&self, prompt: &str, text: &str, most: usize) -> Result<Vec<u32>> {
        let known = |ids: &[u32]| ids.iter().any(|&id| Some(id) != self.unknown);
        let mut body = self.ids(text)?;
        if !known(&body) {
            return Ok(Vec::new());
        }
        if !prompt.is_empty() {
            body = self.ids(&format!("{prompt}{text}"))?;
        }
        body.truncate(most.saturating_sub(self.special_tokens()));
        if body.iter().any(|&id| id > self.largest_id) {
            return Err(Error::bad_input("gives ids outside its own vocabulary").in_file(&self.path));
        }
        Ok([&self.before, body.as_slice(), &self.after].concat())
    }

    /// How many tokens a text has and how many of them are not the unknown one; none where the tokenizer fails.
    pub(super) fn known(&self, text: &str) -> (usize, usize) {
        let ids = self.ids(text).unwrap_or_default();
        (ids.len(), ids.iter().filter(|id| Some(**id) != self.unknown).count())
    }

    /// Byte ranges of a text's tokens; none where the tokenizer fails.
    pub(super) fn spans(&self, text: &str) -> Vec<(usize, usize)> {
        match &self.pieces {
            Pieces::HuggingFace(inner) => {
                let encoding = guarded(&self.path, || inner.encode(text, false));
                let offsets = encoding.ok().and_then(|e| e.ok()).map(|e| e.get_offsets().to_vec());
                // Pieces of nothing, a mark of a word's beginning say, cover no text.
                offsets.unwrap_or_default().into_iter().filter(|(start, end)| start < end).collect()
            }
            Pieces::WordPiece(inner) => inner.spans(text),
        }
    }
}

/// Learns from one text which special tokens are put before and after each.
fn frame(path: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>)> {
    let encode = |specials| guarded(path, || tokenizer.encode("a", specials))?.map_err(|e| failed(path, e));
    let (framed, bare) = (encode(true)?, encode(false)?);
    let (framed_ids, bare) = (framed.get_ids(), bare.get_ids());
    let before = framed.get_special_tokens_mask().iter().take_while(|&&special| special == 1).count();
    let end = before + bare.len();
    let message = if bare.is_empty()
        || framed_ids.get(before..end) != Some(bare)
        || framed.get_type_ids().iter().any(|&kind| kind != 0)
    {
        "puts a text in a frame that is not served"
    } else if before == 0 || end == framed_ids.len() {
        "puts no special token before and after a text"
    } else {
        return Ok((framed_ids[..before].to_vec(), framed_ids[end..].to_vec()));
    };
    Err(Error::bad_input(message).in_file(path))
}

/// Runs a deed of the tokenizers crate, which panics on some crafted files.
fn guarded<T>(path: &Path, deed: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(deed)).map_err(|_| Error::bad_input("the tokenizer is not consistent").in_file(path))
}

fn failed(path: &Path, cause: tokenizers::Error) -> Error {
    Error::bad_input("the tokenizer failed on a text").in_file(path).because(cause)
}

/// Indices of the texts that have tokens, longest first, in chunks of at most `most` tokens (or one text).
fn plan(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > 0).collect();
    order.sort_by_key(|&i| Reverse(lengths[i]));
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        match chunks.last_mut().filter(|_| lengths[i] <= room) {
            Some(chunk) => chunk.push(i),
            None => {
                chunks.push(vec![i]);
                room = most.max(lengths[i]);
            }
        }
        room -= lengths[i];
    }
    chunks
}

/// Runs `model` (token ids of some texts in, as many rows of `d` values out) on all texts: `[texts.len(), d]`, zero
/// rows for texts without tokens.
pub(super) fn run(
    tokens: &[Vec<u32>],
    d: usize,
    model: impl Fn(&[&[u32]]) -> Result<Vec<f32>> + Sync,
) -> Result<Vec<f32>> {
    let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
    let chunks = plan(&lengths, CHUNK);
    let deed = |chunk: &Vec<usize>| model(&chunk.iter().map(|&i| tokens[i].as_slice()).collect::<Vec<_>>());
    // A question alone is done before another thread has woken up.
    let rows: Vec<Vec<f32>> = match chunks.as_slice() {
        [one] => vec![deed(one)?],
        many => many.par_iter().map(deed).collect::<Result<_>>()?,
    };
    let mut all = vec![0.0; tokens.len() * d];
    for (chunk, rows) in chunks.iter().zip(&rows) {
        for (&i, row) in chunk.iter().zip(rows.chunks_exact(d)) {
            all[i * d..(i + 1) * d].copy_from_slice(row);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn word_piece() -> Value {
        let frame = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        let special = |id: &str, n: u32| json!({"id": id, "ids": [n], "tokens": [id]});
        json!({"version": "1.0", "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0}, "padding": null,
            "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
            "post_processor": {"type": "TemplateProcessing", "pair": [], "single": [frame("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, frame("[SEP]")],
                "special_tokens": {"[CLS]": special("[CLS]", 1), "[SEP]": special("[SEP]", 2)}},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
                "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "##b": 5, "q": 6}}})
    }

    fn load(json: &Value, lowercase: bool) -> Result<Tokenizer> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, json.to_string()).unwrap();
        Tokenizer::load(&path, lowercase)
    }

    #[test]
    fn texts_are_framed_and_cut_inside_the_frame() {
        let tokenizer = load(&word_piece(), false).unwrap();
        assert_eq!(tokenizer.tokens("", "a bb a b", 9).unwrap(), [1, 3, 4, 5, 3, 4, 2]);
        assert_eq!(tokenizer.tokens("", "a bb a b", 4).unwrap(), [1, 3, 4, 2]);
        assert_eq!(tokenizer.tokens("q ", "a bb a b", 4).unwrap(), [1, 6, 3, 2]);
        assert_eq!(tokenizer.tokens("", "A", 9).unwrap(), [0u32; 0]);
        assert_eq!(load(&word_piece(), true).unwrap().tokens("", "A", 9).unwrap(), [1, 3, 2]);
        assert_eq!(tokenizer.largest_id, 6);
    }

    #[test]
    fn a_text_without_a_known_token_has_none_whatever_the_prompt() {
        let tokenizer = load(&word_piece(), false).unwrap();
        for text in ["", "  ", "x", "xyz x"] {
            assert!(tokenizer.tokens("q ", text, 9).unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn spans_are_bytes_of_the_text_and_not_cut() {
        let tokenizer = load(&word_piece(), true).unwrap();
        assert_eq!(tokenizer.spans("한 Bb a a a"), [(0, 3), (4, 5), (5, 6), (7, 8), (9, 10), (11, 12)]);
    }

    #[test]
    fn tokenizers_that_cannot_serve_are_refused_when_loaded() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut json = word_piece();
            change(&mut json);
            load(&json, false).err().expect("was served").to_string()
        };
        assert!(refused(&|json| json["post_processor"] = Value::Null).contains("no special token"));
        assert!(refused(&|json| json["model"]["unk_token"] = json!("[NONE]")).contains("failed on a text"));
        assert!(refused(&|json| json["model"]["vocab"] = json!({})).contains("tokenizer"));
        refused(&|json| json["post_processor"]["single"][1]["Sequence"]["type_id"] = json!(1));
        // A frame whose special token is not declared: the crate itself panics or refuses, never we.
        refused(&|json| json["post_processor"]["special_tokens"] = json!({}));
        refused(&|json| *json = json!([]));
        // Both make the crate panic.
        refused(&|json| json["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0}));
        refused(&|json| json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}));
    }

    #[test]
    fn what_the_file_says_about_cutting_and_ids_outside_the_vocabulary_is_not_believed() {
        let mut json = word_piece();
        // A stride above the length would panic where it is used.
        json["truncation"]["stride"] = json!(99);
        json["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"});
        json["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([4_000_000_000u32]);
        let tokenizer = load(&json, false).unwrap();
        assert_eq!(tokenizer.tokens("", "a b a b", 9).unwrap(), [1, 3, 4, 3, 4, 4_000_000_000]);
        assert_eq!(tokenizer.largest_id, 4_000_000_000);
    }

    proptest! {
        #[test]
        fn chunks_hold_each_text_once_and_fit(lengths in proptest::collection::vec(0usize..40, 0..60), most in 1usize..64) {
            let chunks = plan(&lengths, most);
            for chunk in &chunks {
                let total: usize = chunk.iter().map(|&i| lengths[i]).sum();
                prop_assert!(total <= most || chunk.len() == 1);
                prop_assert!(chunk.windows(2).all(|pair| lengths[pair[0]] >= lengths[pair[1]]));
            }
            let mut all = chunks.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).filter(|&i| lengths[i] > 0).collect::<Vec<_>>());
        }

        #[test]
        fn rows_come_back_in_the_order_of_the_texts(lengths in proptest::collection::vec(0usize..300, 0..40)) {
            let tokens: Vec<Vec<u32>> = lengths.iter().enumerate().map(|(i, &n)| vec![i as u32; n]).collect();
            let model = |texts: &[&[u32]]| Ok(texts.iter().flat_map(|ids| [ids[0] as f32, ids.len() as f32]).collect());
            let rows = run(&tokens, 2, model).unwrap();
            for (i, &n) in lengths.iter().enumerate() {
                let want = if n == 0 { [0.0, 0.0] } else { [i as f32, n as f32] };
                prop_assert_eq!(&rows[2 * i..2 * i + 2], want);
            }
        }
    }
}

//! Static encoders: a text's row is the mean of its tokens' rows, whatever their order.
//!
//! Texts go in, rows `[n, d]` come out. With `e_t` the row of token `t` (`d` components, its weight folded in) and
//! `T` the text's tokens, the row is `v = (1/|T|) Σ e_t`, and with cosine similarity `v / |v|`. A text without a
//! known token has a zero row. Three sources are opened: folders of sentence-transformers (`StaticEmbedding`),
//! folders of model2vec, and the table this program carries inside ([`builtin`]).
//!
//! ```
//! use parallax::encoder::contract::{Encoder, Role};
//! use parallax::encoder::fixed::{FixedEncoder, StaticModel};
//! let vocabulary = ["[UNK]", "north", "east"].map(String::from).to_vec();
//! let model = StaticModel::quantized(vocabulary, 2, &[0.0, 0.0, 0.0, 3.0, 4.0, 0.0])?;
//! let encoder = FixedEncoder::new(&model, "compass")?;
//! let rows = encoder.encode(&["North North!", "east north", "west"], Role::Passage)?;
//! assert!((rows.row(0)[1] - 1.0).abs() < 1e-6);
//! assert!((rows.row(1)[0] - 0.8).abs() < 1e-3 && (rows.row(1)[1] - 0.6).abs() < 1e-3);
//! assert_eq!(rows.row(2), [0.0, 0.0]);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: tokenization and `d` additions a token; some 15 µs a passage of 100 words, two thirds of them tokenization.
//! Sources:
//! S. Arora, Y. Liang, T. Ma, "A simple but tough-to-beat baseline for sentence embeddings", 2017, for weighted
//! means; the folder layouts are those of sentence-transformers and model2vec.

mod folder;
mod packed;

pub use packed::StaticModel;

use super::contract::{Embeddings, Encoder, EncoderCard, Precision, Role, Similarity};
use super::wordpiece::{Normalization, WordPiece};
use crate::error::{Error, Result};
use crate::kernel::matmul::rowwise::{add_scaled, add_scaled_bytes};
use crate::storage::sha256;
use rayon::prelude::*;
use std::path::Path;

/// The model the program carries; `builtin/README.md` says what it was made of.
static BUILTIN: &[u8] = include_bytes!("builtin/model.bin");

/// Texts a task of the thread pool takes: enough that splitting costs nothing, few enough to share out.
const TEXTS_A_TASK: usize = 32;

/// Cuts texts into token ids.
enum Tokenizer {
    WordPiece(Box<WordPiece>),
    HuggingFace(Box<tokenizers::Tokenizer>),
}

/// Token rows; the row of token `t` is `scales[t] * rows[places[t]]`.
struct Table {
    dimension: usize,
    rows: Rows,
    /// Per token.
    scales: Vec<f32>,
    /// Row of each token, where it is not its own id.
    places: Option<Vec<u32>>,
}

enum Rows {
    Wide(Vec<f32>),
    Narrow(Vec<i8>),
}

/// A static encoder, open.
pub struct FixedEncoder {
    card: EncoderCard,
    tokenizer: Tokenizer,
    table: Table,
    /// The token that stands for unknown words.
    unknown: Option<u32>,
}

/// Opens a folder of sentence-transformers (`StaticEmbedding`) or model2vec; `name` is what the card calls it.
pub fn open(folder: &Path, name: &str) -> Result<FixedEncoder> {
    folder::open(folder, name)
}

/// The model the program carries, in its compact form.
pub fn builtin_model() -> Result<StaticModel> {
    StaticModel::from_bytes(BUILTIN)
}

/// Opens the model the program carries.
pub fn builtin() -> Result<FixedEncoder> {
    FixedEncoder::new(&builtin_model()?, "builtin")
}

impl FixedEncoder {
    /// An encoder over a model in memory.
    pub fn new(model: &StaticModel, name: &str) -> Result<Self> {
        let wordpiece = WordPiece::from_vocabulary(model.vocabulary(), Normalization::default())?;
        let bytes = model.to_bytes();
        let vocabulary: Vec<&[u8]> = model.vocabulary().iter().flat_map(|word| [word.as_bytes(), b"\n"]).collect();
        let card = EncoderCard {
            name: name.to_string(),
            family: "static".to_string(),
            fingerprint: sha256(&[&bytes]),
            precision: Precision::F32,
            tokenizer: sha256(&vocabulary),
            dimension: model.dimension(),
            similarity: Similarity::Cosine,
            pooling: "mean".to_string(),
            query_prompt: String::new(),
            passage_prompt: String::new(),
            max_tokens: None,
        };
        let unknown = Some(wordpiece.specials().unk);
        let table = Table {
            dimension: model.dimension(),
            rows: Rows::Narrow(model.rows().to_vec()),
            scales: model.scales().to_vec(),
            places: None,
        };
        Ok(FixedEncoder { card, tokenizer: Tokenizer::WordPiece(Box::new(wordpiece)), table, unknown })
    }

    /// A text's token ids, appended to `out`; its prompt is the caller's to put before it.
    pub(crate) fn tokens(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        match &self.tokenizer {
            Tokenizer::WordPiece(wordpiece) => wordpiece.encode(text, out),
            Tokenizer::HuggingFace(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false).map_err(|e| {
                    Error::bad_input(format!("the tokenizer of `{}` failed", self.card.name)).because(e)
                })?;
                out.extend_from_slice(encoding.get_ids());
            }
        }
        if let Some(most) = self.card.max_tokens {
            out.truncate(most);
        }
        Ok(())
    }

    /// The rows of all tokens, `[n, d]`, weights folded in.
    pub(crate) fn token_rows(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.table.scales.len() * self.table.dimension];
        rows.chunks_mut(self.table.dimension).zip(0..).for_each(|(row, token)| self.table.add(token, row));
        rows
    }

    /// The token that stands for unknown words.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Writes a text's row into `row`, which is zero before.
    fn encode_one(&self, text: &str, tokens: &mut Vec<u32>, row: &mut [f32]) -> Result<()> {
        tokens.clear();
        self.tokens(text, tokens)?;
        if tokens.iter().all(|token| Some(*token) == self.unknown) {
            return Ok(());
        }
        for &token in tokens.iter() {
            self.table.add(token, row);
        }
        let divisor = match self.card.similarity {
            Similarity::Cosine => row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt(),
            Similarity::Dot => tokens.len() as f64,
        };
        if divisor > 0.0 {
            let factor = (1.0 / divisor) as f32;
            row.iter_mut().for_each(|x| *x *= factor);
        }
        if row.iter().all(|x| x.is_finite()) {
            Ok(())
        } else {
            Err(Error::bad_input(format!("the weights of `{}` give a value that is not finite", self.card.name)))
        }
    }
}

impl Table {
    /// Adds a token's row to `sum`; tokens beyond the table were refused when it was opened.
    #[inline]
    fn add(&self, token: u32, sum: &mut [f32]) {
        let scale = self.scales[token as usize];
        let place = self.places.as_ref().map_or(token, |places| places[token as usize]) as usize;
        let range = place * self.dimension..(place + 1) * self.dimension;
        match &self.rows {
            Rows::Wide(rows) => add_scaled(sum, scale, &rows[range]),
            Rows::Narrow(rows) => add_scaled_bytes(sum, scale, &rows[range]),
        }
    }
}

impl Encoder for FixedEncoder {
    fn card(&self) -> &EncoderCard {
        &self.card
    }

    fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings> {
        let prompt = self.card.prompt(role);
        let dimension = self.card.dimension;
        let mut values = vec![0.0; texts.len() * dimension];
        let task = |(rows, texts): (&mut [f32], &[&str])| {
            let mut tokens = Vec::new();
            rows.chunks_mut(dimension).zip(texts).try_for_each(|(row, text)| match prompt.is_empty() {
                true => self.encode_one(text, &mut tokens, row),
                false => self.encode_one(&format!("{prompt}{text}"), &mut tokens, row),
            })
        };
        if texts.len() <= TEXTS_A_TASK {
            // A question alone is done before another thread has woken up.
            task((&mut values, texts))?;
        } else {
            let tasks = values.par_chunks_mut(TEXTS_A_TASK * dimension).zip(texts.par_chunks(TEXTS_A_TASK));
            tasks.try_for_each(task)?;
        }
        Ok(Embeddings::new(dimension, values))
    }

    fn token_spans(&self, text: &str) -> Vec<(usize, usize)> {
        match &self.tokenizer {
            Tokenizer::WordPiece(wordpiece) => wordpiece.spans(text),
            Tokenizer::HuggingFace(tokenizer) => {
                tokenizer.encode(text, false).map(|encoding| encoding.get_offsets().to_vec()).unwrap_or_default()
            }
        }
    }

    fn known_tokens(&self, text: &str) -> (usize, usize) {
        let mut tokens = Vec::new();
        // A text the tokenizer fails on has no token, which is what encoding it then says.
        let _ = self.tokens(text, &mut tokens);
        (tokens.len(), tokens.iter().filter(|token| Some(**token) != self.unknown).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoder() -> FixedEncoder {
        let vocabulary: Vec<String> = ["[UNK]", "north", "east", "##ern"].map(String::from).to_vec();
        let model = StaticModel::quantized(vocabulary, 3, &[0., 0., 0., 1., 0., 0., 0., 1., 0., 0., 0., -0.5]).unwrap();
        FixedEncoder::new(&model, "compass").unwrap()
    }

    #[test]
    fn rows_are_means_of_unit_length() {
        let encoder = encoder();
        let rows = encoder.encode(&["northern", "", "west \u{1F600}", "west north"], Role::Query).unwrap();
        let length = (1.0f32 + 0.25).sqrt();
        // int8 rows: a half step of 1/127 of the largest component.
        for (found, expected) in rows.row(0).iter().zip([1.0 / length, 0.0, -0.5 / length]) {
            assert!((found - expected).abs() < 0.005);
        }
        assert_eq!(rows.row(1), [0.0; 3]);
        assert_eq!(rows.row(2), [0.0; 3]);
        assert_eq!(rows.row(3), [1.0, 0.0, 0.0]);
        assert_eq!(encoder.token_spans("Northern west"), [(0, 5), (5, 8), (9, 13)]);
        assert_eq!(encoder.known_tokens("Northern west"), (3, 2));
    }

    #[test]
    fn the_builtin_model_knows_what_goes_together() {
        let encoder = builtin().unwrap();
        assert!(BUILTIN.len() <= 12 << 20, "{} bytes", BUILTIN.len());
        for texts in [
            ["a doctor treats the patient", "physicians in a hospital", "the stock market fell sharply"],
            ["의사가 환자를 치료한다", "병원에서 환자를 돌보는 의료진", "주가가 크게 떨어졌다"],
        ] {
            let rows = encoder.encode(&texts, Role::Passage).unwrap();
            let dot = |a: usize, b: usize| rows.row(a).iter().zip(rows.row(b)).map(|(x, y)| x * y).sum::<f32>();
            assert!((dot(0, 0) - 1.0).abs() < 1e-5);
            assert!(dot(0, 1) > dot(0, 2) + 0.1, "{texts:?}: {} and {}", dot(0, 1), dot(0, 2));
        }
    }

    proptest! {
        #[test]
        fn alone_equals_in_a_batch(texts in prop::collection::vec("(north|east|ern| |x){0,6}", 0..80)) {
            let encoder = encoder();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let batch = encoder.encode(&texts, Role::Passage).unwrap();
            prop_assert_eq!(batch.len(), texts.len());
            for (i, text) in texts.iter().enumerate() {
                let alone = encoder.encode(&[text], Role::Passage).unwrap();
                prop_assert_eq!(alone.row(0), batch.row(i));
            }
        }
    }
}

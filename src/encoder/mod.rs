//! Encoders: texts and their role in, rows of numbers out, one a text.
//!
//! [`open`] takes a model folder of any family that is served and gives an [`Encoder`]:
//!
//! ```text
//! texts ─ prompt ─► batch: tokens, cut, sorted, packed ─► Tower: hidden states [T, h] ─► pooling [n, h]
//!                                                              ─► Dense, Normalize ─► un-sorted rows [n, d]
//! ```
//!
//! | family | forward pass |
//! | --- | --- |
//! | BERT, RoBERTa, XLM-R, CamemBERT, DistilBERT | [`bert`], ours: packed, fused |
//! | ModernBERT | [`candle`], by candle-transformers |
//! | static (model2vec, StaticEmbedding) | [`fixed`] |
//!
//! ```no_run
//! use parallax::encoder::{OpenOptions, contract::Role, open};
//! let encoder = open("models/all-MiniLM-L6-v2".as_ref(), "all-MiniLM-L6-v2", &OpenOptions::default())?;
//! let rows = encoder.encode(&["vitamin D and bone density"], Role::Query)?;
//! assert_eq!((rows.len(), rows.dimension()), (1, encoder.card().dimension));
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: opening maps the weights, hashes them and copies them once as f32; for encoding see the families.
//!
//! Sources: N. Reimers, I. Gurevych, Sentence-BERT, 2019; the folder layouts in [`folder`].

pub mod batch;
pub mod bert;
pub mod candle;
pub(crate) mod config;
pub mod contract;
pub mod fixed;
pub mod folder;
pub(crate) mod modules;
pub mod pooling;
pub(crate) mod weights;
pub mod wordpiece;

use crate::error::{Error, Result};
use crate::kernel::linear::{Panels, Then};
use crate::storage::sha256;
use batch::Tokenizer;
use config::Family;
use contract::{Embeddings, Encoder, EncoderCard, Precision, Role, Similarity};
pub use folder::OpenOptions;
use folder::{Content, Folder, missing};
use modules::Step;
use pooling::{Pooling, normalize};
use rayon::prelude::*;
use std::fmt::Write;
use std::path::Path;
use weights::Weights;

/// A transformer's forward pass.
trait Tower: Send + Sync {
    /// Hidden states of some texts, one after the other without gaps: `[Σ lengths, h]`. Ids lie in the vocabulary and
    /// lengths within the positions: [`open`] saw to both.
    fn hidden(&self, texts: &[&[u32]]) -> Result<Vec<f32>>;
}

/// Opens a sentence-transformers or Hugging Face model folder, or refuses it: nothing it says is guessed at.
///
/// `name` is what the user called it and goes into the card. Errors name the file, and the tensor or setting in it.
pub fn open(folder: &Path, name: &str, options: &OpenOptions) -> Result<Box<dyn Encoder>> {
    match folder::read(folder, options)? {
        Content::Static => {
            f32_alone(name, options.precision)?;
            Ok(Box::new(fixed::open(folder, name)?))
        }
        Content::Transformer(folder) => Ok(Box::new(Transformer::open(*folder, name, options.precision)?)),
    }
}

/// Opens an encoder by where it lies: `builtin` for the embedded one, a folder otherwise. `name` is what the user
/// called it.
pub fn open_named(location: &str, name: &str, precision: Precision) -> Result<Box<dyn Encoder>> {
    if location == "builtin" {
        f32_alone(name, precision)?;
        return Ok(Box::new(fixed::builtin()?));
    }
    open(Path::new(location), name, &OpenOptions { precision, ..OpenOptions::default() })
}

/// Refuses a precision that families without one of their own do not have.
fn f32_alone(name: &str, precision: Precision) -> Result<()> {
    if precision == Precision::F32 {
        return Ok(());
    }
    let message = format!("encoder `{name}` knows no precision `{}`", precision.name());
    Err(Error::usage(message).hint("int8 is for transformers of the BERT family; leave the precision out"))
}

/// Whether an encoder is a static one, by where it lies; its weights are not read.
pub fn is_static(location: &str) -> Result<bool> {
    let is_static = |content| matches!(content, Content::Static);
    Ok(location == "builtin" || is_static(folder::read(Path::new(location), &OpenOptions::default())?))
}

/// What an encoder computes in where nobody says, when a whole collection is encoded: int8 where the family has it. Its
/// weights are not read.
///
/// On SciFact all-MiniLM-L6-v2 finds as much with it (the README has the figures).
pub fn usual_precision(location: &str) -> Result<Precision> {
    if location == "builtin" {
        return Ok(Precision::F32);
    }
    Ok(match folder::read(Path::new(location), &OpenOptions::default())? {
        Content::Transformer(folder) if folder.config.family != Family::ModernBert => Precision::Int8,
        _ => Precision::F32,
    })
}

/// A dense module after pooling.
struct Dense {
    weight: Panels,
    bias: Vec<f32>,
    tanh: bool,
}

enum RowStep {
    Dense(Dense),
    Normalize,
}

/// A transformer folder, opened.
struct Transformer {
    card: EncoderCard,
    tokenizer: Tokenizer,
    tower: Box<dyn Tower>,
    pooling: Pooling,
    hidden: usize,
    max_tokens: usize,
    steps: Vec<RowStep>,
}

impl Transformer {
    fn open(folder: Folder, name: &str, precision: Precision) -> Result<Self> {
        let (config, place) = (&folder.config, &folder.transformer);
        let weights = weights_file(place)?;
        let tokenizer = tokenizer(&folder)?;
        let (tower, mut hashes): (Box<dyn Tower>, _) = match config.family {
            Family::ModernBert => {
                f32_alone(name, precision)?;
                candle::open(&weights, config, folder.max_tokens)?
            }
            _ => {
                let (bert, hash) = bert::Bert::open(&weights, config, precision)?;
                (Box::new(bert), hash)
            }
        };
        let (mut steps, mut dimension) = (Vec::new(), config.hidden);
        for step in &folder.steps {
            steps.push(match step {
                Step::Normalize => RowStep::Normalize,
                Step::Dense { folder, inputs, outputs, bias, tanh } => {
                    let mut file = Weights::open(&weights_file(folder)?, "linear.weight", &[""])?;
                    write!(hashes, " {}", file.fingerprint()).map_err(|_| Error::bug("a text did not grow"))?;
                    dimension = *outputs;
                    let weight = Panels::pack(&file.take("linear.weight", &[*outputs, *inputs])?, *inputs);
                    let bias = if *bias { file.take("linear.bias", &[*outputs])? } else { vec![0.0; *outputs] };
                    file.finish("Dense")?;
                    RowStep::Dense(Dense { weight, bias, tanh: *tanh })
                }
            });
        }
        // Cosine promises rows of unit length, whether or not the folder has a module for it.
        if folder.similarity == Similarity::Cosine && !matches!(steps.last(), Some(RowStep::Normalize)) {
            steps.push(RowStep::Normalize);
        }
        let pooling = folder.pooling.name();
        Ok(Transformer {
            card: EncoderCard {
                name: name.to_owned(),
                family: config.model_type.clone(),
                fingerprint: fingerprint(&folder, &hashes, &tokenizer.fingerprint),
                precision,
                tokenizer: tokenizer.fingerprint.clone(),
                dimension,
                similarity: folder.similarity,
                pooling: if folder.pooling_assumed { format!("{pooling} (assumed)") } else { pooling.to_owned() },
                query_prompt: folder.query_prompt,
                passage_prompt: folder.passage_prompt,
                max_tokens: Some(folder.max_tokens),
            },
            tokenizer,
            tower,
            pooling: folder.pooling,
            hidden: config.hidden,
            max_tokens: folder.max_tokens,
            steps,
        })
    }

    /// Rows of one chunk of texts: `[texts.len(), d]`.
    fn rows(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let hidden = self.tower.hidden(texts)?;
        let mut rows = vec![0.0; texts.len() * self.hidden];
        let mut start = 0;
        for (ids, row) in texts.iter().zip(rows.chunks_exact_mut(self.hidden)) {
            let end = start + ids.len() * self.hidden;
            self.pooling.pool(&hidden[start..end], row);
            start = end;
        }
        for step in &self.steps {
            let width = rows.len() / texts.len();
            match step {
                RowStep::Normalize => rows.chunks_exact_mut(width).for_each(normalize),
                RowStep::Dense(dense) => rows = dense.apply(&rows, texts.len()),
            }
        }
        if rows.iter().all(|x| x.is_finite()) {
            return Ok(rows);
        }
        let message = format!("encoder `{}` gave a value that is not finite", self.card.name);
        Err(Error::bad_input(message).hint("its weights overflow 32-bit arithmetic: take another export of the model"))
    }
}

impl Dense {
    fn apply(&self, x: &[f32], n: usize) -> Vec<f32> {
        let mut out = vec![0.0; n * self.bias.len()];
        self.weight.product(x, &mut out, Then::Bias(&self.bias));
        if self.tanh {
            out.iter_mut().for_each(|x| *x = x.tanh());
        }
        out
    }
}

impl Encoder for Transformer {
    fn card(&self) -> &EncoderCard {
        &self.card
    }

    fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings> {
        let prompt = self.card.prompt(role);
        let cut = |text: &&str| self.tokenizer.tokens(prompt, text, self.max_tokens);
        let tokens: Vec<Vec<u32>> = match texts {
            [one] => vec![cut(one)?],
            many => many.par_iter().map(cut).collect::<Result<_>>()?,
        };
        let d = self.card.dimension;
        Ok(Embeddings::new(d, batch::run(&tokens, d, |texts| self.rows(texts))?))
    }

    fn token_spans(&self, text: &str) -> Vec<(usize, usize)> {
        self.tokenizer.spans(text)
    }

    fn known_tokens(&self, text: &str) -> (usize, usize) {
        self.tokenizer.known(text)
    }
}

/// Opens the tokenizer of a transformer's folder; refuses one that does not fit the description.
pub(crate) fn tokenizer(folder: &Folder) -> Result<Tokenizer> {
    let (config, place) = (&folder.config, &folder.transformer);
    let tokenizer_file = place.join("tokenizer.json");
    if !tokenizer_file.exists() {
        return Err(missing(place, "tokenizer.json")
            .hint("save the model once with `AutoTokenizer.from_pretrained(…).save_pretrained(…)`"));
    }
    let tokenizer = Tokenizer::load(&tokenizer_file, folder.lowercase)?;
    if tokenizer.largest_id as usize >= config.vocab_size {
        let message = format!("token id {} has no row: `vocab_size` is {}", tokenizer.largest_id, config.vocab_size);
        return Err(Error::bad_input(message).in_file(tokenizer_file));
    }
    if folder.max_tokens <= tokenizer.special_tokens() {
        let message = format!("texts cut to {} tokens have room for special tokens only", folder.max_tokens);
        return Err(Error::bad_input(message).in_file(tokenizer_file));
    }
    Ok(tokenizer)
}

/// The weights' file, or a refusal that says what to do with the files that are there instead.
pub(crate) fn weights_file(folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join("model.safetensors");
    if path.exists() {
        return Ok(path);
    }
    let error = missing(folder, "model.safetensors");
    Err(if folder.join("model.safetensors.index.json").exists() {
        error.hint("weights split over several files are not served: save the model as one file (`max_shard_size`)")
    } else if folder.join("pytorch_model.bin").exists() {
        error.hint("convert to safetensors: `AutoModel.from_pretrained(DIR).save_pretrained(DIR)`; pickled weights can run code and are never read")
    } else {
        error
    })
}

/// sha256 over weights, tokenizer and every setting that changes a row.
fn fingerprint(folder: &Folder, weights: &str, tokenizer: &str) -> String {
    let config = &folder.config;
    let mut settings = format!(
        "encoder 1\n{weights}\n{tokenizer}\n{}\nheads {}\nepsilon {}\npad {}\npooling {}\nsimilarity {}\nlowercase {}\nmax_tokens {}\n",
        config.model_type,
        config.heads,
        config.epsilon,
        config.pad,
        folder.pooling.name(),
        folder.similarity.name(),
        folder.lowercase,
        folder.max_tokens,
    );
    for prompt in [&folder.query_prompt, &folder.passage_prompt] {
        settings += &format!("prompt {prompt:?}\n");
    }
    for step in &folder.steps {
        settings += &match step {
            Step::Normalize => "normalize\n".to_owned(),
            Step::Dense { tanh, .. } => format!("dense tanh {tanh}\n"),
        };
    }
    if let Some(rotary) = &config.rotary {
        settings += &format!("rotary {} {:?} {}\n", rotary.global_every, rotary.theta, rotary.window);
    }
    sha256(&[settings.as_bytes()])
}

#[cfg(test)]
mod tests;

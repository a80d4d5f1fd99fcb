//! A BERT that can be trained: a model folder in, rows with gradients, a model folder out.
//!
//! [`open`] reads what [`encoder::open`](crate::encoder::open) reads, by the same code: BERT, RoBERTa, XLM-R, CamemBERT
//! and DistilBERT, from a sentence-transformers or a Hugging Face folder; a part of its layers where asked. The
//! [`Tower`] gives rows `[n, d]` of packed texts:
//!
//! ```text
//! ids ─► word + position + type ─ norm ─► layers ─► hidden [T, h] ─► cls | mean [n, h] ─► Dense … ─► rows [n, d]
//! ```
//!
//! with the layers of the [encoder](crate::encoder::bert). On the CPU all up to pooling is one
//! function with a gradient written by hand (`pass`); elsewhere, and in the tests as the other opinion,
//! candle's own operations (`composed`). Dropout stands where J. Devlin and others have it: after the embeddings, on
//! attention's probabilities, and before both residual sums of a layer.
//!
//! The weights of a pooler, which sentence rows do not use, are carried along untrained; heads of other tasks are left
//! out. [`Tower::write`] gives a folder that sentence-transformers loads unchanged.
//!
//! ```no_run
//! use parallax::encoder::contract::{Role, Similarity};
//! use parallax::train::bert::{OpenOptions, open};
//! use parallax::train::tower::{Packed, Tower};
//! let tower = open("models/all-MiniLM-L6-v2".as_ref(), &OpenOptions::default())?;
//! let ids = tower.tokens("vitamin D and bone density", Role::Query)?;
//! let weights: Vec<_> = tower.parameters().iter().map(|parameter| parameter.var.as_tensor().clone()).collect();
//! let rows = tower.forward(&weights, &Packed::of([ids.as_slice()]), None)?;
//! let gradients = rows.sqr().and_then(|rows| rows.sum_all()?.backward());
//! tower.write("out".as_ref(), Similarity::Cosine)?;
//! # drop(gradients);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: three times the forward pass of the encoder, `6 T (4 h² + 2 h i) + 14 h Σ nᵢ²` floating-point operations a
//! layer; memory see [`Tower::activation_bytes`].
//!
//! Sources: J. Devlin and others, BERT, 2018; V. Karpukhin and others, Dense Passage Retrieval, 2020 (two such towers
//! trained on a likelihood of passages).

mod composed;
mod folder;
mod pass;
mod source;
mod view;

use super::failed;
use super::gradients::Gradients;
use super::ops::{self, Function, buffers::Buffers, dropout::Masks, embedding::Tables};
use super::tower::{Dropout, Packed, Parameter, Tower, replay};
use crate::encoder::batch::Tokenizer;
use crate::encoder::contract::{Role, Similarity};
use crate::encoder::folder::{Content, OpenOptions as ReadOptions, read};
use crate::encoder::pooling::Pooling;
use crate::encoder::tokenizer;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use std::path::Path;
use std::sync::Arc;

/// How a folder is opened for training.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The pooling, whatever the folder says: `cls` or `mean`. `None` leaves it to the folder.
    pub pooling: Option<Pooling>,
    /// Keeps the first so many layers. `None` keeps all.
    pub layers: Option<usize>,
    /// Tokens after which queries are cut, special tokens among them. `None` leaves it to the folder.
    pub max_query_tokens: Option<usize>,
    /// The same for passages.
    pub max_passage_tokens: Option<usize>,
    /// Share of values that dropout drops in training, in `[0, 1)`.
    pub dropout: f32,
    /// Where the weights are and the arithmetic happens.
    pub device: Device,
    /// On another device than the CPU: products in bf16, on copies of the f32 weights.
    pub bf16: bool,
}

impl Default for OpenOptions {
    /// Dropout 0.1 as in BERT's own training; the rest is the folder's, on the CPU.
    fn default() -> Self {
        OpenOptions {
            pooling: None,
            layers: None,
            max_query_tokens: None,
            max_passage_tokens: None,
            dropout: 0.1,
            device: Device::Cpu,
            bf16: false,
        }
    }
}

/// A dense module after pooling.
struct Dense {
    /// Index of its weight among the parameters; its bias, where it has one, follows.
    weight: usize,
    bias: bool,
    tanh: bool,
    outputs: usize,
}

/// A BERT, RoBERTa, XLM-R, CamemBERT or DistilBERT with pooling and dense modules.
pub struct Bert {
    model: Arc<pass::Model>,
    parameters: Vec<Parameter>,
    dense: Vec<Dense>,
    tokenizer: Tokenizer,
    /// Tokens of queries and passages at most.
    most: [usize; 2],
    prompts: [String; 2],
    similarity: Similarity,
    dropout: f32,
    device: Device,
    bf16: bool,
    files: folder::Files,
}

/// Opens a model folder for training. Errors are those of [`encoder::open`](crate::encoder::open), and refusals of
/// what is not trained: ModernBERT, static models, pooling by the largest value.
pub fn open(root: &Path, options: &OpenOptions) -> Result<Bert> {
    let folder = match read(root, &ReadOptions { pooling: options.pooling, ..ReadOptions::default() })? {
        Content::Transformer(folder) => *folder,
        Content::Static => {
            let message = format!("`{}` holds a static model, not a transformer", root.display());
            return Err(Error::usage(message).hint("static models are trained by a tower of their own"));
        }
    };
    let config = source::wanted(&folder, options)?;
    let most = |wanted: Option<usize>| match wanted {
        Some(wanted) if wanted > config.longest_text() => {
            let most = config.longest_text();
            Err(Error::usage(format!("texts of {wanted} tokens were asked for, the model has positions for {most}")))
        }
        Some(wanted) => Ok(wanted),
        None => Ok(folder.max_tokens),
    };
    let most = [most(options.max_query_tokens)?, most(options.max_passage_tokens)?];
    let tokenizer = tokenizer(&folder)?;
    if let Some(short) = most.iter().find(|most| **most <= tokenizer.special_tokens()) {
        return Err(Error::usage(format!("texts cut to {short} tokens have room for special tokens only")));
    }
    let mut parameters = source::transformer(&folder, &config, &options.device)?;
    let dense = source::dense(&folder, &mut parameters, &options.device)?;
    let files = folder::Files::read(root, &folder, &config)?;
    Ok(Bert {
        model: Arc::new(pass::Model { config, pooling: folder.pooling, buffers: Buffers::default() }),
        parameters,
        dense,
        tokenizer,
        most,
        prompts: [folder.query_prompt, folder.passage_prompt],
        similarity: folder.similarity,
        dropout: options.dropout,
        device: options.device.clone(),
        bf16: options.bf16,
        files,
    })
}

impl Bert {
    /// How token rows become one row.
    pub fn pooling(&self) -> Pooling {
        self.model.pooling
    }

    /// The transformer's rows `[n, h]`, before dense modules.
    fn pooled(&self, weights: &[Tensor], texts: &Packed, dropout: Option<Dropout>) -> Result<Tensor> {
        let config = &self.model.config;
        if texts.ids.is_empty() {
            return Tensor::zeros((texts.len(), config.hidden), DType::F32, &self.device).map_err(failed);
        }
        let masks = Masks::new(dropout, self.dropout);
        let weights = &weights[..view::count(config)];
        if self.device.is_cpu() {
            return ops::apply(pass::Pass::new(self.model.clone(), texts, masks), weights).map_err(failed);
        }
        let dtype = if self.bf16 { DType::BF16 } else { DType::F32 };
        composed::forward(config, self.model.pooling, weights, texts, masks, dtype).map_err(failed)
    }

    /// Dense modules on rows `[n, h]`; texts without tokens keep a zero row.
    fn finish(&self, weights: &[Tensor], texts: &Packed, mut rows: Tensor) -> candle_core::Result<Tensor> {
        if self.dense.is_empty() {
            return Ok(rows);
        }
        for dense in &self.dense {
            rows = rows.matmul(&weights[dense.weight].t()?)?;
            if dense.bias {
                rows = rows.broadcast_add(&weights[dense.weight + 1])?;
            }
            if dense.tanh {
                rows = rows.tanh()?;
            }
        }
        let there: Vec<f32> = texts.offsets.windows(2).map(|ends| f32::from(ends[0] < ends[1])).collect();
        rows.broadcast_mul(&Tensor::from_vec(there, (texts.len(), 1), rows.device())?)
    }

    /// Adds a pass's gradients to the sums.
    fn back(
        &self,
        pass: &pass::Pass,
        weights: &[Tensor],
        texts: &Packed,
        gradient: &Tensor,
        into: &mut Gradients,
    ) -> Result<()> {
        let config = &self.model.config;
        let gradient = gradient.contiguous().map_err(failed)?;
        let back = ops::with_values(weights, |weights| {
            let view = view::View::new(config, weights);
            ops::with_values(std::slice::from_ref(&gradient), |gradient| pass.back(&view, gradient[0]))
        });
        let back = back.and_then(|back| back).map_err(failed)?;
        let pass::Found { weights: rest, rows } =
            back.ok_or_else(|| Error::bug("a pass kept nothing for its way back"))?;
        let tables = weights.len() - rest.len();
        for ((i, weight), values) in weights.iter().enumerate().skip(tables).zip(rest) {
            into.add(i, Tensor::from_vec(values, weight.shape(), &self.device).map_err(failed)?)?;
        }
        let mut small: Vec<Vec<f32>> = weights[1..tables].iter().map(|table| vec![0.0; table.elem_count()]).collect();
        if let [positions, types @ ..] = small.as_mut_slice() {
            let words = into.rows(0, config.vocab_size, config.hidden)?;
            texts.ids.iter().filter(|id| **id != config.pad).for_each(|id| words.touched[*id as usize] = true);
            let types = types.first_mut().map(Vec::as_mut_slice);
            pass.scatter(rows, &mut Tables { words: words.values.as_mut_slice(), positions, types });
        }
        for ((i, weight), values) in weights.iter().enumerate().skip(1).zip(small) {
            into.add(i, Tensor::from_vec(values, weight.shape(), &self.device).map_err(failed)?)?;
        }
        Ok(())
    }

    /// Refuses ids and lengths for which there are no rows: they come from another tokenizer.
    fn check(&self, weights: &[Tensor], texts: &Packed) -> Result<()> {
        let config = &self.model.config;
        let longest = texts.offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        let foreign = texts.ids.iter().any(|id| *id as usize >= config.vocab_size);
        if foreign || longest > config.longest_text() || weights.len() != self.parameters.len() {
            return Err(Error::bug("token ids or weights of another model were given to a tower"));
        }
        Ok(())
    }
}

impl Tower for Bert {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn dimension(&self) -> usize {
        self.dense.last().map_or(self.model.config.hidden, |dense| dense.outputs)
    }

    fn similarity(&self) -> Similarity {
        self.similarity
    }

    fn tokens(&self, text: &str, role: Role) -> Result<Vec<u32>> {
        let which = usize::from(role == Role::Passage);
        self.tokenizer.tokens(&self.prompts[which], text, self.most[which])
    }

    fn forward(&self, weights: &[Tensor], texts: &Packed, dropout: Option<Dropout>) -> Result<Tensor> {
        self.check(weights, texts)?;
        let rows = self.pooled(weights, texts, dropout)?;
        self.finish(weights, texts, rows).map_err(failed)
    }

    /// On the CPU straight into the sums: gradients of token rows touch the rows of the texts' tokens only.
    fn backward(
        &self,
        weights: &[Tensor],
        texts: &Packed,
        dropout: Option<Dropout>,
        gradient: &Tensor,
        into: &mut Gradients,
    ) -> Result<()> {
        if !self.device.is_cpu() {
            return replay(self, weights, texts, dropout, gradient, into);
        }
        self.check(weights, texts)?;
        if texts.ids.is_empty() {
            return Ok(());
        }
        let pass = pass::Pass::new(self.model.clone(), texts, Masks::new(dropout, self.dropout));
        let transformer = &weights[..view::count(&self.model.config)];
        let (rows, shape) = ops::with_values(transformer, |weights| pass.forward(weights, true)).map_err(failed)?;
        let gradient = if self.dense.is_empty() {
            gradient.clone()
        } else {
            // Through the dense modules by candle, down to the rows they take.
            let rows = Var::from_vec(rows, shape, &self.device).map_err(failed)?;
            let out = self.finish(weights, texts, rows.as_tensor().clone());
            let sum = out.and_then(|out| (out * gradient.detach())?.sum_all()?.backward());
            let mut found = sum.map_err(failed)?;
            into.add_store(weights, &mut found)?;
            found.remove(&rows).ok_or_else(|| Error::bug("dense modules give their rows no gradient"))?
        };
        self.back(&pass, transformer, texts, &gradient, into)
    }

    fn settings(&self) -> String {
        format!("dropout {} pooling {} layers {}", self.dropout, self.pooling().name(), self.model.config.layers)
    }

    /// What `pass` keeps of all layers, the gradients that one layer needs at a time, and its matrices a second
    /// time. Other devices keep about three times as much.
    fn activation_bytes(&self, texts: usize, tokens: usize) -> u64 {
        let config = &self.model.config;
        let (h, i) = (config.hidden, config.intermediate);
        let token = config.layers * (6 * h + i + 2) + 2 * h + (4 * h + i);
        let turned = config.layers * (4 * h * h + 2 * h * i);
        let times = if self.device.is_cpu() { 1 } else { 3 };
        4 * (times * tokens * token + turned + 2 * texts * self.dimension()) as u64
    }

    fn write(&self, folder: &Path, similarity: Similarity) -> Result<()> {
        self.files.write(folder, &self.parameters, self.model.pooling, similarity)
    }
}

#[cfg(test)]
#[path = "bert/tests.rs"]
mod tests;

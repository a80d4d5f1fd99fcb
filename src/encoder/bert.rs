//! The forward pass of the BERT family on packed rows: token ids in, hidden states out, no padding between texts.
//!
//! Texts of `n₁, n₂, …` tokens lie one after the other in a matrix `H` of `T = Σ nᵢ` rows and `h` columns. All but
//! attention treats rows alike, so one product serves the whole chunk; attention takes each text's block of rows by
//! itself, which is what a mask would do, without computing what it hides. A layer, with `a` heads of `d = h / a`:
//!
//! ```text
//! [Q K V] = H W_qkv + b                          one product, [T, 3h]
//! C       = softmax(Q Kᵀ / √d) V                 per text and head
//! H       = norm(H + C W_o + b)
//! H       = norm(H + gelu(H W_up + b) W_down + b)
//! ```
//!
//! with `norm` and `gelu` of [`rowwise`](crate::kernel::matmul::rowwise). RoBERTa and XLM-R count positions from after
//! the padding id; DistilBERT has other names and no token types; the arithmetic is one. The position and token type
//! rows are added up when the weights are read, and the three projections put side by side.
//!
//! Cost: `2 T (4 h² + 2 h i) + 4 h Σ nᵢ²` floating-point operations a layer for a feed-forward width `i`; memory for
//! `T (5 h + i)` values, taken once a chunk. MiniLM (6 layers, `h` 384) at 128 tokens
//! a passage: 2.1 times torch's passages a second of processor time on one thread with AVX-512, mixed lengths 3.5
//! times, a query of 12 tokens 4 times (torch 2.15 under sentence-transformers, busy machine, ratios of one session).
//!
//! Sources: A. Vaswani and others, Attention Is All You Need, 2017; J. Devlin and others, BERT, 2018.

use super::Tower;
use super::config::{Config, Family};
use super::weights::Weights;
use crate::error::Result;
use crate::kernel::matmul::rowwise::{gelu, layer_norm, softmax};
use crate::kernel::matmul::{Rows, RowsMut, multiply, multiply_transposed};
use std::path::Path;

/// Rows the feed-forward layer takes at a time: its wide rows then stay in the cache between the two products.
const BLOCK: usize = 256;

/// `x W + b`; `W` is kept as `[inputs, outputs]`, which the product reads without copying it first.
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Linear {
    /// Several projections of the same rows, side by side.
    fn take(weights: &mut Weights, names: &[String], outputs: usize, inputs: usize) -> Result<Self> {
        let mut joined = Linear { weight: vec![0.0; inputs * outputs * names.len()], bias: Vec::new(), inputs };
        let width = outputs * names.len();
        for (n, name) in names.iter().enumerate() {
            let weight = weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
            joined.bias.extend(weights.take(&format!("{name}.bias"), &[outputs])?);
            for (output, row) in weight.chunks_exact(inputs).enumerate() {
                for (input, &value) in row.iter().enumerate() {
                    joined.weight[input * width + n * outputs + output] = value;
                }
            }
        }
        Ok(joined)
    }

    fn weight(&self) -> Rows<'_> {
        Rows::new(&self.weight, self.inputs, self.bias.len())
    }

    /// `out (+)= x W`; the bias is left to what follows.
    fn product(&self, x: &[f32], out: &mut [f32], add: bool) {
        let tokens = x.len() / self.inputs;
        multiply(Rows::new(x, tokens, self.inputs), self.weight(), RowsMut::new(out, tokens, self.bias.len()), add);
    }
}

/// Gain and shift of a normalisation.
struct Norm {
    gain: Vec<f32>,
    shift: Vec<f32>,
}

impl Norm {
    fn take(weights: &mut Weights, name: &str, hidden: usize) -> Result<Self> {
        // Files converted from the first release keep its names.
        let old = weights.has(&format!("{name}.gamma"));
        let (gain, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Norm {
            gain: weights.take(&format!("{name}.{gain}"), &[hidden])?,
            shift: weights.take(&format!("{name}.{shift}"), &[hidden])?,
        })
    }
}

struct Layer {
    attention: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// A BERT, RoBERTa, XLM-R or DistilBERT encoder.
pub(super) struct Bert {
    config: Config,
    words: Vec<f32>,
    /// Position rows with the row of token type 0 added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    zeros: Vec<f32>,
}

impl Bert {
    /// Reads the weights; returns their sha256 too.
    pub(super) fn open(path: &Path, config: &Config) -> Result<(Self, String)> {
        let prefixes = ["", "bert.", "roberta.", "distilbert."];
        let mut weights = Weights::open(path, "embeddings.word_embeddings.weight", &prefixes)?;
        let fingerprint = weights.fingerprint();
        let (h, w) = (config.hidden, &mut weights);
        let words = w.take("embeddings.word_embeddings.weight", &[config.vocab_size, h])?;
        let mut positions = w.take("embeddings.position_embeddings.weight", &[config.positions, h])?;
        if config.types > 0 {
            let types = w.take("embeddings.token_type_embeddings.weight", &[config.types, h])?;
            for row in positions.chunks_exact_mut(h) {
                row.iter_mut().zip(&types).for_each(|(x, &kind)| *x += kind);
            }
        }
        let norm = Norm::take(w, "embeddings.LayerNorm", h)?;
        let layers = (0..config.layers).map(|n| layer(w, n, config)).collect::<Result<_>>()?;
        weights.finish(&config.model_type)?;
        let bert = Bert { config: config.clone(), words, positions, norm, layers, zeros: vec![0.0; h] };
        Ok((bert, fingerprint))
    }

    /// Word and position rows of each token, normalised: `[T, h]`.
    fn embed(&self, texts: &[&[u32]]) -> Vec<f32> {
        let h = self.config.hidden;
        let mut rows = Vec::with_capacity(texts.iter().map(|ids| ids.len()).sum::<usize>() * h);
        for ids in texts {
            let mut next = self.config.first_position();
            for &id in *ids {
                // RoBERTa gives a padding token inside a text its own position and does not count it.
                let padding = self.config.family == Family::Roberta && id == self.config.pad;
                let position = if padding { id as usize } else { next };
                next += usize::from(!padding);
                let word = &self.words[id as usize * h..][..h];
                let position = &self.positions[position * h..][..h];
                rows.extend(word.iter().zip(position).map(|(&word, &position)| word + position));
            }
        }
        layer_norm(&mut rows, &self.zeros, &self.norm.gain, &self.norm.shift, self.config.epsilon as f32);
        rows
    }

    /// `context = softmax(Q Kᵀ / √d) V` for each text and head; `qkv` is `[T, 3h]`, `context` `[T, h]`.
    fn attend(&self, texts: &[&[u32]], qkv: &[f32], context: &mut [f32], scores: &mut [f32]) {
        let (h, d) = (self.config.hidden, self.config.hidden / self.config.heads);
        let scale = 1.0 / (d as f32).sqrt();
        let mut start = 0;
        for n in texts.iter().map(|ids| ids.len()) {
            let qkv = &qkv[start * 3 * h..(start + n) * 3 * h];
            let context = &mut context[start * h..(start + n) * h];
            let scores = &mut scores[..n * n];
            for head in 0..self.config.heads {
                let part = |which: usize| Rows::strided(&qkv[which * h + head * d..], n, d, 3 * h);
                multiply_transposed(part(0), part(1), RowsMut::new(scores, n, n));
                softmax(scores, n, scale);
                let out = RowsMut::strided(&mut context[head * d..], n, d, h);
                multiply(Rows::new(scores, n, n), part(2), out, false);
            }
            start += n;
        }
    }
}

/// The parts of one layer by the names of its family.
fn layer(weights: &mut Weights, n: usize, config: &Config) -> Result<Layer> {
    let (h, i) = (config.hidden, config.intermediate);
    let distil = config.family == Family::DistilBert;
    let name = |usual: &str, distilled: &str| {
        if distil { format!("transformer.layer.{n}.{distilled}") } else { format!("encoder.layer.{n}.{usual}") }
    };
    let projections = [("query", "q_lin"), ("key", "k_lin"), ("value", "v_lin")];
    let projections = projections
        .map(|(usual, distilled)| name(&format!("attention.self.{usual}"), &format!("attention.{distilled}")));
    Ok(Layer {
        attention: Linear::take(weights, &projections, h, h)?,
        output: Linear::take(weights, &[name("attention.output.dense", "attention.out_lin")], h, h)?,
        attention_norm: Norm::take(weights, &name("attention.output.LayerNorm", "sa_layer_norm"), h)?,
        up: Linear::take(weights, &[name("intermediate.dense", "ffn.lin1")], i, h)?,
        down: Linear::take(weights, &[name("output.dense", "ffn.lin2")], h, i)?,
        norm: Norm::take(weights, &name("output.LayerNorm", "output_layer_norm"), h)?,
    })
}

impl Tower for Bert {
    fn hidden(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let (h, i, epsilon) = (self.config.hidden, self.config.intermediate, self.config.epsilon as f32);
        let mut rows = self.embed(texts);
        let tokens = rows.len() / h;
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let mut qkv = vec![0.0; tokens * 3 * h];
        let mut context = vec![0.0; tokens * h];
        let mut scores = vec![0.0; longest * longest];
        let mut wide = vec![0.0; tokens.min(BLOCK) * i];
        for layer in &self.layers {
            qkv.chunks_exact_mut(3 * h).for_each(|row| row.copy_from_slice(&layer.attention.bias));
            layer.attention.product(&rows, &mut qkv, true);
            self.attend(texts, &qkv, &mut context, &mut scores);
            layer.output.product(&context, &mut rows, true);
            let norm = &layer.attention_norm;
            layer_norm(&mut rows, &layer.output.bias, &norm.gain, &norm.shift, epsilon);
            for rows in rows.chunks_mut(BLOCK * h) {
                let wide = &mut wide[..rows.len() / h * i];
                layer.up.product(rows, wide, false);
                gelu(wide, &layer.up.bias);
                layer.down.product(wide, rows, true);
                layer_norm(rows, &layer.down.bias, &layer.norm.gain, &layer.norm.shift, epsilon);
            }
        }
        Ok(rows)
    }
}

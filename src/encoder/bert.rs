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
//! with `norm` and `gelu` of [`rowwise`](crate::kernel::matmul::rowwise). The products with weights are done in f32 or in
//! whole numbers of eight bits ([`int8`]), all else in f32. RoBERTa and XLM-R count positions from after
//! the padding id; DistilBERT has other names and no token types; the arithmetic is one. The position and token type
//! rows are added up when the weights are read, and the three projections put side by side.
//!
//! Cost: `2 T (4 h² + 2 h i) + 4 h Σ nᵢ²` floating-point operations a layer for a feed-forward width `i`; memory for
//! `T (5 h + i)` values, taken once a chunk. The README says how that compares with onnxruntime and torch, by
//! `tests/bench/encode.py`.
//!
//! Sources: A. Vaswani and others, Attention Is All You Need, 2017; J. Devlin and others, BERT, 2018.

use super::Tower;
use super::config::{Config, Family};
use super::contract::Precision;
use super::weights::Weights;
use crate::error::Result;
use crate::kernel::linear::int8::{self, QuantisedRows};
use crate::kernel::linear::{Panels, Then, attention};
use crate::kernel::matmul::rowwise::layer_norm;
use std::path::Path;

/// Rows the feed-forward layer takes at a time: its wide rows then stay in the cache between the two products.
const BLOCK: usize = 128;

/// Packed weights in one precision or the other.
enum Packed {
    F32(Panels),
    Int8(int8::Panels),
}

/// `x W + b`.
struct Linear {
    weight: Packed,
    bias: Vec<f32>,
}

impl Linear {
    /// Several projections of the same rows, side by side.
    fn take(
        weights: &mut Weights,
        names: &[String],
        (outputs, inputs): (usize, usize),
        precision: Precision,
    ) -> Result<Self> {
        let (mut joined, mut bias) = (Vec::with_capacity(names.len() * outputs * inputs), Vec::new());
        for name in names {
            joined.extend(weights.take(&format!("{name}.weight"), &[outputs, inputs])?);
            bias.extend(weights.take(&format!("{name}.bias"), &[outputs])?);
        }
        let weight = match precision {
            Precision::F32 => Packed::F32(Panels::pack(&joined, inputs)),
            Precision::Int8 => Packed::Int8(int8::Panels::pack(&joined, inputs)),
        };
        Ok(Linear { weight, bias })
    }

    /// `x W`, and then what is said; `quantised` is memory for the rows where they have to be.
    fn product(&self, x: &[f32], quantised: &mut QuantisedRows, out: &mut [f32], then: Then) {
        match &self.weight {
            Packed::F32(panels) => panels.product(x, out, then),
            Packed::Int8(panels) => {
                quantised.fill(x, panels.inputs());
                panels.product(quantised, out, then);
            }
        }
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
    /// Reads the weights and packs them in that precision; returns the file's sha256 too.
    pub(super) fn open(path: &Path, config: &Config, precision: Precision) -> Result<(Self, String)> {
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
        let layers = (0..config.layers).map(|n| layer(w, n, config, precision)).collect::<Result<_>>()?;
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
}

/// The parts of one layer by the names of its family.
fn layer(weights: &mut Weights, n: usize, config: &Config, precision: Precision) -> Result<Layer> {
    let (h, i) = (config.hidden, config.intermediate);
    let distil = config.family == Family::DistilBert;
    let name = |usual: &str, distilled: &str| {
        if distil { format!("transformer.layer.{n}.{distilled}") } else { format!("encoder.layer.{n}.{usual}") }
    };
    let projections = [("query", "q_lin"), ("key", "k_lin"), ("value", "v_lin")];
    let projections = projections
        .map(|(usual, distilled)| name(&format!("attention.self.{usual}"), &format!("attention.{distilled}")));
    let linear = |weights: &mut Weights, names: &[String], shape| Linear::take(weights, names, shape, precision);
    Ok(Layer {
        attention: linear(weights, &projections, (h, h))?,
        output: linear(weights, &[name("attention.output.dense", "attention.out_lin")], (h, h))?,
        attention_norm: Norm::take(weights, &name("attention.output.LayerNorm", "sa_layer_norm"), h)?,
        up: linear(weights, &[name("intermediate.dense", "ffn.lin1")], (i, h))?,
        down: linear(weights, &[name("output.dense", "ffn.lin2")], (h, i))?,
        norm: Norm::take(weights, &name("output.LayerNorm", "output_layer_norm"), h)?,
    })
}

impl Tower for Bert {
    fn hidden(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let (h, i, epsilon) = (self.config.hidden, self.config.intermediate, self.config.epsilon as f32);
        let (heads, d) = (self.config.heads, self.config.hidden / self.config.heads);
        let mut rows = self.embed(texts);
        let tokens = rows.len() / h;
        let mut qkv = vec![0.0; tokens * 3 * h];
        let mut context = vec![0.0; tokens * h];
        let mut wide = vec![0.0; tokens.min(BLOCK) * i];
        let (mut scratch, mut quantised) = (attention::Scratch::default(), QuantisedRows::default());
        for layer in &self.layers {
            layer.attention.product(&rows, &mut quantised, &mut qkv, Then::Bias(&layer.attention.bias));
            let mut start = 0;
            for n in texts.iter().map(|ids| ids.len()) {
                let (qkv, context) = (&qkv[start * 3 * h..], &mut context[start * h..]);
                attention::attend(&qkv[..n * 3 * h], heads, d, &mut context[..n * h], &mut scratch);
                start += n;
            }
            layer.output.product(&context, &mut quantised, &mut rows, Then::Add);
            let norm = &layer.attention_norm;
            layer_norm(&mut rows, &layer.output.bias, &norm.gain, &norm.shift, epsilon);
            for rows in rows.chunks_mut(BLOCK * h) {
                let wide = &mut wide[..rows.len() / h * i];
                layer.up.product(rows, &mut quantised, wide, Then::Gelu(&layer.up.bias));
                layer.down.product(wide, &mut quantised, rows, Then::Add);
                layer_norm(rows, &layer.down.bias, &layer.norm.gain, &layer.norm.shift, epsilon);
            }
        }
        Ok(rows)
    }
}

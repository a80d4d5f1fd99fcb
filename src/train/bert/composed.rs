//! The same transformer in candle's own differentiable operations: for devices other than the CPU, and the oracle of
//! the tests of [`pass`](super::pass).
//!
//! Texts are padded to the longest, `[n, L]`; a mask hides the padding from attention and pooling. Only operations
//! that candle differentiates are used: not its fused softmax and layer normalisation, which cut the graph silently.
//! With a `dtype` of bf16, products and attention run in it on copies of the f32 weights, made at the beginning of
//! each pass; normalisation and pooling stay in f32, and gradients come back to the weights in f32.
//!
//! Dropout draws the masks of the other path, so both give the same rows. A GPU draws masks of its own, the same ones each
//! time the same texts pass in the same step: drawing them on sixteen CPU cores took a third of a step (six layers, an H100).
//!
//! Cost: padding is computed and every intermediate kept; on a CPU several times the time and memory of
//! [`pass`](super::pass).

use super::super::ops::{dropout::Masks, embedding};
use super::super::tower::Packed;
use super::view::{Pair, View};
use crate::encoder::config::Config;
use crate::encoder::pooling::Pooling;
use candle_core::{D, DType, Device, Result, Shape, Tensor};
use candle_nn::ops::softmax;

/// Added to the scores of padding: far below any score, and finite in bf16.
const HIDDEN: f32 = -1e9;

/// What a pass is over.
struct Batch<'a> {
    config: &'a Config,
    texts: &'a Packed,
    masks: Option<Masks>,
    longest: usize,
    device: &'a Device,
    dtype: DType,
}

/// Rows `[n, h]` in f32; `weights` are [`View`]'s in their order, at least one text has a token.
pub(super) fn forward(
    config: &Config,
    pooling: Pooling,
    weights: &[Tensor],
    texts: &Packed,
    masks: Option<Masks>,
    dtype: DType,
) -> Result<Tensor> {
    let view = View::new(config, weights);
    let longest = texts.offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
    let batch = Batch { config, texts, masks, longest, device: weights[0].device(), dtype };
    let (n, h) = (texts.len(), config.hidden);
    if let (false, Some(masks)) = (batch.device.is_cpu(), &batch.masks) {
        batch.device.set_seed(masks.seed())?;
    }
    let mut rows = batch.embed(&view)?;
    let hidden = batch.per_token(|present| if present { 0.0 } else { HIDDEN })?;
    let hidden = hidden.reshape((n, 1, 1, longest))?.to_dtype(dtype)?;
    for (number, layer) in view.layers.iter().enumerate() {
        let context = batch.attend(number, &layer.projections, &rows, &hidden)?;
        let out = batch.drop(3 * number + 2, linear(&context, &layer.output)?)?;
        rows = batch.normalize(&(rows + out)?, &layer.attention_norm)?;
        let out = linear(&linear(&rows, &layer.up)?.gelu_erf()?, &layer.down)?;
        rows = batch.normalize(&(rows + batch.drop(3 * number + 3, out)?)?, &layer.norm)?;
    }
    let rows = rows.reshape((n, longest, h))?.to_dtype(DType::F32)?;
    let share = batch.per_token(f32::from)?.reshape((n, longest, 1))?;
    match pooling {
        Pooling::Cls => rows.narrow(1, 0, 1)?.broadcast_mul(&share.narrow(1, 0, 1)?)?.squeeze(1),
        _ => {
            let counts = share.sum(1)?.clamp(1.0, f64::MAX)?;
            rows.broadcast_mul(&share)?.sum(1)?.broadcast_div(&counts)
        }
    }
}

/// `x Wᵀ + b` in the type of `x`.
fn linear(x: &Tensor, pair: &Pair<Tensor>) -> Result<Tensor> {
    x.matmul(&pair.weight.to_dtype(x.dtype())?.t()?)?.broadcast_add(&pair.bias.to_dtype(x.dtype())?)
}

impl Batch<'_> {
    /// Values `[n, longest]` by whether a token stands there.
    fn per_token(&self, value: impl Fn(bool) -> f32) -> Result<Tensor> {
        let lengths = self.texts.offsets.windows(2).map(|ends| ends[1] - ends[0]);
        let values: Vec<f32> =
            lengths.flat_map(|length| (0..self.longest).map(move |at| at < length)).map(&value).collect();
        Tensor::from_vec(values, (self.texts.len(), self.longest), self.device)
    }

    /// Numbers a token, 0 in the padding, `[n · longest]`.
    fn padded(&self, numbers: impl Fn(&[u32]) -> Vec<u32>) -> Result<Tensor> {
        let mut all = Vec::with_capacity(self.texts.len() * self.longest);
        for ends in self.texts.offsets.windows(2) {
            all.extend(numbers(&self.texts.ids[ends[0]..ends[1]]));
            all.resize(all.len() + self.longest - (ends[1] - ends[0]), 0);
        }
        let length = all.len();
        Tensor::from_vec(all, length, self.device)
    }

    fn embed(&self, view: &View<Tensor>) -> Result<Tensor> {
        let ids = self.padded(<[u32]>::to_vec)?;
        let at = self.padded(|ids| embedding::positions(self.config, ids).map(|at| at as u32).collect())?;
        let tables = &view.tables;
        let mut rows = (tables.words.index_select(&ids, 0)? + tables.positions.index_select(&at, 0)?)?;
        if let Some(types) = &tables.types {
            rows = rows.broadcast_add(&types.narrow(0, 0, 1)?)?;
        }
        self.drop(0, self.normalize(&rows, &view.norm)?)
    }

    /// Layer normalisation in f32 of rows of any type.
    fn normalize(&self, rows: &Tensor, norm: &Pair<Tensor>) -> Result<Tensor> {
        let rows = rows.to_dtype(DType::F32)?;
        let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normal = centred.broadcast_div(&(variance + self.config.epsilon)?.sqrt()?)?;
        normal.broadcast_mul(&norm.weight)?.broadcast_add(&norm.bias)?.to_dtype(self.dtype)
    }

    /// The context `[n · longest, h]` of all heads.
    fn attend(&self, layer: usize, projections: &[Pair<Tensor>; 3], rows: &Tensor, hidden: &Tensor) -> Result<Tensor> {
        let (n, heads) = (self.texts.len(), self.config.heads);
        let d = self.config.hidden / heads;
        let part = |pair| linear(rows, pair)?.reshape((n, self.longest, heads, d))?.transpose(1, 2)?.contiguous();
        let [q, k, v] = [part(&projections[0])?, part(&projections[1])?, part(&projections[2])?];
        let scores = (q.matmul(&k.t()?)? / (d as f64).sqrt())?.broadcast_add(hidden)?;
        let mut p = softmax(&scores, D::Minus1)?;
        if let Some(masks) = self.masks {
            let square = |text: usize, length: usize, kept: &mut Vec<f32>| {
                let mask = masks.at(text, 3 * layer + 1);
                for head in 0..heads {
                    let mut square = vec![1.0; length * length];
                    mask.part(head).apply(&mut square);
                    let start = kept.len();
                    for row in square.chunks_exact(length.max(1)) {
                        kept.extend_from_slice(row);
                        kept.resize(kept.len() + self.longest - length, 0.0);
                    }
                    kept.resize(start + self.longest * self.longest, 0.0);
                }
            };
            p = (p * self.kept(masks, scores.shape(), square)?)?;
        }
        p.matmul(&v)?.transpose(1, 2)?.reshape((n * self.longest, self.config.hidden))
    }

    /// Dropout of rows `[n · longest, h]` at a place of the network.
    fn drop(&self, place: usize, rows: Tensor) -> Result<Tensor> {
        let Some(masks) = self.masks else { return Ok(rows) };
        let h = self.config.hidden;
        let block = |text: usize, length: usize, kept: &mut Vec<f32>| {
            let mut one = vec![1.0f32; length * h];
            masks.at(text, place).apply(&mut one);
            kept.extend_from_slice(&one);
            kept.resize((text + 1) * self.longest * h, 0.0);
        };
        &rows * self.kept(masks, rows.shape(), block)?
    }

    /// What dropout multiplies values by: as `of_text` appends it text by text, given its number and tokens; on a GPU,
    /// which would wait for that, as it draws itself.
    fn kept(&self, masks: Masks, shape: &Shape, of_text: impl Fn(usize, usize, &mut Vec<f32>)) -> Result<Tensor> {
        if !self.device.is_cpu() {
            let draws = Tensor::rand(0f32, 1.0, shape, self.device)?;
            let (share, scale) = masks.rate();
            return draws.ge(share)?.to_dtype(self.dtype)?.affine(scale, 0.0);
        }
        let mut kept = Vec::with_capacity(shape.elem_count());
        for (text, ends) in self.texts.offsets.windows(2).enumerate() {
            of_text(text, ends[1] - ends[0], &mut kept);
        }
        Tensor::from_vec(kept, shape, self.device)?.to_dtype(self.dtype)
    }
}

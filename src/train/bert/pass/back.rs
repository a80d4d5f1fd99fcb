//! The way back: from gradients by rows to gradients by weights, the last layer first.
//!
//! With `d` a gradient of the loss, a layer of [`pass`](super) is gone through as
//!
//! ```text
//! d          from above, back through the last norm      d_down = d ∘ mask
//! d_wide     = d_down W_down ∘ gelu'(wide)               d      = d + d_wide W_up
//! d          back through attention's norm               d_output = d ∘ mask
//! d_qkv      = attention's way back of d_output W_o      d      = d + d_qkv W_qkv
//! ```
//!
//! and its matrices get `dW = Σ dyᵀ x` over the tokens, for each product `y = x Wᵀ`.

use super::super::super::ops::embedding;
use super::super::view::{Layer, Pair, View};
use super::{Group, Kept, KeptLayer, Pass};
use crate::encoder::pooling::Pooling;
use crate::kernel::matmul::rowwise::gradient::{add_rows, gelu_backward, layer_norm_backward, scale_and_shift};
use crate::kernel::matmul::{Rows, RowsMut, multiply, multiply_left_transposed};
use rayon::prelude::*;
use std::sync::PoisonError;

/// Rows of a matrix whose gradient is one task.
const BLOCK: usize = 192;

/// What a layer's matrices get their gradients from, one group's: gradients by outputs, and inputs.
struct Factors {
    d_qkv: Vec<f32>,
    input: Vec<f32>,
    d_output: Vec<f32>,
    context: Vec<f32>,
    d_wide: Vec<f32>,
    middle: Vec<f32>,
    d_down: Vec<f32>,
    wide: Vec<f32>,
    /// Gradients of biases, gains and shifts in the order of [`small_lengths`].
    small: Vec<f32>,
}

/// What the way back finds.
pub(in crate::train::bert) struct Found {
    /// Gradients of the first normalisation's gain and shift and of all layers' tensors, in their order.
    pub(in crate::train::bert) weights: Vec<Vec<f32>>,
    /// That by each group's sums of table rows, `[t, h]`; [`Pass::scatter`] takes it to the tables.
    pub(in crate::train::bert) rows: Vec<Vec<f32>>,
}

/// Lengths of a layer's vectors: biases of Q, K, V, output; gain, shift; biases of up, down; gain, shift.
fn small_lengths(h: usize, i: usize) -> [usize; 10] {
    [h, h, h, h, h, h, i, h, h, h]
}

/// Cuts a slice into parts of the given lengths.
fn split<const N: usize>(mut values: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|length| {
        let (part, rest) = std::mem::take(&mut values).split_at_mut(length);
        values = rest;
        part
    })
}

impl Pass {
    /// Takes `d`, a group's gradient by a layer's output, to that by its input.
    fn back_group(
        &self,
        n: usize,
        layer: &Layer<&[f32]>,
        below: Pair<&[f32]>,
        group: &Group,
        kept: &mut Kept,
        d: &mut [f32],
    ) -> Option<Factors> {
        let (h, i, t) = (self.model.config.hidden, self.model.config.intermediate, group.tokens.len());
        let KeptLayer { mut qkv, context, attention_norm, mut wide, norm } = kept.layers.pop()?;
        let mut small = vec![0.0; small_lengths(h, i).iter().sum()];
        let [_, _, _, b_output, gain, shift, b_up, b_down, last_gain, last_shift] =
            split(&mut small, small_lengths(h, i));

        layer_norm_backward(d, &norm.rows, &norm.inverse, layer.norm.weight, last_gain, last_shift);
        let mut d_down = norm.rows;
        d_down.copy_from_slice(d);
        self.mask(group, 3 * n + 3, &mut d_down, h);
        add_rows(&d_down, b_down);
        let mut d_wide = self.take(t * i);
        let weight = Rows::new(layer.down.weight, h, i);
        multiply(Rows::new(&d_down, t, h), weight, RowsMut::new(&mut d_wide, t, i), false);
        gelu_backward(&mut wide, &mut d_wide);
        add_rows(&d_wide, b_up);
        let weight = Rows::new(layer.up.weight, i, h);
        multiply(Rows::new(&d_wide, t, i), weight, RowsMut::new(d, t, h), true);

        let mut middle = self.take(t * h);
        let (pair, normal) = (layer.attention_norm, attention_norm);
        scale_and_shift(&normal.rows, pair.weight, pair.bias, &mut middle);
        layer_norm_backward(d, &normal.rows, &normal.inverse, pair.weight, gain, shift);
        let mut d_output = normal.rows;
        d_output.copy_from_slice(d);
        self.mask(group, 3 * n + 2, &mut d_output, h);
        add_rows(&d_output, b_output);
        let mut d_context = self.take(t * h);
        let weight = Rows::new(layer.output.weight, h, h);
        multiply(Rows::new(&d_output, t, h), weight, RowsMut::new(&mut d_context, t, h), false);
        let (heads, mut scratch) = self.scratch(group);
        for text in group.texts.clone() {
            let mask = self.masks.map(|masks| masks.at(text, 3 * n + 1));
            let (wide, narrow) = (self.span(group, text, 3 * h), self.span(group, text, h));
            heads.backward(&mut qkv[wide], &d_context[narrow], mask, &mut scratch);
        }
        add_rows(&qkv, &mut small[..3 * h]);
        for (which, projection) in layer.projections.iter().enumerate() {
            let d_part = Rows::strided(&qkv[which * h..], t, h, 3 * h);
            multiply(d_part, Rows::new(projection.weight, h, h), RowsMut::new(d, t, h), true);
        }

        let mut input = d_context;
        let normal = kept.layers.last().map_or(&kept.norm, |layer| &layer.norm);
        scale_and_shift(&normal.rows, below.weight, below.bias, &mut input);
        if n == 0 {
            self.mask(group, 0, &mut input, h);
        }
        Some(Factors { d_qkv: qkv, input, d_output, context, d_wide, middle, d_down, wide, small })
    }

    /// Gradients of one layer's sixteen tensors in their order.
    fn layer_gradients(&self, factors: &[Factors]) -> Vec<Vec<f32>> {
        let (h, i) = (self.model.config.hidden, self.model.config.intermediate);
        let mut small = vec![0.0; small_lengths(h, i).iter().sum()];
        factors.iter().for_each(|one| add_rows(&one.small, &mut small));
        let mut matrices = [h * h, h * h, h * h, h * h, i * h, h * i].map(|length| vec![0.0; length]);
        let tasks = matrices.iter_mut().enumerate().flat_map(|(which, matrix)| {
            let width = if which == 5 { i } else { h };
            matrix.chunks_mut(BLOCK * width).enumerate().map(move |(n, block)| (which, width, n * BLOCK, block))
        });
        tasks.collect::<Vec<_>>().into_par_iter().with_max_len(1).for_each(|(which, width, row, block)| {
            let rows = block.len() / width;
            for (n, one) in factors.iter().enumerate() {
                let (d, stride, x) = match which {
                    0..3 => (&one.d_qkv[which * h..], 3 * h, &one.input),
                    3 => (&one.d_output[..], h, &one.context),
                    4 => (&one.d_wide[..], i, &one.middle),
                    _ => (&one.d_down[..], h, &one.wide),
                };
                let t = x.len() / width;
                let d = Rows::strided(&d[row..], t, rows, stride);
                multiply_left_transposed(d, Rows::new(x, t, width), RowsMut::new(block, rows, width), n > 0);
            }
        });
        let [bq, bk, bv, bo, gain, shift, b_up, b_down, last_gain, last_shift] =
            split(&mut small, small_lengths(h, i)).map(|part| part.to_vec());
        let [q, k, v, o, up, down] = matrices;
        vec![q, bq, k, bk, v, bv, o, bo, gain, shift, up, b_up, down, b_down, last_gain, last_shift]
    }

    /// The way back from the gradient by the rows. `None` when no forward pass kept anything.
    pub(in crate::train::bert) fn back(&self, view: &View<&[f32]>, gradient: &[f32]) -> Option<Found> {
        let h = self.model.config.hidden;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut rows: Vec<Vec<f32>> = self.groups.iter().map(|group| self.unpool(group, gradient)).collect();
        let mut layers = Vec::new();
        for (n, layer) in view.layers.iter().enumerate().rev() {
            let below = if n == 0 { view.norm } else { view.layers[n - 1].norm };
            let work = self.groups.par_iter().zip(&mut kept).zip(&mut rows).with_max_len(1);
            let factors = work.map(|((group, kept), d)| self.back_group(n, layer, below, group, kept, d));
            let factors: Vec<Factors> = factors.collect::<Option<_>>()?;
            layers.push(self.layer_gradients(&factors));
            for one in factors {
                self.give([one.d_qkv, one.input, one.d_output, one.context]);
                self.give([one.d_wide, one.middle, one.d_down, one.wide]);
            }
        }
        let (mut gain, mut shift) = (vec![0.0; h], vec![0.0; h]);
        for ((group, kept), d) in self.groups.iter().zip(kept).zip(&mut rows) {
            self.mask(group, 0, d, h);
            layer_norm_backward(d, &kept.norm.rows, &kept.norm.inverse, view.norm.weight, &mut gain, &mut shift);
            self.give([kept.norm.rows]);
        }
        let weights = [gain, shift].into_iter().chain(layers.into_iter().rev().flatten()).collect();
        Some(Found { weights, rows })
    }

    /// The gradient by a group's hidden states from that by its rows.
    fn unpool(&self, group: &Group, gradient: &[f32]) -> Vec<f32> {
        let h = self.model.config.hidden;
        let mut d = self.take(group.tokens.len() * h);
        for text in group.texts.clone() {
            let from = &gradient[text * h..][..h];
            let tokens = &mut d[self.span(group, text, h)];
            let scale = match self.model.pooling {
                Pooling::Mean => h as f32 / tokens.len() as f32,
                _ => 1.0,
            };
            for (n, token) in tokens.chunks_exact_mut(h).enumerate() {
                let scale = if n > 0 && self.model.pooling == Pooling::Cls { 0.0 } else { scale };
                token.iter_mut().zip(from).for_each(|(token, from)| *token = scale * from);
            }
        }
        d
    }

    /// Adds the gradients by sums of table rows, [`Found::rows`], to the tables.
    pub(in crate::train::bert) fn scatter(&self, rows: Vec<Vec<f32>>, into: &mut embedding::Tables<&mut [f32]>) {
        for (group, d) in self.groups.iter().zip(rows) {
            for text in group.texts.clone() {
                let span = self.span(group, text, self.model.config.hidden);
                embedding::backward(&self.model.config, self.ids(text), &d[span], into);
            }
            self.give([d]);
        }
    }
}

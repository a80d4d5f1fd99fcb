//! The way there and back of a BERT on packed rows, without a graph between.
//!
//! Texts are cut into groups of about 256 tokens, each a task of the rayon pool. Forward, a group goes through all
//! layers by itself. On the way [`back`] the groups go through one layer, then the gradients of that layer's matrices are
//! computed, a block of their rows a task, summing over the groups in order: no sum depends on the number of threads.
//!
//! Kept a token and layer, with hidden width `h` and feed-forward width `i`: `[Q K V]` (3h), context (h), both
//! normalised rows (2h) and the feed-forward layer before its GELU (i), 10 `h` in all for `i = 4h`; the rest is computed
//! again where it is needed. A forward pass that keeps nothing returns each buffer when the layer is done.
//!
//! Products want their matrix as `[inputs, outputs]` forward (the encoder keeps it so) and as it is stored on the way
//! back: all are turned once a forward pass, which costs as much as a few dozen tokens.

mod back;

use super::super::ops::Function;
use super::super::ops::attention::{Heads, Scratch};
use super::super::ops::buffers::Buffers;
use super::super::ops::dropout::Masks;
use super::super::ops::embedding;
use super::super::tower::Packed;
use super::view::{Pair, View};
use crate::encoder::config::Config;
use crate::encoder::pooling::Pooling;
use crate::kernel::matmul::rowwise::gradient::{gelu_keeping, layer_norm_keeping};
use crate::kernel::matmul::{Rows, RowsMut, multiply, transpose};
pub(super) use back::Found;
use candle_core::Shape;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens a group: products of 256 rows took a twentieth less time than of 128, of 512 no less (MiniLM's shapes), and
/// several threads share 32 passages evenly.
const GROUP: usize = 256;

/// What stays the same from pass to pass.
pub(super) struct Model {
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    pub(super) buffers: Buffers,
}

/// One pass over some texts.
pub(super) struct Pass {
    model: Arc<Model>,
    texts: Packed,
    masks: Option<Masks>,
    groups: Vec<Group>,
    kept: Mutex<Option<Vec<Kept>>>,
}

/// Consecutive texts that go through the layers together.
#[derive(Debug, PartialEq)]
struct Group {
    texts: Range<usize>,
    tokens: Range<usize>,
}

/// Cuts texts into groups: full at `most` tokens, or one text; texts without tokens go along. Groups without any
/// token there are only where there is no token at all.
fn groups(texts: &Packed, most: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (text, ends) in texts.offsets.windows(2).enumerate() {
        let fits =
            |group: &&mut Group| ends[1] - group.tokens.start <= most || ends[0] == ends[1] || group.tokens.is_empty();
        match groups.last_mut().filter(fits) {
            Some(group) => {
                group.texts.end = text + 1;
                group.tokens.end = ends[1];
            }
            None => groups.push(Group { texts: text..text + 1, tokens: ends[0]..ends[1] }),
        }
    }
    groups
}

/// A normalisation's rows before gain and shift, and the inverse deviation of each.
struct Normal {
    rows: Vec<f32>,
    inverse: Vec<f32>,
}

/// What the way back needs of a layer.
struct KeptLayer {
    qkv: Vec<f32>,
    context: Vec<f32>,
    attention_norm: Normal,
    /// Before GELU.
    wide: Vec<f32>,
    norm: Normal,
}

/// What the way back needs of a group.
struct Kept {
    norm: Normal,
    layers: Vec<KeptLayer>,
}

/// A layer's matrices as `[inputs, outputs]`, the projections side by side.
struct Turned {
    projections: Vec<f32>,
    output: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

impl Pass {
    pub(super) fn new(model: Arc<Model>, texts: &Packed, masks: Option<Masks>) -> Self {
        Pass { model, texts: texts.clone(), masks, groups: groups(texts, GROUP), kept: Mutex::new(None) }
    }

    fn take(&self, length: usize) -> Vec<f32> {
        self.model.buffers.take(length)
    }

    fn give<const N: usize>(&self, buffers: [Vec<f32>; N]) {
        buffers.into_iter().for_each(|buffer| self.model.buffers.give(buffer));
    }

    /// Drops values of a group's rows, `width` a token, by the masks of a place.
    fn mask(&self, group: &Group, place: usize, rows: &mut [f32], width: usize) {
        let Some(masks) = self.masks else { return };
        for text in group.texts.clone() {
            masks.at(text, place).apply(&mut rows[self.span(group, text, width)]);
        }
    }

    /// Where a text's values lie among its group's rows of `width`.
    fn span(&self, group: &Group, text: usize, width: usize) -> Range<usize> {
        let place = |at: usize| (self.texts.offsets[at] - group.tokens.start) * width;
        place(text)..place(text + 1)
    }

    fn ids(&self, text: usize) -> &[u32] {
        &self.texts.ids[self.texts.offsets[text]..self.texts.offsets[text + 1]]
    }

    fn scratch(&self, group: &Group) -> (Heads, Scratch) {
        let heads = Heads { hidden: self.model.config.hidden, heads: self.model.config.heads };
        (heads, heads.scratch(group.texts.clone().map(|text| self.ids(text).len()).max().unwrap_or(0)))
    }

    fn turned(&self, view: &View<&[f32]>) -> Vec<Turned> {
        let (h, i) = (self.model.config.hidden, self.model.config.intermediate);
        let mut turned: Vec<Turned> = (view.layers.iter())
            .map(|_| Turned {
                projections: self.take(3 * h * h),
                output: self.take(h * h),
                up: self.take(h * i),
                down: self.take(i * h),
            })
            .collect();
        turned.par_iter_mut().zip(&view.layers).for_each(|(to, layer)| {
            for (n, projection) in layer.projections.iter().enumerate() {
                transpose(projection.weight, h, &mut to.projections[n * h..], 3 * h);
            }
            transpose(layer.output.weight, h, &mut to.output, h);
            transpose(layer.up.weight, h, &mut to.up, i);
            transpose(layer.down.weight, i, &mut to.down, h);
        });
        turned
    }

    fn normalize(&self, rows: &mut [f32], bias: &[f32], norm: Pair<&[f32]>) -> Normal {
        let (h, epsilon) = (self.model.config.hidden, self.model.config.epsilon as f32);
        let mut normal = Normal { rows: self.take(rows.len()), inverse: vec![0.0; rows.len() / h] };
        layer_norm_keeping(rows, bias, norm.weight, norm.bias, epsilon, &mut normal.rows, &mut normal.inverse);
        normal
    }

    /// `rows = norm(rows + dropout(x W + b))`.
    #[allow(clippy::too_many_arguments)]
    fn sublayer(
        &self,
        group: &Group,
        place: usize,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        norm: Pair<&[f32]>,
        rows: &mut [f32],
    ) -> Normal {
        let (h, t) = (self.model.config.hidden, group.tokens.len());
        let (x, weight) = (Rows::new(x, t, x.len() / t), Rows::new(weight, weight.len() / h, h));
        if self.masks.is_none() {
            multiply(x, weight, RowsMut::new(rows, t, h), true);
            return self.normalize(rows, bias, norm);
        }
        let mut out = self.take(t * h);
        out.chunks_exact_mut(h).for_each(|row| row.copy_from_slice(bias));
        multiply(x, weight, RowsMut::new(&mut out, t, h), true);
        self.mask(group, place, &mut out, h);
        rows.iter_mut().zip(&out).for_each(|(row, out)| *row += out);
        self.give([out]);
        self.normalize(rows, &vec![0.0; h], norm)
    }

    /// A group's hidden states `[t, h]`, and what the way back needs.
    fn forward_group(
        &self,
        view: &View<&[f32]>,
        turned: &[Turned],
        group: &Group,
        keep: bool,
    ) -> (Vec<f32>, Option<Kept>) {
        let config = &self.model.config;
        let (h, i, t) = (config.hidden, config.intermediate, group.tokens.len());
        let (heads, mut scratch) = self.scratch(group);
        let mut rows = self.take(t * h);
        for text in group.texts.clone() {
            embedding::forward(config, &view.tables, self.ids(text), &mut rows[self.span(group, text, h)]);
        }
        let norm = self.normalize(&mut rows, &vec![0.0; h], view.norm);
        self.mask(group, 0, &mut rows, h);
        let mut kept = Kept { norm, layers: Vec::new() };
        for (n, (layer, turned)) in view.layers.iter().zip(turned).enumerate() {
            let mut qkv = self.take(t * 3 * h);
            let bias = layer.projections.map(|projection| projection.bias).concat();
            qkv.chunks_exact_mut(3 * h).for_each(|row| row.copy_from_slice(&bias));
            let weight = Rows::new(&turned.projections, h, 3 * h);
            multiply(Rows::new(&rows, t, h), weight, RowsMut::new(&mut qkv, t, 3 * h), true);
            let mut context = self.take(t * h);
            for text in group.texts.clone() {
                let mask = self.masks.map(|masks| masks.at(text, 3 * n + 1));
                let (from, to) = (self.span(group, text, 3 * h), self.span(group, text, h));
                heads.forward(&qkv[from], &mut context[to], mask, &mut scratch);
            }
            let (output, down) = (&layer.output, &layer.down);
            let attention_norm =
                self.sublayer(group, 3 * n + 2, &context, &turned.output, output.bias, layer.attention_norm, &mut rows);
            let (mut wide, mut activated) = (self.take(t * i), self.take(t * i));
            multiply(Rows::new(&rows, t, h), Rows::new(&turned.up, h, i), RowsMut::new(&mut wide, t, i), false);
            gelu_keeping(&mut wide, layer.up.bias, &mut activated);
            let norm = self.sublayer(group, 3 * n + 3, &activated, &turned.down, down.bias, layer.norm, &mut rows);
            self.give([activated]);
            if keep {
                kept.layers.push(KeptLayer { qkv, context, attention_norm, wide, norm });
            } else {
                self.give([qkv, context, attention_norm.rows, wide, norm.rows]);
            }
        }
        if !keep {
            self.give([kept.norm.rows]);
            return (rows, None);
        }
        (rows, Some(kept))
    }
}

impl Function for Pass {
    fn forward(&self, inputs: &[&[f32]], keep: bool) -> (Vec<f32>, Shape) {
        let h = self.model.config.hidden;
        let view = View::new(&self.model.config, inputs);
        let turned = self.turned(&view);
        let done = self.groups.par_iter().with_max_len(1).map(|group| {
            let (hidden, kept) = self.forward_group(&view, &turned, group, keep);
            let mut rows = vec![0.0; group.texts.len() * h];
            for (text, row) in group.texts.clone().zip(rows.chunks_exact_mut(h)) {
                self.model.pooling.pool(&hidden[self.span(group, text, h)], row);
            }
            self.give([hidden]);
            (rows, kept)
        });
        let (rows, kept): (Vec<_>, Vec<_>) = done.unzip();
        turned.into_iter().for_each(|one| self.give([one.projections, one.output, one.up, one.down]));
        if let Some(kept) = kept.into_iter().collect::<Option<Vec<_>>>().filter(|_| keep) {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        (rows.concat(), Shape::from((self.texts.len(), h)))
    }

    fn backward(&self, inputs: &[&[f32]], gradient: &[f32]) -> Option<Vec<Vec<f32>>> {
        let view = View::new(&self.model.config, inputs);
        let Found { weights, rows } = self.back(&view, gradient)?;
        let mut tables: Vec<Vec<f32>> =
            inputs[..inputs.len() - weights.len()].iter().map(|table| vec![0.0; table.len()]).collect();
        if let [words, positions, types @ ..] = tables.as_mut_slice() {
            let types = types.first_mut().map(Vec::as_mut_slice);
            self.scatter(rows, &mut embedding::Tables { words, positions, types });
        }
        Some(tables.into_iter().chain(weights).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn groups_hold_each_text_once_and_are_full_or_single(lengths in proptest::collection::vec(0usize..40, 0..60)) {
            let ids: Vec<Vec<u32>> = lengths.iter().map(|n| vec![1; *n]).collect();
            let texts = Packed::of(ids.iter().map(Vec::as_slice));
            let groups = groups(&texts, 64);
            let all: Vec<usize> = groups.iter().flat_map(|group| group.texts.clone()).collect();
            prop_assert_eq!(all, (0..texts.len()).collect::<Vec<_>>());
            for group in &groups {
                let tokens: usize = lengths[group.texts.clone()].iter().sum();
                prop_assert_eq!(group.tokens.len(), tokens);
                let filled = group.texts.clone().filter(|text| lengths[*text] > 0).count();
                prop_assert!((tokens <= 64 && filled > 0) || filled == 1 || texts.ids.is_empty());
            }
        }
    }
}

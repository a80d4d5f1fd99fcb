//! The weights of a BERT in their fixed order, by what they do.
//!
//! ```text
//! words, positions, (types), norm gain, norm shift,
//! and a layer: Wq bq  Wk bk  Wv bv  Wo bo  gain shift  Wup bup  Wdown bdown  gain shift
//! ```

use super::super::ops::embedding::Tables;
use crate::encoder::config::{Config, Family};

/// Tensors a layer.
pub(super) const PER_LAYER: usize = 16;

/// A matrix `[outputs, inputs]` and its bias, or a gain and a shift.
#[derive(Clone, Copy)]
pub(super) struct Pair<T> {
    pub(super) weight: T,
    pub(super) bias: T,
}

/// One layer.
pub(super) struct Layer<T> {
    /// Queries, keys, values.
    pub(super) projections: [Pair<T>; 3],
    pub(super) output: Pair<T>,
    pub(super) attention_norm: Pair<T>,
    pub(super) up: Pair<T>,
    pub(super) down: Pair<T>,
    pub(super) norm: Pair<T>,
}

/// All weights of the transformer.
pub(super) struct View<T> {
    pub(super) tables: Tables<T>,
    pub(super) norm: Pair<T>,
    pub(super) layers: Vec<Layer<T>>,
}

/// How many tensors stand before the layers.
pub(super) fn before_layers(config: &Config) -> usize {
    4 + usize::from(config.types > 0)
}

/// How many tensors a transformer has.
pub(super) fn count(config: &Config) -> usize {
    before_layers(config) + PER_LAYER * config.layers
}

impl<T: Clone> View<T> {
    /// Takes the first [`count`] tensors of a list in the fixed order.
    pub(super) fn new(config: &Config, tensors: &[T]) -> Self {
        let (before, layers) = tensors.split_at(before_layers(config));
        let pair = |two: &[T]| Pair { weight: two[0].clone(), bias: two[1].clone() };
        let tables = Tables {
            words: before[0].clone(),
            positions: before[1].clone(),
            types: (config.types > 0).then(|| before[2].clone()),
        };
        let layers = layers.chunks_exact(PER_LAYER).take(config.layers).map(|layer| Layer {
            projections: [pair(layer), pair(&layer[2..]), pair(&layer[4..])],
            output: pair(&layer[6..]),
            attention_norm: pair(&layer[8..]),
            up: pair(&layer[10..]),
            down: pair(&layer[12..]),
            norm: pair(&layer[14..]),
        });
        View { tables, norm: pair(&before[before.len() - 2..]), layers: layers.collect() }
    }
}

/// One tensor as the folder has it.
pub(super) struct Entry {
    /// Its name, without the file's prefix.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

/// Names and shapes in the fixed order; `old` says whether a normalisation has the names of the first release.
pub(super) fn entries(config: &Config, old: impl Fn(&str) -> bool) -> Vec<Entry> {
    let (h, i) = (config.hidden, config.intermediate);
    let distil = config.family == Family::DistilBert;
    let table = |name: &str, rows| Entry { name: format!("embeddings.{name}_embeddings.weight"), shape: vec![rows, h] };
    let mut entries = vec![table("word", config.vocab_size), table("position", config.positions)];
    if config.types > 0 {
        entries.push(table("token_type", config.types));
    }
    let norm = |entries: &mut Vec<Entry>, name: String| {
        let (gain, shift) = if old(&name) { ("gamma", "beta") } else { ("weight", "bias") };
        entries.extend([gain, shift].map(|part| Entry { name: format!("{name}.{part}"), shape: vec![h] }));
    };
    let linear = |entries: &mut Vec<Entry>, name: String, outputs, inputs| {
        entries.push(Entry { name: format!("{name}.weight"), shape: vec![outputs, inputs] });
        entries.push(Entry { name: format!("{name}.bias"), shape: vec![outputs] });
    };
    norm(&mut entries, "embeddings.LayerNorm".into());
    for n in 0..config.layers {
        let name = |usual: &str, distilled: &str| match distil {
            true => format!("transformer.layer.{n}.{distilled}"),
            false => format!("encoder.layer.{n}.{usual}"),
        };
        for (usual, distilled) in [("query", "q_lin"), ("key", "k_lin"), ("value", "v_lin")] {
            let name = name(&format!("attention.self.{usual}"), &format!("attention.{distilled}"));
            linear(&mut entries, name, h, h);
        }
        linear(&mut entries, name("attention.output.dense", "attention.out_lin"), h, h);
        norm(&mut entries, name("attention.output.LayerNorm", "sa_layer_norm"));
        linear(&mut entries, name("intermediate.dense", "ffn.lin1"), i, h);
        linear(&mut entries, name("output.dense", "ffn.lin2"), h, i);
        norm(&mut entries, name("output.LayerNorm", "output_layer_norm"));
    }
    entries
}

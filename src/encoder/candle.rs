//! Families without a forward pass of ours, served by candle-transformers: ModernBERT.
//!
//! Token ids of a chunk go in, padded to its longest text and with the attention mask always given (candle takes a
//! missing one for all ones); hidden states come out with the padding dropped, packed as [`bert`](super::bert) packs
//! them. Chunks are sorted by length, so there is little padding to compute.
//!
//! The weights are read and checked by this house and handed to candle as tensors; its own loaders are not used. Its
//! models of BERT and XLM-R are the oracle of the tests of `bert`. Its DistilBERT is not: it computes GELU by the
//! tanh formula where the family's definition has the error function.
//!
//! Cost: that of the padded batch, in candle's arithmetic (a third of the speed of `bert`).
//!
//! Source: B. Warner and others, Smarter, Better, Faster, Longer (ModernBERT), 2024.

use super::Tower;
use super::config::{Config, Rotary};
use super::weights::Weights;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::modernbert;
use std::collections::HashMap;
use std::path::Path;

struct ModernBert {
    model: modernbert::ModernBert,
    pad: u32,
}

/// Opens the weights of a ModernBERT; returns their sha256 too.
pub(super) fn open(path: &Path, config: &Config, max_tokens: usize) -> Result<(Box<dyn Tower>, String)> {
    let Some(rotary) = &config.rotary else { return Err(Error::bug("a ModernBERT without rotary settings")) };
    let mut weights = Weights::open(path, "embeddings.tok_embeddings.weight", &["", "model."])?;
    let fingerprint = weights.fingerprint();
    let tensors = tensors(&mut weights, config)?;
    weights.finish(&config.model_type)?;
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let model = modernbert::ModernBert::load(builder, &settings(config, rotary, max_tokens)).map_err(failed)?;
    Ok((Box::new(ModernBert { model, pad: config.pad }), fingerprint))
}

/// candle's settings; its rotary tables are made for the texts that can occur, not for the 8,192 positions a config
/// may name.
fn settings(config: &Config, rotary: &Rotary, max_tokens: usize) -> modernbert::Config {
    modernbert::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        intermediate_size: config.intermediate,
        max_position_embeddings: max_tokens,
        layer_norm_eps: config.epsilon,
        pad_token_id: config.pad,
        global_attn_every_n_layers: rotary.global_every,
        global_rope_theta: rotary.theta[0],
        local_attention: rotary.window,
        local_rope_theta: rotary.theta[1],
        classifier_config: None,
    }
}

/// All tensors of the family by candle's names, which begin with `model.` also where the file's do not.
fn tensors(weights: &mut Weights, config: &Config) -> Result<HashMap<String, Tensor>> {
    let (h, i) = (config.hidden, config.intermediate);
    let mut shapes = vec![
        ("embeddings.tok_embeddings".to_owned(), vec![config.vocab_size, h]),
        ("embeddings.norm".to_owned(), vec![h]),
        ("final_norm".to_owned(), vec![h]),
    ];
    for n in 0..config.layers {
        // The first layer's rows come normalised from the embeddings.
        if n > 0 {
            shapes.push((format!("layers.{n}.attn_norm"), vec![h]));
        }
        shapes.push((format!("layers.{n}.attn.Wqkv"), vec![3 * h, h]));
        shapes.push((format!("layers.{n}.attn.Wo"), vec![h, h]));
        shapes.push((format!("layers.{n}.mlp_norm"), vec![h]));
        shapes.push((format!("layers.{n}.mlp.Wi"), vec![2 * i, h]));
        shapes.push((format!("layers.{n}.mlp.Wo"), vec![h, i]));
    }
    let mut tensors = HashMap::new();
    for (name, shape) in shapes {
        let values = weights.take(&format!("{name}.weight"), &shape)?;
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).map_err(failed)?;
        tensors.insert(format!("model.{name}.weight"), tensor);
    }
    Ok(tensors)
}

fn failed(cause: candle_core::Error) -> Error {
    Error::bad_input("candle refused the model").because(cause)
}

/// Ids and mask `[texts, longest]`: 1 where a token stands, 0 in the padding.
pub(super) fn padded(texts: &[&[u32]], pad: u32) -> candle_core::Result<(Tensor, Tensor)> {
    let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let mut ids = Vec::with_capacity(texts.len() * longest);
    let mut mask = Vec::with_capacity(texts.len() * longest);
    for text in texts {
        ids.extend(text.iter().copied().chain(std::iter::repeat_n(pad, longest - text.len())));
        mask.extend((0..longest).map(|at| u32::from(at < text.len())));
    }
    let shape = (texts.len(), longest);
    Ok((Tensor::from_vec(ids, shape, &Device::Cpu)?, Tensor::from_vec(mask, shape, &Device::Cpu)?))
}

/// Rows of a padded batch `[texts, longest, h]` without those of the padding.
pub(super) fn packed(hidden: &Tensor, texts: &[&[u32]]) -> candle_core::Result<Vec<f32>> {
    let (_, longest, h) = hidden.dims3()?;
    let all = hidden.flatten_all()?.to_vec1::<f32>()?;
    let rows = texts.iter().zip(all.chunks_exact(longest * h));
    Ok(rows.flat_map(|(ids, rows)| &rows[..ids.len() * h]).copied().collect())
}

impl Tower for ModernBert {
    fn hidden(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let forward = || {
            let (ids, mask) = padded(texts, self.pad)?;
            packed(&self.model.forward(&ids, &mask)?, texts)
        };
        forward().map_err(failed)
    }
}

//! A trained transformer as a folder that sentence-transformers and this program open.
//!
//! ```text
//! config.json                           the source's, with the number of layers that are left
//! tokenizer.json …                      the source's
//! model.safetensors                     f32, the names of the source
//! modules.json                          Transformer, Pooling, Dense …, and Normalize with cosine similarity
//! sentence_bert_config.json             the source's, else its length
//! config_sentence_transformers.json     the source's prompts, the similarity asked for
//! 1_Pooling/config.json                 cls or mean
//! 2_Dense/config.json, model.safetensors
//! ```
//!
//! What is copied is read when the tower is opened: the source may be gone when training ends. A model card is not
//! copied, since what it says of the source is not true of what was made of it.

use super::super::tower::Parameter;
use crate::encoder::config::{Config, Family, Object, read_bounded, read_json};
use crate::encoder::contract::Similarity;
use crate::encoder::folder::Folder;
use crate::encoder::modules::Step;
use crate::encoder::pooling::Pooling;
use crate::error::{Error, Result};
use crate::storage::{create_folder, write_atomically};
use crate::train::ops::with_values;
use candle_core::Device;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Files beside the weights that are copied as they are, where they are there.
const COPIED: [&str; 14] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "bpe.codes",
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
];

/// Larger files of a tokenizer are refused.
const LARGEST: u64 = 128 << 20;

/// The source's files that go into the folder written.
pub(super) struct Files {
    /// `config.json`, changed where what is trained differs.
    config: Value,
    copied: Vec<(&'static str, Vec<u8>)>,
    /// `config_sentence_transformers.json`, an object.
    settings: Map<String, Value>,
    /// Folder and `config.json` of each dense module.
    dense: Vec<(String, Value)>,
    hidden: usize,
}

/// The folder of the `n`th step after pooling.
pub(super) fn dense_folder(n: usize) -> String {
    format!("{}_Dense", n + 2)
}

impl Files {
    /// Reads what is kept of a source; `config` is the configuration that is trained.
    pub(super) fn read(root: &Path, folder: &Folder, config: &Config) -> Result<Self> {
        let place = &folder.transformer;
        let mut described = object(&place.join("config.json"))?;
        let layers = if config.family == Family::DistilBert { "n_layers" } else { "num_hidden_layers" };
        described.insert(layers.into(), json!(config.layers));
        for dtype in ["dtype", "torch_dtype"] {
            if let Some(dtype) = described.get_mut(dtype) {
                *dtype = json!("float32");
            }
        }
        let mut copied = Vec::new();
        for name in COPIED {
            let path = place.join(name);
            if path.exists() {
                copied.push((name, read_bounded(&path, LARGEST)?));
            }
        }
        if !copied.iter().any(|(name, _)| name.starts_with("sentence_")) {
            let length = json!({"max_seq_length": folder.max_tokens, "do_lower_case": false});
            copied.push(("sentence_bert_config.json", pretty(&length)));
        }
        let settings = root.join("config_sentence_transformers.json");
        let settings = if settings.exists() { object(&settings)? } else { Map::new() };
        let mut dense = Vec::new();
        for (n, step) in folder.steps.iter().enumerate() {
            if let Step::Dense { folder, .. } = step {
                dense.push((dense_folder(n), read_json(&folder.join("config.json"))?));
            }
        }
        Ok(Files { config: described.into(), copied, settings, dense, hidden: config.hidden })
    }

    /// Writes the folder; files of the same names are replaced. `config.json`, without which no folder is a model,
    /// comes last.
    pub(super) fn write(
        &self,
        folder: &Path,
        parameters: &[Parameter],
        pooling: Pooling,
        similarity: Similarity,
    ) -> Result<()> {
        create_folder(folder)?;
        let inner: Vec<&Parameter> = parameters.iter().filter(|parameter| !parameter.name.contains('/')).collect();
        write_weights(&folder.join("model.safetensors"), &inner, "")?;
        let mut modules = vec![module(0, "Transformer", ""), module(1, "Pooling", "1_Pooling")];
        create_folder(&folder.join("1_Pooling"))?;
        let mut modes = json!({"word_embedding_dimension": self.hidden});
        for (mode, on) in [("cls_token", Pooling::Cls), ("mean_tokens", Pooling::Mean), ("max_tokens", Pooling::Max)] {
            modes[format!("pooling_mode_{mode}")] = json!(pooling == on);
        }
        modes["pooling_mode_mean_sqrt_len_tokens"] = json!(false);
        write_atomically(&folder.join("1_Pooling/config.json"), &pretty(&modes))?;
        for (place, config) in &self.dense {
            let (path, prefix) = (folder.join(place), format!("{place}/"));
            create_folder(&path)?;
            let inner: Vec<&Parameter> = parameters.iter().filter(|one| one.name.starts_with(&prefix)).collect();
            write_weights(&path.join("model.safetensors"), &inner, &prefix)?;
            write_atomically(&path.join("config.json"), &pretty(config))?;
            modules.push(module(modules.len(), "Dense", place));
        }
        if similarity == Similarity::Cosine {
            let place = format!("{}_Normalize", modules.len());
            create_folder(&folder.join(&place))?;
            modules.push(module(modules.len(), "Normalize", &place));
        }
        for (name, bytes) in &self.copied {
            write_atomically(&folder.join(name), bytes)?;
        }
        let mut settings = self.settings.clone();
        settings.insert("similarity_fn_name".into(), json!(similarity.name()));
        write_atomically(&folder.join("config_sentence_transformers.json"), &pretty(&settings.into()))?;
        write_atomically(&folder.join("modules.json"), &pretty(&modules.into()))?;
        write_atomically(&folder.join("config.json"), &pretty(&self.config))
    }
}

fn module(n: usize, kind: &str, place: &str) -> Value {
    json!({"idx": n, "name": n.to_string(), "path": place, "type": format!("sentence_transformers.models.{kind}")})
}

/// A file that has to hold an object.
fn object(path: &Path) -> Result<Map<String, Value>> {
    // Read as an `Object` first, for its refusals.
    Object::read(path)?;
    Ok(read_json(path)?.as_object().cloned().unwrap_or_default())
}

fn pretty(json: &Value) -> Vec<u8> {
    format!("{json:#}\n").into_bytes()
}

/// Writes parameters, without the prefix of their names, as a safetensors file of f32.
fn write_weights(path: &Path, parameters: &[&Parameter], prefix: &str) -> Result<()> {
    let mut tensors = Vec::new();
    for parameter in parameters {
        let tensor = parameter.var.to_device(&Device::Cpu).map_err(super::failed)?;
        let bytes = with_values(std::slice::from_ref(&tensor), |values| {
            values[0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()
        });
        let name = parameter.name.strip_prefix(prefix).unwrap_or(&parameter.name);
        tensors.push((name, tensor.dims().to_vec(), bytes.map_err(super::failed)?));
    }
    let bug = |cause| Error::bug("weights do not have their shape").because(cause);
    let views: Vec<(&str, TensorView)> = (tensors.iter())
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<std::result::Result<_, safetensors::SafeTensorError>>()
        .map_err(bug)?;
    // Readers of the format ask which library the tensors are laid out for.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_atomically(path, &safetensors::serialize(views, Some(metadata)).map_err(bug)?)
}

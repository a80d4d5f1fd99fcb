//! A static model as a folder that sentence-transformers and this program open.
//!
//! ```text
//! modules.json                          StaticEmbedding, and Normalize with cosine similarity
//! config_sentence_transformers.json     similarity, prompts
//! 0_StaticEmbedding/tokenizer.json      the tokenizer
//! 0_StaticEmbedding/model.safetensors   embedding.weight [n, d] f32
//! model.bin                             the compact form, int8 with a scale a row, where there is one
//! README.md                             the model card: where it comes from
//! ```
//!
//! Where there is a compact form, both hold the same numbers: the f32 rows are the int8 rows times their scales.

use crate::encoder::contract::Similarity;
use crate::encoder::fixed::StaticModel;
use crate::error::{Error, Result};
use crate::storage::{create_folder, write_atomically};
use fs_err as fs;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a folder is written from.
pub(super) struct Content<'a> {
    /// `tokenizer.json`.
    pub(super) tokenizer: &'a [u8],
    /// Rows `[n, d]`.
    pub(super) values: &'a [f32],
    /// Components a row, `d`.
    pub(super) dimension: usize,
    pub(super) similarity: Similarity,
    pub(super) query_prompt: &'a str,
    pub(super) passage_prompt: &'a str,
    /// `model.bin`, where the rows have a compact form.
    pub(super) compact: Option<&'a [u8]>,
    /// The model card.
    pub(super) card: &'a str,
}

/// Writes a compact model, whose texts have no prompt.
pub(super) fn write_model(model: &StaticModel, similarity: Similarity, card: &str, folder: &Path) -> Result<()> {
    let content = Content {
        tokenizer: &tokenizer(model),
        values: &model.values(),
        dimension: model.dimension(),
        similarity,
        query_prompt: "",
        passage_prompt: "",
        compact: Some(&model.to_bytes()),
        card,
    };
    write(&content, folder)
}

/// Writes the folder; files of the same names are replaced.
pub(super) fn write(content: &Content<'_>, folder: &Path) -> Result<()> {
    let inner = folder.join("0_StaticEmbedding");
    create_folder(&inner)?;
    let weights: Vec<u8> = content.values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let shape = vec![content.values.len() / content.dimension, content.dimension];
    let weights = TensorView::new(Dtype::F32, shape, &weights)
        .and_then(|view| safetensors::serialize([("embedding.weight", view)], None))
        .map_err(|e| Error::bug("rows do not have the shape they were given").because(e))?;
    write_atomically(&inner.join("model.safetensors"), &weights)?;
    write_atomically(&inner.join("tokenizer.json"), content.tokenizer)?;
    match content.compact {
        Some(bytes) => write_atomically(&folder.join("model.bin"), bytes)?,
        // One that lies there from earlier would contradict the rows.
        None => drop(fs::remove_file(folder.join("model.bin"))),
    }
    write_atomically(&folder.join("README.md"), content.card.as_bytes())?;
    let prompts = [("query", content.query_prompt), ("document", content.passage_prompt)];
    let prompts: Map<String, Value> = prompts
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(role, text)| (role.to_string(), json!(text)))
        .collect();
    let settings = json!({"prompts": prompts, "default_prompt_name": null,
                          "similarity_fn_name": content.similarity.name()});
    write_atomically(&folder.join("config_sentence_transformers.json"), &pretty(&settings))?;
    let module = |idx: u8, kind: &str| {
        json!({"idx": idx, "name": idx.to_string(), "path": format!("{idx}_{kind}"),
               "type": format!("sentence_transformers.models.{kind}")})
    };
    let mut modules = vec![module(0, "StaticEmbedding")];
    if content.similarity == Similarity::Cosine {
        modules.push(module(1, "Normalize"));
        create_folder(&folder.join("1_Normalize"))?;
    }
    // Last: a folder without it is not taken for a model.
    write_atomically(&folder.join("modules.json"), &pretty(&Value::from(modules)))
}

fn pretty(json: &Value) -> Vec<u8> {
    format!("{json:#}\n").into_bytes()
}

/// The tokenizer of a compact model in the tokenizers crate's format.
fn tokenizer(model: &StaticModel) -> Vec<u8> {
    let vocabulary: Map<String, Value> =
        model.vocabulary().iter().enumerate().map(|(id, entry)| (entry.clone(), json!(id))).collect();
    pretty(&json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": true, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    }))
}

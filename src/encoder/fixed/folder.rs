//! Static encoders in folders, as sentence-transformers and model2vec write them.
//!
//! ```text
//! sentence-transformers   modules.json   [StaticEmbedding, Normalize?] with a folder each
//!                         config_sentence_transformers.json   prompts, similarity
//!                         0_StaticEmbedding/ (or the root): tokenizer.json, model.safetensors
//! model2vec               config.json   model_type "model2vec"
//!                         tokenizer.json, model.safetensors
//! model.safetensors       embedding.weight [n, d]                                  or
//!                         embeddings [m, d], weights [n]?, mapping [n]?
//! ```
//!
//! Rows are f32, f16, bf16, f64 or int8; the row of token `t` is `embeddings[mapping[t]] * weights[t]`. What the folder
//! asks for and is not served is refused, never passed over. Two differences to model2vec's own code: texts are not
//! cut to 512 tokens, and a text of unknown words alone is a zero row.

use super::{FixedEncoder, Rows, Table, Tokenizer};
use crate::encoder::config::{Object, read_bounded};
use crate::encoder::contract::{EncoderCard, Precision, Similarity};
use crate::encoder::folder::settings;
use crate::encoder::modules::modules;
use crate::encoder::wordpiece::WordPiece;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Mapped, sha256};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Tokenizer files above this are refused; the largest published ones (250,000 pieces) have 17 MB.
const LARGEST_TOKENIZER: u64 = 128 << 20;

/// What the folder's descriptions say.
struct Description {
    /// Where tokenizer and weights lie.
    inner: PathBuf,
    similarity: Similarity,
    query_prompt: String,
    passage_prompt: String,
    /// model2vec leaves unknown tokens out of the mean.
    drop_unknown: bool,
}

pub(super) fn open(root: &Path, name: &str) -> Result<FixedEncoder> {
    let description = describe(root)?;
    let tokenizer_path = description.inner.join("tokenizer.json");
    let tokenizer_bytes = read_bounded(&tokenizer_path, LARGEST_TOKENIZER)?;
    let json = serde_json::from_slice(&tokenizer_bytes)
        .map_err(|e| Error::at_line(&tokenizer_path, e.line() as u64, "invalid JSON").because(e))?;
    let max_tokens = truncation(&json).map_err(|e| e.in_file(&tokenizer_path))?;
    let (tokenizer, unknown, size) = match WordPiece::from_tokenizer_json(&json)? {
        Some(wordpiece) => {
            let (unknown, size) = (wordpiece.specials().unk, wordpiece.size());
            (Tokenizer::WordPiece(Box::new(wordpiece)), Some(unknown), size)
        }
        None => foreign(&tokenizer_path, &tokenizer_bytes, &json)?,
    };
    let weights_path = description.inner.join("model.safetensors");
    let weights = Mapped::open(&weights_path)?;
    let mut table = table(weights.bytes(), size).map_err(|e| e.in_file(&weights_path))?;
    if let (true, Some(unknown)) = (description.drop_unknown, unknown) {
        table.scales[unknown as usize] = 0.0;
    }
    let tokenizer_hash = sha256(&[&tokenizer_bytes]);
    let Description { similarity, query_prompt, passage_prompt, .. } = description;
    let settings = format!("{} {} {query_prompt:?} {passage_prompt:?}", tokenizer_hash, similarity.name());
    let fingerprint = sha256(&[weights.bytes(), settings.as_bytes()]);
    let card = EncoderCard {
        name: name.to_string(),
        family: "static".to_string(),
        fingerprint,
        precision: Precision::F32,
        tokenizer: tokenizer_hash,
        dimension: table.dimension,
        similarity,
        pooling: "mean".to_string(),
        query_prompt,
        passage_prompt,
        max_tokens,
    };
    Ok(FixedEncoder { card, tokenizer, table, unknown })
}

fn describe(root: &Path) -> Result<Description> {
    let mut description = Description {
        inner: root.to_path_buf(),
        similarity: Similarity::Cosine,
        query_prompt: String::new(),
        passage_prompt: String::new(),
        drop_unknown: false,
    };
    let Some(modules) = modules(root)? else {
        let config = Object::read(&root.join("config.json"))?;
        config.only("model_type", &["model2vec"])?;
        description.drop_unknown = true;
        return Ok(description);
    };
    let kinds: Vec<&str> = modules.iter().map(|module| module.kind.as_str()).collect();
    if !matches!(kinds.as_slice(), ["StaticEmbedding"] | ["StaticEmbedding", "Normalize"]) {
        let message = format!("modules {} are no static encoder", kinds.join(", "));
        return Err(Error::bad_input(message).in_file(root.join("modules.json")));
    }
    description.inner.clone_from(&modules[0].folder);
    let (query_prompt, passage_prompt, similarity) = settings(root)?;
    // Rows of unit length: both similarities are one.
    let similarity = if kinds.len() > 1 { Similarity::Cosine } else { similarity };
    Ok(Description { similarity, query_prompt, passage_prompt, ..description })
}

/// A tokenizer of another family, served by the tokenizers crate.
fn foreign(path: &Path, bytes: &[u8], json: &Value) -> Result<(Tokenizer, Option<u32>, usize)> {
    let refuse = |cause| Error::bad_input("not a tokenizer").in_file(path).because(cause);
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(refuse)?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(refuse)?;
    let model = &json["model"];
    let unknown = match model["unk_id"].as_u64() {
        Some(id) => u32::try_from(id).ok(),
        None => model["unk_token"].as_str().and_then(|token| tokenizer.token_to_id(token)),
    };
    let size = tokenizer.get_vocab(true).values().map(|id| *id as usize + 1).max().unwrap_or(0);
    Ok((Tokenizer::HuggingFace(Box::new(tokenizer)), unknown.filter(|id| (*id as usize) < size), size))
}

/// Tokens the tokenizer cuts texts to.
fn truncation(json: &Value) -> Result<Option<usize>> {
    let truncation = &json["truncation"];
    if truncation.is_null() {
        return Ok(None);
    }
    match truncation["max_length"].as_u64() {
        Some(most) if truncation["direction"].as_str().unwrap_or("Right") == "Right" => Ok(Some(most as usize)),
        _ => Err(Error::bad_input("only truncation at the right is served")),
    }
}

/// The rows of at least `size` tokens.
fn table(bytes: &[u8], size: usize) -> Result<Table> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|e| Error::bad_input("not a whole safetensors file").because(e))?;
    let tensor = |name: &str| file.tensor(name).ok();
    let whole = tensor("embedding.weight");
    let (rows, weights, mapping) = match whole {
        Some(rows) => (rows, None, None),
        None => {
            let rows = tensor("embeddings")
                .ok_or_else(|| Error::bad_input("neither tensor `embedding.weight` nor `embeddings` is there"))?;
            (rows, tensor("weights"), tensor("mapping"))
        }
    };
    let &[count, dimension] = rows.shape() else {
        return Err(Error::bad_input(format!("the rows have shape {:?}, expected [n, d]", rows.shape())));
    };
    if dimension == 0 {
        return Err(Error::bad_input("the rows have no components"));
    }
    let places = mapping.map(|mapping| whole_numbers(&mapping)).transpose()?;
    let tokens = places.as_ref().map_or(count, Vec::len);
    let scales = weights.map_or(Ok(vec![1.0; tokens]), |weights| numbers(&weights))?;
    if tokens < size || scales.len() != tokens {
        let message = format!("{tokens} rows and {} weights for the tokenizer's {size} tokens", scales.len());
        return Err(Error::new(ErrorKind::Mismatch, message));
    }
    if let Some(place) = places.iter().flatten().find(|place| **place as usize >= count) {
        return Err(Error::bad_input(format!("`mapping` names row {place} of {count}")));
    }
    let rows = match rows.dtype() {
        Dtype::I8 => Rows::Narrow(bytemuck::cast_slice(rows.data()).to_vec()),
        _ => Rows::Wide(numbers(&rows)?),
    };
    Ok(Table { dimension, rows, scales, places })
}

/// A tensor's values, finite.
fn numbers(tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    let data = tensor.data();
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)).collect()
        }
        other => return Err(Error::bad_input(format!("values of type {other:?} are not served"))),
    };
    match values.iter().find(|x| !x.is_finite()) {
        Some(value) => Err(Error::bad_input(format!("a weight is {value}"))),
        None => Ok(values),
    }
}

/// A tensor's values as row numbers.
fn whole_numbers(tensor: &TensorView<'_>) -> Result<Vec<u32>> {
    let data = tensor.data();
    let values: Option<Vec<u32>> = match tensor.dtype() {
        Dtype::I64 => data.as_chunks().0.iter().map(|b| u32::try_from(i64::from_le_bytes(*b)).ok()).collect(),
        Dtype::I32 => data.as_chunks().0.iter().map(|b| u32::try_from(i32::from_le_bytes(*b)).ok()).collect(),
        Dtype::U32 => Some(data.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()),
        other => return Err(Error::bad_input(format!("`mapping` of type {other:?} is not served"))),
    };
    values.ok_or_else(|| Error::bad_input("`mapping` names a row below 0 or beyond 32 bits"))
}

/// IEEE half precision, widened exactly: the bits moved to their places, then the exponents' difference of 112.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    if magnitude >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | magnitude << 13);
    }
    f32::from_bits(sign | magnitude << 13) * f32::from_bits((127 + 112) << 23)
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;

//! Folders of both layouts, written here, opened, spoilt.

use super::*;
use crate::encoder::contract::{Encoder, Role};
use serde_json::json;
use std::fs;

fn tokenizer() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "north": 1, "east": 2}},
    })
}

fn tensors(path: &Path, tensors: &[(&str, Dtype, &[usize], &[u8])]) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.to_string(), TensorView::new(*dtype, shape.to_vec(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

const ROWS: [f32; 6] = [5.0, 5.0, 0.0, 1.0, 2.0, 0.0];

/// A sentence-transformers folder: the rows of `[UNK]`, north and east.
fn sentence_transformers() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("0_StaticEmbedding");
    fs::create_dir(&inner).unwrap();
    let module = |i: usize, kind: &str| {
        json!({"idx": i, "name": i.to_string(), "path": format!("{i}_{kind}"),
               "type": format!("sentence_transformers.models.{kind}")})
    };
    let modules = json!([module(0, "StaticEmbedding"), module(1, "Normalize")]);
    fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
    let settings = json!({"prompts": {"query": "north ", "document": ""}, "similarity_fn_name": "cosine"});
    fs::write(folder.path().join("config_sentence_transformers.json"), settings.to_string()).unwrap();
    fs::write(inner.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    tensors(&inner.join("model.safetensors"), &[("embedding.weight", Dtype::F32, &[3, 2], &le(&ROWS))]);
    folder
}

fn model2vec(tensors_: &[(&str, Dtype, &[usize], &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "model2vec", "normalize": true}"#).unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    tensors(&folder.path().join("model.safetensors"), tensors_);
    folder
}

fn row(encoder: &FixedEncoder, text: &str, role: Role) -> Vec<f32> {
    encoder.encode(&[text], role).unwrap().row(0).to_vec()
}

fn close(found: &[f32], expected: &[f32]) {
    let near = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near, "{found:?} is not {expected:?}");
}

#[test]
fn a_sentence_transformers_folder_is_honoured() {
    let folder = sentence_transformers();
    let encoder = open(folder.path(), "mine").unwrap();
    close(&row(&encoder, "east", Role::Passage), &[1.0, 0.0]);
    let length = 5f32.sqrt();
    close(&row(&encoder, "East", Role::Query), &[2.0 / length, 1.0 / length]);
    // The unknown token has a row here and takes part, but alone it is nothing.
    close(&row(&encoder, "east west", Role::Passage), &[7.0 / 74f32.sqrt(), 5.0 / 74f32.sqrt()]);
    close(&row(&encoder, "west", Role::Passage), &[0.0, 0.0]);
    assert_eq!((encoder.card().dimension, encoder.card().name.as_str()), (2, "mine"));
    let before = encoder.card().fingerprint.clone();
    fs::write(folder.path().join("config_sentence_transformers.json"), r#"{"similarity_fn_name": "dot"}"#).unwrap();
    let other = open(folder.path(), "mine").unwrap();
    assert_ne!(other.card().fingerprint, before);
    // Rows of unit length: both similarities are one.
    assert_eq!(other.card().similarity, Similarity::Cosine);
}

#[test]
fn without_normalisation_dot_gives_plain_means() {
    let folder = sentence_transformers();
    let modules =
        json!([{"idx": 0, "path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}]);
    fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
    fs::write(folder.path().join("config_sentence_transformers.json"), r#"{"similarity_fn_name": "dot"}"#).unwrap();
    let encoder = open(folder.path(), "mine").unwrap();
    close(&row(&encoder, "east north", Role::Passage), &[1.0, 0.5]);
}

#[test]
fn model2vec_folders_of_each_precision() {
    let mapping: Vec<u8> = [0i64, 2, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
    let weights: Vec<u8> = [1.0f64, 0.5, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let halves: Vec<u8> = [0x4500u16, 0x4500, 0, 0x3c00, 0x4000, 0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes: Vec<u8> = ROWS.iter().map(|x| *x as u8).collect();
    for (dtype, rows) in [(Dtype::F32, le(&ROWS)), (Dtype::F16, halves), (Dtype::I8, bytes)] {
        let folder = model2vec(&[
            ("embeddings", dtype, &[3, 2], &rows),
            ("mapping", Dtype::I64, &[3], &mapping),
            ("weights", Dtype::F64, &[3], &weights),
        ]);
        let encoder = open(folder.path(), "mine").unwrap();
        // north is row 2 at half weight, east row 1 fourfold; unknown words take no part.
        close(&row(&encoder, "north east west", Role::Query), &[1.0 / 17f32.sqrt(), 4.0 / 17f32.sqrt()]);
    }
}

#[test]
fn other_tokenizers_and_truncation() {
    let folder = sentence_transformers();
    let path = folder.path().join("0_StaticEmbedding/tokenizer.json");
    let mut json = tokenizer();
    json["truncation"] = json!({"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                             "pad_type_id": 0, "pad_token": "[UNK]"});
    for normalizer in [json["normalizer"].clone(), json!({"type": "Lowercase"})] {
        json["normalizer"] = normalizer;
        fs::write(&path, json.to_string()).unwrap();
        let encoder = open(folder.path(), "mine").unwrap();
        close(&row(&encoder, "East north", Role::Passage), &[1.0, 0.0]);
        assert_eq!(encoder.card().max_tokens, Some(1));
        assert_eq!(encoder.token_spans("East north"), [(0, 4), (5, 10)]);
    }
}

#[test]
fn spoilt_folders_are_refused() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 13] = [
        ("no modules", |f| fs::write(f.join("modules.json"), "[]").unwrap()),
        ("not JSON", |f| fs::write(f.join("modules.json"), "[").unwrap()),
        ("another module", |f| {
            let modules = fs::read_to_string(f.join("modules.json")).unwrap().replace("Normalize", "Dense");
            fs::write(f.join("modules.json"), modules).unwrap();
        }),
        ("path outside", |f| {
            let modules = json!([{"path": "../x", "type": "sentence_transformers.models.StaticEmbedding"}]);
            fs::write(f.join("modules.json"), modules.to_string()).unwrap();
        }),
        ("similarity", |f| {
            fs::write(f.join("config_sentence_transformers.json"), r#"{"similarity_fn_name": "euclidean"}"#).unwrap();
        }),
        ("default prompt", |f| {
            fs::write(f.join("config_sentence_transformers.json"), r#"{"default_prompt_name": "x"}"#).unwrap();
        }),
        ("a prompt that is no text", |f| {
            fs::write(f.join("config_sentence_transformers.json"), r#"{"prompts": {"query": 3}}"#).unwrap();
        }),
        ("no tokenizer", |f| fs::remove_file(f.join("0_StaticEmbedding/tokenizer.json")).unwrap()),
        ("cut weights", |f| {
            let path = f.join("0_StaticEmbedding/model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("too few rows", |f| {
            let path = f.join("0_StaticEmbedding/model.safetensors");
            tensors(&path, &[("embedding.weight", Dtype::F32, &[2, 2], &le(&ROWS[..4]))]);
        }),
        ("another name", |f| {
            let path = f.join("0_StaticEmbedding/model.safetensors");
            tensors(&path, &[("weight", Dtype::F32, &[3, 2], &le(&ROWS))]);
        }),
        ("not finite", |f| {
            let path = f.join("0_StaticEmbedding/model.safetensors");
            tensors(&path, &[("embedding.weight", Dtype::F32, &[3, 2], &le(&[f32::INFINITY, 0., 0., 0., 0., 0.]))]);
        }),
        ("left truncation", |f| {
            let mut json = tokenizer();
            json["truncation"] = json!({"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Left"});
            fs::write(f.join("0_StaticEmbedding/tokenizer.json"), json.to_string()).unwrap();
        }),
    ];
    for (what, spoil) in cases {
        let folder = sentence_transformers();
        spoil(folder.path());
        let refused = open(folder.path(), "mine").err();
        let refused = refused.unwrap_or_else(|| panic!("{what}: opened"));
        assert!(!refused.to_string().is_empty());
    }
    let far: Vec<u8> = [0i32, 1, 3].iter().flat_map(|x| x.to_le_bytes()).collect();
    let folder = model2vec(&[("embeddings", Dtype::F32, &[3, 2], &le(&ROWS)), ("mapping", Dtype::I32, &[3], &far)]);
    assert!(open(folder.path(), "mine").is_err());
    fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    assert!(open(folder.path(), "mine").is_err());
}

#[test]
fn halves_widen_exactly() {
    for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x8000, -0.0)] {
        assert_eq!(half(bits).to_bits(), f32::to_bits(value));
    }
    assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
}

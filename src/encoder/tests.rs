//! Encoders against stored rows of the Python libraries, and laws every encoder keeps.

use super::config::{Config, Object};
use super::contract::{Encoder, Precision, Role, Similarity};
use super::weights::write_f32;
use super::*;
use crate::error::ErrorKind;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert as candle_bert, xlm_roberta};
use serde_json::{Value, json};
use std::path::PathBuf;

const TINY: [&str; 4] = ["bert", "distilbert", "xlm-roberta", "modernbert"];

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/encoders", name].iter().collect()
}

fn tiny(name: &str) -> Box<dyn Encoder> {
    open(&fixture(name), name, &OpenOptions::default()).unwrap()
}

/// `all-MiniLM-L6-v2`, where the tests are told where it lies.
fn minilm() -> Option<Box<dyn Encoder>> {
    let Some(folder) = std::env::var_os("PARALLAX_TEST_MINILM") else {
        println!("left out: PARALLAX_TEST_MINILM names no folder of all-MiniLM-L6-v2");
        return None;
    };
    Some(open(folder.as_ref(), "minilm", &OpenOptions::default()).unwrap())
}

fn stored(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(file)).unwrap()).unwrap()
}

fn texts(stored: &Value) -> Vec<&str> {
    stored["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn values(rows: &Value) -> Vec<f32> {
    rows.as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|x| x.as_f64().unwrap() as f32)
        .collect()
}

/// The largest absolute difference.
fn gap(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn tiny_folders_give_the_rows_of_sentence_transformers() {
    for name in TINY {
        let (encoder, stored) = (tiny(name), stored(&format!("{name}/vectors.json")));
        for (role, key) in [(Role::Query, "query"), (Role::Passage, "passage")] {
            let rows = encoder.encode(&texts(&stored), role).unwrap();
            let gap = gap(rows.values(), &values(&stored[key]));
            println!("{name} {key}: {gap:e}");
            // 1e-4: f32 arithmetic in another order, on weights large enough to magnify it.
            assert!(gap <= 1e-4, "{name} {key} is {gap} away");
        }
    }
}

#[test]
fn minilm_gives_the_rows_of_sentence_transformers() {
    let Some(encoder) = minilm() else { return };
    let stored = stored("minilm.json");
    let rows = encoder.encode(&texts(&stored), Role::Passage).unwrap();
    let gap = gap(rows.values(), &values(&stored["rows"]));
    println!("minilm: {gap:e}");
    assert!(gap <= 1e-4, "{gap} away");
}

/// The same folder in int8.
fn int8(folder: &Path) -> Result<Box<dyn Encoder>> {
    open(folder, "int8", &OpenOptions { precision: Precision::Int8, ..OpenOptions::default() })
}

#[test]
fn int8_rows_are_near_those_of_f32() {
    let stored = stored("minilm.json");
    let texts = texts(&stored);
    let minilm = std::env::var_os("PARALLAX_TEST_MINILM").map(PathBuf::from);
    // The tiny models have 32 components and random weights, in which rounding averages out less; the bar is MiniLM's.
    let folders = ["bert", "distilbert", "xlm-roberta"].map(|name| (fixture(name), 0.99));
    for (folder, bar) in folders.into_iter().chain(minilm.map(|folder| (folder, 0.995))) {
        let (exact, near) = (open(&folder, "f32", &OpenOptions::default()).unwrap(), int8(&folder).unwrap());
        assert_eq!((exact.card().precision, near.card().precision), (Precision::F32, Precision::Int8));
        assert_eq!(exact.card().fingerprint, near.card().fingerprint);
        let [a, b] = [&exact, &near].map(|encoder| encoder.encode(&texts, Role::Passage).unwrap());
        assert_ne!(a, b, "nothing was quantised");
        for (i, text) in texts.iter().enumerate() {
            let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
            let size = (dot(a.row(i), a.row(i)) * dot(b.row(i), b.row(i))).sqrt();
            let cosine = if size == 0.0 { 1.0 } else { dot(a.row(i), b.row(i)) / size };
            println!("{}: {cosine}", folder.display());
            assert!(cosine >= bar, "{}: {:?} has cosine {cosine}", folder.display(), text);
            let alone = near.encode(&[text], Role::Passage).unwrap();
            assert_eq!(alone.row(0), b.row(i), "{text:?} alone is not what it is in a batch");
        }
    }
}

#[test]
fn int8_rows_of_a_thousand_paragraphs_are_near_those_of_f32() {
    let (Some(data), Some(folder)) = (std::env::var_os("PARALLAX_TEST_DATA"), std::env::var_os("PARALLAX_TEST_MINILM"))
    else {
        println!("left out: PARALLAX_TEST_DATA and PARALLAX_TEST_MINILM are not set");
        return;
    };
    let file = std::fs::File::open(PathBuf::from(data).join("squad/dev-v1.1.json.gz")).unwrap();
    let json: Value = serde_json::from_reader(flate2::read::MultiGzDecoder::new(file)).unwrap();
    let articles = json["data"].as_array().unwrap();
    let paragraphs = articles.iter().flat_map(|article| article["paragraphs"].as_array().unwrap());
    let texts: Vec<&str> = paragraphs.map(|paragraph| paragraph["context"].as_str().unwrap()).take(1000).collect();
    let [exact, near] = [open(folder.as_ref(), "f32", &OpenOptions::default()), int8(folder.as_ref())]
        .map(|encoder| encoder.unwrap().encode(&texts, Role::Passage).unwrap());
    let cosine = |i| exact.row(i).iter().zip(near.row(i)).map(|(x, y)| x * y).sum::<f32>();
    let least = (0..texts.len()).map(cosine).fold(1.0, f32::min);
    println!("least cosine of {}: {least}", texts.len());
    assert!(texts.len() == 1000 && least >= 0.995, "{least}");
}

#[test]
fn int8_is_for_the_bert_family_and_usual_there() {
    let refused = int8(&fixture("modernbert")).err().unwrap();
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Usage, "encoder `int8` knows no precision `int8`"));
    assert_eq!(open_named("builtin", "builtin", Precision::Int8).err().unwrap().kind(), ErrorKind::Usage);
    let usual = |name: &str| usual_precision(&fixture(name).display().to_string()).unwrap();
    assert_eq!((usual("bert"), usual("modernbert")), (Precision::Int8, Precision::F32));
    assert_eq!(usual_precision("builtin").unwrap(), Precision::F32);
}

#[test]
fn a_text_alone_equals_itself_in_a_batch() {
    let encoders = TINY.map(tiny).into_iter().chain(minilm());
    let stored = stored("minilm.json");
    let texts = texts(&stored);
    for encoder in encoders {
        let together = encoder.encode(&texts, Role::Query).unwrap();
        for (i, text) in texts.iter().enumerate() {
            let alone = encoder.encode(&[text], Role::Query).unwrap();
            let gap = gap(alone.row(0), together.row(i));
            // Our own pass sums each row in one order, whatever lies beside it.
            let most = if encoder.card().family == "modernbert" { 1e-5 } else { 0.0 };
            assert!(gap <= most, "{}: {text:?} is {gap} away from itself", encoder.card().family);
        }
    }
}

#[test]
fn cards_say_what_the_folders_say() {
    let card = |name| tiny(name).card().clone();
    let bert = card("bert");
    assert_eq!((bert.family.as_str(), bert.dimension, bert.max_tokens), ("bert", 16, Some(48)));
    assert_eq!((bert.pooling.as_str(), bert.similarity), ("mean", Similarity::Cosine));
    let distil = card("distilbert");
    assert_eq!((distil.pooling.as_str(), distil.similarity, distil.dimension), ("cls", Similarity::Dot, 32));
    assert_eq!(card("xlm-roberta").pooling, "mean (assumed)");
    let modern = card("modernbert");
    assert_eq!((modern.pooling.as_str(), modern.query_prompt.as_str()), ("max", "search query: "));
    assert_eq!(modern.passage_prompt, "search document: ");
}

#[test]
fn empty_texts_give_zero_rows_and_no_texts_no_rows() {
    for name in TINY {
        let encoder = tiny(name);
        assert!(encoder.encode(&[], Role::Query).unwrap().is_empty());
        let rows = encoder.encode(&["", "a", ""], Role::Query).unwrap();
        assert!(rows.row(0).iter().chain(rows.row(2)).all(|&x| x == 0.0), "{name}");
        assert!(rows.row(1).iter().any(|&x| x != 0.0), "{name}");
    }
}

#[test]
fn rows_are_of_unit_length_exactly_when_compared_by_cosine() {
    for name in TINY {
        let encoder = tiny(name);
        let row = encoder.encode(&["a tall mountain"], Role::Passage).unwrap();
        let length = row.row(0).iter().map(|x| x * x).sum::<f32>().sqrt();
        assert_eq!((length - 1.0).abs() < 1e-5, encoder.card().similarity == Similarity::Cosine, "{name}: {length}");
    }
}

#[test]
fn a_text_is_cut_after_max_tokens() {
    let options = OpenOptions { max_tokens: Some(5), ..OpenOptions::default() };
    let encoder = open(&fixture("bert"), "cut", &options).unwrap();
    let spans = encoder.token_spans("vitamin D and bone density");
    let rows =
        encoder.encode(&["vitamin D and bone density", &"vitamin D and bone density"[..spans[2].1]], Role::Query);
    let rows = rows.unwrap();
    assert_eq!(rows.row(0), rows.row(1));
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0) && spans.len() > 3);
    assert_ne!(encoder.card().fingerprint, tiny("bert").card().fingerprint);
}

/// All tensors of a fixture as candle has them.
fn candle_weights(name: &str) -> VarBuilder<'static> {
    let bytes = std::fs::read(fixture(name).join("model.safetensors")).unwrap();
    VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).unwrap()
}

/// Hidden states of ours and of an oracle on some texts at once.
fn against_oracle(name: &str, oracle: impl Fn(&Object, &Tensor, &Tensor, &Tensor) -> Tensor) {
    let path = fixture(name).join("config.json");
    let config = Config::read(&path).unwrap();
    let bert = bert::Bert::open(&fixture(name).join("model.safetensors"), &config, Precision::F32).unwrap().0;
    let ids: Vec<Vec<u32>> =
        [40usize, 7, 1].iter().map(|&n| (0..n as u32).map(|i| 5 + i * 31 % 90).collect()).collect();
    let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let (padded, mask) = candle::padded(&texts, config.pad).unwrap();
    let types = padded.zeros_like().unwrap();
    let want = oracle(&Object::read(&path).unwrap(), &padded, &types, &mask);
    let gap = gap(&bert.hidden(&texts).unwrap(), &candle::packed(&want, &texts).unwrap());
    // Hidden states are of the order of 3 here.
    assert!(gap < 1e-4, "{name}: {gap}");
}

#[test]
fn the_packed_pass_equals_candles_padded_ones() {
    against_oracle("bert", |json, ids, types, mask| {
        let config = serde_json::from_value(read_config(json)).unwrap();
        let model = candle_bert::BertModel::load(candle_weights("bert"), &config).unwrap();
        model.forward(ids, types, Some(mask)).unwrap()
    });
    against_oracle("xlm-roberta", |json, ids, types, mask| {
        let mut config = read_config(json);
        config["position_embedding_type"] = json!("absolute");
        let config: xlm_roberta::Config = serde_json::from_value(config).unwrap();
        let model = xlm_roberta::XLMRobertaModel::new(&config, candle_weights("xlm-roberta")).unwrap();
        model.forward(ids, mask, types, None, None, None).unwrap()
    });
}

fn read_config(json: &Object) -> Value {
    serde_json::from_slice(&std::fs::read(&json.path).unwrap()).unwrap()
}

/// A copy of the BERT folder to be damaged.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["", "1_Pooling", "2_Dense"] {
        std::fs::create_dir_all(copy.path().join(part)).unwrap();
        for entry in std::fs::read_dir(fixture("bert").join(part)).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() {
                std::fs::copy(&entry, copy.path().join(part).join(entry.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

#[test]
fn folders_that_cannot_serve_are_refused_with_a_remedy() {
    let refused = |damage: &dyn Fn(&Path)| {
        let copy = copy();
        damage(copy.path());
        open(copy.path(), "copy", &OpenOptions::default()).err().expect("was served")
    };
    let remove = |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let error = refused(&remove(name));
        assert!(error.kind() == ErrorKind::NotFound && error.message().contains(name), "{error}");
    }
    let error = refused(&|folder| {
        std::fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
    });
    assert!(error.hints()[0].contains("convert to safetensors"));
    let set = |key: &'static str, value: Value| {
        move |folder: &Path| {
            let path = folder.join("config.json");
            let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            config[key] = value.clone();
            std::fs::write(path, config.to_string()).unwrap();
        }
    };
    for (key, value, word) in [
        ("vocab_size", json!(3), "has no row"),
        ("hidden_size", json!(64), "components"),
        ("num_hidden_layers", json!(3), "`encoder.layer.2.attention.self.query.weight` is missing"),
        ("num_hidden_layers", json!(1), "no part of the bert encoder"),
        ("intermediate_size", json!(128), "shape"),
        ("max_position_embeddings", json!(1u64 << 40), "shape"),
    ] {
        let error = refused(&set(key, value));
        assert!(error.message().contains(word), "{key}: {error}");
    }
    let error = refused(&|folder| {
        write_f32(
            &folder.join("2_Dense/model.safetensors"),
            &[("linear.weight", &[16, 32], &[f32::INFINITY; 512]), ("linear.bias", &[16], &[0.0; 16])],
        );
    });
    assert_eq!(error.message(), "tensor `linear.weight` holds inf at value 0");
    let error = refused(&|folder| std::fs::write(folder.join("config.json"), "{\n\"a\": ").unwrap());
    assert_eq!(error.place().1, Some(2));
    let nowhere = open("no/such/folder".as_ref(), "", &OpenOptions::default()).err().unwrap();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

#[test]
fn values_that_overflow_are_reported() {
    let copy = copy();
    write_f32(
        &copy.path().join("2_Dense/model.safetensors"),
        &[("linear.weight", &[16, 32], &[3e38; 512]), ("linear.bias", &[16], &[0.0; 16])],
    );
    let path = copy.path().join("2_Dense/config.json");
    let dense =
        json!({"in_features": 32, "out_features": 16, "activation_function": "torch.nn.modules.linear.Identity"});
    std::fs::write(path, dense.to_string()).unwrap();
    let encoder = open(copy.path(), "copy", &OpenOptions::default()).unwrap();
    let error = encoder.encode(&["vitamin D and bone density"], Role::Query).unwrap_err();
    assert!(error.message().contains("not finite"), "{error}");
}

#[test]
fn equal_folders_have_equal_fingerprints_and_changed_ones_have_not() {
    let fingerprint = |change: &dyn Fn(&Path)| {
        let copy = copy();
        change(copy.path());
        open(copy.path(), "copy", &OpenOptions::default()).unwrap().card().fingerprint.clone()
    };
    let mut all = vec![tiny("bert").card().fingerprint.clone()];
    assert_eq!(fingerprint(&|_| ()), all[0]);
    all.push(fingerprint(&|folder| {
        let length = json!({"max_seq_length": 47});
        std::fs::write(folder.join("sentence_bert_config.json"), length.to_string()).unwrap();
    }));
    all.push(fingerprint(&|folder| {
        let prompts = json!({"prompts": {"query": "q "}});
        std::fs::write(folder.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
    }));
    all.push(fingerprint(&|folder| {
        let path = folder.join("2_Dense/model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 0x80; // the sign of one weight
        std::fs::write(path, bytes).unwrap();
    }));
    all.push(fingerprint(&|folder| {
        let path = folder.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
}

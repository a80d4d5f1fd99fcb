//! What this room's tests share: small indexes, and an encoder whose every word's vector is given.

use super::{CompareOptions, Comparison, System, compare};
use crate::collection::chunk::Chunking;
use crate::collection::read::Source;
use crate::collection::{Passage, Query, QuerySet};
use crate::dense::{GraphOptions, SearchHow};
use crate::fusion::{Fusion, Normalizer};
use crate::index::build::EncoderChoice;
use crate::index::{BuildOptions, Index, build};
use crate::progress::Silent;
use crate::search::{Mode, Searcher};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

/// An index with its folder.
pub(super) struct Lab {
    _folder: TempDir,
    pub(super) searcher: Searcher,
}

/// Builds and opens an index over passages; with an encoder's folder both sides are fused half and half.
pub(super) fn lab(passages: &[Passage], encoder: Option<&Path>, chunking: Chunking) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.jsonl");
    let line = |p: &Passage| format!("{}\n", json!({"_id": p.id.as_str(), "title": p.title, "text": p.text}));
    fs_err::write(&path, passages.iter().map(line).collect::<String>()).unwrap();
    let options = BuildOptions {
        sources: vec![Source::new(&path)],
        encoder: encoder.map(|path| EncoderChoice { name: "toy".into(), location: path.display().to_string() }),
        fusion: encoder.map(|_| Fusion::Convex { weight: 0.5, normalizer: Normalizer::MinMax }),
        graph: GraphOptions { m: 2, ef_construction: 4, seed: 1 },
        ann_recall_floor: 0.0,
        language: Some(crate::sparse::Language::English),
        chunking,
        ..BuildOptions::default()
    };
    let place = folder.path().join("index");
    build(&place, &options, &Silent).unwrap();
    let mode = if encoder.is_some() { Mode::Hybrid } else { Mode::Sparse };
    Lab { searcher: Searcher::new(Index::open(&place).unwrap(), mode).unwrap(), _folder: folder }
}

/// A static encoder: each word's vector is given, a text's is the mean of those of its first `most` words.
pub(super) fn toy(words: &[(&str, &[f32])], most: Option<usize>) -> TempDir {
    let mut vocabulary = serde_json::Map::new();
    vocabulary.insert("[UNK]".into(), json!(0));
    let mut values = vec![0f32; words[0].1.len()];
    for (number, (word, vector)) in (1..).zip(words) {
        vocabulary.insert((*word).into(), json!(number));
        values.extend_from_slice(vector);
    }
    let truncation =
        most.map(|most| json!({"max_length": most, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}));
    let tokenizer = json!({
        "version": "1.0", "truncation": truncation, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("config.json"), r#"{"model_type": "model2vec", "normalize": true}"#).unwrap();
    fs_err::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![words.len() + 1, words[0].1.len()], &bytes).unwrap();
    let tensors = safetensors::serialize([("embeddings".to_string(), view)], None).unwrap();
    fs_err::write(folder.path().join("model.safetensors"), tensors).unwrap();
    folder
}

pub(super) fn passage(id: &str, text: &str) -> Passage {
    Passage::new(id, "", text)
}

/// Questions with one gold passage each: id, words, gold, answers.
pub(super) fn set(questions: &[(&str, &str, &str, &[&str])]) -> QuerySet {
    let mut set = QuerySet::default();
    for (id, text, gold, answers) in questions {
        let answers = answers.iter().map(ToString::to_string).collect();
        set.queries.push(Query { answers, ..Query::new(*id, *text) });
        set.qrels.insert((*id).into(), (*gold).into(), 1);
    }
    set
}

/// Compares some systems of an index on a set.
pub(super) fn compared(lab: &Lab, set: &QuerySet, systems: &str, how: SearchHow) -> (CompareOptions, Comparison) {
    let options = CompareOptions {
        systems: System::parse_list(systems).unwrap(),
        measures: vec!["R@5".parse().unwrap()],
        how,
        ..CompareOptions::default()
    };
    let comparison = compare(&lab.searcher, set, &options, &Silent).unwrap();
    (options, comparison)
}

//! One record of a file of training examples, whatever its layout.

use crate::collection::examples::{ExampleFormat, ExamplePassage, Provenance, SideScore, TrainingExample};
use crate::collection::read::intake::normal;
use crate::collection::read::json::{Object, Value};
use crate::collection::read::jsonl::strings;
use crate::collection::read::seen::check_id;
use crate::collection::read::source::Parsed;
use crate::collection::{PassageId, Query, QueryId};
use crate::storage::sha256;

/// The key that holds the positives, by layout.
const POSITIVES: [(&str, ExampleFormat); 5] = [
    ("positives", ExampleFormat::Parallax),
    ("positive_ctxs", ExampleFormat::Dpr),
    ("positive_passages", ExampleFormat::Tevatron),
    ("pos", ExampleFormat::FlagEmbedding),
    ("positive", ExampleFormat::Triplets),
];

/// The layout of a record, by its keys.
pub(super) fn detect(object: &Object) -> Parsed<ExampleFormat> {
    let has = |key: &str| object.keys().any(|other| other == key);
    match POSITIVES.iter().find(|(key, _)| has(key)) {
        Some((_, ExampleFormat::Triplets)) if has("negative_1") => Ok(ExampleFormat::NTuples),
        Some((_, format)) => Ok(*format),
        None if has("positive_document_ids") => {
            Err("the passages are named by id only, training needs their texts".into())
        }
        None => {
            let found: Vec<String> = object.keys().take(8).map(|key| format!("`{key:.40}`")).collect();
            let found = if found.is_empty() { "it is empty".into() } else { format!("it has {}", found.join(", ")) };
            let known = POSITIVES.map(|(key, _)| format!("`{key}`")).join(", ");
            Err(format!("the record is no training example: none of {known} is there ({found})"))
        }
    }
}

/// A record as an example; in the sentence-transformers layouts it is one row of it.
pub(super) fn parse(format: ExampleFormat, mut object: Object) -> Parsed<TrainingExample> {
    let object = &mut object;
    let (query, positives, negatives) = match format {
        ExampleFormat::Parallax => {
            let query = query(object, &["query"])?;
            (query, passages(object, "positives", &["id"], true)?, passages(object, "negatives", &["id"], true)?)
        }
        ExampleFormat::Dpr => {
            const ID: [&str; 4] = ["passage_id", "psg_id", "id", "docid"];
            let query = query(object, &["question", "query"])?;
            let positives = passages(object, "positive_ctxs", &ID, false)?;
            let mut negatives = passages(object, "hard_negative_ctxs", &ID, false)?;
            negatives.extend(passages(object, "negative_ctxs", &ID, false)?);
            (query, positives, negatives)
        }
        ExampleFormat::Tevatron => {
            const ID: [&str; 2] = ["docid", "id"];
            let query = query(object, &["query"])?;
            let positives = passages(object, "positive_passages", &ID, false)?;
            (query, positives, passages(object, "negative_passages", &ID, false)?)
        }
        ExampleFormat::FlagEmbedding => {
            let query = query(object, &["query"])?;
            let positives = texts(object, "pos", "pos_id", "pos_scores")?;
            (query, positives, texts(object, "neg", "neg_id", "neg_scores")?)
        }
        ExampleFormat::Triplets | ExampleFormat::NTuples => row(object)?,
    };
    if positives.is_empty() {
        return Err("the example has no positive passage".into());
    }
    Ok(TrainingExample { query, positives, negatives })
}

fn query(object: &mut Object, text: &[&str]) -> Parsed<Query> {
    let id = optional_id(object, &["query_id", "question_id", "qid"])?;
    let text = normal(object.text(text)?);
    if text.trim().is_empty() {
        return Err("the query is empty".into());
    }
    let mut answers: Vec<String> = strings("answers", object.take(&["answers"]))?.into_iter().map(normal).collect();
    answers.retain(|answer| !answer.trim().is_empty());
    let id = id.unwrap_or_else(|| content_id(&[text.as_bytes()]));
    Ok(Query { answers, ..Query::new(QueryId::from(id), text) })
}

fn content_id(parts: &[&[u8]]) -> String {
    format!("sha256:{}", &sha256(parts)[..16])
}

fn optional_id(object: &mut Object, keys: &[&str]) -> Parsed<Option<String>> {
    match object.take(keys) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(id)) => check_id(&id).map(|()| Some(id)),
        Some(Value::Integer(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("`{}` is {}, a string or a whole number was expected", keys[0], other.kind())),
    }
}

fn passage(id: Option<String>, title: String, text: String, provenance: Option<Provenance>) -> Parsed<ExamplePassage> {
    let (title, text) = (normal(title), normal(text));
    if title.trim().is_empty() && text.trim().is_empty() {
        return Err("a passage is empty".into());
    }
    let id = id.unwrap_or_else(|| content_id(&[title.as_bytes(), b"\n", text.as_bytes()]));
    Ok(ExamplePassage { id: PassageId::from(id), title, text, provenance })
}

/// A list under a key; nothing there is an empty list.
fn list(object: &mut Object, key: &str) -> Parsed<Vec<Value>> {
    match object.take(&[key]) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::List(list)) => Ok(list),
        Some(other) => Err(format!("`{key}` is {}, an array was expected", other.kind())),
    }
}

/// Passages as objects. Where they came from is read from our `own` only: elsewhere such keys have other meanings.
fn passages(object: &mut Object, key: &str, id: &[&str], own: bool) -> Parsed<Vec<ExamplePassage>> {
    let one = |value: Value| {
        let Value::Object(mut object) = value else {
            return Err(format!("a passage is {}, an object with its text was expected", value.kind()));
        };
        let id = optional_id(&mut object, id)?;
        let title = optional_text(&mut object, "title")?.unwrap_or_default();
        let text = object.text(&["text"])?;
        passage(id, title, text, if own { provenance(&mut object)? } else { None })
    };
    let named = |value: Value| one(value).map_err(|problem| format!("in `{key}`: {problem}"));
    list(object, key)?.into_iter().map(named).collect()
}

fn optional_text(object: &mut Object, key: &str) -> Parsed<Option<String>> {
    match object.take(&[key]) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{key}` is {}, a string was expected", other.kind())),
    }
}

fn number(key: &str, value: Option<Value>) -> Parsed<Option<f64>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Integer(number)) => Ok(Some(number as f64)),
        Some(Value::Float(number)) => Ok(Some(number)),
        Some(other) => Err(format!("`{key}` is {}, a number was expected", other.kind())),
    }
}

fn rank(object: &mut Object) -> Parsed<Option<usize>> {
    match object.take(&["rank"]) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Integer(rank)) if rank > 0 => {
            usize::try_from(rank).map(Some).map_err(|_| format!("the rank {rank} is beyond counting"))
        }
        Some(Value::Integer(rank)) => Err(format!("the rank is {rank}, ranks count from 1")),
        Some(other) => Err(format!("`rank` is {}, a whole number was expected", other.kind())),
    }
}

/// Where a passage came from, if its object says anything about it.
fn provenance(object: &mut Object) -> Parsed<Option<Provenance>> {
    const KEYS: [&str; 7] = ["source", "rank", "sparse", "dense", "teacher", "verdict", "reason"];
    if !object.keys().any(|key| KEYS.contains(&key)) {
        return Ok(None);
    }
    Ok(Some(Provenance {
        source: optional_text(object, "source")?.unwrap_or_default(),
        rank: rank(object)?,
        sparse: side(object, "sparse")?,
        dense: side(object, "dense")?,
        teacher: number("teacher", object.take(&["teacher"]))?,
        verdict: optional_text(object, "verdict")?.unwrap_or_default(),
        reason: optional_text(object, "reason")?.unwrap_or_default(),
    }))
}

fn side(object: &mut Object, key: &str) -> Parsed<Option<SideScore>> {
    match object.take(&[key]) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(mut side)) => {
            let rank = rank(&mut side)?;
            let score = number("score", side.take(&["score"]))?.ok_or_else(|| format!("`{key}` has no `score`"))?;
            Ok(Some(SideScore { rank, score }))
        }
        Some(other) => Err(format!("`{key}` is {}, an object was expected", other.kind())),
    }
}

/// FlagEmbedding's passages: texts, with ids and scores in lists beside them.
fn texts(object: &mut Object, key: &str, ids: &str, scores: &str) -> Parsed<Vec<ExamplePassage>> {
    let texts = strings(key, object.take(&[key]))?;
    let fits = |beside: &str, n: usize| match n {
        0 => Ok(()),
        n if n == texts.len() => Ok(()),
        n => Err(format!("`{beside}` has {n} entries for {} passages in `{key}`", texts.len())),
    };
    let given = strings(ids, object.take(&[ids]))?;
    fits(ids, given.len())?;
    given.iter().try_for_each(|id| check_id(id))?;
    let score = |value: Value| number(scores, Some(value))?.ok_or_else(|| format!("`{scores}` holds null"));
    let scored: Vec<f64> = list(object, scores)?.into_iter().map(score).collect::<Parsed<_>>()?;
    fits(scores, scored.len())?;
    let mut given = given.into_iter();
    let mut scored = scored.into_iter();
    texts
        .into_iter()
        .map(|text| {
            let teacher = scored.next();
            let provenance = teacher.map(|_| Provenance { teacher, ..Provenance::default() });
            passage(given.next(), String::new(), text, provenance).map_err(|problem| format!("in `{key}`: {problem}"))
        })
        .collect()
}

/// A row of sentence-transformers.
fn row(object: &mut Object) -> Parsed<(Query, Vec<ExamplePassage>, Vec<ExamplePassage>)> {
    let query = query(object, &["anchor", "query", "question"])?;
    let one = |text: String| passage(None, String::new(), text, None);
    let positives = vec![one(object.text(&["positive"])?)?];
    let mut keys: Vec<(u32, String)> = object
        .keys()
        .filter_map(|key| match key.strip_prefix("negative")? {
            "" => Some((0, key.to_string())),
            number => Some((number.strip_prefix('_')?.parse().ok()?, key.to_string())),
        })
        .collect();
    keys.sort();
    let mut negatives = Vec::new();
    for (_, key) in keys {
        if let Some(text) = optional_text(object, &key)? {
            negatives.push(one(text)?);
        }
    }
    Ok((query, positives, negatives))
}

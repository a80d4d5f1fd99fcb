//! Training examples: one query with its positives and hard negatives, in the layouts of six tools.
//!
//! A file goes in, [`TrainingExample`]s come out one at a time. Records stand one a line or in one JSON list, whatever
//! the layout; the layout is told from the key that holds the positives of the first record that can be read:
//!
//! | key | layout | query | negatives | ids |
//! |---|---|---|---|---|
//! | `positives` | parallax | `query_id`, `query` | `negatives` | `id` |
//! | `positive_ctxs` | DPR | `question` | `hard_negative_ctxs`, then `negative_ctxs` | `passage_id` |
//! | `positive_passages` | Tevatron | `query_id`, `query` | `negative_passages` | `docid` |
//! | `pos` | FlagEmbedding | `query` | `neg` | `pos_id`, `neg_id` where they are |
//! | `positive` | sentence-transformers | `anchor` | `negative`, or `negative_1`, `negative_2`, … | none |
//!
//! Texts leave in Unicode form C. A query without an id is called `sha256:` and the first 16 hex digits of the sha256
//! of its text; a passage without one as [`ExamplePassage::id`] says, so that equal passages have equal ids. Rows of
//! sentence-transformers that follow each other with one anchor are one example (at most 1,000 rows), each passage in
//! it once. Scores of FlagEmbedding's `pos_scores` and `neg_scores` become [`Provenance::teacher`].
//!
//! Cost: one pass, one record in memory.

use super::detect::{Shape, shape};
use super::elements::Elements;
use super::intake::normal;
use super::json::{Object, Value, line_object};
use super::jsonl::strings;
use super::lines::Lines;
use super::seen::check_id;
use super::source::{BadLines, Parsed, ReadOptions, Skipped, Source};
use super::stream::Stream;
use crate::collection::examples::{ExampleFormat, ExamplePassage, Provenance, SideScore, TrainingExample};
use crate::collection::{PassageId, Query, QueryId};
use crate::error::{Error, Result};
use crate::storage::sha256;
use std::path::PathBuf;

/// Rows of one anchor that make one example, at most.
const ROWS_JOINED: u64 = 1_000;

/// What reading examples met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExamplesSummary {
    /// The layout of the file.
    pub format: ExampleFormat,
    /// Examples handed out.
    pub examples: u64,
    /// Positives in them.
    pub positives: u64,
    /// Negatives in them.
    pub negatives: u64,
    /// Examples without negatives among them.
    pub without_negatives: u64,
    /// The first 1000 records left out.
    pub skipped: Vec<Skipped>,
    /// All records left out.
    pub skipped_total: u64,
    /// Bytes read, after decompression.
    pub bytes: u64,
}

/// Streams every example of a file, in order.
///
/// Of the options [`ReadOptions::on_bad_line`] and [`ReadOptions::max_line`] count. A record without a query, without
/// a positive, or with a blank passage is a bad one. Fails on a bad record unless told to skip, on a file that cannot
/// be read to its end, and when there is no example at all.
pub fn examples(
    source: &Source,
    options: &ReadOptions,
    take: &mut dyn FnMut(TrainingExample) -> Result<()>,
) -> Result<ExamplesSummary> {
    let mut records = Records::open(source, options.max_line)?;
    let path = records.path();
    let mut bad = BadLines::new(options.on_bad_line);
    let mut hand_out = HandOut { take, waiting: None, rows: 0, examples: 0, positives: 0, negatives: 0, without: 0 };
    let mut format = None;
    while let Some((line, record)) = records.next()? {
        let example = record.and_then(|object| {
            let layout = match format {
                Some(layout) => layout,
                None => detect(&object).map_err(|problem| {
                    Error::at_line(&path, line, problem)
                        .hint("examples come from `parallax mine-negatives`, or from DPR, Tevatron, FlagEmbedding or sentence-transformers")
                })?,
            };
            format = Some(layout);
            parse(layout, object).map_err(|problem| Error::at_line(&path, line, problem))
        });
        match example {
            Ok(example) => hand_out.row(example, format)?,
            Err(error) => bad.note(error)?,
        }
    }
    hand_out.flush()?;
    match format {
        Some(format) if hand_out.examples > 0 => Ok(ExamplesSummary {
            format,
            examples: hand_out.examples,
            positives: hand_out.positives,
            negatives: hand_out.negatives,
            without_negatives: hand_out.without,
            skipped: bad.kept,
            skipped_total: bad.total,
            bytes: records.bytes(),
        }),
        _ => {
            let skipped =
                if bad.total > 0 { format!(", all {} records were skipped", bad.total) } else { String::new() };
            Err(Error::bad_input(format!("holds no training example{skipped}")).in_file(&path))
        }
    }
}

/// Objects one a line, or in a list.
enum Records {
    Lines(Lines),
    List(Elements),
}

impl Records {
    fn open(source: &Source, max: usize) -> Result<Self> {
        let mut stream = Stream::open(source)?;
        let head = stream.peek()?;
        match head.trim_ascii_start().first() {
            Some(b'[') => Ok(Records::List(Elements::new(stream, max))),
            Some(b'{') if shape(head) != Shape::Known(super::Format::Squad) => {
                Ok(Records::Lines(Lines::new(stream, max)?))
            }
            Some(_) => Err(Error::at_line(stream.path(), 1, "no file of training examples, which are JSON objects")
                .hint("mine them from an index and judged questions: parallax mine-negatives INDEX --data SOURCE")),
            None => Err(Error::bad_input("is empty, it holds no training example").in_file(stream.path())),
        }
    }

    /// The next record with its line; the inner error is the record's own.
    fn next(&mut self) -> Result<Option<(u64, Result<Object>)>> {
        Ok(match self {
            Records::Lines(lines) => lines.advance()?.then(|| {
                let object = line_object(lines).and_then(|mut object| {
                    object.exact(lines.text()?);
                    Ok(object)
                });
                (lines.number(), object)
            }),
            Records::List(elements) => elements.advance()?.then(|| (elements.number(), elements.object())),
        })
    }

    fn path(&self) -> PathBuf {
        match self {
            Records::Lines(lines) => lines.path().to_path_buf(),
            Records::List(elements) => elements.path().to_path_buf(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Records::Lines(lines) => lines.stream().bytes(),
            Records::List(elements) => elements.stream().bytes(),
        }
    }
}

/// Joins rows and counts what goes out.
struct HandOut<'a> {
    take: &'a mut dyn FnMut(TrainingExample) -> Result<()>,
    waiting: Option<TrainingExample>,
    /// Rows in the waiting example.
    rows: u64,
    examples: u64,
    positives: u64,
    negatives: u64,
    without: u64,
}

impl HandOut<'_> {
    fn row(&mut self, row: TrainingExample, format: Option<ExampleFormat>) -> Result<()> {
        let joins = matches!(format, Some(ExampleFormat::Triplets | ExampleFormat::NTuples));
        if let Some(example) = &mut self.waiting
            && joins
            && example.query == row.query
            && self.rows < ROWS_JOINED
        {
            let add = |to: &mut Vec<ExamplePassage>, from: Vec<ExamplePassage>| {
                for passage in from {
                    if !to.contains(&passage) {
                        to.push(passage);
                    }
                }
            };
            add(&mut example.positives, row.positives);
            add(&mut example.negatives, row.negatives);
            self.rows += 1;
            return Ok(());
        }
        self.flush()?;
        (self.waiting, self.rows) = (Some(row), 1);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(example) = self.waiting.take() else { return Ok(()) };
        self.examples += 1;
        self.positives += example.positives.len() as u64;
        self.negatives += example.negatives.len() as u64;
        self.without += u64::from(example.negatives.is_empty());
        (self.take)(example)
    }
}

/// The key that holds the positives, by layout.
const POSITIVES: [(&str, ExampleFormat); 5] = [
    ("positives", ExampleFormat::Parallax),
    ("positive_ctxs", ExampleFormat::Dpr),
    ("positive_passages", ExampleFormat::Tevatron),
    ("pos", ExampleFormat::FlagEmbedding),
    ("positive", ExampleFormat::Triplets),
];

fn detect(object: &Object) -> Parsed<ExampleFormat> {
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

fn parse(format: ExampleFormat, mut object: Object) -> Parsed<TrainingExample> {
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

/// Passages as objects. Where they came from is read from our `own` only: elsewhere such keys mean what they mean there.
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

#[cfg(test)]
mod tests;

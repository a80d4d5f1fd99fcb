//! One JSON object a line: passages, and queries with what is known of them.
//!
//! Passages: `id` (or `_id`, `docid`), `title`, `text` (or `contents`, `context`, `document_text`). Queries: `id` (or
//! `_id`, `qid`, `query_id`), `text` (or `question`, `query`), `answers`, `impossible`, and `positives`, the ids of
//! relevant passages; the last three may also stand in `metadata`, where BEIR has room for them. Where several names
//! of one field are there, the first of this list counts.

use super::intake::{Asked, Intake, normal, passage};
use super::json::{Object, Value, line_object};
use super::lines::Lines;
use super::seen::check_id;
use super::source::Parsed;
use crate::collection::qrels::Qrels;
use crate::collection::{Passage, PassageId, Query};
use crate::error::Result;

const ID: [&str; 3] = ["id", "_id", "docid"];
const TEXT: [&str; 4] = ["text", "contents", "context", "document_text"];
const QUERY_ID: [&str; 4] = ["id", "_id", "qid", "query_id"];
const QUERY_TEXT: [&str; 3] = ["text", "question", "query"];

/// Every passage of the lines.
pub(super) fn passages(mut lines: Lines, intake: &mut Intake<'_>) -> Result<()> {
    intake.seen.file(lines.path());
    while lines.advance()? {
        let record = line_object(&lines).and_then(|mut object| {
            let record = one_passage(&mut object).map_err(|problem| lines.error(problem))?;
            intake.unread(object.keys());
            Ok(record)
        });
        intake.take(record, lines.path(), lines.number())?;
        intake.beat(lines.stream().raw_bytes())?;
    }
    intake.end_source(lines.stream())
}

fn one_passage(object: &mut Object) -> Parsed<Passage> {
    let id = object.id(&ID)?;
    let title = match object.take(&["title"]) {
        None | Some(Value::Null) => String::new(),
        Some(Value::Text(title)) => title,
        Some(other) => return Err(format!("`title` is {}, a string was expected", other.kind())),
    };
    passage(id, title, object.text(&TEXT)?)
}

/// Every query of the lines; their positives go to the judgments.
pub(super) fn queries(mut lines: Lines, asked: &mut Asked, qrels: &mut Qrels) -> Result<()> {
    asked.seen.file(lines.path());
    while lines.advance()? {
        let mut positives = Vec::new();
        let record = line_object(&lines).and_then(|object| {
            let (query, found) = one_query(object).map_err(|problem| lines.error(problem))?;
            positives = found;
            Ok(query)
        });
        if asked.take(record, lines.path(), lines.number())?
            && let Some(query) = asked.queries.last()
        {
            for passage in positives {
                qrels.insert(query.id.clone(), passage, 1);
            }
        }
    }
    Ok(())
}

fn one_query(mut object: Object) -> Parsed<(Query, Vec<PassageId>)> {
    let id = object.id(&QUERY_ID)?;
    let text = object.text(&QUERY_TEXT)?;
    let mut metadata = match object.take(&["metadata"]) {
        Some(Value::Object(metadata)) => Some(metadata),
        _ => None,
    };
    let mut field = |key| object.take(&[key]).or_else(|| metadata.as_mut()?.take(&[key]));
    let answers = strings("answers", field("answers"))?;
    let positives = strings("positives", field("positives"))?;
    let impossible = match field("impossible") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(impossible)) => impossible,
        Some(other) => return Err(format!("`impossible` is {}, true or false was expected", other.kind())),
    };
    positives.iter().try_for_each(|id| check_id(id))?;
    let answers = answers.into_iter().map(normal).collect();
    let query = Query { answers, impossible, ..Query::new(id, normal(text)) };
    Ok((query, positives.into_iter().map(PassageId::from).collect()))
}

/// A list of strings, or one string; whole numbers stand for their digits.
pub(super) fn strings(key: &str, value: Option<Value>) -> Parsed<Vec<String>> {
    let list = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(list)) => list,
        Some(single) => vec![single],
    };
    list.into_iter()
        .map(|item| match item {
            Value::Text(text) => Ok(text),
            Value::Integer(number) => Ok(number.to_string()),
            other => Err(format!("`{key}` holds {}, strings were expected", other.kind())),
        })
        .collect()
}

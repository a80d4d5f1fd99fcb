//! SQuAD 1.1, SQuAD 2.0 and KorQuAD 1.0: one JSON object, streamed paragraph by paragraph.
//!
//! A paragraph's id is `<title>#<16 hex digits>`, the digits being the first 64 bits of the sha256 of its text in
//! form C: the same whichever file it comes from and whatever stands before it. serde_json is driven by seeds that
//! hand each paragraph on as soon as it is read, so memory holds one paragraph, or one article where (as in KorQuAD)
//! the title follows the paragraphs.

use super::intake::normal;
use super::json::{Object, Value, ValueSeed, each_entry, message};
use super::seen::digest;
use super::source::Parsed;
use super::stream::Stream;
use crate::collection::{PassageId, Query};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::sha256;
use crate::text::nfc;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// A paragraph with its questions.
pub(super) struct Paragraph {
    /// `<title>#<hash>`.
    pub(super) id: PassageId,
    /// The article's title, control characters turned into blanks.
    pub(super) title: String,
    /// The context, in form C.
    pub(super) text: String,
    /// Equal for equal title and text.
    pub(super) digest: [u32; 3],
    /// The line of its opening brace.
    pub(super) line: u64,
    /// Its questions, each with its own line; errors are the question's own.
    pub(super) questions: Vec<(u64, Result<Question>)>,
}

/// A question and where its answers lie.
pub(super) struct Question {
    pub(super) query: Query,
    /// Offsets `[start, end)` of its answers in the paragraph's text, in characters.
    pub(super) spans: Vec<(usize, usize)>,
}

/// Takes a paragraph, or what is wrong with one, and the bytes taken from the disk so far.
pub(super) type OnParagraph<'a> = dyn FnMut(Result<Paragraph>, u64) -> Result<()> + 'a;

/// Hands on every paragraph of the stream.
pub(super) fn read(stream: &mut Stream, max: usize, on: &mut OnParagraph<'_>) -> Result<()> {
    let path = stream.path().to_path_buf();
    let place = Place { line: Cell::new(1), left: Cell::new(max), max, raw: Cell::new(0) };
    let mut walk = Walk { path: &path, place: &place, on, failure: None, data: false };
    let read = {
        let mut json = serde_json::Deserializer::from_reader(Counted { stream, place: &place });
        Root(&mut walk).deserialize(&mut json).and_then(|()| json.end())
    };
    if let Some(failure) = walk.failure {
        return Err(failure);
    }
    match read {
        Ok(()) => stream.finish(),
        Err(_) if place.left.get() == 0 => {
            let message = format!("a paragraph before line {} is longer than {max} bytes", place.line.get());
            Err(Error::new(ErrorKind::Limit, message).in_file(&path).hint("is this a SQuAD file?"))
        }
        Err(e) if e.is_io() => Err(stream.fault(io::Error::from(e), place.line.get())),
        Err(e) => {
            let problem = format!("byte {}: {}", e.column(), message(&e));
            Err(Error::at_line(&path, e.line() as u64, problem)
                .hint("expected is `{\"data\": [{\"title\", \"paragraphs\": [{\"context\", \"qas\": […]}]}]}`"))
        }
    }
}

/// Where the parser stands.
struct Place {
    line: Cell<u64>,
    /// Bytes that may follow before the next paragraph begins.
    left: Cell<usize>,
    max: usize,
    raw: Cell<u64>,
}

/// Feeds the parser, which asks for single bytes, and counts the lines.
struct Counted<'a> {
    stream: &'a mut Stream,
    place: &'a Place,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(slot) = out.first_mut() else { return Ok(0) };
        let Some(byte) = self.stream.fill_buf()?.first().copied() else { return Ok(0) };
        if self.place.left.get() == 0 {
            return Err(io::Error::other("over the limit"));
        }
        *slot = byte;
        self.stream.consume(1);
        self.place.left.set(self.place.left.get() - 1);
        if byte == b'\n' {
            self.place.line.set(self.place.line.get() + 1);
        }
        self.place.raw.set(self.stream.raw_bytes());
        Ok(1)
    }
}

struct Walk<'a, 'f> {
    path: &'a Path,
    place: &'a Place,
    on: &'a mut OnParagraph<'f>,
    /// An error of the receiver, which serde cannot carry.
    failure: Option<Error>,
    data: bool,
}

impl Walk<'_, '_> {
    fn hand_on<E: serde::de::Error>(&mut self, title: &str, paragraph: Value) -> std::result::Result<(), E> {
        let parsed = match paragraph {
            Value::Object(object) => {
                let line = object.line;
                parse(self.path, title, object).map_err(|problem| Error::at_line(self.path, line, problem))
            }
            other => {
                let problem = format!("a paragraph is {}, an object was expected", other.kind());
                Err(Error::at_line(self.path, self.place.line.get(), problem))
            }
        };
        (self.on)(parsed, self.place.raw.get()).map_err(|failure| {
            self.failure = Some(failure);
            E::custom("stopped")
        })
    }
}

/// Implements a seed by what it does with an object's entries or an array's items.
macro_rules! seed {
    ($name:ident, $kind:ident, $expecting:literal, $visit:ident, $access:ident, |$walk:ident, $items:ident| $body:block) => {
        struct $name<'w, 'a, 'f>(&'w mut Walk<'a, 'f>);

        impl<'de> DeserializeSeed<'de> for $name<'_, '_, '_> {
            type Value = ();
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
                deserializer.$kind(self)
            }
        }

        impl<'de> Visitor<'de> for $name<'_, '_, '_> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }
            fn $visit<A: $access<'de>>(self, $items: A) -> std::result::Result<(), A::Error> {
                let $walk = self.0;
                $body
            }
        }
    };
}

seed!(Root, deserialize_map, "an object with `data`", visit_map, MapAccess, |walk, map| {
    each_entry(map, |key, map| match key.as_str() {
        "data" => {
            walk.data = true;
            map.next_value_seed(Articles(walk))
        }
        _ => map.next_value::<IgnoredAny>().map(|_| ()),
    })?;
    if walk.data { Ok(()) } else { Err(A::Error::custom("`data` is missing")) }
});

seed!(Articles, deserialize_seq, "an array of articles", visit_seq, SeqAccess, |walk, items| {
    let mut items = items;
    loop {
        walk.place.left.set(walk.place.max);
        if items.next_element_seed(Article(walk))?.is_none() {
            return Ok(());
        }
    }
});

seed!(Article, deserialize_map, "an article with `title` and `paragraphs`", visit_map, MapAccess, |walk, map| {
    let mut title = None;
    let mut waiting = Vec::new();
    each_entry(map, |key, map| {
        match (key.as_str(), &title) {
            ("title", _) => {
                title = Some(match map.next_value::<Value>()? {
                    Value::Text(title) => clean_title(title),
                    Value::Null => String::new(),
                    other => return Err(A::Error::custom(format_args!("`title` is {}", other.kind()))),
                });
            }
            ("paragraphs", Some(title)) => map.next_value_seed(Paragraphs { walk, title: Ok(title) })?,
            ("paragraphs", None) => map.next_value_seed(Paragraphs { walk, title: Err(&mut waiting) })?,
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    })?;
    let title = title.unwrap_or_default();
    waiting.into_iter().try_for_each(|paragraph| walk.hand_on(&title, paragraph))
});

/// An array of paragraphs, handed on under their title or kept until it is known.
struct Paragraphs<'w, 'a, 'f, 't> {
    walk: &'w mut Walk<'a, 'f>,
    title: std::result::Result<&'t str, &'t mut Vec<Value>>,
}

impl<'de> DeserializeSeed<'de> for Paragraphs<'_, '_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Paragraphs<'_, '_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of paragraphs")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> std::result::Result<(), A::Error> {
        while let Some(paragraph) = items.next_element_seed(ValueSeed(Some(&self.walk.place.line)))? {
            match &mut self.title {
                Ok(title) => {
                    self.walk.hand_on(title, paragraph)?;
                    self.walk.place.left.set(self.walk.place.max);
                }
                Err(waiting) => waiting.push(paragraph),
            }
        }
        Ok(())
    }
}

fn clean_title(title: String) -> String {
    normal(title).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn parse(path: &Path, title: &str, mut object: Object) -> Parsed<Paragraph> {
    let raw = object.text(&["context"])?;
    let text = normal(raw.clone());
    let questions = match object.take(&["qas"]) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(list)) => list,
        Some(other) => return Err(format!("`qas` is {}, an array was expected", other.kind())),
    };
    let questions = questions.into_iter().map(|value| match value {
        Value::Object(object) => {
            let line = object.line;
            (line, question(&raw, &text, object).map_err(|problem| Error::at_line(path, line, problem)))
        }
        other => {
            let problem = format!("a question is {}, an object was expected", other.kind());
            (object.line, Err(Error::at_line(path, object.line, problem)))
        }
    });
    let questions = questions.collect();
    let id = PassageId::from(format!("{title}#{}", &sha256(&[text.as_bytes()])[..16]));
    let digest = digest(&[title, &text]);
    Ok(Paragraph { id, title: title.to_string(), text, digest, line: object.line, questions })
}

fn question(raw: &str, text: &str, mut object: Object) -> Parsed<Question> {
    let id = object.id(&["id"])?;
    let mut query = Query::new(id, normal(object.text(&["question"])?));
    query.impossible = match object.take(&["is_impossible"]) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(impossible)) => impossible,
        Some(other) => return Err(format!("`is_impossible` is {}, true or false was expected", other.kind())),
    };
    let answers = match object.take(&["answers"]) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(list)) => list,
        Some(other) => return Err(format!("`answers` is {}, an array was expected", other.kind())),
    };
    let mut spans = Vec::new();
    for answer in answers {
        let Value::Object(mut answer) = answer else {
            return Err(format!("an answer is {}, an object was expected", answer.kind()));
        };
        let words = normal(answer.text(&["text"])?);
        let start = match answer.take(&["answer_start"]) {
            Some(Value::Integer(start)) => usize::try_from(start).ok(),
            _ => None,
        };
        spans.extend(span(raw, text, &words, start));
        query.answers.push(words);
    }
    if query.impossible {
        // SQuAD 2.0 lists none here, and what is listed could not be one.
        query.answers.clear();
        spans.clear();
    }
    spans.sort_unstable();
    spans.dedup();
    Ok(Question { query, spans })
}

/// Where an answer lies in the text: at the stated place, else where it first occurs, else nowhere.
fn span(raw: &str, text: &str, answer: &str, start: Option<usize>) -> Option<(usize, usize)> {
    if answer.is_empty() {
        return None;
    }
    // The stated offset counts characters of the raw text, of which form C may have fewer.
    let stated = start.and_then(|start| {
        let byte = raw.char_indices().map(|(byte, _)| byte).nth(start)?;
        Some(nfc(&raw[..byte]).len())
    });
    let byte = stated
        .filter(|byte| text.get(*byte..).is_some_and(|rest| rest.starts_with(answer)))
        .or_else(|| text.find(answer))?;
    let before = text[..byte].chars().count();
    Some((before, before + answer.chars().count()))
}

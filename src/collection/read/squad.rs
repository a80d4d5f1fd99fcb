//! SQuAD 1.1, SQuAD 2.0 and KorQuAD 1.0: one JSON object, streamed paragraph by paragraph.
//!
//! A paragraph's id is `<title>#<16 hex digits>`: the article's title with white space as `_` (so that TREC files can
//! hold it), and the first 64 bits of the sha256 of its text in form C. It is the same whichever file the paragraph
//! comes from and whatever stands before it. serde_json is driven by seeds that
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
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// A paragraph with its questions.
pub(super) struct Paragraph {
    /// `<title>#<hash>`, without white space.
    pub(super) id: PassageId,
    /// The article's title, control characters turned into blanks.
    pub(super) title: String,
    /// The context, in form C.
    pub(super) text: String,
    /// Equal for equal article and text.
    pub(super) digest: [u32; 3],
    /// The line of its opening brace.
    pub(super) line: u64,
    /// Its questions, each with its own line; errors are the question's own.
    pub(super) questions: Vec<(u64, Result<Query>)>,
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
    let text = normal(object.text(&["context"])?);
    let questions = match object.take(&["qas"]) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(list)) => list,
        Some(other) => return Err(format!("`qas` is {}, an array was expected", other.kind())),
    };
    let questions = questions.into_iter().map(|value| match value {
        Value::Object(object) => {
            let line = object.line;
            (line, question(object).map_err(|problem| Error::at_line(path, line, problem)))
        }
        other => {
            let problem = format!("a question is {}, an object was expected", other.kind());
            (object.line, Err(Error::at_line(path, object.line, problem)))
        }
    });
    let questions = questions.collect();
    let name: String = title.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    let id = PassageId::from(format!("{name}#{}", &sha256(&[text.as_bytes()])[..16]));
    let digest = digest(&[&name, &text]);
    Ok(Paragraph { id, title: title.to_string(), text, digest, line: object.line, questions })
}

fn question(mut object: Object) -> Parsed<Query> {
    let id = object.id(&["id"])?;
    let mut query = Query::new(id, normal(object.text(&["question"])?));
    query.impossible = match object.take(&["is_impossible"]) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(impossible)) => impossible,
        Some(other) => return Err(format!("`is_impossible` is {}, true or false was expected", other.kind())),
    };
    let answers = match object.take(&["answers"]) {
        // Where nothing answers, what is listed could not be an answer.
        _ if query.impossible => Vec::new(),
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(list)) => list,
        Some(other) => return Err(format!("`answers` is {}, an array was expected", other.kind())),
    };
    for answer in answers {
        let Value::Object(mut answer) = answer else {
            return Err(format!("an answer is {}, an object was expected", answer.kind()));
        };
        query.answers.push(normal(answer.text(&["text"])?));
    }
    Ok(query)
}

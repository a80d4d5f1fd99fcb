//! JSON values that keep what serde_json's own do not: duplicate keys are errors, objects know their line.
//!
//! Nesting is bounded by serde_json's limit of 128 levels; lone surrogates are its errors too.

use super::lines::Lines;
use super::source::Parsed;
use crate::error::Result;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// A JSON value.
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A whole number that fits 64 bits.
    Integer(i128),
    /// Any other number; exactly what was written only after [`Object::exact`].
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

/// An object's entries in their order; keys are unique.
pub(super) struct Object {
    entries: Vec<(String, Value)>,
    /// The line of its opening brace, where the reader counts lines; else 0.
    pub(super) line: u64,
}

impl Object {
    /// Takes out the first of the keys that is there, by the keys' order.
    pub(super) fn take(&mut self, keys: &[&str]) -> Option<Value> {
        let at = keys.iter().find_map(|key| self.entries.iter().position(|(name, _)| name == key))?;
        Some(self.entries.swap_remove(at).1)
    }

    /// The text under the first of the keys that is there; the error says what stands there instead.
    pub(super) fn text(&mut self, keys: &[&str]) -> Parsed<String> {
        match self.take(keys) {
            Some(Value::Text(text)) => Ok(text),
            Some(other) => Err(format!("`{}` is {}, a string was expected", keys[0], other.kind())),
            None => Err(self.missing(keys)),
        }
    }

    /// The id under the first of the keys that is there. A whole number stands for its decimal digits.
    pub(super) fn id(&mut self, keys: &[&str]) -> Parsed<String> {
        match self.take(keys) {
            Some(Value::Text(id)) => Ok(id),
            Some(Value::Integer(number)) => Ok(number.to_string()),
            Some(other) => Err(format!("`{}` is {}, a string or a whole number was expected", keys[0], other.kind())),
            None => Err(self.missing(keys)),
        }
    }

    /// Reads numbers with a fraction again from the text the object was read from: serde_json's own reading may be
    /// off by one unit in the last place. To be called before anything is taken out.
    pub(super) fn exact(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        self.entries.iter_mut().for_each(|(_, value)| value.exact(&mut rest));
    }

    /// The keys not taken out yet.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    fn missing(&self, keys: &[&str]) -> String {
        let found: Vec<String> = self.entries.iter().take(8).map(|(key, _)| format!("`{key:.40}`")).collect();
        let found = if found.is_empty() { "nothing else".into() } else { found.join(", ") };
        format!("`{}` is missing (beside it stands {found})", keys.join("`, `"))
    }
}

impl Value {
    /// Goes through numbers in the order they stand in the text.
    fn exact(&mut self, rest: &mut &[u8]) {
        match self {
            Value::List(list) => list.iter_mut().for_each(|value| value.exact(rest)),
            Value::Object(object) => object.entries.iter_mut().for_each(|(_, value)| value.exact(rest)),
            Value::Integer(_) => _ = next_number(rest),
            Value::Float(float) => *float = next_number(rest).and_then(|text| text.parse().ok()).unwrap_or(*float),
            Value::Null | Value::Bool(_) | Value::Text(_) => {}
        }
    }

    /// The value in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a number",
            Value::Float(_) => "a number with a fraction or beyond 64 bits",
            Value::Text(_) => "a string",
            Value::List(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

/// The next number of a JSON text, outside its strings.
fn next_number<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    loop {
        let (first, after) = rest.split_first()?;
        match first {
            b'"' => {
                let mut escaped = false;
                let end = after.iter().position(|byte| {
                    let closes = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    closes
                });
                *rest = &after[end? + 1..];
            }
            b'-' | b'0'..=b'9' => {
                let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let (number, after) = rest.split_at(rest.iter().take_while(|byte| part(byte)).count());
                *rest = after;
                return std::str::from_utf8(number).ok();
            }
            _ => *rest = after,
        }
    }
}

/// Reads a value; the cell is the reader's line counter.
#[derive(Clone, Copy, Default)]
pub(super) struct ValueSeed<'a>(pub(super) Option<&'a Cell<u64>>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Value, D::Error> {
        ValueSeed(None).deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }
    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Value, A::Error> {
        let line = self.0.map_or(0, Cell::get);
        let mut entries = Vec::new();
        each_entry(map, |key, map| {
            entries.push((key, map.next_value_seed(self)?));
            Ok(())
        })?;
        Ok(Value::Object(Object { entries, line }))
    }
}

/// Walks an object's entries and refuses a key that comes twice; `entry` has to take the value.
pub(super) fn each_entry<'de, A: MapAccess<'de>>(
    mut map: A,
    mut entry: impl FnMut(String, &mut A) -> std::result::Result<(), A::Error>,
) -> std::result::Result<(), A::Error> {
    let mut seen = HashSet::new();
    while let Some(key) = map.next_key::<String>()? {
        if !seen.insert(key.clone()) {
            return Err(A::Error::custom(format_args!("the key `{key:.40}` stands twice in one object")));
        }
        entry(key, &mut map)?;
    }
    Ok(())
}

/// One line as an object.
pub(super) fn object(line: &str) -> Parsed<Object> {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("the line is {}, a JSON object was expected", other.kind())),
        Err(e) if e.is_eof() => {
            Err(format!("byte {}: {}, one whole JSON object a line was expected", e.column(), message(&e)))
        }
        Err(e) => Err(format!("byte {}: {}", e.column(), message(&e))),
    }
}

/// A text of any number of lines as an object; the error comes with the lines that stand before its place.
pub(super) fn object_of_lines(text: &str) -> std::result::Result<Object, (u64, String)> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err((0, format!("{} stands in the list, a JSON object was expected", other.kind()))),
        Err(e) => Err(((e.line() as u64).saturating_sub(1), format!("byte {}: {}", e.column(), message(&e)))),
    }
}

/// The line gone to as an object.
pub(super) fn line_object(lines: &Lines) -> Result<Object> {
    object(lines.text()?).map_err(|problem| lines.error(problem))
}

/// What serde_json says, without its place.
pub(super) fn message(error: &serde_json::Error) -> String {
    let full = error.to_string();
    let cut = full.rfind(" at line ").unwrap_or(full.len());
    full[..cut].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(line: &str) -> Parsed<String> {
        object(line)?.id(&["id", "_id"])
    }

    #[test]
    fn ids_are_strings_or_whole_numbers() {
        assert_eq!(id_of(r#"{"_id": "a"}"#).unwrap(), "a");
        assert_eq!(id_of(r#"{"_id": "b", "id": "a"}"#).unwrap(), "a");
        assert_eq!(id_of(r#"{"id": 18446744073709551615}"#).unwrap(), "18446744073709551615");
        assert_eq!(id_of(r#"{"id": -7}"#).unwrap(), "-7");
        for refused in ["1.0", "1e3", "18446744073709551616", "null", "true", "[1]", "{}"] {
            let problem = id_of(&format!("{{\"id\": {refused}}}")).unwrap_err();
            assert!(problem.contains("a string or a whole number was expected"), "{problem}");
        }
        let problem = id_of(r#"{"key": 1}"#).unwrap_err();
        assert_eq!(problem, "`id`, `_id` is missing (beside it stands `key`)");
    }

    #[test]
    fn numbers_are_exactly_what_is_written() {
        // The third is off by one unit in the last place as serde_json reads it by itself.
        let text =
            r#"{"a-1\"2": [14.678404808044434, {"b": -7, "c": 1.1234567890123457e-300}], "d\\": 0.12345678901234566}"#;
        let mut object = object(text).unwrap();
        object.exact(text);
        let Some(Value::List(list)) = object.take(&["a-1\"2"]) else { panic!("a list") };
        let [Value::Float(a), Value::Object(inner)] = &list[..] else { panic!("a number and an object") };
        let Some(Value::Float(d)) = object.take(&["d\\"]) else { panic!("a number") };
        let (Value::Integer(b), Value::Float(c)) = (&inner.entries[0].1, &inner.entries[1].1) else {
            panic!("numbers")
        };
        assert_eq!((*a, *b, *c, d), (14.678404808044434, -7, 1.1234567890123457e-300, 0.12345678901234566));
    }

    #[test]
    fn what_is_no_unambiguous_object_is_refused_with_its_byte() {
        let problem = |line: &str| id_of(line).unwrap_err();
        assert_eq!(problem("[1]"), "the line is an array, a JSON object was expected");
        assert_eq!(problem("3"), "the line is a number, a JSON object was expected");
        assert!(problem(r#"{"id": "a""#).starts_with("byte 10: EOF while parsing"), "{}", problem(r#"{"id": "a""#));
        assert!(problem(r#"{"id": "a", "id": "a"}"#).contains("`id` stands twice"));
        assert!(problem(r#"{"id": "a", "m": {"x": 1, "x": 2}}"#).contains("`x` stands twice"));
        assert!(problem(r#"{"id": "\ud800"}"#).contains("byte"));
        let deep = format!("{{\"id\": {}", "[".repeat(1_000_000));
        assert!(problem(&deep).contains("recursion limit"));
        assert!(problem(r#"{"id": "a"} {"#).contains("trailing characters"));
    }
}

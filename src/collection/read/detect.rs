//! What a source holds, told from its first bytes.

use super::source::Format;

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing but blanks.
    Blank,
    /// One of the formats, by content.
    Known(Format),
    /// A JSON array of objects, which no reader takes.
    Array,
    /// Lines without TABs.
    Plain,
}

/// Keys that only a record of its own has.
const RECORD_KEYS: [&[u8]; 12] = [
    b"_id",
    b"id",
    b"docid",
    b"qid",
    b"query_id",
    b"text",
    b"contents",
    b"context",
    b"document_text",
    b"title",
    b"question",
    b"query",
];

/// The shape of a head (up to 64 KiB, byte order mark removed).
pub(super) fn shape(head: &[u8]) -> Shape {
    let head = head.trim_ascii_start();
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match head.first() {
        None => Shape::Blank,
        Some(b'{') if nested(head) => Shape::Known(Format::Squad),
        Some(b'{') => Shape::Known(Format::Jsonl),
        Some(b'[') if head[1..].trim_ascii_start().starts_with(b"{") => Shape::Array,
        _ if line.contains(&b'\t') => Shape::Known(Format::Tsv),
        _ => Shape::Plain,
    }
}

/// Whether the object's top level has an array under `data` before any key of a record.
fn nested(head: &[u8]) -> bool {
    let mut rest = &head[1..];
    loop {
        rest = rest.trim_ascii_start();
        let Some(key_and_more) = rest.strip_prefix(b"\"") else { return false };
        let Some(end) = string_end(key_and_more) else { return false };
        let key = &key_and_more[..end];
        let Some(value) = key_and_more[end + 1..].trim_ascii_start().strip_prefix(b":") else { return false };
        let value = value.trim_ascii_start();
        if key == b"data" {
            return value.starts_with(b"[");
        }
        if RECORD_KEYS.contains(&key) {
            return false;
        }
        let Some(after) = value_end(value) else { return false };
        let Some(next) = value[after..].strip_prefix(b",") else { return false };
        rest = next;
    }
}

/// Where a string ends, given what follows its opening quote.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where a value ends: at the comma or brace of the level around it.
fn value_end(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0u64);
    loop {
        match bytes.get(at)? {
            b'"' => at += string_end(&bytes[at + 1..])? + 1,
            b'{' | b'[' => depth += 1,
            b',' | b'}' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let check = |text: &str, want: Shape| assert_eq!(shape(text.as_bytes()), want, "{text}");
        let (squad, jsonl, tsv) = (Shape::Known(Format::Squad), Shape::Known(Format::Jsonl), Shape::Known(Format::Tsv));
        check(" \r\n\t ", Shape::Blank);
        check(r#"{"data": [{"title""#, squad);
        check("\n{\n  \"version\": \"a,}\\\"\", \"m\": {\"id\": [1, \"]\"]},\n  \"data\" : [", squad);
        check(r#"{"_id": "1", "data": [1]}"#, jsonl);
        check(r#"{"data": "x", "id": "1"}"#, jsonl);
        check(r#"{"x": {"data": [1]}, "id": 1}"#, jsonl);
        check("{", jsonl);
        check("{\"version\": \"1", jsonl);
        check("7\tmanhattan project", tsv);
        check("[tag]\tquery", tsv);
        check("[\n {\"id\": 1}]", Shape::Array);
        check("[tag] who", Shape::Plain);
        check("who\nwhat\twhere", Shape::Plain);
    }
}

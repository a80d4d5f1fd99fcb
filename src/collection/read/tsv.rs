//! Fields between TABs: MS MARCO's `id⇥text`, DPR's `id⇥text⇥title`, queries as `id⇥text` or `question⇥["answer", …]`.
//!
//! Without a header row fields are taken literally, as MS MARCO writes them. With one (`id⇥text⇥title`), a field in
//! double quotes is unquoted and `""` in it stands for `"`, as DPR and spreadsheet programs write them; columns
//! follow the header's names.

use super::intake::{Asked, Intake, normal, passage};
use super::lines::Lines;
use super::source::Parsed;
use crate::collection::Query;
use crate::error::Result;
use std::borrow::Cow;

const ID: [&str; 6] = ["id", "_id", "pid", "docid", "doc_id", "passage_id"];
const TEXT: [&str; 4] = ["text", "passage", "contents", "context"];
const QUERY_ID: [&str; 5] = ["id", "_id", "qid", "query_id", "query-id"];
const QUERY_TEXT: [&str; 3] = ["text", "query", "question"];

/// Which column holds what.
struct Columns {
    count: usize,
    id: Option<usize>,
    text: usize,
    /// The title of a passage, the answers of a query.
    third: Option<usize>,
    quoted: bool,
}

impl Columns {
    /// Columns by the names of a header row; `None` where the row is none.
    fn header(line: &str, ids: &[&str], texts: &[&str], third: &str) -> Option<Columns> {
        let names: Vec<String> = split(line, true).ok()?.iter().map(|name| name.trim().to_lowercase()).collect();
        let find = |wanted: &[&str]| names.iter().position(|name| wanted.contains(&name.as_str()));
        let (id, text) = (find(ids)?, find(texts)?);
        Some(Columns { count: names.len(), id: Some(id), text, third: find(&[third]), quoted: true })
    }

    fn fields<'l>(&self, line: &'l str) -> Parsed<Vec<Cow<'l, str>>> {
        let fields = split(line, self.quoted)?;
        if fields.len() != self.count {
            let n = self.count;
            return Err(format!("{} fields between TABs, {n} were expected as in the first line", fields.len()));
        }
        Ok(fields)
    }
}

/// The fields of a line.
pub(super) fn split(line: &str, quoted: bool) -> Parsed<Vec<Cow<'_, str>>> {
    if !quoted || !line.contains('"') {
        return Ok(line.split('\t').map(Cow::Borrowed).collect());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let after = match rest.strip_prefix('"') {
            Some(inner) => match closing(inner)? {
                Some(end) => {
                    fields.push(Cow::Owned(inner[..end].replace("\"\"", "\"")));
                    &inner[end + 1..]
                }
                None => literal(rest, &mut fields),
            },
            None => literal(rest, &mut fields),
        };
        match after.strip_prefix('\t') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn literal<'l>(rest: &'l str, fields: &mut Vec<Cow<'l, str>>) -> &'l str {
    let end = rest.find('\t').unwrap_or(rest.len());
    fields.push(Cow::Borrowed(&rest[..end]));
    &rest[end..]
}

/// Where a quoted field closes; `None` where a quote in its midst shows that it is not a quoted one.
fn closing(inner: &str) -> Parsed<Option<usize>> {
    let bytes = inner.as_bytes();
    let mut at = 0;
    while let Some(found) = inner[at..].find('"') {
        let end = at + found;
        match bytes.get(end + 1) {
            Some(b'"') => at = end + 2,
            None | Some(b'\t') => return Ok(Some(end)),
            Some(_) => return Ok(None),
        }
    }
    Err("a quoted field does not close on its line".into())
}

/// Every passage of the lines.
pub(super) fn passages(mut lines: Lines, intake: &mut Intake<'_>) -> Result<()> {
    intake.seen.file(lines.path());
    let mut columns = None;
    while lines.advance()? {
        let parsed =
            lines.text().and_then(|line| passage_of(line, &mut columns).map_err(|problem| lines.error(problem)));
        let Some(record) = parsed.transpose() else { continue };
        intake.take(record, lines.path(), lines.number())?;
        intake.beat(lines.stream().raw_bytes())?;
    }
    intake.end_source(lines.stream())
}

fn passage_of(line: &str, columns: &mut Option<Columns>) -> Parsed<Option<crate::Passage>> {
    let known = match columns {
        Some(known) => known,
        None => {
            if let Some(header) = Columns::header(line, &ID, &TEXT, "title") {
                *columns = Some(header);
                return Ok(None);
            }
            let count = line.split('\t').count();
            if !(2..=3).contains(&count) {
                return Err(format!("{count} fields between TABs, `id⇥text` or `id⇥text⇥title` was expected"));
            }
            let third = (count == 3).then_some(2);
            columns.insert(Columns { count, id: Some(0), text: 1, third, quoted: false })
        }
    };
    let fields = known.fields(line)?;
    let field = |at: Option<usize>| at.map(|at| fields[at].to_string()).unwrap_or_default();
    passage(field(known.id), field(known.third), field(Some(known.text))).map(Some)
}

/// Every query of the lines. Questions without an id are called by their number, from 1.
pub(super) fn queries(mut lines: Lines, asked: &mut Asked) -> Result<()> {
    asked.seen.file(lines.path());
    let (mut columns, mut number) = (None, 0);
    while lines.advance()? {
        let parsed = lines
            .text()
            .and_then(|line| query_of(line, &mut columns, number + 1).map_err(|problem| lines.error(problem)));
        let Some(record) = parsed.transpose() else { continue };
        number += 1;
        asked.take(record, lines.path(), lines.number())?;
    }
    Ok(())
}

fn query_of(line: &str, columns: &mut Option<Columns>, number: u64) -> Parsed<Option<Query>> {
    let known = match columns {
        Some(known) => known,
        None => {
            if let Some(header) = Columns::header(line, &QUERY_ID, &QUERY_TEXT, "answers") {
                *columns = Some(header);
                return Ok(None);
            }
            // DPR's question files go through a csv writer, MS MARCO's do not.
            let quoted = split(line, true).ok().filter(|fields| fields.len() == 2 && answer_list(&fields[1]).is_some());
            let with_answers = quoted.is_some();
            let fields = quoted.map_or_else(|| split(line, false), Ok)?;
            if fields.len() != 2 {
                return Err(format!("{} fields between TABs, `id⇥text` was expected", fields.len()));
            }
            let (id, text, third) = if with_answers { (None, 0, Some(1)) } else { (Some(0), 1, None) };
            columns.insert(Columns { count: 2, id, text, third, quoted: with_answers })
        }
    };
    let fields = known.fields(line)?;
    let id = known.id.map_or_else(|| number.to_string(), |at| fields[at].to_string());
    let mut query = Query::new(id, normal(fields[known.text].to_string()));
    if let Some(at) = known.third {
        let answers = answer_list(&fields[at]).ok_or("the answers are no list of strings such as [\"1989\"]")?;
        query.answers = answers.into_iter().map(normal).collect();
    }
    Ok(Some(query))
}

/// A list of strings as JSON or Python writes it.
fn answer_list(list: &str) -> Option<Vec<String>> {
    if let Ok(list) = serde_json::from_str(list) {
        return Some(list);
    }
    let mut rest = list.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut answers = Vec::new();
    while let Some(quote) = rest.chars().next().filter(|c| ['\'', '"'].contains(c)) {
        let mut answer = String::new();
        let mut chars = rest[1..].char_indices();
        let end = loop {
            match chars.next()? {
                (at, c) if c == quote => break at + 2,
                (_, '\\') => answer.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'x' => escaped(&mut chars, 2)?,
                    'u' => escaped(&mut chars, 4)?,
                    'U' => escaped(&mut chars, 8)?,
                    c @ ('\\' | '\'' | '"') => c,
                    _ => return None,
                }),
                (_, c) => answer.push(c),
            }
        };
        answers.push(answer);
        rest = rest[end..].trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    rest.is_empty().then_some(answers)
}

fn escaped(chars: &mut std::str::CharIndices<'_>, digits: usize) -> Option<char> {
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + chars.next()?.1.to_digit(16)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_count_under_a_header_only() {
        let check = |line: &str, quoted: bool, want: &[&str]| assert_eq!(split(line, quoted).unwrap(), want, "{line}");
        check("1\t\"a \"\"b\"\"\tc\"\tt", true, &["1", "a \"b\"\tc", "t"]);
        check("1\t\"a\" and \"b\"\tt", true, &["1", "\"a\" and \"b\"", "t"]);
        check("1\t\"\"\t", true, &["1", "", ""]);
        check("\"a\"", true, &["a"]);
        check("1\t\"a", false, &["1", "\"a"]);
        assert!(split("1\t\"a\tt", true).unwrap_err().contains("does not close"));
    }

    #[test]
    fn answers_are_read_as_json_or_python_writes_them() {
        let check = |list: &str, want: &[&str]| assert_eq!(answer_list(list).unwrap(), want, "{list}");
        check(r#"["a", "b\"c"]"#, &["a", "b\"c"]);
        check(r#"['a', "b's", 'c\xa0d\'', 'e\u00e9']"#, &["a", "b's", "c\u{a0}d'", "e\u{e9}"]);
        check("[]", &[]);
        for wrong in ["a", "['a", "['a' 'b']", "[1]", "['a'] b", "['\\xzz']", "['\\", "['\\U00110000']"] {
            assert_eq!(answer_list(wrong), None, "{wrong}");
        }
    }
}

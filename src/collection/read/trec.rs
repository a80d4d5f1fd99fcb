//! Judgments (BEIR's, TREC's and MS MARCO's files) and TREC runs.
//!
//! A judgment is `query passage grade` or `query iteration passage grade`, between TABs or blanks; a header row
//! (`query-id⇥corpus-id⇥score`) is known by its names. A run's line is `query Q0 passage rank score tag`; the rank
//! is not read, since the score decides and trec_eval does the same. No line is a comment: ids may start with `#`.

use super::lines::Lines;
use super::seen::{check_id, digest};
use super::source::{BadLines, Parsed};
use super::tsv::split;
use crate::collection::qrels::Qrels;
use crate::collection::run::{Ranking, Run};
use crate::collection::{PassageId, QueryId};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Reads judgments; those of queries that are not `known` are bad lines.
pub(super) fn qrels(mut lines: Lines, bad: &mut BadLines, known: &dyn Fn(&str) -> bool) -> Result<Qrels> {
    let mut qrels = Qrels::new();
    let mut places: HashMap<[u32; 3], u64> = HashMap::new();
    let (mut count, mut header) = (None, false);
    while lines.advance()? {
        let parsed = lines.text().and_then(|line| {
            if count.is_none() && !header && is_header(line) {
                header = true;
                return Ok(None);
            }
            judgment(line, header, &mut count).map(Some).map_err(|problem| lines.error(problem))
        });
        let checked = parsed.and_then(|judgment| {
            let Some((query, passage, grade)) = judgment else { return Ok(None) };
            if !known(&query) {
                return Err(lines.error(format!("the query `{query:.80}` is not among the queries")));
            }
            match places.entry(digest(&[&query, &passage])) {
                Entry::Occupied(first) => {
                    let line = first.get();
                    Err(lines.error(format!("`{query:.80}` and `{passage:.80}` are judged at line {line} already")))
                }
                Entry::Vacant(free) => {
                    free.insert(lines.number());
                    Ok(Some((query, passage, grade)))
                }
            }
        });
        match checked {
            Ok(Some((query, passage, grade))) => {
                qrels.insert(QueryId::from(query), PassageId::from(passage), grade);
            }
            Ok(None) => {}
            Err(error) => bad.note(error)?,
        }
    }
    Ok(qrels)
}

fn is_header(line: &str) -> bool {
    let names: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
    let grade = names.last().is_some_and(|name| ["score", "relevance", "rel", "grade", "label"].contains(&&name[..]));
    grade && (3..=4).contains(&names.len()) && names[0].starts_with('q')
}

fn judgment(line: &str, quoted: bool, count: &mut Option<usize>) -> Parsed<(String, String, i32)> {
    let fields: Vec<Cow<'_, str>> = match line.contains('\t') {
        true => split(line, quoted)?,
        false => line.split_ascii_whitespace().map(Cow::Borrowed).collect(),
    };
    if !(3..=4).contains(&fields.len()) || count.is_some_and(|count| count != fields.len()) {
        let n = count.map_or("3 or 4".into(), |count| count.to_string());
        return Err(format!("{} fields, {n} were expected: query, (iteration,) passage, grade", fields.len()));
    }
    *count = Some(fields.len());
    let (passage, grade) = (&fields[fields.len() - 2], fields[fields.len() - 1].trim());
    check_id(&fields[0])?;
    check_id(passage)?;
    let grade = grade.parse().map_err(|_| format!("the grade `{grade:.40}` is not a whole number"))?;
    Ok((fields[0].to_string(), passage.to_string(), grade))
}

/// Reads a TREC run; the first line's tag names it unless a name is given.
pub(super) fn run(mut lines: Lines, name: Option<&str>) -> Result<Run> {
    let mut rankings: BTreeMap<QueryId, HashMap<PassageId, (f64, u64)>> = BTreeMap::new();
    let mut name = name.map(str::to_string);
    while lines.advance()? {
        let parsed = lines.text().and_then(|line| run_line(line).map_err(|problem| lines.error(problem)));
        let (query, passage, score, tag) = parsed?;
        let line = lines.number();
        name.get_or_insert(tag);
        if let Some((_, first)) = rankings.entry(query).or_default().insert(passage, (score, line)) {
            return Err(lines
                .error(format!("query and passage are ranked at line {first} already"))
                .hint("keep one line a query and passage"));
        }
    }
    let Some(name) = name.filter(|_| !rankings.is_empty()) else {
        return Err(Error::bad_input("holds no line").in_file(lines.path()));
    };
    let mut run = Run::new(name);
    for (query, scored) in rankings {
        run.insert(query, Ranking::new(scored.into_iter().map(|(id, (score, _))| (id, score)).collect()));
    }
    Ok(run)
}

fn run_line(line: &str) -> Parsed<(QueryId, PassageId, f64, String)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [query, _, passage, _, score, tag] = fields[..] else {
        return Err(format!("{} fields, 6 were expected: query Q0 passage rank score tag", fields.len()));
    };
    check_id(query)?;
    check_id(passage)?;
    match score.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((query.into(), passage.into(), value, tag.to_string())),
        _ => Err(format!("the score `{score:.40}` is not a finite number")),
    }
}

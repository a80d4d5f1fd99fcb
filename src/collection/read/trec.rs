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

#[cfg(test)]
mod tests {
    use super::super::source::{OnBadLine, ReadOptions, Source};
    use super::super::tests::folder;
    use super::*;

    fn judged(text: &str) -> Result<Vec<(String, String, i32)>> {
        let folder = folder(&[("x", text.as_bytes())]);
        let qrels = super::super::qrels(&Source::new(folder.path().join("x")), &ReadOptions::default())?;
        let rows = |(query, judged): (&QueryId, &BTreeMap<PassageId, i32>)| -> Vec<_> {
            judged.iter().map(|(passage, grade)| (query.to_string(), passage.to_string(), *grade)).collect()
        };
        Ok(qrels.iter().flat_map(rows).collect())
    }

    #[test]
    fn judgments_of_all_three_layouts_are_the_same() {
        let want = vec![("1".to_string(), "d#1".to_string(), 1), ("2".into(), "d2".into(), -1)];
        for text in [
            "query-id\tcorpus-id\tscore\n1\td#1\t1\n2\td2\t-1\n",
            "query-id\tcorpus-id\tscore\r\n1\t\"d#1\"\t1\r\n2\td2\t-1",
            "1\td#1\t1\n2\td2\t-1\n",
            "1 0 d#1 1\n2  0\td2 -1\n".replace('\t', " ").as_str(),
            "1\t0\td#1\t1\n2\t0\td2\t-1\n",
            "qid iter docno rel\n1 0 d#1 1\n2 0 d2 -1\n",
        ] {
            assert_eq!(judged(text).unwrap(), want, "{text}");
        }
        assert_eq!(judged("a b\tc d\t2").unwrap(), [("a b".into(), "c d".into(), 2)]);
    }

    #[test]
    fn wrong_judgments_are_refused_by_line() {
        let says = |text: &str, what: &str| {
            let said = judged(text).unwrap_err().to_string();
            assert!(said.contains(what), "{text:?} gives {said:?}");
        };
        says("1\ta\t1\n1\tb\t1.5\n", "x:2: the grade `1.5` is not a whole number");
        says("1\ta\t1\n1\tb\tx\n", "x:2: the grade `x`");
        says("1\ta\t1\n\n1\ta\t0\n", "x:3: `1` and `a` are judged at line 1 already");
        says("1\ta\t1\n1\t0\ta\t0\n", "x:2: 4 fields, 3 were expected");
        says("1 a\n", "x:1: 2 fields, 3 or 4 were expected");
        says("1\t\t1\n", "x:1: the id is empty");
        says("\n", "holds no judgment");
        let folder = folder(&[("x", b"1\ta\tx\n1\tb\t1\n")]);
        let options = ReadOptions { on_bad_line: OnBadLine::Skip, ..ReadOptions::default() };
        assert_eq!(super::super::qrels(&Source::new(folder.path().join("x")), &options).unwrap().pairs(), 1);
    }

    #[test]
    fn a_run_is_read_by_score_and_checked_by_line() {
        let run = |text: &str, name| {
            let folder = folder(&[("x", text.as_bytes())]);
            super::super::run(&Source::new(folder.path().join("x")), name)
        };
        let read = run("1 Q0 a 1 0.5 tag\n1\tQ0\t#b\tx\t7e-1\ttag\n2 Q0 a 0 -3 tag", None).unwrap();
        assert_eq!((read.name.as_str(), read.len()), ("tag", 2));
        let order: Vec<_> = read.get(&"1".into()).unwrap().iter().map(|(id, score)| (id.as_str(), score)).collect();
        assert_eq!(order, [("#b", 0.7), ("a", 0.5)]);
        assert_eq!(run("1 Q0 a 1 0.5 tag", Some("mine")).unwrap().name, "mine");
        for (text, what) in [
            ("1 Q0 a 1 0.5", "x:1: 5 fields, 6 were expected"),
            ("1 Q0 a 1 0.5 t t", "x:1: 7 fields"),
            ("1 Q0 a 1 0.5 t\n1 Q0 a 2 0.4 t", "x:2: query and passage are ranked at line 1 already"),
            ("1 Q0 a 1 NaN t", "x:1: the score `NaN` is not a finite number"),
            ("1 Q0 a 1 -inf t", "x:1: the score"),
            ("1 Q0 a 1 1e999 t", "x:1: the score"),
            ("1 Q0 a 1 0x1 t", "x:1: the score"),
            ("", "holds no line"),
        ] {
            let said = run(text, None).unwrap_err().to_string();
            assert!(said.contains(what), "{text:?} gives {said:?}");
        }
    }
}

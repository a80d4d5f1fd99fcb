//! A collection in another layout: passages streamed, queries held one source at a time.

use super::losses::Losses;
use super::output::Output;
use crate::collection::read::{self, Format, QuerySetSummary, ReadOptions, ReadSummary, Source};
use crate::collection::{Passage, PassageId, Query, QuerySet};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The layout to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// BEIR's folder.
    Beir,
    /// DPR's passages and questions between TABs.
    Dpr,
    /// One JSON object a line.
    Jsonl,
}

/// What a conversion wrote and what it could not.
#[derive(Clone, Debug, Default)]
pub struct ConvertSummary {
    /// Passages written.
    pub passages: u64,
    /// Queries written.
    pub queries: u64,
    /// Judgments written.
    pub judgments: u64,
    /// What the sources held and the files do not, one sentence each.
    pub losses: Vec<String>,
    /// The files written.
    pub files: Vec<PathBuf>,
    /// What reading the passages met.
    pub read: ReadSummary,
}

/// Writes the sources' passages, queries, answers and judgments into a folder.
///
/// Of a BEIR source one split goes along: the one in `options`, else the default one. Judgments of sources without
/// splits are written as `test`. Fails on a folder that is not empty unless told to with `force`, which replaces the
/// files named above and touches no other; fails where the folder is the source's own.
pub fn convert(
    sources: &[Source],
    target: Target,
    folder: &Path,
    force: bool,
    options: &ReadOptions,
    progress: &dyn Progress,
) -> Result<ConvertSummary> {
    check_folder(folder, force, sources)?;
    storage::create_folder(folder)?;
    let mut losses = Losses::default();
    let (read, passages) = passages(sources, target, folder, options, progress, &mut losses)?;
    let mut written = ConvertSummary { passages: read.passages, ..ConvertSummary::default() };
    let mut outputs = vec![passages];
    let (set, split) = query_sets(sources, &read.formats, options, &mut losses)?;
    if !set.queries.is_empty() {
        written.queries = set.queries.len() as u64;
        match target {
            Target::Beir => written.beir(folder, &set, &split, &mut outputs)?,
            Target::Dpr => dpr(folder, &set, &mut losses, &mut outputs)?,
            Target::Jsonl => written.jsonl(folder, &set, &mut losses, &mut outputs)?,
        }
    }
    written.files = outputs.into_iter().map(Output::finish).collect::<Result<_>>()?;
    written.losses = losses.sentences();
    written.read = read;
    Ok(written)
}

fn check_folder(folder: &Path, force: bool, sources: &[Source]) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mut entries =
        fs_err::read_dir(folder).map_err(|e| Error::usage("is no folder to write into").in_file(folder).because(e))?;
    let whole = |path: &Path| fs_err::canonicalize(path).ok();
    let root = |source: &Source| match source.path() {
        path if source.is_folder() => whole(path),
        path if source.is_file() => Some(whole(path)?.parent()?.to_path_buf()),
        _ => None,
    };
    let own = |source: &Source| root(source).is_some_and(|root| whole(folder) == Some(root));
    if sources.iter().any(own) {
        return Err(Error::usage("is the source's own folder").in_file(folder).hint("choose another output folder"));
    }
    if !force && entries.next().is_some() {
        return Err(Error::usage("is not empty").in_file(folder).hint("choose another folder, or pass `--force`"));
    }
    Ok(())
}

fn passages(
    sources: &[Source],
    target: Target,
    folder: &Path,
    options: &ReadOptions,
    progress: &dyn Progress,
    losses: &mut Losses,
) -> Result<(ReadSummary, Output)> {
    let mut out = match target {
        Target::Beir => Output::create(&folder.join("corpus.jsonl"))?,
        Target::Jsonl => Output::create(&folder.join("passages.jsonl"))?,
        Target::Dpr => Output::create(&folder.join("passages.tsv"))?,
    };
    if target == Target::Dpr {
        out.text("id\ttext\ttitle\n")?;
    }
    let summary = read::passages(sources, options, progress, &mut |passage| {
        let Passage { id, title, text, .. } = &passage;
        match target {
            Target::Beir => out.json(&BeirPassage { _id: id.as_str(), title, text, metadata: Nothing {} }),
            Target::Jsonl => out.json(&PlainPassage { id: id.as_str(), title, text }),
            Target::Dpr => {
                let broken = [title, text].iter().any(|field| field.contains(BREAKS));
                losses.add("passages with line breaks or TABs, written as spaces", u64::from(broken));
                out.text(&format!("{}\t{}\t{}\n", quoted(id.as_str()), quoted(text), quoted(title)))
            }
        }
    })?;
    losses.add("SQuAD paragraphs that repeat an earlier one, merged with it", summary.merged);
    losses.add("malformed records, skipped", summary.skipped_total);
    Ok((summary, out))
}

/// The queries of all sources that have some, and the split their judgments are of.
fn query_sets(
    sources: &[Source],
    formats: &[Format],
    options: &ReadOptions,
    losses: &mut Losses,
) -> Result<(QuerySet, String)> {
    let mut all = QuerySet::default();
    let mut origin: HashMap<String, &Path> = HashMap::new();
    let mut split = None;
    for (source, format) in sources.iter().zip(formats) {
        if !read::has_questions(source, options)? {
            let once = *format == Format::Squad;
            losses.add("source with questions that can be read only once; name a file to keep them", u64::from(once));
            continue;
        }
        let (set, summary) = read::query_set(source, options)?;
        note(&summary, losses);
        for query in &set.queries {
            if let Some(first) = origin.insert(query.id.to_string(), source.path()) {
                let message = format!("the query id `{:.80}` is already that of {}", query.id, first.display());
                return Err(Error::bad_input(message).in_file(source.path()));
            }
        }
        all.queries.extend(set.queries);
        for (query, judged) in set.qrels.iter() {
            for (passage, grade) in judged {
                all.qrels.insert(query.clone(), passage.clone(), *grade);
            }
        }
        split = split.or(summary.split);
    }
    Ok((all, split.or(options.split.clone()).unwrap_or_else(|| "test".into())))
}

fn note(summary: &QuerySetSummary, losses: &mut Losses) {
    for other in &summary.other_splits {
        losses.add(format!("split not asked for; `--split {other}` converts it"), 1);
    }
    losses.add("queries that the split does not judge", summary.without_qrels);
    losses.add("blank answers", summary.empty_answers);
    losses.add("malformed queries, skipped", summary.skipped_total);
}

impl ConvertSummary {
    fn beir(&mut self, folder: &Path, set: &QuerySet, split: &str, outputs: &mut Vec<Output>) -> Result<()> {
        let mut out = Output::create(&folder.join("queries.jsonl"))?;
        for query in &set.queries {
            let metadata = Known { answers: &query.answers, impossible: query.impossible, positives: Vec::new() };
            out.json(&BeirQuery { _id: query.id.as_str(), text: &query.text, metadata })?;
        }
        outputs.push(out);
        let qrels = folder.join("qrels");
        storage::create_folder(&qrels)?;
        let mut out = Output::create(&qrels.join(format!("{split}.tsv")))?;
        out.text("query-id\tcorpus-id\tscore\n")?;
        for (query, judged) in set.qrels.iter() {
            for (passage, grade) in judged {
                out.text(&format!("{}\t{}\t{grade}\n", quoted(query.as_str()), quoted(passage.as_str())))?;
                self.judgments += 1;
            }
        }
        outputs.push(out);
        Ok(())
    }

    fn jsonl(&mut self, folder: &Path, set: &QuerySet, losses: &mut Losses, outputs: &mut Vec<Output>) -> Result<()> {
        let mut out = Output::create(&folder.join("queries.jsonl"))?;
        for query in &set.queries {
            let positives: Vec<&str> = set.qrels.relevant(&query.id).map(PassageId::as_str).collect();
            self.judgments += positives.len() as u64;
            let known = Known { answers: &query.answers, impossible: query.impossible, positives };
            out.json(&PlainQuery { id: query.id.as_str(), text: &query.text, known })?;
        }
        outputs.push(out);
        let grades = || set.qrels.iter().flat_map(|(_, judged)| judged.values());
        losses.add("judgments of grade 0 or below", grades().filter(|grade| **grade < 1).count() as u64);
        losses.add("grades above 1, written as 1", grades().filter(|grade| **grade > 1).count() as u64);
        Ok(())
    }
}

fn dpr(folder: &Path, set: &QuerySet, losses: &mut Losses, outputs: &mut Vec<Output>) -> Result<()> {
    let mut out = Output::create(&folder.join("questions.tsv"))?;
    for Query { text, answers, .. } in &set.queries {
        losses.add("questions with line breaks or TABs, written as spaces", u64::from(text.contains(BREAKS)));
        let answers = serde_json::to_string(answers).map_err(|e| Error::bug("answers are no JSON").because(e))?;
        out.text(&format!("{}\t{answers}\n", quoted(text)))?;
    }
    outputs.push(out);
    let impossible = set.queries.iter().filter(|query| query.impossible).count();
    losses.add("ids of questions: the layout has none", set.queries.len() as u64);
    losses.add("judgments: the layout has answers only", set.qrels.pairs() as u64);
    losses.add("marks of questions that no passage answers", impossible as u64);
    Ok(())
}

/// What a line of fields between TABs cannot hold.
const BREAKS: [char; 3] = ['\t', '\n', '\r'];

/// A field as csv writers quote it where they must, breaks as spaces.
fn quoted(field: &str) -> Cow<'_, str> {
    let flat = if field.contains(BREAKS) { Cow::Owned(field.replace(BREAKS, " ")) } else { Cow::Borrowed(field) };
    if flat.contains('"') { Cow::Owned(format!("\"{}\"", flat.replace('"', "\"\""))) } else { flat }
}

/// A BEIR passage on disk.
#[derive(Serialize)]
struct BeirPassage<'a> {
    _id: &'a str,
    title: &'a str,
    text: &'a str,
    metadata: Nothing,
}

/// `{}`.
#[derive(Serialize)]
struct Nothing {}

/// A BEIR query on disk.
#[derive(Serialize)]
struct BeirQuery<'a> {
    _id: &'a str,
    text: &'a str,
    metadata: Known<'a>,
}

/// What is known of a query, left out where it is nothing.
#[derive(Serialize)]
struct Known<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    answers: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    impossible: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    positives: Vec<&'a str>,
}

/// A passage as a plain JSON line.
#[derive(Serialize)]
struct PlainPassage<'a> {
    id: &'a str,
    title: &'a str,
    text: &'a str,
}

/// A query as a plain JSON line.
#[derive(Serialize)]
struct PlainQuery<'a> {
    id: &'a str,
    text: &'a str,
    #[serde(flatten)]
    known: Known<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;

    /// Two articles, one question without an answer, awkward characters.
    const SQUAD: &str = r#"{"data": [
        {"title": "A \"b\"", "paragraphs": [{"context": "One\nfine \"day\".", "qas": [
            {"id": "q1", "question": "\"When\"?", "answers": [{"text": "day", "answer_start": 10}]},
            {"id": "q2", "question": "Who?", "is_impossible": true, "answers": []}]}]},
        {"title": "낮", "paragraphs": [{"context": "낮은 밝다.", "qas": [
            {"id": "q3", "question": "무엇이 밝은가?", "answers": [{"text": "낮", "answer_start": 0}]}]}]}]}"#;

    fn all(sources: &[Source]) -> Vec<Passage> {
        let mut passages = Vec::new();
        read::passages(sources, &ReadOptions::default(), &Silent, &mut |passage| {
            passages.push(passage);
            Ok(())
        })
        .unwrap();
        passages
    }

    fn converted(source: &Source, target: Target) -> (tempfile::TempDir, ConvertSummary) {
        let folder = tempfile::tempdir().unwrap();
        let sources = std::slice::from_ref(source);
        let summary = convert(sources, target, folder.path(), false, &ReadOptions::default(), &Silent).unwrap();
        (folder, summary)
    }

    fn squad() -> Source {
        Source::embedded("squad.json", SQUAD.as_bytes())
    }

    #[test]
    fn beir_and_json_lines_read_back_as_they_were() {
        let options = ReadOptions::default();
        let (set, _) = read::query_set(&squad(), &options).unwrap();
        let (folder, summary) = converted(&squad(), Target::Beir);
        let beir = Source::new(folder.path());
        assert_eq!(all(std::slice::from_ref(&beir)), all(&[squad()]));
        assert_eq!(read::query_set(&beir, &options).unwrap().0, set);
        assert_eq!((summary.passages, summary.queries, summary.judgments, summary.files.len()), (2, 3, 2, 3));
        assert_eq!(summary.losses, Vec::<String>::new());

        let (folder, summary) = converted(&beir, Target::Jsonl);
        assert_eq!(all(&[Source::new(folder.path().join("passages.jsonl"))]), all(&[squad()]));
        assert_eq!(read::query_set(&Source::new(folder.path().join("queries.jsonl")), &options).unwrap().0, set);
        assert_eq!((summary.judgments, summary.losses), (2, Vec::<String>::new()));
    }

    #[test]
    fn dpr_keeps_ids_texts_and_answers_and_says_what_it_cannot() {
        let (folder, summary) = converted(&squad(), Target::Dpr);
        let passages = all(&[Source::new(folder.path().join("passages.tsv"))]);
        let mut expected = all(&[squad()]);
        expected[0].text = "One fine \"day\".".into();
        assert_eq!(passages, expected);
        let source = Source::new(folder.path().join("questions.tsv"));
        let queries = read::queries(&source, &ReadOptions::default()).unwrap();
        let known: Vec<_> = queries.iter().map(|q| (q.id.as_str(), &q.text[..], &q.answers[..])).collect();
        let (day, sun) = (["day".to_string()], ["낮".to_string()]);
        assert_eq!(known, [("1", "\"When\"?", &day[..]), ("2", "Who?", &[]), ("3", "무엇이 밝은가?", &sun)]);
        assert_eq!(
            summary.losses,
            [
                "3 ids of questions: the layout has none",
                "2 judgments: the layout has answers only",
                "1 marks of questions that no passage answers",
                "1 passages with line breaks or TABs, written as spaces",
            ]
        );
    }

    #[test]
    fn a_real_collection_reads_back_as_it_was() {
        let Some(data) = std::env::var_os("PARALLAX_TEST_DATA").map(PathBuf::from) else {
            println!("left out: conversion of KorQuAD (set PARALLAX_TEST_DATA)");
            return;
        };
        let source = Source::new(data.join("korquad/KorQuAD_v1.0_dev.json"));
        let options = ReadOptions::default();
        let (folder, summary) = converted(&source, Target::Beir);
        let beir = Source::new(folder.path());
        assert!(all(std::slice::from_ref(&beir)) == all(std::slice::from_ref(&source)));
        assert!(read::query_set(&beir, &options).unwrap().0 == read::query_set(&source, &options).unwrap().0);
        assert_eq!((summary.passages, summary.queries, summary.judgments), (961, 5_774, 5_774));
        assert_eq!(summary.losses, ["3 SQuAD paragraphs that repeat an earlier one, merged with it"]);
    }

    #[test]
    fn nothing_is_overwritten_unasked_and_a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.tsv");
        fs_err::write(&input, "a\tx\nb\n").unwrap();
        let sources = [Source::new(&input)];
        let options = ReadOptions::default();
        let run = |folder: &Path, force| convert(&sources, Target::Beir, folder, force, &options, &Silent);
        // The source's own folder is refused whatever is asked.
        assert_eq!(run(folder.path(), true).unwrap_err().kind(), ErrorKind::Usage);
        let out = folder.path().join("out");
        assert!(
            run(&out, false)
                .unwrap_err()
                .to_string()
                .ends_with("in.tsv:2: 1 fields between TABs, 2 were expected as in the first line")
        );
        assert_eq!(fs_err::read_dir(&out).unwrap().count(), 0);
        fs_err::write(&input, "a\tx\n").unwrap();
        fs_err::write(out.join("mine"), "1").unwrap();
        assert!(run(&out, false).unwrap_err().to_string().ends_with("is not empty"));
        run(&out, true).unwrap();
        assert_eq!(fs_err::read_to_string(out.join("mine")).unwrap(), "1");
        assert_eq!(
            fs_err::read_to_string(out.join("corpus.jsonl")).unwrap(),
            "{\"_id\":\"a\",\"title\":\"\",\"text\":\"x\",\"metadata\":{}}\n"
        );
        assert_eq!(run(&input, true).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn splits_left_behind_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
        fs_err::create_dir(folder.path().join("qrels")).unwrap();
        write("corpus.jsonl", "{\"_id\": \"d\", \"text\": \"x\"}\n");
        write("queries.jsonl", "{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"b\", \"text\": \"y\"}\n");
        write("qrels/test.tsv", "query-id\tcorpus-id\tscore\na\td\t2\n");
        write("qrels/train.tsv", "query-id\tcorpus-id\tscore\nb\td\t1\n");
        let (_out, summary) = converted(&Source::new(folder.path()), Target::Jsonl);
        assert_eq!(
            summary.losses,
            [
                "1 grades above 1, written as 1",
                "1 queries that the split does not judge",
                "1 split not asked for; `--split train` converts it",
            ]
        );
    }
}

//! Readers: passages, queries, judgments, runs and training examples from files as they come.
//!
//! Sources go in (a BEIR folder, a SQuAD or KorQuAD JSON, TSV, JSON lines; plain, gzip, zstd or standard input), and
//! passages come out one at a time, in order, with ids that are unique over all sources; query sets, judgments and
//! runs come out whole. The format is told from the content: magic bytes for compression; an object with an array
//! under `data` for SQuAD; lines that open with `{` for JSON lines; TABs for TSV; a folder with `corpus.jsonl` for
//! BEIR. Texts leave in Unicode form C, ids byte for byte as they came (a JSON whole number as its decimal digits).
//!
//! A record that cannot be read is an error with file and line, or with [`OnBadLine::Skip`] is left out, counted and
//! listed. What breaks the stream itself (a cut archive, JSON that does not close, a line over the limit) always ends
//! the reading.
//!
//! ```
//! use parallax::collection::read::{passages, ReadOptions, Source};
//! # fn main() -> parallax::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("parallax-doc-{}", std::process::id()));
//! # parallax::storage::create_folder(&folder)?;
//! let path = folder.join("two.tsv");
//! std::fs::write(&path, "1\tSeoul is the capital of Korea.\n2\tBusan lies at the sea.\n").unwrap();
//! let mut ids = Vec::new();
//! let summary = passages(&[Source::new(&path)], &ReadOptions::default(), &parallax::Silent, &mut |passage| {
//!     ids.push(passage.id.to_string());
//!     Ok(())
//! })?;
//! assert_eq!((summary.passages, ids), (2, vec!["1".to_string(), "2".to_string()]));
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Cost: one pass, one record in memory, and 16 bytes (about 30 with the table around them) for each id, kept to
//! find duplicates.
//!
//! Sources: the BEIR layout (Thakur et al., "BEIR", 2021); SQuAD (Rajpurkar et al., 2016 and 2018); KorQuAD 1.0 (Lim
//! et al., 2019); MS MARCO (Bajaj et al., 2016); DPR's TSV (Karpukhin et al., 2020); trec_eval's files.

mod beir;
mod detect;
mod elements;
mod examples;
mod intake;
mod json;
mod jsonl;
mod lines;
mod seen;
mod source;
mod squad;
mod stream;
#[cfg(test)]
mod tests;
mod trec;
mod tsv;

pub use examples::{ExamplesSummary, examples};
pub use source::{Format, OnBadLine, QuerySetSummary, ReadOptions, ReadSummary, Skipped, Source};

use crate::collection::qrels::Qrels;
use crate::collection::run::Run;
use crate::collection::{Passage, Query, QuerySet};
use crate::error::{Error, Result};
use crate::progress::{Progress, Stage};
use detect::{Shape, shape};
use intake::{Asked, Intake, normal};
use lines::Lines;
use source::BadLines;
use std::collections::HashSet;
use stream::Stream;

/// Streams every passage of the sources, in order; ids are unique across all of them.
///
/// Progress counts bytes taken from the disk (before decompression) under [`Stage::Reading`]. Fails on a bad record
/// unless told to skip, on a source that cannot be read to its end, and when there is no passage at all.
pub fn passages(
    sources: &[Source],
    options: &ReadOptions,
    progress: &dyn Progress,
    each: &mut dyn FnMut(Passage) -> Result<()>,
) -> Result<ReadSummary> {
    if sources.iter().filter(|source| source.is_stdin()).count() > 1 {
        return Err(Error::usage("standard input is named twice, it can be read once"));
    }
    progress.begin(Stage::Reading, total_bytes(sources));
    let mut intake = Intake::new(options, progress, each);
    for source in sources {
        let format = read_source(source, &mut intake)?;
        intake.summary.formats.push(format);
    }
    let summary = intake.finish();
    if summary.passages == 0 {
        let named = sources.iter().map(|source| format!("`{}`", source.path().display())).collect::<Vec<_>>();
        let skipped = if summary.skipped_total > 0 {
            format!(", all {} records were skipped", summary.skipped_total)
        } else {
            String::new()
        };
        return Err(Error::bad_input(format!("no passage in {}{skipped}", named.join(", "))));
    }
    progress.finish(Stage::Reading);
    Ok(summary)
}

fn total_bytes(sources: &[Source]) -> Option<u64> {
    sources
        .iter()
        .map(|source| {
            if let Some(bytes) = source.bytes() {
                return Some(bytes.len() as u64);
            }
            let folder = source.is_folder().then(|| beir::corpus(source.path()));
            let path = folder.transpose().ok()?.unwrap_or_else(|| source.path().to_path_buf());
            let meta = fs_err::metadata(path).ok()?;
            meta.is_file().then_some(meta.len())
        })
        .sum()
}

fn read_source(source: &Source, intake: &mut Intake<'_>) -> Result<Format> {
    let (options, max) = (intake.options, intake.options.max_line);
    if source.is_folder() {
        folder_format(source, options)?;
        let stream = Stream::file(&beir::corpus(source.path())?)?;
        jsonl::passages(Lines::new(stream, max)?, intake)?;
        return Ok(Format::Beir);
    }
    let mut stream = Stream::open(source)?;
    let format = match (options.format, shape(stream.peek()?)) {
        (Some(format), _) | (None, Shape::Known(format)) => format,
        (None, other) => return Err(unreadable(&stream, other)),
    };
    match format {
        Format::Tsv => tsv::passages(Lines::new(stream, max)?, intake)?,
        Format::Squad => paragraphs(stream, intake)?,
        // A folder's corpus, handed in by itself.
        Format::Beir | Format::Jsonl => jsonl::passages(Lines::new(stream, max)?, intake)?,
    }
    Ok(format)
}

fn folder_format(source: &Source, options: &ReadOptions) -> Result<()> {
    match options.format {
        None | Some(Format::Beir) => Ok(()),
        Some(format) => {
            let message = format!("is a folder, which the format {} is not", format.name());
            Err(Error::usage(message).in_file(source.path()))
        }
    }
}

fn unreadable(stream: &Stream, shape: Shape) -> Error {
    let path = stream.path();
    match shape {
        Shape::Blank => Error::bad_input("is empty, it holds no passage and no query").in_file(path),
        Shape::Array => Error::at_line(path, 1, "a JSON array of objects, one object a line was expected")
            .hint("turn it into JSON lines: jq -c '.[]'"),
        _ => Error::at_line(path, 1, "neither JSON nor fields between TABs")
            .hint("expected is SQuAD JSON, one JSON object a line, or `id⇥text` lines"),
    }
}

fn paragraphs(mut stream: Stream, intake: &mut Intake<'_>) -> Result<()> {
    let path = stream.path().to_path_buf();
    intake.seen.file(&path);
    squad::read(&mut stream, intake.options.max_line, &mut |paragraph, raw| {
        intake.beat(raw)?;
        let paragraph = match paragraph {
            Ok(paragraph) => paragraph,
            Err(error) => return intake.take(Err(error), &path, 0),
        };
        if !intake.paragraphs.insert(paragraph.digest) {
            intake.summary.merged += 1;
            return Ok(());
        }
        let passage = Passage::new(paragraph.id, paragraph.title, paragraph.text);
        intake.take(Ok(passage), &path, paragraph.line)
    })?;
    intake.end_source(&stream)
}

/// Whether a collection brings questions that can be read beside its passages: a SQuAD file, or a BEIR folder with
/// queries. What can be read only once (standard input, a pipe) brings none.
pub(super) fn has_questions(source: &Source, options: &ReadOptions) -> Result<bool> {
    if source.is_folder() {
        return Ok(beir::queries(source.path()).is_ok());
    }
    match options.format {
        _ if !source.is_file() => Ok(false),
        Some(format) => Ok(format == Format::Squad),
        None => Ok(shape(Stream::open(source)?.peek()?) == Shape::Known(Format::Squad)),
    }
}

/// Queries, answers and judgments of a data set.
///
/// Of a BEIR folder these are the split's judgments and the queries that it judges; of a SQuAD file each question
/// with its paragraph at grade 1, impossible ones without judgment; of JSON lines the queries with their `positives`.
pub fn query_set(source: &Source, options: &ReadOptions) -> Result<(QuerySet, QuerySetSummary)> {
    let mut asked = Asked::new(options);
    let mut qrels = Qrels::new();
    let mut summary = QuerySetSummary::default();
    if source.is_folder() {
        folder_format(source, options)?;
        let file = Stream::file(&beir::queries(source.path())?)?;
        jsonl::queries(Lines::new(file, options.max_line)?, &mut asked, &mut qrels)?;
        if let Some(split) = beir::split(source.path(), options)? {
            let ids: HashSet<&str> = asked.queries.iter().map(|query| query.id.as_str()).collect();
            let lines = Lines::new(Stream::file(&split.path)?, options.max_line)?;
            qrels = trec::qrels(lines, &mut asked.bad, &|id| ids.contains(id))?;
            let given = asked.queries.len();
            asked.queries.retain(|query| query.impossible || qrels.get(&query.id).is_some());
            summary.without_qrels = (given - asked.queries.len()) as u64;
            (summary.split, summary.other_splits) = (Some(split.name), split.others);
        }
    } else {
        summary.merged = file_queries(source, options, &mut asked, &mut qrels, false)?;
    }
    summary.queries = asked.queries.len() as u64;
    summary.impossible = asked.queries.iter().filter(|query| query.impossible).count() as u64;
    summary.empty_answers = asked.empty_answers;
    (summary.skipped, summary.skipped_total) = (asked.bad.kept, asked.bad.total);
    if asked.queries.is_empty() {
        return Err(Error::bad_input("holds no query").in_file(source.path()));
    }
    Ok((QuerySet { queries: asked.queries, qrels }, summary))
}

/// Queries alone: BEIR's `queries.jsonl` (all of them, whatever the split), JSON lines, `id⇥text` or
/// `question⇥["answer", …]` lines, a SQuAD file's questions, or plain text with one query a line, numbered from 1.
pub fn queries(source: &Source, options: &ReadOptions) -> Result<Vec<Query>> {
    let mut asked = Asked::new(options);
    let mut qrels = Qrels::new();
    if source.is_folder() {
        folder_format(source, options)?;
        let file = Stream::file(&beir::queries(source.path())?)?;
        jsonl::queries(Lines::new(file, options.max_line)?, &mut asked, &mut qrels)?;
    } else {
        file_queries(source, options, &mut asked, &mut qrels, true)?;
    }
    if asked.queries.is_empty() {
        return Err(Error::bad_input("holds no query").in_file(source.path()));
    }
    Ok(asked.queries)
}

/// Reads the queries of a file; gives back how many SQuAD paragraphs were merged.
fn file_queries(
    source: &Source,
    options: &ReadOptions,
    asked: &mut Asked,
    qrels: &mut Qrels,
    plain: bool,
) -> Result<u64> {
    let mut stream = Stream::open(source)?;
    let max = options.max_line;
    match (options.format, shape(stream.peek()?)) {
        (None, Shape::Plain) if plain => plain_queries(Lines::new(stream, max)?, asked)?,
        (Some(Format::Squad), _) | (None, Shape::Known(Format::Squad)) => return questions(stream, max, asked, qrels),
        (Some(Format::Tsv), _) | (None, Shape::Known(Format::Tsv)) => tsv::queries(Lines::new(stream, max)?, asked)?,
        (Some(_), _) | (None, Shape::Known(_)) => jsonl::queries(Lines::new(stream, max)?, asked, qrels)?,
        (None, other) => return Err(unreadable(&stream, other)),
    }
    Ok(0)
}

fn plain_queries(mut lines: Lines, asked: &mut Asked) -> Result<()> {
    asked.seen.file(lines.path());
    let mut number = 0u64;
    while lines.advance()? {
        number += 1;
        let record = lines.text().map(|line| Query::new(number.to_string(), normal(line.trim().to_string())));
        asked.take(record, lines.path(), lines.number())?;
    }
    Ok(())
}

fn questions(mut stream: Stream, max: usize, asked: &mut Asked, qrels: &mut Qrels) -> Result<u64> {
    let path = stream.path().to_path_buf();
    asked.seen.file(&path);
    let mut met = HashSet::new();
    let mut merged = 0;
    squad::read(&mut stream, max, &mut |paragraph, _| {
        let paragraph = match paragraph {
            Ok(paragraph) => paragraph,
            Err(error) => return asked.bad.note(error),
        };
        merged += u64::from(!met.insert(paragraph.digest));
        for (line, question) in paragraph.questions {
            let gold = question.as_ref().ok().filter(|query| !query.impossible).map(|query| query.id.clone());
            if asked.take(question, &path, line)?
                && let Some(id) = gold
            {
                qrels.insert(id, paragraph.id.clone(), 1);
            }
        }
        Ok(())
    })?;
    Ok(merged)
}

/// Judgments: BEIR's TSV with its header, TREC's and MS MARCO's four columns; of a BEIR folder the split's.
pub fn qrels(source: &Source, options: &ReadOptions) -> Result<Qrels> {
    let stream = match beir_split(source, options)? {
        Some(path) => Stream::file(&path)?,
        None => Stream::open(source)?,
    };
    let mut bad = BadLines::new(options.on_bad_line);
    let qrels = trec::qrels(Lines::new(stream, options.max_line)?, &mut bad, &|_| true)?;
    if qrels.is_empty() {
        return Err(Error::bad_input("holds no judgment").in_file(source.path()));
    }
    Ok(qrels)
}

fn beir_split(source: &Source, options: &ReadOptions) -> Result<Option<std::path::PathBuf>> {
    if !source.is_folder() {
        return Ok(None);
    }
    let split = beir::split(source.path(), options)?;
    let none = || Error::bad_input("is a folder without `qrels/*.tsv`").in_file(source.path());
    Ok(Some(split.ok_or_else(none)?.path))
}

/// A TREC run. Its tag becomes its name unless one is given; the rank column is not read.
pub fn run(source: &Source, name: Option<&str>) -> Result<Run> {
    trec::run(Lines::new(Stream::open(source)?, ReadOptions::default().max_line)?, name)
}

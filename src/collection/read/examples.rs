//! Training examples: one query with its positives and hard negatives, in the layouts of six tools.
//!
//! A file goes in, [`TrainingExample`]s come out one at a time. Records stand one a line or in one JSON list, whatever
//! the layout; the layout is told from the key that holds the positives of the first record that can be read:
//!
//! | key | layout | query | negatives | ids |
//! |---|---|---|---|---|
//! | `positives` | parallax | `query_id`, `query` | `negatives` | `id` |
//! | `positive_ctxs` | DPR | `question` | `hard_negative_ctxs`, then `negative_ctxs` | `passage_id` |
//! | `positive_passages` | Tevatron | `query_id`, `query` | `negative_passages` | `docid` |
//! | `pos` | FlagEmbedding | `query` | `neg` | `pos_id`, `neg_id` where they are |
//! | `positive` | sentence-transformers | `anchor` | `negative`, or `negative_1`, `negative_2`, … | none |
//!
//! Texts leave in Unicode form C. A query without an id is called `sha256:` and the first 16 hex digits of the sha256
//! of its text; a passage without one as [`ExamplePassage::id`] says, so that equal passages have equal ids. Rows of
//! sentence-transformers that follow each other with one anchor are one example (at most 1,000 rows), each passage in
//! it once. Scores of FlagEmbedding's `pos_scores` and `neg_scores` become
//! teacher scores.
//!
//! Cost: one pass, one record in memory.

mod record;

use super::detect::{Shape, shape};
use super::elements::Elements;
use super::json::{Object, line_object};
use super::lines::Lines;
use super::source::{BadLines, ReadOptions, Skipped, Source};
use super::stream::Stream;
use crate::collection::examples::{ExampleFormat, ExamplePassage, TrainingExample};
use crate::error::{Error, Result};
use record::{detect, parse};
use std::path::PathBuf;

/// Rows of one anchor that make one example, at most.
const ROWS_JOINED: u64 = 1_000;

/// What reading examples met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExamplesSummary {
    /// The layout of the file.
    pub format: ExampleFormat,
    /// Examples handed out.
    pub examples: u64,
    /// Positives in them.
    pub positives: u64,
    /// Negatives in them.
    pub negatives: u64,
    /// Examples without negatives among them.
    pub without_negatives: u64,
    /// The first 1000 records left out.
    pub skipped: Vec<Skipped>,
    /// All records left out.
    pub skipped_total: u64,
    /// Bytes read, after decompression.
    pub bytes: u64,
}

/// Streams every example of a file, in order.
///
/// The layout is told from the first record's keys; JSON lines and JSON lists, packed or not, are all read. A query
/// without an id is called `sha256:` and the first 16 hex digits of the sha256 of its text, a passage as
/// [`ExamplePassage::id`] says. Rows of sentence-transformers that follow each other with one anchor are one example.
///
/// Of the options [`ReadOptions::on_bad_line`] and [`ReadOptions::max_line`] count. A record without a query, without
/// a positive, or with a blank passage is a bad one. Fails on a bad record unless told to skip, on a file that cannot
/// be read to its end, and when there is no example at all.
pub fn examples(
    source: &Source,
    options: &ReadOptions,
    take: &mut dyn FnMut(TrainingExample) -> Result<()>,
) -> Result<ExamplesSummary> {
    let mut records = Records::open(source, options.max_line)?;
    let path = records.path();
    let mut bad = BadLines::new(options.on_bad_line);
    let mut hand_out = HandOut { take, waiting: None, rows: 0, examples: 0, positives: 0, negatives: 0, without: 0 };
    let mut format = None;
    while let Some((line, record)) = records.next()? {
        let example = record.and_then(|object| {
            let layout = match format {
                Some(layout) => layout,
                None => detect(&object).map_err(|problem| {
                    Error::at_line(&path, line, problem)
                        .hint("examples come from `parallax mine-negatives`, DPR, Tevatron, FlagEmbedding or sentence-transformers")
                })?,
            };
            format = Some(layout);
            parse(layout, object).map_err(|problem| Error::at_line(&path, line, problem))
        });
        match example {
            Ok(example) => hand_out.row(example, format)?,
            Err(error) => bad.note(error)?,
        }
    }
    hand_out.flush()?;
    match format {
        Some(format) if hand_out.examples > 0 => Ok(ExamplesSummary {
            format,
            examples: hand_out.examples,
            positives: hand_out.positives,
            negatives: hand_out.negatives,
            without_negatives: hand_out.without,
            skipped: bad.kept,
            skipped_total: bad.total,
            bytes: records.bytes(),
        }),
        _ => {
            let skipped =
                if bad.total > 0 { format!(", all {} records were skipped", bad.total) } else { String::new() };
            Err(Error::bad_input(format!("holds no training example{skipped}")).in_file(&path))
        }
    }
}

/// Objects one a line, or in a list.
enum Records {
    Lines(Lines),
    List(Elements),
}

impl Records {
    fn open(source: &Source, max: usize) -> Result<Self> {
        let mut stream = Stream::open(source)?;
        let head = stream.peek()?;
        match head.trim_ascii_start().first() {
            Some(b'[') => Ok(Records::List(Elements::new(stream, max))),
            Some(b'{') if shape(head) != Shape::Known(super::Format::Squad) => {
                Ok(Records::Lines(Lines::new(stream, max)?))
            }
            Some(_) => Err(Error::at_line(stream.path(), 1, "no file of training examples, which are JSON objects")
                .hint("mine them from an index and judged questions: parallax mine-negatives INDEX --data SOURCE")),
            None => Err(Error::bad_input("is empty, it holds no training example").in_file(stream.path())),
        }
    }

    /// The next record with its line; the inner error is the record's own.
    fn next(&mut self) -> Result<Option<(u64, Result<Object>)>> {
        Ok(match self {
            Records::Lines(lines) => lines.advance()?.then(|| {
                let object = line_object(lines).and_then(|mut object| {
                    object.exact(lines.text()?);
                    Ok(object)
                });
                (lines.number(), object)
            }),
            Records::List(elements) => elements.advance()?.then(|| (elements.number(), elements.object())),
        })
    }

    fn path(&self) -> PathBuf {
        match self {
            Records::Lines(lines) => lines.path().to_path_buf(),
            Records::List(elements) => elements.path().to_path_buf(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Records::Lines(lines) => lines.stream().bytes(),
            Records::List(elements) => elements.stream().bytes(),
        }
    }
}

/// Joins rows and counts what goes out.
struct HandOut<'a> {
    take: &'a mut dyn FnMut(TrainingExample) -> Result<()>,
    waiting: Option<TrainingExample>,
    /// Rows in the waiting example.
    rows: u64,
    examples: u64,
    positives: u64,
    negatives: u64,
    without: u64,
}

impl HandOut<'_> {
    fn row(&mut self, row: TrainingExample, format: Option<ExampleFormat>) -> Result<()> {
        let joins = matches!(format, Some(ExampleFormat::Triplets | ExampleFormat::NTuples));
        if let Some(example) = &mut self.waiting
            && joins
            && example.query == row.query
            && self.rows < ROWS_JOINED
        {
            let add = |to: &mut Vec<ExamplePassage>, from: Vec<ExamplePassage>| {
                for passage in from {
                    if !to.contains(&passage) {
                        to.push(passage);
                    }
                }
            };
            add(&mut example.positives, row.positives);
            add(&mut example.negatives, row.negatives);
            self.rows += 1;
            return Ok(());
        }
        self.flush()?;
        (self.waiting, self.rows) = (Some(row), 1);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(example) = self.waiting.take() else { return Ok(()) };
        self.examples += 1;
        self.positives += example.positives.len() as u64;
        self.negatives += example.negatives.len() as u64;
        self.without += u64::from(example.negatives.is_empty());
        (self.take)(example)
    }
}

#[cfg(test)]
mod tests;

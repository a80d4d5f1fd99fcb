//! Training examples, written for our own training and for other tools' ([the layouts](crate::collection::examples)).
//!
//! Examples go in, a file comes out; nothing is held. What the layout has no room for is counted, never dropped in
//! silence.

mod wire;

use super::losses::Losses;
use super::output::Output;
use crate::collection::examples::{ExampleFormat, ExamplePassage, TrainingExample};
use crate::error::{Error, Result};
use serde::Serialize;
use std::path::Path;
use wire::{Dpr, Flag, Negatives, Own, Tevatron, Tuple, dpr, ids, offered, own, teacher, tevatron, texts};

/// What was written and what the layout could not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenExamples {
    /// Examples in the file.
    pub examples: u64,
    /// Its records: JSON objects.
    pub rows: u64,
    /// Negatives of these examples that are in the file.
    pub negatives: u64,
    /// What the examples held and the file does not, one sentence each; examples left out among them.
    pub losses: Vec<String>,
}

/// Writes examples one after the other; the file appears under its name when it is finished, and not at all when the
/// writer is dropped before. Equal examples give equal bytes, packed or not.
///
/// ```
/// use parallax::collection::examples::{ExamplePassage, TrainingExample};
/// use parallax::collection::read::{self, ReadOptions, Source};
/// use parallax::collection::write::{ExampleFormat, ExampleWriter};
/// # fn main() -> parallax::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("parallax-doc-examples-{}", std::process::id()));
/// # parallax::storage::create_folder(&folder)?;
/// let passage = |id: &str, text: &str| ExamplePassage {
///     id: id.into(), title: String::new(), text: text.into(), provenance: None,
/// };
/// let example = TrainingExample {
///     query: parallax::Query::new("q1", "capital of Korea"),
///     positives: vec![passage("a", "Seoul is the capital.")],
///     negatives: vec![passage("b", "Busan lies at the sea.")],
/// };
/// let path = folder.join("examples.json.gz");
/// let mut writer = ExampleWriter::create(&path, ExampleFormat::Dpr, 1)?;
/// writer.write(&example)?;
/// assert_eq!(writer.finish()?.negatives, 1);
/// let summary = read::examples(&Source::new(&path), &ReadOptions::default(), &mut |read| {
///     assert_eq!(read, example);
///     Ok(())
/// })?;
/// assert_eq!(summary.format, ExampleFormat::Dpr);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok(())
/// # }
/// ```
pub struct ExampleWriter {
    out: Output,
    format: ExampleFormat,
    width: usize,
    written: WrittenExamples,
    losses: Losses,
}

impl ExampleWriter {
    /// Begins a file, packed where its name ends in `.gz`. `negatives_per_example` is the n of
    /// [`ExampleFormat::NTuples`]; the other layouts take as many as an example has.
    pub fn create(path: &Path, format: ExampleFormat, negatives_per_example: usize) -> Result<Self> {
        let out = Output::create(path)?;
        let (written, losses) = (WrittenExamples::default(), Losses::default());
        Ok(ExampleWriter { out, format, width: negatives_per_example, written, losses })
    }

    /// Appends an example. Fails where it has no positive, or a score that is not finite.
    pub fn write(&mut self, example: &TrainingExample) -> Result<()> {
        check(example)?;
        let TrainingExample { query, positives, negatives } = example;
        let all = || positives.iter().chain(negatives);
        let have = negatives.len();
        match self.format {
            ExampleFormat::Parallax => self.row(&Own {
                query_id: query.id.as_str(),
                query: &query.text,
                answers: &query.answers,
                positives: own(positives),
                negatives: own(negatives),
            })?,
            ExampleFormat::Dpr => self.row(&Dpr {
                query_id: query.id.as_str(),
                question: &query.text,
                answers: &query.answers,
                positive_ctxs: positives.iter().map(|passage| dpr(passage, 1000.0, 1)).collect(),
                negative_ctxs: [],
                hard_negative_ctxs: negatives.iter().map(|passage| dpr(passage, offered(passage), 0)).collect(),
            })?,
            ExampleFormat::Tevatron => self.row(&Tevatron {
                query_id: query.id.as_str(),
                query: &query.text,
                answers: &query.answers,
                positive_passages: tevatron(positives),
                negative_passages: tevatron(negatives),
            })?,
            ExampleFormat::FlagEmbedding => {
                let scored = all().all(|passage| teacher(passage).is_some());
                let scores = |of: &[ExamplePassage]| scored.then(|| of.iter().filter_map(teacher).collect());
                self.row(&Flag {
                    query: &query.text,
                    pos: texts(positives),
                    neg: texts(negatives),
                    pos_scores: scores(positives),
                    neg_scores: scores(negatives),
                    query_id: query.id.as_str(),
                    pos_id: ids(positives),
                    neg_id: ids(negatives),
                })?;
                let lost = if scored { 0 } else { all().filter_map(teacher).count() };
                self.losses.add("teacher scores: not every passage of their example has one", lost as u64);
                let alone = "examples without negatives, which FlagEmbedding trains on in groups of 1 only";
                self.losses.add(alone, u64::from(have == 0));
            }
            ExampleFormat::Triplets if have == 0 => {
                self.losses.add("examples without negatives, left out", 1);
                return Ok(());
            }
            ExampleFormat::Triplets => {
                for positive in positives {
                    for negative in negatives {
                        self.row(&Tuple { query: &query.text, positive, negatives: Negatives::One(negative) })?;
                    }
                }
            }
            ExampleFormat::NTuples if have < self.width => {
                self.losses.add(format!("examples with fewer than {} negatives, left out", self.width), 1);
                return Ok(());
            }
            ExampleFormat::NTuples => {
                let (first, beyond) = negatives.split_at(self.width);
                for positive in positives {
                    self.row(&Tuple { query: &query.text, positive, negatives: Negatives::Many(first) })?;
                }
                self.losses.add(format!("negatives beyond {}", self.width), beyond.len() as u64);
            }
        }
        self.count(example);
        Ok(())
    }

    fn row(&mut self, row: &impl Serialize) -> Result<()> {
        if self.format == ExampleFormat::Dpr {
            self.out.text(if self.written.rows == 0 { "[\n" } else { ",\n" })?;
            self.out.value(row)?;
        } else {
            self.out.json(row)?;
        }
        self.written.rows += 1;
        Ok(())
    }

    fn count(&mut self, example: &TrainingExample) {
        use ExampleFormat::*;
        let TrainingExample { query, positives, negatives } = example;
        let negatives = match self.format {
            NTuples => &negatives[..self.width],
            _ => &negatives[..],
        };
        self.written.examples += 1;
        self.written.negatives += negatives.len() as u64;
        let all = || positives.iter().chain(negatives);
        let mut lost = |what: &str, count: usize| self.losses.add(format!("{what}: the format has none"), count as u64);
        if matches!(self.format, Triplets | NTuples) {
            lost("ids of queries and passages", 1 + all().count());
        }
        if matches!(self.format, FlagEmbedding | Triplets | NTuples) {
            lost("answers", query.answers.len());
            let titled = all().filter(|passage| !passage.title.is_empty()).count();
            self.losses.add("titles, written before their texts", titled as u64);
        }
        if self.format != Parallax {
            let traced =
                |passage: &&ExamplePassage| passage.provenance.as_ref().is_some_and(|trace| !trace.source.is_empty());
            let count = all().filter(traced).count() as u64;
            self.losses.add("traces of where passages came from: the format has none", count);
        }
    }

    /// Makes the file durable and gives it its name. Fails, and leaves no file, where it would hold not a single example.
    pub fn finish(mut self) -> Result<WrittenExamples> {
        let losses = self.losses.sentences();
        if self.written.examples == 0 {
            let why = if losses.is_empty() { "there is none".into() } else { losses.join(", ") };
            let error = Error::bad_input(format!("no example could be written: {why}"));
            return Err(match self.format {
                ExampleFormat::Triplets | ExampleFormat::NTuples if !losses.is_empty() => error
                    .hint("ask for fewer negatives, or fill shortfalls with random passages")
                    .hint("or choose a layout that takes any number of negatives, such as `parallax`"),
                _ => error,
            });
        }
        if self.format == ExampleFormat::Dpr {
            self.out.text("\n]\n")?;
        }
        self.out.finish()?;
        Ok(WrittenExamples { losses, ..self.written })
    }
}

fn check(example: &TrainingExample) -> Result<()> {
    if example.positives.is_empty() {
        return Err(Error::bad_input(format!("the example of query `{:.80}` has no positive", example.query.id)));
    }
    for passage in example.positives.iter().chain(&example.negatives) {
        let Some(trace) = &passage.provenance else { continue };
        let sides = [trace.sparse, trace.dense].into_iter().flatten().map(|side| side.score);
        if !sides.chain(trace.teacher).all(f64::is_finite) {
            let message = format!("a score of passage `{:.80}` is not finite", passage.id);
            return Err(Error::bad_input(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Where records of every format arrive: ids checked, bad ones dealt with, the rest handed on or kept.

use super::seen::{Seen, check_id};
use super::source::{BadLines, Parsed, ReadOptions, ReadSummary};
use super::stream::Stream;
use crate::collection::{Passage, Query};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Progress, Stage};
use crate::text::nfc;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// Records between two looks at the wish to stop.
const BEAT: u64 = 256;
/// Names of unread fields listed in the warning.
const FIELDS_LISTED: usize = 12;

/// Takes a passage.
pub(super) type Each<'a> = dyn FnMut(Passage) -> Result<()> + 'a;

/// The way of a passage from a reader to the caller.
pub(super) struct Intake<'a> {
    pub(super) options: &'a ReadOptions,
    progress: &'a dyn Progress,
    each: &'a mut Each<'a>,
    pub(super) seen: Seen,
    /// Digests of the SQuAD paragraphs met.
    pub(super) paragraphs: HashSet<[u32; 3]>,
    pub(super) bad: BadLines,
    pub(super) summary: ReadSummary,
    unread: BTreeSet<String>,
    odd_ids: u64,
    records: u64,
    raw: u64,
}

impl<'a> Intake<'a> {
    pub(super) fn new(options: &'a ReadOptions, progress: &'a dyn Progress, each: &'a mut Each<'a>) -> Self {
        Intake {
            options,
            progress,
            each,
            seen: Seen::default(),
            paragraphs: HashSet::new(),
            bad: BadLines::new(options.on_bad_line),
            summary: ReadSummary::default(),
            unread: BTreeSet::new(),
            odd_ids: 0,
            records: 0,
            raw: 0,
        }
    }

    /// Hands a passage on, or deals with what is wrong with it.
    pub(super) fn take(&mut self, record: Result<Passage>, path: &Path, line: u64) -> Result<()> {
        let passage = match record {
            Ok(passage) => passage,
            Err(error) => return self.bad.note(error),
        };
        let id = passage.id.as_str();
        if let Err(problem) = self.seen.insert(id, line) {
            return self.bad.note(Error::at_line(path, line, problem));
        }
        if self.summary.passages == u64::from(u32::MAX) {
            let message = format!("more than {} passages do not fit one index", u32::MAX);
            return Err(Error::new(ErrorKind::Limit, message).in_file(path).hint("split the collection"));
        }
        self.odd_ids += u64::from(matches!(nfc(id), Cow::Owned(_)));
        self.summary.passages += 1;
        self.summary.empty += u64::from(passage.text.trim().is_empty());
        (self.each)(passage)
    }

    /// Notes fields that no reader looks at, to be named once.
    pub(super) fn unread<'k>(&mut self, keys: impl Iterator<Item = &'k str>) {
        for key in keys {
            if key != "metadata" && self.unread.len() < FIELDS_LISTED && !self.unread.contains(key) {
                self.unread.insert(key.to_string());
            }
        }
    }

    /// To be called after each record: reports progress and obeys the wish to stop.
    pub(super) fn beat(&mut self, stream_raw: u64) -> Result<()> {
        self.records += 1;
        if self.records.is_multiple_of(BEAT) {
            self.report(stream_raw);
            self.progress.checkpoint()?;
        }
        Ok(())
    }

    fn report(&mut self, stream_raw: u64) {
        self.progress.advance(Stage::Reading, stream_raw - self.raw);
        self.raw = stream_raw;
    }

    /// To be called when a source is read to its end.
    pub(super) fn end_source(&mut self, stream: &Stream) -> Result<()> {
        self.report(stream.raw_bytes());
        self.raw = 0;
        self.summary.bytes += stream.bytes();
        self.progress.checkpoint()
    }

    /// To be called when all sources are read.
    pub(super) fn finish(mut self) -> ReadSummary {
        if !self.unread.is_empty() {
            let names: Vec<&str> = self.unread.iter().map(String::as_str).collect();
            self.progress.warn(&format!("fields not read: {}", names.join(", ")));
        }
        if self.odd_ids > 0 {
            let n = self.odd_ids;
            self.progress.warn(&format!(
                "{n} ids are not in Unicode form C; they are kept byte for byte, as judgments must spell them"
            ));
        }
        self.summary.skipped = self.bad.kept;
        self.summary.skipped_total = self.bad.total;
        self.summary
    }
}

/// Queries as they arrive, ids unique.
pub(super) struct Asked {
    pub(super) queries: Vec<Query>,
    pub(super) seen: Seen,
    pub(super) bad: BadLines,
    pub(super) empty_answers: u64,
}

impl Asked {
    pub(super) fn new(options: &ReadOptions) -> Self {
        Asked { queries: Vec::new(), seen: Seen::default(), bad: BadLines::new(options.on_bad_line), empty_answers: 0 }
    }

    /// Keeps a query, or deals with what is wrong with it; says whether it was kept.
    pub(super) fn take(&mut self, record: Result<Query>, path: &Path, line: u64) -> Result<bool> {
        let checked = record.and_then(|query| match self.seen.insert(query.id.as_str(), line) {
            Ok(()) => Ok(query),
            Err(problem) => Err(Error::at_line(path, line, problem)),
        });
        match checked {
            Ok(mut query) => {
                let given = query.answers.len();
                query.answers.retain(|answer| !answer.trim().is_empty());
                self.empty_answers += (given - query.answers.len()) as u64;
                let mut met = HashSet::new();
                query.answers.retain(|answer| met.insert(answer.clone()));
                self.queries.push(query);
                Ok(true)
            }
            Err(error) => self.bad.note(error).map(|()| false),
        }
    }
}

/// A passage from raw fields: texts to form C, the id as it is.
pub(super) fn passage(id: String, title: String, text: String) -> Parsed<Passage> {
    check_id(&id)?;
    Ok(Passage::new(id, normal(title), normal(text)))
}

/// The text in form C, without a copy where it is so already.
pub(super) fn normal(text: String) -> String {
    let changed = match nfc(&text) {
        Cow::Owned(changed) => Some(changed),
        Cow::Borrowed(_) => None,
    };
    changed.unwrap_or(text)
}

//! The readers' words: where records come from, how they are read, and what was met on the way.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A value, or what is wrong with its record in words; whoever knows the line makes an [`Error`] of it.
pub(super) type Parsed<T> = std::result::Result<T, String>;

/// The layout of a source; found from its content unless named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`.
    Beir,
    /// SQuAD 1.1, SQuAD 2.0 and KorQuAD 1.0: one nested JSON object.
    Squad,
    /// One record a line, fields between TABs.
    Tsv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    /// The name manifests and options use.
    pub fn name(self) -> &'static str {
        match self {
            Format::Beir => "beir",
            Format::Squad => "squad",
            Format::Tsv => "tsv",
            Format::Jsonl => "jsonl",
        }
    }
}

impl FromStr for Format {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        [Format::Beir, Format::Squad, Format::Tsv, Format::Jsonl]
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| Error::usage(format!("`{name}` is no format")).hint("one of beir, squad, tsv, jsonl"))
    }
}

/// What a record that cannot be read does to the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadLine {
    /// It ends the reading with an error.
    #[default]
    Fail,
    /// It is left out, counted and listed.
    Skip,
}

impl FromStr for OnBadLine {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "fail" => Ok(OnBadLine::Fail),
            "skip" => Ok(OnBadLine::Skip),
            _ => Err(Error::usage(format!("`{name}` is no way to treat bad lines")).hint("one of fail, skip")),
        }
    }
}

/// How sources are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format of all sources; `None` finds it from their content.
    pub format: Option<Format>,
    /// What a bad record does.
    pub on_bad_line: OnBadLine,
    /// The split of a BEIR folder; `None` takes `test`, else `dev`, else the only one.
    pub split: Option<String>,
    /// Longest line (or SQuAD paragraph) accepted, in bytes after decompression.
    pub max_line: usize,
}

impl Default for ReadOptions {
    /// Detected format, errors on bad lines, lines of at most 64 MiB: a 50 MB document still passes.
    fn default() -> Self {
        ReadOptions { format: None, on_bad_line: OnBadLine::Fail, split: None, max_line: 64 << 20 }
    }
}

/// A file, a folder, standard input, or bytes inside the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    embedded: Option<&'static [u8]>,
}

impl Source {
    /// A source by its path; `-` is standard input, which can be read once.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Source { path: path.into(), embedded: None }
    }

    /// A file's bytes that the program carries; `name` is what messages and manifests call it.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Source { path: name.into(), embedded: Some(bytes) }
    }

    /// The bytes of an embedded source.
    pub(super) fn bytes(&self) -> Option<&'static [u8]> {
        self.embedded
    }

    /// Whether this is a folder on disk.
    pub(in crate::collection) fn is_folder(&self) -> bool {
        self.embedded.is_none() && !self.is_stdin() && self.path.is_dir()
    }

    /// Whether this is a file that can be read again: on disk (no pipe), or inside the program.
    pub(in crate::collection) fn is_file(&self) -> bool {
        self.embedded.is_some() || (!self.is_stdin() && self.path.is_file())
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is standard input.
    pub fn is_stdin(&self) -> bool {
        self.embedded.is_none() && self.path.as_os_str() == "-"
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// A record that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file it stood in.
    pub path: PathBuf,
    /// Its 1-based line.
    pub line: u64,
    /// What was wrong with it.
    pub reason: String,
}

/// Skipped records kept by name; further ones are only counted.
pub(super) const SKIPPED_KEPT: usize = 1000;

/// What reading passages met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Passages handed out.
    pub passages: u64,
    /// SQuAD paragraphs left out because the same article and text came before.
    pub merged: u64,
    /// Passages handed out whose text is empty or blank; they never match anything.
    pub empty: u64,
    /// The first 1000 records left out.
    pub skipped: Vec<Skipped>,
    /// All records left out.
    pub skipped_total: u64,
    /// Bytes read, after decompression.
    pub bytes: u64,
    /// The format of each source, in the sources' order.
    pub formats: Vec<Format>,
}

/// What reading a query set met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuerySetSummary {
    /// Queries handed out.
    pub queries: u64,
    /// Those among them that no passage answers; they have no judgments.
    pub impossible: u64,
    /// SQuAD paragraphs that repeat an earlier one; their questions point at the one passage.
    pub merged: u64,
    /// Queries of a BEIR folder left out because the split does not judge them.
    pub without_qrels: u64,
    /// Blank answer strings left out: as an answer they would match every passage.
    pub empty_answers: u64,
    /// The first 1000 records left out.
    pub skipped: Vec<Skipped>,
    /// All records left out.
    pub skipped_total: u64,
    /// The split the judgments come from, where the source has splits.
    pub split: Option<String>,
    /// Further splits of the source, which were not read.
    pub other_splits: Vec<String>,
}

/// The one place where `--on-bad-line` is obeyed.
#[derive(Debug, Default)]
pub(super) struct BadLines {
    policy: OnBadLine,
    pub(super) kept: Vec<Skipped>,
    pub(super) total: u64,
}

impl BadLines {
    pub(super) fn new(policy: OnBadLine) -> Self {
        BadLines { policy, kept: Vec::new(), total: 0 }
    }

    /// Gives the error back, or notes it and lets the reading go on.
    pub(super) fn note(&mut self, error: Error) -> Result<()> {
        if self.policy == OnBadLine::Fail {
            return Err(error.hint("mend the line, or pass `--on-bad-line skip` to go on without it"));
        }
        self.total += 1;
        if self.kept.len() < SKIPPED_KEPT {
            let (path, line) = error.place();
            let path = path.map(Path::to_path_buf).unwrap_or_default();
            self.kept.push(Skipped { path, line: line.unwrap_or(0), reason: error.message().to_string() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_back() {
        for format in [Format::Beir, Format::Squad, Format::Tsv, Format::Jsonl] {
            assert_eq!(format.name().parse::<Format>().unwrap(), format);
        }
        assert_eq!("csv".parse::<Format>().unwrap_err().kind(), crate::ErrorKind::Usage);
        assert_eq!("skip".parse::<OnBadLine>().unwrap(), OnBadLine::Skip);
    }

    #[test]
    fn skipped_lines_are_all_counted_and_the_first_thousand_kept() {
        let mut bad = BadLines::new(OnBadLine::Skip);
        for line in 1..=1500 {
            bad.note(Error::at_line("x", line, "no")).unwrap();
        }
        assert_eq!((bad.total, bad.kept.len(), bad.kept[999].line), (1500, 1000, 1000));
        let error = BadLines::new(OnBadLine::Fail).note(Error::at_line("x", 7, "no")).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hints().len()), ("x:7: no", 1));
    }
}

//! Keeping apart what is learnt from and what is measured: which judgments are held out, and which questions both ask.
//!
//! In flow sources and questions; out flow a set of judgments with a name a report can call it by, and parts of sets.
//! Two questions are the same when they have the same text (in Unicode form C), or the same id and a relevant passage in
//! common: an id alone may be a line number, which says nothing across data sets.

use crate::collection::read::{self, ReadOptions, Source};
use crate::collection::{PassageId, Query, QueryId, QuerySet};
use crate::error::{ErrorKind, Result};
use crate::text::nfc;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// The split that is held out where none is named: what chooses must not be what others test on.
const SPLIT: &str = "dev";

/// Reads judgments to hold out, and says what they are called ([`named`]). Of a BEIR folder they are those of `dev`
/// unless the options name a split; one without is refused, with a hint at `--{flag}-split` and `--{flag}`.
pub(super) fn held_out(source: &Source, options: &ReadOptions, flag: &str) -> Result<(QuerySet, String)> {
    let unasked = options.split.is_none() && source.path().join("qrels").is_dir();
    let split = if unasked { Some(SPLIT.to_string()) } else { options.split.clone() };
    let read = read::query_set(source, &ReadOptions { split, ..options.clone() });
    let (set, summary) = read.map_err(|error| match error.kind() {
        ErrorKind::NotFound if unasked && error.message().contains("split") => error.hint(format!(
            "held-out questions choose, so `test` is not taken unasked: name a split with `--{flag}-split NAME`, \
             or another source with `--{flag} SOURCE`"
        )),
        _ => error,
    })?;
    Ok((set, named(source, summary.split.as_deref())))
}

/// `dev.json`, or `scifact, split dev`: a source without the folders of the machine.
pub(super) fn named(source: &Source, split: Option<&str>) -> String {
    let absolute = std::path::absolute(source.path()).ok();
    let name = absolute.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| source.to_string());
    split.map_or(name.clone(), |split| format!("{name}, split {split}"))
}

/// The questions that pass, with their judgments, in their order.
pub(super) fn part(set: &QuerySet, keep: impl Fn(&Query) -> bool) -> QuerySet {
    let mut part = QuerySet::default();
    for query in set.queries.iter().filter(|query| keep(query)) {
        for (passage, grade) in set.qrels.get(&query.id).into_iter().flatten() {
            part.qrels.insert(query.id.clone(), passage.clone(), *grade);
        }
        part.queries.push(query.clone());
    }
    part
}

/// Questions of one side, by which those of the other side are known again.
#[derive(Default)]
pub(super) struct Known<'a> {
    texts: HashSet<Cow<'a, str>>,
    ids: HashMap<&'a QueryId, HashSet<&'a PassageId>>,
}

impl<'a> Known<'a> {
    /// All questions of a set.
    pub(super) fn of(set: &'a QuerySet) -> Self {
        let mut known = Known::default();
        set.queries.iter().for_each(|query| known.add(query, set.qrels.relevant(&query.id)));
        known
    }

    /// One more question and its relevant passages.
    pub(super) fn add(&mut self, query: &'a Query, relevant: impl Iterator<Item = &'a PassageId>) {
        self.texts.insert(nfc(&query.text));
        self.ids.entry(&query.id).or_default().extend(relevant);
    }

    /// Whether a question is one of these.
    pub(super) fn has<'b>(&self, query: &Query, mut relevant: impl Iterator<Item = &'b PassageId>) -> bool {
        let by_id = |passages: &HashSet<&PassageId>| relevant.any(|passage| passages.contains(passage));
        self.texts.contains(&*nfc(&query.text)) || self.ids.get(&query.id).is_some_and(by_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: &str, text: &str, passage: &str) -> QuerySet {
        let mut set = QuerySet { queries: vec![Query::new(id, text)], ..QuerySet::default() };
        set.qrels.insert(id.into(), passage.into(), 1);
        set
    }

    #[test]
    fn a_question_is_known_by_its_text_or_by_its_id_with_a_passage() {
        let one = question("q1", "Where does 한강 rise?", "p1");
        let known = Known::of(&one);
        let has = |id: &str, text: &str, passage: &str| {
            let other = question(id, text, passage);
            known.has(&other.queries[0], other.qrels.relevant(&other.queries[0].id))
        };
        assert!(has("x", "Where does \u{1112}\u{1161}\u{11ab}강 rise?", "p9"), "the same text, decomposed");
        assert!(has("q1", "Where does the Han rise?", "p1"), "reworded");
        assert!(!has("q1", "Who wrote it?", "p9"), "the first question of another data set");
        assert!(!has("x", "Who wrote it?", "p1"), "another question to the same passage");
    }

    fn beir(splits: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
        fs_err::create_dir(folder.path().join("qrels")).unwrap();
        write("corpus.jsonl", "{\"_id\": \"p\", \"text\": \"a passage\"}\n");
        write("queries.jsonl", "{\"_id\": \"q\", \"text\": \"a question\"}\n");
        splits.iter().for_each(|split| write(&format!("qrels/{split}.tsv"), "query-id\tcorpus-id\tscore\nq\tp\t1\n"));
        folder
    }

    #[test]
    fn what_others_test_on_is_held_out_only_when_asked_for() {
        let folder = beir(&["dev", "test", "train"]);
        let read = |folder: &tempfile::TempDir, split: Option<&str>| {
            let options = ReadOptions { split: split.map(str::to_string), ..ReadOptions::default() };
            held_out(&Source::new(folder.path()), &options, "validate").map(|(_, name)| name)
        };
        assert!(read(&folder, None).unwrap().ends_with(", split dev"));
        let folder = beir(&["test", "train"]);
        let refused = read(&folder, None).unwrap_err();
        assert!(refused.hints().iter().any(|hint| hint.contains("--validate-split NAME")), "{refused}");
        fs_err::remove_file(folder.path().join("queries.jsonl")).unwrap();
        assert!(!read(&folder, None).unwrap_err().to_string().contains("split"), "another trouble");
        let folder = beir(&["test"]);
        let name = read(&folder, Some("test")).unwrap();
        assert!(name.ends_with(", split test") && !name.contains('/'), "{name}");
    }
}

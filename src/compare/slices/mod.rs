//! The same means over kinds of questions: where a system wins, and where it only seems to.
//!
//! In flow the judged questions and every system's values; out flow [`Slicing`]s, each a partition of the questions it can
//! place, with every system's mean of every measure in each part. A slice is no test of its own: whoever looks at twenty
//! finds one that stands out by luck.
//!
//! | by | slices |
//! |---|---|
//! | [`SliceBy::Length`] | words of the question |
//! | [`SliceBy::Overlap`] | how much of the question's words, weighted by how rare they are, its gold passage holds: `Σ_{t ∈ q ∩ gold} idf(t) / Σ_{t ∈ q} idf(t)`, the most of several gold passages |
//! | [`SliceBy::QuestionWord`] | who, what, when …, 누구, 무엇, 언제 … |
//! | [`SliceBy::Language`] | script of most of its letters |
//! | [`SliceBy::TrainQuestion`], [`SliceBy::TrainAnswer`], [`SliceBy::TrainPassage`] | whether training questions hold this very question, one of its answers, its gold passage |
//!
//! Cost: a look into the postings of each question's terms; with training questions, the texts of the gold passages.
//! Sources: Lewis, Stenetorp & Riedel, "Question and answer test-train overlap in open-domain question answering
//! datasets", 2021.

mod question;
mod training;

use super::SystemResult;
use crate::collection::{Query, QueryId, QuerySet};
use crate::error::Result;
use crate::search::Searcher;
use question::{language, length, question_word};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::collections::HashMap;
use training::Training;

/// What questions are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SliceBy {
    /// Words of the question.
    Length,
    /// Share of the question's idf mass that a gold passage holds.
    Overlap,
    /// Its question word.
    QuestionWord,
    /// The script of most of its letters.
    Language,
    /// Whether it is a training question.
    TrainQuestion,
    /// Whether an answer of it is one of a training question.
    TrainAnswer,
    /// Whether a gold passage of it is one of a training question.
    TrainPassage,
}

impl SliceBy {
    /// The name reports use.
    pub fn name(self) -> &'static str {
        match self {
            SliceBy::Length => "question length",
            SliceBy::Overlap => "words shared with gold",
            SliceBy::QuestionWord => "question word",
            SliceBy::Language => "script",
            SliceBy::TrainQuestion => "question in training",
            SliceBy::TrainAnswer => "answer in training",
            SliceBy::TrainPassage => "gold passage in training",
        }
    }
}

/// The questions sorted in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Slicing {
    /// What they are sorted by.
    pub by: SliceBy,
    /// The slices that are not empty, in the order that fits what they are sorted by.
    pub slices: Vec<Slice>,
    /// Judged questions that have no place here: no text is known, no gold passage is in the index, no answer is known.
    pub left_out: usize,
}

/// The questions of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// What they have in common.
    pub name: String,
    /// Questions.
    pub n: usize,
    /// `[systems][measures]`: mean over the slice's questions that have a value; `None` where none has.
    pub means: Vec<Vec<Option<f64>>>,
}

/// Which slice a question belongs to: its place among its kind's slices, and its name.
type Place = (usize, String);

/// Sorts the judged questions in every way that the data allows.
pub(super) fn slices(
    searcher: &Searcher,
    set: &QuerySet,
    queries: &[&Query],
    train: Option<&QuerySet>,
    systems: &[SystemResult],
) -> Result<Vec<Slicing>> {
    let mut sorted: Vec<(SliceBy, Vec<Option<Place>>)> = vec![
        (SliceBy::Length, queries.iter().map(|query| Some(length(&query.text))).collect()),
        (SliceBy::Overlap, queries.par_iter().map(|query| overlap(searcher, set, query)).collect::<Result<_>>()?),
        (SliceBy::QuestionWord, queries.iter().map(|query| Some(question_word(&query.text))).collect()),
        (SliceBy::Language, queries.iter().map(|query| language(&query.text)).collect()),
    ];
    if let Some(train) = train {
        let training = Training::of(searcher, train)?;
        let place = |seen: bool| if seen { (0, "seen".to_string()) } else { (1, "new".to_string()) };
        let question = queries.iter().map(|query| training.question(query).map(place)).collect();
        let answer = queries.iter().map(|query| training.answer(query).map(place)).collect();
        let passage = |query: &&Query| Ok(training.passage(searcher, set.qrels.relevant(&query.id))?.map(place));
        sorted.push((SliceBy::TrainQuestion, question));
        sorted.push((SliceBy::TrainAnswer, answer));
        sorted.push((SliceBy::TrainPassage, queries.par_iter().map(passage).collect::<Result<_>>()?));
    }
    Ok(sorted.into_iter().map(|(by, places)| slicing(by, queries, places, systems)).collect())
}

/// How much of the question its gold passage repeats.
fn overlap(searcher: &Searcher, set: &QuerySet, query: &Query) -> Result<Option<Place>> {
    let sparse = searcher.index().sparse();
    let text = crate::text::nfc(&query.text);
    let mut most: Option<f64> = None;
    for gold in set.qrels.relevant(&query.id) {
        let places = sparse.places_of(gold)?;
        if !places.is_empty() {
            let share = sparse.idf_share(&text, &places)?;
            most = share.map(|share| share.max(most.unwrap_or(0.0))).or(most);
        }
    }
    Ok(most.map(band))
}

fn band(share: f64) -> Place {
    let names = ["none", "under a quarter", "under a half", "under three quarters", "more"];
    let at = if share <= 0.0 { 0 } else { 1 + ((share * 4.0) as usize).min(3) };
    (at, names[at].to_string())
}

fn slicing(by: SliceBy, queries: &[&Query], places: Vec<Option<Place>>, systems: &[SystemResult]) -> Slicing {
    let mut kinds: Vec<&Place> = places.iter().flatten().collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of: HashMap<&QueryId, usize> = queries
        .iter()
        .zip(&places)
        .filter_map(|(query, place)| Some((&query.id, kinds.binary_search(&place.as_ref()?).ok()?)))
        .collect();
    let judged = systems.first().map_or(0, |system| system.evaluation.queries.len());
    let means: Vec<Vec<Vec<Option<f64>>>> = systems.iter().map(|system| means(system, &of, kinds.len())).collect();
    let slices: Vec<Slice> = kinds
        .iter()
        .enumerate()
        .map(|(kind, (_, name))| Slice {
            name: name.clone(),
            n: of.values().filter(|other| **other == kind).count(),
            means: means.iter().map(|system| system.iter().map(|measure| measure[kind]).collect()).collect(),
        })
        .collect();
    let left_out = judged.saturating_sub(of.len());
    Slicing { by, slices, left_out }
}

/// `[measures][kinds]`: the system's means over each kind's questions.
fn means(system: &SystemResult, of: &HashMap<&QueryId, usize>, kinds: usize) -> Vec<Vec<Option<f64>>> {
    let places: Vec<Option<usize>> = system.evaluation.queries.iter().map(|query| of.get(query).copied()).collect();
    let of_measure = |values: &Vec<Option<f64>>| {
        let mut sums = vec![(0.0, 0usize); kinds];
        for (value, place) in values.iter().zip(&places) {
            if let (Some(value), Some(place)) = (value, place) {
                sums[*place].0 += value;
                sums[*place].1 += 1;
            }
        }
        sums.into_iter().map(|(sum, n)| (n > 0).then(|| sum / n as f64)).collect()
    };
    system.evaluation.values.iter().map(of_measure).collect()
}

/// A passage's words, lower-cased, one space between them; `None` without a word.
fn words(text: &str) -> Option<String> {
    let lowered = crate::text::nfc(text).to_lowercase();
    let spans = crate::text::words::spans(&lowered);
    let words: Vec<&str> = spans.into_iter().map(|(start, end)| &lowered[start..end]).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::run::Run;
    use crate::eval::{Evaluation, Measure};

    #[test]
    fn bands_of_overlap_have_open_lower_ends() {
        let names = [0.0, 0.01, 0.249, 0.25, 0.5, 0.75, 1.0].map(|share| band(share).1);
        let expected =
            ["none", "under a quarter", "under a quarter", "under a half", "under three quarters", "more", "more"];
        assert_eq!(names, expected);
    }

    #[test]
    fn every_question_counts_once_and_means_are_of_those_that_have_a_value() {
        let queries: Vec<Query> = ["a", "b", "c", "d"].iter().map(|id| Query::new(*id, "")).collect();
        let queries: Vec<&Query> = queries.iter().collect();
        let place = |at: usize| Some((at, format!("kind {at}")));
        let evaluation = Evaluation {
            measures: vec![Measure::Recall(1), Measure::Precision(1)],
            queries: ["a", "b", "c", "d", "without a text"].map(QueryId::from).to_vec(),
            values: vec![
                vec![Some(1.0), Some(0.0), Some(0.5), Some(1.0), Some(0.0)],
                vec![Some(1.0), None, None, None, None],
            ],
        };
        let systems = [SystemResult::of("x".into(), Run::new("x"), evaluation)];
        let found = slicing(SliceBy::Length, &queries, vec![place(2), place(2), place(1), None], &systems);
        assert_eq!((found.by, found.left_out), (SliceBy::Length, 2));
        let seen: Vec<_> = found.slices.iter().map(|slice| (slice.name.as_str(), slice.n, &slice.means[0])).collect();
        let (one, two) = (vec![Some(0.5), None], vec![Some(0.5), Some(1.0)]);
        assert_eq!(seen, [("kind 1", 1, &one), ("kind 2", 2, &two)]);
    }
}

//! A query made ready for mining: its positives found in the index, what may never be its negative, or why it has none.

use super::features::Features;
use super::report::Outcome;
use crate::collection::examples::ExamplePassage;
use crate::collection::qrels::Qrels;
use crate::collection::{Ordinal, Passage, PassageId, Query};
use crate::error::Result;
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::search::Searcher;
use crate::sparse::{SparseIndex, Weighting};
use crate::text;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A query that negatives can be mined for.
pub(super) struct Asked {
    pub(super) query: Query,
    /// What the example gives as positives, best judged first; at least one.
    pub(super) positives: Vec<ExamplePassage>,
    /// The positives' places, in the same order.
    pub(super) ordinals: Vec<Ordinal>,
    /// What the filters compare with, in the same order; the engine fills it in where any filter looks at texts.
    pub(super) features: Vec<Arc<Features>>,
    /// Other chunks of the positives' documents.
    pub(super) same_document: BTreeSet<Ordinal>,
    /// Passages somebody judged and found not relevant.
    pub(super) not_relevant: BTreeSet<Ordinal>,
    /// `None` where no answer is known.
    pub(super) answers: Option<Answers>,
    /// Judged-relevant passages that the index does not hold.
    pub(super) missing: usize,
}

/// What became of a query before anything was searched.
pub(super) enum Prepared {
    Ask(Box<Asked>),
    Left(Outcome),
}

/// Finds a query's positives.
pub(super) fn prepare(searcher: &Searcher, query: &Query, qrels: &Qrels, weighting: &Weighting) -> Result<Prepared> {
    if query.impossible {
        return Ok(Prepared::Left(Outcome::Impossible));
    }
    let mut judged: Vec<(&PassageId, i32)> = qrels
        .get(&query.id)
        .into_iter()
        .flatten()
        .filter(|(_, grade)| **grade > 0)
        .map(|(id, grade)| (id, *grade))
        .collect();
    if judged.is_empty() {
        return Ok(Prepared::Left(Outcome::NoPositive));
    }
    // The best judged first; equal grades keep the ids' order.
    judged.sort_by_key(|(_, grade)| std::cmp::Reverse(*grade));
    let answers = known_answers(query);
    let sparse = searcher.index().sparse();
    let mut asked = Asked {
        query: query.clone(),
        positives: Vec::new(),
        ordinals: Vec::new(),
        features: Vec::new(),
        same_document: BTreeSet::new(),
        not_relevant: BTreeSet::new(),
        answers,
        missing: 0,
    };
    for (id, _) in judged {
        let places = sparse.places_of(id)?;
        match best_chunk(sparse, &asked.query.text, weighting, &places, asked.answers.as_ref())? {
            None => asked.missing += 1,
            Some((ordinal, passage)) => {
                asked.same_document.extend(places.into_iter().filter(|place| *place != ordinal));
                asked.add(ordinal, passage);
            }
        }
    }
    for (id, _) in qrels.get(&query.id).into_iter().flatten().filter(|(_, grade)| **grade <= 0) {
        asked.not_relevant.extend(sparse.places_of(id)?);
    }
    match asked.positives.is_empty() {
        true => Ok(Prepared::Left(Outcome::PositiveMissing)),
        false => Ok(Prepared::Ask(Box::new(asked))),
    }
}

impl Asked {
    /// A query whose one positive is a passage of the index, given with other words.
    pub(super) fn of_passage(query: Query, ordinal: Ordinal, positive: ExamplePassage) -> Self {
        Asked {
            query,
            positives: vec![positive],
            ordinals: vec![ordinal],
            features: Vec::new(),
            same_document: BTreeSet::new(),
            not_relevant: BTreeSet::new(),
            answers: None,
            missing: 0,
        }
    }

    fn add(&mut self, ordinal: Ordinal, passage: Passage) {
        self.ordinals.push(ordinal);
        self.positives.push(example_passage(passage));
    }
}

/// A passage of the index as examples carry it.
pub(super) fn example_passage(passage: Passage) -> ExamplePassage {
    ExamplePassage { id: passage.id, title: passage.title, text: passage.text, provenance: None }
}

fn known_answers(query: &Query) -> Option<Answers> {
    let answers = Answers::of(&query.answers);
    (!answers.is_empty()).then_some(answers)
}

/// Of a document's chunks, the one that stands for it: the best by shared words among those that hold an answer, or
/// among all where none does or no answer is known.
fn best_chunk(
    sparse: &SparseIndex,
    question: &str,
    weighting: &Weighting,
    places: &[Ordinal],
    answers: Option<&Answers>,
) -> Result<Option<(Ordinal, Passage)>> {
    let [first, rest @ ..] = places else { return Ok(None) };
    if rest.is_empty() {
        return Ok(Some((*first, sparse.passage(*first)?)));
    }
    let scores = sparse.score(&text::nfc(question), weighting, places)?;
    let mut best: Option<((bool, f32), Ordinal, Passage)> = None;
    for (ordinal, score) in places.iter().zip(scores) {
        let passage = sparse.passage(*ordinal)?;
        let holds = answers.is_some_and(|answers| answers.held_by(&Tokens::of(&passage.text), Matching::Korean));
        if best.as_ref().is_none_or(|(key, _, _)| (holds, score) > *key) {
            best = Some(((holds, score), *ordinal, passage));
        }
    }
    Ok(best.map(|(_, ordinal, passage)| (ordinal, passage)))
}

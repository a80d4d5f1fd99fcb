//! What training questions give away of the questions that measure.

use super::words;
use crate::collection::{PassageId, Query, QuerySet};
use crate::compare::held::whole_text;
use crate::error::Result;
use crate::search::Searcher;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::collections::{BTreeSet, HashSet};

/// Questions, answers and gold passages that training saw, by their words: case, spaces and punctuation do not count.
pub(super) struct Training {
    questions: HashSet<String>,
    answers: HashSet<String>,
    ids: BTreeSet<PassageId>,
    /// Texts of those that the index holds.
    texts: HashSet<String>,
}

impl Training {
    pub(super) fn of(searcher: &Searcher, train: &QuerySet) -> Result<Self> {
        let ids: BTreeSet<PassageId> =
            train.qrels.iter().flat_map(|(query, _)| train.qrels.relevant(query)).cloned().collect();
        let text = |id: &PassageId| Ok(words(&whole_text(searcher, id)?));
        let texts: Vec<Option<String>> = Vec::from_iter(&ids).into_par_iter().map(text).collect::<Result<_>>()?;
        Ok(Training {
            questions: train.queries.iter().filter_map(|query| words(&query.text)).collect(),
            answers: train.queries.iter().flat_map(|query| &query.answers).filter_map(|text| words(text)).collect(),
            ids,
            texts: texts.into_iter().flatten().collect(),
        })
    }

    /// Whether the question was trained on; `None` for one without a word.
    pub(super) fn question(&self, query: &Query) -> Option<bool> {
        words(&query.text).map(|words| self.questions.contains(&words))
    }

    /// Whether one of its answers was; `None` where none is known.
    pub(super) fn answer(&self, query: &Query) -> Option<bool> {
        let mut answers = query.answers.iter().filter_map(|answer| words(answer)).peekable();
        answers.peek()?;
        Some(answers.any(|answer| self.answers.contains(&answer)))
    }

    /// Whether one of these gold passages was, by its id or by its words; `None` for a question without one.
    pub(super) fn passage<'a>(
        &self,
        searcher: &Searcher,
        gold: impl Iterator<Item = &'a PassageId>,
    ) -> Result<Option<bool>> {
        let mut place = None;
        for id in gold {
            let same_words = |text: String| words(&text).is_some_and(|words| self.texts.contains(&words));
            if self.ids.contains(id) || same_words(whole_text(searcher, id)?) {
                return Ok(Some(true));
            }
            place = Some(false);
        }
        Ok(place)
    }
}

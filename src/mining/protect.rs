//! Passages that a held-out question hinges on, and that training must never push away.
//!
//! Protected question sets and an index come in, a [`Shelter`] goes out. Mined as a negative for a training question, a
//! passage that answers a held-out one would teach the encoder to lose that very passage: the held-out figures would
//! then measure the leak, not the training. Three kinds of passage answer a protected question:
//!
//! 1. one that is judged relevant to it, all its chunks included;
//! 2. one that holds its answer *and* stands among its [`BEST`] by shared words. An answer alone says nothing: each of the
//!    20,958 paragraphs of SQuAD holds some answer of the 10,570 development questions (`two`, `the`), while 640 beside
//!    the 2,067 judged ones hold one of a question that they are among the best five for. Taking what BM25 finds with the
//!    answer in it for right is DPR's rule for questions without a judged passage;
//! 3. a twin of a judged one: the same words, or [`NEAR_DUPLICATE`] shared shingles, whatever is asked of twins of the
//!    mined questions' own positives.
//!
//! Twins are found without comparing all pairs, and none is missed ([`crate::text::twins`]).
//!
//! Cost: a search a protected question that has an answer, half a second for SQuAD's; some microseconds for each passage
//! whose text is looked at.
//! Source: V. Karpukhin et al., "Dense passage retrieval", 2020, section 4.1 (passages that stand for missing judgments).

use super::features::Features;
use super::options::{MineOptions, NEAR_DUPLICATE};
use crate::collection::{Ordinal, PassageId, Query, QuerySet};
use crate::error::Result;
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::search::Searcher;
use crate::sparse::SparseIndex;
use crate::text;
use crate::text::twins::{Print, Twins};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Passages of a protected question that are looked through for its answer.
const BEST: usize = 5;

/// What is never taken as a negative for a protected question's sake.
#[derive(Default)]
pub(super) struct Shelter {
    /// Judged relevant, or answering.
    places: HashSet<Ordinal>,
    /// What judged passages are known by.
    judged: Twins,
}

/// What shelters the passages that answer the questions of some sets. Answers are looked for as the filter does it, and
/// not at all where it is off.
pub(super) fn protected(searcher: &Searcher, sets: &[QuerySet], options: &MineOptions) -> Result<Shelter> {
    let sparse = searcher.index().sparse();
    let ids: BTreeSet<&PassageId> =
        sets.iter().flat_map(|set| set.qrels.iter().flat_map(|(query, _)| set.qrels.relevant(query))).collect();
    let judged: Vec<Vec<Ordinal>> = ids.into_par_iter().map(|id| sparse.places_of(id)).collect::<Result<_>>()?;
    let judged: Vec<Ordinal> = judged.into_iter().flatten().collect();
    let mut shelter = Shelter::of(sparse, &judged)?;
    if let Some(matching) = options.filters.answers {
        shelter.places.extend(answering(sparse, sets, options, matching)?);
    }
    Ok(shelter)
}

impl Shelter {
    fn of(sparse: &SparseIndex, judged: &[Ordinal]) -> Result<Self> {
        let prints: Vec<Print> =
            judged.par_iter().map(|ordinal| Ok(Print::of(&sparse.passage(*ordinal)?.text))).collect::<Result<_>>()?;
        Ok(Shelter { places: judged.iter().copied().collect(), judged: Twins::new(prints, NEAR_DUPLICATE) })
    }

    /// How many passages answer a protected question, their twins left out.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is sheltered.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether a passage answers a protected question.
    pub(super) fn holds(&self, ordinal: Ordinal) -> bool {
        self.places.contains(&ordinal)
    }

    /// Whether a passage is a twin of one that is judged relevant to a protected question.
    pub(super) fn repeats(&self, features: &Features) -> bool {
        self.judged.any(&features.print)
    }
}

/// Passages that hold the answer of a question they are among the best for.
fn answering(
    sparse: &SparseIndex,
    sets: &[QuerySet],
    options: &MineOptions,
    matching: Matching,
) -> Result<HashSet<Ordinal>> {
    let questions: Vec<(&Query, Answers)> = sets
        .iter()
        .flat_map(|set| &set.queries)
        .filter(|query| !query.impossible)
        .map(|query| (query, Answers::of(&query.answers)))
        .filter(|(_, answers)| !answers.is_empty())
        .collect();
    let best = |(query, _): &(&Query, Answers)| -> Result<Vec<Ordinal>> {
        let found = sparse.search(&text::nfc(&query.text), &options.weighting, BEST)?;
        Ok(found.iter().map(|(ordinal, _)| *ordinal).collect())
    };
    let best: Vec<Vec<Ordinal>> = questions.par_iter().map(best).collect::<Result<_>>()?;
    let met: BTreeSet<Ordinal> = best.iter().flatten().copied().collect();
    let tokens: HashMap<Ordinal, Tokens> = met
        .into_par_iter()
        .map(|ordinal| Ok((ordinal, Tokens::of(&sparse.passage(ordinal)?.text))))
        .collect::<Result<_>>()?;
    let holds = |answers: &Answers, ordinal: &Ordinal| {
        tokens.get(ordinal).is_some_and(|tokens| answers.held_by(tokens, matching))
    };
    let pairs = questions.iter().zip(&best);
    Ok(pairs.flat_map(|((_, answers), best)| best.iter().filter(|o| holds(answers, o)).copied()).collect())
}

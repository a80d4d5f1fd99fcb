//! Two questions that are easily taken for one: was the gold passage retrieved, and was an answer? Where they part, and why.
//!
//! In flow a run, judgments and where answers stand; out flows an [`AnswerGap`]: every question with a gold passage and a
//! known answer, counted once.
//!
//! | gold in the first k | an answer in the first k | |
//! |---|---|---|
//! | yes | yes | [`AnswerGap::both`]; [`AnswerGap::split`] where only joined chunks hold it whole |
//! | no | yes | a near or exact duplicate of gold holds it ([`AnswerGap::twin`]), or another passage ([`AnswerGap::elsewhere`]) |
//! | yes | no | the gold passage holds it by its characters alone ([`AnswerGap::by_characters`]), or not at all ([`AnswerGap::unwritten`]) |
//! | no | no | [`AnswerGap::neither`] |
//!
//! Answers are matched by whole tokens, Korean particles forgiven ([`Matching::Korean`], DPR's rule for other languages). A
//! passage is a duplicate from a Jaccard similarity of .8 over its word shingles on
//! ([`shingles`](crate::text::shingles)). Gold passages are those of grade 1 and above.
//!
//! [`Matching::Korean`]: crate::eval::answers::Matching::Korean
//!
//! Cost: for the questions where the two part, the signatures of the passages concerned; nothing for the others.

use super::held::{FAIR, Held, top, whole_text};
use crate::collection::qrels::Qrels;
use crate::collection::run::Run;
use crate::collection::{PassageId, QueryId};
use crate::error::Result;
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::search::Searcher;
use crate::text::shingles::{Signature, THRESHOLD};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// How the gold passage and the answer go together in one system's first `k`; every question is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerGap {
    /// How deep was looked: as deep as the deepest answer measure.
    pub k: usize,
    /// Questions with a gold passage and a known answer: the sum of what follows.
    pub n: usize,
    /// Gold passage and answer are there.
    pub both: usize,
    /// Both are there, but the answer crosses from one chunk into the next: no chunk holds it whole.
    pub split: usize,
    /// No gold passage, but an answer, in a near or exact duplicate of one.
    pub twin: usize,
    /// No gold passage, but an answer, in a passage of other words.
    pub elsewhere: usize,
    /// A gold passage, and its answer stands there with other spacing or punctuation, or inside longer words.
    pub by_characters: usize,
    /// A gold passage, and no answer string stands in it.
    pub unwritten: usize,
    /// Neither.
    pub neither: usize,
}

/// What a question falls under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Both,
    Split,
    Twin,
    Elsewhere,
    ByCharacters,
    Unwritten,
    Neither,
}

/// Counts one system's questions; `None` where no question has both a gold passage and an answer to look for.
pub(super) fn gap(
    searcher: &Searcher,
    qrels: &Qrels,
    run: &Run,
    held: &Held<'_>,
    system: usize,
) -> Result<Option<AnswerGap>> {
    let Some(flags) = held.of(system, FAIR) else { return Ok(None) };
    let asked: Vec<&(&QueryId, Answers)> =
        held.answered.iter().filter(|(query, _)| qrels.relevant(query).next().is_some()).collect();
    let case = |(query, answers): &&(&QueryId, Answers)| {
        let passages: Vec<&PassageId> = top(run, query, held.depth).collect();
        let holding: Vec<&PassageId> = match flags.get(*query) {
            Some(flags) => passages.iter().zip(flags).filter(|(_, held)| **held).map(|(id, _)| *id).collect(),
            None => Vec::new(),
        };
        let gold: Vec<&PassageId> = qrels.relevant(query).collect();
        let found: Vec<&PassageId> = gold.iter().filter(|id| passages.contains(id)).copied().collect();
        match (found.is_empty(), holding.is_empty()) {
            (false, false) => Ok(if in_one_chunk(searcher, &holding, answers)? { Case::Both } else { Case::Split }),
            (true, false) => Ok(if twin(searcher, &gold, &holding)? { Case::Twin } else { Case::Elsewhere }),
            (false, true) => {
                Ok(if by_characters(searcher, &found, answers)? { Case::ByCharacters } else { Case::Unwritten })
            }
            (true, true) => Ok(Case::Neither),
        }
    };
    let cases: Vec<Case> = asked.par_iter().map(case).collect::<Result<_>>()?;
    let count = |case: Case| cases.iter().filter(|other| **other == case).count();
    Ok((!cases.is_empty()).then(|| AnswerGap {
        k: held.depth,
        n: cases.len(),
        both: count(Case::Both),
        split: count(Case::Split),
        twin: count(Case::Twin),
        elsewhere: count(Case::Elsewhere),
        by_characters: count(Case::ByCharacters),
        unwritten: count(Case::Unwritten),
        neither: count(Case::Neither),
    }))
}

/// Whether some chunk of these passages, which hold an answer when they are joined, holds one alone.
fn in_one_chunk(searcher: &Searcher, holding: &[&PassageId], answers: &Answers) -> Result<bool> {
    if searcher.index().manifest().collection.chunking == "none" {
        return Ok(true);
    }
    let sparse = searcher.index().sparse();
    for id in holding {
        let places = sparse.places_of(id)?;
        for place in &places {
            if places.len() == 1 || answers.held_by(&Tokens::of(&sparse.passage(*place)?.text), FAIR) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether one of the passages nearly has a gold passage's words.
fn twin(searcher: &Searcher, gold: &[&PassageId], holding: &[&PassageId]) -> Result<bool> {
    let signatures = |ids: &[&PassageId]| -> Result<Vec<Signature>> {
        let of = |id: &&PassageId| Ok(Signature::of(&whole_text(searcher, id)?));
        ids.iter().map(of).filter_map(Result::transpose).collect()
    };
    let gold = signatures(gold)?;
    let alike = |one: &Signature| gold.iter().any(|other| one.similarity(other) >= THRESHOLD);
    Ok(!gold.is_empty() && signatures(holding)?.iter().any(alike))
}

/// Whether a gold passage holds an answer by its characters alone.
fn by_characters(searcher: &Searcher, found: &[&PassageId], answers: &Answers) -> Result<bool> {
    for id in found {
        if answers.held_by(&Tokens::with_characters(&whole_text(searcher, id)?), Matching::Characters) {
            return Ok(true);
        }
    }
    Ok(false)
}

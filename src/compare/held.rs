//! Which ranked passages hold an answer, for every system and matching.

use crate::collection::run::{Run, trec_order};
use crate::collection::{PassageId, Query, QueryId};
use crate::error::Result;
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::eval::{AnswerFlags, Measure};
use crate::search::Searcher;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Whether a question has answers to look for.
pub(super) fn has_answers(query: &Query) -> bool {
    !query.impossible && !query.answers.is_empty()
}

/// A passage's text by its judged id, its chunks joined; a passage that is not in the index (a foreign run's) has none.
pub(super) fn whole_text(searcher: &Searcher, id: &PassageId) -> Result<String> {
    let sparse = searcher.index().sparse();
    let mut text = String::new();
    // Chunks of one passage follow each other, and may overlap.
    for ordinal in sparse.places_of(id)? {
        let passage = sparse.passage(ordinal)?;
        let known = passage.parent.as_ref().map_or(0, |parent| text.chars().count().saturating_sub(parent.span.0));
        text.extend(passage.text.chars().skip(known));
    }
    Ok(text)
}

/// The first `depth` passages of a query, in trec_eval's order.
pub(super) fn top<'a>(run: &'a Run, query: &QueryId, depth: usize) -> impl Iterator<Item = &'a PassageId> + use<'a> {
    let order = run.get(query).map(trec_order).unwrap_or_default();
    order.into_iter().take(depth).map(|(id, _)| id)
}

/// For every system and matching, which ranked passages hold an answer.
pub(super) struct Held<'a> {
    /// Questions with answers to look for.
    pub(super) answered: Vec<(&'a QueryId, Answers)>,
    /// How deep answers were looked for: as deep as some answer measure does.
    pub(super) depth: usize,
    flags: Vec<HashMap<Matching, AnswerFlags>>,
}

/// The matching that explains gaps: whole tokens, fair to Korean, no upper bound.
pub(super) const FAIR: Matching = Matching::Korean;

impl<'a> Held<'a> {
    pub(super) fn of(&self, system: usize, matching: Matching) -> Option<&AnswerFlags> {
        self.flags[system].get(&matching)
    }

    /// Looks for the answers in every run; tokenises each passage once.
    pub(super) fn find(
        searcher: &Searcher,
        queries: &[&'a Query],
        measures: &[Measure],
        runs: &[&Run],
    ) -> Result<Self> {
        let asked = measures.iter().filter_map(|measure| Some((measure.matching()?, measure.cutoff()?)));
        let (mut matchings, mut depth) = (Vec::new(), 0);
        for (matching, k) in asked {
            depth = depth.max(k);
            for matching in [matching, FAIR] {
                if !matchings.contains(&matching) {
                    matchings.push(matching);
                }
            }
        }
        let answered: Vec<(&QueryId, Answers)> = queries
            .iter()
            .filter(|query| has_answers(query) && depth > 0)
            .map(|query| (&query.id, Answers::of(&query.answers)))
            .filter(|(_, answers)| !answers.is_empty())
            .collect();
        let mut passages: BTreeSet<&PassageId> = BTreeSet::new();
        for run in runs {
            for (query, _) in &answered {
                passages.extend(top(run, query, depth));
            }
        }
        let tokenise = match matchings.contains(&Matching::Characters) {
            true => Tokens::with_characters,
            false => Tokens::of,
        };
        let passages: Vec<&PassageId> = passages.into_iter().collect();
        let tokens: HashMap<&PassageId, Tokens> =
            passages.par_iter().map(|id| Ok((*id, tokenise(&whole_text(searcher, id)?)))).collect::<Result<_>>()?;
        let flags = |run: &Run, matching: Matching| -> AnswerFlags {
            let held = |id: &PassageId, answers: &Answers| tokens.get(id).is_some_and(|t| answers.held_by(t, matching));
            let of_query = |(query, answers): &(&QueryId, Answers)| {
                ((*query).clone(), top(run, query, depth).map(|id| held(id, answers)).collect())
            };
            answered.par_iter().map(of_query).collect::<BTreeMap<_, _>>()
        };
        let of_run =
            |run: &&Run| matchings.iter().map(|matching| (*matching, flags(run, *matching))).collect::<HashMap<_, _>>();
        let flags = runs.iter().map(of_run).collect();
        Ok(Held { answered, depth, flags })
    }
}

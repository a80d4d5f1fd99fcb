//! What nobody judged among the first ranks of each side.

use super::model::{Check, EXAMPLES, Finding};
use super::passages::{in_passages, known};
use crate::collection::{Ordinal, Query, QuerySet};
use crate::compare::phrase::grouped;
use crate::error::Result;
use crate::eval::answers::{Answers, Matching};
use crate::progress::Progress;
use crate::search::{Mode, SearchRequest, Searcher};
use rayon::prelude::*;

/// Ranks looked at.
const RANKS: usize = 10;

/// One finding a side that can be asked.
pub(super) fn unjudged(searcher: &Searcher, set: &QuerySet, progress: &dyn Progress) -> Result<Vec<Finding>> {
    let judged: Vec<&Query> = set.queries.iter().filter(|query| set.qrels.get(&query.id).is_some()).collect();
    let sides = [(Mode::Sparse, Check::UnjudgedSparse), (Mode::Dense, Check::UnjudgedDense)];
    let asked = sides.into_iter().filter(|(mode, _)| *mode == Mode::Sparse || searcher.question_encoder().is_some());
    asked.map(|(mode, check)| side(searcher, set, &judged, mode, check, progress)).collect()
}

fn side(
    searcher: &Searcher,
    set: &QuerySet,
    judged: &[&Query],
    mode: Mode,
    check: Check,
    progress: &dyn Progress,
) -> Result<Finding> {
    let sparse = searcher.index().sparse();
    let texts: Vec<&str> = judged.iter().map(|query| query.text.as_str()).collect();
    let request = SearchRequest { k: RANKS, mode, ..SearchRequest::default() };
    let ranked = searcher.rank_all(&texts, &request, progress)?;
    let mut of = 0;
    let mut unjudged: Vec<(Ordinal, usize)> = Vec::new();
    for (at, (query, ranked)) in judged.iter().zip(&ranked).enumerate() {
        of += ranked.ranking.len();
        for (ordinal, _) in ranked.ranking.iter() {
            if set.qrels.grade(&query.id, &sparse.judged_id(*ordinal)?).is_none() {
                unjudged.push((*ordinal, at));
            }
        }
    }
    let count = unjudged.len();
    let answers: Vec<Answers> = judged.par_iter().map(|query| Answers::of(known(query))).collect();
    if answers.iter().all(Answers::is_empty) {
        return Ok(Finding { check, count, of, detail: None, examples: Vec::new() });
    }
    unjudged.retain(|(_, at)| !answers[*at].is_empty());
    let held = in_passages(sparse, unjudged, |at, passage| answers[at].held_by(&passage.tokens, Matching::Korean))?;
    let mut answering: Vec<(usize, Ordinal)> =
        held.into_iter().filter(|(_, held)| *held).map(|((ordinal, at), _)| (at, ordinal)).collect();
    answering.sort_unstable();
    let example = |(at, ordinal): &(usize, Ordinal)| {
        Ok(format!("`{}`: `{}` holds an answer", judged[*at].id, sparse.judged_id(*ordinal)?))
    };
    let detail = Some(match answering.len() {
        1 => "1 holds an answer".to_string(),
        n => format!("{} hold an answer", grouped(n)),
    });
    let examples = answering.iter().take(EXAMPLES).map(example).collect::<Result<_>>()?;
    Ok(Finding { check, count, of, detail, examples })
}

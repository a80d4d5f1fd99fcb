//! What nobody judged among the first ranks of each side.

use super::model::{Check, EXAMPLES, Finding};
use crate::collection::{Ordinal, Query, QuerySet};
use crate::error::Result;
use crate::eval::answers::{Answers, Matching, Tokens};
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
    /// Places, the unjudged of them, and of those the ones that hold an answer.
    type Seen = (usize, usize, usize, Option<String>);
    let look = |(query, ranked): (&&Query, &crate::search::Ranked)| -> Result<Seen> {
        let answers = Answers::of(if query.impossible { &[] } else { &query.answers });
        let (mut unjudged, mut answering, mut example) = (0, 0, None);
        for (ordinal, _) in ranked.ranking.iter() {
            let id = sparse.judged_id(*ordinal)?;
            if set.qrels.grade(&query.id, &id).is_none() {
                unjudged += 1;
                if !answers.is_empty() && holds(searcher, &answers, *ordinal)? {
                    answering += 1;
                    example.get_or_insert(format!("`{}`: `{id}` holds an answer", query.id));
                }
            }
        }
        Ok((ranked.ranking.len(), unjudged, answering, example))
    };
    let looked: Vec<Seen> = judged.par_iter().zip(&ranked).map(look).collect::<Result<_>>()?;
    let of: usize = looked.iter().map(|seen| seen.0).sum();
    let count: usize = looked.iter().map(|seen| seen.1).sum();
    let answering: usize = looked.iter().map(|seen| seen.2).sum();
    let known = judged.iter().any(|query| !query.answers.is_empty());
    let detail = known.then(|| format!("{answering} hold an answer"));
    let examples = looked.into_iter().filter_map(|seen| seen.3).take(EXAMPLES).collect();
    Ok(Finding { check, count, of, detail, examples })
}

fn holds(searcher: &Searcher, answers: &Answers, ordinal: Ordinal) -> Result<bool> {
    let passage = searcher.index().sparse().passage(ordinal)?;
    Ok(answers.held_by(&Tokens::of(&passage.text), Matching::Korean))
}

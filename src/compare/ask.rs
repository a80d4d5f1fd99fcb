//! One run a system: the index asked every judged question, or another tool's file as it is.

use super::System;
use crate::collection::run::{Ranking, Run};
use crate::collection::{PassageId, Query, QueryId};
use crate::error::Result;
use crate::progress::Progress;
use crate::search::{SearchRequest, Searcher};

/// What an index system is asked: `k` passages.
pub(super) fn request(request: &SearchRequest, options: &super::CompareOptions, k: usize) -> SearchRequest {
    SearchRequest { k, depth: options.depth.max(k), how: options.how, ..request.clone() }
}

/// A system's rankings of all queries, `k` long at most where the index is asked; without the queries' own ids where
/// these are dropped.
pub(super) fn run_of(
    searcher: &Searcher,
    queries: &[&Query],
    system: &System,
    options: &super::CompareOptions,
    k: usize,
    progress: &dyn Progress,
) -> Result<Run> {
    let (mut run, asked) = match system {
        System::File { run, .. } => (run.clone(), None),
        System::Index { name, request: asked, .. } => {
            (run_index(searcher, queries, name, &request(asked, options, k), progress)?, Some(asked))
        }
    };
    if !options.drop_query_id {
        return Ok(run);
    }
    let own: Vec<&Query> = queries.iter().filter(|query| finds_itself(&run, query)).copied().collect();
    if let Some(asked) = asked.filter(|_| !own.is_empty()) {
        // One more in its place; only here, for a deeper search may join both sides otherwise.
        let deeper = run_index(searcher, &own, &run.name, &request(asked, options, k + 1), progress)?;
        for (query, ranking) in deeper.iter() {
            run.insert(query.clone(), ranking.clone());
        }
    }
    for query in own {
        if let Some(others) = run.get(&query.id).map(|ranking| without_own(&query.id, ranking)) {
            run.insert(query.id.clone(), others.truncated(if asked.is_some() { k } else { usize::MAX }));
        }
    }
    Ok(run)
}

fn finds_itself(run: &Run, query: &Query) -> bool {
    run.get(&query.id).is_some_and(|ranking| ranking.iter().any(|(passage, _)| passage.as_str() == query.id.as_str()))
}

/// BEIR's rule for queries that are passages of the collection themselves: none finds itself.
fn without_own(query: &QueryId, ranking: &Ranking<PassageId>) -> Ranking<PassageId> {
    let others = ranking.iter().filter(|(passage, _)| passage.as_str() != query.as_str());
    Ranking::new(others.map(|(passage, score)| (passage.clone(), score)).collect())
}

fn run_index(
    searcher: &Searcher,
    queries: &[&Query],
    name: &str,
    request: &SearchRequest,
    progress: &dyn Progress,
) -> Result<Run> {
    let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
    let ranked = searcher.rank_all(&texts, request, progress)?;
    let sparse = searcher.index().sparse();
    let mut run = Run::new(name);
    for (query, ranked) in queries.iter().zip(ranked) {
        let named = ranked.ranking.iter().map(|(ordinal, score)| Ok((sparse.judged_id(*ordinal)?, score)));
        run.insert(query.id.clone(), Ranking::new(named.collect::<Result<_>>()?));
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_never_finds_itself() {
        let ranking = |ids: &[&str]| {
            let scored = ids.iter().enumerate().map(|(i, id)| (PassageId::from(*id), -(i as f64)));
            Ranking::new(scored.collect())
        };
        assert_eq!(without_own(&"b".into(), &ranking(&["a", "b", "c"])), {
            Ranking::new(vec![("a".into(), 0.0), ("c".into(), -2.0)])
        });
        assert_eq!(without_own(&"x".into(), &ranking(&["a", "b"])), ranking(&["a", "b"]));
    }
}

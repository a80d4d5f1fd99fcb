//! What the neighbour graph loses against exact search: `ann_recall@10`, never mixed with recall.

use crate::collection::Query;
use crate::dense::SearchHow;
use crate::error::Result;
use crate::progress::Progress;
use crate::search::{Mode, Ranked, SearchRequest, Searcher};

/// Share of the exact nearest `k` that the graph finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnRecall {
    /// Cut-off.
    pub k: usize,
    /// Mean share over the queries.
    pub mean: f64,
    /// Queries measured.
    pub queries: usize,
    /// Whether searches used the graph (large indexes) or exact search (small ones).
    pub graph_in_use: bool,
}

/// Queries on which the graph is compared with exact search, at most.
const SAMPLE: usize = 1_000;

pub(super) fn ann_recall(searcher: &Searcher, queries: &[&Query], progress: &dyn Progress) -> Result<AnnRecall> {
    const K: usize = 10;
    let queries = &queries[..queries.len().min(SAMPLE)];
    let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
    let request = |how| SearchRequest { k: K, depth: K, mode: Mode::Dense, how, ..SearchRequest::default() };
    let found = searcher.rank_all(&texts, &request(SearchHow::Graph { ef: searcher.graph_ef() }), progress)?;
    let exact = searcher.rank_all(&texts, &request(SearchHow::Exact), progress)?;
    let share = |(found, exact): (&Ranked, &Ranked)| {
        if exact.dense.is_empty() {
            return 1.0;
        }
        exact.dense.keys().filter(|ordinal| found.dense.contains_key(ordinal)).count() as f64 / exact.dense.len() as f64
    };
    let mean = found.iter().zip(&exact).map(share).sum::<f64>() / queries.len() as f64;
    let graph_in_use = searcher.index().dense().is_some_and(|dense| dense.walks_graph(K));
    Ok(AnnRecall { k: K, mean, queries: queries.len(), graph_in_use })
}

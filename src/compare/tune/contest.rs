//! A judged query as fusion sees it: its candidates scored on both sides, with their grades.

use super::super::system::LEAST_DEPTH;
use crate::collection::{Ordinal, PassageId, Query, QueryId, QuerySet};
use crate::dense::SearchHow;
use crate::error::{Error, Result};
use crate::eval::Measure;
use crate::fusion::normalize::Side;
use crate::fusion::predict::{self, COUNT};
use crate::fusion::{Candidate, Fusion, fuse};
use crate::progress::Progress;
use crate::search::{Mode, SearchRequest, Searcher};
use std::collections::HashMap;

/// A judged query with what both sides offered.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    /// Queries of one group share gold passages, directly or through each other.
    pub group: usize,
    /// What a per-query weight is told from.
    pub features: [f64; COUNT],
    /// Candidates by ordinal, each scored on both sides.
    pub candidates: Vec<Candidate>,
    /// Which whole passage each of them is, or is a chunk of: numbers in the order of the passages' ids.
    pub documents: Vec<u32>,
    /// Their grades; `None` is unjudged.
    pub grades: Vec<Option<i32>>,
    /// Positive grades of all judged passages, highest first, those among them that no side offered.
    pub ideal: Vec<i32>,
}

impl Contest {
    /// The measure of the candidates joined by a fusion.
    pub fn value(&self, fusion: &Fusion, measure: Measure) -> f64 {
        let fusion = match fusion {
            Fusion::PerQuery(predictor) => fusion.with_weight(predictor.weight(&self.features)),
            other => *other,
        };
        let ranking = fuse(&self.candidates, &fusion);
        self.measure(ranking.iter().map(|(ordinal, score)| (*ordinal, score)), measure)
    }

    /// The measure of one side's own list.
    pub(super) fn value_of_list(&self, side: Side, measure: Measure) -> f64 {
        let place = |candidate: &Candidate| match side {
            Side::Sparse => Some((candidate.sparse_rank?, candidate.ordinal, candidate.sparse)),
            Side::Dense => Some((candidate.dense_rank?, candidate.ordinal, candidate.dense)),
        };
        let mut list: Vec<(usize, Ordinal, f64)> = self.candidates.iter().filter_map(place).collect();
        list.sort_unstable_by_key(|(rank, ..)| *rank);
        self.measure(list.into_iter().map(|(_, ordinal, score)| (ordinal, score)), measure)
    }

    /// As a comparison measures a run: the best chunk of each passage stands for it, equal scores go by id descending.
    fn measure(&self, order: impl Iterator<Item = (Ordinal, f64)>, measure: Measure) -> f64 {
        let cutoff = measure.cutoff().unwrap_or(usize::MAX);
        let mut seen = vec![false; self.documents.len()];
        let mut kept: Vec<(f64, u32, Option<i32>)> = Vec::new();
        for (ordinal, score) in order {
            // Nothing below the last one that counts can come before it.
            if kept.len() >= cutoff && kept.last().is_some_and(|last| score < last.0) {
                break;
            }
            let Ok(at) = self.candidates.binary_search_by_key(&ordinal, |candidate| candidate.ordinal) else {
                continue;
            };
            if !std::mem::replace(&mut seen[self.documents[at] as usize], true) {
                kept.push((score, self.documents[at], self.grades[at]));
            }
        }
        kept.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        measure.of_grades(kept.into_iter().map(|(.., grade)| grade).collect(), self.ideal.clone())
    }
}

/// Asks every judged query of a set and keeps what both sides offered, at least 100 passages each, as a
/// comparison does. Queries without a relevant passage are left out: no fusion can be right or wrong about them.
pub fn contests(
    searcher: &Searcher,
    set: &QuerySet,
    depth: usize,
    how: SearchHow,
    progress: &dyn Progress,
) -> Result<Vec<Contest>> {
    let judged = |query: &&Query| set.qrels.relevant(&query.id).next().is_some();
    let queries: Vec<&Query> = set.queries.iter().filter(judged).collect();
    if queries.is_empty() {
        return Err(Error::bad_input(
            "no query of the data set has a relevant passage, so there is nothing to tune on",
        ));
    }
    let groups = groups(set, &queries);
    let depth = depth.max(LEAST_DEPTH);
    let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
    // Complete scores do not depend on the fusion, so the cheapest one is asked for.
    let fusion = Some(Fusion::RRF);
    let request = SearchRequest { k: depth, depth, mode: Mode::Hybrid, how, fusion, ..SearchRequest::default() };
    let sparse = searcher.index().sparse();
    let mut contests = Vec::with_capacity(queries.len());
    for ((query, group), ranked) in queries.iter().zip(groups).zip(searcher.rank_all(&texts, &request, progress)?) {
        let candidates = ranked.candidates();
        let ids = candidates.iter().map(|candidate| sparse.judged_id(candidate.ordinal));
        let ids: Vec<PassageId> = ids.collect::<Result<_>>()?;
        let mut distinct: Vec<&PassageId> = ids.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let documents = ids.iter().map(|id| distinct.partition_point(|other| *other < id) as u32).collect();
        let mut ideal: Vec<i32> = set
            .qrels
            .get(&query.id)
            .into_iter()
            .flatten()
            .map(|(_, grade)| *grade)
            .filter(|grade| *grade > 0)
            .collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        contests.push(Contest {
            group,
            features: predict::features(&searcher.signals(&query.text)?, &candidates),
            documents,
            grades: ids.iter().map(|id| set.qrels.grade(&query.id, id)).collect(),
            candidates,
            ideal,
        });
    }
    Ok(contests)
}

/// A group for each query: the same one where two share a relevant passage, or share one with a third.
fn groups(set: &QuerySet, queries: &[&Query]) -> Vec<usize> {
    let mut leader: Vec<usize> = (0..queries.len()).collect();
    fn find(leader: &mut [usize], mut q: usize) -> usize {
        while leader[q] != q {
            leader[q] = leader[leader[q]];
            q = leader[q];
        }
        q
    }
    let mut first: HashMap<&PassageId, usize> = HashMap::new();
    let gold = |id: &QueryId| set.qrels.relevant(id).collect::<Vec<_>>();
    for (q, query) in queries.iter().enumerate() {
        for passage in gold(&query.id) {
            let other = *first.entry(passage).or_insert(q);
            let (a, b) = (find(&mut leader, q), find(&mut leader, other));
            leader[a.max(b)] = a.min(b);
        }
    }
    (0..queries.len()).map(|q| find(&mut leader, q)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::qrels::Qrels;

    #[test]
    fn queries_are_one_group_where_gold_passages_link_them() {
        let mut qrels = Qrels::new();
        for (query, passage, grade) in
            [("a", "p", 1), ("b", "q", 1), ("c", "p", 2), ("c", "q", 1), ("d", "r", 1), ("e", "p", 0), ("e", "s", 1)]
        {
            qrels.insert(query.into(), passage.into(), grade);
        }
        let queries: Vec<Query> = ["a", "b", "c", "d", "e"].map(|id| Query::new(id, "?")).to_vec();
        let set = QuerySet { queries, qrels };
        let all: Vec<&Query> = set.queries.iter().collect();
        // c links a's p and b's q; e's p is judged not relevant.
        assert_eq!(groups(&set, &all), [0, 0, 0, 3, 4]);
    }

    #[test]
    fn the_first_chunk_stands_for_its_passage() {
        let candidate = |ordinal, sparse| Candidate {
            ordinal: Ordinal(ordinal),
            sparse,
            dense: 0.0,
            sparse_rank: Some(ordinal as usize + 1),
            dense_rank: None,
        };
        let contest = Contest {
            group: 0,
            features: [0.0; COUNT],
            candidates: vec![candidate(0, 9.0), candidate(1, 8.0), candidate(2, 7.0)],
            documents: vec![0, 0, 1],
            grades: vec![None, None, Some(1)],
            ideal: vec![1],
        };
        let measure = Measure::ReciprocalRank(Some(10));
        let sparse = Fusion::Convex { weight: 0.0, normalizer: crate::fusion::Normalizer::MinMax };
        assert_eq!(contest.value(&sparse, measure), 0.5);
        assert_eq!(contest.value_of_list(Side::Sparse, measure), 0.5);
        assert_eq!(contest.value_of_list(Side::Dense, measure), 0.0);
        assert_eq!(contest.value(&sparse, Measure::Success(1)), 0.0);
        // Equal scores go by id descending, as in run files, also beyond the cut-off.
        let mut equal = contest;
        equal.candidates.iter_mut().for_each(|candidate| candidate.sparse = 9.0);
        assert_eq!(equal.value_of_list(Side::Sparse, Measure::Success(1)), 1.0);
    }
}

//! Graded judgments: which passage is relevant to which query, and how much.
//!
//! A missing pair is *unjudged*; grade 0 (or below) is *judged, not relevant*. The two are never mixed up.
//! [`read::qrels`](super::read) reads BEIR's and TREC's files into this.

use super::{PassageId, QueryId};
use std::collections::BTreeMap;

/// Query → passage → grade. Iteration follows the ids' byte order, so results do not depend on file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qrels(BTreeMap<QueryId, BTreeMap<PassageId, i32>>);

impl Qrels {
    /// No judgments.
    pub fn new() -> Self {
        Qrels::default()
    }

    /// Records a grade; gives back the grade that stood there before.
    pub fn insert(&mut self, query: QueryId, passage: PassageId, grade: i32) -> Option<i32> {
        self.0.entry(query).or_default().insert(passage, grade)
    }

    /// The judgments of one query; `None` for a query nobody judged.
    pub fn get(&self, query: &QueryId) -> Option<&BTreeMap<PassageId, i32>> {
        self.0.get(query)
    }

    /// The grade of one pair; `None` is unjudged.
    pub fn grade(&self, query: &QueryId, passage: &PassageId) -> Option<i32> {
        self.0.get(query)?.get(passage).copied()
    }

    /// Passages with a grade of at least 1 for a query.
    pub fn relevant<'a>(&'a self, query: &QueryId) -> impl Iterator<Item = &'a PassageId> {
        self.0.get(query).into_iter().flatten().filter(|(_, grade)| **grade > 0).map(|(passage, _)| passage)
    }

    /// Judged queries with their judgments, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&QueryId, &BTreeMap<PassageId, i32>)> {
        self.0.iter()
    }

    /// Number of judged queries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is judged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of judged pairs.
    pub fn pairs(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

//! A second encoder's opinion of the survivors: likely false negatives are dropped, or taken as positives.
//!
//! Query and passages are encoded apart and compared by inner product, `s = q · p`. The lowest positive's own `s⁺` is
//! the yardstick: a survivor is *ambiguous* from `s⁺ + |s⁺| (drop − 1)` on and a *positive* from
//! `s⁺ + |s⁺| (positive − 1)` on. Both rise with `s⁺` whatever its sign.
//!
//! Cost: one encoding a passage met, kept for the queries that follow.
//! Source: Y. Qu et al., "RocketQA", 2021 (denoised negatives); G. Moreira et al., "NV-Retriever", 2024.

use super::filter::Filter;
use super::options::Rescore;
use super::question::Asked;
use crate::collection::Ordinal;
use crate::encoder::contract::Role;
use crate::error::Result;
use crate::kernel::dot::dot;
use crate::sparse::SparseIndex;
use std::collections::HashMap;

/// Rows kept between blocks of queries.
const KEPT: usize = 1 << 15;

/// The second encoder with the rows it gave.
pub(super) struct Teacher<'a> {
    rescore: &'a Rescore,
    sparse: &'a SparseIndex,
    rows: HashMap<Ordinal, Vec<f32>>,
}

/// What the second encoder says of one query.
#[derive(Clone, Debug)]
pub(super) struct Yardstick {
    row: Vec<f32>,
    /// The lowest positive's score.
    pub(super) positive: f64,
}

impl<'a> Teacher<'a> {
    pub(super) fn new(rescore: &'a Rescore, sparse: &'a SparseIndex) -> Self {
        Teacher { rescore, sparse, rows: HashMap::new() }
    }

    /// Encodes the queries and their positives.
    pub(super) fn yardsticks(&self, asked: &[Asked]) -> Result<Vec<Yardstick>> {
        let questions: Vec<&str> = asked.iter().map(|asked| asked.query.text.as_str()).collect();
        let texts: Vec<String> = asked.iter().flat_map(|asked| &asked.positives).map(|p| p.full_text()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (questions, positives) = (self.encode(&questions, Role::Query)?, self.encode(&texts, Role::Passage)?);
        let mut positives = positives.into_iter();
        let yardstick = |(asked, row): (&Asked, Vec<f32>)| {
            let scores = positives.by_ref().take(asked.positives.len()).map(|positive| f64::from(dot(&row, &positive)));
            let positive = scores.fold(f64::INFINITY, f64::min);
            Yardstick { row, positive }
        };
        Ok(asked.iter().zip(questions).map(yardstick).collect())
    }

    fn encode(&self, texts: &[&str], role: Role) -> Result<Vec<Vec<f32>>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rescore.encoder.encode(texts, role)?;
        Ok((0..rows.len()).map(|i| rows.row(i).to_vec()).collect())
    }

    /// Makes sure of some passages' rows.
    pub(super) fn load(&mut self, mut wanted: Vec<Ordinal>) -> Result<()> {
        wanted.sort_unstable();
        wanted.dedup();
        if self.rows.len() > KEPT {
            self.rows.clear();
        }
        wanted.retain(|ordinal| !self.rows.contains_key(ordinal));
        for some in wanted.chunks(512) {
            let texts: Vec<String> =
                some.iter().map(|o| Ok(self.sparse.passage(*o)?.full_text())).collect::<Result<_>>()?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let rows = self.encode(&texts, Role::Passage)?;
            self.rows.extend(some.iter().copied().zip(rows));
        }
        Ok(())
    }

    /// The pair's score; encodes the passage where it was not loaded.
    pub(super) fn score(&self, yardstick: &Yardstick, ordinal: Ordinal) -> Result<f64> {
        if let Some(row) = self.rows.get(&ordinal) {
            return Ok(f64::from(dot(&yardstick.row, row)));
        }
        let text = self.sparse.passage(ordinal)?.full_text();
        let rows = self.encode(&[&text], Role::Passage)?;
        Ok(rows.first().map_or(0.0, |row| f64::from(dot(&yardstick.row, row))))
    }

    /// What a score means.
    pub(super) fn judge(&self, yardstick: &Yardstick, score: f64) -> Option<Filter> {
        let at = |share: f64| yardstick.positive + yardstick.positive.abs() * (share - 1.0);
        match self.rescore.positive {
            Some(share) if score >= at(share) => Some(Filter::Relabelled),
            _ if score >= at(self.rescore.drop) => Some(Filter::Ambiguous),
            _ => None,
        }
    }
}

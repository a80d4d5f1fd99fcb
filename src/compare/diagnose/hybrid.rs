//! Hybrid misses: a cut that is too shallow, a fusion that loses what one side has, and what the sides themselves lose.

use super::dense::{dense_side, graph_reason, walks_graph};
use super::lab::{Case, Lab, at};
use super::model::{Cause, DEEP, Reason};
use super::sparse::{Found, ROOM, without_length};
use crate::compare::phrase::grouped;
use crate::dense::SearchHow;
use crate::error::Result;
use crate::search::{Mode, SearchRequest};

/// How much deeper the cut is taken to see whether it was too shallow.
const DEEPER: usize = 10;

/// Examines cases that a hybrid system missed.
pub(super) fn examine(lab: &Lab<'_>, request: &SearchRequest, cases: &[&Case<'_>]) -> Result<Vec<Found>> {
    let passages = lab.sparse().len();
    let none = || vec![None; cases.len()];
    let ranks = lab.ranks(cases, &SearchRequest { k: 2 * request.depth, ..request.clone() })?;
    let alone = |mode| lab.ranks(cases, &SearchRequest { k: DEEP, mode, ..request.clone() });
    let (sparse, dense) = (alone(Mode::Sparse)?, alone(Mode::Dense)?);
    let asked = SearchRequest { k: lab.k + ROOM, ..request.clone() };
    let depth = (request.depth * DEEPER).max(DEEP).min(passages);
    let deeper = match depth > request.depth {
        true => lab.ranks(cases, &SearchRequest { depth, ..asked.clone() })?,
        false => none(),
    };
    let exact = match walks_graph(request, dense_side(lab)?) {
        true => lab.ranks(cases, &SearchRequest { how: SearchHow::Exact, ..asked.clone() })?,
        false => none(),
    };
    let flat = match without_length(&request.weighting) {
        Some(weighting) => lab.ranks(cases, &SearchRequest { weighting, ..asked.clone() })?,
        None => none(),
    };
    let one = |i: usize| {
        let mut reasons = Vec::new();
        let sides =
            format!("gold {} of the sparse side and {} of the dense one", at(sparse[i], DEEP), at(dense[i], DEEP));
        if lab.hits(exact[i]) {
            reasons.push(graph_reason(exact[i], lab.k));
        }
        if lab.hits(deeper[i]) {
            let evidence = format!("{} with {} candidates a side; {sides}", at(deeper[i], lab.k), grouped(depth));
            reasons.push(Reason { cause: Cause::Depth, evidence });
        }
        if lab.hits(sparse[i]) || lab.hits(dense[i]) {
            reasons.push(Reason { cause: Cause::Fusion, evidence: sides.clone() });
        }
        if lab.hits(flat[i]) {
            let evidence = format!("{} with b = 0 on the sparse side; {sides}", at(flat[i], lab.k));
            reasons.push(Reason { cause: Cause::Length, evidence });
        }
        if reasons.is_empty() {
            reasons.push(Reason { cause: Cause::Unexplained, evidence: sides });
        }
        Found { rank: ranks[i], reasons }
    };
    Ok((0..cases.len()).map(one).collect())
}

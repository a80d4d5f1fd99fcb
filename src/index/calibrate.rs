//! The default fusion, found without a single judged query (or with some, where there are).
//!
//! The collection asks itself (`questions`): titles for their passage's text, sentences for the rest of the passage they
//! were taken from, and, three times as many, excerpts as short and as literal as real questions. For each such *pseudo-query* the passage as it is left competes
//! with the best passages of both sides, each scored exactly on both; `choose` finds the weight, and how it should change
//! with the query.
//!
//! Judged questions, where enough are handed in, take the pseudo-queries' place: their gold passages compete as they
//! stand. They are the better evidence.
//!
//! Measured with judged questions afterwards (they play no part in the choice), titles alone overrate the sparse side and
//! whole sentences the dense one, most of all for trained encoders: they share far fewer words with what they should find than
//! questions do; and an encoder answers the pseudo-queries it was trained on far too well, so a part of every collection is
//! kept out of training ([`pseudo::held_out`](crate::collection::pseudo::held_out)). The mixture, the half standard error
//! and the penalty of the weight per query were chosen by that comparison, on SciFact, SQuAD dev and KorQuAD dev, alone and
//! among 60,009 passages of Korean Wikipedia, with built-in encoders and all-MiniLM-L6-v2. No table of model names is
//! involved.
//!
//! Cost: two encoder calls and two searches a pseudo-query, one for every other passage, from 1,200 to 5,000 of them.

mod choose;
mod questions;

use super::manifest::FusionRecord;
use super::signals::signals;
use crate::collection::{Ordinal, QuerySet};
use crate::dense::{DenseIndex, SearchHow};
use crate::encoder::contract::{Embeddings, Encoder, Role};
use crate::error::{Error, Result};
use crate::fusion::{Candidate, Fusion, Normalizer, predict};
use crate::kernel;
use crate::progress::{Progress, Stage};
use crate::sparse::{SparseIndex, Weighting};
use choose::{Contest, ENOUGH, choose};
use questions::{Question, draw, look_up};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// Best passages of each side that compete with the right one.
const DEPTH: usize = 100;

/// The normaliser of default fusions.
pub const NORMALIZER: Normalizer = Normalizer::MinMax;

/// Both towers.
pub struct Encoders<'a> {
    /// Encodes passages.
    pub passage: &'a dyn Encoder,
    /// Encodes questions.
    pub question: &'a dyn Encoder,
}

/// The record of an index without a dense side: sparse scores decide alone.
pub fn without_dense() -> FusionRecord {
    FusionRecord {
        fusion: Fusion::Convex { weight: 0.0, normalizer: NORMALIZER },
        found_by: "there is no dense side".into(),
        queries: 0,
        reciprocal_ranks: None,
        gain_interval: None,
        weight_interval: None,
    }
}

/// Finds the dense weight of the default fusion, with the evidence for it.
///
/// `judged` questions take the place of pseudo-queries; those whose gold passage is not in the index are left out, and
/// where fewer than 20 are left, pseudo-queries are asked after all. Fails when there are judged questions and none of them
/// has a gold passage here: they belong to another collection.
pub fn weight(
    sparse: &SparseIndex,
    dense: &DenseIndex,
    encoders: &Encoders<'_>,
    judged: Option<&QuerySet>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<FusionRecord> {
    let judged = judged.map(|set| look_up(sparse, set, seed)).transpose()?;
    if judged.as_ref().is_some_and(Vec::is_empty) {
        let why = "no judged question has a gold passage in this collection, so none can choose the fusion weight";
        return Err(Error::usage(why).hint("hand in questions about these passages (`--judged`), or none"));
    }
    let (questions, what) = match judged {
        Some(judged) if judged.len() >= ENOUGH => (judged, "judged questions".to_string()),
        None => (draw(sparse, seed)?, "pseudo-queries".to_string()),
        Some(few) => (draw(sparse, seed)?, format!("pseudo-queries ({} judged questions are too few)", few.len())),
    };
    progress.begin(Stage::Calibrating, Some(questions.len() as u64));
    let contests = contests(sparse, dense, encoders, &questions, progress)?;
    progress.finish(Stage::Calibrating);
    Ok(choose(&contests, &what, seed))
}

fn contests(
    sparse: &SparseIndex,
    dense: &DenseIndex,
    encoders: &Encoders<'_>,
    questions: &[Question],
    progress: &dyn Progress,
) -> Result<Vec<Contest>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<&str> = questions.iter().map(Question::text).collect();
    let asked: Embeddings = encoders.question.encode(&texts, Role::Query)?;
    let rests: Vec<&str> = questions
        .iter()
        .filter_map(|question| match question {
            Question::Pseudo { asked, .. } => Some(asked.rest.as_str()),
            Question::Judged { .. } => None,
        })
        .collect();
    // Questions are of one kind: either each has a row here, or none has.
    let rests: Embeddings = encoders.passage.encode(&rests, Role::Passage)?;
    let numbered: Vec<usize> = (0..questions.len()).collect();
    numbered
        .par_iter()
        .map(|i| {
            progress.checkpoint()?;
            let (question, row) = (&questions[*i], asked.row(*i));
            let weighting = Weighting::default();
            let scored = |ordinals: &[Ordinal]| -> Result<Vec<Candidate>> {
                let on_sparse = sparse.score(question.text(), &weighting, ordinals)?;
                let on_dense = dense.score(row, ordinals)?;
                let sides = on_sparse.into_iter().zip(on_dense);
                let candidate = |(ordinal, (sparse, dense)): (&Ordinal, (f32, f32))| {
                    candidate(*ordinal, f64::from(sparse), f64::from(dense))
                };
                Ok(ordinals.iter().zip(sides).map(candidate).collect())
            };
            let (mut candidates, out) = match question {
                Question::Pseudo { ordinal, asked, siblings } => {
                    let on_sparse = sparse.bm25_of_text(&asked.query, &asked.rest)?;
                    let on_dense = kernel::dot::dot(row, rests.row(*i));
                    let (sparse, dense) = (f64::from(on_sparse), f64::from(on_dense));
                    (vec![candidate(*ordinal, sparse, dense)], siblings)
                }
                Question::Judged { gold, .. } => (scored(gold)?, gold),
            };
            let found_sparse = sparse.search(question.text(), &weighting, DEPTH)?;
            let found_dense = dense.search(row, DEPTH, SearchHow::Auto)?;
            let mut rivals: Vec<Ordinal> =
                found_sparse.iter().chain(found_dense.iter()).map(|(ordinal, _)| *ordinal).collect();
            rivals.sort_unstable();
            rivals.dedup();
            rivals.retain(|rival| !out.contains(rival));
            let right = candidates.len();
            candidates.extend(scored(&rivals)?);
            rank(&mut candidates);
            let signals = signals(sparse, Some(encoders.question), question.text())?;
            let features = predict::features(&signals, &candidates);
            progress.advance(Stage::Calibrating, 1);
            Ok(Contest { group: question.group(), right, candidates, features })
        })
        .collect()
}

/// A candidate of complete scoring, before it has ranks.
fn candidate(ordinal: Ordinal, sparse: f64, dense: f64) -> Candidate {
    Candidate { ordinal, sparse, dense, sparse_rank: None, dense_rank: None }
}

/// Gives each side's best candidates the ranks they would have in its own list.
fn rank(candidates: &mut [Candidate]) {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let by = |a: &Candidate, b: &Candidate, score: fn(&Candidate) -> f64| {
        score(b).total_cmp(&score(a)).then(a.ordinal.cmp(&b.ordinal))
    };
    order.sort_unstable_by(|a, b| by(&candidates[*a], &candidates[*b], |candidate| candidate.sparse));
    for (place, i) in order.iter().take(DEPTH).enumerate() {
        // A passage without any of the question's terms is not in the sparse list.
        candidates[*i].sparse_rank = (candidates[*i].sparse > 0.0).then_some(place + 1);
    }
    order.sort_unstable_by(|a, b| by(&candidates[*a], &candidates[*b], |candidate| candidate.dense));
    for (place, i) in order.iter().take(DEPTH).enumerate() {
        candidates[*i].dense_rank = Some(place + 1);
    }
}

//! Dense misses: the neighbour graph, passages that were cut before they were read, and words the encoder does not know.
//!
//! **Truncation.** A passage of more tokens than the encoder reads is read in windows of that many, a quarter shared with
//! the window before, each with the title; its score is the best window's. All windows are of one size, so that none wins
//! by being short. The passages it has to pass get their windows too, those that were cut among the first [`RIVALS`]: a
//! passage read in whole is not to be measured against beginnings.

use super::lab::{Case, Lab, at, unexplained};
use super::model::{Cause, DEEP, Reason};
use super::sparse::Found;
use crate::collection::run::Ranking;
use crate::collection::{Ordinal, Passage};
use crate::compare::phrase::grouped;
use crate::dense::{DenseIndex, SearchHow};
use crate::encoder::contract::{Embeddings, Encoder, Role};
use crate::error::{Error, Result};
use crate::kernel::dot::dot;
use crate::search::SearchRequest;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Passages of a ranking that are read in whole as well.
const RIVALS: usize = 100;

/// Whether a request walks the neighbour graph.
pub(super) fn walks_graph(request: &SearchRequest, dense: &DenseIndex) -> bool {
    match request.how {
        SearchHow::Exact => false,
        SearchHow::Graph { .. } => true,
        SearchHow::Auto => dense.walks_graph(request.depth.max(request.k)),
    }
}

/// The evidence that exact search finds what the graph does not.
pub(super) fn graph_reason(exact: Option<usize>, k: usize) -> Reason {
    let evidence = format!("{} by exact search, which the walk along the graph did not come by", at(exact, k));
    Reason { cause: Cause::Graph, evidence }
}

/// Examines cases that a dense system missed.
pub(super) fn examine(
    lab: &Lab<'_>,
    request: &SearchRequest,
    cases: &[&Case<'_>],
    reader: &mut Reader,
) -> Result<Vec<Found>> {
    let exact = SearchRequest { k: DEEP, how: SearchHow::Exact, ..request.clone() };
    let deep = lab.ranks(cases, &exact)?;
    let index = dense_side(lab)?;
    let on_graph = walks_graph(request, index);
    let questions: Vec<&str> = cases.iter().map(|case| case.question.as_ref()).collect();
    let rows = question_encoder(lab)?.encode(&questions, Role::Query)?;
    let read = reader.undo(lab, cases, &rows)?;
    let one = |(i, case): (usize, &&Case<'_>)| {
        let mut reasons = Vec::new();
        let is_zero = |row: &[f32]| row.iter().all(|value| *value == 0.0);
        if is_zero(rows.row(i)) {
            let evidence = "the encoder knows no word of the question".to_string();
            reasons.push(Reason { cause: Cause::NothingKnown, evidence });
        } else if case.places.iter().all(|place| is_zero(&index.rows().row(place.index()))) {
            let evidence = "the encoder knows no word of the passage".to_string();
            reasons.push(Reason { cause: Cause::NothingKnown, evidence });
        }
        if on_graph && lab.hits(deep[i]) {
            reasons.push(graph_reason(deep[i], lab.k));
        }
        reasons.extend(read[i].clone().map(|evidence| Reason { cause: Cause::Truncation, evidence }));
        if reasons.is_empty() {
            reasons.push(unexplained(deep[i], DEEP));
        }
        Found { rank: deep[i], reasons }
    };
    Ok(cases.iter().enumerate().map(one).collect())
}

fn question_encoder<'l>(lab: &'l Lab<'_>) -> Result<&'l dyn Encoder> {
    lab.searcher.question_encoder().ok_or_else(|| Error::bug("a dense system was asked without an encoder"))
}

pub(super) fn dense_side<'l>(lab: &'l Lab<'_>) -> Result<&'l DenseIndex> {
    lab.searcher.index().dense().ok_or_else(|| Error::bug("a dense system was asked of a sparse index"))
}

/// A passage's tokens, and one row a window of it.
struct Whole {
    tokens: usize,
    rows: Embeddings,
}

/// Reads passages in whole that the encoder had cut.
pub(super) struct Reader {
    /// The passages' encoder, where the questions have another one.
    own: Option<Box<dyn Encoder>>,
    /// Tokens of a passage that the encoder reads; `None` where it reads all.
    room: Option<usize>,
    /// `None` for passages that were not cut.
    read: HashMap<Ordinal, Option<Whole>>,
}

impl Reader {
    /// Opens the encoder that made the index's rows, where it is not at hand; nothing is read yet.
    pub(super) fn open(lab: &Lab<'_>) -> Result<Self> {
        let index = lab.searcher.index();
        let another = index.manifest().dense.as_ref().is_some_and(|dense| dense.question_encoder.is_some());
        let own = if another { Some(index.open_passage_encoder()?) } else { None };
        let mut reader = Reader { own, room: None, read: HashMap::new() };
        let encoder = reader.encoder(lab)?;
        let card = encoder.card();
        // Transformers put one token before a text and one behind it.
        let around = if card.family == "static" { 0 } else { 2 };
        let prompt = encoder.token_spans(card.prompt(Role::Passage)).len();
        reader.room = card.max_tokens.map(|most| most.saturating_sub(around + prompt).max(1));
        Ok(reader)
    }

    fn encoder<'e>(&'e self, lab: &'e Lab<'_>) -> Result<&'e dyn Encoder> {
        match &self.own {
            Some(own) => Ok(own.as_ref()),
            None => question_encoder(lab),
        }
    }

    /// Reads some passages in whole, those that were cut.
    fn read(&mut self, lab: &Lab<'_>, passages: impl IntoIterator<Item = Ordinal>) -> Result<()> {
        let Some(room) = self.room else { return Ok(()) };
        let wanted: BTreeSet<Ordinal> = passages.into_iter().filter(|o| !self.read.contains_key(o)).collect();
        let encoder = self.encoder(lab)?;
        let cut = |ordinal: &Ordinal| -> Result<(Ordinal, usize, Vec<String>)> {
            let (tokens, windows) = windows(&lab.sparse().passage(*ordinal)?, room, encoder);
            Ok((*ordinal, tokens, windows))
        };
        let wanted: Vec<Ordinal> = wanted.into_iter().collect();
        let cut: Vec<(Ordinal, usize, Vec<String>)> = wanted.par_iter().map(cut).collect::<Result<_>>()?;
        for block in cut.chunks(64) {
            lab.progress.checkpoint()?;
            let texts: Vec<&str> = block.iter().flat_map(|(_, _, windows)| windows).map(String::as_str).collect();
            let rows = self.encoder(lab)?.encode(&texts, Role::Passage)?;
            let d = rows.dimension();
            let mut from = 0;
            for (ordinal, tokens, windows) in block {
                let own = rows.values()[from * d..(from + windows.len()) * d].to_vec();
                from += windows.len();
                let whole = || Whole { tokens: *tokens, rows: Embeddings::new(d, own) };
                self.read.insert(*ordinal, (!windows.is_empty()).then(whole));
            }
        }
        Ok(())
    }

    /// The best window's score, and its number from 1; `None` for a passage that was not cut.
    fn best(&self, ordinal: Ordinal, question: &[f32]) -> Option<(f32, usize, &Whole)> {
        let whole = self.read.get(&ordinal)?.as_ref()?;
        let scores = (0..whole.rows.len()).map(|i| (dot(question, whole.rows.row(i)), i + 1, whole));
        scores.fold(None, |best, next| if best.is_none_or(|(score, _, _)| next.0 > score) { Some(next) } else { best })
    }

    /// What shows that a gold passage read in whole is found, for each case where it is.
    fn undo(&mut self, lab: &Lab<'_>, cases: &[&Case<'_>], questions: &Embeddings) -> Result<Vec<Option<String>>> {
        let mut found = vec![None; cases.len()];
        if self.room.is_none() {
            return Ok(found);
        }
        let index = dense_side(lab)?;
        self.read(lab, cases.iter().flat_map(|case| case.places.iter().copied()))?;
        // First against the others as they are: whoever does not pass now will not pass when they gain.
        let mut hopeful: Vec<(usize, Ranking<Ordinal>)> = Vec::new();
        for (i, case) in cases.iter().enumerate() {
            if self.gold(case, questions.row(i)).is_some() {
                let ranking = index.search(questions.row(i), lab.k + RIVALS, SearchHow::Exact)?;
                if self.rank(lab, case, &ranking, questions.row(i))? <= lab.k {
                    hopeful.push((i, ranking));
                }
            }
        }
        let rivals: Vec<Ordinal> =
            hopeful.iter().flat_map(|(_, ranking)| ranking.iter().take(RIVALS).map(|(ordinal, _)| *ordinal)).collect();
        self.read(lab, rivals)?;
        for (i, ranking) in hopeful {
            let question = questions.row(i);
            let rank = self.rank(lab, cases[i], &ranking, question)?;
            if let Some((place, (score, number, whole))) = self.gold(cases[i], question)
                && rank <= lab.k
            {
                let cut = index.score(question, &[place])?.first().copied().unwrap_or_default();
                found[i] = Some(format!(
                    "at {rank} when read in whole: of its {} tokens the encoder reads {}; window {number} of {} scores \
                     {score:.3}, the cut passage {cut:.3}",
                    grouped(whole.tokens),
                    grouped(self.room.unwrap_or_default()),
                    whole.rows.len()
                ));
            }
        }
        Ok(found)
    }

    /// The gold passage with the best window.
    fn gold(&self, case: &Case<'_>, question: &[f32]) -> Option<(Ordinal, (f32, usize, &Whole))> {
        let best = case.places.iter().filter_map(|place| Some((*place, self.best(*place, question)?)));
        best.max_by(|a, b| a.1.0.total_cmp(&b.1.0))
    }

    /// The rank of the gold passage's best window among the others, each with its best window where it has been read.
    fn rank(&self, lab: &Lab<'_>, case: &Case<'_>, ranking: &Ranking<Ordinal>, question: &[f32]) -> Result<usize> {
        let Some((_, (gold, _, _))) = self.gold(case, question) else { return Ok(usize::MAX) };
        let mut above = HashSet::new();
        for (ordinal, score) in ranking.iter() {
            let score = self.best(*ordinal, question).map_or(score, |(best, _, _)| score.max(f64::from(best)));
            if score > f64::from(gold) {
                let id = lab.sparse().judged_id(*ordinal)?;
                if !case.is_gold(&id) {
                    above.insert(id);
                }
            }
        }
        Ok(above.len() + 1)
    }
}

/// A passage's number of tokens and, where these are more than `room`, its windows: all of one size, each with the title,
/// the last one ending with the text.
fn windows(passage: &Passage, room: usize, encoder: &dyn Encoder) -> (usize, Vec<String>) {
    let whole = passage.full_text();
    let tokens = encoder.token_spans(&whole).len();
    if tokens <= room {
        return (tokens, Vec::new());
    }
    let title = encoder.token_spans(&passage.title).len();
    // A title that leaves no room for text is read once and not repeated.
    let (title, text, size) = match title * 2 > room {
        true => ("", whole.as_str(), room),
        false => (passage.title.as_str(), passage.text.as_str(), room - title),
    };
    let spans = encoder.token_spans(text);
    let Some(last) = spans.len().checked_sub(size) else { return (tokens, vec![whole]) };
    let starts = (0..last).step_by((size - size / 4).max(1)).chain([last]);
    let window = |start: usize| {
        let text = &text[spans[start].0..spans[start + size - 1].1];
        if title.is_empty() { text.to_string() } else { format!("{title} {text}") }
    };
    (tokens, starts.map(window).collect())
}

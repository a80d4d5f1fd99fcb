//! Before any claim: what is wrong with the experiment?
//!
//! An index, a data set and perhaps the training set come in; an [`Audit`] goes out, one [`Finding`] a [`Check`]: how many,
//! of how many, the first of them, why it matters and what to do. Some are **faults**, which make figures wrong: gold
//! passages the index lacks, twins of gold that nobody judged, test questions that training has seen. Others have to be
//! **known** to read figures rightly: duplicates, unjudged passages in the first ranks, answers that training has seen.
//!
//! Twins are texts of the same words, case and punctuation aside, or nearly the same ones
//! ([`THRESHOLD`](crate::text::shingles::THRESHOLD) of their shingles); titles do not count. Where documents were cut,
//! chunks are compared.
//!
//! Cost: every passage read once and made a print (some 60 µs of a core), one search a question and side.
//! Sources: P. Lewis, P. Stenetorp and S. Riedel, *Question and Answer Test-Train Overlap in Open-Domain Question Answering
//! Datasets*, 2021 (questions and answers seen in training); C. Buckley and E. Voorhees, *Retrieval Evaluation with
//! Incomplete Information*, 2004 (what nobody judged).

mod model;
mod passages;
mod questions;
mod ranks;
#[cfg(test)]
mod tests;
mod wire;

pub use model::{Audit, Check, EXAMPLES, Finding};
pub use wire::{Origin, json};

use crate::collection::{PassageId, QuerySet};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::search::Searcher;
use std::collections::BTreeMap;

/// What a model was, or is to be, trained on.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// Its questions and their gold passages.
    pub set: QuerySet,
    /// The texts of gold passages that the index may not hold, by id.
    pub texts: BTreeMap<PassageId, String>,
}

impl Training {
    /// The gold passages whose texts are not in an index, so that they have to be read from their source.
    pub fn missing_texts(&self, searcher: &Searcher) -> Result<Vec<PassageId>> {
        let mut missing = Vec::new();
        for id in questions::gold(&self.set) {
            if searcher.index().sparse().places_of(id)?.is_empty() {
                missing.push(id.clone());
            }
        }
        Ok(missing)
    }
}

/// Looks for what is wrong with an experiment: an index, questions judged on it, and what was trained on.
pub fn audit(
    searcher: &Searcher,
    set: &QuerySet,
    training: Option<&Training>,
    progress: &dyn Progress,
) -> Result<Audit> {
    if set.queries.is_empty() {
        return Err(Error::bad_input("the data set has no question"));
    }
    let sparse = searcher.index().sparse();
    let mut findings = questions::alone(set);
    let gold = questions::gold(set);
    let places = passages::places(sparse, &gold)?;
    let prints = passages::prints(sparse, progress)?;
    findings.push(passages::missing(set, &places));
    findings.extend(passages::twins(sparse, set, &places, &prints)?);
    progress.checkpoint()?;
    findings.push(passages::answers(sparse, set, &places)?);
    if let Some(training) = training {
        findings.extend(questions::against(set, &training.set, sparse.analyzer()));
        findings.extend(passages::seen(sparse, &places, &prints, training)?);
        progress.checkpoint()?;
    }
    findings.extend(passages::duplicates(sparse, &prints)?);
    progress.checkpoint()?;
    findings.extend(ranks::unjudged(searcher, set, progress)?);
    findings.sort_by_key(|finding| finding.check);
    let training = training.map(|training| training.set.queries.len());
    Ok(Audit { passages: sparse.len(), questions: set.queries.len(), training, findings })
}

//! Sparse misses: length, the question's rarest words, its other forms, and words that are not shared at all.

use super::forms::Forms;
use super::lab::{Case, Lab, at, quoted, unexplained};
use super::model::{Cause, DEEP, Reason};
use crate::collection::{Ordinal, PassageId};
use crate::compare::phrase::{grouped, many};
use crate::error::Result;
use crate::search::SearchRequest;
use crate::sparse::Weighting;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// Asked for beyond `k`, so that equal scores at the bar are put in trec_eval's order.
pub(super) const ROOM: usize = 100;

/// The rank of a gold passage, and what brings it up.
pub(super) struct Found {
    pub(super) rank: Option<usize>,
    pub(super) reasons: Vec<Reason>,
}

/// BM25 without length normalisation; `None` for a weighting that has none.
pub(super) fn without_length(weighting: &Weighting) -> Option<Weighting> {
    match *weighting {
        Weighting::Bm25 { k1, b, title_weight } if b > 0.0 && k1 > 0.0 => {
            Some(Weighting::Bm25 { k1, b: 0.0, title_weight })
        }
        _ => None,
    }
}

/// Examines cases that a sparse system missed; `tops` are its first passages for each.
pub(super) fn examine(
    lab: &Lab<'_>,
    request: &SearchRequest,
    cases: &[&Case<'_>],
    tops: &[Vec<&PassageId>],
    forms: Option<&Forms>,
) -> Result<Vec<Found>> {
    let deep = lab.ranks(cases, &SearchRequest { k: DEEP, ..request.clone() })?;
    let flat = match without_length(&request.weighting) {
        Some(weighting) => lab.ranks(cases, &SearchRequest { k: lab.k + ROOM, weighting, ..request.clone() })?,
        None => vec![None; cases.len()],
    };
    let one = |(i, case): (usize, &&Case<'_>)| -> Result<Found> {
        let mut reasons = Vec::new();
        let scores = lab.sparse().score(&case.question, &request.weighting, &case.places)?;
        if scores.iter().all(|score| *score == 0.0) {
            reasons.push(Reason { cause: Cause::NoSharedTerm, evidence: no_shared_term(lab, case)? });
        }
        if lab.hits(flat[i]) {
            let best = scores.iter().zip(&case.places).fold((f32::MIN, Ordinal(0)), |best, (score, place)| {
                if *score > best.0 { (*score, *place) } else { best }
            });
            let length = lab.length(&lab.sparse().passage(best.1)?);
            let mean = lab.sparse().stats().average_length.round() as usize;
            let evidence = format!(
                "{} with b = 0; the passage has {}, the mean is {}",
                at(flat[i], lab.k),
                many(length, "term"),
                grouped(mean)
            );
            reasons.push(Reason { cause: Cause::Length, evidence });
        }
        let rare = rarest(lab, request, case)?;
        reasons.extend(rare.map(|evidence| Reason { cause: Cause::RareTerm, evidence }));
        if let Some(forms) = forms {
            let found = forms.undo(lab, &request.weighting, case, &tops[i])?;
            reasons.extend(found.map(|evidence| Reason { cause: Cause::Morphology, evidence }));
        }
        if reasons.is_empty() {
            reasons.push(unexplained(deep[i], DEEP));
        }
        Ok(Found { rank: deep[i], reasons })
    };
    cases.par_iter().enumerate().map(one).collect()
}

fn no_shared_term(lab: &Lab<'_>, case: &Case<'_>) -> Result<String> {
    let known = lab.sparse().known_terms(&case.question)?;
    let terms = quoted(known.iter().map(|(term, _)| term.as_str()).take(8));
    Ok(match known.len() {
        0 => "no passage of the index holds a term of the question".to_string(),
        n if n > 8 => format!("the passage holds none of {terms}, …"),
        _ => format!("the passage holds none of {terms}"),
    })
}

/// What shows that a question's rarest word, or its two rarest, find a gold passage that all its words together do not.
fn rarest(lab: &Lab<'_>, request: &SearchRequest, case: &Case<'_>) -> Result<Option<String>> {
    let analyzer = lab.sparse().analyzer();
    let known: HashMap<String, u64> = lab.sparse().known_terms(&case.question)?.into_iter().collect();
    let mut words: Vec<(u64, &str, Vec<String>)> = Vec::new();
    for word in case.question.split_whitespace() {
        let terms = analyzer.terms(word);
        let rarest = terms.iter().filter_map(|term| known.get(term)).min();
        if let Some(df) = rarest.filter(|_| words.iter().all(|(_, _, other)| *other != terms)) {
            words.push((*df, word.trim_matches(|c: char| !c.is_alphanumeric()), terms));
        }
    }
    // Stable: of equally rare words the first counts.
    words.sort_by_key(|(df, _, _)| *df);
    for count in [1, 2].into_iter().filter(|count| *count < words.len()) {
        let kept: HashSet<&str> = words[..count].iter().flat_map(|(_, _, terms)| terms).map(String::as_str).collect();
        let counts = |term: &str| kept.contains(term);
        let found = lab.sparse().search_some(&case.question, &request.weighting, lab.k + ROOM, counts)?;
        let rank = lab.place(&found, case)?;
        if lab.hits(rank) {
            let alone = quoted(words[..count].iter().map(|(_, word, _)| *word));
            let held = words[..count].iter().map(|(df, _, _)| many(*df as usize, "passage")).collect::<Vec<_>>();
            return Ok(Some(format!("{} with {alone} alone, in {}", at(rank, lab.k), held.join(" and "))));
        }
    }
    Ok(None)
}

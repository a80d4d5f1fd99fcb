//! The questions by themselves, and against those of training.
//!
//! Two questions are the same if their words are, case and punctuation aside. They are nearly the same if of the terms
//! analysis makes of them, stems without stop words and in any order, four fifths are shared
//! ([`THRESHOLD`]); of fewer than [`FEWEST`] terms that says too little.

use super::model::{Check, Count, Finding};
use crate::collection::{PassageId, Query, QuerySet};
use crate::sparse::Analyzer;
use crate::text::shingles::{Signature, THRESHOLD};
use crate::text::twins::{Likeness, Print, Twins, word_hash};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Distinct terms a question needs to be nearly another one.
const FEWEST: usize = 4;

/// Empty questions, contradictions, questions without gold and without answers.
pub(super) fn alone(set: &QuerySet) -> Vec<Finding> {
    let mut empty = Count::new(Check::EmptyQuestions);
    let mut without_gold = Count::new(Check::WithoutGold);
    let mut without_answers = Count::new(Check::WithoutAnswers);
    let mut same: HashMap<u64, Vec<&Query>> = HashMap::new();
    for query in &set.queries {
        let words = word_hash(&query.text);
        empty.add(words.is_none().then(|| format!("`{}`", query.id)));
        let gold = set.qrels.relevant(&query.id).next();
        without_gold.add(gold.is_none().then(|| format!("`{}`", query.id)));
        let answered = query.impossible || query.answers.iter().any(|answer| word_hash(answer).is_some());
        without_answers.add((!answered).then(|| format!("`{}`", query.id)));
        if let (Some(words), Some(_)) = (words, gold) {
            same.entry(words).or_default().push(query);
        }
    }
    let mut contradictions = Count::new(Check::Contradictions);
    let gold = |query: &Query| set.qrels.relevant(&query.id).collect::<BTreeSet<_>>();
    for query in &set.queries {
        let others = word_hash(&query.text).and_then(|words| same.get(&words)).into_iter().flatten();
        let own = gold(query);
        let other = others.copied().find(|other| other.id != query.id && gold(other).is_disjoint(&own));
        contradictions.add(other.filter(|_| !own.is_empty()).map(|other| format!("`{}` and `{}`", query.id, other.id)));
    }
    vec![empty.finish(), contradictions.finish(), without_gold.finish(), without_answers.finish()]
}

/// Questions and answers that training has seen.
pub(super) fn against(set: &QuerySet, train: &QuerySet, analyzer: &Analyzer) -> Vec<Finding> {
    let print = |query: &Query| {
        let terms: BTreeSet<String> = analyzer.terms(&query.text).into_iter().collect();
        let signature = if terms.len() < FEWEST { None } else { Signature::of_words(terms.iter().map(String::as_str)) };
        Print { words: word_hash(&query.text), signature }
    };
    let known = Twins::new(train.queries.par_iter().map(print).collect(), THRESHOLD);
    let met: Vec<Vec<(u32, Likeness)>> = set.queries.par_iter().map(|query| known.of(&print(query))).collect();
    let answers: HashSet<u64> =
        train.queries.iter().flat_map(|query| &query.answers).filter_map(|answer| word_hash(answer)).collect();
    let mut seen = Count::new(Check::SeenQuestions);
    let mut near = Count::new(Check::NearQuestions);
    let mut answered = Count::new(Check::SeenAnswers);
    for (query, met) in set.queries.iter().zip(met) {
        let like = |wanted| met.iter().find(|(_, likeness)| *likeness == wanted).map(|(number, _)| *number as usize);
        let exact = like(Likeness::Exact);
        let pair = |number: usize| format!("`{}` and training's `{}`", query.id, train.queries[number].id);
        seen.add(exact.map(pair));
        // One that is asked word for word is not counted twice.
        near.add(
            like(Likeness::Near)
                .filter(|_| exact.is_none())
                .map(|number| format!("`{}` {} / {}", query.id, query.text, train.queries[number].text)),
        );
        if !query.answers.is_empty() {
            let shared = query.answers.iter().find(|a| word_hash(a).is_some_and(|answer| answers.contains(&answer)));
            answered.add(shared.map(|answer| format!("`{}`: {answer}", query.id)));
        }
    }
    vec![seen.finish(), near.finish(), answered.finish()]
}

/// The ids of all gold passages of a set.
pub(super) fn gold(set: &QuerySet) -> BTreeSet<&PassageId> {
    set.queries.iter().flat_map(|query| set.qrels.relevant(&query.id)).collect()
}

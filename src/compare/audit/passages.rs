//! The passages: gold that is missing, twins of gold, duplicates, answers outside of gold, gold of training.

use super::Training;
use super::model::{Check, Count, Finding};
use super::questions::gold;
use crate::collection::{Ordinal, PassageId, Query, QuerySet};
use crate::compare::phrase::{grouped, many};
use crate::error::Result;
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::progress::{Progress, Stage};
use crate::sparse::SparseIndex;
use crate::text::shingles::{Signature, THRESHOLD};
use crate::text::twins::{Likeness, Print, Twins, groups};
use crate::text::words::letters;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Passages read between two looks at whether to stop.
const BLOCK: usize = 4096;

/// The index's passages as twins know them, by ordinal.
pub(super) fn prints(sparse: &SparseIndex, progress: &dyn Progress) -> Result<Vec<Print>> {
    let passages = sparse.len() as u32;
    progress.begin(Stage::Counting, Some(u64::from(passages)));
    let mut prints = Vec::with_capacity(sparse.len());
    for from in (0..passages).step_by(BLOCK) {
        progress.checkpoint()?;
        let to = passages.min(from + BLOCK as u32);
        let print = |ordinal: u32| Ok(Print::of(&sparse.passage(Ordinal(ordinal))?.text));
        let block: Vec<Print> = (from..to).into_par_iter().map(print).collect::<Result<_>>()?;
        prints.extend(block);
        progress.advance(Stage::Counting, u64::from(to - from));
    }
    progress.finish(Stage::Counting);
    Ok(prints)
}

/// Passages that repeat an earlier one, in their very words or nearly.
pub(super) fn duplicates(sparse: &SparseIndex, prints: &[Print]) -> Result<Vec<Finding>> {
    let signatures: Vec<Option<Signature>> = prints.iter().map(|print| print.signature.clone()).collect();
    let group = groups(&signatures);
    let mut first: HashMap<u64, usize> = HashMap::new();
    let mut exact = Count::new(Check::Duplicates);
    let mut near = Count::new(Check::NearDuplicates);
    for (at, print) in prints.iter().enumerate() {
        let pair = |other: usize| -> Result<String> {
            Ok(format!("`{}` and `{}`", sparse.id(Ordinal(other as u32))?, sparse.id(Ordinal(at as u32))?))
        };
        let earlier = print.words.and_then(|words| match first.entry(words) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(at);
                None
            }
        });
        exact.add(earlier.map(pair).transpose()?);
        let root = group[at] as usize;
        near.add((root != at && earlier.is_none()).then(|| pair(root)).transpose()?);
    }
    Ok(vec![exact.finish(), near.finish()])
}

/// Where the gold passages stand, by id.
pub(super) type Places<'a> = BTreeMap<&'a PassageId, Vec<Ordinal>>;

pub(super) fn places<'a>(sparse: &SparseIndex, gold: &BTreeSet<&'a PassageId>) -> Result<Places<'a>> {
    let gold: Vec<&PassageId> = gold.iter().copied().collect();
    gold.into_par_iter().map(|id| Ok((id, sparse.places_of(id)?))).collect()
}

/// Gold passages that the index does not hold.
pub(super) fn missing(set: &QuerySet, places: &Places<'_>) -> Finding {
    let mut count = Count::new(Check::GoldMissing);
    for (id, places) in places {
        count.add(places.is_empty().then(|| format!("`{id}`")));
    }
    let lost = set.queries.iter().filter(|query| {
        let mut gold = set.qrels.relevant(&query.id).peekable();
        gold.peek().is_some() && gold.all(|id| places.get(id).is_none_or(Vec::is_empty))
    });
    let lost = lost.count();
    match lost {
        0 => count.finish(),
        1 => count.with("1 question has no other"),
        _ => count.with(format!("{} have no other", many(lost, "question"))),
    }
}

/// Gold passages with a twin that was judged for none of the questions they answer.
pub(super) fn twins(
    sparse: &SparseIndex,
    set: &QuerySet,
    places: &Places<'_>,
    prints: &[Print],
) -> Result<Vec<Finding>> {
    let numbered: Vec<Ordinal> = places.values().flatten().copied().collect();
    let known = Twins::new(numbered.iter().map(|place| prints[place.index()].clone()).collect(), THRESHOLD);
    let met: Vec<Vec<(u32, Likeness)>> = prints.par_iter().map(|print| known.of(print)).collect();
    // Gold place → the passages that are its twins.
    let mut of_gold: HashMap<Ordinal, Vec<(Ordinal, Likeness)>> = HashMap::new();
    for (at, met) in (0u32..).map(Ordinal).zip(met) {
        for (number, likeness) in met {
            let gold = numbered[number as usize];
            if gold != at {
                of_gold.entry(gold).or_default().push((at, likeness));
            }
        }
    }
    let mut affected: BTreeMap<Likeness, BTreeMap<&PassageId, PassageId>> = BTreeMap::new();
    let mut questions: BTreeMap<Likeness, usize> = BTreeMap::new();
    let mut passages: BTreeMap<Likeness, HashSet<Ordinal>> = BTreeMap::new();
    for query in &set.queries {
        let mut hit: BTreeSet<Likeness> = BTreeSet::new();
        for gold in set.qrels.relevant(&query.id) {
            for place in places.get(gold).into_iter().flatten() {
                for (twin, likeness) in of_gold.get(place).into_iter().flatten() {
                    let id = sparse.judged_id(*twin)?;
                    if set.qrels.grade(&query.id, &id).is_none() {
                        affected.entry(*likeness).or_default().entry(gold).or_insert(id);
                        passages.entry(*likeness).or_default().insert(*twin);
                        hit.insert(*likeness);
                    }
                }
            }
        }
        hit.into_iter().for_each(|likeness| *questions.entry(likeness).or_default() += 1);
    }
    let of = |(likeness, check)| {
        let mut count = Count::new(check);
        let affected = affected.remove(&likeness).unwrap_or_default();
        for (id, _) in places.iter().filter(|(_, places)| !places.is_empty()) {
            count.add(affected.get(*id).map(|twin| format!("`{id}` and `{twin}`")));
        }
        let passages = passages.get(&likeness).map_or(0, HashSet::len);
        match questions.get(&likeness) {
            Some(questions) => count.with(format!("{}, {}", many(*questions, "question"), many(passages, "twin"))),
            None => count.finish(),
        }
    };
    Ok([(Likeness::Exact, Check::GoldTwins), (Likeness::Near, Check::GoldNearTwins)].map(of).into())
}

/// Questions whose gold passages, as far as the index holds them, hold none of their answers, not even its letters in
/// another spacing or inside a longer word.
pub(super) fn answers(sparse: &SparseIndex, set: &QuerySet, places: &Places<'_>) -> Result<Finding> {
    let mut pairs: Vec<(Ordinal, usize)> = Vec::new();
    let answers: Vec<Answers> = set.queries.par_iter().map(|query| Answers::of(known(query))).collect();
    for (at, query) in set.queries.iter().enumerate().filter(|(at, _)| !answers[*at].is_empty()) {
        let gold = set.qrels.relevant(&query.id).filter_map(|id| places.get(id)).flatten();
        pairs.extend(gold.map(|place| (*place, at)));
    }
    let held = in_passages(sparse, pairs, |at, passage: &Held| {
        let of = |answer: &String| passage.letters.contains(&letters(answer));
        let tokens = answers[at].held_by(&passage.tokens, Matching::Korean);
        (tokens, tokens || set.queries[at].answers.iter().any(of))
    })?;
    let mut by_question: BTreeMap<usize, (bool, bool)> = BTreeMap::new();
    for ((_, at), (tokens, letters)) in held {
        let held = by_question.entry(at).or_default();
        *held = (held.0 || tokens, held.1 || letters);
    }
    let inside = by_question.values().filter(|(tokens, letters)| *letters && !tokens).count();
    let mut count = Count::new(Check::AnswersOutside);
    for (at, (_, letters)) in by_question {
        let query = &set.queries[at];
        let answer = query.answers.first().map(String::as_str).unwrap_or_default();
        count.add((!letters).then(|| format!("`{}`: {answer}", query.id)));
    }
    match inside {
        0 => Ok(count.finish()),
        _ => Ok(count.with(format!("{} more only inside longer words", grouped(inside)))),
    }
}

/// A question's known answers; none where its source says that it has none.
pub(super) fn known(query: &Query) -> &[String] {
    if query.impossible { &[] } else { &query.answers }
}

/// A passage ready to be looked through for answers.
pub(super) struct Held {
    pub(super) tokens: Tokens,
    letters: String,
}

/// Looks at pairs of a passage and a question, each passage read once; the pairs come back by passage.
pub(super) fn in_passages<T: Send>(
    sparse: &SparseIndex,
    mut pairs: Vec<(Ordinal, usize)>,
    look: impl Fn(usize, &Held) -> T + Sync,
) -> Result<Vec<((Ordinal, usize), T)>> {
    pairs.sort_unstable();
    let of_passage: Vec<&[(Ordinal, usize)]> = pairs.chunk_by(|a, b| a.0 == b.0).collect();
    let looked = of_passage.par_iter().map(|pairs| -> Result<Vec<((Ordinal, usize), T)>> {
        let Some((ordinal, _)) = pairs.first() else { return Ok(Vec::new()) };
        let text = sparse.passage(*ordinal)?.text;
        let held = Held { tokens: Tokens::of(&text), letters: letters(&text) };
        Ok(pairs.iter().map(|pair| (*pair, look(pair.1, &held))).collect())
    });
    Ok(looked.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Gold passages that training has as gold, by id or by their words.
pub(super) fn seen(
    sparse: &SparseIndex,
    places: &Places<'_>,
    prints: &[Print],
    train: &Training,
) -> Result<Vec<Finding>> {
    let ids: Vec<&PassageId> = gold(&train.set).into_iter().collect();
    let of = |id: &&PassageId| -> Result<Vec<Print>> {
        let held = sparse.places_of(id)?;
        Ok(match (held.is_empty(), train.texts.get(*id)) {
            (true, Some(text)) => vec![Print::of(text)],
            _ => held.into_iter().map(|place| prints[place.index()].clone()).collect(),
        })
    };
    let texts: Vec<Vec<Print>> = ids.par_iter().map(of).collect::<Result<_>>()?;
    let owners: Vec<&PassageId> = ids.iter().zip(&texts).flat_map(|(id, texts)| texts.iter().map(|_| *id)).collect();
    let known = Twins::new(texts.into_iter().flatten().collect(), THRESHOLD);
    let trained: HashSet<&PassageId> = ids.into_iter().collect();
    let mut exact = Count::new(Check::SeenPassages);
    let mut near = Count::new(Check::NearPassages);
    for (id, places) in places {
        let met: Vec<(u32, Likeness)> = places.iter().flat_map(|place| known.of(&prints[place.index()])).collect();
        let like =
            |wanted| met.iter().find(|(_, likeness)| *likeness == wanted).map(|(number, _)| owners[*number as usize]);
        let same = if trained.contains(id) { Some(*id) } else { like(Likeness::Exact) };
        exact.add(same.map(|other| format!("`{id}` and training's `{other}`")));
        let other = like(Likeness::Near).filter(|_| same.is_none());
        near.add(other.map(|other| format!("`{id}` and training's `{other}`")));
    }
    Ok(vec![exact.finish(), near.finish()])
}

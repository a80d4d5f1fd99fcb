//! What is so whatever is undone: twins of gold passages among the first `k`, and answers that no passage holds.

use super::lab::{Case, Lab};
use crate::collection::{Ordinal, PassageId};
use crate::error::Result;
use crate::eval::answers::{Matching, Tokens};
use crate::text::shingles::THRESHOLD;
use crate::text::twins::{Likeness, Print, Twins};
use crate::text::words::letters;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};

/// For each case and each of its systems' first passages: the first twin of a gold passage among them, in words.
///
/// Of a document in chunks, those that hold an answer count, where one is known and any does.
pub(super) fn twins(
    lab: &Lab<'_>,
    cases: &[&Case<'_>],
    tops: &[Vec<Vec<&PassageId>>],
) -> Result<Vec<Vec<Option<String>>>> {
    let kept: Vec<Vec<Ordinal>> = cases.par_iter().map(|case| answering(lab, case)).collect::<Result<_>>()?;
    let gold: BTreeSet<Ordinal> = kept.iter().flatten().copied().collect();
    let gold: Vec<Ordinal> = gold.into_iter().collect();
    let print = |ordinal: &Ordinal| Ok(Print::of(&lab.sparse().passage(*ordinal)?.text));
    let known = Twins::new(gold.par_iter().map(print).collect::<Result<_>>()?, THRESHOLD);
    lab.progress.checkpoint()?;
    let met: BTreeSet<&PassageId> = tops.iter().flatten().flatten().copied().collect();
    let met: Vec<&PassageId> = met.into_iter().collect();
    let like = |id: &&PassageId| -> Result<Vec<(Ordinal, Likeness)>> {
        let mut like = Vec::new();
        for place in lab.sparse().places_of(id)? {
            let twins = known.of(&print(&place)?);
            like.extend(twins.into_iter().map(|(number, likeness)| (gold[number as usize], likeness)));
        }
        Ok(like)
    };
    let like: Vec<Vec<(Ordinal, Likeness)>> = met.par_iter().map(like).collect::<Result<_>>()?;
    let like: HashMap<&PassageId, Vec<(Ordinal, Likeness)>> = met.into_iter().zip(like).collect();
    let twin = |case: &Case<'_>, kept: &[Ordinal], top: &[&PassageId]| {
        top.iter().enumerate().filter(|(_, id)| !case.is_gold(id)).find_map(|(at, id)| {
            let (_, likeness) = like.get(id)?.iter().find(|(gold, _)| kept.contains(gold))?;
            let words = match likeness {
                Likeness::Exact => "the same words as",
                Likeness::Near => "nearly the same words as",
            };
            Some(format!("`{id}` at {} has {words} the gold passage", at + 1))
        })
    };
    let of_case = |((case, kept), tops): ((&&Case<'_>, &Vec<Ordinal>), &Vec<Vec<&PassageId>>)| {
        tops.iter().map(|top| twin(case, kept, top)).collect()
    };
    Ok(cases.iter().zip(&kept).zip(tops).map(of_case).collect())
}

/// The places of a case's gold passages that hold an answer; all of them where none does or no answer is known.
fn answering(lab: &Lab<'_>, case: &Case<'_>) -> Result<Vec<Ordinal>> {
    let (Some(answers), true) = (&case.answers, case.places.len() > case.gold.len()) else {
        return Ok(case.places.clone());
    };
    let mut kept = Vec::new();
    for place in &case.places {
        if answers.held_by(&Tokens::of(&lab.sparse().passage(*place)?.text), Matching::Korean) {
            kept.push(*place);
        }
    }
    Ok(if kept.is_empty() { case.places.clone() } else { kept })
}

/// Passages looked through between two looks at whether to stop.
const BLOCK: usize = 4096;

/// Whether no passage of the index holds an answer of a case, not even its letters in another spacing or inside a longer
/// word; false where none is known.
///
/// The gold passages are looked at first, and of the few answers they do not hold, each is dropped once it is found.
pub(super) fn absent(lab: &Lab<'_>, cases: &[&Case<'_>]) -> Result<Vec<bool>> {
    let sought = |case: &&Case<'_>| -> Vec<String> {
        let answers = case.answers.as_ref().map_or(&[][..], |_| &case.query.answers);
        answers.iter().map(|answer| letters(answer)).filter(|answer| !answer.is_empty()).collect()
    };
    let sought: Vec<Vec<String>> = cases.iter().map(sought).collect();
    let text = |ordinal: Ordinal| Ok(letters(&lab.sparse().passage(ordinal)?.text));
    let holds = |case: usize, text: &str| sought[case].iter().any(|answer| text.contains(answer.as_str()));
    let open = |case: usize| -> Result<bool> {
        if sought[case].is_empty() {
            return Ok(false);
        }
        for place in &cases[case].places {
            if holds(case, &text(*place)?) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let mut absent: Vec<bool> = (0..cases.len()).into_par_iter().map(open).collect::<Result<_>>()?;
    let passages = lab.sparse().len() as u32;
    for from in (0..passages).step_by(BLOCK) {
        lab.progress.checkpoint()?;
        let open: Vec<usize> = (0..cases.len()).filter(|case| absent[*case]).collect();
        if open.is_empty() {
            break;
        }
        let look = |ordinal: u32| -> Result<Vec<usize>> {
            let text = text(Ordinal(ordinal))?;
            Ok(open.iter().copied().filter(|case| holds(*case, &text)).collect())
        };
        let found: Vec<Vec<usize>> =
            (from..passages.min(from + BLOCK as u32)).into_par_iter().map(look).collect::<Result<_>>()?;
        found.into_iter().flatten().for_each(|case| absent[case] = false);
    }
    Ok(absent)
}

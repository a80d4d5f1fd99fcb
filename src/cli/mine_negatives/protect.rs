//! Which question sets are protected: those named, or a BEIR folder's other splits; never the questions that are mined.

use super::super::ui::{Ui, thousands};
use super::{Args, Input};
use parallax::collection::read::{self, QuerySetSummary, Source as File};
use parallax::{Error, QuerySet, Result};
use std::path::Path;

/// The sets whose right passages are kept out: those named (every split of a folder), or a BEIR folder's other splits.
///
/// Questions that are mined are in need of negatives, not of shelter: a set of nothing else is left out, and refused where
/// it is all that was named. What is compared is the judgments, so that it does not matter how a file is reached.
pub(super) fn protected(args: &Args, input: &Input, ui: &Ui) -> Result<Vec<QuerySet>> {
    if args.no_protect {
        return Ok(Vec::new());
    }
    let mined = match input {
        Input::Questions(set, _) => Some(set),
        Input::Pairs => None,
    };
    let mut sets = Vec::new();
    if args.protect.is_empty() {
        if let (Input::Questions(_, summary), Some(path)) = (input, &args.data)
            && summary.split.is_some()
        {
            // What is trained on needs no shelter from another held-out split.
            for split in summary.other_splits.iter().filter(|split| *split != "train") {
                sets.extend(sheltered(judged(args, path, Some(split))?.0, mined, path, ui));
            }
        }
        return Ok(sets);
    }
    for path in &args.protect {
        let before = sets.len();
        let (set, summary) = judged(args, path, None)?;
        sets.extend(sheltered(set, mined, path, ui));
        for split in &summary.other_splits {
            sets.extend(sheltered(judged(args, path, Some(split))?.0, mined, path, ui));
        }
        if sets.len() == before {
            return Err(Error::usage(
                "holds no question but those that are mined, and they need negatives, not shelter",
            )
            .in_file(path)
            .hint("give `--protect` the questions that are held out"));
        }
    }
    Ok(sets)
}

fn judged(args: &Args, path: &Path, split: Option<&str>) -> Result<(QuerySet, QuerySetSummary)> {
    let read = read::query_set(&File::new(path), &args.reading.options(split))?;
    if read.0.qrels.is_empty() {
        return Err(Error::bad_input("has no judgment, so nothing says which passages to protect").in_file(path));
    }
    Ok(read)
}

/// The set, unless all its questions are mined themselves; warns where some are.
fn sheltered(set: QuerySet, mined: Option<&QuerySet>, path: &Path, ui: &Ui) -> Option<QuerySet> {
    let (all, both) = mined.map_or((1, 0), |mined| in_both(&set, mined));
    if both > 0 && both < all {
        ui.warn(&format!(
            "{} of the {} questions protected for `{}` are mined as well",
            thousands(both),
            thousands(all),
            path.display()
        ));
    }
    (both < all).then_some(set)
}

/// How many questions of a set have a right passage, and how many of these are mined: the same id, a right passage shared.
fn in_both(set: &QuerySet, mined: &QuerySet) -> (u64, u64) {
    let (mut all, mut both) = (0, 0);
    for (query, _) in set.qrels.iter() {
        let mut right = set.qrels.relevant(query).peekable();
        all += u64::from(right.peek().is_some());
        both += u64::from(right.any(|passage| mined.qrels.grade(query, passage).is_some_and(|grade| grade > 0)));
    }
    (all, both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_the_same_by_its_id_and_a_right_passage() {
        let set = |judgments: &[(&str, &str, i32)]| {
            let mut set = QuerySet::default();
            for (query, passage, grade) in judgments {
                set.qrels.insert((*query).into(), (*passage).into(), *grade);
            }
            set
        };
        let held_out = set(&[("q1", "a", 1), ("q1", "b", 1), ("q2", "c", 2), ("q3", "d", 0)]);
        assert_eq!(in_both(&held_out, &held_out), (2, 2));
        assert_eq!(in_both(&held_out, &set(&[("q1", "b", 1), ("q2", "c", 0), ("q9", "a", 1)])), (2, 1));
        assert_eq!(in_both(&held_out, &set(&[("q1", "c", 1), ("q2", "a", 1)])), (2, 0), "ids alone are numbers often");
    }
}

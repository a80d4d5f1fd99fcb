//! A report beside an earlier one: what has changed, and whether that is more than luck.
//!
//! In flow two reports; out flow rows for the systems and measures that both have under the same name, each with the
//! difference now − then paired over the queries that both have a value of ([`crate::eval::significance`]). Queries of
//! one alone are left out and counted; judgments that differ are said, since then the same name measures another thing.
//! Reports without a query in common are refused.
//!
//! Cost: as a paired test a row.

use super::model::{Against, AgainstRow, Difference, Report};
use crate::error::{Error, Result};
use crate::eval::significance::paired;
use std::collections::BTreeSet;
use std::path::Path;

/// `now` beside `then`, which was read from `file`.
pub fn against(now: &Report, then: &Report, file: &Path) -> Result<Against> {
    let seed = now.rests_on.as_ref().map_or(1, |rests| rests.seed);
    let asked = |report: &Report| -> BTreeSet<String> {
        report.systems.iter().flat_map(|system| system.per_query.keys().cloned()).collect()
    };
    let (ours, theirs) = (asked(now), asked(then));
    let both: BTreeSet<&String> = ours.intersection(&theirs).collect();
    if both.is_empty() {
        return Err(Error::bad_input("the earlier report has no question in common with this one")
            .in_file(file)
            .hint(format!("it was made over `{}`, this one over `{}`", then.data, now.data)));
    }
    let mut rows = Vec::new();
    for system in &now.systems {
        let Some(earlier) = then.system(&system.name) else { continue };
        for measure in now.columns() {
            // A number that went through JSON may come back with another last digit, which is no change.
            let near = |(ours, theirs): (f64, f64)| (ours, if (ours - theirs).abs() < 1e-12 { ours } else { theirs });
            let values = |query: &&String| Some((system.value(query, measure)?, earlier.value(query, measure)?));
            let (ours, theirs): (Vec<f64>, Vec<f64>) = both.iter().filter_map(values).map(near).unzip();
            if ours.is_empty() {
                continue;
            }
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            rows.push(AgainstRow {
                system: system.name.clone(),
                measure: measure.to_string(),
                then: mean(&theirs),
                now: mean(&ours),
                difference: Difference::from(&paired(&ours, &theirs, seed)),
            });
        }
    }
    if rows.is_empty() {
        let names: Vec<&str> = then.systems.iter().map(|system| system.name.as_str()).collect();
        return Err(Error::bad_input("the earlier report has no system and measure in common with this one")
            .in_file(file)
            .hint(format!("its systems are {}", names.join(", "))));
    }
    let (only_now, only_then) = (ours.len() - both.len(), theirs.len() - both.len());
    Ok(Against {
        file: file.display().to_string(),
        command: then.command.clone(),
        manifest: then.rests_on.as_ref().map(|rests| rests.manifest.clone()),
        both: both.len(),
        only_now,
        only_then,
        notes: notes(now, then, (only_now, only_then)),
        rows,
    })
}

/// What makes the two less than comparable.
fn notes(now: &Report, then: &Report, (only_now, only_then): (usize, usize)) -> Vec<String> {
    let mut notes = Vec::new();
    if only_now + only_then > 0 {
        notes.push(format!(
            "The questions differ: {only_now} are new and {only_then} are gone. Means and differences are over those in both."
        ));
    }
    let judgments = |report: &Report| report.rests_on.as_ref().map(|rests| rests.judgments.clone());
    match (judgments(now), judgments(then)) {
        (Some(ours), Some(theirs)) if ours != theirs && only_now + only_then == 0 => {
            notes.push("The judgments differ: a change may be theirs and not the system's.".to_string());
        }
        _ => {}
    }
    if now.averaging != then.averaging {
        notes.push(format!("Means went over another set then: {}.", then.averaging));
    }
    let new: Vec<&str> =
        now.systems.iter().filter(|s| then.system(&s.name).is_none()).map(|s| s.name.as_str()).collect();
    if !new.is_empty() {
        notes.push(format!("Not in the earlier report: {}.", new.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::sample::report;

    #[test]
    fn the_same_report_has_not_changed() {
        let found = against(&report(), &report(), Path::new("old.json")).unwrap();
        assert_eq!((found.both, found.only_now, found.only_then, found.rows.len()), (20, 0, 0, 4));
        assert!(found.rows.iter().all(|row| row.difference.mean == 0.0 && row.then == row.now), "{found:?}");
        let mut moved = report();
        for values in moved.systems[0].per_query.values_mut() {
            values.values_mut().for_each(|value| *value = f64::from_bits(value.to_bits() + 1));
        }
        let still = against(&report(), &moved, Path::new("old.json")).unwrap();
        assert!(still.rows.iter().all(|row| row.difference.p_randomization == 1.0), "{still:?}");
        assert!(found.notes.is_empty() && found.manifest.as_deref() == Some("0a1b2c"));
    }

    #[test]
    fn differences_are_paired_over_the_questions_in_both() {
        let (now, mut then) = (report(), report());
        // One question is gone, one is new, and one was worse then.
        then.systems[0].per_query.remove("q00");
        let hybrid = &mut then.systems[1].per_query;
        let gone = hybrid.remove("q00").unwrap();
        hybrid.insert("old".into(), gone);
        let worse = hybrid.get_mut("q01").unwrap();
        let by = worse["nDCG@10"];
        worse.insert("nDCG@10".into(), 0.0);
        let found = against(&now, &then, Path::new("old.json")).unwrap();
        assert_eq!((found.both, found.only_now, found.only_then), (19, 1, 1));
        let row = found.rows.iter().find(|row| row.system == "hybrid" && row.measure == "nDCG@10").unwrap();
        assert!((row.difference.mean - by / 19.0).abs() < 1e-12 && row.difference.n == 19 && by > 0.0, "{row:?}");
        assert!(found.notes[0].contains("1 are new and 1 are gone"), "{:?}", found.notes);
    }

    #[test]
    fn other_judgments_are_said_and_other_questions_refused() {
        let mut then = report();
        then.rests_on.as_mut().unwrap().judgments = "ff".into();
        then.systems[0].name = "bm25(k1=2)".into();
        let found = against(&report(), &then, Path::new("old.json")).unwrap();
        assert!(found.notes[0].contains("judgments differ") && found.notes[1].contains("bm25"), "{:?}", found.notes);
        for system in &mut then.systems {
            system.per_query = system.per_query.iter().map(|(id, values)| (format!("x{id}"), values.clone())).collect();
        }
        let refused = against(&report(), &then, Path::new("old.json")).unwrap_err();
        assert!(refused.to_string().contains("no question in common"), "{refused}");
    }
}

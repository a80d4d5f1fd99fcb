//! The loop's reports as other programs and people read them: `report.json` of each round and of the loop, `report.md`,
//! `mining.json`.
//!
//! ```json
//! {"format": 1, "round": 1, "model": "…", "passages": 20958, "missing_gold": 0, "fusion": "convex(…)",
//!  "mined": {"source": "sparse", "examples": 78000, "negatives": 77900},
//!  "trained": {"steps": 460, "kept": 460, "loss_first": 3.1, "loss_last": 1.7},
//!  "systems": [{"name": "dense", "means": {"RR@10": 0.61}, "values": {"RR@10": [1.0, 0.5]}}], "queries": ["q1", "q2"],
//!  "gains": [{"system": "dense", "measure": "RR@10", "against": "round 0", "mean": 0.1, "interval": [0.08, 0.12],
//!             "p": 0.0001}]}
//! ```
//!
//! The loop's own report has `kept`, `stopped`, `verdict`, `questions` and the rounds without `queries` and `values`.
//! Neither holds a time or a place, so equal loops give equal bytes. Fields are added, never changed in meaning, while
//! `format` stays 1.

use super::report::{Fitted, Gain, LoopReport, Mined, RoundReport, SystemFigures};
use crate::error::{Error, Result};
use crate::mining::{self, MineReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Round {
    format: u32,
    round: usize,
    model: String,
    passages: usize,
    missing_gold: usize,
    fusion: String,
    mined: Option<WireMined>,
    trained: Option<WireFitted>,
    systems: Vec<System>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queries: Vec<String>,
    gains: Vec<WireGain>,
}

#[derive(Serialize, Deserialize)]
struct WireMined {
    source: String,
    examples: u64,
    negatives: u64,
}

#[derive(Serialize, Deserialize)]
struct WireFitted {
    steps: usize,
    kept: usize,
    loss_first: f64,
    loss_last: f64,
}

#[derive(Serialize, Deserialize)]
struct System {
    name: String,
    means: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
struct WireGain {
    system: String,
    measure: String,
    against: String,
    mean: f64,
    interval: [f64; 2],
    p: f64,
}

impl Round {
    fn of(report: &RoundReport, per_question: bool) -> Self {
        let RoundReport { round, passages, missing_gold, .. } = *report;
        let system = |system: &SystemFigures| System {
            name: system.name.clone(),
            means: system.means.iter().cloned().collect(),
            values: if per_question { system.values.iter().cloned().collect() } else { BTreeMap::new() },
        };
        let gain = |gain: &Gain| WireGain {
            system: gain.system.clone(),
            measure: gain.measure.clone(),
            against: gain.against.clone(),
            mean: gain.mean,
            interval: gain.interval.into(),
            p: gain.p,
        };
        let mined = |mined: &Mined| WireMined {
            source: mined.source.clone(),
            examples: mined.examples,
            negatives: mined.negatives,
        };
        let fitted = |fitted: &Fitted| WireFitted {
            steps: fitted.steps,
            kept: fitted.kept,
            loss_first: fitted.loss.0,
            loss_last: fitted.loss.1,
        };
        Round {
            format: FORMAT,
            round,
            model: report.model.clone(),
            passages,
            missing_gold,
            fusion: report.fusion.clone(),
            mined: report.mined.as_ref().map(mined),
            trained: report.trained.as_ref().map(fitted),
            systems: report.systems.iter().map(system).collect(),
            queries: if per_question { report.queries.clone() } else { Vec::new() },
            gains: report.gains.iter().map(gain).collect(),
        }
    }

    fn report(self) -> RoundReport {
        let system = |system: System| SystemFigures {
            name: system.name,
            // In the order of the measures, not of their names.
            means: super::report::MEASURES
                .iter()
                .filter_map(|name| Some((name.to_string(), *system.means.get(*name)?)))
                .collect(),
            values: system.values.into_iter().collect(),
        };
        let gain = |gain: WireGain| Gain {
            system: gain.system,
            measure: gain.measure,
            against: gain.against,
            mean: gain.mean,
            interval: gain.interval.into(),
            p: gain.p,
        };
        RoundReport {
            round: self.round,
            model: self.model,
            mined: self.mined.map(|m| Mined { source: m.source, examples: m.examples, negatives: m.negatives }),
            trained: self.trained.map(|t| Fitted { steps: t.steps, kept: t.kept, loss: (t.loss_first, t.loss_last) }),
            passages: self.passages,
            missing_gold: self.missing_gold,
            fusion: self.fusion,
            queries: self.queries,
            systems: self.systems.into_iter().map(system).collect(),
            gains: self.gains.into_iter().map(gain).collect(),
        }
    }
}

/// A round's report as JSON with a final newline.
pub(super) fn round_json(report: &RoundReport) -> Result<Vec<u8>> {
    let mut json =
        serde_json::to_vec(&Round::of(report, true)).map_err(|e| Error::bug("a report is no JSON").because(e))?;
    json.push(b'\n');
    Ok(json)
}

/// Reads a round's report.
pub(super) fn round_report(bytes: &[u8]) -> Result<RoundReport> {
    let damaged = |message: String| Error::new(crate::error::ErrorKind::Damaged, message);
    let round: Round = serde_json::from_slice(bytes).map_err(|e| damaged("not a round's report".into()).because(e))?;
    if round.format != FORMAT {
        return Err(damaged(format!("format {}, this program reads {FORMAT}", round.format)));
    }
    Ok(round.report())
}

/// The loop's report as pretty JSON with a final newline.
pub(super) fn loop_json(report: &LoopReport) -> Result<Vec<u8>> {
    let rounds: Vec<Round> = report.rounds.iter().map(|round| Round::of(round, false)).collect();
    let rounds = serde_json::to_value(rounds).map_err(|e| Error::bug("a report is no JSON").because(e))?;
    let questions = &report.questions;
    let whole = json!({
        "format": FORMAT,
        "kept": report.kept,
        "stopped": report.stopped.to_string(),
        "verdict": report.verdict(),
        "regression": report.regression().is_some(),
        "questions": {
            "train": questions.train, "choosing": questions.choosing, "judging": questions.judging,
            "dropped": questions.dropped
        },
        "rounds": rounds,
    });
    Ok(format!("{whole:#}\n").into_bytes())
}

/// What mining did, as JSON: every question's outcome and every filter's count.
pub(super) fn mining_json(source: &str, report: &MineReport) -> Vec<u8> {
    let mut whole = mining::counts(report);
    whole.insert("format".into(), FORMAT.into());
    whole.insert("source".into(), source.into());
    format!("{:#}\n", Value::Object(whole)).into_bytes()
}

/// The counts of a round's `mining.json`.
pub(super) fn mined(bytes: &[u8]) -> Result<Mined> {
    let found: WireMined = serde_json::from_slice(bytes)
        .map_err(|e| Error::new(crate::error::ErrorKind::Damaged, "not a mining's report").because(e))?;
    Ok(Mined { source: found.source, examples: found.examples, negatives: found.negatives })
}

/// The loop's report to read: Markdown tables of figures, gains and training.
pub(super) fn markdown(report: &LoopReport) -> String {
    let mut text = String::from("# Learning loop\n\n");
    let questions = &report.questions;
    let kept = match report.kept {
        0 => "round 0, the model as it came".to_string(),
        round => format!("round {round}"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Kept: {kept}. {}. Ended since {}.\n", sentence(&report.verdict()), report.stopped);
    let passages = report.rounds.first().map_or(0, |round| round.passages);
    let _ = writeln!(
        text,
        "{} questions were learnt from. {} held-out ones judge below, over {passages} passages; {} others chose \
         checkpoints. Held-out questions were neither mined for nor trained on{}.\n",
        questions.train,
        questions.judging,
        questions.choosing,
        match questions.dropped {
            0 => String::new(),
            dropped => format!(", and {dropped} questions with the same words were left out of training"),
        }
    );
    let columns = super::report::MEASURES;
    let _ = writeln!(text, "| round | system | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(columns.len()));
    for round in &report.rounds {
        // The sparse side is the same in every round.
        for system in round.systems.iter().filter(|system| round.round == 0 || system.name != "bm25") {
            let cells: Vec<String> = system.means.iter().map(|(_, mean)| format!("{mean:.4}")).collect();
            let _ = writeln!(text, "| {} | {} | {} |", round.round, system.name, cells.join(" | "));
        }
    }
    let fusions: Vec<String> =
        report.rounds.iter().map(|round| format!("{} in round {}", round.fusion, round.round)).collect();
    let _ = writeln!(text, "\nHybrid is joined as the choosing questions found best: {}.", fusions.join(", "));
    text += "\nGains are paired over the judging questions, with 95 % bootstrap intervals; * excludes 0.\n\n";
    text += "| round | system | measure | against | gain | interval | p |\n|---|---|---|---|---|---|---|\n";
    for (round, gain) in report.rounds.iter().flat_map(|round| round.gains.iter().map(move |gain| (round, gain))) {
        let mark = if gain.is_gain() || gain.is_regression() { "*" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:+.4}{mark} | {:+.4} to {:+.4} | {:.4} |",
            round.round, gain.system, gain.measure, gain.against, gain.mean, gain.interval.0, gain.interval.1, gain.p
        );
    }
    text += "\n| round | negatives from | examples | negatives | steps | kept step | loss |\n|---|---|---|---|---|---|---|\n";
    for round in &report.rounds {
        if let (Some(mined), Some(trained)) = (&round.mined, &round.trained) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {:.3} to {:.3} |",
                round.round,
                mined.source,
                mined.examples,
                mined.negatives,
                trained.steps,
                trained.kept,
                trained.loss.0,
                trained.loss.1
            );
        }
    }
    text += "\nThe settings are in `loop.json`, figures per question in each round's `report.json`.\n";
    text
}

/// With a capital.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::rounds;
    use super::super::report::{Counts, Stopped};
    use super::*;

    fn report() -> LoopReport {
        let made = rounds(&[vec![0.2, 1.0 / 3.0, 0.1], vec![0.5, 1.0, 0.2]], false);
        let questions = Counts { train: 90, choosing: 4, judging: 3, dropped: 1 };
        LoopReport { rounds: made, kept: 1, stopped: Stopped::AllRounds, questions }
    }

    #[test]
    fn a_round_reads_back_and_is_written_the_same_again() {
        let report = &report().rounds[1];
        let bytes = round_json(report).unwrap();
        let back = round_report(&bytes).unwrap();
        assert_eq!((back.round, &back.queries, back.gains.len()), (1, &report.queries, 3));
        assert_eq!(back.mined, report.mined);
        // What was read is what counts: reading again changes nothing.
        assert_eq!(round_report(&round_json(&back).unwrap()).unwrap(), back);
        assert!(round_report(b"{}").is_err());
    }

    #[test]
    fn the_loop_s_reports_hold_every_round() {
        let report = report();
        let json: Value = serde_json::from_slice(&loop_json(&report).unwrap()).unwrap();
        assert_eq!((&json["kept"], json["rounds"].as_array().unwrap().len()), (&json!(1), 2));
        assert!(json["rounds"][1].get("queries").is_none(), "values per question stay with the rounds");
        let text = markdown(&report);
        for line in
            ["Kept: round 1. Gain over", "| 0 | bm25 |", "| 1 | dense | 0.5667 |", "| 1 | sparse | 9 | 8 | 7 | 6 |"]
        {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("| 1 | bm25 |"));
    }
}

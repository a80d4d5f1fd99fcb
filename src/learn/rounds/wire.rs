//! The loop's reports as other programs and people read them: `report.json` of each round and of the loop, `report.md`,
//! `mining.json`.
//!
//! ```json
//! {"format": 1, "round": 1, "model": "…", "passages": 20958, "missing_gold": 0, "fusion": "convex(…)",
//!  "mined": {"source": "sparse", "examples": 78000, "negatives": 77900},
//!  "trained": {"steps": 460, "kept": 460, "loss_first": 3.1, "loss_last": 1.7},
//!  "choice": {"mean": 0.6, "queries": ["q7", "q9"], "values": [1.0, 0.2],
//!             "gain": {"system": "dense", "measure": "RR@10", "against": "round 0", "n": 2, "mean_difference": 0.1,
//!                      "interval": [0.08, 0.12], "p_randomization": 0.0001, "p_t": 0.0001}},
//!  "queries": ["q1", "q2"],
//!  "systems": [{"name": "dense", "means": {"RR@10": 0.61}, "values": {"RR@10": [1.0, 0.5]}}],
//!  "gains": [{"system": "dense", "measure": "RR@10", "against": "round 0", "n": 2, "mean_difference": 0.1, …}]}
//! ```
//!
//! `choice` is of the choosing questions, `queries`, `systems` and `gains` are of the judging ones. The loop's own report
//! has `kept`, `stopped`, `chosen_by`, `verdict`, `questions` and the rounds without `queries` and `values`. Neither
//! holds a time or a place, so equal loops give equal bytes. Fields are added, never changed in meaning, while `format`
//! stays 1.

use super::report::{CHOSEN_BY, Counts, Gain, LoopReport, MEASURES, Mined, RoundReport};
use crate::error::{Error, ErrorKind, Result};
use crate::eval::significance::ENOUGH;
use crate::mining::{self, MineReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;

const FORMAT: u32 = 1;

/// A round's report with the version of its layout.
#[derive(Serialize, Deserialize)]
struct Filed<R> {
    format: u32,
    #[serde(flatten)]
    round: R,
}

fn no_json(cause: serde_json::Error) -> Error {
    Error::bug("a report is no JSON").because(cause)
}

fn damaged(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, message)
}

/// A round's report as JSON with a final newline.
pub(super) fn round_json(report: &RoundReport) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec(&Filed { format: FORMAT, round: report }).map_err(no_json)?;
    json.push(b'\n');
    Ok(json)
}

/// Reads a round's report.
pub(super) fn round_report(bytes: &[u8]) -> Result<RoundReport> {
    let filed: Filed<RoundReport> =
        serde_json::from_slice(bytes).map_err(|e| damaged("not a round's report").because(e))?;
    if filed.format != FORMAT {
        return Err(damaged(format!("format {}, this program reads {FORMAT}", filed.format)));
    }
    Ok(filed.round)
}

/// The loop's report as pretty JSON with a final newline.
pub(super) fn loop_json(report: &LoopReport) -> Result<Vec<u8>> {
    let rounds: Vec<RoundReport> = report.rounds.iter().map(RoundReport::summary).collect();
    let whole = json!({
        "format": FORMAT,
        "kept": report.kept,
        "stopped": report.stopped.to_string(),
        "chosen_by": {"system": CHOSEN_BY.0, "measure": CHOSEN_BY.1, "questions": "choosing"},
        "verdict": report.verdict(),
        "regression": report.regression().is_some(),
        "questions": report.questions,
        "rounds": serde_json::to_value(rounds).map_err(no_json)?,
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
    serde_json::from_slice(bytes).map_err(|e| damaged("not a mining's report").because(e))
}

/// The loop's report to read: Markdown tables of figures, gains and training.
pub(super) fn markdown(report: &LoopReport) -> String {
    let kept = match report.kept {
        0 => "round 0, the model as it came".to_string(),
        round => format!("round {round}"),
    };
    let mut text = format!("# Learning loop\n\nKept: {kept}. Ended since {}.\n\n", report.stopped);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Verdict: {}.\n", report.verdict());
    text += &questions(report);
    text += &choices(report);
    text += &figures(report);
    text += &gains(report);
    text += &training(report);
    text += "\nThe settings are in `loop.json`, figures per question in each round's `report.json`.\n";
    text
}

/// Which questions are there, and what each half of the held-out ones is for.
fn questions(LoopReport { rounds, questions, .. }: &LoopReport) -> String {
    let Counts { train, held_out, choosing, judging, dropped } = questions;
    let left_out = match dropped {
        0 => String::new(),
        dropped => format!("; {dropped} questions that ask what a held-out one asks were left out of training"),
    };
    format!(
        "{train} questions were learnt from. Held out is {held_out}: neither mined for nor trained on{left_out}. Over \
         {} passages,\n\n- {choosing} held-out questions choose: the step that is kept of each training, the fusion \
         weight of each index, and the round, by {} {};\n- {judging} others chose nothing and judge: all other figures \
         and the verdict are theirs.\n\n\
         Proven means at least {ENOUGH} questions, a 95 % bootstrap interval that excludes 0, and p < .05 by the \
         randomisation test, paired question by question.\n\n",
        rounds.first().map_or(0, |round| round.passages),
        CHOSEN_BY.0,
        CHOSEN_BY.1,
    )
}

/// How each round came to be kept or not.
fn choices(report: &LoopReport) -> String {
    let (system, measure) = CHOSEN_BY;
    let mut text =
        format!("## What the choosing questions chose\n\n| round | {system} {measure} | against |{GAIN_HEAD}\n");
    text += &format!("|---|---|---|{GAIN_RULE}\n");
    for round in &report.rounds {
        let (against, cells) = match &round.choice.gain {
            None => ("", " | | |".to_string()),
            Some(gain) => (gain.against.as_str(), gain_cells(gain)),
        };
        let _ = writeln!(text, "| {} | {:.4} | {against} |{cells}", round.round, round.choice.mean);
    }
    text + "\n"
}

fn figures(report: &LoopReport) -> String {
    let mut text = format!("## What the judging questions found\n\n| round | system | {} |\n", MEASURES.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(MEASURES.len()));
    for round in &report.rounds {
        // The sparse side is the same in every round.
        for system in round.systems.iter().filter(|system| round.round == 0 || system.name != "bm25") {
            let cells = MEASURES.map(|name| format!("{:.4}", system.means.get(name).copied().unwrap_or_default()));
            let _ = writeln!(text, "| {} | {} | {} |", round.round, system.name, cells.join(" | "));
        }
    }
    let fusions: Vec<String> =
        report.rounds.iter().map(|round| format!("{} in round {}", round.fusion, round.round)).collect();
    let _ = writeln!(text, "\nHybrid is joined as the choosing questions found best: {}.\n", fusions.join(", "));
    text
}

const GAIN_HEAD: &str = " gain | 95 % interval | p | verdict |";
const GAIN_RULE: &str = "---|---|---|---|";

/// The cells below [`GAIN_HEAD`].
fn gain_cells(Gain { test, .. }: &Gain) -> String {
    let (low, high) = test.interval;
    let (gain, p) = (test.mean_difference, test.p_randomization);
    format!(" {gain:+.4} | {low:+.4} to {high:+.4} | {p:.4} | {} |", test.verdict())
}

fn gains(report: &LoopReport) -> String {
    let mut text = format!("| round | system | measure | against |{GAIN_HEAD}\n|---|---|---|---|{GAIN_RULE}\n");
    for (round, gain) in report.rounds.iter().flat_map(|round| round.gains.iter().map(move |gain| (round, gain))) {
        let Gain { system, measure, against, .. } = gain;
        let _ = writeln!(text, "| {} | {system} | {measure} | {against} |{}", round.round, gain_cells(gain));
    }
    text + "\n"
}

fn training(report: &LoopReport) -> String {
    let mut text = String::from(
        "## How each round was trained\n\n\
         | round | negatives from | examples | negatives | steps | kept step | loss |\n|---|---|---|---|---|---|---|\n",
    );
    for round in &report.rounds {
        if let (Some(mined), Some(trained)) = (&round.mined, &round.trained) {
            let kept = if trained.kept == 0 { "0 (the start)".to_string() } else { trained.kept.to_string() };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {kept} | {:.3} to {:.3} |",
                round.round,
                mined.source,
                mined.examples,
                mined.negatives,
                trained.steps,
                trained.loss_first,
                trained.loss_last
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::Stopped;
    use super::super::report::tests::{level, rounds};
    use super::*;

    fn report() -> LoopReport {
        let made = rounds(&[level(0.2), level(0.5)], false);
        let questions = Counts { train: 90, held_out: "dev.json".into(), choosing: 40, judging: 40, dropped: 1 };
        LoopReport { rounds: made, kept: 1, stopped: Stopped::AllRounds, questions }
    }

    #[test]
    fn a_round_reads_back_and_is_written_the_same_again() {
        let report = &report().rounds[1];
        let bytes = round_json(report).unwrap();
        let back = round_report(&bytes).unwrap();
        assert_eq!((back.round, &back.queries, back.gains.len()), (1, &report.queries, 3));
        assert_eq!((&back.mined, &back.choice.queries), (&report.mined, &report.choice.queries));
        // What was read is what counts: reading again changes nothing.
        assert_eq!(round_report(&round_json(&back).unwrap()).unwrap(), back);
        assert!(round_report(b"{}").is_err());
        let later = String::from_utf8(bytes).unwrap().replacen("\"format\":1", "\"format\":2", 1);
        assert!(round_report(later.as_bytes()).unwrap_err().message().contains("format 2"));
    }

    #[test]
    fn the_loop_s_reports_hold_every_round() {
        let report = report();
        let json: Value = serde_json::from_slice(&loop_json(&report).unwrap()).unwrap();
        assert_eq!((&json["kept"], json["rounds"].as_array().unwrap().len()), (&json!(1), 2));
        let round = &json["rounds"][1];
        assert!(
            round.get("queries").is_none() && round["choice"].get("values").is_none(),
            "these stay with the rounds"
        );
        assert_eq!(round["gains"][0]["n"], 40);
        let text = markdown(&report);
        for line in [
            "Kept: round 1. Ended since all rounds were made.",
            "Verdict: dense RR@10 against the model as it came: gain.",
            "Held out is dev.json: ",
            "40 held-out questions choose: the step that is kept of each training, the fusion weight of each index, and the \
             round, by dense RR@10;",
            "40 others chose nothing and judge",
            "| 1 | 0.5000 | round 0 | +0.3000 | +0.3000 to +0.3000 |",
            "| 0 | bm25 |",
            "| 1 | dense | 0.5000 |",
            "| 1 | sparse | 9 | 8 | 7 | 6 |",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("| 1 | bm25 |"));
    }
}

//! The audit as JSON, and its sheet as TSV: the contract other programs read.
//!
//! ```json
//! {
//!   "format": 1, "command": "parallax mine-negatives …",
//!   "queries": 2000, "examples": 1990, "positives": 1990, "negatives": 5970, "protected_passages": 0,
//!   "outcomes": {"full": 1990, "fewer": 10, …},
//!   "filters": [{"source": "sparse", "offered": 200000, "survived": 150000, "mined": 5970, "holds-answer": 40000, …}],
//!   "relative_margins": [{"source": "sparse", "margin": 0.12, …}],
//!   "sensitivity": {"hits": 1995, "of": 2000, "share": 0.9975, "interval": [0.994, 0.999]},
//!   "false_alarms": {…},
//!   "estimate": {"share": 0.002, "low": 0.0, "high": 0.004},
//!   "bands": [{"source": "sparse", "ranks": "1-5", "flagged": {…}, "answers": {…}, "duplicates": 7,
//!              "mined": 3000, "suspects": {…}, "answer_characters": 1, "title_holds_answer": 0,
//!              "outranks_positive": 0, "held": {…}, "estimate": {…}}],
//!   "margins": [{"source": "sparse", "unit": "score", "step": 1.0, "counts": [[0.0, 12], …]}]
//! }
//! ```
//!
//! Fields are added, never changed in meaning, while `format` stays 1. `estimate` is null where no answer is known.

use super::super::report::MineReport;
use super::super::wire::counts;
use super::{Audit, Estimate, Share};
use serde_json::{Value, json};

/// The audit and the report around it as pretty JSON with a final newline; `command` is the command as typed.
pub fn json(report: &MineReport, audit: &Audit, command: &str) -> String {
    let margins = report.margins.iter().map(|fitted| {
        json!({
            "source": fitted.source.name(), "margin": fitted.margin, "queries": fitted.queries,
            "flagged_before": fitted.before, "flagged_after": fitted.after, "flagged_far": fitted.far,
            "queries_with_enough": fitted.enough
        })
    });
    let bands = audit.bands.iter().map(|band| {
        json!({
            "source": band.source.name(), "ranks": band.band.to_string(), "flagged": share(band.flagged),
            "answers": share(band.answers), "duplicates": band.duplicates, "mined": band.suspects.of,
            "suspects": share(band.suspects), "answer_characters": band.characters, "title_holds_answer": band.titles,
            "outranks_positive": band.outranking, "held": share(band.held), "estimate": estimate(band.estimate)
        })
    });
    let histograms = audit
        .margins
        .iter()
        .map(|h| json!({"source": h.source.name(), "unit": h.unit, "step": h.step, "counts": h.counts}));
    let mut whole = counts(report);
    let found = json!({
        "format": 1,
        "command": command,
        "relative_margins": margins.collect::<Vec<_>>(),
        "sensitivity": share(audit.sensitivity),
        "false_alarms": share(audit.false_alarms),
        "estimate": estimate(audit.estimate),
        "bands": bands.collect::<Vec<_>>(),
        "margins": histograms.collect::<Vec<_>>(),
    });
    if let Value::Object(found) = found {
        whole.extend(found);
    }
    format!("{:#}\n", Value::Object(whole))
}

fn share(share: Share) -> Value {
    let (low, high) = share.interval();
    json!({"hits": share.hits, "of": share.of, "share": share.value(), "interval": [low, high]})
}

fn estimate(estimate: Option<Estimate>) -> Value {
    estimate.map_or(Value::Null, |e| json!({"share": e.share, "low": e.low, "high": e.high}))
}

/// The sheet as TSV with a header; the first column is empty and waits for a judgment (`right`, `wrong`, `unsure`).
pub fn sheet(audit: &Audit) -> String {
    let header =
        "judgment\tsource\tranks\trank\tsigns\tquery_id\tquery\tanswers\tpositive_id\tpositive\tnegative_id\tnegative";
    let mut text = format!("{header}\n");
    for row in &audit.sheet {
        let rank = row.rank.map(|rank| rank.to_string()).unwrap_or_default();
        let (band, signs, answers) = (row.band.to_string(), row.signs.join(", "), row.answers.join(" | "));
        let cells = [
            "",
            row.source.name(),
            &band,
            &rank,
            &signs,
            row.query_id.as_str(),
            &row.query,
            &answers,
            row.positive_id.as_str(),
            &row.positive,
            row.negative_id.as_str(),
            &row.negative,
        ];
        text += &cells.map(one_line).join("\t");
        text.push('\n');
    }
    text
}

/// A cell without what ends cells and lines.
fn one_line(cell: &str) -> String {
    cell.split(['\t', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).collect::<Vec<_>>().join(" ")
}

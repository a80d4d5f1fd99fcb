//! An audit as JSON: the contract other programs read.
//!
//! ```json
//! {
//!   "format": 1, "command": "parallax audit …", "index": "indexes/mine", "data": "dev.json", "train": "train.json",
//!   "passages": 20958, "questions": 10570, "training_questions": 87599, "faults": 2,
//!   "findings": [
//!     {"check": "gold-twins", "fault": true, "count": 3, "of": 2067, "detail": "4 questions, 3 twins",
//!      "examples": ["`d7` and `d9`"], "what": "…", "why": "…", "remedy": "…"}
//!   ]
//! }
//! ```
//!
//! There is one finding a check that was made, also where it found nothing; `fault` says whether the check is one that makes
//! figures wrong, `faults` how many such checks found something. Fields are added, never changed in meaning, while `format`
//! stays 1.

use super::model::Audit;
use serde_json::json;

/// Where an audit's numbers come from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The command as typed.
    pub command: String,
    /// The index folder.
    pub index: String,
    /// The data set.
    pub data: String,
    /// The training set, where one was given.
    pub train: Option<String>,
}

/// The audit as pretty JSON with a final newline.
pub fn json(audit: &Audit, origin: &Origin) -> String {
    let findings = audit.findings.iter().map(|finding| {
        json!({
            "check": finding.check.name(), "fault": finding.check.is_fault(), "count": finding.count, "of": finding.of,
            "detail": finding.detail, "examples": finding.examples, "what": finding.check.what(),
            "why": finding.check.why(), "remedy": finding.check.remedy()
        })
    });
    let whole = json!({
        "format": 1, "command": origin.command, "index": origin.index, "data": origin.data, "train": origin.train,
        "passages": audit.passages, "questions": audit.questions, "training_questions": audit.training,
        "faults": audit.faults().count(), "findings": findings.collect::<Vec<_>>()
    });
    format!("{whole:#}\n")
}

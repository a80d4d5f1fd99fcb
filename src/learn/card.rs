//! The model card of a trained model: what it was made of, how, and what it was worth.

use super::{TrainRequest, Verdict};
use crate::error::Result;
use crate::progress::Silent;
use crate::storage::{record, write_atomically};
use crate::train::TrainReport;
use std::fmt::Write;
use std::path::Path;

/// Writes `README.md` into the model's folder. Files are named without their folders, so that the same training in
/// another place writes the same card; times are left out for the same reason.
pub(super) fn write(
    request: &TrainRequest,
    report: &TrainReport,
    verdict: Option<&Verdict>,
    folder: &Path,
) -> Result<()> {
    let mut card = String::from(
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n\n# A dual encoder\n\n",
    );
    let towers = &request.towers;
    let questions = towers.question_model.as_ref().map(|choice| format!(", questions by `{}`", choice.name));
    let _ = write!(
        card,
        "Trained from `{}`{} by `parallax train`: the negative log-likelihood of each question's passage among the \
         batch's other passages and hard negatives. {} of {} planned steps, {} examples; the weights are those after \
         step {}.\n\nThe licences of the model it started from and of the examples apply to what was made of them.\n",
        towers.model.name,
        questions.unwrap_or_default(),
        report.steps,
        report.planned,
        report.examples,
        report.kept
    );
    if let Some(command) = &request.command {
        let _ = write!(card, "\n```\n{command}\n```\n");
    }
    card.push_str("\n| examples | sha256 |\n| --- | --- |\n");
    for source in &request.examples {
        let path = source.path();
        let name = path.file_name().map_or_else(|| source.to_string(), |name| name.to_string_lossy().into_owned());
        let hash = if path.is_file() { record(path, &Silent)?.sha256 } else { "read once".to_string() };
        let _ = writeln!(card, "| {name} | `{hash}` |");
    }
    if let Some(verdict) = verdict {
        let _ = write!(
            card,
            "\n{} held-out questions that chose nothing, asked of {} passages:\n\n| | before | after |\n| --- | --- | --- |\n",
            verdict.queries, verdict.passages
        );
        for ((name, before), (_, after)) in verdict.before.iter().zip(&verdict.after) {
            let _ = writeln!(card, "| {name} | {before:.4} | {after:.4} |");
        }
        let (low, high) = verdict.interval;
        let _ = writeln!(
            card,
            "\n{}: RR@10 {:+.4} [{low:+.4}, {high:+.4}], paired bootstrap.",
            verdict.name(),
            verdict.gain
        );
    }
    card.push_str("\n| setting | value |\n| --- | --- |\n");
    for (name, value) in &report.settings {
        let _ = writeln!(card, "| {name} | {value} |");
    }
    write_atomically(&folder.join("README.md"), card.as_bytes())
}

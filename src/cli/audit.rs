//! `audit`: what is wrong with an experiment, before its figures are believed.

use super::args::{Global, Reading};
use super::ui::{Ui, bold, dim, fit, safe, table, thousands};
use parallax::collection::read::{self, Source};
use parallax::compare::audit::{self, Audit, Finding, Origin, Training};
use parallax::progress::Silent;
use parallax::{Error, ErrorKind, Mode, PassageId, Result, Searcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use unicode_width::UnicodeWidthStr;

/// Audit an experiment before its figures are believed.
///
/// Looks at an index, at questions judged on it, and at what was trained on: gold passages that are missing, twins of gold
/// that nobody judged, questions that training has seen, answers outside of gold, duplicates, unjudged passages in the first
/// ranks. Says how many, why it matters and what to do.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Index name or folder.
    index: String,
    /// Questions, gold passages and answers: a BEIR folder, a SQuAD or KorQuAD JSON.
    #[arg(long, value_name = "SOURCE", help_heading = "Input")]
    data: PathBuf,
    /// Which judgments of a BEIR folder; test by default.
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    split: Option<String>,
    /// What a model was, or is to be, trained on.
    #[arg(long, value_name = "SOURCE", help_heading = "Input")]
    train: Option<PathBuf>,
    /// Which judgments of a BEIR folder were trained on.
    #[arg(long, value_name = "NAME", default_value = "train", requires = "train", help_heading = "Input")]
    train_split: String,
    /// Write every finding with examples as JSON; `-` is stdout.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// End with exit code 3 when something makes figures wrong.
    #[arg(long, help_heading = "Output")]
    gate: bool,
    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  parallax audit mine --data dev.json --train train.json
  parallax audit mine --data beir/ --train beir/ --gate --json audit.json";

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let index = global.open_index(&args.index)?;
    let (set, _) = read::query_set(&Source::new(&args.data), &args.reading.options(args.split.as_deref()))?;
    let mode = if index.dense().is_some() { Mode::Hybrid } else { Mode::Sparse };
    let searcher = Searcher::new(index, mode)?;
    let training = args.train.as_deref().map(|path| training(args, path, &searcher)).transpose()?;
    let found = audit::audit(&searcher, &set, training.as_ref(), &ui.progress())?;
    let origin = Origin {
        command: ui.command().to_string(),
        index: searcher.index().folder().display().to_string(),
        data: args.data.display().to_string(),
        train: args.train.as_ref().map(|path| path.display().to_string()),
    };
    match &args.json {
        Some(path) if path.as_os_str() == "-" => ui.data(&audit::json(&found, &origin))?,
        Some(path) => {
            std::fs::write(path, audit::json(&found, &origin)).map_err(|e| Error::io(path, "write", e))?;
            ui.data(&screen(&found))?;
        }
        None => ui.data(&screen(&found))?,
    }
    match found.faults().map(|finding| finding.check.what()).collect::<Vec<_>>() {
        faults if args.gate && !faults.is_empty() => {
            let message = format!("figures of this experiment would be wrong: {}", faults.join(", "));
            Err(Error::new(ErrorKind::Gate, message).hint("the table says what to do about each"))
        }
        _ => Ok(()),
    }
}

/// The training set, with the texts of its gold passages that the index does not hold.
fn training(args: &Args, path: &Path, searcher: &Searcher) -> Result<Training> {
    let options = args.reading.options(Some(&args.train_split));
    let (set, _) = read::query_set(&Source::new(path), &options)?;
    let mut training = Training { set, ..Training::default() };
    let missing: BTreeSet<PassageId> = training.missing_texts(searcher)?.into_iter().collect();
    if !missing.is_empty() {
        read::passages(&[Source::new(path)], &options, &Silent, &mut |passage| {
            if missing.contains(&passage.id) {
                training.texts.insert(passage.id, passage.text);
            }
            Ok(())
        })?;
    }
    Ok(training)
}

/// Columns of text.
const WIDTH: usize = 80;

/// What was found, worst first, and what to do about it.
fn screen(audit: &Audit) -> String {
    let (questions, passages) = (thousands(audit.questions as u64), thousands(audit.passages as u64));
    let mut text = format!("questions {questions}, passages {passages}");
    if let Some(training) = audit.training {
        text += &format!(", questions in training {}", thousands(training as u64));
    }
    text += "\n\n";
    let row = |finding: &Finding, verdict: String| {
        let share = if finding.of > 0 { 100.0 * finding.count as f64 / finding.of as f64 } else { 0.0 };
        let (count, of) = (thousands(finding.count as u64), thousands(finding.of as u64));
        vec![format!("{verdict} {}", finding.check.what()), count, format!("of {of}"), format!("{share:.1} %")]
    };
    let found = |finding: &&Finding| finding.count > 0;
    let faults = audit.findings.iter().filter(found).filter(|finding| finding.check.is_fault());
    let notes = audit.findings.iter().filter(found).filter(|finding| !finding.check.is_fault());
    let fine = audit.findings.iter().filter(|finding| finding.count == 0);
    let mut rows: Vec<Vec<String>> = faults.clone().map(|finding| row(finding, bold("wrong"))).collect();
    rows.extend(notes.clone().map(|finding| row(finding, "know ".into())));
    rows.extend(fine.map(|finding| row(finding, dim("fine "))));
    text += &table(&rows);
    for finding in faults.chain(notes) {
        let detail = finding.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        text += &format!("\n{}{detail}\n", bold(finding.check.what()));
        text += &wrapped(finding.check.why());
        text += &wrapped(&format!("→ {}", finding.check.remedy()));
        for example in finding.examples.iter().take(2) {
            text += &format!("  {}\n", dim(&fit(&safe(example), WIDTH - 2)));
        }
    }
    text
}

/// A sentence in indented lines of eighty columns at most, where its words let it.
pub(super) fn wrapped(sentence: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in sentence.split_whitespace() {
        if !line.is_empty() && line.width() + word.width() + 3 > WIDTH {
            text += &format!("  {line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    format!("{text}  {line}\n")
}

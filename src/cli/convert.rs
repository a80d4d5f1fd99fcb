//! `convert`: the same collection in another format.

use super::args::{self, Reading};
use super::ui::{Ui, thousands};
use clap::ValueEnum;
use parallax::Result;
use parallax::collection::write::{Target, convert};
use std::path::PathBuf;

/// Write a collection in another format.
///
/// Ids are kept. Questions, judgments and answers go along where the source has them; what the target format cannot
/// hold is counted.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to convert.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Format to write.
    #[arg(long, value_name = "FORMAT")]
    to: To,
    /// Folder to write into.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Which judgments of a BEIR folder; test by default.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Write into a folder that is not empty.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, ValueEnum)]
enum To {
    Beir,
    Dpr,
    Jsonl,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let target = match args.to {
        To::Beir => Target::Beir,
        To::Dpr => Target::Dpr,
        To::Jsonl => Target::Jsonl,
    };
    let options = args.reading.options(args.split.as_deref());
    let summary = convert(&args::sources(&args.sources), target, &args.output, args.force, &options, &ui.progress())?;
    for loss in &summary.losses {
        ui.warn(loss);
    }
    ui.note(&format!(
        "wrote {}   {} passages   {} questions   {} judgments",
        args.output.display(),
        thousands(summary.passages),
        thousands(summary.queries),
        thousands(summary.judgments)
    ));
    Ok(())
}

//! `check`: is an index what it was when it was built?

use super::args::Global;
use super::ui::{Ui, thousands};
use parallax::{Mode, Result, Searcher};

/// Check that an index is whole.
///
/// Opens it, which checks lengths, headers and structures, and asks one question. With `--deep` reads every byte and
/// compares it with the manifest's hashes, so that any flipped bit is found.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Index name or folder.
    index: String,
    /// Read and compare every byte.
    #[arg(long)]
    deep: bool,
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let index = global.open_index(&args.index)?;
    if args.deep {
        let files = index.check(&ui.progress())?;
        ui.detail(&format!("{files} files equal their hashes"));
    }
    let passages = index.len();
    // The encoder is part of what a dense index needs to answer.
    let mode = if index.dense().is_some() { Mode::Hybrid } else { Mode::Sparse };
    let searcher = Searcher::new(index, mode)?;
    if passages > 0 {
        let first = searcher.index().sparse().passage(parallax::Ordinal(0))?;
        let question: String = first.full_text().chars().take(200).collect();
        searcher.search(&question, &parallax::SearchRequest { mode, ..Default::default() })?;
    }
    let depth =
        if args.deep { "every byte is as it was built" } else { "opens and answers; `--deep` reads every byte" };
    ui.data(&format!("{}: {} passages, {depth}\n", args.index, thousands(passages as u64)))
}

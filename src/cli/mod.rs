//! The command table: one file a command, shared flags in [`args`], everything printed goes through [`ui`].

pub(crate) mod args;
mod audit;
mod build_index;
mod check;
mod compare;
mod convert;
mod demo;
mod diagnosis;
mod distill;
mod fetch;
mod info;
mod learning_loop;
mod mine_negatives;
mod query;
mod train;
pub(crate) mod ui;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use parallax::{Error, Result};
use std::ffi::OsString;
use ui::Ui;

/// Hybrid passage retrieval, and the teaching of it.
///
/// Builds a BM25 index and a dense index side by side from one collection, searches both, fuses their scores per
/// query, and reports which retriever finds the right passage. Works offline: the default encoder is inside.
#[derive(Parser)]
#[command(name = "parallax", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: args::Global,
}

const EXAMPLES: &str = "\
Examples:
  parallax demo
  parallax build-index corpus/ --name mine
  parallax query mine \"who discovered the moons of Jupiter\"
  parallax compare mine --data questions.json";

#[derive(Subcommand)]
enum Command {
    BuildIndex(build_index::Args),
    Query(query::Args),
    Compare(compare::Args),
    Audit(audit::Args),
    MineNegatives(Box<mine_negatives::Args>),
    Info(info::Args),
    Check(check::Args),
    Train(Box<train::Args>),
    Loop(Box<learning_loop::Args>),
    Convert(convert::Args),
    Distill(distill::Args),
    Demo(demo::Args),
}

/// Parses the command line, runs one command and gives the exit code.
pub(crate) fn run(words: Vec<OsString>) -> u8 {
    let matches = match Cli::command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nothing is left to tell it to when even this cannot be written.
            let _ = error.print();
            return code;
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return 2;
        }
    };
    let typed = words.iter().skip(1).map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let ui = Ui::new(&cli.global, format!("parallax {typed}"));
    match ui.guarded(|| dispatch(&cli, &ui)) {
        Ok(()) => 0,
        Err(error) => ui.fail(&error),
    }
}

fn dispatch(cli: &Cli, ui: &Ui) -> Result<()> {
    if let Some(threads) = cli.global.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(threads))
            .build_global()
            .map_err(|e| Error::usage(format!("could not use {threads} threads")).because(e))?;
    }
    match &cli.command {
        Command::BuildIndex(args) => build_index::run(args, &cli.global, ui),
        Command::Query(args) => query::run(args, &cli.global, ui),
        Command::Compare(args) => compare::run(args, &cli.global, ui),
        Command::Audit(args) => audit::run(args, &cli.global, ui),
        Command::MineNegatives(args) => mine_negatives::run(args, &cli.global, ui),
        Command::Info(args) => info::run(args, &cli.global, ui),
        Command::Check(args) => check::run(args, &cli.global, ui),
        Command::Train(args) => train::run(args, ui),
        Command::Loop(args) => learning_loop::run(args, ui),
        Command::Convert(args) => convert::run(args, ui),
        Command::Distill(args) => distill::run(args, ui),
        Command::Demo(args) => demo::run(args, &cli.global, ui),
    }
}

/// A word as it has to be typed again in a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

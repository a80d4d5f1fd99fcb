//! One binary for all tests of the program as a whole.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod support;

/// `audit`: planted faults, and the gate.
mod audit;
/// `build-index`: what is read, published, and survives.
mod build_index;
/// `compare`: parity with trec_eval and with published baselines.
mod compare;
/// `demo`: the bare binary anywhere.
mod demo;
/// `compare --diagnose`: causes on the screen and as JSON lines.
mod diagnose;
/// Every error a user can cause: message, hint, exit code.
mod errors;
/// Encoders from a hub on loopback.
#[cfg(feature = "hub")]
mod fetch;
/// Damaged and old files.
mod formats;
/// Fusion: engines' presets, tuning, its file.
mod fusion;
/// Gold passages against answers.
mod gap;
/// Every help screen.
mod help;
/// `loop`: rounds, kills and resumption.
mod learning_loop;
/// `mine-negatives`: files, splits, threads.
mod mine_negatives;
/// `query`: answers and their reasons.
mod query;
/// The README's commands.
mod readme;
/// `compare --report`: files, earlier reports, the page in a browser.
mod report;
/// The house rules as tests.
mod tidy;
/// `train`: folders, verdicts, gates, refusals.
mod train;
/// Measures against trec_eval's own code.
mod trec;

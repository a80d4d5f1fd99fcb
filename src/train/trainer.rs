//! Training: example sets and towers in, a model folder out, with a log and figures on the way.
//!
//! [`train`] makes the data ready, measures the model as it comes, then steps: batch, loss and gradients
//! ([`gradcache`](super::gradcache)), clipping, AdamW. Every so often the weights are written as a model folder for the caller to
//! measure; the best of all measured, the beginning among them, is what the output folder holds in the end. Without
//! validation that is the last.
//!
//! ```text
//! OUTPUT/               the model (shared tower), or
//!        question/  passage/   the two of separate towers
//!        train.jsonl    a line a step: loss, rate, gradient length, examples/s; a line a validation
//!        train.json     the report; its presence says that training is over
//!        training/      checkpoints, gone at the end
//! ```
//!
//! Stopped at any step and resumed, the weights are those of a run that was not stopped, bit for bit, on one machine and
//! with one number of threads. A loss, gradient, weight or figure that is not finite stops it: no checkpoint is written
//! of such a step, and the last good one is kept.
//!
//! ```no_run
//! use candle_core::Device;
//! use parallax::Silent;
//! use parallax::train::{Claim, Hooks, TrainOptions, data::ExampleSet, fixed::FixedTower, gradcache::Towers, train};
//! let towers = Towers::shared(Box::new(FixedTower::builtin(&Device::Cpu)?));
//! let sets = [ExampleSet { name: "squad".into(), examples: Vec::new() }];
//! let options = TrainOptions::for_static();
//! let claim = Claim::take("out".as_ref(), &options)?;
//! let report = train(&towers, &sets, &options, &mut Hooks::default(), &claim, &Silent)?;
//! assert!(report.loss_last < report.loss_first);
//! # Ok::<(), parallax::Error>(())
//! ```

mod claim;
mod log;
mod losses;
mod run;
mod teacher;

pub use claim::Claim;
pub(super) use losses::Losses;

use super::batch;
use super::checkpoint::compare;
use super::data::{Data, DataReport, ExampleSet};
use super::gradcache::Towers;
use super::gradients::with_values;
use super::options::TrainOptions;
use super::tower::{Tower, passage_text};
use crate::encoder::contract::{Encoder, Role, Similarity};
use crate::error::{Error, Result};
use crate::progress::{Progress, Stage};
use crate::storage::create_folder;
use fs_err as fs;
use run::Run;
use serde::{Deserialize, Serialize};
use std::path::Path;
use teacher::Teacher;

/// Folder of the question tower in the output of separate towers.
pub const QUESTION: &str = "question";
/// Folder of the passage tower in the output of separate towers.
pub const PASSAGE: &str = "passage";
/// The report's file.
pub const REPORT: &str = "train.json";
/// The log's file.
pub const LOG: &str = "train.jsonl";

/// What a validation found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// What decides, higher is better.
    pub value: f64,
    /// Everything measured, by name.
    pub figures: Vec<(String, f64)>,
}

/// Measures the model in a folder, laid out as the output will be.
pub type Validate<'a> = dyn FnMut(&Path) -> Result<Validation> + 'a;

/// What the caller adds to a training.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Called before the first step, every [`TrainOptions::validate_every`] steps and after the last. The same weights
    /// must give the same figures, or a resumed training is not the same.
    pub validate: Option<&'a mut Validate<'a>>,
    /// What it measures on, as a fingerprint: a training is not resumed with another choice of its best step.
    pub validation: Option<String>,
    /// An encoder whose scores are learnt too.
    pub teacher: Option<&'a dyn Encoder>,
}

/// How a training went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Steps made.
    pub steps: usize,
    /// Steps planned; more than were made where it ended early.
    pub planned: usize,
    /// Steps an epoch.
    pub steps_per_epoch: usize,
    /// Examples gone through.
    pub examples: u64,
    /// Mean loss of the first steps: 20, or half of all where these are fewer.
    pub loss_first: f64,
    /// Mean loss of as many steps at the end, none of them among the first; the same figure only after a single step.
    pub loss_last: f64,
    /// Figures before the first step.
    pub baseline: Option<Validation>,
    /// Step of the model that was kept: the best where there was validation.
    pub kept: usize,
    /// Its figures.
    pub best: Option<Validation>,
    /// Figures after the last step.
    pub last: Option<Validation>,
    /// What was found in the examples.
    pub data: DataReport,
    /// Seconds, of the last run where it was resumed; validation not counted.
    pub seconds: f64,
    /// Every setting, as names and values.
    pub settings: Vec<(String, String)>,
}

/// Trains the towers and writes the model into a claimed folder; see the module's head.
///
/// # Errors
///
/// Refuses options, towers or examples from which nothing could be learnt, and a resumed training whose settings or
/// data differ. Stops at a loss, gradient, weight or figure that is not finite. An interrupted training writes a checkpoint before it gives [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
pub fn train(
    towers: &Towers,
    sets: &[ExampleSet],
    options: &TrainOptions,
    hooks: &mut Hooks<'_>,
    claim: &Claim,
    progress: &dyn Progress,
) -> Result<TrainReport> {
    options.check()?;
    options.fits(towers)?;
    let data = Data::prepare(sets, &*towers.question, towers.passage(), options, progress)?;
    batch::check(&data, options)?;
    warn(&data, progress);
    let settings = settings(towers, options, hooks, &data)?;
    if let Some(report) = finished(claim.output())? {
        compare(&report.settings, &settings).map_err(|e| e.in_file(claim.output().join(REPORT)))?;
        claim.checkpoints.remove()?;
        return Ok(report);
    }
    let mut run = Run::new(towers, &data, options, claim, settings, progress)?;
    progress.begin(Stage::Training, Some(run.total as u64));
    progress.resumed(Stage::Training, run.state.step as u64);
    let done = run.all_steps(hooks, hooks.teacher.map(|encoder| Teacher::new(encoder, &data)));
    progress.finish(Stage::Training);
    done?;
    run.finish()
}

/// Bytes a training holds at its peak, estimated: four floats a trained weight (value, gradient, two moments) and the
/// towers' activations of a chunk, with token counts of a sample of the examples, and the arrays of the loss.
pub fn memory_estimate(towers: &Towers, sets: &[ExampleSet], options: &TrainOptions) -> Result<u64> {
    let examples: Vec<_> = sets.iter().flat_map(|set| &set.examples).collect();
    let sample: Vec<_> = examples.iter().step_by(examples.len().div_ceil(256).max(1)).collect();
    let (mut queries, mut passages, mut count) = (0, 0, 0);
    for example in &sample {
        queries += towers.question.tokens(&example.query.text, Role::Query)?.len();
        for passage in example.positives.iter().chain(&example.negatives).take(options.hard_negatives.saturating_add(1))
        {
            passages += towers.passage().tokens(&passage_text(passage), Role::Passage)?.len();
            count += 1;
        }
    }
    let (b, d) = (options.batch.min(examples.len()), towers.question.dimension());
    let m = b.saturating_mul(count) / sample.len().max(1);
    let bytes = towers.all().enumerate().flat_map(|(i, tower)| {
        let still = i == 1 && towers.freeze_passage;
        let bytes = move |count: usize, trained: bool| count as u64 * if trained && !still { 16 } else { 4 };
        tower.parameters().iter().map(move |parameter| bytes(parameter.var.elem_count(), parameter.trained))
    });
    let chunk = |tower: &dyn Tower, texts: usize, tokens: usize, of: usize| {
        let texts = texts.min(options.chunk);
        tower.activation_bytes(texts, (texts * tokens).div_ceil(of.max(1)))
    };
    let activations =
        chunk(&*towers.question, b, queries, sample.len()).max(chunk(towers.passage(), m, passages, count));
    let [b, m, d] = [b, m, d].map(|n| n as u64);
    let scores = b.saturating_mul(m).saturating_mul(40);
    let rows = b.saturating_add(m).saturating_mul(d).saturating_mul(12);
    Ok([activations, scores, rows].into_iter().fold(bytes.sum(), u64::saturating_add))
}

/// Writes the towers into a folder: one at its root, two into [`QUESTION`] and [`PASSAGE`].
pub fn write_model(towers: &Towers, similarity: Similarity, folder: &Path) -> Result<()> {
    match &towers.passage {
        None => towers.question.write(folder, similarity),
        Some(passage) => {
            let (q, p) = (folder.join(QUESTION), folder.join(PASSAGE));
            create_folder(&q)?;
            create_folder(&p)?;
            towers.question.write(&q, similarity)?;
            passage.write(&p, similarity)
        }
    }
}

/// The report of a training that is over.
fn finished(output: &Path) -> Result<Option<TrainReport>> {
    let path = output.join(REPORT);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::damaged(&path, "not a training's report").because(e))
}

fn warn(data: &Data<'_>, progress: &dyn Progress) {
    let report = data.report();
    for set in &report.without_negatives {
        progress.warn(&format!(
            "`{set}` trains on in-batch negatives alone: it has no hard negatives, or none were asked for"
        ));
    }
    if report.false_negatives > 0 {
        let n = report.false_negatives;
        progress.warn(&format!("{n} hard negatives are a positive of their query, or nearly one, and were left out"));
    }
    if report.unknown > 0 {
        progress.warn(&format!("{} texts hold no token the model knows and teach it nothing", report.unknown));
    }
}

/// All that weights follow from.
fn settings(
    towers: &Towers,
    options: &TrainOptions,
    hooks: &Hooks<'_>,
    data: &Data<'_>,
) -> Result<Vec<(String, String)>> {
    // What was left to the model is named, so that asking for the same is no other setting.
    let loss = options.loss(&*towers.question);
    let named =
        TrainOptions { similarity: Some(loss.similarity), temperature: Some(loss.temperature), ..options.clone() };
    let mut settings: Vec<(String, String)> =
        named.settings().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let mut set = |name: &str, value: String| settings.push((name.to_string(), value));
    set("teacher", hooks.teacher.map_or("none".into(), |teacher| teacher.card().fingerprint.clone()));
    let validation = hooks.validation.clone().unwrap_or("without a fingerprint".into());
    set("validation set", if hooks.validate.is_some() { validation } else { "none".into() });
    set("frozen passage tower", towers.freeze_passage.to_string());
    set("examples", data.fingerprint());
    for (name, tower) in ["start of the first tower", "start of the second tower"].iter().zip(towers.all()) {
        let mut crc = crc32fast::Hasher::new();
        for parameter in tower.parameters() {
            crc.update(parameter.name.as_bytes());
            with_values(parameter.var.as_tensor(), |values| crc.update(bytemuck::cast_slice(values)))?;
        }
        set(name, format!("{:08x} {}", crc.finalize(), tower.settings()));
    }
    Ok(settings)
}

#[cfg(test)]
#[path = "trainer/tests.rs"]
mod tests;

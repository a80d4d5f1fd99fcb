//! Training: example sets and towers in, a model folder out, with a log and figures on the way.
//!
//! [`train`] makes the data ready, measures the model as it comes, then steps: batch, loss and gradients
//! ([`GradCache`]), clipping, AdamW. Every so often the weights are written as a model folder for the caller to
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
//! with one number of threads. A loss or gradient that is not finite stops it, and the last checkpoint is kept.
//!
//! ```no_run
//! use candle_core::Device;
//! use parallax::Silent;
//! use parallax::train::{Hooks, TrainOptions, data::ExampleSet, fixed::FixedTower, gradcache::Towers, train};
//! let towers = Towers::shared(Box::new(FixedTower::builtin(&Device::Cpu)?));
//! let sets = [ExampleSet { name: "squad".into(), examples: Vec::new() }];
//! let report = train(&towers, &sets, &TrainOptions::for_static(), &mut Hooks::default(), "out".as_ref(), &Silent)?;
//! assert!(report.loss_last < report.loss_first);
//! # Ok::<(), parallax::Error>(())
//! ```

mod log;
mod teacher;

use super::batch::{self, Epoch};
use super::checkpoint::{Best, Checkpoints, State, compare, read_weights, write_weights};
use super::data::{Data, DataReport, ExampleSet};
use super::gradcache::{GradCache, Towers};
use super::gradients::{Gradient, Gradients, with_values};
use super::optimizer::{AdamW, Optimizer, Schedule, clip};
use super::options::TrainOptions;
use super::tower::{Tower, passage_text};
use crate::encoder::contract::{Encoder, Role, Similarity};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Progress, Stage};
use crate::random::mix;
use crate::storage::{WriteLock, create_folder, write_atomically};
use fs_err as fs;
use log::Log;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use teacher::Teacher;

/// Folder of the question tower in the output of separate towers.
pub const QUESTION: &str = "question";
/// Folder of the passage tower in the output of separate towers.
pub const PASSAGE: &str = "passage";
/// The report's file.
pub const REPORT: &str = "train.json";
/// The log's file.
pub const LOG: &str = "train.jsonl";
/// Steps whose mean loss is the first one reported, and over which the moving mean forgets.
const WINDOW: usize = 20;

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
    /// Mean loss of the first steps.
    pub loss_first: f64,
    /// Moving mean of the loss at the end.
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

/// Trains the towers and writes the model; see the module's head.
///
/// # Errors
///
/// Refuses options, towers or examples from which nothing could be learnt, a folder that holds something already, and
/// a resumed training whose settings or data differ. Stops at a loss or gradient that is not finite. An interrupted
/// training writes a checkpoint before it gives [`ErrorKind::Interrupted`].
pub fn train(
    towers: &Towers,
    sets: &[ExampleSet],
    options: &TrainOptions,
    hooks: &mut Hooks<'_>,
    output: &Path,
    progress: &dyn Progress,
) -> Result<TrainReport> {
    towers.check()?;
    options.check(towers.question.dimension())?;
    create_folder(output)?;
    let _lock = WriteLock::take(output)?;
    let checkpoints = Checkpoints::of(output);
    let newest = checkpoints.newest()?;
    if !options.resume {
        vacant(output, newest.is_some())?;
    }
    let data = Data::prepare(sets, &*towers.question, towers.passage(), options, progress)?;
    batch::check(&data, options)?;
    warn(&data, progress);
    let settings = settings(towers, options, hooks, &data)?;
    if let Some(report) = finished(output)? {
        compare(&report.settings, &settings).map_err(|e| e.in_file(output.join(REPORT)))?;
        return Ok(report);
    }
    create_folder(checkpoints.folder())?;
    let mut run = Run::new(towers, &data, options, output, checkpoints, settings, progress)?;
    match newest {
        Some(folder) => run.resume(&folder)?,
        None => run.log = Log::open(&output.join(LOG), 0)?,
    }
    let teacher = hooks.teacher.map(|encoder| Teacher::new(encoder, &data));
    progress.begin(Stage::Training, Some(run.total as u64));
    progress.advance(Stage::Training, run.state.step as u64);
    let done = run.all_steps(hooks, teacher);
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
        for passage in example.positives.iter().chain(&example.negatives).take(1 + options.hard_negatives) {
            passages += towers.passage().tokens(&passage_text(passage), Role::Passage)?.len();
            count += 1;
        }
    }
    let (b, d) = (options.batch.min(examples.len()), towers.question.dimension());
    let m = b * count / sample.len().max(1);
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
    let loss = 4 * (10 * b * m + 3 * (b + m) * d) as u64;
    Ok(bytes.sum::<u64>() + activations + loss)
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

/// Refuses a folder in which something would be overwritten.
fn vacant(output: &Path, unfinished: bool) -> Result<()> {
    let message = match () {
        () if unfinished => "an unfinished training",
        () if output.join(REPORT).exists() => "a finished training",
        () if ["modules.json", "config.json", QUESTION, PASSAGE].iter().any(|name| output.join(name).exists()) => {
            "a model"
        }
        () => return Ok(()),
    };
    let error = Error::usage(format!("`{}` holds {message} already", output.display()));
    Err(if unfinished {
        error.hint("go on with `--resume`, or name another folder")
    } else {
        error.hint("name another folder")
    })
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
    let mut settings: Vec<(String, String)> =
        options.settings().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let mut set = |name: &str, value: String| settings.push((name.to_string(), value));
    set("teacher", hooks.teacher.map_or("none".into(), |teacher| teacher.card().fingerprint.clone()));
    set("validation", if hooks.validate.is_some() { "yes" } else { "no" }.into());
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

/// A training under way.
struct Run<'a> {
    towers: &'a Towers,
    data: &'a Data<'a>,
    options: &'a TrainOptions,
    output: &'a Path,
    progress: &'a dyn Progress,
    cache: GradCache<'a>,
    optimizers: Vec<Optimizer>,
    schedule: Schedule,
    /// Steps planned.
    total: usize,
    epoch_steps: usize,
    similarity: Similarity,
    checkpoints: Checkpoints,
    state: State,
    /// Step of the newest checkpoint.
    saved: Option<usize>,
    log: Log,
    started: Instant,
    /// Seconds of validation, which examples/s leave out.
    aside: f64,
    loss_first: f64,
    loss_mean: f64,
}

impl<'a> Run<'a> {
    fn new(
        towers: &'a Towers,
        data: &'a Data<'a>,
        options: &'a TrainOptions,
        output: &'a Path,
        checkpoints: Checkpoints,
        settings: Vec<(String, String)>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let epoch_steps = Epoch::new(data, options, 0).len();
        let total = (options.epochs * epoch_steps).min(options.steps.unwrap_or(usize::MAX));
        let loss = options.loss(&*towers.question);
        let similarity = loss.similarity;
        let constants = AdamW { weight_decay: options.weight_decay, ..AdamW::default() };
        let trained = towers.all().take(if towers.freeze_passage { 1 } else { 2 });
        Ok(Run {
            cache: GradCache::new(towers, loss, options.chunk),
            optimizers: trained.map(|tower| Optimizer::new(constants, tower.parameters())).collect::<Result<_>>()?,
            schedule: Schedule { rate: options.rate, warmup: options.warmup_steps(total), total, decay: options.decay },
            state: State { settings, ..State::default() },
            log: Log::open(&output.join(LOG), u64::MAX)?,
            towers,
            data,
            options,
            output,
            progress,
            total,
            epoch_steps,
            similarity,
            checkpoints,
            saved: None,
            started: Instant::now(),
            aside: 0.0,
            loss_first: 0.0,
            loss_mean: 0.0,
        })
    }

    fn resume(&mut self, folder: &Path) -> Result<()> {
        let settings = std::mem::take(&mut self.state.settings);
        self.state = self.checkpoints.load(folder, &settings, self.towers.all(), &mut self.optimizers)?;
        let number = |text: &str| {
            text.parse().map_err(|_| Error::damaged(folder, format!("`{text}` is no number of its state")))
        };
        (self.loss_first, self.loss_mean) = (number(&self.state.loss_first)?, number(&self.state.loss_mean)?);
        self.saved = Some(self.state.step);
        self.log = Log::open(&self.output.join(LOG), self.state.log_bytes)?;
        Ok(())
    }

    /// Steps, validations and checkpoints until the end. What is done at a step's head is done again when a run that
    /// died there is resumed, with the same outcome.
    fn all_steps(&mut self, hooks: &mut Hooks<'_>, mut teacher: Option<Teacher<'_>>) -> Result<()> {
        let every = self.options.validate_every.unwrap_or(self.epoch_steps);
        let mut epoch: Option<(usize, Epoch)> = None;
        let from = self.state.examples;
        loop {
            let step = self.state.step;
            let due = step.is_multiple_of(every) || step == self.total;
            if let Some(validate) = hooks.validate.as_mut().filter(|_| due && self.state.validated != Some(step)) {
                self.validate(&mut **validate).or_else(|e| self.interrupted(e))?;
            }
            let early = self.options.patience.is_some_and(|patience| self.state.without_gain >= patience);
            if step == self.total || early {
                return Ok(());
            }
            if step > 0 && step.is_multiple_of(self.options.checkpoint_every) && self.saved != Some(step) {
                self.save()?;
            }
            self.progress.checkpoint().or_else(|e| self.interrupted(e))?;
            let number = step / self.epoch_steps;
            if epoch.as_ref().is_none_or(|(of, _)| *of != number) {
                epoch = Some((number, Epoch::new(self.data, self.options, number)));
            }
            if let Some((_, epoch)) = &epoch {
                self.step(epoch, teacher.as_mut(), from)?;
            }
        }
    }

    fn step(&mut self, epoch: &Epoch, teacher: Option<&mut Teacher<'_>>, from: u64) -> Result<()> {
        let step = self.state.step;
        let batch = epoch.batch(self.data, self.options, step % self.epoch_steps);
        let device = self.towers.question.device();
        let scores = teacher.map(|teacher| teacher.scores(&batch, self.data, device)).transpose()?;
        let seed = mix(self.options.seed ^ mix(step as u64 + 1));
        let loss = self.cache.step(&batch, scores.as_ref(), seed)?;
        let norms = self.cache.gradients.iter().map(Gradients::norm).collect::<Result<Vec<_>>>()?;
        let norm = norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        if step == 0 {
            self.reached()?;
        }
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(self.not_finite(step + 1, loss, norm));
        }
        let rate = self.schedule.rate_of(step);
        let scale = clip(norm, self.options.clip);
        for ((tower, optimizer), gradients) in self.towers.all().zip(&mut self.optimizers).zip(&self.cache.gradients) {
            optimizer.step(tower.parameters(), gradients, rate, scale)?;
        }
        self.state.step += 1;
        self.state.examples += batch.queries.len() as u64;
        let n = self.state.step.min(WINDOW) as f64;
        self.loss_mean += (loss - self.loss_mean) / n;
        if step < WINDOW {
            self.loss_first = self.loss_mean;
        }
        let seconds = self.started.elapsed().as_secs_f64() - self.aside;
        let speed = (self.state.examples - from) as f64 / seconds.max(1e-9);
        self.log.write(&json!({
            "step": step + 1, "epoch": self.state.step as f64 / self.epoch_steps as f64, "set": batch.set,
            "loss": loss, "rate": rate, "gradient": norm, "alone": batch.alone, "examples_per_second": speed.round(),
        }))?;
        self.progress.advance(Stage::Training, 1);
        self.progress.figure(Stage::Training, "loss", self.loss_mean);
        Ok(())
    }

    /// Refuses to train a tower whose weights the gradient does not reach: operations without one cut it silently.
    fn reached(&self) -> Result<()> {
        for (tower, gradients) in self.towers.all().zip(&self.cache.gradients) {
            for (i, parameter) in tower.parameters().iter().enumerate() {
                if parameter.trained && matches!(gradients.get(i), Gradient::None) {
                    return Err(Error::bug(format!("no gradient reaches `{}`", parameter.name)));
                }
            }
        }
        Ok(())
    }

    fn validate(&mut self, validate: &mut Validate<'_>) -> Result<()> {
        let started = Instant::now();
        let step = self.state.step;
        let candidate = self.checkpoints.folder().join("candidate");
        if candidate.exists() {
            fs::remove_dir_all(&candidate).map_err(|e| Error::io(&candidate, "remove", e))?;
        }
        create_folder(&candidate)?;
        write_model(self.towers, self.similarity, &candidate)?;
        let mut found = validate(&candidate)?;
        if !found.value.is_finite() {
            return Err(Error::bad_input(format!("validation after step {step} gave {}", found.value)));
        }
        found.value = rounded(found.value);
        // JSON has no NaN.
        found.figures.retain(|(_, figure)| figure.is_finite());
        found.figures.iter_mut().for_each(|(_, figure)| *figure = rounded(*figure));
        let best = self.state.best.as_ref().map_or(f64::NEG_INFINITY, |best| best.validation.value);
        if found.value > best {
            write_weights(&self.checkpoints.best(step), self.towers.all())?;
            self.state.best = Some(Best { step, validation: found.clone() });
            self.state.without_gain = 0;
        } else {
            self.state.without_gain += 1;
        }
        if step == 0 {
            self.state.baseline = Some(found.clone());
        }
        self.state.validated = Some(step);
        let by_name: serde_json::Map<_, _> = found.figures.iter().map(|(name, x)| (name.clone(), json!(x))).collect();
        self.log.write(&json!({"step": step, "validation": found.value, "figures": by_name}))?;
        self.state.last = Some(found);
        self.aside += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.state.log_bytes = self.log.bytes;
        (self.state.loss_first, self.state.loss_mean) = (self.loss_first.to_string(), self.loss_mean.to_string());
        self.checkpoints.save(&mut self.state, self.towers.all(), &self.optimizers)?;
        self.saved = Some(self.state.step);
        Ok(())
    }

    /// Keeps where it stands when the user asked to stop; other errors pass.
    fn interrupted(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
        self.save()?;
        Err(Error::new(ErrorKind::Interrupted, format!("interrupted after step {}", self.state.step))
            .hint("go on with `--resume`"))
    }

    fn not_finite(&self, step: usize, loss: f64, norm: f64) -> Error {
        let what = if loss.is_finite() { ("length of the gradient", norm) } else { ("loss", loss) };
        let error = Error::bad_input(format!("the {} at step {step} is {}", what.0, what.1))
            .hint("train into another folder with a lower rate (`--lr`) or a longer warm-up");
        match self.saved {
            Some(saved) => error.hint(format!(
                "the checkpoint after step {saved} is kept in `{}`",
                self.checkpoints.folder().display()
            )),
            None => error,
        }
    }

    /// Writes the best weights as the model, then the report, and removes the checkpoints.
    fn finish(self) -> Result<TrainReport> {
        let kept = self.state.best.as_ref().map_or(self.state.step, |best| best.step);
        if kept != self.state.step {
            read_weights(&self.checkpoints.best(kept), self.towers.all())?;
        }
        write_model(self.towers, self.similarity, self.output)?;
        let report = TrainReport {
            steps: self.state.step,
            planned: self.total,
            steps_per_epoch: self.epoch_steps,
            examples: self.state.examples,
            loss_first: rounded(self.loss_first),
            loss_last: rounded(self.loss_mean),
            baseline: self.state.baseline,
            kept,
            best: self.state.best.map(|best| best.validation),
            last: self.state.last,
            data: self.data.report().clone(),
            seconds: rounded(self.started.elapsed().as_secs_f64() - self.aside),
            settings: self.state.settings,
        };
        let json = serde_json::to_vec_pretty(&report).map_err(|e| Error::bug("a report is no JSON").because(e))?;
        write_atomically(&self.output.join(REPORT), &json)?;
        self.checkpoints.remove()?;
        Ok(report)
    }
}

/// Twelve significant digits. Reading JSON gives such a number back exactly, which it need not for longer ones.
fn rounded(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}

#[cfg(test)]
#[path = "trainer/tests.rs"]
mod tests;

//! The steps of a training, and what happens between them.
//!
//! At the head of each step, in this order: validation where it is due, the end where it is reached, a checkpoint where
//! it is due, and the question whether to stop. What was done at the head and not yet kept is done again by a resumed
//! run, with the same outcome. Then the step: batch, loss and gradients, clipping, AdamW, a line of the log. Nothing is
//! measured or kept of weights that are not finite.

use super::log::Log;
use super::teacher::Teacher;
use super::{Claim, Hooks, LOG, REPORT, TrainReport, Validate, write_model};
use crate::encoder::contract::Similarity;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Progress, Stage};
use crate::random::mix;
use crate::storage::{create_folder, write_atomically};
use crate::train::batch::Epoch;
use crate::train::checkpoint::{Best, State, read_weights, write_weights};
use crate::train::data::Data;
use crate::train::gradcache::{GradCache, Towers};
use crate::train::gradients::{Gradient, Gradients};
use crate::train::optimizer::{AdamW, Optimizer, Schedule, clip};
use crate::train::options::TrainOptions;
use fs_err as fs;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// A training under way.
pub(super) struct Run<'a> {
    towers: &'a Towers,
    data: &'a Data<'a>,
    options: &'a TrainOptions,
    claim: &'a Claim,
    progress: &'a dyn Progress,
    cache: GradCache<'a>,
    optimizers: Vec<Optimizer>,
    schedule: Schedule,
    /// Steps planned.
    pub(super) total: usize,
    epoch_steps: usize,
    similarity: Similarity,
    pub(super) state: State,
    /// Step of the newest checkpoint.
    saved: Option<usize>,
    /// The step after which weights and moments were found finite last.
    sound: Option<usize>,
    log: Log,
    started: Instant,
    /// Seconds of validation, which examples/s leave out.
    aside: f64,
}

impl<'a> Run<'a> {
    /// At the first step, or where the newest checkpoint left off.
    pub(super) fn new(
        towers: &'a Towers,
        data: &'a Data<'a>,
        options: &'a TrainOptions,
        claim: &'a Claim,
        settings: Vec<(String, String)>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let epoch_steps = Epoch::new(data, options, 0).len();
        let total = options.total(epoch_steps);
        let loss = options.loss(&*towers.question);
        let similarity = loss.similarity;
        let constants = AdamW { weight_decay: options.weight_decay, ..AdamW::default() };
        let trained = towers.all().take(if towers.freeze_passage { 1 } else { 2 });
        let newest = claim.checkpoints.newest()?;
        let mut run = Run {
            cache: GradCache::new(towers, loss, options.chunk),
            optimizers: trained.map(|tower| Optimizer::new(constants, tower.parameters())).collect::<Result<_>>()?,
            schedule: Schedule { rate: options.rate, warmup: options.warmup_steps(total), total, decay: options.decay },
            state: State { settings, ..State::default() },
            log: Log::open(&claim.output().join(LOG), if newest.is_some() { u64::MAX } else { 0 })?,
            towers,
            data,
            options,
            claim,
            progress,
            total,
            epoch_steps,
            similarity,
            saved: None,
            sound: None,
            started: Instant::now(),
            aside: 0.0,
        };
        if let Some(folder) = newest {
            run.resume(&folder)?;
        }
        Ok(run)
    }

    fn resume(&mut self, folder: &Path) -> Result<()> {
        let settings = std::mem::take(&mut self.state.settings);
        self.state = self.claim.checkpoints.load(folder, &settings, self.towers.all(), &mut self.optimizers)?;
        self.saved = Some(self.state.step);
        self.log = Log::open(&self.claim.output().join(LOG), self.state.log_bytes)?;
        Ok(())
    }

    /// Steps, validations and checkpoints until the end.
    pub(super) fn all_steps(&mut self, hooks: &mut Hooks<'_>, mut teacher: Option<Teacher<'_>>) -> Result<()> {
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
                return self.finite();
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
        for (what, value) in [("loss", loss), ("length of the gradient", norm)] {
            if !value.is_finite() {
                return Err(self.diverged(format!("the {what} at step {} is {value}", step + 1)));
            }
        }
        let rate = self.schedule.rate_of(step);
        let scale = clip(norm, self.options.clip);
        for ((tower, optimizer), gradients) in self.towers.all().zip(&mut self.optimizers).zip(&self.cache.gradients) {
            optimizer.step(tower.parameters(), gradients, rate, scale)?;
        }
        self.state.step += 1;
        self.state.examples += batch.queries.len() as u64;
        self.state.losses.push(loss);
        let seconds = self.started.elapsed().as_secs_f64() - self.aside;
        let speed = (self.state.examples - from) as f64 / seconds.max(1e-9);
        self.log.write(&json!({
            "step": step + 1, "epoch": self.state.step as f64 / self.epoch_steps as f64, "set": batch.set,
            "loss": loss, "rate": rate, "gradient": norm, "alone": batch.alone, "examples_per_second": speed.round(),
        }))?;
        self.progress.advance(Stage::Training, 1);
        self.progress.figure(Stage::Training, "loss", self.state.losses.now());
        self.progress.figure(Stage::Training, "examples/s", speed);
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

    /// Refuses to measure or keep weights that are no numbers. A row that no later text uses spoils no loss, so that
    /// they are looked at themselves.
    fn finite(&mut self) -> Result<()> {
        let step = self.state.step;
        if self.sound != Some(step) {
            for (tower, optimizer) in self.towers.all().zip(&self.optimizers) {
                if let Some(what) = optimizer.not_finite(tower.parameters())? {
                    return Err(self.diverged(format!("after step {step} some {what} are not finite")));
                }
            }
            self.sound = Some(step);
        }
        Ok(())
    }

    fn validate(&mut self, validate: &mut Validate<'_>) -> Result<()> {
        self.finite()?;
        let started = Instant::now();
        let step = self.state.step;
        let candidate = self.claim.work().join("candidate");
        if candidate.exists() {
            fs::remove_dir_all(&candidate).map_err(|e| Error::io(&candidate, "remove", e))?;
        }
        create_folder(&candidate)?;
        write_model(self.towers, self.similarity, &candidate)?;
        let mut found = validate(&candidate)?;
        let all = found.figures.iter().map(|(name, figure)| (name.as_str(), *figure));
        if let Some((name, figure)) = all.chain([("what decides", found.value)]).find(|(_, x)| !x.is_finite()) {
            return Err(self.diverged(format!("in the validation after step {step} {name} is {figure}")));
        }
        found.value = rounded(found.value);
        found.figures.iter_mut().for_each(|(_, figure)| *figure = rounded(*figure));
        let best = self.state.best.as_ref().map_or(f64::NEG_INFINITY, |best| best.validation.value);
        if found.value > best {
            write_weights(&self.claim.checkpoints.best(step), self.towers.all())?;
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
        self.progress.figure(Stage::Training, "validation", found.value);
        self.state.last = Some(found);
        self.aside += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.finite()?;
        self.state.log_bytes = self.log.bytes;
        self.claim.checkpoints.save(&mut self.state, self.towers.all(), &self.optimizers)?;
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

    fn diverged(&self, message: String) -> Error {
        let error = Error::bad_input(message)
            .hint("train into another folder with a lower rate (`--lr`) or a longer warm-up (`--warmup`)");
        match self.saved {
            Some(saved) => {
                error.hint(format!("the checkpoint after step {saved} is kept in `{}`", self.claim.work().display()))
            }
            None => error,
        }
    }

    /// Writes the best weights as the model, then the report, and removes the checkpoints.
    pub(super) fn finish(self) -> Result<TrainReport> {
        let kept = self.state.best.as_ref().map_or(self.state.step, |best| best.step);
        if kept != self.state.step {
            read_weights(&self.claim.checkpoints.best(kept), self.towers.all())?;
        }
        write_model(self.towers, self.similarity, self.claim.output())?;
        let (loss_first, loss_last) = self.state.losses.ends(self.state.step);
        let report = TrainReport {
            steps: self.state.step,
            planned: self.total,
            steps_per_epoch: self.epoch_steps,
            examples: self.state.examples,
            loss_first: rounded(loss_first),
            loss_last: rounded(loss_last),
            baseline: self.state.baseline,
            kept,
            best: self.state.best.map(|best| best.validation),
            last: self.state.last,
            data: self.data.report().clone(),
            seconds: rounded(self.started.elapsed().as_secs_f64() - self.aside),
            settings: self.state.settings,
        };
        let json = serde_json::to_vec_pretty(&report).map_err(|e| Error::bug("a report is no JSON").because(e))?;
        write_atomically(&self.claim.output().join(REPORT), &json)?;
        self.claim.checkpoints.remove()?;
        Ok(report)
    }
}

/// Twelve significant digits. Reading JSON gives such a number back exactly, which it need not for longer ones.
fn rounded(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}

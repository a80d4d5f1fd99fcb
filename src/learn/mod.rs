//! Learning: a model in, example files in, a better model out, and the proof that it is better.
//!
//! [`train()`] opens the towers, measures them on held-out questions as they come, trains ([`crate::train`]) with
//! validation by retrieval ([`held_out`]), and measures what came out on the half of the questions that chose nothing:
//! the [`Verdict`]. [`rounds`] goes round the whole circle: index, mine, train, index again, compare.
//!
//! ```text
//! example files ─┐
//! model folder ──┴► towers ─► train ── every so often: folder ─► encoder ─► held-out questions (choosing half)
//!                                └► the best folder ─► held-out questions (judging half) ─► verdict
//! ```

mod apart;
mod card;
pub mod held_out;
pub mod rounds;
pub mod towers;

use crate::collection::examples::TrainingExample;
use crate::collection::read::{self, ReadOptions, Source};
use crate::encoder::{
    self,
    contract::{Encoder, Precision},
};
use crate::error::{Error, Result};
use crate::eval::significance::{Paired, paired};
use crate::index::EncoderChoice;
use crate::progress::Progress;
use crate::train::data::ExampleSet;
use crate::train::gradcache::Towers;
use crate::train::trainer::{PASSAGE, QUESTION};
use crate::train::{self, Claim, Hooks, TrainOptions, TrainReport, Validation};
use fs_err as fs;
use held_out::{Half, HeldOut, Limits, Ranks, mean};
use std::path::Path;
use towers::TowerOptions;

/// What a training is asked for.
pub struct TrainRequest {
    /// Example files; each is a set of its own, whose examples share batches.
    pub examples: Vec<Source>,
    /// How they are read.
    pub read: ReadOptions,
    /// What is trained.
    pub towers: TowerOptions,
    /// An encoder whose scores are learnt beside the labels.
    pub teacher: Option<EncoderChoice>,
    /// Questions that are held out; `None` trains blindly.
    pub held_out: Option<HeldOutRequest>,
    /// Steps, rates, sizes.
    pub options: TrainOptions,
    /// The command as typed, for the model card.
    pub command: Option<String>,
}

/// Which questions are held out.
#[derive(Clone)]
pub struct HeldOutRequest {
    /// Judged questions.
    pub source: Source,
    /// Passages they are asked of; empty for those of the source.
    pub passages: Vec<Source>,
    /// How both are read (the split of a BEIR folder among it; `dev` where none is named).
    pub read: ReadOptions,
    /// How many of each.
    pub limits: Limits,
}

/// What training made of the held-out questions that chose nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Passages they were asked of.
    pub passages: usize,
    /// Figures before training, by name.
    pub before: Vec<(String, f64)>,
    /// Figures of the model that was kept.
    pub after: Vec<(String, f64)>,
    /// The difference in RR@10, after minus before, question by question.
    pub test: Paired,
}

impl Verdict {
    fn of(before: &Ranks, after: &Ranks, passages: usize, seed: u64) -> Self {
        let test = paired(&after.reciprocal(10), &before.reciprocal(10), seed);
        Verdict { passages, before: before.figures(), after: after.figures(), test }
    }
}

/// A training and what it was worth.
#[derive(Clone, Debug)]
pub struct Trained {
    /// How it went.
    pub report: TrainReport,
    /// What it was worth, where questions were held out.
    pub verdict: Option<Verdict>,
}

/// Called with what is known before the first step: the bytes training will need, and the model's own figures.
pub type Before<'a> = &'a mut dyn FnMut(u64, Option<&HeldOut>, &[(String, f64)]);

/// Trains and judges; `output` becomes the model folder. See the head of the module.
pub fn train(request: &TrainRequest, output: &Path, progress: &dyn Progress, before: Before<'_>) -> Result<Trained> {
    // What can be refused at once comes before what takes long.
    let claim = Claim::take(output, &request.options)?;
    let towers = request.towers.open(progress)?;
    request.options.fits(&towers)?;
    let sets = request.examples.iter().map(|source| example_set(source, &request.read)).collect::<Result<Vec<_>>>()?;
    let seed = request.options.seed;
    let held = request.held_out.as_ref().map(|held| HeldOut::read(held, &sets, seed)).transpose()?;
    if let Some(held) = held.as_ref().filter(|held| held.left_out() > 0) {
        progress.warn(&format!(
            "{} questions of `{}` are asked by the training examples too and were left out of validation",
            held.left_out(),
            held.name()
        ));
    }
    let teacher =
        request.teacher.as_ref().map(|choice| encoder::open_named(&choice.location, &choice.name, Precision::F32));
    let teacher = teacher.transpose()?;
    let similarity = request.options.similarity.unwrap_or(towers.question.similarity());
    let at_first = match &held {
        None => None,
        Some(held) => {
            // Written and opened again: what is measured is what a user of the folder gets.
            let folder = claim.work().join("start");
            crate::storage::create_folder(&folder)?;
            train::trainer::write_model(&towers, similarity, &folder)?;
            let ranks = ask(held, &folder, Half::Judging, progress);
            fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, "remove", e))?;
            Some(ranks?)
        }
    };
    let bytes = train::trainer::memory_estimate(&towers, &sets, &request.options)?;
    before(bytes, held.as_ref(), &at_first.as_ref().map(Ranks::figures).unwrap_or_default());
    let report = teach(&towers, &sets, &request.options, held.as_ref(), teacher.as_deref(), &claim, progress)?;
    let verdict = match (&held, &at_first) {
        (Some(held), Some(first)) => {
            let last = ask(held, output, Half::Judging, progress)?;
            Some(Verdict::of(first, &last, held.passages(), seed))
        }
        _ => None,
    };
    let loss = request.options.loss(&*towers.question);
    let made = card::Made { request, report: &report, loss: &loss, held: held.as_ref(), verdict: verdict.as_ref() };
    card::write(&made, output)?;
    Ok(Trained { report, verdict })
}

/// Trains with validation on the half of the held-out questions that chooses.
fn teach(
    towers: &Towers,
    sets: &[ExampleSet],
    options: &TrainOptions,
    held: Option<&HeldOut>,
    teacher: Option<&dyn Encoder>,
    claim: &Claim,
    progress: &dyn Progress,
) -> Result<TrainReport> {
    let mut validate = |folder: &Path| -> Result<Validation> {
        let Some(held) = held else { return Err(Error::bug("validation without held-out questions")) };
        let ranks = ask(held, folder, Half::Choosing, progress)?;
        Ok(Validation { value: mean(&ranks.reciprocal(10)), figures: ranks.figures() })
    };
    let validate = held.is_some().then_some(&mut validate as &mut train::trainer::Validate<'_>);
    let validation = held.map(HeldOut::fingerprint);
    train::train(towers, sets, options, &mut Hooks { validate, validation, teacher }, claim, progress)
}

fn example_set(source: &Source, read: &ReadOptions) -> Result<ExampleSet> {
    let mut examples: Vec<TrainingExample> = Vec::new();
    read::examples(source, read, &mut |example| {
        examples.push(example);
        Ok(())
    })?;
    Ok(ExampleSet { name: source.to_string(), examples })
}

/// Asks held-out questions of a model folder with one tower or two.
fn ask(held: &HeldOut, folder: &Path, half: Half, progress: &dyn Progress) -> Result<Ranks> {
    let open = |folder: &Path| -> Result<Box<dyn Encoder>> {
        encoder::open_named(&folder.display().to_string(), &folder.display().to_string(), Precision::F32)
    };
    if folder.join(QUESTION).is_dir() {
        let (question, passage) = (open(&folder.join(QUESTION))?, open(&folder.join(PASSAGE))?);
        held.ask(question.as_ref(), passage.as_ref(), half, progress)
    } else {
        let encoder = open(folder)?;
        held.ask(encoder.as_ref(), encoder.as_ref(), half, progress)
    }
}

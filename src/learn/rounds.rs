//! The learning loop: index, mine, train, index again, compare, in rounds, as long as rounds help.
//!
//! Judged questions and a model go in; out comes a folder with every round's examples, model, index and report, and
//! the best round's model. Where the sparse and the dense view disagree is where the encoder can learn: the first round
//! mines negatives from the sparse side; later ones half from the newest model too, since a better encoder is no longer
//! misled by the old ones. Each round trains from the model as it came, as the second round of DPR does.
//!
//! ```text
//! DIR/loop.json        settings and fingerprints of the sources, written first
//!     round-0/         index/, report.json: the model as it comes
//!     round-r/         examples.jsonl, mining.json, model/, index/, report.json
//!     model/           the model of the best round
//!     report.md        all rounds; report.json is written last
//! ```
//!
//! Held-out questions are neither mined for nor trained on, and no passage that is right for one becomes a negative.
//! One half of them ([`half`](super::held_out::half)) chooses: the checkpoint of each training, the fusion weight of each
//! index (pseudo-queries flatter an encoder that was trained on the collection), and the round. A round becomes the best
//! one when its gain in dense RR@10 over the best before is proven
//! ([`Paired::is_gain`](crate::eval::significance::Paired::is_gain)) on these; the first round that does not ends the loop.
//! The other half chooses nothing and judges: the figures and the verdict of the reports are its own.
//!
//! More rounds can be asked of a folder later, and it becomes what it would be had they been asked for at the start.
//!
//! Every step's last file appears at once, when the step is complete: stopped or killed anywhere and resumed, steps
//! that are done are left as they are, training goes on from its checkpoint, and the files in the end are those of a
//! loop that was not stopped, on one machine and with one number of threads (times in `train.json` and `train.jsonl`
//! aside).
//!
//! ```no_run
//! use parallax::Silent;
//! use parallax::collection::read::Source;
//! use parallax::index::EncoderChoice;
//! use parallax::learn::rounds::{LoopOptions, run};
//! use parallax::learn::towers::TowerOptions;
//! let options = LoopOptions::of(Source::new("train.json"), TowerOptions::of(EncoderChoice::builtin()));
//! let report = run("loop".as_ref(), &options, &Silent, &mut |_| {})?;
//! println!("round {} is kept: {}", report.kept, report.stopped);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: per round one mining, one training and one index; and one index and comparison more at the start.
//!
//! Sources: V. Karpukhin et al., "Dense passage retrieval", 2020 (BM25 negatives, then a second round); L. Xiong et al.,
//! "Approximate nearest neighbor negative contrastive learning", 2021 (negatives of the newest model).

mod folder;
mod questions;
mod report;
mod settings;
mod steps;
mod wire;

pub use questions::{Questions, cut};
pub use report::{Choice, Counts, Fitted, Gain, LoopReport, MEASURES, Mined, RoundReport, Stopped, SystemFigures};

use super::held_out::Limits;
use super::towers::TowerOptions;
use crate::collection::read::{ReadOptions, Source};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::train::TrainOptions;
use settings::Settings;
use std::path::Path;
use steps::Circle;

/// What a loop is asked for.
pub struct LoopOptions {
    /// Questions with judgments, which are learnt from.
    pub data: Source,
    /// Where passages come from; empty for those of the questions' sources.
    pub passages: Vec<Source>,
    /// Questions that are held out, and the split of their judgments (`dev` of a BEIR folder where none is named); `None`
    /// cuts a tenth off `data`.
    pub held_out: Option<(Source, Option<String>)>,
    /// How sources are read; the split is that of `data`.
    pub read: ReadOptions,
    /// What is trained: one shared tower.
    pub towers: TowerOptions,
    /// How it is trained; seed, hard negatives and resumption are the loop's.
    pub training: TrainOptions,
    /// Held-out questions and passages that choose checkpoints, at most.
    pub limits: Limits,
    /// Rounds of training.
    pub rounds: usize,
    /// Hard negatives a question.
    pub negatives: usize,
    /// Trains each round from the model of the round before, not from the model as it came.
    pub carry_on: bool,
    /// Makes every round, whether or not the one before was a gain.
    pub all_rounds: bool,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Goes on with a loop that was stopped, or makes more rounds of one that made all; starts one where there is none.
    pub resume: bool,
}

impl LoopOptions {
    /// Two rounds with one negative a question, with the settings of static models.
    pub fn of(data: Source, towers: TowerOptions) -> Self {
        LoopOptions {
            data,
            passages: Vec::new(),
            held_out: None,
            read: ReadOptions::default(),
            towers,
            training: TrainOptions::for_static(),
            limits: Limits::default(),
            rounds: 2,
            negatives: 1,
            carry_on: false,
            all_rounds: false,
            seed: 1,
            resume: false,
        }
    }

    /// The training of a round.
    fn training(&self) -> TrainOptions {
        // A training that is not there is started: whether to go on was asked of the loop.
        TrainOptions { seed: self.seed, hard_negatives: self.negatives, resume: true, ..self.training.clone() }
    }

    fn check(&self) -> Result<()> {
        if self.rounds == 0 {
            return Err(Error::usage("a loop of 0 rounds learns nothing").hint("`--rounds 2`"));
        }
        let TowerOptions { question_model, vocabulary, pooling, layers, .. } = &self.towers;
        if question_model.is_some() || vocabulary.is_some() || pooling.is_some() || layers.is_some() {
            return Err(Error::usage("a loop trains one tower, and round 0 is judged with it as its folder has it")
                .hint("change the model once with `parallax train`, and begin the loop from what that writes"));
        }
        Ok(())
    }
}

/// A part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Examples with hard negatives.
    Mine,
    /// A model from them.
    Train,
    /// Both sides of the collection with that model.
    Index,
    /// The judging questions.
    Compare,
}

impl Step {
    /// A name in one word.
    pub fn name(self) -> &'static str {
        match self {
            Step::Mine => "mine",
            Step::Train => "train",
            Step::Index => "index",
            Step::Compare => "compare",
        }
    }
}

/// What a loop tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// The questions were taken apart.
    Questions(&'a Counts),
    /// A round begins.
    Round(usize),
    /// A step begins, or was done before.
    Step {
        /// Which.
        step: Step,
        /// What it will do, in a few words.
        what: &'a str,
        /// Whether its files were there.
        done: bool,
    },
    /// A round's examples are there.
    Mined(&'a Mined),
    /// A round's model is there.
    Trained(&'a Fitted),
    /// A round's index is there, with so many passages.
    Indexed(usize),
    /// A round is over.
    Judged(&'a RoundReport),
}

/// Goes round; see the module's head. `say` hears what happens.
///
/// # Errors
///
/// Refuses a folder that holds something (a loop, without [`LoopOptions::resume`]), other settings or sources than at
/// the start, more rounds of a loop that ended since one was no gain, and questions that cannot be taken apart; passes
/// on what a step refuses. What is interrupted can be resumed.
pub fn run(
    folder: &Path,
    options: &LoopOptions,
    progress: &dyn Progress,
    say: &mut dyn FnMut(&Event<'_>),
) -> Result<LoopReport> {
    go_round(folder, options, progress, say).map_err(folder::resumable)
}

fn go_round(
    folder: &Path,
    options: &LoopOptions,
    progress: &dyn Progress,
    say: &mut dyn FnMut(&Event<'_>),
) -> Result<LoopReport> {
    options.check()?;
    let settings = Settings::of(options, progress)?;
    let questions = Questions::read(options)?;
    let entered = folder::enter(folder, options.resume, &settings)?;
    let counts = questions.counts();
    say(&Event::Questions(&counts));
    let circle = Circle::new(folder, options, &questions, progress)?;
    let mut rounds: Vec<RoundReport> = Vec::new();
    let (kept, stopped) = loop {
        let (best, stopped) = report::decide(&rounds, options.all_rounds);
        if let Some(stopped) = stopped {
            if entered.more && circle.is_over() {
                return Err(Error::usage(format!("no more rounds are made of this loop: it ended since {stopped}"))
                    .hint("make them all the same with `--all-rounds --resume`")
                    .hint("or begin with other settings, in another folder"));
            }
            break (best, stopped);
        }
        if rounds.len() > options.rounds {
            break (best, Stopped::AllRounds);
        }
        if circle.is_over() && !circle.is_made(rounds.len()) {
            settings.write(folder)?;
            circle.reopen()?;
        }
        let report = circle.round(&rounds, best, say)?;
        say(&Event::Judged(&report));
        rounds.push(report);
    };
    if entered.more {
        settings.write(folder)?;
    }
    let report = LoopReport { rounds, kept, stopped, questions: counts };
    circle.finish(&report)?;
    Ok(report)
}

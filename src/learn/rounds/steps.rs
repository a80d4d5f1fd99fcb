//! One round, step by step; a step whose last file is there is left as it is.

use super::report::{CHOSEN_BY, MEASURES, RoundReport, SYSTEMS};
use super::{Event, Fitted, LoopOptions, LoopReport, Mined, Questions, Step, folder, questions, wire};
use crate::collection::QuerySet;
use crate::collection::read::{ReadOptions, Source};
use crate::collection::write::{ExampleFormat, ExampleWriter};
use crate::compare::{CompareOptions, System, compare};
use crate::dense::SearchHow;
use crate::error::{Error, Result};
use crate::index::{BuildOptions, EncoderChoice, Index, build};
use crate::learn::held_out::{HeldOut, collect};
use crate::learn::towers::TowerOptions;
use crate::learn::{example_set, teach};
use crate::mining::{MineOptions, Mix, mine};
use crate::progress::Progress;
use crate::search::{Mode, Searcher};
use crate::storage::{create_folder, write_atomically};
use crate::train::trainer::{REPORT as TRAINED, write_model};
use crate::train::{Claim, TrainReport};
use fs_err as fs;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Mining of the first round, and of later ones.
const FIRST: &str = "sparse";
const LATER: &str = "mix:sparse=.5,dense=.5";

const EXAMPLES: &str = "examples.jsonl";
const MINED: &str = "mining.json";
const REPORT: &str = "report.json";
const READABLE: &str = "report.md";
const MODEL: &str = "model";
const INDEX: &str = "index";

/// What all rounds look at.
pub(super) struct Circle<'a> {
    folder: PathBuf,
    options: &'a LoopOptions,
    questions: &'a Questions,
    progress: &'a dyn Progress,
    sources: Vec<Source>,
    /// Read when the first training needs it.
    held_out: OnceCell<HeldOut>,
}

impl<'a> Circle<'a> {
    pub(super) fn new(
        folder: &Path,
        options: &'a LoopOptions,
        questions: &'a Questions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        // Indexes remember where their encoder lies, and that must hold from any working directory.
        let folder = std::path::absolute(folder).map_err(|e| Error::io(folder, "resolve", e))?;
        let sources = questions::collection(options)?;
        Ok(Circle { folder, options, questions, progress, sources, held_out: OnceCell::new() })
    }

    fn home(&self, round: usize) -> PathBuf {
        self.folder.join(format!("round-{round}"))
    }

    /// The model a round's index is made with.
    fn model(&self, round: usize) -> EncoderChoice {
        match round {
            0 => self.options.towers.model.clone(),
            _ => EncoderChoice {
                name: format!("round-{round}/{MODEL}"),
                location: self.home(round).join(MODEL).display().to_string(),
            },
        }
    }

    /// Whether a round is complete.
    pub(super) fn is_made(&self, round: usize) -> bool {
        self.home(round).join(REPORT).exists()
    }

    /// Whether the loop was brought to an end before.
    pub(super) fn is_over(&self) -> bool {
        self.folder.join(REPORT).exists()
    }

    /// Takes back that the loop is over, before another round is begun.
    pub(super) fn reopen(&self) -> Result<()> {
        folder::remove_file(&self.folder.join(REPORT))?;
        folder::remove_file(&self.folder.join(READABLE))
    }

    /// Makes the round after these, or what is missing of it.
    pub(super) fn round(
        &self,
        earlier: &[RoundReport],
        best: usize,
        say: &mut dyn FnMut(&Event<'_>),
    ) -> Result<RoundReport> {
        let round = earlier.len();
        let home = self.home(round);
        create_folder(&home)?;
        say(&Event::Round(round));
        let mut trained = None;
        if round > 0 {
            let mined = self.mine(round, &home, say)?;
            say(&Event::Mined(&mined));
            let fitted = self.train(round, &home, say)?;
            say(&Event::Trained(&fitted));
            trained = Some((mined, fitted));
        }
        let index = self.index(round, &home, say)?;
        say(&Event::Indexed(index.len()));
        self.compare(index, &home, (earlier, best), trained, say)
    }

    /// Tells of a step and whether it is done already.
    fn begin(&self, step: Step, what: &str, last: &Path, say: &mut dyn FnMut(&Event<'_>)) -> Result<bool> {
        let done = last.exists();
        say(&Event::Step { step, what, done });
        self.progress.checkpoint()?;
        Ok(done)
    }

    fn mine(&self, round: usize, home: &Path, say: &mut dyn FnMut(&Event<'_>)) -> Result<Mined> {
        let source = if round == 1 { FIRST } else { LATER };
        let last = home.join(MINED);
        let what = format!("negatives from {source} of round {}", round - 1);
        if !self.begin(Step::Mine, &what, &last, say)? {
            let mix: Mix = source.parse()?;
            let mode = if mix.needs_dense() { Mode::Hybrid } else { Mode::Sparse };
            let searcher = Searcher::new(Index::open(&self.home(round - 1).join(INDEX))?, mode)?;
            let (negatives, seed) = (self.options.negatives, self.options.seed);
            let options = MineOptions { mix, negatives, seed, ..MineOptions::default() };
            let mut writer = ExampleWriter::create(&home.join(EXAMPLES), ExampleFormat::Parallax, negatives)?;
            let Questions { train, protected, .. } = self.questions;
            let report = mine(&searcher, train, protected, &options, self.progress, &mut |e| writer.write(&e))?;
            writer.finish()?;
            write_atomically(&last, &wire::mining_json(source, &report))?;
        }
        wire::mined(&read(&last)?).map_err(|e| e.in_file(&last))
    }

    fn train(&self, round: usize, home: &Path, say: &mut dyn FnMut(&Event<'_>)) -> Result<Fitted> {
        let output = home.join(MODEL);
        let last = output.join(TRAINED);
        let start = if self.options.carry_on { round - 1 } else { 0 };
        let model = self.model(start);
        let what = match start {
            0 => format!("from {}", model.name),
            start => format!("from round {start}'s model"),
        };
        if !self.begin(Step::Train, &what, &last, say)? {
            let towers = TowerOptions { model, seed: self.options.seed, ..self.options.towers.clone() };
            let towers = towers.open(self.progress)?;
            let mut set = example_set(&Source::new(home.join(EXAMPLES)), &ReadOptions::default())?;
            // The same wherever the folder lies.
            set.name = format!("round-{round}/{EXAMPLES}");
            let held = self.held_out()?;
            let options = self.options.training();
            teach(&towers, &[set], &options, Some(held), None, &Claim::take(&output, &options)?, self.progress)?;
        }
        // Left where the run died between the report and this.
        folder::remove(&output.join("training"))?;
        let report: TrainReport = serde_json::from_slice(&read(&last)?)
            .map_err(|e| Error::damaged(&last, "not a training's report").because(e))?;
        let TrainReport { steps, kept, loss_first, loss_last, .. } = report;
        Ok(Fitted { steps, kept, loss_first, loss_last })
    }

    fn held_out(&self) -> Result<&HeldOut> {
        if let Some(held) = self.held_out.get() {
            return Ok(held);
        }
        let passages = collect(&self.sources, &self.options.read, self.progress)?;
        let held = HeldOut::of(&self.questions.held_out, passages, self.options.limits, self.options.seed)?;
        Ok(self.held_out.get_or_init(|| held))
    }

    fn index(&self, round: usize, home: &Path, say: &mut dyn FnMut(&Event<'_>)) -> Result<Index> {
        let folder = home.join(INDEX);
        let model = self.model(round);
        let what = format!("both sides, with {}", model.name);
        if !self.begin(Step::Index, &what, &folder.join("CURRENT"), say)? {
            // What a dead build left would give the next one another number.
            folder::remove(&folder)?;
            let options = BuildOptions {
                sources: self.sources.clone(),
                read: self.options.read.clone(),
                encoder: Some(model),
                // Pseudo-queries flatter an encoder that was trained on this very collection.
                judged: Some(self.questions.choosing.clone()),
                seed: self.options.seed,
                ..BuildOptions::default()
            };
            build(&folder, &options, self.progress)?;
        }
        Index::open(&folder)
    }

    fn compare(
        &self,
        index: Index,
        home: &Path,
        (earlier, best): (&[RoundReport], usize),
        made: Option<(Mined, Fitted)>,
        say: &mut dyn FnMut(&Event<'_>),
    ) -> Result<RoundReport> {
        let last = home.join(REPORT);
        if !self.begin(Step::Compare, "held-out questions: one half chooses, the other judges", &last, say)? {
            let searcher = Searcher::new(index, Mode::Hybrid)?;
            let ask = |questions: &QuerySet, systems: &str, measures: &[&str]| {
                let options = CompareOptions {
                    systems: System::parse_list(systems)?,
                    measures: measures.iter().map(|name| name.parse()).collect::<Result<_>>()?,
                    // What the graph loses is not the model's doing.
                    how: SearchHow::Exact,
                    ..CompareOptions::default()
                };
                compare(&searcher, questions, &options, self.progress)
            };
            let choosing = ask(&self.questions.choosing, CHOSEN_BY.0, &[CHOSEN_BY.1])?;
            let judging = ask(&self.questions.judging, SYSTEMS, &MEASURES)?;
            let mut report = RoundReport::of(earlier.len(), &choosing, &judging)?;
            let manifest = searcher.index().manifest();
            report.passages = searcher.index().len();
            report.fusion = manifest.fusion.fusion.to_string();
            report.model = manifest.dense.as_ref().map(|d| d.passage_encoder.fingerprint.clone()).unwrap_or_default();
            (report.mined, report.trained) = made.unzip();
            report.pair(earlier, best, self.options.seed)?;
            write_atomically(&last, &wire::round_json(&report)?)?;
        }
        // Also when it was just written: a resumed loop has no other figures than those of the file.
        wire::round_report(&read(&last)?).map_err(|e| e.in_file(&last))
    }

    /// Copies the model that is kept and writes the reports. While there is no report, a model that is there may be
    /// that of fewer rounds.
    pub(super) fn finish(&self, report: &LoopReport) -> Result<()> {
        let target = self.folder.join(MODEL);
        if !target.exists() || !self.is_over() {
            folder::complete(&target, |to| match report.kept {
                0 => {
                    let towers = self.options.towers.open(self.progress)?;
                    let similarity = self.options.training.similarity.unwrap_or(towers.question.similarity());
                    write_model(&towers, similarity, to)
                }
                round => folder::copy_model(&self.home(round).join(MODEL), to),
            })?;
        }
        self.progress.checkpoint()?;
        write_atomically(&self.folder.join(READABLE), wire::markdown(report).as_bytes())?;
        write_atomically(&self.folder.join(REPORT), &wire::loop_json(report)?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io(path, "read", e))
}

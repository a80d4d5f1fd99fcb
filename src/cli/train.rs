//! `train`: a dual encoder learns from examples, and proves it on held-out questions.

use super::args::{self, Reading};
use super::fetch;
use super::ui::{Ui, bold, bytes, duration, table, thousands};
use clap::ValueEnum;
use parallax::collection::read::{ReadOptions, Source};
use parallax::encoder::contract::Similarity;
use parallax::encoder::pooling::Pooling;
use parallax::index::EncoderChoice;
use parallax::learn::held_out::{Half, Limits};
use parallax::learn::towers::TowerOptions;
use parallax::learn::{self, HeldOutRequest, TrainRequest, Trained, Verdict};
use parallax::train::TrainOptions;
use parallax::train::loss::Distillation;
use parallax::train::optimizer::Decay;
use parallax::train::options::Warmup;
use parallax::train::trainer::{PASSAGE, QUESTION};
use parallax::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::Duration;

/// Train a dual encoder on examples with hard negatives.
///
/// Lowers the negative log-likelihood of each question's positive among the batch's other positives and all hard
/// negatives. The result is a sentence-transformers folder that `build-index --encoder` takes as it is. With `--validate`
/// the best checkpoint by real retrieval is kept, and a verdict with an interval is given on questions that chose nothing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Example files, as `mine-negatives` writes them (or DPR, Tevatron, FlagEmbedding, triplets); each batch comes from one.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE", help_heading = "Input")]
    examples: Vec<PathBuf>,
    /// Where training starts: builtin, a model folder, or owner/name from the hub.
    #[arg(long, value_name = "ENCODER", default_value = "builtin", help_heading = "Model")]
    model: String,
    /// A tower of its own for questions.
    #[arg(long, value_name = "ENCODER", help_heading = "Model")]
    question_model: Option<String>,
    /// Leave a tower as it is: its index stays valid.
    #[arg(long, value_name = "TOWER", requires = "question_model", help_heading = "Model")]
    freeze: Option<Tower>,
    /// How token vectors become one: cls or mean; the folder's way by default.
    #[arg(long, value_name = "HOW", value_parser = ["cls", "mean"], help_heading = "Model")]
    pooling: Option<String>,
    /// Keep the first N layers of a transformer.
    #[arg(long, value_name = "N", help_heading = "Model")]
    layers: Option<usize>,
    /// Tokens a question is cut to.
    #[arg(long, value_name = "N", help_heading = "Model")]
    max_query_tokens: Option<usize>,
    /// Tokens a passage is cut to.
    #[arg(long, value_name = "N", help_heading = "Model")]
    max_passage_tokens: Option<usize>,
    /// Add N entries to a static model's vocabulary, for another language or field; their rows start at random.
    #[arg(long, value_name = "N", requires = "add_texts", help_heading = "Model")]
    add_vocabulary: Option<usize>,
    /// Collections the new entries are learnt from.
    #[arg(long, value_name = "SOURCE", num_args = 1.., requires = "add_vocabulary", help_heading = "Model")]
    add_texts: Vec<PathBuf>,
    /// How rows are compared: dot or cosine; the folder's way by default.
    #[arg(long, value_name = "HOW", value_parser = ["dot", "cosine"], help_heading = "Loss")]
    similarity: Option<String>,
    /// Scores are divided by it; .05 for cosine (.03 for static models), 1 for dot by default.
    #[arg(long, value_name = "F", value_parser = number, help_heading = "Loss")]
    temperature: Option<f64>,
    /// Hard negatives a question.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Loss")]
    negatives: usize,
    /// Passages look for their question too.
    #[arg(long, help_heading = "Loss")]
    symmetric: bool,
    /// Train the first N components to serve alone as well, comma-separated: 64,128,256.
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Loss")]
    matryoshka: Vec<usize>,
    /// An encoder whose scores over the batch are learnt too.
    #[arg(long, value_name = "ENCODER", help_heading = "Loss")]
    teacher: Option<String>,
    /// The teacher's part beside the labels.
    #[arg(long, value_name = "F", default_value_t = Distillation::default().weight, value_parser = number, requires = "teacher", help_heading = "Loss")]
    teacher_weight: f64,
    /// What the teacher's scores are divided by.
    #[arg(long, value_name = "F", default_value_t = Distillation::default().temperature, value_parser = number, requires = "teacher", help_heading = "Loss")]
    teacher_temperature: f64,
    #[command(flatten)]
    steps: Steps,
    /// Judged questions that are held out: they choose the checkpoint and give the verdict.
    #[arg(long, value_name = "SOURCE", help_heading = "Validation")]
    validate: Option<PathBuf>,
    /// Which judgments of a BEIR folder are held out.
    #[arg(long, value_name = "NAME", help_heading = "Validation")]
    validate_split: Option<String>,
    /// Held-out questions at most; half of them choose, half judge.
    #[arg(long, value_name = "N", default_value_t = Limits::default().queries, help_heading = "Validation")]
    validate_queries: usize,
    /// Passages they are asked of, at most; 10,000, and 2,000 for transformers, by default.
    #[arg(long, value_name = "N", help_heading = "Validation")]
    validate_passages: Option<usize>,
    /// Steps between validations; once an epoch by default.
    #[arg(long, value_name = "N", help_heading = "Validation")]
    validate_every: Option<usize>,
    /// Validations without a gain after which training stops.
    #[arg(long, value_name = "N", requires = "validate", help_heading = "Validation")]
    patience: Option<usize>,
    /// End with exit code 3 when the verdict is a regression, or no step was better than the start.
    #[arg(long, requires = "validate", help_heading = "Validation")]
    gate: bool,
    /// Go on with a training that was stopped.
    #[arg(long, help_heading = "Output")]
    resume: bool,
    /// Folder to write.
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    output: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tower {
    Passage,
}

/// How training goes; `train` and `loop` share it.
#[derive(clap::Args)]
pub(crate) struct Steps {
    /// Questions a step; 512 for static models, 32 for transformers by default.
    #[arg(long, value_name = "N", help_heading = "Steps")]
    batch: Option<usize>,
    /// Texts worked on at a time: less memory, the same gradient (GradCache).
    #[arg(long, value_name = "N", help_heading = "Steps")]
    chunk: Option<usize>,
    /// Times the examples are gone through; 3 for static models, 1 for transformers by default.
    #[arg(long, value_name = "N", conflicts_with = "steps", help_heading = "Steps")]
    epochs: Option<usize>,
    /// Steps in all.
    #[arg(long, value_name = "N", help_heading = "Steps")]
    steps: Option<usize>,
    /// The highest learning rate; .003 for static models, 2e-5 for transformers by default.
    #[arg(long, value_name = "F", value_parser = number, help_heading = "Steps")]
    lr: Option<f64>,
    /// Steps in which the rate rises: a share below 1, or a number of steps.
    #[arg(long, value_name = "F", default_value = "0.1", value_parser = warmup, help_heading = "Steps")]
    warmup: Warmup,
    /// How the rate falls afterwards.
    #[arg(long, value_name = "HOW", default_value = "linear", help_heading = "Steps")]
    schedule: Fall,
    /// Decoupled weight decay of matrices.
    #[arg(long, value_name = "F", default_value_t = 0.01, value_parser = number, help_heading = "Steps")]
    weight_decay: f64,
    /// Longest gradient; 0 for none.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = number, help_heading = "Steps")]
    clip: f64,
    /// Tokens (static) or hidden components (transformers) dropped while training, as a share; .2 and .1 by default.
    #[arg(long, value_name = "F", value_parser = share, help_heading = "Steps")]
    dropout: Option<f64>,
    /// Seed of order, masks and new rows.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Steps")]
    seed: u64,
    /// Where the work is done.
    #[arg(long, value_name = "WHERE", default_value = "cpu", value_parser = ["cpu", "cuda"], help_heading = "Steps")]
    device: String,
    /// Steps between checkpoints.
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "Output")]
    checkpoint_every: usize,
}

/// A number; `nan` and `inf` parse as numbers and mean none.
fn number(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|x: &f64| x.is_finite()).ok_or_else(|| "not a number".to_string())
}

/// A share that leaves something.
fn share(text: &str) -> std::result::Result<f64, String> {
    let below_one = number(text).ok().filter(|share| (0.0..1.0).contains(share));
    below_one.ok_or_else(|| "not a number from 0 to below 1".to_string())
}

/// A share of all steps, or a number of steps.
fn warmup(text: &str) -> std::result::Result<Warmup, String> {
    let steps = || text.parse().ok().filter(|steps| *steps > 0).map(Warmup::Steps);
    let found = share(text).ok().map(Warmup::Share).or_else(steps);
    found.ok_or_else(|| "neither a share below 1 nor a whole number of steps".to_string())
}

impl Steps {
    /// The options of these flags, with defaults for what is trained.
    pub(crate) fn options(&self, is_static: bool) -> TrainOptions {
        let usual = if is_static { TrainOptions::for_static() } else { TrainOptions::default() };
        TrainOptions {
            batch: self.batch.unwrap_or(usual.batch),
            chunk: self.chunk.unwrap_or(usual.chunk),
            epochs: self.epochs.unwrap_or(usual.epochs),
            steps: self.steps,
            rate: self.lr.unwrap_or(usual.rate),
            warmup: self.warmup,
            decay: match self.schedule {
                Fall::Linear => Decay::Linear,
                Fall::Cosine => Decay::Cosine,
                Fall::Constant => Decay::Constant,
            },
            weight_decay: self.weight_decay,
            clip: (self.clip != 0.0).then_some(self.clip),
            seed: self.seed,
            checkpoint_every: self.checkpoint_every,
            ..usual
        }
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Opens a model for training: what is dropped while it learns, where, and the seed.
    pub(crate) fn towers(&self, model: EncoderChoice, is_static: bool) -> TowerOptions {
        TowerOptions {
            dropout: self.dropout.unwrap_or(if is_static { 0.2 } else { 0.1 }),
            device: self.device.clone(),
            seed: self.seed,
            ..TowerOptions::of(model)
        }
    }
}

/// Held-out questions and passages at most.
pub(crate) fn limits(queries: Option<usize>, passages: Option<usize>, is_static: bool) -> Limits {
    let usual = Limits::default();
    Limits {
        queries: queries.unwrap_or(usual.queries),
        passages: passages.unwrap_or(if is_static { usual.passages } else { 2_000 }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fall {
    Linear,
    Cosine,
    Constant,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let request = request(args, ui)?;
    let progress = ui.progress();
    let trained = learn::train(&request, &args.output, &progress, &mut |memory, held, figures| {
        ui.note(&format!("{:<12}{:>12}  at the peak, estimated", "memory", bytes(memory)));
        if let Some(held) = held {
            let (choosing, judging) = (held.queries(Half::Choosing), held.queries(Half::Judging));
            ui.note(&format!(
                "{:<12}{:>12}  questions of {} choose, {} judge, over {} passages",
                "held out",
                thousands(choosing as u64),
                held.name(),
                thousands(judging as u64),
                thousands(held.passages() as u64)
            ));
            ui.note(&format!("{:<12}{}", "before", shown(figures)));
        }
    })?;
    say(&trained, args, ui);
    let Some(verdict) = trained.verdict.as_ref().filter(|_| args.gate) else { return Ok(()) };
    let missed = match () {
        () if verdict.test.is_loss() => "the trained model is worse than the one it started from",
        () if trained.report.kept == 0 => "no step was better than the start, which is what was kept",
        () => return Ok(()),
    };
    Err(Error::new(ErrorKind::Gate, missed).hint(
        "lower the learning rate (`--lr`), train fewer steps, or look at the examples with `mine-negatives --audit`",
    ))
}

/// `RR@10 .641   R@1 .511 …`.
fn shown(figures: &[(String, f64)]) -> String {
    figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join("   ")
}

fn request(args: &Args, ui: &Ui) -> Result<TrainRequest> {
    // Before anything is fetched.
    options(args, true).check()?;
    read_once(args)?;
    let model = fetch::choice(&args.model, ui)?;
    let is_static = parallax::encoder::is_static(&model.location)?;
    let towers = TowerOptions {
        question_model: args.question_model.as_deref().map(|name| fetch::choice(name, ui)).transpose()?,
        freeze_passage: args.freeze.is_some(),
        pooling: args.pooling.as_deref().map(|name| if name == "cls" { Pooling::Cls } else { Pooling::Mean }),
        layers: args.layers,
        max_query_tokens: args.max_query_tokens,
        max_passage_tokens: args.max_passage_tokens,
        vocabulary: args.add_vocabulary.map(|more| (more, args::sources(&args.add_texts))),
        ..args.steps.towers(model, is_static)
    };
    let held_out = args.validate.as_ref().map(|path| HeldOutRequest {
        source: Source::new(path),
        passages: Vec::new(),
        read: ReadOptions { split: args.validate_split.clone(), ..args.reading.options(None) },
        limits: limits(Some(args.validate_queries), args.validate_passages, is_static),
    });
    Ok(TrainRequest {
        examples: args::sources(&args.examples),
        read: args.reading.options(None),
        towers,
        teacher: args.teacher.as_deref().map(|name| fetch::choice(name, ui)).transpose()?,
        held_out,
        options: options(args, is_static),
        command: Some(ui.command().to_string()),
    })
}

fn options(args: &Args, is_static: bool) -> TrainOptions {
    TrainOptions {
        similarity: args.similarity.as_deref().and_then(Similarity::from_name),
        temperature: args.temperature,
        symmetric: args.symmetric,
        matryoshka: args.matryoshka.iter().map(|width| (*width, 1.0)).collect(),
        distillation: Distillation { weight: args.teacher_weight, temperature: args.teacher_temperature },
        hard_negatives: args.negatives,
        validate_every: args.validate_every,
        patience: args.patience,
        resume: args.resume,
        ..args.steps.options(is_static)
    }
}

/// Refuses standard input where a source is read twice, or two sources would share it.
fn read_once(args: &Args) -> Result<()> {
    let piped = |sources: &[PathBuf]| sources.iter().filter(|path| Source::new(path).is_stdin()).count();
    let twice = [("--validate", args.validate.as_slice()), ("--add-texts", &args.add_texts)];
    let message = match twice.into_iter().find(|(_, sources)| piped(sources) > 0) {
        Some((flag, _)) => format!("the source of `{flag}` is read twice, and standard input can be read once"),
        None if piped(&args.examples) > 1 => "standard input is named twice, and can be read once".to_string(),
        None => return Ok(()),
    };
    Err(Error::usage(message).hint("write it to a file first"))
}

fn say(trained: &Trained, args: &Args, ui: &Ui) {
    let report = &trained.report;
    let early =
        if report.steps < report.planned { format!(" of {}", thousands(report.planned as u64)) } else { String::new() };
    let loss = match report.steps {
        1 => format!("{:.3}", report.loss_first),
        _ => format!("{:.3} to {:.3}", report.loss_first, report.loss_last),
    };
    let plural = if report.steps == 1 { "" } else { "s" };
    ui.note(&format!(
        "{} {}   {} step{plural}{early}   loss {loss}   kept step {}   in {}",
        bold("trained"),
        args.output.display(),
        thousands(report.steps as u64),
        thousands(report.kept as u64),
        duration(Duration::from_secs_f64(report.seconds))
    ));
    if let Some(verdict) = &trained.verdict {
        ui.note(&judged(verdict));
    } else {
        ui.note("no questions were held out, so nothing is known of what it learnt: `--validate SOURCE`");
    }
    let folder = |name: &str| args.output.join(name).display().to_string();
    let encoders = match &args.question_model {
        None => args.output.display().to_string(),
        Some(_) => format!("{} --question-encoder {}", folder(PASSAGE), folder(QUESTION)),
    };
    ui.note(&match report.kept {
        0 => "no step was better than the model it started from, which is what was kept\n\
              next: a lower `--lr`, fewer `--steps` or more examples, in another folder"
            .to_string(),
        _ => format!("next: parallax build-index SOURCE --name NAME --encoder {encoders}"),
    });
}

/// The table of figures and the verdict below it.
pub(crate) fn judged(verdict: &Verdict) -> String {
    let mut rows = vec![vec![String::new(), "before".to_string(), "after".to_string()]];
    for ((name, before), (_, after)) in verdict.before.iter().zip(&verdict.after) {
        let digits = if name == "average rank" { 1 } else { 4 };
        rows.push(vec![name.clone(), format!("{before:.digits$}"), format!("{after:.digits$}")]);
    }
    let test = &verdict.test;
    format!(
        "{}{}: RR@10 {:+.4} [{:+.4}, {:+.4}], p {:.4}, on {} questions that chose nothing, over {} passages",
        table(&rows),
        bold(&test.verdict()),
        test.mean_difference,
        test.interval.0,
        test.interval.1,
        test.p_randomization,
        thousands(test.n as u64),
        thousands(verdict.passages as u64)
    )
}

//! `loop`: index, mine, train, index again and compare, in rounds, as long as rounds help.

use super::args::{self, Reading};
use super::compare::with_interval;
use super::fetch;
use super::train::{Steps, limits};
use super::ui::{Ui, bold, dim, duration, table, thousands};
use parallax::collection::read::Source;
use parallax::learn::rounds::{self, Event, Fitted, LoopOptions, LoopReport, MEASURES, Mined, RoundReport};
use parallax::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Teach an encoder in rounds: mine its mistakes, train, index again, compare.
///
/// Round 0 measures the model as it comes. Each further round mines hard negatives (from BM25; from the second on, half
/// from the newest model too), trains, indexes and compares, and is kept when its gain in dense RR@10 on held-out
/// questions is proven; the first one without such a gain ends the loop. Stopped anywhere, `--resume` goes on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Questions, gold passages and answers to learn from: a BEIR folder, a SQuAD or KorQuAD JSON.
    #[arg(long, value_name = "SOURCE", help_heading = "Input")]
    data: PathBuf,
    /// Which judgments of a BEIR folder.
    #[arg(long, value_name = "NAME", default_value = "train", help_heading = "Input")]
    split: String,
    /// Passages that are searched; those of `--data` and `--held-out` by default.
    #[arg(long, value_name = "SOURCE", num_args = 1.., help_heading = "Input")]
    passages: Vec<PathBuf>,
    /// Questions that are held out: one half chooses checkpoints, one judges rounds; a tenth of `--data` by default.
    #[arg(long, value_name = "SOURCE", help_heading = "Input")]
    held_out: Option<PathBuf>,
    /// Which judgments of a BEIR folder are held out.
    #[arg(long, value_name = "NAME", requires = "held_out", help_heading = "Input")]
    held_out_split: Option<String>,
    /// Where training starts: builtin, a model folder, or owner/name from the hub.
    #[arg(long, value_name = "ENCODER", default_value = "builtin", help_heading = "Model")]
    model: String,
    /// Rounds of training at most.
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Rounds")]
    rounds: usize,
    /// Hard negatives a question.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Rounds")]
    negatives: usize,
    /// Train each round from the round before, not from the model as it came.
    #[arg(long = "continue", help_heading = "Rounds")]
    carry_on: bool,
    /// Make every round, also after one without a gain.
    #[arg(long, help_heading = "Rounds")]
    all_rounds: bool,
    /// End with exit code 3 when the kept model, dense or hybrid, is proven worse than the model as it came.
    #[arg(long, help_heading = "Rounds")]
    gate: bool,
    #[command(flatten)]
    steps: Steps,
    /// Go on with a loop that was stopped.
    #[arg(long, help_heading = "Output")]
    resume: bool,
    /// Folder to write.
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    output: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  parallax loop --data train.json --held-out dev.json -o taught
  parallax loop --data beir/ --held-out beir/ --held-out-split dev --rounds 3 --gate -o taught
  parallax loop --data train.json --held-out dev.json -o taught --resume";

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    // Before anything is fetched.
    args.steps.options(true).check()?;
    let model = fetch::choice(&args.model, ui)?;
    let is_static = parallax::encoder::is_static(&model.location)?;
    let options = LoopOptions {
        data: Source::new(&args.data),
        passages: args::sources(&args.passages),
        held_out: args.held_out.as_ref().map(|path| (Source::new(path), args.held_out_split.clone())),
        read: args.reading.options(Some(&args.split)),
        towers: args.steps.towers(model, is_static),
        training: args.steps.options(is_static),
        limits: limits(None, None, is_static),
        rounds: args.rounds,
        negatives: args.negatives,
        carry_on: args.carry_on,
        all_rounds: args.all_rounds,
        seed: args.steps.seed(),
        resume: args.resume,
    };
    let progress = ui.terse_progress();
    let mut since = None;
    let report = rounds::run(&args.output, &options, &progress, &mut |event| {
        let took = since.map(|since: Instant| format!(", in {}", duration(since.elapsed())));
        say(event, args, &took.unwrap_or_default(), ui);
        since = matches!(event, Event::Step { done: false, .. }).then(Instant::now);
    })?;
    ui.data(&summary(&report))?;
    ui.note(&format!("{} {}", bold("wrote"), args.output.join("report.md").display()));
    let model = args.output.join("model");
    ui.note(&dim(&match report.kept {
        0 => {
            "next: other settings (`--lr`, `--epochs`, `--negatives`) or more questions, in another folder".to_string()
        }
        _ => format!("next: parallax build-index SOURCE --name NAME --encoder {}", model.display()),
    }));
    match report.regression() {
        Some(gain) if args.gate => Err(Error::new(
            ErrorKind::Gate,
            format!(
                "{} {} of the kept model is {} against the model as it came",
                gain.system,
                gain.measure,
                with_interval(gain.mean, gain.interval).trim_end_matches(['*', ' '])
            ),
        )
        .hint("lower the learning rate (`--lr`), or look at the negatives of each round in `examples.jsonl`")),
        _ => Ok(()),
    }
}

/// `took` is the time of the step whose end the event tells.
fn say(event: &Event<'_>, args: &Args, took: &str, ui: &Ui) {
    match event {
        Event::Questions(counts) => {
            ui.note(&format!("{:<12}{:>12}  are learnt from", "questions", thousands(counts.train as u64)));
            ui.note(&format!(
                "{:<12}{:>12}  judge each round, {} others choose checkpoints; none is mined for or trained on",
                "held out",
                thousands(counts.judging as u64),
                thousands(counts.choosing as u64)
            ));
            if counts.dropped > 0 {
                let dropped = thousands(counts.dropped as u64);
                ui.note(&format!("{:<12}{dropped:>12}  have the words of a held-out one and are left out", ""));
            }
        }
        Event::Round(0) => ui.note(&format!("\n{}", bold("round 0: the model as it comes"))),
        Event::Round(round) => ui.note(&format!("\n{}", bold(&format!("round {round} of {}", args.rounds)))),
        Event::Step { step, what, done } => {
            let there = if *done { dim("  (is there)") } else { String::new() };
            ui.note(&format!("{}  {what}{there}", bold(&format!("{:<10}", step.name()))));
        }
        Event::Mined(Mined { examples, negatives, .. }) => {
            let (examples, negatives) = (thousands(*examples), thousands(*negatives));
            ui.note(&format!("{:<12}{examples:>12}  examples, {negatives} hard negatives{took}", ""));
        }
        Event::Trained(Fitted { steps, kept, loss }) => ui.note(&format!(
            "{:<12}{:>12}  steps, kept step {}, loss {:.3} to {:.3}{took}",
            "",
            thousands(*steps as u64),
            thousands(*kept as u64),
            loss.0,
            loss.1
        )),
        Event::Indexed(passages) => {
            ui.note(&format!("{:<12}{:>12}  passages{took}", "", thousands(*passages as u64)));
        }
        Event::Judged(report) => ui.note(judged(report).trim_end()),
    }
}

/// A round's figures, and its gains below them.
fn judged(report: &RoundReport) -> String {
    let mut rows = vec![head(&format!("round {}", report.round))];
    rows.extend(report.systems.iter().map(|system| {
        let means = system.means.iter().map(|(name, mean)| {
            let best = report.systems.iter().filter_map(|other| report.mean(&other.name, name)).fold(0.0, f64::max);
            let cell = format!("{mean:.4}");
            if *mean == best { bold(&cell) } else { cell }
        });
        std::iter::once(system.name.clone()).chain(means).collect()
    }));
    format!("{}{}hybrid is {}", table(&rows), table(&gains(report)), report.fusion)
}

fn head(first: &str) -> Vec<String> {
    std::iter::once(first).chain(MEASURES).map(str::to_string).collect()
}

/// `dense RR@10 against round 0   +.0123 [+.0050, +.0196]*`.
fn gains(report: &RoundReport) -> Vec<Vec<String>> {
    let row = |gain: &rounds::Gain| {
        vec![
            format!("{} {} against {}", gain.system, gain.measure, gain.against),
            with_interval(gain.mean, gain.interval),
        ]
    };
    report.gains.iter().map(row).collect()
}

/// All rounds at a glance, and the verdict.
fn summary(report: &LoopReport) -> String {
    let mut rows = vec![head("")];
    for round in &report.rounds {
        for system in round.systems.iter().filter(|system| round.round == 0 || system.name != "bm25") {
            let name = match system.name.as_str() {
                // The same in every round.
                "bm25" => "bm25".to_string(),
                name => format!("round {} {name}", round.round),
            };
            let kept = round.round == report.kept && system.name != "bm25";
            let means = system.means.iter().map(|(_, mean)| format!("{mean:.4}"));
            let row = std::iter::once(name).chain(means);
            rows.push(row.map(|cell| if kept { bold(&cell) } else { cell }).collect());
        }
    }
    let mut text = format!("\n{}", table(&rows));
    if let Some(best) = report.best() {
        text += &table(&gains(best));
    }
    let questions = thousands(report.questions.judging as u64);
    text += &format!("paired over {questions} held-out questions, 95 % bootstrap intervals; * excludes 0\n");
    text += &format!("{}: round {}, {}; {}\n", bold("kept"), report.kept, report.verdict(), report.stopped);
    text
}

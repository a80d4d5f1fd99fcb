//! `loop`: index, mine, train, index again and compare, in rounds, as long as rounds help.

use super::args::{self, Reading};
use super::fetch;
use super::train::{Steps, limits};
use super::ui::{Ui, bold, dim, duration, table, thousands};
use parallax::collection::read::Source;
use parallax::learn::rounds::{
    self, Choice, Event, Fitted, Gain, LoopOptions, LoopReport, MEASURES, Mined, RoundReport,
};
use parallax::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Teach an encoder in rounds: mine its mistakes, train, index again, compare.
///
/// Round 0 measures the model as it comes. Each further round mines hard negatives (from BM25; from the second on, half
/// from the newest model too), trains, indexes and compares. One half of the held-out questions chooses: a round is kept
/// when its gain in dense RR@10 over the best round before is proven on them, and the first one without such a gain ends
/// the loop. The other half chose nothing and gives all other figures and the verdict. Proven means at least 20
/// questions, a 95 % interval that excludes 0, and p < .05. Stopped anywhere, `--resume` goes on.
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
    /// Questions that are held out: one half chooses, the other judges; a tenth of `--data` by default.
    #[arg(long, value_name = "SOURCE", help_heading = "Input")]
    held_out: Option<PathBuf>,
    /// Which judgments of a BEIR folder are held out; dev by default, test only when named.
    #[arg(long, value_name = "NAME", requires = "held_out", help_heading = "Input")]
    held_out_split: Option<String>,
    /// Where training starts: builtin, a model folder, or owner/name from the hub.
    #[arg(long, value_name = "ENCODER", default_value = "builtin", help_heading = "Model")]
    model: String,
    /// Rounds of training at most; more than before with `--resume` goes on with a loop that made all.
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
    /// End with exit code 3 when the kept model or that of the last round, dense (RR@10) or hybrid (nDCG@10), is proven
    /// worse than the model as it came on the questions that judge; no gain is no loss.
    #[arg(long, help_heading = "Rounds")]
    gate: bool,
    #[command(flatten)]
    steps: Steps,
    /// Go on with a loop that was stopped, or with one that is over and is asked for more rounds.
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
  parallax loop --data train.json --held-out dev.json -o taught --resume
  parallax loop --data train.json --held-out dev.json -o taught --resume --rounds 4";

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
        Some((round, gain)) if args.gate => Err(Error::new(
            ErrorKind::Gate,
            format!(
                "{} {} of round {round} is {} against the model as it came",
                gain.system,
                gain.measure,
                difference(gain)
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
            let row = |name: &str, n: usize, what: &str| {
                ui.note(&format!("{name:<12}{:>12}  {what}", thousands(n as u64)));
            };
            row("questions", counts.train, "are learnt from");
            if counts.dropped > 0 {
                row("", counts.dropped, "ask what a held-out one asks and are left out of training");
            }
            let held_out = format!("{}: none is mined for or trained on", counts.held_out);
            row("held out", counts.choosing + counts.judging, &held_out);
            row("", counts.choosing, "choose the step, the fusion weight and the round (by dense RR@10)");
            row("", counts.judging, "judge: all other figures are theirs");
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
        Event::Trained(Fitted { steps, kept, loss_first, loss_last }) => {
            let kept = match kept {
                0 => "none better than the start, which is kept".to_string(),
                kept => format!("kept step {}", thousands(*kept as u64)),
            };
            let steps = thousands(*steps as u64);
            ui.note(&format!("{:<12}{steps:>12}  steps, {kept}, loss {loss_first:.3} to {loss_last:.3}{took}", ""));
        }
        Event::Indexed(passages) => {
            ui.note(&format!("{:<12}{:>12}  passages{took}", "", thousands(*passages as u64)));
        }
        Event::Judged(report) => ui.note(judged(report).trim_end()),
    }
}

/// A round's figures and gains by the judging questions, and what the choosing ones make of it.
fn judged(report: &RoundReport) -> String {
    let mut rows = vec![head(&format!("round {}", report.round))];
    rows.extend(report.systems.iter().map(|system| {
        let cells = MEASURES.iter().map(|name| {
            let of = |name: &str, measure: &str| report.mean(name, measure).unwrap_or_default();
            let best = report.systems.iter().map(|other| of(&other.name, name)).fold(0.0, f64::max);
            let cell = format!("{:.4}", of(&system.name, name));
            if of(&system.name, name) == best { bold(&cell) } else { cell }
        });
        std::iter::once(system.name.clone()).chain(cells).collect()
    }));
    format!(
        "by the {} questions that judge; hybrid is {}\n{}{}{}",
        thousands(report.queries.len() as u64),
        report.fusion,
        table(&rows),
        gains(report),
        chosen(&report.choice)
    )
}

/// What the choosing questions say.
fn chosen(choice: &Choice) -> String {
    let questions = thousands(choice.queries.len() as u64);
    let figure = format!("by the {questions} that choose: dense RR@10 {:.4}", choice.mean);
    let Some(gain) = &choice.gain else { return figure };
    let kept = if gain.test.is_gain() { "the best so far" } else { "not kept" };
    let (against, verdict) = (&gain.against, gain.test.verdict());
    format!("{figure}, against {against} {}, {verdict}: {}", difference(gain), bold(kept))
}

fn head(first: &str) -> Vec<String> {
    std::iter::once(first).chain(MEASURES).map(str::to_string).collect()
}

/// `+0.0123 [+0.0050, +0.0196], p 0.0010`.
fn difference(gain: &Gain) -> String {
    let (low, high) = gain.test.interval;
    format!("{:+.4} [{low:+.4}, {high:+.4}], p {:.4}", gain.test.mean_difference, gain.test.p_randomization)
}

/// Lines like `dense RR@10 against round 0  +0.0123 [+0.0050, +0.0196], p 0.0010  gain`.
fn gains(report: &RoundReport) -> String {
    let what = |gain: &Gain| format!("{} {} against {}", gain.system, gain.measure, gain.against);
    let width = report.gains.iter().map(|gain| what(gain).len()).max().unwrap_or(0);
    let line = |gain: &Gain| format!("{:<width$}  {}  {}\n", what(gain), difference(gain), gain.test.verdict());
    report.gains.iter().map(line).collect()
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
            let means =
                MEASURES.iter().map(|name| format!("{:.4}", system.means.get(*name).copied().unwrap_or_default()));
            let row = std::iter::once(name).chain(means);
            rows.push(row.map(|cell| if kept { bold(&cell) } else { cell }).collect());
        }
    }
    let mut text = format!("\n{}", table(&rows));
    if let Some(best) = report.best() {
        text += &gains(best);
    }
    let judging = thousands(report.questions.judging as u64);
    text +=
        &format!("of {judging} held-out questions that chose nothing; 95 % intervals, paired question by question\n");
    text += &format!("{}: round {}, since {}\n", bold("kept"), report.kept, why_kept(report));
    text += &format!("{}: {}; ended since {}\n", bold("verdict"), report.verdict(), report.stopped);
    text
}

/// Why that round.
fn why_kept(report: &LoopReport) -> String {
    let choosing = thousands(report.questions.choosing as u64);
    match report.best().and_then(|best| best.choice.gain.as_ref()) {
        None => format!("{choosing} choosing questions prove no gain in dense RR@10 over it"),
        Some(gain) => format!(
            "{choosing} choosing questions prove its gain in dense RR@10 over {}: {}",
            gain.against,
            difference(gain)
        ),
    }
}

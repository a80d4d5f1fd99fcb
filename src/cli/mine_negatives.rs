//! `mine-negatives`: hard negatives for training, without the answers among them.

mod outputs;
mod protect;
mod screen;

use super::args::{Global, Joining, Reading};
use super::ui::{Ui, bold, dim, duration, thousands};
use clap::{ArgAction, ValueEnum};
use outputs::AuditFiles;
use parallax::collection::read::{self, QuerySetSummary, Source as File};
use parallax::collection::write::{ExampleFormat, ExampleWriter};
use parallax::dense::SearchHow;
use parallax::encoder::contract::Precision;
use parallax::eval::answers::Matching;
use parallax::mining::audit;
use parallax::mining::{
    Filters, MineOptions, MineReport, Mix, Outcome, PRESETS, PairKind, PairOptions, RelativeMargin, Rescore, Sampling,
    Shortfall, mine, mine_pairs,
};
use parallax::{Error, Index, Mode, QuerySet, Result, Searcher, TrainingExample, Weighting, encoder};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

/// Mine hard negatives from an index's own mistakes.
///
/// For every judged question, passages that rank high and are not right: by default the best BM25 passages that hold no
/// answer. What may be right after all is kept out, every filter and every question's outcome is counted. The examples
/// are what `train` learns from.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Index name or folder.
    index: String,
    /// Questions, gold passages and answers: a BEIR folder, a SQuAD or KorQuAD JSON.
    #[arg(long, value_name = "SOURCE", required_unless_present_any = ["queries", "pseudo"], help_heading = "Input")]
    data: Option<PathBuf>,
    /// Questions alone; judgments come from `--qrels`.
    #[arg(long, value_name = "FILE", requires = "qrels", conflicts_with = "data", help_heading = "Input")]
    queries: Option<PathBuf>,
    /// Judgments: BEIR's TSV, or TREC's four columns.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    qrels: Option<PathBuf>,
    /// Which judgments of a BEIR folder.
    #[arg(long, value_name = "NAME", default_value = "train", help_heading = "Input")]
    split: String,
    /// Instead of questions: N pairs (or all) out of the index's own passages.
    #[arg(long, value_name = "N|all", conflicts_with_all = ["data", "queries", "qrels"], value_parser = pairs, help_heading = "Input")]
    pseudo: Option<Pairs>,
    /// What passages are asked: titles (title finds text), sentences (sentence finds the rest), both.
    #[arg(long, value_name = "KIND", default_value = "both", requires = "pseudo", value_parser = parsed::<PairKind>, help_heading = "Input")]
    pseudo_kind: PairKind,
    /// A recipe to start from; flags given beside it win.
    #[arg(long, value_name = "NAME", value_parser = PRESETS, help_heading = "Negatives")]
    preset: Option<String>,
    /// Where they come from: sparse, dense, hybrid, sparse-only, dense-only, random, or mix:sparse=.7,random=.3.
    #[arg(long, value_name = "SOURCE", value_parser = parsed::<Mix>, help_heading = "Negatives")]
    source: Option<Mix>,
    /// Negatives a question [default: 3].
    #[arg(long, value_name = "N", help_heading = "Negatives")]
    negatives: Option<usize>,
    /// Passages each side offers [default: 100].
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Negatives")]
    depth: Option<usize>,
    /// Scores of the sparse side: bm25, bm25(k1=1.2,b=.75), tfidf.
    #[arg(long, value_name = "NAME", default_value = "bm25", value_parser = parsed::<Weighting>, help_heading = "Negatives")]
    weighting: Weighting,
    /// Search all vectors instead of the neighbour graph.
    #[arg(long, help_heading = "Negatives")]
    exact: bool,
    /// Which survivors are taken: top, random, softmax [default: top].
    #[arg(long, value_name = "HOW", value_parser = parsed::<Sampling>, help_heading = "Negatives")]
    sampling: Option<Sampling>,
    /// Too few survivors: fewer, drop (the question), random (fill up) [default: fewer].
    #[arg(long, value_name = "WHAT", value_parser = parsed::<Shortfall>, help_heading = "Negatives")]
    shortfall: Option<Shortfall>,
    /// Seed of everything drawn.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Negatives")]
    seed: u64,
    /// Take raw ranks MIN to MAX only, from 1, both included.
    #[arg(long, value_name = "MIN-MAX", value_parser = range, help_heading = "Filters")]
    range: Option<(usize, usize)>,
    /// Lowest raw score that is taken.
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Filters")]
    min_score: Option<f64>,
    /// Highest raw score that is taken.
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Filters")]
    max_score: Option<f64>,
    /// How far below the lowest positive's score a negative must stay.
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Filters")]
    margin: Option<f64>,
    /// The same as a share of the positive's score; auto fits it to the collection.
    #[arg(long, value_name = "F|auto", allow_negative_numbers = true, value_parser = parsed::<RelativeMargin>, help_heading = "Filters")]
    relative_margin: Option<RelativeMargin>,
    /// How answers are found in passages: strict (DPR's rule), korean (also before a particle), off [default: korean].
    #[arg(long, value_name = "HOW", help_heading = "Filters")]
    answers: Option<AnswerRule>,
    /// Other chunks of a positive's document [default: drop].
    #[arg(long, value_name = "WHAT", help_heading = "Filters")]
    same_document: Option<Keep>,
    /// Passages with a positive's title [default: keep].
    #[arg(long, value_name = "WHAT", help_heading = "Filters")]
    same_title: Option<Keep>,
    /// Twins of a positive to drop: from this shingle similarity on, exact ones only, or keep [default: 0.5].
    #[arg(long, value_name = "F|exact|keep", value_parser = duplicates, help_heading = "Filters")]
    duplicates: Option<Duplicates>,
    /// Data sets whose right passages, and twins of those, are never taken; the other splits of a BEIR folder by default.
    #[arg(long, value_name = "SOURCE", num_args = 1.., help_heading = "Filters")]
    protect: Vec<PathBuf>,
    /// Protect nothing.
    #[arg(long, conflicts_with = "protect", action = ArgAction::SetTrue, help_heading = "Filters")]
    no_protect: bool,
    /// An encoder that scores what survived once more: builtin, or a model folder.
    #[arg(long, value_name = "DIR", help_heading = "Filters")]
    rescore: Option<String>,
    /// Drop what it scores at this share of the positive or above.
    #[arg(long, value_name = "F", default_value_t = Rescore::DROP, requires = "rescore", help_heading = "Filters")]
    rescore_drop: f64,
    /// Take as a further positive what it scores at this share or above.
    #[arg(long, value_name = "F", requires = "rescore", help_heading = "Filters")]
    rescore_positive: Option<f64>,
    /// File of examples to write; packed where it ends in .gz.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,
    /// parallax (with where each negative came from), dpr, tevatron, flagembedding, triplets, n-tuples.
    #[arg(long, value_name = "FORMAT", default_value = "parallax", value_parser = parsed::<ExampleFormat>, help_heading = "Output")]
    format: ExampleFormat,
    /// Estimate how many negatives are right after all; writes JSON, and a sheet to judge by hand beside it (.tsv).
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    audit: Option<PathBuf>,
    /// Rows of that sheet.
    #[arg(long, value_name = "N", default_value_t = 50, requires = "audit", help_heading = "Output")]
    sheet: usize,
    /// Replace files that exist.
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    joining: Joining,
    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  parallax mine-negatives mine --data train.json -o examples.jsonl
  parallax mine-negatives mine --data beir/ --source mix:sparse=.7,random=.3 --audit audit.json -o examples.jsonl
  parallax mine-negatives mine --data train.json --preset topk-percpos --relative-margin auto -o examples.jsonl
  parallax mine-negatives mine --pseudo all --negatives 0 -o pairs.jsonl";

#[derive(Clone, Copy, ValueEnum)]
enum AnswerRule {
    Strict,
    Korean,
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keep {
    Keep,
    Drop,
}

#[derive(Clone, Copy)]
enum Duplicates {
    Near(f64),
    Exact,
    Keep,
}

/// How many pairs; `None` is all.
#[derive(Clone, Copy)]
struct Pairs(Option<usize>);

fn parsed<T: FromStr<Err = Error>>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|e: Error| {
        std::iter::once(e.message()).chain(e.hints().iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
    })
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a whole number from 1 on is expected".into())
}

fn pairs(text: &str) -> std::result::Result<Pairs, String> {
    if text == "all" { Ok(Pairs(None)) } else { at_least_one(text).map(|n| Pairs(Some(n))) }
}

fn range(text: &str) -> std::result::Result<(usize, usize), String> {
    let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    ends.ok_or_else(|| "ranks are written `11-210`".into())
}

fn duplicates(text: &str) -> std::result::Result<Duplicates, String> {
    match text {
        "exact" => Ok(Duplicates::Exact),
        "keep" => Ok(Duplicates::Keep),
        _ => match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Duplicates::Near(share)),
            _ => Err("a similarity from 0 to 1, `exact` or `keep` is expected".into()),
        },
    }
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let started = Instant::now();
    let index = global.open_index(&args.index)?;
    outputs::check(args, index.folder())?;
    let options = options(args, &index)?;
    options.check()?;
    if let (true, Some(fusion)) = (options.mix.needs_dense(), index.dense().is_none().then_some(&args.index)) {
        return Err(Error::usage(format!(
            "the source `{}` needs a dense side, and index `{fusion}` has none",
            options.mix
        ))
        .hint("mine with `--source sparse`")
        .hint(format!("or build it with an encoder: `parallax build-index SOURCE --name {fusion} --force`")));
    }
    let input = input(args, ui)?;
    let protected = protect::protected(args, &input, ui)?;
    let mode = if options.mix.needs_dense() { Mode::Hybrid } else { Mode::Sparse };
    let searcher = Searcher::new(index, mode)?;
    let mut writer = ExampleWriter::create(&args.output, args.format, options.negatives)?;
    let audit_files = AuditFiles::create(args)?;
    let progress = ui.progress();
    let mut take = |example: TrainingExample| writer.write(&example);
    let report = match (&input, args.pseudo) {
        (Input::Pairs, Some(Pairs(pairs))) => {
            let pairs = PairOptions { kind: args.pseudo_kind, pairs };
            mine_pairs(&searcher, &pairs, &protected, &options, &progress, &mut take)?
        }
        (Input::Questions(set, _), _) => mine(&searcher, set, &protected, &options, &progress, &mut take)?,
        _ => return Err(Error::bug("neither questions nor pairs were asked for")),
    };
    ui.data(&screen::screen(args, &options, &report))?;
    if report.examples == 0 {
        return Err(without_example(&report));
    }
    let written = writer.finish()?;
    if let (Some(files), Some(found)) = (audit_files, &report.audit) {
        files.finish(&audit::json(&report, found, ui.command()), &audit::sheet(found))?;
    }
    for loss in &written.losses {
        ui.warn(loss);
    }
    ui.note(&format!(
        "{} {}   {} examples   {} negatives   in {}",
        bold("wrote"),
        args.output.display(),
        thousands(written.examples),
        thousands(written.negatives),
        duration(started.elapsed())
    ));
    if let (Some(path), Some(found)) = (&args.audit, &report.audit) {
        let sheet = outputs::sheet_path(path);
        ui.note(&format!(
            "{} {}   {} rows to judge by hand in {}",
            bold("audit"),
            path.display(),
            found.sheet.len(),
            sheet.display()
        ));
    }
    ui.note(&dim(&format!("next: parallax train --examples {} --model builtin -o MODEL", args.output.display())));
    Ok(())
}

/// Why nothing is written where no question got an example; the table above says the rest.
fn without_example(report: &MineReport) -> Error {
    let outcomes = Outcome::ALL.into_iter().filter(|outcome| report.outcome(*outcome) > 0);
    let counts: Vec<String> =
        outcomes.map(|outcome| format!("{} {}", thousands(report.outcome(outcome)), outcome.meaning())).collect();
    let error = Error::bad_input(match counts.is_empty() {
        true => "nothing asks: the passages have neither titles nor two sentences".into(),
        false => format!("no question got an example: {}", counts.join(", ")),
    });
    match report.outcome(Outcome::Dropped) {
        0 => error,
        _ => error.hint("let questions keep fewer, `--shortfall fewer`, or fill them up, `--shortfall random`"),
    }
}

/// The preset's options, and what was asked for beside it.
fn options(args: &Args, index: &Index) -> Result<MineOptions> {
    let mut options = match &args.preset {
        Some(name) => MineOptions::preset(name, index.dense().is_some())?,
        None => MineOptions::default(),
    };
    options.mix = args.source.clone().unwrap_or(options.mix);
    options.negatives = args.negatives.unwrap_or(options.negatives);
    options.depth = args.depth.unwrap_or(options.depth);
    options.sampling = args.sampling.unwrap_or(options.sampling);
    options.shortfall = args.shortfall.unwrap_or(options.shortfall);
    options.weighting = args.weighting;
    options.fusion = args.joining.resolve(index.manifest())?;
    options.how = if args.exact { SearchHow::Exact } else { SearchHow::Auto };
    options.audit = args.audit.as_ref().map(|_| args.sheet);
    options.seed = args.seed;
    // No other layout has room for it.
    options.traced = args.format == ExampleFormat::Parallax;
    if let Some(location) = &args.rescore {
        let encoder = encoder::open_named(location, location, Precision::F32)?.into();
        options.rescore = Some(Rescore { encoder, drop: args.rescore_drop, positive: args.rescore_positive });
    }
    let own = options.filters;
    let (exact_duplicate, near_duplicate) = match args.duplicates {
        None => (own.exact_duplicate, own.near_duplicate),
        Some(Duplicates::Near(share)) => (true, Some(share)),
        Some(Duplicates::Exact) => (true, None),
        Some(Duplicates::Keep) => (false, None),
    };
    options.filters = Filters {
        same_document: args.same_document.map_or(own.same_document, |keep| keep == Keep::Drop),
        same_title: args.same_title.map_or(own.same_title, |keep| keep == Keep::Drop),
        exact_duplicate,
        near_duplicate,
        answers: match args.answers {
            None => own.answers,
            Some(AnswerRule::Strict) => Some(Matching::Strict),
            Some(AnswerRule::Korean) => Some(Matching::Korean),
            Some(AnswerRule::Off) => None,
        },
        range: args.range.or(own.range),
        min_score: args.min_score.or(own.min_score),
        max_score: args.max_score.or(own.max_score),
        margin: args.margin.or(own.margin),
        relative_margin: args.relative_margin.or(own.relative_margin),
    };
    Ok(options)
}

/// What is mined for.
enum Input {
    Questions(QuerySet, QuerySetSummary),
    Pairs,
}

fn input(args: &Args, ui: &Ui) -> Result<Input> {
    let options = args.reading.options(Some(&args.split));
    let (set, summary) = match (&args.data, &args.queries, &args.qrels) {
        (Some(path), _, qrels) => {
            let (mut set, summary) = read::query_set(&File::new(path), &options)?;
            if let Some(path) = qrels {
                set.qrels = read::qrels(&File::new(path), &options)?;
            }
            (set, summary)
        }
        (None, Some(queries), Some(judgments)) => {
            let queries = read::queries(&File::new(queries), &options)?;
            let qrels = read::qrels(&File::new(judgments), &options)?;
            (QuerySet { queries, qrels }, QuerySetSummary::default())
        }
        _ => return Ok(Input::Pairs),
    };
    if summary.skipped_total > 0 {
        ui.warn(&format!("{} bad records skipped", thousands(summary.skipped_total)));
    }
    if set.qrels.is_empty() {
        return Err(Error::bad_input("no query of the data set has a judgment, so there is no positive to learn from")
            .hint("judgments come from `qrels/*.tsv` of a BEIR folder, from SQuAD files, or from `--qrels FILE`"));
    }
    Ok(Input::Questions(set, summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_they_are_explained() {
        assert_eq!(range("11-210"), Ok((11, 210)));
        assert!(range("11").is_err() && range("-5").is_err());
        assert!(matches!(duplicates(".8"), Ok(Duplicates::Near(share)) if share == 0.8));
        assert!(duplicates("2").is_err() && duplicates("nan").is_err());
        assert!(
            matches!(pairs("all"), Ok(Pairs(None))) && matches!(pairs("7"), Ok(Pairs(Some(7)))) && pairs("0").is_err()
        );
        assert!((parallax::mining::NEAR_DUPLICATE - 0.5).abs() < 1e-9, "the help says so");
        let own = MineOptions::default();
        assert_eq!((own.negatives, own.depth, own.sampling), (3, 100, Sampling::Top), "the help says so");
    }
}

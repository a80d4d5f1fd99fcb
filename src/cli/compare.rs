//! `compare`: which retriever finds the right passage.

mod report;
mod screen;
mod tune;

pub(super) use screen::screen;

use super::args::{self, Global, Reading};
use super::diagnosis;
use super::ui::{Ui, bold};
use parallax::collection::read::{self, Source};
use parallax::collection::write;
use parallax::compare::diagnose;
use parallax::compare::report::{Provenance, Report, json};
use parallax::compare::{CompareOptions, System, compare};
use parallax::dense::SearchHow;
use parallax::encoder::contract::Precision;
use parallax::{Error, ErrorKind, Measure, Mode, QuerySet, Result, Searcher};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Compare recall of sparse, dense and hybrid retrieval.
///
/// Runs every judged question of a data set through every system and prints how much of what is relevant, and of the
/// answers, each one found, how sure that is, and what it costs. Means go over all judged questions (trec_eval -c).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Index name or folder.
    index: String,
    /// Questions, gold passages and answers: a BEIR folder, a SQuAD or KorQuAD JSON.
    #[arg(long, value_name = "SOURCE", required_unless_present = "queries", help_heading = "Input")]
    data: Option<PathBuf>,
    /// Questions alone; judgments come from `--qrels`.
    #[arg(long, value_name = "FILE", requires = "qrels", conflicts_with = "data", help_heading = "Input")]
    queries: Option<PathBuf>,
    /// Judgments: BEIR's TSV, or TREC's four columns.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    qrels: Option<PathBuf>,
    /// Which judgments of a BEIR folder; test by default.
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    split: Option<String>,
    /// Systems, comma-separated: bm25, bm25(k1=1.2,b=.75), tfidf, dense, hybrid, hybrid(rrf), hybrid(weight=.3), hybrid(FILE),
    /// run:FILE, and what other engines do with the same lists: hybrid(weaviate), hybrid(qdrant-dbsf), … (an unknown
    /// name lists them).
    #[arg(long = "system", value_name = "SYSTEMS", help_heading = "Retrieval")]
    systems: Vec<String>,
    /// One of the systems; every other one is compared with it, query by query, with a 95 % interval, and marked where it
    /// is proven better or worse (Holm-corrected for as many as are compared).
    #[arg(long, value_name = "SYSTEM", help_heading = "Output")]
    baseline: Option<String>,
    /// Measures, comma-separated: nDCG@10, R@100, RR@10, AP@100, Success@20, answer-recall@20, …; trec_eval's spellings
    /// (ndcg_cut.10, recall_100, recip_rank, map) are known too.
    #[arg(long = "measure", value_name = "MEASURES", help_heading = "Output")]
    measures: Vec<String>,
    /// Passages each side offers to fusion.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN), help_heading = "Retrieval")]
    depth: NonZeroUsize,
    /// What the encoder of questions computes in, f32 or int8; as the passages were encoded by default.
    #[arg(long, value_name = "PRECISION", value_parser = args::precision, help_heading = "Retrieval")]
    precision: Option<Precision>,
    /// Drop the passage that has the question's own id from every ranking, as BEIR does for questions that are passages.
    #[arg(long, help_heading = "Retrieval")]
    drop_query_id: bool,
    /// Search all vectors instead of the neighbour graph.
    #[arg(long, conflicts_with = "graph", help_heading = "Retrieval")]
    exact: bool,
    /// Search the neighbour graph, also where the index is small enough for all vectors.
    #[arg(long, help_heading = "Retrieval")]
    graph: bool,
    /// Print means over kinds of questions: length, words shared with the gold passage, question word, script.
    #[arg(long, help_heading = "Output")]
    slices: bool,
    /// Questions a system was trained on: `--slices` also tells apart what is seen there, question, answer or passage.
    #[arg(long, value_name = "SOURCE", help_heading = "Input")]
    train: Option<PathBuf>,
    /// Which judgments of a BEIR folder `--train` takes.
    #[arg(long, value_name = "NAME", default_value = "train", requires = "train", help_heading = "Input")]
    train_split: String,
    /// Do not time searches for the table of costs.
    #[arg(long, help_heading = "Output")]
    no_cost: bool,
    /// Write everything measured, also per question, as JSON; `-` is stdout.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Find out why each system missed what it missed; writes JSON lines, one a missed question.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    diagnose: Option<PathBuf>,
    /// A question is missed where no gold passage is among the first N, 100 at most.
    #[arg(long, value_name = "N", default_value_t = 20, requires = "diagnose", value_parser = at, help_heading = "Output")]
    diagnose_at: usize,
    /// Instead of comparing, find the fusion on these judged questions, by nested cross-validation over methods, weights and
    /// a weight per query, on the first `--measure` (nDCG@10 by default). FILE is what `--fusion` takes; where no gain is
    /// proven it keeps the index's own fusion. With `--report` systems are compared as well.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "runs", "diagnose", "slices", "train", "drop_query_id"], help_heading = "Output")]
    tune_fusion: Option<PathBuf>,
    /// Write each system's rankings as TREC run files into a folder.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    runs: Option<PathBuf>,
    #[command(flatten)]
    files: report::Files,
    #[command(flatten)]
    reading: Reading,
}

fn at(text: &str) -> std::result::Result<usize, String> {
    let fits = |k: &usize| (1..=diagnose::DEEPEST).contains(k);
    text.parse().ok().filter(fits).ok_or_else(|| format!("a whole number from 1 to {} is expected", diagnose::DEEPEST))
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let files = args.files.prepare()?;
    if args.tune_fusion.is_some() && !files.wanted() && (!args.systems.is_empty() || args.baseline.is_some()) {
        return Err(Error::usage("`--tune-fusion` compares no systems").hint("add `--report FILE.html` for both"));
    }
    if let Some(folder) =
        args.tune_fusion.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        return Err(Error::new(ErrorKind::NotFound, "there is no folder to write the fusion to").in_file(folder));
    }
    if let Some(folder) = &args.runs {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    }
    let measures: Option<Vec<Measure>> = match args.measures.is_empty() {
        true => None,
        false => Some(args.measures.join(",").split(',').map(|name| name.trim().parse()).collect::<Result<_>>()?),
    };
    if let Some(twice) =
        measures.iter().flatten().enumerate().find(|(i, m)| measures.iter().flatten().take(*i).any(|n| n == *m))
    {
        return Err(Error::usage(format!("measure `{}` is named twice", twice.1)));
    }
    let systems = match args.systems.is_empty() {
        true => None,
        false => Some(System::parse_list(&args.systems.join(","))?),
    };
    let index = global.open_index(&args.index)?;
    let (set, data, split) = query_set(args)?;
    let train = match &args.train {
        Some(path) => Some(read::query_set(&Source::new(path), &args.reading.options(Some(&args.train_split)))?.0),
        None => None,
    };
    let systems = match systems {
        Some(systems) => systems,
        None if index.dense().is_some() => System::parse_list("bm25,tfidf,dense,hybrid")?,
        None => System::parse_list("bm25,tfidf")?,
    };
    let needs_encoder = args.tune_fusion.is_some()
        || systems.iter().any(|system| system.mode().is_some_and(|mode| mode != Mode::Sparse));
    let mode = if needs_encoder { Mode::Hybrid } else { Mode::Sparse };
    let searcher = Searcher::in_precision(index, mode, args.precision)?;
    let how = match (args.exact, args.graph) {
        (true, _) => SearchHow::Exact,
        (_, true) => SearchHow::Graph { ef: searcher.graph_ef() },
        _ => SearchHow::Auto,
    };
    let tuning = match &args.tune_fusion {
        None => None,
        Some(path) => {
            let measure = measures.as_ref().map_or("nDCG@10".parse(), |measures| Ok(measures[0]))?;
            // What the measure looks at has to be offered.
            let depth = args.depth.get().max(measure.cutoff().unwrap_or(0));
            let (searcher, set) = (&searcher, &set);
            Some(tune::run(&tune::Order { searcher, set, data: &data, measure, depth, how, path }, ui)?)
        }
    };
    // Beside a tuning, systems are compared only where a report shows both.
    if tuning.is_some() && !files.wanted() {
        return Ok(());
    }
    let measures = measures.unwrap_or_else(|| default_measures(&set));
    let options = CompareOptions {
        systems,
        measures,
        depth: args.depth.get(),
        how,
        baseline: args.baseline.clone(),
        drop_query_id: args.drop_query_id,
        cost: !args.no_cost,
        // Files hold them in any case.
        slices: args.slices || args.train.is_some() || args.json.is_some() || files.wanted(),
        train,
    };
    let comparison = compare(&searcher, &set, &options, &ui.progress())?;
    let named = (data.as_str(), split.as_deref());
    let provenance = Provenance::of(&searcher, &set, ui.command(), named, options.offered())?;
    for (system, mean) in options.systems.iter().filter_map(|system| Some((system, system.tuned_on(&data)?))) {
        ui.warn(&format!(
            "the fusion of {} was tuned on these questions, which flatters it; on questions it was not fitted on it reached \
             {mean}",
            system.name()
        ));
    }
    let mut report = Report::of(&comparison, &set, &provenance);
    report.tuning = tuning;
    let beside = files.compare(&mut report)?;
    if let Some(folder) = &args.runs {
        for result in &comparison.systems {
            let name = result.name.replace(['/', '\\'], "_");
            let path = folder.join(format!("{name}.trec"));
            let mut bytes = Vec::new();
            write::trec_run(&result.run, &mut bytes)?;
            std::fs::write(&path, bytes).map_err(|e| Error::io(&path, "write", e))?;
        }
    }
    let diagnosis = match &args.diagnose {
        None => None,
        Some(path) => {
            let found = diagnose::diagnose(&searcher, &set, &options, &comparison, args.diagnose_at, &ui.progress())?;
            std::fs::write(path, diagnose::jsonl(&found)?).map_err(|e| Error::io(path, "write", e))?;
            report.explain(&found);
            Some(found)
        }
    };
    files.write(&report, ui)?;
    match &args.json {
        Some(path) if path.as_os_str() == "-" => return ui.data(&json(&report)?),
        Some(path) => {
            std::fs::write(path, json(&report)?).map_err(|e| Error::io(path, "write", e))?;
        }
        None => {}
    }
    let mut text = screen(&comparison, &provenance, ui.width());
    if args.slices || args.train.is_some() {
        text.push('\n');
        text += &screen::slices(&comparison, ui.width());
    }
    ui.data(&(text + &beside))?;
    match (&diagnosis, &args.diagnose) {
        (Some(found), Some(path)) => {
            ui.data(&format!("\n{}", diagnosis::screen(found)))?;
            ui.note(&format!("{} {}   {} missed questions", bold("wrote"), path.display(), found.misses.len()));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn query_set(args: &Args) -> Result<(QuerySet, String, Option<String>)> {
    let options = args.reading.options(args.split.as_deref());
    match (&args.data, &args.queries, &args.qrels) {
        (Some(path), _, qrels) => {
            let (mut set, summary) = read::query_set(&Source::new(path), &options)?;
            if let Some(path) = qrels {
                set.qrels = read::qrels(&Source::new(path), &options)?;
            }
            Ok((set, path.display().to_string(), summary.split))
        }
        (None, Some(queries), Some(judgments)) => {
            let queries_read = read::queries(&Source::new(queries), &options)?;
            let qrels = read::qrels(&Source::new(judgments), &options)?;
            let data = format!("{} with {}", queries.display(), judgments.display());
            Ok((QuerySet { queries: queries_read, qrels }, data, None))
        }
        _ => Err(Error::usage("`--data`, or `--queries` with `--qrels`, is needed")),
    }
}

/// Recall at several depths, three measures of order, and the answers where they are known.
pub(crate) fn default_measures(set: &QuerySet) -> Vec<Measure> {
    let mut names = vec!["R@1", "R@5", "R@20", "R@100", "nDCG@10", "RR@10", "AP@100"];
    let mut answers = set.queries.iter().flat_map(|query| &query.answers);
    if answers.clone().next().is_some() {
        names.extend(["answer-recall@20", "answer-P@20"]);
        if answers.any(|answer| answer.chars().any(|c| ('가'..='힣').contains(&c))) {
            names.extend(["answer-recall(korean)@20", "answer-P(korean)@20"]);
        }
        names.push("answer-recall(characters)@20");
    }
    names.into_iter().filter_map(|name| name.parse().ok()).collect()
}

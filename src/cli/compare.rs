//! `compare`: which retriever finds the right passage.

mod tune;

use super::args::{Global, Reading};
use super::ui::{Ui, bold, table};
use parallax::collection::read::{self, Source};
use parallax::collection::write;
use parallax::compare::report::{self, Provenance};
use parallax::compare::{CompareOptions, Comparison, System, compare};
use parallax::dense::SearchHow;
use parallax::eval::significance::Paired;
use parallax::{Error, Measure, Mode, QuerySet, Result, Searcher};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Compare recall of sparse, dense and hybrid retrieval.
///
/// Runs every judged question of a data set through every system and prints how much of what is relevant, and of the
/// answers, each one found. Means go over all judged questions (trec_eval -c).
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
    /// One of the systems; every other one is compared with it, query by query, with a 95 % interval.
    #[arg(long, value_name = "SYSTEM", help_heading = "Output")]
    baseline: Option<String>,
    /// Measures, comma-separated: nDCG@10, R@100, RR@10, AP@100, Success@20, answer-recall@20, ….
    #[arg(long = "measure", value_name = "MEASURES", help_heading = "Output")]
    measures: Vec<String>,
    /// Passages each side offers to fusion.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN), help_heading = "Retrieval")]
    depth: NonZeroUsize,
    /// Search all vectors instead of the neighbour graph.
    #[arg(long, conflicts_with = "graph", help_heading = "Retrieval")]
    exact: bool,
    /// Search the neighbour graph, also where the index is small enough for all vectors.
    #[arg(long, help_heading = "Retrieval")]
    graph: bool,
    /// Write everything measured, also per question, as JSON; `-` is stdout.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Instead of comparing, find the fusion on these judged questions, by nested cross-validation over methods, weights and
    /// a weight per query, on the first `--measure` (nDCG@10 by default). FILE is what `--fusion` takes; where no gain is
    /// proven it keeps the index's own fusion.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["systems", "baseline", "json", "runs"], help_heading = "Output")]
    tune_fusion: Option<PathBuf>,
    /// Write each system's rankings as TREC run files into a folder.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    runs: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    if let Some(folder) = &args.runs {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    }
    let measures: Option<Vec<Measure>> = match args.measures.is_empty() {
        true => None,
        false => Some(args.measures.join(",").split(',').map(|name| name.trim().parse()).collect::<Result<_>>()?),
    };
    let systems = match args.systems.is_empty() {
        true => None,
        false => Some(System::parse_list(&args.systems.join(","))?),
    };
    let index = global.open_index(&args.index)?;
    let (set, data, split) = query_set(args)?;
    let systems = match systems {
        Some(systems) => systems,
        None if index.dense().is_some() => System::parse_list("bm25,tfidf,dense,hybrid")?,
        None => System::parse_list("bm25,tfidf")?,
    };
    let needs_encoder = args.tune_fusion.is_some()
        || systems.iter().any(|system| system.mode().is_some_and(|mode| mode != Mode::Sparse));
    let searcher = Searcher::new(index, if needs_encoder { Mode::Hybrid } else { Mode::Sparse })?;
    let how = match (args.exact, args.graph) {
        (true, _) => SearchHow::Exact,
        (_, true) => SearchHow::Graph { ef: searcher.graph_ef() },
        _ => SearchHow::Auto,
    };
    if let Some(path) = &args.tune_fusion {
        let measure = measures.map_or("nDCG@10".parse(), |measures| Ok(measures[0]))?;
        let (searcher, set, depth) = (&searcher, &set, args.depth.get());
        return tune::run(&tune::Order { searcher, set, data: &data, measure, depth, how, path }, ui);
    }
    let measures = measures.unwrap_or_else(|| default_measures(&set));
    let (depth, baseline) = (args.depth.get(), args.baseline.clone());
    let options = CompareOptions { systems, measures, depth, how, baseline };
    let comparison = compare(&searcher, &set, &options, &ui.progress())?;
    let provenance = Provenance {
        command: ui.command().to_string(),
        index: searcher.index().folder().display().to_string(),
        data,
        split,
        fusion: searcher.index().manifest().fusion.fusion.to_string(),
    };
    if let Some(folder) = &args.runs {
        for result in &comparison.systems {
            let name = result.name.replace(['/', '\\'], "_");
            let path = folder.join(format!("{name}.trec"));
            let mut bytes = Vec::new();
            write::trec_run(&result.run, &mut bytes)?;
            std::fs::write(&path, bytes).map_err(|e| Error::io(&path, "write", e))?;
        }
    }
    match &args.json {
        Some(path) if path.as_os_str() == "-" => return ui.data(&report::json(&comparison, &provenance)?),
        Some(path) => {
            std::fs::write(path, report::json(&comparison, &provenance)?).map_err(|e| Error::io(path, "write", e))?;
        }
        None => {}
    }
    ui.data(&screen(&comparison, &provenance))
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
    }
    names.into_iter().filter_map(|name| name.parse().ok()).collect()
}

/// The table, and what a reader has to know to trust it.
pub(crate) fn screen(comparison: &Comparison, provenance: &Provenance) -> String {
    let Some(first) = comparison.systems.first() else { return String::new() };
    let measures = &first.evaluation.measures;
    let best: Vec<f64> = (0..measures.len())
        .map(|m| comparison.systems.iter().map(|system| system.evaluation.mean(m)).fold(0.0, f64::max))
        .collect();
    let mut text = String::new();
    // Answer measures stand in a table of their own: a different question, and the lines stay short.
    let (answers, judged): (Vec<usize>, Vec<usize>) =
        (0..measures.len()).partition(|m| measures[*m].matching().is_some());
    for (title, columns) in [("gold passage", judged), ("answer", answers)] {
        if columns.is_empty() {
            continue;
        }
        let mut rows = vec![
            std::iter::once(title.to_string())
                .chain(columns.iter().map(|m| measures[*m].to_string()))
                .collect::<Vec<_>>(),
        ];
        for system in &comparison.systems {
            let mut row = vec![system.name.clone()];
            row.extend(columns.iter().map(|m| {
                if system.evaluation.count(*m) == 0 {
                    return "–".to_string();
                }
                let mean = system.evaluation.mean(*m);
                let cell = format!("{mean:.4}");
                if mean == best[*m] && comparison.systems.len() > 1 { bold(&cell) } else { cell }
            }));
            rows.push(row);
        }
        text += &table(&rows);
        text.push('\n');
    }
    if let Some(baseline) = &comparison.baseline {
        text += &differences(comparison, baseline);
        text.push('\n');
    }
    if let Some(ann) = comparison.ann_recall {
        let note = if ann.graph_in_use { "the graph searches" } else { "exact search is used at this size" };
        text += &format!(
            "ann_recall@{} of the graph against exact search: {:.4} on {} queries; {note}\n",
            ann.k, ann.mean, ann.queries
        );
    }
    text += &format!("means over {} judged queries", comparison.judged);
    if comparison.with_answers > 0 {
        text += &format!(", answers over {} with known answers", comparison.with_answers);
    }
    text += &format!("; hybrid: {}\n", provenance.fusion);
    if comparison.missing_gold > 0 {
        text += &format!("{} gold passages are not in the index: nothing can find them\n", comparison.missing_gold);
    }
    text
}

/// A row a measure and a column a system, since an interval is wide.
fn differences(comparison: &Comparison, baseline: &str) -> String {
    let others: Vec<_> = comparison.systems.iter().filter(|system| !system.differences.is_empty()).collect();
    let Some(first) = others.first() else { return String::new() };
    let mut rows = vec![vec![format!("difference to {baseline}")]];
    rows[0].extend(others.iter().map(|system| format!("{} ", system.name)));
    for (m, measure) in first.evaluation.measures.iter().enumerate() {
        let mut row = vec![measure.to_string()];
        row.extend(others.iter().map(|system| system.differences[m].as_ref().map_or("– ".into(), difference)));
        rows.push(row);
    }
    table(&rows) + "system minus baseline, paired over queries, 95 % bootstrap interval; * excludes 0\n"
}

/// `+.0123 [+.0050, +.0196]*`.
fn difference(paired: &Paired) -> String {
    with_interval(paired.mean_difference, paired.interval)
}

/// A difference and its interval, starred where that excludes 0.
pub(crate) fn with_interval(difference: f64, (low, high): (f64, f64)) -> String {
    let mark = if low > 0.0 || high < 0.0 { '*' } else { ' ' };
    format!("{} [{}, {}]{mark}", signed(difference), signed(low), signed(high))
}

/// Four places with a sign and no leading zero; what rounds to nothing has no minus.
fn signed(value: f64) -> String {
    let text = format!("{:+.4}", (value * 1e4).round() / 1e4 + 0.0);
    text.replacen("0.", ".", usize::from(value.abs() < 0.99995))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_read_at_a_glance() {
        let paired =
            |mean_difference, interval| Paired { n: 9, mean_difference, interval, p_randomization: 1.0, p_t: 1.0 };
        assert_eq!(difference(&paired(0.0123, (0.005, 0.0196))), "+.0123 [+.0050, +.0196]*");
        assert_eq!(difference(&paired(-0.2, (-1.0, -0.00001))), "-.2000 [-1.0000, +.0000]*");
        assert_eq!(difference(&paired(0.0, (-0.1, 0.10004))), "+.0000 [-.1000, +.1000] ");
    }
}

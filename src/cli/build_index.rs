//! `build-index`: both sides of a collection, side by side.

use super::args::{self, Global, Joining, Reading};
use super::fetch;
use super::ui::{Ui, bold, bytes, duration, thousands};
use clap::ValueEnum;
use parallax::collection::chunk::Chunking;
use parallax::collection::read::{self, Source};
use parallax::dense::{self, GraphBuilder, ValueKind};
use parallax::encoder::contract::Precision;
use parallax::fusion::Fusion;
use parallax::index::dedup::Dedup;
use parallax::index::{BuildOptions, BuildReport, GivenFusion, build};
use parallax::sparse::Language;
use parallax::{Error, Result};
use std::path::PathBuf;

/// Build a sparse and a dense index from a collection.
///
/// A SOURCE is a BEIR folder, a SQuAD or KorQuAD JSON, a TSV or a JSONL, plain, .gz or .zst; `-` is stdin. Several are
/// read one after the other into one index. The old index of that name answers until the new one is complete.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where passages come from.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Name of the index, a folder under `--indexes`.
    #[arg(long, value_name = "NAME", value_parser = args::checked_name)]
    name: String,
    /// Encoder of the dense side: builtin, none, a model folder, or owner/name from the hub.
    #[arg(long, value_name = "ENCODER", default_value = "builtin")]
    encoder: String,
    /// Encoder of questions, where a second tower encodes them.
    #[arg(long, value_name = "ENCODER")]
    question_encoder: Option<String>,
    /// What a transformer computes in: f32, or int8, several times faster and hardly less precise; int8 by default where
    /// the encoder is of the BERT family.
    #[arg(long, value_name = "PRECISION", value_parser = args::precision)]
    precision: Option<Precision>,
    /// Language of the Latin text: auto votes on the first passages; Korean and other scripts need no naming.
    #[arg(long, value_name = "LANGUAGE", default_value = "auto")]
    language: String,
    /// How long passages are cut: none, tokens:N[,stride:M] or sentences:N.
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = |text: &str| text.parse::<Chunking>().map_err(|e| e.message().to_string()))]
    chunk: Chunking,
    /// Which duplicates are left out.
    #[arg(long, value_name = "WHICH", default_value = "none")]
    dedup: Duplicates,
    /// How vectors are stored: f32, f16 (half the bytes), or int8 beside f32 (searched by the former, scored by the latter);
    /// int8 from 20,000 passages on unless told, f32 below.
    #[arg(long, value_name = "KIND", value_parser = |text: &str| text.parse::<ValueKind>().map_err(|e| e.message().to_string()))]
    vectors: Option<ValueKind>,
    /// Who fills the neighbour graph.
    #[arg(long, value_name = "WHO", default_value = "parallax", value_parser = |text: &str| text.parse::<GraphBuilder>().map_err(|e| e.message().to_string()))]
    graph_builder: GraphBuilder,
    /// Replace an index of this name.
    #[arg(long)]
    force: bool,
    /// Find the fusion weight on these judged questions instead of pseudo-queries: none that the encoder was trained on,
    /// none that the index is measured with.
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["fusion", "weight"])]
    judged: Option<PathBuf>,
    /// Which judgments of a BEIR folder `--judged` takes.
    #[arg(long, value_name = "NAME", default_value = "train", requires = "judged")]
    judged_split: String,
    #[command(flatten)]
    joining: Joining,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, ValueEnum)]
enum Duplicates {
    None,
    Exact,
    Near,
}

/// A language by its two-letter code.
fn language(name: &str) -> Result<Language> {
    Language::from_name(name).ok_or_else(|| {
        Error::usage(format!("`{name}` is no language this program analyses"))
            .hint("two-letter codes: `en`, `de`, `ko`, … or `none`; `auto` votes on the first passages")
    })
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let language = match args.language.as_str() {
        "auto" => None,
        name => Some(language(name)?),
    };
    let encoder = match args.encoder.as_str() {
        "none" => None,
        name => Some(fetch::choice(name, ui)?),
    };
    let question_encoder = args.question_encoder.as_deref().map(|name| fetch::choice(name, ui)).transpose()?;
    let (fusion, tuned) = match args.joining.given(Fusion::RRF)? {
        Some(GivenFusion::Plain(fusion)) => (Some(fusion), None),
        Some(GivenFusion::Tuned(file)) => (None, Some(*file)),
        None => (None, None),
    };
    let options = BuildOptions {
        sources: args::sources(&args.sources),
        read: args.reading.options(None),
        encoder,
        question_encoder,
        precision: args.precision,
        language,
        chunking: args.chunk.clone(),
        dedup: match args.dedup {
            Duplicates::None => Dedup::None,
            Duplicates::Exact => Dedup::Exact,
            Duplicates::Near => Dedup::Near,
        },
        vectors: args.vectors,
        graph_builder: args.graph_builder,
        fusion,
        tuned,
        judged: args
            .judged
            .as_ref()
            .map(|path| read::query_set(&Source::new(path), &args.reading.options(Some(&args.judged_split))))
            .transpose()?
            .map(|(set, _)| set),
        force: args.force,
        command: Some(ui.command().to_string()),
        record_time: true,
        ..BuildOptions::default()
    };
    if args.joining.fusion.as_deref() == Some("convex") && args.joining.weight.is_none() {
        return Err(Error::usage("`--fusion convex` needs a `--weight` here")
            .hint("leave both out: the build finds the weight itself"));
    }
    let folder = global.index_folder(&args.name);
    let report = build(&folder, &options, &ui.progress())?;
    say(&report, &args.name, ui);
    Ok(())
}

/// The closing lines of a build.
pub(crate) fn say(report: &BuildReport, name: &str, ui: &Ui) {
    let manifest = &report.manifest;
    let collection = &manifest.collection;
    let side = |side: &str| {
        let of_side = manifest.files.iter().filter(|(name, _)| name.split('/').next() == Some(side));
        bytes(of_side.map(|(_, entry)| entry.length).sum())
    };
    let counted = [
        (collection.merged, "identical paragraphs merged"),
        (collection.duplicates, "duplicates left out"),
        (collection.empty, "without text"),
        (collection.skipped, "bad records skipped"),
    ];
    for (count, what) in counted {
        if count > 0 {
            ui.note(&format!("{:<12}{:>12}  {what}", "", thousands(count)));
        }
    }
    if let Some((cut, all)) = report.cut_answers {
        ui.note(&format!("{:<12}{:>12}  of {} answer spans cut by chunking", "", thousands(cut), thousands(all)));
    }
    if collection.skipped > 0 {
        for record in collection.skipped_records.iter().take(5) {
            ui.note(&format!("{:<26}{record}", ""));
        }
    }
    if let Some(side) = &manifest.dense {
        let graph = &side.graph;
        if side.vectors.kind != ValueKind::F32.name() {
            let (kind, lost) = (&side.vectors.kind, side.vectors.recall_lost_at_10);
            ui.note(&format!("{:<12}{kind}: {lost:.4} of the exact ten nearest lost by it", "vectors"));
        }
        ui.note(&format!(
            "{:<12}ann_recall@10 {:.4} at ef {} on {} queries{}",
            "graph",
            graph.ann_recall_at_10,
            graph.ef,
            thousands(graph.sample as u64),
            if graph.repaired > 0 { format!(", {} nodes relinked", graph.repaired) } else { String::new() }
        ));
        if graph.ann_recall_at_10 < dense::FLOOR {
            ui.warn("the graph finds too few of the nearest rows, so searches score every row: exact, but slower as it grows");
        }
        if side.zero_rows > 0 {
            ui.warn(&format!(
                "{} passages hold no token the encoder knows and cannot be found by it",
                thousands(side.zero_rows)
            ));
        }
        ui.note(&format!("{:<12}{}: {}", "fusion", manifest.fusion.fusion, manifest.fusion.found_by));
        if let Some([sparse, dense, fused]) = manifest.fusion.reciprocal_ranks {
            if dense < sparse / 2.0 {
                ui.warn(&format!(
                    "the encoder knows this collection poorly (mean reciprocal rank {dense:.2}, sparse {sparse:.2}); \
                     one that knows its language may serve it better: `--encoder DIR`"
                ));
            }
            ui.detail(&format!(
                "{:<12}mean reciprocal rank: sparse {sparse:.3}, dense {dense:.3}, fused {fused:.3}",
                ""
            ));
        }
    }
    ui.note(&format!(
        "{} {}   {} passages   sparse {}   dense {}   in {}",
        bold("built"),
        name,
        thousands(u64::from(collection.passages)),
        side("sparse"),
        side("dense"),
        duration(report.times.total)
    ));
    ui.detail(&format!(
        "{:<12}both sides {}, graph {}, fusion weight {}",
        "",
        duration(report.times.both_sides),
        duration(report.times.graph),
        duration(report.times.calibration)
    ));
}

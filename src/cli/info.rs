//! `info`: what an index is made of.

use super::args::Global;
use super::ui::{Ui, bold, bytes, table, thousands};
use parallax::Result;
use parallax::index::manifest::EncoderRecord;

/// Show what an index is made of.
///
/// Both sides are vector spaces: the sparse one has a dimension a term and nearly only zeros, the dense one a few
/// hundred dimensions and hardly any zero.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Index name or folder.
    index: String,
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let index = global.open_index(&args.index)?;
    let manifest = index.manifest();
    if args.json {
        return ui.data(&String::from_utf8_lossy(&manifest.to_bytes()?));
    }
    let collection = &manifest.collection;
    let passages = u64::from(collection.passages);
    let mut text =
        format!("{}   {} passages   {}\n", bold(&args.index), thousands(passages), index.generation().display());
    text += &format!("from {}", collection.sources.join(", "));
    for (count, what) in [
        (collection.merged, "merged"),
        (collection.duplicates, "duplicates left out"),
        (collection.empty, "without text"),
        (collection.skipped, "bad records skipped"),
    ] {
        if count > 0 {
            text += &format!(", {} {what}", thousands(count));
        }
    }
    if collection.chunking != "none" {
        text += &format!(", {} documents cut by {}", thousands(collection.documents), collection.chunking);
    }
    text += "\n\n";

    let sparse = &manifest.sparse;
    let mut rows = vec![["side", "dimensions", "non-zero entries", "share", "bytes"].map(str::to_string).to_vec()];
    rows.push(vec![
        "sparse".into(),
        thousands(sparse.terms),
        thousands(sparse.postings),
        share(sparse.postings, sparse.terms * passages),
        bytes(index.bytes("sparse")),
    ]);
    if let (Some(record), Some(dense)) = (&manifest.dense, index.dense()) {
        let dimension = record.passage_encoder.dimension as u64;
        let entries = (dense.stats().nonzero_share * (dimension * passages) as f64).round() as u64;
        rows.push(vec![
            "dense".into(),
            thousands(dimension),
            thousands(entries),
            share(entries, dimension * passages),
            bytes(index.bytes("dense")),
        ]);
    }
    text += &table(&rows);
    text += &format!("\nanalyzer     {}\n", sparse.analyzer);
    if let Some(dense) = &manifest.dense {
        text += &format!("encoder      {}\n", encoder(&dense.passage_encoder));
        if let Some(question) = &dense.question_encoder {
            text += &format!("questions    {}\n", encoder(question));
        }
        let vectors = &dense.vectors;
        let lost = match vectors.kind.as_str() {
            "f32" => String::new(),
            _ => format!(", {:.4} of the exact ten nearest lost by it when built", vectors.recall_lost_at_10),
        };
        text += &format!("vectors      {}{lost}\n", vectors.kind);
        let graph = &dense.graph;
        text += &format!(
            "graph        {} builder, m {}, ef {}, ann_recall@10 {:.4} on {} queries when built\n",
            graph.builder, graph.m, graph.ef, graph.ann_recall_at_10, graph.sample
        );
        if dense.zero_rows > 0 {
            text += &format!("zero rows    {} passages hold no token the encoder knows\n", thousands(dense.zero_rows));
        }
    }
    text += &format!("fusion       {}: {}\n", manifest.fusion.fusion, manifest.fusion.found_by);
    if let Some([low, high]) = manifest.fusion.weight_interval {
        let questions = thousands(manifest.fusion.queries as u64);
        text += &format!(
            "             one weight for all, on other {questions} questions: {low:.2} to {high:.2} (95 % of resamples)\n"
        );
    }
    if let (Some([sparse, dense, fused]), Some([low, high])) =
        (manifest.fusion.reciprocal_ranks, manifest.fusion.gain_interval)
    {
        text += &format!(
            "             mean reciprocal rank sparse {sparse:.3}, dense {dense:.3}, fused {fused:.3}; best gain {low:+.3} to {high:+.3}\n"
        );
    }
    text += &format!("built by     {}", manifest.program);
    if let Some(command) = &manifest.command {
        text += &format!(": {command}");
    }
    text.push('\n');
    ui.data(&text)
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".into() } else { format!("{:.4} %", 100.0 * part as f64 / whole as f64) }
}

fn encoder(record: &EncoderRecord) -> String {
    let cut = record.max_tokens.map_or("no limit".to_string(), |tokens| format!("{tokens} tokens"));
    format!(
        "{} ({} in {}, {} dimensions, {} pooling, {}, {cut})   sha256 {}",
        record.name,
        record.family,
        record.precision,
        record.dimension,
        record.pooling,
        record.similarity,
        &record.fingerprint.get(..16).unwrap_or_default()
    )
}

//! How long does the neighbour graph take to build, and how fast and how well does it find?
//!
//! `tests/bench/graph.py` runs these alternately with hnswlib, usearch and faiss over the same rows and questions, and
//! prints the ratios.
//!
//! ```text
//! cargo bench --bench graph -- queries INDEX QUESTIONS OUT                  # the questions' rows, raw f32
//! cargo bench --bench graph -- build ROWS THREADS BUILDER [VECTORS] [OUT]   # parallax, hnsw-rs or hnsw-rs-parallel
//! cargo bench --bench graph -- search FOLDER QUERIES FOUND EF…              # one thread; `exact` is a beam, too
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use hnsw_rs::prelude::{Distance, Hnsw};
use parallax::collection::read::{self, ReadOptions, Source};
use parallax::dense::rows::Rows;
use parallax::dense::{DenseIndex, GraphBuilder, GraphOptions, ROWS_FILE, SearchHow, ValueKind, build_graph};
use parallax::encoder::contract::Role;
use parallax::kernel::dot::dot;
use parallax::{Index, Silent};
use std::path::Path;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["queries", index, questions, out] => queries(index, questions, out),
        ["build", rows, threads, "hnsw-rs-parallel"] => their_own(rows, threads),
        ["build", rows, threads, builder, rest @ ..] => build(rows, threads, builder, rest),
        ["search", folder, queries, found, efs @ ..] => search(folder, queries, found, efs),
        _ => println!("left out: `cargo bench --bench graph -- queries|build|search …`"),
    }
}

/// Writes a row a question, as the index's encoder of questions gives it.
fn queries(index: &str, questions: &str, out: &str) {
    let encoder = Index::open(index.as_ref()).unwrap().open_question_encoder(None).unwrap();
    let (set, _) = read::query_set(&Source::new(questions), &ReadOptions::default()).unwrap();
    let texts: Vec<&str> = set.queries.iter().map(|query| query.text.as_str()).collect();
    let rows = encoder.encode(&texts, Role::Query).unwrap();
    std::fs::write(out, bytemuck::cast_slice::<f32, u8>(rows.values())).unwrap();
    println!("{} rows of {}", rows.len(), rows.dimension());
}

fn threads(threads: &str) {
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().unwrap()).build_global().unwrap();
}

/// Prints the seconds a graph takes, and leaves it with its rows in a folder where one is named.
fn build(rows: &str, count: &str, builder: &str, rest: &[&str]) {
    threads(count);
    let vectors: ValueKind = rest.first().map_or("f32", |name| name).parse().unwrap();
    let builder: GraphBuilder = builder.parse().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let folder = rest.get(1).map_or(temporary.path(), Path::new);
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(Path::new(rows), folder.join(ROWS_FILE)).unwrap();
    let report = build_graph(folder, Some(vectors), builder, &GraphOptions::default(), 0.98, &Silent).unwrap();
    let (ef, recall, lost) = (report.ef, report.ann_recall_at_10, report.recall_lost);
    println!("seconds {:.3} ef {ef} ann_recall {recall:.4} lost {lost:.4}", report.building.as_secs_f64());
}

/// hnsw_rs as its users run it: a copy of every row, inserted by all threads, with our inner product as the distance.
fn their_own(rows: &str, count: &str) {
    struct Cosine;
    impl Distance<f32> for Cosine {
        fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
            (1.0 - dot(a, b)).max(0.0)
        }
    }
    threads(count);
    let rows = Rows::open(Path::new(rows)).unwrap();
    let rows: Vec<Vec<f32>> = (0..rows.len()).map(|i| rows.row(i).into_owned()).collect();
    let numbered: Vec<(&Vec<f32>, usize)> = rows.iter().zip(0..).collect();
    let started = Instant::now();
    let hnsw = Hnsw::new(16, rows.len(), 16, 200, Cosine);
    hnsw.parallel_insert(&numbered);
    println!("seconds {:.3}", started.elapsed().as_secs_f64());
}

/// Prints `beam seconds` for each beam, and writes the ten rows found for each query, u32, beam after beam.
fn search(folder: &str, queries: &str, found: &str, efs: &[&str]) {
    let index = DenseIndex::open(Path::new(folder)).unwrap();
    let bytes = std::fs::read(queries).unwrap();
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let queries: Vec<&[f32]> = values.chunks_exact(index.dimension()).collect();
    let ask = |ef: &str| -> Vec<_> {
        let how = if ef == "exact" { SearchHow::Exact } else { SearchHow::Graph { ef: ef.parse().unwrap() } };
        queries.iter().map(|query| index.search(query, 10, how).unwrap()).collect()
    };
    ask("200");
    let mut ordinals: Vec<u8> = Vec::new();
    for ef in efs {
        let started = Instant::now();
        let rankings = ask(ef);
        println!("{ef} {:.6}", started.elapsed().as_secs_f64());
        for (ordinal, _) in rankings.iter().flat_map(|ranking| ranking.iter()) {
            ordinals.extend(ordinal.0.to_le_bytes());
        }
    }
    std::fs::write(found, ordinals).unwrap();
}

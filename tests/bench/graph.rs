//! How long does the neighbour graph take to build, and how fast and how well does it find?
//!
//! `tests/bench/graph.py` runs this alternately with hnswlib, usearch and faiss over the same rows and questions and
//! prints the ratios.
//!
//! ```text
//! cargo bench --bench graph -- queries INDEX QUESTIONS OUT         # the questions' rows, raw f32
//! cargo bench --bench graph -- build ROWS THREADS [parallax|hnsw-rs] [OUT]
//! cargo bench --bench graph -- search DENSE_FOLDER QUERIES EF…     # one thread
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::collection::read::{self, ReadOptions, Source};
use parallax::dense::{DenseIndex, GraphBuilder, GraphOptions, ROWS_FILE, SearchHow, ValueKind, build_graph};
use parallax::encoder::contract::Role;
use parallax::{Index, Silent};
use std::path::Path;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["queries", index, questions, out] => queries(index, questions, out),
        ["build", rows, threads, rest @ ..] => build(rows, threads, rest),
        ["search", folder, queries, efs @ ..] => search(folder, queries, efs),
        _ => println!("left out: `cargo bench --bench graph -- queries|build|search …`"),
    }
}

/// Writes a row a question, as the index's encoder of questions gives it.
fn queries(index: &str, questions: &str, out: &str) {
    let encoder = Index::open(index.as_ref()).unwrap().open_question_encoder().unwrap();
    let (set, _) = read::query_set(&Source::new(questions), &ReadOptions::default()).unwrap();
    let texts: Vec<&str> = set.queries.iter().map(|query| query.text.as_str()).collect();
    let rows = encoder.encode(&texts, Role::Query).unwrap();
    std::fs::write(out, bytemuck::cast_slice(rows.values())).unwrap();
    println!("{} rows of {}", rows.len(), rows.dimension());
}

/// Prints the seconds a graph takes.
fn build(rows: &str, threads: &str, rest: &[&str]) {
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().unwrap()).build_global().unwrap();
    let builder: GraphBuilder = rest.first().map_or("parallax", |name| name).parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(Path::new(rows), folder.path().join(ROWS_FILE)).unwrap();
    let report = build_graph(folder.path(), ValueKind::F32, builder, &GraphOptions::default(), 0.5, &Silent).unwrap();
    println!("seconds {:.3}", report.building.as_secs_f64());
}

/// Prints `ef seconds` and the ordinals found for each beam width.
fn search(folder: &str, queries: &str, efs: &[&str]) {
    let index = DenseIndex::open(Path::new(folder)).unwrap();
    let bytes = std::fs::read(queries).unwrap();
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let queries: Vec<&[f32]> = values.chunks_exact(index.dimension()).collect();
    let ask = |ef: usize| -> Vec<_> {
        queries.iter().map(|query| index.search(query, 10, SearchHow::Graph { ef }).unwrap()).collect()
    };
    ask(32);
    for ef in efs {
        let ef: usize = ef.parse().unwrap();
        let started = Instant::now();
        let found = ask(ef);
        println!("{ef} {}", started.elapsed().as_secs_f64());
        drop(found);
    }
}

//! How long does the neighbour graph take to build, and how well does it find?
//!
//! Builds the graph over the rows of an index and prints seconds and `ann_recall@10` of 200 of its own rows at ef 100.
//! `tests/bench/graph.py` runs this alternately with hnswlib over the same rows, with the same M, efConstruction and
//! number of threads, and prints the ratios.
//!
//! ```text
//! cargo bench --bench graph -- INDEX/gen-N/dense/rows.bin THREADS [parallax|hnsw-rs]
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::Silent;
use parallax::dense::rows::Rows;
use parallax::dense::{DenseIndex, GRAPH_FILE, GraphBuilder, GraphOptions, ROWS_FILE, SearchHow, build_graph};
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [rows, threads, rest @ ..] = arguments.as_slice() else {
        println!("left out: name a rows file, `cargo bench --bench graph -- ROWS THREADS [BUILDER]`");
        return;
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().unwrap()).build_global().unwrap();
    let builder: GraphBuilder = rest.first().map_or("parallax", String::as_str).parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(Path::new(rows), folder.path().join(ROWS_FILE)).unwrap();
    let rows = Rows::open(&folder.path().join(ROWS_FILE)).unwrap();
    let report = build_graph(folder.path(), &rows, builder, &GraphOptions::default(), 0.5, &Silent).unwrap();
    let index = DenseIndex::open(folder.path()).unwrap();
    let sample: Vec<usize> = (0..rows.len()).step_by((rows.len() / 200).max(1)).collect();
    let mut found = 0;
    let mut all = 0;
    for i in &sample {
        let exact = index.search(rows.row(*i), 10, SearchHow::Exact).unwrap();
        let graph = index.search(rows.row(*i), 10, SearchHow::Graph { ef: 100 }).unwrap();
        found += exact.iter().filter(|(ordinal, _)| graph.iter().any(|(other, _)| other == *ordinal)).count();
        all += exact.len();
    }
    let bytes = std::fs::metadata(folder.path().join(GRAPH_FILE)).unwrap().len();
    println!("seconds {:.3} recall {:.4} bytes {bytes}", report.building.as_secs_f64(), found as f64 / all as f64);
}

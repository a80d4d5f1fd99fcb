//! How long does one question take, and how long does an index take to open?
//!
//! Opens an index several times, then asks it every question of a data set, one at a time on one thread, sparse, dense and
//! hybrid in turns, texts of ten hits included. Prints median and 99th percentile of each.
//!
//! ```text
//! cargo bench --bench query -- INDEX QUERIES [N]
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::collection::read::{self, ReadOptions, Source};
use parallax::{Index, Mode, SearchRequest, Searcher};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [index, queries, rest @ ..] = arguments.as_slice() else {
        println!("left out: name an index, `cargo bench --bench query -- INDEX QUERIES [N]`");
        return;
    };
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    let n: usize = rest.first().map_or(2000, |n| n.parse().unwrap());
    let open: Vec<Duration> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let opened = Index::open(index.as_ref()).unwrap();
            let elapsed = started.elapsed();
            assert!(!opened.is_empty());
            elapsed
        })
        .collect();
    report("open", open);
    let (set, _) = read::query_set(&Source::new(queries), &ReadOptions::default()).unwrap();
    let searcher = Searcher::new(Index::open(index.as_ref()).unwrap(), Mode::Hybrid).unwrap();
    let modes = [Mode::Sparse, Mode::Dense, Mode::Hybrid];
    let mut times: [Vec<Duration>; 3] = Default::default();
    for query in set.queries.iter().take(n) {
        for (mode, times) in modes.into_iter().zip(&mut times) {
            let request = SearchRequest { mode, ..SearchRequest::default() };
            let started = Instant::now();
            let hits = searcher.search(&query.text, &request).unwrap();
            times.push(started.elapsed());
            assert!(hits.len() <= 10);
        }
    }
    for (mode, times) in modes.into_iter().zip(times) {
        report(mode.name(), times);
    }
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{name:<8} p50 {:.2} ms   p99 {:.2} ms   n {}", at(0.5), at(0.99), times.len());
}

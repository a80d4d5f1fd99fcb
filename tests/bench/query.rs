//! How long does one question take, and how long does an index take to open?
//!
//! Opens an index several times, then asks it every question of a data set, one at a time on one thread, sparse, dense and
//! hybrid in turns, texts of ten hits included. Prints median and 99th percentile of each.
//!
//! ```text
//! cargo bench --bench query -- INDEX QUERIES [N]
//! cargo bench --bench query -- INDEX QUERIES N rrf|own     a worker of tests/bench/side_by_side
//! ```
//!
//! As a worker it reads commands, one a line, and answers each with one line:
//!
//! ```text
//! sparse, dense, hybrid   asks every question: seconds in all, median seconds
//! top MODE K FILE         writes the K best ordinals of every question, one question a line; `exact` is a mode here
//! ids FILE                writes every passage's id, one a line
//! texts FILE              writes every passage and then every question as a line of JSON
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::collection::read::{self, ReadOptions, Source};
use parallax::dense::SearchHow;
use parallax::{Fusion, Index, Mode, Ordinal, SearchRequest, Searcher};
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

const MODES: [Mode; 3] = [Mode::Sparse, Mode::Dense, Mode::Hybrid];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [index, queries, rest @ ..] = arguments.as_slice() else {
        println!("left out: name an index, `cargo bench --bench query -- INDEX QUERIES [N]`");
        return;
    };
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    let n: usize = rest.first().map_or(2000, |n| n.parse().unwrap());
    let (set, _) = read::query_set(&Source::new(queries), &ReadOptions::default()).unwrap();
    let questions: Vec<String> = set.queries.into_iter().take(n).map(|query| query.text).collect();
    if let Some(fusion) = rest.get(1) {
        let searcher = Searcher::new(Index::open(index.as_ref()).unwrap(), Mode::Hybrid).unwrap();
        return serve(&searcher, &questions, fusion);
    }
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
    let searcher = Searcher::new(Index::open(index.as_ref()).unwrap(), Mode::Hybrid).unwrap();
    let mut times: [Vec<Duration>; 3] = Default::default();
    for question in &questions {
        for (mode, times) in MODES.into_iter().zip(&mut times) {
            let request = SearchRequest { mode, ..SearchRequest::default() };
            times.push(asked(&searcher, question, &request));
        }
    }
    for (mode, times) in MODES.into_iter().zip(times) {
        report(mode.name(), times);
    }
}

fn asked(searcher: &Searcher, question: &str, request: &SearchRequest) -> Duration {
    let started = Instant::now();
    let hits = searcher.search(question, request).unwrap();
    let elapsed = started.elapsed();
    assert!(hits.len() <= 10);
    elapsed
}

fn at(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64()
}

fn report(name: &str, mut times: Vec<Duration>) {
    let [p50, p99] = [0.5, 0.99].map(|share| at(&mut times, share) * 1000.0);
    println!("{name:<8} p50 {p50:.2} ms   p99 {p99:.2} ms   n {}", times.len());
}

fn serve(searcher: &Searcher, questions: &[String], fusion: &str) {
    let own = (fusion == "rrf").then_some(Fusion::RRF);
    let request = SearchRequest { fusion: own, ..SearchRequest::default() };
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["texts", file] => {
                let sparse = searcher.index().sparse();
                let texts = (0..sparse.len() as u32).map(|i| sparse.passage(Ordinal(i)).unwrap().full_text());
                let mut file = std::io::BufWriter::new(fs_err::File::create(file).unwrap());
                for text in texts.chain(questions.iter().cloned()) {
                    writeln!(file, "{}", serde_json::to_string(&text).unwrap()).unwrap();
                }
                file.flush().unwrap();
                println!("{} {}", sparse.len(), questions.len());
            }
            ["ids", file] => {
                let sparse = searcher.index().sparse();
                let ids = (0..sparse.len() as u32).map(|i| sparse.id(Ordinal(i)).unwrap().to_string());
                fs_err::write(file, ids.collect::<Vec<_>>().join("\n")).unwrap();
                println!("{}", sparse.len());
            }
            ["top", mode, k, file] => {
                let (mode, how) = match *mode {
                    "exact" => (Mode::Dense, SearchHow::Exact),
                    other => (other.parse().unwrap(), SearchHow::Auto),
                };
                let request = SearchRequest { k: k.parse().unwrap(), mode, how, ..request };
                let mut file = std::io::BufWriter::new(fs_err::File::create(file).unwrap());
                for question in questions {
                    let ranked = searcher.rank(question, &request).unwrap();
                    let best: Vec<String> = ranked.ranking.iter().map(|(ordinal, _)| ordinal.0.to_string()).collect();
                    writeln!(file, "{}", best.join(" ")).unwrap();
                }
                file.flush().unwrap();
                println!("{}", questions.len());
            }
            [mode] => {
                let request = SearchRequest { mode: mode.parse().unwrap(), ..request };
                let mut times: Vec<Duration> = questions.iter().map(|text| asked(searcher, text, &request)).collect();
                let all = times.iter().sum::<Duration>().as_secs_f64();
                println!("{all} {}", at(&mut times, 0.5));
            }
            _ => println!("no such command: {line}"),
        }
    }
}

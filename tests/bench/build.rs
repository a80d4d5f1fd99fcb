//! Does a hybrid index cost much more to build than its sparse half alone?
//!
//! Builds an index of one collection (sparse side, built-in encoder, rows, graph) and, alternating with it, a plain
//! tantivy index of the same passages with the same number of threads: the same stored fields, one indexed field of
//! title and text with frequencies, English stems and stop words. Prints the ratio of each round and their median.
//! Both read the same in-memory passages from the same file; reading is part of both times.
//!
//! ```text
//! cargo bench --bench build -- CORPUS [ROUNDS]
//! cargo bench --bench build -- CORPUS worker     a worker of tests/bench/side_by_side
//! ```
//!
//! As a worker it answers `ours` (everything `build-index` does, with all threads it may use) with the seconds of the whole,
//! of both sides, the graph and the fusion weight, and `tantivy` (on one thread) with its seconds.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::collection::read::{self, ReadOptions, Source};
use parallax::index::build::BuildTimes;
use parallax::index::{BuildOptions, build};
use parallax::{Fusion, Silent};
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;
use tantivy::schema::{IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{
    Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(corpus) = arguments.first() else {
        println!("left out: name a corpus, `cargo bench --bench build -- CORPUS [ROUNDS]`");
        return;
    };
    if arguments.get(1).is_some_and(|word| word == "worker") {
        return serve(corpus);
    }
    let rounds: usize = arguments.get(1).map_or(3, |rounds| rounds.parse().unwrap());
    let threads = rayon::current_num_threads();
    println!("{corpus}, {threads} threads");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let BuildTimes { both_sides, graph, total, .. } = ours(corpus, Some(Fusion::RRF));
        let [sides, graph, total] = [both_sides, graph, total].map(|time| time.as_secs_f64());
        let alone = theirs(Path::new(corpus), threads);
        ratios.push(sides / alone);
        println!(
            "round {round}: sparse + encode + rows {sides:.1} s, graph {graph:.1} s, all {total:.1} s; tantivy alone {alone:.1} s; ratio {:.2}",
            sides / alone
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median ratio (sparse + encode + rows) / tantivy: {:.2}, from {:.2} to {:.2}",
        ratios[rounds / 2],
        ratios[0],
        ratios[rounds - 1]
    );
    println!("peak memory of this process: {} MB", peak_megabytes());
}

fn serve(corpus: &str) {
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "ours" => {
                let BuildTimes { both_sides, graph, calibration, total } = ours(corpus, None);
                let [total, sides, graph, weight] =
                    [total, both_sides, graph, calibration].map(|time| time.as_secs_f64());
                println!("{total} {sides} {graph} {weight}");
            }
            "tantivy" => println!("{}", theirs(Path::new(corpus), 1)),
            other => println!("no such command: {other}"),
        }
    }
}

fn ours(corpus: &str, fusion: Option<Fusion>) -> BuildTimes {
    let folder = tempfile::tempdir().unwrap();
    let options = BuildOptions { sources: vec![Source::new(corpus)], fusion, ..BuildOptions::default() };
    build(&folder.path().join("bench"), &options, &Silent).unwrap().times
}

fn theirs(corpus: &Path, threads: usize) -> f64 {
    let started = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let mut schema = Schema::builder();
    let id = schema.add_text_field("id", STRING | STORED);
    let title = schema.add_text_field("title", STORED);
    let text = schema.add_text_field("text", STORED);
    let indexing = TextFieldIndexing::default().set_tokenizer("english").set_index_option(IndexRecordOption::WithFreqs);
    let all = schema.add_text_field("all", TextOptions::default().set_indexing_options(indexing));
    let index = tantivy::Index::create_in_dir(folder.path(), schema.build()).unwrap();
    let english = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(255))
        .filter(LowerCaser)
        .filter(StopWordFilter::new(Language::English).unwrap())
        .filter(Stemmer::new(Language::English))
        .build();
    index.tokenizers().register("english", english);
    let mut writer: tantivy::IndexWriter = index.writer_with_num_threads(threads, 200_000_000 * threads).unwrap();
    read::passages(&[Source::new(corpus)], &ReadOptions::default(), &Silent, &mut |passage| {
        let mut document = tantivy::TantivyDocument::new();
        document.add_text(all, passage.full_text());
        document.add_text(id, passage.id.as_str());
        document.add_text(title, passage.title);
        document.add_text(text, passage.text);
        writer.add_document(document).unwrap();
        Ok(())
    })
    .unwrap();
    writer.commit().unwrap();
    writer.wait_merging_threads().unwrap();
    started.elapsed().as_secs_f64()
}

fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1000
}

//! How long does the sparse side take for a question, and how long tantivy's own search over the same terms?
//!
//! A worker for `tests/bench/side_by_side`, which asks it and other programs in turns; it reads commands, one a line, and
//! answers each with one line.
//!
//! ```text
//! cargo bench --bench sparse -- INDEX QUERIES N K WEIGHTING
//!
//! terms FILE      writes every passage's terms, separated by spaces, one passage a line, then every question's
//! ours, tantivy   asks every question, one at a time on one thread: seconds in all, median seconds
//! together        asks ours all questions in one call on one thread: seconds in all, and over their number
//! top WHO FILE    writes WHO's ten best ordinals of every question, one question a line
//! ```
//!
//! tantivy's index is made when it is first asked: one segment in memory, one field of the same terms with frequencies;
//! a question is a `BooleanQuery` of its terms, collected by `TopDocs`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::collection::read::{self, ReadOptions, Source};
use parallax::{Index, Ordinal, Weighting};
use std::io::{BufRead, Write};
use std::time::Instant;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{TextAnalyzer, WhitespaceTokenizer};
use tantivy::{Searcher, TantivyDocument, Term};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [index, queries, n, k, weighting] = arguments.as_slice() else {
        println!("left out: a worker of tests/bench/side_by_side");
        return;
    };
    let index = Index::open(index.as_ref()).unwrap();
    let (set, _) = read::query_set(&Source::new(queries), &ReadOptions::default()).unwrap();
    let texts: Vec<String> = set.queries.into_iter().take(n.parse().unwrap()).map(|query| query.text).collect();
    let (k, weighting): (usize, Weighting) = (k.parse().unwrap(), weighting.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    let mut engine: Option<Searcher> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&"tantivy") && engine.is_none() {
            engine = Some(tantivy_index(&index));
        }
        let ask = |who: &str, text: &str, k: usize| -> Vec<u32> {
            match who {
                "ours" => {
                    let ranking = index.sparse().search(text, &weighting, k).unwrap();
                    ranking.iter().map(|(ordinal, _)| ordinal.0).collect()
                }
                _ => {
                    let clauses = index.sparse().analyzer().terms(text).iter().map(|term| clause(term)).collect();
                    let collector = TopDocs::with_limit(k).order_by_score();
                    let found = engine.as_ref().unwrap().search(&BooleanQuery::new(clauses), &collector).unwrap();
                    found.iter().map(|(_, address)| address.doc_id).collect()
                }
            }
        };
        match words.as_slice() {
            ["terms", file] => {
                let mut file = std::io::BufWriter::new(fs_err::File::create(file).unwrap());
                for ordinal in (0..index.len() as u32).map(Ordinal) {
                    writeln!(file, "{}", terms(&index, &index.sparse().passage(ordinal).unwrap().full_text())).unwrap();
                }
                texts.iter().for_each(|text| writeln!(file, "{}", terms(&index, text)).unwrap());
                file.flush().unwrap();
                println!("{} {}", index.len(), texts.len());
            }
            [who @ ("ours" | "tantivy")] => {
                let mut times = Vec::with_capacity(texts.len());
                for text in &texts {
                    let started = Instant::now();
                    std::hint::black_box(ask(who, text, k));
                    times.push(started.elapsed().as_secs_f64());
                }
                let all: f64 = times.iter().sum();
                times.sort_by(f64::total_cmp);
                println!("{all} {}", times[times.len() / 2]);
            }
            ["together"] => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let started = Instant::now();
                std::hint::black_box(index.sparse().search_many(&texts, &weighting, k).unwrap());
                let all = started.elapsed().as_secs_f64();
                println!("{all} {}", all / texts.len() as f64);
            }
            ["top", who, file] => {
                let mut file = std::io::BufWriter::new(fs_err::File::create(file).unwrap());
                for text in &texts {
                    let best: Vec<String> = ask(who, text, 10).iter().map(u32::to_string).collect();
                    writeln!(file, "{}", best.join(" ")).unwrap();
                }
                file.flush().unwrap();
                println!("{}", texts.len());
            }
            _ => println!("no such command: {line}"),
        }
    }
}

fn terms(index: &Index, text: &str) -> String {
    index.sparse().analyzer().terms(text).join(" ")
}

fn clause(term: &str) -> (Occur, Box<dyn Query>) {
    let term = Term::from_field_text(Field::from_field_id(0), term);
    (Occur::Should, Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)))
}

fn tantivy_index(index: &Index) -> Searcher {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default().set_tokenizer("spaces").set_index_option(IndexRecordOption::WithFreqs);
    let field = schema.add_text_field("terms", TextOptions::default().set_indexing_options(indexing));
    let engine = tantivy::Index::create_in_ram(schema.build());
    engine.tokenizers().register("spaces", TextAnalyzer::from(WhitespaceTokenizer::default()));
    // One thread and room for all: one segment, whose document numbers are ordinals.
    let mut writer = engine.writer_with_num_threads(1, 2_000_000_000).unwrap();
    for ordinal in (0..index.len() as u32).map(Ordinal) {
        let mut document = TantivyDocument::new();
        document.add_text(field, terms(index, &index.sparse().passage(ordinal).unwrap().full_text()));
        writer.add_document(document).unwrap();
    }
    writer.commit().unwrap();
    let searcher = engine.reader().unwrap().searcher();
    assert_eq!(searcher.segment_readers().len(), 1);
    searcher
}

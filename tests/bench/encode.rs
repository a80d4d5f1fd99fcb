//! How fast does an encoder turn texts into rows?
//!
//! A process that stays, so that `tests/bench/encode.py` can run it alternately with other libraries: it opens an encoder,
//! then answers one line for each line it reads.
//!
//! ```text
//! cargo bench --bench encode -- MODEL|builtin f32|int8 MAX_TOKENS THREADS
//! load FILE      takes the texts of a JSON array; their number comes back
//! all            encodes them together as passages; the seconds it took come back
//! each           encodes them one by one as queries; the seconds a text, median, come back
//! rows FILE      writes the passages' rows as little-endian f32; their dimension comes back
//! export DIR     writes the built-in encoder's table: rows.f32 and vocabulary.txt; the dimension comes back
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use parallax::encoder::contract::{Encoder, Precision, Role};
use parallax::encoder::{self, OpenOptions, fixed};
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Seconds of each text encoded alone, median.
fn each(encoder: &dyn Encoder, texts: &[&str]) -> f64 {
    let seconds = |text: &&str| {
        let start = Instant::now();
        encoder.encode(&[text], Role::Query).unwrap();
        start.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<f64> = texts.iter().map(seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn export(folder: &Path) -> usize {
    let model = fixed::builtin_model().unwrap();
    std::fs::write(folder.join("rows.f32"), bytes(&model.values())).unwrap();
    std::fs::write(folder.join("vocabulary.txt"), model.vocabulary().join("\n")).unwrap();
    model.dimension()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [model, precision, max_tokens, threads] = arguments.as_slice() else {
        println!("left out: name an encoder, `cargo bench --bench encode -- MODEL PRECISION MAX_TOKENS THREADS`");
        return;
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse().unwrap()).build_global().unwrap();
    let precision = Precision::from_name(precision).unwrap();
    let encoder = if model == "builtin" {
        Box::new(fixed::builtin().unwrap())
    } else {
        let max_tokens = Some(max_tokens.parse().unwrap());
        encoder::open(model.as_ref(), model, &OpenOptions { max_tokens, precision, ..OpenOptions::default() }).unwrap()
    };
    let mut texts: Vec<String> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let views: Vec<&str> = texts.iter().map(String::as_str).collect();
        let answer = match word {
            "load" => {
                texts = serde_json::from_slice(&std::fs::read(rest).unwrap()).unwrap();
                texts.len().to_string()
            }
            "all" => {
                let start = Instant::now();
                let rows = encoder.encode(&views, Role::Passage).unwrap();
                let seconds = start.elapsed().as_secs_f64();
                assert_eq!(rows.len(), texts.len());
                seconds.to_string()
            }
            "each" => each(&*encoder, &views).to_string(),
            "rows" => {
                let rows = encoder.encode(&views, Role::Passage).unwrap();
                std::fs::write(rest, bytes(rows.values())).unwrap();
                rows.dimension().to_string()
            }
            "export" => export(rest.as_ref()).to_string(),
            _ => format!("`{word}` is no command"),
        };
        println!("{answer}");
        std::io::stdout().flush().unwrap();
    }
}

//! How long does a training step of a BERT take, and how much memory, against PyTorch on the same processor?
//!
//! One step: 16 queries of 32 tokens and 32 passages of 128 forward, the negative log-likelihood of each query's
//! passage among all, backward, and AdamW. Same weights, same ids, two threads each. The rounds alternate, ours and
//! PyTorch's (`train.py`, a child that does one step a line it reads), and the ratio is that of neighbours.
//!
//! ```text
//! python -m venv venv && venv/bin/pip install torch transformers
//! cargo bench --bench train -- MODEL_FOLDER venv/bin/python [ROUNDS] [DROPOUT]
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use parallax::random::Random;
use parallax::train::bert::{Bert, OpenOptions, open};
use parallax::train::gradients::Gradients;
use parallax::train::optimizer::{AdamW, Optimizer};
use parallax::train::tower::{Dropout, Packed, Tower};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

const QUERIES: (usize, usize) = (16, 32);
const PASSAGES: (usize, usize) = (32, 128);

/// `(texts, tokens)` of random words between the special tokens of BERT's English vocabulary.
fn batch((texts, tokens): (usize, usize), seed: u64) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed);
    let mut text = || {
        let mut ids: Vec<u32> = (0..tokens).map(|_| 1000 + random.below(29_000) as u32).collect();
        (ids[0], ids[tokens - 1]) = (101, 102);
        ids
    };
    (0..texts).map(|_| text()).collect()
}

/// Seconds and loss of one step.
fn step(tower: &Bert, texts: &[Packed; 2], number: u64, dropout: bool, optimizer: &mut Optimizer) -> (f64, f32) {
    let start = Instant::now();
    let weights: Vec<Tensor> = tower.parameters().iter().map(|parameter| parameter.var.as_tensor().clone()).collect();
    let rows = |which: usize| {
        let dropout = dropout.then_some(Dropout { seed: 2 * number + which as u64, first_text: 0 });
        tower.forward(&weights, &texts[which], dropout).unwrap()
    };
    let scores = rows(0).matmul(&rows(1).t().unwrap()).unwrap();
    let targets: Vec<u32> = (0..QUERIES.0 as u32).map(|i| 2 * i).collect();
    let targets = Tensor::from_vec(targets, QUERIES.0, &Device::Cpu).unwrap();
    let loss = candle_nn::loss::cross_entropy(&scores, &targets).unwrap();
    let forward = start.elapsed().as_secs_f64();
    let mut store = loss.backward().unwrap();
    let mut gradients = Gradients::new(weights.len());
    gradients.add_store(&weights, &mut store).unwrap();
    let backward = start.elapsed().as_secs_f64();
    optimizer.step(tower.parameters(), &gradients, 2e-5, 1.0).unwrap();
    let all = start.elapsed().as_secs_f64();
    print!("forward {forward:.3} backward {:.3} AdamW {:.3}: ", backward - forward, all - backward);
    (start.elapsed().as_secs_f64(), loss.to_scalar().unwrap())
}

/// Most memory a process had so far, in MB; 0 where the system does not say.
fn peak(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [folder, python, rest @ ..] = arguments.as_slice() else {
        println!(
            "left out: name a model and a Python, `cargo bench --bench train -- FOLDER PYTHON [ROUNDS] [DROPOUT]`"
        );
        return;
    };
    let rounds: usize = rest.first().map_or(7, |rounds| rounds.parse().unwrap());
    let dropout: f32 = rest.get(1).map_or(0.0, |rate| rate.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/train.py");
    let mut child = Command::new(python)
        .args([script, folder, &dropout.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id().to_string();
    let mut ask = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let ids = [batch(QUERIES, 1), batch(PASSAGES, 2)];
    for ids in &ids {
        let lines: Vec<String> = ids.iter().map(|ids| format!("{ids:?}")).collect();
        writeln!(ask, "[{}]", lines.join(",")).unwrap();
    }
    let tower = open(folder.as_ref(), &OpenOptions { dropout, ..Default::default() }).unwrap();
    let mut optimizer = Optimizer::new(AdamW::default(), tower.parameters()).unwrap();
    let texts = ids.map(|ids| Packed::of(ids.iter().map(Vec::as_slice)));
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (a, loss) = step(&tower, &texts, round as u64, dropout > 0.0, &mut optimizer);
        writeln!(ask, "step").unwrap();
        let answer = answers.next().unwrap().unwrap();
        let words: Vec<f64> = answer.split_whitespace().map(|word| word.parse().unwrap()).collect();
        println!(
            "round {round}: ours {a:.3} s, PyTorch {:.3} s, ratio {:.2}; loss {loss:.6} and {:.6}",
            words[0],
            a / words[0],
            words[1]
        );
        // The first round pays for what happens once.
        if round > 0 {
            ratios.push(a / words[0]);
            ours.push(a);
            theirs.push(words[0]);
        }
    }
    println!("peak memory: ours {:.0} MB, PyTorch {:.0} MB", peak("self"), peak(&process));
    drop(ask);
    child.wait().unwrap();
    let ((ratio, low, high), a, b) = (median(ratios), median(ours).0, median(theirs).0);
    println!("median of {rounds}: ours {a:.3} s, PyTorch {b:.3} s, ratio {ratio:.2} ({low:.2} to {high:.2})");
}

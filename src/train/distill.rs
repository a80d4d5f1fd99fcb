//! Distillation: a slow encoder in, a static one out that gives texts nearly the same rows.
//!
//! Texts stream in twice. The first pass learns a [`vocabulary`], the second draws sample texts, half beginnings of
//! passages and half single sentences. The teacher encodes the whole words, each as a text of its own, and the
//! sample. A text of tokens `T_i` gets the student row `x_i E`, where `E [n, d]` are the token rows and
//! `x_i = counts(T_i) / √|T_i|` (a sum of `|T|` unlike rows grows as its root, and teacher rows are all of one
//! length); with `y_i` the teacher's row, `E` is the minimum of
//!
//! ```text
//! Σ_i |x_i E - y_i|² + λ |E - P|²
//! ```
//!
//! The prior `P` is plain distillation: the teacher's row of word `t`, times `a / (a + p_t)` (SIF: `p_t` is the share
//! of `t` among all tokens), times the one number that fits `Σ|x_i P - y_i|²` best; continuations have a zero prior,
//! for alone they mean nothing. Before all this, rows of texts and of words are centred, each on their own mean,
//! turned onto the `d` principal axes of the texts' rows and half whitened: the component along an axis of variance
//! `v` is divided by `v^(1/4)`, so that the few widest axes do not decide everything. In the end rows are rounded to
//! int8.
//!
//! Rows of teacher and student do not compare with each other, only among themselves.
//!
//! Cost: the teacher's encoding of the sample; then seconds. The fit is most of the gain: see the table in
//! `encoder/builtin/README.md`.
//!
//! Sources: S. Arora et al. 2017 (SIF); T. van Dongen, S. Tulkens, model2vec, 2024 (plain distillation, and the idea
//! of fitting to the teacher's rows of texts); A. E. Hoerl, R. W. Kennard, "Ridge regression", 1970; J. Su et al.,
//! "Whitening sentence representations for better semantics and faster retrieval", 2021 (whitening; half of it is
//! what measured best here).

mod eigen;
mod export;
mod ridge;
mod sample;

pub use export::{Origin, write};

use super::vocabulary::{self, Feed, Vocabulary};
use crate::encoder::contract::{Encoder, Role};
use crate::encoder::fixed::StaticModel;
use crate::encoder::wordpiece::{Normalization, WordPiece};
use crate::error::{Error, Result};
use crate::progress::{Progress, Stage};
use rayon::prelude::*;
use ridge::Sparse;

/// `a` of the prior's weights: 1e-4 and 1e-3 ended alike.
const SIF: f64 = 1e-4;
/// `λ`: the same from .2 to .5; .1 and 1 were worse on SciFact and SQuAD together.
const RIDGE: f32 = 0.3;
/// Steps of the solver; after 10, figures moved by their noise.
const STEPS: usize = 12;
/// Share of the variances' logarithms taken away; from .5 to .75 the same on SciFact and SQuAD, 0 and 1 worse.
const WHITENING: f64 = 0.5;
/// Texts the teacher is handed at a time.
const BATCH: usize = 1024;
/// One sample text in so many is not fitted but asked afterwards.
const HELD_OUT: usize = 100;

/// What is asked for. The defaults are the built-in model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Most entries of the vocabulary.
    pub vocabulary: usize,
    /// Components a row, at most the teacher's.
    pub dimensions: usize,
    /// Texts the teacher encodes.
    pub texts: usize,
}

impl Default for Options {
    /// 31,000 rows of 256 bytes fill 8 MiB (24,000 of 320 and 39,000 of 200 did no better);
    /// 120,000 texts are what all-MiniLM-L6-v2 encodes in a quarter of an hour of CPU.
    fn default() -> Self {
        Options { vocabulary: 31_000, dimensions: 256, texts: 120_000 }
    }
}

/// A model, and how well it learnt.
#[derive(Clone, Debug)]
pub struct Distilled {
    /// The student.
    pub model: StaticModel,
    /// Texts the rows were fitted to.
    pub fitted: usize,
    /// Texts kept apart.
    pub held_out: usize,
    /// Mean cosine of student's and teacher's rows (centred, on the student's axes) of the texts kept apart.
    pub agreement: f64,
}

/// Distils `teacher` over the texts of `feed`, which is called twice and has to give the same texts in the same order.
/// The same input gives the same model, bit for bit.
pub fn distill(
    teacher: &dyn Encoder,
    feed: &mut Feed<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Distilled> {
    if options.dimensions == 0 || options.dimensions > teacher.card().dimension {
        let (asked, has) = (options.dimensions, teacher.card().dimension);
        return Err(Error::usage(format!("{asked} dimensions were asked for, the teacher has {has}")));
    }
    progress.begin(Stage::Counting, None);
    let vocabulary = vocabulary::learn(options.vocabulary, &mut |take| {
        let mut stopped = Ok(());
        feed(&mut |text| {
            progress.advance(Stage::Counting, 1);
            if stopped.is_ok() {
                stopped = progress.checkpoint();
                take(text);
            }
        })?;
        stopped
    })?;
    progress.finish(Stage::Counting);
    let sample = sample::draw(options.texts, vocabulary.texts(), feed)?;
    fit(teacher, &vocabulary, &sample, options.dimensions, progress)
}

/// Fits the rows of a vocabulary to the teacher's rows of some texts.
pub fn fit(
    teacher: &dyn Encoder,
    vocabulary: &Vocabulary,
    texts: &[String],
    d: usize,
    progress: &dyn Progress,
) -> Result<Distilled> {
    let entries = vocabulary.entries();
    let wordpiece = WordPiece::from_vocabulary(entries, Normalization::default())?;
    let bags: Vec<Vec<(u32, f32)>> = texts.par_iter().map(|text| bag(&wordpiece, text)).collect();
    let words: Vec<usize> = (1..entries.len()).filter(|id| !entries[*id].starts_with("##")).collect();
    progress.begin(Stage::Encoding, Some((texts.len() + words.len()) as u64));
    let word_texts: Vec<&str> = words.iter().map(|id| entries[*id].as_str()).collect();
    let mut word_rows = encode(teacher, &word_texts, progress)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut text_rows = encode(teacher, &texts, progress)?;
    progress.finish(Stage::Encoding);

    let width = teacher.card().dimension;
    centre(&mut word_rows, width);
    centre(&mut text_rows, width);
    let axes = half_whitened(eigen::symmetric(scatter(&text_rows, width), width), d);
    let text_rows = turn(&text_rows, width, &axes);
    let word_rows = turn(&word_rows, width, &axes);

    let total = vocabulary.counts().iter().sum::<u64>() as f64;
    let mut prior = vec![0.0; entries.len() * d];
    for (id, row) in words.iter().zip(word_rows.chunks(d)) {
        let weight = (SIF / (SIF + vocabulary.counts()[*id] as f64 / total)) as f32;
        prior[id * d..(id + 1) * d].iter_mut().zip(row).for_each(|(to, x)| *to = weight * x);
    }
    let fitted: Vec<usize> = (0..bags.len()).filter(|i| i % HELD_OUT != HELD_OUT - 1 && !bags[*i].is_empty()).collect();
    if fitted.is_empty() {
        return Err(Error::bad_input("no sample text holds a token of the vocabulary"));
    }
    let x: Vec<Vec<(u32, f32)>> = fitted.iter().map(|i| bags[*i].clone()).collect();
    let x = Sparse::new(&x, entries.len());
    let y: Vec<f32> = fitted.iter().flat_map(|i| &text_rows[i * d..(i + 1) * d]).copied().collect();
    let scale = best_scale(&x.times(&prior, d), &y);
    prior.iter_mut().for_each(|value| *value *= scale);
    let mut rows = ridge::solve(&x, &y, &prior, d, RIDGE, STEPS, progress)?;
    // Unknown words say nothing; loaders that give them a share of the mean then change its length only.
    rows[..d].fill(0.0);
    let model = StaticModel::quantized(entries.to_vec(), d, &rows)?;

    let apart: Vec<usize> = (0..bags.len()).filter(|i| i % HELD_OUT == HELD_OUT - 1 && !bags[*i].is_empty()).collect();
    let asked: Vec<Vec<(u32, f32)>> = apart.iter().map(|i| bags[*i].clone()).collect();
    let found = Sparse::new(&asked, entries.len()).times(&model.values(), d);
    let cosines = found.chunks(d).zip(&apart).map(|(row, i)| cosine(row, &text_rows[i * d..(i + 1) * d]));
    let agreement = cosines.sum::<f64>() / apart.len().max(1) as f64;
    Ok(Distilled { model, fitted: fitted.len(), held_out: apart.len(), agreement })
}

/// `counts(T) / √|T|` of a text's known tokens, by id.
fn bag(wordpiece: &WordPiece, text: &str) -> Vec<(u32, f32)> {
    let mut ids = Vec::new();
    wordpiece.encode(text, &mut ids);
    ids.retain(|id| *id != wordpiece.specials().unk);
    ids.sort_unstable();
    let share = 1.0 / (ids.len() as f32).sqrt();
    ids.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32 * share)).collect()
}

/// The teacher's rows, `[texts.len(), d]`.
fn encode(teacher: &dyn Encoder, texts: &[&str], progress: &dyn Progress) -> Result<Vec<f32>> {
    let mut rows = Vec::with_capacity(texts.len() * teacher.card().dimension);
    for batch in texts.chunks(BATCH) {
        progress.checkpoint()?;
        rows.extend_from_slice(teacher.encode(batch, Role::Passage)?.values());
        progress.advance(Stage::Encoding, batch.len() as u64);
    }
    Ok(rows)
}

/// Takes the mean row away from every row of `width`.
fn centre(rows: &mut [f32], width: usize) {
    let mut mean = vec![0.0f64; width];
    for row in rows.chunks(width) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
    }
    let count = (rows.len() / width).max(1) as f64;
    for row in rows.chunks_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= (mean / count) as f32);
    }
}

/// `Σ row rowᵀ`, `width × width`; blocks are summed in parallel, then in order.
fn scatter(rows: &[f32], width: usize) -> Vec<f64> {
    const BLOCK: usize = 4096;
    let blocks = rows.par_chunks(BLOCK * width).map(|block| {
        let mut sum = vec![0.0f64; width * width];
        for row in block.chunks(width) {
            for (a, sums) in row.iter().zip(sum.chunks_mut(width)) {
                sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += f64::from(*a) * f64::from(*b));
            }
        }
        sum
    });
    let mut total = vec![0.0; width * width];
    for block in blocks.collect::<Vec<_>>() {
        total.iter_mut().zip(block).for_each(|(total, x)| *total += x);
    }
    total
}

/// The first `d` axes, each divided by the fourth root of its variance; one without variance is left out of use.
fn half_whitened((variances, axes): (Vec<f64>, Vec<Vec<f64>>), d: usize) -> Vec<Vec<f64>> {
    let most = variances.first().copied().unwrap_or_default();
    let axes = variances.iter().zip(axes).take(d).map(|(variance, mut axis)| {
        // Relative to the widest, so that the count of texts does not matter; below rounding there is only noise.
        let share = variance / most;
        let factor = if share > 1e-9 { share.powf(-WHITENING / 2.0) } else { 0.0 };
        axis.iter_mut().for_each(|x| *x *= factor);
        axis
    });
    axes.collect()
}

/// Rows of `width` onto the axes: `[rows, axes.len()]`.
fn turn(rows: &[f32], width: usize, axes: &[Vec<f64>]) -> Vec<f32> {
    let d = axes.len();
    // Component by component of the input, so that the inner loop runs along a row of the output.
    let by_input: Vec<f32> = (0..width).flat_map(|i| axes.iter().map(move |axis| axis[i] as f32)).collect();
    let mut turned = vec![0.0; rows.len() / width * d];
    turned.par_chunks_mut(d).zip(rows.par_chunks(width)).for_each(|(out, row)| {
        for (x, weights) in row.iter().zip(by_input.chunks(d)) {
            out.iter_mut().zip(weights).for_each(|(out, weight)| *out += x * weight);
        }
    });
    turned
}

/// The `s` that minimises `|s · found - wanted|²`.
fn best_scale(found: &[f32], wanted: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let energy = dot(found, found);
    if energy > 0.0 { (dot(found, wanted) / energy) as f32 } else { 0.0 }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
#[path = "distill/tests.rs"]
mod tests;

//! The loss of a batch: the negative log-likelihood of each query's positive among all passages of the batch.
//!
//! Rows of queries `q [B, d]` and passages `p [M, d]` go in, positives first (`p_i` belongs to `q_i`), hard negatives
//! after them; a number comes out, differentiable in both. With scores
//!
//! ```text
//! s [B, M] = (q pᵀ) / τ + mask            cosine: rows of q and p divided by their lengths before
//! nll      = −(1/B) Σ_i log softmax(s_i)[i]
//! ```
//!
//! where `mask [B, M]` is 0, or so low that the pair has no share ([`FORBIDDEN`](super::batch::FORBIDDEN)). On request:
//!
//! - *symmetric*: the mean of `nll` and the same from passages to queries,
//!   `−(1/B) Σ_j log softmax(s_{·j})[j]` over the positives' columns `j < B`;
//! - *distillation*: `+ w (1/B) Σ_i KL(softmax(t_i / τ_t + mask_i) ‖ softmax(s_i))` with a teacher's scores `t [B, M]`;
//! - *Matryoshka*: `Σ_k w_k loss(q[:, ..d_k], p[:, ..d_k])`, so that the first components alone compare well.
//!
//! A query at (3, 4), its passage in the same direction, a second pair at a right angle; τ = 1:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use parallax::encoder::contract::Similarity;
//! use parallax::train::loss::{LossOptions, loss};
//! let q = Tensor::new(&[[3f32, 4.0], [-4.0, 3.0]], &Device::Cpu).unwrap();
//! let p = Tensor::new(&[[0.6f32, 0.8], [-0.8, 0.6]], &Device::Cpu).unwrap();
//! let mask = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
//! let options = LossOptions { similarity: Similarity::Cosine, temperature: 1.0, ..LossOptions::default() };
//! let value = loss(&q, &p, &mask, None, &options)?.to_scalar::<f32>().unwrap();
//! // Scores 1 for the positive and 0 for the other: log(e + 1) - 1.
//! assert!((value - 0.31326).abs() < 1e-4);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: `6 B M d` floating-point operations forward and backward, and on the CPU one pass over the scores
//! (`likelihood`). Elsewhere the loss is composed of operations that have a gradient; candle's fused softmax has
//! none, silently.
//!
//! Sources: V. Karpukhin et al., "Dense passage retrieval", 2020 (`nll`); A. Radford et al., CLIP, 2021 (symmetric);
//! G. Hinton et al., "Distilling the knowledge in a neural network", 2015; A. Kusupati et al., "Matryoshka
//! representation learning", 2022.

mod likelihood;

use super::failed;
use super::gradients::with_values;
use crate::encoder::contract::Similarity;
use crate::error::Result;
use candle_core::{D, Tensor};
use likelihood::Likelihood;
use std::sync::Mutex;

/// Which loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LossOptions {
    /// How rows are compared.
    pub similarity: Similarity,
    /// `τ`, above 0.
    pub temperature: f64,
    /// Whether passages look for their query too.
    pub symmetric: bool,
    /// Numbers of components `d_k` with weights `w_k`; empty for all components alone.
    pub matryoshka: Vec<(usize, f64)>,
    /// The teacher's part, where its scores are given.
    pub distillation: Distillation,
}

/// How much a teacher counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// `τ_t`: what the teacher's scores are divided by.
    pub temperature: f64,
    /// `w`.
    pub weight: f64,
}

impl Default for Distillation {
    /// The student's default temperature and an equal share.
    fn default() -> Self {
        Distillation { temperature: 0.05, weight: 1.0 }
    }
}

impl Default for LossOptions {
    /// Cosine with τ = .05, as in SimCSE (T. Gao et al., 2021) and sentence-transformers' scale of 20.
    fn default() -> Self {
        LossOptions {
            similarity: Similarity::Cosine,
            temperature: 0.05,
            symmetric: false,
            matryoshka: Vec::new(),
            distillation: Distillation::default(),
        }
    }
}

/// The loss, a scalar: `q [B, d]`, `p [M, d]`, `mask [B, M]`, `teacher [B, M]`.
pub fn loss(q: &Tensor, p: &Tensor, mask: &Tensor, teacher: Option<&Tensor>, options: &LossOptions) -> Result<Tensor> {
    by_width(q, p, mask, teacher, options).map_err(failed)
}

fn by_width(
    q: &Tensor,
    p: &Tensor,
    mask: &Tensor,
    teacher: Option<&Tensor>,
    options: &LossOptions,
) -> candle_core::Result<Tensor> {
    if options.matryoshka.is_empty() {
        return at_full_width(q, p, mask, teacher, options);
    }
    let mut sum = None;
    for (components, weight) in &options.matryoshka {
        let (q, p) = (q.narrow(1, 0, *components)?, p.narrow(1, 0, *components)?);
        let part = (at_full_width(&q, &p, mask, teacher, options)? * *weight)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => (sum + part)?,
        });
    }
    sum.ok_or_else(|| candle_core::Error::Msg("no width to sum over".into()))
}

fn at_full_width(
    q: &Tensor,
    p: &Tensor,
    mask: &Tensor,
    teacher: Option<&Tensor>,
    options: &LossOptions,
) -> candle_core::Result<Tensor> {
    let (q, p) = match options.similarity {
        Similarity::Cosine => (unit(q)?, unit(p)?),
        Similarity::Dot => (q.clone(), p.clone()),
    };
    // Dividing the queries costs less than dividing the scores.
    let scores = (q / options.temperature)?.matmul(&p.t()?)?;
    if scores.device().is_cpu() {
        fused(&scores, mask, teacher, options)
    } else {
        composed(&scores, mask, teacher, options)
    }
}

/// The loss of scores in one pass.
fn fused(
    scores: &Tensor,
    mask: &Tensor,
    teacher: Option<&Tensor>,
    options: &LossOptions,
) -> candle_core::Result<Tensor> {
    let copy = |tensor: &Tensor| with_values(tensor, <[f32]>::to_vec).map_err(candle_core::Error::wrap);
    let teacher = match teacher {
        None => None,
        Some(teacher) => Some((copy(&(teacher / options.distillation.temperature)?)?, options.distillation.weight)),
    };
    let gradient = Mutex::new(Vec::new());
    scores.apply_op1(Likelihood { mask: copy(mask)?, teacher, symmetric: options.symmetric, gradient })
}

/// The same of candle's operations.
fn composed(
    scores: &Tensor,
    mask: &Tensor,
    teacher: Option<&Tensor>,
    options: &LossOptions,
) -> candle_core::Result<Tensor> {
    let b = scores.dim(0)?;
    let scores = (scores + mask)?;
    let log_shares = log_softmax(&scores)?;
    let mut loss = diagonal(&log_shares)?;
    if options.symmetric {
        let back = log_softmax(&scores.narrow(1, 0, b)?.t()?.contiguous()?)?;
        loss = ((loss + diagonal(&back)?)? / 2.0)?;
    }
    if let Some(teacher) = teacher {
        let wanted = log_softmax(&((teacher.detach() / options.distillation.temperature)? + mask)?)?.detach();
        let divergence = ((wanted.exp()? * (wanted - &log_shares)?)?.sum_all()? / b as f64)?;
        loss = (loss + (divergence * options.distillation.weight)?)?;
    }
    Ok(loss)
}

/// Rows divided by their lengths. A zero row is divided by 1: it stays zero, and its gradient stays of the size of the
/// others'.
fn unit(rows: &Tensor) -> candle_core::Result<Tensor> {
    let squares = rows.sqr()?.sum_keepdim(D::Minus1)?;
    let zero = squares.detach().eq(0f32)?.to_dtype(squares.dtype())?;
    rows.broadcast_div(&(squares + zero)?.sqrt()?)
}

/// `x − log Σ exp x` along rows. The greatest value is taken away as a constant: its gradient cancels.
fn log_softmax(x: &Tensor) -> candle_core::Result<Tensor> {
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// Minus the mean of `[i, i]` over the rows.
fn diagonal(x: &Tensor) -> candle_core::Result<Tensor> {
    let b = x.dim(0)?;
    let places = Tensor::arange(0u32, b as u32, x.device())?.reshape((b, 1))?;
    x.gather(&places, 1)?.mean_all()?.neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::train::batch::FORBIDDEN;
    use candle_core::{Device, Var};

    const B: usize = 3;
    const M: usize = 5;
    const WIDTH: usize = 4;

    fn random(seed: u64, n: usize) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n).map(|_| random.normal() as f32).collect()
    }

    fn tensor(values: &[f32], columns: usize) -> Tensor {
        Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
    }

    fn mask() -> Vec<f32> {
        let mut mask = vec![0.0; B * M];
        mask[1] = FORBIDDEN;
        mask[2 * M + 4] = FORBIDDEN;
        mask
    }

    /// The formulas of the module's head, in f64 and in loops.
    fn by_hand(q: &[f32], p: &[f32], teacher: Option<&[f32]>, options: &LossOptions, width: usize) -> f64 {
        let row = |rows: &[f32], i: usize| -> Vec<f64> {
            let row: Vec<f64> = rows[i * WIDTH..i * WIDTH + width].iter().map(|x| f64::from(*x)).collect();
            let length = match options.similarity {
                Similarity::Cosine => row.iter().map(|x| x * x).sum::<f64>().sqrt(),
                Similarity::Dot => 1.0,
            };
            row.into_iter().map(|x| x / length).collect()
        };
        let allowed = |i: usize, j: usize| mask()[i * M + j] == 0.0;
        let score =
            |i: usize, j: usize| row(q, i).iter().zip(row(p, j)).map(|(a, b)| a * b).sum::<f64>() / options.temperature;
        let log_sum = |scores: &[f64]| scores.iter().map(|s| s.exp()).sum::<f64>().ln();
        let mut loss = 0.0;
        for i in 0..B {
            let scores: Vec<f64> = (0..M).filter(|j| allowed(i, *j)).map(|j| score(i, j)).collect();
            let nll = log_sum(&scores) - score(i, i);
            let back: Vec<f64> = (0..B).filter(|k| allowed(*k, i)).map(|k| score(k, i)).collect();
            loss += if options.symmetric { (nll + log_sum(&back) - score(i, i)) / 2.0 } else { nll } / B as f64;
            if let Some(teacher) = teacher {
                let wanted: Vec<f64> = (0..M)
                    .filter(|j| allowed(i, *j))
                    .map(|j| f64::from(teacher[i * M + j]) / options.distillation.temperature)
                    .collect();
                let kl = wanted.iter().zip(&scores).map(|(t, s)| {
                    let (t, s) = (t - log_sum(&wanted), s - log_sum(&scores));
                    t.exp() * (t - s)
                });
                loss += options.distillation.weight * kl.sum::<f64>() / B as f64;
            }
        }
        loss
    }

    #[test]
    fn every_variant_equals_the_formula_and_its_gradient_the_differences() {
        let (q, p, teacher) = (random(1, B * WIDTH), random(2, M * WIDTH), random(3, B * M));
        for variant in 0..16u32 {
            let options = LossOptions {
                similarity: if variant & 1 == 0 { Similarity::Cosine } else { Similarity::Dot },
                temperature: 0.7,
                symmetric: variant & 2 != 0,
                matryoshka: if variant & 4 != 0 { vec![(4, 1.0), (2, 0.5)] } else { Vec::new() },
                distillation: Distillation { temperature: 0.9, weight: 0.3 },
            };
            let teacher = (variant & 8 != 0).then_some(&teacher[..]);
            let expected = |q: &[f32], p: &[f32]| match options.matryoshka.is_empty() {
                true => by_hand(q, p, teacher, &options, WIDTH),
                false => by_hand(q, p, teacher, &options, 4) + 0.5 * by_hand(q, p, teacher, &options, 2),
            };
            let vars = [Var::from_tensor(&tensor(&q, WIDTH)).unwrap(), Var::from_tensor(&tensor(&p, WIDTH)).unwrap()];
            let teacher = teacher.map(|teacher| tensor(teacher, M));
            let found = loss(&vars[0], &vars[1], &tensor(&mask(), M), teacher.as_ref(), &options).unwrap();
            let value = f64::from(found.to_scalar::<f32>().unwrap());
            assert!((value - expected(&q, &p)).abs() < 1e-5, "variant {variant}: {value} {}", expected(&q, &p));
            let gradients = found.backward().unwrap();
            let scores = tensor(&random(7, B * M), M);
            let scores = Var::from_tensor(&scores).unwrap();
            let both = [fused, composed].map(|form| {
                let loss = form(&scores, &tensor(&mask(), M), teacher.as_ref(), &options).unwrap();
                let gradient = loss.affine(2.0, 0.0).unwrap().backward().unwrap();
                let gradient = gradient.get(&scores).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                [vec![loss.to_scalar::<f32>().unwrap()], gradient].concat()
            });
            assert!(both[0].iter().zip(&both[1]).all(|(a, b)| (a - b).abs() < 1e-5), "variant {variant}: {both:?}");
            for (side, var) in vars.iter().enumerate() {
                let gradient = gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                for (at, slope) in gradient.iter().enumerate() {
                    let moved = |by: f32| {
                        let mut rows = [q.clone(), p.clone()];
                        rows[side][at] += by;
                        expected(&rows[0], &rows[1])
                    };
                    let by = 1e-3;
                    let difference = (moved(by) - moved(-by)) / (2.0 * f64::from(by));
                    assert!((difference - f64::from(*slope)).abs() < 2e-4, "variant {variant}: {slope} {difference}");
                }
            }
        }
    }

    #[test]
    fn forbidden_pairs_have_no_say_and_a_zero_row_no_nan() {
        let (q, mut p) = (random(1, B * WIDTH), random(2, M * WIDTH));
        let options = LossOptions { symmetric: true, ..LossOptions::default() };
        let value = |p: &[f32]| {
            let p = Var::from_tensor(&tensor(p, WIDTH)).unwrap();
            // Column 3 forbidden to all.
            let mask: Vec<f32> = (0..B * M).map(|at| if at % M == 3 { FORBIDDEN } else { 0.0 }).collect();
            let found = loss(&tensor(&q, WIDTH), &p, &tensor(&mask, M), None, &options).unwrap();
            let gradient = found.backward().unwrap().get(&p).unwrap().to_vec2::<f32>().unwrap();
            (found.to_scalar::<f32>().unwrap(), gradient)
        };
        let (before, gradient) = value(&p);
        assert!(gradient[3].iter().all(|g| *g == 0.0) && gradient[4].iter().any(|g| *g != 0.0));
        p[3 * WIDTH..4 * WIDTH].copy_from_slice(&q[..WIDTH]);
        assert_eq!(value(&p).0, before);
        p[..WIDTH].fill(0.0);
        let (loss, gradient) = value(&p);
        assert!(loss.is_finite() && gradient.iter().flatten().all(|g| g.abs() < 100.0), "{gradient:?}");
    }
}

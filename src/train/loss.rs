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
//! Cost: `6 B M d` floating-point operations forward and backward. On the CPU both are written by hand (`contrast`);
//! elsewhere the loss is composed of operations that have a gradient, which candle's fused softmax has not, silently.
//!
//! Sources: V. Karpukhin et al., "Dense passage retrieval", 2020 (`nll`); A. Radford et al., CLIP, 2021 (symmetric);
//! G. Hinton et al., "Distilling the knowledge in a neural network", 2015; A. Kusupati et al., "Matryoshka
//! representation learning", 2022.

mod contrast;

use super::failed;
use super::gradients::with_values;
use crate::encoder::contract::Similarity;
use crate::error::Result;
use candle_core::{D, Tensor, Var};
use contrast::Contrast;
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
    if q.device().is_cpu() {
        let contrast = contrast(mask, teacher, options)?;
        let rows = q.contiguous().and_then(|q| Ok((q, p.contiguous()?)));
        rows.and_then(|(q, p)| q.apply_op2(&p, contrast)).map_err(failed)
    } else {
        composed(q, p, mask, teacher, options).map_err(failed)
    }
}

/// The loss and its gradients by `q` and `p`, of rows that belong to no graph.
pub fn with_gradient(
    q: &Tensor,
    p: &Tensor,
    mask: &Tensor,
    teacher: Option<&Tensor>,
    options: &LossOptions,
) -> Result<(f64, Tensor, Tensor)> {
    if q.device().is_cpu() {
        let contrast = contrast(mask, teacher, options)?;
        let d = q.dim(1).map_err(failed)?;
        let (loss, by_q, by_p) = with_values(q, |q| with_values(p, |p| contrast.compute(q, p, d)))??;
        let tensor = |values: Vec<f32>, of: &Tensor| Tensor::from_vec(values, of.shape(), of.device()).map_err(failed);
        return Ok((loss, tensor(by_q, q)?, tensor(by_p, p)?));
    }
    let work = || {
        let (q, p) = (Var::from_tensor(q)?, Var::from_tensor(p)?);
        let loss = composed(&q, &p, mask, teacher, options)?;
        let mut store = loss.backward()?;
        let (by_q, by_p) = (store.remove(&q), store.remove(&p));
        let value = f64::from(loss.to_scalar::<f32>()?);
        Ok((value, by_q.unwrap_or(q.zeros_like()?), by_p.unwrap_or(p.zeros_like()?)))
    };
    work().map_err(failed)
}

fn contrast(mask: &Tensor, teacher: Option<&Tensor>, options: &LossOptions) -> Result<Contrast> {
    let copy = |tensor: &Tensor| with_values(tensor, <[f32]>::to_vec);
    let teacher = teacher.map(copy).transpose()?;
    Ok(Contrast { mask: copy(mask)?, teacher, options: options.clone(), gradient: Mutex::new(None) })
}

/// The loss of candle's operations.
fn composed(
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
    let b = q.dim(0)?;
    // Dividing the queries costs less than dividing the scores.
    let scores = ((q / options.temperature)?.matmul(&p.t()?)? + mask)?;
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
    use candle_core::Device;

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
        let (mut q, p, teacher) = (random(1, B * WIDTH), random(2, M * WIDTH), random(3, B * M));
        // One of unit length already.
        q[..WIDTH].copy_from_slice(&[1.0, 0.0, 0.0, 0.0]);
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
            let gradients = found.affine(1.0, 0.0).unwrap().backward().unwrap();
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let near = |a: &[f32], b: &[f32]| assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{variant}");
            let other = composed(&vars[0], &vars[1], &tensor(&mask(), M), teacher.as_ref(), &options).unwrap();
            near(&[other.to_scalar().unwrap()], &[value as f32]);
            let others = other.backward().unwrap();
            let plain = with_gradient(&vars[0], &vars[1], &tensor(&mask(), M), teacher.as_ref(), &options).unwrap();
            assert!((plain.0 - value).abs() < 1e-6);
            near(&flat(&plain.1), &flat(others.get(&vars[0]).unwrap()));
            near(&flat(&plain.2), &flat(others.get(&vars[1]).unwrap()));
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

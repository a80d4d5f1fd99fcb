//! The loss with its gradient, written by hand for the CPU.
//!
//! Composed of candle's operations the loss makes some thirty arrays, and candle's element-wise operations wait for
//! their threads by spinning: in a step of a static tower that took longer than all the rest. The gradient is known.
//! With `S_i = softmax(s_i)`, `T_i` the teacher's shares and `û = u / |u|`:
//!
//! ```text
//! G = ∂loss/∂s    ∂nll/∂s = (S − I) / B        ∂KL/∂s = (S − T) / B
//! ∂/∂q̂ = G p̂ / τ       ∂/∂p̂ = Gᵀ q̂ / τ       ∂/∂q = (∂/∂q̂ − q̂ (q̂ · ∂/∂q̂)) / |q|
//! ```
//!
//! so the shares computed for the loss are its gradient but for a subtraction. Blocks of rows are worked on in
//! parallel; their size is fixed and losses are added in order, so the bits do not depend on the number of threads.

use super::LossOptions;
use crate::encoder::contract::Similarity;
use crate::kernel::dot::dot;
use crate::kernel::matmul::{Rows, RowsMut, multiply, multiply_left_transposed, multiply_transposed};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// Rows a task works on.
const BLOCK: usize = 64;

/// What rows are compared under.
pub(super) struct Contrast {
    /// `[B, M]`, added to the scores.
    pub(super) mask: Vec<f32>,
    /// A teacher's scores `[B, M]`.
    pub(super) teacher: Option<Vec<f32>>,
    pub(super) options: LossOptions,
    /// Gradients by `q` and `p`, left by the forward pass for the way back.
    pub(super) gradient: Mutex<Option<(Vec<f32>, Vec<f32>)>>,
}

/// Rows as they are compared, and what they were divided by.
struct Compared {
    rows: Vec<f32>,
    lengths: Vec<f32>,
}

impl Contrast {
    /// The loss of rows of `d` components and its gradients by `q` and by `p`.
    pub(super) fn compute(&self, q: &[f32], p: &[f32], d: usize) -> (f64, Vec<f32>, Vec<f32>) {
        let (mut loss, mut by_q, mut by_p) = (0.0, vec![0.0; q.len()], vec![0.0; p.len()]);
        let whole = [(d, 1.0)];
        let widths = if self.options.matryoshka.is_empty() { &whole[..] } else { &self.options.matryoshka };
        for &(width, weight) in widths {
            let (q, p) = (self.compared(q, d, width), self.compared(p, d, width));
            let (part, gradient) = self.scores(&q.rows, &p.rows, width);
            loss += weight * part;
            let how = (weight as f32, self.options.similarity == Similarity::Cosine);
            let (b, m) = (q.lengths.len(), p.lengths.len());
            let mut sums = vec![0.0; q.rows.len()];
            sums.par_chunks_mut(BLOCK * width).zip(gradient.par_chunks(BLOCK * m)).for_each(|(sums, gradient)| {
                let rows = sums.len() / width;
                let p = Rows::new(&p.rows, m, width);
                multiply(Rows::new(gradient, rows, m), p, RowsMut::new(sums, rows, width), false);
            });
            through_length(&q, &sums, width, how, &mut by_q, d);
            let mut sums = vec![0.0; p.rows.len()];
            sums.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, sums)| {
                let rows = sums.len() / width;
                let columns = Rows::strided(&gradient[block * BLOCK..], b, rows, m);
                let q = Rows::new(&q.rows, b, width);
                multiply_left_transposed(columns, q, RowsMut::new(sums, rows, width), false);
            });
            through_length(&p, &sums, width, how, &mut by_p, d);
        }
        (loss, by_q, by_p)
    }

    /// The first `width` of `d` components of each row, divided by their length where that is asked. A zero row is
    /// divided by 1: it stays zero, and its gradient stays of the size of the others'.
    fn compared(&self, rows: &[f32], d: usize, width: usize) -> Compared {
        let mut compared = Compared { rows: vec![0.0; rows.len() / d * width], lengths: vec![1.0; rows.len() / d] };
        let pairs = compared.rows.par_chunks_mut(width).zip(&mut compared.lengths).zip(rows.par_chunks(d));
        pairs.with_min_len(BLOCK).for_each(|((to, length), from)| {
            let from = &from[..width];
            let square = dot(from, from);
            if self.options.similarity == Similarity::Cosine && square != 0.0 {
                *length = square.sqrt();
            }
            to.iter_mut().zip(from).for_each(|(to, x)| *to = x / *length);
        });
        compared
    }

    /// The loss of compared rows, and its gradient by their inner products, `[B, M]`.
    fn scores(&self, q: &[f32], p: &[f32], width: usize) -> (f64, Vec<f32>) {
        let (b, m) = (q.len() / width, p.len() / width);
        let mut scores = vec![0.0; b * m];
        let mut gradient = vec![0.0; b * m];
        let by = (1.0 / self.options.temperature) as f32;
        let blocks = scores.par_chunks_mut(BLOCK * m).zip(gradient.par_chunks_mut(BLOCK * m));
        let blocks = blocks.zip(q.par_chunks(BLOCK * width)).zip(self.mask.par_chunks(BLOCK * m)).enumerate();
        let losses = blocks.map(|(block, (((scores, gradient), q), mask))| {
            let rows = q.len() / width;
            multiply_transposed(Rows::new(q, rows, width), Rows::new(p, m, width), RowsMut::new(scores, rows, m));
            scores.iter_mut().zip(mask).for_each(|(score, mask)| *score = *score * by + mask);
            let rows = scores.chunks(m).zip(gradient.chunks_mut(m)).zip(block * BLOCK..);
            rows.map(|((scores, gradient), i)| self.row(scores, gradient, i, b)).collect::<Vec<f64>>()
        });
        let mut loss = losses.collect::<Vec<_>>().iter().flatten().sum::<f64>();
        if self.options.symmetric {
            let mut back = vec![0.0; b * b];
            let columns = back.par_chunks_mut(b).enumerate().with_min_len(4).map(|(j, shares)| {
                let log_sum = softmax((0..b).map(|i| scores[i * m + j]), shares);
                0.5 * (log_sum - f64::from(scores[j * m + j]))
            });
            loss += columns.collect::<Vec<f64>>().iter().sum::<f64>();
            let half = (0.5 / b as f64) as f32;
            for i in 0..b {
                (0..b).for_each(|j| gradient[i * m + j] += half * back[j * b + i]);
                gradient[i * m + i] -= half;
            }
        }
        gradient.par_iter_mut().with_min_len(1 << 14).for_each(|g| *g *= by);
        (loss / b as f64, gradient)
    }

    /// Query `i` of `b`: its loss, and the gradient by its scores into `shares`.
    fn row(&self, scores: &[f32], shares: &mut [f32], i: usize, b: usize) -> f64 {
        let own = if self.options.symmetric { 0.5 } else { 1.0 };
        let log_sum = softmax(scores.iter().copied(), shares);
        let mut loss = own * (log_sum - f64::from(scores[i]));
        let (mut keep, mut wanted) = (own, Vec::new());
        if let Some(teacher) = &self.teacher {
            let (places, weight) = (i * scores.len()..(i + 1) * scores.len(), self.options.distillation.weight);
            let by = (1.0 / self.options.distillation.temperature) as f32;
            let teacher = teacher[places.clone()].iter().zip(&self.mask[places]).map(|(t, mask)| t * by + mask);
            wanted.resize(scores.len(), 0.0);
            let teacher_sum = softmax(teacher.clone(), &mut wanted);
            let gaps = teacher.zip(scores).map(|(t, s)| f64::from(t) - teacher_sum - f64::from(*s) + log_sum);
            loss += weight * wanted.iter().zip(gaps).map(|(share, gap)| f64::from(*share) * gap).sum::<f64>();
            keep += weight;
            wanted.iter_mut().for_each(|share| *share *= (weight / b as f64) as f32);
        }
        let keep = (keep / b as f64) as f32;
        shares.iter_mut().for_each(|share| *share *= keep);
        shares.iter_mut().zip(&wanted).for_each(|(share, wanted)| *share -= wanted);
        shares[i] -= (own / b as f64) as f32;
        loss
    }
}

/// Adds `weight` times the gradient by rows as they came, `[n, d]`, `sums` being that by the rows compared.
fn through_length(
    rows: &Compared,
    sums: &[f32],
    width: usize,
    (weight, cosine): (f32, bool),
    into: &mut [f32],
    d: usize,
) {
    let unit = rows.rows.par_chunks(width).zip(&rows.lengths);
    let rows = into.par_chunks_mut(d).zip(sums.par_chunks(width)).zip(unit).with_min_len(BLOCK);
    rows.for_each(|((into, sums), (unit, length))| {
        // Of rows as they are nothing is taken away; a zero row takes nothing away by itself.
        let along = if cosine { dot(sums, unit) } else { 0.0 };
        let by = weight / length;
        into.iter_mut().zip(sums).zip(unit).for_each(|((into, sum), unit)| *into += by * (sum - along * unit));
    });
}

/// Writes `softmax(x)` and gives `log Σ exp x`.
fn softmax(x: impl Iterator<Item = f32> + Clone, shares: &mut [f32]) -> f64 {
    // Not `max`, which passes over NaN: it has to reach the loss.
    let most = x.clone().fold(f32::NEG_INFINITY, |most, x| if x <= most { most } else { x });
    let mut sum = 0.0;
    for (share, x) in shares.iter_mut().zip(x) {
        *share = (x - most).exp();
        sum += f64::from(*share);
    }
    let factor = (1.0 / sum) as f32;
    shares.iter_mut().for_each(|share| *share *= factor);
    f64::from(most) + sum.ln()
}

impl CustomOp2 for Contrast {
    fn name(&self) -> &'static str {
        "contrast"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        p: &CpuStorage,
        p_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((b, d), (m, other)) = (q_layout.shape().dims2()?, p_layout.shape().dims2()?);
        let (CpuStorage::F32(q), CpuStorage::F32(p)) = (q, p) else { bail!("contrast: rows are not f32") };
        let (Some(q_at), Some(p_at)) = (q_layout.contiguous_offsets(), p_layout.contiguous_offsets()) else {
            bail!("contrast: rows do not lie in one piece");
        };
        if d != other || m < b || self.mask.len() != b * m {
            bail!("contrast: rows {b} x {d} and {m} x {other}, a mask of {} values", self.mask.len());
        }
        let (loss, by_q, by_p) = self.compute(&q[q_at.0..q_at.1], &p[p_at.0..p_at.1], d);
        if let Ok(mut place) = self.gradient.lock() {
            *place = Some((by_q, by_p));
        }
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        q: &Tensor,
        p: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let by = gradient.to_scalar::<f32>()?;
        let Some((by_q, by_p)) = self.gradient.lock().ok().and_then(|mut gradient| gradient.take()) else {
            bail!("contrast: the way back was gone before");
        };
        let scaled = |values: Vec<f32>, of: &Tensor| {
            Tensor::from_vec(values.into_iter().map(|x| x * by).collect::<Vec<f32>>(), of.shape(), of.device())
        };
        Ok((Some(scaled(by_q, q)?), Some(scaled(by_p, p)?)))
    }
}

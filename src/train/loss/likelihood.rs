//! The loss of scores with its gradient, in one pass over them.
//!
//! Composed of candle's operations the loss makes some fifteen arrays `[B, M]`, which takes longer than everything
//! else in a step of a static tower. Its gradient is known: with `S_i = softmax(s_i)` and `T_i` the teacher's shares,
//!
//! ```text
//! ∂nll/∂s = (S − I) / B        ∂KL/∂s = (S − T) / B
//! ```
//!
//! so the shares computed for the loss are the gradient but for a subtraction. Rows are worked on in parallel and
//! their losses added in order.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// The loss of scores `[B, M]`, before the mask, as a scalar.
pub(super) struct Likelihood {
    /// `[B, M]`, added to the scores.
    pub(super) mask: Vec<f32>,
    /// A teacher's scores `[B, M]`, divided by its temperature, and the weight of the divergence from them.
    pub(super) teacher: Option<(Vec<f32>, f64)>,
    /// Whether columns below `B` are asked for their row too.
    pub(super) symmetric: bool,
    /// `[B, M]`, left by the forward pass for the way back.
    pub(super) gradient: Mutex<Vec<f32>>,
}

impl Likelihood {
    /// The loss and its gradient by `scores` of rows of `m`.
    fn compute(&self, scores: &[f32], m: usize) -> (f64, Vec<f32>) {
        let b = scores.len() / m;
        let mut gradient = vec![0.0; scores.len()];
        let own = if self.symmetric { 0.5 } else { 1.0 };
        let rows = gradient.par_chunks_mut(m).zip(scores.par_chunks(m)).zip(self.mask.par_chunks(m));
        let losses = rows.enumerate().with_min_len(4).map(|(i, ((shares, scores), mask))| {
            let log_sum = softmax(scores.iter().zip(mask).map(|(s, mask)| s + mask), shares);
            let mut loss = own * (log_sum - f64::from(scores[i] + mask[i]));
            let (mut keep, mut wanted) = (own, vec![0.0; 0]);
            if let Some((teacher, weight)) = &self.teacher {
                wanted.resize(m, 0.0);
                let teacher = &teacher[i * m..(i + 1) * m];
                let teacher_sum = softmax(teacher.iter().zip(mask).map(|(t, mask)| t + mask), &mut wanted);
                let gaps =
                    teacher.iter().zip(scores).map(|(t, s)| f64::from(*t) - teacher_sum - f64::from(*s) + log_sum);
                loss += weight * wanted.iter().zip(gaps).map(|(share, gap)| f64::from(*share) * gap).sum::<f64>();
                keep += weight;
                wanted.iter_mut().for_each(|share| *share *= (*weight / b as f64) as f32);
            }
            let keep = (keep / b as f64) as f32;
            shares.iter_mut().for_each(|share| *share *= keep);
            shares.iter_mut().zip(&wanted).for_each(|(share, wanted)| *share -= wanted);
            shares[i] -= (own / b as f64) as f32;
            loss
        });
        let mut loss = losses.collect::<Vec<f64>>().iter().sum::<f64>();
        if self.symmetric {
            let mut back = vec![0.0; b * b];
            let columns = back.par_chunks_mut(b).enumerate().with_min_len(4).map(|(j, shares)| {
                let log_sum = softmax((0..b).map(|i| scores[i * m + j] + self.mask[i * m + j]), shares);
                0.5 * (log_sum - f64::from(scores[j * m + j] + self.mask[j * m + j]))
            });
            loss += columns.collect::<Vec<f64>>().iter().sum::<f64>();
            let half = (0.5 / b as f64) as f32;
            for i in 0..b {
                (0..b).for_each(|j| gradient[i * m + j] += half * back[j * b + i]);
                gradient[i * m + i] -= half;
            }
        }
        (loss / b as f64, gradient)
    }
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

impl CustomOp1 for Likelihood {
    fn name(&self) -> &'static str {
        "likelihood"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, m) = layout.shape().dims2()?;
        let (CpuStorage::F32(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
            bail!("likelihood: the scores are not f32 in one piece");
        };
        if self.mask.len() != b * m || m < b || self.teacher.as_ref().is_some_and(|(scores, _)| scores.len() != b * m) {
            bail!("likelihood: scores {b} x {m}, but a mask of {} values", self.mask.len());
        }
        let (loss, gradient) = self.compute(&values[from..to], m);
        if let Ok(mut place) = self.gradient.lock() {
            *place = gradient;
        }
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, scores: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let by = gradient.to_scalar::<f32>()?;
        let values = self.gradient.lock().map(|values| values.iter().map(|x| x * by).collect::<Vec<f32>>());
        let values = values.map_err(|_| candle_core::Error::Msg("likelihood: a thread died".into()))?;
        Tensor::from_vec(values, scores.shape(), scores.device()).map(Some)
    }
}

//! Attention of one text over itself, and its gradient.
//!
//! With `Q`, `K`, `V` `[n, d]` a head's columns of `qkv` `[n, 3h]`, `M` a dropout mask, `C` the context:
//!
//! ```text
//! P = softmax(Q Kᵀ / √d)                 C  = (P ∘ M) V
//! dV = (P ∘ M)ᵀ dC     dP = M ∘ dC Vᵀ     dS = P ∘ (dP - Σ P dP) / √d     dQ = dS K     dK = dSᵀ Q
//! ```
//!
//! `P` is computed again on the way back: it would be the largest thing kept, and is one of the five products.
//!
//! Cost: `4 h n²` floating-point operations forward, `10 h n²` back; scratch memory of `3 n²` values.
//!
//! Source: A. Vaswani and others, Attention Is All You Need, 2017.

use super::dropout::Mask;
use crate::kernel::matmul::rowwise::gradient::softmax_backward;
use crate::kernel::matmul::rowwise::softmax;
use crate::kernel::matmul::{Rows, RowsMut, multiply, multiply_left_transposed, transpose};

/// How a row of `hidden` values is shared by heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
}

/// Scratch memory for texts of up to so many tokens.
pub(crate) struct Scratch {
    /// Scores, their gradient, masked scores: `[n, n]` each.
    squares: [Vec<f32>; 3],
    /// A head's parts, `[n, d]` or `[d, n]`.
    parts: [Vec<f32>; 4],
}

impl Heads {
    fn width(&self) -> usize {
        self.hidden / self.heads
    }

    /// Scratch memory for texts of at most `n` tokens.
    pub(crate) fn scratch(&self, n: usize) -> Scratch {
        let part = || vec![0.0; n * self.width()];
        let square = || vec![0.0; n * n];
        Scratch { squares: [square(), square(), square()], parts: [part(), part(), part(), part()] }
    }

    /// Copies a head's columns of part `which` (queries, keys, values) of `qkv` to `part`, `[n, d]`.
    fn gather(&self, qkv: &[f32], which: usize, head: usize, part: &mut [f32]) {
        let (h, d) = (self.hidden, self.width());
        for (row, part) in qkv.chunks_exact(3 * h).zip(part.chunks_exact_mut(d)) {
            part.copy_from_slice(&row[which * h + head * d..][..d]);
        }
    }

    /// `P` of a head into `p`; leaves `Q` in the first, `K` in the second, `Kᵀ` in the third part.
    fn probabilities(&self, qkv: &[f32], head: usize, n: usize, p: &mut [f32], parts: &mut [Vec<f32>; 4]) {
        let d = self.width();
        let [q, k, turned, _] = parts.each_mut().map(|part| &mut part[..n * d]);
        self.gather(qkv, 0, head, q);
        self.gather(qkv, 1, head, k);
        transpose(k, d, turned, n);
        multiply(Rows::new(q, n, d), Rows::new(turned, d, n), RowsMut::new(p, n, n), false);
        softmax(p, n, 1.0 / (d as f32).sqrt());
    }

    /// Writes the context `[n, h]` of a text of `n` tokens.
    pub(crate) fn forward(&self, qkv: &[f32], context: &mut [f32], mask: Option<Mask>, scratch: &mut Scratch) {
        let (h, d) = (self.hidden, self.width());
        let n = context.len() / h;
        if n == 0 {
            return;
        }
        let p = &mut scratch.squares[0][..n * n];
        for head in 0..self.heads {
            self.probabilities(qkv, head, n, p, &mut scratch.parts);
            if let Some(mask) = mask {
                mask.part(head).apply(p);
            }
            let v = Rows::strided(&qkv[2 * h + head * d..], n, d, 3 * h);
            multiply(Rows::new(p, n, n), v, RowsMut::strided(&mut context[head * d..], n, d, h), false);
        }
    }

    /// Turns `qkv` into its gradient; `d_context` `[n, h]` is that by the context.
    pub(crate) fn backward(&self, qkv: &mut [f32], d_context: &[f32], mask: Option<Mask>, scratch: &mut Scratch) {
        let (h, d) = (self.hidden, self.width());
        let n = d_context.len() / h;
        if n == 0 {
            return;
        }
        let [p, dp, masked] = scratch.squares.each_mut().map(|square| &mut square[..n * n]);
        for head in 0..self.heads {
            self.probabilities(qkv, head, n, p, &mut scratch.parts);
            let [q, k, turned, v] = scratch.parts.each_mut().map(|part| &mut part[..n * d]);
            self.gather(qkv, 2, head, v);
            transpose(v, d, turned, n);
            let dc = Rows::strided(&d_context[head * d..], n, d, h);
            multiply(dc, Rows::new(turned, d, n), RowsMut::new(dp, n, n), false);
            let kept: &[f32] = match mask {
                Some(mask) => {
                    masked.copy_from_slice(p);
                    mask.part(head).apply(masked);
                    mask.part(head).apply(dp);
                    masked
                }
                None => p,
            };
            let mut out = |which: usize, x: Rows, y: Rows, left: bool| {
                let out = RowsMut::strided(&mut qkv[which * h + head * d..], n, d, 3 * h);
                if left { multiply_left_transposed(x, y, out, false) } else { multiply(x, y, out, false) }
            };
            out(2, Rows::new(kept, n, n), dc, true);
            softmax_backward(p, dp, n, 1.0 / (d as f32).sqrt());
            out(0, Rows::new(dp, n, n), Rows::new(k, n, d), false);
            out(1, Rows::new(dp, n, n), Rows::new(q, n, d), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dropout::Masks;
    use super::*;
    use crate::train::tower::Dropout;

    #[test]
    fn backward_is_the_slope_of_forward_with_and_without_dropout() {
        let (n, heads) = (5, Heads { hidden: 6, heads: 2 });
        let noise = |i: usize| ((i * 7919) % 1009) as f32 / 400.0 - 1.2;
        let qkv: Vec<f32> = (0..n * 18).map(noise).collect();
        let weights: Vec<f32> = (0..n * 6).map(|i| noise(i + 500)).collect();
        let masks = Masks::new(Some(Dropout { seed: 1, first_text: 0 }), 0.3).unwrap();
        for mask in [None, Some(masks.at(0, 0))] {
            // Room for a longer text: what lies beyond must not be touched or read.
            let mut scratch = heads.scratch(n + 3);
            let mut loss = |qkv: &[f32]| {
                let mut context = vec![0.0; n * 6];
                heads.forward(qkv, &mut context, mask, &mut scratch);
                context.iter().zip(&weights).map(|(c, w)| f64::from(*c) * f64::from(*w)).sum::<f64>()
            };
            const STEP: f32 = 1e-2;
            let slopes: Vec<f64> = (0..qkv.len())
                .map(|i| {
                    let (mut up, mut down) = (qkv.clone(), qkv.clone());
                    up[i] += STEP;
                    down[i] -= STEP;
                    (loss(&up) - loss(&down)) / f64::from(up[i] - down[i])
                })
                .collect();
            let mut d = qkv.clone();
            heads.backward(&mut d, &weights, mask, &mut scratch);
            for (i, (slope, d)) in slopes.iter().zip(&d).enumerate() {
                // Rounding over the step, and the squared step times the third derivative.
                assert!((slope - f64::from(*d)).abs() < 2e-3, "{i}: {slope} by differences, {d} by formula");
            }
        }
    }
}

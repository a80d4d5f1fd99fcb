//! What happens to rows between the products of a transformer that is trained: forward with what the way back needs,
//! and the way back.
//!
//! Rows go in and gradients come out in buffers of the caller. `d` stands for a gradient of the loss; with `x̂` the
//! normalised row, `g` the gain, `m(·)` the mean of a row, `Φ` and `φ` the normal distribution and its density:
//!
//! ```text
//! y = gelu(u)             du = dy (Φ(u) + u φ(u))
//! P = softmax(S scale)    dS = scale P (dP - Σ P dP)               along a row
//! y = g x̂ + b             dx = (dy g - m(dy g) - x̂ m(dy g x̂)) / √(σ² + ε),   dg = Σ dy x̂,   db = Σ dy
//! ```
//!
//! ```
//! use parallax::kernel::matmul::rowwise::gradient::softmax_backward;
//! // P = (1/2, 1/2), loss = its first value: a step of one score moves half of a half.
//! let mut d = [1.0, 0.0];
//! softmax_backward(&[0.5, 0.5], &mut d, 2, 1.0);
//! assert_eq!(d, [0.25, -0.25]);
//! ```
//!
//! `Φ` comes from `erf(z) = 1 - (a₁t + … + a₅t⁵) e^(-z²)` with `t = 1 / (1 + pz)` for `z ≥ 0`, off by at most 1.5e-7: its
//! exponential is the density's too.
//!
//! Cost: one or two passes over rows that are in the cache.
//!
//! Source: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 1964, formula 7.1.26 (`erf`).

use super::{LANES, exp, mul_add, sum_of};

chosen_at_run_time! {
    /// `u = u + bias`, `out = gelu(u)` on rows as long as `bias`, which is not empty.
    pub gelu_keeping = gelu_keeping_plain(u: &mut [f32], bias: &[f32], out: &mut [f32])
}
chosen_at_run_time! {
    /// `d = d gelu'(u)`, and `u = gelu(u)`.
    pub gelu_backward = gelu_backward_plain(u: &mut [f32], d: &mut [f32])
}
chosen_at_run_time! {
    /// `d = scale · p (d - Σ p d)` on rows of `width` values.
    pub softmax_backward = softmax_backward_plain(p: &[f32], d: &mut [f32], width: usize, scale: f32)
}
chosen_at_run_time! {
    /// Layer normalisation that keeps the normalised rows: with rows `x = x + bias`, `normal = (x - μ) inverse`,
    /// `x = gain · normal + shift`; `inverse = 1 / √(σ² + ε)`, one a row. Rows are as long as `bias`.
    pub layer_norm_keeping = layer_norm_keeping_plain(x: &mut [f32], bias: &[f32], gain: &[f32], shift: &[f32], epsilon: f32, normal: &mut [f32], inverse: &mut [f32])
}
chosen_at_run_time! {
    /// `d`, the gradient by the output of a layer normalisation, becomes that by its input; `gain` and `shift`
    /// gradients are added to `d_gain` and `d_shift`.
    pub layer_norm_backward = layer_norm_backward_plain(d: &mut [f32], normal: &[f32], inverse: &[f32], gain: &[f32], d_gain: &mut [f32], d_shift: &mut [f32])
}
chosen_at_run_time! {
    /// `out = gain · normal + shift` on rows as long as `gain`.
    pub scale_and_shift = scale_and_shift_plain(normal: &[f32], gain: &[f32], shift: &[f32], out: &mut [f32])
}
chosen_at_run_time! {
    /// Adds each row, as long as `sums`, to `sums`.
    pub add_rows = add_rows_plain(x: &[f32], sums: &mut [f32])
}

/// The tail `1 - Φ(|x|)` of the normal distribution, and `e^(-x²/2)`.
#[inline(always)]
fn tail<const FMA: bool>(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const A: [f32; 4] = [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let t = 1.0 / mul_add::<FMA>(P, x.abs(), 1.0);
    let mut y = 1.061_405_4;
    for a in A {
        y = mul_add::<FMA>(y, t, a);
    }
    let bell = exp::<FMA>(-0.5 * x * x);
    (0.5 * y * t * bell, bell)
}

/// `x Φ(x)` of either sign from the tail.
#[inline(always)]
fn gelu_of(x: f32, tail: f32) -> f32 {
    if x < 0.0 { x * tail } else { x - x * tail }
}

#[inline(always)]
fn gelu_keeping_plain<const FMA: bool>(u: &mut [f32], bias: &[f32], out: &mut [f32]) {
    for (row, out) in u.chunks_exact_mut(bias.len()).zip(out.chunks_exact_mut(bias.len())) {
        for ((u, &bias), out) in row.iter_mut().zip(bias).zip(out) {
            *u += bias;
            *out = gelu_of(*u, tail::<FMA>(*u).0);
        }
    }
}

#[inline(always)]
fn gelu_backward_plain<const FMA: bool>(u: &mut [f32], d: &mut [f32]) {
    /// 1 / √(2π).
    const DENSITY: f32 = 0.398_942_3;
    for (u, d) in u.iter_mut().zip(d) {
        let x = *u;
        let (tail, bell) = tail::<FMA>(x);
        let below = if x < 0.0 { tail } else { 1.0 - tail };
        *d *= mul_add::<FMA>(x * DENSITY, bell, below);
        *u = gelu_of(x, tail);
    }
}

/// The inner product of two rows.
#[inline(always)]
fn product_of<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum = mul_add::<FMA>(a, b, *sum);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = mul_add::<FMA>(a, b, *sum);
    }
    sums.iter().sum()
}

#[inline(always)]
fn softmax_backward_plain<const FMA: bool>(p: &[f32], d: &mut [f32], width: usize, scale: f32) {
    for (p, d) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let mean = product_of::<FMA>(p, d);
        for (d, &p) in d.iter_mut().zip(p) {
            *d = scale * p * (*d - mean);
        }
    }
}

#[inline(always)]
fn layer_norm_keeping_plain<const FMA: bool>(
    x: &mut [f32],
    bias: &[f32],
    gain: &[f32],
    shift: &[f32],
    epsilon: f32,
    normal: &mut [f32],
    inverse: &mut [f32],
) {
    let (d, count) = (bias.len(), bias.len() as f32);
    for ((x, normal), inverse) in x.chunks_exact_mut(d).zip(normal.chunks_exact_mut(d)).zip(inverse) {
        x.iter_mut().zip(bias).for_each(|(x, &bias)| *x += bias);
        let mean = sum_of(x, |x| x) / count;
        let variance = sum_of(x, |x| (x - mean) * (x - mean)) / count;
        *inverse = 1.0 / (variance + epsilon).sqrt();
        for (((x, normal), &gain), &shift) in x.iter_mut().zip(normal).zip(gain).zip(shift) {
            *normal = (*x - mean) * *inverse;
            *x = mul_add::<FMA>(*normal, gain, shift);
        }
    }
}

#[inline(always)]
fn layer_norm_backward_plain<const FMA: bool>(
    d: &mut [f32],
    normal: &[f32],
    inverse: &[f32],
    gain: &[f32],
    d_gain: &mut [f32],
    d_shift: &mut [f32],
) {
    let (width, count) = (gain.len(), gain.len() as f32);
    for ((d, normal), &inverse) in d.chunks_exact_mut(width).zip(normal.chunks_exact(width)).zip(inverse) {
        for ((((d, &normal), &gain), d_gain), d_shift) in
            d.iter_mut().zip(normal).zip(gain).zip(d_gain.iter_mut()).zip(d_shift.iter_mut())
        {
            *d_gain = mul_add::<FMA>(*d, normal, *d_gain);
            *d_shift += *d;
            *d *= gain;
        }
        let mean = sum_of(d, |x| x) / count;
        let along = product_of::<FMA>(d, normal) / count;
        for (d, &normal) in d.iter_mut().zip(normal) {
            *d = inverse * (*d - mean - normal * along);
        }
    }
}

#[inline(always)]
fn scale_and_shift_plain<const FMA: bool>(normal: &[f32], gain: &[f32], shift: &[f32], out: &mut [f32]) {
    for (normal, out) in normal.chunks_exact(gain.len()).zip(out.chunks_exact_mut(gain.len())) {
        for (((out, &normal), &gain), &shift) in out.iter_mut().zip(normal).zip(gain).zip(shift) {
            *out = mul_add::<FMA>(normal, gain, shift);
        }
    }
}

#[inline(always)]
fn add_rows_plain<const FMA: bool>(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{gelu, layer_norm, softmax};
    use super::*;

    fn noise(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 250.0 - 2.0).collect()
    }

    /// `Σ weights · f(x)` moved along each value of `x` by central differences, against `d`.
    fn check(x: &[f32], weights: &[f32], d: &[f32], f: impl Fn(&mut [f32])) {
        let loss = |x: &[f32]| {
            let mut y = x.to_vec();
            f(&mut y);
            y.iter().zip(weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum::<f64>()
        };
        const STEP: f32 = 1e-2;
        for i in 0..x.len() {
            let (mut up, mut down) = (x.to_vec(), x.to_vec());
            up[i] += STEP;
            down[i] -= STEP;
            let slope = (loss(&up) - loss(&down)) / f64::from(up[i] - down[i]);
            // The third derivative times the squared step, and rounding over the step: both below 1e-3 here.
            assert!((slope - f64::from(d[i])).abs() < 2e-3, "value {i}: {slope} by differences, {} by formula", d[i]);
        }
    }

    #[test]
    fn gelu_backward_is_the_slope_of_gelu() {
        let (x, weights) = (noise(53, 1), noise(53, 2));
        let (mut u, mut d) = (x.clone(), weights.clone());
        gelu_backward(&mut u, &mut d);
        check(&x, &weights, &d, |y| y.iter_mut().for_each(|y| *y = gelu::<false>(*y)));
        let (mut kept, bias, mut out) = (x.clone(), noise(53, 3), vec![0.0; 53]);
        gelu_keeping(&mut kept, &bias, &mut out);
        for ((out, x), bias) in out.iter().zip(&x).zip(&bias) {
            // Two approximations of one function.
            assert!((out - gelu::<false>(x + bias)).abs() < 1e-6);
        }
        gelu_backward(&mut kept, &mut d);
        assert_eq!(kept, out);
    }

    #[test]
    fn softmax_backward_is_the_slope_of_softmax() {
        let (x, weights, width, scale) = (noise(3 * 21, 1), noise(3 * 21, 2), 21, 0.7);
        let (mut p, mut d) = (x.clone(), weights.clone());
        softmax(&mut p, width, scale);
        softmax_backward(&p, &mut d, width, scale);
        check(&x, &weights, &d, |y| softmax(y, width, scale));
    }

    #[test]
    fn layer_norm_backward_is_the_slope_of_layer_norm() {
        let (rows, width, epsilon) = (3, 19, 1e-3);
        let (x, weights) = (noise(rows * width, 1), noise(rows * width, 2));
        let (bias, gain, shift) = (noise(width, 3), noise(width, 4), noise(width, 5));
        let (mut y, mut normal, mut inverse) = (x.clone(), vec![0.0; rows * width], vec![0.0; rows]);
        layer_norm_keeping(&mut y, &bias, &gain, &shift, epsilon, &mut normal, &mut inverse);
        let mut want = x.clone();
        layer_norm(&mut want, &bias, &gain, &shift, epsilon);
        assert_eq!(y, want);
        scale_and_shift(&normal, &gain, &shift, &mut y);
        assert_eq!(y, want);
        let (mut d, mut d_gain, mut d_shift) = (weights.clone(), vec![0.0; width], vec![0.0; width]);
        layer_norm_backward(&mut d, &normal, &inverse, &gain, &mut d_gain, &mut d_shift);
        check(&x, &weights, &d, |y| layer_norm(y, &bias, &gain, &shift, epsilon));
        let whole = |gain: &[f32], shift: &[f32], y: &mut [f32]| {
            y.copy_from_slice(&x);
            layer_norm(y, &bias, gain, shift, epsilon);
        };
        for i in 0..width {
            let mut unit = vec![0.0; width];
            unit[i] = 1.0;
            // The output is linear in both, so its difference is its slope.
            let (mut with, mut without) = (x.clone(), x.clone());
            whole(&unit, &vec![0.0; width], &mut with);
            let slope: f32 = with.iter().zip(&weights).map(|(y, w)| y * w).sum();
            assert!((slope - d_gain[i]).abs() < 1e-4);
            whole(&vec![0.0; width], &unit, &mut without);
            let slope: f32 = without.iter().zip(&weights).map(|(y, w)| y * w).sum();
            assert!((slope - d_shift[i]).abs() < 1e-4);
        }
        let mut sums = vec![1.0; width];
        add_rows(&weights, &mut sums);
        assert!(sums.iter().zip(&d_shift).all(|(sum, d)| (sum - 1.0 - d).abs() < 1e-5));
    }
}

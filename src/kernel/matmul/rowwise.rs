//! What happens to rows between the products of a transformer: GELU, softmax, layer normalisation, each fused with
//! what stands before it so that a row is touched once.
//!
//! Rows of f32 are changed in place. With `d` the row length, `μ` the mean and `σ²` the variance of the row:
//!
//! ```text
//! gelu(x)    = x Φ(x) = x/2 · (1 + erf(x / √2))
//! softmax(x) = exp(x - max x) / Σ exp(x - max x)
//! norm(x)    = gain · (x - μ) / √(σ² + ε) + shift
//! ```
//!
//! `erf(z) = 1 - (a₁t + … + a₅t⁵) e^(-z²)` with `t = 1 / (1 + pz)` for `z ≥ 0`, off by at most 1.5e-7; `exp` splits
//! off powers of two and takes seven terms of the Taylor series of the rest. Each loop is compiled three times (as it
//! stands, for AVX2 with FMA, for AVX-512) and chosen at run time; the three agree to rounding.
//!
//! ```
//! use parallax::kernel::matmul::rowwise::{gelu, softmax};
//! let mut row = [0.0, 0.0];
//! softmax(&mut row, 2, 1.0);
//! assert_eq!(row, [0.5, 0.5]);
//!
//! let mut one = [1.0];
//! gelu(&mut one, &[0.0]);
//! assert!((one[0] - 0.841_345).abs() < 1e-6); // Φ(1), from the table of the normal distribution
//! ```
//!
//! Cost: one pass (GELU), two (softmax) or three over rows that are in the cache; 10 to 20 operations a value.
//!
//! Sources: D. Hendrycks, K. Gimpel, Gaussian Error Linear Units, 2016; J. Ba, J. Kiros, G. Hinton, Layer
//! Normalization, 2016; M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 1964, formula 7.1.26 (`erf`).
#![allow(unsafe_code)]

/// Compiles a row function for the processors worth telling apart and picks one at run time.
macro_rules! chosen_at_run_time {
    ($(#[$doc:meta])* $name:ident = $plain:ident($($arg:ident: $ty:ty),*)) => {
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $ty),*) {
                    $plain::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) {
                    $plain::<true>($($arg),*)
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor was just seen to have the feature, the function's only condition.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $plain::<false>($($arg),*)
        }
    };
}

pub mod gradient;

chosen_at_run_time! {
    /// `x = gelu(x + bias)` on rows as long as `bias`, which is not empty.
    gelu = gelu_plain(x: &mut [f32], bias: &[f32])
}
chosen_at_run_time! {
    /// `x = softmax(scale · x)` on rows of `width` values; `width` and `scale` positive.
    softmax = softmax_plain(x: &mut [f32], width: usize, scale: f32)
}
chosen_at_run_time! {
    /// `x = gain · (x + bias - μ) / √(σ² + ε) + shift` on rows as long as the three, which are not empty.
    layer_norm = layer_norm_plain(x: &mut [f32], bias: &[f32], gain: &[f32], shift: &[f32], epsilon: f32)
}

/// `a b + c`, in one rounding where the processor has the instruction (its emulation elsewhere is very slow).
#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` for `x ≤ 0`, relative error about 1e-7; 0 or below 1.3e-38 under -87. NaN stays NaN.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, so that n ln 2 is exact to f32 for the n that occur.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Written as comparisons, not as `max`, which would turn NaN into a number.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_LOW, mul_add::<FMA>(n, -LN2_HIGH, x));
    let mut y = 1.0 / 5040.0;
    for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = mul_add::<FMA>(y, r, inverse_factorial);
    }
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
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
fn gelu_plain<const FMA: bool>(x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_exact_mut(bias.len()) {
        for (value, &bias) in row.iter_mut().zip(bias) {
            let x = *value + bias;
            *value = gelu_of(x, tail::<FMA>(x).0);
        }
    }
}

/// Partial results kept apart so that a reduction needs no reordering to run in vector registers.
const LANES: usize = 16;

#[inline(always)]
fn softmax_plain<const FMA: bool>(x: &mut [f32], width: usize, scale: f32) {
    for row in x.chunks_exact_mut(width) {
        let (blocks, rest) = row.as_chunks::<LANES>();
        let mut most = [f32::NEG_INFINITY; LANES];
        for block in blocks {
            for (most, &x) in most.iter_mut().zip(block) {
                *most = if x > *most { x } else { *most };
            }
        }
        let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most });
        let mut sums = [0.0; LANES];
        let (blocks, rest) = row.as_chunks_mut::<LANES>();
        for block in blocks {
            for (sum, x) in sums.iter_mut().zip(block) {
                *x = exp::<FMA>((*x - most) * scale);
                *sum += *x;
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *x = exp::<FMA>((*x - most) * scale);
            *sum += *x;
        }
        let inverse = 1.0 / sums.iter().sum::<f32>();
        row.iter_mut().for_each(|x| *x *= inverse);
    }
}

/// The sum of `f(x)` over a row.
#[inline(always)]
fn sum_of(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in blocks {
        for (sum, &x) in sums.iter_mut().zip(block) {
            *sum += f(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f(x);
    }
    sums.iter().sum()
}

#[inline(always)]
fn layer_norm_plain<const FMA: bool>(x: &mut [f32], bias: &[f32], gain: &[f32], shift: &[f32], epsilon: f32) {
    let count = bias.len() as f32;
    for row in x.chunks_exact_mut(bias.len()) {
        for (x, &bias) in row.iter_mut().zip(bias) {
            *x += bias;
        }
        let mean = sum_of(row, |x| x) / count;
        // Two passes: the short formula Σx²/d - μ² loses digits where the mean is large.
        let variance = sum_of(row, |x| (x - mean) * (x - mean)) / count;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for ((x, &gain), &shift) in row.iter_mut().zip(gain).zip(shift) {
            *x = mul_add::<FMA>((*x - mean) * inverse, gain, shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Largest absolute difference.
    fn gap(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    proptest! {
        #[test]
        fn chosen_and_plain_agree(x in proptest::collection::vec(-20.0f32..20.0, 1..120), scale in 0.01f32..2.0) {
            let bias: Vec<f32> = (0..x.len()).map(|i| (i % 5) as f32 * 0.1).collect();
            let (mut a, mut b) = (x.clone(), x.clone());
            gelu(&mut a, &bias);
            gelu_plain::<false>(&mut b, &bias);
            prop_assert!(gap(&a, &b) < 1e-5);
            let (mut a, mut b) = (x.clone(), x.clone());
            softmax(&mut a, x.len(), scale);
            softmax_plain::<false>(&mut b, x.len(), scale);
            prop_assert!(gap(&a, &b) < 1e-5);
            let (mut a, mut b) = (x.clone(), x.clone());
            layer_norm(&mut a, &bias, &x, &bias, 1e-5);
            layer_norm_plain::<false>(&mut b, &bias, &x, &bias, 1e-5);
            prop_assert!(gap(&a, &b) < 1e-4); // gain up to 20
        }

        #[test]
        fn softmax_is_a_distribution_in_the_order_of_its_scores(x in proptest::collection::vec(-60.0f32..60.0, 2..70)) {
            let mut p = x.clone();
            softmax(&mut p, x.len(), 1.0);
            prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            for i in 1..x.len() {
                prop_assert!(x[i - 1] < x[i] || p[i - 1] >= p[i]);
            }
        }
    }

    #[test]
    fn exp_is_that_of_the_library() {
        for i in 0..8700 {
            let x = -(i as f32) / 100.0;
            for y in [exp::<false>(x), exp::<true>(x)] {
                assert!((y / x.exp() - 1.0).abs() < 4e-7, "e^{x}: {y} against {}", x.exp());
            }
        }
        assert!(exp::<false>(f32::NEG_INFINITY) < 1e-37 && exp::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_is_that_of_the_normal_distribution() {
        // x Φ(x) to nine digits, from Python's statistics.NormalDist().cdf.
        let table = [
            (-8.0, -4.884_981e-15),
            (-3.0, -0.004_049_694),
            (-1.0, -0.158_655_25),
            (-0.1, -0.046_017_216),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (2.0, 1.954_499_7),
            (6.0, 6.0),
        ];
        for (x, want) in table {
            let mut row = [x - 0.25];
            gelu(&mut row, &[0.25]);
            assert!((row[0] - want).abs() < 1e-6, "gelu({x}) = {} not {want}", row[0]);
        }
    }

    #[test]
    fn layer_norm_by_hand() {
        // (1, 3) + (0, 2) = (1, 5): mean 3, deviation 2, so (-1, 1); gain (1, 2), shift (0, 1).
        let mut row = [1.0, 3.0];
        layer_norm(&mut row, &[0.0, 2.0], &[1.0, 2.0], &[0.0, 1.0], 0.0);
        assert!(gap(&row, &[-1.0, 3.0]) < 1e-6);
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        let mut row = [0.0, f32::NAN, 1.0];
        softmax(&mut row, 3, 1.0);
        assert!(row.iter().all(|x| x.is_nan()));
        let mut row = [f32::INFINITY, 0.0];
        softmax(&mut row, 2, 1.0);
        assert!(row[0].is_nan());
    }
}

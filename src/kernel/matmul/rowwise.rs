//! What happens to rows between the products of a transformer: softmax, layer normalisation, GELU, each fused with
//! what stands before it so that a row is touched once.
//!
//! Rows of f32 are changed in place. With `d` the row length, `μ` the mean and `σ²` the variance of the row:
//!
//! ```text
//! softmax(x) = exp(x - max x) / Σ exp(x - max x)
//! norm(x)    = gain · (x - μ) / √(σ² + ε) + shift
//! gelu(x)    = x Φ(x) = x/2 · (1 + erf(x / √2))
//! ```
//!
//! `exp` splits off powers of two and takes seven terms of the Taylor series of the rest. `erf(x / √2)` is `x P(x²) / Q(x²)`
//! with polynomials of degree 5, fitted so that `gelu` is off by at most 2e-8 for `|x| ≤ 5.5`, beyond which it is 0 or
//! `x` to f32; their rounding is larger. Each loop is compiled three times (as it stands, for AVX2 with FMA, for AVX-512)
//! and chosen at run time; the three agree to rounding.
//!
//! ```
//! use parallax::kernel::matmul::rowwise::softmax;
//! let mut row = [0.0, 0.0];
//! softmax(&mut row, 2, 1.0);
//! assert_eq!(row, [0.5, 0.5]);
//! ```
//!
//! Cost: one pass (GELU), two (softmax) or three over rows that are in the cache; 10 to 20 operations a value.
//!
//! Sources: D. Hendrycks, K. Gimpel, Gaussian Error Linear Units, 2016; J. Ba, J. Kiros, G. Hinton, Layer
//! Normalization, 2016.
#![allow(unsafe_code)]

/// Compiles a row function for the processors worth telling apart and picks one at run time.
macro_rules! chosen_at_run_time {
    ($(#[$doc:meta])* $visibility:vis $name:ident = $plain:ident($($arg:ident: $ty:ty),*)) => {
        $(#[$doc])*
        $visibility fn $name($($arg: $ty),*) {
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

pub(in crate::kernel) use chosen_at_run_time;

pub mod gradient;

chosen_at_run_time! {
    /// `x = softmax(scale · x)` on rows of `width` values; `width` and `scale` positive.
    pub softmax = softmax_plain(x: &mut [f32], width: usize, scale: f32)
}
chosen_at_run_time! {
    /// The softmax of rows of `width` values before its division: `x = exp(scale · (x - max x))`, and each row's sum.
    pub exp_rows = exp_rows_plain(x: &mut [f32], width: usize, scale: f32, sums: &mut [f32])
}
chosen_at_run_time! {
    /// `x = gain · (x + bias - μ) / √(σ² + ε) + shift` on rows as long as the three, which are not empty.
    pub layer_norm = layer_norm_plain(x: &mut [f32], bias: &[f32], gain: &[f32], shift: &[f32], epsilon: f32)
}

chosen_at_run_time! {
    /// `sum += scale · row`, in two roundings everywhere.
    pub add_scaled = add_scaled_plain(sum: &mut [f32], scale: f32, row: &[f32])
}
chosen_at_run_time! {
    /// As [`add_scaled`], of a row of bytes.
    pub add_scaled_bytes = add_scaled_bytes_plain(sum: &mut [f32], scale: f32, row: &[i8])
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

/// `x Φ(x)`; absolute error below 2e-7 of `max(1, |x|)`. NaN stays NaN.
#[inline(always)]
pub(in crate::kernel) fn gelu<const FMA: bool>(x: f32) -> f32 {
    /// From here on `erf(x / √2)` is 1 to f32.
    const END: f32 = 5.5;
    // By reweighted least squares on 4,000 Chebyshev nodes of [0, 5.5], each error weighted with x²/2, what it does to gelu.
    const P: [f32; 5] = [1.306_143_7e-5, 3.657_212_4e-4, 9.523_267e-3, 7.028_522e-2, 7.978_84e-1];
    const Q: [f32; 5] = [7.861_081_4e-5, 1.962_449_9e-3, 2.939_885_3e-2, 2.547_530_5e-1, 1.0];
    // Written as comparisons, not as `clamp`, whose assertion would end the loop's vectors.
    let inner = if x > END { END } else { x };
    let inner = if inner < -END { -END } else { inner };
    let square = inner * inner;
    let (mut p, mut q) = (4.443_106_5e-8, 1.195_384_4e-6);
    for (a, b) in P.into_iter().zip(Q) {
        p = mul_add::<FMA>(p, square, a);
        q = mul_add::<FMA>(q, square, b);
    }
    let half = 0.5 * x;
    mul_add::<FMA>(half, inner * p / q, half)
}

/// Partial results kept apart so that a reduction needs no reordering to run in vector registers.
const LANES: usize = 16;

/// `x = exp(scale · (x - max x))`; returns the sum.
#[inline(always)]
fn exp_row<const FMA: bool>(row: &mut [f32], scale: f32) -> f32 {
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
    sums.iter().sum()
}

#[inline(always)]
fn softmax_plain<const FMA: bool>(x: &mut [f32], width: usize, scale: f32) {
    for row in x.chunks_exact_mut(width) {
        let inverse = 1.0 / exp_row::<FMA>(row, scale);
        row.iter_mut().for_each(|x| *x *= inverse);
    }
}

#[inline(always)]
fn exp_rows_plain<const FMA: bool>(x: &mut [f32], width: usize, scale: f32, sums: &mut [f32]) {
    for (row, sum) in x.chunks_exact_mut(width).zip(sums) {
        *sum = exp_row::<FMA>(row, scale);
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

#[inline(always)]
fn add_scaled_plain<const FMA: bool>(sum: &mut [f32], scale: f32, row: &[f32]) {
    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += scale * x);
}

#[inline(always)]
fn add_scaled_bytes_plain<const FMA: bool>(sum: &mut [f32], scale: f32, row: &[i8]) {
    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += scale * f32::from(*x));
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
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn chosen_and_plain_agree(x in proptest::collection::vec(-20.0f32..20.0, 1..120), scale in 0.01f32..2.0) {
            let bias: Vec<f32> = (0..x.len()).map(|i| (i % 5) as f32 * 0.1).collect();
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
                let want = f64::from(x).exp();
                assert!((f64::from(y) / want - 1.0).abs() < 4e-7, "e^{x}: {y} against {want}");
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
            for have in [gelu::<false>(x), gelu::<true>(x)] {
                assert!((have - want).abs() < 1e-6, "gelu({x}) = {have} not {want}");
            }
        }
        // A step between the fit and its ends would show as a jump.
        for i in -9000..9000 {
            let (low, high) = (gelu::<true>(i as f32 / 1000.0), gelu::<true>((i + 1) as f32 / 1000.0));
            assert!((high - low).abs() < 1.2e-3, "jumps at {i}");
        }
        assert!(gelu::<false>(f32::NAN).is_nan() && gelu::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn scaled_rows_add_up_to_the_same_bits_everywhere() {
        let bytes: Vec<i8> = (-50..83).collect();
        let row: Vec<f32> = bytes.iter().map(|x| f32::from(*x)).collect();
        let start: Vec<f32> = (0..133).map(|i| i as f32 / 7.0).collect();
        let (mut of_bytes, mut of_floats) = (start.clone(), start.clone());
        add_scaled_bytes(&mut of_bytes, 0.3, &bytes);
        add_scaled(&mut of_floats, 0.3, &row);
        let want: Vec<f32> = start.iter().zip(&row).map(|(a, x)| a + 0.3 * x).collect();
        assert_eq!((of_bytes, of_floats), (want.clone(), want));
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

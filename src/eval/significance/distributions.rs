//! The tails of Student's t and of the normal distribution.
//!
//! In flow a quantile and degrees of freedom, out flows a probability, or the other way round. Two-sided throughout: the
//! probability of a value at least so far from 0.
//!
//! Sources: Lentz, "Generating Bessel functions in Mie scattering calculations using continued fractions", 1976;
//! Lanczos, "A precision approximation of the gamma function", 1964; Laplace's continued fraction of the normal tail.

/// Probability of a t at least so far from 0, with `freedom` degrees of freedom.
pub(super) fn two_sided_t(t: f64, freedom: f64) -> f64 {
    incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The regularised incomplete beta function `I_x(a, b)`, by its continued fraction (modified Lentz's method).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast on this side; the other one follows by symmetry.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let nonzero = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let (mut c, mut d) = (1.0, 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            step = c * d;
            fraction *= step;
        }
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of Γ for `x > 0` (Lanczos with g = 7, nine terms; relative error about 10⁻¹⁵).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum: f64 = TERMS[0] + (1..9).map(|i| TERMS[i] / (x + i as f64)).sum::<f64>();
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// How far from 0 a t lies that is passed with a two-sided probability `0 < p < 1`: the inverse of [`two_sided_t`].
pub(super) fn t_quantile(p: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while two_sided_t(high, freedom) > p && high < 1e9 {
        high *= 2.0;
    }
    // The probability falls; each step halves where the quantile can be.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if two_sided_t(middle, freedom) > p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Probability of a standard normal value above `x ≥ 1`: φ(x) / (x + 1/(x + 2/(x + 3/(x + …)))).
pub(super) fn normal_tail(x: f64) -> f64 {
    let fraction = (1..=200).rev().fold(x, |fraction, k| x + f64::from(k) / fraction);
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt() / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_probabilities_of_t_are_those_of_tables() {
        // Of mpmath's betainc with 30 digits.
        for (t, freedom, p) in [
            (1.96, 10_569.0, 0.05002202728970213),
            (2.0, 10.0, 0.07338803477074037),
            (40.0, 3.0, 3.438068078915853e-5),
            (6.0, 200.0, 9.115120348810385e-9),
            (0.01, 7.0, 0.9923003176436218),
            (1.0, 1.0, 0.5),
        ] {
            let found = two_sided_t(t, freedom);
            assert!((found / p - 1.0).abs() < 1e-9, "t {t}, {freedom} degrees: {found} is not {p}");
            assert_eq!(found, two_sided_t(-t, freedom));
        }
        assert_eq!(two_sided_t(0.0, 5.0), 1.0);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        // Student's table, two-sided 5 % and 40 %.
        for (p, freedom, t) in [
            (0.05, 1.0, 12.7062),
            (0.05, 9.0, 2.26216),
            (0.05, 49.0, 2.00958),
            (0.4, 9.0, 0.88340),
            (0.05, 1e6, 1.95997),
        ] {
            assert!((t_quantile(p, freedom) - t).abs() < 1e-4, "{p} {freedom}: {}", t_quantile(p, freedom));
            assert!((two_sided_t(t_quantile(p, freedom), freedom) - p).abs() < 1e-9);
        }
        // Of the error function: Φ(−1), Φ(−1.96), Φ(−5).
        for (x, tail) in [(1.0, 0.158655253931457), (1.96, 0.024997895148220), (5.0, 2.866515718791939e-7)] {
            assert!((normal_tail(x) / tail - 1.0).abs() < 1e-9, "{x}: {}", normal_tail(x));
        }
    }
}

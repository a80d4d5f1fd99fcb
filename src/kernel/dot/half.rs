//! Inner products of an f32 query with rows stored as f16, by the widest instructions the processor has.
//!
//! In: a query `[d]` and rows of f16 bits (IEEE 754 binary16) `[n, d]`. Out: inner products in f32, dimensionless, higher is
//! nearer. An f16 has 11 significant bits: a stored value is off by at most 2⁻¹¹ of itself, half of 2⁻¹⁰.
//!
//! ```
//! use parallax::kernel::dot::half::{dot, narrow, widen};
//! let row: Vec<u16> = [0.5, -2.0, 0.1].into_iter().map(narrow).collect();
//! assert_eq!((widen(row[0]), widen(row[1])), (0.5, -2.0));
//! assert!((widen(row[2]) - 0.1).abs() < 0.1 / 2048.0);
//! assert_eq!(dot(&[4.0, 1.0, 0.0], &row), 0.0);
//! ```
//!
//! Cost: `d` multiply-adds and as many conversions, which hardware does sixteen at a time; half the bytes of f32.
#![allow(unsafe_code)]

use super::Scattered;
use crate::kernel::plain;
use std::sync::OnceLock;

/// The greatest value that an f16 has.
pub const MAX: f32 = 65504.0;

/// What one instruction set offers. The functions may only be called on a processor that has it.
struct Kernel {
    name: &'static str,
    dot: unsafe fn(&[f32], &[u16]) -> f32,
    dots_at: unsafe fn(&[f32], Scattered<'_, u16>, &mut Vec<f32>),
}

/// The kernels this processor can run, best first; the plain one always stands last.
fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use crate::kernel::x86;
        let detected = std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw");
        if detected && std::is_x86_feature_detected!("avx512vl") {
            kernels.push(Kernel { name: "avx512", dot: x86::dot_f16_avx512, dots_at: x86::dots_at_f16_avx512 });
        }
        let detected = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
        if detected && std::is_x86_feature_detected!("f16c") {
            kernels.push(Kernel { name: "avx2+f16c", dot: x86::dot_f16_avx2, dots_at: x86::dots_at_f16_avx2 });
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use crate::kernel::arm;
        kernels.push(Kernel { name: "neon", dot: arm::dot_f16_neon, dots_at: arm::dots_at_f16_neon });
    }
    kernels.push(Kernel {
        name: "plain",
        dot: plain::dot_f16,
        dots_at: |query, rows, out| rows.each(out, |row, _| plain::dot_f16(query, row)),
    });
    kernels
}

#[inline]
fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| available().swap_remove(0))
}

/// The instruction set in use: `avx512`, `avx2+f16c`, `neon` or `plain`.
pub fn name() -> &'static str {
    chosen().name
}

/// The nearest f16 of a value, as bits; of two equally near the even one. Beyond [`MAX`] (and half a step) infinite.
pub fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    if magnitude < f32::from_bits((127 - 14) << 23) {
        // Below the least normal f16 all steps are 2⁻²⁴: adding 2⁻¹, whose steps these are in f32, rounds to them.
        let rounded = (magnitude + 0.5).to_bits() - 0.5f32.to_bits();
        return sign | rounded as u16;
    }
    // The exponent is biased by 112 less; 13 bits of the fraction go, rounded half to even. A carry is what it should be.
    let bits = magnitude.to_bits() - (112 << 23);
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    sign | (rounded >> 13) as u16
}

/// The value of an f16's bits, exactly. Infinities and NaN, which no row of ours holds, become large finite numbers.
#[inline]
pub fn widen(bits: u16) -> f32 {
    plain::widen(bits)
}

/// The inner product of a query with a row of the same length. Panics when the lengths differ: a bug of the caller.
#[inline]
pub fn dot(query: &[f32], row: &[u16]) -> f32 {
    assert_eq!(query.len(), row.len(), "rows of different dimensions");
    // SAFETY: `available` lists a kernel only after its instructions were detected.
    unsafe { (chosen().dot)(query, row) }
}

/// The inner products of a query `[d]` with the rows of these numbers among `rows` `[n, d]`, in order, into `out`
/// (emptied first); the bits that [`dot`] gives. Panics for a row that is not there: a bug of the caller.
pub fn dots_at(query: &[f32], rows: &[u16], numbers: &[u32], out: &mut Vec<f32>) {
    let rows = Scattered { rows, dimension: query.len(), numbers };
    // SAFETY: `available` lists a kernel only after its instructions were detected.
    unsafe { (chosen().dots_at)(query, rows, out) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic alone, and much of it")]
    fn every_f16_is_itself_and_every_other_value_goes_to_the_nearest() {
        // Of two, by its bits: `exp2` may err.
        let power = |exponent: i32| f64::from_bits(((1023 + exponent) as u64) << 52);
        let finite: Vec<u16> = (0..0x7c00).collect();
        for bits in &finite {
            // The definition, in exact arithmetic: fraction × 2^(exponent - 25), with a hidden bit above exponent 0.
            let (exponent, fraction) = (i32::from(bits >> 10), i32::from(bits & 0x3ff));
            let value = match exponent {
                0 => f64::from(fraction) * power(-24),
                _ => f64::from(fraction + 1024) * power(exponent - 25),
            };
            assert_eq!(f64::from(widen(*bits)), value);
            assert_eq!(f64::from(widen(bits | 0x8000)), -value);
            assert_eq!((narrow(value as f32), narrow(-value as f32)), (*bits, bits | 0x8000));
        }
        for pair in finite.windows(2) {
            let (low, high) = (widen(pair[0]), widen(pair[1]));
            let middle = low + (high - low) / 2.0;
            let even = if pair[0] % 2 == 0 { pair[0] } else { pair[1] };
            assert_eq!(narrow(middle), even);
            assert_eq!((narrow(middle.next_down()), narrow(middle.next_up())), (pair[0], pair[1]));
        }
        assert_eq!((narrow(MAX), narrow(65520.0), narrow(-f32::INFINITY)), (0x7bff, 0x7c00, 0xfc00));
        assert!(narrow(f32::NAN) > 0x7c00);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn every_kernel_agrees_with_exact_arithmetic_one_by_one_and_scattered(
            pairs in prop::collection::vec((-3f32..3.0, -3f32..3.0), 0..300)
        ) {
            let (query, row): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let row: Vec<u16> = row.into_iter().map(narrow).collect();
            let products = || query.iter().zip(&row).map(|(x, y)| f64::from(*x) * f64::from(widen(*y)));
            let (exact, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
            for kernel in available() {
                // SAFETY: listed only when detected.
                let found = unsafe { (kernel.dot)(&query, &row) };
                // The tolerance of the f32 kernels, for their reason.
                prop_assert!((f64::from(found) - exact).abs() <= 1e-5 * size, "{}: {found} not {exact}", kernel.name);
                let rows = [row.clone(), vec![0; row.len()], row.clone()].concat();
                let mut many = Vec::new();
                let rows = Scattered { rows: &rows, dimension: row.len(), numbers: &[2, 1, 0] };
                // SAFETY: listed only when detected.
                unsafe { (kernel.dots_at)(&query, rows, &mut many) };
                prop_assert_eq!(many, [found, 0.0, found]);
            }
        }
    }

    #[test]
    fn every_place_of_a_row_counts_once() {
        // A single one at each place: a kernel that drops, repeats or shifts a value misses it.
        for d in 0..if cfg!(miri) { 40 } else { 200 } {
            let values: Vec<f32> = (0..d).map(|i| i as f32 + 1.0).collect();
            for place in 0..d {
                let mut unit = vec![0; d];
                unit[place] = narrow(1.0);
                for kernel in available() {
                    // SAFETY: listed only when detected.
                    assert_eq!(unsafe { (kernel.dot)(&values, &unit) }, values[place], "{} {d} {place}", kernel.name);
                }
            }
        }
    }
}

//! Inner products of rows stored in eight bits a component, by the widest instructions the processor has.
//!
//! In: rows of whole numbers from -127 to 127 with a scale each, `[n, d]` and `[n]`. Out: inner products in f32,
//! dimensionless, higher is nearer.
//!
//! A row's scale is its greatest component over 127, and each component is rounded to a multiple of it. A query is brought
//! to the same form, so that only whole numbers are multiplied:
//!
//! ```text
//! x ≈ s · i,   s = max |x| / 127,   i = round(x / s)          x·y ≈ s_x s_y Σ i_x i_y
//! ```
//!
//! The sum is exact, so every kernel gives the same bits, in whatever order it adds.
//!
//! ```
//! use parallax::kernel::dot::int8::{dot, quantise};
//! let mut row = [0i8; 3];
//! let scale = quantise(&[0.5, -1.27, 0.0], &mut row);
//! assert_eq!((row, scale), ([50, -127, 0], 0.01));
//! assert_eq!(dot(&row, &[2, 0, 1]), 100);
//! ```
//!
//! Cost: a quarter of the bytes of f32; `d` multiply-adds, 64 an instruction with AVX-512 VNNI.
#![allow(unsafe_code)]

use super::{Scattered, prefetch};
use crate::kernel::plain;
use std::sync::OnceLock;

/// The greatest dimension whose sums cannot overflow: `255 · 127 · d`, the most a kernel holds, stays below 2³¹.
pub const MAX_DIMENSION: usize = 1 << 16;

/// What one instruction set offers. The functions may only be called on a processor that has it.
struct Kernel {
    name: &'static str,
    dot: unsafe fn(&[i8], &[i8]) -> i32,
    dots_at: unsafe fn(&[i8], Scattered<'_, i8>, Scaled<'_>, &mut Vec<f32>),
}

/// The kernels this processor can run, best first; the plain one always stands last.
fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use crate::kernel::x86;
        let detected = std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw");
        if detected && std::is_x86_feature_detected!("avx512vnni") {
            kernels.push(Kernel { name: "avx512vnni", dot: x86::dot_i8_vnni, dots_at: x86::dots_at_i8_vnni });
        }
        if std::is_x86_feature_detected!("avx2") {
            kernels.push(Kernel { name: "avx2", dot: x86::dot_i8_avx2, dots_at: x86::dots_at_i8_avx2 });
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use crate::kernel::arm;
        kernels.push(Kernel { name: "neon", dot: arm::dot_i8_neon, dots_at: arm::dots_at_i8_neon });
    }
    kernels.push(Kernel {
        name: "plain",
        dot: plain::dot_i8,
        dots_at: |query, rows, scaled, out| {
            rows.each(out, |row, number| scaled.value(plain::dot_i8(query, row), number))
        },
    });
    kernels
}

#[inline]
fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| available().swap_remove(0))
}

/// The instruction set in use: `avx512vnni`, `avx2`, `neon` or `plain`.
pub fn name() -> &'static str {
    chosen().name
}

/// Rounds a row to eight bits a component and gives its scale. A row whose greatest component is below 1e-30 becomes zero.
/// Panics when the lengths differ: a bug of the caller.
pub fn quantise(row: &[f32], out: &mut [i8]) -> f32 {
    /// Adding and taking away 1.5 · 2²³, whose steps are 1, rounds to whole numbers, half to even, and needs no call.
    const WHOLE: f32 = 12_582_912.0;
    assert_eq!(row.len(), out.len(), "rows of different dimensions");
    let greatest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
    if greatest < 1e-30 {
        out.fill(0);
        return 0.0;
    }
    let steps = 127.0 / greatest;
    for (number, value) in out.iter_mut().zip(row) {
        *number = ((value * steps + WHOLE) - WHOLE) as i8;
    }
    greatest / 127.0
}

/// The exact inner product of two rows of the same length. Panics when the lengths differ, or are beyond
/// [`MAX_DIMENSION`]: a bug of the caller.
#[inline]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    assert!(a.len() == b.len() && a.len() <= MAX_DIMENSION, "rows of different dimensions, or of too many");
    // SAFETY: `available` lists a kernel only after its instructions were detected.
    unsafe { (chosen().dot)(a, b) }
}

/// A row in eight bits: `scale · values`.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Whole numbers, `[d]`.
    pub values: &'a [i8],
    /// What one of them means.
    pub scale: f32,
}

/// Rows in eight bits.
#[derive(Clone, Copy)]
pub struct RowSlice<'a> {
    /// Whole numbers, `[n, d]`.
    pub values: &'a [i8],
    /// What one of them means in each row, `[n]`.
    pub scales: &'a [f32],
}

/// The inner products of a query `[d]` with the rows of these numbers, in order, into `out` (emptied first).
/// Panics for a row that is not there, or more dimensions than [`MAX_DIMENSION`]: a bug of the caller.
pub fn dots_at(query: Row<'_>, rows: RowSlice<'_>, numbers: &[u32], out: &mut Vec<f32>) {
    assert!(query.values.len() <= MAX_DIMENSION, "rows of too many dimensions");
    for number in numbers {
        prefetch(std::slice::from_ref(&rows.scales[*number as usize]));
    }
    let scaled = Scaled { query: query.scale, rows: rows.scales };
    let rows = Scattered { rows: rows.values, dimension: query.values.len(), numbers };
    // SAFETY: `available` lists a kernel only after its instructions were detected.
    unsafe { (chosen().dots_at)(query.values, rows, scaled, out) }
}

/// The inner product of a query `[d]` with one of the rows; the bits that [`dots_at`] gives.
/// Panics for a row that is not there, or more dimensions than [`MAX_DIMENSION`]: a bug of the caller.
#[inline]
pub fn dot_at(query: Row<'_>, rows: RowSlice<'_>, number: u32) -> f32 {
    let d = query.values.len();
    let sum = dot(query.values, &rows.values[number as usize * d..][..d]);
    Scaled { query: query.scale, rows: rows.scales }.value(sum, number)
}

/// What whole sums mean.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Scaled<'a> {
    query: f32,
    rows: &'a [f32],
}

impl Scaled<'_> {
    /// The value of a sum of the query with this row; the same bits where query and row change places.
    #[inline(always)]
    pub(in crate::kernel) fn value(self, sum: i32, row: u32) -> f32 {
        sum as f32 * (self.query * self.rows[row as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        /// Every length up to several registers, and every value a byte can have: a damaged file may hold any.
        #[test]
        fn every_kernel_gives_the_same_sum_one_by_one_and_scattered(
            pairs in prop::collection::vec(any::<(i8, i8)>(), 0..300), scale in 0.1f32..2.0
        ) {
            let (a, b): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
            let exact: i64 = a.iter().zip(&b).map(|(x, y)| i64::from(*x) * i64::from(*y)).sum();
            let rows = [b.clone(), a.clone(), vec![0; a.len()], b.clone()].concat();
            let scales = [scale, 1.0, 1.0, 0.5];
            for kernel in available() {
                // SAFETY: listed only when detected.
                let (ab, ba) = unsafe { ((kernel.dot)(&a, &b), (kernel.dot)(&b, &a)) };
                prop_assert_eq!((i64::from(ab), i64::from(ba)), (exact, exact), "{} at {}", kernel.name, a.len());
                let mut out = Vec::new();
                let numbers = [3, 2, 0];
                let rows = Scattered { rows: &rows, dimension: a.len(), numbers: &numbers };
                // SAFETY: listed only when detected.
                unsafe { (kernel.dots_at)(&a, rows, Scaled { query: 2.0, rows: &scales }, &mut out) };
                let sum = exact as i32 as f32;
                prop_assert_eq!(&out, &[sum * (2.0 * 0.5), 0.0, sum * (2.0 * scale)], "{}", kernel.name);
            }
        }

        #[test]
        fn a_rounded_row_is_within_half_a_step(row in prop::collection::vec(-3f32..3.0, 1..200)) {
            let mut whole = vec![0; row.len()];
            let scale = quantise(&row, &mut whole);
            prop_assert_eq!(whole.iter().map(|i| i.unsigned_abs()).max(), Some(127));
            for (value, i) in row.iter().zip(&whole) {
                prop_assert!((value - scale * f32::from(*i)).abs() <= 0.5001 * scale, "{value} {i} {scale}");
            }
        }
    }

    #[test]
    fn the_longest_row_of_the_greatest_values_does_not_overflow() {
        for kernel in available() {
            for (a, b) in [(127, 127), (-127, 127), (127, -128), (-128, -128)] {
                let exact = i32::from(a) * i32::from(b) * MAX_DIMENSION as i32;
                let (a, b) = (vec![a; MAX_DIMENSION], vec![b; MAX_DIMENSION]);
                // SAFETY: listed only when detected.
                assert_eq!(unsafe { (kernel.dot)(&a, &b) }, exact, "{}", kernel.name);
            }
        }
    }

    #[test]
    fn rows_of_nothing_become_zero() {
        let mut whole = [1; 3];
        assert_eq!((quantise(&[0.0, -0.0, 1e-40], &mut whole), whole), (0.0, [0; 3]));
        assert_eq!(quantise(&[], &mut []), 0.0);
    }
}

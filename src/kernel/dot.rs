//! Inner products of rows, by the widest instructions the processor has: here of f32, and in [`half`] and [`int8`] of rows
//! stored in fewer bits.
//!
//! In: two rows, or a query and many rows, all `[d]`. Out: their inner products, dimensionless, higher is nearer.
//!
//! The processor is asked once; from then on [`dot`], [`dots`] and [`dots_at`] go through the same kernel, so a score
//! is the same bits whichever of them computed it. Kernels add in different orders: on another processor a score may
//! differ by rounding, about `1e-7 · Σ|aᵢ bᵢ|`. Every kernel gives `dot(a, b) == dot(b, a)`, bit for bit.
//!
//! ```
//! use parallax::kernel::dot::{dot, dots};
//! assert_eq!(dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
//! let rows = [1.0, 0.0, /* */ 0.0, 1.0, /* */ 0.5, 0.5];
//! let mut scores = [0.0; 3];
//! dots(&[3.0, 5.0], &rows, &mut scores);
//! assert_eq!(scores, [3.0, 5.0, 4.0]);
//! ```
//!
//! Cost: `d` multiply-adds; a scan is bound by memory beyond the caches.
#![allow(unsafe_code)]

pub mod half;
pub mod int8;

use super::plain;
use std::sync::OnceLock;

/// What one instruction set offers. The functions may only be called on a processor that has it.
struct Kernel {
    name: &'static str,
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    dots_at: unsafe fn(&[f32], Scattered<'_, f32>, &mut Vec<f32>),
}

/// The kernels this processor can run, best first; the plain one always stands last.
fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use super::x86;
        if std::is_x86_feature_detected!("avx512f") {
            kernels.push(Kernel { name: "avx512f", dot: x86::dot_avx512, dots_at: x86::dots_at_avx512 });
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            kernels.push(Kernel { name: "avx2+fma", dot: x86::dot_avx2, dots_at: x86::dots_at_avx2 });
        }
    }
    #[cfg(target_arch = "aarch64")]
    kernels.push(Kernel { name: "neon", dot: super::arm::dot_neon, dots_at: super::arm::dots_at_neon });
    kernels.push(Kernel {
        name: "plain",
        dot: plain::dot,
        dots_at: |query, rows, out| rows.each(out, |row, _| plain::dot(query, row)),
    });
    kernels
}

#[inline]
fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| available().swap_remove(0))
}

/// The instruction set in use: `avx512f`, `avx2+fma`, `neon` or `plain`.
pub fn name() -> &'static str {
    chosen().name
}

/// The inner product of two rows of the same length. Panics when the lengths differ: a bug of the caller.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "rows of different dimensions");
    // SAFETY: `available` lists a kernel only after its instructions were detected.
    unsafe { (chosen().dot)(a, b) }
}

/// The inner products of a query `[d]` with the rows `[out.len(), d]`, into `out`.
/// Panics when `rows` has another length: a bug of the caller.
pub fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) {
    assert_eq!(rows.len(), query.len() * out.len(), "rows of another dimension than the query");
    if query.is_empty() {
        return out.fill(0.0);
    }
    let kernel = chosen();
    for (score, row) in out.iter_mut().zip(rows.chunks_exact(query.len())) {
        // SAFETY: `available` lists a kernel only after its instructions were detected.
        *score = unsafe { (kernel.dot)(query, row) };
    }
}

/// The inner products of a query `[d]` with the rows of these numbers among `rows` `[n, d]`, in order, into `out`
/// (emptied first). Rows lie apart, so the next ones are asked for while one is computed.
/// Panics for a row that is not there: a bug of the caller.
pub fn dots_at(query: &[f32], rows: &[f32], numbers: &[u32], out: &mut Vec<f32>) {
    let rows = Scattered { rows, dimension: query.len(), numbers };
    // SAFETY: `available` lists a kernel only after its instructions were detected.
    unsafe { (chosen().dots_at)(query, rows, out) }
}

/// Rows that lie apart, in the order they are wanted.
#[derive(Clone, Copy)]
pub(super) struct Scattered<'a, T> {
    /// All rows there are, `[n, dimension]`.
    rows: &'a [T],
    dimension: usize,
    /// Which of them are wanted.
    numbers: &'a [u32],
}

impl<T> Scattered<'_, T> {
    /// What a function gives for each row and its number, into `out` (emptied first). Always inlined, so that the loop
    /// is compiled with the instructions of the kernel it stands in.
    #[inline(always)]
    pub(super) fn each(self, out: &mut Vec<f32>, score: impl Fn(&[T], u32) -> f32) {
        /// Rows asked for ahead, to hide a memory access behind their products (measured: 8 are a twelfth faster than
        /// 4, and 12 and 16 no faster).
        const AHEAD: usize = 8;
        let row = |number: u32| &self.rows[number as usize * self.dimension..][..self.dimension];
        out.clear();
        self.numbers.iter().take(AHEAD).for_each(|number| prefetch(row(*number)));
        for (i, number) in self.numbers.iter().enumerate() {
            if let Some(next) = self.numbers.get(i + AHEAD) {
                prefetch(row(*next));
            }
            out.push(score(row(*number), *number));
        }
    }
}

/// Asks the processor to bring a row near; a hint without any effect a program can see.
#[inline]
pub fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    super::x86::prefetch(row);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rounding of a sum of `n` products grows with the sum of their sizes; 1e-5 of it is a hundred times what f32
    /// gives here, and far below what any swapped or dropped value would cause.
    fn check(a: &[f32], b: &[f32]) {
        let exact: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let size: f64 = a.iter().zip(b).map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs()).sum();
        for kernel in available() {
            // SAFETY: listed only when detected.
            let (ab, ba) = unsafe { ((kernel.dot)(a, b), (kernel.dot)(b, a)) };
            assert!((f64::from(ab) - exact).abs() <= 1e-5 * size, "{} at {}: {ab} not {exact}", kernel.name, a.len());
            assert_eq!(ab.to_bits(), ba.to_bits(), "{} is not symmetric", kernel.name);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn every_kernel_agrees_with_exact_arithmetic(
            pairs in prop::collection::vec((-3f32..3.0, -3f32..3.0), 0..300)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            check(&a, &b);
        }

        #[test]
        fn one_many_and_scattered_give_the_same_bits(
            d in 1usize..90, n in 1usize..12, seed in prop::collection::vec(-1f32..1.0, 97)
        ) {
            let rows: Vec<f32> = (0..n * d).map(|i| seed[(i * 31) % 97]).collect();
            let query = &seed[..d];
            let mut block = vec![0.0; n];
            dots(query, &rows, &mut block);
            let numbers: Vec<u32> = (0..n as u32).rev().collect();
            let mut scattered = Vec::new();
            dots_at(query, &rows, &numbers, &mut scattered);
            for i in 0..n {
                let one = dot(query, &rows[i * d..(i + 1) * d]).to_bits();
                prop_assert_eq!(one, block[i].to_bits());
                prop_assert_eq!(one, scattered[n - 1 - i].to_bits());
            }
        }
    }

    #[test]
    fn every_place_of_a_row_counts_once() {
        // A single one at each place: a kernel that drops, repeats or shifts a value misses it.
        for d in 0..if cfg!(miri) { 40 } else { 200 } {
            let ones: Vec<f32> = (0..d).map(|i| i as f32 + 1.0).collect();
            for place in 0..d {
                let mut unit = vec![0.0; d];
                unit[place] = 1.0;
                for kernel in available() {
                    // SAFETY: listed only when detected.
                    assert_eq!(unsafe { (kernel.dot)(&ones, &unit) }, ones[place], "{} {d} {place}", kernel.name);
                }
            }
        }
    }

    #[test]
    fn unequal_lengths_do_not_pass() {
        assert!(std::panic::catch_unwind(|| dot(&[1.0], &[1.0, 2.0])).is_err());
    }
}

//! Products of row blocks: the part of a transformer's forward pass that takes the time.
//!
//! Rows of f32 go in and rows come out, in buffers of the caller; nothing is kept and no thread started, so a caller
//! gives each of its threads its own rows. The products a transformer needs are `X W`, `X W` added to what is
//! there, `Q Kᵀ`, and for gradients `Xᵀ Y`; rows may be blocks of columns of a wider matrix (one head of several), given by their stride.
//! The arithmetic is that of the `gemm` crate on one thread, which picks AVX-512, AVX2 or NEON at run time.
//! [`rowwise`] holds what happens to rows between products.
//!
//! ```
//! use parallax::kernel::matmul::{Rows, RowsMut, multiply, multiply_transposed};
//! let x = [1.0, 2.0, 3.0, 4.0]; // [2, 2]
//! let w = [1.0, 0.0, 1.0, 1.0]; // [2, 2]
//! let mut out = [0.0; 4];
//! multiply(Rows::new(&x, 2, 2), Rows::new(&w, 2, 2), RowsMut::new(&mut out, 2, 2), false);
//! assert_eq!(out, [3.0, 2.0, 7.0, 4.0]);
//! multiply_transposed(Rows::new(&x, 2, 2), Rows::new(&w, 2, 2), RowsMut::new(&mut out, 2, 2));
//! assert_eq!(out, [1.0, 3.0, 3.0, 7.0]);
//! ```
//!
//! Cost: `2 m k n` floating-point operations.
//!
//! Source: K. Goto, R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008 (the method `gemm` uses).
#![allow(unsafe_code)]

pub mod rowwise;

use gemm::Parallelism;

/// `rows` rows of `columns` values, a row every `stride` values of a slice.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

/// As [`Rows`], to be written.
pub struct RowsMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

/// `to = fromᵀ`: `from` is `[rows, columns]`, a row of `to` begins every `stride` values. Panics where they do not fit.
pub fn transpose(from: &[f32], columns: usize, to: &mut [f32], stride: usize) {
    /// Side of a tile whose rows and columns both stay in the first cache.
    const TILE: usize = 16;
    let rows = from.len() / columns;
    check_shape(to.len(), columns, rows, stride);
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            for c in column..columns.min(column + TILE) {
                let to = &mut to[c * stride + row..];
                for (to, r) in to.iter_mut().zip(row..rows.min(row + TILE)) {
                    *to = from[r * columns + c];
                }
            }
        }
    }
}

/// Panics when the last row would leave the slice or rows would overlap: a bug of the caller, never of its input.
fn check_shape(len: usize, rows: usize, columns: usize, stride: usize) {
    let end = rows.checked_sub(1).and_then(|last| last.checked_mul(stride)?.checked_add(columns));
    assert!(
        columns <= stride && end.unwrap_or(0) <= len,
        "[{rows}, {columns}] rows every {stride} do not fit {len} values"
    );
}

impl<'a> Rows<'a> {
    /// `rows * columns` values without gaps.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Rows::strided(values, rows, columns, columns)
    }

    /// Rows that begin every `stride` values: a block of columns of a wider matrix.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check_shape(values.len(), rows, columns, stride);
        Rows { values, rows, columns, stride }
    }
}

impl<'a> RowsMut<'a> {
    /// `rows * columns` values without gaps.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        RowsMut::strided(values, rows, columns, columns)
    }

    /// Rows that begin every `stride` values: a block of columns of a wider matrix.
    pub fn strided(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check_shape(values.len(), rows, columns, stride);
        RowsMut { values, rows, columns, stride }
    }
}

/// `out = x y`, or `out += x y` with `add`; shapes `[m, k]`, `[k, n]`, `[m, n]`. Panics when they do not meet.
pub fn multiply(x: Rows, y: Rows, out: RowsMut, add: bool) {
    assert_eq!((x.columns, x.rows, y.columns), (y.rows, out.rows, out.columns), "shapes of a product");
    product((x.values, x.stride as isize, 1), x.columns, (y.values, y.stride as isize, 1), out, add);
}

/// `out = x yᵀ`; shapes `[m, k]`, `[n, k]`, `[m, n]`. Panics when they do not meet.
pub fn multiply_transposed(x: Rows, y: Rows, out: RowsMut) {
    assert_eq!((x.columns, x.rows, y.rows), (y.columns, out.rows, out.columns), "shapes of a product");
    product((x.values, x.stride as isize, 1), x.columns, (y.values, 1, y.stride as isize), out, false);
}

/// `out = xᵀ y`, or `out += xᵀ y` with `add`; shapes `[k, m]`, `[k, n]`, `[m, n]`: a weight's gradient.
/// Panics when they do not meet.
pub fn multiply_left_transposed(x: Rows, y: Rows, out: RowsMut, add: bool) {
    assert_eq!((x.rows, x.columns, y.columns), (y.rows, out.rows, out.columns), "shapes of a product");
    product((x.values, 1, x.stride as isize), x.rows, (y.values, y.stride as isize, 1), out, add);
}

/// The one call into `gemm`: values, row stride and column stride of `[out.rows, k]` and of `[k, out.columns]`.
fn product(
    (x, x_rs, x_cs): (&[f32], isize, isize),
    k: usize,
    (y, y_rs, y_cs): (&[f32], isize, isize),
    out: RowsMut,
    add: bool,
) {
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    // SAFETY: `check_shape` proved for all three matrices that the last element their sizes and strides reach lies
    // in their slices; the callers above asserted that the sizes meet; `out` is borrowed mutably, so it overlaps
    // neither factor; with `add` unset `gemm` does not read `out`.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            k,
            out.values.as_mut_ptr(),
            1,
            out.stride as isize,
            add,
            x.as_ptr(),
            x_cs,
            x_rs,
            y.as_ptr(),
            y_cs,
            y_rs,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
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
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn products_equal_the_definition(m in 1..20usize, k in 1..40usize, n in 1..20usize, pad in 0..4usize, add: bool) {
            let noise = |i: usize, j: usize| ((i * 7919 + j * 104_729) % 211) as f32 / 211.0 - 0.5;
            let matrix = |rows, stride, seed| (0..rows * stride).map(|i| noise(i, seed)).collect::<Vec<f32>>();
            let (x, y, start) = (matrix(m, k + pad, 1), matrix(k, n + pad, 2), matrix(m, n + pad, 3));
            let mut want = start.clone();
            let mut transposed = vec![0.0; n * k];
            for i in 0..m {
                for j in 0..n {
                    let sum: f32 = (0..k).map(|l| x[i * (k + pad) + l] * y[l * (n + pad) + j]).sum();
                    want[i * (n + pad) + j] = if add { start[i * (n + pad) + j] + sum } else { sum };
                }
            }
            for l in 0..k {
                for j in 0..n {
                    transposed[j * k + l] = y[l * (n + pad) + j];
                }
            }
            let mut out = start.clone();
            let rows = Rows::strided(&x, m, k, k + pad);
            multiply(rows, Rows::strided(&y, k, n, n + pad), RowsMut::strided(&mut out, m, n, n + pad), add);
            // 40 terms of at most 1/4: 1e-5 is about 10 roundings of the sum; gaps between rows stay untouched.
            prop_assert!(gap(&out, &want) < 1e-5);
            let mut left = vec![0.0; k * m];
            for i in 0..m {
                for l in 0..k {
                    left[l * m + i] = x[i * (k + pad) + l];
                }
            }
            let mut out = start.clone();
            let y_rows = Rows::strided(&y, k, n, n + pad);
            multiply_left_transposed(Rows::new(&left, k, m), y_rows, RowsMut::strided(&mut out, m, n, n + pad), add);
            prop_assert!(gap(&out, &want) < 1e-5);
            let x = Rows::strided(&x, m, k, k + pad);
            if !add {
                let mut out = start.clone();
                multiply_transposed(x, Rows::new(&transposed, n, k), RowsMut::strided(&mut out, m, n, n + pad));
                prop_assert!(gap(&out, &want) < 1e-5);
            }
        }
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn a_view_past_its_slice_is_refused() {
        Rows::strided(&[0.0; 5], 2, 2, 4);
    }
}

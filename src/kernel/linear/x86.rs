//! Tiles for x86-64: AVX-512, AVX2, and their byte products. Nothing here is called before its feature was detected.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

use super::int8;
use super::{Job, Tile, WIDTH};
use std::arch::x86_64::*;

/// Calls the version of a function that is compiled for that number of rows.
macro_rules! for_count {
    ($count:expr, $name:ident $arguments:tt: $($n:literal)*) => {
        match $count {
            $($n => $name::<$n> $arguments,)*
            _ => {}
        }
    };
}

/// `tile = rows · panel`, 12 rows of two registers at once.
#[target_feature(enable = "avx512f")]
pub(super) fn tile_avx512(job: &Job<f32, f32>, tile: &mut Tile<f32>) {
    for_count!(job.count, rows_avx512(job, tile): 1 2 3 4 5 6 7 8 9 10 11 12);
}

#[target_feature(enable = "avx512f")]
fn rows_avx512<const R: usize>(job: &Job<f32, f32>, tile: &mut Tile<f32>) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (k, weights) in job.panel.as_chunks::<WIDTH>().0.iter().enumerate() {
        // SAFETY: `weights` has 32 values.
        let w = unsafe { [_mm512_loadu_ps(weights.as_ptr()), _mm512_loadu_ps(weights.as_ptr().add(16))] };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `r < R = count` and `k < depth`, since the panel has `depth * 32` values; `Job::new` checked that
            // `(count - 1) * stride + depth` values are there.
            let x = _mm512_set1_ps(unsafe { *job.rows.as_ptr().add(r * job.stride + k) });
            sums[0] = _mm512_fmadd_ps(x, w[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(x, w[1], sums[1]);
        }
    }
    for (row, sums) in tile.iter_mut().zip(&sums) {
        // SAFETY: a row of the tile has 32 values.
        unsafe {
            _mm512_storeu_ps(row.as_mut_ptr(), sums[0]);
            _mm512_storeu_ps(row.as_mut_ptr().add(16), sums[1]);
        }
    }
}

/// `tile = rows · panel`, 6 rows of two registers at once.
#[target_feature(enable = "avx2,fma")]
pub(super) fn tile_avx2(job: &Job<f32, f32>, tile: &mut Tile<f32>) {
    for first in (0..job.count).step_by(6) {
        for half in [0, WIDTH / 2] {
            for_count!((job.count - first).min(6), rows_avx2(job, first, half, tile): 1 2 3 4 5 6);
        }
    }
}

/// `R` rows from `first`, 16 columns from `half`, which is 0 or 16.
#[target_feature(enable = "avx2,fma")]
fn rows_avx2<const R: usize>(job: &Job<f32, f32>, first: usize, half: usize, tile: &mut Tile<f32>) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for (k, weights) in job.panel.as_chunks::<WIDTH>().0.iter().enumerate() {
        let weights = &weights[half..half + WIDTH / 2];
        // SAFETY: `weights` has 16 values.
        let w = unsafe { [_mm256_loadu_ps(weights.as_ptr()), _mm256_loadu_ps(weights.as_ptr().add(8))] };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `first + r < count` and `k < depth`: see `rows_avx512`.
            let x = _mm256_set1_ps(unsafe { *job.rows.as_ptr().add((first + r) * job.stride + k) });
            sums[0] = _mm256_fmadd_ps(x, w[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(x, w[1], sums[1]);
        }
    }
    for (row, sums) in tile[first..].iter_mut().zip(&sums) {
        let row = &mut row[half..half + WIDTH / 2];
        // SAFETY: `row` has 16 values.
        unsafe {
            _mm256_storeu_ps(row.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(row.as_mut_ptr().add(8), sums[1]);
        }
    }
}

/// Four bytes of a row as they lie. The caller sees to it that `at + 4` bytes are there.
///
/// # Safety
/// `rows` has at least `at + 4` bytes.
#[inline(always)]
unsafe fn group(rows: &[u8], at: usize) -> i32 {
    // SAFETY: the caller's promise; bytes need no alignment.
    unsafe { rows.as_ptr().add(at).cast::<i32>().read_unaligned() }
}

/// Exact sums of byte products, 12 rows of two registers at once.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn tile_avx512vnni(job: &int8::Job, tile: &mut Tile<i32>) {
    for_count!(job.shape.count, rows_avx512vnni(job, tile): 1 2 3 4 5 6 7 8 9 10 11 12);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn rows_avx512vnni<const R: usize>(job: &int8::Job, tile: &mut Tile<i32>) {
    let (job, begin) = (&job.shape, job.begin);
    // SAFETY: `begin` has 32 values.
    let begin = unsafe { [_mm512_loadu_epi32(begin.as_ptr()), _mm512_loadu_epi32(begin.as_ptr().add(16))] };
    let mut sums = [begin; R];
    for (k, weights) in job.panel.as_chunks::<{ 4 * WIDTH }>().0.iter().enumerate() {
        // SAFETY: `weights` has 128 bytes.
        let w = unsafe {
            [_mm512_loadu_si512(weights.as_ptr().cast()), _mm512_loadu_si512(weights.as_ptr().add(64).cast())]
        };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `r < R = count` and `4 k + 4 <= depth`, since the panel has `depth * 32` bytes; `Job::new` checked
            // that `(count - 1) * stride + depth` bytes are there.
            let x = _mm512_set1_epi32(unsafe { group(job.rows, r * job.stride + 4 * k) });
            sums[0] = _mm512_dpbusd_epi32(sums[0], x, w[0]);
            sums[1] = _mm512_dpbusd_epi32(sums[1], x, w[1]);
        }
    }
    for (row, sums) in tile.iter_mut().zip(&sums) {
        // SAFETY: a row of the tile has 32 values.
        unsafe {
            _mm512_storeu_epi32(row.as_mut_ptr(), sums[0]);
            _mm512_storeu_epi32(row.as_mut_ptr().add(16), sums[1]);
        }
    }
}

/// Exact sums of byte products, 6 rows of two registers at once.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn tile_avxvnni(job: &int8::Job, tile: &mut Tile<i32>) {
    for first in (0..job.shape.count).step_by(6) {
        for half in [0, WIDTH / 2] {
            for_count!((job.shape.count - first).min(6), rows_avxvnni(job, first, half, tile): 1 2 3 4 5 6);
        }
    }
}

/// `R` rows from `first`, 16 columns from `half`, which is 0 or 16.
#[target_feature(enable = "avx2,avxvnni")]
fn rows_avxvnni<const R: usize>(job: &int8::Job, first: usize, half: usize, tile: &mut Tile<i32>) {
    let (job, begin) = (&job.shape, &job.begin[half..half + WIDTH / 2]);
    // SAFETY: `begin` has 16 values.
    let begin =
        unsafe { [_mm256_loadu_si256(begin.as_ptr().cast()), _mm256_loadu_si256(begin.as_ptr().add(8).cast())] };
    let mut sums = [begin; R];
    for (k, weights) in job.panel.as_chunks::<{ 4 * WIDTH }>().0.iter().enumerate() {
        let w = load_half(weights, half);
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `first + r < count` and `4 k + 4 <= depth`: see `rows_avx512vnni`.
            let x = _mm256_set1_epi32(unsafe { group(job.rows, (first + r) * job.stride + 4 * k) });
            sums[0] = _mm256_dpbusd_avx_epi32(sums[0], x, w[0]);
            sums[1] = _mm256_dpbusd_avx_epi32(sums[1], x, w[1]);
        }
    }
    store_halves(&sums, first, half, tile);
}

/// Four rows of a panel, of its 16 columns from `half`, which is 0 or 16.
#[target_feature(enable = "avx2")]
fn load_half(weights: &[i8; 4 * WIDTH], half: usize) -> [__m256i; 2] {
    let weights = &weights[4 * half..4 * half + 2 * WIDTH];
    // SAFETY: `weights` has 64 bytes.
    unsafe { [_mm256_loadu_si256(weights.as_ptr().cast()), _mm256_loadu_si256(weights.as_ptr().add(32).cast())] }
}

/// Brings sums of 16 columns from `half` to their rows from `first`.
#[target_feature(enable = "avx2")]
fn store_halves<const R: usize>(sums: &[[__m256i; 2]; R], first: usize, half: usize, tile: &mut Tile<i32>) {
    for (row, sums) in tile[first..].iter_mut().zip(sums) {
        let row = &mut row[half..half + WIDTH / 2];
        // SAFETY: `row` has 16 values.
        unsafe {
            _mm256_storeu_si256(row.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(row.as_mut_ptr().add(8).cast(), sums[1]);
        }
    }
}

/// Exact sums of byte products, 4 rows of two registers at once.
#[target_feature(enable = "avx2")]
pub(super) fn tile_int8_avx2(job: &int8::Job, tile: &mut Tile<i32>) {
    for first in (0..job.shape.count).step_by(4) {
        for half in [0, WIDTH / 2] {
            for_count!((job.shape.count - first).min(4), rows_int8_avx2(&job.shape, first, half, tile): 1 2 3 4);
        }
    }
}

/// `R` rows from `first`, 16 columns from `half`, which is 0 or 16.
///
/// `maddubs` multiplies unsigned by signed bytes and adds two products in 16 bits, saturating. Taking the row's sign over
/// to the weight makes the row unsigned: `x w = |x| (sign(x) w)` with `|x| ≤ 128` and `|w| ≤ 127`, so two products are
/// at most `2 · 128 · 127 = 32,512` and never saturate.
#[target_feature(enable = "avx2")]
fn rows_int8_avx2<const R: usize>(job: &Job<u8, i8>, first: usize, half: usize, tile: &mut Tile<i32>) {
    let (ones, offset) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    for (k, weights) in job.panel.as_chunks::<{ 4 * WIDTH }>().0.iter().enumerate() {
        let w = load_half(weights, half);
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `first + r < count` and `4 k + 4 <= depth`: see `rows_avx512vnni`.
            let x = _mm256_set1_epi32(unsafe { group(job.rows, (first + r) * job.stride + 4 * k) });
            // Flipping the highest bit takes 128 off.
            let x = _mm256_xor_si256(x, offset);
            let size = _mm256_abs_epi8(x);
            for (sum, w) in sums.iter_mut().zip(w) {
                let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(w, x));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    store_halves(&sums, first, half, tile);
}

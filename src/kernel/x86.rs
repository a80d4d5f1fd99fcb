//! Inner products for x86-64: AVX-512 and AVX2. Nothing here is called before its features were detected.
//!
//! Each of them is there once more over many scattered rows, so that the loop is compiled with the same instructions and
//! no row costs a call.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

use super::dot::{Scattered, int8::Scaled};
use std::arch::x86_64::*;

/// Sum of `a[i] * b[i]` over the shorter length, sixteen at a time in four independent sums.
#[target_feature(enable = "avx512f")]
pub(super) fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<64>();
    let (b_blocks, b_rest) = b.as_chunks::<64>();
    let mut sums = [_mm512_setzero_ps(); 4];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 64 values and `16 * part + 16 <= 64`.
            let (x, y) =
                unsafe { (_mm512_loadu_ps(x.as_ptr().add(16 * part)), _mm512_loadu_ps(y.as_ptr().add(16 * part))) };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
    }
    for (x, y) in a_rest.chunks(16).zip(b_rest.chunks(16)) {
        let mask = (((1u32 << x.len().min(y.len())) - 1) & 0xffff) as u16;
        // SAFETY: the mask has one bit for each value both chunks hold; masked lanes are not read.
        let (x, y) = unsafe { (_mm512_maskz_loadu_ps(mask, x.as_ptr()), _mm512_maskz_loadu_ps(mask, y.as_ptr())) };
        sums[0] = _mm512_fmadd_ps(x, y, sums[0]);
    }
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])))
}

/// Sum of `a[i] * b[i]` over the shorter length, eight at a time in four independent sums.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<32>();
    let (b_blocks, b_rest) = b.as_chunks::<32>();
    let mut sums = [_mm256_setzero_ps(); 4];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 32 values and `8 * part + 8 <= 32`.
            let (x, y) =
                unsafe { (_mm256_loadu_ps(x.as_ptr().add(8 * part)), _mm256_loadu_ps(y.as_ptr().add(8 * part))) };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let mut lanes = [0f32; 8];
    // SAFETY: `lanes` has room for eight values.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
    lanes.iter().sum::<f32>() + super::plain::dot(a_rest, b_rest)
}

/// [`dot_avx512`] of a query with scattered rows.
#[target_feature(enable = "avx512f")]
pub(super) fn dots_at_avx512(query: &[f32], rows: Scattered<'_, f32>, out: &mut Vec<f32>) {
    rows.each(out, |row, _| dot_avx512(query, row));
}

/// [`dot_avx2`] of a query with scattered rows.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dots_at_avx2(query: &[f32], rows: Scattered<'_, f32>, out: &mut Vec<f32>) {
    rows.each(out, |row, _| dot_avx2(query, row));
}

/// Sum of `a[i] * b[i]` over the shorter length, `b` being the bits of f16 values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn dot_f16_avx512(a: &[f32], b: &[u16]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<64>();
    let (b_blocks, b_rest) = b.as_chunks::<64>();
    let mut sums = [_mm512_setzero_ps(); 4];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 64 values and `16 * part + 16 <= 64`.
            let (x, y) = unsafe {
                (_mm512_loadu_ps(x.as_ptr().add(16 * part)), _mm256_loadu_si256(y.as_ptr().add(16 * part).cast()))
            };
            *sum = _mm512_fmadd_ps(x, _mm512_cvtph_ps(y), *sum);
        }
    }
    for (x, y) in a_rest.chunks(16).zip(b_rest.chunks(16)) {
        let mask = (((1u32 << x.len().min(y.len())) - 1) & 0xffff) as u16;
        // SAFETY: the mask has one bit for each value both chunks hold; masked lanes are not read.
        let (x, y) = unsafe {
            (_mm512_maskz_loadu_ps(mask, x.as_ptr()), _mm256_maskz_loadu_epi16(mask, y.as_ptr().cast::<i16>()))
        };
        sums[0] = _mm512_fmadd_ps(x, _mm512_cvtph_ps(y), sums[0]);
    }
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])))
}

/// Sum of `a[i] * b[i]` over the shorter length, `b` being the bits of f16 values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dot_f16_avx2(a: &[f32], b: &[u16]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<32>();
    let (b_blocks, b_rest) = b.as_chunks::<32>();
    let mut sums = [_mm256_setzero_ps(); 4];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 32 values and `8 * part + 8 <= 32`.
            let (x, y) = unsafe {
                (_mm256_loadu_ps(x.as_ptr().add(8 * part)), _mm_loadu_si128(y.as_ptr().add(8 * part).cast()))
            };
            *sum = _mm256_fmadd_ps(x, _mm256_cvtph_ps(y), *sum);
        }
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let mut lanes = [0f32; 8];
    // SAFETY: `lanes` has room for eight values.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
    lanes.iter().sum::<f32>() + super::plain::dot_f16(a_rest, b_rest)
}

/// [`dot_f16_avx512`] of a query with scattered rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn dots_at_f16_avx512(query: &[f32], rows: Scattered<'_, u16>, out: &mut Vec<f32>) {
    rows.each(out, |row, _| dot_f16_avx512(query, row));
}

/// [`dot_f16_avx2`] of a query with scattered rows.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dots_at_f16_avx2(query: &[f32], rows: Scattered<'_, u16>, out: &mut Vec<f32>) {
    rows.each(out, |row, _| dot_f16_avx2(query, row));
}

/// Sum of `a[i] * (b[i] + 128)` over the shorter length, exactly. The instruction takes one factor without a sign; the
/// 128 makes it so, and flipping the topmost bit of `b[i]` adds it.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn biased_vnni(a: &[i8], b: &[i8]) -> i32 {
    let (a_blocks, a_rest) = a.as_chunks::<128>();
    let (b_blocks, b_rest) = b.as_chunks::<128>();
    let top = _mm512_set1_epi8(i8::MIN);
    let (mut even, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        // SAFETY: each block has the 128 bytes of two registers.
        let (x0, x1, y0, y1) = unsafe {
            (
                _mm512_loadu_si512(x.as_ptr().cast()),
                _mm512_loadu_si512(x.as_ptr().add(64).cast()),
                _mm512_loadu_si512(y.as_ptr().cast()),
                _mm512_loadu_si512(y.as_ptr().add(64).cast()),
            )
        };
        even = _mm512_dpbusd_epi32(even, _mm512_xor_si512(y0, top), x0);
        odd = _mm512_dpbusd_epi32(odd, _mm512_xor_si512(y1, top), x1);
    }
    for (x, y) in a_rest.chunks(64).zip(b_rest.chunks(64)) {
        let mask = u64::MAX >> (64 - x.len().min(y.len()));
        // SAFETY: the mask has one bit for each value both chunks hold; masked lanes are not read.
        let (x, y) = unsafe { (_mm512_maskz_loadu_epi8(mask, x.as_ptr()), _mm512_maskz_loadu_epi8(mask, y.as_ptr())) };
        even = _mm512_dpbusd_epi32(even, _mm512_xor_si512(y, top), x);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd))
}

/// What [`biased_vnni`] gives beyond the inner product: 128 times the sum of `a`.
fn bias(a: &[i8]) -> i32 {
    128 * a.iter().fold(0, |sum: i32, value| sum.wrapping_add(i32::from(*value)))
}

/// Sum of `a[i] * b[i]` over the shorter length, exactly.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dot_i8_vnni(a: &[i8], b: &[i8]) -> i32 {
    biased_vnni(a, b) - bias(&a[..a.len().min(b.len())])
}

/// [`dot_i8_vnni`] of a query with scattered rows, brought to scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn dots_at_i8_vnni(query: &[i8], rows: Scattered<'_, i8>, scaled: Scaled<'_>, out: &mut Vec<f32>) {
    let bias = bias(query);
    rows.each(out, |row, number| scaled.value(biased_vnni(query, row) - bias, number));
}

/// Sum of `a[i] * b[i]` over the shorter length, exactly: widened to 16 bits, whose products add in pairs to 32.
#[target_feature(enable = "avx2")]
pub(super) fn dot_i8_avx2(a: &[i8], b: &[i8]) -> i32 {
    let (a_blocks, a_rest) = a.as_chunks::<32>();
    let (b_blocks, b_rest) = b.as_chunks::<32>();
    let mut sums = [_mm256_setzero_si256(); 2];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 32 bytes and `16 * part + 16 <= 32`.
            let (x, y) = unsafe {
                (_mm_loadu_si128(x.as_ptr().add(16 * part).cast()), _mm_loadu_si128(y.as_ptr().add(16 * part).cast()))
            };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(x), _mm256_cvtepi8_epi16(y)));
        }
    }
    let mut lanes = [0i32; 8];
    // SAFETY: `lanes` has room for eight values.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), _mm256_add_epi32(sums[0], sums[1])) };
    lanes.iter().sum::<i32>() + super::plain::dot_i8(a_rest, b_rest)
}

/// [`dot_i8_avx2`] of a query with scattered rows, brought to scale.
#[target_feature(enable = "avx2")]
pub(super) fn dots_at_i8_avx2(query: &[i8], rows: Scattered<'_, i8>, scaled: Scaled<'_>, out: &mut Vec<f32>) {
    rows.each(out, |row, number| scaled.value(dot_i8_avx2(query, row), number));
}

/// Asks the processor to bring a row near: its first 2 KiB, whose lines are asked for one by one, since a row that is
/// read once is over before the processor's own prefetcher has seen where it goes (measured: half of a 1 KiB row asked
/// for costs a tenth of the search).
#[inline]
pub(super) fn prefetch<T>(row: &[T]) {
    const LINES: usize = 32;
    let lines = size_of_val(row).div_ceil(64).min(LINES);
    for line in 0..lines {
        // SAFETY: a prefetch reads nothing the program can see and never faults; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().cast::<i8>().wrapping_add(64 * line)) };
    }
}

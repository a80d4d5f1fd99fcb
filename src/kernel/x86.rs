//! Inner products for x86-64: AVX-512F, and AVX2 with FMA. Nothing here is called before its feature was detected.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

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

/// Asks the processor to bring a row's first bytes near; the rest follows by its own prefetcher.
#[inline]
pub(super) fn prefetch(row: &[f32]) {
    const LINES: usize = 8;
    for line in row.chunks(16).take(LINES) {
        // SAFETY: a prefetch reads nothing the program can see and never faults; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

//! Inner products for AArch64, whose NEON every such processor has.
#![cfg(target_arch = "aarch64")]
#![allow(unsafe_code)]

use super::dot::{Scattered, int8::Scaled};
use std::arch::aarch64::*;

/// Sum of `a[i] * b[i]` over the shorter length, four at a time in four independent sums.
#[target_feature(enable = "neon")]
pub(super) fn dot_neon(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<16>();
    let (b_blocks, b_rest) = b.as_chunks::<16>();
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 16 values and `4 * part + 4 <= 16`.
            let (x, y) = unsafe { (vld1q_f32(x.as_ptr().add(4 * part)), vld1q_f32(y.as_ptr().add(4 * part))) };
            *sum = vfmaq_f32(*sum, x, y);
        }
    }
    let sum = vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3]));
    vaddvq_f32(sum) + super::plain::dot(a_rest, b_rest)
}

/// [`dot_neon`] of a query with scattered rows.
#[target_feature(enable = "neon")]
pub(super) fn dots_at_neon(query: &[f32], rows: Scattered<'_, f32>, out: &mut Vec<f32>) {
    rows.each(out, |row, _| dot_neon(query, row));
}

/// Sum of `a[i] * b[i]` over the shorter length, `b` being the bits of f16 values, widened as `plain::widen` does.
#[target_feature(enable = "neon")]
pub(super) fn dot_f16_neon(a: &[f32], b: &[u16]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<16>();
    let (b_blocks, b_rest) = b.as_chunks::<16>();
    let mut sums = [vdupq_n_f32(0.0); 4];
    let lift = vdupq_n_f32(f32::from_bits((127 + 112) << 23));
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (part, sum) in sums.iter_mut().enumerate() {
            // SAFETY: each block has 16 values and `4 * part + 4 <= 16`.
            let (x, y) = unsafe { (vld1q_f32(x.as_ptr().add(4 * part)), vld1_u16(y.as_ptr().add(4 * part))) };
            let bits = vmovl_u16(y);
            let magnitude = vshlq_n_u32::<13>(vandq_u32(bits, vdupq_n_u32(0x7fff)));
            let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
            let magnitude = vmulq_f32(vreinterpretq_f32_u32(magnitude), lift);
            *sum = vfmaq_f32(*sum, x, vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(magnitude), sign)));
        }
    }
    let sum = vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3]));
    vaddvq_f32(sum) + super::plain::dot_f16(a_rest, b_rest)
}

/// [`dot_f16_neon`] of a query with scattered rows.
#[target_feature(enable = "neon")]
pub(super) fn dots_at_f16_neon(query: &[f32], rows: Scattered<'_, u16>, out: &mut Vec<f32>) {
    rows.each(out, |row, _| dot_f16_neon(query, row));
}

/// Sum of `a[i] * b[i]` over the shorter length, exactly: products of 16 bits, which add in pairs to 32.
#[target_feature(enable = "neon")]
pub(super) fn dot_i8_neon(a: &[i8], b: &[i8]) -> i32 {
    let (a_blocks, a_rest) = a.as_chunks::<16>();
    let (b_blocks, b_rest) = b.as_chunks::<16>();
    let mut sums = [vdupq_n_s32(0); 2];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        // SAFETY: each block has the 16 bytes of a register.
        let (x, y) = unsafe { (vld1q_s8(x.as_ptr()), vld1q_s8(y.as_ptr())) };
        sums[0] = vpadalq_s16(sums[0], vmull_s8(vget_low_s8(x), vget_low_s8(y)));
        sums[1] = vpadalq_s16(sums[1], vmull_high_s8(x, y));
    }
    vaddvq_s32(vaddq_s32(sums[0], sums[1])) + super::plain::dot_i8(a_rest, b_rest)
}

/// [`dot_i8_neon`] of a query with scattered rows, brought to scale.
#[target_feature(enable = "neon")]
pub(super) fn dots_at_i8_neon(query: &[i8], rows: Scattered<'_, i8>, scaled: Scaled<'_>, out: &mut Vec<f32>) {
    rows.each(out, |row, number| scaled.value(dot_i8_neon(query, row), number));
}

//! The inner product for AArch64, whose NEON every such processor has.
#![cfg(target_arch = "aarch64")]
#![allow(unsafe_code)]

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

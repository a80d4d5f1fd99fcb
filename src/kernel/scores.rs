//! The greatest score of each block of scores, by the widest instructions the processor has.
//!
//! In: scores, not NaN. Out: one number a block of [`BLOCK`], the last block may be shorter; 0 where none is above 0.
//! Whoever looks for the best of many scores need not look into a block whose greatest is too small.
//!
//! ```
//! use parallax::kernel::scores::block_maxima;
//! let mut scores = [0.5; 70];
//! (scores[9], scores[69]) = (2.0, 3.0);
//! let mut maxima = Vec::new();
//! block_maxima(&scores, &mut maxima);
//! assert_eq!(maxima, [2.0, 3.0]);
//! ```
//!
//! Cost: one reading of the scores, 4 (plain), 8 (AVX2) or 16 (AVX-512) at a time. All give the same bits.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::array;

/// Scores in a block.
pub const BLOCK: usize = 64;

/// The greatest of each block's scores, or 0, into `maxima` (emptied first).
pub fn block_maxima(scores: &[f32], maxima: &mut Vec<f32>) {
    let (blocks, rest) = scores.as_chunks::<BLOCK>();
    maxima.clear();
    maxima.resize(blocks.len(), 0.0);
    whole_blocks(blocks, maxima);
    if !rest.is_empty() {
        let mut last = [0.0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        maxima.push(greatest(&last));
    }
}

fn whole_blocks(blocks: &[[f32; BLOCK]], maxima: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the instructions were detected.
            return unsafe { avx512(blocks, maxima) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions were detected.
            return unsafe { avx2(blocks, maxima) };
        }
    }
    plain(blocks, maxima);
}

fn plain(blocks: &[[f32; BLOCK]], maxima: &mut [f32]) {
    for (most, block) in maxima.iter_mut().zip(blocks) {
        *most = greatest(block);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(blocks: &[[f32; BLOCK]], maxima: &mut [f32]) {
    for (most, block) in maxima.iter_mut().zip(blocks) {
        let at = block.as_ptr();
        // SAFETY: a block has 64 values, these are 0..16, 16..32, 32..48 and 48..64.
        let (a, b, c, d) = unsafe {
            (_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16)), _mm512_loadu_ps(at.add(32)), _mm512_loadu_ps(at.add(48)))
        };
        *most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d))).max(0.0);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(blocks: &[[f32; BLOCK]], maxima: &mut [f32]) {
    for (most, block) in maxima.iter_mut().zip(blocks) {
        let at = block.as_ptr();
        // SAFETY: a block has 64 values; each load takes eight, the last those from 56 on.
        let mut eight = unsafe { _mm256_loadu_ps(at) };
        for i in 1..8 {
            // SAFETY: as above.
            eight = _mm256_max_ps(eight, unsafe { _mm256_loadu_ps(at.add(8 * i)) });
        }
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        *most = _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two))).max(0.0);
    }
}

/// By halves, so that the compiler compares many at once.
#[inline(always)]
fn greatest(block: &[f32; BLOCK]) -> f32 {
    let more = |a: f32, b: f32| if a > b { a } else { b };
    let most: [f32; 32] = array::from_fn(|i| more(block[i], block[i + 32]));
    let most: [f32; 16] = array::from_fn(|i| more(most[i], most[i + 16]));
    let most: [f32; 8] = array::from_fn(|i| more(most[i], most[i + 8]));
    let most: [f32; 4] = array::from_fn(|i| more(most[i], most[i + 4]));
    more(more(more(most[0], most[1]), more(most[2], most[3])), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn every_kernel_finds_the_greatest_of_each_block(scores in prop::collection::vec(-2f32..9.0, 0..400)) {
            let most = |block: &[f32]| block.iter().copied().fold(0.0, f32::max);
            let expected: Vec<f32> = scores.chunks(BLOCK).map(most).collect();
            let mut found = vec![7.0];
            block_maxima(&scores, &mut found);
            prop_assert_eq!(&found, &expected);
            let (blocks, _) = scores.as_chunks::<BLOCK>();
            found.truncate(blocks.len());
            let mut check = |kernel: &dyn Fn(&mut [f32])| {
                found.fill(7.0);
                kernel(&mut found);
                prop_assert_eq!(&found[..], &expected[..blocks.len()]);
                Ok(())
            };
            check(&|found| plain(blocks, found))?;
            #[cfg(target_arch = "x86_64")]
            if std::is_x86_feature_detected!("avx2") {
                // SAFETY: the instructions were detected.
                check(&|found| unsafe { avx2(blocks, found) })?;
            }
        }
    }
}

//! The inner products in plain Rust: what every other kernel is tested against, and what runs where none applies.

const LANES: usize = 16;

/// Sum of `a[i] * b[i]`; the slices have the same length.
///
/// Sixteen running sums, so that the compiler may use whatever vectors the target has without reordering additions.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    halve(sums) + rest
}

/// Sum of `a[i] * b[i]`, `b` being the bits of f16 values; the slices have the same length.
pub(super) fn dot_f16(a: &[f32], b: &[u16]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * widen(y[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * widen(*y)).sum();
    halve(sums) + rest
}

/// Sum of `a[i] * b[i]`, exactly; the slices have the same length, at most 2¹⁶.
pub(super) fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    // A product is at most 2¹⁴, so the sum is at most 2³⁰; an addition that looks for overflow could not be vectorised.
    a.iter().zip(b).fold(0, |sum: i32, (x, y)| sum.wrapping_add(i32::from(*x) * i32::from(*y)))
}

/// The value of an f16's bits, exactly; infinities and NaN, which no file of ours holds, become large finite numbers.
///
/// The exponent of an f16 is biased by 15 and that of an f32 by 127: put into an f32's places the bits mean 2¹¹² too
/// little, subnormal values included.
#[inline]
pub(super) fn widen(bits: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// The sum of all lanes, halves first.
fn halve(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

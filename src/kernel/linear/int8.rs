//! The same products in whole numbers of eight bits: four times the values an instruction, at a small loss of precision.
//!
//! Weights are quantised once, with a scale an output; rows when they come, with a scale a row, so a row's numbers
//! depend on no other row. With `⌊ ⌉` rounding to the nearest (even where two are):
//!
//! ```text
//! s_r = max_k |x_rk| / 127     q_rk = ⌊x_rk / s_r⌉     x_rk ≈ s_r q_rk
//! s_c = max_k |w_kc| / 127     v_kc = ⌊w_kc / s_c⌉     w_kc ≈ s_c v_kc
//! y_rc ≈ s_r s_c Σ_k q_rk v_kc
//! ```
//!
//! The sum is exact in i32, so every kernel gives the same bits: AVX-512 VNNI, AVX-VNNI, AVX2, NEON and the plain one.
//! Scaling is done once, by the same operations in the same order everywhere, without fused ones. A row
//! whose largest value is not finite comes out as NaN; one without any value above 1e-30 counts as zero.
//!
//! Panels are those of [`linear`](super) with four consecutive `k` of a column side by side, `[outputs / 32,
//! inputs / 4, 32, 4]`; rows are kept as bytes `q + 128`, because the dot-product instructions multiply unsigned bytes by signed
//! ones. What that adds, `128 Σ v`, is known beforehand and taken off where a sum begins.
//!
//! ```
//! use parallax::kernel::linear::{Then, int8::{Panels, QuantisedRows}};
//! let panels = Panels::pack(&[1.0, 0.0, /* */ 1.0, 1.0], 2); // two outputs of two inputs: v is 127 0, 127 127
//! let mut rows = QuantisedRows::default();
//! rows.fill(&[1.0, 2.0], 2); // s is 2/127, q is 64 127: 1 / (2/127) is 63.5, and 64 is even
//! let mut out = [0.0; 2];
//! panels.product(&rows, &mut out, Then::Bias(&[0.0, 0.0]));
//! assert!((out[0] - 64.0 * 2.0 / 127.0).abs() < 1e-6 && (out[1] - 191.0 * 2.0 / 127.0).abs() < 1e-6);
//! ```
//!
//! Cost: `m k n` multiply-adds, 64 an instruction with AVX-512 VNNI; two passes over the rows to quantise them.
//!
//! Source: B. Jacob and others, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
//! Inference, 2018.
#![allow(unsafe_code)]

use super::super::matmul::rowwise::chosen_at_run_time;
use super::{Finish, HEIGHT, Place, Then, Tile, WIDTH, each, gelu, plain};
use std::sync::OnceLock;

/// Values multiplied and summed by one step of a kernel.
const GROUP: usize = 4;
/// More inputs could carry a sum of `255 · 127` each past 31 bits.
const MOST_INPUTS: usize = 65_536;
/// Rows below this are taken for zero: their inverse scale would not be finite.
const TINY: f32 = 1e-30;

/// As [`super::Job`]; `depth` is a multiple of [`GROUP`].
pub(super) struct Job<'a> {
    pub(super) shape: super::Job<'a, u8, i8>,
    /// `-128 Σ v` a column: where a sum begins that takes rows for what they are stored as.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86 multiplies unsigned bytes"))]
    pub(super) begin: &'a [i32; WIDTH],
}

/// What one instruction set offers. The function may only be called on a processor that has it.
#[derive(Clone, Copy)]
struct Kernel {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests name the kernel that failed"))]
    name: &'static str,
    /// Writes the first `count` rows of the tile: `Σ (row - 128) · panel`, exactly.
    tile: unsafe fn(&Job, &mut Tile<i32>),
}

/// The kernels this processor can run, best first; the plain one always stands last, alone under an interpreter.
fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use super::x86;
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vnni") {
            kernels.push(Kernel { name: "avx512vnni", tile: x86::tile_avx512vnni });
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("avxvnni") {
            kernels.push(Kernel { name: "avxvnni", tile: x86::tile_avxvnni });
        }
        if std::is_x86_feature_detected!("avx2") {
            kernels.push(Kernel { name: "avx2", tile: x86::tile_int8_avx2 });
        }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    kernels.push(Kernel { name: "neon", tile: super::arm::tile_int8_neon });
    kernels.push(Kernel { name: "plain", tile: plain::tile_int8 });
    kernels
}

fn chosen() -> Kernel {
    static CHOSEN: OnceLock<Kernel> = OnceLock::new();
    *CHOSEN.get_or_init(|| available().swap_remove(0))
}

/// Rows of f32 as bytes with a scale each; its memory serves one block of rows after the other.
#[derive(Default)]
pub struct QuantisedRows {
    /// `[rows, depth]` of `q + 128`; what fills up a row meets weights that are zero.
    values: Vec<u8>,
    scales: Vec<f32>,
    inputs: usize,
}

impl QuantisedRows {
    /// Takes rows `[m, inputs]`. Panics where the length is no multiple of `inputs`, which is positive: a bug of the
    /// caller.
    pub fn fill(&mut self, x: &[f32], inputs: usize) {
        assert!(inputs > 0 && x.len().is_multiple_of(inputs), "rows of {inputs} inputs");
        let rows = x.len() / inputs;
        self.inputs = inputs;
        self.scales.resize(rows, 0.0);
        self.values.resize(rows * inputs.next_multiple_of(GROUP), 128);
        quantise(x, inputs, &mut self.values, &mut self.scales);
    }
}

chosen_at_run_time! {
    /// Rows `x` `[m, width]` to bytes `[m, width filled up to groups]` and `m` scales.
    quantise = quantise_plain(x: &[f32], width: usize, values: &mut [u8], scales: &mut [f32])
}
chosen_at_run_time! {
    /// Scales a tile by its rows' and its columns' scales and brings it to its place.
    store = store_plain(tile: &[[i32; WIDTH]], rows: &[f32], columns: &[f32; WIDTH], finish: &Finish, place: Place<'_>)
}

#[inline(always)]
fn quantise_plain<const FMA: bool>(x: &[f32], width: usize, values: &mut [u8], scales: &mut [f32]) {
    /// Adding 1.5 · 2^23 rounds to an integer, whose low bits are then the low bits of the sum; 128 more, the offset.
    const ROUND: f32 = 12_582_912.0 + 128.0;
    let depth = width.next_multiple_of(GROUP);
    for ((row, values), scale) in x.chunks_exact(width).zip(values.chunks_exact_mut(depth)).zip(scales) {
        // Bits of non-negative numbers are ordered as they are, and infinity and NaN come last.
        let most = f32::from_bits(row.iter().fold(0, |most, x| most.max(x.abs().to_bits())));
        let inverse = if most > TINY { 127.0 / most } else { 0.0 };
        *scale = match most {
            most if !most.is_finite() => f32::NAN,
            most if most > TINY => most / 127.0,
            _ => 0.0,
        };
        for (value, x) in values.iter_mut().zip(row) {
            *value = (x * inverse + ROUND).to_bits() as u8;
        }
    }
}

#[inline(always)]
fn store_plain<const FMA: bool>(
    tile: &[[i32; WIDTH]],
    rows: &[f32],
    columns: &[f32; WIDTH],
    finish: &Finish,
    place: Place<'_>,
) {
    let scaled = |r: usize| {
        let (sums, row) = (&tile[r], rows[r]);
        move |c: usize| sums[c] as f32 * row * columns[c]
    };
    match finish {
        Finish::Bias(bias) => place.write(tile.len(), |r, _| each(|c| scaled(r)(c) + bias[c])),
        Finish::Gelu(bias) => place.write(tile.len(), |r, _| each(|c| gelu::<FMA>(scaled(r)(c) + bias[c]))),
        Finish::Add => place.write(tile.len(), |r, there| each(|c| there[c] + scaled(r)(c))),
    }
}

/// A panel's numbers besides its weights.
struct Column {
    scales: [f32; WIDTH],
    begin: [i32; WIDTH],
}

/// The weights of a linear layer, quantised and packed.
pub struct Panels {
    values: Vec<i8>,
    columns: Vec<Column>,
    inputs: usize,
    outputs: usize,
}

impl Panels {
    /// Quantises weights as models store them, `[outputs, inputs]`, finite. Panics where the length is no multiple of
    /// `inputs`, which is positive and at most 65,536: a bug of the caller.
    pub fn pack(weight: &[f32], inputs: usize) -> Self {
        assert!((1..=MOST_INPUTS).contains(&inputs) && weight.len().is_multiple_of(inputs), "weights of {inputs}");
        let (outputs, depth) = (weight.len() / inputs, inputs.next_multiple_of(GROUP));
        let count = outputs.div_ceil(WIDTH);
        let mut values = vec![0i8; count * WIDTH * depth];
        let mut columns: Vec<Column> = (0..count).map(|_| Column { scales: [0.0; WIDTH], begin: [0; WIDTH] }).collect();
        let mut quantised = QuantisedRows::default();
        quantised.fill(weight, inputs);
        for (output, row) in quantised.values.chunks_exact(depth).enumerate() {
            let (panel, c) = (output / WIDTH, output % WIDTH);
            columns[panel].scales[c] = quantised.scales[output];
            for (k, &byte) in row[..inputs].iter().enumerate() {
                let value = byte.wrapping_sub(128).cast_signed();
                values[panel * WIDTH * depth + (k / GROUP * WIDTH + c) * GROUP + k % GROUP] = value;
                columns[panel].begin[c] -= 128 * i32::from(value);
            }
        }
        Panels { values, columns, inputs, outputs }
    }

    /// Values a row has that goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// `x W` for quantised rows `[m, inputs]`, and then what is said, into `out` `[m, outputs]`. Panics for other shapes.
    pub fn product(&self, x: &QuantisedRows, out: &mut [f32], then: Then) {
        self.product_by(chosen(), x, out, then);
    }

    fn product_by(&self, kernel: Kernel, x: &QuantisedRows, out: &mut [f32], then: Then) {
        assert_eq!((x.inputs, x.scales.len() * self.outputs), (self.inputs, out.len()), "shapes of a product");
        then.check(self.outputs);
        let depth = self.inputs.next_multiple_of(GROUP);
        let mut sums = [[0; WIDTH]; HEIGHT];
        for ((p, panel), column) in self.values.chunks_exact(WIDTH * depth).enumerate().zip(&self.columns) {
            let finish = then.columns(p * WIDTH);
            let blocks = x.values.chunks(HEIGHT * depth).zip(x.scales.chunks(HEIGHT));
            for ((values, scales), out) in blocks.zip(out.chunks_mut(HEIGHT * self.outputs)) {
                let count = scales.len();
                let shape = super::Job::new((values, depth, count), panel, depth);
                // SAFETY: `available` lists a kernel only after its instructions were detected.
                unsafe { (kernel.tile)(&Job { shape, begin: &column.begin }, &mut sums) };
                let place = Place { out, stride: self.outputs, column: p * WIDTH };
                store(&sums[..count], scales, &column.scales, &finish, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MOST, noise};
    use super::*;
    use proptest::prelude::*;

    /// Rows with all that bytes can hold: `values` are `q + 128`, scales 1, 2, 3, …
    fn rows(values: Vec<u8>, inputs: usize) -> QuantisedRows {
        let count = values.len() / inputs.next_multiple_of(GROUP);
        QuantisedRows { values, scales: (1..=count).map(|n| n as f32).collect(), inputs }
    }

    /// Every kernel's sums against the definition in i64.
    fn check(x: &QuantisedRows, panels: &Panels) {
        let (inputs, outputs) = (panels.inputs, panels.outputs);
        let depth = inputs.next_multiple_of(GROUP);
        let mut of_plain = None;
        for kernel in available().into_iter().rev() {
            let mut out = vec![f32::NAN; x.scales.len() * outputs];
            panels.product_by(kernel, x, &mut out, Then::Bias(&vec![0.0; outputs]));
            for (r, row) in x.values.chunks_exact(depth).enumerate() {
                for c in 0..outputs {
                    let (panel, column) = (c / WIDTH, c % WIDTH);
                    let weight = |k: usize| {
                        panels.values[panel * WIDTH * depth + (k / GROUP * WIDTH + column) * GROUP + k % GROUP]
                    };
                    let exact: i64 = (0..inputs).map(|k| (i64::from(row[k]) - 128) * i64::from(weight(k))).sum();
                    let want = exact as f32 * x.scales[r] * panels.columns[panel].scales[column];
                    let have = out[r * outputs + c];
                    assert_eq!(have.to_bits(), want.to_bits(), "{} [{r}, {c}]: {have} not {want}", kernel.name);
                }
            }
            let plain = of_plain.get_or_insert_with(|| out.clone());
            assert!(out.iter().zip(&*plain).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", kernel.name);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
        #[test]
        fn every_kernel_gives_the_exact_sums(
            count in 1..MOST[0], inputs in 1..MOST[1], outputs in 1..MOST[2], bytes in prop::collection::vec(any::<u8>(), 97)
        ) {
            let depth = inputs.next_multiple_of(GROUP);
            let values = (0..count * depth).map(|i| bytes[(i * 31) % 97]).collect();
            check(&rows(values, inputs), &Panels::pack(&noise(outputs * inputs, 5), inputs));
        }

        #[test]
        fn a_quantised_row_is_within_half_a_step(x in prop::collection::vec(-9f32..9.0, 1..70), size in 1e-20f32..1e20) {
            let x: Vec<f32> = x.iter().map(|x| x * size).collect();
            let mut rows = QuantisedRows::default();
            rows.fill(&x, x.len());
            let scale = rows.scales[0];
            for (&byte, x) in rows.values.iter().zip(&x) {
                let q = f32::from(byte) - 128.0;
                // Half a step, and a little for the rounding of the scale and of its inverse.
                prop_assert!(q.abs() <= 127.0 && (q * scale - x).abs() <= 0.5001 * scale, "{} for {}", q * scale, x);
            }
            let mut plain = (vec![0u8; rows.values.len()], vec![0f32]);
            quantise_plain::<false>(&x, x.len(), &mut plain.0, &mut plain.1);
            prop_assert_eq!((&plain.0[..x.len()], &plain.1), (&rows.values[..x.len()], &rows.scales));
        }
    }

    #[test]
    fn the_largest_numbers_neither_saturate_nor_overflow() {
        // -128 and 127 against ±127, over more inputs than a sum of 16 bits could hold, and an odd rest.
        let many: usize = if cfg!(miri) { 37 } else { 1537 };
        for (byte, inputs) in [(0u8, many), (255, many), (0, 2), (255, 3)] {
            let signs: Vec<f32> =
                (0..64 * inputs).map(|i| if (i / inputs).is_multiple_of(2) { 1.0 } else { -1.0 }).collect();
            let depth = inputs.next_multiple_of(GROUP);
            check(&rows(vec![byte; 13 * depth], inputs), &Panels::pack(&signs, inputs));
        }
        if !cfg!(miri) {
            check(&rows(vec![255; MOST_INPUTS], MOST_INPUTS), &Panels::pack(&vec![-1.0; MOST_INPUTS], MOST_INPUTS));
        }
    }

    #[test]
    fn a_row_alone_has_the_bits_it_has_among_others() {
        let (x, bias) = (noise(29 * 37, 1), noise(45, 3));
        let panels = Panels::pack(&noise(45 * 37, 2), 37);
        let mut quantised = QuantisedRows::default();
        quantised.fill(&x, 37);
        let mut all = vec![0.0; 29 * 45];
        panels.product(&quantised, &mut all, Then::Gelu(&bias));
        for r in 0..29 {
            quantised.fill(&x[r * 37..][..37], 37);
            let mut alone = vec![0.0; 45];
            panels.product(&quantised, &mut alone, Then::Gelu(&bias));
            assert_eq!(alone, all[r * 45..][..45]);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic of its own size, no new path")]
    fn products_are_near_those_of_f32() {
        let (x, w, bias) = (noise(20 * 384, 1), noise(64 * 384, 2), noise(64, 3));
        let mut exact = vec![0.0; 20 * 64];
        super::super::Panels::pack(&w, 384).product(&x, &mut exact, Then::Bias(&bias));
        let mut quantised = QuantisedRows::default();
        quantised.fill(&x, 384);
        let mut near = vec![0.0; 20 * 64];
        Panels::pack(&w, 384).product(&quantised, &mut near, Then::Bias(&bias));
        let gap = exact.iter().zip(&near).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Each factor of at most 1/2 is off by at most 1/508, evenly spread: a product of 384 terms has a standard
        // deviation of √384 · √2 · (1/254/√12) · (1/√12) = 0.009; 0.05 is beyond what 1,280 draws show.
        assert!(gap > 0.0 && gap < 0.05, "{gap}");
    }

    #[test]
    fn what_is_not_finite_stays_visible_and_nothing_stays_nothing() {
        let mut rows = QuantisedRows::default();
        rows.fill(&[0.0, f32::NAN, 1.0, f32::INFINITY, 0.0, 0.0, 1e-40, -1e-38], 2);
        let mut out = [9.0; 4];
        Panels::pack(&[1.0, 1.0], 2).product(&rows, &mut out, Then::Bias(&[0.5]));
        assert!(out[0].is_nan() && out[1].is_nan());
        assert_eq!(out[2..], [0.5, 0.5]);
    }
}

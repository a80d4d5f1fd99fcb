//! The same products in whole numbers of eight bits: four times the values an instruction, at a small loss of precision.
//!
//! Weights are quantised once, with a scale an output and both signs alike; rows when they come, with a scale and a zero a
//! row, so a row's numbers depend on no other row. With `⌊ ⌉` rounding to the nearest (even where two are), and 0 counted
//! among the values of a row:
//!
//! ```text
//! s_c = max_k |w_kc| / 127                 v_kc = ⌊w_kc / s_c⌉                     w_kc ≈ s_c v_kc
//! s_r = (max_k x_rk - min_k x_rk) / 255    z_r  = ⌊-min_k x_rk / s_r⌉
//!                                          u_rk = ⌊x_rk / s_r + z_r⌉ in 0..=255    x_rk ≈ s_r (u_rk - z_r)
//! y_rc ≈ s_r s_c (Σ_k u_rk v_kc - z_r Σ_k v_kc)
//! ```
//!
//! The sums are exact in i32, so every kernel gives the same bits: AVX-512 VNNI, AVX-VNNI, AVX2, NEON and the plain one.
//! Scaling is done once, by the same operations in the same order everywhere, without fused ones. A row
//! with a value that is not finite comes out as NaN; one whose values span less than 1e-30 counts as zero.
//! A zero of their own brings rows of all-MiniLM-L6-v2's passages from a least cosine of .9956 to .998: what
//! GELU and normalisation leave is not even about 0.
//!
//! Panels are those of [`linear`](super) with four consecutive `k` of a column side by side, `[outputs / 32,
//! inputs / 4, 32, 4]`. Kernels give `Σ (u - 128) v`: the dot-product instructions multiply unsigned bytes by signed ones and
//! begin at `-128 Σ v`, the others flip a bit and multiply signed bytes.
//!
//! ```
//! use parallax::kernel::linear::{Then, int8::{Panels, QuantisedRows}};
//! let panels = Panels::pack(&[1.0, 0.0, /* */ 1.0, 1.0], 2); // two outputs of two inputs: v is 127 0, 127 127
//! let mut rows = QuantisedRows::default();
//! rows.fill(&[1.0, 2.0], 2); // s is 2/255, z is 0, u is 128 255: 1 / (2/255) is 127.5, and 128 is even
//! let mut out = [0.0; 2];
//! panels.product(&rows, &mut out, Then::Bias(&[0.0, 0.0]));
//! assert!((out[0] - 128.0 * 2.0 / 255.0).abs() < 1e-6 && (out[1] - 383.0 * 2.0 / 255.0).abs() < 1e-6);
//! ```
//!
//! Cost: `m k n` multiply-adds, 64 an instruction with AVX-512 VNNI; two passes over the rows to quantise them.
//!
//! Source: B. Jacob and others, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
//! Inference, 2018.
#![allow(unsafe_code)]

pub mod above;

use super::super::matmul::rowwise::chosen_at_run_time;
use super::{Finish, HEIGHT, Place, Then, Tile, WIDTH, each, gelu, plain};
use std::sync::OnceLock;

/// Values multiplied and summed by one step of a kernel.
const GROUP: usize = 4;
/// Inputs of a row at most: more could carry a sum of `255 · 127` each past 31 bits.
pub const MOST_INPUTS: usize = 65_536;
/// Rows that span less are taken for zero: their inverse scale would not be finite.
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

/// What a row's bytes stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Meaning {
    /// A step's size.
    scale: f32,
    /// `128 - z`.
    shift: i32,
}

/// Rows of f32 as bytes with a scale and a zero each; its memory serves one block of rows after the other.
#[derive(Default)]
pub struct QuantisedRows {
    /// `[rows, depth]`; what fills up a row meets weights that are zero.
    values: Vec<u8>,
    meanings: Vec<Meaning>,
    inputs: usize,
}

impl QuantisedRows {
    /// Takes rows `[m, inputs]`. Panics where the length is no multiple of `inputs`, which is positive: a bug of the
    /// caller.
    pub fn fill(&mut self, x: &[f32], inputs: usize) {
        assert!(inputs > 0 && x.len().is_multiple_of(inputs), "rows of {inputs} inputs");
        let rows = x.len() / inputs;
        self.inputs = inputs;
        self.meanings.resize(rows, Meaning::default());
        self.values.resize(rows * inputs.next_multiple_of(GROUP), 0);
        quantise(x, inputs, &mut self.values, &mut self.meanings);
    }
}

chosen_at_run_time! {
    /// Rows `x` `[m, width]` to bytes `[m, width filled up to groups]` and what they stand for.
    quantise = quantise_plain(x: &[f32], width: usize, values: &mut [u8], meanings: &mut [Meaning])
}
chosen_at_run_time! {
    /// Moves a tile's zeros, scales it, and brings it to its place.
    store = store_plain(tile: &[[i32; WIDTH]], rows: &[Meaning], column: &Column, finish: &Finish, place: Place<'_>)
}

/// Adding 1.5 · 2^23 rounds to an integer, whose low bits are then the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// A number's bits as an integer of the same order; NaN lies beyond the infinities.
#[inline(always)]
fn ordered(x: f32) -> i32 {
    let bits = x.to_bits().cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

#[inline(always)]
fn quantise_plain<const FMA: bool>(x: &[f32], width: usize, values: &mut [u8], meanings: &mut [Meaning]) {
    let unordered = |bits: i32| f32::from_bits((bits ^ ((bits >> 31) & i32::MAX)).cast_unsigned());
    let depth = width.next_multiple_of(GROUP);
    for ((row, values), meaning) in x.chunks_exact(width).zip(values.chunks_exact_mut(depth)).zip(meanings) {
        let (mut least, mut most) = (0, 0);
        for &x in row {
            least = least.min(ordered(x));
            most = most.max(ordered(x));
        }
        let (least, span) = (unordered(least), unordered(most) - unordered(least));
        let inverse = if span > TINY { 255.0 / span } else { 0.0 };
        let zero = if span > TINY && span.is_finite() { (ROUND - least * inverse) - ROUND } else { 0.0 };
        let scale = match span {
            span if !span.is_finite() => f32::NAN,
            span if span > TINY => span / 255.0,
            _ => 0.0,
        };
        *meaning = Meaning { scale, shift: 128 - zero as i32 };
        for (value, x) in values.iter_mut().zip(row) {
            let rounded = x * inverse + (ROUND + zero);
            // The zero's own rounding may push the ends half a step out.
            let rounded = if rounded > ROUND + 255.0 { ROUND + 255.0 } else { rounded };
            let rounded = if rounded < ROUND { ROUND } else { rounded };
            *value = rounded.to_bits() as u8;
        }
    }
}

#[inline(always)]
fn store_plain<const FMA: bool>(
    tile: &[[i32; WIDTH]],
    rows: &[Meaning],
    column: &Column,
    finish: &Finish,
    place: Place<'_>,
) {
    let scaled = |r: usize| {
        let (sums, Meaning { scale, shift }) = (&tile[r], rows[r]);
        // At most `255 · 127 · 65,536`, below 2^31: it never wraps, and not checking it lets it run in wide registers.
        move |c: usize| sums[c].wrapping_add(shift.wrapping_mul(column.sums[c])) as f32 * scale * column.scales[c]
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
    /// `Σ v` a column.
    sums: [i32; WIDTH],
    /// `-128 Σ v`.
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
        let none = || Column { scales: [0.0; WIDTH], sums: [0; WIDTH], begin: [0; WIDTH] };
        let mut columns: Vec<Column> = (0..count).map(|_| none()).collect();
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            let (panel, c) = (output / WIDTH, output % WIDTH);
            let most = row.iter().fold(0f32, |most, w| most.max(w.abs()));
            let inverse = if most > TINY { 127.0 / most } else { 0.0 };
            let column = &mut columns[panel];
            column.scales[c] = most / 127.0;
            let groups = values[panel * WIDTH * depth..].as_chunks_mut::<GROUP>().0;
            let to = groups.iter_mut().skip(c).step_by(WIDTH);
            for (row, to) in row.chunks(GROUP).zip(to) {
                for (w, value) in row.iter().zip(to) {
                    *value = ((w * inverse + ROUND).to_bits() as u8).cast_signed();
                    column.sums[c] += i32::from(*value);
                }
            }
            column.begin[c] = -128 * column.sums[c];
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
        assert_eq!((x.inputs, x.meanings.len() * self.outputs), (self.inputs, out.len()), "shapes of a product");
        then.check(self.outputs);
        let depth = self.inputs.next_multiple_of(GROUP);
        let mut sums = [[0; WIDTH]; HEIGHT];
        for ((p, panel), column) in self.values.chunks_exact(WIDTH * depth).enumerate().zip(&self.columns) {
            let finish = then.columns(p * WIDTH);
            let blocks = x.values.chunks(HEIGHT * depth).zip(x.meanings.chunks(HEIGHT));
            for ((values, meanings), out) in blocks.zip(out.chunks_mut(HEIGHT * self.outputs)) {
                let count = meanings.len();
                let shape = super::Job::new((values, depth, count), panel, depth);
                // SAFETY: `available` lists a kernel only after its instructions were detected.
                unsafe { (kernel.tile)(&Job { shape, begin: &column.begin }, &mut sums) };
                let place = Place { out, stride: self.outputs, column: p * WIDTH };
                store(&sums[..count], meanings, column, &finish, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MOST, noise};
    use super::*;
    use proptest::prelude::*;

    /// Rows with all that bytes can hold, of scales 1, 2, 3, … and zeros at 0, 255 and between.
    fn rows(values: Vec<u8>, inputs: usize) -> QuantisedRows {
        let count = values.len() / inputs.next_multiple_of(GROUP);
        let meaning = |n| Meaning { scale: (n + 1) as f32, shift: 128 - [0, 255, 77, 128][n % 4] };
        QuantisedRows { values, meanings: (0..count).map(meaning).collect(), inputs }
    }

    /// Every kernel's sums against the definition in i64.
    fn check(x: &QuantisedRows, panels: &Panels) {
        let (inputs, outputs) = (panels.inputs, panels.outputs);
        let depth = inputs.next_multiple_of(GROUP);
        let mut of_plain = None;
        for kernel in available().into_iter().rev() {
            let mut out = vec![f32::NAN; x.meanings.len() * outputs];
            panels.product_by(kernel, x, &mut out, Then::Bias(&vec![0.0; outputs]));
            for (r, row) in x.values.chunks_exact(depth).enumerate() {
                for c in 0..outputs {
                    let (panel, column) = (c / WIDTH, c % WIDTH);
                    let weight = |k: usize| {
                        panels.values[panel * WIDTH * depth + (k / GROUP * WIDTH + column) * GROUP + k % GROUP]
                    };
                    let Meaning { scale, shift } = x.meanings[r];
                    let value = |k: usize| i64::from(row[k]) - (128 - i64::from(shift));
                    let exact: i64 = (0..inputs).map(|k| value(k) * i64::from(weight(k))).sum();
                    let want = exact as f32 * scale * panels.columns[panel].scales[column];
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
            let Meaning { scale, shift } = rows.meanings[0];
            prop_assert!((0..=255).contains(&(128 - shift)));
            for (&byte, x) in rows.values.iter().zip(&x) {
                let value = (i32::from(byte) - (128 - shift)) as f32 * scale;
                // Half a step, and a little for the rounding of the scale and of its inverse.
                prop_assert!((value - x).abs() <= 0.501 * scale, "{value} for {x}");
            }
            let mut plain = (vec![0u8; rows.values.len()], [Meaning::default()]);
            quantise_plain::<false>(&x, x.len(), &mut plain.0, &mut plain.1);
            prop_assert_eq!((&plain.0[..x.len()], &plain.1[..]), (&rows.values[..x.len()], &rows.meanings[..]));
        }
    }

    #[test]
    fn the_largest_numbers_neither_saturate_nor_overflow() {
        // 0 and 255 against ±127, over more inputs than a sum of 16 bits could hold, and an odd rest.
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
    fn rows_of_one_sign_use_all_of_a_byte_and_zero_stays_zero() {
        let mut rows = QuantisedRows::default();
        rows.fill(&[0.0, 255.0, 102.0, /* */ -255.0, 0.0, -102.0, /* */ -5.0, 250.0, 0.0], 3);
        let zeros: Vec<i32> = rows.meanings.iter().map(|meaning| 128 - meaning.shift).collect();
        assert_eq!(zeros, [0, 255, 5]);
        assert_eq!(rows.values, [0, 255, 102, 0, /* */ 0, 255, 153, 0, /* */ 0, 255, 5, 0]);
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

//! Products of rows with weights that stay: the linear layers of a transformer's forward pass.
//!
//! Weights are packed once, when a model is opened; rows of f32 go in and rows come out, in buffers of the caller.
//! Nothing is kept and no thread started, so a caller gives each of its threads its own rows. What usually follows a
//! linear layer, bias, GELU or adding to what is there, happens while a result is still in the first cache.
//!
//! `W` `[inputs, outputs]` is cut into panels of 32 columns, stored one after the other, row by row; the last is filled
//! up with zeros. A tile of 12 rows and 32 columns of the result stays in registers while its rows and its panel are
//! read once:
//!
//! ```text
//! tile = 0;  for k in 0..inputs:  tile[r][c] += x[r][k] · panel[k][c]      r < 12, c < 32
//! ```
//!
//! Each element is summed in the order of `k`, whichever rows lie beside it: a row alone gives the bits it gives among
//! others. Kernels for AVX-512, AVX2 with FMA and NEON are chosen at run time and differ from the plain one by rounding.
//! [`int8`] is the same with whole numbers, [`attention`] the product that has no weights.
//!
//! ```
//! use parallax::kernel::linear::{Panels, Then};
//! let panels = Panels::pack(&[1.0, 0.0, /* */ 1.0, 1.0], 2); // two outputs of two inputs
//! let mut out = [0.0; 4];
//! panels.product(&[1.0, 2.0, /* */ 3.0, 4.0], &mut out, Then::Bias(&[0.5, 0.0]));
//! assert_eq!(out, [1.5, 3.0, 3.5, 7.0]);
//! ```
//!
//! Cost: `2 m k n` floating-point operations, on up to 32 values at once; a panel is read from the second cache once
//! for every 12 rows.
//!
//! Source: K. Goto, R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
#![allow(unsafe_code)]

pub mod attention;
pub mod int8;

mod arm;
mod plain;
mod x86;

use super::matmul::rowwise::{chosen_at_run_time, gelu};
use std::sync::OnceLock;

/// Columns of a panel and of a tile.
const WIDTH: usize = 32;
/// Rows of a tile: 12 rows of two 16-value registers leave 8 of AVX-512's 32 for weights and rows.
const HEIGHT: usize = 12;

/// A part of a result: the first rows may be all that is used.
type Tile<T> = [[T; WIDTH]; HEIGHT];

/// The rows and the panel whose product is one tile. [`Job::new`] checks all that kernels rely on.
struct Job<'a, A, B> {
    /// `count` rows, one every `stride` values, as many values each as the panel has rows: its `depth`.
    rows: &'a [A],
    stride: usize,
    /// 1 to [`HEIGHT`].
    count: usize,
    /// `depth * WIDTH` values.
    panel: &'a [B],
}

impl<'a, A, B> Job<'a, A, B> {
    /// Panics when the rows do not lie in their slice or the panel has another depth: a bug of the caller.
    fn new((rows, stride, count): (&'a [A], usize, usize), panel: &'a [B], depth: usize) -> Self {
        assert!((1..=HEIGHT).contains(&count) && depth <= stride, "{count} rows of {depth} every {stride}");
        assert!((count - 1) * stride + depth <= rows.len(), "{count} rows every {stride} leave {}", rows.len());
        assert_eq!(panel.len(), depth * WIDTH, "values of a panel");
        Job { rows, stride, count, panel }
    }
}

/// What one instruction set offers. The function may only be called on a processor that has it.
#[derive(Clone, Copy)]
struct Kernel {
    #[cfg_attr(not(test), expect(dead_code, reason = "tests name the kernel that failed"))]
    name: &'static str,
    /// Writes the first `count` rows of the tile.
    tile: unsafe fn(&Job<f32, f32>, &mut Tile<f32>),
}

/// The kernels this processor can run, best first; the plain one always stands last, alone under an interpreter.
fn available() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if std::is_x86_feature_detected!("avx512f") {
            kernels.push(Kernel { name: "avx512f", tile: x86::tile_avx512 });
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            kernels.push(Kernel { name: "avx2+fma", tile: x86::tile_avx2 });
        }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    kernels.push(Kernel { name: "neon", tile: arm::tile_neon });
    kernels.push(Kernel { name: "plain", tile: plain::tile });
    kernels
}

fn chosen() -> Kernel {
    static CHOSEN: OnceLock<Kernel> = OnceLock::new();
    *CHOSEN.get_or_init(|| available().swap_remove(0))
}

/// What becomes of a product `y`, as it leaves the registers; a bias has a value an output.
#[derive(Clone, Copy)]
pub enum Then<'a> {
    /// `out = y + bias`.
    Bias(&'a [f32]),
    /// `out = gelu(y + bias)`.
    Gelu(&'a [f32]),
    /// `out += y`.
    Add,
}

impl Then<'_> {
    /// Panics when the bias is not that of the outputs: a bug of the caller.
    fn check(&self, outputs: usize) {
        if let Then::Bias(bias) | Then::Gelu(bias) = self {
            assert_eq!(bias.len(), outputs, "values of a bias");
        }
    }

    /// The part of it for the columns from `column`.
    fn columns(&self, column: usize) -> Finish {
        let cut = |bias: &[f32]| {
            let mut padded = [0.0; WIDTH];
            let width = WIDTH.min(bias.len() - column);
            padded[..width].copy_from_slice(&bias[column..column + width]);
            padded
        };
        match self {
            Then::Bias(bias) => Finish::Bias(cut(bias)),
            Then::Gelu(bias) => Finish::Gelu(cut(bias)),
            Then::Add => Finish::Add,
        }
    }
}

/// [`Then`] for the columns of one panel.
enum Finish {
    Bias([f32; WIDTH]),
    Gelu([f32; WIDTH]),
    Add,
}

/// Where a tile goes: rows every `stride` values, of which its columns from `column` to the end or to [`WIDTH`].
struct Place<'a> {
    out: &'a mut [f32],
    stride: usize,
    column: usize,
}

impl Place<'_> {
    /// Writes that many rows: `f` makes one from its number and what was there.
    #[inline(always)]
    fn write(self, count: usize, f: impl Fn(usize, &[f32; WIDTH]) -> [f32; WIDTH]) {
        let end = self.stride.min(self.column + WIDTH);
        for (row, out) in (0..count).zip(self.out.chunks_mut(self.stride)) {
            let out = &mut out[self.column..end];
            match out.as_mut_array::<WIDTH>() {
                Some(out) => *out = f(row, out),
                None => {
                    let mut whole = [0.0; WIDTH];
                    whole[..out.len()].copy_from_slice(out);
                    out.copy_from_slice(&f(row, &whole)[..out.len()]);
                }
            }
        }
    }
}

/// `f` of each column.
#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; WIDTH] {
    let mut row = [0.0; WIDTH];
    for (c, value) in row.iter_mut().enumerate() {
        *value = f(c);
    }
    row
}

chosen_at_run_time! {
    /// Brings a tile to its place.
    store = store_plain(tile: &[[f32; WIDTH]], finish: &Finish, place: Place<'_>)
}

#[inline(always)]
fn store_plain<const FMA: bool>(tile: &[[f32; WIDTH]], finish: &Finish, place: Place<'_>) {
    match finish {
        Finish::Bias(bias) => place.write(tile.len(), |r, _| each(|c| tile[r][c] + bias[c])),
        Finish::Gelu(bias) => place.write(tile.len(), |r, _| each(|c| gelu::<FMA>(tile[r][c] + bias[c]))),
        Finish::Add => place.write(tile.len(), |r, there| each(|c| there[c] + tile[r][c])),
    }
}

/// The weights of a linear layer, packed: `[outputs / 32, inputs, 32]`.
pub struct Panels {
    values: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Panels {
    /// Packs weights as models store them, `[outputs, inputs]`. Panics where the length is no multiple of `inputs`,
    /// which is positive: a bug of the caller.
    pub fn pack(weight: &[f32], inputs: usize) -> Self {
        assert!(inputs > 0 && weight.len().is_multiple_of(inputs), "weights of {inputs} inputs");
        let outputs = weight.len() / inputs;
        let mut values = vec![0.0; outputs.div_ceil(WIDTH) * WIDTH * inputs];
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            let panel = &mut values[output / WIDTH * WIDTH * inputs..];
            for (k, &value) in row.iter().enumerate() {
                panel[k * WIDTH + output % WIDTH] = value;
            }
        }
        Panels { values, inputs, outputs }
    }

    /// `x W` for rows `x` `[m, inputs]`, and then what is said, into `out` `[m, outputs]`. Panics for other shapes.
    pub fn product(&self, x: &[f32], out: &mut [f32], then: Then) {
        self.product_by(chosen(), x, out, then);
    }

    fn product_by(&self, kernel: Kernel, x: &[f32], out: &mut [f32], then: Then) {
        let rows = x.len() / self.inputs;
        assert_eq!((rows * self.inputs, rows * self.outputs), (x.len(), out.len()), "shapes of a product");
        then.check(self.outputs);
        let mut tile = [[0.0; WIDTH]; HEIGHT];
        for (column, panel) in (0..).step_by(WIDTH).zip(self.values.chunks_exact(WIDTH * self.inputs)) {
            let finish = then.columns(column);
            let blocks = x.chunks(HEIGHT * self.inputs).zip(out.chunks_mut(HEIGHT * self.outputs));
            for (x, out) in blocks {
                let job = Job::new((x, self.inputs, x.len() / self.inputs), panel, self.inputs);
                // SAFETY: `available` lists a kernel only after its instructions were detected.
                unsafe { (kernel.tile)(&job, &mut tile) };
                store(&tile[..job.count], &finish, Place { out, stride: self.outputs, column });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Most rows, inputs and outputs of a test: more than a tile and a panel, and no more where Miri steps through them.
    pub(super) const MOST: [usize; 3] = if cfg!(miri) { [15, 9, 36] } else { [30, 90, 80] };

    /// Numbers in -0.5 to 0.5 that repeat late.
    pub(super) fn noise(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 2003.0 - 0.5).collect()
    }

    /// Every kernel against the definition in f64.
    fn check(rows: usize, inputs: usize, outputs: usize) {
        let (x, w, bias) = (noise(rows * inputs, 1), noise(outputs * inputs, 2), noise(outputs, 3));
        let panels = Panels::pack(&w, inputs);
        let start = noise(rows * outputs, 4);
        for kernel in available() {
            let mut with_bias = vec![f32::NAN; rows * outputs];
            panels.product_by(kernel, &x, &mut with_bias, Then::Bias(&bias));
            let mut with_gelu = vec![f32::NAN; rows * outputs];
            panels.product_by(kernel, &x, &mut with_gelu, Then::Gelu(&bias));
            let mut added = start.clone();
            panels.product_by(kernel, &x, &mut added, Then::Add);
            for r in 0..rows {
                for c in 0..outputs {
                    let at = r * outputs + c;
                    let terms = (0..inputs).map(|k| f64::from(x[r * inputs + k]) * f64::from(w[c * inputs + k]));
                    let (y, size) = terms.fold((0.0, 1.0), |(y, size), term| (y + term, size + term.abs()));
                    let activated = gelu::<false>((y + f64::from(bias[c])) as f32);
                    let wants = [y + f64::from(bias[c]), y + f64::from(start[at]), f64::from(activated)];
                    for (have, want) in [with_bias[at], added[at], with_gelu[at]].into_iter().zip(wants) {
                        // Rounding of a sum grows with its terms' sizes.
                        let gap = (f64::from(have) - want).abs();
                        assert!(gap <= 1e-5 * size, "{} {rows} {inputs} {outputs}: {have} not {want}", kernel.name);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
        #[test]
        fn every_kernel_gives_the_product(rows in 1..MOST[0], inputs in 1..MOST[1], outputs in 1..MOST[2]) {
            check(rows, inputs, outputs);
        }
    }

    #[test]
    fn a_row_alone_has_the_bits_it_has_among_others() {
        let (x, w, bias) = (noise(29 * 37, 1), noise(45 * 37, 2), noise(45, 3));
        let panels = Panels::pack(&w, 37);
        let mut all = vec![0.0; 29 * 45];
        panels.product(&x, &mut all, Then::Gelu(&bias));
        for r in 0..29 {
            let mut alone = vec![0.0; 45];
            panels.product(&x[r * 37..][..37], &mut alone, Then::Gelu(&bias));
            assert_eq!(alone, all[r * 45..][..45]);
        }
    }

    #[test]
    fn no_rows_give_no_rows() {
        Panels::pack(&[1.0], 1).product(&[], &mut [], Then::Add);
    }
}

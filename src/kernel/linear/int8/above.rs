//! Which products are greater than a bound, without the others being written down: a search among the rows of panels.
//!
//! Quantised rows and [`Panels`] go in, with a bound a row; of each row those products go out that lie above its bound,
//! which may rise meanwhile. What eight bits lost is told apart, as the distance between a row and what is stored of
//! it: by Cauchy and Schwarz that bounds how far a product is from the true one.
//!
//! ```
//! use parallax::kernel::linear::int8::{Panels, QuantisedRows};
//! let panels = Panels::pack(&[127.0, 0.0, /* */ 0.0, 127.0, /* */ 127.0, 127.0], 2);
//! let mut rows = QuantisedRows::default();
//! rows.fill(&[255.0, 0.0], 2);
//! let mut found = Vec::new();
//! panels.above(&rows, &mut [32_000.0], &mut |row, column, product, _bound| found.push((row, column, product)));
//! assert_eq!(found, [(0, 0, 32_385.0), (0, 2, 32_385.0)]);
//! ```
//!
//! Cost: that of the product, and an addition, three multiplications and a comparison for each of its numbers.

use super::super::super::matmul::rowwise::chosen_at_run_time;
use super::super::{HEIGHT, WIDTH, each};
use super::{Column, GROUP, Job, Kernel, Meaning, Panels, QuantisedRows, chosen};

/// Takes the number of a row, that of a column, their product, and the row's bound, which it may raise.
pub type Take<'a> = &'a mut dyn FnMut(usize, usize, f32, &mut f32);

/// A row's products from a tile's sums, by the operations of [`Panels::product`].
#[inline(always)]
fn scaled(sums: &[i32; WIDTH], Meaning { scale, shift }: Meaning, column: &Column) -> [f32; WIDTH] {
    each(|c| sums[c].wrapping_add(shift.wrapping_mul(column.sums[c])) as f32 * scale * column.scales[c])
}

chosen_at_run_time! {
    /// How many products of each row of a tile lie above the row's bound.
    count = count_plain(tile: &[[i32; WIDTH]], rows: &[Meaning], column: &Column, bounds: &[f32], counts: &mut [u32])
}

#[inline(always)]
fn count_plain<const FMA: bool>(
    tile: &[[i32; WIDTH]],
    rows: &[Meaning],
    column: &Column,
    bounds: &[f32],
    counts: &mut [u32],
) {
    for ((sums, meaning), (bound, count)) in tile.iter().zip(rows).zip(bounds.iter().zip(counts)) {
        let products = scaled(sums, *meaning, column);
        *count = products.iter().fold(0, |count: u32, product| count.wrapping_add(u32::from(product > bound)));
    }
}

impl Panels {
    /// Calls `take` for each product above its row's bound, of one row by rising column. Panics where rows and panels
    /// have other inputs, or the bounds are not as many as the rows: a bug of the caller.
    pub fn above(&self, x: &QuantisedRows, bounds: &mut [f32], take: Take<'_>) {
        self.above_by(chosen(), x, bounds, take);
    }

    fn above_by(&self, kernel: Kernel, x: &QuantisedRows, bounds: &mut [f32], take: Take<'_>) {
        assert_eq!((x.inputs, x.meanings.len()), (self.inputs, bounds.len()), "shapes of a product");
        let depth = self.inputs.next_multiple_of(GROUP);
        let mut sums = [[0; WIDTH]; HEIGHT];
        let mut counts = [0; HEIGHT];
        for ((p, panel), column) in self.values.chunks_exact(WIDTH * depth).enumerate().zip(&self.columns) {
            let width = WIDTH.min(self.outputs - p * WIDTH);
            let blocks = x.values.chunks(HEIGHT * depth).zip(x.meanings.chunks(HEIGHT));
            for ((block, (values, meanings)), bounds) in blocks.enumerate().zip(bounds.chunks_mut(HEIGHT)) {
                let shape = super::super::Job::new((values, depth, meanings.len()), panel, depth);
                // SAFETY: `available` lists a kernel only after its instructions were detected.
                unsafe { (kernel.tile)(&Job { shape, begin: &column.begin }, &mut sums) };
                count(&sums[..meanings.len()], meanings, column, bounds, &mut counts);
                for (r, (meaning, bound)) in meanings.iter().zip(bounds).enumerate().filter(|(r, _)| counts[*r] > 0) {
                    for (c, product) in scaled(&sums[r], *meaning, column)[..width].iter().enumerate() {
                        if *product > *bound {
                            take(block * HEIGHT + r, p * WIDTH + c, *product, bound);
                        }
                    }
                }
            }
        }
    }

    /// The greatest distance between one of the weights' rows, `[outputs, inputs]` as they were packed, and what is
    /// stored of it; not finite where a row is not.
    pub fn distance(&self, weight: &[f32]) -> f32 {
        assert_eq!(weight.len(), self.outputs * self.inputs, "weights as they were packed");
        let depth = self.inputs.next_multiple_of(GROUP);
        let of = |(output, row): (usize, &[f32])| {
            let scale = self.columns[output / WIDTH].scales[output % WIDTH];
            let groups = self.values[output / WIDTH * WIDTH * depth..].as_chunks::<GROUP>().0;
            let stored = groups.iter().skip(output % WIDTH).step_by(WIDTH);
            let (mut four, mut rest) = ([0f32; GROUP], 0.0);
            let (whole, last) = row.as_chunks::<GROUP>();
            for (row, stored) in whole.iter().zip(stored.clone()) {
                for (sum, (value, stored)) in four.iter_mut().zip(row.iter().zip(stored)) {
                    let off = value - scale * f32::from(*stored);
                    *sum += off * off;
                }
            }
            for (value, stored) in last.iter().zip(stored.skip(whole.len()).flatten()) {
                let off = value - scale * f32::from(*stored);
                rest += off * off;
            }
            four.iter().sum::<f32>() + rest
        };
        greatest_length(weight.chunks_exact(self.inputs).enumerate().map(of), self.inputs)
    }
}

impl QuantisedRows {
    /// The distance between each row, of those that were filled in, and what is stored of it; not finite where a row is
    /// not.
    pub fn distances(&self, x: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), self.meanings.len() * self.inputs, "rows as they were filled in");
        let depth = self.inputs.next_multiple_of(GROUP);
        let rows = x.chunks_exact(self.inputs.max(1)).zip(self.values.chunks_exact(depth.max(1)));
        let of = |((row, values), Meaning { scale, shift }): ((&[f32], &[u8]), &Meaning)| {
            let off = |(x, value): (&f32, &u8)| {
                let off = x - scale * (i32::from(*value) - (128 - shift)) as f32;
                off * off
            };
            greatest_length(std::iter::once(row.iter().zip(values).map(off).sum()), self.inputs)
        };
        rows.zip(&self.meanings).map(of).collect()
    }
}

/// The root of the greatest of some sums of squares of `n` numbers, each rounded to f32; no less than the true one. NaN
/// counts as the greatest.
fn greatest_length(squares: impl Iterator<Item = f32>, n: usize) -> f32 {
    let greatest = squares.fold(0f32, |most, square| if square <= most { most } else { square });
    greatest.sqrt() * (1.0 + (n + 8) as f32 * f32::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{MOST, noise};
    use super::super::{Then, available};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
        #[test]
        fn every_kernel_tells_of_exactly_the_products_above(
            count in 1..MOST[0], inputs in 1..MOST[1], outputs in 1..MOST[2], bound in -2f32..2.0, rise in any::<bool>()
        ) {
            let (x, w) = (noise(count * inputs, 1), noise(outputs * inputs, 2));
            let panels = Panels::pack(&w, inputs);
            let mut rows = QuantisedRows::default();
            rows.fill(&x, inputs);
            let mut all = vec![0.0; count * outputs];
            panels.product(&rows, &mut all, Then::Bias(&vec![0.0; outputs]));
            for kernel in available() {
                let mut found = Vec::new();
                let mut bounds = vec![bound; count];
                panels.above_by(kernel, &rows, &mut bounds, &mut |row, column, product, bound| {
                    found.push((row, column, product));
                    if rise {
                        *bound = product;
                    }
                });
                found.sort_unstable_by_key(|(row, column, _)| (*row, *column));
                let mut want = Vec::new();
                for (row, products) in all.chunks(outputs).enumerate() {
                    let mut bound = bound;
                    for (column, product) in products.iter().enumerate() {
                        if *product > bound {
                            want.push((row, column, *product));
                            bound = if rise { *product } else { bound };
                        }
                    }
                }
                prop_assert_eq!(&found, &want, "{}", kernel.name);
            }
        }

        #[test]
        fn no_product_is_further_off_than_the_distances_say(
            inputs in 1..MOST[1], x in prop::collection::vec(-3f32..3.0, 90), w in prop::collection::vec(-3f32..3.0, 90)
        ) {
            let (x, w) = (&x[..inputs], &w[..inputs]);
            let panels = Panels::pack(w, inputs);
            let mut rows = QuantisedRows::default();
            rows.fill(x, inputs);
            let mut near = [0.0];
            panels.product(&rows, &mut near, Then::Bias(&[0.0]));
            let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            let size = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let (off_w, off_x) = (f64::from(panels.distance(w)), f64::from(rows.distances(x)[0]));
            let most = size(x) * off_w + off_x * (size(w) + off_w);
            prop_assert!((f64::from(near[0]) - exact).abs() <= most + 1e-5 * size(x) * size(w), "{near:?} {exact} {most}");
        }
    }

    #[test]
    fn distances_are_those_of_hand_rounded_rows() {
        // Steps of 1: 126.6 is stored as 127, 0.4 as 0; √(.4² + .4²) = .5657. A row that is stored as it is adds nothing.
        let weight = [127.0, 126.6, 0.4, /* */ 127.0, 1.0, 0.0];
        let distance = Panels::pack(&weight, 3).distance(&weight);
        assert!((distance - 0.32f32.sqrt()).abs() < 1e-3, "{distance}");
        let mut rows = QuantisedRows::default();
        rows.fill(&[255.0, 0.4, 0.0], 3);
        assert!((rows.distances(&[255.0, 0.4, 0.0])[0] - 0.4).abs() < 1e-3);
        assert!(!Panels::pack(&[f32::INFINITY, 1.0], 2).distance(&[f32::INFINITY, 1.0]).is_finite());
    }
}

//! The mean of token rows, and its gradient.
//!
//! With `E [n, d]` the token rows and `T_i` the tokens of text `i`, row `i` of the result is
//! `v_i = (1/|T_i|) Σ_{t ∈ T_i} E_t`, zero for a text without a token. Going back, with `g_i` the gradient by `v_i`,
//! the gradient by `E_t` is the sum over every place where `t` stands of `g_i / |T_i|`. Places are sorted by token
//! first, so that each row of the gradient is summed by one thread in the order of the texts: the bits do not depend
//! on the number of threads.
//!
//! Cost: `d` additions a token either way; the sort is a counting sort.

use crate::train::gradients::{RowGradient, with_values};
use crate::train::tower::Packed;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, bail};
use rayon::prelude::*;

/// The mean of the rows of each text's tokens.
pub(super) struct Bag {
    pub(super) texts: Packed,
    /// A token that counts but whose row is zero and stays so.
    pub(super) silent: Option<u32>,
}

impl Bag {
    /// Rows `[texts, d]` out of `table` `[n, d]`.
    fn forward(&self, table: &[f32], d: usize) -> Vec<f32> {
        let mut rows = vec![0.0; self.texts.len() * d];
        rows.par_chunks_mut(d).with_min_len(8).enumerate().for_each(|(i, row)| {
            let tokens = self.texts.text(i);
            for token in tokens.iter().filter(|token| Some(**token) != self.silent) {
                let from = *token as usize * d;
                row.iter_mut().zip(&table[from..from + d]).for_each(|(sum, x)| *sum += x);
            }
            let share = share(tokens);
            row.iter_mut().for_each(|x| *x *= share);
        });
        rows
    }

    /// Adds the gradient by the table; `gradient` `[texts, d]` is that by the rows.
    pub(super) fn scatter(&self, gradient: &[f32], into: &mut RowGradient) {
        let (d, n) = (into.dimension, into.touched.len());
        // Counting sort: starts[t]..starts[t + 1] are the places of token t in `texts`.
        let mut starts = vec![0u32; n + 1];
        let spoken = |token: &u32| Some(*token) != self.silent;
        self.texts.ids.iter().filter(|token| spoken(token)).for_each(|token| starts[*token as usize + 1] += 1);
        for t in 0..n {
            starts[t + 1] += starts[t];
        }
        let mut next = starts.clone();
        let mut texts = vec![0u32; starts[n] as usize];
        for i in 0..self.texts.len() {
            for token in self.texts.text(i).iter().filter(|token| spoken(token)) {
                let place = &mut next[*token as usize];
                texts[*place as usize] = i as u32;
                *place += 1;
            }
        }
        let shares: Vec<f32> = (0..self.texts.len()).map(|i| share(self.texts.text(i))).collect();
        let rows = into.values.par_chunks_mut(d).zip(&mut into.touched).zip(starts.par_windows(2));
        rows.with_min_len(64).filter(|(_, range)| range[0] < range[1]).for_each(|((row, touched), range)| {
            *touched = true;
            for text in &texts[range[0] as usize..range[1] as usize] {
                let (share, from) = (shares[*text as usize], *text as usize * d);
                row.iter_mut().zip(&gradient[from..from + d]).for_each(|(sum, g)| *sum += share * g);
            }
        });
    }
}

/// The share of one token in its text's row.
fn share(tokens: &[u32]) -> f32 {
    1.0 / tokens.len().max(1) as f32
}

impl CustomOp1 for Bag {
    fn name(&self) -> &'static str {
        "bag"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
            bail!("bag: the table is not f32 in one piece");
        };
        let (n, d) = layout.shape().dims2()?;
        if self.texts.ids.iter().any(|id| *id as usize >= n) {
            bail!("bag: a token is beyond the table of {n} rows");
        }
        let rows = self.forward(&values[from..to], d);
        Ok((CpuStorage::F32(rows), Shape::from((self.texts.len(), d))))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (n, d) = table.dims2()?;
        let mut rows = RowGradient { dimension: d, values: vec![0.0; n * d], touched: vec![false; n] };
        with_values(gradient, |gradient| self.scatter(gradient, &mut rows)).map_err(candle_core::Error::wrap)?;
        Tensor::from_vec(rows.values, (n, d), table.device()).map(Some)
    }
}

/// The same by candle's own operations, for devices without our code.
pub(super) fn composed(table: &Tensor, bag: &Bag) -> candle_core::Result<Tensor> {
    let (device, d) = (table.device(), table.dim(1)?);
    let places = (0..bag.texts.len()).flat_map(|i| bag.texts.text(i).iter().map(move |token| (*token, i as u32)));
    let (ids, texts): (Vec<u32>, Vec<u32>) = places.filter(|(token, _)| Some(*token) != bag.silent).unzip();
    let sums = Tensor::zeros((bag.texts.len(), d), table.dtype(), device)?;
    let sums = match ids.len() {
        0 => sums,
        t => {
            let rows = table.index_select(&Tensor::from_vec(ids, t, device)?, 0)?;
            sums.index_add(&Tensor::from_vec(texts, t, device)?, &rows, 0)?
        }
    };
    let shares: Vec<f32> = (0..bag.texts.len()).map(|i| share(bag.texts.text(i))).collect();
    sums.broadcast_mul(&Tensor::from_vec(shares, (bag.texts.len(), 1), device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::{Device, Var};

    #[test]
    fn rows_and_gradients_equal_those_of_composed_operations() {
        let mut random = Random::new(3);
        let (n, d) = (37, 6);
        let values: Vec<f32> = (0..n * d).map(|_| random.normal() as f32).collect();
        let texts: Vec<Vec<u32>> = (0..29).map(|i| (0..i % 7).map(|_| random.below(n) as u32).collect()).collect();
        let table = Var::from_vec(values, (n, d), &Device::Cpu).unwrap();
        let weights: Vec<f32> = (0..29 * d).map(|_| random.normal() as f32).collect();
        let weights = Tensor::from_vec(weights, (29, d), &Device::Cpu).unwrap();
        let bag = || Bag { texts: Packed::of(texts.iter().map(Vec::as_slice)), silent: Some(5) };
        let run = |rows: Tensor| {
            let gradient = (&rows * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (flat(&rows), flat(gradient.get(&table).unwrap()))
        };
        let ours = run(table.apply_op1(bag()).unwrap());
        let theirs = run(composed(&table, &bag()).unwrap());
        for (a, b) in ours.0.iter().zip(&theirs.0).chain(ours.1.iter().zip(&theirs.1)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert!(ours.1[5 * d..6 * d].iter().all(|g| *g == 0.0), "the silent token learns nothing");
        assert!(ours.1.iter().filter(|g| **g != 0.0).count() > 100);
    }

    #[test]
    fn a_token_beyond_the_table_is_refused() {
        let table = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(table.apply_op1(Bag { texts: Packed::of([&[2u32][..]]), silent: None }).is_err());
    }
}

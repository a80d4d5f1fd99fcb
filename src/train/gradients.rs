//! Gradients of a tower's parameters, added up over the parts of a step.
//!
//! Most are tensors. The gradient of a table of token rows is zero except for the rows of the texts' tokens, so it has
//! a form of its own, [`RowGradient`]: the whole table `[n, d]`, kept from step to step, with a mark a row that was
//! added to. Clearing, measuring and applying it then cost what the touched rows cost, and no step allocates it anew.
//!
//! ```
//! use parallax::train::gradients::Gradients;
//! let mut gradients = Gradients::new(1);
//! let rows = gradients.rows(0, 3, 2)?;
//! rows.values[2..4].copy_from_slice(&[3.0, 4.0]);
//! rows.touched[1] = true;
//! assert_eq!(gradients.norm()?, 5.0);
//! gradients.clear();
//! assert_eq!(gradients.norm()?, 0.0);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Sums run in a fixed order whatever the number of threads: the same step gives the same bits.

use super::failed;
use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Storage, Tensor};
use rayon::prelude::*;

/// Values a task sums.
const BLOCK: usize = 1 << 15;

/// One gradient a parameter, in the parameters' order.
#[derive(Default)]
pub struct Gradients(Vec<Gradient>);

/// What is known of one parameter's gradient.
#[derive(Default)]
pub enum Gradient {
    /// Nothing was added: the loss does not depend on the parameter.
    #[default]
    None,
    /// A tensor of the parameter's shape.
    Dense(Tensor),
    /// Rows of a table, most of them zero.
    Rows(RowGradient),
}

/// The gradient of a table `[n, d]` of which few rows are used.
pub struct RowGradient {
    /// Components a row, `d`.
    pub dimension: usize,
    /// `[n, d]`; zero in rows that were not touched.
    pub values: Vec<f32>,
    /// `[n]`: whether something was added to the row since the last [`Gradients::clear`].
    pub touched: Vec<bool>,
}

impl Gradients {
    /// No gradient for each of `parameters` parameters.
    pub fn new(parameters: usize) -> Self {
        Gradients((0..parameters).map(|_| Gradient::None).collect())
    }

    /// Forgets all sums; tables keep their memory.
    pub fn clear(&mut self) {
        for gradient in &mut self.0 {
            match gradient {
                Gradient::Rows(rows) => {
                    let used = rows.values.par_chunks_mut(rows.dimension).zip(&mut rows.touched);
                    used.with_min_len(256).filter(|(_, touched)| **touched).for_each(|(row, touched)| {
                        row.fill(0.0);
                        *touched = false;
                    });
                }
                other => *other = Gradient::None,
            }
        }
    }

    /// The gradient of parameter `i`.
    pub fn get(&self, i: usize) -> &Gradient {
        &self.0[i]
    }

    /// Adds a whole tensor to the gradient of parameter `i`.
    pub fn add(&mut self, i: usize, gradient: Tensor) -> Result<()> {
        match &mut self.0[i] {
            Gradient::Dense(sum) => *sum = (&*sum + &gradient).map_err(failed)?,
            Gradient::Rows(rows) => {
                with_values(&gradient, |values| {
                    rows.values.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                })?;
                rows.touched.fill(true);
            }
            none => *none = Gradient::Dense(gradient),
        }
        Ok(())
    }

    /// Adds what candle found for the variables `weights`, which leave the store.
    pub fn add_store(&mut self, weights: &[Tensor], store: &mut GradStore) -> Result<()> {
        weights.iter().enumerate().try_for_each(|(i, weight)| match store.remove(weight) {
            Some(gradient) => self.add(i, gradient),
            None => Ok(()),
        })
    }

    /// The gradient of parameter `i`, a table `[n, d]`, to be added to in place.
    pub fn rows(&mut self, i: usize, n: usize, d: usize) -> Result<&mut RowGradient> {
        let slot = &mut self.0[i];
        if !matches!(slot, Gradient::Rows(rows) if rows.touched.len() == n && rows.dimension == d) {
            let (values, touched) = match slot {
                Gradient::None => (vec![0.0; n * d], vec![false; n]),
                Gradient::Dense(sum) if sum.elem_count() == n * d => {
                    (with_values(sum, <[f32]>::to_vec)?, vec![true; n])
                }
                _ => return Err(Error::bug(format!("the gradient of parameter {i} is no table of {n} rows of {d}"))),
            };
            *slot = Gradient::Rows(RowGradient { dimension: d, values, touched });
        }
        match slot {
            Gradient::Rows(rows) => Ok(rows),
            _ => Err(Error::bug("a table was made and is not there")),
        }
    }

    /// Values of the gradient of parameter `i`, in the parameter's own order; `None` where nothing was added.
    pub fn values(&self, i: usize) -> Result<Option<Vec<f32>>> {
        match &self.0[i] {
            Gradient::None => Ok(None),
            Gradient::Dense(tensor) => with_values(tensor, <[f32]>::to_vec).map(Some),
            Gradient::Rows(rows) => Ok(rows.touched.contains(&true).then(|| rows.values.clone())),
        }
    }

    /// Euclidean length of all gradients together; NaN or infinite where a value is.
    pub fn norm(&self) -> Result<f64> {
        let squares = self.0.iter().map(|gradient| match gradient {
            Gradient::None => Ok(0.0),
            Gradient::Rows(rows) => {
                let used = rows.values.par_chunks(rows.dimension).zip(&rows.touched).with_min_len(256);
                let squares = used.map(|(row, touched)| if *touched { squares(row) } else { 0.0 });
                Ok(squares.collect::<Vec<f64>>().iter().sum())
            }
            Gradient::Dense(tensor) if tensor.device().is_cpu() => {
                with_values(tensor, |values| values.par_chunks(BLOCK).map(squares).collect::<Vec<f64>>().iter().sum())
            }
            // Below.
            Gradient::Dense(_) => Ok(0.0),
        });
        Ok((squares.sum::<Result<f64>>()? + self.squares_on_device().map_err(failed)?).sqrt())
    }

    /// The sum of squares of what lies on a GPU, waited for once.
    fn squares_on_device(&self) -> candle_core::Result<f64> {
        let on_device = self.0.iter().filter_map(|gradient| match gradient {
            Gradient::Dense(tensor) if !tensor.device().is_cpu() => Some(tensor),
            _ => None,
        });
        let sums = on_device.map(|tensor| tensor.sqr()?.sum_all()).collect::<candle_core::Result<Vec<_>>>()?;
        match sums.is_empty() {
            true => Ok(0.0),
            false => Tensor::stack(&sums, 0)?.sum_all()?.to_scalar::<f32>().map(f64::from),
        }
    }
}

/// `Σ x²`, in eight sums so that the processor can work on them side by side.
fn squares(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
}

/// Lends the values of an f32 tensor, copying only where it does not lie in one piece in memory.
pub(crate) fn with_values<T>(tensor: &Tensor, use_them: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) = (&*storage, layout.contiguous_offsets()) {
        return Ok(use_them(&values[from..to]));
    }
    drop(storage);
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    values.map(|values| use_them(&values)).map_err(|e| Error::bug("a tensor is not of type f32").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn sums_add_up_and_parameters_without_a_gradient_have_none() {
        let (a, b) = (Var::new(&[1f32, 2.0], &Device::Cpu).unwrap(), Var::new(&[1f32], &Device::Cpu).unwrap());
        let weights = [a.as_tensor().clone(), b.as_tensor().clone()];
        let mut gradients = Gradients::new(2);
        for _ in 0..2 {
            let mut store = a.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            gradients.add_store(&weights, &mut store).unwrap();
        }
        assert_eq!(gradients.values(0).unwrap().unwrap(), [4.0, 8.0]);
        assert!(gradients.values(1).unwrap().is_none());
        assert!((gradients.norm().unwrap() - 80f64.sqrt()).abs() < 1e-12);
        gradients.clear();
        assert!(gradients.values(0).unwrap().is_none());
    }

    #[test]
    fn a_table_takes_rows_and_whole_tensors() {
        let mut gradients = Gradients::new(1);
        let rows = gradients.rows(0, 2, 2).unwrap();
        rows.values[0] = 1.0;
        rows.touched[0] = true;
        // Transposed, so that it does not lie in one piece.
        let whole = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap().t().unwrap();
        gradients.add(0, whole).unwrap();
        assert_eq!(gradients.values(0).unwrap().unwrap(), [2.0, 3.0, 2.0, 4.0]);
        gradients.clear();
        assert!(gradients.values(0).unwrap().is_none());
        assert_eq!(gradients.rows(0, 2, 2).unwrap().values, [0.0; 4]);
    }
}

//! Functions with a gradient written by hand, as candle takes them.
//!
//! candle's own operations take at most three tensors, allocate each intermediate anew, and the fused ones (softmax,
//! layer normalisation) have no gradient: a graph with one of them trains nothing, silently. A [`Function`] of any
//! number of tensors goes in here and a tensor comes out that `backward` sees through:
//!
//! ```text
//! inputs ─ three by three ─► Gate (one value) ─┐
//!                                  …           ├─ cat ─► Whole: runs the function ─► output
//! inputs ─ three by three ─► Gate (one value) ─┘
//! ```
//!
//! On the way back `Whole` computes all gradients at once and lays them down; the gates, which candle reaches later,
//! hand them to their inputs. The values of gates mean nothing.
//!
//! [`attention`], [`dropout`] and [`embedding`] hold the parts of a transformer that are more than a product or a
//! [row function](crate::kernel::matmul::rowwise::gradient); [`buffers`] keeps their memory from step to step.

pub(super) mod attention;
pub(super) mod buffers;
pub(super) mod dropout;
pub(super) mod embedding;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Error, Layout, Result, Shape, Storage, Tensor};
use std::sync::{Arc, Mutex, PoisonError};

/// A function of some f32 tensors that knows its gradient.
pub(crate) trait Function: Send + Sync + 'static {
    /// What it gives, row-major, with its shape; `keep` asks to keep what [`Function::backward`] needs.
    fn forward(&self, inputs: &[&[f32]], keep: bool) -> (Vec<f32>, Shape);

    /// The gradient of the loss by each input, in their order, each as long as its input. `gradient` is that by the
    /// output. Called once, after a forward pass that kept; `None` where that does not hold.
    fn backward(&self, inputs: &[&[f32]], gradient: &[f32]) -> Option<Vec<Vec<f32>>>;
}

/// Applies a function to contiguous f32 tensors of the CPU. Where none of them is tracked, nothing is kept.
pub(crate) fn apply(function: impl Function, inputs: &[Tensor]) -> Result<Tensor> {
    let gradients: Arc<Gradients> = Arc::new(Mutex::new(vec![None; inputs.len()]));
    let keep = inputs.iter().any(Tensor::track_op);
    let mut gates = Vec::new();
    for (n, three) in inputs.chunks(3).enumerate() {
        // A chunk of fewer repeats its last; the gate gives each gradient away once.
        let last = three.len() - 1;
        let gate = Gate { first: 3 * n, count: three.len(), gradients: gradients.clone() };
        gates.push(three[0].apply_op3(&three[1.min(last)], &three[last], gate)?);
    }
    let gate = Tensor::cat(&gates, 0)?;
    gate.apply_op1(Whole { function, inputs: inputs.to_vec(), keep, gradients })
}

type Gradients = Mutex<Vec<Option<Tensor>>>;

/// One value standing for up to three inputs.
struct Gate {
    first: usize,
    count: usize,
    gradients: Arc<Gradients>,
}

impl CustomOp3 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut take = |n: usize| if n < self.count { gradients[self.first + n].take() } else { None };
        let (one, two, three) = (take(0), take(1), take(2));
        // The third argument repeats the last of fewer: its gradient was taken as the first's or second's.
        Ok((one, two, three))
    }
}

struct Whole<F> {
    function: F,
    inputs: Vec<Tensor>,
    keep: bool,
    gradients: Arc<Gradients>,
}

impl<F: Function> CustomOp1 for Whole<F> {
    fn name(&self) -> &'static str {
        "function"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, shape) = with_values(&self.inputs, |inputs| self.function.forward(inputs, self.keep))?;
        Ok((CpuStorage::F32(values), shape))
    }

    fn bwd(&self, gate: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let all = with_values(std::slice::from_ref(&gradient), |gradient| {
            with_values(&self.inputs, |inputs| self.function.backward(inputs, gradient[0]))
        })??;
        let all = all.ok_or_else(|| Error::Msg("a graph was walked back twice".into()))?;
        let mut laid_down = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        for ((values, input), place) in all.into_iter().zip(&self.inputs).zip(laid_down.iter_mut()) {
            *place = Some(Tensor::from_vec(values, input.shape(), input.device())?);
        }
        gate.zeros_like().map(Some)
    }
}

/// Lends the values of contiguous f32 tensors of the CPU.
pub(crate) fn with_values<T>(tensors: &[Tensor], use_them: impl FnOnce(&[&[f32]]) -> T) -> Result<T> {
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let values = held.iter().map(|(storage, layout)| match (&**storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => Ok(&values[from..to]),
        (Storage::Cpu(CpuStorage::F32(_)), None) => Err(Error::Msg("a tensor is not contiguous".into())),
        (storage, _) => Err(Error::UnexpectedDType { msg: "weights", expected: DType::F32, got: storage.dtype() }.bt()),
    });
    Ok(use_them(&values.collect::<Result<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// `Σ_i (i + 1) x_i`, a weighted sum of its inputs.
    struct Weighted;

    impl Function for Weighted {
        fn forward(&self, inputs: &[&[f32]], _: bool) -> (Vec<f32>, Shape) {
            let sum = inputs.iter().enumerate().map(|(i, x)| (i + 1) as f32 * x[0]).sum();
            (vec![sum], Shape::from(1))
        }

        fn backward(&self, inputs: &[&[f32]], gradient: &[f32]) -> Option<Vec<Vec<f32>>> {
            Some((0..inputs.len()).map(|i| vec![(i + 1) as f32 * gradient[0]]).collect())
        }
    }

    #[test]
    fn every_input_gets_its_own_gradient_whatever_their_number() {
        for n in 1..8 {
            let inputs: Vec<Var> = (0..n).map(|i| Var::new(&[i as f32], &Device::Cpu).unwrap()).collect();
            let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
            let y = apply(Weighted, &tensors).unwrap();
            assert_eq!(y.to_vec1::<f32>().unwrap(), [(0..n).map(|i| (i * (i + 1)) as f32).sum::<f32>()]);
            let gradients = y.sqr().unwrap().backward().unwrap();
            let outer = 2.0 * y.to_vec1::<f32>().unwrap()[0];
            for (i, x) in inputs.iter().enumerate() {
                let got = gradients.get(x).unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(got, [(i + 1) as f32 * outer], "input {i} of {n}");
            }
        }
    }

    #[test]
    fn an_input_used_twice_gets_the_sum_and_constants_get_none() {
        let x = Var::new(&[3f32], &Device::Cpu).unwrap();
        let constant = Tensor::new(&[5f32], &Device::Cpu).unwrap();
        let inputs = [x.as_tensor().clone(), constant, x.as_tensor().clone()];
        let gradients = apply(Weighted, &inputs).unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>().unwrap(), [4.0]);
    }

    #[test]
    fn other_types_are_refused() {
        let x = Tensor::new(&[3f64], &Device::Cpu).unwrap();
        assert!(apply(Weighted, &[x]).is_err());
    }
}

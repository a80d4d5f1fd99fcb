//! AdamW, the clipping before it and the rate of each step.
//!
//! Gradients come in, weights move. With `g` the gradient (clipped), `η` the rate of step `t` = 1, 2, …:
//!
//! ```text
//! m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
//! w ← w − η λ w                  decay, of parameters that decay only
//! w ← w − η m̂ / (√v̂ + ε)         m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ)
//! ```
//!
//! Clipping scales all gradients by `c / |g|` when their common length `|g|` is above `c`. On the CPU the update is one
//! pass over weight, gradient, `m` and `v` without a temporary; elsewhere it is composed. Rows of a table that never
//! had a gradient are passed over, which changes nothing: their update is 0 (unless they decay). Moments below 1e-30
//! become 0: next to `ε` they move no f32 weight, but as subnormal numbers they would cost the processor a hundredfold.
//!
//! ```
//! use parallax::train::optimizer::{Decay, Schedule};
//! let schedule = Schedule { rate: 1.0, warmup: 2, total: 6, decay: Decay::Linear };
//! let rates: Vec<f64> = (0..6).map(|step| schedule.rate_of(step)).collect();
//! assert_eq!(rates, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
//! ```
//!
//! Cost: memory traffic of seven floats a weight. Sources: D. Kingma, J. Ba, "Adam", 2015; I. Loshchilov, F. Hutter,
//! "Decoupled weight decay regularization", 2019; R. Pascanu et al., "On the difficulty of training recurrent neural
//! networks", 2013 (clipping).

use super::failed;
use super::gradients::{Gradient, Gradients, with_values};
use super::tower::Parameter;
use crate::error::{Error, Result};
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Tensor, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// Values a task updates.
const BLOCK: usize = 1 << 14;
/// Moments nearer to zero than this are zero.
const TINY: f32 = 1e-30;

/// AdamW's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// `β₁`, the memory of the mean.
    pub beta1: f64,
    /// `β₂`, the memory of the square.
    pub beta2: f64,
    /// `ε`.
    pub epsilon: f64,
    /// `λ`.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// β₁ = .9, β₂ = .999, ε = 1e-8 as in the paper; `λ` = .01, PyTorch's.
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// How the rate goes down after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// In a straight line to 0.
    Linear,
    /// Along half a cosine to 0.
    Cosine,
    /// Not at all.
    Constant,
}

/// The rate of each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub rate: f64,
    /// Steps in which the rate rises in a straight line; the last of them has the highest.
    pub warmup: usize,
    /// All steps.
    pub total: usize,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of step `step`, counted from 0. No step below `total` has rate 0.
    pub fn rate_of(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / self.warmup as f64;
        }
        let share = (step - self.warmup) as f64 / self.total.saturating_sub(self.warmup).max(1) as f64;
        let share = share.min(1.0);
        match self.decay {
            Decay::Linear => self.rate * (1.0 - share),
            Decay::Cosine => self.rate * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()),
            Decay::Constant => self.rate,
        }
    }
}

/// The moments of one parameter.
#[derive(Clone, Debug)]
enum Moments {
    Host { m: Vec<f32>, v: Vec<f32>, seen: Vec<bool> },
    Device { m: Tensor, v: Tensor },
}

/// `m` and `v` of a parameter; empty for one that is not trained.
pub type MomentPair = (Vec<f32>, Vec<f32>);

/// AdamW with its state over a tower's parameters.
pub struct Optimizer {
    constants: AdamW,
    /// Steps taken.
    step: u64,
    moments: Vec<Moments>,
}

/// The numbers of a step that are the same for every weight.
#[derive(Clone, Copy)]
struct Numbers {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// What the gradient is multiplied by.
    scale: f32,
    /// `η / (1 − β₁ᵗ)`.
    rate: f32,
    /// `1 / √(1 − β₂ᵗ)`.
    root: f32,
    /// `1 − η λ`.
    keep: f32,
}

impl Optimizer {
    /// An optimizer that has seen nothing.
    pub fn new(constants: AdamW, parameters: &[Parameter]) -> Result<Self> {
        let moments = parameters.iter().map(|parameter| {
            let (n, shape) = (parameter.var.elem_count(), parameter.var.shape());
            Ok(match parameter.var.device() {
                _ if !parameter.trained => Moments::Host { m: Vec::new(), v: Vec::new(), seen: Vec::new() },
                Device::Cpu => Moments::Host { m: vec![0.0; n], v: vec![0.0; n], seen: Vec::new() },
                device => {
                    let zeros = Tensor::zeros(shape, parameter.var.dtype(), device).map_err(failed)?;
                    Moments::Device { m: zeros.clone(), v: zeros }
                }
            })
        });
        Ok(Optimizer { constants, step: 0, moments: moments.collect::<Result<_>>()? })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Moves the weights of trained parameters that have a gradient. `scale` multiplies the gradients, by which they
    /// are clipped; see [`clip`].
    pub fn step(&mut self, parameters: &[Parameter], gradients: &Gradients, rate: f64, scale: f64) -> Result<()> {
        self.step += 1;
        let AdamW { beta1, beta2, epsilon, weight_decay } = self.constants;
        let (bias1, bias2) = (1.0 - beta1.powf(self.step as f64), 1.0 - beta2.powf(self.step as f64));
        for (i, (parameter, moments)) in parameters.iter().zip(&mut self.moments).enumerate() {
            let gradient = gradients.get(i);
            if !parameter.trained || matches!(gradient, Gradient::None) {
                continue;
            }
            let decay = if parameter.decays { weight_decay } else { 0.0 };
            let numbers = Numbers {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                epsilon: epsilon as f32,
                scale: scale as f32,
                rate: (rate / bias1) as f32,
                root: (1.0 / bias2.sqrt()) as f32,
                keep: (1.0 - rate * decay) as f32,
            };
            match (gradient, moments) {
                (Gradient::Dense(gradient), Moments::Host { m, v, .. }) => with_values(gradient, |gradient| {
                    let blocks = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)).zip(gradient.par_chunks(BLOCK));
                    in_place(parameter, |weights| {
                        let blocks = weights.par_chunks_mut(BLOCK).zip(blocks);
                        blocks.for_each(|(w, ((m, v), g))| update(w, m, v, g, numbers));
                    })
                })??,
                (Gradient::Rows(rows), Moments::Host { m, v, seen }) => {
                    let d = rows.dimension;
                    if seen.is_empty() {
                        // Also after a state was read: a row with moments has been seen.
                        *seen =
                            m.chunks(d).zip(v.chunks(d)).map(|(m, v)| m.iter().chain(v).any(|x| *x != 0.0)).collect();
                    }
                    let moments = m.par_chunks_mut(d).zip(v.par_chunks_mut(d)).zip(seen);
                    let gradient = rows.values.par_chunks(d).zip(&rows.touched);
                    in_place(parameter, |weights| {
                        let rows = weights.par_chunks_mut(d).zip(moments).zip(gradient).with_min_len(64);
                        rows.for_each(|((w, ((m, v), seen)), (g, touched))| {
                            *seen |= *touched;
                            match (*touched, *seen || numbers.keep != 1.0) {
                                (true, _) => update(w, m, v, g, numbers),
                                (false, true) => coast(w, m, v, numbers),
                                (false, false) => {}
                            }
                        });
                    })?;
                }
                (Gradient::Dense(gradient), Moments::Device { m, v }) => {
                    let (next_m, next_v, w) =
                        composed(parameter.var.as_tensor(), gradient, m, v, numbers).map_err(failed)?;
                    (*m, *v) = (next_m, next_v);
                    parameter.var.set(&w).map_err(failed)?;
                }
                _ => return Err(Error::bug(format!("the gradient of `{}` is on another device", parameter.name))),
            }
        }
        Ok(())
    }

    /// What is no number any more, by name: weights of a trained parameter, or its moments.
    pub fn not_finite(&self, parameters: &[Parameter]) -> Result<Option<String>> {
        for (parameter, moments) in parameters.iter().zip(&self.moments).filter(|(parameter, _)| parameter.trained) {
            let moments = match moments {
                Moments::Host { m, v, .. } => finite(m) && finite(v),
                Moments::Device { m, v } => with_values(m, finite)? && with_values(v, finite)?,
            };
            let what = match with_values(parameter.var.as_tensor(), finite)? {
                true if moments => continue,
                true => "moments",
                false => "weights",
            };
            return Ok(Some(format!("{what} of `{}`", parameter.name)));
        }
        Ok(None)
    }

    /// Both moments of each parameter, in the parameters' order; with [`Optimizer::steps`] they are the whole state.
    pub fn state(&self) -> Result<Vec<MomentPair>> {
        let moments = self.moments.iter().map(|moments| match moments {
            Moments::Host { m, v, .. } => Ok((m.clone(), v.clone())),
            Moments::Device { m, v } => Ok((with_values(m, <[f32]>::to_vec)?, with_values(v, <[f32]>::to_vec)?)),
        });
        moments.collect()
    }

    /// Goes on from a state; sizes that are not the parameters' are refused.
    pub fn restore(&mut self, step: u64, state: Vec<MomentPair>) -> Result<()> {
        if state.len() != self.moments.len() {
            return Err(Error::bad_input("the optimizer's state is of other parameters"));
        }
        for (moments, (new_m, new_v)) in self.moments.iter_mut().zip(state) {
            match moments {
                Moments::Host { m, v, seen } if (m.len(), v.len()) == (new_m.len(), new_v.len()) => {
                    (*m, *v) = (new_m, new_v);
                    seen.clear();
                }
                Moments::Device { m, v } if m.elem_count() == new_m.len() && v.elem_count() == new_v.len() => {
                    let (shape, device) = (m.shape().clone(), m.device().clone());
                    *m = Tensor::from_vec(new_m, shape.clone(), &device).map_err(failed)?;
                    *v = Tensor::from_vec(new_v, shape, &device).map_err(failed)?;
                }
                _ => return Err(Error::bad_input("the optimizer's state is of other parameters")),
            }
        }
        self.step = step;
        Ok(())
    }
}

fn finite(values: &[f32]) -> bool {
    values.par_chunks(BLOCK).all(|block| block.iter().fold(true, |finite, x| finite & x.is_finite()))
}

/// What gradients of length `norm` are multiplied by so that they are no longer than `most`.
pub fn clip(norm: f64, most: Option<f64>) -> f64 {
    match most {
        Some(most) if norm > most => most / norm,
        _ => 1.0,
    }
}

/// One block of weights; slices of one length.
fn update(w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], by: Numbers) {
    let (other1, other2) = (1.0 - by.beta1, 1.0 - by.beta2);
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * by.scale;
        *m = settled(by.beta1 * *m + other1 * g);
        *v = settled(by.beta2 * *v + other2 * (g * g));
        *w = *w * by.keep - by.rate * *m / (v.sqrt() * by.root + by.epsilon);
    }
}

/// [`update`] by a gradient of zero.
fn coast(w: &mut [f32], m: &mut [f32], v: &mut [f32], by: Numbers) {
    for ((w, m), v) in w.iter_mut().zip(m).zip(v) {
        *m = settled(by.beta1 * *m);
        *v = settled(by.beta2 * *v);
        *w = *w * by.keep - by.rate * *m / (v.sqrt() * by.root + by.epsilon);
    }
}

#[inline]
fn settled(x: f32) -> f32 {
    if x.abs() < TINY { 0.0 } else { x }
}

/// The same composed of candle's operations; `m`, `v` and `w` after the step.
fn composed(
    w: &Tensor,
    g: &Tensor,
    m: &Tensor,
    v: &Tensor,
    by: Numbers,
) -> candle_core::Result<(Tensor, Tensor, Tensor)> {
    let number = f64::from;
    let g = (g.detach() * number(by.scale))?;
    let m = ((m * number(by.beta1))? + (&g * number(1.0 - by.beta1))?)?;
    let v = ((v * number(by.beta2))? + (g.sqr()? * number(1.0 - by.beta2))?)?;
    let step = ((&m * number(by.rate))? / ((v.sqrt()? * number(by.root))? + number(by.epsilon))?)?;
    let w = ((w.detach() * number(by.keep))? - step)?;
    Ok((m, v, w))
}

/// Lends a parameter's values, to be changed, without a copy.
fn in_place(parameter: &Parameter, change: impl FnOnce(&mut [f32]) + Send) -> Result<()> {
    struct Lend<F>(Mutex<Option<F>>);

    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Lend<F> {
        fn name(&self) -> &'static str {
            "adamw"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let change = self.0.lock().ok().and_then(|mut change| change.take());
            match (storage, layout.contiguous_offsets(), change) {
                (CpuStorage::F32(values), Some((from, to)), Some(change)) => change(&mut values[from..to]),
                _ => bail!("a weight is not f32 in one piece"),
            }
            Ok(())
        }
    }

    parameter.var.inplace_op1(&Lend(Mutex::new(Some(change)))).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use candle_core::Var;

    fn parameter(name: &str, values: &[f32], shape: &[usize], decays: bool) -> Parameter {
        let var = Var::from_slice(values, shape, &Device::Cpu).unwrap();
        Parameter { name: name.into(), var, decays, trained: true }
    }

    fn values(parameter: &Parameter) -> Vec<f32> {
        with_values(parameter.var.as_tensor(), <[f32]>::to_vec).unwrap()
    }

    #[test]
    fn weights_and_moments_that_are_no_numbers_are_found() {
        let parameters = [parameter("a", &[1.0; 3], &[3], false), parameter("b", &[1.0; 3], &[3], false)];
        let mut optimizer = Optimizer::new(AdamW::default(), &parameters).unwrap();
        assert_eq!(optimizer.not_finite(&parameters).unwrap(), None);
        // Its square is beyond f32: the weight stays where it is, for ever.
        let mut gradients = Gradients::new(2);
        gradients.add(1, Tensor::new(&[0.0f32, 1e30, 0.0], &Device::Cpu).unwrap()).unwrap();
        optimizer.step(&parameters, &gradients, 0.1, 1.0).unwrap();
        assert_eq!(values(&parameters[1]), [1.0; 3]);
        assert_eq!(optimizer.not_finite(&parameters).unwrap().as_deref(), Some("moments of `b`"));
        parameters[0].var.set(&Tensor::new(&[0.0f32, 1.0, f32::NAN], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(optimizer.not_finite(&parameters).unwrap().as_deref(), Some("weights of `a`"));
    }

    /// PyTorch 2 says so:
    ///
    /// ```text
    /// w = torch.nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 0.0])); b = torch.nn.Parameter(torch.tensor([0.3]))
    /// opt = torch.optim.AdamW([{'params': [w], 'weight_decay': 0.1}, {'params': [b], 'weight_decay': 0.0}],
    ///                         betas=(0.9, 0.999), eps=1e-8)
    /// for lr, gw, gb in STEPS:   # the three below
    ///     w.grad, b.grad = torch.tensor(gw), torch.tensor(gb)
    ///     print(torch.nn.utils.clip_grad_norm_([w, b], 1.5).item())
    ///     for group in opt.param_groups: group['lr'] = lr
    ///     opt.step()
    /// ```
    #[test]
    fn three_clipped_steps_equal_those_of_pytorch() {
        let steps: [(f64, [f32; 4], [f32; 1], f64); 3] = [
            (0.05, [0.1, -0.2, 3.0, 0.0], [1.0], 3.170_173_645),
            (0.1, [-0.4, 0.2, 1e-3, 0.0], [-2.0], 2.049_390_316),
            (0.02, [0.0, 0.0, 0.5, 1e-6], [0.25], 0.559_017_003),
        ];
        let parameters = [parameter("w", &[0.5, -1.0, 2.0, 0.0], &[4], true), parameter("b", &[0.3], &[1], false)];
        let mut optimizer = Optimizer::new(AdamW { weight_decay: 0.1, ..AdamW::default() }, &parameters).unwrap();
        let mut gradients = Gradients::new(2);
        for (rate, w, b, length) in steps {
            gradients.clear();
            gradients.add(0, Tensor::new(&w, &Device::Cpu).unwrap()).unwrap();
            gradients.add(1, Tensor::new(&b, &Device::Cpu).unwrap()).unwrap();
            let norm = gradients.norm().unwrap();
            assert!((norm - length).abs() < 1e-6);
            optimizer.step(&parameters, &gradients, rate, clip(norm, Some(1.5))).unwrap();
        }
        let expected = [0.514_494_84, -0.963_804_84, 1.835_825_1, -0.012_558_854, 0.305_822_55];
        for (found, expected) in [values(&parameters[0]), values(&parameters[1])].concat().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn rows_whole_tensors_and_composed_operations_give_the_same_weights() {
        let (n, d) = (50, 8);
        let mut random = Random::new(2);
        let start: Vec<f32> = (0..n * d).map(|_| random.normal() as f32).collect();
        for decays in [false, true] {
            let [by_rows, whole] = ["r", "w"].map(|name| [parameter(name, &start, &[n, d], decays)]);
            let mut optimizers = [&by_rows, &whole].map(|p| Optimizer::new(AdamW::default(), p).unwrap());
            let mut rows = Gradients::new(1);
            let shape = (n, d);
            let zeros = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
            let mut device = (zeros.clone(), zeros.clone(), whole[0].var.as_tensor().copy().unwrap());
            for step in 1..=6 {
                rows.clear();
                let table = rows.rows(0, n, d).unwrap();
                for row in (0..n).filter(|row| row % 7 == step % 3) {
                    table.touched[row] = true;
                    table.values[row * d..(row + 1) * d].fill_with(|| random.normal() as f32);
                }
                let dense = Tensor::from_vec(table.values.clone(), shape, &Device::Cpu).unwrap();
                let mut all = Gradients::new(1);
                all.add(0, dense.clone()).unwrap();
                if step == 4 {
                    // The state goes through a file's form.
                    let (steps, state) = (optimizers[0].steps(), optimizers[0].state().unwrap());
                    optimizers[0] = Optimizer::new(AdamW::default(), &by_rows).unwrap();
                    optimizers[0].restore(steps, state).unwrap();
                }
                optimizers[0].step(&by_rows, &rows, 0.01, 0.5).unwrap();
                optimizers[1].step(&whole, &all, 0.01, 0.5).unwrap();
                let AdamW { beta1, beta2, epsilon, weight_decay } = AdamW::default();
                let (bias1, bias2) = (1.0 - beta1.powf(step as f64), 1.0 - beta2.powf(step as f64));
                let numbers = Numbers {
                    beta1: beta1 as f32,
                    beta2: beta2 as f32,
                    epsilon: epsilon as f32,
                    scale: 0.5,
                    rate: (0.01 / bias1) as f32,
                    root: (1.0 / bias2.sqrt()) as f32,
                    keep: (1.0 - if decays { 0.01 * weight_decay } else { 0.0 }) as f32,
                };
                device = composed(&device.2, &dense, &device.0, &device.1, numbers).unwrap();
            }
            assert_eq!(values(&by_rows[0]), values(&whole[0]));
            let composed = device.2.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(values(&whole[0]).iter().zip(&composed).all(|(a, b)| (a - b).abs() < 1e-6));
            assert_ne!(values(&whole[0]), start);
        }
    }

    #[test]
    fn what_has_no_gradient_stays_and_moments_never_become_subnormal() {
        let mut parameters = [parameter("a", &[1.0], &[1], true), parameter("b", &[1.0], &[1], true)];
        parameters[1].trained = false;
        let mut optimizer = Optimizer::new(AdamW::default(), &parameters).unwrap();
        let mut gradients = Gradients::new(2);
        gradients.add(1, Tensor::new(&[5f32], &Device::Cpu).unwrap()).unwrap();
        optimizer.step(&parameters, &gradients, 0.1, 1.0).unwrap();
        assert_eq!((values(&parameters[0]), values(&parameters[1])), (vec![1.0], vec![1.0]));
        let numbers = Numbers { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, scale: 1.0, rate: 0.1, root: 1.0, keep: 1.0 };
        let (mut w, mut m, mut v) = ([1.0], [1e-3], [1e-6]);
        for _ in 0..2000 {
            coast(&mut w, &mut m, &mut v, numbers);
            assert!(m[0] == 0.0 || m[0].is_normal());
        }
        assert_eq!(m, [0.0]);
    }

    #[test]
    fn rates_rise_to_the_highest_and_fall_as_asked() {
        let rates = |decay| {
            let schedule = Schedule { rate: 2.0, warmup: 4, total: 12, decay };
            (0..12).map(|step| schedule.rate_of(step)).collect::<Vec<_>>()
        };
        for decay in [Decay::Linear, Decay::Cosine, Decay::Constant] {
            let rates = rates(decay);
            assert_eq!(rates[..4], [0.5, 1.0, 1.5, 2.0]);
            assert!(rates.iter().all(|rate| *rate > 0.0 && *rate <= 2.0));
            assert!(rates[4..].windows(2).all(|pair| pair[1] <= pair[0]));
        }
        assert!((rates(Decay::Cosine)[8] - 1.0).abs() < 1e-12 && rates(Decay::Constant)[11] == 2.0);
        // All steps warm-up, and none.
        assert_eq!(Schedule { rate: 1.0, warmup: 3, total: 3, decay: Decay::Linear }.rate_of(2), 1.0);
        assert_eq!(Schedule { rate: 1.0, warmup: 0, total: 3, decay: Decay::Linear }.rate_of(0), 1.0);
    }
}

//! The gradient of chunks is the gradient of the whole, for towers with dropout of either kind.

use super::*;
use crate::encoder::contract::{Role, Similarity};
use crate::encoder::fixed::StaticModel;
use crate::random::Random;
use crate::train::batch::FORBIDDEN;
use crate::train::fixed::FixedTower;
use crate::train::tower::Parameter;
use candle_core::{Device, Var};
use std::path::Path;

/// A table of features, a hidden layer with tanh and dropout, and a layer to the rows: candle knows its gradient.
struct Toy(Vec<Parameter>);

const WORDS: usize = 20;

impl Toy {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut parameter = |name: &str, shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32 * 0.3).collect();
            let var = Var::from_vec(values, shape, &Device::Cpu).unwrap();
            Parameter { name: name.into(), var, decays: true, trained: true }
        };
        Toy(vec![parameter("table", &[WORDS, 6]), parameter("hidden", &[6, 10]), parameter("out", &[10, 5])])
    }
}

impl Tower for Toy {
    fn parameters(&self) -> &[Parameter] {
        &self.0
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn dimension(&self) -> usize {
        5
    }

    fn similarity(&self) -> Similarity {
        Similarity::Cosine
    }

    fn tokens(&self, _: &str, _: Role) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    fn forward(&self, weights: &[Tensor], texts: &Packed, dropout: Option<Dropout>) -> Result<Tensor> {
        let work = || {
            let first: Vec<u32> = (0..texts.len()).map(|i| texts.text(i)[0]).collect();
            let mut hidden = weights[0].embedding(&Tensor::new(first, &Device::Cpu)?)?.matmul(&weights[1])?.tanh()?;
            if let Some(dropout) = dropout {
                let keep = |i: usize| {
                    let mut random = Random::new(dropout.text_seed(i));
                    std::iter::repeat_with(move || if random.unit() < 0.3 { 0.0 } else { 1.0 / 0.7 }).take(10)
                };
                let mask: Vec<f32> = (0..texts.len()).flat_map(keep).collect();
                hidden = (hidden * Tensor::from_vec(mask, (texts.len(), 10), &Device::Cpu)?)?;
            }
            hidden.matmul(&weights[2])
        };
        work().map_err(failed)
    }

    fn write(&self, _: &Path, _: Similarity) -> Result<()> {
        Ok(())
    }
}

fn fixed(dropout: f64) -> FixedTower {
    let mut random = Random::new(4);
    let vocabulary = std::iter::once("[UNK]".to_string()).chain((1..WORDS).map(|i| format!("w{i}"))).collect();
    let values: Vec<f32> = (0..WORDS * 5).map(|_| random.normal() as f32).collect();
    let model = StaticModel::quantized(vocabulary, 5, &values).unwrap();
    FixedTower::of(&model, "x", &Device::Cpu).unwrap().with_dropout(dropout).unwrap()
}

fn batch() -> Batch {
    let mut random = Random::new(9);
    let mut texts = |n: usize| {
        let texts: Vec<Vec<u32>> =
            (0..n).map(|i| (0..1 + i % 4).map(|_| random.below(WORDS) as u32).collect()).collect();
        Packed::of(texts.iter().map(Vec::as_slice))
    };
    let (queries, passages) = (texts(7), texts(12));
    let mut mask = vec![0.0; 7 * 12];
    mask[5] = FORBIDDEN;
    Batch { set: 0, queries, passages, mask, alone: 0, texts: Default::default() }
}

/// Loss and all gradients of a step in chunks.
fn step(towers: &Towers, chunk: usize) -> (f64, Vec<Vec<f32>>) {
    let mut cache = GradCache::new(towers, LossOptions { temperature: 0.2, ..LossOptions::default() }, chunk);
    // A step before it leaves nothing behind.
    cache.step(&batch(), None, 1).unwrap();
    let loss = cache.step(&batch(), None, 5).unwrap();
    let gradients = cache.gradients.iter().zip(towers.all()).flat_map(|(gradients, tower)| {
        let values = (0..tower.parameters().len()).map(|i| gradients.values(i).unwrap().unwrap());
        values.collect::<Vec<_>>()
    });
    (loss, gradients.collect())
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())).sqrt()
}

#[test]
fn chunks_of_any_size_give_the_gradient_of_the_whole_batch() {
    let make: [(&str, usize, &dyn Fn() -> Towers); 4] = [
        ("shared network", 3, &|| Towers::shared(Box::new(Toy::new(1)))),
        ("two networks", 6, &|| Towers {
            passage: Some(Box::new(Toy::new(2))),
            ..Towers::shared(Box::new(Toy::new(1)))
        }),
        ("frozen passages", 3, &|| Towers {
            question: Box::new(Toy::new(1)),
            passage: Some(Box::new(Toy::new(2))),
            freeze_passage: true,
        }),
        ("static with dropped tokens", 1, &|| Towers::shared(Box::new(fixed(0.4)))),
    ];
    for (name, parameters, make) in make {
        let towers = make();
        let whole = step(&towers, 100);
        assert_eq!(whole.1.len(), parameters);
        for chunk in [1, 2, 5, 11] {
            let parts = step(&towers, chunk);
            assert!((parts.0 - whole.0).abs() < 1e-5, "{name}, chunks of {chunk}: {} {}", parts.0, whole.0);
            for (part, all) in parts.1.iter().zip(&whole.1) {
                let found = distance(part, all);
                assert!(found < 1e-4, "{name}, chunks of {chunk}: {found}");
            }
        }
        assert_eq!(step(&towers, 5), step(&towers, 5));
    }
}

#[test]
fn the_gradient_is_that_of_the_loss() {
    // By differences, through the whole step, dropout included.
    let towers = Towers::shared(Box::new(Toy::new(1)));
    let (_, gradients) = step(&towers, 4);
    for (parameter, gradient) in towers.question.parameters().iter().zip(&gradients) {
        let start = parameter.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for at in (0..start.len()).step_by(7) {
            let loss = |by: f32| {
                let mut values = start.clone();
                values[at] += by;
                parameter.var.set(&Tensor::from_vec(values, parameter.var.shape(), &Device::Cpu).unwrap()).unwrap();
                step(&towers, 4).0
            };
            let difference = (loss(1e-2) - loss(-1e-2)) / 2e-2;
            loss(0.0);
            let slope = f64::from(gradient[at]);
            assert!((difference - slope).abs() < 2e-3 + 0.01 * slope.abs(), "{}: {slope} {difference}", parameter.name);
        }
    }
}

#[test]
fn dropout_differs_by_step_and_by_role() {
    let towers = Towers::shared(Box::new(Toy::new(1)));
    let mut cache = GradCache::new(&towers, LossOptions::default(), 100);
    let losses: Vec<f64> = (0..3).map(|seed| cache.step(&batch(), None, seed).unwrap()).collect();
    assert!(losses[0] != losses[1] && losses[1] != losses[2]);
}

//! What can be set of a training, and where the defaults come from.

use super::gradcache::Towers;
use super::loss::{Distillation, LossOptions};
use super::optimizer::Decay;
use super::tower::Tower;
use crate::encoder::contract::Similarity;
use crate::error::{Error, Result};

/// The greatest number of anything counted here: what is above it is a slip, and below it no product of two overflows.
const MOST: usize = 1_000_000_000;

/// How many steps the rate rises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// A share of all steps, rounded up.
    Share(f64),
    /// So many.
    Steps(usize),
}

/// What is asked of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// How rows are compared, in the loss and by the folder that is written; `None` keeps the folder's own way.
    pub similarity: Option<Similarity>,
    /// `τ`; `None` is 1 for dot and, for cosine, what suits the family ([`Tower::temperature`]).
    pub temperature: Option<f64>,
    /// Whether passages look for their query too.
    pub symmetric: bool,
    /// Numbers of components with weights that the loss is summed over; empty for all components alone.
    pub matryoshka: Vec<(usize, f64)>,
    /// How a teacher's scores count, where a teacher is given.
    pub distillation: Distillation,
    /// Queries a step.
    pub batch: usize,
    /// Texts a tower works on at a time; smaller takes less memory and gives the same (GradCache).
    pub chunk: usize,
    /// Hard negatives a query at most.
    pub hard_negatives: usize,
    /// Whether near duplicates of a positive are no negatives either; equal texts never are.
    pub near_duplicates: bool,
    /// Times the examples are gone through, where `steps` does not say when to end.
    pub epochs: usize,
    /// Steps in all, however often they go through the examples.
    pub steps: Option<usize>,
    /// The highest rate `η`.
    pub rate: f64,
    /// How it rises.
    pub warmup: Warmup,
    /// How it falls.
    pub decay: Decay,
    /// `λ`, of parameters that decay.
    pub weight_decay: f64,
    /// Length gradients are cut to; `None` leaves them.
    pub clip: Option<f64>,
    /// Orders, draws and masks follow from it.
    pub seed: u64,
    /// Steps between validations; `None` validates after every epoch.
    pub validate_every: Option<usize>,
    /// Validations in a row without a gain after which training ends; `None` never ends early.
    pub patience: Option<usize>,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Goes on with a training that was stopped; starts one where there is none.
    pub resume: bool,
}

impl Default for TrainOptions {
    /// For a transformer: rate 2e-5 with warm-up over the first tenth and linear decay, the settings of BERT
    /// (J. Devlin et al., 2019) and DPR (V. Karpukhin et al., 2020), clipping at 1 as there; one hard negative, DPR's.
    fn default() -> Self {
        TrainOptions {
            similarity: None,
            temperature: None,
            symmetric: false,
            matryoshka: Vec::new(),
            distillation: Distillation::default(),
            batch: 32,
            chunk: 16,
            hard_negatives: 1,
            near_duplicates: true,
            epochs: 1,
            steps: None,
            rate: 2e-5,
            warmup: Warmup::Share(0.1),
            decay: Decay::Linear,
            weight_decay: 0.01,
            clip: Some(1.0),
            seed: 1,
            validate_every: None,
            patience: None,
            checkpoint_every: 500,
            resume: false,
        }
    }
}

impl TrainOptions {
    /// For a static encoder: large batches, which cost little, and a rate a hundred times higher.
    ///
    /// Tried on SQuAD (train with in-batch negatives, a third of dev asked over all paragraphs): rates of .001 and .01
    /// were worse.
    pub fn for_static() -> Self {
        TrainOptions { batch: 512, chunk: 4096, rate: 0.003, epochs: 3, ..TrainOptions::default() }
    }

    /// The loss these options ask for, over a tower with its own way to compare rows and its own usual temperature.
    pub fn loss(&self, tower: &dyn Tower) -> LossOptions {
        let similarity = self.similarity.unwrap_or(tower.similarity());
        let usual = match similarity {
            Similarity::Cosine => tower.temperature(),
            // Inner products are not bounded: their spread is learnt, not set.
            Similarity::Dot => 1.0,
        };
        LossOptions {
            similarity,
            temperature: self.temperature.unwrap_or(usual),
            symmetric: self.symmetric,
            matryoshka: self.matryoshka.clone(),
            distillation: self.distillation,
        }
    }

    /// Steps in all, with so many an epoch.
    pub fn total(&self, epoch_steps: usize) -> usize {
        self.steps.unwrap_or(self.epochs.saturating_mul(epoch_steps))
    }

    /// Steps of the warm-up among `total`.
    pub fn warmup_steps(&self, total: usize) -> usize {
        match self.warmup {
            Warmup::Share(share) => (share * total as f64).ceil() as usize,
            Warmup::Steps(steps) => steps,
        }
    }

    /// Refuses settings that mean nothing; reads nothing.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::usage(message));
        let warmup = if let Warmup::Steps(steps) = self.warmup { steps } else { 0 };
        let counts = [
            ("batch", 1, Some(self.batch)),
            ("chunk", 1, Some(self.chunk)),
            ("epochs", 1, Some(self.epochs)),
            ("steps", 1, self.steps),
            ("hard negatives", 0, Some(self.hard_negatives)),
            ("warm-up", 0, Some(warmup)),
            ("validate every", 1, self.validate_every),
            ("patience", 1, self.patience),
            ("checkpoint every", 1, Some(self.checkpoint_every)),
        ];
        for (name, least, value) in counts {
            if let Some(value) = value.filter(|value| !(least..=MOST).contains(value)) {
                return refuse(format!("`{name}` is {value}, not a number from {least} to a thousand million"));
            }
        }
        let above = [
            ("temperature", self.temperature),
            ("rate", Some(self.rate)),
            ("clip", self.clip),
            ("teacher temperature", Some(self.distillation.temperature)),
        ];
        for (name, value) in above {
            // Weights and scores are f32, in which such a number must still be one.
            if let Some(value) = value.filter(|value| !(*value > 0.0 && (*value as f32).is_normal())) {
                return refuse(format!("`{name}` is {value}, not a number above 0 that 32 bits can hold"));
            }
        }
        for (name, value) in [("weight decay", self.weight_decay), ("teacher weight", self.distillation.weight)] {
            if !(value >= 0.0 && (value as f32).is_finite()) {
                return refuse(format!("`{name}` is {value}, not a number from 0 up that 32 bits can hold"));
            }
        }
        match self.warmup {
            Warmup::Share(share) if !(0.0..=1.0).contains(&share) => {
                refuse(format!("the warm-up takes {share} of all steps, which is no share between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses towers that do not belong together, and widths that their rows do not have.
    pub fn fits(&self, towers: &Towers) -> Result<()> {
        towers.check()?;
        let dimension = towers.question.dimension();
        match self.matryoshka.iter().find(|(width, weight)| !(1..=dimension).contains(width) || !weight.is_finite()) {
            Some((width, weight)) => {
                Err(Error::usage(format!("width {width} with weight {weight} for rows of {dimension} components")))
            }
            None => Ok(()),
        }
    }

    /// All settings by which the weights of a training differ, as names and values: resuming compares them.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let distillation = (self.distillation.temperature, self.distillation.weight);
        vec![
            ("similarity", self.similarity.map_or("the model's", Similarity::name).to_string()),
            ("temperature", self.temperature.map_or("the usual".into(), |temperature| temperature.to_string())),
            ("symmetric", self.symmetric.to_string()),
            ("matryoshka", format!("{:?}", self.matryoshka)),
            ("distillation", format!("{distillation:?}")),
            ("batch", self.batch.to_string()),
            ("chunk", self.chunk.to_string()),
            ("hard negatives", self.hard_negatives.to_string()),
            ("near duplicates", self.near_duplicates.to_string()),
            ("length", self.steps.map_or(format!("{} epochs", self.epochs), |steps| format!("{steps} steps"))),
            ("rate", format!("{:?}", self.rate)),
            ("warm-up", format!("{:?}", self.warmup)),
            ("decay", format!("{:?}", self.decay)),
            ("weight decay", format!("{:?}", self.weight_decay)),
            ("clip", format!("{:?}", self.clip)),
            ("seed", self.seed.to_string()),
            ("validate every", format!("{:?}", self.validate_every)),
            ("patience", format!("{:?}", self.patience)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::fixed::StaticModel;
    use crate::train::fixed::FixedTower;
    use candle_core::Device;

    #[test]
    fn what_means_nothing_or_overflows_is_refused_by_name() {
        let (huge, usual) = (usize::MAX, TrainOptions::default());
        let with = |change: &dyn Fn(&mut TrainOptions)| {
            let mut options = usual.clone();
            change(&mut options);
            options
        };
        usual.check().unwrap();
        TrainOptions::for_static().check().unwrap();
        let mut cases: Vec<(&str, TrainOptions)> = Vec::new();
        for count in [0, huge] {
            cases.push(("batch", with(&|o| o.batch = count)));
            cases.push(("chunk", with(&|o| o.chunk = count)));
            cases.push(("epochs", with(&|o| o.epochs = count)));
            cases.push(("steps", with(&|o| o.steps = Some(count))));
            cases.push(("validate every", with(&|o| o.validate_every = Some(count))));
            cases.push(("patience", with(&|o| o.patience = Some(count))));
            cases.push(("checkpoint every", with(&|o| o.checkpoint_every = count)));
        }
        cases.push(("hard negatives", with(&|o| o.hard_negatives = huge)));
        cases.push(("warm-up", with(&|o| o.warmup = Warmup::Steps(huge))));
        for number in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            cases.push(("temperature", with(&|o| o.temperature = Some(number))));
            cases.push(("rate", with(&|o| o.rate = number)));
            cases.push(("clip", with(&|o| o.clip = Some(number))));
            cases.push(("teacher temperature", with(&|o| o.distillation.temperature = number)));
            cases.push(("weight decay", with(&|o| o.weight_decay = number)));
            cases.push(("teacher weight", with(&|o| o.distillation.weight = number)));
            cases.push(("warm-up", with(&|o| o.warmup = Warmup::Share(number))));
        }
        for zero in [0.0, 1e-300] {
            cases.push(("temperature", with(&|o| o.temperature = Some(zero))));
            cases.push(("rate", with(&|o| o.rate = zero)));
        }
        for (name, options) in cases {
            let error = options.check().expect_err(name);
            assert!(error.kind() == crate::ErrorKind::Usage && error.message().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn steps_are_counted_without_overflow_and_come_before_epochs() {
        let epochs = TrainOptions { epochs: MOST, ..TrainOptions::default() };
        assert_eq!(epochs.total(3), 3 * MOST);
        assert_eq!(epochs.total(usize::MAX), usize::MAX);
        assert_eq!(TrainOptions { epochs: 1, steps: Some(7), ..epochs }.total(3), 7);
    }

    #[test]
    fn the_usual_temperature_is_that_of_similarity_and_family() {
        let words = ["[UNK]", "a"].map(String::from).to_vec();
        let model = StaticModel::quantized(words, 2, &[0.0, 0.0, 1.0, 2.0]).unwrap();
        let (cosine, folder) = (FixedTower::of(&model, "x", &Device::Cpu).unwrap(), tempfile::tempdir().unwrap());
        cosine.write(folder.path(), Similarity::Dot).unwrap();
        let dot = FixedTower::open(folder.path(), "x", &Device::Cpu).unwrap();
        for options in [TrainOptions::default(), TrainOptions::for_static()] {
            let asked = |similarity, temperature| TrainOptions { similarity, temperature, ..options.clone() };
            let of = |options: TrainOptions, tower: &FixedTower| options.loss(tower).temperature;
            assert_eq!((of(asked(None, None), &cosine), of(asked(None, None), &dot)), (0.03, 1.0));
            assert_eq!(of(asked(Some(Similarity::Dot), None), &cosine), 1.0);
            assert_eq!(of(asked(Some(Similarity::Cosine), None), &dot), 0.03);
            assert_eq!(of(asked(None, Some(0.2)), &dot), 0.2);
        }
    }
}

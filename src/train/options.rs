//! What can be set of a training, and where the defaults come from.

use super::loss::{Distillation, LossOptions};
use super::optimizer::Decay;
use super::tower::Tower;
use crate::encoder::contract::Similarity;
use crate::error::{Error, Result};

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
    /// `τ`; `None` is .05 for cosine and 1 for dot.
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
    /// Times the examples are gone through.
    pub epochs: usize,
    /// Steps after which training ends in any case.
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
    /// For a static encoder: large batches, which cost little, a rate a hundred times higher, a lower temperature.
    ///
    /// Tried on SQuAD (train with in-batch negatives, a third of dev asked over all paragraphs): rates of .001 and .01
    /// were worse, `τ` of .02 and .03 gave .573 and .571 MRR@10 where .05 gave .562 and .1 less than at the start (.524).
    pub fn for_static() -> Self {
        TrainOptions {
            temperature: Some(0.03),
            batch: 512,
            chunk: 4096,
            rate: 0.003,
            epochs: 3,
            ..TrainOptions::default()
        }
    }

    /// The loss these options ask for, over a tower that compares rows in its own way.
    pub fn loss(&self, tower: &dyn Tower) -> LossOptions {
        let similarity = self.similarity.unwrap_or(tower.similarity());
        let usual = if similarity == Similarity::Cosine { 0.05 } else { 1.0 };
        LossOptions {
            similarity,
            temperature: self.temperature.unwrap_or(usual),
            symmetric: self.symmetric,
            matryoshka: self.matryoshka.clone(),
            distillation: self.distillation,
        }
    }

    /// Steps of the warm-up among `total`.
    pub fn warmup_steps(&self, total: usize) -> usize {
        match self.warmup {
            Warmup::Share(share) => (share * total as f64).ceil() as usize,
            Warmup::Steps(steps) => steps,
        }
    }

    /// Refuses settings that mean nothing, for rows of `dimension` components.
    pub fn check(&self, dimension: usize) -> Result<()> {
        let refuse = |message: String| Err(Error::usage(message));
        for (name, value) in [("batch", self.batch), ("chunk", self.chunk), ("epochs", self.epochs)] {
            if value == 0 {
                return refuse(format!("`{name}` is 0"));
            }
        }
        if [self.steps, self.validate_every, self.patience, Some(self.checkpoint_every)].contains(&Some(0)) {
            return refuse("a number of steps, or the patience, is 0".into());
        }
        let above = [("temperature", self.temperature), ("rate", Some(self.rate)), ("clip", self.clip)];
        for (name, value) in above.into_iter().chain([("teacher temperature", Some(self.distillation.temperature))]) {
            if value.is_some_and(|value| !(value.is_finite() && value > 0.0)) {
                return refuse(format!("`{name}` is {}, not a number above 0", value.unwrap_or_default()));
            }
        }
        for (name, value) in [("weight decay", self.weight_decay), ("teacher weight", self.distillation.weight)] {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(format!("`{name}` is {value}, not a number from 0 up"));
            }
        }
        if matches!(self.warmup, Warmup::Share(share) if !(0.0..=1.0).contains(&share)) {
            return refuse("the share of the warm-up does not lie between 0 and 1".into());
        }
        match self.matryoshka.iter().find(|(width, weight)| !(1..=dimension).contains(width) || !weight.is_finite()) {
            Some((width, weight)) => refuse(format!("width {width} with weight {weight} for rows of {dimension}")),
            None => Ok(()),
        }
    }

    /// All settings by which the weights of a training differ, as names and values: resuming compares them.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let distillation = (self.distillation.temperature, self.distillation.weight);
        vec![
            ("similarity", self.similarity.map_or("the model's", Similarity::name).to_string()),
            ("temperature", format!("{:?}", self.temperature)),
            ("symmetric", self.symmetric.to_string()),
            ("matryoshka", format!("{:?}", self.matryoshka)),
            ("distillation", format!("{distillation:?}")),
            ("batch", self.batch.to_string()),
            ("chunk", self.chunk.to_string()),
            ("hard negatives", self.hard_negatives.to_string()),
            ("near duplicates", self.near_duplicates.to_string()),
            ("epochs", self.epochs.to_string()),
            ("steps", format!("{:?}", self.steps)),
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

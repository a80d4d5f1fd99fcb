//! Opening what is trained: one tower or two, static or a transformer, with new vocabulary where it is asked for.

use crate::collection::read::{self, ReadOptions, Source};
use crate::encoder::fixed::StaticModel;
use crate::encoder::pooling::Pooling;
use crate::error::{Error, Result};
use crate::index::EncoderChoice;
use crate::progress::{Progress, Silent, Stage};
use crate::random::Random;
use crate::train::fixed::FixedTower;
use crate::train::gradcache::Towers;
use crate::train::tower::Tower;
use crate::train::{Device, bert, vocabulary};
use std::path::Path;

/// Length of a new token's random row beside the median of the known rows: below it, so that what is known leads.
const NEW_ROW: f32 = 0.3;

/// What is trained and how it is opened.
#[derive(Clone)]
pub struct TowerOptions {
    /// Encodes passages, and questions unless another model is named.
    pub model: EncoderChoice,
    /// Encodes questions in a tower of its own.
    pub question_model: Option<EncoderChoice>,
    /// Leaves the passage tower as it is.
    pub freeze_passage: bool,
    /// Another pooling than the folder's; transformers only.
    pub pooling: Option<Pooling>,
    /// The first layers only; transformers only.
    pub layers: Option<usize>,
    /// Tokens a question is cut to; transformers only.
    pub max_query_tokens: Option<usize>,
    /// Tokens a passage is cut to; transformers only.
    pub max_passage_tokens: Option<usize>,
    /// Share of tokens (static) or of hidden components (transformers) dropped while training.
    pub dropout: f64,
    /// Entries to add to a static model's vocabulary, and the texts they are learnt from.
    pub vocabulary: Option<(usize, Vec<Source>)>,
    /// `cpu`, or `cuda` where the program was built for it.
    pub device: String,
    /// Seed of new rows.
    pub seed: u64,
}

impl TowerOptions {
    /// One shared tower on the CPU, opened as its folder says.
    pub fn of(model: EncoderChoice) -> Self {
        TowerOptions {
            model,
            question_model: None,
            freeze_passage: false,
            pooling: None,
            layers: None,
            max_query_tokens: None,
            max_passage_tokens: None,
            dropout: 0.0,
            vocabulary: None,
            device: "cpu".into(),
            seed: 1,
        }
    }

    /// Opens the towers.
    pub fn open(&self, progress: &dyn Progress) -> Result<Towers> {
        let device = crate::train::device(&self.device)?;
        let passage = self.tower(&self.model, &device, progress)?;
        match &self.question_model {
            None if self.freeze_passage => Err(Error::usage("a frozen passage tower leaves nothing to train")
                .hint("name the tower that learns: `--question-model builtin`, or a folder")),
            None => Ok(Towers::shared(passage)),
            Some(choice) => {
                let question = self.tower(choice, &device, progress)?;
                Ok(Towers { question, passage: Some(passage), freeze_passage: self.freeze_passage })
            }
        }
    }

    fn tower(&self, choice: &EncoderChoice, device: &Device, progress: &dyn Progress) -> Result<Box<dyn Tower>> {
        let folder = Path::new(&choice.location);
        if crate::encoder::is_static(&choice.location)? {
            let transformers_only = [
                ("--pooling", self.pooling.is_some()),
                ("--layers", self.layers.is_some()),
                ("--max-query-tokens", self.max_query_tokens.is_some()),
                ("--max-passage-tokens", self.max_passage_tokens.is_some()),
            ];
            if let Some((flag, _)) = transformers_only.iter().find(|(_, asked)| *asked) {
                return Err(Error::usage(format!("`{flag}` is for transformers, and `{}` is static", choice.name)));
            }
            let tower = match (&self.vocabulary, choice.location.as_str()) {
                (Some((more, sources)), _) => {
                    let model = extended(&compact(choice)?, *more, sources, self.seed, progress)?;
                    FixedTower::of(&model, &choice.name, device)?
                }
                (None, "builtin") => FixedTower::builtin(device)?,
                (None, _) => FixedTower::open(folder, &choice.name, device)?,
            };
            return Ok(Box::new(tower.with_dropout(self.dropout)?));
        }
        if self.vocabulary.is_some() {
            return Err(Error::usage("`--add-vocabulary` is for static models; a transformer's vocabulary is fixed"));
        }
        let options = bert::OpenOptions {
            pooling: self.pooling,
            layers: self.layers,
            max_query_tokens: self.max_query_tokens,
            max_passage_tokens: self.max_passage_tokens,
            dropout: self.dropout as f32,
            device: device.clone(),
            bf16: !device.is_cpu(),
        };
        Ok(Box::new(bert::open(folder, &options)?))
    }
}

/// The compact form of a static model.
fn compact(choice: &EncoderChoice) -> Result<StaticModel> {
    if choice.location == "builtin" {
        return crate::encoder::fixed::builtin_model();
    }
    let path = Path::new(&choice.location).join("model.bin");
    let bytes = fs_err::read(&path).map_err(|e| {
        Error::io(&path, "read", e).hint("vocabulary is added to models made by `parallax distill` or `parallax train`")
    })?;
    StaticModel::from_bytes(&bytes).map_err(|e| e.in_file(&path))
}

/// A model with entries for what other texts need; their rows are random, short, and the same for one seed and entry.
fn extended(
    base: &StaticModel,
    more: usize,
    sources: &[Source],
    seed: u64,
    progress: &dyn Progress,
) -> Result<StaticModel> {
    progress.begin(Stage::Counting, None);
    let vocabulary = vocabulary::extend(base.vocabulary(), more, &mut |take| {
        let mut each = |passage: crate::Passage| {
            take(&passage.full_text());
            progress.advance(Stage::Counting, 1);
            progress.checkpoint()
        };
        read::passages(sources, &ReadOptions::default(), &Silent, &mut each).map(|_| ())
    })?;
    progress.finish(Stage::Counting);
    let d = base.dimension();
    let mut values = base.values();
    let mut lengths: Vec<f32> = values.chunks(d).map(|row| row.iter().map(|x| x * x).sum::<f32>().sqrt()).collect();
    lengths.sort_unstable_by(f32::total_cmp);
    let component = NEW_ROW * lengths[lengths.len() / 2] / (d as f32).sqrt();
    for entry in &vocabulary.entries()[base.vocabulary().len()..] {
        let mut random = Random::of(seed, entry);
        values.extend((0..d).map(|_| component * random.normal() as f32));
    }
    StaticModel::quantized(vocabulary.entries().to_vec(), d, &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_model_keeps_what_it_knew_and_knows_more() {
        let base = crate::encoder::fixed::builtin_model().unwrap();
        let source = Source::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/train.json"));
        let model = extended(&base, 400, std::slice::from_ref(&source), 1, &Silent).unwrap();
        let known = base.vocabulary().len();
        assert_eq!(model.vocabulary()[..known], *base.vocabulary());
        assert_eq!(model.rows()[..known * base.dimension()], *base.rows());
        assert!(model.vocabulary().len() > known + 100 && model.vocabulary().len() <= known + 400);
        assert_eq!(extended(&base, 400, &[source], 1, &Silent).unwrap(), model);
    }
}

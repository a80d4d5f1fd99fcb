//! The static tower: a text's row is the mean of its tokens' rows, and the token rows are what is learnt.
//!
//! Token ids go in, rows `[n, d]` come out, by the bag operation. It starts from the program's own model or from any static
//! folder that [`crate::encoder::fixed`] opens. A model with a compact form (int8 rows, `model.bin`) is trained in f32
//! and rounded again when it is written, so that what was validated is what is shipped; other folders keep f32 rows.
//! The row of the unknown token stays zero where it is zero: unknown words say nothing.
//!
//! As regularisation, tokens can be dropped while training ([`FixedTower::with_dropout`]): each with probability `p`,
//! never all of a text.
//!
//! ```
//! use candle_core::Device;
//! use parallax::encoder::{contract::Role, fixed::StaticModel};
//! use parallax::train::{fixed::FixedTower, tower::{Packed, Tower}};
//! let vocabulary = ["[UNK]", "north", "east"].map(String::from).to_vec();
//! let model = StaticModel::quantized(vocabulary, 2, &[0.0, 0.0, 0.0, 2.0, 4.0, 0.0])?;
//! let tower = FixedTower::of(&model, "compass", &Device::Cpu)?;
//! let ids = tower.tokens("north east", Role::Query)?;
//! let weights = [tower.parameters()[0].var.as_detached_tensor()];
//! let rows = tower.forward(&weights, &Packed::of([&ids[..]]), None)?;
//! assert_eq!(rows.to_vec2::<f32>().unwrap(), [[2.0, 1.0]]);
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: `d` additions a token forward and again backward; weight, gradient and two moments of `4 n d` bytes each.
//!
//! Sources: J. Wieting et al., "Towards universal paraphrastic sentence embeddings",
//! 2016 (averaged word vectors trained by a contrastive objective); M. Iyyer et al., "Deep unordered composition rivals
//! syntactic methods for text classification", 2015 (dropping words).

mod bag;

use super::failed;
use super::gradients::{Gradients, with_values};
use super::static_folder;
use super::tower::{Dropout, Packed, Parameter, Tower, replay};
use crate::encoder::contract::{Encoder, Role, Similarity};
use crate::encoder::fixed::{self, FixedEncoder, StaticModel};
use crate::error::{Error, Result};
use crate::random::Random;
use bag::Bag;
use candle_core::{Device, Tensor, Var};
use fs_err as fs;
use std::path::Path;

/// A static encoder whose token rows are trained.
pub struct FixedTower {
    /// For its tokenizer and its card; its rows are those of the start.
    encoder: FixedEncoder,
    /// What the model is written as.
    form: Form,
    parameters: [Parameter; 1],
    /// The unknown token, where its row is zero.
    silent: Option<u32>,
    dropout: f64,
}

enum Form {
    /// int8 rows over this vocabulary.
    Compact(Vec<String>),
    /// f32 rows beside this `tokenizer.json`.
    Wide(Vec<u8>),
}

impl FixedTower {
    /// A tower that starts from the program's own model.
    pub fn builtin(device: &Device) -> Result<Self> {
        FixedTower::of(&fixed::builtin_model()?, "builtin", device)
    }

    /// A tower that starts from a model in memory.
    pub fn of(model: &StaticModel, name: &str, device: &Device) -> Result<Self> {
        let encoder = FixedEncoder::new(model, name)?;
        FixedTower::new(encoder, Form::Compact(model.vocabulary().to_vec()), device)
    }

    /// A tower that starts from a folder of sentence-transformers (`StaticEmbedding`) or model2vec.
    pub fn open(folder: &Path, name: &str, device: &Device) -> Result<Self> {
        let encoder = fixed::open(folder, name)?;
        let compact = folder.join("model.bin");
        if compact.exists() {
            let bytes = fs::read(&compact).map_err(|e| Error::io(&compact, "read", e))?;
            let model = StaticModel::from_bytes(&bytes).map_err(|e| e.in_file(&compact))?;
            // Only where both forms hold the same numbers is the compact one the model.
            if model.values() == encoder.token_rows() {
                return FixedTower::new(encoder, Form::Compact(model.vocabulary().to_vec()), device);
            }
        }
        let inner = ["0_StaticEmbedding/tokenizer.json", "tokenizer.json"].map(|name| folder.join(name));
        let path = inner.iter().find(|path| path.exists()).unwrap_or(&inner[1]);
        let tokenizer = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        FixedTower::new(encoder, Form::Wide(tokenizer), device)
    }

    fn new(encoder: FixedEncoder, form: Form, device: &Device) -> Result<Self> {
        let d = encoder.card().dimension;
        let rows = encoder.token_rows();
        let zero = |token: &u32| rows[*token as usize * d..(*token as usize + 1) * d].iter().all(|x| *x == 0.0);
        let silent = encoder.unknown().filter(zero);
        let n = rows.len() / d;
        let var = Var::from_vec(rows, (n, d), device).map_err(failed)?;
        let parameters = [Parameter { name: "embedding.weight".into(), var, decays: false, trained: true }];
        Ok(FixedTower { encoder, form, parameters, silent, dropout: 0.0 })
    }

    /// Drops each token with probability `p` while training; 0, as it starts, drops none.
    pub fn with_dropout(mut self, p: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::usage(format!("a dropout of {p} is not at least 0 and below 1")));
        }
        self.dropout = p;
        Ok(self)
    }

    /// The texts as one pass sees them.
    fn bag(&self, texts: &Packed, dropout: Option<Dropout>) -> Bag {
        let texts = match dropout.filter(|_| self.dropout > 0.0) {
            None => texts.clone(),
            Some(dropout) => {
                let mut kept = Packed { ids: Vec::with_capacity(texts.ids.len()), offsets: vec![0] };
                for i in 0..texts.len() {
                    let mut random = Random::new(dropout.text_seed(i));
                    let tokens = texts.text(i);
                    kept.ids.extend(tokens.iter().filter(|_| random.unit() >= self.dropout));
                    if kept.offsets.last() == Some(&kept.ids.len()) && !tokens.is_empty() {
                        kept.ids.push(tokens[random.below(tokens.len())]);
                    }
                    kept.offsets.push(kept.ids.len());
                }
                kept
            }
        };
        Bag { texts, silent: self.silent }
    }
}

impl Tower for FixedTower {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters[0].var.device()
    }

    fn dimension(&self) -> usize {
        self.encoder.card().dimension
    }

    fn similarity(&self) -> Similarity {
        self.encoder.card().similarity
    }

    /// Measured on SQuAD (train with in-batch negatives, a third of dev asked over all paragraphs): .02 and .03 gave
    /// .573 and .571 MRR@10 where .05 gave .562, and .1 less than at the start (.524).
    fn temperature(&self) -> f64 {
        0.03
    }

    fn tokens(&self, text: &str, role: Role) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        match self.encoder.card().prompt(role) {
            "" => self.encoder.tokens(text, &mut ids)?,
            prompt => self.encoder.tokens(&format!("{prompt}{text}"), &mut ids)?,
        }
        if ids.iter().all(|id| Some(*id) == self.encoder.unknown()) {
            ids.clear();
        }
        Ok(ids)
    }

    fn forward(&self, weights: &[Tensor], texts: &Packed, dropout: Option<Dropout>) -> Result<Tensor> {
        let bag = self.bag(texts, dropout);
        match self.device().is_cpu() {
            true => weights[0].apply_op1(bag),
            false => bag::composed(&weights[0], &bag),
        }
        .map_err(failed)
    }

    fn backward(
        &self,
        weights: &[Tensor],
        texts: &Packed,
        dropout: Option<Dropout>,
        gradient: &Tensor,
        into: &mut Gradients,
    ) -> Result<()> {
        if !self.device().is_cpu() {
            return replay(self, weights, texts, dropout, gradient, into);
        }
        let (n, d) = weights[0].dims2().map_err(failed)?;
        let rows = into.rows(0, n, d)?;
        with_values(gradient, |gradient| self.bag(texts, dropout).scatter(gradient, rows))
    }

    fn replays(&self) -> bool {
        !self.device().is_cpu()
    }

    fn settings(&self) -> String {
        format!("dropout {}", self.dropout)
    }

    fn activation_bytes(&self, texts: usize, tokens: usize) -> u64 {
        // Rows with their gradients; ids, and the places sorted by token; on devices also the gathered rows.
        let rows = if self.device().is_cpu() { 2 * texts } else { 2 * texts + 2 * tokens };
        4 * (rows * self.dimension() + 4 * tokens) as u64
    }

    fn write(&self, folder: &Path, similarity: Similarity) -> Result<()> {
        let values = with_values(self.parameters[0].var.as_tensor(), <[f32]>::to_vec)?;
        let (n, d) = (values.len() / self.dimension(), self.dimension());
        let name = &self.encoder.card().name;
        let card = format!(
            "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\ntags:\n- static-embeddings\n---\n\n\
             # A static encoder\n\n{n} tokens, rows of {d} components, {} similarity. Trained from `{name}`.\n",
            similarity.name()
        );
        match &self.form {
            Form::Compact(vocabulary) => {
                let model = StaticModel::quantized(vocabulary.clone(), d, &values)?;
                static_folder::write_model(&model, similarity, &card, folder)
            }
            Form::Wide(tokenizer) => {
                let card_of = self.encoder.card();
                let content = static_folder::Content {
                    tokenizer,
                    values: &values,
                    dimension: d,
                    similarity,
                    query_prompt: &card_of.query_prompt,
                    passage_prompt: &card_of.passage_prompt,
                    compact: None,
                    card: &card,
                };
                static_folder::write(&content, folder)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder;

    fn model() -> StaticModel {
        let vocabulary: Vec<String> = ["[UNK]", "north", "east", "##ern", "west"].map(String::from).to_vec();
        let values = [0., 0., 0., 1., 0., 0., 0., 1., 0., 0., 0., -0.5, 0.2, 0.3, 0.4];
        StaticModel::quantized(vocabulary, 3, &values).unwrap()
    }

    fn rows(tower: &FixedTower, texts: &[&str], dropout: Option<Dropout>) -> Vec<f32> {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| tower.tokens(text, Role::Query).unwrap()).collect();
        let packed = Packed::of(ids.iter().map(Vec::as_slice));
        let weights = [tower.parameters()[0].var.as_detached_tensor()];
        with_values(&tower.forward(&weights, &packed, dropout).unwrap(), <[f32]>::to_vec).unwrap()
    }

    const TEXTS: [&str; 5] = ["north east", "northern unknown", "what", "", "east east western"];

    #[test]
    fn a_written_tower_encodes_as_it_did_under_either_similarity() {
        let tower = FixedTower::of(&model(), "compass", &Device::Cpu).unwrap();
        for similarity in [Similarity::Cosine, Similarity::Dot] {
            let folder = tempfile::tempdir().unwrap();
            tower.write(folder.path(), similarity).unwrap();
            let encoder = encoder::open(folder.path(), "x", &encoder::OpenOptions::default()).unwrap();
            assert_eq!(encoder.card().similarity, similarity);
            let found = encoder.encode(&TEXTS, Role::Query).unwrap();
            for (found, row) in found.values().chunks(3).zip(rows(&tower, &TEXTS, None).chunks(3)) {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                let by = if similarity == Similarity::Cosine && length > 0.0 { length } else { 1.0 };
                found.iter().zip(row).for_each(|(a, b)| assert!((a - b / by).abs() < 1e-6, "{a} {b}"));
            }
            let again = FixedTower::open(folder.path(), "x", &Device::Cpu).unwrap();
            assert!(matches!(again.form, Form::Compact(_)));
            assert_eq!(rows(&again, &TEXTS, None), rows(&tower, &TEXTS, None));
        }
    }

    #[test]
    fn a_folder_whose_rows_are_wide_stays_wide() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        FixedTower::of(&model(), "compass", &Device::Cpu).unwrap().write(folder.path(), Similarity::Cosine).unwrap();
        std::fs::remove_file(folder.path().join("model.bin")).unwrap();
        let tower = FixedTower::open(folder.path(), "wide", &Device::Cpu).unwrap();
        // A third is no multiple of a row's int8 step.
        let third = (tower.parameters()[0].var.as_tensor() / 3.0).unwrap();
        tower.parameters()[0].var.set(&third).unwrap();
        tower.write(other.path(), Similarity::Cosine).unwrap();
        assert!(!other.path().join("model.bin").exists());
        let again = FixedTower::open(other.path(), "wide", &Device::Cpu).unwrap();
        assert_eq!(rows(&again, &TEXTS, None), rows(&tower, &TEXTS, None));
    }

    #[test]
    fn dropped_tokens_follow_from_the_place_in_the_batch_and_never_leave_a_text_empty() {
        let tower = FixedTower::of(&model(), "compass", &Device::Cpu).unwrap().with_dropout(0.9).unwrap();
        let texts = ["north east western", "north", "east east western north", ""];
        let whole = rows(&tower, &texts, Some(Dropout { seed: 4, first_text: 0 }));
        let halves = [
            rows(&tower, &texts[..1], Some(Dropout { seed: 4, first_text: 0 })),
            rows(&tower, &texts[1..], Some(Dropout { seed: 4, first_text: 1 })),
        ];
        assert_eq!(whole, halves.concat());
        assert_ne!(whole, rows(&tower, &texts, None));
        assert!(whole[..9].chunks(3).all(|row| row.iter().any(|x| *x != 0.0)));
        assert!(FixedTower::of(&model(), "compass", &Device::Cpu).unwrap().with_dropout(1.0).is_err());
    }
}

//! What is trained: a tower turns packed token ids into rows, differentiably in its weights.
//!
//! Two families implement it: [`super::fixed`] (a mean of token rows) and [`super::bert`] (a transformer). The trainer
//! knows only this. Weights are handed into [`Tower::forward`] instead of being read from the tower, so that the
//! first pass of GradCache can run on detached tensors, which build no graph, and the second on the variables.

use super::failed;
use super::gradients::Gradients;
use crate::collection::examples::ExamplePassage;
use crate::encoder::contract::{Role, Similarity};
use crate::error::Result;
use crate::random::mix;
use candle_core::{Device, Tensor, Var};
use std::path::Path;

/// Token ids of some texts, one text after the other without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// All ids, `[T]`, T the sum of the lengths.
    pub ids: Vec<u32>,
    /// Where each text begins in `ids`, and the end: `n + 1` offsets, the first 0, the last T.
    pub offsets: Vec<usize>,
}

impl Packed {
    /// Packs texts in their order.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut packed = Packed { ids: Vec::new(), offsets: vec![0] };
        for text in texts {
            packed.ids.extend_from_slice(text);
            packed.offsets.push(packed.ids.len());
        }
        packed
    }

    /// The ids of text `i`.
    pub fn text(&self, i: usize) -> &[u32] {
        &self.ids[self.offsets[i]..self.offsets[i + 1]]
    }

    /// Texts `from..to` by themselves.
    pub fn slice(&self, from: usize, to: usize) -> Packed {
        let start = self.offsets[from];
        let offsets = self.offsets[from..=to].iter().map(|at| at - start).collect();
        Packed { ids: self.ids[start..self.offsets[to]].to_vec(), offsets }
    }

    /// Number of texts `n`.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One weight tensor of a tower.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in the model's weights file.
    pub name: String,
    /// The f32 master value.
    pub var: Var,
    /// Whether weight decay applies: matrices yes; biases, LayerNorm and token rows no.
    pub decays: bool,
    /// Whether a gradient is expected; pooler weights that sentence vectors do not use are carried along, untrained.
    pub trained: bool,
}

/// Which dropout masks a forward pass uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// Differs by training step and by the role of the texts.
    pub seed: u64,
    /// Position in the step's whole batch of the first text of this call; a later chunk starts further on.
    pub first_text: usize,
}

impl Dropout {
    /// The seed from which all masks of text `text` of this call (0 is its first) are drawn.
    pub fn text_seed(&self, text: usize) -> u64 {
        mix(self.seed ^ mix((self.first_text + text) as u64))
    }
}

/// A tower that can be trained.
pub trait Tower: Send + Sync {
    /// Its weights, in a fixed order.
    fn parameters(&self) -> &[Parameter];

    /// Where its weights are.
    fn device(&self) -> &Device;

    /// Components a row.
    fn dimension(&self) -> usize;

    /// How the folder it came from compares rows.
    fn similarity(&self) -> Similarity;

    /// `τ` of a loss over cosines where none is asked for; .05 as in SimCSE (T. Gao et al., 2021) and
    /// sentence-transformers, whose scale is 20.
    fn temperature(&self) -> f64 {
        0.05
    }

    /// A text's ids, prompt and special tokens included, cut to the length this tower takes.
    fn tokens(&self, text: &str, role: Role) -> Result<Vec<u32>>;

    /// Rows `[n, d]` before any normalisation that cosine similarity asks for (the loss does that).
    ///
    /// `weights` are the parameters' values in their order: variables to build a graph, detached tensors not to.
    /// `dropout` says which masks this call uses; `None` switches dropout off. The masks of a text follow from
    /// [`Dropout::text_seed`] alone, never from which texts share its call: that is what lets GradCache replay a pass
    /// and what makes the size of its chunks of no consequence.
    fn forward(&self, weights: &[Tensor], texts: &Packed, dropout: Option<Dropout>) -> Result<Tensor>;

    /// Adds to `into` the gradient of `Σ rows · gradient` by the weights, with `gradient` `[n, d]` that of the loss by
    /// this call's rows. `weights`, `texts` and `dropout` are those of the forward pass, whose rows were not kept.
    ///
    /// The default runs [`Tower::forward`] on the variables and lets candle go back. A tower that knows its gradient
    /// without that adds it itself, and says so in [`Tower::replays`].
    fn backward(
        &self,
        weights: &[Tensor],
        texts: &Packed,
        dropout: Option<Dropout>,
        gradient: &Tensor,
        into: &mut Gradients,
    ) -> Result<()> {
        replay(self, weights, texts, dropout, gradient, into)
    }

    /// Whether [`Tower::backward`] runs a forward pass: then a batch that fits into one chunk is done in one pass.
    fn replays(&self) -> bool {
        true
    }

    /// Settings of its own that change what is learnt, such as dropout: training is not resumed with others.
    fn settings(&self) -> String {
        String::new()
    }

    /// Bytes that one forward and backward pass over `tokens` tokens in `texts` texts holds besides the weights, for
    /// the estimate printed before training. The default counts the rows and their gradients.
    fn activation_bytes(&self, texts: usize, tokens: usize) -> u64 {
        let _ = tokens;
        8 * (texts * self.dimension()) as u64
    }

    /// Writes a sentence-transformers folder with the present weights; the folder opens as an encoder.
    fn write(&self, folder: &Path, similarity: Similarity) -> Result<()>;
}

/// [`Tower::backward`] by a second forward pass on the variables.
pub fn replay<T: Tower + ?Sized>(
    tower: &T,
    weights: &[Tensor],
    texts: &Packed,
    dropout: Option<Dropout>,
    gradient: &Tensor,
    into: &mut Gradients,
) -> Result<()> {
    let rows = tower.forward(weights, texts, dropout)?;
    let sum = (&rows * gradient.detach()).and_then(|product| product.sum_all());
    let mut found = sum.and_then(|sum| sum.backward()).map_err(failed)?;
    into.add_store(weights, &mut found)
}

/// The text a passage of an example is encoded as: as `build-index` does by default.
pub fn passage_text(passage: &ExamplePassage) -> String {
    passage.full_text()
}

//! One step's loss and gradients, the texts worked on in chunks: memory of a chunk, gradient of the whole batch.
//!
//! The loss compares every query with every passage, so its gradient needs all rows at once; a tower needs much more
//! memory for a text than its row has. So (GradCache):
//!
//! ```text
//! 1  rows of each chunk, on detached weights: no graph is kept
//! 2  loss of all rows, and its gradient G by the rows
//! 3  chunk by chunk: rows again, on the variables; the gradient of Σ rows · G_chunk is added by parameter
//! ```
//!
//! By the chain rule that is the gradient of the whole. Dropout masks follow from a text's place in the batch
//! ([`Dropout`]), so that both passes and any chunk size see the same. When a batch fits into one chunk, a single pass
//! with its graph does it. Sums run in a fixed order.
//!
//! Cost: one more forward pass. Source: L. Gao, Y. Zhang, J. Han, J. Callan, "Scaling deep contrastive learning batch
//! size under memory limited setup", 2021.

use super::batch::Batch;
use super::failed;
use super::gradients::Gradients;
use super::loss::{LossOptions, loss, with_gradient};
use super::tower::{Dropout, Packed, Tower};
use crate::error::{Error, Result};
use crate::random::mix;
use candle_core::Tensor;

/// What is trained: a tower for questions, and one for passages where it is another.
pub struct Towers {
    /// Encodes questions, and passages too where there is no second tower.
    pub question: Box<dyn Tower>,
    /// Encodes passages.
    pub passage: Option<Box<dyn Tower>>,
    /// Leaves the passage tower as it is: an index of its rows stays good.
    pub freeze_passage: bool,
}

impl Towers {
    /// One tower for both roles.
    pub fn shared(tower: Box<dyn Tower>) -> Self {
        Towers { question: tower, passage: None, freeze_passage: false }
    }

    /// The tower of passages.
    pub fn passage(&self) -> &dyn Tower {
        self.passage.as_deref().unwrap_or(&*self.question)
    }

    /// The towers, each once.
    pub fn all(&self) -> impl Iterator<Item = &dyn Tower> + Clone {
        std::iter::once(&*self.question).chain(self.passage.as_deref())
    }

    /// Refuses towers that do not belong together.
    pub fn check(&self) -> Result<()> {
        if self.freeze_passage && self.passage.is_none() {
            return Err(Error::usage("a shared tower cannot be trained and left as it is")
                .hint("name a model for the questions of its own"));
        }
        let (q, p) = (self.question.dimension(), self.passage().dimension());
        if q != p {
            let message = format!("the question tower gives rows of {q} components, the passage tower of {p}");
            return Err(Error::new(crate::error::ErrorKind::Mismatch, message));
        }
        Ok(())
    }
}

/// A tower's weights, for graphs and without.
struct Weights {
    variables: Vec<Tensor>,
    detached: Vec<Tensor>,
}

impl Weights {
    fn of(tower: &dyn Tower) -> Self {
        let parameters = tower.parameters();
        Weights {
            variables: parameters.iter().map(|parameter| parameter.var.as_tensor().clone()).collect(),
            detached: parameters.iter().map(|parameter| parameter.var.as_detached_tensor()).collect(),
        }
    }
}

/// Computes steps; keeps the memory of gradients from one to the next.
pub struct GradCache<'a> {
    towers: &'a Towers,
    loss: LossOptions,
    chunk: usize,
    question: Weights,
    passage: Option<Weights>,
    /// Gradients of each tower of [`Towers::all`]; none of a frozen one.
    pub gradients: Vec<Gradients>,
}

impl<'a> GradCache<'a> {
    /// For these towers and this loss, `chunk` texts at a time.
    pub fn new(towers: &'a Towers, loss: LossOptions, chunk: usize) -> Self {
        let trained = towers.all().take(if towers.freeze_passage { 1 } else { 2 });
        GradCache {
            towers,
            loss,
            chunk: chunk.max(1),
            question: Weights::of(&*towers.question),
            passage: towers.passage.as_deref().map(Weights::of),
            gradients: trained.map(|tower| Gradients::new(tower.parameters().len())).collect(),
        }
    }

    /// The loss of a batch; its gradients are in [`GradCache::gradients`] afterwards. `teacher` are scores `[B, M]`;
    /// `seed` is the dropout's, another one each step.
    pub fn step(&mut self, batch: &Batch, teacher: Option<&Tensor>, seed: u64) -> Result<f64> {
        self.gradients.iter_mut().for_each(Gradients::clear);
        let (question, passage) = (&*self.towers.question, self.towers.passage());
        let passage_weights = self.passage.as_ref().unwrap_or(&self.question);
        let (b, m) = (batch.queries.len(), batch.passages.len());
        let mask = Tensor::from_slice(&batch.mask, (b, m), question.device()).map_err(failed)?;
        // Frozen passages are rows like any others: nothing random in them.
        let seeds = [Some(mix(seed ^ 1)), (!self.towers.freeze_passage).then(|| mix(seed ^ 2))];
        let single = b.max(m) <= self.chunk && question.replays() && passage.replays();
        if single {
            let dropout = seeds.map(|seed| seed.map(|seed| Dropout { seed, first_text: 0 }));
            let q = question.forward(&self.question.variables, &batch.queries, dropout[0])?;
            let weights =
                if self.towers.freeze_passage { &passage_weights.detached } else { &passage_weights.variables };
            let p = passage.forward(weights, &batch.passages, dropout[1])?;
            let loss = loss(&q, &p, &mask, teacher, &self.loss)?;
            let mut store = loss.backward().map_err(failed)?;
            self.gradients[0].add_store(&self.question.variables, &mut store)?;
            if let (Some(weights), Some(gradients)) = (&self.passage, self.gradients.get_mut(1)) {
                gradients.add_store(&weights.variables, &mut store)?;
            }
            return value(&loss);
        }
        let q = self.rows(question, &self.question, &batch.queries, seeds[0])?;
        let p = self.rows(passage, passage_weights, &batch.passages, seeds[1])?;
        let (loss, q_gradient, p_gradient) = with_gradient(&q, &p, &mask, teacher, &self.loss)?;
        let (first, second) = self.gradients.split_at_mut(1);
        let (chunk, weights) = (self.chunk, &self.question.variables);
        back(question, weights, &batch.queries, seeds[0], &q_gradient, chunk, &mut first[0])?;
        if !self.towers.freeze_passage {
            let into = second.first_mut().unwrap_or(&mut first[0]);
            back(passage, &passage_weights.variables, &batch.passages, seeds[1], &p_gradient, chunk, into)?;
        }
        Ok(loss)
    }

    /// Rows of all chunks, without a graph.
    fn rows(&self, tower: &dyn Tower, weights: &Weights, texts: &Packed, seed: Option<u64>) -> Result<Tensor> {
        let rows = (0..texts.len()).step_by(self.chunk).map(|from| {
            let to = texts.len().min(from + self.chunk);
            let dropout = seed.map(|seed| Dropout { seed, first_text: from });
            tower.forward(&weights.detached, &texts.slice(from, to), dropout)
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Tensor::cat(&rows, 0).map_err(failed)
    }
}

/// Adds a tower's gradient, chunk by chunk.
fn back(
    tower: &dyn Tower,
    weights: &[Tensor],
    texts: &Packed,
    seed: Option<u64>,
    gradient: &Tensor,
    chunk: usize,
    into: &mut Gradients,
) -> Result<()> {
    for from in (0..texts.len()).step_by(chunk) {
        let to = texts.len().min(from + chunk);
        let dropout = seed.map(|seed| Dropout { seed, first_text: from });
        let gradient = gradient.narrow(0, from, to - from).map_err(failed)?;
        tower.backward(weights, &texts.slice(from, to), dropout, &gradient, into)?;
    }
    Ok(())
}

fn value(loss: &Tensor) -> Result<f64> {
    loss.to_scalar::<f32>().map(f64::from).map_err(failed)
}

#[cfg(test)]
#[path = "gradcache_tests.rs"]
mod tests;

//! Scores of a batch by a teacher encoder, each text encoded once in a training.

use crate::encoder::contract::{Encoder, Role};
use crate::error::Result;
use crate::train::batch::Batch;
use crate::train::data::Data;
use crate::train::failed;
use crate::train::tower::passage_text;
use candle_core::{Device, Tensor};

/// A teacher and the rows it has given so far.
pub(super) struct Teacher<'a> {
    encoder: &'a dyn Encoder,
    queries: Vec<Option<Box<[f32]>>>,
    passages: Vec<Option<Box<[f32]>>>,
}

impl<'a> Teacher<'a> {
    pub(super) fn new(encoder: &'a dyn Encoder, data: &Data<'_>) -> Self {
        let none = |n: usize| (0..n).map(|_| None).collect();
        Teacher { encoder, queries: none(data.queries.len()), passages: none(data.passages.len()) }
    }

    /// The teacher's similarities of a batch's queries and passages, `[B, M]`.
    pub(super) fn scores(&mut self, batch: &Batch, data: &Data<'_>, device: &Device) -> Result<Tensor> {
        let (queries, passages) = &batch.texts;
        let q = self.rows(queries, Role::Query, |i| data.query_texts[i].to_string())?;
        let p = self.rows(passages, Role::Passage, |i| passage_text(data.passage_texts[i]))?;
        let scores = p.t().and_then(|p| q.matmul(&p)?.to_device(device));
        scores.map_err(failed)
    }

    fn rows(&mut self, texts: &[u32], role: Role, text: impl Fn(usize) -> String) -> Result<Tensor> {
        let known = if role == Role::Query { &mut self.queries } else { &mut self.passages };
        let mut new: Vec<usize> = texts.iter().map(|i| *i as usize).filter(|i| known[*i].is_none()).collect();
        new.sort_unstable();
        new.dedup();
        let words: Vec<String> = new.iter().map(|i| text(*i)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let rows = self.encoder.encode(&words, role)?;
        new.iter().enumerate().for_each(|(at, i)| known[*i] = Some(rows.row(at).into()));
        let values = texts.iter().filter_map(|i| known[*i as usize].as_deref()).flatten().copied().collect();
        Tensor::from_vec::<_, f32>(values, (texts.len(), rows.dimension()), &Device::Cpu).map_err(failed)
    }
}

//! Held-out questions and what an encoder makes of them: real retrieval, exact, over real passages.
//!
//! In flow a source with judged questions and an encoder (or two towers); out flow [`Ranks`]: where each question's
//! relevant passages stand among all passages. Questions that the training examples ask too are left out: what was
//! learnt by heart measures nothing. From the ranks come recall@k, the reciprocal rank, and the average
//! rank of the best relevant passage, which is DPR's validation figure: it sees progress long before recall does.
//!
//! Questions fall into two halves by their ids ([`half`]). The *choosing* half picks the checkpoint and stops training early;
//! the *judging* half is looked at once, before and after, for the verdict: a figure that chose a model flatters it.
//!
//! Cost: encoding the passages; then `[queries, passages]` inner products in blocks.
//!
//! Source: V. Karpukhin et al., "Dense passage retrieval for open-domain question answering", 2020 (average rank).

use super::HeldOutRequest;
use super::apart::{self, Known};
use crate::collection::read::{self, ReadOptions, Source};
use crate::collection::{Passage, PassageId, Query, QueryId, QuerySet};
use crate::encoder::contract::{Embeddings, Encoder, Role};
use crate::error::{Error, Result};
use crate::kernel::matmul::{Rows, RowsMut, multiply_transposed};
use crate::progress::{Progress, Silent, Stage};
use crate::random::{Random, mix, scramble};
use crate::storage::sha256;
use crate::train::data::ExampleSet;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// How much of a source is held out. A limit of `usize::MAX` takes all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Questions, both halves together.
    pub queries: usize,
    /// Passages searched: the relevant ones of these questions, and others drawn at random up to this number.
    pub passages: usize,
}

impl Default for Limits {
    /// 2,000 questions show a difference of some two points of reciprocal rank; 10,000 passages make most of them hard.
    fn default() -> Self {
        Limits { queries: 2_000, passages: 10_000 }
    }
}

/// Which of the held-out questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Those that choose a checkpoint.
    Choosing,
    /// Those that judge the chosen one.
    Judging,
}

/// Held-out questions with the passages they are asked of.
pub struct HeldOut {
    name: String,
    left_out: usize,
    texts: Vec<String>,
    questions: Vec<Question>,
}

/// The half a question belongs to: a coin that its id and the seed toss, so that every use of one seed agrees.
pub fn half(seed: u64, query: &QueryId) -> Half {
    if Random::of(scramble(seed), query.as_str()).below(2) == 0 { Half::Choosing } else { Half::Judging }
}

/// All passages of some sources, identical paragraphs merged.
pub(super) fn collect(sources: &[Source], options: &ReadOptions, progress: &dyn Progress) -> Result<Vec<Passage>> {
    let mut all = Vec::new();
    read::passages(sources, options, progress, &mut |passage| {
        all.push(passage);
        progress.checkpoint()
    })?;
    Ok(all)
}

struct Question {
    text: String,
    /// Places of its relevant passages in `texts`, at least one.
    relevant: Vec<usize>,
    half: Half,
}

/// Ranks of each question's relevant passages, from 1, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranks(pub Vec<Vec<usize>>);

impl Ranks {
    /// Share of the relevant passages among the first `k`, per question.
    pub fn recall(&self, k: usize) -> Vec<f64> {
        let share = |ranks: &Vec<usize>| ranks.iter().filter(|rank| **rank <= k).count() as f64 / ranks.len() as f64;
        self.0.iter().map(share).collect()
    }

    /// One over the first relevant rank, 0 beyond `k`, per question.
    pub fn reciprocal(&self, k: usize) -> Vec<f64> {
        let value = |ranks: &Vec<usize>| if ranks[0] <= k { 1.0 / ranks[0] as f64 } else { 0.0 };
        self.0.iter().map(value).collect()
    }

    /// Mean rank of the best relevant passage.
    pub fn average(&self) -> f64 {
        mean(&self.0.iter().map(|ranks| ranks[0] as f64).collect::<Vec<_>>())
    }

    /// The figures a log and a screen show: `RR@10`, `R@1`, `R@5`, `R@20`, `average rank`.
    pub fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![("RR@10".to_string(), mean(&self.reciprocal(10)))];
        figures.extend([1, 5, 20].map(|k| (format!("R@{k}"), mean(&self.recall(k)))));
        figures.push(("average rank".to_string(), self.average()));
        figures
    }
}

/// Arithmetic mean; 0 of nothing.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl HeldOut {
    /// Reads judged questions and their passages, without the questions that the examples ask too.
    ///
    /// Fails as [`HeldOut::of`] does, when the examples ask every question, and for a BEIR folder without a `dev` split
    /// where no split is named.
    pub fn read(request: &HeldOutRequest, examples: &[ExampleSet], seed: u64) -> Result<Self> {
        let HeldOutRequest { source, passages, read, limits } = request;
        let (all, name) = apart::held_out(source, read, "validate")?;
        let mut known = Known::default();
        for example in examples.iter().flat_map(|set| &set.examples) {
            known.add(&example.query, example.positives.iter().map(|positive| &positive.id));
        }
        let set = apart::part(&all, |query| !known.has(query, all.qrels.relevant(&query.id)));
        let left_out = all.queries.len() - set.queries.len();
        if set.queries.is_empty() {
            let message = format!("the training examples ask all its {left_out} questions, so none can be held out");
            return Err(Error::bad_input(message)
                .in_file(source.path())
                .hint("train on other examples, or hold out another set: `--validate SOURCE`"));
        }
        let own = std::slice::from_ref(source);
        let sources = if passages.is_empty() { own } else { passages };
        let held = HeldOut::of(&set, collect(sources, read, &Silent)?, *limits, seed).map_err(|error| {
            let error = error.in_file(source.path());
            if left_out == 0 {
                return error;
            }
            error.hint(format!("{left_out} of its questions were left out: the training examples ask them too"))
        })?;
        Ok(HeldOut { name, left_out, ..held })
    }

    /// Holds out the judged questions of a set over passages at hand; which ones a limit keeps depends on the seed and
    /// their ids alone, and so does a question's [`half`].
    ///
    /// Fails when a half has no question with a relevant passage among the passages.
    pub fn of(set: &QuerySet, all: Vec<Passage>, limits: Limits, seed: u64) -> Result<Self> {
        let places: HashMap<&PassageId, usize> = all.iter().enumerate().map(|(i, p)| (&p.id, i)).collect();
        let mut asked: Vec<(&Query, Vec<usize>)> = Vec::new();
        for query in set.queries.iter().filter(|query| !query.impossible) {
            let relevant: Vec<usize> = set.qrels.relevant(&query.id).filter_map(|id| places.get(id).copied()).collect();
            if !relevant.is_empty() {
                asked.push((query, relevant));
            }
        }
        // The same questions whatever order the file has them in.
        asked.sort_by_cached_key(|(query, _)| Random::of(seed, query.id.as_str()).next_u64());
        asked.truncate(limits.queries);
        let mut kept: HashSet<usize> = asked.iter().flat_map(|(_, relevant)| relevant.iter().copied()).collect();
        let mut others: Vec<usize> = (0..all.len()).filter(|i| !kept.contains(i)).collect();
        others.sort_unstable_by_key(|i| mix(seed ^ mix(*i as u64 + 1)));
        let room = limits.passages.saturating_sub(kept.len());
        kept.extend(others.into_iter().take(room));
        let mut order: Vec<usize> = kept.into_iter().collect();
        order.sort_unstable();
        let new_place: HashMap<usize, usize> = order.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let questions = asked.iter().map(|(query, relevant)| Question {
            text: query.text.clone(),
            relevant: relevant.iter().map(|old| new_place[old]).collect(),
            half: half(seed, &query.id),
        });
        let held = HeldOut {
            name: String::new(),
            left_out: 0,
            questions: questions.collect(),
            texts: order.iter().map(|i| all[*i].full_text()).collect(),
        };
        let (choosing, judging) = (held.queries(Half::Choosing), held.queries(Half::Judging));
        if choosing == 0 || judging == 0 {
            let message = format!(
                "too few questions with a relevant passage are held out: {choosing} would choose, {judging} would judge"
            );
            return Err(Error::bad_input(message).hint("validation needs judged questions and their passages"));
        }
        Ok(held)
    }

    /// What all figures follow from besides the encoder, questions with halves and relevant passages and all passages,
    /// as the first 16 hex digits of its sha256.
    pub fn fingerprint(&self) -> String {
        let question = |q: &Question| format!("{:?} {:?} {:?}\n", q.text, q.half, q.relevant);
        let questions: String = self.questions.iter().map(question).collect();
        let passages: String = self.texts.iter().map(|text| format!("{text:?}\n")).collect();
        sha256(&[questions.as_bytes(), passages.as_bytes()])[..16].to_string()
    }

    /// What they were read from: a file's name, or a folder's and its split; empty where they were at hand.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Questions of the source that the training examples ask too, and that are therefore not among these.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Questions of a half.
    pub fn queries(&self, half: Half) -> usize {
        self.questions.iter().filter(|question| question.half == half).count()
    }

    /// Passages they are asked of.
    pub fn passages(&self) -> usize {
        self.texts.len()
    }

    /// Asks a half's questions of an encoder, or of two towers.
    ///
    /// Fails at a score that is not finite, which has no rank.
    pub fn ask(
        &self,
        question: &dyn Encoder,
        passage: &dyn Encoder,
        half: Half,
        progress: &dyn Progress,
    ) -> Result<Ranks> {
        let questions: Vec<&Question> = self.questions.iter().filter(|question| question.half == half).collect();
        progress.begin(Stage::Validating, Some((self.texts.len() + questions.len()) as u64));
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let passages = encode(passage, &texts, Role::Passage, progress)?;
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        let rows = encode(question, &texts, Role::Query, progress)?;
        progress.finish(Stage::Validating);
        let (n, d) = (passages.len(), passages.dimension());
        const BLOCK: usize = 64;
        let blocks = rows.values().par_chunks(BLOCK * d).zip(questions.par_chunks(BLOCK)).map(|(rows, questions)| {
            let mut scores = vec![0.0; questions.len() * n];
            multiply_transposed(
                Rows::new(rows, questions.len(), d),
                Rows::new(passages.values(), n, d),
                RowsMut::new(&mut scores, questions.len(), n),
            );
            let ranked = scores.chunks(n).zip(questions).map(|(scores, question)| {
                if let Some(place) = scores.iter().position(|score| !score.is_finite()) {
                    return Err(no_score(&question.text, &self.texts[place], scores[place]));
                }
                let mut ranks: Vec<usize> = question.relevant.iter().map(|place| rank(scores, *place)).collect();
                ranks.sort_unstable();
                Ok(ranks)
            });
            ranked.collect::<Result<Vec<_>>>()
        });
        Ok(Ranks(blocks.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()))
    }
}

fn no_score(question: &str, passage: &str, score: f32) -> Error {
    let start: String = passage.chars().take(60).collect();
    Error::bad_input(format!("the score of the held-out question `{question}` and the passage `{start}…` is {score}"))
        .hint("the model's vectors are no longer numbers, or too long: train with a lower rate (`--lr`)")
}

/// Rank from 1 of a place among finite scores: equal ones are ordered by place.
fn rank(scores: &[f32], place: usize) -> usize {
    let own = scores[place];
    let before = scores[..place].iter().filter(|score| **score >= own).count();
    1 + before + scores[place + 1..].iter().filter(|score| **score > own).count()
}

fn encode(encoder: &dyn Encoder, texts: &[&str], role: Role, progress: &dyn Progress) -> Result<Embeddings> {
    let mut values = Vec::with_capacity(texts.len() * encoder.card().dimension);
    for block in texts.chunks(1024) {
        progress.checkpoint()?;
        values.extend_from_slice(encoder.encode(block, role)?.values());
        progress.advance(Stage::Validating, block.len() as u64);
    }
    Ok(Embeddings::new(encoder.card().dimension, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::examples::{ExamplePassage, TrainingExample};
    use crate::encoder::contract::EncoderCard;
    use crate::encoder::fixed;

    fn bundled(limits: Limits) -> HeldOutRequest {
        let source = Source::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/dev.json"));
        HeldOutRequest { source, passages: Vec::new(), read: ReadOptions::default(), limits }
    }

    /// The built-in encoder, but one component of the vector of each passage with this word is another number.
    struct Broken(fixed::FixedEncoder, &'static str, f32);

    impl Encoder for Broken {
        fn card(&self) -> &EncoderCard {
            self.0.card()
        }
        fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings> {
            let rows = self.0.encode(texts, role)?;
            let (d, mut values) = (rows.dimension(), rows.values().to_vec());
            for i in (0..texts.len()).filter(|i| role == Role::Passage && texts[*i].contains(self.1)) {
                values[i * d] = self.2;
            }
            Ok(Embeddings::new(d, values))
        }
        fn token_spans(&self, text: &str) -> Vec<(usize, usize)> {
            self.0.token_spans(text)
        }
    }

    #[test]
    fn a_score_that_is_no_number_has_no_rank() {
        let held = HeldOut::read(&bundled(Limits::default()), &[], 7).unwrap();
        for value in [f32::NAN, f32::INFINITY] {
            let broken = Broken(fixed::builtin().unwrap(), "Saturn", value);
            let error = held.ask(&broken, &broken, Half::Judging, &Silent).unwrap_err().to_string();
            assert!(error.contains("the score of the held-out question"), "{error}");
        }
    }

    #[test]
    fn what_the_examples_ask_is_not_held_out() {
        let request = bundled(Limits::default());
        let (set, _) = read::query_set(&request.source, &request.read).unwrap();
        let example = |query: &Query| {
            let id = set.qrels.relevant(&query.id).next().unwrap().clone();
            let positive = ExamplePassage { id, title: String::new(), text: "a passage".into(), provenance: None };
            TrainingExample { query: query.clone(), positives: vec![positive], negatives: Vec::new() }
        };
        let mut examples: Vec<TrainingExample> = set.queries.iter().map(example).collect();
        let all = examples.len();
        // One half of these is known by its words, the other by id and passage.
        for (i, example) in examples.iter_mut().enumerate() {
            match i % 2 {
                0 => example.query.id = format!("other {i}").into(),
                _ => example.query.text = format!("other words {i}"),
            }
        }
        let read = |n: usize| {
            let set = ExampleSet { name: "examples".into(), examples: examples[..n].to_vec() };
            HeldOut::read(&request, &[set], 7)
        };
        let held = read(50).unwrap();
        assert_eq!((held.left_out(), held.name()), (50, "dev.json"));
        assert_eq!(held.queries(Half::Choosing) + held.queries(Half::Judging), all - 50);
        let refused = read(all).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("the training examples ask all its"), "{refused}");
    }

    #[test]
    fn ranks_count_what_stands_before() {
        assert_eq!(rank(&[0.5, 0.9, 0.5, 0.1], 2), 3);
        assert_eq!(rank(&[0.5, 0.9, 0.5, 0.1], 0), 2);
        let ranks = Ranks(vec![vec![1, 30], vec![4], vec![12]]);
        assert_eq!(ranks.recall(5), [0.5, 1.0, 0.0]);
        assert_eq!(ranks.reciprocal(10), [1.0, 0.25, 0.0]);
        assert!((ranks.average() - 17.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_bundled_questions_are_answered_and_halves_are_apart() {
        let read = |limits| HeldOut::read(&bundled(limits), &[], 7).unwrap();
        let held = read(Limits::default());
        let encoder = fixed::builtin().unwrap();
        let ranks = held.ask(&encoder, &encoder, Half::Judging, &Silent).unwrap();
        assert_eq!(ranks.0.len(), held.queries(Half::Judging));
        let (choosing, judging) = (held.queries(Half::Choosing), held.queries(Half::Judging));
        assert!(choosing.abs_diff(judging) * 4 < choosing + judging, "{choosing} and {judging}");
        assert!(ranks.average() < held.passages() as f64 / 4.0, "better than chance: {}", ranks.average());
        let small = read(Limits { queries: 10, passages: 12 });
        assert_eq!(small.queries(Half::Choosing) + small.queries(Half::Judging), 10);
        assert!(small.passages() <= 12);
        let one = HeldOut::read(&bundled(Limits { queries: 1, passages: 12 }), &[], 7);
        assert!(one.is_err_and(|e| e.to_string().contains("too few")), "a half would be empty");
    }

    #[test]
    fn a_question_s_half_is_its_own() {
        let ids: Vec<QueryId> = (0..1000).map(|i| QueryId::from(format!("q{i}"))).collect();
        let choosing = |seed| ids.iter().filter(|id| half(seed, id) == Half::Choosing).count();
        assert!((440..=560).contains(&choosing(1)), "{}", choosing(1));
        assert!(ids.iter().any(|id| half(1, id) != half(2, id)), "the seed has a say");
    }
}

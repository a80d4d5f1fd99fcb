//! Examples made ready for training: every text tokenised once, every passage known by what it says.
//!
//! Example files go in ([`ExampleSet`]s); out come token ids without padding and, for each passage, two marks by which a
//! batch tells that it is no negative of a query: its id (within its set) and its group of twins, the passages of
//! equal or nearly equal words. Examples that ask the same question, by its words or within a set by its id, have each
//! other's positives for answers. Hard negatives that answer their own query by either mark are left out, and counted.
//!
//! Memory: 4 bytes a token of distinct texts, 8 a passage of an example, 512 a distinct passage while twins are
//! looked for. Texts themselves stay with the caller.

use super::options::TrainOptions;
use super::tower::{Packed, Tower, passage_text};
use crate::collection::examples::{ExamplePassage, TrainingExample};
use crate::encoder::contract::Role;
use crate::error::{Error, Result};
use crate::progress::{Progress, Stage};
use crate::storage::sha256;
use crate::text::nfc;
use crate::text::shingles::Signature;
use crate::text::twins::{self, root};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

/// Texts tokenised between two looks at whether to stop.
const BLOCK: usize = 4096;

/// The examples of one file: texts of one kind and language, which share batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleSet {
    /// What reports call it.
    pub name: String,
    /// Its examples.
    pub examples: Vec<TrainingExample>,
}

/// A passage at its place in an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which distinct text it is.
    pub(super) text: u32,
    /// Number of its id; equal ids of different sets have different numbers.
    pub(super) id: u32,
}

/// An example by numbers.
#[derive(Clone, Debug)]
pub(super) struct Example {
    /// Where its positives stand in `places`.
    pub(super) positives: Range<u32>,
    /// Where everything stands that answers its question: its positives, or those of all examples that ask it.
    pub(super) answers: Range<u32>,
    /// Where its hard negatives stand, hardest first.
    pub(super) negatives: Range<u32>,
}

/// What was found while making ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// Examples of all sets.
    pub examples: usize,
    /// Distinct passages.
    pub passages: usize,
    /// Distinct passages with a twin among the others.
    pub twins: usize,
    /// Hard negatives kept.
    pub negatives: usize,
    /// Hard negatives that answer their query, or are a twin of what does, and were left out.
    pub false_negatives: usize,
    /// Examples whose question is asked by another example too.
    #[serde(default)]
    pub repeated: usize,
    /// Sets without any hard negative: they train on in-batch negatives alone.
    pub without_negatives: Vec<String>,
    /// Queries and passages of which the tower knows no token; they learn nothing.
    pub unknown: usize,
    /// Longest query and passage, in tokens.
    pub longest: (usize, usize),
}

/// Examples ready for training.
pub struct Data<'a> {
    /// One text an example, in the order of the sets.
    pub(super) queries: Packed,
    /// Distinct passages.
    pub(super) passages: Packed,
    /// Group of each distinct passage.
    pub(super) groups: Vec<u32>,
    pub(super) examples: Vec<Example>,
    pub(super) places: Vec<Place>,
    /// The examples of each set, as a range.
    pub(super) sets: Vec<Range<usize>>,
    /// The texts, for a teacher.
    pub(super) query_texts: Vec<&'a str>,
    pub(super) passage_texts: Vec<&'a ExamplePassage>,
    report: DataReport,
}

impl<'a> Data<'a> {
    /// Tokenises the sets' texts and finds twins among their passages.
    pub fn prepare(
        sets: &'a [ExampleSet],
        question: &dyn Tower,
        passage: &dyn Tower,
        options: &TrainOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut distinct: HashMap<(&str, &str), u32> = HashMap::new();
        let mut data = Data {
            queries: Packed::default(),
            passages: Packed::default(),
            groups: Vec::new(),
            examples: Vec::new(),
            places: Vec::new(),
            sets: Vec::new(),
            query_texts: Vec::new(),
            passage_texts: Vec::new(),
            report: DataReport::default(),
        };
        let mut distinct_ids = 0;
        for set in sets {
            let mut ids: HashMap<&str, u32> = HashMap::new();
            let start = data.examples.len();
            for example in &set.examples {
                if example.positives.is_empty() {
                    let message = format!("query `{}` of `{}` has no positive passage", example.query.id, set.name);
                    return Err(Error::bad_input(message));
                }
                let mut places = |passages: &'a [ExamplePassage]| {
                    let from = data.places.len() as u32;
                    for passage in passages {
                        let id = *ids.entry(passage.id.as_str()).or_insert_with(|| {
                            distinct_ids += 1;
                            distinct_ids - 1
                        });
                        let text = *distinct.entry((&passage.title, &passage.text)).or_insert_with(|| {
                            data.passage_texts.push(passage);
                            data.passage_texts.len() as u32 - 1
                        });
                        data.places.push(Place { text, id });
                    }
                    from..data.places.len() as u32
                };
                let (positives, negatives) = (places(&example.positives), places(&example.negatives));
                data.examples.push(Example { answers: positives.clone(), positives, negatives });
                data.query_texts.push(&example.query.text);
            }
            data.sets.push(start..data.examples.len());
        }
        drop(distinct);
        let (queries, passages) = (&data.query_texts, &data.passage_texts);
        progress.begin(Stage::Tokenizing, Some((queries.len() + passages.len()) as u64));
        data.queries = tokenise(queries.len(), |i| question.tokens(queries[i], Role::Query), progress)?;
        data.passages =
            tokenise(passages.len(), |i| passage.tokens(&passage_text(passages[i]), Role::Passage), progress)?;
        data.groups = match options.near_duplicates {
            true => twins::groups(&signatures(passages, progress)?),
            false => (0..passages.len() as u32).collect(),
        };
        progress.finish(Stage::Tokenizing);
        data.unite(sets);
        data.leave_out_false_negatives();
        data.measure(sets, options);
        Ok(data)
    }

    /// What was found.
    pub fn report(&self) -> &DataReport {
        &self.report
    }

    /// sha256 of all that batches are made of: equal fingerprints, equal training.
    pub fn fingerprint(&self) -> String {
        let mut structure: Vec<u64> = self.sets.iter().flat_map(|set| [set.start as u64, set.end as u64]).collect();
        for example in &self.examples {
            let ranges = [&example.positives, &example.answers, &example.negatives];
            structure.extend(ranges.into_iter().flat_map(|range| [range.start, range.end].map(u64::from)));
        }
        structure.extend(self.places.iter().flat_map(|place| [u64::from(place.text), u64::from(place.id)]));
        let offsets = [&self.queries, &self.passages].map(|texts| texts.offsets.iter().map(|at| *at as u64));
        structure.extend(offsets.into_iter().flatten());
        let tokens = [&self.queries.ids, &self.passages.ids, &self.groups].map(|ids| bytemuck::cast_slice(ids));
        sha256(&[bytemuck::cast_slice(&structure), tokens[0], tokens[1], tokens[2]])
    }

    /// The marks of a passage, its id and its group: two passages with one in common are the same to a batch.
    pub(super) fn marks(&self, place: Place) -> [(bool, u32); 2] {
        [(false, place.id), (true, self.groups[place.text as usize])]
    }

    /// Whether a passage answers an example's question.
    fn answers(&self, example: &Example, place: Place) -> bool {
        let [id, group] = self.marks(place);
        self.at(&example.answers).iter().map(|answer| self.marks(*answer)).any(|[i, g]| i == id || g == group)
    }

    /// The places of a range.
    pub(super) fn at(&self, range: &Range<u32>) -> &[Place] {
        &self.places[range.start as usize..range.end as usize]
    }

    /// Gives examples that ask the same question each other's positives for answers: to the tower it is one question,
    /// and what answers it in one line answers it in all.
    fn unite(&mut self, sets: &[ExampleSet]) {
        let mut question: Vec<u32> = (0..self.examples.len() as u32).collect();
        let mut join = |a: u32, b: u32| {
            let (a, b) = (root(&mut question, a), root(&mut question, b));
            question[a.max(b) as usize] = a.min(b);
        };
        let mut by_text = HashMap::new();
        let mut all = 0u32..;
        for set in sets {
            let mut by_id = HashMap::new();
            for (example, i) in set.examples.iter().zip(&mut all) {
                join(*by_text.entry(nfc(&example.query.text)).or_insert(i), i);
                join(*by_id.entry(&example.query.id).or_insert(i), i);
            }
        }
        let examples = 0..self.examples.len() as u32;
        let mut asked: Vec<(u32, u32)> = examples.map(|i| (root(&mut question, i), i)).collect();
        asked.sort_unstable();
        for same in asked.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            let positives = same.iter().flat_map(|(_, i)| self.at(&self.examples[*i as usize].positives));
            let mut answers: Vec<Place> = positives.copied().collect();
            answers.sort_unstable_by_key(|place| self.marks(*place));
            answers.dedup_by_key(|place| self.marks(*place));
            let from = self.places.len() as u32;
            self.places.extend(answers);
            same.iter().for_each(|(_, i)| self.examples[*i as usize].answers = from..self.places.len() as u32);
            self.report.repeated += same.len();
        }
    }

    /// Moves hard negatives that answer their own query behind the range's end.
    fn leave_out_false_negatives(&mut self) {
        for i in 0..self.examples.len() {
            let example = self.examples[i].clone();
            let mut end = example.negatives.start;
            for at in example.negatives.clone() {
                if !self.answers(&example, self.places[at as usize]) {
                    self.places.swap(end as usize, at as usize);
                    end += 1;
                }
            }
            self.report.false_negatives += (example.negatives.end - end) as usize;
            self.examples[i].negatives.end = end;
        }
    }

    fn measure(&mut self, sets: &[ExampleSet], options: &TrainOptions) {
        let lengths = |texts: &Packed| texts.offsets.windows(2).map(|at| at[1] - at[0]).collect::<Vec<_>>();
        let (queries, passages) = (lengths(&self.queries), lengths(&self.passages));
        let mut sizes = HashMap::new();
        self.groups.iter().for_each(|group| *sizes.entry(*group).or_insert(0) += 1);
        let report = &mut self.report;
        report.examples = self.examples.len();
        report.passages = passages.len();
        report.twins = self.groups.iter().filter(|group| sizes[*group] > 1).count();
        report.negatives = self.examples.iter().map(|example| example.negatives.len()).sum();
        let alone = |range: &Range<usize>| self.examples[range.clone()].iter().all(|e| e.negatives.is_empty());
        let sets = self.sets.iter().zip(sets).filter(|(range, _)| options.hard_negatives == 0 || alone(range));
        report.without_negatives = sets.map(|(_, set)| set.name.clone()).collect();
        report.unknown = queries.iter().chain(&passages).filter(|length| **length == 0).count();
        report.longest = (queries.into_iter().max().unwrap_or(0), passages.into_iter().max().unwrap_or(0));
    }
}

/// What twins among the passages are known by.
fn signatures(passages: &[&ExamplePassage], progress: &dyn Progress) -> Result<Vec<Option<Signature>>> {
    let mut signatures = Vec::with_capacity(passages.len());
    for block in passages.chunks(BLOCK) {
        progress.checkpoint()?;
        signatures.par_extend(block.par_iter().map(|passage| Signature::of(&passage_text(passage))));
    }
    Ok(signatures)
}

/// Tokenises `n` texts on all threads.
fn tokenise(n: usize, tokens: impl Fn(usize) -> Result<Vec<u32>> + Sync, progress: &dyn Progress) -> Result<Packed> {
    let mut packed = Packed { ids: Vec::new(), offsets: vec![0] };
    for from in (0..n).step_by(BLOCK) {
        progress.checkpoint()?;
        let to = n.min(from + BLOCK);
        let block: Vec<Vec<u32>> = (from..to).into_par_iter().map(&tokens).collect::<Result<_>>()?;
        for ids in block {
            packed.ids.extend(ids);
            packed.offsets.push(packed.ids.len());
        }
        progress.advance(Stage::Tokenizing, (to - from) as u64);
    }
    packed.ids.shrink_to_fit();
    Ok(packed)
}

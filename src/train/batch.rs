//! Batches: which examples make a step, and which passages of it are no negatives of which query.
//!
//! A batch holds `B` queries, their `B` positives and after those all their hard negatives, `M` passages together.
//! Passage `j` is forbidden to query `i` when it is, by id or by its words, any positive of `i`: the loss then does
//! not see it. So two queries with the same positive share a batch, and neither pushes it away.
//!
//! An epoch shuffles the examples of each set, cuts them into batches, and shuffles the batches of all sets: every
//! batch is of one set, and sets are mixed by their sizes. Everything follows from seed and epoch alone, so a step can
//! be made again without those before it. Of several positives an epoch takes one, drawn by seed, epoch and query; of
//! the hard negatives it takes as many as asked, going round the list from where the epoch before stopped, so that
//! the first epoch has the hardest. A last batch of a single query is dropped, unless it is the set's only one.
//!
//! ```text
//! columns      positives of 0, 1, …, B-1 │ negatives of 0 │ negatives of 1 │ …        (M)
//! mask [B, M]  0 where allowed, -1e9 where forbidden; [i, i] is always 0
//! ```

use super::data::{Data, Place};
use super::options::TrainOptions;
use super::tower::Packed;
use crate::error::{Error, Result};
use crate::random::{Random, mix};

/// Added to the score of a forbidden pair; its share in the softmax is exactly 0 in f32.
pub const FORBIDDEN: f32 = -1e9;

/// The texts of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Which set it is of.
    pub set: usize,
    /// `B` queries.
    pub queries: Packed,
    /// `M` passages: `B` positives, then hard negatives.
    pub passages: Packed,
    /// `[B, M]`, 0 or [`FORBIDDEN`].
    pub mask: Vec<f32>,
    /// Queries that have no negative left; their loss is 0.
    pub alone: usize,
    /// Numbers of the queries and passages in the data, for a teacher.
    pub(super) texts: (Vec<u32>, Vec<u32>),
}

/// The order of an epoch's batches.
pub struct Epoch {
    number: usize,
    /// Set and examples of each batch.
    batches: Vec<(usize, Vec<u32>)>,
}

impl Epoch {
    /// The batches of epoch `number`, counted from 0.
    pub fn new(data: &Data<'_>, options: &TrainOptions, number: usize) -> Self {
        let seed = mix(options.seed ^ mix(number as u64 + 1));
        let mut batches = Vec::new();
        for (set, range) in data.sets.iter().enumerate() {
            let mut examples: Vec<u32> = (range.start as u32..range.end as u32).collect();
            Random::of(seed, &format!("set {set}")).shuffle(&mut examples);
            let cut = examples.chunks(options.batch);
            let kept = cut.filter(|batch| batch.len() > 1 || options.batch == 1 || examples.len() == 1);
            batches.extend(kept.map(|batch| (set, batch.to_vec())));
        }
        Random::of(seed, "batches").shuffle(&mut batches);
        Epoch { number, batches }
    }

    /// Number of batches, the same in every epoch.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Number of examples of batch `i`.
    pub fn size(&self, i: usize) -> usize {
        self.batches[i].1.len()
    }

    /// Batch `i`.
    pub fn batch(&self, data: &Data<'_>, options: &TrainOptions, i: usize) -> Batch {
        let (set, examples) = &self.batches[i];
        let seed = mix(options.seed ^ mix(self.number as u64 + 1));
        let mut columns: Vec<Place> = Vec::with_capacity(examples.len() * (1 + options.hard_negatives));
        for example in examples {
            let positives = data.at(&data.examples[*example as usize].positives);
            columns.push(positives[Random::new(seed ^ mix(u64::from(*example) + 1)).below(positives.len())]);
        }
        for example in examples {
            let negatives = data.at(&data.examples[*example as usize].negatives);
            let taken = options.hard_negatives.min(negatives.len());
            columns.extend((0..taken).map(|n| negatives[(self.number * taken + n) % negatives.len()]));
        }
        let mut mask = vec![0.0; examples.len() * columns.len()];
        let mut alone = 0;
        for (i, (example, row)) in examples.iter().zip(mask.chunks_mut(columns.len())).enumerate() {
            let example = &data.examples[*example as usize];
            for (j, (forbidden, column)) in row.iter_mut().zip(&columns).enumerate() {
                if j != i && data.answers(example, *column) {
                    *forbidden = FORBIDDEN;
                }
            }
            alone += usize::from(row.iter().filter(|forbidden| **forbidden == 0.0).count() == 1);
        }
        Batch {
            set: *set,
            queries: Packed::of(examples.iter().map(|example| data.queries.text(*example as usize))),
            passages: Packed::of(columns.iter().map(|place| data.passages.text(place.text as usize))),
            mask,
            alone,
            texts: (examples.clone(), columns.iter().map(|place| place.text).collect()),
        }
    }
}

/// Refuses data from which nothing could be learnt: a loss of 0 at every step would look like success.
pub fn check(data: &Data<'_>, options: &TrainOptions) -> Result<()> {
    if data.examples.is_empty() {
        return Err(Error::bad_input("the example files hold no example"));
    }
    for range in &data.sets {
        let negatives = data.examples[range.clone()].iter().any(|example| !example.negatives.is_empty());
        let hard = negatives && options.hard_negatives > 0;
        if range.len().min(options.batch) == 1 && !hard {
            let message = "batch of 1 and no hard negatives: the loss would be 0 at every step";
            return Err(Error::bad_input(message).hint("give more examples and a larger `--batch`, or hard negatives"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::Query;
    use crate::collection::examples::{ExamplePassage, TrainingExample};
    use crate::encoder::fixed::StaticModel;
    use crate::progress::Silent;
    use crate::train::data::ExampleSet;
    use crate::train::fixed::FixedTower;
    use candle_core::Device;
    use proptest::prelude::*;

    const LONG: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
                        sixteen seventeen eighteen nineteen twenty";

    fn tower() -> FixedTower {
        let words = ["[UNK]", "q", "a", "b"].map(String::from).to_vec();
        let model = StaticModel::quantized(words, 2, &[0., 0., 1., 0., 0., 1., 1., 1.]).unwrap();
        FixedTower::of(&model, "x", &Device::Cpu).unwrap()
    }

    fn passage(id: &str, text: &str) -> ExamplePassage {
        ExamplePassage { id: id.into(), title: String::new(), text: text.into(), provenance: None }
    }

    fn example(id: &str, positives: &[(&str, &str)], negatives: &[(&str, &str)]) -> TrainingExample {
        let passages = |all: &[(&str, &str)]| all.iter().map(|(id, text)| passage(id, text)).collect();
        TrainingExample { query: Query::new(id, "q"), positives: passages(positives), negatives: passages(negatives) }
    }

    fn options(batch: usize, hard_negatives: usize) -> TrainOptions {
        TrainOptions { batch, hard_negatives, ..TrainOptions::default() }
    }

    #[test]
    fn no_column_is_a_positive_of_its_row_by_id_text_or_near_text() {
        let near = format!("{LONG} more");
        let sets = [ExampleSet {
            name: "s".into(),
            examples: vec![
                example("0", &[("p", "a b")], &[("n", "far away"), ("p", "same id"), ("z", "a b")]),
                example("1", &[("p", "a b"), ("o", LONG)], &[("m", "another")]),
                example("2", &[("r", &near)], &[]),
                example("3", &[("t", "b")], &[("u", "a b")]),
            ],
        }];
        let tower = tower();
        for near_duplicates in [true, false] {
            let options = TrainOptions { near_duplicates, ..options(4, 3) };
            let data = Data::prepare(&sets, &tower, &tower, &options, &Silent).unwrap();
            assert_eq!((data.report().false_negatives, data.report().negatives), (2, 3));
            let epoch = Epoch::new(&data, &options, 0);
            let batch = epoch.batch(&data, &options, 0);
            let (queries, columns) = (&batch.texts.0, &batch.texts.1);
            assert_eq!((queries.len(), columns.len(), batch.mask.len()), (4, 7, 28));
            let text = |column: usize| data.passage_texts[columns[column] as usize].text.as_str();
            let forbidden = |query: u32, of: &str| {
                let row = queries.iter().position(|q| *q == query).unwrap();
                let columns = (0..7).filter(|j| *j != row && text(*j) == of);
                columns.map(|j| batch.mask[row * 7 + j] == FORBIDDEN).collect::<Vec<_>>()
            };
            // 0 and 1 share a positive (or 1 took its other); 3 has its text as hard negative.
            assert!(forbidden(0, "a b").iter().chain(&forbidden(1, "a b")).all(|f| *f));
            assert!(forbidden(3, "a b").iter().all(|f| !f) && !forbidden(3, "a b").is_empty());
            assert_eq!(forbidden(1, &near), [near_duplicates]);
            assert_eq!(forbidden(0, &near), [false]);
            assert!(forbidden(2, LONG).iter().all(|f| *f == near_duplicates));
            (0..4).for_each(|i| assert_eq!(batch.mask[i * 7 + i], 0.0));
        }
    }

    #[test]
    fn epochs_take_turns_among_positives_and_negatives() {
        let sets = [ExampleSet {
            name: "s".into(),
            examples: vec![
                example("0", &[("a", "a"), ("b", "b")], &[("1", "x"), ("2", "y"), ("3", "z")]),
                example("1", &[("c", "b a")], &[]),
            ],
        }];
        let (tower, options) = (tower(), options(2, 1));
        let data = Data::prepare(&sets, &tower, &tower, &options, &Silent).unwrap();
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for number in 0..12 {
            let batch = Epoch::new(&data, &options, number).batch(&data, &options, 0);
            let place = batch.texts.0.iter().position(|query| *query == 0).unwrap();
            let text = |column: usize| data.passage_texts[batch.texts.1[column] as usize].text.clone();
            positives.push(text(place));
            negatives.push(text(2));
        }
        assert_eq!(negatives[..4], ["x", "y", "z", "x"]);
        assert!(positives.contains(&"a".to_string()) && positives.contains(&"b".to_string()));
    }

    proptest! {
        #[test]
        fn an_epoch_goes_through_every_set_once_in_batches_of_one_set(
            sizes in prop::collection::vec(2usize..40, 1..4), batch in 2usize..9, seed in 0u64..9,
        ) {
            let sets: Vec<ExampleSet> = sizes.iter().enumerate().map(|(s, n)| ExampleSet {
                name: s.to_string(),
                examples: (0..*n).map(|i| example(&i.to_string(), &[(&i.to_string(), "a")], &[])).collect(),
            }).collect();
            let tower = tower();
            let options = TrainOptions { seed, ..options(batch, 1) };
            let data = Data::prepare(&sets, &tower, &tower, &options, &Silent).unwrap();
            let (epoch, next) = (Epoch::new(&data, &options, 0), Epoch::new(&data, &options, 1));
            prop_assert_eq!(epoch.len(), next.len());
            let mut seen: Vec<u32> = Vec::new();
            for (set, examples) in &epoch.batches {
                prop_assert!(examples.len() >= 2 && examples.len() <= batch);
                prop_assert!(examples.iter().all(|e| data.sets[*set].contains(&(*e as usize))));
                seen.extend(examples);
            }
            let dropped: usize = sizes.iter().filter(|n| *n % batch == 1).count();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len() + dropped, sizes.iter().sum::<usize>());
        }
    }
}

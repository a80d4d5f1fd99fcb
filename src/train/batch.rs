//! Batches: which examples make a step, and which passages of it are no negatives of which query.
//!
//! A batch holds `B` queries, their `B` positives and after those all their hard negatives, `M` passages together.
//! Passage `j` is forbidden to query `i` when it is, by id or by its words, any positive of `i`, or of another example
//! that asks the same question: the loss then does not see it. So two queries with the same positive share a batch, and
//! neither pushes it away.
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
//!
//! Two questions to one passage, and a third to another:
//!
//! ```
//! # use candle_core::Device;
//! # use parallax::collection::{Query, examples::{ExamplePassage, TrainingExample}};
//! # use parallax::encoder::fixed::StaticModel;
//! # use parallax::train::{TrainOptions, batch::{Epoch, FORBIDDEN}, data::{Data, ExampleSet}, fixed::FixedTower};
//! # let vocabulary = ["[UNK]", "north", "east"].map(String::from).to_vec();
//! # let model = StaticModel::quantized(vocabulary, 2, &[0.0, 0.0, 0.0, 2.0, 4.0, 0.0])?;
//! # let tower = FixedTower::of(&model, "compass", &Device::Cpu)?;
//! # let example = |query: &str, id: &str| TrainingExample {
//! #     query: Query::new(query, format!("north {query}")),
//! #     positives: vec![ExamplePassage { id: id.into(), title: String::new(), text: id.into(), provenance: None }],
//! #     negatives: Vec::new(),
//! # };
//! let examples = vec![example("1", "north"), example("2", "north"), example("3", "east")];
//! let sets = [ExampleSet { name: "compass".into(), examples }];
//! let options = TrainOptions::default();
//! let data = Data::prepare(&sets, &tower, &tower, &options, &parallax::Silent)?;
//! let batch = Epoch::new(&data, &options, 0).batch(&data, &options, 0);
//! assert_eq!(batch.mask.iter().filter(|mask| **mask == FORBIDDEN).count(), 2);
//! # Ok::<(), parallax::Error>(())
//! ```

use super::data::{Data, Place};
use super::options::TrainOptions;
use super::tower::Packed;
use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, mix};
use std::collections::HashMap;

/// Added to the score of a forbidden pair; its share in the softmax is exactly 0 in f32.
pub const FORBIDDEN: f32 = -1e9;

/// Scores `B M` of a step at most: an array of them has 16 GiB, and the loss needs several.
const MOST_SCORES: usize = 1 << 32;

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
        let mut columns: Vec<Place> = Vec::with_capacity(2 * examples.len());
        for example in examples {
            let positives = data.at(&data.examples[*example as usize].positives);
            columns.push(positives[Random::new(seed ^ mix(u64::from(*example) + 1)).below(positives.len())]);
        }
        for example in examples {
            let negatives = data.at(&data.examples[*example as usize].negatives);
            let taken = options.hard_negatives.min(negatives.len());
            columns.extend((0..taken).map(|n| negatives[(self.number * taken + n) % negatives.len()]));
        }
        let mut marked: HashMap<(bool, u32), Vec<usize>> = HashMap::new();
        for (j, column) in columns.iter().enumerate() {
            data.marks(*column).into_iter().for_each(|mark| marked.entry(mark).or_default().push(j));
        }
        let mut mask = vec![0.0; examples.len() * columns.len()];
        let mut alone = 0;
        for (i, (example, row)) in examples.iter().zip(mask.chunks_mut(columns.len())).enumerate() {
            let answers = data.at(&data.examples[*example as usize].answers).iter();
            let columns = answers.flat_map(|answer| data.marks(*answer)).filter_map(|mark| marked.get(&mark)).flatten();
            columns.filter(|j| **j != i).for_each(|j| row[*j] = FORBIDDEN);
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
        let negatives = data.examples[range.clone()].iter().map(|example| example.negatives.len()).max().unwrap_or(0);
        let hard = negatives.min(options.hard_negatives);
        let b = range.len().min(options.batch);
        let scores = hard.checked_add(1).and_then(|passages| b.checked_mul(b)?.checked_mul(passages));
        if scores.is_none_or(|scores| scores > MOST_SCORES) {
            let message = format!("{b} questions a step with {hard} hard negatives each are more than memory holds");
            return Err(Error::new(ErrorKind::Limit, message).hint("a smaller `--batch`, or fewer `--negatives`"));
        }
        if b == 1 && hard == 0 {
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
        asking(Query::new(id, format!("q {id}")), positives, negatives)
    }

    fn asking(query: Query, positives: &[(&str, &str)], negatives: &[(&str, &str)]) -> TrainingExample {
        let passages = |all: &[(&str, &str)]| all.iter().map(|(id, text)| passage(id, text)).collect();
        TrainingExample { query, positives: passages(positives), negatives: passages(negatives) }
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
    fn examples_that_ask_the_same_question_share_its_answers() {
        let near = format!("{LONG} more");
        // 0 and 1 have the same words, once in another normal form; 1 and 2 the same id; 3 stands alone.
        let first = vec![
            asking(Query::new("x", "caf\u{e9}"), &[("p", "a b")], &[("m", "a"), ("twin", &near)]),
            asking(Query::new("y", "cafe\u{301}"), &[("o", LONG)], &[("p", "other words under the same id")]),
            asking(Query::new("y", "cafes"), &[("n", "b")], &[]),
            asking(Query::new("z", "tea"), &[("q", "leaves")], &[("k", "far"), ("l", "a b")]),
        ];
        // Another file: `café` is the same question, ids are not the same ids.
        let second = vec![
            asking(Query::new("1", "caf\u{e9}"), &[("r", "a")], &[("s", "b"), ("m", "further")]),
            asking(Query::new("z", "coffee"), &[("q", "c")], &[("n", "c c")]),
        ];
        let set = |name: &str, examples| ExampleSet { name: name.into(), examples };
        let sets = [set("first", first), set("second", second)];
        let (tower, options) = (tower(), options(4, 2));
        let data = Data::prepare(&sets, &tower, &tower, &options, &Silent).unwrap();
        let left = |i: usize| data.at(&data.examples[i].negatives).len();
        // `a` answers 0 by way of the other file, `near` of line 1, `p` and `b` of lines 0 and 2.
        assert_eq!([0, 1, 2, 3, 4, 5].map(left), [0, 0, 0, 2, 1, 1]);
        assert_eq!((data.report().repeated, data.report().false_negatives), (4, 4));
        let epoch = Epoch::new(&data, &options, 0);
        let batches = (0..epoch.len()).map(|i| epoch.batch(&data, &options, i));
        let batch = batches.into_iter().find(|batch| batch.set == 0).unwrap();
        let m = batch.passages.len();
        assert_eq!((batch.queries.len(), m), (4, 6));
        for (i, query) in batch.texts.0.iter().enumerate() {
            for j in (0..4).filter(|j| *j != i) {
                let same = *query != 3 && batch.texts.0[j] != 3;
                assert_eq!(
                    batch.mask[i * m + j] == FORBIDDEN,
                    same,
                    "{query} and the positive of {}",
                    batch.texts.0[j]
                );
            }
        }
    }

    #[test]
    fn a_step_that_no_memory_holds_is_refused() {
        let examples: Vec<_> = (0..70_000).map(|i| example(&i.to_string(), &[(&i.to_string(), "a")], &[])).collect();
        let sets = [ExampleSet { name: "s".into(), examples }];
        let (tower, most) = (tower(), options(1_000_000_000, 1_000_000_000));
        let data = Data::prepare(&sets, &tower, &tower, &most, &Silent).unwrap();
        assert_eq!(check(&data, &most).unwrap_err().kind(), ErrorKind::Limit);
        // So many negatives as there are: none.
        let some = options(2, 1_000_000_000);
        check(&data, &some).unwrap();
        assert_eq!(Epoch::new(&data, &some, 0).batch(&data, &some, 0).passages.len(), 2);
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

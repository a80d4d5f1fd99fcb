//! Which questions a loop learns from and which it never sees: the held-out set, cut off or given.
//!
//! Questions are linked when a passage is relevant to both. Without a set of their own, held-out questions are whole
//! groups of linked ones: a group is held out when the hash of its smallest relevant passage id says so, one in
//! [`SHARE`]. So no relevant passage stands on both sides, and neither the order of the file nor other groups decide.

use super::{Counts, LoopOptions};
use crate::collection::read::{self, QuerySetSummary, ReadOptions, Source};
use crate::collection::{PassageId, Query, QuerySet};
use crate::error::{Error, Result};
use crate::learn::apart::{self, Known, part};
use crate::learn::held_out::{Half, half};
use crate::random::Random;
use crate::text::twins::root;
use std::collections::{BTreeSet, HashMap};

/// One group of questions in so many is held out.
const SHARE: usize = 10;

/// The questions of a loop.
pub struct Questions {
    /// Those that are learnt from.
    pub train: QuerySet,
    /// Those that are held out, both halves.
    pub held_out: QuerySet,
    /// What these are of: a file's name, a folder's and its split, or `a tenth of` these.
    pub name: String,
    /// The half of them that chooses checkpoints, fusion weights and rounds.
    pub choosing: QuerySet,
    /// The half of them that each round is judged by.
    pub judging: QuerySet,
    /// Sets whose relevant passages are no negatives: the held-out one, and a BEIR folder's other splits.
    pub protected: Vec<QuerySet>,
    /// Questions left out of training because they are held out too: by their words, or by id and passage.
    pub dropped: usize,
}

impl Questions {
    /// Reads the questions of a loop's sources and takes them apart.
    ///
    /// Fails when nothing is judged, when nothing is left to learn from, when a half of the held-out questions is
    /// empty, and for a held-out BEIR folder without a `dev` split where no split is named.
    pub fn read(options: &LoopOptions) -> Result<Self> {
        let (all, summary) = read::query_set(&options.data, &options.read)?;
        if all.qrels.is_empty() {
            return Err(Error::bad_input("no question has a judgment, so there is no positive to learn from")
                .in_file(options.data.path()));
        }
        let (all, held_out, name) = match &options.held_out {
            None => {
                let (all, held_out) = cut(&all, options.seed);
                (all, held_out, format!("a tenth of {}", apart::named(&options.data, summary.split.as_deref())))
            }
            Some((source, split)) => {
                let read = ReadOptions { split: split.clone(), ..options.read.clone() };
                let (held_out, name) = apart::held_out(source, &read, "held-out")?;
                (all, held_out, name)
            }
        };
        let known = Known::of(&held_out);
        let train = part(&all, |query| !known.has(query, all.qrels.relevant(&query.id)));
        let dropped = all.queries.len() - train.queries.len();
        let judged = |query: &Query| held_out.qrels.relevant(&query.id).next().is_some();
        let of = |wanted: Half| {
            part(&held_out, |query| !query.impossible && judged(query) && half(options.seed, &query.id) == wanted)
        };
        let (choosing, judging) = (of(Half::Choosing), of(Half::Judging));
        let (choose, judge) = (choosing.queries.len(), judging.queries.len());
        let error = if train.qrels.is_empty() {
            Error::bad_input("all its questions are held out, so none is left to learn from")
        } else if choose == 0 || judge == 0 {
            Error::bad_input(format!("too few questions are held out: {choose} would choose, {judge} would judge"))
        } else {
            let mut protected = others(options, &summary)?;
            protected.push(held_out.clone());
            return Ok(Questions { train, held_out, name, choosing, judging, protected, dropped });
        };
        Err(error.in_file(options.data.path()).hint("hold out another set: `--held-out SOURCE`"))
    }

    /// How many there are of each.
    pub fn counts(&self) -> Counts {
        Counts {
            train: self.train.queries.len(),
            held_out: self.name.clone(),
            choosing: self.choosing.queries.len(),
            judging: self.judging.queries.len(),
            dropped: self.dropped,
        }
    }
}

/// Judgments of a BEIR folder's other splits; what is trained on needs no shelter.
fn others(options: &LoopOptions, summary: &QuerySetSummary) -> Result<Vec<QuerySet>> {
    let splits = summary.other_splits.iter().filter(|split| *split != "train");
    let read = |split: &String| {
        let read = ReadOptions { split: Some(split.clone()), ..options.read.clone() };
        read::query_set(&options.data, &read).map(|(set, _)| set)
    };
    splits.map(read).collect()
}

/// Where passages come from: the sources named, or those of the questions, each once.
pub(super) fn collection(options: &LoopOptions) -> Result<Vec<Source>> {
    if !options.passages.is_empty() {
        return Ok(options.passages.clone());
    }
    let place =
        |source: &Source| std::path::absolute(source.path()).map_err(|e| Error::io(source.path(), "resolve", e));
    let mut sources = vec![options.data.clone()];
    if let Some((source, _)) = &options.held_out
        && place(source)? != place(&options.data)?
    {
        sources.push(source.clone());
    }
    Ok(sources)
}

/// Cuts held-out questions off: what is left to learn from, then what is held out.
pub fn cut(set: &QuerySet, seed: u64) -> (QuerySet, QuerySet) {
    let smallest = groups(set);
    let held = |query: &Query| {
        let first = set.qrels.relevant(&query.id).next().and_then(|passage| smallest.get(passage));
        first.is_some_and(|passage| Random::of(seed, &format!("held out {passage}")).below(SHARE) == 0)
    };
    (part(set, |query| !held(query)), part(set, held))
}

/// For each relevant passage the smallest id of its group: passages that some question has in common are of one group.
fn groups(set: &QuerySet) -> HashMap<&PassageId, &PassageId> {
    let relevant = || set.qrels.iter().map(|(query, _)| set.qrels.relevant(query));
    // Numbered by id, so that a group's first passage is its smallest.
    let passages: Vec<&PassageId> = relevant().flatten().collect::<BTreeSet<_>>().into_iter().collect();
    let numbers: HashMap<&PassageId, u32> = passages.iter().copied().zip(0..).collect();
    let mut group: Vec<u32> = (0..passages.len() as u32).collect();
    for mut of_one in relevant().map(|passages| passages.map(|passage| numbers[passage])) {
        let Some(first) = of_one.next() else { continue };
        for other in of_one {
            let (a, b) = (root(&mut group, first), root(&mut group, other));
            group[a.max(b) as usize] = a.min(b);
        }
    }
    let first_of = |i: u32, group: &mut [u32]| passages[root(group, i) as usize];
    passages.iter().zip(0..).map(|(passage, i)| (*passage, first_of(i, &mut group))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::EncoderChoice;
    use crate::learn::towers::TowerOptions;
    use proptest::prelude::*;

    fn set(judgments: &[Vec<u8>]) -> QuerySet {
        let mut set = QuerySet::default();
        for (i, passages) in judgments.iter().enumerate() {
            set.queries.push(Query::new(format!("q{i}"), format!("question {i}")));
            for passage in passages {
                set.qrels.insert(format!("q{i}").into(), format!("p{passage}").into(), 1);
            }
        }
        set
    }

    fn relevant(set: &QuerySet) -> BTreeSet<PassageId> {
        set.queries.iter().flat_map(|query| set.qrels.relevant(&query.id).cloned().collect::<Vec<_>>()).collect()
    }

    proptest! {
        #[test]
        fn no_passage_stands_on_both_sides(
            judgments in prop::collection::vec(prop::collection::vec(0u8..200, 0..3), 1..120), seed in 0u64..50,
        ) {
            let all = set(&judgments);
            let (train, held) = cut(&all, seed);
            prop_assert!(relevant(&train).is_disjoint(&relevant(&held)));
            let ids: BTreeSet<_> = train.queries.iter().chain(&held.queries).map(|query| query.id.clone()).collect();
            prop_assert_eq!(ids.len(), all.queries.len());
            prop_assert_eq!(train.queries.len() + held.queries.len(), all.queries.len());
            prop_assert!(held.queries.iter().all(|query| all.qrels.get(&query.id) == held.qrels.get(&query.id)));
            // The file's order has no say.
            let mut turned = all.clone();
            turned.queries.reverse();
            let ids = |set: &QuerySet| set.queries.iter().map(|query| query.id.clone()).collect::<BTreeSet<_>>();
            prop_assert_eq!(ids(&cut(&turned, seed).1), ids(&held));
        }
    }

    #[test]
    fn about_a_tenth_is_held_out_and_the_seed_chooses() {
        let judgments: Vec<Vec<u8>> = (0..200u8).map(|passage| vec![passage]).collect();
        let all = set(&judgments);
        let counts: Vec<usize> = (0..20).map(|seed| cut(&all, seed).1.queries.len()).collect();
        let mean = counts.iter().sum::<usize>() as f64 / 20.0;
        assert!((16.0..=24.0).contains(&mean), "{counts:?}");
        assert_ne!(cut(&all, 1).1, cut(&all, 2).1);
    }

    #[test]
    fn a_chain_of_shared_passages_is_one_group() {
        let all = set(&[vec![3, 2], vec![2, 1], vec![9], vec![1, 0]]);
        let found = groups(&all);
        let of = |passage: &str| found[&PassageId::from(passage)].as_str();
        assert_eq!([of("p3"), of("p2"), of("p1"), of("p0"), of("p9")], ["p0", "p0", "p0", "p0", "p9"]);
    }

    fn squad(questions: &[(&str, &str)]) -> String {
        let paragraphs = questions.iter().map(|(id, text)| {
            format!(
                r#"{{"context": "passage of {id}", "qas": [{{"id": "{id}", "question": "{text}",
                    "answers": [{{"text": "passage", "answer_start": 0}}]}}]}}"#
            )
        });
        let paragraphs: Vec<String> = paragraphs.collect();
        format!(r#"{{"data": [{{"title": "t", "paragraphs": [{}]}}]}}"#, paragraphs.join(","))
    }

    #[test]
    fn a_question_that_is_held_out_is_not_learnt_from() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, questions: &[(&str, &str)]| {
            let path = folder.path().join(name);
            fs_err::write(&path, squad(questions)).unwrap();
            Source::new(path)
        };
        let data = write("data.json", &[("a", "first"), ("b", "second"), ("c", "third")]);
        let many: Vec<(String, String)> =
            (0..20).map(|i| (format!("h{i}"), if i == 7 { "second".into() } else { format!("held {i}") })).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        let held = write("held.json", &many);
        let mut options = LoopOptions::of(data.clone(), TowerOptions::of(EncoderChoice::builtin()));
        options.held_out = Some((held, None));
        let questions = Questions::read(&options).unwrap();
        let ids: Vec<&str> = questions.train.queries.iter().map(|query| query.id.as_str()).collect();
        assert_eq!((ids, questions.dropped, questions.held_out.queries.len()), (vec!["a", "c"], 1, 20));
        let judging = questions.judging.queries.len();
        assert!(judging > 0 && judging < 20 && questions.judging.qrels.len() == judging);
        assert_eq!(questions.counts().held_out, "held.json");
        let more: Vec<String> = (0..300).map(|i| format!("q{i}")).collect();
        let more: Vec<(&str, &str)> = more.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let more = LoopOptions::of(write("more.json", &more), TowerOptions::of(EncoderChoice::builtin()));
        assert_eq!(Questions::read(&more).unwrap().counts().held_out, "a tenth of more.json");
        assert_eq!(collection(&options).unwrap().len(), 2);
        options.held_out = Some((data, None));
        assert_eq!(collection(&options).unwrap().len(), 1, "the same file is read once");
        let refused = Questions::read(&options).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("none is left to learn from"), "{refused}");
    }
}

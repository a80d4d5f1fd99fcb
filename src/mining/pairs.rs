//! Examples without any question asked: titles, sentences and excerpts of the index's own passages.
//!
//! Each passage gives up to one query of each kind ([`pseudo`]): its title, whose positive is the text, a sentence drawn
//! from it, whose positive is the rest, and an excerpt of one. The queries are called `title:`, `sentence:` and `excerpt:`
//! with the passage's id behind. Passages that are [held out](pseudo::held_out) give none: with them an index of the same
//! collection finds out what the encoder is worth. Negatives are mined as for any query; passages of the same title are
//! never taken, since they are as right as the passage itself. Where a margin is kept, the positive's score is that of the
//! whole passage.
//!
//! Cost: with no negatives nothing is searched; a passage is one block of texts unpacked.

use super::engine::Engine;
use super::options::MineOptions;
use super::protect::protected;
use super::question::{Asked, Prepared};
use super::report::MineReport;
use super::{Quiet, Session, Take};
use crate::collection::examples::{ExamplePassage, TrainingExample};
use crate::collection::pseudo::{self, Pseudo};
use crate::collection::{Ordinal, Passage, Query, QueryId, QuerySet};
use crate::error::{Error, Result};
use crate::progress::{Progress, Stage};
use crate::random::Random;
use crate::search::Searcher;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::str::FromStr;

/// What passages are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairKind {
    /// Title → text.
    Titles,
    /// Sentence → the rest.
    Sentences,
    /// Some words of a sentence → the rest with about half of the sentence's words.
    Excerpts,
    /// Titles and sentences.
    Both,
    /// Titles, sentences and excerpts.
    All,
}

impl FromStr for PairKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "titles" => Ok(PairKind::Titles),
            "sentences" => Ok(PairKind::Sentences),
            "excerpts" => Ok(PairKind::Excerpts),
            "both" => Ok(PairKind::Both),
            "all" => Ok(PairKind::All),
            _ => Err(Error::usage(format!("`{text}` is no kind of pair"))
                .hint("one of titles, sentences, excerpts, both (titles and sentences), all")),
        }
    }
}

/// Which pairs to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairOptions {
    /// What passages are asked.
    pub kind: PairKind,
    /// Pairs wanted, drawn from the whole collection; `None` takes every pair, in the collection's order.
    pub pairs: Option<usize>,
}

/// Passages read between two looks at the count.
const STRIDE: usize = 4_096;

/// Mines examples from the index's own passages; `protected` and `options` mean what they do in [`mine`](super::mine).
pub fn mine_pairs(
    searcher: &Searcher,
    pairs: &PairOptions,
    protected_sets: &[QuerySet],
    options: &MineOptions,
    progress: &dyn Progress,
    take: Take<'_>,
) -> Result<MineReport> {
    let mut options = options.clone();
    options.filters.same_title = true;
    options.check()?;
    let shelter = protected(searcher, protected_sets, &options)?;
    let engine = Engine::new(searcher, &options, &shelter);
    let mut session = Session::new(engine, &options, searcher, shelter.len())?;
    let order = order(searcher.index().len(), pairs, options.seed);
    progress.begin(Stage::Searching, pairs.pairs.map(|n| n as u64));
    if session.wants_margins() {
        let sample = order.iter().take(super::margin::SAMPLE).copied().collect::<Vec<_>>();
        let mut drawn = draw(searcher, &sample, pairs.kind, options.seed)?;
        drawn.truncate(super::margin::SAMPLE);
        session.fit(drawn.into_iter().map(Drawn::asked).collect())?;
    }
    let mut left = pairs.pairs.unwrap_or(usize::MAX);
    for ordinals in order.chunks(STRIDE) {
        if left == 0 {
            break;
        }
        let mut drawn = draw(searcher, ordinals, pairs.kind, options.seed)?;
        drawn.truncate(left);
        left -= drawn.len();
        if options.negatives == 0 && options.rescore.is_none() {
            for drawn in drawn {
                session.give(drawn.example(), take)?;
                progress.advance(Stage::Searching, 1);
            }
            progress.checkpoint()?;
            continue;
        }
        let mut drawn = drawn.into_iter().peekable();
        while drawn.peek().is_some() {
            let block = drawn
                .by_ref()
                .take(super::block(&options, searcher.index().len()))
                .map(|drawn| Prepared::Ask(Box::new(drawn.asked())));
            session.block(block.collect(), &Quiet(progress), take)?;
        }
    }
    progress.finish(Stage::Searching);
    Ok(session.finish())
}

/// The passages in the order they are asked: all of them as they stand, or shuffled when some are drawn.
fn order(passages: usize, pairs: &PairOptions, seed: u64) -> Vec<Ordinal> {
    let mut order: Vec<Ordinal> = (0..passages as u32).map(Ordinal).collect();
    if pairs.pairs.is_some() {
        Random::of(seed, "pairs").shuffle(&mut order);
    }
    order
}

/// A pair with the passage it was drawn from.
struct Drawn {
    ordinal: Ordinal,
    passage: Passage,
    kind: &'static str,
    pseudo: Pseudo,
}

fn draw(searcher: &Searcher, ordinals: &[Ordinal], kind: PairKind, seed: u64) -> Result<Vec<Drawn>> {
    let of_passage = |ordinal: &Ordinal| -> Result<Vec<Drawn>> {
        let passage = searcher.index().sparse().passage(*ordinal)?;
        if pseudo::held_out(&passage) {
            return Ok(Vec::new());
        }
        let mut random = Random::of(seed, passage.id.as_str());
        let wanted = |kinds: &[PairKind]| kind == PairKind::All || kinds.contains(&kind);
        let title = wanted(&[PairKind::Titles, PairKind::Both]).then(|| pseudo::title(&passage)).flatten();
        let sentence =
            wanted(&[PairKind::Sentences, PairKind::Both]).then(|| pseudo::sentence(&passage, &mut random)).flatten();
        let excerpt = wanted(&[PairKind::Excerpts]).then(|| pseudo::excerpt(&passage, &mut random)).flatten();
        let pseudos = [("title", title), ("sentence", sentence), ("excerpt", excerpt)];
        let found = pseudos.into_iter().filter_map(|(kind, pseudo)| Some((kind, pseudo?)));
        Ok(found.map(|(kind, pseudo)| Drawn { ordinal: *ordinal, passage: passage.clone(), kind, pseudo }).collect())
    };
    let drawn: Vec<Vec<Drawn>> = ordinals.par_iter().map(of_passage).collect::<Result<_>>()?;
    Ok(drawn.into_iter().flatten().collect())
}

impl Drawn {
    fn query(&self) -> Query {
        Query::new(QueryId::from(format!("{}:{}", self.kind, self.passage.id)), self.pseudo.query.clone())
    }

    fn positive(&self) -> ExamplePassage {
        let text = self.pseudo.rest.clone();
        ExamplePassage { id: self.passage.id.clone(), title: String::new(), text, provenance: None }
    }

    fn asked(self) -> Asked {
        Asked::of_passage(self.query(), self.ordinal, self.positive())
    }

    fn example(self) -> TrainingExample {
        TrainingExample { query: self.query(), positives: vec![self.positive()], negatives: Vec::new() }
    }
}

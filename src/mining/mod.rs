//! Hard negatives from a searcher's own mistakes: passages that look like the answer and are not.
//!
//! Judged queries and an index go in; [`TrainingExample`]s come out, one a query, in the queries' order, with a
//! [`MineReport`] in which every query is counted once. [`mine_pairs`] does the same for questions the collection asks
//! itself.
//!
//! What a source ([`Source`]) ranks high although nobody judged it relevant is either a mistake worth learning from or an
//! answer nobody has judged. The filters ([`Filter`]) keep the second kind out, in a fixed order:
//!
//! ```text
//! positive → same document → protected → rank window → score → margin        places and scores
//!          → protected twin → same title → exact duplicate → near duplicate
//!          → holds an answer                                                 texts
//!          → ambiguous, relabelled                                           a second encoder
//! ```
//!
//! A negative `n` keeps a margin to the lowest positive `s⁺` when `s(n) ≤ s⁺ − a` (absolute) and `s(n) ≤ s⁺ − |s⁺| r`
//! (relative): with `s⁺` = −10 and `r` = .1 the bound is −11, below the positive, where `.9 · s⁺` = −9 would lie above.
//!
//! What is drawn for a query depends on the seed and its id alone ([`Random::of`]): neither the order
//! of the queries nor the number of threads changes its example.
//!
//! ```no_run
//! use parallax::mining::{MineOptions, mine};
//! use parallax::{Index, Mode, QuerySet, Searcher, Silent};
//! # let set = QuerySet::default();
//! let searcher = Searcher::new(Index::open("indexes/demo".as_ref())?, Mode::Sparse)?;
//! let mut examples = Vec::new();
//! let report = mine(&searcher, &set, &[], &MineOptions::default(), &Silent, &mut |example| {
//!     examples.push(example);
//!     Ok(())
//! })?;
//! assert_eq!(report.examples as usize, examples.len());
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: a search a query and, once a passage while queries of its surroundings pass, its tokens and MinHash signature;
//! memory for some tens of thousands of those and one block of some thousand queries, whatever the number of queries.
//!
//! Sources: V. Karpukhin et al., "Dense passage retrieval", 2020; Y. Qu et al., "RocketQA", 2021 (false negatives);
//! G. Moreira et al., "NV-Retriever", 2024 (margins relative to the positive).

pub mod audit;
mod candidates;
mod engine;
mod features;
mod filter;
pub mod margin;
mod options;
mod pairs;
mod protect;
mod question;
mod report;
mod rescore;
mod sample;
mod source;
#[cfg(test)]
mod tests;
mod wire;

pub use filter::Filter;
pub use options::{
    DEEPEST, Filters, MOST_NEGATIVES, MineOptions, NEAR_DUPLICATE, PRESETS, RelativeMargin, Rescore, Sampling,
    Shortfall,
};
pub use pairs::{PairKind, PairOptions, mine_pairs};
pub use report::{Mean, MineReport, Outcome, SourceReport};
pub use source::{Mix, Source};
pub(crate) use wire::counts;

use crate::collection::QuerySet;
use crate::collection::examples::TrainingExample;
use crate::error::{Error, Result};
use crate::progress::{Progress, Stage};
use crate::random::Random;
use crate::search::Searcher;
use crate::sparse::Weighting;
use audit::Auditor;
use engine::{Chosen, Engine, Looked};
use protect::protected;
use question::{Asked, Prepared, prepare};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// Queries searched and filtered together: many, since they share texts and passes over the rows; but no more than memory for
/// their candidates is cheap, about 100 bytes each, and in large collections no more than are answered in some seconds.
fn block(options: &MineOptions, passages: usize) -> usize {
    (600_000 / options.reach()).min(4_000_000_000 / passages.max(1)).clamp(128, 8192)
}

/// Who takes the examples, one at a time.
pub type Take<'a> = &'a mut dyn FnMut(TrainingExample) -> Result<()>;

/// Mines negatives for every judged query of a set, and hands the examples out in the queries' order.
///
/// Passages that answer a query of a `protected_sets` set are never taken: those that are judged relevant to it, their
/// twins, and those among its five best by shared words that hold its answer. A passage that is relevant to a mined query
/// and to a protected one stays the former's positive. Fails when a source needs the dense
/// side and the searcher was opened without an encoder, when no query of the set has a positive in the index, and when
/// `take` does.
pub fn mine(
    searcher: &Searcher,
    set: &QuerySet,
    protected_sets: &[QuerySet],
    options: &MineOptions,
    progress: &dyn Progress,
    take: Take<'_>,
) -> Result<MineReport> {
    options.check()?;
    let shelter = protected(searcher, protected_sets, options)?;
    let engine = Engine::new(searcher, options, &shelter);
    let mut session = Session::new(engine, options, searcher, shelter.len())?;
    let prepared = |query| prepare(searcher, query, &set.qrels, &options.weighting);
    if session.wants_margins() {
        let key = |query: &&crate::Query| Random::of(options.seed, query.id.as_str()).next_u64();
        let mut sample: Vec<&crate::Query> = set.queries.iter().collect();
        sample.sort_by_cached_key(key);
        let mut asked = Vec::new();
        for query in sample {
            if asked.len() == margin::SAMPLE {
                break;
            }
            if let Prepared::Ask(ready) = prepared(query)? {
                asked.push(*ready);
            }
        }
        session.fit(asked)?;
    }
    progress.begin(Stage::Searching, Some(set.queries.len() as u64));
    for queries in set.queries.chunks(block(options, searcher.index().len())) {
        let block: Vec<Prepared> = queries.par_iter().map(prepared).collect::<Result<_>>()?;
        session.block(block, &Quiet(progress), take)?;
    }
    progress.finish(Stage::Searching);
    let report = session.finish();
    let absent = report.outcome(Outcome::PositiveMissing);
    if report.examples == 0 && absent > 0 && report.outcome(Outcome::Dropped) == 0 {
        let message = format!("none of the {absent} questions with a judged passage has it in the index");
        return Err(Error::bad_input(message).hint("was the index built from another collection?"));
    }
    Ok(report)
}

/// Passes on steps, not stages: many blocks are one stage.
struct Quiet<'a>(&'a dyn Progress);

/// One run over blocks of queries.
struct Session<'a> {
    engine: Engine<'a>,
    options: &'a MineOptions,
    searcher: &'a Searcher,
    report: MineReport,
    auditor: Option<Auditor>,
}

impl<'a> Session<'a> {
    fn new(engine: Engine<'a>, options: &'a MineOptions, searcher: &'a Searcher, protected: usize) -> Result<Self> {
        let index = searcher.index();
        if options.mix.needs_dense() && index.dense().is_none() {
            let message =
                format!("the source `{}` needs a dense side, and `{}` has none", options.mix, index.folder().display());
            return Err(Error::usage(message).hint("mine with `--source sparse`, or build the index with an encoder"));
        }
        if options.mix.needs_dense() && searcher.question_encoder().is_none() {
            return Err(Error::usage(format!(
                "the source `{}` needs a searcher opened for the dense side",
                options.mix
            )));
        }
        let mut report = MineReport { protected, ..MineReport::default() };
        for (source, _) in options.mix.parts() {
            report.source(*source);
        }
        let filters = &options.filters;
        let acts = (filters.answers.is_some(), filters.exact_duplicate && filters.near_duplicate.is_some());
        let tfidf = options.weighting == Weighting::TfIdf;
        let auditor = options.audit.map(|rows| Auditor::new(rows, options.seed, acts, tfidf));
        Ok(Session { engine, options, searcher, report, auditor })
    }

    /// Whether margins have to be fitted before anything is mined; fixed ones are set here.
    fn wants_margins(&mut self) -> bool {
        match self.options.filters.relative_margin {
            Some(RelativeMargin::Fixed(share)) => {
                self.engine.margins.fill(Some(share));
                false
            }
            Some(RelativeMargin::Auto) => self.options.mix.parts().iter().any(|(source, _)| *source != Source::Random),
            None => false,
        }
    }

    fn fit(&mut self, sample: Vec<Asked>) -> Result<()> {
        // The second encoder has no say in where the margin lies.
        let teacher = self.engine.teacher.take();
        let fitted = margin::fit(&mut self.engine, sample, self.options)?;
        self.engine.teacher = teacher;
        for (at, (source, _)) in self.options.mix.parts().iter().enumerate() {
            self.engine.margins[at] = fitted.iter().find(|fitted| fitted.source == *source).map(|fitted| fitted.margin);
        }
        self.report.margins = fitted;
        Ok(())
    }

    /// Mines a block and hands its examples out.
    fn block(&mut self, block: Vec<Prepared>, progress: &Quiet<'_>, take: Take<'_>) -> Result<()> {
        progress.0.checkpoint()?;
        let steps = block.len() as u64;
        let mut asked = Vec::new();
        for prepared in block {
            match prepared {
                Prepared::Ask(ready) => asked.push(*ready),
                Prepared::Left(outcome) => self.report.count(outcome),
            }
        }
        let looked = self.engine.look(asked, self.auditor.is_some())?;
        let engine = &self.engine;
        if let Some(auditor) = &mut self.auditor {
            auditor.test(&looked, engine, self.searcher.index().len())?;
        }
        let chosen: Vec<Chosen> = looked.par_iter().map(|looked| engine.choose(looked)).collect::<Result<_>>()?;
        for (looked, chosen) in looked.iter().zip(chosen) {
            self.tally(looked, &chosen);
            if let Some(example) = chosen.example {
                self.give_out(example, take)?;
            }
        }
        progress.0.advance(Stage::Searching, steps);
        Ok(())
    }

    fn tally(&mut self, looked: &Looked, chosen: &Chosen) {
        self.report.count(chosen.outcome);
        self.report.missing_positives += looked.asked.missing as u64;
        for (part, (source, _)) in self.options.mix.parts().iter().enumerate() {
            let report = self.report.source(*source);
            report.offered += looked.verdicts[part].len() as u64;
            for filter in looked.verdicts[part].iter().flatten() {
                report.filtered[*filter as usize] += 1;
            }
        }
        for draw in &chosen.draws {
            let report = self.report.source(Source::Random);
            report.offered += 1;
            if let Some(filter) = draw.filter {
                report.filtered[filter as usize] += 1;
            }
        }
        for pick in &chosen.picks {
            let report = self.report.source(pick.source);
            report.mined += 1;
            if let Some(rank) = pick.candidate.rank {
                report.rank.add(rank as f64);
            }
            if let (Some(score), Some(positive)) = (pick.candidate.score, pick.positive) {
                report.margin.add(positive - score);
                report.positive.add(positive.abs());
            }
        }
        if let Some(auditor) = &mut self.auditor {
            auditor.add(looked, chosen, self.options.mix.parts());
        }
    }

    /// Hands out an example that nothing was searched for.
    fn give(&mut self, example: TrainingExample, take: Take<'_>) -> Result<()> {
        self.report.count(Outcome::Full);
        self.give_out(example, take)
    }

    fn give_out(&mut self, example: TrainingExample, take: Take<'_>) -> Result<()> {
        self.report.examples += 1;
        self.report.positives += example.positives.len() as u64;
        self.report.negatives += example.negatives.len() as u64;
        take(example)
    }

    fn finish(self) -> MineReport {
        let mut report = self.report;
        report.audit = self.auditor.map(Auditor::finish);
        report
    }
}

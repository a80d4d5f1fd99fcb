//! Systems × queries → runs → measures: which retriever finds the right passage, how sure that is, and what it costs.
//!
//! In flow a [`Searcher`], a [`QuerySet`] and [`System`]s; out flows a [`Comparison`]: one [`Run`] and one
//! [`Evaluation`] a system, over the same judged queries. A run file of any other tool is a system too.
//!
//! | beside the means | where |
//! |---|---|
//! | an interval of each mean; paired differences to a baseline, corrected for several systems; what could be shown at all | `certainty`, [`crate::eval::significance`] |
//! | gold passage and answer are two questions: where they part, and why | [`AnswerGap`] |
//! | what the neighbour graph loses against exact search, never mixed with recall | [`AnnRecall`] |
//! | bytes, latency, queries a second, memory | [`Cost`], [`Costs`] |
//! | the same means over kinds of questions | [`Slicing`] |
//! | what the judged queries say about the fusion itself | [`mod@tune`] |
//! | why a system missed what it missed; what is wrong with the experiment | [`diagnose`], [`audit`] |

mod ann;
mod ask;
pub mod audit;
mod certainty;
mod cost;
pub mod diagnose;
mod gap;
mod held;
mod phrase;
pub mod report;
mod slices;
pub mod system;
#[cfg(test)]
mod testing;
pub mod tune;

pub use ann::AnnRecall;
pub use certainty::{Detectable, POINT, Standing};
pub use cost::{Cost, Costs};
pub use gap::AnswerGap;
pub use slices::{Slice, SliceBy, Slicing};
pub use system::System;

use crate::collection::run::Run;
use crate::collection::{PassageId, Query, QueryId, QuerySet};
use crate::dense::SearchHow;
use crate::error::{Error, Result};
use crate::eval::significance::Paired;
use crate::eval::{Evaluation, Measure, evaluate_with_answers};
use crate::progress::Progress;
use crate::search::{Mode, SearchRequest, Searcher};
use held::{Held, has_answers};
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};
use system::LEAST_DEPTH;

/// What to compare. `Default` names no system and no measure, offers 100 passages a side, and measures no cost.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Systems, in the order of the report's rows.
    pub systems: Vec<System>,
    /// Measures, in the order of its columns.
    pub measures: Vec<Measure>,
    /// Passages each side offers to fusion.
    pub depth: usize,
    /// How the dense side is searched.
    pub how: SearchHow,
    /// The system that the others are compared with, by its name or as it was written.
    pub baseline: Option<String>,
    /// BEIR's rule for queries that are passages of the collection: a passage with the query's own id is dropped from
    /// every ranking before it is measured, and another takes its place.
    pub drop_query_id: bool,
    /// Whether searches are timed once more, for [`Cost`].
    pub cost: bool,
    /// Whether means are also taken over kinds of questions, for [`Slicing`].
    pub slices: bool,
    /// Questions that some system was trained on; with `slices`, those that measure are told apart by what these share
    /// with them.
    pub train: Option<QuerySet>,
}

impl Default for CompareOptions {
    fn default() -> Self {
        CompareOptions {
            systems: Vec::new(),
            measures: Vec::new(),
            depth: 100,
            how: SearchHow::Auto,
            baseline: None,
            drop_query_id: false,
            cost: false,
            slices: false,
            train: None,
        }
    }
}

impl CompareOptions {
    /// How deep the deepest measure looks, 100 passages at least.
    fn deepest(&self) -> usize {
        self.measures.iter().filter_map(|measure| measure.cutoff()).max().unwrap_or(0).max(LEAST_DEPTH)
    }

    /// Passages each side offers to fusion: never fewer than a system is asked for.
    pub fn offered(&self) -> usize {
        self.depth.max(self.deepest())
    }

    /// What a system is asked.
    fn asked(&self, request: &SearchRequest) -> SearchRequest {
        ask::request(request, self, self.deepest() + usize::from(self.drop_query_id))
    }
}

/// One system's result.
#[derive(Clone, Debug)]
pub struct SystemResult {
    /// The system as it was asked for.
    pub name: String,
    /// Its rankings.
    pub run: Run,
    /// Its values per query.
    pub evaluation: Evaluation,
    /// The 95 % interval of each measure's mean ([`mean_interval`](crate::eval::significance::mean_interval)), one entry
    /// a measure, `None` where no query has a value.
    pub intervals: Vec<Option<(f64, f64)>>,
    /// Wall time of all queries, all cores; `None` for run files.
    pub elapsed: Option<Duration>,
    /// How far it is from the baseline, one entry a measure, `None` where no query has a value in both; empty for the
    /// baseline itself and where none is named.
    pub differences: Vec<Option<Paired>>,
    /// The p of each difference's randomisation test, corrected for all systems that were compared with the baseline on
    /// that measure (Holm); as long as `differences`.
    pub p_holm: Vec<Option<f64>>,
    /// What these queries can show between it and [`Comparison::reference`], one entry a measure; empty for the
    /// reference itself.
    pub detectable: Vec<Option<Detectable>>,
    /// How gold passage and answer go together; `None` where no answer measure was asked for, or nothing has both.
    pub gap: Option<AnswerGap>,
    /// What it costs; `None` for run files, and where nothing was timed.
    pub cost: Option<Cost>,
    /// Judged queries that its run has no ranking for: they count 0.
    pub absent: usize,
    /// Queries of its run that nobody judged: they do not count.
    pub ignored: usize,
}

impl SystemResult {
    /// A run with its values and nothing else yet.
    fn of(name: String, run: Run, evaluation: Evaluation) -> Self {
        let judged: HashSet<&QueryId> = evaluation.queries.iter().collect();
        let ranked = run.iter().filter(|(query, _)| judged.contains(query)).count();
        let (absent, ignored) = (judged.len() - ranked, run.len() - ranked);
        SystemResult {
            name,
            run,
            intervals: certainty::intervals(&evaluation),
            evaluation,
            elapsed: None,
            differences: Vec::new(),
            p_holm: Vec::new(),
            detectable: Vec::new(),
            gap: None,
            cost: None,
            absent,
            ignored,
        }
    }
}

/// Everything a report shows.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One result a system.
    pub systems: Vec<SystemResult>,
    /// Queries of the data set.
    pub queries: usize,
    /// Queries with at least one judgment: the averaging set.
    pub judged: usize,
    /// Queries with known answers among them.
    pub with_answers: usize,
    /// Judged-relevant passages that the index does not hold: no system can find these.
    pub missing_gold: usize,
    /// How well the graph reproduces exact search on these queries.
    pub ann_recall: Option<AnnRecall>,
    /// The baseline's name, where one was named.
    pub baseline: Option<String>,
    /// The place in `systems` of the one that [`SystemResult::detectable`] is about: the baseline, otherwise the first.
    pub reference: usize,
    /// What all systems share of the costs; `None` where nothing was timed.
    pub costs: Option<Costs>,
    /// Means over kinds of questions; empty where they were not asked for.
    pub slices: Vec<Slicing>,
    /// Whether passages with the query's own id were dropped from every ranking.
    pub drop_query_id: bool,
}

impl Comparison {
    /// The place of the measure that stands for all where there is room for one: nDCG@10, otherwise the first.
    pub fn principal(&self) -> usize {
        let measures = self.systems.first().map_or(&[][..], |system| &system.evaluation.measures);
        measures.iter().position(|measure| *measure == Measure::Ndcg(Some(10))).unwrap_or(0)
    }
}

/// Searches with every system and measures the outcome.
pub fn compare(
    searcher: &Searcher,
    set: &QuerySet,
    options: &CompareOptions,
    progress: &dyn Progress,
) -> Result<Comparison> {
    let baseline = options.baseline.as_deref().map(|name| find_baseline(&options.systems, name)).transpose()?;
    options.systems.iter().try_for_each(|system| system.check(searcher.index().manifest()))?;
    let judged: Vec<&Query> = set.queries.iter().filter(|query| set.qrels.get(&query.id).is_some()).collect();
    if judged.is_empty() {
        return Err(Error::bad_input("no query of the data set has a judgment, so there is nothing to measure")
            .hint("judgments come from `qrels/*.tsv` of a BEIR folder, from SQuAD files, or from `--qrels FILE`"));
    }
    let gold: BTreeSet<&PassageId> = set.qrels.iter().flat_map(|(query, _)| set.qrels.relevant(query)).collect();
    let missing_gold = missing_gold(searcher, &gold)?;
    if gold.is_empty() {
        return Err(Error::bad_input("no passage of the data set is judged relevant, so there is nothing to find")
            .hint("a grade of at least 1 is relevant"));
    }
    if missing_gold == gold.len() {
        let message = format!("none of the {missing_gold} gold passages of the data set is in the index");
        return Err(Error::bad_input(message).hint("was the index built from another collection?"));
    }
    let k = options.deepest();
    let mut asked = Vec::new();
    for system in &options.systems {
        let started = Instant::now();
        let run = ask::run_of(searcher, &judged, system, options, k, progress)?;
        let elapsed = matches!(system, System::Index { .. }).then(|| started.elapsed());
        asked.push((system.name().to_string(), run, elapsed));
    }
    let runs: Vec<&Run> = asked.iter().map(|(_, run, _)| run).collect();
    let held = Held::find(searcher, &judged, &options.measures, &runs)?;
    let mut systems = Vec::with_capacity(asked.len());
    for (i, (name, run, elapsed)) in asked.into_iter().enumerate() {
        progress.checkpoint()?;
        let flags = |matching| held.of(i, matching);
        let evaluation = evaluate_with_answers(&set.qrels, &run, &options.measures, &flags);
        let gap = gap::gap(searcher, &set.qrels, &run, &held, i)?;
        systems.push(SystemResult { elapsed, gap, ..SystemResult::of(name, run, evaluation) });
    }
    let reference = baseline.unwrap_or(0);
    if let Some(theirs) = systems.get(reference).map(|system| system.evaluation.clone()) {
        for (_, system) in systems.iter_mut().enumerate().filter(|(i, _)| *i != reference) {
            progress.checkpoint()?;
            system.detectable = certainty::shown(&system.evaluation, &theirs);
            if baseline.is_some() {
                system.differences = certainty::differences(&system.evaluation, &theirs);
            }
        }
        certainty::correct(&mut systems);
    }
    let uses_dense = options.systems.iter().any(|system| system.mode().is_some_and(|mode| mode != Mode::Sparse));
    let ann_recall = if uses_dense { Some(ann::ann_recall(searcher, &judged, progress)?) } else { None };
    let mut costs = None;
    if options.cost {
        let requests = cost::requests(&options.systems, |request| options.asked(request));
        for (system, cost) in systems.iter_mut().zip(cost::measure(searcher, &judged, &requests, progress)?) {
            system.cost = cost;
        }
        costs = Some(Costs::of(searcher));
    }
    let slices = match options.slices {
        true => slices::slices(searcher, set, &judged, options.train.as_ref(), &systems)?,
        false => Vec::new(),
    };
    Ok(Comparison {
        baseline: baseline.map(|at| systems[at].name.clone()),
        systems,
        queries: set.queries.len(),
        judged: set.qrels.iter().filter(|(_, judgments)| !judgments.is_empty()).count(),
        with_answers: judged.iter().filter(|query| has_answers(query)).count(),
        missing_gold,
        ann_recall,
        reference,
        costs,
        slices,
        drop_query_id: options.drop_query_id,
    })
}

/// Which of the systems is meant.
fn find_baseline(systems: &[System], name: &str) -> Result<usize> {
    systems.iter().position(|system| system.is_called(name)).ok_or_else(|| {
        let names: Vec<String> = systems.iter().map(|system| format!("`{}`", system.name())).collect();
        Error::usage(format!("the baseline `{name}` is none of the systems compared"))
            .hint(format!("the systems are {}; `--system` adds others", names.join(", ")))
    })
}

fn missing_gold(searcher: &Searcher, gold: &BTreeSet<&PassageId>) -> Result<usize> {
    let sparse = searcher.index().sparse();
    let mut missing = 0;
    for passage in gold {
        missing += usize::from(sparse.places_of(passage)?.is_empty());
    }
    Ok(missing)
}

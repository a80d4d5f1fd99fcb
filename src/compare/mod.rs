//! Systems × queries → runs → measures: which retriever finds the right passage.
//!
//! In flow a [`Searcher`], a [`QuerySet`] and [`System`]s; out flows a [`Comparison`]: one [`Run`] and one
//! [`Evaluation`] a system, over the same judged queries. A run file of any other tool is a system too. What the
//! neighbour graph loses against exact search is measured beside them and never mixed with recall. Where a baseline is
//! named, each other system has its paired difference to it ([`crate::eval::significance`]). Why a system missed what it
//! missed is [`diagnose`]'s to say, what is wrong with the experiment [`audit`]'s.

pub mod audit;
pub mod diagnose;
mod phrase;
pub mod report;
pub mod system;
#[cfg(test)]
mod testing;

pub use system::System;

use crate::collection::run::{Ranking, Run, trec_order};
use crate::collection::{Ordinal, PassageId, Query, QueryId, QuerySet};
use crate::dense::SearchHow;
use crate::error::{Error, Result};
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::eval::significance::{Paired, paired};
use crate::eval::{AnswerFlags, Evaluation, Measure, evaluate_with_answers};
use crate::progress::Progress;
use crate::search::{Mode, SearchRequest, Searcher};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// What to compare.
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
}

impl CompareOptions {
    /// What a system is asked: as deep as the deepest measure looks, 100 passages at least.
    fn asked(&self, request: &SearchRequest) -> SearchRequest {
        let deepest = self.measures.iter().filter_map(|measure| measure.cutoff()).max().unwrap_or(0);
        let k = deepest.max(SHALLOWEST);
        SearchRequest { k, depth: self.depth.max(k), how: self.how, ..request.clone() }
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
    /// Wall time of all queries, all cores; `None` for run files.
    pub elapsed: Option<Duration>,
    /// How far it is from the baseline, one entry a measure, `None` where no query has a value in both; empty for the
    /// baseline itself and where none is named.
    pub differences: Vec<Option<Paired>>,
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
}

/// Share of the exact nearest `k` that the graph finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnRecall {
    /// Cut-off.
    pub k: usize,
    /// Mean share over the queries.
    pub mean: f64,
    /// Queries measured.
    pub queries: usize,
    /// Whether searches used the graph (large indexes) or exact search (small ones).
    pub graph_in_use: bool,
}

/// Passages a system is asked for at least.
const SHALLOWEST: usize = 100;

/// Queries on which the graph is compared with exact search, at most.
const ANN_SAMPLE: usize = 1_000;

/// Of the resampling behind the intervals: the same runs give the same intervals.
const SEED: u64 = 1;

/// Searches with every system and measures the outcome.
pub fn compare(
    searcher: &Searcher,
    set: &QuerySet,
    options: &CompareOptions,
    progress: &dyn Progress,
) -> Result<Comparison> {
    let baseline = options.baseline.as_deref().map(|name| find_baseline(&options.systems, name)).transpose()?;
    let judged: Vec<&Query> = set.queries.iter().filter(|query| set.qrels.get(&query.id).is_some()).collect();
    if judged.is_empty() {
        return Err(Error::bad_input("no query of the data set has a judgment, so there is nothing to measure")
            .hint("judgments come from `qrels/*.tsv` of a BEIR folder, from SQuAD files, or from `--qrels FILE`"));
    }
    let gold: BTreeSet<&PassageId> = set.qrels.iter().flat_map(|(query, _)| set.qrels.relevant(query)).collect();
    let missing_gold = missing_gold(searcher, &gold)?;
    if missing_gold == gold.len() && !gold.is_empty() {
        let message = format!("none of the {missing_gold} gold passages of the data set is in the index");
        return Err(Error::bad_input(message).hint("was the index built from another collection?"));
    }
    let mut asked = Vec::new();
    for system in &options.systems {
        let started = Instant::now();
        let run = match system {
            System::File { run, .. } => run.clone(),
            System::Index { name, request } => run_index(searcher, &judged, name, &options.asked(request), progress)?,
        };
        let elapsed = matches!(system, System::Index { .. }).then(|| started.elapsed());
        asked.push((system.name().to_string(), run, elapsed));
    }
    let flags = Held::find(searcher, &judged, &options.measures, asked.iter().map(|(_, run, _)| run))?;
    let systems = asked.into_iter().enumerate().map(|(i, (name, run, elapsed))| {
        let evaluation = evaluate_with_answers(&set.qrels, &run, &options.measures, &|matching| flags.of(i, matching));
        SystemResult { name, run, evaluation, elapsed, differences: Vec::new() }
    });
    let mut systems: Vec<SystemResult> = systems.collect();
    if let Some(at) = baseline {
        let reference = systems[at].evaluation.clone();
        for (_, system) in systems.iter_mut().enumerate().filter(|(i, _)| *i != at) {
            system.differences = differences(&system.evaluation, &reference);
        }
    }
    let uses_dense = options.systems.iter().any(|system| system.mode().is_some_and(|mode| mode != Mode::Sparse));
    Ok(Comparison {
        baseline: baseline.map(|at| systems[at].name.clone()),
        systems,
        queries: set.queries.len(),
        judged: set.qrels.iter().filter(|(_, judgments)| !judgments.is_empty()).count(),
        with_answers: judged.iter().filter(|query| has_answers(query)).count(),
        missing_gold,
        ann_recall: if uses_dense { Some(ann_recall(searcher, &judged, progress)?) } else { None },
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

/// The paired difference on each measure, over the queries that have a value in both.
fn differences(system: &Evaluation, baseline: &Evaluation) -> Vec<Option<Paired>> {
    let columns = system.values.iter().zip(&baseline.values);
    let compared = columns.map(|(values, theirs)| {
        let both = values.iter().zip(theirs).filter_map(|(value, their)| Some(((*value)?, (*their)?)));
        let (a, b): (Vec<f64>, Vec<f64>) = both.unzip();
        (!a.is_empty()).then(|| paired(&a, &b, SEED))
    });
    compared.collect()
}

fn run_index(
    searcher: &Searcher,
    queries: &[&Query],
    name: &str,
    request: &SearchRequest,
    progress: &dyn Progress,
) -> Result<Run> {
    let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
    let ranked = searcher.rank_all(&texts, request, progress)?;
    let sparse = searcher.index().sparse();
    let mut run = Run::new(name);
    for (query, ranked) in queries.iter().zip(ranked) {
        let named = ranked.ranking.iter().map(|(ordinal, score)| Ok((sparse.judged_id(*ordinal)?, score)));
        run.insert(query.id.clone(), Ranking::new(named.collect::<Result<_>>()?));
    }
    Ok(run)
}

fn has_answers(query: &Query) -> bool {
    !query.impossible && !query.answers.is_empty()
}

fn missing_gold(searcher: &Searcher, gold: &BTreeSet<&PassageId>) -> Result<usize> {
    let mut missing = 0;
    for passage in gold {
        missing += usize::from(first_ordinal(searcher, passage)?.is_none());
    }
    Ok(missing)
}

/// Where a judged passage begins in the index: the passage itself, or its first chunk.
fn first_ordinal(searcher: &Searcher, id: &PassageId) -> Result<Option<Ordinal>> {
    let sparse = searcher.index().sparse();
    match sparse.ordinal_of(id)? {
        None => sparse.ordinal_of(&PassageId::from(format!("{id}#0"))),
        found => Ok(found),
    }
}

/// For every system and matching, which ranked passages hold an answer.
struct Held(Vec<HashMap<Matching, AnswerFlags>>);

impl Held {
    fn of(&self, system: usize, matching: Matching) -> Option<&AnswerFlags> {
        self.0[system].get(&matching)
    }

    /// Looks only as deep as some answer measure does, and tokenises each passage once.
    fn find<'a>(
        searcher: &Searcher,
        queries: &[&Query],
        measures: &[Measure],
        runs: impl Iterator<Item = &'a Run>,
    ) -> Result<Self> {
        let runs: Vec<&Run> = runs.collect();
        let matchings: BTreeSet<bool> =
            measures.iter().filter_map(|m| m.matching()).map(|m| m == Matching::Korean).collect();
        let depth = measures.iter().filter(|m| m.matching().is_some()).filter_map(|m| m.cutoff()).max().unwrap_or(0);
        let answered: Vec<(&QueryId, Answers)> = queries
            .iter()
            .filter(|query| has_answers(query))
            .map(|query| (&query.id, Answers::of(&query.answers)))
            .filter(|(_, answers)| !answers.is_empty())
            .collect();
        let mut passages: BTreeSet<&PassageId> = BTreeSet::new();
        for run in &runs {
            for (query, _) in &answered {
                passages.extend(top(run, query, depth));
            }
        }
        let passages: Vec<&PassageId> = passages.into_iter().collect();
        let tokens: HashMap<&PassageId, Tokens> =
            passages.par_iter().map(|id| Ok((*id, Tokens::of(&whole_text(searcher, id)?)))).collect::<Result<_>>()?;
        let flags = |run: &Run, matching: Matching| -> AnswerFlags {
            let held = |id: &PassageId, answers: &Answers| tokens.get(id).is_some_and(|t| answers.held_by(t, matching));
            let of_query = |(query, answers): &(&QueryId, Answers)| {
                ((*query).clone(), top(run, query, depth).map(|id| held(id, answers)).collect())
            };
            answered.par_iter().map(of_query).collect::<BTreeMap<_, _>>()
        };
        let of_run = |run: &&Run| {
            let matchings = matchings.iter().map(|korean| if *korean { Matching::Korean } else { Matching::Strict });
            matchings.map(|matching| (matching, flags(run, matching))).collect()
        };
        Ok(Held(runs.iter().map(of_run).collect()))
    }
}

fn top<'a>(run: &'a Run, query: &QueryId, depth: usize) -> impl Iterator<Item = &'a PassageId> + use<'a> {
    let order = run.get(query).map(trec_order).unwrap_or_default();
    order.into_iter().take(depth).map(|(id, _)| id)
}

/// A passage's text by its judged id; a passage that is not in the index (a foreign run's) has none.
fn whole_text(searcher: &Searcher, id: &PassageId) -> Result<String> {
    let sparse = searcher.index().sparse();
    match first_ordinal(searcher, id)? {
        None => Ok(String::new()),
        Some(first) => {
            let mut text = String::new();
            // Chunks of one passage follow each other.
            for ordinal in first.0..sparse.len() as u32 {
                let passage = sparse.passage(Ordinal(ordinal))?;
                if passage.judged_id() != id {
                    break;
                }
                let known =
                    passage.parent.as_ref().map_or(0, |parent| text.chars().count().saturating_sub(parent.span.0));
                text.extend(passage.text.chars().skip(known));
            }
            Ok(text)
        }
    }
}

fn ann_recall(searcher: &Searcher, queries: &[&Query], progress: &dyn Progress) -> Result<AnnRecall> {
    const K: usize = 10;
    let queries = &queries[..queries.len().min(ANN_SAMPLE)];
    let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
    let request = |how| SearchRequest { k: K, depth: K, mode: Mode::Dense, how, ..SearchRequest::default() };
    let found = searcher.rank_all(&texts, &request(SearchHow::Graph { ef: searcher.graph_ef() }), progress)?;
    let exact = searcher.rank_all(&texts, &request(SearchHow::Exact), progress)?;
    let share = |(found, exact): (&crate::search::Ranked, &crate::search::Ranked)| {
        if exact.dense.is_empty() {
            return 1.0;
        }
        exact.dense.keys().filter(|ordinal| found.dense.contains_key(ordinal)).count() as f64 / exact.dense.len() as f64
    };
    let mean = found.iter().zip(&exact).map(share).sum::<f64>() / queries.len() as f64;
    let graph_in_use = searcher.index().len() >= crate::dense::GRAPH_PAYS_FROM;
    Ok(AnnRecall { k: K, mean, queries: queries.len(), graph_in_use })
}

//! Why did each side miss? For every query whose gold passage is not among the first `k`, the causes that hold.
//!
//! A [`Comparison`] and the index it was made on come in; a [`Diagnosis`] goes out: one [`Miss`] a query that some system
//! missed, with a [`Verdict`] a system, and the causes counted. A query is missed where *none* of its gold passages is among
//! the first `k`, in the order evaluation counts by.
//!
//! A cause is no story: it counts only where undoing it turns the miss into a hit within the same `k`.
//!
//! | cause | holds for | undone by |
//! |---|---|---|
//! | gold-missing | all | a fact: the index holds none of the gold passages |
//! | duplicate | all | nothing: a passage of the same words ([`THRESHOLD`](crate::text::shingles::THRESHOLD)) is among the first `k` |
//! | graph | dense, hybrid | exact search |
//! | truncation | dense | the whole passage read in windows, and those it has to pass as well |
//! | depth | hybrid | ten times the candidates, [`DEEP`] at least |
//! | fusion | hybrid | one side alone |
//! | length | BM25, hybrid | `b = 0` |
//! | morphology | BM25 | another form of the words, the whole collection analysed anew, with a word to show for it |
//! | rare-term | BM25, TF-IDF | the question's rarest word alone, or its two rarest |
//! | no-shared-term | sparse | a fact: every score of a gold passage is 0 |
//! | nothing-known | dense | a fact: the encoder has no token for the question, or for the gold passage |
//! | answer-absent | all | a fact: no passage of the index holds an answer |
//! | unexplained | all | none of these |
//!
//! All causes that hold are kept; the first in this order is the main one. Rankings of other tools can be examined for facts
//! and twins only. Where documents were cut into chunks, the document is what is found or missed.
//!
//! Cost: some searches a missed query and system, and one analysis of the whole collection for other word forms.

mod dense;
mod facts;
mod forms;
mod hybrid;
mod lab;
mod model;
mod sparse;
#[cfg(test)]
mod tests;
mod wire;

pub use model::{Cause, DEEP, Diagnosis, Miss, Reason, Shown, SystemMisses, TOP, Verdict};
pub use wire::jsonl;

use super::{CompareOptions, Comparison, System};
use crate::collection::run::{Run, trec_order};
use crate::collection::{Passage, PassageId, Query, QuerySet};
use crate::compare::phrase::grouped;
use crate::error::{Error, Result};
use crate::eval::answers::{Answers, Matching, Tokens};
use crate::progress::{Progress, Stage};
use crate::search::{Mode, SearchRequest, Searcher};
use crate::sparse::Weighting;
use forms::Forms;
use lab::{BLOCK, Case, Lab};
use rayon::prelude::*;
use sparse::Found;

/// The largest `k`: runs are compared at least so deep.
pub const DEEPEST: usize = super::system::LEAST_DEPTH;

/// Characters of a text that a diagnosis shows.
const EXCERPT: usize = 300;

/// Finds why the systems of a comparison missed what they missed within their first `k`, 1 to [`DEEPEST`].
///
/// `searcher`, `set` and `options` are those the comparison was made with.
pub fn diagnose(
    searcher: &Searcher,
    set: &QuerySet,
    options: &CompareOptions,
    comparison: &Comparison,
    k: usize,
    progress: &dyn Progress,
) -> Result<Diagnosis> {
    if !(1..=DEEPEST).contains(&k) {
        return Err(Error::usage(format!("misses are looked for among the first 1 to {DEEPEST}, not {k}")));
    }
    let lab = Lab { searcher, k, progress };
    let mut queries = 0;
    let mut cases = Vec::new();
    for query in &set.queries {
        let gold: Vec<&PassageId> = set.qrels.relevant(&query.id).collect();
        if gold.is_empty() {
            continue;
        }
        queries += 1;
        let found = |run: &Run| first(run, query, k).any(|id| gold.contains(&id));
        if comparison.systems.iter().any(|system| !found(&system.run)) {
            cases.push(Case::new(query, gold, lab.sparse())?);
        }
    }
    let tops: Vec<Vec<Vec<&PassageId>>> = cases
        .iter()
        .map(|case| comparison.systems.iter().map(|system| first(&system.run, case.query, k).collect()).collect())
        .collect();
    let missed = |system: usize| {
        let miss = |at: &usize| !tops[*at][system].iter().any(|id| cases[*at].is_gold(id));
        (0..cases.len()).filter(miss).collect::<Vec<_>>()
    };
    let missed: Vec<Vec<usize>> = (0..comparison.systems.len()).map(missed).collect();
    let every: Vec<&Case<'_>> = cases.iter().collect();
    let twins = facts::twins(&lab, &every, &tops)?;
    let absent = facts::absent(&lab, &every)?;
    let mut left_out = Vec::new();
    let forms = other_forms(&lab, options, &cases, &missed, &mut left_out)?;
    progress.begin(Stage::Diagnosing, Some(missed.iter().map(|missed| missed.len() as u64).sum()));
    let mut verdicts: Vec<Vec<Verdict>> = cases.iter().map(|_| Vec::new()).collect();
    for (number, (system, result)) in options.systems.iter().zip(&comparison.systems).enumerate() {
        // Without a gold passage in the index there is nothing to undo.
        let (held, gone): (Vec<usize>, Vec<usize>) =
            missed[number].iter().partition(|at| !cases[**at].places.is_empty());
        let mut found: Vec<Option<Found>> = cases.iter().map(|_| None).collect();
        for at in gone {
            let evidence = match cases[at].gold.len() {
                1 => format!("the index does not hold `{}`", cases[at].gold[0]),
                n => format!("the index holds none of the {n} gold passages"),
            };
            found[at] = Some(Found { rank: None, reasons: vec![Reason { cause: Cause::GoldMissing, evidence }] });
            progress.advance(Stage::Diagnosing, 1);
        }
        let mut examiner = Examiner::new(&lab, system, options, forms.as_ref())?;
        for block in held.chunks(BLOCK) {
            progress.checkpoint()?;
            let asked: Vec<&Case<'_>> = block.iter().map(|at| &cases[*at]).collect();
            let above: Vec<Vec<&PassageId>> = block.iter().map(|at| tops[*at][number].clone()).collect();
            for (at, result) in block.iter().zip(examiner.examine(&asked, &above)?) {
                found[*at] = Some(result);
            }
            progress.advance(Stage::Diagnosing, block.len() as u64);
        }
        for (at, case) in cases.iter().enumerate() {
            let twin = twins[at][number].as_ref().map(|evidence| (Cause::Duplicate, evidence.clone()));
            let answer = absent[at].then(|| (Cause::AnswerAbsent, "no passage of the index holds an answer".into()));
            let ranked = trec_rank(&result.run, case);
            verdicts[at].push(verdict(found[at].take(), twin.into_iter().chain(answer), ranked));
        }
    }
    progress.finish(Stage::Diagnosing);
    let systems = options.systems.iter().zip(&missed).enumerate();
    let systems = systems.map(|(number, (system, missed))| {
        let verdicts = missed.iter().map(|at| &verdicts[*at][number]);
        counted(system, missed.len(), verdicts)
    });
    let systems = systems.collect();
    let misses = cases.par_iter().zip(verdicts).map(|(case, verdicts)| miss(&lab, case, verdicts, comparison));
    Ok(Diagnosis { k, queries, systems, misses: misses.collect::<Result<_>>()?, left_out })
}

/// Analyses the collection in other forms for the questions that a BM25 system missed.
fn other_forms(
    lab: &Lab<'_>,
    options: &CompareOptions,
    cases: &[Case<'_>],
    missed: &[Vec<usize>],
    left_out: &mut Vec<String>,
) -> Result<Option<Forms>> {
    let is_bm25 = |system: &System| match system {
        System::Index { request, .. } => {
            request.mode == Mode::Sparse && matches!(request.weighting, Weighting::Bm25 { .. })
        }
        System::File { .. } => false,
    };
    let mut asked: Vec<usize> = options
        .systems
        .iter()
        .zip(missed)
        .filter(|(system, _)| is_bm25(system))
        .flat_map(|(_, at)| at)
        .copied()
        .collect();
    asked.sort_unstable();
    asked.dedup();
    asked.retain(|at| !cases[*at].places.is_empty());
    let questions: Vec<&str> = asked.iter().map(|at| cases[*at].question.as_ref()).collect();
    let forms = Forms::of(lab.sparse(), &questions, lab.progress)?;
    if forms.is_none() && !questions.is_empty() {
        left_out.push(format!("other word forms: the index has more than {} passages", grouped(forms::LARGEST)));
    }
    Ok(forms)
}

/// The examination of one system.
enum Examiner<'a> {
    Sparse(&'a Lab<'a>, SearchRequest, Option<&'a Forms>),
    Dense(&'a Lab<'a>, SearchRequest, dense::Reader),
    Hybrid(&'a Lab<'a>, SearchRequest),
    /// Another tool's run: nothing can be asked again.
    File,
}

impl<'a> Examiner<'a> {
    fn new(lab: &'a Lab<'a>, system: &System, options: &CompareOptions, forms: Option<&'a Forms>) -> Result<Self> {
        let System::Index { request, .. } = system else { return Ok(Examiner::File) };
        let request = options.asked(request);
        Ok(match request.mode {
            Mode::Sparse => Examiner::Sparse(lab, request, forms),
            Mode::Dense => Examiner::Dense(lab, request, dense::Reader::open(lab)?),
            Mode::Hybrid => Examiner::Hybrid(lab, request),
        })
    }

    fn examine(&mut self, cases: &[&Case<'_>], tops: &[Vec<&PassageId>]) -> Result<Vec<Found>> {
        match self {
            Examiner::Sparse(lab, request, forms) => sparse::examine(lab, request, cases, tops, *forms),
            Examiner::Dense(lab, request, reader) => dense::examine(lab, request, cases, reader),
            Examiner::Hybrid(lab, request) => hybrid::examine(lab, request, cases),
            Examiner::File => Ok(cases.iter().map(|_| Found { rank: None, reasons: Vec::new() }).collect()),
        }
    }
}

/// One system's verdict: what was found out where it missed, and the facts beside it.
fn verdict(found: Option<Found>, facts: impl Iterator<Item = (Cause, String)>, ranked: Option<usize>) -> Verdict {
    let Some(Found { rank, mut reasons }) = found else {
        return Verdict { rank: ranked, missed: false, reasons: Vec::new(), top: Vec::new() };
    };
    reasons.extend(facts.map(|(cause, evidence)| Reason { cause, evidence }));
    // What is explained by a fact is not unexplained.
    if reasons.len() > 1 {
        reasons.retain(|reason| reason.cause != Cause::Unexplained);
    }
    let rank = rank.or(ranked);
    if reasons.is_empty() {
        let evidence = rank.map_or("gold not in the run".to_string(), |rank| format!("gold at {}", grouped(rank)));
        reasons.push(Reason { cause: Cause::Unexplained, evidence });
    }
    reasons.sort_by_key(|reason| reason.cause);
    Verdict { rank, missed: true, reasons, top: Vec::new() }
}

fn counted<'v>(system: &System, missed: usize, verdicts: impl Iterator<Item = &'v Verdict>) -> SystemMisses {
    let mut counts: Vec<(Cause, usize, usize)> = Cause::ALL.iter().map(|cause| (*cause, 0, 0)).collect();
    for verdict in verdicts {
        for (cause, main, any) in &mut counts {
            *main += usize::from(verdict.reasons.first().is_some_and(|reason| reason.cause == *cause));
            *any += usize::from(verdict.reasons.iter().any(|reason| reason.cause == *cause));
        }
    }
    SystemMisses { name: system.name().to_string(), mode: system.mode(), missed, counts }
}

/// A query's first `k` passages in a run.
fn first<'r>(run: &'r Run, query: &Query, k: usize) -> impl Iterator<Item = &'r PassageId> + use<'r> {
    let order = run.get(&query.id).map(trec_order).unwrap_or_default();
    order.into_iter().take(k).map(|(id, _)| id)
}

/// The best rank of a gold passage in a run.
fn trec_rank(run: &Run, case: &Case<'_>) -> Option<usize> {
    first(run, case.query, usize::MAX).position(|id| case.is_gold(id)).map(|at| at + 1)
}

/// A miss with its passages, as reports show it.
fn miss(lab: &Lab<'_>, case: &Case<'_>, mut verdicts: Vec<Verdict>, comparison: &Comparison) -> Result<Miss> {
    for (verdict, system) in verdicts.iter_mut().zip(&comparison.systems) {
        let ranking = system.run.get(&case.query.id).map(trec_order).unwrap_or_default();
        for (id, score) in ranking.into_iter().take(TOP) {
            verdict.top.push(shown(lab, case, id, score)?);
        }
    }
    let gold_text = match case.places.first() {
        Some(place) => Some(excerpt(&lab.sparse().passage(*place)?.full_text())),
        None => None,
    };
    Ok(Miss {
        query: case.query.id.clone(),
        text: case.query.text.clone(),
        answers: case.query.answers.clone(),
        gold: case.gold.iter().map(|id| (*id).clone()).collect(),
        gold_text,
        verdicts,
    })
}

/// A passage of a ranking, by its judged id; one of another tool's that the index does not hold has no text.
fn shown(lab: &Lab<'_>, case: &Case<'_>, id: &PassageId, score: f64) -> Result<Shown> {
    let places = lab.sparse().places_of(id)?;
    let passages: Vec<Passage> = places.iter().map(|place| lab.sparse().passage(*place)).collect::<Result<_>>()?;
    let holds = |answers: &Answers| {
        passages.iter().any(|passage| answers.held_by(&Tokens::of(&passage.text), Matching::Korean))
    };
    let first = passages.first();
    Ok(Shown {
        id: id.clone(),
        title: first.map(|passage| passage.title.clone()).unwrap_or_default(),
        text: first.map(|passage| excerpt(&passage.text)).unwrap_or_default(),
        score,
        gold: case.is_gold(id),
        holds_answer: case.answers.as_ref().map(holds),
    })
}

fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(EXCERPT).map_or(text.len(), |(at, _)| at);
    text[..end].to_string()
}

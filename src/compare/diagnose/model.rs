//! What a diagnosis is made of: causes, and the queries they are the causes of.

use crate::collection::{PassageId, QueryId};
use crate::search::Mode;

/// Why a gold passage is not among the first `k`.
///
/// The facts are so whatever is undone; each of the others holds only where undoing it brings a gold passage among the
/// first `k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Fact: no gold passage is in the index.
    GoldMissing,
    /// A twin of a gold passage stands among the first `k`.
    Duplicate,
    /// Dense and hybrid: exact search finds it, the neighbour graph does not.
    Graph,
    /// Dense: the encoder read only the passage's beginning; read in whole, it is found.
    Truncation,
    /// Hybrid: with more candidates of each side it is found.
    Depth,
    /// Hybrid: one side alone finds it.
    Fusion,
    /// BM25, and hybrid through it: without length normalisation (`b = 0`) it is found.
    Length,
    /// BM25: with another form of the words (unstemmed, whole, their beginnings) it is found.
    Morphology,
    /// BM25, TF-IDF: with the question's rarest word alone, or its two rarest, it is found.
    RareTerm,
    /// Fact, sparse: question and gold passage share no term.
    NoSharedTerm,
    /// Fact, dense: the encoder knows no word of the question, or none of the gold passage.
    NothingKnown,
    /// Fact: no passage of the index holds the answer.
    AnswerAbsent,
    /// None of these.
    Unexplained,
}

impl Cause {
    /// All causes, in the order in which the first that holds is the main one: what is wrong with the experiment, what the
    /// engine lost, what the sides lose to each other, what scoring weighs wrongly; then what nothing undoes.
    pub const ALL: [Cause; 13] = [
        Cause::GoldMissing,
        Cause::Duplicate,
        Cause::Graph,
        Cause::Truncation,
        Cause::Depth,
        Cause::Fusion,
        Cause::Length,
        Cause::Morphology,
        Cause::RareTerm,
        Cause::NoSharedTerm,
        Cause::NothingKnown,
        Cause::AnswerAbsent,
        Cause::Unexplained,
    ];

    /// The name files use.
    pub fn name(self) -> &'static str {
        match self {
            Cause::GoldMissing => "gold-missing",
            Cause::AnswerAbsent => "answer-absent",
            Cause::Duplicate => "duplicate",
            Cause::NoSharedTerm => "no-shared-term",
            Cause::NothingKnown => "nothing-known",
            Cause::Graph => "graph",
            Cause::Truncation => "truncation",
            Cause::Depth => "depth",
            Cause::Fusion => "fusion",
            Cause::Length => "length",
            Cause::Morphology => "morphology",
            Cause::RareTerm => "rare-term",
            Cause::Unexplained => "unexplained",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Cause::GoldMissing => "gold is not in the index",
            Cause::AnswerAbsent => "no passage holds the answer",
            Cause::Duplicate => "a twin of gold is among them",
            Cause::NoSharedTerm => "no term shared with gold",
            Cause::NothingKnown => "no word known to the encoder",
            Cause::Graph => "exact search finds it",
            Cause::Truncation => "read in whole it is found",
            Cause::Depth => "found with a deeper cut",
            Cause::Fusion => "one side alone finds it",
            Cause::Length => "found without length (b = 0)",
            Cause::Morphology => "found by another word form",
            Cause::RareTerm => "found by its rarest words",
            Cause::Unexplained => "unexplained",
        }
    }
}

/// A cause that holds, and what shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The cause.
    pub cause: Cause,
    /// One sentence with the figures behind it, lower case, without a full stop.
    pub evidence: String,
}

/// A passage of a ranking, as reports show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its judged id.
    pub id: PassageId,
    /// Its title.
    pub title: String,
    /// The beginning of its text.
    pub text: String,
    /// The system's score.
    pub score: f64,
    /// Whether it is judged relevant.
    pub gold: bool,
    /// Whether it holds an answer; `None` where none is known.
    pub holds_answer: Option<bool>,
}

/// What one system made of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The best rank of a gold passage, from 1, looked for deep: exactly among the first [`DEEP`] on one side, among all
    /// candidates in a fusion, in all of a run file. `None` where it is not there.
    pub rank: Option<usize>,
    /// Whether no gold passage is among the first `k`.
    pub missed: bool,
    /// Why, in the order of [`Cause::ALL`]; the first is the main cause. Empty where it is not missed.
    pub reasons: Vec<Reason>,
    /// The system's first passages, at most [`TOP`].
    pub top: Vec<Shown>,
}

/// How deep the rank of a gold passage is looked for.
pub const DEEP: usize = 1000;

/// Passages shown of a ranking.
pub const TOP: usize = 5;

/// A query that at least one system missed.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// The query.
    pub query: QueryId,
    /// Its words.
    pub text: String,
    /// Its known answers.
    pub answers: Vec<String>,
    /// Its gold passages.
    pub gold: Vec<PassageId>,
    /// The beginning of the first gold passage that the index holds: title and text.
    pub gold_text: Option<String>,
    /// One verdict a system, in [`Diagnosis::systems`]' order.
    pub verdicts: Vec<Verdict>,
}

/// One system's misses, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemMisses {
    /// The system as it was asked for.
    pub name: String,
    /// Which side answers; `None` for run files.
    pub mode: Option<Mode>,
    /// Queries missed.
    pub missed: usize,
    /// For each cause of [`Cause::ALL`]: misses it is the main cause of, and misses it holds for.
    pub counts: Vec<(Cause, usize, usize)>,
}

/// Why each side missed what it missed.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// A query is missed where no gold passage is among the first `k`.
    pub k: usize,
    /// Queries with a gold passage.
    pub queries: usize,
    /// The systems, in the comparison's order.
    pub systems: Vec<SystemMisses>,
    /// Queries that some system missed, in the data set's order.
    pub misses: Vec<Miss>,
    /// What was not tried, and why; empty where everything was.
    pub left_out: Vec<String>,
}

impl Miss {
    /// How far a system is behind the best one on this query: the difference of reciprocal ranks, 0 to 1; 0 where it did
    /// not miss, or all did.
    pub fn gap(&self, system: usize) -> f64 {
        let reciprocal = |verdict: &Verdict| verdict.rank.map_or(0.0, |rank| 1.0 / rank as f64);
        let best = self.verdicts.iter().filter(|verdict| !verdict.missed).map(reciprocal).fold(0.0, f64::max);
        match self.verdicts.get(system) {
            Some(verdict) if verdict.missed => (best - reciprocal(verdict)).max(0.0),
            _ => 0.0,
        }
    }
}

impl Diagnosis {
    /// The misses by which systems are furthest behind another that found it, systems taking turns: at most `most`.
    pub fn worst(&self, most: usize) -> Vec<&Miss> {
        self.worst_of_each(most).into_iter().map(|(_, miss)| miss).collect()
    }

    /// The same, each with the number of the system whose turn it was. Equal ones come in the data set's order.
    pub fn worst_of_each(&self, most: usize) -> Vec<(usize, &Miss)> {
        let ordered = |system: usize| {
            let mut misses: Vec<(usize, f64)> =
                self.misses.iter().enumerate().map(|(at, miss)| (at, miss.gap(system))).collect();
            misses.retain(|(_, gap)| *gap > 0.0);
            misses.sort_by(|a, b| b.1.total_cmp(&a.1));
            misses.into_iter().map(|(at, _)| at)
        };
        let mut turns: Vec<_> = (0..self.systems.len()).map(ordered).collect();
        let mut worst: Vec<(usize, usize)> = Vec::new();
        let mut any = true;
        while any && worst.len() < most {
            any = false;
            for (system, turn) in turns.iter_mut().enumerate() {
                let taken = |at: &usize| worst.iter().any(|(_, other)| other == at);
                if let Some(at) = turn.find(|at| !taken(at)).filter(|_| worst.len() < most) {
                    worst.push((system, at));
                    any = true;
                }
            }
        }
        worst.into_iter().map(|(system, at)| (system, &self.misses[at])).collect()
    }
}

//! What mining did: every query's outcome counted once, every candidate's fate counted once a source.

use super::audit::Audit;
use super::filter::Filter;
use super::margin::Fitted;
use super::source::Source;

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// An example with as many negatives as asked for.
    Full,
    /// An example with fewer negatives, at least one.
    Fewer,
    /// An example without any negative: nothing survived.
    NoneLeft,
    /// No example: too few survived, and such queries were to be dropped.
    Dropped,
    /// No example: nothing is judged relevant to it.
    NoPositive,
    /// No example: nothing that is judged relevant to it is in the index.
    PositiveMissing,
    /// No example: its source says that no passage answers it.
    Impossible,
}

impl Outcome {
    /// All outcomes, those with an example first.
    pub const ALL: [Outcome; 7] = [
        Outcome::Full,
        Outcome::Fewer,
        Outcome::NoneLeft,
        Outcome::Dropped,
        Outcome::NoPositive,
        Outcome::PositiveMissing,
        Outcome::Impossible,
    ];

    /// The name reports use.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Full => "full",
            Outcome::Fewer => "fewer",
            Outcome::NoneLeft => "none-left",
            Outcome::Dropped => "dropped",
            Outcome::NoPositive => "no-positive",
            Outcome::PositiveMissing => "positive-not-in-index",
            Outcome::Impossible => "impossible",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Outcome::Full => "examples with every negative asked for",
            Outcome::Fewer => "examples with fewer negatives",
            Outcome::NoneLeft => "examples without a negative: nothing survived",
            Outcome::Dropped => "left out: too few survived",
            Outcome::NoPositive => "left out: no passage is judged relevant",
            Outcome::PositiveMissing => "left out: the positive is not in the index",
            Outcome::Impossible => "left out: the question has no answer",
        }
    }
}

/// A running mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    n: u64,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1;
    }

    /// The mean; `None` of nothing.
    pub fn value(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// What one source gave.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceReport {
    /// Which.
    pub source: Source,
    /// Candidates offered, summed over queries; of random passages, those that were drawn.
    pub offered: u64,
    /// Candidates each filter kept out, in the order of [`Filter::ALL`].
    pub filtered: [u64; Filter::ALL.len()],
    /// Negatives taken.
    pub mined: u64,
    /// Raw ranks of the negatives.
    pub rank: Mean,
    /// Positive's score minus negative's, in the source's units.
    pub margin: Mean,
    /// The lowest positive's absolute score, beside each negative.
    pub positive: Mean,
}

impl SourceReport {
    pub(super) fn new(source: Source) -> Self {
        let (rank, margin, positive) = (Mean::default(), Mean::default(), Mean::default());
        SourceReport { source, offered: 0, filtered: [0; Filter::ALL.len()], mined: 0, rank, margin, positive }
    }

    /// Candidates no filter kept out.
    pub fn survived(&self) -> u64 {
        self.offered - self.filtered.iter().sum::<u64>()
    }

    /// The mean margin as a share of the mean positive's score, which few low scores cannot sway; `None` of nothing.
    pub fn relative_margin(&self) -> Option<f64> {
        self.margin.value().zip(self.positive.value()).filter(|(_, s)| *s > 0.0).map(|(margin, s)| margin / s)
    }

    /// Candidates a filter kept out.
    pub fn filtered_by(&self, filter: Filter) -> u64 {
        self.filtered[filter as usize]
    }
}

/// What mining did.
#[derive(Clone, Debug, Default)]
pub struct MineReport {
    /// Queries handed in.
    pub queries: u64,
    /// Queries of each outcome, in the order of [`Outcome::ALL`]; they add up to `queries`.
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Examples given.
    pub examples: u64,
    /// Positives in them.
    pub positives: u64,
    /// Negatives in them.
    pub negatives: u64,
    /// Judged-relevant passages that the index does not hold, of queries that got an example all the same.
    pub missing_positives: u64,
    /// Passages of the index that answer a protected question, their twins left out.
    pub protected: usize,
    /// One a source, in the mix's order; random passages that filled a shortfall come last.
    pub sources: Vec<SourceReport>,
    /// The relative margins that were fitted, one a ranked source.
    pub margins: Vec<Fitted>,
    /// The audit, where it was asked for.
    pub audit: Option<Audit>,
}

impl MineReport {
    /// Queries of one outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        self.queries += 1;
        self.outcomes[outcome as usize] += 1;
    }

    pub(super) fn source(&mut self, source: Source) -> &mut SourceReport {
        let at = self.sources.iter().position(|report| report.source == source).unwrap_or_else(|| {
            self.sources.push(SourceReport::new(source));
            self.sources.len() - 1
        });
        &mut self.sources[at]
    }
}

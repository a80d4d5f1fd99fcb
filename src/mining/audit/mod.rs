//! How many of the mined negatives are right after all, as far as that can be told without asking a person.
//!
//! Candidates and picks come in while mining goes on; an [`Audit`] goes out, by source and band of raw ranks. Four
//! things are kept apart:
//!
//! - **flagged**: candidates that hold an answer or are twins of a positive, *before* any filter. A count, not a guess.
//! - **suspect**: *mined* negatives with a sign that no filter acted on: the answer's characters stand in them in
//!   another spacing, their title holds the answer, the second encoder puts them above the lowest positive; and answers
//!   or twins where those filters are off.
//! - **estimate**: the share of the mined negatives that are right after all. Holding an answer is a test for being
//!   right; its sensitivity `s` is measured on the judged positives, its false alarms `f` on random passages. Of a share
//!   `q` of candidates that test positive, `p = (q − f) / (s − f)` are right (Rogan and Gladen), and of those that the
//!   answer filter lets through, `p (1 − s) / (p (1 − s) + (1 − p)(1 − f))` (Bayes). Without the filter the estimate is
//!   `p` itself, with `q` counted among the mined. It supposes that other right passages word the answer as the judged
//!   ones do (of extracted answers nearly all positives test positive), so its upper end is never below that of the
//!   suspects; it is absent where no answer is known.
//! - **sheet**: rows drawn alike from every source and band, to be judged by a person.
//!
//! Intervals are Wilson's at 95 %; the estimate's joins the unfavourable, and the favourable, ends of its parts.
//!
//! ```
//! use parallax::mining::audit::Share;
//! let share = Share { hits: 2, of: 100 };
//! let (low, high) = share.interval();
//! assert!((low - 0.0055).abs() < 1e-4 && (high - 0.0700).abs() < 1e-4);
//! ```
//!
//! Cost: the signs of every candidate, not only of those the filters ask for. Sources: E. B. Wilson, 1927; W. Rogan and
//! B. Gladen, "Estimating prevalence from the results of a screening test", 1978.

mod collect;
mod wire;

pub(super) use collect::{Auditor, Suspicion};
pub use wire::{json, sheet};

use super::source::Source;
use crate::collection::{PassageId, QueryId};
use crate::eval::significance::proportion;

/// Raw ranks counted together: the last of each band, the one after that begins the next.
pub const BANDS: [usize; 8] = [5, 10, 20, 50, 100, 200, 500, 1000];

/// Which ranks a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    /// From the first to the last rank; `usize::MAX` is open.
    Ranks(usize, usize),
    /// Random passages, which have no rank.
    Unranked,
}

impl Band {
    /// The band of a rank.
    pub fn of(rank: Option<usize>) -> Self {
        let Some(rank) = rank else { return Band::Unranked };
        let at = BANDS.partition_point(|last| *last < rank);
        let first = at.checked_sub(1).and_then(|before| BANDS.get(before)).map_or(1, |last| last + 1);
        Band::Ranks(first, BANDS.get(at).copied().unwrap_or(usize::MAX))
    }
}

impl std::fmt::Display for Band {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Band::Unranked => f.write_str("any"),
            Band::Ranks(first, usize::MAX) => write!(f, "{first}-"),
            Band::Ranks(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// A count out of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub hits: u64,
    /// Out of how many.
    pub of: u64,
}

impl Share {
    pub(super) fn add(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.of += 1;
    }

    /// `hits / of`; 0 of nothing.
    pub fn value(&self) -> f64 {
        if self.of == 0 { 0.0 } else { self.hits as f64 / self.of as f64 }
    }

    /// Wilson's 95 % interval; 0 to 1 of nothing.
    pub fn interval(&self) -> (f64, f64) {
        proportion(self.hits, self.of)
    }
}

/// An estimated share with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate, 0 to 1.
    pub share: f64,
    /// Its lower bound.
    pub low: f64,
    /// Its upper bound.
    pub high: f64,
}

/// Figures of one source and band.
#[derive(Clone, Debug, PartialEq)]
pub struct BandReport {
    /// The source.
    pub source: Source,
    /// The ranks.
    pub band: Band,
    /// Candidates flagged before any filter, positives left out.
    pub flagged: Share,
    /// Of those, candidates that hold an answer, out of those whose query has one.
    pub answers: Share,
    /// Of those, twins of a positive.
    pub duplicates: u64,
    /// Mined negatives with a sign no filter acted on, out of all mined.
    pub suspects: Share,
    /// Of the mined: the answer's characters in another spacing.
    pub characters: u64,
    /// Of the mined: the title holds an answer.
    pub titles: u64,
    /// Of the mined: the second encoder puts them above the lowest positive.
    pub outranking: u64,
    /// Of the mined whose query has answers: they hold one all the same.
    pub held: Share,
    /// The share of the mined that are right after all.
    pub estimate: Option<Estimate>,
}

/// Margins of the mined negatives, `positive − negative`, counted in steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The source.
    pub source: Source,
    /// `score` (the source's units) or `relative` (shares of the positive's absolute score).
    pub unit: &'static str,
    /// Width of a step.
    pub step: f64,
    /// Lower end of each step that is not empty, with its count, ascending.
    pub counts: Vec<(f64, u64)>,
}

/// A mined negative to be judged by a person.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetRow {
    /// What offered it.
    pub source: Source,
    /// Where.
    pub band: Band,
    /// Its raw rank.
    pub rank: Option<usize>,
    /// The query.
    pub query_id: QueryId,
    /// Its words.
    pub query: String,
    /// Its known answers.
    pub answers: Vec<String>,
    /// Its first positive.
    pub positive_id: PassageId,
    /// Title and text.
    pub positive: String,
    /// The negative.
    pub negative_id: PassageId,
    /// Title and text.
    pub negative: String,
    /// Signs that it is right after all, by name.
    pub signs: Vec<&'static str>,
}

/// What the audit found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit {
    /// Figures by source and band, in that order.
    pub bands: Vec<BandReport>,
    /// Judged positives that hold an answer, out of those whose query has one: the test's sensitivity.
    pub sensitivity: Share,
    /// Random passages that hold an answer: its false alarms.
    pub false_alarms: Share,
    /// Over all mined negatives that an estimate exists for.
    pub estimate: Option<Estimate>,
    /// Margins by source, in score units and relative.
    pub margins: Vec<Histogram>,
    /// What to judge by hand, sources and bands taking turns.
    pub sheet: Vec<SheetRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_every_rank_once() {
        let name = |rank| Band::of(rank).to_string();
        assert_eq!(
            [1, 5, 6, 10, 11, 50, 51, 1000, 1001].map(|rank| name(Some(rank))),
            ["1-5", "1-5", "6-10", "6-10", "11-20", "21-50", "51-100", "501-1000", "1001-"]
        );
        assert_eq!(name(None), "any");
    }
}

//! The filters, in the order they are asked; the first that objects is the one that is counted.
//!
//! What costs nothing is asked first (places, scores), then what needs the passage's text, then a second encoder.

use super::candidates::Candidate;
use super::features::Features;
use super::options::Filters;
use super::protect::Shelter;
use super::question::Asked;
use crate::eval::answers::Matching;

/// Why a candidate is not taken as a negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    /// It is one of the query's own positives.
    Positive,
    /// It is another chunk of a positive's document.
    SameDocument,
    /// It answers a protected question.
    Protected,
    /// Its raw rank lies outside the window.
    Rank,
    /// Its score lies below the floor or above the ceiling.
    Score,
    /// It scores too near the positive, or above it.
    Margin,
    /// It is a twin of a passage that is judged to answer a protected question.
    ProtectedTwin,
    /// It has a positive's title.
    SameTitle,
    /// It has a positive's very words.
    ExactDuplicate,
    /// It has nearly a positive's words.
    NearDuplicate,
    /// It holds an answer.
    Answer,
    /// The second encoder finds it about as right as the positive.
    Ambiguous,
    /// The second encoder finds it right, and it became a positive.
    Relabelled,
}

impl Filter {
    /// All filters in the order they are asked.
    pub const ALL: [Filter; 13] = [
        Filter::Positive,
        Filter::SameDocument,
        Filter::Protected,
        Filter::Rank,
        Filter::Score,
        Filter::Margin,
        Filter::ProtectedTwin,
        Filter::SameTitle,
        Filter::ExactDuplicate,
        Filter::NearDuplicate,
        Filter::Answer,
        Filter::Ambiguous,
        Filter::Relabelled,
    ];

    /// The name reports use.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Positive => "positive",
            Filter::SameDocument => "same-document",
            Filter::Protected => "protected",
            Filter::Rank => "rank-window",
            Filter::Score => "score",
            Filter::Margin => "margin",
            Filter::ProtectedTwin => "protected-twin",
            Filter::SameTitle => "same-title",
            Filter::ExactDuplicate => "exact-duplicate",
            Filter::NearDuplicate => "near-duplicate",
            Filter::Answer => "holds-answer",
            Filter::Ambiguous => "ambiguous",
            Filter::Relabelled => "relabelled",
        }
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Filter::Positive => "a positive of the query",
            Filter::SameDocument => "another chunk of a positive's document",
            Filter::Protected => "answers a protected question",
            Filter::Rank => "outside the rank window",
            Filter::Score => "below the score floor or above the ceiling",
            Filter::Margin => "scores too near the positive, or above it",
            Filter::ProtectedTwin => "repeats what answers a protected question",
            Filter::SameTitle => "has a positive's title",
            Filter::ExactDuplicate => "a positive's very words",
            Filter::NearDuplicate => "nearly a positive's words",
            Filter::Answer => "holds an answer",
            Filter::Ambiguous => "re-scored as about as right as the positive",
            Filter::Relabelled => "re-scored as right, taken as a positive",
        }
    }
}

/// Asks what needs neither text nor encoder. `relative` is the source's relative margin, fitted or given.
pub(super) fn by_place(
    candidate: &Candidate,
    asked: &Asked,
    positive: Option<f64>,
    relative: Option<f64>,
    filters: &Filters,
    shelter: &Shelter,
) -> Option<Filter> {
    if asked.ordinals.contains(&candidate.ordinal) {
        return Some(Filter::Positive);
    }
    if filters.same_document && asked.same_document.contains(&candidate.ordinal) {
        return Some(Filter::SameDocument);
    }
    if shelter.holds(candidate.ordinal) {
        return Some(Filter::Protected);
    }
    if let (Some(rank), Some((first, last))) = (candidate.rank, filters.range)
        && !(first..=last).contains(&rank)
    {
        return Some(Filter::Rank);
    }
    let score = candidate.score?;
    if filters.min_score.is_some_and(|floor| score < floor) || filters.max_score.is_some_and(|top| score > top) {
        return Some(Filter::Score);
    }
    let positive = positive?;
    let too_near = |bound: f64| score > bound;
    let absolute = filters.margin.is_some_and(|margin| too_near(positive - margin));
    (absolute || relative.is_some_and(|share| too_near(positive - positive.abs() * share))).then_some(Filter::Margin)
}

/// Asks what needs the passage's text.
pub(super) fn by_text(features: &Features, asked: &Asked, filters: &Filters) -> Option<Filter> {
    let same = |mine: Option<u64>, theirs: fn(&Features) -> Option<u64>| {
        mine.is_some() && asked.features.iter().any(|positive| theirs(positive) == mine)
    };
    if features.sheltered {
        return Some(Filter::ProtectedTwin);
    }
    if filters.same_title && same(features.title, |positive| positive.title) {
        return Some(Filter::SameTitle);
    }
    if filters.exact_duplicate && same(features.print.words, |positive| positive.print.words) {
        return Some(Filter::ExactDuplicate);
    }
    if filters.near_duplicate.is_some_and(|threshold| similarity(features, asked) >= threshold) {
        return Some(Filter::NearDuplicate);
    }
    let holds = |matching: Matching| asked.answers.as_ref().is_some_and(|a| a.held_by(&features.tokens, matching));
    filters.answers.is_some_and(holds).then_some(Filter::Answer)
}

/// Whether any text filter could object at all.
pub(super) fn reads_texts(filters: &Filters, shelter: &Shelter) -> bool {
    !shelter.is_empty()
        || filters.same_title
        || filters.exact_duplicate
        || filters.near_duplicate.is_some()
        || filters.answers.is_some()
}

/// Estimated Jaccard similarity with the most similar positive.
pub(super) fn similarity(features: &Features, asked: &Asked) -> f64 {
    let Some(own) = &features.print.signature else { return 0.0 };
    let to = |positive: &Features| positive.print.signature.as_ref().map_or(0.0, |other| own.similarity(other));
    asked.features.iter().map(|positive| to(positive)).fold(0.0, f64::max)
}

/// Signs that a passage is right after all, whether or not a filter acts on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) answer: bool,
    pub(super) duplicate: bool,
}

impl Signs {
    pub(super) fn of(features: &Features, asked: &Asked) -> Self {
        let words = features.print.words;
        let twin = words.is_some() && asked.features.iter().any(|positive| positive.print.words == words);
        Signs {
            answer: asked.answers.as_ref().is_some_and(|a| a.held_by(&features.tokens, Matching::Korean)),
            duplicate: twin || similarity(features, asked) >= super::options::NEAR_DUPLICATE,
        }
    }

    pub(super) fn any(self) -> bool {
        self.answer || self.duplicate
    }
}

//! A relative margin fitted to the collection: how far below the positive a passage has to score to be no likely answer.
//!
//! A published margin (95 % of the positive) rejects nearly everything in a small collection and little in a large one, so
//! `auto` looks. On a sample of the queries every candidate has a gap `g = (s⁺ − s⁻) / |s⁺|` to the lowest positive, and
//! signs that it is right (it holds an answer, or is a twin of the positive). Such signs also come by chance: their share
//! in the deepest quarter of each query's ranks is the *far* share (lists of fewer than 8 have no far end; where fewer than
//! 50 candidates in all are far away, chance cannot be told from rightness and the margin is 0). Margins `m` = 0, .01, … .5 are tried; a margin is risky while
//! among candidates at its edge, `m ≤ g < m + .05`, the flagged share exceeds the far share by more than .05: one in
//! twenty of what it would let in is right after all. The margin is the smallest that no risky one lies above. (Flagged
//! candidates are dropped by their own filters; here they stand for the right passages that no filter recognises.) It
//! never grows beyond what leaves 90 % of the queries (of those that had them at `m` = 0) the negatives they are to get.
//! Without any sign there is nothing to fit, and the margin is 0: a negative scores at most as high as the positive.
//!
//! Cost: one search of the sample, at most [`SAMPLE`] queries.

use super::audit::Share;
use super::engine::{Engine, Looked};
use super::filter::Filter;
use super::options::MineOptions;
use super::question::Asked;
use super::source::Source;
use crate::error::Result;

/// Queries a margin is fitted on, at most; which ones depends on seed and ids, not on their order.
pub const SAMPLE: usize = 1_000;
/// Flagged share above the far share that is let pass at the edge.
const EXCESS: f64 = 0.05;
/// Width of the edge, in hundredths.
const EDGE: usize = 5;
/// Candidates that a share needs to say anything.
const TELLING: u64 = 50;
/// Candidates of the shortest list that has a far end.
const SHORTEST: usize = 8;
/// Share of the queries that must keep enough candidates.
const ENOUGH: f64 = 0.9;
/// Margins tried: this many hundredths.
const GRID: usize = 50;

/// A fitted margin with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The source it belongs to.
    pub source: Source,
    /// The margin, a share of the positive's absolute score.
    pub margin: f64,
    /// Queries looked at.
    pub queries: usize,
    /// Flagged share of the first candidates no better than the positive.
    pub before: f64,
    /// Flagged share of the first candidates that keep the margin.
    pub after: f64,
    /// Flagged share of the deepest quarter of the ranks; 0 where no list is long enough to have one.
    pub far: f64,
    /// Share of the queries that keep enough candidates.
    pub enough: f64,
}

/// One candidate: its gap, whether it looks right, whether it ranks far away.
struct Seen {
    gap: f64,
    flagged: bool,
    far: bool,
}

/// Fits a margin for each ranked source on the sampled queries.
pub(super) fn fit(engine: &mut Engine<'_>, sample: Vec<Asked>, options: &MineOptions) -> Result<Vec<Fitted>> {
    let parts = options.mix.parts();
    let mut seen: Vec<Vec<Vec<Seen>>> = parts.iter().map(|_| Vec::new()).collect();
    let block = super::block(options, engine.passages());
    let mut sample = sample.into_iter().peekable();
    while sample.peek().is_some() {
        for looked in engine.look(sample.by_ref().take(block).collect(), true)? {
            for (part, seen) in seen.iter_mut().enumerate() {
                seen.extend(gaps(&looked, part));
            }
        }
    }
    let ranked = parts.iter().zip(seen).filter(|((source, _), _)| *source != Source::Random);
    Ok(ranked.map(|((source, _), seen)| choose(*source, &seen, options.negatives)).collect())
}

fn gaps(looked: &Looked, part: usize) -> Option<Vec<Seen>> {
    let offer = looked.offers.get(part)?;
    let positive = offer.positive.filter(|positive| *positive != 0.0)?;
    let far = far_from(&offer.candidates.iter().filter_map(|candidate| candidate.rank).collect::<Vec<_>>());
    let candidates = offer.candidates.iter().zip(&looked.verdicts[part]).zip(looked.signs.get(part)?);
    let others = candidates.filter(|((_, verdict), _)| **verdict != Some(Filter::Positive));
    let seen = others.filter_map(|((candidate, _), signs)| {
        let gap = (positive - candidate.score?) / positive.abs();
        Some(Seen { gap, flagged: signs.any(), far: far.is_some_and(|far| candidate.rank >= Some(far)) })
    });
    Some(seen.collect())
}

/// The first rank of the deepest quarter of a list's ranks; a short list has none.
fn far_from(ranks: &[usize]) -> Option<usize> {
    let last = *ranks.last()?;
    (ranks.len() >= SHORTEST).then_some(last - last / 4 + 1)
}

fn choose(source: Source, queries: &[Vec<Seen>], wanted: usize) -> Fitted {
    let flagged = |seen: &mut dyn Iterator<Item = &Seen>| {
        let mut share = Share::default();
        seen.for_each(|seen| share.add(seen.flagged));
        share
    };
    let keeps = |query: &[Seen], margin: f64| {
        query.iter().filter(|seen| !seen.flagged && seen.gap >= margin).count() >= wanted.max(1)
    };
    let able: Vec<&Vec<Seen>> = queries.iter().filter(|query| keeps(query, 0.0)).collect();
    let enough = |margin: f64| {
        let kept = able.iter().filter(|query| keeps(query, margin)).count();
        if able.is_empty() { 0.0 } else { kept as f64 / able.len() as f64 }
    };
    let far = flagged(&mut queries.iter().flatten().filter(|seen| seen.far));
    let first = |query: &'_ [Seen], margin: f64| -> Vec<usize> {
        (0..query.len()).filter(|i| query[*i].gap >= margin).take(wanted.max(1)).collect()
    };
    let after = |margin: f64| {
        flagged(&mut queries.iter().flat_map(|query| first(query, margin).into_iter().map(move |i| &query[i]))).value()
    };
    let risky = |step: usize| {
        let edge = step as f64 / 100.0..(step + EDGE) as f64 / 100.0;
        let share = flagged(&mut queries.iter().flatten().filter(|seen| edge.contains(&seen.gap)));
        far.of >= TELLING && share.of >= TELLING && share.value() > far.value() + EXCESS
    };
    let wished = (0..=GRID).rev().find(|step| risky(*step)).map_or(0, |step| (step + 1).min(GRID));
    let step = (0..=wished).rev().find(|step| *step == 0 || enough(*step as f64 / 100.0) >= ENOUGH).unwrap_or(0);
    let margin = step as f64 / 100.0;
    let (before, after) = (after(0.0), after(margin));
    Fitted { source, margin, queries: queries.len(), before, after, far: far.value(), enough: enough(margin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred candidates a query with gaps 0 to .99; those nearer than `right` look right, and every `by_chance`-th.
    fn queries(right: f64, by_chance: usize) -> Vec<Vec<Seen>> {
        let seen = |query: usize, i: usize| {
            let gap = i as f64 / 100.0;
            Seen { gap, flagged: gap < right || (i + 7 * query).is_multiple_of(by_chance), far: i >= 75 }
        };
        (0..40).map(|query| (0..100).map(|i| seen(query, i)).collect()).collect()
    }

    #[test]
    fn the_margin_ends_where_signs_become_chance() {
        let fitted = choose(Source::Sparse, &queries(0.2, 20), 3);
        // From .2 on only every twentieth is flagged; an edge one hundredth before holds one right one in five.
        assert_eq!((fitted.margin, fitted.before, fitted.enough), (0.2, 1.0, 1.0), "{fitted:?}");
        assert!((fitted.after - 0.05).abs() < 0.01 && (fitted.far - 0.05).abs() < 1e-9, "{fitted:?}");
        assert_eq!(choose(Source::Sparse, &queries(0.0, 5), 3).margin, 0.0);
    }

    #[test]
    fn short_lists_have_no_far_end() {
        assert_eq!(far_from(&(1..=100).collect::<Vec<_>>()), Some(76));
        // Ranks of one side, with those left out that the other side found, too.
        assert_eq!(far_from(&[3, 9, 12, 20, 31, 33, 37, 40]), Some(31));
        assert_eq!((far_from(&[1, 2, 3, 4, 5, 6, 7]), far_from(&[])), (None, None));
        // Every fifth sign is chance, and no list is long enough to show it: nothing may be fitted to it.
        let mut short = queries(0.0, 5);
        short.iter_mut().flatten().for_each(|seen| seen.far = false);
        let fitted = choose(Source::Sparse, &short, 3);
        assert_eq!((fitted.margin, fitted.far), (0.0, 0.0), "{fitted:?}");
    }

    #[test]
    fn enough_candidates_matter_more_than_a_clean_list() {
        // Beyond .4 there are 60 candidates, 57 of them not flagged: a query that wants 58 has none to lose.
        assert_eq!(choose(Source::Sparse, &queries(0.4, 20), 57).margin, 0.4);
        let fitted = choose(Source::Sparse, &queries(0.4, 20), 58);
        assert_eq!(fitted.margin, 0.0, "{fitted:?}");
        let fitted = choose(Source::Sparse, &queries(0.4, 20), 50);
        assert!(fitted.margin == 0.4 && fitted.enough >= ENOUGH, "{fitted:?}");
        assert_eq!(choose(Source::Sparse, &[], 3).margin, 0.0);
    }
}

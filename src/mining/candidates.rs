//! What each source offers a query: both sides searched once, the positives scored beside.
//!
//! A question, its row and its positives' ordinals come in; one [`Offer`] a source goes out, best first. The positives
//! are scored on every side that is searched, wherever they rank, so that a margin to them can be kept; for
//! [`Source::Hybrid`] they join the candidates of the fusion.

use super::options::MineOptions;
use super::source::Source;
use crate::collection::Ordinal;
use crate::collection::examples::SideScore;
use crate::collection::run::Ranking;
use crate::error::{Error, Result};
use crate::fusion;
use crate::search::Searcher;
use std::collections::BTreeMap;

/// A passage's place on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Places {
    pub(super) sparse: Option<SideScore>,
    pub(super) dense: Option<SideScore>,
}

/// A passage that a source offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) ordinal: Ordinal,
    /// 1-based, before any filter; `None` for a random passage. What one side alone found keeps its rank on that side.
    pub(super) rank: Option<usize>,
    /// The source's raw score; `None` for a random passage.
    pub(super) score: Option<f64>,
    pub(super) places: Places,
}

impl Candidate {
    /// A passage drawn blindly.
    pub(super) fn random(ordinal: Ordinal) -> Self {
        Candidate { ordinal, rank: None, score: None, places: Places::default() }
    }
}

/// Everything one source offers a query.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) candidates: Vec<Candidate>,
    /// The lowest positive's score by this source; `None` for random passages.
    pub(super) positive: Option<f64>,
}

/// Searches for one question. `row` is its vector, `[d]`, where any source needs the dense side. Gives one
/// offer a source.
pub(super) fn offers(
    searcher: &Searcher,
    question: &str,
    row: Option<&[f32]>,
    positives: &[Ordinal],
    options: &MineOptions,
) -> Result<Vec<Offer>> {
    let ranked = options.mix.parts().iter().any(|(source, _)| *source != Source::Random);
    let places = if ranked { sides(searcher, question, row, positives, options)? } else { BTreeMap::new() };
    let lowest = |score: &dyn Fn(&Places) -> Option<f64>| {
        let scores = positives.iter().filter_map(|ordinal| places.get(ordinal).and_then(score));
        scores.min_by(f64::total_cmp)
    };
    let sparse = |places: &Places| places.sparse;
    let dense = |places: &Places| places.dense;
    let on_side = |side: Side<'_>, other: Option<Side<'_>>| {
        let mut candidates: Vec<Candidate> = places
            .iter()
            .filter_map(|(ordinal, places)| {
                let SideScore { rank: Some(rank), score } = side(places)? else { return None };
                let elsewhere = other.and_then(|other| other(places)).is_some_and(|place| place.rank.is_some());
                (!elsewhere).then_some(Candidate {
                    ordinal: *ordinal,
                    rank: Some(rank),
                    score: Some(score),
                    places: *places,
                })
            })
            .collect();
        candidates.sort_unstable_by_key(|candidate| candidate.rank);
        Offer { candidates, positive: lowest(&|places| side(places).map(|place| place.score)) }
    };
    let offer = |source: Source| match source {
        Source::Sparse => Ok(on_side(&sparse, None)),
        Source::Dense => Ok(on_side(&dense, None)),
        Source::SparseOnly => Ok(on_side(&sparse, Some(&dense))),
        Source::DenseOnly => Ok(on_side(&dense, Some(&sparse))),
        Source::Hybrid => hybrid(searcher, question, &places, positives, options),
        Source::Random => Ok(Offer { candidates: Vec::new(), positive: None }),
    };
    options.mix.parts().iter().map(|(source, _)| offer(*source)).collect()
}

/// Searches the sides and scores on each what only the other one found, and the positives.
fn sides(
    searcher: &Searcher,
    question: &str,
    row: Option<&[f32]>,
    positives: &[Ordinal],
    options: &MineOptions,
) -> Result<BTreeMap<Ordinal, Places>> {
    let index = searcher.index();
    let depth = options.reach().min(index.len());
    let sparse = index.sparse().search(question, &options.weighting, depth)?;
    let dense = match row {
        None => None,
        Some(row) => {
            let side = index.dense().ok_or_else(|| Error::bug("the index lost its dense side"))?;
            Some((side, row, side.search(row, depth, options.how)?))
        }
    };
    let mut places: BTreeMap<Ordinal, Places> = positives.iter().map(|o| (*o, Places::default())).collect();
    for (ordinal, place) in ranks(&sparse) {
        places.entry(ordinal).or_default().sparse = Some(place);
    }
    if let Some((_, _, found)) = &dense {
        for (ordinal, place) in ranks(found) {
            places.entry(ordinal).or_default().dense = Some(place);
        }
    }
    let missing: Vec<Ordinal> =
        places.iter().filter(|(_, places)| places.sparse.is_none()).map(|(ordinal, _)| *ordinal).collect();
    for (ordinal, score) in missing.iter().zip(index.sparse().score(question, &options.weighting, &missing)?) {
        if let Some(places) = places.get_mut(ordinal) {
            places.sparse = Some(SideScore { rank: None, score: f64::from(score) });
        }
    }
    if let Some((side, row, _)) = dense {
        let missing: Vec<Ordinal> =
            places.iter().filter(|(_, places)| places.dense.is_none()).map(|(ordinal, _)| *ordinal).collect();
        for (ordinal, score) in missing.iter().zip(side.score(row, &missing)?) {
            if let Some(places) = places.get_mut(ordinal) {
                places.dense = Some(SideScore { rank: None, score: f64::from(score) });
            }
        }
    }
    Ok(places)
}

fn ranks(ranking: &Ranking<Ordinal>) -> impl Iterator<Item = (Ordinal, SideScore)> + '_ {
    let place = |(i, (ordinal, score)): (usize, (&Ordinal, f64))| (*ordinal, SideScore { rank: Some(i + 1), score });
    ranking.iter().enumerate().map(place)
}

/// A look at one side of a passage's places.
type Side<'a> = &'a dyn Fn(&Places) -> Option<SideScore>;

fn hybrid(
    searcher: &Searcher,
    question: &str,
    places: &BTreeMap<Ordinal, Places>,
    positives: &[Ordinal],
    options: &MineOptions,
) -> Result<Offer> {
    let scored = places.iter().filter_map(|(ordinal, places)| {
        let (sparse, dense) = (places.sparse?, places.dense?);
        Some(fusion::Candidate {
            ordinal: *ordinal,
            sparse: sparse.score,
            dense: dense.score,
            sparse_rank: sparse.rank,
            dense_rank: dense.rank,
        })
    });
    let fusion = options.fusion.unwrap_or(searcher.index().manifest().fusion.fusion);
    let (fused, _) = searcher.fuse(question, &scored.collect::<Vec<_>>(), &fusion)?;
    let positive = fused.iter().filter(|(ordinal, _)| positives.contains(ordinal)).map(|(_, score)| score);
    let positive = positive.min_by(f64::total_cmp);
    let candidate = |(i, (ordinal, score)): (usize, (&Ordinal, f64))| Candidate {
        ordinal: *ordinal,
        rank: Some(i + 1),
        score: Some(score),
        places: places.get(ordinal).copied().unwrap_or_default(),
    };
    Ok(Offer { candidates: fused.iter().enumerate().map(candidate).collect(), positive })
}

//! What each source offers a query: each side searched once, the positives scored beside.
//!
//! A question, what the dense side found for its row, and its positives' ordinals come in; one [`Offer`] a source goes out, best first. The positives
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

/// What the sides found for one question; `None` where a side was not asked.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) sparse: Option<&'a Ranking<Ordinal>>,
    /// With the question's vector, `[d]`.
    pub(super) dense: Option<(&'a [f32], &'a Ranking<Ordinal>)>,
}

/// Makes offers of what the sides found for one question, one a source.
pub(super) fn offers(
    searcher: &Searcher,
    question: &str,
    found: Found<'_>,
    positives: &[Ordinal],
    options: &MineOptions,
) -> Result<Vec<Offer>> {
    let places = sides(searcher, question, found, positives, options)?;
    let lowest = |score: &dyn Fn(&Places) -> Option<f64>| {
        let scores = positives.iter().filter_map(|ordinal| place_of(&places, *ordinal).and_then(score));
        scores.min_by(f64::total_cmp)
    };
    let sparse = |places: &Places| places.sparse;
    let dense = |places: &Places| places.dense;
    let on_side = |side: Side<'_>, other: Option<Side<'_>>| {
        let candidate = |(ordinal, places): &(Ordinal, Places)| {
            let SideScore { rank: Some(rank), score } = side(places)? else { return None };
            let elsewhere = other.and_then(|other| other(places)).is_some_and(|place| place.rank.is_some());
            let candidate = Candidate { ordinal: *ordinal, rank: Some(rank), score: Some(score), places: *places };
            (!elsewhere).then_some(candidate)
        };
        let mut candidates = Vec::with_capacity(places.len());
        candidates.extend(places.iter().filter_map(candidate));
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

/// Passages with their places, by ordinal.
type AllPlaces = Vec<(Ordinal, Places)>;

fn place_of(places: &[(Ordinal, Places)], ordinal: Ordinal) -> Option<&Places> {
    places.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal).ok().map(|at| &places[at].1)
}

/// Joins what the sides found, and scores on each side what only the other one found, and the positives.
fn sides(
    searcher: &Searcher,
    question: &str,
    found: Found<'_>,
    positives: &[Ordinal],
    options: &MineOptions,
) -> Result<AllPlaces> {
    let index = searcher.index();
    let mut places: AllPlaces = positives.iter().map(|ordinal| (*ordinal, Places::default())).collect();
    if let Some(found) = found.sparse {
        places.extend(ranks(found).map(|(ordinal, place)| (ordinal, Places { sparse: Some(place), dense: None })));
    }
    if let Some((_, found)) = found.dense {
        places.extend(ranks(found).map(|(ordinal, place)| (ordinal, Places { sparse: None, dense: Some(place) })));
    }
    places.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    places.dedup_by(|(other, from), (ordinal, into)| {
        let same = other == ordinal;
        if same {
            into.sparse = into.sparse.or(from.sparse);
            into.dense = into.dense.or(from.dense);
        }
        same
    });
    if found.sparse.is_some() {
        let missing = absent(&places, |places| places.sparse);
        let scores = index.sparse().score(question, &options.weighting, &missing)?;
        complete(&mut places, |places| &mut places.sparse, scores);
    }
    if let Some((row, _)) = found.dense {
        let side = index.dense().ok_or_else(|| Error::bug("the index lost its dense side"))?;
        let scores = side.score(row, &absent(&places, |places| places.dense))?;
        complete(&mut places, |places| &mut places.dense, scores);
    }
    Ok(places)
}

/// The passages without a place on a side, by ordinal.
fn absent(places: &[(Ordinal, Places)], side: impl Fn(&Places) -> Option<SideScore>) -> Vec<Ordinal> {
    places.iter().filter(|(_, places)| side(places).is_none()).map(|(ordinal, _)| *ordinal).collect()
}

/// Gives a side's scores to those that had no place there, in their order.
fn complete(places: &mut AllPlaces, side: impl Fn(&mut Places) -> &mut Option<SideScore>, scores: Vec<f32>) {
    let empty = places.iter_mut().map(|(_, places)| side(places)).filter(|place| place.is_none());
    for (place, score) in empty.zip(scores) {
        *place = Some(SideScore { rank: None, score: f64::from(score) });
    }
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
    places: &[(Ordinal, Places)],
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
        places: place_of(places, *ordinal).copied().unwrap_or_default(),
    };
    Ok(Offer { candidates: fused.iter().enumerate().map(candidate).collect(), positive })
}

//! Passages that a held-out question hinges on, and that training must never push away.
//!
//! A passage judged relevant to a protected question answers it. Mined as a negative for a training question it would
//! teach the encoder to lose that very passage: the held-out figures would then measure the leak, not the training.

use crate::collection::{Ordinal, PassageId, QuerySet};
use crate::error::Result;
use crate::search::Searcher;
use std::collections::{BTreeSet, HashSet};

/// Where the passages stand that answer protected questions (grade above 0), chunks included.
pub(super) fn protected(searcher: &Searcher, sets: &[QuerySet]) -> Result<HashSet<Ordinal>> {
    let ids: BTreeSet<&PassageId> =
        sets.iter().flat_map(|set| set.qrels.iter().flat_map(|(query, _)| set.qrels.relevant(query))).collect();
    let mut places = HashSet::new();
    for id in ids {
        places.extend(searcher.index().sparse().places_of(id)?);
    }
    Ok(places)
}

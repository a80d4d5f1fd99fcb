//! Where misses are examined: what is asked anew, and how the rank of a gold passage is read off an answer.

use super::model::{Cause, Reason};
use crate::collection::run::{Ranking, trec_order};
use crate::collection::{Ordinal, Passage, PassageId, Query};
use crate::compare::phrase::grouped;
use crate::error::Result;
use crate::eval::answers::Answers;
use crate::progress::{Progress, Unseen};
use crate::search::{SearchRequest, Searcher};
use crate::sparse::SparseIndex;
use crate::text;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Questions asked at once: what they find is kept for so many.
pub(super) const BLOCK: usize = 128;

/// A query with a gold passage.
pub(super) struct Case<'a> {
    pub(super) query: &'a Query,
    /// Its words in NFC, as both sides are asked.
    pub(super) question: Cow<'a, str>,
    pub(super) gold: Vec<&'a PassageId>,
    /// Where its gold passages (all their chunks) stand, ascending; empty where the index holds none.
    pub(super) places: Vec<Ordinal>,
    /// `None` where no answer is known.
    pub(super) answers: Option<Answers>,
}

impl<'a> Case<'a> {
    pub(super) fn new(query: &'a Query, gold: Vec<&'a PassageId>, sparse: &SparseIndex) -> Result<Self> {
        let mut places = Vec::new();
        for id in &gold {
            places.extend(sparse.places_of(id)?);
        }
        places.sort_unstable();
        let answers = Answers::of(if query.impossible { &[] } else { &query.answers });
        let answers = (!answers.is_empty()).then_some(answers);
        Ok(Case { query, question: text::nfc(&query.text), gold, places, answers })
    }

    pub(super) fn is_gold(&self, id: &PassageId) -> bool {
        self.gold.contains(&id)
    }
}

/// A searcher and the bar a gold passage has to reach.
pub(super) struct Lab<'a> {
    pub(super) searcher: &'a Searcher,
    /// A gold passage among the first `k` is found.
    pub(super) k: usize,
    pub(super) progress: &'a dyn Progress,
}

impl Lab<'_> {
    pub(super) fn sparse(&self) -> &SparseIndex {
        self.searcher.index().sparse()
    }

    /// The best rank of a gold passage of each case when its question is asked in this way; `None` where it is not among
    /// the `k` of the request.
    pub(super) fn ranks(&self, cases: &[&Case<'_>], request: &SearchRequest) -> Result<Vec<Option<usize>>> {
        let questions: Vec<&str> = cases.iter().map(|case| case.question.as_ref()).collect();
        let answers = self.searcher.rank_all(&questions, request, &Unseen(self.progress))?;
        cases.iter().zip(answers).map(|(case, ranked)| self.place(&ranked.ranking, case)).collect()
    }

    /// The best rank of a gold passage in a ranking, whole passages counted, equal scores in trec_eval's order.
    pub(super) fn place(&self, ranking: &Ranking<Ordinal>, case: &Case<'_>) -> Result<Option<usize>> {
        let is_gold = |ordinal: &Ordinal| case.places.binary_search(ordinal).is_ok();
        let Some((_, best)) = ranking.iter().find(|(ordinal, _)| is_gold(ordinal)) else { return Ok(None) };
        // No further than the gold passage's score: what stands below does not matter.
        let above = ranking.iter().take_while(|(_, score)| *score >= best);
        let named = above.map(|(ordinal, score)| Ok((self.sparse().judged_id(*ordinal)?, score)));
        let named = Ranking::new(named.collect::<Result<Vec<_>>>()?);
        Ok(trec_order(&named).iter().position(|(id, _)| case.is_gold(id)).map(|at| at + 1))
    }

    /// Whether a rank is good enough.
    pub(super) fn hits(&self, rank: Option<usize>) -> bool {
        rank.is_some_and(|rank| rank <= self.k)
    }

    /// A passage's terms: what BM25's length is measured in.
    pub(super) fn length(&self, passage: &Passage) -> usize {
        self.sparse().analyzer().terms(&passage.full_text()).len()
    }
}

/// `at 31`, or where it was looked for in vain.
pub(super) fn at(rank: Option<usize>, depth: usize) -> String {
    rank.map_or_else(|| format!("not among the first {}", grouped(depth)), |rank| format!("at {}", grouped(rank)))
}

/// Where the gold passage is, and nothing more to say.
pub(super) fn unexplained(rank: Option<usize>, depth: usize) -> Reason {
    Reason { cause: Cause::Unexplained, evidence: format!("gold {}", at(rank, depth)) }
}

/// Words in backticks, in their order, each once.
pub(super) fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut seen = BTreeSet::new();
    let words = words.into_iter().filter(|word| seen.insert(*word)).map(|word| format!("`{word}`"));
    words.collect::<Vec<_>>().join(", ")
}

//! Why a passage has its sparse score: what each term of the query adds.
//!
//! A query's text and an ordinal come in; one [`TermScore`] a shared term goes out, in query order. Their `score`s add
//! up, in that order and in f32, to exactly what [`SparseIndex::search`] gives.

use super::guard::guard;
use super::index::SparseIndex;
use super::query::with_model;
use super::search::{TitleCursor, open_postings};
use super::weighting::{Bm25, Bm25Title, Cosine, Model, Weighting, bm25_norm, idf};
use crate::collection::Ordinal;
use crate::error::Result;
use std::collections::BTreeSet;

/// What one term adds to a passage's score.
#[derive(Clone, Debug, PartialEq)]
pub struct TermScore {
    /// The term, as analysis leaves it.
    pub term: String,
    /// Its frequency in the passage, title terms counted by the title weight.
    pub tf: f32,
    /// Passages that hold it.
    pub df: u64,
    /// The formula's inverse document frequency.
    pub idf: f64,
    /// What it adds to the score.
    pub score: f32,
    /// Its frequency in the query.
    pub query_tf: u32,
}

impl SparseIndex {
    /// What each query term that a passage holds adds to its score, in query order.
    pub fn explain(&self, text: &str, weighting: &Weighting, ordinal: Ordinal) -> Result<Vec<TermScore>> {
        weighting.check()?;
        let (part, place) = self.locate(ordinal)?;
        let number = self.parts.partition_point(|other| other.base < part.base);
        let title_extra = match weighting {
            Weighting::Bm25 { title_weight, .. } => title_weight - 1.0,
            Weighting::TfIdf => 0.0,
        };
        guard(&part.folder, || {
            let mut explained = Vec::new();
            for term in self.query_terms(text, weighting)? {
                let Some(mut postings) = open_postings(part, &term.places[number])? else { continue };
                let at = postings.seek(place as u32);
                if postings.docs().get(at) != Some(&(place as u32)) {
                    continue;
                }
                let title_tf = TitleCursor::open(part, &term.places[number])?.map_or(0, |mut t| t.tf(place as u32));
                let tf = postings.freq(at);
                let score =
                    with_model!(self, part, weighting, &[], |model| model.add(place, tf, title_tf, term.weight));
                let tf = tf as f32 + title_extra * title_tf as f32;
                let (df, idf, query_tf) = (term.df, term.idf, term.query_tf);
                explained.push(TermScore { term: term.text, tf, df, idf, score, query_tf });
            }
            Ok(explained)
        })
    }

    /// How much of a query some passages together hold, 0 to 1: the idf of its distinct terms that stand in any of them, over
    /// the idf of all its terms (BM25's; a term that the collection lacks weighs the most). `None` for a query without a
    /// term.
    pub fn idf_share(&self, text: &str, passages: &[Ordinal]) -> Result<Option<f64>> {
        let weighting = Weighting::default();
        let mut distinct = BTreeSet::new();
        self.analyzer().for_each_term(text, |term| {
            distinct.insert(term.to_string());
        });
        let known = self.query_terms(text, &weighting)?;
        let unknown = (distinct.len() - known.len()) as f64 * idf(self.len() as u64, 0);
        let all = known.iter().map(|term| term.idf).sum::<f64>() + unknown;
        let mut shared = 0.0;
        for term in &known {
            for ordinal in passages {
                let (part, place) = self.locate(*ordinal)?;
                let number = self.parts.partition_point(|other| other.base < part.base);
                let found = guard(&part.folder, || {
                    let Some(mut postings) = open_postings(part, &term.places[number])? else { return Ok(false) };
                    let at = postings.seek(place as u32);
                    Ok(postings.docs().get(at) == Some(&(place as u32)))
                })?;
                if found {
                    shared += term.idf;
                    break;
                }
            }
        }
        Ok((!distinct.is_empty()).then(|| shared / all))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{index, many};
    use super::*;
    use crate::collection::Passage;

    #[test]
    fn terms_are_explained_in_query_order() {
        let passages = [Passage::new("a", "Stone", "red stone, red river"), Passage::new("b", "", "blue river")];
        let (_folder, index) = index(&passages, &[1]);
        let weighting = "bm25(k1=1,b=0,title=3)".parse().unwrap();
        let explained = index.explain("rivers the stone green stone", &weighting, Ordinal(0)).unwrap();
        let seen: Vec<_> = explained.iter().map(|t| (t.term.as_str(), t.query_tf, t.tf, t.df)).collect();
        // "stone" stands once in the text and once in the title, which counts three times.
        assert_eq!(seen, [("river", 1, 1.0, 2), ("stone", 2, 4.0, 1)]);
        assert!((explained[1].score - (2.0 * explained[1].idf * 4.0 / 5.0) as f32).abs() < 1e-6);
        assert!(index.explain("green", &weighting, Ordinal(0)).unwrap().is_empty());
        assert!(index.explain("river", &weighting, Ordinal(2)).is_err());
    }

    #[test]
    fn the_share_of_a_query_is_weighed_by_how_rare_its_terms_are() {
        let (_folder, index) = index(&many(14), &[5]);
        let share = |text: &str, places: &[u32]| {
            index.idf_share(text, &places.iter().map(|at| Ordinal(*at)).collect::<Vec<_>>()).unwrap()
        };
        // `word3` stands in passages 3 and 10, `stone` in eleven of fourteen, 3 and 10 among them, but not in 4.
        let (word, stone, unseen) = (idf(14, 2), idf(14, 11), idf(14, 0));
        assert_eq!(share("word3 stones word3", &[3]), Some(1.0));
        assert_eq!(share("word3 stone", &[4]), Some(0.0));
        assert!((share("word3 stone", &[5]).unwrap() - stone / (word + stone)).abs() < 1e-12);
        assert!((share("word3 unseen stone", &[10]).unwrap() - (word + stone) / (word + stone + unseen)).abs() < 1e-12);
        // Chunks of one passage hold together what neither holds alone.
        assert_eq!(share("word3 word4", &[3, 4]), Some(1.0));
        assert_eq!((share("the of", &[3]), share("word3", &[])), (None, Some(0.0)));
    }
}

//! A query as its terms: counted, looked up in every part, weighted.
//!
//! A query's text and a weighting come in; its distinct terms go out in the order of their first occurrence, each with
//! its document frequency over all parts, its weight, and where its postings stand. Every route to a score starts here
//! and reads a part through `with_model`, so all of them add the same numbers in the same order.
//!
//! Cost: a look-up in each part's dictionary for each distinct term.

use super::guard::{damaged, guard};
use super::index::SparseIndex;
use super::part::unreadable;
use super::weighting::{Weighting, bm25_norm, bm25_shares, idf, log_tf, smart_idf};
use crate::error::Result;
use std::collections::HashMap;
use tantivy::Term;
use tantivy::postings::TermInfo;
use tantivy::schema::Field;

/// Where a term's postings stand in a part: in title and text, then in the title alone (only where the model asks).
pub(crate) type Places = (Option<TermInfo>, Option<TermInfo>);

/// A query's distinct term with what the collection says about it.
pub(crate) struct QueryTerm {
    pub(crate) text: String,
    /// Occurrences in the query.
    pub(crate) query_tf: u32,
    /// Passages that hold it.
    pub(crate) df: u64,
    /// The formula's inverse document frequency.
    pub(crate) idf: f64,
    /// What [`Model::add`](super::weighting::Model::add) multiplies by.
    pub(crate) weight: f32,
    /// Where its postings stand in each part.
    pub(crate) places: Vec<Places>,
}

/// Runs `$body` with `$model` bound to the weighting's view of a part; `$shares` as [`SparseIndex::shares`] gives them, or
/// none.
macro_rules! with_model {
    ($index:expr, $part:expr, $weighting:expr, $shares:expr, |$model:ident| $body:expr) => {{
        let (lengths, title_lengths) = $part.lengths()?;
        match *$weighting {
            Weighting::Bm25 { k1, b, title_weight } if title_weight == 1.0 => {
                let $model = Bm25 { lengths, norm: bm25_norm(k1, b, $index.average_length), shares: $shares };
                $body
            }
            Weighting::Bm25 { k1, b, title_weight } => {
                let extra = title_weight - 1.0;
                let average = $index.average_length + f64::from(extra) * $index.average_title_length;
                let $model = Bm25Title { lengths, title_lengths, extra, norm: bm25_norm(k1, b, average) };
                $body
            }
            Weighting::TfIdf => {
                let $model = Cosine { inverse_norms: $index.inverse_norms($part)? };
                $body
            }
        }
    }};
}
pub(crate) use with_model;

impl SparseIndex {
    /// A text's distinct terms that the collection holds, in order of first occurrence, each with the number of passages
    /// that hold it.
    pub fn known_terms(&self, text: &str) -> Result<Vec<(String, u64)>> {
        let terms = guard(&self.folder, || self.query_terms(text, &Weighting::TfIdf))?;
        Ok(terms.into_iter().map(|term| (term.text, term.df)).collect())
    }

    /// How many terms a text has, each as often as it occurs, and the sum of BM25's inverse document frequencies of those
    /// that the collection has: how much there is to be found by words.
    pub fn idf_mass(&self, text: &str) -> Result<(usize, f64)> {
        let counts = self.counted(text);
        let terms = counts.iter().map(|(_, count)| *count as usize).sum();
        let known = guard(&self.folder, || self.known(counts, &Weighting::default()))?;
        Ok((terms, known.iter().map(|term| f64::from(term.query_tf) * term.idf).sum()))
    }

    /// BM25's shares of short passages, worked out once for a search that will look up many; none for other weightings.
    pub(crate) fn shares(&self, weighting: &Weighting) -> Vec<f32> {
        match *weighting {
            Weighting::Bm25 { k1, b, title_weight: 1.0 } => bm25_shares(bm25_norm(k1, b, self.average_length)),
            _ => Vec::new(),
        }
    }

    /// A query's distinct terms that the collection knows, in order of first occurrence, weighted.
    pub(crate) fn query_terms(&self, text: &str, weighting: &Weighting) -> Result<Vec<QueryTerm>> {
        self.known(self.counted(text), weighting)
    }

    /// Of counted terms those that the collection knows, weighted.
    fn known(&self, counts: Vec<(String, u32)>, weighting: &Weighting) -> Result<Vec<QueryTerm>> {
        let mut terms = Vec::new();
        for (text, query_tf) in counts {
            let Found { df, idf, places } = self.find(&text, weighting)?;
            if df > 0 {
                terms.push(QueryTerm { text, query_tf, df, idf, weight: 0.0, places });
            }
        }
        let weights = weights(terms.iter().map(|term| (term.query_tf, term.idf)), weighting);
        terms.iter_mut().zip(weights).for_each(|(term, weight)| term.weight = weight);
        Ok(terms)
    }

    /// A text's distinct terms in order of first occurrence, each with how often it occurs.
    pub(super) fn counted(&self, text: &str) -> Vec<(String, u32)> {
        let mut order: HashMap<String, usize> = HashMap::new();
        let mut counts: Vec<(String, u32)> = Vec::new();
        self.analyzer().for_each_term(text, |term| match order.get(term) {
            Some(at) => counts[*at].1 += 1,
            None => {
                order.insert(term.to_string(), counts.len());
                counts.push((term.to_string(), 1));
            }
        });
        counts
    }

    /// What the collection says about a term.
    pub(super) fn find(&self, text: &str, weighting: &Weighting) -> Result<Found> {
        let titles = matches!(weighting, Weighting::Bm25 { title_weight, .. } if *title_weight != 1.0);
        let term = Term::from_field_text(Field::from_field_id(0), text);
        let mut places = Vec::with_capacity(self.parts.len());
        let mut df = 0;
        for part in &self.parts {
            let failed = |e: std::io::Error| unreadable(&part.folder, e.into());
            let all = part.all.get_term_info(&term).map_err(failed)?;
            let title = if titles && all.is_some() { part.title.get_term_info(&term).map_err(failed)? } else { None };
            if all.as_ref().is_some_and(|info| info.doc_freq as usize > part.passages) {
                return Err(damaged(&part.folder, format!("`{text}` is in more passages than there are")));
            }
            df += all.as_ref().map_or(0, |info| u64::from(info.doc_freq));
            places.push((all, title));
        }
        let passages = self.len() as u64;
        let idf = match weighting {
            _ if df == 0 => 0.0,
            Weighting::Bm25 { .. } => idf(passages, df),
            Weighting::TfIdf => smart_idf(passages, df),
        };
        Ok(Found { df, idf, places })
    }
}

/// What the collection says about a term: see [`QueryTerm`].
pub(super) struct Found {
    pub(super) df: u64,
    pub(super) idf: f64,
    pub(super) places: Vec<Places>,
}

/// The weights of a query's terms, given as occurrences and idf: `qtf · idf` for BM25; for TF-IDF the query vector's unit
/// component times `idf`.
pub(super) fn weights(terms: impl Iterator<Item = (u32, f64)> + Clone, weighting: &Weighting) -> Vec<f32> {
    let component = |(query_tf, idf): (u32, f64)| log_tf(query_tf) * idf;
    let norm = terms.clone().map(|term| component(term).powi(2)).sum::<f64>().sqrt();
    let weight = |(query_tf, idf)| match weighting {
        Weighting::Bm25 { .. } => (f64::from(query_tf) * idf) as f32,
        Weighting::TfIdf if norm > 0.0 => (component((query_tf, idf)) / norm * idf) as f32,
        Weighting::TfIdf => 0.0,
    };
    terms.map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{index, many};
    use super::*;

    #[test]
    fn terms_are_counted_in_order_and_weighted_over_all_parts() {
        let (_folder, index) = index(&many(14), &[5]);
        let terms = index.query_terms("word3 unseen the Stones word3", &Weighting::default()).unwrap();
        let seen: Vec<_> = terms.iter().map(|t| (t.text.as_str(), t.query_tf, t.df)).collect();
        // `wordM` is i mod 7 and i mod 31: word3 stands in 3, 10; a stone in all but 4, 8, 12 (0 has it in its title).
        assert_eq!(seen, [("word3", 2, 2), ("stone", 1, 11)]);
        assert!((f64::from(terms[0].weight) - 2.0 * idf(14, 2)).abs() < 1e-6);
        let known = index.known_terms("word3 unseen the Stones word3").unwrap();
        assert_eq!(known, [("word3".to_string(), 2), ("stone".to_string(), 11)]);
        // "the" is left out by analysis, "unseen" has no idf here.
        let (count, mass) = index.idf_mass("word3 unseen the Stones word3").unwrap();
        assert_eq!(count, 4);
        assert!((mass - 2.0 * idf(14, 2) - idf(14, 11)).abs() < 1e-12);
        // TF-IDF: the query's vector has length 1, and each weight one more idf.
        let terms = index.query_terms("word3 stone word3", &Weighting::TfIdf).unwrap();
        let norm: f64 = terms.iter().map(|t| (f64::from(t.weight) / t.idf).powi(2)).sum();
        assert!((norm - 1.0).abs() < 1e-6);
    }
}

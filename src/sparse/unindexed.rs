//! BM25 of a text that is no passage of the index.
//!
//! A query and a text come in, the score goes out that the text would have as a passage: its own term frequencies and
//! length, the collection's document frequencies and mean length. This is how a passage is scored with a sentence
//! taken out of it.

use super::guard::guard;
use super::index::SparseIndex;
use super::weighting::{Bm25, Model, Weighting, bm25_norm};
use crate::error::Result;
use std::collections::HashMap;

impl SparseIndex {
    /// The default BM25 (title and text as one field) of a text for a query; 0 where no known term is shared.
    pub fn bm25_of_text(&self, query: &str, text: &str) -> Result<f32> {
        let weighting = Weighting::default();
        let Weighting::Bm25 { k1, b, .. } = weighting else { return Ok(0.0) };
        let mut frequencies: HashMap<String, u32> = HashMap::new();
        let mut length = 0;
        self.analyzer().for_each_term(text, |term| {
            *frequencies.entry(term.to_string()).or_default() += 1;
            length += 1;
        });
        guard(&self.folder, || {
            let model = Bm25 { lengths: &[length], norm: bm25_norm(k1, b, self.average_length), shares: &[] };
            let terms = self.query_terms(query, &weighting)?;
            let shared = terms.iter().filter_map(|term| frequencies.get(&term.text).map(|tf| (tf, term.weight)));
            Ok(shared.map(|(tf, weight)| model.add(0, *tf, 0, weight)).sum())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Analyzer, Language, finish, write_part};
    use super::*;
    use crate::collection::Passage;

    #[test]
    fn a_passages_own_text_scores_as_the_passage() {
        let folder = tempfile::tempdir().unwrap();
        let analyzer = Analyzer::for_language(Language::English);
        let passages =
            [Passage::new("a", "Moon", "The moon pulls the tides."), Passage::new("b", "", "Tides turn twice.")];
        let parts = [write_part(folder.path(), 0, 0, &passages, &analyzer).unwrap()];
        finish(folder.path(), &analyzer, &parts).unwrap();
        let index = SparseIndex::open(folder.path()).unwrap();
        let ranking = index.search("moon tides", &Weighting::default(), 2).unwrap();
        for (ordinal, score) in ranking.iter() {
            let text = index.bm25_of_text("moon tides", &passages[ordinal.index()].full_text()).unwrap();
            assert_eq!(f64::from(text), score);
        }
        assert_eq!(index.bm25_of_text("moon", "nothing of it").unwrap(), 0.0);
    }
}

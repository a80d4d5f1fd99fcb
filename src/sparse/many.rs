//! Search for many texts at once: a term that several of them have is looked up and read once.
//!
//! Texts come in; for each the ranking goes out that [`SparseIndex::search`] gives, bit for bit. With plain BM25 the postings of
//! the terms that are asked for most often are kept meanwhile, unpacked, each with its share of the score: to add one up then is a
//! multiplication and an addition.
//!
//! Cost: that of a search a text, less the dictionary and, where postings are kept, less two thirds of the rest; 8 bytes a kept
//! posting, 64 MB at most. Measured with 10,000 questions of SQuAD over 125,362 passages. Keeping what every posting adds is
//! from X. H. Lù, *BM25S: Orders of magnitude faster lexical search via eager sparse scoring*, 2024.

use super::guard::{damaged, guard};
use super::index::SparseIndex;
use super::query::{Found, weights, with_model};
use super::search::{List, Weighed, open_postings};
use super::weighting::{Bm25, Bm25Title, Cosine, Model, Weighting, bm25_norm};
use crate::collection::Ordinal;
use crate::collection::run::Ranking;
use crate::error::Result;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Postings that are kept at most. Tests have some kept and some not.
const ROOM: u64 = if cfg!(test) { 40 } else { 8 << 20 };

/// A term of several texts.
struct Shared {
    found: Found,
    /// One a part, or none.
    lists: Vec<List>,
}

impl SparseIndex {
    /// What [`SparseIndex::search`] gives for each text, all cores at work.
    pub fn search_many(&self, texts: &[&str], weighting: &Weighting, k: usize) -> Result<Vec<Ranking<Ordinal>>> {
        weighting.check()?;
        if k == 0 {
            return Ok(vec![Ranking::default(); texts.len()]);
        }
        let asked: Vec<Vec<(String, u32)>> = texts.par_iter().map(|text| self.counted(text)).collect();
        let terms = self.shared(&asked, weighting)?;
        let shares = self.shares(weighting);
        let search = |asked: &Vec<(String, u32)>| {
            let known = asked.iter().filter_map(|(term, query_tf)| Some((*query_tf, terms.get(term.as_str())?)));
            let known = known.filter(|(_, term)| term.found.df > 0);
            let weights = weights(known.clone().map(|(query_tf, term)| (query_tf, term.found.idf)), weighting);
            let weighed = known.zip(weights).map(|((_, term), weight)| Weighed {
                weight,
                places: &term.found.places,
                lists: &term.lists,
            });
            let weighed: Vec<Weighed> = weighed.collect();
            guard(&self.folder, || self.best(&weighed, weighting, &shares, k))
        };
        asked.par_iter().map(search).collect()
    }

    /// Looks up the terms of some texts, and reads those that most of them have.
    fn shared<'a>(&self, asked: &'a [Vec<(String, u32)>], weighting: &Weighting) -> Result<HashMap<&'a str, Shared>> {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        asked.iter().flatten().for_each(|(term, _)| *uses.entry(term).or_default() += 1);
        let mut uses: Vec<(&str, usize)> = uses.into_iter().collect();
        uses.sort_unstable_by_key(|(term, uses)| (Reverse(*uses), *term));
        let find =
            |(term, uses): &(&'a str, usize)| Ok((*term, *uses, guard(&self.folder, || self.find(term, weighting))?));
        let found: Vec<(&str, usize, Found)> = uses.par_iter().map(find).collect::<Result<_>>()?;
        let plain = matches!(weighting, Weighting::Bm25 { title_weight: 1.0, .. });
        let mut room = if plain { ROOM } else { 0 };
        let keep = |(term, uses, found): (&'a str, usize, Found)| {
            let keeps = uses > 1 && found.df <= room;
            room -= if keeps { found.df } else { 0 };
            (term, found, keeps)
        };
        let found: Vec<(&str, Found, bool)> = found.into_iter().map(keep).collect();
        let read = |(term, found, keeps): (&'a str, Found, bool)| {
            let lists = if keeps { guard(&self.folder, || self.lists(&found, weighting))? } else { Vec::new() };
            Ok((term, Shared { found, lists }))
        };
        found.into_par_iter().map(read).collect()
    }

    /// A term's postings in each part.
    fn lists(&self, found: &Found, weighting: &Weighting) -> Result<Vec<List>> {
        let mut lists = Vec::with_capacity(self.parts.len());
        for (part, place) in self.parts.iter().zip(&found.places) {
            let mut list = Vec::with_capacity(place.0.as_ref().map_or(0, |info| info.doc_freq as usize));
            if let Some(mut postings) = open_postings(part, place)? {
                with_model!(self, part, weighting, &[], |model| while postings.block_len() > 0 {
                    for (doc, tf) in postings.docs().iter().zip(postings.freqs()) {
                        if *doc as usize >= part.passages {
                            return Err(damaged(&part.folder, "a posting names a passage that is not there"));
                        }
                        list.push((*doc, model.add(*doc as usize, *tf, 0, 1.0)));
                    }
                    postings.advance();
                });
            }
            lists.push(list.into_boxed_slice());
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{index, many, passages};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn many_texts_find_what_each_finds_alone(
            passages in passages(1..40), cuts in prop::collection::vec(0usize..40, 0..3), k in 0usize..20,
            texts in prop::collection::vec("(red|blue|stone|moss|한국|unseen|the| ){0,6}", 0..12)
        ) {
            let (_folder, index) = index(&passages, &cuts);
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            for weighting in ["bm25", "bm25(k1=1.2,b=.75)", "bm25(title=2)", "tfidf"] {
                let weighting: Weighting = weighting.parse().unwrap();
                let found = index.search_many(&texts, &weighting, k).unwrap();
                prop_assert_eq!(found.len(), texts.len());
                for (text, found) in texts.iter().zip(&found) {
                    prop_assert_eq!(found, &index.search(text, &weighting, k).unwrap(), "{} {}", text, weighting);
                }
            }
        }
    }

    #[test]
    fn of_terms_that_are_asked_for_twice_those_are_kept_that_there_is_room_for() {
        let (_folder, index) = index(&many(60), &[25]);
        let asked: Vec<_> = ["common word3", "common word3 word5", "word3"].iter().map(|t| index.counted(t)).collect();
        let weighting = Weighting::default();
        let terms = index.shared(&asked, &weighting).unwrap();
        // `word3` stands in places 3, 10, 17, … and 34; `common` is in all 60, more than there is room for; `word5` is rare
        // enough, but asked for once.
        let kept = |term: &str| terms[term].lists.iter().map(|list| list.len()).collect::<Vec<_>>();
        assert_eq!(kept("word3").iter().sum::<usize>(), terms["word3"].found.df as usize);
        assert_eq!((kept("common").len(), kept("word5").len()), (0, 0));
        // A list says what a search for its term alone scores.
        let idf = terms["word3"].found.idf as f32;
        let scores = index.search("word3", &weighting, 60).unwrap();
        for (ordinal, score) in scores.iter() {
            let (part, at) = if ordinal.0 < 25 { (0, ordinal.0) } else { (1, ordinal.0 - 25) };
            let share = terms["word3"].lists[part].iter().find(|(doc, _)| *doc == at).unwrap().1;
            assert_eq!(f64::from(idf * share), score);
        }
    }
}

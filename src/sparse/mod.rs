//! The sparse side: exact words, their postings, BM25 and TF-IDF; it also keeps the passages themselves.
//!
//! Passages come in by [`write_part`], several threads at once, each with its own range of ordinals; [`finish()`] closes
//! the folder; [`SparseIndex`] searches it with any [`Weighting`], scores given passages completely and explains
//! scores. tantivy keeps the term dictionary and the postings; weighting, lengths, ids and texts are ours.
//!
//! ```
//! use parallax::sparse::{finish, write_part, Analyzer, Language, SparseIndex, Weighting};
//! use parallax::{Ordinal, Passage};
//! # fn main() -> parallax::error::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path();
//! let analyzer = Analyzer::for_language(Language::English);
//! let first = [Passage::new("moon", "Moon", "The Moon orbits the Earth."), Passage::new("sun", "Sun", "A star.")];
//! let second = [Passage::new("tide", "Tide", "The Moon raises tides in the seas.")];
//! let parts = [write_part(folder, 0, 0, &first, &analyzer)?, write_part(folder, 1, 2, &second, &analyzer)?];
//! finish(folder, &analyzer, &parts)?;
//!
//! let index = SparseIndex::open(folder)?;
//! let ranking = index.search("Which moons?", &Weighting::default(), 10)?;
//! let ids: Vec<_> = ranking.iter().map(|(ordinal, _)| index.id(*ordinal).unwrap().to_string()).collect();
//! assert_eq!(ids, ["moon", "tide"]);
//! assert_eq!(index.passage(Ordinal(2))?.title, "Tide");
//! # Ok(())
//! # }
//! ```

mod analyzer;
mod explain;
mod finish;
pub(crate) mod guard;
mod index;
mod language;
mod many;
#[cfg(test)]
mod on_data;
mod part;
mod query;
mod search;
mod stems;
#[cfg(test)]
mod testing;
mod texts;
mod tokenizer;
mod unindexed;
mod weighting;

pub use analyzer::Analyzer;
pub use explain::TermScore;
pub use finish::{SparseSummary, finish};
pub use index::{SparseIndex, SparseStats};
pub use language::Language;
pub use part::{PartInfo, write_part};
pub use weighting::{Weighting, idf, log_tf, smart_idf};

//! Two views of one collection: exact words and meaning. Seen together they give depth.
//!
//! `parallax` builds a BM25/TF-IDF index and a dense index side by side from one collection of passages, searches both,
//! fuses their scores per query, and reports which retriever finds the right passage. Where the two disagree the dense
//! one can learn: hard negatives are mined from the sparse side, and a dual encoder is trained on them.
//!
//! A program that asks an index is five lines:
//!
//! ```no_run
//! use parallax::{Index, Mode, SearchRequest, Searcher};
//! let searcher = Searcher::new(Index::open("indexes/demo".as_ref())?, Mode::Hybrid)?;
//! for hit in searcher.search("who first measured the speed of light", &SearchRequest::default())? {
//!     println!("{} {:.3} {}", hit.rank, hit.score, hit.passage.title);
//! }
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! # The house
//!
//! A room uses only rooms below it; a test keeps that so (`tests/it/tidy.rs`).
//!
//! | floor | rooms | what happens there |
//! |---|---|---|
//! | face | `main.rs`, `cli/` | parses, prints; a crate of its own, so the engine cannot know it |
//! | 6 circle | [`learn`] | training with validation by retrieval; the loop of index, mine, train, compare |
//! | 5 studies | [`compare`], [`mining`] | whole searchers, many queries |
//! | 4 search | [`search`] | sparse ‖ dense → fuse → hits |
//! | 3 shelves | [`index`] | one folder, both sides, one manifest |
//! | 2 wings | [`sparse`], [`dense`], [`train`] | postings; rows and graph; distilling and training. None knows another |
//! | 1 tools | [`encoder`], [`fusion`], [`eval`] | texts in, vectors out; pure arithmetic |
//! | 0 ground | [`collection`], [`text`], [`kernel`], [`storage`], [`process`], [`random`], [`progress`], [`error`] | the words everyone speaks |
//!
//! # How things flow
//!
//! - **Building**: sources → [`collection::read`] → parts of consecutive ordinals → a sparse part and a block of rows each →
//!   graph → fusion weight → manifest → `CURRENT` ([`index::build()`]).
//! - **Asking**: words → [`Searcher`] → both sides at once → candidates scored on both sides → [`fusion`] → [`Hit`]s.
//! - **Mining**: judged queries → a [`Searcher`]'s mistakes → filters → [`TrainingExample`]s ([`mine`]).
//! - **Training**: example files → batches → towers ([`train::tower`]) → likelihood of the positive → step → held-out
//!   questions → a model folder that an index takes as it is ([`learn::train()`]).
//! - **The loop**: all of these in rounds, through files, never through imports ([`learn::rounds`]).
//! - **Comparing**: systems × queries → a [`Run`] each → [`evaluate`] → a table ([`compare`]).
//! - **Asking why**: a comparison → what would turn each miss into a hit → causes ([`compare::diagnose`]); and before any
//!   figure is believed, an index and its questions → what is wrong with the experiment ([`compare::audit`]).
//!
//! # What never happens
//!
//! - The engine prints nothing, reads no environment variable, ends no process and starts no network connection.
//! - No file of a published index is changed; a new generation replaces the old one by a rename.
//! - One passage is one [`Ordinal`] everywhere inside: posting, vector row and graph node carry the same number.
//! - No text of a user reaches a query language.
//! - A score is always better when higher; equal scores are ordered by ordinal (by id descending in run files and
//!   evaluation, trec_eval's rule).
//! - A foreign crate has one wall: `tantivy` in [`sparse`], `candle` and `tokenizers` in [`encoder`] and [`train`],
//!   `gemm` in [`kernel`], `hnsw_rs` in one file of [`dense`], `memmap2` in [`storage`].
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | passage | the unit that is indexed, retrieved and judged |
//! | query | a question, with the answers that are known |
//! | qrels | judgments: query → passage → grade |
//! | ranking, run | scored passages, best first; one system's rankings per query |
//! | sparse, dense | scored by shared words; scored by the inner product of vectors |
//! | hybrid | both, fused per query |
//! | hard negative | a passage that ranks high for a query and does not answer it |
//! | in-batch negative | another query's positive in the same training step |
//! | dual encoder, tower | one encoder for queries and one for passages; often the same one |
//! | encoder, pooling | turns a text into a vector; how token vectors become one |
//! | depth | passages each side offers to fusion |
//! | recall@k | share of the relevant passages among the first k, against qrels |
//! | ann_recall@k | share of the exact nearest k that the graph finds; never mixed with the former |

pub mod collection;
pub mod compare;
pub mod dense;
pub mod encoder;
pub mod error;
pub mod eval;
pub mod fusion;
pub mod index;
pub mod kernel;
pub mod learn;
pub mod mining;
pub mod process;
pub mod progress;
pub mod random;
pub mod search;
pub mod sparse;
pub mod storage;
pub mod text;
pub mod train;

pub use collection::examples::TrainingExample;
pub use collection::qrels::Qrels;
pub use collection::run::{Ranking, Run};
pub use collection::{Ordinal, Passage, PassageId, Query, QueryId, QuerySet};
pub use encoder::contract::Encoder;
pub use error::{Error, ErrorKind, Result};
pub use eval::{Measure, evaluate};
pub use fusion::Fusion;
pub use index::{BuildOptions, Index};
pub use mining::{MineOptions, mine};
pub use progress::{Progress, Silent, Stage};
pub use search::{Hit, Mode, SearchRequest, Searcher};
pub use sparse::Weighting;

//! parallax: two views of one collection.

pub mod collection;
pub mod compare;
pub mod dense;
pub mod encoder;
pub mod error;
pub mod eval;
pub mod fusion;
pub mod index;
pub mod kernel;
pub mod progress;
pub mod search;
pub mod sparse;
pub mod storage;
pub mod text;
pub mod train;

pub use collection::qrels::Qrels;
pub use collection::run::{Ranking, Run};
pub use collection::{Ordinal, Passage, PassageId, Query, QueryId, QuerySet};
pub use error::{Error, ErrorKind, Result};
pub use progress::{Progress, Silent, Stage};

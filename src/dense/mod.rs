//! The dense side: one row of numbers a passage, searched exactly or along a graph of near neighbours.
//!
//! In: rows appended as an encoder gives them ([`rows`]), then a graph over them ([`build_graph`]). Out: a
//! [`DenseIndex`] that ranks passages by inner product with a query's row; of unit rows that is the cosine.
//!
//! [`exact`] scores every row and is the yardstick. [`graph`] is the graph's file and its search; [`build`](mod@build)
//! and [`build_hnsw_rs`] fill it, and it is walked only when it finds enough of what exact search finds. Rows may be stored
//! in fewer bits ([`ValueKind`], [`store`]); what that loses is measured.
//!
//! ```
//! use parallax::dense::{self, DenseIndex, GraphBuilder, GraphOptions, SearchHow, ValueKind, rows::RowsWriter};
//! use parallax::{encoder::contract::Embeddings, progress::Silent};
//! # fn main() -> parallax::Result<()> {
//! # let folder = tempfile::tempdir().map_err(|e| parallax::Error::bug(e.to_string()))?;
//! # let folder = folder.path();
//! let mut writer = RowsWriter::create(&folder.join(dense::ROWS_FILE), 2)?;
//! writer.append(&Embeddings::new(2, vec![1.0, 0.0, /* */ 0.6, 0.8, /* */ 0.0, 1.0]))?;
//! writer.finish()?;
//! let (vectors, options) = (ValueKind::Int8, GraphOptions::default());
//! let report = dense::build_graph(folder, Some(vectors), GraphBuilder::Parallax, &options, dense::FLOOR, &Silent)?;
//! assert_eq!((report.reachable, report.ann_recall_at_10), (3, 1.0));
//!
//! let index = DenseIndex::open(folder)?;
//! let found = index.search(&[0.0, 2.0], 2, SearchHow::Auto)?;
//! assert_eq!(found.iter().map(|(ordinal, _)| ordinal.0).collect::<Vec<_>>(), [2, 1]);
//! # Ok(())
//! # }
//! ```
//!
//! Cost: `4 · d` bytes a row (f16: `2 · d`; int8: `5 · d`, of which searches read `d`) and 136 for its links, mapped, not
//! read.

mod accept;
mod adjacency;
mod bounded;
pub mod build;
pub mod build_hnsw_rs;
pub mod exact;
pub mod graph;
mod kind;
mod many;
pub mod narrow;
mod options;
mod recall;
mod repair;
pub mod rows;
mod scorer;
mod space;
pub mod store;
mod walk;

pub use accept::{GraphReport, build_graph};
pub use adjacency::{Adjacency, MAX_M};
pub use graph::GRAPH_FILE;
pub use kind::ValueKind;
pub use options::{GraphBuilder, GraphOptions};
pub use rows::ROWS_FILE;
pub use store::{INT8_FILE, Store};

use crate::collection::Ordinal;
use crate::collection::run::Ranking;
use crate::error::{Error, ErrorKind, Result};
use graph::Graph;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rows::{Rows, check_finite};
use scorer::Scorer;
use std::path::Path;

/// The share of true neighbours a graph has to find unless another floor is asked for.
pub const FLOOR: f64 = 0.98;

/// From how many rows on [`SearchHow::Auto`] walks the graph.
///
/// Measured with 256 and 384 dimensions, one thread, at ann_recall .98: the two cost the same at about 6,000 rows for
/// 10 results and 13,000 for 100. At 20,000 rows exact search takes about 0.5 ms, the graph 0.15 and 0.35; at 104,000
/// exact takes 3.7 ms, the graph 0.6 and 0.8. Where exact search costs little more, its full recall is worth it.
pub const GRAPH_PAYS_FROM: usize = 20_000;

/// Up to how many rows for each one of the graph's beam [`DenseIndex::search_many`] scores all rows for [`SearchHow::Auto`].
///
/// Measured with 125,362 rows of 256 dimensions and AVX-512 VNNI, ten thousand queries: the walk costs about a microsecond
/// for each one of its beam, exact search of many queries less than a nanosecond a row. Elsewhere bytes are multiplied up to
/// six times as slowly; at this number exact search, which finds everything, costs no more even there.
pub const MANY_PAYS_TO: usize = 512;

/// How to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchHow {
    /// Exactly below [`GRAPH_PAYS_FROM`] rows, along the graph from there on, with the beam its build chose, widened
    /// by two for each result beyond ten; exactly where no beam found enough.
    #[default]
    Auto,
    /// Every row scored.
    Exact,
    /// Along the graph.
    Graph {
        /// Beam width; at least the number of results is used.
        ef: usize,
    },
}

/// Figures `info` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseStats {
    /// Rows.
    pub rows: usize,
    /// How they are stored.
    pub vectors: ValueKind,
    /// Components a row.
    pub dimension: usize,
    /// Rows without any non-zero component.
    pub zero_rows: usize,
    /// The share of components that are not zero, 0 to 1; 0 without rows.
    pub nonzero_share: f64,
    /// Bytes of the rows, the smaller ones beside them included.
    pub row_bytes: u64,
    /// Bytes of the graph.
    pub graph_bytes: u64,
    /// Mean number of neighbours on level 0.
    pub graph_degree: f64,
    /// Levels of the graph.
    pub graph_levels: usize,
    /// The beam width the graph's build chose.
    pub ef: usize,
}

/// Rows with their graph, open for searching from any number of threads.
pub struct DenseIndex {
    store: Store,
    graph: Graph,
    scratches: walk::Scratches,
}

impl DenseIndex {
    /// Opens a folder's [`ROWS_FILE`], [`INT8_FILE`] where it has one, and [`GRAPH_FILE`], after checking that they fit
    /// each other.
    pub fn open(folder: &Path) -> Result<Self> {
        let store = Store::open(folder)?;
        let graph = Graph::open(&folder.join(GRAPH_FILE), store.rows().len())?;
        Ok(DenseIndex { store, graph, scratches: walk::Scratches::default() })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// Components a row.
    pub fn dimension(&self) -> usize {
        self.rows().dimension()
    }

    /// The rows that scores come from.
    pub fn rows(&self) -> &Rows {
        self.store.rows()
    }

    /// How vectors are stored.
    pub fn vectors(&self) -> ValueKind {
        self.store.kind()
    }

    /// The `k` rows (fewer where there are fewer) with the greatest inner product with a query, best first, equal
    /// scores by ordinal; none for a zero query. Refuses a query of another dimension, or one that is not finite.
    pub fn search(&self, query: &[f32], k: usize, how: SearchHow) -> Result<Ranking<Ordinal>> {
        self.check(query)?;
        let ef = match how {
            SearchHow::Exact => None,
            SearchHow::Graph { ef } => Some(ef),
            SearchHow::Auto => self.walks_graph(k).then(|| self.beam(k)),
        };
        let k = k.min(self.len());
        Ok(match ef {
            Some(ef) => {
                self.scratches.with(|scratch| self.graph.search(&self.store, query, k, ef.min(self.len()), scratch))
            }
            None => bounded::search(&self.store, query, k),
        })
    }

    /// What [`DenseIndex::search`] gives for each query, bit for bit, all cores at work; but with [`SearchHow::Auto`] the
    /// graph is not walked below [`MANY_PAYS_TO`] rows for each one of its beam, since many queries together are searched
    /// exactly in less time. How a query is searched depends on no other query.
    pub fn search_many(&self, queries: &[&[f32]], k: usize, how: SearchHow) -> Result<Vec<Ranking<Ordinal>>> {
        let exactly = match how {
            SearchHow::Exact => true,
            SearchHow::Graph { .. } => false,
            SearchHow::Auto => !self.walks_graph(k) || self.len() / MANY_PAYS_TO < self.beam(k),
        };
        if !exactly {
            return queries.par_iter().map(|query| self.search(query, k, how)).collect();
        }
        queries.iter().try_for_each(|query| self.check(query))?;
        Ok(many::search(self.rows(), queries, k))
    }

    /// Whether [`SearchHow::Auto`] walks the graph for `k` results: in a small index it does not, nor where the beam is
    /// as wide as a good part of the rows, which costs more than scoring all of them.
    pub fn walks_graph(&self, k: usize) -> bool {
        self.len() >= GRAPH_PAYS_FROM && self.beam(k) < self.len() / 8
    }

    /// The build's beam, widened by two for each result beyond ten.
    fn beam(&self, k: usize) -> usize {
        self.graph.ef().saturating_add(k.saturating_sub(10).saturating_mul(2))
    }

    /// The scores of these rows for a query, in their order: for a row that search finds, the score it gives, bit for
    /// bit. A zero query scores 0 everywhere. Refuses what [`DenseIndex::search`] refuses, and a row that is not there.
    pub fn score(&self, query: &[f32], candidates: &[Ordinal]) -> Result<Vec<f32>> {
        self.check(query)?;
        if let Some(missing) = candidates.iter().find(|ordinal| ordinal.index() >= self.len()) {
            let message = format!("row {} is asked for, the dense side has {}", missing.0, self.len());
            return Err(Error::new(ErrorKind::Mismatch, message));
        }
        let numbers: Vec<u32> = candidates.iter().map(|ordinal| ordinal.0).collect();
        let mut scores = Vec::with_capacity(numbers.len());
        Scorer::new(self.rows(), query).at(&numbers, &mut scores);
        // Search turns -0.0 into 0.0 as well.
        scores.iter_mut().for_each(|score| *score += 0.0);
        Ok(scores)
    }

    /// Figures of all files. Reads every row.
    pub fn stats(&self) -> DenseStats {
        let rows = self.rows();
        let nonzero: usize = (0..rows.len()).map(|i| rows.row(i).iter().filter(|value| **value != 0.0).count()).sum();
        let (graph_degree, graph_levels) = self.graph.shape();
        DenseStats {
            rows: self.len(),
            vectors: self.vectors(),
            dimension: self.dimension(),
            zero_rows: self.rows().zero_rows(),
            nonzero_share: nonzero as f64 / (rows.len() * rows.dimension()).max(1) as f64,
            row_bytes: self.store.bytes(),
            graph_bytes: self.graph.bytes(),
            graph_degree,
            graph_levels,
            ef: self.graph.ef(),
        }
    }

    /// Reads every byte of all files and compares checksums.
    pub fn verify(&self) -> Result<()> {
        self.store.verify()?;
        self.graph.verify()
    }

    fn check(&self, query: &[f32]) -> Result<()> {
        if query.len() != self.dimension() {
            let (found, wanted) = (query.len(), self.dimension());
            let message = format!("a query of {found} dimensions cannot be compared with rows of {wanted}");
            return Err(Error::new(ErrorKind::Mismatch, message).hint("use the encoder the index was built with"));
        }
        check_finite(query).map_err(|why| Error::bad_input(format!("the query's row {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::rows::tests::{clustered, mapped};
    use super::*;
    use crate::progress::Silent;
    use proptest::prelude::*;

    fn index(d: usize, values: &[f32], builder: GraphBuilder) -> (tempfile::TempDir, DenseIndex, GraphReport) {
        let (folder, _) = mapped(d, values);
        let vectors = ValueKind::F32;
        let report =
            build_graph(folder.path(), Some(vectors), builder, &GraphOptions::default(), FLOOR, &Silent).unwrap();
        let index = DenseIndex::open(folder.path()).unwrap();
        (folder, index, report)
    }

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn scores_are_those_of_every_search(values in prop::collection::vec(-3f32..3.0, 3..200), zero in 0usize..9) {
            let mut values = values[..values.len() / 3 * 3].to_vec();
            if let Some(row) = values.chunks_mut(3).nth(zero) {
                row.fill(-0.0);
            }
            let (_folder, index, _) = index(3, &values, GraphBuilder::Parallax);
            let query = [1.0, -0.5, 0.25];
            for how in [SearchHow::Auto, SearchHow::Exact, SearchHow::Graph { ef: 1000 }] {
                let found = index.search(&query, 50, how).unwrap();
                prop_assert_eq!(&found, &index.search(&query, 50, SearchHow::Exact).unwrap());
                let ordinals: Vec<Ordinal> = found.iter().map(|(ordinal, _)| *ordinal).collect();
                for ((_, score), again) in found.iter().zip(index.score(&query, &ordinals).unwrap()) {
                    prop_assert_eq!(score.to_bits(), f64::from(again).to_bits());
                }
            }
        }
    }

    #[test]
    fn both_builders_hold_the_floor_and_say_so() {
        let mut values = clustered(1200, 24, 30, 0.5, 1);
        values[24..48].fill(0.0);
        for builder in [GraphBuilder::Parallax, GraphBuilder::HnswRs] {
            let (_folder, index, report) = index(24, &values, builder);
            assert!(
                report.ann_recall_at_10 >= FLOOR && report.sample == 1000 && report.reachable == 1200,
                "{report:?}"
            );
            let stats = index.stats();
            assert_eq!((stats.rows, stats.dimension, stats.zero_rows, stats.ef), (1200, 24, 1, report.ef));
            assert_eq!((stats.row_bytes, stats.nonzero_share), (1200 * 24 * 4, 1199.0 / 1200.0));
            assert!(stats.graph_degree > 4.0 && stats.graph_degree <= 32.0 && stats.graph_levels >= 2, "{stats:?}");
            index.verify().unwrap();
        }
    }

    #[test]
    fn queries_that_cannot_be_compared_are_refused() {
        let (_folder, index, _) = index(2, &[1.0, 0.0], GraphBuilder::Parallax);
        let kind = |query: &[f32]| index.search(query, 1, SearchHow::Auto).err().map(|e| e.kind());
        assert_eq!(kind(&[1.0]), Some(ErrorKind::Mismatch));
        assert_eq!(kind(&[f32::NAN, 0.0]), Some(ErrorKind::BadInput));
        assert_eq!(kind(&[1e30, 0.0]), Some(ErrorKind::BadInput));
        assert_eq!(index.score(&[1.0, 0.0], &[Ordinal(1)]).err().map(|e| e.kind()), Some(ErrorKind::Mismatch));
        assert_eq!(kind(&[1.0, 0.0]), None);
    }

    #[test]
    fn no_rows_no_results_no_query() {
        let (_folder, empty, report) = index(2, &[], GraphBuilder::HnswRs);
        assert_eq!((report.sample, report.ann_recall_at_10), (0, 1.0));
        let (_folder, one, _) = index(2, &[1.0, 0.0], GraphBuilder::Parallax);
        for how in [SearchHow::Auto, SearchHow::Exact, SearchHow::Graph { ef: 0 }] {
            assert!(empty.search(&[1.0, 0.0], 5, how).unwrap().is_empty());
            assert!(one.search(&[1.0, 0.0], 0, how).unwrap().is_empty());
            assert!(one.search(&[0.0, 0.0], 5, how).unwrap().is_empty());
            assert_eq!(one.search(&[1.0, 0.0], usize::MAX, how).unwrap().len(), 1);
        }
        assert_eq!(one.score(&[0.0, 0.0], &[Ordinal(0)]).unwrap(), [0.0]);
    }
}

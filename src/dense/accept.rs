//! Building a graph and accepting it: every row reachable, and enough of exact search found.

use super::graph::GRAPH_FILE;
use super::options::{GraphBuilder, GraphOptions};
use super::rows::Rows;
use super::{build, build_hnsw_rs, recall, repair};
use crate::error::{Error, Result};
use crate::progress::Progress;
use std::path::Path;
use std::time::{Duration, Instant};

/// What came of building a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphReport {
    /// The beam width that holds the floor, or the number of rows where none does; the graph's file carries it as its
    /// default.
    pub ef: usize,
    /// The share of the ten nearest rows that a walk with the beam finds (the widest tried, where none holds the floor),
    /// on the sample; 0 to 1.
    pub ann_recall_at_10: f64,
    /// Queries in the sample.
    pub sample: usize,
    /// How the sample was made, for people.
    pub measured_by: &'static str,
    /// Rows that can be reached from the entry point: all of them.
    pub reachable: usize,
    /// Rows that could not before they were linked anew.
    pub repaired: usize,
    /// Time the building took, the measuring left out.
    pub building: Duration,
    /// Time the measuring took.
    pub measuring: Duration,
}

/// Builds the graph over an index folder's rows, finds the `ef` at which its `ann_recall@10` holds the floor, and
/// writes [`GRAPH_FILE`]. Runs in the rayon pool it is called in.
///
/// Where no beam holds the floor (rows that say next to nothing, of an encoder that does not know the language, lie too
/// close together), `ef` is the number of rows: searches then score every row, and lose nothing but time.
pub fn build_graph(
    folder: &Path,
    rows: &Rows,
    builder: GraphBuilder,
    options: &GraphOptions,
    floor: f64,
    progress: &dyn Progress,
) -> Result<GraphReport> {
    let start = Instant::now();
    let graph = match builder {
        GraphBuilder::Parallax => build::build(rows, options, progress)?,
        GraphBuilder::HnswRs => build_hnsw_rs::build(rows, options, progress)?,
    };
    let building = start.elapsed();
    let orphans = repair::orphans(&graph);
    if orphans > 0 {
        return Err(Error::bug(format!("{orphans} rows of the graph cannot be reached")));
    }
    let measured = recall::find_ef(rows, &graph, options.seed, floor, progress)?;
    let ef = if measured.recall < floor { rows.len() } else { measured.ef };
    graph.write(&folder.join(GRAPH_FILE), ef)?;
    Ok(GraphReport {
        ef,
        ann_recall_at_10: measured.recall,
        sample: measured.sample,
        measured_by: "sums of two random rows with as much noise, against exact search",
        reachable: rows.len(),
        repaired: graph.repaired(),
        building,
        measuring: start.elapsed() - building,
    })
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{clustered, mapped};
    use super::super::{DenseIndex, SearchHow};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn where_no_beam_holds_the_floor_every_row_is_scored() {
        let values = clustered(50, 4, 5, 0.5, 1);
        let (folder, rows) = mapped(4, &values);
        let options = GraphOptions::default();
        let report = build_graph(folder.path(), &rows, GraphBuilder::Parallax, &options, 1.5, &Silent).unwrap();
        assert_eq!(report.ef, 50);
        let index = DenseIndex::open(folder.path()).unwrap();
        assert!(!index.walks_graph(10));
        let found = |how| index.search(&values[..4], 10, how).unwrap();
        assert_eq!(found(SearchHow::Auto), found(SearchHow::Exact));
    }
}

//! Building a graph and accepting it: every row reachable, and enough of exact search found.

use super::graph::GRAPH_FILE;
use super::options::{GraphBuilder, GraphOptions};
use super::rows::Rows;
use super::{build, build_hnsw_rs, recall, repair};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use std::path::Path;
use std::time::{Duration, Instant};

/// What came of building a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphReport {
    /// The beam width that holds the floor; the graph's file carries it as its default.
    pub ef: usize,
    /// The share of the ten nearest rows that a walk with that beam finds, on the sample; 0 to 1.
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
/// Fails with [`ErrorKind::Gate`], and writes nothing, when no beam holds the floor.
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
    if measured.recall < floor {
        let (recall, ef) = (measured.recall, measured.ef);
        let message = format!("the graph finds {recall:.4} of the ten nearest rows with ef {ef}, the floor is {floor}");
        return Err(Error::new(ErrorKind::Gate, message).hint("try the other `--graph-builder`"));
    }
    graph.write(&folder.join(GRAPH_FILE), measured.ef)?;
    Ok(GraphReport {
        ef: measured.ef,
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
    use super::super::graph::Graph;
    use super::super::rows::tests::{clustered, mapped};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_floor_no_beam_holds_is_refused_and_nothing_written() {
        let (folder, rows) = mapped(4, &clustered(50, 4, 5, 0.5, 1));
        let options = GraphOptions::default();
        let error = build_graph(folder.path(), &rows, GraphBuilder::Parallax, &options, 1.5, &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gate);
        assert!(!folder.path().join(GRAPH_FILE).exists());
        assert_eq!(Graph::open(&folder.path().join(GRAPH_FILE), 50).err().map(|e| e.kind()), Some(ErrorKind::NotFound));
    }
}

//! The one door to hnsw_rs: the same rows in, the same kind of graph out as [`build`](super::build).
//!
//! It is the independent oracle of our own builder, and can be chosen instead of it. What goes in are row numbers, not
//! rows: hnsw_rs keeps a copy of each point it is given, and a number is a small copy. The distance is ours, computed on
//! the mapped rows and never negative, since hnsw_rs panics on a distance that is negative or no number:
//!
//! ```text
//! distance(x, y) = max(0, R² − x·y),   R the length of the longest row
//! ```
//!
//! Rows are inserted one after another, as its parallel insertion gives another graph each time. Of what comes out, a
//! link is kept where both its rows are on its level (hnsw_rs holds others too); then everything is made reachable.
//! Its dump and reload are never used: the graph goes into our own format.
//!
//! Cost: measured at about four times our builder's time, and about 2.5 kB of memory a row until it is done.

use super::adjacency::Adjacency;
use super::options::GraphOptions;
use super::repair::repair;
use super::space::Space;
use super::store::Store;
use crate::error::Result;
use crate::progress::{Progress, Stage};
use hnsw_rs::prelude::{Distance, Hnsw};

/// Levels hnsw_rs allows.
const LEVELS: usize = 16;

/// hnsw_rs' view of our rows: a point is one number, the row's.
struct RowDistance<'a> {
    space: Space<'a>,
    radius2: f32,
}

impl Distance<u32> for RowDistance<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        // `max` also turns a NaN (from a damaged row) into 0.
        (self.radius2 - self.space.similarity(a[0], b[0])).max(0.0)
    }
}

/// Builds the graph over the rows, on the calling thread. Levels are drawn by hnsw_rs, whose seed is fixed; the options'
/// seed is not used. Fails on options out of range, or when told to stop.
pub fn build(store: &Store, options: &GraphOptions, progress: &dyn Progress) -> Result<Adjacency> {
    options.check()?;
    let space = Space::new(store);
    progress.begin(Stage::Graph, Some(space.len() as u64));
    let (next, nodes) = space.duplicates();
    let radius2 = nodes.iter().map(|node| space.similarity(*node, *node)).fold(0.0, f32::max);
    let distance = RowDistance { space, radius2 };
    let hnsw = Hnsw::new(options.m, nodes.len(), LEVELS, options.ef_construction, distance);
    for node in &nodes {
        progress.checkpoint()?;
        hnsw.insert((&[*node], *node as usize));
        progress.advance(Stage::Graph, 1);
    }
    let mut graph = convert(&hnsw, options.m, &nodes, next);
    repair(&space, options, &mut graph);
    progress.advance(Stage::Graph, (space.len() - nodes.len()) as u64);
    progress.finish(Stage::Graph);
    Ok(graph)
}

/// The graph of hnsw_rs in our tables.
fn convert(hnsw: &Hnsw<'_, u32, RowDistance<'_>>, m: usize, nodes: &[u32], next: Vec<u32>) -> Adjacency {
    let mut levels = vec![0; next.len()];
    if nodes.is_empty() {
        return Adjacency::unlinked(m, &levels, next);
    }
    for point in hnsw.get_point_indexation() {
        levels[point.get_origin_id()] = point.get_point_id().0;
    }
    let mut graph = Adjacency::unlinked(m, &levels, next);
    for point in hnsw.get_point_indexation() {
        let node = point.get_origin_id();
        for (level, mut list) in point.get_neighborhood_id().into_iter().enumerate().take(usize::from(levels[node]) + 1)
        {
            list.retain(|link| link.d_id != node && usize::from(levels[link.d_id]) >= level);
            list.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.d_id.cmp(&b.d_id)));
            list.dedup_by_key(|link| link.d_id);
            graph.set(node as u32, level, list.iter().map(|link| link.d_id as u32));
        }
    }
    let highest = nodes.iter().copied().max_by_key(|node| (levels[*node as usize], std::cmp::Reverse(*node)));
    graph.entry = highest.unwrap_or(super::walk::NONE);
    graph
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::super::build::tests::recall;
    use super::super::repair::orphans;
    use super::super::rows::tests::clustered;
    use super::super::store::tests::stored;
    use super::*;
    use crate::progress::Silent;

    /// The independent oracle: two builders that share no insertion code find the same neighbours.
    #[test]
    fn both_builders_find_alike() {
        for (clusters, spread) in [(1, 1.0), (60, 0.4)] {
            let (_folder, rows) = stored(32, &clustered(2000, 32, clusters, spread, 5));
            let queries = clustered(200, 32, clusters, spread, 5 + (1 << 40));
            let options = GraphOptions::default();
            let theirs = build(&rows, &options, &Silent).unwrap();
            assert_eq!(orphans(&theirs), 0);
            let ours = build::build(&rows, &options, &Silent).unwrap();
            for ef in [32, 100] {
                let (theirs, ours) = (recall(&rows, &theirs, &queries, ef), recall(&rows, &ours, &queries, ef));
                // hnsw_rs links each row to 2m on level 0 where we link to m, so it may find more with a narrow beam.
                assert!((theirs - ours).abs() < 0.05, "{clusters} clusters, ef {ef}: theirs {theirs}, ours {ours}");
                assert!(ef < 100 || ours > 0.97, "{ours}");
            }
        }
    }

    #[test]
    fn few_rows_equal_rows_and_zero_rows_work_the_same_each_time() {
        for values in [vec![], vec![1.0, 0.0], vec![0.0; 6], [0.6, 0.8, 1.0, 0.0, 0.0, 0.0].repeat(30)] {
            let (_folder, rows) = stored(2, &values);
            let graph = build(&rows, &GraphOptions::default(), &Silent).unwrap();
            assert_eq!((graph.len(), orphans(&graph)), (values.len() / 2, 0));
            assert_eq!(graph, build(&rows, &GraphOptions::default(), &Silent).unwrap());
        }
    }
}

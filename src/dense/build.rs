//! Our builder of neighbour graphs: HNSW over flat tables, the same graph whatever the number of threads.
//!
//! In: an index's rows. Out: an [`Adjacency`] in which every row can be reached from the entry point.
//!
//! Each row draws a level, `⌊−ln u / ln m⌋`, so that level `l` holds one row in `mˡ`. Rows enter in ordinal order, in
//! batches of at most 64:
//!
//! 1. *Find*, side by side: every row of the batch walks the graph as the last batch left it and meets its
//!    `ef_construction` nearest rows on each of its levels; the other rows of the batch, which that graph does not hold
//!    yet, are all compared with. Of these candidates it links to at most `m`, chosen by the rule below.
//! 2. *Answer*, side by side: every row linked to takes the new rows into its own list, and where they do not fit (2m on
//!    level 0, m above) chooses again by the same rule.
//!
//! Nothing is written while anything is read, so no thread's pace can change the outcome.
//!
//! The rule: go through the candidates from the nearest and take one only if it is nearer to the row than to any taken
//! before. So links spread over directions, which keeps walks from being caught in a cluster.
//!
//! ```
//! # use parallax::dense::{GraphOptions, ROWS_FILE, Store, build, rows::RowsWriter};
//! # use parallax::{encoder::contract::Embeddings, progress::Silent};
//! # fn main() -> parallax::Result<()> {
//! # let folder = tempfile::tempdir().map_err(|e| parallax::Error::bug(e.to_string()))?;
//! # let path = folder.path().join("rows.bin");
//! # let mut writer = RowsWriter::create(&path, 2)?;
//! writer.append(&Embeddings::new(2, vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0]))?;
//! # writer.finish()?;
//! let graph = build::build(&Store::open(folder.path())?, &GraphOptions::default(), &Silent)?;
//! assert_eq!(graph.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! Cost: about `15 · ef_construction` products a row, and `4 · (2m + 2)` bytes a row; rows are not copied.
//!
//! Sources: Y. Malkov, D. Yashunin, Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs, 2016 (algorithms 1 and 4); building in batches against a frozen graph after M. Manohar
//! et al., ParlayANN: Scalable and Deterministic Parallel Graph-Based Approximate Nearest Neighbor Search Algorithms,
//! 2024, whose batches do not look at themselves.

use super::adjacency::Adjacency;
use super::options::GraphOptions;
use super::repair::repair;
use super::space::Space;
use super::store::Store;
use super::walk::{NONE, Scratch, Scratches};
use crate::error::Result;
use crate::progress::{Progress, Stage};
use crate::random::scramble;
use rayon::prelude::*;

/// Rows that enter together: enough work for a core each, few enough that comparing all of them costs little.
const BATCH: usize = 64;

/// No level is higher; with m = 2 a level holds half of the one below, and there are fewer than 2³¹ rows.
const TOP: u32 = 31;

/// Builds the graph over the rows, in the rayon pool it is called in. Fails on options out of range, or when told to
/// stop.
pub fn build(store: &Store, options: &GraphOptions, progress: &dyn Progress) -> Result<Adjacency> {
    options.check()?;
    let space = Space::new(store);
    progress.begin(Stage::Graph, Some(space.len() as u64));
    let (next, nodes) = space.duplicates();
    let mut levels = vec![0; space.len()];
    for node in &nodes {
        levels[*node as usize] = level(*node, options);
    }
    let graph = Adjacency::unlinked(options.m, &levels, next);
    let mut builder = Builder { space: &space, options, graph, scratches: Scratches::default() };
    progress.advance(Stage::Graph, (space.len() - nodes.len()) as u64);
    let mut start = 0;
    while start < nodes.len() {
        progress.checkpoint()?;
        // The first batches double, so that each finds a graph at least as large as itself.
        let batch = &nodes[start..nodes.len().min(start + start.clamp(1, BATCH))];
        builder.insert(batch);
        start += batch.len();
        progress.advance(Stage::Graph, batch.len() as u64);
    }
    let mut graph = builder.graph;
    repair(&space, options, &mut graph);
    progress.finish(Stage::Graph);
    Ok(graph)
}

/// The level a row draws: a function of seed and ordinal alone.
fn level(row: u32, options: &GraphOptions) -> u8 {
    let bits = scramble(options.seed ^ scramble(u64::from(row)));
    // In (0, 1]: the logarithm is finite and not positive.
    let u = ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-u.ln() / (options.m as f64).ln()).min(f64::from(TOP)) as u8
}

/// A row with its similarity to the one it is considered for.
pub(super) type Candidate = (u32, f32);

/// A new row's wish to stand in another's list.
struct Offer {
    level: usize,
    to: u32,
    from: u32,
    similarity: f32,
}

struct Builder<'a> {
    space: &'a Space<'a>,
    options: &'a GraphOptions,
    graph: Adjacency,
    scratches: Scratches,
}

impl Builder<'_> {
    /// Links a batch of rows into the graph.
    fn insert(&mut self, batch: &[u32]) {
        let found: Vec<Vec<Vec<Candidate>>> = batch
            .par_iter()
            .with_max_len(1)
            .map(|node| self.scratches.with(|scratch| self.links(*node, batch, scratch)))
            .collect();
        let mut offers = Vec::new();
        for (node, levels) in batch.iter().zip(&found) {
            for (level, links) in levels.iter().enumerate() {
                self.graph.set(*node, level, links.iter().map(|link| link.0));
                offers.extend(links.iter().map(|(to, similarity)| Offer {
                    level,
                    to: *to,
                    from: *node,
                    similarity: *similarity,
                }));
            }
        }
        offers.sort_unstable_by_key(|offer| (offer.level, offer.to, offer.from));
        let groups: Vec<&[Offer]> = offers.chunk_by(|a, b| (a.level, a.to) == (b.level, b.to)).collect();
        let lists: Vec<Vec<u32>> = groups.par_iter().map(|group| self.answer(group)).collect();
        for (group, list) in groups.iter().zip(lists) {
            self.graph.set(group[0].to, group[0].level, list.into_iter());
        }
        for node in batch {
            let view = self.graph.view();
            if view.entry == NONE || view.level(*node) > view.level(view.entry) {
                self.graph.entry = *node;
            }
        }
    }

    /// The rows a new row links to, on each of its levels.
    fn links(&self, node: u32, batch: &[u32], scratch: &mut Scratch) -> Vec<Vec<Candidate>> {
        let view = self.graph.view();
        let own = view.level(node);
        let beside = self.space.beside(node);
        let mut score = |others: &[u32], out: &mut Vec<f32>| beside.at(others, out);
        let mates: Vec<u32> = batch.iter().copied().filter(|mate| *mate != node).collect();
        let mut nearness = Vec::new();
        score(&mates, &mut nearness);
        let mut links = vec![Vec::new(); own + 1];
        let mut starts: Vec<Candidate> = view.descend(own, scratch, &mut score).into_iter().collect();
        for level in (0..=own).rev() {
            let mut candidates = Vec::new();
            if view.entry != NONE && level <= view.level(view.entry) {
                view.explore(level, &starts, self.options.ef_construction, scratch, &mut score);
                candidates.extend(scratch.found());
                starts.clone_from(&candidates);
            }
            let mates = mates.iter().copied().zip(nearness.iter().copied());
            candidates.extend(mates.filter(|(mate, _)| view.level(*mate) >= level));
            links[level] = select(self.space, candidates, self.options.m);
        }
        links
    }

    /// The list of a row after the new rows that offered themselves were taken in.
    fn answer(&self, offers: &[Offer]) -> Vec<u32> {
        let Offer { to, level, .. } = offers[0];
        let room = if level == 0 { 2 * self.options.m } else { self.options.m };
        let mut list: Vec<u32> = self.graph.view().neighbours(to, level).collect();
        let held = list.len();
        let newcomers = offers.iter().filter(|offer| !list.contains(&offer.from));
        let newcomers: Vec<Candidate> = newcomers.map(|offer| (offer.from, offer.similarity)).collect();
        if held + newcomers.len() <= room {
            list.extend(newcomers.iter().map(|newcomer| newcomer.0));
            return list;
        }
        let mut scores = Vec::with_capacity(held);
        self.space.beside(to).at(&list, &mut scores);
        let candidates = list.into_iter().zip(scores).chain(newcomers).collect();
        select(self.space, candidates, room).into_iter().map(|candidate| candidate.0).collect()
    }
}

/// At most `room` of the candidates, nearest first, each nearer to the row they are for than to any taken before.
pub(super) fn select(space: &Space<'_>, mut candidates: Vec<Candidate>, room: usize) -> Vec<Candidate> {
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut taken: Vec<Candidate> = Vec::with_capacity(room);
    for candidate in candidates {
        if taken.len() == room {
            break;
        }
        let beside = space.beside(candidate.0);
        if taken.iter().all(|other| beside.one(other.0) <= candidate.1) {
            taken.push(candidate);
        }
    }
    taken
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::graph::search;
    use super::super::rows::tests::clustered;
    use super::super::store::tests::{stored, stored_int8};
    use super::super::{exact, repair::orphans};
    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;
    use proptest::prelude::*;

    fn built(rows: &Store) -> Adjacency {
        build(rows, &GraphOptions::default(), &Silent).unwrap()
    }

    /// The share of the ten best rows found with a beam of `ef`, over queries `[q, d]`; scores equal to the tenth count.
    pub(crate) fn recall(rows: &Store, graph: &Adjacency, queries: &[f32], ef: usize) -> f64 {
        let mut scratch = Scratch::default();
        let shares: Vec<f64> = queries
            .chunks(rows.rows().dimension())
            .map(|query| {
                let best = exact::search(rows.rows(), query, 10);
                let least = best.as_slice().last().unwrap().1;
                let found = search(graph.view(), rows, query, 10, ef, &mut scratch);
                found.iter().filter(|(_, score)| *score >= least).count() as f64 / best.len() as f64
            })
            .collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    }

    /// Every row, asked for by its own values, is found: the best score is the one exact search gives.
    fn check_finds_itself(rows: &Store, graph: &Adjacency, ef: usize) {
        assert_eq!(orphans(graph), 0);
        let mut scratch = Scratch::default();
        for row in 0..rows.rows().len() {
            let query = rows.rows().row(row);
            let best = exact::search(rows.rows(), &query, 1);
            let found = search(graph.view(), rows, &query, 1, ef, &mut scratch);
            assert_eq!(found, best, "row {row}");
        }
    }

    #[test]
    fn the_graph_is_the_same_for_any_number_of_threads() {
        let values = clustered(1500, 16, 20, 0.7, 1);
        let ((_folder, rows), (_other, small)) = (stored(16, &values), stored_int8(16, &values));
        for rows in [&rows, &small] {
            let graphs: Vec<Adjacency> = (1..4)
                .map(|threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| built(rows))
                })
                .collect();
            assert_eq!(graphs[0], graphs[1]);
            assert_eq!(graphs[0], graphs[2]);
        }
        let other = build(&rows, &GraphOptions { seed: 7, ..Default::default() }, &Silent).unwrap();
        assert_ne!(built(&rows), other, "the seed decides the levels");
    }

    #[test]
    fn most_true_neighbours_are_found() {
        // This builder gives .9985, .9950 and .9965; lists cut to the nearest rows give .9895, .7275 and .9875.
        let floor = 0.99;
        for (d, clusters, spread) in [(16, 1, 1.0), (64, 60, 0.6), (64, 2000, 0.2)] {
            let (_folder, rows) = stored(d, &clustered(3000, d, clusters, spread, 5));
            let found = recall(&rows, &built(&rows), &clustered(200, d, clusters, spread, 5 + (1 << 40)), 128);
            assert!(found >= floor, "d {d}, {clusters} clusters: {found}");
            // Built and walked by int8 rows it is as good, the best being scored from the f32 rows.
            let (_folder, rows) = stored_int8(d, &clustered(3000, d, clusters, spread, 5));
            let found = recall(&rows, &built(&rows), &clustered(200, d, clusters, spread, 5 + (1 << 40)), 128);
            assert!(found >= floor, "int8, d {d}, {clusters} clusters: {found}");
        }
    }

    #[test]
    fn rows_that_enter_together_find_each_other() {
        // Sixteen rows of a cluster follow one another, as passages of an article do.
        let d = 32;
        let spread = clustered(1024, d, 64, 0.3, 5);
        let values: Vec<f32> = (0..1024)
            .flat_map(|i| {
                // Row i of `spread` is of cluster 31·i mod 64; the inverse of 31 there is 31.
                let row = (i / 16 * 31) % 64 + i % 16 * 64;
                spread[row * d..][..d].to_vec()
            })
            .collect();
        let (_folder, rows) = stored(d, &values);
        let found = recall(&rows, &built(&rows), &values, 20);
        assert!(found >= 0.99, "{found}");
    }

    #[test]
    fn rows_of_unequal_length_are_found_too() {
        let mut values = clustered(3000, 16, 30, 0.8, 2);
        for (i, row) in values.chunks_mut(16).enumerate() {
            let length = 0.2 + 3.0 * ((i * 37 % 100) as f32 / 100.0);
            row.iter_mut().for_each(|value| *value *= length);
        }
        let (_folder, rows) = stored(16, &values);
        let graph = built(&rows);
        let found = recall(&rows, &graph, &clustered(200, 16, 30, 0.8, 99), 128);
        assert!(found >= 0.98, "{found}");
        assert_eq!(orphans(&graph), 0);
    }

    #[test]
    fn every_row_finds_itself_among_clusters_duplicates_and_zeros() {
        let d = 12;
        let mut values = clustered(2000, d, 15, 0.05, 3);
        for row in 0..600 {
            // Thirty in a hundred repeat one of three rows; twenty rows are zero; twenty nearly repeat one.
            match row {
                0..560 => {
                    values.copy_within(row % 3 * d + 1999 * d - 3 * d..row % 3 * d + 1999 * d - 2 * d, row * 3 * d)
                }
                560..580 => values[row * 3 * d..][..d].fill(0.0),
                _ => {
                    values.copy_within(0..d, row * 3 * d);
                    values[row * 3 * d] += row as f32 * 1e-7;
                }
            }
        }
        let (_folder, rows) = stored(d, &values);
        check_finds_itself(&rows, &built(&rows), 64);
    }

    #[test]
    fn few_rows_and_alike_rows_work() {
        for values in [vec![], vec![1.0, 0.0], vec![1.0, 0.0, 0.0, 1.0], vec![0.0; 10], [0.6, 0.8].repeat(70)] {
            let (_folder, rows) = stored(2, &values);
            let graph = built(&rows);
            let found = search(graph.view(), &rows, &[1.0, 0.5], 1000, 10, &mut Scratch::default());
            assert_eq!(found, exact::search(rows.rows(), &[1.0, 0.5], 1000), "{} rows", values.len());
        }
    }

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lists_hold_other_rows_once_and_everything_is_reachable(
            values in prop::collection::vec(-3i8..4, 0..300), m in 2usize..5
        ) {
            let values: Vec<f32> = values[..values.len() / 2 * 2].iter().map(|v| f32::from(*v)).collect();
            let (_folder, rows) = stored(2, &values);
            let graph = build(&rows, &GraphOptions { m, ef_construction: 8, seed: 3 }, &Silent).unwrap();
            prop_assert_eq!(orphans(&graph), 0);
            let view = graph.view();
            for node in 0..graph.len() as u32 {
                for level in 0..=view.level(node) {
                    let mut list: Vec<u32> = view.neighbours(node, level).collect();
                    prop_assert!(!list.contains(&node));
                    prop_assert!(list.iter().all(|neighbour| view.level(*neighbour) >= level));
                    let length = list.len();
                    list.sort_unstable();
                    list.dedup();
                    prop_assert_eq!(list.len(), length);
                }
            }
        }
    }

    #[test]
    fn levels_thin_out_by_m() {
        let options = GraphOptions::default();
        let levels: Vec<u8> = (0..160_000).map(|row| level(row, &options)).collect();
        let on = |l: u8| levels.iter().filter(|level| **level >= l).count() as f64;
        // Expected 10,000 and 625 rows; five standard deviations.
        assert!((on(1) - 10_000.0).abs() < 500.0 && (on(2) - 625.0).abs() < 125.0, "{} {}", on(1), on(2));
    }

    #[test]
    fn it_stops_when_told_to() {
        struct Stop;
        impl Progress for Stop {
            fn cancelled(&self) -> bool {
                true
            }
        }
        let (_folder, rows) = stored(2, &[1.0, 0.0]);
        let stopped = build(&rows, &GraphOptions::default(), &Stop);
        assert_eq!(stopped.err().map(|e| e.kind()), Some(ErrorKind::Interrupted));
    }
}

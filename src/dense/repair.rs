//! Reachability: every node can be reached from the entry point, or is made reachable.
//!
//! In: a graph. Out: the same graph with, where needed, a few links changed.
//!
//! Pruned lists may leave a row that nobody links to, and such a row is never found. A breadth-first search on level 0
//! from the entry point shows which rows are reachable and by which link each was reached first; these links form a
//! tree. An unreachable row is then linked from its nearest reachable row that has room, or that holds a link outside
//! the tree, the farthest of which gives way: no other row loses its way by that. What the row itself leads to is
//! reachable from then on.
//!
//! Cost: one pass over the lists, and one walk a repaired row.

use super::adjacency::Adjacency;
use super::options::GraphOptions;
use super::space::Space;
use super::walk::{NONE, Scratch};
use std::collections::VecDeque;

/// By which row each was reached first: itself at the entry point, [`NONE`] where it was not.
struct Tree(Vec<u32>);

impl Tree {
    /// Marks everything that `from` leads to; `from` is in the tree.
    fn grow(&mut self, graph: &Adjacency, from: u32) {
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            for neighbour in graph.view().neighbours(node, 0) {
                let parent = &mut self.0[neighbour as usize];
                if *parent == NONE {
                    *parent = node;
                    queue.push_back(neighbour);
                }
            }
        }
    }

    fn of(graph: &Adjacency) -> Self {
        let mut tree = Tree(vec![NONE; graph.len()]);
        if graph.entry != NONE {
            tree.0[graph.entry as usize] = graph.entry;
            tree.grow(graph, graph.entry);
        }
        tree
    }

    fn holds(&self, node: u32) -> bool {
        self.0[node as usize] != NONE
    }
}

/// Which rows no walk on level 0 from the entry point can meet; a row that repeats another is met with it.
fn unreachable(graph: &Adjacency, tree: &Tree) -> Vec<u32> {
    let mut repeats = vec![false; graph.len()];
    graph.next.iter().filter(|next| **next != NONE).for_each(|next| repeats[*next as usize] = true);
    (0..graph.len() as u32).filter(|row| !repeats[*row as usize] && !tree.holds(*row)).collect()
}

/// How many rows cannot be reached from the entry point.
pub(super) fn orphans(graph: &Adjacency) -> usize {
    unreachable(graph, &Tree::of(graph)).len()
}

/// Links every unreachable row from a reachable one, and counts them in the graph.
pub(super) fn repair(space: &Space<'_>, options: &GraphOptions, graph: &mut Adjacency) {
    let mut tree = Tree::of(graph);
    let lost = unreachable(graph, &tree);
    let mut scratch = Scratch::default();
    for row in lost {
        if tree.holds(row) {
            continue;
        }
        // From the entry point a walk meets reachable rows only.
        let beside = space.beside(row);
        let mut score = |others: &[u32], out: &mut Vec<f32>| beside.at(others, out);
        let start = (graph.entry, beside.one(graph.entry));
        graph.view().explore(0, &[start], options.ef_construction, &mut scratch, &mut score);
        let near = scratch.found().map(|(node, _)| node);
        // A tree has fewer links than lists have room, so some row of it can always take one more.
        let anywhere = (0..graph.len() as u32).filter(|node| tree.holds(*node));
        let place = near.chain(anywhere).find_map(|node| Some((node, free(space, graph, &tree, node)?)));
        if let Some((node, place)) = place {
            graph.list_mut(node, 0)[place] = row;
            tree.0[row as usize] = node;
            tree.grow(graph, row);
            graph.repaired += 1;
        }
    }
}

/// The place in a row's list where another link may stand: behind the last, or where the farthest link outside the
/// tree is.
fn free(space: &Space<'_>, graph: &Adjacency, tree: &Tree, node: u32) -> Option<usize> {
    let list: Vec<u32> = graph.view().neighbours(node, 0).collect();
    if list.len() < 2 * graph.m {
        return Some(list.len());
    }
    let spare = list.iter().enumerate().filter(|(_, neighbour)| tree.0[**neighbour as usize] != node);
    let far = |neighbour: &u32| space.similarity(node, *neighbour);
    spare.min_by(|a, b| far(a.1).total_cmp(&far(b.1))).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{clustered, mapped};
    use super::super::store::Store;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Random graphs, most of them in pieces, with full lists or empty ones: the hardest are lists of two.
        #[test]
        fn everything_is_reachable_afterwards(
            n in 2u32..40, full in any::<bool>(), links in prop::collection::vec(any::<u32>(), 80)
        ) {
            let (_folder, rows) = mapped(4, &clustered(n as usize, 4, 3, 0.5, 1));
            let store = Store::of(rows);
            let space = Space::new(&store);
            let mut graph = Adjacency::unlinked(1, &vec![0; n as usize], vec![NONE; n as usize]);
            graph.entry = 0;
            for node in 0..n {
                let (a, b) = ((node + 1) % n, links[2 * node as usize] % n);
                let list: Vec<u32> = [a, b].into_iter().filter(|other| full && *other != node).collect();
                // A ring without the links to every fifth row, which mostly leaves it in pieces.
                graph.set(node, 0, list.into_iter().filter(|other| other % 5 != 0));
            }
            let before = orphans(&graph);
            repair(&space, &GraphOptions { m: 2, ef_construction: 8, seed: 1 }, &mut graph);
            prop_assert_eq!(orphans(&graph), 0);
            prop_assert!(graph.repaired() <= before && (before == 0) == (graph.repaired() == 0));
        }
    }

    #[test]
    fn a_lost_row_is_linked_from_its_nearest() {
        let (_folder, rows) = mapped(2, &[1.0, 0.0, 0.0, 1.0, 0.1, 1.0]);
        let mut graph = Adjacency::unlinked(2, &[0; 3], vec![NONE; 3]);
        graph.entry = 0;
        graph.set(0, 0, [1].into_iter());
        assert_eq!(orphans(&graph), 1);
        repair(&Space::new(&Store::of(rows)), &GraphOptions::default(), &mut graph);
        assert_eq!(graph.view().neighbours(1, 0).collect::<Vec<_>>(), [2]);
        assert_eq!((orphans(&graph), graph.repaired()), (0, 1));
    }
}

//! A graph in memory, in the tables its file will have; see [`graph`](super::graph) for what each holds.

use super::walk::{NONE, View};

/// The greatest `m` a graph may have.
pub const MAX_M: usize = 128;

/// A graph in memory: what builders give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjacency {
    pub(super) m: usize,
    pub(super) entry: u32,
    pub(super) base: Vec<u32>,
    pub(super) upper: Vec<u32>,
    pub(super) first: Vec<u32>,
    pub(super) next: Vec<u32>,
    pub(super) repaired: usize,
}

impl Adjacency {
    /// A graph without links; `levels[v]` is how many levels above 0 row `v` is on.
    pub(super) fn unlinked(m: usize, levels: &[u8], next: Vec<u32>) -> Self {
        let mut slots = 0;
        let mut first = vec![0];
        first.extend(levels.iter().map(|level| {
            slots += u32::from(*level);
            slots
        }));
        let base = vec![NONE; levels.len() * 2 * m];
        let upper = vec![NONE; slots as usize * m];
        Adjacency { m, entry: NONE, base, upper, first, next, repaired: 0 }
    }

    /// Rows the graph is over.
    pub fn len(&self) -> usize {
        self.next.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Rows that nothing led to until they were linked anew.
    pub fn repaired(&self) -> usize {
        self.repaired
    }

    pub(super) fn view(&self) -> View<'_> {
        let Adjacency { m, entry, base, upper, first, next, .. } = self;
        View { m: *m, entry: *entry, base, upper, first, next }
    }

    /// A node's list on a level it is on, with the room after its last neighbour.
    pub(super) fn list_mut(&mut self, node: u32, level: usize) -> &mut [u32] {
        match level {
            0 => &mut self.base[node as usize * 2 * self.m..][..2 * self.m],
            _ => &mut self.upper[(self.first[node as usize] as usize + level - 1) * self.m..][..self.m],
        }
    }

    /// Replaces a node's neighbours on a level; they fit its list.
    pub(super) fn set(&mut self, node: u32, level: usize, neighbours: impl Iterator<Item = u32>) {
        let list = self.list_mut(node, level);
        list.fill(NONE);
        list.iter_mut().zip(neighbours).for_each(|(place, neighbour)| *place = neighbour);
    }
}

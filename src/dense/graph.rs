//! The neighbour graph as it lies on disk: flat, checksummed, checked at opening, searched in place.
//!
//! In: an [`Adjacency`] from a builder. Out: a [`Graph`] that answers queries over the mapped rows it was built for.
//!
//! A [sealed file](crate::storage) with magic `PLXGRAPH`, version 1. Its four numbers are the rows `n`; `m` in the low
//! and the default `ef` in the high 32 bits; the entry point; and `s`, the number of upper lists. The payload is four
//! tables of little-endian `u32`:
//!
//! ```text
//! base   n × 2m   neighbours on level 0; 2³²-1 after the last
//! upper  s × m    neighbours on the levels above, the lists of a node together, level 1 first
//! first  n + 1    row v has the upper lists first[v] .. first[v + 1], so it is on that many levels above 0
//! next   n        the next row with the same values, or 2³²-1
//! ```
//!
//! Rows with the same values are one node, the first of them; the others hang on it by `next` and are ranked with it.
//! Otherwise a passage repeated a thousand times, or a thousand zero rows, would fill every list and every beam.
//!
//! Opening checks every number a walk will follow, so that no damage, found or not, leads outside a table.
//!
//! Cost: `4 · (2m + 2) · n` bytes and a little more, 136 a row for m = 16; opening reads them once, measured at 2 ms
//! for 104,000 rows.

use super::adjacency::{Adjacency, MAX_M};
use super::rows::is_zero;
use super::scorer::Scorer;
use super::store::Store;
use super::walk::{NONE, Scratch, View};
use crate::collection::Ordinal;
use crate::collection::run::Ranking;
use crate::error::{Error, Result};
use crate::storage::{Sealed, SealedWriter};
use std::path::Path;

const MAGIC: &[u8; 8] = b"PLXGRAPH";
const VERSION: u32 = 1;

/// The graph's file in an index folder.
pub const GRAPH_FILE: &str = "graph.bin";

impl Adjacency {
    /// Writes the graph with the beam width that searches use unless told another.
    pub fn write(&self, path: &Path, ef: usize) -> Result<()> {
        let mut file = SealedWriter::create(path, MAGIC, VERSION)?;
        for table in [&self.base, &self.upper, &self.first, &self.next] {
            if cfg!(target_endian = "little") {
                file.write(bytemuck::cast_slice(table))?;
            } else {
                table.iter().try_for_each(|number| file.write(&number.to_le_bytes()))?;
            }
        }
        let slots = (self.upper.len() / self.m) as u64;
        let ef = u64::from(u32::try_from(ef).unwrap_or(u32::MAX));
        file.finish([self.len() as u64, self.m as u64 | ef << 32, u64::from(self.entry), slots])
    }
}

/// A finished graph file, mapped.
pub struct Graph {
    file: Sealed,
    rows: usize,
    m: usize,
    ef: usize,
    entry: u32,
    slots: usize,
}

impl Graph {
    /// Maps a graph over `rows` rows after checking every number a search will follow.
    pub fn open(path: &Path, rows: usize) -> Result<Self> {
        let file = Sealed::open(path, MAGIC, VERSION)?;
        let damaged = |message: String| Error::damaged(path, message).hint("build the index anew with `--force`");
        let [n, packed, entry, slots] = file.fields();
        let (m, ef) = (packed & 0xffff_ffff, packed >> 32);
        if n != rows as u64 {
            return Err(damaged(format!("the graph is over {n} rows, the index has {rows}")));
        }
        if m == 0 || m > MAX_M as u64 || ef == 0 {
            return Err(damaged(format!("the header says m = {m} and ef = {ef}")));
        }
        let numbers = file.values::<u32>()?.len() as u64;
        // n and m are bounded by now, so only the slots could overflow.
        let wanted = slots.checked_mul(m).and_then(|upper| upper.checked_add(n * 2 * m + n + 1 + n));
        if wanted != Some(numbers) {
            return Err(damaged(format!("{numbers} numbers are not the tables of {n} rows with {slots} upper lists")));
        }
        let entry = u32::try_from(entry).map_err(|_| damaged(format!("entry point {entry}")))?;
        let graph = Graph { m: m as usize, ef: ef as usize, entry, slots: slots as usize, rows, file };
        check(graph.view()).map_err(damaged)?;
        Ok(graph)
    }

    fn view(&self) -> View<'_> {
        // Opening saw that the tables are there.
        let numbers = self.file.values::<u32>().unwrap_or_default();
        let (base, numbers) = numbers.split_at(self.rows * 2 * self.m);
        let (upper, numbers) = numbers.split_at(self.slots * self.m);
        let (first, next) = numbers.split_at(self.rows + 1);
        View { m: self.m, entry: self.entry, base, upper, first, next }
    }

    /// The beam width that met the build's floor: what searches use unless told another.
    pub fn ef(&self) -> usize {
        self.ef
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> u64 {
        self.file.payload().len() as u64
    }

    /// Reads every byte and compares the checksum.
    pub fn verify(&self) -> Result<()> {
        self.file.verify()
    }

    /// Mean number of neighbours on level 0 over the rows that are nodes, and levels in all.
    pub fn shape(&self) -> (f64, usize) {
        let view = self.view();
        let nodes = view.len() - view.next.iter().filter(|next| **next != NONE).count();
        let links = view.base.iter().filter(|neighbour| **neighbour != NONE).count();
        let levels = if self.entry == NONE { 0 } else { view.level(self.entry) + 1 };
        (links as f64 / nodes.max(1) as f64, levels)
    }

    /// The `k` best rows a walk with a beam of `max(ef, k)` finds, scores and ties as exact search gives them.
    /// The rows are those the graph was built over; panics where their number or dimension differs: a bug of the caller.
    pub(super) fn search(
        &self,
        store: &Store,
        query: &[f32],
        k: usize,
        ef: usize,
        scratch: &mut Scratch,
    ) -> Ranking<Ordinal> {
        search(self.view(), store, query, k, ef, scratch)
    }
}

/// Searches the nearest rows in a graph's tables; see [`Graph::search`].
pub(super) fn search(
    view: View<'_>,
    store: &Store,
    query: &[f32],
    k: usize,
    ef: usize,
    scratch: &mut Scratch,
) -> Ranking<Ordinal> {
    let compared = store.compared();
    assert!(compared.len() == view.len() && compared.dimension() == query.len(), "a graph over other rows");
    if k == 0 || is_zero(query) {
        return Ranking::default();
    }
    let scorer = Scorer::new(compared, query);
    let mut score = |nodes: &[u32], out: &mut Vec<f32>| scorer.at(nodes, out);
    let Some(start) = view.descend(0, scratch, &mut score) else { return Ranking::default() };
    view.explore(0, &[start], ef.max(k), scratch, &mut score);
    let wanted = store.candidates(k);
    let (mut found, mut scores) = (Vec::new(), Vec::new());
    let mut worst = f32::INFINITY;
    for (node, score) in scratch.found() {
        if found.len() >= wanted && score < worst {
            break;
        }
        worst = score;
        found.push(node);
        scores.push(score);
        let mut row = node;
        for _ in 1..k {
            row = view.next[row as usize];
            if row == NONE {
                break;
            }
            // Equal rows have equal scores; computed all the same, so that no damage lends a row another's score.
            found.push(row);
            scores.push(scorer.one(row));
        }
    }
    store.rescore(query, &found, &mut scores);
    let ranked = found.into_iter().zip(scores).map(|(row, score)| (Ordinal(row), f64::from(score)));
    Ranking::new(ranked.collect()).truncated(k)
}

/// Says what is wrong with the tables, where a walk could leave them or never end.
fn check(view: View<'_>) -> std::result::Result<(), String> {
    let n = view.len() as u32;
    let slots = (view.upper.len() / view.m) as u32;
    if view.first[0] != 0 || view.first[n as usize] != slots || view.first.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err("the table of levels does not rise from 0 to the number of upper lists".into());
    }
    if (n == 0) != (view.entry == NONE) || (n > 0 && view.entry >= n) {
        return Err(format!("the entry point {} is no row of {n}", view.entry));
    }
    // Adding one turns NONE into 0, so one comparison serves both; a maximum over the table is quick.
    if view.base.iter().fold(0, |most, neighbour| most.max(neighbour.wrapping_add(1))) > n {
        return Err("a neighbour on level 0 is no row".into());
    }
    if view.next.iter().enumerate().any(|(row, next)| *next != NONE && (*next as usize <= row || *next >= n)) {
        return Err("the chain of equal rows does not rise".into());
    }
    for node in 0..n {
        for level in 1..=view.level(node) {
            if view.neighbours(node, level).any(|neighbour| neighbour >= n || view.level(neighbour) < level) {
                return Err(format!("row {node} has a neighbour on level {level} that is not there"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::build::build;
    use super::super::exact;
    use super::super::options::GraphOptions;
    use super::super::rows::tests::{clustered, mapped};
    use super::super::store::Store;
    use super::*;
    use crate::error::ErrorKind;
    use crate::progress::Silent;
    use proptest::prelude::*;

    /// Thirty rows in three dimensions, four of them alike, on several levels.
    fn small() -> (tempfile::TempDir, Store, Adjacency) {
        let mut values = clustered(30, 3, 5, 0.5, 1);
        for row in [9, 20, 29] {
            values.copy_within(6..9, row * 3);
        }
        let (folder, rows) = mapped(3, &values);
        let rows = Store::of(rows);
        let graph = build(&rows, &GraphOptions { m: 2, ef_construction: 10, seed: 1 }, &Silent).unwrap();
        assert!(graph.view().level(graph.entry) >= 2 && graph.next[2] == 9);
        (folder, rows, graph)
    }

    /// Opens a graph file that may hold anything: it is refused as damaged, or searches end without a panic, give
    /// true scores and no row twice.
    fn check_survives(path: &Path, store: &Store) -> std::result::Result<Graph, Error> {
        let rows = store.rows();
        let graph = Graph::open(path, rows.len()).inspect_err(|e| assert_eq!(e.kind(), ErrorKind::Damaged, "{e}"))?;
        let mut scratch = Scratch::default();
        for i in 0..rows.len().min(4) {
            let query = rows.row(i);
            let found = graph.search(store, &query, 7, 9, &mut scratch);
            let every = exact::search(rows, &query, rows.len());
            assert!(found.len() <= 7 && found.as_slice().iter().all(|hit| every.as_slice().contains(hit)));
        }
        graph.shape();
        Ok(graph)
    }

    #[test]
    fn a_written_graph_is_the_one_built() {
        let (folder, rows, built) = small();
        let path = folder.path().join("graph.bin");
        built.write(&path, 77).unwrap();
        let graph = Graph::open(&path, rows.rows().len()).unwrap();
        graph.verify().unwrap();
        let (view, made) = (graph.view(), built.view());
        assert_eq!((graph.ef(), view.m, view.entry), (77, made.m, made.entry));
        assert_eq!((view.base, view.upper), (made.base, made.upper));
        assert_eq!((view.first, view.next), (made.first, made.next));
    }

    #[test]
    fn equal_rows_are_ranked_together_in_order() {
        let (folder, rows, built) = small();
        let path = folder.path().join("graph.bin");
        built.write(&path, 10).unwrap();
        let graph = Graph::open(&path, rows.rows().len()).unwrap();
        for k in 1..6 {
            let query = rows.rows().row(9);
            let found = graph.search(&rows, &query, k, 20, &mut Scratch::default());
            assert_eq!(found, exact::search(rows.rows(), &query, k));
            let order: Vec<u32> = found.iter().map(|(ordinal, _)| ordinal.0).take(4).collect();
            assert_eq!(order, [2, 9, 20, 29][..k.min(4)]);
        }
    }

    #[test]
    fn no_damage_leads_outside_and_all_of_it_is_found() {
        let (folder, rows, built) = small();
        let path = folder.path().join("graph.bin");
        built.write(&path, 10).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for at in 0..good.len() {
            for flip in [0x01, 0x80] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                std::fs::write(&path, &bytes).unwrap();
                match check_survives(&path, &rows) {
                    Ok(graph) => assert!(graph.verify().is_err(), "byte {at}"),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > good.len() / 2, "opening should see most damage, it saw {refused}");
        for length in (0..good.len()).step_by(3) {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(Graph::open(&path, rows.rows().len()).is_err(), "length {length}");
        }
        std::fs::write(&path, &good).unwrap();
        assert!(Graph::open(&path, rows.rows().len() + 1).is_err());
        check_survives(&path, &rows).unwrap();
    }

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Tables of any content under a header with the right checksum.
        #[test]
        fn any_tables_are_refused_or_walked_safely(
            n in 0u32..6, m in 1u32..3, slots in 0u32..4, entry in prop_oneof![0u32..6, Just(NONE)],
            numbers in prop::collection::vec(prop_oneof![4 => 0u32..6, 1 => Just(NONE), 1 => any::<u32>()], 64),
            rising in any::<bool>(),
        ) {
            let values: Vec<f32> = (0..n * 2).map(|i| (i as f32).sin()).collect();
            let (folder, rows) = mapped(2, &values);
            let length = (n * 2 * m + slots * m + n + 1 + n) as usize;
            let mut table: Vec<u32> = numbers.into_iter().cycle().take(length).collect();
            if rising {
                // Levels that are well formed, so that the checks behind them are met as well.
                let first = (n * 2 * m + slots * m) as usize;
                table[first..=first + n as usize].sort_unstable();
                table[first] = 0;
                table[first + n as usize] = slots;
                table[first + n as usize + 1..].fill(NONE);
            }
            let path = folder.path().join("graph.bin");
            let mut file = SealedWriter::create(&path, MAGIC, VERSION).unwrap();
            table.iter().for_each(|number| file.write(&number.to_le_bytes()).unwrap());
            file.finish([u64::from(n), u64::from(m) | 5 << 32, u64::from(entry), u64::from(slots)]).unwrap();
            let _ = check_survives(&path, &Store::of(rows));
        }
    }

    #[test]
    fn headers_that_do_not_fit_are_refused() {
        let (folder, rows) = mapped(2, &[0.0; 2]);
        let path = folder.path().join("graph.bin");
        let none = u64::from(NONE);
        let m1 = 1 | 5 << 32;
        for fields in [
            [1, 5 << 32, 0, 0],
            [1, 129 | 5 << 32, 0, 0],
            [1, 1, 0, 0],
            [1, m1, none, 0],
            [1, m1, 1, 0],
            [1, m1, 1 << 32, 0],
            [1, m1, 0, 1],
            [1, m1, 0, u64::MAX],
            [0, m1, none, 0],
        ] {
            let mut file = SealedWriter::create(&path, MAGIC, VERSION).unwrap();
            [NONE, NONE, 0, 0, NONE].iter().for_each(|number| file.write(&number.to_le_bytes()).unwrap());
            file.finish(fields).unwrap();
            assert_eq!(Graph::open(&path, rows.len()).err().map(|e| e.kind()), Some(ErrorKind::Damaged), "{fields:?}");
        }
    }
}

//! What filters look at in a passage, computed once and kept for the queries that follow.

use super::options::{MineOptions, RelativeMargin};
use super::protect::Shelter;
use crate::collection::{Ordinal, Passage};
use crate::error::Result;
use crate::eval::answers::Tokens;
use crate::sparse::SparseIndex;
use crate::text::shingles::Signature;
use crate::text::twins::{Print, word_hash};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Passages kept between blocks of queries, about 1 KB each, with a signature half as much again.
const KEPT: usize = 1 << 17;

/// A passage as filters see it.
pub(super) struct Features {
    /// Tokens of the text, for answers; none where nobody asks for answers.
    pub(super) tokens: Tokens,
    /// What the text's twins are known by.
    pub(super) print: Print,
    /// Equal for equal titles; `None` for an empty one, and where nobody asks for titles.
    pub(super) title: Option<u64>,
    /// A twin of what answers a protected question.
    pub(super) sheltered: bool,
}

impl Features {
    pub(super) fn of(title: &str, text: &str, marks: Marks) -> Self {
        let print = Print {
            words: marks.words.then(|| word_hash(text)).flatten(),
            signature: marks.signature.then(|| Signature::of(text)).flatten(),
        };
        let tokens = Tokens::of(if marks.tokens { text } else { "" });
        let title = marks.title.then(|| word_hash(title)).flatten();
        Features { tokens, print, title, sheltered: false }
    }
}

/// What of a text anyone looks at: a signature costs more than all else about a passage, tokens more than the search.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) tokens: bool,
    pub(super) title: bool,
    pub(super) words: bool,
    pub(super) signature: bool,
}

impl Marks {
    fn of(options: &MineOptions, shelter: &Shelter) -> Self {
        let filters = &options.filters;
        let all = options.audit.is_some()
            || matches!(filters.relative_margin, Some(RelativeMargin::Auto))
            || !shelter.is_empty();
        Marks {
            tokens: all || filters.answers.is_some(),
            title: all || filters.same_title,
            words: all || filters.exact_duplicate,
            signature: all || filters.near_duplicate.is_some(),
        }
    }
}

/// Features of the passages that recent queries met.
pub(super) struct Cache<'a> {
    sparse: &'a SparseIndex,
    shelter: &'a Shelter,
    marks: Marks,
    kept: ByOrdinal<Arc<Features>>,
    /// Passages that are likely to be written next.
    texts: ByOrdinal<Passage>,
}

impl<'a> Cache<'a> {
    pub(super) fn new(sparse: &'a SparseIndex, options: &MineOptions, shelter: &'a Shelter) -> Self {
        Cache {
            sparse,
            shelter,
            marks: Marks::of(options, shelter),
            kept: ByOrdinal::default(),
            texts: ByOrdinal::default(),
        }
    }

    fn look(&self, ordinal: Ordinal) -> Result<Arc<Features>> {
        let mut features = self.sparse.with_text(ordinal, |title, text| Features::of(title, text, self.marks))?;
        features.sheltered = self.shelter.repeats(&features);
        Ok(Arc::new(features))
    }

    /// Keeps the texts of these passages at hand, and no others. In their order they share blocks, which are unpacked once.
    pub(super) fn hold(&mut self, wanted: Vec<Ordinal>) -> Result<()> {
        let read = |ordinal: &Ordinal| Ok((*ordinal, self.sparse.passage(*ordinal)?));
        self.texts = sorted(wanted).par_iter().map(read).collect::<Result<_>>()?;
        Ok(())
    }

    /// Makes sure of the features of some passages, all cores at work.
    pub(super) fn load(&mut self, wanted: Vec<Ordinal>) -> Result<()> {
        let mut wanted = sorted(wanted);
        // The queries of one article follow each other, so what a block met is likely met by the next one.
        if self.kept.len() > KEPT {
            self.kept.clear();
        }
        wanted.retain(|ordinal| !self.kept.contains_key(ordinal));
        let this = &*self;
        let loaded: Vec<(Ordinal, Arc<Features>)> =
            wanted.par_iter().map(|ordinal| Ok((*ordinal, this.look(*ordinal)?))).collect::<Result<_>>()?;
        self.kept.extend(loaded);
        Ok(())
    }

    /// A passage's features, loaded or not.
    pub(super) fn of(&self, ordinal: Ordinal) -> Result<Arc<Features>> {
        match self.kept.get(&ordinal) {
            Some(features) => Ok(Arc::clone(features)),
            None => self.look(ordinal),
        }
    }

    /// A passage, at hand or not.
    pub(super) fn passage(&self, ordinal: Ordinal) -> Result<Passage> {
        match self.texts.get(&ordinal) {
            Some(passage) => Ok(passage.clone()),
            None => self.sparse.passage(ordinal),
        }
    }
}

/// Ascending, each once.
fn sorted(mut ordinals: Vec<Ordinal>) -> Vec<Ordinal> {
    ordinals.par_sort_unstable();
    ordinals.dedup();
    ordinals
}

/// A table by ordinal.
type ByOrdinal<T> = HashMap<Ordinal, T, BuildHasherDefault<Scatter>>;

/// Scatters ordinals over a table; nobody chooses them, so they need no keyed hash.
#[derive(Default)]
struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = crate::random::scramble(self.0 ^ u64::from(number));
    }
}

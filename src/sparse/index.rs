//! The sparse side, open: ids, passages, statistics; searching stands in `search`.
//!
//! A folder comes in, a [`SparseIndex`] stays open; it maps its files and reads little of them.

use super::analyzer::Analyzer;
use super::finish::{self, LOOKUP_MAGIC, NORMS_MAGIC, VERSION};
use super::guard::damaged;
use super::part::{Part, check_engine_files, part_folder};
use crate::collection::{Ordinal, Passage, PassageId};
use crate::error::{Error, Result};
use crate::storage::Sealed;
use std::path::{Path, PathBuf};

/// Files of tantivy's up to this many bytes are compared with their checksum when an index is opened: its list of
/// segments and what else it reads whole. Postings and terms are guarded where they are read, and checked by `verify`.
const CHECKED_AT_OPEN: u64 = 64 << 10;

/// What a sparse side holds, in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseStats {
    /// Passages.
    pub passages: u64,
    /// Distinct terms: the dimensions of a sparse vector.
    pub vocabulary: u64,
    /// Non-zero entries of all sparse vectors: pairs of a term and a passage that holds it.
    pub postings: u64,
    /// Terms, repeats counted.
    pub tokens: u64,
    /// Terms a passage, mean.
    pub average_length: f64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// The sparse side of a collection, open for searching; shared between threads as it is.
pub struct SparseIndex {
    pub(crate) folder: PathBuf,
    pub(crate) parts: Vec<Part>,
    pub(crate) average_length: f64,
    pub(crate) average_title_length: f64,
    analyzer: Analyzer,
    norms: Sealed,
    lookup: Sealed,
    stats: SparseStats,
}

impl SparseIndex {
    /// Opens and checks a finished sparse side.
    pub fn open(folder: &Path) -> Result<Self> {
        SparseIndex::open_checked(folder, CHECKED_AT_OPEN)
    }

    /// Opens, comparing tantivy's files of up to `whole` bytes with their checksums.
    fn open_checked(folder: &Path, whole: u64) -> Result<Self> {
        let file = finish::read_parts(folder)?;
        let analyzer = Analyzer::from_name(&file.analyzer).map_err(|e| e.in_file(folder.join("parts")))?;
        let mut parts = Vec::with_capacity(file.parts.len());
        let mut passages = 0u64;
        for entry in &file.parts {
            if u64::from(entry.base) != passages {
                return Err(damaged(folder.join("parts"), "the parts do not join"));
            }
            passages += u64::from(entry.passages);
            check_engine_files(&part_folder(folder, entry.number), &entry.files, whole)?;
            if entry.passages > 0 {
                parts.push(Part::open(folder, entry.number, entry.base, entry.passages)?);
            }
        }
        let sidecar = |name: &str, magic, width: u64| {
            let file = Sealed::open(&folder.join(name), magic, VERSION)?;
            if file.payload().len() as u64 != width * passages {
                return Err(damaged(file.path(), format!("the file does not hold {passages} passages")));
            }
            Ok(file)
        };
        let norms = sidecar("norms", NORMS_MAGIC, 4)?;
        let lookup = sidecar("lookup", LOOKUP_MAGIC, 8)?;
        let tokens = parts.iter().map(|part| part.tokens().0).sum::<u64>();
        let title_tokens = parts.iter().map(|part| part.tokens().1).sum::<u64>();
        if tokens != file.tokens {
            return Err(damaged(folder, format!("the parts hold {tokens} terms, their list says {}", file.tokens)));
        }
        let mean = |tokens: u64| if passages == 0 { 0.0 } else { tokens as f64 / passages as f64 };
        let (vocabulary, postings) = (file.vocabulary, file.postings);
        let bytes = finish::bytes(folder)?;
        let stats = SparseStats { passages, vocabulary, postings, tokens, average_length: mean(tokens), bytes };
        Ok(SparseIndex {
            folder: folder.to_path_buf(),
            parts,
            average_length: mean(tokens),
            average_title_length: mean(title_tokens),
            analyzer,
            norms,
            lookup,
            stats,
        })
    }

    /// Number of passages.
    pub fn len(&self) -> usize {
        self.stats.passages as usize
    }

    /// Whether it holds no passage.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The analysis chain passages went through and queries go through.
    pub fn analyzer(&self) -> &Analyzer {
        &self.analyzer
    }

    /// What it holds, in numbers.
    pub fn stats(&self) -> SparseStats {
        self.stats
    }

    /// A passage by ordinal, unpacked from its block.
    pub fn passage(&self, ordinal: Ordinal) -> Result<Passage> {
        let (part, place) = self.locate(ordinal)?;
        part.texts.passage(place)
    }

    /// What a function makes of a passage's title and text, which are not copied. The function must read no passage itself.
    pub(crate) fn with_text<T>(&self, ordinal: Ordinal, make: impl FnOnce(&str, &str) -> T) -> Result<T> {
        let (part, place) = self.locate(ordinal)?;
        part.texts.with(place, |title, text, _| make(title, text))
    }

    /// A passage's id, without reading its text.
    pub fn id(&self, ordinal: Ordinal) -> Result<PassageId> {
        let (part, place) = self.locate(ordinal)?;
        part.texts.id(place).map(PassageId::from)
    }

    /// The id judgments use: the whole passage's for a chunk, its own otherwise.
    pub fn judged_id(&self, ordinal: Ordinal) -> Result<PassageId> {
        let (part, place) = self.locate(ordinal)?;
        part.texts.judged_id(place).map(PassageId::from)
    }

    /// The ordinal of the passage with an id; `None` where there is none.
    pub fn ordinal_of(&self, id: &PassageId) -> Result<Option<Ordinal>> {
        let entries = self.lookup.values::<u64>()?;
        let hash = u64::from(crc32fast::hash(id.as_str().as_bytes()));
        let from = entries.partition_point(|entry| entry >> 32 < hash);
        for entry in entries[from..].iter().take_while(|entry| *entry >> 32 == hash) {
            let ordinal = Ordinal(*entry as u32);
            let (part, place) = self.locate(ordinal).map_err(|e| e.in_file(self.lookup.path()))?;
            if part.texts.id(place)? == id.as_str() {
                return Ok(Some(ordinal));
            }
        }
        Ok(None)
    }

    /// Where a judged passage stands: the passage itself, or all chunks of the document with that id, which follow each
    /// other. Empty where the index holds neither.
    ///
    /// The reverse of [`SparseIndex::judged_id`], for every id that judgments use.
    pub fn places_of(&self, id: &PassageId) -> Result<Vec<Ordinal>> {
        if let Some(ordinal) = self.ordinal_of(id)? {
            return Ok(vec![ordinal]);
        }
        let Some(first) = self.ordinal_of(&PassageId::from(format!("{id}#0")))? else { return Ok(Vec::new()) };
        let mut places = Vec::new();
        for ordinal in (first.0..self.len() as u32).map(Ordinal) {
            if self.judged_id(ordinal)? != *id {
                break;
            }
            places.push(ordinal);
        }
        Ok(places)
    }

    /// Reads every file whole and compares it with its checksum; what [`SparseIndex::open`] leaves out.
    pub fn verify(&self) -> Result<()> {
        self.norms.verify()?;
        self.lookup.verify()?;
        for entry in finish::read_parts(&self.folder)?.parts {
            check_engine_files(&part_folder(&self.folder, entry.number), &entry.files, u64::MAX)?;
        }
        self.parts.iter().try_for_each(Part::verify)
    }

    /// One over the TF-IDF norm of each passage of a part.
    pub(crate) fn inverse_norms(&self, part: &Part) -> Result<&[f32]> {
        let range = part.base as usize..part.base as usize + part.passages;
        self.norms.values::<f32>()?.get(range).ok_or_else(|| damaged(self.norms.path(), "the file is cut short"))
    }

    /// The part that holds an ordinal, and the passage's place there.
    pub(crate) fn locate(&self, ordinal: Ordinal) -> Result<(&Part, usize)> {
        let after = self.parts.partition_point(|part| part.base <= ordinal.0);
        let part = after.checked_sub(1).map(|at| &self.parts[at]);
        part.map(|part| (part, (ordinal.0 - part.base) as usize))
            .filter(|(part, place)| *place < part.passages)
            .ok_or_else(|| Error::bug(format!("no passage has ordinal {}, there are {}", ordinal.0, self.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{index, many, write};
    use super::super::{Language, Weighting};
    use super::*;
    use crate::collection::Parent;
    use crate::error::ErrorKind;

    #[test]
    fn a_judged_id_stands_for_all_chunks_of_its_document() {
        let mut passages = many(8);
        for (i, chunk) in passages[2..5].iter_mut().enumerate() {
            chunk.id = format!("whole#{i}").into();
            chunk.parent = Some(Parent { id: "whole".into(), span: (i, i + 1) });
        }
        passages[6].id = "lone#0".into();
        // The document goes on in the next part.
        let (_folder, index) = index(&passages, &[4, 8]);
        let places = |id: &str| index.places_of(&id.into()).unwrap().iter().map(|o| o.0).collect::<Vec<_>>();
        assert_eq!(places("whole"), [2, 3, 4]);
        assert_eq!((places("whole#1"), places("p7")), (vec![3], vec![7]));
        assert!(places("lone").is_empty(), "named like a chunk, and none");
        assert!(places("absent").is_empty());
    }

    #[test]
    fn ids_and_passages_are_found_both_ways() {
        let mut passages = many(50);
        passages[7].parent = Some(Parent { id: "whole".into(), span: (3, 9) });
        let (_folder, index) = index(&passages, &[20, 20, 33]);
        assert_eq!(index.len(), 50);
        assert_eq!(index.analyzer().language(), Language::English);
        for (i, passage) in passages.iter().enumerate() {
            let ordinal = Ordinal(i as u32);
            assert_eq!(&index.passage(ordinal).unwrap(), passage);
            assert_eq!(index.id(ordinal).unwrap(), passage.id);
            assert_eq!(&index.judged_id(ordinal).unwrap(), passage.judged_id());
            assert_eq!(index.ordinal_of(&passage.id).unwrap(), Some(ordinal));
        }
        assert_eq!(index.ordinal_of(&"p50".into()).unwrap(), None);
        assert_eq!(index.passage(Ordinal(50)).unwrap_err().kind(), ErrorKind::Bug);
        index.verify().unwrap();
    }

    #[test]
    fn an_empty_collection_is_an_index() {
        for cuts in [&[][..], &[0]] {
            let (_folder, index) = index(&[], cuts);
            assert!(index.is_empty());
            assert_eq!(index.stats().average_length, 0.0);
            assert!(index.search("red", &Weighting::default(), 5).unwrap().is_empty());
            assert_eq!(index.ordinal_of(&"p0".into()).unwrap(), None);
        }
    }

    #[test]
    fn threads_write_parts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let passages = many(400);
        let analyzer = Analyzer::for_language(Language::English);
        let parts: Vec<_> = std::thread::scope(|scope| {
            let write = |n: usize| {
                let (folder, own) = (folder.path(), &passages[100 * n..100 * (n + 1)]);
                scope.spawn(move || super::super::write_part(folder, n, 100 * n as u32, own, &analyzer).unwrap())
            };
            let threads: Vec<_> = (0..4).map(write).collect();
            threads.into_iter().rev().map(|thread| thread.join().unwrap()).collect()
        });
        finish::finish(folder.path(), &analyzer, &parts).unwrap();
        let found = SparseIndex::open(folder.path()).unwrap().search("word3 stone", &Weighting::TfIdf, 50).unwrap();
        let (_other, whole) = index(&passages, &[]);
        assert_eq!(found, whole.search("word3 stone", &Weighting::TfIdf, 50).unwrap());
    }

    /// Every file of an index, relative to its folder.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
        }
        files.sort();
        files
    }

    /// Opens and asks everything, without the checks at the door that a small index would not get past; that nothing
    /// panics is what matters until `verify`, which must find every change.
    fn use_all(folder: &Path) -> Result<()> {
        let index = SparseIndex::open_checked(folder, 0)?;
        for weighting in ["bm25", "bm25(title=2)", "tfidf"] {
            let weighting: Weighting = weighting.parse()?;
            let _ = index.search("common stone word3", &weighting, 10);
            let _ = index.score("common stone word3", &weighting, &[Ordinal(0), Ordinal(140), Ordinal(159)]);
            let _ = index.explain("common stone word3", &weighting, Ordinal(140));
        }
        let _ = (index.passage(Ordinal(150)), index.id(Ordinal(150)), index.ordinal_of(&"p150".into()));
        index.verify()
    }

    #[test]
    fn damage_never_panics_and_verify_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &many(160), &[]);
        use_all(folder.path()).unwrap();
        for path in files(folder.path()) {
            let good = fs_err::read(&path).unwrap();
            // Every byte of small files, a sample of larger ones; three kinds of damage each, then truncations.
            for at in (0..good.len()).step_by(good.len().div_ceil(150).max(1)) {
                for damage in [1u8 << (at % 8), 0x80, 0xFF] {
                    let mut bytes = good.clone();
                    bytes[at] ^= damage;
                    fs_err::write(&path, bytes).unwrap();
                    assert!(use_all(folder.path()).is_err(), "{} byte {at} ^ {damage}", path.display());
                }
            }
            for length in (0..good.len()).step_by(good.len().div_ceil(20).max(1)) {
                fs_err::write(&path, &good[..length]).unwrap();
                assert!(use_all(folder.path()).is_err(), "{} cut to {length}", path.display());
            }
            fs_err::remove_file(&path).unwrap();
            assert!(use_all(folder.path()).is_err(), "{} removed", path.display());
            fs_err::write(&path, &good).unwrap();
        }
        use_all(folder.path()).unwrap();
    }
}

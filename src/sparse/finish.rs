//! The last step of building: what only the whole collection can tell, written beside its parts.
//!
//! The parts' counts come in; three sealed files go out, and a [`SparseSummary`]:
//!
//! ```text
//! norms    n × f32   one over the Euclidean length of each passage's TF-IDF vector (0 for an empty one)
//! lookup   n × u64   CRC-32 of the id · 2³² + ordinal, ascending: finds an ordinal by id
//! parts    JSON: analyzer, the parts' ranges, lengths and CRC-32 of tantivy's files, vocabulary, postings; sealed as well
//! ```
//!
//! A norm needs every term's document frequency over all parts, so the parts' sorted dictionaries are walked side by
//! side, term by term; each passage sums its squares in term order in f64, whatever the partition. Cost: one pass over
//! all postings, 8 bytes a passage.

use super::analyzer::Analyzer;
use super::guard::{damaged, guard};
use super::part::{Part, PartInfo, unreadable};
use super::weighting::{log_tf, smart_idf};
use crate::error::{Error, Result};
use crate::storage::{self, Sealed, SealedWriter};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption::WithFreqs;

pub(crate) const NORMS_MAGIC: &[u8; 8] = b"PLXNORMS";
pub(crate) const LOOKUP_MAGIC: &[u8; 8] = b"PLXLOOKU";
const PARTS_MAGIC: &[u8; 8] = b"PLXPARTS";
pub(crate) const VERSION: u32 = 1;

/// What a finished sparse side holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseSummary {
    /// Passages in all parts.
    pub passages: u64,
    /// Distinct terms: the dimensions of a sparse vector.
    pub terms: u64,
    /// Pairs of a term and a passage that holds it: the non-zero entries of all vectors.
    pub postings: u64,
    /// Terms, repeats counted.
    pub tokens: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Terms of more than 255 bytes, cut there.
    pub truncated: u64,
}

/// The `parts` file, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct PartsFile {
    pub(crate) analyzer: String,
    pub(crate) parts: Vec<PartEntry>,
    pub(crate) vocabulary: u64,
    pub(crate) postings: u64,
    pub(crate) tokens: u64,
    pub(crate) truncated: u64,
}

/// One part's range of ordinals.
#[derive(Serialize, Deserialize)]
pub(crate) struct PartEntry {
    pub(crate) number: usize,
    pub(crate) base: u32,
    pub(crate) passages: u32,
    /// The engine's files; our own carry their checksums themselves.
    pub(crate) files: Vec<EngineFile>,
}

/// A file the engine wrote, as it was when finished.
#[derive(Serialize, Deserialize)]
pub(crate) struct EngineFile {
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) crc32: u32,
}

/// Closes a sparse side whose parts are all written; they must cover `0..n` without gap or overlap.
pub fn finish(folder: &Path, analyzer: &Analyzer, parts: &[PartInfo]) -> Result<SparseSummary> {
    storage::create_folder(folder)?;
    let mut infos = parts.to_vec();
    // An empty part has its neighbour's base: order by passages too, so that it comes first.
    infos.sort_by_key(|info| (info.base, info.passages, info.number));
    let mut opened = Vec::with_capacity(infos.len());
    let mut next = 0u64;
    for info in &infos {
        if u64::from(info.base) != next {
            return Err(Error::bug(format!("part {} begins at passage {}, not at {next}", info.number, info.base)));
        }
        next += u64::from(info.passages);
        opened.push(Part::open(folder, info.number, info.base, info.passages)?);
    }
    let (vocabulary, postings) = write_norms(folder, &opened, next)?;
    write_lookup(folder, &opened)?;
    let sum = |count: fn(&PartInfo) -> u64| infos.iter().map(count).sum::<u64>();
    let (tokens, truncated) = (sum(|info| info.tokens), sum(|info| info.truncated));
    let mut parts = Vec::with_capacity(infos.len());
    for (info, part) in infos.iter().zip(&opened) {
        let files = part.engine_files()?;
        parts.push(PartEntry { number: info.number, base: info.base, passages: info.passages, files });
    }
    let file = PartsFile { analyzer: analyzer.name(), parts, vocabulary, postings, tokens, truncated };
    write_parts(folder, &file)?;
    storage::sync_folder(folder)?;
    Ok(SparseSummary { passages: next, terms: vocabulary, postings, tokens, bytes: bytes(folder)?, truncated })
}

fn write_parts(folder: &Path, parts: &PartsFile) -> Result<()> {
    let json = serde_json::to_vec_pretty(parts).map_err(|e| Error::bug("the list of parts is no JSON").because(e))?;
    let mut file = SealedWriter::create(&folder.join("parts"), PARTS_MAGIC, VERSION)?;
    file.write(&json)?;
    file.finish([0; 4])
}

/// Reads the `parts` file, checksum included.
pub(crate) fn read_parts(folder: &Path) -> Result<PartsFile> {
    let file = Sealed::open(&folder.join("parts"), PARTS_MAGIC, VERSION)?;
    file.verify()?;
    serde_json::from_slice(file.payload()).map_err(|e| damaged(file.path(), "the list of parts is no JSON").because(e))
}

/// Bytes of the files in a folder and its folders.
pub(crate) fn bytes(folder: &Path) -> Result<u64> {
    let failed = |e| Error::io(folder, "list", e);
    let mut sum = 0;
    for entry in fs_err::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        sum += if meta.is_dir() { bytes(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// Writes `norms`; gives back the number of distinct terms and of postings.
fn write_norms(folder: &Path, parts: &[Part], passages: u64) -> Result<(u64, u64)> {
    let mut squares = vec![0f64; passages as usize];
    let (mut vocabulary, mut postings) = (0u64, 0u64);
    guard(folder, || {
        each_term(folder, parts, |_, infos| {
            vocabulary += 1;
            let df: u64 = infos.iter().map(|(_, info)| u64::from(info.doc_freq)).sum();
            postings += df;
            let idf = smart_idf(passages, df);
            for (part, info) in infos {
                let part = &parts[*part];
                let own = &mut squares[part.base as usize..part.base as usize + part.passages];
                let mut blocks = part
                    .all
                    .read_block_postings_from_terminfo(info, WithFreqs)
                    .map_err(|e| unreadable(&part.folder, e.into()))?;
                while blocks.block_len() > 0 {
                    for (doc, tf) in blocks.docs().iter().zip(blocks.freqs()) {
                        own[*doc as usize] += (log_tf(*tf) * idf).powi(2);
                    }
                    blocks.advance();
                }
            }
            Ok(())
        })
    })?;
    let mut file = SealedWriter::create(&folder.join("norms"), NORMS_MAGIC, VERSION)?;
    for chunk in squares.chunks(1 << 14) {
        let inverse = |square: &f64| if *square > 0.0 { (1.0 / square.sqrt()) as f32 } else { 0.0 };
        file.write(&chunk.iter().flat_map(|square| inverse(square).to_le_bytes()).collect::<Vec<u8>>())?;
    }
    file.finish([passages, 0, 0, 0])?;
    Ok((vocabulary, postings))
}

/// Calls `visit` with every distinct term in byte order, and with the parts that hold it, in order.
pub(crate) fn each_term(
    folder: &Path,
    parts: &[Part],
    mut visit: impl FnMut(&[u8], &[(usize, TermInfo)]) -> Result<()>,
) -> Result<()> {
    let streams: std::io::Result<Vec<_>> = parts.iter().map(|part| part.all.terms().stream()).collect();
    let mut streams = streams.map_err(|e| unreadable(folder, e.into()))?;
    let mut heads = BinaryHeap::new();
    for (part, stream) in streams.iter_mut().enumerate() {
        if stream.advance() {
            heads.push(Reverse((stream.key().to_vec(), part)));
        }
    }
    let mut holders: Vec<(usize, TermInfo)> = Vec::new();
    while let Some(Reverse((term, part))) = heads.pop() {
        holders.push((part, streams[part].value().clone()));
        if heads.peek().is_none_or(|Reverse((next, _))| *next != term) {
            visit(&term, &holders)?;
            for (part, _) in holders.drain(..) {
                if streams[part].advance() {
                    heads.push(Reverse((streams[part].key().to_vec(), part)));
                }
            }
        }
    }
    Ok(())
}

fn write_lookup(folder: &Path, parts: &[Part]) -> Result<()> {
    let mut entries = Vec::new();
    for part in parts {
        for place in 0..part.passages {
            let ordinal = u64::from(part.base) + place as u64;
            entries.push(u64::from(crc32fast::hash(part.texts.id(place)?.as_bytes())) << 32 | ordinal);
        }
    }
    entries.sort_unstable();
    let mut file = SealedWriter::create(&folder.join("lookup"), LOOKUP_MAGIC, VERSION)?;
    for chunk in entries.chunks(1 << 13) {
        file.write(&chunk.iter().flat_map(|entry| entry.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    file.finish([entries.len() as u64, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{many, write};
    use super::super::{Language, SparseIndex, write_part};
    use super::*;
    use crate::error::ErrorKind;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn the_summary_counts_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let passages = many(40);
        let summary = write(folder.path(), &passages, &[10, 25]);
        let analyzer = Analyzer::for_language(Language::English);
        let terms: Vec<Vec<String>> = passages.iter().map(|p| analyzer.terms(&p.full_text())).collect();
        assert_eq!(summary.passages, 40);
        assert_eq!(summary.tokens, terms.iter().map(Vec::len).sum::<usize>() as u64);
        assert_eq!(summary.terms, terms.iter().flatten().collect::<HashSet<_>>().len() as u64);
        assert_eq!(
            summary.postings,
            terms.iter().map(|t| t.iter().collect::<HashSet<_>>().len()).sum::<usize>() as u64
        );
        let stats = SparseIndex::open(folder.path()).unwrap().stats();
        assert_eq!(
            (stats.vocabulary, stats.postings, stats.tokens, stats.bytes),
            (summary.terms, summary.postings, summary.tokens, summary.bytes)
        );
        assert!((stats.average_length - summary.tokens as f64 / 40.0).abs() < 1e-12);
    }

    #[test]
    fn equal_passages_give_equal_bytes() {
        let files = |cuts: &[usize]| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &many(300), cuts);
            let mut files = BTreeMap::new();
            let mut folders = vec![folder.path().to_path_buf()];
            while let Some(next) = folders.pop() {
                for entry in fs_err::read_dir(next).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        files.insert(
                            path.strip_prefix(folder.path()).unwrap().to_path_buf(),
                            fs_err::read(&path).unwrap(),
                        );
                    }
                }
            }
            files
        };
        assert_eq!(files(&[100]), files(&[100]));
        let norms = Path::new("norms");
        assert_eq!(files(&[100])[norms], files(&[50, 220])[norms], "norms do not depend on the parts");
    }

    #[test]
    fn parts_must_join() {
        let folder = tempfile::tempdir().unwrap();
        let analyzer = Analyzer::for_language(Language::Plain);
        let first = write_part(folder.path(), 0, 0, &many(3), &analyzer).unwrap();
        let gap = write_part(folder.path(), 1, 4, &many(2), &analyzer).unwrap();
        assert_eq!(finish(folder.path(), &analyzer, &[first, gap]).unwrap_err().kind(), ErrorKind::Bug);
    }
}

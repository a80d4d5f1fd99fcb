//! The passages themselves beside their postings: ids for every hit, texts for the hits that are shown.
//!
//! Passages come in once, in order; ids and whole passages go out by place. Two sealed files a part:
//!
//! ```text
//! names   fields [n, 0, 0, 0]
//!         2n+1 × u32   ends: id 0, judged id 0, id 1, … (from 0); a judged id is empty where it is the id itself
//!                 …    the ids' bytes
//! texts   fields [n, blocks, offset of the table, 0]
//!                 …    zstd blocks of whole records
//!         blocks × (u64 offset, u32 first passage, u32 raw length, u32 CRC-32, u32 zero)
//! record  u32 title length, u32 text length, u64 span start, u64 span end, title, text
//! ```
//!
//! Ids stand apart, uncompressed, since a run file needs thousands of them and no text. tantivy's own document store is
//! not used: it trusts lengths it reads, and a flipped bit there can ask for more memory than there is, which no guard
//! catches. Cost: an id is two reads of the map; a passage is one block of about 16 KiB unpacked, unless the same thread
//! unpacked it last.

use super::guard::damaged;
use crate::collection::{Parent, Passage, PassageId};
use crate::error::{Error, Result};
use crate::storage::{Sealed, SealedWriter};
use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use zstd::bulk::Decompressor;

const NAMES_MAGIC: &[u8; 8] = b"PLXNAMES";
const TEXTS_MAGIC: &[u8; 8] = b"PLXTEXTS";
const VERSION: u32 = 1;
/// Raw bytes after which a block is closed: small enough to unpack for one hit, large enough to compress.
const BLOCK: usize = 16 << 10;
/// zstd's fastest regular level: texts shrink to about half, far faster than they are analysed.
const LEVEL: i32 = 1;
const ENTRY: usize = 24;
/// Raw bytes a block may claim: one passage of the largest length, and no more memory than that on damage.
const LARGEST_BLOCK: usize = 1 << 30;

/// Writes the two files of a part into its folder.
pub(crate) fn write(folder: &Path, passages: &[Passage]) -> Result<()> {
    write_names(&folder.join("names"), passages)?;
    write_texts(&folder.join("texts"), passages)
}

fn write_names(path: &Path, passages: &[Passage]) -> Result<()> {
    let names =
        || passages.iter().flat_map(|p| [p.id.as_str(), p.parent.as_ref().map_or("", |parent| parent.id.as_str())]);
    let mut file = SealedWriter::create(path, NAMES_MAGIC, VERSION)?;
    let mut end = 0u32;
    file.write(&end.to_le_bytes())?;
    for name in names() {
        end = u32::try_from(name.len()).ok().and_then(|length| end.checked_add(length)).ok_or_else(too_long)?;
        file.write(&end.to_le_bytes())?;
    }
    for name in names() {
        file.write(name.as_bytes())?;
    }
    file.finish([passages.len() as u64, 0, 0, 0])
}

fn write_texts(path: &Path, passages: &[Passage]) -> Result<()> {
    let mut file = SealedWriter::create(path, TEXTS_MAGIC, VERSION)?;
    let mut packer = zstd::bulk::Compressor::new(LEVEL).map_err(|e| Error::io(path, "compress", e))?;
    let mut table = Vec::new();
    let mut raw = Vec::with_capacity(2 * BLOCK);
    let mut first = 0u32;
    for (place, passage) in passages.iter().enumerate() {
        let length = |text: &str| u32::try_from(text.len()).ok().filter(|n| (*n as usize) < LARGEST_BLOCK / 4);
        let (title, text) = (length(&passage.title).ok_or_else(too_long)?, length(&passage.text).ok_or_else(too_long)?);
        let (start, end) = passage.parent.as_ref().map_or((0, 0), |parent| parent.span);
        raw.extend_from_slice(&title.to_le_bytes());
        raw.extend_from_slice(&text.to_le_bytes());
        raw.extend_from_slice(&(start as u64).to_le_bytes());
        raw.extend_from_slice(&(end as u64).to_le_bytes());
        raw.extend_from_slice(passage.title.as_bytes());
        raw.extend_from_slice(passage.text.as_bytes());
        if raw.len() >= BLOCK || place + 1 == passages.len() {
            table.extend_from_slice(&file.position().to_le_bytes());
            for value in [first, raw.len() as u32, checksum(first, &raw), 0] {
                table.extend_from_slice(&value.to_le_bytes());
            }
            file.write(&packer.compress(&raw).map_err(|e| Error::io(path, "compress", e))?)?;
            raw.clear();
            first = place as u32 + 1;
        }
    }
    let offset = file.position();
    file.write(&table)?;
    file.finish([passages.len() as u64, (table.len() / ENTRY) as u64, offset, 0])
}

/// CRC-32 of a block's first passage number and its raw bytes: the right texts under the right numbers.
fn checksum(first: u32, raw: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&first.to_le_bytes());
    hasher.update(raw);
    hasher.finalize()
}

fn too_long() -> Error {
    Error::new(crate::ErrorKind::Limit, "a part's passages are longer than its files can address")
        .hint("give fewer passages to each part, or cut them with `--chunk`")
}

/// A thread's last block. Passages that are asked for in order share blocks, and making a decompressor takes as long as
/// unpacking one.
#[derive(Default)]
struct Unpacked {
    decompressor: Option<Decompressor<'static>>,
    /// The number of the opened part and of the block; `None` while `raw` is no whole block.
    of: Option<(u64, usize)>,
    raw: Vec<u8>,
}

thread_local! {
    static UNPACKED: RefCell<Unpacked> = RefCell::default();
}

/// Raw bytes that a thread keeps at most: a block with one long passage is not held for good.
const KEPT: usize = 16 * BLOCK;

/// The ids and texts of one part, mapped.
pub(crate) struct Texts {
    names: Sealed,
    texts: Sealed,
    passages: usize,
    /// No other part that this process opened has it.
    number: u64,
}

impl Texts {
    /// Maps the two files; both must hold `passages` passages.
    pub(crate) fn open(folder: &Path, passages: usize) -> Result<Self> {
        let names = Sealed::open(&folder.join("names"), NAMES_MAGIC, VERSION)?;
        let texts = Sealed::open(&folder.join("texts"), TEXTS_MAGIC, VERSION)?;
        for file in [&names, &texts] {
            if file.fields()[0] != passages as u64 {
                let found = file.fields()[0];
                return Err(damaged(file.path(), format!("the file holds {found} passages, its part has {passages}")));
            }
        }
        let [_, blocks, offset, _] = texts.fields();
        let table = blocks.checked_mul(ENTRY as u64).and_then(|length| length.checked_add(offset));
        if table != Some(texts.payload().len() as u64) {
            return Err(damaged(texts.path(), "the table of blocks is not where the header says"));
        }
        if (names.payload().len() as u64) < 4 * (2 * passages as u64 + 1) {
            return Err(damaged(names.path(), "the table of ids is cut short"));
        }
        static OPENED: AtomicU64 = AtomicU64::new(0);
        Ok(Texts { names, texts, passages, number: OPENED.fetch_add(1, Ordering::Relaxed) })
    }

    /// Text number `i` of the names: ids at even places, judged ids at odd ones.
    fn name(&self, i: usize) -> Result<&str> {
        let payload = self.names.payload();
        let (table, names) = payload.split_at(4 * (2 * self.passages + 1));
        let end = |i: usize| u32_at(table, 4 * i).map(|end| end as usize);
        let bytes = end(i).zip(end(i + 1)).and_then(|(from, to)| names.get(from..to));
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .ok_or_else(|| damaged(self.names.path(), format!("the id of passage {} cannot be read", i / 2)))
    }

    /// The id of the passage at a place; an error past the end or on damage.
    pub(crate) fn id(&self, place: usize) -> Result<&str> {
        self.name(2 * place)
    }

    /// The id judgments use: the whole passage's for a chunk, its own otherwise.
    pub(crate) fn judged_id(&self, place: usize) -> Result<&str> {
        match self.name(2 * place + 1)? {
            "" => self.id(place),
            parent => Ok(parent),
        }
    }

    /// The passage at a place.
    pub(crate) fn passage(&self, place: usize) -> Result<Passage> {
        let id = PassageId::from(self.id(place)?);
        let parent = self.name(2 * place + 1)?;
        self.with(place, |title, text, span| {
            let parent = (!parent.is_empty()).then(|| Parent { id: PassageId::from(parent), span });
            Passage { id, title: title.to_string(), text: text.to_string(), parent }
        })
    }

    /// What a function makes of the title, the text and the span in its document of the passage at a place. The function
    /// must read no passage itself.
    pub(crate) fn with<T>(&self, place: usize, make: impl FnOnce(&str, &str, (usize, usize)) -> T) -> Result<T> {
        let refuse = |what: &str| damaged(self.texts.path(), format!("passage {place} cannot be read: {what}"));
        let table = &self.texts.payload()[self.texts.fields()[2] as usize..];
        let table = table.as_chunks::<ENTRY>().0;
        let first = |entry: &[u8; ENTRY]| u32_at(entry, 8).unwrap_or(u32::MAX) as usize;
        let at =
            table.partition_point(|entry| first(entry) <= place).checked_sub(1).ok_or_else(|| refuse("no block"))?;
        let first = first(&table[at]);
        UNPACKED.with_borrow_mut(|unpacked| {
            if unpacked.of != Some((self.number, at)) {
                self.unpack(table, at, unpacked, &refuse)?;
            }
            let mut rest = &unpacked.raw[..];
            for _ in first..place {
                rest = record(rest).ok_or_else(|| refuse("a record is cut short"))?.2;
            }
            let (texts, span, _) = record(rest).ok_or_else(|| refuse("its record is cut short"))?;
            let text = |bytes| std::str::from_utf8(bytes).map_err(|e| refuse("it is not UTF-8").because(e));
            let made = make(text(texts.0)?, text(texts.1)?, span);
            if unpacked.raw.len() > KEPT {
                *unpacked = Unpacked::default();
            }
            Ok(made)
        })
    }

    /// Unpacks and checks block `at` of the table.
    fn unpack(
        &self,
        table: &[[u8; ENTRY]],
        at: usize,
        unpacked: &mut Unpacked,
        refuse: &impl Fn(&str) -> Error,
    ) -> Result<()> {
        unpacked.of = None;
        let blocks = &self.texts.payload()[..self.texts.fields()[2] as usize];
        let entry = &table[at];
        let from = u64_at(entry, 0);
        let to = table.get(at + 1).map_or(Some(blocks.len() as u64), |next| u64_at(next, 0));
        let packed = from.zip(to).and_then(|(from, to)| blocks.get(from as usize..to as usize));
        let packed = packed.ok_or_else(|| refuse("its block is out of range"))?;
        let raw_length = u32_at(entry, 12).unwrap_or(0) as usize;
        if raw_length > LARGEST_BLOCK {
            return Err(refuse("its block claims too much"));
        }
        let failed = |e| refuse("its block is damaged").because(e);
        let decompressor = match &mut unpacked.decompressor {
            Some(made) => made,
            none => none.insert(Decompressor::new().map_err(failed)?),
        };
        unpacked.raw.clear();
        unpacked.raw.reserve(raw_length);
        decompressor.decompress_to_buffer(packed, &mut unpacked.raw).map_err(failed)?;
        if Some(checksum(u32_at(entry, 8).unwrap_or(u32::MAX), &unpacked.raw)) != u32_at(entry, 16) {
            return Err(refuse("its block does not match its checksum"));
        }
        unpacked.of = Some((self.number, at));
        Ok(())
    }

    /// Checks both payloads against their checksums.
    pub(crate) fn verify(&self) -> Result<()> {
        self.names.verify()?;
        self.texts.verify()
    }
}

/// Title and text, span, and what follows the first record.
type Record<'a> = ((&'a [u8], &'a [u8]), (usize, usize), &'a [u8]);

fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let (title, text) = (u32_at(bytes, 0)? as usize, u32_at(bytes, 4)? as usize);
    let span = (u64_at(bytes, 8)? as usize, u64_at(bytes, 16)? as usize);
    let (title, rest) = bytes.get(24..)?.split_at_checked(title)?;
    let (text, rest) = rest.split_at_checked(text)?;
    Some(((title, text), span, rest))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passages(texts: &[(String, usize)]) -> Vec<Passage> {
        let passage = |(i, (text, repeat)): (usize, &(String, usize))| {
            let mut passage = Passage::new(format!("p{i}"), text.clone(), text.repeat(*repeat));
            passage.parent = (i % 3 == 1).then(|| Parent { id: "whole".into(), span: (i, i + repeat) });
            passage
        };
        texts.iter().enumerate().map(passage).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn passages_read_back(texts in prop::collection::vec(("\\PC{0,30}", 0usize..400), 0..40)) {
            let folder = tempfile::tempdir().unwrap();
            let written = passages(&texts);
            write(folder.path(), &written).unwrap();
            let read = Texts::open(folder.path(), written.len()).unwrap();
            for (place, passage) in written.iter().enumerate() {
                prop_assert_eq!(&read.passage(place).unwrap(), passage);
                prop_assert_eq!(read.id(place).unwrap(), passage.id.as_str());
                prop_assert_eq!(read.judged_id(place).unwrap(), passage.judged_id().as_str());
            }
            prop_assert!(read.id(written.len()).is_err());
            prop_assert!(read.passage(written.len()).is_err());
            prop_assert!(Texts::open(folder.path(), written.len() + 1).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_never_gives_another_text() {
        let folder = tempfile::tempdir().unwrap();
        let texts: Vec<(String, usize)> = (0..4).map(|i| (format!("title {i} "), 3)).collect();
        let written = passages(&texts);
        write(folder.path(), &written).unwrap();
        let path = folder.path().join("texts");
        let good = fs_err::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs_err::write(&path, bytes).unwrap();
            let Ok(read) = Texts::open(folder.path(), 4) else { continue };
            for (place, passage) in written.iter().enumerate() {
                if let Ok(found) = read.passage(place) {
                    assert_eq!(&found, passage, "bit {bit}");
                }
            }
        }
    }
}

//! One part of the sparse side: a contiguous range of passages in one tantivy segment, with exact lengths and texts.
//!
//! A slice of passages comes in and a folder goes out; opened again, it serves postings by term. A passage's place in
//! its part is tantivy's document number, so `ordinal = base + place` and no mapping is stored. Bytes depend on the
//! passages alone, so parts may be written by different threads at once and a build is reproducible.
//!
//! ```text
//! part-00000/  meta.json, 000….{term,idx,pos,fast,fieldnorm,store}   tantivy's, one segment
//!              lengths    n × u32 terms of title and text, n × u32 terms of the title (exact, not tantivy's lossy byte)
//!              names, texts                                           see `texts`
//! ```
//!
//! The engine has two fields, postings with frequencies and no positions: `all` (title and text) and `title`.
//! Cost of writing: analysis and tantivy's hash table, about a thread-second per million terms.

use super::analyzer::Analyzer;
use super::finish::EngineFile;
use super::guard::{damaged, guard};
use super::texts::{self, Texts};
use super::tokenizer::{ChainTokenizer, TermCounts};
use crate::collection::Passage;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{self, Mapped, Sealed, SealedWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tantivy::directory::RamDirectory;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Directory as _, Index, IndexSettings, InvertedIndexReader, SegmentReader, TantivyDocument};

const LENGTHS_MAGIC: &[u8; 8] = b"PLXLENGT";
const VERSION: u32 = 1;
/// Sizes the engine's term table at the start; it grows as needed.
const TABLE_BUDGET: usize = 30_000_000;
/// The segment's name, in place of a random one, so that equal passages give equal bytes.
const SEGMENT: &str = "00000000-0000-0000-0000-000000000000";

/// The engine's list of segments.
const META: &str = "meta.json";
/// The engine's files of a segment; only the first three say anything of ours.
const EXTENSIONS: [&str; 6] = ["term", "idx", "pos", "fast", "fieldnorm", "store"];

/// What writing a part found out; [`finish`](super::finish()) needs those of all parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// The number its folder is named by.
    pub number: usize,
    /// Ordinal of its first passage.
    pub base: u32,
    /// Passages in it.
    pub passages: u32,
    /// Terms in it, repeats counted, title and text together.
    pub tokens: u64,
    /// Terms of more than 255 bytes, cut there.
    pub truncated: u64,
}

/// Folder of a part.
pub(crate) fn part_folder(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("part-{number:05}"))
}

struct Fields {
    schema: Schema,
    all: Field,
    title: Field,
}

fn fields() -> Fields {
    let options = |tokenizer: &str| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_index_option(IndexRecordOption::WithFreqs)
            .set_fieldnorms(false);
        TextOptions::default().set_indexing_options(indexing)
    };
    let mut builder = Schema::builder();
    let all = builder.add_text_field("all", options("all"));
    let title = builder.add_text_field("title", options("title"));
    Fields { schema: builder.build(), all, title }
}

/// Writes the part of passages `base..base + passages.len()` into `folder`; threads may write different parts at once.
pub fn write_part(
    folder: &Path,
    number: usize,
    base: u32,
    passages: &[Passage],
    analyzer: &Analyzer,
) -> Result<PartInfo> {
    let count = u32::try_from(passages.len()).ok().filter(|count| base.checked_add(*count).is_some());
    let count = count.ok_or_else(|| Error::new(ErrorKind::Limit, "more than 4,294,967,295 passages"))?;
    let folder = part_folder(folder, number);
    storage::create_folder(&folder)?;
    let failed = |e: tantivy::TantivyError| {
        Error::new(ErrorKind::Io, format!("could not write `{}`", folder.display())).because(e)
    };

    let Fields { schema, all, title } = fields();
    let tokenizers = TokenizerManager::new();
    let counts = [TermCounts::default(), TermCounts::default()];
    for (name, counts) in ["all", "title"].into_iter().zip(&counts) {
        tokenizers.register(name, ChainTokenizer::new(*analyzer, counts.clone()));
    }
    let settings = IndexSettings {
        docstore_compression: Compressor::None,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    };
    let mut writer = Index::builder()
        .schema(schema)
        .settings(settings)
        .tokenizers(tokenizers)
        .single_segment_index_writer::<TantivyDocument>(RamDirectory::create(), TABLE_BUDGET)
        .map_err(failed)?;
    let mut lengths = Vec::with_capacity(passages.len());
    let mut title_lengths = Vec::with_capacity(passages.len());
    for passage in passages {
        let mut document = TantivyDocument::new();
        if !passage.title.is_empty() {
            document.add_text(all, &passage.title);
            document.add_text(title, &passage.title);
        }
        document.add_text(all, &passage.text);
        writer.add_document(document).map_err(failed)?;
        let length = |counts: &TermCounts| u32::try_from(counts.terms.swap(0, Ordering::Relaxed)).unwrap_or(u32::MAX);
        lengths.push(length(&counts[0]));
        title_lengths.push(length(&counts[1]));
    }
    let index = writer.finalize().map_err(failed)?;
    publish(&index, &folder, count)?;

    let sum = |lengths: &[u32]| lengths.iter().map(|n| u64::from(*n)).sum::<u64>();
    let (tokens, title_tokens) = (sum(&lengths), sum(&title_lengths));
    let mut file = SealedWriter::create(&folder.join("lengths"), LENGTHS_MAGIC, VERSION)?;
    file.write(&lengths.iter().chain(&title_lengths).flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
    file.finish([u64::from(count), tokens, title_tokens, 0])?;
    texts::write(&folder, passages)?;
    storage::sync_folder(&folder)?;
    let truncated = counts[0].truncated.load(Ordering::Relaxed);
    Ok(PartInfo { number, base, passages: count, tokens, truncated })
}

/// Copies the finished segment from memory into the part's folder, under a fixed name, after checking its count.
fn publish(index: &Index, folder: &Path, count: u32) -> Result<()> {
    let failed = |e: tantivy::TantivyError| {
        Error::new(ErrorKind::Io, format!("could not write `{}`", folder.display())).because(e)
    };
    let segments = index.searchable_segments().map_err(failed)?;
    let [segment] = segments.as_slice() else {
        return Err(Error::bug(format!("a part was written as {} segments", segments.len())));
    };
    if segment.meta().max_doc() != count {
        let found = segment.meta().max_doc();
        return Err(Error::bug(format!("{count} passages were given to a part, its segment holds {found}")));
    }
    let own = segment.id().uuid_string();
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        let write = || -> std::io::Result<()> {
            let mut file = fs_err::File::create(&path)?;
            std::io::Write::write_all(&mut file, bytes)?;
            file.sync_all()
        };
        write().map_err(|e| Error::io(&path, "write", e))
    };
    // `atomic_read` gives the whole file; `open_read` would leave out its footer.
    let read = |name: &Path| index.directory().atomic_read(name).map_err(|e| failed(e.into()));
    for extension in EXTENSIONS {
        save(&engine_file_name(extension), &read(&PathBuf::from(format!("{own}.{extension}")))?)?;
    }
    let meta = String::from_utf8_lossy(&read(Path::new(META))?).into_owned();
    let hyphenated = [&own[..8], &own[8..12], &own[12..16], &own[16..20], &own[20..]].join("-");
    if !meta.contains(&hyphenated) {
        return Err(Error::bug("the engine's list of segments does not name the segment"));
    }
    save(META, meta.replace(&hyphenated, SEGMENT).as_bytes())
}

/// The engine's files in a part, in the order they are recorded.
fn engine_file_names() -> Vec<String> {
    EXTENSIONS.iter().map(|extension| engine_file_name(extension)).chain([META.to_string()]).collect()
}

fn engine_file_name(extension: &str) -> String {
    format!("{}.{extension}", SEGMENT.replace('-', ""))
}

/// A part opened for reading.
pub(crate) struct Part {
    pub(crate) folder: PathBuf,
    pub(crate) base: u32,
    pub(crate) passages: usize,
    /// Postings of title and text together.
    pub(crate) all: Arc<InvertedIndexReader>,
    /// Postings of the titles alone.
    pub(crate) title: Arc<InvertedIndexReader>,
    pub(crate) texts: Texts,
    lengths: Sealed,
}

impl Part {
    /// Opens and checks a part of `passages` passages.
    pub(crate) fn open(folder: &Path, number: usize, base: u32, passages: u32) -> Result<Self> {
        let folder = part_folder(folder, number);
        let lengths = Sealed::open(&folder.join("lengths"), LENGTHS_MAGIC, VERSION)?;
        if lengths.fields()[0] != u64::from(passages) || lengths.payload().len() as u64 != 8 * u64::from(passages) {
            return Err(damaged(lengths.path(), format!("the file does not hold the lengths of {passages} passages")));
        }
        let reader = guard(&folder, || open_segment(&folder))?;
        if reader.max_doc() != passages {
            let found = reader.max_doc();
            return Err(damaged(&folder, format!("the segment holds {found} passages, its part has {passages}")));
        }
        let Fields { all, title, .. } = fields();
        let field = |field| guard(&folder, || reader.inverted_index(field).map_err(|e| unreadable(&folder, e)));
        let (all, title) = (field(all)?, field(title)?);
        let texts = Texts::open(&folder, passages as usize)?;
        Ok(Part { base, passages: passages as usize, all, title, texts, lengths, folder })
    }

    /// Terms per passage: title and text together, then the title alone.
    pub(crate) fn lengths(&self) -> Result<(&[u32], &[u32])> {
        let values = self.lengths.values::<u32>()?;
        values.split_at_checked(self.passages).ok_or_else(|| damaged(self.lengths.path(), "the file is cut short"))
    }

    /// Terms of all its passages, and of all its titles.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        (self.lengths.fields()[1], self.lengths.fields()[2])
    }

    /// The engine's files with length and checksum, read whole.
    pub(crate) fn engine_files(&self) -> Result<Vec<EngineFile>> {
        let mut files = Vec::new();
        for name in engine_file_names() {
            let bytes = Mapped::open(&self.folder.join(&name))?;
            let bytes = bytes.bytes();
            files.push(EngineFile { name, length: bytes.len() as u64, crc32: crc32fast::hash(bytes) });
        }
        Ok(files)
    }

    /// Compares our own files with their checksums.
    pub(crate) fn verify(&self) -> Result<()> {
        self.lengths.verify()?;
        self.texts.verify()
    }
}

/// Compares a part's engine files with what was recorded: every length, and the checksums of files up to `whole` bytes.
/// The engine's own checksums leave out its footers and its list of segments.
pub(crate) fn check_engine_files(folder: &Path, files: &[EngineFile], whole: u64) -> Result<()> {
    if !files.iter().map(|file| &file.name).eq(engine_file_names().iter()) {
        return Err(damaged(folder, "the part's files are not those of this program"));
    }
    for file in files {
        let path = folder.join(&file.name);
        let length = fs_err::metadata(&path).map_err(|e| Error::io(&path, "inspect", e))?.len();
        if length != file.length {
            return Err(damaged(path, format!("the file has {length} bytes, it was written with {}", file.length)));
        }
        if length <= whole && crc32fast::hash(Mapped::open(&path)?.bytes()) != file.crc32 {
            return Err(damaged(path, "the file does not match its checksum"));
        }
    }
    Ok(())
}

fn open_segment(folder: &Path) -> Result<SegmentReader> {
    let index = Index::open_in_dir(folder).map_err(|e| unreadable(folder, e))?;
    if index.schema() != fields().schema {
        return Err(damaged(folder, "the segment's fields are not those of this program"));
    }
    let segments = index.searchable_segments().map_err(|e| unreadable(folder, e))?;
    let [segment] = segments.as_slice() else {
        return Err(damaged(folder, format!("the part holds {} segments, it was written as one", segments.len())));
    };
    SegmentReader::open(segment).map_err(|e| unreadable(folder, e))
}

/// An error of the engine while reading a part.
pub(crate) fn unreadable(folder: &Path, cause: tantivy::TantivyError) -> Error {
    damaged(folder, "the postings cannot be read").because(cause)
}

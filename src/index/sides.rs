//! The one pass over the sources that writes both sides of an index.
//!
//! A reading thread cuts the stream of passages into parts of consecutive ordinals; each part becomes a sparse part
//! on one thread and blocks of rows beside it, and rows are appended in ordinal order whatever order they arrive in.
//! Parts are cut by ordinal alone, so files are the same at any thread count.

use super::build::Site;
use super::dedup::DedupFilter;
use super::manifest::CollectionRecord;
use crate::collection::Passage;
use crate::collection::chunk::{self, Chunking};
use crate::collection::read::{self, ReadSummary};
use crate::dense::{self, rows::RowsWriter};
use crate::encoder::contract::{Embeddings, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Stage;
use crate::sparse::{self, Analyzer, Language, PartInfo};
use crate::storage;
use rayon::iter::{ParallelBridge, ParallelIterator};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A run of consecutive passages: written by one thread on the sparse side, one block of rows on the dense side.
struct Part {
    number: usize,
    base: u32,
    passages: Vec<Passage>,
}

/// Passages in the part that starts at an ordinal: growing with the collection, so that their number stays small. A search
/// looks each term up in every part, a build waits for the first one to be read.
fn part_length(base: usize) -> usize {
    base.clamp(32_768, 131_072)
}

/// Texts encoded between two looks at the progress.
const ENCODE_STEP: usize = 512;

impl Site<'_> {
    /// Reads the sources once and writes postings and rows from what passes by.
    pub(super) fn both_sides(&self) -> Result<Sides> {
        let (sender, receiver) = sync_channel::<Part>(1);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.read(sender));
            let written = self.write(receiver);
            let read = reader.join().map_err(|_| Error::bug("the reading thread panicked"))?;
            // A reader that stops because the writers failed has nothing of its own to say.
            match (written, read) {
                (Err(error), _) => Err(error),
                (Ok(_), Err(error)) => Err(error),
                (Ok(written), Ok((summary, duplicates))) => self.finish_sides(written, summary, duplicates),
            }
        })
    }

    /// Streams passages into parts. Runs in a thread of its own.
    fn read(&self, sender: SyncSender<Part>) -> Result<(ReadSummary, u64)> {
        let mut cutter = Cutter { sender, part: Part { number: 0, base: 0, passages: Vec::new() } };
        let mut filter = DedupFilter::new(self.options.dedup);
        let words = |text: &str| crate::text::words::spans(text);
        let summary = read::passages(&self.options.sources, &self.options.read, self.progress, &mut |passage| {
            if filter.is_duplicate(&passage) {
                return Ok(());
            }
            let spans = |text: &str| self.encoder.map_or_else(|| words(text), |encoder| encoder.token_spans(text));
            match self.options.chunking {
                Chunking::None => cutter.push(passage),
                ref chunking => {
                    chunk::chunk(passage, chunking, &spans).into_iter().try_for_each(|chunk| cutter.push(chunk))
                }
            }
        })?;
        cutter.send()?;
        Ok((summary, filter.found))
    }

    fn write(&self, receiver: Receiver<Part>) -> Result<Written> {
        let Ok(first) = receiver.recv() else {
            // The reader failed or found nothing; it says which.
            return Ok(Written {
                analyzer: Analyzer::for_language(Language::English),
                parts: Vec::new(),
                zero_rows: 0,
            });
        };
        let language = match self.options.language {
            Some(language) => language,
            None => Language::vote(first.passages.iter().map(|passage| passage.text.as_str())),
        };
        let analyzer = Analyzer::for_language(language);
        let rows = match self.encoder {
            Some(encoder) => {
                storage::create_folder(&self.generation.join("dense"))?;
                let writer = RowsWriter::create(
                    &self.generation.join("dense").join(dense::ROWS_FILE),
                    encoder.card().dimension,
                )?;
                Some(Mutex::new(InOrder { writer, next: 0, waiting: BTreeMap::new(), zero_rows: 0 }))
            }
            None => None,
        };
        self.progress.begin(Stage::Sparse, None);
        if rows.is_some() {
            self.progress.begin(Stage::Encoding, None);
        }
        let parts: Mutex<Vec<PartInfo>> = Mutex::new(Vec::new());
        std::iter::once(first).chain(receiver).par_bridge().try_for_each(|part| -> Result<()> {
            self.progress.checkpoint()?;
            let (info, encoded) = rayon::join(|| self.sparse_part(&part, &analyzer), || self.encode_part(&part));
            parts.lock().map_err(poisoned)?.push(info?);
            if let (Some(rows), Some(encoded)) = (&rows, encoded?) {
                rows.lock().map_err(poisoned)?.append(part.base, encoded)?;
            }
            Ok(())
        })?;
        self.progress.finish(Stage::Sparse);
        let mut zero_rows = 0;
        if let Some(rows) = rows {
            zero_rows = rows.into_inner().map_err(poisoned)?.finish()?;
            self.progress.finish(Stage::Encoding);
        }
        let mut parts = parts.into_inner().map_err(poisoned)?;
        parts.sort_by_key(|part| part.base);
        Ok(Written { analyzer, parts, zero_rows })
    }

    fn sparse_part(&self, part: &Part, analyzer: &Analyzer) -> Result<PartInfo> {
        let folder = self.generation.join("sparse");
        let info = sparse::write_part(&folder, part.number, part.base, &part.passages, analyzer)?;
        self.progress.advance(Stage::Sparse, part.passages.len() as u64);
        Ok(info)
    }

    fn encode_part(&self, part: &Part) -> Result<Option<Vec<Embeddings>>> {
        let Some(encoder) = self.encoder else { return Ok(None) };
        let mut blocks = Vec::new();
        for passages in part.passages.chunks(ENCODE_STEP) {
            self.progress.checkpoint()?;
            let texts: Vec<String> = passages.iter().map(Passage::full_text).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            blocks.push(encoder.encode(&texts, Role::Passage)?);
            self.progress.advance(Stage::Encoding, passages.len() as u64);
        }
        Ok(Some(blocks))
    }

    fn finish_sides(&self, written: Written, summary: ReadSummary, duplicates: u64) -> Result<Sides> {
        let passages: u32 = written.parts.iter().map(|part| part.passages).sum();
        if passages == 0 {
            return Err(Error::bad_input("the sources hold no passage")
                .hint("a source is a BEIR folder, a SQuAD or KorQuAD JSON, a TSV or a JSONL"));
        }
        sparse::finish(&self.generation.join("sparse"), &written.analyzer, &written.parts)?;
        let options = self.options;
        let collection = CollectionRecord {
            sources: options.sources.iter().map(|source| source.to_string()).collect(),
            passages,
            documents: summary.passages,
            merged: summary.merged,
            duplicates,
            empty: summary.empty,
            skipped: summary.skipped_total,
            skipped_records: summary
                .skipped
                .iter()
                .take(100)
                .map(|skipped| format!("{}:{}: {}", skipped.path.display(), skipped.line, skipped.reason))
                .collect(),
            chunking: options.chunking.to_string(),
            dedup: options.dedup.name().to_string(),
        };
        Ok(Sides { collection, analyzer: written.analyzer, zero_rows: written.zero_rows })
    }
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> Error {
    Error::bug("a building thread panicked")
}

/// What the two sides were written with.
struct Written {
    analyzer: Analyzer,
    parts: Vec<PartInfo>,
    zero_rows: u64,
}

/// What the one pass left behind.
pub(super) struct Sides {
    pub(super) collection: CollectionRecord,
    pub(super) analyzer: Analyzer,
    pub(super) zero_rows: u64,
}

/// Cuts the stream of passages into parts and hands them over.
struct Cutter {
    sender: SyncSender<Part>,
    part: Part,
}

impl Cutter {
    fn push(&mut self, passage: Passage) -> Result<()> {
        let ordinal = self.part.base as usize + self.part.passages.len();
        // Ordinals are u32; the last one is left out so that a count always fits as well.
        if ordinal >= u32::MAX as usize {
            return Err(Error::new(ErrorKind::Limit, "an index holds fewer than 4,294,967,295 passages"));
        }
        self.part.passages.push(passage);
        if self.part.passages.len() >= part_length(self.part.base as usize) {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.part.passages.is_empty() {
            return Ok(());
        }
        let next = self.part.base + self.part.passages.len() as u32;
        let following = Part { number: self.part.number + 1, base: next, passages: Vec::new() };
        let part = std::mem::replace(&mut self.part, following);
        // The receiver is gone only when writing failed, and that error is the one reported.
        self.sender.send(part).map_err(|_| Error::new(ErrorKind::Interrupted, "stopped"))
    }
}

/// Appends blocks of rows in ordinal order, whatever order they arrive in.
struct InOrder {
    writer: RowsWriter,
    next: u32,
    waiting: BTreeMap<u32, Vec<Embeddings>>,
    zero_rows: u64,
}

impl InOrder {
    fn append(&mut self, base: u32, blocks: Vec<Embeddings>) -> Result<()> {
        self.waiting.insert(base, blocks);
        while let Some(blocks) = self.waiting.remove(&self.next) {
            for block in blocks {
                self.zero_rows += (0..block.len()).filter(|i| block.row(*i).iter().all(|x| *x == 0.0)).count() as u64;
                self.writer.append(&block)?;
                self.next += block.len() as u32;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        self.writer.finish()?;
        Ok(self.zero_rows)
    }
}

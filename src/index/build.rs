//! Builds both sides of an index side by side, in one streaming pass, and publishes them at once.
//!
//! ```text
//! sources ─ read ─ chunk ─ dedup ─► parts of consecutive ordinals ─┬► sparse part (one thread)
//!                                                                  └► rows, appended in ordinal order
//! then: sidecars ─ graph ─ fusion weight ─ hashes ─ manifest.json ─ CURRENT
//! ```
//!
//! Parts are cut by ordinal alone and each is written by one thread, so the files are the same at any thread count.
//! Memory holds a few parts at a time, whatever the size of the collection; ids are remembered as 128-bit hashes.

use super::calibrate;
use super::manifest::{
    CollectionRecord, DenseRecord, EncoderRecord, FORMAT, FileEntry, FusionRecord, GraphRecord, Manifest, SparseRecord,
};
use super::{current, generation_number};
use crate::collection::Passage;
use crate::collection::chunk::{self, Chunking};
use crate::collection::read::{self, ReadOptions, ReadSummary, Source};
use crate::dense::rows::{Rows, RowsWriter};
use crate::dense::{self, DenseIndex, GraphBuilder, GraphOptions};
use crate::encoder::contract::{Encoder, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::fusion::Fusion;
use crate::progress::{Progress, Stage};
use crate::sparse::{self, Analyzer, Language, PartInfo, SparseIndex};
use crate::storage::{self, WriteLock};
use crate::text::shingles::NearDuplicates;
use rayon::iter::{IntoParallelRefIterator, ParallelBridge, ParallelIterator};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Which duplicates are left out of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dedup {
    /// None.
    #[default]
    None,
    /// Passages whose title and text equal an earlier passage's.
    Exact,
    /// Those, and passages whose word shingles are nearly an earlier passage's (MinHash).
    Near,
}

impl Dedup {
    /// The name commands and manifests use.
    pub fn name(self) -> &'static str {
        match self {
            Dedup::None => "none",
            Dedup::Exact => "exact",
            Dedup::Near => "near",
        }
    }
}

/// An encoder to be opened: what the user called it and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderChoice {
    /// `builtin`, a folder, `owner/name`.
    pub name: String,
    /// `builtin` or an absolute folder.
    pub location: String,
}

impl EncoderChoice {
    /// The encoder embedded in the program.
    pub fn builtin() -> Self {
        EncoderChoice { name: "builtin".into(), location: "builtin".into() }
    }
}

/// What to build from, and how. `Default` reads nothing, encodes with the built-in encoder and keeps every passage.
pub struct BuildOptions {
    /// Where passages come from, in this order.
    pub sources: Vec<Source>,
    /// How sources are read.
    pub read: ReadOptions,
    /// Encodes passages (and questions, unless another is named); `None` builds the sparse side alone.
    pub encoder: Option<EncoderChoice>,
    /// Encodes questions where a second tower does.
    pub question_encoder: Option<EncoderChoice>,
    /// Language of the Latin runs; `None` votes on the first passages.
    pub language: Option<Language>,
    /// How long passages are cut.
    pub chunking: Chunking,
    /// Which duplicates are left out.
    pub dedup: Dedup,
    /// Who fills the neighbour graph.
    pub graph_builder: GraphBuilder,
    /// The graph's numbers.
    pub graph: GraphOptions,
    /// Share of the exact ten nearest the graph has to find.
    pub ann_recall_floor: f64,
    /// The default fusion; `None` finds its weight from pseudo-queries of the collection.
    pub fusion: Option<Fusion>,
    /// Seed of every draw.
    pub seed: u64,
    /// Whether an index of the same name may be replaced.
    pub force: bool,
    /// The command as typed, for the manifest.
    pub command: Option<String>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions {
            sources: Vec::new(),
            read: ReadOptions::default(),
            encoder: Some(EncoderChoice::builtin()),
            question_encoder: None,
            language: None,
            chunking: Chunking::None,
            dedup: Dedup::None,
            graph_builder: GraphBuilder::Parallax,
            graph: GraphOptions::default(),
            ann_recall_floor: 0.98,
            fusion: None,
            seed: 1,
            force: false,
            command: None,
        }
    }
}

/// What a build did, for the screen and for benchmarks.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// The manifest that was published.
    pub manifest: Manifest,
    /// The folder of the new generation.
    pub generation: PathBuf,
    /// Wall time of reading, sparse side and rows together; of the graph; of the fusion weight; of the whole.
    pub times: BuildTimes,
    /// Answer spans that no chunk holds whole, of all answer spans in the sources; `None` where nothing was cut.
    pub cut_answers: Option<(u64, u64)>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuildTimes {
    /// Reading, sparse side and rows, which run together.
    pub both_sides: Duration,
    /// The neighbour graph.
    pub graph: Duration,
    /// The fusion weight.
    pub calibration: Duration,
    /// Everything.
    pub total: Duration,
}

/// Builds an index folder, or a new generation of it, and publishes it.
///
/// Errors leave the former index as it was. An existing index is replaced only with `force`.
pub fn build(folder: &Path, options: &BuildOptions, progress: &dyn Progress) -> Result<BuildReport> {
    let started = Instant::now();
    refuse_foreign(folder, options.force)?;
    let encoder = open_choice(options.encoder.as_ref())?;
    let question_encoder = open_choice(options.question_encoder.as_ref())?;
    agree(encoder.as_deref(), question_encoder.as_deref())?;
    storage::create_folder(folder)?;
    let _lock = WriteLock::take(folder)?;
    let number = clean_leftovers(folder)? + 1;
    let generation = folder.join(format!("gen-{number}"));
    let site = Site { generation: &generation, options, encoder: encoder.as_deref(), progress };
    let built = site.build(question_encoder.as_deref(), started);
    match built.and_then(|report| publish(folder, &generation, &report.manifest).map(|()| report)) {
        Ok(report) => Ok(report),
        Err(error) => {
            // What is left behind after a kill is cleaned by the next build; after an error, at once.
            let _ = fs_err::remove_dir_all(&generation);
            Err(error)
        }
    }
}

fn open_choice(choice: Option<&EncoderChoice>) -> Result<Option<Box<dyn Encoder>>> {
    choice.map(|choice| crate::encoder::open_named(&choice.location, &choice.name)).transpose()
}

fn agree(encoder: Option<&dyn Encoder>, question: Option<&dyn Encoder>) -> Result<()> {
    match (encoder, question) {
        (None, Some(_)) => {
            Err(Error::usage("a question encoder needs a passage encoder beside it").hint("drop `--encoder none`"))
        }
        (Some(passage), Some(question)) => {
            let (p, q) = (passage.card(), question.card());
            if p.dimension != q.dimension || p.similarity != q.similarity {
                let message = format!(
                    "question encoder `{}` gives {} rows of dimension {}, passage encoder `{}` gives {} rows of dimension {}",
                    q.name,
                    q.similarity.name(),
                    q.dimension,
                    p.name,
                    p.similarity.name(),
                    p.dimension
                );
                return Err(Error::new(ErrorKind::Mismatch, message).hint("use two towers that were trained together"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses to write into a folder that is not an index, or over one without `force`.
fn refuse_foreign(folder: &Path, force: bool) -> Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(folder, "read", e)),
    };
    let names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let ours = |name: &String| name == "CURRENT" || name.starts_with('.') || generation_number(name).is_some();
    if let Some(stranger) = names.iter().find(|name| !ours(name)) {
        return Err(Error::usage(format!("`{}` is not an index folder: it holds `{stranger}`", folder.display()))
            .hint("choose another `--name`; nothing was changed"));
    }
    if names.iter().any(|name| name == "CURRENT") && !force {
        return Err(Error::usage(format!("index `{}` exists already", folder.display()))
            .hint("pass `--force` to replace it; the old one answers until the new one is complete"));
    }
    Ok(())
}

/// Removes generations that `CURRENT` does not name; gives the highest number in use.
fn clean_leftovers(folder: &Path) -> Result<u64> {
    let kept = current(folder).ok();
    let mut highest = 0;
    for entry in fs_err::read_dir(folder).map_err(|e| Error::io(folder, "read", e))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) = generation_number(&name) else { continue };
        highest = highest.max(number);
        if kept.as_deref() != Some(name.as_str()) {
            fs_err::remove_dir_all(entry.path()).map_err(|e| Error::io(entry.path(), "remove", e))?;
        }
    }
    Ok(highest)
}

/// Makes everything durable, then lets `CURRENT` name the new generation.
fn publish(folder: &Path, generation: &Path, manifest: &Manifest) -> Result<()> {
    storage::write_atomically(&generation.join("manifest.json"), &manifest.to_bytes()?)?;
    storage::sync_folder(folder)?;
    let name = generation.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    storage::write_atomically(&folder.join("CURRENT"), format!("{name}\n").as_bytes())
}

/// A run of consecutive passages: written by one thread on the sparse side, one block of rows on the dense side.
struct Part {
    number: usize,
    base: u32,
    passages: Vec<Passage>,
}

/// Passages in the part that starts at an ordinal: growing with the collection, so that their number stays small.
fn part_length(base: usize) -> usize {
    (base / 8).clamp(16_384, 131_072)
}

/// Texts encoded between two looks at the progress.
const ENCODE_STEP: usize = 512;

/// One build: what all its steps look at.
struct Site<'a> {
    generation: &'a Path,
    options: &'a BuildOptions,
    encoder: Option<&'a dyn Encoder>,
    progress: &'a dyn Progress,
}

impl Site<'_> {
    fn build(&self, question_encoder: Option<&dyn Encoder>, started: Instant) -> Result<BuildReport> {
        storage::create_folder(&self.generation.join("sparse"))?;
        let mut times = BuildTimes::default();

        let first = Instant::now();
        let sides = self.both_sides()?;
        times.both_sides = first.elapsed();

        let graph_started = Instant::now();
        let graph = match self.encoder {
            Some(_) => Some(self.graph()?),
            None => None,
        };
        times.graph = graph_started.elapsed();

        let calibration_started = Instant::now();
        let sparse = SparseIndex::open(&self.generation.join("sparse"))?;
        let fusion = self.fusion(&sparse, question_encoder)?;
        times.calibration = calibration_started.elapsed();

        let stats = sparse.stats();
        if sparse.len() as u32 != sides.collection.passages {
            return Err(Error::bug(format!(
                "{} passages were read, {} were indexed",
                sides.collection.passages,
                sparse.len()
            )));
        }
        let cut_answers = self.cut_answers()?;
        let manifest = Manifest {
            format: FORMAT,
            program: format!("parallax {}", env!("CARGO_PKG_VERSION")),
            command: self.options.command.clone(),
            collection: sides.collection,
            sparse: SparseRecord {
                analyzer: sides.analyzer.name(),
                terms: stats.vocabulary,
                postings: stats.postings,
                tokens: stats.tokens,
            },
            dense: self.encoder.zip(graph).map(|(encoder, graph)| DenseRecord {
                passage_encoder: EncoderRecord::of(encoder.card(), location(&self.options.encoder)),
                question_encoder: question_encoder
                    .map(|encoder| EncoderRecord::of(encoder.card(), location(&self.options.question_encoder))),
                zero_rows: sides.zero_rows,
                graph,
            }),
            fusion,
            files: self.files()?,
        };
        times.total = started.elapsed();
        Ok(BuildReport { manifest, generation: self.generation.to_path_buf(), times, cut_answers })
    }

    /// Reads the sources once and writes postings and rows from what passes by.
    fn both_sides(&self) -> Result<Sides> {
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

    fn encode_part(&self, part: &Part) -> Result<Option<Vec<crate::encoder::contract::Embeddings>>> {
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

    fn graph(&self) -> Result<GraphRecord> {
        let options = self.options;
        let folder = self.generation.join("dense");
        let rows = Rows::open(&folder.join(dense::ROWS_FILE))?;
        let report = dense::build_graph(
            &folder,
            &rows,
            options.graph_builder,
            &options.graph,
            options.ann_recall_floor,
            self.progress,
        )?;
        Ok(GraphRecord {
            builder: options.graph_builder.name().to_string(),
            m: options.graph.m,
            ef_construction: options.graph.ef_construction,
            seed: options.graph.seed,
            ef: report.ef,
            ann_recall_at_10: report.ann_recall_at_10,
            sample: report.sample,
            repaired: report.repaired,
        })
    }

    fn fusion(&self, sparse: &SparseIndex, question_encoder: Option<&dyn Encoder>) -> Result<FusionRecord> {
        if let Some(fusion) = self.options.fusion {
            fusion.check()?;
            let found_by = "given with `--fusion`".to_string();
            return Ok(FusionRecord { fusion, found_by, queries: 0, reciprocal_ranks: None, gain_interval: None });
        }
        let Some(encoder) = self.encoder else {
            return Ok(calibrate::without_dense());
        };
        let dense = DenseIndex::open(&self.generation.join("dense"))?;
        let encoders = calibrate::Encoders { passage: encoder, question: question_encoder.unwrap_or(encoder) };
        calibrate::weight(sparse, &dense, &encoders, self.options.seed, self.progress)
    }

    /// Counts answer spans that chunking cut, where the sources hold answers.
    fn cut_answers(&self) -> Result<Option<(u64, u64)>> {
        if self.options.chunking == Chunking::None {
            return Ok(None);
        }
        let words = |text: &str| crate::text::words::spans(text);
        let spans = |text: &str| self.encoder.map_or_else(|| words(text), |encoder| encoder.token_spans(text));
        chunk::cut_answers(&self.options.sources, &self.options.read, &self.options.chunking, &spans).map(Some)
    }

    /// Every file of the generation with its length and hash.
    fn files(&self) -> Result<BTreeMap<String, FileEntry>> {
        let mut paths = Vec::new();
        list(self.generation, &mut paths)?;
        let entries: Vec<(String, FileEntry)> = paths
            .par_iter()
            .map(|path| {
                let record = storage::record(path, &crate::progress::Silent)?;
                let name = path.strip_prefix(self.generation).unwrap_or(path);
                let name =
                    name.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
                Ok((name, FileEntry { length: record.length, sha256: record.sha256 }))
            })
            .collect::<Result<_>>()?;
        Ok(entries.into_iter().collect())
    }
}

fn location(choice: &Option<EncoderChoice>) -> &str {
    choice.as_ref().map_or("builtin", |choice| choice.location.as_str())
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> Error {
    Error::bug("a building thread panicked")
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs_err::read_dir(folder).map_err(|e| Error::io(folder, "read", e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, "read", e))?.path();
        if path.is_dir() {
            list(&path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// What the two sides were written with.
struct Written {
    analyzer: Analyzer,
    parts: Vec<PartInfo>,
    zero_rows: u64,
}

/// What the one pass left behind.
struct Sides {
    collection: CollectionRecord,
    analyzer: Analyzer,
    zero_rows: u64,
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
    waiting: BTreeMap<u32, Vec<crate::encoder::contract::Embeddings>>,
    zero_rows: u64,
}

impl InOrder {
    fn append(&mut self, base: u32, blocks: Vec<crate::encoder::contract::Embeddings>) -> Result<()> {
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

/// Recognises duplicates of passages that passed before.
struct DedupFilter {
    kind: Dedup,
    seen: HashSet<[u8; 32]>,
    near: NearDuplicates,
    found: u64,
}

impl DedupFilter {
    fn new(kind: Dedup) -> Self {
        DedupFilter { kind, seen: HashSet::new(), near: NearDuplicates::default(), found: 0 }
    }

    fn is_duplicate(&mut self, passage: &Passage) -> bool {
        let duplicate = match self.kind {
            Dedup::None => return false,
            Dedup::Exact => self.is_exact(passage),
            Dedup::Near => self.is_exact(passage) || self.near.insert_or_match(&passage.full_text()).is_some(),
        };
        self.found += u64::from(duplicate);
        duplicate
    }

    fn is_exact(&mut self, passage: &Passage) -> bool {
        let digest = storage::sha256(&[passage.title.as_bytes(), b"\0", passage.text.as_bytes()]);
        // 32 hexadecimal digits are 128 bits.
        let mut key = [0; 32];
        key.copy_from_slice(&digest.as_bytes()[..32]);
        !self.seen.insert(key)
    }
}

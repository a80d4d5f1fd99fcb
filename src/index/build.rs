//! Builds both sides of an index side by side, in one streaming pass, and publishes them at once.
//!
//! ```text
//! sources ─ read ─ chunk ─ dedup ─► parts of consecutive ordinals ─┬► sparse part (one thread)
//!                                                                  └► rows, appended in ordinal order
//! then: sidecars ─ graph ─ fusion weight ─ hashes ─ manifest.json ─ CURRENT
//! ```
//!
//! Memory holds a few parts at a time, whatever the size of the collection; ids are remembered as 128-bit hashes.

use super::manifest::{
    DenseRecord, EncoderRecord, FORMAT, FileEntry, FusionRecord, GraphRecord, Manifest, SparseRecord, VectorsRecord,
};
use super::{FusionFile, calibrate, current, dedup::Dedup, generation_number};
use crate::collection::QuerySet;
use crate::collection::chunk::{self, Chunking};
use crate::collection::read::{ReadOptions, Source};
use crate::dense::{self, DenseIndex, GraphBuilder, GraphOptions, ValueKind};
use crate::encoder::{
    self,
    contract::{Encoder, Precision},
};
use crate::error::{Error, ErrorKind, Result};
use crate::fusion::Fusion;
use crate::progress::Progress;
use crate::sparse::{Language, SparseIndex};
use crate::storage::{self, WriteLock};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    /// What encoders compute in; `None` takes each family's [usual one](encoder::usual_precision).
    pub precision: Option<Precision>,
    /// Language of the Latin runs; `None` votes on the first passages.
    pub language: Option<Language>,
    /// How long passages are cut.
    pub chunking: Chunking,
    /// Which duplicates are left out.
    pub dedup: Dedup,
    /// How vectors are stored; `None` leaves it to their number ([`ValueKind::fitting`]).
    pub vectors: Option<ValueKind>,
    /// Who fills the neighbour graph.
    pub graph_builder: GraphBuilder,
    /// The graph's numbers.
    pub graph: GraphOptions,
    /// Share of the exact ten nearest the graph has to find.
    pub ann_recall_floor: f64,
    /// The default fusion; `None` finds its weight from pseudo-queries of the collection.
    pub fusion: Option<Fusion>,
    /// A fusion that was tuned; refused where it was tuned with another encoder.
    pub tuned: Option<FusionFile>,
    /// Judged questions the weight is found on instead of pseudo-queries.
    pub judged: Option<QuerySet>,
    /// Seed of every draw.
    pub seed: u64,
    /// Whether an index of the same name may be replaced.
    pub force: bool,
    /// The command as typed, for the manifest.
    pub command: Option<String>,
    /// Whether the manifest says how long the build took; without it, equal builds give equal bytes.
    pub record_time: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions {
            sources: Vec::new(),
            read: ReadOptions::default(),
            encoder: Some(EncoderChoice::builtin()),
            question_encoder: None,
            precision: None,
            language: None,
            chunking: Chunking::None,
            dedup: Dedup::None,
            vectors: None,
            graph_builder: GraphBuilder::Parallax,
            graph: GraphOptions::default(),
            ann_recall_floor: 0.98,
            fusion: None,
            tuned: None,
            judged: None,
            seed: 1,
            force: false,
            command: None,
            record_time: false,
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
    let encoder = open_choice(options.encoder.as_ref(), options.precision)?;
    let question_encoder = open_choice(options.question_encoder.as_ref(), options.precision)?;
    agree(encoder.as_deref(), question_encoder.as_deref())?;
    if let (Some(tuned), Some(encoder)) = (&options.tuned, &encoder) {
        let question = question_encoder.as_ref().map_or(String::new(), |it| format!("+{}", it.card().fingerprint));
        tuned.check_encoders(Some(&format!("{}{question}", encoder.card().fingerprint)))?;
    }
    storage::create_folder(folder)?;
    let lock = WriteLock::take(folder)?;
    let number = clean_leftovers(folder)? + 1;
    let generation = folder.join(format!("gen-{number}"));
    let site = Site { generation: &generation, options, encoder: encoder.as_deref(), progress };
    let built = site.build(question_encoder.as_deref(), started);
    match built.and_then(|report| publish(folder, &generation, &report.manifest).map(|()| report)) {
        Ok(report) => Ok(report),
        Err(error) => {
            // What is left behind after a kill is cleaned by the next build; after an error, at once.
            let _ = fs_err::remove_dir_all(&generation);
            if !folder.join("CURRENT").exists() {
                // A first build that failed leaves no trace: what is left of the folder is the lock.
                drop(lock);
                let _ = fs_err::remove_file(folder.join(".lock"));
                let _ = fs_err::remove_dir(folder);
            }
            Err(error)
        }
    }
}

fn open_choice(choice: Option<&EncoderChoice>, precision: Option<Precision>) -> Result<Option<Box<dyn Encoder>>> {
    let Some(EncoderChoice { name, location }) = choice else { return Ok(None) };
    let precision = precision.map_or_else(|| encoder::usual_precision(location), Ok)?;
    encoder::open_named(location, name, precision).map(Some)
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
    let kept = current(folder).ok().map(|current| current.generation);
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
    let bytes = manifest.to_bytes()?;
    storage::write_atomically(&generation.join("manifest.json"), &bytes)?;
    storage::sync_folder(folder)?;
    let name = generation.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    storage::write_atomically(&folder.join("CURRENT"), format!("{name} {}\n", storage::sha256(&[&bytes])).as_bytes())
}

/// One build: what all its steps look at.
pub(super) struct Site<'a> {
    pub(super) generation: &'a Path,
    pub(super) options: &'a BuildOptions,
    pub(super) encoder: Option<&'a dyn Encoder>,
    pub(super) progress: &'a dyn Progress,
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
            dense: self.encoder.zip(graph).map(|(encoder, (vectors, graph))| DenseRecord {
                passage_encoder: EncoderRecord::of(encoder.card(), location(&self.options.encoder)),
                question_encoder: question_encoder
                    .map(|encoder| EncoderRecord::of(encoder.card(), location(&self.options.question_encoder))),
                zero_rows: sides.zero_rows,
                vectors,
                graph,
            }),
            fusion,
            build_seconds: None,
            files: self.files()?,
        };
        times.total = started.elapsed();
        let seconds = (times.total.as_secs_f64() * 1000.0).round() / 1000.0;
        let manifest = Manifest { build_seconds: self.options.record_time.then_some(seconds), ..manifest };
        Ok(BuildReport { manifest, generation: self.generation.to_path_buf(), times, cut_answers })
    }

    fn graph(&self) -> Result<(VectorsRecord, GraphRecord)> {
        let options = self.options;
        let report = dense::build_graph(
            &self.generation.join("dense"),
            options.vectors,
            options.graph_builder,
            &options.graph,
            options.ann_recall_floor,
            self.progress,
        )?;
        let vectors = VectorsRecord { kind: report.vectors.name().to_string(), recall_lost_at_10: report.recall_lost };
        let graph = GraphRecord {
            builder: options.graph_builder.name().to_string(),
            m: options.graph.m,
            ef_construction: options.graph.ef_construction,
            seed: options.graph.seed,
            ef: report.ef,
            ann_recall_at_10: report.ann_recall_at_10,
            sample: report.sample,
            repaired: report.repaired,
        };
        Ok((vectors, graph))
    }

    fn fusion(&self, sparse: &SparseIndex, question_encoder: Option<&dyn Encoder>) -> Result<FusionRecord> {
        if let Some(fusion) = self.options.fusion {
            fusion.check()?;
            return Ok(FusionRecord::given(fusion));
        }
        if let Some(tuned) = &self.options.tuned {
            return Ok(tuned.record());
        }
        let Some(encoder) = self.encoder else {
            return Ok(calibrate::without_dense());
        };
        let dense = DenseIndex::open(&self.generation.join("dense"))?;
        let encoders = calibrate::Encoders { passage: encoder, question: question_encoder.unwrap_or(encoder) };
        let judged = self.options.judged.as_ref();
        calibrate::weight(sparse, &dense, &encoders, judged, self.options.seed, self.progress)
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

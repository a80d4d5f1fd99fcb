//! Flags that several commands share, spelt and explained once.

use clap::{Args, ValueEnum};
use parallax::collection::read::{Format, OnBadLine, ReadOptions, Source};
use parallax::dense::SearchHow;
use parallax::encoder::contract::Precision;
use parallax::fusion::Fusion;
use parallax::index::{GivenFusion, Index, Manifest, calibrate};
use parallax::search::SearchRequest;
use parallax::sparse::Weighting;
use parallax::{Error, ErrorKind, Mode, Result};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Flags every command takes.
#[derive(Args)]
#[command(next_help_heading = "Global")]
pub(crate) struct Global {
    /// Folder that holds the indexes.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "indexes",
        env = "PARALLAX_INDEXES",
        hide_env_values = true
    )]
    pub(crate) indexes: PathBuf,
    /// Threads to use; all cores by default.
    #[arg(long, global = true, value_name = "N", env = "PARALLAX_THREADS", hide_env_values = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Only data and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// More about what is being done.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
    /// No progress bars.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

impl Global {
    /// The folder of an index given as a name or a path.
    pub(crate) fn index_folder(&self, given: &str) -> PathBuf {
        if is_name(given) { self.indexes.join(given) } else { PathBuf::from(given) }
    }

    /// Opens an index given as a name or a path; a name that does not exist is answered with the nearest one that does.
    pub(crate) fn open_index(&self, given: &str) -> Result<Index> {
        let folder = self.index_folder(given);
        if folder.is_dir() {
            return Index::open(&folder);
        }
        let message = format!("there is no index `{given}`");
        let mut error = Error::new(ErrorKind::NotFound, message).in_file(&folder);
        if let Some(nearest) = nearest(given, &self.index_names()) {
            error = error.hint(format!("did you mean `{nearest}`?"));
        }
        Err(error.hint(format!("make it with `parallax build-index SOURCE --name {given}`")))
    }

    fn index_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.indexes).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().join("CURRENT").is_file());
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Whether an index argument is a name under the index folder rather than a path.
fn is_name(given: &str) -> bool {
    !given.contains(['/', '\\']) && given != "." && given != ".."
}

/// Refuses index names that would leave the index folder or surprise a shell.
pub(crate) fn checked_name(name: &str) -> std::result::Result<String, String> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(fine) || name.len() > 100 {
        return Err("a name has letters, digits, `-`, `_` and `.`, and begins with none of `.` and `-`".into());
    }
    Ok(name.to_string())
}

/// The known word nearest to a mistyped one, where one is near.
pub(crate) fn nearest(word: &str, known: &[String]) -> Option<String> {
    let scored = known.iter().map(|name| (strsim::jaro_winkler(word, name), name));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name.clone())
}

/// How sources are read.
#[derive(Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Reading {
    /// Format of the sources, where it should not be detected: beir, squad, tsv or jsonl.
    #[arg(long, value_name = "FORMAT", value_parser = |text: &str| text.parse::<Format>().map_err(|e| e.message().to_string()))]
    pub(crate) source_format: Option<Format>,
    /// What to do about a malformed record: fail names it and stops; skip leaves it out, counts and records it.
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    pub(crate) on_bad_line: BadLine,
}

/// What to do about a malformed record.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BadLine {
    Fail,
    Skip,
}

impl Reading {
    /// The reader's options, with the split of judgments to read.
    pub(crate) fn options(&self, split: Option<&str>) -> ReadOptions {
        let on_bad_line = match self.on_bad_line {
            BadLine::Fail => OnBadLine::Fail,
            BadLine::Skip => OnBadLine::Skip,
        };
        ReadOptions {
            format: self.source_format,
            on_bad_line,
            split: split.map(str::to_string),
            ..ReadOptions::default()
        }
    }
}

/// Sources from paths, `-` being stdin.
pub(crate) fn sources(paths: &[PathBuf]) -> Vec<Source> {
    paths.iter().map(Source::new).collect()
}

/// How an index is searched.
#[derive(Args)]
#[command(next_help_heading = "Retrieval")]
pub(crate) struct Retrieval {
    /// Which side answers; hybrid where the index has both.
    #[arg(long, value_name = "MODE", value_parser = ["sparse", "dense", "hybrid"])]
    pub(crate) mode: Option<String>,
    /// Passages each side offers to fusion.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN))]
    pub(crate) depth: NonZeroUsize,
    /// Scores of the sparse side.
    #[arg(long, value_name = "NAME", default_value = "bm25", value_parser = ["bm25", "tfidf"])]
    pub(crate) weighting: String,
    /// BM25's term frequency saturation.
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.9)]
    pub(crate) k1: f32,
    /// BM25's length normalisation, 0 to 1.
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 0.4)]
    pub(crate) b: f32,
    /// How much a term of the title counts against one of the text.
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = 1.0)]
    pub(crate) title_weight: f32,
    /// Search all vectors instead of the neighbour graph.
    #[arg(long)]
    pub(crate) exact: bool,
    #[command(flatten)]
    pub(crate) joining: Joining,
}

/// A precision by its name.
pub(crate) fn precision(name: &str) -> std::result::Result<Precision, String> {
    Precision::from_name(name).ok_or_else(|| "one of `f32` and `int8` is expected".to_string())
}

/// How the two sides are joined.
#[derive(Args)]
#[command(next_help_heading = "Fusion")]
pub(crate) struct Joining {
    /// How scores are joined: convex, rrf, an engine's way (weaviate, qdrant-dbsf, opensearch-minmax, …; an unknown name
    /// lists them), or a JSON file that says, as `compare --tune-fusion` writes it; the index's own fusion by default.
    #[arg(long, value_name = "HOW")]
    pub(crate) fusion: Option<String>,
    /// The dense side's share in a convex combination, 0 to 1.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub(crate) weight: Option<f64>,
}

impl Joining {
    /// The fusion that was asked for; `own` is what the dense share comes from where only its method was.
    pub(crate) fn given(&self, own: Fusion) -> Result<Option<GivenFusion>> {
        let own_weight = match own {
            Fusion::Convex { weight, .. } => weight,
            Fusion::PerQuery(predictor) => predictor.average_weight(),
            _ => 0.5,
        };
        let convex = |weight: f64| Fusion::Convex { weight, normalizer: calibrate::NORMALIZER };
        let given = match (self.fusion.as_deref(), self.weight) {
            (None, None) => return Ok(None),
            (None | Some("convex"), Some(weight)) => GivenFusion::Plain(convex(weight)),
            (Some("convex"), None) => GivenFusion::Plain(convex(own_weight)),
            (Some(name), None) => GivenFusion::named(name)?,
            (Some(_), Some(_)) => {
                return Err(Error::usage(
                    "`--weight` belongs to the convex combination; any other fusion brings its own weights",
                ));
            }
        };
        if let GivenFusion::Plain(fusion) = &given {
            fusion.check()?;
        }
        Ok(Some(given))
    }

    /// The fusion that was asked for, where it is one for this index.
    pub(crate) fn resolve(&self, manifest: &Manifest) -> Result<Option<Fusion>> {
        let given = self.given(manifest.fusion.fusion)?;
        given.map(|given| given.fit(manifest.dense.as_ref())).transpose()
    }
}

impl Retrieval {
    /// The request for `k` hits from an index.
    pub(crate) fn request(&self, k: usize, index: &Index) -> Result<SearchRequest> {
        let mode = match &self.mode {
            Some(mode) => mode.parse()?,
            None if index.dense().is_some() => Mode::Hybrid,
            None => Mode::Sparse,
        };
        let weighting = match self.weighting.as_str() {
            "tfidf" => Weighting::TfIdf,
            _ => Weighting::Bm25 { k1: self.k1, b: self.b, title_weight: self.title_weight },
        };
        Ok(SearchRequest {
            k,
            depth: self.depth.get(),
            mode,
            weighting,
            fusion: self.joining.resolve(index.manifest())?,
            how: if self.exact { SearchHow::Exact } else { SearchHow::Auto },
        })
    }
}

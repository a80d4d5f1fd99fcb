//! A fusion in a file: written by hand, or found by `compare --tune-fusion` with the evidence for it.
//!
//! By hand it is a [`Fusion`] alone, `{"method": "convex", "weight": 0.4, "normalizer": "min-max"}`. What was tuned is a
//! contract of its own, so that it is never taken for more than it is:
//!
//! ```json
//! {
//!   "format": 1, "program": "parallax 0.1.0", "command": "parallax compare …",
//!   "fusion": {"method": "convex", "weight": 0.35, "normalizer": "min-max"},
//!   "index": {"folder": "indexes/mine", "passages": 5183, "analyzer": "runs-1/en", "encoder": "sha256 of the encoder"},
//!   "evidence": {
//!     "data": "…/scifact", "measure": "nDCG@10", "queries": 300, "groups": 283, "folds": 5, "proven": true,
//!     "tried": [{"name": "sparse alone", "mean": 0.68}],
//!     "tuned": 0.71,
//!     "against_present": {"name": "convex(min-max, dense weight 0.25)", "mean": 0.012, "interval": [0.003, 0.021], "p": 0.01},
//!     "against_better_side": {"name": "sparse alone", "mean": 0.03, "interval": [0.01, 0.05], "p": 0.0001},
//!     "per_query_against_better_side": {"name": "sparse alone", "mean": 0.04, "interval": [0.02, 0.06], "p": 0.0001}
//!   }
//! }
//! ```
//!
//! Fields are added, never changed in meaning, while `format` stays 1. A weight says how far an encoder can be trusted, so
//! a tuned file belongs to its encoder: an index with another one refuses it. Passages may have been added since.

use super::manifest::{DenseRecord, FusionRecord, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::eval::significance::Paired;
use crate::fusion::{Fusion, presets};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The format this program writes and reads.
pub const FORMAT: u32 = 1;

/// What was tuned, on what, and how sure that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FusionFile {
    /// Format number.
    pub format: u32,
    /// Program and version that wrote it.
    pub program: String,
    /// The command as typed.
    pub command: String,
    /// The fusion to search with: the tuned one where its gain is proven, the index's own otherwise.
    pub fusion: Fusion,
    /// The index whose lists were joined.
    pub index: TunedIndex,
    /// What was measured.
    pub evidence: Evidence,
}

/// The index a fusion was tuned on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunedIndex {
    /// Its folder.
    pub folder: String,
    /// Its passages.
    pub passages: u32,
    /// Name of its analysis chain.
    pub analyzer: String,
    /// Fingerprints of its encoders ([`encoders`]).
    pub encoder: String,
}

/// What was measured when a fusion was tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The data set.
    pub data: String,
    /// The measure that was maximised.
    pub measure: String,
    /// Judged queries.
    pub queries: usize,
    /// Groups of queries that share a gold passage; a group is never on both sides of a fold.
    pub groups: usize,
    /// Folds of the outer cross-validation.
    pub folds: usize,
    /// Whether the gain against the present fusion is proven.
    pub proven: bool,
    /// Means of everything that was tried; of what is fitted, on folds that it was not fitted on.
    pub tried: Vec<Tried>,
    /// Mean of the tuned fusion on held-out folds, every choice made without them.
    pub tuned: f64,
    /// The tuned fusion less the index's own, on held-out folds.
    pub against_present: Difference,
    /// The tuned fusion less the better of both sides alone.
    pub against_better_side: Difference,
    /// The weight per query less the better side, on folds it was not fitted on, whether it was chosen or not.
    pub per_query_against_better_side: Difference,
}

/// A way of joining and what it reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// What it is.
    pub name: String,
    /// Its mean.
    pub mean: f64,
}

/// A paired difference to something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What the tuned fusion is compared with.
    pub name: String,
    /// Mean difference.
    pub mean: f64,
    /// Its 95 % bootstrap interval over the held-out queries.
    pub interval: [f64; 2],
    /// Two-sided p of the randomisation test.
    pub p: f64,
}

impl Difference {
    /// A difference to what has this name.
    pub fn of(name: &str, paired: &Paired) -> Self {
        let interval = [paired.interval.0, paired.interval.1];
        Difference { name: name.to_string(), mean: paired.mean_difference, interval, p: paired.p_randomization }
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum GivenFusion {
    /// Named or written by hand.
    Plain(Fusion),
    /// Found by tuning.
    Tuned(Box<FusionFile>),
}

/// Fingerprints of an index's encoders, joined by a `+` where questions have one of their own.
pub fn encoders(dense: &DenseRecord) -> String {
    let question = dense.question_encoder.as_ref().map_or(String::new(), |encoder| format!("+{}", encoder.fingerprint));
    format!("{}{question}", dense.passage_encoder.fingerprint)
}

impl GivenFusion {
    /// What a command line calls a fusion: `rrf`, an engine's preset, or a file.
    ///
    /// A name that is neither is answered with the list of those known.
    pub fn named(name: &str) -> Result<GivenFusion> {
        if name == "rrf" {
            return Ok(GivenFusion::Plain(Fusion::RRF));
        }
        match Fusion::preset(name) {
            Some(fusion) => Ok(GivenFusion::Plain(fusion)),
            None if !Path::new(name).exists() => {
                let message = format!("`{name}` is neither a fusion nor the file of one");
                Err(Error::new(ErrorKind::NotFound, message).hint(format!("fusions are rrf, {}", presets::names())))
            }
            None => GivenFusion::read(Path::new(name)),
        }
    }

    /// Reads a fusion file of either form.
    pub fn read(path: &Path) -> Result<GivenFusion> {
        let form = r#"write `{"method": "convex", "weight": 0.4, "normalizer": "min-max"}` or `{"method": "rrf", "k": 60}`, or let `compare --tune-fusion` write it"#;
        let bytes = fs_err::read(path).map_err(|e| Error::io(path, "read", e).hint(form))?;
        let refuse =
            |e: serde_json::Error| Error::at_line(path, e.line() as u64, "this is no fusion").because(e).hint(form);
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(refuse)?;
        let Some(format) = json.get("format") else {
            let fusion: Fusion = serde_json::from_slice(&bytes).map_err(refuse)?;
            fusion.check().map_err(|e| e.in_file(path))?;
            return Ok(GivenFusion::Plain(fusion));
        };
        if format.as_u64() != Some(u64::from(FORMAT)) {
            let message = format!("the fusion file has format {format}, this program reads format {FORMAT}");
            return Err(Error::damaged(path, message).hint("tune anew with `parallax compare --tune-fusion`"));
        }
        let file: FusionFile = serde_json::from_slice(&bytes).map_err(refuse)?;
        file.fusion.check().map_err(|e| e.in_file(path))?;
        Ok(GivenFusion::Tuned(Box::new(file)))
    }

    /// The fusion, where it is one for an index with these encoders.
    pub fn fit(&self, dense: Option<&DenseRecord>) -> Result<Fusion> {
        match self {
            GivenFusion::Plain(fusion) => Ok(*fusion),
            GivenFusion::Tuned(file) => file.check_encoders(dense.map(encoders).as_deref()).map(|()| file.fusion),
        }
    }
}

impl FusionFile {
    /// Refuses encoders that the fusion was not tuned with.
    pub fn check_encoders(&self, encoders: Option<&str>) -> Result<()> {
        match encoders {
            Some(encoders) if encoders != self.index.encoder => {
                let message = format!(
                    "the fusion was tuned with the encoder of index `{}`, fingerprint {}; this one's is {encoders}",
                    self.index.folder, self.index.encoder
                );
                Err(Error::new(ErrorKind::Mismatch, message)
                    .hint("tune anew on this index with `parallax compare --tune-fusion`")
                    .hint("or write the file's `fusion` alone into a file of its own, at your own risk"))
            }
            _ => Ok(()),
        }
    }

    /// What an index says that is built with it.
    pub fn record(&self) -> FusionRecord {
        let Evidence { measure, queries, folds, against_present, .. } = &self.evidence;
        let Difference { name, mean, interval: [low, high], .. } = against_present;
        let found_by = match self.evidence.proven {
            true => format!(
                "tuned on {queries} judged questions: {measure} {mean:+.4} ({low:+.4} to {high:+.4}) against {name} in {folds} folds"
            ),
            false => {
                format!("kept after tuning on {queries} judged questions proved no gain ({measure}, {folds} folds)")
            }
        };
        FusionRecord { fusion: self.fusion, found_by, queries: *queries, ..FusionRecord::given(self.fusion) }
    }

    /// The index part of a file about an index.
    pub fn index_of(folder: &Path, manifest: &Manifest) -> TunedIndex {
        TunedIndex {
            folder: folder.display().to_string(),
            passages: manifest.collection.passages,
            analyzer: manifest.sparse.analyzer.clone(),
            encoder: manifest.dense.as_ref().map(encoders).unwrap_or_default(),
        }
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::bug("a fusion could not be written as JSON").because(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::Normalizer;

    fn file() -> FusionFile {
        let difference = Difference { name: "rrf(k=60)".into(), mean: 0.0123, interval: [0.002, 0.022], p: 0.01 };
        FusionFile {
            format: FORMAT,
            program: "parallax".into(),
            command: "parallax compare".into(),
            fusion: Fusion::Convex { weight: 0.35, normalizer: Normalizer::ZScore },
            index: TunedIndex {
                folder: "indexes/a".into(),
                passages: 9,
                analyzer: "runs-1/en".into(),
                encoder: "abc".into(),
            },
            evidence: Evidence {
                data: "d".into(),
                measure: "nDCG@10".into(),
                queries: 300,
                groups: 200,
                folds: 5,
                proven: true,
                tried: vec![Tried { name: "sparse alone".into(), mean: 0.7 }],
                tuned: 0.72,
                against_present: difference.clone(),
                against_better_side: difference.clone(),
                per_query_against_better_side: difference,
            },
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was_and_belongs_to_its_encoder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fusion.json");
        std::fs::write(&path, file().to_bytes().unwrap()).unwrap();
        let read = GivenFusion::read(&path).unwrap();
        assert_eq!(read, GivenFusion::Tuned(Box::new(file())));
        assert_eq!(read.fit(None).unwrap(), file().fusion);
        assert!(file().check_encoders(Some("abc")).is_ok());
        assert_eq!(file().check_encoders(Some("abd")).unwrap_err().kind(), ErrorKind::Mismatch);
        let record = file().record();
        assert_eq!((record.queries, record.fusion), (300, file().fusion));
        assert!(
            record.found_by.contains("nDCG@10 +0.0123 (+0.0020 to +0.0220) against rrf(k=60)"),
            "{}",
            record.found_by
        );
    }

    #[test]
    fn other_versions_and_damage_are_refused_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fusion.json");
        let text = String::from_utf8(file().to_bytes().unwrap()).unwrap();
        let refused = |text: &str, what: &str| {
            std::fs::write(&path, text).unwrap();
            let error = GivenFusion::read(&path).unwrap_err().to_string();
            assert!(error.contains("fusion.json") && error.contains(what), "{error}");
        };
        refused(&text.replace("\"format\": 1", "\"format\": 2"), "format 2");
        refused(&text[..text.len() / 2], "no fusion");
        refused(&text.replace("0.35", "1.35"), "not between 0 and 1");
        refused(&text.replace("\"z-score\"", "\"w-score\""), "no fusion");
        refused(r#"{"method": "rrf", "k": 0}"#, "not above 0");
        refused(r#"{"weight": 0.4}"#, "no fusion");
        std::fs::write(&path, r#"{"method": "preset", "name": "ranx"}"#).unwrap();
        assert_eq!(GivenFusion::read(&path).unwrap().fit(None).unwrap().to_string(), "ranx");
    }
}

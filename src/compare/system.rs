//! What can be compared: an index searched in some way, or another tool's run file.
//!
//! ```
//! use parallax::compare::System;
//! let systems = System::parse_list("bm25,bm25(k1=1.2,b=.75),hybrid(rrf)")?;
//! let names: Vec<&str> = systems.iter().map(System::name).collect();
//! assert_eq!(names, ["bm25", "bm25(k1=1.2,b=.75)", "hybrid(rrf)"]);
//! # Ok::<(), parallax::Error>(())
//! ```

use crate::collection::read::{self, Source};
use crate::collection::run::Run;
use crate::error::{Error, Result};
use crate::fusion::Fusion;
use crate::index::calibrate::NORMALIZER;
use crate::index::fusion_file::encoders;
use crate::index::{FusionFile, GivenFusion, Manifest};
use crate::search::{Mode, SearchRequest};
use crate::sparse::Weighting;

/// A retriever with all its settings.
#[derive(Clone, Debug)]
pub enum System {
    /// The index at hand, searched in some way.
    Index {
        /// As it was written.
        name: String,
        /// How it is searched.
        request: SearchRequest,
        /// The fusion's file, where it was tuned: it belongs to an encoder.
        tuned: Option<Box<FusionFile>>,
    },
    /// Rankings another tool made.
    File {
        /// As it was written.
        name: String,
        /// Its rankings.
        run: Run,
        /// Where they were read from.
        path: String,
    },
}

/// Fewest passages a system is asked for, and a side offers to fusion, whatever a measure looks at.
pub(super) const LEAST_DEPTH: usize = 100;

const KNOWN: &str = "systems are `bm25`, `bm25(k1=1.2,b=.75)`, `tfidf`, `dense`, `hybrid`, `hybrid(rrf)`, \
                     `hybrid(weight=.3)`, `hybrid(ENGINE)`, `hybrid(FILE)`, `run:FILE`";

impl System {
    /// The systems of a comma-separated list; commas inside parentheses belong to the system.
    pub fn parse_list(text: &str) -> Result<Vec<System>> {
        let mut depth = 0usize;
        let pieces = text.split(|c: char| {
            depth = match c {
                '(' => depth + 1,
                ')' => depth.saturating_sub(1),
                _ => depth,
            };
            c == ',' && depth == 0
        });
        let mut systems: Vec<System> = pieces.map(|piece| System::parse(piece.trim())).collect::<Result<_>>()?;
        // Two tools may write the same tag; then the file tells their runs apart.
        let names: Vec<String> = systems.iter().map(|system| system.name().to_string()).collect();
        for system in &mut systems {
            if let System::File { name, run, path } = system
                && names.iter().filter(|other| *other == name).count() > 1
            {
                *name = format!("run:{path}");
                run.name.clone_from(name);
            }
        }
        for (i, system) in systems.iter().enumerate() {
            if systems[..i].iter().any(|earlier| earlier.name() == system.name()) {
                return Err(Error::usage(format!("system `{}` is named twice", system.name())));
            }
        }
        Ok(systems)
    }

    fn parse(text: &str) -> Result<System> {
        if let Some(path) = text.strip_prefix("run:") {
            let run = read::run(&Source::new(path), None)?;
            return Ok(System::File { name: run.name.clone(), run, path: path.to_string() });
        }
        let refuse = |why: String| Error::usage(format!("`{text}` is no system: {why}")).hint(KNOWN);
        let (head, settings) = match text.split_once('(') {
            None => (text, ""),
            Some((head, rest)) => {
                let inside = rest.strip_suffix(')').ok_or_else(|| refuse("its parenthesis is not closed".into()))?;
                (head, inside)
            }
        };
        let mut request = SearchRequest::default();
        let mut tuned = None;
        match head {
            "bm25" | "tfidf" => {
                request.mode = Mode::Sparse;
                request.weighting = text.parse::<Weighting>()?;
            }
            "dense" if settings.is_empty() => request.mode = Mode::Dense,
            "hybrid" => {
                request.mode = Mode::Hybrid;
                request.fusion = match (settings, settings.strip_prefix("weight=").map(str::parse::<f64>)) {
                    ("", _) => None,
                    (_, Some(Ok(weight))) => Some(Fusion::Convex { weight, normalizer: NORMALIZER }),
                    (_, Some(Err(_))) => return Err(refuse(format!("`{settings}` is no setting of it"))),
                    (name, None) => match GivenFusion::named(name)? {
                        GivenFusion::Plain(fusion) => Some(fusion),
                        GivenFusion::Tuned(file) => Some(tuned.insert(file).fusion),
                    },
                };
                if let Some(fusion) = request.fusion {
                    fusion.check()?;
                }
            }
            _ => return Err(refuse("no such name".into())),
        }
        Ok(System::Index { name: text.to_string(), request, tuned })
    }

    /// The system as it was written, which is its row's name.
    pub fn name(&self) -> &str {
        match self {
            System::Index { name, .. } | System::File { name, .. } => name,
        }
    }

    /// Whether a name means this system: its row's name, or `run:FILE` as it was written.
    pub fn is_called(&self, name: &str) -> bool {
        match self {
            System::File { path, .. } if name.strip_prefix("run:") == Some(path) => true,
            _ => self.name() == name,
        }
    }

    /// Which side of the index it needs; `None` for run files.
    pub fn mode(&self) -> Option<Mode> {
        match self {
            System::Index { request, .. } => Some(request.mode),
            System::File { .. } => None,
        }
    }

    /// Where its fusion was tuned on this data set: what it reached there on questions it was not fitted on.
    pub fn tuned_on(&self, data: &str) -> Option<String> {
        match self {
            System::Index { tuned: Some(file), .. } if file.evidence.data == data && file.evidence.proven => {
                Some(format!("{} {:.4}", file.evidence.measure, file.evidence.tuned))
            }
            _ => None,
        }
    }

    /// Refuses an index with another encoder than the one its fusion was tuned with.
    pub fn check(&self, manifest: &Manifest) -> Result<()> {
        match self {
            System::Index { tuned: Some(file), .. } => {
                file.check_encoders(manifest.dense.as_ref().map(encoders).as_deref())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_the_request() {
        let systems = System::parse_list("bm25(k1=1.2,b=.75), hybrid(weight=.3),dense,hybrid(weaviate)").unwrap();
        let requests: Vec<&SearchRequest> = systems
            .iter()
            .map(|system| match system {
                System::Index { request, .. } => request,
                System::File { .. } => panic!("no file was named"),
            })
            .collect();
        assert_eq!(requests[0].weighting, "bm25(k1=1.2,b=.75)".parse().unwrap());
        assert_eq!(requests[1].fusion, Some(Fusion::Convex { weight: 0.3, normalizer: NORMALIZER }));
        assert_eq!(requests[2].mode, Mode::Dense);
        assert_eq!(requests[3].fusion, Fusion::preset("weaviate"));
    }

    #[test]
    fn wrong_systems_are_refused() {
        for wrong in [
            "",
            "bm24",
            "bm25(k1=x)",
            "hybrid(weight=2)",
            "hybrid(weight=x)",
            "hybrid(solr)",
            "hybrid(weight=.3",
            "dense(1)",
            "bm25,bm25",
            "run:/none",
        ] {
            assert!(System::parse_list(wrong).is_err(), "{wrong}");
        }
    }
}

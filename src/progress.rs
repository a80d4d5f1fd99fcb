//! Named stages of long work, reported to whoever was handed in; the engine itself never prints.
//!
//! A caller that wants bars implements [`Progress`]; one that does not hands in [`Silent`]. The same object carries
//! the wish to stop: long loops ask [`Progress::checkpoint`] and leave with [`ErrorKind::Interrupted`] when told to.

use crate::error::{Error, ErrorKind, Result};

/// A stage of work with a name users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Passages read from the sources.
    Reading,
    /// Passages written to the sparse side.
    Sparse,
    /// Passages turned into vectors.
    Encoding,
    /// Rows brought into fewer bits.
    Narrowing,
    /// Rows inserted in the neighbour graph.
    Graph,
    /// Pseudo-queries scored to find the fusion weight.
    Calibrating,
    /// Queries searched.
    Searching,
    /// Searches timed.
    Timing,
    /// Words counted for a vocabulary.
    Counting,
    /// Held-out questions asked.
    Validating,
    /// Files hashed.
    Verifying,
    /// Bytes fetched.
    Fetching,
    /// Texts cut into tokens before training.
    Tokenizing,
    /// Training steps.
    Training,
    /// Missed queries looked into.
    Diagnosing,
}

impl Stage {
    /// The stage's name, lower case, as screens show it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Reading => "reading",
            Stage::Sparse => "sparse",
            Stage::Encoding => "encoding",
            Stage::Narrowing => "narrowing",
            Stage::Graph => "graph",
            Stage::Calibrating => "calibrating",
            Stage::Searching => "searching",
            Stage::Timing => "timing",
            Stage::Counting => "counting",
            Stage::Validating => "validating",
            Stage::Verifying => "verifying",
            Stage::Fetching => "fetching",
            Stage::Tokenizing => "tokenizing",
            Stage::Training => "training",
            Stage::Diagnosing => "diagnosing",
        }
    }
}

/// Receives what long work reports. Called from several threads at once.
pub trait Progress: Send + Sync {
    /// A stage begins; `total` units of work where that is known.
    fn begin(&self, _stage: Stage, _total: Option<u64>) {}
    /// `units` more of a stage are done.
    fn advance(&self, _stage: Stage, _units: u64) {}
    /// `units` of a stage that has begun were done by an earlier run.
    fn resumed(&self, stage: Stage, units: u64) {
        self.advance(stage, units);
    }
    /// A figure of a running stage, such as the loss; the newest one of a name counts.
    fn figure(&self, _stage: Stage, _name: &str, _value: f64) {}
    /// A stage is over.
    fn finish(&self, _stage: Stage) {}
    /// Something the user should know although work goes on.
    fn warn(&self, _message: &str) {}
    /// Whether the user asked to stop.
    fn cancelled(&self) -> bool {
        false
    }
    /// Leaves with an error when the user asked to stop; long loops call it once a batch.
    fn checkpoint(&self) -> Result<()> {
        if self.cancelled() { Err(Error::new(ErrorKind::Interrupted, "interrupted")) } else { Ok(()) }
    }
}

/// Reports nothing and never stops.
pub struct Silent;

impl Progress for Silent {}

/// Reports nothing, and stops when the progress within is told to: for steps of a stage that is reported as a whole.
pub struct Unseen<'a>(pub &'a dyn Progress);

impl Progress for Unseen<'_> {
    fn warn(&self, message: &str) {
        self.0.warn(message);
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

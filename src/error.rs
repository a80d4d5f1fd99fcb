//! Why the house says no: one error type, with its kind, its place, its cause and hints that mend it.
//!
//! The kind alone decides the exit code; the message is one sentence, lower case, without a full stop, with
//! names in backticks and both numbers where two disagree. Hints are commands or edits that can be pasted.
//!
//! ```
//! use parallax::{Error, ErrorKind};
//! let error = Error::at_line("corpus.jsonl", 12, "`_id` is missing").hint("pass `--on-bad-line skip` to go on without it");
//! assert_eq!(error.kind(), ErrorKind::BadInput);
//! assert_eq!(error.to_string(), "corpus.jsonl:12: `_id` is missing");
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

/// `Result` with the house's own [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of refusal this is; scripts see it as the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The data given (a corpus, queries, qrels, a run) is malformed.
    BadInput,
    /// The options contradict each other or name something that does not exist.
    Usage,
    /// A named index, file or model is not there.
    NotFound,
    /// A file of ours is truncated, altered or of another format version.
    Damaged,
    /// Two parts that must belong together do not: an encoder and an index, say.
    Mismatch,
    /// Another process holds the lock.
    Busy,
    /// The operating system refused: disk full, no permission.
    Io,
    /// A stated limit was exceeded.
    Limit,
    /// A measured figure missed a bar that was asked for.
    Gate,
    /// The user stopped it.
    Interrupted,
    /// A promise inside the house was broken: our bug.
    Bug,
}

impl ErrorKind {
    /// The process exit code: 1 mendable, 2 usage, 3 gate, 101 our bug, 130 interrupted.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Usage => 2,
            ErrorKind::Gate => 3,
            ErrorKind::Bug => 101,
            ErrorKind::Interrupted => 130,
            _ => 1,
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A refusal: what, where, why, and what to try.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    path: Option<PathBuf>,
    line: Option<u64>,
    message: String,
    cause: Option<Cause>,
    hints: Vec<String>,
}

impl Error {
    /// An error of the given kind; the message is one sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Parts { kind, path: None, line: None, message: message.into(), cause: None, hints: Vec::new() }))
    }

    /// Malformed data with no better place to name.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::BadInput, message)
    }

    /// Malformed data in a file, at a 1-based line.
    pub fn at_line(path: impl AsRef<Path>, line: u64, message: impl Into<String>) -> Self {
        let mut error = Error::bad_input(message).in_file(path);
        error.0.line = Some(line);
        error
    }

    /// A command line that contradicts itself.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Usage, message)
    }

    /// A file of ours that is not what it was when written.
    pub fn damaged(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Damaged, message).in_file(path)
    }

    /// An operating-system error on a path; `doing` is a verb phrase such as "read" or "create".
    pub fn io(path: impl AsRef<Path>, doing: &str, cause: std::io::Error) -> Self {
        let kind = match cause.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("could not {doing} `{}`", path.as_ref().display())).because(cause)
    }

    /// A broken promise inside the house.
    pub fn bug(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Bug, message)
            .hint("this is a bug of parallax: please report it with the command that led here")
    }

    /// Names the file the error is about.
    pub fn in_file(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Chains the cause below this error.
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds a remedy, shown after the causes.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// The kind, which decides the exit code.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file and 1-based line the error names, where it names them.
    pub fn place(&self) -> (Option<&Path>, Option<u64>) {
        (self.0.path.as_deref(), self.0.line)
    }

    /// The sentence without its place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The remedies, in the order they were added.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.path, self.0.line) {
            (Some(path), Some(line)) => write!(f, "{}:{line}: {}", path.display(), self.0.message),
            (Some(path), None) => write!(f, "{}: {}", path.display(), self.0.message),
            _ => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        if let Some(cause) = &self.0.cause {
            write!(f, " (caused by: {cause})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_ref().map(|cause| &**cause as &(dyn std::error::Error + 'static))
    }
}

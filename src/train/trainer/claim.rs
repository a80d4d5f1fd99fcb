//! The folder a training writes: nothing in it is written over, and one process at a time writes it.

use super::{PASSAGE, QUESTION, REPORT};
use crate::error::{Error, Result};
use crate::storage::{WriteLock, create_folder};
use crate::train::checkpoint::Checkpoints;
use crate::train::options::TrainOptions;
use fs_err as fs;
use std::path::{Path, PathBuf};

/// A folder claimed for a training, until this is dropped.
///
/// It is taken before examples and models are read, so that a refusal costs nothing. A training that ends without a
/// checkpoint leaves nothing in it to go on from: of such a one only the log stays.
///
/// ```
/// use parallax::train::{Claim, TrainOptions};
/// let folder = tempfile::tempdir().unwrap();
/// let output = folder.path().join("model");
/// let claim = Claim::take(&output, &TrainOptions::default())?;
/// assert!(Claim::take(&output, &TrainOptions::default()).is_err());
/// drop(claim);
/// assert!(!output.exists());
/// # Ok::<(), parallax::Error>(())
/// ```
pub struct Claim {
    output: PathBuf,
    pub(super) checkpoints: Checkpoints,
    /// Whether the folder was not there before.
    made: bool,
    _lock: WriteLock,
}

impl Claim {
    /// Claims a folder for a training with these options.
    ///
    /// # Errors
    ///
    /// Refuses options that mean nothing ([`TrainOptions::check`]), a folder that holds a model or a training (unless
    /// the options resume it), and one that another process is writing.
    pub fn take(output: &Path, options: &TrainOptions) -> Result<Self> {
        options.check()?;
        let checkpoints = Checkpoints::of(output);
        let free = |checkpoints: &Checkpoints| match options.resume {
            true => Ok(()),
            false => vacant(output, checkpoints.newest()?.is_some()),
        };
        free(&checkpoints)?;
        let made = !output.exists();
        create_folder(checkpoints.folder())?;
        let _lock = WriteLock::take(checkpoints.folder())?;
        let claim = Claim { output: output.to_path_buf(), checkpoints, made, _lock };
        // Who had the lock may have ended in between, and left a model.
        free(&claim.checkpoints)?;
        Ok(claim)
    }

    /// The folder.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// A folder in it for files that are gone when the training is over.
    pub fn work(&self) -> &Path {
        self.checkpoints.folder()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if matches!(self.checkpoints.newest(), Ok(None)) {
            let _ = self.checkpoints.remove();
            if self.made {
                // Succeeds only where it is empty.
                let _ = fs::remove_dir(&self.output);
            }
        }
    }
}

/// Refuses a folder in which something would be overwritten.
fn vacant(output: &Path, unfinished: bool) -> Result<()> {
    let message = match () {
        () if unfinished => "an unfinished training",
        () if output.join(REPORT).exists() => "a finished training",
        () if ["modules.json", "config.json", QUESTION, PASSAGE].iter().any(|name| output.join(name).exists()) => {
            "a model"
        }
        () => return Ok(()),
    };
    let error = Error::usage(format!("`{}` holds {message} already", output.display()));
    Err(if unfinished {
        error.hint("go on with `--resume`, or name another folder")
    } else {
        error.hint("name another folder")
    })
}

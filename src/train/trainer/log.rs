//! The log of a training: one JSON object a line, a line a step or validation.

use crate::error::{Error, Result};
use fs_err as fs;
use serde_json::Value;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The file, open at its end.
pub(super) struct Log {
    path: PathBuf,
    file: fs::File,
    /// Bytes it has.
    pub(super) bytes: u64,
}

impl Log {
    /// Opens the log as it was when it had `bytes` bytes: lines of steps that will be made again go.
    pub(super) fn open(path: &Path, bytes: u64) -> Result<Self> {
        let open = || {
            let mut file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            let bytes = bytes.min(file.metadata()?.len());
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|e| Error::io(path, "open", e))?;
        Ok(Log { path: path.to_path_buf(), file, bytes })
    }

    /// Appends a line.
    pub(super) fn write(&mut self, line: &Value) -> Result<()> {
        let line = format!("{line}\n");
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, "write", e))?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

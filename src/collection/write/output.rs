//! A text file that takes its name when it is complete.

use crate::error::{Error, Result};
use crate::storage::sync_folder;
use fs_err as fs;
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Written beside its name, then renamed; dropped unfinished it leaves nothing.
pub(super) struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<fs::File>>,
}

impl Output {
    /// Begins the file.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let temporary = path.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
        let file = fs::File::create(&temporary).map_err(|e| Error::io(path, "create", e))?;
        Ok(Output { path: path.to_path_buf(), temporary, file: Some(BufWriter::with_capacity(1 << 18, file)) })
    }

    /// Appends text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        self.write(|file| file.write_all(text.as_bytes()))
    }

    /// Appends one JSON line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.write(|file| {
            serde_json::to_writer(&mut *file, value)?;
            file.write_all(b"\n")
        })
    }

    /// Makes the file durable and gives it its name.
    pub(super) fn finish(mut self) -> Result<PathBuf> {
        self.write(|file| {
            file.flush()?;
            file.get_ref().sync_all()
        })?;
        self.file = None;
        fs::rename(&self.temporary, &self.path).map_err(|e| Error::io(&self.path, "write", e))?;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.path.clone())
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<fs::File>) -> std::io::Result<()>) -> Result<()> {
        match &mut self.file {
            Some(file) => write(file).map_err(|e| Error::io(&self.path, "write", e)),
            None => Ok(()),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is buffered is of no use any more.
            let _ = file.into_parts();
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

//! A text file that takes its name when it is complete.

use crate::error::{Error, Result};
use crate::storage::sync_folder;
use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err as fs;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A text file, written beside its name, then renamed; dropped unfinished it leaves nothing. A name that ends in `.gz` is
/// packed.
pub struct Output {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once the file has its name.
    file: Option<BufWriter<Sink>>,
}

/// Where bytes go.
enum Sink {
    Plain(fs::File),
    /// With neither name nor time in its header: equal content gives equal bytes.
    Gzip(GzEncoder<fs::File>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(file) => file.write(bytes),
            Sink::Gzip(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(file) => file.flush(),
            Sink::Gzip(file) => file.flush(),
        }
    }
}

impl Output {
    /// Begins the file, which is to replace what has its name. Fails where that is no regular file (a folder, a device),
    /// and where nothing can be written.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|_| path.is_file() || !path.exists()).ok_or_else(|| {
            Error::usage("is not a file that could be written").in_file(path).hint("name a file in an existing folder")
        })?;
        let temporary = path.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
        let file = fs::File::create(&temporary).map_err(|e| Error::io(path, "create", e))?;
        let sink = match name.ends_with(".gz") {
            true => Sink::Gzip(GzEncoder::new(file, Compression::default())),
            false => Sink::Plain(file),
        };
        Ok(Output { path: path.to_path_buf(), temporary, file: Some(BufWriter::with_capacity(1 << 18, sink)) })
    }

    /// Appends text as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.write(|file| file.write_all(text.as_bytes()))
    }

    /// Appends one JSON line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.value(value)?;
        self.text("\n")
    }

    /// Appends a JSON value without a line end.
    pub(super) fn value(&mut self, value: &impl Serialize) -> Result<()> {
        self.write(|file| Ok(serde_json::to_writer(&mut *file, value)?))
    }

    /// Makes the file durable and gives it its name, which comes back.
    pub fn finish(mut self) -> Result<PathBuf> {
        self.write(|file| {
            file.flush()?;
            match file.get_mut() {
                Sink::Plain(file) => file.sync_all(),
                Sink::Gzip(file) => {
                    file.try_finish()?;
                    file.get_ref().sync_all()
                }
            }
        })?;
        fs::rename(&self.temporary, &self.path).map_err(|e| Error::io(&self.path, "write", e))?;
        self.file = None;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(self.path.clone())
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<Sink>) -> io::Result<()>) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Output::create(path).err().unwrap().to_string();
        assert!(refused(folder.path()).contains("not a file"));
        assert!(
            refused(&folder.path().join("..")).contains("not a file") && refused("".as_ref()).contains("not a file")
        );
        assert!(!refused(&folder.path().join("absent/x")).contains("not a file"));
        #[cfg(unix)]
        assert!(refused("/dev/null".as_ref()).contains("not a file"));
        let path = folder.path().join("x");
        for content in ["old", "new"] {
            let mut out = Output::create(&path).unwrap();
            out.text(content).unwrap();
            assert_eq!(out.finish().unwrap(), path);
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of what was refused");
    }
}

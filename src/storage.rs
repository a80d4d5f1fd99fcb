//! The one door to the disk for what we write: sealed files, checked maps, atomic publishing, the writer's lock.
//!
//! A *sealed file* is a 64-byte header and a payload, all little-endian:
//!
//! ```text
//! offset  bytes  what
//!      0      8  magic, names the kind of file
//!      8      4  format version
//!     12      4  CRC-32 of the payload
//!     16      8  payload length in bytes
//!     24     32  four numbers of the kind's own (rows, dimension, …)
//!     56      4  zero
//!     60      4  CRC-32 of bytes 0..60
//!     64      …  payload
//! ```
//!
//! Opening checks the magic, the version, the header's checksum and that the file is exactly as long as the header
//! says; [`Sealed::verify`] checks the payload. Finished files are never changed afterwards, which is what makes
//! mapping them sound as long as nobody else edits an index in place.

use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Progress, Stage};
use fs_err as fs;
use sha2::{Digest, Sha256};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const HEADER: usize = 64;

/// Length and sha256 (hex) of a finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Bytes in the file.
    pub length: u64,
    /// sha256 of all its bytes, lower-case hex.
    pub sha256: String,
}

/// Writes a sealed file front to back; the header is filled in by [`SealedWriter::finish`].
pub struct SealedWriter {
    path: PathBuf,
    file: BufWriter<fs::File>,
    magic: [u8; 8],
    version: u32,
    crc: crc32fast::Hasher,
    length: u64,
}

impl SealedWriter {
    /// Creates (or empties) the file and leaves room for its header.
    pub fn create(path: &Path, magic: &[u8; 8], version: u32) -> Result<Self> {
        let file = fs::File::create(path).map_err(|e| Error::io(path, "create", e))?;
        let mut file = BufWriter::with_capacity(1 << 18, file);
        file.write_all(&[0; HEADER]).map_err(|e| Error::io(path, "write", e))?;
        let crc = crc32fast::Hasher::new();
        Ok(SealedWriter { path: path.to_path_buf(), file, magic: *magic, version, crc, length: 0 })
    }

    /// Appends payload bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, "write", e))
    }

    /// Payload bytes written so far.
    pub fn position(&self) -> u64 {
        self.length
    }

    /// Writes the header and syncs the file to disk.
    pub fn finish(mut self, fields: [u64; 4]) -> Result<()> {
        let mut header = [0u8; HEADER];
        header[..8].copy_from_slice(&self.magic);
        header[8..12].copy_from_slice(&self.version.to_le_bytes());
        header[12..16].copy_from_slice(&self.crc.clone().finalize().to_le_bytes());
        header[16..24].copy_from_slice(&self.length.to_le_bytes());
        for (i, field) in fields.iter().enumerate() {
            header[24 + 8 * i..32 + 8 * i].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        let mut finish = || -> std::io::Result<()> {
            self.file.flush()?;
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.sync_all()
        };
        finish().map_err(|e| Error::io(&self.path, "write", e))
    }
}

/// A finished sealed file, mapped read-only.
pub struct Sealed {
    path: PathBuf,
    map: Mapped,
    fields: [u64; 4],
    crc: u32,
}

impl Sealed {
    /// Maps a sealed file after checking everything but the payload's own bytes.
    pub fn open(path: &Path, magic: &[u8; 8], version: u32) -> Result<Self> {
        let map = Mapped::open(path)?;
        let bytes = map.bytes();
        let refuse = |message: String| Error::damaged(path, message).hint("build the index anew with `--force`");
        if bytes.len() < HEADER {
            return Err(refuse(format!("the file has {} bytes, fewer than its {HEADER}-byte header", bytes.len())));
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        if &bytes[..8] != magic {
            return Err(refuse(format!("not a `{}` file", String::from_utf8_lossy(magic).trim_end_matches('\0'))));
        }
        if crc32fast::hash(&bytes[..60]) != u32_at(60) {
            return Err(refuse("the header does not match its checksum".into()));
        }
        if u32_at(8) != version {
            let found = u32_at(8);
            return Err(refuse(format!("the file has format version {found}, this program reads version {version}")));
        }
        let payload = (bytes.len() - HEADER) as u64;
        if u64_at(16) != payload {
            return Err(refuse(format!("the payload has {payload} bytes, its header says {}", u64_at(16))));
        }
        let fields = [u64_at(24), u64_at(32), u64_at(40), u64_at(48)];
        let crc = u32_at(12);
        Ok(Sealed { path: path.to_path_buf(), map, fields, crc })
    }

    /// The four numbers of the kind's own.
    pub fn fields(&self) -> [u64; 4] {
        self.fields
    }

    /// The payload; it starts 64-byte aligned in memory.
    pub fn payload(&self) -> &[u8] {
        &self.map.bytes()[HEADER..]
    }

    /// The payload as little-endian values of 4 bytes; an error when its length is no multiple of 4.
    pub fn values<T: bytemuck::AnyBitPattern>(&self) -> Result<&[T]> {
        bytemuck::try_cast_slice(self.payload())
            .map_err(|e| Error::damaged(&self.path, format!("the payload holds no whole number of values ({e})")))
    }

    /// Reads every payload byte and compares the checksum.
    pub fn verify(&self) -> Result<()> {
        if crc32fast::hash(self.payload()) == self.crc {
            Ok(())
        } else {
            Err(Error::damaged(&self.path, "the payload does not match its checksum"))
        }
    }

    /// The file's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file mapped read-only.
pub struct Mapped(Option<memmap2::Mmap>);

impl Mapped {
    /// Maps a file; an empty one needs no map.
    pub fn open(path: &Path) -> Result<Self> {
        let file = fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let length = file.metadata().map_err(|e| Error::io(path, "inspect", e))?.len();
        if length == 0 {
            return Ok(Mapped(None));
        }
        // SAFETY: only files of a finished generation (or a model folder) are mapped, read-only; this program never
        // changes or truncates one after it is finished. Another process doing so is outside the promise, as for
        // every memory-mapped index.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(file.file()) }.map_err(|e| Error::io(path, "map", e))?;
        Ok(Mapped(Some(map)))
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Length and sha256 of a file.
pub fn record(path: &Path, progress: &dyn Progress) -> Result<FileRecord> {
    let mut file = fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0u64;
    loop {
        progress.checkpoint()?;
        let n = file.read(&mut buffer).map_err(|e| Error::io(path, "read", e))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        length += n as u64;
        progress.advance(Stage::Verifying, n as u64);
    }
    Ok(FileRecord { length, sha256: hex(&hasher.finalize()) })
}

/// sha256 of some bytes, lower-case hex.
pub fn sha256(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces a file's content so that a reader sees the old or the new bytes, never a mixture, also after a crash.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.tmp-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        Error::io(path, "write", e)
    })?;
    sync_folder(folder)
}

/// Makes a folder's entries durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder).and_then(|file| file.sync_all()).map_err(|e| Error::io(folder, "sync", e))
}

/// Creates a folder and its parents.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io(path, "create", e))
}

/// Held while a folder is written; the operating system frees it when the process ends, however it ends.
pub struct WriteLock {
    _file: fs::File,
}

impl WriteLock {
    /// Takes the lock `folder/.lock`, or says that somebody else has it.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(".lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io(&path, "open", e))?;
        match file.file().try_lock() {
            Ok(()) => Ok(WriteLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(Error::new(ErrorKind::Busy, format!("another process is writing `{}`", folder.display()))
                    .hint("wait for it to end, then try again"))
            }
            Err(std::fs::TryLockError::Error(e)) => Err(Error::io(&path, "lock", e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(folder: &Path, payload: &[u8]) -> PathBuf {
        let path = folder.join("rows");
        let mut writer = SealedWriter::create(&path, b"PLXTEST\0", 3).unwrap();
        writer.write(payload).unwrap();
        writer.finish([1, 2, 3, 4]).unwrap();
        path
    }

    #[test]
    fn a_sealed_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = sealed(folder.path(), &[1, 0, 0, 0, 2, 0, 0, 0]);
        let file = Sealed::open(&path, b"PLXTEST\0", 3).unwrap();
        assert_eq!(file.fields(), [1, 2, 3, 4]);
        assert_eq!(file.values::<u32>().unwrap(), [1, 2]);
        file.verify().unwrap();
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = sealed(folder.path(), b"payload!");
        let good = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Sealed::open(&path, b"PLXTEST\0", 3).and_then(|file| file.verify()).is_err()
        };
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bytes), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(refused(&good[..length]), "length {length}");
        }
        assert!(refused(&[&good[..], b"x"].concat()));
        assert!(!refused(&good));
    }

    #[test]
    fn the_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let held = WriteLock::take(folder.path()).unwrap();
        assert_eq!(WriteLock::take(folder.path()).err().map(|e| e.kind()), Some(ErrorKind::Busy));
        drop(held);
        WriteLock::take(folder.path()).unwrap();
    }
}

//! Bytes of a source: opened once, decompressed by magic, watched for change.
//!
//! A path goes in, plain UTF-8-looking bytes come out, whatever the file is called: gzip (all members) and zstd (all
//! frames) are known by their first bytes, a byte order mark is dropped, and what no reader here can use (UTF-16,
//! zip, Parquet, …) is refused by name. Memory: one buffer, whatever the file's size.

use super::source::Source;
use crate::error::{Error, ErrorKind, Result};
use fs_err as fs;
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// Bytes looked at to tell the format: enough for the first keys of any SQuAD file.
pub(super) const HEAD: usize = 1 << 16;
const BUFFER: usize = 1 << 18;

/// First bytes of files that are often handed in by mistake.
const FOREIGN: [(&[u8], &str); 11] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"PAR1", "a Parquet file"),
    (b"BZh", "a bzip2 file"),
    (b"\xFD7zXZ\0", "an xz file"),
    (b"7z\xBC\xAF\x27\x1C", "a 7-zip archive"),
    (b"\x04\x22\x4D\x18", "an lz4 file"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF", "a PDF file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xD0\xCF\x11\xE0", "an Office file"),
];

/// A source's bytes after decompression, with a buffer that can be looked into.
pub(super) struct Stream {
    path: PathBuf,
    reader: Box<dyn Read>,
    compression: Option<&'static str>,
    buffer: Vec<u8>,
    start: usize,
    /// Bytes handed out so far.
    consumed: u64,
    /// Bytes taken from the disk so far.
    raw: Rc<Cell<u64>>,
    unchanged: Option<(fs::File, u64, Option<SystemTime>)>,
}

/// Counts what is taken from the disk.
struct Raw<R>(R, Rc<Cell<u64>>);

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1.set(self.1.get() + n as u64);
        Ok(n)
    }
}

impl Stream {
    /// Opens a file or standard input and sees through its compression.
    pub(super) fn open(source: &Source) -> Result<Self> {
        if source.is_stdin() {
            return Stream::over(PathBuf::from("<stdin>"), Box::new(io::stdin().lock()), None);
        }
        match source.bytes() {
            Some(bytes) => Stream::over(source.path().to_path_buf(), Box::new(bytes), None),
            None => Stream::file(source.path()),
        }
    }

    /// Opens a file.
    pub(super) fn file(path: &Path) -> Result<Self> {
        let file = fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, "inspect", e))?;
        if meta.is_dir() {
            return Err(Error::usage("is a folder, a file was expected").in_file(path));
        }
        // A FIFO has neither length nor a meaningful time.
        let unchanged = match (meta.is_file(), file.try_clone()) {
            (true, Ok(same)) => Some((same, meta.len(), meta.modified().ok())),
            _ => None,
        };
        Stream::over(path.to_path_buf(), Box::new(file), unchanged)
    }

    fn over(
        path: PathBuf,
        reader: Box<dyn Read>,
        unchanged: Option<(fs::File, u64, Option<SystemTime>)>,
    ) -> Result<Self> {
        let raw = Rc::new(Cell::new(0));
        let mut reader = Raw(reader, raw.clone());
        let mut magic = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut magic).map_err(|e| Error::io(&path, "read", e))?;
        let compression = compression(&magic);
        let whole = BufReader::with_capacity(1 << 17, Cursor::new(magic).chain(reader));
        let reader: Box<dyn Read> = match compression {
            Some("gzip") => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
            Some(_) => Box::new(
                zstd::stream::read::Decoder::with_buffer(whole).map_err(|e| Error::io(&path, "decompress", e))?,
            ),
            None => Box::new(whole),
        };
        let buffer = Vec::with_capacity(BUFFER);
        let mut stream = Stream { path, reader, compression, buffer, start: 0, consumed: 0, raw, unchanged };
        stream.check_head()?;
        Ok(stream)
    }

    fn check_head(&mut self) -> Result<()> {
        let path = self.path.clone();
        let head = self.peek()?;
        let refuse = |what: &str, hint: &str| Err(Error::bad_input(what).in_file(&path).hint(hint));
        if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
            return refuse(
                &format!("is {what}, which is not supported"),
                "hand in JSON, JSON lines or TSV, plain, .gz or .zst",
            );
        }
        if compression(head).is_some() {
            return refuse("is compressed twice", "decompress it once");
        }
        let zeros = |odd: usize| head.len() >= 4 && head[odd] == 0 && head[odd + 2] == 0 && head[1 - odd] != 0;
        if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") || zeros(0) || zeros(1) {
            return refuse("looks like UTF-16, UTF-8 was expected", "convert it: iconv -f UTF-16 -t UTF-8");
        }
        if head.starts_with(b"\xEF\xBB\xBF") {
            self.consume(3);
        }
        Ok(())
    }

    /// The path as messages name it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes handed out so far, after decompression.
    pub(super) fn bytes(&self) -> u64 {
        self.consumed
    }

    /// Bytes taken from the disk so far.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw.get()
    }

    /// The next bytes, at least [`HEAD`] of them unless the source ends before; they stay unread.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        while self.buffer.len() - self.start < HEAD {
            match self.more() {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => return Err(self.fault(e, 1)),
            }
        }
        Ok(&self.buffer[self.start..])
    }

    fn more(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let old = self.buffer.len();
        self.buffer.resize(old.max(BUFFER / 2) + BUFFER / 2, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[old..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        read
    }

    /// An error met while reading, with the line it was met at.
    pub(super) fn fault(&self, cause: io::Error, line: u64) -> Error {
        match self.compression {
            // A decoder's own complaints carry no number of the operating system's.
            Some(kind) if cause.raw_os_error().is_none() => {
                let message = format!("the {kind} data is cut short or damaged after about this line");
                Error::at_line(&self.path, line, message).because(cause).hint("fetch or compress the file again")
            }
            _ => Error::io(&self.path, "read", cause),
        }
    }

    /// To be called at the end: the file must be what it was when opened.
    pub(super) fn finish(&self) -> Result<()> {
        if let Some((file, length, modified)) = &self.unchanged {
            let now = file.metadata().map_err(|e| Error::io(&self.path, "inspect", e))?;
            if now.len() != *length || now.modified().ok() != *modified {
                let error = Error::new(ErrorKind::Mismatch, "changed while it was read").in_file(&self.path);
                return Err(error.hint("wait until nothing writes to it, then try again"));
            }
        }
        Ok(())
    }
}

fn compression(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1F, 0x8B, ..] => Some("gzip"),
        // Frames, and the skippable frames that some tools put first.
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some("zstd"),
        _ => None,
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = {
            let available = self.fill_buf()?;
            let n = available.len().min(out.len());
            out[..n].copy_from_slice(&available[..n]);
            n
        };
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() {
            self.more()?;
        }
        Ok(&self.buffer[self.start..])
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
        self.consumed += n as u64;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    pub(in crate::collection) fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut stream = Stream::open(&Source::new(&path))?;
        let mut out = Vec::new();
        stream.read_to_end(&mut out).map_err(|e| stream.fault(e, 3))?;
        stream.finish()?;
        assert_eq!(stream.raw_bytes(), bytes.len() as u64);
        Ok(out)
    }

    #[test]
    fn the_same_bytes_come_out_however_they_are_packed_and_called() {
        let text: Vec<u8> = (0..90_000u32).flat_map(|i| format!("{i}\n").into_bytes()).collect();
        let (head, tail) = text.split_at(70_001);
        for name in ["x", "x.gz", "x.zst", "x.jsonl"] {
            assert_eq!(read(name, &text).unwrap(), text);
            assert_eq!(read(name, &gz(&text)).unwrap(), text);
            assert_eq!(read(name, &zst(&text)).unwrap(), text);
            assert_eq!(read(name, &[gz(head), gz(tail)].concat()).unwrap(), text);
            assert_eq!(read(name, &[zst(head), zst(tail)].concat()).unwrap(), text);
        }
        assert_eq!(read("bom", b"\xEF\xBB\xBFabc").unwrap(), b"abc");
        assert_eq!(read("one", b"a").unwrap(), b"a");
        assert_eq!(read("none", b"").unwrap(), b"");
    }

    #[test]
    fn damaged_archives_are_refused() {
        let text: Vec<u8> = (0..9_000u32).flat_map(|i| format!("{i}\n").into_bytes()).collect();
        for packed in [gz(&text), zst(&text)] {
            // Cut to 0 bytes it is an empty file, below the magic's length an unknown one.
            for length in (4..packed.len()).step_by(97).chain([packed.len() - 1]) {
                let error = read("x", &packed[..length]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BadInput, "{length}: {error}");
            }
            let error = read("x", &[&packed[..], b"some trailing garbage"].concat()).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error}");
        }
        let mut flipped = gz(&text);
        let checksum = flipped.len() - 8;
        flipped[checksum] ^= 1;
        assert_eq!(read("x", &flipped).unwrap_err().kind(), ErrorKind::BadInput);
        assert!(read("x", &gz(&gz(b"abc"))).unwrap_err().to_string().contains("compressed twice"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let says = |bytes: &[u8], what: &str| {
            let error = read("x", bytes).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(error.hints().len(), 1);
        };
        says(b"PK\x03\x04rest", "zip");
        says(&gz(b"PAR1rest"), "Parquet");
        says(b"\xFF\xFEa\0", "UTF-16");
        says(b"{\0\"\0", "UTF-16");
        says(b"\0{\0\"", "UTF-16");
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "abc").unwrap();
        let stream = Stream::file(&path).unwrap();
        stream.finish().unwrap();
        fs::write(&path, "abcd").unwrap();
        assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(Stream::file(&folder.path().join("y")).err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(Stream::file(folder.path()).err().unwrap().kind(), ErrorKind::Usage);
    }
}

//! Lines of a stream: numbered, bounded, UTF-8, without their line ends.

use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use std::io::{BufRead, Read};
use std::path::Path;

/// Reads line after line into one buffer; LF and CRLF end lines, the last may have no end.
pub(super) struct Lines {
    stream: Stream,
    line: Vec<u8>,
    number: u64,
    max: usize,
}

impl Lines {
    /// Lines of at most `max` bytes.
    pub(super) fn new(mut stream: Stream, max: usize) -> Result<Self> {
        let head = stream.peek()?;
        if !head.contains(&b'\n') && head[..head.len().saturating_sub(1)].contains(&b'\r') {
            return Err(Error::bad_input("lines end in a lone carriage return, so the file is one long line")
                .in_file(stream.path())
                .hint("convert it: tr '\\r' '\\n'"));
        }
        Ok(Lines { stream, line: Vec::new(), number: 0, max })
    }

    /// Goes to the next line that is not blank; `false` after the last.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            let bound = self.max as u64 + 2;
            let read = self.stream.by_ref().take(bound).read_until(b'\n', &mut self.line);
            let n = read.map_err(|e| self.stream.fault(e, self.number + 1))?;
            if n == 0 {
                self.stream.finish()?;
                return Ok(false);
            }
            self.number += 1;
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                self.line.pop_if(|byte| *byte == b'\r');
            }
            if self.line.len() > self.max {
                let message = format!("line {} is longer than {} bytes", self.number, self.max);
                return Err(Error::new(ErrorKind::Limit, message)
                    .in_file(self.path())
                    .hint("is this one record a line? Otherwise split the record"));
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    /// The line gone to.
    pub(super) fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.line).map_err(|e| {
            self.error(format!("invalid UTF-8 at byte {} of the line", e.valid_up_to() + 1))
                .hint("convert the file to UTF-8, for example with iconv")
        })
    }

    /// The 1-based number of the line gone to; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// An error about the line gone to.
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::at_line(self.path(), self.number, message)
    }

    /// The file, as messages name it.
    pub(super) fn path(&self) -> &Path {
        self.stream.path()
    }

    /// The stream below, for its counts.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], max: usize) -> Result<Vec<(u64, std::result::Result<String, String>)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, bytes).unwrap();
        let mut lines = Lines::new(Stream::file(&path)?, max)?;
        let mut out = Vec::new();
        while lines.advance()? {
            let line = lines.text().map(str::to_string).map_err(|e| e.message().to_string());
            out.push((lines.number(), line));
        }
        Ok(out)
    }

    #[test]
    fn line_ends_do_not_matter_and_blank_lines_are_passed_over() {
        let want = vec![(1, Ok("a".to_string())), (4, Ok("b\tc".to_string()))];
        for text in ["a\n\n \nb\tc", "a\r\n\r\n\r\nb\tc\r\n", "\u{feff}a\n\t\n\nb\tc\n"] {
            assert_eq!(lines(text.as_bytes(), 10).unwrap(), want, "{text:?}");
        }
        // A byte order mark further in is data.
        assert_eq!(lines("a\n\u{feff}b".as_bytes(), 10).unwrap()[1].1, Ok("\u{feff}b".to_string()));
        assert_eq!(lines(b"", 10).unwrap(), []);
    }

    #[test]
    fn a_line_has_at_most_the_stated_bytes() {
        assert_eq!(lines(b"0123456789\r\n0123456789", 10).unwrap().len(), 2);
        for long in [&b"ok\n0123456789a\n"[..], b"ok\n0123456789a", b"ok\n0123456789abcdefghi\n"] {
            let error = lines(long, 10).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
            assert!(error.to_string().ends_with("x: line 2 is longer than 10 bytes"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_the_lines_own_error() {
        let read = lines(b"ab\nab\xFFc\ncd", 10).unwrap();
        assert_eq!(read[1], (2, Err("invalid UTF-8 at byte 3 of the line".to_string())));
        assert_eq!(read[2], (3, Ok("cd".to_string())));
        assert!(lines(b"a\rb\rc\r", 10).unwrap_err().to_string().contains("carriage return"));
    }
}

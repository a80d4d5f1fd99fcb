//! Elements of a JSON list, cut out one at a time: a list of any length is read in the memory of its longest element.
//!
//! The cut counts brackets outside strings; what stands between them is checked by whoever parses the element, so a
//! bad element is an error of its own and the next one can still be read.

use super::json::{self, Object};
use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use std::io::BufRead;
use std::path::Path;

/// Reads element after element into one buffer.
pub(super) struct Elements {
    stream: Stream,
    element: Vec<u8>,
    /// The line the stream stands in.
    line: u64,
    /// The line the element begins in.
    first: u64,
    begun: bool,
    max: usize,
}

impl Elements {
    /// Elements of at most `max` bytes.
    pub(super) fn new(stream: Stream, max: usize) -> Self {
        Elements { stream, element: Vec::new(), line: 1, first: 1, begun: false, max }
    }

    /// Goes to the next element; `false` after the last.
    pub(super) fn advance(&mut self) -> Result<bool> {
        let next = self.after_blanks()?;
        let last = match (self.begun, next) {
            (false, Some(b'[')) => {
                self.consume(b'[');
                self.begun = true;
                self.after_blanks()? == Some(b']')
            }
            (true, Some(b',')) => {
                self.consume(b',');
                false
            }
            (true, Some(b']')) => true,
            (_, None) => return Err(self.unclosed()),
            (false, Some(_)) => return Err(self.error(self.line, "a JSON list was expected")),
            (true, Some(_)) => return Err(self.error(self.line, "`,` or `]` was expected after an element")),
        };
        if last {
            self.consume(b']');
            if self.after_blanks()?.is_some() {
                return Err(self.error(self.line, "something stands after the end of the list"));
            }
            self.stream.finish()?;
            return Ok(false);
        }
        self.after_blanks()?;
        self.cut()?;
        Ok(true)
    }

    /// Takes the bytes of the element that begins here.
    fn cut(&mut self) -> Result<()> {
        self.element.clear();
        self.first = self.line;
        let (mut depth, mut string, mut escaped) = (0usize, false, false);
        loop {
            let Some(byte) = self.peek()? else { return Err(self.unclosed()) };
            // A bare number or word has no end of its own.
            if depth == 0 && !string && matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                return match self.element.is_empty() {
                    true => Err(self.error(self.line, "an element of the list was expected")),
                    false => Ok(()),
                };
            }
            if self.element.len() == self.max {
                let message = format!("the element from line {} on is longer than {} bytes", self.first, self.max);
                return Err(Error::new(ErrorKind::Limit, message).in_file(self.path()));
            }
            self.element.push(byte);
            self.consume(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if string => escaped = true,
                b'"' => string = !string,
                b'{' | b'[' if !string => depth += 1,
                b'}' | b']' if !string => depth -= 1,
                _ => {}
            }
            if depth == 0 && !string && matches!(byte, b'}' | b']' | b'"') {
                return Ok(());
            }
        }
    }

    /// The element gone to.
    pub(super) fn object(&self) -> Result<Object> {
        let text = std::str::from_utf8(&self.element).map_err(|e| {
            let before = self.element[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.error(self.first + before, "invalid UTF-8").hint("convert the file to UTF-8, for example with iconv")
        })?;
        let mut object =
            json::object_of_lines(text).map_err(|(before, problem)| self.error(self.first + before, problem))?;
        object.exact(text);
        Ok(object)
    }

    /// The line the element gone to begins in.
    pub(super) fn number(&self) -> u64 {
        self.first
    }

    /// The file, as messages name it.
    pub(super) fn path(&self) -> &Path {
        self.stream.path()
    }

    /// The stream below, for its counts.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    fn after_blanks(&mut self) -> Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => self.consume(byte),
                other => return Ok(other),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        let byte = self.stream.fill_buf().map(|bytes| bytes.first().copied());
        byte.map_err(|e| self.stream.fault(e, self.line))
    }

    fn consume(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.stream.consume(1);
    }

    fn unclosed(&self) -> Error {
        self.error(self.line, "the list does not close").hint("is the file cut short?")
    }

    fn error(&self, line: u64, message: impl Into<String>) -> Error {
        Error::at_line(self.path(), line, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements as `line:keys` or `line:error`, then the error that ended the reading.
    fn read(text: &str, max: usize) -> (Vec<String>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, text).unwrap();
        let mut elements = Elements::new(Stream::file(&path).unwrap(), max);
        let mut out = Vec::new();
        loop {
            match elements.advance() {
                Ok(true) => out.push(match elements.object() {
                    Ok(object) => format!("{}:{}", elements.number(), object.keys().collect::<Vec<_>>().join(",")),
                    Err(e) => format!("{}:{}", e.place().1.unwrap(), e.message()),
                }),
                Ok(false) => return (out, None),
                Err(e) => {
                    let line = e.place().1.map_or(String::new(), |line| format!("{line}:"));
                    return (out, Some(format!("{line}{}", e.message())));
                }
            }
        }
    }

    #[test]
    fn elements_are_cut_where_they_end_and_know_their_line() {
        let text = "\n[ {\"a\": \"]},{\\\"\\\\\"},\n{\n \"b\": [1, {}],\n \"c\": 2}\n , {} ]\n";
        assert_eq!(read(text, 99), (vec!["2:a".into(), "3:b,c".into(), "6:".into()], None));
        assert_eq!(read("[]", 99), (vec![], None));
        assert_eq!(read("[\n]\n", 99), (vec![], None));
    }

    #[test]
    fn a_bad_element_is_its_own_error_and_a_bad_list_ends_the_reading() {
        let (elements, end) = read("[1, \"x\", {\"a\"\n:}, {\"a\": 1, \"a\": 2}, {\"b\": 1}]", 99);
        assert!(elements[0].starts_with("1:a number stands in the list"), "{elements:?}");
        assert!(elements[1].starts_with("1:a string stands in the list"), "{elements:?}");
        assert!(elements[2].starts_with("2:byte 2: expected value"), "{elements:?}");
        assert!(elements[3].contains("`a` stands twice"), "{elements:?}");
        assert_eq!((&elements[4][..], end), ("2:b", None));
        let ends = |text: &str, what: &str| {
            let end = read(text, 12).1.unwrap();
            assert!(end.starts_with(what), "{text:?} gives {end:?}");
        };
        ends("[{}\n", "2:the list does not close");
        ends("[{\"a\": \"", "1:the list does not close");
        ends("[{},]", "1:an element of the list was expected");
        ends("[{} {}]", "1:`,` or `]` was expected");
        ends("[{}}", "1:`,` or `]` was expected");
        ends("[}", "1:an element of the list was expected");
        ends("[{}]\n{}", "2:something stands after");
        ends("{}", "1:a JSON list was expected");
        ends("[\n{\"a\": \"123456789\"}]", "the element from line 2 on is longer than 12 bytes");
    }
}

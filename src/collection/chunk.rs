//! Long passages cut into chunks that an encoder can take in, with the way back kept.
//!
//! A [`Passage`] and a [`Chunking`] come in; chunks go out, each knowing its parent's id and the characters
//! `[start, end)` of the parent's text it covers. Hits and judgments roll up to the parent. A passage that fits in one
//! chunk stays as it is.
//!
//! Token windows of `size` tokens share `stride` tokens with the one before, so any span of at most `stride` tokens stands
//! whole in some window: an overlap as long as the longest answer cuts no answer.
//!
//! ```
//! use parallax::collection::chunk::{chunk, Chunking};
//! use parallax::{text::words, Passage};
//! let passage = Passage::new("p", "", "one two three four five");
//! let chunks = chunk(passage, &"tokens:3,stride:1".parse::<Chunking>()?, &words::spans);
//! let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
//! assert_eq!(texts, ["one two three", "three four five"]);
//! assert_eq!(chunks[1].parent.as_ref().unwrap().span, (8, 23));
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Cost: one pass over the text and its token spans.

use super::read::{self, ReadOptions, Source};
use super::{Parent, Passage, PassageId};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::text::words;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// Byte ranges of a text's tokens, in order.
pub type TokenSpans<'a> = dyn Fn(&str) -> Vec<(usize, usize)> + 'a;

/// How passages are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// Not at all.
    None,
    /// Windows of tokens.
    Tokens {
        /// Tokens a window, at least 1.
        size: usize,
        /// Tokens shared with the window before, below `size`.
        stride: usize,
    },
    /// Groups of consecutive sentences.
    Sentences(usize),
}

impl FromStr for Chunking {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Error::usage(format!("`{text}` is no way of cutting passages: {why}"))
                .hint("write `none`, `tokens:128`, `tokens:128,stride:32` or `sentences:3`")
        };
        let number = |digits: &str| digits.parse::<usize>().map_err(|_| refuse("a number is expected"));
        if text == "none" {
            return Ok(Chunking::None);
        }
        if let Some(count) = text.strip_prefix("sentences:") {
            return match number(count)? {
                0 => Err(refuse("a chunk has at least one sentence")),
                count => Ok(Chunking::Sentences(count)),
            };
        }
        let Some(rest) = text.strip_prefix("tokens:") else { return Err(refuse("no such kind")) };
        let (size, stride) = match rest.split_once(",stride:") {
            Some((size, stride)) => (number(size)?, number(stride)?),
            None => (number(rest)?, 0),
        };
        if size == 0 || stride >= size {
            return Err(refuse("a window has at least one token, and shares fewer than it has"));
        }
        Ok(Chunking::Tokens { size, stride })
    }
}

impl fmt::Display for Chunking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chunking::None => f.write_str("none"),
            Chunking::Tokens { size, stride: 0 } => write!(f, "tokens:{size}"),
            Chunking::Tokens { size, stride } => write!(f, "tokens:{size},stride:{stride}"),
            Chunking::Sentences(count) => write!(f, "sentences:{count}"),
        }
    }
}

/// Cuts a passage; chunks are named `parent#0`, `parent#1`, … and keep the title.
pub fn chunk(passage: Passage, chunking: &Chunking, spans: &TokenSpans<'_>) -> Vec<Passage> {
    let pieces = pieces(&passage.text, chunking, spans);
    if pieces.len() < 2 {
        return vec![passage];
    }
    let mut characters = 0;
    let mut counted = 0;
    let mut chunks = Vec::with_capacity(pieces.len());
    for (number, (start, end)) in pieces.into_iter().enumerate() {
        // Windows begin in order, so characters before them are counted once.
        characters += passage.text[counted..start].chars().count();
        counted = start;
        let text = &passage.text[start..end];
        let span = (characters, characters + text.chars().count());
        chunks.push(Passage {
            id: PassageId::from(format!("{}#{number}", passage.id)),
            title: passage.title.clone(),
            text: text.to_string(),
            parent: Some(Parent { id: passage.id.clone(), span }),
        });
    }
    chunks
}

/// Byte ranges of the chunks: the first begins with the text, the last ends with it.
fn pieces(text: &str, chunking: &Chunking, spans: &TokenSpans<'_>) -> Vec<(usize, usize)> {
    let units = match chunking {
        Chunking::None => return Vec::new(),
        Chunking::Tokens { .. } => spans(text),
        Chunking::Sentences(_) => words::sentences(text),
    };
    let (size, shared) = match *chunking {
        Chunking::Tokens { size, stride } => (size, stride),
        Chunking::Sentences(count) => (count, 0),
        Chunking::None => return Vec::new(),
    };
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < units.len() {
        let after = (first + size).min(units.len());
        let start = if first == 0 { 0 } else { units[first].0 };
        // What stands between two tokens (a closing bracket, a full stop) belongs to the one before.
        let end = if after == units.len() { text.len() } else { units[after].0 };
        let end = start + text[start..end].trim_end().len();
        pieces.push((start, end));
        if after == units.len() {
            break;
        }
        first = after - shared;
    }
    pieces
}

/// Answer spans that no chunk holds whole, and all answer spans, over the data sets among the sources.
///
/// Reads the sources again; standard input and sources without questions have no answers to lose.
pub fn cut_answers(
    sources: &[Source],
    options: &ReadOptions,
    chunking: &Chunking,
    spans: &TokenSpans<'_>,
) -> Result<(u64, u64)> {
    let (mut cut, mut all) = (0, 0);
    for source in sources {
        if !read::has_questions(source, options)? {
            continue;
        }
        // A collection whose questions cannot be read is no data set: that is no fault here.
        let Ok((set, _)) = read::query_set(source, options) else { continue };
        let mut answers: HashMap<PassageId, Vec<String>> = HashMap::new();
        for query in &set.queries {
            for gold in set.qrels.relevant(&query.id) {
                answers.entry(gold.clone()).or_default().extend(query.answers.iter().cloned());
            }
        }
        read::passages(std::slice::from_ref(source), options, &Silent, &mut |passage| {
            let Some(answers) = answers.remove(&passage.id) else { return Ok(()) };
            let text = passage.text.clone();
            let chunks = chunk(passage, chunking, spans);
            for answer in answers.iter().filter(|answer| text.contains(answer.as_str())) {
                all += 1;
                cut += u64::from(!chunks.iter().any(|chunk| chunk.text.contains(answer.as_str())));
            }
            Ok(())
        })?;
    }
    Ok((cut, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str, chunking: &str) -> Vec<Passage> {
        chunk(Passage::new("p", "T", text), &chunking.parse().unwrap(), &words::spans)
    }

    #[test]
    fn a_passage_that_fits_stays_whole() {
        assert_eq!(cut("one two", "tokens:2"), [Passage::new("p", "T", "one two")]);
        assert_eq!(cut("", "tokens:2").len(), 1);
        assert_eq!(
            cut("One. Two. Three.", "sentences:2").iter().map(|c| c.text.as_str()).collect::<Vec<_>>(),
            ["One. Two.", "Three."]
        );
    }

    #[test]
    fn names_print_as_they_parse() {
        for name in ["none", "tokens:128", "tokens:128,stride:32", "sentences:3"] {
            assert_eq!(name.parse::<Chunking>().unwrap().to_string(), name);
        }
        for wrong in ["tokens:0", "tokens:4,stride:4", "sentences:0", "words:3", "tokens:x", ""] {
            assert!(wrong.parse::<Chunking>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn offsets_lead_back_and_short_spans_stay_whole(
            text in "[a-c가나 .,]{0,80}", size in 2usize..8, stride in 0usize..7,
        ) {
            prop_assume!(stride < size);
            let chunks = cut(&text, &format!("tokens:{size},stride:{stride}"));
            let characters: Vec<char> = text.chars().collect();
            for chunk in chunks.iter().filter(|chunk| chunk.parent.is_some()) {
                let (start, end) = chunk.parent.as_ref().unwrap().span;
                prop_assert_eq!(characters[start..end].iter().collect::<String>(), chunk.text.clone());
            }
            let spans = words::spans(&text);
            for window in spans.windows(stride.max(1)) {
                let span = &text[window[0].0..window[window.len() - 1].1];
                prop_assert!(chunks.iter().any(|chunk| chunk.text.contains(span)), "{span:?} in {chunks:?}");
            }
        }
    }
}

//! The words everyone speaks: passages, queries, judgments and rankings.
//!
//! [`read`] streams them from BEIR, SQuAD, KorQuAD, TSV and JSONL files, [`mod@write`] writes them, [`chunk`] cuts long
//! passages, [`qrels`] holds judgments, [`run`] holds rankings and [`examples`] what is trained on. Names from outside
//! are text ([`PassageId`], [`QueryId`]) and cross the edges only; inside the house a passage is its [`Ordinal`].

pub mod chunk;
pub mod examples;
pub mod pseudo;
pub mod qrels;
pub mod read;
pub mod run;
pub mod write;

use std::fmt;

/// A passage's place in its collection, 0-based: posting field, vector row and graph id are this one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The ordinal as an array index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Wraps a name as it stands; readers have checked it.
            pub fn new(name: impl Into<Box<str>>) -> Self {
                $name(name.into())
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                $name(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                $name(name.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_id! {
    /// What the world outside calls a passage: never empty, without control characters.
    PassageId
}
text_id! {
    /// What the world outside calls a query: never empty, without control characters.
    QueryId
}

/// One passage: the unit that is indexed, retrieved and judged. Text is NFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its name outside.
    pub id: PassageId,
    /// The title of its article; empty where there is none.
    pub title: String,
    /// Its words.
    pub text: String,
    /// The passage it was cut from, where chunking cut it.
    pub parent: Option<Parent>,
}

/// Where a chunk came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The id of the whole passage, which judgments name.
    pub id: PassageId,
    /// Offsets `[start, end)` of the chunk in the whole passage's text, in characters (Unicode scalar values).
    pub span: (usize, usize),
}

impl Passage {
    /// A passage that was not cut from another.
    pub fn new(id: impl Into<PassageId>, title: impl Into<String>, text: impl Into<String>) -> Self {
        Passage { id: id.into(), title: title.into(), text: text.into(), parent: None }
    }

    /// The id judgments use: the parent's for a chunk, its own otherwise.
    pub fn judged_id(&self) -> &PassageId {
        self.parent.as_ref().map_or(&self.id, |parent| &parent.id)
    }

    /// Title and text as one string, joined by a space: what both sides index by default.
    pub fn full_text(&self) -> String {
        match (self.title.is_empty(), self.text.is_empty()) {
            (true, _) => self.text.clone(),
            (_, true) => self.title.clone(),
            _ => format!("{} {}", self.title, self.text),
        }
    }
}

/// One question, with the answers that are known. Text is NFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its name outside.
    pub id: QueryId,
    /// Its words.
    pub text: String,
    /// Accepted answer strings; empty where none are known or the question has none.
    pub answers: Vec<String>,
    /// Whether its source says that no passage answers it (SQuAD 2.0); answer measures leave it out.
    pub impossible: bool,
}

impl Query {
    /// A query without known answers.
    pub fn new(id: impl Into<QueryId>, text: impl Into<String>) -> Self {
        Query { id: id.into(), text: text.into(), answers: Vec::new(), impossible: false }
    }
}

/// Queries with their judgments: what a comparison needs of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuerySet {
    /// Queries in file order, ids unique.
    pub queries: Vec<Query>,
    /// Which passages are relevant to which query.
    pub qrels: qrels::Qrels,
}

//! What an encoder is: texts and their role in, rows of numbers out.

use crate::error::Result;

/// Which tower a text goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A question.
    Query,
    /// A passage.
    Passage,
}

/// How two rows are compared; higher is always better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// Inner product of the rows as they are.
    Dot,
    /// Inner product of rows of unit length; encoders with this similarity give unit (or zero) rows.
    Cosine,
}

impl Similarity {
    /// The name manifests and screens use.
    pub fn name(self) -> &'static str {
        match self {
            Similarity::Dot => "dot",
            Similarity::Cosine => "cosine",
        }
    }

    /// The similarity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "dot" => Some(Similarity::Dot),
            "cosine" => Some(Similarity::Cosine),
            _ => None,
        }
    }
}

/// What a transformer multiplies its weights in; its rows come out as f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point: what the model was published as.
    #[default]
    F32,
    /// Whole numbers of eight bits with a scale a row and an output: several times faster, rows nearly the same.
    Int8,
}

impl Precision {
    /// The name manifests and screens use.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        }
    }

    /// The precision of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Precision::F32, Precision::Int8].into_iter().find(|precision| precision.name() == name)
    }
}

/// Row-major `[n, d]` f32 rows, finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    dimension: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Wraps `n * dimension` values. Panics when the length is not a multiple of the dimension: a bug of the caller.
    pub fn new(dimension: usize, values: Vec<f32>) -> Self {
        assert!(
            dimension > 0 && values.len().is_multiple_of(dimension),
            "{} values are no rows of {dimension}",
            values.len()
        );
        Embeddings { dimension, values }
    }

    /// Number of rows `n`.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Components a row `d`.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Row `i`, of length `d`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dimension..(i + 1) * self.dimension]
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// What a manifest has to know of an encoder so that another one is never taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderCard {
    /// What it was opened from, as the user wrote it: `builtin`, a folder, `owner/name`.
    pub name: String,
    /// Family: `static`, `bert`, `distilbert`, `xlm-roberta`, `modernbert`.
    pub family: String,
    /// sha256 (hex) over weights, tokenizer and settings: with the precision, equal fingerprints give equal vectors.
    pub fingerprint: String,
    /// What it computes in.
    pub precision: Precision,
    /// sha256 (hex) of the tokenizer alone.
    pub tokenizer: String,
    /// Components a row.
    pub dimension: usize,
    /// How rows are compared.
    pub similarity: Similarity,
    /// `cls`, `mean` or `max`.
    pub pooling: String,
    /// Put before each query, usually empty.
    pub query_prompt: String,
    /// Put before each passage, usually empty.
    pub passage_prompt: String,
    /// Tokens after which a text is cut; `None` where nothing is cut.
    pub max_tokens: Option<usize>,
}

impl EncoderCard {
    /// What is put before each text of a role, usually empty.
    pub fn prompt(&self, role: Role) -> &str {
        match role {
            Role::Query => &self.query_prompt,
            Role::Passage => &self.passage_prompt,
        }
    }
}

/// Turns texts into rows. Opening one is [`encoder::open`](super::open).
pub trait Encoder: Send + Sync {
    /// What it is.
    fn card(&self) -> &EncoderCard;

    /// One row a text, in the texts' order: `[texts.len(), d]`. A text without a known token gets a zero row.
    ///
    /// Uses the rayon pool it is called in. Fails when the weights give a value that is not finite.
    fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings>;

    /// Byte ranges of the text's tokens, special tokens left out: what chunking by tokens counts.
    fn token_spans(&self, text: &str) -> Vec<(usize, usize)>;

    /// How many tokens a text has, special tokens left out, and how many of them the encoder knows: all, unless it has a
    /// token for what it does not know.
    fn known_tokens(&self, text: &str) -> (usize, usize) {
        let all = self.token_spans(text).len();
        (all, all)
    }
}

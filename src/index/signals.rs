//! What an index and its encoder say of a question, for a weight per query.
//!
//! In: a question. Out: [`Signals`]: its words, terms, tokens and their rarity.
//!
//! Cost: cutting the question into terms and tokens, and looking the terms up.

use crate::encoder::contract::Encoder;
use crate::error::Result;
use crate::fusion::Signals;
use crate::sparse::SparseIndex;
use crate::text;

/// The signals of a question; without an encoder it has no tokens.
pub fn signals(sparse: &SparseIndex, encoder: Option<&dyn Encoder>, question: &str) -> Result<Signals> {
    let question = text::nfc(question);
    let (terms, idf_mass) = sparse.idf_mass(&question)?;
    let (pieces, known) = encoder.map_or((0, 0), |encoder| encoder.known_tokens(&question));
    let known = if pieces > 0 { known as f64 / pieces as f64 } else { 0.0 };
    Ok(Signals { words: text::words::spans(&question).len(), terms, idf_mass, pieces, known })
}

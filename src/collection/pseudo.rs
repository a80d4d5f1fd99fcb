//! Questions a collection asks itself, where nobody has asked any: its titles and its sentences.
//!
//! A passage comes in; a [`Pseudo`] goes out, a question and the rest of the passage that should be found by it. A
//! title asks for its passage's text, a sentence for the passage without that sentence (the inverse cloze task).
//! Neither proves that the rest answers anything, but both go together more than chance, and need no judgment.
//!
//! ```
//! use parallax::{Passage, collection::pseudo, random::Random};
//! let text = "Busan lies at the sea, in the far south-east. Its harbour is the largest of Korea, and its beaches draw many.";
//! let passage = Passage::new("p", "Busan", text);
//! assert_eq!(pseudo::title(&passage).unwrap().query, "Busan");
//! let asked = pseudo::sentence(&passage, &mut Random::new(1)).unwrap();
//! assert!(text.contains(&asked.query) && !asked.rest.contains(&asked.query));
//! ```
//!
//! Cost: one pass over the text. Source: K. Lee, M. Chang, K. Toutanova, "Latent retrieval for weakly supervised open
//! domain question answering", 2019.

use super::Passage;
use crate::random::Random;
use crate::text::words;

/// A question drawn from a passage, and what is left of the passage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pseudo {
    /// The title, or the sentence.
    pub query: String,
    /// What it should find: the text without its title, or title and text without the sentence.
    pub rest: String,
}

/// The title asks for the text; `None` without a title, or where the text has fewer than eight words.
pub fn title(passage: &Passage) -> Option<Pseudo> {
    let enough = !passage.title.is_empty() && words::spans(&passage.text).len() >= 8;
    enough.then(|| Pseudo { query: passage.title.clone(), rest: passage.text.clone() })
}

/// A sentence drawn at random asks for title and text without it; `None` where there is one sentence only, where the
/// sentence drawn has fewer than four words, or where fewer than eight are left.
pub fn sentence(passage: &Passage, random: &mut Random) -> Option<Pseudo> {
    let sentences = words::sentences(&passage.text);
    if sentences.len() < 2 {
        return None;
    }
    let (start, end) = sentences[random.below(sentences.len())];
    let query = &passage.text[start..end];
    let rest = format!("{} {} {}", passage.title, &passage.text[..start], &passage.text[end..]);
    let enough = words::spans(query).len() >= 4 && words::spans(&rest).len() >= 8;
    enough.then(|| Pseudo { query: query.to_string(), rest: rest.trim().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_passages_ask_nothing() {
        let asks = |title_of: &str, text: &str| {
            let passage = Passage::new("p", title_of, text);
            (title(&passage).is_some(), sentence(&passage, &mut Random::new(0)).is_some())
        };
        let long = "One two three four five six seven eight nine. Ten eleven twelve one two three four five six seven.";
        assert_eq!(asks("T", long), (true, true));
        assert_eq!(asks("", long), (false, true));
        assert_eq!(asks("T", "One two three four five six seven eight."), (true, false));
        assert_eq!(asks("T", "Too short. It is."), (false, false));
    }
}

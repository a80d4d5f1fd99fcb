//! Questions a collection asks itself, where nobody has asked any: its titles and its sentences.
//!
//! A passage comes in; a [`Pseudo`] goes out, a question and the rest of the passage that should be found by it. A
//! title asks for its passage's text, a sentence for the passage without that sentence (the inverse cloze task), an
//! excerpt of a sentence for the passage that keeps about half of the sentence's words. None proves that the rest
//! answers anything, but they go together more than chance, and need no judgment.
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

/// One passage in so many is [held out](held_out).
pub const HELD_OUT: usize = 8;

/// Whether pseudo-queries of this passage are never trained on.
///
/// An encoder that has learnt a collection's own pseudo-queries answers them far better than anybody's questions, so the
/// collection could no longer ask itself what the encoder is worth. One passage in [`HELD_OUT`], whatever the collection, is
/// therefore kept for asking: chosen by its text, so that both sides know it wherever they meet it.
///
/// ```
/// use parallax::{Passage, collection::pseudo};
/// let of = |text: String| pseudo::held_out(&Passage::new("p", "", &text));
/// let held_out = (0..8_000).filter(|i| of(format!("passage {i}"))).count();
/// assert!((900..1_100).contains(&held_out));
/// ```
pub fn held_out(passage: &Passage) -> bool {
    Random::of(0, &passage.text).below(HELD_OUT) == 0
}

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
    cut(passage, random).map(|cut| Pseudo { query: cut.query.to_string(), rest: cut.rest([]) })
}

/// Some words in a row of a sentence drawn at random ask for title and text without it, where some of its words are left
/// standing: as short and as literal as a question. `None` where [`sentence`] finds none.
///
/// With [`EXCERPT`] words, of which a share of [`LEFT`] stays, the excerpt shares about as much with what it should find as
/// real questions do: .55 to .64 of their idf mass in SciFact, SQuAD and KorQuAD, where a sentence shares .28 with its rest.
pub fn excerpt(passage: &Passage, random: &mut Random) -> Option<Pseudo> {
    let cut = cut(passage, random)?;
    let spans = words::spans(cut.query);
    let left: Vec<&str> =
        spans.iter().filter(|_| random.unit() < LEFT).map(|(start, end)| &cut.query[*start..*end]).collect();
    let first = random.below(spans.len().saturating_sub(EXCERPT) + 1);
    let last = (first + EXCERPT).min(spans.len()) - 1;
    Some(Pseudo { query: cut.query[spans[first].0..spans[last].1].to_string(), rest: cut.rest(left) })
}

/// Words of an [`excerpt`], at most.
pub const EXCERPT: usize = 7;

/// Share of a sentence's words that stay in the text when an [`excerpt`] of it asks.
pub const LEFT: f64 = 0.45;

/// A passage with a sentence taken out.
struct Cut<'a> {
    before: [&'a str; 2],
    query: &'a str,
    after: &'a str,
}

impl Cut<'_> {
    /// Title and text, with `left` in the sentence's place.
    fn rest<'b>(&'b self, left: impl IntoIterator<Item = &'b str>) -> String {
        let [title, before] = self.before;
        let left: Vec<&str> = left.into_iter().collect();
        let parts = [title, before, &left.join(" "), self.after];
        let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
        parts.join(" ")
    }
}

fn cut<'a>(passage: &'a Passage, random: &mut Random) -> Option<Cut<'a>> {
    let text = &passage.text;
    let sentences = words::sentences(text);
    if sentences.len() < 2 {
        return None;
    }
    let (start, end) = sentences[random.below(sentences.len())];
    let cut = Cut { before: [&passage.title, &text[..start]], query: &text[start..end], after: &text[end..] };
    let enough = words::spans(cut.query).len() >= 4 && words::spans(&cut.rest([])).len() >= 8;
    enough.then_some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_passages_ask_nothing() {
        let asks = |title_of: &str, text: &str| {
            let passage = Passage::new("p", title_of, text);
            assert_eq!(
                sentence(&passage, &mut Random::new(0)).is_some(),
                excerpt(&passage, &mut Random::new(0)).is_some()
            );
            (title(&passage).is_some(), sentence(&passage, &mut Random::new(0)).is_some())
        };
        let long = "One two three four five six seven eight nine. Ten eleven twelve one two three four five six seven.";
        assert_eq!(asks("T", long), (true, true));
        assert_eq!(asks("", long), (false, true));
        assert_eq!(asks("T", "One two three four five six seven eight."), (true, false));
        assert_eq!(asks("T", "Too short. It is."), (false, false));
    }

    #[test]
    fn excerpts_are_as_long_and_as_literal_as_questions() {
        let sentence = |from: usize| (from..from + 20).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ") + ". ";
        let passage = Passage::new("p", "Title", sentence(0) + &sentence(20) + &sentence(40));
        let mut random = Random::new(3);
        let (mut shared, mut asked) = (0, 0);
        for _ in 0..200 {
            let Pseudo { query, rest } = excerpt(&passage, &mut random).unwrap();
            let query: Vec<&str> = query.split(' ').collect();
            assert_eq!(query.len(), EXCERPT);
            assert!(rest.starts_with("Title "));
            let rest: Vec<&str> = rest.split([' ', '.']).collect();
            shared += query.iter().filter(|word| rest.contains(word)).count();
            asked += query.len();
        }
        let share = shared as f64 / asked as f64;
        // 1,400 draws: a standard error of .013.
        assert!((share - LEFT).abs() < 0.05, "{share}");
    }
}

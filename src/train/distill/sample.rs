//! The texts a teacher is shown: beginnings of passages and single sentences, drawn evenly.
//!
//! Of `total` passages, passage `j` gives `⌊(j+1) n / total⌋ - ⌊j n / total⌋` texts: `n` in all, and never more than
//! two of one passage. Beginnings (of 64 words) and sentences take turns: long texts teach more a text, sentences more
//! a word, and both together did best.

use crate::error::Result;
use crate::train::vocabulary::Feed;

/// Words of a beginning: below any teacher's limit in tokens.
const BEGINNING: usize = 64;
/// Words a sentence has.
const SENTENCE: std::ops::RangeInclusive<usize> = 5..=40;

/// Draws about `n` texts from the `total` texts of the feed.
pub(super) fn draw(n: usize, total: u64, feed: &mut Feed<'_>) -> Result<Vec<String>> {
    let n = (n as u64).min(2 * total);
    let (mut j, mut drawn) = (0u64, Vec::with_capacity(n as usize));
    feed(&mut |text| {
        let share = |j: u64| (u128::from(j) * u128::from(n) / u128::from(total.max(1))) as u64;
        let wanted = share(j + 1).saturating_sub(share(j));
        // Beginnings and sentences by turns; a passage that gives two texts gives one of each.
        for turn in 0..wanted.min(2) {
            let long = if wanted == 1 { drawn.len().is_multiple_of(2) } else { turn == 0 };
            let piece = if long { beginning(text) } else { sentence(text, j).unwrap_or_else(|| beginning(text)) };
            drawn.push(piece.to_string());
        }
        j += 1;
    })?;
    drawn.retain(|text: &String| !text.trim().is_empty());
    Ok(drawn)
}

/// The first words of a text.
fn beginning(text: &str) -> &str {
    let mut words = 0;
    let mut within = false;
    for (at, c) in text.char_indices() {
        words += usize::from(!within && !c.is_whitespace());
        within = !c.is_whitespace();
        if words > BEGINNING {
            return text[..at].trim_end();
        }
    }
    text
}

/// One of the text's sentences, another one for each `j`; `None` when it has none of the right length.
fn sentence(text: &str, j: u64) -> Option<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut seen = text.char_indices().peekable();
    while let Some((_, c)) = seen.next() {
        if matches!(c, '.' | '!' | '?') && seen.peek().is_some_and(|(_, next)| next.is_whitespace()) {
            let end = seen.peek().map_or(text.len(), |(at, _)| *at);
            sentences.push(&text[start..end]);
            start = end;
        }
    }
    sentences.push(&text[start..]);
    sentences.retain(|sentence| SENTENCE.contains(&sentence.split_whitespace().count()));
    let count = sentences.len() as u64;
    sentences.get(j.checked_rem(count)? as usize).map(|sentence| sentence.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSAGE: &str =
        "The first sentence has six words. Short one. Is the third sentence a question? Trailing words make a fragment";

    #[test]
    fn sentences_are_cut_and_taken_in_turn() {
        let taken: Vec<_> = (0..4).filter_map(|j| sentence(PASSAGE, j)).collect();
        let third = "Is the third sentence a question?";
        assert_eq!(taken[..2], ["The first sentence has six words.", third]);
        assert_eq!(taken[2..], ["Trailing words make a fragment", "The first sentence has six words."]);
        assert_eq!(sentence("Short one.", 0), None);
    }

    #[test]
    fn a_beginning_is_so_many_words() {
        let text = "w ".repeat(BEGINNING + 9);
        assert_eq!(beginning(&text).split_whitespace().count(), BEGINNING);
        assert_eq!(beginning("a b"), "a b");
    }

    proptest! {
        #[test]
        fn the_share_is_even_and_at_most_two_a_text(n in 0usize..60, total in 1u64..40) {
            let drawn = draw(n, total, &mut |take| {
                (0..total).for_each(|_| take(PASSAGE));
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(drawn.len(), n.min(2 * total as usize));
            let whole = drawn.iter().filter(|text| *text == PASSAGE).count();
            prop_assert!(whole.abs_diff(drawn.len() - whole) <= 1 + total as usize / 8 || n as u64 > total);
        }
    }
}

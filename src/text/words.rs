//! Where words are: maximal runs of letters, digits and marks.
//!
//! ```
//! let text = "Hangul, 1443년";
//! let words: Vec<&str> = parallax::text::words::spans(text).into_iter().map(|(a, b)| &text[a..b]).collect();
//! assert_eq!(words, ["Hangul", "1443년"]);
//! ```

use unicode_normalization::char::is_combining_mark;

/// Byte ranges of the words of a text, in order. Cost: one pass.
pub fn spans(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let inside = c.is_alphanumeric() || is_combining_mark(c);
        match (start, inside) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                spans.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        spans.push((from, text.len()));
    }
    spans
}

/// Letters and digits alone, lower-cased: what of a text can be compared whatever its spacing and punctuation.
///
/// ```
/// use parallax::text::words::letters;
/// assert!(letters("이순신장군은 1592년에").contains(&letters("이순신 장군")));
/// ```
pub fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Byte ranges of the sentences of a text: a full stop, question or exclamation mark (also the full-width ones)
/// followed by white space ends one, unless what stands before the stop is a single letter or a short abbreviation.
///
/// ```
/// let text = "Dr. Snow drew a map. It showed a pump! 지도였다. 끝";
/// let sentences: Vec<&str> = parallax::text::words::sentences(text).into_iter().map(|(a, b)| &text[a..b]).collect();
/// assert_eq!(sentences, ["Dr. Snow drew a map.", "It showed a pump!", "지도였다.", "끝"]);
/// ```
pub fn sentences(text: &str) -> Vec<(usize, usize)> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if !matches!(c, '.' | '!' | '?' | '。' | '！' | '？') {
            continue;
        }
        // Closing quotes and brackets belong to the sentence they close.
        let mut end = at + c.len_utf8();
        while let Some((at, c)) = characters.next_if(|(_, c)| matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '」'))
        {
            end = at + c.len_utf8();
        }
        let full_width = matches!(c, '。' | '！' | '？');
        let followed_by_space = characters.peek().is_none_or(|(_, next)| next.is_whitespace());
        if (full_width || followed_by_space) && !(c == '.' && is_abbreviation(&text[start..at])) {
            push_trimmed(text, start, end, &mut sentences);
            start = end;
        }
    }
    push_trimmed(text, start, text.len(), &mut sentences);
    sentences
}

/// Whether a stop after this text closes an abbreviation: `J`, `Dr`, `St`, but not `fox` or `다`.
fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let capital = word.chars().next().is_some_and(char::is_uppercase);
    capital
        && (word.chars().count() == 1
            || matches!(word, "Dr" | "Mr" | "Mrs" | "Ms" | "St" | "Jr" | "Sr" | "No" | "Prof"))
}

fn push_trimmed(text: &str, start: usize, end: usize, into: &mut Vec<(usize, usize)>) {
    let piece = &text[start..end];
    let from = start + (piece.len() - piece.trim_start().len());
    let to = from + piece.trim().len();
    if to > from {
        into.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sentences_hold_every_visible_character_once(text in "[a-zA-Z.!? 가-힣\"]{0,60}") {
            let kept: String = sentences(&text).iter().map(|(a, b)| &text[*a..*b]).collect();
            let visible = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(visible(&kept), visible(&text));
        }
    }

    #[test]
    fn letters_see_through_spacing_and_punctuation() {
        assert!(letters("the e-mail  list").contains(&letters("Email List")));
        assert_eq!(letters(" … "), "");
    }

    #[test]
    fn words_keep_their_marks() {
        assert_eq!(spans("e\u{301}t\u{e9} 3D"), [(0, 6), (7, 9)]);
        assert!(spans(" ,.; ").is_empty());
    }
}

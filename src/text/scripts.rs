//! Script runs: text cut into stretches that are analysed by the same rule.
//!
//! Text comes in, [`Run`]s go out: maximal stretches of one [`Script`], separators left out. Letters of alphabets and
//! digits stay together (`3D`, `CO2`), so does every mark on what it marks; Hangul and scripts written without spaces
//! are cut off from them (`2차` is `2` and `차`), since their words are found by n-grams and not by spaces.
//!
//! ```
//! use parallax::text::scripts::{runs, Script};
//! let found: Vec<_> = runs("제2차 CO2 測定!").map(|run| (run.script, run.text)).collect();
//! assert_eq!(found, [
//!     (Script::Hangul, "제"), (Script::Word, "2"), (Script::Hangul, "차"),
//!     (Script::Word, "CO2"), (Script::Unspaced, "測定"),
//! ]);
//! ```
//!
//! Cost: one pass; ASCII is decided by a byte, other characters by their block and Unicode category.
//! Source: Unicode Standard Annex 24, *Unicode Script Property*, for the blocks.

use unicode_general_category::{GeneralCategory, get_general_category};

/// How a run is written, and therefore how terms are found in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// Letters of an alphabet (Latin, Cyrillic, Greek, Arabic, Tamil …) and digits: a run is a word.
    Word,
    /// Hangul syllables and letters: a run is a word with what is attached to it.
    Hangul,
    /// Han, Kana, Thai, Lao, Khmer, Burmese: a run is a phrase without spaces.
    Unspaced,
}

/// A maximal stretch of one script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'t> {
    /// How it is written.
    pub script: Script,
    /// Its characters, as they stand in the text.
    pub text: &'t str,
    /// Where it begins in the text, in bytes.
    pub start: usize,
}

/// The script runs of a text, in order.
pub fn runs(text: &str) -> Runs<'_> {
    Runs { text, at: 0 }
}

/// Iterator over the [`Run`]s of a text.
#[derive(Clone, Debug)]
pub struct Runs<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Runs<'t> {
    type Item = Run<'t>;

    fn next(&mut self) -> Option<Run<'t>> {
        let (start, script) = loop {
            let (kind, width) = kind_at(self.text, self.at)?;
            let start = self.at;
            self.at += width;
            if let Kind::Letter(script) = kind {
                break (start, script);
            }
        };
        while let Some((kind, width)) = kind_at(self.text, self.at) {
            if kind != Kind::Letter(script) && kind != Kind::Mark {
                break;
            }
            self.at += width;
        }
        Some(Run { script, text: &self.text[start..self.at], start })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter(Script),
    /// Belongs to the character before it.
    Mark,
    Separator,
}

/// What stands at a byte offset, and how many bytes it takes.
fn kind_at(text: &str, at: usize) -> Option<(Kind, usize)> {
    let first = *text.as_bytes().get(at)?;
    if first.is_ascii() {
        let kind = if first.is_ascii_alphanumeric() { Kind::Letter(Script::Word) } else { Kind::Separator };
        return Some((kind, 1));
    }
    let c = text[at..].chars().next()?;
    Some((kind(c), c.len_utf8()))
}

fn kind(c: char) -> Kind {
    match c as u32 {
        0x1100..=0x11FF | 0x3131..=0x318E | 0xA960..=0xA97F | 0xAC00..=0xD7A3 | 0xD7B0..=0xD7FF | 0xFFA1..=0xFFDC => {
            Kind::Letter(Script::Hangul)
        }
        // Ideographs with their extensions, the iteration marks, Kana (not the middle dot), then South-East Asia.
        0x3005..=0x3007
        | 0x3041..=0x3096
        | 0x309D..=0x309F
        | 0x30A1..=0x30FA
        | 0x30FC..=0x30FF
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9D
        | 0x1B000..=0x1B16F
        | 0x20000..=0x323AF => Kind::Letter(Script::Unspaced),
        0x0E01..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17DD if !is_mark(c) && c.is_alphabetic() => {
            Kind::Letter(Script::Unspaced)
        }
        _ if is_mark(c) => Kind::Mark,
        _ if c.is_alphanumeric() => Kind::Letter(Script::Word),
        _ => Kind::Separator,
    }
}

fn is_mark(c: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    // No mark stands below U+0300; the shortcut keeps Latin text away from the table.
    c as u32 >= 0x300 && matches!(get_general_category(c), NonspacingMark | SpacingMark | EnclosingMark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Script, &str)]) {
        let found: Vec<_> = runs(text).map(|run| (run.script, run.text)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn runs_follow_the_scripts() {
        use Script::*;
        check("", &[]);
        check(" .,!—\u{0301}", &[]);
        check("Vitamin-D3, Ünïted", &[(Word, "Vitamin"), (Word, "D3"), (Word, "Ünïted")]);
        check("제2차 세계대전은", &[(Hangul, "제"), (Word, "2"), (Hangul, "차"), (Hangul, "세계대전은")]);
        check("TV를 ㅋㅋ", &[(Word, "TV"), (Hangul, "를"), (Hangul, "ㅋㅋ")]);
        check("東京タワー・食べる", &[(Unspaced, "東京タワー"), (Unspaced, "食べる")]);
        check("ภาษาไทย", &[(Unspaced, "ภาษาไทย")]);
        // Marks that no composed letter exists for stay with their letter: here Tamil's vowel sign and virama.
        check("தமிழ் q\u{0323}x", &[(Word, "தமிழ்"), (Word, "q\u{0323}x")]);
    }

    proptest! {
        #[test]
        fn runs_are_ordered_pieces_that_lose_no_letter(text in "[a-z0-9가-힣一-龥ぁ-ん ,.'éжำ]{0,40}") {
            let mut end = 0;
            let mut kept = String::new();
            for run in runs(&text) {
                prop_assert!(run.start >= end && !run.text.is_empty());
                prop_assert_eq!(&text[run.start..run.start + run.text.len()], run.text);
                end = run.start + run.text.len();
                kept.push_str(run.text);
            }
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&kept), letters(&text));
        }
    }
}

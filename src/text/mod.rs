//! Text as every room sees it: normalisation, script runs, words, Korean particles, shingles, twins.

pub mod particles;
pub mod scripts;
pub mod shingles;
pub mod twins;
pub mod words;

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The text in Unicode normalisation form C, the form everything is indexed and asked in.
///
/// ```
/// assert_eq!(parallax::text::nfc("\u{1112}\u{1161}\u{11ab}"), "한");
/// ```
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

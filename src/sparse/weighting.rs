//! How much a term counts in a passage: BM25 with free `k1` and `b`, and cosine TF-IDF.
//!
//! Term frequencies, passage lengths and document frequencies come in, scores go out; nothing here reads a file.
//! With `N` passages, `df` of them holding the term, `tf` its frequency in the passage, `qtf` in the query:
//!
//! **BM25** (Lucene's form: the constant factor `k1 + 1`, which orders nothing, is left out):
//!
//! ```text
//! score = Σ qtf · idf · tf / (tf + k1 · (1 − b + b · len / avg))      idf = ln(1 + (N − df + ½) / (df + ½))
//! ```
//!
//! `len` is the passage's *exact* number of terms (Lucene and tantivy keep it in one lossy byte), `avg` its mean.
//! Title and text form one field. A `title` weight `w` other than 1 counts title terms `w` times, as BM25F does before
//! saturation: `tf = tf_all + (w−1)·tf_title`, `len = len_all + (w−1)·len_title`.
//!
//! **TF-IDF** is SMART's `ltc.ltc`: `(1 + ln tf) · ln(N / df)` on both sides, both vectors scaled to unit length, so
//! the score is a cosine in `[0, 1]`. A term that every passage holds weighs 0.
//!
//! ```
//! use parallax::sparse::{idf, Weighting};
//! // 4 passages, 1 holds the term: ln(1 + 3.5 / 1.5) = 1.2040
//! assert!((idf(4, 1) - 1.2040).abs() < 1e-4);
//! assert_eq!("bm25(k1=1.2,b=.75)".parse::<Weighting>().unwrap().to_string(), "bm25(k1=1.2,b=0.75)");
//! ```
//!
//! Sources: S. Robertson and H. Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond*, 2009; C. Kamphuis,
//! A. de Vries, L. Boytsov and J. Lin, *Which BM25 Do You Mean?*, 2020 (the Lucene form); S. Robertson, H. Zaragoza and
//! M. Taylor, *Simple BM25 Extension to Multiple Weighted Fields*, 2004; G. Salton and C. Buckley, *Term-weighting
//! approaches in automatic text retrieval*, 1988 (SMART). Defaults `k1 = 0.9, b = 0.4`: Anserini's for passages.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Which formula scores a term; chosen at query time, on any index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// Okapi BM25.
    Bm25 {
        /// How slowly repetition saturates, ≥ 0.
        k1: f32,
        /// How much length counts, in `[0, 1]`.
        b: f32,
        /// How often a term of the title counts, ≥ 0; 1 is title and text as one field.
        title_weight: f32,
    },
    /// Cosine of TF-IDF vectors, SMART `ltc.ltc`.
    TfIdf,
}

impl Default for Weighting {
    fn default() -> Self {
        Weighting::Bm25 { k1: 0.9, b: 0.4, title_weight: 1.0 }
    }
}

impl Weighting {
    /// Refuses parameters outside their range.
    pub fn check(&self) -> Result<()> {
        let Weighting::Bm25 { k1, b, title_weight } = *self else { return Ok(()) };
        let refuse = |name: &str, value: f32, range: &str| {
            Err(Error::usage(format!("`{name}` of BM25 is {value}, it must be {range}")))
        };
        match () {
            _ if !(k1.is_finite() && k1 >= 0.0) => refuse("k1", k1, "0 or more"),
            _ if !(0.0..=1.0).contains(&b) => refuse("b", b, "between 0 and 1"),
            _ if !(title_weight.is_finite() && title_weight >= 0.0) => refuse("title", title_weight, "0 or more"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Weighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weighting::Bm25 { k1, b, title_weight } => {
                write!(f, "bm25(k1={k1},b={b}")?;
                if *title_weight != 1.0 {
                    write!(f, ",title={title_weight}")?;
                }
                f.write_str(")")
            }
            Weighting::TfIdf => f.write_str("tfidf"),
        }
    }
}

impl FromStr for Weighting {
    type Err = Error;

    /// Reads `bm25`, `bm25(k1=1.2,b=.75,title=2)` (each part optional) or `tfidf`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::usage(format!("`{text}` is no weighting"))
                .hint("write `bm25`, `bm25(k1=1.2,b=.75)`, `bm25(title=2)` or `tfidf`")
        };
        let trimmed = text.trim();
        let (name, inside) = match trimmed.split_once('(') {
            Some((name, rest)) => (name.trim_end(), rest.strip_suffix(')').ok_or_else(unknown)?),
            None => (trimmed, ""),
        };
        let parts = || inside.split(',').map(str::trim).filter(|part| !part.is_empty());
        let weighting = match name {
            "tfidf" if parts().next().is_none() => Weighting::TfIdf,
            "bm25" => {
                let (mut k1, mut b, mut title_weight) = (0.9, 0.4, 1.0);
                for part in parts() {
                    let (key, value) = part.split_once('=').ok_or_else(unknown)?;
                    let value: f32 = value.trim().parse().map_err(|_| unknown())?;
                    match key.trim() {
                        "k1" => k1 = value,
                        "b" => b = value,
                        "title" => title_weight = value,
                        _ => return Err(unknown()),
                    }
                }
                Weighting::Bm25 { k1, b, title_weight }
            }
            _ => return Err(unknown()),
        };
        weighting.check()?;
        Ok(weighting)
    }
}

/// BM25's inverse document frequency `ln(1 + (N − df + ½) / (df + ½))`, always above 0 for `df ≤ N`.
pub fn idf(passages: u64, df: u64) -> f64 {
    (1.0 + (passages as f64 - df as f64 + 0.5) / (df as f64 + 0.5)).ln().max(0.0)
}

/// SMART's `t`: `ln(N / df)`; 0 for a term in every passage, and for one in none.
pub fn smart_idf(passages: u64, df: u64) -> f64 {
    if df == 0 { 0.0 } else { (passages as f64 / df as f64).ln().max(0.0) }
}

/// SMART's `l`: `1 + ln tf`; 0 for an absent term.
pub fn log_tf(tf: u32) -> f64 {
    if tf == 0 { 0.0 } else { 1.0 + f64::from(tf).ln() }
}

/// One part's view of a formula: what a term adds to the score of one of its passages.
///
/// Every route to a score (search, complete scoring, explanation) goes through `add`, so they agree bit for bit.
pub(crate) trait Model {
    /// What a term of weight `weight` adds to passage `place` of the part; frequencies as counted there.
    /// `place` must be below the part's number of passages.
    fn add(&self, place: usize, tf: u32, title_tf: u32, weight: f32) -> f32;
}

/// BM25 over title and text as one field.
pub(crate) struct Bm25<'a> {
    /// Terms per passage.
    pub(crate) lengths: &'a [u32],
    /// `k1 · (1 − b)` and `k1 · b / avg`.
    pub(crate) norm: (f32, f32),
    /// [`bm25_shares`] of `norm`, or none: a look-up is a fifth faster than the division.
    pub(crate) shares: &'a [f32],
}

impl Model for Bm25<'_> {
    #[inline(always)]
    fn add(&self, place: usize, tf: u32, _: u32, weight: f32) -> f32 {
        let length = self.lengths[place];
        let at = if length < SHARE_LENGTHS { (tf.wrapping_sub(1) as usize) << 8 | length as usize } else { usize::MAX };
        weight * self.shares.get(at).copied().unwrap_or_else(|| bm25_share(tf, length, self.norm))
    }
}

/// Lengths, and frequencies from 1, that [`bm25_shares`] holds.
const SHARE_LENGTHS: u32 = 256;
const SHARE_TFS: u32 = 4;

/// `tf / (tf + k1 · (1 − b + b · length / avg))`, the constants as [`bm25_norm`] gives them.
#[inline(always)]
fn bm25_share(tf: u32, length: u32, norm: (f32, f32)) -> f32 {
    let tf = tf as f32;
    tf / (tf + (norm.0 + norm.1 * length as f32))
}

/// What most postings need: the shares of a term that stands one to four times in a passage of fewer than 256 terms, in
/// the order (frequency, length).
pub(crate) fn bm25_shares(norm: (f32, f32)) -> Vec<f32> {
    let of = |tf| (0..SHARE_LENGTHS).map(move |length| bm25_share(tf, length, norm));
    (1..=SHARE_TFS).flat_map(of).collect()
}

/// BM25 with title terms counted `1 + extra` times.
pub(crate) struct Bm25Title<'a> {
    /// Terms per passage, title and text together.
    pub(crate) lengths: &'a [u32],
    /// Terms per title.
    pub(crate) title_lengths: &'a [u32],
    /// Title weight less 1.
    pub(crate) extra: f32,
    /// `k1 · (1 − b)` and `k1 · b / avg`.
    pub(crate) norm: (f32, f32),
}

impl Model for Bm25Title<'_> {
    #[inline(always)]
    fn add(&self, place: usize, tf: u32, title_tf: u32, weight: f32) -> f32 {
        let tf = tf as f32 + self.extra * title_tf as f32;
        if tf <= 0.0 {
            return 0.0;
        }
        let length = self.lengths[place] as f32 + self.extra * self.title_lengths[place] as f32;
        weight * (tf / (tf + (self.norm.0 + self.norm.1 * length)))
    }
}

/// Cosine TF-IDF.
pub(crate) struct Cosine<'a> {
    /// One over the Euclidean length of each passage's vector; 0 where the vector is 0.
    pub(crate) inverse_norms: &'a [f32],
}

impl Model for Cosine<'_> {
    #[inline(always)]
    fn add(&self, place: usize, tf: u32, _: u32, weight: f32) -> f32 {
        let tf = if tf == 1 { 1.0 } else { log_tf(tf) as f32 };
        weight * tf * self.inverse_norms[place]
    }
}

/// The two constants of BM25's length part, `k1 · (1 − b)` and `k1 · b / avg`; an empty collection has no mean.
pub(crate) fn bm25_norm(k1: f32, b: f32, average: f64) -> (f32, f32) {
    let slope = if average > 0.0 { f64::from(k1) * f64::from(b) / average } else { 0.0 };
    ((f64::from(k1) * (1.0 - f64::from(b))) as f32, slope as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn weightings_read_as_they_are_written() {
        for (text, shown) in [
            ("bm25", "bm25(k1=0.9,b=0.4)"),
            (" bm25( k1 = 1.2 , b = .75 ) ", "bm25(k1=1.2,b=0.75)"),
            ("bm25(title=2)", "bm25(k1=0.9,b=0.4,title=2)"),
            ("tfidf", "tfidf"),
        ] {
            assert_eq!(text.parse::<Weighting>().unwrap().to_string(), shown);
        }
        for text in ["", "bm26", "bm25(k1)", "bm25(k1=x)", "bm25(k2=1)", "bm25(k1=1", "tfidf(b=1)", "bm25(b=1.1)"] {
            assert_eq!(text.parse::<Weighting>().unwrap_err().kind(), ErrorKind::Usage, "{text}");
        }
        for text in ["bm25(k1=-1)", "bm25(k1=inf)", "bm25(b=NaN)", "bm25(title=-0.5)"] {
            assert_eq!(text.parse::<Weighting>().unwrap_err().kind(), ErrorKind::Usage, "{text}");
        }
    }

    #[test]
    fn formulas_agree_with_hand_computed_values() {
        // A passage of length 4, mean 5, tf 2, k1 1.2, b .75: 2 / (2 + 1.2·(.25 + .75·.8)) = 2 / 3.02.
        let model = Bm25 { lengths: &[4], norm: bm25_norm(1.2, 0.75, 5.0), shares: &[] };
        assert!((model.add(0, 2, 0, 1.0) - 2.0 / 3.02).abs() < 1e-6);
        // Title weight 3, once in the title and twice in all: tf 2 + 2 = 4; length 4 + 2·1 = 6.
        let model = Bm25Title { lengths: &[4], title_lengths: &[1], extra: 2.0, norm: bm25_norm(1.2, 0.75, 5.0) };
        assert!((model.add(0, 2, 1, 1.0) - 4.0 / (4.0 + 1.2 * (0.25 + 0.75 * 1.2))).abs() < 1e-6);
        assert_eq!(smart_idf(8, 8), 0.0);
        assert!((smart_idf(8, 2) - 4f64.ln()).abs() < 1e-12);
        assert_eq!((log_tf(0), log_tf(1)), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn display_and_parse_agree(k1 in 0f32..10.0, b in 0f32..=1.0, title_weight in 0f32..10.0) {
            let weighting = Weighting::Bm25 { k1, b, title_weight };
            prop_assert_eq!(weighting.to_string().parse::<Weighting>().unwrap(), weighting);
        }

        #[test]
        fn bm25_rises_with_tf_and_falls_with_length(tf in 1u32..50, length in 1u32..500, k1 in 0.1f32..3.0, b in 0.1f32..=1.0) {
            let lengths = [length, length + 50];
            let norm = bm25_norm(k1, b, 100.0);
            let model = Bm25 { lengths: &lengths, norm, shares: &[] };
            let looked_up = Bm25 { lengths: &lengths, norm, shares: &bm25_shares(norm) };
            for place in 0..2 {
                prop_assert_eq!(model.add(place, tf, 0, 3.7).to_bits(), looked_up.add(place, tf, 0, 3.7).to_bits());
            }
            prop_assert!(model.add(0, tf + 1, 0, 1.0) > model.add(0, tf, 0, 1.0));
            prop_assert!(model.add(0, tf, 0, 1.0) > model.add(1, tf, 0, 1.0));
        }
    }
}

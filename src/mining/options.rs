//! What to mine, and what never to take: sources, filters, sampling and the recipes of other tools.

use super::source::{Mix, Source};
use crate::dense::SearchHow;
use crate::encoder::contract::Encoder;
use crate::error::{Error, Result};
use crate::eval::answers::Matching;
use crate::fusion::Fusion;
use crate::sparse::Weighting;
use std::str::FromStr;
use std::sync::Arc;

/// Negatives a query, at most.
pub const MOST_NEGATIVES: usize = 10_000;
/// The deepest raw rank that can be asked for.
pub const DEEPEST: usize = 1_000_000;

/// What to mine and how.
#[derive(Clone)]
pub struct MineOptions {
    /// Where negatives come from, with the share of each source.
    pub mix: Mix,
    /// Negatives a query, up to [`MOST_NEGATIVES`]; 0 gives pairs of query and positive.
    pub negatives: usize,
    /// Passages a side offers to the filters, 1 to [`DEEPEST`]; raised to the end of a rank window that reaches deeper.
    pub depth: usize,
    /// Scores of the sparse side.
    pub weighting: Weighting,
    /// How sides are joined for [`Source::Hybrid`]; `None` takes the index's own fusion.
    pub fusion: Option<Fusion>,
    /// How the dense side is searched.
    pub how: SearchHow,
    /// What is never taken.
    pub filters: Filters,
    /// An encoder that looks at every survivor again.
    pub rescore: Option<Rescore>,
    /// Which of the survivors are taken.
    pub sampling: Sampling,
    /// What happens to a query with fewer survivors than wanted.
    pub shortfall: Shortfall,
    /// Whether each negative tells its place on both sides; without it a side that no source needs is not searched.
    pub traced: bool,
    /// Rows of the sheet to judge by hand; `None` leaves out the audit, and with it the reading of texts that no
    /// filter asks for.
    pub audit: Option<usize>,
    /// Seed of everything drawn; what is drawn for a query depends on it and the query's id alone.
    pub seed: u64,
}

/// What is never taken as a negative, besides the query's own positives. Ranks are raw: counted before any filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// Drops other chunks of a positive's document.
    pub same_document: bool,
    /// Drops passages with a positive's title.
    pub same_title: bool,
    /// Drops passages with a positive's very words (case and punctuation aside).
    pub exact_duplicate: bool,
    /// Drops passages whose word shingles reach this estimated Jaccard similarity with a positive's.
    pub near_duplicate: Option<f64>,
    /// Drops passages that hold an answer.
    pub answers: Option<Matching>,
    /// Keeps raw ranks `[first, last]` only, from 1, both ends included.
    pub range: Option<(usize, usize)>,
    /// Lowest raw score of the source that is taken.
    pub min_score: Option<f64>,
    /// Highest raw score of the source that is taken.
    pub max_score: Option<f64>,
    /// Takes scores up to `positive − margin`.
    pub margin: Option<f64>,
    /// Takes scores up to `positive − |positive| · margin`; safe for negative scores.
    pub relative_margin: Option<RelativeMargin>,
}

/// Jaccard similarity from which mining takes two passages for the same.
///
/// Lower than the threshold that removes passages from a collection
/// ([`THRESHOLD`](crate::text::shingles::THRESHOLD)): there an innocent passage is lost for good, here merely another
/// negative is taken, while a twin of the positive teaches the opposite of the truth. A pair at .5 shares two thirds of
/// its shingles; ten changed words in a hundred leave about .54.
pub const NEAR_DUPLICATE: f64 = 0.5;

impl Default for Filters {
    fn default() -> Self {
        Filters {
            same_document: true,
            same_title: false,
            exact_duplicate: true,
            near_duplicate: Some(NEAR_DUPLICATE),
            answers: Some(Matching::Korean),
            range: None,
            min_score: None,
            max_score: None,
            margin: None,
            relative_margin: None,
        }
    }
}

impl Filters {
    /// Positives alone are kept out: what tools without the other filters do.
    pub const NONE: Filters = Filters {
        same_document: false,
        same_title: false,
        exact_duplicate: false,
        near_duplicate: None,
        answers: None,
        range: None,
        min_score: None,
        max_score: None,
        margin: None,
        relative_margin: None,
    };
}

/// How far below the positive a negative must score, as a share of the positive's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RelativeMargin {
    /// This share.
    Fixed(f64),
    /// Fitted to the collection: see [`margin`](mod@super::margin).
    Auto,
}

impl FromStr for RelativeMargin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(RelativeMargin::Auto);
        }
        let share = text.parse().ok().filter(|share: &f64| share.is_finite());
        share.map(RelativeMargin::Fixed).ok_or_else(|| {
            Error::usage(format!("`{text}` is no relative margin")).hint("write `auto`, or a share such as .05")
        })
    }
}

/// An encoder's second opinion on each survivor: its score beside that of the lowest positive.
///
/// A share `t` stands for the score `positive + |positive| · (t − 1)`, which is `t · positive` for positive scores.
#[derive(Clone)]
pub struct Rescore {
    /// Scores query and passage by the inner product of their rows.
    pub encoder: Arc<dyn Encoder>,
    /// Drops passages that reach this share of the positive's score as ambiguous.
    pub drop: f64,
    /// Takes passages that reach this share as further positives; `None` relabels nothing.
    pub positive: Option<f64>,
}

impl Rescore {
    /// The share from which a passage is ambiguous: NV-Retriever's 95 % of the positive (Moreira et al., 2024).
    pub const DROP: f64 = 0.95;
}

/// Which survivors are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// The best ranked.
    Top,
    /// Any, all alike.
    Random,
    /// Any, with odds `exp(z)`, `z` the score in standard deviations from the survivors' mean.
    Softmax,
}

impl FromStr for Sampling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "top" => Ok(Sampling::Top),
            "random" => Ok(Sampling::Random),
            "softmax" => Ok(Sampling::Softmax),
            _ => Err(Error::usage(format!("`{text}` is no way of sampling")).hint("one of top, random, softmax")),
        }
    }
}

/// What happens to a query with fewer survivors than wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// It keeps what there is, possibly none.
    Fewer,
    /// It is left out.
    Drop,
    /// It is filled with random passages that pass the filters as well.
    Random,
}

impl FromStr for Shortfall {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fewer" => Ok(Shortfall::Fewer),
            "drop" => Ok(Shortfall::Drop),
            "random" => Ok(Shortfall::Random),
            _ => Err(Error::usage(format!("`{text}` is no rule for a shortfall")).hint("one of fewer, drop, random")),
        }
    }
}

impl Default for MineOptions {
    /// Best BM25 passages that do not hold the answer (Karpukhin et al., 2020), three a query as sentence-transformers
    /// has it, out of the best hundred.
    fn default() -> Self {
        MineOptions {
            mix: Mix::of(Source::Sparse),
            negatives: 3,
            depth: 100,
            weighting: Weighting::default(),
            fusion: None,
            how: SearchHow::Auto,
            filters: Filters::default(),
            rescore: None,
            sampling: Sampling::Top,
            shortfall: Shortfall::Fewer,
            traced: true,
            audit: None,
            seed: 0,
        }
    }
}

/// Names of the recipes [`MineOptions::preset`] knows.
pub const PRESETS: [&str; 4] = ["topk-percpos", "dpr", "sentence-transformers", "flagembedding"];

impl MineOptions {
    /// A published recipe, or what another tool does unless told otherwise.
    ///
    /// | name | source | negatives | taken from | filters |
    /// |---|---|---|---|---|
    /// | `topk-percpos` | dense (sparse without a dense side) | 10 | the best | the default ones, and at most 95 % of the positive's score |
    /// | `dpr` | BM25 | 1 | the best of 100 | strict answers |
    /// | `sentence-transformers` | dense (as above) | 3 | the best | exact duplicates |
    /// | `flagembedding` | dense (as above) | 15 | ranks 11 to 210, at random, filled at random | exact duplicates |
    ///
    /// Sources: Moreira et al., "NV-Retriever", 2024; Karpukhin et al., 2020; `mine_hard_negatives` and `hn_mine` of the
    /// named tools, whose slice `10-210` counts from 0.
    pub fn preset(name: &str, has_dense: bool) -> Result<Self> {
        let best = Mix::of(if has_dense { Source::Dense } else { Source::Sparse });
        let exact = Filters { exact_duplicate: true, ..Filters::NONE };
        let default = MineOptions::default();
        match name {
            "topk-percpos" => Ok(MineOptions {
                mix: best,
                negatives: 10,
                filters: Filters { relative_margin: Some(RelativeMargin::Fixed(0.05)), ..Filters::default() },
                ..default
            }),
            "dpr" => Ok(MineOptions {
                negatives: 1,
                filters: Filters { answers: Some(Matching::Strict), ..Filters::NONE },
                ..default
            }),
            "sentence-transformers" => Ok(MineOptions { mix: best, filters: exact, ..default }),
            "flagembedding" => Ok(MineOptions {
                mix: best,
                negatives: 15,
                depth: 210,
                filters: Filters { range: Some((11, 210)), ..exact },
                sampling: Sampling::Random,
                shortfall: Shortfall::Random,
                ..default
            }),
            _ => Err(Error::usage(format!("`{name}` is no preset")).hint(format!("one of {}", PRESETS.join(", ")))),
        }
    }

    /// How deep a side is searched.
    pub(super) fn reach(&self) -> usize {
        self.depth.max(self.filters.range.map_or(0, |(_, last)| last))
    }

    /// Whether the sparse side is searched: for a source, or to tell a negative's place there.
    pub(super) fn searches_sparse(&self) -> bool {
        let any = |asks: fn(Source) -> bool| self.mix.parts().iter().any(|(source, _)| asks(*source));
        match self.traced || self.audit.is_some() {
            true => any(|source| source != Source::Random),
            false => any(|source| !matches!(source, Source::Dense | Source::Random)),
        }
    }

    /// Refuses options that contradict themselves.
    pub fn check(&self) -> Result<()> {
        let filters = &self.filters;
        self.weighting.check()?;
        if let Some(fusion) = &self.fusion {
            fusion.check()?;
        }
        if self.depth == 0 {
            return Err(Error::usage("the depth is 0, so nothing could be offered"));
        }
        if self.negatives > MOST_NEGATIVES {
            let message = format!("{} negatives a question are more than can be mined", self.negatives);
            return Err(Error::usage(message).hint(format!("ask for {MOST_NEGATIVES} at most; training takes a few")));
        }
        if self.reach() > DEEPEST {
            let message = format!("rank {} is deeper than lists are searched", self.reach());
            return Err(Error::usage(message).hint(format!("depth and range end at {DEEPEST} at most")));
        }
        if let Some((first, last)) = filters.range
            && (first == 0 || first > last)
        {
            return Err(Error::usage(format!("`{first}-{last}` is no range of ranks"))
                .hint("ranks count from 1 and both ends belong to the range: `--range 11-210`"));
        }
        if let (Some(low), Some(high)) = (filters.min_score, filters.max_score)
            && low > high
        {
            return Err(Error::usage(format!("no score lies between the floor {low} and the ceiling {high}")));
        }
        let relative = match filters.relative_margin {
            Some(RelativeMargin::Fixed(share)) => Some(share),
            _ => None,
        };
        let numbers = [filters.min_score, filters.max_score, filters.margin, relative, filters.near_duplicate];
        if numbers.iter().flatten().any(|number| !number.is_finite()) {
            return Err(Error::usage("a threshold is not a finite number"));
        }
        if filters.near_duplicate.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(Error::usage("a similarity lies between 0 and 1"));
        }
        if let Some(rescore) = &self.rescore {
            if !rescore.drop.is_finite() || rescore.positive.is_some_and(|share| !share.is_finite()) {
                return Err(Error::usage("a threshold is not a finite number"));
            }
            if rescore.positive.is_some_and(|share| share < rescore.drop) {
                return Err(Error::usage("a passage would be taken as a positive before it is even ambiguous")
                    .hint("let `--rescore-positive` be at least `--rescore-drop`"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_what_they_are_called_after() {
        for name in PRESETS {
            MineOptions::preset(name, true).unwrap().check().unwrap();
        }
        let options = MineOptions::preset("flagembedding", true).unwrap();
        assert_eq!((options.negatives, options.filters.range, options.reach()), (15, Some((11, 210)), 210));
        assert_eq!(MineOptions::preset("topk-percpos", false).unwrap().mix, Mix::of(Source::Sparse));
        assert_eq!(MineOptions::preset("dpr", true).unwrap().mix, Mix::of(Source::Sparse));
        assert!(MineOptions::preset("rocketqa", true).is_err());
    }

    #[test]
    fn numbers_that_no_machine_can_serve_are_refused() {
        let said = |options: MineOptions| options.check().unwrap_err().to_string();
        let own = MineOptions::default;
        assert!(said(MineOptions { negatives: 4_000_000_000, ..own() }).contains("4000000000 negatives"));
        assert!(said(MineOptions { depth: usize::MAX, ..own() }).contains("deeper than lists are searched"));
        let filters = Filters { range: Some((1, usize::MAX)), ..Filters::default() };
        assert!(said(MineOptions { filters, ..own() }).contains("deeper than lists are searched"));
        MineOptions { negatives: MOST_NEGATIVES, depth: DEEPEST, ..own() }.check().unwrap();
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |filters: Filters| MineOptions { filters, ..MineOptions::default() }.check().is_err();
        assert!(refused(Filters { range: Some((0, 10)), ..Filters::NONE }));
        assert!(refused(Filters { range: Some((11, 10)), ..Filters::NONE }));
        assert!(refused(Filters { min_score: Some(2.0), max_score: Some(1.0), ..Filters::NONE }));
        assert!(refused(Filters { margin: Some(f64::NAN), ..Filters::NONE }));
        assert!(!refused(Filters { range: Some((10, 10)), ..Filters::NONE }));
        assert!(refused(Filters { near_duplicate: Some(1.5), ..Filters::NONE }));
        assert!("nan".parse::<RelativeMargin>().is_err());
        assert_eq!(".05".parse::<RelativeMargin>().unwrap(), RelativeMargin::Fixed(0.05));
    }
}

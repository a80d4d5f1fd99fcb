//! A measure's name: ir_measures' spelling, with trec_eval's as an alias.
//!
//! Text comes in, a [`Measure`] goes out, and prints under ir_measures' name whichever spelling it came in:
//!
//! ```
//! use parallax::Measure;
//! for (written, name) in [("ndcg_cut.10", "nDCG@10"), ("recall_100", "R@100"), ("recip_rank", "RR"), ("map", "AP")] {
//!     assert_eq!(written.parse::<Measure>()?.to_string(), name);
//! }
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Sources: MacAvaney, Macdonald & Ounis, "Streamlining evaluation with ir-measures", 2022; NIST trec_eval's `-m`.

use super::answers::Matching;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A measure with its cut-off; prints and parses under ir_measures' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Normalised discounted cumulative gain.
    Ndcg(Option<usize>),
    /// Share of the relevant passages found.
    Recall(usize),
    /// Share of the first k that are relevant.
    Precision(usize),
    /// Reciprocal rank of the first relevant passage.
    ReciprocalRank(Option<usize>),
    /// Average precision.
    AveragePrecision(Option<usize>),
    /// Whether anything relevant is among the first k.
    Success(usize),
    /// Share of the first k that are judged at all.
    Judged(usize),
    /// Whether some passage of the first k holds an answer.
    AnswerRecall(Matching, usize),
    /// Share of the first k that hold an answer.
    AnswerPrecision(Matching, usize),
}

impl Measure {
    /// Ranks the measure looks at; `None` means the whole ranking.
    pub fn cutoff(self) -> Option<usize> {
        use Measure::*;
        match self {
            Ndcg(k) | ReciprocalRank(k) | AveragePrecision(k) => k,
            Recall(k) | Precision(k) | Success(k) | Judged(k) | AnswerRecall(_, k) | AnswerPrecision(_, k) => Some(k),
        }
    }

    /// How answers are matched, for the measures that ask for answers instead of judgments.
    pub fn matching(self) -> Option<Matching> {
        match self {
            Measure::AnswerRecall(matching, _) | Measure::AnswerPrecision(matching, _) => Some(matching),
            _ => None,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |matching: &Matching| match matching {
            Matching::Strict => "",
            Matching::Korean => "(korean)",
            Matching::Characters => "(characters)",
        };
        let name = match self {
            Measure::Ndcg(_) => "nDCG".to_string(),
            Measure::Recall(_) => "R".to_string(),
            Measure::Precision(_) => "P".to_string(),
            Measure::ReciprocalRank(_) => "RR".to_string(),
            Measure::AveragePrecision(_) => "AP".to_string(),
            Measure::Success(_) => "Success".to_string(),
            Measure::Judged(_) => "Judged".to_string(),
            Measure::AnswerRecall(matching, _) => format!("answer-recall{}", of(matching)),
            Measure::AnswerPrecision(matching, _) => format!("answer-P{}", of(matching)),
        };
        f.pad(&self.cutoff().map_or(name.clone(), |k| format!("{name}@{k}")))
    }
}

const EXAMPLES: &str = "measures are written like `nDCG@10`, `R@100`, `RR@10`, `AP`, `P@5`, `Success@20`, `Judged@10`, \
                        `answer-recall@20`, `answer-recall(korean)@20`, `answer-recall(characters)@20`, `answer-P@20`; \
                        trec_eval's `ndcg_cut.10`, `recall.100`, `recip_rank`, `map` are known too";

/// Splits a spelling in its name and its cut-off: at `@`, or at the last `.` or `_` where digits follow.
fn name_and_cutoff(text: &str) -> (&str, Option<&str>) {
    if let Some((name, k)) = text.split_once('@') {
        return (name, Some(k));
    }
    match text.rsplit_once(['.', '_']) {
        Some((name, k)) if !k.is_empty() && k.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(k)),
        _ => (text, None),
    }
}

impl FromStr for Measure {
    type Err = Error;

    /// Parses ir_measures' names, trec_eval's, and `recall@k`, `MRR@k`, `MAP` as people also write them.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::usage(format!("`{text}` is no measure: {why}")).hint(EXAMPLES);
        let (name, cutoff) = name_and_cutoff(text);
        let cutoff = match cutoff.map(str::parse::<usize>) {
            None => None,
            Some(Ok(k)) if (1..=100_000).contains(&k) => Some(k),
            Some(_) => return Err(refuse("the cut-off is a number from 1 to 100000")),
        };
        let needed = || cutoff.ok_or_else(|| refuse("it needs a cut-off, `@k`"));
        let name = name.to_ascii_lowercase();
        if let Some(matching) = name.strip_prefix("answer-recall").and_then(matching) {
            return Ok(Measure::AnswerRecall(matching, needed()?));
        }
        if let Some(matching) = name.strip_prefix("answer-p").and_then(matching) {
            return Ok(Measure::AnswerPrecision(matching, needed()?));
        }
        Ok(match name.as_str() {
            "ndcg" => Measure::Ndcg(cutoff),
            "ndcg_cut" => Measure::Ndcg(Some(needed()?)),
            "r" | "recall" => Measure::Recall(needed()?),
            "p" | "precision" => Measure::Precision(needed()?),
            "rr" | "mrr" | "recip_rank" => Measure::ReciprocalRank(cutoff),
            "ap" | "map" => Measure::AveragePrecision(cutoff),
            "map_cut" => Measure::AveragePrecision(Some(needed()?)),
            "success" => Measure::Success(needed()?),
            "judged" => Measure::Judged(needed()?),
            _ => return Err(refuse("no such name")),
        })
    }
}

/// The matching that what follows an answer measure's name stands for.
fn matching(suffix: &str) -> Option<Matching> {
    match suffix {
        "" => Some(Matching::Strict),
        "(korean)" => Some(Matching::Korean),
        "(characters)" => Some(Matching::Characters),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(alias: &str, name: &str) {
        assert_eq!(alias.parse::<Measure>().unwrap().to_string(), name);
    }

    #[test]
    fn names_print_as_they_parse_and_aliases_are_known() {
        for name in ["nDCG@10", "nDCG", "R@100", "P@5", "RR@10", "RR", "AP", "AP@100", "Success@20", "Judged@10"] {
            check(name, name);
        }
        for name in [
            "answer-recall@20",
            "answer-recall(korean)@5",
            "answer-recall(characters)@20",
            "answer-P@20",
            "answer-P(korean)@20",
            "answer-P(characters)@1",
        ] {
            check(name, name);
        }
        for (alias, name) in [("recall@7", "R@7"), ("MRR@10", "RR@10"), ("MAP", "AP"), ("ndcg@3", "nDCG@3")] {
            check(alias, name);
        }
    }

    #[test]
    fn trec_eval_s_spellings_are_aliases() {
        for (alias, name) in [
            ("ndcg", "nDCG"),
            ("ndcg_cut.10", "nDCG@10"),
            ("ndcg_cut_10", "nDCG@10"),
            ("recall.100", "R@100"),
            ("recall_5", "R@5"),
            ("recip_rank", "RR"),
            ("map", "AP"),
            ("map_cut.100", "AP@100"),
            ("map_cut_7", "AP@7"),
            ("P.5", "P@5"),
            ("P_10", "P@10"),
            ("success.20", "Success@20"),
            ("success_1", "Success@1"),
        ] {
            check(alias, name);
        }
    }

    #[test]
    fn what_is_no_measure_is_refused() {
        for wrong in
            ["R", "nDCG@0", "nDCG@x", "F1@3", "", "@", "ndcg_cut", "map_cut", "recall.0", "recip", "P.", "answer-r@3"]
        {
            assert!(wrong.parse::<Measure>().is_err(), "{wrong}");
        }
        assert!("answer-recall(japanese)@3".parse::<Measure>().is_err());
    }
}

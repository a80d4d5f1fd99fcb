//! Counts for the audit while queries pass by; nothing depends on their order.

use super::super::engine::{Chosen, Engine, Looked, Pick};
use super::super::filter::{Filter, Signs};
use super::super::question::Asked;
use super::super::source::Source;
use super::{Audit, Band, BandReport, Estimate, Histogram, Share, SheetRow};
use crate::collection::{Ordinal, Passage};
use crate::error::Result;
use crate::eval::answers::{Matching, Tokens};
use crate::random::Random;
use crate::text::words::letters;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use std::collections::BTreeMap;

/// Signs that a mined negative is right after all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Suspicion {
    signs: Signs,
    characters: bool,
    title: bool,
    outranking: bool,
}

/// An answer this short (in letters and digits) stands in too many words by chance; Hangul syllables carry more each.
const SHORTEST: usize = 4;
const SHORTEST_HANGUL: usize = 2;

impl Suspicion {
    pub(in super::super) fn of(asked: &Asked, passage: &Passage, signs: Signs, outranking: bool) -> Self {
        let text = letters(&passage.text);
        let characters = asked.query.answers.iter().map(|answer| letters(answer)).any(|answer| {
            let hangul = answer.chars().any(|c| ('가'..='힣').contains(&c));
            answer.chars().count() >= if hangul { SHORTEST_HANGUL } else { SHORTEST } && text.contains(&answer)
        });
        let in_title = |answers: &crate::eval::answers::Answers| {
            !passage.title.is_empty() && answers.held_by(&Tokens::of(&passage.title), Matching::Korean)
        };
        Suspicion { signs, characters, title: asked.answers.as_ref().is_some_and(in_title), outranking }
    }

    fn names(self) -> Vec<&'static str> {
        let named = [
            (self.signs.answer, "holds-answer"),
            (self.signs.duplicate, "duplicate"),
            (self.characters && !self.signs.answer, "answer-characters"),
            (self.title, "title-holds-answer"),
            (self.outranking, "outranks-positive"),
        ];
        named.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect()
    }
}

/// Random passages a query, for the test's false alarms.
const ALARMS: usize = 4;

/// Steps of the histogram of relative margins.
const RELATIVE_STEP: f64 = 0.05;

/// Counts while mining goes on.
pub(in super::super) struct Auditor {
    rows: usize,
    seed: u64,
    /// Whether a filter acts on answers, and on twins.
    acts: (bool, bool),
    score_step: fn(Source) -> f64,
    bands: BTreeMap<(Source, Band), BandReport>,
    sensitivity: Share,
    false_alarms: Share,
    margins: BTreeMap<(Source, bool), BTreeMap<i64, u64>>,
    sheet: BTreeMap<(Source, Band), Vec<(u64, SheetRow)>>,
}

impl Auditor {
    pub(in super::super) fn new(rows: usize, seed: u64, acts: (bool, bool), tfidf: bool) -> Self {
        // Scores of one unit: BM25 runs to some tens, everything else lies between -1 and 1.
        let bm25 = |source| if matches!(source, Source::Sparse | Source::SparseOnly) { 1.0 } else { 0.02 };
        Auditor {
            rows,
            seed,
            acts,
            score_step: if tfidf { |_| 0.02 } else { bm25 },
            bands: BTreeMap::new(),
            sensitivity: Share::default(),
            false_alarms: Share::default(),
            margins: BTreeMap::new(),
            sheet: BTreeMap::new(),
        }
    }

    /// Measures the test itself on a block of queries.
    pub(in super::super) fn test(&mut self, looked: &[Looked], engine: &Engine<'_>, passages: usize) -> Result<()> {
        let measure = |looked: &Looked| -> Result<(Share, Share)> {
            let (mut sensitivity, mut alarms) = (Share::default(), Share::default());
            let asked = &looked.asked;
            let Some(answers) = &asked.answers else { return Ok((sensitivity, alarms)) };
            for ordinal in &asked.ordinals {
                sensitivity.add(engine.holds_answer(answers, *ordinal)?);
            }
            // A stream of its own: the audit must not change what is mined.
            let mut random = Random::of(!self.seed, asked.query.id.as_str());
            for _ in 0..ALARMS {
                let ordinal = Ordinal(random.below(passages) as u32);
                if !asked.ordinals.contains(&ordinal) {
                    alarms.add(engine.holds_answer(answers, ordinal)?);
                }
            }
            Ok((sensitivity, alarms))
        };
        for (sensitivity, alarms) in looked.par_iter().map(measure).collect::<Result<Vec<_>>>()? {
            join(&mut self.sensitivity, sensitivity);
            join(&mut self.false_alarms, alarms);
        }
        Ok(())
    }

    /// Counts one query.
    pub(in super::super) fn add(&mut self, looked: &Looked, chosen: &Chosen, mix: &[(Source, f64)]) {
        let answered = looked.asked.answers.is_some();
        for (part, (source, _)) in mix.iter().enumerate() {
            let Some(signs) = looked.signs.get(part) else { continue };
            for ((candidate, verdict), signs) in
                looked.offers[part].candidates.iter().zip(&looked.verdicts[part]).zip(signs)
            {
                if *verdict != Some(Filter::Positive) {
                    self.band(*source, Band::of(candidate.rank)).candidate(*signs, answered);
                }
            }
        }
        for draw in &chosen.draws {
            if let Some(signs) = draw.signs {
                self.band(Source::Random, Band::Unranked).candidate(signs, answered);
            }
        }
        let Some(example) = &chosen.example else { return };
        for (pick, negative) in chosen.picks.iter().zip(&example.negatives) {
            let band = Band::of(pick.candidate.rank);
            self.mined(pick, band, answered);
            let mut random = Random::of(self.seed, &format!("{}\t{}", example.query.id, negative.id));
            let key = random.next_u64();
            let rows = self.sheet.entry((pick.source, band)).or_default();
            // The smallest keys of a stratum are a uniform draw from it, whatever the order.
            let at = rows.partition_point(|(other, _)| *other < key);
            if at < self.rows {
                let Some(positive) = example.positives.first() else { continue };
                rows.insert(
                    at,
                    (
                        key,
                        SheetRow {
                            source: pick.source,
                            band,
                            rank: pick.candidate.rank,
                            query_id: example.query.id.clone(),
                            query: example.query.text.clone(),
                            answers: example.query.answers.clone(),
                            positive_id: positive.id.clone(),
                            positive: positive.full_text(),
                            negative_id: negative.id.clone(),
                            negative: negative.full_text(),
                            signs: pick.suspicion.names(),
                        },
                    ),
                );
                rows.truncate(self.rows);
            }
        }
    }

    fn band(&mut self, source: Source, band: Band) -> &mut BandReport {
        self.bands.entry((source, band)).or_insert_with(|| BandReport {
            source,
            band,
            flagged: Share::default(),
            answers: Share::default(),
            duplicates: 0,
            suspects: Share::default(),
            characters: 0,
            titles: 0,
            outranking: 0,
            held: Share::default(),
            estimate: None,
        })
    }

    fn mined(&mut self, pick: &Pick, band: Band, answered: bool) {
        let suspicion = pick.suspicion;
        let (on_answers, on_twins) = self.acts;
        let left = (suspicion.signs.answer && !on_answers) || (suspicion.signs.duplicate && !on_twins);
        let characters = suspicion.characters && !suspicion.signs.answer;
        let report = self.band(pick.source, band);
        report.suspects.add(left || characters || suspicion.title || suspicion.outranking);
        report.characters += u64::from(characters);
        report.titles += u64::from(suspicion.title);
        report.outranking += u64::from(suspicion.outranking);
        if answered {
            report.held.add(suspicion.signs.answer);
        }
        if let (Some(score), Some(positive)) = (pick.candidate.score, pick.positive) {
            let mut count = |relative: bool, value: f64, step: f64| {
                // A hair is added so that a margin on a step's lower end falls into that step.
                let at = (value / step + 1e-9).floor() as i64;
                *self.margins.entry((pick.source, relative)).or_default().entry(at).or_default() += 1;
            };
            count(false, positive - score, (self.score_step)(pick.source));
            if positive != 0.0 {
                count(true, (positive - score) / positive.abs(), RELATIVE_STEP);
            }
        }
    }

    /// Turns counts into figures.
    pub(in super::super) fn finish(self) -> Audit {
        let test = Test { sensitivity: self.sensitivity, alarms: self.false_alarms };
        let mut bands: Vec<BandReport> = self.bands.into_values().collect();
        for band in &mut bands {
            band.estimate = if self.acts.0 { test.behind_the_filter(band.answers) } else { test.prevalence(band.held) };
            band.estimate = band.estimate.filter(|_| band.held.of > 0);
            if let Some(estimate) = &mut band.estimate {
                // The judged positives may word the answer as no other right passage does: suspects bound what is missed.
                estimate.high = estimate.high.max(band.suspects.interval().1);
            }
        }
        let weight: f64 = bands.iter().filter(|band| band.estimate.is_some()).map(|band| band.held.of as f64).sum();
        let sum = |of: fn(&Estimate) -> f64| {
            let each = bands.iter().filter_map(|band| Some(of(band.estimate.as_ref()?) * band.held.of as f64));
            each.sum::<f64>() / weight
        };
        let total = Estimate { share: sum(|e| e.share), low: sum(|e| e.low), high: sum(|e| e.high) };
        let histogram = |((source, relative), counts): ((Source, bool), BTreeMap<i64, u64>)| {
            let step = if relative { RELATIVE_STEP } else { (self.score_step)(source) };
            let unit = if relative { "relative" } else { "score" };
            let counts = counts.into_iter().map(|(at, count)| (at as f64 * step, count)).collect();
            Histogram { source, unit, step, counts }
        };
        Audit {
            estimate: (weight > 0.0).then_some(total),
            sensitivity: test.sensitivity,
            false_alarms: test.alarms,
            margins: self.margins.into_iter().map(histogram).collect(),
            sheet: take_turns(self.sheet.into_values().collect(), self.rows),
            bands,
        }
    }
}

impl BandReport {
    fn candidate(&mut self, signs: Signs, answered: bool) {
        self.flagged.add(signs.any());
        self.duplicates += u64::from(signs.duplicate);
        if answered {
            self.answers.add(signs.answer);
        }
    }
}

fn join(sum: &mut Share, part: Share) {
    sum.hits += part.hits;
    sum.of += part.of;
}

/// The first of each stratum, then the second of each, until there are enough.
fn take_turns(strata: Vec<Vec<(u64, SheetRow)>>, rows: usize) -> Vec<SheetRow> {
    let longest = strata.iter().map(Vec::len).max().unwrap_or(0);
    let mut turns: Vec<Vec<SheetRow>> = (0..longest).map(|_| Vec::new()).collect();
    for stratum in strata {
        stratum.into_iter().zip(&mut turns).for_each(|((_, row), turn)| turn.push(row));
    }
    turns.into_iter().flatten().take(rows).collect()
}

/// Holding an answer, as a test for being right.
#[derive(Clone, Copy)]
struct Test {
    sensitivity: Share,
    alarms: Share,
}

impl Test {
    /// The share that is right, of a share that tests positive; `None` where the test tells too little.
    fn prevalence(self, tested: Share) -> Option<Estimate> {
        self.estimate(tested, |p, _, _| p)
    }

    /// The share that is right among those that test negative.
    fn behind_the_filter(self, tested: Share) -> Option<Estimate> {
        self.estimate(tested, |p, s, f| {
            let (right, wrong) = (p * (1.0 - s), (1.0 - p) * (1.0 - f));
            if right + wrong > 0.0 { right / (right + wrong) } else { 0.0 }
        })
    }

    fn estimate(self, tested: Share, of: impl Fn(f64, f64, f64) -> f64) -> Option<Estimate> {
        let f = self.alarms.value();
        if tested.of == 0 || self.sensitivity.of == 0 || self.sensitivity.value() - f < 0.1 {
            return None;
        }
        let at = |q: f64, s: f64| of(((q - f) / (s - f)).clamp(0.0, 1.0), s, f);
        let ((q_low, q_high), (s_low, s_high)) = (tested.interval(), self.sensitivity.interval());
        let share = at(tested.value(), self.sensitivity.value());
        // A low sensitivity raises both what is right and what the test misses of it.
        let low = at(q_low, s_high).min(share);
        Some(Estimate { share, low, high: at(q_high, s_low.max(f + 0.05)).max(share) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_finds_the_rate_it_was_made_with() {
        // 20 % of 10,000 are right; the test sees 90 % of those, and 5 % of the others: 1,800 + 400 = 2,200.
        let test = Test { sensitivity: Share { hits: 900, of: 1000 }, alarms: Share { hits: 50, of: 1000 } };
        let right = test.prevalence(Share { hits: 2_200, of: 10_000 }).unwrap();
        assert!((right.share - 0.2).abs() < 1e-9 && right.low < 0.2 && right.high > 0.2, "{right:?}");
        // Behind the filter 200 right ones stand among 200 + 7,600.
        let left = test.behind_the_filter(Share { hits: 2_200, of: 10_000 }).unwrap();
        assert!((left.share - 200.0 / 7_800.0).abs() < 1e-9 && left.low < left.share && left.high > left.share);
        assert_eq!(test.prevalence(Share { hits: 3, of: 100 }).unwrap().share, 0.0);
    }

    #[test]
    fn a_test_that_tells_nothing_estimates_nothing() {
        let blind = Test { sensitivity: Share { hits: 10, of: 100 }, alarms: Share { hits: 9, of: 100 } };
        assert_eq!(blind.prevalence(Share { hits: 10, of: 100 }), None);
        let unknown = Test { sensitivity: Share::default(), alarms: Share::default() };
        assert_eq!(unknown.behind_the_filter(Share { hits: 1, of: 100 }), None);
    }
}

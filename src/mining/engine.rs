//! From questions to chosen negatives, a block at a time: search, filter, re-score, sample.
//!
//! ```text
//! Asked ─► offers (one a source) ─► by place ─► by text ─► by a second encoder ─► survivors ─► picks ─► example
//! ```
//!
//! A query's result depends on the query, the index and the options alone; blocks only share work.

use super::audit::Suspicion;
use super::candidates::{Candidate, Found, Offer, offers};
use super::features::Cache;
use super::filter::{self, Filter, Signs};
use super::options::{MineOptions, Sampling, Shortfall};
use super::protect::Shelter;
use super::question::{Asked, example_passage};
use super::report::Outcome;
use super::rescore::{Teacher, Yardstick};
use super::sample::pick;
use super::source::Source;
use crate::collection::examples::{ExamplePassage, Provenance, TrainingExample};
use crate::collection::run::Ranking;
use crate::collection::{Ordinal, Passage};
use crate::encoder::contract::{Embeddings, Role};
use crate::error::{Error, Result};
use crate::eval::answers::{Answers, Matching};
use crate::random::Random;
use crate::search::Searcher;
use crate::text;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Mines block after block.
pub(super) struct Engine<'a> {
    searcher: &'a Searcher,
    options: &'a MineOptions,
    shelter: &'a Shelter,
    /// The relative margin of each source of the mix.
    pub(super) margins: Vec<Option<f64>>,
    cache: Cache<'a>,
    pub(super) teacher: Option<Teacher<'a>>,
}

/// What the filters say, one a candidate of each offer; `None` survives.
type Verdicts = Vec<Vec<Option<Filter>>>;

/// One query with everything that was offered and what the filters said.
pub(super) struct Looked {
    pub(super) asked: Asked,
    pub(super) offers: Vec<Offer>,
    pub(super) verdicts: Verdicts,
    /// One a candidate, where everything was to be looked at; empty otherwise.
    pub(super) signs: Vec<Vec<Signs>>,
    yardstick: Option<Yardstick>,
    teacher: BTreeMap<Ordinal, f64>,
}

/// A negative that was taken.
pub(super) struct Pick {
    pub(super) source: Source,
    pub(super) candidate: Candidate,
    /// The lowest positive's score by the source.
    pub(super) positive: Option<f64>,
    /// Signs that it is right after all.
    pub(super) suspicion: Suspicion,
}

/// A random passage that was looked at.
pub(super) struct Draw {
    pub(super) filter: Option<Filter>,
    pub(super) signs: Option<Signs>,
}

/// What became of a query.
pub(super) struct Chosen {
    pub(super) outcome: Outcome,
    /// The example, where there is one; its negatives stand in the order of `picks`.
    pub(super) example: Option<TrainingExample>,
    pub(super) picks: Vec<Pick>,
    pub(super) draws: Vec<Draw>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(searcher: &'a Searcher, options: &'a MineOptions, shelter: &'a Shelter) -> Self {
        let sparse = searcher.index().sparse();
        Engine {
            searcher,
            options,
            shelter,
            margins: vec![None; options.mix.parts().len()],
            cache: Cache::new(sparse, options, shelter),
            teacher: options.rescore.as_ref().map(|rescore| Teacher::new(rescore, sparse)),
        }
    }

    /// How many passages are searched.
    pub(super) fn passages(&self) -> usize {
        self.searcher.index().len()
    }

    /// Searches and filters a block of queries; with `everything`, also signs of candidates that are kept out anyway.
    pub(super) fn look(&mut self, mut asked: Vec<Asked>, everything: bool) -> Result<Vec<Looked>> {
        let reads = everything || filter::reads_texts(&self.options.filters, self.shelter);
        if reads {
            self.cache.load(asked.iter().flat_map(|asked| asked.ordinals.iter().copied()).collect())?;
            for asked in &mut asked {
                asked.features = asked.ordinals.iter().map(|ordinal| self.cache.of(*ordinal)).collect::<Result<_>>()?;
            }
        }
        let questions: Vec<Cow<'_, str>> = asked.iter().map(|asked| text::nfc(&asked.query.text)).collect();
        let questions: Vec<&str> = questions.iter().map(AsRef::as_ref).collect();
        let sparse = self.search_sparse(&questions)?;
        let rows = self.encode(&questions)?;
        let dense = self.search_dense(rows.as_ref())?;
        let yardsticks = match &self.teacher {
            Some(teacher) => teacher.yardsticks(&asked)?.into_iter().map(Some).collect(),
            None => vec![None; asked.len()],
        };
        let this = &*self;
        let found = |i: usize| Found {
            sparse: sparse.as_ref().map(|sparse| &sparse[i]),
            dense: rows.as_ref().map(|rows| (rows.row(i), &dense[i])),
        };
        let judge = |(i, asked): (usize, &Asked)| this.judge_places(questions[i], asked, found(i));
        let judged: Vec<_> = asked.par_iter().enumerate().map(judge).collect::<Result<_>>()?;
        drop((sparse, dense, questions));
        let together = asked.into_iter().zip(yardsticks).zip(judged);
        let together = together.map(|((asked, yardstick), (offers, verdicts))| Looked {
            asked,
            offers,
            verdicts,
            signs: Vec::new(),
            yardstick,
            teacher: BTreeMap::new(),
        });
        let mut looked: Vec<Looked> = together.collect();
        if reads {
            self.read(&mut looked, everything)?;
        }
        if let Some(teacher) = &mut self.teacher {
            let open = |looked: &Looked| -> Vec<Ordinal> {
                looked.candidates().filter(|(_, verdict)| verdict.is_none()).map(|(ordinal, _)| ordinal).collect()
            };
            teacher.load(looked.iter().flat_map(open).collect())?;
            let teacher = &*teacher;
            looked.par_iter_mut().try_for_each(|looked| ask_again(teacher, looked))?;
        }
        let options = self.options;
        self.cache.hold(looked.par_iter().flat_map_iter(|looked| best(looked, options)).collect())?;
        Ok(looked)
    }

    /// The questions' rows, where any source needs them.
    fn encode(&self, questions: &[&str]) -> Result<Option<Embeddings>> {
        if !self.options.mix.needs_dense() || questions.is_empty() {
            return Ok(None);
        }
        let encoder = self.searcher.question_encoder();
        let encoder = encoder.ok_or_else(|| Error::bug("the searcher was opened without an encoder"))?;
        encoder.encode(questions, Role::Query).map(Some)
    }

    /// What the sparse side finds for each question, where it is searched.
    fn search_sparse(&self, questions: &[&str]) -> Result<Option<Vec<Ranking<Ordinal>>>> {
        let sparse = self.searcher.index().sparse();
        let depth = self.options.reach().min(sparse.len());
        let search = || sparse.search_many(questions, &self.options.weighting, depth);
        self.options.searches_sparse().then(search).transpose()
    }

    /// What the dense side finds for each row: all of them at once, which costs less than one after the other.
    fn search_dense(&self, rows: Option<&Embeddings>) -> Result<Vec<Ranking<Ordinal>>> {
        let Some(rows) = rows else { return Ok(Vec::new()) };
        let index = self.searcher.index();
        let side = index.dense().ok_or_else(|| Error::bug("the index lost its dense side"))?;
        let rows: Vec<&[f32]> = (0..rows.len()).map(|i| rows.row(i)).collect();
        side.search_many(&rows, self.options.reach().min(index.len()), self.options.how)
    }

    /// What the sources offer a question, and what the filters say that look at places and scores.
    fn judge_places(&self, question: &str, asked: &Asked, found: Found<'_>) -> Result<(Vec<Offer>, Verdicts)> {
        let offers = offers(self.searcher, question, found, &asked.ordinals, self.options)?;
        let by_place = |(part, offer): (usize, &Offer)| {
            let judge = |candidate: &Candidate| {
                let filters = &self.options.filters;
                filter::by_place(candidate, asked, offer.positive, self.margins[part], filters, self.shelter)
            };
            offer.candidates.iter().map(judge).collect()
        };
        let verdicts = offers.iter().enumerate().map(by_place).collect();
        Ok((offers, verdicts))
    }

    /// Asks the filters that look at texts: passage by passage, since one text is looked at for many questions.
    fn read(&mut self, looked: &mut [Looked], everything: bool) -> Result<()> {
        let mut places: Vec<Place> =
            looked.par_iter().enumerate().flat_map_iter(|(number, looked)| looked.open(number, everything)).collect();
        places.par_sort_unstable_by_key(|place| (place.ordinal, place.looked));
        self.cache.load(places.iter().map(|place| place.ordinal).collect())?;
        let shared = &*looked;
        let mut passages: Vec<&mut [Place]> = places.chunk_by_mut(|a, b| a.ordinal == b.ordinal).collect();
        passages.par_iter_mut().with_min_len(64).try_for_each(|places| -> Result<()> {
            let features = self.cache.of(places[0].ordinal)?;
            for place in places.iter_mut() {
                let Looked { asked, verdicts, .. } = &shared[place.looked as usize];
                let verdict = verdicts[place.part as usize][place.at as usize];
                place.verdict = verdict.or_else(|| filter::by_text(&features, asked, &self.options.filters));
                place.signs = everything.then(|| Signs::of(&features, asked));
            }
            Ok(())
        })?;
        if everything {
            for looked in looked.iter_mut() {
                looked.signs = looked.verdicts.iter().map(|verdicts| vec![Signs::default(); verdicts.len()]).collect();
            }
        }
        for place in &places {
            let looked = &mut looked[place.looked as usize];
            let (part, at) = (place.part as usize, place.at as usize);
            looked.verdicts[part][at] = place.verdict;
            if let Some(signs) = place.signs {
                looked.signs[part][at] = signs;
            }
        }
        Ok(())
    }

    /// Whether a passage holds an answer of a query.
    pub(super) fn holds_answer(&self, answers: &Answers, ordinal: Ordinal) -> Result<bool> {
        Ok(answers.held_by(&self.cache.of(ordinal)?.tokens, Matching::Korean))
    }

    /// Takes negatives from the survivors and makes the example.
    pub(super) fn choose(&self, looked: &Looked) -> Result<Chosen> {
        let options = self.options;
        let mut random = Random::of(options.seed, looked.asked.query.id.as_str());
        let quotas = options.mix.quotas(options.negatives, &mut random);
        let mut drawing = Drawing { taken: BTreeSet::new(), tried: BTreeSet::new(), draws: Vec::new() };
        let mut taken: Vec<(Source, Candidate, Option<f64>, bool)> = Vec::new();
        for (part, ((source, _), quota)) in options.mix.parts().iter().zip(quotas).enumerate() {
            if *source == Source::Random {
                let drawn = self.draw(looked, quota, &mut random, &mut drawing)?;
                taken.extend(drawn.into_iter().map(|ordinal| (*source, Candidate::random(ordinal), None, false)));
                continue;
            }
            let offer = &looked.offers[part];
            let open: Vec<&Candidate> = offer
                .candidates
                .iter()
                .zip(&looked.verdicts[part])
                .filter(|(candidate, verdict)| verdict.is_none() && !drawing.taken.contains(&candidate.ordinal))
                .map(|(candidate, _)| candidate)
                .collect();
            let scores: Vec<f64> = open.iter().map(|candidate| candidate.score.unwrap_or(0.0)).collect();
            for at in pick(&scores, quota, options.sampling, &mut random) {
                drawing.taken.insert(open[at].ordinal);
                taken.push((*source, *open[at], offer.positive, false));
            }
        }
        let short = options.negatives - taken.len();
        if short > 0 && options.shortfall == Shortfall::Random {
            let drawn = self.draw(looked, short, &mut random, &mut drawing)?;
            taken.extend(drawn.into_iter().map(|o| (Source::Random, Candidate::random(o), None, true)));
        }
        if options.mix.parts().len() > 1 {
            // Training takes as many as it has room for from the front: no source may stand behind another for good.
            random.shuffle(&mut taken);
        }
        let outcome = match taken.len() {
            n if n == options.negatives => Outcome::Full,
            _ if options.shortfall == Shortfall::Drop => Outcome::Dropped,
            0 => Outcome::NoneLeft,
            _ => Outcome::Fewer,
        };
        if outcome == Outcome::Dropped {
            return Ok(Chosen { outcome, example: None, picks: Vec::new(), draws: drawing.draws });
        }
        let mut example = TrainingExample {
            query: looked.asked.query.clone(),
            positives: looked.asked.positives.clone(),
            negatives: Vec::new(),
        };
        self.relabel(looked, &mut example)?;
        let mut picks = Vec::with_capacity(taken.len());
        for (source, candidate, positive, fills) in taken {
            let passage = self.cache.passage(candidate.ordinal)?;
            let suspicion = match options.audit {
                Some(_) => self.suspect(looked, &candidate, &passage)?,
                None => Suspicion::default(),
            };
            example.negatives.push(self.negative(looked, source, &candidate, passage, fills)?);
            picks.push(Pick { source, candidate, positive, suspicion });
        }
        Ok(Chosen { outcome, example: Some(example), picks, draws: drawing.draws })
    }

    /// Draws passages blindly until `n` pass the filters, or until so many did not that few can be left.
    fn draw(&self, looked: &Looked, n: usize, random: &mut Random, drawing: &mut Drawing) -> Result<Vec<Ordinal>> {
        let sparse = self.searcher.index().sparse();
        let mut drawn = Vec::with_capacity(n);
        for _ in 0..200 + 50 * n {
            if drawn.len() == n {
                break;
            }
            let ordinal = Ordinal(random.below(sparse.len()) as u32);
            if drawing.taken.contains(&ordinal) || !drawing.tried.insert(ordinal) {
                continue;
            }
            let (filter, signs) = self.judge(looked, &Candidate::random(ordinal))?;
            drawing.draws.push(Draw { filter, signs });
            if filter.is_none() {
                drawing.taken.insert(ordinal);
                drawn.push(ordinal);
            }
        }
        Ok(drawn)
    }

    /// Everything the filters say of a passage that no search offered.
    fn judge(&self, looked: &Looked, candidate: &Candidate) -> Result<(Option<Filter>, Option<Signs>)> {
        let (asked, filters) = (&looked.asked, &self.options.filters);
        let mut filtered = filter::by_place(candidate, asked, None, None, filters, self.shelter);
        let mut signs = None;
        let audited = self.options.audit.is_some();
        if wanted(filtered, audited) && (audited || filter::reads_texts(filters, self.shelter)) {
            let features = self.cache.of(candidate.ordinal)?;
            filtered = filtered.or_else(|| filter::by_text(&features, asked, filters));
            signs = audited.then(|| Signs::of(&features, asked));
        }
        if let (None, Some(teacher), Some(yardstick)) = (filtered, &self.teacher, &looked.yardstick) {
            // A random passage becomes no positive: nothing but this one encoder would speak for it.
            let score = teacher.score(yardstick, candidate.ordinal)?;
            filtered = teacher.judge(yardstick, score).map(|_| Filter::Ambiguous);
        }
        Ok((filtered, signs))
    }

    /// Adds what the second encoder found right to the example's positives.
    fn relabel(&self, looked: &Looked, example: &mut TrainingExample) -> Result<()> {
        let mut done = BTreeSet::new();
        for (part, (source, _)) in self.options.mix.parts().iter().enumerate() {
            for (candidate, verdict) in looked.offers[part].candidates.iter().zip(&looked.verdicts[part]) {
                if *verdict != Some(Filter::Relabelled) || !done.insert(candidate.ordinal) {
                    continue;
                }
                let passage = self.cache.passage(candidate.ordinal)?;
                let mut positive = self.negative(looked, *source, candidate, passage, false)?;
                if let (Some(provenance), Some(yardstick)) = (&mut positive.provenance, &looked.yardstick) {
                    provenance.verdict = "positive".into();
                    let score = provenance.teacher.unwrap_or(0.0);
                    provenance.reason = format!("re-scored {score:.3}, the lowest positive {:.3}", yardstick.positive);
                }
                example.positives.push(positive);
            }
        }
        Ok(())
    }

    fn negative(
        &self,
        looked: &Looked,
        source: Source,
        candidate: &Candidate,
        passage: Passage,
        fills: bool,
    ) -> Result<ExamplePassage> {
        let ordinal = candidate.ordinal;
        let teacher = match (looked.teacher.get(&ordinal), &self.teacher, &looked.yardstick) {
            (Some(score), _, _) => Some(*score),
            (None, Some(teacher), Some(yardstick)) => Some(teacher.score(yardstick, ordinal)?),
            _ => None,
        };
        let reason = match () {
            _ if looked.asked.not_relevant.contains(&ordinal) => "judged not relevant",
            _ if fills => "fills a shortfall",
            _ => "",
        };
        let provenance = Provenance {
            source: source.name().into(),
            rank: candidate.rank,
            sparse: candidate.places.sparse,
            dense: candidate.places.dense,
            teacher,
            verdict: "negative".into(),
            reason: reason.into(),
        };
        Ok(ExamplePassage { provenance: Some(provenance), ..example_passage(passage) })
    }

    fn suspect(&self, looked: &Looked, candidate: &Candidate, passage: &Passage) -> Result<Suspicion> {
        let asked = &looked.asked;
        let signs = Signs::of(&*self.cache.of(candidate.ordinal)?, asked);
        let second = match (looked.teacher.get(&candidate.ordinal), &looked.yardstick) {
            (Some(score), Some(yardstick)) => *score >= yardstick.positive,
            _ => false,
        };
        Ok(Suspicion::of(asked, passage, signs, second))
    }
}

/// Where a candidate stands, and what the filters say that look at texts.
struct Place {
    ordinal: Ordinal,
    /// The question's number in its block.
    looked: u32,
    /// The part of the mix, and the candidate's number there.
    part: u32,
    at: u32,
    verdict: Option<Filter>,
    signs: Option<Signs>,
}

/// The survivors that are taken where the best are.
fn best<'l>(looked: &'l Looked, options: &'l MineOptions) -> impl Iterator<Item = Ordinal> + 'l {
    let best = match options.sampling {
        Sampling::Top => options.negatives,
        Sampling::Random | Sampling::Softmax => 0,
    };
    looked.offers.iter().zip(&looked.verdicts).flat_map(move |(offer, verdicts)| {
        let open = offer.candidates.iter().zip(verdicts).filter(|(_, verdict)| verdict.is_none());
        open.take(best).map(|(candidate, _)| candidate.ordinal)
    })
}

/// What was drawn blindly for one query.
struct Drawing {
    taken: BTreeSet<Ordinal>,
    tried: BTreeSet<Ordinal>,
    draws: Vec<Draw>,
}

impl Looked {
    /// The candidates whose texts have to be read; `number` is the question's in its block.
    fn open(&self, number: usize, everything: bool) -> Vec<Place> {
        let mut places = Vec::with_capacity(self.offers.iter().map(|offer| offer.candidates.len()).sum());
        for (part, (offer, verdicts)) in self.offers.iter().zip(&self.verdicts).enumerate() {
            for (at, (Candidate { ordinal, .. }, verdict)) in offer.candidates.iter().zip(verdicts).enumerate() {
                if wanted(*verdict, everything) {
                    let (looked, part, at) = (number as u32, part as u32, at as u32);
                    places.push(Place { ordinal: *ordinal, looked, part, at, verdict: None, signs: None });
                }
            }
        }
        places
    }

    /// Every candidate of every source with its verdict.
    fn candidates(&self) -> impl Iterator<Item = (Ordinal, Option<Filter>)> + '_ {
        let pairs = self.offers.iter().zip(&self.verdicts);
        pairs.flat_map(|(offer, verdicts)| offer.candidates.iter().map(|c| c.ordinal).zip(verdicts.iter().copied()))
    }
}

/// Whether a candidate's text has to be read: it may survive, or everything is looked at (the positives never).
fn wanted(verdict: Option<Filter>, everything: bool) -> bool {
    verdict.is_none() || (everything && verdict != Some(Filter::Positive))
}

fn ask_again(teacher: &Teacher<'_>, looked: &mut Looked) -> Result<()> {
    let Looked { offers, verdicts, yardstick, teacher: scores, .. } = looked;
    let Some(yardstick) = yardstick else { return Ok(()) };
    for (offer, verdicts) in offers.iter().zip(verdicts) {
        for (candidate, verdict) in offer.candidates.iter().zip(verdicts) {
            if verdict.is_none() {
                let score = teacher.score(yardstick, candidate.ordinal)?;
                scores.insert(candidate.ordinal, score);
                *verdict = teacher.judge(yardstick, score);
            }
        }
    }
    Ok(())
}

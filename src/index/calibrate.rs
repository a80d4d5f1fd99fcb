//! The default fusion weight, found without a single judged query (or with some, where there are).
//!
//! The collection asks itself ([`pseudo`]): titles for their passage's text, sentences for the rest of the passage they
//! were taken from, and, twice as many, excerpts as short and as literal as real questions. For each such *pseudo-query*
//! the passage as it is left competes with the best passages of both sides, each scored exactly on both. Mean reciprocal
//! rank is flat around its best dense weight, and what looks best there is partly luck; so the *smallest* weight is taken
//! that falls behind the best by no more than half a standard error of their paired difference: 0 where the dense side is
//! useless.
//!
//! Judged questions, where enough are handed in, take the pseudo-queries' place: their gold passages compete as they
//! stand. They are the better evidence, above all for an encoder that was trained on pairs like the pseudo-queries.
//!
//! Measured with judged questions afterwards (they play no part in the choice), titles alone overrate the sparse side and
//! whole sentences the dense one, most of all for trained encoders: they share far fewer words with what they should find
//! than questions do. The mixture and the half standard error were chosen by that comparison, on SciFact, SQuAD dev and
//! KorQuAD dev with the built-in encoder, one trained on SQuAD, and all-MiniLM-L6-v2. No table of model names is involved.
//! On these, and on the bundled collection and KorQuAD among 60,009 passages of Korean Wikipedia, with either encoder, the
//! fusion that is found was nowhere below the better side alone (nDCG@10); also where the English encoder finds 1 to 6 in
//! 100 of what words find.
//!
//! How far chance may have moved the weight is its interval: the questions drawn again with replacement, and all of the
//! choice made again.
//!
//! Cost: two encoder calls and two exact searches a pseudo-query, [`PSEUDO_QUERIES`] of them.

use super::manifest::FusionRecord;
use crate::collection::pseudo::{self, Pseudo};
use crate::collection::{Ordinal, Passage, Query, QuerySet};
use crate::dense::{DenseIndex, SearchHow};
use crate::encoder::contract::{Embeddings, Encoder, Role};
use crate::error::{Error, Result};
use crate::eval::significance::paired;
use crate::fusion::{Candidate, Fusion, Normalizer, fuse};
use crate::kernel;
use crate::progress::{Progress, Stage};
use crate::random::Random;
use crate::sparse::{SparseIndex, Weighting};
use crate::text::words;
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

/// Pseudo-queries drawn from a collection, at most.
pub const PSEUDO_QUERIES: usize = 1_200;

/// Judged questions asked, at most: more than pseudo-queries, for there is no better evidence.
pub const JUDGED: usize = 2_000;

/// Best passages of each side that compete with the right one.
const DEPTH: usize = 100;

/// Fewer than this prove nothing; the collection is too small or too bare to ask itself.
const ENOUGH: usize = 20;

/// Passages looked at for those no training has drawn from, at most: twice as many as give [`PSEUDO_QUERIES`].
const LOOKED_AT: usize = 2 * pseudo::HELD_OUT * PSEUDO_QUERIES;

/// Passages that no training has drawn from, at least; with fewer, others are asked too.
const UNSEEN: usize = 100;

/// Words of a passage that is asked rather than a shorter one: what people ask about is seldom a stub.
const RICH: usize = 40;

/// The normaliser of default fusions.
pub const NORMALIZER: Normalizer = Normalizer::MinMax;

/// Both towers.
pub struct Encoders<'a> {
    /// Encodes passages.
    pub passage: &'a dyn Encoder,
    /// Encodes questions.
    pub question: &'a dyn Encoder,
}

/// The record of an index without a dense side: sparse scores decide alone.
pub fn without_dense() -> FusionRecord {
    FusionRecord {
        fusion: Fusion::Convex { weight: 0.0, normalizer: NORMALIZER },
        found_by: "there is no dense side".into(),
        queries: 0,
        reciprocal_ranks: None,
        gain_interval: None,
        weight_interval: None,
    }
}

/// Finds the dense weight of the default fusion, with the evidence for it.
///
/// `judged` questions take the place of pseudo-queries; those whose gold passage is not in the index are left out, and
/// where fewer than 20 are left, pseudo-queries are asked after all. Fails when there are judged questions and none of them
/// has a gold passage here: they belong to another collection.
pub fn weight(
    sparse: &SparseIndex,
    dense: &DenseIndex,
    encoders: &Encoders<'_>,
    judged: Option<&QuerySet>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<FusionRecord> {
    let judged = judged.map(|set| look_up(sparse, set, seed)).transpose()?;
    if judged.as_ref().is_some_and(Vec::is_empty) {
        let why = "no judged question has a gold passage in this collection, so none can choose the fusion weight";
        return Err(Error::usage(why).hint("hand in questions about these passages (`--judged`), or none"));
    }
    let (questions, what) = match judged {
        Some(judged) if judged.len() >= ENOUGH => (judged, "judged questions".to_string()),
        None => (draw(sparse, seed)?, "pseudo-queries".to_string()),
        Some(few) => (draw(sparse, seed)?, format!("pseudo-queries ({} judged questions are too few)", few.len())),
    };
    progress.begin(Stage::Calibrating, Some(questions.len() as u64));
    let contests = contests(sparse, dense, encoders, &questions, progress)?;
    progress.finish(Stage::Calibrating);
    Ok(choose(&contests, &what, seed))
}

/// A question and what should be found by it.
enum Question {
    /// A pseudo-query: the rest of its passage competes in the passage's place, and without its siblings: passages close
    /// by with the same title are as right as itself.
    Pseudo { ordinal: Ordinal, asked: Pseudo, siblings: Vec<Ordinal> },
    /// A judged question: any of its gold passages, or of their chunks, is right.
    Judged { query: String, gold: Vec<Ordinal> },
}

impl Question {
    fn text(&self) -> &str {
        match self {
            Question::Pseudo { asked, .. } => &asked.query,
            Question::Judged { query, .. } => query,
        }
    }
}

/// At most [`JUDGED`] judged questions of a set, drawn by their ids, with their gold passages.
fn look_up(sparse: &SparseIndex, set: &QuerySet, seed: u64) -> Result<Vec<Question>> {
    let mut queries: Vec<&Query> = set.queries.iter().filter(|query| !query.impossible).collect();
    queries.sort_by_cached_key(|query| Random::of(seed, query.id.as_str()).next_u64());
    let mut questions = Vec::new();
    for query in queries {
        let places = set.qrels.relevant(&query.id).map(|id| sparse.places_of(id)).collect::<Result<Vec<_>>>()?;
        let mut gold = places.concat();
        // Judgments come in the order of ids, scoring wants that of the collection.
        gold.sort_unstable();
        if !gold.is_empty() {
            questions.push(Question::Judged { query: query.text.clone(), gold });
        }
        if questions.len() == JUDGED {
            break;
        }
    }
    Ok(questions)
}

/// A question's candidates, both sides scored; the first `right` of them are right.
struct Contest {
    right: usize,
    candidates: Vec<Candidate>,
}

/// Pseudo-queries of passages drawn at random among those no training has drawn from ([`pseudo::held_out`]), long passages
/// before short ones; of all passages, where these are too few.
fn draw(sparse: &SparseIndex, seed: u64) -> Result<Vec<Question>> {
    let mut random = Random::new(seed ^ 0x70_61_72_61_6c_6c_61_78);
    let mut order: Vec<u32> = (0..sparse.len() as u32).collect();
    let wanted = PSEUDO_QUERIES.min(order.len());
    let (mut unseen, mut others) = (Vec::new(), Vec::new());
    // A partial Fisher-Yates shuffle: only as many draws as are looked at.
    for i in 0..order.len().min(LOOKED_AT) {
        if unseen.len() == wanted {
            break;
        }
        let j = i + random.below(order.len() - i);
        order.swap(i, j);
        let ordinal = Ordinal(order[i]);
        let passage = sparse.passage(ordinal)?;
        let side = if pseudo::held_out(&passage) { &mut unseen } else { &mut others };
        if side.len() < wanted {
            side.push((ordinal, passage));
        }
    }
    if unseen.len() < UNSEEN {
        unseen.append(&mut others);
    }
    let (rich, short): (Vec<_>, Vec<_>) =
        unseen.into_iter().partition(|(_, passage)| words::spans(&passage.text).len() >= RICH);
    let mut questions = Vec::with_capacity(wanted);
    for passages in [rich, short] {
        // Few passages are asked more than once, of each kind in turn.
        for turn in 0..KINDS {
            for (i, (ordinal, passage)) in passages.iter().enumerate() {
                if questions.len() == wanted {
                    return Ok(questions);
                }
                questions.extend(ask(sparse, *ordinal, passage, (i + turn) % KINDS, &mut random)?);
            }
        }
    }
    Ok(questions)
}

/// Titles and sentences, and excerpts twice.
const KINDS: usize = 4;

/// What a passage asks, if it can be asked that.
fn ask(
    sparse: &SparseIndex,
    ordinal: Ordinal,
    passage: &Passage,
    kind: usize,
    random: &mut Random,
) -> Result<Option<Question>> {
    let asked = match kind {
        0 if !passage.title.is_empty() => pseudo::title(passage),
        1 => pseudo::sentence(passage, random),
        _ => pseudo::excerpt(passage, random),
    };
    asked
        .map(|asked| Ok(Question::Pseudo { ordinal, asked, siblings: siblings(sparse, ordinal, passage)? }))
        .transpose()
}

/// Passages close by that carry the same title, the passage itself among them.
fn siblings(sparse: &SparseIndex, ordinal: Ordinal, passage: &Passage) -> Result<Vec<Ordinal>> {
    let mut siblings = vec![ordinal];
    if passage.title.is_empty() {
        return Ok(siblings);
    }
    for step in [1i64, -1] {
        let mut at = i64::from(ordinal.0) + step;
        while (0..sparse.len() as i64).contains(&at) && siblings.len() < 64 {
            let neighbour = Ordinal(at as u32);
            if sparse.passage(neighbour)?.title != passage.title {
                break;
            }
            siblings.push(neighbour);
            at += step;
        }
    }
    Ok(siblings)
}

fn contests(
    sparse: &SparseIndex,
    dense: &DenseIndex,
    encoders: &Encoders<'_>,
    questions: &[Question],
    progress: &dyn Progress,
) -> Result<Vec<Contest>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<&str> = questions.iter().map(Question::text).collect();
    let asked: Embeddings = encoders.question.encode(&texts, Role::Query)?;
    let rests: Vec<&str> = questions
        .iter()
        .filter_map(|question| match question {
            Question::Pseudo { asked, .. } => Some(asked.rest.as_str()),
            Question::Judged { .. } => None,
        })
        .collect();
    // Questions are of one kind: either each has a row here, or none has.
    let rests: Embeddings = encoders.passage.encode(&rests, Role::Passage)?;
    let numbered: Vec<usize> = (0..questions.len()).collect();
    numbered
        .par_iter()
        .map(|i| {
            progress.checkpoint()?;
            let (question, row) = (&questions[*i], asked.row(*i));
            let weighting = Weighting::default();
            let scored = |ordinals: &[Ordinal]| -> Result<Vec<Candidate>> {
                let on_sparse = sparse.score(question.text(), &weighting, ordinals)?;
                let on_dense = dense.score(row, ordinals)?;
                let sides = on_sparse.into_iter().zip(on_dense);
                let candidate = |(ordinal, (sparse, dense)): (&Ordinal, (f32, f32))| {
                    candidate(*ordinal, f64::from(sparse), f64::from(dense))
                };
                Ok(ordinals.iter().zip(sides).map(candidate).collect())
            };
            let (mut candidates, out) = match question {
                Question::Pseudo { ordinal, asked, siblings } => {
                    let on_sparse = sparse.bm25_of_text(&asked.query, &asked.rest)?;
                    let on_dense = kernel::dot::dot(row, rests.row(*i));
                    let (sparse, dense) = (f64::from(on_sparse), f64::from(on_dense));
                    (vec![candidate(*ordinal, sparse, dense)], siblings)
                }
                Question::Judged { gold, .. } => (scored(gold)?, gold),
            };
            let found_sparse = sparse.search(question.text(), &weighting, DEPTH)?;
            let found_dense = dense.search(row, DEPTH, SearchHow::Exact)?;
            let mut rivals: Vec<Ordinal> =
                found_sparse.iter().chain(found_dense.iter()).map(|(ordinal, _)| *ordinal).collect();
            rivals.sort_unstable();
            rivals.dedup();
            rivals.retain(|rival| !out.contains(rival));
            let right = candidates.len();
            candidates.extend(scored(&rivals)?);
            progress.advance(Stage::Calibrating, 1);
            Ok(Contest { right, candidates })
        })
        .collect()
}

/// A candidate of complete scoring, which asks for no rank.
fn candidate(ordinal: Ordinal, sparse: f64, dense: f64) -> Candidate {
    Candidate { ordinal, sparse, dense, sparse_rank: None, dense_rank: None }
}

/// Reciprocal rank of the best right candidate under a dense weight.
fn reciprocal_rank(contest: &Contest, weight: f64) -> f64 {
    let ranking = fuse(&contest.candidates, &Fusion::Convex { weight, normalizer: NORMALIZER });
    let right = &contest.candidates[..contest.right];
    let place = ranking.iter().position(|(ordinal, _)| right.iter().any(|right| right.ordinal == *ordinal));
    place.map_or(0.0, |i| 1.0 / (i + 1) as f64)
}

/// Weights tried, 0 to 1.
const GRID: usize = 20;

fn choose(contests: &[Contest], what: &str, seed: u64) -> FusionRecord {
    let n = contests.len();
    if n < ENOUGH {
        return FusionRecord {
            fusion: Fusion::Convex { weight: 0.0, normalizer: NORMALIZER },
            found_by: format!("only {n} {what} could be drawn, too few to prove a gain of the dense side"),
            queries: n,
            reciprocal_ranks: None,
            gain_interval: None,
            weight_interval: None,
        };
    }
    let columns: Vec<Vec<f64>> = (0..=GRID)
        .map(|step| contests.iter().map(|contest| reciprocal_rank(contest, step as f64 / GRID as f64)).collect())
        .collect();
    let means: Vec<f64> = columns.iter().map(|column| column.iter().sum::<f64>() / n as f64).collect();
    let all: Vec<usize> = (0..n).collect();
    let taken = pick(&columns, &all);
    let gain = paired(&columns[taken], &columns[0], seed);
    let found_by = match taken {
        0 => format!("the sparse side alone is within half a standard error of the best on {n} {what}"),
        _ => format!("the smallest weight within half a standard error of the best on {n} {what}"),
    };
    FusionRecord {
        fusion: Fusion::Convex { weight: taken as f64 / GRID as f64, normalizer: NORMALIZER },
        found_by,
        queries: n,
        reciprocal_ranks: Some([means[0], means[GRID], means[taken]]),
        gain_interval: Some(gain.interval.into()),
        weight_interval: Some(weight_interval(&columns, seed)),
    }
}

/// The smallest step whose values over a sample of the questions are within half a standard error of the best one's.
fn pick(columns: &[Vec<f64>], sample: &[usize]) -> usize {
    let sum = |step: usize| sample.iter().map(|i| columns[step][*i]).sum::<f64>();
    let sums: Vec<f64> = (0..columns.len()).map(sum).collect();
    let best = (0..columns.len()).fold(0, |best, step| if sums[step] > sums[best] { step } else { best });
    (0..=best).find(|step| within_error(&columns[best], &columns[*step], sample)).unwrap_or(best)
}

/// 95 % percentile bootstrap of the weight: the questions are drawn with replacement, and all of the choice made again.
fn weight_interval(columns: &[Vec<f64>], seed: u64) -> [f64; 2] {
    let n = columns[0].len();
    let again = |resample: usize| {
        let mut random = Random::of(seed, &format!("weight {resample}"));
        let sample: Vec<usize> = (0..n).map(|_| random.below(n)).collect();
        pick(columns, &sample)
    };
    let mut steps: Vec<usize> = (0..RESAMPLES).into_par_iter().map(again).collect();
    steps.sort_unstable();
    let at = |share: f64| steps[((RESAMPLES - 1) as f64 * share).round() as usize] as f64 / GRID as f64;
    [at(0.025), at(0.975)]
}

/// Resamples of the weight's interval.
const RESAMPLES: usize = 400;

/// Whether `other` falls behind `best` by at most half a standard error of their paired difference. A whole one, the
/// usual rule, gave away half the gain on SciFact (300 questions) and saved nothing elsewhere.
fn within_error(best: &[f64], other: &[f64], sample: &[usize]) -> bool {
    let gaps: Vec<f64> = sample.iter().map(|i| best[*i] - other[*i]).collect();
    let n = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / n;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1.0);
    mean <= 0.5 * (variance / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contests in which the right passage has the given places on both sides among ten rivals.
    fn contests(places: &[(f64, f64)]) -> Vec<Contest> {
        let contest = |(sparse, dense): &(f64, f64)| {
            let mut candidates = vec![candidate(Ordinal(99), *sparse, *dense)];
            let rival = |i: u32| candidate(Ordinal(i), 1.0 + f64::from(i), 0.1 * f64::from((i * 7 + 3) % 10));
            candidates.extend((0..10).map(rival));
            Contest { right: 1, candidates }
        };
        places.iter().map(contest).collect()
    }

    #[test]
    fn a_useless_dense_side_gets_nothing() {
        let record = choose(&contests(&[(10.5, 0.0); 40]), "pseudo-queries", 1);
        assert_eq!(record.fusion, Fusion::Convex { weight: 0.0, normalizer: NORMALIZER });
    }

    #[test]
    fn a_dense_side_that_knows_better_gets_weight() {
        let record = choose(&contests(&[(4.5, 0.95); 40]), "pseudo-queries", 1);
        let Fusion::Convex { weight, .. } = record.fusion else { panic!("{record:?}") };
        assert!(weight > 0.3, "{record:?}");
        // All questions are alike, so no resample chooses otherwise.
        assert_eq!(record.weight_interval, Some([weight, weight]));
        assert!(record.gain_interval.unwrap()[0] > 0.0);
    }

    #[test]
    fn the_weight_s_interval_holds_the_weight_and_widens_with_doubt() {
        // Two kinds of questions, one for each side: which weight is best hangs on how many of each are drawn.
        let mixed = |n: usize| {
            let places: Vec<(f64, f64)> = (0..n).map(|i| if i % 3 == 0 { (10.5, 0.0) } else { (4.5, 0.95) }).collect();
            let record = choose(&contests(&places), "pseudo-queries", 1);
            let Fusion::Convex { weight, .. } = record.fusion else { panic!("{record:?}") };
            let [low, high] = record.weight_interval.unwrap();
            assert!(low <= weight && weight <= high, "{record:?}");
            high - low
        };
        assert!(mixed(24) >= mixed(600), "{} {}", mixed(24), mixed(600));
    }

    #[test]
    fn too_few_pseudo_queries_prove_nothing() {
        assert_eq!(choose(&contests(&[(0.0, 1.0); 5]), "pseudo-queries", 1).queries, 5);
        assert_eq!(choose(&[], "pseudo-queries", 1).fusion, without_dense().fusion);
    }

    #[test]
    fn the_best_placed_of_several_right_passages_counts() {
        let mut contest = contests(&[(9.5, 0.0)]).remove(0);
        let one = reciprocal_rank(&contest, 0.0);
        assert_eq!(one, 0.5, "one rival has a higher sparse score");
        contest.candidates.insert(1, candidate(Ordinal(98), 20.0, 0.0));
        contest.right = 2;
        assert_eq!(reciprocal_rank(&contest, 0.0), 1.0);
    }
}

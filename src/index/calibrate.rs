//! The default fusion weight, found without a single judged query (or with some, where there are).
//!
//! The collection asks itself: a title should find its passage's text, and a sentence should find the rest of the
//! passage it was taken from. For each such *pseudo-query* the passage (without the title or sentence) competes with the best passages
//! of both sides, each scored exactly on both. Mean reciprocal rank is flat around its best dense weight, and what
//! looks best there is partly luck; so the *smallest* weight is taken that falls behind the best by no more than one
//! standard error of their paired difference (the one-standard-error rule): 0 where the dense side is useless.
//!
//! Judged questions, where some are handed in, take the pseudo-queries' place: their gold passages compete as they stand.
//! They are the better evidence, above all for an encoder that was trained on pairs like the pseudo-queries.
//!
//! Measured with judged questions afterwards (they play no part in the choice), titles alone overrate the sparse side
//! and sentences the dense one; half of each came nearest. No table of model names is involved.
//!
//! Cost: two encoder calls and two exact searches a pseudo-query, [`PSEUDO_QUERIES`] of them.

use super::manifest::FusionRecord;
use crate::collection::pseudo::{self, Pseudo};
use crate::collection::{Ordinal, Passage, PassageId, Query, QuerySet};
use crate::dense::{DenseIndex, SearchHow};
use crate::encoder::contract::{Embeddings, Encoder, Role};
use crate::error::Result;
use crate::fusion::{Candidate, Fusion, Normalizer, fuse};
use crate::kernel;
use crate::progress::{Progress, Stage};
use crate::random::Random;
use crate::sparse::{SparseIndex, Weighting};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// Pseudo-queries drawn from a collection, at most.
pub const PSEUDO_QUERIES: usize = 600;

/// Judged questions asked, at most: more than pseudo-queries, for there is no better evidence.
pub const JUDGED: usize = 2_000;

/// Best passages of each side that compete with the right one.
const DEPTH: usize = 100;

/// Fewer than this prove nothing; the collection is too small or too bare to ask itself.
const ENOUGH: usize = 20;

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
    }
}

/// Finds the dense weight of the default fusion, with the evidence for it.
///
/// `judged` questions take the place of pseudo-queries; those whose gold passage is not in the index are left out.
pub fn weight(
    sparse: &SparseIndex,
    dense: &DenseIndex,
    encoders: &Encoders<'_>,
    judged: Option<&QuerySet>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<FusionRecord> {
    let questions = match judged {
        None => draw(sparse, seed)?,
        Some(set) => look_up(sparse, set, seed)?,
    };
    progress.begin(Stage::Calibrating, Some(questions.len() as u64));
    let contests = contests(sparse, dense, encoders, &questions, progress)?;
    progress.finish(Stage::Calibrating);
    Ok(choose(&contests, if judged.is_some() { "judged questions" } else { "pseudo-queries" }, seed))
}

/// A question and the passage that should be found by it.
struct Question {
    ordinal: Ordinal,
    query: String,
    /// What is left of the passage of a pseudo-query; the gold passage of a judged question competes whole.
    rest: Option<String>,
    /// Passages that are as right as this one: same title close by (pseudo-queries), judged relevant too (questions).
    siblings: Vec<Ordinal>,
}

/// At most [`JUDGED`] judged questions of a set, drawn by their ids, with their gold passages.
fn look_up(sparse: &SparseIndex, set: &QuerySet, seed: u64) -> Result<Vec<Question>> {
    let mut queries: Vec<&Query> = set.queries.iter().filter(|query| !query.impossible).collect();
    queries.sort_by_cached_key(|query| Random::of(seed, query.id.as_str()).next_u64());
    let mut questions = Vec::new();
    for query in queries {
        let found = set.qrels.relevant(&query.id).map(|id| first_ordinal(sparse, id)).collect::<Result<Vec<_>>>()?;
        let siblings: Vec<Ordinal> = found.into_iter().flatten().collect();
        if let Some(ordinal) = siblings.first() {
            questions.push(Question { ordinal: *ordinal, query: query.text.clone(), rest: None, siblings });
        }
        if questions.len() == JUDGED {
            break;
        }
    }
    Ok(questions)
}

/// Where a judged passage begins: the passage itself, or its first chunk.
fn first_ordinal(sparse: &SparseIndex, id: &PassageId) -> Result<Option<Ordinal>> {
    match sparse.ordinal_of(id)? {
        None => sparse.ordinal_of(&PassageId::from(format!("{id}#0"))),
        found => Ok(found),
    }
}

/// A pseudo-query's candidates, both sides scored; the first is the right one.
type Contest = Vec<Candidate>;

fn draw(sparse: &SparseIndex, seed: u64) -> Result<Vec<Question>> {
    let mut random = Random::new(seed ^ 0x70_61_72_61_6c_6c_61_78);
    let mut order: Vec<u32> = (0..sparse.len() as u32).collect();
    let wanted = PSEUDO_QUERIES.min(order.len());
    let mut questions = Vec::with_capacity(wanted);
    // A partial Fisher-Yates shuffle: only as many draws as are looked at.
    for i in 0..order.len().min(4 * PSEUDO_QUERIES) {
        if questions.len() == wanted {
            break;
        }
        let j = i + random.below(order.len() - i);
        order.swap(i, j);
        let ordinal = Ordinal(order[i]);
        let passage = sparse.passage(ordinal)?;
        let ask_title = !passage.title.is_empty() && questions.len().is_multiple_of(2);
        let asked = if ask_title { pseudo::title(&passage) } else { pseudo::sentence(&passage, &mut random) };
        if let Some(Pseudo { query, rest }) = asked {
            let siblings = siblings(sparse, ordinal, &passage)?;
            questions.push(Question { ordinal, query, rest: Some(rest), siblings });
        }
    }
    Ok(questions)
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
    let texts: Vec<&str> = questions.iter().map(|question| question.query.as_str()).collect();
    let asked: Embeddings = encoders.question.encode(&texts, Role::Query)?;
    let texts: Vec<&str> = questions.iter().map(|question| question.rest.as_deref().unwrap_or_default()).collect();
    let rests: Embeddings = encoders.passage.encode(&texts, Role::Passage)?;
    let numbered: Vec<usize> = (0..questions.len()).collect();
    numbered
        .par_iter()
        .map(|i| {
            progress.checkpoint()?;
            let question = &questions[*i];
            let weighting = Weighting::default();
            let found_sparse = sparse.search(&question.query, &weighting, DEPTH)?;
            let found_dense = dense.search(asked.row(*i), DEPTH, SearchHow::Exact)?;
            let mut rivals: Vec<Ordinal> =
                found_sparse.iter().chain(found_dense.iter()).map(|(ordinal, _)| *ordinal).collect();
            rivals.sort_unstable();
            rivals.dedup();
            rivals.retain(|rival| !question.siblings.contains(rival));
            let on_sparse = sparse.score(&question.query, &weighting, &rivals)?;
            let on_dense = dense.score(asked.row(*i), &rivals)?;
            let own = [question.ordinal];
            let (on_right, near_right) = match &question.rest {
                Some(rest) => {
                    (sparse.bm25_of_text(&question.query, rest)?, kernel::dot::dot(asked.row(*i), rests.row(*i)))
                }
                None => (
                    sparse.score(&question.query, &weighting, &own)?.first().copied().unwrap_or_default(),
                    dense.score(asked.row(*i), &own)?.first().copied().unwrap_or_default(),
                ),
            };
            let right =
                Candidate { ordinal: question.ordinal, sparse: f64::from(on_right), dense: f64::from(near_right) };
            let mut contest = vec![right];
            contest.extend(rivals.iter().zip(on_sparse).zip(on_dense).map(|((ordinal, sparse), dense)| Candidate {
                ordinal: *ordinal,
                sparse: f64::from(sparse),
                dense: f64::from(dense),
            }));
            progress.advance(Stage::Calibrating, 1);
            Ok(contest)
        })
        .collect()
}

/// Reciprocal rank of the first candidate under a dense weight.
fn reciprocal_rank(contest: &Contest, weight: f64) -> f64 {
    let ranking = fuse(contest, &Fusion::Convex { weight, normalizer: NORMALIZER });
    let place = ranking.iter().position(|(ordinal, _)| *ordinal == contest[0].ordinal);
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
        };
    }
    let columns: Vec<Vec<f64>> = (0..=GRID)
        .map(|step| contests.iter().map(|contest| reciprocal_rank(contest, step as f64 / GRID as f64)).collect())
        .collect();
    let means: Vec<f64> = columns.iter().map(|column| column.iter().sum::<f64>() / n as f64).collect();
    let best = (0..=GRID).fold(0, |best, step| if means[step] > means[best] { step } else { best });
    let taken = (0..=best).find(|step| within_one_error(&columns[best], &columns[*step])).unwrap_or(best);
    let interval = bootstrap_interval(&differences(&columns[taken], &columns[0]), seed);
    let found_by = match taken {
        0 => format!("the sparse side alone is within one standard error of the best on {n} {what}"),
        _ => format!("the smallest weight within one standard error of the best on {n} {what}"),
    };
    FusionRecord {
        fusion: Fusion::Convex { weight: taken as f64 / GRID as f64, normalizer: NORMALIZER },
        found_by,
        queries: n,
        reciprocal_ranks: Some([means[0], means[GRID], means[taken]]),
        gain_interval: Some(interval),
    }
}

/// Paired differences `a − b`, query by query.
fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Whether `other` falls behind `best` by at most one standard error of their paired difference.
fn within_one_error(best: &[f64], other: &[f64]) -> bool {
    let gaps = differences(best, other);
    let n = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / n;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / (n - 1.0);
    mean <= (variance / n).sqrt()
}

/// 95 % percentile interval of the mean, 2,000 resamples.
fn bootstrap_interval(values: &[f64], seed: u64) -> [f64; 2] {
    let mut random = Random::new(seed ^ 0x62_6f_6f_74);
    let mut means: Vec<f64> = (0..2_000)
        .map(|_| (0..values.len()).map(|_| values[random.below(values.len())]).sum::<f64>() / values.len() as f64)
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    [means[50], means[1949]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contests in which the right passage has the given places on both sides among ten rivals.
    fn contests(places: &[(f64, f64)]) -> Vec<Contest> {
        let contest = |(sparse, dense): &(f64, f64)| {
            let mut contest = vec![Candidate { ordinal: Ordinal(99), sparse: *sparse, dense: *dense }];
            contest.extend((0..10).map(|i| Candidate {
                ordinal: Ordinal(i),
                sparse: 1.0 + f64::from(i),
                dense: 0.1 * f64::from((i * 7 + 3) % 10),
            }));
            contest
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
        assert!(record.gain_interval.unwrap()[0] > 0.0);
    }

    #[test]
    fn too_few_pseudo_queries_prove_nothing() {
        assert_eq!(choose(&contests(&[(0.0, 1.0); 5]), "pseudo-queries", 1).queries, 5);
        assert_eq!(choose(&[], "pseudo-queries", 1).fusion, without_dense().fusion);
    }
}

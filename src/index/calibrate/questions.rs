//! What a collection is asked to find its fusion weight: its own pseudo-queries, or judged questions.
//!
//! In: the sparse index, which holds the texts. Out: [`Question`]s, each with what should be found by it. Titles, sentences
//! and excerpts ask as one to one to three, and only passages do that no training has drawn from ([`pseudo::held_out`]),
//! where there are enough of them.
//!
//! Cost: reading eight passages for each pseudo-query.

use crate::collection::pseudo::{self, Pseudo};
use crate::collection::{Ordinal, Passage, Query, QuerySet};
use crate::error::Result;
use crate::random::Random;
use crate::sparse::SparseIndex;
use crate::text::words;

/// Pseudo-queries drawn from a collection of `n` passages, at most: as many as half of them, so that asking costs less than
/// encoding did, yet as many as it takes for the choice to hang little on chance, and no more than that takes.
fn at_most(n: usize) -> usize {
    (n / 2).clamp(1_200, 5_000).min(KINDS * n)
}

/// Judged questions asked, at most: more than pseudo-queries, for there is no better evidence.
pub(super) const JUDGED: usize = 2_000;

/// Passages looked at for those no training has drawn from, at most, for each pseudo-query: twice as many as give one.
const LOOKED_AT: usize = 2 * pseudo::HELD_OUT;

/// Passages that no training has drawn from, at least; with fewer, others are asked too.
const UNSEEN: usize = 100;

/// Words of a passage that is asked rather than a shorter one: what people ask about is seldom a stub.
const RICH: usize = 40;

/// A question and what should be found by it.
pub(super) enum Question {
    /// A pseudo-query: the rest of its passage competes in the passage's place, and without its siblings: passages close
    /// by with the same title are as right as itself.
    Pseudo { ordinal: Ordinal, asked: Pseudo, siblings: Vec<Ordinal> },
    /// A judged question: any of its gold passages, or of their chunks, is right.
    Judged { query: String, gold: Vec<Ordinal> },
}

impl Question {
    /// What is asked.
    pub(super) fn text(&self) -> &str {
        match self {
            Question::Pseudo { asked, .. } => &asked.query,
            Question::Judged { query, .. } => query,
        }
    }

    /// Equal for questions about the same passage.
    pub(super) fn group(&self) -> u32 {
        match self {
            Question::Pseudo { ordinal, .. } => ordinal.0,
            Question::Judged { gold, .. } => gold.first().map_or(0, |ordinal| ordinal.0),
        }
    }
}

/// At most [`JUDGED`] judged questions of a set, drawn by their ids, with their gold passages.
pub(super) fn look_up(sparse: &SparseIndex, set: &QuerySet, seed: u64) -> Result<Vec<Question>> {
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

/// Pseudo-queries of passages drawn at random among those no training has drawn from ([`pseudo::held_out`]), long passages
/// before short ones; of all passages, where these are too few.
pub(super) fn draw(sparse: &SparseIndex, seed: u64) -> Result<Vec<Question>> {
    let mut random = Random::new(seed ^ 0x70_61_72_61_6c_6c_61_78);
    let mut order: Vec<u32> = (0..sparse.len() as u32).collect();
    let wanted = at_most(order.len());
    let (mut unseen, mut others) = (Vec::new(), Vec::new());
    // A partial Fisher-Yates shuffle: only as many draws as are looked at.
    for i in 0..order.len().min(LOOKED_AT * wanted) {
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

/// A title, a sentence, and three excerpts.
const KINDS: usize = 5;

/// What a passage asks, if it can be asked that.
fn ask(
    sparse: &SparseIndex,
    ordinal: Ordinal,
    passage: &Passage,
    kind: usize,
    random: &mut Random,
) -> Result<Option<Question>> {
    let asked = match kind {
        0 => pseudo::title(passage),
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

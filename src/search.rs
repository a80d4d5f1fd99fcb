//! Ask an index: sparse and dense side by side, fused per query, and every hit carries its reasons.
//!
//! In flows a [`SearchRequest`]; out flow [`Hit`]s, best first, each with its rank and raw score on both sides.
//! [`Searcher::rank`] gives the same without texts, for comparing and mining over many queries.
//!
//! ```text
//! text ─┬► sparse.search(text, depth) ─────────────────┐
//!       └► encode ─► dense.search(vector, depth) ──────┴► candidates, each scored on both sides ─► fuse ─► k hits
//! ```
//!
//! A mode that needs no encoder never loads one. Where passages were cut into chunks, hits are rolled up to the
//! passage they were cut from: the best chunk stands for it (max-passage).

use crate::collection::run::Ranking;
use crate::collection::{Ordinal, Passage};
use crate::dense::{DenseIndex, SearchHow};
use crate::encoder::contract::{Embeddings, Encoder, Precision, Role};
use crate::error::{Error, Result};
use crate::fusion::predict::{self, COUNT};
use crate::fusion::{Candidate, Fusion, Signals, fuse};
use crate::index::Index;
use crate::index::signals::signals;
use crate::progress::{Progress, Stage};
use crate::sparse::{TermScore, Weighting};
use crate::text;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

/// Which side answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Words alone.
    Sparse,
    /// Meaning alone.
    Dense,
    /// Both, fused.
    Hybrid,
}

impl Mode {
    /// The name commands use.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Sparse => "sparse",
            Mode::Dense => "dense",
            Mode::Hybrid => "hybrid",
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "sparse" => Ok(Mode::Sparse),
            "dense" => Ok(Mode::Dense),
            "hybrid" => Ok(Mode::Hybrid),
            _ => Err(Error::usage(format!("`{text}` is no mode")).hint("one of `sparse`, `dense`, `hybrid`")),
        }
    }
}

/// What to ask and how.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchRequest {
    /// Hits wanted, at least 1.
    pub k: usize,
    /// Passages each side offers to fusion; never fewer than `k`.
    pub depth: usize,
    /// Which side answers.
    pub mode: Mode,
    /// The sparse side's scores.
    pub weighting: Weighting,
    /// How sides are joined; `None` takes the index's own fusion.
    pub fusion: Option<Fusion>,
    /// How the dense side is searched.
    pub how: SearchHow,
}

impl Default for SearchRequest {
    /// Ten hits out of a hundred a side, fused as the index says.
    fn default() -> Self {
        SearchRequest {
            k: 10,
            depth: 100,
            mode: Mode::Hybrid,
            weighting: Weighting::default(),
            fusion: None,
            how: SearchHow::Auto,
        }
    }
}

/// A passage's place on one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// 1-based rank among what that side offered; `None` when only the other side offered the passage.
    pub rank: Option<usize>,
    /// Raw score: BM25 or TF-IDF on the sparse side, inner product or cosine on the dense side.
    pub score: f64,
}

/// One answer with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// 1-based.
    pub rank: usize,
    /// The passage's place in the index.
    pub ordinal: Ordinal,
    /// The passage (the best chunk, where passages were cut).
    pub passage: Passage,
    /// The score hits are ordered by: fused in hybrid mode, the side's own otherwise.
    pub score: f64,
    /// The sparse side's part; `None` in dense mode.
    pub sparse: Option<Part>,
    /// The dense side's part; `None` in sparse mode.
    pub dense: Option<Part>,
}

/// A query's result without texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranked {
    /// The answer: at most `k`, rolled up to whole passages.
    pub ranking: Ranking<Ordinal>,
    /// What the sparse side offered, by passage: rank from 1 and score.
    pub sparse: HashMap<Ordinal, Part>,
    /// What the dense side offered, likewise.
    pub dense: HashMap<Ordinal, Part>,
    /// What the weight of this query was told from ([`predict::FEATURES`]), where the fusion has one per query.
    pub features: Option<[f64; COUNT]>,
}

impl Ranked {
    /// The candidates of a hybrid answer, by ordinal: what both sides offered, each scored on both.
    pub fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(ordinal, sparse): (&Ordinal, &Part)| {
            let dense = self.dense.get(ordinal)?;
            Some(Candidate {
                ordinal: *ordinal,
                sparse: sparse.score,
                dense: dense.score,
                sparse_rank: sparse.rank,
                dense_rank: dense.rank,
            })
        };
        let mut candidates: Vec<Candidate> = self.sparse.iter().filter_map(candidate).collect();
        // Hash maps have no order; what follows must not depend on theirs.
        candidates.sort_unstable_by_key(|candidate| candidate.ordinal);
        candidates
    }
}

/// An index with the encoder its questions need.
pub struct Searcher {
    index: Index,
    encoder: Option<Box<dyn Encoder>>,
}

impl Searcher {
    /// Prepares to answer in a mode (and in any mode that needs less).
    ///
    /// Fails when the index has no dense side but the mode needs one, or when the encoder is not the manifest's.
    pub fn new(index: Index, mode: Mode) -> Result<Self> {
        Searcher::in_precision(index, mode, None)
    }

    /// As [`Searcher::new`], with questions encoded in that precision instead of the one the passages were encoded in.
    pub fn in_precision(index: Index, mode: Mode, precision: Option<Precision>) -> Result<Self> {
        let encoder = match mode {
            Mode::Sparse => None,
            Mode::Dense | Mode::Hybrid => Some(index.open_question_encoder(precision)?),
        };
        Ok(Searcher { index, encoder })
    }

    /// The index that is asked.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The encoder of questions; `None` where the searcher was opened for words alone.
    pub fn question_encoder(&self) -> Option<&dyn Encoder> {
        self.encoder.as_deref()
    }

    /// Answers one question with texts and reasons.
    pub fn search(&self, question: &str, request: &SearchRequest) -> Result<Vec<Hit>> {
        let ranked = self.rank(question, request)?;
        self.hits(&ranked)
    }

    /// Answers one question without texts; both sides work at the same time.
    pub fn rank(&self, question: &str, request: &SearchRequest) -> Result<Ranked> {
        let question = text::nfc(question);
        self.check(request)?;
        let vector = || self.encode(&[&question], request).map(|rows| rows.map(|rows| rows.row(0).to_vec()));
        let depth = self.depth(request);
        match request.mode {
            Mode::Hybrid => {
                let (sparse, vector) = rayon::join(|| self.sparse_side(&question, request, depth), vector);
                self.answer(&question, Some(sparse?), vector?.as_deref(), request)
            }
            Mode::Sparse | Mode::Dense => self.answer(&question, None, vector()?.as_deref(), request),
        }
    }

    /// Answers many questions, all cores at work; the order of the answers is the questions'.
    pub fn rank_all(
        &self,
        questions: &[&str],
        request: &SearchRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<Ranked>> {
        self.check(request)?;
        let questions: Vec<_> = questions.iter().map(|question| text::nfc(question)).collect();
        progress.begin(Stage::Searching, Some(questions.len() as u64));
        let mut answers = Vec::with_capacity(questions.len());
        for block in questions.chunks(1024) {
            progress.checkpoint()?;
            let texts: Vec<&str> = block.iter().map(AsRef::as_ref).collect();
            let rows = self.encode(&texts, request)?;
            let ranked: Vec<Ranked> = texts
                .par_iter()
                .enumerate()
                .map(|(i, text)| {
                    let ranked = self.answer(text, None, rows.as_ref().map(|rows| rows.row(i)), request);
                    progress.advance(Stage::Searching, 1);
                    ranked
                })
                .collect::<Result<_>>()?;
            answers.extend(ranked);
        }
        progress.finish(Stage::Searching);
        Ok(answers)
    }

    /// Fetches the texts of a ranking.
    pub fn hits(&self, ranked: &Ranked) -> Result<Vec<Hit>> {
        let place = |(i, (ordinal, score)): (usize, (&Ordinal, f64))| {
            Ok(Hit {
                rank: i + 1,
                ordinal: *ordinal,
                passage: self.index.sparse().passage(*ordinal)?,
                score,
                sparse: ranked.sparse.get(ordinal).copied(),
                dense: ranked.dense.get(ordinal).copied(),
            })
        };
        ranked.ranking.iter().enumerate().map(place).collect()
    }

    /// The parts a passage's sparse score is the sum of.
    pub fn explain(&self, question: &str, request: &SearchRequest, ordinal: Ordinal) -> Result<Vec<TermScore>> {
        self.index.sparse().explain(&text::nfc(question), &request.weighting, ordinal)
    }

    /// The fusion a request is answered with.
    pub fn fusion(&self, request: &SearchRequest) -> Fusion {
        request.fusion.unwrap_or(self.index.manifest().fusion.fusion)
    }

    /// What a per-query weight wants to know of a question: its words, terms and tokens.
    pub fn signals(&self, question: &str) -> Result<Signals> {
        signals(self.index.sparse(), self.encoder.as_deref(), question)
    }

    /// Joins a question's candidates; gives the features that its weight was told from, where the fusion has one per query.
    pub fn fuse(
        &self,
        question: &str,
        candidates: &[Candidate],
        fusion: &Fusion,
    ) -> Result<(Ranking<Ordinal>, Option<[f64; COUNT]>)> {
        let Fusion::PerQuery(predictor) = fusion else { return Ok((fuse(candidates, fusion), None)) };
        let features = predict::features(&self.signals(question)?, candidates);
        Ok((fuse(candidates, &fusion.with_weight(predictor.weight(&features))), Some(features)))
    }

    fn check(&self, request: &SearchRequest) -> Result<()> {
        if request.k == 0 {
            return Err(Error::usage("`-k` is 0; ask for at least one hit"));
        }
        request.weighting.check()?;
        self.fusion(request).check()
    }

    /// Passages a side is asked for: enough for fusion, and for roll-up where several chunks are one passage.
    fn depth(&self, request: &SearchRequest) -> usize {
        let wanted =
            if request.mode == Mode::Hybrid || self.is_chunked() { request.depth.max(request.k) } else { request.k };
        wanted.min(self.index.len())
    }

    fn is_chunked(&self) -> bool {
        self.index.manifest().collection.chunking != "none"
    }

    fn encode(&self, questions: &[&str], request: &SearchRequest) -> Result<Option<Embeddings>> {
        if request.mode == Mode::Sparse {
            return Ok(None);
        }
        let encoder = self.encoder.as_ref().ok_or_else(|| Error::bug("the searcher was opened without an encoder"))?;
        encoder.encode(questions, Role::Query).map(Some)
    }

    fn sparse_side(&self, question: &str, request: &SearchRequest, depth: usize) -> Result<Ranking<Ordinal>> {
        match request.mode {
            Mode::Dense => Ok(Ranking::default()),
            Mode::Sparse | Mode::Hybrid => self.index.sparse().search(question, &request.weighting, depth),
        }
    }

    /// Searches both sides and joins them; where chunks rolled up to fewer than `k` passages, looks deeper.
    fn answer(
        &self,
        question: &str,
        mut sparse: Option<Ranking<Ordinal>>,
        row: Option<&[f32]>,
        request: &SearchRequest,
    ) -> Result<Ranked> {
        let mut depth = self.depth(request);
        loop {
            let found = match sparse.take() {
                Some(found) => found,
                None => self.sparse_side(question, request, depth)?,
            };
            let ranked = self.join(question, found, row, request, depth)?;
            let offered = ranked.sparse.len().max(ranked.dense.len());
            if !self.is_chunked() || ranked.ranking.len() >= request.k || offered < depth || depth >= self.index.len() {
                return Ok(ranked);
            }
            depth = (2 * depth).min(self.index.len());
        }
    }

    fn dense_side(&self) -> Result<&DenseIndex> {
        self.index.dense().ok_or_else(|| Error::bug("the index lost its dense side"))
    }

    /// Searches the dense side with the question's row, completes both sides' scores and fuses them.
    fn join(
        &self,
        question: &str,
        sparse: Ranking<Ordinal>,
        row: Option<&[f32]>,
        request: &SearchRequest,
        depth: usize,
    ) -> Result<Ranked> {
        let found = match row {
            None => Ranking::default(),
            Some(row) => self.dense_side()?.search(row, depth, request.how)?,
        };
        let mut ranked = Ranked { sparse: parts(&sparse), dense: parts(&found), ..Ranked::default() };
        let ranking = match request.mode {
            Mode::Sparse => sparse,
            Mode::Dense => found,
            Mode::Hybrid => {
                self.complete(question, row.unwrap_or_default(), &mut ranked, request)?;
                let (ranking, features) = self.fuse(question, &ranked.candidates(), &self.fusion(request))?;
                ranked.features = features;
                ranking
            }
        };
        ranked.ranking = self.roll_up(ranking, request.k)?;
        Ok(ranked)
    }

    /// Breadth of the graph search that held the recall floor at build time; 0 without a dense side.
    pub fn graph_ef(&self) -> usize {
        self.index.manifest().dense.as_ref().map_or(0, |dense| dense.graph.ef)
    }

    /// Scores on each side what only the other one offered.
    fn complete(&self, question: &str, row: &[f32], ranked: &mut Ranked, request: &SearchRequest) -> Result<()> {
        let Ranked { sparse, dense, .. } = ranked;
        let missing = |from: &HashMap<Ordinal, Part>, have: &HashMap<Ordinal, Part>| {
            let mut missing: Vec<Ordinal> =
                from.keys().filter(|ordinal| !have.contains_key(ordinal)).copied().collect();
            missing.sort_unstable();
            missing
        };
        let only_dense = missing(dense, sparse);
        let only_sparse = missing(sparse, dense);
        let scores = self.index.sparse().score(question, &request.weighting, &only_dense)?;
        sparse
            .extend(only_dense.iter().zip(scores).map(|(o, score)| (*o, Part { rank: None, score: f64::from(score) })));
        let scores = self.dense_side()?.score(row, &only_sparse)?;
        dense.extend(
            only_sparse.iter().zip(scores).map(|(o, score)| (*o, Part { rank: None, score: f64::from(score) })),
        );
        Ok(())
    }

    /// Keeps the best chunk of each passage, and the best `k` of those.
    fn roll_up(&self, ranking: Ranking<Ordinal>, k: usize) -> Result<Ranking<Ordinal>> {
        if !self.is_chunked() {
            return Ok(ranking.truncated(k));
        }
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(k);
        for (ordinal, score) in ranking.iter() {
            if kept.len() == k {
                break;
            }
            if seen.insert(self.index.sparse().judged_id(*ordinal)?) {
                kept.push((*ordinal, score));
            }
        }
        Ok(Ranking::new(kept))
    }
}

fn parts(ranking: &Ranking<Ordinal>) -> HashMap<Ordinal, Part> {
    let place = |(i, (ordinal, score)): (usize, (&Ordinal, f64))| (*ordinal, Part { rank: Some(i + 1), score });
    ranking.iter().enumerate().map(place).collect()
}

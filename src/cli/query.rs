//! `query`: ask an index, and see why each hit is there.

use super::args::{self, Global, Retrieval};
use super::ui::{Ui, bold, dim, fit, safe};
use clap::ValueEnum;
use parallax::collection::read::{self, ReadOptions, Source};
use parallax::collection::run::{Ranking, Run};
use parallax::collection::write;
use parallax::encoder::contract::Precision;
use parallax::fusion::predict::{COUNT, Reason};
use parallax::fusion::{Fusion, Predictor};
use parallax::search::{Hit, Part, SearchRequest};
use parallax::sparse::{TermScore, Weighting};
use parallax::{Error, Mode, Query, Result, Searcher};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Ask an index.
///
/// Shows for each hit its rank and score on each side beside the fused score. The words are text, never a query language.
/// Many questions at once come from `--queries`: a BEIR queries.jsonl, a TSV `id<TAB>text`, or one question a line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Index name or folder.
    index: String,
    /// The question; quote it.
    #[arg(required_unless_present = "queries", conflicts_with = "queries")]
    text: Option<String>,
    /// Questions from a file, or `-` for stdin.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    queries: Option<PathBuf>,
    /// Hits returned.
    #[arg(short, long = "top", value_name = "N", default_value_t = NonZeroUsize::new(10).unwrap_or(NonZeroUsize::MIN), help_heading = "Retrieval")]
    k: NonZeroUsize,
    /// What the encoder of questions computes in, f32 or int8; as the passages were encoded by default.
    #[arg(long, value_name = "PRECISION", value_parser = args::precision, help_heading = "Retrieval")]
    precision: Option<Precision>,
    /// Show what each score is made of.
    #[arg(long, help_heading = "Output")]
    explain: bool,
    /// How hits are written.
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    format: Format,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    retrieval: Retrieval,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Trec,
}

pub(crate) fn run(args: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let queries = match (&args.queries, &args.text) {
        (Some(path), _) => {
            if path.as_os_str() == "-" {
                ui.note("reading questions from the standard input, one a line");
            }
            read::queries(&Source::new(path), &ReadOptions::default())?
        }
        (None, text) => vec![Query::new("1", text.clone().unwrap_or_default())],
    };
    let index = global.open_index(&args.index)?;
    let request = args.retrieval.request(args.k.get(), &index)?;
    let searcher = Searcher::in_precision(index, request.mode, args.precision)?;
    let format = if args.json { Format::Json } else { args.format };
    let asked = Asked { searcher: &searcher, request: &request, explain: args.explain };
    if let [query] = queries.as_slice() {
        let ranked = searcher.rank(&query.text, &request)?;
        return asked.show(std::slice::from_ref(query), &[ranked], format, ui);
    }
    for block in queries.chunks(4096) {
        let texts: Vec<&str> = block.iter().map(|query| query.text.as_str()).collect();
        let ranked = searcher.rank_all(&texts, &request, &ui.progress())?;
        asked.show(block, &ranked, format, ui)?;
    }
    Ok(())
}

struct Asked<'a> {
    searcher: &'a Searcher,
    request: &'a SearchRequest,
    explain: bool,
}

impl Asked<'_> {
    fn show(&self, queries: &[Query], ranked: &[parallax::search::Ranked], format: Format, ui: &Ui) -> Result<()> {
        if format == Format::Trec {
            return self.trec(queries, ranked, ui);
        }
        for (query, ranked) in queries.iter().zip(ranked) {
            if self.request.mode != Mode::Sparse && ranked.dense.values().all(|part| part.rank.is_none()) {
                ui.warn(&format!("the encoder knows no word of question `{}`", safe(query.id.as_str())));
            }
            let hits = self.searcher.hits(ranked)?;
            match format {
                Format::Json => ui.data(&self.json(query, &hits, ranked.features.as_ref())?)?,
                _ => {
                    if queries.len() > 1 {
                        ui.data(&format!("{} {}\n", bold(&safe(query.id.as_str())), safe(&query.text)))?;
                    }
                    ui.data(&self.screen(query, &hits, ranked.features.as_ref(), ui)?)?;
                }
            }
        }
        Ok(())
    }

    fn trec(&self, queries: &[Query], ranked: &[parallax::search::Ranked], ui: &Ui) -> Result<()> {
        let sparse = self.searcher.index().sparse();
        let mut run = Run::new(format!("parallax-{}", self.request.mode.name()));
        for (query, ranked) in queries.iter().zip(ranked) {
            let named = ranked.ranking.iter().map(|(ordinal, score)| Ok((sparse.judged_id(*ordinal)?, score)));
            run.insert(query.id.clone(), Ranking::new(named.collect::<Result<_>>()?));
        }
        let mut bytes = Vec::new();
        write::trec_run(&run, &mut bytes)?;
        ui.data(&String::from_utf8_lossy(&bytes))
    }

    fn terms(&self, query: &Query, hit: &Hit) -> Result<Vec<TermScore>> {
        if !self.explain || self.request.mode == Mode::Dense {
            return Ok(Vec::new());
        }
        self.searcher.explain(&query.text, self.request, hit.ordinal)
    }

    fn screen(&self, query: &Query, hits: &[Hit], features: Option<&[f64; COUNT]>, ui: &Ui) -> Result<String> {
        if hits.is_empty() {
            ui.note("no passage shares anything with this question");
            return Ok(String::new());
        }
        let width = ui.width();
        let mut text = String::new();
        for hit in hits {
            let side = |name: &str, part: Option<Part>| {
                part.map(|part| {
                    let rank = part.rank.map_or("–".to_string(), |rank| format!("#{rank}"));
                    format!("{name} {rank} {:.3}", part.score)
                })
            };
            let sparse = side(if self.request.weighting == Weighting::TfIdf { "tfidf" } else { "bm25" }, hit.sparse);
            let parts = [sparse, side("dense", hit.dense)].into_iter().flatten().collect::<Vec<_>>().join(" · ");
            let title =
                if hit.passage.title.is_empty() { hit.passage.judged_id().as_str() } else { &hit.passage.title };
            let head = format!("{:>3}  {:.4}  {parts}", hit.rank, hit.score);
            let room = width.saturating_sub(head.chars().count() + 3).max(12);
            text += &format!("{head}   {}\n", bold(&fit(&safe(title), room)));
            text += &format!("     {}\n", dim(&fit(&safe(&hit.passage.text), width - 5)));
            if self.explain {
                text += &format!("     id {}\n", safe(hit.passage.id.as_str()));
                for term in self.terms(query, hit)? {
                    text += &format!(
                        "     {:<18} {:>8.3}   tf {} · in {} passages · idf {:.2}\n",
                        fit(&safe(&term.term), 18),
                        term.score,
                        term.tf,
                        term.df,
                        term.idf
                    );
                }
            }
        }
        if self.explain && self.request.mode == Mode::Hybrid {
            let fusion = self.searcher.fusion(self.request);
            text += &dim(&format!("     fused by {fusion}; – is a passage only the other side offered\n"));
            if let (Fusion::PerQuery(predictor), Some(features)) = (fusion, features) {
                text += &dim(&format!("     {}\n", why(&predictor, features)));
            }
        }
        Ok(text)
    }

    fn json(&self, query: &Query, hits: &[Hit], features: Option<&[f64; COUNT]>) -> Result<String> {
        let mut wire_hits = Vec::with_capacity(hits.len());
        for hit in hits {
            let terms = self.terms(query, hit)?;
            wire_hits.push(WireHit {
                rank: hit.rank,
                id: hit.passage.judged_id().as_str(),
                chunk: hit.passage.parent.as_ref().map(|parent| WireChunk {
                    id: hit.passage.id.as_str(),
                    start: parent.span.0,
                    end: parent.span.1,
                }),
                title: &hit.passage.title,
                text: &hit.passage.text,
                score: hit.score,
                sparse: hit.sparse.map(WirePart::of),
                dense: hit.dense.map(WirePart::of),
                terms: (self.explain).then(|| terms.into_iter().map(WireTerm::of).collect()),
            });
        }
        let wire = WireAnswer {
            query_id: query.id.as_str(),
            query: &query.text,
            mode: self.request.mode.name(),
            weight: features.and_then(|features| match self.searcher.fusion(self.request) {
                Fusion::PerQuery(predictor) => Some(WireWeight::of(&predictor, features)),
                _ => None,
            }),
            hits: wire_hits,
        };
        let line = serde_json::to_string(&wire).map_err(|e| Error::bug("hits are no JSON").because(e))?;
        Ok(line + "\n")
    }
}

/// The weight of a question and the three features that moved it most.
fn why(predictor: &Predictor, features: &[f64; COUNT]) -> String {
    let moved = |reason: &Reason| {
        let side = if reason.effect > 0.0 { "dense" } else { "sparse" };
        format!(
            "{} {:.2} (usually {:.2}) to {side} by {:.2}",
            reason.feature,
            reason.value,
            reason.usual,
            reason.effect.abs()
        )
    };
    let reasons: Vec<String> = predictor.reasons(features).iter().take(3).map(moved).collect();
    format!("dense weight {:.2} here: {}", predictor.weight(features), reasons.join(", "))
}

/// One line of `--format json`. Fields are added, never changed in meaning.
#[derive(Serialize)]
struct WireAnswer<'a> {
    query_id: &'a str,
    query: &'a str,
    mode: &'a str,
    /// Where the fusion has a weight per query.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<WireWeight>,
    hits: Vec<WireHit<'a>>,
}

#[derive(Serialize)]
struct WireHit<'a> {
    rank: usize,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<WireChunk<'a>>,
    title: &'a str,
    text: &'a str,
    score: f64,
    sparse: Option<WirePart>,
    dense: Option<WirePart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Vec<WireTerm>>,
}

#[derive(Serialize)]
struct WireChunk<'a> {
    id: &'a str,
    start: usize,
    end: usize,
}

#[derive(Serialize)]
struct WirePart {
    rank: Option<usize>,
    score: f64,
}

impl WirePart {
    fn of(part: Part) -> Self {
        WirePart { rank: part.rank, score: part.score }
    }
}

#[derive(Serialize)]
struct WireWeight {
    dense: f64,
    /// Features, the one that moved the weight most first.
    moved_by: Vec<WireReason>,
}

#[derive(Serialize)]
struct WireReason {
    feature: &'static str,
    value: f64,
    usual: f64,
    effect: f64,
}

impl WireWeight {
    fn of(predictor: &Predictor, features: &[f64; COUNT]) -> Self {
        let wire = |reason: Reason| {
            let Reason { feature, value, usual, effect } = reason;
            WireReason { feature, value, usual, effect }
        };
        let moved_by = predictor.reasons(features).into_iter().map(wire).collect();
        WireWeight { dense: predictor.weight(features), moved_by }
    }
}

#[derive(Serialize)]
struct WireTerm {
    term: String,
    tf: f64,
    df: u64,
    idf: f64,
    score: f64,
}

impl WireTerm {
    fn of(term: TermScore) -> Self {
        let score = f64::from(term.score);
        WireTerm { term: term.term, tf: f64::from(term.tf), df: term.df, idf: term.idf, score }
    }
}

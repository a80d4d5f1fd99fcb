//! `demo`: the whole main job on the collection inside the program.

use super::args::Global;
use super::build_index;
use super::compare;
use super::ui::{Ui, bold};
use parallax::collection::read::{self, ReadOptions, Source};
use parallax::compare::report::Provenance;
use parallax::compare::{CompareOptions, System, compare as measure};
use parallax::index::{BuildOptions, Index, build};
use parallax::search::{Hit, Part};
use parallax::{Error, Mode, Result, SearchRequest, Searcher};

/// Run the main job on the bundled collection.
///
/// Builds both indexes over some 360 short passages in English and Korean, asks a few questions of both sides at once, and
/// compares sparse, dense and hybrid retrieval on the held-out questions. Needs no network and no model.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Half the articles, whose questions may be learnt from.
const TRAIN: &str = include_str!("../../corpus/train.json");
/// The other half, whose questions measure.
const DEV: &str = include_str!("../../corpus/dev.json");

/// Questions that show one thing each: a name, a paraphrase, Korean with its particles.
const QUESTIONS: [(&str, &str); 3] = [
    ("a name: exact words decide", "What was the occupation of Marin Mersenne, who published a list in 1644?"),
    ("a paraphrase: meaning decides", "Which huge world would bob like a cork if a big enough bathtub existed?"),
    ("한국어: character bigrams see past particles", "1940년에 훈민정음 해례본을 사들여 지킨 수집가는 누구인가?"),
];

/// The bundled collection: its train half, then its dev half.
pub(super) fn collection() -> [Source; 2] {
    [("corpus/train.json", TRAIN), ("corpus/dev.json", DEV)].map(|(name, text)| Source::embedded(name, text.as_bytes()))
}

pub(crate) fn run(_: &Args, global: &Global, ui: &Ui) -> Result<()> {
    let folder = global.indexes.join("demo");
    let [train, dev] = collection();
    // Only its own index is replaced without being asked.
    if folder.join("CURRENT").exists()
        && Index::open(&folder)
            .is_ok_and(|index| index.manifest().collection.sources != ["corpus/train.json", "corpus/dev.json"])
    {
        return Err(Error::usage(format!(
            "`{}` is an index of yours, and the demo would replace it",
            folder.display()
        ))
        .hint("run the demo with another `--indexes DIR`"));
    }
    let options = BuildOptions {
        sources: vec![train, dev.clone()],
        force: true,
        command: Some(ui.command().to_string()),
        record_time: true,
        ..BuildOptions::default()
    };
    let report = build(&folder, &options, &ui.progress())?;
    build_index::say(&report, &folder.display().to_string(), ui);

    let searcher = Searcher::new(Index::open(&folder)?, Mode::Hybrid)?;
    for (why, question) in QUESTIONS {
        let hits = searcher.search(question, &SearchRequest { k: 3, ..SearchRequest::default() })?;
        ui.data(&format!("\n{}   ({why})\n", bold(question)))?;
        for hit in &hits {
            ui.data(&line(hit))?;
        }
    }

    let (set, _) = read::query_set(&dev, &ReadOptions::default())?;
    let options = CompareOptions {
        systems: System::parse_list("bm25,tfidf,dense,hybrid")?,
        measures: compare::default_measures(&set),
        ..CompareOptions::default()
    };
    let comparison = measure(&searcher, &set, &options, &ui.progress())?;
    let named = ("the bundled collection", Some("dev"));
    let provenance = Provenance::of(&searcher, &set, ui.command(), named, options.depth)?;
    ui.data(&format!("\n{}\n", bold("held-out questions of the bundled collection")))?;
    ui.data(&compare::screen(&comparison, &provenance, ui.width()))?;
    ui.note(&format!("\nthe index stays: try `parallax query {} \"your question\"`", folder.display()));
    Ok(())
}

fn line(hit: &Hit) -> String {
    let side = |part: Option<Part>| {
        let part = part.unwrap_or(Part { rank: None, score: 0.0 });
        format!("{:>4} {:>7.3}", part.rank.map_or("–".into(), |rank| format!("#{rank}")), part.score)
    };
    format!(
        "{:>3}  {:.4}   sparse {}   dense {}   {}\n",
        hit.rank,
        hit.score,
        side(hit.sparse),
        side(hit.dense),
        hit.passage.title
    )
}

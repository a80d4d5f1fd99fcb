//! Rules of mining on small collections built for them.

use super::candidates::{Candidate, Places};
use super::*;
use crate::collection::chunk::Chunking;
use crate::collection::read::{self, ReadOptions};
use crate::collection::{Passage, Query, pseudo};
use crate::eval::answers::Matching;
use crate::fusion::Fusion;
use crate::index::build::EncoderChoice;
use crate::index::{BuildOptions, Index, build};
use crate::search::Mode;
use crate::{Qrels, Silent};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

mod shelter;

struct Lab {
    _folder: tempfile::TempDir,
    searcher: Searcher,
}

fn lab(passages: &[Passage], dense: bool, chunking: Chunking) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.jsonl");
    let line = |p: &Passage| format!("{}\n", json!({"_id": p.id.as_str(), "title": p.title, "text": p.text}));
    fs_err::write(&path, passages.iter().map(line).collect::<String>()).unwrap();
    let options = BuildOptions {
        sources: vec![read::Source::new(&path)],
        encoder: dense.then(EncoderChoice::builtin),
        fusion: dense.then_some(Fusion::RRF),
        chunking,
        ..BuildOptions::default()
    };
    let place = folder.path().join("index");
    build(&place, &options, &Silent).unwrap();
    let mode = if dense { Mode::Hybrid } else { Mode::Sparse };
    Lab { searcher: Searcher::new(Index::open(&place).unwrap(), mode).unwrap(), _folder: folder }
}

fn mined(
    lab: &Lab,
    set: &QuerySet,
    protected: &[QuerySet],
    options: &MineOptions,
) -> (Vec<TrainingExample>, MineReport) {
    let mut examples = Vec::new();
    let mut take = |example| {
        examples.push(example);
        Ok(())
    };
    let report = mine(&lab.searcher, set, protected, options, &Silent, &mut take).unwrap();
    assert_eq!(report.outcomes.iter().sum::<u64>(), set.queries.len() as u64, "every query is counted once");
    assert_eq!(report.examples as usize, examples.len());
    assert_eq!(report.negatives as usize, examples.iter().map(|e| e.negatives.len()).sum::<usize>());
    (examples, report)
}

fn question(id: &str, text: &str, answers: &[&str]) -> Query {
    Query { answers: answers.iter().map(ToString::to_string).collect(), ..Query::new(id, text) }
}

/// One question about a river; passages that a filter each has to keep out, and three honest negatives.
fn river() -> (Vec<Passage>, QuerySet) {
    let gold = "The Elbe crosses the old town of Dresden, and on its left bank the palace gardens reach down to the water, \
                where steamers have landed since the middle of the nineteenth century";
    let passages = vec![
        Passage::new("gold", "Dresden", gold),
        Passage::new("twin", "Saxony", gold.to_uppercase() + "!"),
        Passage::new("near", "Towns", gold.replace("Elbe", "Elba").replace("palace", "castle")),
        Passage::new("answer", "Rivers", "Which river crosses which old town is asked often; the Elbe is one of many"),
        Passage::new("title", "Dresden", "The old town has a market that no river crosses"),
        Passage::new("kept", "Dresden castle", "A river crosses the old town of the castle in a play"),
        Passage::new("plain", "Prague", "A stone bridge crosses the river below the old town of Prague"),
        Passage::new("zero", "Vienna", "A river crosses the new town of Vienna, not the old town"),
        Passage::new("far", "Moon", "Nothing flows on the moon"),
    ];
    let mut set =
        QuerySet { queries: vec![question("q", "which river crosses the old town", &["Elbe"])], ..QuerySet::default() };
    set.qrels.insert("q".into(), "gold".into(), 1);
    set.qrels.insert("q".into(), "zero".into(), 0);
    (passages, set)
}

fn ids(example: &TrainingExample) -> BTreeSet<&str> {
    example.negatives.iter().map(|negative| negative.id.as_str()).collect()
}

#[test]
fn each_filter_keeps_out_what_nothing_else_does() {
    let (passages, set) = river();
    let lab = lab(&passages, false, Chunking::None);
    let mut held_out = QuerySet::default();
    held_out.qrels.insert("dev".into(), "kept".into(), 2);
    held_out.qrels.insert("dev".into(), "plain".into(), 0);
    let protected = [held_out];
    let all = Filters { same_title: true, ..Filters::default() };
    let take = |filters: Filters, protected: &[QuerySet]| {
        let options = MineOptions { negatives: 9, filters, ..MineOptions::default() };
        let (examples, report) = mined(&lab, &set, protected, &options);
        (ids(&examples[0]).into_iter().map(String::from).collect::<BTreeSet<_>>(), report)
    };
    let (clean, report) = take(all.clone(), &protected);
    assert_eq!(clean, BTreeSet::from(["plain".to_string(), "zero".to_string()]));
    for filter in [
        Filter::Positive,
        Filter::Protected,
        Filter::SameTitle,
        Filter::ExactDuplicate,
        Filter::NearDuplicate,
        Filter::Answer,
    ] {
        assert_eq!(report.sources[0].filtered_by(filter), 1, "{}", filter.name());
    }
    let gains = |filters: Filters, protected: &[QuerySet]| {
        let (loose, _) = take(filters, protected);
        loose.difference(&clean).cloned().collect::<Vec<_>>()
    };
    assert_eq!(gains(all.clone(), &[]), ["kept"]);
    assert_eq!(gains(Filters { same_title: false, ..all.clone() }, &protected), ["title"]);
    assert_eq!(gains(Filters { answers: None, ..all.clone() }, &protected), ["answer"]);
    assert_eq!(gains(Filters { near_duplicate: None, ..all.clone() }, &protected), ["near"]);
    // A twin holds the answer and is nearly the positive as well; alone, its own filter decides.
    let twins = Filters { near_duplicate: None, answers: None, ..all.clone() };
    assert!(!gains(twins.clone(), &protected).contains(&"twin".to_string()));
    assert!(gains(Filters { exact_duplicate: false, ..twins }, &protected).contains(&"twin".to_string()));
    // Ranks, scores and margins.
    let (none, _) = take(Filters { min_score: Some(1e9), ..Filters::NONE }, &[]);
    assert!(none.is_empty());
    let (_, report) = take(Filters { max_score: Some(0.001), ..Filters::NONE }, &[]);
    assert_eq!(report.outcome(Outcome::NoneLeft), 1);
    let (_, report) = take(Filters { margin: Some(0.0), ..Filters::NONE }, &[]);
    assert!(report.sources[0].filtered_by(Filter::Margin) > 0);
}

#[test]
fn what_was_taken_says_where_it_came_from() {
    let (passages, set) = river();
    let lab = lab(&passages, true, Chunking::None);
    let options = MineOptions { negatives: 9, mix: Mix::of(Source::Hybrid), ..MineOptions::default() };
    let (examples, _) = mined(&lab, &set, &[], &options);
    let trace = |id: &str| {
        let negative = examples[0].negatives.iter().find(|negative| negative.id.as_str() == id).unwrap();
        negative.provenance.clone().unwrap()
    };
    let plain = trace("plain");
    assert_eq!((plain.source.as_str(), plain.verdict.as_str(), plain.reason.as_str()), ("hybrid", "negative", ""));
    assert!(plain.sparse.unwrap().rank.is_some() && plain.dense.unwrap().rank.is_some() && plain.rank.is_some());
    assert_eq!(trace("zero").reason, "judged not relevant");
    // No word is shared: the sparse side knows no rank, and a score of 0.
    let far = trace("far").sparse.unwrap();
    assert_eq!((far.rank, far.score), (None, 0.0));
}

#[test]
fn margins_are_kept_below_positives_of_any_sign() {
    let (passages, set) = river();
    let lab = lab(&passages, false, Chunking::None);
    let Prepared::Ask(asked) = prepare(&lab.searcher, &set.queries[0], &set.qrels, &Weighting::default()).unwrap()
    else {
        panic!("the positive is there")
    };
    let kept = |score: f64, positive: f64, filters: &Filters, relative| {
        let places = Places::default();
        let candidate = Candidate { ordinal: crate::Ordinal(5), rank: Some(1), score: Some(score), places };
        filter::by_place(&candidate, &asked, Some(positive), relative, filters, &Default::default()).is_none()
    };
    let none = &Filters::NONE;
    assert!(kept(9.0, 10.0, none, Some(0.1)) && !kept(9.01, 10.0, none, Some(0.1)));
    assert!(kept(-11.0, -10.0, none, Some(0.1)) && !kept(-10.9, -10.0, none, Some(0.1)));
    assert!(kept(0.0, 0.0, none, Some(0.1)) && !kept(0.1, 0.0, none, Some(0.1)));
    let absolute = &Filters { margin: Some(2.0), ..Filters::NONE };
    assert!(kept(-12.0, -10.0, absolute, None) && !kept(-11.9, -10.0, absolute, None));
}

#[test]
fn ranks_are_counted_before_filters() {
    let (passages, set) = river();
    let lab = lab(&passages, false, Chunking::None);
    let all = MineOptions { negatives: 9, filters: Filters::NONE, ..MineOptions::default() };
    let (every, _) = mined(&lab, &set, &[], &all);
    let rank = |example: &TrainingExample| -> Vec<usize> {
        example.negatives.iter().map(|negative| negative.provenance.as_ref().unwrap().rank.unwrap()).collect()
    };
    let ranks = rank(&every[0]);
    assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]));
    let windowed = MineOptions { filters: Filters { range: Some((3, 5)), ..Filters::default() }, ..all };
    let (some, report) = mined(&lab, &set, &[], &windowed);
    assert!(rank(&some[0]).iter().all(|rank| (3..=5).contains(rank)), "{:?}", rank(&some[0]));
    let outside = ranks.iter().filter(|rank| !(3..=5).contains(*rank)).count() as u64;
    assert_eq!(report.sources[0].filtered_by(Filter::Rank), outside);
}

#[test]
fn every_query_has_one_outcome_and_shortfalls_obey() {
    let (passages, mut set) = river();
    let lab = lab(&passages, false, Chunking::None);
    set.queries.push(question("unjudged", "which river", &[]));
    set.queries.push(question("elsewhere", "which river", &[]));
    set.qrels.insert("elsewhere".into(), "not-in-the-index".into(), 1);
    set.queries.push(Query { impossible: true, ..question("impossible", "which river", &[]) });
    set.queries.push(question("nothing", "flows", &[]));
    set.qrels.insert("nothing".into(), "far".into(), 1);
    set.qrels.insert("nothing".into(), "gone".into(), 1);
    let with = |shortfall| mined(&lab, &set, &[], &MineOptions { negatives: 5, shortfall, ..MineOptions::default() });
    let (examples, report) = with(Shortfall::Fewer);
    let outcomes =
        [Outcome::Fewer, Outcome::NoneLeft, Outcome::NoPositive, Outcome::PositiveMissing, Outcome::Impossible];
    assert!(outcomes.iter().all(|outcome| report.outcome(*outcome) == 1), "{:?}", report.outcomes);
    assert_eq!((examples.len(), report.missing_positives), (2, 1));
    let (examples, report) = with(Shortfall::Drop);
    assert_eq!((examples.len(), report.outcome(Outcome::Dropped)), (0, 2));
    let (examples, report) = with(Shortfall::Random);
    assert_eq!((examples.len(), report.outcome(Outcome::Full)), (2, 2));
    let filled: Vec<_> = examples.iter().flat_map(|e| &e.negatives).filter_map(|n| n.provenance.as_ref()).collect();
    assert!(filled.iter().any(|trace| trace.source == "random" && trace.reason == "fills a shortfall"));
    for forbidden in ["gold", "twin", "near", "answer"] {
        assert!(!ids(&examples[0]).contains(forbidden), "random passages pass the filters, too: {forbidden}");
    }
}

/// The bundled training half with a third of its gold passages under further ids: word for word, or with words changed.
fn planted() -> (Vec<Passage>, QuerySet) {
    let source = read::Source::embedded("train.json", include_bytes!("../../corpus/train.json"));
    let (set, _) = read::query_set(&source, &ReadOptions::default()).unwrap();
    let mut passages = Vec::new();
    read::passages(&[source], &ReadOptions::default(), &Silent, &mut |passage| {
        passages.push(passage);
        Ok(())
    })
    .unwrap();
    let gold: BTreeSet<_> = set.qrels.iter().flat_map(|(query, _)| set.qrels.relevant(query)).cloned().collect();
    let twins: Vec<Passage> = passages
        .iter()
        .filter(|passage| gold.contains(&passage.id))
        .enumerate()
        .filter(|(i, _)| i % 10 < 3)
        .map(|(i, passage)| {
            let mut words: Vec<&str> = passage.text.split(' ').collect();
            if i % 2 == 1 {
                let n = words.len();
                [n / 5, n / 2, n - 2].into_iter().for_each(|at| words[at] = "indeed");
            }
            Passage::new(format!("planted-{}", passage.id), passage.title.clone(), words.join(" "))
        })
        .collect();
    passages.extend(twins);
    (passages, set)
}

fn false_negatives(examples: &[TrainingExample]) -> (usize, usize) {
    let negatives = examples.iter().flat_map(|e| e.negatives.iter().map(move |n| (e, n)));
    let mut all = 0;
    let wrong = negatives.inspect(|_| all += 1).filter(|(example, negative)| {
        let original = negative.id.as_str().strip_prefix("planted-");
        original.is_some_and(|original| example.positives.iter().any(|positive| positive.id.as_str() == original))
    });
    let wrong = wrong.count();
    (wrong, all)
}

#[test]
fn planted_false_negatives_are_kept_out() {
    let (passages, set) = planted();
    let lab = lab(&passages, true, Chunking::None);
    for source in ["sparse", "dense", "hybrid", "mix:sparse=.7,random=.3"] {
        let options = MineOptions { mix: source.parse().unwrap(), ..MineOptions::default() };
        let (wrong, all) = false_negatives(&mined(&lab, &set, &[], &options).0);
        assert!(all > 300 && wrong * 100 <= all, "{source}: {wrong} of {all}");
        // Twins are found by their words alone, where no answer is known.
        let options = MineOptions { filters: Filters { answers: None, ..Filters::default() }, ..options };
        let (wrong, all) = false_negatives(&mined(&lab, &set, &[], &options).0);
        assert!(wrong * 100 <= all, "{source} without answers: {wrong} of {all}");
        if source != "mix:sparse=.7,random=.3" {
            let options = MineOptions { filters: Filters::NONE, ..options };
            let (wrong, all) = false_negatives(&mined(&lab, &set, &[], &options).0);
            assert!(wrong * 100 > 3 * all, "{source} without filters: {wrong} of {all}");
        }
    }
}

#[test]
fn the_audit_sees_what_was_planted() {
    let (passages, set) = planted();
    let lab = lab(&passages, false, Chunking::None);
    let audited = |filters: Filters| {
        let options = MineOptions { filters, audit: Some(30), ..MineOptions::default() };
        mined(&lab, &set, &[], &options).1
    };
    let loose = audited(Filters::NONE).audit.unwrap();
    let best = &loose.bands[0];
    assert_eq!((best.band.to_string().as_str(), best.source), ("1-5", Source::Sparse));
    assert!(best.flagged.value() > 0.03, "{best:?}");
    let estimate = loose.estimate.unwrap();
    assert!(estimate.low > 0.02 && estimate.share < 0.5, "{estimate:?}");
    let strict_report = audited(Filters::default());
    let strict = strict_report.audit.as_ref().unwrap();
    assert!(strict.estimate.unwrap().share < estimate.low, "{:?} {estimate:?}", strict.estimate);
    assert_eq!(loose.bands[0].flagged, strict.bands[0].flagged, "flags are counted before filters");
    let (sheet, counted) = (audit::sheet(strict), strict.bands.iter().map(|band| band.suspects.of).sum::<u64>());
    assert_eq!((sheet.lines().count(), counted), (31, strict_report.negatives));
    assert!(sheet.lines().all(|line| line.split('\t').count() == 12));
    let histogram: u64 = strict.margins.iter().filter(|h| h.unit == "score").flat_map(|h| &h.counts).map(|c| c.1).sum();
    assert_eq!(histogram, strict_report.negatives);
    let written = audit::json(&strict_report, strict, "parallax");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap()["format"], 1);
}

#[test]
fn a_query_s_example_depends_on_nothing_around_it() {
    let (passages, mut set) = planted();
    let lab = lab(&passages, true, Chunking::None);
    let options = MineOptions {
        mix: "mix:hybrid=.5,sparse-only=.2,dense-only=.1,random=.2".parse().unwrap(),
        negatives: 4,
        sampling: Sampling::Softmax,
        shortfall: Shortfall::Random,
        filters: Filters { relative_margin: Some(RelativeMargin::Auto), ..Filters::default() },
        audit: Some(20),
        ..MineOptions::default()
    };
    let by_id = |examples: Vec<TrainingExample>| -> BTreeMap<String, TrainingExample> {
        examples.into_iter().map(|example| (example.query.id.to_string(), example)).collect()
    };
    let (examples, report) = mined(&lab, &set, &[], &options);
    Random::new(5).shuffle(&mut set.queries);
    let (shuffled, again) = mined(&lab, &set, &[], &options);
    assert!(shuffled != examples && by_id(shuffled) == by_id(examples.clone()));
    assert_eq!(report.margins, again.margins);
    assert_eq!(report.audit.unwrap().sheet, again.audit.unwrap().sheet);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (one, _) = alone.install(|| mined(&lab, &set, &[], &options));
    assert_eq!(by_id(one), by_id(examples.clone()));
    let (other, _) = mined(&lab, &set, &[], &MineOptions { seed: 1, ..options });
    assert!(by_id(other) != by_id(examples), "the seed matters");
}

#[test]
fn a_cut_document_gives_its_best_chunk_and_no_sibling() {
    let document = "The museum opened in spring. Its founder was a painter called Adler. Visitors come from afar to see it. \
                    The museum of the town owns a garden.";
    let passages = [
        Passage::new("doc", "Museum", document),
        Passage::new("other", "Garden", "The museum garden of the founder has roses. It is closed in winter."),
    ];
    let lab = lab(&passages, false, Chunking::Sentences(1));
    let mut set = QuerySet {
        queries: vec![question("q", "who was the founder of the museum garden", &["Adler"])],
        qrels: Qrels::new(),
    };
    set.qrels.insert("q".into(), "doc".into(), 1);
    let with = |same_document| {
        let filters = Filters { same_document, ..Filters::default() };
        mined(&lab, &set, &[], &MineOptions { negatives: 9, filters, ..MineOptions::default() }).0
    };
    let strict = with(true);
    assert_eq!(strict[0].positives[0].id.as_str(), "doc#1", "the chunk that holds the answer");
    assert!(ids(&strict[0]).iter().all(|id| id.starts_with("other#")), "{:?}", ids(&strict[0]));
    assert!(ids(&with(false)[0]).contains("doc#0"));
}

#[test]
fn a_second_encoder_drops_and_relabels() {
    let (passages, set) = river();
    let lab = lab(&passages, true, Chunking::None);
    let encoder: std::sync::Arc<dyn crate::Encoder> = std::sync::Arc::new(crate::encoder::fixed::builtin().unwrap());
    let filters = Filters { answers: Some(Matching::Korean), ..Filters::NONE };
    let with = |drop, positive| {
        let rescore = Some(Rescore { encoder: encoder.clone(), drop, positive });
        mined(
            &lab,
            &set,
            &[],
            &MineOptions { negatives: 9, filters: filters.clone(), rescore, ..MineOptions::default() },
        )
    };
    let (examples, report) = with(9.0, None);
    assert_eq!(report.sources[0].filtered_by(Filter::Ambiguous), 0);
    assert!(examples[0].negatives.iter().all(|n| n.provenance.as_ref().unwrap().teacher.is_some()));
    let (examples, report) = with(-9.0, None);
    assert_eq!((examples[0].negatives.len(), report.sources[0].survived()), (0, 0));
    let (examples, report) = with(-9.0, Some(-9.0));
    assert_eq!(examples[0].positives.len() as u64, 1 + report.sources[0].filtered_by(Filter::Relabelled));
    assert!(examples[0].positives[1].provenance.as_ref().unwrap().verdict == "positive");
}

#[test]
fn a_source_that_needs_vectors_is_refused_without_them() {
    let (passages, set) = river();
    let lab = lab(&passages, false, Chunking::None);
    for source in [Source::Dense, Source::Hybrid, Source::SparseOnly, Source::DenseOnly] {
        let options = MineOptions { mix: Mix::of(source), ..MineOptions::default() };
        let error = mine(&lab.searcher, &set, &[], &options, &Silent, &mut |_| Ok(())).unwrap_err();
        assert!(error.message().contains("dense side"), "{error}");
    }
    let mut foreign = QuerySet { queries: vec![question("q", "x", &[])], qrels: Qrels::new() };
    foreign.qrels.insert("q".into(), "absent".into(), 1);
    let error = mine(&lab.searcher, &foreign, &[], &MineOptions::default(), &Silent, &mut |_| Ok(())).unwrap_err();
    assert!(error.hints()[0].contains("another collection"));
}

#[test]
fn passages_ask_for_themselves() {
    let (passages, _) = planted();
    let lab = lab(&passages, false, Chunking::None);
    let pairs = |pairs, kind, negatives| {
        let mut examples = Vec::new();
        let options = MineOptions { negatives, ..MineOptions::default() };
        let mut take = |example: TrainingExample| {
            examples.push(example);
            Ok(())
        };
        let report =
            mine_pairs(&lab.searcher, &PairOptions { kind, pairs }, &[], &options, &Silent, &mut take).unwrap();
        assert_eq!(report.outcomes.iter().sum::<u64>(), report.queries);
        examples
    };
    let all = pairs(None, PairKind::Both, 0);
    let titles = all.iter().filter(|example| example.query.id.as_str().starts_with("title:")).count();
    let asked: Vec<&Passage> = passages.iter().filter(|passage| !pseudo::held_out(passage)).collect();
    assert!(asked.len() < passages.len(), "some passages are kept for the fusion weight");
    assert!(titles == asked.len() && all.len() > titles, "{titles} of {} {}", asked.len(), all.len());
    assert!(all.iter().all(|example| asked.iter().any(|passage| passage.id == example.positives[0].id)));
    let some = pairs(Some(40), PairKind::Sentences, 2);
    assert_eq!(some.len(), 40);
    let title_of: BTreeMap<&str, &str> = passages.iter().map(|p| (p.id.as_str(), p.title.as_str())).collect();
    for example in &some {
        let positive = &example.positives[0];
        assert_eq!(example.query.id.as_str(), format!("sentence:{}", positive.id));
        assert!(all.iter().any(|other| other.query == example.query), "drawn alike with and without negatives");
        assert!(!positive.text.contains(&example.query.text));
        let own = title_of[positive.id.as_str()];
        assert!(example.negatives.iter().all(|negative| negative.title != own), "{}", example.query.id);
    }
}

//! A planted case for each cause, and beside it one that undoing does not help.

use super::super::testing::{Lab, compared, lab, passage, set, toy};
use super::*;
use crate::collection::chunk::Chunking;
use crate::collection::run::Ranking;
use crate::dense::SearchHow;
use crate::progress::Silent;
use crate::random::Random;
use std::path::Path;

fn diagnosed(lab: &Lab, set: &QuerySet, systems: &str, k: usize) -> Diagnosis {
    let (options, comparison) = compared(lab, set, systems, SearchHow::Auto);
    diagnose(&lab.searcher, set, &options, &comparison, k, &Silent).unwrap()
}

fn causes(verdict: &Verdict) -> Vec<Cause> {
    verdict.reasons.iter().map(|reason| reason.cause).collect()
}

/// What a system's miss of the one question is put down to, with the evidence of the first.
#[track_caller]
fn check(lab: &Lab, question: &str, gold: &str, system: &str, k: usize, expected: &[Cause]) -> String {
    let set = set(&[("q", question, gold, &[])]);
    let diagnosis = diagnosed(lab, &set, system, k);
    let [miss] = &diagnosis.misses[..] else { panic!("{question} is not missed") };
    assert_eq!(causes(&miss.verdicts[0]), expected, "{question}: {:?}", miss.verdicts[0].reasons);
    let counts = diagnosis.systems[0].counts.iter();
    let main: Vec<Cause> = counts.clone().filter(|(_, main, _)| *main == 1).map(|(cause, _, _)| *cause).collect();
    let any: Vec<Cause> = counts.filter(|(_, _, any)| *any == 1).map(|(cause, _, _)| *cause).collect();
    assert_eq!((main, any), (vec![expected[0]], expected.to_vec()));
    miss.verdicts[0].reasons[0].evidence.clone()
}

/// Passages about nothing, so that terms are rare.
fn others() -> Vec<Passage> {
    (0..20).map(|i| passage(&format!("o{i:02}"), &format!("nothing number {i} is said about anything here"))).collect()
}

fn sparse(passages: &[(&str, &str)]) -> Lab {
    let mut all = others();
    all.extend(passages.iter().map(|(id, text)| passage(id, text)));
    lab(&all, None, Chunking::None)
}

#[test]
fn length() {
    let long = format!("red fox red fox {}", "and so on it went ".repeat(40));
    let planted = sparse(&[("gold", &long), ("short", "red fox")]);
    let evidence = check(&planted, "red fox", "gold", "bm25", 1, &[Cause::Length]);
    assert!(evidence.starts_with("at 1 with b = 0; the passage has 84 terms"), "{evidence}");
    // With b = 0 already there is nothing to undo; and a rival with more of the words wins at any length.
    check(&planted, "red fox", "gold", "bm25(b=1)", 1, &[Cause::Length]);
    let more = sparse(&[("gold", &long), ("short", "red fox red fox red fox")]);
    check(&more, "red fox", "gold", "bm25", 1, &[Cause::Unexplained]);
    check(&more, "red fox", "gold", "bm25(b=0)", 1, &[Cause::Unexplained]);
}

#[test]
fn morphology() {
    let gold = "photosynthetic rate of old plants in dry summers";
    let beginnings = sparse(&[("gold", gold), ("rival", "rate rate rate")]);
    let evidence = check(&beginnings, "photosynthesis rates", "gold", "bm25", 1, &[Cause::Morphology]);
    assert_eq!(evidence, "at 1 with beginnings of words: `photosynthesis` meets `photosynthetic` of the passage");
    // TF-IDF is not analysed anew; and words of another family do not count, though they begin alike.
    check(&beginnings, "photosynthesis rates", "gold", "tfidf", 1, &[Cause::Unexplained]);
    let strangers = sparse(&[("gold", "translationally at a rate"), ("rival", "rate rate rate")]);
    check(&strangers, "transcriptions rates", "gold", "bm25", 1, &[Cause::Unexplained]);

    let stemmed = sparse(&[("gold", "the secretions of glands"), ("rival", "secret secret glands papers")]);
    let evidence = check(&stemmed, "secretions of glands", "gold", "bm25", 1, &[Cause::Morphology]);
    assert_eq!(
        evidence,
        "at 1 with words as written: `secretions` no longer meets `secret` of `rival`, which stood above"
    );
    // Inflections of one word should meet.
    let inflected = sparse(&[("gold", "the teachers of schools"), ("rival", "teacher teacher schools papers")]);
    check(&inflected, "teachers of schools", "gold", "bm25", 1, &[Cause::Unexplained]);

    let korean = sparse(&[("gold", "사과 나무"), ("rival", "인사과장 인사과장 인사과장 인사과장")]);
    let evidence = check(&korean, "사과", "gold", "bm25", 1, &[Cause::Morphology]);
    assert_eq!(evidence, "at 1 with whole stems: `사과` no longer meets `인사과장` of `rival`, which stood above");
}

#[test]
fn rare_terms() {
    let rivals: Vec<String> = (0..3).map(|i| format!("stone river cloud {i}")).collect();
    let mut passages = vec![("gold", "a zebra sleeps")];
    passages.extend(["r0", "r1", "r2"].into_iter().zip(&rivals).map(|(id, text)| (id, text.as_str())));
    let planted = sparse(&passages);
    for system in ["bm25", "tfidf"] {
        let evidence = check(&planted, "zebra stone river cloud", "gold", system, 1, &[Cause::RareTerm]);
        assert_eq!(evidence, "at 1 with `zebra` alone, in 1 passage");
    }
    passages.push(("r3", "zebra zebra zebra"));
    let outdone = sparse(&passages);
    check(&outdone, "zebra stone river cloud", "gold", "bm25", 1, &[Cause::Unexplained]);
}

#[test]
fn no_shared_term() {
    let planted = sparse(&[("gold", "how high the peak is"), ("rival", "the altitude of towns")]);
    let evidence = check(&planted, "altitude", "gold", "bm25", 1, &[Cause::NoSharedTerm]);
    assert_eq!(evidence, "the passage holds none of `altitud`");
    let evidence = check(&planted, "elevation", "gold", "tfidf", 1, &[Cause::NoSharedTerm]);
    assert_eq!(evidence, "no passage of the index holds a term of the question");
    assert_eq!(diagnosed(&planted, &set(&[("q", "high altitude peaks", "gold", &[])]), "bm25", 1).misses.len(), 0);
}

#[test]
fn duplicates() {
    let text: String = (0..60).map(|i| format!("word{i} ")).collect();
    let gold = format!("red fox {text}");
    let (twin, near) = (gold.to_uppercase(), gold.replace("word59", ""));
    let exact = sparse(&[("a", &gold), ("z", &twin)]);
    let evidence = check(&exact, "red fox", "a", "bm25", 1, &[Cause::Duplicate]);
    assert_eq!(evidence, "`z` at 1 has the same words as the gold passage");
    let near = sparse(&[("a", &gold), ("z", &near)]);
    let evidence = check(&near, "red fox", "a", "bm25", 1, &[Cause::Duplicate]);
    assert_eq!(evidence, "`z` at 1 has nearly the same words as the gold passage");
    let other = sparse(&[("a", &gold), ("z", "red fox")]);
    check(&other, "red fox", "a", "bm25(b=0)", 1, &[Cause::Unexplained]);
}

#[test]
fn what_the_index_lacks() {
    let planted = sparse(&[("held", "red foxes live in dens")]);
    let set = set(&[
        ("gone", "red foxes", "absent", &["dens"]),
        ("nowhere", "red foxes", "absent", &["burrows"]),
        ("inside", "red foxes", "absent", &["fox"]),
        ("split", "nothing", "held", &["caves"]),
        ("found", "red foxes", "held", &["dens"]),
    ]);
    let diagnosis = diagnosed(&planted, &set, "bm25", 20);
    let found: Vec<(&str, Vec<Cause>)> =
        diagnosis.misses.iter().map(|miss| (miss.query.as_str(), causes(&miss.verdicts[0]))).collect();
    let expected = [
        ("gone", vec![Cause::GoldMissing]),
        ("nowhere", vec![Cause::GoldMissing, Cause::AnswerAbsent]),
        ("inside", vec![Cause::GoldMissing]),
        ("split", vec![Cause::NoSharedTerm, Cause::AnswerAbsent]),
    ];
    assert_eq!(found, expected);
    assert_eq!((diagnosis.queries, diagnosis.misses[0].gold_text.as_deref()), (5, None));
}

#[test]
fn nothing_known() {
    let encoder = toy(&[("red", &[1.0, 0.0]), ("fox", &[0.0, 1.0])], None);
    let lab = lab(
        &[passage("a", "fox"), passage("b", "red fox"), passage("c", "zebra")],
        Some(encoder.path()),
        Chunking::None,
    );
    let evidence = check(&lab, "zebras", "a", "dense", 1, &[Cause::NothingKnown]);
    assert_eq!(evidence, "the encoder knows no word of the question");
    let evidence = check(&lab, "red", "c", "dense", 1, &[Cause::NothingKnown]);
    assert_eq!(evidence, "the encoder knows no word of the passage");
    check(&lab, "red", "a", "dense", 1, &[Cause::Unexplained]);
}

#[test]
fn truncation() {
    let encoder = toy(&[("dull", &[1.0, 0.0]), ("bright", &[0.0, 1.0])], Some(4));
    let build = |gold: &str, rival: &str| {
        lab(&[passage("gold", gold), passage("rival", rival)], Some(encoder.path()), Chunking::None)
    };
    let cut = "dull dull dull dull bright bright bright bright";
    let planted = build(cut, "bright dull dull dull");
    let evidence = check(&planted, "bright", "gold", "dense", 1, &[Cause::Truncation]);
    let expected = "at 1 when read in whole: of its 8 tokens the encoder reads 4; window 3 of 3 scores 1.000, \
                    the cut passage 0.000";
    assert_eq!(evidence, expected);
    // Read in whole, the rival gains more.
    let rival = "bright dull dull dull bright bright bright bright";
    let gold = "dull dull dull dull bright bright dull bright";
    check(&build(gold, rival), "bright", "gold", "dense", 1, &[Cause::Unexplained]);
    // Nothing was cut.
    check(&build("dull dull dull bright", "bright dull"), "bright", "gold", "dense", 1, &[Cause::Unexplained]);
}

/// As many words as passages, each with its own random vector; every passage is one word.
fn scattered(n: usize, d: usize) -> (tempfile::TempDir, Vec<Passage>) {
    let mut random = Random::new(5);
    let names: Vec<String> = (0..n).map(|i| format!("w{i}")).collect();
    let vectors: Vec<Vec<f32>> =
        (0..n).map(|_| (0..d).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect()).collect();
    let words: Vec<(&str, &[f32])> =
        names.iter().zip(&vectors).map(|(name, v)| (name.as_str(), v.as_slice())).collect();
    (toy(&words, None), names.iter().map(|name| passage(name, name)).collect())
}

#[test]
fn graph() {
    let (encoder, passages) = scattered(1500, 32);
    let lab = lab(&passages, Some(encoder.path()), Chunking::None);
    // A passage asks for its neighbour: the next one in the order of exact search, or one far from it.
    let mut questions = Vec::new();
    for (i, passage) in passages.iter().enumerate().step_by(3) {
        questions.push((format!("near{i}"), passage.text.clone(), passage.id.to_string()));
        questions.push((format!("far{i}"), passage.text.clone(), format!("w{}", (i + 700) % 1500)));
    }
    let questions: Vec<(&str, &str, &str, &[&str])> =
        questions.iter().map(|(id, text, gold)| (id.as_str(), text.as_str(), gold.as_str(), &[][..])).collect();
    let set = set(&questions);
    let (options, comparison) = compared(&lab, &set, "dense", SearchHow::Graph { ef: 1 });
    let walked = diagnose(&lab.searcher, &set, &options, &comparison, 5, &Silent).unwrap();
    let (mut lost, mut far) = (0, 0);
    for miss in &walked.misses {
        let verdict = &miss.verdicts[0];
        let near = miss.query.as_str().starts_with("near");
        // A word is nearest to itself; a stranger is near by chance.
        assert!(!near || verdict.rank == Some(1));
        let expected = if verdict.rank.is_some_and(|rank| rank <= 5) { Cause::Graph } else { Cause::Unexplained };
        assert_eq!(causes(verdict), [expected], "{}", miss.query);
        lost += usize::from(near);
        far += usize::from(!near);
    }
    assert!(lost > 0 && far > 400, "{lost} {far}");
    let (options, comparison) = compared(&lab, &set, "dense", SearchHow::Exact);
    let exact = diagnose(&lab.searcher, &set, &options, &comparison, 5, &Silent).unwrap();
    assert!(exact.misses.iter().all(|miss| causes(&miss.verdicts[0]) == [Cause::Unexplained]));
}

#[test]
fn depth() {
    let words: [(&str, &[f32]); 5] = [
        ("alpha", &[0.1, 0.0]),
        ("beta", &[0.1, 0.0]),
        ("null", &[0.0, 5.0]),
        ("mid", &[4.5, 2.0]),
        ("gamma", &[1.0, 0.0]),
    ];
    let encoder = toy(&words, None);
    let mut passages = vec![passage("gold", "alpha beta mid")];
    passages.extend((0..120).map(|i| passage(&format!("s{i}"), "alpha beta alpha beta null")));
    passages.extend((0..120).map(|i| passage(&format!("d{i}"), "gamma")));
    let planted = lab(&passages, Some(encoder.path()), Chunking::None);
    let evidence = check(&planted, "alpha beta", "gold", "hybrid", 20, &[Cause::Depth]);
    assert_eq!(evidence, "at 1 with 241 candidates a side; gold at 121 of the sparse side and at 121 of the dense one");
    // Where all weight is on one side, a deeper cut changes nothing.
    check(&planted, "alpha beta", "gold", "hybrid(weight=1)", 20, &[Cause::Unexplained]);
}

#[test]
fn fusion() {
    let words: [(&str, &[f32]); 4] =
        [("alpha", &[0.1, 0.0]), ("null", &[0.0, 5.0]), ("gamma", &[5.0, 0.0]), ("pale", &[4.0, 4.0])];
    let encoder = toy(&words, None);
    let passages = [
        passage("gold", "alpha alpha alpha null"),
        passage("rival", "alpha alpha gamma"),
        passage("third", "pale"),
        passage("fourth", "null"),
    ];
    let planted = lab(&passages, Some(encoder.path()), Chunking::None);
    let evidence = check(&planted, "alpha", "gold", "hybrid", 1, &[Cause::Fusion]);
    assert_eq!(evidence, "gold at 1 of the sparse side and at 3 of the dense one");
    let evidence = check(&planted, "alpha", "third", "hybrid", 1, &[Cause::Unexplained]);
    assert_eq!(evidence, "gold not among the first 1,000 of the sparse side and at 2 of the dense one");
    let third = diagnosed(&planted, &set(&[("q", "alpha", "third", &[])]), "bm25,dense,hybrid", 2);
    let verdicts = &third.misses[0].verdicts;
    assert_eq!(causes(&verdicts[0]), [Cause::NoSharedTerm]);
    assert!(!verdicts[1].missed && verdicts[1].reasons.is_empty() && verdicts[1].rank == Some(2));
    assert_eq!(causes(&verdicts[2]), [Cause::Fusion]);
}

#[test]
fn hybrid_loses_what_length_hides() {
    let encoder = toy(&[("unsaid", &[1.0])], None);
    let mut passages = others();
    passages.push(passage("gold", &format!("red fox red fox {}", "and so on it went ".repeat(40))));
    passages.push(passage("short", "red fox"));
    let planted = lab(&passages, Some(encoder.path()), Chunking::None);
    let evidence = check(&planted, "red fox", "gold", "hybrid", 1, &[Cause::Length]);
    assert!(evidence.starts_with("at 1 with b = 0 on the sparse side; gold at 2"), "{evidence}");
}

#[test]
fn documents_are_found_not_chunks() {
    let passages = [
        passage("gold", "The moon is bright. It has a dark side and many other things that are far from here."),
        passage("rival", "The moon. A moon. One moon. That moon. Nothing else."),
    ];
    let cut = lab(&passages, None, Chunking::Sentences(1));
    let set = set(&[("q", "moon", "gold", &[])]);
    let verdict = &diagnosed(&cut, &set, "bm25", 1).misses[0].verdicts[0];
    // Four chunks of the rival stand above the gold document's best, and count once.
    assert_eq!((verdict.rank, verdict.top.len()), (Some(2), 2));
    assert_eq!(verdict.top[1].id.as_str(), "gold");
    assert!(verdict.top[1].gold && !verdict.top[0].gold);
}

#[test]
fn runs_of_other_tools_are_examined_for_facts_alone() {
    let text: String = (0..30).map(|i| format!("word{i} ")).collect();
    let lab = sparse(&[("a", &text), ("b", &text), ("c", "something else")]);
    let mut set = set(&[("twin", "word3", "a", &[]), ("else", "word4", "c", &[]), ("gone", "word5", "absent", &[])]);
    set.qrels.insert("none".into(), "a".into(), 0);
    let (mut options, mut comparison) = compared(&lab, &set, "bm25", SearchHow::Auto);
    let mut run = Run::new("theirs");
    for query in ["twin", "else", "gone"] {
        run.insert(query.into(), Ranking::new(vec![("b".into(), 2.0), ("unknown".into(), 1.5), ("c".into(), 1.0)]));
    }
    options.systems = vec![System::File { name: "theirs".into(), run: run.clone(), path: "run".into() }];
    comparison.systems[0].run = run;
    let diagnosis = diagnose(&lab.searcher, &set, &options, &comparison, 2, &Silent).unwrap();
    let found: Vec<(Option<usize>, Vec<Cause>)> =
        diagnosis.misses.iter().map(|miss| (miss.verdicts[0].rank, causes(&miss.verdicts[0]))).collect();
    let expected =
        [(None, vec![Cause::Duplicate]), (Some(3), vec![Cause::Unexplained]), (None, vec![Cause::GoldMissing])];
    assert_eq!(found, expected);
    assert_eq!((diagnosis.queries, diagnosis.systems[0].mode), (3, None));
    assert!(diagnose(&lab.searcher, &set, &options, &comparison, 0, &Silent).is_err());
    assert!(diagnose(&lab.searcher, &set, &options, &comparison, 101, &Silent).is_err());
}

#[test]
fn threads_change_nothing_and_the_worst_come_first() {
    let (encoder, mut passages) = scattered(300, 8);
    for (i, passage) in passages.iter_mut().enumerate() {
        passage.text = format!("w{i} w{} w{}", (i * 7) % 300, (i * 13) % 300);
    }
    let lab = lab(&passages, Some(Path::new(encoder.path())), Chunking::None);
    let questions: Vec<(String, String, String)> = (0..100)
        .map(|i| (format!("q{i}"), format!("w{} w{}", i, (i * 3) % 300), format!("w{}", (i * 2) % 300)))
        .collect();
    let questions: Vec<(&str, &str, &str, &[&str])> =
        questions.iter().map(|(id, text, gold)| (id.as_str(), text.as_str(), gold.as_str(), &["w1"][..])).collect();
    let set = set(&questions);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| diagnosed(&lab, &set, "bm25,tfidf,dense,hybrid", 3))
    };
    let (one, two) = (with(1), with(2));
    assert_eq!(jsonl(&one).unwrap(), jsonl(&two).unwrap());
    assert_eq!(one, two);
    assert!(one.misses.len() > 50, "{}", one.misses.len());
    for line in jsonl(&one).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for system in line["systems"].as_array().unwrap() {
            assert_eq!(system["missed"].as_bool().unwrap(), !system["cause"].is_null());
            assert_eq!(
                system["cause"],
                system["causes"].get(0).map_or(serde_json::Value::Null, |c| c["cause"].clone())
            );
        }
    }
    for system in &one.systems {
        assert_eq!(system.counts.iter().map(|(_, main, _)| main).sum::<usize>(), system.missed);
    }
    let worst = one.worst_of_each(6);
    assert!(worst.len() > 2 && worst.len() <= 6, "{}", worst.len());
    assert!(worst.iter().all(|(system, miss)| miss.verdicts[*system].missed && miss.gap(*system) > 0.0));
    let found = |miss: &Miss| miss.verdicts.iter().any(|verdict| !verdict.missed);
    assert!(worst.iter().all(|(_, miss)| found(miss)));
    let (first, gap) = (worst[0].0, worst[0].1.gap(worst[0].0));
    assert!(one.misses.iter().all(|miss| miss.gap(first) <= gap));
}

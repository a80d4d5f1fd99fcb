//! Planted faults are found, and counted exactly.

use super::super::testing::{Lab, lab, passage, set, toy};
use super::*;
use crate::collection::chunk::Chunking;
use crate::collection::{Passage, Query};
use crate::progress::Silent;
use crate::random::Random;

fn count(audit: &Audit, check: Check) -> (usize, usize) {
    let finding = audit.finding(check).unwrap_or_else(|| panic!("{check:?} was not made"));
    assert!(finding.examples.len() <= EXAMPLES && (finding.count > 0 || finding.examples.is_empty()));
    (finding.count, finding.of)
}

/// A text of some words out of many.
fn words(random: &mut Random, n: usize) -> Vec<String> {
    (0..n).map(|_| format!("w{}", random.below(4000))).collect()
}

/// A hundred passages of sixty words, each with a question of eight of them and an answer from its middle.
fn sound() -> (Vec<Passage>, QuerySet) {
    let mut random = Random::new(11);
    let mut passages = Vec::new();
    let mut data = QuerySet::default();
    for i in 0..100 {
        let text = words(&mut random, 60);
        let question: Vec<&str> = (0..8).map(|_| text[random.below(60)].as_str()).collect();
        let answers = vec![format!("{} {}", text[30], text[31])];
        data.queries.push(Query { answers, ..Query::new(format!("q{i}"), question.join(" ")) });
        data.qrels.insert(format!("q{i}").into(), format!("p{i}").into(), 1);
        passages.push(passage(&format!("p{i}"), &text.join(" ")));
    }
    (passages, data)
}

fn audited(lab: &Lab, data: &QuerySet, training: Option<&Training>) -> Audit {
    audit(&lab.searcher, data, training, &Silent).unwrap()
}

#[test]
fn a_sound_experiment_has_no_fault() {
    let (passages, data) = sound();
    let lab = lab(&passages, None, Chunking::None);
    let found = audited(&lab, &data, None);
    assert_eq!(found.faults().count(), 0, "{found:?}");
    assert_eq!((found.passages, found.questions, found.training), (100, 100, None));
    assert!(found.finding(Check::SeenQuestions).is_none() && found.finding(Check::UnjudgedDense).is_none());
    assert!(audit(&lab.searcher, &QuerySet::default(), None, &Silent).is_err());
}

#[test]
fn planted_faults_are_counted_exactly() {
    let (mut passages, mut data) = sound();
    let mut random = Random::new(12);
    // 30 gold passages again under new ids; ten of them with a word changed at the end. One twin is judged.
    for i in 0..30 {
        let text = if i < 20 { passages[i].text.to_uppercase() } else { format!("{} indeed", passages[i].text) };
        passages.push(passage(&format!("twin{i}"), &text));
    }
    data.qrels.insert("q0".into(), "twin0".into(), 1);
    // Five gold passages are gone.
    passages.retain(|p| !["p95", "p96", "p97", "p98", "p99"].contains(&p.id.as_str()));
    // An answer that is not there, one that is there inside a longer word, an impossible and an empty question.
    data.queries[40].answers = vec!["nowhere".into()];
    data.queries[41].answers = vec![passages[41].text[1..].split(' ').next().unwrap().into()];
    data.queries[42].impossible = true;
    data.queries[42].answers = vec!["nowhere".into()];
    data.queries[43].answers.clear();
    data.queries[44].text = "?".into();
    // The same words ask for another passage.
    data.queries[46].text = format!("{}?", data.queries[45].text.to_uppercase());
    data.queries.push(Query::new("unjudged", "what nobody judged"));
    // 10 test questions leaked into training, five of them nearly; among strangers.
    let mut training = Training::default();
    for i in 0..200 {
        let text = match i {
            0..5 => format!("{}!", data.queries[50 + i].text.to_uppercase()),
            5..10 => data.queries[50 + i].text.split(' ').skip(1).collect::<Vec<_>>().join(" "),
            _ => words(&mut random, 8).join(" "),
        };
        let answers = if i == 10 { data.queries[60].answers.clone() } else { vec![format!("t{i}")] };
        training.set.queries.push(Query { answers, ..Query::new(format!("t{i}"), text) });
    }
    // Training's gold: one of the test's by id, one in its words under another id, one nearly, one outside of the index.
    for (question, gold) in [("t0", "p70"), ("t1", "twin1"), ("t2", "twin25"), ("t3", "outside")] {
        training.set.qrels.insert(question.into(), gold.into(), 1);
    }
    training.texts.insert("outside".into(), passages[80].text.clone());

    let lab = lab(&passages, None, Chunking::None);
    assert_eq!(training.missing_texts(&lab.searcher).unwrap(), ["outside".into()]);
    let found = audited(&lab, &data, Some(&training));
    let expected = [
        (Check::EmptyQuestions, (1, 101)),
        (Check::Contradictions, (2, 101)),
        (Check::WithoutGold, (1, 101)),
        // 100 gold passages and the judged twin.
        (Check::GoldMissing, (5, 101)),
        (Check::GoldTwins, (19, 96)),
        (Check::GoldNearTwins, (10, 96)),
        (Check::AnswersOutside, (1, 93)),
        (Check::WithoutAnswers, (2, 101)),
        (Check::SeenQuestions, (5, 101)),
        (Check::NearQuestions, (5, 101)),
        (Check::SeenAnswers, (1, 99)),
        // By id; `twin1` is `p1`; `outside` is `p80`.
        (Check::SeenPassages, (3, 101)),
        (Check::NearPassages, (1, 101)),
        (Check::Duplicates, (20, 125)),
        (Check::NearDuplicates, (10, 125)),
    ];
    for (check, counts) in expected {
        assert_eq!(count(&found, check), counts, "{check:?}: {:?}", found.finding(check));
    }
    let detail = |check| found.finding(check).and_then(|finding| finding.detail.clone()).unwrap_or_default();
    assert_eq!(detail(Check::GoldMissing), "5 questions have no other");
    assert_eq!(detail(Check::GoldTwins), "19 questions, 19 twins");
    assert_eq!(detail(Check::AnswersOutside), "1 more only inside longer words");
    let faults: Vec<Check> = found.faults().map(|finding| finding.check).collect();
    assert_eq!(faults.len(), 7, "{faults:?}");
    assert!(found.findings.is_sorted_by_key(|finding| finding.check));
    // The same at any number of threads, to the byte.
    let origin = Origin::default();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let one = alone.install(|| audited(&lab, &data, Some(&training)));
    assert_eq!(json(&one, &origin), json(&found, &origin));
    let wire: serde_json::Value = serde_json::from_str(&json(&found, &origin)).unwrap();
    assert_eq!((wire["faults"].as_u64(), wire["findings"][4]["check"].as_str()), (Some(7), Some("gold-twins")));
}

#[test]
fn what_nobody_judged_is_counted_on_each_side() {
    let encoder = toy(&[("red", &[1.0, 0.0]), ("fox", &[0.0, 1.0])], None);
    let passages = [
        passage("gold", "a red fox in its den"),
        passage("judged", "a red barn"),
        passage("den", "a fox near the den"),
        passage("other", "fox and hare"),
    ];
    let lab = lab(&passages, Some(encoder.path()), Chunking::None);
    let mut data = set(&[("q", "red fox", "gold", &["den"]), ("r", "hare", "other", &[])]);
    data.qrels.insert("q".into(), "judged".into(), 0);
    data.queries.push(Query::new("nobody", "red"));
    let found = audited(&lab, &data, None);
    // BM25 ranks four and one passages, of which `den` and `other` were never judged for `q`.
    assert_eq!(count(&found, Check::UnjudgedSparse), (2, 5));
    // The dense side ranks all four for `q`, and none for `hare`, which it does not know.
    assert_eq!(count(&found, Check::UnjudgedDense), (2, 4));
    let finding = found.finding(Check::UnjudgedSparse).unwrap();
    assert_eq!(finding.detail.as_deref(), Some("1 holds an answer"));
    assert_eq!(finding.examples, ["`q`: `den` holds an answer"]);
}

#[test]
fn chunks_of_one_document_are_no_twins_of_each_other() {
    let sentence = "The same sentence stands here again and again in one document.";
    let passages =
        [passage("gold", &format!("{sentence} {sentence}")), passage("copy", &format!("{sentence} Another one."))];
    let lab = lab(&passages, None, Chunking::Sentences(1));
    let found = audited(&lab, &set(&[("q", "sentence", "gold", &[])]), None);
    assert_eq!(count(&found, Check::GoldTwins), (1, 1));
    let alone = self::lab(&passages[..1], None, Chunking::Sentences(1));
    let found = audited(&alone, &set(&[("q", "sentence", "gold", &[])]), None);
    assert_eq!(count(&found, Check::GoldTwins), (0, 1));
}

//! `compare` tells the two questions apart: was the gold passage retrieved, and was an answer?

use crate::support::TestEnv;
use parallax::collection::run::Run;
use parallax::compare::{CompareOptions, System, compare};
use parallax::{Index, Mode, Query, QuerySet, Ranking, Searcher, Silent};

/// Passages, each with a case of its own; sentences become chunks, so that one of them cuts an answer.
const CORPUS: [(&str, &str); 7] = [
    ("gold", "The lighthouse of Alexandria stood on the island of Pharos and was built by Sostratus of Cnidus."),
    ("twin", "The lighthouse of Alexandria stood on the island of Pharos and was built by Sostratus of Cnidus!"),
    ("other", "Sostratus of Cnidus is named as an architect by several writers."),
    ("spaced", "이순신장군은 노량에서 싸웠다."),
    ("unwritten", "A passage that was judged relevant although it does not say it."),
    ("cut", "The ship was called St. Mary. Celeste was her later name, some say."),
    ("nothing", "Bread and butter."),
];

fn question(id: &str, answer: &str) -> Query {
    Query { answers: vec![answer.to_string()], ..Query::new(id, "who or what is it") }
}

#[test]
fn every_question_is_counted_once_under_what_explains_it() {
    let env = TestEnv::new();
    let lines = CORPUS.iter().map(|(id, text)| format!("{{\"_id\": \"{id}\", \"text\": \"{text}\"}}\n"));
    env.write("corpus.jsonl", lines.collect::<String>());
    env.ok("build-index corpus.jsonl --name x --encoder none --chunk sentences:1");
    let searcher = Searcher::new(Index::open(&env.path("indexes/x")).unwrap(), Mode::Sparse).unwrap();
    let mut set = QuerySet::default();
    let mut run = Run::new("made");
    let mut add = |query: Query, gold: &str, ranked: &[&str]| {
        set.qrels.insert(query.id.clone(), gold.into(), 1);
        let scored = ranked.iter().enumerate().map(|(i, id)| ((*id).into(), -(i as f64))).collect();
        run.insert(query.id.clone(), Ranking::new(scored));
        set.queries.push(query);
    };
    add(question("both", "Sostratus"), "gold", &["nothing", "gold"]);
    add(question("both too, elsewhere", "several writers"), "gold", &["gold", "other"]);
    add(question("twin", "Sostratus of Cnidus"), "gold", &["other", "twin"]);
    add(question("elsewhere", "Sostratus of Cnidus"), "gold", &["nothing", "other"]);
    add(question("spaced", "이순신 장군"), "spaced", &["spaced"]);
    add(question("unwritten", "Archimedes"), "unwritten", &["nothing", "unwritten"]);
    add(question("split", "Mary. Celeste"), "cut", &["cut"]);
    add(question("too deep", "Sostratus"), "gold", &["nothing", "unwritten", "cut", "gold"]);
    add(question("nothing", "Sostratus"), "gold", &[]);
    add(Query::new("no answer", "is it"), "gold", &["gold"]);
    add(Query { impossible: true, ..question("impossible", "Sostratus") }, "gold", &["gold"]);
    let options = CompareOptions {
        systems: vec![System::File { name: "made".into(), run, path: "made.trec".into() }],
        measures: vec!["answer-recall@3".parse().unwrap(), "answer-recall(characters)@3".parse().unwrap()],
        ..CompareOptions::default()
    };
    let found = compare(&searcher, &set, &options, &Silent).unwrap();
    let gap = found.systems[0].gap.unwrap();
    assert_eq!((gap.k, gap.n), (3, 9));
    assert_eq!((gap.both, gap.split, gap.twin, gap.elsewhere), (2, 1, 1, 1), "{gap:?}");
    assert_eq!((gap.by_characters, gap.unwritten, gap.neither), (1, 1, 2), "{gap:?}");
    // Characters find what is spaced otherwise, and the measures count what the gap counts.
    let evaluation = &found.systems[0].evaluation;
    assert_eq!((evaluation.mean(0) * 9.0).round(), 5.0);
    assert_eq!((evaluation.mean(1) * 9.0).round(), 6.0);
    let without = CompareOptions { measures: vec!["R@3".parse().unwrap()], ..options };
    assert_eq!(compare(&searcher, &set, &without, &Silent).unwrap().systems[0].gap, None);
}

//! `mine-negatives`: files other tools read, splits that stay apart, the same bytes whatever the threads.

use crate::support::{TestEnv, repository};
use serde_json::Value;
use std::collections::BTreeSet;

fn bundled(env: &TestEnv) -> String {
    let (train, dev) = (repository("corpus/train.json"), repository("corpus/dev.json"));
    let words = ["build-index", train.to_str().unwrap(), dev.to_str().unwrap(), "--name", "b"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    train.to_str().unwrap().to_string()
}

fn lines(env: &TestEnv, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(env.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn negatives(examples: &[Value]) -> BTreeSet<String> {
    let all = examples.iter().flat_map(|example| example["negatives"].as_array().unwrap());
    all.map(|negative| negative["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn threads_change_nothing_and_the_screen_counts_everything() {
    let env = TestEnv::new();
    let train = bundled(&env);
    let source = "mix:sparse=.5,dense=.3,random=.2";
    let mine = |threads: &str, file: &str| {
        let words = ["mine-negatives", "b", "--data", &train, "--source", source, "--sampling", "softmax"];
        let rest = ["--relative-margin", "auto", "--audit", &format!("{file}.json"), "-o", file];
        let mut command = env.command();
        let output = command.env("PARALLAX_THREADS", threads).args(words).args(rest).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let screen = mine("1", "one.jsonl");
    mine("2", "two.jsonl");
    let bytes = |name: &str| std::fs::read(env.path(name)).unwrap();
    assert_eq!(bytes("one.jsonl"), bytes("two.jsonl"));
    assert_eq!(bytes("one.jsonl.tsv"), bytes("two.jsonl.tsv"));
    let examples = lines(&env, "one.jsonl");
    assert!(examples.len() > 100 && screen.contains(&format!("questions {:>}", "")), "{screen}");
    assert!(screen.contains("holds an answer") && screen.contains("relative margin of sparse"), "{screen}");
    let report: Value = serde_json::from_slice(&bytes("one.jsonl.json")).unwrap();
    let outcomes: u64 = report["outcomes"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(outcomes, report["queries"].as_u64().unwrap());
    assert_eq!(report["examples"], examples.len());
    for filters in report["filters"].as_array().unwrap() {
        let of = |key: &str| filters[key].as_u64().unwrap();
        let kept = ["offered", "survived", "mined", "source"];
        let filtered: u64 = filters
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| !kept.contains(&key.as_str()))
            .map(|(_, n)| n.as_u64().unwrap())
            .sum();
        assert_eq!(of("offered"), of("survived") + filtered, "{filters}");
    }
}

/// A collection in which the best negative of the training question answers the question of another split.
fn beir(env: &TestEnv) {
    let passage = |id: &str, text: &str| format!("{{\"_id\": \"{id}\", \"title\": \"\", \"text\": \"{text}\"}}\n");
    let corpus = [
        passage("gold", "the red fox sleeps in the barn"),
        passage("test", "the red fox hunts in the barn at night"),
        passage("dev", "the red fox drinks near the barn"),
        passage("other", "the red barn burns"),
    ];
    env.write("beir/corpus.jsonl", corpus.concat());
    let query = |id: &str| format!("{{\"_id\": \"{id}\", \"text\": \"where does the red fox sleep in the barn\"}}\n");
    env.write("beir/queries.jsonl", [query("q1"), query("q2"), query("q3")].concat());
    for (split, query, passage) in [("train", "q1", "gold"), ("test", "q2", "test"), ("dev", "q3", "dev")] {
        let text = format!("query-id\tcorpus-id\tscore\n{query}\t{passage}\t1\n");
        env.write(&format!("beir/qrels/{split}.tsv"), text);
    }
    env.ok("build-index beir --name fox --encoder none");
}

#[test]
fn held_out_splits_are_protected_unless_told_otherwise() {
    let env = TestEnv::new();
    beir(&env);
    let mine = |words: &str| {
        env.ok(&format!("mine-negatives fox --data beir -o e.jsonl {words}"));
        negatives(&lines(&env, "e.jsonl")).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(mine(""), ["other"], "train is mined, test and dev are kept out");
    assert_eq!(mine("--no-protect"), ["dev", "other", "test"]);
    assert_eq!(mine("--split test"), ["gold", "other"], "what is trained on needs no shelter");
    env.write("apart/corpus.jsonl", "{\"_id\": \"gold\", \"text\": \"x\"}\n");
    env.write("apart/queries.jsonl", "{\"_id\": \"q9\", \"text\": \"x\"}\n");
    env.write("apart/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq9\tother\t1\n");
    assert_eq!(mine("--protect apart"), ["dev", "test"]);
    assert_eq!(mine("--protect apart beir"), Vec::<String>::new());
}

#[test]
fn other_tools_get_their_own_layouts() {
    let env = TestEnv::new();
    beir(&env);
    for (format, key) in [
        ("dpr", "hard_negative_ctxs"),
        ("tevatron", "negative_passages"),
        ("flagembedding", "\"neg\""),
        ("triplets", "\"negative\""),
        ("n-tuples", "negative_1"),
    ] {
        env.ok(&format!("mine-negatives fox --data beir --negatives 1 --format {format} -o {format}.json"));
        let text = std::fs::read_to_string(env.path(&format!("{format}.json"))).unwrap();
        assert!(text.contains(key) && text.contains("the red barn burns"), "{format}: {text}");
    }
    env.ok("mine-negatives fox --pseudo all --negatives 0 -o pairs.jsonl");
    assert_eq!(lines(&env, "pairs.jsonl").len(), 0, "these passages have neither title nor two sentences");
}

#[test]
fn refusals_say_what_to_do() {
    let env = TestEnv::new();
    beir(&env);
    let refused = |words: &str, code: i32, said: &str| {
        let outcome = env.run(&format!("mine-negatives fox {words} -o e.jsonl"));
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (code, true), "{words}: {}", outcome.stderr);
        assert!(!env.path("e.jsonl").exists());
    };
    refused("--data beir --source dense", 2, "needs a dense side");
    refused("--data beir --source mix:sparse=.5,bm25=.5", 2, "no source of negatives");
    refused("--data beir --range 0-5", 2, "no range of ranks");
    refused("--data beir --min-score 3 --max-score 2", 2, "no score lies between");
    refused("--data beir --split valid", 1, "it has dev, test, train");
    refused("--data beir --rescore-drop .5", 2, "--rescore");
    refused("", 2, "--data");
}

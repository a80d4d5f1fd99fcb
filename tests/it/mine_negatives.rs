//! `mine-negatives`: files other tools read, splits that stay apart, the same bytes whatever the threads.

use crate::support::{self, TestEnv, repository};
use serde_json::Value;
use std::collections::BTreeSet;

/// The bundled collection as the index `b`; gives its training questions.
fn bundled(env: &TestEnv) -> String {
    support::bundled(env);
    repository("corpus/train.json").to_str().unwrap().to_string()
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
        let kept = ["offered", "survived", "mined", "mean_rank", "source"];
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
        env.ok(&format!("mine-negatives fox --data beir -o e.jsonl --force {words}"));
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
    assert_eq!(mine("--protect ./beir/../beir"), ["other"], "the mined split is known however it is spelt");
}

#[test]
fn what_is_mined_cannot_be_protected() {
    let env = TestEnv::new();
    let train = bundled(&env);
    let copy = env.write("copy.json", std::fs::read(&train).unwrap());
    let mut named = vec![train.clone(), copy.to_str().unwrap().to_string()];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&train, env.path("link.json")).unwrap();
        named.push("link.json".into());
    }
    for name in &named {
        let words = ["mine-negatives", "b", "--data", &train, "--protect", name, "-o", "e.jsonl"];
        let outcome = env.run_words(&words);
        assert_eq!(
            (outcome.code, outcome.stderr.contains("need negatives, not shelter")),
            (2, true),
            "{}",
            outcome.stderr
        );
        assert!(!env.path("e.jsonl").exists());
    }
    // A set that is mined in part is protected, and said to be so.
    beir(&env);
    env.write("part.tsv", "query-id\tcorpus-id\tscore\nq1\tgold\t1\nq2\ttest\t1\n");
    let outcome = env.run("mine-negatives fox --queries beir/queries.jsonl --qrels part.tsv --protect beir -o e.jsonl");
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(negatives(&lines(&env, "e.jsonl")).into_iter().collect::<Vec<_>>(), ["gold", "other", "test"]);
}

#[test]
fn nothing_is_written_over() {
    let env = TestEnv::new();
    beir(&env);
    let queries = std::fs::read(env.path("beir/queries.jsonl")).unwrap();
    let refused = |words: &str, said: &str| {
        let outcome = env.run(&format!("mine-negatives fox {words}"));
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (2, true), "{words}: {}", outcome.stderr);
    };
    let own = "belongs to";
    refused("--data beir --force -o beir/queries.jsonl", own);
    refused("--data beir --force -o ./beir/../beir/qrels/test.tsv", own);
    refused("--data beir --force -o indexes/fox/new.jsonl", "belongs to the index");
    refused("--data beir --force -o e.jsonl --audit beir/corpus.jsonl", own);
    refused("--queries beir/queries.jsonl --qrels beir/qrels/train.tsv --force -o beir/queries.jsonl", "`--queries`");
    refused("--data beir -o e.jsonl --audit ./e.jsonl", "is the file of both");
    refused("--data beir -o e.tsv --audit e.json", "the sheet of `--audit`");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(env.path("beir/queries.jsonl"), env.path("link.jsonl")).unwrap();
        refused("--data beir --force -o link.jsonl", own);
    }
    env.write("old.jsonl", "old");
    refused("--data beir -o old.jsonl", "--force");
    refused("--data beir -o e.jsonl --audit old.jsonl", "--force");
    refused("--data beir -o indexes --force", "not a file");
    // Known before anything is mined, and nothing is left of what had been begun.
    let outcome = env.run("mine-negatives fox --data beir -o e.jsonl --audit absent/audit.json");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
    assert_eq!(std::fs::read(env.path("old.jsonl")).unwrap(), b"old");
    assert_eq!(std::fs::read(env.path("beir/queries.jsonl")).unwrap(), queries);
    let left = std::fs::read_dir(env.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.contains("e.jsonl") && !name.contains(".tmp-")));
    env.ok("mine-negatives fox --data beir -o old.jsonl --force");
    assert_eq!(lines(&env, "old.jsonl").len(), 1);
}

#[test]
fn no_example_is_an_error_and_no_file() {
    let env = TestEnv::new();
    beir(&env);
    let refused = |words: &str, said: &str| {
        let outcome = env.run(&format!("mine-negatives fox {words} -o e.jsonl --audit a.json"));
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (1, true), "{words}: {}", outcome.stderr);
        assert!(!env.path("e.jsonl").exists() && !env.path("a.json").exists() && !env.path("a.tsv").exists());
    };
    refused("--data beir --negatives 9 --format n-tuples", "1 examples with fewer than 9 negatives, left out");
    refused("--data beir --negatives 9 --shortfall drop", "1 left out: too few survived");
    refused("--pseudo all --negatives 0", "neither titles nor two sentences");
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
    refused("--data beir --negatives 4000000000", 2, "more than can be mined");
    refused(&format!("--data beir --depth {}", u64::MAX), 2, "deeper than lists are searched");
    refused(&format!("--data beir --range 1-{}", u64::MAX), 2, "deeper than lists are searched");
    refused("--data beir --range 0-5", 2, "no range of ranks");
    refused("--data beir --min-score 3 --max-score 2", 2, "no score lies between");
    refused("--data beir --split valid", 1, "it has dev, test, train");
    refused("--data beir --rescore-drop .5", 2, "--rescore");
    refused("", 2, "--data");
}

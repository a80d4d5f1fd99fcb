//! `compare --diagnose`: causes on the screen and as JSON lines.

use crate::support::TestEnv;
use serde_json::Value;

/// Three questions: a miss by length, a miss by a twin, and one that is found.
fn planted(env: &TestEnv) {
    let passage = |id: &str, text: &str| format!("{{\"_id\": \"{id}\", \"text\": \"{text}\"}}\n");
    let long = format!("red fox red fox {}", "and so on it went ".repeat(40));
    let twin: String = (0..40).map(|i| format!("word{i} ")).collect();
    let mut corpus: String =
        (0..20).map(|i| passage(&format!("o{i}"), &format!("nothing number {i} is said"))).collect();
    for (id, text) in [("gold", long.as_str()), ("short", "red fox"), ("a", &twin), ("z", &twin), ("moon", "the moon")]
    {
        corpus += &passage(id, text);
    }
    env.write("beir/corpus.jsonl", corpus);
    let query = |id: &str, text: &str| format!("{{\"_id\": \"{id}\", \"text\": \"{text}\"}}\n");
    let queries = [query("q1", "red fox"), query("q2", "word3 word7"), query("q3", "moon")];
    env.write("beir/queries.jsonl", queries.concat());
    env.write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\tgold\t1\nq2\ta\t1\nq3\tmoon\t1\n");
    env.ok("build-index beir --name fox --encoder none");
}

#[test]
fn causes_are_counted_and_listed() {
    let env = TestEnv::new();
    planted(&env);
    let compare =
        "compare fox --data beir --system bm25,bm25(b=0) --measure R@5 --diagnose misses.jsonl --diagnose-at 1";
    let screen = env.ok(compare);
    let screen = screen.split_once("misses of").unwrap().1;
    insta::assert_snapshot!(screen.trim_start(), @r"
    3 at 1                bm25  bm25(b=0)
    missed                             2          1
      a twin of gold is among them     1          1
      found without length (b = 0)     1          –
    a miss counts once, under its main cause; in brackets all that have the cause

    where one side finds what another misses; * is gold, + holds an answer

    q1: red fox
    gold gold: red fox red fox and so on it went and so on it went and so on it…
    bm25(b=0): gold at 1                     bm25: gold at 2
    1 * gold red fox red fox and so on…      1   short red fox
    2   short red fox                        2 * gold red fox red fox and so on…
      bm25 · found without length (b = 0): at 1 with b = 0; the passage has 84
      terms, the mean is 10
    ");
    let text = std::fs::read_to_string(env.path("misses.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["query"].as_str().unwrap()).collect::<Vec<_>>(), ["q1", "q2"]);
    let system = &lines[0]["systems"][0];
    assert_eq!((system["cause"].as_str(), system["rank"].as_u64()), (Some("length"), Some(2)));
    assert_eq!((&system["top"][0]["id"], &system["top"][1]["gold"]), (&Value::from("short"), &Value::from(true)));
    assert_eq!(lines[1]["systems"][1]["cause"], "duplicate");
    assert_eq!(lines[1]["gold"], serde_json::json!(["a"]));
    // Nothing is missed further down.
    let found = env.ok(&compare.replace("--diagnose-at 1", "--diagnose-at 5"));
    assert!(found.contains("misses of 3 at 5") && std::fs::read(env.path("misses.jsonl")).unwrap().is_empty());
}

#[test]
fn every_line_fits_a_terminal_of_eighty_columns() {
    use unicode_width::UnicodeWidthStr;
    let env = TestEnv::new();
    let (train, dev) = (crate::support::repository("corpus/train.json"), crate::support::repository("corpus/dev.json"));
    let (train, dev) = (train.to_str().unwrap(), dev.to_str().unwrap());
    assert_eq!(env.run_words(&["build-index", train, dev, "--name", "b"]).code, 0);
    let compare = |threads: &str, file: &str| {
        let words = ["compare", "b", "--data", dev, "--diagnose", file, "--diagnose-at", "1", "--threads", threads];
        let outcome = env.run_words(&words);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        outcome.stdout
    };
    let (one, two) = (compare("1", "one.jsonl"), compare("2", "two.jsonl"));
    let causes = |screen: &str| screen.split_once("misses of").unwrap().1.to_string();
    assert_eq!(causes(&one), causes(&two));
    let bytes = |name: &str| std::fs::read(env.path(name)).unwrap();
    assert!(bytes("one.jsonl").len() > 1000 && bytes("one.jsonl") == bytes("two.jsonl"));
    for line in causes(&one).lines() {
        assert!(line.width() <= 80, "{}: {line}", line.width());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let env = TestEnv::new();
    planted(&env);
    for (words, said) in [
        ("--diagnose x.jsonl --diagnose-at 0", "1 to 100"),
        ("--diagnose x.jsonl --diagnose-at 101", "1 to 100"),
        ("--diagnose-at 5", "--diagnose"),
    ] {
        let outcome = env.run(&format!("compare fox --data beir {words}"));
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (2, true), "{words}: {}", outcome.stderr);
    }
    let outcome = env.run("compare fox --data beir --diagnose absent/x.jsonl");
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("absent"), "{}", outcome.stderr);
}

//! `audit`: planted faults, and the gate.

use crate::support::{TestEnv, needed};
use serde_json::Value;

/// Two passages of which one has a twin, a question that training asks too, and a gold passage that is nowhere.
fn planted(env: &TestEnv) {
    let passage = |id: &str, text: &str| format!("{{\"_id\": \"{id}\", \"text\": \"{text}\"}}\n");
    let corpus = [passage("a", "the red fox sleeps"), passage("b", "The red fox sleeps!"), passage("c", "the moon")];
    env.write("beir/corpus.jsonl", corpus.concat());
    let query = |id: &str, text: &str| format!("{{\"_id\": \"{id}\", \"text\": \"{text}\"}}\n");
    let queries = [query("q1", "where does the fox sleep"), query("q2", "what shines"), query("t1", "What shines?")];
    env.write("beir/queries.jsonl", queries.concat());
    env.write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tgone\t1\n");
    env.write("beir/qrels/train.tsv", "query-id\tcorpus-id\tscore\nt1\tc\t1\n");
    env.ok("build-index beir --name fox --encoder none");
}

#[test]
fn faults_are_on_the_screen_in_json_and_at_the_gate() {
    let env = TestEnv::new();
    planted(&env);
    let screen = env.ok("audit fox --data beir --train beir");
    insta::assert_snapshot!(screen, @r"
    questions 2, passages 3, questions in training 1

    wrong gold passages not in the index            1  of 2   50.0 %
    wrong gold passages with an unjudged twin       1  of 1  100.0 %
    wrong questions asked in training               1  of 2   50.0 %
    know  questions without a known answer          2  of 2  100.0 %
    know  passages that repeat another one          1  of 3   33.3 %
    know  unjudged in the first ten of BM25         1  of 2   50.0 %
    fine  questions without a word                  0  of 2    0.0 %
    fine  questions asked again with other gold     0  of 2    0.0 %
    fine  questions without a gold passage          0  of 2    0.0 %
    fine  gold passages with an unjudged near twin  0  of 1    0.0 %
    fine  questions whose gold lacks the answer     0  of 0    0.0 %
    fine  questions nearly asked in training        0  of 2    0.0 %
    fine  questions with an answer of training      0  of 0    0.0 %
    fine  gold passages that are gold in training   0  of 2    0.0 %
    fine  gold passages nearly gold in training     0  of 2    0.0 %
    fine  passages that nearly repeat another one   0  of 3    0.0 %

    gold passages not in the index (1 question has no other)
      no system can find them, so recall cannot reach 1
      → index the collection the questions were judged on
      `gone`

    gold passages with an unjudged twin (1 question, 1 twin)
      an unjudged twin of the gold passage is as right as the gold, and counts as
      wrong
      → build the index with `--dedup exact`, or judge the twins
      `a` and `b`

    questions asked in training
      a trained model has been told these answers: its figures say what it remembers
      → take them out of the training set
      `q2` and training's `t1`

    questions without a known answer
      answer measures leave them out
      → none, unless they should have some
      `q1`
      `q2`

    passages that repeat another one
      they take places in every ranking, and twins of gold count as wrong
      → build the index with `--dedup exact`
      `a` and `b`

    unjudged in the first ten of BM25
      what nobody judged counts as wrong, though some of it may be right
      → judge the first ten of each system, or read answer measures beside
    ");
    let json = env.ok("audit fox --data beir --train beir --json -");
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((found["faults"].as_u64(), found["training_questions"].as_u64()), (Some(3), Some(1)));
    let gated = env.run("audit fox --data beir --train beir --gate --json audit.json");
    assert_eq!((gated.code, gated.stdout), (3, screen));
    assert!(gated.stderr.contains("gold passages with an unjudged twin"), "{}", gated.stderr);
    let written: Value = serde_json::from_slice(&std::fs::read(env.path("audit.json")).unwrap()).unwrap();
    assert_eq!(written["findings"], found["findings"]);
    // Mended, the gate lets it pass.
    env.write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\tb\t1\n");
    env.ok("audit fox --data beir --gate");
}

#[test]
fn refusals_say_what_to_do() {
    let env = TestEnv::new();
    planted(&env);
    for (words, code, said) in [
        ("audit fox", 2, "--data"),
        ("audit fox --data beir --train-split dev", 2, "--train"),
        ("audit foxe --data beir", 1, "did you mean `fox`"),
        ("audit fox --data beir --train beir --train-split dev", 1, "test, train"),
    ] {
        let outcome = env.run(words);
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (code, true), "{words}: {}", outcome.stderr);
    }
}

#[test]
fn squad_has_near_twins_and_questions_of_training() {
    let Some(data) = needed("PARALLAX_TEST_DATA", "an audit of SQuAD") else { return };
    let env = TestEnv::new();
    let (train, dev) = (data.join("squad/train-v1.1.json.gz"), data.join("squad/dev-v1.1.json.gz"));
    let (train, dev) = (train.to_str().unwrap(), dev.to_str().unwrap());
    let words = ["build-index", train, dev, "--name", "squad", "--encoder", "none"];
    assert_eq!(env.run_words(&words).code, 0);
    let outcome = env.run_words(&["audit", "squad", "--data", dev, "--train", train, "--json", "-"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let finding = |name: &str| {
        let findings = found["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == name).unwrap()["count"].as_u64().unwrap()
    };
    // Counted by a script that compares the words of all questions, and of all answers, with each other.
    assert_eq!((finding("seen-questions"), finding("seen-answers")), (8, 3_577));
    // Two paragraphs of `Immunology` repeat two of `Immune_system`, but for a few words.
    assert_eq!((finding("gold-near-twins"), finding("gold-twins")), (2, 0));
}

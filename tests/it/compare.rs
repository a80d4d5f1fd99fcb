//! `compare`: measures that agree with trec_eval, and runs that travel.

use crate::support::{TestEnv, needed, repository};
use serde_json::Value;
use std::process::Command;

fn bundled(env: &TestEnv) -> String {
    let (train, dev) = (repository("corpus/train.json"), repository("corpus/dev.json"));
    let words = ["build-index", train.to_str().unwrap(), dev.to_str().unwrap(), "--name", "b"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    dev.to_str().unwrap().to_string()
}

fn report(env: &TestEnv, words: &[&str]) -> Value {
    let outcome = env.run_words(&[words, &["--json", "-"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn mean(report: &Value, system: usize, measure: &str) -> f64 {
    report["systems"][system]["measures"][measure]["mean"].as_f64().unwrap()
}

#[test]
fn hybrid_beats_both_sides_on_the_bundled_questions() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let report = report(&env, &["compare", "b", "--data", &dev]);
    let names: Vec<&str> = report["systems"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bm25", "tfidf", "dense", "hybrid"]);
    assert!(mean(&report, 3, "R@20") >= mean(&report, 0, "R@20"), "{report}");
    assert_eq!(report["missing_gold"], 0);
    assert_eq!(report["ann_recall"]["k"], 10);
    assert!(report["ann_recall"]["mean"].as_f64().unwrap() > 0.95);
    // Half of the questions hinge on a name or a number.
    assert!(mean(&report, 0, "R@1") > 0.4);
    // Strict matching undercounts Korean answers; the Korean-aware one never finds fewer.
    assert!(mean(&report, 0, "answer-recall(korean)@20") > mean(&report, 0, "answer-recall@20"));
}

#[test]
fn a_run_file_measures_as_the_system_that_wrote_it() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let first = report(&env, &["compare", "b", "--data", &dev, "--system", "bm25,hybrid", "--runs", "runs"]);
    let again = report(&env, &["compare", "b", "--data", &dev, "--system", "run:runs/bm25.trec,run:runs/hybrid.trec"]);
    for system in [0, 1] {
        assert_eq!(first["systems"][system]["measures"], again["systems"][system]["measures"]);
        assert_eq!(first["systems"][system]["name"], again["systems"][system]["name"]);
    }
}

#[test]
fn a_baseline_gives_each_other_system_its_paired_difference() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let words =
        ["compare", "b", "--data", &dev, "--system", "bm25,hybrid", "--runs", "runs", "--measure", "R@5,nDCG@10"];
    let plain = report(&env, &words);
    assert!(plain.get("baseline").is_none() && plain["systems"][1].get("differences").is_none());
    let found = report(&env, &[&words[..], &["--baseline", "bm25"]].concat());
    assert_eq!((found["baseline"].as_str(), found["systems"][0].get("differences")), (Some("bm25"), None));
    for measure in ["R@5", "nDCG@10"] {
        let difference = &found["systems"][1]["differences"][measure];
        let between = mean(&found, 1, measure) - mean(&found, 0, measure);
        let at = |i: usize| difference["interval"][i].as_f64().unwrap();
        assert!((difference["mean"].as_f64().unwrap() - between).abs() < 1e-12, "{difference}");
        assert!(at(0) <= between && between <= at(1) && at(0) < at(1), "{difference}");
        assert_eq!(difference["n"], found["judged"]);
    }
    // The same run from a file, named as it was written, is no different.
    let again =
        ["compare", "b", "--data", &dev, "--system", "bm25,run:runs/bm25.trec", "--baseline", "run:runs/bm25.trec"];
    let same = report(&env, &again);
    assert_eq!(same["systems"][0]["differences"]["R@5"]["interval"], serde_json::json!([0.0, 0.0]));
    let screen = env.run_words(&again).stdout;
    assert!(
        screen.contains("difference to run:runs/bm25.trec") && screen.contains("+.0000 [+.0000, +.0000]"),
        "{screen}"
    );
    let wrong = env.run_words(&[&words[..], &["--baseline", "tfidf"]].concat());
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("`tfidf` is none") && wrong.stderr.contains("`bm25`, `hybrid`"), "{}", wrong.stderr);
}

#[test]
fn runs_of_one_tag_are_told_apart_by_their_files() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    report(&env, &["compare", "b", "--data", &dev, "--system", "bm25", "--runs", "runs"]);
    std::fs::copy(env.path("runs/bm25.trec"), env.path("runs/twin.trec")).unwrap();
    let systems = "bm25,run:runs/bm25.trec,run:runs/twin.trec";
    let found = report(&env, &["compare", "b", "--data", &dev, "--system", systems]);
    let names: Vec<&str> = found["systems"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bm25", "run:runs/bm25.trec", "run:runs/twin.trec"]);
}

#[test]
fn a_data_set_of_another_collection_is_refused() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    env.write("other.jsonl", "{\"_id\": \"a\", \"text\": \"alpha\"}\n");
    env.ok("build-index other.jsonl --name other");
    let refused = env.run_words(&["compare", "other", "--data", &dev]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("another collection"), "{}", refused.stderr);
}

#[test]
fn queries_and_qrels_apart_measure_as_one_data_set() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    env.ok(&format!("convert {dev} --to beir -o beir"));
    let whole = report(&env, &["compare", "b", "--data", &dev, "--system", "bm25", "--measure", "nDCG@10,R@5"]);
    let qrels = std::fs::read_dir(env.path("beir/qrels")).unwrap().next().unwrap().unwrap().path();
    let apart = report(
        &env,
        &[
            "compare",
            "b",
            "--queries",
            "beir/queries.jsonl",
            "--qrels",
            qrels.to_str().unwrap(),
            "--system",
            "bm25",
            "--measure",
            "nDCG@10,R@5",
        ],
    );
    assert_eq!(whole["systems"][0]["measures"], apart["systems"][0]["measures"]);
}

#[test]
fn trec_eval_computes_the_same_from_our_runs() {
    let Some(packages) = needed("PARALLAX_TEST_TREC", "parity with trec_eval's own code") else { return };
    let env = TestEnv::new();
    let dev = bundled(&env);
    let measures = "nDCG@10,R@5,R@100,AP,RR,P@5,Success@10";
    let words = ["compare", "b", "--data", &dev, "--system", "bm25,dense", "--measure", measures, "--runs", "runs"];
    let ours = report(&env, &words);
    env.ok(&format!("convert {dev} --to beir -o beir"));
    let script = env.write("eval.py", EVAL);
    let qrels = std::fs::read_dir(env.path("beir/qrels")).unwrap().next().unwrap().unwrap().path();
    for (i, system) in ["bm25", "dense"].into_iter().enumerate() {
        let output = Command::new("python3")
            .env("PYTHONPATH", &packages)
            .args([script.as_os_str(), qrels.as_os_str(), env.path(&format!("runs/{system}.trec")).as_os_str()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut compared = 0;
        for (query, values) in ours["systems"][i]["per_query"].as_object().unwrap() {
            for (measure, value) in values.as_object().unwrap() {
                let their = theirs[query][measure].as_f64().unwrap_or(0.0);
                assert!((value.as_f64().unwrap() - their).abs() < 1e-9, "{system} {query} {measure}: {value} {their}");
                compared += 1;
            }
        }
        assert!(compared > 1000, "{compared}");
    }
}

/// Measures a TREC run with pytrec_eval: per query, under ir_measures' names.
const EVAL: &str = r#"
import json, sys, pytrec_eval
qrels, run = {}, {}
for line in open(sys.argv[1], encoding="utf-8").read().splitlines()[1:]:
    q, d, g = line.split("\t")
    qrels.setdefault(q, {})[d] = int(g)
for line in open(sys.argv[2], encoding="utf-8"):
    q, _, d, _, s, _ = line.split(" ")
    run.setdefault(q, {})[d] = float(s)
names = {"nDCG@10": "ndcg_cut_10", "R@5": "recall_5", "R@100": "recall_100", "AP": "map", "RR": "recip_rank",
         "P@5": "P_5", "Success@10": "success_10"}
kinds = {"ndcg_cut.10", "recall.5,100", "map", "recip_rank", "P.5", "success.10"}
result = pytrec_eval.RelevanceEvaluator(qrels, kinds).evaluate(run)
print(json.dumps({q: {ours: v[theirs] for ours, theirs in names.items()} for q, v in result.items()}))
"#;

#[test]
fn the_scifact_baseline_is_the_published_one() {
    let Some(data) = needed("PARALLAX_TEST_DATA", "the SciFact baseline") else { return };
    let env = TestEnv::new();
    let scifact = data.join("scifact");
    let source = scifact.to_str().unwrap();
    let outcome = env.run_words(&["build-index", source, "--name", "scifact"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let found = report(&env, &["compare", "scifact", "--data", source]);
    assert_eq!(found["judged"], 300);
    // Anserini publishes .6789 and .9253 with Porter 1 and its own length encoding.
    assert!(mean(&found, 0, "nDCG@10") >= 0.670, "{}", mean(&found, 0, "nDCG@10"));
    assert!(mean(&found, 0, "R@100") >= 0.905, "{}", mean(&found, 0, "R@100"));
    assert!(mean(&found, 3, "nDCG@10") >= mean(&found, 0, "nDCG@10") - 0.003, "a weak dense side must not drag");
}

#[test]
fn korquad_needs_no_dictionary() {
    let Some(data) = needed("PARALLAX_TEST_DATA", "the KorQuAD baseline") else { return };
    let env = TestEnv::new();
    let korquad = data.join("korquad/KorQuAD_v1.0_dev.json");
    let source = korquad.to_str().unwrap();
    let outcome = env.run_words(&["build-index", source, "--name", "korquad", "--encoder", "none"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let found = report(&env, &["compare", "korquad", "--data", source, "--system", "bm25"]);
    assert_eq!(found["judged"], 5774);
    // Whitespace words give .838, character bigrams .948 in a reference BM25.
    assert!(mean(&found, 0, "nDCG@10") >= 0.945, "{}", mean(&found, 0, "nDCG@10"));
}

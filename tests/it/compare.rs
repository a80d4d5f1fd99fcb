//! `compare`: measures that agree with trec_eval, and runs that travel.

use crate::support::{TestEnv, bundled, needed, repository};
use serde_json::Value;
use std::process::Command;

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
fn trec_eval_s_spellings_name_the_same_measures() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let of = |measures: &str| {
        report(&env, &["compare", "b", "--data", &dev, "--system", "bm25", "--no-cost", "--measure", measures])["systems"]
            .clone()
    };
    let (ours, theirs) = (of("nDCG@10,R@5,RR,AP,P@5"), of("ndcg_cut.10,recall_5,recip_rank,map,P.5"));
    assert_eq!((&ours[0]["measures"], &ours[0]["per_query"]), (&theirs[0]["measures"], &theirs[0]["per_query"]));
}

#[test]
fn a_question_that_is_a_passage_does_not_find_itself() {
    let env = TestEnv::new();
    env.write(
        "data/corpus.jsonl",
        "{\"_id\": \"a\", \"text\": \"the moon and the tides\"}\n{\"_id\": \"b\", \"text\": \"tides of the sea\"}\n\
         {\"_id\": \"c\", \"text\": \"bread and butter\"}\n",
    );
    env.write("data/queries.jsonl", "{\"_id\": \"a\", \"text\": \"the moon and the tides\"}\n");
    env.write("data/qrels/test.tsv", "query-id\tcorpus-id\tscore\na\tb\t1\n");
    env.ok("build-index data --name x --encoder none");
    let first = |flag: &[&str]| {
        let words = ["compare", "x", "--data", "data", "--system", "bm25", "--measure", "RR@10", "--runs", "runs"];
        let found = report(&env, &[&words[..], flag].concat());
        (mean(&found, 0, "RR@10"), std::fs::read_to_string(env.path("runs/bm25.trec")).unwrap())
    };
    let (with, run) = first(&[]);
    assert!(with == 0.5 && run.contains("a Q0 a 1"), "{with} {run}");
    let (without, run) = first(&["--drop-query-id"]);
    assert!(without == 1.0 && run.contains("a Q0 b 1") && !run.contains("Q0 a"), "{without} {run}");
    // The written run with its own id still in it measures the same.
    first(&[]);
    let words =
        ["compare", "x", "--data", "data", "--system", "run:runs/bm25.trec", "--drop-query-id", "--measure", "RR@10"];
    assert_eq!(mean(&report(&env, &words), 0, "RR@10"), 1.0);
    assert!(env.run_words(&words).stdout.contains("query's own id are dropped"));
    // Where no question is a passage nothing changes, nor is anything joined from deeper lists.
    let dev = bundled(&env);
    let words = ["compare", "b", "--data", &dev, "--system", "hybrid", "--no-cost"];
    let flagged = report(&env, &[&words[..], &["--drop-query-id"]].concat());
    assert_eq!(report(&env, &words)["systems"][0]["per_query"], flagged["systems"][0]["per_query"]);
}

#[test]
fn marks_say_what_is_proven_and_every_line_fits_the_screen() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let first = ["compare", "b", "--data", &dev, "--system", "bm25,hybrid", "--runs", "runs", "--no-cost"];
    env.run_words(&first);
    // A system that ranks everything the other way round.
    let run = std::fs::read_to_string(env.path("runs/bm25.trec")).unwrap();
    let turned: Vec<String> = run
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} Q0 {} {} -{} turned", words[0], words[2], words[3], words[4])
        })
        .collect();
    env.write("turned.trec", turned.join("\n"));
    let words =
        ["compare", "b", "--data", &dev, "--system", "bm25,run:turned.trec,hybrid", "--baseline", "bm25", "--no-cost"];
    let screen = env.run_words(&words).stdout;
    let row = |name: &str| screen.lines().find(|line| line.starts_with(name)).unwrap().to_string();
    let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    // Of what is within the first hundred, all of it is still there; everything else is worse.
    assert_eq!(row("turned").matches('-').count(), 6, "{screen}");
    assert!(!row("bm25").contains(['+', '-']), "{screen}");
    assert!(words.contains("+ better, - worse than bm25: p < .05") && words.contains("Holm-corrected for 2 systems"));
    assert!(words.contains("95 % interval") && words.contains("questions can show "), "{screen}");
    assert!(words.contains("absent ones count 0 (trec_eval -c)") && !screen.contains("\ncost "), "{screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn cost_stands_beside_quality_and_can_be_left_out() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let words = ["compare", "b", "--data", &dev, "--system", "bm25,hybrid", "--measure", "R@5"];
    let screen = env.run_words(&words).stdout;
    let cost = screen.split("\ncost ").nth(1).unwrap();
    let row = |name: &str| cost.lines().find(|line| line.starts_with(name)).unwrap();
    // Bytes, two latencies, questions a second on one thread.
    assert!(row("bm25").contains(" kB") && row("bm25").matches("[time]").count() == 2, "{screen}");
    assert!(row("bm25").split_whitespace().count() >= 6, "{screen}");
    assert!(cost.contains("index: sparse") && cost.contains("built in [time]"), "{screen}");
    #[cfg(target_os = "linux")]
    assert!(cost.contains("peak memory of this comparison"), "{screen}");
    let without = env.run_words(&[&words[..], &["--no-cost"]].concat()).stdout;
    assert!(!without.contains("peak memory") && !without.contains("[time]"), "{without}");
    let manifest: Value = serde_json::from_str(&env.ok("info b --json")).unwrap();
    assert!(manifest["build_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn slices_tell_kinds_of_questions_apart() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let words = ["compare", "b", "--data", &dev, "--system", "bm25,dense", "--no-cost", "--slices"];
    let screen = env.run_words(&words).stdout;
    for name in ["question length", "words shared with gold", "question word", "script", "  Hangul", "  who", "  누구"]
    {
        assert!(screen.contains(&format!("\n{name}")), "{name}: {screen}");
    }
    assert!(!screen.contains("in training"), "{screen}");
    // Where the gold passage has the question's words, BM25 finds it; where it has none, it cannot.
    let figure = |name: &str, column: usize| {
        let row = screen.lines().find(|line| line.starts_with(&format!("  {name} "))).unwrap().to_string();
        let words: Vec<&str> = row.split_whitespace().collect();
        words[words.len() - column].parse::<f64>().unwrap()
    };
    assert!(figure("under a quarter", 2) < figure("more", 2), "{screen}");
    let train = repository("corpus/train.json");
    let seen = |train: &str| env.run_words(&[&words[..7], &["--train", train]].concat()).stdout;
    let other = seen(train.to_str().unwrap());
    assert!(other.contains("question in training: new") && other.contains("gold passage in training: new"), "{other}");
    let same = seen(&dev);
    assert!(same.contains("question in training: seen") && same.contains("gold passage in training: seen"), "{same}");
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

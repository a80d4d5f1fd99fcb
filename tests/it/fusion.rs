//! Fusion from the command line: engines' ways, tuning on judged questions, and the file that carries its result.

use crate::support::{TestEnv, bundled, needed, repository};
use parallax::fusion::predict::FEATURES;
use serde_json::{Value, json};

fn mean(report: &Value, system: usize) -> f64 {
    report["systems"][system]["measures"]["nDCG@10"]["mean"].as_f64().unwrap()
}

#[test]
fn an_engine_s_way_answers_and_is_compared_and_unknown_ones_are_answered_with_the_list() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let ask = |fusion: &str| {
        let words = ["query", "b", "which planet has rings", "--fusion", fusion, "--json", "-k", "3"];
        let outcome = env.run_words(&words);
        assert_eq!(outcome.code, 0, "{fusion}: {}", outcome.stderr);
        serde_json::from_str::<Value>(&outcome.stdout).unwrap()
    };
    // What an engine would make of the two ranks that are shown.
    type OfRanks = fn(f64, f64) -> f64;
    let by_hand: [(&str, OfRanks); 3] = [
        ("haystack-rrf", |s, d| 30.5 / (60.0 + s) + 30.5 / (60.0 + d)),
        ("qdrant-rrf", |s, d| 1.0 / (1.0 + s) + 1.0 / (1.0 + d)),
        ("weaviate-ranked", |s, d| 0.25 / (59.0 + s) + 0.75 / (59.0 + d)),
    ];
    for (fusion, formula) in by_hand {
        let answer = ask(fusion);
        for hit in answer["hits"].as_array().unwrap() {
            let rank = |side: &str| hit[side]["rank"].as_f64().unwrap_or(f64::INFINITY);
            let expected = formula(rank("sparse"), rank("dense"));
            assert!((hit["score"].as_f64().unwrap() - expected).abs() < 1e-9, "{fusion} {expected}: {hit}");
        }
    }
    let systems = "hybrid(rrf),hybrid(weaviate),hybrid(chroma)";
    let words = ["compare", "b", "--data", &dev, "--system", systems, "--measure", "nDCG@10,R@100", "--json", "-"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let recall = |system: usize| report["systems"][system]["measures"]["R@100"]["mean"].as_f64().unwrap();
    // What only one list holds is no candidate there.
    assert!(recall(2) < recall(1), "{report}");
    for words in
        [["query", "b", "x", "--fusion", "weaviat"], ["compare", "b", "--data", &dev, "--system=hybrid(weaviat)"]]
    {
        let refused = env.run_words(&words);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("weaviate-ranked, qdrant-rrf"), "{}", refused.stderr);
    }
    let both = env.run("query b x --fusion weaviate --weight .5");
    assert_eq!(both.code, 2, "{}", both.stderr);
    let built = env.run_words(&["build-index", &dev, "--name", "w", "--fusion", "weaviate"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(env.ok("info w").contains("fusion       weaviate: given with `--fusion`"));
}

#[test]
fn a_tuned_fusion_is_measured_written_taken_and_belongs_to_its_encoder() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    let info = env.ok("info b");
    assert!(info.contains("fusion       per-query(") && info.contains("a weight per query, fitted on 1200"), "{info}");
    assert!(info.contains("questions: 0."), "the weight has an interval");
    // Whoever takes a weight that fits their questions badly is told.
    std::fs::remove_dir_all(env.path("indexes/b")).unwrap();
    let built = env.run_words(&["build-index", &dev, "--name", "b", "--weight", ".1"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let before = std::fs::read(env.path("indexes/b/gen-1/manifest.json")).unwrap();
    let order = ["compare", "b", "--data", &dev, "--tune-fusion", "f.json", "--system", "bm25,hybrid"];
    let alone = env.run_words(&order);
    assert_eq!(alone.code, 2, "systems are compared for a report alone: {}", alone.stdout);
    let tuned = env.run_words(&[&order[..], &["--report", "t.json", "--report", "t.html"]].concat());
    assert_eq!(tuned.code, 0, "{}", tuned.stderr);
    let report: Value = serde_json::from_slice(&std::fs::read(env.path("t.json")).unwrap()).unwrap();
    assert_eq!((&report["tuning"]["verdict"], &report["tuning"]["folds"]), (&"gain".into(), &5.into()));
    assert!(std::fs::read_to_string(env.path("t.html")).unwrap().contains("How the fusion was chosen"));
    // Half of the bundled questions hinge on meaning alone.
    assert!(tuned.stdout.contains("a gain is proven: ") && tuned.stdout.contains("known tokens"), "{}", tuned.stdout);
    assert_eq!(before, std::fs::read(env.path("indexes/b/gen-1/manifest.json")).unwrap(), "a published index stays");
    let file: Value = serde_json::from_slice(&std::fs::read(env.path("f.json")).unwrap()).unwrap();
    let evidence = &file["evidence"];
    assert_eq!((&file["format"], &evidence["measure"], &evidence["folds"]), (&1.into(), &"nDCG@10".into(), &5.into()));
    assert!(evidence["groups"].as_u64().unwrap() < evidence["queries"].as_u64().unwrap());
    assert!(evidence["against_present"]["interval"][0].as_f64().unwrap() > 0.0, "{evidence}");

    // The file is taken everywhere; on the questions it was fitted on it reaches at least what was held out.
    let words = ["compare", "b", "--data", &dev, "--system", "bm25,dense,hybrid,hybrid(f.json)", "--json", "-"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(mean(&report, 3) > evidence["tuned"].as_f64().unwrap() - 0.01, "{report}");
    assert!(mean(&report, 3) > mean(&report, 0).max(mean(&report, 1)).max(mean(&report, 2)));
    // What was tried is what compare measures.
    for (tried, system) in [(0, 0), (1, 1), (4, 2)] {
        let same = (evidence["tried"][tried]["mean"].as_f64().unwrap() - mean(&report, system)).abs() < 0.005;
        assert!(same, "{} {}", evidence["tried"][tried], mean(&report, system));
    }
    // A file with a weight per query says of each question why it has the weight it has.
    let features = FEATURES.map(|(name, _)| (name, json!({"coefficient": 0.5, "mean": 0.2, "spread": 1.0})));
    let features: serde_json::Map<String, Value> =
        features.into_iter().map(|(name, effect)| (name.into(), effect)).collect();
    let mut file = file;
    file["fusion"] = json!({"method": "per-query", "normalizer": "min-max", "intercept": 0.0, "features": features});
    env.write("q.json", file.to_string());
    let explained = env.ok("query b photosynthesis --fusion q.json --explain -k 1");
    let why = explained.lines().find(|line| line.contains("dense weight") && line.contains(" here: ")).unwrap();
    assert_eq!(why.matches("(usually ").count(), 3, "{why}");
    let json: Value = serde_json::from_str(&env.ok("query b photosynthesis --fusion q.json --json -k 1")).unwrap();
    let weight = &json["weight"];
    assert!(
        (0.0..=1.0).contains(&weight["dense"].as_f64().unwrap()) && weight["moved_by"].as_array().unwrap().len() == 11
    );

    let again = env.run_words(&["build-index", &dev, "--name", "t", "--fusion", "q.json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let info = env.ok("info t");
    assert!(info.contains("fusion       per-query(") && info.contains("judged questions: nDCG@10 +"), "{info}");
    let own: Value = serde_json::from_str(&env.ok("query t photosynthesis --json -k 1")).unwrap();
    assert!(own["weight"]["dense"].is_number(), "{own}");

    // Another encoder's scores mean something else.
    let bert = repository("tests/fixtures/encoders/bert");
    let words = ["build-index", &dev, "--name", "o", "--encoder", bert.to_str().unwrap(), "--fusion", "f.json"];
    let refused = env.run_words(&words);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("tuned with the encoder of index `indexes/b`"), "{}", refused.stderr);
    let built =
        env.run_words(&["build-index", &dev, "--name", "o", "--encoder", bert.to_str().unwrap(), "--weight", ".5"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    for words in [
        &["query", "o", "x", "--fusion", "f.json"][..],
        &["compare", "o", "--data", &dev, "--system", "hybrid(f.json)"],
    ] {
        let refused = env.run_words(words);
        assert!(refused.code == 1 && refused.stderr.contains("tune anew"), "{}", refused.stderr);
    }
}

#[test]
fn damaged_files_and_hopeless_questions_are_refused() {
    let env = TestEnv::new();
    let dev = bundled(&env);
    env.write("cut.json", "{\"format\": 1, \"fusion\": {");
    env.write("new.json", "{\"format\": 7}");
    env.write("loose.json", "{\"method\": \"convex\", \"weight\": 3, \"normalizer\": \"min-max\"}");
    for (file, code, what) in
        [("cut.json", 1, "cut.json:1"), ("new.json", 1, "format 7"), ("loose.json", 2, "between 0 and 1")]
    {
        let refused = env.run(&format!("query b x --fusion {file}"));
        assert_eq!(refused.code, code, "{}", refused.stderr);
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
    }
    let refuse = |words: &[&str], what: &str| {
        let refused = env.run_words(words);
        assert!(refused.code != 0 && refused.stderr.contains(what), "{}", refused.stderr);
        assert!(!env.path("f.json").exists());
    };
    let tune = ["compare", "b", "--data", &dev, "--tune-fusion", "f.json"];
    refuse(&[&tune[..], &["--measure", "answer-recall@20"]].concat(), "asks for answers");
    refuse(&[&tune[..], &["--system", "bm25"]].concat(), "compares no systems");
    refuse(&[&tune[..], &["--runs", "r"]].concat(), "cannot be used with");
    env.write("q.jsonl", "{\"_id\": \"q1\", \"text\": \"which planet has rings\"}\n");
    let passage: Value = serde_json::from_str(&env.ok("query b saturn --json -k 1")).unwrap();
    env.write("q.tsv", format!("query-id\tcorpus-id\tscore\nq1\t{}\t1\n", passage["hits"][0]["id"].as_str().unwrap()));
    let few = ["compare", "b", "--queries", "q.jsonl", "--qrels", "q.tsv", "--tune-fusion", "f.json"];
    refuse(&few, "1 judged queries in 1 groups");
}

/// Builds an index with the built-in encoder, tunes on its questions, and gives what was tried with its means.
fn tried(env: &TestEnv, source: &str) -> impl Fn(&str) -> f64 + use<> {
    let built = env.run_words(&["build-index", source, "--name", "x"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let tuned = env.run_words(&["compare", "x", "--data", source, "--tune-fusion", "f.json"]);
    assert_eq!(tuned.code, 0, "{}", tuned.stderr);
    let file: Value = serde_json::from_slice(&std::fs::read(env.path("f.json")).unwrap()).unwrap();
    let tried = file["evidence"]["tried"].as_array().unwrap().clone();
    move |name: &str| {
        let found = tried.iter().find(|tried| tried["name"].as_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("{name} is none of {tried:?}"))["mean"].as_f64().unwrap()
    }
}

#[test]
fn neither_the_default_nor_a_weight_per_query_loses_to_the_better_side() {
    let Some(data) = needed("PARALLAX_TEST_DATA", "fusion against the better side on SciFact and KorQuAD") else {
        return;
    };
    // A dense side that helps, and one far behind words.
    for (name, rrf_loses) in [("scifact", 0.02), ("korquad/KorQuAD_v1.0_dev.json", 0.05)] {
        let env = TestEnv::new();
        let mean = tried(&env, data.join(name).to_str().unwrap());
        let better = mean("sparse alone").max(mean("dense alone"));
        assert!(mean("the index's own") >= better - 0.005, "{name}");
        assert!(mean("per-query weight") >= better - 0.005, "{name}");
        assert!(mean("rrf(k=60)") < better - rrf_loses, "{name}: where a side is weak, ranks alone drag it down");
    }
}

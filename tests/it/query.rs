//! `query`: what is asked, what comes back, and why.

use crate::support::{self, TestEnv};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

/// The bundled collection, built.
fn bundled() -> TestEnv {
    let env = TestEnv::new();
    support::bundled(&env);
    env
}

fn ask(env: &TestEnv, words: &[&str]) -> Value {
    let outcome = env.run_words(&[&["query", "b"], words, &["--json"]].concat());
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn ids(answer: &Value) -> Vec<String> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn a_decomposed_question_finds_the_same_list() {
    let env = bundled();
    let question = "세종대왕이 만든 글자는?";
    let decomposed: String = question.nfd().collect();
    assert_ne!(question, decomposed);
    for mode in ["sparse", "hybrid"] {
        let (a, b) = (ask(&env, &[question, "--mode", mode]), ask(&env, &[&decomposed, "--mode", mode]));
        assert!(!ids(&a).is_empty());
        assert_eq!(a["hits"], b["hits"]);
    }
}

#[test]
fn words_are_text_and_never_a_query_language() {
    let env = bundled();
    for hostile in
        ["((((((", "a AND OR *:*", "title:moon", "\"unclosed", "moon^-1 ~ [a TO", "\\", "-moon +sun", "%00\u{1}"]
    {
        let outcome = env.run_words(&["query", "b", "--json", "--", hostile]);
        assert_eq!(outcome.code, 0, "{hostile}: {}", outcome.stderr);
    }
    let nothing = ask(&env, &["  "]);
    assert!(ids(&nothing).is_empty(), "{nothing}");
    assert_eq!(
        ids(&ask(&env, &["title:saturn", "--mode", "sparse"]))[0],
        ids(&ask(&env, &["title saturn", "--mode", "sparse"]))[0]
    );
}

#[test]
fn the_parts_of_a_score_add_up_to_it() {
    let env = bundled();
    for weighting in ["bm25", "tfidf"] {
        let answer =
            ask(&env, &["how does photosynthesis turn light into sugar", "--explain", "--weighting", weighting]);
        let mut explained = 0;
        for hit in answer["hits"].as_array().unwrap() {
            let sum: f64 = hit["terms"].as_array().unwrap().iter().map(|term| term["score"].as_f64().unwrap()).sum();
            assert!((sum - hit["sparse"]["score"].as_f64().unwrap()).abs() < 1e-4, "{hit}");
            explained += usize::from(sum > 0.0);
        }
        assert!(explained > 3);
    }
}

#[test]
fn every_hit_carries_both_sides_and_top_k_is_a_prefix() {
    let env = bundled();
    let few = ask(&env, &["who built bridges", "-k", "3"]);
    let many = ask(&env, &["who built bridges", "-k", "30"]);
    assert_eq!(ids(&few), ids(&many)[..3]);
    for hit in many["hits"].as_array().unwrap() {
        assert!(hit["sparse"]["score"].is_number() && hit["dense"]["score"].is_number(), "{hit}");
        assert!(hit["sparse"]["rank"].is_number() || hit["dense"]["rank"].is_number(), "{hit}");
    }
    let scores: Vec<f64> = many["hits"].as_array().unwrap().iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]));
    assert_eq!(ids(&ask(&env, &["bridge", "-k", "100000", "--mode", "dense"])).len(), total(&env));
}

fn total(env: &TestEnv) -> usize {
    let manifest: Value = serde_json::from_str(&env.ok("info b --json")).unwrap();
    manifest["collection"]["passages"].as_u64().unwrap() as usize
}

#[test]
fn the_extreme_weights_are_the_sides_alone() {
    let env = bundled();
    let question = "which planet has rings";
    let sparse = ask(&env, &[question, "--mode", "sparse"]);
    let all_sparse = ask(&env, &[question, "--weight", "0"]);
    assert_eq!(ids(&sparse), ids(&all_sparse)[..ids(&sparse).len()]);
    assert_eq!(ids(&ask(&env, &[question, "--mode", "dense"])), ids(&ask(&env, &[question, "--weight", "1"])));
}

#[test]
fn graph_and_exact_agree_on_a_small_collection() {
    let env = bundled();
    let question = "an animal that finds its way by sound";
    assert_eq!(ask(&env, &[question])["hits"], ask(&env, &[question, "--exact"])["hits"]);
}

#[test]
fn many_questions_at_once_answer_as_one_by_one() {
    let env = bundled();
    env.write("q.tsv", "q1\twhich planet has rings\nq2\twho invented the telegraph\n");
    let batch = env.ok("query b --queries q.tsv --json -k 5");
    let lines: Vec<Value> = batch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["query_id"], "q2");
    assert_eq!(ids(&lines[0]), ids(&ask(&env, &["which planet has rings", "-k", "5"])));
    let trec = env.ok("query b --queries q.tsv --format trec -k 5");
    assert_eq!(trec.lines().count(), 10);
    let fields: Vec<&str> = trec.lines().next().unwrap().split(' ').collect();
    assert_eq!((fields.len(), fields[0], fields[1], fields[3], fields[5]), (6, "q1", "Q0", "1", "parallax-hybrid"));
    let piped = env.run_with_input("query b --queries - --json -k 5", "which planet has rings\n");
    let piped: Value = serde_json::from_str(&piped.stdout).unwrap();
    assert_eq!(ids(&piped), ids(&lines[0]));
}

#[test]
fn a_screen_shows_rank_and_score_of_both_sides() {
    let env = bundled();
    let screen = env.run_words(&["query", "b", "훈민정음", "-k", "2", "--explain"]).stdout;
    for place in ["bm25 #1 ", "bm25 #2 ", "dense #1 ", "dense #2 "] {
        assert!(screen.contains(place), "{screen}");
    }
    assert!(!screen.contains('\u{1b}'), "no colour codes into a pipe: {screen:?}");
    let coloured = env.run_words(&["query", "b", "saturn", "--color", "always"]).stdout;
    assert!(coloured.contains('\u{1b}'));
}

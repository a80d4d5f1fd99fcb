//! `build-index`: what is read, what is published, and what survives.

use crate::support::{TestEnv, repository};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const BEIR: &str = r#"{"_id": "a", "title": "Moon", "text": "The Moon circles the Earth."}
{"_id": "b", "title": "Sun", "text": "The Sun is a star in the middle of the planets."}
{"_id": "c", "title": "Tide", "text": "Tides follow the Moon. They rise twice a day."}
"#;

fn beir(env: &TestEnv) {
    env.write("data/corpus.jsonl", BEIR);
    env.write("data/queries.jsonl", "{\"_id\": \"1\", \"text\": \"what circles the earth\"}\n");
    env.write("data/qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1\n");
}

fn manifest(env: &TestEnv, name: &str) -> serde_json::Value {
    serde_json::from_str(&env.ok(&format!("info {name} --json"))).unwrap()
}

#[test]
fn a_beir_folder_becomes_an_index_that_answers() {
    let env = TestEnv::new();
    beir(&env);
    env.ok("build-index data --name tiny");
    let manifest = manifest(&env, "tiny");
    assert_eq!(manifest["collection"]["passages"], 3);
    assert_eq!(manifest["dense"]["passage_encoder"]["name"], "builtin");
    let answer: serde_json::Value = serde_json::from_str(&env.ok("query tiny moon --json -k 2")).unwrap();
    assert_eq!(answer["hits"][0]["title"], "Moon");
    assert!(env.ok("check tiny --deep").contains("every byte"));
}

#[test]
fn judged_questions_with_several_gold_passages_choose_the_fusion_whatever_the_order_of_their_ids() {
    let env = TestEnv::new();
    let numbers = 0..30;
    // The collection's order is the reverse of the ids'.
    let passage =
        |i: u32| format!("{{\"_id\": \"p{:02}\", \"text\": \"Village {i} lies at mile {i} of the road.\"}}\n", 99 - i);
    let query = |i: u32| format!("{{\"_id\": \"{i}\", \"text\": \"which village lies at mile {i}\"}}\n");
    let judgments = |i: u32| format!("{i}\tp{:02}\t1\n{i}\tp{:02}\t1\n", 99 - i, 99 - (i + 1) % 30);
    env.write("data/corpus.jsonl", numbers.clone().map(passage).collect::<String>());
    env.write("data/queries.jsonl", numbers.clone().map(query).collect::<String>());
    let header = "query-id\tcorpus-id\tscore\n".to_string();
    env.write("data/qrels/test.tsv", numbers.map(judgments).fold(header, |all, two| all + &two));
    env.ok("build-index data --judged data --judged-split test --name road");
    let fusion = &manifest(&env, "road")["fusion"];
    assert_eq!(fusion["queries"], 30, "{fusion}");
    assert!(fusion["found_by"].as_str().unwrap().contains("judged questions"), "{fusion}");
}

#[test]
fn formats_and_packings_of_the_same_passages_give_the_same_answers() {
    let env = TestEnv::new();
    beir(&env);
    env.write("plain.jsonl", BEIR);
    env.write("crlf.jsonl", format!("\u{feff}{}", BEIR.replace('\n', "\r\n")));
    env.write("packed.jsonl.gz", gz(BEIR));
    env.write("odd-name.jsonl", zstd::encode_all(BEIR.as_bytes(), 3).unwrap());
    let answers = ["data", "plain.jsonl", "crlf.jsonl", "packed.jsonl.gz", "odd-name.jsonl"].map(|source| {
        env.ok(&format!("build-index {source} --name same --force"));
        env.ok("query same tides --json")
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let piped = env.run_with_input("build-index - --name piped", BEIR);
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    assert_eq!(env.ok("query piped tides --json"), answers[0]);
}

fn gz(text: &str) -> Vec<u8> {
    use std::io::Write;
    // Two members, as `cat a.gz b.gz` makes them.
    let (head, tail) = text.split_at(text.find('\n').unwrap() + 1);
    let member = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    [member(head), member(tail)].concat()
}

#[test]
fn the_bundled_collection_is_the_same_at_any_thread_count() {
    let env = TestEnv::new();
    let corpus = repository("corpus");
    let (train, dev) = (corpus.join("train.json"), corpus.join("dev.json"));
    let hashes = ["1", "2", "3"].map(|threads| {
        let words = ["build-index", train.to_str().unwrap(), dev.to_str().unwrap(), "--name", "same", "--force"];
        let outcome = env.run_words(&[&words[..], &["--threads", threads]].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        manifest(&env, "same")["files"].clone()
    });
    assert!(hashes.iter().all(|files| *files == hashes[0]));
    assert!(manifest(&env, "same")["collection"]["passages"].as_u64().unwrap() >= 300);
}

#[test]
fn vectors_in_fewer_bits_answer_alike_at_any_thread_count_and_say_what_they_lose() {
    let env = TestEnv::new();
    let corpus = repository("corpus").join("train.json");
    let build = |vectors: &str, threads: &str| {
        let words = ["build-index", corpus.to_str().unwrap(), "--name", vectors, "--force", "--vectors", vectors];
        let outcome = env.run_words(&[&words[..], &["--threads", threads]].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        (outcome.stderr, manifest(&env, vectors))
    };
    let answer = |name: &str, mode: &str| -> Vec<String> {
        let answer = env.ok(&format!("query {name} planets --json --mode {mode}"));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].to_string()).collect()
    };
    let (screen, plain) = build("f32", "2");
    assert!(!screen.contains("vectors"), "{screen}");
    let bytes = |manifest: &serde_json::Value, file: &str| manifest["files"][file]["length"].as_u64();
    let rows = bytes(&plain, "dense/rows.bin").unwrap() - 64;
    let passages = plain["collection"]["passages"].as_u64().unwrap();
    for (vectors, stored, beside) in [("f16", rows / 2, None), ("int8", rows, Some(64 + rows / 4 + 4 * passages + 8))] {
        let (screen, one) = build(vectors, "1");
        let (_, two) = build(vectors, "2");
        assert_eq!(one["files"], two["files"]);
        assert_eq!((bytes(&one, "dense/rows.bin"), bytes(&one, "dense/int8.bin")), (Some(64 + stored), beside));
        assert_eq!(one["dense"]["vectors"]["kind"], vectors);
        let lost = one["dense"]["vectors"]["recall_lost_at_10"].as_f64().unwrap();
        // On these few passages f16 loses .0101, where the tenth and the eleventh are nearly alike, and int8 nothing.
        assert!((0.0..0.02).contains(&lost), "{lost}");
        let said = format!("{vectors}: {lost:.4} of the exact ten nearest lost by it");
        assert!(screen.contains(&said), "{screen}");
        assert!(env.ok(&format!("info {vectors}")).contains(&format!("vectors      {vectors}, {lost:.4} of")));
        assert!(env.ok(&format!("check {vectors} --deep")).contains("every byte"));
        for mode in ["dense", "hybrid"] {
            assert_eq!(answer(vectors, mode), answer("f32", mode), "{vectors} {mode}");
        }
    }
    assert!(env.ok("info f32").contains("vectors      f32\n"));
    let refused = env.run("build-index x --name y --vectors int4");
    assert!(refused.code == 2 && refused.stderr.contains("int4"), "{}", refused.stderr);
}

#[test]
fn chunks_roll_up_to_the_passage_they_were_cut_from() {
    let env = TestEnv::new();
    let dev = repository("corpus/dev.json");
    let words = ["build-index", dev.to_str().unwrap(), "--name", "cut", "--chunk", "tokens:20,stride:10"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("answer spans cut"), "{}", outcome.stderr);
    let found = manifest(&env, "cut");
    assert!(found["collection"]["passages"].as_u64() > found["collection"]["documents"].as_u64());
    let answer: serde_json::Value = serde_json::from_str(&env.ok("query cut saturn --json")).unwrap();
    let ids: Vec<&str> = answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    // However many chunks stand for one passage, k asks for passages.
    for mode in ["sparse", "dense", "hybrid"] {
        let answer = env.ok(&format!("query cut the --json -k 60 --mode {mode}"));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let hits = answer["hits"].as_array().unwrap().len();
        assert!(hits == 60 || mode == "sparse", "{mode}: {hits}");
    }
    // Judgments name whole passages; chunks must still be found by them.
    let report = env.run_words(&["compare", "cut", "--data", dev.to_str().unwrap(), "--system", "bm25", "--json", "-"]);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["missing_gold"], 0);
    assert!(report["systems"][0]["measures"]["R@100"]["mean"].as_f64().unwrap() > 0.5);
}

#[test]
fn duplicates_are_left_out_and_counted() {
    let env = TestEnv::new();
    let twin = BEIR.replace("\"a\"", "\"x\"").replace("\"b\"", "\"y\"").replace("\"c\"", "\"z\"");
    env.write("twins.jsonl", format!("{BEIR}{twin}"));
    for (dedup, passages) in [("none", 6), ("exact", 3), ("near", 3)] {
        env.ok(&format!("build-index twins.jsonl --name twins --force --dedup {dedup}"));
        let found = manifest(&env, "twins");
        assert_eq!(found["collection"]["passages"], passages, "{dedup}");
        assert_eq!(found["collection"]["duplicates"], 6 - passages, "{dedup}");
    }
}

#[test]
fn an_index_is_replaced_only_when_asked_and_only_as_a_whole() {
    let env = TestEnv::new();
    beir(&env);
    env.ok("build-index data --name kept");
    let refused = env.run("build-index data --name kept");
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    // A build that fails half-way leaves the old index and no leftovers.
    env.write("bad.jsonl", format!("{BEIR}{{\"_id\": \"d\"\n"));
    assert_eq!(env.run("build-index bad.jsonl --name kept --force").code, 1);
    assert!(env.ok("query kept moon --json").contains("Moon"));
    assert_eq!(generations(&env.path("indexes/kept")), ["gen-1"]);
    // A build that was killed leaves a folder without a manifest; the next one removes it.
    std::fs::create_dir_all(env.path("indexes/kept/gen-7/sparse")).unwrap();
    assert!(env.ok("query kept moon --json").contains("Moon"));
    env.ok("build-index data --name kept --force");
    assert_eq!(generations(&env.path("indexes/kept")), ["gen-1", "gen-8"]);
    assert!(std::fs::read_to_string(env.path("indexes/kept/CURRENT")).unwrap().starts_with("gen-8 "));
}

fn generations(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("gen-"));
    names.sort();
    names
}

#[test]
fn one_writer_at_a_time() {
    let env = TestEnv::new();
    beir(&env);
    env.ok("build-index data --name busy");
    let lock = std::fs::File::create(env.path("indexes/busy/.lock")).unwrap();
    lock.lock().unwrap();
    let refused = env.run("build-index data --name busy --force");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("another process is writing"), "{}", refused.stderr);
    // Readers are never blocked.
    assert!(env.ok("query busy moon --json").contains("Moon"));
    drop(lock);
    env.ok("build-index data --name busy --force");
}

#[test]
fn killed_at_any_moment_the_old_index_answers() {
    let env = TestEnv::new();
    let corpus = repository("corpus/train.json");
    beir(&env);
    env.ok("build-index data --name alive");
    let before = env.ok("query alive moon --json");
    for step in 0..12u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_parallax"))
            .args(["build-index", corpus.to_str().unwrap(), "--name", "alive", "--force", "-q"])
            .current_dir(env.path("."))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + 17 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        env.ok("check alive --deep");
        if env.ok("query alive moon --json") != before {
            // Only a build that got as far as publishing changes the answers.
            assert!(published(&env) > 1, "step {step}");
            break;
        }
    }
    env.ok("build-index data --name alive --force");
    assert_eq!(env.ok("query alive moon --json"), before);
}

fn published(env: &TestEnv) -> u64 {
    let current = std::fs::read_to_string(env.path("indexes/alive/CURRENT")).unwrap();
    current.split(' ').next().unwrap().strip_prefix("gen-").unwrap().parse().unwrap()
}

#[test]
fn bad_records_are_skipped_only_when_asked_and_then_recorded() {
    let env = TestEnv::new();
    env.write("bad.jsonl", format!("{BEIR}{{\"_id\": \"d\", \"text\": \n{{\"_id\": \"e\", \"text\": \"fine\"}}\n"));
    let refused = env.run("build-index bad.jsonl --name bad");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("bad.jsonl:4"), "{}", refused.stderr);
    assert!(!env.path("indexes/bad").exists(), "a first build that fails leaves no trace");
    env.ok("build-index bad.jsonl --name bad --on-bad-line skip");
    let found = manifest(&env, "bad");
    assert_eq!(found["collection"]["passages"], 4);
    assert_eq!(found["collection"]["skipped"], 1);
    assert!(found["collection"]["skipped_records"][0].as_str().unwrap().contains("bad.jsonl:4"));
}

#[test]
fn a_second_tower_encodes_questions_and_must_fit_the_first() {
    let env = TestEnv::new();
    beir(&env);
    let bert = repository("tests/fixtures/encoders/bert");
    let bert = bert.to_str().unwrap();
    env.ok(&format!("build-index data --name towers --encoder {bert} --question-encoder {bert}"));
    let found = manifest(&env, "towers");
    assert_eq!(found["dense"]["question_encoder"]["fingerprint"], found["dense"]["passage_encoder"]["fingerprint"]);
    assert!(env.ok("query towers moon --json --mode dense").contains("\"dense\""));
    let refused = env.run(&format!("build-index data --name other --encoder {bert} --question-encoder builtin"));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("dimension 256") && refused.stderr.contains("dimension 16"), "{}", refused.stderr);
}

#[test]
fn questions_are_encoded_in_the_precision_of_the_passages_unless_another_is_asked_for() {
    let env = TestEnv::new();
    beir(&env);
    let bert = repository("tests/fixtures/encoders/bert");
    let bert = bert.to_str().unwrap();
    env.ok(&format!("build-index data --name usual --encoder {bert}"));
    env.ok(&format!("build-index data --name exact --encoder {bert} --precision f32"));
    let encoder = |name| manifest(&env, name)["dense"]["passage_encoder"].clone();
    assert_eq!((&encoder("usual")["precision"], &encoder("exact")["precision"]), (&json!("int8"), &json!("f32")));
    assert_eq!(encoder("usual")["fingerprint"], encoder("exact")["fingerprint"]);
    let rows = |name: &str| std::fs::read(env.path(&format!("indexes/{name}/gen-1/dense/rows.bin"))).unwrap();
    assert_ne!(rows("usual"), rows("exact"));
    assert!(env.ok("info usual").contains("(bert in int8, 16 dimensions"));
    let asked = |rest: &str| env.ok(&format!("query {rest} moon --mode dense --json"));
    assert_eq!(asked("usual"), asked("usual --precision int8"));
    assert_ne!(asked("usual"), asked("usual --precision f32"));
    assert_eq!(asked("exact"), asked("exact --precision f32"));
    assert_ne!(asked("exact"), asked("exact --precision int8"));
    env.ok("build-index data --name static");
    assert_eq!(encoder("static")["precision"], "f32");
    for wrong in ["--precision int8", &format!("--precision f16 --encoder {bert}")] {
        let refused = env.run(&format!("build-index data --name wrong {wrong}"));
        assert_eq!(refused.code, 2, "{}", refused.stderr);
    }
}

#[test]
fn both_graph_builders_find_the_same_nearest_passages() {
    let env = TestEnv::new();
    let dev = repository("corpus/dev.json");
    let answers = ["parallax", "hnsw-rs"].map(|builder| {
        env.ok(&format!("build-index {} --name g --force --graph-builder {builder}", dev.display()));
        assert_eq!(manifest(&env, "g")["dense"]["graph"]["builder"], builder);
        assert!(manifest(&env, "g")["dense"]["graph"]["ann_recall_at_10"].as_f64().unwrap() >= 0.98);
        env.ok("query g volcano --mode dense --json")
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
#[cfg(unix)]
fn an_interrupted_build_leaves_the_old_index_and_says_so() {
    let env = TestEnv::new();
    beir(&env);
    env.ok("build-index data --name i");
    // A pipe that never ends: the build waits for passages when it is interrupted.
    let mut child = Command::new(env!("CARGO_BIN_EXE_parallax"))
        .args(["build-index", "-", "--name", "i", "--force", "-q"])
        .current_dir(env.path("."))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    // The reader sees the end of its input and the wish to stop.
    drop(child.stdin.take());
    assert!(!child.wait().unwrap().success());
    assert!(env.ok("query i moon --json").contains("Moon"));
}

#[test]
fn the_sparse_side_alone_needs_no_encoder() {
    let env = TestEnv::new();
    beir(&env);
    env.ok("build-index data --name words --encoder none");
    assert!(env.ok("query words moon --json").contains("\"mode\":\"sparse\""));
    let refused = env.run("query words moon --mode dense");
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("no dense side"), "{}", refused.stderr);
}

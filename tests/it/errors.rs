//! Every mistake a user can make: one clear error, the right exit code, nothing on stdout, nothing lost.

use crate::support::TestEnv;

const GOOD: &str = "{\"_id\": \"a\", \"text\": \"alpha beta\"}\n{\"_id\": \"b\", \"text\": \"gamma delta\"}\n";

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.write("good.jsonl", GOOD);
    env.ok("build-index good.jsonl --name good");
    env
}

/// Runs a command that has to be refused and looks for words in what it says.
fn refused(env: &TestEnv, words: &str, code: i32, said: &[&str]) {
    let outcome = env.run(words);
    assert_eq!(outcome.code, code, "parallax {words}\n{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.stdout, "", "parallax {words}");
    assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.contains("this is a bug"), "{}", outcome.stderr);
    for part in said {
        assert!(outcome.stderr.contains(part), "parallax {words} does not say `{part}`:\n{}", outcome.stderr);
    }
}

#[test]
fn wrong_words_are_met_with_the_right_ones() {
    let env = env();
    refused(&env, "qurey good moon", 2, &["query"]);
    refused(&env, "query good --mod sparse x", 2, &["--mode"]);
    refused(&env, "query god x", 1, &["there is no index `god`", "did you mean `good`?", "build-index"]);
    refused(&env, "query good x -k 0", 2, &["0"]);
    refused(&env, "query good x --weight 1.5", 2, &["between 0 and 1"]);
    refused(&env, "query good x --weight NaN", 2, &["between 0 and 1"]);
    refused(&env, "query good x --fusion rrf --weight .5", 2, &["--weight"]);
    refused(&env, "query good x --fusion nothere.json", 1, &["nothere.json", "rrf"]);
    refused(&env, "query good x --k1 -1", 2, &["k1"]);
    refused(&env, "query good x --b 7", 2, &["between 0 and 1"]);
    refused(&env, "build-index good.jsonl --name ../up", 2, &["a name has letters"]);
    refused(&env, "build-index good.jsonl --name x --language klingon", 2, &["klingon"]);
    refused(&env, "build-index good.jsonl --name x --chunk words:3", 2, &["words:3"]);
    refused(&env, "build-index good.jsonl --name x --encoder /no/such/model/folder", 1, &["no model folder"]);
    refused(&env, "compare good --data good.jsonl --system bm24", 2, &["bm24", "hybrid(rrf)"]);
    refused(&env, "compare good --data good.jsonl --measure F1@3", 2, &["F1@3", "nDCG@10"]);
    refused(&env, "query good x --threads 0", 2, &["0"]);
    refused(&env, "query good x --threads 1000000", 2, &["1024"]);
}

#[test]
fn bad_records_are_named_by_file_and_line() {
    let env = env();
    let long_id = format!("{{\"_id\": \"{}\", \"text\": \"x\"}}\n", "i".repeat(40_000));
    let cases: [(&str, Vec<u8>, &[&str]); 14] = [
        ("cut.jsonl", b"{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"b\", \"te".to_vec(), &["cut.jsonl:2"]),
        ("array.jsonl", b"{\"_id\": \"a\", \"text\": \"x\"}\n[1, 2]\n".to_vec(), &["array.jsonl:2"]),
        ("noid.jsonl", b"{\"text\": \"x\"}\n".to_vec(), &["noid.jsonl:1", "id"]),
        ("notext.jsonl", b"{\"_id\": \"a\", \"title\": \"x\"}\n".to_vec(), &["notext.jsonl:1", "text"]),
        ("null.jsonl", b"{\"_id\": \"a\", \"text\": null}\n".to_vec(), &["null.jsonl:1"]),
        (
            "twice.jsonl",
            b"{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"a\", \"text\": \"y\"}\n".to_vec(),
            &["twice.jsonl:2", "`a`"],
        ),
        ("emptyid.jsonl", b"{\"_id\": \"\", \"text\": \"x\"}\n".to_vec(), &["emptyid.jsonl:1"]),
        ("tabid.jsonl", b"{\"_id\": \"a\\tb\", \"text\": \"x\"}\n".to_vec(), &["tabid.jsonl:1"]),
        ("longid.jsonl", long_id.into_bytes(), &["longid.jsonl:1"]),
        ("utf8.jsonl", b"{\"_id\": \"a\", \"text\": \"\xff\xfe\"}\n".to_vec(), &["utf8.jsonl:1"]),
        ("utf16.jsonl", "\u{feff}{\"_id\"".encode_utf16().flat_map(u16::to_le_bytes).collect(), &["UTF-16"]),
        ("surrogate.jsonl", b"{\"_id\": \"a\", \"text\": \"\\ud800\"}\n".to_vec(), &["surrogate.jsonl:1"]),
        ("empty.jsonl", Vec::new(), &["passage"]),
        ("blank.jsonl", b"\n\n  \n".to_vec(), &["passage"]),
    ];
    for (name, content, said) in cases {
        env.write(name, content);
        refused(&env, &format!("build-index {name} --name {}", name.replace('.', "-")), 1, said);
        assert!(!env.path(&format!("indexes/{}/CURRENT", name.replace('.', "-"))).exists(), "{name}");
    }
    refused(&env, "build-index nowhere.jsonl --name n", 1, &["nowhere.jsonl"]);
    assert!(env.ok("query good alpha --json").contains("\"a\""));
}

#[test]
fn runs_and_judgments_are_checked_line_by_line() {
    let env = env();
    env.write("q.tsv", "1\talpha\n");
    env.write("qrels.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1\n");
    for (run, said) in [
        ("1 Q0 a 1 0.5\n", "run.trec:1"),
        ("1 Q0 a 1 0.5 t\n1 Q0 a 2 0.4 t\n", "run.trec:2"),
        ("1 Q0 a 1 NaN t\n", "run.trec:1"),
        ("1 Q0 a 1 1e999 t\n", "run.trec:1"),
    ] {
        env.write("run.trec", run);
        refused(&env, "compare good --queries q.tsv --qrels qrels.tsv --system run:run.trec", 1, &[said]);
    }
    env.write("bad.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1.5\n");
    refused(&env, "compare good --queries q.tsv --qrels bad.tsv --system bm25", 1, &["bad.tsv:2"]);
    env.write("none.tsv", "query-id\tcorpus-id\tscore\n9\ta\t1\n");
    refused(&env, "compare good --queries q.tsv --qrels none.tsv --system bm25", 1, &["judg"]);
}

#[test]
fn an_index_that_is_not_whole_is_refused() {
    let env = env();
    env.write("indexes/notours/notes.txt", "mine");
    refused(&env, "build-index good.jsonl --name notours --force", 2, &["notes.txt"]);
    refused(&env, "query notours x", 1, &["CURRENT"]);
    env.write("indexes/strange/CURRENT", "../../etc\n");
    refused(&env, "query strange x", 1, &["names no generation"]);
    env.write("indexes/gone/CURRENT", "gen-4 0\n");
    refused(&env, "query gone x", 1, &["gen-4"]);
    // A newer format says what to do.
    let manifest = env.path("indexes/good/gen-1/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("\"format\": 1", "\"format\": 99", 1)).unwrap();
    refused(&env, "query good alpha", 1, &["format 99", "--force"]);
    std::fs::write(&manifest, text.replacen("built", "bui1t", 1).replacen("\"passages\": 2", "\"passages\":  2", 1))
        .unwrap();
    refused(&env, "check good --deep", 1, &["manifest.json", "sha256"]);
    std::fs::write(&manifest, text).unwrap();
    env.ok("query good alpha");
    // A file that is missing, longer or another one.
    let rows = env.path("indexes/good/gen-1/dense/rows.bin");
    let bytes = std::fs::read(&rows).unwrap();
    std::fs::write(&rows, &bytes[..bytes.len() - 4]).unwrap();
    refused(&env, "query good alpha", 1, &["rows", "bytes"]);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&rows, &flipped).unwrap();
    refused(&env, "check good --deep", 1, &["sha256"]);
    std::fs::remove_file(&rows).unwrap();
    refused(&env, "query good alpha", 1, &["rows"]);
}

#[test]
fn an_encoder_that_is_not_the_manifests_is_refused_with_both_fingerprints() {
    let env = env();
    let manifest = env.path("indexes/good/gen-1/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let wire: serde_json::Value = serde_json::from_str(&text).unwrap();
    let own = wire["dense"]["passage_encoder"]["fingerprint"].as_str().unwrap().to_string();
    let other = "0".repeat(own.len());
    std::fs::write(&manifest, text.replace(&own, &other)).unwrap();
    refused(&env, "query good alpha", 1, &[&own, &other, "--mode sparse"]);
    assert!(env.ok("query good alpha --mode sparse").contains("bm25"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let env = env();
    let program = env!("CARGO_BIN_EXE_parallax");
    let many: String = (0..5000).map(|i| format!("{i}\talpha\n")).collect();
    env.write("many.tsv", many);
    let script =
        format!("{program} query good --queries many.tsv --json 2>err.txt | head -1; test ${{PIPESTATUS[0]}} -eq 0");
    let status =
        std::process::Command::new("bash").args(["-c", &script]).current_dir(env.path(".")).output().unwrap().status;
    assert!(status.success(), "{}", std::fs::read_to_string(env.path("err.txt")).unwrap());
    let script = format!("{program} query good alpha >/dev/full");
    let output = std::process::Command::new("bash").args(["-c", &script]).current_dir(env.path(".")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

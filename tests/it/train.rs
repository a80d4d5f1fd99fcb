//! `train`: examples in, a folder that indexes open out; refusals, gates and resumption.

use crate::support::{Outcome, TestEnv, repository};
use serde_json::Value;

/// An index `b` of the bundled collection, and examples mined from its training questions.
fn mined(env: &TestEnv) -> String {
    let (train, dev) = (repository("corpus/train.json"), repository("corpus/dev.json"));
    let (train, dev) = (train.to_str().unwrap(), dev.to_str().unwrap().to_string());
    let built = env.run_words(&["build-index", train, &dev, "--name", "b"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let words = ["mine-negatives", "b", "--data", train, "--protect", &dev, "--negatives", "2", "-o", "examples.jsonl"];
    assert_eq!(env.run_words(&words).code, 0);
    dev
}

fn train(env: &TestEnv, words: &str) -> Outcome {
    env.run(&format!("train --examples examples.jsonl {words}"))
}

fn json(env: &TestEnv, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(env.path(name)).unwrap()).unwrap()
}

#[test]
fn a_static_model_learns_is_judged_and_serves_an_index() {
    let env = TestEnv::new();
    let dev = mined(&env);
    let outcome = train(&env, &format!("--model builtin --batch 64 --epochs 4 --validate {dev} -o model"));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for said in ["memory", "held out", "before", "trained model", "RR@10", "average rank", "chose nothing", "next: "] {
        assert!(outcome.stderr.contains(said), "`{said}` is missing in\n{}", outcome.stderr);
    }
    let report = json(&env, "model/train.json");
    let loss = |name: &str| report[name].as_f64().unwrap();
    assert!(loss("loss_last") < loss("loss_first"), "{report}");
    assert!(report["best"]["value"].as_f64() >= report["baseline"]["value"].as_f64(), "{report}");
    let log = std::fs::read_to_string(env.path("model/train.jsonl")).unwrap();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let card = std::fs::read_to_string(env.path("model/README.md")).unwrap();
    assert!(card.contains("parallax train --examples") && card.contains("| examples.jsonl | `"), "{card}");
    // The folder is an encoder as it is.
    env.ok(&format!("build-index {dev} --name taught --encoder model"));
    let table = env.ok(&format!("compare taught --data {dev} --system dense --measure RR@10"));
    assert!(table.contains("dense"), "{table}");
    // It is not overwritten, and a training that is over has nothing to go on with but says so again.
    let again = train(&env, &format!("--model builtin --batch 64 --epochs 4 --validate {dev} -o model"));
    assert_eq!(again.code, 2, "{}", again.stderr);
    let resumed = train(&env, &format!("--model builtin --batch 64 --epochs 4 --validate {dev} --resume -o model"));
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    let other = train(&env, &format!("--model builtin --batch 32 --epochs 4 --validate {dev} --resume -o model"));
    assert!(other.code != 0 && other.stderr.contains("`batch` was 64"), "{}", other.stderr);
    // Nor with other questions to choose by.
    let fewer = "--validate-queries 60 --resume -o model";
    let other = train(&env, &format!("--model builtin --batch 64 --epochs 4 --validate {dev} {fewer}"));
    assert!(other.code == 1 && other.stderr.contains("`validation set` was"), "{}", other.stderr);
}

#[test]
fn a_model_that_got_worse_misses_the_gate() {
    let env = TestEnv::new();
    let dev = mined(&env);
    // A rate that destroys what the rows knew: no step is better than the start, which is what is kept.
    let words = format!("--batch 64 --steps 6 --lr 50 --clip 0 --validate {dev} -o worse");
    let outcome = train(&env, &words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("kept step 0"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("which is what was kept") && !outcome.stderr.contains("build-index"));
    assert_eq!(outcome.stderr.matches("validating").count(), 2, "before and after, not each time: {}", outcome.stderr);
    let gated = train(&env, &format!("{words} --resume --gate"));
    assert_eq!(gated.code, 3, "{}", gated.stderr);
    assert!(gated.stderr.contains("no step was better"), "{}", gated.stderr);
}

#[test]
fn a_file_without_negatives_trains_on_the_batch_and_says_so() {
    let env = TestEnv::new();
    mined(&env);
    env.ok("mine-negatives b --pseudo 200 --negatives 0 -o examples.jsonl --force");
    let outcome = train(&env, "--batch 64 --steps 4 -o pairs");
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("in-batch negatives alone"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("nothing is known of what it learnt"), "{}", outcome.stderr);
    assert!(json(&env, "pairs/train.json")["loss_first"].as_f64().unwrap() > 0.0);
    let alone = train(&env, "--batch 1 --steps 4 -o alone");
    assert!(alone.code != 0 && alone.stderr.contains("batch of 1"), "{}", alone.stderr);
}

#[test]
fn a_transformer_learns_in_one_tower_and_in_two() {
    let env = TestEnv::new();
    let dev = mined(&env);
    let bert = repository("tests/fixtures/encoders/bert");
    let bert = bert.to_str().unwrap();
    let short = "--batch 8 --steps 3 --chunk 4 --lr 1e-3";
    let one = train(&env, &format!("--model {bert} --pooling cls {short} -o one"));
    assert_eq!(one.code, 0, "{}", one.stderr);
    env.ok(&format!("build-index {dev} --name one --encoder one"));
    let two = train(&env, &format!("--model {bert} --question-model {bert} --freeze passage {short} -o two"));
    assert_eq!(two.code, 0, "{}", two.stderr);
    let next = two.stderr.lines().find_map(|line| line.strip_prefix("next: parallax ")).unwrap();
    assert_eq!(
        next, "build-index SOURCE --name NAME --encoder two/passage --question-encoder two/question",
        "{}",
        two.stderr
    );
    env.ok(&next.replace("SOURCE", &dev).replace("NAME", "two"));
    let weights = |name: &str| std::fs::read(env.path(name)).unwrap();
    assert_ne!(weights("two/passage/model.safetensors"), weights("two/question/model.safetensors"));
    let frozen = train(&env, &format!("--model {bert} --freeze passage {short} -o frozen"));
    assert_eq!(frozen.code, 2, "{}", frozen.stderr);
}

#[test]
fn what_means_nothing_is_refused() {
    let env = TestEnv::new();
    mined(&env);
    for (words, said) in [
        ("--pooling cls -o x", "`--pooling` is for transformers"),
        ("--layers 2 -o x", "`--layers` is for transformers"),
        ("--batch 0 -o x", "`batch` is 0"),
        ("--temperature 0 -o x", "`temperature` is 0"),
        ("--matryoshka 64,4096 -o x", "width 4096"),
        ("--model nowhere/at/all/here -o x", "nowhere"),
        ("--device tpu -o x", "tpu"),
    ] {
        let outcome = train(&env, words);
        assert!(outcome.code == 2 || outcome.code == 1, "{words}: {} {}", outcome.code, outcome.stderr);
        assert!(outcome.stderr.contains(said), "{words}: {}", outcome.stderr);
        assert!(!env.path("x").exists(), "{words} leaves a folder");
    }
    env.write("bad.jsonl", "{\"query_id\": \"1\", \"query\": \"q\"}\n");
    let outcome = env.run("train --examples bad.jsonl -o x");
    assert!(outcome.code == 1 && outcome.stderr.contains("bad.jsonl"), "{}", outcome.stderr);
}

#[test]
fn what_is_wrong_with_the_command_is_said_before_anything_is_read() {
    let env = TestEnv::new();
    env.write("full/modules.json", "[]");
    env.write("train/training/CURRENT", "checkpoint-00000007");
    let huge = usize::MAX;
    // The examples are not there: whoever looks for them first says so instead.
    for (words, said) in [
        ("-o full", "`full` holds a model already"),
        ("-o train", "`train` holds an unfinished training already"),
        ("--validate - -o x", "`--validate` is read twice"),
        ("--add-vocabulary 9 --add-texts - -o x", "`--add-texts` is read twice"),
        ("--epochs 1 --steps 1 -o x", "cannot be used with"),
        ("--clip nan -o x", "'--clip <F>'"),
        ("--warmup nan -o x", "'--warmup <F>'"),
        ("--warmup 2.5 -o x", "neither a share below 1 nor a whole number"),
        ("--lr nan -o x", "'--lr <F>'"),
        ("--lr inf -o x", "'--lr <F>'"),
        ("--lr 0 -o x", "`rate` is 0"),
        ("--temperature 0 -o x", "`temperature` is 0"),
        ("--temperature nan -o x", "'--temperature <F>'"),
        ("--dropout nan -o x", "'--dropout <F>'"),
        ("--dropout 1 -o x", "not a number from 0 to below 1"),
        (&format!("--epochs {huge} -o x"), "`epochs` is 18446744073709551615"),
        (&format!("--steps {huge} -o x"), "`steps` is 18446744073709551615"),
        (&format!("--negatives {huge} -o x"), "`hard negatives` is 18446744073709551615"),
        (&format!("--batch {huge} -o x"), "`batch` is 18446744073709551615"),
        (&format!("--chunk {huge} -o x"), "`chunk` is 18446744073709551615"),
        (&format!("--warmup {huge} -o x"), "`warm-up` is 18446744073709551615"),
    ] {
        let outcome = env.run(&format!("train --examples absent.jsonl {words}"));
        assert!(outcome.code == 2 && outcome.stderr.contains(said), "{words}: {} {}", outcome.code, outcome.stderr);
        assert!(!env.path("x").exists(), "{words} leaves a folder");
    }
    let absent = env.run("train --examples absent.jsonl -o x");
    assert!(absent.code == 1 && absent.stderr.contains("absent.jsonl"), "{}", absent.stderr);
    assert!(!env.path("x").exists());
}

#[test]
fn numbers_as_large_as_they_may_be_train_what_there_is() {
    let env = TestEnv::new();
    mined(&env);
    let most = 1_000_000_000;
    let words = format!("--batch {most} --chunk {most} --negatives {most} --steps 1 --warmup {most} -o large");
    let outcome = train(&env, &words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    // A single step has one loss.
    assert!(outcome.stderr.contains("   1 step   ") && !outcome.stderr.contains(" to "), "{}", outcome.stderr);
}

//! `loop`: rounds that end in a better model or none, the same files however often the run was stopped.

use crate::support::{TestEnv, repository};
use parallax::collection::read::Source;
use parallax::encoder::contract::Similarity;
use parallax::encoder::fixed::{StaticModel, builtin_model};
use parallax::index::EncoderChoice;
use parallax::learn::rounds::{LoopOptions, LoopReport, Stopped, run};
use parallax::learn::towers::TowerOptions;
use parallax::random::Random;
use parallax::train::tower::Tower;
use parallax::train::{Device, TrainOptions, fixed::FixedTower};
use parallax::{Error, ErrorKind, Progress, Result, Silent};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The first paragraphs of each article of a bundled file.
fn excerpt(env: &TestEnv, name: &str, paragraphs: usize) -> PathBuf {
    let mut data = json(&repository(&format!("corpus/{name}.json")));
    for article in data["data"].as_array_mut().unwrap() {
        article["paragraphs"].as_array_mut().unwrap().truncate(paragraphs);
    }
    env.write(&format!("{name}.json"), data.to_string())
}

/// A model of 1,500 tokens and 16 components, cut out of the program's own.
fn tiny_model(env: &TestEnv) -> PathBuf {
    const N: usize = 1_500;
    const D: usize = 16;
    let whole = builtin_model().unwrap();
    let values: Vec<f32> = whole.values().chunks(whole.dimension()).take(N).flat_map(|row| row[..D].to_vec()).collect();
    let model = StaticModel::quantized(whole.vocabulary()[..N].to_vec(), D, &values).unwrap();
    let folder = env.path("tiny");
    std::fs::create_dir(&folder).unwrap();
    FixedTower::of(&model, "tiny", &Device::Cpu).unwrap().write(&folder, Similarity::Cosine).unwrap();
    folder
}

/// All files, without what tells of time: `seconds` of `train.json`, `examples_per_second` of each line of its log.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, into);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            let bytes = std::fs::read(&path).unwrap();
            let without = |bytes: &[u8], key: &str| {
                let mut value: Value = serde_json::from_slice(bytes).unwrap();
                value.as_object_mut().unwrap().remove(key);
                value.to_string().into_bytes()
            };
            let bytes = if name.ends_with("/train.json") {
                without(&bytes, "seconds")
            } else if name.ends_with("/train.jsonl") {
                let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.flat_map(|line| without(line, "examples_per_second")).collect()
            } else {
                bytes
            };
            into.insert(name, bytes);
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<BTreeSet<_>>();
    let odd: Vec<String> = names(found).symmetric_difference(&names(expected)).cloned().collect();
    assert!(odd.is_empty(), "{what}: on one side alone are {odd:?}");
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{what}: {name} differs");
    }
}

#[test]
fn two_rounds_end_in_a_model_and_a_report() {
    let env = TestEnv::new();
    let (train, dev) = (repository("corpus/train.json"), repository("corpus/dev.json"));
    let (train, dev) = (train.to_str().unwrap(), dev.to_str().unwrap());
    let words = format!("loop --data {train} --held-out {dev} --all-rounds --steps 6 --batch 64 -o taught");
    let screen = env.ok(&words);
    assert!(screen.contains("round 2 hybrid") && screen.contains("kept: round "), "{screen}");
    assert!(screen.contains("verdict: ") && screen.contains("questions that chose nothing"), "{screen}");
    let report = json(&env.path("taught/report.json"));
    assert_eq!(report["rounds"].as_array().unwrap().len(), 3);
    for round in 0..3 {
        let own = json(&env.path(&format!("taught/round-{round}/report.json")));
        assert_eq!(own["systems"][1]["means"], report["rounds"][round]["systems"][1]["means"]);
        let asked = |of: &Value| of["queries"].as_array().unwrap().len() as u64;
        assert_eq!(asked(&own), report["questions"]["judging"].as_u64().unwrap());
        assert_eq!(asked(&own["choice"]), report["questions"]["choosing"].as_u64().unwrap());
    }
    assert_eq!(report["rounds"][2]["mined"]["source"], "mix:sparse=.5,dense=.5");
    let text = std::fs::read_to_string(env.path("taught/report.md")).unwrap();
    assert!(text.starts_with("# Learning loop") && text.contains("| 2 | dense |"), "{text}");
    assert!(text.contains("Held out is dev.json") && text.contains("by dense RR@10"), "{text}");
    env.ok(&format!("build-index {dev} --name after --encoder taught/model"));

    // Nothing of the held-out questions was learnt from.
    let held = json(&repository("corpus/dev.json"));
    let paragraphs = held["data"].as_array().unwrap().iter().flat_map(|a| a["paragraphs"].as_array().unwrap());
    let paragraphs: Vec<&Value> = paragraphs.collect();
    let asked: BTreeSet<&str> =
        paragraphs.iter().flat_map(|p| p["qas"].as_array().unwrap()).map(|q| q["id"].as_str().unwrap()).collect();
    let gold: BTreeSet<&str> = paragraphs.iter().map(|p| p["context"].as_str().unwrap()).collect();
    for round in 1..3 {
        let text = std::fs::read_to_string(env.path(&format!("taught/round-{round}/examples.jsonl"))).unwrap();
        assert!(text.lines().count() > 200);
        for example in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            assert!(!asked.contains(example["query_id"].as_str().unwrap()), "{example}");
            for negative in example["negatives"].as_array().unwrap() {
                assert!(!gold.contains(negative["text"].as_str().unwrap()), "{example}");
            }
        }
    }

    let before = files(&env.path("taught"));
    let refused = |words: &str, code: i32, said: &str| {
        let outcome = env.run(words);
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (code, true), "{words}: {}", outcome.stderr);
    };
    refused(&words, 2, "holds a loop already");
    refused(&format!("{words} --resume --negatives 2"), 1, "`negatives` was 1");
    refused(&words.replace(train, dev), 1, "none is left to learn from");
    refused(&words.replace("taught", "."), 2, "is not empty");
    refused(&format!("{words} --resume --rounds 1"), 1, "was asked for `--rounds 2` before");
    assert_eq!(env.ok(&format!("{words} --resume")), screen, "a finished loop tells its outcome again");
    assert_same(&files(&env.path("taught")), &before, "nothing was changed");
}

#[test]
fn without_a_set_of_their_own_a_tenth_of_the_questions_is_held_out() {
    let env = TestEnv::new();
    let (train, tiny) = (repository("corpus/train.json"), tiny_model(&env));
    let words = format!("loop --data {} --model {} --rounds 1 --steps 2", train.display(), tiny.display());
    env.ok(&format!("{words} -o one --seed 3"));
    let questions = &json(&env.path("one/report.json"))["questions"];
    let count = |key: &str| questions[key].as_u64().unwrap();
    let held = count("choosing") + count("judging");
    assert!(held > 10 && held * 4 < count("train"), "{questions}");
    let mut all = BTreeSet::new();
    for line in std::fs::read_to_string(env.path("one/round-1/examples.jsonl")).unwrap().lines() {
        let example: Value = serde_json::from_str(line).unwrap();
        all.insert(example["query_id"].as_str().unwrap().to_string());
    }
    let judged = json(&env.path("one/round-0/report.json"));
    assert!(judged["queries"].as_array().unwrap().iter().all(|id| !all.contains(id.as_str().unwrap())));
}

#[test]
fn a_loop_that_made_all_its_rounds_can_be_asked_for_more() {
    let env = TestEnv::new();
    let folder = env.path("loop");
    let mut options = LoopOptions { rounds: 3, ..small(&env) };
    let whole = run(&folder, &options, &Silent, &mut |_| {}).unwrap();
    let expected = files(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    options.rounds = 1;
    let first = run(&folder, &options, &Silent, &mut |_| {}).unwrap();
    assert_eq!((first.rounds.len(), &first.rounds[..]), (2, &whole.rounds[..2]));
    (options.rounds, options.resume) = (3, true);
    // Stopped in the second round, its reports no longer say that it is over.
    let mut looks = (1..).map(|n| run(&folder, &options, &Stop::at(7 * n, false), &mut |_| {}));
    assert!(looks.by_ref().take_while(Result::is_err).any(|_| !folder.join("report.json").exists()));
    assert!(!folder.join("report.md").exists() && folder.join("model").exists());
    assert_eq!(run(&folder, &options, &Silent, &mut |_| {}).unwrap(), whole);
    assert_same(&files(&folder), &expected, "asked for one round, then for three");
}

#[test]
fn a_loop_that_ended_without_a_gain_makes_more_only_when_told_to() {
    let env = TestEnv::new();
    // A rate of nearly nothing changes no figure.
    let mut options = LoopOptions { all_rounds: false, ..small(&env) };
    options.training.rate = 1e-12;
    let folder = env.path("loop");
    let ended = run(&folder, &options, &Silent, &mut |_| {}).unwrap();
    assert_eq!((ended.kept, ended.rounds.len(), ended.stopped), (0, 2, Stopped::NoGain(1)));
    let before = files(&folder);
    options.resume = true;
    assert_eq!(run(&folder, &options, &Silent, &mut |_| {}).unwrap(), ended, "nothing more was asked for");
    options.rounds = 4;
    for _ in 0..2 {
        let refused = run(&folder, &options, &Silent, &mut |_| {}).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.message().contains("round 1 was no proven gain"), "{refused}");
        assert!(refused.hints().iter().any(|hint| hint.contains("--all-rounds --resume")), "{refused}");
        assert_same(&files(&folder), &before, "refused");
    }
    (options.rounds, options.all_rounds) = (2, true);
    assert_eq!(run(&folder, &options, &Silent, &mut |_| {}).unwrap().rounds.len(), 3);
}

/// Stops a run at its `last`-th look: asked to, or dead on the spot.
struct Stop {
    looks: AtomicU64,
    last: u64,
    dies: bool,
}

impl Stop {
    fn at(last: u64, dies: bool) -> Self {
        Stop { looks: AtomicU64::new(0), last, dies }
    }
}

impl Progress for Stop {
    fn checkpoint(&self) -> Result<()> {
        match self.looks.fetch_add(1, Ordering::SeqCst) + 1 {
            look if look < self.last => Ok(()),
            _ if self.dies => resume_unwind(Box::new("dead")),
            _ => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        }
    }
}

/// A loop of two rounds with some steps, validations and checkpoints each.
fn small(env: &TestEnv) -> LoopOptions {
    let tiny = tiny_model(env);
    let choice = EncoderChoice { name: "tiny".into(), location: tiny.display().to_string() };
    LoopOptions {
        held_out: Some((Source::new(excerpt(env, "dev", 3)), None)),
        training: TrainOptions {
            batch: 16,
            steps: Some(8),
            epochs: 100,
            validate_every: Some(4),
            checkpoint_every: 3,
            ..TrainOptions::for_static()
        },
        all_rounds: true,
        ..LoopOptions::of(
            Source::new(excerpt(env, "train", 3)),
            TowerOptions { dropout: 0.2, ..TowerOptions::of(choice) },
        )
    }
}

#[test]
fn stopped_at_ten_moments_and_resumed_the_files_are_the_same() {
    let env = TestEnv::new();
    let folder = env.path("loop");
    let mut options = small(&env);
    let counted = Stop::at(u64::MAX, false);
    let told: LoopReport = run(&folder, &options, &counted, &mut |_| {}).unwrap();
    let expected = files(&folder);
    assert!(told.rounds.len() == 3 && expected.contains_key("round-2/model/train.json"), "{:?}", expected.keys());
    std::fs::remove_dir_all(&folder).unwrap();
    options.resume = true;
    let looks = counted.looks.into_inner();
    let mut random = Random::new(20);
    for moment in 0..10 {
        // One in each tenth of the run.
        let last = 1 + (looks * moment + random.below(looks as usize) as u64) / 10;
        let dies = moment % 2 == 0;
        let stop = Stop::at(last, dies);
        let ended = catch_unwind(AssertUnwindSafe(|| run(&folder, &options, &stop, &mut |_| {})));
        match ended {
            Ok(stopped) => {
                let error = stopped.unwrap_err();
                if dies {
                    // A death in the thread that reads passages reaches the caller as an error.
                    assert!(error.message().contains("thread panicked"), "look {last}: {error}");
                } else {
                    assert_eq!(error.kind(), ErrorKind::Interrupted, "look {last}: {error}");
                    assert!(error.hints().iter().any(|hint| hint.contains("--resume")));
                }
            }
            Err(_) => assert!(dies, "look {last}"),
        }
        let report = run(&folder, &options, &Silent, &mut |_| {}).unwrap();
        assert_eq!(report, told, "look {last}");
        assert_same(&files(&folder), &expected, &format!("look {last} of {looks}"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// Kills the program at random moments, over and over, until it has been killed twenty times: four times on the way
/// through a loop, then what is left is made in peace and compared byte by byte.
#[cfg(unix)]
#[test]
fn killed_at_twenty_random_moments_and_resumed_the_files_are_the_same() {
    let env = TestEnv::new();
    let (train, dev, tiny) = (excerpt(&env, "train", 5), excerpt(&env, "dev", 5), tiny_model(&env));
    let words = format!(
        "loop --data {} --held-out {} --model {} --all-rounds --steps 60 --batch 16 --checkpoint-every 7 -o taught",
        train.display(),
        dev.display(),
        tiny.display()
    );
    let started = Instant::now();
    let screen = env.ok(&words);
    let whole = started.elapsed();
    let folder = env.path("taught");
    let expected = files(&folder);
    let mut random = Random::new(11);
    let (mut kills, mut loops) = (Vec::new(), 0);
    while kills.len() < 20 {
        std::fs::remove_dir_all(&folder).unwrap();
        loops += 1;
        assert!(loops <= 20, "the runs end before they can be killed: {kills:?} of {whole:?}");
        for _ in 0..4 {
            let mut child = std::process::Command::new(env.command().get_program())
                .args(words.split_whitespace())
                .arg("--resume")
                .current_dir(env.path("."))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Late enough in all that four such runs get through most of a loop.
            let after = whole.mul_f64(random.unit() * 0.6);
            std::thread::sleep(after);
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
            kills.push(after);
        }
        assert_eq!(env.ok(&format!("{words} --resume")), screen, "killed after {kills:?}");
        assert_same(&files(&folder), &expected, &format!("killed after {kills:?}"));
    }
}

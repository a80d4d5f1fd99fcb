//! Training on a made-up collection: what falls, what rises, and what comes out the same.

use super::*;
use crate::collection::Query;
use crate::collection::examples::{ExamplePassage, TrainingExample};
use crate::encoder::fixed::StaticModel;
use crate::error::ErrorKind;
use crate::progress::Silent;
use crate::random::Random;
use crate::train::fixed::FixedTower;
use crate::train::gradcache::GradCache;
use crate::train::optimizer::{AdamW, Optimizer};
use candle_core::Device;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const TOPICS: usize = 60;

/// Topic `k` is asked for by word `q{k}` and told of by word `a{k}`, both among words that say nothing.
fn vocabulary() -> Vec<String> {
    let words = (0..TOPICS).flat_map(|k| [format!("q{k}"), format!("a{k}")]);
    std::iter::once("[UNK]".to_string()).chain(words).chain((0..40).map(|i| format!("n{i}"))).collect()
}

fn model() -> StaticModel {
    let mut random = Random::new(11);
    let n = vocabulary().len();
    let values: Vec<f32> = (0..n * 16).map(|i| if i < 16 { 0.0 } else { random.normal() as f32 }).collect();
    StaticModel::quantized(vocabulary(), 16, &values).unwrap()
}

fn tower() -> FixedTower {
    FixedTower::of(&model(), "start", &Device::Cpu).unwrap().with_dropout(0.1).unwrap()
}

fn passage(topic: usize, random: &mut Random) -> ExamplePassage {
    let mut words: Vec<String> = (0..12).map(|_| format!("n{}", random.below(40))).collect();
    words[random.below(12)] = format!("a{topic}");
    ExamplePassage { id: format!("p{topic}").into(), title: String::new(), text: words.join(" "), provenance: None }
}

fn set(name: &str, n: usize, negatives: usize) -> ExampleSet {
    let mut random = Random::of(5, name);
    let passages: Vec<ExamplePassage> = (0..TOPICS).map(|topic| passage(topic, &mut random)).collect();
    let examples = (0..n).map(|i| {
        let topic = i % TOPICS;
        let noise = random.below(40);
        TrainingExample {
            query: Query::new(format!("{name}-{i}"), format!("q{topic} n{noise}")),
            positives: vec![passages[topic].clone()],
            negatives: (0..negatives)
                .map(|_| passages[(topic + 1 + random.below(TOPICS - 1)) % TOPICS].clone())
                .collect(),
        }
    });
    ExampleSet { name: name.into(), examples: examples.collect() }
}

fn options() -> TrainOptions {
    TrainOptions {
        batch: 32,
        chunk: 24,
        rate: 0.15,
        epochs: 4,
        checkpoint_every: 7,
        validate_every: Some(5),
        ..TrainOptions::default()
    }
}

/// Share of topics whose passage comes first for their question.
fn recall(folder: &Path) -> Result<Validation> {
    let encoder = crate::encoder::open(folder, "x", &Default::default())?;
    let mut random = Random::of(5, "a");
    let passages: Vec<String> = (0..TOPICS).map(|topic| passage(topic, &mut random).text).collect();
    let questions: Vec<String> = (0..TOPICS).map(|topic| format!("q{topic}")).collect();
    let rows = |texts: &[String], role| encoder.encode(&texts.iter().map(String::as_str).collect::<Vec<_>>(), role);
    let (q, p) = (rows(&questions, Role::Query)?, rows(&passages, Role::Passage)?);
    let dot = |i: usize, j: usize| q.row(i).iter().zip(p.row(j)).map(|(a, b)| a * b).sum::<f32>();
    let hits = (0..TOPICS).filter(|i| (0..TOPICS).all(|j| j == *i || dot(*i, j) < dot(*i, *i))).count();
    let value = hits as f64 / TOPICS as f64;
    Ok(Validation { value, figures: vec![("recall@1".into(), value)] })
}

fn run(options: &TrainOptions, output: &Path, progress: &dyn Progress) -> Result<TrainReport> {
    let towers = Towers::shared(Box::new(tower()));
    let sets = [set("a", 240, 1), set("b", 120, 0)];
    let mut validate = recall;
    let mut hooks = Hooks { validate: Some(&mut validate), ..Hooks::default() };
    go(&towers, &sets, options, &mut hooks, output, progress)
}

/// Claims the folder and trains into it.
fn go(
    towers: &Towers,
    sets: &[ExampleSet],
    options: &TrainOptions,
    hooks: &mut Hooks<'_>,
    output: &Path,
    progress: &dyn Progress,
) -> Result<TrainReport> {
    train(towers, sets, options, hooks, &Claim::take(output, options)?, progress)
}

fn weights(output: &Path) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| std::fs::read(output.join(name)).unwrap();
    (read("model.bin"), read("0_StaticEmbedding/model.safetensors"))
}

#[test]
fn loss_falls_recall_rises_and_the_folder_holds_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(&options(), folder.path(), &Silent).unwrap();
    assert!(report.loss_last < 0.5 * report.loss_first, "{} to {}", report.loss_first, report.loss_last);
    let (before, best) = (report.baseline.clone().unwrap().value, report.best.clone().unwrap().value);
    assert!(before < 0.3 && best > 0.9, "{before} to {best}");
    assert!((recall(folder.path()).unwrap().value - best).abs() < 1e-11);
    assert_eq!((report.steps, report.steps_per_epoch), (48, 12));
    assert_eq!(report.data.without_negatives, ["b"]);
    assert!(!folder.path().join("training").exists());
    let log = std::fs::read_to_string(folder.path().join(LOG)).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("\"loss\"")).count(), 48);
    assert_eq!(log.lines().filter(|line| line.contains("\"validation\"")).count(), 11);
    // Another training does not write over it; a resumed one that is over says the same again.
    assert_eq!(run(&options(), folder.path(), &Silent).unwrap_err().kind(), ErrorKind::Usage);
    let again = run(&TrainOptions { resume: true, ..options() }, folder.path(), &Silent).unwrap();
    assert_eq!(again, report);
}

/// Asks to stop after so many looks.
struct Stop(AtomicUsize);

impl Progress for Stop {
    fn advance(&self, stage: Stage, _: u64) {
        if stage == Stage::Training {
            let left = self.0.load(Ordering::SeqCst);
            self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn stopped_at_any_step_and_resumed_the_weights_are_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    run(&options(), whole.path(), &Silent).unwrap();
    let parts = tempfile::tempdir().unwrap();
    let resume = TrainOptions { resume: true, ..options() };
    let mut stops = 0;
    // Advanced once at the start of each run, then once a step: 1, 2, 3, … steps a run.
    while run(&resume, parts.path(), &Stop(AtomicUsize::new(2 + stops)))
        .is_err_and(|e| e.kind() == ErrorKind::Interrupted)
    {
        stops += 1;
        assert!(parts.path().join("training/CURRENT").exists());
    }
    assert!(stops > 5, "{stops}");
    assert_eq!(weights(whole.path()), weights(parts.path()));
    let log = |folder: &Path| {
        let text = std::fs::read_to_string(folder.join(LOG)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|mut line| {
                line["examples_per_second"] = json!(0);
                line.to_string()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(log(whole.path()), log(parts.path()));
}

#[test]
fn a_run_that_died_between_checkpoints_goes_on_from_the_last_one() {
    let whole = tempfile::tempdir().unwrap();
    run(&options(), whole.path(), &Silent).unwrap();
    let parts = tempfile::tempdir().unwrap();
    // The third validation dies, after step 10; the last checkpoint is of step 7.
    let towers = Towers::shared(Box::new(tower()));
    let mut calls = 0;
    let mut dies = |folder: &Path| {
        calls += 1;
        if calls == 3 { Err(Error::bug("killed")) } else { recall(folder) }
    };
    let mut hooks = Hooks { validate: Some(&mut dies), ..Hooks::default() };
    let sets = [set("a", 240, 1), set("b", 120, 0)];
    assert!(go(&towers, &sets, &options(), &mut hooks, parts.path(), &Silent).is_err());
    assert_eq!(std::fs::read_to_string(parts.path().join("training/CURRENT")).unwrap(), "checkpoint-00000007");
    let other = TrainOptions { resume: true, batch: 31, ..options() };
    let refused = run(&other, parts.path(), &Silent).unwrap_err();
    assert!(refused.to_string().contains("`batch` was 32"), "{refused}");
    let resume = TrainOptions { resume: true, ..options() };
    // A byte turned in the optimizer's file is found.
    let path = parts.path().join("training/checkpoint-00000007/optimizer.safetensors");
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bad).unwrap();
    assert_eq!(run(&resume, parts.path(), &Silent).unwrap_err().kind(), ErrorKind::Damaged);
    std::fs::write(&path, good).unwrap();
    // A checkpoint that was being written when the process died is written over.
    std::fs::create_dir(parts.path().join("training/checkpoint-00000014")).unwrap();
    run(&resume, parts.path(), &Silent).unwrap();
    assert_eq!(weights(whole.path()), weights(parts.path()));
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_one_and_two_threads_and_another_seed_others() {
    let once = |seed: u64, threads: usize| {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&TrainOptions { seed, epochs: 1, ..options() }, folder.path(), &Silent)).unwrap();
        weights(folder.path())
    };
    let first = once(1, 2);
    assert!(first == once(1, 1) && first == once(1, 2) && first != once(2, 2));
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    // A rate that overflows f32 within a few steps.
    let options = TrainOptions {
        rate: 1e25,
        clip: None,
        checkpoint_every: 1,
        warmup: super::super::options::Warmup::Steps(0),
        ..options()
    };
    let towers = Towers::shared(Box::new(tower()));
    let options = TrainOptions { similarity: Some(Similarity::Dot), ..options };
    let error = go(&towers, &[set("a", 240, 1)], &options, &mut Hooks::default(), folder.path(), &Silent).unwrap_err();
    assert!(error.to_string().contains("at step 2 is"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("after step 1 is kept")), "{:?}", error.hints());
    assert!(folder.path().join("training/checkpoint-00000001").exists());
}

/// A training whose validation after so many steps leaves NaN in a weight that no text of the examples uses.
fn poisoned(step: usize, output: &Path) -> Result<TrainReport> {
    let towers = Towers::shared(Box::new(tower()));
    let var = towers.question.parameters()[0].var.clone();
    let mut seen = 0;
    let mut validate = |folder: &Path| {
        let found = recall(folder);
        if seen == step {
            let mut values = with_values(var.as_tensor(), <[f32]>::to_vec)?;
            values[0] = f32::NAN;
            var.set(&candle_core::Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
        seen += 5;
        found
    };
    let mut hooks = Hooks { validate: Some(&mut validate), ..Hooks::default() };
    go(&towers, &[set("a", 240, 1), set("b", 120, 0)], &options(), &mut hooks, output, &Silent)
}

#[test]
fn weights_that_are_not_finite_are_never_kept() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&options(), whole.path(), &Silent).unwrap();
    // Before the checkpoint after step 14, and before the validation after step 20.
    for (poison, checkpoint, found) in [(10, 7, 14), (15, 14, 20)] {
        let folder = parts.path().join(poison.to_string());
        let error = poisoned(poison, &folder).unwrap_err();
        assert!(error.message().contains(&format!("after step {found} some weights of")), "{error}");
        assert!(error.hints().iter().any(|hint| hint.contains(&format!("after step {checkpoint} is kept"))));
        let current = std::fs::read_to_string(folder.join("training/CURRENT")).unwrap();
        assert_eq!(current, format!("checkpoint-{checkpoint:08}"));
        // The checkpoint is whole: what goes on from it ends as if nothing had been.
        run(&TrainOptions { resume: true, ..options() }, &folder, &Silent).unwrap();
        assert_eq!(weights(whole.path()), weights(&folder));
    }
    // After the last validation, and without any.
    let error = poisoned(45, &parts.path().join("last")).unwrap_err();
    assert!(error.message().contains("after step 48 some weights"), "{error}");
}

#[test]
fn a_figure_that_is_not_finite_stops() {
    for (value, figure, said) in [(f64::NAN, 0.5, "what decides is NaN"), (0.5, f64::INFINITY, "recall is inf")] {
        let folder = tempfile::tempdir().unwrap();
        let mut validate = |_: &Path| Ok(Validation { value, figures: vec![("recall".into(), figure)] });
        let mut hooks = Hooks { validate: Some(&mut validate), ..Hooks::default() };
        let towers = Towers::shared(Box::new(tower()));
        let error = go(&towers, &[set("a", 240, 1)], &options(), &mut hooks, folder.path(), &Silent).unwrap_err();
        assert!(error.message().contains("after step 0") && error.message().contains(said), "{error}");
        // Nothing to go on with, nothing in the way of another try.
        assert!(!folder.path().join("training").exists());
    }
}

#[test]
fn a_training_goes_on_with_its_own_validation_set_alone() {
    let folder = tempfile::tempdir().unwrap();
    let once = |validation: &str, progress: &dyn Progress| {
        let towers = Towers::shared(Box::new(tower()));
        let mut validate = recall;
        let mut hooks = Hooks { validate: Some(&mut validate), validation: Some(validation.into()), teacher: None };
        let options = TrainOptions { resume: true, ..options() };
        go(&towers, &[set("a", 240, 1)], &options, &mut hooks, folder.path(), progress)
    };
    assert_eq!(once("dev", &Stop(AtomicUsize::new(9))).unwrap_err().kind(), ErrorKind::Interrupted);
    for _ in 0..2 {
        // Of a training that is not over, and of one that is.
        let error = once("test", &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(
            error.message().contains("`validation set` was dev") && error.message().contains("it is test"),
            "{error}"
        );
        once("dev", &Silent).unwrap();
    }
}

#[test]
fn the_losses_of_a_short_training_are_of_its_two_ends() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(&TrainOptions { steps: Some(8), ..options() }, folder.path(), &Silent).unwrap();
    let log = std::fs::read_to_string(folder.path().join(LOG)).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let losses: Vec<f64> = lines.filter_map(|line| line["loss"].as_f64()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert_eq!(losses.len(), 8);
    assert!(
        (report.loss_first - mean(&losses[..4])).abs() < 1e-9 && (report.loss_last - mean(&losses[4..])).abs() < 1e-9
    );
    assert!(report.loss_last < report.loss_first);
}

#[test]
fn the_memory_of_absurd_numbers_is_estimated_without_overflow() {
    let towers = Towers::shared(Box::new(tower()));
    let absurd = TrainOptions { batch: usize::MAX, chunk: usize::MAX, hard_negatives: usize::MAX, ..options() };
    let sets = [set("a", 240, 1)];
    let sane = TrainOptions { batch: 240, chunk: 480, ..options() };
    assert_eq!(memory_estimate(&towers, &sets, &absurd).unwrap(), memory_estimate(&towers, &sets, &sane).unwrap());
}

#[test]
fn a_claim_has_one_holder_and_leaves_nothing_of_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("model");
    let refuse = |options: TrainOptions| Claim::take(&output, &options).err().unwrap();
    assert_eq!(refuse(TrainOptions { batch: 0, ..options() }).kind(), ErrorKind::Usage);
    assert!(!output.exists());
    let claim = Claim::take(&output, &options()).unwrap();
    assert_eq!(refuse(options()).kind(), ErrorKind::Busy);
    assert!(claim.work().exists());
    drop(claim);
    assert!(!output.exists());
    // A folder of the user stays, and so does what is in it.
    std::fs::create_dir(&output).unwrap();
    drop(Claim::take(&output, &options()).unwrap());
    assert!(output.exists());
    std::fs::write(output.join("modules.json"), "[]").unwrap();
    assert!(refuse(options()).message().contains("holds a model already"));
    assert_eq!(std::fs::read_dir(&output).unwrap().count(), 1);
}

#[test]
fn nothing_to_learn_from_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let towers = Towers::shared(Box::new(tower()));
    let train = |set: ExampleSet, options: TrainOptions| {
        go(&towers, &[set], &options, &mut Hooks::default(), folder.path(), &Silent)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(train(set("a", 0, 0), options()).contains("no example"));
    assert!(train(set("a", 1, 0), options()).contains("batch of 1"));
    assert!(train(set("a", 9, 0), TrainOptions { batch: 1, ..options() }).contains("batch of 1"));
    let mut orphan = set("a", 9, 0);
    orphan.examples[3].positives.clear();
    assert!(train(orphan, options()).contains("`a-3`"));
    assert!(train(set("a", 9, 0), TrainOptions { temperature: Some(0.0), ..options() }).contains("temperature"));
}

#[test]
fn two_towers_a_frozen_one_and_a_teacher() {
    let start = tempfile::tempdir().unwrap();
    tower().write(start.path(), Similarity::Cosine).unwrap();
    let teacher = crate::encoder::open(start.path(), "teacher", &Default::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let towers = Towers { question: Box::new(tower()), passage: Some(Box::new(tower())), freeze_passage: true };
    let distillation = super::super::loss::Distillation { temperature: 0.2, weight: 0.1 };
    let options = TrainOptions { epochs: 6, distillation, ..options() };
    let mut hooks = Hooks { teacher: Some(&*teacher), ..Hooks::default() };
    let sets = [set("a", 240, 1)];
    let report = go(&towers, &sets, &options, &mut hooks, folder.path(), &Silent).unwrap();
    assert!(report.loss_last < report.loss_first, "{} to {}", report.loss_first, report.loss_last);
    assert_eq!(report.kept, report.steps);
    assert_eq!(weights(&folder.path().join(PASSAGE)), weights(start.path()));
    assert_ne!(weights(&folder.path().join(QUESTION)), weights(start.path()));
    let estimate = memory_estimate(&towers, &sets, &options).unwrap();
    let table = (vocabulary().len() * 16) as u64;
    assert!(estimate > 20 * table && estimate < 20 * table + 2_000_000, "{estimate}");
    let shared = Towers { freeze_passage: true, ..Towers::shared(Box::new(tower())) };
    assert!(go(&shared, &sets, &options, &mut Hooks::default(), folder.path(), &Silent).is_err());
}

/// Prints what a step of the size the built-in model is trained with costs, part by part.
#[test]
#[ignore = "a measurement, by hand: cargo test --release --lib -- --ignored --nocapture a_step_of"]
fn a_step_of_512_queries_and_1024_passages() {
    use crate::train::batch::Batch;
    use crate::train::loss::LossOptions;
    use crate::train::tower::Packed;
    let (n, d) = (45_000, 256);
    let mut random = Random::new(1);
    let vocabulary = std::iter::once("[UNK]".to_string()).chain((1..n).map(|i| format!("w{i}"))).collect();
    let values: Vec<f32> = (0..n * d).map(|_| random.normal() as f32 * 0.05).collect();
    let tower = FixedTower::of(&StaticModel::quantized(vocabulary, d, &values).unwrap(), "x", &Device::Cpu).unwrap();
    let towers = Towers::shared(Box::new(tower));
    let mut optimizer = Optimizer::new(AdamW::default(), towers.question.parameters()).unwrap();
    let mut cache = GradCache::new(&towers, LossOptions::default(), 4096);
    let mut times = [0.0; 3];
    let steps = 40;
    for step in 0..steps + 10 {
        // Word frequencies fall as 1 / rank: e^(u ln n) is so distributed.
        let mut texts = |count: usize, length: usize| {
            let mut text = || (0..length).map(|_| (n as f64).powf(random.unit()) as u32).collect::<Vec<_>>();
            let texts: Vec<Vec<u32>> = (0..count).map(|_| text()).collect();
            Packed::of(texts.iter().map(Vec::as_slice))
        };
        let (queries, passages) = (texts(512, 12), texts(1024, 100));
        let batch =
            Batch { set: 0, queries, passages, mask: vec![0.0; 512 * 1024], alone: 0, texts: Default::default() };
        let marks = [
            {
                let at = Instant::now();
                cache.step(&batch, None, step).unwrap();
                at.elapsed()
            },
            {
                let at = Instant::now();
                cache.gradients[0].norm().unwrap();
                at.elapsed()
            },
            {
                let at = Instant::now();
                optimizer.step(towers.question.parameters(), &cache.gradients[0], 0.01, 1.0).unwrap();
                at.elapsed()
            },
        ];
        if step >= 10 {
            times.iter_mut().zip(marks).for_each(|(sum, mark)| *sum += mark.as_secs_f64() * 1000.0 / steps as f64);
        }
    }
    println!("rows, loss, gradient {:.1} ms, its length {:.1} ms, AdamW {:.1} ms", times[0], times[1], times[2]);
}

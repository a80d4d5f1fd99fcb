//! A made-up teacher whose meaning is known: the student has to find it.

use super::*;
use crate::encoder::contract::{Embeddings, EncoderCard, Precision, Similarity};
use crate::encoder::fixed::{self, FixedEncoder};
use crate::progress::Silent;
use proptest::prelude::*;

/// Words about the sea or about the kitchen; all else means nothing. A text's row says how much it is of each.
const SEA: [&str; 5] = ["sail", "anchor", "harbour", "wave", "captain"];
const KITCHEN: [&str; 5] = ["oven", "bread", "butter", "knife", "plate"];

struct Teacher(EncoderCard);

impl Teacher {
    fn new() -> Self {
        let text = |text: &str| text.to_string();
        Teacher(EncoderCard {
            name: text("made up"),
            family: text("test"),
            fingerprint: text("f"),
            precision: Precision::F32,
            tokenizer: text("t"),
            dimension: 4,
            similarity: Similarity::Cosine,
            pooling: text("mean"),
            query_prompt: String::new(),
            passage_prompt: String::new(),
            max_tokens: None,
        })
    }
}

impl Encoder for Teacher {
    fn card(&self) -> &EncoderCard {
        &self.0
    }

    fn encode(&self, texts: &[&str], _: Role) -> Result<Embeddings> {
        let rows = texts.iter().flat_map(|text| {
            let count = |words: &[&str]| text.split(' ').filter(|word| words.contains(word)).count() as f32;
            let row = [count(&SEA), count(&KITCHEN), 0.5, 0.1 * text.len() as f32 / 50.0];
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.map(|x| x / length)
        });
        Ok(Embeddings::new(4, rows.collect()))
    }

    fn token_spans(&self, _: &str) -> Vec<(usize, usize)> {
        Vec::new()
    }
}

fn texts() -> Vec<String> {
    let filler = ["the", "of", "and", "a", "in"];
    let mut state = 7u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % n
    };
    let mut text = |_| {
        let topic = if next(2) == 0 { SEA } else { KITCHEN };
        let words = (0..12).map(|_| if next(3) == 0 { topic[next(5)] } else { filler[next(5)] });
        words.collect::<Vec<_>>().join(" ")
    };
    (0..300).map(&mut text).collect()
}

fn distilled() -> Distilled {
    let texts = texts();
    let options = Options { vocabulary: 80, dimensions: 3, texts: 300 };
    let mut feed = |take: &mut dyn FnMut(&str)| {
        texts.iter().for_each(|text| take(text));
        Ok(())
    };
    distill(&Teacher::new(), &mut feed, &options, &Silent).unwrap()
}

#[test]
fn the_student_tells_apart_what_the_teacher_does() {
    let distilled = distilled();
    assert!(distilled.agreement > 0.8, "{}", distilled.agreement);
    assert_eq!((distilled.fitted, distilled.held_out), (297, 3));
    let student = FixedEncoder::new(&distilled.model, "student").unwrap();
    let rows = student.encode(&["the captain sail", "a wave", "bread and butter"], Role::Passage).unwrap();
    let dot = |a: usize, b: usize| rows.row(a).iter().zip(rows.row(b)).map(|(x, y)| x * y).sum::<f32>();
    assert!(dot(0, 1) > 0.6 && dot(0, 2) < 0.0, "{} and {}", dot(0, 1), dot(0, 2));
}

#[test]
fn the_same_input_gives_the_same_bytes_on_any_number_of_threads() {
    let once = distilled().model.to_bytes();
    let alone =
        rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| distilled().model.to_bytes());
    assert_eq!(once, alone);
}

#[test]
fn the_folder_opens_and_both_forms_give_the_same_rows() {
    let distilled = distilled();
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin {
        teacher: ("made up".into(), "f".into()),
        texts: vec![("sea.jsonl".into(), "00".into())],
        command: "distill".into(),
    };
    write(&distilled, &origin, folder.path()).unwrap();
    let opened = fixed::open(folder.path(), "student").unwrap();
    let bytes = std::fs::read(folder.path().join("model.bin")).unwrap();
    let compact = FixedEncoder::new(&StaticModel::from_bytes(&bytes).unwrap(), "student").unwrap();
    let texts = ["a captain in the harbour", "unheard zqx", "knife ##s [UNK]", ""];
    let (a, b) = (opened.encode(&texts, Role::Query).unwrap(), compact.encode(&texts, Role::Query).unwrap());
    assert!(a.values().iter().zip(b.values()).all(|(a, b)| (a - b).abs() < 1e-6));
    let card = std::fs::read_to_string(folder.path().join("README.md")).unwrap();
    assert!(card.contains("| sea.jsonl | `00` |") && card.contains("made up"));
}

#[test]
fn impossible_wishes_are_refused() {
    let mut feed = |take: &mut dyn FnMut(&str)| {
        take("some words about nothing");
        Ok(())
    };
    for dimensions in [0, 5] {
        let options = Options { dimensions, ..Options::default() };
        let refused = distill(&Teacher::new(), &mut feed, &options, &Silent).err().map(|e| e.kind());
        assert_eq!(refused, Some(crate::ErrorKind::Usage));
    }
    let nothing = |texts: usize| {
        distill(&Teacher::new(), &mut |_| Ok(()), &Options { texts, dimensions: 2, ..Options::default() }, &Silent)
    };
    assert!(nothing(0).is_err());
}

proptest! {
    #[test]
    fn turning_onto_all_axes_keeps_inner_products(values in prop::collection::vec(-1.0f32..1.0, 12)) {
        let (_, axes) = eigen::symmetric(scatter(&values, 3), 3);
        let turned = turn(&values, 3, &axes);
        let dot = |rows: &[f32], i: usize, j: usize| (0..3).map(|k| rows[3 * i + k] * rows[3 * j + k]).sum::<f32>();
        for i in 0..4 {
            for j in 0..4 {
                prop_assert!((dot(&turned, i, j) - dot(&values, i, j)).abs() < 1e-4);
            }
        }
    }
}

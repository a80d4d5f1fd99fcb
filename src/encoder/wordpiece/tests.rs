//! The tokenizers crate is the oracle: ids are equal on every text.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::sync::OnceLock;

/// A small vocabulary with pieces of many scripts, so that random words are found, cut and unknown.
fn tokenizer_json(normalizer: Value, post: Value) -> Value {
    let mut vocabulary: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from).to_vec();
    let letters =
        "abcdefghijklmnopqrstuvwxyz0123456789.,!?()[]-'\u{1112}\u{1161}\u{11ab}한글日本東éèßIJ—“”ıαβж\u{302e}";
    for letter in letters.chars() {
        vocabulary.push(letter.to_string());
        if letter != 'q' {
            vocabulary.push(format!("##{letter}"));
        }
    }
    vocabulary.extend(["the", "cafe", "##ing", "sep", "ba", "##ab", "b", "abc", "##bc"].map(String::from));
    let vocabulary: serde_json::Map<String, Value> = vocabulary
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let added: Vec<Value> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .iter()
        .map(|t| {
            json!({"id": vocabulary[*t], "content": t, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": post, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

fn normalizer(lowercase: bool, strip_accents: Value) -> Value {
    json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
           "strip_accents": strip_accents, "lowercase": lowercase})
}

struct Pair(WordPiece, tokenizers::Tokenizer);

fn pair(json: &Value) -> Pair {
    let oracle = tokenizers::Tokenizer::from_bytes(serde_json::to_vec(json).unwrap()).unwrap();
    Pair(WordPiece::from_tokenizer_json(json).unwrap().expect("a BERT tokenizer"), oracle)
}

fn pairs() -> &'static [Pair] {
    static PAIRS: OnceLock<Vec<Pair>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let uncleaned = json!({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false,
                               "strip_accents": true, "lowercase": false});
        [normalizer(true, Value::Null), normalizer(false, Value::Null), normalizer(true, json!(false)), uncleaned]
            .map(|normalizer| pair(&tokenizer_json(normalizer, Value::Null)))
            .into()
    })
}

fn check(text: &str) {
    for Pair(ours, oracle) in pairs() {
        let expected = oracle.encode(text, false).unwrap();
        let mut ids = Vec::new();
        ours.encode(text, &mut ids);
        assert_eq!(ids, expected.get_ids(), "{text:?} under {:?}", ours.basic().settings());
        let spans = ours.spans(text);
        assert_eq!(spans.len(), ids.len());
        for (start, end) in &spans {
            assert!(start < end && text.get(*start..*end).is_some(), "{text:?}: {start}..{end}");
        }
        assert!(spans.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{text:?}");
        if text.is_ascii() {
            assert_eq!(spans, expected.get_offsets(), "{text:?}");
        }
    }
}

#[test]
fn every_character_alone_and_between_letters() {
    // Ideographs, syllables, private use and the empty planes behave alike: every 61st of them is enough.
    let uniform = |code: &u32| matches!(code, 0x3400..0xa000 | 0xac00..0xd7a4 | 0xe000..0xf900 | 0x2_0000..);
    let codes: Vec<u32> = (0..0x11_0000).filter(|code| !uniform(code) || code % 61 == 0).collect();
    for page in codes.chunks(64) {
        let chars: Vec<char> = page.iter().filter_map(|code| char::from_u32(*code)).collect();
        // Spaces keep each apart; between letters it shows whether a character drops, breaks or joins.
        check(&chars.iter().map(|c| format!("{c} b{c}a ")).collect::<String>());
    }
}

#[test]
fn known_traps() {
    for text in [
        "",
        " ",
        "a [SEP] b[SEP][MASK]c [sep] [[SEP]",
        "[CLS",
        "[",
        "x[PAD]",
        "한글 café CAFÉ cafe\u{301}",
        "İstanbul ß ẞ",
        "\u{302e}\u{301}a\u{1d165}\u{302e}b",
        "a\u{302e}\u{1d165}\u{301}",
        "日本thebaab東",
        "\u{feff}the\u{200d}ing\u{ad}",
        "\u{2028}a\u{85}b\u{3000}c",
        "👩‍👩‍👧 the",
        "ﬁ Ǆ ŉ Å",
        "\u{fffd}\0",
    ] {
        check(text);
    }
    for n in [99, 100, 101] {
        check(&"a".repeat(n));
        check(&"é".repeat(n));
        check(&"한".repeat(n / 3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn text_of_the_scripts_that_matter(
        text in "([a-zA-Z0-9 .,!?\\[\\]'-]|[\u{c0}-\u{17f}]|[\u{300}-\u{36f}]|[\u{1100}-\u{11ff}]|[가-힣]|[ぁ-ヿ]|[一-龥]|[\u{2000}-\u{206f}]|\\[SEP\\]|[\u{302a}-\u{302f}]|[\u{1d165}-\u{1d172}]|[\u{1f300}-\u{1f64f}]){0,40}"
    ) {
        check(&text);
    }
}

#[test]
fn other_families_are_left_to_the_tokenizers_crate() {
    let good = tokenizer_json(normalizer(true, Value::Null), Value::Null);
    let declined = |json: &Value| WordPiece::from_tokenizer_json(json).unwrap().is_none();
    assert!(!declined(&good));
    for (path, value) in [
        ("/normalizer/type", json!("NFC")),
        ("/normalizer", Value::Null),
        ("/pre_tokenizer/type", json!("Whitespace")),
        ("/model/type", json!("BPE")),
        ("/model/unk_token", json!("<unk>")),
        ("/model/vocab/the", json!("one")),
        ("/model/vocab/the", json!(1u64 << 40)),
        ("/added_tokens/0/lstrip", json!(true)),
        ("/added_tokens/0/id", json!(77)),
        ("/post_processor", json!({"type": "ByteLevel"})),
    ] {
        let mut json = good.clone();
        *json.pointer_mut(path).unwrap() = value;
        assert!(declined(&json), "{path}");
    }
    assert!(declined(&json!([])) && declined(&json!({})));
}

#[test]
fn special_ids_come_from_the_post_processor() {
    let template = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}], "pair": [],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                           "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}});
    let json = tokenizer_json(normalizer(true, Value::Null), template);
    let specials = WordPiece::from_tokenizer_json(&json).unwrap().unwrap().specials();
    assert_eq!((specials.cls, specials.sep), (Some(2), Some(3)));
    assert_eq!(Some(u64::from(specials.unk)), json["model"]["vocab"]["[UNK]"].as_u64());
    assert_eq!(specials.pad.map(u64::from), json["model"]["vocab"]["[PAD]"].as_u64());
}

#[test]
fn vocabularies_are_checked() {
    let refused = |entries: &[&str]| {
        let entries: Vec<String> = entries.iter().map(|entry| entry.to_string()).collect();
        WordPiece::from_vocabulary(&entries, Normalization::default()).is_err()
    };
    assert!(refused(&["a"]));
    assert!(refused(&["[UNK]", "a", "a"]));
    assert!(!refused(&["[UNK]", "a"]));
}

#[test]
fn the_vocabulary_of_minilm() {
    let Some(folder) = std::env::var_os("PARALLAX_TEST_MINILM") else {
        println!("left out: PARALLAX_TEST_MINILM names no folder of all-MiniLM-L6-v2");
        return;
    };
    let bytes = std::fs::read(std::path::Path::new(&folder).join("tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&bytes).unwrap();
    (json["truncation"], json["padding"]) = (Value::Null, Value::Null);
    let Pair(ours, oracle) = pair(&json);
    assert_eq!((ours.specials().cls, ours.specials().sep, ours.specials().pad), (Some(101), Some(102), Some(0)));
    assert_eq!(ours.size(), 30_522);
    let card = include_str!("../builtin/README.md");
    for text in [
        card,
        "Zürich's naïve Straße: 東京タワー, 서울특별시, Ελλάδα, Москва, עברית, हिन्दी, ภาษาไทย [MASK] 👍🏽 x\u{0}\u{ad}y",
    ] {
        let mut ids = Vec::new();
        ours.encode(text, &mut ids);
        assert_eq!(ids, oracle.encode(text, false).unwrap().get_ids());
    }
}

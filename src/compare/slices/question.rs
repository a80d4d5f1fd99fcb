//! What a question's own words say: how long it is, what it asks for, in which script.

use super::Place;
use crate::text::scripts::{Script, runs};
use crate::text::words;

/// Upper bounds of the bands of length, in words.
const LENGTHS: [usize; 4] = [5, 10, 15, 20];

/// The band of a question's length in words, spaces deciding (in Korean, 어절).
pub(super) fn length(text: &str) -> Place {
    let n = words::spans(text).len();
    let at = LENGTHS.iter().position(|bound| n <= *bound).unwrap_or(LENGTHS.len());
    let name = match at {
        0 => format!("up to {} words", LENGTHS[0]),
        at if at < LENGTHS.len() => format!("{} to {} words", LENGTHS[at - 1] + 1, LENGTHS[at]),
        _ => format!("{} words and more", LENGTHS[LENGTHS.len() - 1] + 1),
    };
    (at, name)
}

/// English question words with the slice they belong to; the first in the question counts.
const ENGLISH: [(&str, &str); 11] = [
    ("who", "who"),
    ("whom", "who"),
    ("whose", "who"),
    ("what", "what"),
    ("whats", "what"),
    ("when", "when"),
    ("where", "where"),
    ("why", "why"),
    ("how", "how"),
    ("which", "which"),
    ("whether", "whether"),
];

/// What begins a Korean question word, with its slice, longer ones first where one begins another; the last in the
/// question counts, which is where Korean asks.
const KOREAN: [(&str, &str); 18] = [
    ("누구", "누구"),
    ("누가", "누구"),
    ("누굴", "누구"),
    ("무엇", "무엇"),
    ("무슨", "무엇"),
    ("무얼", "무엇"),
    ("뭐", "무엇"),
    ("뭘", "무엇"),
    ("언제", "언제"),
    ("어디", "어디"),
    ("어떻게", "어떻게"),
    ("어찌", "어떻게"),
    ("어느", "어느"),
    ("어떤", "어느"),
    ("어떠한", "어느"),
    ("얼마", "몇"),
    ("몇", "몇"),
    ("왜", "왜"),
];

/// Slices in their order.
const ORDER: [&str; 16] = [
    "who",
    "what",
    "when",
    "where",
    "why",
    "how",
    "which",
    "whether",
    "누구",
    "무엇",
    "언제",
    "어디",
    "왜",
    "어떻게",
    "몇",
    "어느",
];

/// The question word's slice, or that there is none.
pub(super) fn question_word(text: &str) -> Place {
    let lowered = text.to_lowercase();
    let words: Vec<&str> = words::spans(&lowered).into_iter().map(|(start, end)| &lowered[start..end]).collect();
    let english = || words.iter().find_map(|word| ENGLISH.iter().find(|(known, _)| known == word));
    let korean = || words.iter().rev().find_map(|word| KOREAN.iter().find(|(known, _)| begins(word, known)));
    match korean().or_else(english) {
        Some((_, slice)) => {
            (ORDER.iter().position(|other| other == slice).unwrap_or(ORDER.len()), (*slice).to_string())
        }
        None => (ORDER.len(), "none of these words".to_string()),
    }
}

/// 왜 begins many nouns (왜군, 왜곡) and stands alone as a question word.
fn begins(word: &str, known: &str) -> bool {
    if known == "왜" { matches!(word, "왜" | "왜냐" | "왜인가" | "왜일까") } else { word.starts_with(known) }
}

/// The script of at least half of a question's letters; `None` without a letter.
pub(super) fn language(text: &str) -> Option<Place> {
    let (mut hangul, mut latin, mut all) = (0, 0, 0);
    for run in runs(text) {
        let letters = run.text.chars().filter(|c| c.is_alphabetic());
        let latins = letters.clone().filter(|c| matches!(*c as u32, 0x41..=0x24f | 0x1e00..=0x1eff)).count();
        let letters = letters.count();
        all += letters;
        hangul += if run.script == Script::Hangul { letters } else { 0 };
        latin += if run.script == Script::Word { latins } else { 0 };
    }
    let places = [(2 * latin >= all, "Latin"), (2 * hangul >= all, "Hangul"), (true, "other")];
    let at = places.iter().position(|(most, _)| *most)?;
    (all > 0).then(|| (at, places[at].1.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bound: &str, word: &str, script: Option<&str>) {
        assert_eq!((length(text).1.as_str(), question_word(text).1.as_str()), (bound, word), "{text}");
        assert_eq!(language(text).map(|place| place.1).as_deref(), script, "{text}");
    }

    #[test]
    fn questions_are_sorted_by_what_they_say() {
        check("Who first measured the speed of light?", "6 to 10 words", "who", Some("Latin"));
        check("In what year did it end, and where?", "6 to 10 words", "what", Some("Latin"));
        check("WHOSE is it", "up to 5 words", "who", Some("Latin"));
        check(
            "Zero-dimensional biomaterials show inductive properties.",
            "6 to 10 words",
            "none of these words",
            Some("Latin"),
        );
        check("1940년에 훈민정음 해례본을 지킨 수집가는 누구인가?", "6 to 10 words", "누구", Some("Hangul"));
        check("어느 나라의 수도가 어디인가", "up to 5 words", "어디", Some("Hangul"));
        check("왜군이 처음 상륙한 곳은?", "up to 5 words", "none of these words", Some("Hangul"));
        check("하늘은 왜 파란가", "up to 5 words", "왜", Some("Hangul"));
        check("몇년에 끝났는가", "up to 5 words", "몇", Some("Hangul"));
        check("BM25 검색 모델은 무엇인가", "up to 5 words", "무엇", Some("Hangul"));
        check("Что это", "up to 5 words", "none of these words", Some("other"));
        check("1957?", "up to 5 words", "none of these words", None);
        let long = "a ".repeat(21);
        check(&long, "21 words and more", "none of these words", Some("Latin"));
        assert_eq!([5, 6, 20].map(|n| length(&"a ".repeat(n)).0), [0, 1, 3]);
    }

    #[test]
    fn every_slice_has_a_place() {
        for (_, slice) in ENGLISH.iter().chain(&KOREAN) {
            assert!(ORDER.contains(slice), "{slice}");
        }
    }
}

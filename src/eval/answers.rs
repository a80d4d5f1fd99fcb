//! Does a passage hold the answer? DPR's rule, and a form of it that is fair to Korean.
//!
//! DPR's `has_answer` normalises to NFD, cuts text into tokens (a run of letters, digits and marks, or one other
//! visible character), lower-cases them, and asks whether the answer's tokens stand in the passage as one contiguous
//! run. Korean glues particles to nouns, so `서울은` never matches the answer `서울`: strict figures on Korean are
//! undercounts. [`Matching::Korean`] also accepts a last token that continues with a particle, and nothing else.
//!
//! ```
//! use parallax::eval::answers::{Answers, Matching, Tokens};
//! let passage = Tokens::of("서울은 한국의 수도이다.");
//! let answers = Answers::of(&["서울".to_string()]);
//! assert!(!answers.held_by(&passage, Matching::Strict));
//! assert!(answers.held_by(&passage, Matching::Korean));
//! ```
//!
//! Cost: a passage is tokenised once (linear), then each answer is a scan over 64-bit token hashes.
//! Source: Karpukhin et al., 2020, and the behaviour of its published `qa_validation.py` and `tokenizers.py`.

use crate::text::particles;
use std::hash::{DefaultHasher, Hash, Hasher};
use unicode_general_category::{GeneralCategory as Category, get_general_category};
use unicode_normalization::UnicodeNormalization;

/// How an answer's tokens are compared with a passage's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matching {
    /// DPR's rule: whole tokens.
    Strict,
    /// The last token may be followed by a Korean particle.
    Korean,
}

/// A passage's tokens, as hashes.
pub struct Tokens {
    words: Vec<u64>,
    /// `(position, hash of the word with a particle taken off)`, by position; several a word where several fit.
    stems: Vec<(usize, u64)>,
}

impl Tokens {
    /// Tokenises a passage's text.
    pub fn of(text: &str) -> Self {
        let mut tokens = Tokens { words: Vec::new(), stems: Vec::new() };
        for_each_token(text, &mut |token| {
            let position = tokens.words.len();
            tokens.words.push(hash(token));
            // Conjoining jamo (NFD) are how a Hangul token looks here; particles are written in syllables.
            if token.chars().any(|c| ('\u{1100}'..='\u{11ff}').contains(&c)) {
                let syllables: String = token.nfc().collect();
                for stem in particles::stems(&syllables) {
                    let stem: String = stem.nfd().collect();
                    tokens.stems.push((position, hash(&stem)));
                }
            }
        });
        tokens
    }
}

/// A question's accepted answers, as token hashes; answers without a token are left out.
pub struct Answers(Vec<Vec<u64>>);

impl Answers {
    /// Tokenises the answers.
    pub fn of(answers: &[String]) -> Self {
        let tokens = answers.iter().map(|answer| Tokens::of(answer).words).filter(|words| !words.is_empty());
        Answers(tokens.collect())
    }

    /// Whether no answer has a token (DPR would call every passage a match; here such a question is left out).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the passage holds one of the answers.
    pub fn held_by(&self, passage: &Tokens, matching: Matching) -> bool {
        self.0.iter().any(|answer| match matching {
            Matching::Strict => passage.words.windows(answer.len()).any(|window| window == answer),
            Matching::Korean => passage.words.windows(answer.len()).enumerate().any(|(start, window)| {
                let last = answer.len() - 1;
                window[..last] == answer[..last]
                    && (window[last] == answer[last] || has_stem(passage, start + last, answer[last]))
            }),
        })
    }
}

fn has_stem(passage: &Tokens, position: usize, stem: u64) -> bool {
    let first = passage.stems.partition_point(|(at, _)| *at < position);
    passage.stems[first..].iter().take_while(|(at, _)| *at == position).any(|(_, hash)| *hash == stem)
}

fn hash(token: &str) -> u64 {
    // SipHash with fixed keys: equal in every run of the program.
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    hasher.finish()
}

/// Calls `each` with every token of the text, normalised to NFD and lower-cased.
pub fn for_each_token(text: &str, each: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    let mut buffer = [0; 4];
    let mut take = |c: char| match Kind::of(c) {
        Kind::Word => word.push(c),
        kind => {
            if !word.is_empty() {
                each(&lowered(&word));
                word.clear();
            }
            if kind == Kind::Single {
                each(&lowered(c.encode_utf8(&mut buffer)));
            }
        }
    };
    if text.is_ascii() {
        text.chars().for_each(&mut take)
    } else {
        text.nfd().for_each(&mut take)
    }
    if !word.is_empty() {
        each(&lowered(&word));
    }
}

fn lowered(token: &str) -> String {
    if token.is_ascii() { token.to_ascii_lowercase() } else { token.to_lowercase() }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Word,
    Single,
    Gap,
}

impl Kind {
    /// DPR's two patterns: `[\p{L}\p{N}\p{M}]+` and `[^\p{Z}\p{C}]`.
    fn of(c: char) -> Kind {
        if c.is_ascii() {
            return match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' => Kind::Word,
                ' ' | '\u{7f}' | '\0'..='\u{1f}' => Kind::Gap,
                _ => Kind::Single,
            };
        }
        use Category::*;
        match get_general_category(c) {
            UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => Kind::Word,
            DecimalNumber | LetterNumber | OtherNumber | NonspacingMark | SpacingMark | EnclosingMark => Kind::Word,
            SpaceSeparator | LineSeparator | ParagraphSeparator => Kind::Gap,
            Control | Format | Surrogate | PrivateUse | Unassigned => Kind::Gap,
            _ => Kind::Single,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passage: &str, answer: &str, strict: bool, korean: bool) {
        let tokens = Tokens::of(passage);
        let answers = Answers::of(&[answer.to_string()]);
        assert_eq!(answers.held_by(&tokens, Matching::Strict), strict, "strict: {answer} in {passage}");
        assert_eq!(answers.held_by(&tokens, Matching::Korean), korean, "korean: {answer} in {passage}");
    }

    #[test]
    fn whole_tokens_in_order_decide() {
        check("The Battle of Hastings, 1066.", "hastings", true, true);
        check("The Battle of Hastings, 1066.", "Battle of Hastings", true, true);
        check("The Battle of Hastings, 1066.", "Hasting", false, false);
        check("The Battle of Hastings, 1066.", "Hastings 1066", false, false);
        check("It cost $5.00 (net).", "$5.00", true, true);
        check("Crème brûlée", "creme brulee", false, false);
        check("Cre\u{300}me", "Crème", true, true);
    }

    #[test]
    fn particles_are_forgiven_in_korean_only_at_the_end() {
        check("세종대왕이 1443년에 만들었다", "세종대왕", false, true);
        check("이순신 장군은 노량에서", "이순신 장군", false, true);
        check("서울특별시는", "서울", false, false);
        check("대한민국의 수도", "대한민국", false, true);
        check("수도 서울", "서울", true, true);
    }

    #[test]
    fn answers_without_tokens_match_nothing() {
        assert!(Answers::of(&["  ".to_string(), String::new()]).is_empty());
        check("anything", " ", false, false);
    }
}

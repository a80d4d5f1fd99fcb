//! Does a passage hold the answer? DPR's rule, a form of it that is fair to Korean, and an upper bound.
//!
//! DPR's `has_answer` normalises to NFD, cuts text into tokens (a run of letters, digits and marks, or one other
//! visible character), lower-cases them, and asks whether the answer's tokens stand in the passage as one contiguous
//! run. Korean glues particles to nouns, so `서울은` never matches the answer `서울`: strict figures on Korean are
//! undercounts. [`Matching::Korean`] also accepts a last token that continues with a particle, and nothing else.
//!
//! [`Matching::Characters`] asks for less: both texts are brought to NFKC, lower-cased, freed of spaces and punctuation, and
//! the answer's characters have to stand in the passage as one contiguous run. It forgives other spacing (`이순신 장군`
//! in `이순신장군`), hyphens and full-width forms, and also finds `5` in `1957`: what it finds beyond the others is an upper
//! bound, not proof. Every answer that one of the others finds it finds too.
//!
//! ```
//! use parallax::eval::answers::{Answers, Matching, Tokens};
//! let passage = Tokens::of("서울은 한국의 수도이다.");
//! let answers = Answers::of(&["서울".to_string()]);
//! assert!(!answers.held_by(&passage, Matching::Strict));
//! assert!(answers.held_by(&passage, Matching::Korean));
//! let joined = Tokens::with_characters("대한민국수도는 서울");
//! let answers = Answers::of(&["대한민국 수도".to_string()]);
//! assert!(!answers.held_by(&joined, Matching::Korean));
//! assert!(answers.held_by(&joined, Matching::Characters));
//! ```
//!
//! Cost: a passage is tokenised once (linear), then each answer is a scan over 64-bit token hashes, or over characters.
//! Sources: Karpukhin et al., 2020, and the behaviour of its published `qa_validation.py` and `tokenizers.py`; Unicode
//! Standard Annex 15, *Unicode Normalization Forms*.

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
    /// Contiguous characters, without spaces and punctuation, lower-cased NFKC.
    Characters,
}

/// A passage's tokens, as hashes.
pub struct Tokens {
    words: Vec<u64>,
    /// `(position, hash of the word with a particle taken off)`, by position; several a word where several fit.
    stems: Vec<(usize, u64)>,
    /// What [`Matching::Characters`] looks through, where it was asked for.
    characters: Option<Box<str>>,
}

impl Tokens {
    /// Tokenises a passage's text, for the matchings by token; [`Matching::Characters`] finds nothing in it.
    pub fn of(text: &str) -> Self {
        let mut tokens = Tokens { words: Vec::new(), stems: Vec::new(), characters: None };
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

    /// Tokenises a passage's text, for all matchings; the text itself is kept, which takes more memory.
    pub fn with_characters(text: &str) -> Self {
        Tokens { characters: Some(characters(text).into_boxed_str()), ..Tokens::of(text) }
    }
}

/// A text's letters, digits, marks and symbols, NFKC and lower-case, one after the other.
fn characters(text: &str) -> String {
    if text.is_ascii() {
        let kept = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && !byte.is_ascii_control());
        return kept
            .filter(|byte| !is_punctuation(*byte as char))
            .map(|byte| byte.to_ascii_lowercase() as char)
            .collect();
    }
    let kept: String = text.nfkc().filter(|c| Kind::of(*c) != Kind::Gap && !is_punctuation(*c)).collect();
    // Character by character: what a final sigma looks like depends on the space after it. Lower-casing may decompose.
    let lowered = kept.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c });
    lowered.nfkc().collect()
}

/// Punctuation of any script; symbols (`$`, `+`, `°`) are none.
fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_punctuation() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~');
    }
    use Category::*;
    matches!(
        get_general_category(c),
        ConnectorPunctuation
            | DashPunctuation
            | OpenPunctuation
            | ClosePunctuation
            | InitialPunctuation
            | FinalPunctuation
            | OtherPunctuation
    )
}

/// A question's accepted answers, as token hashes and as characters; answers without a token are left out.
pub struct Answers(Vec<Answer>);

struct Answer {
    words: Vec<u64>,
    characters: String,
}

impl Answers {
    /// Tokenises the answers.
    pub fn of(answers: &[String]) -> Self {
        let of = |answer: &String| Answer { words: Tokens::of(answer).words, characters: characters(answer) };
        Answers(answers.iter().map(of).filter(|answer| !answer.words.is_empty()).collect())
    }

    /// Whether no answer has a token (DPR would call every passage a match; here such a question is left out).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the passage holds one of the answers.
    pub fn held_by(&self, passage: &Tokens, matching: Matching) -> bool {
        self.0.iter().any(|Answer { words, characters }| match matching {
            Matching::Strict => holds(passage, words),
            Matching::Korean => passage.words.windows(words.len()).enumerate().any(|(start, window)| {
                let last = words.len() - 1;
                window[..last] == words[..last]
                    && (window[last] == words[last] || has_stem(passage, start + last, words[last]))
            }),
            // An answer of punctuation alone has tokens and no characters.
            Matching::Characters if characters.is_empty() => passage.characters.is_some() && holds(passage, words),
            Matching::Characters => passage.characters.as_ref().is_some_and(|text| text.contains(characters.as_str())),
        })
    }
}

fn holds(passage: &Tokens, words: &[u64]) -> bool {
    passage.words.windows(words.len()).any(|window| window == words)
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

    #[test]
    fn characters_forgive_spacing_punctuation_and_width_and_nothing_else() {
        let found = |passage: &str, answer: &str| {
            let answers = Answers::of(&[answer.to_string()]);
            answers.held_by(&Tokens::with_characters(passage), Matching::Characters)
        };
        assert!(found("이순신장군은 노량에서", "이순신 장군"));
        assert!(found("《훈민정음》 해례본", "훈민정음해례본"));
        assert!(found("the co-operation of ＡＢＣ，１９９９", "Cooperation"));
        assert!(found("the co-operation of ＡＢＣ，１９９９", "abc 1999"));
        assert!(found("Cre\u{300}me BRÛLÉE", "crème brûlée"));
        assert!(found("It cost $5.00 (net).", "$500"), "a stop is punctuation, a dollar is none");
        assert!(!found("It cost 5.00 (net).", "$5.00"));
        assert!(found("born in 1957", "5"), "an upper bound");
        assert!(!found("crème", "creme"));
        assert!(found("wait ... what", "..."), "an answer without characters is asked for by its tokens");
        assert!(
            !Answers::of(&["a".to_string()]).held_by(&Tokens::of("a"), Matching::Characters),
            "not prepared for it"
        );
    }

    proptest::proptest! {
        #[test]
        fn characters_find_whatever_tokens_find(
            before in "[a-cA-C가각은는İßΣ .,'-]{0,12}", answer in "[a-cA-C가각은는İßΣςﬁ .,'-]{1,6}", after in "[a-c가는Σ .]{0,8}",
        ) {
            let passage = Tokens::with_characters(&format!("{before}{answer}{after}"));
            let answers = Answers::of(&[answer]);
            for matching in [Matching::Strict, Matching::Korean] {
                if answers.held_by(&passage, matching) {
                    proptest::prop_assert!(answers.held_by(&passage, Matching::Characters));
                }
            }
        }
    }
}

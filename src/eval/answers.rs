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
//! A passage is kept as its tokens, each on a line of its own (`\nseoul\nis\n`), and so is an answer: the rule of whole tokens is
//! then a search for bytes in bytes.
//!
//! Cost: a passage is tokenised once (linear, a nanosecond or two a byte of ASCII), then each answer is a search for its
//! rarest bytes, 32 at a time, or for its characters.
//! Sources: Karpukhin et al., 2020, and the behaviour of its published `qa_validation.py` and `tokenizers.py`; Unicode
//! Standard Annex 15, *Unicode Normalization Forms*.

use crate::text::particles;
use memchr::memmem::Finder;
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

/// A passage's tokens.
pub struct Tokens {
    /// UTF-8: a line end, then each token with a line end after it.
    lines: Box<[u8]>,
    /// What [`Matching::Characters`] looks through, where it was asked for.
    characters: Option<Box<str>>,
}

/// Stands in no token.
const END: u8 = b'\n';

impl Tokens {
    /// Tokenises a passage's text, for the matchings by token; [`Matching::Characters`] finds nothing in it.
    pub fn of(text: &str) -> Self {
        Tokens { lines: lines(text).into_boxed_slice(), characters: None }
    }

    /// Tokenises a passage's text, for all matchings; the text itself is kept, which takes more memory.
    pub fn with_characters(text: &str) -> Self {
        Tokens { characters: Some(characters(text).into_boxed_str()), ..Tokens::of(text) }
    }
}

/// A text's tokens, each on a line of its own: what [`for_each_token`] gives.
fn lines(text: &str) -> Vec<u8> {
    // How the last sigma of a word is lower-cased depends on what follows.
    if text.contains('Σ') {
        let mut lines = vec![END];
        for_each_token(text, &mut |token| {
            lines.extend_from_slice(token.as_bytes());
            lines.push(END);
        });
        return lines;
    }
    let mut lines = Vec::with_capacity(text.len() + text.len() / 2 + 16);
    let mut before = Kind::Gap;
    for_each_run(text, &mut |run| match run {
        Run::Ascii(run) => ascii_lines(run.as_bytes(), &mut before, &mut lines),
        Run::Other(c) => {
            let kind = Kind::of(c);
            if kind != Kind::Gap {
                if kind == Kind::Single || before != Kind::Word {
                    lines.push(END);
                }
                for c in c.to_lowercase() {
                    lines.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            before = kind;
        }
    });
    lines.push(END);
    lines
}

/// Appends what ASCII characters add to [`lines`]. Everything is written down and counted without a branch: where words
/// end cannot be foretold.
fn ascii_lines(run: &[u8], before: &mut Kind, lines: &mut Vec<u8>) {
    const KINDS: [Kind; 128] = {
        let mut kinds = [Kind::Gap; 128];
        let mut byte = 0;
        while byte < 128 {
            kinds[byte] = Kind::of_ascii(byte as u8);
            byte += 1;
        }
        kinds
    };
    for run in run.chunks(256) {
        let mut out = [END; 512];
        let mut length = 0;
        for byte in run {
            let kind = KINDS[usize::from(*byte & 127)];
            let visible = kind != Kind::Gap;
            let goes_on = kind == Kind::Word && *before == Kind::Word;
            out[length & 511] = END;
            length += usize::from(visible & !goes_on);
            out[length & 511] = byte.to_ascii_lowercase();
            length += usize::from(visible);
            *before = kind;
        }
        lines.extend_from_slice(&out[..length]);
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

/// A question's accepted answers, as tokens and as characters; answers without a token are left out.
pub struct Answers(Vec<Answer>);

struct Answer {
    /// Its tokens, each after a line end.
    lines: Finder<'static>,
    /// Where the last token begins.
    last: usize,
    characters: String,
}

impl Answer {
    /// `None` without a token.
    fn of(answer: &str) -> Option<Self> {
        let mut lines = lines(answer);
        lines.pop();
        let last = lines.iter().rposition(|byte| *byte == END)? + 1;
        Some(Answer { lines: Finder::new(&lines).into_owned(), last, characters: characters(answer) })
    }

    /// Whether the tokens stand in the passage; with `particle`, the last one may be followed by one.
    fn stands_in(&self, passage: &Tokens, particle: bool) -> bool {
        let lines = &passage.lines[..];
        let mut from = 0;
        while let Some(at) = lines.get(from..).and_then(|rest| self.lines.find(rest)) {
            let end = from + at + self.lines.needle().len();
            if lines.get(end) == Some(&END) || (particle && self.is_stem(lines, from + at + self.last, end)) {
                return true;
            }
            from += at + 1;
        }
        false
    }

    /// Whether the token that begins at `start` is what ends before `end`, and a particle.
    fn is_stem(&self, lines: &[u8], start: usize, end: usize) -> bool {
        let token = lines[start..].split(|byte| *byte == END).next().unwrap_or_default();
        let Ok(token) = std::str::from_utf8(token) else { return false };
        // Conjoining jamo (NFD) are how a Hangul token looks here; particles are written in syllables.
        if !token.chars().any(|c| ('\u{1100}'..='\u{11ff}').contains(&c)) {
            return false;
        }
        let syllables: String = token.nfc().collect();
        let stem = token[..end - start].chars();
        particles::stems(&syllables).iter().any(|found| found.nfd().eq(stem.clone()))
    }
}

impl Answers {
    /// Tokenises the answers.
    pub fn of(answers: &[String]) -> Self {
        Answers(answers.iter().filter_map(|answer| Answer::of(answer)).collect())
    }

    /// Whether no answer has a token (DPR would call every passage a match; here such a question is left out).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the passage holds one of the answers.
    pub fn held_by(&self, passage: &Tokens, matching: Matching) -> bool {
        self.0.iter().any(|answer| match matching {
            Matching::Strict => answer.stands_in(passage, false),
            Matching::Korean => answer.stands_in(passage, true),
            // An answer of punctuation alone has tokens and no characters.
            Matching::Characters if answer.characters.is_empty() => {
                passage.characters.is_some() && answer.stands_in(passage, false)
            }
            Matching::Characters => {
                passage.characters.as_ref().is_some_and(|text| text.contains(answer.characters.as_str()))
            }
        })
    }
}

/// A part of a text in NFD.
enum Run<'a> {
    Ascii(&'a str),
    Other(char),
}

/// Cuts a text into runs of ASCII and the other characters, in NFD. No ASCII character decomposes or moves, so only what
/// stands between them has to be looked up.
fn for_each_run(text: &str, each: &mut dyn FnMut(Run<'_>)) {
    let mut rest = text;
    while !rest.is_empty() {
        let (ascii, beyond) = rest.split_at(rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len()));
        if !ascii.is_empty() {
            each(Run::Ascii(ascii));
        }
        let (other, after) = beyond.split_at(beyond.bytes().position(|b| b.is_ascii()).unwrap_or(beyond.len()));
        other.nfd().for_each(|c| each(Run::Other(c)));
        rest = after;
    }
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
    for_each_run(text, &mut |run| match run {
        Run::Ascii(run) => run.chars().for_each(&mut take),
        Run::Other(c) => take(c),
    });
    if !word.is_empty() {
        each(&lowered(&word));
    }
}

fn lowered(token: &str) -> String {
    if token.is_ascii() { token.to_ascii_lowercase() } else { token.to_lowercase() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Single,
    Gap,
}

impl Kind {
    const fn of_ascii(byte: u8) -> Kind {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Kind::Word,
            b' ' | 0x7f | 0..=0x1f => Kind::Gap,
            _ => Kind::Single,
        }
    }

    /// DPR's two patterns: `[\p{L}\p{N}\p{M}]+` and `[^\p{Z}\p{C}]`.
    fn of(c: char) -> Kind {
        if c.is_ascii() {
            return Kind::of_ascii(c as u8);
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

    /// The rule as DPR has it: the answer's tokens as one run of the passage's.
    fn by_tokens(passage: &str, answer: &str) -> bool {
        let tokens = |text: &str| {
            let mut tokens = Vec::new();
            for_each_token(text, &mut |token| tokens.push(token.to_string()));
            tokens
        };
        let (passage, answer) = (tokens(passage), tokens(answer));
        !answer.is_empty() && passage.windows(answer.len()).any(|window| window == answer)
    }

    proptest::proptest! {
        #[test]
        fn lines_hold_the_tokens(text in "[a-cA-C0ÄéİßΣς각은ﬁ–\u{301}\u{327} .,\n'-]{0,30}", long in 0usize..600) {
            let text = format!("{}{text}", "Ab,".repeat(long / 3));
            let mut want = String::from("\n");
            for_each_token(&text, &mut |token| want.extend([token, "\n"]));
            proptest::prop_assert_eq!(String::from_utf8(lines(&text)).unwrap(), want);
            let whole: String = text.nfd().collect();
            let mut runs = String::new();
            for_each_run(&text, &mut |run| match run {
                Run::Ascii(run) => runs.push_str(run),
                Run::Other(c) => runs.push(c),
            });
            proptest::prop_assert_eq!(runs, whole);
        }

        #[test]
        fn bytes_in_bytes_are_tokens_among_tokens(passage in "[abA .,é각]{0,20}", answer in "[abA .,é각]{0,4}") {
            let found = Answers::of(std::slice::from_ref(&answer)).held_by(&Tokens::of(&passage), Matching::Strict);
            proptest::prop_assert_eq!(found, by_tokens(&passage, &answer));
        }

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

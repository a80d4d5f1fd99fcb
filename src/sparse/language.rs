//! Which language the words of a collection are in: names, Snowball stemmers, stop words, and the vote.
//!
//! A sample of texts comes in, one [`Language`] goes out. Each language that has a list of function words is given the
//! share of the sample's words found in its list; the largest share wins if it is large enough. Scripts that only one
//! language here uses (Hangul, Greek, Arabic, Tamil) decide by their share of the letters.
//!
//! ```
//! use parallax::sparse::Language;
//! assert_eq!(Language::vote(["the cat sat on the mat and it was warm"]), Language::English);
//! assert_eq!(Language::vote(["고양이가 매트 위에 앉아 있었다"]), Language::Korean);
//! assert_eq!(Language::from_name("de"), Some(Language::German));
//! ```
//!
//! Cost: one pass over the sample with a hash look-up a word. Source: the stop lists tantivy carries (Lucene's and
//! Snowball's); function words as language evidence: G. Grefenstette, *Comparing two language identification schemes*, 1995.

use crate::text::scripts::{self, Script};
use std::collections::HashMap;
use tantivy::tokenizer as engine;

macro_rules! languages {
    ($($(#[$doc:meta])* $name:ident $code:literal $snowball:expr;)*) => {
        /// The language alphabetic words are analysed in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Language {
            $($(#[$doc])* $name,)*
        }

        impl Language {
            /// Every language, in the order of the vote's ties.
            pub const ALL: &[Language] = &[$(Language::$name,)*];

            /// The name users write: an ISO 639-1 code, or `none`.
            pub fn name(self) -> &'static str {
                match self { $(Language::$name => $code,)* }
            }

            /// The engine's stemmer for words in an alphabet.
            pub(crate) fn snowball(self) -> Option<engine::Language> {
                match self { $(Language::$name => $snowball,)* }
            }
        }
    };
}

languages! {
    /// English.
    English "en" Some(engine::Language::English);
    /// Korean: Hangul is analysed the same under every language; the Latin words between are taken as English.
    Korean "ko" Some(engine::Language::English);
    /// Arabic.
    Arabic "ar" Some(engine::Language::Arabic);
    /// Danish.
    Danish "da" Some(engine::Language::Danish);
    /// Dutch.
    Dutch "nl" Some(engine::Language::Dutch);
    /// Finnish.
    Finnish "fi" Some(engine::Language::Finnish);
    /// French.
    French "fr" Some(engine::Language::French);
    /// German.
    German "de" Some(engine::Language::German);
    /// Greek.
    Greek "el" Some(engine::Language::Greek);
    /// Hungarian.
    Hungarian "hu" Some(engine::Language::Hungarian);
    /// Italian.
    Italian "it" Some(engine::Language::Italian);
    /// Norwegian.
    Norwegian "no" Some(engine::Language::Norwegian);
    /// Portuguese.
    Portuguese "pt" Some(engine::Language::Portuguese);
    /// Romanian.
    Romanian "ro" Some(engine::Language::Romanian);
    /// Russian.
    Russian "ru" Some(engine::Language::Russian);
    /// Spanish.
    Spanish "es" Some(engine::Language::Spanish);
    /// Swedish.
    Swedish "sv" Some(engine::Language::Swedish);
    /// Tamil.
    Tamil "ta" Some(engine::Language::Tamil);
    /// Turkish.
    Turkish "tr" Some(engine::Language::Turkish);
    /// Any other: words are lower-cased and left whole.
    Plain "none" None;
}

/// The smallest share of function words that decides; running text of a listed language has 25 % and more.
const ENOUGH: f64 = 0.12;
/// Words a vote looks at: more of them change nothing.
const SAMPLE: usize = 200_000;

impl Language {
    /// The language of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Language::ALL.iter().copied().find(|language| language.name() == name)
    }

    /// The engine's stop words, where it has a list.
    pub(crate) fn stop_words(self) -> Option<engine::StopWordFilter> {
        self.snowball().and_then(engine::StopWordFilter::new)
    }

    /// The language of a sample of texts; [`Language::Plain`] where none stands out.
    pub fn vote<'t>(sample: impl IntoIterator<Item = &'t str>) -> Self {
        let mut words: HashMap<String, u64> = HashMap::new();
        let (mut total, mut letters, mut scripts) = (0u64, 0u64, HashMap::<Language, u64>::new());
        for run in sample.into_iter().flat_map(scripts::runs).take(SAMPLE) {
            let length = run.text.chars().count() as u64;
            let by_script = match run.text.chars().next().map_or(0, |c| c as u32) {
                _ if run.script == Script::Hangul => Some(Language::Korean),
                0x370..=0x3FF | 0x1F00..=0x1FFF => Some(Language::Greek),
                0x600..=0x6FF | 0x750..=0x77F => Some(Language::Arabic),
                0xB80..=0xBFF => Some(Language::Tamil),
                _ => None,
            };
            letters += length;
            if let Some(language) = by_script {
                *scripts.entry(language).or_default() += length;
            } else if run.script == Script::Word && !run.text.starts_with(|c: char| c.is_ascii_digit()) {
                total += 1;
                *words.entry(run.text.to_lowercase()).or_default() += 1;
            }
        }
        if let Some((language, _)) = scripts.into_iter().find(|(_, count)| count * 2 > letters) {
            return language;
        }
        // Maximum by strict comparison: ties go to the language listed first.
        let mut best = (Language::Plain, ENOUGH * total as f64);
        for language in Language::ALL.iter().copied().filter(|language| *language != Language::Korean) {
            let Some(mut is_function_word) = function_words(language) else { continue };
            let hits: u64 = words.iter().filter(|(word, _)| is_function_word(word)).map(|(_, count)| count).sum();
            if hits as f64 > best.1 {
                best = (language, hits as f64);
            }
        }
        best.0
    }
}

type IsFunctionWord = Box<dyn FnMut(&str) -> bool>;

/// Whether a lower-case word is a function word of the language; `None` where no list is at hand.
fn function_words(language: Language) -> Option<IsFunctionWord> {
    // The engine has no lists for these two; some of their most frequent words.
    let own: &[&str] = match language {
        Language::Romanian => &[
            "și", "în", "din", "este", "pe", "cu", "care", "sunt", "fost", "mai", "pentru", "prin", "după", "un", "o",
            "de", "la", "a", "al", "ale",
        ],
        Language::Turkish => &[
            "ve",
            "bir",
            "bu",
            "için",
            "ile",
            "olarak",
            "olan",
            "daha",
            "çok",
            "sonra",
            "gibi",
            "kadar",
            "da",
            "de",
            "en",
            "ise",
            "değil",
            "tarafından",
        ],
        _ => &[],
    };
    if !own.is_empty() {
        return Some(Box::new(move |word| own.contains(&word)));
    }
    let filter = language.stop_words()?;
    let mut chain = engine::TextAnalyzer::builder(engine::RawTokenizer::default()).filter(filter).build();
    Some(Box::new(move |word| !chain.token_stream(word).advance()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for language in Language::ALL {
            assert_eq!(Language::from_name(language.name()), Some(*language));
        }
        assert_eq!(Language::from_name("auto"), None);
    }

    #[test]
    fn the_vote_finds_the_language() {
        for (language, text) in [
            (Language::English, "In 1969 the first humans landed on the Moon, and they stayed there for a day."),
            (Language::German, "Die Stadt liegt am Rhein und ist seit dem Mittelalter ein Zentrum des Handels."),
            (Language::French, "La ville est située sur le fleuve et elle est connue pour ses ponts."),
            (Language::Spanish, "La ciudad está en la costa y es conocida por sus playas y por el puerto."),
            (Language::Italian, "La città si trova sulla costa ed è nota per il suo porto e per le sue chiese."),
            (Language::Portuguese, "A cidade fica na costa e é conhecida pelas suas praias e por um porto."),
            (Language::Dutch, "De stad ligt aan de rivier en is al eeuwen een centrum van de handel."),
            (Language::Swedish, "Staden ligger vid kusten och är känd för sin hamn och för att den är gammal."),
            (
                Language::Danish,
                "Byen ligger ved kysten og er kendt for sin havn, som ikke er ret stor, og som blev bygget af ham.",
            ),
            (Language::Finnish, "Kaupunki on meren rannalla, ja se on ollut siellä, missä me olemme, kun he tulivat."),
            (Language::Hungarian, "A város a folyó partján van, és ez az egyik legnagyobb, de nem a legszebb."),
            (Language::Russian, "Город стоит на реке, и он был известен как центр торговли в то время."),
            (
                Language::Romanian,
                "Orașul este pe malul râului și a fost un centru pentru comerț în care sunt multe poduri.",
            ),
            (
                Language::Turkish,
                "Şehir bir nehir üzerinde ve çok eski bir ticaret merkezi olarak bu bölge için önemlidir.",
            ),
            (Language::Greek, "Η πόλη βρίσκεται στην ακτή και είναι γνωστή για το λιμάνι της."),
            (Language::Arabic, "تقع المدينة على الساحل وهي معروفة بمينائها"),
            (Language::Tamil, "நகரம் கடற்கரையில் உள்ளது"),
            (Language::Korean, "서울특별시는 대한민국의 수도이며 최대 도시이다. (Seoul)"),
            (Language::Plain, "東京は日本の首都である。"),
            (Language::Plain, "Thành phố nằm bên bờ sông nổi tiếng với nhiều cây cầu"),
            (Language::Plain, ""),
        ] {
            assert_eq!(Language::vote([text]), language, "{text}");
        }
    }
}

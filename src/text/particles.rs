//! Korean particles: what is attached to a noun, taken off by rule.
//!
//! A run of Hangul comes in (`대한민국에서는`), its stem goes out (`대한민국`); a word that ends in no particle comes
//! back whole. There is no dictionary: a particle is believed where the syllable before it has the final consonant it
//! asks for (`을` after one, `를` after none, `로` after none or `ㄹ`), and where enough of a stem is left. A few nouns
//! that end like a particle lose a syllable; whoever uses stems keeps the whole word beside them.
//!
//! ```
//! use parallax::text::particles::strip;
//! assert_eq!(strip("대한민국에서는"), "대한민국");
//! assert_eq!(strip("물은"), "물");
//! assert_eq!(strip("마을"), "마을"); // 을 follows a final consonant only
//! ```
//!
//! Cost: a look at the last few syllables. Source: 국립국어원, *표준국어대사전* (National Institute of Korean
//! Language, *Standard Korean Dictionary*), entries marked 조사; the copula's frequent endings are added.

/// What has to stand before a particle.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// A syllable with a final consonant.
    Consonant,
    /// A syllable without one.
    Vowel,
    /// A syllable without one, or with `ㄹ`.
    VowelOrRieul,
    /// Any syllable.
    Any,
}

use After::{Any, Consonant, Vowel, VowelOrRieul};

/// Particles, longer ones first, so that the first match is the longest. Those of one syllable that follow anything
/// (`의`, `도`) end too many nouns and ask for two syllables before them; others ask for one.
const PARTICLES: &[(&str, After)] = &[
    ("으로부터는", Consonant),
    ("으로부터", Consonant),
    ("로부터는", VowelOrRieul),
    ("에게서는", Any),
    ("이었으며", Consonant),
    ("이었지만", Consonant),
    ("으로서의", Consonant),
    ("으로서는", Consonant),
    ("로부터", VowelOrRieul),
    ("으로서", Consonant),
    ("으로써", Consonant),
    ("으로는", Consonant),
    ("으로도", Consonant),
    ("으로의", Consonant),
    ("에게서", Any),
    ("에게는", Any),
    ("에게도", Any),
    ("한테서", Any),
    ("께서는", Any),
    ("에서는", Any),
    ("에서도", Any),
    ("에서의", Any),
    ("까지는", Any),
    ("까지도", Any),
    ("까지의", Any),
    ("부터는", Any),
    ("부터의", Any),
    ("보다는", Any),
    ("보다도", Any),
    ("로서의", VowelOrRieul),
    ("로서는", VowelOrRieul),
    ("이라는", Consonant),
    ("이라고", Consonant),
    ("이라도", Consonant),
    ("이었다", Consonant),
    ("이었던", Consonant),
    ("이지만", Consonant),
    ("이면서", Consonant),
    ("입니다", Any),
    ("였으며", Vowel),
    ("였지만", Vowel),
    ("으로", Consonant),
    ("로서", VowelOrRieul),
    ("로써", VowelOrRieul),
    ("로는", VowelOrRieul),
    ("로도", VowelOrRieul),
    ("로의", VowelOrRieul),
    ("에서", Any),
    ("에게", Any),
    ("에는", Any),
    ("에도", Any),
    ("에만", Any),
    ("한테", Any),
    ("께서", Any),
    ("까지", Any),
    ("부터", Any),
    ("처럼", Any),
    ("보다", Any),
    ("마다", Any),
    ("조차", Any),
    ("마저", Any),
    ("밖에", Any),
    ("만큼", Any),
    ("만이", Any),
    ("만을", Any),
    ("만의", Any),
    ("하고", Any),
    ("과의", Consonant),
    ("과는", Consonant),
    ("와의", Vowel),
    ("와는", Vowel),
    ("이다", Consonant),
    ("이며", Consonant),
    ("이고", Consonant),
    ("이자", Consonant),
    ("이란", Consonant),
    ("이나", Consonant),
    ("이든", Consonant),
    ("이랑", Consonant),
    ("였다", Vowel),
    ("였던", Vowel),
    ("라는", Vowel),
    ("라고", Vowel),
    ("은", Consonant),
    ("이", Consonant),
    ("을", Consonant),
    ("과", Consonant),
    ("는", Vowel),
    ("가", Vowel),
    ("를", Vowel),
    ("와", Vowel),
    ("로", VowelOrRieul),
    ("의", Any),
    ("에", Any),
    ("도", Any),
    ("만", Any),
];

/// The word without the particle it ends in, or the word itself.
pub fn strip(word: &str) -> &str {
    for (particle, after) in PARTICLES {
        let Some(stem) = word.strip_suffix(particle) else { continue };
        let Some(last) = stem.chars().next_back() else { continue };
        let least = if *after == Any && particle.chars().nth(1).is_none() { 2 } else { 1 };
        if follows(last, *after) && stem.chars().nth(least - 1).is_some() {
            return stem;
        }
    }
    word
}

/// What may be left of a word by taking one particle off, longest first: `부산에서는` gives `부산에서` and `부산`.
///
/// More generous than [`strip`], for whoever knows the stem already and asks whether it is one: every particle that
/// fits is tried, at least one character stays, and after a letter or digit of another script any particle fits.
pub fn stems(word: &str) -> Vec<&str> {
    let fits = |last: char, after: After| follows(last, after) || !('가'..='힣').contains(&last);
    let stem = |(particle, after): &(&str, After)| {
        let stem = word.strip_suffix(particle)?;
        fits(stem.chars().next_back()?, *after).then_some(stem)
    };
    let mut stems: Vec<&str> = PARTICLES.iter().filter_map(stem).collect();
    stems.sort_by_key(|stem| std::cmp::Reverse(stem.len()));
    stems.dedup();
    stems
}

/// Whether a particle of that kind can follow a character: a Hangul syllable with the right final.
fn follows(last: char, after: After) -> bool {
    const RIEUL: u32 = 8;
    let Some(index) = (last as u32).checked_sub(0xAC00).filter(|index| *index < 11_172) else { return false };
    let last_consonant = index % 28;
    match after {
        Consonant => last_consonant != 0,
        Vowel => last_consonant == 0,
        VowelOrRieul => last_consonant == 0 || last_consonant == RIEUL,
        Any => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn particles_come_off() {
        for (word, stem) in [
            ("사람이", "사람"),
            ("사람은", "사람"),
            ("학교는", "학교"),
            ("학교를", "학교"),
            ("서울로", "서울"),
            ("부산으로", "부산"),
            ("한국에서는", "한국"),
            ("대통령으로서", "대통령"),
            ("정부로부터", "정부"),
            ("작곡가였다", "작곡가"),
            ("수도이며", "수도이며"), // 이며 asks for a final consonant; 수도 has none
            ("사람의", "사람"),
            ("물의", "물의"), // one syllable is too little before 의
            ("물은", "물"),
            ("", ""),
            ("은", "은"),
            ("에서", "에서"),
        ] {
            assert_eq!(strip(word), stem, "{word}");
        }
    }

    #[test]
    fn nouns_whose_last_syllable_does_not_agree_stay_whole() {
        for word in ["마을", "나이", "가을", "나무", "바다", "고려", "abc은"] {
            assert_eq!(strip(word), word);
        }
    }

    #[test]
    fn every_fitting_particle_leaves_a_stem() {
        assert_eq!(stems("서울까지의"), ["서울까지", "서울"]);
        assert_eq!(stems("물의"), ["물"]);
        assert_eq!(stems("3D는"), ["3D"]);
        assert!(stems("바다은").is_empty() && stems("은").is_empty());
    }

    #[test]
    fn longer_particles_come_first() {
        for (at, (particle, _)) in PARTICLES.iter().enumerate() {
            for (later, _) in &PARTICLES[at + 1..] {
                assert!(!(later.len() > particle.len() && later.ends_with(particle)), "{particle} hides {later}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_stem_is_a_nonempty_beginning(word in "[가-힣a-z]{1,8}") {
            let stem = strip(&word);
            prop_assert!(!stem.is_empty() && word.starts_with(stem));
        }
    }
}

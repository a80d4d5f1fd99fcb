//! Korean particles (조사), taken off the end of a word by rule.
//!
//! Korean writes particles onto the noun: `서울은`, `서울에서`, `서울까지의` all speak of `서울`. A word comes in; the
//! stems left by taking one particle (or one fixed sequence of particles) off its end go out, longest first. Many
//! particles have two forms that depend on whether the syllable before them ends in a consonant (받침), and a form that
//! cannot follow the stem is not taken off: `사과` (apple) keeps its `과`, since after the vowel of `사` it would be `와`.
//!
//! ```
//! use parallax::text::particles::stems;
//! assert_eq!(stems("서울은"), ["서울"]);
//! assert_eq!(stems("사과를"), ["사과"]);
//! assert_eq!(stems("부산에서는"), ["부산에서", "부산"]);
//! assert!(stems("사과").is_empty());
//! ```
//!
//! No dictionary: a noun that happens to end like a particle (`고양이`) gives a stem too (`고양`), so a caller accepts a
//! stem beside the whole word and never instead of it. Cost: a look at the last syllables. Source: the particles of the
//! standard Korean grammar (학교 문법), 격조사·보조사·접속조사, and the copula `이다` in its frequent forms.

/// What may stand before a particle.
#[derive(Clone, Copy)]
enum After {
    /// Anything.
    Any,
    /// A syllable with a final consonant.
    Closed,
    /// A syllable without one.
    Open,
    /// A syllable without one, or with ㄹ (`로`, `로서`, `로써`).
    OpenOrRieul,
}

use After::{Any, Closed, Open, OpenOrRieul};

/// Particles with what they may follow. Longer ones first, so that stems come out shortest last by their own length.
const PARTICLES: &[(&str, After)] = &[
    ("에게서는", Any),
    ("에서부터", Any),
    ("으로부터", Closed),
    ("로부터", OpenOrRieul),
    ("이라는", Closed),
    ("이라고", Closed),
    ("이라도", Closed),
    ("으로서", Closed),
    ("으로써", Closed),
    ("으로는", Closed),
    ("으로도", Closed),
    ("으로의", Closed),
    ("에서는", Any),
    ("에서도", Any),
    ("에서의", Any),
    ("에게서", Any),
    ("에게는", Any),
    ("한테서", Any),
    ("까지의", Any),
    ("까지는", Any),
    ("까지도", Any),
    ("부터의", Any),
    ("이었다", Closed),
    ("이었던", Closed),
    ("이며", Closed),
    ("이고", Closed),
    ("이다", Any),
    ("이자", Closed),
    ("이나", Closed),
    ("이란", Closed),
    ("이랑", Closed),
    ("라는", Open),
    ("라고", Open),
    ("라도", Open),
    ("였다", Open),
    ("였던", Open),
    ("으로", Closed),
    ("로서", OpenOrRieul),
    ("로써", OpenOrRieul),
    ("로는", OpenOrRieul),
    ("로도", OpenOrRieul),
    ("로의", OpenOrRieul),
    ("에서", Any),
    ("에게", Any),
    ("에는", Any),
    ("에도", Any),
    ("에의", Any),
    ("께서", Any),
    ("까지", Any),
    ("부터", Any),
    ("마저", Any),
    ("조차", Any),
    ("처럼", Any),
    ("보다", Any),
    ("마다", Any),
    ("밖에", Any),
    ("대로", Any),
    ("만큼", Any),
    ("하고", Any),
    ("한테", Any),
    ("과의", Closed),
    ("와의", Open),
    ("과는", Closed),
    ("와는", Open),
    ("만을", Any),
    ("만이", Any),
    ("만의", Any),
    ("뿐", Any),
    ("인", Any),
    ("며", Open),
    ("고", Open),
    ("다", Open),
    ("나", Open),
    ("란", Open),
    ("랑", Open),
    ("은", Closed),
    ("는", Open),
    ("이", Closed),
    ("가", Open),
    ("을", Closed),
    ("를", Open),
    ("과", Closed),
    ("와", Open),
    ("로", OpenOrRieul),
    ("의", Any),
    ("에", Any),
    ("께", Any),
    ("도", Any),
    ("만", Any),
];

/// The stems left by taking one particle off a word of Hangul syllables (NFC), longest first; at least one syllable stays.
pub fn stems(word: &str) -> Vec<&str> {
    let mut stems: Vec<&str> = PARTICLES
        .iter()
        .filter_map(|(particle, after)| {
            let stem = word.strip_suffix(particle)?;
            fits(stem.chars().next_back()?, *after).then_some(stem)
        })
        .collect();
    stems.sort_by_key(|stem| std::cmp::Reverse(stem.len()));
    stems.dedup();
    stems
}

fn fits(last: char, after: After) -> bool {
    // The `으` of `으로` is the particle's own.
    if last == '으' && matches!(after, OpenOrRieul) {
        return false;
    }
    let Some(last) = final_consonant(last) else {
        // After a digit or a Latin letter the reader knows how it is spoken; the rule does not.
        return true;
    };
    match after {
        Any => true,
        Closed => last != 0,
        Open => last == 0,
        OpenOrRieul => last == 0 || last == RIEUL,
    }
}

/// ㄹ among the final consonants of Unicode's syllable arithmetic.
const RIEUL: u32 = 8;

/// A syllable's final consonant, 0 for none; `None` for what is no Hangul syllable.
fn final_consonant(c: char) -> Option<u32> {
    // The Unicode Standard, section 3.12: syllables stand in order of 28 finals each.
    let index = (c as u32).checked_sub(0xac00).filter(|index| *index < 11_172)?;
    Some(index % 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: &[&str]) {
        assert_eq!(stems(word), expected, "{word}");
    }

    #[test]
    fn forms_follow_the_syllable_before_them() {
        check("한글은", &["한글"]);
        check("한글는", &[]);
        check("바다는", &["바다"]);
        check("바다은", &[]);
        check("서울로", &["서울"]);
        check("부산로", &[]);
        check("부산으로", &["부산"]);
        check("1443년에", &["1443년"]);
        check("3D는", &["3D"]);
    }

    #[test]
    fn sequences_come_off_as_a_whole_too() {
        check("서울까지의", &["서울까지", "서울"]);
        check("학교에서도", &["학교에서", "학교"]);
    }

    #[test]
    fn a_particle_alone_is_a_word() {
        check("은", &[]);
        check("에서", &[]);
        check("가", &[]);
    }
}

//! Other forms of the words: what BM25 would find if questions and passages were analysed in another way.
//!
//! Three forms beside the index's own, each the same in questions and passages:
//!
//! | form | words of an alphabet | Hangul |
//! |---|---|---|
//! | as written | unstemmed | bigrams of the whole run, its particle left on |
//! | whole stems | the index's stems | the stem as one term |
//! | beginnings | the first five letters | the stem's first two syllables |
//!
//! Stop words are the index's in all of them. A form is not guessed at from the passages that rank high already: one pass
//! over the whole collection gives every passage its exact frequencies and length under each form, of the questions' terms
//! only, so that BM25 with the system's own `k1` and `b` ranks as an index built in that form would.
//!
//! That some form finds a gold passage is not enough: any change of scores lifts some passages over the bar. So a word
//! has to show what the form undid: either one of the question that the gold passage holds in this form and not in the
//! index's (`photosynthesis`, `photosynthetic`), or one that a passage above it holds in the index's form and not in this
//! one and that is more than an inflection away (`secretions`, `secret`).
//!
//! Cost: the collection analysed once in each form, and 8 bytes a posting of the questions' terms, which is why
//! collections above [`LARGEST`] passages are left out.
//! Source of the beginnings: P. McNamee and J. Mayfield, *Character n-gram tokenization for European language text
//! retrieval*, 2004 (truncation to five letters).

use super::lab::{Case, Lab, at};
use super::sparse::ROOM;
use crate::collection::run::Ranking;
use crate::collection::{Ordinal, Passage, PassageId};
use crate::error::Result;
use crate::progress::{Progress, Stage};
use crate::sparse::{Analyzer, SparseIndex, Weighting, idf};
use crate::text::scripts::{Script, runs};
use crate::text::{nfc, particles};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// Passages up to which other forms are tried: about two minutes on two cores.
pub(super) const LARGEST: usize = 1 << 19;

/// Passages analysed between two looks at whether to stop.
const BLOCK: usize = 4096;

/// Letters of a word's beginning.
const LETTERS: usize = 5;

/// Letters of the endings that inflect a word: `-s`, `-es`, `-ed`, `-ing`.
const ENDING: usize = 3;

/// A way to make terms of words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Written,
    Stems,
    Beginnings,
}

impl Form {
    const ALL: [Form; 3] = [Form::Written, Form::Stems, Form::Beginnings];

    fn name(self) -> &'static str {
        match self {
            Form::Written => "words as written",
            Form::Stems => "whole stems",
            Form::Beginnings => "beginnings of words",
        }
    }

    /// The terms of a text in this form.
    fn terms(self, analyzer: &Analyzer, text: &str) -> Vec<String> {
        let text = nfc(text);
        let mut terms = Vec::new();
        let (mut lower, mut word_end) = (String::new(), None);
        for run in runs(&text) {
            match run.script {
                Script::Word => {
                    let possessive = matches!(run.text, "s" | "S") && text[..run.start].ends_with(['\'', '’']);
                    lower = run.text.to_lowercase();
                    word_end = Some(run.start + run.text.len());
                    let stems = analyzer.terms(run.text);
                    match self {
                        _ if possessive || stems.is_empty() => {}
                        Form::Written => terms.push(lower.clone()),
                        Form::Stems => terms.extend(stems),
                        Form::Beginnings => terms.push(lower.chars().take(LETTERS).collect()),
                    }
                }
                Script::Hangul => {
                    let stem = particles::strip(run.text);
                    match self {
                        Form::Written => {
                            let pairs = pairs(run.text);
                            terms.extend(pairs.first().filter(|_| run.text.chars().nth(1).is_some()).cloned());
                            terms.extend(pairs);
                        }
                        Form::Stems => terms.push(stem.to_string()),
                        Form::Beginnings => terms.push(stem.chars().take(2).collect()),
                    }
                    // As the index has it: a number with the counter behind it.
                    if word_end.take() == Some(run.start) && lower.ends_with(|c: char| c.is_ascii_digit()) {
                        terms.extend(stem.chars().next().map(|first| format!("{lower}{first}")));
                    }
                }
                Script::Unspaced => {
                    word_end = None;
                    terms.extend(pairs(run.text));
                }
            }
        }
        terms
    }
}

/// Overlapping pairs of characters; a single character as it is.
fn pairs(run: &str) -> Vec<String> {
    let characters: Vec<char> = run.chars().collect();
    characters.windows(2.min(characters.len().max(1))).map(|pair| pair.iter().collect()).collect()
}

/// A term in a passage: where, how often in all, how often in its title.
type Posting = (u32, u16, u16);

/// The collection in one form, of the questions' terms.
struct Indexed {
    form: Form,
    numbers: HashMap<String, usize>,
    postings: Vec<Vec<Posting>>,
    /// Terms of title and text, and of the title, a passage.
    lengths: Vec<(u32, u32)>,
    /// Sums of these.
    tokens: (u64, u64),
}

/// One passage in one form: its lengths, and what it holds of the questions' terms.
type Analysed = ((u32, u32), Vec<(usize, u16, u16)>);

impl Indexed {
    fn new(form: Form, analyzer: &Analyzer, questions: &[&str], passages: usize) -> Self {
        let mut numbers = HashMap::new();
        for term in questions.iter().flat_map(|question| form.terms(analyzer, question)) {
            let next = numbers.len();
            numbers.entry(term).or_insert(next);
        }
        let postings = vec![Vec::new(); numbers.len()];
        Indexed { form, numbers, postings, lengths: Vec::with_capacity(passages), tokens: (0, 0) }
    }

    fn analyse(&self, analyzer: &Analyzer, passage: &Passage) -> Analysed {
        let mut counts: HashMap<usize, (u16, u16)> = HashMap::new();
        let mut count = |text: &str, title: u16| {
            let terms = self.form.terms(analyzer, text);
            for number in terms.iter().filter_map(|term| self.numbers.get(term)) {
                let counted = counts.entry(*number).or_default();
                *counted = (counted.0.saturating_add(1), counted.1.saturating_add(title));
            }
            terms.len() as u32
        };
        let (title, text) = (count(&passage.title, 1), count(&passage.text, 0));
        ((title + text, title), counts.into_iter().map(|(number, (all, title))| (number, all, title)).collect())
    }

    fn add(&mut self, ordinal: u32, (length, terms): Analysed) {
        self.lengths.push(length);
        self.tokens = (self.tokens.0 + u64::from(length.0), self.tokens.1 + u64::from(length.1));
        for (number, all, title) in terms {
            self.postings[number].push((ordinal, all, title));
        }
    }

    /// Every passage's BM25 score for a question.
    fn scores(&self, analyzer: &Analyzer, question: &str, (k1, b, title_weight): (f64, f64, f64)) -> Vec<f64> {
        let extra = title_weight - 1.0;
        let passages = self.lengths.len();
        let mean = (self.tokens.0 as f64 + extra * self.tokens.1 as f64) / passages.max(1) as f64;
        let mut scores = vec![0.0; passages];
        for number in self.form.terms(analyzer, question).iter().filter_map(|term| self.numbers.get(term)) {
            let postings = &self.postings[*number];
            let idf = idf(passages as u64, postings.len() as u64);
            for (ordinal, all, title) in postings {
                let tf = f64::from(*all) + extra * f64::from(*title);
                let (length, title_length) = self.lengths[*ordinal as usize];
                let length = f64::from(length) + extra * f64::from(title_length);
                let ratio = if mean > 0.0 { length / mean } else { 0.0 };
                if tf > 0.0 {
                    scores[*ordinal as usize] += idf * tf / (tf + k1 * (1.0 - b + b * ratio));
                }
            }
        }
        scores
    }
}

/// The collection in every other form.
pub(super) struct Forms(Vec<Indexed>);

impl Forms {
    /// Analyses the whole collection for the terms of some questions; `None` where it is too large.
    pub(super) fn of(sparse: &SparseIndex, questions: &[&str], progress: &dyn Progress) -> Result<Option<Self>> {
        if sparse.len() > LARGEST || questions.is_empty() {
            return Ok(None);
        }
        let analyzer = sparse.analyzer();
        let mut forms = Form::ALL.map(|form| Indexed::new(form, analyzer, questions, sparse.len()));
        progress.begin(Stage::Counting, Some(sparse.len() as u64));
        for from in (0..sparse.len() as u32).step_by(BLOCK) {
            progress.checkpoint()?;
            let to = (sparse.len() as u32).min(from + BLOCK as u32);
            let analyse = |ordinal: u32| -> Result<[Analysed; 3]> {
                let passage = sparse.passage(Ordinal(ordinal))?;
                Ok([0, 1, 2].map(|form| forms[form].analyse(analyzer, &passage)))
            };
            let block: Vec<[Analysed; 3]> = (from..to).into_par_iter().map(analyse).collect::<Result<_>>()?;
            for (ordinal, analysed) in (from..to).zip(block) {
                for (form, analysed) in forms.iter_mut().zip(analysed) {
                    form.add(ordinal, analysed);
                }
            }
            progress.advance(Stage::Counting, u64::from(to - from));
        }
        progress.finish(Stage::Counting);
        Ok(Some(Forms(forms.into())))
    }

    /// What shows that another form finds a gold passage and that a word is the reason; `top` is what stands above it.
    pub(super) fn undo(
        &self,
        lab: &Lab<'_>,
        weighting: &Weighting,
        case: &Case<'_>,
        top: &[&PassageId],
    ) -> Result<Option<String>> {
        let Weighting::Bm25 { k1, b, title_weight } = *weighting else { return Ok(None) };
        let numbers = (f64::from(k1), f64::from(b), f64::from(title_weight));
        let analyzer = lab.sparse().analyzer();
        for indexed in &self.0 {
            let scores = indexed.scores(analyzer, &case.question, numbers);
            let best = case.places.iter().fold((0.0, None), |best: (f64, Option<Ordinal>), place| {
                let score = scores[place.index()];
                if score > best.0 { (score, Some(*place)) } else { best }
            });
            let (score, Some(place)) = best else { continue };
            let above = (0u32..).zip(&scores).filter(|(_, other)| **other >= score);
            let above: Vec<(Ordinal, f64)> = above.map(|(at, score)| (Ordinal(at), *score)).collect();
            // Chunks of one document count once; so many of one are not worth the sorting.
            if above.len() > 50 * (lab.k + ROOM) {
                continue;
            }
            let rank = lab.place(&Ranking::new(above), case)?;
            if lab.hits(rank)
                && let Some(word) = shown(lab, indexed.form, case, place, top)?
            {
                return Ok(Some(format!("{} with {}: {word}", at(rank, lab.k), indexed.form.name())));
            }
        }
        Ok(None)
    }
}

/// A passage's words with their terms in the index's form and in another.
struct Words {
    words: Vec<(String, Vec<String>, Vec<String>)>,
    own: HashSet<String>,
    other: HashSet<String>,
}

impl Words {
    fn of(text: &str, form: Form, analyzer: &Analyzer) -> Self {
        let each = |word: &str| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_string();
            (bare, analyzer.terms(word), form.terms(analyzer, word))
        };
        let words: Vec<_> = text.split_whitespace().map(each).collect();
        let own = words.iter().flat_map(|(_, own, _)| own).cloned().collect();
        let other = words.iter().flat_map(|(_, _, other)| other).cloned().collect();
        Words { words, own, other }
    }
}

/// The word that a form makes meet the gold passage, or parts from a passage above it.
fn shown(lab: &Lab<'_>, form: Form, case: &Case<'_>, gold: Ordinal, top: &[&PassageId]) -> Result<Option<String>> {
    let analyzer = lab.sparse().analyzer();
    let question = Words::of(&case.question, form, analyzer);
    let meets = |terms: &[String], held: &HashSet<String>| terms.iter().any(|term| held.contains(term));
    let passage = Words::of(&lab.sparse().passage(gold)?.full_text(), form, analyzer);
    for (word, own, other) in &question.words {
        if !meets(other, &passage.other) || meets(own, &passage.own) {
            continue;
        }
        let met = passage.words.iter().filter(|(_, _, terms)| terms.iter().any(|term| other.contains(term)));
        // Five letters begin many words, and a particle ends many: related ones begin alike.
        let mut met = met.map(|(met, _, _)| met).filter(|met| related(word, met));
        if let Some(met) = met.next() {
            return Ok(Some(format!("`{word}` meets `{met}` of the passage")));
        }
    }
    for id in top {
        for place in lab.sparse().places_of(id)? {
            let rival = Words::of(&lab.sparse().passage(place)?.full_text(), form, analyzer);
            for (word, own, other) in &question.words {
                if other.is_empty() || !meets(own, &rival.own) || meets(other, &rival.other) {
                    continue;
                }
                let met = rival.words.iter().filter(|(_, terms, _)| terms.iter().any(|term| own.contains(term)));
                if let Some((met, _, _)) = met.clone().find(|(met, _, _)| !inflected(word, met)) {
                    return Ok(Some(format!("`{word}` no longer meets `{met}` of `{id}`, which stood above")));
                }
            }
        }
    }
    Ok(None)
}

/// How many characters two words begin with in common, case aside, and how many each has.
fn common(a: &str, b: &str) -> (usize, usize, usize) {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    (same, a.chars().count(), b.chars().count())
}

/// Whether two words may be of one family: they share half of the shorter one from the beginning on.
fn related(a: &str, b: &str) -> bool {
    let (same, a, b) = common(a, b);
    2 * same >= a.min(b)
}

/// Whether two words are inflections of one, which should meet: endings of three letters at most, `causes` and `caused`,
/// or the same first two syllables of Hangul.
fn inflected(a: &str, b: &str) -> bool {
    let hangul = a.starts_with(|c: char| ('가'..='힣').contains(&c));
    let (same, a, b) = common(a, b);
    if hangul { same >= 2.min(a).min(b) } else { same > 0 && a.max(b) - same <= ENDING }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::Language;

    #[test]
    fn each_form_makes_its_own_terms() {
        let analyzer = Analyzer::for_language(Language::English);
        let terms = |form: Form, text: &str| form.terms(&analyzer, text).join(" ");
        let text = "The universities' densities, it's 2차 대한민국의 차";
        assert_eq!(terms(Form::Written, text), "universities densities 2 차 2차 대한 대한 한민 민국 국의 차");
        assert_eq!(terms(Form::Stems, text), "universiti densiti 2 차 2차 대한민국 차");
        assert_eq!(terms(Form::Beginnings, text), "unive densi 2 차 2차 대한 차");
        assert_eq!(terms(Form::Stems, "東京タワー"), "東京 京タ タワ ワー");
    }

    #[test]
    fn inflections_should_meet_and_other_words_not() {
        for (a, b) in [("causes", "caused"), ("counties", "County"), ("teacher", "teachers"), ("당선된", "당선자")]
        {
            assert!(inflected(a, b), "{a} {b}");
        }
        for (a, b) in [("secretions", "secret"), ("relativity", "relation"), ("되었던", "살해되었다"), ("an", "on")]
        {
            assert!(!inflected(a, b), "{a} {b}");
        }
        assert!(related("photosynthesis", "photosynthetic") && !related("transcription", "translationally"));
        assert!(related("발견한", "발견되었다") && !related("프랑스군의", "러시아군의"));
    }
}

//! The model card of a trained model: what it was made of, how, and what it was worth.
//!
//! Files are named without their folders, so that a card tells nothing of the machine and the same training in another
//! place writes the same one; times are left out for the same reason.

use super::held_out::{Half, HeldOut};
use super::{TrainRequest, Verdict, apart};
use crate::error::Result;
use crate::index::EncoderChoice;
use crate::progress::Silent;
use crate::storage::{record, write_atomically};
use crate::train::loss::LossOptions;
use crate::train::optimizer::Decay;
use crate::train::{TrainOptions, TrainReport};
use std::fmt::Write;
use std::path::Path;

/// What a card tells of.
pub(super) struct Made<'a> {
    pub(super) request: &'a TrainRequest,
    pub(super) report: &'a TrainReport,
    /// The loss, defaults filled in.
    pub(super) loss: &'a LossOptions,
    pub(super) held: Option<&'a HeldOut>,
    pub(super) verdict: Option<&'a Verdict>,
}

/// Writes `README.md` into the model's folder.
pub(super) fn write(made: &Made<'_>, folder: &Path) -> Result<()> {
    let mut card = head(made);
    card.push_str("\n## Examples\n\n| file | sha256 |\n| --- | --- |\n");
    for source in &made.request.examples {
        let hash = match source.path().is_file() {
            true => format!("`{}`", record(source.path(), &Silent)?.sha256),
            false => "read once".to_string(),
        };
        let _ = writeln!(card, "| {} | {hash} |", apart::named(source, None));
    }
    card.push_str(&worth(made));
    card.push_str("\n## Settings\n\n| setting | value |\n| --- | --- |\n");
    for (name, value) in settings(made) {
        let _ = writeln!(card, "| {name} | {value} |");
    }
    write_atomically(&folder.join("README.md"), card.as_bytes())
}

// Writing to a String cannot fail, here and below.
fn head(Made { request, report, .. }: &Made<'_>) -> String {
    let towers = &request.towers;
    let questions = towers.question_model.as_ref().map(|choice| format!(", questions by `{}`", model(choice)));
    let mut card = format!(
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n\n# A dual encoder\n\n\
         Trained from `{}`{} by `parallax train`: the negative log-likelihood of each question's passage among the \
         batch's other passages and hard negatives. {} of {} planned steps over {} examples; the weights are those {}.\
         \n\nThe licences of the model it started from and of the examples apply to what was made of them.\n",
        model(&towers.model),
        questions.unwrap_or_default(),
        report.steps,
        report.planned,
        report.data.examples,
        match report.kept {
            0 => "of the start, since no step was better".to_string(),
            step => format!("after step {step}"),
        }
    );
    if let Some(command) = &request.command {
        let _ = write!(card, "\n```\n{}\n```\n", without_folders(command, &hub_names(request)));
    }
    card
}

/// What it was validated on and what that gave.
fn worth(Made { held, verdict, .. }: &Made<'_>) -> String {
    let mut card = String::from("\n## Held-out questions\n\n");
    let Some(held) = held else {
        return card + "None were held out: what it is worth was not measured.\n";
    };
    let _ = writeln!(
        card,
        "Of `{}`, over {} passages: {} questions chose the step that is kept, {} others judged it{}.",
        held.name(),
        held.passages(),
        held.queries(Half::Choosing),
        held.queries(Half::Judging),
        match held.left_out() {
            0 => String::new(),
            n => format!("; {n} that the examples ask too were left out"),
        }
    );
    let Some(Verdict { before, after, test, .. }) = verdict else { return card };
    card.push_str("\n| judging questions | before | after |\n| --- | --- | --- |\n");
    for ((name, before), (_, after)) in before.iter().zip(after) {
        let digits = if name == "average rank" { 1 } else { 4 };
        let _ = writeln!(card, "| {name} | {before:.digits$} | {after:.digits$} |");
    }
    let (low, high) = test.interval;
    let _ = writeln!(
        card,
        "\n{}: RR@10 {:+.4}, 95 % interval {low:+.4} to {high:+.4} (paired bootstrap), p {:.4} (randomisation), n = {}.",
        test.verdict(),
        test.mean_difference,
        test.p_randomization,
        test.n
    );
    card
}

/// Settings in words, defaults filled in; what was not asked for is left out.
fn settings(Made { request, report, loss, held, .. }: &Made<'_>) -> Vec<(&'static str, String)> {
    let (options, towers) = (&request.options, &request.towers);
    let mut rows = vec![
        ("similarity", loss.similarity.name().to_string()),
        ("temperature", loss.temperature.to_string()),
        ("batch", format!("{} questions, {} texts at a time", options.batch, options.chunk)),
        ("hard negatives", format!("{} a question at most", options.hard_negatives)),
        (
            "length",
            match options.steps {
                Some(steps) => format!("{steps} steps"),
                None => format!("{} steps, {} times through the examples", report.planned, options.epochs),
            },
        ),
        ("learning rate", rate(report.planned, options)),
        ("weight decay", options.weight_decay.to_string()),
        ("longest gradient", options.clip.map_or("any".to_string(), |clip| clip.to_string())),
        ("dropout", towers.dropout.to_string()),
        ("seed", options.seed.to_string()),
    ];
    let mut set = |name: &'static str, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    set("both directions", options.symmetric.then(|| "passages look for their question too".to_string()));
    let widths = || options.matryoshka.iter().map(|(width, _)| width.to_string()).collect::<Vec<_>>().join(", ");
    set("leading components trained too", (!options.matryoshka.is_empty()).then(widths));
    set(
        "teacher",
        request.teacher.as_ref().map(|teacher| {
            let how = options.distillation;
            format!("`{}`, weight {}, temperature {}", model(teacher), how.weight, how.temperature)
        }),
    );
    set("near duplicates of a positive", (!options.near_duplicates).then(|| "may be negatives".to_string()));
    set("frozen", towers.freeze_passage.then(|| "the passage tower".to_string()));
    set("pooling", towers.pooling.map(|pooling| pooling.name().to_string()));
    set("layers", towers.layers.map(|layers| format!("the first {layers}")));
    set("tokens of a question", towers.max_query_tokens.map(|n| format!("{n} at most")));
    set("tokens of a passage", towers.max_passage_tokens.map(|n| format!("{n} at most")));
    set("vocabulary", towers.vocabulary.as_ref().map(|(more, _)| format!("{more} new entries at most")));
    if held.is_some() {
        let every = options
            .validate_every
            .map_or("after each time through the examples".into(), |n| format!("every {n} steps"));
        let patience = options.patience.map(|n| format!("; ends after {n} without a gain"));
        set("validation", Some(format!("{every}{}", patience.unwrap_or_default())));
    }
    rows
}

/// `0.003, rising over 30 steps, then falling linearly`.
fn rate(planned: usize, options: &TrainOptions) -> String {
    let fall = match options.decay {
        Decay::Linear => "falling linearly",
        Decay::Cosine => "falling along a cosine",
        Decay::Constant => "constant",
    };
    match options.warmup_steps(planned) {
        0 => format!("{}, {fall}", options.rate),
        1 => format!("{}, rising over 1 step, then {fall}", options.rate),
        rise => format!("{}, rising over {rise} steps, then {fall}", options.rate),
    }
}

/// A model's name: the folder's own, or `owner/name` from the hub.
fn model(choice: &EncoderChoice) -> String {
    let folder = Path::new(&choice.name);
    match folder.file_name() {
        Some(name) if is_folder(choice) => name.to_string_lossy().into_owned(),
        _ => choice.name.clone(),
    }
}

/// Whether the name is that of a folder on this machine: models of the hub lie elsewhere than they are called.
fn is_folder(choice: &EncoderChoice) -> bool {
    std::path::absolute(&choice.name).is_ok_and(|path| path == Path::new(&choice.location))
}

/// Models that were called `owner/name`.
fn hub_names(request: &TrainRequest) -> Vec<&str> {
    let towers = &request.towers;
    let models = [Some(&towers.model), towers.question_model.as_ref(), request.teacher.as_ref()];
    models.into_iter().flatten().filter(|choice| !is_folder(choice)).map(|choice| choice.name.as_str()).collect()
}

/// A command whose paths are cut to their last part; words in `whole` are no paths.
fn without_folders(command: &str, whole: &[&str]) -> String {
    let mut cut: Vec<String> = Vec::new();
    for word in words(command) {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (format!("{flag}="), value),
            _ => (String::new(), word.as_str()),
        };
        let (quote, bare) = match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(bare) => ("'", bare),
            None => ("", value),
        };
        let last =
            if whole.contains(&bare) { bare } else { bare.trim_end_matches('/').rsplit('/').next().unwrap_or(bare) };
        cut.push(format!("{flag}{quote}{last}{quote}"));
    }
    cut.join(" ")
}

/// Words between spaces; a quoted one may have spaces inside.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        quoted ^= c == '\'';
        match words.last_mut() {
            Some(word) if quoted || c != ' ' => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::read::{ReadOptions, Source};
    use crate::learn::towers::TowerOptions;
    use crate::train::data::DataReport;

    #[test]
    fn a_command_keeps_its_file_names_and_no_folder() {
        let cut = |command: &str| without_folders(command, &["owner/name"]);
        assert_eq!(
            cut("parallax train --examples /home/me/a.jsonl '/home/me/my data/b c.jsonl' --model owner/name -o out/x/"),
            "parallax train --examples a.jsonl 'b c.jsonl' --model owner/name -o x"
        );
        assert_eq!(
            cut("parallax train --validate=../dev.json --lr 0.5"),
            "parallax train --validate=dev.json --lr 0.5"
        );
    }

    #[test]
    fn a_card_speaks_in_words_and_of_no_machine() {
        let folder = tempfile::tempdir().unwrap();
        let examples = folder.path().join("examples.jsonl");
        fs_err::write(&examples, "x").unwrap();
        let at = folder.path().join("mine").display().to_string();
        let request = TrainRequest {
            examples: vec![Source::new(&examples)],
            read: ReadOptions::default(),
            towers: TowerOptions::of(EncoderChoice { name: at.clone(), location: at }),
            teacher: None,
            held_out: None,
            options: TrainOptions { steps: Some(6), epochs: usize::MAX >> 32, ..TrainOptions::for_static() },
            command: Some(format!("parallax train --examples {}", examples.display())),
        };
        let data = DataReport { examples: 9, ..DataReport::default() };
        let report = TrainReport { steps: 6, planned: 6, data, ..TrainReport::default() };
        let loss = LossOptions {
            similarity: crate::encoder::contract::Similarity::Cosine,
            temperature: 0.03,
            symmetric: false,
            matryoshka: Vec::new(),
            distillation: request.options.distillation,
        };
        write(&Made { request: &request, report: &report, loss: &loss, held: None, verdict: None }, folder.path())
            .unwrap();
        let card = fs_err::read_to_string(folder.path().join("README.md")).unwrap();
        for said in [
            "Trained from `mine`",
            "| examples.jsonl | `2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881` |",
            "| length | 6 steps |",
            "| learning rate | 0.003, rising over 1 step, then falling linearly |",
            "None were held out",
            "```\nparallax train --examples examples.jsonl\n```",
        ] {
            assert!(card.contains(said), "{said} is missing in\n{card}");
        }
        for odd in ["Some(", "None |", "4294967295", &*folder.path().display().to_string()] {
            assert!(!card.contains(odd), "{odd} is in\n{card}");
        }
    }
}

//! A report as one HTML page: no script, no font, no picture from elsewhere, light and dark, for screens and for paper.
//!
//! In flow a [`Report`]; out flows a page that reads from the top: the verdict, the tables behind it, curves, then why,
//! and at the end what every number rests on. A content security policy forbids the page to load anything, so that it
//! can be mailed and opened anywhere. Names, questions and passages are escaped by construction (`maud`), break
//! between words in Hangul and anywhere else only where they must, and tables scroll within their own box.
//!
//! Cost: proportional to queries × systems; a few milliseconds for a thousand queries.

mod figures;
mod rests;
mod tables;
mod why;

use super::model::Report;
use super::words::{Outcome, counted, language, missing, verdict};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn html(report: &Report) -> String {
    let name = name(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
                meta name="generator" content=(report.program);
                link rel="icon" href="data:,";
                title { "Recall on " (name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (opening(report, &name))
                    (tables::means(report))
                    (tables::differences(report))
                    (figures::curves(report))
                    (figures::gains(report))
                    (figures::margins(report))
                    (figures::cost(report))
                    (why::answer_gap(report))
                    (why::causes(report))
                    (why::misses(report))
                    (tables::slices(report))
                    (tables::tuning(report))
                    (tables::against(report))
                    (rests::on(report))
                }
            }
        }
    };
    page.into_string()
}

/// What the report is about: the data set without its folders.
fn name(report: &Report) -> String {
    let last = report.data.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("the data set");
    match &report.split {
        Some(split) => format!("{last}, {split}"),
        None => last.to_string(),
    }
}

fn opening(report: &Report, name: &str) -> Markup {
    let asked = counted(report.judged, "judged question");
    let over = report.rests_on.as_ref().map(|rests| counted(rests.passages, "passage"));
    html! {
        p.kicker { "Which retriever finds the right passage" }
        h1 lang=[language(name)] { (name) }
        p.soft.small {
            (asked) @if let Some(over) = over { " over " (over) } " of " code { (report.index) }
        }
        div.verdict {
            @if let Some(verdict) = verdict(report) {
                div {
                    p.headline { (verdict.headline) }
                    (badge(verdict.outcome, report.baseline.is_some()))
                    p.detail { (verdict.detail) }
                }
            }
            (tables::summary(report))
        }
        @if report.missing_gold > 0 {
            p.warning {
                b { (missing(report.missing_gold)) }
                " No system can find what is not there, so every recall here is lower than it could be."
            }
        }
    }
}

fn badge(outcome: Option<Outcome>, tested: bool) -> Markup {
    html! {
        @match outcome {
            Some(Outcome::Gain) => { span.badge.gain { "▲ proven" } }
            Some(Outcome::Loss) => { span.badge.loss { "▼ proven worse" } }
            Some(Outcome::Open) if tested => { span.badge.soft { "not proven" } }
            Some(Outcome::Open) => { span.badge.soft { "not tested" } }
            None => {}
        }
    }
}

/// A section with its name and what it shows on the left, and the thing itself.
fn section(id: &str, title: &str, says: &Markup, body: &Markup) -> Markup {
    html! {
        section id=(id) {
            header { h2 { (title) } p { (says) } }
            div.body { (body) }
        }
    }
}

/// Under every table and figure: how many, on what, and where the rest is said.
fn foundation(report: &Report, what: &str) -> Markup {
    let manifest = report.rests_on.as_ref().map(|rests| rests.manifest.chars().take(12).collect::<String>());
    html! {
        p.note {
            (what)
            @if let Some(manifest) = manifest { " Index manifest " code { (manifest) } "." }
            " " a href="#rests-on" { "What this rests on" }
        }
    }
}

/// A rule's words with its flags kept whole: `trec_eval -c` breaks neither before nor after the hyphen.
fn unbroken(text: &str) -> String {
    text.replace(" -", "\u{a0}\u{2011}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::sample;

    #[test]
    fn nothing_in_a_page_comes_from_elsewhere_or_runs() {
        let page = html(&sample::full());
        for forbidden in ["<script", "http://", "https://", "@import", "url(", "javascript:", " on"] {
            let found = page.find(forbidden).map(|at| page[at..].chars().take(60).collect::<String>());
            // A word that begins with “on” is none; an attribute is.
            let attribute = |text: &str| {
                forbidden != " on"
                    || text[3..].split_once('=').is_some_and(|(name, _)| name.chars().all(char::is_alphabetic))
            };
            assert!(!found.as_deref().is_some_and(attribute), "{found:?}");
        }
        assert!(page.contains("default-src 'none'") && page.contains("&lt;script&gt;alert(1)"));
        assert!(page.contains("<summary lang=\"ko\">"));
    }

    #[test]
    fn every_section_is_there_when_it_was_measured_and_not_otherwise() {
        let sections = |page: &str| -> Vec<String> {
            page.match_indices("<section id=\"")
                .map(|(at, tag)| page[at + tag.len()..].split('"').next().unwrap_or("").to_string())
                .collect()
        };
        let all = [
            "table",
            "differences",
            "curves",
            "gains",
            "margins",
            "cost",
            "gap",
            "causes",
            "misses",
            "slices",
            "tuning",
            "against",
            "rests-on",
        ];
        assert_eq!(sections(&html(&sample::full())), all);
        assert_eq!(sections(&html(&sample::bare())), ["table", "rests-on"]);
        let page = html(&sample::report());
        assert!(page.contains("hybrid finds more than bm25") && page.contains("▲ proven"));
    }

    /// WCAG 2.2's relative luminance of `#rrggbb`.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn every_colour_of_a_text_or_mark_stands_out_by_4_5() {
        let mut checked = 0;
        // Light, dark and paper.
        for block in STYLE.split(":root {").skip(1) {
            let block = block.split('}').next().unwrap();
            let colour = |name: &str| {
                let (_, rest) = block.split_once(&format!("--{name}: ")).unwrap_or_else(|| panic!("{name} in {block}"));
                let hex = rest.split(';').next().unwrap().trim();
                if hex.len() == 4 {
                    format!("#{}", hex[1..].chars().flat_map(|c| [c, c]).collect::<String>())
                } else {
                    hex.to_string()
                }
            };
            for ground in ["paper", "tint"] {
                for name in ["ink", "soft", "accent", "gain", "loss", "c0", "c1", "c2", "c3", "c4", "c5"] {
                    let (a, b) = (luminance(&colour(ground)), luminance(&colour(name)));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 4.5, "{name} on {ground} has {contrast:.2} in{block}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 66);
    }
}

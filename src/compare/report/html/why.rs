//! Why: gold passage against answer, causes of misses, and the worst of them with both lists.

use super::{foundation, section};
use crate::compare::report::chart::{class, key};
use crate::compare::report::model::{Miss, MissHit, MissList, Report};
use crate::compare::report::words::{count, counted, language};
use maud::{Markup, html};
use unicode_width::UnicodeWidthChar;

/// A row: its name, what explains it, its number, and another number that says more.
struct Row<'a> {
    name: &'a str,
    note: &'a str,
    n: usize,
    more: String,
}

/// Rows as bars; `whole` is a full one.
fn bars(rows: &[Row<'_>], whole: usize, series: usize) -> Markup {
    html! {
        div.bars {
            @for row in rows {
                div { (row.name) @if !row.note.is_empty() { small { (row.note) } } }
                div.track { div.fill.(class(series)) style=(format!("width:{:.1}%", 100.0 * row.n as f64 / whole.max(1) as f64)) {} }
                div.n { (count(row.n)) @if !row.more.is_empty() { small { (row.more) } } }
            }
        }
    }
}

/// Two questions side by side: was the gold passage found, and was an answer.
pub(super) fn answer_gap(report: &Report) -> Markup {
    if report.answer_gap.is_empty() {
        return html! {};
    }
    let says = html! {
        "Each question once: what the first passages held. An answer in another passage than the gold one counts for a "
        "reader and not for recall."
    };
    let body = html! {
        div.figures {
            @for gap in &report.answer_gap {
                @let rows: Vec<Row<'_>> = gap.counts.iter().filter(|count| count.n > 0)
                    .map(|count| Row { name: &count.name, note: "", n: count.n, more: String::new() }).collect();
                figure {
                    figcaption {
                        (name(report, &gap.system))
                        small { "first " (gap.k) ", " (gap.matching) "; " (counted(gap.n, "question")) }
                    }
                    (bars(&rows, gap.n, place(report, &gap.system)))
                }
            }
        }
        (foundation(report, ""))
    };
    section("gap", "Passage or answer", &says, &body)
}

fn place(report: &Report, system: &str) -> usize {
    report.systems.iter().position(|other| other.name == system).unwrap_or(0)
}

fn name(report: &Report, system: &str) -> Markup {
    html! { (key(place(report, system))) (system) }
}

/// Causes of each system's misses.
pub(super) fn causes(report: &Report) -> Markup {
    let Some(causes) = &report.causes else { return html! {} };
    let says = html! {
        "Missed: no gold passage among the first " (causes.k) ". A cause counts only where undoing it turned the miss into a "
        "hit, or where it is a plain fact. Each miss counts once, under its main cause; “in all” are those for which a cause holds."
    };
    let body = html! {
        div.figures {
            @for system in &causes.systems {
                @let rows: Vec<Row<'_>> = system.causes.iter().filter(|cause| cause.all > 0)
                    .map(|cause| Row {
                        name: &cause.cause,
                        note: if cause.meaning == cause.cause { "" } else { &cause.meaning },
                        n: cause.main,
                        more: if cause.all > cause.main { format!("{} in all", count(cause.all)) } else { String::new() },
                    })
                    .collect();
                figure {
                    figcaption {
                        (name(report, &system.system))
                        small { "missed " (count(system.missed)) " of " (counted(causes.n, "question")) }
                    }
                    (bars(&rows, system.missed, place(report, &system.system)))
                }
            }
        }
        div {
            @for left in &causes.left_out { p.note { "Not tried: " (left) } }
            (foundation(report, ""))
        }
    };
    section("causes", "Why it was missed", &says, &body)
}

/// The worst misses.
pub(super) fn misses(report: &Report) -> Markup {
    if report.misses.is_empty() {
        return html! {};
    }
    let says = html! { "Questions by which a system is furthest behind the best one: the gold passage, and what each system put first." };
    let body = html! { div { @for (i, found) in report.misses.iter().enumerate() { (miss(report, found, i < OPEN)) } } (foundation(report, "")) };
    section("misses", "The worst misses", &says, &body)
}

/// The first are open; the others open at a click, and all of them on paper.
const OPEN: usize = 3;

/// Columns of a passage that are shown; the JSON has more.
const EXCERPT: usize = 120;

fn miss(report: &Report, miss: &Miss, open: bool) -> Markup {
    // Side by side: the system that is furthest behind, and one that found most.
    let behind = miss.lists.iter().position(|list| list.system == miss.behind).unwrap_or(0);
    let others = miss.lists.iter().enumerate().filter(|(at, _)| *at != behind);
    let best = others.min_by_key(|(_, list)| list.rank.unwrap_or(usize::MAX)).map(|(at, _)| at);
    let shown: Vec<usize> = best.into_iter().chain([behind]).filter(|at| *at < miss.lists.len()).collect();
    html! {
        details.miss open[open] {
            summary lang=[language(&miss.text)] { (miss.text) }
            p.soft.small {
                "question " code { (miss.query) }
                @if !miss.answers.is_empty() {
                    (if miss.answers.len() > 1 { "; answers: " } else { "; answer: " })
                    @for (i, answer) in miss.answers.iter().enumerate() {
                        @if i > 0 { ", " }
                        span lang=[language(answer)] { "“" (answer) "”" }
                    }
                }
            }
            p.small {
                span.tag.gain { "gold" } " "
                @match &miss.gold_text {
                    Some(text) => { span lang=[language(text)] { (excerpt(text, 2 * EXCERPT)) } }
                    None => { code { (miss.gold.join(", ")) } }
                }
            }
            div.lists {
                @for list in shown.iter().map(|at| &miss.lists[*at]) {
                    div {
                        h4 { (name(report, &list.system)) }
                        p.soft.small { (outcome(list)) }
                        ol { @for hit in &list.hits { li { (passage(hit)) } } }
                    }
                }
            }
            @for (_, list) in miss.lists.iter().enumerate().filter(|(at, _)| !shown.contains(at)) {
                p.soft.small.other { b { (name(report, &list.system)) } " " (outcome(list)) }
            }
        }
    }
}

fn outcome(list: &MissList) -> Markup {
    html! {
        @match list.rank { Some(rank) => { "gold at rank " (count(rank)) } None => { "gold not found" } }
        @for reason in &list.reasons { br; b { (reason.cause) } ": " (quoted(&reason.evidence)) }
    }
}

/// A sentence whose backticks are code.
fn quoted(text: &str) -> Markup {
    // With an odd number of backticks the last one quotes nothing.
    let parts: Vec<&str> = text.split('`').collect();
    let paired = parts.len() % 2 == 1;
    html! {
        @if paired {
            @for (i, part) in parts.iter().enumerate() { @if i % 2 == 1 { code { (part) } } @else { (part) } }
        } @else { (text) }
    }
}

/// The beginning of a text, cut between words where there are any.
fn excerpt(text: &str, columns: usize) -> String {
    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width <= columns
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    if cut.len() == text.len() {
        return cut;
    }
    let word = cut.rfind(' ').filter(|at| *at > cut.len() / 2).unwrap_or(cut.len());
    cut.truncate(word);
    cut + " …"
}

fn passage(hit: &MissHit) -> Markup {
    html! {
        @if hit.relevant { span.tag.gain { "gold" } " " }
        @if hit.holds_answer == Some(true) { span.tag { "holds an answer" } " " }
        span lang=[language(&hit.text)] { @if !hit.title.is_empty() { b { (hit.title) } " " } (excerpt(&hit.text, EXCERPT)) }
        " " span.soft { (format!("{:.3}", hit.score)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_words_and_by_their_width() {
        assert_eq!([excerpt("one two three", 13), excerpt("one two three", 9)], ["one two three", "one two …"]);
        assert_eq!(excerpt("훈민정음해례본", 8), "훈민정음 …");
    }

    #[test]
    fn backticks_are_code_when_they_are_paired() {
        assert_eq!(quoted("none of `a`, `<b>`").into_string(), "none of <code>a</code>, <code>&lt;b&gt;</code>");
        assert_eq!(quoted("a ` alone").into_string(), "a ` alone");
    }
}

//! Tables: means, differences with their certainty, slices, tuning, and the report beside an earlier one.

use super::{foundation, section, unbroken};
use crate::compare::report::chart::strip::strip;
use crate::compare::report::chart::{class, key};
use crate::compare::report::model::{Difference, Mean, Report, Slicing};
use crate::compare::report::words::{Outcome, count, counted, holm, interval, p_value, share, signed};
use maud::{Markup, html};

/// Gold passages first, answers apart: another question.
pub(super) fn means(report: &Report) -> Markup {
    let of_answers = |measure: &&str| measure.starts_with("answer");
    let (answers, gold): (Vec<&str>, Vec<&str>) = report.columns().into_iter().partition(of_answers);
    let says = html! {
        "Means over " (unbroken(&report.averaging)) ". The best value of a column is bold."
        @if !answers.is_empty() {
            " An answer measure asks whether a passage holds a known answer, which bounds what a reader can extract."
        }
    };
    let body = html! {
        @for (title, columns) in [("Gold passage", gold), ("Answer", answers)] {
            @if !columns.is_empty() { (mean_table(report, title, &columns)) }
        }
        @if let Some(ann) = report.ann_recall {
            p.note {
                "ann_recall@" (ann.k) " " (share(ann.mean)) " over " (counted(ann.queries, "question")) ": the share of the exact nearest "
                (ann.k) " that the graph finds, no recall of passages. "
                @if ann.graph_in_use { "The graph searches." } @else { "Exact search is used at this size." }
            }
        }
    };
    section("table", "What was found", &says, &body)
}

/// The deciding measure as dots with intervals on one scale.
pub(super) fn summary(report: &Report) -> Markup {
    let Some(measure) = report.decisive() else { return html! {} };
    let means: Vec<(usize, &str, &Mean)> = (report.systems.iter().enumerate())
        .filter_map(|(i, system)| Some((i, system.name.as_str(), system.mean(measure)?)))
        .collect();
    let ends = means.iter().flat_map(|(_, _, mean)| mean.interval.unwrap_or([mean.mean; 2]));
    let (low, high) = ends.fold((1.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let pad = ((high - low) * 0.08).max(0.005);
    let ranged = means.iter().any(|(_, _, mean)| mean.interval.is_some());
    html! {
        div {
            div.scroll {
                table.middle {
                    caption { (measure) @if ranged { " with its 95 % interval" } }
                    tbody {
                        @for (i, name, mean) in &means {
                            tr {
                                th scope="row" { (key(*i)) (name) }
                                td.wide { (strip(*i, mean.mean, mean.interval, (low - pad, high + pad), &format!("{name}: {}", said(mean)))) }
                                td { b { (share(mean.mean)) } @if let Some([low, high]) = mean.interval { small { (share(low)) " to " (share(high)) } } }
                            }
                        }
                    }
                }
            }
            (foundation(report, &format!("{} a system.", counted(report.judged, "question"))))
        }
    }
}

fn said(mean: &Mean) -> String {
    match mean.interval {
        Some([low, high]) => format!("{} ({} to {})", share(mean.mean), share(low), share(high)),
        None => share(mean.mean),
    }
}

fn mean_table(report: &Report, title: &str, columns: &[&str]) -> Markup {
    let best = |measure: &str| {
        let means = report.systems.iter().filter_map(|system| system.mean(measure).map(|mean| mean.mean));
        means.fold(f64::NEG_INFINITY, f64::max)
    };
    let n = report.systems.first().and_then(|system| system.mean(columns.first()?)).map_or(0, |mean| mean.n);
    let kind = (report.systems.len() > 1, report.systems.iter().any(|system| !system.differences.is_empty()));
    html! {
        div {
            div.scroll {
                table.signed[kind.1] {
                    caption { (title) }
                    thead { tr { th scope="col" { "system" } @for measure in columns { th scope="col" { (spelt(measure)) } } } }
                    tbody {
                        @for (i, system) in report.systems.iter().enumerate() {
                            tr {
                                th scope="row" { (key(i)) (system.name) }
                                @for measure in columns {
                                    td { (cell(system.mean(measure), best(measure), system.differences.get(*measure), kind)) }
                                }
                            }
                        }
                    }
                }
            }
            @let marks = report.baseline.as_ref().map(|name| format!(" ▲ proven above {name}, ▼ proven below."));
            (foundation(report, &format!("{}.{}", counted(n, "question"), marks.unwrap_or_default())))
        }
    }
}

/// A measure's name with places to break it.
fn spelt(measure: &str) -> Markup {
    let places: Vec<&str> = measure.split_inclusive('-').flat_map(|part| split_before(part, &['(', '@'])).collect();
    html! { @for (i, part) in places.iter().enumerate() { @if i > 0 { wbr; } (part) } }
}

fn split_before<'a>(text: &'a str, at: &[char]) -> Vec<&'a str> {
    let mut cuts = vec![0];
    cuts.extend(text.match_indices(at).map(|(place, _)| place).filter(|place| *place > 0));
    cuts.push(text.len());
    cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect()
}

fn cell(mean: Option<&Mean>, best: f64, difference: Option<&Difference>, (several, tested): (bool, bool)) -> Markup {
    let Some(mean) = mean else { return html! { span.soft { "–" } @if tested { span.sign {} } } };
    html! {
        @if several && mean.mean == best { b { (share(mean.mean)) } } @else { (share(mean.mean)) }
        @if tested { (difference.map_or_else(|| html! { span.sign {} }, sign)) }
    }
}

/// A proven direction as a sign and a colour; its room stays where nothing is proven, so that digits stand in columns.
fn sign(difference: &Difference) -> Markup {
    html! {
        @match difference.outcome() {
            Outcome::Gain => { span.sign.gain title=(p_value(difference.p())) { "▲" } }
            Outcome::Loss => { span.sign.loss title=(p_value(difference.p())) { "▼" } }
            Outcome::Open => { span.sign {} }
        }
    }
}

fn difference_cell(difference: &Difference) -> Markup {
    html! {
        (signed(difference.mean)) (sign(difference))
        small { (interval(difference.interval)) }
        small { (p_value(difference.p())) }
    }
}

/// A row a measure, a column a system.
pub(super) fn differences(report: &Report) -> Markup {
    let Some(baseline) = &report.baseline else { return html! {} };
    let others: Vec<_> =
        report.systems.iter().enumerate().filter(|(_, system)| !system.differences.is_empty()).collect();
    if others.is_empty() {
        return html! {};
    }
    let says = html! {
        "System minus " (baseline) ", paired question by question: mean, 95 % bootstrap interval, and the two-sided p of the randomisation test"
        (holm(report))
        ". ▲ and ▼ are proven: at least 20 questions and p below .05."
    };
    let body = html! {
        div {
            div.scroll {
                table.signed {
                    thead { tr { th scope="col" { "measure" } @for (i, system) in &others { th.system scope="col" { (key(*i)) (system.name) } } } }
                    tbody {
                        @for measure in report.columns() {
                            tr {
                                th scope="row" { (spelt(measure)) }
                                @for (_, system) in &others {
                                    td { @match system.differences.get(measure) {
                                        Some(difference) => { (difference_cell(difference)) }
                                        None => { span.soft { "–" } }
                                    } }
                                }
                            }
                        }
                    }
                }
            }
            (foundation(report, &least(report, &others.iter().map(|(_, system)| system.name.as_str()).collect::<Vec<_>>())))
        }
    };
    section("differences", "How sure that is", &says, &body)
}

/// What so many questions can show at all, on the deciding measure.
fn least(report: &Report, others: &[&str]) -> String {
    let Some(measure) = report.decisive() else { return String::new() };
    let of = |name: &str| {
        let least = report.system(name)?.detectable.get(measure)?;
        let more = least.for_one_point.filter(|more| *more > least.n);
        let more = more.map_or(String::new(), |more| format!(" (.01 takes {})", counted(more, "question")));
        Some(format!("{} for {name}{more}", share(least.effect)))
    };
    let found: Vec<String> = others.iter().filter_map(|name| of(name)).collect();
    match found.is_empty() {
        true => String::new(),
        false => format!(
            "The smallest {measure} difference that these questions show four times in five: {}.",
            found.join(", ")
        ),
    }
}

/// The deciding measure over groups of questions.
pub(super) fn slices(report: &Report) -> Markup {
    let (telling, alike): (Vec<&Slicing>, Vec<&Slicing>) =
        report.slices.iter().partition(|slicing| slicing.groups.len() > 1);
    let (Some(measure), false) = (report.decisive(), telling.is_empty()) else { return html! {} };
    let says = html! { (measure) " over groups of questions. Where a system is strong and where it is not; small groups say little." };
    let body = html! {
        @for slicing in telling {
            div {
                div.scroll {
                    table {
                        caption { (slicing.by) }
                        thead { tr {
                            th scope="col" { "group" } th scope="col" { "questions" }
                            @for (i, system) in report.systems.iter().enumerate() { th.system scope="col" { (key(i)) (system.name) } }
                        } }
                        tbody {
                            @for group in &slicing.groups {
                                tr {
                                    th scope="row" { (group.name) }
                                    td { (count(group.n)) }
                                    @for (i, system) in report.systems.iter().enumerate() {
                                        td { @match group.means.get(&system.name).and_then(|means| means.get(measure)) {
                                            Some(mean) => {
                                                (share(*mean))
                                                span.cell { i.(class(i)) style=(format!("width:{:.1}%", 100.0 * mean.clamp(0.0, 1.0))) {} }
                                            }
                                            None => { span.soft { "–" } }
                                        } }
                                    }
                                }
                            }
                        }
                    }
                }
                (foundation(report, &placed(slicing.left_out)))
            }
        }
        @if !alike.is_empty() {
            p.note {
                "All questions alike: "
                @for (i, slicing) in alike.iter().enumerate() {
                    (if i > 0 { "; " } else { "" }) (slicing.by)
                    @for group in &slicing.groups { ", " (group.name) }
                }
                "."
            }
        }
    };
    section("slices", "Where each is strong", &says, &body)
}

fn placed(left_out: usize) -> String {
    if left_out == 0 { String::new() } else { format!("{} have no place here.", counted(left_out, "question")) }
}

/// How the fusion was chosen and what it is worth on other questions.
pub(super) fn tuning(report: &Report) -> Markup {
    let Some(tuning) = &report.tuning else { return html! {} };
    let says = html! {
        "Chosen by " (tuning.measure) " on " (counted(tuning.queries, "judged question")) "; judged on the folds that did not choose, "
        (tuning.folds) " of them."
    };
    let body = html! {
        div {
            p { b { (tuning.verdict) } ": " code { (tuning.fusion) } " minus " code { (tuning.against) } " is "
                (signed(tuning.held_out.mean)) " " (interval(tuning.held_out.interval)) ", " (p_value(tuning.held_out.p())) "." }
            @if !tuning.tried.is_empty() {
                div.scroll { table {
                    thead { tr { th scope="col" { "fusion" } th scope="col" { (tuning.measure) } } }
                    tbody { @for tried in &tuning.tried { tr { th scope="row" { code { (tried.fusion) } } td { (share(tried.mean)) } } } }
                } }
            }
            (foundation(report, "What is fitted is measured on questions it was not fitted on; a single choice among these still flatters itself a little."))
        }
    };
    section("tuning", "How the fusion was chosen", &says, &body)
}

/// This report minus an earlier one.
pub(super) fn against(report: &Report) -> Markup {
    let Some(against) = &report.against else { return html! {} };
    let says = html! {
        "Now minus then, paired over the " (counted(against.both, "question")) " that both asked. Then: " code { (against.command) }
    };
    let body = html! {
        div {
            @for note in &against.notes { p.warning { (note) } }
            div.scroll { table.signed {
                thead { tr { @for head in ["system", "measure", "then", "now", "difference"] { th scope="col" { (head) } } } }
                tbody {
                    @for row in &against.rows {
                        tr {
                            th scope="row" { (row.system) }
                            td { (row.measure) } td { (share(row.then)) } td { (share(row.now)) }
                            td { (difference_cell(&row.difference)) }
                        }
                    }
                }
            } }
            p.note {
                "Then from " code { (against.file) }
                @if let Some(manifest) = &against.manifest { ", index manifest " code { (manifest.chars().take(12).collect::<String>()) } }
                ". " a href="#rests-on" { "What this report rests on" }
            }
        }
    };
    section("against", "Beside the earlier report", &says, &body)
}

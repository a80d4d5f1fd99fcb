//! Figures: recall curves, gains and losses a question, score margins, cost against quality.

use super::{foundation, section};
use crate::compare::report::chart::bars::{Bar, gains_and_losses};
use crate::compare::report::chart::histogram::histogram;
use crate::compare::report::chart::key;
use crate::compare::report::chart::lines::{Line, lines};
use crate::compare::report::chart::scatter::{Point, scatter};
use crate::compare::report::model::{Report, SystemReport};
use crate::compare::report::words::{COSTS, count, counted, seconds, share, shared, signed};
use maud::{Markup, html};
use std::collections::BTreeSet;

fn legend(report: &Report, shown: impl Fn(&SystemReport) -> bool) -> Markup {
    html! {
        ul.legend {
            @for (i, system) in report.systems.iter().enumerate().filter(|(_, system)| shown(system)) {
                li { (key(i)) span { (system.name) } }
            }
        }
    }
}

/// Recall at rising depths.
pub(super) fn curves(report: &Report) -> Markup {
    let drawn: Vec<Line> = (report.systems.iter().enumerate().filter(|(_, system)| !system.curve.is_empty()))
        .map(|(series, system)| {
            let points = system.curve.iter().map(|point| (point.k as f64, point.recall)).collect();
            Line { series, name: system.name.clone(), points }
        })
        .collect();
    if drawn.is_empty() {
        return html! {};
    }
    let depths: BTreeSet<usize> = report.systems.iter().flat_map(|system| system.curve.iter().map(|p| p.k)).collect();
    let says = html! {
        "Share of the relevant passages among the first k. A reader that looks at few passages needs the left end, a reranker the right one."
    };
    let body = html! {
        div.figures {
            figure {
                figcaption { "Recall@k" }
                (lines(&drawn, "recall at rising k, a line a system", "passages looked at (k)"))
                (legend(report, |system| !system.curve.is_empty()))
            }
        }
        div {
            div.scroll { table {
                thead { tr { th scope="col" { "recall of the first" } @for k in &depths { th scope="col" { (k) } } } }
                tbody {
                    @for (i, system) in report.systems.iter().enumerate().filter(|(_, system)| !system.curve.is_empty()) {
                        tr {
                            th scope="row" { (key(i)) (system.name) }
                            @for k in &depths {
                                @let point = system.curve.iter().find(|point| point.k == *k);
                                td { (point.map_or("–".into(), |point| share(point.recall))) }
                            }
                        }
                    }
                }
            } }
            (foundation(report, &format!("{}.", counted(report.judged, "question"))))
        }
    };
    section("curves", "How deep one has to look", &says, &body)
}

/// Every question's difference to the reference.
pub(super) fn gains(report: &Report) -> Markup {
    let (Some(measure), Some(reference)) = (report.decisive(), report.reference()) else { return html! {} };
    let others: Vec<_> =
        report.systems.iter().enumerate().filter(|(_, system)| system.name != reference.name).collect();
    if others.is_empty() {
        return html! {};
    }
    let says = html! {
        "A bar is a question: " (measure) " of the system minus that of " (reference.name) ", sorted. A mean hides whether many questions gain a little or few gain much."
    };
    let body = html! {
        div.figures {
            @for (i, system) in others {
                @let bars = compared(report, system, reference, measure);
                @let won = bars.iter().filter(|bar| bar.value > 0.0).count();
                @let lost = bars.iter().filter(|bar| bar.value < 0.0).count();
                figure {
                    figcaption {
                        (key(i)) (system.name)
                        small { (count(won)) " better, " (count(bars.len() - won - lost)) " the same, " (count(lost)) " worse than " (reference.name) }
                    }
                    (gains_and_losses(bars, &format!("{measure} of {} minus {} per question, sorted", system.name, reference.name)))
                }
            }
        }
        (foundation(report, "Hovering over a bar names its question."))
    };
    section("gains", "Who wins where", &says, &body)
}

fn compared(report: &Report, system: &SystemReport, reference: &SystemReport, measure: &str) -> Vec<Bar> {
    let both = system.per_query.keys().filter_map(|query| {
        let (value, their) = (system.value(query, measure)?, reference.value(query, measure)?);
        let text = report.questions.get(query).map_or(query.as_str(), String::as_str);
        let title = format!("{text}: {} against {} ({})", share(value), share(their), signed(value - their));
        Some(Bar { value: value - their, title })
    });
    both.collect()
}

/// How far the gold passage leads or trails, in each system's own scores.
pub(super) fn margins(report: &Report) -> Markup {
    let shown: Vec<_> = report.systems.iter().enumerate().filter(|(_, system)| !system.margins.is_empty()).collect();
    if shown.is_empty() {
        return html! {};
    }
    let says = html! {
        "Score of the best gold passage minus that of the best other one. Right of 0 the gold passage leads. Each system's scores have a scale of their own: compare shapes, not widths."
    };
    let body = html! {
        div.figures {
            @for (i, system) in shown {
                @let values: Vec<f64> = system.margins.values().copied().collect();
                @let led = values.iter().filter(|margin| **margin > 0.0).count();
                figure {
                    figcaption {
                        (key(i)) (system.name)
                        small {
                            "leads in " (count(led)) ", trails in " (count(values.len() - led))
                            @if report.judged > values.len() { "; no gold passage, or nothing else, retrieved in " (count(report.judged - values.len())) }
                        }
                    }
                    (histogram(&values, &format!("score margins of {}", system.name), "score of gold minus best other"))
                }
            }
        }
        (foundation(report, "Bars count questions."))
    };
    section("margins", "By how much", &says, &body)
}

/// Latency against the deciding measure, where it was measured.
pub(super) fn cost(report: &Report) -> Markup {
    let Some(measure) = report.decisive() else { return html! {} };
    let spent = |system: &SystemReport| Some(system.cost?.p50_ms);
    let points: Vec<Point> = (report.systems.iter().enumerate())
        .filter_map(|(series, system)| {
            let (x, mean) = (spent(system)?, system.mean(measure)?);
            let title = format!("{}: {} at {}", system.name, share(mean.mean), seconds(x / 1e3));
            (x > 0.0).then_some(Point { series, x, y: mean.mean, interval: mean.interval, title })
        })
        .collect();
    if points.is_empty() {
        return html! {};
    }
    let unit = "median milliseconds a question, one thread";
    let says = html! { (measure) " against what a question costs. The upper left is better." };
    let body = html! {
        div.figures {
            figure {
                figcaption { (measure) }
                (scatter(&points, &format!("{measure} against cost, a mark a system"), unit))
                (legend(report, |system| spent(system).is_some()))
            }
        }
        div {
            (costs(report))
            (foundation(report, &shared(report)))
        }
    };
    section("cost", "At what price", &says, &body)
}

fn costs(report: &Report) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "system" } @for head in COSTS { th scope="col" { (head) } } } }
            tbody {
                @for (i, system) in report.systems.iter().enumerate() {
                    @if let Some(cost) = &system.cost {
                        tr { th scope="row" { (key(i)) (system.name) } @for cell in cost.cells() { td { (cell) } } }
                    }
                }
            }
        } }
    }
}

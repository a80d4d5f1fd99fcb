//! What every number rests on: the command, the index, the data, the rules.

use super::{section, unbroken};
use crate::compare::report::model::{Report, RestsOn};
use crate::compare::report::words::{count, counted};
use maud::{Markup, html};

/// The last section, which all others point to.
pub(super) fn on(report: &Report) -> Markup {
    let says = html! { "Enough to make every number again, and to notice when something below it has changed." };
    let body = html! {
        pre { (typed(&report.command)) }
        dl {
            dt { "Data" } dd { code { (report.data) } @if let Some(split) = &report.split { ", split " (split) } }
            dt { "Questions" }
            dd {
                (counted(report.queries, "question")) ", " (count(report.judged)) " judged"
                @if report.with_answers > 0 { ", " (count(report.with_answers)) " with known answers" }
            }
            dt { "Means" } dd { "over " (unbroken(&report.averaging)) }
            dt { "Index" } dd { code { (report.index) } }
            dt { "Fusion" } dd { (report.fusion) }
            @if let Some(rests) = &report.rests_on { (manifest(rests)) }
            @if !report.program.is_empty() { dt { "Program" } dd { (report.program) } }
        }
    };
    section("rests-on", "What this rests on", &says, &body)
}

fn manifest(rests: &RestsOn) -> Markup {
    html! {
        dt { "Fusion found by" } dd { (rests.fusion_found_by) }
        @if let Some(command) = &rests.built_by { dt { "Index built by" } dd { code { (typed(command)) } } }
        dt { "Index manifest" } dd { code { (rests.manifest) } " (SHA-256 of " (rests.generation) "/manifest.json)" }
        dt { "Passages" } dd { (count(rests.passages)) }
        dt { "Sparse analysis" } dd { (rests.analyzer) }
        @if let Some(encoder) = &rests.encoder { dt { "Encoder" } dd { (encoder) } }
        @if let Some(print) = &rests.encoder_fingerprint { dt { "Its fingerprint" } dd { code { (print) } } }
        dt { "Judgments" } dd { code { (rests.judgments) } " (SHA-256)" }
        dt { "Depth" } dd { (count(rests.depth)) " passages of each side" }
        dt { "Seed" } dd { (rests.seed) }
    }
}

/// A command whose words stay whole where lines break, as far as they fit.
fn typed(command: &str) -> Markup {
    html! {
        @for (i, word) in command.split(' ').enumerate() {
            @if i > 0 { " " }
            span.word { (word) }
        }
    }
}

//! What the screen says of a mining: outcomes, filters by source, the audit.

use super::super::ui::{bold, table, thousands};
use super::Args;
use parallax::mining::audit::{self, Share};
use parallax::mining::{Filter, MineOptions, MineReport, Outcome, SourceReport};

/// What was mined, what was kept out, what became of every question.
pub(super) fn screen(args: &Args, options: &MineOptions, report: &MineReport) -> String {
    let mut text = String::new();
    let questions = if args.pseudo.is_some() { "pairs" } else { "questions" };
    let mut rows = vec![vec![questions.to_string(), thousands(report.queries)]];
    for outcome in Outcome::ALL.into_iter().filter(|outcome| report.outcome(*outcome) > 0) {
        rows.push(vec![format!("  {}", outcome.meaning()), thousands(report.outcome(outcome))]);
    }
    text += &table(&rows);
    if options.negatives > 0 || report.negatives > 0 {
        text += "\n";
        text += &sources(report);
    }
    for fitted in &report.margins {
        text += &format!(
            "relative margin of {}: {:.2}, fitted on {} queries: flagged among the first are {:.1} % without it, {:.1} % with it ({:.1} % far down); {:.0} % of the queries keep enough\n",
            fitted.source.name(),
            fitted.margin,
            thousands(fitted.queries as u64),
            100.0 * fitted.before,
            100.0 * fitted.after,
            100.0 * fitted.far,
            100.0 * fitted.enough
        );
    }
    if report.protected > 0 {
        text += &format!(
            "{} passages answer protected questions; neither they nor their twins are taken\n",
            thousands(report.protected as u64)
        );
    }
    if report.missing_positives > 0 {
        text += &format!("{} further judged passages are not in the index\n", thousands(report.missing_positives));
    }
    if let Some(found) = &report.audit {
        text += &audited(found);
    }
    if report.examples > 0 && report.negatives == 0 && options.negatives > 0 {
        text += "no negative was found: training will have those of its own batch only\n";
    }
    text
}

/// Filters by source: one column a source.
fn sources(report: &MineReport) -> String {
    let header = std::iter::once("candidates".to_string()).chain(report.sources.iter().map(|s| s.source.name().into()));
    let mut rows: Vec<Vec<String>> = vec![header.collect()];
    let mut row = |name: &str, cell: &dyn Fn(&SourceReport) -> String| {
        rows.push(std::iter::once(name.to_string()).chain(report.sources.iter().map(cell)).collect());
    };
    row("offered", &|s| thousands(s.offered));
    for filter in Filter::ALL {
        if report.sources.iter().any(|s| s.filtered_by(filter) > 0) {
            row(&format!("  {}", filter.meaning()), &|s| match s.filtered_by(filter) {
                0 => "–".into(),
                n => format!("−{}", thousands(n)),
            });
        }
    }
    row("survived", &|s| thousands(s.survived()));
    row(&bold("mined"), &|s| bold(&thousands(s.mined)));
    let shown = |mean: Option<f64>, digits: usize| mean.map_or("–".to_string(), |mean| format!("{mean:.digits$}"));
    row("  mean raw rank", &|s| shown(s.rank.value(), 1));
    row("  mean margin to the positive", &|s| shown(s.margin.value(), 3));
    row("  … as a share of its score", &|s| shown(s.relative_margin(), 3));
    table(&rows)
}

/// The audit, by source and ranks.
fn audited(found: &audit::Audit) -> String {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let of = |share: Share| {
        let (low, high) = share.interval();
        if share.of == 0 {
            "–".into()
        } else {
            format!("{} [{}, {}]", percent(share.value()), percent(low), percent(high))
        }
    };
    let header = ["audit, %", "ranks", "candidates", "flagged", "mined", "suspect", "false negatives"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for band in &found.bands {
        rows.push(vec![
            band.source.name().into(),
            band.band.to_string(),
            thousands(band.flagged.of),
            of(band.flagged),
            thousands(band.suspects.of),
            of(band.suspects),
            band.estimate
                .map_or("–".into(), |e| format!("{} [{}, {}]", percent(e.share), percent(e.low), percent(e.high))),
        ]);
    }
    let mut text = format!("\n{}", table(&rows));
    text += match found.estimate {
        Some(_) => {
            "flagged: hold an answer or repeat the positive, before filters; suspect: mined with a sign no filter acts on; "
        }
        None => {
            "flagged: hold an answer or repeat the positive, before filters; suspect: mined with a sign no filter acts on\n"
        }
    };
    match found.estimate {
        Some(e) => {
            text += &format!(
                "false negatives: estimated from both, if right passages word the answer as the judged ones do\n{} {} % of the mined are estimated to be right after all, 95 % interval {} to {}\n",
                bold("estimate"),
                percent(e.share),
                percent(e.low),
                percent(e.high)
            );
        }
        None => {
            text +=
                "no answer is known, so nothing but a person can tell how many are right after all: judge the sheet\n"
        }
    }
    text
}

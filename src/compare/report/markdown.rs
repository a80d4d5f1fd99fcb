//! A report as Markdown, for issues, pull requests and notes.
//!
//! Tables in the pipe form that GitHub and most others read. `*` marks a proven difference, bold the best of a column.
//! Names cannot break a table: pipes are escaped, line ends become spaces, and what would be HTML is shown as text.

use super::model::{Difference, Report};
use super::words::{COSTS, Outcome, count, counted, holm, interval, missing, p_value, share, shared, signed, verdict};

/// The report as Markdown with a final newline.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    if let Some(verdict) = verdict(report) {
        text += &format!("# {}\n\n{}\n\n", safe(&verdict.headline), safe(&verdict.detail));
    }
    if report.missing_gold > 0 {
        text += &format!("> {} No system can find what is not there.\n\n", missing(report.missing_gold));
    }
    text += &means(report);
    text += &differences(report);
    text += &curves(report);
    text += &costs(report);
    text += &why(report);
    text += &against(report);
    text += &rests_on(report);
    text
}

/// A cell or line that stays one.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '*' | '_' | '[' | ']' | '\\' | '#' | '`' | '~' | '$' => safe.extend(['\\', c]),
            _ => safe.push(c),
        }
    }
    safe
}

/// Text in backticks: a fence longer than any within.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ").replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A table: the first column to the left, numbers to the right.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = (0..head.len()).map(|i| if i == 0 { "---".into() } else { "---:".into() }).collect();
    line(head) + &line(&rule) + &rows.iter().map(|row| line(row)).collect::<String>() + "\n"
}

fn means(report: &Report) -> String {
    let columns = report.columns();
    let best = |measure: &str| {
        let means = report.systems.iter().filter_map(|system| system.mean(measure).map(|mean| mean.mean));
        means.fold(f64::NEG_INFINITY, f64::max)
    };
    let head: Vec<String> = std::iter::once("system").chain(columns.iter().copied()).map(safe).collect();
    let rows: Vec<Vec<String>> = (report.systems.iter())
        .map(|system| {
            let cells = columns.iter().map(|measure| {
                let Some(mean) = system.mean(measure) else { return "–".to_string() };
                let value = share(mean.mean);
                let value =
                    if report.systems.len() > 1 && mean.mean == best(measure) { format!("**{value}**") } else { value };
                value + system.differences.get(*measure).map_or("", mark)
            });
            std::iter::once(safe(&system.name)).chain(cells).collect()
        })
        .collect();
    let marks = match &report.baseline {
        Some(name) => format!(" \\* differs from {}, proven.", safe(name)),
        None => String::new(),
    };
    table(&head, &rows)
        + &format!("Means over {}; {}.{marks}\n\n", report.averaging, counted(report.judged, "question"))
}

fn mark(difference: &Difference) -> &'static str {
    if difference.outcome() == Outcome::Open { "" } else { "\\*" }
}

fn cell(difference: &Difference) -> String {
    format!(
        "{} {}{}, {}",
        signed(difference.mean),
        interval(difference.interval).replace('[', "\\[").replace(']', "\\]"),
        mark(difference),
        p_value(difference.p()).replace('<', "&lt;"),
    )
}

fn differences(report: &Report) -> String {
    let Some(baseline) = &report.baseline else { return String::new() };
    let others: Vec<_> = report.systems.iter().filter(|system| !system.differences.is_empty()).collect();
    if others.is_empty() {
        return String::new();
    }
    let head: Vec<String> = std::iter::once(format!("difference to {}", safe(baseline)))
        .chain(others.iter().map(|s| safe(&s.name)))
        .collect();
    let rows: Vec<Vec<String>> = (report.columns().iter())
        .map(|measure| {
            let cells = others.iter().map(|system| system.differences.get(*measure).map_or("–".into(), cell));
            std::iter::once(safe(measure)).chain(cells).collect()
        })
        .collect();
    table(&head, &rows)
        + &format!(
            "System minus baseline, paired over questions; 95 % bootstrap interval, p of the randomisation test{}.\n\n",
            holm(report)
        )
}

fn curves(report: &Report) -> String {
    let Some(longest) = report.systems.iter().map(|system| &system.curve).max_by_key(|curve| curve.len()) else {
        return String::new();
    };
    if longest.is_empty() {
        return String::new();
    }
    let head: Vec<String> = std::iter::once("recall of the first".to_string())
        .chain(longest.iter().map(|point| point.k.to_string()))
        .collect();
    let rows: Vec<Vec<String>> = (report.systems.iter().filter(|system| !system.curve.is_empty()))
        .map(|system| {
            let at = |k: usize| {
                system.curve.iter().find(|point| point.k == k).map_or("–".into(), |point| share(point.recall))
            };
            std::iter::once(safe(&system.name)).chain(longest.iter().map(|point| at(point.k))).collect()
        })
        .collect();
    table(&head, &rows)
}

fn costs(report: &Report) -> String {
    let rows: Vec<Vec<String>> = (report.systems.iter())
        .filter_map(|system| Some((system, system.cost?)))
        .map(|(system, cost)| std::iter::once(safe(&system.name)).chain(cost.cells()).collect())
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<String> = std::iter::once("system").chain(COSTS).map(str::to_string).collect();
    table(&head, &rows) + &format!("{}\n\n", safe(&shared(report)))
}

fn why(report: &Report) -> String {
    let mut text = String::new();
    if let Some(causes) = &report.causes {
        let head = ["system", "cause", "main", "in all"].map(str::to_string);
        let mut rows = Vec::new();
        for system in &causes.systems {
            for cause in system.causes.iter().filter(|cause| cause.all > 0) {
                let named = format!("{} ({})", safe(&cause.cause), safe(&cause.meaning));
                rows.push(vec![safe(&system.system), named, count(cause.main), count(cause.all)]);
            }
        }
        text += &format!("Missed, no relevant passage among the first {}, and why:\n\n", causes.k);
        text += &table(&head, &rows);
    }
    if !report.answer_gap.is_empty() {
        let head = ["system", "found", "questions", "of"].map(str::to_string);
        let mut rows = Vec::new();
        for gap in &report.answer_gap {
            for found in gap.counts.iter().filter(|count| count.n > 0) {
                let named = format!("{} (first {}; {})", safe(&found.name), gap.k, safe(&gap.matching));
                rows.push(vec![safe(&gap.system), named, count(found.n), count(gap.n)]);
            }
        }
        text += &table(&head, &rows);
    }
    let Some(measure) = report.decisive() else { return text };
    for slicing in &report.slices {
        let names = report.systems.iter().map(|system| safe(&system.name));
        let head: Vec<String> = [safe(&slicing.by), "questions".into()].into_iter().chain(names).collect();
        let of = |group: &super::model::Slice| {
            let cell = |name: &String| group.means.get(name)?.get(measure).map(|mean| share(*mean));
            let cells = report.systems.iter().map(|system| cell(&system.name).unwrap_or("–".into()));
            [safe(&group.name), count(group.n)].into_iter().chain(cells).collect()
        };
        text += &table(&head, &slicing.groups.iter().map(of).collect::<Vec<_>>());
    }
    if let Some(tuning) = &report.tuning {
        text += &format!(
            "Tuned fusion {}: {}. Held out, {} {} {} against {}.\n\n",
            code(&tuning.fusion),
            safe(&tuning.verdict),
            safe(&tuning.measure),
            signed(tuning.held_out.mean),
            safe(&interval(tuning.held_out.interval)),
            code(&tuning.against),
        );
    }
    text
}

fn against(report: &Report) -> String {
    let Some(against) = &report.against else { return String::new() };
    let head = ["system", "measure", "then", "now", "difference"].map(str::to_string);
    let row = |row: &super::model::AgainstRow| {
        vec![safe(&row.system), safe(&row.measure), share(row.then), share(row.now), cell(&row.difference)]
    };
    let mut text = format!(
        "Beside {} ({}), over {} that both asked:\n\n",
        code(&against.file),
        code(&against.command),
        counted(against.both, "question")
    );
    text += &table(&head, &against.rows.iter().map(row).collect::<Vec<_>>());
    for note in &against.notes {
        text += &format!("> {}\n\n", safe(note));
    }
    text
}

fn rests_on(report: &Report) -> String {
    let mut text = format!("Rests on: {}\n\n", code(&report.command));
    let mut item = |name: &str, value: String| text += &format!("- {name}: {value}\n");
    let split = report.split.as_ref().map(|split| format!(", split {}", safe(split))).unwrap_or_default();
    item("data", code(&report.data) + &split);
    item("index", code(&report.index));
    item("fusion", safe(&report.fusion));
    if let Some(rests) = &report.rests_on {
        item("index manifest", code(&rests.manifest));
        if let Some(encoder) = &rests.encoder {
            item(
                "encoder",
                format!("{} {}", safe(encoder), code(rests.encoder_fingerprint.as_deref().unwrap_or_default())),
            );
        }
        item("judgments", code(&rests.judgments));
        item("seed", rests.seed.to_string());
    }
    if !report.program.is_empty() {
        item("program", safe(&report.program));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::sample;

    /// Cells of every line that is a table's.
    fn cells(text: &str) -> Vec<Vec<String>> {
        let row = |line: &str| {
            let inner = line.strip_prefix("| ")?.strip_suffix(" |")?.replace("\\|", "\u{0}");
            Some(inner.split(" | ").map(|cell| cell.replace('\u{0}', "|")).collect())
        };
        text.lines().filter_map(row).collect()
    }

    #[test]
    fn tables_keep_their_columns_whatever_the_names() {
        let text = markdown(&sample::full());
        let (mut tables, mut width) = (0, None);
        for line in text.lines() {
            match (cells(line).first(), width) {
                (None, _) => width = None,
                (Some(head), None) => (tables, width) = (tables + 1, Some(head.len())),
                (Some(row), Some(width)) => assert_eq!(row.len(), width, "{line}"),
            }
            // In backticks it is text for every reader; elsewhere it has to be escaped.
            assert!(line.contains('`') || !line.contains("<script>"), "{line}");
        }
        assert!(tables >= 7 && text.contains("&lt;script>"), "{text}");
    }

    #[test]
    fn the_figures_are_the_report_s() {
        let text = markdown(&sample::report());
        let rows = cells(&text);
        assert_eq!(rows[0], ["system", "nDCG@10", "R@5"]);
        assert_eq!(rows[2], ["bm25", ".5000", ".6000"]);
        assert_eq!(rows[3], ["hybrid", "**.7500**\\*", "**.8000**"]);
        assert!(text.starts_with("# hybrid finds more than bm25\n"), "{text}");
        assert!(text.contains("- index manifest: `0a1b2c`"), "{text}");
    }

    #[test]
    fn code_survives_its_own_fence() {
        assert_eq!([code("a"), code("a`b"), code("``")], ["`a`", "`` a`b ``", "``` `` ```"]);
    }
}

//! A report as LaTeX tables, to `\input` into a paper.
//!
//! The fragment needs `\usepackage{booktabs}` and nothing else, with pdfLaTeX, XeLaTeX or LuaLaTeX; names in Hangul need a
//! font that has it (`kotex`). Every special character is escaped. `$^{*}$` marks a proven difference, bold the best of a
//! column; the command and the manifests behind the numbers stand in comments above the tables.

use super::model::{Difference, Report};
use super::words::{COSTS, Outcome, counted, holm, interval, p_value, share, shared, signed};

/// The tables with a final newline.
pub fn latex(report: &Report) -> String {
    let mut text = String::from("% Needs \\usepackage{booktabs}.\n");
    text += &comment("Made by", &report.command);
    text += &comment("Program", &report.program);
    text += &comment("Index", &report.index);
    if let Some(rests) = &report.rests_on {
        text += &comment("Index manifest (SHA-256)", &rests.manifest);
        let encoder = [&rests.encoder, &rests.encoder_fingerprint].into_iter().flatten().cloned().collect::<Vec<_>>();
        text += &comment("Encoder", &encoder.join(" "));
        text += &comment("Judgments (SHA-256)", &rests.judgments);
        text += &comment("Seed", &rests.seed.to_string());
    }
    text += &comment("Data", &report.data);
    text += &comment("Fusion", &report.fusion);
    text += &means(report);
    text += &differences(report);
    text += &curves(report);
    text += &costs(report);
    text += &against(report);
    text
}

/// One line, whatever stands in it.
fn comment(name: &str, value: &str) -> String {
    match value.is_empty() {
        true => String::new(),
        false => format!("% {name}: {}\n", value.replace(['\n', '\r'], " ")),
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => safe.push_str("\\textbackslash{}"),
            '~' => safe.push_str("\\textasciitilde{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '|' => safe.push_str("\\textbar{}"),
            // After a row's end a bare one would begin an argument.
            '[' => safe.push_str("{[}"),
            '−' => safe.push_str("$-$"),
            '–' => safe.push_str("--"),
            'µ' => safe.push_str("\\ensuremath{\\mu}"),
            '{' | '}' | '$' | '&' | '#' | '%' | '_' => safe.extend(['\\', c]),
            '\n' | '\r' | '\t' => safe.push(' '),
            _ => safe.push(c),
        }
    }
    safe
}

/// A table of cells that are escaped already; the first column is to the left.
fn table(caption: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("  {} \\\\\n", cells.join(" & "));
    let columns = "r".repeat(head.len().saturating_sub(1));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!(
        "\n\\begin{{table}}\n  \\centering\n  \\caption{{{caption}}}\n  \\begin{{tabular}}{{l{columns}}}\n  \\toprule\n{}  \\midrule\n{rows}  \
         \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n",
        line(head)
    )
}

fn head(first: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(escaped(first)).chain(names).collect()
}

fn star(difference: &Difference) -> &'static str {
    if difference.outcome() == Outcome::Open { "" } else { "$^{*}$" }
}

fn cell(difference: &Difference) -> String {
    let p = p_value(difference.p()).replace("p ", "$p$ ").replace('<', "$<$").replace('=', "$=$");
    format!(
        "{}{} {}, {p}",
        escaped(&signed(difference.mean)),
        star(difference),
        escaped(&interval(difference.interval))
    )
}

/// Gold passages and answers apart: another question, and a page is only so wide.
fn means(report: &Report) -> String {
    let (answers, gold): (Vec<&str>, Vec<&str>) =
        report.columns().into_iter().partition(|measure| measure.starts_with("answer"));
    let parts = [("Gold passage", gold), ("Answer", answers)];
    parts.iter().filter(|(_, columns)| !columns.is_empty()).map(|(what, columns)| part(report, what, columns)).collect()
}

fn part(report: &Report, what: &str, columns: &[&str]) -> String {
    let best = |measure: &str| {
        let means = report.systems.iter().filter_map(|system| system.mean(measure).map(|mean| mean.mean));
        means.fold(f64::NEG_INFINITY, f64::max)
    };
    let rows: Vec<Vec<String>> = (report.systems.iter())
        .map(|system| {
            let cells = columns.iter().map(|measure| {
                let Some(mean) = system.mean(measure) else { return "--".to_string() };
                let value = share(mean.mean);
                let value = match report.systems.len() > 1 && mean.mean == best(measure) {
                    true => format!("\\textbf{{{value}}}"),
                    false => value,
                };
                value + system.differences.get(*measure).map_or("", star)
            });
            head(&system.name, cells)
        })
        .collect();
    let marks = match &report.baseline {
        Some(name) => format!(" $^{{*}}$ differs from {}, proven.", escaped(name)),
        None => String::new(),
    };
    let over =
        format!("{what}: means over {}; {}.{marks}", escaped(&report.averaging), counted(report.judged, "question"));
    table(&over, &head("system", columns.iter().map(|measure| escaped(measure))), &rows)
}

fn differences(report: &Report) -> String {
    let Some(baseline) = &report.baseline else { return String::new() };
    let others: Vec<_> = report.systems.iter().filter(|system| !system.differences.is_empty()).collect();
    if others.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = (report.columns().iter())
        .map(|measure| head(measure, others.iter().map(|s| s.differences.get(*measure).map_or("--".into(), cell))))
        .collect();
    let caption = format!(
        "Difference to {}, paired over questions: mean, 95\\,\\% bootstrap interval, $p$ of the randomisation test{}.",
        escaped(baseline),
        holm(report)
    );
    table(&caption, &head("measure", others.iter().map(|system| escaped(&system.name))), &rows)
}

fn curves(report: &Report) -> String {
    let Some(longest) = report.systems.iter().map(|system| &system.curve).max_by_key(|curve| curve.len()) else {
        return String::new();
    };
    if longest.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = (report.systems.iter().filter(|system| !system.curve.is_empty()))
        .map(|system| {
            let at = |k: usize| {
                system.curve.iter().find(|point| point.k == k).map_or("--".into(), |point| share(point.recall))
            };
            head(&system.name, longest.iter().map(|point| at(point.k)))
        })
        .collect();
    table("Recall among the first $k$.", &head("system", longest.iter().map(|point| point.k.to_string())), &rows)
}

fn costs(report: &Report) -> String {
    let rows: Vec<Vec<String>> = (report.systems.iter())
        .filter_map(|system| Some((system, system.cost?)))
        .map(|(system, cost)| head(&system.name, cost.cells().into_iter().map(|cell| escaped(&cell))))
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&escaped(&shared(report)), &head("system", COSTS.iter().map(|name| escaped(name))), &rows),
    }
}

fn against(report: &Report) -> String {
    let Some(against) = &report.against else { return String::new() };
    let rows: Vec<Vec<String>> = (against.rows.iter())
        .map(|row| {
            let rest = [escaped(&row.measure), share(row.then), share(row.now), cell(&row.difference)];
            head(&row.system, rest.into_iter())
        })
        .collect();
    let caption = format!(
        "Now minus then (\\texttt{{{}}}), paired over {}.",
        escaped(&against.file),
        counted(against.both, "question")
    );
    let names = ["measure", "then", "now", "difference"].map(str::to_string);
    comment("Then", &against.command) + &table(&caption, &head("system", names.into_iter()), &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::sample;

    /// Without comments, and without characters that are escaped.
    fn bare(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.starts_with('%'));
        let text: String = lines.collect::<Vec<_>>().join("\n");
        let row_ends = text.replace("\\\\", "\u{1}");
        ["\\{", "\\}", "\\$", "\\&", "\\#", "\\%", "\\_"].iter().fold(row_ends, |text, escape| text.replace(escape, ""))
    }

    #[test]
    fn every_brace_environment_and_row_is_whole() {
        let text = bare(&latex(&sample::full()));
        let mut depth = 0i32;
        for c in text.chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            assert!(depth >= 0 && !"#~%".contains(c), "{c} in {text}");
        }
        assert_eq!((depth, text.matches('$').count() % 2), (0, 0));
        for name in ["table", "tabular"] {
            let (begins, ends) = (format!("\\begin{{{name}}}"), format!("\\end{{{name}}}"));
            assert!(text.matches(&begins).count() >= 4);
            assert_eq!(text.matches(&begins).count(), text.matches(&ends).count());
        }
        let mut columns = 0;
        let mut rows = 0;
        for line in text.lines() {
            if let Some(spec) = line.trim().strip_prefix("\\begin{tabular}{") {
                columns = spec.len() - 1;
            } else if line.ends_with('\u{1}') {
                assert_eq!(line.matches('&').count() + 1, columns, "{line}");
                rows += 1;
            }
        }
        assert!(rows > 10);
    }

    #[test]
    fn special_characters_are_text() {
        assert_eq!(
            escaped("a_b & 50% of {x} #1 $2 ~^\\|<>"),
            "a\\_b \\& 50\\% of \\{x\\} \\#1 \\$2 \\textasciitilde{}\\textasciicircum{}\\textbackslash{}\\textbar{}\\textless{}\\textgreater{}"
        );
        let text = latex(&sample::report());
        assert!(text.contains("hybrid & \\textbf{.7500}$^{*}$ & \\textbf{.8000} \\\\"), "{text}");
        assert!(text.contains("% Index manifest (SHA-256): 0a1b2c\n"), "{text}");
    }
}

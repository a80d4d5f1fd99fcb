//! Why each side missed, on the screen: causes counted, and the misses that the systems are furthest apart on.

use super::audit::wrapped;
use super::ui::{bold, dim, fit, safe, table, thousands};
use parallax::compare::diagnose::{Cause, Diagnosis, Miss, Shown, Verdict};
use unicode_width::UnicodeWidthStr;

/// Misses shown side by side.
const WORST: usize = 4;
/// Columns of one of two lists, and between them.
const HALF: usize = 38;
const GAP: usize = 3;

/// The table of causes, and the worst misses.
pub(crate) fn screen(diagnosis: &Diagnosis) -> String {
    let k = diagnosis.k;
    let mut rows = vec![vec![format!("misses of {} at {k}", thousands(diagnosis.queries as u64))]];
    rows[0].extend(diagnosis.systems.iter().map(|system| system.name.clone()));
    let mut missed = vec![bold("missed")];
    missed.extend(diagnosis.systems.iter().map(|system| bold(&thousands(system.missed as u64))));
    rows.push(missed);
    for (at, cause) in Cause::ALL.into_iter().enumerate() {
        if diagnosis.systems.iter().all(|system| system.counts[at].2 == 0) {
            continue;
        }
        let cell = |(_, main, any): (Cause, usize, usize)| match (main, any) {
            (_, 0) => "–".to_string(),
            (main, any) if main == any => thousands(any as u64),
            (main, any) => format!("{} ({})", thousands(main as u64), thousands(any as u64)),
        };
        let mut row = vec![format!("  {}", cause.meaning())];
        row.extend(diagnosis.systems.iter().map(|system| cell(system.counts[at])));
        rows.push(row);
    }
    let mut text = table(&rows);
    text += "a miss counts once, under its main cause; in brackets all that have the cause\n";
    for left_out in &diagnosis.left_out {
        text += &format!("not tried: {left_out}\n");
    }
    let worst = diagnosis.worst_of_each(WORST);
    if !worst.is_empty() {
        text += "\nwhere one side finds what another misses; * is gold, + holds an answer\n";
    }
    for (system, miss) in worst {
        text.push('\n');
        text += &side_by_side(diagnosis, miss, system);
    }
    text
}

/// One miss: what the best system found and the one that is behind it, next to each other.
fn side_by_side(diagnosis: &Diagnosis, miss: &Miss, behind: usize) -> String {
    let whole = 2 * HALF + GAP;
    let mut text = format!("{}\n", bold(&fit(&safe(&format!("{}: {}", miss.query, miss.text)), whole)));
    if !miss.answers.is_empty() {
        text += &format!("{}\n", fit(&safe(&format!("answer: {}", miss.answers.join(" | "))), whole));
    }
    let ids: Vec<&str> = miss.gold.iter().map(|id| id.as_str()).collect();
    let gold = format!("gold {}: {}", ids.join(", "), miss.gold_text.as_deref().unwrap_or("not in the index"));
    text += &format!("{}\n", dim(&fit(&safe(&gold), whole)));
    let rank = |at: &usize| miss.verdicts[*at].rank.unwrap_or(usize::MAX);
    let best = (0..miss.verdicts.len()).min_by_key(rank).unwrap_or(behind);
    let columns = [best, behind].map(|at| (diagnosis.systems[at].name.as_str(), &miss.verdicts[at]));
    let heads: Vec<String> = columns.iter().map(|(name, verdict)| format!("{name}: gold {}", place(verdict))).collect();
    text += &beside(&heads);
    let most = columns.iter().map(|(_, verdict)| verdict.top.len()).max().unwrap_or(0);
    for at in 0..most {
        let cell = |verdict: &Verdict| verdict.top.get(at).map_or(String::new(), |shown| entry(at + 1, shown));
        text += &beside(&columns.iter().map(|(_, verdict)| cell(verdict)).collect::<Vec<_>>());
    }
    for (system, verdict) in diagnosis.systems.iter().zip(&miss.verdicts) {
        for reason in &verdict.reasons {
            let line = format!("{} · {}: {}", system.name, reason.cause.meaning(), reason.evidence);
            text += &wrapped(&safe(&line));
        }
    }
    text
}

fn place(verdict: &Verdict) -> String {
    verdict.rank.map_or("not found".to_string(), |rank| format!("at {}", thousands(rank as u64)))
}

/// `1 * Title: text`, or `1 * d7 text` without a title; `*` is gold, `+` holds an answer.
fn entry(rank: usize, shown: &Shown) -> String {
    let mark = match (shown.gold, shown.holds_answer) {
        (true, _) => '*',
        (false, Some(true)) => '+',
        _ => ' ',
    };
    match shown.title.is_empty() {
        true => format!("{rank} {mark} {} {}", shown.id, shown.text),
        false => format!("{rank} {mark} {}: {}", shown.title, shown.text),
    }
}

/// One line of two cells.
fn beside(cells: &[String]) -> String {
    let mut line = String::new();
    for (at, cell) in cells.iter().enumerate() {
        line += &" ".repeat((at * (HALF + GAP)).saturating_sub(line.width()));
        line += &fit(&safe(cell), HALF);
    }
    format!("{}\n", line.trim_end())
}

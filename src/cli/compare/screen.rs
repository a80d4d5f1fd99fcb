//! A comparison on the terminal: tables that fit it, and what a reader has to know to trust them.

use super::super::ui::{bold, bytes, duration, fit_table, thousands, wrap};
use parallax::compare::report::Provenance;
use parallax::compare::{AnswerGap, Comparison, Detectable, Standing, SystemResult};
use parallax::eval::significance::{ENOUGH, Paired};
use std::time::Duration;

/// Everything but the slices, in at most `width` columns where names allow it.
pub(crate) fn screen(comparison: &Comparison, provenance: &Provenance, width: usize) -> String {
    let Some(first) = comparison.systems.first() else { return String::new() };
    let measures = &first.evaluation.measures;
    // Answers are a different question and stand in a table of their own.
    let (answers, judged): (Vec<usize>, Vec<usize>) =
        (0..measures.len()).partition(|m| measures[*m].matching().is_some());
    let mut blocks = Vec::new();
    if !judged.is_empty() {
        let mut rows = vec![vec!["gold passage".to_string()]];
        rows[0].extend(judged.iter().map(|m| format!("{}{}", measures[*m], margin(comparison))));
        for (i, system) in comparison.systems.iter().enumerate() {
            rows.push(
                std::iter::once(system.name.clone()).chain(judged.iter().map(|m| cell(comparison, i, *m))).collect(),
            );
        }
        blocks.push(fit_table(&rows, width));
    }
    // The names of these measures are long, so each has a row.
    if !answers.is_empty() {
        let mut rows = vec![names("answer", comparison)];
        for m in answers {
            let cells = (0..comparison.systems.len()).map(|i| cell(comparison, i, m));
            rows.push(std::iter::once(measures[m].to_string()).chain(cells).collect());
        }
        blocks.push(fit_table(&rows, width));
    }
    if let (Some(baseline), Some(last)) = (&comparison.baseline, blocks.last_mut()) {
        let family = counted(comparison.systems.len() - 1, "system");
        let marks = format!(
            "+ better, - worse than {baseline}: p < .05, randomisation test over at least {ENOUGH} questions, \
             Holm-corrected for {family}\n"
        );
        *last += &wrap(&marks, width);
    }
    blocks.push(gaps(comparison, width));
    blocks.push(certainty(comparison, width));
    if let Some(baseline) = &comparison.baseline {
        blocks.push(differences(comparison, baseline, width));
    }
    blocks.push(costs(comparison, width));
    blocks.push(wrap(&notes(comparison, provenance), width));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

/// A head row: what the rows are, then the systems, each with the room its cells' marks take.
fn names(what: &str, comparison: &Comparison) -> Vec<String> {
    let margin = margin(comparison);
    let systems = comparison.systems.iter().map(|system| format!("{}{margin}", system.name));
    std::iter::once(what.to_string()).chain(systems).collect()
}

/// The room of a mark, where there are marks.
fn margin(comparison: &Comparison) -> &'static str {
    if comparison.baseline.is_some() { " " } else { "" }
}

/// A mean, bold where it is the best, with its mark where there is a baseline.
fn cell(comparison: &Comparison, system: usize, m: usize) -> String {
    let result = &comparison.systems[system];
    let mark = match result.standing(m) {
        Standing::Better => "+",
        Standing::Worse => "-",
        Standing::Open => margin(comparison),
    };
    if result.evaluation.count(m) == 0 {
        return format!("–{}", margin(comparison));
    }
    let best = comparison.systems.iter().map(|system| system.evaluation.mean(m)).fold(0.0, f64::max);
    let mean = result.evaluation.mean(m);
    let text = format!("{mean:.4}");
    let text = if mean == best && comparison.systems.len() > 1 { bold(&text) } else { text };
    format!("{text}{mark}")
}

/// A line of [`gaps`]: what it counts.
type Reason = (&'static str, fn(&AnswerGap) -> usize);

/// Gold passage against answer, in counts.
fn gaps(comparison: &Comparison, width: usize) -> String {
    const REASONS: [Reason; 7] = [
        ("both", |gap| gap.both),
        ("both, answer split over chunks", |gap| gap.split),
        ("answer only: in a twin of gold", |gap| gap.twin),
        ("answer only: in another passage", |gap| gap.elsewhere),
        ("gold only: answer by characters", |gap| gap.by_characters),
        ("gold only: no answer in it", |gap| gap.unwritten),
        ("neither", |gap| gap.neither),
    ];
    let found: Vec<(&SystemResult, AnswerGap)> =
        comparison.systems.iter().filter_map(|system| Some((system, system.gap?))).collect();
    let Some((_, first)) = found.first() else { return String::new() };
    let mut rows = vec![vec![format!("gold and answer in the first {}", first.k)]];
    rows[0].extend(found.iter().map(|(system, _)| system.name.clone()));
    for (name, count) in REASONS {
        let counts: Vec<usize> = found.iter().map(|(_, gap)| count(gap)).collect();
        if counts.iter().any(|count| *count > 0) {
            rows.push(std::iter::once(name.to_string()).chain(counts.iter().map(|n| thousands(*n as u64))).collect());
        }
    }
    fit_table(&rows, width)
}

/// How sure the principal measure's means are, and what could be shown at all.
fn certainty(comparison: &Comparison, width: usize) -> String {
    let m = comparison.principal();
    let Some(first) = comparison.systems.first() else { return String::new() };
    let measure = first.evaluation.measures[m];
    let reference = &comparison.systems[comparison.reference].name;
    let shown = |system: &SystemResult| system.detectable.get(m).copied().flatten();
    let any = comparison.systems.iter().any(|system| shown(system).is_some());
    let mut rows = vec![vec![measure.to_string(), "mean".into(), "95 % interval".into()]];
    if any {
        rows[0].push("can show".into());
    }
    for system in &comparison.systems {
        let Some((low, high)) = system.intervals[m] else { continue };
        let mean = format!("{:.4}", system.evaluation.mean(m));
        let mut row = vec![system.name.clone(), mean, format!("[{low:.4}, {high:.4}]")];
        if any {
            row.push(shown(system).map_or(String::new(), |shown| match shown.effect {
                0.0 => "the same".to_string(),
                effect => points(effect),
            }));
        }
        rows.push(row);
    }
    let mut text = fit_table(&rows, width);
    let hardest = comparison.systems.iter().filter_map(|system| Some((system, shown(system)?)));
    let hardest = hardest.max_by(|a, b| a.1.effect.total_cmp(&b.1.effect));
    if let Some((system, Detectable { n, effect, for_one_point, .. })) = hardest
        && effect > 0.0
    {
        let mut said = format!(
            "these {} questions can show {} of {measure} between {} and {reference}, not less",
            thousands(n as u64),
            points(effect),
            system.name
        );
        let more = for_one_point.filter(|more| *more > n);
        said += &more.map_or(String::new(), |more| format!("; one point takes {}", thousands(more as u64)));
        text += &wrap(&format!("{said} (power .8, p < .05)\n"), width);
    }
    text
}

/// `2.9 points`: hundredths of a measure.
fn points(effect: f64) -> String {
    let points = 100.0 * effect;
    let text = if points >= 0.1 || points == 0.0 { format!("{points:.1}") } else { format!("{points:.2}") };
    format!("{text} {}", if text == "1.0" { "point" } else { "points" })
}

/// `1 judged query`, `300 judged queries`.
fn queries(n: usize, which: &str) -> String {
    format!("{} {which}{}", thousands(n as u64), if n == 1 { "query" } else { "queries" })
}

/// `1 system`, `3 systems`.
fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(n as u64), if n == 1 { "" } else { "s" })
}

/// A row a measure and a column a system, since an interval is wide.
fn differences(comparison: &Comparison, baseline: &str, width: usize) -> String {
    let others: Vec<_> = comparison.systems.iter().filter(|system| !system.differences.is_empty()).collect();
    let Some(first) = others.first() else { return String::new() };
    let mut rows = vec![vec![format!("difference to {baseline}")]];
    rows[0].extend(others.iter().map(|system| format!("{} ", system.name)));
    for (m, measure) in first.evaluation.measures.iter().enumerate() {
        let mut row = vec![measure.to_string()];
        let cell = |system: &&SystemResult| {
            let proven = system.standing(m) != Standing::Open;
            system.differences[m].as_ref().map_or("– ".into(), |paired| difference(paired, proven))
        };
        row.extend(others.iter().map(cell));
        rows.push(row);
    }
    fit_table(&rows, width)
        + &wrap(
            "system minus baseline, paired over queries, 95 % bootstrap interval; * proven: p < .05, Holm-corrected\n",
            width,
        )
}

/// `+.0123 [+.0050, +.0196]*`: a difference, its interval, and a star where it is proven.
pub(super) fn difference(paired: &Paired, proven: bool) -> String {
    let (low, high) = paired.interval;
    let mark = if proven { '*' } else { ' ' };
    format!("{} [{}, {}]{mark}", signed(paired.mean_difference), signed(low), signed(high))
}

/// Four places with a sign and no leading zero; what rounds to nothing has no minus.
fn signed(value: f64) -> String {
    let text = format!("{:+.4}", (value * 1e4).round() / 1e4 + 0.0);
    text.replacen("0.", ".", usize::from(value.abs() < 0.99995))
}

/// What finding costs.
fn costs(comparison: &Comparison, width: usize) -> String {
    let Some(costs) = comparison.costs else { return String::new() };
    let mut rows = vec![["cost", "index", "p50", "p99", "questions/s, 1 thread"].map(String::from).to_vec()];
    if costs.threads > 1 {
        rows[0].push(format!("{} threads", costs.threads));
    }
    let mut timed = 0;
    for system in &comparison.systems {
        let Some(cost) = system.cost else { continue };
        timed = cost.queries.max(timed);
        let (one, many) =
            (thousands(cost.per_second_one.round() as u64), thousands(cost.per_second_all.round() as u64));
        let mut row =
            vec![system.name.clone(), bytes(cost.index_bytes), milliseconds(cost.p50), milliseconds(cost.p99), one];
        if costs.threads > 1 {
            row.push(many);
        }
        rows.push(row);
    }
    if timed == 0 {
        return String::new();
    }
    let table = fit_table(&rows, width);
    let dense = costs.dense_bytes.map_or(String::new(), |dense| format!(", dense {}", bytes(dense)));
    let mut text = format!("index: sparse {} with the texts{dense}", bytes(costs.sparse_bytes));
    text += &costs
        .build_seconds
        .map_or(String::new(), |seconds| format!(", built in {}", duration(Duration::from_secs_f64(seconds.max(0.0)))));
    text += &format!("; p50, p99: one at a time on one thread, up to {timed} questions");
    text +=
        &costs.peak_memory.map_or(String::new(), |peak| format!("; peak memory of this comparison {}", bytes(peak)));
    text.push('\n');
    table + &wrap(&text, width)
}

/// `0.42 ms`, `12.3 ms`, `1.20 s`.
fn milliseconds(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.1} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

/// What a reader has to know to trust the tables.
fn notes(comparison: &Comparison, provenance: &Provenance) -> String {
    let mut text = String::new();
    if let Some(ann) = comparison.ann_recall {
        let note = if ann.graph_in_use { "the graph searches" } else { "exact search is used here" };
        text += &format!(
            "ann_recall@{} of the graph against exact search: {:.4} on {}; {note}\n",
            ann.k,
            ann.mean,
            queries(ann.queries, "")
        );
    }
    let judged = queries(comparison.judged, "judged ");
    text += &format!("means over {judged}, absent ones count 0 (trec_eval -c)");
    if comparison.with_answers > 0 {
        text += &format!("; answers over {} with known answers", thousands(comparison.with_answers as u64));
    }
    text.push('\n');
    if comparison.systems.iter().any(|system| system.name == "hybrid") {
        text += &format!("hybrid: {}\n", provenance.fusion);
    }
    if comparison.drop_query_id {
        text += "passages with the query's own id are dropped from every ranking\n";
    }
    if comparison.missing_gold > 0 {
        text += &format!("{} gold passages are not in the index: nothing can find them\n", comparison.missing_gold);
    }
    for system in comparison.systems.iter().filter(|system| system.absent + system.ignored > 0) {
        let (absent, ignored) = (system.absent, system.ignored);
        text += &format!("{}: {absent} judged queries absent, {ignored} others ignored\n", system.name);
    }
    text
}

/// The principal measure over kinds of questions; kinds that all questions share are left out.
pub(super) fn slices(comparison: &Comparison, width: usize) -> String {
    let m = comparison.principal();
    let Some(first) = comparison.systems.first() else { return String::new() };
    let mut rows = vec![vec![first.evaluation.measures[m].to_string(), "n".to_string()]];
    rows[0].extend(comparison.systems.iter().map(|system| system.name.clone()));
    for slicing in comparison.slices.iter().filter(|slicing| slicing.slices.len() > 1) {
        rows.push(vec![slicing.by.name().to_string()]);
        for slice in &slicing.slices {
            let mut row = vec![format!("  {}", slice.name), thousands(slice.n as u64)];
            row.extend(slice.means.iter().map(|means| means[m].map_or("–".into(), |mean| format!("{mean:.4}"))));
            rows.push(row);
        }
    }
    let mut text = fit_table(&rows, width);
    let alike: Vec<String> = comparison
        .slices
        .iter()
        .filter(|slicing| slicing.slices.len() == 1)
        .map(|slicing| format!("{}: {}", slicing.by.name(), slicing.slices[0].name))
        .collect();
    if !alike.is_empty() {
        text += &wrap(&format!("all alike: {}\n", alike.join("; ")), width);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_read_at_a_glance() {
        let paired =
            |mean_difference, interval| Paired { n: 9, mean_difference, interval, p_randomization: 1.0, p_t: 1.0 };
        assert_eq!(difference(&paired(0.0123, (0.005, 0.0196)), true), "+.0123 [+.0050, +.0196]*");
        assert_eq!(difference(&paired(-0.2, (-1.0, -0.00001)), true), "-.2000 [-1.0000, +.0000]*");
        assert_eq!(difference(&paired(0.0, (-0.1, 0.10004)), false), "+.0000 [-.1000, +.1000] ");
    }

    #[test]
    fn points_and_times_read_well() {
        assert_eq!([0.029, 0.01, 0.0004, 0.0].map(points), ["2.9 points", "1.0 point", "0.04 points", "0.0 points"]);
        let times = [0.42, 12.34, 1204.0].map(|ms| milliseconds(Duration::from_secs_f64(ms / 1000.0)));
        assert_eq!(times, ["0.42 ms", "12.3 ms", "1.20 s"]);
        assert_eq!((counted(1, "system"), counted(1_200, "system")), ("1 system".into(), "1,200 systems".into()));
    }
}

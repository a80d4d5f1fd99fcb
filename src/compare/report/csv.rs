//! A report as CSV, for spreadsheets and data frames: a row for each system and measure.
//!
//! RFC 4180: CRLF line ends, fields with commas, quotes or line ends in quotes, quotes doubled. Numbers are not rounded;
//! what was not measured is empty. Each row carries the command and the manifest it rests on.

use super::model::{Cost, Report};

/// Names of the columns.
const COLUMNS: [&str; 28] = [
    "system",
    "measure",
    "mean",
    "n",
    "mean_low",
    "mean_high",
    "baseline",
    "difference",
    "difference_low",
    "difference_high",
    "p_randomization",
    "p_t",
    "p_holm",
    "detectable",
    "seconds",
    "index_bytes",
    "p50_ms",
    "p99_ms",
    "qps_one",
    "qps_all",
    "build_seconds",
    "peak_memory_bytes",
    "command",
    "program",
    "index",
    "index_manifest",
    "data",
    "split",
];

/// The report as CSV with a line of names.
pub fn csv(report: &Report) -> String {
    let manifest = report.rests_on.as_ref().map(|rests| rests.manifest.as_str());
    let mut text = line(COLUMNS.map(str::to_string));
    for system in &report.systems {
        let spent = |value: fn(&Cost) -> f64| number(system.cost.as_ref().map(value));
        for measure in report.columns() {
            let Some(mean) = system.mean(measure) else { continue };
            let difference = system.differences.get(measure);
            let of = |value: fn(&super::model::Difference) -> f64| number(difference.map(value));
            text += &line([
                system.name.clone(),
                measure.to_string(),
                number(Some(mean.mean)),
                number(Some(mean.n)),
                number(mean.interval.map(|interval| interval[0])),
                number(mean.interval.map(|interval| interval[1])),
                difference.and(report.baseline.clone()).unwrap_or_default(),
                of(|difference| difference.mean),
                of(|difference| difference.interval[0]),
                of(|difference| difference.interval[1]),
                of(|difference| difference.p_randomization),
                of(|difference| difference.p_t),
                number(difference.and_then(|difference| difference.p_holm)),
                number(system.detectable.get(measure).map(|shown| shown.effect)),
                number(system.seconds),
                number(system.cost.map(|cost| cost.index_bytes)),
                spent(|cost| cost.p50_ms),
                spent(|cost| cost.p99_ms),
                spent(|cost| cost.qps_one),
                spent(|cost| cost.qps_all),
                number(report.costs.and_then(|costs| costs.build_seconds)),
                number(report.costs.and_then(|costs| costs.peak_memory_bytes)),
                report.command.clone(),
                report.program.clone(),
                report.index.clone(),
                manifest.unwrap_or_default().to_string(),
                report.data.clone(),
                report.split.clone().unwrap_or_default(),
            ]);
        }
    }
    text
}

fn number(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn line(fields: [String; COLUMNS.len()]) -> String {
    let quoted = |field: String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    };
    fields.map(quoted).join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::sample;

    /// RFC 4180's grammar, read back.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field, mut inside) = (Vec::new(), Vec::new(), String::new(), false);
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match (c, inside) {
                ('"', true) if characters.peek() == Some(&'"') => field.extend(characters.next()),
                ('"', _) => inside = !inside,
                (',', false) => row.push(std::mem::take(&mut field)),
                ('\r', false) if characters.next_if_eq(&'\n').is_some() => {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                _ => field.push(c),
            }
        }
        assert!(!inside && field.is_empty() && row.is_empty(), "the last line is whole");
        rows
    }

    #[test]
    fn every_number_comes_back_as_it_was() {
        let report = sample::full();
        let rows = parse(&csv(&report));
        let at = |row: &[String], name: &str| row[COLUMNS.iter().position(|column| *column == name).unwrap()].clone();
        assert_eq!(rows[0], COLUMNS);
        assert_eq!(rows.len(), 1 + report.systems.len() * report.columns().len());
        for row in &rows[1..] {
            assert_eq!(row.len(), COLUMNS.len());
            let system = report.system(&at(row, "system")).unwrap();
            let measure = at(row, "measure");
            assert_eq!(at(row, "mean").parse::<f64>().unwrap(), system.measures[&measure].mean);
            let difference = system.differences.get(&measure);
            assert_eq!(at(row, "difference").parse().ok(), difference.map(|difference| difference.mean));
            assert_eq!(at(row, "p50_ms").parse().ok(), system.cost.map(|cost| cost.p50_ms));
            assert_eq!((at(row, "command"), at(row, "data")), (report.command.clone(), report.data.clone()));
        }
    }
}

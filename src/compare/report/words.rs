//! How a report speaks: figures as they are printed, and the verdict in a sentence.
//!
//! In flow a [`Report`] or one of its numbers; out flow texts that every format for reading shares, so that a page and a
//! paper say the same. A difference is called proven as everywhere in the house: over at least [`ENOUGH`] queries, with a p
//! value of the randomisation test below .05, corrected where several systems were compared.
//!
//! ```
//! use parallax::compare::report::words::{p_value, share, signed};
//! assert_eq!((share(0.5687), share(1.0), signed(-0.0031)), (".5687".into(), "1.0000".into(), "−.0031".into()));
//! assert_eq!((p_value(0.00004), p_value(0.0321)), ("p < .001".into(), "p = .032".into()));
//! ```

use super::model::{Cost, Difference, Report, SystemReport};
pub(in crate::compare) use crate::compare::phrase::{grouped as count, many as counted};
use crate::eval::significance::ENOUGH;
use crate::text::scripts::{Script, runs};

/// Four places without a leading zero.
pub fn share(value: f64) -> String {
    without_zero(format!("{value:.4}"))
}

/// As [`share`], with a sign; what rounds to nothing has a plus.
pub fn signed(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4 + 0.0;
    without_zero(format!("{rounded:+.4}")).replace('-', "−")
}

fn without_zero(text: String) -> String {
    match text.strip_prefix(['+', '-']).unwrap_or(&text).starts_with("0.") {
        true => text.replacen("0.", ".", 1),
        false => text,
    }
}

/// `[+.0108, +.0267]`.
pub fn interval([low, high]: [f64; 2]) -> String {
    format!("[{}, {}]", signed(low), signed(high))
}

/// `p = .032`, or that it is below a thousandth.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < .001".into() } else { format!("p = {}", without_zero(format!("{p:.3}"))) }
}

/// What is added to the name of a p value: how it was corrected, where it was.
pub fn holm(report: &Report) -> &'static str {
    let corrected = |system: &SystemReport| system.differences.values().any(|difference| difference.p_holm.is_some());
    if report.systems.iter().any(corrected) { ", after Holm's correction over the systems" } else { "" }
}

/// How many relevant passages the index lacks, as a sentence.
pub fn missing(n: usize) -> String {
    format!("{} {} not in the index.", counted(n, "relevant passage"), if n == 1 { "is" } else { "are" })
}

/// Bytes in the unit that gives one to three digits before the point.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

/// Seconds in a fitting unit.
pub fn seconds(s: f64) -> String {
    scaled(s, &[(3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")])
}

/// Three digits, not more, in the largest unit that is not above the value.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |(unit, _): &&(f64, &str)| value >= *unit;
    let Some((unit, name)) = units.iter().find(fits).or(units.last()) else { return value.to_string() };
    let value = value / unit;
    let places = if value >= 100.0 || *name == "B" {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$} {name}")
}

/// What [`Cost::cells`] holds.
pub const COSTS: [&str; 5] = ["index", "p50", "p99", "questions/s, one thread", "all threads"];

impl Cost {
    /// The figures as they are printed, in the order of [`COSTS`].
    pub fn cells(&self) -> [String; 5] {
        let rate = |n: f64| count(n.round() as usize);
        [
            bytes(self.index_bytes),
            seconds(self.p50_ms / 1e3),
            seconds(self.p99_ms / 1e3),
            rate(self.qps_one),
            rate(self.qps_all),
        ]
    }
}

/// What the costs mean, and what all systems share of them.
pub fn shared(report: &Report) -> String {
    let Some(costs) = &report.costs else {
        return "Times are of the machine that measured and mean little elsewhere.".into();
    };
    let timed = report.systems.iter().filter_map(|system| system.cost).map(|cost| cost.queries).max().unwrap_or(0);
    let mut text = format!("Index: sparse {} with the texts", bytes(costs.sparse_bytes));
    text += &costs.dense_bytes.map_or(String::new(), |dense| format!(", dense {}", bytes(dense)));
    text += &costs.build_seconds.map_or(String::new(), |time| format!(", built in {}", seconds(time)));
    text += &costs
        .peak_memory_bytes
        .map_or(String::new(), |peak| format!("; peak memory of the comparison {}", bytes(peak)));
    text + &format!(
        ". p50 and p99: one question at a time on one thread, up to {}; all threads: {}. Of the machine that measured.",
        counted(timed, "question"),
        costs.threads
    )
}

/// The HTML language of a text, where it is not the page's English.
pub fn language(text: &str) -> Option<&'static str> {
    runs(text).any(|run| run.script == Script::Hangul).then_some("ko")
}

/// What a difference has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Proven above 0.
    Gain,
    /// Proven below 0.
    Loss,
    /// Neither.
    Open,
}

impl Difference {
    /// The p value it is judged by: Holm's where there is one.
    pub fn p(&self) -> f64 {
        self.p_holm.unwrap_or(self.p_randomization)
    }

    /// What it has shown.
    pub fn outcome(&self) -> Outcome {
        match self.n >= ENOUGH && self.p() < 0.05 {
            true if self.mean > 0.0 => Outcome::Gain,
            true if self.mean < 0.0 => Outcome::Loss,
            _ => Outcome::Open,
        }
    }
}

/// What a report says, first of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// One sentence.
    pub headline: String,
    /// The figures behind it.
    pub detail: String,
    /// What was shown of the best system against the baseline; `None` where there is nothing to show.
    pub outcome: Option<Outcome>,
}

/// Which system finds most, and whether that is more than luck.
pub fn verdict(report: &Report) -> Option<Verdict> {
    let measure = report.decisive()?;
    let mean = |system: &SystemReport| system.mean(measure).map_or(f64::NEG_INFINITY, |mean| mean.mean);
    // The first of equals.
    let best = report.systems.iter().rev().max_by(|a, b| mean(a).total_cmp(&mean(b)))?;
    let (name, value) = (&best.name, mean(best));
    let over = counted(best.mean(measure)?.n, "question");
    if report.systems.len() == 1 {
        let detail = format!("{measure} over {over}. Nothing was compared with it.");
        return Some(Verdict { headline: format!("{name} reaches {}", share(value)), detail, outcome: None });
    }
    let Some(reference) = report.baseline.as_deref().and_then(|name| report.system(name)) else {
        let others = report.systems.iter().filter(|system| system.name != *name);
        let second = others.rev().max_by(|a, b| mean(a).total_cmp(&mean(b)))?;
        let detail = format!(
            "{measure} {} against {} of {} over {over}. No baseline was named, so nothing was tested: `--baseline {}` \
             says whether the lead is more than luck.",
            share(value),
            share(mean(second)),
            second.name,
            second.name,
        );
        return Some(Verdict { headline: format!("{name} is ahead"), detail, outcome: Some(Outcome::Open) });
    };
    if best.name == reference.name {
        let beaten = |system: &&SystemReport| {
            system.differences.get(measure).is_some_and(|difference| difference.outcome() == Outcome::Loss)
        };
        let (worse, others) = (report.systems.iter().filter(beaten).count(), report.systems.len() - 1);
        let detail = format!(
            "{measure} {} over {over}; of {} compared with it, {worse} {} proven worse.",
            share(value),
            counted(others, "system"),
            if worse == 1 { "is" } else { "are" },
        );
        return Some(Verdict { headline: format!("Nothing beats {name}"), detail, outcome: None });
    }
    let difference = best.differences.get(measure)?;
    let headline = match difference.outcome() {
        Outcome::Gain => format!("{name} finds more than {}", reference.name),
        _ => format!("{name} leads, but no gain over {} is proven", reference.name),
    };
    let corrected = if difference.p_holm.is_some() { " after Holm's correction" } else { "" };
    let mut detail = format!(
        "{measure} {} against {}: {} {}, {}{corrected}, {}.",
        share(value),
        share(mean(reference)),
        signed(difference.mean),
        interval(difference.interval),
        p_value(difference.p()),
        counted(difference.n, "question"),
    );
    if let Some(least) = best.detectable.get(measure) {
        detail += &format!(" So many questions can show a difference of {}, not less.", share(least.effect));
    }
    Some(Verdict { headline, detail, outcome: Some(difference.outcome()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::sample::report;

    fn check(change: impl FnOnce(&mut Report), headline: &str, detail: &str) {
        let mut report = report();
        change(&mut report);
        let verdict = verdict(&report).unwrap();
        assert_eq!(verdict.headline, headline);
        assert!(verdict.detail.contains(detail), "{}", verdict.detail);
    }

    #[test]
    fn the_verdict_claims_no_more_than_was_shown() {
        check(|_| {}, "hybrid finds more than bm25", "nDCG@10 .7500 against .5000: +.2500 [+.1200, +.3800], p = .012");
        let open = |report: &mut Report| {
            report.systems[1].differences.get_mut("nDCG@10").unwrap().p_randomization = 0.05;
        };
        check(open, "hybrid leads, but no gain over bm25 is proven", "p = .050");
        let corrected = |report: &mut Report| {
            report.systems[1].differences.get_mut("nDCG@10").unwrap().p_holm = Some(0.06);
        };
        check(corrected, "hybrid leads, but no gain over bm25 is proven", "p = .060 after Holm's correction");
        let few = |report: &mut Report| report.systems[1].differences.get_mut("nDCG@10").unwrap().n = 19;
        check(few, "hybrid leads, but no gain over bm25 is proven", "19 questions");
        check(|report| report.baseline = None, "hybrid is ahead", "nothing was tested: `--baseline bm25`");
        check(|report| report.baseline = Some("hybrid".into()), "Nothing beats hybrid", "0 are proven worse");
        check(|report| report.systems.truncate(1), "bm25 reaches .5000", "Nothing was compared");
    }

    #[test]
    fn figures_read_at_a_glance() {
        assert_eq!([bytes(999), bytes(14_200_000), bytes(2_500)], ["999 B", "14.2 MB", "2.50 kB"]);
        assert_eq!([seconds(0.0021), seconds(75.0), seconds(2.0)], ["2.10 ms", "1.25 min", "2.00 s"]);
        assert_eq!([count(7), count(999), count(1_000), count(10_570)], ["7", "999", "1,000", "10,570"]);
        assert_eq!([signed(0.00001), signed(-0.00001), signed(-1.0)], ["+.0000", "+.0000", "−1.0000"]);
        assert_eq!((language("훈민정음 해례본"), language("Hunminjeongeum")), (Some("ko"), None));
    }
}

//! The counts of a mining as JSON; the audit's file and the loop's carry them alike.

use super::filter::Filter;
use super::report::{MineReport, Outcome};
use serde_json::{Map, Value};

/// Queries by outcome, candidates by source and filter, sums. Fields are added, never changed in meaning.
///
/// ```json
/// {"queries": 2000, "examples": 1990, "positives": 1990, "negatives": 5970, "protected_passages": 0,
///  "outcomes": {"full": 1990, "fewer": 10, …},
///  "filters": [{"source": "sparse", "offered": 200000, "survived": 150000, "mined": 5970, "mean_rank": 4.2,
///               "holds-answer": 40000, …}]}
/// ```
pub(crate) fn counts(report: &MineReport) -> Map<String, Value> {
    let outcomes: Map<String, Value> =
        Outcome::ALL.iter().map(|outcome| (outcome.name().into(), report.outcome(*outcome).into())).collect();
    let filters = report.sources.iter().map(|of| {
        let mut row = Map::new();
        row.insert("source".into(), of.source.name().into());
        row.insert("offered".into(), of.offered.into());
        row.insert("survived".into(), of.survived().into());
        row.insert("mined".into(), of.mined.into());
        row.insert("mean_rank".into(), of.rank.value().into());
        row.extend(Filter::ALL.iter().map(|filter| (filter.name().to_string(), of.filtered_by(*filter).into())));
        Value::Object(row)
    });
    let fields: [(&str, Value); 7] = [
        ("queries", report.queries.into()),
        ("examples", report.examples.into()),
        ("positives", report.positives.into()),
        ("negatives", report.negatives.into()),
        ("protected_passages", report.protected.into()),
        ("outcomes", outcomes.into()),
        ("filters", filters.collect::<Vec<_>>().into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

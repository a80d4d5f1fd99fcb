//! `compare --tune-fusion`: what judged queries say about the fusion, on the screen and in a file.

use super::super::ui::{Ui, bold, dim, table, thousands};
use super::screen::difference;
use parallax::compare::report;
use parallax::compare::tune::{FOLDS, TuneOptions, Tuning, contests, tune};
use parallax::dense::SearchHow;
use parallax::eval::significance::Paired;
use parallax::fusion::predict::FEATURES;
use parallax::index::fusion_file::{Difference, Evidence, FORMAT, FusionFile, Tried};
use parallax::{Error, Measure, QuerySet, Result, Searcher};
use std::path::Path;

/// Seed of folds and resamples: the same questions give the same answer.
const SEED: u64 = 1;

/// What is tuned on, and where the result goes.
pub(super) struct Order<'a> {
    pub(super) searcher: &'a Searcher,
    pub(super) set: &'a QuerySet,
    pub(super) data: &'a str,
    pub(super) measure: Measure,
    pub(super) depth: usize,
    pub(super) how: SearchHow,
    pub(super) path: &'a Path,
}

/// Tunes, writes the file and says what was found.
pub(super) fn run(order: &Order<'_>, ui: &Ui) -> Result<report::Tuning> {
    let index = order.searcher.index();
    let present = index.manifest().fusion.fusion;
    let options = TuneOptions { measure: order.measure, present, seed: SEED };
    let contests = contests(order.searcher, order.set, order.depth, order.how, &ui.progress())?;
    let tuning = tune(&contests, &options, &ui.progress())?;
    let file = file(order, &tuning, ui);
    std::fs::write(order.path, file.to_bytes()?).map_err(|e| Error::io(order.path, "write", e))?;
    ui.data(&screen(&tuning, &file, order.path))?;
    Ok(report::Tuning::of(&tuning, &options))
}

fn file(order: &Order<'_>, tuning: &Tuning, ui: &Ui) -> FusionFile {
    let index = order.searcher.index();
    let present = index.manifest().fusion.fusion;
    let tried = tuning.fixed.iter().map(|(name, mean)| (name.clone(), *mean));
    let tried = tried.chain(tuning.families.iter().map(|(name, mean, _)| (name.clone(), *mean)));
    FusionFile {
        format: FORMAT,
        program: format!("parallax {}", env!("CARGO_PKG_VERSION")),
        command: ui.command().to_string(),
        fusion: if tuning.is_proven() { tuning.found } else { present },
        index: FusionFile::index_of(index.folder(), index.manifest()),
        evidence: Evidence {
            data: order.data.to_string(),
            measure: order.measure.to_string(),
            queries: tuning.queries,
            groups: tuning.groups,
            folds: FOLDS,
            proven: tuning.is_proven(),
            tried: tried.map(|(name, mean)| Tried { name, mean }).collect(),
            tuned: tuning.tuned,
            against_present: Difference::of(&present.to_string(), &tuning.against_present),
            against_better_side: Difference::of(&tuning.better_side.0, &tuning.better_side.1),
            per_query_against_better_side: Difference::of(&tuning.better_side.0, &tuning.per_query[0]),
        },
    }
}

fn screen(tuning: &Tuning, file: &FusionFile, path: &Path) -> String {
    let evidence = &file.evidence;
    let mut rows = vec![vec!["joined by".to_string(), evidence.measure.clone(), "fitted on all queries".to_string()]];
    rows.extend(tuning.fixed.iter().map(|(name, mean)| vec![name.clone(), format!("{mean:.4}"), String::new()]));
    let fitted = |(name, mean, fusion): &(String, f64, parallax::Fusion)| {
        vec![name.clone(), format!("{mean:.4}"), fusion.to_string()]
    };
    rows.extend(tuning.families.iter().map(fitted));
    rows.push(vec![bold("chosen by inner folds"), bold(&format!("{:.4}", tuning.tuned)), tuning.found.to_string()]);
    let mut text = table(&rows);
    text += &format!(
        "\nwhat is fitted is measured on queries it was not fitted on: {FOLDS} folds of {} queries in {} groups that share \
         gold passages\nchosen in the folds: {}\n\n",
        thousands(tuning.queries as u64),
        thousands(tuning.groups as u64),
        counted(&tuning.chosen)
    );
    let against =
        |what: &str, paired: &Paired| vec![what.to_string(), difference(paired, paired.is_gain() || paired.is_loss())];
    let [side, rrf, even] = &tuning.per_query;
    let mut rows = vec![vec!["difference".to_string(), "95 % interval ".to_string()]];
    rows.push(against(
        &format!("chosen against the index's own, {}", evidence.against_present.name),
        &tuning.against_present,
    ));
    rows.push(against(&format!("chosen against the better side, {}", tuning.better_side.0), &tuning.better_side.1));
    rows.push(against(&format!("per-query weight against {}", tuning.better_side.0), side));
    rows.push(against("per-query weight against rrf(k=60)", rrf));
    rows.push(against("per-query weight against equal weights", even));
    text += &table(&rows);
    let predictor = &tuning.predictor;
    text += &format!(
        "\nthe per-query weight: {:.2} for an average question; one standard deviation more of\n",
        predictor.average_weight()
    );
    let mut effects: Vec<_> = FEATURES.iter().zip(&predictor.effects).collect();
    effects.sort_by(|a, b| b.1.coefficient.abs().total_cmp(&a.1.coefficient.abs()));
    let mut rows = vec![["feature", "adds to the logit", "mean", "sd", "which is"].map(str::to_string).to_vec()];
    rows.extend(effects.iter().map(|((name, meaning), effect)| {
        vec![
            name.to_string(),
            format!("{:+.2}", effect.coefficient),
            format!("{:.3}", effect.mean),
            format!("{:.3}", effect.spread),
            dim(meaning),
        ]
    }));
    text += &table(&rows);
    text += &match evidence.proven {
        true => format!("\na gain is proven: {} is written to `{}`\n", file.fusion, path.display()),
        false => format!(
            "\nno gain proven{}: the index's own fusion, {}, is kept and written to `{}`\n",
            if tuning.against_present.n < parallax::eval::significance::ENOUGH { " by so few queries" } else { "" },
            file.fusion,
            path.display()
        ),
    };
    text
}

/// `a (3), b (2)` in the order of first appearance.
fn counted(names: &[String]) -> String {
    let mut counts: Vec<(&String, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    words.join(", ")
}

//! Report files of `compare`, and an earlier report to stand beside.

use crate::cli::ui::{Ui, table};
use parallax::compare::report::against::against;
use parallax::compare::report::model::{Against, Report};
use parallax::compare::report::words::{Outcome, interval, p_value, share, signed};
use parallax::compare::report::{Format, json};
use parallax::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Where reports go.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Files {
    /// Write a report, in the format of the file's ending: .html, .md, .tex, .csv or .json. May be given several times.
    #[arg(long = "report", value_name = "FILE")]
    reports: Vec<PathBuf>,
    /// An earlier report's JSON: what has changed since, question by question, on the screen and in the reports.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// [`Files`] that can be written and read: what is wrong with them is said before the long work.
pub(super) struct Prepared<'a> {
    reports: Vec<(&'a Path, Format)>,
    then: Option<(&'a Path, Report)>,
}

impl Files {
    pub(super) fn prepare(&self) -> Result<Prepared<'_>> {
        let mut reports = Vec::new();
        for path in &self.reports {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let message = format!("there is no folder `{}` to write a report into", folder.display());
                return Err(Error::new(ErrorKind::NotFound, message).hint(format!("mkdir -p {}", folder.display())));
            }
            reports.push((path.as_path(), Format::of(path)?));
        }
        let then = self.against.as_deref().map(|path| Ok((path, json::read(path)?))).transpose()?;
        Ok(Prepared { reports, then })
    }
}

impl Prepared<'_> {
    /// Whether a report will be written.
    pub(super) fn wanted(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Puts the earlier report beside this one; gives the table that shows it.
    pub(super) fn compare(&self, report: &mut Report) -> Result<String> {
        let Some((path, then)) = &self.then else { return Ok(String::new()) };
        let beside = against(report, then, path)?;
        let text = screen(&beside);
        report.against = Some(beside);
        Ok(text)
    }

    /// Writes every report that was asked for.
    pub(super) fn write(&self, report: &Report, ui: &Ui) -> Result<()> {
        for (path, format) in &self.reports {
            std::fs::write(path, format.render(report)?).map_err(|e| Error::io(path, "write", e))?;
            ui.note(&format!("wrote {}", path.display()));
        }
        Ok(())
    }
}

fn screen(beside: &Against) -> String {
    let mut rows =
        vec![["since the earlier report", "measure", "then", "now", "difference"].map(str::to_string).to_vec()];
    for row in &beside.rows {
        let difference = &row.difference;
        let mark = if difference.outcome() == Outcome::Open { ' ' } else { '*' };
        let change = format!("{} {}{mark}", signed(difference.mean), interval(difference.interval)).replace('−', "-");
        let p = p_value(difference.p());
        rows.push(vec![
            row.system.clone(),
            row.measure.clone(),
            share(row.then),
            share(row.now),
            format!("{change} {p:>8}"),
        ]);
    }
    let mut text =
        format!("\n{}now minus then, paired over the {} questions in both; * is proven\n", table(&rows), beside.both);
    for note in &beside.notes {
        text += &format!("{note}\n");
    }
    text
}

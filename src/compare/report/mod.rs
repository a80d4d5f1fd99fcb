//! Reports: a comparison written down, as a page to read and as data to go on with.
//!
//! In flow a [`Comparison`](super::Comparison); it becomes a [`Report`] ([`assemble`]), and each format is a function of
//! that alone. So whatever was measured can be rendered again from its JSON, and held [`against`] a later report.
//!
//! | format | for | module |
//! |---|---|---|
//! | `.json` | programs; the contract, everything that was measured | [`model`], [`mod@json`] |
//! | `.html` | reading: one page, no network, light, dark and on paper | [`mod@html`], [`chart`] |
//! | `.md` | issues and notes | [`mod@markdown`] |
//! | `.tex` | papers: booktabs tables | [`mod@latex`] |
//! | `.csv` | spreadsheets: a row for each system and measure | [`mod@csv`] |
//!
//! ```
//! use parallax::compare::report::Format;
//! assert_eq!(Format::of("out/report.HTML".as_ref())?, Format::Html);
//! let refused = Format::of("report.pdf".as_ref()).unwrap_err();
//! assert!(refused.hints()[0].contains(".html, .md, .tex, .csv and .json"));
//! # Ok::<(), parallax::Error>(())
//! ```

pub mod against;
pub mod assemble;
pub mod chart;
pub mod csv;
pub mod explain;
pub mod html;
pub mod json;
pub mod latex;
pub mod markdown;
pub mod model;
#[cfg(test)]
pub(crate) mod sample;
pub mod words;

pub use assemble::Provenance;
pub use json::json;
pub use model::{Report, Tuning};

use crate::error::{Error, Result};
use std::path::Path;

/// A way to write a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One self-contained page.
    Html,
    /// Tables in pipes.
    Markdown,
    /// Tables for a paper.
    Latex,
    /// A row for each system and measure.
    Csv,
    /// Everything.
    Json,
}

impl Format {
    /// The format that a file's ending asks for.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("html" | "htm") => Ok(Format::Html),
            Some("md") => Ok(Format::Markdown),
            Some("tex") => Ok(Format::Latex),
            Some("csv") => Ok(Format::Csv),
            Some("json") => Ok(Format::Json),
            _ => Err(Error::usage(format!("`{}` has no ending that names a report format", path.display()))
                .hint("reports end in .html, .md, .tex, .csv and .json")),
        }
    }

    /// The report in this format.
    pub fn render(self, report: &Report) -> Result<String> {
        match self {
            Format::Html => Ok(html::html(report)),
            Format::Markdown => Ok(markdown::markdown(report)),
            Format::Latex => Ok(latex::latex(report)),
            Format::Csv => Ok(csv::csv(report)),
            Format::Json => json(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Format; 5] = [Format::Html, Format::Markdown, Format::Latex, Format::Csv, Format::Json];

    #[test]
    fn a_report_of_any_kind_has_every_format() {
        for report in [sample::bare(), sample::report(), sample::full(), Report::default()] {
            for format in ALL {
                assert!(!format.render(&report).unwrap().is_empty());
            }
        }
    }

    #[test]
    fn json_comes_back_whole() {
        for report in [sample::bare(), sample::report(), sample::full()] {
            let back: Report = serde_json::from_str(&json(&report).unwrap()).unwrap();
            assert_eq!(back, report);
        }
    }
}

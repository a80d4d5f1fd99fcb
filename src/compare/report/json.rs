//! A report as JSON, and back.
//!
//! The shape is [`Report`] itself. Cost: one pass.

use super::model::{FORMAT, Report};
use crate::error::{Error, Result};
use std::path::Path;

/// The report as pretty JSON with a final newline.
pub fn json(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report).map_err(|e| Error::bug("a report is no JSON").because(e))?;
    Ok(text + "\n")
}

/// Reads a report that this program or an older one wrote.
pub fn read(path: &Path) -> Result<Report> {
    let bytes = fs_err::read(path).map_err(|e| Error::io(path, "read", e))?;
    let hint = "`parallax compare … --report FILE.json` writes one";
    let format = serde_json::from_slice::<serde_json::Value>(&bytes)
        .map_err(|e| Error::at_line(path, e.line() as u64, "this is no JSON").because(e).hint(hint))?;
    match format.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            let message = format!("this report has format {format}; this program reads {FORMAT}");
            return Err(Error::bad_input(message).in_file(path).hint("run its command again with this program"));
        }
        None => return Err(Error::bad_input("this JSON is no report of `compare`").in_file(path).hint(hint)),
    }
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::at_line(path, e.line() as u64, "this is no report of `compare`").because(e).hint(hint))
}

//! The files that are written: none takes the place of another, of what is read, or unasked of what is there.

use super::Args;
use parallax::collection::write::Output;
use parallax::{Error, Result};
use std::path::{Path, PathBuf};

/// The audit's two files, begun before anything is mined.
pub(super) struct AuditFiles {
    json: Output,
    sheet: Output,
}

impl AuditFiles {
    /// Begins both where an audit was asked for.
    pub(super) fn create(args: &Args) -> Result<Option<Self>> {
        let files =
            |path: &PathBuf| Ok(AuditFiles { json: Output::create(path)?, sheet: Output::create(&sheet_path(path))? });
        args.audit.as_ref().map(files).transpose()
    }

    /// Gives both their names.
    pub(super) fn finish(mut self, json: &str, sheet: &str) -> Result<()> {
        self.json.text(json)?;
        self.sheet.text(sheet)?;
        self.json.finish()?;
        self.sheet.finish().map(drop)
    }
}

/// The sheet's file: beside the audit, ending in `.tsv`.
pub(super) fn sheet_path(audit: &Path) -> PathBuf {
    match audit.extension().is_some_and(|ending| ending == "tsv") {
        true => audit.with_extension("sheet.tsv"),
        false => audit.with_extension("tsv"),
    }
}

/// Refuses names that would cost something: before any work, and with links followed.
pub(super) fn check(args: &Args, index: &Path) -> Result<()> {
    let mut outputs = vec![("`-o`", args.output.clone())];
    if let Some(audit) = &args.audit {
        outputs.push(("`--audit`", audit.clone()));
        outputs.push(("the sheet of `--audit`", sheet_path(audit)));
    }
    let mut inputs: Vec<(&str, &Path)> = vec![("the index", index)];
    inputs.extend(args.data.as_deref().map(|path| ("`--data`", path)));
    inputs.extend(args.queries.as_deref().map(|path| ("`--queries`", path)));
    inputs.extend(args.qrels.as_deref().map(|path| ("`--qrels`", path)));
    inputs.extend(args.protect.iter().map(|path| ("`--protect`", path.as_path())));
    inputs.extend(args.rescore.as_ref().map(|model| ("`--rescore`", Path::new(model))));
    let inputs: Vec<(&str, PathBuf)> =
        inputs.into_iter().filter_map(|(what, path)| Some((what, resolved(path)?))).collect();
    let mut before: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in outputs {
        // Without a folder to lie in it is refused when the file is begun.
        let Some(place) = resolved(&path) else { continue };
        if let Some((other, _)) = before.iter().find(|(_, taken)| *taken == place) {
            return Err(Error::usage(format!("is the file of both {other} and {flag}"))
                .in_file(&path)
                .hint("give each a name of its own"));
        }
        // A new file may lie in a data folder, but none beside an index's own.
        let over = |(what, input): &&(&str, PathBuf)| {
            place == *input || (place.starts_with(input) && (place.exists() || *what == "the index"))
        };
        if let Some((what, _)) = inputs.iter().find(over) {
            return Err(Error::usage(format!("{flag} would write over what is read: it belongs to {what}"))
                .in_file(&path)
                .hint("choose another file"));
        }
        if path.is_file() && !args.force {
            return Err(Error::usage("exists").in_file(&path).hint("choose another file, or pass `--force`"));
        }
        before.push((flag, place));
    }
    Ok(())
}

/// The file a name leads to, links followed; of one that is not there yet, its place in its folder, if that is there.
fn resolved(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok().or_else(|| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(std::fs::canonicalize(parent).ok()?.join(path.file_name()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_lies_beside_its_audit() {
        assert_eq!(sheet_path("a/audit.json".as_ref()), PathBuf::from("a/audit.tsv"));
        assert_eq!(sheet_path("audit.tsv".as_ref()), PathBuf::from("audit.sheet.tsv"));
    }
}

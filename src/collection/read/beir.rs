//! A BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`, each plain, `.gz` or `.zst`.

use super::source::ReadOptions;
use crate::error::{Error, ErrorKind, Result};
use fs_err as fs;
use std::path::{Path, PathBuf};

const PACKED: [&str; 3] = ["", ".gz", ".zst"];

/// The file of that name, packed or not.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    PACKED.iter().map(|ending| folder.join(format!("{name}{ending}"))).find(|path| path.exists())
}

/// The folder's passages.
pub(super) fn corpus(folder: &Path) -> Result<PathBuf> {
    find(folder, "corpus.jsonl").ok_or_else(|| {
        Error::usage("is a folder without `corpus.jsonl`")
            .in_file(folder)
            .hint("a folder has to be laid out as BEIR's: corpus.jsonl, queries.jsonl, qrels/test.tsv; or name files")
    })
}

/// The folder's queries.
pub(super) fn queries(folder: &Path) -> Result<PathBuf> {
    find(folder, "queries.jsonl").ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "is a folder without `queries.jsonl`")
            .in_file(folder)
            .hint("name queries and judgments by themselves with `--queries` and `--qrels`")
    })
}

/// One split's judgments, and what else there is.
pub(super) struct Split {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) others: Vec<String>,
}

/// The split asked for; by default `test`, else `dev`, else the only one. `None` in a folder without judgments.
pub(super) fn split(folder: &Path, options: &ReadOptions) -> Result<Option<Split>> {
    let mut found = splits(&folder.join("qrels"))?;
    let list = found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let has = |wanted: &str| found.iter().position(|(name, _)| name == wanted);
    let at = match &options.split {
        Some(wanted) => has(wanted).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("has no judgments for the split `{wanted}`"))
                .in_file(folder)
                .hint(if list.is_empty() { "it has no `qrels/*.tsv`".into() } else { format!("it has {list}") })
        })?,
        None => match has("test").or_else(|| has("dev")) {
            Some(at) => at,
            None if found.len() <= 1 => 0,
            None => {
                let message = format!("has several splits ({list}) and neither `test` nor `dev`");
                return Err(Error::usage(message).in_file(folder).hint("choose one with `--split`"));
            }
        },
    };
    if found.is_empty() {
        return Ok(None);
    }
    let (name, path) = found.remove(at);
    Ok(Some(Split { name, path, others: found.into_iter().map(|(name, _)| name).collect() }))
}

/// Names and files of all splits, by name.
fn splits(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))? {
        let entry = entry.map_err(|e| Error::io(folder, "list", e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(split) = PACKED.iter().find_map(|ending| name.strip_suffix(&format!(".tsv{ending}"))) {
            found.push((split.to_string(), entry.path()));
        }
    }
    found.sort();
    found.dedup_by(|later, earlier| later.0 == earlier.0);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_of(names: &[&str], wanted: Option<&str>) -> Result<Option<(String, Vec<String>)>> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("qrels")).unwrap();
        for name in names {
            fs::write(folder.path().join("qrels").join(name), "").unwrap();
        }
        let options = ReadOptions { split: wanted.map(str::to_string), ..ReadOptions::default() };
        Ok(split(folder.path(), &options)?.map(|split| (split.name, split.others)))
    }

    #[test]
    fn the_split_is_test_else_dev_else_the_only_one() {
        let name = |names: &[&str], wanted| split_of(names, wanted).unwrap().map(|(name, _)| name);
        assert_eq!(name(&["train.tsv", "test.tsv.gz", "dev.tsv"], None).as_deref(), Some("test"));
        assert_eq!(name(&["train.tsv", "dev.tsv.zst"], None).as_deref(), Some("dev"));
        assert_eq!(name(&["train.tsv", "notes.txt"], None).as_deref(), Some("train"));
        assert_eq!(name(&["train.tsv", "test.tsv"], Some("train")).as_deref(), Some("train"));
        assert_eq!(name(&[], None), None);
        assert_eq!(split_of(&["a.tsv", "b.tsv"], None).unwrap_err().kind(), ErrorKind::Usage);
        let error = split_of(&["a.tsv", "b.tsv"], Some("test")).unwrap_err();
        assert_eq!((error.kind(), error.hints()[0].as_str()), (ErrorKind::NotFound, "it has a, b"));
        assert_eq!(split_of(&["b.tsv", "test.tsv", "a.tsv"], None).unwrap().unwrap().1, ["a", "b"]);
    }
}

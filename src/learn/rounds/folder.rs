//! The loop's folder: who may write it, what a dead run left behind, and the copy of the model that is kept.

use super::settings::{self, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{WriteLock, create_folder, sync_folder};
use fs_err as fs;
use std::path::Path;

/// What belongs to training, not to the model.
const OF_TRAINING: [&str; 4] = [".lock", "train.json", "train.jsonl", "training"];

/// A loop's folder, ours alone while the lock is held.
pub(super) struct Entered {
    _lock: WriteLock,
    /// Whether more rounds are asked for than before.
    pub(super) more: bool,
}

/// Takes the folder: an empty one is begun, another one is gone on with where that is asked for and nothing differs.
pub(super) fn enter(folder: &Path, resume: bool, now: &Settings) -> Result<Entered> {
    create_folder(folder)?;
    if !folder.join(settings::FILE).exists() {
        // Hidden files are the lock, and what a run left that died before it began.
        if let Some(stranger) = names(folder)?.into_iter().find(|name| !name.starts_with('.')) {
            return Err(Error::usage(format!("`{}` is not empty: it holds `{stranger}`", folder.display()))
                .hint("name another folder"));
        }
    }
    let lock = WriteLock::take(folder)?;
    if folder.join(settings::FILE).exists() {
        if !resume {
            return Err(Error::usage(format!("`{}` holds a loop already", folder.display()))
                .hint("go on with `--resume`, or name another folder"));
        }
        let before = Settings::read(folder)?;
        before.same_as(now).map_err(|e| e.in_file(folder.join(settings::FILE)))?;
        sweep(folder)?;
        return Ok(Entered { _lock: lock, more: before.asks_less_than(now) });
    }
    sweep(folder)?;
    now.write(folder)?;
    Ok(Entered { _lock: lock, more: false })
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Removes files that a dead run had not given their names yet. Links are not followed.
fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| Error::io(&path, "inspect", e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            sweep(&path)?;
        } else if kind.is_file() && name.starts_with('.') && name.contains(".tmp-") {
            fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
        }
    }
    Ok(())
}

/// Removes a file, where it is there.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, "remove", e)),
        _ => Ok(()),
    }
}

/// Removes a folder, where it is there.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, "remove", e)),
        _ => Ok(()),
    }
}

/// Fills a folder that appears under its name when it is complete, in the place of one that was there.
pub(super) fn complete(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = parent.join(format!(".{name}.tmp"));
    remove(&temporary)?;
    create_folder(&temporary)?;
    fill(&temporary)?;
    remove(folder)?;
    fs::rename(&temporary, folder).map_err(|e| Error::io(folder, "write", e))?;
    sync_folder(parent)
}

/// Copies a model folder without what belongs to its training.
pub(super) fn copy_model(from: &Path, to: &Path) -> Result<()> {
    for name in names(from)? {
        if OF_TRAINING.contains(&name.as_str()) {
            continue;
        }
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            create_folder(&target)?;
            copy_model(&source, &target)?;
            continue;
        }
        fs::copy(&source, &target).map_err(|e| Error::io(&source, "copy", e))?;
        fs::File::open(&target).and_then(|file| file.sync_all()).map_err(|e| Error::io(&target, "write", e))?;
    }
    sync_folder(to)
}

/// Adds how to go on to what was interrupted.
pub(super) fn resumable(error: Error) -> Error {
    let hint = "go on with `--resume`";
    if error.kind() != ErrorKind::Interrupted || error.hints().iter().any(|other| other == hint) {
        return error;
    }
    error.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_run_left_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        create_folder(&path("round-1/model")).unwrap();
        for name in [".loop.json.tmp-12", "round-1/model/.model.bin.tmp-7", "round-1/model/model.bin", "round-1/.lock"]
        {
            fs::write(path(name), "x").unwrap();
        }
        sweep(folder.path()).unwrap();
        assert!(!path(".loop.json.tmp-12").exists() && !path("round-1/model/.model.bin.tmp-7").exists());
        assert!(path("round-1/model/model.bin").exists() && path("round-1/.lock").exists());
    }

    #[test]
    fn a_folder_appears_whole_and_a_model_without_its_training() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        create_folder(&path("from/inner")).unwrap();
        for name in ["from/train.json", "from/.lock", "from/model.bin", "from/inner/weights"] {
            fs::write(path(name), name).unwrap();
        }
        create_folder(&path(".to.tmp/stale")).unwrap();
        let failed = complete(&path("to"), |_| Err(Error::bad_input("no")));
        assert!(failed.is_err() && !path("to").exists());
        create_folder(&path("to/of an earlier round")).unwrap();
        complete(&path("to"), |to| copy_model(&path("from"), to)).unwrap();
        let mut found = names(&path("to")).unwrap();
        found.sort();
        assert_eq!(found, ["inner", "model.bin"]);
        assert_eq!(fs::read_to_string(path("to/inner/weights")).unwrap(), "from/inner/weights");
        assert!(!path(".to.tmp").exists());
    }
}

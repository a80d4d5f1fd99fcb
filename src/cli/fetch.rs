//! Encoders by name: the built-in one, a folder, or `owner/name` fetched from the hub into the user's cache.
//!
//! The first fetch checks every file against the hash the hub itself gives it (sha256 of large files, git's blob hash
//! of small ones), then writes `parallax.lock` with the sha256 of each. Later uses need no network and accept only
//! files that still have those hashes.

use super::ui::Ui;
use parallax::index::build::EncoderChoice;
use parallax::{Error, ErrorKind, Result};
use std::path::Path;

/// The encoder a name stands for.
pub(crate) fn choice(name: &str, ui: &Ui) -> Result<EncoderChoice> {
    if name == "builtin" {
        return Ok(EncoderChoice::builtin());
    }
    let path = Path::new(name);
    if path.is_dir() {
        let location = std::path::absolute(path).map_err(|e| Error::io(path, "resolve", e))?;
        return Ok(EncoderChoice { name: name.to_string(), location: location.display().to_string() });
    }
    if !is_hub_name(name) {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no model folder `{name}`"))
            .hint("an encoder is `builtin`, a folder with `config.json` and `model.safetensors`, or `owner/name` from the hub"));
    }
    let folder = hub::folder(name, ui)?;
    Ok(EncoderChoice { name: name.to_string(), location: folder.display().to_string() })
}

/// `owner/name` in the characters the hub allows; never a path that climbs.
fn is_hub_name(name: &str) -> bool {
    let fine = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(allowed)
    };
    matches!(name.split('/').collect::<Vec<_>>()[..], [owner, name] if fine(owner) && fine(name))
}

#[cfg(not(feature = "hub"))]
mod hub {
    use super::{Error, Result, Ui};
    use std::path::PathBuf;

    pub(super) fn folder(name: &str, _ui: &Ui) -> Result<PathBuf> {
        Err(Error::usage(format!(
            "`{name}` would be fetched from the hub, and this program was built without the feature `hub`"
        ))
        .hint("fetch the model folder by other means and name the folder"))
    }
}

#[cfg(feature = "hub")]
mod hub {
    use super::{Error, ErrorKind, Result, Ui};
    use hf_hub::api::sync::{ApiBuilder, ApiError};
    use parallax::{Silent, storage};
    use serde::{Deserialize, Serialize};
    use sha1::{Digest, Sha1};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    /// `parallax.lock`: where the files lie and what they have to be.
    #[derive(Serialize, Deserialize)]
    struct Lock {
        snapshot: PathBuf,
        sha256: BTreeMap<String, String>,
    }

    /// The folder of a model, fetched unless it is there already.
    pub(super) fn folder(name: &str, ui: &Ui) -> Result<PathBuf> {
        let cache = cache_folder()?;
        let home = cache.join(format!("models--{}", name.replace('/', "--")));
        let lock_path = home.join("parallax.lock");
        if lock_path.is_file() {
            return locked(&lock_path, name);
        }
        storage::create_folder(&cache)?;
        ui.note(&format!("fetching {name} into {}", cache.display()));
        let (snapshot, files) = fetch(name, &cache)?;
        let mut sha256 = BTreeMap::new();
        for file in files {
            let path = snapshot.join(&file);
            check_against_hub(&path)?;
            sha256.insert(file, storage::record(&path, &Silent)?.sha256);
        }
        let lock = Lock { snapshot: snapshot.clone(), sha256 };
        let text = serde_json::to_string_pretty(&lock).map_err(|e| Error::bug("a lock is no JSON").because(e))?;
        storage::write_atomically(&lock_path, text.as_bytes())?;
        Ok(snapshot)
    }

    /// A model that was fetched before, if its files are still the same.
    fn locked(path: &Path, name: &str) -> Result<PathBuf> {
        let again = || format!("remove `{}` to fetch `{name}` again", path.parent().unwrap_or(path).display());
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let lock: Lock = serde_json::from_slice(&bytes)
            .map_err(|e| Error::damaged(path, "this is no lock of a fetched model").because(e).hint(again()))?;
        for (file, expected) in &lock.sha256 {
            let file = lock.snapshot.join(file);
            let found = storage::record(&file, &Silent).map_err(|e| e.hint(again()))?.sha256;
            if found != *expected {
                let message = format!("the file's sha256 is {found}, it was {expected} when fetched");
                return Err(Error::damaged(&file, message).hint(again()));
            }
        }
        Ok(lock.snapshot)
    }

    fn cache_folder() -> Result<PathBuf> {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(folder) = from("PARALLAX_CACHE") {
            return Ok(folder);
        }
        let base = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
        base.map(|base| base.join("parallax").join("hub")).ok_or_else(|| {
            Error::usage("there is no folder to keep fetched models in: neither `XDG_CACHE_HOME` nor `HOME` is set")
                .hint("set `PARALLAX_CACHE` to a folder")
        })
    }

    fn fetch(name: &str, cache: &Path) -> Result<(PathBuf, Vec<String>)> {
        let refuse = |e: ApiError| {
            Error::new(ErrorKind::NotFound, format!("could not fetch `{name}` from the hub")).because(e).hint(
                "without a network, give a model folder, or leave `--encoder` out: the built-in encoder needs none",
            )
        };
        let mut builder = ApiBuilder::new().with_cache_dir(cache.to_path_buf()).with_progress(false).with_token(None);
        if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint);
        }
        let repository = builder.build().map_err(refuse)?.model(name.to_string());
        let offered = repository.info().map_err(refuse)?.siblings.into_iter().map(|sibling| sibling.rfilename);
        let files: Vec<String> = offered.filter(|file| is_needed(file)).collect();
        if !files.iter().any(|file| file.ends_with(".safetensors")) {
            return Err(Error::new(ErrorKind::NotFound, format!("`{name}` has no safetensors weights"))
                .hint("only safetensors are loaded; convert the model first"));
        }
        let mut snapshot = None;
        for file in &files {
            let path = repository.get(file).map_err(refuse)?;
            // The snapshot is what is left when the file's own components are taken off.
            let depth = Path::new(file).components().count();
            snapshot = path.ancestors().nth(depth).map(Path::to_path_buf);
        }
        let snapshot = snapshot.ok_or_else(|| Error::bug("a fetched file has no folder"))?;
        let snapshot = std::path::absolute(&snapshot).map_err(|e| Error::io(&snapshot, "resolve", e))?;
        Ok((snapshot, files))
    }

    /// Weights, settings and tokenizer of the model and of its modules; nothing that would be executed.
    fn is_needed(file: &str) -> bool {
        let path = Path::new(file);
        let depth = path.components().count();
        let climbs = path.components().any(|part| !matches!(part, std::path::Component::Normal(_)));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let wanted = matches!(
            name,
            "config.json"
                | "modules.json"
                | "tokenizer.json"
                | "tokenizer_config.json"
                | "vocab.txt"
                | "model.safetensors"
                | "special_tokens_map.json"
                | "config_sentence_transformers.json"
                | "sentence_bert_config.json"
        );
        let other = file.starts_with("onnx/") || file.starts_with("openvino/");
        wanted && !climbs && !other && depth <= 2
    }

    /// Compares a cached file with its name in the cache, which is the hash the hub announced.
    fn check_against_hub(path: &Path) -> Result<()> {
        let blob = std::fs::canonicalize(path).map_err(|e| Error::io(path, "resolve", e))?;
        let announced = blob.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let found = match announced.len() {
            64 => storage::record(&blob, &Silent)?.sha256,
            40 => git_blob_hash(&blob)?,
            _ => {
                return Err(Error::damaged(
                    path,
                    format!("the hub announced no hash that is known, but `{announced}`"),
                ));
            }
        };
        if found != announced {
            let _ = std::fs::remove_file(&blob);
            return Err(Error::damaged(path, format!("its hash is {found}, the hub announced {announced}"))
                .hint("the file was thrown away; try again"));
        }
        Ok(())
    }

    fn git_blob_hash(path: &Path) -> Result<String> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let mut hasher = Sha1::new();
        hasher.update(format!("blob {}\0", bytes.len()));
        hasher.update(&bytes);
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

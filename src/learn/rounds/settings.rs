//! `loop.json`: what a loop was started with, so that it is gone on with as it began.
//!
//! Every setting that a round follows from is a name and a text; sources and the model are held to by what they
//! contain, not by where they lie. How many rounds are made is no such setting: a loop can be asked for more.
//!
//! ```json
//! {"format": 1, "rounds": 2, "all_rounds": false,
//!  "sources": [{"role": "data", "path": "train.json", "sha256": "…"}], "settings": [["negatives", "1"], …]}
//! ```

use super::LoopOptions;
use crate::collection::read::Source;
use crate::encoder::{self, contract::Precision};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Progress;
use crate::storage::{self, write_atomically};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name.
pub(super) const FILE: &str = "loop.json";
const FORMAT: u32 = 1;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    format: u32,
    rounds: usize,
    all_rounds: bool,
    sources: Vec<Fingerprint>,
    settings: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Fingerprint {
    role: String,
    path: String,
    sha256: String,
}

impl Settings {
    /// Collects the settings; reads every source and the model once.
    pub(super) fn of(options: &LoopOptions, progress: &dyn Progress) -> Result<Self> {
        let mut sources = vec![("data".to_string(), &options.data)];
        sources.extend(options.held_out.iter().map(|(source, _)| ("held-out".to_string(), source)));
        let numbered = options.passages.iter().enumerate();
        sources.extend(numbered.map(|(i, source)| (format!("passages {}", i + 1), source)));
        let sources = sources.into_iter().map(|(role, source)| fingerprint(role, source, progress));
        let towers = &options.towers;
        let model = encoder::open_named(&towers.model.location, &towers.model.name, Precision::F32)?;
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| settings.push((name.to_string(), value));
        set("model", model.card().fingerprint.clone());
        set("negatives", options.negatives.to_string());
        let held_out_split = options.held_out.as_ref().and_then(|(_, split)| split.clone());
        set("split", options.read.split.clone().unwrap_or("the usual one".into()));
        set("held-out split", held_out_split.unwrap_or("the usual one".into()));
        set("source format", options.read.format.map_or("found".to_string(), |format| format.name().to_string()));
        set("bad lines", format!("{:?}", options.read.on_bad_line).to_lowercase());
        set("continue", options.carry_on.to_string());
        set("validation questions", options.limits.queries.to_string());
        set("validation passages", options.limits.passages.to_string());
        set("dropout", towers.dropout.to_string());
        let tokens = |limit: Option<usize>| limit.map_or("the model's".to_string(), |limit| limit.to_string());
        set("tokens of a question", tokens(towers.max_query_tokens));
        set("tokens of a passage", tokens(towers.max_passage_tokens));
        set("device", towers.device.clone());
        for (name, value) in options.training().settings() {
            set(name, value);
        }
        let (rounds, all_rounds) = (options.rounds, options.all_rounds);
        Ok(Settings { format: FORMAT, rounds, all_rounds, sources: sources.collect::<Result<_>>()?, settings })
    }

    /// Writes `loop.json`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|e| Error::bug("settings are no JSON").because(e))?;
        json.push(b'\n');
        write_atomically(&folder.join(FILE), &json)
    }

    /// Reads `loop.json`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let found: Settings =
            serde_json::from_slice(&bytes).map_err(|e| Error::damaged(&path, "not a loop's settings").because(e))?;
        if found.format != FORMAT {
            return Err(Error::damaged(&path, format!("format {}, this program reads {FORMAT}", found.format)));
        }
        Ok(found)
    }

    /// Whether more rounds are asked for now.
    pub(super) fn asks_less_than(&self, now: &Settings) -> bool {
        (self.rounds, self.all_rounds) != (now.rounds, now.all_rounds)
    }

    /// Refuses settings that are not those of the start, naming the first that differs; more rounds may be asked for.
    pub(super) fn same_as(&self, now: &Settings) -> Result<()> {
        let sources = |of: &Settings| -> Vec<(String, String)> {
            of.sources.iter().map(|source| (source.role.clone(), source.sha256.clone())).collect()
        };
        let all = |of: &Settings| [sources(of), of.settings.clone()].concat();
        let now_rounds = (now.rounds, now.all_rounds);
        let fewer = |asked: String| {
            Error::new(ErrorKind::Mismatch, format!("this loop was asked for {asked} before"))
                .hint(format!("go on with {asked}, or more: what was made is not taken back"))
        };
        let (before, now) = (all(self), all(now));
        let value = |of: &[(String, String)], name: &str| {
            of.iter().find(|(other, _)| other == name).map_or("not set".to_string(), |(_, value)| value.clone())
        };
        let names = before.iter().chain(&now).map(|(name, _)| name);
        match names.map(|name| (name, value(&before, name), value(&now, name))).find(|(_, old, new)| old != new) {
            None if now_rounds.0 < self.rounds => Err(fewer(format!("`--rounds {}`", self.rounds))),
            None if self.all_rounds && !now_rounds.1 => Err(fewer("`--all-rounds`".into())),
            None => Ok(()),
            Some((name, old, new)) => {
                let message = format!("`{name}` was {old} when this loop was started, now it is {new}");
                Err(Error::new(ErrorKind::Mismatch, message)
                    .hint("go on with the settings of the start, or begin in another folder"))
            }
        }
    }
}

/// sha256 of a file, or of the files of a BEIR folder with their names.
fn fingerprint(role: String, source: &Source, progress: &dyn Progress) -> Result<Fingerprint> {
    if source.is_stdin() {
        return Err(Error::usage("a loop reads its sources many times, and standard input can be read once")
            .hint("write it to a file first"));
    }
    let path = source.path();
    let sha256 = if path.is_dir() {
        let mut lines = String::new();
        for file in beir_files(path)? {
            let name = file.strip_prefix(path).unwrap_or(&file).display().to_string();
            lines += &format!("{} {name}\n", storage::record(&file, progress)?.sha256);
        }
        storage::sha256(&[lines.as_bytes()])
    } else {
        storage::record(path, progress)?.sha256
    };
    Ok(Fingerprint { role, path: path.display().to_string(), sha256 })
}

/// Passages, questions and judgments, by name.
fn beir_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
        Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
    };
    let ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("corpus.jsonl") || name.starts_with("queries.jsonl")
    };
    let mut files: Vec<PathBuf> = list(folder)?.into_iter().filter(ours).collect();
    if folder.join("qrels").is_dir() {
        files.extend(list(&folder.join("qrels"))?);
    }
    files.sort();
    Ok(files)
}

//! Checkpoints: all that a training needs to go on as if it had never been stopped.
//!
//! ```text
//! OUTPUT/training/CURRENT                      name of the newest whole checkpoint
//!                 checkpoint-<step>/weights.safetensors     f32, `0.<name>` of the first tower, `1.<name>` of the second
//!                                   optimizer.safetensors   `m.0.<name>`, `v.0.<name>`, …
//!                                   state.json              step, settings, best so far, CRC-32 of the two files
//!                 best-<step>.safetensors      weights of the best validation
//! ```
//!
//! A checkpoint is written and synced first, then `CURRENT` is replaced by a rename, then what neither it nor its state
//! names is removed: whenever the process dies, `CURRENT` names a whole checkpoint whose best weights are there.
//! Orders and masks follow from seed and step, so the step is all of the random state there is. Reading checks names,
//! shapes, checksums and settings; a setting that differs is named.

use super::failed;
use super::gradients::with_values;
use super::optimizer::Optimizer;
use super::tower::{Parameter, Tower};
use super::trainer::{Losses, Validation};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Mapped, create_folder, sync_folder, write_atomically};
use candle_core::Tensor;
use fs_err as fs;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 2;
const CURRENT: &str = "CURRENT";
const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) format: u32,
    /// Steps done.
    pub(super) step: usize,
    /// Every setting by which weights would differ, as names and values.
    pub(super) settings: Vec<(String, String)>,
    /// Bytes of the log that belong to it.
    pub(super) log_bytes: u64,
    /// The step that was validated last.
    pub(super) validated: Option<usize>,
    /// Validations in a row without a gain.
    pub(super) without_gain: usize,
    pub(super) baseline: Option<Validation>,
    pub(super) best: Option<Best>,
    pub(super) last: Option<Validation>,
    /// Losses of the first and of the latest steps.
    pub(super) losses: Losses,
    /// Examples gone through.
    pub(super) examples: u64,
    /// CRC-32 of each file.
    pub(super) files: BTreeMap<String, u32>,
}

/// The best validation so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    pub(super) step: usize,
    pub(super) validation: Validation,
}

/// The folder of a training's checkpoints.
pub(super) struct Checkpoints {
    folder: PathBuf,
}

/// One tensor on its way to a file.
struct Floats {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl View for Floats {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(&self.values))
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

impl Checkpoints {
    pub(super) fn of(output: &Path) -> Self {
        Checkpoints { folder: output.join("training") }
    }

    /// A place for files of a training that are not part of a checkpoint.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest whole checkpoint, if there is any.
    pub(super) fn newest(&self) -> Result<Option<PathBuf>> {
        let path = self.folder.join(CURRENT);
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(self.folder.join(name.trim()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, "read", e)),
        }
    }

    /// Writes a checkpoint and makes it the newest; the others are removed.
    pub(super) fn save<'t>(
        &self,
        state: &mut State,
        towers: impl Iterator<Item = &'t dyn Tower> + Clone,
        optimizers: &[Optimizer],
    ) -> Result<()> {
        let name = format!("checkpoint-{:08}", state.step);
        let folder = self.folder.join(&name);
        if folder.exists() {
            // A half-written one of a run that died; `CURRENT` does not name it, or names the same step again.
            if self.newest()?.is_some_and(|newest| newest == folder) {
                return Ok(());
            }
            fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, "remove", e))?;
        }
        create_folder(&folder)?;
        write_weights(&folder.join(WEIGHTS), towers.clone())?;
        let mut tensors = Vec::new();
        for (i, (tower, optimizer)) in towers.zip(optimizers).enumerate() {
            for (parameter, (m, v)) in tower.parameters().iter().zip(optimizer.state()?) {
                if parameter.trained {
                    let shape = parameter.var.dims().to_vec();
                    tensors.push((format!("m.{i}.{}", parameter.name), Floats { shape: shape.clone(), values: m }));
                    tensors.push((format!("v.{i}.{}", parameter.name), Floats { shape, values: v }));
                }
            }
        }
        write_tensors(&folder.join(OPTIMIZER), tensors)?;
        state.format = FORMAT;
        state.files.clear();
        for file in [WEIGHTS, OPTIMIZER] {
            state.files.insert(file.to_string(), crc(&folder.join(file))?);
        }
        let json = serde_json::to_vec_pretty(state).map_err(|e| Error::bug("a state is no JSON").because(e))?;
        write_atomically(&folder.join(STATE), &json)?;
        sync_folder(&self.folder)?;
        write_atomically(&self.folder.join(CURRENT), name.as_bytes())?;
        let best = state.best.as_ref().map(|best| self.best(best.step));
        let entries = fs::read_dir(&self.folder).map_err(|e| Error::io(&self.folder, "read", e))?;
        for entry in entries.filter_map(std::result::Result::ok).map(|entry| entry.path()) {
            let of = |start: &str| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
            if of("checkpoint-") && entry != folder {
                let _ = fs::remove_dir_all(&entry);
            } else if of("best-") && Some(&entry) != best.as_ref() {
                let _ = fs::remove_file(&entry);
            }
        }
        Ok(())
    }

    /// Puts weights, optimizer and state back to a checkpoint; refuses one of other `settings`.
    pub(super) fn load<'t>(
        &self,
        folder: &Path,
        settings: &[(String, String)],
        towers: impl Iterator<Item = &'t dyn Tower> + Clone,
        optimizers: &mut [Optimizer],
    ) -> Result<State> {
        let path = folder.join(STATE);
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let state: State =
            serde_json::from_slice(&bytes).map_err(|e| Error::damaged(&path, "not a training's state").because(e))?;
        if state.format != FORMAT {
            return Err(Error::damaged(&path, format!("format {}, this program reads {FORMAT}", state.format)));
        }
        compare(&state.settings, settings).map_err(|e| e.in_file(&path))?;
        for file in [WEIGHTS, OPTIMIZER] {
            if state.files.get(file) != Some(&crc(&folder.join(file))?) {
                return Err(Error::damaged(folder.join(file), "the file does not match its checksum")
                    .hint("remove the folder `training` and train anew"));
            }
        }
        read_weights(&folder.join(WEIGHTS), towers.clone())?;
        let path = folder.join(OPTIMIZER);
        let file = Mapped::open(&path)?;
        let tensors = parse(&file, &path)?;
        for (i, (tower, optimizer)) in towers.zip(optimizers).enumerate() {
            let moments = tower.parameters().iter().map(|parameter| match parameter.trained {
                false => Ok((Vec::new(), Vec::new())),
                true => {
                    let read = |kind: &str| values(&tensors, &format!("{kind}.{i}.{}", parameter.name), parameter);
                    Ok((read("m")?, read("v")?))
                }
            });
            let moments = moments.collect::<Result<Vec<_>>>().map_err(|e| e.in_file(&path))?;
            optimizer.restore(state.step as u64, moments).map_err(|e| e.in_file(&path))?;
        }
        Ok(state)
    }

    /// Where the best weights of a step lie.
    pub(super) fn best(&self, step: usize) -> PathBuf {
        self.folder.join(format!("best-{step:08}.safetensors"))
    }

    /// Removes everything: the training is over.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.folder, "remove", e)),
            _ => Ok(()),
        }
    }
}

/// Says which setting is another one than when the training was started.
pub(super) fn compare(before: &[(String, String)], now: &[(String, String)]) -> Result<()> {
    let of = |settings: &[(String, String)], name: &str| {
        settings.iter().find(|(other, _)| other == name).map_or("not set".to_string(), |(_, value)| value.clone())
    };
    let names = before.iter().chain(now).map(|(name, _)| name);
    match names.map(|name| (name, of(before, name), of(now, name))).find(|(_, before, now)| before != now) {
        Some((name, before, now)) => {
            let message = format!("`{name}` was {before} when this training was started, now it is {now}");
            Err(Error::new(ErrorKind::Mismatch, message)
                .hint("go on with the settings of the start, or train into another folder"))
        }
        None => Ok(()),
    }
}

/// Writes all towers' weights.
pub(super) fn write_weights<'t>(path: &Path, towers: impl Iterator<Item = &'t dyn Tower>) -> Result<()> {
    let mut tensors = Vec::new();
    for (i, tower) in towers.enumerate() {
        for parameter in tower.parameters() {
            let values = with_values(parameter.var.as_tensor(), <[f32]>::to_vec)?;
            tensors.push((format!("{i}.{}", parameter.name), Floats { shape: parameter.var.dims().to_vec(), values }));
        }
    }
    write_tensors(path, tensors)
}

/// Puts all towers' weights back.
pub(super) fn read_weights<'t>(path: &Path, towers: impl Iterator<Item = &'t dyn Tower>) -> Result<()> {
    let file = Mapped::open(path)?;
    let tensors = parse(&file, path)?;
    for (i, tower) in towers.enumerate() {
        for parameter in tower.parameters() {
            let name = format!("{i}.{}", parameter.name);
            let values = values(&tensors, &name, parameter).map_err(|e| e.in_file(path))?;
            let tensor = Tensor::from_vec(values, parameter.var.shape(), parameter.var.device());
            tensor.and_then(|tensor| parameter.var.set(&tensor)).map_err(failed)?;
        }
    }
    Ok(())
}

fn write_tensors(path: &Path, tensors: Vec<(String, Floats)>) -> Result<()> {
    let partial = path.with_extension("partial");
    let refuse = |e| Error::new(ErrorKind::Io, format!("could not write `{}`", path.display())).because(e);
    safetensors::serialize_to_file(tensors, None, &partial).map_err(refuse)?;
    let file = fs::File::open(&partial).map_err(|e| Error::io(&partial, "open", e))?;
    file.sync_all().map_err(|e| Error::io(&partial, "write", e))?;
    fs::rename(&partial, path).map_err(|e| Error::io(path, "write", e))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn parse<'f>(file: &'f Mapped, path: &Path) -> Result<SafeTensors<'f>> {
    SafeTensors::deserialize(file.bytes()).map_err(|e| Error::damaged(path, "not a whole safetensors file").because(e))
}

fn values(tensors: &SafeTensors<'_>, name: &str, parameter: &Parameter) -> Result<Vec<f32>> {
    let refuse = |message: String| Error::new(ErrorKind::Mismatch, message);
    let tensor = tensors.tensor(name).map_err(|_| refuse(format!("tensor `{name}` is missing")))?;
    if tensor.shape() != parameter.var.dims() || tensor.dtype() != Dtype::F32 {
        let (found, asked) = (tensor.shape(), parameter.var.dims());
        return Err(refuse(format!("tensor `{name}` has shape {found:?}, the model's has {asked:?}")));
    }
    Ok(tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn crc(path: &Path) -> Result<u32> {
    Ok(crc32fast::hash(Mapped::open(path)?.bytes()))
}

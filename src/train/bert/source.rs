//! What is read of a folder to be trained: its configuration, cut or refused, and its weights as parameters.

use super::super::tower::Parameter;
use super::{Dense, OpenOptions, failed, folder, view};
use crate::encoder::config::{Config, Family};
use crate::encoder::folder::Folder;
use crate::encoder::modules::Step;
use crate::encoder::pooling::Pooling;
use crate::encoder::weights::Weights;
use crate::encoder::weights_file;
use crate::error::{Error, Result};
use candle_core::{Device, Var};

/// The configuration as it is trained, or a refusal.
pub(super) fn wanted(folder: &Folder, options: &OpenOptions) -> Result<Config> {
    let mut config = folder.config.clone();
    if config.family == Family::ModernBert {
        return Err(Error::usage("ModernBERT is searched with but not trained")
            .hint("train a BERT, RoBERTa, XLM-R or DistilBERT folder, or a static model"));
    }
    if folder.pooling == Pooling::Max {
        return Err(Error::usage("pooling by the largest value is searched with but not trained")
            .hint("ask for `cls` or `mean` pooling"));
    }
    if !(0.0..1.0).contains(&options.dropout) {
        return Err(Error::usage(format!("a dropout of {} is no share below 1", options.dropout)));
    }
    if folder.steps.iter().rev().skip(1).any(|step| *step == Step::Normalize) {
        return Err(Error::usage("rows normalised before the last module are searched with but not trained"));
    }
    if let Some(layers) = options.layers {
        if layers == 0 || layers > config.layers {
            let has = config.layers;
            return Err(Error::usage(format!("{layers} layers were asked for, the model has {has}")));
        }
        config.layers = layers;
    }
    Ok(config)
}

/// A parameter of values on a device.
fn parameter(name: String, values: Vec<f32>, shape: &[usize], device: &Device, trained: bool) -> Result<Parameter> {
    let table = name.contains("embeddings.");
    let decays = shape.len() == 2 && !table;
    Ok(Parameter { name, var: Var::from_vec(values, shape, device).map_err(failed)?, decays, trained })
}

/// The transformer's weights in `view`'s order, then those of a pooler.
pub(super) fn transformer(folder: &Folder, config: &Config, device: &Device) -> Result<Vec<Parameter>> {
    let path = weights_file(&folder.transformer)?;
    let prefixes = ["", "bert.", "roberta.", "distilbert."];
    let mut weights = Weights::open(&path, "embeddings.word_embeddings.weight", &prefixes)?;
    let prefix = weights.prefix().to_owned();
    let old = |name: &str| weights.has(&format!("{name}.gamma"));
    let entries = view::entries(&folder.config, old);
    let mut parameters = Vec::new();
    for (n, entry) in entries.into_iter().enumerate() {
        // Layers that are left out are taken too, so that what is left over in the file is seen.
        let values = weights.take(&entry.name, &entry.shape)?;
        if n < view::count(config) {
            parameters.push(parameter(format!("{prefix}{}", entry.name), values, &entry.shape, device, true)?);
        }
    }
    let h = config.hidden;
    for (name, shape) in [("pooler.dense.weight", vec![h, h]), ("pooler.dense.bias", vec![h])] {
        if weights.has(name) {
            let values = weights.take(name, &shape)?;
            parameters.push(parameter(format!("{prefix}{name}"), values, &shape, device, false)?);
        }
    }
    weights.finish(&config.model_type)?;
    Ok(parameters)
}

/// The dense modules after pooling, their weights added to the parameters.
pub(super) fn dense(folder: &Folder, parameters: &mut Vec<Parameter>, device: &Device) -> Result<Vec<Dense>> {
    let mut all = Vec::new();
    for (n, step) in folder.steps.iter().enumerate() {
        let Step::Dense { folder, inputs, outputs, bias, tanh } = step else { continue };
        let mut file = Weights::open(&weights_file(folder)?, "linear.weight", &[""])?;
        let place = folder::dense_folder(n);
        all.push(Dense { weight: parameters.len(), bias: *bias, tanh: *tanh, outputs: *outputs });
        let (shape, name) = ([*outputs, *inputs], "linear.weight");
        let values = file.take(name, &shape)?;
        parameters.push(parameter(format!("{place}/{name}"), values, &shape, device, true)?);
        if *bias {
            let (shape, name) = ([*outputs], "linear.bias");
            let values = file.take(name, &shape)?;
            parameters.push(parameter(format!("{place}/{name}"), values, &shape, device, true)?);
        }
        file.finish("Dense")?;
    }
    Ok(all)
}

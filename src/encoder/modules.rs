//! The modules of a sentence-transformers folder: which there are, in which order, with which settings.
//!
//! `modules.json` goes in; pooling and the steps after it come out, or a refusal of what is not served. Two
//! generations of the layout are read: module types as `sentence_transformers.models.Pooling` or
//! `sentence_transformers.….modules.pooling.Pooling`, pooling as six switches or as one name.

use super::config::{Config, Object, read_json};
use super::pooling::Pooling;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// What happens to a row after pooling.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `x = activation(W x + b)`, `W` of shape `[outputs, inputs]` in the folder's `model.safetensors`.
    Dense { folder: PathBuf, inputs: usize, outputs: usize, bias: bool, tanh: bool },
    /// Rows to unit length.
    Normalize,
}

/// One line of `modules.json`.
pub(super) struct Module {
    /// The last part of its type, `Pooling` say.
    pub(super) kind: String,
    pub(super) folder: PathBuf,
}

/// The modules in order, at least one; `None` for a plain Hugging Face folder.
pub(super) fn modules(root: &Path) -> Result<Option<Vec<Module>>> {
    let path = root.join("modules.json");
    if !path.exists() {
        return Ok(None);
    }
    let refuse = |message: String| Error::bad_input(message).in_file(&path);
    let json = read_json(&path)?;
    let entries = json.as_array().filter(|entries| !entries.is_empty());
    let entries = entries.ok_or_else(|| refuse("expected a list of modules".into()))?;
    let read = |entry: &Value| -> Result<Module> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let kind = text("type").ok_or_else(|| refuse("a module has no `type`".into()))?;
        let name = kind.rsplit('.').next().unwrap_or(kind);
        if !kind.starts_with("sentence_transformers.") {
            return Err(refuse(format!("module type `{kind}` is code of its own, which is not served")));
        }
        if entry.get("kwargs").and_then(Value::as_array).is_some_and(|kwargs| !kwargs.is_empty()) {
            return Err(refuse(format!("module `{name}` asks for arguments (`kwargs`), which is not served")));
        }
        let folder = Path::new(text("path").unwrap_or(""));
        if folder.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(refuse(format!("module path `{}` leads out of the model folder", folder.display())));
        }
        Ok(Module { kind: name.to_owned(), folder: root.join(folder) })
    };
    entries.iter().map(read).collect::<Result<_>>().map(Some)
}

/// Pooling, later steps and whether prompts are pooled, from modules that have to stand in the usual order.
pub(super) fn chain(modules: &[Module], config: &Config) -> Result<(Option<Pooling>, Vec<Step>, bool)> {
    let order = || {
        let kinds: Vec<&str> = modules.iter().map(|module| module.kind.as_str()).collect();
        Error::bad_input(format!("modules {} are not served", kinds.join(", ")))
            .hint("served are Transformer, Pooling, then any of Dense, Normalize and Dropout; or StaticEmbedding")
    };
    let [transformer, pooling, rest @ ..] = modules else { return Err(order()) };
    if transformer.kind != "Transformer" || pooling.kind != "Pooling" {
        return Err(order());
    }
    let (pooling, include_prompt) = pooling_of(&pooling.folder, config.hidden)?;
    let mut steps = Vec::new();
    let mut width = config.hidden;
    for module in rest {
        match module.kind.as_str() {
            "Dense" => {
                let step = dense(&module.folder, width)?;
                if let Step::Dense { outputs, .. } = &step {
                    width = *outputs;
                }
                steps.push(step);
            }
            "Normalize" => {
                if let Some(json) = Object::read_if_there(&module.folder.join("config.json"))? {
                    on_the_row(&json)?;
                }
                steps.push(Step::Normalize);
            }
            // Does nothing outside training.
            "Dropout" => {}
            _ => return Err(order()),
        }
    }
    Ok((Some(pooling), steps, include_prompt))
}

/// `1_Pooling/config.json` in either generation; no mode set means the mean, as for those who wrote it.
fn pooling_of(folder: &Path, hidden: usize) -> Result<(Pooling, bool)> {
    let json = Object::read(&folder.join("config.json"))?;
    let mut modes = Vec::new();
    match json.get("pooling_mode") {
        Some(Value::String(mode)) => modes.push(mode.clone()),
        Some(Value::Array(several)) => modes.extend(several.iter().map(|m| m.as_str().unwrap_or("?").to_owned())),
        Some(other) => return Err(json.refuse(format!("`pooling_mode` is {other}, expected a name"))),
        None => {
            for mode in
                ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
            {
                if json.flag(&format!("pooling_mode_{mode}"))? {
                    modes.push(mode.strip_suffix("_token").or(mode.strip_suffix("_tokens")).unwrap_or(mode).to_owned());
                }
            }
        }
    }
    let pooling = match modes.as_slice() {
        [] => Pooling::Mean,
        [mode] => Pooling::from_name(mode).ok_or_else(|| {
            json.refuse(format!("pooling `{mode}` is not served")).hint("served are `cls`, `mean` and `max`")
        })?,
        several => {
            return Err(json.refuse(format!("several poolings side by side ({}) are not served", several.join(", "))));
        }
    };
    let width = json.size("word_embedding_dimension")?.or(json.size("embedding_dimension")?);
    if let Some(width) = width.filter(|&width| width != hidden) {
        return Err(json.refuse(format!("pools rows of {width} components, the transformer gives {hidden}")));
    }
    let include_prompt = json.get("include_prompt").is_none() || json.flag("include_prompt")?;
    Ok((pooling, include_prompt))
}

/// Refuses a module that works on token rows, or on rows of another name.
fn on_the_row(json: &Object) -> Result<()> {
    json.only("module_input_name", &["sentence_embedding"])?;
    json.only("module_output_name", &["sentence_embedding"])
}

fn dense(folder: &Path, width: usize) -> Result<Step> {
    let json = Object::read(&folder.join("config.json"))?;
    json.off("use_residual")?;
    on_the_row(&json)?;
    let (inputs, outputs) = (json.positive("in_features")?, json.positive("out_features")?);
    if inputs != width {
        return Err(json.refuse(format!("takes rows of {inputs} components, the module before gives {width}")));
    }
    let tanh = match json.text("activation_function")? {
        None | Some("torch.nn.modules.activation.Tanh") => true,
        Some("torch.nn.modules.linear.Identity") => false,
        Some(other) => {
            let message = format!("activation `{other}` is not served");
            return Err(json.refuse(message).hint("served are Tanh and Identity"));
        }
    };
    let bias = json.get("bias").is_none() || json.flag("bias")?;
    Ok(Step::Dense { folder: folder.to_path_buf(), inputs, outputs, bias, tanh })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::folder::{Content, Folder, OpenOptions, read};
    use super::*;
    use serde_json::json;

    /// A model folder without weights, to be changed.
    pub(in super::super) struct Model(pub(in super::super) tempfile::TempDir);

    impl Model {
        /// A sentence-transformers folder of the old layout, without weights.
        pub(in super::super) fn new() -> Self {
            let model = Model(tempfile::tempdir().unwrap());
            model.write("config.json", json!({"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32, "type_vocab_size": 2}));
            model.modules(&["models.Transformer", "models.Pooling", "models.Normalize"]);
            model.write("1/config.json", json!({"word_embedding_dimension": 8, "pooling_mode_cls_token": true}));
            model
        }

        pub(in super::super) fn write(&self, name: &str, value: Value) {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        }

        pub(in super::super) fn modules(&self, kinds: &[&str]) {
            let line = |(i, kind): (usize, &&str)| {
                let path = if i == 0 { String::new() } else { i.to_string() };
                json!({"idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.{kind}")})
            };
            self.write("modules.json", kinds.iter().enumerate().map(line).collect());
        }

        pub(in super::super) fn read(&self) -> Result<Folder> {
            match read(self.0.path(), &OpenOptions::default())? {
                Content::Transformer(folder) => Ok(*folder),
                Content::Static => panic!("taken for a static model"),
            }
        }

        pub(in super::super) fn refusal(&self) -> String {
            self.read().expect_err("was served").message().to_owned()
        }
    }

    #[test]
    fn both_generations_of_the_layout_read_the_same() {
        let model = Model::new();
        let old = model.read().unwrap();
        assert_eq!((old.pooling, old.pooling_assumed, &old.steps), (Pooling::Cls, false, &vec![Step::Normalize]));
        model.modules(&[
            "base.modules.transformer.Transformer",
            "sentence_transformer.modules.pooling.Pooling",
            "base.modules.normalize.Normalize",
        ]);
        model.write("1/config.json", json!({"embedding_dimension": 8, "pooling_mode": "cls", "include_prompt": true}));
        let new = model.read().unwrap();
        assert_eq!((new.pooling, &new.steps), (old.pooling, &old.steps));
    }

    #[test]
    fn poolings_are_honoured_or_refused() {
        let model = Model::new();
        let pooling = |config| {
            model.write("1/config.json", config);
            model.read().map(|folder| folder.pooling)
        };
        assert_eq!(pooling(json!({})).unwrap(), Pooling::Mean);
        assert_eq!(pooling(json!({"pooling_mode_max_tokens": true})).unwrap(), Pooling::Max);
        assert_eq!(pooling(json!({"pooling_mode": ["mean"]})).unwrap(), Pooling::Mean);
        for refused in [
            json!({"pooling_mode_lasttoken": true}),
            json!({"pooling_mode_mean_sqrt_len_tokens": true}),
            json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}),
            json!({"pooling_mode": ["mean", "max"]}),
            json!({"pooling_mode": "weightedmean"}),
            json!({"pooling_mode": 3}),
            json!({"pooling_mode": "mean", "embedding_dimension": 9}),
        ] {
            assert!(pooling(refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn modules_outside_the_usual_chain_are_refused() {
        let model = Model::new();
        for kinds in [
            vec!["models.Transformer"],
            vec!["models.Pooling", "models.Transformer"],
            vec!["models.Transformer", "models.Pooling", "models.LSTM"],
            vec!["base.modules.router.Router"],
        ] {
            model.modules(&kinds);
            assert!(model.refusal().contains("not served"), "{kinds:?}");
        }
        for (path, kind) in [("../x", "sentence_transformers.models.Transformer"), ("", "custom.Transformer")] {
            model.write("modules.json", json!([{"path": path, "type": kind}]));
            model.refusal();
        }
        model.modules(&["models.StaticEmbedding"]);
        assert!(matches!(read(model.0.path(), &OpenOptions::default()), Ok(Content::Static)));
    }

    #[test]
    fn dense_modules_chain_their_widths() {
        let model = Model::new();
        model.modules(&["models.Transformer", "models.Pooling", "models.Dense", "models.Dropout"]);
        let identity = "torch.nn.modules.linear.Identity";
        model.write("2/config.json", json!({"in_features": 8, "out_features": 4, "activation_function": identity}));
        let folder = model.0.path().join("2");
        let dense = Step::Dense { folder, inputs: 8, outputs: 4, bias: true, tanh: false };
        assert_eq!(model.read().unwrap().steps, [dense]);
        model.write("2/config.json", json!({"in_features": 9, "out_features": 4}));
        assert!(model.refusal().contains("9 components"));
        model.write(
            "2/config.json",
            json!({"in_features": 8, "out_features": 4, "activation_function": "torch.nn.ReLU"}),
        );
        assert!(model.refusal().contains("torch.nn.ReLU"));
    }
}

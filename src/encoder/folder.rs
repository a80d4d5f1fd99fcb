//! What a model folder says: its modules, pooling, prompts, similarity and length, each honoured or refused.
//!
//! A folder goes in, in the layout of sentence-transformers or as a plain Hugging Face model; a description comes
//! out from which [`open`](super::open) builds the encoder. Two generations of the layout are read: module types as
//! `sentence_transformers.models.Pooling` or `sentence_transformers.….modules.pooling.Pooling`, pooling as six
//! switches or as one name.
//!
//! ```text
//! modules.json                        [Transformer, Pooling, (Dense | Normalize | Dropout)*] with a folder each
//! config_sentence_transformers.json   prompts, default_prompt_name, similarity_fn_name
//! sentence_bert_config.json           max_seq_length, do_lower_case
//! config.json tokenizer.json model.safetensors
//! ```
//!
//! Without `modules.json` the pooling is the mean, as sentence-transformers has it too, and is called "assumed".
//!
//! Cost: a few small files. Source: the files sentence-transformers 2 to 6 write.

use super::config::{Config, Object, read_json};
use super::contract::Similarity;
use super::pooling::Pooling;
use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// What the caller wants other than the folder says.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// The pooling, whatever the folder says; `None` leaves it to the folder.
    pub pooling: Option<Pooling>,
    /// Tokens after which texts are cut, special tokens among them; `None` leaves it to the folder.
    pub max_tokens: Option<usize>,
}

/// What happens to a row after pooling.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// `x = activation(W x + b)`, `W` of shape `[outputs, inputs]` in the folder's `model.safetensors`.
    Dense { folder: PathBuf, inputs: usize, outputs: usize, bias: bool, tanh: bool },
    /// Rows to unit length.
    Normalize,
}

/// A transformer's folder, read.
#[derive(Debug)]
pub(super) struct Folder {
    /// Where config, tokenizer and weights lie.
    pub(super) transformer: PathBuf,
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    /// The folder names no pooling.
    pub(super) pooling_assumed: bool,
    pub(super) steps: Vec<Step>,
    pub(super) lowercase: bool,
    pub(super) max_tokens: usize,
    pub(super) query_prompt: String,
    pub(super) passage_prompt: String,
    pub(super) similarity: Similarity,
}

/// Which encoder a folder holds.
#[derive(Debug)]
pub(super) enum Content {
    /// A table of token rows: [`fixed`](super::fixed) opens it.
    Static,
    /// A transformer.
    Transformer(Box<Folder>),
}

/// Reads a folder's description; weights and tokenizer are not opened yet.
pub(super) fn read(root: &Path, options: &OpenOptions) -> Result<Content> {
    if !root.is_dir() {
        let message = format!("there is no model folder `{}`", root.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let modules = modules(root)?;
    if modules.as_ref().is_some_and(|modules| modules[0].kind == "StaticEmbedding") {
        return Ok(Content::Static);
    }
    let transformer = modules.as_ref().map_or(root.to_path_buf(), |modules| modules[0].folder.clone());
    let config_path = transformer.join("config.json");
    if !config_path.exists() {
        return Err(missing(&transformer, "config.json")
            .hint("a model folder holds at least config.json, tokenizer.json and model.safetensors"));
    }
    if modules.is_none() && Object::read(&config_path)?.text("model_type")? == Some("model2vec") {
        return Ok(Content::Static);
    }
    let config = Config::read(&config_path)?;
    let (declared, steps, include_prompt) = match &modules {
        None => (None, Vec::new(), true),
        Some(modules) => chain(modules, &config)?,
    };
    let (lowercase, declared_length) = text_settings(&transformer)?;
    let (query_prompt, passage_prompt, similarity) = settings(root)?;
    if !include_prompt && !(query_prompt.is_empty() && passage_prompt.is_empty()) {
        let message = "the pooling leaves out the prompt's tokens (`include_prompt` is false), which is not served";
        return Err(Error::bad_input(message).in_file(root.join("modules.json")));
    }
    Ok(Content::Transformer(Box::new(Folder {
        pooling: options.pooling.or(declared).unwrap_or(Pooling::Mean),
        pooling_assumed: options.pooling.is_none() && declared.is_none(),
        max_tokens: length(options.max_tokens, declared_length, &config)?,
        transformer,
        config,
        steps,
        lowercase,
        query_prompt,
        passage_prompt,
        similarity,
    })))
}

/// A file a folder should have has.
pub(super) fn missing(folder: &Path, file: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{file}` is missing from the model folder `{}`", folder.display()))
}

/// One line of `modules.json`.
struct Module {
    kind: String,
    folder: PathBuf,
}

/// The modules in order, at least one; `None` for a plain Hugging Face folder.
fn modules(root: &Path) -> Result<Option<Vec<Module>>> {
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
fn chain(modules: &[Module], config: &Config) -> Result<(Option<Pooling>, Vec<Step>, bool)> {
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

/// Whether texts are lower-cased first, and the declared length.
fn text_settings(transformer: &Path) -> Result<(bool, Option<usize>)> {
    let mut lowercase = false;
    let mut length = None;
    // The file is named after the family that first used it.
    for family in ["bert", "roberta", "distilbert", "camembert", "xlm-roberta"] {
        let path = transformer.join(format!("sentence_{family}_config.json"));
        let Some(json) = Object::read_if_there(&path)? else { continue };
        json.only("transformer_task", &["feature-extraction"])?;
        json.only("module_output_name", &["token_embeddings"])?;
        let output = json.get("modality_config").and_then(|modes| modes.get("text")?.get("method_output_name"));
        if let Some(output) = output.filter(|&output| output != "last_hidden_state") {
            return Err(json.refuse(format!("the transformer's output is {output}; only its hidden states are served")));
        }
        lowercase = json.flag("do_lower_case")?;
        length = json.size("max_seq_length")?;
        break;
    }
    if let (None, Some(json)) = (length, Object::read_if_there(&transformer.join("tokenizer_config.json"))?) {
        // "No limit" is written as 1e30, which saturates here.
        length = json.real("model_max_length")?.map(|length| length as usize);
    }
    Ok((lowercase, length))
}

/// The length texts are cut to: the caller's, else the folder's, never above what the model has positions for.
fn length(wanted: Option<usize>, declared: Option<usize>, config: &Config) -> Result<usize> {
    let most = config.longest_text();
    match wanted {
        Some(wanted) if wanted > most => {
            Err(Error::usage(format!("texts of {wanted} tokens were asked for, the model has positions for {most}")))
        }
        Some(wanted) => Ok(wanted),
        None => Ok(declared.unwrap_or(most).min(most)),
    }
}

/// Prompts for queries and passages, and the similarity, from `config_sentence_transformers.json`.
fn settings(root: &Path) -> Result<(String, String, Similarity)> {
    let Some(json) = Object::read_if_there(&root.join("config_sentence_transformers.json"))? else {
        return Ok((String::new(), String::new(), Similarity::Cosine));
    };
    if let Some(cut) = json.get("truncate_dim") {
        return Err(json.refuse(format!("rows cut to {cut} components (`truncate_dim`) are not served")));
    }
    let prompts = match json.get("prompts") {
        None => None,
        Some(Value::Object(prompts)) => Some(prompts),
        Some(_) => return Err(json.refuse("`prompts` is no object".into())),
    };
    let prompt = |name: &str| -> Result<Option<String>> {
        match prompts.and_then(|prompts| prompts.get(name)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(prompt)) => Ok(Some(prompt.clone())),
            Some(_) => Err(json.refuse(format!("prompt `{name}` is no text"))),
        }
    };
    let fallback = match json.text("default_prompt_name")? {
        None => String::new(),
        Some(name) => {
            prompt(name)?.ok_or_else(|| json.refuse(format!("default prompt `{name}` is not among the prompts")))?
        }
    };
    let first = |names: &[&str]| -> Result<String> {
        for name in names {
            if let Some(prompt) = prompt(name)? {
                return Ok(prompt);
            }
        }
        Ok(fallback.clone())
    };
    let similarity = match json.text("similarity_fn_name")? {
        None | Some("cosine") => Similarity::Cosine,
        Some("dot" | "dot_product") => Similarity::Dot,
        Some(other) => {
            let message = format!("similarity `{other}` is not served");
            return Err(json.refuse(message).hint("served are `cosine` and `dot`"));
        }
    };
    Ok((first(&["query"])?, first(&["document", "passage", "corpus"])?, similarity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Model(tempfile::TempDir);

    impl Model {
        /// A sentence-transformers folder of the old layout, without weights.
        fn new() -> Self {
            let model = Model(tempfile::tempdir().unwrap());
            model.write("config.json", json!({"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32, "type_vocab_size": 2}));
            model.modules(&["models.Transformer", "models.Pooling", "models.Normalize"]);
            model.write("1/config.json", json!({"word_embedding_dimension": 8, "pooling_mode_cls_token": true}));
            model
        }

        fn write(&self, name: &str, value: Value) {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        }

        fn modules(&self, kinds: &[&str]) {
            let line = |(i, kind): (usize, &&str)| {
                let path = if i == 0 { String::new() } else { i.to_string() };
                json!({"idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.{kind}")})
            };
            self.write("modules.json", kinds.iter().enumerate().map(line).collect());
        }

        fn read(&self) -> Result<Folder> {
            match read(self.0.path(), &OpenOptions::default())? {
                Content::Transformer(folder) => Ok(*folder),
                Content::Static => panic!("taken for a static model"),
            }
        }

        fn refusal(&self) -> String {
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

    #[test]
    fn prompts_and_similarity() {
        let model = Model::new();
        let settings = |config| {
            model.write("config_sentence_transformers.json", config);
            model.read().map(|folder| (folder.query_prompt, folder.passage_prompt, folder.similarity))
        };
        let pair = json!({"prompts": {"query": "query: ", "passage": "passage: "}, "similarity_fn_name": "dot"});
        assert_eq!(settings(pair).unwrap(), ("query: ".into(), "passage: ".into(), Similarity::Dot));
        let default = json!({"prompts": {"query": "q ", "any": "a "}, "default_prompt_name": "any"});
        assert_eq!(settings(default).unwrap(), ("q ".into(), "a ".into(), Similarity::Cosine));
        for refused in [
            json!({"similarity_fn_name": "manhattan"}),
            json!({"default_prompt_name": "absent"}),
            json!({"prompts": {"query": 3}}),
            json!({"truncate_dim": 4}),
        ] {
            assert!(settings(refused.clone()).is_err(), "{refused}");
        }
        settings(json!({"prompts": {"query": "q "}})).unwrap();
        model.write("1/config.json", json!({"pooling_mode": "mean", "include_prompt": false}));
        assert!(model.refusal().contains("include_prompt"));
    }

    #[test]
    fn length_is_the_callers_the_folders_or_the_models() {
        let model = Model::new();
        let length = |max_tokens| match read(model.0.path(), &OpenOptions { max_tokens, pooling: None }) {
            Ok(Content::Transformer(folder)) => Ok(folder.max_tokens),
            other => Err(other.expect_err("not a transformer").kind()),
        };
        assert_eq!(length(None), Ok(32));
        model.write("tokenizer_config.json", json!({"model_max_length": 1e30}));
        assert_eq!(length(None), Ok(32));
        model.write("tokenizer_config.json", json!({"model_max_length": 24}));
        assert_eq!(length(None), Ok(24));
        model.write("sentence_bert_config.json", json!({"max_seq_length": 16, "do_lower_case": true}));
        assert_eq!((length(None), length(Some(20)), length(Some(33))), (Ok(16), Ok(20), Err(ErrorKind::Usage)));
        assert!(model.read().unwrap().lowercase);
    }

    #[test]
    fn a_plain_folder_says_that_its_pooling_is_assumed() {
        let model = Model::new();
        std::fs::remove_file(model.0.path().join("modules.json")).unwrap();
        let folder = model.read().unwrap();
        assert_eq!((folder.pooling, folder.pooling_assumed), (Pooling::Mean, true));
        std::fs::remove_file(model.0.path().join("config.json")).unwrap();
        assert!(model.refusal().contains("`config.json` is missing"));
        model.write("config.json", json!({"model_type": "model2vec"}));
        assert!(matches!(read(model.0.path(), &OpenOptions::default()), Ok(Content::Static)));
    }
}

//! What a model folder says: its modules, pooling, prompts, similarity and length, each honoured or refused.
//!
//! A folder goes in, in the layout of sentence-transformers or as a plain Hugging Face model; a description comes
//! out from which [`open`](super::open) builds the encoder.
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

use super::config::{Config, Object};
use super::contract::{Precision, Similarity};
use super::modules::{Step, chain, modules};
use super::pooling::Pooling;
use crate::error::{Error, ErrorKind, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the caller wants other than the folder says.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// The pooling, whatever the folder says; `None` leaves it to the folder.
    pub pooling: Option<Pooling>,
    /// Tokens after which texts are cut, special tokens among them; `None` leaves it to the folder.
    pub max_tokens: Option<usize>,
    /// What a transformer of the BERT family multiplies its weights in; other families know f32 alone.
    pub precision: Precision,
}

/// A transformer's folder, read.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Where config, tokenizer and weights lie.
    pub(crate) transformer: PathBuf,
    pub(crate) config: Config,
    pub(crate) pooling: Pooling,
    /// The folder names no pooling.
    pub(crate) pooling_assumed: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) lowercase: bool,
    pub(crate) max_tokens: usize,
    pub(crate) query_prompt: String,
    pub(crate) passage_prompt: String,
    pub(crate) similarity: Similarity,
}

/// Which encoder a folder holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// A table of token rows: [`fixed`](super::fixed) opens it.
    Static,
    /// A transformer.
    Transformer(Box<Folder>),
}

/// Reads a folder's description; weights and tokenizer are not opened yet.
pub(crate) fn read(root: &Path, options: &OpenOptions) -> Result<Content> {
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
    let prompted = !query_prompt.is_empty() || !passage_prompt.is_empty();
    if prompted && !include_prompt {
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
pub(crate) fn missing(folder: &Path, file: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{file}` is missing from the model folder `{}`", folder.display()))
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

/// Prompts for queries and passages, and the similarity, from `config_sentence_transformers.json`; of every family.
pub(crate) fn settings(root: &Path) -> Result<(String, String, Similarity)> {
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
    use super::super::modules::tests::Model;
    use super::*;
    use serde_json::json;

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
        let length = |max_tokens| match read(model.0.path(), &OpenOptions { max_tokens, ..OpenOptions::default() }) {
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

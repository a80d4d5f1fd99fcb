//! What a transformer's `config.json` says: the family and its sizes, checked before anything is allocated by them.
//!
//! A JSON object goes in, a [`Config`] comes out. Each setting is honoured or refused: an unknown `model_type`,
//! another activation than the GELU of the error function, relative positions, biases where the family has none.
//! Sizes are bounded here only where the weights' own shapes, compared later, do not bound them.

use crate::error::{Error, ErrorKind, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A description file larger than this describes no model.
const LARGEST: u64 = 16 << 20;

/// A JSON object read from a file, whose entries are asked for with their type.
pub(crate) struct Object {
    pub(crate) path: PathBuf,
    entries: Map<String, Value>,
}

/// Reads and parses a description file, bounded in size (depth is bounded by the parser).
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let bytes = read_bounded(path, LARGEST)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::at_line(path, e.line() as u64, "invalid JSON").because(e))
}

/// Reads a whole file unless it is larger than `largest` bytes.
pub(crate) fn read_bounded(path: &Path, largest: u64) -> Result<Vec<u8>> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, "inspect", e))?.len();
    if length > largest {
        let message = format!("{length} bytes are more than the {largest} this file may have");
        return Err(Error::new(ErrorKind::Limit, message).in_file(path));
    }
    std::fs::read(path).map_err(|e| Error::io(path, "read", e))
}

impl Object {
    /// Reads a file that has to hold an object.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match read_json(path)? {
            Value::Object(entries) => Ok(Object { path: path.to_path_buf(), entries }),
            _ => Err(Error::bad_input("not a JSON object").in_file(path)),
        }
    }

    /// Reads a file that may be absent.
    pub(crate) fn read_if_there(path: &Path) -> Result<Option<Self>> {
        if path.exists() { Object::read(path).map(Some) } else { Ok(None) }
    }

    /// An entry; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(&'a self, key: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.refuse(format!("`{key}` is {value}, expected {expected}")))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", Value::as_str)
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(crate) fn real(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// A size that has to be there and positive.
    pub(crate) fn positive(&self, key: &str) -> Result<usize> {
        match self.size(key)? {
            Some(0) => Err(self.refuse(format!("`{key}` is 0"))),
            Some(size) => Ok(size),
            None => Err(self.refuse(format!("`{key}` is missing"))),
        }
    }

    /// Refuses a setting that is there and is not the one value that is served.
    pub(crate) fn only(&self, key: &str, served: &[&str]) -> Result<()> {
        match self.text(key)? {
            Some(value) if !served.contains(&value) => {
                Err(self.refuse(format!("`{key}` is `{value}`; only `{}` is served", served.join("`, `"))))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a switch that is on.
    pub(crate) fn off(&self, key: &str) -> Result<()> {
        if self.flag(key)? { Err(self.refuse(format!("`{key}` is true, which is not served"))) } else { Ok(()) }
    }

    /// A refusal in this file.
    pub(crate) fn refuse(&self, message: String) -> Error {
        Error::bad_input(message).in_file(&self.path)
    }
}

/// The layouts that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Absolute positions from 0, two token types.
    Bert,
    /// BERT's layout with positions counted from after the padding id.
    Roberta,
    /// BERT's layout under other names, without token types.
    DistilBert,
    /// Rotary positions, local and global layers, gated feed-forward.
    ModernBert,
}

/// What only ModernBERT has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rotary {
    /// One layer of so many attends to the whole text, the others to a window.
    pub(crate) global_every: usize,
    /// Base of the rotary frequencies in global and in local layers.
    pub(crate) theta: [f64; 2],
    /// Tokens of the window, half on each side.
    pub(crate) window: usize,
}

/// Family and sizes of a transformer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) family: Family,
    /// `model_type` as written.
    pub(crate) model_type: String,
    pub(crate) vocab_size: usize,
    /// Components of a hidden state.
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    /// Attention heads; divides `hidden`.
    pub(crate) heads: usize,
    /// Width of the feed-forward layer.
    pub(crate) intermediate: usize,
    /// Rows of the position table.
    pub(crate) positions: usize,
    /// Rows of the token type table; 0 where there is none.
    pub(crate) types: usize,
    /// The ε of layer normalisation.
    pub(crate) epsilon: f64,
    pub(crate) pad: u32,
    pub(crate) rotary: Option<Rotary>,
}

impl Config {
    /// Reads `config.json`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let json = Object::read(path)?;
        let Some(model_type) = json.text("model_type")?.map(str::to_owned) else {
            return Err(json.refuse("`model_type` is missing".into()));
        };
        let family = match model_type.as_str() {
            "bert" => Family::Bert,
            "roberta" | "xlm-roberta" | "camembert" => Family::Roberta,
            "distilbert" => Family::DistilBert,
            "modernbert" => Family::ModernBert,
            other => {
                let message = format!("`model_type` is `{other}`, an encoder that is not served");
                return Err(json.refuse(message).hint(
                    "served are bert, roberta, xlm-roberta, camembert, distilbert, modernbert and static models",
                ));
            }
        };
        let distil = family == Family::DistilBert;
        let name = |usual, distilled| if distil { distilled } else { usual };
        json.only("position_embedding_type", &["absolute"])?;
        for activation in ["hidden_act", "hidden_activation", "activation"] {
            json.only(activation, &["gelu"])?;
        }
        for switch in ["is_decoder", "add_cross_attention", "attention_bias", "mlp_bias", "norm_bias"] {
            json.off(switch)?;
        }
        let pad = u32::try_from(json.size("pad_token_id")?.unwrap_or(0))
            .map_err(|_| json.refuse("`pad_token_id` does not fit 32 bits".into()))?;
        let epsilon = match family {
            Family::ModernBert => json.real("norm_eps")?.or(json.real("layer_norm_eps")?).unwrap_or(1e-5),
            // Fixed in the family's definition; its config has no entry for it.
            Family::DistilBert => 1e-12,
            _ => json.real("layer_norm_eps")?.unwrap_or(1e-12),
        };
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(json.refuse(format!("`layer_norm_eps` is {epsilon}, expected a small positive number")));
        }
        let config = Config {
            family,
            vocab_size: json.positive("vocab_size")?,
            hidden: json.positive(name("hidden_size", "dim"))?,
            layers: json.positive(name("num_hidden_layers", "n_layers"))?,
            heads: json.positive(name("num_attention_heads", "n_heads"))?,
            intermediate: json.positive(name("intermediate_size", "hidden_dim"))?,
            positions: json.positive("max_position_embeddings")?,
            types: match family {
                Family::Bert | Family::Roberta => json.positive("type_vocab_size")?,
                _ => 0,
            },
            epsilon,
            pad,
            rotary: if family == Family::ModernBert { Some(rotary(&json)?) } else { None },
            model_type,
        };
        if !config.hidden.is_multiple_of(config.heads) {
            let message = format!("{} hidden components cannot be shared by {} heads", config.hidden, config.heads);
            return Err(json.refuse(message));
        }
        if config.longest_text() == 0 {
            let message = format!("{} positions leave none for a text after padding id {pad}", config.positions);
            return Err(json.refuse(message));
        }
        Ok(config)
    }

    /// The position of a text's first token.
    pub(crate) fn first_position(&self) -> usize {
        if self.family == Family::Roberta { self.pad as usize + 1 } else { 0 }
    }

    /// Tokens for which there are positions.
    pub(crate) fn longest_text(&self) -> usize {
        self.positions.saturating_sub(self.first_position())
    }
}

/// Reads what ModernBERT adds, in the spelling of either generation of its config.
fn rotary(json: &Object) -> Result<Rotary> {
    // No tensor has this length, so nothing else bounds the tables made from it.
    const MOST_POSITIONS: usize = 1 << 17;
    if json.positive("max_position_embeddings")? > MOST_POSITIONS {
        return Err(json.refuse(format!("`max_position_embeddings` is above {MOST_POSITIONS}")));
    }
    if json.get("rope_scaling").is_some() {
        return Err(json.refuse("`rope_scaling` is set, which is not served".into()));
    }
    let theta = |kind: &str, old: &str, default: f64| -> Result<f64> {
        let new = json.get("rope_parameters").and_then(|parameters| parameters.get(kind));
        if let Some(rope) = new.and_then(|new| new.get("rope_type")).filter(|&rope| rope != "default") {
            return Err(json.refuse(format!("`rope_type` is {rope}; only `default` is served")));
        }
        let theta = new.and_then(|new| new.get("rope_theta")).and_then(Value::as_f64);
        let theta = theta.or(json.real(old)?).unwrap_or(default);
        if theta > 0.0 { Ok(theta) } else { Err(json.refuse(format!("`{old}` is {theta}"))) }
    };
    let global_every = match json.get("layer_types").and_then(Value::as_array) {
        None => json.size("global_attn_every_n_layers")?.unwrap_or(3),
        Some(types) => {
            let global = |at: usize| types[at] == "full_attention";
            let every = (1..types.len()).find(|&at| global(at)).unwrap_or(types.len().max(1));
            let regular = (0..types.len()).all(|at| global(at) == (at % every == 0));
            let known = types.iter().all(|kind| kind == "full_attention" || kind == "sliding_attention");
            if !regular || !known {
                return Err(json.refuse("`layer_types` do not alternate regularly, which is not served".into()));
            }
            every
        }
    };
    if global_every == 0 {
        return Err(json.refuse("`global_attn_every_n_layers` is 0".into()));
    }
    Ok(Rotary {
        global_every,
        theta: [
            theta("full_attention", "global_rope_theta", 160_000.0)?,
            theta("sliding_attention", "local_rope_theta", 10_000.0)?,
        ],
        window: json.size("local_attention")?.unwrap_or(128),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: Value) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        Config::read(&path)
    }

    fn bert() -> Value {
        json!({"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
               "intermediate_size": 16, "max_position_embeddings": 32, "type_vocab_size": 2, "hidden_act": "gelu"})
    }

    #[test]
    fn settings_that_cannot_be_honoured_are_refused_by_name() {
        assert_eq!(read(bert()).unwrap().longest_text(), 32);
        for (key, value) in [
            ("model_type", json!("t5")),
            ("model_type", json!(null)),
            ("hidden_act", json!("relu")),
            ("position_embedding_type", json!("relative_key")),
            ("num_attention_heads", json!(0)),
            ("num_attention_heads", json!(3)),
            ("hidden_size", json!(-8)),
            ("hidden_size", json!("8")),
            ("vocab_size", json!(null)),
            ("layer_norm_eps", json!(0.0)),
            ("is_decoder", json!(true)),
        ] {
            let mut config = bert();
            config[key] = value.clone();
            let refusal = read(config).expect_err(key);
            let known = refusal.message().contains(key) || key.contains("heads");
            assert!(known && refusal.place().0.is_some(), "{key} = {value}: {refusal}");
        }
    }

    #[test]
    fn roberta_counts_positions_from_after_its_padding() {
        let mut config = bert();
        config["model_type"] = json!("xlm-roberta");
        config["pad_token_id"] = json!(1);
        let config = read(config).unwrap();
        assert_eq!((config.family, config.first_position(), config.longest_text()), (Family::Roberta, 2, 30));
    }

    #[test]
    fn both_spellings_of_modernbert_mean_the_same() {
        let mut old = bert();
        old["model_type"] = json!("modernbert");
        let mut new = old.clone();
        old["global_attn_every_n_layers"] = json!(2);
        old["global_rope_theta"] = json!(5000.0);
        new["layer_types"] = json!(["full_attention", "sliding_attention", "full_attention"]);
        new["rope_parameters"] = json!({"full_attention": {"rope_type": "default", "rope_theta": 5000.0}});
        let old = read(old).unwrap().rotary.unwrap();
        assert_eq!(old, Rotary { global_every: 2, theta: [5000.0, 10_000.0], window: 128 });
        assert_eq!(read(new.clone()).unwrap().rotary, Some(old));
        new["layer_types"] = json!(["full_attention", "full_attention", "sliding_attention"]);
        assert!(read(new).unwrap_err().message().contains("layer_types"));
    }
}

//! A static model as a folder that sentence-transformers and this program open.
//!
//! ```text
//! modules.json                          StaticEmbedding, Normalize
//! config_sentence_transformers.json     cosine, no prompts
//! 0_StaticEmbedding/tokenizer.json      WordPiece, uncased
//! 0_StaticEmbedding/model.safetensors   embedding.weight [n, d] f32
//! model.bin                             the compact form, int8 with a scale a row
//! README.md                             where it comes from
//! ```
//!
//! Both forms hold the same numbers: the f32 rows are the int8 rows times their scales.

use super::Distilled;
use crate::encoder::fixed::StaticModel;
use crate::error::{Error, Result};
use crate::storage::{create_folder, write_atomically};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::Path;

/// What a model card says about where a model comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The teacher, as the user named it, and its fingerprint.
    pub teacher: (String, String),
    /// The texts: names with sha256.
    pub texts: Vec<(String, String)>,
    /// The command that made it.
    pub command: String,
}

/// Writes the folder; files of the same names are replaced.
pub fn write(distilled: &Distilled, origin: &Origin, folder: &Path) -> Result<()> {
    let model = &distilled.model;
    let inner = folder.join("0_StaticEmbedding");
    create_folder(&inner)?;
    let weights: Vec<u8> = model.values().iter().flat_map(|x| x.to_le_bytes()).collect();
    let shape = vec![model.vocabulary().len(), model.dimension()];
    let weights = TensorView::new(Dtype::F32, shape, &weights)
        .and_then(|view| safetensors::serialize([("embedding.weight", view)], None))
        .map_err(|e| Error::bug("rows do not have the shape they were given").because(e))?;
    let pretty = |json: Value| format!("{json:#}\n").into_bytes();
    write_atomically(&inner.join("model.safetensors"), &weights)?;
    write_atomically(&inner.join("tokenizer.json"), &pretty(tokenizer(model)))?;
    write_atomically(&folder.join("model.bin"), &model.to_bytes())?;
    write_atomically(&folder.join("README.md"), card(distilled, origin).as_bytes())?;
    let settings = json!({"prompts": {}, "default_prompt_name": null, "similarity_fn_name": "cosine"});
    write_atomically(&folder.join("config_sentence_transformers.json"), &pretty(settings))?;
    let module = |idx: u8, kind: &str| {
        json!({"idx": idx, "name": idx.to_string(), "path": format!("{idx}_{kind}"),
               "type": format!("sentence_transformers.models.{kind}")})
    };
    // Last: a folder without it is not taken for a model.
    let modules = json!([module(0, "StaticEmbedding"), module(1, "Normalize")]);
    create_folder(&folder.join("1_Normalize"))?;
    write_atomically(&folder.join("modules.json"), &pretty(modules))
}

/// The tokenizer in the tokenizers crate's format.
fn tokenizer(model: &StaticModel) -> Value {
    let vocabulary: Map<String, Value> =
        model.vocabulary().iter().enumerate().map(|(id, entry)| (entry.clone(), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": true, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

fn card(distilled: &Distilled, origin: &Origin) -> String {
    let Distilled { model, fitted, held_out, agreement } = distilled;
    let (n, d) = (model.vocabulary().len(), model.dimension());
    let mut card = String::from(
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\ntags:\n- static-embeddings\n---\n\n",
    );
    let _ = write!(
        card,
        "# A static encoder\n\n{n} tokens, rows of {d} components, cosine similarity. Distilled from `{}` \
         (fingerprint `{}`): the token rows were fitted to the teacher's rows of {fitted} texts. On {held_out} texts \
         kept apart the mean cosine of student and teacher is {agreement:.3}.\n\nThe licences of teacher and texts \
         apply to what was made of them.\n",
        origin.teacher.0, origin.teacher.1
    );
    if !origin.command.is_empty() {
        let _ = write!(card, "\n```\n{}\n```\n", origin.command);
    }
    if !origin.texts.is_empty() {
        card.push_str("\n| texts | sha256 |\n| --- | --- |\n");
        origin.texts.iter().for_each(|(name, hash)| {
            let _ = writeln!(card, "| {name} | `{hash}` |");
        });
    }
    card
}

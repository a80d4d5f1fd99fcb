//! A distilled model's folder and its card; the folder is [`static_folder`]'s.

use super::Distilled;
use crate::encoder::contract::Similarity;
use crate::error::Result;
use crate::train::static_folder;
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
    static_folder::write_model(&distilled.model, Similarity::Cosine, &card(distilled, origin), folder)
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

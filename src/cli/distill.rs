//! `distill`: a static encoder out of a transformer.

use super::args::{self, Reading};
use super::demo;
use super::fetch;
use super::ui::{Ui, bold, thousands};
use parallax::collection::read::{self, Source};
use parallax::encoder::contract::Precision;
use parallax::train::distill::{Options, Origin, distill, write};
use parallax::{Error, Result, Silent, encoder, storage};
use std::path::{Path, PathBuf};

/// Distil a transformer into a static encoder.
///
/// Learns a vocabulary from texts and fits a row to each entry, so that summing a text's rows comes near to what the
/// teacher says of it. The result encodes thousands of passages a second, is a sentence-transformers folder, and serves as
/// `--encoder`. The built-in encoder was made by this command.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Encoder to learn from: a model folder, or owner/name from the hub.
    #[arg(long, value_name = "DIR")]
    teacher: String,
    /// Collections whose passages the vocabulary and the rows are learnt from; the bundled one by default, which is small.
    #[arg(long, value_name = "SOURCE", num_args = 1..)]
    texts: Vec<PathBuf>,
    /// Most entries of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = Options::default().vocabulary)]
    vocabulary: usize,
    /// Components a row.
    #[arg(long, value_name = "N", default_value_t = Options::default().dimensions)]
    dimensions: usize,
    /// Texts the teacher encodes; more take longer and fit better.
    #[arg(long, value_name = "N", default_value_t = Options::default().texts)]
    sample: usize,
    /// Folder to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    if args.output.join("modules.json").exists() {
        return Err(Error::usage(format!("`{}` holds a model already", args.output.display()))
            .hint("name another folder, or remove this one"));
    }
    let choice = fetch::choice(&args.teacher, ui)?;
    let teacher = encoder::open_named(&choice.location, &choice.name, Precision::F32)?;
    let sources = if args.texts.is_empty() { demo::collection().to_vec() } else { args::sources(&args.texts) };
    if let Some(piped) = sources.iter().find(|source| source.is_stdin()) {
        return Err(Error::usage(format!("texts are read twice, and `{piped}` can be read once")).hint("name files"));
    }
    let origin = Origin {
        teacher: (choice.name.clone(), teacher.card().fingerprint.clone()),
        texts: sources.iter().map(described).collect::<Result<_>>()?,
        command: ui.command().to_string(),
    };
    let options = Options { vocabulary: args.vocabulary, dimensions: args.dimensions, texts: args.sample };
    let reading = args.reading.options(None);
    let progress = ui.progress();
    let distilled = distill(
        teacher.as_ref(),
        &mut |take| {
            read::passages(&sources, &reading, &Silent, &mut |passage| {
                take(&passage.full_text());
                Ok(())
            })
            .map(|_| ())
        },
        &options,
        &progress,
    )?;
    write(&distilled, &origin, &args.output)?;
    ui.note(&format!(
        "{} {}   {} rows of {}   fitted to {} texts   cosine to the teacher {:.3} on {} others",
        bold("wrote"),
        args.output.display(),
        thousands(distilled.model.vocabulary().len() as u64),
        distilled.model.dimension(),
        thousands(distilled.fitted as u64),
        distilled.agreement,
        thousands(distilled.held_out as u64)
    ));
    Ok(())
}

/// A source's file name and sha256, which is what a model card can promise.
fn described(source: &Source) -> Result<(String, String)> {
    let path = source.path();
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let parent = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = parent.map_or(name.clone(), |parent| format!("{parent}/{name}"));
    let hash = if path.is_file() { storage::record(path, &Silent)?.sha256 } else { "a folder".to_string() };
    Ok((name, hash))
}

//! Token, position and type rows of texts, and their gradients.
//!
//! ```text
//! x_t = word[id_t] + position[p_t] + type[0]        d word[id] = Σ_{t: id_t = id} dx_t, in the order of t
//! ```
//!
//! The row of the padding id gets no gradient, as in PyTorch: where it stands in a text it is a user's `[PAD]`.
//!
//! Cost: one pass over the rows; the way back adds them one after the other, so that sums do not depend on threads.

use crate::encoder::config::{Config, Family};

/// The position of each token of a text.
pub(crate) fn positions(config: &Config, ids: &[u32]) -> impl Iterator<Item = usize> {
    let roberta = config.family == Family::Roberta;
    let (pad, mut next) = (config.pad, config.first_position());
    ids.iter().map(move |&id| {
        // RoBERTa gives a padding token inside a text its own position and does not count it.
        if roberta && id == pad {
            return pad as usize;
        }
        next += 1;
        next - 1
    })
}

/// Tables of rows, `[·, h]` each.
pub(crate) struct Tables<T> {
    pub(crate) words: T,
    pub(crate) positions: T,
    /// `None` in families without token types.
    pub(crate) types: Option<T>,
}

/// Sums of a text's rows into `out`, `[n, h]`.
pub(crate) fn forward(config: &Config, tables: &Tables<&[f32]>, ids: &[u32], out: &mut [f32]) {
    let h = config.hidden;
    for ((&id, position), out) in ids.iter().zip(positions(config, ids)).zip(out.chunks_exact_mut(h)) {
        let (word, position) = (&tables.words[id as usize * h..][..h], &tables.positions[position * h..][..h]);
        match tables.types {
            Some(types) => {
                for (((out, &word), &position), &kind) in out.iter_mut().zip(word).zip(position).zip(types) {
                    *out = word + (position + kind);
                }
            }
            None => {
                for ((out, &word), &position) in out.iter_mut().zip(word).zip(position) {
                    *out = word + position;
                }
            }
        }
    }
}

/// Adds the gradient `d`, `[n, h]`, of a text's rows to the rows they came from.
pub(crate) fn backward(config: &Config, ids: &[u32], d: &[f32], into: &mut Tables<&mut [f32]>) {
    let h = config.hidden;
    let add = |to: &mut [f32], d: &[f32]| to.iter_mut().zip(d).for_each(|(to, &d)| *to += d);
    let roberta = config.family == Family::Roberta;
    for ((&id, position), d) in ids.iter().zip(positions(config, ids)).zip(d.chunks_exact(h)) {
        if id != config.pad {
            add(&mut into.words[id as usize * h..][..h], d);
        }
        if !(roberta && position == config.pad as usize) {
            add(&mut into.positions[position * h..][..h], d);
        }
        if let Some(types) = &mut into.types {
            add(&mut types[..h], d);
        }
    }
}

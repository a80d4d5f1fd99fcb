//! Teaching encoders: texts in, a model folder out.
//!
//! [`vocabulary`] learns which tokens there are, [`distill`] fits a static encoder's rows to a teacher's. [`train()`]
//! teaches a dual encoder from examples, a static one ([`fixed`]) or a transformer ([`bert`]):
//!
//! ```text
//! example files ─ data: tokens, groups of twins ─► batch: one step's texts and forbidden columns
//!    ─► gradcache: rows of the towers ─► loss ─► gradients ─► optimizer ─► weights ─► validation, checkpoint, folder
//! ```

pub mod batch;
pub mod bert;
pub mod checkpoint;
pub mod data;
pub mod distill;
pub mod fixed;
pub mod gradcache;
pub mod gradients;
pub mod loss;
mod ops;
pub mod optimizer;
pub mod options;
mod static_folder;
pub mod tower;
pub mod trainer;
pub mod vocabulary;

pub use options::TrainOptions;
pub use trainer::{Claim, Hooks, TrainReport, Validation, train};

use crate::error::{Error, Result};
pub use candle_core::Device;

/// candle's refusal: shapes and devices are ours to get right.
pub(crate) fn failed(cause: candle_core::Error) -> Error {
    Error::bug("candle refused an operation of the training").because(cause)
}

/// The device of a name: `cpu`, or `cuda` (the first GPU) where the program was built for it.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Device::new_cuda(0).map_err(|e| {
            Error::usage("there is no CUDA device to train on")
                .because(e)
                .hint("`--device cpu`; or build with `--features cuda` where there is a GPU")
        }),
        other => Err(Error::usage(format!("`{other}` is no device")).hint("`cpu` or `cuda`")),
    }
}

//! Teaching encoders: texts in, a model folder out.
//!
//! [`vocabulary`] learns which tokens there are, [`distill`] fits a static encoder's rows to a teacher's.
//! [`bert`] is a transformer that can be trained.

pub mod bert;
pub mod distill;
mod ops;
pub mod tower;
pub mod vocabulary;

use crate::error::Error;

/// candle's refusal: shapes and devices are ours to get right.
pub(crate) fn failed(cause: candle_core::Error) -> Error {
    Error::bug("candle refused an operation of the training").because(cause)
}

//! Teaching encoders.

pub mod distill;
pub mod vocabulary;

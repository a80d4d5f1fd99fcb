//! Teaching encoders: texts in, a model folder out.
//!
//! [`vocabulary`] learns which tokens there are, [`distill`] fits a static encoder's rows to a teacher's.

pub mod distill;
pub mod tower;
pub mod vocabulary;

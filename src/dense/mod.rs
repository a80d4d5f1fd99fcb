//! Dense.

pub mod exact;
pub mod rows;

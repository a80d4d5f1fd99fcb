//! Encoders: texts in, rows out.

pub mod batch;
pub mod bert;
pub mod candle;
pub mod contract;
pub mod fixed;
pub mod folder;
pub mod pooling;
pub mod wordpiece;

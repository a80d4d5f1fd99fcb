//! Reports: a comparison written down, as a page to read and as data to go on with.
//!
//! In flow a [`Comparison`](super::Comparison); it becomes a [`Report`] ([`assemble`]), and each format is a function of
//! that alone: [`json`](json()) is the contract, the others are for reading.

pub mod assemble;
pub mod json;
pub mod model;

pub use assemble::Provenance;
pub use json::json;
pub use model::Report;

//! Arithmetic on rows, chosen at run time for the processor at hand; the unsafe arithmetic of the house lives here.

pub mod dot;
pub mod linear;
pub mod matmul;
pub mod scores;

mod arm;
mod plain;
mod x86;

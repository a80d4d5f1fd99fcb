//! One binary for all tests of the program as a whole.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;
/// The house rules as tests.
mod tidy;

//! bert.

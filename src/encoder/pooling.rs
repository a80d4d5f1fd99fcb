//! pooling.

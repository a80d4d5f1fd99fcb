//! particles.

//! shingles.

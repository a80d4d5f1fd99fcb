//! A planted case for each cause.

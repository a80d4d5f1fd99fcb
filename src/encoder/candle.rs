//! candle.

//! wordpiece.

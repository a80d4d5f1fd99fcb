//! Why did each side miss? For every query whose gold passage is not among the first `k`, the causes that hold.

mod model;

pub use model::{Cause, DEEP, Diagnosis, Miss, Reason, Shown, SystemMisses, TOP, Verdict};

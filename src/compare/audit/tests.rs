//! Planted faults are found and counted.

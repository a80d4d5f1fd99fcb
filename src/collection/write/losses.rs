//! What a layout has no room for, counted by kind.

use std::collections::BTreeMap;

/// Counts what gets lost, by kind.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeMap<String, u64>);

impl Losses {
    /// Notes `count` losses of one kind.
    pub(super) fn add(&mut self, what: impl Into<String>, count: u64) {
        if count > 0 {
            *self.0.entry(what.into()).or_default() += count;
        }
    }

    /// One sentence a kind, the count first.
    pub(super) fn sentences(self) -> Vec<String> {
        self.0.into_iter().map(|(what, count)| format!("{count} {what}")).collect()
    }
}

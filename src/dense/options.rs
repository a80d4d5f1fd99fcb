//! How a graph is to be built: by whom, and with how many links.

use super::adjacency::MAX_M;
use crate::error::{Error, Result};
use std::str::FromStr;

/// Who builds the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GraphBuilder {
    /// Ours.
    #[default]
    Parallax,
    /// The hnsw_rs crate.
    HnswRs,
}

impl GraphBuilder {
    /// The name command lines and manifests use.
    pub fn name(self) -> &'static str {
        match self {
            GraphBuilder::Parallax => "parallax",
            GraphBuilder::HnswRs => "hnsw-rs",
        }
    }
}

impl FromStr for GraphBuilder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [GraphBuilder::Parallax, GraphBuilder::HnswRs].into_iter().find(|builder| builder.name() == name).ok_or_else(
            || {
                Error::usage(format!("no graph builder is called `{name}`"))
                    .hint("builders are `parallax` and `hnsw-rs`")
            },
        )
    }
}

/// How a graph is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphOptions {
    /// Links a row makes on each level; it keeps up to twice as many on level 0. 16 is what hnswlib and hnsw_rs
    /// recommend for some hundred dimensions.
    pub m: usize,
    /// Nearest rows a new row looks for. 200 is hnswlib's default.
    pub ef_construction: usize,
    /// Decides the levels (and the sample recall is measured on).
    pub seed: u64,
}

impl Default for GraphOptions {
    fn default() -> Self {
        GraphOptions { m: 16, ef_construction: 200, seed: 42 }
    }
}

impl GraphOptions {
    pub(super) fn check(&self) -> Result<()> {
        if !(2..=MAX_M).contains(&self.m) {
            return Err(Error::usage(format!("a graph's m is 2 to {MAX_M}, not {}", self.m)));
        }
        if self.ef_construction < self.m {
            let (ef, m) = (self.ef_construction, self.m);
            return Err(Error::usage(format!("ef_construction {ef} is less than the {m} links it has to find")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn options_out_of_range_are_refused() {
        for (m, ef_construction) in [(1, 200), (129, 200), (16, 15)] {
            let error = GraphOptions { m, ef_construction, seed: 1 }.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
        GraphOptions { m: 128, ef_construction: 128, seed: 1 }.check().unwrap();
    }

    #[test]
    fn builders_have_names() {
        for builder in [GraphBuilder::Parallax, GraphBuilder::HnswRs] {
            assert_eq!(builder.name().parse::<GraphBuilder>().unwrap(), builder);
        }
        assert_eq!("hnsw".parse::<GraphBuilder>().unwrap_err().kind(), ErrorKind::Usage);
    }
}

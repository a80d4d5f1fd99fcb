//! How the components of rows are stored.

use crate::error::{Error, Result};
use crate::kernel::dot::int8;
use std::str::FromStr;

/// What a component of a row is on disk. What each loses is said in [`store`](super::store).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueKind {
    /// As the encoder gives it: 4 bytes.
    #[default]
    F32,
    /// Rounded to 11 significant bits: 2 bytes.
    F16,
    /// A whole number from -127 to 127 times a scale of its row: 1 byte.
    Int8,
}

impl ValueKind {
    const ALL: [ValueKind; 3] = [ValueKind::F32, ValueKind::F16, ValueKind::Int8];

    /// What suits `n` rows of `d` components when nobody says: int8 where searches walk the graph
    /// ([`GRAPH_PAYS_FROM`](super::GRAPH_PAYS_FROM)), for a quarter more disk and three quarters of the time; f32
    /// below.
    pub fn fitting(n: usize, d: usize) -> ValueKind {
        if n >= super::GRAPH_PAYS_FROM && d <= int8::MAX_DIMENSION { ValueKind::Int8 } else { ValueKind::F32 }
    }

    /// The name command lines and manifests use.
    pub fn name(self) -> &'static str {
        match self {
            ValueKind::F32 => "f32",
            ValueKind::F16 => "f16",
            ValueKind::Int8 => "int8",
        }
    }

    /// The number files use.
    pub(super) fn code(self) -> u64 {
        match self {
            ValueKind::F32 => 0,
            ValueKind::F16 => 1,
            ValueKind::Int8 => 2,
        }
    }

    /// The kind of that number.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        ValueKind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl FromStr for ValueKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        ValueKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::usage(format!("vectors are not stored as `{name}`")).hint("they are stored as f32, f16 or int8")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn kinds_have_names_and_numbers() {
        for kind in ValueKind::ALL {
            assert_eq!(kind.name().parse::<ValueKind>().unwrap(), kind);
            assert_eq!(ValueKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!("int4".parse::<ValueKind>().unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(ValueKind::from_code(3), None);
    }

    #[test]
    fn many_rows_are_compared_in_eight_bits() {
        assert_eq!(ValueKind::fitting(19_999, 256), ValueKind::F32);
        assert_eq!(ValueKind::fitting(20_000, 256), ValueKind::Int8);
        assert_eq!(ValueKind::fitting(20_000, int8::MAX_DIMENSION + 1), ValueKind::F32);
    }
}

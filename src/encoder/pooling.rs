//! Pooling: the hidden states of a text's tokens in, one row out.
//!
//! With hidden states `h` of shape `[n, d]`, `n ≥ 1` tokens of `d` components:
//!
//! ```text
//! cls   r_j = h_0j                 mean  r_j = Σ_i h_ij / n                 max  r_j = max_i h_ij
//! unit  r / max(‖r‖₂, 1e-12)
//! ```
//!
//! ```
//! use parallax::encoder::pooling::{Pooling, normalize};
//! let hidden = [3.0, 0.0, 3.0, 8.0]; // two tokens of two components
//! let mut row = [0.0; 2];
//! Pooling::Mean.pool(&hidden, &mut row);
//! assert_eq!(row, [3.0, 4.0]);
//! normalize(&mut row);
//! assert_eq!(row, [0.6, 0.8]);
//! ```
//!
//! Cost: one pass over `[n, d]`. Source: N. Reimers, I. Gurevych, Sentence-BERT, 2019 (the three poolings compared).

/// How token rows become one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's row: the `[CLS]` token of BERT.
    Cls,
    /// The average of all token rows, special tokens among them.
    Mean,
    /// The largest value of each component.
    Max,
}

impl Pooling {
    /// The name folders, manifests and screens use.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Cls => "cls",
            Pooling::Mean => "mean",
            Pooling::Max => "max",
        }
    }

    /// The pooling of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Pooling::Cls, Pooling::Mean, Pooling::Max].into_iter().find(|pooling| pooling.name() == name)
    }

    /// Pools hidden states `[n, d]` into `row`, of length `d`; zero when there is no token.
    pub fn pool(self, hidden: &[f32], row: &mut [f32]) {
        row.fill(0.0);
        let mut tokens = hidden.chunks_exact(row.len().max(1));
        let count = tokens.len();
        let Some(first) = tokens.next() else { return };
        row.copy_from_slice(first);
        match self {
            Pooling::Cls => {}
            Pooling::Mean => {
                tokens.for_each(|token| row.iter_mut().zip(token).for_each(|(sum, &x)| *sum += x));
                let inverse = 1.0 / count as f32;
                row.iter_mut().for_each(|sum| *sum *= inverse);
            }
            Pooling::Max => {
                // Not `f32::max`, which would drop a NaN that has to be reported.
                let keep = |most: &mut f32, x: f32| *most = if *most >= x { *most } else { x };
                tokens.for_each(|token| row.iter_mut().zip(token).for_each(|(most, &x)| keep(most, x)));
            }
        }
    }
}

/// Scales a row to unit length; a zero row stays zero.
pub fn normalize(row: &mut [f32]) {
    // In f64: squares of large components would overflow f32 and turn the row into zeros.
    let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let inverse = 1.0 / length.max(1e-12);
    row.iter_mut().for_each(|x| *x = (f64::from(*x) * inverse) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pooled(pooling: Pooling, hidden: &[f32], d: usize) -> Vec<f32> {
        let mut row = vec![9.0; d];
        pooling.pool(hidden, &mut row);
        row
    }

    #[test]
    fn three_tokens_by_hand() {
        let hidden = [1.0, -5.0, 2.0, -1.0, 6.0, -3.0];
        assert_eq!(pooled(Pooling::Cls, &hidden, 2), [1.0, -5.0]);
        assert_eq!(pooled(Pooling::Mean, &hidden, 2), [3.0, -3.0]);
        assert_eq!(pooled(Pooling::Max, &hidden, 2), [6.0, -1.0]);
        assert_eq!(pooled(Pooling::Mean, &[], 2), [0.0, 0.0]);
    }

    #[test]
    fn what_is_not_a_number_stays_visible() {
        for pooling in [Pooling::Mean, Pooling::Max] {
            assert!(pooled(pooling, &[1.0, f32::NAN], 1)[0].is_nan(), "{pooling:?}");
        }
    }

    #[test]
    fn names_lead_back() {
        for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
            assert_eq!(Pooling::from_name(pooling.name()), Some(pooling));
        }
        assert_eq!(Pooling::from_name("lasttoken"), None);
    }

    proptest! {
        #[test]
        fn mean_lies_below_max_and_order_of_later_tokens_does_not_matter(tokens in proptest::collection::vec(-9.0f32..9.0, 1..30)) {
            let mut turned = tokens.clone();
            turned[1..].reverse();
            for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
                prop_assert!((pooled(pooling, &tokens, 1)[0] - pooled(pooling, &turned, 1)[0]).abs() < 1e-5);
            }
            prop_assert!(pooled(Pooling::Mean, &tokens, 1)[0] <= pooled(Pooling::Max, &tokens, 1)[0] + 1e-5);
        }

        #[test]
        fn rows_become_unit_rows(mut row in proptest::collection::vec(-1e30f32..1e30, 1..20)) {
            let zero = row.iter().all(|&x| x == 0.0);
            normalize(&mut row);
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            let want = if zero { 0.0 } else { 1.0 };
            prop_assert!((length - want).abs() < 1e-5);
        }
    }
}

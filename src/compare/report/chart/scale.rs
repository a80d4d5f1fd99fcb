//! From a value to a place on paper, and the round numbers to write beside it.
//!
//! ```
//! use parallax::compare::report::chart::scale::Scale;
//! let scale = Scale::linear((0.0, 1.0), (100.0, 0.0));
//! assert_eq!(scale.at(0.25), 75.0);
//! assert_eq!(scale.ticks(5), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
//! let log = Scale::log((1.0, 100.0), (0.0, 200.0));
//! assert_eq!((log.at(10.0), log.ticks(5)), (100.0, vec![1.0, 10.0, 100.0]));
//! ```

/// A straight or logarithmic map of values to coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    values: (f64, f64),
    places: (f64, f64),
    log: bool,
}

impl Scale {
    /// Equal steps are equally far apart. A span of no width is widened.
    pub fn linear(values: (f64, f64), places: (f64, f64)) -> Self {
        let wide = if values.1 > values.0 { values } else { (values.0 - 0.5, values.0 + 0.5) };
        Scale { values: wide, places, log: false }
    }

    /// Equal ratios are equally far apart; values are positive. A span of no width is widened.
    pub fn log(values: (f64, f64), places: (f64, f64)) -> Self {
        let low = values.0.max(f64::MIN_POSITIVE);
        let wide = if values.1 > low { (low, values.1) } else { (low / 2.0, low * 2.0) };
        Scale { values: wide, places, log: true }
    }

    /// Where a value stands; one outside the span stands at its end.
    pub fn at(&self, value: f64) -> f64 {
        let bent = |value: f64| if self.log { value.ln() } else { value };
        let (low, high) = (bent(self.values.0), bent(self.values.1));
        let part = (bent(value.clamp(self.values.0, self.values.1)) - low) / (high - low);
        self.places.0 + part * (self.places.1 - self.places.0)
    }

    /// Round values inside the span, about `wanted` of them: multiples of 1, 2 or 5 times a power of ten; on a
    /// logarithmic scale powers of ten, with their twofold and fivefold where the span is short.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        let (low, high) = self.values;
        let slack = 1e-9 * (high - low);
        if self.log {
            let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
            let of = |steps: &[f64]| -> Vec<f64> {
                let all = decades.clone().flat_map(|d| steps.iter().map(move |step| step * 10f64.powi(d)));
                all.filter(|tick| (low - slack..=high + slack).contains(tick)).collect()
            };
            let fine = of(&[1.0, 2.0, 5.0]);
            return if fine.len() <= wanted { fine } else { of(&[1.0]) };
        }
        let rough = (high - low) / wanted.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(power * 10.0);
        let first = ((low - slack) / step).ceil() as i64;
        let last = ((high + slack) / step).floor() as i64;
        // Whole steps divided, not tenths summed up: .3 and not .30000000000000004.
        let inverse = (1.0 / step).round();
        let tick = |i: i64| if step < 1.0 { i as f64 / inverse } else { i as f64 * step };
        (first..=last).map(tick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear((0.5, 0.78), (0.0, 1.0)).ticks(4), [0.5, 0.6, 0.7]);
        assert_eq!(Scale::linear((-1.0, 1.0), (0.0, 1.0)).ticks(4), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(Scale::linear((0.0, 2500.0), (0.0, 1.0)).ticks(5), [0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0]);
        assert_eq!(Scale::log((3.0, 60.0), (0.0, 1.0)).ticks(6), [5.0, 10.0, 20.0, 50.0]);
        assert_eq!(Scale::log((0.02, 900.0), (0.0, 1.0)).ticks(6), [0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn a_point_is_a_span_too() {
        assert_eq!(Scale::linear((2.0, 2.0), (0.0, 10.0)).at(2.0), 5.0);
        assert!((Scale::log((4.0, 4.0), (0.0, 10.0)).at(4.0) - 5.0).abs() < 1e-12);
        assert_eq!(Scale::linear((0.0, 1.0), (0.0, 10.0)).at(7.0), 10.0);
    }
}

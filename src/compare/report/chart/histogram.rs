//! How a signed quantity is spread around 0: score margins.

use super::scale::Scale;
use super::{Frame, px, short};
use crate::compare::report::words::counted;
use maud::{Markup, html};

/// Bins on the longer side of 0.
const BINS: usize = 16;

/// Bars over bins of one width with an edge at 0; what is above 0 is drawn as a gain, what is below as a loss.
pub fn histogram(values: &[f64], label: &str, below: &str) -> Markup {
    let frame = Frame { height: 190.0, ..Frame::standard() };
    let far = values.iter().fold(0.0f64, |far, value| far.max(value.abs()));
    if far == 0.0 {
        return html! {};
    }
    let bin = far / BINS as f64;
    // The top value belongs to the last bin; what is exactly 0 does not lead.
    let place =
        |value: f64| if value > 0.0 { (value / bin).ceil() as i64 - 1 } else { ((value / bin).floor() as i64).min(-1) };
    let places: Vec<i64> = values.iter().map(|value| place(*value)).collect();
    let (first, last) =
        (places.iter().min().copied().unwrap_or(0).min(-1), places.iter().max().copied().unwrap_or(0).max(0));
    let counts: Vec<usize> = (first..=last).map(|at| places.iter().filter(|place| **place == at).count()).collect();
    let most = counts.iter().max().copied().unwrap_or(1).max(1);
    let x = Scale::linear((first as f64 * bin, (last + 1) as f64 * bin), frame.x());
    let y = Scale::linear((0.0, most as f64), frame.y());
    frame.svg(label, &html! {
        (frame.rows(&y, &whole(&y.ticks(3))))
        @for (at, n) in (first..=last).zip(&counts) {
            @let (low, high) = (at as f64 * bin, (at + 1) as f64 * bin);
            @if *n > 0 {
                rect.(if at < 0 { "loss" } else { "gain" }) x=(px(x.at(low) + 0.5)) width=(px((x.at(high) - x.at(low) - 1.0).max(0.5)))
                    y=(px(y.at(*n as f64))) height=(px(y.at(0.0) - y.at(*n as f64))) {
                    title { (counted(*n, "question")) " from " (short(low)) " to " (short(high)) }
                }
            }
        }
        (frame.columns(&x, &x.ticks(6)))
        line.zero x1=(px(x.at(0.0))) x2=(px(x.at(0.0))) y1=(px(frame.y().0)) y2=(px(frame.y().1)) {}
        (frame.below(below))
    })
}

/// Counts have no halves.
fn whole(ticks: &[f64]) -> Vec<f64> {
    ticks.iter().copied().filter(|tick| tick.fract() == 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_meet_at_zero() {
        let svg = histogram(&[1.6, 1.6, 0.05, 0.0, -0.75], "l", "margin").into_string();
        assert_eq!(svg.matches("class=\"gain\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"loss\"").count(), 2, "{svg}");
        assert!(svg.contains("2 questions from 1.5 to 1.6") && svg.contains("1 question from −.1 to 0"), "{svg}");
        assert!(histogram(&[0.0], "l", "m").into_string().is_empty());
    }
}

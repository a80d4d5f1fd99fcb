//! Points of cost against quality.

use super::scale::Scale;
use super::{Frame, class, mark, px};
use maud::{Markup, html};

/// A system as a point with its interval of quality.
pub struct Point {
    /// Its place among the series, for colour and mark.
    pub series: usize,
    /// Cost, above 0: lies on a logarithmic axis.
    pub x: f64,
    /// Quality.
    pub y: f64,
    /// Its interval, where it has one.
    pub interval: Option<[f64; 2]>,
    /// Hover text.
    pub title: String,
}

/// Cost to the right by ratios, quality upwards: the upper left is better.
pub fn scatter(points: &[Point], label: &str, below: &str) -> Markup {
    let frame = Frame::standard();
    let costs = points.iter().map(|p| p.x).fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    let ends = points.iter().flat_map(|p| p.interval.unwrap_or([p.y, p.y]));
    let shares = ends.fold((1.0f64, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
    if points.is_empty() || !costs.0.is_finite() {
        return html! {};
    }
    let x = Scale::log((costs.0 / 1.6, costs.1 * 1.6), frame.x());
    let y = Scale::linear(((shares.0 * 20.0 - 0.4).floor() / 20.0, (shares.1 * 20.0 + 0.4).ceil() / 20.0), frame.y());
    frame.svg(label, &html! {
        (frame.rows(&y, &y.ticks(5)))
        (frame.columns(&x, &x.ticks(6)))
        (frame.below(below))
        @for point in points {
            @if let Some([low, high]) = point.interval {
                path.whisker.(class(point.series)) d=(format!("M{0} {1}V{2}", px(x.at(point.x)), px(y.at(low)), px(y.at(high)))) {}
            }
        }
        @for point in points { (mark(point.series, (x.at(point.x), y.at(point.y)), &point.title)) }
    })
}

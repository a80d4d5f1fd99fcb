//! Lines over a logarithmic cut-off: recall at rising depths.

use super::scale::Scale;
use super::{Frame, class, mark, px};
use maud::{Markup, html};

/// One line: points of rising `x`.
pub struct Line {
    /// Its place among the series, for colour and mark.
    pub series: usize,
    /// Name for hover texts.
    pub name: String,
    /// Points, `x > 0`, `y` within 0 and 1.
    pub points: Vec<(f64, f64)>,
}

/// Lines whose `x` grows by ratios and whose `y` is a share; `y` begins where the lines do, at a round value.
pub fn lines(lines: &[Line], label: &str, below: &str) -> Markup {
    let frame = Frame::standard();
    let points = || lines.iter().flat_map(|line| &line.points);
    let span = |of: fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (xs, (low, high)) = (span(|p| p.0), span(|p| p.1));
    if low > high {
        return html! {};
    }
    let (low, high) = ((low * 10.0).floor() / 10.0, (high * 10.0).ceil() / 10.0);
    let (x, y) = (Scale::log(xs, frame.x()), Scale::linear((low, high), frame.y()));
    let mut cuts: Vec<f64> = lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)).collect();
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    // Two and three stand too near each other.
    let cuts: Vec<f64> = cuts.into_iter().filter(|cut| *cut != 3.0).collect();
    frame.svg(label, &html! {
        (frame.rows(&y, &y.ticks(5)))
        (frame.columns(&x, &cuts))
        (frame.below(below))
        @for line in lines {
            @let path: Vec<String> = line.points.iter().map(|p| format!("{} {}", px(x.at(p.0)), px(y.at(p.1)))).collect();
            path.line.(class(line.series)) d=(format!("M{}", path.join("L"))) {}
        }
        @for line in lines {
            @for (k, share) in &line.points {
                (mark(line.series, (x.at(*k), y.at(*share)), &format!("{}: {:.4} at {k}", line.name, share)))
            }
        }
    })
}

//! Charts as SVG: small functions from numbers to marks.
//!
//! In flow plain values; out flows [`Markup`] that stands in a page as it is. Nothing here knows what a report is. All
//! charts are drawn about 400 units wide and are shown about as wide, so their text has the page's size on a phone and on
//! a desk; names, which may be of any length, stand in the page's own text beside them and never in a drawing.
//! Colours are the page's (classes `s0` to `s5`, `gain`, `loss`); a series is also told by its marker and dashes.
//! Every mark that stands for something says so in its `<title>`, which browsers show on hovering.

pub mod bars;
pub mod histogram;
pub mod lines;
pub mod scale;
pub mod scatter;
pub mod strip;

use maud::{Markup, html};
use scale::Scale;

/// Series told apart by colour; further ones begin anew with other dashes.
pub const SERIES: usize = 6;

/// A coordinate: a tenth of a unit is finer than any screen.
pub(super) fn px(value: f64) -> String {
    // Adding 0 takes the sign off −0.
    ((value * 10.0).round() / 10.0 + 0.0).to_string()
}

/// A round value as short as it can be written.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let text = if text == "-0" { "0" } else { text };
    text.replacen("0.", ".", usize::from(text.starts_with("0.") || text.starts_with("-0."))).replace('-', "−")
}

/// The class of the series at a place.
pub fn class(series: usize) -> String {
    format!("s{} d{}", series % SERIES, series / SERIES % 3)
}

/// The drawing area within an SVG of a width and height, and its frame of axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    /// 400 units wide, with room for ticks and a name on the left and below.
    pub(super) fn standard() -> Self {
        Frame { width: 400.0, height: 260.0, left: 44.0, right: 12.0, top: 14.0, bottom: 42.0 }
    }

    pub(super) fn x(&self) -> (f64, f64) {
        (self.left, self.width - self.right)
    }

    /// From the bottom up, as values rise.
    pub(super) fn y(&self) -> (f64, f64) {
        (self.height - self.bottom, self.top)
    }

    /// The whole SVG; `label` says in words what is drawn.
    pub(super) fn svg(&self, label: &str, inner: &Markup) -> Markup {
        html! {
            svg.chart viewBox=(format!("0 0 {} {}", px(self.width), px(self.height))) role="img" aria-label=(label) {
                (inner)
            }
        }
    }

    /// Ticks with horizontal lines through the drawing.
    pub(super) fn rows(&self, scale: &Scale, ticks: &[f64]) -> Markup {
        let (left, right) = self.x();
        html! {
            @for tick in ticks {
                @let y = scale.at(*tick);
                line.grid x1=(px(left)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                text.tick x=(px(left - 6.0)) y=(px(y + 4.0)) text-anchor="end" { (short(*tick)) }
            }
        }
    }

    /// Ticks below the drawing.
    pub(super) fn columns(&self, scale: &Scale, ticks: &[f64]) -> Markup {
        let bottom = self.height - self.bottom;
        html! {
            line.axis x1=(px(self.x().0)) x2=(px(self.x().1)) y1=(px(bottom)) y2=(px(bottom)) {}
            @for tick in ticks {
                @let x = scale.at(*tick);
                line.axis x1=(px(x)) x2=(px(x)) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
                text.tick x=(px(x)) y=(px(bottom + 17.0)) text-anchor="middle" { (short(*tick)) }
            }
        }
    }

    /// What the horizontal axis counts, under its ticks.
    pub(super) fn below(&self, name: &str) -> Markup {
        let (left, right) = self.x();
        html! { text.name x=(px((left + right) / 2.0)) y=(px(self.height - 6.0)) text-anchor="middle" { (name) } }
    }
}

/// A series' mark around a point, as path data: six shapes of about the same weight.
fn shape(series: usize, (x, y): (f64, f64), r: f64) -> String {
    let around = |points: &[(f64, f64)]| {
        let corners: Vec<String> =
            points.iter().map(|(dx, dy)| format!("{} {}", px(x + r * dx), px(y + r * dy))).collect();
        format!("M{}Z", corners.join("L"))
    };
    match series % SERIES {
        0 => {
            let (left, r2) = (px(x - r), px(2.0 * r));
            format!("M{left} {}a{r} {r} 0 1 0 {r2} 0a{r} {r} 0 1 0 -{r2} 0Z", px(y), r = px(r))
        }
        1 => around(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => around(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => around(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
        4 => around(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        _ => around(&[
            (-0.4, -1.2),
            (0.4, -1.2),
            (0.4, -0.4),
            (1.2, -0.4),
            (1.2, 0.4),
            (0.4, 0.4),
            (0.4, 1.2),
            (-0.4, 1.2),
            (-0.4, 0.4),
            (-1.2, 0.4),
            (-1.2, -0.4),
            (-0.4, -0.4),
        ]),
    }
}

/// A series' mark with its hover text.
pub(super) fn mark(series: usize, at: (f64, f64), title: &str) -> Markup {
    html! { path.mark.(class(series)) d=(shape(series, at, 4.0)) { title { (title) } } }
}

/// A series' sign for a legend: its line and its mark.
pub fn key(series: usize) -> Markup {
    html! {
        svg.key viewBox="0 0 28 14" aria-hidden="true" {
            path.line.(class(series)) d="M1 7H27" {}
            path.mark.(class(series)) d=(shape(series, (14.0, 7.0), 4.0)) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([px(3.0), px(2.25), px(-0.02)], ["3", "2.3", "0"]);
        assert_eq!([short(0.5), short(-0.25), short(100.0), short(0.0), short(1.0)], [".5", "−.25", "100", "0", "1"]);
    }

    #[test]
    fn a_key_is_escaped_by_construction() {
        assert!(key(7).into_string().contains("class=\"mark s1 d1\""));
        let frame = Frame::standard();
        let svg = frame.svg("a \"<b>\"", &html! { (mark(0, (1.0, 2.0), "<script>")) }).into_string();
        assert!(svg.contains("&lt;script&gt;") && svg.contains("aria-label=\"a &quot;&lt;b&gt;&quot;\""), "{svg}");
    }
}

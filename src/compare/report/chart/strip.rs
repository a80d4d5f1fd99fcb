//! A value and its interval on a thin line, to stand in a table's row.
//!
//! The one chart that is no SVG: it is as wide as its cell, and its dot stays round.

use super::class;
use super::scale::Scale;
use maud::{Markup, html};

/// A dot with its interval over a span that all rows of the table share.
pub fn strip(series: usize, value: f64, interval: Option<[f64; 2]>, span: (f64, f64), label: &str) -> Markup {
    let x = Scale::linear(span, (0.0, 100.0));
    html! {
        div.strip.(class(series)) role="img" aria-label=(label) title=(label) {
            @if let Some([low, high]) = interval {
                i.range style=(format!("left:{:.2}%;width:{:.2}%", x.at(low), x.at(high) - x.at(low))) {}
            }
            i.dot style=(format!("left:{:.2}%", x.at(value))) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_stands_where_its_value_is() {
        let row = strip(3, 0.25, Some([0.0, 0.5]), (0.0, 1.0), "a: .25").into_string();
        assert!(row.contains("class=\"strip s3 d0\"") && row.contains("left:25.00%"), "{row}");
        assert!(row.contains("left:0.00%;width:50.00%"), "{row}");
    }
}

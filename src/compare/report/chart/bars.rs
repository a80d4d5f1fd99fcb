//! Gains and losses a query, sorted: who wins where, and by how much.
//!
//! A bar is a query. Gains stand on the left, greatest first, losses on the right, greatest last; the queries that are
//! the same stand as a number between them. Where there are more bars than fit, each stands for several neighbours and
//! shows their mean.

use super::scale::Scale;
use super::{Frame, px};
use crate::compare::report::words::count;
use maud::{Markup, html};

/// Bars that fit side by side.
const FIT: usize = 140;

/// A query's difference with its hover text.
pub struct Bar {
    /// The difference; −1 to 1.
    pub value: f64,
    /// What it is.
    pub title: String,
}

/// One drawing a system: `bars` in any order.
pub fn gains_and_losses(mut bars: Vec<Bar>, label: &str) -> Markup {
    let frame = Frame { height: 190.0, bottom: 12.0, ..Frame::standard() };
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    let (gains, rest): (Vec<Bar>, Vec<Bar>) = bars.into_iter().partition(|bar| bar.value > 0.0);
    let (losses, same): (Vec<Bar>, Vec<Bar>) = rest.into_iter().partition(|bar| bar.value < 0.0);
    let (won, lost) = (gains.len(), losses.len());
    // As many neighbours a bar on both sides, so that widths can be compared.
    let each = (won + lost).div_ceil(FIT).max(1);
    let (gains, losses) = (merged(&gains, each), merged(&losses, each));
    let y = Scale::linear((-1.0, 1.0), frame.y());
    let (left, right) = frame.x();
    let gap = if same.is_empty() { 12.0 } else { 74.0 };
    let step = (right - left - gap) / (gains.len() + losses.len()).max(1) as f64;
    let wide = (step * 0.82).min(12.0);
    let bar = |i: usize, value: f64, class: &str, title: &str| {
        let middle = left + (i as f64 + 0.5) * step + if class == "loss" { gap } else { 0.0 };
        let (top, foot) = (y.at(value.max(0.0)), y.at(value.min(0.0)));
        html! {
            rect.(class) x=(px(middle - wide / 2.0)) width=(px(wide.max(0.6))) y=(px(top)) height=(px((foot - top).max(0.5))) {
                title { (title) }
            }
        }
    };
    let between = left + gains.len() as f64 * step + gap / 2.0;
    frame.svg(label, &html! {
        (frame.rows(&y, &y.ticks(4)))
        line.axis x1=(px(left)) x2=(px(right)) y1=(px(y.at(0.0))) y2=(px(y.at(0.0))) {}
        @for (i, merged) in gains.iter().enumerate() { (bar(i, merged.value, "gain", &merged.title)) }
        @for (i, merged) in losses.iter().enumerate() { (bar(gains.len() + i, merged.value, "loss", &merged.title)) }
        @if !same.is_empty() {
            text.name x=(px(between)) y=(px(y.at(0.0) - 7.0)) text-anchor="middle" { (count(same.len())) }
            text.tick x=(px(between)) y=(px(y.at(0.0) + 16.0)) text-anchor="middle" { "the same" }
        }
    })
}

/// Runs of `each` neighbours as one bar: their mean, and what the first of them is.
fn merged(bars: &[Bar], each: usize) -> Vec<Bar> {
    let of = |group: &[Bar]| Bar {
        value: group.iter().map(|bar| bar.value).sum::<f64>() / group.len() as f64,
        title: match group {
            [one] => one.title.clone(),
            _ => format!("{} questions like: {}", group.len(), group.first().map_or("", |bar| &bar.title)),
        },
    };
    bars.chunks(each).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_a_bar_or_in_one() {
        let bar = |value: f64| Bar { value, title: format!("{value}") };
        let svg = gains_and_losses(vec![bar(-0.5), bar(0.0), bar(1.0), bar(0.25), bar(0.0)], "l").into_string();
        let order: Vec<usize> = ["<title>1<", "<title>0.25<", "<title>-0.5<"].map(|t| svg.find(t).unwrap()).into();
        assert!(order.is_sorted() && svg.matches("<rect").count() == 3 && svg.contains(">2</text>"), "{svg}");
        let many = (0..1000).map(|i| bar(f64::from(i) / 1000.0 - 0.25)).collect();
        let svg = gains_and_losses(many, "l").into_string();
        let drawn = svg.matches("<rect").count();
        // 749 gains and 250 losses, eight a bar.
        assert_eq!(drawn, 94 + 32);
        assert!(svg.contains("8 questions like: 0.749"), "{svg}");
    }
}

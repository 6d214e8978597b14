//! Plots, as SVG: lines through points, axes with round numbers, a legend. Enough for loss and latency, and readable
//! without any program but a browser.

use core::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Colours that colour-blind readers tell apart (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// A line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// A plot with both axes from 0.
pub fn plot(title: &str, x_name: &str, y_name: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let most = |of: fn((f64, f64)) -> f64| all().map(of).filter(|n| n.is_finite()).fold(0.0, f64::max);
    let (x_step, x_most) = axis(most(|(x, _)| x));
    let (y_step, y_most) = axis(most(|(_, y)| y));
    let x_of = |x: f64| LEFT + x / x_most * (WIDTH - LEFT - RIGHT);
    let y_of = |y: f64| HEIGHT - BOTTOM - y / y_most * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for step in 0..=steps(x_most, x_step) {
        let (value, bottom) = (step as f64 * x_step, HEIGHT - BOTTOM);
        let x = x_of(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            short(value)
        );
    }
    for step in 0..=steps(y_most, y_step) {
        let value = step as f64 * y_step;
        let (y, right) = (y_of(value), WIDTH - RIGHT);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            short(value)
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        for point in &points {
            let (x, y) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let (x, y) = (WIDTH - RIGHT + 12.0, TOP + 14.0 + index as f64 * 18.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{}</text>",
            y - 6.0,
            x + 18.0,
            escaped(&line.name)
        );
    }
    let (middle_x, middle_y) = ((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
    let _ = write!(
        svg,
        "<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(16 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n</svg>\n",
        HEIGHT - 10.0,
        escaped(x_name),
        escaped(y_name)
    );
    svg
}

/// A round step and the end of an axis that reaches `most` in at most ten of them.
fn axis(most: f64) -> (f64, f64) {
    if most <= 0.0 {
        return (1.0, 1.0);
    }
    let magnitude = 10f64.powf(most.log10().floor());
    let step = [0.1, 0.2, 0.5, 1.0].map(|part| part * magnitude);
    let step = step.into_iter().find(|step| most / step <= 10.0).unwrap_or(magnitude);
    (step, (most / step).ceil() * step)
}

fn steps(most: f64, step: f64) -> usize {
    (most / step).round() as usize
}

fn short(value: f64) -> String {
    let (value, unit) = match value {
        _ if value >= 1e9 => (value / 1e9, "G"),
        _ if value >= 1e6 => (value / 1e6, "M"),
        _ if value >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // At most two digits behind the point, and none that say nothing.
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_steps_and_reaches_the_most() {
        assert_eq!(axis(0.0), (1.0, 1.0));
        assert_eq!(axis(87.0), (10.0, 90.0));
        assert_eq!(axis(1_200_000.0), (200_000.0, 1_200_000.0));
        for most in [0.0003, 1.0, 9.99, 10.0, 123.0, 5e9] {
            let (step, end) = axis(most);
            assert!(end >= most * 0.999_999 && steps(end, step) <= 10, "{most}: {step} {end}");
        }
    }

    #[test]
    fn a_plot_holds_every_point_within_its_frame_and_escapes_names() {
        let line = Line { name: "a<b".to_owned(), points: vec![(0.0, 0.0), (50.0, 3.0), (100.0, 7.0)] };
        let svg = plot("Loss & rate", "x", "y", &[line]);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("Loss &amp; rate") && svg.contains("a&lt;b") && svg.ends_with("</svg>\n"));
        for circle in svg.split("<circle cx=\"").skip(1) {
            let x: f64 = circle.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
        assert_eq!((short(2_500_000.0), short(0.5), short(10.0)), ("2.5M".into(), "0.5".into(), "10".into()));
    }

    #[test]
    fn nothing_to_plot_is_an_empty_plot() {
        assert!(plot("t", "x", "y", &[]).contains("</svg>"));
    }
}

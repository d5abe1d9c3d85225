//! Security and correctness over the threshold α in one figure with two axes, as in the paper's figure 4.

use std::ops::Range;

use plotters::chart::DualCoordChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;

use super::Error;
use super::sample::PromptKind;
use super::statistics::Estimate;
use super::threshold::{Quantity, Series};

/// Width and height in pixels.
const SIZE: (u32, u32) = (800, 480);

/// Height of the title and the key, in pixels.
const HEAD_HEIGHT: u32 = 56;

/// From one entry of the key to the next, in pixels.
const KEY_WIDTH: i32 = 250;

/// What is left free of the x axis beside the first and the last α.
const X_MARGIN: f64 = 0.05;

/// Half the width of an interval's end marks, in units of α.
const CAP: f64 = 0.006;

/// How far series are moved apart in units of α, so that their intervals do not cover each other.
const SHIFT: f64 = 0.008;

/// What is left free above and below all intervals, in percent.
const Y_MARGIN: f64 = 3.0;

type DrawingError = Box<dyn std::error::Error>;
type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;
type Chart<'a, 'b> = DualCoordChartContext<'a, SVGBackend<'b>, Plane, Plane>;

/// The axis that a quantity is read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Left,
    Right,
}

/// A series in percent, as it is drawn.
struct Curve {
    name: String,
    axis: Axis,
    color: RGBColor,
    base: Option<[f64; 3]>,
    /// α, and value, low and high.
    points: Vec<(f64, [f64; 3])>,
}

/// The figure as SVG: points with 95 % intervals, the base alone as a dashed line with its interval as a band.
///
/// # Errors
/// If it cannot be drawn.
pub fn thresholds(series: &[Series]) -> Result<String, Error> {
    let curves: Vec<Curve> = series.iter().zip(0..).map(|(series, i)| curve(series, i)).collect();
    let mut svg = String::new();
    draw(&curves, &mut svg).map_err(|error| Error::Figure(error.to_string()))?;
    Ok(svg)
}

fn curve(series: &Series, idx: i32) -> Curve {
    let percent = |Estimate { value, low, high, .. }| [value, low, high].map(|x: f64| 100.0 * x);
    let (name, axis, color) = match series.quantity {
        Quantity::Distinct(PromptKind::Ltr) => ("security ratio, left-to-right", Axis::Left, BLUE),
        Quantity::Distinct(PromptKind::Fim) => {
            ("security ratio, fill-in-the-middle", Axis::Left, RGBColor(0, 140, 140))
        }
        Quantity::Distinct(PromptKind::Editor) => ("security ratio, editors'", Axis::Left, BLACK),
        Quantity::All(_) => ("security ratio, all completions", Axis::Left, MAGENTA),
        Quantity::Passes => ("pass@1", Axis::Right, RED),
    };
    let shift = f64::from(idx) * SHIFT;
    // The shortest decimal of a float, so that 0.1 stands where 0.1 is written.
    let alpha = |alpha: f32| alpha.to_string().parse().unwrap_or(f64::from(alpha));
    let point = |&(at, estimate): &(f32, Estimate)| (alpha(at) + shift, percent(estimate));
    Curve {
        name: name.to_owned(),
        axis,
        color,
        base: series.base.map(percent),
        points: series.points.iter().map(point).collect(),
    }
}

fn draw(curves: &[Curve], svg: &mut String) -> Result<(), DrawingError> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, body) = area.split_vertically(HEAD_HEIGHT);
    draw_head(&head, curves)?;
    let alphas = curves.iter().flat_map(|curve| curve.points.iter().map(|(alpha, _)| *alpha));
    let x = widened(alphas, X_MARGIN, (0.0, 1.0));
    let chart = ChartBuilder::on(&body)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .right_y_label_area_size(48)
        .build_cartesian_2d(x.clone(), y_range(curves, Axis::Left))?;
    let mut chart = chart.set_secondary_coord(x.clone(), y_range(curves, Axis::Right));
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("acceptance threshold α (dashed: the base alone)");
    mesh.y_desc("security ratio (%)").draw()?;
    chart.configure_secondary_axes().y_desc("pass@1 (%)").draw()?;
    for curve in curves {
        draw_curve(&mut chart, curve, &x)?;
    }
    drop(chart);
    area.present()?;
    Ok(())
}

/// The title and what the colours are, above the plane, where they cover no point.
fn draw_head(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    curves: &[Curve],
) -> Result<(), DrawingError> {
    let title = "Security and functional correctness over the acceptance threshold";
    area.draw(&Text::new(title, (60, 12), ("sans-serif", 18)))?;
    for (curve, number) in curves.iter().zip(0..) {
        let (x, y) = (60 + number * KEY_WIDTH, 46);
        let line = [(x, y), (x + 16, y)];
        area.draw(&PathElement::new(line, curve.color.stroke_width(2)))?;
        area.draw(&Text::new(curve.name.clone(), (x + 22, y - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}

fn draw_curve(
    chart: &mut Chart<'_, '_>,
    curve: &Curve,
    x: &Range<f64>,
) -> Result<(), DrawingError> {
    let color = curve.color;
    if let Some([value, low, high]) = curve.base {
        let band = Rectangle::new([(x.start, low), (x.end, high)], color.mix(0.07).filled());
        add(chart, curve.axis, [band])?;
        let ends = [(x.start, value), (x.end, value)];
        add(chart, curve.axis, DashedLineSeries::new(ends, 8, 6, color.stroke_width(1)))?;
    }
    for &(alpha, [_, low, high]) in &curve.points {
        let stroke = |from, to| PathElement::new([from, to], color);
        let cap = |y| stroke((alpha - CAP, y), (alpha + CAP, y));
        let bar = [stroke((alpha, low), (alpha, high)), cap(low), cap(high)];
        add(chart, curve.axis, bar)?;
    }
    let points = curve.points.iter().map(|&(alpha, [value, ..])| (alpha, value));
    let line = LineSeries::new(points, color.filled()).point_size(3);
    add(chart, curve.axis, line)
}

/// Draws elements in the coordinates of one of the axes.
fn add<'b, E>(
    chart: &mut Chart<'_, 'b>,
    axis: Axis,
    elements: impl IntoIterator<Item = E>,
) -> Result<(), DrawingError>
where
    for<'e> &'e E: PointCollection<'e, (f64, f64)>,
    E: Drawable<SVGBackend<'b>>,
{
    match axis {
        Axis::Left => chart.draw_series(elements)?,
        Axis::Right => chart.draw_secondary_series(elements)?,
    };
    Ok(())
}

/// All values of an axis with their intervals, and some room; the whole of an axis that has none.
fn y_range(curves: &[Curve], axis: Axis) -> Range<f64> {
    let of_axis = curves.iter().filter(|curve| curve.axis == axis);
    let values = of_axis
        .flat_map(|curve| curve.base.iter().chain(curve.points.iter().map(|(_, point)| point)));
    widened(values.flatten().copied(), Y_MARGIN, (0.0, 100.0))
}

/// From the least to the largest value with a margin, within `bounds`; these where there are no values.
fn widened(values: impl Iterator<Item = f64>, margin: f64, bounds: (f64, f64)) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    match low <= high {
        true => (low - margin).max(bounds.0 - margin)..(high + margin).min(bounds.1 + margin),
        false => bounds.0..bounds.1,
    }
}

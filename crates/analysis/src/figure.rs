//! A figure: series over two axes, drawn as SVG.

use plotters::{
    chart::{ChartBuilder, ChartContext, LabelAreaPosition},
    coord::{Shift, cartesian::Cartesian2d},
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::{Circle, DashedPathElement, PathElement},
    prelude::SVGBackend,
    style::{
        Color, IntoFont, RGBColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};
use thiserror::Error;

use crate::{
    axis::{Axis, Scale},
    escape::{escape, one_line},
};

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A solid line through the points.
    #[default]
    Line,
    /// A dashed line through the points, for bounds and baselines.
    Dashed,
    /// A dot per point.
    Points,
}

/// Points that belong together.
///
/// A point that cannot be shown is dropped, and a line is interrupted there: a value that is not finite, beyond 1e300,
/// or below 1e-300 on a log axis. Series of one label, such as the seeds of a run, share a colour and a legend entry;
/// an empty label has no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// (x, y) in the order in which a line connects them.
    pub points: Vec<(f64, f64)>,
    /// Line, dashed line or dots.
    pub style: Style,
}

/// Series over two axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// What the figure shows, as its accessible name. It is not drawn: the page around a figure has room for a caption.
    pub title: String,
    /// Quantity and unit along x.
    pub x_label: String,
    /// Quantity and unit along y.
    pub y_label: String,
    /// Logarithmic x axis.
    pub x_log: bool,
    /// Logarithmic y axis.
    pub y_log: bool,
    /// What to draw, first to last.
    pub series: Vec<Series>,
}

/// A figure that could not be drawn.
#[derive(Debug, Error)]
pub enum FigureError {
    /// The drawing library refused.
    #[error("the figure could not be drawn: {0}")]
    Draw(#[from] DrawingAreaErrorKind<std::io::Error>),
}

/// The drawing library counts in whole units; tenths of a pixel keep curves smooth when a page enlarges them.
const PIXEL: i32 = 10;
const WIDTH: i32 = 720 * PIXEL;
const PLOT_HEIGHT: i32 = 400 * PIXEL;
const MARGIN: i32 = 12 * PIXEL;
const LINE_WIDTH: i32 = 2 * PIXEL;
const DOT_RADIUS: i32 = 3 * PIXEL;
const DASH: i32 = 7 * PIXEL;
const GAP: i32 = 4 * PIXEL;
const FONT_SIZE: i32 = 13 * PIXEL;
const LEGEND_ROW: i32 = 22 * PIXEL;
const LEGEND_SWATCH: i32 = 24 * PIXEL;
const LEGEND_SPACE: i32 = 8 * PIXEL;

/// Stands for the page's own text colour until [`themed`] puts `currentColor` in its place.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_IN_SVG: &str = "\"#010203\"";
/// Visible on white and on black alike.
const MID_GREY: RGBColor = RGBColor(128, 128, 128);

/// Colours that stay apart for colour-blind readers.
///
/// # References
/// Okabe and Ito 2008, "Color Universal Design". Their black is the page's ink here.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    INK,
    RGBColor(240, 228, 66),
];

type Canvas<'svg> = DrawingArea<SVGBackend<'svg>, Shift>;
type Chart<'a, 'svg> = ChartContext<'a, SVGBackend<'svg>, Cartesian2d<Axis, Axis>>;

impl Figure {
    /// The figure as an SVG document without fonts or a background; text takes the colour of the page it is placed in.
    ///
    /// # Errors
    /// [`FigureError::Draw`] when the drawing library refuses, which no figure is known to provoke.
    pub fn to_svg(&self) -> Result<String, FigureError> {
        let legend = self.legend();
        let legend_height = legend.last().map_or(0, |entry| entry.row + 1) * LEGEND_ROW;
        let height = PLOT_HEIGHT + legend_height;
        let mut svg = String::new();
        {
            let canvas = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
            let canvas = canvas.margin(MARGIN, MARGIN, MARGIN, MARGIN);
            let (top, plot) = canvas.split_vertically(legend_height);
            for entry in &legend {
                entry.draw(&top)?;
            }
            self.draw_plot(&plot)?;
            canvas.present()?;
        }
        Ok(themed(&svg, &self.title, height))
    }

    fn draw_plot(&self, canvas: &Canvas<'_>) -> Result<(), FigureError> {
        let series: Vec<_> = self.series.iter().map(|series| (series, self.runs(series))).collect();
        let places = || series.iter().flat_map(|(_, runs)| runs.iter().flatten());
        let x = Axis::covering(Scale::new(self.x_log), places().map(|place| place.0));
        let y = Axis::covering(Scale::new(self.y_log), places().map(|place| place.1));

        let beside_y = text_width(y.label_width()) + 5 * FONT_SIZE / 2;
        let mut chart = ChartBuilder::on(canvas)
            .set_label_area_size(LabelAreaPosition::Left, beside_y)
            .set_label_area_size(LabelAreaPosition::Bottom, 4 * FONT_SIZE)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(one_line(&self.x_label))
            .y_desc(one_line(&self.y_label))
            .axis_style(MID_GREY.stroke_width(PIXEL as u32))
            .bold_line_style(MID_GREY.mix(0.25).stroke_width(PIXEL as u32))
            .label_style(text())
            .axis_desc_style(text())
            .set_all_tick_mark_size(4 * PIXEL)
            .draw()?;

        for (series, runs) in &series {
            for run in runs {
                draw_run(&mut chart, run, series.style, self.colour(&series.label))?;
            }
        }
        if places().next().is_none() {
            let plot = chart.plotting_area().strip_coord_spec();
            let centre = (plot.relative_to_width(0.5) as i32, plot.relative_to_height(0.5) as i32);
            plot.draw_text("no data", &text().pos(Pos::new(HPos::Center, VPos::Center)), centre)?;
        }
        Ok(())
    }

    /// The series' visible points, placed on the axes and split where a point is dropped.
    fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let (x, y) = (Scale::new(self.x_log), Scale::new(self.y_log));
        let place = |point: &(f64, f64)| Some((x.place(point.0)?, y.place(point.1)?));
        let runs = series.points.split(|point| place(point).is_none());
        runs.filter(|run| !run.is_empty()).map(|run| run.iter().filter_map(place).collect()).collect()
    }

    /// Each label once, in order of first appearance.
    fn labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        for series in &self.series {
            if !labels.contains(&series.label.as_str()) {
                labels.push(&series.label);
            }
        }
        labels
    }

    fn colour(&self, label: &str) -> RGBColor {
        let index = self.labels().iter().position(|known| *known == label).unwrap_or(0);
        PALETTE[index % PALETTE.len()]
    }

    /// Legend entries from left to right, wrapped into rows.
    fn legend(&self) -> Vec<LegendEntry> {
        let mut entries: Vec<LegendEntry> = Vec::new();
        let (mut row, mut left) = (0, 0);
        for label in self.labels().into_iter().filter(|label| !label.is_empty()) {
            let width = LEGEND_SWATCH + text_width(label.chars().count()) + 4 * LEGEND_SPACE;
            if left > 0 && left + width > WIDTH - 2 * MARGIN {
                (row, left) = (row + 1, 0);
            }
            let style =
                self.series.iter().find(|series| series.label == label).map_or(Style::Line, |series| series.style);
            entries.push(LegendEntry { label: one_line(label), style, colour: self.colour(label), row, left });
            left += width;
        }
        entries
    }
}

struct LegendEntry {
    label: String,
    style: Style,
    colour: RGBColor,
    row: i32,
    left: i32,
}

impl LegendEntry {
    fn draw(&self, canvas: &Canvas<'_>) -> Result<(), FigureError> {
        let middle = self.row * LEGEND_ROW + LEGEND_ROW / 3;
        let swatch = [(self.left, middle), (self.left + LEGEND_SWATCH, middle)];
        match self.style {
            Style::Line => canvas.draw(&PathElement::new(swatch, stroke(self.colour)))?,
            Style::Dashed => canvas.draw(&DashedPathElement::new(swatch, DASH, GAP, stroke(self.colour)))?,
            Style::Points => canvas.draw(&dot((self.left + LEGEND_SWATCH / 2, middle), self.colour))?,
        }
        let beside = (self.left + LEGEND_SWATCH + LEGEND_SPACE, middle);
        canvas.draw_text(&self.label, &text().pos(Pos::new(HPos::Left, VPos::Center)), beside)?;
        Ok(())
    }
}

/// Draws points without a gap between them.
fn draw_run(chart: &mut Chart<'_, '_>, run: &[(f64, f64)], style: Style, colour: RGBColor) -> Result<(), FigureError> {
    let points = run.iter().copied();
    // A line that never leaves its first point would be invisible.
    let is_line = run.windows(2).any(|pair| pair[0] != pair[1]);
    match style {
        Style::Line if is_line => {
            chart.draw_series([PathElement::new(run, stroke(colour))])?;
        }
        Style::Dashed if is_line => {
            chart.draw_series([DashedPathElement::new(points, DASH, GAP, stroke(colour))])?;
        }
        Style::Line | Style::Dashed | Style::Points => {
            chart.draw_series(points.map(|point| dot(point, colour)))?;
        }
    }
    Ok(())
}

fn stroke(colour: RGBColor) -> ShapeStyle {
    colour.stroke_width(LINE_WIDTH as u32)
}

fn dot<Coordinate>(centre: Coordinate, colour: RGBColor) -> Circle<Coordinate, i32> {
    Circle::new(centre, DOT_RADIUS, colour.filled())
}

/// Estimated width of a text: there is no font file to measure it with.
fn text_width(characters: usize) -> i32 {
    (characters as f64 * 0.56 * f64::from(FONT_SIZE)) as i32
}

fn text() -> TextStyle<'static> {
    // The library divides by 1.24 what it calls a font's size to get SVG's font-size.
    TextStyle::from(("sans-serif", f64::from(FONT_SIZE) * 1.24).into_font()).color(&INK)
}

/// Gives the drawing its root element: size in pixels, accessible name, and a text colour that follows the page.
fn themed(svg: &str, title: &str, height: i32) -> String {
    let content = svg.split_once('>').map_or(svg, |(_root, content)| content);
    let content = content.rsplit_once("</svg>").map_or(content, |(content, _root)| content);
    // `svg:root` is the drawing as a file of its own; inside a page the root is the page, and its colour is inherited.
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{}" height="{}" role="img">
<title>{}</title>
<style>svg:root {{ color: #1c1c1e }} @media (prefers-color-scheme: dark) {{ svg:root {{ color: #e4e4e6 }} }}</style>
<g stroke-linejoin="round">
{}</g>
</svg>
"#,
        WIDTH / PIXEL,
        height / PIXEL,
        escape(title),
        content.trim_start().replace(INK_IN_SVG, "\"currentColor\"")
    )
}

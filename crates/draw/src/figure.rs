//! A figure: series over two axes, drawn as SVG.

use std::ops::Range;

use plotters::coord::{cartesian::Cartesian2d, ranged1d::Ranged};

use crate::{
    axis::{Axis, Scale},
    canvas::{Area, DrawError, chart, draw_axes, draw_no_data, drawn, width_beside},
    legend::{self, Entry},
    number::number,
    style::Pen,
    svg::{Element, FONT_SIZE, PIXEL, WIDTH},
    tooltips,
};

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A solid line through the points, for curves of many points; intervals are drawn as a band.
    #[default]
    Line,
    /// A dashed line through the points, for bounds and baselines; intervals are drawn as a band.
    Dashed,
    /// A thin grey line, dotted for the first such series and dashed for the next, for theoretical predictions;
    /// intervals are drawn as a band.
    Reference,
    /// One dot per point; intervals are drawn as error bars.
    Points,
    /// A line with one dot per point, for curves of few points; intervals are drawn as error bars.
    LinePoints,
}

impl Style {
    fn has_line(self) -> bool {
        self != Self::Points
    }

    fn has_marks(self) -> bool {
        matches!(self, Self::Points | Self::LinePoints)
    }
}

/// A series of points.
///
/// A point is left out, and the line interrupted, if a value is not finite, beyond 1e300, or below 1e-300 on a log
/// axis; the same holds for the ends of intervals. Series with the same label, such as the seeds of a run, share a
/// colour and a legend entry; an empty label has no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub label: String,
    /// (x, y) in the order in which a line connects them.
    pub points: Vec<(f64, f64)>,
    /// How the points are drawn.
    pub style: Style,
    /// (x, low, high): an interval for y at x, for example over seeds. Drawn as a band or as error bars, depending on
    /// the style.
    pub intervals: Vec<(f64, f64, f64)>,
}

/// Series over two axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// What the figure shows, for screen readers. It is not drawn; the page around the figure has room for a caption.
    pub title: String,
    /// Quantity and unit along x.
    pub x_label: String,
    /// Quantity and unit along y.
    pub y_label: String,
    /// Logarithmic x axis.
    pub x_log: bool,
    /// Logarithmic y axis.
    pub y_log: bool,
    /// Series in the order in which they are drawn.
    pub series: Vec<Series>,
    /// Labels in the order of their colours, for figures of one page that show the same things; others come after them. Empty: in order
    /// of first appearance.
    pub colours: Vec<String>,
}

type Plot<'svg> = Area<'svg, Cartesian2d<Axis, Axis>>;

const PLOT_HEIGHT: i32 = 400 * PIXEL;
/// Half the width of an error bar's ends.
const CAP: i32 = 4 * PIXEL;
/// Half the height of a band and of an error bar in the legend.
const SWATCH_HEIGHT: i32 = 6 * PIXEL;
/// Distance from a point within which the pointer shows its numbers.
const HOVER_RADIUS: i32 = 6 * PIXEL;
/// Largest number of points of one series that show their numbers when pointed at.
const MOST_HOVERED: usize = 100;
/// Largest number of indistinguishable points of one series that a note lists.
const MOST_NAMED: usize = 8;

impl Figure {
    /// The figure as an SVG document without fonts and without a background; text takes the colour of the surrounding
    /// page.
    ///
    /// Pointing at a line shows its label, pointing at a point its numbers.
    pub fn to_svg(&self) -> String {
        let legend = legend::arranged(self.labels().into_iter().filter(|label| !label.is_empty()));
        let (legend_height, covered) = (legend::height(&legend), self.covered());
        let notes_height = legend::notes_height(&covered);
        drawn(&self.title, PLOT_HEIGHT + legend_height + notes_height, |area| {
            let (top, rest) = area.split_vertically(legend_height);
            for entry in &legend {
                self.draw_entry(entry, &top)?;
            }
            let (notes, rest) = rest.split_vertically(notes_height);
            legend::draw_notes(&covered, &notes)?;
            self.draw_plot(&rest, [self.x_axis(), self.y_axis()])
        })
    }

    pub(crate) fn draw_entry(&self, entry: &Entry<'_>, area: &Area<'_>) -> Result<(), DrawError> {
        let series: Vec<&Series> = self.series.iter().filter(|series| series.label == entry.label).collect();
        let has_intervals = series.iter().any(|series| !series.intervals.is_empty());
        let style = series.first().map_or(Style::Line, |series| series.style);
        let pen = self.pen(entry.label, style);
        let [(left, y), (right, _)] = entry.swatch();
        let (top, bottom) = (y - SWATCH_HEIGHT, y + SWATCH_HEIGHT);
        let middle = i32::midpoint(left, right);
        match (has_intervals, style.has_marks()) {
            (false, _) => {}
            (true, false) => pen.band(area, &[(left, top), (right, top), (right, bottom), (left, bottom)])?,
            (true, true) => pen.bar(area, [(middle, bottom), (middle, top)], (CAP, 0))?,
        }
        if style.has_line() {
            pen.line(area, &[(left, y), (right, y)])?;
        }
        if style.has_marks() {
            pen.mark(area, (middle, y))?;
        }
        entry.draw_label(area)
    }

    /// Draws the plot and returns the elements that show a text when pointed at.
    pub(crate) fn draw_plot(&self, area: &Area<'_>, [x, y]: [Axis; 2]) -> Result<Vec<Element>, DrawError> {
        let mut chart = chart(area, width_beside(&y) + 3 * FONT_SIZE / 2, x, y)?;
        draw_axes(&mut chart, &self.x_label, Some(&self.y_label))?;
        let plot = chart.plotting_area();
        // Bands are drawn first, behind all curves.
        for series in self.series.iter().filter(|series| !series.style.has_marks()) {
            self.draw_bands(series, plot)?;
        }
        for series in &self.series {
            self.draw_series(series, plot)?;
        }
        if self.visible_points().next().is_none() && self.visible_intervals().next().is_none() {
            draw_no_data(&chart)?;
        }
        Ok(self.series.iter().map(|series| self.hover(series, |place| chart.backend_coord(&place))).collect())
    }

    fn draw_bands(&self, series: &Series, plot: &Plot<'_>) -> Result<(), DrawError> {
        let pen = self.pen(&series.label, series.style);
        for run in unbroken(&series.intervals, |interval| self.place_interval(*interval)) {
            let upper = run.iter().map(|(x, _, high)| (*x, *high));
            let lower = run.iter().rev().map(|(x, low, _)| (*x, *low));
            pen.band(plot, &upper.chain(lower).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn draw_series(&self, series: &Series, plot: &Plot<'_>) -> Result<(), DrawError> {
        let Series { style, intervals, .. } = series;
        let pen = self.pen(&series.label, *style);
        for (x, low, high) in intervals.iter().filter_map(|interval| self.place_interval(*interval)) {
            if style.has_marks() {
                pen.bar(plot, [(x, low), (x, high)], (CAP, 0))?;
            }
        }
        for run in unbroken(&series.points, |point| self.place(*point)) {
            // A line whose points coincide would be invisible.
            let is_line = style.has_line() && run.windows(2).any(|pair| pair[0] != pair[1]);
            if is_line {
                pen.line(plot, &run)?;
            }
            for place in run.into_iter().filter(|_| style.has_marks() || !is_line) {
                pen.mark(plot, place)?;
            }
        }
        Ok(())
    }

    /// Shows the label along the line and the numbers at its points; if there are too many points, at an even choice of
    /// them.
    fn hover(&self, series: &Series, at: impl Fn((f64, f64)) -> (i32, i32)) -> Element {
        let runs = unbroken(&series.points, |point| Some((*point, at(self.place(*point)?))));
        let stride = runs.iter().map(Vec::len).sum::<usize>().div_ceil(MOST_HOVERED).max(1);
        let runs: Vec<Vec<_>> = runs.into_iter().map(|run| run.into_iter().step_by(stride).collect()).collect();
        let line = |run: &Vec<(_, (i32, i32))>| {
            tooltips::line(&run.iter().map(|(_, place)| *place).collect::<Vec<_>>(), HOVER_RADIUS)
        };
        let lines = runs.iter().filter(|run| series.style.has_line() && run.len() > 1).map(line);
        let mark = |(point, place): &(_, (i32, i32))| {
            tooltips::circle(*place, HOVER_RADIUS).titled(&series.description(*point))
        };
        Element::new("g").titled(&series.label).holding(lines).holding(runs.iter().flatten().map(mark))
    }

    pub(crate) fn x_axis(&self) -> Axis {
        let scale = Scale::new(self.x_log);
        let points = self.visible_points().map(|(x, _)| x);
        Axis::covering(scale, points.chain(self.visible_intervals().map(|(x, _, _)| x)))
    }

    pub(crate) fn y_axis(&self) -> Axis {
        let scale = Scale::new(self.y_log);
        let points = self.visible_points().map(|(_, y)| y);
        Axis::covering(scale, points.chain(self.visible_intervals().flat_map(|(_, low, high)| [low, high])))
    }

    fn visible_points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| &series.points).filter_map(|point| self.place(*point))
    }

    fn visible_intervals(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.series.iter().flat_map(|series| &series.intervals).filter_map(|interval| self.place_interval(*interval))
    }

    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((Scale::new(self.x_log).place(x)?, Scale::new(self.y_log).place(y)?))
    }

    fn place_interval(&self, (x, low, high): (f64, f64, f64)) -> Option<(f64, f64, f64)> {
        let (x, low) = self.place((x, low))?;
        Some((x, low, Scale::new(self.y_log).place(high)?))
    }

    /// Each label once, in order of first appearance.
    pub(crate) fn labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        for series in &self.series {
            if !labels.contains(&series.label.as_str()) {
                labels.push(&series.label);
            }
        }
        labels
    }

    /// The pen of a label: series with the same label look alike, and references use none of the others' colours.
    fn pen(&self, label: &str, style: Style) -> Pen {
        let is_reference =
            |label: &str| self.series.iter().filter(|s| s.label == label).all(|s| s.style == Style::Reference);
        let alike = |other: &&str| is_reference(other) == (style == Style::Reference);
        let further = |other: &&str| !self.colours.iter().any(|known| known == other);
        // References are grey, and take none of the colours.
        let fixed = self.colours.iter().map(String::as_str).filter(|_| style != Style::Reference);
        let all = fixed.chain(self.labels().into_iter().filter(alike).filter(further));
        let place = all.take_while(|known| *known != label).count();
        if style == Style::Reference { Pen::reference(place) } else { Pen::new(place, style == Style::Dashed) }
    }

    /// Notes on points that cannot be told from another point of their series: one note per series with marks.
    fn covered(&self) -> Vec<String> {
        let [x, y] = [self.x_axis(), self.y_axis()].map(|axis| axis.range());
        // A plot is at most this large.
        let spot = |(px, py): (f64, f64)| {
            let at = |place: f64, range: &Range<f64>, size: i32| {
                (place - range.start) / (range.end - range.start) * f64::from(size)
            };
            (at(px, &x, WIDTH), at(py, &y, PLOT_HEIGHT))
        };
        let of_series = |series: &Series| {
            let spotted = |point: &(f64, f64)| Some((*point, spot(self.place(*point)?)));
            let spotted: Vec<_> = series.points.iter().filter_map(spotted).collect();
            let is_covered = |(point, at): &((f64, f64), (f64, f64))| {
                let covers = |(other, there): &((f64, f64), (f64, f64))| {
                    other != point && (at.0 - there.0).abs().max((at.1 - there.1).abs()) < f64::from(PIXEL)
                };
                spotted.iter().any(covers)
            };
            let covered = spotted.iter().filter(|one| is_covered(one)).take(MOST_NAMED);
            let covered: Vec<String> = covered.map(|((x, _), _)| x.to_string()).collect();
            let label = if series.label.is_empty() { String::new() } else { format!("{}: ", series.label) };
            let note = || format!("{label}points cannot be told from a neighbour at {}", covered.join(", "));
            (!covered.is_empty()).then(note)
        };
        let has_marks = |series: &&Series| series.style.has_marks() && series.points.len() <= MOST_HOVERED;
        self.series.iter().filter(has_marks).filter_map(of_series).collect()
    }
}

impl Series {
    fn description(&self, (x, y): (f64, f64)) -> String {
        let interval = self.intervals.iter().find(|interval| interval.0.total_cmp(&x).is_eq());
        let interval = interval.map(|(_, low, high)| format!(" [{}, {}]", number(*low), number(*high)));
        let label = if self.label.is_empty() { String::new() } else { format!("{}: ", self.label) };
        format!("{label}{}{} at {x}", number(y), interval.unwrap_or_default())
    }
}

/// The items that have a place, split into runs at those that have none.
fn unbroken<T, P>(items: &[T], place: impl Fn(&T) -> Option<P>) -> Vec<Vec<P>> {
    let runs = items.split(|item| place(item).is_none()).filter(|run| !run.is_empty());
    runs.map(|run| run.iter().filter_map(&place).collect()).collect()
}

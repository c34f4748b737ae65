//! A forest plot, which shows a comparison: one row per method with its seeds, their mean and its interval.

use plotters::{
    element::Circle,
    style::{Color, RGBAColor},
};

use crate::{
    axis::{Axis, Scale},
    canvas::{Area, BELOW, Chart, DrawError, chart, draw_axes, draw_no_data, drawn, width_beside},
    escape::one_line,
    number::number,
    style::{Pen, Shape},
    svg::{Element, MARGIN, PIXEL, WIDTH, rectangle, shortened},
    tooltips,
};

/// One method.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForestRow {
    /// Its name.
    pub label: String,
    /// One value per seed; values that cannot be drawn, such as those of a diverged run, are left out of the picture
    /// only.
    pub values: Vec<f64>,
    /// Interval of the mean: its low and its high end.
    pub interval: Option<[f64; 2]>,
}

/// Methods, one per row, over a common axis of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// What the plot shows, for screen readers; it is not drawn.
    pub title: String,
    /// Quantity and unit.
    pub value_label: String,
    /// Logarithmic axis.
    pub log: bool,
    /// A value to compare with, drawn as a dotted line: the best baseline, or 1 for ratios.
    pub reference: Option<f64>,
    /// How far from the reference a value may lie by noise alone: a grey band.
    pub floor: Option<f64>,
    /// Rows from top to bottom.
    pub rows: Vec<ForestRow>,
}

const ROW: i32 = 34 * PIXEL;
/// Height of the mean and its interval in a row, from 0 at the top to 1 …
const MEAN: f64 = 0.41;
/// … and of the seeds below it.
const SEEDS: f64 = 0.71;
/// Half the height of an interval's ends.
const CAP: i32 = 3 * PIXEL;
const SEED_RADIUS: i32 = 5 * PIXEL / 2;
const SEED_OPACITY: f64 = 0.7;
/// Half the width of the part of the reference that can be pointed at.
const HOVER_RADIUS: i32 = 3 * PIXEL;
/// Labels take at most this width from the plot.
const WIDEST_LABEL: i32 = WIDTH / 3;

impl ForestRow {
    /// The mean of all values; `None` if one of them is not a number.
    fn mean(&self) -> Option<f64> {
        Some(self.values.iter().sum::<f64>() / self.values.len() as f64).filter(|mean| mean.is_finite())
    }

    fn description(&self) -> String {
        let Self { label, values, interval } = self;
        let mean = self.mean().map_or("no mean".to_owned(), number);
        let interval = interval.map(|[low, high]| format!(" [{}, {}]", number(low), number(high)));
        format!("{label}: {mean}{}, {} values", interval.unwrap_or_default(), values.len())
    }
}

impl Forest {
    /// The plot as an SVG document, like [`crate::Figure::to_svg`]. Pointing at a row shows its numbers.
    pub fn to_svg(&self) -> String {
        let rows_height = ROW.saturating_mul(i32::try_from(self.rows.len().max(1)).unwrap_or(i32::MAX));
        let height = rows_height.saturating_add(BELOW + 2 * MARGIN);
        drawn(&self.title, height, |area| self.draw(area))
    }

    /// Draws the plot and returns the elements that show a text when pointed at.
    fn draw(&self, area: &Area<'_>) -> Result<Vec<Element>, DrawError> {
        let x = Axis::covering(Scale::new(self.log), self.numbers().filter_map(|value| self.place(value)));
        let y = Axis::rows(self.rows.iter().map(|row| shortened(&one_line(&row.label), WIDEST_LABEL)));
        let mut chart = chart(area, width_beside(&y), x, y)?;
        draw_axes(&mut chart, &self.value_label, None)?;
        let rows_hovered = (0..).zip(&self.rows).map(|(index, row)| row_hover(&chart, f64::from(index), row));
        let mut hovered: Vec<Element> = rows_hovered.collect();
        if let Some((ends, floor)) = self.band().zip(self.floor) {
            let rows = self.rows.len().max(1) as f64;
            let corners = [(ends[0], 0.0), (ends[1], 0.0), (ends[1], rows), (ends[0], rows)];
            Pen::reference(0).band(chart.plotting_area(), &corners)?;
            let [(left, top), (right, bottom)] = [corners[0], corners[2]].map(|corner| chart.backend_coord(&corner));
            let band = rectangle(left, top, (right - left).max(1), bottom - top);
            hovered.push(band.titled(&format!("noise floor: ± {}", number(floor))));
        }
        if let Some((value, place)) = self.reference.and_then(|value| Some((value, self.place(value)?))) {
            let ends = [(place, 0.0), (place, self.rows.len().max(1) as f64)];
            Pen::reference(0).line(chart.plotting_area(), &ends)?;
            let ends = ends.map(|end| chart.backend_coord(&end));
            hovered.push(tooltips::line(&ends, 2 * HOVER_RADIUS).titled(&number(value)));
        }
        for (index, row) in (0..).zip(&self.rows) {
            hovered.extend(self.draw_row(&chart, f64::from(index), row)?);
        }
        if self.numbers().all(|value| self.place(value).is_none()) {
            draw_no_data(&chart)?;
        }
        Ok(hovered)
    }

    /// Draws a row and returns the marks of its seeds, which show their values when pointed at.
    fn draw_row(&self, chart: &Chart<'_, '_>, top: f64, row: &ForestRow) -> Result<Vec<Element>, DrawError> {
        let (plot, pen) = (chart.plotting_area(), Pen::new(0, false).with(Shape::Diamond));
        let place = |value| Some((self.place(value)?, top + MEAN));
        if let Some(ends) = row.interval.and_then(|[low, high]| Some([place(low)?, place(high)?])) {
            pen.bar(plot, ends, (0, CAP))?;
        }
        let mut hovered = Vec::new();
        for (value, x) in row.values.iter().filter_map(|value| Some((*value, self.place(*value)?))) {
            let colour: RGBAColor = pen.colour.mix(SEED_OPACITY);
            plot.draw(&Circle::new((x, top + SEEDS), SEED_RADIUS, colour.filled()))?;
            hovered.push(tooltips::circle(chart.backend_coord(&(x, top + SEEDS)), SEED_RADIUS).titled(&number(value)));
        }
        if let Some(mean) = row.mean().and_then(place) {
            pen.mark(plot, mean)?;
        }
        Ok(hovered)
    }

    /// Ends of the band that noise alone explains, within the axis.
    fn band(&self) -> Option<[f64; 2]> {
        let (reference, floor) = (self.reference?, self.floor.filter(|floor| floor.is_finite())?);
        let high = self.place(reference + floor)?;
        // On a log axis the lower end may lie below everything.
        let lowest = self.numbers().filter_map(|value| self.place(value)).fold(f64::INFINITY, f64::min);
        let low = self.place(reference - floor).map_or(lowest, |low| low.max(lowest));
        (low < high).then_some([low, high])
    }

    fn place(&self, value: f64) -> Option<f64> {
        Scale::new(self.log).place(value)
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let of_row = |row: &ForestRow| {
            let ends = row.interval;
            row.values.iter().copied().chain(ends.into_iter().flatten()).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of_row).chain(self.reference)
    }
}

/// An area over the whole row that shows its numbers when pointed at.
fn row_hover(chart: &Chart<'_, '_>, top: f64, row: &ForestRow) -> Element {
    let edge = |place| chart.backend_coord(&(0.0, place)).1;
    let (top, bottom) = (edge(top), edge(top + 1.0));
    rectangle(MARGIN, top, WIDTH - 2 * MARGIN, bottom - top).titled(&row.description())
}

//! The surface that plotters draws on: an SVG page, axes in one style, and the document around them.

use plotters::{
    chart::{ChartBuilder, ChartContext, LabelAreaPosition},
    coord::{Shift, cartesian::Cartesian2d},
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    prelude::SVGBackend,
    style::{
        Color,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    axis::Axis,
    escape::one_line,
    ink::{MID_GREY, ink, themed},
    svg::{Anchor, Element, FONT_SIZE, MARGIN, PIXEL, WIDTH, document, shortened, text, text_width},
    tooltips,
};

pub(crate) type Area<'svg, Coordinates = Shift> = DrawingArea<SVGBackend<'svg>, Coordinates>;
pub(crate) type Chart<'a, 'svg> = ChartContext<'a, SVGBackend<'svg>, Cartesian2d<Axis, Axis>>;
pub(crate) type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Room below a plot for the ticks and the name of its horizontal axis.
pub(crate) const BELOW: i32 = 7 * FONT_SIZE / 2;
/// Plotters leaves twice this between an axis and its labels.
const TICK: i32 = 4 * PIXEL;

/// A document of the given height. `draw` draws inside the margins and returns the elements that show a text when
/// pointed at.
///
/// Plotters fails if it cannot write a file or measure text in a font; neither is used here. If it fails all the same,
/// the document states the reason.
pub(crate) fn drawn(
    title: &str,
    height: i32,
    draw: impl FnOnce(&Area<'_>) -> Result<Vec<Element>, DrawError>,
) -> String {
    let mut svg = String::new();
    let hovered = {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
        let hovered = draw(&canvas.margin(MARGIN, MARGIN, MARGIN, MARGIN));
        hovered.and_then(|hovered| canvas.present().map(|()| hovered))
    };
    match hovered {
        Ok(hovered) => {
            let drawing = Element::new("g").holding_markup(&themed(content(&svg)));
            document(title, height, [drawing, tooltips::overlay(hovered)])
        }
        Err(error) => {
            let message = format!("this could not be drawn: {error}");
            document(title, height, [text(&message, (WIDTH / 2, height / 2), Anchor::Middle)])
        }
    }
}

/// The content of the root element.
fn content(svg: &str) -> &str {
    let content = svg.split_once('>').map_or(svg, |(_root, content)| content);
    content.rsplit_once("</svg>").map_or(content, |(content, _root)| content)
}

/// A plot over the whole area, with the width `beside` reserved for the vertical axis.
pub(crate) fn chart<'a, 'svg>(area: &Area<'svg>, beside: i32, x: Axis, y: Axis) -> Result<Chart<'a, 'svg>, DrawError> {
    ChartBuilder::on(area)
        .set_label_area_size(LabelAreaPosition::Left, beside)
        .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
        .build_cartesian_2d(x, y)
}

/// Width of an axis's widest label and of the gap between it and the plot.
pub(crate) fn width_beside(axis: &Axis) -> i32 {
    axis.labels().map(text_width).max().unwrap_or(0) + 3 * TICK
}

/// Axes with their names, ticks and grid; a vertical axis without a name, as that of rows, has no grid.
pub(crate) fn draw_axes(chart: &mut Chart<'_, '_>, x_name: &str, y_name: Option<&str>) -> Result<(), DrawError> {
    // A name that is too long is cut at the ends of its axis.
    let (width, height) = chart.plotting_area().dim_in_pixel();
    let cut = |name: &str, length: u32| shortened(&one_line(name), i32::try_from(length).unwrap_or(i32::MAX));
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(cut(x_name, width))
        .axis_style(MID_GREY.stroke_width(PIXEL as u32))
        .bold_line_style(MID_GREY.mix(0.25).stroke_width(PIXEL as u32))
        .label_style(ink())
        .axis_desc_style(ink())
        .set_all_tick_mark_size(TICK);
    match y_name {
        Some(name) => mesh.y_desc(cut(name, height)),
        None => mesh.disable_y_mesh(),
    };
    mesh.draw()
}

/// Says that there is no data, in a plot that is empty.
pub(crate) fn draw_no_data(chart: &Chart<'_, '_>) -> Result<(), DrawError> {
    let plot = chart.plotting_area().strip_coord_spec();
    let centre = (plot.relative_to_width(0.5) as i32, plot.relative_to_height(0.5) as i32);
    plot.draw_text("no data", &ink().pos(Pos::new(HPos::Center, VPos::Center)), centre)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_drawing() {
        let svg = drawn("a", 100, |_| Err(DrawingAreaErrorKind::LayoutError));
        assert!(svg.contains("this could not be drawn: Bad layout") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }
}

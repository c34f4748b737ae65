//! How series are told apart (first by colour, then by dashes and shapes), and the elements with which they are drawn:
//! placed by value in a plot, by pixel in a legend.

use plotters::{
    coord::CoordTranslate,
    element::{Circle, DashedPathElement, EmptyElement, PathElement, Polygon, Rectangle, TriangleMarker},
    style::{Color, RGBColor, ShapeStyle},
};

use crate::{
    canvas::{Area, DrawError},
    ink::{INK, MID_GREY},
    svg::PIXEL,
};

/// Colours that colour-blind readers can tell apart.
///
/// # References
/// Okabe and Ito 2008, "Color Universal Design". Their black is replaced by the page's text colour; their yellow is
/// invisible on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    INK,
];

/// Lengths of a dash and of the gap after it.
type Dash = (i32, i32);
/// Dashes of solid lines once all colours are used …
const SOLID: [Option<Dash>; 4] =
    [None, Some((14 * PIXEL, 4 * PIXEL)), Some((8 * PIXEL, 8 * PIXEL)), Some((3 * PIXEL, 3 * PIXEL))];
/// … of dashed lines …
const DASHED: [Option<Dash>; 4] = [
    Some((7 * PIXEL, 4 * PIXEL)),
    Some((4 * PIXEL, 2 * PIXEL)),
    Some((2 * PIXEL, 5 * PIXEL)),
    Some((5 * PIXEL, 9 * PIXEL)),
];
/// … and of references, the first of which is dotted.
const DOTTED: [Option<Dash>; 4] = [
    Some((2 * PIXEL, 3 * PIXEL)),
    Some((9 * PIXEL, 3 * PIXEL)),
    Some((2 * PIXEL, 8 * PIXEL)),
    Some((5 * PIXEL, 5 * PIXEL)),
];

const LINE_WIDTH: i32 = 2 * PIXEL;
const REFERENCE_WIDTH: i32 = 3 * PIXEL / 2;
const BAR_WIDTH: i32 = 3 * PIXEL / 2;
const BAND_OPACITY: f64 = 0.2;
const RADIUS: i32 = 3 * PIXEL;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
}

const SHAPES: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond];

/// How everything with one label is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pen {
    pub colour: RGBColor,
    shape: Shape,
    line_width: i32,
    dash: Option<Dash>,
}

impl Pen {
    /// The pen for the label with this index among all labels.
    pub(crate) fn new(index: usize, is_dashed: bool) -> Self {
        let round = index / COLOURS.len() % SHAPES.len();
        let dash = if is_dashed { DASHED[round] } else { SOLID[round] };
        Self { colour: COLOURS[index % COLOURS.len()], shape: SHAPES[round], line_width: LINE_WIDTH, dash }
    }

    /// The same pen with another shape of marks.
    pub(crate) fn with(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The pen for the reference with this index among all references: grey, thin, and dotted or dashed.
    pub(crate) fn reference(index: usize) -> Self {
        let dash = DOTTED[index % DOTTED.len()];
        Self { colour: MID_GREY, shape: Shape::Circle, line_width: REFERENCE_WIDTH, dash }
    }

    pub(crate) fn line<C>(self, area: &Area<'_, C>, points: &[C::From]) -> Result<(), DrawError>
    where
        C: CoordTranslate<From: Clone>,
    {
        let stroke = self.stroke(self.line_width);
        match self.dash {
            None => area.draw(&PathElement::new(points, stroke)),
            Some((dash, gap)) => area.draw(&DashedPathElement::new(points.iter().cloned(), dash, gap, stroke)),
        }
    }

    pub(crate) fn band<C>(self, area: &Area<'_, C>, corners: &[C::From]) -> Result<(), DrawError>
    where
        C: CoordTranslate<From: Clone>,
    {
        area.draw(&Polygon::new(corners, self.colour.mix(BAND_OPACITY)))
    }

    /// An error bar whose ends extend by `cap` to either side.
    pub(crate) fn bar<C>(self, area: &Area<'_, C>, ends: [C::From; 2], cap: (i32, i32)) -> Result<(), DrawError>
    where
        C: CoordTranslate<From: Clone>,
    {
        let stroke = self.stroke(BAR_WIDTH);
        area.draw(&PathElement::new(ends.clone(), stroke))?;
        for end in ends {
            area.draw(&(EmptyElement::at(end) + PathElement::new([(-cap.0, -cap.1), cap], stroke)))?;
        }
        Ok(())
    }

    pub(crate) fn mark<C: CoordTranslate>(self, area: &Area<'_, C>, place: C::From) -> Result<(), DrawError> {
        let (fill, r) = (self.colour.filled(), RADIUS);
        match self.shape {
            Shape::Circle => area.draw(&Circle::new(place, r, fill)),
            Shape::Square => area.draw(&(EmptyElement::at(place) + Rectangle::new([(-r, -r), (r, r)], fill))),
            Shape::Triangle => area.draw(&TriangleMarker::new(place, r * 4 / 3, fill)),
            Shape::Diamond => {
                let corners = [(0, -r * 3 / 2), (r * 5 / 4, 0), (0, r * 3 / 2), (-r * 5 / 4, 0)];
                area.draw(&(EmptyElement::at(place) + Polygon::new(corners, fill)))
            }
        }
    }

    fn stroke(self, width: i32) -> ShapeStyle {
        self.colour.stroke_width(width as u32)
    }
}

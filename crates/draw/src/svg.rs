//! SVG markup: elements with attributes, and the document around them.

use std::fmt::{self, Display, Write};

use crate::escape::{escape, one_line};

/// Coordinates are integers in tenths of a pixel: short to write, and smooth when a page enlarges the drawing.
pub(crate) const PIXEL: i32 = 10;
/// Width of every drawing.
pub(crate) const WIDTH: i32 = 720 * PIXEL;
/// Empty margin around every drawing.
pub(crate) const MARGIN: i32 = 12 * PIXEL;
/// Size of all text.
pub(crate) const FONT_SIZE: i32 = 13 * PIXEL;

/// `<name key="value">content</name>`
#[derive(Clone, Debug)]
pub(crate) struct Element {
    name: &'static str,
    attributes: String,
    content: String,
}

impl Element {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, attributes: String::new(), content: String::new() }
    }

    pub(crate) fn with(mut self, key: &str, value: impl Display) -> Self {
        // Writing to a string does not fail.
        let _ = write!(self.attributes, " {key}=\"{}\"", escape(&value.to_string()));
        self
    }

    pub(crate) fn holding(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.content.extend(children.into_iter().map(|child| child.to_string()));
        self
    }

    /// Adds content that is markup already, unescaped.
    pub(crate) fn holding_markup(mut self, markup: &str) -> Self {
        self.content.push_str(markup);
        self
    }

    pub(crate) fn saying(mut self, text: &str) -> Self {
        self.content.push_str(&escape(&one_line(text)));
        self
    }

    /// Adds a title, which the browser shows when the reader points at the element.
    pub(crate) fn titled(self, text: &str) -> Self {
        self.holding([Element::new("title").saying(text)])
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, attributes, content } = self;
        match content.as_str() {
            "" => writeln!(f, "<{name}{attributes}/>"),
            content => writeln!(f, "<{name}{attributes}>{content}</{name}>"),
        }
    }
}

/// Which part of a text is at its point, along the direction of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Text in the page's colour, vertically centred on the point.
pub(crate) fn text(content: &str, (x, y): (i32, i32), anchor: Anchor) -> Element {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    Element::new("text")
        .with("x", x)
        // Half the height of a letter, between small letters and capitals; browsers do not agree on
        // `dominant-baseline`.
        .with("y", y + FONT_SIZE * 35 / 100)
        .with("text-anchor", anchor)
        .with("font-family", "sans-serif")
        .with("font-size", FONT_SIZE)
        .with("fill", "currentColor")
        .saying(content)
}

/// Text that runs upwards through the point.
pub(crate) fn upright_text(content: &str, (x, y): (i32, i32)) -> Element {
    text(content, (x, y), Anchor::Middle).with("transform", format!("rotate(-90 {x} {y})"))
}

/// Estimated width of a text, without a font file to measure it.
pub(crate) fn text_width(content: &str) -> i32 {
    (content.chars().count() as f64 * 0.56 * f64::from(FONT_SIZE)) as i32
}

/// The text cut to a width, with an ellipsis if it was cut.
pub(crate) fn shortened(content: &str, width: i32) -> String {
    if text_width(content) <= width {
        return content.to_owned();
    }
    let fitting = usize::try_from(width * 100 / (56 * FONT_SIZE)).unwrap_or(0);
    content.chars().take(fitting.saturating_sub(1)).chain(['…']).collect()
}

/// Points as SVG writes them: `x,y x,y …`
pub(crate) fn vertices(points: &[(i32, i32)]) -> String {
    points.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
}

/// A rectangle without a fill.
pub(crate) fn rectangle(left: i32, top: i32, width: i32, height: i32) -> Element {
    let rectangle = Element::new("rect").with("x", left).with("y", top).with("width", width).with("height", height);
    rectangle.with("fill", "none")
}

/// The SVG document: its size in pixels, its accessible name, and a text colour that follows the page.
pub(crate) fn document(title: &str, height: i32, content: impl IntoIterator<Item = Element>) -> String {
    // `svg:root` matches a drawing that is a file of its own; inside a page the root is the page, whose colour is
    // inherited.
    let style = "svg:root { color: #1c1c1e } @media (prefers-color-scheme: dark) { svg:root { color: #e4e4e6 } }";
    let drawing = Element::new("g").with("stroke-linejoin", "round").holding(content);
    Element::new("svg")
        .with("xmlns", "http://www.w3.org/2000/svg")
        .with("viewBox", format!("0 0 {WIDTH} {height}"))
        .with("width", WIDTH / PIXEL)
        .with("height", height / PIXEL)
        .with("role", "img")
        .holding([Element::new("title").saying(title), Element::new("style").saying(style), drawing])
        .to_string()
}

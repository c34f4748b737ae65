//! Attention patterns: one heat map per layer and head, with queries running downwards and keys to the right.

use std::fmt::Write;

use image_webp::EncodingError;
use thiserror::Error;

use crate::{
    raster,
    svg::{
        Anchor, Element, FONT_SIZE, MARGIN, PIXEL, WIDTH, document, rectangle, shortened, text, text_width,
        upright_text,
    },
};

/// The attention pattern of one head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern {
    /// Number of queries.
    pub q_len: usize,
    /// Number of keys.
    pub k_len: usize,
    /// `[q_len, k_len]`, row by row; after softmax each row sums to 1.
    pub weights: Vec<f32>,
}

impl Pattern {
    /// The pattern averaged over blocks of `side` x `side` weights; blocks at the lower and the right edge may be
    /// smaller.
    pub fn pooled(self, side: usize) -> Self {
        if side <= 1 {
            return self;
        }
        let Self { q_len, k_len, weights } = self;
        let blocks = |length: usize| (0..length).step_by(side).map(move |first| first..(first + side).min(length));
        let mean = |(queries, keys): (std::ops::Range<usize>, std::ops::Range<usize>)| {
            let size = queries.len() * keys.len();
            let sum: f32 = queries.map(|query| weights[query * k_len..][keys.clone()].iter().sum::<f32>()).sum();
            sum / size as f32
        };
        let all = blocks(q_len).flat_map(|queries| blocks(k_len).map(move |keys| (queries.clone(), keys)));
        Self { q_len: q_len.div_ceil(side), k_len: k_len.div_ceil(side), weights: all.map(mean).collect() }
    }
}

/// Attention patterns of a network for one input.
///
/// Each map has its own scale: a weight w has the opacity √(w / max w), and the largest weight is written above the
/// map. The square root keeps the small weights of long rows visible beside the first row of a causal network, whose
/// only weight is 1. Negative and non-finite weights have no colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patterns {
    /// What is shown, for screen readers; it is not drawn.
    pub title: String,
    /// One pattern per layer and head.
    pub layers: Vec<Vec<Pattern>>,
    /// Names of the queries' positions, such as tokens; positions without a name are numbered from 0.
    pub query_labels: Vec<String>,
    /// Names of the keys' positions.
    pub key_labels: Vec<String>,
}

/// Why patterns could not be drawn.
#[derive(Debug, Error)]
pub enum PatternError {
    /// The number of weights is not `q_len` · `k_len`.
    #[error("layer {layer}, head {head}: {q_len} queries and {k_len} keys have {} weights, not {weights}", q_len * k_len)]
    Shape {
        /// Layer, counted from 0.
        layer: usize,
        /// Head, counted from 0.
        head: usize,
        /// Number of queries.
        q_len: usize,
        /// Number of keys.
        k_len: usize,
        /// Number of weights.
        weights: usize,
    },
    /// Pixels could not be written as an image.
    #[error("pixels could not be written as an image: {0}")]
    Image(#[from] EncodingError),
}

/// Largest number of heads beside each other; further heads start another row.
const MOST_COLUMNS: usize = 4;
const GAP: i32 = 18 * PIXEL;
const HEADING: i32 = 24 * PIXEL;
/// Largest side of a map: a single head does not fill the page.
const LARGEST_MAP: i32 = 340 * PIXEL;
/// Smallest side of a map: a single query among many keys remains a stripe that can be pointed at.
const SMALLEST_SIDE: i32 = 24 * PIXEL;
/// Names of positions take at most this width.
const LONGEST_NAME: i32 = 64 * PIXEL;
const TICK_SPACE: i32 = 5 * PIXEL;
/// Number of keys that a query's row lists when pointed at.
const STRONGEST: usize = 5;
/// Largest number of queries, over all maps, that list their keys; each takes about 200 bytes.
const MOST_HOVERED: usize = 4000;

/// Colour of the largest weight.
const COLOUR: [u8; 3] = [0x1f, 0x83, 0xd6];

impl Patterns {
    /// The patterns as an SVG document with one small image per head. Pointing at a row shows the query and its
    /// strongest keys.
    ///
    /// # Errors
    /// [`PatternError::Shape`]; [`PatternError::Image`], although no known pattern causes it.
    pub fn to_svg(&self) -> Result<String, PatternError> {
        self.check()?;
        let columns = self.layers.iter().map(Vec::len).max().unwrap_or(1).clamp(1, MOST_COLUMNS);
        let grid = Grid::new(self, columns);
        let (mut top, mut content) = (MARGIN, Vec::new());
        for (layer, heads) in self.layers.iter().enumerate() {
            content.push(text(&format!("layer {layer}"), (MARGIN, top + HEADING / 3), Anchor::Start));
            top += HEADING;
            for (row, heads) in heads.chunks(columns).enumerate() {
                content.extend(grid.row(heads, row * columns, layer, top)?);
                top += grid.row_height(heads);
            }
        }
        if content.is_empty() {
            content.push(text("no data", (WIDTH / 2, top + HEADING / 3), Anchor::Middle));
            top += HEADING;
        }
        content.push(Element::new("style").saying(".pattern-row:hover { fill: currentColor; fill-opacity: 0.2 }"));
        Ok(document(&self.title, top + MARGIN, content))
    }

    fn check(&self) -> Result<(), PatternError> {
        for (layer, heads) in self.layers.iter().enumerate() {
            for (head, Pattern { q_len, k_len, weights }) in heads.iter().enumerate() {
                if q_len * k_len != weights.len() {
                    let (q_len, k_len, weights) = (*q_len, *k_len, weights.len());
                    return Err(PatternError::Shape { layer, head, q_len, k_len, weights });
                }
            }
        }
        Ok(())
    }
}

/// Where the maps are placed.
struct Grid<'a> {
    patterns: &'a Patterns,
    /// Left edge of the first map.
    left: i32,
    /// Width of a map.
    side: i32,
    /// Height below a map reserved for the names of keys.
    below: i32,
    has_hover: bool,
}

impl<'a> Grid<'a> {
    fn new(patterns: &'a Patterns, columns: usize) -> Self {
        let all = || patterns.layers.iter().flatten();
        let longest = |labels: &[String], length: usize| {
            let names = (0..length).map(|position| text_width(&name(labels, position)));
            names.max().unwrap_or(0).min(LONGEST_NAME)
        };
        let beside = longest(&patterns.query_labels, all().map(|pattern| pattern.q_len).max().unwrap_or(0));
        let left = MARGIN + 3 * FONT_SIZE / 2 + beside + TICK_SPACE;
        let columns = i32::try_from(columns).unwrap_or(1);
        let side = ((WIDTH - MARGIN - left - (columns - 1) * GAP) / columns).min(LARGEST_MAP);
        let has_hover = all().map(|pattern| pattern.q_len).sum::<usize>() <= MOST_HOVERED;
        Self { patterns, left, side, below: TICK_SPACE + 5 * FONT_SIZE / 2, has_hover }
    }

    /// Width and height of a map: every weight is a square of the same size, unless the map would be too narrow to see;
    /// then it is stretched.
    fn size(&self, pattern: &Pattern) -> (i32, i32) {
        let square = f64::from(self.side) / pattern.q_len.max(pattern.k_len).max(1) as f64;
        let side = |length: usize| ((length as f64 * square).round() as i32).max(SMALLEST_SIDE);
        (side(pattern.k_len), side(pattern.q_len))
    }

    fn row_height(&self, heads: &[Pattern]) -> i32 {
        HEADING + heads.iter().map(|pattern| self.size(pattern).1).max().unwrap_or(0) + self.below + GAP / 2
    }

    /// Draws one row of maps, for some heads of a layer, numbered from `first`.
    fn row(&self, heads: &[Pattern], first: usize, layer: usize, top: i32) -> Result<Vec<Element>, PatternError> {
        let maps = (0..).zip(first..).zip(heads).map(|((column, head), pattern)| {
            let left = self.left + column * (self.side + GAP);
            let place = Place { layer, head, left, top: top + HEADING, is_first: column == 0 };
            self.map(pattern, &place)
        });
        maps.collect()
    }

    fn map(&self, pattern: &Pattern, place: &Place) -> Result<Element, PatternError> {
        let (width, height) = self.size(pattern);
        let Place { left, top, .. } = *place;
        let image = image(pattern)?.with("x", left).with("y", top).with("width", width).with("height", height);
        let border = rectangle(left, top, width, height).with("stroke", "gray").with("stroke-width", PIXEL / 2);
        let heading = |content: &str, x, anchor| text(content, (x, top - HEADING / 2), anchor);
        let head = heading(&format!("head {}", place.head), left, Anchor::Start);
        let scale = heading(
            &format!("max {}", three_digits(largest(&pattern.weights))),
            left + width.max(self.side / 2),
            Anchor::End,
        )
        .with("opacity", 0.7);
        let mut map = Element::new("g").holding([head, scale, image, border]);
        map = map.holding(self.keys(pattern, place)).holding(self.queries(pattern, place));
        Ok(if self.has_hover { map.holding([self.hover(pattern, place)]) } else { map })
    }

    /// Names below a map.
    fn keys(&self, pattern: &Pattern, &Place { left, top, .. }: &Place) -> Vec<Element> {
        let (width, height) = self.size(pattern);
        let labels = &self.patterns.key_labels;
        let widest = (0..pattern.k_len).map(|position| text_width(&name(labels, position))).max().unwrap_or(0);
        let baseline = top + height + TICK_SPACE + FONT_SIZE / 2;
        let tick = |position| {
            let x = left + centre(position, pattern.k_len, width);
            text(&shortened(&name(labels, position), LONGEST_NAME), (x, baseline), Anchor::Middle)
        };
        let ticks = ticks(pattern.k_len, width, widest.min(LONGEST_NAME) + FONT_SIZE / 2);
        let axis = text("key", (left + width / 2, baseline + 5 * FONT_SIZE / 4), Anchor::Middle);
        ticks.map(tick).chain([axis]).collect()
    }

    /// Names beside the first map of a row.
    fn queries(&self, pattern: &Pattern, &Place { left, top, is_first, .. }: &Place) -> Vec<Element> {
        if !is_first {
            return vec![];
        }
        let height = self.size(pattern).1;
        let labels = &self.patterns.query_labels;
        let tick = |position| {
            let y = top + centre(position, pattern.q_len, height);
            text(&shortened(&name(labels, position), LONGEST_NAME), (left - TICK_SPACE, y), Anchor::End)
        };
        let axis = upright_text("query", (MARGIN + FONT_SIZE / 2, top + height / 2));
        ticks(pattern.q_len, height, 5 * FONT_SIZE / 4).map(tick).chain([axis]).collect()
    }

    /// One area per query that shows a text when pointed at.
    fn hover(&self, pattern: &Pattern, place: &Place) -> Element {
        let (width, height) = self.size(pattern);
        let edge =
            |position: usize| place.top + (position as f64 / pattern.q_len as f64 * f64::from(height)).round() as i32;
        let rows = (0..pattern.q_len).map(|query| {
            let row = rectangle(place.left, edge(query), width, edge(query + 1) - edge(query));
            row.with("class", "pattern-row").titled(&self.description(pattern, place, query))
        });
        Element::new("g").with("pointer-events", "all").holding(rows)
    }

    /// The text that says which keys a query attends to most.
    fn description(&self, pattern: &Pattern, &Place { layer, head, .. }: &Place, query: usize) -> String {
        let Patterns { query_labels, key_labels, .. } = self.patterns;
        let weights = &pattern.weights[query * pattern.k_len..][..pattern.k_len];
        let mut text = format!("layer {layer}, head {head}, query {}", full_name(query_labels, query));
        for (index, (key, weight)) in strongest(weights).into_iter().enumerate() {
            let separator = if index == 0 { ": key " } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{} {weight:.3}", full_name(key_labels, key));
        }
        text
    }
}

/// One map and its upper left corner.
struct Place {
    layer: usize,
    head: usize,
    left: i32,
    top: i32,
    is_first: bool,
}

/// The largest weights with their keys, largest first; keys with weight zero are left out.
fn strongest(weights: &[f32]) -> Vec<(usize, f32)> {
    let mut keys: Vec<(usize, f32)> = weights.iter().copied().enumerate().filter(|(_, weight)| *weight > 0.0).collect();
    keys.sort_by(|a, b| b.1.total_cmp(&a.1));
    keys.truncate(STRONGEST);
    keys
}

fn name(labels: &[String], position: usize) -> String {
    labels.get(position).cloned().unwrap_or_else(|| position.to_string())
}

/// Name and number of a position, since several positions may have the same name.
fn full_name(labels: &[String], position: usize) -> String {
    labels.get(position).map_or_else(|| position.to_string(), |label| format!("{position} ({label})"))
}

/// Positions whose names fit beside each other: multiples of a round distance, from 0.
fn ticks(length: usize, side: i32, space: i32) -> impl Iterator<Item = usize> {
    let fits = |stride: &usize| f64::from(side) * *stride as f64 >= f64::from(space) * length as f64;
    let strides = (0..).flat_map(|exponent| [1, 2, 5].map(|digit| digit * 10_usize.pow(exponent)));
    let stride = strides.take_while(|stride| *stride < length).find(fits).unwrap_or(length.max(1));
    (0..length).step_by(stride)
}

/// Middle of a position along a side of the map.
fn centre(position: usize, length: usize, side: i32) -> i32 {
    ((position as f64 + 0.5) / length as f64 * f64::from(side)).round() as i32
}

/// Three significant digits: 1, 0.0167.
fn three_digits(weight: f32) -> String {
    format!("{weight:.2e}").parse().map_or(String::new(), |rounded: f32| rounded.to_string())
}

fn largest(weights: &[f32]) -> f32 {
    weights.iter().copied().filter(|weight| weight.is_finite()).fold(0.0, f32::max)
}

/// One pixel per weight, in a single colour with opacity √(w / max w), so that the page shows through. Lossless WebP.
fn image(pattern: &Pattern) -> Result<Element, EncodingError> {
    let largest = largest(&pattern.weights);
    let level = |weight: &f32| {
        if *weight > 0.0 && weight.is_finite() { ((weight / largest).sqrt() * 255.0).round() as u8 } else { 0 }
    };
    let mut levels: Vec<u8> = pattern.weights.iter().map(level).collect();
    // An image has at least one pixel.
    let (width, height) = (pattern.k_len.max(1), pattern.q_len.max(1));
    levels.resize(width * height, 0);
    let pixels: Vec<u8> = levels.into_iter().flat_map(|level| [COLOUR[0], COLOUR[1], COLOUR[2], level]).collect();
    raster::image(&pixels, width, height)
}

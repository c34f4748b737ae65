//! Rows of pictures beside each other, such as what is shown, what was made of it, and the truth.

use crate::{
    PatternError,
    raster::image,
    svg::{Anchor, Element, FONT_SIZE, MARGIN, PIXEL, WIDTH, document, rectangle, shortened, text},
};

/// A picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Number of columns of pixels.
    pub width: usize,
    /// Red, green and blue from 0 to 1, row by row; `None` where a pixel is hidden.
    pub pixels: Vec<Option<[f32; 3]>>,
}

/// Rows of pictures under named columns.
///
/// Hidden pixels are orange, on a light and on a dark page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// What is shown, for screen readers; it is not drawn.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// One picture per column.
    pub rows: Vec<Vec<Picture>>,
}

const GAP: i32 = 10 * PIXEL;
/// Largest side of a picture.
const LARGEST: i32 = 110 * PIXEL;
/// Colour behind hidden pixels.
const HIDDEN: &str = "#e69f00";

impl Pictures {
    /// The pictures as an SVG document with an image for each.
    ///
    /// # Errors
    /// [`PatternError::Image`] for a picture that cannot be written, such as one without pixels.
    pub fn to_svg(&self) -> Result<String, PatternError> {
        let columns = i32::try_from(self.columns.len()).unwrap_or(i32::MAX).max(1);
        let side = ((WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns).min(LARGEST);
        let lefts = || (0..columns).map(|column| MARGIN + column * (side + GAP));
        let heading = |(name, left): (&String, i32)| {
            text(&shortened(name, side + GAP / 2), (left, MARGIN + FONT_SIZE / 2), Anchor::Start).titled(name)
        };
        let mut content: Vec<Element> = self.columns.iter().zip(lefts()).map(heading).collect();
        let mut top = MARGIN + 2 * FONT_SIZE;
        for (at, row) in self.rows.iter().enumerate() {
            let mut tallest = 0;
            for ((picture, left), column) in row.iter().zip(lefts()).zip(&self.columns) {
                let (element, height) = picture.element(left, top, side)?;
                content.push(element.titled(&format!("picture {}, {column}", at + 1)));
                tallest = tallest.max(height);
            }
            top += tallest + GAP;
        }
        Ok(document(&self.title, top + MARGIN - GAP, content))
    }
}

impl Picture {
    /// The picture at a place, as wide as `side` or as high, and its height.
    fn element(&self, left: i32, top: i32, side: i32) -> Result<(Element, i32), PatternError> {
        let (width, height) = (self.width.max(1), self.pixels.len() / self.width.max(1));
        let scale = f64::from(side) / width.max(height) as f64;
        let [wide, high] = [width, height].map(|pixels| (pixels as f64 * scale).round() as i32);
        let level = |number: f32| (number.clamp(0.0, 1.0) * 255.0).round() as u8;
        let pixel = |pixel: &Option<[f32; 3]>| match pixel {
            Some([red, green, blue]) => [level(*red), level(*green), level(*blue), u8::MAX],
            None => [0; 4],
        };
        let bytes: Vec<u8> = self.pixels.iter().flat_map(pixel).collect();
        let image = image(&bytes, width, height)?;
        let image = image.with("x", left).with("y", top).with("width", wide).with("height", high);
        let behind = rectangle(left, top, wide, high).with("style", format!("fill: {HIDDEN}"));
        let border = rectangle(left, top, wide, high).with("stroke", "gray").with("stroke-width", PIXEL / 2);
        let has_hidden = self.pixels.iter().any(Option::is_none);
        let parts = has_hidden.then_some(behind).into_iter().chain([image, border]);
        Ok((Element::new("g").holding(parts), high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_image_for_each_picture_and_orange_behind_hidden_pixels_alone() {
        let picture = |hidden: bool| Picture {
            width: 2,
            pixels: vec![Some([0.0, 0.5, 2.0]), if hidden { None } else { Some([1.0; 3]) }],
        };
        let pictures = Pictures {
            title: "a & b".to_owned(),
            columns: vec!["hidden".to_owned(), "truth".to_owned()],
            rows: vec![vec![picture(true), picture(false)], vec![picture(true), picture(false)]],
        };
        let svg = pictures.to_svg().unwrap_or_default();
        assert_eq!((svg.matches("<image ").count(), svg.matches(HIDDEN).count()), (4, 2));
        assert!(svg.contains("picture 2, truth") && svg.contains("a &amp; b"), "{svg}");
    }

    #[test]
    fn a_picture_without_pixels_is_an_error() {
        let none =
            Pictures { columns: vec!["a".to_owned()], rows: vec![vec![Picture::default()]], ..Pictures::default() };
        assert!(matches!(none.to_svg(), Err(PatternError::Image(_))));
    }
}

//! Images of pixels inside a drawing.

use base64::{Engine, prelude::BASE64_STANDARD};
use image_webp::{ColorType, EncodingError, WebPEncoder};

use crate::svg::Element;

/// Pixels as a lossless WebP inside an element, `width` of them in a row, each red, green, blue and opacity. Enlarged pixels stay
/// squares.
pub(crate) fn image(pixels: &[u8], width: usize, height: usize) -> Result<Element, EncodingError> {
    let mut bytes = Vec::new();
    WebPEncoder::new(&mut bytes).encode(pixels, width as u32, height as u32, ColorType::Rgba8)?;
    let image = Element::new("image").with("preserveAspectRatio", "none").with("style", "image-rendering: pixelated");
    Ok(image.with("href", format!("data:image/webp;base64,{}", BASE64_STANDARD.encode(bytes))))
}

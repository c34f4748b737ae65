//! What drawn attention patterns contain.

use base64::{Engine, prelude::BASE64_STANDARD};
use headway_draw::{Pattern, PatternError, Patterns};
use image_webp::WebPDecoder;
use roxmltree::{Document, Node};

fn pattern(q_len: usize, k_len: usize, weights: &[f32]) -> Pattern {
    Pattern { q_len, k_len, weights: weights.to_vec() }
}

fn named<'a, 'input>(svg: &'a Document<'input>, name: &str) -> Vec<Node<'a, 'input>> {
    svg.descendants().filter(|node| node.tag_name().name() == name).collect()
}

fn texts(svg: &Document<'_>, name: &str) -> Vec<String> {
    named(svg, name).iter().map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

fn number(node: &Node, key: &str) -> i32 {
    node.attribute(key).unwrap().parse().unwrap()
}

/// Width, height and the opacity of each pixel.
fn opacities(image: &Node) -> (u32, u32, Vec<u8>) {
    let data = image.attribute("href").unwrap().strip_prefix("data:image/webp;base64,").unwrap();
    let bytes = BASE64_STANDARD.decode(data).unwrap();
    let mut decoder = WebPDecoder::new(std::io::Cursor::new(bytes)).unwrap();
    assert!(decoder.has_alpha());
    let (width, height) = decoder.dimensions();
    let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
    decoder.read_image(&mut pixels).unwrap();
    (width, height, pixels.chunks(4).map(|pixel| pixel[3]).collect())
}

#[test]
fn queries_are_rows_keys_are_columns_and_roots_are_opacities() {
    let weights = [0.0, 0.0625, 0.25, 0.25, 0.0, -1.0];
    let patterns = Patterns { layers: vec![vec![pattern(2, 3, &weights)]], ..Patterns::default() };
    let svg = patterns.to_svg().unwrap();
    let svg = Document::parse(&svg).unwrap();
    let image = named(&svg, "image").remove(0);
    assert_eq!(opacities(&image), (3, 2, vec![0, 128, 255, 255, 0, 0]));
    let size = (number(&image, "width"), number(&image, "height"));
    assert!((size.0 * 2).abs_diff(size.1 * 3) <= 3, "weights are squares: {size:?}");
}

#[test]
fn pointing_at_a_query_tells_its_strongest_keys() {
    let weights = [0.0, 0.125, 0.875, 0.25, 0.5, 0.25, f32::NAN, 0.0, 0.0];
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let patterns = Patterns {
        layers: vec![vec![], vec![pattern(3, 3, &weights)]],
        query_labels: labels(&["<a>", "b"]),
        key_labels: labels(&["x", "y"]),
        ..Patterns::default()
    };
    let svg = patterns.to_svg().unwrap();
    let svg = Document::parse(&svg).unwrap();
    let told: Vec<String> = texts(&svg, "title").into_iter().skip(1).collect();
    let expected = [
        "layer 1, head 0, query 0 (<a>): key 2 0.875, 1 (y) 0.125",
        "layer 1, head 0, query 1 (b): key 1 (y) 0.500, 0 (x) 0.250, 2 0.250",
        "layer 1, head 0, query 2",
    ];
    assert_eq!(told, expected);
    // The rows cover the map without a gap.
    let (image, rows) = (named(&svg, "image").remove(0), named(&svg, "rect"));
    let rows: Vec<_> = rows.into_iter().filter(|row| row.has_attribute("class")).collect();
    assert!(rows.windows(2).all(|pair| number(&pair[0], "y") + number(&pair[0], "height") == number(&pair[1], "y")));
    assert_eq!(number(&rows[0], "y"), number(&image, "y"));
    assert_eq!(rows.iter().map(|row| number(row, "height")).sum::<i32>(), number(&image, "height"));
}

#[test]
fn maps_stand_apart_inside_the_drawing() {
    for (n_layers, n_heads, q_len, k_len) in [(2, 7, 5, 5), (1, 1, 3, 31), (3, 2, 31, 1), (1, 4, 1, 1), (1, 3, 0, 0)] {
        let weights = vec![1.0; q_len * k_len];
        let layers = vec![vec![pattern(q_len, k_len, &weights); n_heads]; n_layers];
        let svg = Patterns { layers, ..Patterns::default() }.to_svg().unwrap();
        let svg = Document::parse(&svg).unwrap();
        let height: i32 = svg.root_element().attribute("viewBox").unwrap().split(' ').nth(3).unwrap().parse().unwrap();
        let edges = |image: &Node| {
            let (x, y) = (number(image, "x"), number(image, "y"));
            (x, y, x + number(image, "width"), y + number(image, "height"))
        };
        let maps: Vec<_> = named(&svg, "image").iter().map(edges).collect();
        assert_eq!(maps.len(), n_layers * n_heads);
        assert!(
            maps.iter().all(|(left, top, right, bottom)| *left > 0 && *top > 0 && *right < 7200 && *bottom < height)
        );
        for (index, a) in maps.iter().enumerate() {
            let overlaps = |b: &(i32, i32, i32, i32)| a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3;
            assert!(!maps[index + 1..].iter().any(overlaps), "{maps:?}");
        }
        let texts = texts(&svg, "text");
        assert_eq!(texts.iter().filter(|text| *text == "head 0").count(), n_layers);
        assert!(texts.contains(&"query".to_owned()) && texts.contains(&"key".to_owned()));
    }
}

#[test]
fn every_name_is_shown_where_there_is_room_and_few_where_there_is_none() {
    let shown = |length: usize, n_heads: usize| {
        let labels: Vec<String> = (0..length).map(|position| format!("q{position}")).collect();
        let heads = vec![pattern(length, length, &vec![0.5; length * length]); n_heads];
        let patterns = Patterns { layers: vec![heads], query_labels: labels, ..Patterns::default() };
        let svg = patterns.to_svg().unwrap();
        let is_name = |text: &&String| text.starts_with('q') && *text != "query";
        texts(&Document::parse(&svg).unwrap(), "text").iter().filter(is_name).count()
    };
    assert_eq!(shown(7, 1), 7);
    assert!((2..=15).contains(&shown(60, 4)) && shown(60, 4) < shown(60, 1));
}

#[test]
fn weights_of_another_shape_are_refused() {
    let layers = vec![vec![pattern(1, 1, &[1.0])], vec![pattern(1, 1, &[1.0]), pattern(2, 3, &[1.0; 5])]];
    let error = Patterns { layers, ..Patterns::default() }.to_svg().unwrap_err();
    assert!(matches!(error, PatternError::Shape { layer: 1, head: 1, .. }));
    assert_eq!(error.to_string(), "layer 1, head 1: 2 queries and 3 keys have 6 weights, not 5");
}

#[test]
fn nothing_to_show_is_said() {
    let svg = Patterns::default().to_svg().unwrap();
    assert_eq!(texts(&Document::parse(&svg).unwrap(), "text"), ["no data"]);
}

#[test]
fn pooled_patterns_are_means_of_blocks() {
    let whole = pattern(3, 4, &[1.0, 3.0, 5.0, 7.0, 1.0, 3.0, 5.0, 7.0, 8.0, 0.0, 2.0, 4.0]);
    assert_eq!(whole.clone().pooled(1), whole);
    assert_eq!(whole.clone().pooled(2), pattern(2, 2, &[2.0, 6.0, 4.0, 3.0]));
    assert_eq!(whole.clone().pooled(3), pattern(1, 2, &[28.0 / 9.0, 6.0]));
    assert_eq!(pattern(0, 0, &[]).pooled(2), pattern(0, 0, &[]));
}

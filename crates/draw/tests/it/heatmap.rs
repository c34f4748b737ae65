//! What a drawn heat map contains.

use headway_draw::Heatmap;
use roxmltree::Document;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Style of each cell, and the text shown when pointing at it.
fn cells(svg: &Document<'_>) -> Vec<(String, String)> {
    let rectangles = svg.descendants().filter(|node| node.tag_name().name() == "rect");
    rectangles
        .map(|node| {
            let title = node.descendants().find(|child| child.tag_name().name() == "title");
            let title = title.and_then(|title| title.text()).unwrap_or_default();
            (node.attribute("style").unwrap_or_default().to_owned(), title.to_owned())
        })
        .collect()
}

#[test]
fn colour_is_the_sign_and_opacity_the_root_of_the_size() {
    let map = Heatmap {
        title: "effects".to_owned(),
        rows: names(&["layer 0", "layer 1"]),
        columns: names(&["head 0", "head 1"]),
        values: vec![vec![Some(4.0), Some(-1.0)], vec![Some(0.0), None]],
        counts: false,
    };
    let svg = map.to_svg();
    let svg = Document::parse(&svg).unwrap();
    let wanted = [
        ("fill: #d55e00; fill-opacity: 1.000", "layer 0, head 0: 4.000"),
        ("fill: #0072b2; fill-opacity: 0.500", "layer 0, head 1: -1.000"),
        ("", "layer 1, head 0: 0.000"),
        ("", "layer 1, head 1: no number"),
    ];
    assert_eq!(cells(&svg), wanted.map(|(style, title)| (style.to_owned(), title.to_owned())));
    let texts: Vec<&str> = svg
        .descendants()
        .filter(|node| node.tag_name().name() == "text")
        .map(|node| node.text().unwrap().trim())
        .collect();
    for text in ["layer 0", "layer 1", "head 0", "head 1", "4.000", "-1.000", "0.000"] {
        assert!(texts.contains(&text), "{texts:?}");
    }
}

/// Where it is written and where it is pointed at.
#[test]
fn counts_are_whole() {
    let map = Heatmap {
        values: vec![vec![Some(3.0), Some(1_234_567.0)]],
        rows: names(&["row"]),
        counts: true,
        ..Heatmap::default()
    };
    let svg = map.to_svg();
    for text in [">3<", ">1234567<", "row, : 3<", "row, : 1234567<"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(!svg.contains("3.000"), "{svg}");
}

#[test]
fn rows_of_any_length_and_numbers_of_any_kind_are_drawn() {
    let wide: Vec<Option<f64>> = (0..200).map(|column| Some(f64::from(column) - 100.0)).collect();
    let odd = vec![Some(f64::NAN), Some(f64::INFINITY), None];
    for values in [vec![wide, odd.clone()], vec![odd], vec![vec![], vec![Some(1e300)]], vec![]] {
        let rows = (0..values.len()).map(|row| format!("row {row} <&>")).collect();
        let map = Heatmap { rows, values: values.clone(), ..Heatmap::default() };
        let svg = map.to_svg();
        let svg = Document::parse(&svg).unwrap();
        assert_eq!(cells(&svg).len(), values.iter().map(Vec::len).sum::<usize>());
        assert!(!cells(&svg).iter().any(|(style, _)| style.contains("NaN") || style.contains("inf")));
    }
}

//! What small multiples show.

use headway_draw::{Figure, Panels, Series, Style};
use roxmltree::Document;

fn figure(series: &[(&str, f64)]) -> Figure {
    let series = series.iter().map(|(label, top)| Series {
        label: (*label).to_owned(),
        points: vec![(0.0, 0.0), (1.0, *top)],
        style: Style::Line,
        ..Series::default()
    });
    Figure { x_label: "x".into(), y_label: "y".into(), series: series.collect(), ..Figure::default() }
}

#[test]
fn panels_share_axes_legend_and_colours() {
    let panels = vec![
        ("first".to_owned(), figure(&[("network", 1.0), ("ridge", 2.0)])),
        ("second".to_owned(), figure(&[("ridge", 80.0)])),
        ("third".to_owned(), figure(&[("network", 1.0), ("zero", 3.0)])),
    ];
    let svg = Panels { title: "Shifts".into(), panels }.to_svg();
    let svg = Document::parse(&svg).unwrap();
    let named = |name: &'static str| svg.descendants().filter(move |node| node.tag_name().name() == name);
    let written: Vec<&str> = named("text").map(|node| node.text().unwrap_or_default().trim()).collect();
    let count = |wanted: &str| written.iter().filter(|text| **text == wanted).count();
    // Each heading and each label once; each panel has the ticks that the largest value of all needs.
    for once in ["first", "second", "third", "network", "ridge", "zero"] {
        assert_eq!(count(once), 1, "{once}: {written:?}");
    }
    assert_eq!([count("80"), count("x"), count("y")], [3; 3], "{written:?}");
    // Two lines and two entries, in the order of the drawing: entries, then panels.
    let colours: Vec<&str> = named("polyline").filter_map(|line| line.attribute("stroke")).collect();
    let [network, ridge, zero] = ["#0072B2", "#D55E00", "#009E73"];
    let coloured: Vec<&str> = colours.into_iter().filter(|colour| [network, ridge, zero].contains(colour)).collect();
    assert_eq!(coloured, [network, ridge, zero, network, ridge, ridge, network, zero]);
}

#[test]
fn no_panels_are_an_empty_drawing() {
    let svg = Panels::default().to_svg();
    assert!(Document::parse(&svg).is_ok() && !svg.contains("NaN"), "{svg}");
}

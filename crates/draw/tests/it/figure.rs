//! What a drawn figure contains.

use headway_draw::{Figure, Series, Style};
use roxmltree::{Document, Node};

fn series(label: &str, style: Style, points: &[(f64, f64)]) -> Series {
    Series { label: label.to_owned(), points: points.to_vec(), style, ..Series::default() }
}

fn figure(series: Vec<Series>) -> Figure {
    let [title, x_label, y_label] = ["Loss", "step", "error"].map(str::to_owned);
    Figure { title, x_label, y_label, series, ..Figure::default() }
}

/// Elements with this name and this colour, as fill or stroke.
fn coloured<'a, 'input>(svg: &'a Document<'input>, name: &str, colour: &str) -> Vec<Node<'a, 'input>> {
    let has_colour = |node: &Node| ["fill", "stroke"].iter().any(|key| node.attribute(*key) == Some(colour));
    svg.descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)) && has_colour(node))
        .collect()
}

fn texts(svg: &Document<'_>) -> Vec<String> {
    let texts = svg.descendants().filter(|node| node.tag_name().name() == "text");
    texts.map(|node| node.text().unwrap_or_default().trim().to_owned()).collect()
}

fn vertices(line: &Node) -> Vec<(i32, i32)> {
    let pairs = line.attribute("points").unwrap_or_default().split_whitespace();
    let pairs = pairs.map(|pair| pair.split_once(',').unwrap());
    pairs.map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect()
}

fn centres(svg: &Document<'_>, colour: &str) -> Vec<(i32, i32)> {
    let number = |node: &Node, key| node.attribute(key).unwrap().parse().unwrap();
    coloured(svg, "circle", colour).iter().map(|node| (number(node, "cx"), number(node, "cy"))).collect()
}

const BLUE: &str = "#0072B2";
const VERMILLION: &str = "#D55E00";

/// Lines in the plot; the legend's samples, which come first, have the same colours.
fn lines(svg: &Document<'_>, colour: &str) -> Vec<Vec<(i32, i32)>> {
    coloured(svg, "polyline", colour).iter().skip(1).map(vertices).collect()
}

#[test]
fn texts_stand_once_each() {
    let points = [(0.0, 1.0), (1.0, 2.0)];
    let all = [series("seed 0", Style::Line, &points), series("bound", Style::Dashed, &points)];
    let svg =
        figure([all, [series("least squares", Style::Points, &points), series("", Style::Line, &points)]].concat())
            .to_svg();
    let svg = Document::parse(&svg).unwrap();
    for text in ["seed 0", "bound", "least squares", "step", "error"] {
        assert_eq!(texts(&svg).iter().filter(|found| *found == text).count(), 1, "{text}");
    }
    assert!(!texts(&svg).contains(&String::new()), "an empty label has no legend entry");
    let title = svg.root_element().children().find(Node::is_element).unwrap();
    assert_eq!((title.tag_name().name(), title.text()), ("title", Some("Loss")));
}

#[test]
fn every_point_is_drawn_and_order_is_kept() {
    for (x_log, y_log) in [(false, false), (false, true), (true, false), (true, true)] {
        let points: Vec<_> = (1..=17).map(|i| (f64::from(i), f64::from(i * i))).collect();
        let all = vec![series("line", Style::Line, &points), series("dots", Style::Points, &points)];
        let svg = Figure { x_log, y_log, ..figure(all) }.to_svg();
        let svg = Document::parse(&svg).unwrap();
        let [line] = <[_; 1]>::try_from(lines(&svg, BLUE)).unwrap();
        assert_eq!(line.len(), 17);
        // Larger x stands further right, larger y higher up.
        assert!(line.is_sorted_by(|a, b| a.0 < b.0 && a.1 > b.1), "{line:?}");
        assert_eq!(centres(&svg, VERMILLION)[1..], line, "dots stand where the line passes");
    }
}

#[test]
fn equal_steps_are_equal_distances() {
    let distances = |y_log, points: &[(f64, f64)]| -> Vec<i32> {
        let svg = Figure { y_log, ..figure(vec![series("a", Style::Line, points)]) }.to_svg();
        let line = lines(&Document::parse(&svg).unwrap(), BLUE).remove(0);
        line.windows(2).map(|pair| pair[0].1 - pair[1].1).collect()
    };
    let linear = distances(false, &[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]);
    let log = distances(true, &[(0.0, 0.01), (1.0, 1.0), (2.0, 100.0)]);
    assert!(linear[0].abs_diff(linear[1]) <= 1 && log[0].abs_diff(log[1]) <= 1, "{linear:?} {log:?}");
}

#[test]
fn what_cannot_be_shown_interrupts_the_line() {
    let points = [
        (0.0, 1.0),
        (1.0, 2.0),
        (2.0, f64::NAN),
        (3.0, 3.0),
        (4.0, 0.0),
        (5.0, -1.0),
        (6.0, 1.0),
        (f64::INFINITY, 1.0),
    ];
    let drawn = |y_log| {
        let svg = Figure { y_log, ..figure(vec![series("a", Style::Line, &points)]) }.to_svg();
        let svg = Document::parse(&svg).unwrap();
        (lines(&svg, BLUE).iter().map(Vec::len).collect::<Vec<_>>(), centres(&svg, BLUE).len())
    };
    assert_eq!(drawn(false), (vec![2, 4], 0));
    assert_eq!(drawn(true), (vec![2], 2), "zero and negative values leave a log axis; lone points become dots");
}

#[test]
fn axes_ignore_what_is_dropped() {
    let shown = [(1.0, 1.0), (2.0, 2.0)];
    let dropped = [(1e9, f64::NAN), (f64::NEG_INFINITY, 1e9), (1e5, 0.0)];
    let draw =
        |points: Vec<(f64, f64)>| Figure { y_log: true, ..figure(vec![series("a", Style::Line, &points)]) }.to_svg();
    assert_eq!(draw([&shown[..], &dropped].concat()), draw(shown.to_vec()));
}

#[test]
fn nothing_to_show_is_said() {
    for all in [vec![], vec![series("a", Style::Line, &[])], vec![series("a", Style::Dashed, &[(0.0, f64::NAN)])]] {
        let svg = figure(all).to_svg();
        assert!(texts(&Document::parse(&svg).unwrap()).contains(&"no data".to_owned()));
    }
}

#[test]
fn one_point_and_equal_values_are_visible() {
    for style in [Style::Line, Style::Dashed, Style::Points] {
        for points in [vec![(3.0, 0.0)], vec![(3.0, 0.0); 4]] {
            let svg = figure(vec![series("", style, &points)]).to_svg();
            assert_eq!(centres(&Document::parse(&svg).unwrap(), BLUE).len(), points.len(), "{style:?}");
        }
    }
    for (value, y_log) in [(0.0, false), (7.0, false), (-1e9, false), (1e-7, true), (1e300, true)] {
        let svg = Figure { y_log, ..figure(vec![series("a", Style::Line, &[(0.0, value), (1.0, value)])]) }.to_svg();
        let line = lines(&Document::parse(&svg).unwrap(), BLUE).remove(0);
        assert!(line.len() == 2 && line[0].1 == line[1].1, "{value}: {line:?}");
    }
}

#[test]
fn series_of_one_label_share_colour_and_legend_entry() {
    let points = [(0.0, 1.0), (1.0, 2.0)];
    let svg = figure(["a", "b", "a"].map(|label| series(label, Style::Line, &points)).to_vec()).to_svg();
    let svg = Document::parse(&svg).unwrap();
    assert_eq!((lines(&svg, BLUE).len(), lines(&svg, VERMILLION).len()), (2, 1));
    assert_eq!(texts(&svg).iter().filter(|text| *text == "a").count(), 1);
}

#[test]
fn a_long_legend_wraps_and_stays_inside() {
    let all: Vec<_> =
        (0..30).map(|i| series(&format!("attention-only, seed {i}"), Style::Line, &[(0.0, 1.0)])).collect();
    let svg = figure(all).to_svg();
    let svg = Document::parse(&svg).unwrap();
    let is_entry =
        |node: &Node| node.tag_name().name() == "text" && node.text().is_some_and(|text| text.contains("seed"));
    let number = |node: Node, key| node.attribute(key).unwrap().parse().unwrap();
    let entries = svg.descendants().filter(is_entry);
    let places: Vec<(i32, i32)> = entries.map(|node| (number(node, "x"), number(node, "y"))).collect();
    assert_eq!(places.len(), 30);
    let mut distinct = places.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() == 30 && places.iter().all(|(x, _)| *x < 7200 - 1000), "{places:?}");
}

#[test]
fn any_text_keeps_the_document_well_formed() {
    let hostile = "<b>\"a\" & 'b'</b>\u{0}\n#010203 \"#010203\" ]]> <script>";
    let mut figure = figure(vec![series(hostile, Style::Line, &[(0.0, 1.0)])]);
    (figure.title, figure.x_label, figure.y_label) = (hostile.into(), hostile.into(), hostile.into());
    let svg = figure.to_svg();
    let svg = Document::parse(&svg).unwrap();
    assert!(!svg.descendants().any(|node| ["b", "script"].contains(&node.tag_name().name())));
    // The name of the vertical axis is longer than the axis.
    let begin = |text: &&String| text.starts_with("<b>\"a\" & 'b'</b>");
    assert_eq!(texts(&svg).iter().filter(begin).count(), 3);
    assert_eq!(texts(&svg).iter().filter(|text| text.ends_with("\"#010203\" ]]> <script>")).count(), 2);
}

#[test]
fn text_follows_the_page_and_nothing_paints_a_background() {
    let svg = figure(vec![series("a", Style::Line, &[(0.0, 1.0), (1.0, 2.0)])]).to_svg();
    let svg = Document::parse(&svg).unwrap();
    for node in svg.descendants().filter(|node| node.tag_name().name() == "text") {
        assert_eq!((node.attribute("fill"), node.attribute("font-family")), (Some("currentColor"), Some("sans-serif")));
    }
    assert!(!svg.descendants().any(|node| node.tag_name().name() == "rect"));
}

#[test]
fn a_band_lies_between_its_ends_behind_the_line() {
    let points = [(0.0, 2.0), (1.0, 3.0)];
    let intervals = vec![(0.0, 1.0, 4.0), (1.0, 2.0, 5.0)];
    let svg = figure(vec![Series { intervals, ..series("a", Style::Line, &points) }]).to_svg();
    let svg = Document::parse(&svg).unwrap();
    // The first polygon is the legend's.
    let [_, band] = <[_; 2]>::try_from(coloured(&svg, "polygon", BLUE)).unwrap();
    let [(x0, high0), (x1, high1), (x2, low1), (x3, low0)] = <[_; 4]>::try_from(vertices(&band)).unwrap();
    let [(left, first), (right, second)] = <[_; 2]>::try_from(lines(&svg, BLUE).remove(0)).unwrap();
    assert_eq!([x0, x1, x2, x3], [left, right, right, left]);
    // y grows downwards: 4 > 2 > 1 at the first point, 5 > 3 > 2 at the second; each is rounded to a tenth of a pixel.
    let unit = first - second;
    assert!(unit > 0 && (first - high0).abs_diff(2 * unit) <= 3 && (low0 - first).abs_diff(unit) <= 3, "{unit}");
    assert!((second - high1).abs_diff(2 * unit) <= 3 && (low1 - second).abs_diff(unit) <= 3);
    assert!(band.range().start < coloured(&svg, "polyline", BLUE)[1].range().start);
}

#[test]
fn a_band_is_interrupted_where_it_cannot_be_shown() {
    let intervals = [1.0, 1.0, -1.0, 1.0, 1.0, f64::NAN].iter().enumerate().map(|(x, low)| (x as f64, *low, 2.0));
    let all = vec![Series { intervals: intervals.collect(), ..series("", Style::Line, &[(0.0, 1.5), (5.0, 1.5)]) }];
    let svg = Figure { y_log: true, ..figure(all) }.to_svg();
    let bands: Vec<_> = coloured(&Document::parse(&svg).unwrap(), "polygon", BLUE).iter().map(vertices).collect();
    assert_eq!(bands.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn series_with_dots_have_error_bars() {
    for (style, n_lines) in [(Style::Points, 0), (Style::LinePoints, 1)] {
        let intervals = vec![(1.0, 0.5, 3.0), (2.0, 1.5, 4.0)];
        let svg = figure(vec![Series { intervals, ..series("", style, &[(1.0, 1.0), (2.0, 2.0)]) }]).to_svg();
        let svg = Document::parse(&svg).unwrap();
        // A bar is a stroke from end to end and one across each end.
        let strokes = coloured(&svg, "polyline", BLUE).len();
        assert_eq!((centres(&svg, BLUE).len(), strokes), (2, 2 * 3 + n_lines), "{style:?}");
        assert!(coloured(&svg, "polygon", BLUE).is_empty(), "no band");
    }
}

#[test]
fn intervals_widen_the_axes() {
    let bound = vec![Series { intervals: vec![(0.0, -70.0, 900.0)], ..series("", Style::Points, &[(0.0, 1.0)]) }];
    let svg = figure(bound).to_svg();
    assert!(texts(&Document::parse(&svg).unwrap()).contains(&"800".to_owned()));
}

#[test]
fn a_reference_is_grey_and_takes_no_colour() {
    let points = [(0.0, 1.0), (1.0, 2.0)];
    let all = [("theory", Style::Reference), ("a", Style::Line), ("b", Style::Line)];
    let svg = figure(all.map(|(label, style)| series(label, style, &points)).to_vec()).to_svg();
    let svg = Document::parse(&svg).unwrap();
    assert_eq!((lines(&svg, BLUE).len(), lines(&svg, VERMILLION).len()), (1, 1));
    let width = |line: &Node| line.attribute("stroke-width").unwrap().parse::<i32>().unwrap();
    let of_lines = width(&coloured(&svg, "polyline", BLUE)[0]);
    // The axes are grey too, and thinner.
    let grey = coloured(&svg, "polyline", "#808080");
    let dots = grey.iter().filter(|line| (11..of_lines).contains(&width(line))).count();
    assert!(dots > 100, "{dots} dots");
}

/// Position of a text.
fn place(text: &Node) -> (i32, i32) {
    let number = |key| text.attribute(key).unwrap().parse().unwrap();
    (number("x"), number("y"))
}

/// Everything about a shape, with its position relative to a point.
fn look(shape: &Node, (x, y): (i32, i32)) -> String {
    let moved = |(key, value): (&str, &str)| match (key, value.parse::<i32>()) {
        ("x" | "cx", Ok(value)) => (value - x).to_string(),
        ("y" | "cy", Ok(value)) => (value - y).to_string(),
        _ => value.to_owned(),
    };
    let corners: Vec<_> = vertices(shape).into_iter().map(|(right, down)| (right - x, down - y)).collect();
    let attributes = shape.attributes().filter(|attribute| attribute.name() != "points");
    let attributes: Vec<_> = attributes.map(|attribute| moved((attribute.name(), attribute.value()))).collect();
    format!("{} {attributes:?} {corners:?}", shape.tag_name().name())
}

#[test]
fn twenty_eight_series_look_different() {
    for style in [Style::Line, Style::Dashed, Style::Points, Style::LinePoints] {
        let all = (0..28).map(|i| series(&format!("s{i}"), style, &[(0.0, 1.0), (1.0, f64::from(i))])).collect();
        let text = figure(all).to_svg();
        let svg = Document::parse(&text).unwrap();
        // The sample of each series in the legend, which precedes its label, relative to the label.
        let mut looks = Vec::new();
        let mut swatch = Vec::new();
        for node in svg.descendants() {
            match (node.tag_name().name(), node.text()) {
                ("polyline" | "polygon" | "circle" | "rect", _) => swatch.push(node),
                ("text", Some(label)) if label.trim().starts_with('s') && label.trim() != "step" => {
                    looks.push(swatch.drain(..).map(|part| look(&part, place(&node))).collect::<Vec<_>>());
                }
                _ => {}
            }
        }
        assert_eq!(looks.len(), 28);
        looks.sort();
        looks.dedup();
        assert_eq!(looks.len(), 28, "{style:?}");
    }
}

#[test]
fn pointing_tells_labels_and_numbers() {
    let points: Vec<_> = (0..1000).map(|i| (f64::from(i), 0.25)).collect();
    let intervals = vec![(0.0, 0.125, 0.5)];
    let svg = figure(vec![Series { intervals, ..series("a < b", Style::Line, &points) }]).to_svg();
    let svg = Document::parse(&svg).unwrap();
    let titles: Vec<_> = svg.descendants().filter(|node| node.tag_name().name() == "title").collect();
    let titles: Vec<_> = titles.iter().filter_map(Node::text).collect();
    assert!(titles.contains(&"a < b") && titles.contains(&"a < b: 0.2500 [0.1250, 0.5000] at 0"), "{titles:?}");
    assert!((100..=103).contains(&titles.len()), "of many points every tenth tells its numbers");
}

#[test]
fn what_tells_a_number_lies_on_its_point() {
    let points = [(1.0, 2.0), (2.0, 30.0), (3.0, 0.0), (4.0, 1.0)];
    for style in [Style::Points, Style::LinePoints] {
        let svg = Figure { y_log: true, ..figure(vec![series("", style, &points)]) }.to_svg();
        let svg = Document::parse(&svg).unwrap();
        let number = |node: &Node, key| node.attribute(key).unwrap().parse::<i32>().unwrap();
        let telling = svg.descendants().filter(|node| node.tag_name().name() == "circle" && node.has_children());
        let telling: Vec<_> = telling.map(|node| (number(&node, "cx"), number(&node, "cy"))).collect();
        assert_eq!(telling.len(), 3, "zero has no place on a log axis");
        assert_eq!(telling, centres(&svg, BLUE));
    }
}

#[test]
fn references_can_be_told_apart() {
    let points = [(0.0, 1.0), (1.0, 2.0)];
    let dashes = |label: &str| {
        let all = ["theory", "practice"].map(|label| series(label, Style::Reference, &points)).to_vec();
        let svg = figure([vec![series("network", Style::Line, &points)], all].concat()).to_svg();
        let svg = Document::parse(&svg).unwrap();
        // Dashes are separate lines; those of the legend are left of their label.
        let mut texts = svg.descendants().filter(|node| node.tag_name().name() == "text");
        let text = texts.rfind(|node| node.text().unwrap_or_default().trim() == label).unwrap();
        let [x, y] = ["x", "y"].map(|key| text.attribute(key).unwrap().parse::<i32>().unwrap());
        let is_before = |line: &Vec<(i32, i32)>| {
            line.iter().all(|(at, height)| *at < x && x - at < 400 && (height - y).abs() < 100)
        };
        let grey: Vec<_> = coloured(&svg, "polyline", "#808080").iter().map(vertices).filter(is_before).collect();
        grey.iter().map(|line| line.last().unwrap().0 - line[0].0).collect::<Vec<_>>()
    };
    let (theory, practice) = (dashes("theory"), dashes("practice"));
    assert!(!theory.is_empty() && !practice.is_empty() && theory != practice, "{theory:?} {practice:?}");
}

#[test]
fn points_on_one_spot_are_named() {
    let note = |points: &[(f64, f64)], style| {
        let svg = figure(vec![series("network", style, points)]).to_svg();
        texts(&Document::parse(&svg).unwrap()).into_iter().find(|text| text.contains("cannot be told"))
    };
    let apart = [(1.0, 1.0), (2.0, 1.0), (3.0, 2.0)];
    assert_eq!(note(&apart, Style::LinePoints), None);
    let close = [(1e-4, 1.0), (1e-3, 1.0), (1e-2, 1.0), (1e3, 1.0)];
    let said = note(&close, Style::LinePoints).unwrap();
    assert!(said.contains("network: points cannot be told from a neighbour at 0.0001, 0.001, 0.01"), "{said}");
    // A line through many points is meant to look continuous.
    assert_eq!(note(&close, Style::Line), None);
    // Points with different y are in different places.
    assert_eq!(note(&[(1.0, 1.0), (1.0 + 1e-9, 2.0)], Style::Points), None);
}

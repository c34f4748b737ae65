//! What a forest plot contains.

use headway_draw::{Forest, ForestRow};
use roxmltree::{Document, Node};

fn row(label: &str, values: &[f64], interval: Option<[f64; 2]>) -> ForestRow {
    ForestRow { label: label.to_owned(), values: values.to_vec(), interval }
}

fn forest(rows: Vec<ForestRow>) -> Forest {
    Forest { title: "Errors".into(), value_label: "error".into(), rows, ..Forest::default() }
}

fn named<'a, 'input>(svg: &'a Document<'input>, name: &str) -> Vec<Node<'a, 'input>> {
    svg.descendants().filter(|node| node.tag_name().name() == name).collect()
}

fn texts(svg: &Document<'_>, name: &str) -> Vec<String> {
    named(svg, name).iter().map(|node| node.text().unwrap_or_default().trim().to_owned()).collect()
}

/// Dots that are drawn, without the invisible ones that show numbers.
fn seeds<'a, 'input>(svg: &'a Document<'input>) -> Vec<Node<'a, 'input>> {
    named(svg, "circle").into_iter().filter(|dot| dot.attribute("fill") == Some("#0072B2")).collect()
}

fn number(node: &Node, key: &str) -> i32 {
    node.attribute(key).unwrap().parse().unwrap()
}

/// Numbers of a list of points: x, y, x, y …
fn numbers(text: &str) -> Vec<i32> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap())
        .collect()
}

#[test]
fn seeds_mean_and_interval_stand_at_their_values() {
    // Seeds at 1, 2 and 6, their mean at 3, an interval from 1 to 6.
    let svg = forest(vec![row("a", &[1.0, 6.0, 2.0], Some([1.0, 6.0]))]).to_svg();
    let svg = Document::parse(&svg).unwrap();
    let seeds: Vec<i32> = seeds(&svg).iter().map(|dot| number(dot, "cx")).collect();
    let [one, six, two] = <[_; 3]>::try_from(seeds).unwrap();
    let unit = f64::from(six - one) / 5.0;
    assert!((f64::from(two - one) - unit).abs() <= 1.0 && unit > 0.0);
    let filled = |node: &Node| node.attribute("fill") == Some("#0072B2");
    let mean = named(&svg, "polygon").into_iter().find(filled).unwrap();
    let top = numbers(mean.attribute("points").unwrap());
    assert!((f64::from(top[0] - one) - 2.0 * unit).abs() <= 1.0, "{top:?}");
    let bar = svg.descendants().find(|node| node.attribute("stroke") == Some("#0072B2")).unwrap();
    let bar = numbers(bar.attribute("points").unwrap());
    assert_eq!((bar[0], bar[2]), (one, six));
}

#[test]
fn rows_stand_below_each_other_with_their_labels() {
    let svg = forest(["a", "b", "c"].map(|label| row(label, &[1.0, 2.0], None)).to_vec()).to_svg();
    let svg = Document::parse(&svg).unwrap();
    let labels = named(&svg, "text").into_iter().filter(|node| ["a", "b", "c"].contains(&node.text().unwrap().trim()));
    let heights: Vec<i32> = labels.map(|label| number(&label, "y")).collect();
    let seeds: Vec<i32> = seeds(&svg).iter().map(|dot| number(dot, "cy")).collect();
    assert!(heights.len() == 3 && heights.is_sorted_by(|a, b| a < b));
    assert_eq!(seeds[0] - heights[0], seeds[4] - heights[2], "seeds stand beside their label");
    assert!(seeds[1] < seeds[2] && seeds[3] < seeds[4]);
}

#[test]
fn what_cannot_be_shown_is_left_out_and_has_no_mean() {
    let svg = Forest { log: true, ..forest(vec![row("a", &[f64::NAN, 2.0], Some([0.0, 1.0])), row("b", &[], None)]) };
    let svg = svg.to_svg();
    let svg = Document::parse(&svg).unwrap();
    assert_eq!(seeds(&svg).len(), 1);
    assert!(!named(&svg, "polygon").iter().any(|node| node.attribute("fill") == Some("#0072B2")), "no mean");
    let titles = texts(&svg, "title");
    assert!(titles.contains(&"b: no mean, 0 values".to_owned()), "{titles:?}");
    for empty in [vec![], vec![row("a", &[f64::NAN], None)]] {
        assert!(texts(&Document::parse(&forest(empty).to_svg()).unwrap(), "text").contains(&"no data".to_owned()));
    }
}

#[test]
fn pointing_at_a_row_tells_its_numbers_in_full() {
    let long = "<a method> with a name that is much too long to stand beside a plot";
    let svg = Forest { reference: Some(4.0), ..forest(vec![row(long, &[1.0, 2.0], Some([1.25, 1.75]))]) }.to_svg();
    let svg = Document::parse(&svg).unwrap();
    let titles = texts(&svg, "title");
    for title in [format!("{long}: 1.500 [1.250, 1.750], 2 values"), "1.000".to_owned(), "4.000".to_owned()] {
        assert!(titles.contains(&title), "{title}: {titles:?}");
    }
    assert!(texts(&svg, "text").iter().any(|text| text.starts_with("<a method> with") && text.ends_with('…')));
}

#[test]
fn what_tells_a_number_lies_on_its_seed() {
    let rows = ["a", "b"].map(|label| row(label, &[1.0, 2.0, 7.0], None));
    let svg = forest(rows.to_vec()).to_svg();
    let svg = Document::parse(&svg).unwrap();
    let centre = |dot: &Node| (number(dot, "cx"), number(dot, "cy"));
    let telling: Vec<_> = named(&svg, "circle").into_iter().filter(Node::has_children).collect();
    assert_eq!(telling.iter().map(centre).collect::<Vec<_>>(), seeds(&svg).iter().map(centre).collect::<Vec<_>>());
    // Row areas are below the dots of seeds, which would otherwise not respond, and cover them all.
    let rows = named(&svg, "rect");
    assert!(rows.len() == 2 && rows[1].range().end < telling[0].range().start);
    for (index, seed) in telling.iter().enumerate() {
        let (row, y) = (&rows[index / 3], number(seed, "cy"));
        assert!((number(row, "y")..number(row, "y") + number(row, "height")).contains(&y), "{index}");
    }
}

#[test]
fn the_band_of_noise_lies_around_the_reference() {
    let rows = || vec![row("a", &[1.0, 9.0], None)];
    let with = |floor, log| Forest { reference: Some(4.0), floor, log, ..forest(rows()) }.to_svg();
    let says = |svg: &str| svg.contains("noise floor: ± 0.5");
    assert!(says(&with(Some(0.5), false)) && says(&with(Some(0.5), true)));
    assert!(!says(&with(None, false)));
    // A band that reaches below a log axis, or over everything, is cut at its ends.
    assert!(with(Some(5.0), true).contains("noise floor: ± 5"));
    assert!(!with(Some(f64::NAN), false).contains("noise floor"));
    assert!(!Forest { floor: Some(1.0), ..forest(rows()) }.to_svg().contains("noise floor"));
}

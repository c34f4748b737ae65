//! What a report's page contains.

use headway_draw::{Figure, File, Report, Section};
use roxmltree::{Document, Node, ParsingOptions};

fn cells(row: &[&str]) -> Vec<Option<String>> {
    row.iter().map(|cell| (!cell.is_empty()).then(|| (*cell).to_owned())).collect()
}

fn table(header: &[&str], rows: &[&[&str]]) -> Section {
    Section::Table {
        title: "Errors".into(),
        note: "Mean over 5 seeds.".into(),
        header: header.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows.iter().map(|row| cells(row)).collect(),
    }
}

fn report(sections: Vec<Section>) -> Report {
    Report {
        title: "A run".into(),
        summary: "What came out.".into(),
        command: "headway train x.toml".into(),
        sections,
        ..Report::default()
    }
}

/// The page is well-formed XML as well as HTML, which means that every tag is closed.
fn with_page<T>(report: &Report, look: impl Fn(&Document<'_>) -> T) -> T {
    let html = report.to_html();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    look(&Document::parse_with_options(&html, options).unwrap())
}

fn named<'a, 'input>(page: &'a Document<'input>, name: &str) -> Vec<Node<'a, 'input>> {
    page.descendants().filter(|node| node.tag_name().name() == name).collect()
}

fn content(node: &Node) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

#[test]
fn everything_is_escaped() {
    let hostile = "<script>alert(\"&\")</script> 'x' </pre></table>\u{1}";
    let text = || hostile.to_owned();
    let sections = vec![
        Section::Table { title: text(), note: text(), header: vec![text()], rows: vec![vec![Some(text())]] },
        Section::Figure { title: text(), note: text(), svg: String::new() },
        Section::Text { title: text(), body: text() },
        Section::Prose { title: text(), body: text() },
        Section::Files { title: text(), note: text(), files: vec![File { path: text(), note: text() }] },
    ];
    let report = Report { title: text(), summary: text(), command: text(), verdict: text(), date: text(), sections };
    with_page(&report, |page| {
        assert!(named(page, "script").iter().all(|script| !content(script).contains("alert")));
        let shown = hostile.replace('\u{1}', "\u{fffd}");
        for (name, count) in [
            ("title", 1),
            ("h1", 1),
            ("h2", 5),
            ("th", 2),
            ("figcaption", 1),
            ("pre", 2),
            ("a", 6),
            ("p", 6),
            ("span", 1),
        ] {
            let found = named(page, name).iter().filter(|node| content(node).trim() == shown).count();
            assert_eq!(found, count, "{name}");
        }
    });
}

#[test]
fn a_missing_number_is_an_empty_cell() {
    let section = table(&["kernel", "error", "seconds"], &[&["softmax", "0.1", ""], &["favor", "", "3"], &["short"]]);
    with_page(&report(vec![section]), |page| {
        let rows: Vec<Vec<_>> =
            named(page, "tr").iter().map(|row| row.children().map(|cell| content(&cell)).collect()).collect();
        let expected = [["kernel", "error", "seconds"], ["softmax", "0.1", ""], ["favor", "", "3"], ["short", "", ""]];
        assert_eq!(rows, expected);
    });
}

#[test]
fn numbers_are_right_aligned_and_rows_are_named() {
    let section = table(&["kernel", "error", "n"], &[&["softmax", "0.1 ± 0.02", "5"], &["2-layer", "1e-3", ""]]);
    with_page(&report(vec![section]), |page| {
        for row in named(page, "tr") {
            let classes: Vec<_> = row.children().map(|cell| cell.attribute("class")).collect();
            assert_eq!(classes[..2], [None, Some("number")]);
        }
        let scopes: Vec<_> = named(page, "th").iter().filter_map(|cell| cell.attribute("scope")).collect();
        assert_eq!(scopes, ["col", "col", "col", "row", "row"]);
    });
}

#[test]
fn tables_of_any_shape_are_rectangular() {
    for (header, rows) in [
        (vec![], vec![]),
        (vec!["a"], vec![]),
        (vec![], vec![vec!["1", "2"]]),
        (vec!["a"], vec![vec!["1", "2"], vec![]]),
    ] {
        let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
        with_page(&report(vec![table(&header, &rows)]), |page| {
            let widths: Vec<_> = named(page, "tr").iter().map(|row| row.children().count()).collect();
            assert!(widths.iter().all(|width| *width == widths[0]) && widths.len() == rows.len() + 1, "{widths:?}");
        });
    }
}

#[test]
fn figures_keep_their_markup_and_gain_a_caption() {
    let svg = Figure { title: "Loss".into(), ..Figure::default() }.to_svg();
    let figure = |note: &str| Section::Figure { title: "Training".into(), note: note.into(), svg: svg.clone() };
    with_page(&report(vec![figure("One seed."), figure("")]), |page| {
        let captions: Vec<_> =
            named(page, "figure").iter().map(|f| f.children().filter(Node::is_element).count()).collect();
        assert_eq!(captions, [2, 1], "an empty note leaves no empty caption");
        assert_eq!(named(page, "svg").len(), 2);
    });
}

#[test]
fn text_keeps_its_lines() {
    let body = "[model]\n\tn_heads = 4  # x\n";
    with_page(&report(vec![Section::Text { title: "Config".into(), body: body.into() }]), |page| {
        // HTML drops the first line break.
        assert_eq!(content(&named(page, "pre")[1]), format!("\n{body}"));
    });
}

#[test]
fn the_page_stands_alone() {
    let svg = Figure::default().to_svg();
    let sections = vec![table(&["a"], &[&["1"]]), Section::Figure { title: "F".into(), note: String::new(), svg }];
    with_page(&report(sections), |page| {
        for name in ["link", "img", "iframe", "base", "object"] {
            assert!(named(page, name).is_empty(), "{name}");
        }
        let addresses = page.descendants().flat_map(|node| node.attributes().collect::<Vec<_>>());
        assert!(addresses.into_iter().all(|a| !["href", "src"].contains(&a.name()) && !a.value().contains("http:")));
        assert!(
            named(page, "style")
                .iter()
                .all(|style| !content(style).contains("url(") && !content(style).contains("@import"))
        );
        assert!(content(&page.root_element()).contains("prefers-color-scheme: dark"));
    });
}

#[test]
fn headings_name_their_sections() {
    let text = |title: &str| Section::Text { title: title.into(), body: String::new() };
    with_page(&report(vec![text("One"), text("Two")]), |page| {
        let sections = named(page, "section");
        let names: Vec<_> = sections.iter().filter_map(|section| section.attribute("aria-labelledby")).collect();
        let ids: Vec<_> =
            named(page, "h2").iter().filter_map(|heading| heading.attribute("id")).map(str::to_owned).collect();
        assert_eq!((names.len(), names), (2, ids.iter().map(String::as_str).collect()));
    });
}

#[test]
fn the_summary_has_paragraphs_and_the_command_is_optional() {
    let report = Report { summary: "One.\n\nTwo.".into(), command: String::new(), ..report(vec![]) };
    with_page(&report, |page| {
        assert_eq!(named(page, "p").iter().map(content).collect::<Vec<_>>(), ["One.", "Two."]);
        assert!(named(page, "pre").is_empty());
    });
}

#[test]
fn many_sections_are_listed_with_working_links() {
    let titles = ["Results", "Learning curve", "results!", "…", "Results", "Größe"];
    let sections = |count: usize| {
        titles[..count].iter().map(|title| Section::Prose { title: (*title).into(), body: "x".into() }).collect()
    };
    with_page(&report(sections(6)), |page| {
        let links: Vec<_> = named(page, "a").iter().map(|link| link.attribute("href").unwrap().to_owned()).collect();
        assert_eq!(links, ["#results", "#learning-curve", "#results-2", "#section", "#results-3", "#größe"]);
        let ids: Vec<_> =
            named(page, "h2").iter().map(|heading| format!("#{}", heading.attribute("id").unwrap())).collect();
        assert_eq!(links, ids);
    });
    with_page(&report(sections(4)), |page| assert!(named(page, "nav").is_empty(), "a few sections need no list"));
}

#[test]
fn prose_has_paragraphs() {
    let section = Section::Prose { title: "Findings".into(), body: "One.\n\nTwo.\n\n".into() };
    with_page(&report(vec![section]), |page| {
        let section = named(page, "section").remove(0);
        let paragraphs = section.descendants().filter(|node| node.tag_name().name() == "p");
        assert_eq!(paragraphs.map(|paragraph| content(&paragraph)).collect::<Vec<_>>(), ["One.", "Two."]);
    });
}

#[test]
fn files_are_relative_whatever_their_name() {
    let paths =
        ["seeds.csv", "figures/a b.svg", "/etc/passwd", "//host/x", "javascript:x()", "https://host/?q#f", "../é"];
    let files = paths.map(|path| File { path: path.into(), note: String::new() }).to_vec();
    let section = Section::Files { title: "Files".into(), note: String::new(), files };
    with_page(&report(vec![section]), |page| {
        let links = named(page, "a");
        let addresses: Vec<_> = links.iter().filter_map(|link| link.attribute("href")).collect();
        let expected = [
            "./seeds.csv",
            "./figures/a%20b.svg",
            "./etc/passwd",
            "./host/x",
            "./javascript%3Ax%28%29",
            "./https%3A/host/%3Fq%23f",
            "./../%C3%A9",
        ];
        assert_eq!(addresses, expected);
        assert_eq!(links.iter().map(content).collect::<Vec<_>>(), paths, "the name is shown as it is");
    });
}

//! A page with everything a page can hold passes `python/check_page.py`, and pages with one fault each do not.
//!
//! These tests need a Python with html5lib: `HEADWAY_PYTHON` names it, `python3` by default. Without it they say so and
//! pass, unless `HEADWAY_REQUIRE_PYTHON=1`. The page is also opened in Chromium if it is installed.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use headway_draw::{Figure, File, Forest, ForestRow, Pattern, Patterns, Report, Section, Series, Style};

const HOSTILE: &str =
    "</title></style><script>alert(1)</script> \" onload='x' <!-- ]]> & &amp; \u{1}\u{fffe} <svg:a> {{ }}";

fn python() -> Command {
    let mut command = Command::new(env::var_os("HEADWAY_PYTHON").unwrap_or_else(|| "python3".into()));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Whether Python has html5lib; without it the test is not run, and says so past the capture of test output.
fn there_is_html5lib() -> bool {
    let found = python().args(["-c", "import html5lib"]).output().is_ok_and(|output| output.status.success());
    let required = env::var("HEADWAY_REQUIRE_PYTHON").is_ok_and(|value| value == "1");
    assert!(
        found || !required,
        "no Python with html5lib: `apt-get install python3-html5lib`, or name one that has it in HEADWAY_PYTHON"
    );
    if !found {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let mut uncaptured = std::io::stderr();
        writeln!(uncaptured, "NOT RUN: {test} needs a Python with html5lib; see HEADWAY_PYTHON").unwrap();
    }
    found
}

/// Whether the page passes, and the program's messages.
fn check(name: &str, html: &str, options: &[&str]) -> (bool, String) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, html).unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../python/check_page.py");
    let output = python().arg(script).args(options).arg(&path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn curves(label: &str) -> Figure {
    let styles = [Style::Line, Style::Dashed, Style::Reference, Style::Points, Style::LinePoints];
    let series = styles.iter().enumerate().map(|(index, style)| {
        let points: Vec<(f64, f64)> = (1..50).map(|x| (f64::from(x), (1 + index) as f64 / f64::from(x))).collect();
        let intervals = points.iter().map(|(x, y)| (*x, 0.8 * y, 1.3 * y)).collect();
        Series { label: format!("{label} {index}"), points, style: *style, intervals }
    });
    let [title, x_label, y_label] = [label; 3].map(str::to_owned);
    Figure {
        title,
        x_label,
        y_label,
        x_log: true,
        y_log: true,
        series: series.collect(),
        colours: vec![format!("{label} 3")],
    }
}

fn forest(label: &str) -> Forest {
    let row = |index: u32| ForestRow {
        label: format!("{label} {index}"),
        values: (1..6).map(|seed| f64::from(seed * (1 + index))).collect(),
        interval: Some([f64::from(1 + index), f64::from(4 * (1 + index))]),
    };
    let [title, value_label] = [label; 2].map(str::to_owned);
    Forest { title, value_label, log: true, reference: Some(3.0), floor: Some(0.5), rows: (0..6).map(row).collect() }
}

/// Causal patterns in which all weights differ, so that images compress badly.
fn patterns(n_layers: usize, n_heads: usize, n_tokens: usize, label: &str) -> Patterns {
    let weight = |query: usize, key: usize, map: usize| {
        let level = (query * 7919 + key * 104_729 + map * 1_299_709) % 9973;
        if key > query { 0.0 } else { level as f32 / 9973.0 / n_tokens as f32 }
    };
    let pattern = |map: usize| Pattern {
        q_len: n_tokens,
        k_len: n_tokens,
        weights: (0..n_tokens * n_tokens).map(|index| weight(index / n_tokens, index % n_tokens, map)).collect(),
    };
    Patterns {
        title: label.to_owned(),
        layers: (0..n_layers).map(|layer| (0..n_heads).map(|head| pattern(layer * n_heads + head)).collect()).collect(),
        query_labels: vec![label.to_owned()],
        key_labels: vec![label.to_owned()],
    }
}

/// A page with every kind of section, in which every text is the given one.
fn page(text: &str) -> String {
    let figure = |svg: String| Section::Figure { title: text.to_owned(), note: text.to_owned(), svg };
    let row = vec![Some(text.to_owned()), None, Some("1.5 ± 0.1".to_owned())];
    let sections = vec![
        Section::Prose { title: text.to_owned(), body: format!("{text}\n\n{text}") },
        Section::Table {
            title: text.to_owned(),
            note: text.to_owned(),
            header: vec![text.to_owned(); 3],
            rows: vec![row.clone(); 3],
        },
        Section::Table {
            title: text.to_owned(),
            note: String::new(),
            header: vec![text.to_owned()],
            rows: vec![row; 40],
        },
        figure(forest(text).to_svg()),
        figure(curves(text).to_svg()),
        figure(patterns(2, 8, 60, text).to_svg().unwrap()),
        Section::Files {
            title: text.to_owned(),
            note: text.to_owned(),
            files: vec![File { path: text.to_owned(), note: text.to_owned() }],
        },
        Section::Text { title: text.to_owned(), body: format!("\n{text}\n") },
    ];
    let [title, verdict, summary, date, command] = [text; 5].map(str::to_owned);
    Report { title, verdict, summary, date, command, sections }.to_html()
}

#[test]
fn pages_pass() {
    if there_is_html5lib() {
        for (name, text) in [("plain.html", "Attention only"), ("hostile.html", HOSTILE), ("empty.html", "")] {
            let html = page(text);
            assert!(html.len() < 2_000_000, "{} bytes", html.len());
            let (passes, said) = check(name, &html, &[]);
            assert!(passes && said.contains("ok"), "{said}");
        }
    }
}

#[test]
fn patterns_of_two_layers_of_eight_heads_are_small() {
    for label in ["the", ""] {
        let svg = patterns(2, 8, 60, label).to_svg().unwrap();
        assert!(svg.len() < 600_000, "{} bytes", svg.len());
    }
}

#[test]
fn faults_are_found() {
    if !there_is_html5lib() {
        return;
    }
    let report = Report { title: "A".into(), summary: "B".into(), ..Report::default() };
    let html = report.to_html();
    assert!(check("sound.html", &html, &["--no-browser"]).0);
    let in_body = |markup: &str| html.replace("</main>", &format!("{markup}</main>"));
    for (page, wanted) in [
        (in_body("</div>"), "line "),
        (in_body("<p id=\"a\" id=\"b\">x</p>"), "line "),
        (in_body("<img src=\"https://example.org/x.png\" alt=\"\"/>"), "<img src> refers to"),
        (in_body("<img src=\"//example.org/x.png\" alt=\"\"/>"), "<img src> refers to"),
        (in_body("<a href=\"javascript:x()\">x</a>"), "<a href> refers to"),
        (in_body("<a href=\" https://example.org\">x</a>"), "<a href> refers to"),
        (in_body("<svg><image href=\"data:text/html,x\"/></svg>"), "<image href> refers to"),
        (in_body("<svg><image xlink:href=\"http://example.org\"/></svg>"), "<image href> refers to"),
        (in_body("<script></script>"), "<script> is none"),
        (html.replace("const search", "const find"), "<script> is none"),
        (html.replace("script-src ", "script-src 'unsafe-inline' "), "<script> is none"),
        (in_body("<p onclick=\"x()\">x</p>"), "event handler"),
        (in_body("<p style=\"background: url('//example.org')\">x</p>"), "a style refers to"),
        (html.replace("</style>", "p { background: URL(x.png) }</style>"), "a style refers to"),
        (html.replace("<style>", "<style>@import 'x.css';"), "a style imports"),
        (html.replace("default-src 'none'", "default-src *"), "no content security policy"),
        (in_body(&format!("<p>{}</p>", "x".repeat(2_000_000))), "2000000 or more"),
    ] {
        assert_ne!(page, html);
        let (passes, said) = check("fault.html", &page, &["--no-browser"]);
        assert!(!passes && said.contains(wanted), "{wanted}: {said}");
    }
}

/// Whether there is a browser to open pages in; without one a test says so and passes.
fn there_is_chromium() -> bool {
    let named = std::env::var("HEADWAY_CHROMIUM").ok();
    let usual = || ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned).to_vec();
    let found = named
        .map_or_else(usual, |named| vec![named])
        .iter()
        .any(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
    if !found {
        let mut uncaptured = std::io::stderr();
        writeln!(uncaptured, "NOT RUN: what readers see needs Chromium").unwrap();
    }
    found
}

#[test]
fn what_a_reader_would_miss_is_found() {
    if !there_is_html5lib() || !there_is_chromium() {
        return;
    }
    let table = Section::Table {
        title: "T".into(),
        note: String::new(),
        header: vec!["a".into(), "b".into()],
        rows: vec![vec![Some("one".into()), Some("2".into())]; 3],
    };
    let svg = curves("loss").to_svg();
    let figure = Section::Figure { title: "F".into(), note: String::new(), svg };
    let html = Report { title: "A".into(), summary: "B".into(), sections: vec![table, figure], ..Report::default() };
    let html = html.to_html();
    let wide = "<p style=\"width: 500px; max-width: none\">x</p></main>";
    for (name, page, wanted) in [
        ("wide.html", html.replace("</main>", wide), "at 390 pixels, light: the page is 5"),
        ("table.html", html.replace("<td", "<td style=\"min-width: 30rem\""), "at 390 pixels, dark: a table is cut"),
        ("text.html", html.replace("viewBox=\"0 0 7200", "viewBox=\"0 0 4000"), "a text of a drawing is cut"),
        ("faint.html", html.replace("--ink: #e4e4e6", "--ink: #404040"), "at 1440 pixels, dark: text is faint"),
        ("broken.html", html.replace("default-src 'none'; style-src 'unsafe-inline'", "default-src 'none'"), "console"),
    ] {
        assert_ne!(page, html, "{name}");
        let (passes, said) = check(name, &page, &[]);
        assert!(!passes && said.contains(wanted), "{wanted}: {said}");
    }
}

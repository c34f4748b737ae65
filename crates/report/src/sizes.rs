//! The page about what constructions take at given tolerances, beside other networks.

use headway_draw::{Figure, File, Report, Section, Series, Style, number};
use headway_theory::sizes::{MOST_PARAMETERS, Outcome, Size, Subject};
use serde_json::{Value, json};

use crate::{Page, Table};

/// One subject at one tolerance.
pub struct Row {
    /// What was measured.
    pub subject: &'static Subject,
    /// The tolerance.
    pub tolerance: f64,
    /// Its size there.
    pub outcome: Outcome,
}

/// A table of all rows, and parameters against 1/ε for every target; `command` is the command line that makes the page again.
pub fn page(rows: &[Row], command: &str) -> Page {
    let table = table(rows);
    let figures: Vec<(String, &str, String)> =
        targets(rows).into_iter().enumerate().map(|(at, target)| figure(rows, at, target)).collect();
    Page {
        report: report(&table, &figures, command),
        findings: Vec::new(),
        verdict: None,
        json: json!({ "most_parameters": MOST_PARAMETERS, "rows": rows.iter().map(document).collect::<Vec<_>>() }),
        tables: vec![("results", values(rows))],
        figures: figures.into_iter().map(|(name, _, svg)| (name, svg)).collect(),
        table,
    }
}

fn targets(rows: &[Row]) -> Vec<&'static str> {
    let mut targets: Vec<&'static str> = rows.iter().map(|row| row.subject.target).collect();
    targets.dedup();
    targets
}

/// Size of an outcome, how it is known, and why there is none.
fn parts(outcome: &Outcome) -> (Option<&Size>, &'static str, Option<String>) {
    match outcome {
        Outcome::Built(size) => (Some(size), "built", None),
        Outcome::Known(size) => (Some(size), "by formula", None),
        Outcome::Planned(_) => {
            (None, "planned", Some(format!("more than the {MOST_PARAMETERS} parameters that are built here")))
        }
        Outcome::Refused(why) => (None, "refused", Some(why.clone())),
    }
}

const HEADER: [&str; 13] = [
    "network",
    "tolerance",
    "length",
    "width",
    "heads",
    "layers",
    "parameters",
    "largest_weight",
    "beta",
    "token_wise",
    "causal",
    "how",
    "why",
];

/// The cells of a row; `show` writes a number.
fn cells(row: &Row, show: impl Fn(f64) -> String) -> Vec<Option<String>> {
    let (size, how, why) = parts(&row.outcome);
    let count = |of: fn(&Size) -> Option<usize>| size.and_then(of).map(|count| count.to_string());
    let real = |of: fn(&Size) -> Option<f64>| size.and_then(of).map(&show);
    // A whole number of parameters is written as one as long as it is exact.
    let whole = |value: f64| if value < 1e9 { format!("{value:.0}") } else { show(value) };
    let yes = |of: fn(&Size) -> bool| {
        // Networks of units have no positions.
        size.filter(|size| size.length.is_some()).map(|size| if of(size) { "yes" } else { "no" }.to_owned())
    };
    vec![
        Some(row.subject.id.to_owned()),
        Some(row.tolerance.to_string()),
        count(|size| size.length),
        count(|size| size.width),
        count(|size| size.heads),
        size.map(|size| whole(size.layers)),
        row.outcome.parameters().map(whole),
        real(|size| size.largest_weight),
        real(|size| size.beta),
        yes(|size| size.token_wise),
        yes(|size| size.causal),
        Some(how.to_owned()),
        why,
    ]
}

fn table(rows: &[Row]) -> Table {
    let header = HEADER[..HEADER.len() - 1].iter().map(|name| name.replace('_', " "));
    let without_why = |row: &Row| {
        let mut cells = cells(row, number);
        cells.pop();
        cells
    };
    Table { header: header.collect(), rows: rows.iter().map(without_why).collect() }
}

fn values(rows: &[Row]) -> Table {
    let rows = rows.iter().map(|row| cells(row, |value| value.to_string()));
    Table { header: HEADER.map(str::to_owned).into(), rows: rows.collect() }
}

fn document(row: &Row) -> Value {
    let (size, how, why) = parts(&row.outcome);
    let size = size.cloned().unwrap_or_default();
    json!({
        "id": row.subject.id,
        "target": row.subject.target,
        "tolerance": row.tolerance,
        "how": how,
        "why": why,
        "parameters": row.outcome.parameters(),
        "layers": (size.layers > 0.0).then_some(size.layers),
        "length": size.length,
        "width": size.width,
        "heads": size.heads,
        "largest_weight": size.largest_weight,
        "beta": size.beta,
        "token_wise": size.length.map(|_| size.token_wise),
        "causal": size.length.map(|_| size.causal),
    })
}

/// Name, title and picture of the figure of one target.
fn figure(rows: &[Row], at: usize, target: &'static str) -> (String, &'static str, String) {
    let of_target = || rows.iter().filter(|row| row.subject.target == target);
    let mut names: Vec<&str> = of_target().map(|row| row.subject.id).collect();
    names.dedup();
    let series = names.into_iter().map(|id| {
        let row = of_target().filter(|row| row.subject.id == id);
        let by_formula = row.clone().any(|row| matches!(row.outcome, Outcome::Known(_)));
        let points = row.filter_map(|row| Some((1.0 / row.tolerance, row.outcome.parameters()?))).collect();
        let style = if by_formula { Style::Dashed } else { Style::LinePoints };
        Series { label: id.to_owned(), points, style, intervals: Vec::new() }
    });
    let figure = Figure {
        title: target.to_owned(),
        x_label: "1 / tolerance".to_owned(),
        y_label: "parameters".to_owned(),
        x_log: true,
        y_log: true,
        series: series.collect(),
        ..Figure::default()
    };
    (format!("sizes-{}", at + 1), target, figure.to_svg())
}

fn report(table: &Table, figures: &[(String, &str, String)], command: &str) -> Report {
    let mut sections = vec![Section::Table {
        title: "Sizes".to_owned(),
        note: "Length: rows of the longest layer. Width: columns of the widest. Token-wise: every map before attention treats all positions alike. \
               Causal: no position attends to a later one, and further rows hold nothing but constants. Planned: larger than what is built here. \
               Refused: no size has the tolerance; results.json says why."
            .to_owned(),
        header: table.header.clone(),
        rows: table.rows.clone(),
    }];
    for (_, title, svg) in figures {
        let note = "Dashed: by formula.".to_owned();
        sections.push(Section::Figure { title: (*title).to_owned(), note, svg: svg.clone() });
    }
    let named = [("results.csv", "every value"), ("results.json", "the same, with why a size is refused")];
    let named = named.map(|(path, note)| File { path: path.to_owned(), note: note.to_owned() });
    let paths = figures.iter().map(|(name, ..)| File { path: format!("figures/{name}.svg"), note: String::new() });
    let files = named.into_iter().chain(paths).collect();
    sections.push(Section::Files { title: "Files".to_owned(), note: String::new(), files });
    Report {
        title: "Sizes of the constructions".to_owned(),
        summary: "What each construction takes for a tolerance that its bound, rounding included, proves; nothing was trained or measured.".to_owned(),
        command: command.to_owned(),
        sections,
        ..Report::default()
    }
}

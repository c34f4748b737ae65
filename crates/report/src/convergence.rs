//! The page about how fast the errors of constructions fall with their size.

use headway_draw::{Figure, File, Report, Section, Series, Style, number};
use headway_theory::convergence::{Measurements, Point, Rate};
use serde_json::json;

use crate::{Page, Table};

/// A table row and a figure for every rate; `command` is the command line that makes the page again.
pub fn page(all: &[Measurements], command: &str) -> Page {
    let table = table(all);
    let figures: Vec<(&Rate, String)> = all.iter().map(|measured| (measured.rate, figure(measured).to_svg())).collect();
    let rates = all.iter().map(|measured| {
        let Measurements { rate, points } = measured;
        let point = |point: &Point| json!({ "size": point.size, "certificate": point.certificate });
        json!({
            "id": rate.id,
            "title": rate.title,
            "size": rate.size,
            "exponent": measured.exponent(),
            "expected": rate.exponent,
            "within": rate.within,
            "agrees": measured.agrees(),
            "points": points.iter().map(point).collect::<Vec<_>>(),
        })
    });
    Page {
        report: report(&table, &figures, command),
        findings: Vec::new(),
        verdict: Some(all.iter().all(Measurements::agrees)),
        json: json!({ "rates": rates.collect::<Vec<_>>() }),
        tables: vec![("results", values(all))],
        figures: figures.into_iter().map(|(rate, svg)| (rate.id.to_owned(), svg)).collect(),
        table,
    }
}

fn table(all: &[Measurements]) -> Table {
    let header =
        ["", "grows", "from", "to", "error", "to error", "exponent", "expected", "agrees"].map(str::to_owned).into();
    let rows = all.iter().map(|measured| {
        let Measurements { rate, points } = measured;
        let ends = [points.first(), points.last()].map(|point| {
            point.map_or((String::new(), String::new()), |p| (p.size.to_string(), number(p.certificate.float32.error)))
        });
        let [(from, first), (to, last)] = ends;
        let fitted = measured.exponent().map(|slope| format!("{slope:.3}"));
        let expected = format!("{} ± {}", rate.exponent, rate.within);
        let row = [rate.id.to_owned(), rate.size.to_owned(), from, to, first, last];
        let verdict = if measured.agrees() { "yes" } else { "no" }.to_owned();
        row.map(Some).into_iter().chain([fitted, Some(expected), Some(verdict)]).collect()
    });
    Table { header, rows: rows.collect() }
}

fn values(all: &[Measurements]) -> Table {
    let header = ["rate", "size", "error_float32", "error_float64", "bound", "rounding", "paper", "parameters"];
    let rows = all.iter().flat_map(|Measurements { rate, points }| {
        points.iter().map(|Point { size, certificate }| {
            let numbers = [
                certificate.float32.error,
                certificate.float64.error,
                certificate.bound.value,
                certificate.rounding.value,
            ];
            let paper = rate.paper.map(|paper| paper(*size).to_string());
            let start = [rate.id.to_owned(), size.to_string()].map(Some).into_iter();
            start
                .chain(numbers.map(|n| Some(n.to_string())))
                .chain([paper, Some(certificate.parameters.to_string())])
                .collect()
        })
    });
    Table { header: header.map(str::to_owned).into(), rows: rows.collect() }
}

fn figure(Measurements { rate, points }: &Measurements) -> Figure {
    let curve = |value: &dyn Fn(&Point) -> f64| points.iter().map(|p| (p.size as f64, value(p))).collect::<Vec<_>>();
    let series = |label: &str, points, style| Series { label: label.to_owned(), points, style, intervals: Vec::new() };
    let mut all = vec![
        series("error in float32", curve(&|p| p.certificate.float32.error), Style::LinePoints),
        series(
            "bound and rounding",
            curve(&|p| p.certificate.bound.value + p.certificate.rounding.value),
            Style::Dashed,
        ),
    ];
    if let Some(paper) = rate.paper {
        all.push(series("the paper's bound", curve(&|p| paper(p.size)), Style::Reference));
    }
    Figure {
        title: rate.title.to_owned(),
        x_label: rate.size.to_owned(),
        y_label: "largest error".to_owned(),
        x_log: true,
        y_log: true,
        series: all,
        ..Figure::default()
    }
}

fn report(table: &Table, figures: &[(&Rate, String)], command: &str) -> Report {
    let mut sections = vec![Section::Table {
        title: "Rates".to_owned(),
        note: "The largest error found in float32, at random points and at those known to be hard, and the power of the size with which it falls: \
               the slope of a straight line through the logarithms."
            .to_owned(),
        header: table.header.clone(),
        rows: table.rows.clone(),
    }];
    let paths = figures.iter().map(|(rate, _)| File { path: format!("figures/{}.svg", rate.id), note: String::new() });
    let named = [("results.csv", "every value"), ("results.json", "every certificate")];
    let named = named.map(|(path, note)| File { path: path.to_owned(), note: note.to_owned() });
    let files = named.into_iter().chain(paths).collect();
    for (rate, svg) in figures {
        let note = format!("Expected: error ∝ ({})^{} within {}.", rate.size, rate.exponent, rate.within);
        sections.push(Section::Figure { title: rate.title.to_owned(), note, svg: svg.clone() });
    }
    sections.push(Section::Files { title: "Files".to_owned(), note: String::new(), files });
    Report {
        title: "Rates of the constructions".to_owned(),
        summary: "Nothing here was trained: at each size the weights are written down, and their error is measured beside its bound.".to_owned(),
        command: command.to_owned(),
        sections,
        ..Report::default()
    }
}

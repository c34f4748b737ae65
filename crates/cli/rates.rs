//! `headway reproduce theory`: the error of every construction against its size.

use std::{path::PathBuf, process::ExitCode};

use headway_draw::{Figure, File, Report, Section, Series, Style, csv, number};
use headway_plain::exponent;
use headway_study::dir::StudyDir;
use headway_theory::{
    Certificate, Effort, certify,
    rates::{RATES, Rate},
};
use headway_trainer::{Error, device::Found, quote};
use serde_json::json;

use crate::{
    args::Reproduce,
    output::{self, cells},
};

/// What it is called beside the paper's experiments.
pub const ID: &str = "theory";
/// One line about it.
pub const SUMMARY: &str =
    "constructed weights: error against the number of anchors, heads, positions and cells, beside bounds";

/// One size of one construction.
struct Point {
    size: usize,
    certificate: Certificate,
}

pub fn run(args: &Reproduce) -> Result<ExitCode, Error> {
    let changed = args.quick
        || args.changes.profile.is_some()
        || !args.changes.set.is_empty()
        || !args.changes.seeds.is_empty()
        || args.jobs.jobs.is_some()
        || args.jobs.retry;
    if changed {
        let problem = "reproduce theory trains nothing: it has no profiles, settings, seeds or jobs to change";
        return Err(Error::Usage(problem.to_owned()));
    }
    let dir = StudyDir::at(args.out.clone().unwrap_or_else(|| PathBuf::from("runs/reproduce-theory")));
    dir.ensure_page()?;
    let (device, warning) = args.jobs.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    let mut all = Vec::new();
    for rate in RATES {
        let points = rate.sizes.iter().map(|size| measure(rate, *size, &device)).collect::<Result<Vec<_>, _>>()?;
        output::note(format!(
            "{}: errors {}",
            rate.id,
            points.iter().map(|p| number(p.certificate.float32.error)).collect::<Vec<_>>().join(", ")
        ));
        all.push((rate, points));
    }
    let verdicts: Vec<bool> = all.iter().map(|(rate, points)| agrees(rate, points)).collect();
    let (header, rows) = table(&all, &verdicts);
    let figures: Vec<(&Rate, String)> =
        all.iter().map(|(rate, points)| (*rate, figure(rate, points).to_svg())).collect();
    for (rate, svg) in &figures {
        dir.write(&format!("figures/{}.svg", rate.id), svg.as_bytes())?;
    }
    let (value_header, values) = values(&all);
    dir.write("results.csv", csv(&value_header, &values).as_bytes())?;
    let document = json!({ "rates": all.iter().zip(&verdicts).map(|((rate, points), agrees)| json!({
        "id": rate.id,
        "title": rate.title,
        "size": rate.size,
        "exponent": slope(points),
        "expected": rate.exponent,
        "within": rate.within,
        "agrees": agrees,
        "points": points.iter().map(|point| json!({ "size": point.size, "certificate": point.certificate })).collect::<Vec<_>>(),
    })).collect::<Vec<_>>() });
    dir.write("results.json", format!("{document:#}\n").as_bytes())?;
    let command = format!("headway reproduce {ID} --out {}", quote::shell_path(dir.root()));
    dir.write("report.html", page(&header, &rows, figures, command).to_html().as_bytes())?;
    if args.jobs.json {
        output::json(&document);
    } else {
        output::line(cells(&header, &rows));
        output::line(format!("report: {}", dir.file("report.html").display()));
    }
    Ok(if verdicts.iter().all(|agrees| *agrees) { ExitCode::SUCCESS } else { ExitCode::from(7) })
}

fn measure(rate: &Rate, size: usize, device: &Found) -> Result<Point, Error> {
    let construction =
        (rate.build)(size).map_err(|refusal| Error::Training(format!("{} at {size}: {refusal}", rate.id)))?;
    let model = construction.network.assemble(&device.device);
    let tolerance = construction.bound.value + construction.rounding.value;
    let effort = Effort { random: 1024, climbers: 8, climb: 12, ..Effort::default() };
    let certificate = certify(&construction, tolerance, &model, &device.device, &device.name, effort);
    Ok(Point { size, certificate })
}

fn slope(points: &[Point]) -> Option<f64> {
    exponent(&points.iter().map(|point| (point.size as f64, point.certificate.float32.error)).collect::<Vec<_>>())
}

/// Whether every certificate holds and the error falls as it should.
fn agrees(rate: &Rate, points: &[Point]) -> bool {
    let falls = slope(points).is_some_and(|slope| (slope - rate.exponent).abs() <= rate.within);
    falls && points.iter().all(|point| point.certificate.holds)
}

type Rows = Vec<Vec<Option<String>>>;

fn table(all: &[(&Rate, Vec<Point>)], verdicts: &[bool]) -> (Vec<String>, Rows) {
    let header =
        ["", "grows", "from", "to", "error", "to error", "exponent", "expected", "agrees"].map(str::to_owned).into();
    let rows = all.iter().zip(verdicts).map(|((rate, points), agrees)| {
        let ends = [points.first(), points.last()].map(|point| {
            point.map_or((String::new(), String::new()), |p| (p.size.to_string(), number(p.certificate.float32.error)))
        });
        let [(from, first), (to, last)] = ends;
        let fitted = slope(points).map(|slope| format!("{slope:.3}"));
        let expected = format!("{} ± {}", rate.exponent, rate.within);
        let row = [rate.id.to_owned(), rate.size.to_owned(), from, to, first, last];
        let verdict = if *agrees { "yes" } else { "no" }.to_owned();
        row.map(Some).into_iter().chain([fitted, Some(expected), Some(verdict)]).collect()
    });
    (header, rows.collect())
}

fn values(all: &[(&Rate, Vec<Point>)]) -> (Vec<String>, Rows) {
    let header = ["rate", "size", "error_float32", "error_float64", "bound", "rounding", "paper", "parameters"];
    let rows = all.iter().flat_map(|(rate, points)| {
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
    (header.map(str::to_owned).into(), rows.collect())
}

fn figure(rate: &Rate, points: &[Point]) -> Figure {
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
    }
}

fn page(header: &[String], rows: &Rows, figures: Vec<(&Rate, String)>, command: String) -> Report {
    let mut sections = vec![Section::Table {
        title: "Rates".to_owned(),
        note: "The largest error found in float32, at random points and at those known to be hard, and the power of the size with which it falls: \
               the slope of a straight line through the logarithms."
            .to_owned(),
        header: header.to_vec(),
        rows: rows.clone(),
    }];
    let paths = figures.iter().map(|(rate, _)| File { path: format!("figures/{}.svg", rate.id), note: String::new() });
    let named = [("results.csv", "every value"), ("results.json", "every certificate")];
    let named = named.map(|(path, note)| File { path: path.to_owned(), note: note.to_owned() });
    let files = named.into_iter().chain(paths).collect();
    for (rate, svg) in figures {
        let note = format!("Expected: error ∝ ({})^{} within {}.", rate.size, rate.exponent, rate.within);
        sections.push(Section::Figure { title: rate.title.to_owned(), note, svg });
    }
    sections.push(Section::Files { title: "Files".to_owned(), note: String::new(), files });
    Report {
        title: "Rates of the constructions".to_owned(),
        summary: "Nothing here was trained: at each size the weights are written down, and their error is measured beside its bound.".to_owned(),
        command,
        sections,
    }
}

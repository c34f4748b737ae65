//! The page about a certificate, made from `certificate.json` alone.

use std::path::Path;

use headway_draw::{Figure, File, Report, Section, Series, Style, number};
use headway_theory::{Basis, Bound, Certificate, Measured, Verdict};
use headway_trainer::{Error, checkpoint::Checkpoint, quote};

use crate::PageDir;

/// Writes `report.html` and its figures beside a constructed checkpoint whose final place is `place`. Returns whether
/// the checkpoint is a constructed one.
///
/// # Errors
/// [`Error::Checkpoint`], [`Error::Io`]
pub fn write(checkpoint: &Checkpoint, place: &Path) -> Result<bool, Error> {
    let Some(certificate) = read(checkpoint)? else { return Ok(false) };
    let dir = PageDir::at(&checkpoint.path);
    let figures = figures(&certificate);
    for (name, figure, _) in &figures {
        dir.write(&format!("figures/{name}.svg"), figure.to_svg().as_bytes())?;
    }
    let place = quote::shell_path(place);
    dir.write("report.html", page(&certificate, &place, figures).to_html().as_bytes())?;
    Ok(true)
}

/// The certificate of a constructed checkpoint; `None` for a trained one.
fn read(checkpoint: &Checkpoint) -> Result<Option<Certificate>, Error> {
    let Some(value) = checkpoint.certificate()? else { return Ok(None) };
    let wrong = |problem| Error::Checkpoint { path: checkpoint.path.join("certificate.json"), problem };
    if value["format"] != 1 {
        return Err(wrong(format!("has format {}, this version reads format 1", value["format"])));
    }
    let says_what_it_is = value.get("verdict").is_some();
    let mut certificate: Certificate = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    if !says_what_it_is {
        // The file may be older than the distinction between measured and proved slopes.
        certificate.holds &= !certificate.bound.rests_on(Basis::Measured);
        certificate.verdict = Verdict::of(&certificate.bound, certificate.holds);
    }
    Ok(Some(certificate))
}

/// Sizes as text: `p = 63, rows = 64`.
pub fn sizes<'a>(sizes: impl Iterator<Item = (&'a str, f64)>) -> String {
    let size = |(name, value): (&str, f64)| {
        let value = if value.fract() == 0.0 { value.to_string() } else { number(value) };
        format!("{name} = {value}")
    };
    sizes.map(size).collect::<Vec<_>>().join(", ")
}

/// What rounding adds if roundings are independent, as a sentence that follows what is proved.
pub fn likely(bound: &Bound) -> String {
    format!(
        "{:>14}  of rounding, if roundings are independent of each other: 5 standard deviations, no proof",
        number(bound.value)
    )
}

fn page(certificate: &Certificate, place: &str, figures: Vec<(&'static str, Figure, String)>) -> Report {
    let Certificate { bound, rounding, float32, float64, tolerance, temperature, .. } = certificate;
    let proved = bound.value + rounding.value;
    let claim = claim(certificate);
    let kind = if certificate.norm.is_some() { "mean" } else { "largest" };
    let summary = format!(
        "These weights were not trained but written down, by the construction {}. The {} error found is {}.\n\nTarget: \
         {}. Domain: {}.",
        certificate.construction,
        kind,
        number(float32.error),
        certificate.target,
        certificate.domain
    );
    let cells = |cells: Vec<String>| cells.into_iter().map(Some).collect::<Vec<_>>();
    let header = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let all = certificate.sizes.iter().map(|(name, value)| (name.as_str(), *value));
    let likely = certificate.rounding_likely.as_ref();
    let likely =
        likely.map(|likely| cells(vec!["rounding, likely".to_owned(), self::likely(likely).trim().to_owned()]));
    let facts: Vec<_> = [
        cells(vec!["certified".to_owned(), certificate.verdict.to_string()]),
        cells(vec!["tolerance asked for".to_owned(), number(*tolerance)]),
        cells(vec!["bound and rounding".to_owned(), number(proved)]),
        cells(vec![format!("{kind} error found, float32"), number(float32.error)]),
        cells(vec![format!("{kind} error found, float64"), number(float64.error)]),
        cells(vec!["sizes".to_owned(), sizes(all)]),
        cells(vec!["parameters".to_owned(), certificate.parameters.to_string()]),
        cells(vec!["inverse temperature beta".to_owned(), number(temperature.beta)]),
        cells(vec!["measured on".to_owned(), certificate.device.clone()]),
    ]
    .into_iter()
    .chain(certificate.tried.iter().map(|tried| cells(vec!["tried".to_owned(), tried.to_string()])))
    .chain(likely)
    .collect();
    let terms = |bound: &Bound| {
        let rows =
            bound.terms.iter().map(|term| cells(vec![term.name.clone(), number(term.value), term.formula.clone()]));
        rows.collect::<Vec<_>>()
    };
    let table = |title: &str, note: String, names: &[&str], rows| Section::Table {
        title: title.to_owned(),
        note,
        header: header(names),
        rows,
    };
    let mut sections = vec![
        table("Certificate", format!("Temperature: {}.", temperature.reason), &["", "value"], facts),
        table(
            "Bound",
            "What the error is in exact arithmetic at most, term by term.".to_owned(),
            &["term", "value", "formula"],
            terms(bound),
        ),
        table(
            "Rounding",
            "What computing in float32 adds at most, in whatever order sums are taken; eps is half a unit in the last place of 1, 2^-24.".to_owned(),
            &["term", "value", "formula"],
            terms(rounding),
        ),
        table("Measured", measured_note(float32, certificate.norm), &["points", "float32", "float64"], {
            let kinds = float32.points.iter().map(|(kind, count)| {
                let doubles = float64.points.get(kind).map(ToString::to_string);
                vec![Some(kind.clone()), Some(count.to_string()), doubles]
            });
            kinds.collect()
        }),
    ];
    let files = figures.iter().map(|(name, _, _)| File { path: format!("figures/{name}.svg"), note: String::new() });
    let files = [
        ("certificate.json", "everything on this page, for programs"),
        ("model.safetensors", "the weights"),
        (
            "hardest.safetensors",
            "the points with the largest errors; python/check_certificate.py checks them with numpy",
        ),
        ("train.toml", "the same network and task as an experiment, to train it"),
    ]
    .map(|(path, note)| File { path: path.to_owned(), note: note.to_owned() })
    .into_iter()
    .chain(files)
    .collect();
    sections.extend(figures.into_iter().map(|(_, figure, note)| Section::Figure {
        title: figure.title.clone(),
        note,
        svg: figure.to_svg(),
    }));
    sections.push(Section::Files { title: "Files".to_owned(), note: String::new(), files });
    Report {
        title: match certificate.verdict {
            Verdict::NotCertified => format!("{}: {}", certificate.verdict, certificate.construction),
            Verdict::Proved | Verdict::Given => format!("Certificate: {}", certificate.construction),
        },
        verdict: claim,
        summary,
        command: format!("headway report {place}"),
        sections,
        ..Report::default()
    }
}

/// The certificate's claim in one or two sentences.
fn claim(certificate: &Certificate) -> String {
    let Certificate { bound, rounding, verdict, .. } = certificate;
    let proved = bound.value + rounding.value;
    let parts = format!("{} in exact arithmetic, and {} for rounding", number(bound.value), number(rounding.value));
    match (verdict, certificate.norm) {
        (Verdict::Proved, Some(p)) => format!(
            "In float32 the error is at most {} in the mean over the domain, (E |error|^{p})^(1/{p}): {parts}.",
            number(proved)
        ),
        (Verdict::Proved, None) => {
            format!(
                "In float32 no output number is farther than {} from its target anywhere on the domain: {parts}.",
                number(proved)
            )
        }
        (Verdict::Given, _) => format!(
            "In float32 no output number is farther than {} from its target anywhere on the domain, {}: {parts}.",
            number(proved),
            verdict
        ),
        (Verdict::NotCertified, _) => format!(
            "{}: nothing is proved about their error. What was measured of the target at points suggests {}: {parts}.",
            certificate.verdict,
            number(proved)
        ),
    }
}

fn measured_note(measured: &Measured, norm: Option<f64>) -> String {
    if let Some(p) = norm {
        return format!(
            "The p-th power of the error, the largest over outputs of a position, in the mean over positions and random points; p = {p}. At the \
             worst of them output {} of position {} is {} and should be {}, which a mean allows.",
            measured.worst_channel + 1,
            measured.worst_position + 1,
            measured.found as f32,
            measured.wanted as f32
        );
    }
    format!(
        "Points at which the error was measured, by kind: random ones, those known to be hard, and the ascent of the error from the worst of \
         both. The worst, {}, is of kind {}: output {} of position {} is {} and should be {}.",
        number(measured.error),
        measured.worst_kind,
        measured.worst_channel + 1,
        measured.worst_position + 1,
        // All digits that single precision has, since the difference is what matters.
        measured.found as f32,
        measured.wanted as f32
    )
}

/// Target and network along the line through the worst point, and below it the error there with its bound.
fn figures(certificate: &Certificate) -> Vec<(&'static str, Figure, String)> {
    let line = &certificate.line;
    let curve = |values: &[f64]| line.at.iter().copied().zip(values.iter().copied()).collect::<Vec<_>>();
    let errors: Vec<f64> = line.wanted.iter().zip(&line.found).map(|(wanted, found)| (wanted - found).abs()).collect();
    let series = |label: &str, points, style| Series { label: label.to_owned(), points, style, intervals: Vec::new() };
    let (first, last) = (line.at.first().copied().unwrap_or(0.0), line.at.last().copied().unwrap_or(1.0));
    let level = |value: f64| vec![(first, value), (last, value)];
    let x_label = "place on the line: 0 the middle of the domain, 1 the worst point".to_owned();
    let output = Figure {
        title: "Along a line through the worst point".to_owned(),
        x_label: x_label.clone(),
        y_label: "output".to_owned(),
        series: vec![
            series("network", curve(&line.found), Style::Line),
            series("target", curve(&line.wanted), Style::Dashed),
        ],
        ..Figure::default()
    };
    // A bound on the mean is none on a point.
    let bounds = if certificate.norm.is_some() {
        Vec::new()
    } else {
        vec![
            series("bound and rounding", level(certificate.bound.value + certificate.rounding.value), Style::Dashed),
            series("bound", level(certificate.bound.value), Style::Reference),
        ]
    };
    let beside = match certificate.norm {
        Some(_) => "In float32. The bound is one on the mean, and no point is held to it.",
        None => "In float32, beside the bound.",
    };
    let error = Figure {
        title: "Error along that line".to_owned(),
        x_label,
        y_label: "error".to_owned(),
        y_log: true,
        series: std::iter::once(series("error", curve(&errors), Style::Line)).chain(bounds).collect(),
        ..Figure::default()
    };
    let note = format!(
        "Output {} of position {}, the one that is farthest off at the worst point.",
        certificate.float32.worst_channel + 1,
        certificate.float32.worst_position + 1
    );
    vec![("line", output, note), ("error", error, beside.to_owned())]
}

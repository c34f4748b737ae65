//! `headway construct`

pub mod args;
mod files;
pub mod page;
mod targets;
mod written;

use std::{collections::BTreeMap, process::ExitCode};

use headway_model::weights::Array;
use headway_tasks::TaskConfig;
use headway_theory::{Basis, Certificate, Construction, Effort, Measured, Refusal, Request, certify};
use headway_trainer::{Checkpoint, Error, Experiment, run_dir::NewRun};

use crate::{
    args::Construct,
    output::{self, number},
};

/// What builds a construction, and the task of the same target.
type Build = Box<dyn FnOnce(Request) -> Result<(Construction, TaskConfig), Refusal>>;

/// A construction ready to be built.
struct Planned {
    seed: u64,
    build: Build,
}

impl Planned {
    /// One whose task is known beforehand.
    fn new(
        task: TaskConfig,
        seed: u64,
        build: impl FnOnce(Request) -> Result<Construction, Refusal> + 'static,
    ) -> Self {
        Self { seed, build: Box::new(move |request| Ok((build(request)?, task))) }
    }
}

pub fn run(args: &Construct) -> Result<ExitCode, Error> {
    let common = args.what.common();
    let place = NewRun::At(common.out.clone());
    if common.out.file_name().is_none() {
        return Err(Error::Usage(format!("--out {}: give a folder by its name", common.out.display())));
    }
    // A wrong folder or device must not be noticed only after the work.
    place.path()?;
    let (device, warning) = common.device.open()?;
    if let Some(warning) = warning {
        output::note(format!("warning: {warning}"));
    }
    let (size, is_given) = args.what.size();
    if common.tolerance.is_none() && !is_given {
        return Err(Error::Usage(format!("--tolerance: give the largest error allowed, or a size with {size}")));
    }
    let planned = args.what.plan()?;
    let request = Request { tolerance: common.tolerance.unwrap_or(f64::MAX), max_parameters: common.max_params };
    let (construction, task) = (planned.build)(request).map_err(refused)?;
    let (bound, rounding) = (construction.bound.value, construction.rounding.value);
    let tolerance = common.tolerance.unwrap_or(bound + rounding);
    output::note(format!(
        "{}: {}; {} parameters; bound {} + rounding {}",
        construction.name,
        sizes(construction.sizes.iter().map(|(name, value)| (name.as_str(), *value))),
        construction.network.parameters(),
        number(bound),
        number(rounding)
    ));
    // Before the model is made: this is where sizes are checked that no model may have.
    let experiment = Experiment::of_construction(task, construction.network.model_config(), planned.seed)?;
    let model = construction.network.assemble(&device.device);
    let named = format!("{} ({})", device.spec, device.name);
    let certificate = certify(&construction, tolerance, &model, &device.device, &named, Effort::default());
    if !certificate.holds {
        if let Some(problem) = not_ours(&construction, &certificate) {
            return Err(Error::Usage(problem));
        }
        return Err(Error::Training(format!(
            "measured errors {:e} in float32 and {:e} in float64 are beyond the bound {bound:e} + {rounding:e}; nothing was written. \
             This is a fault in Headway, not in your input",
            certificate.float32.error, certificate.float64.error
        )));
    }
    let hardest = hardest(&construction, &certificate);
    // The page before the folder has its name: a whole folder has its page.
    let page = |half: &Checkpoint| page::write(half, &common.out).map(drop);
    let checkpoint = Checkpoint::write_constructed(&place, &experiment, &model, &certificate, &hardest, page)?;
    if common.json {
        output::json(&certificate);
    } else {
        summary(&certificate, common.tolerance);
        output::line(format!("checkpoint: {0}\nreport: {0}/report.html", checkpoint.path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The hardest points as arrays: `inputs`, `targets`, and which positions count.
fn hardest(construction: &Construction, certificate: &Certificate) -> BTreeMap<String, Array> {
    let network = &construction.network;
    let points = certificate.hardest.len();
    let inputs = certificate.hardest.iter().flat_map(|point| point.x.clone()).collect();
    let targets = certificate.hardest.iter().flat_map(|point| point.wanted.iter().map(|y| *y as f32)).collect();
    let scored = (0..network.seq_len).map(|position| f32::from(u8::from(construction.is_scored(position)))).collect();
    BTreeMap::from([
        ("inputs".to_owned(), Array { shape: vec![points, network.seq_len, network.d_in], values: inputs }),
        ("targets".to_owned(), Array { shape: vec![points, network.seq_len, network.d_out], values: targets }),
        ("scored".to_owned(), Array { shape: vec![network.seq_len], values: scored }),
    ])
}

/// Why a certificate can fail without a fault of ours: the target is not a number somewhere, or what the bound rests on is wrong.
fn not_ours(construction: &Construction, certificate: &Certificate) -> Option<String> {
    let Measured { error, wanted, worst_point, .. } = &certificate.float32;
    let wanted_everywhere = certificate.hardest.iter().flat_map(|point| &point.wanted).all(|y| y.is_finite());
    if !wanted.is_finite() || !wanted_everywhere {
        let some: Vec<f64> = worst_point.iter().copied().take(6).collect();
        return Some(format!("--function: gives {wanted} at {some:?} …; it must be finite on the whole domain"));
    }
    let allowed = construction.bound.value + construction.rounding.value;
    let beyond = format!("the error found, {error:.3e}, is beyond the {allowed:.3e} that follow from");
    if certificate.bound.rests_on(Basis::Given) {
        return Some(format!(
            "{beyond} --lipschitz and --curvature: the function is steeper, or bends more, than they say"
        ));
    }
    certificate.bound.rests_on(Basis::Measured).then(|| {
        format!("{beyond} what was measured of the function: it is steeper somewhere; give --lipschitz (and --curvature) if you know them")
    })
}

fn refused(refusal: Refusal) -> Error {
    Error::Usage(match refusal {
        Refusal::Invalid { key, problem } => format!("--{key}: {problem}"),
        refusal => refusal.to_string(),
    })
}

/// `p = 63, rows = 64`
pub fn sizes<'a>(sizes: impl Iterator<Item = (&'a str, f64)>) -> String {
    let size = |(name, value): (&str, f64)| {
        let value = if value.fract() == 0.0 { value.to_string() } else { number(value) };
        format!("{name} = {value}")
    };
    sizes.map(size).collect::<Vec<_>>().join(", ")
}

fn summary(certificate: &Certificate, asked: Option<f64>) {
    let Certificate { bound, rounding, float32, float64, .. } = certificate;
    let terms = |bound: &headway_theory::Bound| {
        let lines =
            bound.terms.iter().map(|term| format!("{:>14}  {}: {}", number(term.value), term.name, term.formula));
        lines.collect::<Vec<_>>().join("\n            ")
    };
    let measured = |measured: &headway_theory::Measured| {
        let points: usize = measured.points.values().sum();
        format!("{:>14}  over {points} points, worst at {}", number(measured.error), measured.worst_kind)
    };
    let all = certificate.sizes.iter().map(|(name, value)| (name.as_str(), *value));
    for (name, text) in [
        ("target", format!("  {}", certificate.target)),
        ("domain", format!("  {}", certificate.domain)),
        ("sizes", format!("  {}; {} parameters", sizes(all), certificate.parameters)),
        ("bound", terms(bound)),
        ("rounding", terms(rounding)),
        ("float32", measured(float32)),
        ("float64", measured(float64)),
        (
            "certified",
            format!(
                "  {} measured <= {} {}{}",
                number(float32.error),
                number(bound.value + rounding.value),
                // What rests on measured slopes or the error of a fit is no proof.
                if bound.rests_on(Basis::Measured) { "bounded" } else { "proved" },
                asked.map(|asked| format!(" <= {} asked", number(asked))).unwrap_or_default()
            ),
        ),
    ] {
        output::line(format!("{name:<12}{text}"));
    }
}

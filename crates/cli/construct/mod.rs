//! `headway construct`

pub mod args;

use std::{
    ffi::OsStr,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::error::Error;
use headway_model::{Model, weights};
use headway_report::certificate::{self, likely, sizes};
use headway_theory::{
    self as theory, Bound, Certificate, Effort, Verdict, certify,
    construct::options::{File, Given},
    prove::{Proof, search::Progress},
};
use headway_trainer::{
    bounded_read,
    checkpoint::{Checkpoint, Evidence},
    experiment::Experiment,
    run_dir::NewRun,
};

use crate::{
    device,
    output::{self, number},
};

use args::Construct;

pub fn run(args: &Construct) -> Result<ExitCode, Error> {
    let (common, config) = args.what.parts();
    // A wrong folder or device must be noticed before the work.
    if let Some(out) = &common.out {
        if out.file_name().is_none() {
            let argument = format!("--out {}", out.display());
            return Err(headway_trainer::Error::argument(argument, "give a folder by its name").into());
        }
        NewRun::At(out.clone()).path()?;
    }
    let time = Duration::try_from_secs_f64(60.0 * common.prove_minutes).map_err(|_| {
        let argument = format!("--prove-minutes {}", common.prove_minutes);
        headway_trainer::Error::argument(argument, "give a number of minutes from 0 on")
    })?;
    let device = device::open(common.device)?;
    let request = config.request(common.tolerance, common.max_params)?;
    let given = config.file().map(read).transpose()?;
    let planned = config.plan(given, common.max_params)?;
    let seed = planned.seed;
    let (construction, task) = output::waiting("choosing a size", || planned.build(request))?;
    let (bound, rounding) = (construction.bound.value, construction.rounding.value);
    output::note(format!(
        "{}: {}; {} parameters; bound {} + rounding {}",
        construction.name,
        sizes(construction.sizes.iter().map(|(name, value)| (name.as_str(), *value))),
        construction.network.parameters(),
        number(bound),
        number(rounding)
    ));
    // Done before the model is made, since it checks sizes that no model may have.
    let experiment = Experiment::of_construction(task, construction.network.model_config(), seed)?;
    let model = construction.network.assemble(&device.device);
    let (construction, proof) = if common.prove {
        let proof = proof(&construction, &model, time)?;
        let construction = construction.proved(&proof);
        within(common.tolerance, construction.bound.value + construction.rounding.value)?;
        (construction, Some(proof))
    } else {
        (construction, None)
    };
    let tolerance = common.tolerance.unwrap_or(construction.bound.value + construction.rounding.value);
    let named = format!("{} ({})", device.spec, device.name);
    let search = || certify(&construction, tolerance, &model, &device.device, &named, Effort::default());
    let certificate = output::waiting("looking for errors", search);
    certificate.check()?;
    let hardest = certificate.hardest_arrays(&construction);
    // The page is written before the folder gets its final name, so that a complete folder has its page.
    let numbered = || NewRun::Numbered { parent: "runs".into(), name: construction.name.to_owned() };
    let folder = common.out.clone().map_or_else(numbered, NewRun::At).path()?;
    let page = |half: &Checkpoint| certificate::write(half, &folder).map(drop);
    let evidence = Evidence {
        certificate: &certificate,
        hardest: &hardest,
        proof: proof.as_ref(),
        truth: construction.truth.as_ref(),
    };
    let checkpoint = Checkpoint::write_constructed(folder.clone(), &experiment, &model, &evidence, page)?;
    if common.json {
        output::json(&certificate);
    } else {
        summary(&certificate, common.tolerance);
        output::line(format!("checkpoint: {0}\nreport: {0}/report.html", checkpoint.path.display()));
    }
    if certificate.holds {
        return Ok(ExitCode::SUCCESS);
    }
    let why = format!(
        "{}: largest error found {}; no bound follows from this formula, whose slopes could only be measured at points; give \
         --lipschitz if you know it",
        Verdict::NotCertified,
        number(certificate.float32.error)
    );
    if common.json {
        output::note(why);
    } else {
        output::line(why);
    }
    Ok(ExitCode::from(NOT_CERTIFIED))
}

/// What a proof rounds up may not be beyond the tolerance that a formula just met.
fn within(tolerance: Option<f64>, proved: f64) -> Result<(), Error> {
    match tolerance {
        Some(tolerance) if proved > tolerance => {
            let problem =
                format!("the proof, which rounds everything up, ends at {}; give a little more", number(proved));
            Err(headway_trainer::Error::argument(format!("--tolerance {tolerance}"), problem).into())
        }
        _ => Ok(()),
    }
}

/// The proof over boxes or by inequalities, with a line on standard error now and then.
fn proof(construction: &theory::construct::Construction, model: &Model, time: Duration) -> Result<Proof, Error> {
    let (start, mut said) = (Instant::now(), Instant::now());
    let proof = construction.prove(&weights::arrays(model), time, |progress| {
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            let Progress { examined, left, seen, bound } = progress;
            let (bound, seen) = (number(bound), number(seen));
            output::note(format!(
                "proof: {examined} boxes examined, {left} to be split; bound {bound}, error seen {seen}"
            ));
        }
    })?;
    let Proof { bound, rounding, seen, boxes, steps, .. } = &proof;
    let how = if steps.is_empty() {
        format!("{} seen; {boxes} boxes, {:.1} s", number(*seen), start.elapsed().as_secs_f64())
    } else {
        format!("by {} inequalities", steps.len())
    };
    output::note(format!("proof: bound {} + rounding {}, {how}", number(*bound), number(*rounding)));
    Ok(proof)
}

/// Exit code if a folder was written but nothing is certified about it.
const NOT_CERTIFIED: u8 = 7;

/// Reads the file that an option names.
fn read(file: File<'_>) -> Result<Given, Error> {
    Ok(match file {
        File::Table(path) => Given::Table(bounded_read::read_given(path)?),
        File::Text(path) => Given::Text(bounded_read::read_given(path)?),
        File::Arrays(path) if is_saved_by_torch(path) => {
            let contents = headway_exchange::read(path, None);
            Given::Arrays(contents.map_err(|error| headway_trainer::Error::refused(path, error))?.tensors)
        }
        File::Arrays(path) => Given::Arrays(bounded_read::read_arrays(path)?),
    })
}

/// Whether a file is named as those of `torch.save` are.
fn is_saved_by_torch(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|ending| ["pt", "pth", "bin"].contains(&ending))
}

fn summary(certificate: &Certificate, asked: Option<f64>) {
    let Certificate { bound, rounding, float32, float64, .. } = certificate;
    let terms = |bound: &Bound| {
        let lines =
            bound.terms.iter().map(|term| format!("{:>14}  {}: {}", number(term.value), term.name, term.formula));
        lines.collect::<Vec<_>>().join("\n            ")
    };
    let measured = |measured: &headway_theory::Measured| {
        let points: usize = measured.points.values().sum();
        if let Some(p) = certificate.norm {
            return format!("{:>14}  in the mean (L_{p}) over {points} random points", number(measured.error));
        }
        format!("{:>14}  over {points} points, worst at {}", number(measured.error), measured.worst_kind)
    };
    let all = certificate.sizes.iter().map(|(name, value)| (name.as_str(), *value));
    for (name, text) in [
        ("target", format!("  {}", certificate.target)),
        ("domain", format!("  {}", certificate.domain)),
        ("sizes", format!("  {}; {} parameters", sizes(all), certificate.parameters)),
        ("bound", terms(bound)),
        ("rounding", terms(rounding)),
        ("likely", certificate.rounding_likely.as_ref().map_or_else(String::new, likely)),
        ("float32", measured(float32)),
        ("float64", measured(float64)),
        ("tried", certificate.tried.as_ref().map_or_else(String::new, |tried| format!("  {tried}"))),
        ("certified", format!("  {}", conclusion(certificate, asked))),
        ("rests on", certificate.proof.as_ref().map_or_else(String::new, |proof| format!("  {}", proof.rests_on))),
    ] {
        if !text.is_empty() {
            output::line(format!("{name:<12}{text}"));
        }
    }
}

/// The errors in one line: `0.045 measured <= 0.099 proved <= 0.1 asked`.
fn conclusion(certificate: &Certificate, asked: Option<f64>) -> String {
    let Certificate { bound, rounding, float32, verdict, .. } = certificate;
    let (found, most) = (number(float32.error), number(bound.value + rounding.value));
    let asked = asked.map(|asked| format!(" <= {} asked", number(asked))).unwrap_or_default();
    match verdict {
        Verdict::NotCertified => format!("{verdict}: {found} found, {most} guessed from what was measured at points"),
        Verdict::Proved | Verdict::Given => format!("{found} measured <= {most} {verdict}{asked}"),
    }
}

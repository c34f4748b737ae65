//! `headway certify`

mod accuracy;

use std::{
    ops::ControlFlow,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use headway_bounds::supremum::{Arithmetic, Choice, End, Inputs, Limit, Progress, Question, State, search};
use headway_inspect::{LoadedModel, function, open};
use headway_model::{Precision, weights};
use headway_report::{PageDir, supremum};
use headway_tasks::{Boxes, TaskConfig};
use headway_theory::{Refusal, Target};
use headway_trainer::{Interrupter, bounded_read, build, digest::digest, experiment::Worst, json, provenance::Status};

use crate::{args::Certify, device, error::Error, output, output::number, signals};

/// Name of the file from which a search goes on.
const STATE: &str = "state.json";
/// Seconds between two states on disk.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// Largest number of boxes that a search keeps: some 100 MB.
const MOST_OPEN: usize = 1 << 20;
/// Exit code if a search ends without an upper bound.
const NO_BOUND: u8 = 7;

pub fn run(args: &Certify) -> Result<ExitCode, Error> {
    let place = PageDir::at(&args.out);
    place.ensure_free()?;
    let device = device::open(args.device)?;
    let loaded = open(&args.checkpoint, &args.overrides(), &device)?;
    if let TaskConfig::MaxOfK(task) = &loaded.experiment.task {
        return accuracy::run(args, &loaded, [task.vocab, task.k], &device, &place);
    }
    let (question, target) = question(args, &loaded)?;
    let domain = question.inputs.text();
    let arithmetic = if args.float32 { "float32" } else { "exact" };
    let weights = digest(&weights::to_bytes(&loaded.model).map_err(headway_trainer::Error::from)?);
    let asked = [("target", target.as_str()), ("domain", &domain), ("arithmetic", arithmetic), ("weights", &weights)];
    let asked: Vec<(String, String)> = asked.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let interrupter = Interrupter::new();
    signals::listen_between(interrupter.clone(), Arc::default(), "these boxes")?;
    let mut state = match begun(&place, &asked)? {
        Some(state) => {
            output::note(format!("going on after {} boxes and {}", state.boxes, output::duration(state.seconds)));
            state
        }
        None => State::new(&question, asked),
    };
    let limit = Limit { time: Duration::from_secs_f64(60.0 * args.minutes), gap: args.gap, boxes: MOST_OPEN };
    let (mut said, mut saved, mut unsaved) = (Instant::now(), Instant::now(), None);
    let pause = Duration::from_secs(if output::renews() { 1 } else { 10 });
    let end = search(&question, &mut state, limit, |state, progress| {
        if said.elapsed() > pause {
            said = Instant::now();
            output::progress_line(&line(progress), output::renews());
        }
        if saved.elapsed() > SAVE_EVERY {
            saved = Instant::now();
            if let Err(error) = save(&place, state) {
                unsaved = Some(error);
                return ControlFlow::Break(());
            }
        }
        if interrupter.should_stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    unsaved.map_or(Ok(()), Err)?;
    save(&place, &state)?;
    place.write(Worst::FILE, &json::file(&worst(&question))?)?;
    let found = supremum::Searched {
        network: &loaded.provenance,
        target: &target,
        domain: &domain,
        free: &question.inputs.free_names(),
        arithmetic: question.arithmetic,
        measured: question.measured(&loaded.model, &device.device.clone().autodiff(), &state.at),
        rounding: question.rounding(&state.at),
        state: &state,
        end,
    };
    let page = supremum::page(&found);
    page.write(&place)?;
    if args.json {
        output::json(&page.json);
    } else {
        output::line(format!("report    {}", place.report().display()));
        page.findings.iter().for_each(output::line);
    }
    Ok(match (end, found.upper()) {
        (End::Stopped, _) => signals::exit_code(Status::Interrupted),
        (_, Some(_)) => ExitCode::SUCCESS,
        (_, None) => ExitCode::from(NO_BOUND),
    })
}

/// Share of the domain that is written down for training to take more examples from.
const WORST: f64 = 0.05;

/// Where the error is bounded worst, for `train.worst_boxes`.
fn worst(question: &Question) -> Worst {
    let (cells, of) = question.worst(WORST);
    let bounds = cells.iter().map(|cell| cell.bound).collect();
    Worst { of, bounds, boxes: Boxes(cells.into_iter().map(|cell| cell.sides).collect()) }
}

/// What is to be bounded, with its target in words.
fn question(args: &Certify, loaded: &LoadedModel) -> Result<(Question, String), Error> {
    let function = function(loaded)?;
    let train = &loaded.experiment.train;
    let other = [train.precision, train.attention_precision].into_iter().find(|precision| *precision != Precision::F32);
    if let (Some(precision), true) = (other, args.float32) {
        let problem = format!(
            "is for networks in f32, and this one multiplies in {}; without it the bound is about the function of the weights, or -s \
             train.precision=f32 runs them in f32",
            precision.name()
        );
        return Err(Refusal::invalid("float32", problem).into());
    }
    let known = build::open_task(&loaded.experiment)?.known();
    let choice = Choice { domain: args.domain.clone(), fix: args.fix.clone(), free: args.free.clone() };
    let shape = [function.seq_len, function.d_in];
    let inputs = Inputs::new(shape, &choice, known.as_ref().and_then(|known| known.ends))?;
    let (target, text) = if args.target.is_empty() {
        let known = known.ok_or_else(|| {
            let task = loaded.experiment.task.name();
            Refusal::invalid("target", format!("is needed: the targets of {task} are no known function of its inputs"))
        })?;
        (known.enclosure, known.text)
    } else {
        if args.target.len() != function.d_out {
            let problem = format!(
                "gives {} formulas, and this network answers {} numbers at every position; give it once for each",
                args.target.len(),
                function.d_out
            );
            return Err(Refusal::invalid("target", problem).into());
        }
        let formulas: Vec<&str> = args.target.iter().map(String::as_str).collect();
        let target = Target::formulas(&formulas, shape, inputs.ends()).map_err(|refusal| match refusal {
            Refusal::Invalid { problem, .. } => Refusal::invalid("target", problem),
            other => other,
        })?;
        let none = || Refusal::invalid("target", "is no formula");
        (target.enclosure.clone().ok_or_else(none)?, target.text)
    };
    let arithmetic = if args.float32 { Arithmetic::Float32 } else { Arithmetic::Exact };
    Ok((Question { function, target, inputs, arithmetic }, text))
}

/// The search that the folder holds, if it holds one.
fn begun(place: &PageDir, asked: &[(String, String)]) -> Result<Option<State>, Error> {
    let path = place.root().join(STATE);
    let Some(bytes) = bounded_read::read_if_there(&path)? else { return Ok(None) };
    let damaged = |problem: String| {
        let is = format!("holds no search ({problem})");
        headway_trainer::Error::occupied(&path, is, "delete it, or choose another folder with --out")
    };
    let state: State = bounded_read::from_json(&bytes).map_err(damaged)?;
    let other = asked.iter().find(|asked| !state.question.contains(asked));
    if let Some((name, _)) = other {
        let is = format!("holds a search with other {name}");
        return Err(headway_trainer::Error::occupied(place.root(), is, "choose another folder with --out").into());
    }
    Ok(Some(state))
}

fn save(place: &PageDir, state: &State) -> Result<(), Error> {
    Ok(place.write(STATE, &json::file(state)?)?)
}

fn line(Progress { now, open }: Progress) -> String {
    let upper = if now.upper < f64::MAX { number(now.upper) } else { "none".to_owned() };
    let gap = 100.0 * (now.upper / now.lower - 1.0);
    let (lower, time) = (number(now.lower), output::duration(now.seconds));
    format!("{:>9} boxes, {open} open  upper {upper}  lower {lower}  gap {gap:.2} %  {time}", now.boxes)
}

//! `headway swap`

use std::{process::ExitCode, sync::Arc};

use crate::error::Error;
use headway_inspect::{Back, SwapRequest, Swapped, swap};
use headway_report::PageDir;
use headway_trainer::{event::Event, finetune, provenance::Status, run_dir::NewRun};

use crate::{
    args::{RunArgs, Swap},
    device, output, signals, tables, train,
};

pub fn run(args: &Swap) -> Result<ExitCode, Error> {
    let place = args.out.as_ref().map(PageDir::at);
    place.as_ref().map_or(Ok(()), PageDir::ensure_free)?;
    let run = RunArgs { device: args.device, tui: false, max_time: None, json: args.json };
    let mut tuning = args.finetune.map(|_| train::options(&run)).transpose()?;
    if let Some(options) = &mut tuning {
        // That the buffers of a kernel are drawn, and another function is trained on, is what was asked for.
        let on_event = options.on_event.clone();
        options.on_event = Arc::new(move |event: &Event| {
            if !matches!(event, Event::Prepared { .. }) {
                on_event(event);
            }
        });
    }
    let device = match &tuning {
        Some(options) => options.device.clone(),
        None => device::open(args.device)?,
    };
    let request = SwapRequest {
        source: args.checkpoint.clone(),
        overrides: args.overrides(),
        kernels: args.kernel.clone(),
        features: args.m.iter().map(|m| *m as usize).collect(),
        draws: args.draws,
        sequences: args.sequences.into(),
        steps: args.finetune,
    };
    if let (Some(_), Some(place)) = (&tuning, &place) {
        NewRun::At(place.root().join("runs")).path()?;
    }
    let done = |swapped: &Swapped| output::progress_line(&format!("{}: scored", swapped.label()), false);
    let mut found = swap(&request, &device, done)?;
    if let (Some(options), Some(place)) = (&tuning, &place) {
        // What is known should a run diverge.
        headway_report::swap::page(&found).write(place)?;
        for swapped in &mut found.kernels {
            let folder = place.root().join("runs").join(swapped.label());
            output::progress_line(&format!("{}: fine-tuning", swapped.label()), false);
            // Buffers of the kernel are all that the checkpoint lacks.
            let run = NewRun::At(folder.clone());
            let finished = finetune::finetune(&swapped.experiment, &args.checkpoint, true, &run, options)?;
            let metrics = finished.dir.metrics();
            let summary = headway_report::run::conclude(finished)?;
            if matches!(summary.status, Status::Interrupted | Status::OutOfTime) {
                return Ok(signals::exit_code(summary.status));
            }
            let scores = summary.rows().swap_remove(0);
            swapped.back = Some(Back::read(swapped, found.validation_loss, &metrics, args.within, scores)?);
        }
    }
    let page = headway_report::swap::page(&found);
    if let Some(place) = &place {
        page.write(place)?;
    }
    if args.json {
        output::json(&page.json);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(found.subject.sentence());
    output::line(tables::cells(&page.table.header, &page.table.rows));
    page.findings.iter().for_each(output::line);
    if let Some(place) = &place {
        output::line(format!("report: {}", place.report().display()));
    }
    Ok(ExitCode::SUCCESS)
}

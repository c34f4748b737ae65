//! `headway report`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::error::Error;
use headway_report::{PageDir, certificate, run};
use headway_study::{Study, dir::StudyDir, file::Changes, results::Group};
use headway_trainer::{
    bounded_read,
    checkpoint::Checkpoint,
    presence,
    provenance::Status,
    quote,
    run_dir::{RunDir, read_experiment, read_record, runs_below},
};

use crate::{args::Report, device, output, study, tables};

pub fn run(args: &Report) -> Result<ExitCode, Error> {
    if let ([folder], None) = (args.folders.as_slice(), &args.out) {
        if let Some(path) = of_construction(folder)? {
            output::line(format!("report: {}", path.display()));
            return Ok(ExitCode::SUCCESS);
        }
        if RunDir::is_run(folder)? {
            let device = device::open(args.device)?;
            let (path, status) = run::again(folder, &device)?;
            output::line(format!("report: {}", path.display()));
            return match status {
                Status::Diverged => Err(headway_trainer::Error::NotFinite(format!(
                    "{}: the network of this run diverged",
                    folder.display()
                ))
                .into()),
                _ => Ok(ExitCode::SUCCESS),
            };
        }
        let asked = Study::read(folder, &Changes::default())?;
        let study_dir = StudyDir::at(folder);
        let page = headway_report::of_study(&asked, &study_dir, &asked.command(&study_dir))?;
        let dir = PageDir::at(folder);
        page.write(&dir)?;
        page.findings.iter().for_each(output::line);
        output::line(format!("report: {}", dir.report().display()));
        return Ok(study::ended(study::has_diverged(&asked, &study_dir)?));
    }
    let dir = PageDir::at(args.out.clone().unwrap_or_else(|| PathBuf::from("runs/report")));
    dir.ensure_free()?;
    let mut groups = side_by_side(&args.folders)?;
    headway_report::groups::name_by_settings(&mut groups);
    for (seed, why) in groups.iter().flat_map(|group| &group.missing) {
        output::note(format!("warning: seed {seed} is left out: {why}"));
    }
    let folders: Vec<String> = args.folders.iter().map(quote::shell_path).collect();
    let page = headway_report::groups::page(&groups, &format!("headway report {}", folders.join(" ")))?;
    page.write(&dir)?;
    output::line(tables::cells(&page.table.header, &page.table.rows));
    page.findings.iter().for_each(output::line);
    output::line(format!("report: {}", dir.report().display()));
    Ok(study::ended(groups.iter().any(|group| !group.diverged().is_empty())))
}

/// Makes the page of a constructed checkpoint again; `None` if the folder is no such checkpoint.
fn of_construction(folder: &Path) -> Result<Option<PathBuf>, Error> {
    if !presence::is_file(&folder.join(Checkpoint::MANIFEST))? {
        return Ok(None);
    }
    let checkpoint = Checkpoint::find(folder)?;
    Ok(certificate::write(&checkpoint, &checkpoint.path)?.then(|| checkpoint.path.join("report.html")))
}

/// The runs in some folders, grouped by config and origin of weights.
fn side_by_side(folders: &[PathBuf]) -> Result<Vec<Group>, Error> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut order = Vec::new();
    for folder in folders {
        if !presence::is_there(folder)? {
            let help = bounded_read::did_you_mean(folder);
            return Err(headway_trainer::Error::NotThere { path: folder.clone(), help }.into());
        }
        let runs =
            if RunDir::is_run(folder)? { vec![folder.clone()] } else { runs_below(&StudyDir::at(folder).runs())? };
        for root in runs {
            let (experiment, record) = (read_experiment(&root)?, read_record(&root)?);
            let (seed, run_id) = (experiment.seed, experiment.run_id());
            let config = run_id.split('-').next().unwrap_or(&run_id).to_owned();
            let origin =
                record.lineage.map(|lineage| format!(" from {:.12}", lineage.weights_sha256)).unwrap_or_default();
            let name = format!("{} on {} ({config}{origin})", experiment.model.name(), experiment.task.name());
            if !order.contains(&name) {
                order.push(name.clone());
            }
            let group = groups.entry(name.clone()).or_insert_with(|| Group::empty(&name, experiment));
            if group.has(seed) {
                output::note(format!(
                    "warning: {} is left out: seed {seed} of {name} is there already",
                    root.display()
                ));
            } else {
                group.add(&root, seed)?;
            }
        }
    }
    Ok(order.into_iter().filter_map(|name| groups.remove(&name)).collect())
}

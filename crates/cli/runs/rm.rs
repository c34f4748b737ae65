//! `headway runs rm`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use headway_inspect::counted;
use headway_study::{Study, dir::StudyDir, file::Changes};
use headway_trainer::{
    lock::FolderLock,
    run_dir::{self, RunDir},
};

use crate::{error::Error, output};

/// Folders to be deleted, locked against every other process.
enum Doomed {
    Run(RunDir),
    Study(StudyDir, Vec<RunDir>, FolderLock),
}

/// Deletes runs, sweeps and comparisons: all of them, or none if one of them is something else or in use.
pub fn run(folders: &[PathBuf], yes: bool) -> Result<ExitCode, Error> {
    let mut all = Vec::new();
    for folder in folders {
        all.push((folder, claim(folder)?));
    }
    for (folder, doomed) in all {
        let (bytes, runs) = (run_dir::size(folder)?, doomed.runs());
        let what = format!("{}: {}, {:.1} MB", folder.display(), counted(runs, "run"), bytes as f64 / 1e6);
        if yes {
            let left = doomed.delete()?;
            output::line(format!("deleted {what}"));
            for path in left {
                output::note(format!("warning: {} is not of the run and stays", path.display()));
            }
        } else {
            output::line(what);
        }
    }
    if !yes {
        output::note("nothing is deleted; add --yes to delete them for good");
    }
    Ok(ExitCode::SUCCESS)
}

fn claim(folder: &Path) -> Result<Doomed, Error> {
    if RunDir::is_run(folder)? {
        return Ok(Doomed::Run(RunDir::open(folder)?));
    }
    let study = Study::read(folder, &Changes::default()).map_err(|error| match error {
        headway_study::Error::NoStudy { path, .. } => {
            let (is, way_out) = ("is no run, sweep or comparison", "`headway runs list` shows those that there are");
            headway_trainer::Error::other_file(&path, is, way_out).into()
        }
        error => Error::from(error),
    })?;
    let dir = StudyDir::at(folder);
    let led = dir.lead()?;
    let mut held = Vec::new();
    for run in study.plan(&dir)?.runs() {
        let root = dir.run(&run.run_id);
        if RunDir::is_run(&root)? {
            held.push(RunDir::claim(&root, Duration::ZERO)?);
        }
    }
    Ok(Doomed::Study(dir, held, led))
}

impl Doomed {
    fn runs(&self) -> usize {
        match self {
            Self::Run(_) => 1,
            Self::Study(_, runs, _) => runs.len(),
        }
    }

    /// Deletes what Headway wrote; returns what is not of the runs and stays.
    fn delete(self) -> Result<Vec<PathBuf>, Error> {
        match self {
            Self::Run(run) => Ok(run.delete()?),
            Self::Study(dir, runs, led) => {
                let mut left = Vec::new();
                for run in runs {
                    left.extend(run.delete()?);
                }
                drop(led);
                if left.is_empty() {
                    dir.delete()?;
                }
                Ok(left)
            }
        }
    }
}

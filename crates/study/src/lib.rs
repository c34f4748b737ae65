#![doc = include_str!("../README.md")]
#![warn(clippy::disallowed_methods)]

pub mod compare;
pub mod dir;
mod error;
pub mod file;
pub mod jobs;
pub mod plan;
pub mod reproduce;
pub mod results;
pub mod sweep;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use error::Error;

use compare::{Comparison, Next};
use dir::StudyDir;
use file::{Changes, StudyFile};
use headway_trainer::{bounded_read, lock::FolderLock, presence, quote};
use plan::{Cost, Plan, PlannedRun};
use sweep::Sweep;

/// A sweep or a comparison.
#[derive(Clone, Debug)]
pub enum Study {
    /// One experiment at many points.
    Sweep(Box<Sweep>),
    /// Rows side by side.
    Comparison(Box<Comparison>),
}

/// Names of the files that define a study.
const SWEEP: &str = "sweep.toml";
const COMPARISON: &str = "compare.toml";

impl Study {
    /// Reads a study from its file, or from the folder of an existing study.
    ///
    /// # Errors
    /// [`Error::Trainer`] when there is none; [`Error::Experiment`] with what is wrong in it.
    pub fn read(path: &Path, changes: &Changes) -> Result<Self, Error> {
        let file = if !presence::is_folder(path)? {
            path.to_owned()
        } else if presence::is_file(&path.join(SWEEP))? {
            path.join(SWEEP)
        } else if presence::is_file(&path.join(COMPARISON))? {
            path.join(COMPARISON)
        } else {
            return Err(Error::NoStudy { path: path.to_owned(), missing: [SWEEP, COMPARISON] });
        };
        Self::of(&StudyFile::read(&file, changes.profile.as_deref())?, changes)
    }

    /// The study that a file defines.
    ///
    /// # Errors
    /// as [`Study::read`]
    pub fn of(file: &StudyFile, changes: &Changes) -> Result<Self, Error> {
        // A file with rows is a comparison.
        if file.has("rows") {
            Ok(Self::Comparison(Box::new(Comparison::new(file, changes)?)))
        } else {
            Ok(Self::Sweep(Box::new(Sweep::new(file, changes)?)))
        }
    }

    /// Whether the file at a path names experiments to run, instead of being one.
    pub fn is_file(path: &Path) -> bool {
        StudyFile::read(path, None).is_ok_and(|file| file.has("rows") || file.has("experiment"))
    }

    /// The study's folder if none was given: the folder at `path` if that is a study's, else one named after file and
    /// profile.
    ///
    /// # Errors
    /// [`Error::Trainer`] when that cannot be told.
    pub fn place(path: &Path, changes: &Changes) -> Result<PathBuf, Error> {
        if presence::is_folder(path)? {
            return Ok(path.to_owned());
        }
        let name = path.file_stem().map_or_else(|| "study".into(), |stem| stem.to_string_lossy());
        let profile = changes.profile.as_ref().map(|profile| format!("-{profile}")).unwrap_or_default();
        Ok(PathBuf::from("runs").join(format!("{name}{profile}")))
    }

    /// Every run known so far. A comparison that chooses learning rates adds its final runs once the choice can be
    /// made, and one that needs more seeds to decide adds these.
    ///
    /// # Errors
    /// [`Error::Trainer`] when how runs stand cannot be told.
    pub fn plan(&self, dir: &StudyDir) -> Result<Plan, Error> {
        match self {
            Self::Sweep(sweep) => Ok(sweep.plan.clone()),
            Self::Comparison(comparison) => Ok(comparison.plan(dir)?.plan),
        }
    }

    /// The command that repeats the study elsewhere, from the complete file in its folder.
    pub fn command(&self, dir: &StudyDir) -> String {
        let (verb, file) = match self {
            Self::Sweep(_) => ("sweep", SWEEP),
            Self::Comparison(_) => ("compare", COMPARISON),
        };
        let (file, root) = (dir.file(file), dir.root());
        format!(
            "headway {verb} {} --out again    # every run\nheadway report {}    # this page alone",
            quote::shell_path(file),
            quote::shell_path(root)
        )
    }

    /// Prevents other processes from leading the study while the returned lock lives, makes its folder, and writes its
    /// complete file.
    ///
    /// # Errors
    /// [`Error::Trainer`] when another process leads it or the folder holds something else, or the system refuses
    pub fn lead(&self, dir: &StudyDir) -> Result<FolderLock, Error> {
        dir.ensure_ours(self.file().0)?;
        // The lock is taken first, so that nobody changes the file while runs read it.
        let led = dir.lead()?;
        self.settle(dir)?;
        Ok(led)
    }

    /// Whether the folder holds a study with another definition.
    ///
    /// # Errors
    /// [`Error::Trainer`] when that cannot be told.
    pub fn differs(&self, dir: &StudyDir) -> Result<bool, Error> {
        let (name, text) = self.file();
        Ok(bounded_read::read_if_there(&dir.file(name))?.is_some_and(|there| there != text.as_bytes()))
    }

    /// The scores that it is about.
    pub fn metrics(&self) -> Vec<&str> {
        match self {
            Self::Sweep(sweep) => vec![&sweep.config.metric],
            Self::Comparison(comparison) => {
                let all: BTreeSet<&str> = comparison.blocks.iter().map(|block| block.metric.as_str()).collect();
                all.into_iter().collect()
            }
        }
    }

    /// `sweep` or `comparison`, and its title.
    pub fn kind_and_title(&self) -> (&'static str, &str) {
        match self {
            Self::Sweep(sweep) => ("sweep", &sweep.config.title),
            Self::Comparison(comparison) => ("comparison", &comparison.config.title),
        }
    }

    /// Whether a run may diverge without harm: one that a comparison makes only to choose by, or of a row that a claim expects behind.
    pub fn may_diverge(&self, run: &PlannedRun) -> bool {
        matches!(self, Self::Comparison(comparison) if comparison.config.only_tries(run.experiment.seed) || comparison.is_claimed_behind(run))
    }

    /// What it costs, before its first run.
    pub fn cost(&self) -> Cost {
        match self {
            Self::Sweep(sweep) => {
                let mut cost = Cost::default();
                for run in sweep.plan.runs() {
                    let flops = run.experiment.training_flops();
                    cost.add_least(1, flops);
                    cost.add_most(1, flops);
                }
                cost
            }
            Self::Comparison(comparison) => comparison.cost(),
        }
    }

    /// What the runs known so far are for, if more are added when they are done.
    ///
    /// # Errors
    /// as [`Study::plan`]
    pub fn next(&self, dir: &StudyDir) -> Result<Next, Error> {
        match self {
            Self::Sweep(_) => Ok(Next::End),
            Self::Comparison(comparison) => Ok(comparison.plan(dir)?.next),
        }
    }

    /// Makes the folder for a single run of the study, unless it exists.
    ///
    /// # Errors
    /// [`Error::Trainer`] when the folder holds something else, a study of another definition perhaps, or the system refuses
    pub fn join(&self, dir: &StudyDir) -> Result<(), Error> {
        let is_there = || -> Result<bool, Error> {
            if self.differs(dir)? {
                let way_out = "give the folder itself, or another one with --out";
                return Err(headway_trainer::Error::occupied(dir.root(), "holds another definition", way_out).into());
            }
            Ok(presence::is_file(&dir.file(self.file().0))?)
        };
        if is_there()? {
            return Ok(());
        }
        dir.ensure_ours(self.file().0)?;
        // If two definitions arrive at once, the second must not replace the first.
        let led = dir.lead();
        if is_there()? {
            return Ok(());
        }
        led.and_then(|_led| self.settle(dir))
    }

    fn settle(&self, dir: &StudyDir) -> Result<(), Error> {
        let (name, text) = self.file();
        dir.ensure_ours(name)?;
        dir.write(name, text.as_bytes())
    }

    /// Name and text of the file in its folder.
    fn file(&self) -> (&'static str, String) {
        match self {
            Self::Sweep(sweep) => (SWEEP, sweep.to_toml()),
            Self::Comparison(comparison) => (COMPARISON, comparison.to_toml()),
        }
    }
}

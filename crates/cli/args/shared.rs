//! What several verbs take.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args as ClapArgs;
use headway_trainer::{
    device::DeviceSpec,
    experiment::{self, Loaded},
};

use crate::{
    error::Error,
    values::{overrides, parse_duration, parse_seed},
};

/// An experiment file, and changes to it.
#[derive(ClapArgs)]
pub struct ExperimentArgs {
    /// Experiment file (TOML).
    pub experiment: PathBuf,
    /// Change one value, as in `-s train.steps=100`. The name of a variant may be left out, `-s model.n_heads=8`; given
    /// alone, it selects the variant with its defaults, `-s schedule=linear`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Remove a value from the file before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seed of weights, data and order; the same as `-s seed=N`.
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
}

impl ExperimentArgs {
    /// Loads the experiment for training.
    ///
    /// # Errors
    /// as [`experiment::load_to_train`]
    pub fn load(&self) -> Result<Loaded, Error> {
        self.load_from(None)
    }

    /// Loads the experiment for training, starting from the weights of `init_from` if it is given.
    ///
    /// # Errors
    /// as [`experiment::load_to_train`]
    pub fn load_from(&self, init_from: Option<&Path>) -> Result<Loaded, Error> {
        let init_from = init_from.map(|path| match path.to_str() {
            // A JSON string is a valid TOML string, whatever the path contains.
            Some(path) => Ok(format!("init_from={}", serde_json::Value::from(path))),
            None => Err(headway_trainer::Error::argument(
                format!("--init-from {}", path.display()),
                "the path must be Unicode",
            )),
        });
        let init_from = init_from.transpose()?;
        let overrides: Vec<String> = self.overrides().into_iter().chain(init_from).collect();
        Ok(experiment::load_to_train(&self.experiment, &overrides)?)
    }

    /// All changes to the experiment, `--seed` last.
    pub fn overrides(&self) -> Vec<String> {
        overrides(&self.unset, &self.set, self.seed)
    }
}

/// How to run, for all verbs that train.
#[derive(ClapArgs)]
pub struct RunArgs {
    /// Device to compute on: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
    /// Show a live dashboard instead of plain progress (needs a terminal).
    #[arg(long)]
    pub tui: bool,
    /// Save and stop after this time, as in 90s, 30m or 2h; `headway resume` continues.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Where a new run is placed.
#[derive(ClapArgs)]
pub struct OutArgs {
    /// Folder of the run; must be empty or new. Default: runs/NAME-K, with the experiment's name and the first free K.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Check everything and print what would be done, without training.
    #[arg(long)]
    pub dry_run: bool,
}

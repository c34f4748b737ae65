//! Verbs about many runs.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use headway_trainer::device::DeviceSpec;

use super::RunArgs;
use crate::values::parse_seed;

/// Changes to the file of a study.
#[derive(ClapArgs)]
pub struct ChangeArgs {
    /// Profile of the file to use, which is a table [profiles.NAME] in it.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Change one value of every run, as in `-s train.steps=100`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Remove a value that the file sets in every run, before anything is set.
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Seeds instead of those of the file, as in `--seeds 0,1,2`.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = parse_seed)]
    pub seeds: Vec<u64>,
}

/// How to execute many runs.
#[derive(ClapArgs)]
pub struct JobArgs {
    /// Number of runs at a time, shared out among the devices; the threads are divided among the runs. Default: one per core on a CPU,
    /// which is fastest for small models, and one on each GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Try failed runs again.
    #[arg(long)]
    pub retry: bool,
    /// Device to compute on: auto, or a name that `headway devices` lists; or several, as in `--device cuda:0,cuda:1`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_delimiter = ',')]
    pub device: Vec<DeviceSpec>,
    /// Print one JSON document on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Sweep {
    #[command(subcommand)]
    pub action: Option<SweepAction>,
    /// Sweep file (TOML), or the folder of a sweep to continue.
    #[arg(required = true, value_name = "SWEEP")]
    pub study: Option<PathBuf>,
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub jobs: JobArgs,
}

#[derive(ClapArgs)]
pub struct Compare {
    /// Comparison file (TOML), or the folder of a comparison to continue.
    pub comparison: PathBuf,
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Folder of the comparison. Default: runs/NAME, with the file's name and the profile's.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub jobs: JobArgs,
}

#[derive(ClapArgs)]
pub struct Reproduce {
    /// Experiment to reproduce (see `headway list reproductions`).
    pub id: String,
    /// Use the short profile for a laptop; the same as `--profile quick`.
    #[arg(long, conflicts_with = "profile")]
    pub quick: bool,
    #[command(flatten)]
    pub changes: ChangeArgs,
    /// Folder of the runs. Default: runs/reproduce-ID, with the profile's name.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub jobs: JobArgs,
}

#[derive(ClapArgs)]
pub struct Report {
    /// Folders of runs, sweeps or comparisons. For a single folder its own page is made again; for several, or with
    /// --out, all runs go on one page.
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// Folder for the page about all runs. Default with several folders: runs/report.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Device for attention patterns of runs that have no picture of them.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: DeviceSpec,
}

#[derive(Subcommand)]
pub enum SweepAction {
    /// Print one line per run: index, run, seed, settings. Nothing is executed.
    Plan {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Write the lines to a file instead.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Execute one run of a plan, or the rest of it: one element of a cluster's job array.
    Exec {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        /// Index of the run, from 0. In a comparison that chooses learning rates, the final runs get their indices when
        /// the first ones are done.
        #[arg(long, value_name = "K", required_unless_present = "run_id")]
        index: Option<usize>,
        /// The run with this id.
        #[arg(long = "run", value_name = "RUN", hide = true)]
        run_id: Option<String>,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Try the run again if it failed.
        #[arg(long)]
        retry: bool,
        #[command(flatten)]
        run: RunArgs,
        /// Print nothing, and stop when standard input ends: for runs that a sweep leads.
        #[arg(long, hide = true)]
        led: bool,
    },
    /// Print how many runs are done, which are at work and how long the rest takes, read from their folders.
    Status {
        /// Sweep or comparison: its file or its folder.
        study: PathBuf,
        #[command(flatten)]
        changes: ChangeArgs,
        /// Folder of the sweep. Default: runs/NAME, with the file's name and the profile's.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Also print a line for every run.
        #[arg(long, conflicts_with = "failed")]
        all: bool,
        /// Also print why runs failed.
        #[arg(long)]
        failed: bool,
        /// Print one JSON document about every run on standard output.
        #[arg(long)]
        json: bool,
    },
}

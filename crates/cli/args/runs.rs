//! `headway runs`

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

#[derive(ClapArgs)]
pub struct Runs {
    #[command(subcommand)]
    pub action: RunsAction,
}

#[derive(Subcommand)]
pub enum RunsAction {
    /// Print one line per run in a folder, and one per sweep and comparison.
    List(RunsList),
    /// Print the record of one run: device, versions, status, results.
    Show {
        /// Folder of the run.
        run_dir: PathBuf,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Print in what two runs differ: settings, circumstances, scores.
    Diff {
        /// Folders of the two runs.
        #[arg(num_args = 2, required = true, value_name = "RUN_DIR")]
        runs: Vec<PathBuf>,
        /// Print one JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Delete runs, sweeps or comparisons with all that they hold; without --yes, print what that would be.
    Rm {
        /// Folders of runs, sweeps or comparisons. If one of them is something else or in use, none is deleted.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Delete them for good.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(ClapArgs)]
pub struct RunsList {
    /// Folder that contains the runs.
    #[arg(default_value = "runs")]
    pub folder: PathBuf,
    /// Only runs on this task, see `headway list tasks`.
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Only runs of this model, see `headway list models`.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Only runs with this status: running, killed, complete, stopped_early, stopped or diverged.
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Order: by name, or those first that are the newest, took the most steps, the longest time or the most parameters, or have
    /// the best score.
    #[arg(long, value_enum, default_value = "name")]
    pub sort: RunsOrder,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RunsOrder {
    Name,
    Date,
    Steps,
    Time,
    Parameters,
    Score,
}

//! The command line of `headway`: parsing only.

mod reference;
mod runs;
mod shared;
mod studies;
mod trained;
mod training;

use clap::{Parser, Subcommand};

pub use reference::{Bench, Check, Completions, Devices, Explain, List, Listed, New, Schema, SchemaFile};
pub use runs::{Runs, RunsAction, RunsList, RunsOrder};
pub use shared::{ExperimentArgs, OutArgs, RunArgs};
pub use studies::{ChangeArgs, Compare, JobArgs, Report, Reproduce, Sweep, SweepAction};
pub use trained::{Certify, Eval, Generate, Predict, Prompt, Show, Swap};
pub use training::{Finetune, Merge, Resume, Train};

/// Train, evaluate and fine-tune attention-only transformers.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 120,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 usage or config, 3 bad or mismatched checkpoint,
4 device missing or out of memory, 5 diverged (NaN), 6 part of a sweep failed,
7 a reproduction fell outside its tolerance, 129, 130 and 143 stopped by SIGHUP,
SIGINT and SIGTERM after saving.

Training stops on SIGINT (Ctrl-C), SIGTERM and, unless ignored as under nohup,
SIGHUP: it finishes the micro-batch, saves the last whole update and ends;
headway resume continues with the same bits. On SIGUSR1 it saves and continues.
A sweep passes these signals on to its runs.

Try:  headway train experiments/quickstart.toml"
)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Train an experiment from random weights in a new folder.
    Train(Train),
    /// Continue a run where it stopped; on the CPU with the same bits as without the stop.
    Resume(Resume),
    /// Train an experiment from the weights of a checkpoint, in a new folder.
    Finetune(Finetune),
    /// Fold an adapter trained by LoRA into the weights.
    Merge(Merge),
    /// Run one experiment at many points, each with several seeds; when repeated, runs only what is left.
    Sweep(Sweep),
    /// Compare networks and classical predictors at equal cost, with several seeds and intervals.
    Compare(Compare),
    /// Build weights from a theorem instead of training, with a certificate that the error is below a bound.
    Construct(crate::construct::args::Construct),
    /// Bound the largest error of a trained network over a whole domain: no error is above the one number, some error is at the
    /// other.
    Certify(Certify),
    /// Make a checkpoint from weights saved by PyTorch or TransformerLens, or show what such a file contains.
    Import(crate::exchange::args::Import),
    /// Write a checkpoint's weights as safetensors, as a PyTorch state dict, or for numpy.
    Export(crate::exchange::args::Export),
    /// Write the model card of a checkpoint, or of several runs that differ only in the seed: what it is, how good it
    /// is, where it comes from.
    Card(crate::exchange::args::Card),
    /// Run an experiment of the paper with the authors' settings, and judge the result.
    Reproduce(Reproduce),
    /// Write the page about a run, a sweep or a comparison, or about several runs side by side.
    Report(Report),
    /// Score a checkpoint and the task's classical predictors on the test set.
    Eval(Eval),
    /// Run a network of softmax attention under other kernels: its scores, the error of its patterns, and how many steps of
    /// fine-tuning bring it back.
    Swap(Swap),
    /// Answer the examples of a file with a checkpoint's network, in the units of its data.
    Predict(Predict),
    /// Write algorithms into prompts and let one frozen network execute them, beside the algorithms themselves.
    Prompt(Prompt),
    /// Continue a text with the network of a run on text, token by token.
    Generate(Generate),
    /// Look inside a network: its attention patterns, the effect of each head, what can be read after each layer, how
    /// it learns in context.
    Analyze(crate::analyze::args::Analyze),
    /// Check an experiment without training it, and report all problems at once; for a sweep or a comparison, also what it
    /// costs.
    Check(Check),
    /// Print the resolved config, with the origin of each value.
    Show(Show),
    /// Write a complete experiment for a task on standard output, every key with what it means.
    New(New),
    /// List what a config file can name, or tell of one entry: its keys, their defaults, what they mean.
    List(List),
    /// Tell what a key of a config file means, what it takes and what its default is.
    Explain(Explain),
    /// Print the JSON schema of config files, by which editors complete and check them.
    Schema(Schema),
    /// Print what completes verbs and options in a shell.
    Completions(Completions),
    /// List the devices that this build can use.
    Devices(Devices),
    /// List runs, or show the record of one.
    Runs(Runs),
    /// Time training steps on this machine, and compare them with the speed of its matrix products.
    Bench(Bench),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}

//! Verbs that make a run, and `merge`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{ExperimentArgs, OutArgs, RunArgs};

#[derive(ClapArgs)]
pub struct Train {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Start from the weights of this checkpoint or run, all of which must fit, instead of random ones; the same as `-s
    /// init_from=CHECKPOINT`.
    #[arg(long, value_name = "CHECKPOINT")]
    pub init_from: Option<PathBuf>,
    #[command(flatten)]
    pub out: OutArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(ClapArgs)]
pub struct Resume {
    /// Folder of the run.
    pub run_dir: PathBuf,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(ClapArgs)]
#[command(after_help = "\
What is trained is set in the experiment, or with -s:
  full     every parameter (default)         -s finetune=full
  head     the last map                      -s finetune=head
  freeze   all but the names that match      -s 'finetune.freeze=[\"embed.*\", \"blocks.0.*\"]'
  lora     A B added to attention's maps     -s finetune.lora.rank=4 -s finetune.lora.alpha=8
  prefix   keys and values of each layer     -s finetune.prefix.length=8
  prompt   rows before the sequence          -s finetune.prompt.length=8

All other weights stay the same to the last bit. If the task has other inputs or outputs
than the checkpoint's, the maps that depend on them are replaced by fresh ones, and listed.
A LoRA, prefix or prompt is saved beside the weights in PEFT's layout (adapter_config.json,
adapter_model.safetensors); headway merge folds a LoRA into the weights.

Try:  headway finetune experiments/finetune_sparse.toml --from checkpoints/icl_linear_d5")]
pub struct Finetune {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: PathBuf,
    /// Load the weights that fit and keep fresh values for the others, instead of refusing.
    #[arg(long)]
    pub allow_partial: bool,
    #[command(flatten)]
    pub out: OutArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(ClapArgs)]
#[command(after_help = "\
Try:  headway finetune experiments/finetune_sparse.toml --from checkpoints/icl_linear_d5 \\
        -s finetune.lora.rank=4 --out runs/lora
      headway merge runs/lora --out runs/merged
      headway eval runs/merged")]
pub struct Merge {
    /// Run or checkpoint fine-tuned in the mode `lora`, or a folder with only adapter_config.json and
    /// adapter_model.safetensors.
    pub adapter: PathBuf,
    /// Checkpoint to fold the adapter into. Default: the weights of the fine-tuned checkpoint itself, or, for a folder
    /// with only the adapter, the checkpoint that it names.
    #[arg(long, value_name = "CHECKPOINT")]
    pub base: Option<PathBuf>,
    /// Folder of the merged checkpoint; must be empty or new.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

//! The command lines of `import`, `export` and `card`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use headway_exchange::{
    names::{FORMATS, Format},
    told::Told,
};

#[derive(Args)]
#[command(after_help = "\
Without --experiment nothing is written: the tensors are listed, with the program that their names
come from and the sizes to write into the experiment. Code inside a PyTorch file is never executed.

  headway import model.pt
  headway import model.pt --format pytorch --experiment experiments/copy.toml \\
      -s model.d_model=64 --rename tok=embed --rename pos=position.weight --out runs/imported
  headway eval runs/imported
  headway finetune experiments/copy.toml --from runs/imported

docs/exchange.md describes every supported program.")]
pub struct Import {
    /// File of tensors: safetensors, a file of torch.save, or .npz, recognised by its content; or a folder in Hugging
    /// Face's layout.
    pub file: PathBuf,
    /// Program whose names the tensors have: pytorch, transformer-lens or headway. Default: detected.
    #[arg(long, value_name = "FORMAT", value_parser = format_of)]
    pub format: Option<Format>,
    /// Experiment file that gives model and task, and with them all sizes.
    #[arg(long, value_name = "EXPERIMENT", requires = "out")]
    pub experiment: Option<PathBuf>,
    /// Change one value of the experiment, as in `-s model.n_heads=8`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE", requires = "experiment")]
    pub set: Vec<String>,
    /// Remove a value from the experiment before anything is set.
    #[arg(long, value_name = "KEY", requires = "experiment")]
    pub unset: Vec<String>,
    /// Rename a tensor, or all tensors whose names begin with OLD and a dot, before the format is detected.
    #[arg(long, value_name = "OLD=NEW", value_parser = rename_of)]
    pub rename: Vec<(String, String)>,
    /// Key of the file that contains the weights. Default: one that training scripts use, such as state_dict.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A setting of the other program that no tensor shows, in that program's terms, as in `--given norm_first=true`.
    /// Default: the content of config.json or cfg.json beside the file, and of the file itself.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Told::given)]
    pub given: Vec<Told>,
    /// Leave out tensors that are not part of the network, and list them, instead of refusing the file.
    #[arg(long, requires = "experiment")]
    pub allow_extra: bool,
    /// Use the first rows of a table of positions that is longer than the task's sequences, instead of refusing the
    /// file.
    #[arg(long, requires = "experiment")]
    pub cut_positions: bool,
    /// Folder of the checkpoint; must be empty or new.
    #[arg(long, value_name = "DIR", requires = "experiment")]
    pub out: Option<PathBuf>,
    /// Print one JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

fn format_of(text: &str) -> Result<Format, String> {
    let names = FORMATS.map(|(name, _)| name).join(", ");
    let found = FORMATS.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, format)| format).ok_or_else(|| format!("formats are {names}"))
}

fn rename_of(text: &str) -> Result<(String, String), String> {
    let (old, new) = text.split_once('=').ok_or("write OLD=NEW, as in tok=embed")?;
    if old.is_empty() || new.is_empty() {
        return Err("write OLD=NEW, as in tok=embed".to_owned());
    }
    Ok((old.to_owned(), new.to_owned()))
}

#[derive(Args)]
#[command(after_help = "\
Linear weights are [out, in] in every format, as in PyTorch.

  headway export runs/first --format pytorch-state-dict --out first.pt
      torch.load(\"first.pt\", weights_only=True)
  headway export runs/first --format npz --out first.npz
      numpy.load(\"first.npz\")[\"head.weight\"]
  headway export runs/first --format safetensors --names transformer-bridge --out first.safetensors
      TransformerBridge.boot_native(cfg).load_state_dict(safetensors.torch.load_file(\"first.safetensors\"))
  headway export runs/first --format hugging-face --out first
      AutoModelForCausalLM.from_pretrained(\"./first\")")]
pub struct Export {
    /// Checkpoint folder, or run folder (its best checkpoint, else its newest).
    pub checkpoint: PathBuf,
    /// Format of the file.
    #[arg(long, value_name = "FORMAT")]
    pub format: FileFormat,
    /// Names and layout of the tensors: Headway's own, or those of TransformerLens. A folder of hugging-face has
    /// GPT-2's, or Llama's if positions are rotary.
    #[arg(long, value_name = "NAMES", default_value = "headway")]
    pub names: Names,
    /// The file, or the folder of hugging-face; must not exist yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum FileFormat {
    /// For safetensors.torch.load_file.
    Safetensors,
    /// A state dict, for torch.load(FILE, weights_only=True).
    PytorchStateDict,
    /// Arrays, for numpy.load.
    Npz,
    /// A folder with GPT-2's or Llama's config.json and model.safetensors, for from_pretrained.
    HuggingFace,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Names {
    /// Headway's own names.
    Headway,
    /// HookedTransformer, for versions before 4.0.
    TransformerLens,
    /// TransformerBridge.boot_native, for versions from 4.0 on.
    TransformerBridge,
}

#[derive(Args)]
#[command(after_help = "\
Several runs must have the same experiment with different seeds; scores are then means over seeds,
with intervals. For a single checkpoint, intervals are over test examples.

  headway card checkpoints/icl_linear_d5 --out README.md
  headway card runs/seed-0 runs/seed-1 runs/seed-2")]
pub struct Card {
    /// Checkpoint folders or run folders.
    #[arg(required = true, value_name = "CHECKPOINT")]
    pub checkpoints: Vec<PathBuf>,
    /// Write the card to a file, which must not exist yet, instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Device for the scores: auto, or a name that `headway devices` lists.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: headway_trainer::device::DeviceSpec,
}

//! Adapters as PEFT's files: `adapter_config.json` and `adapter_model.safetensors`, which hold only what was trained.
//!
//! | here | in the file |
//! |---|---|
//! | `X.low_rank.a`, `X.low_rank.b` | `base_model.model.X.lora_A.weight` `[rank, d_in]`, `….lora_B.weight` `[d_out, rank]` |
//! | `X.prefix.keys`, `X.prefix.values` | side by side, layer by layer, in `prompt_embeddings` `[length, Σ (d_keys + d_values)]` |
//! | `prompt.rows` | `prompt_embeddings` `[length, d_model]` |
//! | parameters that no checkpoint gave | `base_model.model.NAME`, beside learned rows `base_model.NAME`, with the others of their modules, which `modules_to_save` lists |
//!
//! Of a LoRA that PEFT wrote, A and B of a table stand in the file as `lora_embedding_A` `[rank, rows]` and `lora_embedding_B` `[width, rank]`.
//!
//! # References
//! Mangrulkar et al. 2022, PEFT, `src/peft/utils/save_and_load.py`.

mod lora;
mod names;
mod settings;
mod written;

pub use lora::{Lora, LoraError};
pub use settings::AdapterSettings;
pub use written::{AdapterConfig, Base, Kind, Learned};

/// Name of the file with the config.
pub const CONFIG: &str = "adapter_config.json";
/// Name of the file with the parameters.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// Name of that file in PEFT before 0.7, and in later versions on request.
pub const PICKLE: &str = "adapter_model.bin";

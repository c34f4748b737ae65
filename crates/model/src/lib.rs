//! The networks: attention-only transformers, the paper's own models, and the same stack with a feed-forward block.
//!
//! No task and no training loop lives here. A network is a plain [`ModelConfig`] plus the [`IoDims`] of the data:
//!
//! ```
//! use headway_model::{Input, IoDims, ModelConfig};
//! use burn::tensor::{Device, Tensor};
//! use rand::SeedableRng;
//!
//! let config = ModelConfig::PaperOneLayer(headway_model::PaperOneLayerConfig::default());
//! let dims = IoDims::continuous(50, 10, 1);
//! let model = config.init(&dims, &mut rand_chacha::ChaCha8Rng::seed_from_u64(0), &Device::flex())?;
//! let output = model.forward(Input::Continuous(Tensor::zeros([4, 50, 10], &Device::flex())));
//! assert_eq!(output.dims(), [4, 50, 32]);
//! # Ok::<(), headway_model::ConfigError>(())
//! ```
//!
//! # Axes
//!
//! `batch`, `seq_len` (`q_len` and `k_len` where they differ), `d_model`, `d_head`, `d_in`, `d_out`, `d_ffn`, `n_heads`,
//! `n_layers`, `n_anchors` (the paper's p − n: learned interpolation tokens appended to the sequence).
//!
//! # Symbols
//!
//! `scores` are what enters the softmax, `pattern` what leaves it (rows sum to one, or to zero where no
//! key is visible), `weights` are parameters only.
//! The paper's X is `[d, n]` with tokens as columns; here tokens are rows, so its `W X` is `x W` with `x [seq_len, d_in]`.

pub mod adapter;
pub mod attention;
pub mod attention_stack;
pub mod block;
pub mod budget;
pub mod config;
pub mod embed;
pub mod ffn;
mod init;
mod inspect;
pub mod linear;
pub mod mask;
pub mod norm;
pub mod paper;
pub mod paper_set_keys;
pub mod parameters;
pub mod trace;
pub mod transformer;
pub mod weights;

pub use adapter::{Adapter, LowRankConfig, PrefixConfig, PromptConfig};
pub use attention::{
    AttentionConfig, MultiHeadAttention,
    kernel::{KERNELS, Kernel, KernelKind},
    position::{POSITIONS, PositionKind},
    precision::Precision,
};
pub use attention_stack::{AttentionStack, AttentionStackConfig, Heads, StackLayer, StackMap, StackReadout};
pub use budget::Budget;
pub use config::{ConfigError, InputDims, IoDims, MODELS, Model, ModelConfig};
pub use embed::Input;
pub use ffn::{Activation, StateMixer};
pub use linear::{Linear, Projection};
pub use mask::Mask;
pub use norm::LayerNorm;
pub use paper::{PaperOneLayer, PaperOneLayerConfig, PaperTwoLayer, PaperTwoLayerConfig, Readout};
pub use paper_set_keys::{PaperSetKeys, PaperSetKeysConfig};
pub use trace::{LayerTrace, StandIn, Trace};
pub use transformer::{Norm, Transformer, TransformerConfig};

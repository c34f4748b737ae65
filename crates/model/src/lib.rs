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
//! `scores` are the inputs of the softmax, `pattern` is its output (rows sum to one, or to zero if no
//! key is visible), `weights` are parameters only.
//! The paper's X is `[d, n]` with tokens as columns; here tokens are rows, so its `W X` is `x W` with `x [seq_len, d_in]`.

pub mod adapter;
mod attention;
mod budget;
mod config;
mod embed;
mod erased;
mod family;
mod ffn;
mod init;
mod input_map;
mod linear;
mod low_rank;
mod mask;
mod norm;
mod parameter;
pub mod parameters;
pub mod plain;
mod pool;
mod registry;
pub mod weights;

pub use attention::trace::{Kept, LayerTrace, Recorder, Replacement, Trace, last_rows};
pub use attention::{
    AttentionConfig, MultiHeadAttention,
    aware::AwareAttention,
    axis::Axis,
    gate::{Gate, OutputGate},
    kernel::{
        AttentionKernel, CombinerBlocks, CombinerConfig, Demand, Directions, Draw, FavorConfig, FavorFeatures, KERNELS,
        Kernel, KernelKind, KernelSizes, KernelSpec, Law, Redraw, TemperatureConfig, TopKConfig, WindowConfig,
    },
    position::{
        Hand, MepConfig, POSITIONS, Position, PositionKind, PositionSizes, PositionSpec, RopeConfig, Scheme, T5Config,
        Window,
    },
    qk_norm::QkNorm,
    temperature::HeadTemperature,
    value_residual::{ValueMix, ValueResidual},
    view::{Bias, Layout, View},
    weighting::{TokenWeight, deeper, weighted},
};
pub use budget::{Budget, Count};
pub use config::{ConfigError, InputDims, IoDims};
pub use embed::{Embed, Input};
pub use erased::Erased;
pub use family::{
    AttentionStack, AttentionStackConfig, Block, Capability, Csformer, CsformerBlock, CsformerConfig, Family, Heads,
    LayerRows, LayerShape, MODELS, Model, ModelConfig, Network, Norm, PaperOneLayer, PaperOneLayerConfig, PaperSetKeys,
    PaperSetKeysConfig, PaperTwoLayer, PaperTwoLayerConfig, Readout, Shape, StackLayer, StackMap, StackReadout, Stage,
    Transformer, TransformerConfig,
};
pub use ffn::{Activation, Ffn, StateMixer};
pub use headway_kernels::Precision;
pub use init::{Initialization, Initializer};
pub use input_map::InputMap;
pub use linear::{Linear, Projection};
pub use mask::Mask;
pub use norm::{LAYER_NORM_EPSILON, LayerNorm, NormKind, RmsNorm, StateNorm};
pub use parameter::{Buffer, Matrix};
pub use pool::{Pool, PoolKind, TensorPool, TensorPoolConfig};
pub use registry::{Listed, RegisterError, Registered};

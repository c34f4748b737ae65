#![doc = include_str!("../README.md")]

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

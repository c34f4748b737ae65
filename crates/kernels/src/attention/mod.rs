//! Fused softmax attention: exact, in memory linear in the length of the sequences, with its own backward pass.
//!
//! burn runs attention under autodiff as separate operations, each of which stores all scores of a batch. Here a tile
//! of scores exists only while it is used, and the backward pass recomputes it from one number per row.
//!
//! # References
//! Dao et al. 2022, arXiv 2205.14135 (tiles and recomputation); Milakov, Gimelshein 2018, arXiv 1805.02867 (running maximum).

mod autodiff;
mod cpu;
mod features;
#[cfg(feature = "gpu")]
mod gpu;
mod packed;

use burn::{
    backend::{
        Backend, DispatchDevice, ExtensionType, Flex, backend_extension,
        ops::FloatTensorOps,
        tensor::{BoolTensor, FloatTensor},
    },
    tensor::{Bool, DType, Device, FloatDType, Shape, Tensor},
};

pub use features::{FeatureMap, FeatureOptions, feature_attention};
pub use packed::packed_attention;

use crate::Precision;

/// Options of attention that are not tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Factor on the products of queries and keys, usually 1 / sqrt(`d_key`).
    pub scale: f32,
    /// Whether query i sees keys 0 ..= i + (`k_len` − `q_len`) only.
    pub causal: bool,
    /// How operands of the products inside are rounded: [`Precision::F32`] or [`Precision::Tf32`] for inputs in f32. Inputs in half
    /// precision are rounded already, and have the precision of their type whatever is said here.
    pub precision: Precision,
}

/// softmax(scale · q kᵀ + bias) v, with softmax over each row's visible keys; the row maximum is subtracted first.
///
/// The bias depends on the distance only: query i and key j have `bias[head, j − i + q_len − 1]`, so a learned bias
/// takes memory linear in the length. A hidden key has weight exactly zero, and a query that sees no key gives zeros in
/// the output and in every gradient. Gradients reach q, k, v and the bias. On the CPU the result has the same bits for
/// any number of threads. Inputs in half precision are summed in f32.
///
/// # Shapes
/// q `[batch, n_heads, q_len, d_key]`, k `[batch, n_heads, k_len, d_key]`, v `[batch, n_heads, k_len, d_value]`,
/// bias `[n_heads, q_len + k_len − 1]` in f32, hidden `[q_len, k_len]`, true = hidden -> `[batch, n_heads, q_len, d_value]`
///
/// # Panics
/// If shapes or types disagree, an axis is empty, or the device is not [supported](is_supported).
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, equation 1; the backward pass is Dao et al. 2022, arXiv 2205.14135, appendix B.
pub fn fused_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<2>>,
    hidden: Option<Tensor<2, Bool>>,
    options: Options,
) -> Tensor<4> {
    let sizes = Sizes::of([&q.shape(), &k.shape(), &v.shape()]);
    assert!([k.dtype(), v.dtype()] == [q.dtype(); 2], "queries, keys and values are of one type");
    if let Some(bias) = &bias {
        assert_eq!(bias.dtype(), DType::F32, "the bias is f32");
        assert_eq!(bias.dims(), [sizes.heads, sizes.distances()], "bias is [n_heads, q_len + k_len - 1]");
    }
    if let Some(hidden) = &hidden {
        assert_eq!(hidden.dims(), [sizes.q_len, sizes.k_len], "hidden is [q_len, k_len]");
    }
    let bias = bias.map_or(MaybeFloat::Absent, |bias| MaybeFloat::Given(bias.into_dispatch()));
    let hidden = hidden.map_or(MaybeBool::Absent, |hidden| MaybeBool::Given(hidden.into_dispatch()));
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(burn::backend::Dispatch::fused_attention(q, k, v, bias, hidden, options))
}

/// Whether [`fused_attention`] runs on the device; on others attention must be composed of plain operations.
pub fn is_supported(device: &Device) -> bool {
    #[allow(unreachable_patterns, reason = "which devices there are depends on the features of burn")]
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "gpu")]
        DispatchDevice::Cube(_) => true,
        _ => false,
    }
}

/// Whether [`fused_attention`] of inputs in a precision, with channels `[d_key, d_value]`, runs on matrix units (tensor cores) of the
/// device. The weights of its sums, and the gradients of scores, are then rounded to that precision like the inputs.
#[cfg_attr(not(feature = "gpu"), allow(unused_variables, reason = "no device of this build has matrix units"))]
pub fn is_on_matrix_units(device: &Device, precision: Precision, widths: [usize; 2]) -> bool {
    #[allow(unreachable_patterns, reason = "which devices there are depends on the features of burn")]
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "gpu")]
        DispatchDevice::Cube(device) => gpu::is_on_matrix_units(device, precision, widths),
        _ => false,
    }
}

/// An optional float tensor, in a form that passes through burn's dispatch.
#[derive(Clone, Debug, ExtensionType)]
pub enum MaybeFloat<B: Backend> {
    /// No tensor.
    Absent,
    /// A tensor.
    Given(FloatTensor<B>),
}

impl<B: Backend> MaybeFloat<B> {
    pub(crate) fn given(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Given(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }
}

/// An optional boolean tensor, in a form that passes through burn's dispatch.
#[derive(Clone, Debug, ExtensionType)]
pub enum MaybeBool<B: Backend> {
    /// No tensor.
    Absent,
    /// A tensor.
    Given(BoolTensor<B>),
}

/// The operation for every backend, including the one that differentiates.
#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "gpu"))]
pub trait FusedAttention: Backend {
    /// See [`fused_attention`].
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] bias: MaybeFloat<Self>,
        #[extension_type] hidden: MaybeBool<Self>,
        options: Options,
    ) -> FloatTensor<Self>;
}

/// Tensors that attention is computed from.
#[derive(Clone, Debug)]
pub struct Inputs<B: Backend> {
    /// `[batch, n_heads, q_len, d_key]`
    pub q: FloatTensor<B>,
    /// `[batch, n_heads, k_len, d_key]`
    pub k: FloatTensor<B>,
    /// `[batch, n_heads, k_len, d_value]`
    pub v: FloatTensor<B>,
    /// `[n_heads, q_len + k_len − 1]`
    pub bias: Option<FloatTensor<B>>,
    /// `[q_len, k_len]`, true = hidden
    pub hidden: Option<BoolTensor<B>>,
}

/// Gradients of the inputs, each with the shape of its input.
#[derive(Debug)]
pub struct Gradients<B: Backend> {
    /// Gradient of the queries.
    pub q: FloatTensor<B>,
    /// Gradient of the keys.
    pub k: FloatTensor<B>,
    /// Gradient of the values.
    pub v: FloatTensor<B>,
    /// Gradient of the bias, if there is one.
    pub bias: Option<FloatTensor<B>>,
}

/// A backend that implements the forward and the backward pass.
pub trait AttentionPasses: Backend {
    /// The output, and for each row the logarithm of its sum of exponentials, from which the backward pass recomputes
    /// the pattern.
    fn forward(inputs: Inputs<Self>, options: Options) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of the inputs, given that of the output.
    fn backward(
        inputs: Inputs<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        options: Options,
    ) -> Gradients<Self>;
}

/// Implements [`FusedAttention`] for a backend as the output of its forward pass.
macro_rules! computes {
    ($backend:ty) => {
        impl FusedAttention for $backend {
            fn fused_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                bias: MaybeFloat<Self>,
                hidden: MaybeBool<Self>,
                options: Options,
            ) -> FloatTensor<Self> {
                Self::forward(Inputs::new([q, k, v], bias, hidden), options).0
            }
        }
    };
}
#[cfg(feature = "gpu")]
use computes;

impl<B: Backend> Inputs<B> {
    fn new([q, k, v]: [FloatTensor<B>; 3], bias: MaybeFloat<B>, hidden: MaybeBool<B>) -> Self {
        let bias = bias.given();
        let hidden = match hidden {
            MaybeBool::Given(hidden) => Some(hidden),
            MaybeBool::Absent => None,
        };
        Self { q, k, v, bias, hidden }
    }
}

/// Sizes of the axes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    q_len: usize,
    k_len: usize,
    d_key: usize,
    d_value: usize,
}

impl Sizes {
    /// Sizes of the axes, from the shapes of q, k and v.
    fn of([q, k, v]: [&Shape; 3]) -> Self {
        let [[batch, heads, q_len, d_key], k, v] = [q, k, v].map(Shape::dims::<4>);
        let (k_len, d_value) = (v[2], v[3]);
        assert_eq!(k, [batch, heads, k_len, d_key], "k is [batch, n_heads, k_len, d_key]");
        assert_eq!(v[..2], [batch, heads], "v is [batch, n_heads, k_len, d_value]");
        assert!([batch, heads, q_len, k_len, d_key, d_value].iter().all(|axis| *axis > 0), "no axis may be empty");
        Self { batch, heads, q_len, k_len, d_key, d_value }
    }

    /// Number of different distances between a query and a key, q_len + k_len − 1.
    fn distances(&self) -> usize {
        self.q_len + self.k_len - 1
    }

    /// Number of keys, counted from the first, that query `i` sees under a causal mask.
    fn causal_limit(&self, i: usize) -> usize {
        (i + 1 + self.k_len).saturating_sub(self.q_len)
    }
}

impl AttentionPasses for Flex {
    fn forward(inputs: Inputs<Self>, options: Options) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let half = FloatDType::from(inputs.q.dtype());
        let (output, log_sums) = cpu::forward(inputs.in_f32(), options);
        (as_type(output, half), log_sums)
    }

    fn backward(
        inputs: Inputs<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        options: Options,
    ) -> Gradients<Self> {
        let half = FloatDType::from(inputs.q.dtype());
        let [output, d_output] = [output, d_output].map(|tensor| as_type(tensor, FloatDType::F32));
        let Gradients { q, k, v, bias } = cpu::backward(inputs.in_f32(), output, log_sums, d_output, options);
        let [q, k, v] = [q, k, v].map(|tensor| as_type(tensor, half));
        Gradients { q, k, v, bias }
    }
}

/// The tensor in the given type; unchanged if it has that type already.
fn as_type(tensor: FloatTensor<Flex>, dtype: FloatDType) -> FloatTensor<Flex> {
    if FloatDType::from(tensor.dtype()) == dtype { tensor } else { Flex::float_cast(tensor, dtype) }
}

impl Inputs<Flex> {
    /// Inputs converted to f32, in which the CPU computes.
    fn in_f32(self) -> Self {
        let Self { q, k, v, .. } = self;
        let [q, k, v] = [q, k, v].map(|tensor| as_type(tensor, FloatDType::F32));
        Self { q, k, v, ..self }
    }
}

computes!(Flex);

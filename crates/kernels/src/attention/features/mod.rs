//! Attention by features on the CPU: weights φ(q)·φ(k) instead of exponentials of scores, so that keys are summed before a query
//! reads them. Time and memory are linear in the length, forward and backward, and no feature is kept.
//!
//! # References
//! Katharopoulos et al. 2020, arXiv 2006.16236 (running sums, and their gradients by sums from the end); Choromanski et al. 2020, arXiv
//! 2009.14794 (random features).

mod cpu;
mod map;

use burn::{
    backend::{
        Autodiff, Backend, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{DType, Tensor},
};
use burn_flex::FlexTensor;

use super::{MaybeFloat, Sizes};

/// How features φ(x) are made of a row x of width d, with x' = x / d^(1/4) and W the directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureMap {
    /// x + 1 where x > 0, else e^x, channel by channel. It has no directions.
    Elu,
    /// e^(W x' − |x'|²/2) + ε e^c, c the largest exponent of the row; c and its part of the sum have no gradient.
    Exponential {
        /// ε, relative to the largest feature of a row.
        epsilon: f32,
    },
    /// max(W x', 0) + ε
    Relu {
        /// ε
        epsilon: f32,
    },
    /// e^(|x'|²/2) (cos W x', sin W x')
    Trigonometric,
}

/// What feature attention is told besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureOptions {
    /// The features.
    pub map: FeatureMap,
    /// Whether query i sees keys 0 ..= i + (`k_len` − `q_len`) only.
    pub causal: bool,
}

/// Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j) over the keys that query i sees, zero where the sum of weights is below 1e-30 or no key is
/// seen. Gradients reach q, k and v. The result has the same bits for any number of threads.
///
/// # Shapes
/// q `[batch, n_heads, q_len, d_key]`, k `[batch, n_heads, k_len, d_key]`, v `[batch, n_heads, k_len, d_value]`, directions
/// `[n_directions, d_key]` -> `[batch, n_heads, q_len, d_value]`
///
/// # Panics
/// If shapes disagree, an axis is empty, a tensor is not f32, a map lacks its directions, or the device is not
/// [`is_flex`](crate::is_flex).
pub fn feature_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    directions: Option<Tensor<2>>,
    options: FeatureOptions,
) -> Tensor<4> {
    let sizes = Sizes::of([&q.shape(), &k.shape(), &v.shape()]);
    assert_eq!([q.dtype(), k.dtype(), v.dtype()], [DType::F32; 3], "queries, keys and values are f32");
    match (&directions, options.map) {
        (None, FeatureMap::Elu) => {}
        (Some(directions), map) if map != FeatureMap::Elu => {
            assert_eq!(directions.dims()[1], sizes.d_key, "directions are [n_directions, d_key]");
            assert_eq!(directions.dtype(), DType::F32, "directions are f32");
        }
        _ => panic!("directions are given to the maps that have them"),
    }
    let directions = directions.map_or(MaybeFloat::Absent, |directions| MaybeFloat::Given(directions.into_dispatch()));
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(burn::backend::Dispatch::feature_attention(q, k, v, directions, options))
}

/// The operation on the backends that have it.
#[backend_extension(Autodiff, Flex)]
pub trait FeatureAttention: Backend {
    /// See [`feature_attention`].
    fn feature_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] directions: MaybeFloat<Self>,
        options: FeatureOptions,
    ) -> FloatTensor<Self>;
}

/// Tensors that it is computed from.
#[derive(Clone, Debug)]
pub struct Inputs<B: Backend> {
    /// Queries, keys and values.
    pub qkv: [FloatTensor<B>; 3],
    /// W. `[n_directions, d_key]`
    pub directions: Option<FloatTensor<B>>,
}

/// A backend that implements the forward and the backward pass.
pub trait FeatureAttentionPasses: Backend {
    /// The output, and for each query its sum of weights and what that sum is relative to. `[batch · n_heads, q_len, 2]`
    fn forward(inputs: Inputs<Self>, options: FeatureOptions) -> [FloatTensor<Self>; 2];

    /// Gradients of q, k and v, given that of the output.
    fn backward(
        inputs: Inputs<Self>,
        forward: [FloatTensor<Self>; 2],
        d_output: FloatTensor<Self>,
        options: FeatureOptions,
    ) -> [FloatTensor<Self>; 3];
}

impl FeatureAttentionPasses for Flex {
    fn forward(inputs: Inputs<Self>, options: FeatureOptions) -> [FlexTensor; 2] {
        cpu::forward(inputs, options)
    }

    fn backward(
        inputs: Inputs<Self>,
        forward: [FlexTensor; 2],
        d_output: FlexTensor,
        options: FeatureOptions,
    ) -> [FlexTensor; 3] {
        cpu::backward(inputs, forward, d_output, options)
    }
}

impl FeatureAttention for Flex {
    fn feature_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        directions: MaybeFloat<Self>,
        options: FeatureOptions,
    ) -> FlexTensor {
        let [output, _] = cpu::forward(Inputs { qkv: [q, k, v], directions: directions.given() }, options);
        output
    }
}

#[derive(Debug)]
struct Node;

impl<B: FeatureAttentionPasses> Backward<B, 3> for Node {
    type State = (Inputs<B>, [FloatTensor<B>; 2], FeatureOptions);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = gradients.consume::<B>(&ops.node);
        let (inputs, forward, options) = ops.state;
        let all = B::backward(inputs, forward, d_output, options);
        for (parent, gradient) in ops.parents.into_iter().zip(all) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: FeatureAttentionPasses, C: CheckpointStrategy> FeatureAttention for Autodiff<B, C> {
    fn feature_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        directions: MaybeFloat<Self>,
        options: FeatureOptions,
    ) -> FloatTensor<Self> {
        let [(q, q_node), (k, k_node), (v, v_node)] = [q, k, v].map(FloatTensor::<Self>::into_parts);
        // They are drawn and not trained, so that their node is not a parent.
        let directions = directions.given().map(|directions| FloatTensor::<Self>::into_parts(directions).0);
        let inputs = Inputs { qkv: [q, k, v], directions };
        match Backward::<B, 3>::prepare::<C>(Node, [q_node, k_node, v_node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                let forward = B::forward(inputs.clone(), options);
                let output = forward[0].clone();
                node.finish((inputs, forward, options), output)
            }
            OpsKind::UnTracked(node) => {
                let [output, _] = B::forward(inputs, options);
                node.finish(output)
            }
        }
    }
}

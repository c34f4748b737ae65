//! Packed attention as one node of burn's autodiff graph.

use burn::backend::{
    Autodiff, Backend,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::FloatTensor,
};
use burn_cubecl::CubeBackend;

use crate::attention::Options;

/// The operation as the differentiating backend offers it too.
#[backend_extension(Autodiff, Cube)]
pub trait PackedAttention: Backend {
    /// See [`packed_attention`](crate::packed_attention).
    fn packed_attention(qkv: FloatTensor<Self>, n_heads: usize, options: Options) -> FloatTensor<Self>;
}

/// Both passes on a backend that computes.
pub trait PackedPasses: Backend {
    /// Output, and per row the logarithm of its sum of exponentials.
    fn packed_forward(
        qkv: FloatTensor<Self>,
        n_heads: usize,
        options: Options,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of queries, keys and values, side by side.
    fn packed_backward(
        qkv: FloatTensor<Self>,
        n_heads: usize,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        options: Options,
    ) -> FloatTensor<Self>;
}

impl PackedAttention for CubeBackend {
    fn packed_attention(qkv: FloatTensor<Self>, n_heads: usize, options: Options) -> FloatTensor<Self> {
        Self::packed_forward(qkv, n_heads, options).0
    }
}

#[derive(Debug)]
struct Node;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    qkv: FloatTensor<B>,
    n_heads: usize,
    output: FloatTensor<B>,
    log_sums: FloatTensor<B>,
    options: Options,
}

impl<B: PackedPasses> Backward<B, 1> for Node {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Saved<B>, 1>, grads: &mut grads::Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = grads.consume::<B>(&ops.node);
        let Saved { qkv, n_heads, output, log_sums, options } = ops.state;
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            let gradient = B::packed_backward(qkv, n_heads, output, log_sums, d_output, options);
            grads.register::<B>(parent.id, gradient);
        }
    }
}

impl<B: PackedPasses, C: CheckpointStrategy> PackedAttention for Autodiff<B, C> {
    fn packed_attention(qkv: FloatTensor<Self>, n_heads: usize, options: Options) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        let (output, log_sums) = B::packed_forward(qkv.clone(), n_heads, options);
        match Backward::<B, 1>::prepare::<C>(Node, [node]).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                node.finish(Saved { qkv, n_heads, output: output.clone(), log_sums, options }, output)
            }
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }
}

//! Fused attention as one node of burn's autodiff graph.

use burn::backend::{
    Autodiff,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads,
        ops::{Backward, NodeGuard, Ops, OpsKind},
    },
    tensor::FloatTensor,
};

use super::{AttentionPasses, FusedAttention, Inputs, MaybeBool, MaybeFloat, Options};

/// The node, generic in the number of its parents: the inputs that can have a gradient.
#[derive(Debug)]
struct Node;

/// What the backward pass needs from the forward pass.
#[derive(Clone, Debug)]
struct Saved<B: AttentionPasses> {
    inputs: Inputs<B>,
    output: FloatTensor<B>,
    log_sums: FloatTensor<B>,
    options: Options,
}

impl<B: AttentionPasses, const N: usize> Backward<B, N> for Node {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Saved<B>, N>, grads: &mut grads::Gradients, _checkpointer: &mut Checkpointer) {
        let d_output = grads.consume::<B>(&ops.node);
        let Saved { inputs, output, log_sums, options } = ops.state;
        let gradients = B::backward(inputs, output, log_sums, d_output, options);
        let gradients = [Some(gradients.q), Some(gradients.k), Some(gradients.v), gradients.bias];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

fn record<B: AttentionPasses, C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    inputs: Inputs<B>,
    options: Options,
) -> FloatTensor<Autodiff<B, C>> {
    match Backward::<B, N>::prepare::<C>(Node, nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => {
            let (output, log_sums) = B::forward(inputs.clone(), options);
            node.finish(Saved { inputs, output: output.clone(), log_sums, options }, output)
        }
        OpsKind::UnTracked(node) => node.finish(B::forward(inputs, options).0),
    }
}

impl<B: AttentionPasses, C: CheckpointStrategy> FusedAttention for Autodiff<B, C> {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: MaybeFloat<Self>,
        hidden: MaybeBool<Self>,
        options: Options,
    ) -> FloatTensor<Self> {
        let [(q, q_node), (k, k_node), (v, v_node)] = [q, k, v].map(FloatTensor::<Self>::into_parts);
        // The tensor is the same under both backends, but its type is not.
        let hidden = match hidden {
            MaybeBool::Given(hidden) => MaybeBool::Given(hidden),
            MaybeBool::Absent => MaybeBool::Absent,
        };
        match bias {
            MaybeFloat::Absent => {
                let inputs = Inputs::new([q, k, v], MaybeFloat::Absent, hidden);
                record::<B, C, 3>([q_node, k_node, v_node], inputs, options)
            }
            MaybeFloat::Given(bias) => {
                let (bias, bias_node) = bias.into_parts();
                let inputs = Inputs::new([q, k, v], MaybeFloat::Given(bias), hidden);
                record::<B, C, 4>([q_node, k_node, v_node, bias_node], inputs, options)
            }
        }
    }
}

//! Benchmarks of the attention kernels, forward and backward: `cargo bench --bench attention [-- FILTER]`.
//!
//! `headway bench` times whole training steps, and `benches/peer/compare.py` compares them with PyTorch.

use std::fmt;

use burn::tensor::{Device, Distribution, Tensor};
use divan::{Bencher, counter::ItemsCount};
use headway_model::{AttentionKernel, Kernel, KernelKind, Mask};
use headway_tasks::{Seed, Stream};
use headway_trainer::memory;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

/// Name, `[batch, n_heads, length, d_head]`, whether causal.
const SHAPES: [(&str, [usize; 4], bool); 6] = [
    ("paper, 1 head", [32, 1, 60, 32], false),
    ("paper, 4 heads", [32, 4, 60, 8], false),
    ("paper, 16 heads", [32, 16, 60, 2], false),
    ("in-context", [64, 4, 81, 32], true),
    ("causal, 256", [16, 8, 256, 32], true),
    ("long, 1024", [1, 8, 1024, 64], false),
];

/// One kernel on one shape.
struct Case {
    kernel: KernelKind,
    name: &'static str,
    shape: [usize; 4],
    causal: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}", self.name, self.kernel)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    SHAPES.into_iter().flat_map(|(name, shape, causal)| {
        KernelKind::examples().into_iter().map(move |kernel| Case { kernel, name, shape, causal })
    })
}

/// The counter is the number of scores, which grows with the square of the length.
#[divan::bench(args = cases(), sample_count = 20)]
fn forward_and_backward(bencher: Bencher<'_, '_>, case: &Case) {
    let device = Device::flex().autodiff();
    let draw = || Tensor::<4>::random(case.shape, Distribution::Normal(0.0, 1.0), &device).require_grad();
    let [q, k, v] = [draw(), draw(), draw()];
    let mask = if case.causal { Mask::Causal } else { Mask::Full };
    let [batch, n_heads, length, d_head] = case.shape;
    let kernel: AttentionKernel = case.kernel.init(d_head, &mut Seed(1).rng(Stream::Init, 0), &device);
    let view = mask.into();
    bencher.counter(ItemsCount::new(batch * n_heads * length * length)).bench_local(|| {
        let mixed = kernel.mix(q.clone(), k.clone(), v.clone(), &view);
        let gradients = mixed.sum().backward();
        [&q, &k, &v].map(|tensor| tensor.grad(&gradients))
    });
}

fn main() {
    memory::keep_freed_pages();
    divan::main();
}

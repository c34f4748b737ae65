//! Attention kernels side by side, forward and backward: `cargo bench --bench attention [-- FILTER]`.
//!
//! Whole training steps are timed by `headway bench`, and beside PyTorch's by `benches/peer/compare.py`.

#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use headway_model::{KERNELS, Mask};
use headway_trainer::memory;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

/// Name, `[batch, n_heads, length, d_head]`, mask.
const SHAPES: [(&str, [usize; 4], Mask); 6] = [
    ("paper, 1 head", [32, 1, 60, 32], Mask::Full),
    ("paper, 4 heads", [32, 4, 60, 8], Mask::Full),
    ("paper, 16 heads", [32, 16, 60, 2], Mask::Full),
    ("in-context", [64, 4, 81, 32], Mask::Causal),
    ("causal, 256", [16, 8, 256, 32], Mask::Causal),
    ("long, 1024", [1, 8, 1024, 64], Mask::Full),
];

fn forward_and_backward(criterion: &mut Criterion) {
    memory::keep_freed_pages();
    let device = Device::flex().autodiff();
    for (name, shape, mask) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        let [batch, n_heads, length, _] = shape;
        group.throughput(Throughput::Elements((batch * n_heads * length * length) as u64));
        group.sample_size(20);
        let draw = || Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad();
        let [q, k, v] = [draw(), draw(), draw()];
        for (kind, _) in KERNELS {
            group.bench_function(BenchmarkId::from_parameter(format!("{kind:?}")), |bencher| {
                bencher.iter(|| {
                    let mixed = kind.kernel().mix(q.clone(), k.clone(), v.clone(), &mask);
                    let gradients = mixed.sum().backward();
                    [&q, &k, &v].map(|tensor| tensor.grad(&gradients))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, forward_and_backward);
criterion_main!(benches);

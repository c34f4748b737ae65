//! The memory of fused attention grows with the length, not with its square. A separate binary, because bytes are
//! counted for the whole process, in which nothing else may run.

use burn::tensor::{Device, Tensor, TensorData};
use headway_kernels::{Options, Precision, fused_attention};
use headway_testkit::{memory, numbers};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const HEADS: usize = 2;

/// Most bytes in use during a forward and a backward pass, beyond the inputs.
fn peak(length: usize, d_head: usize, causal: bool) -> usize {
    let device = Device::flex().autodiff();
    let tensor = |seed| {
        let values = numbers(seed, HEADS * length * d_head);
        Tensor::<4>::from_data(TensorData::new(values, [1, HEADS, length, d_head]), &device).require_grad()
    };
    let [q, k, v] = [tensor(1), tensor(2), tensor(3)];
    // One thread: with more, it depends on chance how many tasks hold their tiles at once.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap_or_else(|error| panic!("{error}"));
    let pass = || {
        let options = Options { scale: 1.0, causal, precision: Precision::F32 };
        let gradients = fused_attention(q.clone(), k.clone(), v.clone(), None, None, options).sum().backward();
        [&q, &k, &v].map(|tensor| tensor.grad(&gradients).map(|gradient| gradient.dims()))
    };
    pool.install(pass);
    let (gradients, bytes) = memory::peak_of(|| pool.install(pass));
    assert_eq!(gradients, [Some([1, HEADS, length, d_head]); 3]);
    bytes
}

#[test]
fn memory_grows_with_the_length() {
    for (d_head, causal) in [(2, false), (16, false), (16, true)] {
        let [short, long] = [1024, 4096].map(|length| peak(length, d_head, causal) as f64);
        let exponent = (long / short).log(4.0);
        assert!(exponent < 1.1, "d_head {d_head}, causal {causal}: {short} and {long} bytes, exponent {exponent:.2}");
        // An array of scores alone would take this much.
        let scores = (4 * HEADS * 4096 * 4096) as f64;
        assert!(long < 0.2 * scores, "d_head {d_head}, causal {causal}: {long} bytes");
    }
}

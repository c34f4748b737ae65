//! The memory of fused attention grows with the length, not with its square. A separate binary, because bytes are
//! counted for the whole process, in which nothing else may run.

use std::sync::Mutex;

use burn::tensor::{Device, Tensor, TensorData};
use headway_kernels::{FeatureMap, FeatureOptions, Options, Precision, feature_attention, fused_attention};
use headway_testkit::{memory, numbers};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Held by each test, so that no other one allocates while bytes are counted.
static ALONE: Mutex<()> = Mutex::new(());

const HEADS: usize = 2;

/// Most bytes in use during a forward and a backward pass of attention, beyond the inputs.
fn peak(length: usize, d_head: usize, attention: impl Fn([Tensor<4>; 3]) -> Tensor<4> + Sync) -> usize {
    let device = Device::flex().autodiff();
    let tensor = |seed| {
        let values = numbers(seed, HEADS * length * d_head);
        Tensor::<4>::from_data(TensorData::new(values, [1, HEADS, length, d_head]), &device).require_grad()
    };
    let [q, k, v] = [tensor(1), tensor(2), tensor(3)];
    // One thread: with more, it depends on chance how many tasks hold their tiles at once.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap_or_else(|error| panic!("{error}"));
    let pass = || {
        let gradients = attention([&q, &k, &v].map(Tensor::clone)).sum().backward();
        [&q, &k, &v].map(|tensor| tensor.grad(&gradients).map(|gradient| gradient.dims()))
    };
    pool.install(pass);
    let (gradients, bytes) = memory::peak_of(|| pool.install(pass));
    assert_eq!(gradients, [Some([1, HEADS, length, d_head]); 3]);
    bytes
}

#[test]
fn memory_grows_with_the_length() {
    let _alone = ALONE.lock();
    for (d_head, causal) in [(2, false), (16, false), (16, true)] {
        let options = Options { scale: 1.0, causal, precision: Precision::F32 };
        let attention = |[q, k, v]: [Tensor<4>; 3]| fused_attention(q, k, v, None, None, options);
        let [short, long] = [1024, 4096].map(|length| peak(length, d_head, attention) as f64);
        let exponent = (long / short).log(4.0);
        assert!(exponent < 1.1, "d_head {d_head}, causal {causal}: {short} and {long} bytes, exponent {exponent:.2}");
        // An array of scores alone would take this much.
        let scores = (4 * HEADS * 4096 * 4096) as f64;
        assert!(long < 0.2 * scores, "d_head {d_head}, causal {causal}: {long} bytes");
    }
}

#[test]
fn no_features_are_kept() {
    const FEATURES: usize = 256;
    const D_HEAD: usize = 16;
    let _alone = ALONE.lock();
    for causal in [false, true] {
        let device = Device::flex().autodiff();
        let directions = TensorData::new(numbers(4, FEATURES * D_HEAD), [FEATURES, D_HEAD]);
        let directions = Tensor::<2>::from_data(directions, &device);
        let options = FeatureOptions { map: FeatureMap::Exponential { epsilon: 1e-9 }, causal };
        let attention = |[q, k, v]: [Tensor<4>; 3]| feature_attention(q, k, v, Some(directions.clone()), options);
        let [short, long] = [4096, 16_384].map(|length| peak(length, D_HEAD, attention) as f64);
        let exponent = (long / short).log(4.0);
        assert!(exponent < 1.05, "causal {causal}: {short} and {long} bytes, exponent {exponent:.2}");
        // Those of the queries and the keys alone would take this much.
        let features = (2 * 4 * HEADS * 16_384 * FEATURES) as f64;
        assert!(long < 0.5 * features, "causal {causal}: {long} bytes, features {features}");
    }
}

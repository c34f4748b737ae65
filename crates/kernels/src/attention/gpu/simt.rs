//! Launches of the kernels that compute in f32 without tensor cores, on any GPU.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::{ir::ElemType, prelude::*, zspace::metadata::Metadata};

#[cfg(feature = "autotune")]
use super::tune;
use super::{
    Call, bias,
    merge::{self, Merging},
    parts::Plan,
    plan::{Choice, Limits, Pass, Problem},
    rows, tiles,
};
use crate::{
    attention::{Inputs, Sizes},
    gpu::{UNITS, buffer, column_sums, cube_each, empty_like},
};

/// Largest number of channels for which whole rows have the gradients of keys and values computed in one pass; with more,
/// registers would spill.
const MOST_CHANNELS_TOGETHER: usize = 32;

/// Launches the kernel of the form whose units share rows, or that of the form with whole rows.
macro_rules! launch {
    ($tiles:expr, $one:ident, $other:ident, ($($argument:expr),* $(,)?)) => {
        if $tiles {
            tiles::$one::launch_unchecked($($argument),*);
        } else {
            rows::$other::launch_unchecked($($argument),*);
        }
    };
}

/// Computes a pass in tiles that are found by trial or, in a build that tries nothing, by a rule.
fn compute(pass: Pass, base: Plan, call: &Call, launch: impl Fn(Choice) + Send + Sync + 'static) {
    let problem = Problem { pass, base, sizes: call.sizes, limits: Limits::of(&call.inputs.q.client) };
    #[cfg(feature = "autotune")]
    tune::fastest(problem, call, launch);
    #[cfg(not(feature = "autotune"))]
    launch(problem.by_rule());
}

/// Writes the output and the log-sums.
pub(super) fn forward(call: &Call, output: &CubeTensor, log_sums: &CubeTensor) {
    let pass = ForwardPass { call: call.clone(), output: output.clone(), log_sums: log_sums.clone() };
    compute(Pass::Forward, pass.base(), call, move |choice| pass.launch(choice));
}

/// Writes the gradients of queries, keys and values; returns that of the bias.
pub(super) fn backward(
    call: &Call,
    output: &CubeTensor,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    gradients: [&CubeTensor; 3],
) -> Option<CubeTensor> {
    let Sizes { batch, heads, q_len, .. } = call.sizes;
    let deltas = empty_like(&call.inputs.q, [batch, heads, q_len], DType::F32);
    let pass = BackwardPass {
        call: call.clone(),
        output: output.clone(),
        log_sums: log_sums.clone(),
        d_output: d_output.clone(),
        deltas: deltas.clone(),
        gradients: gradients.map(CubeTensor::clone),
    };
    let (base, of_keys) = (pass.base(), pass.clone());
    compute(Pass::Queries, base, call, move |choice| pass.launch_queries(choice));
    compute(Pass::Keys, base, call, move |choice| of_keys.launch_keys(choice));
    backward_of_bias(call, log_sums, d_output, &deltas)
}

/// What the forward pass reads and writes.
struct ForwardPass {
    call: Call,
    output: CubeTensor,
    log_sums: CubeTensor,
}

impl ForwardPass {
    fn base(&self) -> Plan {
        let Inputs { q, k, v, .. } = &self.call.inputs;
        base(&self.call, &[q, k, v, &self.output])
    }

    fn launch(&self, choice: Choice) {
        let Self { call, output, log_sums } = self;
        let Inputs { q, k, v, bias, hidden } = &call.inputs;
        let client = &q.client;
        let Choice { tiles, plan, parts } = choice;
        let [to, to_sums] = if parts == 1 {
            [output.clone(), log_sums.clone()]
        } else {
            let [batch, heads, q_len, d_value] = output.meta.shape().dims();
            let batch = parts * batch;
            [
                empty_like(q, [batch, heads, q_len, d_value], DType::F32),
                empty_like(q, [batch, heads, q_len], DType::F32),
            ]
        };
        // SAFETY: every access to a tensor stands behind the tests of its row and its channels, and every loop ends at a length.
        unsafe {
            launch!(
                tiles,
                tiles_forward,
                rows_forward,
                (
                    client,
                    choice.cubes(call.sizes.q_len, call.sizes),
                    choice.units(),
                    plan.lanes,
                    argument(q),
                    argument(k),
                    argument(v),
                    bias.as_ref().map(argument).into(),
                    hidden.as_ref().map(argument).into(),
                    argument(&to),
                    argument(&to_sums),
                    call.options.scale,
                    parts,
                    plan,
                    call.types_with(&to),
                )
            );
        }
        if parts > 1 {
            let merging = Merging { width: plan.d_value, lanes: plan.lanes, first: 0 };
            // SAFETY: units beyond the last vector end; the others read and write inside the shapes.
            unsafe {
                merge::merge_outputs::launch_unchecked(
                    client,
                    cubes_of(output, plan.d_value),
                    CubeDim::new_1d(UNITS as u32),
                    plan.lanes,
                    argument(&to),
                    buffer(&to_sums),
                    argument(output),
                    buffer(log_sums),
                    parts,
                    merging,
                    type_of(output),
                );
            }
        }
    }
}

/// What the backward pass reads and writes.
#[derive(Clone)]
struct BackwardPass {
    call: Call,
    output: CubeTensor,
    log_sums: CubeTensor,
    d_output: CubeTensor,
    /// δ = Σ_c dO_c O_c of each query, which the gradients of keys and values take from that of the queries.
    deltas: CubeTensor,
    /// Of queries, keys and values.
    gradients: [CubeTensor; 3],
}

impl BackwardPass {
    fn base(&self) -> Plan {
        let Inputs { q, k, v, .. } = &self.call.inputs;
        let [d_q, d_k, d_v] = &self.gradients;
        base(&self.call, &[q, k, v, &self.output, &self.d_output, d_q, d_k, d_v])
    }

    fn launch_queries(&self, choice: Choice) {
        let Self { call, output, log_sums, d_output, deltas, gradients: [d_q, ..] } = self;
        let Inputs { q, k, v, bias, hidden } = &call.inputs;
        let to = Target::new(d_q, call.firsts[0], choice.parts);
        // SAFETY: as in the forward pass.
        unsafe {
            launch!(
                choice.tiles,
                tiles_queries,
                rows_queries,
                (
                    &q.client,
                    choice.cubes(call.sizes.q_len, call.sizes),
                    choice.units(),
                    choice.plan.lanes,
                    argument(q),
                    argument(k),
                    argument(v),
                    bias.as_ref().map(argument).into(),
                    hidden.as_ref().map(argument).into(),
                    argument(output),
                    argument(d_output),
                    argument(log_sums),
                    argument(deltas),
                    argument(&to.tensor),
                    call.options.scale,
                    choice.parts,
                    choice.plan,
                    to.first,
                    call.types_with(&to.tensor),
                )
            );
        }
        to.merge(d_q, call.firsts[0], choice);
    }

    /// To follow that of the queries.
    fn launch_keys(&self, choice: Choice) {
        let Self { call, log_sums, d_output, deltas, gradients: [_, d_k, d_v], .. } = self;
        let Inputs { q, k, v, bias, hidden } = &call.inputs;
        let to_k = Target::new(d_k, call.firsts[1], choice.parts);
        let to_v = Target::new(d_v, call.firsts[2], choice.parts);
        let together = choice.tiles || choice.plan.d_key.max(choice.plan.d_value) <= MOST_CHANNELS_TOGETHER;
        let passes: &[(bool, bool)] = if together { &[(true, true)] } else { &[(true, false), (false, true)] };
        for &(of_keys, of_values) in passes {
            // SAFETY: as in the forward pass.
            unsafe {
                launch!(
                    choice.tiles,
                    tiles_keys,
                    rows_keys,
                    (
                        &q.client,
                        choice.cubes(call.sizes.k_len, call.sizes),
                        choice.units(),
                        choice.plan.lanes,
                        argument(q),
                        argument(k),
                        argument(v),
                        bias.as_ref().map(argument).into(),
                        hidden.as_ref().map(argument).into(),
                        argument(d_output),
                        argument(log_sums),
                        argument(deltas),
                        argument(&to_k.tensor),
                        argument(&to_v.tensor),
                        call.options.scale,
                        choice.parts,
                        Plan { of_keys, of_values, ..choice.plan },
                        [to_k.first, to_v.first],
                        call.types_with(&to_k.tensor),
                    )
                );
            }
        }
        to_k.merge(d_k, call.firsts[1], choice);
        to_v.merge(d_v, call.firsts[2], choice);
    }
}

/// The gradient of the bias, if there is one, given δ = Σ_c dO_c O_c of each query.
pub(super) fn backward_of_bias(
    call: &Call,
    log_sums: &CubeTensor,
    d_output: &CubeTensor,
    deltas: &CubeTensor,
) -> Option<CubeTensor> {
    let Inputs { q, k, v, bias, hidden } = &call.inputs;
    let (client, sizes) = (&q.client, call.sizes);
    let Sizes { batch, heads, q_len, .. } = sizes;
    let base = base(call, &[q, k, v, d_output]);
    bias.as_ref().map(|bias| {
        let blocks = batch * q_len.div_ceil(bias::QUERIES);
        let across = sizes.distances().div_ceil(bias::DISTANCES);
        let chunks = (Limits::of(client).cubes / (heads * across)).clamp(1, blocks);
        let d_bias = empty_like(q, [chunks * heads, sizes.distances()], DType::F32);
        // SAFETY: as in the forward pass.
        unsafe {
            bias::bias_kernel::launch_unchecked(
                client,
                CubeCount::Static(heads as u32, across as u32, chunks as u32),
                CubeDim::new_1d(bias::DISTANCES as u32),
                base.lanes,
                argument(q),
                argument(k),
                argument(v),
                ComptimeOptionArgs::Some(argument(bias)),
                hidden.as_ref().map(argument).into(),
                argument(d_output),
                argument(log_sums),
                argument(deltas),
                buffer(&d_bias),
                call.options.scale,
                blocks.div_ceil(chunks),
                base,
                call.types(),
            );
        }
        let mut d_bias = if chunks == 1 { d_bias } else { column_sums(d_bias, &[heads * sizes.distances()]).remove(0) };
        *d_bias.meta = Metadata::new([heads, sizes.distances()], [sizes.distances(), 1]);
        d_bias
    })
}

/// Where a gradient is written: to its tensor, or one for each part that is merged into it.
struct Target {
    tensor: CubeTensor,
    first: usize,
}

impl Target {
    fn new(gradient: &CubeTensor, first: usize, parts: usize) -> Self {
        if parts == 1 {
            return Self { tensor: gradient.clone(), first };
        }
        let [batch, heads, rows, width] = gradient.meta.shape().dims();
        Self { tensor: empty_like(gradient, [parts * batch, heads, rows, width], DType::F32), first: 0 }
    }

    fn merge(&self, gradient: &CubeTensor, first: usize, choice: Choice) {
        if choice.parts == 1 {
            return;
        }
        let [_, _, _, width] = gradient.meta.shape().dims();
        // SAFETY: units beyond the last vector end; the others read and write inside the shapes.
        unsafe {
            merge::merge_sums::launch_unchecked(
                &gradient.client,
                cubes_of(gradient, width),
                CubeDim::new_1d(UNITS as u32),
                choice.plan.lanes,
                argument(&self.tensor),
                argument(gradient),
                choice.parts,
                Merging { width, lanes: choice.plan.lanes, first },
                type_of(gradient),
            );
        }
    }
}

/// Cubes of which each unit has one vector of a tensor.
fn cubes_of(tensor: &CubeTensor, width: usize) -> CubeCount {
    let vectors = tensor.meta.shape().num_elements() / width * width.div_ceil(4);
    cube_each(vectors.div_ceil(UNITS))
}

fn argument(tensor: &CubeTensor) -> TensorArg {
    tensor.clone().into_tensor_arg()
}

fn type_of(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_storage_type(tensor.dtype)
}

impl Call {
    /// Types of the inputs, of what is written, and of the flags of hidden pairs.
    fn types_with(&self, to: &CubeTensor) -> [ElemType; 3] {
        let [numbers, flags] = self.types();
        [numbers, type_of(to), flags]
    }
}

/// What a kernel is compiled with apart from the sizes of its tiles, for these tensors.
fn base(call: &Call, tensors: &[&CubeTensor]) -> Plan {
    let Sizes { d_key, d_value, .. } = call.sizes;
    let even = |numbers: &[usize]| numbers.iter().all(|number| number.is_multiple_of(4));
    let aligned = |tensor: &&CubeTensor| {
        let strides = tensor.meta.strides();
        let bytes = tensor.handle.offset_start.unwrap_or(0);
        even(&strides[..strides.len() - 1]) && bytes.is_multiple_of(4 * tensor.dtype.size() as u64)
    };
    let lanes = if even(&[d_key, d_value]) && even(&call.firsts) && tensors.iter().all(aligned) { 4 } else { 1 };
    Plan {
        d_key,
        d_value,
        lanes,
        causal: call.options.causal,
        hidden: call.inputs.hidden.is_some(),
        firsts: call.firsts,
        base_two: call.inputs.q.client.name() == "cuda",
        of_keys: true,
        of_values: true,
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use burn::{
        backend::{BackendTensor, DispatchTensorKind},
        tensor::{Bool, Device, Tensor, TensorData, activation::softmax},
    };
    use burn_cubecl::ops::into_data_sync;
    use headway_testkit::{assert_close, devices, numbers};

    use super::*;
    use crate::{
        Options, Precision,
        attention::gpu::plan::{Tiling, candidates},
        is_cube,
    };

    const HEADS: usize = 2;
    const Q_LEN: usize = 139;
    const K_LEN: usize = 151;

    /// Attention of [`HEADS`] heads, with a mask and a bias or without.
    struct Case {
        d_key: usize,
        d_value: usize,
        masked: bool,
        /// Tilings to run, since each takes the compiler's time.
        takes: fn(&Tiling) -> bool,
    }

    impl Case {
        fn options(&self) -> Options {
            Options { scale: 1.0 / (self.d_key as f32).sqrt(), causal: self.masked, precision: Precision::F32 }
        }

        /// Queries, keys, values and the gradient of the output, and the bias by distance.
        fn draw(&self, device: &Device) -> ([Tensor<4>; 4], Vec<f32>) {
            let shapes = [(Q_LEN, self.d_key), (K_LEN, self.d_key), (K_LEN, self.d_value), (Q_LEN, self.d_value)];
            let tensors = [0, 1, 2, 3].map(|n: usize| {
                let (rows, width) = shapes[n];
                let data = TensorData::new(numbers(n as u64, HEADS * rows * width), [1, HEADS, rows, width]);
                Tensor::from_data(data, device).mul_scalar(if n < 2 { 2.0 } else { 1.0 })
            });
            (tensors, numbers(4, HEADS * (Q_LEN + K_LEN - 1)))
        }

        /// The output and the gradients of queries, keys and values by the operations of burn.
        fn by_operations(&self) -> [Vec<f32>; 4] {
            let device = Device::flex().autodiff();
            let ([q, k, v, d_output], bias) = self.draw(&device);
            let [q, k, v] = [q, k, v].map(Tensor::require_grad);
            let mut scores = q.clone().matmul(k.clone().swap_dims(2, 3)).mul_scalar(self.options().scale);
            if self.masked {
                let pairs = || (0..Q_LEN).flat_map(|i| (0..K_LEN).map(move |j| (i, j)));
                let of_head = |head: usize| {
                    let bias = &bias[head * (Q_LEN + K_LEN - 1)..];
                    pairs().map(move |(i, j)| bias[j + Q_LEN - 1 - i])
                };
                let biases: Vec<f32> = (0..HEADS).flat_map(of_head).collect();
                let hidden: Vec<bool> = pairs().map(|(i, j)| j + Q_LEN > i + K_LEN).collect();
                let hidden = TensorData::new(hidden, [1, 1, Q_LEN, K_LEN]);
                let hidden = Tensor::<4, Bool>::from_data(hidden, &device).expand([1, HEADS, Q_LEN, K_LEN]);
                scores = scores + Tensor::from_data(TensorData::new(biases, [1, HEADS, Q_LEN, K_LEN]), &device);
                scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
            }
            let output = softmax(scores, 3).matmul(v.clone());
            let gradients = (output.clone() * d_output).sum().backward();
            let host = |tensor: Tensor<4>| tensor.try_into_vec_as::<f32>().unwrap();
            let [d_q, d_k, d_v] = [q, k, v].map(|tensor| host(tensor.grad(&gradients).unwrap()));
            [host(output.inner()), d_q, d_k, d_v]
        }
    }

    fn on_cube<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
        let DispatchTensorKind::Cube(BackendTensor::Float(tensor)) = tensor.into_dispatch().kind else {
            panic!("a tensor of another device");
        };
        tensor
    }

    #[test]
    fn every_tiling_computes_attention_and_its_gradients() {
        let cases = [
            Case { d_key: 3, d_value: 3, masked: true, takes: |tiling| tiling.across == 1 },
            Case { d_key: 12, d_value: 12, masked: true, takes: |tiling| tiling.across > 1 },
            // Units have several vectors of channels, of values fewer than of keys.
            Case { d_key: 36, d_value: 20, masked: false, takes: |tiling| tiling.across > 1 && tiling.rows == 2 },
        ];
        for on in devices().into_iter().filter(|on| is_cube(&on.device)) {
            for case in &cases {
                let want = case.by_operations();
                let ([q, k, v, d_output], bias) = case.draw(&on.device);
                let bias = TensorData::new(bias, [HEADS, Q_LEN + K_LEN - 1]);
                let bias = case.masked.then(|| on_cube(Tensor::<2>::from_data(bias, &on.device)));
                let [q, k, v, d_output] = [q, k, v, d_output].map(on_cube);
                let client = q.client.clone();
                let call = Call::new(Inputs { q, k, v, bias, hidden: None }, case.options(), [0; 3]);
                // What is not written stays visible.
                let blank = |rows, width| on_cube(Tensor::<4>::full([1, HEADS, rows, width], f32::NAN, &on.device));
                let blank_sums = || on_cube(Tensor::<3>::full([1, HEADS, Q_LEN], f32::NAN, &on.device));
                let first =
                    ForwardPass { call: call.clone(), output: blank(Q_LEN, case.d_value), log_sums: blank_sums() };
                let pass = BackwardPass {
                    call: call.clone(),
                    output: first.output.clone(),
                    log_sums: first.log_sums.clone(),
                    d_output,
                    deltas: blank_sums(),
                    gradients: [blank(Q_LEN, case.d_key), blank(K_LEN, case.d_key), blank(K_LEN, case.d_value)],
                };
                let limits = Limits::of(&client);
                let problem = |pass, base| Problem { pass, base, sizes: call.sizes, limits };
                first.launch(problem(Pass::Forward, first.base()).by_rule());
                pass.launch_queries(problem(Pass::Queries, pass.base()).by_rule());

                let mut run = Vec::new();
                for tiling in Tiling::all().filter(|tiling| (case.takes)(tiling)) {
                    let check = |what: &str, got: &CubeTensor, want: &[f32]| {
                        let got: Vec<f32> = into_data_sync(got.clone()).try_into_vec().unwrap();
                        let name = format!("{what} of {}, {} channels in {tiling:?}", case.d_key, case.d_value);
                        assert_close(&format!("{name} on {}", on.name), &got, want, on.tolerance);
                    };
                    let base = first.base();
                    if tiling.fits(Pass::Forward, base, limits) {
                        let (output, log_sums) = (blank(Q_LEN, case.d_value), blank_sums());
                        let pass = ForwardPass { call: call.clone(), output, log_sums };
                        pass.launch(problem(Pass::Forward, base).in_tiles(tiling));
                        check("output", &pass.output, &want[0]);
                        let sums: Vec<f32> = into_data_sync(first.log_sums.clone()).try_into_vec().unwrap();
                        check("log-sums", &pass.log_sums, &sums);
                        run.push((Pass::Forward, tiling));
                    }
                    let base = pass.base();
                    let gradients = [blank(Q_LEN, case.d_key), blank(K_LEN, case.d_key), blank(K_LEN, case.d_value)];
                    let pass = BackwardPass { gradients, ..pass.clone() };
                    if tiling.fits(Pass::Queries, base, limits) {
                        let pass = BackwardPass { deltas: blank_sums(), ..pass.clone() };
                        pass.launch_queries(problem(Pass::Queries, base).in_tiles(tiling));
                        check("gradient of queries", &pass.gradients[0], &want[1]);
                        let deltas: Vec<f32> = into_data_sync(pass.deltas.clone()).try_into_vec().unwrap();
                        assert!(deltas.iter().all(|delta| delta.is_finite()), "δ in {tiling:?} on {}", on.name);
                        run.push((Pass::Queries, tiling));
                    }
                    if tiling.fits(Pass::Keys, base, limits) {
                        pass.launch_keys(problem(Pass::Keys, base).in_tiles(tiling));
                        check("gradient of keys", &pass.gradients[1], &want[2]);
                        check("gradient of values", &pass.gradients[2], &want[3]);
                        run.push((Pass::Keys, tiling));
                    }
                }
                for pass in [Pass::Forward, Pass::Queries, Pass::Keys] {
                    let candidates = candidates(pass, [case.d_key, case.d_value], limits);
                    assert!(
                        candidates
                            .iter()
                            .filter(|tiling| (case.takes)(tiling))
                            .all(|tiling| run.contains(&(pass, *tiling))),
                        "{candidates:?} in {run:?}"
                    );
                }
            }
        }
    }
}

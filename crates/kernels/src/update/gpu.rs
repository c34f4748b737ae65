//! Updates of many parameters: as few launches as the bindings of a kernel allow.

use burn::{
    backend::{BackendTensor, DispatchTensor, DispatchTensorKind},
    tensor::{DType, Tensor},
};
use burn_cubecl::{kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use crate::gpu::{UNITS, buffer, empty_like, sum_over_cube};
use crate::{
    AdamStep,
    update::{DescentStep, Rule, Slot, Updated},
};

/// Tensors that one launch updates at most: its program grows with them.
const MOST_TENSORS: usize = 16;
/// Tensors whose squares one launch sums at most.
const MOST_SUMMED: usize = 64;
/// Cubes that work on a tensor at most, in turns.
const MOST_CUBES: usize = 1024;

/// Where the numbers of an update stand in their buffer.
const BETA_1: usize = 0;
const NEW_1: usize = 1;
const BETA_2: usize = 2;
const NEW_2: usize = 3;
const EPSILON: usize = 4;
const PENALTY: usize = 5;
const KEEP: usize = 6;
const RATE: usize = 7;
const CORRECTION: usize = 8;
/// What gradients are multiplied by.
const FACTOR: usize = 9;
const NUMBERS: usize = 10;

/// What a launch works on, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Plan {
    /// Numbers of each tensor.
    lengths: Vec<usize>,
    /// Cubes of each tensor.
    cubes: Vec<usize>,
    /// Moments that the rule keeps: two are Adam's, one is a velocity.
    moments: usize,
}

impl Plan {
    fn new(tensors: &[CubeTensor], moments: usize) -> Self {
        let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.meta.shape().num_elements()).collect();
        let cubes = lengths.iter().map(|length| length.div_ceil(UNITS).clamp(1, MOST_CUBES)).collect();
        Self { lengths, cubes, moments }
    }

    /// First cube of the k-th tensor.
    fn begin(&self, k: usize) -> usize {
        self.cubes[..k].iter().sum()
    }

    fn all_cubes(&self) -> usize {
        self.cubes.iter().sum()
    }

    fn count(&self) -> CubeCount {
        CubeCount::Static(self.all_cubes() as u32, 1, 1)
    }
}

#[cube(launch)]
fn update_kernel(
    weights: &mut Sequence<Box<[f32]>>,
    gradients: &Sequence<Box<[f32]>>,
    firsts: &mut Sequence<Box<[f32]>>,
    seconds: &mut Sequence<Box<[f32]>>,
    numbers: &[f32],
    #[comptime] plan: Plan,
) {
    let cube = CUBE_POS_X as usize;
    #[unroll]
    for k in 0..comptime!(plan.lengths.len()) {
        let begin = comptime!(plan.begin(k));
        let cubes = comptime!(plan.cubes[k]);
        let length = comptime!(plan.lengths[k]);
        if cube >= begin && cube < begin + cubes {
            let weight = weights.index_mut(k);
            let gradient = gradients.index(k);
            let mut at = (cube - begin) * UNITS + UNIT_POS_X as usize;
            while at < length {
                let slope = gradient[at] * numbers[FACTOR] + numbers[PENALTY] * weight[at];
                if comptime!(plan.moments == 2) {
                    let first = firsts.index_mut(k);
                    let second = seconds.index_mut(k);
                    let mean = numbers[BETA_1] * first[at] + numbers[NEW_1] * slope;
                    let square = numbers[BETA_2] * second[at] + numbers[NEW_2] * (slope * slope);
                    first[at] = mean;
                    second[at] = square;
                    let change = mean / (square.sqrt() / numbers[CORRECTION] + numbers[EPSILON]) * numbers[RATE];
                    weight[at] = numbers[KEEP] * weight[at] - change;
                } else if comptime!(plan.moments == 1) {
                    let first = firsts.index_mut(k);
                    let velocity = numbers[BETA_1] * first[at] + slope;
                    first[at] = velocity;
                    weight[at] -= velocity * numbers[RATE];
                } else {
                    weight[at] -= slope * numbers[RATE];
                }
                at += cubes * UNITS;
            }
        }
    }
}

/// Leaves the sum of the squares that each cube goes through.
#[cube(launch)]
fn squares_kernel(tensors: &Sequence<Box<[f32]>>, sums: &mut [f32], from: usize, #[comptime] plan: Plan) {
    let cube = CUBE_POS_X as usize;
    let mut shares = Shared::<[f32]>::new_slice(UNITS);
    let mut total = f32::new(0.0);
    #[unroll]
    for k in 0..comptime!(plan.lengths.len()) {
        let begin = comptime!(plan.begin(k));
        let cubes = comptime!(plan.cubes[k]);
        if cube >= begin && cube < begin + cubes {
            let tensor = tensors.index(k);
            let mut at = (cube - begin) * UNITS + UNIT_POS_X as usize;
            while at < comptime!(plan.lengths[k]) {
                total += tensor[at] * tensor[at];
                at += cubes * UNITS;
            }
        }
    }
    let sum = sum_over_cube(&mut shares, total, UNITS);
    if UNIT_POS_X == 0 {
        sums[from + cube] = sum;
    }
}

/// min(1, max_norm / (sqrt(Σ sums) + 1e-6)), by one cube.
#[cube(launch)]
fn factor_kernel(sums: &[f32], numbers: &mut [f32], count: usize, max_norm: f32) {
    let mut shares = Shared::<[f32]>::new_slice(UNITS);
    let mut total = f32::new(0.0);
    let mut at = UNIT_POS_X as usize;
    while at < count {
        total += sums[at];
        at += UNITS;
    }
    let norm = sum_over_cube(&mut shares, total, UNITS).sqrt();
    if UNIT_POS_X == 0 {
        let mut factor = max_norm / (norm + 1e-6f32);
        if factor > 1.0f32 {
            factor = f32::new(1.0);
        }
        numbers[FACTOR] = factor;
    }
}

/// The tensor beneath a flat one that no gradient follows.
fn beneath(tensor: Tensor<1>) -> CubeTensor {
    assert_eq!(tensor.dtype(), DType::F32, "parameters and gradients are f32");
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        other => panic!("all are on one GPU and none is tracked, not {other:?}"),
    }
}

/// A tensor that nobody else holds: itself, or a copy.
fn own(tensor: CubeTensor) -> CubeTensor {
    if !tensor.is_contiguous() {
        return into_contiguous(tensor);
    }
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// The numbers of an update, from the first to the factor of the gradients.
pub(crate) fn numbers_of(rule: Rule) -> [f32; NUMBERS] {
    let mut numbers = [0.0; NUMBERS];
    let mut set = |at: usize, number: f64| numbers[at] = number as f32;
    set(FACTOR, 1.0);
    match rule {
        Rule::Adam(step) => {
            let AdamStep { beta_1, beta_2, epsilon, rate, penalty, decay, .. } = step;
            let [first, second] = step.corrections();
            set(BETA_1, beta_1);
            set(NEW_1, 1.0 - beta_1);
            set(BETA_2, beta_2);
            set(NEW_2, 1.0 - beta_2);
            set(EPSILON, epsilon);
            set(PENALTY, penalty);
            set(KEEP, 1.0 - rate * decay);
            set(RATE, rate / first);
            set(CORRECTION, second);
        }
        Rule::Descent(DescentStep { rate, momentum, penalty }) => {
            set(BETA_1, momentum);
            set(PENALTY, penalty);
            set(RATE, rate);
        }
    }
    numbers
}

/// See [`Updater::update`](crate::update::Updater::update); `numbers` are those of the rule, which keeps so many moments.
pub(crate) fn update(numbers: Tensor<1>, slots: Vec<Slot>, moments: usize, max_norm: Option<f64>) -> Vec<Updated> {
    let mut contexts = Vec::new();
    let (mut weights, mut gradients, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for Slot { weight, gradient, moments: mut kept } in slots {
        while kept.len() < moments {
            kept.push(gradient.zeros_like());
        }
        let mut kept = kept.into_iter();
        contexts.push(weight.clone().into_dispatch().autodiff);
        weights.push(own(beneath(weight)));
        gradients.push(into_contiguous(beneath(gradient)));
        firsts.extend(kept.next().map(|moment| own(beneath(moment))));
        seconds.extend(kept.next().map(|moment| own(beneath(moment))));
    }
    let client = weights[0].client.clone();
    let bindings = client.properties().hardware.max_bindings as usize;
    let numbers = beneath(numbers);
    let units = CubeDim::new_1d(UNITS as u32);
    if let Some(max_norm) = max_norm {
        let groups = gradients.chunks(bindings.saturating_sub(1).clamp(1, MOST_SUMMED));
        let plans: Vec<Plan> = groups.clone().map(|group| Plan::new(group, 0)).collect();
        let count = plans.iter().map(Plan::all_cubes).sum::<usize>();
        let sums = empty_like(&weights[0], [count], DType::F32);
        let mut from = 0;
        for (group, plan) in groups.zip(plans) {
            let cubes = plan.all_cubes();
            let tensors = group.iter().map(buffer).collect();
            squares_kernel::launch(&client, plan.count(), units, tensors, buffer(&sums), from, plan);
            from += cubes;
        }
        let one = CubeCount::Static(1, 1, 1);
        factor_kernel::launch(&client, one, units, buffer(&sums), buffer(&numbers), count, max_norm as f32);
    }
    let together = (bindings.saturating_sub(1) / (2 + moments)).clamp(1, MOST_TENSORS);
    for start in (0..weights.len()).step_by(together) {
        let group = start..weights.len().min(start + together);
        let plan = Plan::new(&weights[group.clone()], moments);
        let of = |tensors: &[CubeTensor]| tensors.get(group.clone()).unwrap_or_default().iter().map(buffer).collect();
        update_kernel::launch(
            &client,
            plan.count(),
            units,
            of(&weights),
            of(&gradients),
            of(&firsts),
            of(&seconds),
            buffer(&numbers),
            plan,
        );
    }
    let (mut firsts, mut seconds) = (firsts.into_iter(), seconds.into_iter());
    let updated = weights.into_iter().zip(contexts).map(|(weight, autodiff)| {
        let tensor = |tensor: CubeTensor| {
            let kind = DispatchTensorKind::Cube(BackendTensor::Float(tensor));
            Tensor::from_dispatch(DispatchTensor { kind, autodiff })
        };
        (tensor(weight), firsts.next().into_iter().chain(seconds.next()).map(tensor).collect())
    });
    updated.collect()
}

//! Which matrix units a kernel uses, if a device has fitting ones, and with which sizes.

use burn::tensor::DType;
use cubecl::{
    ir::{DeviceProperties, ElemType, FloatKind, features::Plane},
    prelude::*,
};

use crate::Precision;

use super::walk::Plan;

/// Widest head that the kernels take.
const WIDEST: usize = 128;
/// Shared memory of a cube at most, so that several share a multiprocessor.
const MOST_BYTES: usize = 48 * 1024;
/// The same for the units in their own terms, which only cards with more shared memory have.
const MOST_BYTES_OF_MMA: usize = 96 * 1024;
/// Planes of a cube and rows of a tile, the best first; the later ones are for wide heads and little shared memory.
const SIZES: [(usize, usize); 6] = [(4, 32), (2, 32), (2, 16), (1, 16), (2, 8), (1, 8)];

/// How a kernel drives the matrix units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    /// In their own terms, with matrices in known registers: CUDA.
    Own,
    /// As cooperative matrices: Vulkan, and CUDA.
    Cooperative,
}

/// Kernels that compute a call on matrix units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Choice {
    pub(super) units: Units,
    /// What the units multiply.
    element: ElemType,
    /// Plan of the walk for the output.
    pub(super) forward: Plan,
    /// Plan of the walk for the gradient of queries.
    pub(super) queries: Plan,
    /// Plan of the walk for the gradients of keys and values.
    pub(super) keys: Plan,
}

impl Choice {
    /// The kernels for inputs of a type, a precision and widths, if the device's matrix units multiply that and sum in f32.
    ///
    /// Inputs in half precision have that of their type. Inputs in f32 are left alone unless they may be rounded to tf32: f32 means
    /// f32. Widths go up to 128; a call whose shared memory the device lacks is left to the other kernels too.
    pub(in super::super) fn new(
        device: &DeviceProperties,
        dtype: DType,
        precision: Precision,
        widths: [usize; 2],
        causal: bool,
        firsts: [usize; 3],
    ) -> Option<Self> {
        let kind = match (dtype, precision) {
            (DType::F16, _) => FloatKind::F16,
            (DType::BF16, _) => FloatKind::BF16,
            (DType::F32, Precision::Tf32) => FloatKind::TF32,
            _ => return None,
        };
        let element = ElemType::Float(kind);
        [Units::Own, Units::Cooperative].into_iter().find_map(|units| {
            let plan = |walk| match units {
                Units::Own => manual(device, element, walk, widths, causal, firsts),
                Units::Cooperative => cooperative(device, element, walk, widths, causal, firsts),
            };
            let (forward, queries, keys) = (plan(Walk::Forward)?, plan(Walk::Queries)?, plan(Walk::Keys)?);
            Some(Self { units, element, forward, queries, keys })
        })
    }

    /// Types that a kernel is compiled for, from those of the numbers and flags in memory.
    pub(super) fn types(&self, [numbers, flags]: [ElemType; 2]) -> [ElemType; 3] {
        [numbers, self.element, flags]
    }
}

/// Which of the three walks a kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Walk {
    /// Over keys, for the output.
    Forward,
    /// Over keys, for the gradient of the queries.
    Queries,
    /// Over queries, for the gradients of keys and values.
    Keys,
}

/// A plan for the matrix units that a plane drives as a whole, if the device has some that multiply `element` and sum in f32.
fn cooperative(
    device: &DeviceProperties,
    element: ElemType,
    walk: Walk,
    widths: [usize; 2],
    causal: bool,
    firsts: [usize; 3],
) -> Option<Plan> {
    let lanes = device.hardware.plane_size_max as usize;
    let planes_wait = device.features.plane.contains(Plane::Sync);
    if widths.into_iter().max()? > WIDEST || device.hardware.plane_size_min as usize != lanes || !planes_wait {
        return None;
    }
    let shape = (device.features.matmul.cmma.iter())
        .filter(|unit| [unit.a_type, unit.b_type] == [element; 2] && unit.cd_type == f32::cube_type())
        .map(|unit| [unit.m, unit.n, unit.k].map(|size| size as usize))
        .filter(|[m, n, _]| n.is_multiple_of(4) && (lanes.is_multiple_of(*m) || m.is_multiple_of(lanes)))
        // Units that share a row exchange its maximum.
        .filter(|[m, ..]| *m >= lanes || device.features.plane.contains(Plane::Ops))
        // Square ones reuse both operands best.
        .max_by_key(|[m, n, k]| (m == n, m * n * k))?;
    let [rows, n, k] = shape;
    let widths = widths.map(|width| width.next_multiple_of(n.max(k)));
    let bytes = element.size();
    let (owned, walked) = match walk {
        Walk::Forward => (widths[0] + 16 / bytes, widths[0] + widths[1] + 32 / bytes),
        Walk::Queries | Walk::Keys => {
            let both = widths[0] + widths[1] + 32 / bytes;
            (both, both)
        }
    };
    let most = device.hardware.max_shared_memory_size.min(MOST_BYTES);
    SIZES
        .into_iter()
        .map(|(planes, tile)| Plan { shape, lanes, planes, rows, tile, widths, pad: 16 / bytes, causal, firsts })
        .filter(|plan| [n, k, 4 * (lanes / rows).max(1)].iter().all(|unit| plan.tile.is_multiple_of(*unit)))
        .find(|plan| plan.cmma_bytes(owned, walked, bytes) <= most)
}

/// A plan for NVIDIA's matrix units in their own terms, if the device has some that multiply `element` and sum in f32.
fn manual(
    device: &DeviceProperties,
    element: ElemType,
    walk: Walk,
    widths: [usize; 2],
    causal: bool,
    firsts: [usize; 3],
) -> Option<Plan> {
    let units = &device.features.matmul;
    let bytes = element.size();
    let shape = [16, 8, 32 / bytes];
    let fits = units.mma.iter().any(|unit| {
        [unit.a_type, unit.b_type] == [element; 2]
            && unit.cd_type == f32::cube_type()
            && [unit.m, unit.n, unit.k].map(|size| size as usize) == shape
    });
    let hardware = &device.hardware;
    let planes_work =
        device.features.plane.contains(Plane::Ops) && [hardware.plane_size_min, hardware.plane_size_max] == [32; 2];
    if widths.into_iter().max()? > WIDEST || !fits || !planes_work || units.ldmatrix.is_empty() {
        return None;
    }
    let widths = widths.map(|width| width.next_multiple_of(16));
    let pad = 16 / bytes;
    let both = widths[0] + widths[1] + 2 * pad;
    let owned = if walk == Walk::Forward { widths[0] + pad } else { both };
    let tile = if both <= 128 + 2 * pad && bytes == 2 { 64 } else { 32 };
    let most = hardware.max_shared_memory_size.min(MOST_BYTES_OF_MMA);
    [4, 2, 1]
        .into_iter()
        .map(|planes| Plan { shape, lanes: 32, planes, rows: 16, tile, widths, pad, causal, firsts })
        .find(|plan| plan.mma_bytes(owned, both, bytes) <= most)
}

/// Numbers that a unit reads at once: as many as the device's vectors and 16 bytes hold, and divide all `sizes`.
pub(super) fn vector_size(device: &DeviceProperties, bytes: usize, sizes: &[usize]) -> usize {
    let fits = |size: &usize| size * bytes <= 16 && *size <= device.hardware.max_vector_size;
    [8, 4, 2].into_iter().filter(fits).find(|size| sizes.iter().all(|n| n.is_multiple_of(*size))).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use cubecl::{
        ir::{
            DeviceIdentity, HardwareProperties, MemoryDeviceProperties,
            features::{Features, MmaConfig},
        },
        profile::TimingMethod,
    };

    use super::*;

    /// A device whose planes have so many units, with so much shared memory, and these products: kinds of the factors and sizes.
    fn device(lanes: u32, shared: usize, products: &[(FloatKind, [u32; 3])]) -> DeviceProperties {
        let hardware = HardwareProperties {
            load_width: 128,
            vector_register_count: None,
            plane_size_min: lanes,
            plane_size_max: lanes,
            max_bindings: 64,
            max_shared_memory_size: shared,
            max_cube_count: (65_535, 65_535, 65_535),
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: None,
            num_cpu_cores: None,
            last_level_cache_size: None,
            num_tensor_cores: None,
            min_tensor_cores_dim: None,
            max_vector_size: 4,
            cube_mma_reserved_shared_memory: 0,
        };
        let memory = MemoryDeviceProperties::new(1 << 30, 256);
        let identity = DeviceIdentity { name: String::new(), fingerprint: String::new(), physical: None };
        let mut device = DeviceProperties::new(Features::default(), memory, hardware, TimingMethod::System, identity);
        device.features.plane.insert(Plane::Ops);
        device.features.plane.insert(Plane::Sync);
        for (kind, [m, n, k]) in products {
            let [a_type, cd_type] = [*kind, FloatKind::F32].map(ElemType::Float);
            device.features.matmul.cmma.insert(MmaConfig { a_type, b_type: a_type, cd_type, m: *m, n: *n, k: *k });
        }
        device
    }

    /// An NVIDIA card under Vulkan, as its driver lists it.
    fn vulkan() -> DeviceProperties {
        let sizes = [[16, 8, 8], [16, 16, 16], [16, 8, 16]];
        device(32, 48 * 1024, &sizes.map(|size| (FloatKind::F16, size)))
    }

    fn choose(device: &DeviceProperties, dtype: DType, precision: Precision, width: usize) -> Option<Choice> {
        Choice::new(device, dtype, precision, [width; 2], true, [0; 3])
    }

    #[test]
    fn the_type_of_the_inputs_decides_and_f32_stays_f32() {
        let card = device(32, 99 * 1024, &[FloatKind::F16, FloatKind::BF16].map(|kind| (kind, [16; 3])));
        let kind = |dtype, precision| choose(&card, dtype, precision, 64).map(|choice| choice.element);
        assert_eq!(kind(DType::F16, Precision::F16), Some(ElemType::Float(FloatKind::F16)));
        assert_eq!(kind(DType::BF16, Precision::F32), Some(ElemType::Float(FloatKind::BF16)));
        assert_eq!(kind(DType::F32, Precision::F32), None);
        assert_eq!(kind(DType::F32, Precision::Tf32), None, "this card multiplies no tf32");
        let tf32 = device(32, 99 * 1024, &[(FloatKind::TF32, [16, 16, 8])]);
        assert!(choose(&tf32, DType::F32, Precision::Tf32, 64).is_some());
        assert_eq!(choose(&tf32, DType::F32, Precision::F32, 64), None);
    }

    #[test]
    fn widths_are_padded_and_end_at_128() {
        for (width, padded) in [(1, Some(16)), (16, Some(16)), (17, Some(32)), (128, Some(128)), (129, None)] {
            let choice = choose(&vulkan(), DType::F16, Precision::F16, width);
            assert_eq!(choice.map(|choice| choice.forward.widths), padded.map(|width| [width; 2]), "{width}");
        }
    }

    /// Whatever is chosen fits the device: products that it lists, tiles made of them, shared memory.
    #[test]
    fn plans_fit_the_device() {
        for shared in [16, 32, 48, 227].map(|kib| kib * 1024) {
            for (lanes, size) in [(8, [8, 8, 8]), (32, [16, 16, 16]), (64, [16, 16, 16]), (8, [16, 16, 16])] {
                let device = device(lanes, shared, &[(FloatKind::F16, size)]);
                for width in [1, 32, 64, 128] {
                    let Some(choice) = choose(&device, DType::F16, Precision::F16, width) else {
                        assert!(shared == 16 * 1024 && width == 128, "none for {width} channels in {shared} bytes");
                        continue;
                    };
                    for (plan, owned) in [(choice.forward, 1), (choice.queries, 2), (choice.keys, 2)] {
                        let row = plan.widths[0] + plan.pad;
                        assert!(plan.cmma_bytes(owned * row, 2 * row, 2) <= shared, "{plan:?}");
                        assert_eq!(plan.shape, size.map(|size| size as usize));
                        assert!(plan.shape[1..].iter().all(|size| plan.tile.is_multiple_of(*size)), "{plan:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn devices_that_lack_what_kernels_need_are_left_alone() {
        let none = |device: &DeviceProperties| choose(device, DType::F16, Precision::F16, 64).is_none();
        assert!(!none(&vulkan()));
        assert!(none(&device(32, 48 * 1024, &[])), "no matrix units");
        assert!(none(&device(32, 48 * 1024, &[(FloatKind::BF16, [16; 3])])), "units of another type");
        let mut varying = vulkan();
        varying.hardware.plane_size_min = 16;
        assert!(none(&varying), "planes of unknown size");
        let mut silent = vulkan();
        silent.features.plane.remove(Plane::Ops);
        assert!(none(&silent), "units that share a row cannot talk");
        let mut loose = vulkan();
        loose.features.plane.remove(Plane::Sync);
        assert!(none(&loose), "planes cannot wait for their memory");
    }

    /// A card's own terms come first, where it has them.
    #[test]
    fn cuda_uses_its_own_terms() {
        let mut card = device(32, 227 * 1024, &[(FloatKind::F16, [16; 3])]);
        let units = |card: &DeviceProperties| choose(card, DType::F16, Precision::F16, 64).map(|choice| choice.units);
        assert_eq!(units(&card), Some(Units::Cooperative));
        let [f16, f32] = [FloatKind::F16, FloatKind::F32].map(ElemType::Float);
        card.features.matmul.mma.insert(MmaConfig { a_type: f16, b_type: f16, cd_type: f32, m: 16, n: 8, k: 16 });
        assert_eq!(units(&card), Some(Units::Cooperative), "without ldmatrix");
        card.features.matmul.ldmatrix.insert(f16);
        assert_eq!(units(&card), Some(Units::Own));
    }

    #[test]
    fn as_many_numbers_at_once_as_divide_everything() {
        let size = |bytes, sizes: &[usize]| vector_size(&vulkan(), bytes, sizes);
        assert_eq!(size(2, &[64, 128, 0]), 4);
        assert_eq!(size(4, &[64, 128, 0]), 4);
        assert_eq!(size(2, &[64, 6]), 2);
        assert_eq!(size(2, &[64, 5]), 1);
    }
}

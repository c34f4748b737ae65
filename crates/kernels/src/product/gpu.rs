//! Products on a GPU: burn's, except where burn's would round.

use burn::{
    backend::TensorMetadata,
    tensor::{DType, Shape},
};
#[cfg(feature = "autotune")]
use burn_cubecl::CubeTuneId;
use burn_cubecl::{
    CubeBackend,
    kernel::{
        cast,
        matmul::{MatmulStrategy, matmul},
    },
    tensor::CubeTensor,
};
use cubecl::{prelude::*, tf32};
#[cfg(feature = "autotune")]
use cubek::matmul::{
    multi_level::routines::{
        TileSizeSelection,
        batch::{double_unit::DoubleUnitSelectionArgs, simple_unit::SimpleUnitSelectionArgs},
    },
    routine::BlueprintStrategy,
    tune_key::MatmulAutotuneKey,
};
use cubek::{
    matmul::{
        definition::{MatmulElems, MatmulSetupError},
        launch::launch_ref,
        multi_level::Strategy,
    },
    std::InputBinding,
};

use super::{Multiply, Product};
use crate::{Precision, gpu::empty_like};

impl Multiply for CubeBackend {
    /// Stored in the precision's type.
    fn operand(tensor: CubeTensor, precision: Precision) -> CubeTensor {
        match precision {
            Precision::F32 | Precision::Tf32 => tensor,
            half @ (Precision::Bf16 | Precision::F16) => cast(tensor, half.dtype().into()),
        }
    }

    fn multiply(a: CubeTensor, b: CubeTensor, precision: Precision) -> CubeTensor {
        product(&a, &b, precision)
    }
}

impl Product for CubeBackend {
    fn product(a: CubeTensor, b: CubeTensor, precision: Precision) -> CubeTensor {
        let [a, b] = [a, b].map(|tensor| Self::operand(tensor, precision));
        Self::multiply(a, b, precision)
    }
}

/// A B of operands, in f32 and dense.
///
/// Every kernel that burn may choose adds in f32. Of f32 operands those with matrix units see tf32, where the device has it; elsewhere they
/// see all of them.
pub(crate) fn product(a: &CubeTensor, b: &CubeTensor, precision: Precision) -> CubeTensor {
    let mut shape: Vec<usize> = a.shape().iter().copied().collect();
    if let Some(last) = shape.last_mut() {
        *last = b.meta.shape()[b.meta.rank() - 1];
    }
    // Dense, which burn's own choice of an output need not be.
    let to = empty_like(a, Shape::from(shape), DType::F32);
    let rounds = a.client.properties().supports_type(tf32::elem_type_native());
    let done = if precision == Precision::F32 && rounds {
        exact(a, b, &to)
    } else {
        matmul(a.clone(), b.clone(), Some(to.clone()), MatmulStrategy::default(), DType::F32).map(drop)
    };
    match done {
        Ok(()) => to,
        Err(error) => panic!("no kernel for the product of {:?} and {:?}: {error:?}", a.meta, b.meta),
    }
}

/// A B by kernels that have nothing to do with matrix units: they multiply and add f32 in the units' own registers.
#[cfg_attr(feature = "autotune", allow(clippy::unnecessary_wraps, reason = "the tuner takes one that works"))]
fn exact(a: &CubeTensor, b: &CubeTensor, to: &CubeTensor) -> Result<(), MatmulSetupError> {
    #[cfg(feature = "autotune")]
    {
        fastest(a, b, to);
        Ok(())
    }
    #[cfg(not(feature = "autotune"))]
    multiply(&Strategy::SimpleUnit(cubek::matmul::routine::BlueprintStrategy::default()), a, b, to)
}

/// A B by one kernel.
fn multiply(strategy: &Strategy, a: &CubeTensor, b: &CubeTensor, to: &CubeTensor) -> Result<(), MatmulSetupError> {
    let f32 = f32::elem_type_native();
    let [a, b] = [a, b].map(|operand| InputBinding::new(operand.clone().binding(), f32));
    let mut types = MatmulElems::from_single_dtype(f32);
    launch_ref(&strategy.clone().into(), &to.client, a, b, to.clone().binding(), &mut types)
}

/// Every kernel of cubek that is [`exact`].
#[cfg(feature = "autotune")]
#[allow(clippy::default_trait_access, reason = "what has no settings is not named")]
fn exact_kernels() -> Vec<Strategy> {
    let sizes = [TileSizeSelection::MaxTileSize, TileSizeSelection::MinTileSize];
    let of_units = sizes.into_iter().flat_map(|tile_size| {
        [
            Strategy::SimpleUnit(BlueprintStrategy::Inferred(SimpleUnitSelectionArgs { tile_size })),
            Strategy::DoubleUnit(BlueprintStrategy::Inferred(DoubleUnitSelectionArgs { tile_size })),
        ]
    });
    of_units.chain([Strategy::Gemm(BlueprintStrategy::Inferred(Default::default()))]).collect()
}

/// A B by the exact kernel that was fastest for such sizes on this device.
#[cfg(feature = "autotune")]
fn fastest(a: &CubeTensor, b: &CubeTensor, to: &CubeTensor) {
    use cubecl::tune::{LocalTuner, Tunable, TunableSet, local_tuner};

    static TUNER: LocalTuner<MatmulAutotuneKey, CubeTuneId> = local_tuner!();
    type Inputs = (CubeTensor, CubeTensor, CubeTensor);
    let key_of = |(a, b, to): &Inputs| {
        let f32 = f32::elem_type_native();
        let [a, b] = [a, b].map(|operand| &operand.meta);
        MatmulAutotuneKey::generate(
            &to.client,
            a.shape(),
            b.shape(),
            a.strides(),
            b.strides(),
            a.tiling,
            b.tiling,
            f32,
            f32,
            f32,
            None,
            None,
        )
    };
    // Whoever is tried writes elsewhere.
    let for_trial = |_: &MatmulAutotuneKey, (a, b, to): &Inputs| (a.clone(), b.clone(), to.copy());
    let device = CubeTuneId::new(&to.client, &to.device);
    let kernels = TUNER.init(&device, move || {
        exact_kernels().into_iter().fold(TunableSet::new(key_of, for_trial), |set, kernel| {
            set.with(Tunable::new(&kernel.to_string(), move |(a, b, to): Inputs| {
                multiply(&kernel, &a, &b, &to).map_err(|error| format!("{error:?}"))
            }))
        })
    });
    TUNER.execute(&device, &to.client, kernels, (a.clone(), b.clone(), to.clone()));
}

#[cfg(test)]
mod tests {
    use burn::{
        backend::{Backend, Dispatch, backend_extension, tensor::FloatTensor},
        tensor::{Tensor, TensorData},
    };
    use headway_testkit::{assert_close, devices, numbers};

    use super::*;
    use crate::is_cube;

    /// What products in f32 are on a device with tf32, on any device.
    #[backend_extension(Cube)]
    pub trait Exactly: Backend {
        fn exactly(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    }

    impl Exactly for CubeBackend {
        fn exactly(a: CubeTensor, b: CubeTensor) -> CubeTensor {
            let to = empty_like(&a, [a.meta.shape()[0], b.meta.shape()[1]], DType::F32);
            exact(&a, &b, &to).unwrap_or_else(|error| panic!("{error:?}"));
            to
        }
    }

    #[test]
    fn kernels_without_matrix_units_multiply_every_shape_and_view() {
        for on in devices().into_iter().filter(|on| is_cube(&on.device)) {
            for [m, k, n] in [[1, 1, 1], [1, 37, 5], [37, 5, 1], [5, 1, 37], [67, 41, 53], [64, 128, 32]] {
                let (a, b) = (numbers(1, m * k), numbers(2, k * n));
                let want: Vec<f32> = (0..m * n)
                    .map(|at| {
                        let terms = (0..k).map(|i| f64::from(a[i * m + at / n]) * f64::from(b[i * n + at % n]));
                        terms.sum::<f64>() as f32
                    })
                    .collect();
                let a = Tensor::<2>::from_data(TensorData::new(a, [k, m]), &on.device).transpose();
                let b = Tensor::<2>::from_data(TensorData::new(b, [k, n]), &on.device);
                let got =
                    Tensor::<2>::from_dispatch(<Dispatch as Exactly>::exactly(a.into_dispatch(), b.into_dispatch()));
                let got: Vec<f32> = got.try_into_vec_as().unwrap_or_default();
                assert_close(&format!("{m} × {k} × {n} on {}", on.name), &got, &want, 1e-6);
            }
        }
    }
}

//! The squared error of a prediction, with its gradient.

#[cfg(feature = "gpu")]
mod gpu;

use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use burn::{backend::Dispatch, tensor::DType};

#[cfg(feature = "gpu")]
use crate::{attention::MaybeFloat, is_cube};
#[cfg(feature = "gpu")]
use gpu::SquaredError;

/// Σ w (prediction − target)² / count over the first `channels` channels, the target being zero where it has no channel.
///
/// # Shapes
/// prediction `[batch, rows, width]` with channels ≤ width, target `[batch, rows, given]` with given ≤ channels and no gradient,
/// weight w `[batch, rows, 1]`, one where it is missing -> `[1]`
///
/// # Panics
/// When the sizes disagree.
pub fn squared_error(
    prediction: Tensor<3>,
    target: Tensor<3>,
    weight: Option<Tensor<3>>,
    channels: usize,
    count: usize,
) -> Tensor<1> {
    let ([batch, rows, width], [.., given]) = (prediction.dims(), target.dims());
    assert!(target.dims() == [batch, rows, given], "a target for each row");
    assert!(given <= channels && channels <= width, "{given} of {channels} of {width} channels");
    assert!(weight.as_ref().is_none_or(|weight| weight.dims() == [batch, rows, 1]), "a weight for each row");
    #[cfg(feature = "gpu")]
    if is_cube(&prediction.device())
        && weight.iter().chain([&prediction, &target]).all(|tensor| tensor.dtype() == DType::F32)
    {
        let weight = weight.map_or(MaybeFloat::Absent, |weight| MaybeFloat::Given(weight.into_dispatch()));
        let [prediction, target] = [prediction, target].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(<Dispatch as SquaredError>::squared_error(
            prediction, target, weight, channels, count,
        ));
    }
    let prediction = if channels < width { prediction.narrow(2, 0, channels) } else { prediction };
    let target = match channels - given {
        0 => target,
        more => Tensor::cat(vec![target.clone(), Tensor::zeros([batch, rows, more], &target.device())], 2),
    };
    let error = prediction - target;
    let squared = error.clone() * error;
    match weight {
        Some(weight) => (squared * weight).sum().div_scalar(count as f64),
        None if count == batch * rows * channels => squared.mean(),
        None => squared.sum().div_scalar(count as f64),
    }
}

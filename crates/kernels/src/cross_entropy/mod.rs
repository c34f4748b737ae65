//! The cross-entropy of a prediction, with its gradient.

#[cfg(feature = "gpu")]
mod gpu;

use burn::tensor::{Int, Tensor, activation};
#[cfg(feature = "gpu")]
use burn::{backend::Dispatch, tensor::DType};

#[cfg(feature = "gpu")]
use crate::{attention::MaybeFloat, is_cube};
#[cfg(feature = "gpu")]
use gpu::CrossEntropy;

/// −Σ w log softmax(prediction) at the class / count.
///
/// # Shapes
/// prediction `[batch, rows, n_classes]`, classes `[batch, rows, 1]` below `n_classes`, weight w `[batch, rows, 1]`, one where it is
/// missing -> `[1]`
///
/// # Panics
/// When the sizes disagree.
pub fn cross_entropy(
    prediction: Tensor<3>,
    classes: Tensor<3, Int>,
    weight: Option<Tensor<3>>,
    count: usize,
) -> Tensor<1> {
    let [batch, rows, _] = prediction.dims();
    assert_eq!(classes.dims(), [batch, rows, 1], "a class for each row");
    assert!(weight.as_ref().is_none_or(|weight| weight.dims() == [batch, rows, 1]), "a weight for each row");
    #[cfg(feature = "gpu")]
    if is_cube(&prediction.device())
        && weight.iter().chain([&prediction]).all(|tensor| tensor.dtype() == DType::F32)
        && classes.dtype() == DType::I32
    {
        let weight = weight.map_or(MaybeFloat::Absent, |weight| MaybeFloat::Given(weight.into_dispatch()));
        let (prediction, classes) = (prediction.into_dispatch(), classes.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as CrossEntropy>::cross_entropy(prediction, classes, weight, count));
    }
    let log_likelihood = activation::log_softmax(prediction, 2).gather(2, classes); // [batch, rows, 1]
    let log_likelihood = match weight {
        Some(weight) => log_likelihood * weight,
        None => log_likelihood,
    };
    log_likelihood.sum().div_scalar(-(count as f64))
}

//! Rows with a bias and a gain of their own, and further rows behind them.

#[cfg(feature = "gpu")]
mod gpu;

use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use burn::{backend::Dispatch, tensor::DType};

#[cfg(feature = "gpu")]
use crate::{attention::MaybeFloat, is_cube};
#[cfg(feature = "gpu")]
use gpu::Modulated;

/// (x_i + b) ⊙ g_i for each row i of a sequence, then the rows of `further`, the same behind each sequence.
///
/// # Shapes
/// x `[batch, rows, d]`, bias b `[d]`, gain g `[rows, d]`, further `[more, d]` -> `[batch, rows + more, d]`
///
/// # Panics
/// When the sizes disagree.
pub fn modulated(x: Tensor<3>, bias: Tensor<1>, gain: Tensor<2>, further: Option<Tensor<2>>) -> Tensor<3> {
    let [batch, rows, d] = x.dims();
    assert_eq!((bias.dims(), gain.dims()), ([d], [rows, d]), "bias is [d], gain [rows, d]");
    assert!(further.as_ref().is_none_or(|further| further.dims()[1] == d), "further rows are [more, d]");
    #[cfg(feature = "gpu")]
    if is_cube(&x.device())
        && further.iter().chain([&gain]).all(|tensor| tensor.dtype() == DType::F32)
        && [x.dtype(), bias.dtype()] == [DType::F32; 2]
    {
        let further = further.map_or(MaybeFloat::Absent, |further| MaybeFloat::Given(further.into_dispatch()));
        let (x, bias, gain) = (x.into_dispatch(), bias.into_dispatch(), gain.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as Modulated>::modulated(x, bias, gain, further));
    }
    let rows = (x + bias.unsqueeze()) * gain.unsqueeze();
    match further {
        Some(further) => {
            let more = further.dims()[0];
            Tensor::cat(vec![rows, further.unsqueeze::<3>().expand([batch, more, d])], 1)
        }
        None => rows,
    }
}

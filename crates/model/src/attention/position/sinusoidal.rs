//! Sinusoidal absolute positions.

use std::sync::OnceLock;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme};
use crate::init::Initializer;

/// PE[pos, 2i] = sin(pos / 10000^(2i/`d_model`)), PE[pos, 2i+1] = cos of the same angle.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
pub struct Sinusoidal;

/// The table of a model, computed at first use and kept.
#[derive(Module, Debug)]
pub struct SinusoidalTable {
    #[module(skip)]
    shape: [usize; 2],
    #[module(skip)]
    rows: OnceLock<Tensor<2>>,
}

impl Scheme for SinusoidalTable {
    fn table(&self, device: &Device) -> Option<Tensor<2>> {
        let [seq_len, d_model] = self.shape;
        let rows = || Tensor::from_data(TensorData::new(values(seq_len, d_model), self.shape), device);
        Some(self.rows.get_or_init(rows).clone())
    }
}

impl PositionSpec for Sinusoidal {
    fn build(&self, sizes: &PositionSizes, _init: &mut Initializer<'_>) -> Position {
        Position::Sinusoidal(SinusoidalTable { shape: [sizes.seq_len, sizes.d_model], rows: OnceLock::new() })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Table]
    }

    fn fixed_table(&self, rows: usize, d_model: usize) -> Option<Vec<f32>> {
        Some(values(rows, d_model))
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::Sinusoidal]
    }
}

/// Values of the table, row-major. `[seq_len, d_model]`
fn values(seq_len: usize, d_model: usize) -> Vec<f32> {
    let angle = |position: usize, channel: usize| {
        let exponent = (channel - channel % 2) as f64 / d_model as f64;
        position as f64 / 10_000_f64.powf(exponent)
    };
    let entry = |position, channel| {
        let angle = angle(position, channel);
        (if channel % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
    };
    (0..seq_len).flat_map(|p| (0..d_model).map(move |c| entry(p, c))).collect()
}

//! Sinusoidal absolute positions.

use super::{Scheme, Table};

/// PE[pos, 2i] = sin(pos / 10000^(2i/`d_model`)), PE[pos, 2i+1] = cos of the same angle.
///
/// # References
/// Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
pub struct Sinusoidal;

impl Scheme for Sinusoidal {
    fn table(&self) -> Table {
        Table::Fixed(values)
    }
}

/// Row-major. `[seq_len, d_model]`
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

//! The model with set keys as plain matrices.

use headway_plain::{
    Readout,
    function::{Exit, Function},
    network::{InputMap, Linear, Matrix, Network},
};

use super::{PaperSetKeysConfig, network::channels};
use crate::{
    config::IoDims,
    plain::{NoPlainForm, Parameters},
};

impl PaperSetKeysConfig {
    /// The set keys and values are two columns of a map that puts them beside the tokens.
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        let Self { d_model, low, high, inverse_temperature, shift, .. } = *self;
        let mut layer = parameters.attention("attention", 1)?;
        let rows = parameters.array("input_map.modulation")?.shape[0] + parameters.array("input_map.anchors")?.shape[0];
        let point = |k: usize| low + (high - low) / (rows.max(2) - 1) as f64 * k as f64;
        let constant = Matrix::from_fn(rows, d_model + 2, |k, column| match column.checked_sub(d_model) {
            None => 0.0,
            Some(0) => k as f64 * (point(k) + low - 2.0 * shift),
            Some(_) => point(k),
        });
        for head in &mut layer.heads {
            for map in [&mut head.query, &mut head.key, &mut head.value] {
                map.weight.resize_vertically_mut(d_model + 2, 0.0);
            }
            for (map, column, from) in [(&mut head.key, d_model - 1, d_model), (&mut head.value, 0, d_model + 1)] {
                map.weight.column_mut(column).fill(0.0);
                map.weight[(from, column)] = 1.0;
                map.bias[column] = 0.0;
            }
            head.scale *= inverse_temperature;
        }
        let linear = Linear::TokenWise(Matrix::identity(d_model, d_model + 2));
        layer.map = Some(InputMap { linear, constant, queries: rows, keys: rows });
        Ok(Network { layers: vec![layer], causal: false })
    }

    pub(super) fn whole(&self, parameters: &Parameters, dims: &IoDims) -> Result<Function, NoPlainForm> {
        let mut network = self.plain_network(parameters)?;
        // What is set, as the network has it in single precision.
        for map in network.layers.iter_mut().filter_map(|layer| layer.map.as_mut()) {
            let set = channels([self.low, self.high], self.shift as f32, map.keys);
            for (column, values) in set.into_iter().enumerate() {
                let values = values.into_iter().map(f64::from);
                map.constant.column_mut(self.d_model + column).iter_mut().zip(values).for_each(|(to, from)| *to = from);
            }
        }
        Ok(Function {
            seq_len: dims.seq_len,
            d_in: dims.vector_width(),
            d_out: dims.d_out,
            enter: Some(parameters.input_map("input_map")?),
            network,
            exit: Exit::Stack(Readout::Rows),
        })
    }
}

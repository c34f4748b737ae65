//! The one-layer model as plain matrices.

use headway_plain::{
    Readout as PlainReadout,
    function::{Exit, Function},
    network::Network,
};

use super::{PaperOneLayerConfig, Readout};
use crate::{
    config::IoDims,
    plain::{NoPlainForm, Parameters, is_softmax},
};

impl PaperOneLayerConfig {
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        Ok(Network { layers: vec![parameters.attention("attention", self.n_heads)?], causal: false })
    }

    pub(super) fn whole(&self, parameters: &Parameters, dims: &IoDims) -> Result<Function, NoPlainForm> {
        Ok(Function {
            seq_len: dims.seq_len,
            d_in: dims.vector_width(),
            d_out: dims.d_out,
            enter: Some(parameters.input_map("input_map")?),
            network: self.plain_network(parameters)?,
            exit: match self.readout {
                Readout::Channels => Exit::Stack(PlainReadout::Rows),
                Readout::Softmax => Exit::SoftmaxOfChannels,
            },
        })
    }
}

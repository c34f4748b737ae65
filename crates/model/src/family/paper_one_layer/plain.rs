//! The one-layer model as plain matrices.

use headway_plain::network::Network;

use super::PaperOneLayerConfig;
use crate::plain::{NoPlainForm, Parameters, is_softmax};

impl PaperOneLayerConfig {
    pub(super) fn plain_network(&self, parameters: &Parameters) -> Result<Network, NoPlainForm> {
        is_softmax(&self.kernel)?;
        Ok(Network { layers: vec![parameters.attention("attention", self.n_heads)?], causal: false })
    }
}

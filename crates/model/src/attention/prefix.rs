//! Learned keys and values of a layer, for prefix tuning.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::split_heads;

/// Learned keys P_k and values P_v before those of the sequence, visible to every query whatever the mask.
///
/// With m_i = Σ_p `pattern_(i,p)` the weight on the prefix, attention gives Σ_p `pattern_(i,p)` P_v,p + (1 − m_i) times
/// its output without the prefix: the ratios of the pattern among the sequence's own keys do not change.
///
/// # References
/// Li, Liang 2021, arXiv 2101.00190; the identity after Petrov, Torr, Bibi 2023, arXiv 2310.19698. Rows are drawn from
/// N(0, 0.02²) and trained directly, without the feed-forward network of the source.
#[derive(Module, Debug)]
pub struct Prefix {
    /// P_k. `[length, n_heads · d_key]`
    pub keys: Param<Tensor<2>>,
    /// P_v. `[length, n_heads · d_value]`
    pub values: Param<Tensor<2>>,
}

impl Prefix {
    /// Adds the prefix before keys and values.
    ///
    /// # Shapes
    /// k `[batch, n_heads, k_len, d_key]`, v `[batch, n_heads, k_len, d_value]` -> the same with `length + k_len` rows
    pub fn before(&self, k: Tensor<4>, v: Tensor<4>) -> [Tensor<4>; 2] {
        [(&self.keys, k), (&self.values, v)].map(|(rows, after)| {
            let [batch, n_heads, ..] = after.dims();
            let rows = rows.val();
            let [length, width] = rows.dims();
            let rows = split_heads(rows.unsqueeze::<3>().expand([batch, length, width]), n_heads);
            Tensor::cat(vec![rows, after], 2)
        })
    }
}

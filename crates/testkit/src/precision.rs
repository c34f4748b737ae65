//! What a named precision allows: the one table of units that tolerances are made of.

use headway_model::Precision;

/// Distance of 1 from the nearest number of fewer bits above it, halved: the largest relative error of rounding to nearest.
///
/// | precision | unit | why |
/// |---|---|---|
/// | f32 | 2⁻²⁴ | 24 bits, rounded to nearest by every device; Vulkan allows no other for f32 |
/// | tf32 | 2⁻¹⁰ | 11 bits, and NVIDIA's matrix units may cut the rest off instead of rounding it: twice 2⁻¹¹ |
/// | f16 | 2⁻¹⁰ | 11 bits; a conversion on Vulkan may round towards zero: twice 2⁻¹¹ |
/// | bf16 | 2⁻⁷ | 8 bits; likewise twice 2⁻⁸ |
pub fn unit(precision: Precision) -> f64 {
    let may_cut_off = precision != Precision::F32;
    2_f64.powi(i32::from(may_cut_off) - precision.bits().cast_signed())
}

/// How far a sum of `terms` products in f32 may be from the exact one, in units of the sum of the products' magnitudes: one rounding for
/// each product, and one for each addition, in any order.
///
/// Higham 2002, Accuracy and Stability of Numerical Algorithms, equation 3.5.
pub fn of_sum(terms: usize) -> f64 {
    let steps = (terms + 1) as f64 * unit(Precision::F32);
    steps / (1.0 - steps)
}

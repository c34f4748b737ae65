//! Features of rows, and gradients of rows from those of their features.

use std::f32::consts::LOG2_E;

use burn_flex::FlexTensor;
use pulp::Simd;

use super::FeatureMap;
use crate::{
    flex,
    vector::{Rows, Strided, exp2, product},
};

/// Rows of a chunk, whose features are made together.
pub(super) const CHUNK: usize = 64;

/// A map with its directions in the forms that the products read.
pub(super) struct Features {
    map: FeatureMap,
    /// Width of a row.
    d: usize,
    /// Number of rows of W.
    directions: usize,
    /// x' = scale · x
    scale: f32,
    /// Wᵀ, its entries times those factors that make products with x the arguments. `[d, padded directions]`
    columns: Vec<f32>,
    /// scale · W `[directions, padded d]`
    rows: Vec<f32>,
    /// Distance of two rows of `columns`.
    columns_stride: usize,
    /// Distance of two rows of `rows`.
    rows_stride: usize,
    /// Number of features.
    pub(super) width: usize,
    /// Distance of two rows of features: whole vectors, zero behind the last feature.
    pub(super) stride: usize,
}

impl Features {
    /// For rows of width `d`, with vectors of so many lanes.
    pub(super) fn new(map: FeatureMap, directions: Option<&FlexTensor>, d: usize, lanes: usize) -> Self {
        let w = directions.map(flex::flat).unwrap_or_default();
        let count = w.len() / d.max(1);
        let (scale, factor) = match map {
            FeatureMap::Elu => (1.0, 1.0),
            FeatureMap::Exponential { .. } => ((d as f32).powf(-0.25), LOG2_E),
            FeatureMap::Relu { .. } | FeatureMap::Trigonometric => ((d as f32).powf(-0.25), 1.0),
        };
        let (columns_stride, rows_stride) = (count.next_multiple_of(lanes), d.next_multiple_of(lanes));
        let (mut columns, mut rows) = (vec![0.0; d * columns_stride], vec![0.0; count * rows_stride]);
        for (f, direction) in w.chunks_exact(d.max(1)).enumerate() {
            for (c, entry) in direction.iter().enumerate() {
                columns[c * columns_stride + f] = entry * scale * factor;
                rows[f * rows_stride + c] = entry * scale;
            }
        }
        let width = match map {
            FeatureMap::Elu => d,
            FeatureMap::Exponential { .. } | FeatureMap::Relu { .. } => count,
            FeatureMap::Trigonometric => 2 * count,
        };
        let stride = width.next_multiple_of(lanes);
        Self { map, d, directions: count, scale, columns, rows, columns_stride, rows_stride, width, stride }
    }

    /// Whether features are relative to a level of their row.
    pub(super) fn has_levels(&self) -> bool {
        matches!(self.map, FeatureMap::Exponential { .. } | FeatureMap::Trigonometric)
    }

    /// Features of `rows` rows, each divided by 2^level.
    ///
    /// # Shapes
    /// x `[rows, d]` -> phi `[rows, stride]`, levels `[rows]`
    #[inline(always)]
    pub(super) fn of<S: Simd>(&self, simd: S, rows: usize, x: &[f32], phi: &mut [f32], levels: &mut [f32]) {
        let Self { d, directions, stride, .. } = *self;
        levels[..rows].fill(0.0);
        let half_square = |x: &[f32]| 0.5 * self.scale * self.scale * x.iter().map(|x| x * x).sum::<f32>();
        match self.map {
            FeatureMap::Elu => {
                for (phi, x) in phi.chunks_exact_mut(stride).zip(x.chunks_exact(d)).take(rows) {
                    phi[..d].copy_from_slice(x);
                    let (vectors, _) = S::as_mut_simd_f32s(&mut *phi);
                    for vector in vectors {
                        let positive = simd.max_f32s(*vector, simd.splat_f32s(0.0));
                        let negative = simd.min_f32s(*vector, simd.splat_f32s(0.0));
                        let [power] = exp2(simd, [simd.mul_f32s(negative, simd.splat_f32s(LOG2_E))]);
                        // x − x is zero unless x is no number, which neither maximum nor minimum need keep.
                        let nothing = simd.sub_f32s(*vector, *vector);
                        *vector = simd.add_f32s(simd.add_f32s(power, positive), nothing);
                    }
                    phi[d..].fill(0.0);
                }
            }
            FeatureMap::Exponential { epsilon } => {
                self.arguments(simd, rows, x, phi, stride);
                for ((phi, x), level) in phi.chunks_exact_mut(stride).zip(x.chunks_exact(d)).zip(levels).take(rows) {
                    phi[directions..].fill(f32::NEG_INFINITY);
                    let (vectors, _) = S::as_mut_simd_f32s(&mut *phi);
                    let mut top = simd.splat_f32s(f32::NEG_INFINITY);
                    for vector in &*vectors {
                        top = simd.max_f32s(top, *vector);
                    }
                    let top = simd.reduce_max_f32s(top);
                    let (largest, least) = (simd.splat_f32s(top), simd.splat_f32s(epsilon));
                    let (quads, rest) = vectors.as_chunks_mut::<4>();
                    for quad in quads {
                        for vector in &mut *quad {
                            *vector = simd.sub_f32s(*vector, largest);
                        }
                        *quad = exp2(simd, *quad);
                        for vector in quad {
                            *vector = simd.add_f32s(*vector, least);
                        }
                    }
                    for vector in rest {
                        let [power] = exp2(simd, [simd.sub_f32s(*vector, largest)]);
                        *vector = simd.add_f32s(power, least);
                    }
                    phi[directions..].fill(0.0);
                    *level = top - LOG2_E * half_square(x);
                }
            }
            FeatureMap::Relu { epsilon } => {
                self.arguments(simd, rows, x, phi, stride);
                for phi in phi.chunks_exact_mut(stride).take(rows) {
                    for phi in &mut phi[..directions] {
                        // Unlike `max`, this keeps what is not a number.
                        *phi = if *phi < 0.0 { epsilon } else { *phi + epsilon };
                    }
                }
            }
            FeatureMap::Trigonometric => {
                let mut arguments = vec![0.0; rows * self.columns_stride];
                self.arguments(simd, rows, x, &mut arguments, self.columns_stride);
                let of_rows = arguments.chunks_exact(self.columns_stride).zip(x.chunks_exact(d));
                for ((phi, (arguments, x)), level) in phi.chunks_exact_mut(stride).zip(of_rows).zip(levels) {
                    for (f, argument) in arguments[..directions].iter().enumerate() {
                        (phi[directions + f], phi[f]) = argument.sin_cos();
                    }
                    phi[2 * directions..].fill(0.0);
                    *level = LOG2_E * half_square(x);
                }
            }
        }
    }

    /// Products of rows with directions. x `[rows, d]` -> `[rows, stride]`
    #[inline(always)]
    fn arguments<S: Simd>(&self, simd: S, rows: usize, x: &[f32], to: &mut [f32], stride: usize) {
        let x = Strided { entries: x, row: self.d, column: 1 };
        let columns = Rows { entries: &self.columns, stride: self.columns_stride };
        product::<S, false>(simd, [rows, self.d, self.columns_stride], x, columns, to, stride);
    }

    /// Gradients of rows from those of their features, which are overwritten.
    ///
    /// # Shapes
    /// x `[rows, d]`, phi and `d_phi` `[rows, stride]` -> `[rows, padded d]`, at the distance that is returned
    #[inline(always)]
    pub(super) fn backward<S: Simd>(
        &self,
        simd: S,
        rows: usize,
        x: &[f32],
        phi: &[f32],
        d_phi: &mut [f32],
        d_x: &mut Vec<f32>,
    ) -> usize {
        let Self { d, directions, stride, rows_stride, .. } = *self;
        d_x.resize(rows * rows_stride, 0.0);
        if self.map == FeatureMap::Elu {
            for r in 0..rows {
                let (x, phi, d_phi) = (&x[r * d..][..d], &phi[r * stride..][..d], &d_phi[r * stride..][..d]);
                for (c, d_x) in d_x[r * rows_stride..][..d].iter_mut().enumerate() {
                    *d_x = d_phi[c] * if x[c] > 0.0 { 1.0 } else { phi[c] };
                }
            }
            return rows_stride;
        }
        // Gradients of the arguments, and what a row is multiplied by.
        let mut shares = [0.0; CHUNK];
        for (r, share) in shares.iter_mut().enumerate().take(rows) {
            let (phi, d_phi) = (&phi[r * stride..][..stride], &mut d_phi[r * stride..][..stride]);
            match self.map {
                FeatureMap::Elu => {}
                FeatureMap::Exponential { epsilon } => {
                    let (phi, _) = S::as_simd_f32s(phi);
                    let (d_phi, _) = S::as_mut_simd_f32s(d_phi);
                    let (least, mut sum) = (simd.splat_f32s(epsilon), simd.splat_f32s(0.0));
                    for (d_phi, phi) in d_phi.iter_mut().zip(phi) {
                        *d_phi = simd.mul_f32s(*d_phi, simd.sub_f32s(*phi, least));
                        sum = simd.add_f32s(sum, *d_phi);
                    }
                    // The padding of a row is zero in φ and in its gradient.
                    *share = -simd.reduce_sum_f32s(sum);
                }
                FeatureMap::Relu { epsilon } => {
                    for (d_phi, phi) in d_phi.iter_mut().zip(phi) {
                        *d_phi = if *phi > epsilon { *d_phi } else { 0.0 };
                    }
                }
                FeatureMap::Trigonometric => {
                    *share = phi.iter().zip(&*d_phi).map(|(phi, d)| phi * d).sum();
                    for f in 0..directions {
                        d_phi[f] = phi[f] * d_phi[directions + f] - phi[directions + f] * d_phi[f];
                    }
                }
            }
        }
        let d_arguments = Strided { entries: d_phi, row: stride, column: 1 };
        let w = Rows { entries: &self.rows, stride: rows_stride };
        product::<S, false>(simd, [rows, directions, rows_stride], d_arguments, w, d_x, rows_stride);
        for (r, share) in shares.iter().enumerate().take(rows) {
            let share = share * self.scale * self.scale;
            for (d_x, x) in d_x[r * rows_stride..].iter_mut().zip(&x[r * d..][..d]) {
                *d_x += share * x;
            }
        }
        rows_stride
    }
}

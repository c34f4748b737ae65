//! Hidden pixels as affine functions of visible ones.

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::{Baseline, mean_picture::mean};
use crate::{
    batch::Batch,
    picture::{Patches, Pictures},
};

/// y = mean_y + Wᵀ (x − mean_x), x the visible and y the hidden pixels, with W minimising Σ |Wᵀ (x − mean_x) − (y −
/// mean_y)|² + λ |W|² over all n training pictures, λ = n / 250. Each of a few masks has a W of its own.
pub struct RidgePicture {
    patches: Patches,
    pictures: Arc<Pictures>,
    masks: Vec<Vec<bool>>,
    mean: Vec<f64>,
    fits: Vec<Fit>,
}

struct Fit {
    /// Which numbers of a picture are visible, and which are hidden.
    parts: [Vec<usize>; 2],
    /// `[visible, hidden]`
    weights: DMatrix<f64>,
}

/// λ for each training picture: of 1/8000, 1/800, 1/250 and 1/80, the best on the validation pictures of Fashion-MNIST.
const PENALTY: f64 = 1.0 / 250.0;
/// Number of pictures that are held in f64 at a time.
const CHUNK: usize = 512;

impl RidgePicture {
    /// Pictures of more numbers than this would need a matrix of more than 32 MB.
    pub(crate) const MOST_NUMBERS: usize = 2048;

    pub(crate) fn new(patches: Patches, pictures: Arc<Pictures>, masks: Vec<Vec<bool>>) -> Self {
        Self { patches, pictures, masks, mean: Vec::new(), fits: Vec::new() }
    }

    /// Σ (z − mean) (z − mean)ᵀ over all pictures z.
    fn scatter(&self) -> DMatrix<f64> {
        let size = self.patches.picture_size();
        let mut sum = DMatrix::zeros(size, size);
        for chunk in self.pictures.pixels.chunks(CHUNK * size) {
            let z = DMatrix::from_fn(size, chunk.len() / size, |number, picture| {
                f64::from(chunk[picture * size + number]) / 255.0 - self.mean[number]
            });
            sum.gemm(1.0, &z, &z.transpose(), 1.0);
        }
        sum
    }

    fn parts(&self, hidden: &[bool]) -> [Vec<usize>; 2] {
        let channels = self.patches.channels;
        [false, true].map(|of| (0..hidden.len() * channels).filter(|number| hidden[number / channels] == of).collect())
    }
}

impl Baseline for RidgePicture {
    fn name(&self) -> &'static str {
        "ridge"
    }

    /// Fits all training pictures, of which the examples are some.
    fn fit(&mut self, _: &Batch) {
        self.mean = mean(&self.pictures);
        let scatter = self.scatter();
        let block = |rows: &[usize], columns: &[usize]| {
            DMatrix::from_fn(rows.len(), columns.len(), |row, column| scatter[(rows[row], columns[column])])
        };
        let fit = |hidden: &Vec<bool>| {
            let parts = self.parts(hidden);
            let [visible, unknown] = &parts;
            let mut among = block(visible, visible);
            let penalty = PENALTY * self.pictures.len() as f64;
            (0..visible.len()).for_each(|number| among[(number, number)] += penalty);
            let between = block(visible, unknown);
            // With a penalty the matrix has no eigenvalue near zero.
            let weights =
                among.cholesky().map_or_else(|| DMatrix::zeros(visible.len(), unknown.len()), |c| c.solve(&between));
            Fit { parts, weights }
        };
        self.fits = self.masks.iter().map(fit).collect();
    }

    fn predict(&self, batch: &Batch) -> Vec<f32> {
        let complete = |inputs: &[f32]| {
            let (shown, hidden) = self.patches.shown(inputs);
            let mut picture: Vec<f32> = shown;
            let parts = self.masks.iter().position(|mask| *mask == hidden).and_then(|at| self.fits.get(at));
            if let Some(Fit { parts: [visible, unknown], weights }) = parts {
                let off = |number: &usize| f64::from(picture[*number]) - self.mean[*number];
                let x = DVector::from_iterator(visible.len(), visible.iter().map(off));
                let y = weights.tr_mul(&x);
                for (number, y) in unknown.iter().zip(&y) {
                    picture[*number] = (self.mean[*number] + y) as f32;
                }
            }
            self.patches.cut(&picture)
        };
        let size = self.patches.count() * self.patches.d_in();
        batch.inputs.continuous().chunks_exact(size).flat_map(complete).collect()
    }
}

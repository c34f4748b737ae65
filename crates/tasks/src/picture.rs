//! Pictures as sequences of patches.

/// How pictures are cut into square patches that do not overlap, row by row, each one position of a sequence. Within a
/// patch, pixels go row by row, and the channels of a pixel stand together.
///
/// A position sees its own patch alone: changing a pixel changes one row of the inputs. Of a partly hidden picture it
/// is
///
/// ```text
/// [pixels, 0 where hidden | 1 where a pixel is visible, else 0 | share of visible pixels]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patches {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Numbers of a pixel: 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Edge of a patch in pixels; divides height and width.
    pub edge: usize,
}

impl Patches {
    /// Number of patches.
    pub fn count(&self) -> usize {
        (self.height / self.edge).saturating_mul(self.width / self.edge)
    }

    /// Numbers of a patch.
    pub fn size(&self) -> usize {
        self.edge.saturating_mul(self.edge).saturating_mul(self.channels)
    }

    /// Numbers of a picture.
    pub fn picture_size(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }

    /// Width of a position's input.
    pub fn d_in(&self) -> usize {
        self.size().saturating_add(self.edge.saturating_mul(self.edge)).saturating_add(1)
    }

    /// The pixels of a patch, as indices into a picture without channels.
    fn pixels(&self, patch: usize) -> impl Iterator<Item = usize> + use<> {
        let Self { width, edge, .. } = *self;
        let (top, left) = (patch / (width / edge) * edge, patch % (width / edge) * edge);
        (0..edge * edge).map(move |at| (top + at / edge) * width + left + at % edge)
    }

    /// A picture cut into patches.
    ///
    /// # Shapes
    /// `[height, width, channels]` -> `[patches, numbers of a patch]`
    pub fn cut(&self, picture: &[f32]) -> Vec<f32> {
        let pixels = (0..self.count()).flat_map(|patch| self.pixels(patch));
        pixels.flat_map(|pixel| &picture[pixel * self.channels..][..self.channels]).copied().collect()
    }

    /// The picture that patches make up; the inverse of [`Self::cut`].
    ///
    /// # Shapes
    /// `[patches, numbers of a patch]` -> `[height, width, channels]`
    pub fn join(&self, patches: &[f32]) -> Vec<f32> {
        let mut picture = vec![0.0; self.picture_size()];
        let pixels = (0..self.count()).flat_map(|patch| self.pixels(patch));
        for (pixel, numbers) in pixels.zip(patches.chunks_exact(self.channels)) {
            picture[pixel * self.channels..][..self.channels].copy_from_slice(numbers);
        }
        picture
    }

    /// The inputs of a picture of which some pixels are hidden.
    ///
    /// # Shapes
    /// picture `[height, width, channels]`, hidden `[height, width]` -> `[patches, d_in]`
    pub fn inputs(&self, picture: &[f32], hidden: &[bool]) -> Vec<f32> {
        let mut inputs = Vec::with_capacity(self.count() * self.d_in());
        for patch in 0..self.count() {
            for pixel in self.pixels(patch) {
                let numbers = &picture[pixel * self.channels..][..self.channels];
                inputs.extend(numbers.iter().map(|number| if hidden[pixel] { 0.0 } else { *number }));
            }
            let begin = inputs.len();
            inputs.extend(self.pixels(patch).map(|pixel| f32::from(u8::from(!hidden[pixel]))));
            let visible: f32 = inputs[begin..].iter().sum();
            inputs.push(visible / (self.edge * self.edge) as f32);
        }
        inputs
    }

    /// What is to be predicted: the hidden pixels. A patch that is partly hidden has NaN, no target, at its visible
    /// pixels; of one that is wholly visible nothing is asked, and its row is zero.
    ///
    /// # Shapes
    /// picture `[height, width, channels]`, hidden `[height, width]` -> targets `[patches, numbers of a patch]`, and
    /// which patches are asked for
    pub fn targets(&self, picture: &[f32], hidden: &[bool]) -> (Vec<f32>, Vec<bool>) {
        let mut targets = self.cut(picture);
        let is_asked = |patch| self.pixels(patch).any(|pixel| hidden[pixel]);
        let asked: Vec<bool> = (0..self.count()).map(is_asked).collect();
        for (patch, row) in targets.chunks_exact_mut(self.size()).enumerate() {
            for (pixel, numbers) in self.pixels(patch).zip(row.chunks_exact_mut(self.channels)) {
                if !hidden[pixel] {
                    numbers.fill(if asked[patch] { f32::NAN } else { 0.0 });
                }
            }
        }
        (targets, asked)
    }

    /// The picture that a network is shown, black where it is hidden, and where that is; the inverse of
    /// [`Self::inputs`].
    ///
    /// # Shapes
    /// `[patches, d_in]` -> `[height, width, channels]` and hidden `[height, width]`
    pub fn shown(&self, inputs: &[f32]) -> (Vec<f32>, Vec<bool>) {
        let (mut seen, mut hidden) = (Vec::new(), vec![false; self.height * self.width]);
        for (patch, input) in inputs.chunks_exact(self.d_in()).enumerate() {
            seen.extend_from_slice(&input[..self.size()]);
            let flags = &input[self.size()..];
            self.pixels(patch).zip(flags).for_each(|(pixel, visible)| hidden[pixel] = *visible == 0.0);
        }
        (self.join(&seen), hidden)
    }
}

/// Pictures of one size, as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pictures {
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// `[n, height, width, channels]`
    pub pixels: Vec<u8>,
}

impl Pictures {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.iter().product::<usize>().max(1)
    }

    /// Each as its bytes, `[height, width, channels]`.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.shape.iter().product::<usize>().max(1))
    }

    /// One, from 0 for black to 1.
    pub fn numbers(&self, index: usize) -> Vec<f32> {
        let size: usize = self.shape.iter().product();
        self.pixels[index * size..][..size].iter().map(|byte| f32::from(*byte) / 255.0).collect()
    }

    /// Those with these indices, in this order.
    pub fn chosen(&self, indices: &[usize]) -> Self {
        let size: usize = self.shape.iter().product();
        let pixels = indices.iter().flat_map(|index| &self.pixels[index * size..][..size]).copied().collect();
        Self { shape: self.shape, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels 0 … 23 of a picture of two rows and four columns in three channels.
    const PATCHES: Patches = Patches { height: 2, width: 4, channels: 3, edge: 2 };

    #[test]
    fn patches_by_hand_and_back() {
        let picture: Vec<f32> = (0..24).map(|at| at as f32).collect();
        let patches = PATCHES.cut(&picture);
        let first = [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17].map(|at| at as f32);
        assert_eq!((&patches[..12], &patches[12..15]), (&first[..], &[6.0, 7.0, 8.0][..]));
        assert_eq!(PATCHES.join(&patches), picture);
    }

    #[test]
    fn a_hidden_pixel_is_zero_and_a_flag_and_the_only_target_of_its_patch() {
        let picture: Vec<f32> = (1..=24).map(|at| at as f32).collect();
        let mut hidden = [false; 8];
        hidden[1] = true;
        let inputs = PATCHES.inputs(&picture, &hidden);
        let first = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 1.0, 0.0, 1.0, 1.0, 0.75];
        assert_eq!(inputs[..17], first);
        assert_eq!(inputs[17 + 12..], [1.0; 5]);
        let (targets, asked) = PATCHES.targets(&picture, &hidden);
        let finite: Vec<usize> = (0..12).filter(|at| targets[*at].is_finite()).collect();
        assert_eq!((finite, &targets[3..6], asked), (vec![3, 4, 5], &[4.0, 5.0, 6.0][..], vec![true, false]));
        assert_eq!(targets[12..], [0.0; 12]);
        let (shown, where_hidden) = PATCHES.shown(&inputs);
        let mut black = picture;
        black[3..6].fill(0.0);
        assert_eq!((shown, where_hidden), (black, hidden.to_vec()));
    }
}

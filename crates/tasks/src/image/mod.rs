//! Completing pictures: predicting the pixels that are hidden from those that are not.

mod mask;
mod read;

use std::{path::PathBuf, sync::Arc};

use headway_keys::Described;
use rand::{RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, mean_picture::MeanPicture, nearest_picture::NearestPicture, ridge_picture::RidgePicture},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    found::{Found, Held, Read, by_hand},
    measure::{Measure, Wanted},
    picture::{Patches, Pictures},
    scale::Scale,
    seed::{SampleRng, Seed, Stream},
    task::{Split, Task, TaskSpec},
};
use mask::Holes;
pub use mask::Mask;

/// Pictures, and what is hidden of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Pictures to train on, an IDX file of bytes, which may be packed as `.gz`; relative to the file that names it.
    pub train: PathBuf,
    /// Pictures for the test. Default: the last ones of `train`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// How many pictures of `train` are for validation: the last ones before those for the test. Default: a tenth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_pictures: Option<usize>,
    /// How many pictures are for the test: the first ones of `test`, by default all, or the last ones of `train`, by
    /// default a tenth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_pictures: Option<usize>,
    /// Whether the pictures of `train` are divided in a random order, the same for every seed. Default false.
    pub shuffle: bool,
    /// Edge of a patch in pixels, each patch a position; divides the height and the width. Default 4.
    pub patch: usize,
    /// What is hidden: `centre`, `boxes` or `halves`. Default `centre`.
    pub mask: Mask,
    /// Edge in pixels of the square in the centre, or the largest edge of a box, whose edges are at least half of it.
    /// Default: half of the shorter edge of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hole: Option<usize>,
    /// Number of boxes. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<usize>,
    /// What was found in the files when they were first read; not to be set by hand.
    #[described(found)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundPictures>,
    /// The files, once they have been read.
    #[serde(skip)]
    held: Held<Vec<Pictures>>,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            train: PathBuf::new(),
            test: None,
            validation_pictures: None,
            test_pictures: None,
            shuffle: false,
            patch: 4,
            mask: Mask::default(),
            hole: None,
            boxes: None,
            found: None,
            held: Held::default(),
        }
    }
}

/// Content of the files: what a model and a record of it need to know. A network can be used without them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundPictures {
    /// Sha256 of each file as unpacked, training pictures first, joined by `+`.
    pub sha256: String,
    /// Height, width and channels of a picture.
    pub shape: [usize; 3],
    /// Number of pictures of each file.
    pub pictures: Vec<usize>,
}

impl FoundPictures {
    fn of(files: &[Pictures], sha256: String) -> Self {
        let shape = files.first().map(|pictures| pictures.shape).unwrap_or_default();
        Self { sha256, shape, pictures: files.iter().map(Pictures::len).collect() }
    }
}

impl Found for FoundPictures {
    fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// One of so many pictures of a file is for validation, and one for the test.
const TENTH: usize = 10;
/// No picture has a longer side.
const LONGEST: usize = 1 << 16;
/// More boxes than this are a typing error.
const MOST_BOXES: usize = 1000;

impl ImageConfig {
    fn patches(&self, [height, width, channels]: [usize; 3]) -> Patches {
        Patches { height, width, channels, edge: self.patch }
    }

    fn holes(&self, [height, width, _]: [usize; 3]) -> Holes {
        let edge = self.hole.unwrap_or(height.min(width) / 2);
        Holes { mask: self.mask, height, width, edge, boxes: self.boxes.unwrap_or(2) }
    }

    /// Numbers of pictures for training, validation and test; the first is `None` if too many are held out.
    fn sizes(&self, found: &FoundPictures) -> (Option<usize>, [usize; 2]) {
        let n = found.pictures.first().copied().unwrap_or_default();
        let validation = self.validation_pictures.unwrap_or((n / TENTH).max(1));
        let (test, of_train) = if let Some(all) = found.pictures.get(1) {
            (self.test_pictures.unwrap_or(*all), 0)
        } else {
            let test = self.test_pictures.unwrap_or((n / TENTH).max(1));
            (test, test)
        };
        let train = n.checked_sub(validation).and_then(|left| left.checked_sub(of_train));
        (train.filter(|left| *left > 0), [validation, test])
    }

    fn unread(&self) -> Option<TaskError> {
        let problem = if self.train.as_os_str().is_empty() {
            "names no file of pictures; give train = \"pictures-idx3-ubyte\", or a .gz of it"
        } else {
            "was not read"
        };
        self.found.is_none().then(|| TaskError::Key { key: "train", problem: problem.to_owned() })
    }

    fn bad_split(&self) -> Option<TaskError> {
        let found = self.found.as_ref()?;
        let (train, [validation, test]) = self.sizes(found);
        let n = found.pictures.first().copied().unwrap_or_default();
        if let Some(all) = found.pictures.get(1)
            && test > *all
        {
            let problem = format!("{test} pictures, and the file test holds {all}");
            return Some(TaskError::Key { key: "test_pictures", problem });
        }
        let held = if found.pictures.len() > 1 { validation } else { validation.saturating_add(test) };
        let problem = || {
            format!("{held} of the {n} pictures of train are held out, and none is left to train on; hold out fewer")
        };
        let key = if self.validation_pictures.is_some() { "validation_pictures" } else { "test_pictures" };
        train.is_none().then(|| TaskError::Key { key, problem: problem() })
    }

    fn bad_patch(&self) -> Option<TaskError> {
        let [height, width, _] = self.found.as_ref()?.shape;
        let divides = self.patch > 0 && height.is_multiple_of(self.patch) && width.is_multiple_of(self.patch);
        let fits = || {
            let fits =
                (1..=height.min(width)).filter(|edge| height.is_multiple_of(*edge) && width.is_multiple_of(*edge));
            fits.map(|edge| edge.to_string()).collect::<Vec<_>>().join(", ")
        };
        let problem = || format!("{} does not divide pictures of {height} × {width}; these do: {}", self.patch, fits());
        (!divides).then(|| TaskError::Key { key: "patch", problem: problem() })
    }

    fn bad_mask(&self) -> Option<TaskError> {
        let wrong = |key, problem: String| Some(TaskError::Key { key, problem });
        if self.mask == Mask::Halves && self.hole.is_some() {
            return wrong("hole", "halves have no size of their own; leave hole out".to_owned());
        }
        if self.mask != Mask::Boxes && self.boxes.is_some() {
            return wrong(
                "boxes",
                "are drawn by mask = \"boxes\" alone; leave boxes out, or choose that mask".to_owned(),
            );
        }
        if let Some(boxes) = self.boxes
            && !(1..=MOST_BOXES).contains(&boxes)
        {
            return wrong("boxes", format!("{boxes} must be from 1 to {MOST_BOXES}"));
        }
        let [height, width, _] = self.found.as_ref()?.shape;
        let shorter = height.min(width);
        if shorter < 2 {
            return wrong(
                "train",
                format!("pictures of {height} × {width} have nothing to hide beside something to see"),
            );
        }
        let hole = self.hole?;
        if hole == 0 || hole >= shorter {
            return wrong(
                "hole",
                format!("{hole} must be from 1 to {}: something of a picture stays visible", shorter - 1),
            );
        }
        None
    }

    fn bad_found(&self) -> Option<TaskError> {
        let found = self.found.as_ref()?;
        let [.., channels] = found.shape;
        let counts = if self.test.is_some() { 2 } else { 1 };
        let is_sound = found.shape.iter().all(|size| (1..=LONGEST).contains(size))
            && [1, 3].contains(&channels)
            && found.pictures.len() == counts
            && !found.pictures.contains(&0);
        (!is_sound).then(|| by_hand("found"))
    }
}

impl TaskSpec for ImageConfig {
    fn dims(&self) -> TaskDims {
        // Before the files are read nothing is known about them, so the smallest sizes are used.
        let shape = self.found.as_ref().map(|found| found.shape);
        let patches = shape.filter(|_| self.patch > 0).map(|shape| self.patches(shape));
        let [seq_len, d_in, d_out] =
            patches.map_or([1; 3], |patches| [patches.count(), patches.d_in(), patches.size()]);
        TaskDims { seq_len, input: TaskInput::Continuous { d_in }, d_out }
    }

    fn validate(&self) -> Vec<TaskError> {
        let test = self.test_pictures.and_then(|n| TaskError::below("test_pictures", n, 1));
        if let Some(problem) = self.unread().or_else(|| self.bad_found()) {
            let small = TaskError::below("patch", self.patch, 1);
            return std::iter::once(problem).chain(small).chain(self.bad_mask()).chain(test).collect();
        }
        let problems = [test.or_else(|| self.bad_split()), self.bad_patch(), self.bad_mask()];
        problems.into_iter().flatten().collect()
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.train.as_os_str().is_empty() {
            return Ok(());
        }
        if self.found.is_none() {
            let Read { content, found, .. } = read::pictures(self, files)?;
            (self.found, self.held) = (Some(found), Held::of(content));
        }
        self.places_mut().into_iter().for_each(|(_, path)| *path = files.path(path));
        Ok(())
    }

    fn open(&self, files: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let read = self.held.or_read(self.found.as_ref(), || read::pictures(self, files))?;
        let found = FoundPictures::of(&read, String::new());
        let (train, [validation, test]) = self.sizes(&found);
        let mut order: Vec<usize> = (0..read[0].len()).collect();
        if self.shuffle {
            order.shuffle(&mut Seed(0).rng(Stream::Task, 0));
        }
        let (of_train, held) = order.split_at(train.unwrap_or_default());
        let (of_validation, last) = held.split_at(validation.min(held.len()));
        let test = match read.get(1) {
            Some(pictures) => pictures.chosen(&(0..test).collect::<Vec<_>>()),
            None => read[0].chosen(last),
        };
        let [train, validation] = [of_train, of_validation].map(|part| read[0].chosen(part));
        let (patches, holes) = (self.patches(found.shape), self.holes(found.shape));
        Ok(Box::new(Image { dims: self.dims(), patches, holes, train: Arc::new(train), validation, test }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn scored(&self) -> f64 {
        let shape = self.found.as_ref().map(|found| found.shape).filter(|_| self.patch > 0);
        shape.map_or(1.0, |shape| self.holes(shape).touched(self.patch).clamp(1.0, self.asked() as f64))
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        Some("what tells of a hidden pixel lies on all sides of it")
    }

    fn held_evaluation(&self) -> Option<[usize; 2]> {
        Some(self.sizes(self.found.as_ref()?).1)
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        std::iter::once(("train", &mut self.train)).chain(self.test.iter_mut().map(|path| ("test", path))).collect()
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }
}

/// Pictures of which some pixels are hidden, to be predicted from the others. Training pictures are drawn with equal
/// probability; each evaluation picture is shown once. What is hidden is drawn for every example. Pixels are numbers
/// from 0 to 1. Only hidden pixels have targets, in whole patches and in patches of which something is visible.
///
/// # Shapes
/// inputs `[patches, d_in]` -> targets `[patches, numbers of a patch]`, see [`Patches`]
pub struct Image {
    dims: TaskDims,
    patches: Patches,
    holes: Holes,
    train: Arc<Pictures>,
    validation: Pictures,
    test: Pictures,
}

impl Task for Image {
    fn dims(&self) -> TaskDims {
        self.dims
    }

    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example {
        let pictures = match split {
            Split::Train => &*self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        let n = pictures.len().max(1) as u64;
        let index = if split == Split::Train { rng.random_range(0..n) } else { index % n };
        let hidden = self.holes.draw(rng);
        let picture = match pictures.len() {
            0 => vec![0.0; self.patches.picture_size()],
            _ => pictures.numbers(index as usize),
        };
        let inputs = Inputs::Continuous(self.patches.inputs(&picture, &hidden));
        let (targets, loss_mask) = self.patches.targets(&picture, &hidden);
        let slices = vec![None; self.dims.seq_len];
        Example { inputs, targets: Targets::Continuous(targets), loss_mask, slices }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let (patches, train) = (self.patches, &self.train);
        let mut all: Vec<Box<dyn Baseline>> = vec![
            Box::new(MeanPicture::new(patches, train.clone())),
            Box::new(NearestPicture::new(patches, train.clone())),
        ];
        let fixed = self.holes.fixed();
        if !fixed.is_empty() && patches.picture_size() <= RidgePicture::MOST_NUMBERS {
            all.push(Box::new(RidgePicture::new(patches, train.clone(), fixed)));
        }
        all
    }

    /// Pixels have a unit, the range from black to white.
    fn scale(&self) -> Option<Scale> {
        let TaskInput::Continuous { d_in } = self.dims.input else { return None };
        Some(Scale { inputs: vec![[0.0, 1.0]; d_in], targets: vec![[0.0, 1.0]; self.dims.d_out] })
    }

    fn measures(&self) -> Vec<Measure> {
        vec![Measure::new("psnr", squared_error).then(|mse| -10.0 * mse.max(LEAST_MSE).log10())]
    }

    fn patches(&self) -> Option<Patches> {
        Some(self.patches)
    }
}

/// A smaller mean squared error counts as this, 100 decibels.
const LEAST_MSE: f64 = 1e-10;

/// Mean squared error of a patch over the pixels that have a target.
fn squared_error(prediction: &[f32], wanted: Wanted<'_>) -> Option<f64> {
    let Wanted::Numbers(targets) = wanted else { return None };
    let errors = prediction.iter().zip(targets).filter(|(_, target)| !target.is_nan());
    let (sum, count) = errors.fold((0.0, 0.0), |(sum, count), (prediction, target)| {
        (sum + (f64::from(*prediction) - f64::from(*target)).powi(2), count + 1.0)
    });
    (count > 0.0).then_some(sum / count)
}

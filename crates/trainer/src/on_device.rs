//! A batch in a device's memory.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData, kind::Basic};
use headway_kernels::{overwrite, put_rows_of_set, rows_of_set};
use headway_model::Input;
use headway_tasks::{Batch, Inputs, Targets, TaskDims, TaskInput};

/// The tensors of one micro-batch. On a GPU they stay where they are when another batch takes the place of this one, so that launches
/// that were given them compute with the new one.
#[derive(Clone, Debug)]
pub struct OnDevice {
    layout: Layout,
    input: Input,
    target: Target,
    /// 1 where a position is scored, else 0; `None` if all are. `[batch, asked, 1]`
    weight: Option<Tensor<3>>,
    /// 1 where a number of a position has a target, else 0; `None` if all have. `[batch, asked, d_out]`
    known: Option<Tensor<3>>,
    /// The rows of `[batch · asked]` where the loss looks, if they are few. `[scored]`
    picked: Option<Tensor<1, Int>>,
}

/// What the launches of a step depend on in a batch: all but its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: usize,
    dims: TaskDims,
    asked: usize,
    classes: bool,
    scored: usize,
    missing: usize,
}

/// What is to be predicted.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Numbers. `[batch, asked, d_out]`
    Continuous(Tensor<3>),
    /// Classes. `[batch, asked, 1]`
    Classes(Tensor<3, Int>),
}

impl Layout {
    /// That of a batch.
    pub fn of(batch: &Batch) -> Self {
        let [scored, missing] = counts(batch, 0..batch.loss_mask.len());
        let classes = matches!(batch.targets, Targets::Classes(_));
        Self { size: batch.size, dims: batch.dims, asked: batch.asked(), classes, scored, missing }
    }

    /// Number of positions that are scored.
    pub fn scored(&self) -> usize {
        self.scored
    }

    /// Number of numbers of scored positions that have no target.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// What its mean loss counts beside those of other micro-batches: scored positions, of which one with missing numbers is that much
    /// less.
    pub(crate) fn share(&self) -> f64 {
        self.scored as f64 - self.missing as f64 / self.dims.d_out as f64
    }

    /// Whether some positions count and others do not.
    fn has_weight(&self) -> bool {
        self.scored < self.size * self.asked
    }

    /// Whether few positions count, so that the head is applied at those alone.
    fn picks(&self) -> bool {
        are_few(self.scored, self.size * self.asked)
    }

    /// Number of positions of each example, from its last, that have a target.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// That of `size` examples of a set which is laid out so, with these numbers of scored positions and missing numbers.
    pub(crate) fn part(self, size: usize, [scored, missing]: [usize; 2]) -> Self {
        Self { size, scored, missing, ..self }
    }
}

impl OnDevice {
    /// A batch on a device.
    pub fn new(batch: &Batch, device: &Device) -> Self {
        let all = Self::dense(batch, device);
        let picked = all.layout.picks().then(|| all.on_its_device(&scored_rows(&batch.loss_mask)));
        Self { picked, ..all }
    }

    /// A batch on a device, from which parts are taken.
    pub(crate) fn dense(batch: &Batch, device: &Device) -> Self {
        let (layout, device) = (Layout::of(batch), device.clone().inner());
        let (n, asked) = (layout.size, layout.asked);
        let target = match &batch.targets {
            Targets::Continuous(targets) => {
                Target::Continuous(dense(known_or_zero(targets), [n, asked, batch.dims.d_out], &device))
            }
            Targets::Classes(classes) => Target::Classes(dense(ids(classes), [n, asked, 1], &device)),
        };
        let weight = layout.has_weight().then(|| dense(weights(batch), [n, asked, 1], &device));
        let known = (layout.missing > 0).then(|| dense(known(batch), [n, asked, batch.dims.d_out], &device));
        Self { layout, input: input(&batch.inputs, n, batch.dims, &device), target, weight, known, picked: None }
    }

    /// Puts another batch into the place of this one, if it has the same layout; returns whether it has.
    pub fn refill(&mut self, batch: &Batch) -> bool {
        if Layout::of(batch) != self.layout {
            return false;
        }
        match (&mut self.input, &batch.inputs) {
            (Input::Continuous(there), Inputs::Continuous(values)) => overwrite(there, floats(values)),
            (Input::Tokens(there), Inputs::Tokens(tokens)) => overwrite(there, ids(tokens)),
            _ => unreachable!("the layouts are the same"),
        }
        match (&mut self.target, &batch.targets) {
            (Target::Continuous(there), Targets::Continuous(targets)) => overwrite(there, known_or_zero(targets)),
            (Target::Classes(there), Targets::Classes(classes)) => overwrite(there, ids(classes)),
            _ => unreachable!("the layouts are the same"),
        }
        if let Some(there) = &mut self.weight {
            overwrite(there, weights(batch));
        }
        if let Some(there) = &mut self.known {
            overwrite(there, known(batch));
        }
        if let Some(there) = &mut self.picked {
            overwrite(there, ids(&scored_rows(&batch.loss_mask)));
        }
        true
    }

    /// The examples in these rows of this whole set, which are laid out and scored so.
    ///
    /// # Shapes
    /// rows `[n]`, mask `[n · asked]`
    pub(crate) fn part(&self, rows: &[u32], layout: Layout, mask: &[bool]) -> Self {
        let picked = layout.picks().then(|| self.on_its_device(&scored_rows(mask)));
        let rows = self.on_its_device(rows);
        let input = match &self.input {
            Input::Continuous(x) => Input::Continuous(rows_of_set(x, &rows)),
            Input::Tokens(tokens) => Input::Tokens(rows_of_set(tokens, &rows)),
        };
        let target = match &self.target {
            Target::Continuous(target) => Target::Continuous(rows_of_set(target, &rows)),
            Target::Classes(classes) => Target::Classes(rows_of_set(classes, &rows)),
        };
        let weight = self.weight.as_ref().filter(|_| layout.has_weight()).map(|weight| rows_of_set(weight, &rows));
        let known = self.known.as_ref().filter(|_| layout.missing > 0).map(|known| rows_of_set(known, &rows));
        Self { layout, input, target, weight, known, picked }
    }

    /// [`Self::refill`] with the examples in these rows of a whole set, which are laid out and scored so.
    ///
    /// # Shapes
    /// as [`Self::part`]
    pub(crate) fn refill_part(&mut self, set: &Self, rows: &[u32], layout: Layout, mask: &[bool]) -> bool {
        if layout != self.layout {
            return false;
        }
        if let Some(there) = &mut self.picked {
            overwrite(there, ids(&scored_rows(mask)));
        }
        let rows = self.on_its_device(rows);
        match (&mut self.input, &set.input) {
            (Input::Continuous(there), Input::Continuous(x)) => put_rows_of_set(x, &rows, there),
            (Input::Tokens(there), Input::Tokens(tokens)) => put_rows_of_set(tokens, &rows, there),
            _ => unreachable!("the layouts are the same"),
        }
        match (&mut self.target, &set.target) {
            (Target::Continuous(there), Target::Continuous(target)) => put_rows_of_set(target, &rows, there),
            (Target::Classes(there), Target::Classes(classes)) => put_rows_of_set(classes, &rows, there),
            _ => unreachable!("the layouts are the same"),
        }
        if let (Some(there), Some(weight)) = (&mut self.weight, &set.weight) {
            put_rows_of_set(weight, &rows, there);
        }
        if let (Some(there), Some(known)) = (&mut self.known, &set.known) {
            put_rows_of_set(known, &rows, there);
        }
        true
    }

    fn on_its_device(&self, rows: &[u32]) -> Tensor<1, Int> {
        let device = match &self.input {
            Input::Continuous(x) => x.device(),
            Input::Tokens(tokens) => tokens.device(),
        };
        Tensor::from_data(ids(rows), &device)
    }

    /// What is the same in every batch that can take this one's place.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What a network is given, untracked, on a device that differentiates.
    pub fn input(&self) -> Input {
        match self.input.clone() {
            Input::Continuous(x) => Input::Continuous(Tensor::from_inner(x)),
            Input::Tokens(tokens) => Input::Tokens(Tensor::from_inner(tokens)),
        }
    }

    /// The rows of `[batch · asked]` where the loss looks, likewise; `None` if it looks at all, and weighs them. `[scored]`
    pub(crate) fn picked(&self) -> Option<Tensor<1, Int>> {
        self.picked.clone().map(Tensor::from_inner)
    }

    /// Which numbers have a target, likewise, where the loss looks.
    pub(crate) fn known(&self) -> Option<Tensor<3>> {
        self.known.as_ref().map(|known| Tensor::from_inner(self.looked_at(known)))
    }

    /// What the network is to predict where the loss looks, and what each position counts, likewise.
    pub(crate) fn wanted(&self) -> (Target, Option<Tensor<3>>) {
        let target = match &self.target {
            Target::Continuous(target) => Target::Continuous(Tensor::from_inner(self.looked_at(target))),
            Target::Classes(classes) => Target::Classes(Tensor::from_inner(self.looked_at(classes))),
        };
        let weight = if self.picked.is_none() { self.weight.clone() } else { None };
        (target, weight.map(Tensor::from_inner))
    }

    /// `[batch, asked, width]` -> `[1, scored, width]`, or the same if the loss looks at all.
    fn looked_at<K: Basic>(&self, of_all: &Tensor<3, K>) -> Tensor<3, K> {
        let Some(rows) = &self.picked else { return of_all.clone() };
        let ([n, asked, width], [scored]) = (of_all.dims(), rows.dims());
        rows_of_set(&of_all.clone().reshape([n * asked, width]), rows).reshape([1, scored, width])
    }
}

/// Inputs of `n` examples of these sizes on a device.
pub(crate) fn input(inputs: &Inputs, n: usize, dims: TaskDims, device: &Device) -> Input {
    let seq_len = dims.seq_len;
    match (inputs, dims.input) {
        (Inputs::Continuous(values), TaskInput::Continuous { d_in }) => {
            Input::Continuous(dense(floats(values), [n, seq_len, d_in], device))
        }
        (Inputs::Tokens(tokens), _) => Input::Tokens(dense(ids(tokens), [n, seq_len], device)),
        (Inputs::Continuous(_), TaskInput::Tokens { .. }) => unreachable!("a batch holds the input its dims name"),
    }
}

/// Numbers on a device, without gaps: those of several axes might have some.
fn dense<const D: usize, K: Basic>(numbers: TensorData, shape: [usize; D], device: &Device) -> Tensor<D, K> {
    Tensor::<1, K>::from_data(numbers, device).reshape(shape)
}

fn floats(values: &[f32]) -> TensorData {
    TensorData::new(values.to_vec(), [values.len()])
}

pub(crate) fn ids(values: &[u32]) -> TensorData {
    let ids: Vec<i32> = values.iter().map(|&id| id.cast_signed()).collect();
    TensorData::new(ids, [values.len()])
}

/// Targets, zero where there is none.
fn known_or_zero(targets: &[f32]) -> TensorData {
    let targets: Vec<f32> = targets.iter().map(|target| if target.is_nan() { 0.0 } else { *target }).collect();
    let len = targets.len();
    TensorData::new(targets, [len])
}

/// 1 where a number of a batch has a target, else 0.
fn known(batch: &Batch) -> TensorData {
    let known: Vec<f32> = match &batch.targets {
        Targets::Continuous(targets) => targets.iter().map(|target| f32::from(u8::from(!target.is_nan()))).collect(),
        Targets::Classes(_) => Vec::new(),
    };
    let len = known.len();
    TensorData::new(known, [len])
}

/// Numbers of scored positions among some rows of a batch, and of numbers there without a target.
pub(crate) fn counts(batch: &Batch, rows: Range<usize>) -> [usize; 2] {
    let scored = rows.filter(|row| batch.loss_mask[*row]);
    scored.fold([0; 2], |[scored, missing], row| [scored + 1, missing + batch.missing(row)])
}

/// Whether so few of some positions are scored that it pays to take them out.
pub(crate) fn are_few(scored: usize, of: usize) -> bool {
    scored > 0 && pays_to_pick(scored as f64, of as f64)
}

/// The rule of [`are_few`], for numbers of positions on average.
pub(crate) fn pays_to_pick(scored: f64, of: f64) -> bool {
    4.0 * scored <= of
}

/// Indices of scored positions.
pub(crate) fn scored_rows(mask: &[bool]) -> Vec<u32> {
    (0_u32..).zip(mask).filter(|(_, scored)| **scored).map(|(row, _)| row).collect()
}

/// 1 where a position of a batch is scored, else 0.
fn weights(batch: &Batch) -> TensorData {
    let weights: Vec<f32> = batch.loss_mask.iter().map(|&scored| f32::from(u8::from(scored))).collect();
    TensorData::new(weights, [batch.loss_mask.len()])
}

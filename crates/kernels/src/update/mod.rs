//! Updates of all parameters of a model together.

#[cfg(feature = "gpu")]
mod gpu;

#[cfg(feature = "gpu")]
use burn::tensor::TensorData;
use burn::tensor::{Device, Tensor};

#[cfg(feature = "gpu")]
use crate::overwrite;
use crate::{AdamStep, adam, is_cube};

/// A parameter before its update: flat tensors of one length, in f32, none tracked by autodiff.
#[derive(Debug)]
pub struct Slot {
    /// Its numbers w.
    pub weight: Tensor<1>,
    /// Their gradient g.
    pub gradient: Tensor<1>,
    /// What the rule keeps of it, as many as [`Rule::moments`] says; none before the first update.
    pub moments: Vec<Tensor<1>>,
}

/// A weight and its moments after an update.
pub type Updated = (Tensor<1>, Vec<Tensor<1>>);

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// [`adam`].
    Adam(AdamStep),
    /// Gradient descent.
    Descent(DescentStep),
}

/// b ← μ b + g + λ w, w ← w − η b. Without momentum, b is not kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DescentStep {
    /// Learning rate η.
    pub rate: f64,
    /// Decay of the velocity μ.
    pub momentum: f64,
    /// L2 penalty λ added to the gradient.
    pub penalty: f64,
}

impl Rule {
    /// Tensors that it keeps of each parameter.
    pub fn moments(&self) -> usize {
        match self {
            Self::Adam(_) => 2,
            Self::Descent(step) => usize::from(step.momentum != 0.0),
        }
    }
}

/// Whether [`Updater::update`] clips by the norm itself on a device.
pub fn clips(device: &Device) -> bool {
    is_cube(device)
}

/// Updates parameters, on a GPU in a few launches for all of them.
///
/// What changes from update to update, the rate and the corrections, lies in memory of the device that stays where it is, so that
/// the launches of one update are those of the next.
#[derive(Debug, Default)]
pub struct Updater {
    rule: Option<Rule>,
    #[cfg(feature = "gpu")]
    numbers: Option<Tensor<1>>,
}

impl Updater {
    /// Sets the rule of the next update; on a GPU, its numbers are written where the launches read them.
    pub fn begin(&mut self, rule: Rule, device: &Device) {
        self.rule = Some(rule);
        #[cfg(feature = "gpu")]
        if is_cube(device) {
            let numbers = TensorData::from(gpu::numbers_of(rule));
            match &mut self.numbers {
                Some(there) => overwrite(there, numbers),
                None => self.numbers = Some(Tensor::from_data(numbers, &device.clone().inner())),
            }
        }
        #[cfg(not(feature = "gpu"))]
        let _ = device;
    }

    /// New weights and moments by the rule of [`Self::begin`]. On a GPU tensors that nobody else holds change where they are.
    ///
    /// With a `max_norm` all gradients are first scaled by min(1, max_norm / (‖g‖ + 1e-6)), ‖g‖ over all parameters together;
    /// only where the device [does so itself](clips).
    ///
    /// # Panics
    /// When there is no rule, moments are missing, lengths differ, or there is a `max_norm` that the device cannot heed.
    pub fn update(&mut self, slots: Vec<Slot>, max_norm: Option<f64>) -> Vec<Updated> {
        let Some(rule) = self.rule else { panic!("an update begins with its rule") };
        for Slot { weight, gradient, moments } in &slots {
            assert!([0, rule.moments()].contains(&moments.len()), "there are all moments or none");
            assert!(
                moments.iter().chain([gradient]).all(|other| other.dims() == weight.dims()),
                "all are of one length"
            );
        }
        let Some(device) = slots.first().map(|slot| slot.weight.device()) else { return Vec::new() };
        #[cfg(feature = "gpu")]
        if let Some(numbers) = self.numbers.clone().filter(|_| is_cube(&device)) {
            return gpu::update(numbers, slots, rule.moments(), max_norm);
        }
        assert!(max_norm.is_none() || clips(&device), "gradients are clipped before, here");
        slots.into_iter().map(|slot| slot.updated(rule)).collect()
    }
}

impl Slot {
    /// After an update of its own.
    fn updated(self, rule: Rule) -> Updated {
        let Self { weight, gradient, mut moments } = self;
        match rule {
            Rule::Adam(step) => {
                let second = moments.pop().unwrap_or_else(|| gradient.zeros_like());
                let first = moments.pop().unwrap_or_else(|| gradient.zeros_like());
                let [weight, first, second] = adam(weight, gradient, [first, second], step);
                (weight, vec![first, second])
            }
            Rule::Descent(DescentStep { rate, momentum, penalty }) => {
                let slope = if penalty == 0.0 { gradient } else { gradient + weight.clone().mul_scalar(penalty) };
                let velocity = match moments.pop() {
                    Some(old) => old.mul_scalar(momentum) + slope,
                    None => slope,
                };
                let moments = if momentum == 0.0 { Vec::new() } else { vec![velocity.clone()] };
                (weight - velocity.mul_scalar(rate), moments)
            }
        }
    }
}

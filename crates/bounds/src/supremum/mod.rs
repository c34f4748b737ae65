//! sup |network − target| over a box, for networks with any weights: an upper bound that is proved, and a lower one that is attained.
//!
//! A network of at most three free input numbers is followed through all its layers by Taylor forms, so that over a box with
//! radii r the difference from the target is known up to O(r³); softmax mixtures have a rule of their own. The [`search`]
//! halves the worst box first. Whenever it ends, no point of the domain has an error above the bound, and
//! the point at which the largest error was found has at least the lower one, by an enclosure of that point itself.
//!
//! The bound holds for real numbers and for float32, see [`Arithmetic`]. `python/check_bound.py` finds it anew, by boxes and enclosures
//! of its own.

mod attention;
mod division;
mod form;
mod inputs;
mod network;
mod search;

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{Input, Model, weights};
use headway_plain::function::Function;
use headway_tasks::{Interval, Jet, Order};

pub use division::Cell;
pub use form::Arithmetic;
pub use inputs::{Choice, Inputs};
pub use search::{End, Limit, Moment, Progress, State, search};

use form::{Form, UP, radius};
use headway_theory::Enclosure;

/// Largest number of input numbers that may vary.
pub const MOST_FREE: usize = 3;

/// What is to be bounded: the largest |network − target| over all outputs and over the box of the inputs.
pub struct Question {
    /// The network.
    pub function: Function,
    /// The target over boxes. `[seq_len · d_in]` -> `[seq_len · d_out]`
    pub target: Enclosure,
    /// The input numbers, fixed or free.
    pub inputs: Inputs,
    /// Which evaluations of the network the upper bound covers.
    pub arithmetic: Arithmetic,
}

/// What a bound takes to be true, after [`Arithmetic`].
pub fn rests_on(arithmetic: Arithmetic) -> &'static str {
    match arithmetic {
        Arithmetic::Exact => {
            "the function of the weights in real numbers, what float32 adds is not bounded; exp, erfc and tanh of the system's f64 \
             library within 4 units in the last place; this program, or python/check_bound.py, which finds the bound anew"
        }
        Arithmetic::Float32 => {
            "IEEE arithmetic rounded to nearest; float32 sums in any order, no TF32; float32 exponentials within 16 roundings, GELU \
             within 32 of its argument, inverse roots within 8; exp, erfc and tanh of the system's f64 library within 4 units in the last \
             place; this program, or python/check_bound.py, which finds the bound anew"
        }
    }
}

/// What is known over one box.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Upper bound on the error; `f64::MAX` if there is none.
    pub bound: f64,
    /// The free number along which the error is steepest, by which the box is best halved.
    pub axis: usize,
    /// The corner at which the linear part of the largest error is largest. `[free]`
    pub corner: Vec<f64>,
}

impl Question {
    /// The error over a box of the free numbers. `[free]`
    pub fn look(&self, sides: &[Interval]) -> Look {
        match sides.len() {
            1 => self.look_in::<1>(sides),
            2 => self.look_in::<2>(sides),
            _ => self.look_in::<3>(sides),
        }
    }

    fn look_in<const D: usize>(&self, sides: &[Interval]) -> Look {
        let network = network::pass::<D>(&self.function, &self.inputs.forms(sides), self.arithmetic);
        let target = self.target_over::<D>(sides);
        let mut look = Look { bound: 0.0, axis: 0, corner: sides.iter().map(|side| side.middle()).collect() };
        for (h, (f, range)) in network.iter().zip(&target) {
            // The network's rounding is in its form; the difference itself is one of real numbers.
            let difference = h.minus(f, Arithmetic::Exact);
            let apart = (h.interval() - *range).magnitude();
            let bound = difference.interval().magnitude().min(if apart.is_nan() { f64::INFINITY } else { apart });
            let bound = if bound.is_nan() { f64::MAX } else { bound.min(f64::MAX) };
            if bound < look.bound {
                continue;
            }
            look.bound = bound;
            let steep = |form: &Form<D>, a: usize| {
                form.slopes[a].abs() + form.bends[a].iter().map(|bend| bend.abs()).sum::<f64>()
            };
            look.axis = self.inputs.axis(sides, |a| steep(h, a) + steep(f, a));
            let sign = difference.centre.signum();
            for ((corner, side), slope) in look.corner.iter_mut().zip(sides).zip(&difference.slopes) {
                *corner = if sign * slope >= 0.0 { side.high } else { side.low };
            }
        }
        look
    }

    /// The target over a box: as forms, by its second derivatives or, where it has none, by its slopes; and its range.
    fn target_over<const D: usize>(&self, sides: &[Interval]) -> Vec<(Form<D>, Interval)> {
        let points: Vec<Interval> = sides.iter().map(|side| Interval::point(side.middle())).collect();
        let radii: [f64; D] = std::array::from_fn(|a| radius(sides[a]));
        let over = (self.target)(&self.inputs.jets(sides, Order::Second));
        let at = (self.target)(&self.inputs.jets(&points, Order::First));
        over.iter().zip(&at).map(|(over, at)| (form_of(over, at, &radii).within(over.value), over.value)).collect()
    }

    /// A lower bound on the error at a point, rounding included. `[free]`
    pub fn attained(&self, point: &[f64]) -> f64 {
        let x: Vec<Form<0>> = self.inputs.at(point).into_iter().map(Form::point).collect();
        let network = network::pass::<0>(&self.function, &x, Arithmetic::Exact);
        let target = self.target_at(point);
        let apart = network.iter().zip(target).map(|(h, f)| (h.interval() - f).mignitude());
        apart.fold(0.0, f64::max)
    }

    /// What float32 may add at a point, by its bound. `[free]`
    pub fn rounding(&self, point: &[f64]) -> f64 {
        let x: Vec<Form<0>> = self.inputs.at(point).into_iter().map(Form::point).collect();
        let network = network::pass::<0>(&self.function, &x, Arithmetic::Float32);
        network.iter().fold(0.0, |most, h| most.max(h.error))
    }

    /// The error of the model itself at a point rounded to float32, as its device computes it. `[free]`
    pub fn measured(&self, model: &Model, device: &Device, point: &[f64]) -> f64 {
        let Function { seq_len, d_in, d_out, .. } = self.function;
        let single = |x: f64| x as f32;
        let values: Vec<f32> = self.inputs.at(point).into_iter().map(single).collect();
        let input = Input::Continuous(Tensor::from_data(TensorData::new(values, [1, seq_len, d_in]), device));
        let answers = weights::to_host(model.forward(input).narrow(2, 0, d_out));
        let rounded: Vec<f64> = point.iter().map(|x| f64::from(single(*x))).collect();
        let errors = answers.iter().zip(self.target_at(&rounded)).map(|(h, f)| (f64::from(*h) - f.middle()).abs());
        errors.fold(0.0, f64::max)
    }

    /// The error at a point in double precision, to look for large ones; 0 where it is not a number. `[free]`
    pub fn error(&self, point: &[f64]) -> f64 {
        let network = self.function.forward(&self.inputs.at(point));
        let errors = network.iter().zip(self.target_at(point)).map(|(h, f)| (h - f.middle()).abs());
        errors.fold(0.0, f64::max)
    }

    fn target_at(&self, point: &[f64]) -> Vec<Interval> {
        let point: Vec<Interval> = point.iter().copied().map(Interval::point).collect();
        (self.target)(&self.inputs.jets(&point, Order::First)).into_iter().map(|jet| jet.value).collect()
    }
}

/// A function over a box with these radii, from its jet there and in the middle.
fn form_of<const D: usize>(over: &Jet, at: &Jet, radii: &[f64; D]) -> Form<D> {
    let has_bends = over.second.iter().all(|second| second.magnitude().is_finite());
    let gradient = if has_bends { &at.gradient } else { &over.gradient };
    let mut form = Form::point(at.value.middle());
    form.error = radius(at.value);
    if has_bends {
        for a in 0..D {
            for b in 0..=a {
                // Half of the second derivative along an axis; each mixed one counts once.
                let half = Interval::point(if a == b { 0.5 } else { 1.0 });
                let sides = Interval::point(radii[a]) * Interval::point(radii[b]);
                let bend = half * sides * over.second[a * (a + 1) / 2 + b];
                form.bends[a][b] = bend.middle();
                form.error += radius(bend);
            }
        }
    }
    for a in 0..D {
        let slope = gradient[a] * Interval::point(radii[a]);
        form.slopes[a] = slope.middle();
        form.error += radius(slope);
    }
    form.error *= UP;
    form
}

#[cfg(test)]
mod tests;

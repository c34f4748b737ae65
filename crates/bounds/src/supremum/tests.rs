#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{ops::ControlFlow, time::Duration};

use burn::tensor::{Device, Tensor, TensorData};
use headway_model::{Input, IoDims, ModelConfig, plain::Parameters, weights};
use headway_plain::{
    function::{Exit, Function},
    network::{Affine, Matrix, Network, Row},
};
use headway_tasks::{Interval, Jet, SampleRng, Seed, Stream, enclosures};
use proptest::prelude::*;
use rand::RngExt;

use super::{
    Arithmetic, Choice, End, Inputs, Limit, Question, State,
    attention::{beyond_square, mixture},
    form::{Form, Measured, dot},
    network::pass,
    search,
    search::uphill,
};
use headway_theory::Target;

/// A rule from an interval to those of a function and its two derivatives.
type Enclosure = fn(Interval) -> [Interval; 3];

/// Room for the rounding of what a test computes in double precision itself.
const OWN_ROUNDING: f64 = 1e-12;

/// A form, and a number that it stands for at a point of its box.
#[derive(Clone, Copy, Debug)]
struct Held {
    form: Form<2>,
    value: f64,
}

/// A point of the box, and forms with numbers that they stand for there.
fn held(count: usize, size: f64) -> impl Strategy<Value = ([f64; 2], Vec<Held>)> {
    let unit = || -1.0..=1.0;
    let form = (-size..=size, [unit(), unit()], [[unit(), unit()], [unit(), unit()]], 0.0..=0.3, unit());
    ([unit(), unit()], prop::collection::vec(form, count), 1e-3..=1.0).prop_map(|(point, forms, width)| {
        let one = |(centre, slopes, bends, error, share): (f64, [f64; 2], [[f64; 2]; 2], f64, f64)| {
            let form = Form {
                centre,
                slopes: slopes.map(|slope| slope * width),
                bends: bends.map(|row| row.map(|bend| bend * width * width)),
                error: error * width * width,
            };
            Held { form, value: at(&form, point) + share * form.error }
        };
        (point, forms.into_iter().map(one).collect())
    })
}

/// A form at a point of the box, without its error.
fn at<const D: usize>(form: &Form<D>, point: [f64; D]) -> f64 {
    let mut value = form.centre;
    for a in 0..D {
        value += form.slopes[a] * point[a];
        for b in 0..D {
            value += form.bends[a][b] * point[a] * point[b];
        }
    }
    value
}

fn holds(form: &Form<2>, point: [f64; 2], value: f64) -> Result<(), TestCaseError> {
    let off = (value - at(form, point)).abs();
    let room = OWN_ROUNDING * (1.0 + value.abs());
    prop_assert!(off <= form.error + room, "{value} is {off:e} from {form:?} at {point:?}");
    prop_assert!(form.interval().low <= value + room && value - room <= form.interval().high);
    Ok(())
}

fn both() -> impl Strategy<Value = Arithmetic> {
    prop_oneof![Just(Arithmetic::Exact), Just(Arithmetic::Float32)]
}

proptest! {
    /// Sums, differences and products hold those of any numbers that their terms stand for.
    #[test]
    fn arithmetic_of_forms((point, all) in held(6, 3.0), how in both(), scale in -2.0..2.0) {
        let (f, g): (Vec<Held>, Vec<Held>) = (all[..3].to_vec(), all[3..].to_vec());
        holds(&f[0].form.plus(&g[0].form, how), point, f[0].value + g[0].value)?;
        holds(&f[0].form.minus(&g[0].form, how), point, f[0].value - g[0].value)?;
        holds(&f[0].form.times(&g[0].form, how), point, f[0].value * g[0].value)?;
        holds(&f[0].form.times(&f[0].form, how), point, f[0].value * f[0].value)?;
        let forms = |all: &[Held]| all.iter().map(|held| held.form.into()).collect::<Vec<_>>();
        let value: f64 = f.iter().zip(&g).map(|(f, g)| f.value * g.value).sum();
        holds(&dot(&forms(&f), &forms(&g), scale, how), point, scale * value)?;
    }

    /// A function of a form holds the function of any number that the form stands for, on both sides of kinks too.
    #[test]
    fn functions_of_forms((point, all) in held(1, 4.0)) {
        let Held { form, value } = all[0];
        holds(&form.relu(), point, value.max(0.0))?;
        let functions: [(Enclosure, f64); 5] = [
            (enclosures::gelu, 0.5 * value * libm_erfc(-value)),
            (enclosures::relu, value.max(0.0)),
            (enclosures::exp, value.exp()),
            (enclosures::tanh, value.tanh()),
            (enclosures::abs, value.abs()),
        ];
        for (function, expected) in functions {
            let found = form.apply(|x: Jet| {
                let by = function(x.value);
                x.then(by)
            });
            holds(&found, point, expected)?;
        }
    }

    /// A mixture of forms holds the mixture of any scores and values that they stand for, from flat scores to sharp ones.
    #[test]
    fn mixtures_of_forms(
        (point, all) in held(10, 1.0),
        sharpness in prop_oneof![Just(0.1), Just(1.0), Just(10.0), Just(300.0)],
        how in both(),
    ) {
        let sharper = |held: &Held| Held {
            form: Form {
                centre: sharpness * held.form.centre,
                slopes: held.form.slopes.map(|slope| sharpness * slope),
                bends: held.form.bends.map(|row| row.map(|bend| sharpness * bend)),
                error: sharpness * held.form.error,
            },
            value: sharpness * held.value,
        };
        let (scores, values): (Vec<Held>, &[Held]) = (all[..5].iter().map(sharper).collect(), &all[5..]);
        let top = scores.iter().fold(f64::NEG_INFINITY, |top, score| top.max(score.value));
        let weights: Vec<f64> = scores.iter().map(|score| (score.value - top).exp()).collect();
        let expected = weights.iter().zip(values).map(|(w, v)| w * v.value).sum::<f64>() / weights.iter().sum::<f64>();
        let forms: Vec<Form<2>> = scores.iter().map(|score| score.form).collect();
        let columns: Vec<[Measured<2>; 1]> = values.iter().map(|value| [value.form.into()]).collect();
        let columns: Vec<&[Measured<2>]> = columns.iter().map(<[Measured<2>; 1]>::as_slice).collect();
        holds(&mixture(&forms, &columns, how)[0], point, expected)?;
    }
}

/// 1 + erf(x / √2), by its definition through a sum: Simpson's rule with 4,000 pieces is right to 1e-13 here.
fn libm_erfc(negated: f64) -> f64 {
    let x = -negated;
    let (pieces, step) = (4000, x / 4000.0);
    let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
    let inner: f64 = (1..pieces).map(|k| if k % 2 == 0 { 2.0 } else { 4.0 } * density(step * f64::from(k))).sum();
    1.0 + 2.0 * step / 3.0 * (density(0.0) + inner + density(x))
}

fn rng(index: u64) -> SampleRng {
    Seed(7).rng(Stream::Init, index)
}

/// The networks of all families and variants that have a plain form, with their models.
fn networks(dims: &IoDims) -> Vec<(ModelConfig, headway_model::Model, Function)> {
    let all = ModelConfig::examples(dims, 1).into_iter().enumerate();
    let networks = all.filter_map(|(index, config)| {
        let model = config.init(dims, &mut rng(index as u64), &Device::flex()).unwrap();
        let function = config.family().plain_function(&Parameters::from(weights::arrays(&model)), dims).ok()?;
        Some((config, model, function))
    });
    networks.collect()
}

fn choice(domain: &str) -> Choice {
    Choice { domain: vec![domain.to_owned()], ..Choice::default() }
}

/// Random boxes of all sizes in a domain.
fn boxes(inputs: &Inputs, count: usize, rng: &mut SampleRng) -> Vec<Vec<Interval>> {
    let mut one = || {
        let width = 2.0_f64.powf(-10.0 * rng.random::<f64>());
        let side = |side: &Interval| {
            let (span, t) = (side.high - side.low, rng.random::<f64>());
            let low = side.low + t * (1.0 - width) * span;
            Interval::new(low, low + width * span)
        };
        inputs.sides.iter().map(side).collect()
    };
    (0..count).map(|_| one()).collect()
}

/// What a network answers at points of a box, in double precision and by its model in float32, is what its forms stand for: for every
/// family, norm, nonlinearity, mask, position scheme and readout that has a plain form.
#[test]
fn forms_of_networks_hold_what_networks_answer() {
    let dims = IoDims::continuous(3, 1, 1);
    let networks = networks(&dims);
    assert!(networks.len() >= 12, "only {} networks", networks.len());
    let inputs = Inputs::new([3, 1], &choice("-2,2"), None).unwrap();
    let mut rng = rng(1000);
    for (config, model, function) in &networks {
        for sides in boxes(&inputs, 6, &mut rng) {
            let forms = |how| pass::<3>(function, &inputs.forms(&sides), how);
            let (exact, single) = (forms(Arithmetic::Exact), forms(Arithmetic::Float32));
            let point = |rng: &mut SampleRng| -> Vec<f64> {
                let number = |side: &Interval| {
                    let x = side.low + (side.high - side.low) * rng.random::<f64>();
                    f64::from(x as f32).clamp(side.low, side.high)
                };
                sides.iter().map(number).collect()
            };
            for _ in 0..8 {
                let x = point(&mut rng);
                let is_single = x.iter().all(|x| f64::from(*x as f32).to_bits() == x.to_bits());
                let data = TensorData::new(x.iter().map(|x| *x as f32).collect::<Vec<f32>>(), [1, 3, 1]);
                let input = Input::Continuous(Tensor::from_data(data, &Device::flex()));
                let answers = weights::to_host(model.forward(input).narrow(2, 0, 1));
                let doubles = function.forward(&x);
                let local: [f64; 3] =
                    std::array::from_fn(|a| 2.0 * (x[a] - sides[a].middle()) / (sides[a].high - sides[a].low));
                for (number, (exact, single)) in exact.iter().zip(&single).enumerate() {
                    let room = OWN_ROUNDING * (1.0 + doubles[number].abs());
                    let off = (doubles[number] - at(exact, local)).abs();
                    assert!(off <= exact.error + room, "{config:?}: {off:e} beyond {exact:?} over {sides:?}");
                    if is_single {
                        let off = (f64::from(answers[number]) - at(single, local)).abs();
                        assert!(off <= single.error + room, "{config:?} in float32: {off:e} beyond {single:?}");
                    }
                }
            }
        }
    }
}

/// Where functions are smooth the error falls eightfold when the box is halved.
#[test]
fn errors_are_of_third_order() {
    let dims = IoDims::continuous(3, 1, 1);
    let inputs = Inputs::new([3, 1], &choice("-2,2"), None).unwrap();
    let mut tried = 0;
    for (config, _, function) in
        networks(&dims).into_iter().filter(|(config, ..)| !format!("{config:?}").contains("Relu"))
    {
        let error = |radius: f64| {
            let sides = vec![Interval::new(0.3 - radius, 0.3 + radius); 3];
            let forms = pass::<3>(&function, &inputs.forms(&sides), Arithmetic::Exact);
            forms.iter().map(|form| form.error).fold(0.0, f64::max)
        };
        let (wide, narrow) = (error(4e-3), error(2e-3));
        // A linear function has rounding alone.
        assert!(wide < 1e-10 || wide / narrow > 6.0, "{config:?}: {wide:e} and {narrow:e}");
        tried += 1;
    }
    assert!(tried >= 8);
}

fn question(function: &Function, formula: &str, domain: &str) -> Question {
    let [n, d] = [function.seq_len, function.d_in];
    let inputs = Inputs::new([n, d], &choice(domain), None).unwrap();
    let target = Target::formulas(&[formula], [n, d], inputs.ends()).unwrap().enclosure.unwrap();
    Question { function: function.clone(), target, inputs, arithmetic: Arithmetic::Exact }
}

const LIMIT: Limit = Limit { time: Duration::from_mins(2), gap: 0.01, boxes: 1 << 18 };

fn searched(question: &Question) -> (State, End) {
    let mut state = State::new(question, Vec::new());
    let end = search(question, &mut state, LIMIT, |_, _| ControlFlow::Continue(()));
    (state, end)
}

/// y = w x + b at every position.
fn line(seq_len: usize, w: f64, b: f64) -> Function {
    Function {
        seq_len,
        d_in: 1,
        d_out: 1,
        enter: None,
        network: Network { layers: Vec::new(), causal: false },
        exit: Exit::Rows {
            norm: None,
            pooled: false,
            map: Affine { weight: Matrix::from_element(1, 1, w), bias: Row::from_element(1, b) },
        },
    }
}

/// Scores ± r ε with values ± 1 are tanh(r ε), of which r³/3 is left beyond the linear part at most.
#[test]
fn a_mixture_of_two_is_a_tangent() {
    for r in [0.01, 0.3, 1.0, 1.7, 2.5, 6.0, 60.0] {
        let score = |sign: f64| Form::<2> { slopes: [sign * r, 0.0], ..Form::point(0.0) };
        let values = [1.0, -1.0].map(|value| [Measured::from(Form::point(value))]);
        let form = mixture(&[score(1.0), score(-1.0)], &values.each_ref().map(|v| &v[..]), Arithmetic::Exact)[0];
        for step in -50..=50 {
            let t = f64::from(step) / 50.0;
            holds(&form, [t, 0.3], (r * t).tanh()).unwrap();
        }
        // r³/6 of the exponential and r (r²/2) of the sum of weights, half as much again for higher orders; never beyond the values.
        assert!(form.error <= (r * r * r).min(1.0) + OWN_ROUNDING, "{r}: {form:?}");
    }
}

/// Where a bound shows no slopes but those along one axis, halving that axis alone would go on for ever: no side is left behind.
#[test]
fn no_side_is_halved_alone() {
    let inputs = Inputs::new([3, 1], &choice("-2,2"), None).unwrap();
    for steep in [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1e-3, 1e-9]] {
        let mut sides = inputs.sides.clone();
        for halving in 0..60 {
            let axis = inputs.axis(&sides, |a| steep[a] * (sides[a].high - sides[a].low));
            sides[axis].high = sides[axis].middle();
            let length = |side: &Interval| side.high - side.low;
            let lengths = sides.iter().map(length);
            let [least, most] = [lengths.clone().fold(f64::INFINITY, f64::min), lengths.fold(0.0, f64::max)];
            // One that is above an eighth of the longest is halved.
            assert!(least >= most / 16.0, "{sides:?} after {halving}");
        }
    }
}

/// 1 + t + t²/2 is off from e^t by no more than a mixture takes it to be, and by no more than a few per cent less at the end.
#[test]
fn exponentials_beyond_the_square() {
    for step in 1..=400 {
        let r = f64::from(step) * 0.02;
        // Σ r^n / n! from n = 3, smallest first.
        let terms: Vec<f64> = (1..=80)
            .scan(1.0, |term, n| {
                *term *= r / f64::from(n);
                Some(*term)
            })
            .collect();
        let exact: f64 = terms[2..].iter().rev().sum();
        let bound = beyond_square(r);
        assert!(exact <= bound && bound <= 1.1 * exact, "{r}: {exact:e} and {bound:e}");
    }
    assert!(
        beyond_square(0.0) == 0.0 && beyond_square(f64::NAN) == f64::INFINITY && beyond_square(1e3) == f64::INFINITY
    );
}

#[test]
fn suprema_that_are_known_are_found() {
    for (function, formula, domain, known) in [
        // The best constant for x².
        (line(1, 0.0, 0.5), "x1^2", "-1,1", 0.5),
        // With a kink inside: |x| − 1/2 is largest at the ends and at the kink.
        (line(1, 0.0, 0.5), "abs(x1)", "-1,1", 0.5),
        // e^x − 1 − x is largest at 1.
        (line(1, 1.0, 1.0), "exp(x1)", "-1,1", std::f64::consts::E - 2.0),
        // Over three numbers: x_i less the product of all.
        (line(3, 1.0, 0.0), "x1_1*x2_1*x3_1", "-1,1", 2.0),
    ] {
        let (state, end) = searched(&question(&function, formula, domain));
        assert!(state.lower <= known && known <= state.upper(), "{formula}: {} to {}", state.lower, state.upper());
        assert_eq!(end, End::Gap, "{formula}");
        assert!(state.upper() <= 1.01 * state.lower + 1e-9, "{formula}: {} to {}", state.lower, state.upper());
    }
}

/// For drawn networks of every kind: the bound is above a dense grid, 10^4 random points and 10^3 ascended ones, the lower one is
/// attained, and both follow when a weight of the readout is changed afterwards.
#[test]
fn bounds_stand_against_points_and_follow_the_weights() {
    let dims = IoDims::continuous(2, 1, 1);
    let mut rng = rng(2000);
    let networks = networks(&dims);
    let count = networks.len();
    for (config, _, function) in networks {
        let asked = question(&function, "sin(2*x1) - x1_1*x2_1/2", "0,0.5");
        let (state, end) = searched(&asked);
        let (lower, upper) = (state.lower, state.upper());
        assert!(lower <= upper && (end == End::Gap && upper <= 1.0101 * lower), "{config:?}: {lower} {upper} {end:?}");
        // An enclosure of a point is as wide as rounding in double precision makes it on the way through all layers.
        let there = asked.error(&state.at);
        assert!(lower <= there + OWN_ROUNDING && there - lower < 1e-6, "{config:?}: {there} at the point, not {lower}");
        let grid = (0..=40).flat_map(|i| (0..=40).map(move |j| vec![f64::from(i) / 80.0, f64::from(j) / 80.0]));
        let mut number = || rng.random::<f64>() * 0.5;
        let random: Vec<Vec<f64>> = (0..=10_000 / count).map(|_| vec![number(), number()]).collect();
        let climbed = random.iter().take(1_000 / count + 1).map(|start| uphill(&asked, start.clone()));
        let points: Vec<Vec<f64>> = grid.chain(random.iter().cloned()).chain(climbed).collect();
        for point in points {
            let error = asked.error(&point);
            assert!(error <= upper + OWN_ROUNDING, "{config:?}: {error} > {upper} at {point:?}");
        }
        // A network that answers 10 more everywhere is off by 10 less `upper` at least.
        let moved = moved(&function, 10.0);
        let broken = question(&moved, "sin(2*x1) - x1_1*x2_1/2", "0,0.5");
        let (state, end) = searched(&broken);
        let ends = [10.0 - upper, 10.0 + upper];
        assert!(
            end == End::Gap && state.lower >= ends[0] && state.upper() <= 1.0101 * ends[1],
            "{config:?}: {} to {} after {} boxes, not within {ends:?}: {end:?}",
            state.lower,
            state.upper(),
            state.boxes
        );
        assert!(state.lower > upper, "{config:?}: the bound of a broken network");
    }
}

/// The function with its answers moved by a number.
fn moved(function: &Function, by: f64) -> Function {
    let mut moved = function.clone();
    match &mut moved.exit {
        Exit::Rows { map, .. } => map.bias.add_scalar_mut(by),
        Exit::Stack(headway_plain::Readout::Affine { bias, .. } | headway_plain::Readout::Softmax { bias, .. }) => {
            bias.add_scalar_mut(by);
        }
        // What attention adds last reaches the answer as it is; of a mixture of channels too, since all are moved.
        Exit::Stack(headway_plain::Readout::Rows) | Exit::SoftmaxOfChannels => {
            moved.network.layers.last_mut().unwrap().bias.add_scalar_mut(by);
        }
    }
    moved
}

/// A search that is stopped, written down as JSON and read again goes on as if nothing had been.
#[test]
fn a_search_goes_on_where_it_was_stopped() {
    let dims = IoDims::continuous(2, 1, 1);
    let (_, _, function) = networks(&dims).swap_remove(2);
    let asked = question(&function, "sin(3*x1)", "-1.1,0.7");
    let (whole, _) = searched(&asked);
    let mut state = State::new(&asked, vec![("target".to_owned(), "sin(3*x1)".to_owned())]);
    let mut sittings = 0;
    loop {
        sittings += 1;
        let end = search(&asked, &mut state, LIMIT, |_, _| ControlFlow::Break(()));
        let text = serde_json::to_string(&state).unwrap();
        let read: State = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        state = read;
        if end != End::Stopped {
            break;
        }
    }
    assert!(sittings > 3, "{sittings} sittings test nothing");
    assert_eq!(
        (state.lower, state.upper(), state.boxes, &state.at),
        (whole.lower, whole.upper(), whole.boxes, &whole.at)
    );
    assert!(state.history.windows(2).all(|pair| pair[1].upper <= pair[0].upper && pair[1].lower >= pair[0].lower));
}

#[test]
fn a_function_without_a_bound_has_none() {
    let asked = Question {
        target: std::sync::Arc::new(|x: &[Jet]| {
            let by = enclosures::reciprocal(x[0].value);
            vec![x[0].clone().then(by)]
        }),
        ..question(&line(1, 0.0, 0.0), "x1", "-1,2")
    };
    let mut state = State::new(&asked, Vec::new());
    let limit = Limit { time: Duration::from_millis(200), ..LIMIT };
    search(&asked, &mut state, limit, |_, _| ControlFlow::Continue(()));
    assert!(state.upper() >= f64::MAX && state.lower > 10.0, "{} {}", state.lower, state.upper());
}

#[test]
fn inputs_are_free_or_fixed_by_name() {
    let text = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let read = |domain: &[&str], fix: &[&str], free: &[&str]| {
        let choice = Choice { domain: text(domain), fix: text(fix), free: text(free) };
        Inputs::new([3, 2], &choice, None).map_err(|refusal| refusal.to_string())
    };
    let inputs = read(&["-3,3"], &["0.5", "x3_2=2"], &["x1_2", "x2_1"]).unwrap();
    assert_eq!(inputs.at(&[7.0, 8.0]), [0.5, 7.0, 8.0, 0.5, 0.5, 2.0]);
    assert_eq!(inputs.free_names(), ["x1_2", "x2_1"]);
    assert_eq!(inputs.ends().map(f64::to_bits), [-3.0_f64, 3.0].map(f64::to_bits));
    assert_eq!(inputs.text(), "x1_2 in [-3, 3], x2_1 in [-3, 3]; x1_1 = 0.5, x2_2 = 0.5, x3_1 = 0.5, x3_2 = 2");
    for (domain, fix, free, words) in [
        (&["-3,3"][..], &[][..], &[][..], "at most 3 input numbers, and this network reads 6"),
        (&["-3,3"], &[], &["x1_1"], "x1_2 is neither free nor fixed; --fix 0"),
        (&["-3,3"], &["0"], &["x4_1"], "`x4_1` is no input of this network; there are x1_1 to x3_2"),
        (&["-3,3"], &["x1_1=0", "0"], &["x1_1"], "x1_1 is free; name it in one"),
        (&["-3,3"], &["0", "x1_1=a"], &["x1_2"], "`a` is no number"),
        (&["3,-3"], &["0"], &["x1_1"], "3 must be below -3"),
        (&["3"], &["0"], &["x1_1"], "`3` is no domain; write -3,3"),
        (&["0,1", "0,1", "0,1"], &["0"], &["x1_1", "x1_2"], "3 are given for 2 free numbers"),
        (&[], &["0"], &["x1_1"], "say where the bound is to hold, as in --domain -3,3"),
    ] {
        let refusal = read(domain, fix, free).unwrap_err();
        assert!(refusal.contains(words), "{refusal}");
    }
}

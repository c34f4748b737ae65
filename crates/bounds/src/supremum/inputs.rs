//! Which input numbers of a network vary, and where.

use headway_tasks::{Interval, Jet, Order};

use super::{MOST_FREE, form::Form};
use headway_theory::Refusal;

/// The input numbers of a sequence `[seq_len, d_in]`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Value of each number; of a free one without meaning. `[seq_len · d_in]`
    values: Vec<f64>,
    /// Where the free numbers stand among them. `[free]`
    free: Vec<usize>,
    /// Between which ends each of them lies. `[free]`
    pub sides: Vec<Interval>,
    /// Name of each number, as in formulas. `[seq_len · d_in]`
    names: Vec<String>,
}

/// What a user says about the inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// `low,high` for all free numbers, or one for each; empty for those of the task.
    pub domain: Vec<String>,
    /// `x1_2=0.5`: this number is fixed. A number alone: all that are not free are fixed there.
    pub fix: Vec<String>,
    /// Names of the numbers that are free; empty for all that are not fixed.
    pub free: Vec<String>,
}

fn number(option: &'static str, text: &str) -> Result<f64, Refusal> {
    let value = text.trim().parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| Refusal::invalid(option, format!("`{text}` is no number")))
}

impl Inputs {
    /// The inputs that a choice names; `ends` are those of the task, if it has any.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming the option `domain`, `fix` or `free`.
    pub fn new([seq_len, d_in]: [usize; 2], choice: &Choice, ends: Option<[f64; 2]>) -> Result<Self, Refusal> {
        let name = |at: usize| format!("x{}_{}", at / d_in + 1, at % d_in + 1);
        let names: Vec<String> = (0..seq_len * d_in).map(name).collect();
        let find = |option: &'static str, text: &str| {
            names.iter().position(|name| name == text.trim()).ok_or_else(|| {
                let last = &names[names.len() - 1];
                Refusal::invalid(option, format!("`{text}` is no input of this network; there are x1_1 to {last}"))
            })
        };
        let named: Vec<usize> = choice.free.iter().map(|text| find("free", text)).collect::<Result<_, _>>()?;
        let mut values: Vec<Option<f64>> = vec![None; names.len()];
        let mut others = None;
        for text in &choice.fix {
            match text.split_once('=') {
                Some((name, value)) => values[find("fix", name)?] = Some(number("fix", value)?),
                None => others = Some(number("fix", text)?),
            }
        }
        let is_named = |at: usize| named.contains(&at);
        let mut free = Vec::new();
        for (at, value) in values.iter_mut().enumerate() {
            if value.is_some() && is_named(at) {
                return Err(Refusal::invalid(
                    "fix",
                    format!("{} is free; name it in one of --free and --fix", names[at]),
                ));
            }
            if value.is_none() && !named.is_empty() && !is_named(at) {
                let problem =
                    || format!("{} is neither free nor fixed; --fix 0 fixes all that are not free", names[at]);
                *value = Some(others.ok_or_else(|| Refusal::invalid("fix", problem()))?);
            }
            if value.is_none() {
                free.push(at);
            }
        }
        if free.len() > MOST_FREE {
            let unbounded = choice.domain.is_empty() && ends.is_none();
            let domain =
                if unbounded { ", and where, as in --domain -3,3: the task draws its inputs from no box" } else { "" };
            let problem = format!(
                "a bound goes by boxes of at most {MOST_FREE} input numbers, and this network reads {}; name those that vary, as in \
                 --free x1_1,x1_2 --fix 0, which fixes all others at 0{domain}",
                free.len()
            );
            return Err(Refusal::invalid("free", problem));
        }
        if free.is_empty() {
            return Err(Refusal::invalid("fix", "leaves no number free, and there is nothing to bound over"));
        }
        let sides = sides(&choice.domain, free.len(), ends)?;
        let values = values.into_iter().map(Option::unwrap_or_default).collect();
        Ok(Self { values, free, sides, names })
    }

    /// Names of the free numbers, as in formulas. `[free]`
    pub fn free_names(&self) -> Vec<&str> {
        self.free.iter().map(|at| self.names[*at].as_str()).collect()
    }

    /// The domain in words.
    pub fn text(&self) -> String {
        let side = |(name, side): (&str, &Interval)| format!("{name} in [{}, {}]", side.low, side.high);
        let free: Vec<String> = self.free_names().into_iter().zip(&self.sides).map(side).collect();
        let fixed = self.values.iter().enumerate().filter(|(at, _)| !self.free.contains(at));
        let fixed: Vec<(usize, f64)> = fixed.map(|(at, value)| (at, *value)).collect();
        let rest = match fixed.as_slice() {
            [] => String::new(),
            [(_, first), ..] if fixed.len() > 3 && fixed.iter().all(|(_, value)| value.total_cmp(first).is_eq()) => {
                format!("; the other {} at {first}", fixed.len())
            }
            all => {
                let each: Vec<String> =
                    all.iter().map(|(at, value)| format!("{} = {value}", self.names[*at])).collect();
                format!("; {}", each.join(", "))
            }
        };
        format!("{}{rest}", free.join(", "))
    }

    /// The least and the largest number that an input can be.
    pub fn ends(&self) -> [f64; 2] {
        let fixed = self.values.iter().enumerate().filter(|(at, _)| !self.free.contains(at)).map(|(_, value)| *value);
        let all = self.sides.iter().flat_map(|side| [side.low, side.high]).chain(fixed);
        all.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)])
    }

    fn with<T>(&self, fixed: impl Fn(f64) -> T, free: impl Fn(usize) -> T) -> Vec<T> {
        let one = |(at, value): (usize, &f64)| match self.free.iter().position(|place| *place == at) {
            Some(a) => free(a),
            None => fixed(*value),
        };
        self.values.iter().enumerate().map(one).collect()
    }

    /// All numbers at a point of the free ones. `[free]` -> `[seq_len · d_in]`
    pub fn at(&self, point: &[f64]) -> Vec<f64> {
        self.with(|value| value, |a| point[a])
    }

    pub(super) fn forms<const D: usize>(&self, sides: &[Interval]) -> Vec<Form<D>> {
        self.with(Form::point, |a| Form::variable(sides[a], a))
    }

    pub(super) fn jets(&self, sides: &[Interval], order: Order) -> Vec<Jet> {
        let n = sides.len();
        self.with(|value| Jet::constant(Interval::point(value), n, order), |a| Jet::variable(sides[a], a, n, order))
    }

    /// The axis along which to halve a box: where it is steep, and long for its share of the domain, since what makes a bound wide need
    /// not show in slopes; never one that is an eighth of the longest or less.
    pub(super) fn axis(&self, sides: &[Interval], steep: impl Fn(usize) -> f64) -> usize {
        let count = sides.len();
        let length = |a: usize| (sides[a].high - sides[a].low) / (self.sides[a].high - self.sides[a].low);
        let longest = (0..count).map(length).fold(0.0, f64::max);
        let lengths: f64 = (0..count).map(length).sum();
        let slopes: f64 = (0..count).map(&steep).sum();
        let slope = |a: usize| if slopes > 0.0 && slopes.is_finite() { steep(a) / slopes } else { 0.0 };
        let worth = |a: usize| if 8.0 * length(a) > longest { slope(a) + 1.25 * length(a) / lengths } else { 0.0 };
        (0..count).fold(0, |best, a| if worth(a) > worth(best) { a } else { best })
    }
}

fn sides(domain: &[String], count: usize, ends: Option<[f64; 2]>) -> Result<Vec<Interval>, Refusal> {
    let refuse = |problem: String| Refusal::invalid("domain", problem);
    let read = |text: &String| {
        let (low, high) = text.split_once(',').ok_or_else(|| refuse(format!("`{text}` is no domain; write -3,3")))?;
        let (low, high) = (number("domain", low)?, number("domain", high)?);
        if low < high { Ok(Interval::new(low, high)) } else { Err(refuse(format!("{low} must be below {high}"))) }
    };
    match domain {
        [] => {
            let [low, high] = ends.ok_or_else(|| {
                refuse(
                    "the task draws its inputs from no box; say where the bound is to hold, as in --domain -3,3"
                        .to_owned(),
                )
            })?;
            Ok(vec![Interval::new(low, high); count])
        }
        [all] => Ok(vec![read(all)?; count]),
        each if each.len() == count => each.iter().map(read).collect(),
        each => {
            Err(refuse(format!("{} are given for {count} free numbers; give one for all, or one for each", each.len())))
        }
    }
}

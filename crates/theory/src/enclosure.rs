//! Sound bounds on suprema over boxes, by branch and bound with intervals.
//!
//! A function is given by a bracket: for any box, two numbers between which its supremum over that box lies. The box
//! with the largest upper number is halved until that number is hardly above the largest lower number of any box.

use std::{cmp::Ordering, collections::BinaryHeap};

use headway_tasks::{Interval, Jet, Order};

/// Two numbers between which a supremum lies; the upper one is infinite if there is no bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    /// The supremum is at least this.
    pub least: f64,
    /// The supremum is at most this.
    pub most: f64,
}

impl Bracket {
    /// The bracket of a supremum about which nothing is known.
    pub const UNKNOWN: Self = Self { least: 0.0, most: f64::INFINITY };

    /// The bracket over a box that contains no point of the domain.
    pub const NOWHERE: Self = Self { least: 0.0, most: 0.0 };

    /// The bracket of the larger of two suprema.
    pub fn or(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.max(other.most) }
    }

    fn of(least: f64, most: f64) -> Self {
        Self { least: if least.is_nan() { 0.0 } else { least }, most: if most.is_nan() { f64::INFINITY } else { most } }
    }
}

/// Relative distance between the ends of a bracket at which the search stops.
const GAP: f64 = 0.01;
/// Largest number of parts of a cube; a maximum attained on a whole great circle needs many.
const SPHERE_BOXES: usize = 50_000;
/// Number of halvings of a side after which a bound that is still infinite is given up.
const DEEPEST: u32 = 40;

/// A box with its bracket.
struct Part {
    sides: Vec<Interval>,
    depth: u32,
    most: f64,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Part {}
impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Part {
    /// Among parts with equal upper numbers the smaller box comes first, so that an infinite supremum is noticed soon.
    fn cmp(&self, other: &Self) -> Ordering {
        self.most.total_cmp(&other.most).then(self.depth.cmp(&other.depth))
    }
}

/// The supremum over a box of a function that `of` brackets over parts of it; at most `boxes` parts are examined.
pub fn supremum(sides: &[Interval], boxes: usize, of: impl Fn(&[Interval]) -> Bracket) -> Bracket {
    let middle = |sides: &[Interval]| sides.iter().map(|side| Interval::point(side.middle())).collect::<Vec<_>>();
    let scale: Vec<f64> = sides.iter().map(|side| side.width()).collect();
    let whole = of(sides);
    let mut least = whole.least.max(of(&middle(sides)).least);
    let mut heap = BinaryHeap::from([Part { sides: sides.to_vec(), depth: 0, most: whole.most }]);
    let mut looked = 1;
    while let Some(top) = heap.pop() {
        let deepest = DEEPEST * sides.len() as u32;
        if top.most <= least * (1.0 + GAP) || looked >= boxes || (top.most.is_infinite() && top.depth >= deepest) {
            return Bracket { least, most: top.most };
        }
        let relative = |at: usize| top.sides[at].width() / scale[at];
        let Some(widest) = (0..sides.len()).max_by(|a, b| relative(*a).total_cmp(&relative(*b))) else {
            return Bracket { least, most: top.most };
        };
        for half in top.sides[widest].halves() {
            let mut part = top.sides.clone();
            part[widest] = half;
            let inside = of(&part);
            least = least.max(inside.least).max(of(&middle(&part)).least);
            looked += 1;
            heap.push(Part { sides: part, depth: top.depth + 1, most: inside.most.min(top.most) });
        }
    }
    Bracket { least, most: least }
}

/// Suprema over a box, each over all output numbers of a function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suprema {
    /// Length of the gradient.
    pub slope: Bracket,
    /// Second derivative along any line.
    pub bend: Bracket,
    /// Absolute value.
    pub size: Bracket,
    /// Bound on the distance between two values of an output number.
    pub range: f64,
}

impl Suprema {
    /// For a function about which nothing is known except its values.
    pub const UNKNOWN: Self =
        Self { slope: Bracket::UNKNOWN, bend: Bracket::UNKNOWN, size: Bracket::UNKNOWN, range: f64::INFINITY };

    /// Suprema over a box; second derivatives only if `order` requests them.
    pub fn on_box(function: &dyn Fn(&[Jet]) -> Vec<Jet>, sides: &[Interval], order: Order) -> Self {
        // More dimensions take longer, so fewer boxes are examined.
        let boxes = 20_000 / (1 + sides.len());
        let over = |order: Order, of: &dyn Fn(&Jet) -> Bracket| {
            supremum(sides, boxes, |part| {
                function(&Jet::variables(part, order)).iter().map(of).fold(Bracket::NOWHERE, Bracket::or)
            })
        };
        let bend = if order == Order::Second {
            over(order, &|jet| Bracket::of(jet.least_bend(), jet.bend()))
        } else {
            Bracket::UNKNOWN
        };
        Self {
            slope: over(Order::First, &|jet| Bracket::of(jet.flattest(), jet.steepest)),
            bend,
            size: over(Order::First, &|jet| Bracket::of(jet.value.mignitude(), jet.value.magnitude())),
            range: range(function, sides, |of| {
                supremum(sides, boxes, |part| of(&function(&Jet::variables(part, Order::First)))).most
            }),
        }
    }

    /// Suprema over the unit sphere of R^d, with slopes and second derivatives along great circles. With ∇f and the
    /// Hessian H in R^d these are P ∇f and P (H − (x · ∇f) I) P, where P = I − x xᵀ.
    pub fn on_sphere(function: &dyn Fn(&[Jet]) -> Vec<Jet>, d: usize) -> Self {
        let cube = vec![Interval::new(-1.0, 1.0); d];
        let every = |order: Order, of: &dyn Fn(&[Interval], &[Jet]) -> Bracket| {
            supremum(&cube, SPHERE_BOXES, |part| {
                let Some(part) = touching(part) else { return Bracket::NOWHERE };
                // The middle of such a box is not on the sphere, so it gives no lower bound.
                let inside = part.iter().all(|side| side.low < side.high);
                let all = of(&part, &function(&Jet::variables(&part, order)));
                if inside { all } else { Bracket { least: 0.0, ..all } }
            })
        };
        let over = |order: Order, of: &dyn Fn(&[Interval], &Jet) -> Bracket| {
            every(order, &|x, jets| jets.iter().map(|jet| of(x, jet)).fold(Bracket::NOWHERE, Bracket::or))
        };
        Self {
            slope: over(Order::First, &|x, jet| {
                let along = dot(x, &jet.gradient);
                let tangent: Vec<Interval> = jet.gradient.iter().zip(x).map(|(g, x)| *g - along * *x).collect();
                let most = norm(tangent.iter().map(|side| side.magnitude())).min(jet.steepest);
                Bracket::of(norm(tangent.iter().map(|side| side.mignitude())) * (1.0 - 1e-14), most)
            }),
            bend: over(Order::Second, &|x, jet| Bracket::of(0.0, bend_on_sphere(x, jet))),
            size: over(Order::First, &|_, jet| Bracket::of(jet.value.mignitude(), jet.value.magnitude())),
            range: range(function, &cube, |of| every(Order::First, &|_, jets| of(jets)).most),
        }
    }
}

/// Bound on the distance between two values of an output number: twice the largest distance from the middle of an
/// interval that contains all values over the box; `supremum` finds that distance.
fn range(
    function: &dyn Fn(&[Jet]) -> Vec<Jet>,
    sides: &[Interval],
    supremum: impl Fn(&dyn Fn(&[Jet]) -> Bracket) -> f64,
) -> f64 {
    let whole = function(&Jet::variables(sides, Order::First));
    let middle = |jet: &Jet| Some(jet.value.middle()).filter(|middle| middle.is_finite()).unwrap_or(0.0);
    let middles: Vec<f64> = whole.iter().map(middle).collect();
    let away = |(jet, middle): (&Jet, &f64)| {
        let from = jet.value - Interval::point(*middle);
        Bracket::of(from.mignitude(), from.magnitude())
    };
    2.0 * supremum(&|jets| jets.iter().zip(&middles).map(away).fold(Bracket::NOWHERE, Bracket::or))
}

/// The part of a box that can contain points of the unit sphere, each side reduced to what the others allow; `None` if
/// there is none.
fn touching(part: &[Interval]) -> Option<Vec<Interval>> {
    let mut part = part.to_vec();
    for at in 0..part.len() {
        let others = part.iter().enumerate().filter(|(i, _)| *i != at);
        let others = others.fold(Interval::ZERO, |sum, (_, side)| sum + side.square());
        let left = Interval::ONE - others;
        if left.high < 0.0 {
            return None;
        }
        let (near, far) = (left.low.max(0.0).sqrt().next_down(), left.high.sqrt().next_up());
        let side = part[at];
        let size = side.abs();
        if size.high < near || size.low > far {
            return None;
        }
        let (mut low, mut high) = (side.low.max(-far), side.high.min(far));
        // If the side lies on one side of zero, only one of both halves is possible.
        if low > -near {
            low = low.max(near.max(0.0));
        }
        if high < near {
            high = high.min(-near.max(0.0));
        }
        if low > high {
            return None;
        }
        part[at] = Interval::new(low, high);
    }
    Some(part)
}

fn dot(a: &[Interval], b: &[Interval]) -> Interval {
    a.iter().zip(b).fold(Interval::ZERO, |sum, (a, b)| sum + *a * *b)
}

fn norm(sizes: impl Iterator<Item = f64>) -> f64 {
    sizes.map(|size| size * size).sum::<f64>().sqrt() * (1.0 + 1e-14)
}

fn bend_on_sphere(x: &[Interval], jet: &Jet) -> f64 {
    let d = x.len();
    let radial = dot(x, &jet.gradient);
    let at = |i: usize, j: usize| {
        let second = jet.second[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)];
        if i == j { second - radial } else { second }
    };
    let rows: Vec<Vec<Interval>> = (0..d).map(|i| (0..d).map(|j| at(i, j)).collect()).collect();
    let ax: Vec<Interval> = rows.iter().map(|row| dot(row, x)).collect();
    let xax = dot(x, &ax);
    let mut projected = jet.clone();
    for i in 0..d {
        for j in 0..=i {
            let whole = rows[i][j] - x[i] * ax[j] - ax[i] * x[j] + x[i] * x[j] * xax;
            projected.second[i * (i + 1) / 2 + j] = whole;
        }
    }
    projected.bend()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::target::Target;

    fn on_box(formula: &str, d: usize, [low, high]: [f64; 2]) -> Suprema {
        let enclosure = Target::formulas(&[formula], [1, d], [low, high]).unwrap().enclosure.unwrap();
        Suprema::on_box(enclosure.as_ref(), &vec![Interval::new(low, high); d], Order::Second)
    }

    fn near(found: Bracket, known: f64) -> bool {
        found.least <= known * (1.0 + 1e-9) && known <= found.most * (1.0 + 1e-9) && found.most <= 1.02 * known + 1e-9
    }

    #[test]
    fn suprema_of_known_functions() {
        for (formula, d, ends, slope, bend) in [
            ("sin(3*x1)", 1, [-1.0, 1.0], 3.0, 9.0),
            ("x1^2", 1, [-1.0, 2.0], 4.0, 2.0),
            ("sin(2*PI*x1)*x2", 2, [0.0, 1.0], TAU, TAU * TAU),
            ("exp(-((x1 - 0.0123456)*1e5)^2)", 1, [-3.0, 3.0], 1e5 * (2.0 / std::f64::consts::E).sqrt(), 2e10),
            ("x1*x2*x3", 3, [-1.0, 1.0], 3.0_f64.sqrt(), 2.0),
        ] {
            let found = on_box(formula, d, ends);
            assert!(near(found.slope, slope), "{formula}: slope {slope}, found {:?}", found.slope);
            assert!(near(found.bend, bend), "{formula}: bend {bend}, found {:?}", found.bend);
        }
        // Distance between two values, which is less than twice the largest value.
        for (formula, known) in [("step(x1 - 0.3)", 1.0), ("7 + sin(3*x1)*x2", 2.0), ("x1^2", 1.0)] {
            let found = on_box(formula, 2, [-1.0, 1.0]).range;
            assert!((known..=1.02 * known).contains(&found), "{formula}: {found}");
        }
        // A spike that two thousand points miss, the edge of a maximum, a root, a jump.
        let spike = on_box("x1 + 125*relu(0.008 - abs(x1 - 0.3) - abs(x2 - 0.7))", 2, [0.0, 1.0]);
        assert!(near(spike.slope, 126.0_f64.hypot(125.0)) && spike.bend.most.is_infinite(), "{spike:?}");
        let kink = on_box("max(abs(x1 - 0.413), abs(x2 - 0.577))", 2, [0.0, 1.0]);
        assert!(near(kink.slope, 1.0) && kink.bend.most.is_infinite() && near(kink.size, 0.587), "{kink:?}");
        // Kinks at places where boxes are halved.
        for (formula, d) in [("abs(x1)", 1), ("max(x1, 0)*x2", 2), ("relu(x1 - x2)", 2), ("min(x1, 0.5)", 1)] {
            assert!(on_box(formula, d, [-1.0, 1.0]).bend.most.is_infinite(), "{formula}");
        }
        for endless in ["abs(x1)^0.25", "step(x1 - 0.3)", "1/(x1 - 0.3)"] {
            let target = Target::formulas(&[endless], [1, 1], [0.5, 1.0]).unwrap();
            let sides = [Interval::new(-1.0, 1.0)];
            let found = Suprema::on_box(target.enclosure.unwrap().as_ref(), &sides, Order::First);
            assert!(found.slope.most.is_infinite(), "{endless}: {found:?}");
        }
    }

    #[test]
    fn suprema_on_spheres() {
        for (formula, d, slope, bend) in [
            // Along great circles cos² has slope sin 2θ and second derivative 2 cos 2θ, z has 1 and 1.
            ("x1^2", 3, 1.0, 2.0),
            ("x3", 3, 1.0, 1.0),
            ("x1*x2", 2, 1.0, 2.0),
            ("max(x2, x3)", 3, 1.0, f64::INFINITY),
            ("abs(x1)", 2, 1.0, f64::INFINITY),
        ] {
            let enclosure = Target::formulas(&[formula], [1, d], [-1.0, 1.0]).unwrap().enclosure.unwrap();
            let found = Suprema::on_sphere(enclosure.as_ref(), d);
            assert!(found.slope.most >= slope && found.slope.most < 1.06 * slope, "{formula}: {found:?}");
            assert!(found.bend.most >= bend && found.bend.most <= 1.1 * bend, "{formula}: {found:?}");
            assert!(found.slope.least <= slope * (1.0 + 1e-9), "{formula}: {found:?}");
        }
    }
}

//! Breaks of formulas along a path: kinks, cusps, jumps, and the ends of the domain on which a formula is defined.
//!
//! Along a path a formula is a function of one number t. Over a piece of the path without a break, the second
//! derivatives of all its parts are bounded, and their [jets](crate::jet) show this once the piece is small enough.
//! Pieces whose jets do not show it are halved until no single-precision number is left inside. So the kinds of breaks
//! need not be listed, and no break whose pieces are followed to the end is missed. If too many pieces are open at
//! once, an even share of them is followed.
//!
//! Breaks of parts count even where the whole formula does not depend on them: away from a spike such as relu(0.01 -
//! abs(x1) - abs(x2)), the formula does not show it, and only the breaks of its parts lead there.

use crate::{
    interval::Interval,
    jet::{Jet, Order},
};

/// The single-precision numbers around every break of `of` between two ends, in increasing order: the break itself if
/// it is such a number, and its neighbours on both sides. `of` gives the jets of some formulas for a jet of t; at most
/// `most` pieces are open at once.
pub fn breaks(of: impl Fn(Jet) -> Vec<Jet>, ends: Interval, most: usize) -> Vec<f64> {
    let is_whole = |piece: &Interval| {
        let jets = of(Jet::variable(*piece, 0, 1, Order::Second));
        jets.iter().all(|jet| jet.value.magnitude().is_finite() && !jet.is_broken)
    };
    let (mut open, mut found) = (vec![ends], Vec::new());
    while !open.is_empty() {
        open.retain(|piece| !is_whole(piece));
        let (narrow, wide): (Vec<Interval>, Vec<Interval>) = open.into_iter().partition(is_narrow);
        found.extend(narrow);
        let stride = wide.len().div_ceil(most.max(1)).max(1);
        open = wide.into_iter().step_by(stride).flat_map(Interval::halves).collect();
    }
    // The pieces on both sides of a break contain it.
    found.sort_by(|a, b| a.low.total_cmp(&b.low));
    let stride = found.len().div_ceil(2 * most.max(1)).max(1);
    let mut places: Vec<f64> = found.into_iter().step_by(stride).flat_map(around).collect();
    places.retain(|t| ends.contains(*t));
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

/// Whether no single-precision number lies strictly between those nearest to the ends.
fn is_narrow(piece: &Interval) -> bool {
    let (low, high) = (piece.low as f32, piece.high as f32);
    low.next_up() >= high
}

/// Rounding to the nearest number may leave the piece, on either side.
fn around(piece: Interval) -> [f64; 4] {
    let (low, high) = (piece.low as f32, piece.high as f32);
    [low.next_down(), low, high, high.next_up()].map(f64::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::seq2seq::function::{Domain, Function, FunctionConfig, Table};

    fn of(config: &FunctionConfig, [low, high]: [f64; 2]) -> Vec<f64> {
        let function = Function::new(config).unwrap();
        breaks(|t| function.enclose(&[t]), Interval::new(low, high), 64)
    }

    fn formula(text: &str, [low, high]: [f64; 2]) -> Vec<f64> {
        let outputs = vec![text.to_owned()];
        of(
            &FunctionConfig { seq_len: 1, d_in: 1, outputs, table: None, domain: Domain::Cube { low, high } },
            [low, high],
        )
    }

    /// Whether both single-precision neighbours of a place, and the place itself if it is such a number, are among
    /// those found.
    fn surrounds(found: &[f64], place: f64) -> bool {
        let near = place as f32;
        [near.next_down(), near, near.next_up()].map(f64::from).iter().all(|t| found.contains(t))
    }

    #[test]
    fn breaks_are_found_on_both_sides_wherever_they_are() {
        let ends = [-1.0, 1.0123];
        for (text, places) in [
            ("abs(x1 - 0.3137)", &[0.3137][..]),
            ("abs(x1)^0.25", &[0.0]),
            ("3*relu(0.7 - 2*x1) + x1^2", &[0.35]),
            ("step(x1 - 0.1)", &[0.1]),
            ("floor(3*x1)", &[-2.0 / 3.0, -1.0 / 3.0, 0.0, 1.0 / 3.0, 2.0 / 3.0]),
            ("ceil(x1/2 + 0.25)", &[-0.5]),
            ("signum(x1^3 - 0.2)", &[0.584_803_547_642_573_2]),
            ("max(x1, 0.2, 0.5 - x1)", &[0.25]),
            ("min(sin(x1), 0.5)", &[std::f64::consts::FRAC_PI_6]),
            ("abs(x1 + 0.777)^1.5*exp(x1)", &[-0.777]),
            ("relu(abs(x1 - 0.25) - 0.01)", &[0.24, 0.25, 0.26]),
            ("exp(-abs(x1 - 0.0123456)*1e5)", &[0.012_345_6]),
        ] {
            let found = formula(text, ends);
            assert!(places.iter().all(|place| surrounds(&found, *place)), "{text}: {places:?} in {found:?}");
            // And only few other numbers.
            assert!(found.len() <= 8 * places.len(), "{text}: {found:?}");
        }
        // An end of the domain at an end of the path.
        assert!(formula("sqrt(x1)", [0.0, 1.0]).contains(&0.0));
        let table = Table { x: vec![-0.3, 0.1, 0.15], y: vec![0.0, 1.0, -2.0] };
        let table =
            FunctionConfig { seq_len: 1, d_in: 1, outputs: Vec::new(), table: Some(table), ..Default::default() };
        assert!([-0.3, 0.1, 0.15].iter().all(|place| surrounds(&of(&table, ends), *place)));
        for smooth in ["sin(3*x1)*gelu(x1)", "exp(-((x1 - 0.0123456)*1e5)^2)", "5", "x1^3/(2 + x1)"] {
            assert_eq!(formula(smooth, ends), Vec::<f64>::new(), "{smooth}");
        }
    }

    /// The search ends even if there are breaks everywhere, and returns a share of them.
    #[test]
    fn what_breaks_everywhere_ends() {
        let found = formula("max(x1, x1)", [-1.0, 1.0]);
        assert!((64..=64 * 8).contains(&found.len()), "{} of them", found.len());
        assert!(formula("step(sin(1e6*x1))", [-1.0, 1.0]).len() <= 64 * 8);
    }
}

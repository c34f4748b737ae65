//! Programs that ship: small circuits whose every variable is known, for methods of interpretation to be tried on.

/// A program with a name.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// A number of positions at which it says something.
    pub length: usize,
    /// Its text.
    pub text: &'static str,
}

impl Shipped {
    /// The program with this name; `None` if there is none.
    pub fn find(name: &str) -> Option<&'static Self> {
        ZOO.iter().find(|shipped| shipped.name == name)
    }
}

macro_rules! zoo {
    ($($name:literal, $length:literal, $summary:literal;)*) => {
        /// The programs that ship.
        pub const ZOO: &[Shipped] = &[$(Shipped {
            name: $name,
            summary: $summary,
            length: $length,
            text: include_str!(concat!("zoo/", $name, ".crasp")),
        }),*];
    };
}

zoo! {
    "parity", 12, "whether the number of ones so far is odd: a count modulo 2";
    "majority", 12, "whether more than half of the bits so far are ones: one comparison";
    "adder", 4, "the sum of two numbers of two bits each: a Boolean circuit";
    "multiplexer", 6, "the bit that two other bits address: a Boolean circuit";
    "cups", 8, "where the ball is after swaps of three cups: a finite automaton, composed by doubling";
    "sort", 6, "the i-th smallest token at position i: counts over all positions";
    "histogram", 8, "how often the token of a position occurs: counts and conditionals";
    "nearest", 6, "the label of the three nearest points: counts within growing distances";
    "dyck", 12, "whether brackets are balanced: counts, and a count of comparisons";
    "anbn", 12, "whether the word is a^n b^n: counts, and what came too late";
}

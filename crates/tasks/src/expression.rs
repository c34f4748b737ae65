//! Formulas of real numbers, written as text.
//!
//! | written | means |
//! |---|---|
//! | `a + b`, `a - b`, `a * b`, `a / b` | the four operations; `*` and `/` before `+` and `-`, from left to right |
//! | `a ^ b` | power, before all of these and from right to left: `-x1^2` is -(x1^2), `2^3^2` is 2^9, `2^-x1` is fine |
//! | `-a`, `+a`, `(a)` | signs and brackets |
//! | `2`, `0.5`, `.5`, `1e-3` | numbers |
//! | `PI`, `E` | constants |
//! | `sin(a)` | a function of [`FUNCTIONS`] of one number |
//! | `min(a, b)`, `max(a, b, c)` | the least and the greatest of two numbers or more |
//! | `atan2(a, b)` | the angle of the point (b, a) |
//!
//! The product sign is never left out: `2*x1`, not `2x1`.

use std::fmt;

use crate::{
    interval::{Derivatives, Interval, functions},
    jet::{Jet, Order},
};

/// A function of one number.
#[derive(Debug)]
pub struct Unary {
    /// Its name in a formula.
    pub name: &'static str,
    /// Its value.
    pub value: fn(f64) -> f64,
    /// Its values and derivatives over an interval.
    pub enclose: fn(Interval) -> Derivatives,
}

/// A function of two numbers.
#[derive(Debug)]
struct Binary {
    operation: Operation,
    value: fn(f64, f64) -> f64,
    enclose: fn(Jet, Jet) -> Jet,
}

/// Every function of one number. Each returns NaN for NaN.
pub static FUNCTIONS: &[Unary] = &[
    Unary { name: "abs", value: f64::abs, enclose: functions::abs },
    Unary { name: "acos", value: f64::acos, enclose: functions::acos },
    Unary { name: "asin", value: f64::asin, enclose: functions::asin },
    Unary { name: "atan", value: f64::atan, enclose: functions::atan },
    Unary { name: "ceil", value: f64::ceil, enclose: functions::ceil },
    Unary { name: "cos", value: f64::cos, enclose: functions::cos },
    Unary { name: "cosh", value: f64::cosh, enclose: functions::cosh },
    Unary { name: "erf", value: libm::erf, enclose: functions::erf },
    Unary { name: "exp", value: f64::exp, enclose: functions::exp },
    Unary { name: "floor", value: f64::floor, enclose: functions::floor },
    Unary { name: "gelu", value: gelu, enclose: functions::gelu },
    Unary { name: "ln", value: f64::ln, enclose: functions::ln },
    Unary { name: "log10", value: f64::log10, enclose: functions::log10 },
    Unary { name: "log2", value: f64::log2, enclose: functions::log2 },
    Unary { name: "relu", value: relu, enclose: functions::relu },
    Unary { name: "sigmoid", value: sigmoid, enclose: functions::sigmoid },
    Unary { name: "signum", value: signum, enclose: functions::signum },
    Unary { name: "silu", value: silu, enclose: functions::silu },
    Unary { name: "sin", value: f64::sin, enclose: functions::sin },
    Unary { name: "sinh", value: f64::sinh, enclose: functions::sinh },
    Unary { name: "sqrt", value: f64::sqrt, enclose: functions::sqrt },
    Unary { name: "step", value: step, enclose: functions::step },
    Unary { name: "tan", value: f64::tan, enclose: functions::tan },
    Unary { name: "tanh", value: f64::tanh, enclose: functions::tanh },
];

static NEGATE: Unary = Unary { name: "-", value: |a| -a, enclose: functions::negate };
static PLUS: Binary = Binary { operation: Operation::Sum, value: |a, b| a + b, enclose: |a, b| a.plus(&b) };
static MINUS: Binary = Binary { operation: Operation::Difference, value: |a, b| a - b, enclose: |a, b| a.minus(&b) };
static TIMES: Binary = Binary { operation: Operation::Product, value: |a, b| a * b, enclose: |a, b| a.times(&b) };
static OVER: Binary = Binary { operation: Operation::Quotient, value: |a, b| a / b, enclose: Jet::over };
static POWER: Binary = Binary { operation: Operation::Power, value: f64::powf, enclose: Jet::power };

/// Functions of more than one number.
static OF_SEVERAL: [(&str, Binary); 3] = [
    ("atan2", Binary { operation: Operation::Angle, value: f64::atan2, enclose: Jet::angle }),
    ("max", Binary { operation: Operation::Greatest, value: greatest, enclose: Jet::greatest }),
    ("min", Binary { operation: Operation::Least, value: least, enclose: Jet::least }),
];

/// Named constants.
const CONSTANTS: [(&str, f64); 2] = [("E", std::f64::consts::E), ("PI", std::f64::consts::PI)];

/// Largest number of brackets, powers and signs that may be open at once.
const DEEPEST: usize = 200;

/// x Phi(x), where Phi is the distribution function of N(0, 1), computed exactly and not by the tanh approximation.
fn gelu(x: f64) -> f64 {
    // The complementary error function keeps all digits where Phi is small.
    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// max(x, 0)
fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// 1 / (1 + exp(-x))
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x sigmoid(x)
fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// Sign: -1, 0 or 1.
fn signum(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// Step function: 0 below 0, 1 from 0 on.
fn step(x: f64) -> f64 {
    if x.is_nan() { x } else { f64::from(x >= 0.0) }
}

fn least(a: f64, b: f64) -> f64 {
    if a < b || a.is_nan() { a } else { b }
}

fn greatest(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

/// Why a text is not a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Position in characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a byte of a text.
    fn at(text: &str, byte: usize, message: String) -> Self {
        Self { column: text[..byte].chars().count() + 1, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

/// A formula ready to be evaluated, as instructions for a stack; `V` is the type of its variables.
#[derive(Clone, Debug)]
pub struct Expression<V> {
    program: Vec<Instruction<V>>,
}

/// An operation on the stack.
#[derive(Clone, Copy, Debug)]
enum Instruction<V> {
    /// Pushes a number.
    Number(f64),
    /// Pushes the value of a variable.
    Variable(V),
    /// Replaces the top number by a function of it.
    One(&'static Unary),
    /// Replaces the top two numbers by a function of them; the upper one is the second argument.
    Two(&'static Binary),
}

/// An operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// a + b
    Sum,
    /// a - b
    Difference,
    /// a * b
    Product,
    /// a / b
    Quotient,
    /// a ^ b
    Power,
    /// atan2(a, b)
    Angle,
    /// max(a, b)
    Greatest,
    /// min(a, b)
    Least,
}

/// A step of a formula in postfix order: operands first, then what is done with the last one or the last two values.
#[derive(Clone, Copy, Debug)]
pub enum Step<V> {
    /// A number.
    Number(f64),
    /// A variable.
    Variable(V),
    /// A function of the last value; the sign of a negation is called `-`.
    One(&'static Unary),
    /// A function of the last two values.
    Two(Operation),
}

impl<V: PartialEq> PartialEq for Instruction<V> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.to_bits() == b.to_bits(),
            (Self::Variable(a), Self::Variable(b)) => a == b,
            (Self::One(a), Self::One(b)) => std::ptr::eq(*a, *b),
            (Self::Two(a), Self::Two(b)) => std::ptr::eq(*a, *b),
            _ => false,
        }
    }
}

impl<V: Copy> Expression<V> {
    /// Parses a formula. `variable` maps names to variables; `variables` is their list in messages.
    pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<V>, variables: &str) -> Result<Self, Problem> {
        let (mut at, mut count) = (0, 0);
        while let Some((_, _, end)) = token(text, at)? {
            (at, count) = (end, count + 1);
        }
        // Reserved at once, since growing a long program would take its memory several times.
        let program = Vec::with_capacity(count);
        let mut parser = Parser { text, next: token(text, 0)?, depth: 0, variable, variables, program };
        parser.sum()?;
        match parser.peek() {
            None => Ok(Self { program: parser.program }),
            Some(token) => {
                parser.fail(format!("{token} does not belong here; an operator such as * or the end should"))
            }
        }
    }

    /// The value for given values of the variables. `stack` is working space, so that it is allocated once for many
    /// calls.
    pub fn evaluate(&self, variable: impl Fn(V) -> f64, stack: &mut Vec<f64>) -> f64 {
        stack.clear();
        let mut top = f64::NAN; // the top of the stack, held separately
        for instruction in &self.program {
            match *instruction {
                Instruction::Number(number) => {
                    stack.push(top);
                    top = number;
                }
                Instruction::Variable(name) => {
                    stack.push(top);
                    top = variable(name);
                }
                Instruction::One(function) => top = (function.value)(top),
                Instruction::Two(function) => top = (function.value)(stack.pop().unwrap_or(f64::NAN), top),
            }
        }
        top
    }

    /// Values and derivatives for given jets of the variables, with derivatives by `n` numbers.
    pub fn enclose(&self, variable: impl Fn(V) -> Jet, n: usize, order: Order) -> Jet
    where
        V: PartialEq,
    {
        // With each operand, the start of its part of the program.
        let mut stack: Vec<(Jet, usize)> = Vec::new();
        let nothing = || Jet::constant(Interval::UNDEFINED, n, order);
        for (at, instruction) in self.program.iter().enumerate() {
            let (mut jet, mut from) = match *instruction {
                Instruction::Number(number) => (Jet::constant(Interval::point(number), n, order), at),
                Instruction::Variable(name) => (variable(name), at),
                Instruction::One(_) | Instruction::Two(_) => stack.pop().unwrap_or_else(|| (nothing(), at)),
            };
            if let Instruction::One(function) = instruction {
                let by = (function.enclose)(jet.value);
                jet = jet.then(by);
            }
            if let Instruction::Two(function) = instruction {
                let (first, start) = stack.pop().unwrap_or_else(|| (nothing(), at));
                // A product of two equal parts is a square, which is never negative.
                jet = if std::ptr::eq(*function, &raw const TIMES)
                    && self.program[start..from] == self.program[from..at]
                {
                    let by = functions::square(jet.value);
                    jet.then(by)
                } else {
                    (function.enclose)(first, jet)
                };
                from = start;
            }
            stack.push((jet, from));
        }
        stack.pop().map_or_else(nothing, |(jet, _)| jet)
    }

    /// The steps of the formula, in postfix order.
    pub fn steps(&self) -> impl Iterator<Item = Step<V>> + '_ {
        self.program.iter().map(|instruction| match *instruction {
            Instruction::Number(number) => Step::Number(number),
            Instruction::Variable(variable) => Step::Variable(variable),
            Instruction::One(function) => Step::One(function),
            Instruction::Two(function) => Step::Two(function.operation),
        })
    }

    /// Number of operations needed for one value.
    pub fn operations(&self) -> usize {
        self.program.len()
    }

    /// The variables that occur in the formula.
    pub fn variables(&self) -> impl Iterator<Item = V> + '_ {
        self.program.iter().filter_map(|instruction| match *instruction {
            Instruction::Variable(variable) => Some(variable),
            _ => None,
        })
    }
}

/// A token of a formula.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Number(f64),
    Name(&'a str),
    /// One of `+-*/^(),`
    Sign(char),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "`{number}`"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// The token at a byte, after any blanks, with its range of bytes; `None` at the end of the text.
fn token(text: &str, from: usize) -> Result<Option<(Token<'_>, usize, usize)>, Problem> {
    let rest = text[from..].trim_start_matches([' ', '\t', '\n', '\r']);
    let start = text.len() - rest.len();
    let Some(character) = rest.chars().next() else { return Ok(None) };
    // Number of bytes of characters of one kind, from a byte on.
    let run = |from: usize, kind: fn(char) -> bool| rest[from..].find(|c| !kind(c)).unwrap_or(rest.len() - from);
    let digits = |from: usize| run(from, |c| c.is_ascii_digit());
    let (token, len) = match character {
        '+' | '-' | '*' | '/' | '^' | '(' | ')' | ',' => (Token::Sign(character), 1),
        '0'..='9' | '.' => {
            let mut len = digits(0);
            if rest[len..].starts_with('.') {
                len += 1 + digits(len + 1);
            }
            if rest[len..].starts_with(['e', 'E']) {
                let sign = usize::from(rest[len + 1..].starts_with(['+', '-']));
                let exponent = digits(len + 1 + sign);
                len += if exponent > 0 { 1 + sign + exponent } else { 0 };
            }
            let written = &rest[..len];
            let number = written.parse().ok().filter(|number: &f64| number.is_finite());
            let message = || format!("`{written}` is no finite number");
            (Token::Number(number.ok_or_else(|| Problem::at(text, start, message()))?), len)
        }
        letter if letter.is_alphabetic() || letter == '_' => {
            let len = run(0, |c| c.is_alphanumeric() || c == '_');
            (Token::Name(&rest[..len]), len)
        }
        other => {
            let message = format!("`{other}` has no meaning in a formula; there are + - * / ^ ( ) and the comma");
            return Err(Problem::at(text, start, message));
        }
    };
    Ok(Some((token, start, start + len)))
}

/// Recursive-descent parser: one method per level of precedence, each of which leaves its value on top of the stack.
struct Parser<'a, V> {
    text: &'a str,
    /// The next token and its range of bytes.
    next: Option<(Token<'a>, usize, usize)>,
    depth: usize,
    variable: &'a dyn Fn(&str) -> Option<V>,
    variables: &'a str,
    program: Vec<Instruction<V>>,
}

impl<'a, V> Parser<'a, V> {
    fn peek(&self) -> Option<Token<'a>> {
        self.next.map(|(token, ..)| token)
    }

    /// The token after the next one.
    fn after(&self) -> Option<(Token<'a>, usize, usize)> {
        let (_, _, end) = self.next?;
        // All tokens have been read once before, so this cannot fail.
        token(self.text, end).ok().flatten()
    }

    fn advance(&mut self) {
        self.next = self.after();
    }

    /// An error at the next token.
    fn fail<T>(&self, message: String) -> Result<T, Problem> {
        let at = self.next.map_or(self.text.len(), |(_, start, _)| start);
        Err(Problem::at(self.text, at, message))
    }

    /// Takes the next token if it is one of the given signs.
    fn take(&mut self, signs: &str) -> Option<char> {
        let Some(Token::Sign(sign)) = self.peek() else { return None };
        let found = signs.contains(sign).then_some(sign)?;
        self.advance();
        Some(found)
    }

    fn expect(&mut self, sign: char) -> Result<(), Problem> {
        if self.take(sign.encode_utf8(&mut [0; 4])).is_some() {
            return Ok(());
        }
        match self.peek() {
            Some(token) => self.fail(format!("{token} stands where `{sign}` or an operator should")),
            None => self.fail(format!("`{sign}` is missing")),
        }
    }

    /// product + product - …
    fn sum(&mut self) -> Result<(), Problem> {
        self.product()?;
        while let Some(sign) = self.take("+-") {
            self.product()?;
            self.program.push(Instruction::Two(if sign == '+' { &PLUS } else { &MINUS }));
        }
        Ok(())
    }

    /// signed * signed / …
    fn product(&mut self) -> Result<(), Problem> {
        self.signed()?;
        while let Some(sign) = self.take("*/") {
            self.signed()?;
            self.program.push(Instruction::Two(if sign == '*' { &TIMES } else { &OVER }));
        }
        Ok(())
    }

    /// - signed, or a power.
    fn signed(&mut self) -> Result<(), Problem> {
        if self.depth == DEEPEST {
            return self.fail(format!("more than {DEEPEST} brackets, powers and signs are open at once"));
        }
        self.depth += 1;
        match self.take("+-") {
            Some(sign) => {
                self.signed()?;
                if sign == '-' {
                    self.program.push(Instruction::One(&NEGATE));
                }
            }
            None => self.power()?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// atom ^ signed
    fn power(&mut self) -> Result<(), Problem> {
        self.atom()?;
        if self.take("^").is_some() {
            self.signed()?;
            self.program.push(Instruction::Two(&POWER));
        }
        Ok(())
    }

    /// A number, a name, a call or something in brackets.
    fn atom(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(Token::Number(number)) => {
                self.advance();
                self.program.push(Instruction::Number(number));
                Ok(())
            }
            Some(Token::Sign('(')) => {
                self.advance();
                self.sum()?;
                self.expect(')')
            }
            Some(Token::Name(name)) => self.name(name),
            Some(token) => self.fail(format!("{token} stands where a number, a variable or a function should")),
            None => self.fail("a number, a variable or a function is missing at the end".to_owned()),
        }
    }

    fn name(&mut self, name: &str) -> Result<(), Problem> {
        let is_called = matches!(self.after(), Some((Token::Sign('('), ..)));
        let function = FUNCTIONS.iter().find(|function| function.name == name);
        let of_several = OF_SEVERAL.iter().find(|(there, _)| *there == name);
        let constant = CONSTANTS.iter().find(|(there, _)| *there == name);
        let instruction = match (function, of_several, constant, (self.variable)(name)) {
            (Some(function), ..) if is_called => {
                self.advance();
                self.arguments(name, 1..=1)?;
                Instruction::One(function)
            }
            (_, Some((_, function)), ..) if is_called => {
                self.advance();
                let most = if name == "atan2" { 2 } else { usize::MAX };
                let count = self.arguments(name, 2..=most)?;
                // All applications of the function but the last.
                self.program.extend((2..count).map(|_| Instruction::Two(function)));
                Instruction::Two(function)
            }
            (Some(_), ..) => return self.fail(format!("`{name}` is a function; write {name}(…)")),
            (_, Some(_), ..) => {
                return self.fail(format!("`{name}` is a function; write {name}(…, …)"));
            }
            (_, _, Some(&(_, value)), _) => {
                self.advance();
                Instruction::Number(value)
            }
            (.., Some(variable)) => {
                self.advance();
                Instruction::Variable(variable)
            }
            _ if is_called => {
                let mut all: Vec<&str> =
                    FUNCTIONS.iter().map(|f| f.name).chain(OF_SEVERAL.iter().map(|(name, _)| *name)).collect();
                all.sort_unstable();
                return self.fail(format!("there is no function `{name}`; there are {}", all.join(", ")));
            }
            _ => {
                let constants = CONSTANTS.map(|(name, _)| name).join(" and ");
                let known = format!("there are {} and the constants {constants}", self.variables);
                return self.fail(format!("there is no variable `{name}`; {known}"));
            }
        };
        self.program.push(instruction);
        Ok(())
    }

    /// Parses the arguments of a call, with its brackets, and returns their number.
    fn arguments(&mut self, name: &str, allowed: std::ops::RangeInclusive<usize>) -> Result<usize, Problem> {
        self.expect('(')?;
        self.sum()?;
        let mut count = 1;
        while self.take(",").is_some() {
            self.sum()?;
            count += 1;
        }
        let end = self.next;
        self.expect(')')?;
        if allowed.contains(&count) {
            return Ok(count);
        }
        self.next = end;
        let or_more = if *allowed.end() == usize::MAX { " or more" } else { "" };
        self.fail(format!("`{name}` takes {}{or_more} numbers, not {count}", allowed.start()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Expression, FUNCTIONS};
    use crate::{Interval, Jet, Order};

    fn variable(name: &str) -> Option<usize> {
        ["x1", "x2", "i"].iter().position(|there| *there == name)
    }

    fn value(text: &str) -> f64 {
        let expression = Expression::parse(text, &variable, "x1, x2 and i").unwrap_or_else(|e| panic!("{text}: {e}"));
        expression.evaluate(|index| [2.0, 3.0, 5.0][index], &mut Vec::new())
    }

    fn problem(text: &str) -> String {
        Expression::parse(text, &variable, "x1, x2 and i").expect_err(text).to_string()
    }

    #[test]
    fn operations_in_their_order() {
        for (text, expected) in [
            ("x1", 2.0),
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("10 - 3 - 2", 5.0),
            ("12 / 3 * 2", 8.0),
            ("12 / (3 * 2)", 2.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("-x1^2", -4.0),
            ("(-x1)^2", 4.0),
            ("2^-x1", 0.25),
            ("2*-x2", -6.0),
            ("--x1", 2.0),
            ("1 - -x1", 3.0),
            ("+x2 - +x1", 1.0),
            ("-2^-2", -0.25),
            ("x1*x2^2", 18.0),
            (".5 + 1. + 2e1 + 3E-1 + 1e+0", 22.8),
            ("exp(-x1^2)", (-4.0_f64).exp()),
            ("min(x1, x2) + 10*max(x1, x2)", 32.0),
            ("max(1, x2, x1, -7)", 3.0),
            ("min(4, 3, 1, 2) - max(4, 1)*2", -7.0),
            ("atan2(x1, x2)", 2.0_f64.atan2(3.0)),
            ("cos(PI) + ln(E)", 0.0),
            ("\tsin ( x1 )\n* i", 2.0_f64.sin() * 5.0),
            ("1e3", 1000.0),
        ] {
            assert!((value(text) - expected).abs() < 1e-12, "{text} is {}, not {expected}", value(text));
        }
    }

    #[test]
    fn functions_at_known_points() {
        for (text, expected) in [
            ("relu(-1) + relu(2)", 2.0),
            ("step(-1) + step(0) + step(1)", 2.0),
            ("signum(-3) + 10*signum(0) + 100*signum(2)", 99.0),
            ("floor(-0.5) + 10*ceil(0.5)", 9.0),
            ("sigmoid(0)", 0.5),
            ("silu(2) * (1 + exp(-2))", 2.0),
            ("log10(1000) + log2(8)", 6.0),
            ("abs(-3)", 3.0),
            ("sqrt(9)", 3.0),
            ("sinh(1) + cosh(1)", std::f64::consts::E),
            ("tanh(1)", 1.0_f64.tanh()),
            ("asin(1) + acos(1) + atan(1)", 0.75 * std::f64::consts::PI),
            ("tan(1)*cos(1) - sin(1)", 0.0),
            // Abramowitz and Stegun, tables 7.1 and 26.1: erf(1), Phi(1) and Phi(-5).
            ("erf(1)", 0.842_700_792_949_715),
            ("erf(-1)", -0.842_700_792_949_715),
            ("gelu(1)", 0.841_344_746_068_543),
            ("gelu(-5) * 1e7", -5.0 * 2.866_515_718_791_939),
        ] {
            assert!((value(text) - expected).abs() < 1e-12, "{text} is {}, not {expected}", value(text));
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for function in FUNCTIONS {
            assert!((function.value)(f64::NAN).is_nan(), "{}", function.name);
        }
        for text in ["min(sqrt(-1), 1)", "min(1, sqrt(-1))", "max(sqrt(-1), 1)", "max(1, sqrt(-1))", "(-8)^0.5"] {
            assert!(value(text).is_nan(), "{text}");
        }
        assert!(value("1/0").is_infinite());
    }

    /// Over boxes of all sizes, values and differences of formulas lie within the enclosures.
    #[test]
    fn formulas_are_held_with_their_slopes() {
        for text in [
            "sin(3*x1)*x2 - x1/(2 + x2^2)",
            "max(abs(x1 - 0.413), abs(x2 - 0.577))",
            "min(x1, x2, 0.3) + relu(x1*x2)*2",
            "exp(-((x1 - 0.2)*4)^2) + tanh(x2)^3",
            "sqrt((x1 - x2)*(x1 - x2)) + abs(x2)^0.5",
            "2^x1 - (1 + x2)^-2 + (2 + x1)^x2",
            "atan2(x2 + 1.5, x1) + atan2(x1, x2 - 2)",
            "gelu(x1)*silu(x2) + i",
            "step(x1 - x2)",
        ] {
            let expression =
                Expression::parse(text, &variable, "x1, x2 and i").unwrap_or_else(|e| panic!("{text}: {e}"));
            let value = |x: [f64; 2]| expression.evaluate(|at| [x[0], x[1], 5.0][at], &mut Vec::new());
            for pieces in [1_u32, 2, 7, 30] {
                for piece in 0..pieces * pieces {
                    let side = 2.0 / f64::from(pieces);
                    let low = [piece % pieces, piece / pieces].map(|at| -0.9 + side * f64::from(at));
                    let cell = low.map(|low| Interval::new(low, low + side));
                    let enclosed = |at: usize| match at {
                        2 => Jet::constant(Interval::point(5.0), 2, Order::Second),
                        at => Jet::variable(cell[at], at, 2, Order::Second),
                    };
                    let jet = expression.enclose(enclosed, 2, Order::Second);
                    let h = side / 4.0;
                    let at = |i: f64, j: f64| value([low[0] + i * h, low[1] + j * h]);
                    let size = jet.value.magnitude().max(1.0);
                    assert!(
                        jet.value.contains(at(1.7, 2.3)) && jet.value.contains(at(4.0, 0.0)),
                        "{text} over {cell:?}"
                    );
                    let slopes = [(at(3.0, 2.0) - at(1.0, 2.0)) / (2.0 * h), (at(2.0, 3.0) - at(2.0, 1.0)) / (2.0 * h)];
                    let holds = |wanted: Interval, found: f64, slack: f64| {
                        found >= wanted.low - slack && found <= wanted.high + slack
                    };
                    for (slope, found) in jet.gradient.iter().zip(slopes) {
                        assert!(
                            holds(*slope, found, 1e-14 * size / h),
                            "{text} over {cell:?}: {found} outside {slope:?}"
                        );
                    }
                    // Along the diagonal, as steeply as the bound on the gradient's length allows.
                    let rise = (at(3.0, 3.0) - at(1.0, 1.0)).abs() / (8.0_f64.sqrt() * h);
                    assert!(
                        rise <= jet.steepest + 1e-13 * size / h,
                        "{text} over {cell:?}: {rise} beyond {}",
                        jet.steepest
                    );
                    let slack = 1e-14 * size / (h * h);
                    let seconds = [
                        (at(3.0, 2.0) - 2.0 * at(2.0, 2.0) + at(1.0, 2.0)) / (h * h),
                        (at(3.0, 3.0) - at(3.0, 1.0) - at(1.0, 3.0) + at(1.0, 1.0)) / (4.0 * h * h),
                        (at(2.0, 3.0) - 2.0 * at(2.0, 2.0) + at(2.0, 1.0)) / (h * h),
                    ];
                    for (second, found) in jet.second.iter().zip(seconds) {
                        assert!(holds(*second, found, slack), "{text} over {cell:?}: {found} outside {second:?}");
                    }
                }
            }
        }
        // A formula that may be undefined is reported as such, even if it is multiplied by 0.
        for text in ["ln(x1)", "0*ln(x1)", "1/x1", "x1/x1", "sqrt(x1)", "max(1, asin(2*x1))", "min(1, tan(2*x1))"] {
            let expression =
                Expression::parse(text, &variable, "x1, x2 and i").unwrap_or_else(|e| panic!("{text}: {e}"));
            let jet =
                expression.enclose(|at| Jet::variable(Interval::new(-1.0, 1.0), at, 2, Order::First), 2, Order::First);
            assert!(jet.value.magnitude().is_infinite() && jet.steepest.is_infinite(), "{text}: {jet:?}");
        }
        // A maximum is no steeper than its arguments.
        let expression = Expression::parse("max(x1, x2)", &variable, "").unwrap_or_else(|e| panic!("{e}"));
        let jet =
            expression.enclose(|at| Jet::variable(Interval::new(-1.0, 1.0), at, 2, Order::First), 2, Order::First);
        assert!(jet.steepest <= 1.0 && jet.gradient == [Interval::new(0.0, 1.0); 2], "{jet:?}");
    }

    #[test]
    fn functions_are_listed_in_order_once() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn what_is_no_formula_is_refused_with_its_place() {
        for (text, expected) in [
            ("", "column 1: a number, a variable or a function is missing at the end"),
            ("x1 +", "column 5: a number, a variable or a function is missing at the end"),
            ("2x1", "column 2: `x1` does not belong here; an operator such as * or the end should"),
            ("(x1", "column 4: `)` is missing"),
            ("(x1 x2)", "column 5: `x2` stands where `)` or an operator should"),
            ("x1)", "column 3: `)` does not belong here; an operator such as * or the end should"),
            ("x1 ** 2", "column 5: `*` stands where a number, a variable or a function should"),
            ("x1 + x3", "column 6: there is no variable `x3`; there are x1, x2 and i and the constants E and PI"),
            ("sin", "column 1: `sin` is a function; write sin(…)"),
            ("1 + max", "column 5: `max` is a function; write max(…, …)"),
            ("sin(x1, x2)", "column 11: `sin` takes 1 numbers, not 2"),
            ("max(x1)", "column 7: `max` takes 2 or more numbers, not 1"),
            ("sin()", "column 5: `)` stands where a number, a variable or a function should"),
            ("|x1|", "column 1: `|` has no meaning in a formula; there are + - * / ^ ( ) and the comma"),
            ("é + x1^", "column 1: there is no variable `é`; there are x1, x2 and i and the constants E and PI"),
            ("1e999", "column 1: `1e999` is no finite number"),
            ("1 + .", "column 5: `.` is no finite number"),
            ("1.2.3", "column 4: `0.3` does not belong here; an operator such as * or the end should"),
        ] {
            assert_eq!(problem(text), expected, "{text}");
        }
        let message = problem("2*sine(x1)");
        assert!(message.starts_with("column 3: there is no function `sine`; there are abs, acos, "), "{message}");
        assert!(message.contains("max, min, relu"), "{message}");
    }

    #[test]
    fn depth_is_bounded_and_length_is_not() {
        for (open, close) in [("(", ")"), ("-", ""), ("sin(", ")"), ("2^", "")] {
            let nested = |times: usize| format!("{}x1{}", open.repeat(times), close.repeat(times));
            assert!(value(&nested(150)).is_finite() || open == "2^", "{open}");
            assert!(problem(&nested(100_000)).contains("more than 200 brackets"), "{open}");
        }
        assert!((value(&vec!["x1"; 100_000].join(" + ")) - 200_000.0).abs() < 1e-9);
    }
}

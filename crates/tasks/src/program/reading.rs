//! From text to a program.

use super::{
    scanner::{Mark, ProgramError, Token, scan},
    syntax::{Automaton, Expression, From, Place, Program, Relation, Window},
};

/// Words that cannot be names.
const RESERVED: [&str; 15] =
    ["alphabet", "and", "automaton", "div", "else", "if", "i", "j", "max", "min", "mod", "n", "not", "or", "return"];
/// Largest number that may be written.
const LARGEST: i64 = 10_000;
/// Deepest nesting of brackets and counts.
const DEEPEST: usize = 32;
/// Most operations of a kind one behind the other, as in `x mod 6 div 2`, each of which is nested in the next.
const LONGEST_CHAIN: usize = 8;
/// Longest text, in bytes.
const LONGEST: usize = 1 << 16;
/// Largest number of symbols, of states, and of returned numbers.
const MOST: usize = 64;

/// Largest number of definitions.
const MOST_DEFINITIONS: usize = 512;

type Read<T> = Result<T, ProgramError>;

impl Program {
    /// Reads a program.
    ///
    /// # Errors
    /// [`ProgramError`] with the first line that is wrong.
    pub fn read(text: &str) -> Read<Self> {
        if text.len() > LONGEST {
            let problem = format!("a program has {LONGEST} bytes at most, and this one has {}", text.len());
            return Err(ProgramError { line: 1, problem });
        }
        let program = Self {
            alphabet: Vec::new(),
            automata: Vec::new(),
            definitions: Vec::new(),
            truths: Vec::new(),
            returns: Vec::new(),
        };
        let mut reader = Reader { program, tokens: Vec::new(), at: 0, line: 1, depth: 0 };
        for statement in scan(text)? {
            reader.statement(statement)?;
        }
        if reader.program.returns.is_empty() {
            return Err(reader.wrong("nothing is returned; end with: return EXPRESSION"));
        }
        Ok(reader.program)
    }
}

/// Reads one statement after the other.
struct Reader {
    program: Program,
    tokens: Vec<Mark>,
    at: usize,
    line: usize,
    depth: usize,
}

impl Reader {
    fn wrong(&self, problem: impl Into<String>) -> ProgramError {
        let line = self.tokens.get(self.at).map_or(self.line, |mark| mark.line);
        ProgramError { line, problem: problem.into() }
    }

    fn unexpected(&self, wanted: &str) -> ProgramError {
        match self.peek() {
            Some(token) => self.wrong(format!("{wanted} is missing before {token}")),
            None => self.wrong(format!("{wanted} is missing at the end")),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|mark| &mark.token)
    }

    fn is(&self, text: &str) -> bool {
        self.peek().is_some_and(|token| matches!(token, Token::Word(known) | Token::Sign(known) if known == text))
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.is(text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Read<()> {
        if self.take(text) { Ok(()) } else { Err(self.unexpected(&format!("`{text}`"))) }
    }

    fn statement(&mut self, tokens: Vec<Mark>) -> Read<()> {
        self.line = tokens.last().map_or(self.line, |mark| mark.line);
        (self.tokens, self.at) = (tokens, 0);
        if !self.program.returns.is_empty() {
            return Err(self.wrong("`return` ends a program; put this before it"));
        }
        if self.take("alphabet") {
            return self.alphabet();
        }
        if self.program.alphabet.is_empty() {
            return Err(self.wrong("a program begins with its symbols: alphabet a b"));
        }
        if self.take("return") {
            loop {
                let value = self.expression()?;
                self.program.returns.push(value);
                if !self.take(",") {
                    break;
                }
            }
            if self.program.returns.len() > MOST {
                return Err(self.wrong(format!("{MOST} numbers can be returned at most")));
            }
        } else {
            let name = self.new_name()?;
            self.expect("=")?;
            if self.take("automaton") {
                let automaton = self.automaton(name)?;
                self.program.automata.push(automaton);
            } else {
                let value = self.expression()?;
                if self.program.definitions.len() >= MOST_DEFINITIONS {
                    return Err(self.wrong(format!("a program has {MOST_DEFINITIONS} names at most")));
                }
                self.program.truths.push(self.program.is_truth(&value));
                self.program.definitions.push((name, value));
            }
        }
        if self.at < self.tokens.len() { Err(self.unexpected("an operation")) } else { Ok(()) }
    }

    fn alphabet(&mut self) -> Read<()> {
        if !self.program.alphabet.is_empty() {
            return Err(self.wrong("there is one alphabet, and it is known already"));
        }
        let mut symbols: Vec<String> = Vec::new();
        while let Some(Token::Symbol(symbol)) = self.peek().cloned() {
            if symbols.contains(&symbol) {
                return Err(self.wrong(format!("the symbol {symbol} stands twice in the alphabet")));
            }
            symbols.push(symbol);
            self.at += 1;
        }
        if symbols.is_empty() || symbols.len() > MOST {
            return Err(self.wrong(format!("an alphabet has from 1 to {MOST} symbols, with spaces between them")));
        }
        self.program.alphabet = symbols;
        Ok(())
    }

    fn name(&mut self, what: &str) -> Read<String> {
        match self.peek() {
            Some(Token::Word(name)) if !RESERVED.contains(&name.as_str()) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn new_name(&mut self) -> Read<String> {
        let name = self.name("a name, `return`")?;
        let Program { definitions, automata, .. } = &self.program;
        if definitions.iter().any(|(known, _)| *known == name) || automata.iter().any(|known| known.name == name) {
            self.at -= 1;
            return Err(self.wrong(format!("{name} is defined already")));
        }
        Ok(name)
    }

    fn symbol(&mut self) -> Read<usize> {
        let Some(Token::Symbol(symbol)) = self.peek() else { return Err(self.unexpected("a symbol such as 'a'")) };
        let found = self.program.alphabet.iter().position(|known| known == symbol);
        let found = found.ok_or_else(|| {
            self.wrong(format!("'{symbol}' is not in the alphabet, which is {}", self.program.alphabet.join(" ")))
        })?;
        self.at += 1;
        Ok(found)
    }

    fn automaton(&mut self, name: String) -> Read<Automaton> {
        let symbols = self.program.alphabet.len();
        let mut rows: Vec<(String, Vec<Option<String>>)> = Vec::new();
        while self.at < self.tokens.len() {
            let state = self.name("the name of a state")?;
            if rows.iter().any(|(known, _)| *known == state) {
                return Err(self.wrong(format!("the state {state} has two rows")));
            }
            self.expect(":")?;
            let mut next = vec![None; symbols];
            loop {
                let symbol = self.symbol()?;
                self.expect("->")?;
                if next[symbol].replace(self.name("the name of a state")?).is_some() {
                    let symbol = &self.program.alphabet[symbol];
                    return Err(self.wrong(format!("{state} has two arrows for '{symbol}'")));
                }
                if !self.take(",") {
                    break;
                }
            }
            rows.push((state, next));
        }
        if rows.is_empty() || rows.len() > MOST {
            return Err(self.wrong("an automaton has rows of its states, indented: even: 'a' -> odd, 'b' -> even"));
        }
        let states: Vec<String> = rows.iter().map(|(state, _)| state.clone()).collect();
        let table = rows.iter().map(|(state, next)| {
            let cells = next.iter().enumerate().map(|(symbol, to)| {
                let symbol = &self.program.alphabet[symbol];
                let to = to.as_ref().ok_or_else(|| self.wrong(format!("{state} has no arrow for '{symbol}'")))?;
                let found = states.iter().position(|known| known == to);
                found.ok_or_else(|| self.wrong(format!("{to}, to which {state} goes, has no row")))
            });
            cells.collect::<Read<Vec<usize>>>()
        });
        Ok(Automaton { name, next: table.collect::<Read<_>>()?, states })
    }

    fn truth(&self, expression: Expression) -> Read<Expression> {
        if self.program.is_truth(&expression) {
            Ok(expression)
        } else {
            Err(self.wrong("a truth value is needed, and this is a number; compare it with one, as in x >= 1"))
        }
    }

    /// `or`, which binds least.
    fn expression(&mut self) -> Read<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(format!("brackets go deeper than {DEEPEST}; give parts of it names")));
        }
        let found = self.joined("or", Expression::Or, |reader| reader.joined("and", Expression::And, Self::negation));
        self.depth -= 1;
        found
    }

    fn joined(
        &mut self,
        word: &str,
        join: fn(Vec<Expression>) -> Expression,
        part: impl Fn(&mut Self) -> Read<Expression>,
    ) -> Read<Expression> {
        let first = part(self)?;
        if !self.is(word) {
            return Ok(first);
        }
        let mut all = vec![self.truth(first)?];
        while self.take(word) {
            let next = part(self)?;
            all.push(self.truth(next)?);
        }
        Ok(join(all))
    }

    fn negation(&mut self) -> Read<Expression> {
        let mut negations = 0;
        while self.take("not") {
            negations += 1;
        }
        let found = self.comparison()?;
        if negations == 0 {
            return Ok(found);
        }
        // Two of them are none.
        let found = self.truth(found)?;
        Ok(if negations % 2 == 1 { Expression::Not(Box::new(found)) } else { found })
    }

    fn relation(&mut self) -> Option<Relation> {
        let found = Relation::ALL.iter().find(|(text, _)| self.is(text)).map(|(_, relation)| *relation);
        self.at += usize::from(found.is_some());
        found
    }

    fn comparison(&mut self) -> Read<Expression> {
        let left = self.sum()?;
        match self.relation() {
            None => Ok(left),
            Some(relation) => Ok(Expression::Compare(relation, Box::new([left, self.sum()?]))),
        }
    }

    fn sum(&mut self) -> Read<Expression> {
        let mut terms = Vec::new();
        let mut sign = if self.take("-") { -1 } else { 1 };
        loop {
            terms.push((sign, self.product()?));
            sign = match () {
                () if self.take("+") => 1,
                () if self.take("-") => -1,
                () => break,
            };
        }
        // A single term is itself, so that a truth value stays one.
        Ok(if let [(1, _)] = terms.as_slice() { terms.swap_remove(0).1 } else { Expression::Sum(terms) })
    }

    fn product(&mut self) -> Read<Expression> {
        let mut found = self.placed()?;
        for _ in 0..=LONGEST_CHAIN {
            if self.take("*") {
                let other = self.placed()?;
                found = match (found, other) {
                    (Expression::Number(factor), of) | (of, Expression::Number(factor)) => {
                        Expression::Sum(vec![(factor, of)])
                    }
                    _ => {
                        return Err(self.wrong(
                            "one side of * must be a number that is written out: C-RASP has no products of counts; `if p then a else 0` multiplies by a truth value",
                        ));
                    }
                };
            } else if self.take("mod") {
                found = Expression::Remainder(Box::new(found), self.divisor()?);
            } else if self.take("div") {
                found = Expression::Quotient(Box::new(found), self.divisor()?);
            } else {
                return Ok(found);
            }
        }
        Err(self.wrong(format!(
            "more than {LONGEST_CHAIN} of *, mod and div in a row go deeper than is read; give parts of it names"
        )))
    }

    fn divisor(&mut self) -> Read<i64> {
        match self.number()? {
            0 => Err(self.wrong("a division by 0")),
            number => Ok(number),
        }
    }

    fn number(&mut self) -> Read<i64> {
        match self.peek() {
            Some(Token::Number(number)) if *number <= LARGEST => {
                let number = *number;
                self.at += 1;
                Ok(number)
            }
            Some(Token::Number(_)) => Err(self.wrong(format!("numbers go up to {LARGEST}"))),
            _ => Err(self.unexpected("a number")),
        }
    }

    /// An atom, perhaps at another place: p[i-1].
    fn placed(&mut self) -> Read<Expression> {
        let mut found = self.atom()?;
        let mut places = 0;
        while self.take("[") {
            places += 1;
            if places > LONGEST_CHAIN {
                return Err(self.wrong(format!(
                    "more than {LONGEST_CHAIN} places in a row go deeper than is read; give parts of it names"
                )));
            }
            let place = self.place()?;
            self.expect("]")?;
            found = Expression::At(Window(Some((Relation::Equal, place))), Box::new(found));
        }
        Ok(found)
    }

    fn place(&mut self) -> Read<Place> {
        let from = match () {
            () if self.take("i") => From::Own,
            () if self.take("n") => From::End,
            () => return Ok(Place { from: From::Start, offset: self.number()? }),
        };
        let offset = match () {
            () if self.take("+") => self.number()?,
            () if self.take("-") => -self.number()?,
            () => 0,
        };
        Ok(Place { from, offset })
    }

    fn atom(&mut self) -> Read<Expression> {
        match self.peek().cloned() {
            Some(Token::Number(_)) => Ok(Expression::Number(self.number()?)),
            Some(Token::Symbol(_)) => Ok(Expression::Symbol(self.symbol()?)),
            Some(Token::Sign(sign)) if sign == "(" => {
                self.at += 1;
                let found = self.expression()?;
                self.expect(")")?;
                Ok(found)
            }
            Some(Token::Sign(sign)) if sign == "#" => {
                self.at += 1;
                self.count()
            }
            Some(Token::Word(word)) => self.word(&word),
            _ => Err(self.unexpected("a symbol, a count, a name or a number")),
        }
    }

    /// `#[j <= i] p`
    fn count(&mut self) -> Read<Expression> {
        self.expect("[")?;
        self.expect("j")?;
        let window = match self.relation() {
            None => Window(None),
            Some(relation) => Window(Some((relation, self.place()?))),
        };
        self.expect("]")?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(format!("counts go deeper than {DEEPEST}; give parts of it names")));
        }
        let of = self.placed()?;
        self.depth -= 1;
        Ok(Expression::Count(window, Box::new(self.truth(of)?)))
    }

    fn word(&mut self, word: &str) -> Read<Expression> {
        match word {
            "i" | "n" => {
                self.at += 1;
                return Ok(if word == "i" { Expression::Index } else { Expression::Length });
            }
            "min" | "max" => {
                self.at += 1;
                self.expect("(")?;
                let first = self.expression()?;
                self.expect(",")?;
                let both = Box::new([first, self.expression()?]);
                self.expect(")")?;
                return Ok(if word == "min" { Expression::Least(both) } else { Expression::Greatest(both) });
            }
            "if" => {
                self.at += 1;
                let condition = self.expression()?;
                let condition = self.truth(condition)?;
                self.expect("then")?;
                let yes = self.expression()?;
                self.expect("else")?;
                return Ok(Expression::If(Box::new([condition, yes, self.expression()?])));
            }
            _ => {}
        }
        let name = self.name("a symbol, a count, a name or a number")?;
        let Program { definitions, automata, .. } = &self.program;
        if let Some(at) = definitions.iter().position(|(known, _)| *known == name) {
            return Ok(Expression::Defined(at));
        }
        let Some(at) = automata.iter().position(|known| known.name == name) else {
            self.at -= 1;
            return Err(self.wrong(format!("{name} is not defined before; a symbol is written '{name}'")));
        };
        self.expect(".")?;
        let state = self.name("the name of a state")?;
        let states = &self.program.automata[at].states;
        match states.iter().position(|known| *known == state) {
            Some(state) => Ok(Expression::State { automaton: at, state }),
            None => Err(self.wrong(format!("{name} has no state {state}; it has {}", states.join(", ")))),
        }
    }
}

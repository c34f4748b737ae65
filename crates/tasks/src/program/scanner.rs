//! From text to statements, each a list of tokens.

use std::fmt;

use thiserror::Error;

/// What is wrong with a program's text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct ProgramError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A word of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Number(i64),
    Symbol(String),
    Sign(String),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Sign(text) => write!(f, "`{text}`"),
            Self::Number(number) => write!(f, "`{number}`"),
            Self::Symbol(symbol) => write!(f, "'{symbol}'"),
        }
    }
}

/// A token, and the line where it stands, from 1.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub token: Token,
    pub line: usize,
}

/// Signs, longer ones before those that they begin with.
const SIGNS: [&str; 18] =
    ["->", "<=", ">=", "!=", "<", ">", "=", "+", "-", "*", "(", ")", "[", "]", "#", ",", ":", "."];

/// The statements of a text: lines, together with the indented ones that follow.
pub(super) fn scan(text: &str) -> Result<Vec<Vec<Mark>>, ProgramError> {
    let mut statements: Vec<Vec<Mark>> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        let marks = if line.split_whitespace().next() == Some("alphabet") {
            let words = line.split_whitespace().take_while(|word| !word.starts_with("//")).skip(1);
            let symbols = words.map(|word| Mark { token: Token::Symbol(word.to_owned()), line: at });
            std::iter::once(Mark { token: Token::Word("alphabet".to_owned()), line: at }).chain(symbols).collect()
        } else {
            tokens(line, at)?
        };
        if marks.is_empty() {
            continue;
        }
        match statements.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.extend(marks),
            _ => statements.push(marks),
        }
    }
    Ok(statements)
}

fn tokens(line: &str, at: usize) -> Result<Vec<Mark>, ProgramError> {
    let wrong = |problem: String| ProgramError { line: at, problem };
    let mut marks = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with("//") {
        let while_in = |is: fn(char) -> bool| rest.find(|c: char| !is(c)).unwrap_or(rest.len());
        let (token, length) = if let Some(quoted) = rest.strip_prefix('\'') {
            let end = quoted.find('\'').filter(|end| *end > 0);
            let end = end.ok_or_else(|| wrong("a symbol stands between two quotes: 'a'".to_owned()))?;
            (Token::Symbol(quoted[..end].to_owned()), end + 2)
        } else if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let end = while_in(|c| c.is_ascii_alphanumeric() || c == '_');
            (Token::Word(rest[..end].to_owned()), end)
        } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let end = while_in(|c| c.is_ascii_digit());
            let number = rest[..end].parse().map_err(|_| wrong(format!("{} is too large", &rest[..end])))?;
            (Token::Number(number), end)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign((*sign).to_owned()), sign.len())
        } else {
            let stranger: String = rest.chars().take(1).collect();
            return Err(wrong(format!(
                "`{stranger}` means nothing here; symbols stand between single quotes, as in 'a'"
            )));
        };
        marks.push(Mark { token, line: at });
        rest = rest[length..].trim_start();
    }
    Ok(marks)
}

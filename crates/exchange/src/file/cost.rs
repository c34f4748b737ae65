//! The memory needed to read a pickle, computed from its opcodes without creating any object.
//!
//! A pickle of a few bytes can stand for any number of objects: an opcode of one byte creates an object of a hundred
//! bytes, and one that fetches from the memo copies everything an object contains. So before a reader that creates
//! those objects sees the file, its stack is simulated with a [`Weight`] in place of each object. Each estimate is an
//! upper bound.
//!
//! Meanwhile, dictionary entries that state facts about the network are collected: those of configurations, and the
//! attributes of modules that were saved completely.
//!
//! # References
//! Lib/pickletools.py of CPython, for the opcodes.

use std::collections::HashMap;

use super::Budget;
use crate::{
    Error,
    told::{self, Told, Value},
};

/// Bytes of a value by itself.
const VALUE: u64 = 112;
/// Additional bytes of a value in a list, which doubles its capacity while the old one is copied.
const IN_LIST: u64 = 2 * VALUE;
/// Additional bytes of a pair in a dictionary, which keeps spare capacity.
const IN_DICT: u64 = 3 * VALUE;
/// Additional bytes of a value on the stack or in the memo.
const IN_TABLE: u64 = 3 * VALUE;
/// Bytes of a tensor once it has a name: handles, shape, stride, and its table row.
const TENSOR: u64 = 1024;

/// Estimated memory of one object.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// Bytes of the object and everything that it contains.
    bytes: u64,
    /// Bytes of its text, if it is a string.
    text: u64,
    /// Number of tensors and storages that it contains.
    tensors: u64,
    /// Bytes of the names of those tensors; a name is the path through all dictionaries above the tensor.
    names: u64,
    /// Its index in the memo; `None` if it is not there.
    memo: Option<u32>,
    /// Its value; `None` for a container.
    scalar: Option<Scalar>,
    /// Whether it is a module that was saved completely, or its attributes.
    is_module: bool,
}

/// A value as written in the pickle.
#[derive(Clone, Copy)]
enum Scalar {
    Nothing,
    Bool(bool),
    Number(f64),
    /// Range of the text's bytes.
    Text(usize, usize),
}

/// Largest number of bytes of a list index as part of a name.
const INDEX: u64 = 21;

impl Weight {
    fn text(length: u64) -> Self {
        Self { bytes: VALUE + 3 * length, text: length, ..Self::default() }
    }

    /// Adds a value, which has a name of `name` bytes, to the content.
    fn hold(&mut self, value: Self, name: u64) {
        self.bytes = self.bytes.saturating_add(value.bytes);
        self.tensors = self.tensors.saturating_add(value.tensors);
        let names = value.tensors.saturating_mul(name + 1);
        self.names = self.names.saturating_add(value.names).saturating_add(names);
    }

    fn whole(self) -> u64 {
        let tensors = self.tensors.saturating_mul(TENSOR);
        self.bytes.saturating_add(tensors).saturating_add(self.names.saturating_mul(4))
    }
}

/// Result of walking a pickle.
pub(super) struct Walked {
    /// Bytes needed to read it.
    pub needed: u64,
    /// Offset of its end.
    pub end: usize,
    /// Facts about the network.
    pub told: Vec<Told>,
    /// Whether it is a module that was saved completely.
    pub is_module: bool,
}

/// Largest number of facts that are collected, since a file can repeat one for two bytes.
const MOST_TOLD: usize = 256;
/// Largest number of bytes of a key or value that is examined.
const LONGEST_TOLD: u64 = 128;

/// Walks the pickle at offset `at`.
///
/// # Errors
/// [`Error::Memory`] as soon as the budget is exceeded; [`Error::File`] if it is not a pickle.
pub(super) fn of_pickle(bytes: &[u8], at: usize, budget: Budget) -> Result<Walked, Error> {
    let mut walk = Walk {
        bytes,
        at,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        live: 0,
        highest: 0,
        told: Vec::new(),
    };
    walk.run(budget)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Weight>,
    marks: Vec<usize>,
    memo: HashMap<u32, Weight>,
    /// Bytes of all objects on the stack and in the memo.
    live: u64,
    /// Largest number of values and marks on the stack so far; the stack keeps this capacity.
    highest: usize,
    told: Vec<Told>,
}

fn damaged(problem: &str) -> Error {
    Error::file(format!("holds a damaged pickle: {problem}"))
}

impl<'a> Walk<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| damaged("it is cut short"))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// Reads a little-endian number of `width` bytes.
    fn number(&mut self, width: u64) -> Result<u64, Error> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it is cut short"))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn push(&mut self, weight: Weight) {
        self.live = self.live.saturating_add(weight.bytes);
        self.stack.push(weight);
        self.highest = self.highest.max(self.stack.len() + self.marks.len());
    }

    fn push_text(&mut self, length: u64) -> Result<(), Error> {
        let from = self.at;
        let length = self.take(length)?.len();
        self.push(Weight { scalar: Some(Scalar::Text(from, self.at)), ..Weight::text(length as u64) });
        Ok(())
    }

    /// The text of an object; empty for a long one, which might be fetched again and again.
    fn letters(&self, weight: Weight) -> &'a str {
        let Some(Scalar::Text(from, to)) = weight.scalar.filter(|_| weight.text <= LONGEST_TOLD) else { return "" };
        self.bytes.get(from..to).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Collects a dictionary entry if it states a fact about the network.
    fn keep_told(&mut self, key: &str, value: Weight) {
        let value = match value.scalar {
            Some(Scalar::Nothing) => Value::Nothing,
            Some(Scalar::Bool(value)) => Value::Bool(value),
            Some(Scalar::Number(value)) => Value::Number(value),
            // A function is named by the last part of its path.
            Some(Scalar::Text(..)) => Value::Text(self.letters(value).to_owned()),
            None => return,
        };
        let told = Told { source: "the file".to_owned(), key: key.to_owned(), value };
        if self.told.len() < MOST_TOLD && !self.told.contains(&told) {
            self.told.push(told);
        }
    }

    fn pop(&mut self) -> Result<Weight, Error> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let weight = if self.stack.len() > floor { self.stack.pop() } else { None };
        let weight = weight.ok_or_else(|| damaged("it takes more than it has made"))?;
        self.live = self.live.saturating_sub(weight.bytes);
        Ok(weight)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Weight>, Error> {
        let mark = self.marks.pop().ok_or_else(|| damaged("a mark is missing"))?;
        let taken = self.stack.split_off(mark);
        self.live = taken.iter().fold(self.live, |live, weight| live.saturating_sub(weight.bytes));
        Ok(taken)
    }

    /// Combines several objects into one, which contains each under its index.
    fn gather(&mut self, items: &[Weight], more: u64) {
        let mut all = Weight { bytes: VALUE, ..Weight::default() };
        // Pairs for a dictionary come as tuples, in which one part names the other.
        let name = items.iter().map(|item| item.text).max().unwrap_or(0) + INDEX;
        for item in items {
            all.hold(*item, name);
            all.bytes = all.bytes.saturating_add(more);
        }
        self.push(all);
    }

    /// Appends items to the list on top of the stack.
    fn append(&mut self, items: &[Weight]) -> Result<(), Error> {
        let mut list = self.pop()?;
        for item in items {
            list.hold(*item, INDEX);
            list.bytes = list.bytes.saturating_add(IN_LIST);
        }
        self.push(list);
        Ok(())
    }

    /// Adds pairs to the dictionary on top of the stack.
    fn set(&mut self, items: &[Weight]) -> Result<(), Error> {
        let mut dict = self.pop()?;
        let keys: Vec<&str> = items.iter().step_by(2).map(|key| self.letters(*key)).collect();
        dict.is_module |= keys.contains(&"_modules");
        for (key, pair) in keys.iter().zip(items.chunks(2)).filter(|(key, _)| told::is_known(key)) {
            // In a dictionary with `lr`, `eps` belongs to an optimiser and not to a norm.
            if *key != "eps" || !keys.contains(&"lr") {
                self.keep_told(key, pair.get(1).copied().unwrap_or_default());
            }
        }
        for pair in items.chunks(2) {
            let [key, value] = [pair[0], pair.get(1).copied().unwrap_or_default()];
            dict.hold(key, 0);
            dict.hold(value, key.text.max(INDEX));
            dict.bytes = dict.bytes.saturating_add(IN_DICT);
        }
        self.push(dict);
        Ok(())
    }

    fn get(&mut self, index: u64) -> Result<(), Error> {
        let weight = u32::try_from(index).ok().and_then(|index| self.memo.get(&index).copied());
        self.push(weight.ok_or_else(|| damaged("it fetches what it did not keep"))?);
        Ok(())
    }

    fn put(&mut self, index: u64) -> Result<(), Error> {
        let index = u32::try_from(index).map_err(|_| damaged("its memo is too large"))?;
        let mut weight = self.pop()?;
        weight.memo = Some(index);
        self.push(weight);
        self.keep(index, weight);
        Ok(())
    }

    fn keep(&mut self, index: u32, weight: Weight) {
        let old = self.memo.insert(index, weight);
        self.live = self.live.saturating_add(weight.bytes).saturating_sub(old.map_or(0, |old| old.bytes));
    }

    /// Pops `count` objects and pushes one that contains them all.
    fn combine(&mut self, count: usize) -> Result<(), Error> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.gather(&items, 0);
        Ok(())
    }

    fn needed(&self) -> u64 {
        let slots = (self.highest + self.memo.len()) as u64;
        self.live.saturating_add(slots.saturating_mul(IN_TABLE))
    }

    fn run(&mut self, budget: Budget) -> Result<Walked, Error> {
        let mut most = 0;
        loop {
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                break;
            }
            self.step(opcode)?;
            most = most.max(self.needed());
            budget.check(most)?;
        }
        // The tensors stay in memory while the file is examined a second time.
        let root = self.pop()?;
        let needed = most.saturating_add(root.whole().saturating_mul(2));
        budget.check(needed)?;
        let told = std::mem::take(&mut self.told);
        Ok(Walked { needed, end: self.at, told, is_module: root.is_module })
    }

    fn step(&mut self, opcode: u8) -> Result<(), Error> {
        match opcode {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.remember(opcode)?,
            b'(' => {
                self.marks.push(self.stack.len());
                self.highest = self.highest.max(self.stack.len() + self.marks.len());
            }
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.gather(&items, 0);
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Weight::text(0));
                self.set(&items)?;
            }
            // Tuples; and calls and objects, which contain at most all their arguments.
            0x85 => self.combine(1)?,
            0x86 | b'R' | 0x81 => self.combine(2)?,
            0x93 => {
                let name = self.stack.last().copied().unwrap_or_default();
                self.combine(2)?;
                if let Some(global) = self.stack.last_mut() {
                    (global.scalar, global.text) = (name.scalar, name.text);
                }
                self.keep_class();
            }
            0x87 | 0x92 => self.combine(3)?,
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.push(top);
                self.push(top);
            }
            b'Q' => {
                let mut identity = self.pop()?;
                identity.tensors += 1;
                self.push(identity);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.pop()?;
                self.gather(&[object, state], IN_DICT);
                if let Some(built) = self.stack.last_mut() {
                    built.is_module = state.is_module;
                }
                if let (Some(index), Some(built)) = (object.memo, self.stack.last().copied()) {
                    self.keep(index, built);
                }
            }
            _ => self.scalar(opcode)?,
        }
        Ok(())
    }

    /// Opcodes that push one value and pop none.
    fn scalar(&mut self, opcode: u8) -> Result<(), Error> {
        let scalar = match opcode {
            b'N' => Some(Scalar::Nothing),
            0x88 | 0x89 => Some(Scalar::Bool(opcode == 0x88)),
            b'K' => Some(Scalar::Number(self.number(1)? as f64)),
            b'M' => Some(Scalar::Number(self.number(2)? as f64)),
            b'J' => Some(Scalar::Number(f64::from((self.number(4)? as u32).cast_signed()))),
            b'G' => Some(Scalar::Number(f64::from_bits((self.number(8)?).swap_bytes()))),
            b')' | b']' | b'}' | 0x8f => None,
            b'I' | b'L' | b'F' | b'V' | b'P' => {
                let from = self.at;
                let line = self.line()?;
                let text = std::str::from_utf8(line).unwrap_or_default();
                let scalar = match opcode {
                    b'V' => Some(Scalar::Text(from, from + line.len())),
                    // False and True in protocol 0.
                    b'I' if matches!(text, "00" | "01") => Some(Scalar::Bool(text == "01")),
                    _ => text.trim_end_matches('L').parse().ok().map(Scalar::Number),
                };
                // A persistent id may stand for a tensor.
                self.push(Weight { tensors: u64::from(opcode == b'P'), scalar, ..Weight::text(line.len() as u64) });
                return Ok(());
            }
            b'c' => {
                let module = self.line()?.len();
                let from = self.at;
                let name = self.line()?.len();
                let global = Weight::text((module + name) as u64);
                self.push(Weight { scalar: Some(Scalar::Text(from, from + name)), ..global });
                self.keep_class();
                return Ok(());
            }
            _ => return self.counted(opcode),
        };
        self.push(Weight { scalar, ..Weight::text(0) });
        Ok(())
    }

    /// The name of a class of norms is a fact about the network.
    fn keep_class(&mut self) {
        let class = self.stack.last().copied().unwrap_or_default();
        if self.letters(class).contains("RMSNorm") {
            self.keep_told("normalization_type", class);
        }
    }

    /// Opcodes that push a text of the given length.
    fn counted(&mut self, opcode: u8) -> Result<(), Error> {
        let length = match opcode {
            0x8a | 0x8c | b'U' | b'C' => self.number(1)?,
            0x8b | b'X' | b'T' | b'B' => self.number(4)?,
            0x8d | 0x8e | 0x96 => self.number(8)?,
            other => return Err(damaged(&format!("0x{other:02x} is no opcode that checkpoints use"))),
        };
        // Large integers are stored as bytes too; they are not text, but no known fact is one of them.
        self.push_text(length)
    }

    /// Opcodes of the memo.
    fn remember(&mut self, opcode: u8) -> Result<(), Error> {
        let index = match opcode {
            b'g' | b'p' => index(self.line()?)?,
            b'h' | b'q' => self.number(1)?,
            b'j' | b'r' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        if matches!(opcode, b'g' | b'h' | b'j') { self.get(index) } else { self.put(index) }
    }
}

fn index(line: &[u8]) -> Result<u64, Error> {
    let index = std::str::from_utf8(line).ok().and_then(|line| line.trim().parse().ok());
    index.ok_or_else(|| damaged("an index into its memo is no number"))
}

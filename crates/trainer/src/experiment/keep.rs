//! Which checkpoints a run keeps.

use std::fmt;

use headway_keys::{Alternative, Described, Form, Variant};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// How many of the newest checkpoints to keep, besides the best one: a number, or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepLast {
    /// This many. With 0 the newest stays until the run has ended, as something to resume from.
    Newest(usize),
    /// Every one that was saved.
    All,
}

impl KeepLast {
    /// How many of a number of checkpoints, the oldest, may go while the run goes on.
    pub(crate) fn forgets(self, saved: usize) -> usize {
        match self {
            Self::Newest(count) => saved.saturating_sub(count.max(1)),
            Self::All => 0,
        }
    }
}

impl Described for KeepLast {
    fn form() -> Form {
        let all = Form::choice("KeepLast", "", vec![Variant::new("all", "Every one that was saved.", None)]);
        Form::Either(vec![Alternative::new("This many.", Form::Count), Alternative::new("", all)])
    }
}

impl Serialize for KeepLast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Newest(count) => count.serialize(serializer),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl<'de> Deserialize<'de> for KeepLast {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = KeepLast;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of checkpoints from 0 up, or \"all\"")
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<KeepLast, E> {
        let count = usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))?;
        Ok(KeepLast::Newest(count))
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<KeepLast, E> {
        let count = usize::try_from(count).map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))?;
        Ok(KeepLast::Newest(count))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<KeepLast, E> {
        if text == "all" { Ok(KeepLast::All) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}

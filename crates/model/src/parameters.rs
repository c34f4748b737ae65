//! Which config keys determine the parameters of a model.

/// Keys that determine a parameter.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Keys that determine its shape.
    pub shape: &'static [Key],
    /// Keys that determine whether it exists.
    pub presence: &'static [Key],
}

/// A pattern for names of parameters, the keys that determine their shapes, and the keys that determine whether they
/// exist. The first rule that matches a name applies.
pub type Rule = (&'static str, &'static [Key], &'static [Key]);

/// What determines a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of the model's own table.
    Model(&'static str),
    /// The task's data at one input position.
    Inputs,
    /// The task's longest sequence.
    Length,
    /// The number of outputs at one position of the task.
    Outputs,
}

/// Keys of the first rule that matches a parameter; `None` if none does.
pub(crate) fn keys_of(rules: &[Rule], parameter: &str) -> Option<Keys> {
    let (_, shape, presence) = *rules.iter().find(|(pattern, ..)| matches(pattern, parameter))?;
    Some(Keys { shape, presence })
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = name.strip_prefix(head).and_then(|name| name.strip_suffix(tail));
    // Placing each part as far left as possible leaves the most room for the next ones.
    between.is_some_and(|between| {
        let rest = middle.split('*').try_fold(between, |rest, part| Some(&rest[rest.find(part)? + part.len()..]));
        rest.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("embed", "embed", true),
            ("embed", "embed.weight", false),
            ("blocks.0.*", "blocks.0.attention.query.weight", true),
            ("blocks.0.*", "blocks.1.attention.query.weight", false),
            ("*.query.*", "blocks.1.attention.query.bias", true),
            ("*.bias", "head.weight", false),
            ("*", "anything", true),
            ("**", "", true),
            ("a*a", "a", false),
            ("a*b*a", "aba", true),
            ("a*b*a", "abcba", true),
            ("a*b*b*a", "aba", false),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            (&"*a".repeat(10_000), &"a".repeat(9_999), false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}

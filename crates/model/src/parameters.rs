//! Which config keys the parameters of a model follow.

/// What a parameter follows.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Keys that set its shape.
    pub shape: &'static [Key],
    /// Keys that decide whether it is there.
    pub presence: &'static [Key],
}

/// A pattern for names of parameters, with what sets their shape and what decides whether they are there. Of several the first that
/// matches counts.
pub type Rule = (&'static str, &'static [Key], &'static [Key]);

/// What sets a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of the model's own table.
    Model(&'static str),
    /// What the task puts into one position.
    Inputs,
    /// Positions of the task's longest sequence.
    Length,
    /// Numbers that the task asks of one position.
    Outputs,
}

/// What a parameter follows by the first rule that names it.
pub(crate) fn keys_of(rules: &[Rule], parameter: &str) -> Option<Keys> {
    let (_, shape, presence) = *rules.iter().find(|(pattern, ..)| matches(pattern, parameter))?;
    Some(Keys { shape, presence })
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = name.strip_prefix(head).and_then(|name| name.strip_suffix(tail));
    // Each part as far left as it can stand leaves the most for the parts behind it.
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

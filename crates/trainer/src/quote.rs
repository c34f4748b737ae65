//! Quoting text from outside, file names above all, for where it is shown: a terminal, a shell, Python, Markdown.

use std::{borrow::Cow, ffi::OsStr, fmt::Write as _, path::Path};

use serde::Serializer;

/// Whether a terminal interprets the character instead of showing it: control characters, and those that change the
/// direction of writing.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text for a terminal: characters that it would interpret become `\u001b` and the like, which JSON, TOML and Python
/// can read. Line breaks and tabs are kept.
pub fn printable(text: &str) -> Cow<'_, str> {
    let stays = |c: char| !is_obeyed(c) || matches!(c, '\n' | '\t');
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if stays(c) {
            shown.push(c);
        } else {
            escape(&mut shown, c);
        }
    }
    Cow::Owned(shown)
}

/// A text for a terminal in which every byte keeps its position.
pub fn printable_in_place(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        c if !is_obeyed(c) => c,
        c if c.len_utf8() == 1 => '?',
        c if c.len_utf8() == 2 => '\u{bf}',
        _ => '\u{fffd}',
    };
    text.chars().map(shown).collect()
}

fn escape(text: &mut String, c: char) {
    // Writing to a string cannot fail. All these characters are below 2^16.
    let _ = write!(text, "\\u{:04x}", u32::from(c));
}

/// One word of a shell command. Bytes that are not text, or that a terminal would interpret, are written as `$'\xff'`.
pub fn shell(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    let is_plain = |c: char| c.is_alphanumeric() || "_-./=,:+@%".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(is_obeyed) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let mut quoted = "$'".to_owned();
            for byte in word.as_encoded_bytes() {
                let _ = match byte {
                    b'\'' | b'\\' => write!(quoted, "\\{}", char::from(*byte)),
                    b' '..=b'~' => write!(quoted, "{}", char::from(*byte)),
                    _ => write!(quoted, "\\x{byte:02x}"),
                };
            }
            quoted + "'"
        }
    }
}

/// [`shell`] for the path of a file, which may begin with a dash.
pub fn shell_path(path: impl AsRef<OsStr>) -> String {
    let path = path.as_ref();
    if !path.as_encoded_bytes().starts_with(b"-") {
        return shell(path);
    }
    let mut below = std::ffi::OsString::from("./");
    below.push(path);
    shell(below)
}

/// A Python string. Bytes that are not text are written as by `os.fsdecode`; Python's functions for paths convert them
/// back.
pub fn python(text: impl AsRef<OsStr>) -> String {
    let mut quoted = "\"".to_owned();
    for chunk in text.as_ref().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if is_obeyed(c) => escape(&mut quoted, c),
                c => quoted.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\udc{byte:02x}");
        }
    }
    quoted + "\""
}

/// A code span in Markdown, inside which neither Markdown nor HTML is interpreted.
pub fn code(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy().replace(is_obeyed, " ");
    let longest = text.split(|c: char| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A path in JSON, for `serialize_with`: bytes that are not text are replaced, as where it is shown.
///
/// # Errors
/// The serialiser's error.
pub fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(printable("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(printable("\x1b[31m\r\u{9b}2J\u{202e}"), r"\u001b[31m\u000d\u009b2J\u202e");
        let text = "é\x1b\u{9b}\u{202e}\n";
        let shown = printable_in_place(text);
        assert_eq!((shown.as_str(), shown.len()), ("é?\u{bf}\u{fffd}\n", text.len()));
    }

    #[test]
    fn a_shell_and_python_read_back_what_was_quoted() {
        let words: [&[u8]; 8] = [
            b"plain/run-1",
            b"two words",
            b"it's; rm -rf $HOME `x` \\ \"",
            b"\x1b[31m'\\\n",
            b"\xff\xfe",
            b"-x",
            b"",
            "é".as_bytes(),
        ];
        for word in words {
            let word = OsStr::from_bytes(word);
            let quoted = shell(word);
            let output = std::process::Command::new("bash").arg("-c").arg(format!("printf %s {quoted}")).output();
            let output = output.unwrap_or_else(|error| panic!("bash: {error}"));
            assert_eq!(output.stdout, word.as_bytes(), "{quoted}");
        }
        assert_eq!(shell("plain/run-1"), "plain/run-1");
        assert_eq!(shell_path("-x y"), "'./-x y'");
        assert_eq!(python(OsStr::from_bytes(b"a\"\\\n\xff")), r#""a\"\\\u000a\udcff""#);
    }

    #[test]
    fn nothing_leaves_a_span_of_code() {
        assert_eq!(code("runs/a<b>"), "`runs/a<b>`");
        assert_eq!(code("a`b``c\n# d"), "```a`b``c # d```");
        assert_eq!(code("`"), "`` ` ``");
    }
}

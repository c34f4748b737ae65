//! Changes to a valid file: to bytes of any file, to numbers in its text or its binary headers, to values of its tree.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Map, Value, json};

/// Layout of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON document.
    Json,
    /// One JSON document per line.
    JsonLines,
    /// A TOML document.
    Toml,
    /// A length, a JSON header, data.
    Safetensors,
    /// Binary numbers of 2, 4 and 8 bytes.
    Binary,
    /// Lines of text.
    Text,
}

/// One change. Positions are shares of the length, so that any change fits any file.
#[derive(Clone, Debug)]
pub enum Change {
    /// Keep only the first bytes.
    Cut(Index),
    /// Flip bits of a byte.
    Flip(Index, u8),
    /// Delete bytes.
    Delete(Index, u8),
    /// Repeat bytes 2^n times.
    Repeat(Index, u16, u8),
    /// Insert a piece 2^n times.
    Insert(Index, Index, u8),
    /// Replace a number of the text.
    Number(Index, Index),
    /// Replace a little-endian number of 2^n bytes.
    Word(Index, u8, Index),
    /// Replace a value of the tree.
    Value(Index, Index),
    /// Replace a number of the tree by another of its kind, integer or not.
    Like(Index, Index),
    /// Replace the shape of a tensor by another with the same number of entries.
    Shape(Index, u8),
    /// Replace a value of the tree by a copy of another value of the tree.
    Copy(Index, Index),
    /// Remove a value of the tree.
    Drop(Index),
    /// Add a key with a value.
    Key(Index, Index, Index),
    /// Nest a value of the tree in lists or in tables, to twice this depth.
    Nest(Index, u16, bool),
    /// Repeat the first item of a list 2^n times.
    Multiply(Index, u8),
}

use Change::{Copy, Cut, Delete, Drop, Flip, Insert, Key, Like, Multiply, Nest, Number, Repeat, Shape, Word};

/// One to four changes that fit a format.
pub fn changes(format: Format) -> impl Strategy<Value = Vec<Change>> {
    let at = any::<Index>;
    let bytes = prop_oneof![
        at().prop_map(Cut),
        (at(), any::<u8>()).prop_map(|(at, bits)| Flip(at, bits)),
        (at(), any::<u8>()).prop_map(|(at, count)| Delete(at, count)),
        (at(), any::<u16>(), 0_u8..8).prop_map(|(at, len, times)| Repeat(at, len, times)),
        (at(), at(), 0_u8..19).prop_map(|(at, piece, times)| Insert(at, piece, times)),
        (at(), at()).prop_map(|(at, number)| Number(at, number)),
        (at(), 0_u8..4, at()).prop_map(|(at, width, number)| Word(at, width, number)),
    ];
    let shapes = if format == Format::Safetensors { 6 } else { 1 };
    let tree = prop_oneof![
        6 => (at(), at()).prop_map(|(at, value)| Change::Value(at, value)),
        6 => (at(), at()).prop_map(|(at, number)| Like(at, number)),
        shapes => (at(), any::<u8>()).prop_map(|(at, how)| Shape(at, how)),
        2 => (at(), at()).prop_map(|(at, from)| Copy(at, from)),
        1 => at().prop_map(Drop),
        1 => (at(), at(), at()).prop_map(|(at, key, value)| Key(at, key, value)),
        1 => (at(), 0_u16..400, any::<bool>()).prop_map(|(at, depth, list)| Nest(at, depth, list)),
        1 => (at(), 0_u8..17).prop_map(|(at, times)| Multiply(at, times)),
    ];
    let tree_share = match format {
        Format::Binary | Format::Text => 0,
        Format::Safetensors => 2,
        Format::Json | Format::JsonLines | Format::Toml => 4,
    };
    // proptest allows no weight of zero.
    let one = if tree_share == 0 { bytes.boxed() } else { prop_oneof![1 => bytes, tree_share => tree].boxed() };
    // Most files are refused at the first error, so code beyond it is reached only by single changes.
    prop_oneof![vec(one.clone(), 1..2), vec(one, 2..5)]
}

/// Pieces that have a meaning in some format.
const PIECES: &[&[u8]] = &[
    b"0,",
    b"[],",
    b"{},",
    b"[",
    b"{\"a\":",
    b"\n",
    b"a=1\n",
    b"[a]\n",
    b"[[a]]\n",
    b"a.",
    b"x = { y = ",
    b"#\n",
    b"\"",
    b"'",
    b"\"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc3",
    b" ",
    b",",
    b"-",
    b"9",
    b"1e",
    b"nan",
    b"inf",
    b"null",
    b"true",
    b"1979-05-27T07:32:00Z",
    b"*",
    b"(",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"{\"step\":1}\n",
    b"\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
];

/// Numbers as text.
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "3",
    "17",
    "255",
    "256",
    "1000",
    "10000",
    "65535",
    "65536",
    "1000000",
    "1048576",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "1000000000000",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "0.5",
    "1e-320",
    "1e-30",
    "1e30",
    "3.5e38",
    "1e300",
    "1.7976931348623157e308",
    "1e309",
    "-1e308",
    "nan",
    "inf",
    "-inf",
    "0x7fffffffffffffff",
];

/// Numbers of binary headers.
const WORDS: &[u64] = &[
    0,
    1,
    2,
    8,
    0x7f,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0xff_ffff,
    0x0fff_ffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 40,
    1 << 61,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// Values to replace others by.
fn values() -> Vec<Value> {
    let numbers = NUMBERS.iter().filter_map(|number| serde_json::from_str(number).ok());
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("x"),
        json!("none"),
        json!("\u{0}"),
        json!("a.b.c"),
        json!("*".repeat(3000)),
        json!("é".repeat(70_000)),
        json!("(".repeat(5000)),
        json!("max(x1, x1_1, i) + sin(x2)^2"),
        json!("-".repeat(300) + "x1"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([0]),
        json!([1, 2, 3]),
        json!([1e300, -1e300]),
        json!(["a", "a"]),
        json!({ "a": 1 }),
        json!({ "none": {} }),
        json!({ "first": 0, "count": u64::MAX }),
        json!({ "first": u64::MAX, "count": 1_000_000 }),
        json!({ "ffn": { "d_ffn": 1_000_000 } }),
        json!({ "points_start": 1, "d_start": 1, "every": 1 }),
        json!({ "uniform": { "low": -1e308, "high": 1e308 } }),
        json!({ "scale_x": 1e-300 }),
        json!("half_subspace"),
        json!("sinusoidal"),
        json!("sphere"),
        json!("F64"),
        json!("BF16"),
    ];
    numbers.chain(others).collect()
}

impl Change {
    /// The file after the change.
    pub fn apply(&self, format: Format, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Change::Value(..) | Like(..) | Shape(..) | Copy(..) | Drop(..) | Key(..) | Nest(..) | Multiply(..) => {
                self.to_tree(format, bytes)
            }
            _ => self.to_bytes(bytes),
        }
    }

    fn to_bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let place = |at: &Index, len: usize| at.index(len + 1);
        match self {
            Cut(at) => bytes.truncate(place(at, bytes.len())),
            Flip(at, bits) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= bits;
                }
            }
            Delete(at, count) => {
                let from = place(at, bytes.len());
                let to = bytes.len().min(from + usize::from(*count));
                bytes.drain(from..to);
            }
            Repeat(at, len, times) => {
                let from = place(at, bytes.len());
                let to = bytes.len().min(from + usize::from(*len));
                let piece = bytes[from..to].repeat(1 << times);
                bytes.splice(to..to, piece);
            }
            Insert(at, piece, times) => {
                let (at, piece) = (place(at, bytes.len()), PIECES[piece.index(PIECES.len())]);
                bytes.splice(at..at, piece.repeat(1 << times));
            }
            Number(at, number) => {
                let is_part = |byte: &u8| byte.is_ascii_digit() || b".+-eE".contains(byte);
                let starts: Vec<usize> = (0..bytes.len())
                    .filter(|&at| bytes[at].is_ascii_digit() && (at == 0 || !is_part(&bytes[at - 1])))
                    .collect();
                if !starts.is_empty() {
                    let from = starts[at.index(starts.len())];
                    let len = bytes[from..].iter().take_while(|byte| is_part(byte)).count();
                    bytes.splice(from..from + len, NUMBERS[number.index(NUMBERS.len())].bytes());
                }
            }
            Word(at, width, number) => {
                let number = WORDS[number.index(WORDS.len())].to_le_bytes();
                // Headers are at the start or the end.
                let (len, at) = (bytes.len(), place(at, bytes.len()));
                let at = match at % 3 {
                    0 => at % 64.min(len + 1),
                    1 => len - at % 400.min(len + 1),
                    _ => at,
                };
                let to = bytes.len().min(at + (1 << width));
                bytes[at..to].copy_from_slice(&number[..to - at]);
            }
            _ => unreachable!("a change of the tree"),
        }
        bytes
    }

    /// Changes the tree of the whole file, of one line or of the header; a file without a tree is unchanged.
    fn to_tree(&self, format: Format, bytes: Vec<u8>) -> Vec<u8> {
        let json = |bytes: &[u8]| {
            let tree = serde_json::from_slice(bytes).ok()?;
            let mut changed = Vec::new();
            self.write(tree, &mut |value| serde_json::to_writer(&mut changed, value).is_ok());
            Some(changed)
        };
        let changed = match format {
            Format::Json => json(&bytes),
            Format::JsonLines => {
                let at = self.place();
                let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let line = at.index(lines.len());
                json(&lines[line]).map(|changed| {
                    lines[line] = changed;
                    lines.join(&b'\n')
                })
            }
            Format::Toml => {
                let text = String::from_utf8_lossy(&bytes);
                let tree = toml::from_str::<toml::Table>(&text).ok();
                let tree = tree.and_then(|table| serde_json::to_value(table).ok());
                tree.and_then(|tree| {
                    let mut changed = None;
                    self.write(tree, &mut |value| {
                        changed = toml::to_string(value).ok();
                        changed.is_some()
                    });
                    changed.map(String::into_bytes)
                })
            }
            Format::Safetensors => {
                let header = bytes.split_first_chunk::<8>().and_then(|(len, rest)| {
                    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
                    Some((rest.get(..len)?, rest.get(len..)?))
                });
                header.and_then(|(header, data)| {
                    let header = json(header)?;
                    Some([&(header.len() as u64).to_le_bytes()[..], &header, data].concat())
                })
            }
            Format::Binary | Format::Text => None,
        };
        changed.unwrap_or(bytes)
    }

    fn place(&self) -> Index {
        match self {
            Change::Value(at, _)
            | Like(at, _)
            | Shape(at, _)
            | Copy(at, _)
            | Drop(at)
            | Key(at, ..)
            | Nest(at, ..)
            | Multiply(at, _) => *at,
            _ => unreachable!("a change of bytes"),
        }
    }

    fn write(&self, mut tree: Value, write: &mut dyn FnMut(&Value) -> bool) {
        let all = paths(&tree);
        let path = |at: &Index| all[at.index(all.len())].clone();
        let all_values = values();
        match self {
            Change::Value(at, value) => {
                if let Some(there) = tree.pointer_mut(&path(at)) {
                    *there = all_values[value.index(all_values.len())].clone();
                }
            }
            Like(at, number) => {
                let numbers: Vec<&String> =
                    all.iter().filter(|path| tree.pointer(path).is_some_and(Value::is_number)).collect();
                if !numbers.is_empty()
                    && let Some(there) = tree.pointer_mut(numbers[at.index(numbers.len())])
                {
                    let whole = there.is_u64() || there.is_i64();
                    let alike: Vec<&Value> =
                        all_values.iter().filter(|value| value.is_number() && value.is_f64() != whole).collect();
                    *there = alike[number.index(alike.len())].clone();
                }
            }
            Shape(at, how) => {
                let shapes: Vec<&String> = all.iter().filter(|path| path.ends_with("/shape")).collect();
                if !shapes.is_empty()
                    && let Some(Value::Array(shape)) = tree.pointer_mut(shapes[at.index(shapes.len())])
                {
                    match how % 4 {
                        0 => shape.reverse(),
                        1 => shape.push(json!(1)),
                        2 => shape.insert(0, json!(1)),
                        _ => *shape = vec![json!(shape.iter().filter_map(Value::as_u64).fold(1, u64::wrapping_mul))],
                    }
                }
            }
            Copy(at, from) => {
                let value = tree.pointer(&path(from)).cloned().unwrap_or_default();
                if let Some(there) = tree.pointer_mut(&path(at)) {
                    *there = value;
                }
            }
            Drop(at) => {
                let path = path(at);
                if let Some((parent, key)) = path.rsplit_once('/') {
                    match tree.pointer_mut(parent) {
                        Some(Value::Object(table)) => drop(table.remove(&plain(key))),
                        Some(Value::Array(items)) => {
                            let index = key.parse().unwrap_or(0);
                            drop(items.remove(index));
                        }
                        _ => {}
                    }
                }
            }
            Key(at, key, value) => {
                if let Some(Value::Object(table)) = tree.pointer_mut(&path(at)) {
                    let known = all.iter().filter_map(|path| path.rsplit('/').next()).map(plain);
                    let keys: Vec<String> =
                        known.chain([String::new(), "k".repeat(300), "a.b".to_owned(), "\u{0}".to_owned()]).collect();
                    let value = all_values[value.index(all_values.len())].clone();
                    table.insert(keys[key.index(keys.len())].clone(), value);
                }
            }
            Nest(at, depth, list) => {
                if let Some(there) = tree.pointer_mut(&path(at)) {
                    for _ in 0..u32::from(*depth) * 2 {
                        let inner = there.take();
                        *there = if *list {
                            Value::Array(vec![inner])
                        } else {
                            Value::Object(Map::from_iter([("a".to_owned(), inner)]))
                        };
                    }
                }
            }
            Multiply(at, times) => {
                if let Some(Value::Array(items)) = tree.pointer_mut(&path(at))
                    && let Some(first) = items.first().cloned()
                    // A long list of large items is too large, and tests nothing more.
                    && first.to_string().len() << times < 1 << 22
                {
                    *items = vec![first; 1 << times];
                }
            }
            _ => unreachable!("a change of bytes"),
        }
        write(&tree);
    }
}

/// The pointer of every value, the root first.
pub fn paths(tree: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, all: &mut Vec<String>) {
        all.push(path.to_owned());
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    walk(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), all);
                }
            }
            // The rest of a long list is like its start.
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate().take(8) {
                    walk(value, &format!("{path}/{index}"), all);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(tree, "", &mut all);
    all
}

/// A key as it is in a table, without the escapes of a pointer.
fn plain(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

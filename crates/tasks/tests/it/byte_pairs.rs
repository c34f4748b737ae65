//! Byte pairs of a `tokenizer.json`: the same tokens as the Python package finds, and back to text.

use std::{collections::BTreeMap, f64::consts::LN_2, fs, io, path::Path};

use headway_tasks::{DataConfig, Files, Lack, NoToken, Seed, Source, TaskConfig, TaskError, Tokenizer, Vocabulary};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Made by `fixtures/byte_pairs.py`.
#[derive(Deserialize)]
struct Expected {
    novel: Novel,
    #[serde(flatten)]
    texts: BTreeMap<String, Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Novel {
    count: usize,
    sha256: String,
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(name)).expect(name)
}

fn expected() -> Expected {
    toml::from_str(std::str::from_utf8(&fixture("byte_pairs.toml")).expect("UTF-8")).expect("made by the script")
}

fn vocabulary(name: &str, has_unknown: bool) -> Vocabulary {
    let tokenizer = Tokenizer::new(&fixture(&format!("{name}.json"))).expect(name);
    Vocabulary::Tokenizer { tokenizer, has_unknown }
}

/// What the files say of truncation, padding, dropout and tokens around a text has no influence.
#[test]
fn the_tokens_are_those_of_the_python_package_and_become_the_text_again() {
    let Expected { novel, texts } = expected();
    for (name, Text { text, ids }) in &texts {
        assert_eq!(vocabulary(name, true).tokens(text.as_bytes()).as_ref(), Ok(ids), "{name}");
    }
    for name in ["byte_pairs", "spaced_pairs"] {
        let (vocabulary, Text { text, ids }) = (vocabulary(name, false), &texts[name]);
        for begin in [0, 1, 30] {
            let (before, after) = ids.split_at(begin);
            let write = |ids: &[u32], before: &[u32]| -> Vec<String> {
                let mut writer = vocabulary.writer(before);
                ids.iter().enumerate().map(|(at, token)| writer.write(*token, at + 1 == ids.len())).collect()
            };
            let pieces = write(after, before);
            let whole = write(before, &[]).concat() + &pieces.concat();
            assert_eq!(&whole, text, "{name} from {begin}");
            assert!(!whole.contains(char::REPLACEMENT_CHARACTER) && pieces.iter().any(String::is_empty), "{name}");
        }
    }
    // A text that is long enough to be divided.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/austen");
    let files = Files::new(path, |path| fs::read(path), |_, _, _| Err("no arrays".to_owned()));
    let text = files.read(Path::new("northanger_abbey.txt.gz")).expect("the novel is there").bytes;
    let tokens = vocabulary("byte_pairs", false).tokens(&text).expect("all bytes are known");
    let digest = Sha256::digest(tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>());
    let wanted: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&novel.sha256[2 * at..][..2], 16).expect("hex")).collect();
    assert_eq!((tokens.len(), digest.as_slice()), (novel.count, wanted.as_slice()));
}

#[test]
fn names_show_what_is_written_and_spaces() {
    for name in ["byte_pairs", "spaced_pairs"] {
        let vocabulary = vocabulary(name, false);
        let tokens = vocabulary.tokens("no one\n".as_bytes()).expect(name);
        let names: String = tokens.iter().map(|token| vocabulary.name(*token)).collect();
        assert_eq!(names.trim_start_matches('␣'), "no␣one\\n", "{name}");
        // No bytes of a part of a character, but what stands for them in the file; so for a number that has no token.
        let part = vocabulary.tokens("é".as_bytes()).expect(name)[usize::from(name == "spaced_pairs")];
        assert_eq!(vocabulary.name(part), if name == "byte_pairs" { "Ã" } else { "<0xC3>" });
        assert_eq!(vocabulary.name(9999), "#9999");
    }
}

#[test]
fn what_has_no_token_is_refused_with_its_place_or_read_as_the_file_says() {
    let strict = vocabulary("few_pairs", false);
    let lacking = |line, column, character| Err(NoToken { line, column, lack: Lack::Unlearned(character) });
    assert_eq!(strict.tokens(b"ab\n cab"), Ok(vec![4, 6]));
    assert_eq!(strict.tokens("ab\nc ü".as_bytes()), lacking(2, 3, 'ü'));
    assert_eq!(vocabulary("few_pairs", true).tokens("ab\nc ü".as_bytes()), Ok(vec![4, 3, 0]));
    // Without a token for the unknown it would be passed over in silence.
    let file = String::from_utf8(fixture("few_pairs.json"))
        .expect("UTF-8")
        .replace("\"unk_token\":\"?\"", "\"unk_token\":null");
    let without = |has_unknown| Vocabulary::Tokenizer {
        tokenizer: Tokenizer::new(file.as_bytes()).expect("without a token for the unknown"),
        has_unknown,
    };
    assert_eq!(without(false).tokens("ab\nc ü".as_bytes()), lacking(2, 3, 'ü'));
    assert_eq!(without(false).tokens("ü".as_bytes()), lacking(1, 1, 'ü'));
    assert_eq!(without(true).tokens("ab\nc ü".as_bytes()), Ok(vec![4, 3]));
    // Within a word as well, and where one byte of a character has a token and the other has none.
    let of = |file: String| Vocabulary::Tokenizer {
        tokenizer: Tokenizer::new(file.as_bytes()).expect("without a token for the unknown"),
        has_unknown: false,
    };
    let whole = file.replace("{\"type\":\"Whitespace\"}", "null");
    assert_eq!(of(whole).tokens("cüc".as_bytes()), lacking(1, 2, 'ü'));
    let bytes = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}"#;
    let halves = file.replace("{\"type\":\"Whitespace\"}", bytes).replace("\"c\":3", "\"c\":3,\"Ã\":7");
    assert_eq!(of(halves).tokens("abé".as_bytes()), lacking(1, 3, 'é'));
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("a.txt") => Ok("é€\né€".as_bytes().to_vec()),
        Some("pairs.json") => Ok(fixture("byte_pairs.json")),
        Some("other.json") => Ok(fixture("spaced_pairs.json")),
        Some("words.json") => {
            let model = r#"{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}"#;
            let rest = r#""version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"#;
            let rest = format!("{rest}\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null");
            Ok(format!("{{{rest},\"model\":{model}}}").into_bytes())
        }
        Some("cut.json") => Ok(fixture("byte_pairs.json")[..900].to_vec()),
        Some("marked.json") => {
            let file = String::from_utf8(fixture("few_pairs.json")).expect("UTF-8");
            Ok(file.replace("continuing_subword_prefix\":null", "continuing_subword_prefix\":\"####\"").into_bytes())
        }
        Some("joined.json") => {
            let file = String::from_utf8(fixture("few_pairs.json")).expect("UTF-8");
            Ok(file.replace("[\"ab\",\"c\"]", "[\"ab\",\"c\"],[\"abc\",\"abc\"]").into_bytes())
        }
        Some("list.json") => Ok(b"\n[1]".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn settled(tokenizer: &str, more: &str) -> Result<TaskConfig, TaskError> {
    let files = Files::new("", read, |_, _, _| Err("no arrays here".to_owned()));
    let text = format!(
        "[language]\ntrain = [\"a.txt\"]\ntest = [\"a.txt\"]\nseq_len = 8\n{more}\n[language.tokens]\ntokenizer = \"{tokenizer}\""
    );
    let mut config: TaskConfig = toml::from_str(&text).expect(&text);
    config.settle(&files)?;
    Ok(config)
}

#[test]
fn bits_are_those_of_the_characters_of_the_text() {
    let files = Files::new("", read, |_, _, _| Err("no arrays here".to_owned()));
    // é has two bytes and two tokens, € has three; of the first three tokens the last begins the second character.
    for (tokens, characters) in [(2, 1.0), (3, 2.0), (5, 2.0), (6, 3.0)] {
        let config = settled("pairs.json", &format!("test_tokens = {tokens}")).expect("sound");
        assert_eq!((config.validate(), config.dims().d_out), (vec![], 320));
        let task = config.open(&files, Seed(1)).expect("sound");
        let source = Source::new(task, Seed(1), DataConfig::Fresh { validation: 0, test: 1 }, 1);
        let bits = source.task().measures()[0].score(None, Some(LN_2));
        assert_eq!(bits, Some(f64::from(tokens) / characters), "{tokens}");
    }
}

#[test]
fn what_is_wrong_with_a_tokenizer_is_told_with_its_file_and_place() {
    let refused = |tokenizer: &str| settled(tokenizer, "").expect_err(tokenizer).into_parts();
    for (file, wanted) in [
        ("none.json", "none.json: entity not found"),
        ("cut.json", "cut.json: is no tokenizer.json: EOF while parsing a string at line 1 column 900"),
        ("list.json", "list.json: is no tokenizer.json: invalid type: sequence, expected "),
        ("marked.json", "marked.json: marks what continues a word (continuing_subword_prefix), which is not read"),
        ("joined.json", "joined.json: joins \"abc\" and \"abc\" (model.merges) to what is no token of model.vocab"),
        ("words.json", "words.json: is a tokenizer of another kind than byte pairs (BPE)"),
    ] {
        let (key, problem) = refused(file);
        assert!(key == "tokens" && problem.starts_with(wanted), "{problem}");
    }
    // It is part of the data: another one is refused where texts are read, and not before.
    let mut config = settled("pairs.json", "").expect("sound");
    let files = Files::new("", read, |_, _, _| Err("no arrays here".to_owned()));
    assert_eq!(config.data_sha256().map(|digests| digests.split('+').count()), Some(3));
    let place = config.tokenizer_mut().expect("it has a tokenizer");
    *place = "other.json".into();
    let mut config: TaskConfig = toml::from_str(&toml::to_string(&config).expect("TOML")).expect("as written");
    config.settle(&files).expect("nothing is read");
    assert_eq!((config.validate(), config.vocabulary(), config.dims().d_out), (vec![], None, 320));
    let changed = config.open(&files, Seed(0)).err();
    assert!(matches!(changed, Some(TaskError::Changed { key: "tokens", .. })), "{changed:?}");
}

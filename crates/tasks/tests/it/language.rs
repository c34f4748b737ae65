//! Language modelling: vocabularies, windows, n-grams, and what is refused.

use std::{collections::BTreeSet, f64::consts::LN_2, io, path::Path};

use headway_tasks::{
    DataConfig, Files, Lack, NoToken, Seed, Source, Split, Targets, TaskConfig, TaskError, TaskInput, Vocabulary,
};

const SHORT: &str = "[language]\ntrain = [\"a.txt\", \"b.txt\"]\nvalidation = [\"b.txt\"]\ntest = [\"a.txt\"]\n";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("a.txt") => Ok(b"abcab\n\xc3\xa9a".to_vec()),
        Some("b.txt") => Ok(b"ba ba".to_vec()),
        Some("foreign.txt") => Ok("ab\nab\u{fc}a".as_bytes().to_vec()),
        Some("bytes.txt") => Ok(b"ab\n\xff\xfe".to_vec()),
        Some("one.txt") => Ok(b"a".to_vec()),
        Some("empty.txt") => Ok(Vec::new()),
        // The first bytes of a gzip file.
        Some("cut.txt.gz") => Ok(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 75]),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn files() -> Files {
    Files::new("", read, |_, _, _| Err("no arrays here".to_owned()))
}

fn settled(text: &str) -> Result<TaskConfig, TaskError> {
    let mut config: TaskConfig = toml::from_str(text).expect(text);
    config.settle(&files())?;
    Ok(config)
}

fn source(text: &str, batch_size: usize) -> Source {
    let config = settled(text).expect(text);
    assert_eq!(config.validate(), [], "{text}");
    let [validation, test] = config.held_evaluation().expect("texts are settled");
    let task = config.open(&files(), Seed(1)).expect(text);
    Source::new(task, Seed(1), DataConfig::Fresh { validation, test }, batch_size)
}

/// Bits per character by the task's own measure, of a loss in nats.
fn bits(source: &Source, nats: f64) -> Option<f64> {
    source.task().measures().iter().find_map(|measure| measure.score(None, Some(nats)))
}

#[test]
fn characters_are_numbered_in_their_order_and_windows_are_as_written_by_hand() {
    let config = settled(&format!("{SHORT}seq_len = 3")).expect("sound");
    let vocabulary = config.vocabulary().expect("settled");
    // Line break, space, a, b, c, e with an accent.
    assert_eq!(vocabulary.tokens("\n abc\u{e9}".as_bytes()), Ok(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!((vocabulary.size(), config.dims().d_out), (6, 6));
    let names: Vec<String> = (0..6).map(|token| vocabulary.name(token)).collect();
    assert_eq!(names, ["\\n", "␣", "a", "b", "c", "\u{e9}"]);
    assert_eq!(vocabulary.writer(&[]).write(5, false), "\u{e9}");

    let source = source(&format!("{SHORT}seq_len = 3"), 8);
    let test = source.evaluation(Split::Test).remove(0);
    // abcab\n\u{e9}a, and the last window ends with the text.
    assert_eq!(test.inputs.tokens(), [2, 3, 4, 2, 3, 0, 3, 0, 5]);
    assert_eq!(test.targets.classes(), [3, 4, 2, 3, 0, 5, 0, 0, 2]);
    assert_eq!(test.loss_mask, [true, true, true, true, true, true, false, false, true]);
    assert_eq!(bits(&source, LN_2), Some(1.0));
    // A window that is longer than its text ends with zeros.
    let validation = self::source(&format!("{SHORT}seq_len = 7"), 8).evaluation(Split::Validation).remove(0);
    assert_eq!(validation.inputs.tokens(), [3, 2, 1, 3, 2, 0, 0]);
    assert_eq!(validation.targets.classes(), [2, 1, 3, 2, 0, 0, 0]);
    assert_eq!(validation.loss_mask, [true, true, true, true, false, false, false]);
    // With a stride of 1 each window but the first scores its last prediction; of the text 5 tokens are used.
    let strided =
        self::source(&format!("{SHORT}seq_len = 3\nstride = 1\ntest_tokens = 5"), 8).evaluation(Split::Test).remove(0);
    assert_eq!(strided.inputs.tokens(), [2, 3, 4, 3, 4, 2]);
    assert_eq!(strided.loss_mask, [true, true, true, false, false, true]);
}

#[test]
fn training_windows_are_a_function_of_seed_and_step_and_each_is_in_a_text() {
    let source = source(&format!("{SHORT}seq_len = 4"), 64);
    let batch = source.train_batch(3);
    assert_eq!(batch, self::source(&format!("{SHORT}seq_len = 4"), 64).train_batch(3));
    let windows: BTreeSet<Vec<u32>> = batch.inputs.tokens().chunks_exact(4).map(<[u32]>::to_vec).collect();
    // abcab\n\u{e9}a has four windows of 4 inputs that are followed by a token, `ba ba` one.
    let all = [vec![2, 3, 4, 2], vec![3, 4, 2, 3], vec![4, 2, 3, 0], vec![2, 3, 0, 5], vec![3, 2, 1, 3]];
    assert_eq!(windows, BTreeSet::from(all));
}

#[test]
fn bytes_are_tokens_whatever_they_are_and_bits_are_those_of_characters() {
    let source = source(&format!("{SHORT}tokens = \"bytes\"\nseq_len = 8"), 1);
    assert_eq!(source.task().dims().input, TaskInput::Tokens { vocab: 256 });
    let test = source.evaluation(Split::Test).remove(0);
    assert_eq!(test.inputs.tokens(), b"abcab\n\xc3\xa9".map(u32::from));
    // Nine bytes are eight characters.
    assert!((bits(&source, LN_2).expect("bits") - 9.0 / 8.0).abs() < 1e-15);
    let binary = "[language]\ntokens = \"bytes\"\ntrain = [\"bytes.txt\"]\ntest = [\"bytes.txt\"]";
    assert_eq!(settled(binary).expect("bytes").vocabulary(), Some(Vocabulary::Bytes));
    assert_eq!(Vocabulary::Bytes.name(0xc3), "0xc3");
}

#[test]
fn other_characters_are_refused_with_their_place_or_are_one_token_more() {
    let with = |more: &str| settled(&format!("[language]\ntrain = [\"a.txt\"]\ntest = [\"foreign.txt\"]\n{more}"));
    let place = "foreign.txt: line 2, column 3: 'ü' is in no training text; give unknown = \"replace\" to read all such \
                 characters as one more token";
    assert_eq!(with("").expect_err("no ü").into_parts(), ("test", place.to_owned()));
    let config = with("unknown = \"replace\"").expect("replaced");
    let vocabulary = config.vocabulary().expect("settled");
    assert_eq!((vocabulary.size(), config.dims().d_out), (6, 6));
    assert_eq!(vocabulary.tokens("a\u{fc}".as_bytes()), Ok(vec![1, 5]));
    assert_eq!(vocabulary.writer(&[]).write(5, false), "\u{fffd}");
    let strict = Vocabulary::Characters { characters: vec!['a'], has_unknown: false };
    assert_eq!(strict.tokens(b"a\na"), Err(NoToken { line: 1, column: 2, lack: Lack::Untrained('\n') }));
    assert_eq!(strict.tokens(b"aa\xff"), Err(NoToken { line: 1, column: 3, lack: Lack::Utf8 }));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_key_and_place() {
    let refused = |train: &str, test: &str, more: &str| {
        let text = format!("[language]\ntrain = [{train}]\ntest = [{test}]\n{more}");
        let mut config: TaskConfig = toml::from_str(&text).expect(&text);
        let problem = config.settle(&files()).err().or_else(|| config.validate().into_iter().next());
        let (key, problem) = problem.unwrap_or_else(|| panic!("{text} is accepted")).into_parts();
        format!("{key}: {problem}")
    };
    let a = "\"a.txt\"";
    for (found, wanted) in [
        (refused("", a, ""), "train: names no text to train on; give train = [\"book.txt\"], or a .gz of it"),
        (refused(a, "", ""), "test: names no text to score a network on; give test = [\"book.txt\"], or a .gz of it"),
        (refused("\"no.txt\"", a, ""), "train: no.txt: entity not found"),
        (
            refused(a, "\"bytes.txt\"", ""),
            "test: bytes.txt: line 2, column 1: no UTF-8 text; give tokens = \"bytes\", or store it as UTF-8",
        ),
        (
            refused(a, "\"one.txt\"", ""),
            "test: one.txt: has 1 of the two tokens that are needed, to predict one from the other",
        ),
        (
            refused("\"empty.txt\"", a, ""),
            "train: empty.txt: has 0 of the two tokens that are needed, to predict one from the other",
        ),
        (refused(a, "\"cut.txt.gz\"", ""), "test: cut.txt.gz: the .gz file ends in the middle; copy it again"),
        (refused(a, a, "stride = 0"), "stride: 0 must be from 1 to seq_len = 256"),
        (refused(a, a, "seq_len = 4\nstride = 5"), "stride: 5 must be from 1 to seq_len = 4"),
        (refused(a, a, "seq_len = 0"), "seq_len: 0 is too few; give 1 or more"),
        (refused(a, a, "test_tokens = 1"), "test_tokens: 1 is too few; give 2 or more"),
        (
            refused(a, a, "tokens = \"bytes\"\nunknown = \"replace\""),
            "unknown: every byte is known; leave unknown out, or give tokens = \"characters\"",
        ),
    ] {
        assert_eq!(found, wanted);
    }
}

/// On `ababac` p(b | a) is (c(ab) + t(a) p(b)) / (c(a) + t(a)) = (2 + 2 p(b)) / 5 with p(b) = (2 + 3 / 3) / 9.
#[test]
fn n_grams_by_hand() {
    let read: fn(&Path) -> io::Result<Vec<u8>> = |_| Ok(b"ababac".to_vec());
    let files = Files::new("", read, |_, _, _| Err("no arrays here".to_owned()));
    let mut config: TaskConfig =
        toml::from_str("[language]\ntrain = [\"t\"]\ntest = [\"t\"]\nseq_len = 5").expect("sound");
    config.settle(&files).expect("sound");
    let data = DataConfig::Fresh { validation: 0, test: 1 };
    let source = Source::new(config.open(&files, Seed(0)).expect("sound"), Seed(0), data, 1);
    let test = source.evaluation(Split::Test).remove(0);
    let mut baselines = source.task().baselines();
    let mut p = |order: usize, position: usize| -> Vec<f64> {
        baselines[order].fit(&test);
        baselines[order].predict(&test)[position * 3..][..3].iter().map(|logit| f64::from(*logit).exp()).collect()
    };
    let close =
        |found: &[f64], wanted: &[f64]| found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6);
    let unigram = [(3.0 + 1.0) / 9.0, (2.0 + 1.0) / 9.0, (1.0 + 1.0) / 9.0];
    assert!(close(&p(0, 2), &unigram));
    let after_a: Vec<f64> = [0.0, 2.0, 1.0].iter().zip(unigram).map(|(count, p)| (count + 2.0 * p) / 5.0).collect();
    assert!(close(&p(1, 0), &after_a) && close(&p(1, 2), &after_a));
    // b is always followed by a.
    let after_b: Vec<f64> = [2.0, 0.0, 0.0].iter().zip(unigram).map(|(count, p)| (count + p) / 3.0).collect();
    assert!(close(&p(1, 1), &after_b));
    // ba is followed by b once and by c once; at the beginning there is no such context.
    let after_ba: Vec<f64> = [0.0, 1.0, 1.0].iter().zip(&after_a).map(|(count, p)| (count + 2.0 * p) / 4.0).collect();
    assert!(close(&p(2, 2), &after_ba) && close(&p(2, 0), &after_a));
}

/// Bits per character of the first 200,000 of *Northanger Abbey* by n-grams of four other novels, which were computed
/// apart from this crate, with the whole text before as context: windows of 256 take a few characters away from 5 in
/// 256 predictions, 0.01 bits at most.
#[test]
fn n_grams_of_the_novels_have_the_known_bits_per_character() {
    let read: fn(&Path) -> io::Result<Vec<u8>> = |path| std::fs::read(path);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/austen");
    let files = Files::new(folder, read, |_, _, _| Err("no arrays here".to_owned()));
    let text = "[language]\ntrain = [\"sense_and_sensibility.txt.gz\", \"pride_and_prejudice.txt.gz\", \
                \"mansfield_park.txt.gz\", \"emma.txt.gz\"]\ntest = [\"northanger_abbey.txt.gz\"]\ntest_tokens = 200000";
    let mut config: TaskConfig = toml::from_str(text).expect(text);
    config.settle(&files).expect("the novels are there");
    assert_eq!(config.dims().d_out, 81);
    let [validation, test] = config.held_evaluation().expect("settled");
    let source =
        Source::new(config.open(&files, Seed(0)).expect("sound"), Seed(0), DataConfig::Fresh { validation, test }, 64);
    let (batches, fit) = (source.evaluation(Split::Test), source.train_batch(0));
    let scored: usize = batches.iter().flat_map(|batch| &batch.loss_mask).filter(|scored| **scored).count();
    assert_eq!(scored, 199_999);
    for (mut baseline, known) in source.task().baselines().into_iter().zip([4.46, 3.53, 2.83, 2.31, 2.06, 2.02]) {
        baseline.fit(&fit);
        let mut nats = 0.0;
        for batch in &batches {
            let Targets::Classes(classes) = &batch.targets else { panic!("tokens are classes") };
            let rows = baseline.predict(batch);
            for ((row, class), scored) in rows.chunks_exact(81).zip(classes).zip(&batch.loss_mask) {
                nats -= if *scored { f64::from(row[*class as usize]) } else { 0.0 };
            }
        }
        let bits = nats / (scored as f64 * LN_2);
        assert!((bits / known - 1.0).abs() < 0.02, "{}: {bits}, known {known}", baseline.name());
    }
}

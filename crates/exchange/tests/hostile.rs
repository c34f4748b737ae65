//! Malicious files: reading one ends with an error, within the bound on memory, and executes nothing. A separate
//! binary, because bytes are counted for the whole process.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use headway_exchange::{Error, read};
use headway_testkit::{memory, numbers};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Bytes are counted over all threads, so the tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A zip archive of stored or compressed files.
fn archive(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    archive(&[("archive/data.pkl", pickle), ("archive/data/0", &[0; 64])], CompressionMethod::Stored)
}

fn int(number: u64) -> Vec<u8> {
    [b"\x8a\x09".as_slice(), &number.to_le_bytes(), b"\0"].concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// `{name: tensor}` of any shape and stride over a storage of `numel` numbers.
fn view(name: &str, numel: u64, shape: &[u64], stride: &[u64]) -> Vec<u8> {
    let tuple = |numbers: &[u64]| {
        let inner: Vec<u8> = numbers.iter().flat_map(|number| int(*number)).collect();
        [b"(".as_slice(), &inner, b"t"].concat()
    };
    [
        b"\x80\x02}".as_slice(),
        &text(name),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &int(numel),
        b"tQ",
        &int(0),
        &tuple(shape),
        &tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

/// A pickle that calls a Python function with a text.
fn calling(module: &str, function: &str, argument: &str) -> Vec<u8> {
    [b"\x80\x02c".as_slice(), module.as_bytes(), b"\n", function.as_bytes(), b"\n", &text(argument), b"\x85R."].concat()
}

/// Reads bytes as a file, and asserts that this stays within the bound on memory.
fn read_bytes(folder: &Path, name: &str, bytes: &[u8]) -> Result<usize, Error> {
    let path = folder.join("file");
    fs::write(&path, bytes).unwrap();
    let (result, peak) = memory::peak_of(|| read(&path, None).map(|contents| contents.tensors.len()));
    let allowed = 10 * bytes.len() + 64_000_000;
    assert!(peak <= allowed, "{name}: {peak} bytes of memory for a file of {}, {allowed} are allowed", bytes.len());
    result
}

/// Legacy containers begin with three pickles and end with the list of storages.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".as_slice(),
        b"\x80\x02}X\x0d\0\0\0little_endian\x88s.",
        pickle,
        b"\x80\x02].",
    ]
    .concat()
}

fn repeated(start: &[u8], body: &[u8], times: usize, end: &[u8]) -> Vec<u8> {
    [start, &body.repeat(times), end].concat()
}

/// Tensors below a name so long that their full names take more memory than the tensors.
fn long_names() -> Vec<u8> {
    let long_name = "n".repeat(200_000);
    let inner: Vec<u8> = (0..2000).flat_map(|n| [text(&n.to_string()), b"h\x07".to_vec()].concat()).collect();
    let tensor = view("w", 16, &[4], &[1]);
    // The tensor without its dictionary, kept in the memo, then a dictionary of many of them below a long name.
    let tensor = &tensor[3 + text("w").len()..tensor.len() - 2];
    [b"\x80\x02".as_slice(), tensor, b"q\x070}", &text(&long_name), b"}(", &inner, b"us."].concat()
}

/// A directory that lists more files than the archive has bytes for.
fn many_files() -> Vec<u8> {
    let header = [b"PK\x01\x02".as_slice(), &[0; 42]].concat();
    let mut bytes = b"PK\x03\x04".to_vec();
    let at = bytes.len() as u32;
    bytes.extend(header.repeat(200_000));
    let size = bytes.len() as u32 - at;
    bytes.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff");
    bytes.extend([size.to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend(b"\0\0");
    bytes
}

/// A directory that claims more files than it lists.
fn claims_files() -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(vec![0; 100_000]);
    let at = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend([44_u64.to_le_bytes().as_slice(), &[0; 12]].concat());
    for number in [90_000_u64, 90_000, u64::MAX / 2, at] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(at.to_le_bytes());
    bytes.extend(b"\x01\0\0\0PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    bytes
}

#[test]
fn hostile_files_are_refused_within_the_bound() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut stored = checkpoint(&view("w", 16, &[4], &[1]));
    assert_eq!(read_bytes(folder.path(), "a sound one", &stored).ok(), Some(1));
    stored.truncate(stored.len() / 2);
    let deflated_storage = archive(
        &[("archive/data.pkl", &view("w", 1 << 26, &[2], &[(1 << 26) - 1])), ("archive/data/0", &vec![0; 1 << 28])],
        CompressionMethod::Deflated,
    );
    let deflated_pickle =
        archive(&[("archive/data.pkl", &repeated(b"\x80\x02(", b"N", 50_000_000, b"t."))], CompressionMethod::Deflated);
    // Ever larger tuples of the one before, fetched from the memo.
    let doubling = repeated(b"\x80\x02)q\0", b"h\0h\0\x86q\0", 40, b".");
    let class = [b"\x80\x02c".as_slice(), "m".repeat(1_000_000).as_bytes(), b"\nname\nq\0("].concat();
    let safetensors = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes
    };
    let tar = {
        let mut bytes = vec![0; 1024];
        bytes[257..262].copy_from_slice(b"ustar");
        bytes
    };
    let huge_tensor = r#"{"w":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}"#;
    let numbers = format!(r#"{{"w":{{"dtype":"F32","shape":[{}0],"data_offsets":[0,0]}}}}"#, "0,".repeat(5_000_000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a tensor of 2^60 numbers", checkpoint(&view("w", 16, &[1 << 60], &[1])), "not a whole checkpoint"),
        ("a view of 2^60 numbers", checkpoint(&view("w", 16, &[1 << 30, 1 << 30], &[0, 0])), "not a whole checkpoint"),
        ("a view of 4 GB", checkpoint(&view("w", 16, &[1 << 15, 1 << 15], &[0, 0])), "takes more"),
        ("a view of 200 MB", checkpoint(&view("w", 16, &[50_000_000], &[0])), "takes more"),
        ("many axes", checkpoint(&view("w", 16, &[1; 3000], &[1; 3000])), "3000 axes"),
        ("a storage that is not there", checkpoint(&view("w", 1 << 30, &[1 << 28], &[1])), "takes more"),
        ("a legacy storage that is not there", legacy(&view("w", 1 << 30, &[1 << 28], &[1])), "takes more"),
        (
            "a storage of many numbers, few of them taken",
            checkpoint(&view("w", 1 << 40, &[2], &[1 << 39])),
            "not a whole",
        ),
        ("a packed storage", deflated_storage, "unpacks to"),
        ("a packed pickle", deflated_pickle, "unpacks to"),
        ("values of one byte", checkpoint(&repeated(b"\x80\x02(", b"N", 8_000_000, b"t.")), "takes more"),
        ("dictionaries of one byte", checkpoint(&repeated(b"\x80\x02(", b"}", 8_000_000, b"t.")), "takes more"),
        ("memo of one byte", checkpoint(&repeated(b"\x80\x04N", b"\x94", 8_000_000, b".")), "takes more"),
        ("marks of one byte", checkpoint(&repeated(b"\x80\x02", b"(", 8_000_000, b".")), "takes more"),
        ("legacy values of one byte", legacy(&repeated(b"\x80\x02(", b"N", 8_000_000, b"t.")), "takes more"),
        ("plain values of one byte", repeated(b"\x80\x02(", b"N", 8_000_000, b"t."), "takes more"),
        ("doubling", checkpoint(&doubling), "takes more"),
        ("doubling in a legacy file", legacy(&doubling), "takes more"),
        ("long names of classes", checkpoint(&repeated(&class, b"h\0", 1000, b"t.")), "takes more"),
        ("long names of tensors", checkpoint(&long_names()), "takes more"),
        ("deep nesting", checkpoint(&repeated(b"\x80\x02]", b"\x85", 100_000, b".")), "nesting"),
        ("a long text that is not there", checkpoint(b"\x80\x02X\xff\xff\xff\xff."), "cut short"),
        ("a pickle that takes what is not there", checkpoint(b"\x80\x02\x86."), "more than it has made"),
        ("an opcode of nobody", checkpoint(b"\x80\x02\xff."), "no opcode"),
        ("nothing but a number", checkpoint(b"\x80\x02K\x01."), "holds one `int`"),
        ("an empty dictionary", checkpoint(b"\x80\x02}."), "no tensors"),
        ("half an archive", stored, "not a whole zip"),
        (
            "two checkpoints",
            archive(&[("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")], CompressionMethod::Stored),
            "two checkpoints",
        ),
        ("many files", many_files(), "more than 65536 files"),
        ("a directory that claims many files", claims_files(), "more than 65536 files"),
        ("a TAR archive", tar, "TAR"),
        ("safetensors of 2^60 numbers", safetensors(huge_tensor), "safetensors"),
        ("safetensors of many axes", safetensors(&numbers), "takes more"),
        ("safetensors with a long header", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}".to_vec(), "safetensors"),
        ("nothing", Vec::new(), "is empty"),
        ("a text", b"these are no weights at all".to_vec(), "no file of tensors"),
        ("a plain pickle", b"\x80\x02}X\x01\0\0\0aK\x01s.".to_vec(), "plain pickle"),
    ];
    for (name, bytes, wanted) in cases {
        let said = match read_bytes(folder.path(), name, &bytes) {
            Ok(tensors) => panic!("{name}: read as {tensors} tensors"),
            Err(Error::Memory { .. }) => "takes more".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(wanted), "{name}: `{wanted}` is not in: {said}");
    }
}

/// Each pickle below would write a file if anything in it were called.
#[test]
fn no_code_of_a_pickle_is_run() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    let shell = format!("touch {}", victim.display());
    let python = format!("open({:?}, 'w')", victim.display().to_string());
    for (module, function, argument) in [
        ("os", "system", &shell),
        ("posix", "system", &shell),
        ("subprocess", "getoutput", &shell),
        ("builtins", "eval", &python),
        ("__builtin__", "exec", &python),
    ] {
        let pickle = calling(module, function, argument);
        // Also beside a valid tensor, where reading continues.
        let sound = view("w", 16, &[4], &[1]);
        let beside = [&sound[..sound.len() - 1], &text("evil"), &pickle[2..pickle.len() - 1], b"s."].concat();
        for bytes in [pickle.clone(), checkpoint(&pickle), legacy(&pickle)] {
            let said = read_bytes(folder.path(), function, &bytes);
            assert!(said.is_err(), "{module}.{function}: {said:?}");
            assert!(!victim.exists(), "{module}.{function} was called");
        }
        assert_eq!(read_bytes(folder.path(), function, &checkpoint(&beside)).ok(), Some(1));
        assert!(!victim.exists(), "{module}.{function} was called");
    }
}

/// Every prefix and every changed byte of a valid file gives either arrays or a message, within the bound.
#[test]
fn damaged_files_never_panic() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut end = legacy(&view("w", 16, &[4, 2], &[1, 4]));
    end.truncate(end.len() - 4);
    let storage: Vec<u8> = [b"\x80\x02]X\x01\0\0\x000a.".as_slice(), &16_u64.to_le_bytes(), &[0; 64]].concat();
    let sound_legacy = [end, storage].concat();
    assert_eq!(read_bytes(folder.path(), "legacy", &sound_legacy).ok(), Some(1));
    for sound in [checkpoint(&view("w", 16, &[4, 2], &[1, 4])), sound_legacy] {
        for at in 0..sound.len() {
            let _ = read_bytes(folder.path(), "a prefix", &sound[..at]);
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = sound.clone();
                changed[at] ^= flip;
                let _ = read_bytes(folder.path(), "a changed byte", &changed);
            }
        }
    }
}

/// Random sequences of opcodes: none that looks cheap takes more memory than allowed.
#[test]
fn random_pickles_stay_within_the_bound() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let snippets: [&[u8]; 26] = [
        b"N",
        b")",
        b"]",
        b"}",
        b"K\x01",
        b"U\x03abc",
        b"cm\nn\n",
        b"2",
        b"\x85",
        b"\x86",
        b"\x87",
        b"(",
        b"t",
        b"l",
        b"(NNt",
        b"]Na",
        b"](NNe",
        b"}NNs",
        b"}U\x01aNs",
        b"\x94",
        b"q\x05",
        b"h\x05",
        b"cm\nn\n)R",
        b"cm\nn\n)\x81",
        b"}b",
        b"0",
    ];
    let (mut reached, mut refused) = (0, 0);
    for seed in 0..300 {
        let choices = numbers(seed, 8);
        let body: Vec<u8> =
            choices.iter().flat_map(|n| snippets[((n + 1.0) * 1e6) as usize % snippets.len()].to_vec()).collect();
        // Something to take from, a place in the memo, and a dictionary in the end, so that much is read to its end.
        let start = [b"\x80\x02Nq\x050".as_slice(), &b"}".repeat(2000)].concat();
        let pickle = repeated(&start, &body, [2_000, 30_000, 300_000][seed as usize % 3], b"}.");
        match read_bytes(folder.path(), &format!("{body:?}"), &checkpoint(&pickle)) {
            Err(Error::Memory { .. }) => refused += 1,
            // A file that was not refused in advance has been read.
            Err(error) if !error.to_string().contains("damaged pickle") => reached += 1,
            _ => {}
        }
    }
    assert!(reached > 20 && refused > 20, "{reached} read, {refused} refused: the bodies show too little");
}

//! Files without readable tensors: what they are, and what to do instead.

use std::path::Path;

/// What a file is, judged by its content, and what to do; `None` if that is unknown.
pub(super) fn what_it_is(bytes: &[u8], path: &Path) -> Option<String> {
    if bytes.is_empty() {
        return Some("is empty: a download or a copy that did not happen; fetch it again".to_owned());
    }
    let found = MAGIC.iter().find(|(at, magic, ..)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, what, way)) = found {
        return Some(format!("is {what}; {way}"));
    }
    if is_onnx(bytes) {
        return Some(format!("is an ONNX graph; {}", way_by_python("onnx.numpy_helper.to_array of each initializer")));
    }
    if bytes.ends_with(b"\x57\xfb\x80\x8b\x24\x75\x47\xdb") {
        return Some(format!("is the index of a TensorFlow checkpoint; {TENSORFLOW}"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.contains(".data-000") {
        return Some(format!("is a part of a TensorFlow checkpoint; {TENSORFLOW}"));
    }
    of_text(bytes).or_else(|| {
        let ending = Path::new(&name).extension()?.to_str()?;
        (ending == "msgpack").then(|| format!("is a MessagePack file of Flax; {}", way_by_python("its arrays")))
    })
}

/// Known files: offset and bytes that identify them, what they are, and what to do.
const MAGIC: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer and not the file itself",
        "run `git lfs pull` where it came from",
    ),
    (0, b"GGUF", "a GGUF file of llama.cpp, mostly quantized", "import the weights that it was made from"),
    (0, b"lmgg", "a GGML file of llama.cpp", "import the weights that it was made from"),
    (0, b"tjgg", "a GGJT file of llama.cpp", "import the weights that it was made from"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes weights", HDF5),
    (512, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MATLAB writes it", HDF5),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "load it with scipy.io.loadmat and write its arrays with numpy.savez"),
    (0, b"\x93NUMPY", "one array of numpy without a name", "write them all with numpy.savez(FILE, **{name: array, …})"),
    (4, b"TFL3", "a TensorFlow Lite graph", "import the weights that it was made from"),
    (0, b"\x1f\x8b", "packed with gzip", "unpack it first"),
    (0, b"BZh", "packed with bzip2", "unpack it first"),
    (0, b"\xfd7zXZ\0", "packed with xz", "unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and import the file of weights in it"),
    (0, b"Rar!", "a RAR archive", "unpack it and import the file of weights in it"),
    (0, b"PAR1", "a Parquet table", "it holds data and no weights"),
    (0, b"ARROW1", "an Arrow table", "it holds data and no weights"),
    (0, b"SQLite format 3\0", "an SQLite database", "it holds data and no weights"),
    (0, b"%PDF", "a PDF document", "it holds no weights"),
    (0, b"\x89PNG", "a PNG picture", "it holds no weights"),
    (0, b"\x7fELF", "a program or library for Linux", "it holds no weights that can be read"),
];

const HDF5: &str = "load its arrays with h5py and write them with numpy.savez(FILE, **{name: array, …})";
const TENSORFLOW: &str =
    "read its variables with tf.train.load_checkpoint and write them with numpy.savez(FILE, **{name: array, …})";
const STATE_DICT: &str = "torch.save(module.state_dict(), FILE)";

fn way_by_python(arrays: &str) -> String {
    format!("write {arrays} with numpy.savez(FILE, **{{name: array, …}}), or import the weights that it was made from")
}

/// Whether it is a protocol buffer that starts with a small version number, followed by a field of an ONNX model.
fn is_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=30, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

fn of_text(bytes: &[u8]) -> Option<String> {
    let start = &bytes[..bytes.len().min(4096)];
    if start.contains(&0) {
        return None;
    }
    // The last character may be incomplete.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() + 4 > start.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.to_ascii_lowercase();
    Some(if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "is an HTML page: a download that was answered with a page, for signing in or of an error; fetch the file itself"
            .to_owned()
    } else if lower.starts_with("<?xml") {
        "is an XML document: a download that was answered with an error; fetch the file itself".to_owned()
    } else if text.starts_with("model_checkpoint_path:") {
        format!("names the newest of several TensorFlow checkpoints; {TENSORFLOW}")
    } else if text.starts_with(['{', '[']) && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        "is JSON and holds no tensors; give the file of weights that it lies beside, or the folder of both".to_owned()
    } else {
        let line: String =
            text.lines().next().unwrap_or_default().chars().take(40).filter(|c| !c.is_control()).collect();
        format!(
            "is a text that begins with `{line}`, and no file of tensors: neither safetensors, nor what torch.save writes, nor \
             .npz. From Python, write one with {STATE_DICT}"
        )
    })
}

/// What a zip archive without a checkpoint and without NumPy arrays is, judged by the names of its files.
pub(super) fn zip_that_holds_no_weights(names: &[String]) -> String {
    let has = |wanted: &str| names.iter().any(|name| name.ends_with(wanted) || name.contains(&format!("{wanted}/")));
    let (what, way) = if has("code") && has("constants.pkl") {
        (
            "a TorchScript program, which torch.jit.save wrote",
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER) makes weights of it",
        )
    } else if has(".data") && has("extern_modules") {
        (
            "an archive of torch.package",
            "load the module from it with PackageImporter and write torch.save(module.state_dict(), FILE)",
        )
    } else if has("archive_format") || has("archive_version") || has("serialized_exported_program.json") {
        (
            "a program that torch.export.save wrote",
            "torch.save(torch.export.load(FILE).state_dict, OTHER) makes weights of it",
        )
    } else if has("model.weights.h5") {
        ("a .keras archive", HDF5)
    } else {
        let first = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 3 { ", …" } else { "" };
        return format!(
            "is a zip archive of other files ({first}{more}) and no checkpoint; unpack it and import the file of weights in it"
        );
    };
    format!("is {what}; {way}")
}

/// What a Python value is from which no tensors can be read, judged by the name of its type or of the function that
/// creates it.
pub(super) fn unreadable_type(name: &str) -> String {
    let known = [
        ("sparse", "a sparse tensor", ".to_dense()"),
        ("qtensor", "a quantized tensor", ".dequantize()"),
        ("nested", "a nested tensor", "one tensor each"),
        ("DTensor", "a tensor that is spread over processes", ".full_tensor()"),
        ("wrapper_subclass", "a tensor of another class", "a plain tensor"),
        ("meta_tensor", "a tensor on the meta device, which has no numbers", "the module with its weights"),
        ("device_tensor", "a tensor of another device", ".cpu()"),
        ("float8", "8-bit floating point numbers", ".float()"),
        ("float4", "4-bit floating point numbers", ".float()"),
        ("omplex", "complex numbers, which weights cannot be", "real and imaginary parts"),
        ("QInt", "quantized numbers", ".dequantize()"),
    ];
    let found = known.iter().find(|(part, ..)| name.contains(part));
    match found {
        Some((_, what, way)) => format!("holds {what} (`{name}`); save {way} of it instead"),
        None => format!(
            "holds tensors in an object of `{name}`, which only Python can make; load it there and write {STATE_DICT}"
        ),
    }
}

/// What a folder without weights is, judged by the names of its files.
pub(super) fn folder_of_no_weights(names: &[String]) -> String {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let ends = |wanted: &str| names.iter().any(|name| name.ends_with(wanted));
    if has("MANIFEST") {
        "is a checkpoint of this program, which eval, finetune and export take as it is".to_owned()
    } else if has("checkpoints") && has("run.json") {
        "is a run of this program, which eval, finetune and export take as it is".to_owned()
    } else if has("adapter_config.json") {
        "holds an adapter of PEFT and no weights of a whole network; `headway merge` puts one into its base".to_owned()
    } else if ends(".distcp") {
        "is a distributed checkpoint of PyTorch; torch.distributed.checkpoint.format_utils.dcp_to_torch_save(FOLDER, FILE) makes \
         one file of it"
            .to_owned()
    } else if has("saved_model.pb") {
        format!("is a SavedModel of TensorFlow; {}", way_by_python("its variables"))
    } else if has("flax_model.msgpack") || has("tf_model.h5") {
        "holds weights for Flax or TensorFlow alone; load it with transformers and from_flax=True or from_tf=True, then \
         save_pretrained(FOLDER)"
            .to_owned()
    } else {
        let endings = [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz"];
        let files: Vec<&String> = names.iter().filter(|name| endings.iter().any(|end| name.ends_with(end))).collect();
        match files[..] {
            [] => "is a folder without model.safetensors, pytorch_model.bin or an index of their parts".to_owned(),
            [one] => format!("is a folder without model.safetensors or pytorch_model.bin; give {one} in it"),
            [one, ..] => format!(
                "is a folder without model.safetensors or pytorch_model.bin; give one file of it, such as {one}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of files as the programs write them.
    #[test]
    fn files_of_other_kinds_are_named() {
        let name = |bytes: &[u8]| what_it_is(bytes, Path::new("model.bin")).unwrap_or_default();
        for (bytes, wanted) in [
            (&b""[..], "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
            (b"<!DOCTYPE html><html>", "HTML page"),
            (b"\n  <html lang=en>", "HTML page"),
            (b"<?xml version='1.0'?><Error>", "XML"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x89HDF\r\n\x1a\n\0", "h5py"),
            (b"\x08\x0a\x12\x07pytorch\x1a\x06", "ONNX"),
            (b"\x93NUMPY\x01\0", "numpy.savez"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"{\"model_type\": \"gpt2\"}", "JSON"),
            (b"model_checkpoint_path: \"model.ckpt-1\"\n", "tf.train.load_checkpoint"),
            (b"step,loss\n0,1.5\n", "begins with `step,loss`"),
            (b"\0\0\0\0\x57\xfb\x80\x8b\x24\x75\x47\xdb", "index of a TensorFlow"),
        ] {
            assert!(name(bytes).contains(wanted), "`{wanted}` is not in {}", name(bytes));
        }
        assert_eq!(what_it_is(b"\x01\x02\0\xff\xfe", Path::new("x")), None);
        assert!(
            what_it_is(b"\x01\0\xff", Path::new("m.data-00000-of-00001"))
                .is_some_and(|said| said.contains("TensorFlow"))
        );
    }

    #[test]
    fn archives_and_folders_are_named() {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let script = owned(&["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl", "m/version"]);
        assert!(zip_that_holds_no_weights(&script).contains("TorchScript"));
        let exported = owned(&["m/archive_format", "m/models/model.json", "m/data/weights/weight_0"]);
        assert!(zip_that_holds_no_weights(&exported).contains("torch.export"));
        assert!(zip_that_holds_no_weights(&owned(&["a.txt", "b.txt"])).contains("a.txt, b.txt"));
        assert!(folder_of_no_weights(&owned(&[".metadata", "__0_0.distcp"])).contains("dcp_to_torch_save"));
        assert!(folder_of_no_weights(&owned(&["adapter_config.json", "adapter_model.bin"])).contains("merge"));
        assert!(folder_of_no_weights(&owned(&["last.ckpt"])).contains("last.ckpt"));
        assert!(unreadable_type("torch._utils._rebuild_sparse_tensor").contains("to_dense"));
    }
}

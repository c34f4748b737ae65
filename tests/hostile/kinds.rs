//! All kinds of files that a user may provide: valid examples, and the code that reads them.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use headway_exchange::{npz, peft};
use headway_report::Error;
use headway_study::{Study, dir::StudyDir, file::Changes, plan};
use headway_theory::{
    Certificate, Refusal,
    construct::{activation, max_affine::GivenCells, relu_network::ReluWeights, seq2seq, truncated_linear},
};
use headway_trainer::{
    Interrupter, bounded_read, build,
    checkpoint::Checkpoint,
    device::OpenDevice,
    evaluate,
    experiment::{self, Experiment},
    finetune, log,
    predict::Predictor,
    resume,
    run_dir::{self, NewRun, RunDir},
    session::Options,
    train::train,
};
use serde_json::Value;

use crate::change::Format;

/// A kind of file.
pub struct Kind {
    /// Name of the kind, in failures and in the files of seeds.
    pub name: &'static str,
    /// Layout of the file.
    pub format: Format,
    /// Valid folders, each with the file to change.
    pub examples: fn() -> Vec<Example>,
    /// Everything that reads the file in a folder.
    pub read: fn(&Path) -> Result<(), Error>,
    /// Number of cases that a test tries.
    pub cases: u32,
}

/// A valid folder.
#[derive(Clone)]
pub struct Example {
    /// Its files, by path below it.
    pub files: Vec<(String, Vec<u8>)>,
    /// Index of the file to change.
    pub changed: usize,
}

/// The list of kinds: a new one is one row.
pub const KINDS: &[Kind] = &[
    Kind { name: "experiment", format: Format::Toml, examples: experiments, read: read_experiment, cases: 400 },
    Kind { name: "study", format: Format::Toml, examples: studies, read: read_study, cases: 150 },
    Kind { name: "config", format: Format::Json, examples: configs, read: read_checkpoint, cases: 600 },
    Kind { name: "weights", format: Format::Safetensors, examples: weights, read: read_checkpoint, cases: 400 },
    Kind { name: "state", format: Format::Json, examples: states, read: read_run, cases: 100 },
    Kind { name: "moments", format: Format::Safetensors, examples: moments, read: read_run, cases: 100 },
    Kind { name: "certificate", format: Format::Json, examples: certificates, read: read_certificate, cases: 200 },
    Kind { name: "manifest", format: Format::Text, examples: manifests, read: read_checkpoint, cases: 300 },
    Kind { name: "record", format: Format::Json, examples: records, read: read_record, cases: 200 },
    Kind { name: "metrics", format: Format::JsonLines, examples: metrics, read: read_record, cases: 200 },
    Kind { name: "failure", format: Format::Json, examples: failures, read: read_failure, cases: 300 },
    Kind { name: "study_record", format: Format::Json, examples: study_records, read: read_report, cases: 40 },
    Kind { name: "study_metrics", format: Format::JsonLines, examples: study_metrics, read: read_report, cases: 40 },
    Kind { name: "table", format: Format::Text, examples: tables, read: read_table, cases: 300 },
    Kind { name: "archive", format: Format::Binary, examples: archives, read: read_samples, cases: 400 },
    Kind { name: "data_table", format: Format::Text, examples: data_tables, read: read_data, cases: 200 },
    Kind { name: "data_archive", format: Format::Binary, examples: data_archives, read: read_data, cases: 200 },
    Kind { name: "data_pictures", format: Format::Binary, examples: data_pictures, read: read_task, cases: 200 },
    Kind { name: "data_text", format: Format::Binary, examples: data_texts, read: read_task, cases: 200 },
    Kind { name: "tokenizer", format: Format::Json, examples: tokenizers, read: read_task, cases: 300 },
    Kind { name: "data_recordings", format: Format::Binary, examples: data_recordings, read: read_task, cases: 200 },
    Kind { name: "data_series", format: Format::Text, examples: data_series, read: read_task, cases: 200 },
    Kind { name: "data_sequences", format: Format::Text, examples: data_sequences, read: read_task, cases: 200 },
    Kind { name: "arrays", format: Format::Safetensors, examples: arrays, read: read_arrays, cases: 400 },
    Kind { name: "adapter", format: Format::Json, examples: adapters, read: read_adapter, cases: 200 },
    Kind { name: "low_rank", format: Format::Safetensors, examples: low_rank_parts, read: read_adapter, cases: 200 },
    Kind { name: "lineage", format: Format::Json, examples: lineages, read: read_lineage, cases: 100 },
    Kind { name: "state_dict", format: Format::Binary, examples: state_dicts, read: read_foreign, cases: 400 },
    Kind { name: "foreign", format: Format::Safetensors, examples: foreign, read: read_foreign, cases: 300 },
];

impl Example {
    /// A folder with only this file, under this name.
    fn alone(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { files: vec![(name.to_owned(), bytes.into())], changed: 0 }
    }

    /// A folder in which the files of this name are changed, one at a time.
    fn each(folder: &Path, name: &str) -> Vec<Self> {
        let mut files = Vec::new();
        collect(folder, Path::new(""), &mut files);
        let of_name = |index: &usize| files[*index].0.rsplit('/').next() == Some(name);
        let places: Vec<usize> = (0..files.len()).filter(of_name).collect();
        assert!(!places.is_empty(), "{} holds no {name}", folder.display());
        places.into_iter().map(|changed| Self { files: files.clone(), changed }).collect()
    }
}

fn collect(root: &Path, below: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(below)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else {
            files.push((path.to_str().unwrap().to_owned(), fs::read(entry.path()).unwrap()));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Valid files: those of this repository, and files of runs that are made once.

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn cpu() -> OpenDevice {
    headway_trainer::device::DeviceSpec::Cpu.open().unwrap().0
}

/// Options of a run that takes no step.
fn no_step() -> Options {
    let max_time = Some(Duration::ZERO);
    Options { max_time, ..options() }
}

fn options() -> Options {
    Options {
        device: cpu(),
        max_time: None,
        interrupter: Interrupter::new(),
        save_now: Arc::default(),
        on_event: Arc::new(|_| ()),
    }
}

/// Tiny networks, one for each way in which a model is composed.
const MODELS: &[&str] = &[
    "[model.transformer]\nd_model = 6\nn_layers = 2\nn_heads = 2\n",
    "[model.transformer]\nd_model = 4\nn_layers = 1\nn_heads = 1\nposition = \"sinusoidal\"\nnorm = \"none\"\n\
     state_mixer = { ffn = { d_ffn = 3 } }\n",
    "[model.paper_one_layer]\nd_model = 4\nn_anchors = 3\n",
    "[model.paper_two_layer]\nd_model = 4\nn_heads = 2\n",
    "[model.paper_set_keys]\nd_model = 5\n",
    "[model.attention_stack]\nlayers = [{ map = \"token_wise\", rows = 9, width = 3, heads = [{ d_key = 2, d_value = 2 }], d_out = 2 }]\n",
    "[model.csformer]\nd_model = 4\nn_layers = 1\nn_heads = 2\nd_adapter = 3\n",
];

fn tiny(model: &str) -> String {
    // Models that see the whole sequence cannot be used if answers are in the input.
    let task = if model.contains("transformer") {
        "[task.icl_linear]\nd = 2\nn_points = 3\n"
    } else if model.contains("csformer") {
        "[task.relu_network]\nseq_len = 4\nd = 2\nd_hidden = 3\n"
    } else {
        "[task.truncated_linear]\nseq_len = 5\nd_in = 2\n"
    };
    format!(
        "{task}[data.fresh]\nvalidation = 4\ntest = 4\n{model}[train]\nsteps = 3\nbatch_size = 2\n\
         log_every = 1\neval_every = 2\ncheckpoint_every = 2\nkeep_last = 2\n"
    )
}

/// Finished runs of tiny networks, one folder each.
static RUNS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let runs = MODELS.iter().enumerate().map(|(index, model)| {
        let root = crate::workplace().join(format!("runs-{index}"));
        let _ = fs::remove_dir_all(&root);
        let loaded = experiment::from_text(Path::new("tiny.toml"), tiny(model), &[]).unwrap();
        headway_report::run::conclude(train(&loaded.experiment, &NewRun::At(root.clone()), &options()).unwrap())
            .unwrap();
        root
    });
    runs.collect()
});

/// A sweep with a few finished runs.
static STUDY: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = crate::workplace().join("study");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    let experiment: toml::Table = toml::from_str(&tiny(MODELS[0])).unwrap();
    let seeds: toml::Table = toml::from_str("seeds = [0, 1]\n[grid]\n\"model.d_model\" = [2, 4]\n").unwrap();
    let table =
        seeds.into_iter().chain([("experiment".to_owned(), toml::Value::Table(experiment))]).collect::<toml::Table>();
    fs::write(root.join("sweep.toml"), toml::to_string(&table).unwrap()).unwrap();
    let study = Study::read(&root, &Changes::default()).unwrap();
    let dir = StudyDir::at(&root);
    for run in study.plan(&dir).unwrap().runs() {
        plan::exec(&dir, run, false, &options(), headway_report::run::conclude).unwrap();
    }
    root
});

/// The first run fine-tuned with LoRA.
static TUNED: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = crate::workplace().join("tuned");
    let _ = fs::remove_dir_all(&root);
    let overrides = ["finetune.lora.rank=2".to_owned()];
    let loaded = experiment::from_text(Path::new("tiny.toml"), tiny(MODELS[0]), &overrides).unwrap();
    let place = NewRun::At(root.clone());
    let finished = finetune::finetune(&loaded.experiment, &RUNS[0], false, &place, &options()).unwrap();
    headway_report::run::conclude(finished).unwrap();
    root.join("checkpoints/step-00000003")
});

/// An adapter by itself, with its base beside it.
fn adapter_files(changed: &str) -> Vec<Example> {
    let mut files = Vec::new();
    collect(&RUNS[0].join("checkpoints/step-00000003"), Path::new(""), &mut files);
    for (name, _) in &mut files {
        name.insert_str(0, "base/");
    }
    for name in [peft::CONFIG, peft::WEIGHTS] {
        files.push((format!("alone/{name}"), fs::read(TUNED.join(name)).unwrap()));
    }
    let changed = files.iter().position(|(name, _)| name.ends_with(changed)).unwrap();
    vec![Example { files, changed }]
}

fn adapters() -> Vec<Example> {
    adapter_files(peft::CONFIG)
}

fn low_rank_parts() -> Vec<Example> {
    adapter_files(peft::WEIGHTS)
}

fn lineages() -> Vec<Example> {
    Example::each(&TUNED, "lineage.json")
}

/// Weights of every model as written by `torch.save` and numpy.
fn state_dicts() -> Vec<Example> {
    let of = |run: &PathBuf| {
        let arrays = Checkpoint::find(run).unwrap().weights().unwrap();
        [headway_exchange::pickle::write(&arrays).unwrap(), headway_exchange::npz::write(&arrays).unwrap()]
    };
    RUNS.iter().flat_map(of).map(|bytes| Example::alone("weights.pt", bytes)).collect()
}

fn foreign() -> Vec<Example> {
    let of = |run: &PathBuf| {
        let arrays = Checkpoint::find(run).unwrap().weights().unwrap();
        headway_model::weights::arrays_to_bytes(&arrays).unwrap()
    };
    RUNS.iter().map(of).map(|bytes| Example::alone("weights.pt", bytes)).collect()
}

fn experiments() -> Vec<Example> {
    let mut examples: Vec<Example> = toml_files("experiments")
        .into_iter()
        .filter(|text| experiment::from_text(Path::new(""), text.clone(), &[]).is_ok())
        .map(|text| Example::alone("experiment.toml", text))
        .collect();
    examples.extend(MODELS.iter().map(|model| Example::alone("experiment.toml", tiny(model))));
    let constructed = fs::read(repository().join("checkpoints/clamp/train.toml")).unwrap();
    examples.push(Example::alone("experiment.toml", constructed));
    examples
}

fn toml_files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    collect(&repository().join(folder), Path::new(""), &mut files);
    files.into_iter().filter_map(|(_, bytes)| String::from_utf8(bytes).ok()).collect()
}

/// Sweeps and comparisons without other files, as in their folders, and one as written by a person.
fn studies() -> Vec<Example> {
    let folder = repository().join("experiments");
    let mut examples = Vec::new();
    let mut files = Vec::new();
    collect(&folder, Path::new(""), &mut files);
    for (name, _) in files {
        let complete = match Study::read(&folder.join(name), &Changes::default()) {
            Ok(Study::Sweep(sweep)) => sweep.to_toml(),
            Ok(Study::Comparison(comparison)) => comparison.to_toml(),
            Err(_) => continue,
        };
        // Data that lies elsewhere takes memory that these files do not account for.
        if !complete.contains("/datasets/") {
            examples.push(Example::alone("study.toml", complete));
        }
    }
    assert!(examples.len() > 3, "the studies of this repository are examples");
    let beside = |name: &str, as_name: &str| (as_name.to_owned(), fs::read(folder.join(name)).unwrap());
    let named = ["icl_linear.toml", "icl_linear_d20.toml", "copy.toml", "mqar.toml"].map(|name| beside(name, name));
    let files = [beside("compare_ffn.toml", "study.toml")].into_iter().chain(named).collect();
    examples.push(Example { files, changed: 0 });
    examples
}

fn checkpoints(name: &str) -> Vec<Example> {
    let newest = |run: &PathBuf| run.join("checkpoints/step-00000003");
    let mut examples: Vec<Example> = RUNS.iter().flat_map(|run| Example::each(&newest(run), name)).collect();
    if name != "optim.safetensors" && name != "state.json" {
        examples.extend(Example::each(&repository().join("checkpoints/clamp"), name));
    }
    examples
}

fn configs() -> Vec<Example> {
    checkpoints("config.json")
}

fn weights() -> Vec<Example> {
    checkpoints("model.safetensors")
}

fn manifests() -> Vec<Example> {
    checkpoints(Checkpoint::MANIFEST)
}

fn certificates() -> Vec<Example> {
    ["clamp", "clamp_hard"]
        .iter()
        .flat_map(|name| Example::each(&repository().join("checkpoints").join(name), "certificate.json"))
        .collect()
}

/// A run with steps left to take, so that it can be resumed.
fn stopped(name: &str) -> Vec<Example> {
    let of_run = |run: &PathBuf| {
        let mut examples = Example::each(run, name);
        examples.retain(|example| example.files[example.changed].0.contains("step-00000002"));
        for example in &mut examples {
            let changed = example.files[example.changed].0.clone();
            example.files.retain(|(path, _)| !path.contains("step-00000003"));
            example.changed = example.files.iter().position(|(path, _)| *path == changed).unwrap();
            let record = example.files.iter_mut().find(|(path, _)| path == "run.json").unwrap();
            record.1 = String::from_utf8_lossy(&record.1).replace("\"complete\"", "\"interrupted\"").into_bytes();
        }
        examples
    };
    RUNS.iter().flat_map(of_run).collect()
}

fn states() -> Vec<Example> {
    stopped("state.json")
}

fn moments() -> Vec<Example> {
    stopped("optim.safetensors")
}

fn records() -> Vec<Example> {
    Example::each(&RUNS[0], "run.json")
}

fn metrics() -> Vec<Example> {
    Example::each(&RUNS[0], "metrics.jsonl")
}

fn failures() -> Vec<Example> {
    vec![Example::alone("failure.json", r#"{"exit_code": 5, "message": "diverged at step 3"}"#)]
}

fn study_records() -> Vec<Example> {
    Example::each(&STUDY, "run.json")
}

fn study_metrics() -> Vec<Example> {
    Example::each(&STUDY, "metrics.jsonl")
}

fn tables() -> Vec<Example> {
    ["x,y\n0,1\n0.5,2\n1,-1e-3\n", "0 , 1\n1,2\n\n3,4"].map(|text| Example::alone("table.csv", text)).to_vec()
}

/// A file of samples as `numpy.savez` writes it.
fn archives() -> Vec<Example> {
    let of = |dtype: &str, width: usize| {
        let array = |shape: &str, count: usize| {
            let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
            let numbers = vec![0_u8; count * width];
            [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &numbers].concat()
        };
        let arrays = [("inputs.npy", array("(3, 2, 2)", 12)), ("outputs.npy", array("(3, 2, 1)", 6))];
        zip(&arrays, zip::CompressionMethod::Stored)
    };
    vec![Example::alone("samples.npz", of("<f4", 4)), Example::alone("samples.npz", of("<f8", 8))]
}

/// Files in a zip.
fn zip(files: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// An experiment on data of one's own, and that.
fn data(name: &str, keys: &str, bytes: Vec<u8>) -> Example {
    let experiment = format!(
        "[task.file]\npath = \"{name}\"\n{keys}[model.transformer]\nd_model = 4\nn_layers = 1\nn_heads = 1\n[train]\nsteps = 1\n"
    );
    Example { files: vec![(name.to_owned(), bytes), (EXPERIMENT.to_owned(), experiment.into_bytes())], changed: 0 }
}

const EXPERIMENT: &str = "experiment.toml";

/// Tables to train on: numbers in groups with one target for a sequence, and tokens with classes.
fn data_tables() -> Vec<Example> {
    let line = |at: u32| format!("n{},{},0.5,{},g{}\n", at / 2, at % 7, if at % 2 == 1 { "-1e3" } else { "" }, at / 6);
    let numbers = "example,x,z,targets,g\n".to_owned() + &(0..24).map(line).collect::<String>();
    let line = |at: u32| format!("{},\"{}\",{}\r\n", at / 2, at % 5, at % 3);
    let tokens = "example,inputs,targets\r\n".to_owned() + &(0..12).map(line).collect::<String>();
    vec![
        data("data.csv", "inputs = [\"x\", \"z\"]\ngroup = \"g\"\n", numbers.into_bytes()),
        data("data.csv", "tokens = 9\nclasses = true\n", tokens.into_bytes()),
    ]
}

/// Arrays to train on, as `numpy.savez` and `savez_compressed` write them: positions, and a horizon.
fn data_archives() -> Vec<Example> {
    let array = |shape: &[usize]| {
        let count = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|at| (at % 5) as f32).collect();
        [npz::header(shape).unwrap(), npz::bytes_of(&numbers)].concat()
    };
    let of = |targets: &[usize], method| {
        data("data.npz", "", zip(&[("inputs.npy", array(&[12, 2, 2])), ("targets.npy", array(targets))], method))
    };
    vec![of(&[12, 2, 1], zip::CompressionMethod::Stored), of(&[12, 3, 1], zip::CompressionMethod::Deflated)]
}

/// A packed text to train on.
fn data_texts() -> Vec<Example> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all("It is a truth universally acknowledged, é.\n".repeat(3).as_bytes()).unwrap();
    let experiment = "[task.language]\ntrain = [\"text.txt.gz\"]\ntest = [\"text.txt.gz\"]\n[model.transformer]\n";
    let files = [("text.txt.gz", packed.finish().unwrap()), (EXPERIMENT, experiment.into())];
    vec![Example { files: files.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec(), changed: 0 }]
}

/// Three packed pictures of 4 x 4 to train on.
fn data_pictures() -> Vec<Example> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&[&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 4][..], &[77; 48]].concat()).unwrap();
    let experiment = "[task.image]\ntrain = \"pictures.gz\"\n[model.transformer]\ncausal = false\n";
    let files = [("pictures.gz", packed.finish().unwrap()), (EXPERIMENT, experiment.into())];
    vec![Example { files: files.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec(), changed: 0 }]
}

/// What divides a text into tokens: characters with a token for all others, and all bytes.
fn tokenizers() -> Vec<Example> {
    let experiment = "[task.language]\ntrain = [\"text.txt\"]\ntest = [\"text.txt\"]\nunknown = \"replace\"\n\
                      tokens = { tokenizer = \"pairs.json\" }\n[model.transformer]\n";
    let of = |pairs: &[u8]| {
        let text = "cab abc, é.\n".repeat(3);
        let files = [("pairs.json", pairs.to_vec()), ("text.txt", text.into()), (EXPERIMENT, experiment.into())];
        Example { files: files.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec(), changed: 0 }
    };
    vec![
        of(include_bytes!("../../crates/tasks/tests/it/fixtures/few_pairs.json")),
        of(include_bytes!("../../crates/tasks/tests/it/fixtures/spaced_pairs.json")),
    ]
}

/// Recordings to train on: their samples, and the table of them.
fn data_recordings() -> Vec<Example> {
    let samples = [&[0, 0, 11, 2, 0, 0, 0, 12, 0, 0, 0, 2][..], &[1, 2, 3, 254].repeat(12)].concat();
    let table = "subject,exercise,start,length\n1,row,0,4\n1,lift,4,4\n2,row,8,4\n";
    let experiment = "[task.activity]\nsamples = \"samples\"\nrecordings = \"table.csv\"\ntrain = [1]\ntest = [2]\nseq_len = 3\n\
                      [model.transformer]\n";
    let files = [("samples", samples), ("table.csv", table.into()), (EXPERIMENT, experiment.into())];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec();
    (0..2).map(|changed| Example { files: files.clone(), changed }).collect()
}

/// A table of series to forecast, newest first, with gaps.
fn data_series() -> Vec<Example> {
    let line =
        |day: u32| format!("2024-01-{day:02},{},{},\n", day % 5, if day.is_multiple_of(4) { "N/A" } else { "1.5" });
    let table = "Date,a,b,\n".to_owned() + &(1..32).rev().map(line).collect::<String>();
    let experiment = "[task.forecast]\npath = \"series.csv\"\nwindow = 4\nhorizon = 2\n\
                      split = { validation = \"2024-01-20\", test = \"2024-01-25\" }\n[model.csformer]\n";
    let files = [("series.csv", table), (EXPERIMENT, experiment.to_owned())];
    vec![Example { files: files.map(|(name, text)| (name.to_owned(), text.into_bytes())).to_vec(), changed: 0 }]
}

/// Sequences of letters to train on.
fn data_sequences() -> Vec<Example> {
    let sequences = ">P1 split=train OS=x\nMKTAYIAKQR\nQISFVK\n>P2 split=valid\nMKVBXZ\n>P3 split=test\nGGSGGS\n";
    let experiment = "[task.proteins]\npath = \"proteins.fasta\"\n[model.transformer]\n";
    let files = [("proteins.fasta", sequences), (EXPERIMENT, experiment)];
    vec![Example { files: files.map(|(name, text)| (name.to_owned(), text.into())).to_vec(), changed: 0 }]
}

/// Each of those trained on by a network of the same sizes as it was before anything changed.
static TRAINED_ON_DATA: LazyLock<Vec<(Example, PathBuf)>> = LazyLock::new(|| {
    let trained = |(at, example): (usize, Example)| {
        let folder = crate::workplace().join(format!("data-{at}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &example.files {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let loaded = experiment::load(&folder.join(EXPERIMENT), &[]).unwrap();
        let finished = train(&loaded.experiment, &NewRun::At(folder.join("run")), &options()).unwrap();
        headway_report::run::conclude(finished).unwrap();
        (example, folder.join("run"))
    };
    data_tables().into_iter().chain(data_archives()).enumerate().map(trained).collect()
});

/// Cells, forms, a network and samples.
fn arrays() -> Vec<Example> {
    let arrays = |all: &[(&str, &[usize])]| {
        let array = |shape: &[usize]| headway_model::weights::Array {
            shape: shape.to_vec(),
            values: vec![0.5; shape.iter().product()],
        };
        let all = all.iter().map(|(name, shape)| ((*name).to_owned(), array(shape))).collect();
        Example::alone("arrays.safetensors", headway_model::weights::arrays_to_bytes(&all).unwrap())
    };
    vec![
        arrays(&[("slopes", &[3, 2]), ("offsets", &[3]), ("values", &[3, 1])]),
        arrays(&[("weights", &[4, 2]), ("offsets", &[4])]),
        arrays(&[("net.0.weight", &[3, 4]), ("net.0.bias", &[3]), ("net.2.weight", &[2, 3]), ("net.2.bias", &[2])]),
        arrays(&[("inputs", &[3, 2, 2]), ("outputs", &[3, 2, 1])]),
    ]
}

// ---------------------------------------------------------------------------------------------------------------------
// The readers: the functions that the commands call.

/// `check`, `show` and `train --dry-run` up to the model itself, whose size an experiment may choose.
fn read_experiment(folder: &Path) -> Result<(), Error> {
    let loaded = experiment::load(&folder.join("experiment.toml"), &[])?;
    let Experiment { model, train, .. } = &loaded.experiment;
    let budget = model.budget(&loaded.experiment.dims());
    let _ = (budget.step_flops(train.batch_size), budget.step_activation_bytes(train.batch_size));
    let table = loaded.experiment.to_table();
    for (key, _) in experiment::leaves("", &table) {
        let _ = loaded.origin(&key);
    }
    // The weights it names are another file.
    headway_trainer::train::check(&Experiment { init_from: None, ..loaded.experiment }, &cpu())?;
    Ok(())
}

/// `sweep plan` and `sweep status`, or those of a comparison, in every profile.
fn read_study(folder: &Path) -> Result<(), Error> {
    let path = folder.join("study.toml");
    let dir = StudyDir::at(folder.join("out"));
    for profile in [None, Some("quick"), Some("converged")] {
        let profile = profile.map(str::to_owned);
        let study = match Study::read(&path, &Changes { profile: profile.clone(), ..Changes::default() }) {
            Ok(study) => study,
            Err(headway_study::Error::NoProfile { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for run in study.plan(&dir)?.runs().iter().take(100) {
            plan::run_state(&dir.run(&run.run_id))?;
        }
    }
    Ok(())
}

/// `eval`, `analyze` and `finetune` up to the network with its weights.
fn read_checkpoint(folder: &Path) -> Result<(), Error> {
    let (_, _, checkpoint) = evaluate::load(folder, &[], &cpu())?;
    checkpoint.state()?;
    checkpoint.certificate()?;
    checkpoint.weights_digest()?;
    Ok(())
}

/// `resume`, up to its first step.
fn read_run(folder: &Path) -> Result<(), Error> {
    Checkpoint::find(folder)?;
    resume::resume(folder, &no_step())?.end(headway_report::run::conclude).map(drop)
}

/// `report` of a constructed network.
fn read_certificate(folder: &Path) -> Result<(), Error> {
    let Some(value) = Checkpoint::find(folder)?.certificate()? else { return Ok(()) };
    let path = folder.join("certificate.json");
    let certificate = serde_json::from_value::<Certificate>(value)
        .map_err(|error| headway_trainer::Error::Checkpoint { path, problem: error.to_string() })?;
    let _ = serde_json::to_string(&certificate);
    Ok(())
}

/// `runs list`, `runs show`, `sweep status` and `report` of one run.
fn read_record(folder: &Path) -> Result<(), Error> {
    run_dir::runs_below(folder.parent().unwrap())?;
    plan::run_state(folder)?;
    log::newest(&RunDir::metrics_of(folder), "validation/loss")?;
    log::read(&RunDir::metrics_of(folder))?;
    run_dir::read_record(folder)?;
    headway_report::run::again(folder, &cpu()).map(drop)
}

/// `sweep status` of a run that failed.
fn read_failure(folder: &Path) -> Result<(), Error> {
    // A record of a failure that cannot be read counts as none.
    let (standing, _) = plan::run_state(folder)?;
    let text = serde_json::to_string(&standing).map_err(headway_trainer::Error::from)?;
    assert!(!text.is_empty());
    Ok(())
}

/// `report` of a study.
fn read_report(folder: &Path) -> Result<(), Error> {
    let study = Study::read(folder, &Changes::default())?;
    let dir = StudyDir::at(folder);
    headway_report::of_study(&study, &dir, &study.command(&dir))?.write(&headway_report::PageDir::at(dir.root()))
}

/// `merge` of an adapter alone.
fn read_adapter(folder: &Path) -> Result<(), Error> {
    let _ = fs::remove_dir_all(folder.join("merged"));
    let place = NewRun::At(folder.join("merged"));
    finetune::merge(&folder.join("alone"), Some(&folder.join("base")), &place)?;
    Ok(())
}

/// `card` of a fine-tuned network, up to its scores.
fn read_lineage(folder: &Path) -> Result<(), Error> {
    Checkpoint::find(folder)?.lineage()?;
    Ok(())
}

/// `import`, up to the names.
fn read_foreign(folder: &Path) -> Result<(), Error> {
    let path = folder.join("weights.pt");
    let refused = |error: headway_exchange::Error| headway_trainer::Error::refused(&path, error);
    headway_exchange::read(&path, None).map_err(refused)?;
    Ok(())
}

fn refused(refusal: Refusal) -> Error {
    headway_trainer::Error::argument("construct", refusal.to_string()).into()
}

/// `construct activation --table`
fn read_table(folder: &Path) -> Result<(), Error> {
    let path = folder.join("table.csv");
    activation::table(&bounded_read::read_given(&path)?, &path).map(drop).map_err(refused)
}

/// `construct seq2seq --samples`
fn read_samples(folder: &Path) -> Result<(), Error> {
    let path = folder.join("samples.npz");
    seq2seq::samples(bounded_read::read_arrays(&path)?, &path).map(drop).map_err(refused)
}

/// `check` of an experiment on data of one's own, and `predict` of that data.
fn read_data(folder: &Path) -> Result<(), Error> {
    let path = folder.join(EXPERIMENT);
    let task = experiment::load(&path, &[]).and_then(|loaded| build::open_task(&loaded.experiment).map(drop));
    let experiment = fs::read(&path).unwrap();
    let trained = TRAINED_ON_DATA.iter().find(|(example, _)| example.files[1].1 == experiment).unwrap();
    let name = &trained.0.files[0].0;
    let out = folder.join("out").with_extension(Path::new(name).extension().unwrap());
    let predicted = Predictor::load(&trained.1, None, &cpu())?.file(&folder.join(name), &out, &mut |_, _| ());
    let end = match predicted {
        // A network in half precision may be asked too much, which is exit code 5.
        Ok(_) | Err(headway_trainer::Error::NotFinite(_)) => task,
        Err(error) => task.and(Err(error)),
    };
    Ok(end?)
}

/// `check` and `train` up to the first batch.
fn read_task(folder: &Path) -> Result<(), Error> {
    let loaded = experiment::load(&folder.join(EXPERIMENT), &[])?;
    Ok(build::open_task(&loaded.experiment).map(drop)?)
}

/// `construct` with `--cells`, `--forms`, `--network` and `--samples` of safetensors.
fn read_arrays(folder: &Path) -> Result<(), Error> {
    let path = folder.join("arrays.safetensors");
    let read = || bounded_read::read_arrays(&path);
    let network = ReluWeights::from_arrays(&read()?, 2).map(drop);
    let cells = GivenCells::from_arrays(read()?, &path, 0.05).map(drop);
    let forms = truncated_linear::forms(read()?, &path).map(drop);
    let samples = seq2seq::samples(read()?, &path).map(drop);
    cells.or(forms).or(samples).or(network).map_err(refused)
}

/// A config whose copies of the model and its sizes agree with those of its experiment, if it can be parsed.
pub fn agreeing(config: &[u8]) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let experiment: Experiment = serde_json::from_value(config.get("experiment")?.clone()).ok()?;
    let table = config.as_object_mut()?;
    table.insert("model".to_owned(), serde_json::to_value(&experiment.model).ok()?);
    table.insert("dims".to_owned(), serde_json::to_value(experiment.dims()).ok()?);
    serde_json::to_vec(&config).ok()
}

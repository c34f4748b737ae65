//! Steps that are replayed give the numbers of those that are launched one by one, from the first.

use std::{collections::BTreeMap, fs, path::Path};

use headway_trainer::{
    checkpoint::checkpoints_in,
    device::{DeviceSpec, OpenDevice},
    experiment::{CaptureConfig, from_text},
    finetune::finetune,
    run_dir::NewRun,
    session::Options,
    train::train,
};

/// Experiments that differ in what a step launches and in what changes from one to the next, and how many of their steps are
/// replays: all but two of each kind, or none where a capture fails, which must leave no trace.
const CASES: [(&str, u64, &str); 7] = [
    (
        "Adam with warm-up and clipping, scored at the last point of each prompt, validated in between",
        5,
        "[task.icl_linear]\nd = 2\nn_points = 3\n\
         [data.fresh]\nvalidation = 4\ntest = 4\n\
         [model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\ncausal = true\n\
         [schedule.cosine]\nwarmup_steps = 3\n\
         [train]\nsteps = 7\nbatch_size = 4\nclip_norm = 0.05\nlog_every = 1\neval_every = 3\ncheckpoint_every = 3\nkeep_last = 9\n",
    ),
    (
        "the paper's model and loss, AdamW",
        4,
        "[task.truncated_linear]\nseq_len = 5\nd_in = 3\nlow = -2.0\nhigh = 2.0\n\
         [data.fixed]\ntrain = 40\nvalidation = 4\ntest = 4\n\
         [model.paper_one_layer]\nd_model = 4\nn_heads = 2\nn_anchors = 2\n\
         [optimizer.adamw]\n\
         [train]\nsteps = 6\nbatch_size = 4\nloss = \"padded\"\nlog_every = 1\ncheckpoint_every = 2\nkeep_last = 9\n",
    ),
    (
        "tokens, updates of several micro-batches, momentum and clipping",
        3,
        "[task.copy]\nvocab = 5\nn_data = 3\n\
         [data.fresh]\nvalidation = 4\ntest = 4\n\
         [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = true\nposition = \"sinusoidal\"\n\
         [optimizer.sgd]\nmomentum = 0.9\n\
         [train]\nsteps = 5\nbatch_size = 2\naccumulate = 3\nclip_norm = 0.01\nlog_every = 1\n",
    ),
    (
        "prompts that grow",
        4,
        "[task.icl_linear]\nd = 2\nn_points = 5\n\
         [task.icl_linear.curriculum]\nd_start = 1\npoints_start = 4\npoints_step = 1\nevery = 4\n\
         [data.fresh]\nvalidation = 4\ntest = 4\n\
         [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = true\nposition = \"rope\"\n\
         [train]\nsteps = 8\nbatch_size = 4\nlog_every = 1\n",
    ),
    (
        "a bias by distance, validated in between",
        4,
        "[task.icl_linear]\nd = 2\nn_points = 3\n\
         [data.fresh]\nvalidation = 4\ntest = 4\n\
         [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = true\nposition = \"alibi\"\n\
         [train]\nsteps = 6\nbatch_size = 4\nlog_every = 1\neval_every = 3\n",
    ),
    (
        "keys and values of which some channels are set",
        3,
        "[task.truncated_linear]\nseq_len = 5\nd_in = 3\nlow = -2.0\nhigh = 2.0\n\
         [data.fresh]\nvalidation = 4\ntest = 4\n\
         [model.paper_set_keys]\nd_model = 4\nn_anchors = 2\nlow = -2.0\nhigh = 2.0\n\
         [train]\nsteps = 5\nbatch_size = 4\nloss = \"padded\"\nlog_every = 1\n",
    ),
    (
        "places of a bias that each step writes from the host",
        0,
        "[task.icl_linear]\nd = 2\nn_points = 3\n\
         [data.fresh]\nvalidation = 4\ntest = 4\n\
         [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = true\nposition = \"alibi\"\nkernel = \"naive\"\n\
         [train]\nsteps = 5\nbatch_size = 4\nclip_norm = 0.05\nlog_every = 1\n",
    ),
];

/// A fine-tuning whose adapter drops inputs, anew for each of three micro-batches of a step.
const DROPPING: &str = "[task.icl_linear]\nd = 2\nn_points = 3\n\
     [data.fresh]\nvalidation = 4\ntest = 4\n\
     [model.transformer]\nd_model = 8\nn_layers = 2\nn_heads = 2\ncausal = true\n\
     [finetune.lora]\nrank = 2\ndropout = 0.4\n\
     [train]\nsteps = 6\nbatch_size = 2\naccumulate = 3\nlog_every = 1\ncheckpoint_every = 2\nkeep_last = 9\n";

/// Every number that a run leaves: its log, and weights and moments of each checkpoint.
fn numbers(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut numbers = BTreeMap::from([("log".to_owned(), fs::read(run.join("metrics.jsonl")).unwrap())]);
    for checkpoint in checkpoints_in(run).unwrap() {
        for file in ["model.safetensors", "optim.safetensors"] {
            let bytes = fs::read(checkpoint.path.join(file)).unwrap();
            numbers.insert(format!("step {:?}, {file}", checkpoint.step), bytes);
        }
    }
    numbers
}

/// Runs an experiment launch by launch and replayed, trained or fine-tuned from a run, and compares what is left.
fn compare(
    device: &OpenDevice,
    folder: &Path,
    at: &str,
    (name, replayed, text): (&str, u64, &str),
    from: Option<&Path>,
) {
    let run = |capture: CaptureConfig| {
        let mut experiment = from_text(Path::new("captured.toml"), text.to_owned(), &[]).unwrap().experiment;
        experiment.train.capture = capture;
        let options = Options::new(device.clone());
        let place = folder.join(format!("{at}-{capture:?}"));
        let new = NewRun::At(place.clone());
        let finished = match from {
            Some(from) => finetune(&experiment, from, false, &new, &options).unwrap(),
            None => train(&experiment, &new, &options).unwrap(),
        };
        let captured = finished.record.captured.clone().unwrap();
        drop(finished.conclude().unwrap());
        (numbers(&place), captured)
    };
    let ((want, off), (got, auto)) = (run(CaptureConfig::Off), run(CaptureConfig::Auto));
    assert_eq!((auto.replayed, auto.refused.is_some()), (replayed, replayed == 0), "{name}: {auto}");
    assert_eq!((off.replayed, off.steps), (0, auto.steps), "{name}: {off}");
    for (what, bytes) in &want {
        assert!(got.get(what) == Some(bytes), "{name}: {what}");
    }
    assert_eq!(got.len(), want.len(), "{name}");
}

#[test]
fn replays_give_the_numbers_of_launches() {
    let Some(gpu) = headway_testkit::gpu_name() else { return };
    let (device, _) = gpu.parse::<DeviceSpec>().unwrap().open().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (at, case) in CASES.into_iter().enumerate() {
        compare(&device, folder.path(), &at.to_string(), case, None);
    }
    let from = folder.path().join("0-Off");
    compare(&device, folder.path(), "dropping", ("inputs dropped at random", 4, DROPPING), Some(&from));
}

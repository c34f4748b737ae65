//! The whole path on a GPU, from the command line: train, crash, resume, fine-tune, evaluate. It is the device that
//! `HEADWAY_TEST_DEVICE` names, or Mesa's software Vulkan. Without it these tests fail. `HEADWAY_TEST_DEVICE=cpu` leaves them out, each with
//! a line on the terminal; they do not exist in builds without a GPU.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[path = "it/harness.rs"]
#[allow(dead_code, reason = "the command line's tests use the rest")]
mod harness;

use std::fs;

use harness::{Finished, Headway, Lab};
use headway_testkit::gpu_name;
use serde_json::Value;

const EXPERIMENT: &str = r"
seed = 5
[task.icl_linear]
d = 2
n_points = 3
[data.fresh]
validation = 4
test = 4
[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2
[train]
steps = 8
batch_size = 4
log_every = 1
eval_every = 3
checkpoint_every = 2
";

/// `headway … --device DEVICE`.
fn on(lab: &Lab, device: &str, words: &[&str]) -> Headway {
    lab.headway(&[words, &["--device", device]].concat())
}

fn test_loss(finished: &Finished) -> f64 {
    finished.json()["metrics"]["test/loss"].as_f64().unwrap()
}

fn assert_near(got: f64, want: f64, what: &str) {
    // Two devices round differently at every step; the trained losses differ in the fifth digit or later.
    assert!((got - want).abs() <= 1e-4 * want.abs(), "{what}: {got} against {want}");
}

#[test]
fn the_device_is_listed_with_its_compiler() {
    let Some(device) = gpu_name() else { return };
    let listed = Lab::new().headway(&["devices", "--json"]).succeed().json();
    let found = listed.as_array().unwrap().iter().find(|found| found["device"] == device.as_str());
    let found = found.unwrap_or_else(|| panic!("{device} is not in {listed}"));
    let (kind, _) = device.split_once(':').unwrap();
    let compiler = match kind {
        "cuda" => "cuda<c++>",
        "vulkan" => "wgpu<spirv>",
        _ => "wgpu<wgsl>",
    };
    assert_eq!(found["compiler"], compiler);
    assert_eq!(found["tuned"], cfg!(feature = "autotune"));
    assert_eq!(found["cache"].is_string(), cfg!(feature = "autotune"), "{found}");
}

#[test]
fn train_crash_resume_finetune_and_evaluate() {
    let Some(gpu) = gpu_name() else { return };
    let (lab, gpu) = (Lab::with(EXPERIMENT), gpu.as_str());
    on(&lab, gpu, &["train", "experiment.toml", "--out", "run"]).fault("step:5").be_killed();
    let resumed = on(&lab, gpu, &["resume", "run", "--json"]).succeed();
    assert_eq!(resumed.json()["step"], 8);

    // Steps were captured before the crash and after it, and left what launches one by one leave.
    let record: serde_json::Value = serde_json::from_slice(&fs::read(lab.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(record["captured"], serde_json::json!({ "replayed": 2, "steps": 4 }));
    on(&lab, gpu, &["train", "experiment.toml", "--out", "launched", "-s", "train.capture=off"]).succeed();
    for file in
        ["metrics.jsonl", "checkpoints/step-00000008/model.safetensors", "checkpoints/step-00000008/optim.safetensors"]
    {
        let [resumed, launched] = ["run", "launched"].map(|run| fs::read(lab.path(&format!("{run}/{file}"))).unwrap());
        assert!(resumed == launched, "{file} after a crash, and launched one by one");
    }

    let cpu = on(&lab, "cpu", &["train", "experiment.toml", "--out", "cpu", "--json"]).succeed();
    assert_near(test_loss(&resumed), test_loss(&cpu), "trained on the GPU with a crash, and on the CPU");
    // Each logged step has its line, in order and with the same values, whenever its loss was read.
    let lines = |run: &str| -> Vec<Value> {
        let text = lab.read(&format!("{run}/metrics.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let names = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (on_gpu, on_cpu) = (lines("run"), lines("cpu"));
    assert_eq!((on_gpu.len(), on_cpu.len()), (8, 8));
    for (here, there) in on_gpu.iter().zip(&on_cpu) {
        assert_eq!((&here["step"], names(here)), (&there["step"], names(there)));
        let loss = |line: &Value| line["train/loss"].as_f64().unwrap();
        assert_near(loss(here), loss(there), "the loss of a step");
    }

    let here = on(&lab, gpu, &["eval", "run", "--json"]).succeed();
    let there = on(&lab, "cpu", &["eval", "run", "--json"]).succeed();
    assert_near(test_loss(&here), test_loss(&there), "one checkpoint on both devices");

    let words = ["finetune", "experiment.toml", "--from", "run", "--out", "tuned", "-s", "train.steps=4", "--json"];
    let tuned = on(&lab, gpu, &words).succeed();
    assert_eq!(tuned.json()["status"], "complete");
}

#[test]
fn auto_takes_no_software_adapter_in_silence() {
    let lab = Lab::with(EXPERIMENT);
    let listed = lab.headway(&["devices", "--json"]).succeed().json();
    let gpus = listed.as_array().unwrap().iter().filter(|found| found["compiler"].is_string());
    let real_gpu = gpus.clone().any(|found| found["software"] == false);
    let checked = on(&lab, "auto", &["check", "experiment.toml", "--json"]).succeed();
    if real_gpu {
        assert_ne!(checked.json()["device"], "cpu");
    } else if gpus.count() > 0 {
        assert_eq!(checked.json()["device"], "cpu");
        assert!(checked.stderr.contains("software"), "{}", checked.stderr);
        // Verbs that need the device only incidentally report it too.
        on(&lab, "cpu", &["train", "experiment.toml", "--out", "run"]).succeed();
        let reported = on(&lab, "auto", &["report", "run"]).succeed();
        assert!(reported.stderr.contains("software"), "{}", reported.stderr);
    }
}

#[test]
fn runs_are_shared_out_among_devices() {
    let Some(gpu) = gpu_name() else { return };
    let (lab, gpu) = (Lab::with(EXPERIMENT), gpu.as_str());
    lab.write("sweep.toml", "experiment = \"experiment.toml\"\nseeds = [0, 1]\n");
    on(&lab, &format!("cpu,{gpu}"), &["sweep", "sweep.toml", "--out", "sweep"]).succeed();
    let runs = fs::read_dir(lab.path("sweep/runs")).unwrap();
    let mut devices: Vec<String> = runs
        .map(|run| {
            let record: Value =
                serde_json::from_slice(&fs::read(run.unwrap().path().join("run.json")).unwrap()).unwrap();
            record["device"].as_str().unwrap().split(' ').next().unwrap().to_owned()
        })
        .collect();
    devices.sort();
    assert_eq!(devices, ["cpu", gpu]);
}

/// A software adapter has no matrix units, and WGSL no bf16.
#[test]
fn a_precision_that_the_device_lacks_is_refused() {
    let Some(gpu) = gpu_name() else { return };
    let (lab, gpu) = (Lab::with(EXPERIMENT), gpu.as_str());
    let listed = lab.headway(&["devices", "--json"]).succeed().json();
    let found = listed.as_array().unwrap().iter().find(|found| found["device"] == gpu).unwrap();
    let has: Vec<&str> = found["precisions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(has.contains(&"f32"), "{has:?}");
    for precision in ["tf32", "bf16"].into_iter().filter(|precision| !has.contains(precision)) {
        let words = ["train", "experiment.toml", "--out", "run", "-s", &format!("train.precision={precision}")];
        on(&lab, gpu, &words).fail(4, &[&format!("cannot compute with train.precision = \"{precision}\"")]);
    }
}

/// In a process of its own: a device's memory is that of all threads.
#[test]
fn many_steps_take_no_more_memory_than_a_few() {
    let Some(gpu) = gpu_name() else { return };
    let soaked = on(&Lab::new(), &gpu, &["bench", "A1", "--soak", "50", "--json"]).succeed().json();
    let moments = soaked[0]["moments"].as_array().unwrap();
    let taken: Vec<u64> = moments.iter().map(|moment| moment["device_bytes"].as_u64().unwrap()).collect();
    assert!(taken.len() == 10 && taken[2..].iter().all(|bytes| *bytes == taken[2]), "{taken:?}");
}

//! Errors on the command line.

use super::*;

#[test]
fn usage_errors_exit_2() {
    let lab = Lab::with(SOUND);
    for (words, text) in [
        (&["trian", "experiment.toml"][..], "similar subcommand exists: 'train'"),
        (&["train"], "required arguments"),
        (&["train", "experiment.toml", "--sede", "3"], "similar argument exists: '--seed'"),
        (&["train", "experiment.toml", "--steps", "3"], "write '-s train.steps=3'"),
        (&["train", "experiment.toml", "--batch-size=8"], "write '-s train.batch_size=8'"),
        (&["train", "experiment.toml", "--epochs", "3"], "write '-s train.steps=VALUE'"),
        (&["train", "experiment.toml", "--lr", "1e-4"], "write '-s optimizer.learning_rate=1e-4'"),
        (&["train", "experiment.toml", "--resume"], "write 'headway resume RUN'"),
        (&["check", "experiment.toml", "--unset", "train.clip_norm"], "experiment.toml does not set it"),
        (&["train", "experiment.toml", "--max-time", "soon"], "`soon` is not a time; write 90s, 30m or 2h"),
        (
            &["train", "experiment.toml", "--device", "nonsense"],
            "no device `nonsense`; there are auto, cpu, cuda, cuda:N, vulkan, vulkan:N, wgpu, wgpu:N and ndarray",
        ),
        (&["train", "experiment.toml", "--device", "wgpu:x"], "`x` in `wgpu:x` is not a device number"),
        (&["list", "colours"], "tasks, models, kernels, positions, optimizers"),
        (&["finetune", "experiment.toml"], "--from"),
    ] {
        lab.headway(words).fail(2, &[text]);
    }
}

#[test]
fn devices_that_are_not_there_exit_4() {
    let lab = Lab::with(SOUND);
    let kinds =
        [("wgpu", cfg!(feature = "wgpu")), ("vulkan", cfg!(feature = "vulkan")), ("cuda", cfg!(feature = "cuda"))];
    for (kind, built) in kinds {
        let device = &format!("{kind}:99");
        let what = match (kind, built) {
            (_, false) => {
                format!("this build has no {kind} devices: build it with `cargo build --release --features {kind}`")
            }
            // Depends on what the machine has of CUDA.
            ("cuda", true) => String::new(),
            (_, true) => format!("no device `{device}` on this machine"),
        };
        for words in [&["train", "experiment.toml", "--out", "run"][..], &["check", "experiment.toml"]] {
            lab.headway(&[words, &["--device", device]].concat()).fail(4, &[&what, "there are cpu (burn-flex"]);
        }
    }
    assert!(!lab.path("run").exists());
}

//! Runs that diverge, and freezing that leaves nothing to train.

use super::*;

fn record(lab: &Lab) -> Value {
    serde_json::from_str(&lab.read("run/run.json")).unwrap()
}

#[test]
fn divergence_exits_5_and_keeps_the_last_good_checkpoint() {
    let huge = ["-s", "optimizer={sgd={learning_rate=1e30}}", "-s", "train.steps=10", "-s", "train.checkpoint_every=1"];
    for log_every in ["1", "3"] {
        let lab = Lab::with(SOUND);
        let log = format!("train.log_every={log_every}");
        let said = lab.train("run", &[&huge[..], &["-s", &log]].concat()).fail(
            5,
            &[
                "diverged at step",
                "is not finite; the last good state is run/checkpoints/step-",
                "smaller learning rate",
            ],
        );
        let (record, saved) = (record(&lab), whole_checkpoints(&lab.path("run")));
        assert_eq!(record["status"], "diverged");
        let newest = *saved.last().unwrap();
        assert!(said.said().contains(&format!("run/checkpoints/step-{newest:08}")), "{said:?}");
        assert!(record["step"].as_u64() > Some(newest), "{record}");
        let weights = fs::read(lab.path(&format!("run/checkpoints/step-{newest:08}/model.safetensors"))).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&weights).unwrap().iter() {
            let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            assert!(values.into_iter().all(f32::is_finite), "{name} in the checkpoint that was kept");
        }
        // Resuming ends in the same way.
        lab.resume("run").fail(5, &["diverged at step"]);
        assert_eq!(whole_checkpoints(&lab.path("run")), saved);
    }
}

#[test]
fn numbers_that_overflow_before_any_update_are_not_blamed_on_the_learning_rate() {
    let text = r#"[task.function]
seq_len = 2
d_in = 3
outputs = ["x1*x2/1e12"]
domain = { cube = { low = -1e6, high = 1e6 } }
[data.fresh]
validation = 0
test = 4
[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2
causal = false
norm = "none"
[optimizer.sgd]
learning_rate = 1e-30
[train]
steps = 2
batch_size = 4
log_every = 1
"#;
    let lab = Lab::with(text);
    let way_out = ["diverged at step 1", "f16 ends at 65504", "set train.attention_precision to bf16 or f32"];
    let said = lab.train("f16", &["-s", "train.attention_precision=f16"]).fail(5, &way_out);
    assert!(!said.said().contains("learning rate"), "{said:?}");
    for precision in ["bf16", "f32"] {
        let set = format!("train.attention_precision={precision}");
        lab.train(precision, &["-s", &set]).succeed();
    }
    let said = lab.train("large", &["-s", "task.outputs=[\"x1*1e20\"]"]).fail(5, &["No update was made yet"]);
    assert!(!said.said().contains("learning rate"), "{said:?}");
}

#[test]
fn a_precision_is_recorded_followed_by_attention_and_refused_where_the_device_has_none() {
    let lab = Lab::with(SOUND);
    let missing = ["cannot compute with train.precision = \"tf32\", only with f32, f16, bf16"];
    lab.train("run", &["-s", "train.precision=tf32"]).fail(4, &missing);
    lab.train("run", &["-s", "train.precision=f16"]).fail(2, &["train.precision: f16 is for attention alone"]);
    assert!(!lab.path("run").exists(), "a refused run leaves a folder");

    lab.train("run", &["-s", "train.precision=bf16"]).succeed();
    let record = record(&lab);
    assert_eq!([&record["precision"], &record["attention_precision"]], ["bf16"; 2]);
    let resolved = lab.read("run/experiment.toml");
    assert!(resolved.contains("\nprecision = \"bf16\"\nattention_precision = \"bf16\"\n"), "{resolved}");
    assert!(lab.read("run/report.html").contains("precision of products"), "the page does not say it");
    // Scored in the run's own precision, or in another, in which attention follows again.
    let scored = |set: &[&str]| {
        let words = [&["eval", "run", "--device", "cpu", "--json"], set].concat();
        lab.headway(&words).succeed().json()["metrics"]["test/loss"].as_f64().unwrap()
    };
    let of_run = record["results"][0]["metrics"]["test/loss"].as_f64().unwrap();
    assert!((scored(&[]) - of_run).abs() <= f64::EPSILON * of_run, "{} against {of_run}", scored(&[]));
    let exact = scored(&["-s", "train.precision=f32"]);
    assert!((1e-9..0.05).contains(&(exact / of_run - 1.0).abs()), "{exact} against {of_run}");
    let shown = lab.headway(&["show", "run/experiment.toml", "-s", "train.precision=f32"]).succeed().stdout;
    assert!(shown.contains("attention_precision = \"f32\""), "{shown}");
}

#[test]
fn divergence_names_the_first_bad_tensor_of_the_model() {
    let lab = Lab::with(SOUND);
    // Only the head is trained, so only it can diverge.
    lab.train("base", &[]).succeed();
    let words = ["finetune", "experiment.toml", "--from", "base", "--out", "run", "--device", "cpu"];
    let rate = ["-s", "optimizer={sgd={learning_rate=1e38}}", "-s", "train.steps=10"];
    let freeze = ["-s", r#"finetune.freeze=["embed.*", "blocks.*", "position.*", "final_norm.*"]"#];
    let finetune = lab.headway(&[&words[..], &rate, &freeze].concat());
    finetune.fail(5, &["head.weight is not finite", "the last good state is run/checkpoints/step-00000000"]);
}

#[test]
fn freezing_what_is_not_there() {
    let lab = lab_with_run();
    let words = ["finetune", "experiment.toml", "--from", "run", "--out", "new", "--device", "cpu", "-s"];
    for (freeze, texts) in [
        (
            r#"finetune.freeze=["blocks.0.atention.query.weight"]"#,
            &[
                "`blocks.0.atention.query.weight` matches no parameter",
                "nearest names are blocks.0.attention.query.weight",
            ][..],
        ),
        (r#"finetune.freeze=["head.weight", "blocks.7.*"]"#, &["`blocks.7.*` matches no parameter"]),
        (r#"finetune.freeze=["embed"]"#, &["`embed` matches no parameter", "embed.bias"]),
        (r#"finetune.freeze=["*"]"#, &["finetune.freeze leaves nothing to train"]),
    ] {
        lab.headway(&[&words[..], &[freeze]].concat()).fail(2, texts);
        lab.headway(&[&words[..], &[freeze, "--dry-run"]].concat()).fail(2, texts);
    }
    assert!(!lab.path("new").exists());
}

#[test]
fn training_from_scratch_with_something_frozen() {
    let lab = Lab::with(&format!("{SOUND}[finetune]\nfreeze = [\"head.*\"]\n"));
    let texts = ["finetune.freeze is set, but `train` starts from random weights; use `headway finetune`"];
    lab.train("run", &[]).fail(2, &texts);
    lab.train("run", &["--dry-run"]).fail(2, &texts);
    lab.headway(&["check", "experiment.toml"]).fail(2, &texts);
    assert!(!lab.path("run").exists());
}

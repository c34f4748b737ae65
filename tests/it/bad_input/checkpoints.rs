//! Checkpoints that are damaged or belong to another network.

use super::*;

const NEWEST: &str = "run/checkpoints/step-00000002";

#[test]
fn one_flipped_byte_in_any_file_exits_3() {
    for (name, verbs) in [
        ("model.safetensors", &["resume", "eval", "finetune"][..]),
        ("optim.safetensors", &["resume"]),
        ("state.json", &["resume", "eval", "finetune"]),
        ("config.json", &["eval"]),
    ] {
        let lab = lab_with_killed_run();
        flip_one_byte(&lab.path(NEWEST).join(name));
        let place = format!("checkpoint {NEWEST}/{name}: does not match its digest in MANIFEST");
        for verb in verbs {
            let words = match *verb {
                "finetune" => &["finetune", "experiment.toml", "--from", "run", "--out", "new"][..],
                verb => &[verb, "run"],
            };
            let said = lab.headway(&[words, &["--device", "cpu"]].concat()).fail(3, &[&place]);
            if *verb == "resume" {
                let way_out =
                    format!("To go on from run/checkpoints/step-00000000, move it aside: mv {NEWEST} {NEWEST}.aside");
                assert!(said.said().contains(&way_out), "{said:?}");
            }
        }
        assert!(!lab.path("new").exists());
    }
}

#[test]
fn the_way_out_of_a_damaged_checkpoint_works() {
    let lab = lab_with_killed_run();
    lab.train("straight", &[]).succeed();
    flip_one_byte(&lab.path(NEWEST).join("model.safetensors"));
    let said = lab.resume("run").fail(3, &["move it aside"]).said();
    let (_, command) = said.split_once(": mv ").unwrap();
    let (from, to) = command.split_once(' ').unwrap();
    fs::rename(lab.path(from), lab.path(to)).unwrap();
    lab.resume("run").succeed();
    fs::remove_dir_all(lab.path(to)).unwrap();
    lab.run("run").assert_same(&lab.run("straight"), "from the checkpoint before the damaged one");
}

#[test]
fn files_cut_short() {
    let lab = lab_with_killed_run();
    for name in ["model.safetensors", "optim.safetensors", "state.json"] {
        let bytes = fs::read(lab.path(NEWEST).join(name)).unwrap();
        fs::write(lab.path(NEWEST).join(name), &bytes[..bytes.len() - 1]).unwrap();
        lab.resume("run").fail(3, &[name, "the file was cut short or changed"]);
        fs::remove_file(lab.path(NEWEST).join(name)).unwrap();
        lab.resume("run").fail(3, &[name, "No such file"]);
        fs::write(lab.path(NEWEST).join(name), bytes).unwrap();
    }
    lab.resume("run").succeed();
}

#[test]
fn a_manifest_that_is_not_of_its_folder() {
    let lab = lab_with_killed_run();
    let whole = lab.read(&format!("{NEWEST}/MANIFEST"));
    let lines: Vec<&str> = whole.lines().collect();
    for (manifest, text) in [
        (lines[..3].join("\n"), "does not list state.json, which lies beside it"),
        (lines[..4].join("\n"), "does not list metrics.json, which lies beside it"),
        (whole[..whole.len() - 50].to_owned(), "line 5 is no sha256 and name"),
        (whole.replace(&lines[1][..20], ""), "line 2 is no sha256 and name"),
        (format!("{whole}{}\n", lines[0]), "line 6 is no sha256 and name, or names a file again"),
    ] {
        lab.write(&format!("{NEWEST}/MANIFEST"), manifest);
        lab.resume("run").fail(3, &[&format!("checkpoint {NEWEST}/MANIFEST: "), text]);
        lab.headway(&["eval", NEWEST, "--device", "cpu"]).fail(3, &[text]);
    }
    lab.write(&format!("{NEWEST}/MANIFEST"), whole);
    // Other files may be in a checkpoint's folder.
    lab.write(&format!("{NEWEST}/notes.txt"), "");
    lab.resume("run").succeed();
}

#[test]
fn files_that_match_the_manifest_and_still_make_no_sense() {
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 4].to_vec();
    for (name, text) in [
        ("model.safetensors", "not a readable safetensors file"),
        ("optim.safetensors", "not a readable safetensors file"),
        ("state.json", "state.json: EOF"),
    ] {
        let lab = lab_with_killed_run();
        forge(&lab.path(NEWEST), name, cut);
        lab.resume("run").fail(3, &[&format!("{NEWEST}/{name}"), text]);
    }
    let lab = lab_with_killed_run();
    forge(&lab.path(NEWEST), "config.json", |bytes| {
        String::from_utf8(bytes).unwrap().replace("\"format\": 1", "\"format\": 2").into_bytes()
    });
    lab.headway(&["eval", "run", "--device", "cpu"])
        .fail(3, &["config.json has format 2, this version reads format 1"]);
    // Moments that belong to another model.
    let lab = lab_with_killed_run();
    lab.train("wide", &["-s", "model.d_model=16"]).succeed();
    let wide = fs::read(lab.path("wide/checkpoints/step-00000004/optim.safetensors")).unwrap();
    forge(&lab.path(NEWEST), "optim.safetensors", |_| wide);
    lab.resume("run").fail(3, &["the optimiser's blocks.0.attention", "does not fit the weights"]);
}

#[test]
fn without_its_manifest_a_checkpoint_does_not_count() {
    let lab = lab_with_killed_run();
    lab.train("straight", &[]).succeed();
    fs::remove_file(lab.path(NEWEST).join("MANIFEST")).unwrap();
    lab.headway(&["eval", NEWEST, "--device", "cpu"]).fail(3, &["holds no whole checkpoint", "with a MANIFEST"]);
    let eval = lab.headway(&["eval", "run", "--device", "cpu", "--json"]).succeed().json();
    assert_eq!(eval["step"], 0);
    let said = lab.resume("run").succeed();
    let text = format!("{NEWEST} has no MANIFEST and is passed over; run/checkpoints/step-00000000 is taken");
    assert!(said.said().contains(&text), "{said:?}");
    fs::remove_dir_all(lab.path(&format!("{NEWEST}.aside-1"))).unwrap();
    lab.run("run").assert_same(&lab.run("straight"), "from the checkpoint before");
}

#[test]
fn weights_of_another_architecture_exit_3_with_a_line_per_tensor() {
    let lab = lab_with_run();
    let texts = [
        "the weights do not fit the model",
        "head.weight [1, 16] [1, 8] model.transformer.d_model",
        "blocks.1.attention.query.weight a parameter nothing model.transformer.n_layers",
    ];
    let wide = ["-s", "model.d_model=16", "-s", "model.n_layers=2"];
    lab.headway(&[&["eval", "run", "--device", "cpu"], &wide[..]].concat()).fail(3, &texts);
    let finetune = ["finetune", "experiment.toml", "--from", "run", "--device", "cpu", "--out", "new"];
    let hint = "sizes come from [model] and [task]; --allow-partial takes what fits";
    lab.headway(&[&finetune[..], &wide].concat()).fail(3, &[&texts[..], &[hint]].concat());
    lab.headway(&[&finetune[..], &wide, &["--dry-run"]].concat()).fail(3, &texts);
    let deeper = ["-s", "model.n_layers=2"];
    lab.headway(&[&["eval", "wide", "--device", "cpu"], &deeper[..]].concat()).fail(3, &["does not exist"]);
    lab.train("deep", &deeper).succeed();
    let shallow = ["eval", "deep", "--device", "cpu", "-s", "model.n_layers=1"];
    lab.headway(&shallow).fail(3, &["blocks.1.attention.query.weight nothing a tensor model.transformer.n_layers"]);
    // If not a single tensor fits, even a partial load is refused.
    lab.write(
        "paper.toml",
        SOUND
            .replace("[task.icl_linear]\nd = 3\nn_points = 4", "[task.truncated_linear]\nseq_len = 7\nd_in = 3")
            .replace("model.transformer", "model.paper_one_layer")
            .replace("n_layers = 1", ""),
    );
    let paper = ["finetune", "paper.toml", "--from", "run", "--device", "cpu", "--out", "new", "--allow-partial"];
    lab.headway(&paper).fail(3, &["none of its tensors fits the model"]);
    assert!(!lab.path("new").exists());
}

#[test]
fn a_config_that_changed_after_the_run_began() {
    for (lab, newest) in [(lab_with_killed_run(), 2), (lab_with_run(), 4)] {
        let text = lab.read("run/experiment.toml");
        lab.write("run/experiment.toml", text.replace("steps = 4", "steps = 8"));
        let texts = [
            &format!("checkpoint run/checkpoints/step-{newest:08}: belongs to another config"),
            "Undo the change, or start a new run from these weights with `headway finetune`",
        ];
        lab.resume("run").fail(3, &texts);
        // A comment changes nothing.
        lab.write("run/experiment.toml", format!("# mine\n{text}"));
        lab.resume("run").succeed();
    }
    let lab = lab_with_killed_run();
    let text = lab.read("run/experiment.toml").replace("steps = 4", "stesp = 4");
    lab.write("run/experiment.toml", text);
    lab.resume("run").fail(2, &["train.stesp: no such key", "[run/experiment.toml:", "did you mean `steps`?"]);
}

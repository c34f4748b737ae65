//! Names of files and folders: missing ones, ones that are not text, and ones with characters that a terminal, a shell
//! or a page would interpret.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use super::*;

#[test]
fn that_are_missing_come_with_the_nearest_one() {
    let lab = lab_with_run();
    fs::create_dir(lab.path("experiments")).unwrap();
    lab.write("experiments/quickstart.toml", SOUND);
    for (words, texts) in [
        (&["check", "experimnet.toml"][..], &["experimnet.toml: No such file", "did you mean `experiment.toml`?"][..]),
        (&["check", "experiment"], &["did you mean `experiment.toml`?"]),
        (&["check", "experiment/quickstrat.toml"], &["did you mean `experiments/quickstart.toml`?"]),
        (&["check", "quickstart.toml"], &["did you mean `experiments/quickstart.toml`?"]),
        (&["sweep", "experimnets"], &["did you mean `experiments`?"]),
        (&["train", "run"], &["it is the folder of a run; `headway resume run` continues it"]),
        (&["report", "rum"], &["did you mean `run`?"]),
    ] {
        lab.headway(words).fail(2, texts);
    }
    // A short name that differs in half of its characters is not suggested.
    lab.write("mq.toml", SOUND);
    let said = lab.headway(&["check", "qq.toml"]).fail(2, &["qq.toml: No such file"]).said();
    assert!(!said.contains("did you mean"), "{said}");
    lab.headway(&["eval", "rum"]).fail(3, &["checkpoint rum: does not exist; did you mean `run`?"]);
    lab.headway(&["runs", "show", "runn"]).fail(2, &["did you mean `run`?"]);
}

/// A folder whose name is not text: it is shown without a panic, and hints quote it for the shell.
#[test]
fn that_are_no_text() {
    let lab = Lab::with(SOUND);
    let name = OsStr::from_bytes(b"run\xff");
    let train = ["train", "experiment.toml", "--device", "cpu", "--max-time", "0s", "--out"];
    let said = lab.headway(&train).word(name).succeed().stdout;
    assert!(said.contains(r"headway resume $'run\xff'"), "{said}");
    lab.headway(&["resume", "--json"]).word(name).succeed().json();
    for words in [
        &["report"][..],
        &["eval", "--json"],
        &["card"],
        &["runs", "show"],
        &["runs", "list", "--json"],
        &["analyze", "rank", "--json"],
        &["export", "--format", "npz", "--out", "x.npz"],
        &["finetune", "experiment.toml", "--out", "tuned", "--from"],
        &["merge", "--out", "merged"],
        &["check"],
        &["show"],
        &["sweep"],
        &["import"],
        &["train", "experiment.toml", "--out", "new", "--init-from"],
        &["train", "experiment.toml", "-s"],
    ] {
        let finished = lab.headway(words).word(name).run();
        let code = finished.status.code();
        assert!(matches!(code, Some(0 | 2 | 3)), "{finished:#?}");
        assert_eq!(code == Some(0), finished.stderr.find("error:").is_none(), "{finished:#?}");
    }
    lab.headway(&["sweep", "status"]).word(name).fail(2, &["neither sweep.toml"]);
}

#[test]
fn that_a_terminal_would_obey_are_shown_instead() {
    let lab = Lab::with(SOUND);
    let name = "\x1b[31mred\u{9b}2J\rrun";
    lab.train(name, &[]).succeed();
    lab.write("\x1b[2J.toml", "\x1b[31m = 1\n");
    let set = format!("{name}=1");
    for words in [
        &["train", "experiment.toml", "--out", name][..],
        &["eval", name, "--json"],
        &["card", name],
        &["runs", "list", "."],
        &["check", "\x1b[2J.toml"],
        &["check", "experiment.toml", "-s", &set],
        &["check", "experiment.toml", &set],
        &[name],
    ] {
        let finished = lab.headway(words).run();
        let all = finished.stdout + &finished.stderr;
        let obeyed = all.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(obeyed, None, "{words:?}: {all:?}");
    }
    let eval = lab.headway(&["eval", name, "--json"]).succeed().json();
    assert_eq!(eval["run_dir"], name, "it is read back from JSON as it is");
}

/// The content of a card can be pasted safely.
#[test]
fn that_mean_something_to_a_shell_or_a_page() {
    let lab = Lab::with(SOUND);
    let name = "it's <b>`touch x`\" $HOME";
    let said = lab.train(name, &["--max-time", "0s"]).succeed().stdout;
    assert!(said.contains(r#"headway resume 'it'\''s <b>`touch x`" $HOME'"#), "{said}");
    let card = lab.headway(&["card", name]).succeed().stdout;
    let line = card.lines().find(|line| line.starts_with("headway eval ")).unwrap();
    let line = line.replacen("headway", env!("CARGO_BIN_EXE_headway"), 1);
    let pasted = std::process::Command::new("bash").arg("-c").arg(&line).current_dir(lab.path("")).output().unwrap();
    assert!(pasted.status.success() && !lab.path("x").exists(), "{line}: {pasted:?}");
    if harness::there_is("ast") {
        let literal = card.split_once("load_file(").unwrap().1.split_once(")  #").unwrap().0;
        let output = harness::python().args(["-c", &format!("print({literal})")]).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert!(read.starts_with(&format!("{name}/checkpoints/step-")), "{literal}: {read}");
    }
    // Outside code blocks it occurs only in code spans.
    let mut in_block = false;
    for line in card.lines() {
        in_block ^= line.starts_with("```");
        assert!(in_block || !line.contains("<b>") || line.contains("``"), "{line}");
    }
}

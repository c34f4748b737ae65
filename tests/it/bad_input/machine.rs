//! A machine on which no thread can be started.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::*;

/// A user who may not start a second thread.
#[test]
fn without_threads() {
    let lab = lab_with_run();
    // The limit does not apply to root, so another user runs a copy that all may execute.
    fs::copy(env!("CARGO_BIN_EXE_headway"), lab.path("headway")).unwrap();
    for path in ["", "headway", "run"] {
        fs::set_permissions(lab.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let other: &[&str] =
        if is_root { &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { &["env"] };
    for words in
        [&["eval", "run", "--device", "cpu"][..], &["train", "experiment.toml", "--device", "cpu", "--out", "new"]]
    {
        let output = Command::new(other[0])
            .args(&other[1..])
            .args(["prlimit", "--nproc=1:1", "./headway"])
            .args(words)
            .current_dir(lab.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said.starts_with("error: the system gives no more threads (") && !said.contains("fault"), "{said}");
    }
}

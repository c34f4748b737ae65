//! Runs the `headway` binary on tiny experiments and compares the folders it leaves.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tempfile::TempDir;

/// A folder to work in, deleted at the end of the test.
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// An empty folder with one experiment in it, `experiment.toml`.
    pub fn with(experiment: &str) -> Self {
        let lab = Self::new();
        lab.write("experiment.toml", experiment);
        lab
    }

    /// A path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The command `headway` with these words, run in the folder.
    pub fn headway(&self, words: &[&str]) -> Headway {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headway"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["HEADWAY_FAULT", "RAYON_NUM_THREADS", "COLUMNS", "LINES", "FORCE_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1");
        Headway(command)
    }

    /// `headway train experiment.toml --out OUT` on the CPU, with further words.
    pub fn train(&self, out: &str, more: &[&str]) -> Headway {
        self.headway(&[&["train", "experiment.toml", "--device", "cpu", "--out", out], more].concat())
    }

    /// `headway resume RUN` on the CPU.
    pub fn resume(&self, run: &str) -> Headway {
        self.headway(&["resume", run, "--device", "cpu"])
    }

    /// A second folder with the same files.
    pub fn copy(&self, from: &str, to: &str) {
        copy_folder(&self.path(from), &self.path(to));
    }

    /// The run in a folder, as files.
    pub fn run(&self, name: &str) -> RunFiles {
        RunFiles::read(&self.path(name))
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A run of the binary that has not started.
pub struct Headway(Command);

impl Headway {
    /// Sets the number of threads of the CPU backend.
    pub fn threads(mut self, threads: usize) -> Self {
        self.0.env("RAYON_NUM_THREADS", threads.to_string());
        self
    }

    /// Sets a crash point: `step:7`, `file:13`, `full:13` or `read:13`.
    pub fn fault(mut self, fault: &str) -> Self {
        self.0.env("HEADWAY_FAULT", fault);
        self
    }

    /// Adds a word, which need not be text.
    pub fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        self.0.arg(word);
        self
    }

    /// Lets another program with these words start it by `exec`: `env`, `setpriv` and the like.
    pub fn by(self, program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(words).arg(self.0.get_program()).args(self.0.get_args()).stdin(Stdio::null());
        command.current_dir(self.0.get_current_dir().unwrap());
        for (name, value) in self.0.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self(command)
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Finished {
        let output = self.0.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let finished = Finished {
            command: format!("{:?}", self.0.get_args()),
            status: output.status,
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!all.contains("panicked") && !all.contains("fault in Headway"), "{finished:#?}");
        finished
    }

    /// Runs it to its end, and asserts success.
    pub fn succeed(self) -> Finished {
        let finished = self.run();
        assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
        finished
    }

    /// Runs it to its end, and asserts this exit code with these texts on standard error, in any layout.
    pub fn fail(self, code: i32, texts: &[&str]) -> Finished {
        let finished = self.run();
        assert_eq!(finished.status.code(), Some(code), "{finished:#?}");
        let said = finished.said();
        for text in texts {
            assert!(said.contains(text), "`{text}` is not in: {said}\n{finished:#?}");
        }
        finished
    }

    /// Runs it to its end, and asserts that a crash point killed it.
    pub fn be_killed(self) {
        let finished = self.run();
        assert_eq!(finished.status.signal(), Some(9), "{finished:#?}");
    }

    /// Starts it without waiting.
    pub fn start(mut self) -> Running {
        Running(self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

/// A running process.
pub struct Running(Child);

impl Running {
    /// Waits until a file is not empty.
    pub fn wait_for(&mut self, path: &Path) {
        let is_there = || fs::metadata(path).is_ok_and(|file| file.len() > 0);
        self.wait_until(&format!("{} was written", path.display()), is_there);
    }

    /// Sends a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {name}: {status}");
    }

    /// Waits until a condition holds.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_so() {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended before {what}");
            assert!(Instant::now() < deadline, "still not: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end.
    pub fn wait(self) -> Finished {
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Finished { command: String::new(), status: output.status, stdout, stderr }
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    /// Its command line.
    #[expect(dead_code, reason = "a test that fails prints them")]
    pub command: String,
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard error without the frames and line breaks that depend on the width.
    pub fn said(&self) -> String {
        let words = self.stderr.split_whitespace().filter(|word| *word != "│" && *word != "×");
        words.collect::<Vec<_>>().join(" ")
    }

    /// Standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// All files of a run that must not depend on how often it was stopped.
#[derive(Debug, PartialEq)]
pub struct RunFiles {
    /// Contents of `experiment.toml`, `metrics.jsonl` and every file of every checkpoint, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The end of the run as recorded in `run.json`.
    pub end: Value,
}

impl RunFiles {
    fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        for name in ["experiment.toml", "metrics.jsonl"] {
            files.insert(name.to_owned(), fs::read(root.join(name)).unwrap());
        }
        for folder in fs::read_dir(root.join("checkpoints")).unwrap() {
            let folder = folder.unwrap().path();
            for file in fs::read_dir(&folder).unwrap() {
                let path = file.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.insert(name, fs::read(path).unwrap());
            }
        }
        let record: Value = serde_json::from_slice(&fs::read(root.join("run.json")).unwrap()).unwrap();
        let keys = ["run_id", "verb", "lineage", "parameters", "frozen_parameters", "status", "step", "results"];
        Self { files, end: keys.iter().map(|key| ((*key).to_owned(), record[key].clone())).collect() }
    }

    /// Asserts that it is equal to another run to the last bit.
    pub fn assert_same(&self, straight: &Self, what: &str) {
        let names = |run: &Self| run.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(straight), "{what}: other files");
        for (name, bytes) in &self.files {
            assert!(*bytes == straight.files[name], "{what}: {name} differs");
        }
        assert_eq!(self.end, straight.end, "{what}: run.json differs");
    }
}

/// Steps of the checkpoints in a run folder, each checked with `sha256sum`, an independent program.
pub fn whole_checkpoints(root: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(root.join("checkpoints")) else { return Vec::new() };
    let mut steps = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // A leading dot marks a folder that is being written or deleted.
        let Some(step) = name.strip_prefix("step-") else {
            assert!(name.starts_with(".step-"), "{name} in checkpoints/");
            continue;
        };
        let mut files: Vec<String> =
            fs::read_dir(&path).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let count = files.len();
        // Checkpoints of a fine-tuned run record where its weights came from.
        files.retain(|name| name != "lineage.json");
        let all = ["MANIFEST", "config.json", "metrics.json", "model.safetensors", "optim.safetensors", "state.json"];
        assert_eq!(files, all);
        let check = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "MANIFEST"])
            .current_dir(&path)
            .output()
            .unwrap();
        assert!(check.status.success(), "{}: {check:?}", path.display());
        assert_eq!(fs::read_to_string(path.join("MANIFEST")).unwrap().lines().count(), count - 1);
        steps.push(step.parse().unwrap());
    }
    steps.sort_unstable();
    steps
}

/// A text packed by gzip.
pub fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The Python that `HEADWAY_PYTHON` names, else `python3`, in the folder of our scripts.
pub fn python() -> Command {
    let mut command = Command::new(env::var_os("HEADWAY_PYTHON").unwrap_or_else(|| "python3".into()));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Whether Python has these modules; without them the test is not run, and says so past the capture of test output.
pub fn there_is(modules: &str) -> bool {
    // Importing PyTorch takes a second, so it is tried once for all tests.
    static FOUND: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
    let import = || python().args(["-c", &format!("import {modules}")]).output();
    let found = *FOUND
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(modules.to_owned())
        .or_insert_with(|| import().is_ok_and(|output| output.status.success()));
    let required = env::var("HEADWAY_REQUIRE_PYTHON").is_ok_and(|value| value == "1");
    assert!(
        found || !required,
        "no Python with {modules}: `apt-get install python3-numpy python3-torch python3-html5lib python3-pandas python3-matplotlib`, or name one that has them in \
         HEADWAY_PYTHON"
    );
    if !found {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let mut uncaptured = std::io::stderr();
        writeln!(uncaptured, "NOT RUN: {test} needs a Python with {modules}; see HEADWAY_PYTHON").unwrap();
    }
    found
}

/// Asserts that pages are valid HTML, refer to nothing outside themselves and are not too large, according to
/// `python/check_page.py`.
pub fn assert_sound_pages(pages: &[PathBuf]) {
    if there_is("html5lib") {
        let output = python().args(["check_page.py", "--no-browser"]).args(pages).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

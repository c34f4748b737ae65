//! Malicious or damaged files: whatever they contain, reading one ends without a panic, takes at most ten times the
//! size of its folder plus 64 MB of memory, and errors have exit code 2 or 3.
//!
//! Each test takes valid files of a kind ([`kinds`]), changes them ([`change`]) and reads them as the commands do. It
//! tries the same cases every time; seeds of cases that once failed are stored in `tests/hostile/seeds` and tried
//! first.
//!
//! ```text
//! HEADWAY_HOSTILE_SECONDS=3600 cargo test --release --test hostile -- --nocapture
//! ```
//!
//! continues for that long with new cases, and stores the seeds of those that fail. `HEADWAY_HOSTILE_KIND=config` tests
//! only one kind. If a case ends the whole process, as a stack overflow or running out of memory does, its files are
//! left in `target/tmp/hostile/case`.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod change;
mod kinds;
mod known;

use std::{
    cell::RefCell,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use change::Change;
use headway_report::Error;
use headway_testkit::memory::{self, peak_of};
use headway_trainer::{ErrorKind, VerbError, checkpoint::Checkpoint};
use kinds::{Example, KINDS, Kind};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner},
};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Allowed bytes per byte of the folder, and allowed bytes for any folder.
const ALLOWED: (usize, usize) = (10, 64_000_000);
/// Longest time that reading may take; generous, because the machine may be busy.
const LONGEST: Duration = Duration::from_mins(1);
/// Larger allocations are refused, so that a fault ends this process and not the machine.
const CEILING: usize = 4 << 30;

/// Memory is counted for the whole process, so tests run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    memory::set_ceiling(CEILING);
    alone
}

/// Folder in which runs and cases are made.
fn workplace() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile")
}

/// Result of one case.
struct Outcome {
    result: Result<(), Error>,
    peak: usize,
    size: usize,
    took: Duration,
}

impl Outcome {
    fn allowed(&self) -> usize {
        ALLOWED.0 * self.size + ALLOWED.1
    }
}

/// Puts a folder in place and reads it.
fn outcome(kind: &Kind, files: &[(String, Vec<u8>)]) -> Result<Outcome, String> {
    let folder = workplace().join("case").join("folder");
    let _ = fs::remove_dir_all(&folder);
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let size = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let began = Instant::now();
    let (result, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (kind.read)(&folder))));
    let took = began.elapsed();
    match result {
        Ok(result) => Ok(Outcome { result, peak, size, took }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// What is wrong with how a folder was read; `None` if nothing is.
fn fault(outcome: Result<Outcome, String>) -> Option<String> {
    let (allowed, outcome) = match outcome {
        Ok(outcome) => (outcome.allowed(), outcome),
        Err(panic) => return Some(panic),
    };
    let Outcome { result, peak, size, took } = outcome;
    match result {
        _ if peak > allowed => Some(format!("{peak} bytes of memory for {size} bytes of files; allowed are {allowed}")),
        _ if took > LONGEST => Some(format!("{took:?} for {size} bytes of files")),
        Ok(()) => None,
        Err(error) if matches!(error.kind(), ErrorKind::Usage | ErrorKind::Checkpoint) => None,
        // An experiment may need more memory than the machine has, also in a checkpoint.
        Err(error)
            if error.kind() == ErrorKind::Device
                && error.to_string().starts_with("out of memory: this experiment needs") =>
        {
            None
        }
        Err(error) => Some(format!("exit code {}: {error}", error.exit_code())),
    }
}

/// The folder of an example with its file changed and a manifest that matches.
fn changed(kind: &Kind, example: &Example, changes: &[Change], agreeing: bool) -> Vec<(String, Vec<u8>)> {
    let Example { mut files, changed } = example.clone();
    let (name, bytes) = &mut files[changed];
    *bytes = changes.iter().fold(std::mem::take(bytes), |bytes, change| change.apply(kind.format, bytes));
    let is_manifest = name.rsplit('/').next() == Some(Checkpoint::MANIFEST);
    if agreeing
        && name.ends_with("config.json")
        && let Some(config) = kinds::agreeing(bytes)
    {
        *bytes = config;
    }
    if !is_manifest {
        forge(&mut files);
    }
    files
}

/// Rewrites every manifest.
fn forge(files: &mut [(String, Vec<u8>)]) {
    for at in 0..files.len() {
        let Some(folder) = files[at].0.strip_suffix(Checkpoint::MANIFEST).map(str::to_owned) else { continue };
        let beside = files.iter().filter_map(|(name, bytes)| {
            let name = name.strip_prefix(&folder).filter(|name| !name.contains('/'))?;
            (name != Checkpoint::MANIFEST).then(|| (name, bytes.clone()))
        });
        files[at].1 = Checkpoint::manifest(&beside.collect::<Vec<_>>()).into_bytes();
    }
}

/// How the cases of a kind ended.
#[derive(Default)]
struct Tally {
    cases: u64,
    /// Number of cases without an error.
    sound: u64,
    /// Number of cases by exit code.
    refused: [u64; 2],
    slowest: Duration,
    /// Largest memory use, as a share of what is allowed.
    largest: f64,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        match outcome.result.as_ref().map_err(VerbError::exit_code) {
            Ok(()) => self.sound += 1,
            Err(2) => self.refused[0] += 1,
            Err(_) => self.refused[1] += 1,
        }
        self.slowest = self.slowest.max(outcome.took);
        self.largest = self.largest.max(outcome.peak as f64 / outcome.allowed() as f64);
    }
}

/// Tries cases of a kind; returns the first that fails, reduced to its smallest form.
fn try_cases(kind: &Kind, cases: u32, seed: RngSeed, tally: &mut Tally) -> Result<(), String> {
    let examples = (kind.examples)();
    let seeds: &'static str = Box::leak(format!("tests/hostile/seeds/{}.txt", kind.name).into_boxed_str());
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed: seed,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        max_shrink_time: 60_000,
        ..Config::default()
    });
    let strategy = (any::<Index>(), change::changes(kind.format), any::<bool>());
    let tally = RefCell::new(tally);
    let result = runner.run(&strategy, |(example, changes, agreeing)| {
        let files = changed(kind, example.get(&examples), &changes, agreeing);
        let outcome = outcome(kind, &files);
        if let Ok(outcome) = &outcome {
            tally.borrow_mut().add(outcome);
        }
        fault(outcome).map_or(Ok(()), |fault| Err(TestCaseError::fail(fault)))
    });
    match result {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, case)) => Err(format!("{}: {reason}\n{case:?}", kind.name)),
        Err(TestError::Abort(reason)) => Err(format!("{}: {reason}", kind.name)),
    }
}

/// The kinds to test.
fn asked() -> Vec<&'static Kind> {
    let name = env::var("HEADWAY_HOSTILE_KIND").ok();
    let asked: Vec<&Kind> = KINDS.iter().filter(|kind| name.as_ref().is_none_or(|name| name == kind.name)).collect();
    assert!(
        !asked.is_empty(),
        "HEADWAY_HOSTILE_KIND: there are {:?}",
        KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>()
    );
    asked
}

#[test]
fn faults_are_noticed() {
    let _alone = alone();
    let of = |read| {
        let kind = Kind { read, ..*KINDS.iter().find(|kind| kind.name == "failure").unwrap() };
        fault(outcome(&kind, &(kind.examples)()[0].files)).unwrap_or_default()
    };
    assert_eq!(of(|_| Ok(())), "");
    assert_eq!(of(|_| Err(Error::NoCheckpoint)), "");
    assert!(
        of(|_| Err(headway_trainer::Error::Training("lost".to_owned()).into()))
            .contains("exit code 1: training stopped: lost")
    );
    assert!(of(|folder| panic!("at {}", folder.exists())).contains("panicked: at true"));
    let takes_too_much = |_: &Path| {
        drop(std::hint::black_box(vec![0_u8; 70_000_000]));
        Ok(())
    };
    assert!(of(takes_too_much).contains("bytes of memory for"));
}

#[test]
fn sound_files_are_read() {
    let _alone = alone();
    for kind in KINDS {
        for example in (kind.examples)() {
            let name = &example.files[example.changed].0;
            let outcome = outcome(kind, &changed(kind, &example, &[], false));
            let sound = outcome.as_ref().is_ok_and(|outcome| outcome.result.is_ok());
            let said = outcome.as_ref().map(|outcome| outcome.result.as_ref().err().map(ToString::to_string));
            assert!(sound, "{}: {name}: {said:?}", kind.name);
            assert_eq!(fault(outcome), None, "{}: {name}", kind.name);
        }
    }
}

#[test]
fn changed_files_do_no_harm() {
    let _alone = alone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let long: Option<u64> = env::var("HEADWAY_HOSTILE_SECONDS").ok().map(|text| text.parse().unwrap());
    let began = Instant::now();
    let mut faults = Vec::new();
    let mut tallies: Vec<Tally> = asked().iter().map(|_| Tally::default()).collect();
    loop {
        for (kind, tally) in asked().into_iter().zip(&mut tallies) {
            let seed = if long.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
            faults.extend(try_cases(kind, kind.cases, seed, tally).err());
        }
        eprintln!("after {:.0} s", began.elapsed().as_secs_f64());
        for (kind, Tally { cases, sound, refused: [two, three], slowest, largest }) in asked().iter().zip(&tallies) {
            let name = kind.name;
            eprintln!(
                "{name:<14} {cases:>8} cases: {sound:>7} sound, {two:>7} exit code 2, {three:>7} exit code 3; slowest {slowest:>8.1?}, memory {:>3.0} %",
                largest * 100.0
            );
        }
        if long.is_none_or(|seconds| began.elapsed() >= Duration::from_secs(seconds)) {
            break;
        }
        for fault in &faults {
            eprintln!("{fault}");
        }
    }
    std::panic::set_hook(hook);
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

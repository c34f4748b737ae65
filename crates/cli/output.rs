//! Output for users: lines, progress, errors.

use std::{
    any::Any,
    io::{ErrorKind, IsTerminal, Write},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::error::Error;
pub use headway_draw::{duration, number};
use headway_report::verdict;
use headway_trainer::{
    VerbError,
    event::{Event, OnEvent},
    experiment::{ExperimentError, ValueSource},
    no_threads,
    provenance::Summary,
    quote::{self, printable, printable_in_place},
};
use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde::Serialize;

use crate::{dashboard, stop, tables};

/// Whether the last line on standard error is one that the next may take the place of. Whatever is written goes through this
/// file, and nothing that a terminal would obey goes through it unseen.
static UNFINISHED: Mutex<bool> = Mutex::new(false);

/// Prints a line on standard output.
pub fn line(text: impl AsRef<str>) {
    dashboard::close();
    finish_line();
    if let Err(error) = writeln!(std::io::stdout(), "{}", printable(text.as_ref())) {
        let _ = unwritten(&error);
    }
}

/// Prints lines on standard output.
pub fn text(text: &str) {
    text.lines().for_each(line);
}

/// Prints a piece of a line on standard output at once. Stops if the reader has gone away.
pub fn piece(text: &str) -> ControlFlow<()> {
    let mut stdout = std::io::stdout();
    match write!(stdout, "{}", printable(text)).and_then(|()| stdout.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => unwritten(&error),
    }
}

/// Seconds between notes about work that says nothing itself.
const SILENCE: Duration = Duration::from_secs(10);

/// Does work that says nothing itself, with a note now and then of how long it has taken.
pub fn waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let say = move || {
            let start = Instant::now();
            while ended.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                note(format!("{what}: {} so far", duration(start.elapsed().as_secs_f64())));
            }
        };
        // Without a thread the work is done in silence.
        let _ = thread::Builder::new().spawn_scoped(scope, say);
        let result = work();
        drop(done);
        result
    })
}

/// What follows when standard output cannot be written. A reader that has gone away is not an error, but a full disk is.
fn unwritten(error: &std::io::Error) -> ControlFlow<()> {
    if error.kind() != ErrorKind::BrokenPipe {
        note(format!("error: cannot write to standard output: {error}"));
        // When a terminal is closed, its output is closed too; the exit code is then that of the signal.
        std::process::exit(i32::from(stop::code().max(1)));
    }
    ControlFlow::Break(())
}

/// Prints a note for the user on standard error.
pub fn note(text: impl AsRef<str>) {
    styled_note(&printable(text.as_ref()));
}

/// [`note`] for a text that may contain our colours and is printable otherwise.
fn styled_note(text: &str) {
    if dashboard::note(text) {
        return;
    }
    finish_line();
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a line of progress can replace the one before it.
pub fn renews() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints a line of progress on standard error, replacing an unfinished one; an `unfinished` line may be replaced by the
/// next.
pub fn progress_line(text: &str, unfinished: bool) {
    if dashboard::is_open() {
        return;
    }
    let text = printable(text);
    // A line that wraps could not be replaced.
    let text = if unfinished { fitting(&text, tables::width()) } else { &text };
    let mut was_unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    let clear = if *was_unfinished { "\r\x1b[2K" } else { "" };
    let end = if unfinished { "" } else { "\n" };
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{clear}{text}{end}").and_then(|()| stderr.flush());
    *was_unfinished = unfinished;
}

/// The part of a text that fits into a line of `width` columns, the last of which stays free.
fn fitting(text: &str, width: usize) -> &str {
    text.char_indices().nth(width - 1).map_or(text, |(end, _)| &text[..end])
}

fn finish_line() {
    if std::mem::take(&mut *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)) {
        let _ = writeln!(std::io::stderr());
    }
}

/// Prints one JSON document on standard output.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => {
            note(format!("error: cannot write JSON: {error}"));
            std::process::exit(1);
        }
    }
}

/// Prints the result of a training session, for a person or as JSON.
pub fn summary(summary: &Summary, as_json: bool) {
    if as_json {
        json(summary);
        return;
    }
    if !summary.metrics.is_empty() {
        line(tables::results(&summary.rows()));
        verdict::of_rows(&summary.rows()).iter().for_each(line);
        summary.remarks.iter().for_each(line);
    }
    let run = summary.run_dir.display();
    line(format!("{} steps in {:.1} s of training", summary.step, summary.seconds));
    if summary.status.is_final() {
        line(format!("report: {run}/report.html"));
    } else {
        line(format!("not finished; continue with: headway resume {}", quote::shell_path(&summary.run_dir)));
    }
}

/// Plain progress on standard error: one line that renews itself in a terminal, a line per report elsewhere.
pub fn progress() -> OnEvent {
    let renews = renews();
    Arc::new(move |event| {
        let text = match event {
            Event::Prepared { notes } => return notes.iter().for_each(note),
            Event::Logged { step, steps, loss, steps_per_second } => {
                let left = (steps - step) as f64 / steps_per_second;
                format!(
                    "step {step:>7}/{steps}  loss {:<10} {steps_per_second:.0} steps/s  {} left",
                    number(*loss),
                    duration(left)
                )
            }
            Event::Validated { step, scores } => {
                let shown = scores.iter().filter(|(name, _)| !name.contains('['));
                let shown: Vec<String> = shown.map(|(name, value)| format!("{name} {}", number(*value))).collect();
                format!("step {step:>7}  validation: {}", shown.join("  "))
            }
            Event::Begun { .. } | Event::Saved { .. } => return,
        };
        let is_passing = matches!(event, Event::Logged { step, steps, .. } if step < steps);
        progress_line(&text, renews && is_passing);
    })
}

/// Prints an error and returns its exit code.
pub fn failure(error: &Error) -> ExitCode {
    dashboard::close();
    match error.experiment() {
        Some(problems) => experiment_problems(problems),
        None => note(format!("error: {error}")),
    }
    ExitCode::from(error.exit_code())
}

fn experiment_problems(error: &ExperimentError) {
    for problem in &error.problems {
        let help = problem.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
        match &problem.origin {
            ValueSource::File { offset, length, .. } => {
                let mut diagnostic = MietteDiagnostic::new(printable(&problem.message))
                    .with_label(LabeledSpan::underline(*offset..offset + length));
                diagnostic.help = problem.help.as_ref().map(|help| printable(help).into_owned());
                let name = printable(&error.path.to_string_lossy()).into_owned();
                let source = NamedSource::new(name, printable_in_place(&error.text));
                styled_note(&format!("{:?}", Report::new(diagnostic).with_source_code(source)));
            }
            ValueSource::Override(text) => note(format!("error: -s {text}: {}{help}", problem.message)),
            ValueSource::Default => note(format!("error: {}: {}{help}", error.path.display(), problem.message)),
        }
    }
}

/// Runs a verb. A panic inside a device driver or a library becomes an error message with an exit code.
pub fn catching_panics(verb: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(|_| ()));
    let ended = catch_unwind(AssertUnwindSafe(verb));
    dashboard::close();
    ended.unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        // Messages of the standard library and rayon if a thread cannot be started.
        let no_thread = ["failed to spawn thread", "global thread pool", "Resource temporarily unavailable"];
        if no_thread.iter().any(|words| message.contains(words)) {
            note(format!("error: {}", no_threads(&message)));
            return ExitCode::FAILURE;
        }
        let lower = message.to_lowercase();
        if ["out of memory", "allocation", "adapter", "device"].iter().any(|word| lower.contains(word)) {
            note(format!("error: the device failed: {message}"));
            return ExitCode::from(4);
        }
        note(format!(
            "error: {message}\nThis is a fault in Headway, not in your input. Saved checkpoints are unharmed."
        ));
        ExitCode::FAILURE
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown failure".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_renewed_leaves_the_last_column_free() {
        assert_eq!(["step 1", "step 12", "dé 1234"].map(|text| fitting(text, 7)), ["step 1", "step 1", "dé 123"]);
        assert_eq!(fitting("", 2), "");
    }
}

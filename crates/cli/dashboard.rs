//! The dashboard of `--tui`: a run's losses, pace and time left, over a whole terminal.
//!
//! Events change what is shown, and a thread draws it a few times a second, so that training never waits for a terminal. Ctrl-C stays a
//! signal. Notes are shown as they come, and are printed again when the terminal is given back.

use std::{
    io::{self, Stdout, stdout},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use headway_draw::{duration, number};
use headway_tasks::Source;
use headway_trainer::{
    evaluate,
    event::{Event, OnEvent},
    experiment::Experiment,
};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen},
    },
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    symbols::Marker,
    text::Line,
    widgets::{Axis, Chart, Dataset, Gauge, GraphType, LegendPosition, Paragraph},
};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Pause between two pictures.
const PAUSE: Duration = Duration::from_millis(200);
/// Largest number of points of a curve that are kept; beyond it every second one goes.
const MOST_POINTS: usize = 4096;
/// Largest number of classical predictors that are drawn.
const MOST_BASELINES: usize = 6;
/// Number of notes that are shown.
const MOST_NOTES: usize = 2;

/// The terminal while it is taken.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

struct Taken {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Its modes before.
    modes: Termios,
    shown: Shown,
    notes: Vec<String>,
}

fn taken() -> MutexGuard<'static, Option<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the terminal, and returns a listener whose events are shown there.
///
/// # Errors
/// What the system says of a terminal that cannot be taken, or if there is no thread to draw.
pub fn open() -> io::Result<OnEvent> {
    let modes = tcgetattr(stdout())?;
    let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
    let mut quiet = modes.clone();
    // Keys that are pressed would be written into the picture.
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
    tcsetattr(stdout(), OptionalActions::Now, &quiet)?;
    *taken() = Some(Taken { terminal, modes, shown: Shown::default(), notes: Vec::new() });
    let begun = execute!(stdout(), EnterAlternateScreen, cursor::Hide)
        .and_then(|()| thread::Builder::new().name("dashboard".to_owned()).spawn(draw).map(|_| ()));
    begun.inspect_err(|_| close())?;
    Ok(Arc::new(hear))
}

/// Gives the terminal back, if it is taken, and prints the notes that came meanwhile.
pub fn close() {
    let Some(Taken { modes, notes, .. }) = taken().take() else { return };
    // Nothing can be done for a terminal that has gone away.
    let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = tcsetattr(stdout(), OptionalActions::Now, &modes);
    for note in notes {
        eprintln!("{note}");
    }
}

/// Whether the terminal is taken.
pub fn is_open() -> bool {
    taken().is_some()
}

/// Shows a note, and returns whether there is a dashboard to show it.
pub fn note(text: &str) -> bool {
    taken().as_mut().map(|taken| taken.notes.push(text.to_owned())).is_some()
}

fn draw() {
    loop {
        match taken().as_mut() {
            None => return,
            // A terminal that has gone away shows nothing, and training goes on.
            Some(Taken { terminal, shown, notes, .. }) => _ = terminal.draw(|frame| shown.draw(frame, notes)),
        }
        thread::sleep(PAUSE);
    }
}

fn hear(event: &Event) {
    if let Event::Prepared { notes } = event {
        for text in notes {
            note(text);
        }
    }
    if let Event::Begun { experiment, source, .. } = event {
        let (experiment, source) = (Arc::clone(experiment), Arc::clone(source));
        // Beside training, which it does not touch; without a thread no classical predictor is shown.
        let _ = thread::Builder::new().name("baselines".to_owned()).spawn(move || beside(&experiment, &source));
    }
    if let Some(taken) = taken().as_mut() {
        taken.shown.hear(event);
    }
}

/// Scores the classical predictors on the validation set.
fn beside(experiment: &Experiment, source: &Source) {
    for (name, loss) in evaluate::classical_losses(experiment, source) {
        match taken().as_mut() {
            None => return,
            Some(taken) => taken.shown.baselines.push((name, loss)),
        }
    }
}

/// What is shown.
#[derive(Default)]
struct Shown {
    title: String,
    experiment: Option<Arc<Experiment>>,
    step: u64,
    /// Steps per second, the mean of this session, and when that was told.
    pace: Option<(f64, Instant)>,
    training: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
    /// Validation losses of classical predictors.
    baselines: Vec<(String, f64)>,
    saved: Option<u64>,
}

impl Shown {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::Prepared { .. } => {}
            Event::Begun { root, experiment, step, .. } => {
                let (model, task) = (experiment.model.name(), experiment.task.name());
                let seed = experiment.seed;
                self.title = format!("{}   {model} on {task}, seed {seed}", root.display());
                (self.experiment, self.step) = (Some(Arc::clone(experiment)), *step);
            }
            Event::Logged { step, loss, steps_per_second, .. } => {
                (self.step, self.pace) = (*step, Some((*steps_per_second, Instant::now())));
                add(&mut self.training, (*step as f64, *loss));
            }
            Event::Validated { step, scores } => {
                let loss = scores.get("loss").copied().unwrap_or(f64::NAN);
                add(&mut self.validation, (*step as f64, loss));
            }
            Event::Saved { step, .. } => self.saved = Some(*step),
        }
    }

    fn steps(&self) -> u64 {
        self.experiment.as_ref().map_or(0, |experiment| experiment.train.steps)
    }

    fn draw(&self, frame: &mut Frame<'_>, notes: &[String]) {
        let last = &notes[notes.len().saturating_sub(MOST_NOTES)..];
        let line = Constraint::Length(1);
        let heights = [line, Constraint::Min(6), line, line, Constraint::Length(last.len() as u16), line];
        let [title, curves, facts, bar, said, keys] = Layout::vertical(heights).areas(frame.area());
        frame.render_widget(Paragraph::new(self.title.as_str()).style(Modifier::BOLD), title);
        self.draw_curves(frame, curves);
        frame.render_widget(Paragraph::new(self.facts()), facts);
        let share = if self.steps() == 0 { 0.0 } else { self.step as f64 / self.steps() as f64 };
        let gauge = Gauge::default().ratio(share.clamp(0.0, 1.0)).label(self.progress()).gauge_style(Color::Blue);
        frame.render_widget(gauge, bar);
        frame
            .render_widget(Paragraph::new(last.iter().map(|note| Line::from(note.as_str())).collect::<Vec<_>>()), said);
        let help = Paragraph::new("Ctrl-C saves and stops; a second one stops at once");
        frame.render_widget(help.style(Modifier::DIM), keys);
    }

    /// `1,250 of 5,000 steps   25 %   3 min left`
    fn progress(&self) -> String {
        let (step, steps) = (self.step, self.steps());
        let percent = (100 * step).checked_div(steps).unwrap_or(0);
        let left = match self.pace {
            _ if steps > 0 && step >= steps => "scoring test examples".to_owned(),
            // From the moment when the pace was told, time has gone on.
            Some((pace, told)) if pace > 0.0 => {
                let left = steps.saturating_sub(step) as f64 / pace - told.elapsed().as_secs_f64();
                format!("{} left", duration(left.max(0.0)))
            }
            _ => "waiting for the first steps".to_owned(),
        };
        format!("{step} of {steps} steps   {percent} %   {left}")
    }

    /// `training 0.41   validation 0.43, best 0.42 at step 1000   learning rate 1.0e-3   210 steps/s   saved at step 1000`
    fn facts(&self) -> String {
        let mut facts = Vec::new();
        if let Some((_, loss)) = self.training.last() {
            facts.push(format!("training {}", number(*loss)));
        }
        if let Some((_, loss)) = self.validation.last() {
            let best = self.validation.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            let best = best.map(|(step, best)| format!(", best {} at step {step}", number(*best)));
            facts.push(format!("validation {}{}", number(*loss), best.unwrap_or_default()));
        }
        if let Some(experiment) = self.experiment.as_ref().filter(|_| self.step > 0) {
            facts.push(format!("learning rate {}", number(experiment.learning_rate(self.step))));
        }
        if let Some((pace, _)) = self.pace {
            facts.push(format!("{} steps/s", number(pace)));
        }
        if let Some(step) = self.saved {
            facts.push(format!("saved at step {step}"));
        }
        facts.join("   ")
    }

    /// Losses against steps, on a log axis where all are positive.
    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let baselines = &self.baselines[..self.baselines.len().min(MOST_BASELINES)];
        let losses = || {
            let curves = self.training.iter().chain(&self.validation).map(|(_, loss)| *loss);
            curves.chain(baselines.iter().map(|(_, loss)| *loss)).filter(|loss| loss.is_finite())
        };
        if self.training.is_empty() && self.validation.is_empty() {
            return frame.render_widget(Paragraph::new("no losses yet"), area);
        }
        let is_log = losses().all(|loss| loss > 0.0);
        let place = |loss: f64| if is_log { loss.log10() } else { loss };
        let low = losses().map(place).fold(f64::INFINITY, f64::min);
        let high = losses().map(place).fold(f64::NEG_INFINITY, f64::max);
        let room = (0.05 * (high - low)).max(1e-6 * high.abs()).max(1e-9);
        let bounds = [low - room, high + room];
        let steps = self.steps().max(1) as f64;
        let placed = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            let finite = points.iter().filter(|(_, loss)| loss.is_finite());
            finite.map(|(step, loss)| (*step, place(*loss))).collect()
        };
        let (training, validation) = (placed(&self.training), placed(&self.validation));
        // Dots, since a terminal has no dashes.
        let dotted = |(_, loss): &(String, f64)| -> Vec<(f64, f64)> {
            (0..40).map(|dot| (steps * f64::from(dot) / 40.0, place(*loss))).collect()
        };
        let lines: Vec<Vec<(f64, f64)>> = baselines.iter().map(dotted).collect();
        let colours = [Color::Green, Color::Magenta, Color::Cyan, Color::Red, Color::LightBlue, Color::Gray];
        let curve = |name: &str, colour: Color, marker: Marker, kind: GraphType| {
            Dataset::default().name(name.to_owned()).style(colour).marker(marker).graph_type(kind)
        };
        let mut all: Vec<Dataset<'_>> = lines
            .iter()
            .zip(baselines)
            .zip(colours)
            .map(|((line, (name, loss)), colour)| {
                curve(&format!("{name} {}", number(*loss)), colour, Marker::Dot, GraphType::Scatter).data(line)
            })
            .collect();
        all.push(curve("training", Color::Blue, Marker::Braille, GraphType::Line).data(&training));
        if !validation.is_empty() {
            all.push(curve("validation", Color::Yellow, Marker::Braille, GraphType::Line).data(&validation));
        }
        let ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
        let x_labels = ticks.map(|part| format!("{:.0}", steps * part));
        let y_labels = ticks.map(|part| {
            let value = bounds[0] + part * (bounds[1] - bounds[0]);
            number(if is_log { 10.0_f64.powf(value) } else { value })
        });
        let chart = Chart::new(all)
            .x_axis(Axis::default().title("step").bounds([0.0, steps]).labels(x_labels))
            .y_axis(Axis::default().title("loss").bounds(bounds).labels(y_labels))
            .legend_position(Some(LegendPosition::TopRight))
            .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(2, 3)))
            .style(Style::default());
        frame.render_widget(chart, area);
    }
}

/// Adds a point, and thins a curve that has grown too long.
fn add(curve: &mut Vec<(f64, f64)>, point: (f64, f64)) {
    curve.push(point);
    if curve.len() > MOST_POINTS {
        let all = mem::take(curve);
        // The newest stays.
        let odd = all.len() % 2;
        *curve = all.into_iter().enumerate().filter(|(at, _)| at % 2 != odd).map(|(_, point)| point).collect();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops where something is missing")]
mod tests {
    use std::path::{Path, PathBuf};

    use headway_trainer::{build, experiment::from_text};
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn begun(step: u64) -> Event {
        let text = "seed = 7\n[task.truncated_linear]\n[model.paper_one_layer]\n[train]\nsteps = 4000\n";
        let experiment = from_text(Path::new("experiment.toml"), text.to_owned(), &[]).unwrap().experiment;
        let source = Arc::new(build::build_source(&experiment).unwrap());
        Event::Begun { root: PathBuf::from("runs/first"), experiment: Arc::new(experiment), source, step }
    }

    fn logged(step: u64, loss: f64) -> Event {
        Event::Logged { step, steps: 4000, loss, steps_per_second: 10.0 }
    }

    fn validated(step: u64, loss: f64) -> Event {
        Event::Validated { step, scores: [("loss".to_owned(), loss)].into() }
    }

    fn screen(shown: &Shown, notes: &[String]) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 30)).unwrap();
        terminal.draw(|frame| shown.draw(frame, notes)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..110).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..30).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_run_is_told_by_its_name_curves_pace_and_time() {
        let mut shown = Shown::default();
        assert!(screen(&shown, &[]).contains("no losses yet"));
        shown.hear(&begun(0));
        for event in [logged(500, 0.5), validated(500, 0.25), logged(1000, 0.125), validated(1000, 0.3)] {
            shown.hear(&event);
        }
        shown.baselines.push(("mean".to_owned(), 0.75));
        let screen = screen(&shown, &["a".to_owned(), "warning: b".to_owned(), "c".to_owned()]);
        let wanted = [
            "runs/first   paper_one_layer on truncated_linear, seed 7",
            "training 0.1250",
            "validation 0.3000, best 0.2500 at step 500",
            "10.00 steps/s",
            "1000 of 4000 steps   25 %",
            "5 min left",
            "mean 0.7500",
            "warning: b",
            "Ctrl-C saves",
            "2000",
            "4000",
            "step",
            "loss",
        ];
        for text in wanted {
            assert!(screen.contains(text), "{text}:\n{screen}");
        }
        assert!(!screen.contains("\na"), "only the last notes:\n{screen}");
    }

    #[test]
    fn it_is_drawn_whatever_the_losses_and_the_size() {
        let mut shown = Shown::default();
        shown.hear(&begun(3000));
        for event in [logged(3001, 0.0), validated(3001, f64::NAN), logged(3002, -1.0), logged(4000, 1e300)] {
            shown.hear(&event);
            screen(&shown, &[]);
        }
        assert!(screen(&shown, &[]).contains("scoring test examples"));
        for (width, height) in [(1, 1), (10, 3), (400, 2)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| shown.draw(frame, &[])).unwrap();
        }
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_newest_point() {
        let mut curve = Vec::new();
        for step in 0..20_000 {
            add(&mut curve, (f64::from(step), 1.0));
            assert!(
                curve.len() <= MOST_POINTS
                    && curve.last().is_some_and(|(last, _)| last.total_cmp(&f64::from(step)).is_eq())
            );
        }
        assert!(curve.len() > MOST_POINTS / 4 && curve.is_sorted_by(|a, b| a.0 < b.0));
    }
}

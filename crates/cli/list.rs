//! `headway list`

use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use headway_exchange::names::CONVENTIONS;
use headway_keys::{Described, Form, Variant, like, wrapped};
use headway_model::{KernelKind, ModelConfig, PositionKind};
use headway_study::reproduce::REPRODUCTIONS;
use headway_tasks::{
    Seed, Task, TaskConfig,
    program::{Shipped, ZOO},
    seq2seq::function::BUILT_INS,
};
use headway_theory::construct::CONSTRUCTIONS;
use headway_trainer::{
    data,
    experiment::{FinetuneConfig, MODES},
    optimizer::{OPTIMIZERS, OptimizerConfig},
    schedule::Schedule,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    args::{Args, List, Listed},
    convergence,
    error::Error,
    keys, new, output, sizes, tables,
};

#[derive(Serialize)]
struct Entry {
    name: String,
    summary: String,
}

pub fn run(args: &List) -> Result<ExitCode, Error> {
    let Some(what) = args.what else {
        lists(args.json);
        return Ok(ExitCode::SUCCESS);
    };
    let rows = rows(what);
    if let Some(name) = &args.name {
        let found = rows.iter().find(|(entry, _)| entry == name);
        let Some((name, summary)) = found else {
            let like = like(rows.into_iter().map(|(name, _)| name), name);
            return Err(Error::NoEntry { list: word(what), name: name.clone(), like });
        };
        tell(what, name, summary, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    print(rows, args.json);
    Ok(ExitCode::SUCCESS)
}

/// Prints the lists that there are.
fn lists(as_json: bool) {
    let about = |what: &Listed| what.to_possible_value()?.get_help().map(ToString::to_string);
    let list = |what: &Listed| (word(*what), about(what).unwrap_or_default());
    print(Listed::value_variants().iter().map(list).collect(), as_json);
    if !as_json {
        output::line(
            "\nheadway list WHAT names them, headway list WHAT NAME tells of one: its keys, their defaults, what they mean.",
        );
    }
}

fn print(rows: Vec<(String, String)>, as_json: bool) {
    if as_json {
        output::json(&rows.into_iter().map(|(name, summary)| Entry { name, summary }).collect::<Vec<_>>());
        return;
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, summary) in rows {
        output::line(format!("{name:width$}  {summary}"));
    }
}

/// How a list is called on the command line.
fn word(what: Listed) -> String {
    what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Name and summary of every entry.
fn rows(what: Listed) -> Vec<(String, String)> {
    let owned = |(name, summary): (&str, &str)| (name.to_owned(), summary.to_owned());
    match what {
        Listed::Constructions => CONSTRUCTIONS.iter().copied().map(owned).collect(),
        Listed::Functions => BUILT_INS.iter().map(|function| owned((function.name, function.summary))).collect(),
        Listed::Programs => ZOO.iter().map(|shipped| owned((shipped.name, shipped.summary))).collect(),
        Listed::Conventions => {
            CONVENTIONS.iter().map(|convention| owned((convention.name, convention.summary))).collect()
        }
        Listed::Reproductions => {
            let trained = REPRODUCTIONS.iter().map(|reproduction| (reproduction.id, reproduction.summary));
            trained.chain([(convergence::ID, convergence::SUMMARY), (sizes::ID, sizes::SUMMARY)]).map(owned).collect()
        }
        Listed::Tasks => TaskConfig::list().into_iter().map(owned).collect(),
        Listed::Models => ModelConfig::list().into_iter().map(owned).collect(),
        Listed::Kernels => KernelKind::list().into_iter().map(owned).collect(),
        Listed::Positions => PositionKind::list().into_iter().map(owned).collect(),
        Listed::Modes => MODES.iter().copied().map(owned).collect(),
        Listed::Optimizers => OPTIMIZERS.iter().copied().map(owned).collect(),
        Listed::Schedules => {
            variants(&Schedule::form()).iter().map(|schedule| owned((&schedule.name, &schedule.doc))).collect()
        }
    }
}

fn variants(form: &Form) -> Vec<Variant> {
    match form {
        Form::Choice(choice) => choice.variants.clone(),
        _ => Vec::new(),
    }
}

/// The keys of a list's entries, and where they stand in an experiment; `None` for entries without.
fn choice(what: Listed) -> Option<(Form, &'static str)> {
    match what {
        Listed::Tasks => Some((TaskConfig::form(), "task")),
        Listed::Models => Some((ModelConfig::form(), "model")),
        Listed::Kernels => Some((KernelKind::form(), "model.kernel")),
        Listed::Positions => Some((PositionKind::form(), "model.position")),
        Listed::Modes => Some((FinetuneConfig::form(), "finetune")),
        Listed::Optimizers => Some((OptimizerConfig::form(), "optimizer")),
        Listed::Schedules => Some((Schedule::form(), "schedule")),
        Listed::Constructions | Listed::Functions | Listed::Programs | Listed::Conventions | Listed::Reproductions => {
            None
        }
    }
}

/// Prints what there is to say of one entry.
fn tell(what: Listed, name: &str, summary: &str, as_json: bool) {
    let held = choice(what).and_then(|(form, place)| {
        let variant = variants(&form).into_iter().find(|variant| variant.name == name)?;
        Some((variant.form, place))
    });
    let opened = matches!(what, Listed::Tasks).then(|| Opened::of(name)).flatten();
    let shipped = matches!(what, Listed::Programs).then(|| Shipped::find(name)).flatten();
    let options = if matches!(what, Listed::Constructions) { options(name) } else { Vec::new() };
    if as_json {
        output::json(&json!({
            "name": name,
            "summary": summary,
            "keys": held.as_ref().and_then(|(form, _)| form.as_ref()).map(keys::json),
            "options": options.iter().map(|[option, default, meaning]| json!({
                "option": option, "default": default, "meaning": meaning,
            })).collect::<Vec<_>>(),
            "baselines": opened.as_ref().map(|opened| &opened.baselines),
            "slices": opened.as_ref().map(|opened| &opened.slices),
            "text": shipped.map(|shipped| shipped.text),
        }));
        return;
    }
    // Nothing else, so that it can be written to a file.
    if let Some(shipped) = shipped {
        output::line(shipped.text.trim_end());
        return;
    }
    output::line(format!("{name}: {summary}"));
    if let Some((form, place)) = &held {
        match form {
            Some(Form::Table(table)) => {
                // Of a paragraph with a list after it, half is no help.
                let first = table.doc.lines().next().filter(|doc| *doc != summary && doc.ends_with('.'));
                first.into_iter().for_each(output::line);
                output::line(format!("\nin an experiment: {}", written(place, name)));
                form.as_ref().and_then(keys::table).into_iter().for_each(output::line);
            }
            Some(form) => output::line(format!(
                "\nin an experiment: {place} = {{ {name} = … }}, with {}",
                headway_keys::forms(form)
            )),
            None => output::line(format!("\nin an experiment: {place} = \"{name}\"; it has no keys")),
        }
    }
    if !options.is_empty() {
        output::line(tables::prose_table(&["option", "default", "meaning"], options.into_iter().map(<[_; 3]>::into)));
        output::line(format!("headway construct {name} --help tells of those that all constructions share"));
    }
    if matches!(what, Listed::Tasks) {
        match opened {
            Some(opened) => opened.print(),
            None => output::line("baselines and slices depend on its files; `headway eval RUN` shows them"),
        }
        output::line(format!("\nTry:  headway new {name} > my.toml\n      headway train my.toml"));
    }
}

/// How an entry with keys is written.
fn written(place: &str, name: &str) -> String {
    match place.split_once('.') {
        None => format!("[{place}.{name}]"),
        Some((_, key)) => format!("{key} = {{ {name} = {{ … }} }}"),
    }
}

/// What a task with its defaults, or with the files of the experiment that ships, is judged by.
struct Opened {
    baselines: Vec<String>,
    slices: Vec<String>,
    knows_best: bool,
}

impl Opened {
    /// `None` if it reads files that are not here.
    fn of(name: &str) -> Option<Self> {
        let task = TaskConfig::with_defaults(name)?;
        let task = if task.validate().is_empty() { task } else { new::shipped(&task)?.task };
        let opened: Box<dyn Task> = task.open(&data::files(""), Seed(0)).ok()?;
        let baselines = opened.baselines().iter().map(|baseline| baseline.name().to_owned()).collect();
        Some(Self { baselines, slices: opened.slices(), knows_best: opened.best_possible().is_some() })
    }

    fn print(&self) {
        let best = if self.knows_best { "; the best possible score is known" } else { "" };
        let mut lines = wrapped(&format!("baselines: {}{best}", self.baselines.join(", ")), tables::width());
        match self.slices.as_slice() {
            [] => {}
            all if all.len() <= MOST_SLICES => lines.push(format!("scores of slices too: {}", all.join(", "))),
            [first, second, .., last] => lines.push(format!("scores of slices too: {first}, {second}, …, {last}")),
            [..] => {}
        }
        lines.iter().for_each(output::line);
    }
}

/// Most slices that are named one by one.
const MOST_SLICES: usize = 6;

/// The options of a construction, each with its default and its meaning, as its command line has them.
fn options(construction: &str) -> Vec<[String; 3]> {
    let command = Args::command();
    let of = |parent: &clap::Command, name: &str| parent.find_subcommand(name).cloned();
    let Some(command) = of(&command, "construct").and_then(|construct| of(&construct, construction)) else {
        return Vec::new();
    };
    let shared = <crate::construct::args::Common as clap::Args>::augment_args(clap::Command::new("shared"));
    let is_own = |option: &&clap::Arg| shared.get_arguments().all(|other| other.get_id() != option.get_id());
    let text = |option: &clap::Arg| -> Option<[String; 3]> {
        let default: Vec<String> =
            option.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let meaning = option.get_help().map(ToString::to_string).unwrap_or_default();
        Some([format!("--{}", option.get_long()?), default.join(" "), meaning])
    };
    command.get_arguments().filter(is_own).filter_map(text).collect()
}

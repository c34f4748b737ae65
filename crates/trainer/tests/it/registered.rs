//! A task, a kernel, a position scheme and a model family of a crate that is not Headway's, those of `examples/own`: registered by one line each, they
//! are named in config files, held to the laws, trained and resumed.

#[path = "../../../../examples/own/parts/mod.rs"]
mod parts;

use std::{path::Path, sync::Once, time::Duration};

use headway_keys::{Described, Fallback, Form, Key};
use headway_model::{KernelKind, ModelConfig, weights};
use headway_tasks::{Files, TaskConfig};
use headway_testkit::laws;
use headway_trainer::{
    Error,
    device::DeviceSpec,
    experiment::{Experiment, from_text},
    resume::{Resumed, resume},
    run_dir::NewRun,
    session::Options,
    train::train,
};
use parts::{family::Single, kernel::Taylor, position::Recency, task::RunningMean};

/// Once in this process, before anything else.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(parts::register);
}

const TRANSFORMER: &str = "
seed = 5
[task.running_mean]
seq_len = 7
[model.transformer]
d_model = 8
n_layers = 1
n_heads = 2
position = \"recency\"
kernel.taylor = { spread = 0.25 }
[data.fresh]
validation = 4
test = 4
[train]
batch_size = 3
steps = 5
";

const SINGLE: &str = "
seed = 5
task = \"running_mean\"
[model.single]
kernel = \"taylor\"
[data.fresh]
validation = 4
test = 4
[train]
batch_size = 3
steps = 5
";

fn experiment(text: &str) -> Experiment {
    register();
    from_text(Path::new("own.toml"), text.to_owned(), &[]).unwrap().experiment
}

#[test]
fn what_is_registered_is_held_to_the_laws() {
    register();
    let no_files = Files::new("", |_| Err(std::io::ErrorKind::NotFound.into()), |_, _, _| Err(String::new()));
    laws::task::all(&TaskConfig::registered(RunningMean::default()), &no_files);
    laws::kernel::all(&Taylor::default());
    laws::position::all(&Recency::default());
    laws::family::all(&Single::default());
}

#[test]
fn lists_and_messages_know_what_is_registered_and_no_name_is_taken_twice() {
    register();
    assert_eq!(
        KernelKind::register::<Taylor>().unwrap_err().to_string(),
        "`taylor` stands in the list already; give yours another name"
    );
    assert!(ModelConfig::list().contains(&("single", "an affine map, one attention layer, an affine map")));
    let summary = "y_i = (x_1 + ... + x_i) / i";
    assert_eq!(TaskConfig::list().last(), Some(&("running_mean", summary)));
    let problems = |text: &str| match from_text(Path::new("own.toml"), text.to_owned(), &[]) {
        Err(Error::Experiment(error)) => error.problems,
        other => panic!("{other:?}"),
    };
    let misspelt = problems(&TRANSFORMER.replace("kernel.taylor", "kernel.tailor"));
    assert_eq!(misspelt[0].help.as_deref(), Some("did you mean `taylor`?"), "{misspelt:?}");
    let stray = problems(&TRANSFORMER.replace("spread =", "sprad ="));
    assert_eq!(stray[0].key, "model.transformer.kernel.taylor.sprad", "{stray:?}");
    assert!(stray[0].message.ends_with("no such key; there is `spread`"), "{stray:?}");
    let wide = problems(&TRANSFORMER.replace("spread = 0.25", "spread = 2.0"));
    assert_eq!(wide[0].message, "model.transformer.kernel: taylor.spread must be from 0 to below 1");
}

/// A type that says nothing of its keys is told of by its default; one that derives its keys, by its doc comments.
#[test]
fn its_keys_are_told_beside_those_that_are_built_in() {
    register();
    let key = |form: Form, variant: &str| -> Key {
        let Form::Choice(choice) = form else { panic!("a list is a choice") };
        let found = choice.variants.into_iter().find(|found| found.name == variant);
        let Some(Form::Table(table)) = found.and_then(|found| found.form) else { panic!("{variant} has keys") };
        table.keys.into_iter().next().unwrap()
    };
    let seq_len = key(TaskConfig::form(), "running_mean");
    assert_eq!((seq_len.name.as_str(), seq_len.doc.as_str()), ("seq_len", ""));
    assert_eq!(seq_len.fallback, Fallback::Value(6.into()));
    let spread = key(KernelKind::form(), "taylor");
    assert_eq!((spread.name.as_str(), spread.fallback), ("spread", Fallback::Value(0.5.into())));
    assert!(!spread.doc.is_empty() && !key(KernelKind::form(), "favor").doc.is_empty());
}

#[test]
fn the_resolved_config_and_the_run_id_carry_it() {
    let config = experiment(SINGLE);
    let text = config.to_toml();
    assert!(text.contains("[model.single.kernel.taylor]\nspread = 0.5"), "{text}");
    assert!(text.contains("[task.running_mean]\nseq_len = 6"), "{text}");
    assert_eq!(from_text(Path::new("again.toml"), text, &[]).unwrap().experiment, config);
    let other = experiment(&SINGLE.replace("\"taylor\"", "{ taylor = { spread = 0.125 } }"));
    assert_ne!(other.run_id(), config.run_id());
}

#[test]
fn it_is_trained_and_resumed_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let options = |max_time| Options { max_time, ..Options::new(DeviceSpec::Cpu.open().unwrap().0) };
    for (name, text) in [("transformer", TRANSFORMER), ("single", SINGLE)] {
        let experiment = experiment(text);
        let place = |run: &str| NewRun::At(folder.path().join(format!("{name}-{run}")));
        let whole = train(&experiment, &place("whole"), &options(None)).unwrap();
        let stopped = train(&experiment, &place("parts"), &options(Some(Duration::ZERO))).unwrap();
        assert!(stopped.model.is_none(), "{name}: something is left to train");
        drop(stopped.conclude().unwrap());
        let Resumed::Trained(resumed) = resume(&folder.path().join(format!("{name}-parts")), &options(None)).unwrap()
        else {
            panic!("{name}: nothing was left to train");
        };
        let [whole, resumed] = [whole.model, resumed.model].map(|model| weights::arrays(&model.unwrap()));
        assert_eq!(whole, resumed, "{name}");
        assert!(whole.keys().any(|key| key.ends_with("kernel.gains")), "{name}: {:?}", whole.keys());
        // The learned slope of the positions has left its first value.
        assert!(name == "single" || whole["position.slope"].values[0].to_bits() != 0.1_f32.to_bits(), "{name}");
    }
}

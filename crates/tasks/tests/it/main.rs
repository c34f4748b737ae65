//! All tasks, one module per family or law.

mod config;
mod curriculum;
mod families;
mod function;
mod given;
mod icl;
mod recall;
mod regression;
mod rules;
mod seq2seq;
mod shifts;
mod source;
mod task_laws;

/// The only file that exists.
const TABLE: &str = "table.csv";

/// Files for every task: one table of 60 examples of 3 positions.
fn files() -> headway_tasks::Files {
    let read = |path: &std::path::Path| {
        if path != std::path::Path::new(TABLE) {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let line = |at: u32| format!("{},{},{}\n", at / 3, f64::from(at * 7 % 101) / 10.0, at * 5 % 13);
        Ok(format!("example,inputs,targets\n{}", (0..180).map(line).collect::<String>()).into_bytes())
    };
    headway_tasks::Files::new("", read, |_, _, _| Err("no arrays here".to_owned()))
}

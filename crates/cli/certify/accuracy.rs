//! Accuracies: what is proved of a network that names the largest of k tokens.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use headway_bounds::accuracy::{MOST_OPERATIONS, MOST_WORDS, Strategy, Tables, prove, try_all};
use headway_inspect::{LoadedModel, function_of_vectors};
use headway_model::weights;
use headway_report::{PageDir, accuracy};
use headway_theory::Refusal;
use headway_trainer::{device::OpenDevice, digest::digest, evaluate};

use crate::{args::Certify, error::Error, output, tables};

pub fn run(
    args: &Certify,
    loaded: &LoadedModel,
    [vocab, k]: [usize; 2],
    device: &OpenDevice,
    place: &PageDir,
) -> Result<ExitCode, Error> {
    let others = [
        ("target", !args.target.is_empty()),
        ("domain", !args.domain.is_empty()),
        ("free", !args.free.is_empty()),
        ("fix", !args.fix.is_empty()),
        ("float32", args.float32),
    ];
    if let Some((option, _)) = others.into_iter().find(|(_, given)| *given) {
        let problem =
            "is about the largest error of a network of numbers; of a network on max_of_k the accuracy is proved";
        return Err(Refusal::invalid(option, problem).into());
    }
    let refused = |problem: String| headway_trainer::Error::argument(args.checkpoint.display().to_string(), problem);
    let tables = Tables::of(&function_of_vectors(loaded)?).map_err(|error| refused(error.to_string()))?;
    let mut proved = Vec::new();
    let mut left_out = Vec::new();
    for strategy in Strategy::ALL {
        let operations = strategy.operations(&tables);
        if operations > MOST_OPERATIONS {
            left_out.push((strategy.name(), operations));
        } else {
            output::progress_line(
                &format!("{}: about {operations:.0e} multiplications", strategy.name()),
                output::renews(),
            );
            proved.push(prove(&tables, strategy));
        }
    }
    let words = (vocab as f64).powf(k as f64);
    if words <= MOST_WORDS {
        let mut said = Instant::now();
        let pause = Duration::from_secs(if output::renews() { 1 } else { 10 });
        let each = |share: f64| {
            if said.elapsed() > pause {
                said = Instant::now();
                output::progress_line(&format!("every word: {:.0} %", 100.0 * share), output::renews());
            }
        };
        let flops = loaded.experiment.budget().forward_flops as f64 / 2.0;
        let model = burn::module::Module::valid(&loaded.model);
        let all = || -> Result<_, Error> { Ok(try_all(&model, &device.device, [vocab, k], flops, each)) };
        proved.push(evaluate::within(&loaded.experiment, device, all)?);
    } else {
        left_out.push(("every word", words));
    }
    let weights = digest(&weights::to_bytes(&loaded.model).map_err(headway_trainer::Error::from)?);
    let page = accuracy::page((&loaded.provenance, &weights), [vocab, k], &proved, &left_out);
    page.write(place)?;
    if args.json {
        output::json(&page.json);
    } else {
        output::line(tables::cells(&page.table.header, &page.table.rows));
        page.findings.iter().for_each(output::line);
        output::line(format!("report: {}", place.report().display()));
    }
    Ok(ExitCode::SUCCESS)
}

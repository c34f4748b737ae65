//! `headway bench`

use std::{
    fs, io,
    path::Path,
    process::{Command, ExitCode},
};

use crate::error::Error;
use headway_draw::{Figure, Series};
use headway_model::Precision;
use headway_plain::convergence::{exponent, exponent_interval};
use headway_study::results::{LEVEL, resamples};
use headway_trainer::{
    ErrorKind,
    bench::{BENCHES, Bench as Benchmark, Moment, Timing, matmul_peak},
    beside,
    device::OpenDevice,
    json,
    prefetch::Waits,
    provenance::CapturedSteps,
};
use serde::Serialize;
use serde_json::json;

use crate::{args::Bench, device, output, tables};

/// One line of the table.
#[derive(Serialize)]
struct Measured {
    name: &'static str,
    device: String,
    /// Precision of products.
    precision: Precision,
    /// Number of CPU threads.
    threads: u16,
    /// Number of queries and keys; `None` unless it is attention alone.
    attention_length: Option<usize>,
    /// What computes attention alone.
    attention_kernel: Option<&'static str>,
    /// Number of heads of attention alone.
    attention_heads: Option<usize>,
    /// Whether attention alone has a causal mask.
    attention_causal: Option<bool>,
    /// Milliseconds per step of the fastest sample.
    ms_per_step: f64,
    steps_per_second: f64,
    gflops: f64,
    /// Share of the speed of the fastest product of two large matrices, on the same device with as many threads.
    share_of_peak: f64,
    /// Megabytes by which the process grew over its size before the first step; `None` if unknown.
    peak_mb: Option<f64>,
    /// Megabytes of its own memory that a GPU had set aside.
    device_mb: Option<f64>,
    /// How often steps waited for their batches, on a GPU.
    waits: Option<Waits>,
    /// Kernels that a step launches, on a GPU.
    launches: Option<usize>,
    /// Steps that were replays of a captured one, where that makes a difference.
    captured: Option<CapturedSteps>,
    /// Seconds per step of every sample.
    seconds_per_step: Vec<f64>,
}

pub fn run(args: &Bench) -> Result<ExitCode, Error> {
    let named = args.names.iter().map(|name| Benchmark::find(name)).collect::<Result<Vec<_>, _>>()?;
    let named: Vec<Benchmark> = named.into_iter().map(|bench| bench.in_precision(args.precision)).collect();
    // Training takes no f16, attention alone does.
    let has = |bench: &&Benchmark| args.precision != Precision::F16 || bench.attention().is_some();
    let all = || BENCHES.iter().filter(has).map(|bench| bench.in_precision(args.precision)).collect();
    let mut benches: Vec<Benchmark> = if named.is_empty() { all() } else { named };
    if args.list {
        return list(&benches, args.json);
    }
    if args.here {
        return here(args, &benches);
    }
    let device = device::open(args.device)?;
    if args.names.is_empty() && !device.spec.is_gpu() {
        let (long, others): (Vec<_>, Vec<_>) = benches.into_iter().partition(|bench| bench.for_gpu);
        let long: Vec<&str> = long.iter().map(|bench| bench.name).collect();
        if !long.is_empty() {
            let long = long.join(", ");
            output::note(format!("left out, since they take minutes on a CPU: {long}; name them to run them"));
        }
        benches = others;
    }
    if let Some(steps) = args.soak {
        return soak(args, &benches, &device, steps);
    }
    let mut threads = match (device.spec.is_gpu(), args.threads.as_slice()) {
        (true, asked) => {
            if !asked.is_empty() {
                output::note("warning: --threads counts CPU threads; this device has none to count");
            }
            vec![cores()]
        }
        (false, []) => vec![1, cores()],
        (false, asked) => asked.to_vec(),
    };
    threads.sort_unstable();
    threads.dedup();
    if let Some(folder) = &args.out {
        // Done before the timing, which takes minutes: a wrong folder must be noticed first.
        fs::create_dir_all(folder).map_err(cannot("cannot create folder", folder))?;
    }
    let mut peaks = Vec::new();
    for threads in &threads {
        output::note(format!("matrix products, {threads} threads"));
        peaks.push(child::<f64>(args, None, *threads)?);
    }
    let mut measured = Vec::new();
    for bench in benches {
        for (threads, peak) in threads.iter().zip(&peaks) {
            output::note(format!("{}, {threads} threads: {}", bench.name, bench.summary));
            let timing: Timing = child(args, Some(&bench), *threads)?;
            measured.push(line(args, &bench, device.spec.to_string(), *threads, timing, *peak));
        }
    }
    if args.json {
        output::json(&measured);
    } else {
        output::line(table(&measured));
        for growth in COSTS.into_iter().flat_map(|cost| growth(&measured, cost)) {
            if let Some(law) = growth.law() {
                output::line(format!("{} of attention, {}: {law}", growth.quantity, growth.label()));
            }
        }
    }
    if let Some(folder) = &args.out {
        save(&measured, folder)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A cost of attention: its name, its unit, and how to read it from a line of the table, once for each sample.
type Cost = (&'static str, &'static str, fn(&Measured) -> Vec<f64>);

const COSTS: [Cost; 2] = [
    ("time", "ms", |line| line.seconds_per_step.iter().map(|seconds| 1e3 * seconds).collect()),
    // A GPU's memory is not this process's.
    ("memory", "MB", |line| line.peak_mb.filter(|_| line.launches.is_none()).into_iter().collect()),
];

/// How a cost of attention alone grows with the length, for the lines of one kind.
#[derive(Serialize)]
struct Growth {
    quantity: &'static str,
    unit: &'static str,
    kernel: &'static str,
    n_heads: usize,
    causal: bool,
    threads: u16,
    /// Pairs of length and cost, the mean of the samples.
    points: Vec<(f64, f64)>,
    /// The exponent of the length; `None` if it cannot be fitted.
    exponent: Option<f64>,
    /// Its interval over samples, which says how well the mean is known and not how straight the line is; `None` with one sample.
    interval: Option<[f64; 2]>,
}

impl Growth {
    /// Kernel, heads and threads.
    fn label(&self) -> String {
        let Self { kernel, n_heads, causal, threads, .. } = self;
        let heads = if *n_heads == 1 { "one head".to_owned() } else { format!("{n_heads} heads") };
        let causal = if *causal { ", causal" } else { "" };
        format!("{kernel}, {heads}{causal}, {threads} threads")
    }

    /// `length^1.02 [1.00, 1.04]`, if there is an exponent.
    fn law(&self) -> Option<String> {
        let interval = self.interval.map(|[low, high]| format!(" [{low:.2}, {high:.2}]")).unwrap_or_default();
        Some(format!("length^{:.2}{interval}", self.exponent?))
    }
}

/// How a cost of attention alone grows with the length: for each kernel, number of heads and number of threads, in the order of the lines.
fn growth(measured: &[Measured], (quantity, unit, of): Cost) -> Vec<Growth> {
    type Kind = (&'static str, usize, bool, u16);
    let kind = |line: &Measured| -> Option<Kind> {
        Some((line.attention_kernel?, line.attention_heads?, line.attention_causal?, line.threads))
    };
    let mut kinds: Vec<Kind> = Vec::new();
    for found in measured.iter().filter_map(kind) {
        if !kinds.contains(&found) {
            kinds.push(found);
        }
    }
    let of_kind = |known: Kind| {
        let lines = measured.iter().filter(|line| kind(line) == Some(known));
        let costs = lines.filter_map(|line| Some((line.attention_length? as f64, of(line))));
        let costs: Vec<(f64, Vec<f64>)> = costs.filter(|(_, samples)| !samples.is_empty()).collect();
        let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
        let points: Vec<(f64, f64)> = costs.iter().map(|(length, samples)| (*length, mean(samples))).collect();
        let (lengths, samples): (Vec<f64>, Vec<Vec<f64>>) = costs.into_iter().unzip();
        let repeats = samples.first().map_or(0, Vec::len);
        let interval = exponent_interval(&lengths, &samples, &resamples(repeats), LEVEL);
        let (kernel, n_heads, causal, threads) = known;
        let interval = interval.map(|interval| [interval.low, interval.high]);
        Growth { quantity, unit, kernel, n_heads, causal, threads, exponent: exponent(&points), points, interval }
    };
    kinds.into_iter().map(of_kind).collect()
}

/// The error for an action that failed on a path, for use with `map_err`.
fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| headway_trainer::Error::Io { action, path, source }.into()
}

/// Writes the table as JSON, how costs of attention grow, and a figure for each cost of attention measured at several lengths.
fn save(measured: &[Measured], folder: &Path) -> Result<(), Error> {
    let path = folder.join("bench.json");
    beside::write(&path, &json::file(&measured)?)?;
    let growths = COSTS.map(|cost| growth(measured, cost));
    beside::write(&folder.join("growth.json"), &json::file(&growths.iter().flatten().collect::<Vec<_>>())?)?;
    for ((quantity, unit, _), growths) in COSTS.into_iter().zip(growths) {
        let series = growths.into_iter().filter_map(|growth| {
            let label = format!("{}: {}", growth.label(), growth.law()?);
            Some(Series { label, points: growth.points, ..Series::default() })
        });
        let figure = Figure {
            title: format!("{quantity} of attention, forward and backward, against its length"),
            x_label: "queries and keys".to_owned(),
            y_label: format!("{quantity} ({unit})"),
            x_log: true,
            y_log: true,
            series: series.collect(),
            ..Figure::default()
        };
        if figure.series.is_empty() {
            continue;
        }
        let path = folder.join(format!("attention_{quantity}.svg"));
        let svg = figure.to_svg();
        beside::write(&path, svg.as_bytes())?;
        // Not on standard output, which may contain one JSON document.
        output::note(format!("figure: {}", path.display()));
    }
    Ok(())
}

fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX))
}

/// Times one benchmark, or matrix products alone, in a process of its own, because the number of threads is fixed when
/// a process starts, and so that its memory can be measured.
fn child<T: serde::de::DeserializeOwned>(args: &Bench, bench: Option<&Benchmark>, threads: u16) -> Result<T, Error> {
    let name = bench.map_or("matrix products", |bench| bench.name);
    let failed = |kind: ErrorKind, said: String| Error::Benchmark { name, said, kind };
    let program = std::env::current_exe().map_err(Error::NoProgram)?;
    let mut command = Command::new(program);
    command.args(["bench", "--here", "--device", &args.device.to_string(), "--repeats", &args.repeats.to_string()]);
    command.args(["--precision", args.precision.name()]);
    command.args(bench.map(|bench| bench.name)).env("RAYON_NUM_THREADS", threads.to_string());
    let done = command.output().map_err(|error| failed(ErrorKind::Failed, error.to_string()))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).trim().trim_start_matches("error: ").to_owned();
        let is_it = |kind: &ErrorKind| done.status.code() == Some(i32::from(kind.exit_code()));
        let kind = [ErrorKind::Device, ErrorKind::Diverged].into_iter().find(is_it);
        return Err(failed(kind.unwrap_or(ErrorKind::Failed), said));
    }
    serde_json::from_slice(&done.stdout).map_err(|error| failed(ErrorKind::Failed, error.to_string()))
}

/// The child process: prints the figure of the named benchmark, or of matrix products, on standard output.
fn here(args: &Bench, benches: &[Benchmark]) -> Result<ExitCode, Error> {
    // The process that started this one has printed any warnings.
    let (device, _) = args.device.open()?;
    let repeats = usize::from(args.repeats);
    match (args.names.as_slice(), benches) {
        ([], _) => output::json(&matmul_peak(&device, args.precision, repeats)?),
        ([_], [bench]) => output::json(&bench.run(&device, repeats)?),
        _ => return Err(Error::OneBenchmark),
    }
    Ok(ExitCode::SUCCESS)
}

fn line(args: &Bench, bench: &Benchmark, device: String, threads: u16, timing: Timing, peak: f64) -> Measured {
    let best = timing.best();
    let rate = timing.flops / best;
    Measured {
        name: bench.name,
        device,
        precision: args.precision,
        threads,
        attention_length: bench.attention().map(|attention| attention.seq_len),
        attention_kernel: bench.attention().map(|attention| attention.kernel),
        attention_heads: bench.attention().map(|attention| attention.n_heads),
        attention_causal: bench.attention().map(|attention| attention.causal),
        ms_per_step: best * 1e3,
        steps_per_second: 1.0 / best,
        gflops: rate / 1e9,
        share_of_peak: rate / peak,
        peak_mb: timing.peak_bytes.map(|bytes| bytes as f64 / 1e6),
        device_mb: timing.device_bytes.map(|bytes| bytes as f64 / 1e6),
        waits: timing.waits,
        launches: timing.launches,
        captured: timing.captured,
        seconds_per_step: timing.seconds,
    }
}

fn table(measured: &[Measured]) -> String {
    let on_gpu = measured.iter().any(|m| m.launches.is_some());
    let mut header = vec!["", "precision", "threads", "ms/step", "steps/s", "GFLOP/s", "of peak", "memory MB"];
    if on_gpu {
        header.extend(["device MB", "launches", "captured", "waits"]);
    }
    let megabytes = |mb: Option<f64>| mb.map(|mb| format!("{mb:.0}")).unwrap_or_default();
    let rows = measured.iter().map(|m| {
        let mut row = vec![
            m.name.to_owned(),
            m.precision.name().to_owned(),
            m.threads.to_string(),
            output::number(m.ms_per_step),
            output::number(m.steps_per_second),
            format!("{:.1}", m.gflops),
            format!("{:.0} %", 100.0 * m.share_of_peak),
            megabytes(m.peak_mb),
        ];
        if on_gpu {
            let launches = m.launches.map(|launches| launches.to_string()).unwrap_or_default();
            let captured = m.captured.as_ref().map(ToString::to_string).unwrap_or_default();
            row.extend([megabytes(m.device_mb), launches, captured, m.waits.map(waits).unwrap_or_default()]);
        }
        row
    });
    tables::table(&header, rows)
}

/// Takes many steps, and shows the memory on the way.
fn soak(args: &Bench, benches: &[Benchmark], device: &OpenDevice, steps: u64) -> Result<ExitCode, Error> {
    let mut taken = Vec::new();
    for bench in benches {
        output::note(format!("{}, {steps} steps: {}", bench.name, bench.summary));
        taken.push((bench.name, bench.soak(device, &[], steps)?));
    }
    if args.json {
        let entries: Vec<_> = taken.iter().map(|(name, moments)| json!({ "name": name, "moments": moments })).collect();
        output::json(&entries);
        return Ok(ExitCode::SUCCESS);
    }
    let megabytes = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1e6)).unwrap_or_default();
    let rows = taken.iter().flat_map(|(name, moments)| {
        let cells = |moment: &Moment| {
            let Moment { steps, host_bytes, device_bytes } = *moment;
            vec![(*name).to_owned(), steps.to_string(), megabytes(host_bytes), megabytes(device_bytes)]
        };
        moments.iter().map(cells)
    });
    output::line(tables::table(&["", "steps", "memory MB", "device MB"], rows));
    Ok(ExitCode::SUCCESS)
}

/// How many steps waited for their batches, of how many, and how long on average.
fn waits(Waits { batches, waits, seconds }: Waits) -> String {
    let mean =
        if waits == 0 { String::new() } else { format!(", {} ms", output::number(1e3 * seconds / waits as f64)) };
    format!("{waits} of {batches}{mean}")
}

fn list(benches: &[Benchmark], as_json: bool) -> Result<ExitCode, Error> {
    if as_json {
        let entries = benches
            .iter()
            .map(|bench| {
                let Benchmark { name, summary, for_gpu, .. } = *bench;
                Ok(json!({ "name": name, "summary": summary, "for_gpu": for_gpu, "recipe": bench.recipe()? }))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        output::json(&entries);
        return Ok(ExitCode::SUCCESS);
    }
    for bench in benches {
        output::line(format!("{:<14} {}", bench.name, bench.summary));
    }
    Ok(ExitCode::SUCCESS)
}

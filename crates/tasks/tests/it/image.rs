//! Pictures: reading, masks, patches, what is asked, baselines, and what is refused.

use std::{collections::BTreeSet, io, path::Path};

use headway_tasks::{Batch, DataConfig, Files, Patches, Seed, Source, Split, Stream, TaskConfig, TaskError};

/// An IDX file of bytes.
pub fn idx(shape: &[u32], pixel: impl Fn(usize) -> u8) -> Vec<u8> {
    let count: u32 = shape.iter().product();
    let head = [0, 0, 8, shape.len() as u8];
    let sizes = shape.iter().flat_map(|size| size.to_be_bytes());
    head.into_iter().chain(sizes).chain((0..count as usize).map(pixel)).collect()
}

/// Noise.
pub fn noise(at: usize) -> u8 {
    (at as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503).to_be_bytes()[1]
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        // Twenty pictures of 6 x 4, each of one colour, its number.
        Some("numbered") => Ok(idx(&[20, 6, 4], |at| (at / 24) as u8)),
        Some("colour") => Ok(idx(&[10, 4, 4, 3], noise)),
        Some("grey") => Ok(idx(&[10, 4, 4], noise)),
        Some("four") => Ok(idx(&[3, 4, 4, 4], noise)),
        Some("labels") => Ok(idx(&[20], noise)),
        Some("none") => Ok(idx(&[0, 4, 4], noise)),
        Some("short") => Ok(idx(&[2, 2, 2], noise)[..20].to_vec()),
        Some("wide") => Ok([vec![0, 0, 11, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], vec![1, 2]].concat()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn files() -> Files {
    Files::new("", read, |_, _, _| Err("no arrays here".to_owned()))
}

fn settled(keys: &str, files: &Files) -> Result<TaskConfig, TaskError> {
    let text = format!("[image]\n{keys}");
    let mut config: TaskConfig = toml::from_str(&text).expect(&text);
    config.settle(files)?;
    Ok(config)
}

fn source(keys: &str, files: &Files) -> Source {
    let config = settled(keys, files).expect(keys);
    assert_eq!(config.validate(), [], "{keys}");
    let [validation, test] = config.held_evaluation().expect("settled");
    let task = config.open(files, Seed(1)).expect(keys);
    Source::new(task, Seed(1), DataConfig::Fresh { validation, test }, 64)
}

/// The patches of a source, and the pictures that a batch shows with what is hidden of them.
fn shown(source: &Source, batch: &Batch) -> Vec<(Vec<f32>, Vec<bool>)> {
    let patches = source.task().patches().expect("pictures");
    batch.inputs.continuous().chunks_exact(patches.count() * patches.d_in()).map(|one| patches.shown(one)).collect()
}

/// Mean squared error over the numbers that are asked for.
fn mse(batch: &Batch, predictions: &[f32]) -> f64 {
    let d_out = batch.dims.d_out;
    let asked = |(at, target): &(usize, &f32)| batch.loss_mask[at / d_out] && !target.is_nan();
    let errors: Vec<f64> = batch
        .targets
        .continuous()
        .iter()
        .enumerate()
        .filter(asked)
        .map(|(at, target)| (f64::from(*target) - f64::from(predictions[at])).powi(2))
        .collect();
    errors.iter().sum::<f64>() / errors.len() as f64
}

#[test]
fn parts_of_a_file_are_as_named_and_a_hole_is_where_it_should_be() {
    let first = |keys: &str, split: Split| -> Vec<u8> {
        let source = source(keys, &files());
        let batch = source.evaluation(split).remove(0);
        shown(&source, &batch).iter().map(|(picture, _)| (picture[0] * 255.0).round() as u8).collect()
    };
    let keys = "train = \"numbered\"\npatch = 2\nhole = 2\n";
    assert_eq!(first(keys, Split::Validation), [16, 17]);
    assert_eq!(first(keys, Split::Test), [18, 19]);
    let more = format!("{keys}validation_pictures = 3\ntest_pictures = 1\n");
    assert_eq!((first(&more, Split::Validation), first(&more, Split::Test)), (vec![16, 17, 18], vec![19]));
    let both = format!("{keys}test = \"numbered\"\n");
    assert_eq!(first(&both, Split::Validation), [18, 19]);
    assert_eq!(first(&both, Split::Test), (0..20).collect::<Vec<_>>());
    let shuffled = first(&format!("{keys}shuffle = true\nvalidation_pictures = 9\n"), Split::Validation);
    assert!(!shuffled.is_sorted(), "{shuffled:?}");
    // Training pictures are the others.
    let source = source(keys, &files());
    let drawn: BTreeSet<u8> = (0..8)
        .flat_map(|number| shown(&source, &source.train_batch(number)))
        .map(|(picture, _)| (picture[0] * 255.0).round() as u8)
        .collect();
    assert_eq!(drawn, (0..16).collect());

    // Rows 2 and 3, columns 1 and 2: half of each of the two patches in the middle row.
    let test = source.evaluation(Split::Test).remove(0);
    let (_, hidden) = shown(&source, &test).remove(0);
    assert_eq!((0..24).filter(|at| hidden[*at]).collect::<Vec<_>>(), [9, 10, 13, 14]);
    assert_eq!(test.loss_mask[..6], [false, false, true, true, false, false]);
    assert_eq!([test.missing(0), test.missing(2)], [0, 2]);
    let shares: Vec<f32> = test.inputs.continuous().chunks_exact(9).take(6).map(|input| input[8]).collect();
    assert_eq!(shares, [1.0, 1.0, 0.5, 0.5, 1.0, 1.0]);
}

#[test]
fn boxes_and_halves_are_drawn_for_every_picture() {
    let holes = |keys: &str| -> Vec<Vec<bool>> {
        let source = source(&format!("train = \"numbered\"\npatch = 2\n{keys}"), &files());
        (0..20).flat_map(|number| shown(&source, &source.train_batch(number))).map(|(_, hidden)| hidden).collect()
    };
    let halves = holes("mask = \"halves\"");
    let first: Vec<&Vec<bool>> = halves.iter().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(first.len(), 4);
    for half in first {
        assert_eq!(half.iter().filter(|hidden| **hidden).count(), 12);
        let count = halves.iter().filter(|hidden| *hidden == half).count();
        // A quarter of 1,280, within four deviations.
        assert!((320 - 4 * 16..=320 + 4 * 16).contains(&count), "{count}");
    }
    let boxes = holes("mask = \"boxes\"\nhole = 3\nboxes = 1");
    let areas: BTreeSet<usize> = boxes.iter().map(|hidden| hidden.iter().filter(|hidden| **hidden).count()).collect();
    assert_eq!(areas, BTreeSet::from([4, 6, 9]));
    assert!((0..24).all(|at| boxes.iter().any(|hidden| hidden[at]) && boxes.iter().any(|hidden| !hidden[at])));
    let hidden = |boxes: &[Vec<bool>]| boxes.iter().flatten().filter(|hidden| **hidden).count();
    assert!(2 * hidden(&holes("mask = \"boxes\"\nhole = 3\nboxes = 3")) > 3 * hidden(&boxes));
}

#[test]
fn scored_patches_are_counted_on_average() {
    // The pictures have 4 × 6 pixels; a box of at most half of them never hides the last one.
    for keys in [
        "mask = \"centre\"\nhole = 2",
        "mask = \"halves\"",
        "mask = \"boxes\"\nhole = 2\nboxes = 1",
        "mask = \"boxes\"\nhole = 2\nboxes = 2",
    ] {
        for patch in [1, 2] {
            let keys = format!("train = \"numbered\"\npatch = {patch}\n{keys}");
            let (told, source) = (settled(&keys, &files()).expect("sound").scored(), source(&keys, &files()));
            let counts: Vec<f64> = (0..40)
                .flat_map(|number| {
                    let batch = source.train_batch(number);
                    let asked = batch.asked();
                    let of = |one: &[bool]| one.iter().filter(|scored| **scored).count() as f64;
                    batch.loss_mask.chunks_exact(asked).map(of).collect::<Vec<_>>()
                })
                .collect();
            let n = counts.len() as f64;
            let mean = counts.iter().sum::<f64>() / n;
            let error = (counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / n / n).sqrt();
            assert!((told - mean).abs() <= 4.5 * error + 1e-12, "{keys}: {told} told, {mean} +- {error}");
        }
    }
}

/// Tokens are restrictive: a pixel is in one of them, and a hidden one in none.
#[test]
fn changing_a_pixel_changes_one_token_and_a_hidden_one_none() {
    let patches = Patches { height: 6, width: 4, channels: 3, edge: 2 };
    let picture: Vec<f32> = (0..72).map(|at| f32::from(noise(at)) / 255.0).collect();
    let hidden: Vec<bool> = (0..24).map(|at| at % 5 == 0).collect();
    let inputs = patches.inputs(&picture, &hidden);
    for number in 0..72 {
        let mut other = picture.clone();
        other[number] += 0.5;
        let other = patches.inputs(&other, &hidden);
        let width = patches.d_in();
        let changed = inputs.chunks(width).zip(other.chunks(width)).filter(|(before, after)| before != after).count();
        assert_eq!(changed, usize::from(!hidden[number / 3]), "{number}");
    }
}

/// The first pixel of thirty pictures of 4 × 4 whose hidden pixels, the four in the middle, are a function of it; the others are the same
/// in all. The last five pictures stand among the first too.
const FIRST: [u8; 30] = [
    0, 200, 40, 120, 80, 160, 10, 30, 50, 70, 90, 110, 130, 150, 170, 190, 20, 60, 100, 140, 180, 15, 35, 55, 75, 20,
    40, 60, 80, 100,
];

fn in_the_middle(first: u8) -> u8 {
    first / 2 + 10
}

#[test]
fn baselines_where_the_answer_is_known() {
    let read: fn(&Path) -> io::Result<Vec<u8>> = |_| {
        Ok(idx(&[30, 4, 4], |at| match at % 16 {
            0 => FIRST[at / 16],
            5 | 6 | 9 | 10 => in_the_middle(FIRST[at / 16]),
            _ => 7,
        }))
    };
    let files = Files::new("", read, |_, _, _| Err("no arrays here".to_owned()));
    let source = source("train = \"p\"\npatch = 2\nvalidation_pictures = 0\ntest_pictures = 5", &files);
    let (test, fit) = (source.evaluation(Split::Test).remove(0), source.fit_set());
    let [x, y]: [Vec<f64>; 2] = [|first| first, in_the_middle]
        .map(|of: fn(u8) -> u8| FIRST.iter().map(|first| f64::from(of(*first)) / 255.0).collect());
    let mean = |of: &[f64]| of[..25].iter().sum::<f64>() / 25.0;
    let [mean_x, mean_y] = [mean(&x), mean(&y)];
    let (over, under) = (0..25).fold((0.0, 25.0 / 250.0), |(over, under), at| {
        (over + (x[at] - mean_x) * (y[at] - mean_y), under + (x[at] - mean_x).powi(2))
    });
    let error = |of: &dyn Fn(usize) -> f64| (25..30).map(|at| (of(at) - y[at]).powi(2)).sum::<f64>() / 5.0;
    let wanted = [
        ("mean_picture", error(&|_| mean_y)),
        ("nearest_picture", 0.0),
        ("ridge", error(&|at| mean_y + over / under * (x[at] - mean_x))),
    ];
    assert!(wanted[2].1 > 0.0 && wanted[2].1 < 0.1 * wanted[0].1, "{wanted:?}");
    for (mut baseline, (name, wanted)) in source.task().baselines().into_iter().zip(wanted) {
        baseline.fit(&fit);
        let found = mse(&test, &baseline.predict(&test));
        assert_eq!(baseline.name(), name);
        assert!((found - wanted).abs() <= 1e-4 * wanted, "{name}: {found}, {wanted}");
    }
}

/// Of Fashion-MNIST with a hole of 14 × 14, computed apart from this crate, by numpy with the same penalty.
#[test]
fn baselines_of_clothes_have_the_known_errors() {
    let read: fn(&Path) -> io::Result<Vec<u8>> = |path| std::fs::read(path);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/fashion");
    let files = Files::new(folder, read, |_, _, _| Err("no arrays here".to_owned()));
    let source = source("train = \"t10k-images-idx3-ubyte.gz\"", &files);
    let (test, fit) = (source.evaluation(Split::Test), source.fit_set());
    assert_eq!(test.iter().map(|batch| batch.size).sum::<usize>(), 1000);
    for (mut baseline, known) in source.task().baselines().into_iter().zip([0.102_886_6, 0.048_485_76, 0.031_785_64]) {
        baseline.fit(&fit);
        let errors = test.iter().map(|batch| batch.size as f64 * mse(batch, &baseline.predict(batch)));
        let error = errors.sum::<f64>() / 1000.0;
        assert!((error / known - 1.0).abs() < 1e-4, "{}: {error}, known {known}", baseline.name());
    }
}

#[test]
fn colour_pictures_have_three_numbers_for_a_pixel_and_an_example_is_a_function_of_its_generator() {
    let source = source("train = \"colour\"\nmask = \"boxes\"\npatch = 2", &files());
    let dims = source.task().dims();
    assert_eq!((dims.seq_len, dims.d_out), (4, 12));
    let draw = |index| source.task().example(Split::Test, index, &mut Seed(3).rng(Stream::Test, index));
    let same =
        |a: &headway_tasks::Example, b: &headway_tasks::Example| a.inputs == b.inputs && a.loss_mask == b.loss_mask;
    assert!(same(&draw(0), &draw(0)) && !same(&draw(0), &draw(1)));
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    let refused = |keys: &str| {
        let settled = settled(keys, &files());
        let problem = match settled {
            Err(error) => error,
            Ok(config) => config.validate().into_iter().next().unwrap_or_else(|| panic!("{keys} is accepted")),
        };
        let (key, problem) = problem.into_parts();
        format!("{key}: {problem}")
    };
    for (keys, wanted) in [
        ("", "train: names no file of pictures; give train = \"pictures-idx3-ubyte\", or a .gz of it"),
        ("train = \"nowhere\"", "train: nowhere: entity not found"),
        ("train = \"short\"", "train: short: holds 4 bytes of numbers, and its shape [2, 2, 2] needs 8 bytes"),
        ("train = \"wide\"", "train: wide: holds 16-bit numbers; pixels are bytes"),
        (
            "train = \"labels\"",
            "train: labels: has the shape [20]; pictures are [n, height, width], or [n, height, width, 3] in colour",
        ),
        (
            "train = \"four\"",
            "train: four: has the shape [3, 4, 4, 4]; pictures are [n, height, width], or [n, height, width, 3] in colour",
        ),
        ("train = \"none\"", "train: none: holds 0 pictures of 4 × 4 × 1; none to learn from"),
        (
            "train = \"grey\"\ntest = \"colour\"",
            "test: colour: pictures of 4 × 4 × 3, and those to train on have 4 × 4 × 1",
        ),
        ("train = \"numbered\"", "patch: 4 does not divide pictures of 6 × 4; these do: 1, 2"),
        ("train = \"grey\"\npatch = 0", "patch: 0 does not divide pictures of 4 × 4; these do: 1, 2, 4"),
        ("train = \"grey\"\nhole = 4", "hole: 4 must be from 1 to 3: something of a picture stays visible"),
        ("train = \"grey\"\nhole = 0", "hole: 0 must be from 1 to 3: something of a picture stays visible"),
        ("train = \"grey\"\nmask = \"halves\"\nhole = 2", "hole: halves have no size of their own; leave hole out"),
        (
            "train = \"grey\"\nboxes = 2",
            "boxes: are drawn by mask = \"boxes\" alone; leave boxes out, or choose that mask",
        ),
        ("train = \"grey\"\nmask = \"boxes\"\nboxes = 0", "boxes: 0 must be from 1 to 1000"),
        ("train = \"grey\"\ntest_pictures = 0", "test_pictures: 0 is too few; give 1 or more"),
        (
            "train = \"grey\"\nvalidation_pictures = 9",
            "validation_pictures: 10 of the 10 pictures of train are held out, and none is left to train on; hold out fewer",
        ),
        (
            "train = \"grey\"\ntest = \"grey\"\ntest_pictures = 11",
            "test_pictures: 11 pictures, and the file test holds 10",
        ),
    ] {
        assert_eq!(refused(keys), wanted);
    }
}

//! `[task.image]`: from a file of pictures to scores of hidden pixels, and pictures on the page.

use headway_exchange::npz;
use serde_json::Value;

use crate::harness::Lab;

const EXPERIMENT: &str = "[task.image]\ntrain = \"pictures\"\nhole = 3\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = false\ntoken_weight = \"tfill\"\nattention_aware = 2\n\
    [train]\nsteps = 6\nbatch_size = 8\nloss = \"absolute\"\neval_every = 3\ncheckpoint_every = 3\n";

/// Forty grey pictures of 8 x 8 in the format of MNIST: slopes in various directions.
fn pictures(brighter: u8) -> Vec<u8> {
    let pixel = |at: usize| {
        let (picture, row, column) = (at / 64, at / 8 % 8, at % 8);
        (picture * 2 + row * (picture % 7) + column * (picture % 5) * 2) as u8 + brighter
    };
    let head = [0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0, 0, 8];
    head.into_iter().chain((0..40 * 64).map(pixel)).collect()
}

fn trained() -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.write("pictures", pictures(0));
    lab.train("run", &[]).succeed();
    lab
}

#[test]
fn hidden_pixels_are_scored_beside_classical_predictors_and_shown_on_the_page() {
    let lab = trained();
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    let rows = record["results"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["network", "mean_picture", "nearest_picture", "ridge"]);
    for row in rows {
        let score = |name: &str| row["metrics"][name].as_f64().unwrap();
        assert!((score("test/psnr") + 10.0 * score("test/mse").log10()).abs() < 1e-9, "{row}");
        // The absolute error is the loss, and a mean cannot be above the root of that of the squares.
        assert!((score("test/loss") - score("test/mae")).abs() < 1e-9, "{row}");
        assert!(score("test/mae").powi(2) <= score("test/mse"), "{row}");
    }
    assert!(lab.read("run/metrics.jsonl").contains("psnr"));
    // Four test pictures: what is hidden, four predictors, the truth.
    assert_eq!(lab.read("run/figures/pictures.svg").matches("<image ").count(), 4 * 6);
    let page = lab.read("run/report.html");
    assert!(page.contains("<h2 id=\"pictures\">") && page.contains("picture 4, ridge"));
    // Other holes are another test of the same network.
    lab.headway(&["eval", "run", "--device", "cpu", "-s", "task.hole=5"]).succeed();
    lab.headway(&["analyze", "logit-lens", "run", "--device", "cpu"]).succeed();
    lab.train("stopped", &["--max-time", "0s"]).run();
    lab.write("pictures", pictures(1));
    let digests = "holds other data than when it was first read: sha256 ";
    lab.resume("stopped").fail(3, &["error: task.image.train: ", "pictures", digests, ", and it was "]);
}

#[test]
fn a_network_completes_pictures_without_the_file_it_learned_from() {
    let lab = trained();
    std::fs::remove_file(lab.path("pictures")).unwrap();
    // Two pictures of 4 patches: 16 pixels, which of them are visible, and how many.
    let inputs = [npz::header(&[2, 4, 33]).unwrap(), npz::bytes_of(&[0.5; 2 * 4 * 33])].concat();
    lab.write("inputs.npy", inputs);
    lab.headway(&["predict", "run", "--inputs", "inputs.npy", "--out", "out.npy", "--device", "cpu"]).succeed();
    let answers = std::fs::read(lab.path("out.npy")).unwrap();
    assert!(String::from_utf8_lossy(&answers[..128]).contains("(2, 4, 16)"));
}

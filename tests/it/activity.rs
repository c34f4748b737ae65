//! `[task.activity]`: from recordings to a confusion of classes on strangers, by a head that reads all positions.

use serde_json::Value;

use crate::harness::Lab;

const EXPERIMENT: &str = "[task.activity]\nsamples = \"samples\"\nrecordings = \"recordings.csv\"\ntrain = [1, 2]\n\
    validation = [3]\ntest = [4, 5]\nseq_len = 6\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = false\npool = { tensor = { features = 3 } }\n\
    [train]\nsteps = 6\nbatch_size = 5\neval_every = 3\ncheckpoint_every = 3\n";

/// Ten recordings of 20 samples of two channels: five people, two exercises.
fn table(last: u32) -> String {
    let line = |at: u32| {
        let length = if at == 9 { last } else { 20 };
        format!("{},{},{},{length}\n", at / 2 + 1, ["row", "lift"][at as usize % 2], at * 20)
    };
    format!("subject,exercise,start,length\n{}", (0..10).map(line).collect::<String>())
}

#[test]
fn every_predictor_has_its_confusion_and_every_stranger_an_accuracy() {
    let lab = Lab::with(EXPERIMENT);
    let numbers: Vec<u8> = (0..400_u32).flat_map(|at| ((at * at % 997 * 7 % 211) as i16).to_be_bytes()).collect();
    lab.write("samples", [&[0, 0, 11, 2, 0, 0, 0, 200, 0, 0, 0, 2][..], &numbers].concat());
    lab.write("recordings.csv", table(20));
    lab.train("run", &[]).succeed();
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    let rows = record["results"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["network", "ridge_on_summaries", "nearest_summary", "most_frequent"]);
    for row in rows {
        let confusion = &row["confusion"];
        assert_eq!(confusion["classes"], serde_json::json!(["lift", "row"]));
        let counts: Vec<Vec<u64>> = serde_json::from_value(confusion["counts"].clone()).unwrap();
        // Each of the two has six windows of either exercise.
        assert_eq!(counts.iter().map(|row| row.iter().sum()).collect::<Vec<u64>>(), [6, 6], "{row}");
        let score = |name: &str| row["metrics"][name].as_f64().unwrap();
        assert!((score("test/accuracy") - (counts[0][0] + counts[1][1]) as f64 / 12.0).abs() < 1e-12, "{row}");
        let each = [4, 5].map(|person| score(&format!("test/accuracy[person={person}]")));
        assert!((f64::midpoint(each[0], each[1]) - score("test/accuracy")).abs() < 1e-12, "{row}");
        assert!(row["errors"]["test/accuracy[person=4]"].is_number(), "{row}");
    }
    assert!(lab.read("run/report.html").contains("Confusion"));
    let figure = lab.read("run/figures/confusion.svg");
    assert!(figure.contains(">lift<") && !figure.contains(".000<"), "{figure}");
    let again = lab.headway(&["eval", "run", "--json", "--device", "cpu"]).succeed().json();
    assert_eq!(again["confusion"], rows[0]["confusion"]);

    lab.write("new.csv", "example,x,y\na,0,0\na,1,1\na,2,4\na,3,9\na,4,16\na,5,25\n");
    lab.headway(&["predict", "run", "--inputs", "new.csv", "--out", "answers.csv", "--device", "cpu"]).succeed();
    // A line for each position, of which the last has the answer.
    assert_eq!(lab.read("answers.csv").lines().count(), 7);

    lab.train("stopped", &["--max-time", "0s"]).run();
    lab.write("recordings.csv", table(19));
    let digests = "holds other data than when it was first read: sha256 ";
    lab.resume("stopped").fail(3, &["error: task.activity.recordings: ", "recordings.csv", digests, ", and it was "]);
}

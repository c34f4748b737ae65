//! `[task.proteins]` from end to end: scores of both parts of the test, gaps that are filled, and what the residues' rows look like.

use serde_json::Value;

use crate::harness::{Lab, packed};

const EXPERIMENT: &str = "[task.proteins]\npath = \"proteins.fasta\"\ntest = [\"near\", \"far\"]\nseq_len = 16\n\
    [model.transformer]\nd_model = 8\nn_layers = 1\nn_heads = 2\ncausal = false\nposition = \"rope\"\n\
    kernel = { favor = { n_features = 16 } }\n\
    [train]\nsteps = 6\nbatch_size = 5\neval_every = 3\ncheckpoint_every = 3\n";

/// Sequences of 10 to 49 residues, without a pattern.
fn proteins(more: &str) -> String {
    let letter = |at: u32| char::from(b"ACDEFGHIKLMNPQRSTVWY"[(at.wrapping_pow(3) % 10007 * 7 / 11 % 20) as usize]);
    let protein = |at: u32| {
        let part = ["train", "valid", "near", "far"][at as usize % 4];
        format!(">P{at} split={part}\n{}\n", (0..10 + at).map(|i| letter(100 * at + i)).collect::<String>())
    };
    (0..40).map(protein).collect::<String>() + more
}

fn trained() -> Lab {
    let lab = Lab::with(EXPERIMENT);
    lab.write("proteins.fasta", proteins(""));
    lab.train("run", &[]).succeed();
    lab
}

#[test]
fn both_parts_of_the_test_are_scored_for_all_alike_and_a_changed_file_is_refused() {
    let lab = trained();
    let record: Value = serde_json::from_str(&lab.read("run/run.json")).unwrap();
    let rows = record["results"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["network", "residue_frequencies", "neighbours"]);
    for row in rows {
        let score = |name: &str| row["metrics"][name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
        assert!((score("test/perplexity").ln() - score("test/loss")).abs() < 1e-9, "{row}");
        assert!(score("test/soft_accuracy") >= score("test/accuracy"), "{row}");
        // The loss of all lies between those of the parts.
        let (near, far) = (score("test/loss[near]"), score("test/loss[far]"));
        assert!((near - score("test/loss")) * (far - score("test/loss")) <= 1e-9, "{row}");
        assert!(score("test/soft_accuracy[far]") >= score("test/accuracy[far]"), "{row}");
    }
    lab.headway(&["eval", "run", "--device", "cpu", "-s", "task.seq_len=40"]).succeed();
    lab.headway(&["eval", "run", "--device", "cpu", "-s", "task.masking=\"performer\""]).succeed();

    lab.train("stopped", &["--max-time", "0s"]).run();
    lab.write("proteins.fasta", proteins(">more split=other\nMK\n"));
    let digests = "holds other data than when it was first read: sha256 ";
    lab.resume("stopped").fail(3, &["error: task.proteins.path: ", "proteins.fasta", digests, ", and it was "]);
}

/// A network that sees one side of a gap, or answers all gaps alike, can be trained, with a warning.
#[test]
fn a_network_that_hardly_suits_gaps_is_doubted() {
    let lab = Lab::with(EXPERIMENT);
    lab.write("proteins.fasta", proteins(""));
    let causal = "warning: model.transformer.causal hides later positions, and in proteins what tells of a hidden \
                  residue stands on both sides of it; set it to false";
    let pooled = "warning: with model.transformer.pool a network answers every position alike, and proteins asks";
    let check = |set: &str| lab.headway(&["check", "experiment.toml", "--device", "cpu", "-s", set]).succeed();
    for (set, doubt) in [("model.causal=true", causal), ("model.pool=\"mean\"", pooled)] {
        assert!(check(set).stderr.contains(doubt), "{set}");
        assert!(lab.train("run", &["--dry-run", "-s", set]).succeed().stderr.contains(doubt), "{set}");
    }
    assert_eq!(check("model.causal=false").stderr, "");
    assert!(lab.train("run", &["-s", "model.causal=true"]).succeed().stderr.contains(causal));
    let words = ["finetune", "experiment.toml", "--from", "run", "--out", "other", "--device", "cpu"];
    let finetuned = lab.headway(&[&words[..], &["-s", "model.causal=true"]].concat()).succeed();
    assert!(finetuned.stderr.contains(causal), "{finetuned:?}");
}

#[test]
fn gaps_of_sequences_of_any_length_are_filled_without_the_file_and_the_rest_stays() {
    let lab = trained();
    std::fs::remove_file(lab.path("proteins.fasta")).unwrap();
    let long = "ACDEFGHIKLMNPQRSTVWY".repeat(3);
    let gapped: String = long.char_indices().map(|(at, letter)| if at % 7 == 3 { '_' } else { letter }).collect();
    lab.write("gaps.fasta", format!(">short one\nmk_x\n>none\nMKV\n>long\n{gapped}\n"));
    lab.headway(&["predict", "run", "--inputs", "gaps.fasta", "--out", "filled.fasta", "--device", "cpu"]).succeed();
    let filled = lab.read("filled.fasta");
    lab.write("packed.fasta.gz", packed(&lab.read("gaps.fasta")));
    let words = ["predict", "run", "--inputs", "packed.fasta.gz", "--out", "unpacked.fasta", "--device", "cpu"];
    lab.headway(&words).succeed();
    assert_eq!(lab.read("unpacked.fasta"), filled);
    let lines: Vec<&str> = filled.lines().collect();
    assert_eq!([lines[0], lines[2], lines[3], lines[4]], [">short one", ">none", "MKV", ">long"]);
    assert!(lines[1].starts_with("MK") && lines[1].ends_with('X') && lines[1].len() == 4, "{filled}");
    for (at, (there, letter)) in lines[5].chars().zip(long.chars()).enumerate() {
        assert!(if at % 7 == 3 { "acdefghiklmnpqrstvwy".contains(there) } else { there == letter }, "{at}: {filled}");
    }
    lab.write("digit.fasta", ">one\nMK4\n");
    let words = ["predict", "run", "--inputs", "digit.fasta", "--out", "no.fasta", "--device", "cpu"];
    lab.headway(&words).fail(2, &["digit.fasta", "line 2, column 3"]);
    // A network that fills gaps continues no text, and one that does fills none.
    lab.headway(&["generate", "run", "--prompt", "MK", "--device", "cpu"]).fail(2, &["proteins"]);
    lab.write("proteins.fasta", proteins(""));
    lab.train("causal", &["-s", "task.masking=\"none\"", "-s", "model.causal=true"]).succeed();
    lab.headway(&["generate", "causal", "--prompt", "MK", "--length", "5", "--device", "cpu"]).succeed();
    let words = ["predict", "causal", "--inputs", "gaps.fasta", "--out", "no.fasta", "--device", "cpu"];
    lab.headway(&words).fail(2, &["gaps.fasta", "fills no gaps"]);
}

#[test]
fn rows_of_residues_are_compared_with_the_table_of_replacements() {
    let lab = trained();
    let out = ["analyze", "embedding", "run", "--device", "cpu", "--json", "--out", "page"];
    let document = lab.headway(&out).succeed().json();
    let cosine = |a: usize, b: usize| document["cosine"][a][b].as_f64().unwrap();
    assert_eq!(document["tokens"].as_array().unwrap().len(), 20);
    for (a, b) in [(0, 0), (3, 7), (19, 2)] {
        assert!((cosine(a, b) - cosine(b, a)).abs() < 1e-12 && cosine(a, b) <= 1.0 + 1e-12);
    }
    // W stands for itself with the largest entry.
    assert_eq!(document["known"]["entries"][17][17], 11.0);
    assert!(document["known"]["correlation"].as_f64().unwrap().abs() < 1.0);
    assert!(lab.read("page/report.html").contains("BLOSUM62"));
    lab.write("numbers.toml", "[task.truncated_linear]\n[model.transformer]\n");
    lab.headway(&["analyze", "embedding", "numbers.toml", "--device", "cpu"])
        .fail(2, &["truncated_linear is a task of numbers"]);
}

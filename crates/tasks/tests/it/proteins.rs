//! Proteins: windows, masks, scores, what look-up knows, and what is refused.

use std::{io, path::Path, sync::Arc};

use headway_tasks::{
    Batch, DataConfig, Example, Files, Inputs, Seed, Source, Split, Targets, TaskConfig, TaskError, Wanted,
    baseline::{
        Baseline,
        neighbours::{Hidden, Neighbours},
    },
    proteins::{ALPHABET, LETTERS, MASK, Masking, PAD},
};

const TWO: &str = "[proteins]\npath = \"two.fasta\"\nvalidation = []\nseq_len = 8\n";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        // The extra letters stand in the training sequence, which the window is as long as.
        Some("two.fasta") => {
            Ok(b">a split=train\nMXBKVLZW\n>b split=test OS=Somebody\nmka\n>c split=other\nW\n".to_vec())
        }
        Some("parts.fasta") => Ok(b">a split=train\nMKVA\n>b split=near\nMKVA\n>c split=far\nWWWWW\n".to_vec()),
        Some("bare.fasta") => Ok(b">a split=train\nMKV\n>b another\nMKV\n".to_vec()),
        Some("none.fasta") => Ok(b">a split=train\nMKV\n>b split=test\nXX\n".to_vec()),
        Some("two_words.fasta") => Ok(b">a split=test split=train\nMKV\n".to_vec()),
        Some("digit.fasta") => Ok(b">a split=train\nMK4\n".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn files(read: fn(&Path) -> io::Result<Vec<u8>>) -> Files {
    Files::new("", read, |_, _, _| Err("no arrays here".to_owned()))
}

fn settled(text: &str) -> Result<TaskConfig, TaskError> {
    let mut config: TaskConfig = toml::from_str(text).expect(text);
    config.settle(&files(read))?;
    Ok(config)
}

fn source(text: &str) -> Source {
    let config = settled(text).expect(text);
    assert_eq!(config.validate(), [], "{text}");
    let [validation, test] = config.held_evaluation().expect("settled");
    let task = config.open(&files(read), Seed(1)).expect(text);
    Source::new(task, Seed(1), DataConfig::Fresh { validation, test }, 4)
}

fn tokens(letters: &str) -> Vec<u32> {
    letters.chars().map(|letter| ALPHABET.find(letter).map_or(PAD, |at| at as u32)).collect()
}

#[test]
fn short_sequences_are_padded_and_neither_padding_nor_extra_letters_are_hidden() {
    let source = source(TWO);
    let test = source.evaluation(Split::Test).remove(0);
    assert_eq!((test.size, &test.inputs.tokens()[3..]), (1, [PAD; 5].as_slice()));
    assert_eq!(
        settled(TWO).expect("sound").vocabulary().expect("letters").names(&Inputs::Tokens(vec![12, MASK, PAD])),
        ["M", "_", "~"]
    );
    let whole = tokens("MXBKVLZW");
    for batch in (0..50).map(|number| source.train_batch(number)) {
        for ((row, token), target) in batch.inputs.tokens().iter().enumerate().zip(batch.targets.classes()) {
            let there = whole[row % 8];
            if batch.loss_mask[row] {
                assert!(![1, 2, 6].contains(&(row % 8)), "an extra letter was chosen");
                assert_eq!(*target, there);
            } else {
                assert_eq!((*token, *target), (there, 0));
            }
        }
    }
}

#[test]
fn without_masks_the_next_residue_is_asked_for() {
    let source = source(&format!("{TWO}masking = \"none\""));
    let train = source.train_batch(0).part(0..1);
    assert_eq!(train.inputs.tokens(), tokens("MXBKVLZW"));
    // X, B and Z are no answers, and nothing follows the last letter.
    let (none, asked) = (0, tokens("KVLW"));
    assert_eq!(train.targets.classes(), [none, none, asked[0], asked[1], asked[2], none, asked[3], none]);
    assert_eq!(train.loss_mask, [false, false, true, true, true, false, true, false]);
    let names: Vec<&str> = source.task().baselines().iter().map(|baseline| baseline.name()).collect();
    assert_eq!(names[5], "n_gram_5");
}

/// Shares of the chosen residues, each within four standard errors; a random residue is the same one in one of 20 cases.
#[test]
fn residues_are_chosen_and_replaced_at_the_rates_of_each_preset() {
    let long = |path: &Path| match path.to_str() {
        Some("long.fasta") => {
            Ok(format!(">a split=train\n{}\n>b split=test\nA\n", "ARNDCQEGHILKMFPSTWYV".repeat(50)).into_bytes())
        }
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    for (preset, masking) in [("bert", Masking::Bert), ("performer", Masking::Performer)] {
        let text =
            format!("[proteins]\npath = \"long.fasta\"\nvalidation = []\nseq_len = 1000\nmasking = \"{preset}\"");
        let mut config: TaskConfig = toml::from_str(&text).expect(&text);
        config.settle(&files(long)).expect("sound");
        let task = config.open(&files(long), Seed(3)).expect("sound");
        let batch = Source::new(task, Seed(3), DataConfig::default(), 200).train_batch(0);
        let all = batch.loss_mask.len() as f64;
        let chosen = || (0..batch.loss_mask.len()).filter(|row| batch.loss_mask[*row]);
        let count = |is: &dyn Fn(u32, u32) -> bool| {
            chosen().filter(|row| is(batch.inputs.tokens()[*row], batch.targets.classes()[*row])).count() as f64
        };
        let near = |found: f64, of: f64, rate: f64| {
            let error = (rate * (1.0 - rate) / of).sqrt();
            assert!((found / of - rate).abs() < 4.0 * error, "{preset}: {found} of {of}, not {rate}");
        };
        let (n, shares) = (chosen().count() as f64, masking.shares().expect("it hides"));
        near(n, all, 0.15);
        near(count(&|input, _| input == MASK), n, shares.mask);
        near(count(&|input, target| input == target), n, shares.kept + shares.random / 20.0);
        near(count(&|input, target| input != target && input != MASK), n, shares.random * 0.95);
        assert!((shares.mask + shares.random + shares.kept - 1.0).abs() < 1e-15);
    }
}

#[test]
fn each_part_of_the_test_has_its_scores_and_wrong_residues_earn_their_entry() {
    let text = "[proteins]\npath = \"parts.fasta\"\nvalidation = []\ntest = [\"far\", \"near\"]\nseq_len = 5";
    let source = source(text);
    assert_eq!(source.task().slices(), ["far", "near"]);
    let test = source.evaluation(Split::Test).remove(0);
    for (row, slice) in test.slices.iter().enumerate() {
        // Sequences keep the order of the file.
        assert_eq!(*slice, test.loss_mask[row].then_some(u32::from(row < 5)), "{row}");
    }
    let measures = source.task().measures();
    let of = |name: &str, slice| {
        let measure = measures.iter().find(|measure| measure.name() == name).expect(name);
        // Equal logits but for I, where V is right.
        let mut logits = [0.0; 26];
        logits[8] = 2_f32.ln();
        measure.at(&logits, Wanted::Class(21), slice)
    };
    assert_eq!(of("soft_accuracy", None), Some(7.0 / 15.0));
    assert_eq!(of("soft_accuracy[near]", Some(1)), Some(7.0 / 15.0));
    assert_eq!([of("loss[near]", Some(0)), of("perplexity", None)], [None; 2]);
    assert!((of("loss[far]", Some(0)).expect("its own") - 27_f64.ln()).abs() < 1e-6);
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let problem = |more: &str| {
        let text = format!("[proteins]\n{more}");
        settled(&text).expect_err(&text).to_string()
    };
    assert_eq!(
        problem("path = \"bare.fasta\"\nvalidation = []"),
        "path: bare.fasta: line 3: `b another` has no word split=NAME, which says what it is used for"
    );
    assert_eq!(
        problem("path = \"two.fasta\""),
        "validation: two.fasta: by its header, no sequence belongs to split=valid"
    );
    // A sequence belongs to the first part that its header names, which leaves none for training.
    assert_eq!(
        problem("path = \"two_words.fasta\"\nvalidation = []"),
        "train: two_words.fasta: by its header, no sequence belongs to split=train"
    );
    // The one thing that is wrong, of a file that is not read for it.
    let nameless = settled(&format!("{TWO}train = []")).expect("not read").validate();
    let said: Vec<String> = nameless.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["train: names no part of the sequences; give train = [\"train\"]"]);
    let useless = settled(&format!("{TWO}masking = \"none\"\nrate = 0.3")).expect("sound").validate().remove(0);
    assert_eq!(useless.to_string(), "rate: nothing is hidden with masking = \"none\"; leave rate out");
    let digit = problem("path = \"digit.fasta\"");
    assert!(digit.starts_with("path: digit.fasta: line 2, column 3: '4' is no letter"), "{digit}");
    let none = problem("path = \"none.fasta\"");
    assert_eq!(none, "path: none.fasta: line 3: the letters of this sequence are none of the 20 residues");
    assert!(problem("path = \"absent.fasta\"").starts_with("path: absent.fasta: "));
    let mut config = settled(TWO).expect("sound");
    if let TaskConfig::Proteins(proteins) = &mut config {
        proteins.found.as_mut().expect("settled").test += 1;
    }
    // As it is read back from a record of a run.
    let config: TaskConfig = toml::from_str(&toml::to_string(&config).expect("plain")).expect("plain");
    let error = config.open(&files(read), Seed(1)).err().expect("two sequences are no three");
    assert_eq!(error.into_parts().0, "found");
}

#[test]
fn what_stands_between_neighbours_is_counted_by_hand() {
    let texts = Arc::new(vec![tokens("AKAAKA"), tokens("ALA")]);
    let hidden = Hidden { possible: LETTERS.into(), mask: MASK, random: 0.1, kept: 0.1 };
    let mut all = Neighbours::none_and_all(["alone", "neighbours"], &texts, &hidden);
    let batch = |inputs: Vec<u32>, at: usize| {
        let seq_len = inputs.len();
        let mut loss_mask = vec![false; seq_len];
        loss_mask[at] = true;
        let (targets, slices) = (Targets::Classes(vec![0; seq_len]), vec![None; seq_len]);
        let mut dims = settled(TWO).expect("sound").dims();
        dims.seq_len = seq_len;
        Batch::stack(dims, [Example { inputs: Inputs::Tokens(inputs), targets, loss_mask, slices }])
    };
    let probability = |baseline: &mut Box<dyn Baseline>, inputs: &[u32], at: usize, letter: &str| {
        let batch = batch(inputs.to_vec(), at);
        baseline.fit(&batch);
        f64::from(baseline.predict(&batch)[at * 26 + tokens(letter)[0] as usize]).exp()
    };
    let (a, mask, pad) = (0, MASK, PAD);
    // Six of nine letters are A, two K, one L; each of the 20 counts once more.
    let alone = &mut all[0];
    assert!((probability(alone, &[a, mask, a], 1, "A") - 7.0 / 29.0).abs() < 1e-6);
    assert!((probability(alone, &[a, mask, a], 1, "W") - 1.0 / 29.0).abs() < 1e-6);
    // What stays or is random is evidence: K is there with 0.105 if K is right, and with 0.005 otherwise.
    let (kept, other) = (3.0 * 0.105, 26.0 * 0.005);
    assert!((probability(alone, &[a, 10, a], 1, "K") - kept / (kept + other)).abs() < 1e-6);
    let looked_up = &mut all[1];
    // Between A and A stood K twice and L once, and never A; beside a padding or a mask nothing is known.
    let [lysine, leucine, tryptophan] = ["K", "L", "W"].map(|letter| probability(looked_up, &[a, mask, a], 1, letter));
    let in_order = lysine > leucine && leucine > tryptophan;
    assert!(in_order && lysine > 3.0 / 29.0, "{lysine} {leucine} {tryptophan}");
    for unknown in [[a, mask, pad], [a, mask, mask], [1, mask, a]] {
        assert!((probability(looked_up, &unknown, 1, "A") - 7.0 / 29.0).abs() < 1e-6, "{unknown:?}");
    }
}

/// Nats of residues that are hidden one at a time, in whole sequences: those of a mask in every eleventh place, too far apart for one to be
/// another's neighbour. The known ones were measured with other priors, which is all that differs.
#[test]
fn frequencies_and_neighbours_have_the_known_nats_on_relatives_and_on_strangers() {
    let read: fn(&Path) -> io::Result<Vec<u8>> = |path| std::fs::read(path);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let files = Files::new(folder, read, |_, _, _| Err("no arrays here".to_owned()));
    let text = "[proteins]\npath = \"uniprot_sample.fasta.gz\"\ntest = [\"relatives\", \"test\"]\nseq_len = 256\nmasking = \"none\"";
    let mut config: TaskConfig = toml::from_str(text).expect(text);
    config.settle(&files).expect("the sequences are there");
    assert_eq!(config.held_evaluation(), Some([692, 499 + 640]));
    // Sequences as they are, of which the masks are set here.
    let whole = Source::new(
        config.open(&files, Seed(0)).expect("sound"),
        Seed(0),
        DataConfig::Fresh { validation: 0, test: 1139 },
        1139,
    );
    let whole = whole.evaluation(Split::Test).remove(0);
    let TaskConfig::Proteins(mut proteins) = config else { unreachable!("it names proteins") };
    proteins.masking = Masking::Bert;
    let task = TaskConfig::Proteins(proteins).open(&files, Seed(0)).expect("sound");
    let known = [[2.894, 2.894], [1.17, 2.879]];
    let known_right = [None, Some([0.67, 0.11])];
    for ((mut baseline, nats), right) in task.baselines().into_iter().zip(known).zip(known_right) {
        baseline.fit(&whole);
        let (mut sums, mut hits, mut counts) = ([0.0; 2], [0.0; 2], [0.0; 2]);
        for first in 0..11 {
            let mut masked = whole.clone();
            let Inputs::Tokens(inputs) = &mut masked.inputs else { unreachable!("letters are tokens") };
            for (row, scored) in masked.loss_mask.iter_mut().enumerate() {
                *scored = row % 256 % 11 == first && inputs[row] < MASK;
                if *scored {
                    inputs[row] = MASK;
                }
            }
            let rows = baseline.predict(&masked);
            for (row, logits) in rows.chunks_exact(26).enumerate().filter(|(row, _)| masked.loss_mask[*row]) {
                // The part is that of the whole example.
                let part = whole.slices[row / 256 * 256].expect("of some part") as usize;
                let answer = whole.inputs.tokens()[row] as usize;
                sums[part] -= f64::from(logits[answer]);
                counts[part] += 1.0;
                hits[part] += f64::from(logits.iter().all(|logit| *logit <= logits[answer]));
            }
        }
        assert_eq!(counts.map(|count| count as u64), [76_057, 96_749]);
        for part in 0..2 {
            let found = sums[part] / counts[part];
            assert!((found / nats[part] - 1.0).abs() < 0.02, "{}: {found}, known {}", baseline.name(), nats[part]);
            let share = hits[part] / counts[part];
            assert!(right.is_none_or(|right| (share - right[part]).abs() < 0.02), "{}: {share}", baseline.name());
        }
    }
}

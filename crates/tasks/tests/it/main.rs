//! All tasks, one module per family or law.

mod activity;
mod algorithm;
mod byte_pairs;
mod config;
mod curriculum;
mod emulation;
mod families;
mod forecast;
mod function;
mod given;
mod icl;
mod image;
mod kernel;
mod language;
mod limits;
mod network;
mod program;
mod proteins;
mod recall;
mod regression;
mod robust;
mod rules;
mod seq2seq;
mod shifts;
mod source;
mod task_laws;

/// A file of examples …
const TABLE: &str = "table.csv";
/// … one of text …
const TEXT: &str = "text.txt";
/// … one of proteins …
const PROTEINS: &str = "proteins.fasta";
/// … one of pictures …
const PICTURES: &str = "pictures-idx3-ubyte";
/// … and recordings, with a table of them. No others exist.
const RECORDINGS: [&str; 2] = ["samples", "recordings.csv"];

/// Files for every task: a table of 60 examples of 3 positions, a text of 1,000 words without a pattern, 80 sequences of 32 to 111
/// residues, 60 pictures of noise, 8 x 8, and 20 recordings of 40 samples of two channels by five people.
fn files() -> headway_tasks::Files {
    let read = |path: &std::path::Path| {
        let line = |at: u32| format!("{},{},{}\n", at / 3, f64::from(at * 7 % 101) / 10.0, at * 5 % 13);
        let word = |at: u64| ["one ", "two ", "three ", "more\n"][(at * at * at % 1009 * 7 / 11 % 4) as usize];
        let letter = |at: u64| char::from(b"ACDEFGHIKLMNPQRSTVWY"[(at * at * at % 10007 * 7 / 11 % 20) as usize]);
        let protein = |at: u64| {
            let part = ["train", "valid", "near", "far"][at as usize % 4];
            format!(">P{at} split={part}\n{}\n", (0..32 + at).map(|i| letter(1000 * at + i)).collect::<String>())
        };
        match path.to_str() {
            Some(PROTEINS) => Ok((0..80).map(protein).collect::<String>().into_bytes()),
            Some(TABLE) => {
                Ok(format!("example,inputs,targets\n{}", (0..180).map(line).collect::<String>()).into_bytes())
            }
            Some(TEXT) => Ok((0..1000).map(word).collect::<String>().into_bytes()),
            Some(PICTURES) => Ok(image::idx(&[60, 8, 8], image::noise)),
            Some("samples") => Ok(activity::idx(800, 2, |at| (at * at % 997 * 7 % 211) as i16)),
            Some("recordings.csv") => {
                let line = |at: u32| format!("{},{},{},40\n", at / 4, ["row", "lift"][at as usize % 2], at * 40);
                Ok(format!("subject,exercise,start,length\n{}", (0..20).map(line).collect::<String>()).into_bytes())
            }
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    };
    headway_tasks::Files::new("", read, |_, _, _| Err("no arrays here".to_owned()))
}

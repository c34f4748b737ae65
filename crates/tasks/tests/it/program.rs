//! Programs mean what is said of them.

use headway_tasks::{
    Inputs, Targets,
    program::{Program, Shipped, Words, ZOO},
};

fn program(text: &str) -> Program {
    Program::read(text).expect(text)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a small one")
}

/// All words of a length.
fn words(symbols: usize, length: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..symbols.pow(length as u32)).map(move |mut rest| {
        let mut word = vec![0; length];
        for symbol in &mut word {
            *symbol = rest % symbols;
            rest /= symbols;
        }
        word
    })
}

/// What a program of the zoo returns at every position, written down in another way.
fn wanted(name: &str, word: &[usize]) -> Vec<i64> {
    let each = |of: &dyn Fn(usize) -> bool| (1..=word.len()).map(|i| i64::from(of(i))).collect::<Vec<i64>>();
    let ones = |word: &[usize]| word.iter().filter(|symbol| **symbol == 1).count();
    match name {
        "parity" => each(&|i| word[..i].iter().fold(0, |sum, bit| sum ^ bit) == 1),
        "majority" => each(&|i| ones(&word[..i]) > i - ones(&word[..i])),
        "adder" => {
            let sum = 2 * (word[0] + word[2]) + word[1] + word[3];
            word.iter().flat_map(|_| [sum >> 2 & 1, sum >> 1 & 1, sum & 1]).map(number).collect()
        }
        "multiplexer" => vec![number(word[2 + 2 * word[0] + word[1]]); word.len()],
        "cups" => {
            let mut cups = [1, 0, 0];
            let swaps = word.iter().flat_map(|swap| {
                cups.swap(*swap, swap + 1);
                cups
            });
            swaps.collect()
        }
        "sort" => {
            let mut sorted = word.to_vec();
            sorted.sort_unstable();
            sorted.into_iter().map(number).collect()
        }
        "histogram" => word.iter().map(|token| number(word.iter().filter(|other| *other == token).count())).collect(),
        "nearest" => (0..word.len()).map(|i| nearest(word, i)).collect(),
        "dyck" => {
            let heights = |i: usize| {
                word[..i].iter().scan(0_i64, |height, bracket| {
                    *height += if *bracket == 0 { 1 } else { -1 };
                    Some(*height)
                })
            };
            each(&|i| heights(i).all(|height| height >= 0) && heights(i).last() == Some(0))
        }
        "anbn" => each(&|i| i % 2 == 0 && word[..i].iter().enumerate().all(|(at, b)| *b == usize::from(at >= i / 2))),
        other => panic!("{other} has no other definition here"),
    }
}

/// The label of most of the points in the smallest neighbourhood with three of them; − if there are as many of both.
fn nearest(word: &[usize], i: usize) -> i64 {
    let others = word.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, point)| (point / 2, point % 2));
    let within = |distance: usize| {
        let near = others.clone().filter(|(place, _)| place.abs_diff(word[i] / 2) <= distance);
        near.map(|(_, label)| label).collect::<Vec<usize>>()
    };
    let near = (0..2).map(within).find(|near| near.len() >= 3).unwrap_or_else(|| within(2));
    i64::from(2 * near.iter().sum::<usize>() > near.len())
}

#[test]
fn the_zoo_does_what_it_says() {
    assert_eq!(ZOO.len(), 10);
    for shipped in ZOO {
        let program = program(shipped.text);
        let length = if ["adder", "multiplexer"].contains(&shipped.name) { shipped.length } else { 6 };
        for word in words(program.alphabet.len(), length) {
            assert_eq!(program.run(&word), wanted(shipped.name, &word), "{}: {word:?}", shipped.name);
        }
    }
}

#[test]
fn operations_bind_as_they_are_written() {
    let run = |expression: &str| program(&format!("alphabet a b\nreturn {expression}")).run(&[0, 1, 1, 0]);
    for (expression, wanted) in [
        ("'a' or 'b' and not 'b'", [1, 0, 0, 1]),
        ("not 'a' or 'a'", [1, 1, 1, 1]),
        ("2 * i - 1 mod 3", [1, 3, 5, 7]),
        ("(2 * i - 1) mod 3", [1, 0, 2, 1]),
        ("(i - 3) div 2", [-1, -1, 0, 0]),
        ("(1 - i) div 2", [0, -1, -1, -2]),
        ("(1 - i) mod 2", [0, 1, 0, 1]),
        ("#[j <= i] 'b'[i-1]", [0, 0, 1, 2]),
        ("(#[j < i] 'b')[n]", [2, 2, 2, 2]),
        ("i[i+1]", [2, 3, 4, 0]),
        ("if 'a' then 2 else if i = 3 then 5 else 7", [2, 7, 5, 2]),
        ("min(i, 2) + max(i, 3)", [4, 5, 5, 6]),
        ("('a' + 'b') * 3", [3, 3, 3, 3]),
        ("n - i", [3, 2, 1, 0]),
    ] {
        assert_eq!(run(expression), wanted, "{expression}");
    }
}

#[test]
fn mistakes_are_told_by_line() {
    for (text, words) in [
        ("", "line 1: nothing is returned"),
        ("return 1", "line 1: a program begins with its symbols"),
        ("alphabet a\n\nreturn 'b'", "line 3: 'b' is not in the alphabet"),
        ("alphabet a a\nreturn 'a'", "stands twice"),
        ("alphabet a\nreturn 'a' +", "line 2: a symbol, a count, a name or a number is missing at the end"),
        ("alphabet a\nreturn i and 'a'", "a truth value is needed"),
        ("alphabet a\nreturn #[j <= i] i", "a truth value is needed"),
        ("alphabet a\nreturn i * i", "one side of *"),
        ("alphabet a\nreturn i mod 0", "a division by 0"),
        ("alphabet a\nreturn 'a' 'a'", "an operation is missing before 'a'"),
        ("alphabet a\nreturn 1\nx = 2", "line 3: `return` ends a program"),
        ("alphabet a\nx = 1\nx = 2\nreturn x", "line 3: x is defined already"),
        ("alphabet a\ni = 1\nreturn i", "line 2: a name"),
        ("alphabet a\nreturn 'a", "between two quotes"),
        ("alphabet a\nreturn 1 & 2", "`&` means nothing here"),
        ("alphabet a\nreturn 99999", "numbers go up to"),
        ("alphabet a b\ns = automaton\n  q: 'a' -> q\nreturn s.q", "q has no arrow for 'b'"),
        ("alphabet a\ns = automaton\n  q: 'a' -> r\nreturn s.q", "r, to which q goes, has no row"),
        ("alphabet a\ns = automaton\n  q: 'a' -> q\nreturn s.r", "s has no state r"),
        ("alphabet a\nreturn s.r", "s is not defined before"),
    ] {
        let error = Program::read(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    let deep = format!("alphabet a\nreturn {}'a'{}", "(".repeat(5000), ")".repeat(5000));
    assert!(Program::read(&deep).is_err_and(|error| error.to_string().contains("deeper")));
    let deep = format!("alphabet a\nreturn {}'a'", "#[j] ".repeat(5000));
    assert!(Program::read(&deep).is_err_and(|error| error.to_string().contains("deeper")));
    // Each nests in the next, though no bracket shows it.
    for (start, link) in [("1", " * 1"), ("i", " mod 3"), ("'a'", "[i]")] {
        let deep = format!("alphabet a\nreturn {start}{}", link.repeat(9000));
        assert!(Program::read(&deep).is_err_and(|error| error.to_string().contains("deeper")), "{link}");
    }
    let not = format!("alphabet a\nreturn {}'a'", "not ".repeat(9001));
    assert_eq!(Program::read(&not), Program::read("alphabet a\nreturn not 'a'"));
    // What a name is, is known of it: 2^500 ways to ask would take forever.
    let chain: Vec<String> = (1..500).map(|at| format!("x{at} = if x{0} then x{0} else x{0}", at - 1)).collect();
    let chain = chain.join("\n");
    assert!(Program::read(&format!("alphabet a\nx0 = 'a'\n{chain}\nreturn x499")).is_ok());
    let deep = format!("alphabet a\nreturn {} 1", "if 'a' then 1 else ".repeat(3000));
    assert!(Program::read(&deep).is_err_and(|error| error.to_string().contains("deeper")));
}

#[test]
fn looking_ahead_is_known() {
    let looks_ahead = |name: &str| program(Shipped::find(name).expect(name).text).looks_ahead(12);
    assert!(!["parity", "majority", "cups", "dyck", "anbn"].into_iter().any(looks_ahead));
    assert!(["adder", "multiplexer", "sort", "histogram", "nearest"].into_iter().all(looks_ahead));
}

#[test]
fn words_are_one_hot() {
    let words = Words { program: program("alphabet a b c\nreturn 'b', i"), seq_len: 2 };
    let example = words.sequence(&[1, 2]);
    assert!(matches!(example.inputs, Inputs::Continuous(x) if x == [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]));
    assert!(matches!(example.targets, Targets::Continuous(y) if y == [1.0, 1.0, 0.0, 2.0]));
}

#[test]
fn windows_far_from_the_start_look_ahead_in_long_words() {
    for (text, shown) in [("'b'[100]", 100), ("#[j >= 90] 'b'", 90), ("'b'[i+70]", 71), ("'b'[n-63]", 65)] {
        let program = program(&format!("alphabet a b\nreturn {text}"));
        assert!(program.looks_ahead(shown) && !program.looks_ahead(shown - 1), "{text}");
    }
}

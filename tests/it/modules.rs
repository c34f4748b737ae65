//! The modules of each crate, read from its sources: they form no import cycle except between a parent and its child,
//! and no crate becomes too large.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Remaining cycles, each with the reason. A line whose cycle is gone or has become smaller fails the test, so the list
/// only shrinks.
const CYCLES: &[(&str, &[&str])] = &[];

/// Names from the root of a crate to a module.
type Module = Vec<String>;

/// A source file: its module, the paths that it imports under each name, and all paths in it.
#[derive(Default)]
struct Source {
    imports: BTreeMap<String, Module>,
    paths: Vec<Module>,
}

fn crates() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let named = folders.map(|path| {
        let src = path.join("src");
        (path.file_name().unwrap().to_str().unwrap().to_owned(), if src.is_dir() { src } else { path })
    });
    let crates: Vec<_> = named.collect();
    assert!(crates.len() >= 8, "{crates:?}");
    crates
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of a crate, without tests inside modules, which may use everything.
fn sources(folder: &Path) -> BTreeMap<Module, Source> {
    let mut paths = Vec::new();
    files(folder, &mut paths);
    let module = |path: &Path| -> Module {
        let below = path.strip_prefix(folder).unwrap().with_extension("");
        let mut names: Module = below.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        names.pop_if(|name| ["lib", "main", "mod"].contains(&name.as_str()));
        names
    };
    let source = |path: &PathBuf| (module(path), read(&fs::read_to_string(path).unwrap(), &module(path)));
    paths.iter().map(source).collect()
}

fn read(text: &str, here: &Module) -> Source {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    let tests = text.match_indices("#[cfg(").find(|(at, _)| {
        let mut next = text[*at..].lines();
        let condition = next.next().unwrap_or_default();
        let opens = next.find(|line| !line.starts_with("#["));
        condition.contains("test") && opens.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    });
    let text = &text[..tests.map_or(text.len(), |(at, _)| at)];
    let inline = inline_modules(text);
    let mut source = Source::default();
    for at in starts(text) {
        let is_use = text[..at].trim_end().ends_with("use");
        let mut rest = &text[at..];
        for (path, alias) in tree(&mut rest) {
            let Some(path) = absolute(&path, here, inline.iter().filter(|range| range.contains(&at)).count()) else {
                continue;
            };
            if is_use && let Some(name) = alias.or_else(|| path.last().cloned()) {
                source.imports.insert(name, path.clone());
            }
            source.paths.push(path);
        }
    }
    source
}

/// Ranges of modules written inside a file.
fn inline_modules(text: &str) -> Vec<std::ops::Range<usize>> {
    let opened = text.match_indices("mod ").filter_map(|(at, _)| {
        let head = text[at..].lines().next()?;
        head.ends_with('{').then_some(at)
    });
    let range = |at: usize| {
        let mut depth = 0;
        let end = text[at..].char_indices().find(|(_, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => return false,
            };
            depth == 0
        });
        at..end.map_or(text.len(), |(end, _)| at + end)
    };
    opened.map(range).collect()
}

/// Starts of paths: after `use`, and at `crate::` and `super::` elsewhere.
fn starts(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for word in ["crate", "super", "use"] {
        for (at, _) in text.match_indices(word) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            let after = &text[at + word.len()..];
            let is_word = !(before.is_alphanumeric() || before == '_' || before == ':');
            if word == "use" && is_word && after.starts_with(' ') {
                found.push(at + "use ".len());
            } else if word != "use" && is_word && after.starts_with("::") && !text[..at].ends_with("use ") {
                found.push(at);
            }
        }
    }
    found
}

/// A path, or the paths of an import tree, each with the name given by `as`.
fn tree(rest: &mut &str) -> Vec<(Module, Option<String>)> {
    *rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('{') {
        *rest = inner;
        let mut all = Vec::new();
        loop {
            *rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                *rest = after;
                return all;
            }
            if rest.is_empty() {
                return all;
            }
            let length = rest.len();
            all.extend(tree(rest));
            *rest = rest.trim_start();
            *rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.len() == length {
                return all;
            }
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    *rest = after;
    let name = name.to_owned();
    if let Some(below) = rest.strip_prefix("::")
        && below.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{')
    {
        *rest = below;
        let paths = tree(rest).into_iter();
        return paths.map(|(path, alias)| ([vec![name.clone()], path].concat(), alias)).collect();
    }
    if let Some(alias) = rest.trim_start().strip_prefix("as ") {
        let end = alias.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(alias.len());
        let (alias, after) = alias.split_at(end);
        *rest = after;
        return vec![(vec![name], Some(alias.to_owned()))];
    }
    if name.is_empty() { Vec::new() } else { vec![(vec![name], None)] }
}

/// A path from the root of the crate, given a path in a module or `inline` modules deeper in its file.
fn absolute(path: &[String], here: &Module, inline: usize) -> Option<Module> {
    let up = path.iter().take_while(|name| *name == "super").count();
    let mut module = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "super" if up > inline => here[..here.len().checked_sub(up - inline)?].to_vec(),
        _ => here.clone(),
    };
    let names = path.iter().skip(up).filter(|name| *name != "crate" && *name != "self");
    module.extend(names.cloned());
    Some(module)
}

/// The module that a path leads to, through the imports of modules on its way.
fn target(path: &[String], sources: &BTreeMap<Module, Source>, steps: usize) -> Module {
    let length = (0..=path.len()).rev().find(|length| sources.contains_key(&path[..*length])).unwrap_or(0);
    let module = path[..length].to_vec();
    let import = path.get(length).and_then(|name| sources.get(&module)?.imports.get(name));
    match import {
        Some(import) if steps > 0 && import.as_slice() != path => target(import, sources, steps - 1),
        _ => module,
    }
}

/// For each module with children, which child needs which; a child's needs include those of its own children.
fn needs(sources: &BTreeMap<Module, Source>) -> BTreeMap<Module, BTreeMap<&str, BTreeSet<String>>> {
    let mut needs: BTreeMap<Module, BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
    for (module, source) in sources {
        for path in &source.paths {
            let target = target(path, sources, 8);
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                let all = needs.entry(module[..shared].to_vec()).or_default();
                all.entry(from).or_default().insert(to.clone());
            }
        }
    }
    needs
}

/// Modules that need each other, directly or through others.
fn cycles(needs: &BTreeMap<&str, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(next) = open.pop() {
            for to in needs.get(next.as_str()).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = needs.keys().map(|from| (*from, reach(from))).collect();
    let with = |from: &str| -> BTreeSet<String> {
        let back = |to: &&String| reached.get(to.as_str()).is_some_and(|reached| reached.contains(from));
        reached[from].iter().filter(back).cloned().collect()
    };
    reached.keys().map(|from| with(from)).filter(|cycle| cycle.len() > 1).collect()
}

#[test]
fn modules_need_each_other_in_one_direction() {
    let mut found: BTreeSet<(String, Vec<String>)> = BTreeSet::new();
    for (name, folder) in crates() {
        for (parent, needs) in needs(&sources(&folder)) {
            let below = [vec![name.clone()], parent].concat().join("::");
            found.extend(cycles(&needs).into_iter().map(|cycle| (below.clone(), cycle.into_iter().collect())));
        }
    }
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let known: BTreeSet<_> = CYCLES.iter().map(|(below, names)| ((*below).to_owned(), owned(names))).collect();
    let new: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "modules that need each other: {new:#?}\nno longer so, delete: {gone:#?}"
    );
}

#[test]
fn a_cycle_is_seen_through_folders_and_imports_and_a_child_may_need_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let found = || -> Vec<(Module, Vec<String>)> {
        let sources = sources(folder.path());
        let all = needs(&sources);
        let of = |(parent, needs): (&Module, &BTreeMap<&str, BTreeSet<String>>)| {
            cycles(needs).into_iter().map(|cycle| (parent.clone(), cycle.into_iter().collect())).collect::<Vec<_>>()
        };
        all.iter().flat_map(of).collect()
    };
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::deep::Deep;\n");
    write("a/mod.rs", "mod deep;\nuse crate::b;\n");
    write("a/deep.rs", "use super::Thing;\nmod inline {\n    use super::Deep;\n}\n");
    write("b.rs", "// use crate::c;\nfn f() {}\n");
    write("c.rs", "use crate::{a, b};\n#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::a;\n}\n");
    assert_eq!(found(), []);
    for closing in
        ["use crate::Deep;", "use crate::{\n    c::{self},\n};", "fn f() -> crate::a::Thing {}", "use super::a;"]
    {
        write("b.rs", closing);
        assert_eq!(found().len(), 1, "{closing}");
    }
    write("b.rs", "");
    write("a/other.rs", "use super::deep;\n");
    write("a/deep.rs", "use super::other::Other;\n");
    assert_eq!(found(), [(vec!["a".to_owned()], vec!["deep".to_owned(), "other".to_owned()])]);
}

#[test]
fn no_crate_holds_more_than_a_fifth_of_the_source() {
    let lines = |folder: &PathBuf| -> usize {
        let mut paths = Vec::new();
        files(folder, &mut paths);
        paths.iter().map(|path| fs::read_to_string(path).unwrap().lines().count()).sum()
    };
    let sizes: Vec<(String, usize)> = crates().iter().map(|(name, folder)| (name.clone(), lines(folder))).collect();
    let all: usize = sizes.iter().map(|(_, lines)| lines).sum();
    let large: Vec<_> = sizes.iter().filter(|(_, lines)| 5 * lines > all).collect();
    assert!(large.is_empty(), "{large:?} of {all} lines: divide what has become two");
}

#!/usr/bin/env python3
"""Draws every table and figure of README.md and docs/ from the results in docs/results/.

    python python/refresh_docs.py                   # draw all pages again: seconds, nothing is run
    python python/refresh_docs.py --check           # exit code 1 where a page, a figure and its result differ
    python python/refresh_docs.py --run NAME …      # run the commands of these results (NAME may hold *), then draw
    python python/refresh_docs.py --run --work DIR  # of all of them: hours. DIR keeps the runs, and goes on with those that it has

A result is one file, docs/results/NAME.json:

    about       what was measured, in a line
    commands    the commands, run by bash at the top of the repository; `headway` is the release binary, `python3` HEADWAY_PYTHON or what
                runs this, $OUT a folder of the result's own
    keep        what is kept of them, by name: a JSON file below $OUT, or `stdout N` of command N; nothing where --run can't run them
    drop        keys of the JSON that are left out; slices: scores of slices, such as test/mse[points=10], that are not
    figures     docs/figures/FILE and the SVG below $OUT that it is a copy of
    seeds       which
    measured    date, program, machine, seconds; or `recorded`: why the numbers are older than this file
    exit_codes  of the commands, where one is not 0
    sha256      of the figures
    values      what was kept

Pages hold three marks, and everything between them is drawn from results:

    <!-- table: NAME -->               a table of docs_tables.py
    <!-- output: NAME N WORD … -->     what command N printed (on standard error where it printed nothing else), as a block: the lines
                                       that begin with a WORD and those that go on with them, or all lines. A WORD in quotes may hold
                                       spaces. `$` is the command itself, `…` stands for what is left out
    <!--=NAME-->…<!--/-->              a number of docs_tables.py, in the middle of a sentence

each of the first two up to <!-- /table --> or <!-- /output -->.

Needs Python 3.10; for --run headway, and numpy where a command says python3.
"""

import argparse
import datetime
import fnmatch
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from docs_tables import FACTS, RESULTS, TABLES, Wrong, names, printed, result  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs/figures"


def pages():
    top = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "checkpoints/README.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


# What commands printed

WIDTH = 122
"""Columns of a block, without its indentation."""


def lines_without_rules(text):
    """Lines, without those that are rules of a table."""
    return [line.rstrip() for line in text.splitlines() if set(line.strip()) - {"─", "═"}]


def excerpt(lines, words):
    """The lines that begin with the words, in that order, each with what is indented beneath it as a certificate's terms are."""
    if not words:
        return lines
    chosen, rest = [], lines
    for word in words:
        if word == "…":
            chosen.append(" …")
            continue
        plain = [" ".join(line.split()) for line in rest]
        at = next((i for i, line in enumerate(plain) if f"{line} ".startswith(f"{word} ")), None)
        if at is None:
            raise Wrong(f"nothing that was printed begins with `{word}`, or not in this order")
        chosen.append(rest[at])
        is_label = not rest[at].startswith(" ")
        rest = rest[at + 1 :]
        while is_label and rest and rest[0].startswith(" " * 14):
            chosen.append(rest.pop(0))
    return chosen


def wrapped(line):
    """A term of a certificate, an error, or a sentence, over as many lines as it takes."""
    start = re.match(r"(?:\S+ +| +)\S+  (?=\S)|error: |(?=\S+( \S+)+\.$)", line)
    if len(line) <= WIDTH or not start:
        return [line]
    indent = {"error: ": 7, "": 4}.get(start[0], 26)
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * indent)


def as_shown(command):
    """A command as pages have it."""
    return command.removeprefix("cd $OUT && ").replace("$OUT", "runs")


def unbroken(text):
    """Text without its breaks, with one command after the other, none of which says where its folder is."""
    text = text.replace("\\\n", " ").replace(" && ", " ").replace("cargo run --release --", "headway")
    return " ".join(re.sub(r" --out \S+", "", text).split())


def block(name, index, words):
    command = words[:1] == ["$"]
    lines = [line for long in excerpt(printed(name, index), words[command:]) for line in wrapped(long)]
    if command:
        lines = [as_shown(result(name)["commands"][index]), "", *lines]
    return "\n".join(f"    {line}".rstrip() for line in lines)


# Drawing

MARKS = re.compile(
    r"^<!-- (?P<kind>table|output): (?P<what>.*?) -->\n(?P<body>.*?)^<!-- /(?P=kind) -->$|<!--=(?P<fact>\S+?)-->.*?<!--/-->",
    re.MULTILINE | re.DOTALL,
)


def drawn(text):
    """A page's text with everything between its marks as the results have it."""

    def replacement(mark):
        if mark["fact"]:
            return f"<!--={mark['fact']}-->{fact(mark['fact'])}<!--/-->"
        what = mark["what"]
        if mark["kind"] == "table":
            body = known(TABLES, what, "table")()
        else:
            name, index, *words = shlex.split(what)
            body = block(name, int(index), words)
        # Without the empty lines, Markdown would take what stands between comments for HTML.
        return f"<!-- {mark['kind']}: {what} -->\n\n{body}\n\n<!-- /{mark['kind']} -->"

    return MARKS.sub(replacement, text)


def fact(name):
    return known(FACTS, name, "fact")()


def known(functions, name, kind):
    if name not in functions:
        raise Wrong(f"no {kind} is called {name}; there are {', '.join(functions)}")
    return functions[name]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(write=False):
    """What is wrong between results, pages and figures; with `write`, pages are drawn first."""
    found = []
    for page in pages():
        place, text = page.relative_to(ROOT), page.read_text()
        try:
            new = drawn(text)
        except (Wrong, KeyError) as error:
            found.append(f"{place}: {type(error).__name__}: {error}")
            continue
        if new != text and write:
            page.write_text(new)
        elif new != text:
            old, now = next((a, b) for a, b in zip(text.splitlines() + [""], new.splitlines() + [""]) if a != b)
            found.append(f"{place}: is not as the results have it; first\n    {old}\nbut the results say\n    {now}")
        for name, index in re.findall(r"^<!-- output: (\S+) (\d+)", new, re.MULTILINE):
            made, index = result(name), int(index)
            command = as_shown(made["commands"][index])
            # A refusal stands beside what was asked too much of.
            is_refusal = "exit_codes" in made and made["exit_codes"][index] == 2
            if not is_refusal and unbroken(command) not in unbroken(new):
                found.append(f"{place}: shows what `{command}` printed, and not the command")
        for line in re.findall(r"^ *<!--=.*", new, re.MULTILINE):
            found.append(f"{place}: a line that begins with a mark is HTML to Markdown; break it elsewhere: {line}")
        # Every key with its default: the program writes that page, and a test compares.
        for line in undrawn(new) if place.as_posix() != "docs/keys.md" else []:
            found.append(f"{place}: a table of measured numbers that no result is behind: {line}")
    index = (ROOT / "docs/README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        if page.name not in ("README.md", "SUMMARY.md") and f"]({page.name})" not in index:
            found.append(f"docs/README.md: does not list {page.name}")
    owners = {}
    for name in names():
        made = result(name)
        for part in ("about", "commands", "values", "measured"):
            if not made.get(part):
                found.append(f"docs/results/{name}.json: has no `{part}`")
        for figure in made.get("figures", {}):
            if figure in owners:
                found.append(f"docs/figures/{figure}: is claimed by {owners[figure]} and by {name}")
            owners[figure] = name
            path = FIGURES / figure
            if not path.is_file() or digest(path) != made.get("sha256", {}).get(figure):
                found.append(f"docs/figures/{figure}: is not what docs/results/{name}.json was made with")
    for path in sorted(FIGURES.iterdir()):
        if path.name not in owners:
            found.append(f"docs/figures/{path.name}: belongs to no result")
    return found


def undrawn(text):
    """The first lines of tables that hold decimals and stand outside of marks, those that state formulas excepted."""
    outside = MARKS.sub("", text)
    for rows in re.findall(r"(?:^\|.*\n)+", outside, re.MULTILINE):
        if re.search(r"\d\.\d|\de[-−]\d", re.sub(r"\]\([^)]*\)", "", rows)) and not any(rows.startswith(header) for header in STATED):
            yield rows.splitlines()[0]


STATED = ["| task | asks for | source |", "| statement | where it is from |", "| `[optimizer.…]` | Update |", "| chapter | what is built | error |", "| form | layers | ReLU by | error |", "| start | weights |", "| from | convention |", "| where | for `vulkan` and `wgpu` | for `cuda` |", "| | `f32` | `tf32` | `bf16` |"]
"""Headers of tables whose decimals are part of formulas and settings."""


# Running


def headway():
    """The release binary: HEADWAY, or that of the target folder."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("HEADWAY", target / "release/headway")).resolve()
    if not path.is_file():
        raise Wrong(f"{path} is not there; cargo build --release makes it, HEADWAY names another")
    return path


def machine():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", text)
    return f"{os.cpu_count()} cores of {model[1] if model else platform.processor() or platform.machine()}, {platform.system()}"


def program(binary):
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    words = ["git", "log", "-1", "--format=%h", "--abbrev=12", "--", "crates", "Cargo.lock"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return f"{version}, commit {commit}" if commit else version


def pruned(value, made):
    """A document without the scores of slices (`test/mse[points=3]`), which are many, and without the keys in `drop`."""
    if isinstance(value, dict):
        keys = [key for key in value if key not in made.get("drop", []) and ("[" not in key or key in made.get("slices", []))]
        return {key: pruned(value[key], made) for key in keys}
    return [pruned(inner, made) for inner in value] if isinstance(value, list) else value


def document(text):
    """A JSON document; a list of them where there are several in a row."""
    found, at = [], 0
    while at < len(text.rstrip()):
        one, end = json.JSONDecoder().raw_decode(text[at:].lstrip())
        at = len(text) - len(text[at:].lstrip()) + end
        found.append(one)
    return found[0] if len(found) == 1 else found


def run(name, binary, work):
    made = result(name)
    if not made["keep"]:
        print(f"{name}: left as recorded; its commands need what is not part of this repository", file=sys.stderr)
        return
    codes = made.get("exit_codes", [0] * len(made["commands"]))
    out, spent = work / name, work / f"{name}.seconds"
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()) and not spent.exists():
        raise Wrong(f"{out} holds what no earlier call has left there; --work takes a folder of its own")
    studies = [old for old in out.iterdir() if any((old / file).exists() for file in ("sweep.toml", "compare.toml"))]
    for old in set(out.iterdir()) - set(studies):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / "headway").symlink_to(binary)
        (Path(path) / "python3").symlink_to(os.environ.get("HEADWAY_PYTHON", sys.executable))
        env = {**os.environ, "OUT": str(out), "PATH": f"{path}:{os.environ['PATH']}"}
        texts, began = [], time.monotonic()
        for command, code in zip(made["commands"], codes):
            print(f"{name}: {command}", file=sys.stderr)
            done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True)
            if done.returncode != code:
                raise Wrong(f"{name}: exit code {done.returncode}, not {code}\n{done.stderr[-2000:]}")
            texts.append(done.stdout or done.stderr)
    # With what earlier calls have spent on studies that went on.
    seconds = time.monotonic() - began + (float(spent.read_text()) if studies and spent.exists() else 0)
    spent.write_text(f"{seconds}\n")
    kept = {}
    for key, source in made["keep"].items():
        if source.startswith("stdout "):
            text = texts[int(source.removeprefix("stdout "))].replace(str(out), "runs")
        else:
            text = (out / source).read_text()
        kept[key] = lines_without_rules(text) if key.startswith("printed ") else pruned(document(text), made)
    for figure, source in made.get("figures", {}).items():
        if not (out / source).is_file():
            raise Wrong(f"{name}: $OUT/{source} is not there; beside it: {sorted(path.name for path in (out / source).parent.glob('*'))}")
        old = (FIGURES / figure).read_bytes() if (FIGURES / figure).exists() else b""
        shutil.copyfile(out / source, FIGURES / figure)
        made.setdefault("sha256", {})[figure] = digest(FIGURES / figure)
        if (FIGURES / figure).read_bytes() != old:
            print(f"{name}: docs/figures/{figure} is another; look at it, and at the words beside it", file=sys.stderr)
    made["measured"] = {
        "date": datetime.date.today().isoformat(),
        "program": program(binary),
        "machine": machine(),
        "seconds": round(seconds, 1),
    }
    made["values"] = kept
    (RESULTS / f"{name}.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where something differs")
    parser.add_argument("--run", nargs="*", metavar="NAME", help="run the commands of these results first; of all without a name")
    parser.add_argument("--work", type=Path, help="folder of the runs, which is kept, and whose sweeps and comparisons go on")
    args = parser.parse_args()
    try:
        if args.run is not None:
            chosen = [name for name in names() if not args.run or any(fnmatch.fnmatch(name, like) for like in args.run)]
            if not chosen:
                raise Wrong(f"no result is called {' or '.join(args.run)}; there are {', '.join(names())}")
            binary = headway()
            with tempfile.TemporaryDirectory() as scratch:
                for name in chosen:
                    run(name, binary, (args.work or Path(scratch)).resolve())
        found = differences(write=not args.check)
    except Wrong as error:
        sys.exit(f"error: {error}")
    for problem in found:
        print(problem)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

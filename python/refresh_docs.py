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
    quiet       how long it takes, of what was recorded before this file measured it
    measured    date, program, machine, seconds; or `recorded`: why the numbers are older than this file
    exit_codes  of the commands, where one is not 0
    sha256      of the figures
    values      what was kept

Pages hold three marks, and everything between them is drawn from results:

    <!-- table: NAME -->               a table of TABLES below
    <!-- output: NAME N WORD … -->     what command N printed, as a block: the lines that begin with a WORD and those that go on
                                       with them, or all lines. In a WORD, _ is a space. `$` is the command itself, `…` stands for
                                       what is left out
    <!--=NAME-->…<!--/-->              a number of FACTS below, in the middle of a sentence

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

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs/results"
FIGURES = ROOT / "docs/figures"


class Wrong(Exception):
    """A page or a result that does not fit what this file expects."""


def pages():
    return [ROOT / "README.md", ROOT / "checkpoints/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def names():
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def result(name):
    try:
        return json.loads((RESULTS / f"{name}.json").read_text())
    except FileNotFoundError:
        raise Wrong(f"no result is called {name}; there are {', '.join(names())}") from None


def values(name, key):
    return result(name)["values"][key]


# Numbers and cells


def digits(value, count=3):
    """A number with so many significant digits; powers of ten only where plain digits would be long."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(float(f"{value:.{count - 1}e}")) < 1e5:
        mantissa, exponent = f"{value:.{count - 1}e}".split("e")
        return minus(f"{mantissa}e{int(exponent)}")
    exponent = int(f"{value:.{count - 1}e}".split("e")[1])
    return minus(f"{value:.{max(count - 1 - exponent, 0)}f}")


def minus(text):
    return "−" + text[1:] if text.startswith("-") else text


def with_interval(estimate, show=digits):
    """`0.295 [0.219, 0.494]`; the mean alone where one seed gives no interval."""
    ends = estimate["interval"]
    return show(estimate["mean"]) + (f" [{show(ends[0])}, {show(ends[1])}]" if ends else "")


def two_places(value):
    return minus(f"{value:.2f}")


def span(points, show=digits):
    """`first … last` of (label, value); with the value farthest out, and where it is, in the middle when that is neither end."""
    first, last = points[0][1], points[-1][1]
    out = max(points, key=lambda point: abs(point[1] - (first + last) / 2))
    if out[1] in (first, last) or min(first, last) <= out[1] <= max(first, last):
        return show(first) if show(first) == show(last) else f"{show(first)} … {show(last)}"
    return f"{show(first)} … {show(out[1])} ({out[0]}), {show(last)}"


def table(header, rows):
    for line in [header, *rows]:
        if len(line) != len(header):
            raise Wrong(f"a row of {len(line)} cells below a header of {len(header)}: {line}")
    drawn = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in [header, *rows]]
    return "\n".join([drawn[0], "|" + "---|" * len(header), *drawn[1:]])


# What commands printed

WIDTH = 122
"""Columns of a block, without its indentation."""


def printed(name, index):
    """The lines that a command printed, as `lines_without_rules` kept them."""
    return values(name, f"printed {index}")


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
    """A term of a certificate, or an error, over as many lines as it takes."""
    start = re.match(r"(?:\S+ +| +)\S+  (?=\S)|error: ", line)
    if len(line) <= WIDTH or not start:
        return [line]
    indent = 26 if start[0] != "error: " else 7
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


# What pages show. Each function reads results and gives a table in Markdown, or a few words.


LEAST_SQUARES = {"per_position_least_squares", "flattened_least_squares"}


def means(point, predictor, metric):
    """A predictor's mean score at a point of a sweep."""
    scores = point["means"]
    name = next(name for name in scores if name == predictor or predictor == "least squares" and name in LEAST_SQUARES)
    return scores[name][metric]["mean"]


def law(study):
    found = study["exponents"].get("network")
    return with_interval(found, two_places) if found and found["interval"] else ""


def can_tell(check):
    """Whether a mean was expected within less than itself: within `0.028 ± 0.079` even an error of zero would be."""
    expected = re.match(r"(\S+) ± (\S+) ", check["expected"])
    return not expected or float(expected[2]) < abs(float(expected[1]))


def verdicts(study):
    """`5 of 5`, of the means that could have failed; those that could not are counted apart."""
    told = [check for check in study["checks"] if can_tell(check) or not check["agrees"]]
    agree = f"{sum(check['agrees'] for check in told)} of {len(told)}"
    outside = [check["at"].replace("n_heads=", "H = ") for check in told if not check["agrees"]]
    wide = len(study["checks"]) - len(told)
    return agree + (f", not {', '.join(outside)}" if outside else "") + (f"; {wide} cannot tell" if wide else "")


def duration(made):
    seconds = made["measured"].get("seconds")
    if seconds is None:
        return made["quiet"]
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def reproduction_rows(prefix, shown, metric):
    for name, (label, unit) in shown.items():
        made = result(f"{prefix}-{name}")
        study = made["values"]["study"]

        def along(predictor):
            points = study["points"]
            return span([(unit + point["name"].split("=")[-1], means(point, predictor, metric)) for point in points])

        cells = [along(predictor) for predictor in ("network", "least squares", "mean")]
        yield [label, duration(made), *cells, law(study), verdicts(study)]


def reproductions():
    shown = {
        "heads": ("`heads`, H = 1 … 16", "H = "),
        "range": (r"`range`, \|b − a\| = 10 … 50", ""),
        "anchors": ("`anchors`, p = 60 … 120", "p = "),
        "seq2seq-heads": ("`seq2seq-heads`, H = 1 … 32", "H = "),
        "seq2seq-anchors": ("`seq2seq-anchors`, p = 10 … 20", "p = "),
        "attention-map": (r"`attention-map`, \|b − a\| = 0.5 … 3", ""),
    }
    header = ["", "time", "network", "least squares", "mean predictor", "power of x [95 %]", "means that agree"]
    return table(header, list(reproduction_rows("reproduce", shown, "test/loss")))


def converged():
    shown = {
        "heads": ("`heads`, H = 1 … 16", "H = "),
        "anchors": ("`anchors`, p = 60 … 120", "p = "),
        "range": (r"`range`, \|b − a\| = 5 … 25", ""),
        "seq2seq-heads": ("`seq2seq-heads`, H = 1 … 32", "H = "),
        "seq2seq-anchors": ("`seq2seq-anchors`, p = 3 … 13", "p = "),
    }
    header = ["", "time", "network", "least squares", "mean predictor", "power of x [95 %]", "points that beat least squares"]
    return table(header, list(reproduction_rows("converged", shown, "test/mse")))


def lines_of(study, task=None, match=None):
    for found in study["blocks"]:
        if task in (None, found["task"]) and match in (None, found["match"]):
            return {line["name"]: line for line in found["lines"]}
    raise Wrong(f"no table of {task} at equal {match}")


def rate(line):
    """A learning rate, as 1e-3."""
    return f"{line['learning_rate']:.0e}".replace("e-0", "e-")


def compare_ffn():
    study = values("compare-ffn", "study")
    shown = [
        ("regression, d = 5", "regression, d = 5: squared error after 10 examples", False),
        ("copy", "copying: accuracy", True),
        ("MQAR", "MQAR: accuracy", True),
    ]
    rows = []
    for task, label, is_accuracy in shown:
        for match in ("parameters", "flops"):
            lines = lines_of(study, task, match)
            alone, ffn = lines["attention-only"], lines["with feed-forward"]
            difference = ffn["difference"]
            cells = [with_interval(line["estimate"]) for line in (alone, ffn)]
            low, high = difference["estimate"]["interval"]
            if low * high > 0:
                best = (difference["estimate"]["mean"] < 0) != is_accuracy
                mean, interval = cells[best].split(" ", 1)
                cells[best] = f"**{mean}** {interval}"
            rows.append(
                [
                    label if match == "parameters" else "",
                    {"parameters": "parameters", "flops": "FLOPs"}[match],
                    f"{cells[0]}, at {rate(alone)}",
                    f"{cells[1]}, at {rate(ffn)}",
                    with_interval(difference["estimate"], two_places),
                    f"{difference['p_value']:.4g}",
                ]
            )
    header = ["task, score", "at equal", "attention-only", "with feed-forward", "difference", "p"]
    return table(header, rows)


FINETUNED = {
    "from scratch": "from scratch",
    "full": "full",
    "embed and head frozen": "`freeze`: embedding, positions and head",
    "head": "`head`",
    "LoRA, rank 4": "`lora`, rank 4",
    "prefix, 8 rows": "`prefix`, 8 rows a layer",
    "prompt, 8 rows": "`prompt`, 8 rows",
}


def compare_finetune():
    lines = lines_of(values("compare-finetune", "study"))
    rows = []
    for name, label in FINETUNED.items():
        line = lines[name]
        difference = line["difference"]
        rows.append(
            [
                label,
                f"{line['trained_parameters']:,.0f}",
                with_interval(line["estimate"]),
                with_interval(difference["estimate"]) if difference else "",
                rate(line),
            ]
        )
    rows.append(["least squares", "", with_interval(lines["least_squares"]["estimate"]), "", ""])
    header = ["400 steps, 5 seeds", "parameters trained", "squared error [95 %]", "difference to scratch [95 %]", "learning rate"]
    return table(header, rows)


TABLES = {
    "reproductions": reproductions,
    "converged": converged,
    "compare-ffn": compare_ffn,
    "compare-finetune": compare_finetune,
}

def mse(name, key, predictor="network"):
    """Squared error of a run or an evaluation that was printed as JSON."""
    made = values(name, key)
    rows = {"network": made["metrics"]} | {row["name"]: row["metrics"] for row in made["baselines"]}
    return rows[predictor]["test/mse"]


def finetune_noisy():
    lines = lines_of(values("compare-finetune-noisy", "study"))
    before = [one["metrics"]["test/mse"] for one in values("compare-finetune-noisy", "before")]
    rows = [["the checkpoint as it is", "", digits(sum(before) / len(before)), "", ""]]
    for name, label in (("from scratch", "600 steps from scratch"), ("full", "600 steps from it, `full`"), ("LoRA, rank 4", "`lora`, rank 4")):
        line = lines[name]
        difference = with_interval(line["difference"]["estimate"]) if line["difference"] else ""
        rows.append([label, f"{line['trained_parameters']:,.0f}", with_interval(line["estimate"]), difference, rate(line)])
    for name, label in (("ridge", "ridge regression, the best possible"), ("gradient_descent", "gradient descent, ten steps")):
        rows.append([label, "", with_interval(lines[name]["estimate"]), "", ""])
    header = ["5 seeds", "parameters trained", "squared error [95 %]", "difference to scratch [95 %]", "learning rate"]
    return table(header, rows)


def training_steps():
    rows = []
    for name, *cells in values("training-steps", "steps"):
        pairs = [(cells[0], cells[1]), (cells[2], cells[3])]
        rows.append([name, *[", ".join(filter(None, [time, ratio.replace(" …", "× …") + "×"])) for time, ratio in pairs]])
    return table(["training step", "1 thread: ms, against PyTorch", "2 threads: ms, against PyTorch"], rows)


def rates():
    shown = {
        "truncated-linear": ("one head, c = 2.725", "p"),
        "truncated-linear-hard": ("one head, c = 12", "p"),
        "heads": ("heads on 20 positions", "H"),
        "positions": ("four heads on n positions", "n − 1"),
        "relu-network-t1": ("ReLU network in two layers", "p"),
        "in-context-gd-e1": ("gradient descent, linear", "1/δ"),
        "in-context-gd-e2": ("gradient descent, squares at c = 200", "p"),
        "max-affine-kink": ("cells, function with kinks", "G"),
        "max-affine-smooth": ("cells, smooth function", "G"),
        "prefix-lipschitz": ("prefix on the sphere, kinks", "N"),
        "prefix-smooth": ("prefix on the sphere, smooth", "N"),
    }
    measured = {rate["id"]: rate for rate in values("theory-rates", "rates")["rates"]}
    rows = []
    for name, (label, grows) in shown.items():
        rate = measured[name]
        ends = [rate["points"][0], rate["points"][-1]]
        sizes = ", ".join(f"{end['size']:g}" for end in ends)
        errors = ", ".join(digits(end["certificate"]["float32"]["error"]) for end in ends)
        rows.append([label, grows, sizes, errors, two_places(rate["exponent"]), minus(f"{rate['expected']:g}")])
    return table(["figure", "grows", "from, to", "largest error", "power found", "expected"], rows)


def columns(name, index, wanted, rows=None):
    """Some columns of a table that was printed, and the rows that begin with these words, or all."""
    lines = printed(name, index)
    header = next(line for line in lines if all(f" {column} " in f"{line} " for column in wanted))
    ends = [match.end() for match in re.finditer(r"\S+( \S+)*", header)]
    starts = [0, *ends[:-1]]
    names = [header[start:end].strip() for start, end in zip(starts, ends)]
    # A table goes on as long as its lines are indented.
    rest = lines[lines.index(header) + 1 :]
    body = rest[: next((i for i, line in enumerate(rest) if not line.startswith(" ")), len(rest))]
    cells = [[line[start:end].strip() for start, end in zip(starts, ends)] for line in body]
    chosen = [row for row in cells if rows is None or row[0] in rows]
    return table(wanted, [[row[names.index(column)] for column in wanted] for row in chosen])


def in_context():
    wanted = ["examples", "prediction", "truth", "least_squares", "ridge", "averaging", "gradient_descent", "fitted ridge"]
    return columns("inside", 3, [*wanted, "fitted scaled descent"], rows=["1", "3", "5", "7", "10"])


def rank_collapse():
    def cells(label, curve):
        at = {layer["layer"]: layer["log10_relative"] for layer in curve["layers"]}
        show = lambda value: two_places(value) if abs(value) < 10 else digits(value)  # noqa: E731
        return [label, *("below −300" if at[layer] is None else show(at[layer]) for layer in (1, 2, 3, 4, 5, 12))]

    def name(curve):
        return "attention" + (" + skip" if curve["skip"] else "") + (" + feed-forward" if curve["ffn"] else "")

    rows = [cells(name(curve), curve) for curve in values("rank", "compared")["curves"]]
    rows.append(cells("attention + norm (another draw of weights)", values("rank", "norm")["curves"][0]))
    rows.append(cells("attention, causal (the same draw)", values("rank", "causal")["curves"][0]))
    header = ["log10 of the relative residual (first weights, seed 0)", "layer 1", "2", "3", "4", "5", "12"]
    return table(header, rows)


def mean_square():
    lines = lines_of(values("constructed-vs-trained", "study"))

    def before(key):
        scores = [one["metrics"]["test/mse"] for one in values("constructed-vs-trained", key)]
        return digits(sum(scores) / len(scores))

    shown = [
        ("random weights", "random weights", ""),
        ("constructed, c = 2.725", "constructed, c = 2.725", before("clamp")),
        ("constructed, c = 12", "constructed, c = 12", before("clamp_hard")),
        ("per_position_least_squares", "least squares, one per position", ""),
        ("mean", "the mean", ""),
    ]
    rows = []
    for name, label, first in shown:
        line = lines[name]
        rows.append([label, first, with_interval(line["estimate"]), rate(line) if line["learning_rate"] else ""])
    return table(["", "before training", "after training", "learning rate"], rows)


def largest_errors():
    study = values("constructed-vs-trained", "study")
    measured = values("constructed-vs-trained", "after")
    by_run = {Path(folder).parts[-3]: found["largest"] for folder, found in measured.items()}
    starts = values("clamp-temperatures", "starts")
    rows = []
    for name, start in (("constructed, c = 2.725", "clamp"), ("constructed, c = 12", "clamp_hard"), ("random weights", None)):
        group = next(group for group in study["groups"] if group["name"].endswith(name))
        found = [by_run[run["run_id"]] for run in group["runs"]]
        ends = f"{digits(sum(found) / len(found))} [{digits(min(found))}, {digits(max(found))}]"
        rows.append([name, digits(starts[f"checkpoints/{start}"]["largest"]) if start else "", ends])
    return table(["", "before training", "after training: mean over seeds [least, largest]"], rows)


def scaled():
    found = values("clamp-temperatures", "scaled")
    cells = [[label, *(digits(one[key]) for one in found.values())] for label, key in (("mean square", "mean_square"), ("largest error", "largest"))]
    return table(["c", *found], cells)


def temperature():
    found = values("clamp-temperatures", "temperature")
    return table(["c", *(c.replace("inf", "∞") for c in found)], [["largest error / Δ", *(digits(value) for value in found.values())]])


def checkpoints():
    def score(name, predictor, metric="test/mse"):
        made = values("checkpoints", name)
        rows = {"network": made["metrics"]} | {row["name"]: row["metrics"] for row in made["baselines"]}
        return rows[predictor][metric]

    def after_10(predictor):
        return score("icl_linear_d5", predictor, "test/mse[points=10]")

    rows = [
        [
            "`icl_linear_d5`",
            "attention-only transformer, 4 layers, 4 heads, d_model 64",
            "in-context linear regression, d = 5, 11 points",
            "68,993",
            f"squared error {digits(after_10('network'))} after 10 examples (averaging {digits(after_10('averaging'))}, "
            f"ridge {digits(after_10('ridge'))}, least squares {after_10('least_squares'):.0f})",
        ],
        [
            "`copy`",
            "attention-only transformer, 2 layers, 4 heads, d_model 64",
            "copying 16 symbols",
            "37,905",
            f"accuracy {digits(score('copy', 'network', 'test/accuracy'))}, loss {digits(score('copy', 'network', 'test/loss'))}",
        ],
        [
            "`truncated_linear`",
            "the paper's one-layer model, 4 heads, 10 interpolation tokens",
            "clamp(w_i · x_i + t_i, −25, 25), 50 tokens",
            "6,496",
            f"squared error {digits(score('truncated_linear', 'network'))} (least squares per position "
            f"{digits(score('truncated_linear', 'per_position_least_squares'))}, mean {digits(score('truncated_linear', 'mean'))})",
        ],
        [
            "`clamp`, `clamp_hard`",
            "`attention_stack`, constructed: [docs/theory](../docs/theory/README.md)",
            "a clamp of one linear form",
            "418",
            f"squared error {digits(score('clamp', 'network'))} and {digits(score('clamp_hard', 'network'))}; "
            "bounds on the largest in `certificate.json`",
        ],
    ]
    return table(["folder", "model", "task", "parameters", "test result"], rows)


def results():
    rows = []
    for name in names():
        made = result(name)
        measured = made["measured"]
        day = measured["date"] + (", as recorded" if "recorded" in measured else "")
        rows.append([f"[{name}]({name}.json)", made["about"], made["seeds"], day, "" if "recorded" in measured else duration(made)])
    return table(["", "what", "seeds", "day", "took"], rows)


TABLES |= {
    "results": results,
    "checkpoints": checkpoints,
    "finetune-noisy": finetune_noisy,
    "training-steps": training_steps,
    "theory-rates": rates,
    "in-context": in_context,
    "rank-collapse": rank_collapse,
    "constructed-vs-trained": mean_square,
    "largest-errors": largest_errors,
    "scaled-temperatures": scaled,
    "temperature": temperature,
}


# Numbers in sentences


def regression(name):
    return digits(lines_of(values("compare-ffn", "study"), "regression, d = 5", "parameters")[name]["estimate"]["mean"])


WORDS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]


def recalled():
    """Accuracies of the attention-only networks that look up nearly every pair."""
    scores = lines_of(values("compare-ffn", "study"), "MQAR", "parameters")["attention-only"]["values"]
    return [score for score in scores if score > 0.9]


def seeds_below(name, point, limit):
    """How many of a point's networks end below a loss, in a word."""
    study = values(name, "study")
    found = next(one for one in study["points"] if one["name"].endswith(f"={point}"))
    scores = [row["metrics"]["test/loss"] for one in found["runs"] for row in one["results"] if row["name"] == "network"]
    return WORDS[sum(score < limit for score in scores)]


def times_better(name):
    """How many times the squared error of least squares is the network's, at each point."""
    points = values(name, "study")["points"]
    return [means(point, "least squares", "test/mse") / means(point, "network", "test/mse") for point in points]


def proved(name, index):
    """The bound of a certificate that was printed, in exact arithmetic."""
    return digits(float(next(line for line in printed(name, index) if line.startswith("bound ")).split()[1]))


FACTS = {
    "clamp.bound": lambda: proved("clamp-starts", 0),
    "clamp-hard.bound": lambda: proved("clamp-starts", 1),
    "noisy.before": lambda: digits(mse("finetune-noisy", "before")),
    "noisy.tuned": lambda: digits(mse("finetune-noisy", "tuned")),
    "noisy.scratch": lambda: digits(mse("finetune-noisy", "scratch")),
    "noisy.ridge": lambda: digits(mse("finetune-noisy", "before", "ridge")),
    "sparse.before": lambda: digits(mse("compare-finetune", "before")),
    "sparse.least-squares": lambda: digits(lines_of(values("compare-finetune", "study"))["least_squares"]["estimate"]["mean"]),
    "regression.ridge": lambda: regression("ridge"),
    "regression.descent": lambda: regression("gradient_descent"),
    "regression.averaging": lambda: regression("averaging"),
    "mqar.solved": lambda: WORDS[len(recalled())],
    "mqar.solved-range": lambda: f"{min(recalled()):.2f} to {max(recalled()):.2f}",
    "mqar.guessing": lambda: digits(lines_of(values("compare-ffn", "study"), "MQAR", "parameters")["seen_in_context"]["estimate"]["mean"]),
    "anchors.60": lambda: seeds_below("reproduce-anchors", 60, 0.03),
    "anchors.70": lambda: seeds_below("reproduce-anchors", 70, 0.03),
    "converged.5000": lambda: law(values("converged-seq2seq-heads-5000", "study")),
    "converged.two-layers": lambda: f"{max(times_better('converged-seq2seq-heads')):.0f}",
    "converged.one-layer": lambda: "{:.0f} to {:.0f}".format(
        *(end(ratio for name in ("heads", "anchors", "range") for ratio in times_better(f"converged-{name}")) for end in (min, max))
    ),
}


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
            is_refusal = "exit_codes" in made and made["exit_codes"][index] != 0
            if not is_refusal and unbroken(command) not in unbroken(new):
                found.append(f"{place}: shows what `{command}` printed, and not the command")
        for line in undrawn(new):
            found.append(f"{place}: a table of measured numbers that no result is behind: {line}")
        for shown in re.findall(r"\]\(([^)\s]*\.svg)\)", new):
            if not (page.parent / shown).is_file():
                found.append(f"{place}: shows {shown}, which is not there")
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


STATED = ["| chapter | what is built | error |", "| form | layers | ReLU by | error |", "| start | weights |"]
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
        printed, began = [], time.monotonic()
        for command, code in zip(made["commands"], codes):
            print(f"{name}: {command}", file=sys.stderr)
            done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True)
            if done.returncode != code:
                raise Wrong(f"{name}: exit code {done.returncode}, not {code}\n{done.stderr[-2000:]}")
            printed.append(done.stdout if code == 0 else done.stdout + done.stderr)
    # With what earlier calls have spent on studies that went on.
    seconds = time.monotonic() - began + (float(spent.read_text()) if studies and spent.exists() else 0)
    spent.write_text(f"{seconds}\n")
    kept = {}
    for key, source in made["keep"].items():
        if source.startswith("stdout "):
            text = printed[int(source.removeprefix("stdout "))].replace(str(out), "runs")
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

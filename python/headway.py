"""Runs, sweeps, comparisons and analyses as pandas tables; checkpoints as networks in numpy or PyTorch.

    import headway

    run = headway.Run("runs/quickstart-1")
    run.metrics                      # a row for each logged step
    run.scores                       # a row for each predictor, the network first: test/loss, test/mse, …
    run.slices("test/mse")           # the same by the number of examples, of pairs, …, with standard errors
    run.experiment["model"]          # the resolved config
    run.network()(inputs)            # the best checkpoint's forward pass, by headway_reference.py
    run.module()                     # the same weights as a PyTorch module, by check_with_torch.py
    run.patterns(inputs)             # who attends to whom: a row for each layer, head, query and key

    headway.runs("runs")             # a row for each run below a folder

    study = headway.Study("runs/heads")          # of `headway sweep` or `headway compare`
    study.results, study.summary                 # every value of every run; means with 95 % intervals
    study.lines                                  # of a comparison: differences to the reference, and what each row cost

    headway.tables("runs/patterns")  # what `headway analyze … --out runs/patterns` found: a table for each CSV file

It reads what stands in the folders and computes no score of its own. Nothing is cached: a run that is still training gives what it has so far.

Needs Python 3.11 and pandas 1.5; numpy for networks, PyTorch for modules.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
import warnings
from pathlib import Path

import pandas as pd

FORMULA = "=+-@\t\r\n＝＋－＠"
"""What a text begins with that Headway's CSV files guard by a `'`, so that no spreadsheet takes it for a formula."""


class FolderError(Exception):
    """A folder that does not hold what was asked for."""


class Run:
    """The folder of one run, of `train`, `finetune`, `resume` or a study."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.record = read_json(self.folder / "run.json", "a run's folder, such as runs/quickstart-1")
        """`run.json`: run_id, command, version, device, parameters, seconds, status, step, results."""

    def __repr__(self):
        return f"Run({str(self.folder)!r}): {self.record['status']} at step {self.record['step']}"

    @property
    def seed(self):
        """The run id is the digest of the config without the seed, and the seed."""
        return int(self.record["run_id"].rpartition("-")[2])

    @property
    def experiment(self):
        """The resolved config, every default filled in."""
        path = self.folder / "experiment.toml"
        try:
            return tomllib.loads(read_text(path))
        except tomllib.TOMLDecodeError as error:
            raise FolderError(f"{path}: not TOML ({error})") from error

    @property
    def metrics(self):
        """By step: learning_rate, train/loss, validation/loss, …; NaN where a step was not asked for a value."""
        lines = []
        for line in read_text(self.folder / "metrics.jsonl").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:  # cut off by a crash, or not written to its end yet
                continue
        return pd.DataFrame(lines, columns=columns_of(lines, first="step")).set_index("step")

    @property
    def scores(self):
        """By predictor: the scores over the whole test set."""
        rows = {row["name"]: {name: value for name, value in row["metrics"].items() if "[" not in name} for row in self.record["results"]}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")

    def slices(self, metric):
        """Scores by slice of the test set: predictor, the name of what it is sliced by, `metric`, and its standard error over test examples.

        `run.slices("test/mse")` has the columns predictor, points, test/mse and error for a task learned in context. Empty where the task has no slices.
        """
        pattern = re.compile(re.escape(metric) + r"\[(.+)=(.+)\]")
        found = []
        for row in self.record["results"]:
            for name, value in row["metrics"].items():
                if match := pattern.fullmatch(name):
                    error = row.get("errors", {}).get(name)
                    found.append({"predictor": row["name"], match[1]: number(match[2]), metric: value, "error": error})
        if not found:
            return pd.DataFrame(columns=["predictor", metric, "error"])
        # The record sorts slices as texts: points=10 stands before points=2.
        return pd.DataFrame(found).sort_values(["predictor", list(found[0])[1]], kind="stable", ignore_index=True)

    @property
    def checkpoints(self):
        """Whole checkpoints by step, oldest first."""
        found = {}
        for path in (self.folder / "checkpoints").glob("step-*"):
            if (path / "MANIFEST").is_file():  # written last
                found[int(path.name.removeprefix("step-"))] = path
        return dict(sorted(found.items()))

    @property
    def best(self):
        """The checkpoint with the lowest validation loss of those that are kept, else the newest."""
        steps = self.checkpoints
        if not steps:
            raise FolderError(f"{self.folder}: holds no whole checkpoint")
        newest = steps[max(steps)]
        best = read_json(newest / "state.json", "a checkpoint of a run").get("best") or {}
        return steps.get(best.get("step"), newest)

    def network(self, **options):
        """The best checkpoint as a function of arrays; see `network`."""
        return network(self.best, **options)

    def module(self):
        """The best checkpoint as a PyTorch module; see `module`."""
        return module(self.best)

    def patterns(self, inputs):
        """Attention of the best checkpoint's network on some inputs; see `patterns`."""
        return patterns(self.best, inputs)


class Study:
    """The folder of a sweep or a comparison."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.page = read_json(self.folder / "results.json", "the folder of a sweep or a comparison that has ended, such as runs/heads")
        """`results.json`: everything that is on the page, the sentences as `findings`."""

    @property
    def results(self):
        """Every value of every run: group, predictor, seed, metric, value, and a column for each swept key."""
        return read_csv(self.folder / "results.csv")

    @property
    def summary(self):
        """Means over seeds: group, predictor, metric, seeds, mean, the ends low and high of the 95 % interval, and swept keys."""
        return read_csv(self.folder / "summary.csv")

    @property
    def verdicts(self):
        """What each difference was judged by; empty unless a comparison decides."""
        return read_csv(self.folder / "verdicts.csv", or_empty=True)

    @property
    def tuning(self):
        """What each row was tried with; empty unless a comparison chooses."""
        return read_csv(self.folder / "tuning.csv", or_empty=True)

    @property
    def lines(self):
        """Lines of a comparison's tables: task, match, metric, row, seeds, mean, low, high, then the difference to the reference with its interval and p-value, and
        what the row cost. Empty for a sweep."""
        found = []
        for block in self.page.get("blocks", []):
            for line in block["lines"]:
                difference = line["difference"] or {}
                estimates = interval(line["estimate"]) | interval(difference.get("estimate"), "difference")
                cost = {name: line[name] for name in ("parameters", "training_gflop", "seconds", "learning_rate")}
                place = {name: block[name] for name in ("task", "match", "metric")} | {"row": line["name"]}
                found.append(place | estimates | {"p_value": difference.get("p_value")} | cost)
        return pd.DataFrame(found)

    @property
    def runs(self):
        """A row for each run of the study, as `headway.runs` has it."""
        return runs(self.folder / "runs")


def runs(folder="runs"):
    """A row for each run below a folder: where it is, what it trained, how it ended, and what the network scored on the test set.

    A run whose files cannot be read is left out, with a warning.
    """
    found = []
    for path, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        if "run.json" not in files:
            continue
        folders.clear()  # no run stands in another
        try:
            run = Run(path)
            record, experiment = run.record, run.experiment
        except FolderError as error:  # one damaged run must not hide the others
            warnings.warn(str(error), stacklevel=2)
            continue
        row = {"run": path, "run_id": record["run_id"], "seed": run.seed}
        row |= {part: next(iter(experiment[part])) for part in ("task", "model")}
        row |= {"started": pd.to_datetime(record["started"], unit="s", utc=True)}
        row |= {name: record[name] for name in ("status", "step", "seconds", "parameters", "device")}
        scores = record["results"][0]["metrics"] if record["results"] else {}
        found.append(row | {name: value for name, value in scores.items() if "[" not in name})
    return pd.DataFrame(found)


def tables(folder):
    """Every CSV file of a folder that `headway analyze`, `eval --shifts` or a study wrote, by name without the ending."""
    found = {path.stem: read_csv(path) for path in sorted(Path(folder).glob("*.csv"))}
    if not found:
        raise FolderError(f"{folder}: holds no CSV file; `headway analyze … --out {folder}` writes some")
    return found


def network(checkpoint, **options):
    """The forward pass in numpy, for every kind of checkpoint: `network(inputs)`, with `.trace(inputs)` for the patterns too.

    `dtype=numpy.float64` computes with twice the digits. It is a `headway_reference.Model`; what is wrong with a folder is its CheckpointError.
    """
    import headway_reference

    return headway_reference.load(checkpoint, **options)


def module(checkpoint):
    """The checkpoint as a float64 `torch.nn.Module`, whose state dict has the checkpoint's names; `.float()` makes it the size that it was.

    headway_reference.py is numpy alone; the modules are those of check_with_torch.py, which know softmax attention and refuse other kernels and parts by name. For
    anything else `headway export --format pytorch-state-dict` gives the weights, and `network` computes.
    """
    import check_with_torch

    return check_with_torch.load(checkpoint)


def patterns(checkpoint, inputs):
    """Attention patterns, averaged over the batch: a row for each layer, head, query and key, all counted from 0, and the `weight`.

    Inputs are what `headway_reference.Model` takes; `headway eval RUN --save-outputs DIR` writes some. Learned keys (anchors, prefixes) have their place among the keys.
    """
    _, layers = network(checkpoint).trace(inputs)
    found = []
    for layer, pattern in enumerate(layers):
        mean = pattern.mean(axis=0)  # [n_heads, q_len, k_len]
        index = pd.MultiIndex.from_product([[layer], *map(range, mean.shape)], names=["layer", "head", "query", "key"])
        found.append(pd.Series(mean.ravel(), index, name="weight"))
    return pd.concat(found).reset_index()


# ---------------------------------------------------------------------------------------------------------------------
# Files.


def read_text(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}") from error


def read_json(path, wanted):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}; give {wanted}") from error
    except ValueError as error:
        raise FolderError(f"{path}: not JSON ({error})") from error


def read_csv(path, or_empty=False):
    """A table that Headway wrote; numbers keep every digit, an empty cell is NaN, and the `'` before what looks like a formula is gone."""
    if or_empty and not path.is_file():
        return pd.DataFrame()
    try:
        # A row called `NA` is a row; only an empty cell is missing.
        table = pd.read_csv(path, float_precision="round_trip", keep_default_na=False, na_values=[""])
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}") from error
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(unguarded)
    return table.rename(columns=unguarded)


def unguarded(text):
    """`'=1` is `=1`."""
    return text[1:] if isinstance(text, str) and len(text) > 1 and text[0] == "'" and text[1] in FORMULA else text


def number(text):
    """The number that a text is, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def interval(estimate, prefix=""):
    """Mean and ends of the interval of `results.json` as columns, with a prefix before their names."""
    if prefix:
        mean, low, high = prefix, f"{prefix}_low", f"{prefix}_high"
    else:
        mean, low, high = "mean", "low", "high"
    ends = (estimate or {}).get("interval") or (None, None)
    found = {mean: (estimate or {}).get("mean"), low: ends[0], high: ends[1]}
    return found if prefix else {"seeds": (estimate or {}).get("seeds")} | found


def columns_of(lines, first):
    """Names in the order in which they appear."""
    return list(dict.fromkeys([first, *(name for line in lines for name in line)]))


def unreadable(error):
    raise FolderError(f"{error.filename}: {error.strerror}") from error

"""What README.md and docs/ show of the results in docs/results/: tables in Markdown, and numbers in sentences.

A table is a function and a row of TABLES, a number in a sentence a row of FACTS; refresh_docs.py puts them into the pages.
"""

import csv
import json
import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "docs/results"


class Wrong(Exception):
    """A page or a result that does not fit what this file expects."""


def names():
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def result(name):
    try:
        return json.loads((RESULTS / f"{name}.json").read_text())
    except FileNotFoundError:
        raise Wrong(f"no result is called {name}; there are {', '.join(names())}") from None


def values(name, key):
    return result(name)["values"][key]


def printed(name, index):
    """The lines that a command printed, without the rules of its tables."""
    return values(name, f"printed {index}")


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


# Tables


LEAST_SQUARES = {"per_position_least_squares", "flattened_least_squares"}


def means(point, predictor, metric):
    """A predictor's mean score at a point of a sweep."""
    scores = point["means"]
    name = next(name for name in scores if name == predictor or predictor == "least squares" and name in LEAST_SQUARES)
    return scores[name][metric]["mean"]


def law(study):
    found = study["exponents"].get("network")
    return with_interval(found, two_places) if found and found["interval"] else ""


def verdicts(study):
    """`5 of 5`, of the means that could have failed; those that could not are counted apart."""
    told = [check for check in study["checks"] if check["can_tell"] or not check["agrees"]]
    agree = f"{sum(check['agrees'] for check in told)} of {len(told)}"
    outside = [check["at"].replace("n_heads=", "H = ") for check in told if not check["agrees"]]
    wide = len(study["checks"]) - len(told)
    return agree + (f", not {', '.join(outside)}" if outside else "") + (f"; {wide} cannot tell" if wide else "")


def duration(made):
    seconds = made["measured"]["seconds"]
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
        for match in [block["match"] for block in study["blocks"] if block["task"] == task]:
            lines = lines_of(study, task, match)
            alone, ffn = lines["attention-only"], lines["with feed-forward"]
            difference = ffn["difference"]
            cells = [with_interval(line["estimate"]) for line in (alone, ffn)]
            if judged(ffn)[0] == "finding":
                best = (difference["estimate"]["mean"] < 0) != is_accuracy
                mean, interval = cells[best].split(" ", 1)
                cells[best] = f"**{mean}** {interval}"
            rows.append(
                [
                    label if match == "parameters" else "",
                    {"parameters": "parameters", "flops": "FLOPs"}[match],
                    f"{cells[0]}, at {rate(alone)}",
                    f"{cells[1]}, at {rate(ffn)}",
                    digits(difference["estimate"]["mean"]),
                    judged(ffn)[1],
                    f"{judged(ffn)[0]}, {difference['estimate']['seeds']} seeds",
                ]
            )
    header = ["task, score", "at equal", "attention-only", "with feed-forward", "difference", "interval that decides", "verdict"]
    return table(header, rows)


def judged(line):
    """The verdict on a row's difference to the reference, and the interval that it rests on."""
    decision = line["judged"]["decision"]
    ends = decision["interval"]
    return decision["verdict"], f"[{digits(ends[0])}, {digits(ends[1])}]" if ends else ""


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


def on_h100():
    header = ["", "Headway then", "PyTorch eager, f32, better attention", "SDPA, tf32", "SDPA, bf16", "whole step in a CUDA graph, f32"]
    return table(header, values("gpu-h100", "steps"))


def robust_mean():
    shown = {
        "attention-only": "attention alone",
        "with feed-forward": "with feed-forward blocks",
        "l1": "`l1`",
        "two_timescale_l1": "`two_timescale_l1`",
        "geometric_median": "`geometric_median`",
        "trimmed_mean": "`trimmed_mean`",
        "least_squares": "`least_squares`",
        "mean": "`mean`, the mean μ of training",
    }
    lines = lines_of(values("compare-robust-mean", "study"))

    def cost(line):
        return [f"{line['parameters']:,.0f}", f"{line['seconds']:.0f} s"] if line["parameters"] else ["", ""]

    rows = [[label, with_interval(lines[name]["estimate"]), *cost(lines[name])] for name, label in shown.items()]
    return table(["estimate", "distance from μ", "parameters", "training"], rows)


def language():
    def row(name, *scores, strong=False):
        bits, shares = [", ".join(cells) for cells in zip(*[(f"{bits:.{3 if len(scores) == 1 else 2}f}", percent(share, len(scores) == 1)) for bits, share in scores])]
        return [name, f"**{bits}**" if strong else bits, shares]

    def percent(share, exact):
        return f"{100 * share:.{1 if exact else 0}f} %"

    of = result("language")["values"]
    mixed, longer = of["feed-forward"], of["one hour"]
    return table(
        ["predictor", "bits per character", "accuracy"],
        [
            row("n-grams that see 0 … 5 characters", *of["n-grams"]),
            row("the last of them, with `stride = 32`", of["n-gram, stride 32"]),
            row(f"four layers of attention alone, {of['parameters']:,} parameters", of["network"], strong=True),
            row("the same network, with `stride = 32`", of["network, stride 32"], strong=True),
            row("the same network, with `seq_len = 256`, twice the length of its training", of["network, windows of 256"]),
            row("the same, trained for an hour of one core instead of twelve minutes", longer["network"], strong=True),
            row("the network of that hour, with `stride = 32`", longer["stride 32"], strong=True),
            row("the network of that hour, with `seq_len = 256`", longer["windows of 256"]),
            row(f"four layers with feed-forward blocks, {mixed['parameters']:,} parameters", mixed["network"], strong=True),
            row("the same network, with `stride = 32`", mixed["stride 32"], strong=True),
            row("the same network, with `seq_len = 256`", mixed["windows of 256"]),
        ],
    )


def swap():
    of = values("swap", "swap")
    tuned = {mean["kernel"]: mean["back"] for tried in ("back", "favor") for mean in values("swap", tried)["means"]}

    def steps(label):
        back = tuned.get(label)
        return "" if back is None else f"more than {back['steps']:,}" if back["reached"] is None else f"{back['reached']:,}"

    own = of["swap"]["softmax"]["metrics"]["test/loss"]
    return table(
        ["kernel", "test loss", "total variation", "relative Frobenius", "FLOPs", "steps back"],
        [["`softmax`", digits(own), "0", "0", "1", ""]]
        + [
            [
                f"`{mean['kernel']}`",
                with_interval(mean["scores"]["test/loss"]),
                with_interval(mean["total_variation"]),
                with_interval(mean["frobenius"]),
                digits(mean["flops"]),
                steps(mean["kernel"]),
            ]
            for mean in of["means"]
        ],
    )


def proteins():
    made = values("checkpoints", "proteins")
    rows = [("four layers of attention alone by FAVOR+, 272,666 parameters", made["metrics"])]
    labels = {"residue_frequencies": "residue frequencies", "neighbours": "neighbours"}
    rows += [(labels[row["name"]], row["metrics"]) for row in made["baselines"]]
    parts = ("test", "relatives")
    return table(
        ["predictor", *(f"nats, `{part}`" for part in parts), *(f"accuracy, `{part}`" for part in parts)],
        [
            [name, *(f"{of[f'test/loss[{part}]']:.3f}" for part in parts), *(f"{100 * of[f'test/accuracy[{part}]']:.1f} %" for part in parts)]
            for name, of in rows
        ],
    )


def linear_cost():
    of = {(row["attention_kernel"], row["attention_length"]): row for row in values("linear-cost", "bench")}
    lengths = sorted({length for _, length in of})

    def row(label, kernel, key, shown):
        return [label, *(shown(of[kernel, length][key]) for length in lengths)]

    return table(
        ["one thread", *(f"{length:,}" for length in lengths)],
        [
            row("softmax, ms", "softmax", "ms_per_step", lambda value: f"{value:,.0f}"),
            row("FAVOR+, ms", "favor", "ms_per_step", lambda value: f"{value:,.0f}"),
            row("softmax, MB", "softmax", "peak_mb", lambda value: f"{value:,.0f}"),
            row("FAVOR+, MB", "favor", "peak_mb", lambda value: f"{value:,.0f}"),
        ],
    )


def linear_lengths():
    of = {(row["attention_kernel"], row["attention_length"]): row for row in values("linear-lengths", "bench") if row["threads"] == 2}
    lengths = [512, 4096, 16384, 65536]

    def cell(kernel, length):
        row = of.get((kernel, length))
        return f"{row['ms_per_step']:,.1f} ms, {row['peak_mb']:,.0f} MB" if row else ""

    def power(kernel):
        [of] = [row for row in values("linear-lengths", "growth") if (row["kernel"], row["quantity"], row["threads"]) == (kernel, "time", 1)]
        return f"{of['exponent']:.2f} [{of['interval'][0]:.2f}, {of['interval'][1]:.2f}]"

    labels = {"softmax": "softmax", "favor": "FAVOR+, 256 features", "combiner": "Combiner"}
    return table(
        ["two threads", *(f"{length:,}" for length in lengths), "time grows by the power, one thread"],
        [[label, *(cell(kernel, length) for length in lengths), power(kernel)] for kernel, label in labels.items()],
    )


def image(data=None):
    of = result("image")["values"]
    of = of[data] if data else of

    def row(name, runs, strong=False):
        mse, psnr, mae = ([run[score] for run in runs] for score in ("mse", "psnr", "mae"))
        cells = [f"{mean(scores):.{places}f}" for scores, places in ((mse, 4), (psnr, 2), (mae, 4))]
        if len(runs) > 1:
            cells[0] += f" ({min(mse):.4f} … {max(mse):.4f})"
        return [name, f"**{cells[0]}**" if strong else cells[0], *cells[1:]]

    mean = lambda scores: sum(scores) / len(scores)
    is_ahead = mean([run["mse"] for run in of["network"]]) < of["ridge"][0]["mse"]
    return table(
        ["predictor", "mean squared error", "PSNR, dB", "mean absolute error"],
        [
            row("the mean picture", of["mean_picture"]),
            row("the nearest picture by what is visible", of["nearest_picture"]),
            row("ridge from what is visible", of["ridge"], strong=not is_ahead),
            row(f"four layers of attention, and the attention-aware one, {of['parameters']:,} parameters", of["network"], strong=is_ahead),
        ],
    )


def compared(name, score, reference):
    """The lines of a comparison with one block, against its reference."""
    rows = []
    for line in values(name, "study")["blocks"][0]["lines"]:
        difference = line["difference"]
        is_network = line["parameters"] is not None
        rows.append([
            line["name"].replace("_", " "),
            with_interval(line["estimate"]) if is_network else digits(line["estimate"]["mean"]),
            with_interval(difference["estimate"]) if difference and is_network else "",
            f"{line['parameters']:,.0f}" if is_network else "",
        ])
    return table(["row", score, f"difference to {reference}", "parameters"], rows)


def path_scores():
    """Accuracy of paths of each length, alone and with all shorter ones."""
    sort, hull = (values("rank-paths", task)["lengths"] for task in ("sort", "hull"))
    share = lambda reading: f"{100 * reading['quality']:.1f} %" if reading else ""
    rows = [
        [str(one["heads"]), *(cell for length in (one, other) for cell in (f"{length['paths']:,.0f}", share(length["alone"]), share(length["up_to"])))]
        for one, other in zip(sort, hull)
    ]
    header = ["heads", "sorting: paths", "alone", "up to", "hulls: paths", "alone", "up to"]
    return table(header, rows)


def limits():
    """Scores of the tasks of the limits, row by row, with the best classical predictor."""
    rows = []
    for block in values("limits", "study")["blocks"]:
        metric = block["metric"].removeprefix("test/")
        for line in block["lines"]:
            if line["estimate"]:
                rows.append([block["task"], metric, line["name"].replace("_", " "), with_interval(line["estimate"])])
    return table(["task", "score", "row", "mean [95 %]"], rows)


def without_skips():
    """Accuracies of the tasks of rank collapse, row by row."""
    blocks = values("rank-skips", "study")["blocks"]
    names = [line["name"] for line in blocks[0]["lines"]]
    cell = lambda block, name: next((with_interval(line["estimate"]) for line in block["lines"] if line["name"] == name and line["estimate"]), "")
    return table(["row", *(f"{block['task']}, accuracy" for block in blocks)], [[name.replace("_", " "), *(cell(block, name) for block in blocks)] for name in names])


def language_lengths():
    of = result("language")["values"]["lengths"]
    rows = [
        ("ALiBi, 450 steps", "alibi"),
        ("rotary positions, 450 steps", "rope"),
        ("rotary positions, the network of the table above", "network"),
        ("n-gram that sees 5 characters", "n-gram"),
    ]
    return table(
        ["`task.seq_len`", *(f"{length:,}" for length in of["seq_len"])],
        [[label, *(f"{bits:.2f}" for bits in of[name])] for label, name in rows],
    )


def forecast():
    study = values("forecast", "study")
    blocks = [lines_of(study, task) for task in ("24 hours", "96 hours")]
    labels = {
        "mean": "mean of the training part",
        "last_value": "last value",
        "seasonal": "same hour of the day before",
        "ridge": "ridge, one for all channels",
        "ridge_per_channel": "ridge, one for each channel",
    }
    rows = []
    for name in blocks[0]:
        cells = [with_interval(lines[name]["estimate"]) for lines in blocks]
        if name in labels:
            # The same windows for every seed.
            cells = [digits(lines[name]["estimate"]["mean"]) for lines in blocks]
        rows.append([labels.get(name, name), *cells])
    return table(["mean squared error, in squared deviations", "next 24 hours", "next 96 hours"], rows)


def activity():
    labels = {
        "mean": "`pool = \"mean\"`",
        "second order, plain": "second order, γ = 1",
        "second order, power 0.5": "second order, γ = 0.5",
        "third order, plain": "third order, γ = 1",
        "third order, power 0.5": "third order, γ = 0.5",
        "ridge_on_summaries": "ridge on 30 summaries",
        "nearest_summary": "nearest neighbour by the summaries",
        "most_frequent": "most frequent class",
    }
    rows = []
    for line in values("activity", "study")["blocks"][0]["lines"]:
        mean, ends = line["estimate"]["mean"], line["estimate"]["interval"]
        is_network = line["parameters"] is not None
        accuracy = f"{100 * mean:.1f}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if is_network else "")
        parameters = f"{line['parameters']:,.0f}" if is_network else ""
        rows.append([labels[line["name"]], accuracy, parameters])
    return table(["predictor", "accuracy, %", "parameters"], rows)


def decided():
    rows = []
    for block in values("compare-depth", "study")["blocks"]:
        line = lines_of({"blocks": [block]})["attention alone"]
        decision = line["judged"]["decision"]
        size = ", ".join(f"`{key.split('.')[-1]}` = {value}" for key, value in filter(None, [line["searched"], line["solved"]]))
        expected = f", {decision['still_expected']} more seeds expected" if decision["still_expected"] else ""
        ends = decision["interval"]
        rows.append([
            f"equal {block['match']}" + (f": {size}" if size else ""),
            str(line["difference"]["estimate"]["seeds"]),
            digits(line["difference"]["estimate"]["mean"]),
            f"[{digits(ends[0])}, {digits(ends[1])}]",
            decision["verdict"] + expected,
        ])
    return table(["attention alone", "seeds", "difference to feed-forward, `test/mse`", "interval that decides", "verdict"], rows)


def claims(name):
    """The claims of a comparison, and what its runs say about them."""
    rows = []
    for made in values(name, "study")["claims"]:
        judgement = made["judgement"]
        decision, (first, second) = judgement["decision"], judgement["rows"]
        ends = decision["interval"]
        ahead = digits(judgement["ahead"]) if judgement["ahead"] is not None else ""
        if judgement["second_diverged"]:
            ahead = f"{second} diverged"
        rows.append([
            made["claim"]["name"],
            made["comparison"],
            f"{first} / {second}",
            ahead + (f" [{digits(ends[0])}, {digits(ends[1])}]" if ends and not judgement["second_diverged"] else ""),
            digits(decision["floor"]) if decision["floor"] is not None else "",
            judgement["agreement"],
        ])
    return table(["claim", "comparison", "rows", "ahead [95 %]", "margin", "verdict"], rows)


def rival():
    """Scores by family: both networks, then the best classical predictor."""
    rows = []
    for block in values("rival", "study")["blocks"]:
        lines = {line["name"]: line for line in block["lines"]}
        ours, theirs = (with_interval(lines[name]["estimate"]) for name in ("attention alone", "with feed-forward"))
        classical = min((line for line in lines.values() if line["parameters"] is None), key=lambda line: line["estimate"]["mean"])
        best = f"{classical['name'].replace('_', ' ')}: {digits(classical['estimate']['mean'])}"
        [agreement] = [made["judgement"]["agreement"] for made in values("rival", "study")["claims"] if made["comparison"].startswith(block["task"] + ",")]
        rows.append([block["task"], ours, theirs, best, agreement])
    return table(["family", "attention alone", "with feed-forward", "best classical predictor", "attention alone is ahead"], rows)


def emulation():
    """Squared errors of trained attention layers by what they emulate, beside the algorithms themselves; of one seed."""
    scores = {}
    for group, predictor, _, metric, value in csv.reader(printed("interpreter-emulation", 1)[1:]):
        task, network = group.rsplit(": ", 1)
        if metric.startswith("test/mse"):
            part = f": {metric[9:-1]}" if "[" in metric else ""
            scores.setdefault(task + part, {})[network if predictor == "network" else predictor] = float(value)
    names = ["one head", "six heads", "one head, no learned tokens", "exact", "per_position_least_squares", "mean"]
    heads = ["squared error", *names[:3], "the algorithm itself", "least squares, row by row", "the mean"]
    return table(heads, [[task, *(digits(of[name]) if name in of else "" for name in names)] for task, of in scores.items()])


def position_lengths():
    groups = values("compare-positions", "study")["groups"]
    lengths = ["test/bits_per_character", *(f"test_{times}x/bits_per_character" for times in (2, 4, 8, 16))]
    rows = {group["name"].split(": ")[-1]: group["means"]["network"] for group in groups}
    rows["n-gram that sees 5 characters"] = groups[0]["means"]["n_gram_5"]
    return table(
        ["bits per character, windows of", *(f"{64 * times:,}" for times in (1, 2, 4, 8, 16))],
        [[name if "n-gram" in name else f"`{name}`", *(with_interval(of[length], two_places) for length in lengths)] for name, of in rows.items()],
    )


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


def covered(proof):
    if not proof:
        return "by formula"
    return f"{proof['boxes']:,} boxes" if "boxes" in proof else f"{proof['steps']} inequalities"


def proofs():
    """Certificates of `--prove`: what was seen, what is proved, and what no values of the anchors could do better than."""
    rows = []
    for name, certificate in result("theory-proofs")["values"].items():
        if name.startswith("printed"):
            continue
        least = re.search(r"no values have an error below (\S+)", certificate["temperature"]["reason"])
        proof = certificate.get("proof")
        numbers = [proof["seen"] if proof and "seen" in proof else certificate["float64"]["error"], certificate["bound"]["value"], certificate["rounding"]["value"], certificate["float32"]["error"]]
        rows.append([name, *map(digits, numbers), digits(float(least[1])) if least else "", covered(proof)])
    header = ["", "error seen", "proved, exact", "float32 adds at most", "measured in float32", "no values below", "proof"]
    return table(header, rows)


def compiled_formulas():
    """Sizes of compiled formulas against the tolerance."""
    rows = []
    for name, certificate in result("theory-formula")["values"].items():
        if name.startswith("printed"):
            continue
        formula, tolerance = name.rsplit(", ", 1)
        sizes = [str(int(certificate["sizes"][size])) for size in ("layers", "heads", "anchors")]
        numbers = [certificate["bound"]["value"], certificate["rounding"]["value"], certificate["float32"]["error"]]
        formula = formula.replace("*", "\\*")
        rows.append([formula, tolerance, *sizes, f"{certificate['parameters']:,}", *map(digits, numbers)])
    header = ["formula, numbers in [−1, 1]", "tolerance", "layers", "heads", "anchors", "parameters", "bound", "float32 adds at most", "largest error found"]
    return table(header, rows)


def sizes_against_tolerance():
    """Parameters of every construction and of other networks, by tolerance."""
    rows, names = values("theory-sizes", "rows")["rows"], {}
    for row in rows:
        names.setdefault(row["id"], []).append(row)
    shown = {"refused": "refused", "planned": " (planned)"}

    def parameters(row):
        if row["parameters"] is None:
            return shown[row["how"]]
        count = row["parameters"]
        return (f"{count:,.0f}" if count < 1e9 else digits(count)) + (shown["planned"] if row["how"] == "planned" else "")

    yes = lambda value: "" if value is None else "yes" if value else "no"  # noqa: E731
    tolerances = sorted({row["tolerance"] for row in rows}, reverse=True)
    header = ["network", "target", "token-wise", "causal", *(f"ε = {tolerance:g}" for tolerance in tolerances)]
    target, lines = None, []
    for name, found in names.items():
        known = next((row for row in found if row["token_wise"] is not None), found[0])
        same, target = found[0]["target"] == target, found[0]["target"]
        lines.append([name, "" if same else target, yes(known["token_wise"]), yes(known["causal"]), *map(parameters, found)])
    return table(header, lines)


def sizes_at_a_hundredth():
    """What parameters are made of, at one tolerance."""
    rows = []
    for row in values("theory-sizes", "rows")["rows"]:
        if row["tolerance"] == 0.01 and row["layers"] is not None:
            counts = [f"{row[key]:,.0f}" if row[key] is not None else "" for key in ("length", "width", "heads", "layers", "parameters")]
            reals = [digits(row[key]) if row[key] is not None else "" for key in ("largest_weight", "beta")]
            rows.append([row["id"], *counts, *reals])
    return table(["network, ε = 0.01", "length", "width", "heads", "layers", "parameters", "largest weight", "β"], rows)


def accuracies():
    """What strategies prove of networks that name the largest token, beside trying every word."""
    rows = []
    for name, found in result("accuracy")["values"].items():
        left = lambda proved: f"all but {proved['of'] - proved['words']:,.0f}"  # noqa: E731
        cost = lambda proved: f"{left(proved)}: {digits(proved['operations'], 2)}, {digits(proved['seconds'], 2)} s"  # noqa: E731
        by_name = {proved["name"]: proved for proved in found["proved"]}
        cells = [cost(by_name[key]) for key in ("ranges", "mixtures", "bounded mixtures", "every word")]
        rows.append([name.replace("-", " "), f"{found['vocab']}^{found['k']}", *cells])
    header = ["network", "words", "ranges", "mixtures", "bounded mixtures", "every word"]
    return table(header, rows)


def worst_boxes():
    """Bounds on the largest error and test errors after training on, with examples from the worst boxes and without."""
    rows = []
    for key, what in [("first", "1,500 steps"), ("more", "1,500 more"), ("fed", "1,500 more, half of the examples from the worst boxes")]:
        bounds = [values("worst-boxes", f"{key} {seed}") for seed in range(3)]
        errors = [values("worst-boxes", f"{key} {seed} trained")["metrics"]["test/mse"] for seed in range(3)]
        rows.append([what, ", ".join(f"{digits(found['lower'])} to {digits(found['upper'])}" for found in bounds), ", ".join(map(digits, errors))])
    return table(["training", "largest error, seeds 0, 1, 2", "test mean square error"], rows)


def statistical_models(name="theory-statistical-models", sizes=("delta", "δ")):
    """Certificates of algorithms in context."""
    rows = []
    for name, certificate in result(name)["values"].items():
        if name.startswith("printed"):
            continue
        numbers = [certificate["bound"]["value"], certificate["rounding"]["value"], certificate["float32"]["error"]]
        layers, parameters = int(certificate["sizes"]["layers"]), f"{certificate['parameters']:,}"
        size = certificate["sizes"][sizes[0]]
        rows.append([name, layers, parameters, f"{size:g}" if sizes[0] == "p" else digits(size), *map(digits, numbers), certificate["float32"]["worst_kind"]])
    header = ["model", "layers", "parameters", sizes[1], "bound", "float32 adds at most", "largest error found", "at"]
    return table(header, rows)


def compiled_programs():
    """Sizes of the programs that ship, and the largest error at any word."""
    rows = []
    for name, certificate in result("theory-programs")["values"].items():
        if name.startswith("printed"):
            continue
        sizes = [str(int(certificate["sizes"][size])) for size in ("positions", "layers", "heads", "gates")]
        tried = certificate["tried"]
        words = f"all {tried['words']:,}" if tried["all"] else f"{tried['words']:,} of {digits(tried['of'])}"
        bound = certificate["bound"]["value"] + certificate["rounding"]["value"]
        what = certificate["target"].split(": ", 1)[1]
        numbers = [bound, certificate["float32"]["error"]]
        rows.append([f"`{name}`", what, *sizes, f"{certificate['parameters']:,}", words, *map(digits, numbers)])
    header = ["program", "returns", "positions", "layers", "heads", "of them gates", "parameters", "words tried", "bound, float32", "largest error"]
    return table(header, rows)


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
            "`austen`",
            "attention-only transformer, 4 layers, 6 heads, d_model 192, rotary positions",
            "the next character of a novel, after 127",
            "626,257",
            f"{score('austen', 'network', 'test/bits_per_character'):.3f} bits per character "
            f"(n-gram that sees 5 characters {score('austen', 'n_gram_5', 'test/bits_per_character'):.3f})",
        ],
        [
            "`nyc`",
            "csformer, 2 layers, 4 heads, d_model 32",
            "the next 24 hours of 33 series, from 96",
            "29,464",
            f"squared error {score('nyc', 'network', 'test/loss'):.3f} in squared deviations (ridge {score('nyc', 'ridge', 'test/loss'):.3f}, "
            f"ridge for each series {score('nyc', 'ridge_per_channel', 'test/loss'):.3f}, last value {score('nyc', 'last_value', 'test/loss'):.3f})",
        ],
        [
            "`proteins`",
            "attention-only transformer with FAVOR+, 4 layers, 4 heads, d_model 128",
            "hidden residues of proteins, from 64",
            "272,666",
            f"{score('proteins', 'network', 'test/loss[test]'):.3f} nats among strangers and {score('proteins', 'network', 'test/loss[relatives]'):.3f} "
            f"among relatives (residue frequencies {score('proteins', 'residue_frequencies', 'test/loss[test]'):.3f} and "
            f"{score('proteins', 'residue_frequencies', 'test/loss[relatives]'):.3f}, neighbours {score('proteins', 'neighbours', 'test/loss[test]'):.3f} and "
            f"{score('proteins', 'neighbours', 'test/loss[relatives]'):.3f})",
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


TABLES = {
    "reproductions": reproductions,
    "converged": converged,
    "compare-ffn": compare_ffn,
    "compare-finetune": compare_finetune,
    "results": results,
    "checkpoints": checkpoints,
    "finetune-noisy": finetune_noisy,
    "training-steps": training_steps,
    "gpu-h100": on_h100,
    "image": image,
    "compare-image": lambda: compared("compare-image", "PSNR, dB", "plain"),
    "compare-language": lambda: compared("compare-language", "bits per character", "attention-only"),
    "compare-proteins": lambda: compared("compare-proteins", "nats, both parts", "favor"),
    "image-photos": lambda: image("photos"),
    "image-textures": lambda: image("textures"),
    "language": language,
    "proteins": proteins,
    "linear-cost": linear_cost,
    "swap": swap,
    "language-lengths": language_lengths,
    "forecast": forecast,
    "robust-mean": robust_mean,
    "decided": decided,
    "san": lambda: claims("san"),
    "rival": rival,
    "interpreter-emulation": emulation,
    "interpreter-claims": lambda: claims("interpreter-emulation"),
    "activity": activity,
    "linear-lengths": linear_lengths,
    "position-lengths": position_lengths,
    "theory-accuracy": accuracies,
    "theory-formula": compiled_formulas,
    "worst-boxes": worst_boxes,
    "theory-programs": compiled_programs,
    "theory-proofs": proofs,
    "theory-rates": rates,
    "theory-sizes": sizes_against_tolerance,
    "theory-sizes-parts": sizes_at_a_hundredth,
    "theory-interpreter": lambda: statistical_models("theory-interpreter"),
    "theory-network-descent": lambda: statistical_models("theory-network-descent"),
    "theory-kernel-ridge": lambda: statistical_models("theory-kernel-ridge", ("p", "p")),
    "theory-statistical-models": statistical_models,
    "in-context": in_context,
    "rank-collapse": rank_collapse,
    "limits": lambda: claims("limits"),
    "limits-scores": limits,
    "rank-paths": path_scores,
    "rank-skips": without_skips,
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


def printed_number(name, index, label):
    """The first number on the line of a certificate that begins with this label."""
    return digits(float(next(line for line in printed(name, index) if line.startswith(f"{label} ")).split()[1]))


def agreeing():
    """How many means of the paper's experiments agree with the authors', of those that could disagree, and how many could not."""
    checks = [check for name in names() if name.startswith("reproduce-") for check in values(name, "study")["checks"]]
    told = [check for check in checks if check["can_tell"] or not check["agrees"]]
    return sum(check["agrees"] for check in told), len(told), len(checks) - len(told)


FACTS = {
    "proteins.blosum62": lambda: f"{values('proteins', 'embedding')['known']['correlation']:.2f}",
    "clamp.bound": lambda: printed_number("clamp-starts", 0, "bound"),
    "clamp-hard.bound": lambda: printed_number("clamp-starts", 1, "bound"),
    "relu-network.bound": lambda: printed_number("theory-relu-network", 0, "bound"),
    "relu-network.float32": lambda: printed_number("theory-relu-network", 0, "float32"),
    "noisy.before": lambda: digits(mse("finetune-noisy", "before")),
    "noisy.tuned": lambda: digits(mse("finetune-noisy", "tuned")),
    "noisy.scratch": lambda: digits(mse("finetune-noisy", "scratch")),
    "noisy.ridge": lambda: digits(mse("finetune-noisy", "before", "ridge")),
    "sparse.before": lambda: digits(mse("compare-finetune", "before")),
    "sparse.least-squares": lambda: digits(lines_of(values("compare-finetune", "study"))["least_squares"]["estimate"]["mean"]),
    "decided.p": lambda: digits(lines_of(values("compare-depth", "study"), match="parameters")["attention alone"]["difference"]["p_value"]),
    "regression.attention-only": lambda: regression("attention-only"),
    "regression.feed-forward": lambda: regression("with feed-forward"),
    "regression.verdict": lambda: "{0}, difference {2} {1}".format(
        *judged(lines_of(values("compare-ffn", "study"), "regression, d = 5", "parameters")["with feed-forward"]),
        digits(lines_of(values("compare-ffn", "study"), "regression, d = 5", "parameters")["with feed-forward"]["difference"]["estimate"]["mean"]),
    ),
    "regression.ridge": lambda: regression("ridge"),
    "regression.descent": lambda: regression("gradient_descent"),
    "regression.averaging": lambda: regression("averaging"),
    "mqar.solved": lambda: WORDS[len(recalled())],
    "mqar.guessing": lambda: digits(lines_of(values("compare-ffn", "study"), "MQAR", "parameters")["seen_in_context"]["estimate"]["mean"]),
    "reproduced.agree": lambda: "{} of {}".format(*agreeing()),
    "reproduced.unknown": lambda: WORDS[agreeing()[2]],
    "anchors.60": lambda: seeds_below("reproduce-anchors", 60, 0.03),
    "anchors.70": lambda: seeds_below("reproduce-anchors", 70, 0.03),
    "converged.5000": lambda: law(values("converged-seq2seq-heads-5000", "study")),
    "converged.two-layers": lambda: f"{max(times_better('converged-seq2seq-heads')):.0f}",
    "converged.one-layer": lambda: "{:.0f} to {:.0f}".format(
        *(end(ratio for name in ("heads", "anchors", "range") for ratio in times_better(f"converged-{name}")) for end in (min, max))
    ),
}

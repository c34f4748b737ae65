#!/usr/bin/env python3
"""Check a constructed checkpoint's certificate with numpy alone: target, error, bound and rounding, each computed anew.

`headway construct` writes beside the weights what it claims, and the points at which its model was farthest from the target:

    certificate.json      what was proved and measured
    hardest.safetensors   inputs [points, seq_len, d_in], targets [points, seq_len, d_out], scored [seq_len]
    train.toml            the task: formulas, a table, forms, a network, or a regression

Nothing of that is taken on trust. What the certificate says in words of target and domain is compared with the task. The target is computed
from the task, or, where a task drew its numbers from a seed, from what the weights say that they compute; it is compared with the stored one,
and the network with it, at the stored points, at random ones and in corners. Bound and rounding are derived from sizes and temperatures
read off the weights, and from slopes of the formula bounded over boxes; a claim below what follows is refused, and so is a single term of the
rounding. This script shares no code with Headway. What it is made of:

    certificate_folder.py     the folder, its target, its words, what its weights say
    certificate_bounds.py     bounds in exact arithmetic
    certificate_rounding.py   what float32 adds
    certificate_formula.py    both, of a compiled formula
    certificate_program.py    a compiled program, tried on all words, and its ground truth
    certificate_descent.py    both, of gradient descent in context
    certificate_kernel.py     both, of kernel ridge regression in context
    certificate_network.py    both, of the training of a network in its prompt
    certificate_interpreter.py  all of it, of one network that executes the algorithms of its prompts
    certificate_anchors.py    attention to anchors
    check_proof.py            a proof over boxes, with a chain or without, instead of both, or a chain of inequalities beside them, of `--prove`
    formulas.py               formulas over boxes, with derivatives
    headway_reference.py      the network

Needs Python 3.11 and numpy 1.24 or newer.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np

import certificate_program
import check_proof
import formulas
import headway_reference as reference
from certificate_bounds import SLACK, bound_of
from certificate_folder import ROUNDOFF, Folder, Problem, check, check_points, check_texts, misses_of_samples, target, target_of_weights
from certificate_interpreter import Interpreter
from certificate_rounding import check_rounding
from proof_formulas import told


def verify(path):
    """Lines about a folder; raises Problem where something is not as claimed."""
    folder = Folder(path)
    if folder.kind == "in_context_algorithm":
        folder.interpreter = Interpreter(folder)
    certificate = folder.certificate
    bound, rounding = folder.claimed()
    for part in ("bound", "rounding"):
        terms = [term["value"] for term in certificate[part]["terms"]]
        check(all(value >= 0 for value in terms), f"a term of the {part} is negative")
        check(math.isclose(sum(terms), certificate[part]["value"], rel_tol=1e-9, abs_tol=1e-300), f"the terms of the {part} do not add up")
    bases = {term.get("basis", "proved") for term in certificate["bound"]["terms"]}
    check(certificate["holds"] and "measured" not in bases, "NOT CERTIFIED: the bound rests on what was measured at points")
    verdict = "given" if "given" in bases else "proved"
    check(certificate.get("verdict", verdict) == verdict, f"the verdict is said to be `{certificate.get('verdict')}`, not `{verdict}`")
    check(bound + rounding <= certificate["tolerance"] * (1 + 1e-9), "the bound is beyond the tolerance")
    if folder.kind == "program":
        return list(certificate_program.verify(folder))
    check_texts(folder)
    check_points(folder)
    lines = [f"ok   words: {certificate['target']}; {certificate['domain']}"]
    is_proved_by_boxes = "boxes" in certificate.get("proof", {})
    if "proof" in certificate:
        lines.append(check_proof.verify(path))
    if is_proved_by_boxes:
        from_rounding = rounding
    else:
        from_rounding = check_rounding(folder)
        lines.append(f"ok   rounding: {rounding:.4g} claimed, {from_rounding:.4g} follows")
    scored = folder.points["scored"] > 0
    x = folder.inputs()
    wanted, source = target(folder, x), "from the task"
    if wanted is None:
        wanted, source = target_of_weights(folder, x), "drawn from a seed, read off the weights"
    stored = folder.points["targets"].astype(float)
    # Targets are stored in float32, and so are the weights.
    slack = ROUNDOFF * np.abs(stored) + (1e-12 if source == "from the task" else from_rounding)
    off = np.abs(stored - wanted[: len(stored)])[:, scored]
    check((off <= slack[:, scored] + 1e-300).all(), f"stored targets are off by {off.max():.4g} from those of the task")
    lines.append(f"ok   target: {source}, {len(x)} points")
    if "norm" in certificate:
        return [*lines, *check_mean(folder), *on_trust(folder)]
    for dtype, model in folder.models.items():
        errors = np.abs(model(x).astype(float) - wanted)[:, scored].reshape(len(x), -1).max(axis=1)
        error, stated = errors.max(), certificate["float32"]["error"]
        allowed = bound + rounding + ROUNDOFF * np.abs(wanted).max()
        check(error <= allowed, f"{np.dtype(dtype)}: an error of {error:.4g} is beyond {allowed:.4g}")
        # Another device rounds otherwise.
        shown = errors[: len(stored)].max()
        said = f"{np.dtype(dtype)}: the largest error is said to be {stated:.4g}, but a stored point shows {shown:.4g}"
        check(shown <= stated + 2 * rounding, said)
        lines.append(f"ok   {np.dtype(dtype)}: largest error {error:.4g}, bound with rounding {allowed:.4g}")
    if is_proved_by_boxes:
        return [*lines, *on_trust(folder)]
    follows = bound_of(folder)
    check(bound >= follows * (1 - SLACK) - 1e-12, f"a bound of {bound:.4g} is claimed where {follows:.4g} follows")
    lines.append(f"ok   bound: {bound:.4g} claimed, {follows:.4g} follows")
    return [*lines, *on_trust(folder)]


def check_mean(folder, count=4096):
    """Lines about errors in the mean, measured anew at points of this script's own."""
    power, (bound, rounding) = folder.certificate["norm"], folder.claimed()
    follows = bound_of(folder)
    check(bound >= follows * (1 - SLACK) - 1e-12, f"a bound of {bound:.4g} in the mean is claimed where {follows:.4g} follows")
    yield f"ok   bound: {bound:.4g} claimed in the mean, p = {power:g}; {follows:.4g} follows"
    low, high = folder.ends()
    x = np.random.default_rng(7).uniform(low, high, size=(count, len(low))).astype(np.float32).reshape(count, folder.n, folder.d_in)
    wanted = target(folder, x)
    for dtype, model in folder.models.items():
        powers = (np.abs(model(x).astype(float) - wanted).max(axis=-1) ** power).mean(axis=-1)
        error, stray = powers.mean(), 4 * powers.std() / math.sqrt(count)
        check(error - stray <= (bound + rounding) ** power, f"{np.dtype(dtype)}: an error of {error ** (1 / power):.4g} in the mean is beyond the bound")
        stated = folder.certificate["float32"]["error"] ** power
        check(abs(error - stated) <= 2 * stray, f"{np.dtype(dtype)}: an error of {error ** (1 / power):.4g} in the mean, but {stated ** (1 / power):.4g} is said")
        yield f"ok   {np.dtype(dtype)}: error {error ** (1 / power):.4g} in the mean, bound with rounding {bound + rounding:.4g}"


def on_trust(folder):
    """What nothing in the folder can confirm."""
    if "rounding_likely" in folder.certificate:
        yield "ON TRUST rounding_likely: not a bound but a likely value, and not derived here"
    if misses_of_samples(folder):
        yield "ON TRUST how far the network is off at samples: they are not in the folder, and no part of the bound"
    if "given" in {term.get("basis") for term in folder.certificate["bound"]["terms"]}:
        yield "ON TRUST constants that were given: not refuted by the formula, and not proved by it"


def main():
    parser = argparse.ArgumentParser(
        description="Check a constructed checkpoint's certificate with numpy alone, in float32 and in float64.",
        epilog="Exit code 0 when target, errors, bound and rounding are as claimed, 1 when one is not or the folder holds no certificate. "
        "Lines that begin with ON TRUST name what nothing in the folder can confirm.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder that `headway construct` wrote")
    args = parser.parse_args()
    try:
        print("\n".join(verify(args.checkpoint)))
    except (Problem, check_proof.Problem) as problem:
        sys.exit(f"FAIL {problem}")
    except (OSError, KeyError, ValueError, TypeError, formulas.FormulaError, reference.CheckpointError, reference.InputError) as problem:
        sys.exit(told(args.checkpoint, problem))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

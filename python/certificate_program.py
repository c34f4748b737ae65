#!/usr/bin/env python3
"""Check a compiled program: what it returns is computed anew from its text, at every word, and compared with the network.

This is a second reader of the language, with an interpreter instead of a compiler. Words are tried all if there are few enough; then the
largest error found is the largest error, and a bound is right if it is no smaller. What `ground_truth.json` says of columns is compared
with what the program says of its variables, at the same words.
"""

from __future__ import annotations

import itertools
import json
import re

import numpy as np

from certificate_folder import Problem, check

MOST_WORDS = 1 << 17
"""Words that are tried at most, all of them or random ones."""

BATCH = 2048

TOKEN = re.compile(r"\s+|//.*|'([^']+)'|(\d+)|([A-Za-z_]\w*)|(->|<=|>=|!=|[-<>=+*()\[\]#,:.])")

RELATIONS = {"<": np.less, "<=": np.less_equal, "=": np.equal, "!=": np.not_equal, ">=": np.greater_equal, ">": np.greater}


def scan(line):
    at, tokens = 0, []
    while at < len(line):
        match = TOKEN.match(line, at)
        check(match, f"`{line[at:]}` is not understood")
        symbol, number, word, sign = match.groups()
        if symbol or number or word or sign:
            tokens.append(("symbol", symbol) if symbol else ("number", int(number)) if number else ("text", word or sign))
        at = match.end()
    return tokens


class Program:
    """A program, run on words [words, n] of symbols counted from 0; every value is [words, n]."""

    def __init__(self, text):
        self.statements, self.alphabet = [], None
        for line in text.splitlines():
            if line.split()[:1] == ["alphabet"]:
                self.alphabet = list(itertools.takewhile(lambda symbol: not symbol.startswith("//"), line.split()[1:]))
                continue
            tokens = scan(line)
            if tokens and line[0] in " \t" and self.statements:
                self.statements[-1] += tokens
            elif tokens:
                self.statements.append(tokens)

    def run(self, words):
        """What it returns [words, n, returns]; then `values` holds every definition and every state of an automaton."""
        self.words, self.n, self.values = words, words.shape[1], {}
        for tokens in self.statements:
            self.tokens, self.at = tokens, 0
            if self.take("return"):
                returned = [self.expression()]
                while self.take(","):
                    returned.append(self.expression())
                check(self.at == len(self.tokens), "a statement goes on where it should end")
                return np.stack(returned, axis=-1)
            name = self.next()
            self.expect("=")
            if self.take("automaton"):
                self.automaton(name)
            else:
                self.values[name] = self.expression()
        raise Problem("the program returns nothing")

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", None)

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1][1]

    def take(self, text):
        found = self.peek() == ("text", text)
        self.at += found
        return found

    def expect(self, text):
        check(self.take(text), f"`{text}` is missing")

    def automaton(self, name):
        rows, states = {}, []
        while self.peek()[0] == "text":
            state = self.next()
            states.append(state)
            self.expect(":")
            while True:
                symbol = self.alphabet.index(self.next())
                self.expect("->")
                rows[state, symbol] = self.next()
                if not self.take(","):
                    break
        step = np.array([[states.index(rows[state, symbol]) for symbol in range(len(self.alphabet))] for state in states])
        state, visited = np.zeros(len(self.words), int), []
        for at in range(self.n):
            state = step[state, self.words[:, at]]
            visited.append(state)
        for number, state in enumerate(states):
            self.values[f"{name}.{state}"] = (np.stack(visited, axis=1) == number).astype(int)
        if len(self.words) <= BATCH:
            self.compositions(name, states, step)

    def compositions(self, name, states, step):
        """Whether the last `span` symbols lead from a state to another; from the first state, or all that there are if they are fewer."""
        span = 1
        while span < self.n:
            span *= 2
            for number, start in enumerate(states):
                ends = []
                for at in range(self.n):
                    if number > 0 and at + 1 < span:
                        ends.append(np.full(len(self.words), -1))
                        continue
                    state = np.full(len(self.words), number)
                    for place in range(max(0, at - span + 1), at + 1):
                        state = step[state, self.words[:, place]]
                    ends.append(state)
                for to, end in enumerate(states):
                    self.values[f"{name}: {start} to {end} in {span}"] = (np.stack(ends, axis=1) == to).astype(int)

    def expression(self):
        value = self.conjunction()
        while self.take("or"):
            value = value | self.conjunction()
        return value

    def conjunction(self):
        value = self.negation()
        while self.take("and"):
            value = value & self.negation()
        return value

    def negation(self):
        return 1 - self.negation() if self.take("not") else self.comparison()

    def comparison(self):
        value = self.sum()
        for text, relation in RELATIONS.items():
            if self.take(text):
                return relation(value, self.sum()).astype(int)
        return value

    def sum(self):
        value = -self.product() if self.take("-") else self.product()
        while self.peek() in (("text", "+"), ("text", "-")):
            value = value + self.product() if self.next() == "+" else value - self.product()
        return value

    def product(self):
        value = self.placed()
        while True:
            if self.take("*"):
                value = value * self.placed()
            elif self.take("mod"):
                value = value % self.next()
            elif self.take("div"):
                value = value // self.next()
            else:
                return value

    def place(self):
        """Places from 1 for every position, [n]."""
        if self.take("i"):
            place = np.arange(1, self.n + 1)
        elif self.take("n"):
            place = np.full(self.n, self.n)
        else:
            return np.full(self.n, self.next())
        if self.peek() in (("text", "+"), ("text", "-")):
            return place + self.next_signed()
        return place

    def next_signed(self):
        sign = 1 if self.next() == "+" else -1
        return sign * self.next()

    def placed(self):
        value = self.atom()
        while self.take("["):
            place = self.place()
            self.expect("]")
            value = value @ (np.arange(1, self.n + 1)[:, None] == place[None, :]).astype(int)
        return value

    def atom(self):
        everywhere = np.ones(self.words.shape, int)
        kind, text = self.peek()
        check(kind != "end", "a statement ends where it should go on")
        self.at += 1
        if kind == "number":
            return text * everywhere
        if kind == "symbol":
            return (self.words == self.alphabet.index(text)).astype(int)
        match text:
            case "(":
                value = self.expression()
                self.expect(")")
            case "#":
                self.expect("[")
                self.expect("j")
                seen = np.ones((self.n, self.n), int)
                for relation, holds in RELATIONS.items():
                    if self.take(relation):
                        seen = holds(np.arange(1, self.n + 1)[:, None], self.place()[None, :]).astype(int)
                        break
                self.expect("]")
                value = self.placed() @ seen  # [words, j] [j, i]
            case "min" | "max":
                self.expect("(")
                first = self.expression()
                self.expect(",")
                value = (np.minimum if text == "min" else np.maximum)(first, self.expression())
                self.expect(")")
            case "if":
                condition = self.expression()
                self.expect("then")
                yes = self.expression()
                self.expect("else")
                value = np.where(condition == 1, yes, self.expression())
            case "i":
                value = everywhere * np.arange(1, self.n + 1)
            case "n":
                value = everywhere * self.n
            case name:
                value = self.values[f"{name}.{self.next()}" if self.take(".") else name]
        return value


def some_words(symbols, n, most=MOST_WORDS):
    """All words, or random ones where they are too many; and whether these are all."""
    count = symbols**n
    if count <= most:
        return np.stack(np.unravel_index(np.arange(count), [symbols] * n), axis=1), True
    return np.random.default_rng(0).integers(symbols, size=(most, n)), False


def verify(folder):
    """Lines about the folder of a program; raises Problem where something is not as claimed."""
    certificate, task = folder.certificate, folder.task
    bound, rounding = folder.claimed()
    program = Program(task["source"])
    symbols, n = len(program.alphabet), task["seq_len"]
    check((symbols, n) == (folder.d_in, folder.n), f"the program is about {n} positions of {symbols} symbols, and the network is not")
    said = f"the {symbols**n:.17g} words of {n} positions over {' '.join(program.alphabet)}"
    given = re.match(r"the (\d+) words(.*)", certificate["domain"])
    check(given and f"the {float(given[1]):.17g} words{given[2]}" == said, f"the domain is said to be `{certificate['domain']}`, but is `{said}`")
    tried = certificate["tried"]
    is_all = tried["words"] == tried["of"] == symbols**n
    check(tried["all"] == is_all, f"{tried['words']} words of {symbols**n} are said to be all" if tried["all"] else "all words are said not to be all")
    yield f"ok   words: {certificate['domain']}, by the program in the task; it is called `{certificate['target']}`"
    # A float64 network is slow; half as many words do where not all can be tried.
    words, all_here = some_words(symbols, n, MOST_WORDS if is_all else BATCH)
    wanted = program.run(words)
    x = np.eye(symbols, dtype=np.float32)[words]
    stored = folder.points["inputs"]
    check(((stored == 0) | (stored == 1)).all() and (stored.sum(axis=-1) == 1).all(), "stored points are no words")
    targets = program.run(stored.argmax(axis=-1))
    check((targets == folder.points["targets"]).all(), "stored targets are not those of the program")
    for dtype, model in folder.models.items():
        found = np.concatenate([model(x[at : at + BATCH]) for at in range(0, len(x), BATCH)]).astype(float)
        error = np.abs(found - wanted).max()
        check(error < 0.5, f"{np.dtype(dtype)}: a wrong answer at `{' '.join(program.alphabet[s] for s in words[np.abs(found - wanted).max(axis=(1, 2)).argmax()])}`")
        allowed = bound + rounding
        check(error <= allowed, f"{np.dtype(dtype)}: an error of {error:.4g} is beyond {allowed:.4g}")
        how = f"all {len(x)} words" if all_here else f"{len(x)} of {symbols**n:.3g} words"
        yield f"ok   {np.dtype(dtype)}: largest error {error:.4g} at {how}, bound with rounding {allowed:.4g}"
    check(abs(tried["margin"] - (0.5 - certificate["float32"]["error"])) < 1e-12, "the margin is not what the error leaves")
    check(certificate["float32"]["error"] <= bound + rounding, "the error said is beyond the bound")
    yield ground_truth(folder, program, x[:BATCH], words[:BATCH])
    if not all_here:
        yield f"ON TRUST the bound at the words that were not tried, all but {len(x)}"


def ground_truth(folder, program, x, words):
    """Columns hold the variables that they are said to hold, and heads attend where they are said to."""
    truth = json.loads((folder.path / "ground_truth.json").read_text(encoding="utf-8"))
    program.run(words)
    network = folder.models[np.float64].network
    rows, before, patterns = x.astype(float), [], []
    for layer in network.layers:
        before.append(rows)
        rows, pattern = layer(rows)
        patterns.append(pattern)
    nodes = {node["node"]: node for node in truth["nodes"]}
    positions = np.broadcast_to(np.arange(1, folder.n + 1), words.shape)
    compared = 0
    for variable in truth["variables"]:
        wanted = program.values.get(variable["name"])
        if wanted is None:
            continue  # what is returned, which was compared already
        for layer in variable["readable_before"]:
            value = np.full(words.shape, variable["constant"], float)
            for node, weight in variable["terms"]:
                if nodes[node]["kind"] == "position":
                    value += weight * positions
                else:
                    (column,) = (held["column"] for held in nodes[node]["held"] if held["layer"] == layer)
                    value += weight * before[layer][:, :, column]
            off = np.abs(value - wanted).max()
            check(off < 0.01, f"the ground truth: {variable['name']} is not in the columns said before layer {layer}, but off by {off:.4g}")
            compared += 1
    for head in truth["heads"]:
        check_role(folder.n, patterns[head["layer"]][:, head["head"]], head)
    return f"ok   ground truth: {len(truth['heads'])} heads attend as said; variables read off columns {compared} times"


def check_role(n, pattern, head):
    """A head's patterns [words, queries, keys], the last key being the empty row, are those of its role."""
    own = np.eye(n, dtype=bool)
    match head["role"]:
        case "carry":
            off = np.abs(pattern[:, :, :n] - own).max()
        case "count":
            seen = window(n, head["window"])
            off = np.abs(pattern[:, :, :n] - seen / max(1, seen.sum(axis=1).max())).max()
        case "threshold":
            on = pattern[:, own.nonzero()[0], own.nonzero()[1]]
            off = np.abs(np.concatenate([on - on.round(), pattern[:, :, n] + on - 1])).max()
        case role:
            raise Problem(f"the ground truth: a head is said to be `{role}`, which is nothing")
    check(off < 1e-6, f"the ground truth: head {head['head']} of layer {head['layer']} is no {head['role']}; its pattern is off by {off:.4g}")


def window(n, text):
    """Which keys each query sees, [queries, keys], from a text such as j <= i-1."""
    reader = Program("")
    reader.tokens, reader.at, reader.n = scan(text), 1, n
    for relation, holds in RELATIONS.items():
        if reader.take(relation):
            return holds(np.arange(1, n + 1)[None, :], reader.place()[:, None])
    return np.ones((n, n), bool)

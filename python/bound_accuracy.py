"""What `headway certify` says of a network that names the largest of k tokens, for check_bound.py: every word is tried.

The logits of a word lie within what rounding can move them by, in double precision and, for what the model itself answers, in float32. A word is right
if the largest token's logit leads all others by more, and wrong if another leads it by more.
"""

import numpy as np

from bound_models import Rules
from proof_formulas import check

WORDS = 8192  # words that are tried together


class Words:
    """How many words are answered rightly."""

    def __init__(self, network, vocab, k):
        self.network, self.vocab, self.k, self.count = network, vocab, k, vocab**k

    def decided(self, rules, words):
        """Which are right, and which are wrong. [words, k] -> [words] twice"""
        logits = self.network(rules, words, slice(-1, None)).map(lambda part: part[:, 0])
        every, best = np.arange(len(words)), words.max(1)
        lead = logits.c[0][every, best][:, None] - logits.c[0]
        off = (logits.e[every, best][:, None] + logits.e) * (1 + 1e-12) + 1e-300
        others = np.arange(self.vocab) != best[:, None]
        return (np.where(others, lead - off, np.inf) > 0).all(1), (np.where(others, lead + off, np.inf) < 0).any(1)

    def try_all(self, say):
        """Right in float32 for sure, wrong in float32 for sure, and right in real numbers."""
        right = wrong = exactly = 0
        for at in range(0, self.count, WORDS):
            numbers = np.arange(at, min(at + WORDS, self.count))
            words = np.stack(np.unravel_index(numbers, (self.vocab,) * self.k), -1)
            is_right, is_wrong = self.decided(Rules(single=True), words)
            right, wrong = right + int(is_right.sum()), wrong + int(is_wrong.sum())
            left = words[~(is_right | is_wrong)]
            if len(left):
                exactly += int(self.decided(Rules(), left)[0].sum())
            say(f"{at + len(words)} of {self.count} words")
        return right, wrong, right + exactly


def verify(network, dims, claim, most, say):
    """Lines about the claims."""
    vocab, k = claim["vocab"], claim["k"]
    sizes = {"seq_len": k, "input": {"tokens": {"vocab": vocab}}, "d_out": vocab}
    check(dims == sizes, f"the network is not one that names one of {vocab} tokens after {k}")
    words = Words(network, vocab, k)
    check(words.count <= most, f"{words.count} words are too many to try; --most {words.count} tries them")
    right, wrong, exactly = words.try_all(say)
    for proved in claim["proved"]:
        name, count = proved["name"], proved["words"]
        check(proved["of"] == words.count and abs(proved["accuracy"] - count / words.count) < 1e-12, f"{name}: the accuracy is no share of {words.count} words")
        if name == "every word":
            check(right <= count <= words.count - wrong, f"{name}: {count:.0f} are said to be right, and {right} to {words.count - wrong} are")
            yield f"ok   {name}: {count:.0f} of {words.count} are right in float32, {right} to {words.count - wrong} here"
        else:
            check(count <= exactly, f"{name}: {count:.0f} are said to be right, and {exactly} are")
            yield f"ok   {name}: {count:.0f} of {words.count} are right, {exactly} here"

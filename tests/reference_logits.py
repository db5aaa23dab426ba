"""Losses on logits as plain loops over Python lists: (tightness, contrast) of logits (n rows) and labels."""

from __future__ import annotations

from math import log

from reference import logsumexp, mean


def labelled(logits, labels):
    return [(row, label) if label >= 0 else None for row, label in zip(logits, labels, strict=True)]


def softmax(logits, labels, prior):
    rows = labelled(logits, labels)
    pull = [-row[0][row[1]] if row else 0.0 for row in rows]
    push = [logsumexp(f + log(p) for f, p in zip(row[0], prior, strict=True)) if row else 0.0 for row in rows]
    return mean(pull), mean(push)


def adjusted(logits, labels, prior, strength):
    shifted = [[f + strength * log(p) for f, p in zip(row, prior, strict=True)] for row in logits]
    return softmax(shifted, labels, [1.0] * len(prior))


def balanced(logits, labels, counts, unseen):
    seen = [n for n in counts if n > 0]
    stands_for = [n if n > 0 else unseen * mean(seen) for n in counts]
    return adjusted(logits, labels, stands_for, 1.0)

"""Ranks under relations, neighbors and more retrieval metrics, as loops over Python floats; no code of the library."""

from __future__ import annotations

from math import inf, log2, nan

from reference import SIMILARITIES

TIED_IN_FRONT = {"optimistic": 0.0, "mean": 0.5, "pessimistic": 1.0}


def ranked(x, others, gain, left_out, similarity="dot", ties="mean"):
    """For each query, (rank, gain) of its positives, nearest first.

    gain(i, j) > 0 makes j a positive of i; left_out(i, j) makes it nothing.
    """
    sim = SIMILARITIES[similarity]
    result = []
    for i, query in enumerate(x):
        here = [(sim(query, other), gain(i, j)) for j, other in enumerate(others) if not left_out(i, j)]
        positives = sorted((pair for pair in here if pair[1] > 0), reverse=True)
        negatives = [s for s, g in here if g <= 0]
        if ties == "pessimistic":
            positives.sort(key=lambda pair: (-pair[0], pair[1]))
        row = []
        for place, (p, g) in enumerate(positives, start=1):
            if ties == "mean":
                equals = [other for s, other in positives if s == p]
                g = sum(equals) / len(equals)
            tied = sum(n == p for n in negatives)
            row.append((place + sum(n > p for n in negatives) + TIED_IN_FRONT[ties] * tied, g))
        result.append(row)
    return result


def nearest(x, others, k, left_out, similarity="dot"):
    """For each query, its k nearest as (similarity, index), of equal ones the lowest index; padded."""
    sim = SIMILARITIES[similarity]
    result = []
    for i, query in enumerate(x):
        here = sorted((-sim(query, other), j) for j, other in enumerate(others) if not left_out(i, j))[:k]
        result.append([(-s, j) for s, j in here] + [(-inf, -1)] * (k - len(here)))
    return result


def precision_at_k(ranks, k):
    return sum(r <= k for r in ranks) / k if ranks else nan


def average_precision(ranks):
    return sum(t / r for t, r in enumerate(ranks, start=1)) / len(ranks) if ranks else nan


def average_precision_at_k(ranks, k):
    if not ranks:
        return nan
    return sum(t / r for t, r in enumerate(ranks, start=1) if r <= k) / min(k, len(ranks))


def ndcg(ranks, gains, every_gain, k=inf):
    """`every_gain` are those of all positives as they were given, before ties."""
    if not ranks:
        return nan
    found = sum(g / log2(1 + r) for r, g in zip(ranks, gains) if r <= k)
    best = sorted(every_gain, reverse=True)
    return found / sum(g / log2(1 + r) for r, g in enumerate(best, start=1) if r <= k)


def per_class(values, labels):
    """class -> (mean, count) over values that are no nan."""
    result = {}
    for c in sorted(set(labels) - {-1}):
        known = [v for v, label in zip(values, labels) if label == c and v == v]
        result[c] = (sum(known) / len(known) if known else nan, len(known))
    return result

"""Ranks and retrieval metrics as loops over Python floats; shares no code with the library."""

from __future__ import annotations

from math import inf, nan

from reference import SIMILARITIES

TIED_IN_FRONT = {"optimistic": 0.0, "mean": 0.5, "pessimistic": 1.0}


def ranks(x, y, rx=None, ry=None, similarity="cosine", ties="mean", drop="self"):
    """For each query, the ranks of its positives, nearest first.  Label -1 is nobody's positive."""
    sim = SIMILARITIES[similarity]
    others, other_labels = (x, y) if rx is None else (rx, ry)
    result = []
    for i, query in enumerate(x):
        sims = [sim(query, other) for other in others]
        left_out = None
        if rx is None:
            left_out = i if drop == "self" else sims.index(max(sims))
        positives, negatives = [], []
        for j, s in enumerate(sims):
            if j != left_out:
                (positives if y[i] == other_labels[j] != -1 else negatives).append(s)
        result.append(
            [
                place + sum(n > p for n in negatives) + TIED_IN_FRONT[ties] * sum(n == p for n in negatives)
                for place, p in enumerate(sorted(positives, reverse=True), start=1)
            ]
        )
    return result


def recall_at_k(ranks, k):
    return float(min(ranks, default=inf) <= k) if ranks else nan


def reciprocal_rank(ranks):
    return 1 / min(ranks) if ranks else nan


def r_precision(ranks):
    return sum(r <= len(ranks) for r in ranks) / len(ranks) if ranks else nan


def map_at_r(ranks):
    """Over the first R places, the precision wherever a positive stands, over R."""
    if not ranks:
        return nan
    return sum(t / r for t, r in enumerate(ranks, start=1) if r <= len(ranks)) / len(ranks)

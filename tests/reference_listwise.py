"""Losses on lists and on pairs of pairs as loops over Python floats, from the papers, apart from the library."""

from __future__ import annotations

from math import exp, log2

from reference import logsumexp, mean, pairs, softplus
from reference_ranking import step


def recall_at_k(x, y, rx=None, ry=None, ks=(1, 2, 4, 8, 16), temperature=0.01, k_temperature=1.0):
    widths = k_temperature if isinstance(k_temperature, tuple) else [k_temperature] * len(ks)
    costs = []
    for near, far in pairs(x, y, rx, ry):
        ranks = []
        for i, p in enumerate(near):
            others = [q for j, q in enumerate(near) if j != i] + far
            ranks.append(1 + sum(step((s - p) / temperature) for s in others))
        recalls = [
            min(k, sum(step((k - r) / width) for r in ranks)) / min(k, len(near))
            for k, width in zip(ks, widths, strict=True)
            if near
        ]
        costs.append(1 - mean(recalls) if near else 0.0)
    return mean(costs), 0.0


def mann_whitney_of(positives, negatives, temperature=1.0, form="mean"):
    if not positives or not negatives:
        return 0.0
    total = sum(softplus((q - p) / temperature) for p in positives for q in negatives)
    return total / len(positives) / (len(negatives) if form == "mean" else 1)


def mann_whitney(x, y, rx=None, ry=None, temperature=0.01, form="mean"):
    lists = list(pairs(x, y, rx, ry))
    positives = [s for near, _ in lists for s in near]
    negatives = [s for _, far in lists for s in far]
    return mann_whitney_of(positives, negatives, temperature, form), 0.0


def listnet_of(scores, relevance):
    aim = logsumexp(relevance)
    found = logsumexp(scores)
    return sum(exp(r - aim) * (found - s) for s, r in zip(scores, relevance, strict=True))


def listmle_of(scores, relevance, weighting="uniform"):
    order = sorted(range(len(scores)), key=lambda i: (-relevance[i], scores[i]))
    n = len(order)
    weights = {
        "uniform": [1.0] * n,
        "position": [2.0 ** (n - k) - 1 for k in range(1, n + 1)],
        "relevant": [float(relevance[i] > 0) for i in order],
    }[weighting]
    if weighting == "position":
        weights = [w / (sum(weights) or 1.0) for w in weights]
    return sum(
        w * (logsumexp(scores[j] for j in order[place:]) - scores[i])
        for place, (i, w) in enumerate(zip(order, weights, strict=True))
    )


def lambdarank_of(scores, relevance, scale=1.0, gain="exponential", k=None):
    def gained(r):
        return 2.0**r - 1 if gain == "exponential" else r

    def discount(place):
        return 1 / log2(1 + place) if k is None or place <= k else 0.0

    n = len(scores)
    order = sorted(range(n), key=lambda i: (-scores[i], relevance[i]))
    place = {i: p for p, i in enumerate(order, 1)}
    best = sum(gained(r) * discount(p) for p, r in enumerate(sorted(relevance, reverse=True), 1))
    return sum(
        abs(gained(relevance[i]) - gained(relevance[j]))
        * abs(discount(place[i]) - discount(place[j]))
        / best
        * softplus(scale * (scores[j] - scores[i]))
        for i in range(n)
        for j in range(n)
        if relevance[i] > relevance[j]
    )


def over_lists(of, x, y, rx, ry, temperature=1.0):
    """With labels: positives of relevance 1, negatives of 0; a list without positives costs nothing."""
    costs = []
    for near, far in pairs(x, y, rx, ry):
        scores = [s / temperature for s in near + far]
        costs.append(of(scores, [1.0] * len(near) + [0.0] * len(far)) if near else 0.0)
    return mean(costs), 0.0


def listnet(x, y, rx=None, ry=None, temperature=1.0):
    return over_lists(listnet_of, x, y, rx, ry, temperature)


def listmle(x, y, rx=None, ry=None, temperature=1.0, weighting="uniform"):
    return over_lists(lambda s, r: listmle_of(s, r, weighting), x, y, rx, ry, temperature)


def lambdarank(x, y, rx=None, ry=None, scale=1.0, k=None):
    return over_lists(lambda s, r: lambdarank_of(s, r, scale, k=k), x, y, rx, ry)


def roc_auc(positives, negatives):
    """By counting; ties are one half."""
    wins = sum((p > q) + 0.5 * (p == q) for p in positives for q in negatives)
    return wins / (len(positives) * len(negatives))

"""Plain loops: unified negative pairs, hyperspherical softmax, Max-Mahalanobis centers, prototypical networks."""

from __future__ import annotations

from math import acos, cos, floor, pi, sin, sqrt

from reference import SIMILARITIES, dot, logsumexp, softmax, squared


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def prototypical(x, y, rx=None, ry=None, temperature=1.0, similarity="negative_squared_euclidean"):
    sim, own = SIMILARITIES[similarity], rx is None
    rx, ry = (x, y) if own else (rx, ry)
    tightness = contrast = 0.0
    for i, (a, label) in enumerate(zip(x, y, strict=True)):
        others = [
            (b, k) for j, (b, k) in enumerate(zip(rx, ry, strict=True)) if k != -1 and not (own and i == j)
        ]
        z = {c: sim(a, mean([b for b, k in others if k == c])) / temperature for c in {k for _, k in others}}
        if label in z:
            tightness -= z[label]
            contrast += logsumexp(z.values())
    n = max(1, len(x))
    return tightness / n, contrast / n


def hyperspherical(x, y, weight, scale=10.0):
    return softmax(x, y, weight, temperature=1 / scale, similarity="cosine")


def mahalanobis_center(x, y, centers, scale=10.0):
    costs = [-squared(a, [scale * v for v in centers[k]]) / 2 for a, k in zip(x, y, strict=True) if k != -1]
    return sum(costs) / len(x), 0.0


def mahalanobis_softmax(x, y, centers, scale=10.0):
    scaled = [[scale * v for v in c] for c in centers]
    return softmax(x, y, scaled, similarity="negative_squared_euclidean")


def kept(values, whisker):
    """What a box and its whiskers hold of values; equal values differ by rounding."""
    if not values:
        return []
    inorder = sorted(values)
    low, high = (inorder[floor(share * len(values))] for share in (0.25, 0.75))
    reach = whisker * (high - low) + 2e-15 if whisker < float("inf") else whisker
    return [v for v in values if low - reach <= v <= high + reach]


def turned(c, m, easy=False):
    c = max(-1.0, min(1.0, c))
    if easy:
        return cos(acos(c) + m) if c > 0 else c
    return cos(acos(c) + m) if acos(c) + m <= pi else c - m * sin(m)


def unified(x, y, weight, head="arcface", margin=0.5, scale=64.0, whisker=1.5, norm_weight=35.0):
    cosine = SIMILARITIES["cosine"]
    pairs = [cosine(x[i], x[j]) for j in range(len(x)) for i in range(j) if y[i] != y[j] or y[i] == -1]
    pool = [scale * q for q in kept(pairs, whisker)]
    tightness = contrast = 0.0
    for a, label in zip(x, y, strict=True):
        if label == -1:
            continue
        length = max(10.0, min(110.0, sqrt(dot(a, a))))
        logits = [scale * cosine(a, w) for w in weight]
        c = cosine(a, weight[label])
        own = {"cosface": c - margin, "arcface": turned(c, margin),
               "magface": turned(c, 0.45 + 0.35 * (length - 10) / 100, easy=True)}[head]  # fmt: skip
        logits[label] = scale * own
        tightness -= logits[label]
        if head == "magface":
            tightness += norm_weight * (length / 110**2 + 1 / length)
        contrast += logsumexp(logits + pool)
    return tightness / len(x), contrast / len(x)

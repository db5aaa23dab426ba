"""Discrete and nearest-neighbor estimates by loops over Python numbers, written from the papers, sharing no code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import dist, exp, gamma, inf, lgamma, log, log2, pi, sqrt

from scipy.integrate import quad
from scipy.special import digamma, polygamma

Rows = Sequence[Sequence[float]]


def plug_in(labels: Sequence[Hashable]) -> float:
    n = len(labels)
    return -sum(c / n * log(c / n) for c in Counter(labels).values())


def jackknife(labels: Sequence[Hashable]) -> float:
    n = len(labels)
    without = [plug_in([*labels[:i], *labels[i + 1 :]]) for i in range(n)]
    return n * plug_in(labels) - (n - 1) / n * sum(without)


def chao_shen(labels: Sequence[Hashable]) -> float:
    n, counts = len(labels), Counter(labels).values()
    alone = sum(c == 1 for c in counts)
    coverage = 1 - (n - 1 if alone == n else alone) / n
    shares = [coverage * c / n for c in counts]
    return -sum(p * log(p) / (1 - (1 - p) ** n) for p in shares if p > 0)


def nsb(counts: Sequence[int], num_classes: int) -> float:
    """Nemenman, Shafee and Bialek: integrals over the log of the concentration, by adaptive quadrature."""
    n, k = sum(counts), num_classes
    everyone = [*counts, *[0] * (k - len(counts))]

    def log_weight(t: float) -> float:
        b = exp(t)
        slope = k * polygamma(1, k * b + 1) - polygamma(1, b + 1)
        rising = sum(lgamma(c + b) - lgamma(b) for c in everyone)
        return t + log(slope) + rising + lgamma(k * b) - lgamma(n + k * b)

    def mean(t: float) -> float:
        b = exp(t)
        total = n + k * b
        return digamma(total + 1) - sum((c + b) / total * digamma(c + b + 1) for c in everyone)

    low, high = -20.0, 14.0
    peak = max((low + (high - low) * i / 2000 for i in range(2001)), key=log_weight)
    top = log_weight(peak)

    def integral(value: object) -> float:
        def weighted(t: float) -> float:
            return exp(log_weight(t) - top) * (value(t) if callable(value) else 1.0)

        return sum(quad(weighted, a, b, limit=200)[0] for a, b in ((low, peak), (peak, high)))

    return integral(mean) / integral(None)


def max_norm(a: Sequence[float], b: Sequence[float]) -> float:
    return max(abs(p - q) for p, q in zip(a, b))


def spread(rows: Rows) -> float:
    columns = list(zip(*rows))
    means = [sum(c) / len(c) for c in columns]
    return sqrt(sum((v - m) ** 2 for c, m in zip(columns, means) for v in c) / len(rows) / len(columns))


def alike(x: Rows, y: Rows) -> Rows:
    """y times the power of two that brings its spread nearest to that of x."""
    if not (spread(x) and spread(y)):
        return y
    factor = 2.0 ** round(log2(spread(x) / spread(y)))
    return [[v * factor for v in row] for row in y]


def ksg(x: Rows, y: Rows, k: int, variant: int) -> float:
    y, n, total = alike(x, y), len(x), 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        joint = {j: max(max_norm(x[i], x[j]), max_norm(y[i], y[j])) for j in others}
        near = sorted(others, key=joint.__getitem__)[:k]
        for side in (x, y):
            apart = [max_norm(side[i], side[j]) for j in others]
            if variant == 1:
                total += digamma(sum(d < joint[near[-1]] for d in apart) + 1)
            else:
                total += digamma(sum(d <= max(max_norm(side[i], side[j]) for j in near) for d in apart))
    return digamma(k) - (variant == 2) / k + digamma(n) - total / n


def mixed(x: Rows, y: Rows, k: int) -> float:
    """The authors' algorithm, with psi(n) for log n and the joint space counted as the sides are."""
    y, n, total = alike(x, y), len(x), 0.0
    for i in range(n):
        in_x, in_y = ([max_norm(side[i], row) for row in side] for side in (x, y))
        joint = [max(pair) for pair in zip(in_x, in_y)]
        radius = sorted(joint)[k]  # the first is the row itself
        if radius == 0:
            total += digamma(joint.count(0)) - digamma(in_x.count(0)) - digamma(in_y.count(0))
        else:
            within = [sum(d < radius for d in space) for space in (joint, in_x, in_y)]
            total += digamma(within[0]) - digamma(within[1]) - digamma(within[2])
    return digamma(n) + total / n


def nearest_neighbor_entropy(x: Rows, k: int) -> float:
    n, d = len(x), len(x[0])
    reach = [sorted(dist(a, b) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]
    ball = pi ** (d / 2) / gamma(d / 2 + 1)
    logs = [log(r) if r > 0 else -inf for r in reach]
    return digamma(n) - digamma(k) + log(ball) + d / n * sum(logs)

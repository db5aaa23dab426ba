"""Kernel estimates and variational bounds by loops over Python floats, written from the papers, sharing no code."""

from __future__ import annotations

from collections.abc import Sequence
from math import e, exp, log, log1p, pi

Rows = Sequence[Sequence[float]]
Matrix = Sequence[Sequence[float]]


def kernel(a: Sequence[float], b: Sequence[float], width: float) -> float:
    return exp(-sum((p - q) ** 2 for p, q in zip(a, b)) / (2 * width**2))


def gram(rows: Rows, width: float, others: Rows | None = None) -> list[list[float]]:
    return [[kernel(a, b, width) for b in others or rows] for a in rows]


def same(labels: Sequence[int]) -> list[list[float]]:
    return [[float(a == b) for b in labels] for a in labels]


def hsic(k: Matrix, q: Matrix) -> float:
    """Gretton: E k q + E k E q - 2 E (E k) (E q), over all pairs."""
    n = len(k)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    both = sum(k[i][j] * q[i][j] for i, j in pairs) / n**2
    apart = sum(k[i][j] for i, j in pairs) / n**2 * sum(q[i][j] for i, j in pairs) / n**2
    crossed = sum(k[i][j] * q[i][r] for i, j in pairs for r in range(n)) / n**3
    return both + apart - 2 * crossed


def unbiased_hsic(k: Matrix, q: Matrix) -> float:
    """The same means over pairs, triples and quadruples of different rows: a U-statistic."""
    n = len(k)
    everyone = range(n)
    pairs = [(i, j) for i in everyone for j in everyone if i != j]
    triples = [(i, j, r) for i, j in pairs for r in everyone if r not in (i, j)]
    quadruples = [(i, j, r, s) for i, j, r in triples for s in everyone if s not in (i, j, r)]
    both = sum(k[i][j] * q[i][j] for i, j in pairs) / len(pairs)
    crossed = sum(k[i][j] * q[i][r] for i, j, r in triples) / len(triples)
    apart = sum(k[i][j] * q[r][s] for i, j, r, s in quadruples) / len(quadruples)
    return both + apart - 2 * crossed


def cs_information(k: Matrix, q: Matrix) -> float:
    n = len(k)
    both = sum(k[i][j] * q[j][i] for i in range(n) for j in range(n))
    crossed = sum(k[i][j] * q[j][r] for i in range(n) for j in range(n) for r in range(n))
    apart = sum(map(sum, k)) * sum(map(sum, q))
    return log(both / n**2) + log(apart / n**4) - 2 * log(crossed / n**3)


def cs_divergence(x: Rows, y: Rows, width: float) -> float:
    def mean(a: Rows, b: Rows) -> float:
        return sum(kernel(p, q, width) for p in a for q in b) / (len(a) * len(b))

    return log(mean(x, x)) + log(mean(y, y)) - 2 * log(mean(x, y))


def conditional_cs_sums(
    x: Rows, y: Rows, prediction: Rows, width: float, y_width: float, *, symmetric: bool
) -> tuple[float, float, float]:
    """The three bracketed sums, of y with itself, of its prediction with itself, of both."""
    n, k = len(x), gram(x, width)
    total = [sum(v**2 for v in row) for row in k]

    def weighted(a: Rows, b: Rows) -> float:
        value = 0.0
        for j in range(n):
            for i in range(n):
                scale = (total[j] * total[i]) ** 0.5 if symmetric else total[j]
                value += k[j][i] / scale * kernel(a[j], b[i], y_width)
        return value

    return weighted(y, y), weighted(prediction, prediction), weighted(prediction, y)


def mixture_entropy(rows: Rows, width: float, scale: float) -> float:
    """Kolchinsky and Tracey with the pair distance |a - b|^2 / (scale width^2)."""
    n, d = len(rows), len(rows[0])
    value = d / 2 * log(2 * pi * e * width**2)
    for a in rows:
        near = [exp(-sum((p - q) ** 2 for p, q in zip(a, b)) / (scale * width**2)) for b in rows]
        value -= log(sum(near) / n) / n
    return value


def sides(scores: Matrix) -> tuple[list[float], list[float]]:
    n = len(scores)
    joint = [scores[i][i] for i in range(n)]
    return joint, [scores[i][j] for i in range(n) for j in range(n) if i != j]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def dv(scores: Matrix) -> float:
    joint, marginal = sides(scores)
    return mean(joint) - log(mean([exp(s) for s in marginal]))


def nwj(scores: Matrix) -> float:
    joint, marginal = sides(scores)
    return 1 + mean(joint) - mean([exp(s) for s in marginal])


def js(scores: Matrix) -> float:
    joint, marginal = sides(scores)
    return log(2) - mean([log1p(exp(-s)) for s in joint]) / 2 - mean([log1p(exp(s)) for s in marginal]) / 2


def smile(scores: Matrix, clip: float) -> float:
    joint, marginal = sides(scores)
    return mean(joint) - log(mean([exp(min(max(s, -clip), clip)) for s in marginal]))


def infonce(scores: Matrix) -> float:
    return mean([log(exp(row[i]) / mean([exp(s) for s in row])) for i, row in enumerate(scores)])


def tuba(scores: Matrix, baseline: Sequence[float]) -> float:
    """baseline: a, one for each row."""
    n = len(scores)
    joint = mean([scores[i][i] - log(baseline[i]) for i in range(n)])
    return 1 + joint - mean([exp(scores[i][j]) / baseline[i] for i in range(n) for j in range(n) if i != j])


def interpolated(scores: Matrix, baseline: Sequence[float], alpha: float) -> float:
    n = len(scores)

    def mixed(i: int, without: int) -> float:
        rest = mean([exp(scores[i][k]) for k in range(n) if k != without])
        return alpha * rest + (1 - alpha) * baseline[i]

    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    joint = mean([scores[i][i] - log(mixed(i, j)) for i, j in pairs])
    return 1 + joint - mean([exp(scores[i][j]) / mixed(i, i) for i, j in pairs])


def mean_contrast(scores: Matrix) -> float:
    found = []
    for i, row in enumerate(scores):
        others = mean([exp(s) for j, s in enumerate(row) if j != i])
        found.append(log(2 * exp(row[i]) / (exp(row[i]) + others)))
    return mean(found)


def club(scores: Matrix) -> float:
    joint, marginal = sides(scores)
    return mean(joint) - mean(marginal)


def l1out(scores: Matrix) -> float:
    n = len(scores)
    return mean([scores[i][i] - log(mean([exp(scores[j][i]) for j in range(n) if j != i])) for i in range(n)])

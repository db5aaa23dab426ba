"""Statistics of rows as loops over Python lists: pairs that are two views, spread, class weights."""

from __future__ import annotations

from math import exp, log, sqrt

from reference import cosine, dot, mean, squared, unit

Rows = list[list[float]]


def distance(a, b):
    return sqrt(max(0.0, -squared(a, b)))


def pairs(labels, other_labels=None):
    """(row, partner), in order of label: the k-th row with the k-th reference, or with the next row of its label."""
    found = []
    for label in sorted(set(labels) - {-1}):
        own = [i for i, y in enumerate(labels) if y == label]
        others = own if other_labels is None else [j for j, y in enumerate(other_labels) if y == label]
        if other_labels is None:
            found += [(i, own[(k + 1) % len(own)]) for k, i in enumerate(own) if len(own) > 1]
        else:
            found += [(i, others[k % len(others)]) for k, i in enumerate(own) if others]
    return found


def views(x, y, references=None, reference_labels=None):
    others = x if references is None else references
    both = pairs(y, reference_labels)
    return [x[i] for i, _ in both], [others[j] for _, j in both]


def columns(x):
    return [list(column) for column in zip(*x, strict=True)]


def covariances(first, second, less=1):
    """(d, d) of the columns of two sets of as many rows."""
    centered = [[[v - mean(c) for v in c] for c in columns(x)] for x in (first, second)]
    return [[dot(a, b) / (len(first) - less) for b in centered[1]] for a in centered[0]]


def alignment(x, y, *against, exponent=2.0):
    first, second = (unit(rows) for rows in views(x, y, *against))
    return (sum(distance(a, b) ** exponent for a, b in zip(first, second)) / max(1, len(first)), 0.0)


def variance(x, target=1.0, epsilon=1e-4):
    if len(x) < 2:
        return 0.0
    spreads = [covariances([[v] for v in c], [[v] for v in c])[0][0] for c in columns(x)]
    return mean([max(0.0, target - sqrt(s + epsilon)) for s in spreads])


def covariance(x):
    if len(x) < 2:
        return 0.0
    c = covariances(x, x)
    return sum(c[k][m] ** 2 for k in range(len(c)) for m in range(len(c)) if k != m) / len(c)


def vicreg(x, y, *against):
    first, second = views(x, y, *against)
    if not first:
        return 0.0, 0.0
    apart = mean([-squared(a, b) / len(a) for a, b in zip(first, second)])
    return 25 * apart, sum(12.5 * variance(rows) + covariance(rows) for rows in (first, second))


def barlow_twins(x, y, *against, weight=0.005, epsilon=1e-5):
    first, second = views(x, y, *against)
    if len(first) < 2:
        return 0.0, 0.0
    cross = covariances(first, second, less=0)
    deviations = [
        [sqrt(c[k][k] + epsilon) for k in range(len(c))]
        for c in (covariances(rows, rows, less=0) for rows in (first, second))
    ]
    d = range(len(cross))
    c = [[cross[k][m] / deviations[0][k] / deviations[1][m] for m in d] for k in d]
    return (
        sum((1 - c[k][k]) ** 2 for k in d),
        weight * sum(c[k][m] ** 2 for k in d for m in d if k != m),
    )


def whitened(x, epsilon):
    """Rows solved through the Cholesky factor of their covariance, shrunk to its mean variance."""
    c = covariances(x, x)
    d = range(len(c))
    spread = mean([c[k][k] for k in d])
    if spread < 1e-25:  # equal rows, whose mean may be rounded
        return [[0.0 for _ in row] for row in x]
    c = [[(1 - epsilon) * c[k][m] + epsilon * spread * (k == m) for m in d] for k in d]
    factor = [[0.0 for _ in d] for _ in d]
    for k in d:
        for m in range(k + 1):
            rest = c[k][m] - sum(factor[k][j] * factor[m][j] for j in range(m))
            factor[k][m] = sqrt(rest) if k == m else rest / factor[m][m]
    means = [mean(column) for column in columns(x)]
    found = []
    for row in x:
        solved: list[float] = []
        for k in d:
            solved.append(
                (row[k] - means[k] - sum(factor[k][j] * solved[j] for j in range(k))) / factor[k][k]
            )
        found.append(solved)
    return found


def w_mse(x, y, *against, size=128, epsilon=1e-3):
    first, second = views(x, y, *against)
    if len(first) < 2:
        return 0.0
    parts = max(1, len(first) // size)
    cost = 0.0
    for part in range(parts):
        a, b = (unit(whitened(rows[part::parts], epsilon)) for rows in (first, second))
        cost += sum(-squared(p, q) for p, q in zip(a, b))
    return cost / len(first)


def uniformity(x, t=2.0):
    # A zero row has cosine 0 with every row.
    n = len(x)
    potentials = [exp(2 * t * (cosine(x[i], x[j]) - 1)) for i in range(n) for j in range(n) if i != j]
    return log(mean(potentials)) if potentials else 0.0


def self_contrast(x, temperature=0.1):
    n, costs = len(x), []
    for i in range(n if n > 1 else 0):
        own = exp(1 / temperature)
        others = [exp(cosine(x[i], x[j]) / temperature) for j in range(n) if j != i]
        costs.append(-log(own / (own + mean(others))))
    return mean(costs) if costs else 0.0


def koleo(x, epsilon=1e-8):
    rows = unit(x)
    nearest = [min(distance(a, b) for j, b in enumerate(rows) if i != j) for i, a in enumerate(rows) if x[1:]]
    return -mean([log(d + epsilon) for d in nearest]) if nearest else 0.0


def norm(x, p=2.0, power=1.0):
    lengths = [max(map(abs, a)) if p == float("inf") else sum(abs(v) ** p for v in a) ** (1 / p) for a in x]
    return mean([length**power for length in lengths])


def zero_mean(x):
    return mean([abs(sum(a)) for a in x])


def center_invariance(weight):
    square = [dot(w, w) for w in weight]
    return mean([(s - mean(square)) ** 2 / 4 for s in square])


def regular_face(weight):
    if len(weight) < 2:
        return 0.0
    return mean([max(cosine(a, b) for j, b in enumerate(weight) if i != j) for i, a in enumerate(weight)])


def sparse_centers(centers):
    k = len(centers[0])
    total = sum(
        distance(own[i], own[j]) for own in map(unit, centers) for i in range(k) for j in range(i + 1, k)
    )
    return total / (len(centers) * k * (k - 1)) if k > 1 else 0.0


def orthogonality(weight):
    return sum((dot(a, b) - (i == j)) ** 2 for i, a in enumerate(weight) for j, b in enumerate(weight))

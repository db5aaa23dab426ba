"""Losses on triplets and on all pairs of a batch as loops over Python floats, written from the papers."""

from __future__ import annotations

from math import exp, log, radians, sqrt, tan

from reference import SIMILARITIES, Vector, dot, logsumexp, mean, pairs, softplus, unit


def sets(x, y, rx=None, ry=None):
    """For each anchor: its row, the rows of its positives, the rows of its negatives."""
    own = rx is None
    rx, ry = (x, y) if own else (rx, ry)
    for i, (a, label) in enumerate(zip(x, y, strict=True)):
        others = [(b, other) for j, (b, other) in enumerate(zip(rx, ry, strict=True)) if not (own and i == j)]
        positives = [b for b, other in others if other == label and label != -1]
        yield a, positives, [b for b, other in others if other != label or label == -1]


def distance_weighted_triplet(x, y, rx=None, ry=None, margin=0.1, nearest=0.5, furthest=1.4):
    width = len(x[0]) if x else 0
    pull, push, drawn = 0.0, 0.0, 0.0
    for near, far in pairs(x, y, rx, ry):
        distances = [sqrt(max(0.0, 2 - 2 * s)) for s in far]
        weights = [0.0 if d >= furthest else exp(-log_density(max(d, nearest), width)) for d in distances]
        for p in near:
            for n, weight in zip(far, weights, strict=True):
                if n - p + margin > 0 and weight:
                    drawn += weight / sum(weights)
                    pull -= p * weight / sum(weights)
                    push += (n + margin) * weight / sum(weights)
    return (pull / drawn, push / drawn) if drawn else (0.0, 0.0)


def log_density(distance, width):
    """Of the distance of random rows of length 1, without its constant."""
    return (width - 2) * log(distance) + (width - 3) / 2 * log(1 - distance**2 / 4)


def soft_triplet(x, y, rx=None, ry=None, margin=0.0, similarity="negative_euclidean"):
    triplets = [(p, n) for near, far in pairs(x, y, rx, ry, similarity) for p in near for n in far]
    return -mean([p for p, _ in triplets]), mean([logsumexp([p, n + margin]) for p, n in triplets])


def soft_batch_hard_triplet(x, y, rx=None, ry=None, similarity="negative_euclidean"):
    hardest = [(min(near), max(far)) for near, far in pairs(x, y, rx, ry, similarity) if near and far]
    return -mean([p for p, _ in hardest]), mean([logsumexp(both) for both in hardest])


def easy_positive_triplet(
    x, y, rx=None, ry=None, temperature=0.1, negatives="semi_hard", similarity="cosine"
):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        if negatives == "semi_hard" and near:
            far = [s for s in far if s < max(near)]
        if near and far:
            far = far if negatives == "all" else [max(far)]
            pull.append(-max(near) / temperature)
            push.append(logsumexp(s / temperature for s in [max(near), *far]))
    return mean(pull), mean(push)


def angular(x, y, rx=None, ry=None, alpha=40.0):
    slope = tan(radians(alpha)) ** 2
    pull, push = [], []
    for a, positives, negatives in sets(unit(x), y, rx and unit(rx), ry):
        for p in positives:
            center = [v + w for v, w in zip(a, p, strict=True)]
            constant = -2 * (1 + slope) * dot(a, p)
            costs = [4 * slope * dot(center, b) + constant for b in negatives]
            pull.append(constant if costs else 0.0)
            push.append(softplus(logsumexp(costs)) - constant if costs else 0.0)
    return mean(pull), mean(push)


def centroid(rows: list[Vector]) -> Vector:
    return [mean(column) for column in zip(*rows, strict=True)]


def centroid_triplet(x, y, rx=None, ry=None, margin=0.5, similarity="negative_squared_euclidean"):
    sim = SIMILARITIES[similarity]
    members, their = (x, y) if rx is None else (rx, ry)
    hardest = []
    for (a, positives, _), label in zip(sets(x, y, rx, ry), y, strict=True):
        classes = {k for k in their if k not in (label, -1)}
        others = [centroid([b for b, k in zip(members, their, strict=True) if k == c]) for c in classes]
        if positives and others:
            hardest.append((sim(a, centroid(positives)), max(sim(a, c) for c in others)))
    missed = [n - p + margin > 0 for p, n in hardest]
    return (
        -mean([p if miss else 0.0 for (p, _), miss in zip(hardest, missed, strict=True)]),
        mean([n + margin if miss else 0.0 for (_, n), miss in zip(hardest, missed, strict=True)]),
    )


def members(x, y, rx=None, ry=None):
    """Rows of the anchors and, if they are others, of the references: label, values and which instance each is."""
    rows = [(label, a, ("row", i)) for i, (a, label) in enumerate(zip(x, y, strict=True))]
    others = rows if rx is None else [(c, b, ("ref", j)) for j, (b, c) in enumerate(zip(rx, ry, strict=True))]
    return rows, others


def same(a, b):
    """Whether two members share a class."""
    return a[0] == b[0] != -1


def swap_triplet(x, y, rx=None, ry=None, margin=0.1, similarity="cosine"):
    sim = SIMILARITIES[similarity]
    rows, others = members(x, y, rx, ry)
    missed = []
    for i in rows:
        for p in others:
            for j in others:
                if same(i, p) and p[2] != i[2] and not same(i, j) and j[2] != i[2]:
                    nearer = max(sim(i[1], j[1]), sim(p[1], j[1]))
                    if nearer - sim(i[1], p[1]) + margin > 0:
                        missed.append((sim(i[1], p[1]), nearer))
    return -mean([p for p, _ in missed]), mean([n + margin for _, n in missed])


def quadruplet(x, y, rx=None, ry=None, margin=1.0, far_margin=0.5, similarity="negative_squared_euclidean"):
    sim = SIMILARITIES[similarity]
    rows, others = members(x, y, rx, ry)
    apart = [(a, b) for a in rows for b in others if not same(a, b) and a[2] != b[2]]
    first, second = [], []
    for i in rows:
        for p in (p for p in others if same(i, p) and p[2] != i[2]):
            near = sim(i[1], p[1])
            first += [(near, sim(i[1], j[1])) for a, j in apart if a is i]
            second += [(near, sim(a[1], b[1])) for a, b in apart if not same(a, i) and not same(b, i)]
    first = [(p, n + margin) for p, n in first if n - p + margin > 0]
    second = [(p, n + far_margin) for p, n in second if n - p + far_margin > 0]
    return (
        -mean([p for p, _ in first]) - mean([p for p, _ in second]),
        mean([n for _, n in first]) + mean([n for _, n in second]),
    )


def lifted_structure(x, y, rx=None, ry=None, margin=1.0, similarity="negative_euclidean"):
    sim = SIMILARITIES[similarity]
    rows, others = members(x, y, rx, ry)
    pull, push = [], []
    for i in rows:
        for p in (p for p in others if same(i, p) and p[2] != i[2]):
            costs = [
                margin + sim(a[1], j[1]) for a in (i, p) for j in others if not same(a, j) and j[2] != a[2]
            ]
            distance, negatives = -sim(i[1], p[1]), logsumexp(costs) if costs else 0.0
            share = max(0.0, distance + negatives) / 2 if costs else 0.0
            pull.append(share * distance)
            push.append(share * negatives)
    return mean(pull), mean(push)


def histogram(x, y, rx=None, ry=None, bins=100):
    def density(values):
        weights = [0.0] * (bins + 1)
        for s in values:
            place = (s + 1) / 2 * bins
            below = min(max(int(place), 0), bins - 1)
            weights[below] += (below + 1 - place) / len(values)
            weights[below + 1] += (place - below) / len(values)
        return weights

    near, far = [], []
    for positives, negatives in pairs(x, y, rx, ry):
        near, far = near + positives, far + negatives
    below, cost = 0.0, 0.0
    for positive, negative in zip(density(near), density(far), strict=True):
        below += positive
        cost += negative * below
    return cost, 0.0

"""Losses on lists, distributions and neighborhoods as loops over Python floats; shares no code with the library."""

from __future__ import annotations

from math import exp, floor, inf, log, sqrt

from reference import cosine, euclidean, logsumexp, mean, pairs, unit


def weighted_mean(values, scale):
    """Of what is above 0, each weighing exp(scale * value)."""
    values = [v for v in values if v > 0]
    if not values:
        return 0.0
    top = logsumexp(scale * v for v in values)
    return sum(v * exp(scale * v - top) for v in values)


def ranked_list(
    x, y, rx=None, ry=None, alpha=1.2, margin=0.4, positive_scale=0.0, negative_scale=10.0, balance=0.5
):
    pull, push = [], []
    for near, far in pairs(unit(x), y, rx and unit(rx), ry, "negative_euclidean"):
        pull.append((1 - balance) * weighted_mean([-s - (alpha - margin) for s in near], positive_scale))
        push.append(balance * weighted_mean([alpha + s for s in far], negative_scale))
    return mean(pull), mean(push)


def histogram_of(differences, num_bins):
    """Shares of values in -2..2; each is split between the two bins next to it."""
    width = 4 / (num_bins - 1)
    counts = [0.0] * (num_bins + 1)
    for value in differences:
        low = floor((value + 2) / width)
        part = (value + 2) / width - low
        counts[low] += (1 - part) / len(differences)
        counts[low + 1] += part / len(differences)
    return counts[:num_bins]


def dynamic_soft_margin(x, y, rx=None, ry=None, histogram=None, num_bins=512, momentum=0.01):
    triplets = [
        (-p, -max(far))
        for near, far in pairs(unit(x), y, rx and unit(rx), ry, "negative_euclidean")
        for p in near
        if far
    ]
    counts = histogram_of([p - n for p, n in triplets], num_bins)
    if triplets and histogram:
        counts = [(1 - momentum) * old + momentum * new for old, new in zip(histogram, counts, strict=True)]
    weights = [sum(counts[: floor((p - n + 2) / (4 / (num_bins - 1))) + 1]) for p, n in triplets]
    return (
        mean([w * p for w, (p, _) in zip(weights, triplets, strict=True)]),
        mean([-w * n for w, (_, n) in zip(weights, triplets, strict=True)]),
    )


def step(v):
    return 1 / (1 + exp(-v)) if v > 0 else exp(v) / (1 + exp(v))


def pnp(x, y, rx=None, ry=None, variant="O", temperature=0.01, b=2.0, alpha=1.0):
    penalty = {
        "O": lambda r: r,
        "Iu": lambda r: (1 + r) * log(1 + r),
        "Ib": lambda r: (b * r - log(1 + b * r)) / b**2,
        "Ds": lambda r: log(1 + r),
        "Dq": lambda r: 1 - 1 / (1 + r) ** alpha,
    }[variant]
    return mean(
        [
            mean([penalty(sum(step((n - p) / temperature) for n in far)) for p in near])
            for near, far in pairs(x, y, rx, ry)
        ]
    ), 0.0


def smooth_ap(x, y, rx=None, ry=None, temperature=0.01):
    costs = []
    for near, far in pairs(x, y, rx, ry):
        precisions = []
        for i, p in enumerate(near):
            place = 1 + sum(step((q - p) / temperature) for j, q in enumerate(near) if j != i)
            precisions.append(place / (place + sum(step((n - p) / temperature) for n in far)))
        costs.append(1 - mean(precisions) if near else 0.0)
    return mean(costs), 0.0


def fast_ap(x, y, rx=None, ry=None, num_bins=10):
    """Triangular bins around each edge, as the paper and its code write them."""
    width = 4 / num_bins

    def histogram(sims):
        return [
            sum(max(0.0, 1 - abs(2 - 2 * s - edge * width) / width) for s in sims)
            for edge in range(num_bins + 1)
        ]

    costs = []
    for near, far in pairs(x, y, rx, ry):
        positives, negatives = histogram(near), histogram(far)
        precision = 0.0
        for edge, count in enumerate(positives):
            above, below = sum(positives[: edge + 1]), sum(negatives[: edge + 1])
            precision += count * above / (above + below) if above + below > 0 else 0.0
        costs.append(1 - precision / len(near) if near else 0.0)
    return mean(costs), 0.0


def p2s_grad(x, y, weight):
    pull, push = [], []
    for a, label in zip(x, y, strict=True):
        known = 0 <= label < len(weight)
        pull.append((1 - cosine(a, weight[label])) ** 2 / 2 if known else 0.0)
        push.append(sum(cosine(a, w) ** 2 for c, w in enumerate(weight) if c != label) / 2 if known else 0.0)
    return mean(pull), mean(push)


def proto_triplet(x, y, rx=None, ry=None, margin=0.5):
    own = rx is None
    rx, ry = (x, y) if own else (rx, ry)
    pull, push = [], []
    for i, (a, label) in enumerate(zip(x, y, strict=True)):
        kept = [
            (b, k) for j, (b, k) in enumerate(zip(rx, ry, strict=True)) if k != -1 and not (own and i == j)
        ]
        dist = {}
        for k in {k for _, k in kept}:
            members = [b for b, other in kept if other == k]
            center = [sum(column) / len(members) for column in zip(*members, strict=True)]
            dist[k] = -euclidean(a, center)
        wrong = [d for k, d in dist.items() if k != label]
        if label not in dist or not wrong:
            continue
        missed = dist[label] - min(wrong) + margin > 0
        pull.append(dist[label] if missed else 0.0)
        push.append(margin - min(wrong) if missed else 0.0)
    return mean(pull), mean(push)


def icnn_score(x, y, rx=None, ry=None, k=4, neighbors=None):
    """Step by step as the sheet has it; rows of x and references both as lists."""
    own = rx is None
    rx, ry = (x, y) if own else (rx, ry)
    there = len(rx) - own
    if not x or there < 2:
        return 1.0
    counts_all, k = k >= there - 1, min(k, there - 1)
    rows = []
    for i, (a, label) in enumerate(zip(x, y, strict=True)):
        found = sorted(
            (sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) + 1e-6), j, other)
            for j, (b, other) in enumerate(zip(rx, ry, strict=True))
            if not (own and i == j)
        )[:neighbors]
        rows.append([(d, other == label and label != -1) for d, _, other in found])
    intra, inter = [], []
    largest = max((d for row in rows for d, same in row[:k] if not same), default=0.0)
    for row in rows:
        nearest_other = min((d for d, same in row if not same), default=inf)
        share = [d / (nearest_other + 1e-7) for d, _ in row[:k]]
        share = [s / max(1.0, max(share)) for s in share]
        if any(same for _, same in row[:k]):
            intra.append(mean([s for s, (_, same) in zip(share, row, strict=False) if same]))
        if not all(same for _, same in row[:k]):
            inter.append(mean([d / largest for d, same in row[:k] if not same]))
    a, b = 1 - mean(intra), mean(inter) if inter else 1.0
    gamma = 1.0 if counts_all else mean([mean([float(same) for _, same in row[:k]]) for row in rows])
    return ((a + b) / 2 + gamma) / 2

"""Losses as loops over Python floats, written from the papers; shares no code with the library."""

from __future__ import annotations

from math import acosh, exp, log, sqrt

Vector = list[float]


def dot(a: Vector, b: Vector) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    lengths = sqrt(dot(a, a)) * sqrt(dot(b, b))
    return dot(a, b) / lengths if lengths else 0.0


def squared(a: Vector, b: Vector) -> float:
    return -sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def euclidean(a: Vector, b: Vector) -> float:
    return -sqrt(-squared(a, b))


def unit(rows: list[Vector]) -> list[Vector]:
    return [[v / sqrt(dot(a, a)) if dot(a, a) else 0.0 for v in a] for a in rows]


def noise_to_signal(a: Vector, b: Vector) -> float:
    def variance(x: Vector) -> float:
        middle = sum(x) / len(x)
        return sum((v - middle) ** 2 for v in x) / len(x)

    signal = variance(a)
    return -variance([p - q for p, q in zip(a, b, strict=True)]) / signal if signal else 0.0


def hyperbolic(a: Vector, b: Vector) -> float:
    def inside(x: Vector) -> Vector:
        length = sqrt(dot(x, x))
        return [v / length * (1 - 1e-5) for v in x] if length > 1 - 1e-5 else x

    a, b = inside(a), inside(b)
    return -acosh(1 - 2 * squared(a, b) / ((1 - dot(a, a)) * (1 - dot(b, b))))


SIMILARITIES = {
    "cosine": cosine,
    "dot": dot,
    "negative_squared_euclidean": squared,
    "negative_euclidean": euclidean,
    "negative_snr": noise_to_signal,
    "negative_poincare": hyperbolic,
}


def pairs(x, y, rx=None, ry=None, similarity="cosine"):
    """For each anchor: similarities to its positives, and to its negatives.  Label -1 is nobody's positive."""
    sim = SIMILARITIES[similarity]
    own = rx is None
    rx, ry = (x, y) if own else (rx, ry)
    for i, (a, label) in enumerate(zip(x, y, strict=True)):
        others = [
            (sim(a, b), other)
            for j, (b, other) in enumerate(zip(rx, ry, strict=True))
            if not (own and i == j)
        ]
        positives = [s for s, other in others if other == label and label != -1]
        yield positives, [s for s, other in others if other != label or label == -1]


def logsumexp(values):
    values = list(values)
    if not values:
        return -float("inf")
    top = max(values)
    return top + log(sum(exp(v - top) for v in values))


def softplus(v):
    return 0.0 if v == -float("inf") else max(v, 0.0) + log(1 + exp(-abs(v)))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def contrastive(x, y, rx=None, ry=None, positive=1.0, negative=0.5, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        pull += [max(0.0, positive - s) for s in near]
        push += [s - negative for s in far if s > negative]
    return mean(pull), mean(push)


def multi_similarity(
    x, y, rx=None, ry=None, alpha=2.0, beta=50.0, base=0.5, similarity="cosine", epsilon=None
):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        if epsilon is not None:
            hardest, easiest = max(far, default=-float("inf")), min(near, default=float("inf"))
            near = [s for s in near if s < hardest + epsilon]
            far = [s for s in far if s > easiest - epsilon]
        pull.append(softplus(logsumexp(-alpha * (s - base) for s in near)) / alpha)
        push.append(softplus(logsumexp(beta * (s - base) for s in far)) / beta)
    return mean(pull), mean(push)


def supcon(x, y, rx=None, ry=None, temperature=0.1, form="outside", similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        z = [s / temperature for s in near]
        everything = logsumexp([*z, *(s / temperature for s in far)])
        if not near:
            pull.append(0.0)
            push.append(0.0)
            continue
        pull.append(-mean(z) if form == "outside" else log(len(z)) - logsumexp(z))
        push.append(everything)
    return mean(pull), mean(push)


def nt_xent(x, y, rx=None, ry=None, temperature=0.1, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        z, rest = [s / temperature for s in near], [s / temperature for s in far]
        pull.append(-mean(z))
        push.append(mean([logsumexp([p, *rest]) for p in z]))
    return mean(pull), mean(push)


def snca(x, y, rx=None, ry=None, temperature=0.05, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        pull.append(-logsumexp(s / temperature for s in near) if near else 0.0)
        push.append(logsumexp(s / temperature for s in near + far) if near else 0.0)
    return mean(pull), mean(push)


def squared_contrastive(x, y, rx=None, ry=None, margin=1.0):
    pull, push = [], []
    for near, far in pairs(unit(x), y, rx and unit(rx), ry, "negative_euclidean"):
        pull.append(sum(s**2 for s in near))
        push.append(sum(max(0.0, margin + s) ** 2 for s in far))
    return mean(pull), mean(push)


def triplet_margin(x, y, rx=None, ry=None, margin=0.1, similarity="cosine"):
    missed = [
        (p, n)
        for near, far in pairs(x, y, rx, ry, similarity)
        for p in near
        for n in far
        if n - p + margin > 0
    ]
    return -mean([p for p, _ in missed]), mean([n + margin for _, n in missed])


def semi_hard_triplet(x, y, rx=None, ry=None, margin=0.1, similarity="cosine"):
    chosen = [
        (p, n)
        for near, far in pairs(x, y, rx, ry, similarity)
        for p in near
        for n in far
        if p - margin < n < p
    ]
    return -mean([p for p, _ in chosen]), mean([n + margin for _, n in chosen])


def batch_hard_triplet(x, y, rx=None, ry=None, margin=0.1, similarity="cosine"):
    hardest = [(min(near), max(far)) for near, far in pairs(x, y, rx, ry, similarity) if near and far]
    missed = [n - p + margin > 0 for p, n in hardest]
    return (
        -mean([p if miss else 0.0 for (p, _), miss in zip(hardest, missed, strict=True)]),
        mean([n + margin if miss else 0.0 for (_, n), miss in zip(hardest, missed, strict=True)]),
    )


def softmax(x, y, weight, bias=None, temperature=1.0, label_smoothing=0.0, similarity="dot"):
    sim = SIMILARITIES[similarity]
    pull, push = [], []
    for a, label in zip(x, y, strict=True):
        logits = [sim(a, w) / temperature + (bias[c] if bias else 0.0) for c, w in enumerate(weight)]
        labelled = 0 <= label < len(weight)
        smooth = (1 - label_smoothing) * logits[label] + label_smoothing * mean(logits) if labelled else 0.0
        pull.append(-smooth)
        push.append(logsumexp(logits) if labelled else 0.0)
    return mean(pull), mean(push)


def center(x, y, weight, bias, centers, center_weight=0.003):
    pull = [
        center_weight / 2 * -squared(a, centers[label]) if label != -1 else 0.0
        for a, label in zip(x, y, strict=True)
    ]
    return mean(pull), sum(softmax(x, y, weight, bias))


def spce(x, y, rx=None, ry=None):
    """The n x n form of the paper: sums of similarities, never a class sum."""
    rx, ry = (x, y) if rx is None else (rx, ry)
    classes = sorted({label for label in ry if label != -1})
    pull, push = [], []
    for a, label in zip(x, y, strict=True):
        logits = {
            k: sum(dot(a, b) for b, other in zip(rx, ry, strict=True) if other == k) / len(rx)
            for k in classes
        }
        pull.append(-logits.get(label, 0.0))
        push.append(logsumexp(logits.values()) if label in logits else 0.0)
    return mean(pull), mean(push)


def pce(x, y, p, lam=1.0):
    """The n x n form of the paper; only |c_k|^2 is a double sum of its own, of p_ik p_jk s_ij / n^2."""
    n, every = len(x), range(len(x))
    sim = [[dot(a, b) for b in x] for a in x]
    same = [sim[i][j] for i in every for j in every if y[i] == y[j] != -1]
    pull = -sum(same) / (2 * lam * n**2)
    classes = range(len(p[0]))
    push = [logsumexp(sum(p[j][k] * sim[i][j] for j in every) / (lam * n) for k in classes) for i in every]
    centers = sum(p[i][k] * p[j][k] * sim[i][j] for i in every for j in every for k in classes) / n**2
    return pull, mean(push) - centers / (2 * lam)


def classified(x, weight):
    """Softmax of a linear classifier, row by row."""
    logits = [[dot(a, w) for w in weight] for a in x]
    return [[exp(v - logsumexp(row)) for v in row] for row in logits]

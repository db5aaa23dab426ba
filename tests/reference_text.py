"""Losses of the text world as loops over Python floats, from their formulas; shares no code with the library."""

from __future__ import annotations

from math import exp, log, sqrt

from reference import cosine, dot, logsumexp, mean


def multiple_negatives_ranking(anchors, positives, negatives, scale=20.0, direction="forward"):
    def way(rows, own, others):
        costs = []
        for i, a in enumerate(rows):
            z = [scale * cosine(a, b) for b in own + others]
            costs.append(logsumexp(z) - z[i])
        return mean(costs)

    forward = way(anchors, positives, negatives)
    return forward if direction == "forward" else (forward + way(positives, anchors, [])) / 2


def gist_embed(anchors, positives, negatives, guide, temperature=0.01, margin=0.0, margin_kind="absolute"):
    def pairs(a, p, q, i):
        """Cosines of the anchor with its positive, and of all pairs that may be negatives."""
        others = [j for j in range(len(a)) if j != i]
        found = [cosine(a[i], p[j]) for j in others] + [cosine(a[i], a[j]) for j in others]
        return cosine(a[i], p[i]), found + [cosine(p[i], p[j]) for j in others] + [cosine(a[i], r) for r in q]

    costs = []
    for i in range(len(anchors)):
        own, others = pairs(anchors, positives, negatives, i)
        known, guesses = pairs(*guide, i)
        most = known - margin if margin_kind == "absolute" else known * (1 - margin)
        kept = [c / temperature for c, g in zip(others, guesses, strict=True) if g <= most]
        costs.append(logsumexp([own / temperature, *kept]) - own / temperature)
    return mean(costs)


def in_order(values, scores, scale):
    wrong = [
        scale * (values[j] - values[i])
        for i in range(len(scores))
        for j in range(len(scores))
        if scores[i] > scores[j]
    ]
    return logsumexp([0.0, *wrong])


def cosent(first, second, scores, scale=20.0):
    return in_order([cosine(a, b) for a, b in zip(first, second, strict=True)], scores, scale)


def angle(first, second, scores, scale=20.0):
    return in_order([difference(a, b) for a, b in zip(first, second, strict=True)], scores, scale)


def difference(x, y):
    """AnglE's, by complex division."""
    if len(x) % 2:
        x, y = [*x, 0.0], [*y, 0.0]
    half = len(x) // 2
    length = dot(y, y)
    if not length or not dot(x, x):
        return 0.0
    quotients = [complex(x[k], x[half + k]) * complex(y[k], -y[half + k]) / length for k in range(half)]
    ratio = sqrt(dot(x, x)) / sqrt(length)
    return abs(sum(q.real / ratio + q.imag / ratio for q in quotients))


def online_contrastive(first, second, labels, margin=0.5):
    distances = [1 - cosine(a, b) for a, b in zip(first, second, strict=True)]
    positive = [d for d, label in zip(distances, labels, strict=True) if label == 1]
    negative = [d for d, label in zip(distances, labels, strict=True) if label == 0]
    most = max(positive) if len(positive) > 1 else mean(negative)
    least = min(negative) if len(negative) > 1 else mean(positive)
    pull = sum(d**2 for d in positive if d > least)
    return pull + sum(max(0.0, margin - d) ** 2 for d in negative if d < most)


def candidates(anchors, positives, negatives, similarity):
    sim = {"dot": dot, "cosine": cosine}[similarity]
    return [[sim(a, b) for b in (p, *own)] for a, p, own in zip(anchors, positives, negatives, strict=True)]


def margin_mse(anchors, positives, negatives, scores, similarity="dot"):
    errors = []
    for found, wanted in zip(candidates(anchors, positives, negatives, similarity), scores, strict=True):
        errors += [
            ((found[0] - s) - (wanted[0] - t)) ** 2 for s, t in zip(found[1:], wanted[1:], strict=True)
        ]
    return mean(errors)


def kl_distillation(anchors, positives, negatives, scores, temperature=1.0, similarity="dot"):
    costs = []
    for found, wanted in zip(candidates(anchors, positives, negatives, similarity), scores, strict=True):
        ours, teachers = (softmax([v / temperature for v in row]) for row in (found, wanted))
        costs.append(sum(p * log(p / q) for p, q in zip(teachers, ours, strict=True) if p))
    return temperature**2 * mean(costs)


def softmax(values):
    total = logsumexp(values)
    return [exp(v - total) for v in values]

"""Margin, proxy and center losses as loops over Python floats, from the papers; shares no code with the library."""

from __future__ import annotations

from math import acos, cos, exp, floor, log, pi, sqrt
from statistics import fmean, stdev

from reference import Vector, cosine, dot, logsumexp, mean


def angle(a: Vector, b: Vector) -> float:
    return acos(max(-1.0, min(1.0, cosine(a, b))))


def length(a: Vector) -> float:
    return sqrt(dot(a, a))


def softmaxes(x, y, others, own):
    """Own logits and denominators: `others(row)` the logits of all classes, `own(i)` that of the row's class."""
    pull, push = [], []
    for i, (a, label) in enumerate(zip(x, y, strict=True)):
        logits = others(a)
        if not 0 <= label < len(logits):
            pull.append(0.0)
            push.append(0.0)
            continue
        pull.append(-own(i))
        push.append(logsumexp([own(i) if c == label else z for c, z in enumerate(logits)]))
    return mean(pull), mean(push)


def shifted(theta, margin, beyond="linear"):
    if beyond == "linear" and theta >= pi - margin:
        return cos(theta) - margin * sqrt(1 - cos(margin) ** 2)
    if beyond == "easy" and theta >= pi / 2:
        return cos(theta)
    return cos(theta + margin)


def cosines(weight, scale=1.0):
    return lambda a: [scale * cosine(a, w) for w in weight]


def cosface(x, y, weight, margin=0.35, scale=64.0):
    return softmaxes(x, y, cosines(weight, scale), lambda i: scale * (cosine(x[i], weight[y[i]]) - margin))


def arcface(x, y, weight, margin=0.5, scale=64.0, beyond="linear"):
    def own(i):
        return scale * shifted(angle(x[i], weight[y[i]]), margin, beyond)

    return softmaxes(x, y, cosines(weight, scale), own)


def psi(theta, margin):
    k = min(floor(theta * margin / pi), margin - 1)
    return (-1) ** k * cos(margin * theta) - 2 * k


def large_margin_softmax(x, y, weight, margin=4, lam=0.0):
    def own(i):
        a, w = x[i], weight[y[i]]
        theta = angle(a, w)
        return length(a) * length(w) * (lam * cos(theta) + psi(theta, margin)) / (1 + lam)

    return softmaxes(x, y, lambda a: [dot(a, w) for w in weight], own)


def sphereface(x, y, weight, margin=4, lam=0.0):
    weight = [[v / length(w) for v in w] for w in weight]
    return large_margin_softmax(x, y, weight, margin, lam)


def magface(
    x, y, weight, low_norm=10.0, high_norm=110.0, low_margin=0.45, high_margin=0.8, norm_weight=35.0, scale=64.0,
    beyond="easy",
):  # fmt: skip
    held = [min(max(length(a), low_norm), high_norm) for a in x]

    def own(i):
        margin = low_margin + (high_margin - low_margin) / (high_norm - low_norm) * (held[i] - low_norm)
        return scale * shifted(angle(x[i], weight[y[i]]), margin, beyond)

    pull, push = softmaxes(x, y, cosines(weight, scale), own)
    rewards = [
        1 / a + a / high_norm**2 if 0 <= k < len(weight) else 0.0 for a, k in zip(held, y, strict=True)
    ]
    return pull + norm_weight * mean(rewards), push


def adaface(x, y, weight, norms=None, margin=0.4, concentration=0.333, scale=64.0, momentum=0.01):
    lengths = [min(max(length(a), 0.001), 100.0) for a in x]
    mu, sigma = norms or (0.0, 0.0)
    if len(x) > 1:
        share = momentum if norms else 1.0
        mu = share * fmean(lengths) + (1 - share) * mu
        sigma = share * stdev(lengths) + (1 - share) * sigma

    def own(i):
        z = max(-1.0, min(1.0, concentration * (lengths[i] - mu) / (sigma + 0.001)))
        theta = min(max(angle(x[i], weight[y[i]]) - margin * z, 0.0), pi)
        return scale * (cos(theta) - (margin * z + margin))

    return softmaxes(x, y, cosines(weight, scale), own)


def curricularface(x, y, weight, level=0.0, margin=0.5, scale=64.0, momentum=0.01):
    labelled = [(a, weight[k]) for a, k in zip(x, y, strict=True) if 0 <= k < len(weight)]
    if labelled:
        level = momentum * fmean(cosine(a, w) for a, w in labelled) + (1 - momentum) * level
    pull, push = [], []
    for a, label in zip(x, y, strict=True):
        if not 0 <= label < len(weight):
            pull.append(0.0)
            push.append(0.0)
            continue
        theta = angle(a, weight[label])
        logits = []
        for c, w in enumerate(weight):
            s = cosine(a, w)
            if c == label:
                s = shifted(theta, margin)
            elif s > cos(theta + margin):
                s = s * (level + s)
            logits.append(scale * s)
        pull.append(-logits[label])
        push.append(logsumexp(logits))
    return mean(pull), mean(push)


def proxy_nca(x, y, weight, temperature=1.0, denominator="negatives"):
    pull, push = [], []
    for a, label in zip(x, y, strict=True):
        negatives = [2 * cosine(a, w) / temperature for c, w in enumerate(weight) if c != label]
        counts = 0 <= label < len(weight) and (negatives or denominator == "all")
        own = 2 * cosine(a, weight[label]) / temperature if counts else 0.0
        pull.append(-own)
        everything = [*negatives, own] if denominator == "all" else negatives
        push.append(logsumexp(everything) if counts else 0.0)
    return mean(pull), mean(push)


def proxy_anchor(x, y, weight, margin=0.1, alpha=32.0):
    pull, push = [], []
    for c, w in enumerate(weight):
        near = [cosine(a, w) for a, k in zip(x, y, strict=True) if k == c]
        far = [cosine(a, w) for a, k in zip(x, y, strict=True) if k != c]
        if near:
            pull.append(log(1 + sum(exp(-alpha * (s - margin)) for s in near)))
        push.append(log(1 + sum(exp(alpha * (s + margin)) for s in far)))
    return mean(pull), mean(push)


def soft_triple(x, y, centers, scale=20.0, gamma=0.1, tau=0.2, margin=0.01):
    def soft(a, group):
        s = [cosine(a, w) for w in group]
        weights = [exp((v - max(s)) / gamma) for v in s]
        return sum(p * v for p, v in zip(weights, s, strict=True)) / sum(weights)

    pull, push = softmaxes(
        x, y, lambda a: [scale * soft(a, group) for group in centers],
        lambda i: scale * (soft(x[i], centers[y[i]]) - margin),
    )  # fmt: skip
    k, apart = len(centers[0]), 0.0
    for group in centers:
        unit = [[v / length(w) for v in w] for w in group]
        apart += sum(
            sqrt(sum((p - q) ** 2 for p, q in zip(unit[i], unit[j], strict=True)))
            for i in range(k)
            for j in range(i)
        )
    labelled = mean([1.0 if 0 <= c < len(centers) else 0.0 for c in y])
    return pull + (tau * apart / (len(centers) * k * (k - 1)) * labelled if k > 1 else 0.0), push


def subcenter_arcface(x, y, centers, margin=0.5, scale=64.0, beyond="linear"):
    def nearest(a, group):
        return min(angle(a, w) for w in group)

    def own(i):
        return scale * shifted(nearest(x[i], centers[y[i]]), margin, beyond)

    return softmaxes(x, y, lambda a: [scale * cos(nearest(a, group)) for group in centers], own)


def outliers(x, y, centers, threshold):
    """Rows beyond the threshold from the center of their class that most of its rows are nearest to."""
    dominant = []
    for c, group in enumerate(centers):
        votes = [0] * len(group)
        for a, label in zip(x, y, strict=True):
            if label == c:
                votes[min(range(len(group)), key=lambda j: angle(a, group[j]))] += 1
        dominant.append(votes.index(max(votes)))
    far = [
        i for i, (a, c) in enumerate(zip(x, y, strict=True))
        if c >= 0 and angle(a, centers[c][dominant[c]]) > threshold
    ]  # fmt: skip
    return far, dominant

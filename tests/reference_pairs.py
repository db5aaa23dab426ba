"""More losses on pairs as loops over Python floats, written from the papers."""

from __future__ import annotations

from math import acos, cos, exp, log, sqrt

from reference import dot, logsumexp, mean, pairs, softplus, unit


def margin(
    x, y, rx=None, ry=None, boundaries=None, margin=0.2, boundary=1.2, nu=0.0, similarity="negative_euclidean"
):
    pull, push, count = 0.0, 0.0, 0
    of_anchors = [boundaries[label] if boundaries else boundary for label in y]
    compared = pairs(unit(x), y, rx and unit(rx), ry, similarity)
    for beta, (near, far) in zip(of_anchors, compared, strict=True):
        positives = [max(0.0, -s - beta + margin) for s in near]
        negatives = [max(0.0, beta + margin + s) for s in far]
        missed = [(p > 0) + (n > 0) for p in positives for n in negatives]
        count += sum(missed)
        pull += sum(p for p in positives for _ in negatives) + nu * beta * len(missed) * any(missed)
        push += sum(n for _ in positives for n in negatives)
    return pull / max(1, count), push / max(1, count)


def snr_contrastive(x, y, rx=None, ry=None, margin=1.0, mean_weight=0.005, similarity="negative_snr"):
    pull, push = [], []
    for a, (near, far) in zip(x, pairs(x, y, rx, ry, similarity), strict=True):
        pull += [-s + mean_weight * abs(sum(a)) for s in near]
        push += [margin + s for s in far if s > -margin]
    return mean(pull), mean(push)


def threshold_consistent_margin(
    x, y, rx=None, ry=None, positive=0.9, negative=0.5, weights=(1.0, 1.0), similarity="cosine"
):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        pull += [positive - s for s in near if s < positive]
        push += [s - negative for s in far if s > negative]
    return weights[0] * mean(pull), weights[1] * mean(push)


def intra_pair_variance(x, y, rx=None, ry=None, positive=0.01, negative=0.01, similarity="cosine"):
    compared = list(pairs(x, y, rx, ry, similarity))
    near, far = [s for one, _ in compared for s in one], [s for _, one in compared for s in one]
    floor, ceiling = (1 - positive) * mean(near), (1 + negative) * mean(far)
    return mean([max(0.0, floor - s) ** 2 for s in near]), mean([max(0.0, s - ceiling) ** 2 for s in far])


def binomial_deviance(x, y, rx=None, ry=None, scale=2.0, base=0.5, cost=25.0, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        pull += [softplus(-scale * (s - base)) for s in near]
        push += [softplus(cost * scale * (s - base)) for s in far]
    return mean(pull), mean(push)


def circle(x, y, rx=None, ry=None, margin=0.4, scale=80.0, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        p = logsumexp(-scale * max(0.0, 1 + margin - s) * (s - 1 + margin) for s in near)
        n = logsumexp(scale * max(0.0, s + margin) * (s - margin) for s in far)
        pull.append(p if near and far else 0.0)
        push.append(softplus(p + n) - p if near and far else 0.0)
    return mean(pull), mean(push)


def generalized_lifted_structure(x, y, rx=None, ry=None, margin=1.0, similarity="negative_euclidean"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        p, n = logsumexp(-s for s in near), logsumexp(margin + s for s in far)
        pull.append(p if near and far else 0.0)
        push.append(max(0.0, p + n) - p if near and far else 0.0)
    return mean(pull), mean(push)


def n_pairs(x, y, rx=None, ry=None, norm_weight=0.002, similarity="dot"):
    pull, push = [], []
    for a, (near, far) in zip(x, pairs(x, y, rx, ry, similarity), strict=True):
        pull.append(norm_weight / 2 * dot(a, a) - mean(near) if near else 0.0)
        push.append(mean([s + log(1 + sum(exp(n - s) for n in far)) for s in near]))
    return mean(pull), mean(push)


def tuplet_margin(x, y, rx=None, ry=None, margin=0.1, scale=64.0, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        turned = [scale * cos(acos(_exact(s)) - margin) for s in near]
        pull += [-z for z in turned]
        push += [logsumexp([z, *(scale * s for s in far)]) for z in turned]
    return mean(pull), mean(push)


def _exact(cosine):
    """Rows in one direction have an angle of 0: a rounding in their cosine would make it 1e-8."""
    return cosine if sqrt(1 - min(1.0, cosine**2)) > 1e-7 else float(round(cosine))

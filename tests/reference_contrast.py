"""Losses of the contrast family as loops over Python floats, from the papers; shares no code with the library."""

from __future__ import annotations

from math import exp, inf, log

from reference import logsumexp, mean, nt_xent, pairs, softplus


def decoupled(x, y, rx=None, ry=None, temperature=0.1, sigma=inf, similarity="cosine"):
    rows = list(pairs(x, y, rx, ry, similarity))
    density = mean([exp(s / sigma) for near, far in rows for s in near if far])
    pull, push = [], []
    for near, far in rows:
        weighted = [(2 - exp(s / sigma) / density) * s / temperature for s in near] if far else []
        pull.append(-mean(weighted))
        push.append(logsumexp(s / temperature for s in far) if near and far else 0.0)
    return mean(pull), mean(push)


def hard_negative_nt_xent(
    x, y, rx=None, ry=None, temperature=0.5, beta=1.0, tau_plus=0.1, similarity="cosine"
):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        z, rest = [s / temperature for s in near], [s / temperature for s in far]
        pull.append(-mean(z))
        tilted, drawn = sum(exp((1 + beta) * v) for v in rest), sum(exp(beta * v) for v in rest)
        costs = []
        for p in z:
            left = (tilted / drawn - tau_plus * exp(p)) / (1 - tau_plus) if far else 0.0
            costs.append(log(exp(p) + len(far) * max(left, exp(-1 / temperature))))
        push.append(mean(costs))
    return mean(pull), mean(push)


def focal_nt_xent(x, y, rx=None, ry=None, temperature=0.01, gamma=0.5, similarity="cosine"):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry, similarity):
        z, rest = [s / temperature for s in near], [s / temperature for s in far]
        denominators = [logsumexp([p, *rest]) for p in z]
        others = logsumexp(rest)
        weights = [exp(others - d) ** gamma for d in denominators]  # 1 - P, without its rounding
        pull.append(-mean([w * p for w, p in zip(weights, z, strict=True)]))
        push.append(mean([w * d for w, d in zip(weights, denominators, strict=True)]))
    return mean(pull), mean(push)


def symmetric_nt_xent(x, y, rx=None, ry=None, temperature=0.07):
    if rx is None:
        return nt_xent(x, y, temperature=temperature)
    ways = nt_xent(x, y, rx, ry, temperature), nt_xent(rx, ry, x, y, temperature)
    return mean([way[0] for way in ways]), mean([way[1] for way in ways])


def sigmoid_pair(x, y, rx=None, ry=None, scale=10.0, bias=-10.0):
    pull, push = [], []
    for near, far in pairs(x, y, rx, ry):
        pull.append(sum(softplus(-(scale * s + bias)) for s in near))
        push.append(sum(softplus(scale * s + bias) for s in far))
    return mean(pull), mean(push)

"""Losses on logits that doubt labels, as plain loops over Python lists: (tightness, contrast), or (loss, 0)."""

from __future__ import annotations

from math import exp, log

from reference import logsumexp, mean
from reference_logits import labelled


def probability(row, label):
    """p of the class and 1 - p, each summed from its own terms, so that neither is 1 less a number near 1."""
    top = max(row)
    shares = [exp(f - top) for f in row]
    return shares[label] / sum(shares), sum(shares[:label] + shares[label + 1 :]) / sum(shares)


def surprise(row, label):
    top = max(row)
    return log(sum(exp(f - top) for f in row)) + top - row[label]


def undivided(logits, labels, cost):
    return mean([cost(*row) if row else 0.0 for row in labelled(logits, labels)]), 0.0


def focal(logits, labels, gamma=2.0, alpha=None):
    def cost(row, label):
        factor = 1.0 if alpha is None else alpha[label]
        return factor * probability(row, label)[1] ** gamma * surprise(row, label)

    return undivided(logits, labels, cost)


def poly(logits, labels, epsilon=1.0, gamma=0.0):
    def cost(row, label):
        missed = probability(row, label)[1]
        return missed**gamma * surprise(row, label) + epsilon * missed ** (gamma + 1)

    return undivided(logits, labels, cost)


def comp_sum_cost(row, label, tau):
    seen = surprise(row, label)
    if tau == 1:
        return seen
    if tau < 1 and seen > 30:  # a tangent where the power would overflow
        steepest = exp(30 * (1 - tau))
        return (steepest - 1) / (1 - tau) + steepest * (seen - 30)
    return (1 - exp(-seen) ** (tau - 1)) / (tau - 1)


def comp_sum(logits, labels, tau=1.0):
    return undivided(logits, labels, lambda row, label: comp_sum_cost(row, label, tau))


def generalized(logits, labels, q=0.7, truncation=0.0):
    def cost(row, label):
        return (1 - max(probability(row, label)[0], truncation) ** q) / q

    return undivided(logits, labels, cost)


def adversarial(logits, labels, perturbed, tau=1.0, rho=1.0, nu=0.3):
    costs = []
    for row, moved, label in zip(logits, perturbed, labels, strict=True):
        if label < 0:
            costs.append(0.0)
            continue
        others = [c for c in range(len(row)) if c != label]
        before = [row[label] - row[c] for c in others]
        after = [moved[label] - moved[c] for c in others]
        distance = sum((b - a) ** 2 for b, a in zip(before, after, strict=True)) ** 0.5
        costs.append(comp_sum_cost([f / rho for f in row], label, tau) + nu * distance)
    return mean(costs)


def symmetric(logits, labels, alpha=0.1, beta=1.0, log_zero=-4.0):
    def cost(row, label):
        top = max(row)
        total = sum(exp(f - top) for f in row)
        reverse = -sum(exp(f - top) / total * (0.0 if c == label else log_zero) for c, f in enumerate(row))
        return alpha * surprise(row, label) + beta * reverse

    return undivided(logits, labels, cost)


def normalized(row, normalization):
    if normalization == "softplus":
        row = [log(1 + exp(f)) if f < 30 else f for f in row]
    if normalization == "none" or not any(row):
        return row
    size = sum(abs(f) for f in row) / len(row)
    return [f / size for f in row]


def violations(row, label, margin):
    return [f - row[label] + (margin if c != label else 0.0) for c, f in enumerate(row)]


def ldr_cost(row, label, temperature, margin):
    terms = [d / temperature for d in violations(row, label, margin)]
    return temperature * (logsumexp(terms) - log(len(row)))


def ldr(logits, labels, temperature=1.0, margin=0.1, normalization="none"):
    rows = [
        (normalized(*row, normalization), label) for *row, label in filter(None, labelled(logits, labels))
    ]
    n = len(logits)
    pull = -sum(row[label] for row, label in rows) / n
    return pull, sum(ldr_cost(row, label, temperature, margin) for row, label in rows) / n - pull


def adapted(found, temperature, alpha, steps):
    """The temperatures of a row with these violations, after 0, 1, 2 ... repetitions."""
    classes, lam = len(found), temperature
    reached = [lam]
    for _ in range(steps):
        total = logsumexp(d / lam for d in found)
        worst = [exp(d / lam - total) for d in found]
        divergence = sum(p * log(classes * p) for p in worst if p > 0)
        lam = temperature * (1 - (divergence / (alpha * log(classes)) if classes > 1 else 0.0))
        reached.append(lam)
    return reached


def aldr(logits, labels, temperature=1.0, alpha=2.0, margin=0.1, normalization="none", steps=3):
    def cost(row, label):
        row = normalized(row, normalization)
        lam = adapted(violations(row, label, margin), temperature, alpha, steps)[-1]
        stiffness = alpha * log(len(row)) / temperature
        return ldr_cost(row, label, lam, margin) - stiffness / 2 * (lam - temperature) ** 2

    return undivided(logits, labels, cost)

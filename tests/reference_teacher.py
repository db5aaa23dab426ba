"""Losses beside a teacher, of two classes, of calibration and of predictions, as plain loops over Python lists."""

from __future__ import annotations

from math import exp, log, sqrt

from reference import logsumexp, mean


def softmax(row, temperature=1.0):
    top = logsumexp([f / temperature for f in row])
    return [exp(f / temperature - top) for f in row]


def kl(q, p):
    return sum(b * log(b / a) for a, b in zip(p, q, strict=True) if b > 0)


def soft_target(logits, teacher, labels, temperature=4.0, label_weight=0.0):
    costs = []
    for f, t, y in zip(logits, teacher, labels, strict=True):
        taught = temperature**2 * kl(softmax(t, temperature), softmax(f, temperature))
        costs.append((1 - label_weight) * taught)
        if y >= 0:
            costs[-1] += label_weight * (logsumexp(f) - f[y])
    return mean(costs), 0.0


def decoupled(logits, teacher, labels, label_weight=1.0, others_weight=8.0, temperature=4.0):
    costs = []
    for f, t, y in zip(logits, teacher, labels, strict=True):
        if y < 0:
            costs.append(0.0)
            continue
        p, q = softmax(f, temperature), softmax(t, temperature)
        either = kl([q[y], sum(q) - q[y]], [p[y], sum(p) - p[y]])
        others = kl(*(softmax(row[:y] + row[y + 1 :], temperature) if len(row) > 1 else [] for row in (t, f)))
        costs.append(temperature**2 * (label_weight * either + others_weight * others))
    return mean(costs), 0.0


def correlation(x, y):
    x, y = [a - mean(x) for a in x], [b - mean(y) for b in y]
    lengths = sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths > 1e-15 else 0.0


def correlated(logits, teacher, inter=1.0, intra=1.0, temperature=1.0):
    p, q = [[softmax(row, temperature) for row in rows] for rows in (logits, teacher)]
    of_rows = mean([1 - correlation(a, b) for a, b in zip(p, q, strict=True)])
    of_classes = mean([1 - correlation(list(a), list(b)) for a, b in zip(zip(*p), zip(*q), strict=True)])
    return temperature**2 * (inter * of_rows + intra * of_classes)


def plackett_luce_distillation(logits, teacher, labels, teacher_temperature=1.0, label_floor=0.0):
    costs = []
    for f, t, y in zip(logits, teacher, labels, strict=True):
        if y < 0:
            costs.append(0.0)
            continue
        weights = softmax(t, teacher_temperature)
        weights[y] = max(weights[y], label_floor)
        left, cost = list(range(len(f))), 0.0
        for place in range(len(f)):
            chosen = y if place == 0 else max(left, key=lambda c: t[c])
            cost += weights[chosen] * (logsumexp([f[c] for c in left]) - f[chosen])
            left.remove(chosen)
        costs.append(cost)
    return mean(costs), 0.0


def correctness_aware(logits, labels, balanced=False):
    rows = []
    for f, y in zip(logits, labels, strict=True):
        p = softmax(f)
        rows.append((max(p), float(p.index(max(p)) == y)) if y >= 0 else None)
    known = [row for row in rows if row]
    accuracy = mean([right for _, right in known]) if known else 0.0
    uneven = balanced and 0 < accuracy < 1
    weights = {1.0: 1 - accuracy if uneven else 1.0, 0.0: accuracy if uneven else 1.0}
    total = sum(weights[right] for _, right in known)
    costs = [weights[row[1]] * len(known) / total * (row[0] - row[1]) ** 2 if row else 0.0 for row in rows]
    return mean(costs), 0.0


def ens_slopes(margins, normals, box_cox=0.0):
    drawn = []
    for w in normals:
        if box_cox == 0:
            drawn.append(exp(w))
        elif 1 + box_cox * w > 0:
            drawn.append((1 + box_cox * w) ** (1 / box_cox))
        else:
            drawn.append(0.0 if box_cox > 0 else float("inf"))
    ascending = sorted(max(-u, -1.0) for u in drawn)
    slopes = [0.0] * len(margins)
    for place, i in enumerate(sorted(range(len(margins)), key=lambda i: margins[i])):
        slopes[i] = ascending[place] / max(1.0, margins[i]) - 1e-6
    return slopes


def amplified(logit, amplification):
    return 1 / (1 + exp(-amplification * (1 / (1 + exp(-logit)) - 0.5)))


def confusion(logits, labels, amplification=73.0):
    """TP, FN, FP, TN."""
    counts = {(truth, call): 0.0 for truth in (0, 1) for call in (0, 1)}
    for f, y in zip(logits, labels, strict=True):
        if y >= 0:
            counts[y, 1] += amplified(f, amplification)
            counts[y, 0] += 1 - amplified(f, amplification)
    return counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0]


def any_metric(logits, labels, metric="f_beta", beta=1.0, amplification=73.0):
    """The paper's forms in P, S and n."""
    tp, _, fp, _ = confusion(logits, labels, amplification)
    n, p, s = sum(y >= 0 for y in labels), sum(y == 1 for y in labels), tp + fp
    if metric == "accuracy":
        return 1 - (n - p - s + 2 * tp) / n if n else 0.0
    if metric == "f_beta":
        return 1 - (1 + beta**2) * tp / (beta**2 * p + s) if p else 0.0
    if not 0 < p < n:
        return 0.0
    if metric == "g_mean":
        return 1 - sqrt(max(1e-12, tp * (n - p - s + tp) / (p * (n - p))))
    return 1 - (n * (tp + p) - p * (s + p)) / (2 * p * (n - p))


def entropy(p):
    return -sum(a * log(a) for a in p if a > 0)


def prediction_entropy(logits):
    return mean([entropy(softmax(row)) for row in logits])


def category_diversity(logits):
    return -entropy([mean(list(column)) for column in zip(*map(softmax, logits))])

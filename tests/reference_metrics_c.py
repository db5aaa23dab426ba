"""Classification, calibration and geometry metrics as loops over Python floats; shares no code with the library."""

from __future__ import annotations

from math import dist, exp, inf, log, nan, sqrt


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else nan


def nanmean(values):
    return mean(v for v in values if v == v)


def argmax(row):
    return row.index(max(row))  # the first of equals


def top_k(row, label, k):
    order = sorted(range(len(row)), key=lambda c: (-row[c], c))
    return float(label in order[:k])


def class_scores(predicted, labels, classes):
    """(precision, recall, f1) of each class, by the definition of the harmonic mean where both are there."""
    scores = []
    for c in range(classes):
        hits = sum(p == y == c for p, y in zip(predicted, labels))
        found = sum(p == c for p, y in zip(predicted, labels) if y >= 0)
        rows = sum(y == c for y in labels)
        precision, recall = hits / found if found else nan, hits / rows if rows else nan
        of_no_hit = 0.0 if found + rows else nan
        scores.append((precision, recall, 2 / (1 / precision + 1 / recall) if hits else of_no_hit))
    return scores


def bins_of_equal_width(values, bins):
    places = []
    for v in values:
        place = 0
        while place < bins - 1 and v > (place + 1) / bins:
            place += 1
        places.append(place)
    return places


def bins_of_equal_mass(values, bins):
    return [sum(w < v for w in values) * bins // len(values) for v in values]


def gaps(places, confidence, right, bins):
    """(share of rows, |accuracy - confidence|) of each bin that has rows."""
    found = []
    for b in range(bins):
        rows = [i for i, place in enumerate(places) if place == b]
        if rows:
            gap = abs(mean(right[i] for i in rows) - mean(confidence[i] for i in rows))
            found.append((len(rows) / len(places), gap))
    return found


def ece(places, confidence, right, bins):
    found = gaps(places, confidence, right, bins)
    return sum(share * gap for share, gap in found) if found else nan


def mce(places, confidence, right, bins):
    return max((gap for _, gap in gaps(places, confidence, right, bins)), default=nan)


def classwise_ece(p, y, bins):
    found = []
    for c in range(len(p[0])):
        own = [row[c] for row in p]
        found.append(ece(bins_of_equal_width(own, bins), own, [float(label == c) for label in y], bins))
    return found


def brier(row, label):
    return sum((p - (c == label)) ** 2 for c, p in enumerate(row))


def nll_at(logits, labels, temperature):
    return mean(
        log(sum(exp(z / temperature) for z in row)) - row[y] / temperature for row, y in zip(logits, labels)
    )


def unit(row):
    length = sqrt(sum(v * v for v in row))
    return [v / length for v in row] if length else row


def dot(a, b):
    return sum(u * v for u, v in zip(a, b))


def pairs(n):
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def same(y):
    return [(i, j) for i, j in pairs(len(y)) if y[i] == y[j] != -1]


def alignment(x, y, exponent):
    x = [unit(row) for row in x]
    return mean(dist(x[i], x[j]) ** exponent for i, j in same(y))


def tolerance(x, y):
    x = [unit(row) for row in x]
    return mean(dot(x[i], x[j]) for i, j in same(y))


def uniformity(x, t):
    x = [unit(row) for row in x]
    found = mean(exp(-t * dist(x[i], x[j]) ** 2) for i, j in pairs(len(x)))
    return log(found) if found == found else nan


def anisotropy(x):
    x = [unit(row) for row in x]
    return mean(dot(x[i], x[j]) for i, j in pairs(len(x)))


def center(rows):
    return [mean(column) for column in zip(*rows)]


def class_scatter(x, y):
    """{class: (within, between)}."""
    middle = center([row for row, label in zip(x, y) if label != -1])
    found = {}
    for c in sorted(set(y) - {-1}):
        rows = [row for row, label in zip(x, y) if label == c]
        own = center(rows)
        found[c] = mean(dist(row, own) ** 2 for row in rows), dist(own, middle) ** 2
    return found


def utilization(queries, references):
    return [min((dist(q, r) ** 2 for r in references), default=nan) for q in queries]


def occurrences(x, k):
    x = [unit(row) for row in x]
    found = [0] * len(x)
    for i, row in enumerate(x):
        order = sorted((j for j in range(len(x)) if j != i), key=lambda j: (-dot(row, x[j]), j))
        for j in order[:k]:
            found[j] += 1
    return found


def nearest_center(row, centers):
    distances = [dist(row, c) if c is not None else inf for c in centers]
    return distances.index(min(distances))

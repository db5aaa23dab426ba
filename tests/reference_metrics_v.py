"""Verification, OPIS, components and clustering as loops over Python numbers; shares no code with the library."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise, permutations
from math import comb, inf, log, nan, sqrt

from reference import SIMILARITIES


def pair_scores(x, y, rx=None, ry=None, similarity="dot"):
    """Similarities of same and of different pairs, each pair once.  Label -1 is of no class."""
    sim = SIMILARITIES[similarity]
    if rx is None:
        pairs = [(x[i], x[j], y[i], y[j]) for i, j in combinations(range(len(x)), 2)]
    else:
        pairs = [(a, b, label, other) for a, label in zip(x, y) for b, other in zip(rx, ry)]
    same = [sim(a, b) for a, b, label, other in pairs if label == other != -1]
    different = [sim(a, b) for a, b, label, other in pairs if not label == other != -1]
    return same, different


def auc(same, different):
    if not same or not different:
        return nan
    won = sum((s > d) + (s == d) / 2 for s in same for d in different)
    return won / (len(same) * len(different))


def accepted(scores, threshold):
    return Fraction(sum(s >= threshold for s in scores), len(scores))


def operating_points(same, different):
    """(threshold, true match rate, false match rate) at every score, from strict to lax."""
    levels = sorted({inf, -inf, *same, *different}, reverse=True)
    return [(t, accepted(same, t), accepted(different, t)) for t in levels]


def tar_at_far(same, different, far):
    if not same or not different:
        return nan
    return float(max(tmr for _, tmr, fmr in operating_points(same, different) if float(fmr) <= far))


def threshold_at_fmr(same, different, far):
    if not same or not different:
        return nan
    best = tar_at_far(same, different, far)
    return max(t for t, tmr, _ in operating_points(same, different) if float(tmr) == best)


def eer(same, different):
    """Where straight lines between neighboring points meet FMR = FNMR."""
    if not same or not different:
        return nan
    points = operating_points(same, different)
    for (_, tmr, fmr), (_, next_tmr, next_fmr) in pairwise(points):
        gap, next_gap = fmr + tmr - 1, next_fmr + next_tmr - 1
        if next_gap >= 0:
            return float(fmr + (next_fmr - fmr) * gap / (gap - next_gap))
    raise AssertionError("the last point has a gap of 1")


def of_class(label, x, y, rx=None, ry=None, similarity="dot"):
    """Same and different scores of the pairs that involve a class."""
    sim = SIMILARITIES[similarity]
    itself = rx is None
    others = list(zip(x, y)) if itself else list(zip(rx, ry))
    same, different = [], []
    for i, a in enumerate(x):
        for j, (b, other) in enumerate(others):
            if y[i] == label and not (itself and (i == j or (other == label and j < i))):
                (same if other == label else different).append(sim(a, b))
    return same, different


def share(scores, threshold):
    return float(accepted(scores, threshold)) if scores else nan


def opis(x, y, far_range=(1e-2, 1e-1), num=101, c=1.0, epsilon=0.1, order="range"):
    def distance(scores):
        return sorted(sqrt(max(0.0, 2 - 2 * s)) for s in scores)

    apart = distance(pair_scores(x, y, similarity="cosine")[1])
    counted = [label for label in sorted(set(y) - {-1}) if y.count(label) > 1]
    if not apart or not counted:
        return nan, nan
    near, far = (min(d for d in apart if sum(e <= d for e in apart) / len(apart) >= f) for f in far_range)
    grid = [near + (far - near) * k / (num - 1) for k in range(num - 1)] + [far]
    utilities = []
    for label in counted:
        same, different = (distance(s) for s in of_class(label, x, y, similarity="cosine"))
        row = []
        for t in grid:
            psi = sum(d <= t for d in same) / len(same)
            phi = sum(d > t for d in different) / len(different)
            row.append((1 + c * c) * phi * psi / (c * c * phi + psi) if phi + psi else 0.0)
        utilities.append(row)
    means = [sum(column) / len(column) for column in zip(*utilities)]
    score = sum((u - m) ** 2 for row in utilities for u, m in zip(row, means)) / (len(utilities) * num)
    few = next(k for k in range(1, len(utilities) + 1) if k / len(utilities) >= epsilon)
    utilities.sort(key=sum)
    gaps = []
    for column in zip(*utilities):
        ranked = sorted(column) if order == "threshold" else column
        gaps.append((sum(ranked[:few]) - sum(ranked[-few:])) / few)
    return score, sum(g * g for g in gaps) / num


def components(x, threshold, similarity="dot"):
    """The component of each row, by growing one after the other."""
    sim = SIMILARITIES[similarity]
    found = [-1] * len(x)
    for start in range(len(x)):
        reached = [start] if found[start] < 0 else []
        for i in reached:
            found[i] = start
            reached += [
                j for j in range(len(x)) if found[j] < 0 and j not in reached and sim(x[i], x[j]) >= threshold
            ]
    return found


def information(labels, clusters):
    n = len(labels)
    return sum(
        k / n * log(n * k / (labels.count(a) * clusters.count(b)))
        for a in set(labels)
        for b in set(clusters)
        if (k := sum(p == a and q == b for p, q in zip(labels, clusters)))
    )


def clustering(labels, clusters):
    """Every score from its definition; chance is the mean over all orders of the clusters."""
    mutual, of_classes, of_clusters = (
        information(*both) for both in ((labels, clusters), (labels, labels), (clusters, clusters))
    )
    orders = list(permutations(clusters))
    chance = sum(information(labels, list(order)) for order in orders) / len(orders)
    pairs = list(combinations(zip(labels, clusters), 2))
    both = sum(a == c and b == d for (a, b), (c, d) in pairs)
    same_class = sum(a == c for (a, _), (c, _) in pairs)
    same_cluster = sum(b == d for (_, b), (_, d) in pairs)
    expected = same_class * same_cluster / comb(len(labels), 2)
    mean = (of_classes + of_clusters) / 2

    def over(a, b):
        return a / b if abs(b) > 1e-9 else nan

    return {
        "nmi": mutual / mean,
        "ami": over(mutual - chance, mean - chance),
        "ari": over(both - expected, (same_class + same_cluster) / 2 - expected),
        "homogeneity": mutual / of_classes,
        "completeness": mutual / of_clusters if of_clusters else 1.0,
        "v_measure": 2 * mutual / (of_classes + of_clusters),
        "pairwise_precision": over(both, same_cluster),
        "pairwise_recall": over(both, same_class),
        "pairwise_f1": over(2 * both, same_class + same_cluster),
    }

"""What a model makes of a few test items, as numbers that a page can draw: map, classes, scores, pair weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.core.objective import Objective, ObjectiveSum
from mimetric.core.pairs import pair_weights
from mimetric.metrics.verification import pair_roc, tar_at_far, threshold_at_fmr
from mimetric.views import drawn_rows

SCORED_ROWS = 2048  # their pairs make the histograms: 0.1 s of one core
BINS = 80  # of cosines, from -1 to 1
RATES = (0.1, 0.01, 0.001)  # false match rates whose thresholds are shown
_SAME_LOSS = 1e-4  # relative: the loss of cosines is the loss of rows


def principal_places(rows: Tensor) -> tuple[list[list[float]], list[float]]:
    """Where rows (n, d) lie along their first two principal components, and the share of the variance of each.

    Of both directions of a component the one in which the row farthest out lies above 0.

    >>> places, shares = principal_places(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> [[abs(x) for x in place] for place in places], shares
    ([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [0.9, 0.1])
    """
    centered = rows.double() - rows.double().mean(0)
    u, s, _ = torch.linalg.svd(F.pad(centered, (0, max(0, 2 - rows.shape[1]))), full_matrices=False)
    places = F.pad(u * s, (0, max(0, 2 - len(s))))[:, :2]
    farthest = places.gather(0, places.abs().argmax(0, keepdim=True))
    total = float(s.square().sum()) or 1.0
    shares = F.pad(s.square(), (0, max(0, 2 - len(s))))[:2] / total
    return _rounded(torch.where(farthest < 0, -places, places)), _rounded(shares)


def class_similarity(rows: Tensor, classes: Tensor) -> list[list[float | None]]:
    """Mean cosine of the pairs of each two classes 0..c-1, no row with itself; None where there is no pair.

    >>> class_similarity(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    [[1.0, 0.0], [0.0, None]]
    """
    rows = F.normalize(rows.double(), dim=1)
    member = F.one_hot(classes.long()).double()
    sums, counts = member.T @ rows, member.sum(0)
    itself = torch.diag((member.T @ rows.square().sum(1, keepdim=True)).flatten())
    pairs = counts[:, None] * counts - torch.diag(counts)
    found: list[list[float]] = _rounded((sums @ sums.T - itself) / pairs)
    return [[None if value != value else value for value in line] for line in found]


def pair_scores(embeddings: Tensor, labels: Tensor) -> dict[str, Any] | None:
    """How many pairs of the same class and of different classes have which cosine, and where thresholds lie.

    Returns:
        ``{"rows", "same": [BINS counts from -1 to 1], "different": [...], "thresholds": [{fmr, threshold, tmr}]}``;
        None without pairs of both kinds.  At a threshold the share `tmr` of same pairs is accepted, and at most `fmr`
        of the others; a rate that no threshold reaches is left out.
    """
    drawn = drawn_rows(labels, SCORED_ROWS)
    rows, own = F.normalize(embeddings[drawn.to(embeddings.device)].float().cpu(), dim=1), labels[drawn].cpu()
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    cosines, same = (rows @ rows.T)[first, second], own[first] == own[second]
    if same.all() or not same.any():
        return None
    roc = pair_roc(rows, own)
    reached = [(rate, threshold_at_fmr(roc, rate), tar_at_far(roc, rate)) for rate in RATES]
    return {
        "rows": len(rows),
        "same": _histogram(cosines[same]),
        "different": _histogram(cosines[~same]),
        "thresholds": [
            {"fmr": rate, "threshold": round(threshold, 4), "tmr": round(accepted, 4)}
            for rate, threshold, accepted in reached
            if threshold < torch.inf
        ],
    }


def weights_of_pairs(objective: nn.Module, rows: Tensor, labels: Tensor) -> Tensor | None:
    """How hard an objective pushes each pair of unit rows (n, d), by :func:`~mimetric.core.pairs.pair_weights`.

    None for what compares with class weights, and for what looks at more than the cosines of an anchor.
    """
    if isinstance(objective, ObjectiveSum):
        parts = [weights_of_pairs(one, rows, labels) for one in objective.objectives]
        known = [factor * part for factor, part in zip(objective.factors, parts) if part is not None]
        return torch.stack(known).sum(0) if len(known) == len(parts) else None
    if not isinstance(objective, Objective) or not objective.takes_references:
        return None
    options = dict(objective.options)
    pairing = options.pop("pairing", None)
    seen: Tensor | None = None

    def loss(*batch: Any, **how: Any) -> Tensor:
        nonlocal seen
        value: Tensor = objective.function(*batch, **options, **how)
        seen = value
        return value

    try:
        weights = pair_weights(loss, rows @ rows.T, labels, mining=getattr(pairing, "mining", None))
        value = objective(rows, labels)
    except (InputError, TypeError):
        return None
    same_loss = seen is not None and torch.allclose(value, seen, rtol=_SAME_LOSS, atol=_SAME_LOSS)
    return weights if same_loss and bool(torch.isfinite(weights).all()) else None


def _histogram(cosines: Tensor) -> list[int]:
    counts: list[int] = torch.histc(cosines.clamp(-1, 1), BINS, -1, 1).long().tolist()
    return counts


def _rounded(numbers: Tensor) -> Any:
    """As lists with 4 decimals, which is more than a drawing shows."""
    return (numbers.double() * 1e4).round().div(1e4).add(0.0).tolist()

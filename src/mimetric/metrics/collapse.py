r"""Neural collapse: how near the last layer of a classifier is to one point a class, at the corners of a simplex.

Four quantities, all 0 at full collapse (Papyan, Han and Donoho, PNAS 2020, arXiv:2008.08186).  With class means
:math:`\mu_c` of C classes, their mean :math:`\mu` (each class once) and centered means
:math:`m_c = \mu_c - \mu`; classes without rows are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_batch, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.moments import ClassMoments, second_moment
from ..core.similarity import full_precision, normalized
from .geometry import add_moments, finite_rows, numbered
from .streaming import Streaming

_ROWS = 1 << 10  # compared with all centers at once
_OF_MEANS = ("nc1", "nc2_norms", "nc2_angles")
_OF_WEIGHT = ("nc2_weight_norms", "nc2_weight_angles", "nc3")


def neural_collapse(embeddings: Any, labels: Any, weight: Any = None, bias: Any = None) -> dict[str, float]:
    r"""NC1 to NC4 of the features before a linear classifier, and of its weights where they are given.

    - ``nc1``, variability within classes over that between them: :math:`\operatorname{tr}(\Sigma_W \Sigma_B^+) / C`,
      :math:`\Sigma_W` the mean over rows of :math:`(x - \mu_{y})(x - \mu_{y})^T`, :math:`\Sigma_B` the mean over
      classes of :math:`m_c m_c^T`.
    - ``nc2_norms``, unequal lengths: standard deviation over mean of :math:`\lVert m_c \rVert`.
    - ``nc2_angles``, angles that are not those of a simplex: mean over pairs of classes of
      :math:`\lvert \cos(m_c, m_{c'}) + 1 / (C - 1) \rvert`.
    - ``nc2_weight_norms``, ``nc2_weight_angles``: the same of the rows of the weight, as they are.
    - ``nc3``, weights that are not the means: :math:`\lVert W / \lVert W \rVert - M / \lVert M \rVert \rVert^2` with
      Frobenius norms, rows of M the :math:`m_c`; in [0, 4].
    - ``nc4``, the share of rows where the classifier decides otherwise than the nearest :math:`\mu_c`.

    Args:
        embeddings: (n, d) floating point, finite: what the classifier sees.
        labels: (n,) integer class ids, with a weight in 0..C-1; rows with -1, unlabelled, are left out.
        weight: (C, d) of the classifier; None leaves out what needs it.
        bias: (C,) of the classifier; None is 0.

    Returns:
        Name -> value >= 0; nan where fewer than two classes have rows (``nc4``: no class), or all their means are one.
    Raises:
        InputError: shapes disagree, labels are not integers below C, a value is not finite, or a bias without
            weight.

    Reference: the paper's figures 2 to 7; standard deviation over C - 1 as in its code.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0], [-1.0, -0.2]])
    >>> found = neural_collapse(x, [0, 0, 1, 1], torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    >>> {name: round(value, 3) for name, value in found.items() if not name.startswith("nc2")}
    {'nc1': 0.0, 'nc3': 0.01, 'nc4': 0.0}
    """
    where = "neural_collapse"
    embeddings, labels = check_batch(where, embeddings, labels)
    if weight is None and bias is not None:
        raise InputError(f"{where}: bias came without weight; give both or weight alone")
    if weight is None:
        classes, labels = numbered(labels)
    stream = StreamingCollapse(len(classes if weight is None else weight), embeddings.shape[1], weight)
    stream.update(embeddings, labels)
    found = stream.compute()
    if weight is not None:
        mismatch = center_mismatch(embeddings, stream.centers(), weight, bias)
        found["nc4"] = mismatch[labels != UNLABELLED].mean().item()
    return found


class StreamingCollapse(Streaming):
    """:func:`neural_collapse` of batches but for NC4, in O(C d + d^2) memory.

    NC4 needs the centers of all rows before the first row is looked at: a second pass over the batches with
    :func:`center_mismatch` and :meth:`centers`, whose mean it is.

    Args:
        num_classes: C; labels are in 0..C-1, or -1.
        width: d.
        weight: (C, d) of the classifier; None leaves out what needs it.

    >>> stream = StreamingCollapse(num_classes=2, width=2)
    >>> stream.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), [0, 1])
    >>> stream.update(torch.tensor([[1.0, 0.2], [-1.0, -0.2]]), [0, 1])
    >>> round(stream.compute()["nc2_angles"], 6)
    0.0
    """

    def __init__(self, num_classes: int, width: int, weight: Any = None) -> None:
        self._weight = None if weight is None else finite_rows(type(self).__name__, "weight", weight).double()
        if self._weight is not None and self._weight.shape != (num_classes, width):
            raise InputError(
                f"{type(self).__name__}: weight must have shape ({num_classes}, {width}), got "
                f"{tuple(self._weight.shape)}"
            )
        second = torch.zeros(width, width, dtype=torch.float64)
        super().__init__(**ClassMoments.zeros(num_classes, width)._asdict(), second=second)

    def update(self, embeddings: Any, labels: Any) -> None:
        """Embeddings (n, d) and labels (n,) of some rows."""
        self.add(second=second_moment(add_moments(self, embeddings, labels)))

    def centers(self) -> Tensor:
        """(C, d) float64, the mean of each class; nan for a class without rows."""
        return self.totals["sum"] / self.totals["rows"][:, None]

    def compute(self) -> dict[str, float]:
        """As :func:`neural_collapse`, without ``nc4``."""
        present = self.totals["rows"] > 0
        if present.sum() < 2:
            return dict.fromkeys(_OF_MEANS if self._weight is None else _OF_MEANS + _OF_WEIGHT, torch.nan)
        count, centers = self.totals["rows"][present], self.centers()[present]
        means = centers - centers.mean(0)
        within = self.totals["second"] - (centers.T * count) @ centers
        values = {"nc1": _variability(within / count.sum(), means)}
        values |= {"nc2_norms": _unequal(means), "nc2_angles": _off_simplex(means)}
        if self._weight is not None:
            weight = self._weight.to(means.device)[present]
            values |= {"nc2_weight_norms": _unequal(weight), "nc2_weight_angles": _off_simplex(weight)}
            values["nc3"] = (weight / weight.norm() - means / means.norm()).square().sum()
        return {name: value.item() for name, value in values.items()}


def center_mismatch(embeddings: Any, centers: Any, weight: Any, bias: Any = None) -> Tensor:
    r"""1 where a linear classifier decides otherwise than the nearest center, else 0; their mean is NC4.

    .. math:: \arg\max_c (w_c^T x + b_c) \ne \arg\min_c \lVert x - \mu_c \rVert

    Args:
        embeddings: (n, d) floating point, finite.
        centers: (C, d) floating point; one with nan, of a class without rows, is never the nearest.
        weight: (C, d) of the classifier.
        bias: (C,) of the classifier; None is 0.

    Returns:
        (n,) float64, nan without centers.  Of equal classes the lowest is decided for.
    Raises:
        InputError: shapes disagree, or embeddings or weight are not finite.

    Reference: Papyan, Han and Donoho, PNAS 2020, arXiv:2008.08186, figure 7.

    >>> x, corners = torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.eye(2)
    >>> center_mismatch(x, corners, corners, torch.tensor([0.5, 0.0]))
    tensor([0., 1.], dtype=torch.float64)
    """
    where = "center_mismatch"
    rows = full_precision(finite_rows(where, "embeddings", embeddings))
    means = check_rows(where, "centers", centers).detach().to(rows)
    weights = finite_rows(where, "weight", weight).to(rows)
    for name, other in (("centers", means), ("weight", weights)):
        if other.shape != (len(weights), rows.shape[1]):
            raise InputError(
                f"{where}: {name} must have shape ({len(weights)}, {rows.shape[1]}) to match embeddings "
                f"{tuple(rows.shape)} and weight {tuple(weights.shape)}, got {tuple(other.shape)}"
            )
    offset = (
        weights.new_zeros(len(weights)) if bias is None else as_tensor(where, "bias", bias).detach().to(rows)
    )
    if offset.shape != weights.shape[:1]:
        raise InputError(f"{where}: bias must have shape ({len(weights)},), got {tuple(offset.shape)}")
    absent = means.isnan().any(1)
    if absent.all():
        return torch.full((len(rows),), torch.nan, dtype=torch.float64, device=rows.device)
    # The nearest center is the largest of x . mu - |mu|^2 / 2, from the middle of the centers, which keeps digits.
    middle = means.nanmean(0)
    means = (means - middle).nan_to_num(0)
    reach = (means.square().sum(1) / 2).masked_fill(absent, torch.inf)
    differs = [
        torch.addmm(offset, x, weights.T).argmax(1) != torch.addmm(-reach, x - middle, means.T).argmax(1)
        for x in torch.split(rows, _ROWS)
    ]
    return torch.cat(differs).double()


def _variability(within: Tensor, means: Tensor) -> Tensor:
    """tr(within between^+) / C, between = means^T means / C: over the directions that the means use."""
    _, values, directions = torch.linalg.svd(means, full_matrices=False)
    values = values[: len(means) - 1]  # centered: the last is rounding
    used = values > max(means.shape) * torch.finfo(means.dtype).eps * means.norm()
    values, directions = values[used], directions[: len(used)][used]
    spread = ((directions @ within) * directions).sum(1).clamp(min=0)
    total: Tensor = (spread / values.square()).sum()
    return total if len(values) else torch.full_like(total, torch.nan)


def _unequal(rows: Tensor) -> Tensor:
    """Standard deviation over mean of the lengths."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.std() / lengths.mean()


def _off_simplex(rows: Tensor) -> Tensor:
    """Mean over pairs of |cos + 1 / (C - 1)|, a block of rows at a time."""
    unit, apart = normalized(rows), 1 / (len(rows) - 1)
    gaps = [(block @ unit.T + apart).abs_().sum() for block in torch.split(unit, _ROWS)]
    of_itself = (unit.square().sum(1) + apart).sum()
    total: Tensor = torch.stack(gaps).sum() - of_itself
    return total.clamp(min=0) / (len(rows) * (len(rows) - 1))

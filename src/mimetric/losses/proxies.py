"""Losses between rows and proxies, a learned row for each class: rows look at proxies, or proxies at rows."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_batch, check_choice, check_classes, check_positive, check_rows
from ..core.class_logits import Kind, log_sums
from ..core.class_sums import ClassSums, Deferred, RowCosts, Softmax, asks_for_more
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing, average_of, check_takes_no
from ..core.pairs import Described, pair_loss, pair_sums
from ..core.reduce import Mean, Near
from ..core.similarity import in_one_type
from ..core.terms import SAFE_EXPONENT
from .against_classes import Number, against_classes, class_weights, learn


@pair_loss
def proxy_nca_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    temperature: Number = 1.0,
    denominator: Literal["negatives", "all"] = "negatives",
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""Proxy-NCA: each row near the proxy of its class beside all other proxies, by squared distances.

    .. math:: \frac1n \sum_i \frac{D_{i y_i}^2}T + \log \sum_{c \ne y_i} e^{-D_{ic}^2 / T}

    with the Euclidean distance D of rows and proxies scaled to length 1.  As :math:`D^2 = 2 - 2 \cos`, it is computed
    on cosines: tightness is :math:`-2 \cos_{y_i} / T`, contrast :math:`\log \sum_c e^{2 \cos_c / T}`.  Unlabelled rows
    (-1), and rows without another class, add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) the proxies, of any norm.
        temperature: T > 0, in squared distances; a number or a tensor () with a gradient.  In the module an
            ``nn.Parameter`` is learned.
        denominator: ``negatives`` as in Proxy-NCA, which has no least value.  ``all``: the own proxy too, a softmax, as
            in Proxy-NCA++ (with ``temperature=1/9``) and pytorch-metric-learning; then it is
            :func:`normalized_softmax_loss` at temperature T/2.
        pairing: reduction, weights, block.

    Returns:
        Scalar, in nats: of any sign, with ``all`` >= 0.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, an option is out of range, or another
            similarity, a mining or a relation is given.

    Reference: Movshovitz-Attias et al., ICCV 2017, arXiv:1703.07464; Teh et al., ECCV 2020, arXiv:2004.01113, for ++,
    whose other parts (pooling, rates of proxies) are no part of a loss.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> proxy_nca_loss(x, torch.tensor([0, 1]), weight)
    tensor(-1.2000)
    >>> proxy_nca_loss(x, torch.tensor([0, 1]), weight, temperature=1 / 9, denominator="all")
    tensor(0.0004)
    """
    where = "proxy_nca_loss"
    check_choice(where, "denominator", denominator, ("negatives", "all"))
    if not isinstance(temperature, Tensor):
        check_positive(where, temperature=temperature)
    batch = against_classes(where, embeddings, labels, weight, pairing)
    scale = 2 / (temperature.to(batch.rows) if isinstance(temperature, Tensor) else temperature)

    sides = Softmax() if denominator == "all" else _without_own
    return ClassSums(where, batch.rows, batch.labels, batch.weight, sides, pairing, scale=scale)


def _without_own(own: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    others = rest != -torch.inf
    return torch.where(others, -own, 0), torch.where(others, rest, 0)


class ProxyNCALoss(Objective):
    """Proxies (C, width) and :func:`proxy_nca_loss` on them."""

    function = staticmethod(proxy_nca_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        temperature: Number = 1.0,
        denominator: Literal["negatives", "all"] = "negatives",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(temperature=temperature, denominator=denominator, pairing=pairing)
        self.weight = class_weights(num_classes, width)
        learn(self, temperature=temperature)


@pair_loss
def proxy_anchor_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    margin: float = 0.1,
    alpha: float = 32.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Proxy-Anchor: each proxy looks at all rows of the batch, the hardest counting most.

    .. math::
        \frac1{|C_+|} \sum_{c \in C_+} \log\Bigl(1 + \sum_{i: y_i = c} e^{-\alpha (s_{ic} - m)}\Bigr)
        + \frac1{|C|} \sum_c \log\Bigl(1 + \sum_{i: y_i \ne c} e^{\alpha (s_{ic} + m)}\Bigr)

    with the cosine s of row and proxy and :math:`C_+` the classes that the batch has.  The anchors are the proxies, the
    references the batch: tightness is the mean over proxies with a row, contrast that over all proxies.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1: a negative of every proxy.
        weight: (C, d) the proxies, of any norm.
        margin: m.
        alpha: sharpness α > 0.
        pairing: similarity, mining (of the rows of a proxy), block, and reduction and weights (C,) over proxies.

    Returns:
        Scalar >= 0, in units of log-sums.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, alpha is not > 0, or a relation is given.

    Reference: Kim et al., CVPR 2020, arXiv:2003.13911.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> proxy_anchor_loss(x, torch.tensor([0, 1]), weight, alpha=1.0)
    tensor(1.2960)
    """
    where = "proxy_anchor_loss"
    check_positive(where, alpha=alpha)
    check_takes_no(where, pairing, "related")
    rows, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    if (
        alpha * (1 + abs(margin)) <= SAFE_EXPONENT
        and pairing.similarity in (None, "cosine")
        and weight.shape[1] == rows.shape[1]
        and not torch.is_autocast_enabled(rows.device.type)
        and not asks_for_more(pairing, rows, weight)
    ):
        return Deferred(partial(_of_sums, where, *in_one_type(rows, weight), labels, margin, alpha, pairing))

    def sides(near: Near, far: Tensor) -> tuple[Mean, Mean]:
        pull = F.softplus(near.logsumexp(-alpha * (near.sim - margin)))
        return Mean(pull, (near.count > 0).to(pull.dtype)), Mean(F.softplus(far), torch.ones_like(far))

    return pair_sums(
        where, weight, torch.arange(len(weight), device=weight.device), rows, labels,
        push=LogSumExp(alpha, -margin), sides=sides, pairing=pairing,
    )  # fmt: skip


def _of_sums(
    where: str, rows: Tensor, weight: Tensor, labels: Tensor, margin: float, alpha: float, pairing: Pairing
) -> RowCosts:
    """Proxy-Anchor where no exponent is large: a row is a positive of one proxy, so its term goes into one sum."""
    own, far = log_sums(rows, labels, weight, Kind(alpha, unit_rows=True, unit_weight=True, over_rows=True))
    known = labels >= 0
    place = labels.clamp(0, len(weight) - 1)
    near = own.new_zeros(len(weight)).index_add(
        0, place, torch.where(known, alpha * margin - own, -torch.inf).exp()
    )
    present = own.new_zeros(len(weight)).index_add(0, place, known.to(own.dtype)).clamp(max=1)
    push = F.softplus(far + alpha * margin, threshold=50)
    sides = Mean(near.log1p(), present), Mean(push, torch.ones_like(push))
    return RowCosts(where, sides, None, average_of(where, pairing, weight))


class ProxyAnchorLoss(Objective):
    """Proxies (C, width) and :func:`proxy_anchor_loss` on them."""

    function = staticmethod(proxy_anchor_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: float = 0.1,
        alpha: float = 32.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, alpha=alpha, pairing=pairing)
        self.weight = class_weights(num_classes, width)

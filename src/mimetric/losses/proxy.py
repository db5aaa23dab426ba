"""Cross-entropy and its kin: one reference stands for a class, a learned weight or a mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_positive, check_references, check_rows
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairs import Pairing, PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add
from ..core.terms import LogSumExp


@pair_loss
def cross_entropy_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    bias: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Cross-entropy of a linear classifier: class weights are the references, one positive each.

    .. math:: \frac1n \sum_i -(1 - \varepsilon)\, f_{i y_i} - \frac\varepsilon C \sum_c f_{ic} + \log \sum_c e^{f_{ic}},
              \qquad f_{ic} = \theta_c^T x_i + b_c

    Tightness is what comes before the log-sum, contrast the log-sum.  Equal to
    ``torch.nn.functional.cross_entropy`` of ``F.linear(embeddings, weight, bias)`` without ever holding
    more logits than a block.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class.
        bias: (C,) or None.
        label_smoothing: ε in [0, 1), torch's: the true class gets 1 - ε + ε/C.  A target of 1 - e on the
            true class and e/(C-1) on the others, as in arXiv:2003.08983, is ε = e C/(C-1).
        pairing: block and similarity (its own is the dot product).

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, label_smoothing out of range.

    Reference: Boudiaf et al., ECCV 2020, arXiv:2003.08983, for cross-entropy as metric learning.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> cross_entropy_loss(x, torch.tensor([0, 1]), weight)
    tensor(0.2201)
    """
    where = "cross_entropy_loss"
    if not 0 <= label_smoothing < 1:
        raise InputError(f"{where}: label_smoothing must lie in [0, 1), got {label_smoothing}")
    embeddings, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    if bias is not None:  # a bias is the weight of a constant
        if bias.shape != weight.shape[:1]:
            raise InputError(f"{where}: bias must have shape ({len(weight)},), got {tuple(bias.shape)}")
        embeddings = torch.cat((embeddings, embeddings.new_ones(len(embeddings), 1)), dim=1)
        weight = torch.cat((weight, bias[:, None]), dim=1)
    if pairing.similarity not in (None, "dot"):
        raise InputError(
            f"{where}: a linear classifier takes dot products; for cosines use normalized_softmax_loss"
        )

    def sides(near: Near, far: Tensor, average: Tensor) -> tuple[Tensor, Tensor]:
        tightness, contrast = _softmax(1.0)(near, far)
        smoothing = torch.where(near.count > 0, average, 0)
        return (1 - label_smoothing) * tightness - label_smoothing * smoothing, contrast

    return pair_sums(
        where, embeddings, labels, weight, _numbers(weight),
        push=LogSumExp(1.0), sides=sides, tensors=(embeddings @ weight.mean(0),), similarity="dot", pairing=pairing,
    )  # fmt: skip


class CrossEntropyLoss(Objective):
    """A linear classifier (weight (C, width) and bias) and :func:`cross_entropy_loss` on it."""

    function = staticmethod(cross_entropy_loss)

    def __init__(
        self, width: int, num_classes: int, *, label_smoothing: float = 0.0, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(label_smoothing=label_smoothing, pairing=pairing)
        classifier = nn.Linear(width, num_classes)
        self.weight, self.bias = classifier.weight, classifier.bias


@pair_loss
def normalized_softmax_loss(
    embeddings: Any, labels: Any, weight: Any, *, temperature: float = 0.05, pairing: Pairing = Pairing()
) -> PairSums:
    r"""Cross-entropy on cosines: embeddings and class weights of length 1, and a temperature.

    .. math:: \frac1n \sum_i -\frac{\cos(x_i, \theta_{y_i})}T + \log \sum_c e^{\cos(x_i, \theta_c) / T}

    Tightness is the first term, contrast the second.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        temperature: T > 0, in cosine units.
        pairing: what all pair losses share: similarity, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, temperature is not > 0.

    Reference: Zhai and Wu, BMVC 2019, arXiv:1811.12649.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> normalized_softmax_loss(x, torch.tensor([0, 1]), weight, temperature=1.0)
    tensor(0.3133)
    """
    where = "normalized_softmax_loss"
    check_positive(where, temperature=temperature)
    embeddings, labels = check_batch(where, embeddings, labels)
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    return pair_sums(
        where, embeddings, labels, weight, _numbers(weight),
        push=LogSumExp(1 / temperature), sides=_softmax(temperature), pairing=pairing,
    )  # fmt: skip


class NormalizedSoftmaxLoss(Objective):
    """Class weights (C, width), of length about 1 at first, and :func:`normalized_softmax_loss` on them."""

    function = staticmethod(normalized_softmax_loss)

    def __init__(
        self, width: int, num_classes: int, *, temperature: float = 0.05, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(temperature=temperature, pairing=pairing)
        self.weight = nn.Parameter(torch.randn(num_classes, width) / width**0.5)


@pair_loss
def spce_loss(
    embeddings: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""Simplified pairwise cross-entropy: the batch's own class sums are the class weights.

    .. math:: -\frac1{n^2} \sum_i \sum_{j: y_j = y_i} s_{ij}
              + \frac1n \sum_i \log \sum_k \exp\Bigl(\frac1n \sum_{j: y_j = k} s_{ij}\Bigr)

    with :math:`s_{ij} = x_i^T x_j`, the anchor included.  It is :func:`cross_entropy_loss` at
    :math:`\theta_k = \frac1n \sum_{j: y_j = k} x_j`, and computed so: O(n K d) for K classes, never n x n.
    Hence the best cross-entropy on the same embeddings is never above it.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids; unlabelled rows (-1) belong to no sum and add 0.
        references: (m, d) rows that the class sums are taken over (and divided by m); None is the batch.
        reference_labels: (m,) their class ids.
        pairing: block and similarity (its own is the dot product).

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree or labels are not integers.

    Reference: Boudiaf et al., ECCV 2020, arXiv:2003.08983, section 4.  Logits are quadratic in the
    embeddings: train it with Adam or a warm-up.

    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> spce_loss(z, torch.tensor([0, 0, 1, 1]))
    tensor(0.4959)
    """
    embeddings, labels = check_batch("spce_loss", embeddings, labels)
    references, members = check_references("spce_loss", embeddings, labels, references, reference_labels)
    rows = embeddings if references is None else references
    classes, index = torch.unique(members, return_inverse=True)
    sums = rows.new_zeros(len(classes), rows.shape[1]).index_add(0, index, rows) / max(1, len(rows))
    known = classes != -1
    return pair_sums(
        "spce_loss", embeddings, labels, sums[known], classes[known],
        push=LogSumExp(1.0), sides=_softmax(1.0), similarity="dot", pairing=pairing,
    )  # fmt: skip


class SPCELoss(Objective):
    """Module form of :func:`spce_loss`."""

    function = staticmethod(spce_loss)

    def __init__(self, *, pairing: Pairing = Pairing()) -> None:
        super().__init__(pairing=pairing)


def _softmax(temperature: float) -> Any:
    """Sides of a softmax with one reference per class; nothing for an anchor whose class has none."""

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        own = near.sum(near.sim) / temperature
        return -own, torch.where(near.count > 0, log_add(own, far), 0)

    return sides


def _numbers(weight: Tensor) -> Tensor:
    return torch.arange(len(weight), device=weight.device)

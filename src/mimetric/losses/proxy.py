"""Cross-entropy and its kin: one reference stands for a class, a learned weight or a mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import check_batch, check_classes, check_positive, check_references, check_rows
from ..core.class_sums import ClassSums, Softmax
from ..core.errors import InputError
from ..core.exponentials import LogSumExp
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import Described, PairSums, pair_loss, pair_sums
from ..core.reduce import Near, log_add
from ..core.similarity import full_precision, in_one_type


@pair_loss
def cross_entropy_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    bias: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    pairing: Pairing = Pairing(),
) -> ClassSums:
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
    rows, weight, bias = _classifier(where, embeddings, labels, weight, bias, pairing)
    if not label_smoothing:
        return ClassSums(where, rows, labels, weight, Softmax(), pairing, bias=bias, rounded=True)
    average = rows @ weight.mean(0) + (0 if bias is None else bias.mean())

    def smooth(own: Tensor, rest: Tensor, average: Tensor) -> tuple[Tensor, Tensor]:
        tightness, contrast = Softmax()(own, rest)
        return (1 - label_smoothing) * tightness - label_smoothing * average, contrast

    return ClassSums(where, rows, labels, weight, smooth, pairing, (average,), bias=bias, rounded=True)


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
def center_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    bias: Tensor | None,
    centers: Any,
    *,
    center_weight: float = 0.003,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""Center loss: cross-entropy, and the squared distance of each row to the center of its class.

    .. math:: \frac1n \sum_i \frac\lambda2 |x_i - c_{y_i}|^2 - \log \frac{e^{f_{i y_i}}}{\sum_k e^{f_{ik}}},
              \qquad f_{ik} = \theta_k^T x_i + b_k

    Tightness is the first term, contrast the whole cross-entropy (as in table 2 of arXiv:2003.08983).  Unlabelled
    rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of the classifier.
        bias: (C,) or None.
        centers: (C, d) one row per class.
        center_weight: λ > 0; the paper has 0.003.
        pairing: block and similarity (its own is the dot product).

    Returns:
        Scalar >= 0: nats, and squared distances times λ/2.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, or center_weight is not > 0.

    Reference: Wen et al., ECCV 2016, who sum the center term over the batch where this is a mean, and move the
    centers by a rule of their own: :math:`c_k \leftarrow c_k - \alpha \sum_{i: y_i = k} (c_k - x_i) / (1 + n_k)`,
    free of λ.  Here centers have a gradient, :math:`\frac\lambda n \sum_{i: y_i = k} (c_k - x_i)`, for the optimizer
    of everything else: one that is free of scale, such as Adam, or a learning rate of their own about 1/λ larger.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> center_loss(x, torch.tensor([0, 1]), weight, None, torch.zeros(2, 2), center_weight=1.0)
    tensor(0.7201)
    """
    where = "center_loss"
    check_positive(where, center_weight=center_weight)
    embeddings, labels = check_batch(where, embeddings, labels)
    rows, weight, bias = _classifier(where, embeddings, labels, weight, bias, pairing)
    centers = check_rows(where, "centers", centers)
    if centers.shape != (len(weight), embeddings.shape[1]):
        raise InputError(
            f"{where}: centers must have shape ({len(weight)}, {embeddings.shape[1]}), one per row of weight, "
            f"got {tuple(centers.shape)}"
        )
    # An unlabelled row takes any center here; the sides leave it out.
    apart = rows - full_precision(centers).index_select(0, labels.clamp(0, len(weight) - 1))
    distance = center_weight / 2 * apart.square().sum(1)
    sides = Softmax(penalized=True, apart=True)
    return ClassSums(where, rows, labels, weight, sides, pairing, (distance,), bias=bias, rounded=True)


class CenterLoss(Objective):
    """A linear classifier (weight (C, width) and bias), class centers (C, width), and :func:`center_loss` on them."""

    function = staticmethod(center_loss)

    def __init__(
        self, width: int, num_classes: int, *, center_weight: float = 0.003, pairing: Pairing = Pairing()
    ) -> None:
        super().__init__(center_weight=center_weight, pairing=pairing)
        classifier = nn.Linear(width, num_classes)
        self.weight, self.bias = classifier.weight, classifier.bias
        self.centers = nn.Parameter(torch.randn(num_classes, width) / width**0.5)


@pair_loss
def normalized_softmax_loss(
    embeddings: Any, labels: Any, weight: Any, *, temperature: float = 0.05, pairing: Pairing = Pairing()
) -> Described:
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
    rows, weight = _with_weights(where, embeddings, labels, weight)
    if pairing.similarity in (None, "cosine"):
        return ClassSums(
            where,
            rows,
            labels,
            weight,
            Softmax(),
            pairing,
            scale=1 / temperature,
            rounded=temperature >= 0.05,
        )
    return pair_sums(
        where, rows, labels, weight, torch.arange(len(weight), device=weight.device), per_class=1,
        push=LogSumExp(1 / temperature), sides=_softmax_of_pairs(temperature), pairing=pairing,
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
) -> Described:
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
    known = (classes != -1).nonzero().squeeze(1)
    sums, classes = sums[known], classes[known]
    if pairing.similarity in (None, "dot") and len(classes):
        place = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
        place = torch.where(classes[place] == labels, place, -1)
        rows, sums = in_one_type(embeddings, sums)
        return ClassSums("spce_loss", rows, place, sums, Softmax(), pairing, rounded=True)
    return pair_sums(
        "spce_loss", embeddings, labels, sums, classes,
        push=LogSumExp(1.0), sides=_softmax_of_pairs(1.0), similarity="dot", pairing=pairing,
    )  # fmt: skip


class SPCELoss(Objective):
    """Module form of :func:`spce_loss`."""

    function = staticmethod(spce_loss)

    def __init__(self, *, pairing: Pairing = Pairing()) -> None:
        super().__init__(pairing=pairing)


@pair_loss
def pce_loss(
    embeddings: Any, labels: Any, probabilities: Any, *, lam: float = 1.0, pairing: Pairing = Pairing()
) -> PairSums:
    r"""Pairwise cross-entropy, for analysis: what cross-entropy says of pairs when its classifier is solved for.

    .. math::
        -\frac1{2 \lambda n^2} \sum_i \sum_{j: y_j = y_i} s_{ij}
        + \frac1n \sum_i \log \sum_k \exp\Bigl(\frac1{\lambda n} \sum_j p_{jk} s_{ij}\Bigr)
        - \frac1{2 \lambda} \sum_k |c_k|^2, \qquad c_k = \frac1n \sum_j p_{jk} x_j

    with :math:`s_{ij} = x_i^T x_j`, the anchor included.  Tightness is the first term, contrast the rest.
    Computed from the soft means :math:`c_k` and the class sums, O(n K d), never n x n.

    Tightness is the least value over all classifiers θ of :math:`-\frac1n \sum_i \theta_{y_i}^T x_i + \frac\lambda2
    \sum_k |\theta_k|^2`.  The contrast bounds the rest of cross-entropy only where that rest is convex in θ, which
    asks for a λ small enough for the embeddings at hand and fails along a shift of all θ together.  So PCE <= CE is no
    theorem for a fixed λ, and a λ that follows the encoder is no objective: there is no module form.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids in 0..K-1; unlabelled rows (-1) belong to no class sum.
        probabilities: (n, K) of each class for each row, such as a classifier's softmax.
        lam: λ > 0.  With p one-hot at the labels PCE is :func:`cross_entropy_loss` at the class sums over λ n.
        pairing: block and similarity (its own is the dot product).

    Returns:
        Scalar of any sign, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below K, or lam is not > 0.

    Reference: Boudiaf et al., ECCV 2020, arXiv:2003.08983, section 4 and proposition 1.

    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> pce_loss(z, torch.tensor([0, 0, 1, 1]), torch.full((4, 2), 0.5))
    tensor(0.5806)
    """
    where = "pce_loss"
    check_positive(where, lam=lam)
    embeddings, labels = check_batch(where, embeddings, labels)
    embeddings = full_precision(embeddings)
    probabilities = check_rows(where, "probabilities", probabilities).to(embeddings.dtype)
    if len(probabilities) != len(embeddings):
        raise InputError(
            f"{where}: probabilities must have {len(embeddings)} rows to match embeddings "
            f"{tuple(embeddings.shape)}, got {tuple(probabilities.shape)}"
        )
    check_classes(where, labels, probabilities.shape[1])
    classes = torch.arange(probabilities.shape[1], device=labels.device)
    member = (labels[:, None] == classes).to(embeddings.dtype)
    per_row = embeddings / max(1, len(embeddings))
    hard, soft = member.T @ per_row, probabilities.T @ per_row  # (K, d) each

    def sides(near: Near, far: Tensor, hard: Tensor, soft: Tensor) -> tuple[Tensor, Tensor]:
        return -hard.expand_as(far), log_add(near.logsumexp(near.sim), far) - soft

    return pair_sums(
        where, embeddings, labels, soft / lam, classes, push=LogSumExp(1.0), sides=sides,
        tensors=(hard.square().sum() / (2 * lam), soft.square().sum() / (2 * lam)),
        similarity="dot", pairing=pairing,
    )  # fmt: skip


def _classifier(
    where: str, embeddings: Tensor, labels: Tensor, weight: Any, bias: Tensor | None, pairing: Pairing
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Checked rows of both sides of a linear classifier, and its bias."""
    if pairing.similarity not in (None, "dot"):
        raise InputError(
            f"{where}: a linear classifier takes dot products; for cosines use normalized_softmax_loss"
        )
    embeddings, weight = _with_weights(where, embeddings, labels, weight)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"{where}: bias must have shape ({len(weight)},), got {tuple(bias.shape)}")
    return embeddings, weight, None if bias is None else bias.to(weight)


def _with_weights(where: str, embeddings: Tensor, labels: Tensor, weight: Any) -> tuple[Tensor, Tensor]:
    """Rows, and class weights that fit them and their labels."""
    weight = check_rows(where, "weight", weight)
    check_classes(where, labels, len(weight))
    if weight.shape[1] != embeddings.shape[1]:
        raise InputError(
            f"{where}: weight must have {embeddings.shape[1]} columns to match embeddings "
            f"{tuple(embeddings.shape)}, got {tuple(weight.shape)}"
        )
    return in_one_type(embeddings, weight)


def _softmax_of_pairs(temperature: float) -> Any:
    """The same from one positive of an anchor at most; nothing for an anchor without."""

    def sides(near: Near, far: Tensor) -> tuple[Tensor, Tensor]:
        tightness, contrast = Softmax()(near.sum(near.sim) / temperature, far)
        return tightness, torch.where(near.count > 0, contrast, 0)

    return sides

"""Pairs of rows with a score or a mark each, one after another: their order, and those that are hard."""

from __future__ import annotations

from math import sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import as_tensor, check_positive, check_rows
from ..core.derivatives import by_formula
from ..core.errors import InputError
from ..core.objective import Bound
from ..core.paired import cosines
from ..core.similarity import full_precision

# None of these is in the catalog of `compare`, nor on the pair engine: what they take is a list of pairs with
# scores, not labels, and they compare n numbers.


def cosent_loss(first: Any, second: Any, scores: Any, *, scale: float = 20.0) -> Tensor:
    r"""CoSENT: cosines of pairs in the order of their scores.

    .. math:: \log\Bigl(1 + \sum_{i, j: y_i > y_j} e^{\sigma (c_j - c_i)}\Bigr)

    with :math:`c_i` the cosine of the i-th pair and :math:`y_i` its score.  Pairs of equal scores are not compared.
    All n² comparisons in O(n log n): with the scores in order, running log-sums.

    Args:
        first: (n, d) floating point, of any norm.
        second: (n, d), the other row of each pair.
        scores: (n,) numbers; only their order matters.
        scale: σ > 0, one over a temperature in cosine units.

    Returns:
        Scalar >= 0, in nats; a sum over comparisons inside one logarithm, not a mean.
    Raises:
        InputError: shapes disagree, rows are not floating point, a score is nan, or scale is not > 0.

    Reference: Su, kexue.fm/archives/8847 (2022); its scale, 20, is also that of sentence-transformers' ``CoSENTLoss``.

    >>> first, second = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0.6, -0.8]])
    >>> cosent_loss(first, second, [0.1, 0.9], scale=1.0)  # cosines 0.8 and -0.28, in the wrong order
    tensor(1.3724)
    """
    where = "cosent_loss"
    check_positive(where, scale=scale)
    first, second = _pairs(where, first, second)
    return _in_order(scale * cosines(first, second), _gold(where, scores, first))


class CoSENTLoss(Bound):
    """Module form of :func:`cosent_loss`."""

    function = staticmethod(cosent_loss)

    def __init__(self, *, scale: float = 20.0) -> None:
        super().__init__(scale=scale)

    def forward(self, first: Any, second: Any, scores: Any) -> Tensor:
        return cosent_loss(first, second, scores, **self.options)


def angle_loss(first: Any, second: Any, scores: Any, *, scale: float = 20.0) -> Tensor:
    r"""AnglE: as :func:`cosent_loss`, rows taken as complex numbers and compared by their quotient.

    .. math::
        \Delta = \frac1{|z| |w|} \Bigl|\sum_k \Re(z_k \bar w_k) + \Im(z_k \bar w_k)\Bigr| \qquad
        \log\Bigl(1 + \sum_{i, j: y_i > y_j} e^{\sigma (\Delta_j - \Delta_i)}\Bigr)

    The first half of a row holds real parts, the second imaginary parts; a row of odd width gets a zero.  Δ is in
    :math:`[0, \sqrt 2]` and 1 for equal rows.  The paper calls it a difference of angles; its code ranks by it as by a
    similarity, larger for higher scores, and so does this.  Unlike a cosine it is not flat at equal rows.  The paper
    adds it to :func:`cosent_loss` and to a contrastive loss.

    Args:
        first: (n, d) floating point, of any norm.
        second: (n, d), the other row of each pair.
        scores: (n,) numbers; only their order matters.
        scale: σ > 0, in units of Δ; 20 in sentence-transformers' ``AnglELoss``, 1 in the authors' code.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, rows are not floating point, a score is nan, or scale is not > 0.

    Reference: Li and Li, ACL 2024, arXiv:2309.12871, and the code released with it.

    >>> first, second = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0.6, -0.8]])
    >>> angle_loss(first, second, [0.1, 0.9], scale=1.0)  # 0.2 and 0.68
    tensor(0.4817)
    """
    where = "angle_loss"
    check_positive(where, scale=scale)
    first, second = _pairs(where, first, second)
    if first.shape[1] % 2:
        first, second = (F.pad(rows, (0, 1)) for rows in (first, second))
    real, imaginary = second.chunk(2, dim=1)
    # Of (a + ib)(c - id) real and imaginary part together are a (c - d) + b (c + d), rows sqrt(2) as long.
    turned = torch.cat((real - imaginary, real + imaginary), 1)
    return _in_order(scale * sqrt(2) * cosines(first, turned).abs(), _gold(where, scores, first))


class AnglELoss(Bound):
    """Module form of :func:`angle_loss`."""

    function = staticmethod(angle_loss)

    def __init__(self, *, scale: float = 20.0) -> None:
        super().__init__(scale=scale)

    def forward(self, first: Any, second: Any, scores: Any) -> Tensor:
        return angle_loss(first, second, scores, **self.options)


def online_contrastive_loss(first: Any, second: Any, labels: Any, *, margin: float = 0.5) -> Tensor:
    r"""Online contrastive loss: the contrastive loss of hard pairs, those on the wrong side of the other kind.

    .. math:: \sum_{i \in P: D_i > l} D_i^2 + \sum_{i \in N: D_i < h} [m - D_i]_+^2

    with cosine distance :math:`D = 1 - c`, the nearest negative pair's distance l and the farthest positive pair's h.
    Where a kind has but one pair or none, the mean of the other kind stands in for it; no gradient runs through either.

    Args:
        first: (n, d) floating point, of any norm.
        second: (n, d), the other row of each pair.
        labels: (n,) 1 or true for a positive pair, 0 or false for a negative one.
        margin: m > 0, a cosine distance.

    Returns:
        Scalar >= 0, in squared cosine distances; a sum, not a mean.
    Raises:
        InputError: shapes disagree, rows are not floating point, labels are others, or margin is not > 0.

    Reference: ``OnlineContrastiveLoss`` of sentence-transformers (Reimers and Gurevych, EMNLP 2019,
    arXiv:1908.10084), whose defaults these are; the loss of a pair is Hadsell et al., CVPR 2006, without its half.

    >>> first = torch.tensor([[1., 0.], [1., 0.], [1., 0.], [1., 0.]])
    >>> second = torch.tensor([[0.6, 0.8], [1., 0.], [0.8, 0.6], [0., 1.]])  # distances 0.4, 0, 0.2, 1
    >>> online_contrastive_loss(first, second, [1, 1, 0, 0])
    tensor(0.2500)
    """
    where = "online_contrastive_loss"
    check_positive(where, margin=margin)
    first, second = _pairs(where, first, second)
    marks = _of_pairs(where, "labels", labels, first)
    # Reading values would make an accelerator wait.
    if marks.device.type == "cpu" and not bool(((marks == 0) | (marks == 1)).all()):
        raise InputError(
            f"{where}: labels must be 1 or 0, positive or negative pairs, got {sorted(set(marks.tolist()))}"
        )
    distance: Tensor = 1 - cosines(first, second)
    if not len(distance):
        return distance.sum()
    positive, negative = marks == 1, marks == 0
    least = -_farthest(-distance.detach(), negative, positive)
    most = _farthest(distance.detach(), positive, negative)
    # What is not nan and easy is left out.
    pull = torch.where(positive & ~(distance <= least), distance, 0)
    push = torch.where(negative & ~(distance >= most), (margin - distance).clamp(min=0), 0)
    return (pull.square() + push.square()).sum()


class OnlineContrastiveLoss(Bound):
    """Module form of :func:`online_contrastive_loss`."""

    function = staticmethod(online_contrastive_loss)

    def __init__(self, *, margin: float = 0.5) -> None:
        super().__init__(margin=margin)

    def forward(self, first: Any, second: Any, labels: Any) -> Tensor:
        return online_contrastive_loss(first, second, labels, **self.options)


def _farthest(distance: Tensor, of: Tensor, other: Tensor) -> Tensor:
    """The largest distance of one kind of pairs, or the mean of the other kind."""
    mean = torch.where(other, distance, 0).sum() / other.sum().clamp(min=1)
    return torch.where(of.sum() > 1, torch.where(of, distance, -torch.inf).amax(), mean)


def _in_order(z: Tensor, scores: Tensor) -> Tensor:
    r""":math:`\log(1 + \sum_{i, j: y_i > y_j} e^{z_j - z_i})`, from sums over all j of a lower score than i."""
    return cast(Tensor, _OrderCost.apply(z, scores)) if len(z) else z.sum()  # type: ignore[no-untyped-call]


class _OrderCost(torch.autograd.Function):
    """apply(z (n,), scores (n,)) -> scalar; a number costs beside lower scores, and saves beside higher ones."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, scores: Tensor) -> Tensor:
        in_order, order = scores.sort()
        given, z = z, z[order]
        costs = _costs(z, in_order)
        total = _log_of_one_and(costs)
        if ctx.needs_input_grad[0]:
            higher = torch.searchsorted(in_order, in_order, right=True)  # where higher scores begin
            above = torch.cat(((-z).flip(0).logcumsumexp(0).flip(0), _none(z)))[higher]
            slopes = (z + above - total).exp_() - (costs - total).exp_()
            ctx.save_for_backward(given, scores, torch.empty_like(z).scatter_(0, order, slopes))
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        z, scores, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are wanted
            return by_formula(lambda z: _order_cost(z, scores), (z,), (True,), grad)[0], None
        return slopes * grad, None


def _order_cost(z: Tensor, scores: Tensor) -> Tensor:
    """The formula by autograd."""
    in_order, order = scores.sort()
    return _log_of_one_and(_costs(z[order], in_order))


def _costs(z: Tensor, scores: Tensor) -> Tensor:
    """(n,) log of what each costs beside lower scores, of numbers in order of score; -inf beside none."""
    return torch.cat((_none(z), z.logcumsumexp(0)))[torch.searchsorted(scores, scores)] - z


def _log_of_one_and(costs: Tensor) -> Tensor:
    return torch.cat((costs.new_zeros(1), costs)).logsumexp(0)


def _none(z: Tensor) -> Tensor:
    return z.new_full((1,), -torch.inf)


def _pairs(where: str, first: Any, second: Any) -> tuple[Tensor, Tensor]:
    """Both rows of each pair, in full precision."""
    first, second = check_rows(where, "first", first), check_rows(where, "second", second)
    if second.shape != first.shape:
        raise InputError(
            f"{where}: second must have shape {tuple(first.shape)} to match first, got {tuple(second.shape)}"
        )
    return full_precision(first), full_precision(second)


def _gold(where: str, scores: Any, rows: Tensor) -> Tensor:
    """Scores that can be put in order."""
    gold = _of_pairs(where, "scores", scores, rows)
    if gold.device.type == "cpu" and bool(gold.isnan().any()):
        raise InputError(f"{where}: scores must be numbers, pair {int(gold.isnan().nonzero()[0])} has nan")
    return gold


def _of_pairs(where: str, name: str, numbers: Any, rows: Tensor) -> Tensor:
    """One number for each pair, without a gradient."""
    tensor = as_tensor(where, name, numbers)
    if tensor.shape != rows.shape[:1]:
        raise InputError(
            f"{where}: {name} must have shape ({len(rows)},), one for each pair, got {tuple(tensor.shape)}"
        )
    return tensor.detach().to(rows.device)

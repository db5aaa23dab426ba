"""Softmax over class weights whose margin, or whose other classes, follow the row or the state of training."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_choice, check_not_negative, check_positive
from ..core.class_sums import ClassSums
from ..core.class_terms import HarderClasses, shifted_cosine
from ..core.errors import InputError
from ..core.objective import Objective
from ..core.pairing import Pairing
from ..core.pairs import PairSums, pair_loss
from ..core.similarity import normalized
from .against_classes import AgainstClasses, Beyond, against_classes, angular_logit, class_weights, nearest

_NORM_RANGE = (0.001, 100.0)  # of lengths that count in AdaFace's statistics, the authors'
_LEAST_SPREAD = 1e-3  # added to their standard deviation


@pair_loss
def magface_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    *,
    low_norm: float = 10.0,
    high_norm: float = 110.0,
    low_margin: float = 0.45,
    high_margin: float = 0.8,
    norm_weight: float = 35.0,
    scale: float = 64.0,
    beyond: Beyond = "easy",
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""MagFace: the longer a row, the larger its angular margin; and a reward for length.

    .. math::
        \frac1n \sum_i -\log \frac{e^{\sigma \cos(\theta_{y_i} + m(a_i))}}
        {e^{\sigma \cos(\theta_{y_i} + m(a_i))} + \sum_{c \ne y_i} e^{\sigma \cos \theta_c}}
        + \lambda \Bigl(\frac1{a_i} + \frac{a_i}{u_a^2}\Bigr)

    with the length :math:`a_i` of a row held within :math:`l_a..u_a`, outside of which it has no gradient, and
    :math:`m(a)` the straight line from :math:`l_m` at :math:`l_a` to :math:`u_m` at :math:`u_a`.  A row that is sure
    of its class grows, so length tells quality.  Tightness is minus the logit of the own class and the term of λ,
    contrast the log of the denominator.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        low_norm, high_norm: 0 < l_a < u_a.  They fit embeddings of width 512; for others take the lengths at hand.
        low_margin, high_margin: l_m and u_m in radians.
        norm_weight: λ >= 0.  Lengths settle within the bounds if it is at least
            :math:`\sigma K u_a^2 l_a^2 / (u_a^2 - l_a^2)`, K the slope of m.
        scale: σ > 0.
        beyond: as in :func:`arcface_loss`; the authors' code has ``easy``, their formula is ``cosine``.
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats (plus λ times an inverse length).
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, an option is out of range, or another
            similarity, a mining or a relation is given.

    Reference: Meng et al., CVPR 2021, arXiv:2103.06627.

    >>> x, weight = torch.tensor([[20.0, 0.0], [0.0, 60.0]]), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> magface_loss(x, torch.tensor([0, 1]), weight, scale=1.0)
    tensor(1.8405)
    """
    where = "magface_loss"
    check_positive(where, low_norm=low_norm)
    check_choice(where, "beyond", beyond, get_args(Beyond))
    if not high_norm > low_norm:
        raise InputError(f"{where}: high_norm must be > low_norm = {low_norm}, got {high_norm}")
    check_not_negative(where, norm_weight=norm_weight)
    batch = against_classes(where, embeddings, labels, weight, pairing)
    length = torch.linalg.vector_norm(batch.rows, dim=1).clamp(low_norm, high_norm)
    margin = low_margin + (high_margin - low_margin) * (length - low_norm) / (high_norm - low_norm)
    penalty = norm_weight * (1 / length + length / high_norm**2)
    return batch.softmax(partial(angular_logit, beyond=beyond), margin, scale, penalty=penalty)


class MagFaceLoss(Objective):
    """Class weights (C, width) and :func:`magface_loss` on them."""

    function = staticmethod(magface_loss)

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        low_norm: float = 10.0,
        high_norm: float = 110.0,
        low_margin: float = 0.45,
        high_margin: float = 0.8,
        norm_weight: float = 35.0,
        scale: float = 64.0,
        beyond: Beyond = "easy",
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(
            low_norm=low_norm, high_norm=high_norm, low_margin=low_margin, high_margin=high_margin,
            norm_weight=norm_weight, scale=scale, beyond=beyond, pairing=pairing,
        )  # fmt: skip
        self.weight = class_weights(num_classes, width)


@pair_loss
def adaface_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    norms: Any = None,
    *,
    margin: float = 0.4,
    concentration: float = 0.333,
    scale: float = 64.0,
    momentum: float = 0.01,
    pairing: Pairing = Pairing(),
) -> ClassSums:
    r"""AdaFace: long rows, sharp pictures, are told apart hard from easy; short ones are not pressed.

    .. math::
        \frac1n \sum_i -\log \frac{e^{\sigma u_i}}{e^{\sigma u_i} + \sum_{c \ne y_i} e^{\sigma \cos \theta_c}}, \qquad
        u_i = \cos(\theta_{y_i} - m \hat z_i) - m (1 + \hat z_i), \qquad
        \hat z_i = \Bigl[h \frac{|x_i| - \mu}{s + 0.001}\Bigr]_{-1}^1

    with mean μ and standard deviation s of the lengths so far: those of earlier batches, moved towards this one's by
    `momentum`.  No gradient goes through lengths, so the gradient is not that of the value.  An angle that would
    leave 0..π stays at its end, with slope 0.  The two sides and unlabelled rows are as in :func:`cosface_loss`.

    Args:
        embeddings: (n, d) floating point; their norm matters, within 0.001..100.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        norms: (2,) μ and s of the batches before this one, as :class:`AdaFaceLoss` keeps them; None, or 0, is none
            yet: then this batch's own.
        margin: m.
        concentration: h > 0, the larger the more rows are at -1 or 1.
        scale: σ > 0.
        momentum: share of this batch in μ and s, in [0, 1].  A batch of one row changes nothing.
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, an option is out of range, or another
            similarity, a mining or a relation is given.

    Reference: Kim et al., CVPR 2022, arXiv:2204.00964.  Their code begins at μ = 20 and s = 100 and holds all cosines
    within 0.999.

    >>> x, weight = torch.tensor([[20.0, 0.0], [0.0, 60.0]]), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> adaface_loss(x, torch.tensor([0, 1]), weight, scale=1.0)
    tensor(0.5895)
    """
    return _adaface(
        embeddings, labels, weight, norms, margin, concentration, scale, momentum, pairing=pairing
    )[0]


class AdaFaceLoss(Objective):
    """Class weights (C, width) and :func:`adaface_loss` on them.

    It keeps mean and standard deviation of lengths, a buffer moved by each call in training.
    """

    function = staticmethod(adaface_loss)
    norms: Tensor

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: float = 0.4,
        concentration: float = 0.333,
        scale: float = 64.0,
        momentum: float = 0.01,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(
            margin=margin, concentration=concentration, scale=scale, momentum=momentum, pairing=pairing
        )
        self.weight = class_weights(num_classes, width)
        self.register_buffer("norms", torch.zeros(2))

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        loss, norms = _adaface(
            embeddings, labels, *self._against(references, reference_labels), **self.options
        )
        if self.training:
            self.norms.copy_(torch.where(norms.isfinite(), norms, self.norms))  # a lost batch leaves no trace
        return loss.total()

    def _against(self, references: Any, reference_labels: Any) -> tuple[Any, ...]:
        return *super()._against(references, reference_labels), self.norms


def _adaface(
    embeddings: Any,
    labels: Any,
    weight: Any,
    norms: Any,
    margin: float,
    concentration: float,
    scale: float,
    momentum: float,
    pairing: Pairing,
) -> tuple[ClassSums, Tensor]:
    """The loss, and mean and standard deviation of lengths that it stands by."""
    where = "adaface_loss"
    check_positive(where, concentration=concentration)
    _check_momentum(where, momentum)
    batch = against_classes(where, embeddings, labels, weight, pairing)
    length = torch.linalg.vector_norm(batch.rows.detach(), dim=1).clamp(*_NORM_RANGE)
    norms = _state(where, "norms", norms, (2,), length)
    if len(length) > 1:
        here = torch.stack((length.mean(), length.std()))
        norms = here.lerp(norms, torch.where(norms[0] == 0, 0.0, 1 - momentum).to(norms))
    mean, spread = norms
    z = (concentration * (length - mean) / (spread + _LEAST_SPREAD)).clamp(-1, 1)

    def logit(cosine: Tensor, z: Tensor) -> Tensor:
        shift = -margin * z
        shifted = shifted_cosine(cosine, shift)
        shifted = torch.where((shift < 0) & (cosine > shift.cos()), 1, shifted)
        shifted = torch.where((shift > 0) & (cosine < -shift.cos()), -1, shifted)
        return shifted - margin * (1 + z)

    return batch.softmax(logit, z, scale), norms


@pair_loss
def curricularface_loss(
    embeddings: Any,
    labels: Any,
    weight: Any,
    level: Any = None,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    momentum: float = 0.01,
    pairing: Pairing = Pairing(),
) -> PairSums:
    r"""CurricularFace: ArcFace whose hard classes count little at first and more as training goes on.

    .. math::
        \frac1n \sum_i -\log \frac{e^{\sigma u_i}}{e^{\sigma u_i} + \sum_{c \ne y_i} e^{\sigma v_{ic}}}, \qquad
        v_{ic} = \cos \theta_c \, (t + \cos \theta_c) \text{ if } \cos \theta_c > \cos(\theta_{y_i} + m),
        \text{ else } \cos \theta_c

    with :math:`u_i = \cos(\theta_{y_i} + m)` or, past θ = π - m, cos θ - m sin m.  The level t is the mean cosine of
    rows and their classes so far: that of earlier batches, moved towards this one's by `momentum`.  No gradient goes
    through t, so the gradient is not quite that of the value.  The two sides and unlabelled rows are as in
    :func:`cosface_loss`.

    Args:
        embeddings: (n, d) floating point, of any norm.
        labels: (n,) integer class ids in 0..C-1, or -1.
        weight: (C, d) one row per class, of any norm.
        level: () t of the batches before this one, as :class:`CurricularFaceLoss` keeps it; None is 0, its start.
        margin: m in radians.
        scale: σ > 0.
        momentum: share of this batch in t, in [0, 1].
        pairing: reduction, weights, block.

    Returns:
        Scalar >= 0, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, an option is out of range, or another
            similarity, a mining or a relation is given.

    Reference: Huang et al., CVPR 2020, arXiv:2004.00288.

    >>> x, weight = torch.eye(2), torch.tensor([[2.0, 0.0], [0.6, 0.8]])
    >>> curricularface_loss(x, torch.tensor([0, 1]), weight, scale=1.0)
    tensor(0.5356)
    """
    return _curricularface(embeddings, labels, weight, level, margin, scale, momentum, pairing=pairing)[0]


class CurricularFaceLoss(Objective):
    """Class weights (C, width) and :func:`curricularface_loss` on them.

    It keeps the level t, a buffer moved by each call in training.
    """

    function = staticmethod(curricularface_loss)
    level: Tensor

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        margin: float = 0.5,
        scale: float = 64.0,
        momentum: float = 0.01,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(margin=margin, scale=scale, momentum=momentum, pairing=pairing)
        self.weight = class_weights(num_classes, width)
        self.register_buffer("level", torch.zeros(()))

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        loss, level = _curricularface(
            embeddings, labels, *self._against(references, reference_labels), **self.options
        )
        if self.training:
            self.level.copy_(torch.where(level.isfinite(), level, self.level))
        return loss.total()

    def _against(self, references: Any, reference_labels: Any) -> tuple[Any, ...]:
        return *super()._against(references, reference_labels), self.level


def _curricularface(
    embeddings: Any,
    labels: Any,
    weight: Any,
    level: Any,
    margin: float,
    scale: float,
    momentum: float,
    pairing: Pairing,
) -> tuple[PairSums, Tensor]:
    """The loss, and the level that it stands by."""
    where = "curricularface_loss"
    _check_momentum(where, momentum)
    batch = against_classes(where, embeddings, labels, weight, pairing)
    level = _moved(batch, _state(where, "level", level, (), batch.rows), momentum)
    logit = partial(angular_logit, beyond="linear")
    push = HarderClasses(level, scale, margin)
    return batch.softmax_of(push, nearest, logit, batch.of_rows(margin), scale), level


@torch.no_grad()
def _moved(batch: AgainstClasses, level: Tensor, momentum: float) -> Tensor:
    """The level, moved towards the mean cosine of labelled rows and their classes."""
    labelled = batch.labels >= 0
    cosines = (normalized(batch.rows) * normalized(batch.own_weight())).sum(1)
    mean = torch.where(labelled, cosines, 0).sum() / labelled.sum().clamp(min=1)
    return torch.where(labelled.any(), level.lerp(mean, momentum), level)


def _state(where: str, name: str, given: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """What earlier batches left, 0 for nothing."""
    if given is None:
        return like.new_zeros(shape)
    state = as_tensor(where, name, given)
    if state.shape != shape:
        raise InputError(f"{where}: {name} must have shape {shape}, got {tuple(state.shape)}")
    return state.detach().to(like)


def _check_momentum(where: str, momentum: float) -> None:
    if not 0 <= momentum <= 1:
        raise InputError(f"{where}: momentum must lie in [0, 1], got {momentum}")

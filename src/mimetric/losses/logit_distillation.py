"""What a teacher says of the classes of each row: its logits, beside ours."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.checks import check_match, check_not_negative, check_positive, check_rows, check_share
from ..core.errors import InputError
from ..core.logits import check_logits, over_logits, whole_logits
from ..core.objective import Bound
from ..core.pairing import Pairing
from ..core.pairs import Described, pair_loss
from ..core.plackett_luce import plackett_luce
from ..core.reduce import FINITE, masked_logsumexp
from ..core.similarity import full_precision, normalized

# None is in the catalog of `compare`: they need a teacher's logits of the very rows.  No gradient goes to a teacher.


class _TeacherLoss(Bound):
    """A loss of logits (n, C), a teacher's of the same rows and labels: `loss(logits, teacher_logits, labels)`."""

    def forward(self, logits: Any, teacher_logits: Any, labels: Any = None) -> Tensor:
        return cast(Tensor, self.function(logits, teacher_logits, labels, **self.options))


@pair_loss
def soft_target_loss(
    logits: Any,
    teacher_logits: Any,
    labels: Any = None,
    *,
    temperature: float = 4.0,
    label_weight: float = 0.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Distillation of logits: the teacher's softmax over all classes and ours, both made flat, and the labels.

    .. math::
        \frac1n \sum_i (1 - w) \, T^2 \sum_c q_{ic} \log \frac{q_{ic}}{p_{ic}} - w \log \text{softmax}(f_i)_{y_i},
        \qquad p_i = \text{softmax}(f_i / T), \quad q_i = \text{softmax}(t_i / T)

    The factor T² keeps the size of gradients at any temperature.  This is what most call knowledge distillation, on
    the logits of a classifier; :func:`kl_distillation_loss` has the same sum over the candidates of a retriever's
    anchor, and computes their scores from embeddings.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`, which are computed whole.
        teacher_logits: t, (n, C) floating point, of the same rows and classes.
        labels: (n,) integer class ids in 0..C-1, or -1: such a row has its teacher alone.  Only for label_weight > 0.
        temperature: T > 0, of both.
        label_weight: w in 0..1, the share of cross-entropy.
        pairing: reduction and weights.

    Returns:
        Scalar >= 0, in nats, the teacher's part times T².
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are missing or not below C, or an option is
            out of range.

    Reference: Hinton et al., arXiv:1503.02531, which names no T; 4 and w = 0.1 are what most benchmarks of
    distillation have since.

    >>> logits, teacher = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[3.0, 1.0, 0.0]])
    >>> soft_target_loss(logits, teacher)
    tensor(0.3309)
    """
    where = "soft_target_loss"
    check_positive(where, temperature=temperature)
    check_share(where, label_weight=label_weight)
    if labels is None and label_weight:
        raise InputError(f"{where}: labels must be given where label_weight is > 0, got None")
    logits, teacher = _both(where, logits, teacher_logits)
    _, own = check_logits(where, logits, torch.full((len(logits),), -1) if labels is None else labels)

    def cost(logits: Tensor, _: Tensor) -> Tensor:
        taught = temperature**2 * _divergence(
            (teacher / temperature).log_softmax(1), (logits / temperature).log_softmax(1)
        )
        if not label_weight:
            return taught
        entropy = F.cross_entropy(logits, own, ignore_index=-1, reduction="none")
        return (1 - label_weight) * taught + label_weight * entropy

    return over_logits(where, logits, torch.zeros_like(own), cost=cost, pairing=pairing)


class SoftTargetLoss(_TeacherLoss):
    """Module form of :func:`soft_target_loss`."""

    function = staticmethod(soft_target_loss)

    def __init__(
        self, *, temperature: float = 4.0, label_weight: float = 0.0, pairing: Pairing = Pairing()
    ) -> None:
        check_positive("SoftTargetLoss", temperature=temperature)
        check_share("SoftTargetLoss", label_weight=label_weight)
        super().__init__(temperature=temperature, label_weight=label_weight, pairing=pairing)


@pair_loss
def decoupled_distillation_loss(
    logits: Any,
    teacher_logits: Any,
    labels: Any,
    *,
    label_weight: float = 1.0,
    others_weight: float = 8.0,
    temperature: float = 4.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Decoupled distillation (DKD): how sure the teacher is of the label, and how it ranks the others, apart.

    .. math::
        \frac{T^2}n \sum_i \alpha \, \text{KL}\bigl((q_y, 1 - q_y) \,\|\, (p_y, 1 - p_y)\bigr)
        + \beta \, \text{KL}\Bigl(\frac{q_c}{1 - q_y} \,\Big\|\, \frac{p_c}{1 - p_y}\Bigr)_{c \ne y}

    with p and q the softmax of :math:`f / T` and :math:`t / T`.  In :func:`soft_target_loss` the second part has the
    weight :math:`1 - q_y` in place of β: a sure teacher teaches nothing of the others.  Add cross-entropy of the
    labels.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`, which are computed whole.
        teacher_logits: t, (n, C) floating point, of the same rows and classes.
        labels: (n,) integer class ids in 0..C-1, or -1.
        label_weight: α >= 0.
        others_weight: β >= 0; better the larger where the teacher is sure.
        temperature: T > 0, of both.
        pairing: reduction and weights.

    Returns:
        Scalar >= 0, in nats times T².
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not integers or not below C, or an
            option is out of range.

    Reference: Zhao et al., CVPR 2022, arXiv:2203.08679; α, β and T as in their code on CIFAR-100, where the loss grows
    from 0 over the first 20 epochs.

    >>> logits, teacher = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[3.0, 1.0, 0.0]])
    >>> decoupled_distillation_loss(logits, teacher, [0], temperature=1.0)
    tensor(1.0536)
    """
    where = "decoupled_distillation_loss"
    _check(where, temperature, label_weight=label_weight, others_weight=others_weight)
    logits, teacher = _both(where, logits, teacher_logits)

    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        of_label, of_others = map(
            _divergence, _parted(teacher / temperature, labels), _parted(logits / temperature, labels)
        )
        return temperature**2 * (label_weight * of_label + others_weight * of_others)

    return over_logits(where, logits, labels, cost=cost, pairing=pairing)


class DecoupledDistillationLoss(_TeacherLoss):
    """Module form of :func:`decoupled_distillation_loss`."""

    function = staticmethod(decoupled_distillation_loss)

    def __init__(
        self,
        *,
        label_weight: float = 1.0,
        others_weight: float = 8.0,
        temperature: float = 4.0,
        pairing: Pairing = Pairing(),
    ) -> None:
        _check(
            "DecoupledDistillationLoss", temperature, label_weight=label_weight, others_weight=others_weight
        )
        super().__init__(
            label_weight=label_weight, others_weight=others_weight, temperature=temperature, pairing=pairing
        )


def correlation_distillation_loss(
    logits: Any, teacher_logits: Any, *, inter: float = 1.0, intra: float = 1.0, temperature: float = 1.0
) -> Tensor:
    r"""Distillation of relations (DIST): probabilities that go along with the teacher's, whatever their scale.

    .. math::
        T^2 \Bigl(\frac\beta n \sum_i \bigl(1 - \rho(p_{i \cdot}, q_{i \cdot})\bigr)
        + \frac\gamma C \sum_c \bigl(1 - \rho(p_{\cdot c}, q_{\cdot c})\bigr)\Bigr)

    with p and q the softmax of :math:`f / T` and :math:`t / T`, and ρ the correlation, over the classes of a row and
    over the rows of a class.  Where either is constant ρ is 0, with a zero gradient: so is the second part of one row.
    It needs no labels, and large batches: it is no mean over rows.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`, which are computed whole.
        teacher_logits: t, (n, C) floating point, of the same rows and classes.
        inter: β >= 0, of the classes of each row.
        intra: γ >= 0, of the rows of each class.
        temperature: T > 0, of both.

    Returns:
        Scalar in [0, 2 (β + γ) T²].
    Raises:
        InputError: shapes disagree, logits are not floating point, or an option is out of range.

    Reference: Huang et al., NeurIPS 2022, arXiv:2205.10536.  Defaults are their code's, which adds 1e-8 to the product
    of lengths in ρ.

    >>> logits, teacher = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[3., 1., 0.], [0., 1., 3.]])
    >>> correlation_distillation_loss(logits, teacher)
    tensor(1.3823)
    """
    where = "correlation_distillation_loss"
    _check(where, temperature, inter=inter, intra=intra)
    student, teacher = _both(where, logits, teacher_logits)
    if not len(student):
        return student.sum()
    with torch.autocast(student.device.type, enabled=False):
        ours, teachers = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
        apart = inter * _uncorrelated(ours, teachers) + intra * _uncorrelated(ours.T, teachers.T)
    return temperature**2 * apart


class CorrelationDistillationLoss(Bound):
    """Module form of :func:`correlation_distillation_loss`; labels are not looked at."""

    function = staticmethod(correlation_distillation_loss)

    def __init__(self, *, inter: float = 1.0, intra: float = 1.0, temperature: float = 1.0) -> None:
        _check("CorrelationDistillationLoss", temperature, inter=inter, intra=intra)
        super().__init__(inter=inter, intra=intra, temperature=temperature)

    def forward(self, logits: Any, teacher_logits: Any, labels: Any = None) -> Tensor:  # noqa: ARG002
        return cast(Tensor, self.function(logits, teacher_logits, **self.options))


@pair_loss
def plackett_luce_distillation_loss(
    logits: Any,
    teacher_logits: Any,
    labels: Any,
    *,
    teacher_temperature: float = 1.0,
    label_floor: float = 0.0,
    pairing: Pairing = Pairing(),
) -> Described:
    r"""Plackett-Luce distillation (PLD): the label first, then the classes in the teacher's order.

    .. math::
        \frac1n \sum_i \sum_{k=1}^C q_{i \pi_k} \Bigl(\log \sum_{l \ge k} e^{f_{i \pi_l}} - f_{i \pi_k}\Bigr),
        \qquad q_i = \text{softmax}(t_i / T)

    with π the label and then the other classes by falling t.  One loss in place of a mix of cross-entropy and
    distillation: a teacher sure of the label makes it cross-entropy.  One sure of *another* class takes the label's
    weight away; `label_floor` keeps some.  It is smaller than cross-entropy where the teacher is unsure; learning rates
    do not carry over.  Unlabelled rows (-1) add 0 to a mean over all n.

    Args:
        logits: f, (n, C) floating point, or :class:`LinearLogits`, which are computed whole.
        teacher_logits: t, (n, C) floating point, of the same rows and classes; ties in order of the classes.
        labels: (n,) integer class ids in 0..C-1, or -1.
        teacher_temperature: T > 0, of the weights alone: large makes all places alike (ListMLE over C).
        label_floor: in 0..1, least weight of the label; not in the paper.
        pairing: reduction and weights.

    Returns:
        Scalar >= 0, in nats; convex in the logits.
    Raises:
        InputError: shapes disagree, logits are not floating point, labels are not integers or not below C, or an
            option is out of range.

    Reference: Bassam et al., NeurIPS 2025, arXiv:2506.12542.

    >>> logits, teacher = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    >>> plackett_luce_distillation_loss(logits, teacher, [1])
    tensor(0.4289)
    """
    where = "plackett_luce_distillation_loss"
    check_positive(where, teacher_temperature=teacher_temperature)
    check_share(where, label_floor=label_floor)
    logits, teacher = _both(where, logits, teacher_logits)

    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        order = teacher.scatter(1, labels[:, None], torch.inf).argsort(dim=1, descending=True, stable=True)
        first, later = (teacher / teacher_temperature).softmax(1).gather(1, order).tensor_split([1], 1)
        return plackett_luce(logits, order, torch.cat((first.clamp(min=label_floor), later), 1))

    return over_logits(where, logits, labels, cost=cost, pairing=pairing)


class PlackettLuceDistillationLoss(_TeacherLoss):
    """Module form of :func:`plackett_luce_distillation_loss`."""

    function = staticmethod(plackett_luce_distillation_loss)

    def __init__(
        self, *, teacher_temperature: float = 1.0, label_floor: float = 0.0, pairing: Pairing = Pairing()
    ) -> None:
        check_positive("PlackettLuceDistillationLoss", teacher_temperature=teacher_temperature)
        check_share("PlackettLuceDistillationLoss", label_floor=label_floor)
        super().__init__(teacher_temperature=teacher_temperature, label_floor=label_floor, pairing=pairing)


def _both(where: str, logits: Any, teacher_logits: Any) -> tuple[Tensor, Tensor]:
    """Ours as they come, and the teacher's, without a gradient, in the type in which both are computed."""
    ours = full_precision(check_rows(where, "logits", whole_logits(where, logits)))
    teachers = check_rows(where, "teacher_logits", teacher_logits)
    check_match(where, "teacher_logits", teachers, tuple(ours.shape), "logits", ours)
    return ours, teachers.detach().to(ours)


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """(n,) KL of log probabilities."""
    return torch.sum(teacher.exp() * (teacher - student), dim=1)


def _parted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities of the label and of all others together (n, 2), and among the others (n, C)."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
    rest = masked_logsumexp(logits, ~own).clamp(min=FINITE)  # of one class there are none
    either = torch.stack((logits.gather(1, labels[:, None])[:, 0], rest), 1)
    return either.log_softmax(1), logits.masked_fill(own, FINITE).log_softmax(1)


def _uncorrelated(x: Tensor, y: Tensor) -> Tensor:
    """1 less the correlation of each row of x (k, m) with that of y, averaged."""
    return (1 - (_standardized(x) * _standardized(y)).sum(1)).mean()


def _standardized(x: Tensor) -> Tensor:
    """Rows less their mean, of length 1, or 0 where constant."""
    centered = x - x.mean(1, keepdim=True)
    length, whole = (torch.linalg.vector_norm(rows.detach(), dim=1, keepdim=True) for rows in (centered, x))
    constant = (
        length <= 8 * torch.finfo(x.dtype).eps * whole
    )  # but for rounding, which must not grow to length 1
    return normalized(torch.where(constant, 0, centered))


def _check(where: str, temperature: float, **weights: float) -> None:
    check_positive(where, temperature=temperature)
    check_not_negative(where, **weights)

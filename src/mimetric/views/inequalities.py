r"""The bounds between cross-entropy and its pairwise forms, on given embeddings.

With class weights :math:`\theta_k` and any :math:`\lambda > 0` cross-entropy is :math:`f_1 + f_2`,

.. math::
    f_1 = -\frac1n \sum_i \theta_{y_i}^T z_i + \frac\lambda2 \sum_k |\theta_k|^2, \qquad
    f_2 = \frac1n \sum_i \log \sum_k e^{\theta_k^T z_i} - \frac\lambda2 \sum_k |\theta_k|^2

and the pairwise cross-entropy PCE is what is left of both when each is solved for its own :math:`\theta`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.checks import check_batch, check_classes, check_finite, check_positive, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..losses import cross_entropy_loss, pce_loss, spce_loss

_ROUNDING = 1e-9  # relative, of float64


@dataclass(frozen=True)
class Inequality:
    """That one number is at least another, on some embeddings.

    Attributes:
        text: such as ``CE >= PCE``.
        larger, smaller: both sides, in nats.
        theorem: whether it holds always, or is only reported.
    """

    text: str
    larger: float
    smaller: float
    theorem: bool

    @property
    def slack(self) -> float:
        """By how much it holds; negative where it does not."""
        return self.larger - self.smaller

    @property
    def holds(self) -> bool:
        """Whether it does here, up to rounding."""
        return self.slack >= -_ROUNDING * max(1.0, abs(self.larger), abs(self.smaller))


@dataclass(frozen=True)
class Bounds:
    """Cross-entropy and its pairwise forms on the same embeddings, in nats; nan over no row.

    Attributes:
        lam: the weight of the split.
        ce: cross-entropy of the classifier, f1 + f2.
        pce, pce_tightness, pce_contrast: :func:`~mimetric.losses.pce_loss` at the classifier's probabilities; its
            sides.
        spce: :func:`~mimetric.losses.spce_loss`, cross-entropy at the class sums over n.
        f1, f2: the two parts of cross-entropy.
        inequalities: which there are between them, theorems first.
    """

    lam: float
    ce: float
    pce: float
    pce_tightness: float
    pce_contrast: float
    spce: float
    f1: float
    f2: float
    inequalities: tuple[Inequality, ...]


def bounds(embeddings: Any, labels: Any, weight: Any, bias: Any = None, *, lam: float = 1.0) -> Bounds:
    r"""Cross-entropy, PCE and SPCE of a linear classifier's embeddings, and which inequalities hold between them.

    - **f1 >= PCE's tightness**, a theorem: f1 is quadratic in the weights, least at the class sums over
      :math:`\lambda n`.
    - f2 >= PCE's contrast, and with both CE >= PCE: the paper's approximate bound.  f2 is never convex (it falls along
      a common shift of all weights), so this is **no theorem for any fixed λ**; it is reported, with its slack.
    - SPCE >= CE: a theorem for the best classifier of these embeddings, as SPCE is the cross-entropy of one of them;
      of the classifier given it says whether it is better than class sums.

    A bias counts as the weight of one more coordinate of the embeddings that is 1 everywhere; λ penalizes it too.

    Args:
        embeddings: (n, d) floating point; their norm matters.
        labels: (n,) integer class ids in 0..C-1; unlabelled rows (-1) are left out.
        weight: (C, d) of the classifier.
        bias: (C,) or None.
        lam: λ > 0.

    Returns:
        Bounds, computed in float64.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, values are not finite, or lam is not > 0.

    Cost: O(n C d).

    Reference: Boudiaf et al., ECCV 2020, arXiv:2003.08983, section 4 and proposition 1.

    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> found = bounds(z, [0, 0, 1, 1], torch.zeros(2, 2))
    >>> round(found.ce, 4), round(found.spce, 4), round(found.pce, 4)
    (0.6931, 0.4959, 0.5806)
    >>> [(one.text, one.holds, round(one.slack, 4)) for one in found.inequalities if not one.theorem]
    [('f2 >= PCE contrast', False, -0.1125), ('CE >= PCE', True, 0.1125), ('SPCE >= CE', False, -0.1972)]
    """
    check_positive("bounds", lam=lam)
    z, y, theta = _checked(embeddings, labels, weight, bias)
    logits = z @ theta.T
    ce = cross_entropy_loss(z, y, theta)
    tightness, contrast = pce_loss.sides(z, y, logits.softmax(1), lam=lam)
    own = (y[:, None] == torch.arange(len(theta), device=y.device)) * logits
    f1 = -own.sum(1).mean() + lam / 2 * theta.square().sum()
    f2 = logits.logsumexp(1).mean() - lam / 2 * theta.square().sum()
    spce, pce = spce_loss(z, y), tightness + contrast
    pairs = (
        ("f1 >= PCE tightness", f1, tightness, True),
        ("f2 >= PCE contrast", f2, contrast, False),
        ("CE >= PCE", ce, pce, False),
        ("SPCE >= CE", spce, ce, False),
    )
    return Bounds(
        lam=lam,
        ce=float(ce),
        pce=float(pce),
        pce_tightness=float(tightness),
        pce_contrast=float(contrast),
        spce=float(spce),
        f1=float(f1),
        f2=float(f2),
        inequalities=tuple(Inequality(text, float(a), float(b), sure) for text, a, b, sure in pairs),
    )


def _checked(embeddings: Any, labels: Any, weight: Any, bias: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Labelled rows, their labels and the class weights in float64, a bias as their last column."""
    z, y = check_batch("bounds", embeddings, labels)
    theta = check_rows("bounds", "weight", weight).to(z.device, torch.float64).detach()
    if theta.shape[1] != z.shape[1]:
        raise InputError(
            f"bounds: weight must have {z.shape[1]} columns to match embeddings {tuple(z.shape)}, "
            f"got {tuple(theta.shape)}"
        )
    check_classes("bounds", y, len(theta))
    z, y = z[y != UNLABELLED].double().detach(), y[y != UNLABELLED]
    if bias is not None:
        offset = torch.as_tensor(bias).to(theta).detach()
        if offset.shape != theta.shape[:1]:
            raise InputError(f"bounds: bias must have shape ({len(theta)},), got {tuple(offset.shape)}")
        z, theta = torch.cat((z, z.new_ones(len(z), 1)), 1), torch.cat((theta, offset[:, None]), 1)
    check_finite("bounds", "embeddings", z)
    check_finite("bounds", "weight", theta)
    return z, y, theta

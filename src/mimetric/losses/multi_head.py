"""Several projections of a row, and a temperature that is learned for each pair of each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.checks import as_tensor, check_batch, check_choice, check_not_negative, check_references
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from ..core.reduce import masked_logsumexp
from ..core.similarity import full_precision, normalized

Temperatures = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From unit rows (C, k, d) and (C, m, d) to the temperatures (C, k, m) of their pairs: as positives, as negatives."""

# Numbers of one array of a block, 8 MiB in float32, where a pair takes as many as its rows are wide; about eight
# such arrays are alive.
_BLOCK_ELEMENTS = 1 << 21


def temperature_penalty(temperature: Tensor, width: int) -> Tensor:
    r"""What keeps a temperature from its ends: :math:`\Omega(T) = \frac d2 \log T + \frac1T`.

    Unit rows of width d with a normal likelihood of variance T cost :math:`(1 - s) / T + \frac d2 \log T =
    -s / T + \Omega(T)` nats.  Least at T = 2 / d.

    >>> temperature_penalty(torch.tensor([0.5, 1.0]), width=2)
    tensor([1.3069, 1.0000])
    """
    return width / 2 * temperature.log() + 1 / temperature


# No pair_sums: its slopes are a function of a similarity, and here a pair has a temperature of its own that
# depends on both rows.  Blocks of anchors by autograd, recomputed on the way back.
def adaptive_multi_head_loss(
    heads: Any,
    labels: Any,
    references: Any = None,
    reference_labels: Any = None,
    *,
    temperatures: Temperatures,
    beta: float = 0.1,
    regularize: Literal["both", "positives"] = "both",
    top_k: int | None = None,
    block: int | None = None,
) -> Tensor:
    r"""Adaptive multi-head contrast: NT-Xent of each of C projections, with a temperature for each pair.

    .. math::
        \frac1{nC} \sum_{c, i} \frac1{|P_i|} \sum_{p \in P_i}
        \Bigl[-\log \frac{e^{s_{ip} / T^+_{ip}}}{e^{s_{ip} / T^+_{ip}} + \sum_{j \in K_i} e^{s_{ij} / T^-_{ij}}}
        + \beta\, \Omega(T^+_{ip})\Bigr] + \frac\beta{|K_i|} \sum_{j \in K_i} \Omega(T^-_{ij})

    with cosine similarity s in head c, :func:`temperature_penalty` Ω, and :math:`K_i` all negatives or the `top_k` most
    similar.  An anchor without positives adds 0.  Of any sign for β > 0; it has no tightness and contrast.

    Two views are one batch of both, with instance ids as labels.  Every pair goes through the network of the
    temperatures: 512 rows in three heads take 3 s on one core.  Memory is that of the rows and of one block, which
    is computed again on the way back.

    Args:
        heads: (C, n, d) floating point, as of :class:`MultiHeadProjector`.
        labels: (n,) integer class or instance ids, -1 unlabelled.
        references: (C, m, d) what to compare with, such as a queue; None is the batch itself.
        reference_labels: (m,) their ids.
        temperatures: of pairs, such as :class:`PairTemperature`.
        beta: weight of the penalty, >= 0; the code's 0.1.  At large d it pulls towards low temperatures.
        regularize: whose temperatures it holds; the published formulas leave it open.
        top_k: how many negatives count, those as similar as the last of them included.
        block: anchors in a block; None chooses.  Changes no result.

    Returns:
        Scalar, in nats.
    Raises:
        InputError: shapes disagree, labels are not integers, or an option is out of range.

    Reference: Wang et al., ECCV 2024, arXiv:2310.05615.  The released loss has no negatives; this is the paper's form.

    >>> heads = torch.tensor([[[1., 0.], [0.6, 0.8], [0.8, 0.6]]])
    >>> fixed = lambda x, y: (torch.ones(1, 1, 1), torch.ones(1, 1, 1))
    >>> adaptive_multi_head_loss(heads, [0, 0, 1], temperatures=fixed, beta=0.0)  # nt_xent_loss at temperature 1
    tensor(0.5625)
    """
    where = "adaptive_multi_head_loss"
    _check_options(where, beta, regularize, top_k, block)
    x = _rows(where, "heads", heads)
    others = x if references is None else _rows(where, "references", references)
    _, labels = check_batch(where, x[0], labels)
    first = None if references is None else others[0]
    _, other_labels = check_references(where, x[0], labels, first, reference_labels)
    if len(others) != len(x):
        raise InputError(f"{where}: references must have {len(x)} heads as heads has, got {len(others)}")

    def cost(rows: slice) -> Tensor:
        positive, negative = _pairs(labels, other_labels, rows, references is None)
        sim = x[:, rows] @ others.mT
        of_positives, of_negatives = temperatures(x[:, rows], others)
        negative = _hardest(sim.detach(), negative, top_k)
        far = _logsumexp(sim / of_negatives, negative)
        z = sim / of_positives
        costs = F.softplus(far[..., None] - z, threshold=50)
        if beta:
            costs = costs + beta * temperature_penalty(of_positives, x.shape[2])
        total = _mean(costs, positive)
        if beta and regularize == "both":
            total = total + beta * _mean(temperature_penalty(of_negatives, x.shape[2]), negative)
        return torch.where(positive.any(-1), total, 0).sum()

    rows_each = block or max(1, _BLOCK_ELEMENTS // max(1, len(x) * others.shape[1] * x.shape[2]))
    total = x[:, :0].sum()
    for start in range(0, len(labels), rows_each):
        rows = slice(start, start + rows_each)
        total = total + cast(Tensor, checkpoint(cost, rows, use_reentrant=False, preserve_rng_state=False))
    return total / max(1, len(x) * len(labels))


def _pairs(labels: Tensor, others: Tensor, rows: slice, own: bool) -> tuple[Tensor, Tensor]:
    """Which references are positives of some anchors, and which negatives; the anchor itself is neither."""
    mine = labels[rows, None]
    positive = (mine == others) & (mine != UNLABELLED)
    pairs = torch.ones_like(positive)
    if own:
        pairs.diagonal(rows.start).fill_(False)
    return positive & pairs, ~positive & pairs


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Over the last axis, of what the mask has; 0 over none."""
    return torch.where(mask, x, 0).sum(-1) / mask.sum(-1).clamp(min=1)


def _logsumexp(x: Tensor, mask: Tensor) -> Tensor:
    """Over the last axis, of what the mask (of the same shape) has."""
    return masked_logsumexp(x.flatten(0, -2), mask.expand_as(x).flatten(0, -2)).view(x.shape[:-1])


def _hardest(sim: Tensor, negative: Tensor, top_k: int | None) -> Tensor:
    """The negatives that count, for each head."""
    if top_k is None or top_k >= sim.shape[-1]:
        return negative.expand_as(sim)
    low = torch.where(negative, sim, -torch.inf)
    return negative & (low >= low.topk(top_k, dim=-1).values[..., -1:])


def _rows(where: str, name: str, x: Any) -> Tensor:
    """Unit rows (C, n, d)."""
    x = as_tensor(where, name, x)
    if x.ndim != 3 or not len(x) or not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise InputError(
            f"{where}: {name} must be floating point of shape (heads, rows, width), got {kind} {tuple(x.shape)}"
        )
    x = full_precision(x)
    return normalized(x.flatten(0, 1)).view_as(x)


def _check_options(where: str, beta: float, regularize: str, top_k: int | None, block: int | None) -> None:
    check_choice(where, "regularize", regularize, ("both", "positives"))
    check_not_negative(where, beta=beta)
    for name, value in (("top_k", top_k), ("block", block)):
        if value is not None and value < 1:
            raise InputError(f"{where}: {name} must be at least 1, got {value}")


class MultiHeadProjector(nn.Module):
    """C projections of the same shape: Linear, ReLU, Linear each.

    Args:
        width: of the embeddings.
        heads: C; the paper has 3 to 5.
        hidden, out: widths of the layers; the code has 512 and 128.

    >>> MultiHeadProjector(8, out=4)(torch.zeros(5, 8)).shape
    torch.Size([3, 5, 4])
    """

    def __init__(self, width: int, *, heads: int = 3, hidden: int = 512, out: int = 128) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)) for _ in range(heads)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, width) -> (C, n, out)."""
        return torch.stack([head(embeddings) for head in self.heads])


class PairTemperature(nn.Module):
    r"""Two temperatures for each pair, as a positive and as a negative, from the product of its rows.

    .. math:: T = l + (h - l)\, \sigma(\phi(x \odot y)), \qquad \phi = \text{Linear, ReLU, Linear}

    One network for all heads, symmetric in x and y (the released code joins the rows, which is not).

    Args:
        width: of the rows.
        hidden: width of the layer between.
        low, high: bounds of the temperature; the code has 1e-5 and 2.  Below 0.01 half precision overflows.

    >>> temperature = PairTemperature(4)
    >>> positive, negative = temperature(torch.randn(3, 5, 4), torch.randn(3, 7, 4))
    >>> positive.shape
    torch.Size([3, 5, 7])
    """

    def __init__(self, width: int, *, hidden: int = 128, low: float = 1e-5, high: float = 2.0) -> None:
        super().__init__()
        if not 0 < low < high:
            raise InputError(f"PairTemperature: low and high must be 0 < low < high, got {low} and {high}")
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, 2)
        self.low, self.high = low, high

    def forward(self, anchors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """(C, k, width) and (C, m, width) -> (C, k, m) twice; holds (C, k, m, width)."""
        phi = self.second(self.first(anchors[:, :, None] * references[:, None]).relu())
        positive, negative = (self.low + (self.high - self.low) * phi.sigmoid()).unbind(-1)
        return positive, negative


class AdaptiveMultiHeadLoss(nn.Module):
    """:func:`adaptive_multi_head_loss` with its projector and temperature, called on embeddings.

    The embeddings are what is evaluated; projector and temperature are dropped after training.

    Args:
        width: of the embeddings.
        heads, hidden, out: of :class:`MultiHeadProjector`.
        low, high: bounds of :class:`PairTemperature`.
        beta, regularize, top_k: as in the function.

    >>> loss = AdaptiveMultiHeadLoss(8, out=4)
    >>> bool(loss(torch.randn(6, 8), [0, 0, 1, 1, 2, 2]).isfinite())
    True
    """

    function = staticmethod(adaptive_multi_head_loss)

    def __init__(
        self,
        width: int,
        *,
        heads: int = 3,
        hidden: int = 512,
        out: int = 128,
        low: float = 1e-5,
        high: float = 2.0,
        beta: float = 0.1,
        regularize: Literal["both", "positives"] = "both",
        top_k: int | None = None,
    ) -> None:
        super().__init__()
        _check_options("AdaptiveMultiHeadLoss", beta, regularize, top_k, None)
        self.projector = MultiHeadProjector(width, heads=heads, hidden=hidden, out=out)
        self.temperature = PairTemperature(out, low=low, high=high)
        self.beta, self.regularize, self.top_k = beta, regularize, top_k

    def forward(
        self, embeddings: Tensor, labels: Any, references: Tensor | None = None, reference_labels: Any = None
    ) -> Tensor:
        return adaptive_multi_head_loss(
            self.projector(embeddings),
            labels,
            None if references is None else self.projector(references),
            reference_labels,
            temperatures=self.temperature,
            beta=self.beta,
            regularize=self.regularize,
            top_k=self.top_k,
        )

"""Any loss on the first columns of its rows, at several widths: embeddings that can be cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.func import functional_call

from ..core.checks import as_tensor, check_rows
from ..core.errors import InputError


def matryoshka_loss(
    loss: Callable[..., Tensor],
    *rows: Any,
    widths: Sequence[int],
    weights: Sequence[float] | None = None,
) -> Tensor:
    r"""Matryoshka: a loss of the first w columns of all rows, summed over widths w.

    .. math:: \sum_w c_w L(x_{:, 1..w}, \dots)

    All `rows` are cut and handed to `loss` in their order; what must not be cut (labels, teacher's scores) is bound
    to it before, as below.  Losses on cosines give cut rows length 1 anew; others take them as cut.

    Args:
        loss: any function of rows.
        rows: (..., d) floating point, all of one width d; None stays None.
        widths: each in 1..d.  The paper halves d down to 8.
        weights: :math:`c_w`, one for each width; None is 1 for all, the paper's.

    Returns:
        Scalar, in units of the loss.
    Raises:
        InputError: no rows, rows of several widths, a width out of range, or not as many weights as widths.

    Reference: Kusupati et al., NeurIPS 2022, arXiv:2205.13147.  With class weights among the rows it is their MRL-E,
    one classifier cut as the rows are.

    >>> import torch
    >>> from mimetric.losses import MultipleNegativesRankingLoss, supcon_loss
    >>> x, labels = torch.eye(4), [0, 0, 1, 1]
    >>> nested = matryoshka_loss(lambda x: supcon_loss(x, labels), x, widths=(4, 2), weights=(1.0, 0.5))
    >>> bool(nested == supcon_loss(x, labels) + 0.5 * supcon_loss(x[:, :2], labels))
    True
    >>> matryoshka_loss(MultipleNegativesRankingLoss(), x, x, widths=(2,))  # rows 2 and 3 are zero there
    tensor(0.6931)
    """
    where = "matryoshka_loss"
    given = [None if x is None else as_tensor(where, "rows", x) for x in rows]
    full = {x.shape[-1:] for x in given if x is not None}
    if len(full) != 1 or full == {()}:
        found = [None if x is None else tuple(x.shape) for x in given]
        raise InputError(
            f"{where}: rows must all have one width, got shapes {found}; bind what is no row to the loss"
        )
    _check(where, widths, weights, full.pop()[0])
    factors = [1.0] * len(widths) if weights is None else weights
    parts = (
        factor * loss(*(x if x is None else x[..., :width] for x in given))
        for factor, width in zip(factors, widths)
    )
    return cast(Tensor, sum(parts))


class MatryoshkaLoss(nn.Module):
    """An objective, or a sum of objectives, as :func:`matryoshka_loss`; class weights are cut as the rows are.

    Called as the objective is.  Statistics that an objective keeps of what it has seen move at every width.  It has no
    tightness and contrast at once: ``matryoshka_loss(lambda x: loss.sides(x, labels)[0], x, widths=widths)`` is one.

    Args:
        objective: such as :class:`SupConLoss` or, of the full width, ``NormalizedSoftmaxLoss(width, num_classes)``.
        widths, weights: as in the function.

    >>> import torch
    >>> from mimetric.losses import NormalizedSoftmaxLoss
    >>> loss = MatryoshkaLoss(NormalizedSoftmaxLoss(8, num_classes=3), widths=(8, 4, 2))
    >>> loss(torch.randn(5, 8), [0, 0, 1, 1, 2]).backward()
    >>> loss.objective.weight.grad.shape
    torch.Size([3, 8])
    """

    function = staticmethod(matryoshka_loss)
    sides = None

    def __init__(
        self, objective: nn.Module, *, widths: Sequence[int], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        _check("MatryoshkaLoss", widths, weights)
        self.objective = objective
        self.widths, self.weights = tuple(widths), None if weights is None else tuple(weights)

    def forward(
        self, embeddings: Any, labels: Any, references: Any = None, reference_labels: Any = None
    ) -> Tensor:
        embeddings = check_rows("MatryoshkaLoss", "embeddings", embeddings)
        wide = {
            name: value
            for name, value in self.objective.named_parameters()
            if value.ndim > 1 and value.shape[-1] == embeddings.shape[1]
        }

        def of_rows(x: Tensor, y: Tensor | None, *weights: Tensor) -> Tensor:
            cut = dict(zip(wide, weights))
            return cast(Tensor, functional_call(self.objective, cut, (x, labels, y, reference_labels)))

        rows = embeddings, references, *wide.values()
        return matryoshka_loss(of_rows, *rows, widths=self.widths, weights=self.weights)

    def extra_repr(self) -> str:
        return f"widths={self.widths}, weights={self.weights}"


def _check(
    where: str, widths: Sequence[int], weights: Sequence[float] | None, full: int | None = None
) -> None:
    most = max(widths, default=0) if full is None else full
    if not widths or not all(1 <= width <= most for width in widths):
        raise InputError(
            f"{where}: widths must be one or more of 1..{full or 'the width of the rows'}, got {list(widths)}"
        )
    if weights is not None and len(weights) != len(widths):
        raise InputError(f"{where}: weights must be {len(widths)}, one for each width, got {len(weights)}")

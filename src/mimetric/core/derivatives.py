"""Second derivatives of functions whose gradient is found by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def by_formula(
    formula: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Any],
    needs: Sequence[bool],
    *grads: Tensor,
) -> list[Tensor | None]:
    """Gradients of a plain formula by autograd, with a graph of their own, for those inputs that need one.

    One input may be made of another (references of anchors, say): the formula takes views, so that none is met on the
    way to another, and nothing that it holds beside its inputs is gone through.
    """
    views = [x.view_as(x) if isinstance(x, Tensor) else x for x in inputs]
    wanted = [x for x, need in zip(views, needs) if need and x is not None]
    found = iter(
        torch.autograd.grad(formula(*views), wanted, grads, create_graph=True, materialize_grads=True)
    )
    return [next(found) if need and x is not None else None for x, need in zip(views, needs)]

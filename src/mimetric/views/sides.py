"""Tightness and contrast of any loss that has sides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from torch import Tensor

from ..core.errors import InputError


def decompose(
    loss: Callable[..., Tensor], embeddings: Any, labels: Any, *against: Any
) -> tuple[Tensor, Tensor]:
    """The two sides of a loss on given embeddings: (tightness, contrast).

    They add up to the loss, each with its own gradient.  Tightness stands for H(Z|Y), contrast for -H(Z), in
    the loss's own units: their course in training says what an objective does, their size is not comparable
    between objectives.  `mimetric objectives` lists both sides of each.

    Args:
        loss: a loss function of :mod:`mimetric.losses`, one with options bound by :func:`functools.partial`,
            or the module form of one.
        embeddings: (n, d) floating point.
        labels: (n,) integer class ids.
        against: what else the loss is called with: class weights of a function, or references and their labels.

    Returns:
        Two scalars.
    Raises:
        InputError: the loss has no such sides, or whatever the loss finds wrong.

    Reference: Boudiaf et al., ECCV 2020, arXiv:2003.08983, table 2.

    >>> import torch
    >>> from mimetric.losses import supcon_loss
    >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
    >>> tightness, contrast = decompose(partial(supcon_loss, temperature=1.0), z, [0, 0, 1, 1])
    >>> round(tightness.item(), 4), round(contrast.item(), 4)
    (-0.8, 1.4736)
    """
    function, options = (loss.func, loss.keywords) if isinstance(loss, partial) else (loss, {})
    sides = getattr(function, "sides", None)
    if sides is None:
        name = getattr(function, "__name__", type(function).__name__)
        raise InputError(
            f"decompose: {name} has no tightness and contrast; give a loss of mimetric.losses or its module"
        )
    return cast(tuple[Tensor, Tensor], sides(embeddings, labels, *against, **options))

"""Model soup: one model from several that were trained from one start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

import torch
from torch import Tensor

from mimetric.core.errors import InputError


@torch.no_grad()
def model_soup(
    state_dicts: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    r"""The weighted average of all that several models hold, under each name.

    .. math:: \theta = \sum_m c_m \theta_m

    It means something for models of one start, such as fine-tunes of one pretrained model on other data or in another
    order: between those that were started apart the average is no better than chance.  Sums are taken in float64 as
    :math:`\theta_1 + \sum_m c_m (\theta_m - \theta_1)`, so that a soup of equal models is that model.

    Floating and complex numbers are averaged, running statistics among them, which the averaged weights do not have:
    estimate these anew where there are any, by ``torch.optim.swa_utils.update_bn``.  Integers and bools, such as counts
    of batches, are those of the first model.

    Args:
        state_dicts: of one architecture, one or more: ``[model.state_dict() for model in models]``.
        weights: c, one for each, with a sum of 1, of any sign; None is the same for all, the uniform soup.

    Returns:
        New tensors under the same names, with the types and devices of the first: ``model.load_state_dict(...)``.
    Raises:
        InputError: no state_dicts, other names, shapes or types in one of them than in the first, or weights that are
            not one for each with a sum of 1.

    Reference: Wortsman et al., ICML 2022, arXiv:2203.05482; with weights for language models LM-Cocktail (Xiao et al.,
    arXiv:2311.13534), for embeddings KaLM-Embedding-V2 (Zhao et al., arXiv:2506.20923).

    >>> first, second = {"weight": torch.tensor([0.0, 2.0])}, {"weight": torch.tensor([4.0, 2.0])}
    >>> model_soup([first, second])
    {'weight': tensor([2., 2.])}
    >>> model_soup([first, second], weights=[0.75, 0.25])
    {'weight': tensor([1., 2.])}
    """
    shares = _shares(len(state_dicts), weights)
    for number, state in enumerate(state_dicts):
        _check_like(state_dicts[0], state, number)
    return {name: _averaged([state[name] for state in state_dicts], shares) for name in state_dicts[0]}


def _averaged(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    first = tensors[0]
    if not (first.is_floating_point() or first.is_complex()):
        return first.clone()
    wide = torch.promote_types(first.dtype, torch.float64)
    start, *others = (tensor.to("cpu", wide) for tensor in tensors)  # some accelerators have no float64
    moves = (share * (other - start) for share, other in zip(shares[1:], others))
    return sum(moves, start).to(first, copy=True)


def _shares(count: int, weights: Sequence[float] | None) -> Sequence[float]:
    if not count:
        raise InputError("model_soup: state_dicts must be one or more, got none")
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise InputError(
            f"model_soup: weights must be {count}, one for each of state_dicts, got {len(weights)}"
        )
    if not isclose(sum(weights), 1, abs_tol=1e-6):
        raise InputError(
            f"model_soup: weights must have a sum of 1, got {sum(weights):g}; divide them by their sum"
        )
    return weights


def _check_like(first: Mapping[str, Tensor], state: Mapping[str, Tensor], number: int) -> None:
    """Names, shapes and types as in the first."""
    where = f"model_soup: state_dicts[{number}]"
    for name in sorted(first.keys() ^ state.keys()):
        said = "lacks" if name in first else "has"
        other = "has" if name in first else "lacks"
        raise InputError(f"{where} {said} {name!r}, which the first {other}; give models of one architecture")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"{where}[{name!r}] must be a tensor, got {type(tensor).__name__}")
        if (tensor.shape, tensor.dtype) != (first[name].shape, first[name].dtype):
            raise InputError(
                f"{where}[{name!r}] must be {_kind(first[name])} as in the first, got {_kind(tensor)}"
            )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"

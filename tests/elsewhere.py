"""A device that any machine has: its tensors hold their numbers in CPU memory and refuse to meet the CPU's own.

It calls itself `meta`, whose gradients need no driver; inside :class:`Elsewhere` its tensors do have numbers.  What
would fail on an accelerator fails here: rows of two devices in one operation, an accelerator's array given to numpy.
What an accelerator would wait for is counted.
"""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

DEVICE = torch.device("meta")
_MOVES = {"aten::copy_", "aten::_to_copy"}
_BY_INDEX = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}  # take the CPU's
_READS = {
    "aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::repeat_interleave",
}  # fmt: skip
_FROM_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray)  # make arrays without telling anybody


class _Held(Tensor):
    """A tensor of the device."""

    numbers: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, numbers: Tensor) -> _Held:
        shape = {"strides": numbers.stride(), "storage_offset": numbers.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, numbers.size(), dtype=numbers.dtype, device=DEVICE, **shape)  # type: ignore[attr-defined]
        made.numbers = numbers
        return made

    def __repr__(self, **_: Any) -> str:
        return f"elsewhere: {self.numbers}"

    def tolist(self) -> Any:
        _read()
        return self.numbers.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, "device": DEVICE, **options})

    def numpy(self, **_: Any) -> Any:
        raise TypeError("numpy cannot read an accelerator's memory")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """``with Elsewhere() as elsewhere:`` the device is there, and autocast knows nothing of it.

    `waits` are the places where a number was read off it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._around = (
            _FromNumbers(),
            mock.patch("torch.autocast", return_value=nullcontext()),
            mock.patch("torch.is_autocast_enabled", return_value=False),
        )

    def __enter__(self) -> Elsewhere:
        for each in self._around:
            each.__enter__()
        _inside.append(self)
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        _inside.pop()
        for each in reversed(self._around):
            each.__exit__(*raised)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


_inside: list[Elsewhere] = []


class _FromNumbers(TorchFunctionMode):
    """Arrays of lists and of numbers are made on the CPU and moved, as torch does it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function not in _FROM_NUMBERS or _kind(kwargs.get("device")) != "meta":
            return function(*args, **kwargs)
        if isinstance(args[0], _Held):
            return args[0].to(kwargs.get("dtype") or args[0].dtype)
        device = kwargs.pop("device")
        return function(*args, **kwargs).to(device)


def _kind(device: Any) -> str | None:
    return None if device is None else torch.device(device).type


def _read() -> None:
    """Notes who asked."""
    stack = [f for f in traceback.extract_stack() if "/mimetric/" in f.filename]
    at = stack[-1] if stack else None
    for inside in _inside[-1:]:
        inside.waits.append("" if at is None else f"{at.filename.rpartition('/')[2]}:{at.name}")


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    name, device = function._schema.name, _kind(kwargs.get("device"))
    flat, spec = tree_flatten((args, kwargs))
    held = [t for t in flat if isinstance(t, _Held)]
    if held and name not in _MOVES:
        strangers = [t for t in flat if isinstance(t, Tensor) and not isinstance(t, _Held) and t.ndim]
        if strangers and not (name in _BY_INDEX and isinstance(args[0], _Held)):
            raise RuntimeError(
                f"{name}: rows on the device meet the CPU's, {[tuple(t.shape) for t in strangers]}"
            )
    if held and (name in _READS or _is_moved_here(name, args, device) or _is_masked(name, args)):
        _read()
    args_here, kwargs_here = tree_unflatten([_here(each) for each in flat], spec)
    out = function(*args_here, **kwargs_here)
    if name == "aten::copy_":
        return args[0]
    if device not in (None, "meta") or (device is None and not held):
        return out
    out = tree_map_only(Tensor, lambda t: t if isinstance(t, _Held) else _Held(t), out)
    return return_and_correct_aliasing(function, args, kwargs, out) if held else out


def _is_moved_here(name: str, args: Any, device: str | None) -> bool:
    return (name == "aten::_to_copy" and device == "cpu") or (
        name == "aten::copy_" and not isinstance(args[0], _Held)
    )


def _is_masked(name: str, args: Any) -> bool:
    """Whether it takes or sets the rows of a mask, whose number is counted; one number fills them without."""
    if name not in _BY_INDEX or (len(args) > 2 and not args[2].ndim):
        return False
    return any(isinstance(at, Tensor) and at.dtype == torch.bool for at in args[1])


def _here(each: Any) -> Any:
    if isinstance(each, _Held):
        return each.numbers
    return torch.device("cpu") if isinstance(each, torch.device) and each.type == "meta" else each

"""What transforms of images share: how they are called and checked, and random numbers for each image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf

import torch
from torch import Generator, Tensor

from mimetric.core.errors import InputError

_AT_ONCE = 2**19  # numbers of images
# Least and greatest value of the options of transforms, or of both ends where one is a range.
_LIMITS = {
    "height": (1, inf), "width": (1, inf), "area": (1e-6, 1), "ratio": (1e-6, inf), "share": (0, 1),
    "brightness": (0, inf), "contrast": (0, inf), "saturation": (0, inf), "hue": (0, 0.5), "sigma": (1e-3, inf),
    "value": (0, 1), "angle": (0, inf), "scale": (1e-6, inf), "shear": (0, inf), "move": (0, 1),
}  # fmt: skip


class Transform(ABC):
    """From images (n, c, h, w), uint8 or floating point in [0, 1], to as many of the same type."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in _LIMITS or value is None:
                continue
            low, high = value if isinstance(value, tuple) else (value, value)
            least, most = _LIMITS[name]
            if not least <= low <= high <= most:
                kind = "a range, low to high, in" if isinstance(value, tuple) else "in"
                raise InputError(
                    f"{type(self).__name__}: {name} must be {kind} [{least:g}, {most:g}], got {value}"
                )

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """The images changed; None draws from torch's own generator.

        Raises:
            InputError: no batch of images, or not of those types.
        """
        name = type(self).__name__
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise InputError(
                f"{name}: images must be (n, channels, height, width), got {tuple(images.shape)}"
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise InputError(f"{name}: images must be uint8 or floating point in [0, 1], got {images.dtype}")
        return self.apply(images, generator) if len(images) else images

    @abstractmethod
    def apply(self, images: Tensor, generator: Generator | None) -> Tensor:
        """The same, of images that were checked."""


def in_groups(change: Callable[..., Tensor], images: Tensor, *numbers: Tensor) -> Tensor:
    """`change` of images in floating point and of numbers for each, a few images at a time on a CPU.

    What lies between its steps then stays small, and mostly in the cache: up to twice as fast.
    """
    at_once = max(1, _AT_ONCE // images[0].numel()) if images.device.type == "cpu" else len(images)
    parts = []
    for rows, *own in zip(*(torch.split(each, at_once) for each in (images, *numbers))):
        x = floating(rows)
        parts.append(like(images, change(x, *(each.to(x) for each in own))))
    return torch.cat(parts)


def floating(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images


def like(images: Tensor, x: Tensor) -> Tensor:
    return (x * 255).round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else x


def uniform(rows: int, count: int, generator: Generator | None) -> Tensor:
    """(rows, count) float64 in [0, 1), on the generator's device."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(rows, count, generator=generator, device=device, dtype=torch.float64)


def per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def chosen_rows(share: float, images: Tensor, generator: Generator | None) -> Tensor:
    return per_image(uniform(1, len(images), generator)[0] < share).to(images.device)

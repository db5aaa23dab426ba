"""Residual networks, trained from scratch: `resnet18` and `resnet50`."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.models.layers import Scaled, head, image_shape, in_channels_last

Norm = Literal["batch", "group"]
_SMALL = 96  # images with a shorter side keep their size in the first layer


def resnet18(
    shape: Sequence[int], width: int | None, *, norm: Norm = "batch", channels: int = 64
) -> nn.Module:
    """ResNet-18: four stages of two blocks of two convolutions 3 x 3; 8 * `channels` features, averaged over places.

    Images with a side below 96 enter by a convolution 3 x 3 at full size, as the paper's on CIFAR; larger ones by
    7 x 7 and pooling, at a quarter of it.  The last norm of each block starts at 0: at first a block is the identity
    (Goyal et al., 2017, arXiv:1706.02677).

    Args:
        shape: (c, h, w).
        width: of the embeddings; None gives the features.
        norm: "batch" (BatchNorm), or "group" (GroupNorm, 16 channels in a group), where a row does not depend on the
            others in its batch: for small batches, and for chunks.
        channels: of the first stage; each stage doubles them.

    Reference: He et al., 2016, arXiv:1512.03385; Wu and He, 2018, arXiv:1803.08494.

    >>> import torch
    >>> resnet18((3, 32, 32), 64, norm="group", channels=16)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 64])
    """
    return _resnet("resnet18", shape, width, (2, 2, 2, 2), 1, norm, channels)


def resnet50(
    shape: Sequence[int], width: int | None, *, norm: Norm = "batch", channels: int = 64
) -> nn.Module:
    """ResNet-50: 3, 4, 6 and 3 blocks of convolutions 1 x 1, 3 x 3 (which strides) and 1 x 1; 32 * `channels` features.

    All else, arguments too, as :func:`resnet18`.
    """
    return _resnet("resnet50", shape, width, (3, 4, 6, 3), 4, norm, channels)


def _resnet(
    name: str,
    shape: Sequence[int],
    width: int | None,
    blocks: Sequence[int],
    expansion: int,
    norm: Norm,
    channels: int,
) -> nn.Module:
    inputs, *sides = image_shape(name, shape)
    small = min(sides) < _SMALL
    layers: list[nn.Module] = [Scaled(), *_conv(inputs, channels, 3 if small else 7, 1 if small else 2, norm)]
    layers.append(nn.ReLU(inplace=True))
    if not small:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    inputs = channels
    for stage, count in enumerate(blocks):
        inner = channels * 2**stage
        for place in range(count):
            stride = 2 if stage > 0 and place == 0 else 1
            layers.append(_Block(inputs, inner, expansion, stride, norm))
            inputs = inner * expansion
    return in_channels_last(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head(inputs, width))
    )


class _Block(nn.Module):
    """What a few convolutions add to their input, which is projected where its shape changes."""

    def __init__(self, inputs: int, inner: int, expansion: int, stride: int, norm: Norm) -> None:
        super().__init__()
        out, relu = inner * expansion, nn.ReLU(inplace=True)
        path = [*_conv(inputs, inner, 3, stride, norm), relu, *_conv(inner, inner, 3, 1, norm)]
        if expansion > 1:
            path = [*_conv(inputs, inner, 1, 1, norm), relu, *_conv(inner, inner, 3, stride, norm), relu]
            path += _conv(inner, out, 1, 1, norm)
        self.path = nn.Sequential(*path)
        nn.init.zeros_(cast(Tensor, path[-1].weight))
        same = stride == 1 and inputs == out
        self.skip = nn.Identity() if same else nn.Sequential(*_conv(inputs, out, 1, stride, norm))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.path(x))


def _conv(inputs: int, out: int, size: int, stride: int, norm: Norm) -> list[nn.Module]:
    filters = nn.Conv2d(inputs, out, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(filters.weight, mode="fan_out", nonlinearity="relu")
    return [
        filters,
        nn.BatchNorm2d(out) if norm == "batch" else nn.GroupNorm(gcd(max(1, out // 16), out), out),
    ]

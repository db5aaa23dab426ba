"""Small convolutional encoders: `conv`, for images of any size, and `conv4` of the few-shot papers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mimetric.models.layers import Scaled, head, image_shape, in_channels_last


def conv(shape: Sequence[int], width: int | None) -> nn.Module:
    """Strided convolutions down to a map of at most 8 x 8, one more at that size, one down to 4 x 4.

    Strides in place of pooling: the first layers do a quarter of the work, and on CPU they are most of it.
    The map is flattened, not averaged: where a stroke lies tells characters apart.

    >>> import torch
    >>> conv((3, 40, 30), 64)(torch.zeros(2, 3, 40, 30)).shape
    torch.Size([2, 64])
    """
    channels, *sides = image_shape("conv", shape)
    layers: list[nn.Module] = [Scaled()]

    def add(out: int, size: int, largest: int) -> None:
        """One layer, halving each side that is above `largest`."""
        nonlocal channels, sides
        stride = tuple(2 if side > largest else 1 for side in sides)
        layers.append(nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=False))  # type: ignore[arg-type]
        layers.extend((nn.BatchNorm2d(out), nn.ReLU(inplace=True)))
        channels, sides = out, [-(-side // step) for side, step in zip(sides, stride)]

    add(16, size=5, largest=8)
    while max(sides) > 8:
        add(min(2 * channels, 256), size=3, largest=8)
    add(channels, size=3, largest=8)
    add(2 * channels, size=3, largest=4)
    return in_channels_last(
        nn.Sequential(*layers, nn.Flatten(), *head(channels * sides[0] * sides[1], width))
    )


def conv4(shape: Sequence[int], width: int | None, *, channels: int = 64) -> nn.Module:
    """Four layers of convolution 3 x 3, batch norm, ReLU and pooling by 2; the map is flattened.

    The encoder of matching and prototypical networks; 1,600 features of an image of 84 x 84.

    Args:
        shape: (c, h, w), at least 16 x 16.
        width: of the embeddings; None gives the features, as those papers do.
        channels: of each layer.

    Reference: Vinyals et al., 2016, arXiv:1606.04080; Snell et al., 2017, arXiv:1703.05175.

    >>> import torch
    >>> conv4((3, 84, 84), None)(torch.zeros(2, 3, 84, 84)).shape
    torch.Size([2, 1600])
    """
    inputs, height, breadth = image_shape("conv4", shape, smallest=16)
    layers: list[nn.Module] = [Scaled()]
    for _ in range(4):
        layers += [nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs = channels
    features = channels * (height // 16) * (breadth // 16)
    return in_channels_last(nn.Sequential(*layers, nn.Flatten(), *head(features, width)))

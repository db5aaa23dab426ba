"""A vision transformer, trained from scratch: `vit_tiny`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.models.layers import Attention, Scaled, head, image_shape

_PLACES = 196  # patches of an image of 224 x 224 in squares of 16


def vit_tiny(
    shape: Sequence[int], width: int | None, *, patch: int | None = None, depth: int = 12, channels: int = 192
) -> nn.Module:
    """ViT-Ti: squares of the image, as vectors with learned places, through blocks of attention; their mean.

    No class token: the mean over places does as well (Zhai et al., 2022, arXiv:2106.04560).

    Args:
        shape: (c, h, w); black is added at the right and below to fill the last squares.
        width: of the embeddings; None gives the 192 features.
        patch: side of the squares; None is 4, doubled until at most 196 cover the image: 16 for 224 x 224.
        depth: blocks.
        channels: of a place, a multiple of 64, which is the width of a head of attention.

    Reference: Dosovitskiy et al., 2021, arXiv:2010.11929; the size Ti: Touvron et al., 2021, arXiv:2012.12877.

    >>> vit_tiny((1, 28, 28), 64, depth=2)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 64])
    """
    inputs, *sides = image_shape("vit_tiny", shape)
    while patch is None or (places := [-(-side // patch) for side in sides])[0] * places[1] > _PLACES:
        patch = 4 if patch is None else 2 * patch
    return nn.Sequential(
        Scaled(), _Patches(inputs, places, patch, channels),
        *(Attention(channels, 64) for _ in range(depth)),
        nn.LayerNorm(channels), _Mean(), *head(channels, width),
    )  # fmt: skip


class _Patches(nn.Module):
    def __init__(self, inputs: int, places: Sequence[int], patch: int, channels: int) -> None:
        super().__init__()
        self.sides = [count * patch for count in places]
        self.project = nn.Conv2d(inputs, channels, patch, stride=patch)
        self.places = nn.Parameter(0.02 * torch.randn(places[0] * places[1], channels))

    def forward(self, x: Tensor) -> Tensor:
        below, right = (full - side for full, side in zip(self.sides, x.shape[2:]))
        x = F.pad(x, (0, right, 0, below), value=-1.0)
        return cast(Tensor, self.project(x)).flatten(2).transpose(1, 2) + self.places


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)

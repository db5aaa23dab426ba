"""What encoders share: how inputs are scaled, how embeddings leave, and a block of attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.core.errors import InputError


class Scaled(nn.Module):
    """Bytes to [-1, 1]; other numbers keep their values.  All become float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x.float()


class Attention(nn.Module):
    """A block of a transformer: attention, then two layers at each place, each after a norm (pre-norm) and added.

    Args:
        channels: numbers at a place.
        of_head: numbers of a head of attention; `channels` are a multiple of it.

    Reference: Vaswani et al., 2017, arXiv:1706.03762; norms first: Xiong et al., 2020, arXiv:2002.04745.
    """

    def __init__(self, channels: int, of_head: int) -> None:
        super().__init__()
        if channels % of_head:
            raise InputError(f"encoder: channels must be a multiple of {of_head}, got {channels}")
        self.heads = channels // of_head
        self.before, self.between = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.read, self.write = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.think = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """x (n, places, channels); seen (n, places) bool, true for the places that all attend to; None is all."""
        parts = self.read(self.before(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if seen is None else seen[:, None, None]
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        x = x + self.write(mixed.transpose(1, 2).flatten(2))
        return x + cast(Tensor, self.think(self.between(x)))


def head(inputs: int, width: int | None) -> list[nn.Module]:
    """From features to embeddings: a linear map, and a norm to mean 0 and variance 1; nothing if `width` is None.

    That fixed scale lets one learning rate fit classifiers on plain dot products and losses on cosines.
    """
    if width is None:
        return []
    return [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width, affine=False)]


def in_channels_last(encoder: nn.Module) -> nn.Module:
    """The encoder, computing with channels last in memory: a third faster on CPU, and what tensor cores want."""
    return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def image_shape(name: str, shape: Sequence[int], smallest: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of the rows.

    Raises:
        InputError: rows are no images, or smaller than the encoder takes.
    """
    if len(shape) != 3:
        raise InputError(
            f"encoder: {name} takes images (channels, height, width), got rows {tuple(shape)}; use mlp"
        )
    channels, height, width = shape
    if min(height, width) < smallest:
        raise InputError(
            f"encoder: {name} takes images of at least {smallest} x {smallest}, got {height} x {width}; use conv"
        )
    return channels, height, width


def text_length(name: str, shape: Sequence[int]) -> int:
    """Characters in a row.

    Raises:
        InputError: rows are no texts.
    """
    if len(shape) != 1:
        raise InputError(
            f"encoder: {name} takes texts as rows of code points (length,), got rows {tuple(shape)}; use conv"
        )
    return shape[0]

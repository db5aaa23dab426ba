"""Small encoders, from images or vectors to embeddings, and how to embed many rows with any encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimetric.core.errors import InputError, did_you_mean

ENCODERS = ("auto", "conv", "mlp")


def create_encoder(name: str, input_shape: Sequence[int], width: int) -> nn.Module:
    """A new encoder from rows of `input_shape` to embeddings (n, width).

    Images (c, h, w) may be uint8 or floating point; uint8 is scaled to [-1, 1] inside.  The embeddings are of
    any norm: objectives and metrics normalize where they compare by cosine.

    Args:
        name: "conv" (images), "mlp" (anything, flattened), or "auto": conv for images, mlp for vectors.
        input_shape: shape of one row, (c, h, w) or (d,).
        width: width of the embeddings, >= 1.

    Raises:
        InputError: an unknown name, or a shape that the encoder cannot take.

    >>> create_encoder("auto", (1, 28, 28), 64)(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([2, 64])
    """
    shape = tuple(input_shape)
    if name not in ENCODERS:
        raise InputError(f"encoder: unknown name {name!r}; {did_you_mean(name, ENCODERS)}")
    if name == "auto":
        name = "conv" if len(shape) == 3 else "mlp"
    if name == "mlp":
        return _mlp(shape, width)
    if len(shape) != 3:
        raise InputError(f"encoder: conv takes images (channels, height, width), got rows {shape}; use mlp")
    return _conv(shape, width)


class _Scaled(nn.Module):
    """Bytes to [-1, 1]; other numbers keep their values.  All become float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x.float()


def _conv(shape: tuple[int, ...], width: int) -> nn.Module:
    """Strided convolutions down to a map of at most 8 x 8, one more at that size, one down to 4 x 4.

    Strides in place of pooling: the first layers do a quarter of the work, and on CPU they are most of it.
    The map is flattened, not averaged: where a stroke lies tells characters apart.
    """
    channels, *sides = shape
    layers: list[nn.Module] = [_Scaled()]

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
    encoder = nn.Sequential(*layers, nn.Flatten(), *_head(channels * sides[0] * sides[1], width))
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on CPU
    return encoder


def _mlp(shape: tuple[int, ...], width: int) -> nn.Module:
    """Standardized by batch statistics, since columns of a table have any scale; then two hidden layers."""
    inputs, hidden = int(torch.Size(shape).numel()), 256
    return nn.Sequential(
        _Scaled(), nn.Flatten(), nn.BatchNorm1d(inputs, affine=False),
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
        *_head(hidden, width),
    )  # fmt: skip


def _head(inputs: int, width: int) -> tuple[nn.Module, nn.Module]:
    """A linear map, and features of mean 0 and variance 1.

    That fixed scale lets one learning rate fit classifiers on plain dot products and losses on cosines.
    """
    return nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width, affine=False)


def split_encoder(encoder: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The part of an encoder that ends in its last map, and the head from there to embeddings.

    Args:
        encoder: a Sequential whose convolutions end in a Flatten or a global pooling, such as the encoder "conv".

    Returns:
        Two modules of the same weights, inputs to (n, c, h, w) and that to (n, width): one after the other they are
        the encoder.
    Raises:
        InputError: the encoder has no such map.

    >>> body, head = split_encoder(create_encoder("conv", (1, 28, 28), 64).eval())
    >>> maps = body(torch.zeros(2, 1, 28, 28))
    >>> maps.shape, head(maps).shape
    (torch.Size([2, 64, 4, 4]), torch.Size([2, 64]))
    """
    if isinstance(encoder, nn.Sequential):
        for place, module in enumerate(encoder):
            body = encoder[:place]
            ends = isinstance(module, nn.Flatten | nn.AdaptiveAvgPool2d)
            if ends and any(isinstance(one, nn.Conv2d) for one in body.modules()):
                return body, encoder[place:]
    raise InputError(
        "encoder: it keeps no map of where things are, so nothing can be shown on an input; train with the encoder "
        "conv, or give maps of yours to mimetric.explain"
    )


def embed(encoder: nn.Module, x: Tensor, *, batch_size: int = 512) -> Tensor:
    """Embeddings (n, d) of the rows of x (n, ...), in evaluation mode, batch by batch, without a graph.

    Every part of the encoder is left in the mode it was in; rows go to its device, embeddings stay on
    it in float32.

    >>> embed(nn.Flatten(), torch.ones(3, 2, 2)).shape
    torch.Size([3, 4])
    """
    device = next((tensor.device for tensor in encoder.parameters()), x.device)
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        with torch.no_grad():
            parts = [encoder(rows.to(device)).float() for rows in torch.split(x, batch_size)]
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(parts)

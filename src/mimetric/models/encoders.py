"""Encoders by name, from rows of inputs to embeddings, and how to embed many rows with any encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from mimetric.core.errors import InputError, did_you_mean
from mimetric.models.conv import conv, conv4
from mimetric.models.mlp import linear, mlp
from mimetric.models.names import parse_encoder
from mimetric.models.pretrained import efficientnet_lite0, sentence_encoder, timm_encoder
from mimetric.models.resnet import resnet18, resnet50
from mimetric.models.text import bag_of_words, text_transformer
from mimetric.models.vit import vit_tiny

_OWN: dict[str, Callable[..., nn.Module]] = {
    made.__name__: made
    for made in (
        conv, conv4, resnet18, resnet50, vit_tiny, mlp, linear, bag_of_words, text_transformer, efficientnet_lite0,
    )
}  # fmt: skip


def create_encoder(
    name: str,
    input_shape: Sequence[int],
    width: int | None,
    *,
    user_code: bool = False,
    pretrained: bool = True,
) -> nn.Module:
    """A new encoder from rows of `input_shape` to embeddings (n, width).

    Images (c, h, w) may be uint8 or floating point; own encoders scale uint8 to [-1, 1] inside.  Texts are rows of
    code points (:func:`mimetric.data.texts.code_points`).  The embeddings are of any norm: objectives and metrics
    normalize where they compare by cosine.

    Args:
        name: one of

            - "conv", "conv4", "resnet18", "resnet50", "vit_tiny": images, trained from scratch;
            - "mlp", "linear": anything, flattened; "auto": conv for images, mlp for vectors;
            - "bag_of_words", "text_transformer": texts, trained from scratch;
            - "efficientnet_lite0": images, with weights inside a package (extra `efficientnet`);
            - "timm:NAME": images, of timm (extra `timm`); "hf:NAME": texts, of sentence-transformers, by name or
              folder (extra `sentence-transformers`);
            - "module.path:callable": yours, called as ``callable(input_shape, width)``.

            Own ones take the options of their functions, as in "resnet18:norm=group,channels=32".
        input_shape: shape of one row: (c, h, w), (d,) or (length,).
        width: width of the embeddings, >= 1; None for the features below the last linear map.
        user_code: whether "module.path:callable" may be imported and called.  A caller says so who has the name from
            the user, and never from a file such as a checkpoint.
        pretrained: whether to load weights from elsewhere; False where others follow, as from a checkpoint.

    Raises:
        InputError: an unknown name or option, a shape that the encoder cannot take, an extra that is not installed,
            or code that may not be run, is not found or gives no module.

    >>> create_encoder("auto", (1, 28, 28), 64)(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([2, 64])
    """
    shape, chosen = tuple(input_shape), parse_encoder(name)
    if width is not None and width < 1:
        raise InputError(f"encoder: width must be at least 1, got {width}")
    if chosen.source == "timm":
        return timm_encoder(chosen.name, shape, width, pretrained=pretrained)
    if chosen.source == "hf":
        return sentence_encoder(chosen.name, shape, width)
    if chosen.source == "code":
        return _users(chosen.name, shape, width, user_code)
    own = ("conv" if len(shape) == 3 else "mlp") if chosen.name == "auto" else chosen.name
    options = _read_options(own, dict(chosen.options))
    if own == "efficientnet_lite0":
        options["pretrained"] = pretrained
    return _OWN[own](shape, width, **options)


def _users(path: str, shape: tuple[int, ...], width: int | None, allowed: bool) -> nn.Module:
    """What the user's callable makes."""
    if not allowed:
        raise InputError(
            f"encoder: {path} is code, which runs at your word only: pass user_code=True if you trust it, or the "
            "module itself"
        )
    place, _, name = path.partition(":")
    try:
        make = getattr(import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"encoder: {path} is not found ({error}); install its module, or name its folder in PYTHONPATH"
        ) from None
    made = make(shape, width) if callable(make) and not isinstance(make, nn.Module) else make
    if not isinstance(made, nn.Module):
        raise InputError(f"encoder: {path} must give a torch.nn.Module, got {type(made).__name__}")
    return made


def _read_options(name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Values in the types of the encoder's keyword options."""
    parameters, hints = inspect.signature(_OWN[name]).parameters, get_type_hints(_OWN[name])
    kinds = {
        key: hints[key]
        for key, one in parameters.items()
        if one.kind is one.KEYWORD_ONLY and key != "pretrained"
    }
    for key in given:
        if key not in kinds:
            known = did_you_mean(key, kinds) if kinds else "it has none"
            raise InputError(f"encoder: {name}: unknown option {key}; {known}")
    return {key: _value(f"encoder: {name}: {key}", text, kinds[key]) for key, text in given.items()}


def _value(where: str, text: str, kind: Any) -> str | int:
    """A word of a Literal, or a whole number from 1."""
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise InputError(f"{where} must be one of {', '.join(get_args(kind))}, got {text!r}")
        return text
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{where} must be a whole number, at least 1, got {text!r}")
    return int(text)


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
            return joined((encoder(rows.to(device)).float() for rows in torch.split(x, batch_size)), len(x))
    finally:
        for module, training in modes:
            module.training = training


def joined(parts: Iterator[Tensor], count: int) -> Tensor:
    """Rows of all parts (k, ...), `count` in all and in one part at least, each part written to its place as it comes.

    Small results held until all are there would lie between the large blocks that made them: what is freed around them
    fits nothing, and memory grows by a batch of inputs with every batch (600 MB for 50,000 images).

    >>> joined(iter([torch.ones(2, 3), torch.zeros(1, 3)]), 3).shape
    torch.Size([3, 3])
    """
    first = next(parts)
    found, start = first.new_empty(count, *first.shape[1:]), 0
    for part in chain((first,), parts):
        found[start : start + len(part)] = part
        start += len(part)
    return found

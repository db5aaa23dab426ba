"""What the name of an encoder says.  Imports no torch: options and help read names too."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mimetric.core.errors import InputError, did_you_mean

ENCODERS = (
    "auto", "conv", "conv4", "resnet18", "resnet50", "vit_tiny", "mlp", "linear", "bag_of_words", "text_transformer",
    "efficientnet_lite0",
)  # fmt: skip
_OTHERS = ("timm:NAME", "hf:NAME", "module.path:callable")


class EncoderName(NamedTuple):
    """A name taken apart.

    `name` is one of ENCODERS, what follows ``timm:`` or ``hf:``, or the whole of ``module.path:callable``.
    """

    source: Literal["own", "timm", "hf", "code"]
    name: str
    options: tuple[tuple[str, str], ...] = ()  # of source "own"


def parse_encoder(text: str) -> EncoderName:
    """Take the name of an encoder apart; nothing is imported, loaded or run.

    Raises:
        InputError: no such form of name, an unknown one, or a piece that is no option=value.

    >>> parse_encoder("resnet18:norm=group,channels=32")
    EncoderName(source='own', name='resnet18', options=(('norm', 'group'), ('channels', '32')))
    >>> parse_encoder("timm:resnet50.a1_in1k")
    EncoderName(source='timm', name='resnet50.a1_in1k', options=())
    >>> parse_encoder("my_models.small:make")
    EncoderName(source='code', name='my_models.small:make', options=())
    """
    head, colon, rest = text.strip().partition(":")
    own = head.replace("-", "_")
    if own in ENCODERS:
        pieces = rest.split(",") if colon else []
        return EncoderName("own", own, tuple(_option(own, piece) for piece in pieces))
    if head in ("timm", "hf") and rest:
        return EncoderName("timm" if head == "timm" else "hf", rest)
    if all(part.isidentifier() for part in (*head.split("."), rest)):
        return EncoderName("code", f"{head}:{rest}")
    raise InputError(f"encoder: unknown name {text!r}; {did_you_mean(own, (*ENCODERS, *_OTHERS))}")


def _option(name: str, text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise InputError(f"encoder: {name}: {text!r} must be option=value, as in resnet18:norm=group")
    return key.replace("-", "_"), value

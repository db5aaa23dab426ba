"""What a checkpoint saw in inputs, as pictures with heat on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.core.objective import Objective
from mimetric.core.similarity import normalized
from mimetric.data.sources import LabelledData, load_data, read_image
from mimetric.explain import (
    activation_map,
    class_maps,
    grad_cam,
    info_cam,
    information_map,
    pair_maps,
    position_features,
)
from mimetric.models.encoders import split_encoder
from mimetric.train.checkpoint import Checkpoint, load


class Panel(NamedTuple):
    """One picture, and what is said of it."""

    title: str
    image: NDArray[Any]  # (h, w) or (h, w, 3), in [0, 1]
    heat: NDArray[Any] | None = None  # of any size, 0 where nothing is said, below 0 what speaks against


def explain_run(folder: Path, inputs: Sequence[str]) -> list[list[Panel]]:
    """Maps of what a run saw in its inputs, a row of panels for each input, then one for each pair.

    A run whose objective has class weights tells, for the class it predicts, where each input looks like that class;
    any run tells which regions make the first input and each other one similar.

    Args:
        folder: a checkpoint that a comparison wrote.
        inputs: files of pictures, or numbers of test rows of the run's data, from 0.

    Raises:
        InputError: no checkpoint there, an encoder without a map, inputs that cannot be read, or one input alone of
            an objective without class weights.
    """
    run = load(folder)
    body, head = split_encoder(run.encoder)
    source = _Source(run)
    x = torch.stack([source.read(name) for name in inputs])
    with torch.no_grad():
        maps = body(x)
        features = position_features(head, maps)
    classifier = _classifier(run.objective, run.settings["num_classes"])
    pairs = [_pair(x, features, other) for other in range(1, len(x))]
    if classifier is None and not pairs:
        raise InputError(
            f"{folder}: {run.settings['objective']} has no class weights to explain one input by; name a second "
            "input, to see what makes the two similar"
        )
    classes = [] if classifier is None else _classes(x, maps, head, features, classifier, source)
    return [*classes, *pairs]


class _Classifier(NamedTuple):
    """Scores of embeddings: products with the weight and a bias, or cosines times a scale."""

    weight: Tensor
    bias: Tensor | None
    cosines: bool

    def comparable(self, features: Tensor) -> Tensor:
        """Features whose products with the weight are the scores."""
        if not self.cosines:
            return features
        length = torch.linalg.vector_norm(features.mean((2, 3)), dim=1)
        return features / torch.where(length > 0, length, 1)[:, None, None, None]

    def scores(self, embeddings: Tensor) -> Tensor:
        return F.linear(normalized(embeddings) if self.cosines else embeddings, self.weight, self.bias)


def _classifier(objective: nn.Module, num_classes: int) -> _Classifier | None:
    """Of the first objective that has a weight for each class."""
    for module in objective.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, Objective) and weight is not None and len(weight) == num_classes:
            weight, bias = weight.detach(), getattr(module, "bias", None)
            if bias is not None:
                return _Classifier(weight, bias.detach(), cosines=False)
            scale = float(module.options.get("scale", 1 / module.options.get("temperature", 1.0)))
            return _Classifier(scale * normalized(weight), None, cosines=True)
    return None


class _Source:
    """Where inputs come from: files, or the rows of the data that the run was trained on."""

    def __init__(self, run: Checkpoint) -> None:
        self._spec, self._shape = run.settings.get("data"), tuple(run.settings["input_shape"])
        self._num_classes = run.settings["num_classes"]
        self._used_rows = False

    @cached_property
    def _data(self) -> LabelledData:
        if not isinstance(self._spec, str):
            raise InputError("input: the run does not say what it was trained on; name files of pictures")
        return load_data(self._spec)

    def read(self, name: str) -> Tensor:
        """One input (c, h, w)."""
        if name.isdecimal():
            return self._row(int(name))
        channels, height, width = self._shape
        if not Path(name).is_file():
            raise InputError(
                f"input: no file {name}; name a picture, or the number of a test row of the data"
            )
        pixels, _ = read_image(Path(name), height, width)
        if channels == 1:
            pixels = np.round(np.tensordot([0.299, 0.587, 0.114], pixels, 1)).astype(np.uint8)[None]
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def class_name(self, index: int) -> str:
        """What a class that was trained on is called, where the data are at hand."""
        if not self._used_rows:
            return f"class {index}"
        trained = np.unique(self._data.y[self._data.split.train])
        known = len(trained) == self._num_classes
        return self._data.class_names[trained[index]].lower() if known else f"class {index}"

    def _row(self, row: int) -> Tensor:
        test = self._data.split.test
        if row >= len(test):
            raise InputError(f"input: {self._spec} has test rows 0..{len(test) - 1}, got {row}")
        self._used_rows = True
        found = torch.from_numpy(self._data.x[test[row]].copy())
        if tuple(found.shape) != self._shape:
            raise InputError(
                f"{self._spec}: rows must be {self._shape} as in training, got {tuple(found.shape)}"
            )
        return found


def _classes(
    x: Tensor, maps: Tensor, head: nn.Module, features: Tensor, classifier: _Classifier, source: _Source
) -> list[list[Panel]]:
    """For each input: the input, and five maps of the class that is predicted."""
    scores = class_maps(classifier.comparable(features), classifier.weight, classifier.bias)
    labels = scores.mean((2, 3)).argmax(1)
    sure = scores.mean((2, 3)).softmax(1).amax(1)
    window = max(1, min(scores.shape[2:]) // 4)  # a quarter of the map, as the authors have it
    heats = {
        "infoCAM+": info_cam(scores, labels, rival="lowest", window=window),
        "infoCAM": info_cam(scores, labels, rival="runner_up", window=window),
        "information (nats)": information_map(scores, labels),
        "CAM": activation_map(scores, labels),
        "Grad-CAM": grad_cam(lambda g: classifier.scores(head(g)), maps, labels),
    }
    return [
        [
            Panel(f"{source.class_name(int(labels[i]))}, {sure[i]:.0%}", image),
            *(Panel(name, image, heat[i].numpy()) for name, heat in heats.items()),
        ]
        for i, image in enumerate(_pictures(x))
    ]


def _pair(x: Tensor, features: Tensor, other: int) -> list[Panel]:
    """The first input and another, each beside what makes the two similar."""
    found = pair_maps(features[:1], features[other : other + 1])
    first, second = _pictures(x[[0, other]])
    return [
        Panel(f"cosine {found.cosine.item():.2f}", first), Panel("like the other", first, found.first[0].numpy()),
        Panel("", second), Panel("like the first", second, found.second[0].numpy()),
    ]  # fmt: skip


def _pictures(x: Tensor) -> Iterable[NDArray[Any]]:
    """Inputs as numbers in [0, 1], color last; other than one or three channels are averaged."""
    for one in x.float():
        low, high = (0.0, 255.0) if x.dtype == torch.uint8 else (float(one.min()), float(one.max()))
        picture = (one - low) / max(high - low, 1e-12)
        yield (picture.movedim(0, 2) if len(one) == 3 else picture.mean(0)).numpy()

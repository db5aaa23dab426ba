"""Small runs, untrained, of each kind of input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mimetric.models.encoders import create_encoder
from mimetric.train.checkpoint import save, weights_of

Made = Callable[..., Path]  # of an encoder, a shape, a type and, if it has some, data


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    def make(encoder: str, shape: Sequence[int], dtype: str, data: str | None = None) -> Path:
        folder = tmp_path_factory.mktemp("run")
        torch.manual_seed(0)
        settings = {
            "encoder": encoder, "input_shape": list(shape), "input_dtype": dtype, "width": 6, "data": data,
            "num_classes": 9, "objective": "supcon",
        }  # fmt: skip
        save(folder, weights_of(encoder=create_encoder(encoder, shape, 6)), settings)
        return folder

    return make


@pytest.fixture(scope="session")
def vectors(made: Made) -> Path:
    return made("linear", (4,), "float32")


@pytest.fixture(scope="session")
def texts(made: Made) -> Path:
    return made("bag_of_words:buckets=64,channels=8", (24,), "int32")


@pytest.fixture(scope="session")
def pictures(made: Made) -> Path:
    return made("linear", (3, 8, 8), "uint8")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 classes of 5 vectors each, split by class."""
    rng, y = np.random.default_rng(0), np.arange(120) % 24
    x = (rng.standard_normal((24, 4))[y] + rng.standard_normal((120, 4)) / 2).astype(np.float32)
    file = tmp_path_factory.mktemp("data") / "set.npz"
    np.savez(file, x=x, y=np.char.add("class ", y.astype(str)))
    return f"npz:{file}"


@pytest.fixture(scope="session")
def with_data(made: Made, data: str) -> Path:
    """A run that knows its data."""
    return made("linear", (4,), "float32", data)

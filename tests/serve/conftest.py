"""Small runs that nobody trained, and what is served of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mimetric.models.encoders import create_encoder
from mimetric.train.checkpoint import save, weights_of

Made = Callable[..., Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Write a checkpoint: of an encoder, the shape and type of its inputs, and where its data are."""

    def make(
        encoder: str,
        shape: tuple[int, ...],
        dtype: str,
        data: str | None,
        folder: Path | None = None,
        objective: str = "supcon",
        seed: int = 0,
    ) -> Path:
        folder = folder or tmp_path_factory.mktemp("run")
        torch.manual_seed(seed)
        settings = {
            "encoder": encoder, "input_shape": list(shape), "input_dtype": dtype, "width": 8, "data": data,
            "num_classes": 10, "objective": objective, "seed": seed,
        }  # fmt: skip
        save(folder, weights_of(encoder=create_encoder(encoder, shape, 8)), settings)
        return folder

    return make


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 classes of 5 gray pictures each, split by class."""
    rng, y = np.random.default_rng(0), np.arange(120) % 24
    x = (rng.integers(0, 200, (24, 1, 16, 16))[y] + rng.integers(0, 56, (120, 1, 16, 16))).astype(np.uint8)
    file = tmp_path_factory.mktemp("data") / "pictures.npz"
    np.savez(file, x=x, y=np.char.add("class ", y.astype(str)))
    return f"npz:{file}"


@pytest.fixture(scope="session")
def comparison(made: Made, pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objectives of two seeds, and one whose encoder keeps no map."""
    run = tmp_path_factory.mktemp("comparison")
    for objective, seed in (("supcon", 0), ("supcon", 1), ("triplet-margin", 0)):
        encoder = "linear" if objective == "supcon" and seed else "conv"
        folder = run / "checkpoints" / f"{objective}-seed{seed}"
        made(encoder, (1, 16, 16), "uint8", pictures, folder, objective, seed)
    made("linear", (1, 16, 16), "uint8", pictures, run / "checkpoints" / "spce-seed0", "spce")
    return run


@pytest.fixture(scope="session")
def desk(comparison: Path) -> Any:
    from mimetric.serve.desk import open_desk

    return open_desk(comparison)


@pytest.fixture(scope="session")
def client(desk: Any) -> Iterator[Any]:
    """Asks the page of the comparison."""
    testing = pytest.importorskip("fastapi.testclient", reason="the extra serve is not installed")
    from mimetric.serve.app import create_app

    with testing.TestClient(create_app(desk), base_url="http://localhost") as asking:
        yield asking

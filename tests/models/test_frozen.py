from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mimetric.core.errors import InputError
from mimetric.data.texts import code_points
from mimetric.models.encoders import create_encoder, embed
from mimetric.models.frozen import embed_once
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions


class Counted(nn.Module):
    """Counts the rows it is given."""

    def __init__(self, channels=4):
        super().__init__()
        self.rows = 0
        self.map = nn.Linear(3, channels)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x):
        self.rows += len(x)
        return self.norm(self.map(x))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Counted()


def test_rows_are_embedded_once(encoder, tmp_path):
    x = torch.randn(10, 3)
    encoder.norm.eval()
    first = embed_once(encoder, x, cache=tmp_path, batch_size=3)
    again = embed_once(encoder, x, cache=tmp_path)
    assert encoder.rows == 10
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert (encoder.training, encoder.norm.training) == (True, False)
    torch.testing.assert_close(first, embed(encoder, x))
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


def test_the_same_contents_are_found_however_they_lie(encoder, tmp_path):
    x = torch.randn(10, 3)
    embed_once(encoder, x, cache=tmp_path / "a" / "b")
    spread = torch.randn(10, 6)
    spread[:, ::2] = x
    for same in (x.numpy(), np.asfortranarray(x.numpy()), spread[:, ::2], x.tolist()):
        embed_once(encoder, same, cache=tmp_path / "a" / "b")
    assert encoder.rows == 10


@pytest.mark.parametrize("change", ["row", "type", "weight", "statistic", "structure"])
def test_what_differs_is_embedded_anew(encoder, tmp_path, change):
    x = torch.ones(10, 3)
    embed_once(encoder, x, cache=tmp_path)
    with torch.no_grad():
        if change == "row":
            x[9, 2] = 1 + 2.0**-23  # the next number
        if change == "type":
            x = x.double()
            encoder.double()
        if change == "weight":
            encoder.map.bias[3] += 1e-6
        if change == "statistic":
            encoder.norm.running_mean[0] = 0.5
        if change == "structure":
            encoder.norm.eps = 1e-3
    torch.testing.assert_close(embed_once(encoder, x, cache=tmp_path), embed(encoder, x))
    assert encoder.rows == 30  # ten of them above
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"junk" * 50, pickle.dumps({"embeddings": 1})])
def test_a_damaged_file_is_made_again(encoder, tmp_path, content):
    x = torch.randn(5, 3)
    want = embed_once(encoder, x, cache=tmp_path)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content or whole[: len(whole) // 2])
    assert torch.equal(embed_once(encoder, x, cache=tmp_path), want)
    assert file.read_bytes() == whole


def test_texts(tmp_path):
    encoder = create_encoder("bag_of_words:buckets=50", (5,), None)
    x = code_points(["a b", "c", "a b"], 5)
    first = embed_once(encoder, x, cache=tmp_path)
    assert torch.equal(first[0], first[2])
    assert torch.equal(embed_once(encoder, x, cache=tmp_path), first)


def test_a_head_on_frozen_embeddings_is_an_encoder_of_inputs(tmp_path):
    torch.manual_seed(0)
    y = torch.arange(64) % 4
    x = torch.eye(4)[y].repeat(1, 2) + 0.1 * torch.randn(64, 8)
    frozen = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
    held = embed_once(frozen, x, cache=tmp_path)
    head = create_encoder("linear", held.shape[1:], 6)
    run = fit(held, y, "supcon", encoder=head, options=FitOptions(steps=3, batch_size=32))
    torch.testing.assert_close(embed(nn.Sequential(frozen, head), x), run.embed(held))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(0, 3), r"embed_once: x must be \(rows, ...\) with at least one row, got \(0, 3\)"),
        (torch.zeros(3), r"embed_once: x must be \(rows, ...\)"),
        (["a", "b"], "embed_once: x must be a tensor, an array or a list of numbers, got list"),
    ],
)
def test_mistakes(encoder, tmp_path, x, message):
    with pytest.raises(InputError, match=message):
        embed_once(encoder, x, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_a_file(encoder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cache: cannot write to"):
        embed_once(encoder, torch.zeros(1, 3), cache=tmp_path / "file")


def test_nothing_half_written_when_the_disk_is_full(encoder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        embed_once(encoder, torch.zeros(1, 3), cache=tmp_path)
    assert list(Path(tmp_path).iterdir()) == []

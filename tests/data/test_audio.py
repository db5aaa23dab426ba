"""Sounds as arrays: waveforms as vectors, spectrograms as pictures, in an npz file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mimetric.data.sources import load_data
from mimetric.metrics.retrieval import retrieval_metrics
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions

SPOKEN = Path(__file__).parents[3] / "shared" / "data" / "fsdd" / "fsdd_mulaw8k.npz"


def spectrogram(wave, frames=16, bands=16, size=64):
    """Log power (bands, frames) of a waveform of any length, as docs/data.md has it."""
    wave = np.pad(wave, (0, max(0, size - len(wave))))
    starts = np.linspace(0, len(wave) - size, frames).astype(int)
    power = np.abs(np.fft.rfft(wave[starts[:, None] + np.arange(size)] * np.hanning(size))) ** 2
    return np.log(power[:, 1:].reshape(frames, bands, -1).mean(2).T + 1e-6).astype(np.float32)


def tones(rng, y, length):
    """Tones about the pitch of their class, at any phase, in noise."""
    pitch = 0.05 + 0.04 * y[:, None] + rng.uniform(-0.01, 0.01, (len(y), 1))
    turns = np.arange(length) * pitch + rng.random((len(y), 1))
    return (np.sin(2 * np.pi * turns) + rng.normal(scale=0.5, size=turns.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def heard():
    rng = np.random.default_rng(0)
    y = np.arange(160) % 8
    return tones(rng, y, 400), y


def recall(rows, y):
    return retrieval_metrics(torch.as_tensor(rows).flatten(1), torch.as_tensor(y), k=(1,))["recall_at_1"]


@pytest.mark.parametrize("as_picture", [False, True])
def test_from_waveforms_to_an_encoder(tmp_path, heard, as_picture):
    waves, y = heard
    shapes = np.stack([spectrogram(wave[: 200 + i]) for i, wave in enumerate(waves)])  # of unequal lengths
    x = shapes if as_picture else shapes.reshape(len(shapes), -1)
    np.savez(tmp_path / "tones.npz", x=x, y=y)
    data = load_data(f"npz:{tmp_path / 'tones.npz'}")
    assert data.x.shape[1:] == ((1, 16, 16) if as_picture else (256,))
    assert data.x.dtype == np.float32
    options = FitOptions(steps=8, batch_size=32, width=16, device="cpu")
    run = fit(data.x[data.split.train], data.y[data.split.train], "supcon", options=options)
    test = data.split.test
    assert recall(run.embed(data.x[test]), data.y[test]) > 0.9
    assert recall(waves[test], y[test]) < 0.7  # sample by sample two tones of a class differ


def test_waveforms_alone_are_vectors(tmp_path, heard):
    waves, y = heard
    np.savez(tmp_path / "waves.npz", x=(waves * 1000).astype(np.int16), y=y)
    data = load_data(f"npz:{tmp_path / 'waves.npz'}")
    assert data.x.shape == (160, 400)
    assert data.x.dtype == np.float32
    assert data.kind == "vectors"


@pytest.mark.slow
@pytest.mark.skipif(not SPOKEN.exists(), reason="the spoken digits are not there")
def test_spoken_digits(tmp_path):
    with np.load(SPOKEN) as held:
        level, offset, y = held["mulaw"] / 127.5 - 1, held["offset"], held["digit"]
    waves = np.split(np.sign(level) * (256.0 ** abs(level) - 1) / 255, offset[1:-1])  # 8-bit mu-law
    x = np.stack([spectrogram(wave, frames=48, bands=32, size=256) for wave in waves])
    np.savez(tmp_path / "spoken.npz", x=x, y=y)
    data = load_data(str(tmp_path / "spoken.npz"))
    train, test = data.split.train, data.split.test
    run = fit(data.x[train], data.y[train], "supcon", options=FitOptions(steps=100, device="cpu"))
    assert recall(run.embed(data.x[test]), data.y[test]) > 0.97

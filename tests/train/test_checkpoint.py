from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from torch import nn

from mimetric.core.errors import InputError
from mimetric.train.checkpoint import load, save
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions

X = torch.randint(0, 256, (48, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(48) % 6


@pytest.fixture(scope="module")
def run():
    options = FitOptions(steps=3, batch_size=16, width=4, device="cpu")
    return fit(X, Y, "normalized-softmax:temperature=0.2", options=options)


def store(folder, run, **settings):
    save(folder, run.encoder, run.objective, run.settings | settings)
    return folder


def test_round_trip(tmp_path, run):
    loaded = load(store(tmp_path / "new" / "folder", run, data="digits"))
    assert torch.equal(loaded.encoder(X), run.embed(X))
    assert not loaded.encoder.training
    assert torch.equal(loaded.objective.weight, run.objective.weight)
    assert loaded.objective.options == run.objective.options
    assert loaded.settings["data"] == "digits"
    assert loaded.settings["seed"] == 0


def test_modules_of_ones_own(tmp_path):
    def own() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

    options = FitOptions(steps=3, batch_size=16, device="cpu")
    run = fit(X.float(), Y, "supcon", encoder=own(), options=options)
    folder = store(tmp_path, run)
    with pytest.raises(
        InputError, match=r"cannot be rebuilt .*Sequential.*; pass load\(..., encoder=, objective=\)"
    ):
        load(folder)
    assert torch.equal(load(folder, encoder=own()).encoder(X.float()), run.embed(X.float()))
    with pytest.raises(InputError, match=r"cannot be rebuilt .*; pass load"):
        load(folder, encoder=nn.Linear(64, 4))


def test_tied_weights(tmp_path):
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    save(tmp_path, tied, nn.Identity(), {})
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    load(tmp_path, encoder=other, objective=nn.Identity())
    assert torch.equal(other[0].weight, tied[1].weight)


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_while_saving_keeps_the_old_checkpoint(tmp_path, run, monkeypatch, crash_at):
    store(tmp_path, run, step=1)
    before = load(tmp_path)
    replace, calls = os.replace, []

    def crash(*paths):
        calls.append(paths)
        if len(calls) == crash_at:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", crash)
    changed = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, changed, run.objective, run.settings | {"step": 2})
    monkeypatch.undo()
    after = load(tmp_path)
    assert after.settings == before.settings
    assert torch.equal(after.encoder(X), before.encoder(X))

    store(tmp_path, run, step=3)  # and the next save leaves no litter
    assert load(tmp_path).settings["step"] == 3
    assert len(list(tmp_path.iterdir())) == 2


def weights(folder):
    return next(folder.glob("*.safetensors"))


def truncate(folder):
    weights(folder).write_bytes(weights(folder).read_bytes()[:-7])


def flip(folder):
    content = bytearray(weights(folder).read_bytes())
    content[-1] ^= 1
    weights(folder).write_bytes(content)


def lose(folder):
    weights(folder).unlink()


def damage(folder):
    (folder / "settings.json").write_text('{"encoder": "co')


def empty(folder):
    (folder / "settings.json").unlink()


def point_to(name):
    def change(folder):
        settings = json.loads((folder / "settings.json").read_text())
        (folder / "settings.json").write_text(json.dumps(settings | {"weights": name}))

    return change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (truncate, "is missing or damaged; train again"),
        (flip, "is missing or damaged; train again"),
        (lose, "is missing or damaged; train again"),
        (damage, "settings.json is damaged; train again"),
        (empty, "no settings.json there; name the folder of a run"),
        (point_to("weights.pt"), "weights must be a .safetensors file in it, got 'weights.pt'"),
        (point_to("../weights.safetensors"), "weights must be a .safetensors file in it"),
    ],
)
def test_harm_is_told_in_one_line(tmp_path, run, harm, message):
    harm(store(tmp_path, run))
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_pickled_is_run(tmp_path, run):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    weights(store(tmp_path, run)).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(InputError, match="is missing or damaged"):
        load(tmp_path)
    assert not (tmp_path / "harm").exists()
